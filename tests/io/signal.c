// SPDX-License-Identifier: MIT
// Tests of src/io/signal.c.
#include <signal.h>
#include <unistd.h>

#include "io/connect.h"

#include "base/base.h"

#include <asyncoro/process.h>

static void send_signal(int number) { ck_assert_int_eq(kill(getpid(), number), 0); }

CORO_TEST(a_signal_is_told_and_does_nothing_else) {
    ac_signals *signals;
    ck_assert_int_eq(ac_signals_open(&signals, SIGTERM, SIGUSR1), 0);
    ck_assert_int_eq(ac_signals_wait(signals, AC_NOW), -ETIMEDOUT);
    send_signal(SIGTERM);
    ck_assert_int_eq(ac_signals_wait(signals, AC_FOREVER), SIGTERM);
    send_signal(SIGTERM);
    send_signal(SIGUSR1);
    send_signal(SIGUSR1);
    ck_assert_int_eq(ac_signals_wait(signals, AC_FOREVER), SIGUSR1); // the lower one, once
    ck_assert_int_eq(ac_signals_wait(signals, AC_NOW), SIGTERM);
    ck_assert_int_eq(ac_signals_wait(signals, ac_after(0.01)), -ETIMEDOUT);
    ac_signals_close(signals);
}

static ac_value send_later(ac_value number) {
    ck_assert_int_eq(ac_sleep(0.005), 0);
    send_signal((int)ac_int_of(number));
    return ac_nil;
}

static ac_signals *shared;
static int results[3];

static ac_value wait_for_one(ac_value n) {
    results[ac_int_of(n)] = ac_signals_wait(shared, AC_FOREVER);
    return ac_nil;
}

