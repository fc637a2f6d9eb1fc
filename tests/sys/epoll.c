// SPDX-License-Identifier: MIT
// Tests of src/sys/epoll.c: what is epoll's alone; what it shares with other pollers is tested in
// tests/sys/poller.c.
#include "sys/filter.h"
#include "sys/trial.h"

#include <stdlib.h>
#include <sys/syscall.h>

static void check_old_kernel(int err) {
    filter(SYS_epoll_pwait2, FILTER_ERROR(err));
    int failed = 0;
    sys = sys_create(&sys_epoll, &failed);
    ck_assert_ptr_nonnull(sys);
    for (int i = 0; i < 5; i++) {
        ac_time begun = sys_now(sys);
        ck_assert_int_eq(sys_poll(sys, begun + 7300000), 0);
        ck_assert_int_ge(sys_now(sys) - begun, 7300000);
    }
    ck_assert_int_eq(sys_poll(sys, AC_NOW), 0);
    sys_wake(sys);
    ck_assert_int_eq(sys_poll(sys, AC_FOREVER), 0);
    sys_destroy(sys);
}

TEST(an_old_kernel_waits_as_well) { check_old_kernel(ENOSYS); }
TEST(a_container_that_forbids_new_calls_waits_as_well) { check_old_kernel(EPERM); }

// ---- nesting ----

enum { PAIRS = 300 }; // more than one sys_poll tells of

static struct sys *outer;
static struct sys_handle *handles[PAIRS];
static struct trial reading[PAIRS];
static int others[PAIRS];
static char bytes[PAIRS];

// `sys` is the inner one.
static void make_nested(void) {
    int err = 0;
    outer = sys_create(&sys_epoll, &err);
    sys = sys_create(&sys_epoll, &err);
    ck_assert(outer && sys);
    ck_assert_int_eq(sys_nest(outer, sys), 0);
}

static void read_of(int i) {
    handles[i] = malloc(sizeof *handles[i]);
    others[i] = make_pair(handles[i]);
    ck_assert(!start(&reading[i], SYS_READ, handles[i], &bytes[i], 1));
}

static void write_to(int i) { ck_assert_int_eq(write(others[i], "x", 1), 1); }

// Its memory may not be looked at any more.
static void close_of(int i) {
    if (!reading[i].finished)
        ck_assert(sys_cancel(&reading[i].op));
    sys_close(handles[i]);
    memset(handles[i], 0xff, sizeof *handles[i]);
    free(handles[i]);
    close(others[i]);
}

static void poll_outer(void) {
    outer->inner_due = false;
    ck_assert_int_eq(sys_poll(outer, AC_NOW), 0);
}

static void destroy_nested(int pairs) {
    for (int i = 0; i < pairs; i++)
        close_of(i);
    ck_assert_int_eq(sys_nest(outer, NULL), 0);
    sys_destroy(sys);
    poll_outer();
    ck_assert(!outer->inner_due);
    sys_destroy(outer);
}

TEST(the_outer_poller_finds_what_is_ready_in_the_inner_one) {
    make_nested();
    read_of(0);
    read_of(1);
    poll_outer(); // they can be written to
    ck_assert(sys_feed(outer));
    for (int i = 0; i < 3; i++) {
        poll_outer();
        ck_assert(!outer->inner_due);
        write_to(1);
        poll_outer();
        ck_assert(outer->inner_due);
        ck_assert_int_eq(reading[1].finished, 0);
        ck_assert(sys_feed(outer));
        ck_assert_int_eq(reading[1].finished, 1);
        ck_assert(sys_feed(outer));
        ck_assert(!start(&reading[1], SYS_READ, handles[1], &bytes[1], 1));
    }
    ck_assert_int_eq(reading[0].finished, 0);
    // The inner one has been told of it as well, and it does no harm.
    poll_now();
    ck_assert_int_eq(reading[1].finished, 0);
    sys_wake(sys);
    poll_outer();
    ck_assert(outer->inner_due);
    ck_assert(sys_feed(outer));
    destroy_nested(2);
}

TEST(what_the_inner_poller_has_seen_itself_it_may_be_fed_too) {
    make_nested();
    read_of(0);
    poll_outer();
    write_to(0);
    poll_outer();
    poll_now();
    ck_assert_int_eq(reading[0].finished, 1);
    ck_assert(!start(&reading[0], SYS_READ, handles[0], &bytes[0], 1));
    ck_assert(sys_feed(outer));
    ck_assert_int_eq(reading[0].finished, 0);
    write_to(0);
    poll_outer();
    ck_assert(sys_feed(outer));
    ck_assert_int_eq(reading[0].finished, 1);
    destroy_nested(1);
}

// As the guardian of a guest may do, whose host has just been told of it.
TEST(a_handle_that_was_closed_meanwhile_is_not_fed) {
    make_nested();
    for (int i = 0; i < PAIRS; i++)
        read_of(i);
    poll_outer();
    for (int i = 0; i < PAIRS; i++)
        write_to(i);
    poll_outer();
    ck_assert(outer->inner_due);
    close_of(0);
    ck_assert(!sys_feed(outer));
    // From now on the inner one is asked, until that has told everything.
    for (int rounds = 0; sys->queued; rounds++) {
        ck_assert_int_lt(rounds, 3);
        ck_assert(!sys_feed(outer));
        poll_now();
    }
    for (int i = 1; i < PAIRS; i++)
        ck_assert_int_eq(reading[i].finished, 1);
    ck_assert(sys_feed(outer));
    poll_outer();
    ck_assert(sys_feed(outer));
    read_of(0);
    poll_outer();
    (void)sys_feed(outer);
    write_to(0);
    poll_outer();
    ck_assert(sys_feed(outer));
    ck_assert_int_eq(reading[0].finished, 1);
    destroy_nested(PAIRS);
}
