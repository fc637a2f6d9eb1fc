// SPDX-License-Identifier: MIT
// From elsewhere: what threads that do not drive a loop ask of it. Spawning on another loop of the
// team, and from foreign threads on the loops of the background, which ac_start and ac_finish begin
// and end.
//
// A reference must be there at once, so the spawner itself takes the record: from a list of the
// target loop that a lock guards, as it does the making of records. The coroutine begins when its
// post arrives; messages that come before wait in its mailbox.
//
// A foreign thread finds a loop by the list of all loops, and holds the lock of that list while it
// posts: so the loop does not end meanwhile.
#include "coro/coro.h"

enum { BACKGROUND_STACK_BYTES = 1 << 20 };

// A coroutine on its way to its loop.
struct arrival {
    struct post post;
    struct coro *coro;
};

// The background: one for the process, under SYS_LOCK_BACKGROUND but for `loop` and `begun`, which
// are under SYS_LOCK_LOOPS.
static struct {
    struct sys_thread *thread; // NULL: there is none
    struct loop *loop;         // the first of its loops, while it runs
    bool begun;                // it has run, and ac_finish has not been told how it ended
    struct ac_run_options options;
    struct sys_condition *changed;
    struct sys_mutex *lock; // of what follows
    bool tried;             // the thread has a loop, or could not make one
    int err;                // of making it, then of running it
    struct post let_go;     // ends the hold that ac_start has on the loop
} background;

// ---- spawning ----

static void arrive(struct post *post) {
    struct arrival *arrival = container_of(post, struct arrival, post);
    struct coro *coro = arrival->coro;
    bool expected = !coro->daemon; // once it has begun its record may be another's
    memory_release(arrival);
    coro_begin_away(coro);
    if (expected)
        team_expected(loop_here);
}

ac_ref coro_spawn_away(struct loop *from, struct loop *to, ac_function function, ac_value argument,
                       const struct ac_spawn_options *options) {
    if (options->group) {
        ac_drop(argument);
        return ref_none(-EXDEV);
    }
    argument = value_detach(argument);
    struct arrival *arrival = memory_allocate(sizeof *arrival);
    if (!arrival) {
        ac_drop(argument);
        return ref_none(-ENOMEM);
    }
    int err = 0;
    struct coro *coro = coro_create_away(to, function, argument, options, &err);
    if (!coro) {
        memory_release(arrival);
        return ref_none(err);
    }
    *arrival = (struct arrival){.post.run = arrive, .coro = coro};
    ac_ref ref = coro_ref(coro);
    if (!options->daemon)
        team_expect(to);
    team_post(from, to, &arrival->post);
    return ref;
}

// ---- cancelling ----

struct cancel {
    struct post post;
    uint64_t id;
};

static void cancel(struct post *post) {
    struct cancel *it = container_of(post, struct cancel, post);
    struct coro *coro = coro_find(loop_here, it->id);
    if (coro && coro->state == CORO_ALIVE)
        coro_cancel(coro);
    memory_release(it);
}

static int post_cancel(struct loop *from, struct loop *to, uint64_t id) {
    if (!coro_is_alive(to, id))
        return -ESRCH;
    struct cancel *it = memory_allocate(sizeof *it);
    if (!it)
        return -ENOMEM;
    *it = (struct cancel){.post.run = cancel, .id = id};
    team_post(from, to, &it->post);
    return 0;
}

struct loop *loop_with_door(struct loop *loop) {
    struct loop *first = team_loop(loop, 0);
    return first && __atomic_load_n(&first->door, __ATOMIC_ACQUIRE) ? first : NULL;
}

// Of another process, from another loop than the first.
struct far_cancel {
    struct post post;
    ac_ref ref;
};

static void cancel_afar(struct post *post) {
    struct far_cancel *it = container_of(post, struct far_cancel, post);
    const struct coro_door *door = loop_here->door;
    if (door)
        (void)door->cancel(loop_here, it->ref);
    memory_release(it);
}

static int cancel_far(struct loop *here, ac_ref ref) {
    struct loop *first = loop_with_door(here);
    if (!first)
        return -ENOTSUP;
    if (first == here)
        return first->door->cancel(here, ref);
    struct far_cancel *it = memory_allocate(sizeof *it);
    if (!it)
        return -ENOMEM;
    *it = (struct far_cancel){.post.run = cancel_afar, .ref = ref};
    team_post(here, first, &it->post);
    return 0;
}

