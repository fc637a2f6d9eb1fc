// SPDX-License-Identifier: MIT
// Tests of src/coro/lock.c: lock, condition, read-write lock.
#include "coro/fifo.h"

// ---- first come, first served ----

static struct ac_lock lock;

static int lock_acquire(bool all, ac_time deadline) {
    ck_assert(!all);
    return ac_lock_acquire(&lock, deadline);
}
static int lock_release(void) { return ac_lock_release(&lock); }

static const struct object plain = {
    .room = 1,
    .acquire = lock_acquire,
    .release = lock_release,
    .queue = &lock.queue_,
    .loop = &lock.loop_,
};

TEST(a_lock_is_first_come_first_served_whatever_happens) { fifo_hold(&plain); }

TEST(who_leaves_the_queue_of_a_lock_leaves_it_as_it_was) { fifo_leave_everywhere(&plain); }

static struct ac_rwlock rwlock;

static int rwlock_acquire(bool all, ac_time deadline) {
    return all ? ac_rwlock_write(&rwlock, deadline) : ac_rwlock_read(&rwlock, deadline);
}
static int rwlock_release(void) { return ac_rwlock_release(&rwlock); }

static const struct object read_write = {
    .room = ALL,
    .shared = true,
    .acquire = rwlock_acquire,
    .release = rwlock_release,
    .queue = &rwlock.queue_,
    .loop = &rwlock.loop_,
};

TEST(a_read_write_lock_is_first_come_first_served_whatever_happens) { fifo_hold(&read_write); }

TEST(who_leaves_the_queue_of_a_read_write_lock_leaves_it_as_it_was) {
    fifo_leave_everywhere(&read_write);
}
