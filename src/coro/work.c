// SPDX-License-Identifier: MIT
// Blocking work on helper threads.
//
// A loop has a crew for what the library itself must have done (work_do), one for files
// (work_do_with_files) and another for what its users have done (ac_work), so that a look-up of a
// name never waits behind their databases, nor a file behind a look-up. A crew is a queue and the
// threads that take from it. Whoever queues a work wakes an idle thread, or starts one more if
// there is none and there may be. What a thread has done it lays into the list `done` and posts the
// crew to the loop, which wakes those who wait and hands the orphans back.
//
//      work_do -> queue -> thread runs it -> done -> loop: coro_wake(waiter)
//                   |                                      or it->orphaned(it), if nobody waits
//                   +-- nobody waits any more and no thread has begun: orphaned at once
//
// The latest to become idle is the first to work again, so that the others are idle for long. A
// thread ends when it has been idle for IDLE_NS, or when it has done its work and there are more
// than the crew may have.
//
// Who may touch what: all of a crew and of its helpers needs the lock; `waiter` of a work is
// touched by the loop alone.
//
// The end of the loop does not wait for a thread that blocks in a name look-up of ten seconds: such
// a thread is let go, and the crew with it. The crew is freed by whoever holds it last: the loop,
// each thread and a post on its way count one each. After the loop has let go, nothing is posted
// any more, and a thread itself hands an orphan back.
#include "coro/coro.h"

enum { USER_THREADS_MAX = 1024 }; // that ac_set_work_threads allows
#define IDLE_NS ((ac_time)10 * 1000 * 1000 * 1000)

struct crew_kind {
    enum loop_floor place;
    const char *name; // of its threads
    size_t stack_bytes;
    uint32_t threads_max; // at first
    uint32_t queue_max;   // works that no thread has begun
};

static const struct crew_kind own = {LOOP_WORK, "asyncoro-own", 256 << 10, 4, 256};
static const struct crew_kind files = {LOOP_FILE_WORK, "asyncoro-file", 256 << 10, 4, UINT32_MAX};
static const struct crew_kind users = {LOOP_USER_WORK, "asyncoro-work", 1 << 20, 8, 1024};

struct helper {
    struct list link; // in crew->helpers
    struct list idle; // in crew->idle; in no list: it works, or has been woken to
    struct crew *crew;
    struct sys_thread *thread;
    struct sys_condition *woken; // it was taken out of crew->idle
    bool busy;                   // it runs a work
    bool let_go;                 // nobody joins it: it frees this record
};

struct crew {
    const struct crew_kind *kind;
    struct post post; // brings the loop to look at `done`
    bool posted;      // it is on its way
    bool ended;       // the loop has let go
    struct sys_mutex *lock;
    struct loop *loop;  // to post to, unless `ended`
    struct work *queue; // the oldest first, linked by work->next
    struct work **queue_end;
    struct work *done; // finished, linked by work->next
    struct work **done_end;
    uint32_t queued;
    uint32_t threads_max;
    uint32_t helper_count;
    uint32_t holders; // the loop, the threads, the post
    ac_time idle_ns;  // how long a thread stays idle
    struct list helpers;
    struct list idle; // helpers that wait for work, the latest first
};

// Of the thread, as what runs there is not handed anything that would tell.
static _Thread_local bool is_helper;

static struct crew *crew_need(struct loop *loop, const struct crew_kind *kind);
static void crew_done(struct loop *loop, void *state);
static void crew_free(struct crew *crew);
static int provide_helper(struct crew *crew);
static int helper_start(struct crew *crew);
static void hand_back(struct post *post);
static void help(void *argument);
static bool abandon(struct coro *coro);

static const struct wait_kind waiting = {.name = "blocking work", .abandon = abandon};

// ---- on the loop ----

static int do_by(const struct crew_kind *kind, struct work *it, ac_time deadline) {
    struct coro *coro = coro_here();
    int err = coro_may_wait(coro, deadline);
    if (!work_is_callers(err))
        it->orphaned(it);
    if (err)
        return err;
    struct crew *crew = crew_need(coro->loop, kind);
    if (!crew)
        return -ENOMEM;
    sys_mutex_lock(crew->lock);
    err = crew->queued >= crew->kind->queue_max ? -EAGAIN : provide_helper(crew);
    if (!err) {
        it->waiter = coro;
        it->crew = crew;
        it->next = NULL;
        *crew->queue_end = it;
        crew->queue_end = &it->next;
        crew->queued++;
    }
    sys_mutex_unlock(crew->lock);
    if (err)
        return err;
    coro->wait_for = it;
    return coro_wait(coro, &waiting, deadline);
}

int work_do(struct work *it, ac_time deadline) { return do_by(&own, it, deadline); }
int work_do_with_files(struct work *it, ac_time deadline) { return do_by(&files, it, deadline); }