CORO_TEST(who_waits_is_woken_by_signal_cancellation_and_closing) {
    ck_assert_int_eq(ac_signals_open(&shared, SIGUSR2), 0);
    ac_spawn(send_later, SIGUSR2);
    ck_assert_int_eq(ac_signals_wait(shared, AC_FOREVER), SIGUSR2);
    ac_ref one = ac_spawn(wait_for_one, 0, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_signals_wait(shared, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_cancel(one), 0);
    ck_assert_int_eq(ac_join(one, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(results[0], -ECANCELED);
    ac_spawn(wait_for_one, 1);
    ck_assert_int_eq(ac_yield(), 0);
    ac_signals_close(shared);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(results[1], -EBADF);
}

static int handled;

static void handle(int number) {
    (void)number;
    handled++;
}

CORO_TEST(each_receiver_is_told_and_after_the_last_all_is_as_before) {
    ac_signals *one, *two;
    signal(SIGUSR1, handle);
    ck_assert_int_eq(ac_signals_open(&one, SIGUSR1), 0);
    ck_assert_int_eq(ac_signals_open(&two, SIGUSR1, SIGHUP), 0);
    send_signal(SIGUSR1);
    ck_assert_int_eq(ac_signals_wait(one, AC_FOREVER), SIGUSR1);
    ck_assert_int_eq(ac_signals_wait(two, AC_FOREVER), SIGUSR1);
    ac_signals_close(one);
    send_signal(SIGUSR1);
    ck_assert_int_eq(ac_signals_wait(two, AC_FOREVER), SIGUSR1);
    ck_assert_int_eq(handled, 0);
    ac_signals_close(two);
    send_signal(SIGUSR1);
    ck_assert_int_eq(handled, 1);
}

TEST(without_a_receiver_it_ends_the_program_again, .signal = SIGHUP) {
    ac_signals *signals;
    ck_assert_int_eq(ac_signals_open(&signals, SIGHUP), 0);
    send_signal(SIGHUP);
    ac_signals_close(signals);
    send_signal(SIGHUP);
}

CORO_TEST(what_cannot_be_received_is_refused) {
    ac_signals *signals;
    static const int wrong[] = {-1, 65, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGABRT};
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_int_eq(ac_signals_open(&signals, SIGUSR1, wrong[i]), -EINVAL);
    ck_assert_int_eq(ac_signals_open(&signals, SIGUSR1, SIGUSR1), -EINVAL);
    ck_assert_int_eq(ac_signals_open(&signals, 0), -EINVAL);
    ck_assert_int_eq(ac_signals_open(NULL, SIGUSR1), -EINVAL);
    ck_assert_int_eq(ac_signals_open_list(&signals, NULL), -EINVAL);
    ck_assert_ptr_null(signals);
    ck_assert_int_eq(ac_signals_wait(NULL, AC_NOW), -EINVAL);
    ac_signals_close(NULL);
    struct sigaction now;
    ck_assert_int_eq(sigaction(SIGUSR1, NULL, &now), 0);
    ck_assert(now.sa_handler == SIG_DFL);
}

CORO_TEST(there_is_a_limit) {
    ac_signals *all[AC_SIGNALS_MAX], *more;
    for (int i = 0; i < AC_SIGNALS_MAX; i++)
        ck_assert_int_eq(ac_signals_open(&all[i], SIGUSR1), 0);
    ck_assert_int_eq(ac_signals_open(&more, SIGUSR1), -EAGAIN);
    send_signal(SIGUSR1);
    for (int i = 0; i < AC_SIGNALS_MAX; i++) {
        ck_assert_int_eq(ac_signals_wait(all[i], AC_FOREVER), SIGUSR1);
        ac_signals_close(all[i]);
    }
    ck_assert_int_eq(ac_signals_open(&more, SIGUSR1), 0);
    ac_signals_close(more);
}

// ---- several loops ----

static ac_value receive(ac_value n) {
    ac_signals *signals;
    ck_assert_int_eq(ac_signals_open(&signals, SIGUSR1), 0);
    __atomic_store_n(&results[ac_int_of(n)], 1, __ATOMIC_SEQ_CST); // ready
    int number = ac_signals_wait(signals, AC_FOREVER);
    ac_signals_close(signals);
    return ac_of_int(number);
}

static ac_value receive_on_all_loops(ac_value unused) {
    (void)unused;
    ac_ref all[3];
    for (int i = 0; i < 3; i++)
        all[i] = ac_spawn(receive, i, .loop = i + 1, .joinable = true);
    for (int i = 0; i < 3; i++)
        while (!__atomic_load_n(&results[i], __ATOMIC_SEQ_CST))
            ck_assert_int_eq(ac_sleep(0.001), 0);
    send_signal(SIGUSR1);
    for (int i = 0; i < 3; i++) {
        struct ac_exit exit;
        ck_assert_int_eq(ac_join(all[i], &exit, AC_FOREVER), 0);
        ck_assert_int_eq(ac_int_of(exit.value), SIGUSR1);
        ac_drop(exit.value);
    }
    return ac_nil;
}

TEST(receivers_on_several_loops_are_each_told) {
    spawn(receive_on_all_loops);
    ck_assert_int_eq(ac_run(.loops = 3), 0);
}

static ac_value storm(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        ac_signals *signals;
        ck_assert_int_eq(ac_signals_open(&signals, SIGUSR1), 0);
        if (i % 3)
            (void)ac_yield();
        int number = ac_signals_wait(signals, AC_NOW);
        ck_assert(number == SIGUSR1 || number == -ETIMEDOUT);
        ac_signals_close(signals);
    }
    __atomic_store_n(&results[0], 1, __ATOMIC_SEQ_CST);
    return ac_nil;
}

static ac_value keep_sending(ac_value unused) {
    (void)unused;
    ac_signals *signals; // so that it never ends the program
    ck_assert_int_eq(ac_signals_open(&signals, SIGUSR1), 0);
    while (!__atomic_load_n(&results[0], __ATOMIC_SEQ_CST)) {
        send_signal(SIGUSR1);
        ck_assert_int_eq(ac_yield(), 0);
    }
    ac_signals_close(signals);
    return ac_nil;
}

TEST(receivers_may_come_and_go_while_signals_come) {
    spawn(keep_sending);
    spawn(storm);
    ck_assert_int_eq(ac_run(.loops = 2), 0);
}

static ac_value leave_open(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_signals_open(&shared, SIGUSR1), 0);
    return ac_nil;
}

TEST(the_end_of_the_loop_closes_it) {
    run(leave_open);
    struct sigaction now;
    ck_assert_int_eq(sigaction(SIGUSR1, NULL, &now), 0);
    ck_assert(now.sa_handler == SIG_DFL);
    ac_signals_close(shared);
}

CORO_TEST(lack_of_memory_is_an_error) {
    ac_signals *signals;
    memory_fail_nth(1);
    ck_assert_int_eq(ac_signals_open(&signals, SIGUSR1), -ENOMEM);
}
