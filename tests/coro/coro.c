// SPDX-License-Identifier: MIT
// Tests of src/coro/coro.c, first half: spawning, names, yielding, sleeping, suspending,
// references. What comes of ends and cancellation is in end.c.
#include "coro/coro.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// What happened, in order: one letter each.
static char story[256];

static void tell(char letter) {
    size_t length = strlen(story);
    ck_assert_uint_lt(length, sizeof story - 1);
    story[length] = letter;
}

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

// ---- spawning ----

TEST(coroutines_run_in_the_order_in_which_they_were_spawned_and_not_inside_spawn) {
    for (char it = 'a'; it <= 'j'; it++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(letter, it)), 0);
    ck_assert_str_eq(story, "");
    run();
    ck_assert_str_eq(story, "abcdefghij");
}

static ac_value spawn_two(ac_value unused) {
    (void)unused;
    tell('<');
    ac_spawn(letter, 'x');
    ac_spawn(letter, 'y');
    tell('>');
    return ac_nil;
}

TEST(a_new_coroutine_stands_behind_all_that_were_ready) {
    ac_spawn(spawn_two, ac_nil);
    ac_spawn(letter, 'b');
    run();
    ck_assert_str_eq(story, "<>bxy");
}

static ac_ref self_seen;
static int64_t argument_seen;

static ac_value look(ac_value argument) {
    argument_seen = ac_int_of(argument);
    self_seen = ac_self();
    return ac_nil;
}

TEST(a_coroutine_gets_its_argument_and_knows_the_reference_that_spawn_returned) {
    ac_ref ref = ac_spawn(look, 7);
    run();
    ck_assert_int_eq(argument_seen, 7);
    ck_assert(ac_ref_equal(ref, self_seen));
    ck_assert(ac_ref_equal(ac_self(), ac_no_ref));
}

static ac_value hold_argument(ac_value argument) { return ac_hold(argument); }
static ac_value ignore_argument(ac_value argument) {
    ck_assert_str_eq(ac_text_of(argument), "some text that takes memory");
    return ac_nil;
}

TEST(the_argument_belongs_to_the_runtime_and_is_dropped) { // the sanitizer looks for leaks
    for (int i = 0; i < 3; i++) {
        ac_spawn(hold_argument, "some text that takes memory");
        ac_spawn(ignore_argument, "some text that takes memory");
    }
    run();
}

TEST(what_cannot_be_spawned_is_refused_and_its_argument_dropped) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(NULL, "dropped text")), -EINVAL);
    ac_ref huge = ac_spawn(letter, "dropped text", .stack_bytes = AC_STACK_BYTES_MAX + 1);
    ck_assert_int_eq(ac_ref_error(huge), -EINVAL);
    huge = ac_spawn(letter, "dropped text", .stack_bytes = SIZE_MAX);
    ck_assert_int_eq(ac_ref_error(huge), -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_spawn(letter, "\xff")), -EILSEQ);
    ck_assert_int_eq(ac_ref_error(ac_spawn(letter, UINT64_MAX)), -ERANGE);
    ck_assert_uint_eq(loop_living(loop_here), 0);
    run();
    ck_assert_str_eq(story, "");
}

TEST(spawn_with_takes_no_options_for_defaults) {
    ck_assert_int_eq(ac_ref_error(ac_spawn_with(letter, ac_of('a'), NULL)), 0);
    run();
    ck_assert_str_eq(story, "a");
}

static __attribute__((noinline)) ac_value deep(ac_value kib) {
    volatile char block[1024];
    for (size_t i = 0; i < sizeof block; i += 64)
        block[i] = (char)i;
    if (ac_int_of(kib) > 1)
        ac_drop(deep(ac_of(ac_int_of(kib) - 1)));
    return ac_of((int)block[0]);
}

static ac_value deep_and_tell(ac_value kib) {
    ac_drop(deep(kib));
    tell('.');
    return ac_nil;
}

TEST(a_stack_has_the_size_that_was_asked_for) {
    ac_spawn(deep_and_tell, 8, .stack_bytes = AC_STACK_BYTES_MIN);
    ac_spawn(deep_and_tell, 40);
    ac_spawn(deep_and_tell, 40, .stack_bytes = (16 << 10) + 1);
    ac_spawn(deep_and_tell, 170, .stack_bytes = 65 << 10);
    ac_spawn(deep_and_tell, 700, .stack_bytes = 1 << 20);
    ac_spawn(deep_and_tell, 5800, .stack_bytes = AC_STACK_BYTES_MAX);
    run();
    ck_assert_str_eq(story, "......");
}

static ac_value yield_once(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

static uint64_t ended_count;

static ac_value count_end(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ended_count++;
    return ac_nil;
}

TEST(a_hundred_thousand_coroutines_live_at_once, .seconds_max = 120) {
    for (int i = 0; i < TEST_COROUTINES_MAX; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(count_end, i)), 0);
    ck_assert_uint_eq(loop_living(loop_here), TEST_COROUTINES_MAX);
    run();
    ck_assert_uint_eq(ended_count, TEST_COROUTINES_MAX);
}