static struct crew *crew_need(struct loop *loop, const struct crew_kind *kind) {
    struct crew *crew = loop->extra[kind->place].state;
    if (crew)
        return crew;
    crew = memory_allocate_zeroed(sizeof *crew);
    if (!crew)
        return NULL;
    crew->kind = kind;
    crew->threads_max = kind->threads_max;
    crew->idle_ns = IDLE_NS;
    crew->post.run = hand_back;
    crew->loop = loop;
    crew->queue_end = &crew->queue;
    crew->done_end = &crew->done;
    crew->holders = 1;
    list_init(&crew->helpers);
    list_init(&crew->idle);
    crew->lock = sys_mutex_create();
    if (!crew->lock) {
        crew_free(crew);
        return NULL;
    }
    loop_extend(loop, kind->place, (struct loop_extra){.state = crew, .done = crew_done});
    return crew;
}

static void crew_free(struct crew *crew) {
    sys_mutex_destroy(crew->lock);
    memory_release(crew);
}

// One holder less; gives the lock back, and frees the crew after the last.
static void drop_and_unlock(struct crew *crew) {
    bool last = --crew->holders == 0;
    sys_mutex_unlock(crew->lock);
    if (last)
        crew_free(crew);
}

// Wakes a helper that is idle. False if there is none. With the lock held.
static bool wake_helper(struct crew *crew) {
    struct list *link = list_take(&crew->idle);
    if (link)
        sys_condition_signal(container_of(link, struct helper, idle)->woken);
    return link != NULL;
}

// Sees to it that a helper looks for what is queued next: an idle one, a new one, or, if there are
// enough, one that works now. 0, or an error if there is none at all. With the lock held.
static int provide_helper(struct crew *crew) {
    if (wake_helper(crew) || crew->helper_count >= crew->threads_max)
        return 0;
    int err = helper_start(crew);
    return crew->helper_count > 0 ? 0 : err;
}

static void helper_free(struct helper *helper) {
    sys_condition_destroy(helper->woken);
    memory_release(helper);
}

static int helper_start(struct crew *crew) {
    struct helper *helper = memory_allocate_zeroed(sizeof *helper);
    if (!helper)
        return -ENOMEM;
    helper->crew = crew;
    list_init(&helper->idle);
    helper->woken = sys_condition_create();
    int err = helper->woken ? sys_thread_start(&helper->thread, help, helper,
                                               crew->kind->stack_bytes, crew->kind->name)
                            : -ENOMEM;
    if (err) {
        helper_free(helper);
        return err;
    }
    list_append(&crew->helpers, &helper->link);
    crew->helper_count++;
    crew->holders++;
    return 0;
}

// Nobody waits for the work any more. What no thread has begun is not run at all, so that requests
// given up do not hold up others.
static bool abandon(struct coro *coro) {
    struct work *it = coro->wait_for;
    struct crew *crew = it->crew;
    it->waiter = NULL;
    sys_mutex_lock(crew->lock);
    struct work **at = &crew->queue;
    while (*at && *at != it)
        at = &(*at)->next;
    bool was_queued = *at != NULL;
    if (was_queued) {
        *at = it->next;
        if (!*at)
            crew->queue_end = at;
        crew->queued--;
    }
    sys_mutex_unlock(crew->lock);
    if (was_queued)
        it->orphaned(it);
    return true;
}

void work_abort(struct work *it, int err) {
    assert(!work_is_callers(err));
    struct coro *coro = it->waiter;
    if (!coro)
        return;
    abandon(coro);
    coro_wake(coro, err);
}

// Takes the works of a list that nobody waits for back.
static void orphan_all(struct work *it) {
    while (it) {
        struct work *next = it->next;
        it->orphaned(it);
        it = next;
    }
}

static void hand_back(struct post *post) {
    struct crew *crew = container_of(post, struct crew, post);
    sys_mutex_lock(crew->lock);
    crew->posted = false;
    struct work *it = crew->done;
    crew->done = NULL;
    crew->done_end = &crew->done;
    drop_and_unlock(crew);
    while (it) {
        struct work *next = it->next;
        struct coro *waiter = it->waiter;
        it->waiter = NULL;
        if (waiter)
            coro_wake(waiter, 0);
        else
            it->orphaned(it);
        it = next;
    }
}

// The loop has ended, so nobody waits. Threads that are idle are waited for; those that work are
// let go.
static void crew_done(struct loop *loop, void *state) {
    struct crew *crew = state;
    struct list to_join;
    struct list *link;
    list_init(&to_join);
    loop->extra[crew->kind->place].state = NULL;
    sys_mutex_lock(crew->lock);
    crew->ended = true;
    while (wake_helper(crew))
        continue;
    while ((link = list_take(&crew->helpers))) {
        struct helper *helper = container_of(link, struct helper, link);
        helper->let_go = helper->busy;
        if (helper->let_go)
            sys_thread_detach(helper->thread);
        else
            list_append(&to_join, link);
    }
    struct work *queue = crew->queue;
    struct work *done = crew->done;
    crew->queue = crew->done = NULL;
    crew->holders -= crew->posted; // the loop runs no posts any more
    sys_mutex_unlock(crew->lock);
    while ((link = list_take(&to_join))) {
        struct helper *helper = container_of(link, struct helper, link);
        sys_thread_join(helper->thread);
        helper_free(helper);
    }
    orphan_all(queue);
    orphan_all(done);
    sys_mutex_lock(crew->lock);
    drop_and_unlock(crew);
}

