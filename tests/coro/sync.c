// SPDX-License-Identifier: MIT
// Tests of src/coro/sync.c: event, semaphore and wait group: order, deadlines, cancellation, other
// threads, and places in several queues at once.
#include "coro/fifo.h"

// What happened, in order: one letter each.
static char story[256];

static void tell(char letter) {
    size_t length = strlen(story);
    ck_assert_uint_lt(length, sizeof story - 1);
    story[length] = letter;
}

static void run(void) { ck_assert_int_eq(ac_run(), 0); }

// ---- event ----

static struct ac_event event;

static ac_value wait_for_event(ac_value letter) {
    ck_assert_int_eq(ac_event_wait(&event, AC_FOREVER), 0);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

static ac_value set_and_clear(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_event_set(&event), 0);
    ck_assert(ac_event_is_set(&event));
    ck_assert_int_eq(ac_event_wait(&event, AC_NOW), 0);
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert(!ac_event_is_set(&event));
    ck_assert_int_eq(ac_event_wait(&event, AC_NOW), -ETIMEDOUT);
    tell('.');
    return ac_nil;
}

TEST(setting_an_event_lets_all_go_on_even_if_it_is_cleared_before_they_run) {
    for (char it = 'a'; it <= 'e'; it++)
        ac_spawn(wait_for_event, it);
    ac_spawn(set_and_clear, ac_nil);
    run();
    ck_assert_str_eq(story, ".abcde");
    ck_assert_ptr_null(event.queue_.first_);
    ck_assert_ptr_null(event.loop_);
}

// ---- semaphore ----

static struct ac_semaphore semaphore;

static ac_value take_one(ac_value letter) {
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_FOREVER), 0);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

static ac_value release_and_barge(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    tell('.');
    return ac_nil;
}

TEST(what_is_released_is_handed_to_the_first_who_waits) {
    semaphore.count = 1;
    for (char it = 'a'; it <= 'c'; it++)
        ac_spawn(take_one, it);
    ac_spawn(release_and_barge, ac_nil);
    run();
    ck_assert_str_eq(story, "a.bc");
    ck_assert_uint_eq(semaphore.count, 0);
}

static int semaphore_acquire(bool all, ac_time deadline) {
    ck_assert(!all);
    return ac_semaphore_acquire(&semaphore, deadline);
}
static int semaphore_release(void) { return ac_semaphore_release(&semaphore); }

static const struct object three = {
    .room = 3,
    .acquire = semaphore_acquire,
    .release = semaphore_release,
    .queue = &semaphore.queue_,
    .loop = &semaphore.loop_,
};

TEST(a_semaphore_is_first_come_first_served_whatever_happens) {
    semaphore.count = semaphore.count_max = 3;
    fifo_hold(&three);
    ck_assert_uint_eq(semaphore.count, 3);
}

TEST(who_leaves_the_queue_of_a_semaphore_leaves_it_as_it_was) {
    semaphore.count = semaphore.count_max = 3;
    fifo_leave_everywhere(&three);
}
