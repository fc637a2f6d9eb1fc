// SPDX-License-Identifier: MIT
// Tests of src/coro/coro.c, first half: yielding, sleeping, suspending. What comes of ends and
// cancellation is in end.c.
#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void run(void) { ck_assert_int_eq(ac_run(), 0); }

static ac_value letter(ac_value it) {
    tell((char)ac_int_of(it));
    return ac_nil;
}

static ac_value nothing(ac_value unused) {
    (void)unused;
    return ac_nil;
}

static double seconds_since(ac_time start) { return (double)(ac_now() - start) * 1e-9; }

// ---- outside coroutines ----

TEST(calls_that_wait_fail_outside_coroutines) {
    for (int round = 0; round < 2; round++) { // first without a loop, then with one
        ac_value value;
        struct ac_exit end;
        ck_assert_int_eq(ac_yield(), -EPERM);
        ck_assert_int_eq(ac_sleep(0), -EPERM);
        ck_assert_int_eq(ac_sleep(1), -EPERM);
        ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -EPERM);
        ck_assert_int_eq(ac_suspend(&value, AC_FOREVER), -EPERM);
        ck_assert_int_eq(ac_suspend(NULL, AC_NOW), -EPERM);
        ck_assert_int_eq(ac_join(ac_no_ref, &end, AC_FOREVER), -EPERM);
        ck_assert_int_eq(ac_set_daemon(true), -EPERM);
        ck_assert(ac_ref_equal(ac_self(), ac_no_ref));
        ck_assert_int_eq(ac_resume(ac_no_ref, "dropped text"), -ESRCH);
        ck_assert_int_eq(ac_cancel(ac_no_ref), -ESRCH);
        ac_spawn(nothing, ac_nil);
    }
    run();
}

// ---- yield ----

static ac_value tell_thrice(ac_value it) {
    for (int i = 0; i < 3; i++) {
        tell((char)ac_int_of(it));
        ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(yield_lets_all_others_that_are_ready_run_first) {
    ac_spawn(tell_thrice, 'a');
    ac_spawn(tell_thrice, 'b');
    ac_spawn(tell_thrice, 'c');
    run();
    ck_assert_str_eq(story, "abcabcabc");
}

static ac_value yield_alone(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(yield_alone_goes_on_at_once) {
    ac_spawn(yield_alone, ac_nil);
    run();
}

// Live values in every register that a called function must keep, across many switches.
static __attribute__((noinline)) ac_value keep_registers(ac_value seed) {
    uint64_t s = (uint64_t)ac_int_of(seed);
    uint64_t a = s * 3, b = s * 5, c = s * 7, d = s * 11, e = s * 13, f = s * 17, g = s * 19;
    double p = (double)s * 0.5, q = (double)s * 0.25, r = (double)s * 3.5, t = (double)s * 4.5;
    double u = (double)s * 6.5, v = (double)s * 7.5, w = (double)s * 8.5, x = (double)s * 9.5;
    for (uint64_t i = 0; i < 200; i++) {
        ck_assert_int_eq(ac_yield(), 0);
        a += s, b += a, c ^= b, d += c, e ^= d, f += e, g += f;
        p += 1, q += 2, r += 3, t += 4, u += 5, v += 6, w += 7, x += 8;
    }
    uint64_t a2 = s * 3, b2 = s * 5, c2 = s * 7, d2 = s * 11, e2 = s * 13, f2 = s * 17, g2 = s * 19;
    for (uint64_t i = 0; i < 200; i++)
        a2 += s, b2 += a2, c2 ^= b2, d2 += c2, e2 ^= d2, f2 += e2, g2 += f2;
    ck_assert_uint_eq(a, a2);
    ck_assert_uint_eq(b, b2);
    ck_assert_uint_eq(c, c2);
    ck_assert_uint_eq(d, d2);
    ck_assert_uint_eq(e, e2);
    ck_assert_uint_eq(f, f2);
    ck_assert_uint_eq(g, g2);
    double base = (double)s;
    ck_assert(p == base * 0.5 + 200 && q == base * 0.25 + 400 && r == base * 3.5 + 600);
    ck_assert(t == base * 4.5 + 800 && u == base * 6.5 + 1000 && v == base * 7.5 + 1200);
    ck_assert(w == base * 8.5 + 1400 && x == base * 9.5 + 1600);
    return ac_nil;
}

TEST(registers_survive_a_switch) {
    for (int seed = 1; seed <= 20; seed++)
        ac_spawn(keep_registers, seed * 1000003);
    run();
}

// ---- others go on while one is never idle ----

static bool has_slept;

static ac_value sleep_shortly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.02), 0);
    has_slept = true;
    return ac_nil;
}