int coro_cancel_away(ac_ref ref) {
    struct loop *here = loop_here;
    if (here && here->peer == ref.peer) {
        struct loop *to = team_loop(here, ref_loop(ref.id));
        return to ? post_cancel(here, to, ref.id) : -ENOTSUP;
    }
    struct loop *to = loop_catch(ref.peer, ref_loop(ref.id));
    if (!to)
        return here ? cancel_far(here, ref) : -ESRCH;
    int err = post_cancel(NULL, to, ref.id);
    loop_let_go(to);
    return err;
}

// ---- errands ----
//
// The record goes to the other loop as a post and comes back as the same post. An errand that is
// given up sends a second post after the first, which comes back as well; the record is free when
// nothing of it is on its way any more.

static void errand_may_end(struct errand *it) {
    if (it->back && !it->stopping)
        it->orphaned(it);
}

static void come_back(struct post *post) {
    struct errand *it = container_of(post, struct errand, post);
    it->back = true;
    if (it->waiter) {
        coro_wake(it->waiter, it->err);
        if (it->err == 0 || it->err == -ENOMEM)
            return; // it is the caller's again
    }
    errand_may_end(it);
}

static void go_back(struct errand *it) {
    it->runner = NULL;
    it->post.run = come_back;
    team_post(it->to, it->from, &it->post);
}

static ac_value run_errand(ac_value argument) {
    struct errand *it = ac_pointer_of(argument);
    it->err = 0;
    it->run(it);
    return ac_nil;
}

static void runner_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    go_back(container_of(watch, struct errand, ended));
}

static void arrive_errand(struct post *post) {
    struct errand *it = container_of(post, struct errand, post);
    if (!it->waits) {
        it->run(it);
        go_back(it);
        return;
    }
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    it->err = -ECANCELED;
    if (!it->to->over)
        it->runner = coro_create(it->to, run_errand, ac_of_pointer(it), &options, true, &it->err);
    if (!it->runner) {
        go_back(it);
        return;
    }
    it->err = -ECANCELED; // unless it comes to run: the loop ends
    it->ended.ended = runner_ended;
    coro_watch(it->runner, &it->ended);
}

static void stop_is_back(struct post *post) {
    struct errand *it = container_of(post, struct errand, stop);
    it->stopping = false;
    errand_may_end(it);
}

static void arrive_stop(struct post *post) {
    struct errand *it = container_of(post, struct errand, stop);
    if (it->runner)
        coro_cancel(it->runner);
    it->stop.run = stop_is_back;
    team_post(it->to, it->from, &it->stop);
}

static bool give_up_errand(struct coro *coro) {
    struct errand *it = coro->wait_for;
    it->waiter = NULL;
    it->stopping = true;
    it->stop.run = arrive_stop;
    team_post(it->from, it->to, &it->stop);
    return true;
}

static const struct wait_kind errand_wait = {"another loop", give_up_errand,
                                             .until_deadline = false};

int errand_do(struct loop *to, struct errand *it, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err < 0) {
        it->orphaned(it);
        return err;
    }
    it->waiter = self;
    it->runner = NULL;
    it->stopping = it->back = false;
    it->err = 0;
    it->from = self->loop;
    it->to = to;
    it->post.run = arrive_errand;
    self->wait_for = it;
    team_post(it->from, to, &it->post);
    return coro_wait(self, &errand_wait, deadline);
}

// ---- resuming ----

struct resume {
    struct errand errand;
    ac_ref of;
    ac_value update; // owned until it is handed on
    int result;
};

static void resume(struct errand *errand) {
    struct resume *it = container_of(errand, struct resume, errand);
    ac_value update = it->update;
    it->update = ac_nil;
    it->result = ac_resume_with(it->of, update);
}

static void release_resume(struct errand *errand) {
    struct resume *it = container_of(errand, struct resume, errand);
    ac_drop(it->update);
    memory_release(it);
}

int coro_resume_away(ac_ref ref, ac_value update) {
    struct loop *here = loop_here;
    bool mine = ref.peer == here->peer && ref_sort(ref.id) == REF_COROUTINE;
    struct loop *to = mine ? team_loop(here, ref_loop(ref.id)) : NULL;
    struct resume *it = to ? memory_allocate(sizeof *it) : NULL;
    int err = !to ? -ENOTSUP : -ENOMEM;
    if (!it) {
        ac_drop(update);
        return err;
    }
    *it = (struct resume){.errand = {.run = resume, .orphaned = release_resume}, .of = ref};
    it->update = value_detach(update);
    err = it->update.kind == AC_INVALID ? ac_error_of(it->update) : 0;
    if (err == 0)
        err = errand_do(to, &it->errand, AC_FOREVER);
    else
        memory_release(it);
    if (err < 0)
        return err; // it is forgotten: what does not wait there does not fail
    err = it->result;
    release_resume(&it->errand);
    return err;
}