static ac_value use_one_stack_after_another(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3000; i++) {
        ac_spawn(i % 2 ? nothing : yield_once, ac_nil);
        if (i % 3 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(records_and_stacks_are_used_again) {
    ac_spawn(use_one_stack_after_another, ac_nil);
    struct loop *loop = loop_here;
    // Not ac_run, which would end the loop.
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_le(loop->coro_count, 12);
    ck_assert_uint_eq(loop_living(loop), 0);
    ck_assert_uint_eq(loop->alive, 0);
    run();
}

// ---- names ----

TEST(a_coroutine_has_the_name_it_was_given_while_it_lives) {
    ac_ref named = ac_spawn(yield_once, ac_nil, .name = "server");
    ac_ref unnamed = ac_spawn(yield_once, ac_nil);
    ac_ref kept = ac_spawn(nothing, ac_nil, .name = "kept", .joinable = true);
    ck_assert_str_eq(ac_name_of(named), "server");
    ck_assert_str_eq(ac_name_of(unnamed), "");
    ck_assert_str_eq(ac_name_of(kept), "kept");
    ck_assert_str_eq(ac_name_of(ac_no_ref), "");
    ck_assert_int_eq(loop_run(loop_here), 0);
    ck_assert_str_eq(ac_name_of(named), "");
    ck_assert_str_eq(ac_name_of(kept), "");
    run();
    ck_assert_str_eq(ac_name_of(named), "");
}

static ac_value end_and_look(ac_value unused) {
    (void)unused;
    ac_ref kept = ac_spawn(nothing, ac_nil, .name = "kept", .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_str_eq(ac_name_of(kept), "");
    ck_assert_int_eq(ac_cancel(kept), -ESRCH);
    ck_assert_int_eq(ac_resume(kept, 1), -ESRCH);
    return ac_nil;
}

TEST(one_that_has_ended_and_is_kept_is_only_there_for_joining) {
    ac_spawn(end_and_look, ac_nil);
    run();
}

TEST(a_coroutine_is_described_by_number_name_place_and_stack) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    struct ac_spawn_options how = {
        .size = sizeof how, .name = "worker", .where = "main.c:12", .stack_bytes = 1 << 20};
    struct coro *coro = coro_create(loop, nothing, ac_nil, &how, false, &err);
    char text[512];
    size_t length = coro_describe(coro, text, sizeof text - 1);
    text[length] = '\0';
    ck_assert_str_eq(text, "coroutine #0 'worker', spawned at main.c:12, stack of 1024 KiB: spawn "
                           "it with a larger .stack_bytes");
    for (size_t bytes = 0; bytes < sizeof text; bytes++)
        ck_assert_uint_le(coro_describe(coro, text, bytes), bytes);
    coro->index = 4294967295;
    coro->name = coro->where = NULL;
    length = coro_describe(coro, text, 22);
    ck_assert_uint_eq(length, 22);
    ck_assert_int_eq(memcmp(text, "coroutine #4294967295,", 22), 0);
    coro->index = 0;
    run();
}

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

TEST(timers_run_while_a_coroutine_yields_all_the_time, .seconds_max = 10) {
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

TEST(timers_run_while_a_coroutine_spawns_all_the_time, .seconds_max = 10) {
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

TEST(timers_run_while_each_coroutine_spawns_the_next, .seconds_max = 10) {
    ac_spawn(sleep_shortly, ac_nil);
    ac_spawn(spawn_successor_until_slept, ac_nil);
    run();
}

// ---- sleep ----

static ac_value check_sleep(ac_value seconds) {
    ac_time start = ac_now();
    ck_assert_int_eq(ac_sleep(ac_real_of(seconds)), 0);
    ck_assert_double_ge(seconds_since(start), ac_real_of(seconds));
    ck_assert_double_lt(seconds_since(start), ac_real_of(seconds) + 0.3);
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
    ck_assert_double_lt(seconds_since(start), 1.0);
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
    ck_assert_double_lt(seconds_since(start), 0.5);
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

// ---- references ----

static ac_value use_records_again(ac_value unused) {
    (void)unused;
    ac_ref old = ac_spawn(nothing, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ac_ref new = ac_spawn(sleep_for_ever, 1000.0, .name = "new");
    ck_assert_uint_eq(ref_index(old.id), ref_index(new.id)); // the same record
    ck_assert(!ac_ref_equal(old, new));
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_str_eq(ac_name_of(old), "");
    ck_assert_int_eq(ac_cancel(old), -ESRCH);
    ck_assert_int_eq(ac_resume(old, 1), -ESRCH);
    ck_assert_int_eq(ac_join(old, NULL, AC_FOREVER), -ESRCH);
    ck_assert_str_eq(ac_name_of(new), "new");
    ck_assert_int_eq(ac_cancel(new), 0);
    return ac_nil;
}

TEST(a_stale_reference_finds_nothing_after_its_record_was_used_again) {
    ac_spawn(use_records_again, ac_nil);
    run();
}

static ac_value use_generations_up(ac_value unused) {
    (void)unused;
    ac_ref first = ac_spawn(nothing, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    struct coro *record = loop_here->free;
    ck_assert_uint_eq(record->index, ref_index(first.id));
    record->generation = UINT32_MAX;
    ac_ref last = ac_spawn(nothing, ac_nil);
    ck_assert_uint_eq(ref_generation(last.id), UINT32_MAX);
    ck_assert_uint_eq(ref_index(last.id), ref_index(first.id));
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(last), -ESRCH);
    ac_ref zero = {.peer = last.peer, .id = last.id & 0xffffffff};
    ck_assert_int_eq(ac_cancel(zero), -ESRCH);
    ac_ref next = ac_spawn(nothing, ac_nil);
    ck_assert_uint_ne(ref_index(next.id), ref_index(first.id));
    return ac_nil;
}

TEST(a_record_whose_generations_are_used_up_is_left_aside) {
    ac_spawn(use_generations_up, ac_nil);
    run();
}

TEST(there_is_a_limit_to_the_number_of_coroutines) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    loop->coro_count = LOOP_COROS_MAX;
    ck_assert_int_eq(ac_ref_error(ac_spawn(letter, "dropped text")), -EAGAIN);
    loop->coro_count = 0;
    run();
}

// ---- memory that runs out ----

static ac_value return_argument(ac_value it) { return ac_hold(it); }

static struct ac_exit join(ac_ref ref) {
    struct ac_exit end = {0};
    ck_assert_int_eq(ac_join(ref, &end, ac_after(10)), 0);
    ck_assert(ac_ref_equal(end.who, ref));
    return end;
}

TEST(spawn_and_run_survive_the_failure_of_any_allocation) {
    bool failed = true;
    for (int n = 1; failed; n++) {
        ck_assert_int_lt(n, 100);
        memory_fail_nth(n);
        ac_ref ref = ac_spawn(return_argument, "some text that takes memory", .joinable = true);
        int err = ac_ref_error(ref);
        ck_assert(err == 0 || err == -ENOMEM);
        err = ac_run(); // a coroutine that gets no stack has failed
        ck_assert(err == 0 || err == -ENOMEM);
        failed = memory_has_failed();
    }
    memory_fail_nth(0);
}

TEST(spawn_survives_the_failure_of_any_allocation_when_there_are_many) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    uint32_t spawned = 0;
    for (int n = 1; n < 40 && n * LOOP_CHUNK < TEST_COROUTINES_MAX; n++) {
        memory_fail_nth(n);
        for (int i = 0; i < LOOP_CHUNK; i++) {
            err = ac_ref_error(ac_spawn(count_end, i));
            ck_assert(err == 0 || err == -ENOMEM);
            spawned += err == 0;
        }
    }
    memory_fail_nth(0);
    ck_assert_uint_eq(loop_living(loop), spawned);
    run();
    ck_assert_uint_eq(ended_count, spawned);
}

static ac_value spawn_without_memory_for_the_stack(ac_value unused) {
    (void)unused;
    ac_ref ref = ac_spawn(letter, 'x', .stack_bytes = 1 << 20);
    ac_ref next = ac_spawn(return_argument, 5, .joinable = true);
    memory_fail_nth(1);
    struct ac_exit end = join(ref);
    ck_assert(memory_has_failed());
    ck_assert_int_eq(end.how, AC_FAILED);
    ck_assert_int_eq(end.reason, -ENOMEM);
    ck_assert_int_eq(ac_error_of(end.value), -ENOMEM);
    ac_drop(end.value);
    end = join(next);
    ck_assert_int_eq(ac_int_of(end.value), 5);
    return ac_nil;
}

TEST(a_coroutine_for_whose_stack_there_is_no_memory_fails) {
    ac_spawn(spawn_without_memory_for_the_stack, ac_nil);
    run();
    ck_assert_str_eq(story, "");
}

#ifndef SYS_SANITIZED // they have no small stacks
static ac_value go_beyond(ac_value last) {
    if (!ac_bool_of(last)) // its neighbour will be damaged
        return ac_result(ac_sleep(1));
    // Its top is up to 208 bytes below the end of its place.
    char *low = (char *)coro_here()->stack - AC_STACK_BYTES_SMALL + 16;
    for (volatile char *at = low; at < low + 300; at++)
        *at = 1;
    (void)ac_yield();
    return ac_nil;
}

TEST(who_goes_beyond_a_small_stack_ends_the_process_when_it_waits, .signal = SIGABRT) {
    for (int i = 0; i < 4; i++)
        ac_spawn(go_beyond, i == 3, .stack_bytes = AC_STACK_BYTES_SMALL, .name = "glutton");
    (void)ac_run();
}
#endif

static ac_value count_to_three(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(a_small_stack_is_enough_to_wait) {
    for (int i = 0; i < 1000; i++)
        ac_spawn(count_to_three, ac_nil, .stack_bytes = AC_STACK_BYTES_SMALL);
    ck_assert_int_eq(ac_run(), 0);
}