static ac_value yield_until_slept(ac_value unused) {
    (void)unused;
    while (!has_slept)
        ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(timers_run_while_a_coroutine_yields_all_the_time) {
    ac_spawn(sleep_shortly, ac_nil);
    ac_spawn(yield_until_slept, ac_nil);
    run();
}

static ac_value spawn_until_slept(ac_value unused) {
    (void)unused;
    while (!has_slept) {
        ac_spawn(nothing, ac_nil);
        ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(timers_run_while_a_coroutine_spawns_all_the_time) {
    ac_spawn(sleep_shortly, ac_nil);
    ac_spawn(spawn_until_slept, ac_nil);
    run();
}

static ac_value spawn_successor_until_slept(ac_value unused) {
    (void)unused;
    if (!has_slept)
        ac_spawn(spawn_successor_until_slept, ac_nil);
    return ac_nil;
}

TEST(timers_run_while_each_coroutine_spawns_the_next) {
    ac_spawn(sleep_shortly, ac_nil);
    ac_spawn(spawn_successor_until_slept, ac_nil);
    run();
}

// ---- sleep ----

static ac_value check_sleep(ac_value seconds) {
    ac_time start = ac_now();
    ck_assert_int_eq(ac_sleep(ac_real_of(seconds)), 0);
    ck_assert_double_ge(seconds_since(start), ac_real_of(seconds));
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
    return ac_nil;
}

TEST(sleep_is_never_early_and_not_much_late) {
    ac_spawn(check_sleep, 0.2);
    for (int i = 1; i < 50; i++)
        ac_spawn(check_sleep, 0.00137 * i);
    run();
}

TEST(ten_sleepers_sleep_at_the_same_time) {
    ac_time start = ac_now();
    for (int i = 1; i <= 10; i++)
        ac_spawn(check_sleep, 0.05 * i);
    run();
    ck_assert_double_ge(seconds_since(start), 0.5);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
}

static ac_value sleep_oddly(ac_value unused) {
    (void)unused;
    ac_spawn(letter, 'a');
    ck_assert_int_eq(ac_sleep(0), 0);
    tell('1');
    ac_spawn(letter, 'b');
    ck_assert_int_eq(ac_sleep(-5), 0);
    tell('2');
    ac_spawn(letter, 'c');
    ck_assert_int_eq(ac_sleep_until(ac_now() - 1), 0);
    tell('3');
    ac_spawn(letter, 'd');
    ck_assert_int_eq(ac_sleep_until(AC_NOW), 0);
    tell('4');
    ac_spawn(letter, 'e');
    ck_assert_int_eq(ac_sleep((double)NAN), -EINVAL);
    tell('5');
    ck_assert_int_eq(ac_sleep(-(double)INFINITY), 0);
    return ac_nil;
}

TEST(sleep_of_nothing_yields_and_a_nan_is_refused) {
    ac_spawn(sleep_oddly, ac_nil);
    run();
    ck_assert_str_eq(story, "a1b2c3d45e");
}

static ac_time alarm_time;

static ac_value sleep_until_alarm(ac_value it) {
    ck_assert_int_eq(ac_sleep_until(alarm_time), 0);
    tell((char)ac_int_of(it));
    return ac_nil;
}

TEST(of_equal_deadlines_the_one_that_was_first_is_first) {
    alarm_time = ac_after(1); // all of them must sleep by then
    for (char it = 'a'; it <= 'z'; it++)
        ac_spawn(sleep_until_alarm, it);
    run();
    ck_assert_str_eq(story, "abcdefghijklmnopqrstuvwxyz");
}

static ac_value sleep_for_ever(ac_value seconds) {
    ck_assert_int_eq(ac_sleep(ac_real_of(seconds)), -ECANCELED);
    return ac_nil;
}

TEST(an_endless_sleep_lasts_until_it_is_cancelled) {
    ac_spawn(sleep_for_ever, (double)INFINITY, .daemon = true);
    ac_spawn(sleep_for_ever, 1e300, .daemon = true);
    ac_spawn(sleep_for_ever, 1e9, .daemon = true);
    ac_spawn(check_sleep, 0.02);
    run();
}

// ---- suspend and resume ----

static ac_value suspended_value;
static int suspended_result = 1;

static ac_value suspend(ac_value deadline) {
    ac_time until = ac_is_nil(deadline) ? AC_FOREVER : ac_after(ac_real_of(deadline));
    suspended_result = ac_suspend(&suspended_value, until);
    return ac_nil;
}

static ac_value resume(ac_value whom) {
    ck_assert_int_eq(ac_resume(ac_ref_of(whom), "hello"), 0);
    ck_assert_int_eq(suspended_result, 1); // it does not run inside the call
    ck_assert_int_eq(ac_resume(ac_ref_of(whom), "dropped"), -EAGAIN);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(suspended_result, 0);
    ck_assert_int_eq(ac_resume(ac_ref_of(whom), "dropped"), -ESRCH);
    return ac_nil;
}

TEST(resume_hands_a_value_to_a_suspended_coroutine) {
    ac_ref it = ac_spawn(suspend, ac_nil);
    ck_assert_int_eq(ac_resume(it, "not remembered"), -EAGAIN);
    ac_spawn(resume, it);
    run();
    ck_assert_str_eq(ac_text_of(suspended_value), "hello");
    ac_drop(suspended_value);
}

static ac_value suspend_without_value(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_suspend(NULL, ac_after(10)), 0);
    suspended_result = 0;
    return ac_nil;
}

TEST(a_value_that_nobody_wants_is_dropped) {
    ac_spawn(resume, ac_spawn(suspend_without_value, ac_nil));
    run();
}

TEST(suspend_ends_when_time_is_up) {
    ac_time start = ac_now();
    ac_spawn(suspend, 0.05);
    run();
    ck_assert_int_eq(suspended_result, -ETIMEDOUT);
    ck_assert_double_ge(seconds_since(start), 0.05);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
    suspended_result = 1;
    ac_spawn(suspend, 0.0); // over already
    run();
    ck_assert_int_eq(suspended_result, -ETIMEDOUT);
}

static ac_value resume_oddly(ac_value whom) {
    ac_ref ref = ac_ref_of(whom);
    ck_assert_int_eq(ac_resume(ref, "\xff"), -EILSEQ); // and it goes on waiting
    ac_ref far = {.peer = ref.peer + 1, .id = ref.id};
    ck_assert_int_eq(ac_resume(far, "dropped"), -ENOTSUP);
    ac_ref other_loop = {.peer = ref.peer, .id = ref.id | 5 << 2};
    ck_assert_int_eq(ac_resume(other_loop, "dropped"), -ENOTSUP);
    ac_ref channel = {.peer = ref.peer, .id = ref.id | REF_CHANNEL};
    ck_assert_int_eq(ac_resume(channel, "dropped"), -ENOTSUP);
    ac_ref none_yet = {.peer = ref.peer, .id = ref_id(REF_COROUTINE, 0, 9999, 1)};
    ck_assert_int_eq(ac_resume(none_yet, "dropped"), -ESRCH);
    ck_assert_int_eq(ac_resume(ac_no_ref, "dropped"), -ESRCH);
    ck_assert_int_eq(ac_resume(ac_self(), "dropped"), -EAGAIN);
    ac_ref sleeper = ac_spawn(check_sleep, 0.02);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_resume(sleeper, "dropped"), -EAGAIN);
    ck_assert_int_eq(ac_resume(ref, ac_nil), 0);
    return ac_nil;
}

TEST(what_cannot_be_resumed_is_told_apart) {
    ac_spawn(resume_oddly, ac_spawn(suspend, ac_nil));
    run();
    ck_assert_int_eq(suspended_result, 0);
}

static ac_value suspend_then_sleep(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_suspend(NULL, ac_after(0.02)), 0);
    return check_sleep(ac_of(0.06));
}

static ac_value resume_at_once(ac_value whom) {
    ck_assert_int_eq(ac_resume(ac_ref_of(whom), ac_nil), 0);
    return ac_nil;
}

TEST(a_deadline_that_was_not_reached_is_forgotten) {
    ac_spawn(resume_at_once, ac_spawn(suspend_then_sleep, ac_nil));
    run();
}

static ac_value resume_at_alarm(ac_value whom) {
    while (ac_now() < alarm_time)
        continue; // the deadline is over, but the loop has not looked at the clock
    ck_assert_int_eq(ac_resume(ac_ref_of(whom), 1), 0);
    return ac_nil;
}

TEST(a_coroutine_that_was_resumed_does_not_time_out) {
    ac_ref it = ac_spawn(suspend, 0.02);
    alarm_time = ac_after(1); // all of them must sleep by then
    ac_spawn(resume_at_alarm, it);
    run();
    ck_assert_int_eq(suspended_result, 0);
}
