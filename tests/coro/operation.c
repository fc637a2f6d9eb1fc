// SPDX-License-Identifier: MIT
// Tests of src/coro/operation.c: coroutines that wait for the poller: deadlines, cancellation, who
// wins a race. A driver that lets go of an operation only later, as io_uring does, stands in where
// epoll is too quick.
#include "coro/coro.h"
#include "test.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sys_handle handle; // our end
static int other;                // the other one

static struct loop *make_pair(void) {
    int err = 0, ends[2];
    struct loop *loop = loop_need(&err);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    sys_adopt(loop->sys, &handle, ends[0], false);
    other = ends[1];
    return loop;
}

static void run_and_close(void) {
    struct loop *loop = loop_here;
    ck_assert_int_eq(loop_run(loop), 0);
    sys_close(&handle);
    close(other);
    ck_assert_int_eq(ac_run(), 0);
}

static char bytes[100];

static int64_t read_until(ac_time deadline) {
    struct sys_op op = {.verb = SYS_READ, .handle = &handle, .bytes = bytes, .count = sizeof bytes};
    return coro_operate(&op, deadline);
}

static void put(const char *text) {
    ck_assert_int_eq(write(other, text, strlen(text)), (ssize_t)strlen(text));
}

static double seconds_since(ac_time start) { return (double)(ac_now() - start) * 1e-9; }

// ---- results ----

static ac_value read_twice(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(read_until(AC_FOREVER), 5);
    ck_assert_int_eq(read_until(ac_after(10)), 3);
    return ac_nil;
}

static ac_value write_later(ac_value unused) {
    (void)unused;
    put("hello");
    ck_assert_int_eq(ac_sleep(0.02), 0);
    put("you");
    return ac_nil;
}

TEST(an_operation_gives_its_result_at_once_or_later) {
    make_pair();
    ac_spawn(write_later, ac_nil);
    ac_spawn(read_twice, ac_nil);
    run_and_close();
}

TEST(an_operation_gives_its_result_to_a_loop_that_polls) {
    make_pair()->poll_ns = 1000 * 1000 * 1000;
    ac_spawn(write_later, ac_nil);
    ac_spawn(read_twice, ac_nil);
    run_and_close();
}

TEST(operations_are_refused_outside_coroutines) {
    ck_assert_int_eq(read_until(AC_FOREVER), -EPERM);
    make_pair();
    ck_assert_int_eq(read_until(AC_NOW), -EPERM);
    run_and_close();
}

static ac_value read_with_deadlines(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(read_until(AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(read_until(ac_now() - 1), -ETIMEDOUT);
    ac_time start = ac_now();
    ck_assert_int_eq(read_until(ac_after(0.05)), -ETIMEDOUT);
    ck_assert_double_ge(seconds_since(start), 0.05);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
    put("data");
    ck_assert_int_eq(read_until(AC_NOW), 4); // try, never wait
    put("data");
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ck_assert_int_eq(read_until(ac_after(-1)), 4);
    put("data"); // and the poller has not been asked since
    ck_assert_int_eq(read_until(ac_after(-1)), 4);
    return ac_nil;
}

TEST(an_operation_ends_when_time_is_up) {
    make_pair();
    ac_spawn(read_with_deadlines, ac_nil);
    run_and_close();
}

// ---- one whose operations never wait ----

static bool has_slept;

static ac_value sleep_shortly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.02), 0);
    has_slept = true;
    return ac_nil;
}

static ac_value read_until_slept(ac_value unused) {
    (void)unused;
    while (!has_slept) {
        put("x");
        ck_assert_int_eq(read_until(AC_NOW), 1);
    }
    return ac_nil;
}

TEST(timers_run_while_a_coroutine_reads_all_the_time) {
    make_pair();
    ac_spawn(sleep_shortly, ac_nil);
    ac_spawn(read_until_slept, ac_nil);
    run_and_close();
}

// ---- cancellation ----

static int64_t cancelled_result;

static ac_value read_and_be_cancelled(ac_value unused) {
    (void)unused;
    cancelled_result = read_until(ac_after(20));
    return ac_nil;
}

