// SPDX-License-Identifier: MIT
// Lock and condition. (The read-write lock is in rwlock.c.)
//
// The owner is known by the id of the coroutine, which is never used again, so one that has ended
// is mistaken for nobody. Release makes the first in the queue the owner before it runs.
//
// Who waits at a condition has a place in its queue, and goes from there to the end of the queue of
// the lock, when it is notified or its time is up, without running in between; it runs when it owns
// the lock as often as before:
//
//                       notified, time is up, cancelled
//      CONDITION'S QUEUE -----------------------------> LOCK'S QUEUE ---> OWNER
//                       \                                                /
//                        `------- ended early, and the lock is free ----'
//
// Why the wait ends is settled when it leaves the condition; in the lock's queue nothing changes it
// any more. An early end that has to queue is that of a wait whose operation must finish first:
// coro->early keeps the reason.
//
// A lock is in use, and so claimed by its loop (sync.c), while it is owned or waited for, be it by
// those who wait at its conditions (away_) and will want it back.
//
// An owner that ends without a release does not touch the lock, whose memory may be gone with it:
// those who live do. The first in the queue watches the owner, and is handed the lock at its end.
// If nobody waits the lock keeps the id of the dead, and whoever comes next finds that so.
#include "coro/coro.h"

#include <stdio.h>

// A place in the queue of a lock or of its condition.
struct place {
    struct waiter waiter;
    struct ac_lock *lock;
    uint32_t depth;               // how often it will have taken the lock
    bool notified;                // the wait at the condition was answered
    struct end_watch owner_ended; // of the first in the lock's queue alone
};

static int claim(struct ac_lock *lock);
static bool owns(const struct ac_lock *lock, const struct coro *coro);
static bool is_free(const struct ac_lock *lock, const struct loop *loop);
static void make_owner(struct ac_lock *lock, struct coro *coro, uint32_t depth);
static int take_again(struct ac_lock *lock);
static void join_queue(struct place *place);
static void leave_queue(struct place *place);
static void watch_owner(struct ac_lock *lock, struct coro *owner);
static void owner_has_ended(struct end_watch *watch, const struct ac_exit *exit);
static void hand_over(struct ac_lock *lock);
static bool abandon_lock(struct coro *coro);
static struct ac_lock *lock_of(struct ac_condition *condition);
static bool leave_condition(struct place *place);
static void retaken(struct waiter *waiter);
static bool abandon_condition(struct coro *coro);
static void forget_condition(struct coro *coro);
static bool abandon_retake(struct coro *coro);
static void forget_retake(struct coro *coro);

// coro->wait_for is the place.
static const struct wait_kind lock_wait = {"lock", abandon_lock, .until_deadline = false};
static const struct wait_kind condition_wait = {"condition", abandon_condition,
                                                .forget = forget_condition};
static const struct wait_kind retake_wait = {"lock", abandon_retake, .forget = forget_retake};

static uint64_t id_of(const struct coro *coro) { return coro_ref(coro).id; }

// ---- lock ----

int ac_lock_acquire(struct ac_lock *lock, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_try(self, deadline);
    if (err == 0)
        err = claim(lock);
    if (err < 0)
        return err;
    if (lock->owner_ == id_of(self))
        return take_again(lock);
    if (is_free(lock, self->loop)) {
        make_owner(lock, self, 1);
        return 0;
    }
    err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct place place = {.waiter = {.coro = self}, .lock = lock, .depth = 1};
    join_queue(&place);
    self->wait_for = &place;
    return coro_wait(self, &lock_wait, deadline);
}

int ac_lock_release(struct ac_lock *lock) {
    struct coro *self = coro_here();
    if (!owns(lock, self))
        return -EPERM;
    if (--lock->depth_ == 0) {
        self->held--;
        hand_over(lock);
    }
    return 0;
}

bool ac_lock_is_mine(const struct ac_lock *lock) { return owns(lock, coro_here()); }

// The claim is looked at first: without it the rest may be changing under another thread.
static bool owns(const struct ac_lock *lock, const struct coro *coro) {
    return coro && object_is_mine(&lock->loop_) && lock->owner_ == id_of(coro);
}

// What a loop that has ended left in the lock, an owner at the most, is forgotten.
static int claim(struct ac_lock *lock) {
    int err = object_claim(&lock->loop_);
    if (likely(err == 0) || !object_take_over(&lock->loop_))
        return err;
    lock->owner_ = 0;
    lock->away_ = 0;
    lock->queue_ = (struct ac_queue_){0};
    return 0;
}

// One whose owner has ended is, if nobody waits: else the first of these is about to be told.
static bool is_free(const struct ac_lock *lock, const struct loop *loop) {
    return lock->owner_ == 0 ||
           unlikely(!coro_is_alive(loop, lock->owner_) && !waiter_first(&lock->queue_));
}

static void make_owner(struct ac_lock *lock, struct coro *coro, uint32_t depth) {
    lock->owner_ = id_of(coro);
    lock->depth_ = depth;
    coro_holds(coro);
}

static int take_again(struct ac_lock *lock) {
    if (!lock->reentrant)
        return -EDEADLK;
    if (lock->depth_ == UINT32_MAX)
        return -EOVERFLOW;
    lock->depth_++;
    return 0;
}

// Of a lock that is waited for.
static struct coro *owner_of(const struct place *place) {
    return coro_find(place->waiter.coro->loop, place->lock->owner_);
}