// ---- finding loops from foreign threads ----

struct loop *loop_catch(uint64_t peer, uint32_t number) {
    sys_process_lock(SYS_LOCK_LOOPS);
    struct loop *loop = watchdog_find(peer, number);
    if (!loop)
        sys_process_unlock(SYS_LOCK_LOOPS);
    return loop;
}

struct loop *loop_catch_background(int nth, int *err) {
    sys_process_lock(SYS_LOCK_LOOPS);
    struct loop *first = background.loop;
    struct loop *loop = first && nth != 0 ? team_nth(first, nth) : first;
    *err = loop ? 0 : first ? -EINVAL : background.begun ? -ESRCH : 0;
    if (!loop)
        sys_process_unlock(SYS_LOCK_LOOPS);
    return loop;
}

void loop_let_go(struct loop *loop) {
    (void)loop;
    sys_process_unlock(SYS_LOCK_LOOPS);
}

// ---- the background ----

static void set_tried(int err) {
    sys_mutex_lock(background.lock);
    background.tried = true;
    background.err = err;
    sys_condition_signal(background.changed);
    sys_mutex_unlock(background.lock);
}

static void let_go(struct post *post) {
    (void)post;
    loop_here->alive--;
}

static void set_background(struct loop *loop) {
    sys_process_lock(SYS_LOCK_LOOPS);
    background.loop = loop;
    background.begun = loop != NULL;
    sys_process_unlock(SYS_LOCK_LOOPS);
}

// The first post of the loop: all its team is there, unless it ends at once.
static void started(struct post *post) {
    (void)post;
    if (loop_here->over)
        return;
    set_background(loop_here);
    set_tried(0);
}

static void run_background(void *unused) {
    (void)unused;
    int err = 0;
    struct loop *loop = loop_need(&err);
    struct post post = {.run = started};
    if (loop) {
        loop->alive++; // until ac_finish
        loop_post(loop, &post);
        err = ac_run_with(&background.options);
    }
    set_tried(err);
}

void loop_leave_process(struct loop *loop) {
    sys_process_lock(SYS_LOCK_LOOPS);
    if (background.loop == loop)
        background.loop = NULL;
    sys_process_unlock(SYS_LOCK_LOOPS);
    watchdog_remove(loop);
}

int ac_start_with(const struct ac_run_options *options) {
    if (coro_here())
        return -EPERM;
    sys_process_lock(SYS_LOCK_BACKGROUND);
    int err = -EALREADY;
    if (background.thread)
        goto unlock;
    err = -ENOMEM;
    background.options = options && options->size >= sizeof *options
                             ? *options
                             : (struct ac_run_options){.size = sizeof *options};
    background.tried = false;
    background.let_go.run = let_go;
    background.lock = sys_mutex_create();
    background.changed = sys_condition_create();
    if (!background.lock || !background.changed)
        goto release;
    err = sys_thread_start(&background.thread, run_background, NULL, BACKGROUND_STACK_BYTES,
                           "ac-background");
    if (err < 0)
        goto release;
    sys_mutex_lock(background.lock);
    while (!background.tried)
        sys_condition_wait(background.changed, background.lock, AC_FOREVER);
    err = background.err;
    sys_mutex_unlock(background.lock);
    if (err == 0)
        goto unlock;
    sys_thread_join(background.thread);
release:
    sys_condition_destroy(background.changed);
    sys_mutex_destroy(background.lock);
    background.thread = NULL;
unlock:
    sys_process_unlock(SYS_LOCK_BACKGROUND);
    return err;
}

int ac_finish(void) {
    if (coro_here())
        return -EPERM;
    sys_process_lock(SYS_LOCK_BACKGROUND);
    int err = 0;
    if (background.thread) {
        struct loop *loop = loop_catch_background(0, &err);
        if (loop) {
            loop_post(loop, &background.let_go);
            loop_let_go(loop);
        }
        sys_thread_join(background.thread);
        set_background(NULL);
        err = background.err;
        sys_condition_destroy(background.changed);
        sys_mutex_destroy(background.lock);
        background.thread = NULL;
    }
    sys_process_unlock(SYS_LOCK_BACKGROUND);
    return err;
}