static ac_value cancel_reader(ac_value unused) {
    (void)unused;
    ac_ref reader = ac_spawn(read_and_be_cancelled, ac_nil);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ck_assert_int_eq(ac_cancel(reader), 0);
    struct ac_exit end;
    ck_assert_int_eq(ac_join(reader, &end, ac_after(10)), 0);
    ck_assert_int_eq(end.how, AC_CANCELLED);
    ck_assert_int_eq(cancelled_result, -ECANCELED);
    put("data");
    ck_assert_int_eq(read_until(ac_after(10)), 4); // nobody took it
    return ac_nil;
}

TEST(an_operation_can_be_cancelled_and_takes_nothing) {
    make_pair();
    ac_spawn(cancel_reader, ac_nil);
    run_and_close();
}

static ac_value read_when_cancelled(ac_value unused) {
    (void)unused;
    put("data");
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(read_until(AC_FOREVER), -ECANCELED); // nothing is taken
    ck_assert_int_eq(read_until(AC_NOW), -ECANCELED);
    ck_assert_int_eq(read(handle.fd, bytes, sizeof bytes), 4);
    return ac_nil;
}

TEST(one_that_is_cancelled_starts_no_operation) {
    make_pair();
    ac_spawn(read_when_cancelled, ac_nil);
    run_and_close();
}

static ac_value write_then_cancel(ac_value whom) {
    put("data"); // the poller has not looked yet
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    return ac_nil;
}

TEST(data_that_races_with_a_cancellation_stays_in_the_socket) {
    make_pair();
    ac_ref reader = ac_spawn(read_and_be_cancelled, ac_nil);
    ac_spawn(write_then_cancel, reader);
    struct loop *loop = loop_here;
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(cancelled_result, -ECANCELED);
    ck_assert_int_eq(read(handle.fd, bytes, sizeof bytes), 4);
    run_and_close();
}

// ---- a daemon that reads on ----

static ac_value read_regardless(ac_value unused) {
    for (;;)
        (void)read_until(AC_FOREVER);
    return unused;
}

TEST(a_daemon_that_reads_on_is_abandoned) {
    make_pair();
    ac_spawn(read_regardless, ac_nil, .daemon = true);
    ac_spawn(sleep_shortly, ac_nil);
    ac_time start = ac_now();
    run_and_close();
    ck_assert_double_lt((double)(sys_clock() - start) * 1e-9, TEST_PATIENCE_S);
}

// ---- the handle is closed while somebody waits ----

static int64_t aborted_result;
static struct sys_op aborted_op;

static ac_value read_and_be_aborted(ac_value seconds) {
    aborted_op = (struct sys_op){
        .verb = SYS_READ, .handle = &handle, .bytes = bytes, .count = sizeof bytes};
    ac_time deadline = ac_is_nil(seconds) ? AC_FOREVER : ac_after(ac_real_of(seconds));
    aborted_result = coro_operate(&aborted_op, deadline);
    return ac_nil;
}

static ac_value abort_it(ac_value unused) {
    (void)unused;
    coro_operation_abort(&aborted_op, -ECONNABORTED);
    return ac_nil;
}

TEST(a_pending_operation_can_be_ended_with_an_error) {
    make_pair();
    ac_spawn(read_and_be_aborted, 10.0);
    ac_spawn(abort_it, ac_nil);
    run_and_close();
    ck_assert_int_eq(aborted_result, -ECONNABORTED);
}

// ---- a driver that lets go of cancelled operations later ----

static struct sys_driver slow;
static const struct sys_driver *quick; // what it lies over
static struct sys_op *cancelled;       // the poller finishes it the next time
static int64_t late_result;            // with this

static bool cancel_later(struct sys_op *op) {
    ck_assert_ptr_null(cancelled);
    cancelled = op;
    return false;
}

static int poll_slowly(struct sys *sys, ac_time deadline) {
    struct sys_op *op = cancelled;
    int err = quick->poll(sys, op ? AC_NOW : deadline);
    if (op) {
        cancelled = NULL;
        ck_assert(quick->cancel(op));
        op->result = late_result;
        op->finished(op);
    }
    return err;
}