static void join_queue(struct place *place) {
    struct ac_lock *lock = place->lock;
    place->owner_ended.ended = owner_has_ended;
    list_init(&place->owner_ended.link);
    waiter_append(&lock->queue_, &place->waiter);
    if (waiter_first(&lock->queue_) == &place->waiter)
        watch_owner(lock, owner_of(place));
}

static void leave_queue(struct place *place) {
    struct ac_lock *lock = place->lock;
    bool watched = !list_empty(&place->owner_ended.link);
    coro_unwatch(&place->owner_ended);
    waiter_remove(&place->waiter);
    if (watched)
        watch_owner(lock, owner_of(place));
}

// The first in the queue, if there is one, watches the owner, who lives.
static void watch_owner(struct ac_lock *lock, struct coro *owner) {
    struct waiter *first = waiter_first(&lock->queue_);
    if (first)
        coro_watch(owner, &container_of(first, struct place, waiter)->owner_ended);
}

static void owner_has_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    hand_over(container_of(watch, struct place, owner_ended)->lock);
}

// The owner has given it up, or has ended.
static void hand_over(struct ac_lock *lock) {
    struct waiter *first = waiter_first(&lock->queue_);
    if (first) {
        struct place *place = container_of(first, struct place, waiter);
        coro_unwatch(&place->owner_ended);
        waiter_remove(first);
        make_owner(lock, first->coro, place->depth);
        watch_owner(lock, first->coro);
        waiter_grant(first);
        return;
    }
    lock->owner_ = 0;
    lock->depth_ = 0;
    if (lock->away_ == 0)
        object_give_up(&lock->loop_);
}

static bool abandon_lock(struct coro *coro) {
    leave_queue(coro->wait_for);
    return true;
}

// ---- owners that end ----

// On a stack that may be small: what is written is put together with little of it.
void coro_leaves_locks(struct coro *coro) {
    coro->held = 0;
    coro->loop->left_behind++;
    if (coro->loop->traced)
        coro_trace(coro, "has ended with a lock held");
    if (!coro->loop->tells_left)
        return;
    static const char head[] = "asyncoro: ", tail[] = ", has ended with a lock held\n";
    char text[256];
    memcpy(text, head, sizeof head - 1);
    size_t length = sizeof head - 1;
    length += coro_name(coro, text + length, sizeof text - length - sizeof tail);
    memcpy(text + length, tail, sizeof tail - 1);
    fwrite(text, 1, length + sizeof tail - 1, stderr);
}

// ---- condition ----

int ac_condition_acquire(struct ac_condition *condition, ac_time deadline) {
    return ac_lock_acquire(lock_of(condition), deadline);
}

int ac_condition_release(struct ac_condition *condition) {
    return ac_lock_release(lock_of(condition));
}

int ac_condition_wait(struct ac_condition *condition, ac_time deadline) {
    struct coro *self = coro_here();
    struct ac_lock *lock = lock_of(condition);
    if (!owns(lock, self))
        return -EPERM;
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct place place = {
        .waiter = {.coro = self, .granted = retaken}, .lock = lock, .depth = lock->depth_};
    waiter_append(&condition->queue_, &place.waiter);
    lock->away_++;
    self->held--;
    hand_over(lock);
    self->wait_for = &place;
    return coro_wait(self, &condition_wait, deadline);
}

int ac_condition_notify(struct ac_condition *condition, uint32_t count) {
    if (!owns(lock_of(condition), coro_here()))
        return -EPERM;
    uint32_t notified = 0;
    struct waiter *first;
    while (notified < count && (first = waiter_first(&condition->queue_))) {
        struct place *place = container_of(first, struct place, waiter);
        place->notified = true;
        leave_condition(place);
        notified++;
    }
    return (int)notified;
}

static struct ac_lock *lock_of(struct ac_condition *condition) {
    if (condition->lock)
        return condition->lock;
    if (!condition->own_.reentrant)
        condition->own_.reentrant = true;
    return &condition->own_;
}

// Goes back to the lock. True: has it; false: stands in its queue.
static bool leave_condition(struct place *place) {
    struct ac_lock *lock = place->lock;
    struct coro *coro = place->waiter.coro;
    waiter_remove(&place->waiter);
    lock->away_--;
    if (is_free(lock, coro->loop)) {
        make_owner(lock, coro, place->depth);
        return true;
    }
    coro->wait = &retake_wait;
    join_queue(place);
    return false;
}

// Owns the lock again. A deadline or a cancellation that came after the notification is no end of
// the wait.
static void retaken(struct waiter *waiter) {
    struct coro *coro = waiter->coro;
    int early = container_of(waiter, struct place, waiter)->notified ? 0 : coro->early;
    coro_note_told(coro, early);
    coro->early = 0;
    coro_wake(coro, early);
}

static bool abandon_condition(struct coro *coro) { return leave_condition(coro->wait_for); }

static void forget_condition(struct coro *coro) {
    struct place *place = coro->wait_for;
    struct ac_lock *lock = place->lock;
    waiter_remove(&place->waiter);
    lock->away_--;
    if (lock->owner_ == 0 && lock->away_ == 0)
        object_give_up(&lock->loop_);
}

// Who has left the condition has nowhere to go but to the lock.
static bool abandon_retake(struct coro *coro) {
    (void)coro;
    return false;
}

static void forget_retake(struct coro *coro) { abandon_lock(coro); }
