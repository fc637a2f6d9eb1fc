// SPDX-License-Identifier: MIT
// Joining a coroutine of another loop. A record goes there as a post, watches the coroutine, and
// comes back with the end as the same post. Who gives up sends a second post after the first, which
// comes back as well, as errands do (away.c).
//
// An end that is kept (.joinable) is copied and stays where it is until the joiner has it; then the
// record goes there once more to have it forgotten. So one that gives up at the last moment has
// taken nothing from who joins later.
#include "coro/coro.h"

struct far_join {
    struct post post;
    struct post stop;
    struct loop *from;
    struct loop *to;
    uint64_t of;
    // on `from`
    struct coro *waiter; // NULL: it has given up
    struct ac_exit *exit;
    bool back;     // `post` has come back
    bool stopping; // `stop` is on its way
    bool taken;    // the waiter has the end
    // on `to`, then carried back
    struct end_watch watch;
    bool watching;
    bool kept;          // the end is still there,
    bool alone;         // and nobody but this one has been told of it, for all we know
    int err;            // what the join gives
    struct ac_exit end; // its value is owned until it is handed over
};

static bool give_up(struct coro *coro);

static const struct wait_kind far_join_wait = {"join", give_up, .until_deadline = false};

// ---- where the coroutine is ----

static void is_back(struct post *post);

static void send_back(struct far_join *it) {
    it->post.run = is_back;
    team_post(it->to, it->from, &it->post);
}

// Takes the end along. The value belongs to somebody else.
static void tell(struct far_join *it, const struct ac_exit *end) {
    it->end = *end;
    it->end.value = value_detach(ac_hold(end->value));
    it->err = it->end.value.kind == AC_INVALID ? -ENOMEM : 0;
    send_back(it);
}

static void joined_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct far_join *it = container_of(watch, struct far_join, watch);
    struct coro *coro = coro_find(it->to, it->of);
    it->watching = false;
    it->kept = coro->joinable && !it->to->stopping;
    it->alone = true;
    tell(it, exit);
}

static void arrive(struct post *post) {
    struct far_join *it = container_of(post, struct far_join, post);
    struct coro *coro = coro_find(it->to, it->of);
    if (!coro) {
        it->err = -ESRCH;
        send_back(it);
    } else if (coro->state == CORO_ENDED) {
        it->kept = true;
        it->alone = coro->unseen;
        tell(it, &coro->end);
    } else {
        it->watching = true;
        it->watch = (struct end_watch){.ended = joined_ended, .observes = true};
        coro_watch(coro, &it->watch);
    }
}

// The last leg of one whose end is kept. Nobody else has the record any more.
static void settle(struct post *post) {
    struct far_join *it = container_of(post, struct far_join, post);
    struct coro *coro = coro_find(it->to, it->of);
    if (coro && coro->state == CORO_ENDED && it->taken)
        coro_forget(coro);
    else if (coro && coro->state == CORO_ENDED)
        coro->unseen |= it->alone && coro->end.how == AC_FAILED;
    memory_release(it);
}

// ---- where the joiner is ----

static void may_end(struct far_join *it) {
    if (!it->back || it->stopping)
        return;
    if (it->kept) {
        it->post.run = settle;
        team_post(it->from, it->to, &it->post);
    } else {
        memory_release(it);
    }
}

static void is_back(struct post *post) {
    struct far_join *it = container_of(post, struct far_join, post);
    it->back = true;
    it->taken = it->waiter && it->err == 0;
    if (it->taken && it->exit)
        *it->exit = it->end;
    else
        ac_drop(it->end.value);
    if (it->waiter)
        coro_wake(it->waiter, it->err);
    may_end(it);
}

static void stop_is_back(struct post *post) {
    struct far_join *it = container_of(post, struct far_join, stop);
    it->stopping = false;
    may_end(it);
}

static void arrive_stop(struct post *post) {
    struct far_join *it = container_of(post, struct far_join, stop);
    if (it->watching) {
        it->watching = false;
        coro_unwatch(&it->watch);
        send_back(it);
    }
    it->stop.run = stop_is_back;
    team_post(it->to, it->from, &it->stop);
}

static bool give_up(struct coro *coro) {
    struct far_join *it = coro->wait_for;
    it->waiter = NULL;
    it->stopping = true;
    it->stop.run = arrive_stop;
    team_post(it->from, it->to, &it->stop);
    return true;
}

// ---- of another process, from another loop than the first ----

struct join_errand {
    struct errand errand;
    ac_ref ref;
    ac_time deadline;
    struct ac_exit exit; // its value is owned until it is handed over
    int result;
};

static void run_join(struct errand *errand) {
    struct join_errand *it = container_of(errand, struct join_errand, errand);
    it->result = ac_join(it->ref, &it->exit, it->deadline);
    if (it->result < 0)
        return;
    it->exit.value = value_detach(it->exit.value);
    if (it->exit.value.kind == AC_INVALID)
        it->result = -ENOMEM;
}

static void release_join(struct errand *errand) {
    struct join_errand *it = container_of(errand, struct join_errand, errand);
    ac_drop(it->exit.value);
    memory_release(it);
}

static int join_far(struct loop *here, ac_ref ref, struct ac_exit *exit, ac_time deadline) {
    struct loop *first = loop_with_door(here);
    if (!first)
        return -ENOTSUP;
    if (first == here)
        return first->door->join(here, ref, exit, deadline);
    struct join_errand *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->errand = (struct errand){.run = run_join, .orphaned = release_join, .waits = true};
    it->ref = ref;
    it->deadline = deadline;
    it->exit.value = ac_nil;
    int err = errand_do(first, &it->errand, deadline);
    if (err < 0 && err != -ENOMEM)
        return err;
    err = err < 0 ? err : it->result;
    if (err == 0 && exit) {
        *exit = it->exit;
        it->exit.value = ac_nil;
    }
    release_join(&it->errand);
    return err;
}

int coro_join_away(ac_ref ref, struct ac_exit *exit, ac_time deadline) {
    struct coro *self = coro_here();
    if (ref.peer != self->loop->peer && ref_sort(ref.id) == REF_COROUTINE)
        return join_far(self->loop, ref, exit, deadline);
    struct loop *to = ref.peer == self->loop->peer && ref_sort(ref.id) == REF_COROUTINE
                          ? team_loop(self->loop, ref_loop(ref.id))
                          : NULL;
    if (!to)
        return -ENOTSUP;
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct far_join *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->post.run = arrive;
    it->from = self->loop;
    it->to = to;
    it->of = ref.id;
    it->waiter = self;
    it->exit = exit;
    it->end.value = ac_nil;
    self->wait_for = it;
    team_post(it->from, to, &it->post);
    return coro_wait(self, &far_join_wait, deadline);
}
