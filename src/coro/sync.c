// SPDX-License-Identifier: MIT
// Queues of those who wait for an object, and the three objects that nobody owns: event, semaphore
// and wait group. (Those with an owner are in lock.c and rwlock.c.)
//
// A queue is a list of waiters, each on the stack of its coroutine, so that waiting needs no
// memory. Whoever gives takes the first waiter out of the queue and hands over before that one
// runs: from then on it is nobody else's, and neither a deadline nor a cancellation takes it back,
// because the wait is answered. An end that comes first takes the waiter out of the queue.
//
// `loop_` of an object says whose it is: the loop's that has somebody in its queue, or the calling
// thread's while a call is at work. It is claimed with acquire and given up with release order, so
// an object that one loop no longer uses can be used by the next one, and whoever comes too early
// gets -EXDEV and touches nothing. A loop is told by a token that no later loop has: what belongs
// to one that has ended, since one of its coroutines ended as the owner, can be taken over.
#include "coro/coro.h"

// ---- whose an object is ----

// A thread without a loop, which can set and release but never waits, is told by the address of its
// own loop_here.
static inline void *user(void) { return loop_here ? loop_here->token : (void *)&loop_here; }

int object_claim(void **loop) {
    void *claimed = __atomic_load_n(loop, __ATOMIC_RELAXED);
    if (claimed == user())
        return 0;
    if (claimed || !__atomic_compare_exchange_n(loop, &claimed, user(), false, __ATOMIC_ACQUIRE,
                                                __ATOMIC_RELAXED))
        return -EXDEV;
    return 0;
}