// ---- on a helper thread ----

// Waits until the helper is woken. False if that has not happened in time. With the lock held.
static bool stay_idle(struct helper *helper) {
    struct crew *crew = helper->crew;
    ac_time until = sys_clock() + crew->idle_ns;
    bool in_time = true;
    list_append(crew->idle.next, &helper->idle); // before the first
    while (in_time && !list_empty(&helper->idle))
        in_time = sys_condition_wait(helper->woken, crew->lock, until);
    bool woken = list_empty(&helper->idle);
    list_remove(&helper->idle);
    return woken;
}

// Takes the oldest work, waiting for one; NULL when the thread is to end. With the lock held.
static struct work *take(struct helper *helper) {
    struct crew *crew = helper->crew;
    struct work *it = NULL;
    while (!crew->ended && crew->helper_count <= crew->threads_max) {
        it = crew->queue;
        if (it || !stay_idle(helper))
            break;
    }
    if (!it)
        return NULL;
    crew->queue = it->next;
    if (!crew->queue)
        crew->queue_end = &crew->queue;
    crew->queued--;
    it->next = NULL;
    return it;
}

// Lays a finished work down for the loop. With the lock held.
static void give(struct crew *crew, struct work *it) {
    *crew->done_end = it;
    crew->done_end = &it->next;
    if (crew->posted)
        return;
    crew->posted = true;
    crew->holders++;
    loop_post(crew->loop, &crew->post);
}

static void help(void *argument) {
    struct helper *helper = argument;
    struct crew *crew = helper->crew;
    is_helper = true;
    sys_mutex_lock(crew->lock);
    for (struct work *it; (it = take(helper));) {
        helper->busy = true;
        sys_mutex_unlock(crew->lock);
        it->run(it);
        sys_mutex_lock(crew->lock);
        helper->busy = false;
        if (crew->ended) {
            sys_mutex_unlock(crew->lock);
            it->orphaned(it);
            sys_mutex_lock(crew->lock);
        } else {
            give(crew, it);
        }
    }
    if (!crew->ended) {
        list_remove(&helper->link);
        crew->helper_count--;
        sys_thread_detach(helper->thread);
        helper->let_go = true;
    }
    if (helper->let_go)
        helper_free(helper);
    drop_and_unlock(crew);
}

bool work_is_here(void) { return is_helper; }

// ---- ac_work ----

// What a user has done. Its values belong to one thread at a time: the queue and the list of what
// is done hand them over.
struct user_work {
    struct work work;
    ac_function function;
    ac_value argument; // nobody else holds it; nil once the function has returned
    ac_value result;   // nobody else holds it; nil before
};

static void run_function(struct work *work) {
    struct user_work *it = container_of(work, struct user_work, work);
    ac_value result = it->function(it->argument);
    // First, so that an argument that is returned need not be copied.
    ac_drop(it->argument);
    it->argument = ac_nil;
    if (result.kind == AC_INVALID)
        result = ac_of_error(ac_error_of(result), NULL);
    it->result = value_detach(result);
}

static void give_up(struct work *work) {
    struct user_work *it = container_of(work, struct user_work, work);
    ac_drop(it->argument);
    ac_drop(it->result);
    memory_release(it);
}

int ac_work_with(ac_function function, ac_value argument, ac_value *result, ac_time deadline) {
    if (argument.kind == AC_INVALID)
        return ac_error_of(argument);
    int err = !coro_here() ? -EPERM : !function ? -EINVAL : 0;
    struct user_work *it = err ? NULL : memory_allocate_zeroed(sizeof *it);
    if (!it) {
        ac_drop(argument);
        return err ? err : -ENOMEM;
    }
    it->work = (struct work){.run = run_function, .orphaned = give_up};
    it->function = function;
    it->argument = value_detach(argument);
    it->result = ac_nil;
    err = it->argument.kind == AC_INVALID ? -ENOMEM : do_by(&users, &it->work, deadline);
    if (!work_is_callers(err))
        return err;
    if (!err && it->result.kind == AC_INVALID)
        err = -ENOMEM; // for the copy of the result
    if (!err && result) {
        *result = it->result;
        it->result = ac_nil;
    }
    give_up(&it->work);
    return err;
}

int work_tune(uint32_t threads_max, ac_time idle_ns) {
    if (threads_max < 1 || threads_max > USER_THREADS_MAX)
        return -EINVAL;
    int err;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    struct crew *crew = crew_need(loop, &users);
    if (!crew)
        return -ENOMEM;
    sys_mutex_lock(crew->lock);
    crew->threads_max = threads_max;
    crew->idle_ns = idle_ns;
    for (uint32_t i = crew->queued; i > 0 && crew->helper_count < threads_max; i--)
        if (helper_start(crew) < 0)
            break; // those that are there do it
    for (uint32_t i = crew->helper_count; i > threads_max; i--)
        if (!wake_helper(crew))
            break; // the others are busy
    sys_mutex_unlock(crew->lock);
    return 0;
}

int ac_set_work_threads(uint32_t threads) { return work_tune(threads, IDLE_NS); }
