// SPDX-License-Identifier: MIT
// Locks and friends for the coroutines of one loop: lock, condition, event, semaphore, read-write
// lock, wait group, with the meaning that Python's threading and Go's sync give these words.
//
// Nothing preempts a coroutine, so what is read and written between two waits needs none of these:
// they are for what must stay together across a wait.
//
// Each is a struct that its user lays down where he likes and that needs no call to begin or to
// end: all zero is free, unset, empty (`static struct ac_lock lock;`). It must not be moved, or its
// memory given back, while somebody holds it or waits for it. Fields that end in `_` are private.
//
// Order. Those who wait are served first come, first served, and what they wait for is handed to
// them: when ac_lock_release returns, the first in the queue owns the lock, though it has not run
// yet. So nobody overtakes and nobody starves. Who does not have to wait does not let the others
// run.
//
// A lock that is still held when its owner ends is an error of the program, and is not kept: who
// waits for it, or comes next, gets it, and with it whatever the owner left half done.
// AC_TRACE=coro and AC_DEBUG=locks tell of who ends so. Those of another loop find it in use until
// one of this loop has come, or this loop has ended: then all that its coroutines held is free.
//
// Every wait takes a deadline (AC_NOW: try). One that ends early, with -ETIMEDOUT or -ECANCELED,
// leaves the queue as if it had never been in it.
//
// A cancelled coroutine gets -ECANCELED also where it would not have to wait; with AC_NOW it still
// takes what can be had.
//
// An object is used by the coroutines of one loop at a time: while somebody holds it or waits for
// it (for one that nobody holds: waits for it), those of another loop get -EXDEV. Between loops
// send messages.
#ifndef ASYNCORO_SYNC_H
#define ASYNCORO_SYNC_H

#include <asyncoro/base.h>

#ifdef __cplusplus
extern "C" {
#endif

// Who waits, in order. Private.
struct ac_queue_ {
    void *first_;
    void *last_;
};

// ---- lock ----

// Owned by one coroutine at a time. `.reentrant = true` lets the owner take it again; it is then
// free after as many releases.
struct ac_lock {
    bool reentrant;
    uint32_t depth_;
    uint32_t away_;  // who waits at its conditions, and will want it back
    uint64_t owner_; // id of the coroutine; 0: free
    void *loop_;     // whose coroutines use it
    struct ac_queue_ queue_;
};

// Takes the lock. Can wait. 0; -ETIMEDOUT (with AC_NOW: it is taken); -ECANCELED; -EPERM outside
// coroutines; -EDEADLK if the caller owns it already and it is not reentrant; -EOVERFLOW after 2^32
// - 1 times; -EXDEV.
AC_API int ac_lock_acquire(struct ac_lock *lock, ac_time deadline) AC_CHECKED;

// Gives the lock to the first who waits, if any. Does not wait. 0; -EPERM if the caller does not
// own it.
AC_API int ac_lock_release(struct ac_lock *lock);

// Whether the running coroutine owns it.
AC_API bool ac_lock_is_mine(const struct ac_lock *lock);

// ---- condition ----

// `.lock` is the lock that goes with it; NULL: one of its own, reentrant.
struct ac_condition {
    struct ac_lock *lock;
    struct ac_lock own_;
    struct ac_queue_ queue_;
};

// The lock of the condition: as ac_lock_acquire and ac_lock_release.
AC_API int ac_condition_acquire(struct ac_condition *condition, ac_time deadline) AC_CHECKED;
AC_API int ac_condition_release(struct ac_condition *condition);

// Releases the lock (however often a reentrant one was taken), waits until notified, and takes the
// lock again as often. It holds the lock whenever it returns, also after -ETIMEDOUT and -ECANCELED,
// for which it may have to wait longer than the deadline. A deadline that is over, such as AC_NOW,
// gives -ETIMEDOUT without releasing the lock. The only other end is -EPERM: the caller does not
// own the lock. Can wait.
AC_API int ac_condition_wait(struct ac_condition *condition, ac_time deadline) AC_CHECKED;

// Lets the first `count` of those who wait go on, one after the other, as soon as the lock is free.
// AC_ALL: all who wait now. Does not wait. How many; -EPERM if the caller does not own the lock.
AC_API int ac_condition_notify(struct ac_condition *condition, uint32_t count);
#define AC_ALL UINT32_MAX

// ---- event ----

// Something that has happened or not; at first it has not.
struct ac_event {
    bool set_;
    void *loop_;
    struct ac_queue_ queue_;
};

// Sets it: all who wait go on, and later waits return at once until it is cleared. May be called
// outside coroutines. 0; -EXDEV.
AC_API int ac_event_set(struct ac_event *event);
AC_API int ac_event_clear(struct ac_event *event);
// Whether it is set.
AC_API bool ac_event_is_set(const struct ac_event *event);

// Waits until it is set; one that was set meanwhile counts even if it has been cleared again. Can
// wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EXDEV.
AC_API int ac_event_wait(struct ac_event *event, ac_time deadline) AC_CHECKED;

// ---- semaphore ----

// `.count`: how many may acquire it before one has to wait; afterwards how many still may.
// `.count_max`, if not 0, is the most to which releases may bring it.
struct ac_semaphore {
    uint32_t count;
    uint32_t count_max;
    void *loop_;
    struct ac_queue_ queue_;
};

// Takes one. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EXDEV.
AC_API int ac_semaphore_acquire(struct ac_semaphore *semaphore, ac_time deadline) AC_CHECKED;

// Gives one back: to the first who waits, if any. Anybody may, also outside coroutines. 0;
// -EOVERFLOW above count_max; -EXDEV.
AC_API int ac_semaphore_release(struct ac_semaphore *semaphore);

// ---- read-write lock ----

// Held by any number of readers or by one writer.
struct ac_rwlock {
    uint64_t writer_;            // id of the coroutine that holds it to write; 0: none
    struct ac_reader_ *readers_; // who holds it to read
    uint32_t left_behind_;       // how many had ended with a lock held when it was last looked at
    void *loop_;
    struct ac_queue_ queue_;
};

// Takes it to read, together with other readers, or to write, alone. First come, first served: a
// reader that comes after a waiting writer waits behind it; readers next to one another in the
// queue are let in together. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EDEADLK if the caller
// holds it already in either way; -ENOMEM; -EXDEV.
AC_API int ac_rwlock_read(struct ac_rwlock *lock, ac_time deadline) AC_CHECKED;
AC_API int ac_rwlock_write(struct ac_rwlock *lock, ac_time deadline) AC_CHECKED;

// Gives up what the caller holds, be it to read or to write. 0; -EPERM if he holds nothing.
AC_API int ac_rwlock_release(struct ac_rwlock *lock);

// ---- wait group ----

// Counts what is still to be done.
struct ac_waitgroup {
    uint32_t count_;
    void *loop_;
    struct ac_queue_ queue_;
};

// `count` more are to be done; a negative one: so many are done. When none is left all who wait go
// on. May be called outside coroutines. 0; -EINVAL if more would be done than were added;
// -EOVERFLOW; -EXDEV.
AC_API int ac_waitgroup_add(struct ac_waitgroup *group, int count);
// One is done: as ac_waitgroup_add(group, -1).
AC_API int ac_waitgroup_done(struct ac_waitgroup *group);
// Waits until nothing is left to be done, at once if nothing is. Can wait. 0; -ETIMEDOUT;
// -ECANCELED; -EPERM; -EXDEV.
AC_API int ac_waitgroup_wait(struct ac_waitgroup *group, ac_time deadline) AC_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