bool object_take_over(void **loop) {
    void *claimed = __atomic_load_n(loop, __ATOMIC_RELAXED);
    // Only listed loops, which have odd tokens, are known to have ended when they are not found.
    return ((uintptr_t)claimed & 1) != 0 && !watchdog_knows(claimed) &&
           __atomic_compare_exchange_n(loop, &claimed, user(), false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

bool object_is_mine(void *const *loop) { return __atomic_load_n(loop, __ATOMIC_RELAXED) == user(); }

void object_give_up(void **loop) { __atomic_store_n(loop, NULL, __ATOMIC_RELEASE); }

static void give_up_if_idle(struct ac_queue_ *queue, void **loop) {
    if (object_is_mine(loop) && !queue->first_)
        object_give_up(loop);
}

// ---- queues ----

void waiter_append(struct ac_queue_ *queue, struct waiter *waiter) {
    struct waiter *last = queue->last_;
    waiter->in = queue;
    waiter->next = NULL;
    waiter->prev = last;
    if (last)
        last->next = waiter;
    else
        queue->first_ = waiter;
    queue->last_ = waiter;
}

void waiter_remove(struct waiter *waiter) {
    struct ac_queue_ *queue = waiter->in;
    if (waiter->prev)
        waiter->prev->next = waiter->next;
    else
        queue->first_ = waiter->next;
    if (waiter->next)
        waiter->next->prev = waiter->prev;
    else
        queue->last_ = waiter->prev;
    waiter->in = NULL;
}

void waiter_grant(struct waiter *waiter) {
    if (waiter->granted)
        waiter->granted(waiter);
    else
        coro_wake(waiter->coro, 0);
}

// Of an object that is claimed while its queue is not empty.
static int attach(struct ac_queue_ *queue, void **loop, struct waiter *waiter) {
    int err = object_claim(loop);
    if (err < 0)
        return err;
    waiter->loop = loop;
    waiter_append(queue, waiter);
    return 0;
}

void waiter_detach(struct waiter *waiter) {
    struct ac_queue_ *queue = waiter->in;
    if (!queue)
        return;
    waiter_remove(waiter);
    give_up_if_idle(queue, waiter->loop);
}

// The object is given up before the last one is told, and not touched after.
static void grant_first(struct ac_queue_ *queue, void **loop) {
    struct waiter *first = waiter_first(queue);
    waiter_remove(first);
    give_up_if_idle(queue, loop);
    waiter_grant(first);
}

// Of an object that has been claimed. One who is told may take others out of the queue, and whoever
// empties it gives the object up.
static void grant_all(struct ac_queue_ *queue, void **loop) {
    give_up_if_idle(queue, loop);
    while (object_is_mine(loop))
        grant_first(queue, loop);
}

static bool abandon_place(struct coro *coro) {
    waiter_detach(coro->wait_for);
    return true;
}

// The running coroutine waits in the queue of an object of which a try has given -EAGAIN.
static int wait_in(struct ac_queue_ *queue, void **loop, const struct wait_kind *kind,
                   ac_time deadline) {
    struct coro *self = loop_here->running;
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct waiter waiter = {.coro = self};
    err = attach(queue, loop, &waiter);
    if (err < 0)
        return err;
    self->wait_for = &waiter;
    return coro_wait(self, kind, deadline);
}

// ---- event ----

static const struct wait_kind event_wait = {"event", abandon_place, .until_deadline = false};

int ac_event_set(struct ac_event *event) {
    int err = object_claim(&event->loop_);
    if (err < 0)
        return err;
    __atomic_store_n(&event->set_, true, __ATOMIC_RELAXED);
    grant_all(&event->queue_, &event->loop_);
    return 0;
}

int ac_event_clear(struct ac_event *event) {
    int err = object_claim(&event->loop_);
    if (err < 0)
        return err;
    __atomic_store_n(&event->set_, false, __ATOMIC_RELAXED);
    give_up_if_idle(&event->queue_, &event->loop_);
    return 0;
}

bool ac_event_is_set(const struct ac_event *event) {
    return __atomic_load_n(&event->set_, __ATOMIC_RELAXED);
}

int event_try(struct ac_event *event) {
    int err = object_claim(&event->loop_);
    if (err < 0)
        return err;
    err = event->set_ ? 0 : -EAGAIN;
    give_up_if_idle(&event->queue_, &event->loop_);
    return err;
}

int event_attach(struct ac_event *event, struct waiter *waiter) {
    return attach(&event->queue_, &event->loop_, waiter);
}

int ac_event_wait(struct ac_event *event, ac_time deadline) {
    int err = coro_may_try(coro_here(), deadline);
    if (err == 0)
        err = event_try(event);
    if (err != -EAGAIN)
        return err;
    return wait_in(&event->queue_, &event->loop_, &event_wait, deadline);
}

// ---- semaphore ----

static const struct wait_kind semaphore_wait = {"semaphore", abandon_place,
                                                .until_deadline = false};

int semaphore_try(struct ac_semaphore *semaphore) {
    int err = object_claim(&semaphore->loop_);
    if (err < 0)
        return err;
    // What is given back goes to those who wait, so nobody waits while there is one left.
    err = semaphore->count > 0 ? 0 : -EAGAIN;
    semaphore->count -= err == 0;
    give_up_if_idle(&semaphore->queue_, &semaphore->loop_);
    return err;
}

int semaphore_attach(struct ac_semaphore *semaphore, struct waiter *waiter) {
    return attach(&semaphore->queue_, &semaphore->loop_, waiter);
}

int ac_semaphore_acquire(struct ac_semaphore *semaphore, ac_time deadline) {
    int err = coro_may_try(coro_here(), deadline);
    if (err == 0)
        err = semaphore_try(semaphore);
    if (err != -EAGAIN)
        return err;
    return wait_in(&semaphore->queue_, &semaphore->loop_, &semaphore_wait, deadline);
}

int ac_semaphore_release(struct ac_semaphore *semaphore) {
    int err = object_claim(&semaphore->loop_);
    if (err < 0)
        return err;
    if (waiter_first(&semaphore->queue_)) {
        grant_first(&semaphore->queue_, &semaphore->loop_);
        return 0;
    }
    uint32_t most = semaphore->count_max ? semaphore->count_max : UINT32_MAX;
    err = semaphore->count < most ? 0 : -EOVERFLOW;
    semaphore->count += err == 0;
    object_give_up(&semaphore->loop_);
    return err;
}

// ---- wait group ----

static const struct wait_kind waitgroup_wait = {"wait group", abandon_place,
                                                .until_deadline = false};

int ac_waitgroup_add(struct ac_waitgroup *group, int count) {
    int err = object_claim(&group->loop_);
    if (err < 0)
        return err;
    int64_t sum = (int64_t)group->count_ + count;
    if (sum == 0) {
        group->count_ = 0;
        grant_all(&group->queue_, &group->loop_);
        return 0;
    }
    err = sum < 0 ? -EINVAL : sum > UINT32_MAX ? -EOVERFLOW : 0;
    if (err == 0)
        group->count_ = (uint32_t)sum;
    give_up_if_idle(&group->queue_, &group->loop_);
    return err;
}

int ac_waitgroup_done(struct ac_waitgroup *group) { return ac_waitgroup_add(group, -1); }

int ac_waitgroup_wait(struct ac_waitgroup *group, ac_time deadline) {
    int err = coro_may_try(coro_here(), deadline);
    if (err == 0)
        err = object_claim(&group->loop_);
    if (err < 0)
        return err;
    bool over = group->count_ == 0;
    give_up_if_idle(&group->queue_, &group->loop_);
    return over ? 0 : wait_in(&group->queue_, &group->loop_, &waitgroup_wait, deadline);
}