static void make_slow_pair(int64_t result) {
    struct loop *loop = make_pair();
    quick = loop->sys->driver;
    slow = *quick;
    slow.cancel = cancel_later;
    slow.poll = poll_slowly;
    loop->sys->driver = &slow;
    late_result = result;
}

static ac_value cancel_aborted(ac_value whom) {
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    ck_assert_int_eq(aborted_result, 0); // not yet
    return ac_nil;
}

static void end_of_reader(ac_ref reader, struct ac_exit *end) {
    ck_assert_int_eq(ac_join(reader, end, ac_after(10)), 0);
}

static ac_value see_slow_cancellation(ac_value result) {
    late_result = ac_int_of(result);
    aborted_result = 0;
    ac_ref reader = ac_spawn(read_and_be_aborted, ac_nil);
    ac_spawn(cancel_aborted, reader);
    struct ac_exit end;
    end_of_reader(reader, &end);
    ck_assert_int_eq(aborted_result, late_result);
    ck_assert_int_eq(end.how, late_result == -ECANCELED ? AC_CANCELLED : AC_FINISHED);
    return ac_nil;
}

TEST(a_slow_cancellation_is_waited_for) {
    make_slow_pair(-ECANCELED);
    ac_spawn(see_slow_cancellation, -ECANCELED);
    run_and_close();
}

TEST(a_result_that_was_quicker_than_the_cancellation_is_handed_over) {
    make_slow_pair(5);
    ac_spawn(see_slow_cancellation, 5);
    run_and_close();
}

static int replacements_run;

static ac_value read_and_be_replaced(ac_value unused) {
    (void)ac_set_replaceable(true);
    return read_and_be_aborted(unused);
}

static ac_value go_on(ac_value unused) {
    (void)unused;
    replacements_run++;
    return ac_nil;
}

static ac_value see_slow_replacement(ac_value unused) {
    (void)unused;
    for (int both = 0; both < 2; both++) {
        aborted_result = 0;
        ac_ref reader = ac_spawn(read_and_be_replaced, ac_nil);
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_replace(reader, go_on, ac_nil), 0);
        if (both)
            ck_assert_int_eq(ac_cancel(reader), 0);
        ck_assert_int_eq(aborted_result, 0); // not yet
        struct ac_exit end;
        end_of_reader(reader, &end);
        ck_assert_int_eq(aborted_result, both ? -ECANCELED : -ERESTART);
        ck_assert_int_eq(end.how, both ? AC_CANCELLED : AC_FINISHED);
    }
    ck_assert_int_eq(replacements_run, 1);
    return ac_nil;
}

TEST(a_slow_replacement_is_waited_for_and_a_cancellation_meanwhile_goes_before_it) {
    make_slow_pair(-ECANCELED);
    ac_spawn(see_slow_replacement, ac_nil);
    run_and_close();
}

static ac_value see_slow_deadlines(ac_value unused) {
    (void)unused;
    const double seconds[] = {0.01, 0.0, -1.0};
    for (size_t i = 0; i < countof(seconds); i++) {
        for (int wins = 0; wins < 2; wins++) {
            late_result = wins ? 3 : -ECANCELED;
            aborted_result = 0;
            ac_ref reader = ac_spawn(read_and_be_aborted, seconds[i]);
            struct ac_exit end;
            end_of_reader(reader, &end);
            ck_assert_int_eq(aborted_result, wins ? 3 : -ETIMEDOUT);
            ck_assert_int_eq(end.how, AC_FINISHED);
        }
    }
    return ac_nil;
}

TEST(a_slow_deadline_is_told_from_a_cancellation) {
    make_slow_pair(0);
    ac_spawn(see_slow_deadlines, ac_nil);
    run_and_close();
}

static ac_value abort_slowly(ac_value unused) {
    (void)unused;
    late_result = -ECANCELED;
    coro_operation_abort(&aborted_op, -ECONNABORTED);
    return ac_nil;
}

TEST(a_slow_abort_keeps_its_reason) {
    make_slow_pair(0);
    ac_spawn(read_and_be_aborted, ac_nil);
    ac_spawn(abort_slowly, ac_nil);
    run_and_close();
    ck_assert_int_eq(aborted_result, -ECONNABORTED);
}
