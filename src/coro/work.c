// SPDX-License-Identifier: MIT
// Blocking work on helper threads.
//
// A loop that is asked for work has a crew: a queue, and at most four threads that take from it,
// started when there is more to do than idle threads. What a thread has done it lays into the list
// `done` and posts the crew to the loop, which wakes those who wait and hands the orphans back.
//
//      work_do -> queue -> thread runs it -> done -> loop: coro_wake(waiter)
//                   |                                      or it->orphaned(it), if nobody waits
//                   +-- nobody waits any more and no thread has begun: orphaned at once
//
// Who may touch what: `queue`, `done` and the counts need the lock; `waiter` of a work is touched
// by the loop alone.
//
// The end of the loop does not wait for a thread that blocks in a name look-up of ten seconds: such
// a thread is let go, and the crew with it. The crew is freed by whoever holds it last: the loop,
// each thread and a post on its way count one each. After the loop has let go, nothing is posted
// any more, and a thread itself hands an orphan back.
#include "coro/coro.h"

enum {
    THREADS_MAX = 4,
    THREAD_STACK_BYTES = 256 << 10,
    QUEUE_MAX = 256 // works that no thread has begun
};

struct helper {
    struct crew *crew;
    struct sys_thread *thread; // of the loop alone
    bool begun;                // its run has begun
    bool busy;                 // it runs a work
};

struct crew {
    struct post post; // brings the loop to look at `done`
    bool posted;      // it is on its way
    bool ended;       // the loop has let go
    struct sys_mutex *lock;
    struct sys_condition *changed; // there is work for an idle thread, or the loop has ended
    struct loop *loop;             // to post to, unless `ended`
    struct work *queue;            // the oldest first, linked by work->next
    struct work **queue_end;
    struct work *done; // finished, linked by work->next
    struct work **done_end;
    uint32_t queued;
    uint32_t idle;    // threads that wait for work
    uint32_t holders; // the loop, the threads, the post
    uint32_t helper_count;
    struct helper helpers[THREADS_MAX];
};

static struct crew *crew_need(struct loop *loop);
static void crew_done(struct loop *loop, void *state);
static void crew_free(struct crew *crew);
static int crew_grow(struct crew *crew);
static void hand_back(struct post *post);
static void help(void *argument);
static bool abandon(struct coro *coro);

static const struct wait_kind waiting = {.name = "blocking work", .abandon = abandon};

// ---- on the loop ----

int work_do(struct work *it, ac_time deadline) {
    struct coro *coro = coro_here();
    int err = coro_may_wait(coro, deadline);
    if (err == -ETIMEDOUT || err == -ECANCELED)
        it->orphaned(it);
    if (err)
        return err;
    struct crew *crew = crew_need(coro->loop);
    if (!crew)
        return -ENOMEM;
    sys_mutex_lock(crew->lock);
    err = crew->queued >= QUEUE_MAX ? -EAGAIN : crew_grow(crew);
    if (!err) {
        it->waiter = coro;
        it->loop = coro->loop;
        it->next = NULL;
        *crew->queue_end = it;
        crew->queue_end = &it->next;
        crew->queued++;
        sys_condition_signal(crew->changed);
    }
    sys_mutex_unlock(crew->lock);
    if (err)
        return err;
    coro->wait_for = it;
    return coro_wait(coro, &waiting, deadline);
}

static struct crew *crew_need(struct loop *loop) {
    struct crew *crew = loop->extra[LOOP_WORK].state;
    if (crew)
        return crew;
    crew = memory_allocate_zeroed(sizeof *crew);
    if (!crew)
        return NULL;
    crew->post.run = hand_back;
    crew->loop = loop;
    crew->queue_end = &crew->queue;
    crew->done_end = &crew->done;
    crew->holders = 1;
    crew->lock = sys_mutex_create();
    crew->changed = sys_condition_create();
    if (!crew->lock || !crew->changed) {
        crew_free(crew);
        return NULL;
    }
    loop_extend(loop, LOOP_WORK, (struct loop_extra){.state = crew, .done = crew_done});
    return crew;
}

static void crew_free(struct crew *crew) {
    sys_condition_destroy(crew->changed);
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

// Starts one more thread if all have something to do. 0, or an error if there is none at all. With
// the lock held.
static int crew_grow(struct crew *crew) {
    if (crew->idle > crew->queued || crew->helper_count == THREADS_MAX)
        return 0;
    struct helper *helper = &crew->helpers[crew->helper_count];
    helper->crew = crew;
    int err = sys_thread_start(&helper->thread, help, helper, THREAD_STACK_BYTES, "asyncoro-work");
    if (err)
        return crew->helper_count > 0 ? 0 : err;
    crew->helper_count++;
    crew->holders++;
    return 0;
}

// Nobody waits for the work any more. What no thread has begun is not run at all, so that requests
// given up do not hold up others.
static bool abandon(struct coro *coro) {
    struct work *it = coro->wait_for;
    struct crew *crew = it->loop->extra[LOOP_WORK].state;
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
        if (it->waiter)
            coro_wake(it->waiter, 0);
        else
            it->orphaned(it);
        it = next;
    }
}

// The loop has ended, so nobody waits. Threads that are idle are waited for; those that work are
// let go.
static void crew_done(struct loop *loop, void *state) {
    struct crew *crew = state;
    struct sys_thread *to_join[THREADS_MAX];
    uint32_t join_count = 0;
    loop->extra[LOOP_WORK].state = NULL;
    sys_mutex_lock(crew->lock);
    crew->ended = true;
    for (uint32_t i = 0; i < crew->helper_count; i++) {
        struct helper *helper = &crew->helpers[i];
        if (helper->begun && helper->busy)
            sys_thread_detach(helper->thread);
        else
            to_join[join_count++] = helper->thread;
        sys_condition_signal(crew->changed);
    }
    struct work *queue = crew->queue;
    struct work *done = crew->done;
    crew->queue = crew->done = NULL;
    crew->queue_end = &crew->queue;
    crew->done_end = &crew->done;
    crew->queued = 0;
    crew->holders -= crew->posted; // the loop runs no posts any more
    sys_mutex_unlock(crew->lock);
    for (uint32_t i = 0; i < join_count; i++)
        sys_thread_join(to_join[i]);
    orphan_all(queue);
    orphan_all(done);
    sys_mutex_lock(crew->lock);
    drop_and_unlock(crew);
}

// ---- on a helper thread ----

// Takes the oldest work, waiting for one; NULL when the loop has ended. With the lock held.
static struct work *take(struct crew *crew) {
    while (!crew->queue && !crew->ended) {
        crew->idle++;
        sys_condition_wait(crew->changed, crew->lock, AC_FOREVER);
        crew->idle--;
    }
    struct work *it = crew->queue;
    if (crew->ended || !it)
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
    sys_mutex_lock(crew->lock);
    helper->begun = true;
    for (struct work *it; (it = take(crew));) {
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
    drop_and_unlock(crew);
}
