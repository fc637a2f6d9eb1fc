// SPDX-License-Identifier: MIT
// Tests of src/coro/coro.c, second half: daemons, how coroutines end, joining, cancelling.
#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>

static void run(void) { ck_assert_int_eq(ac_run(), 0); }

static ac_value letter(ac_value it) {
    tell((char)ac_int_of(it));
    return ac_nil;
}

static double seconds_since(ac_time start) { return (double)(ac_now() - start) * 1e-9; }

static ac_value yield_once(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

static ac_value hold_argument(ac_value argument) { return ac_hold(argument); }

static ac_value sleep_for_ever(ac_value seconds) {
    ck_assert_int_eq(ac_sleep(ac_real_of(seconds)), -ECANCELED);
    return ac_nil;
}

static ac_value suspended_value;
static int suspended_result = 1;

static ac_value suspend(ac_value unused) {
    (void)unused;
    suspended_result = ac_suspend(&suspended_value, AC_FOREVER);
    return ac_nil;
}

// ---- daemons ----

static ac_value sleep_long(ac_value daemon) {
    if (ac_kind_of(daemon) == AC_BOOL)
        ck_assert_int_eq(ac_set_daemon(ac_bool_of(daemon)), 0);
    tell('<');
    int err = ac_sleep(100);
    tell(err == -ECANCELED ? '>' : '?');
    return ac_nil;
}

TEST(a_daemon_does_not_keep_the_loop_alive_and_cleans_up) {
    ac_spawn(sleep_long, ac_nil, .daemon = true);
    ac_spawn(letter, 'x');
    ac_time start = ac_now();
    run();
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
    ck_assert_str_eq(story, "<x>");
}

TEST(a_coroutine_can_become_a_daemon) {
    ac_spawn(sleep_long, (bool)true);
    run();
    ck_assert_str_eq(story, "<>");
}

static ac_value on_and_off(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_set_daemon(true), 0);
    ck_assert_int_eq(ac_set_daemon(true), 0);
    ck_assert_int_eq(ac_set_daemon(false), 0);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    tell('.');
    return ac_nil;
}

TEST(a_daemon_can_become_an_ordinary_coroutine_again) {
    ac_spawn(on_and_off, ac_nil);
    ac_spawn(on_and_off, ac_nil, .daemon = true);
    run();
    ck_assert_str_eq(story, "..");
}

TEST(a_loop_with_nothing_but_daemons_that_never_ran_ends) {
    ac_spawn(letter, 'x', .daemon = true);
    run();
    ck_assert_str_eq(story, "");
}

// ---- how coroutines end ----

static ac_value return_argument(ac_value it) { return ac_hold(it); }
static ac_value return_invalid(ac_value unused) {
    (void)unused;
    return ac_of_text("\xff");
}
static ac_value return_when_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(100), -ECANCELED);
    return ac_of("cleaned up");
}

static struct ac_exit join(ac_ref ref) {
    struct ac_exit end = {0};
    ck_assert_int_eq(ac_join(ref, &end, ac_after(10)), 0);
    ck_assert(ac_ref_equal(end.who, ref));
    return end;
}

static ac_value see_the_ends(ac_value unused) {
    (void)unused;
    struct ac_exit end = join(ac_spawn(return_argument, "result"));
    ck_assert_int_eq(end.how, AC_FINISHED);
    ck_assert_int_eq(end.reason, 0);
    ck_assert_str_eq(ac_text_of(end.value), "result");
    ac_drop(end.value);

    end = join(ac_spawn(return_argument, ac_of_error(-EIO, "the disk burns")));
    ck_assert_int_eq(end.how, AC_FAILED);
    ck_assert_int_eq(end.reason, -EIO);
    ck_assert_int_eq(ac_error_of(end.value), -EIO);
    ac_drop(end.value);

    end = join(ac_spawn(return_invalid, ac_nil));
    ck_assert_int_eq(end.how, AC_FAILED);
    ck_assert_int_eq(end.reason, -EILSEQ);
    ck_assert_int_eq(ac_kind_of(end.value), AC_ERROR);
    ck_assert_int_eq(ac_error_of(end.value), -EILSEQ);
    ac_drop(end.value);

    ac_ref it = ac_spawn(return_when_cancelled, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(it), 0);
    ck_assert_int_eq(ac_cancel(it), 0);
    end = join(it);
    ck_assert_int_eq(end.how, AC_CANCELLED);
    ck_assert_int_eq(end.reason, -ECANCELED);
    ck_assert_str_eq(ac_text_of(end.value), "cleaned up");
    ac_drop(end.value);
    ck_assert_int_eq(ac_cancel(it), -ESRCH);
    return ac_nil;
}

TEST(each_way_to_end_is_seen_by_who_joins) {
    ac_spawn(see_the_ends, ac_nil);
    run();
}

TEST(the_ends_have_names) {
    ck_assert_str_eq(ac_end_name(AC_FINISHED), "finished");
    ck_assert_str_eq(ac_end_name(AC_FAILED), "failed");
    ck_assert_str_eq(ac_end_name(AC_CANCELLED), "cancelled");
    ck_assert_str_eq(ac_end_name(AC_LOST), "lost");
    ck_assert_str_eq(ac_end_name((enum ac_end)77), "unknown");
}

// ---- join ----

static ac_value sleep_and_return(ac_value it) {
    ck_assert_int_eq(ac_sleep(0.05), 0);
    return ac_hold(it);
}

static ac_value join_one_that_ended(ac_value unused) {
    (void)unused;
    ac_ref kept = ac_spawn(return_argument, "kept", .joinable = true);
    ac_ref dropped = ac_spawn(return_argument, "kept", .joinable = true);
    ac_ref lost = ac_spawn(return_argument, "lost");
    ck_assert_int_eq(ac_sleep(0.01), 0);
    struct ac_exit end = join(kept);
    ck_assert_str_eq(ac_text_of(end.value), "kept");
    ac_drop(end.value);
    ck_assert_int_eq(ac_join(kept, &end, AC_FOREVER), -ESRCH);
    ck_assert_int_eq(ac_join(dropped, NULL, AC_NOW), 0);
    ck_assert_int_eq(ac_join(dropped, NULL, AC_NOW), -ESRCH);
    ck_assert_int_eq(ac_join(lost, &end, AC_FOREVER), -ESRCH);
    return ac_nil;
}

TEST(one_that_has_ended_is_joined_once_if_it_was_joinable) {
    ac_spawn(join_one_that_ended, ac_nil);
    run();
}

static ac_value join_twice(ac_value unused) {
    (void)unused;
    ac_ref ref = ac_spawn(sleep_and_return, "text", .joinable = true);
    struct ac_exit end = join(ref);
    ac_drop(end.value);
    ck_assert_int_eq(ac_join(ref, &end, ac_after(1)), -ESRCH);
    return ac_nil;
}

TEST(one_that_was_joined_while_it_lived_is_not_kept) {
    ac_spawn(join_twice, ac_nil);
    run();
}

static ac_value join_oddly(ac_value whom) {
    ac_ref ref = ac_ref_of(whom);
    struct ac_exit end;
    ck_assert_int_eq(ac_join(ac_self(), &end, AC_FOREVER), -EDEADLK);
    ck_assert_int_eq(ac_join(ac_no_ref, &end, AC_FOREVER), -ESRCH);
    ac_ref far = {.peer = ref.peer + 1, .id = ref.id};
    ck_assert_int_eq(ac_join(far, &end, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_join(ref, &end, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_join(ref, &end, ac_now() - 1), -ETIMEDOUT);
    ac_time start = ac_now();
    ck_assert_int_eq(ac_join(ref, &end, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_double_ge(seconds_since(start), 0.01);
    ck_assert_int_eq(ac_join(ref, NULL, AC_FOREVER), 0);
    return ac_nil;
}

TEST(what_cannot_be_joined_is_told_apart) {
    ac_spawn(join_oddly, ac_spawn(sleep_and_return, "some text"));
    run();
}

static ac_value join_and_tell(ac_value arguments) {
    ac_ref whom;
    int mark;
    ck_assert_int_eq(ac_unpack(arguments, &whom, &mark), 0);
    struct ac_exit end = join(whom);
    ck_assert_str_eq(ac_text_of(end.value), "shared result");
    ac_drop(end.value);
    tell((char)mark);
    return ac_nil;
}

TEST(any_number_may_join_one_that_lives) {
    ac_ref ref = ac_spawn(sleep_and_return, "shared result", .joinable = true);
    for (char it = 'a'; it <= 'e'; it++)
        ac_spawn(join_and_tell, ac_list(ref, (int)it));
    run();
    ck_assert_str_eq(story, "abcde");
}

static ac_value join_and_be_cancelled(ac_value whom) {
    struct ac_exit end;
    ck_assert_int_eq(ac_join(ac_ref_of(whom), &end, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_join(ac_ref_of(whom), &end, AC_FOREVER), -ECANCELED);
    tell('c');
    return ac_nil;
}

static ac_value cancel_it(ac_value whom) {
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    return ac_nil;
}

TEST(a_joiner_can_be_cancelled) {
    ac_ref ref = ac_spawn(sleep_and_return, "shared result", .joinable = true);
    ac_ref joiner = ac_spawn(join_and_be_cancelled, ref);
    ac_spawn(join_and_tell, ac_list(ref, 'j'));
    ac_spawn(cancel_it, joiner);
    run();
    ck_assert_str_eq(story, "cj");
}

TEST(what_nobody_joins_is_freed_with_the_loop) { // the sanitizer looks for leaks
    for (int i = 0; i < 100; i++)
        ac_spawn(return_argument, "never asked for", .joinable = true);
    ac_spawn(return_when_cancelled, ac_nil, .joinable = true, .daemon = true);
    run();
}

// ---- cancellation ----

TEST(one_that_has_not_run_yet_never_will) {
    ac_ref ref = ac_spawn(letter, 'x');
    ck_assert_int_eq(ac_cancel(ref), 0);
    ck_assert_int_eq(ac_cancel(ref), 0);
    ac_ref text = ac_spawn(hold_argument, "dropped text");
    ck_assert_int_eq(ac_cancel(text), 0);
    run();
    ck_assert_str_eq(story, "");
}

static ac_value join_one_that_never_ran(ac_value unused) {
    (void)unused;
    ac_ref ref = ac_spawn(letter, 'x');
    ck_assert_int_eq(ac_cancel(ref), 0);
    struct ac_exit end = join(ref);
    ck_assert_int_eq(end.how, AC_CANCELLED);
    ck_assert(ac_is_nil(end.value));
    return ac_nil;
}

TEST(one_that_never_ran_ends_cancelled) {
    ac_spawn(join_one_that_never_ran, ac_nil);
    run();
    ck_assert_str_eq(story, "");
}

// Waits in some way, and when it is cancelled finds all other waits cancelled as well.
static ac_value wait_somehow(ac_value how) {
    int err = 0;
    switch (ac_int_of(how)) {
    case 'y':
        while (err == 0)
            err = ac_yield();
        break;
    case 's': err = ac_sleep(100); break;
    case 'u': err = ac_sleep_until(AC_FOREVER); break;
    case 'p': err = ac_suspend(&suspended_value, ac_after(100)); break;
    case 'j': {
        ac_ref sleeper = ac_spawn(sleep_and_return, "text");
        err = ac_join(sleeper, NULL, ac_after(100));
        break;
    }
    }
    ck_assert_int_eq(err, -ECANCELED);
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    ck_assert_int_eq(ac_sleep(1), -ECANCELED);
    ck_assert_int_eq(ac_sleep(0), -ECANCELED);
    ck_assert_int_eq(ac_suspend(NULL, AC_FOREVER), -ECANCELED);
    tell((char)ac_int_of(how));
    return ac_nil;
}

static ac_value cancel_each(ac_value unused) {
    (void)unused;
    const char ways[] = "ysupj";
    for (const char *way = ways; *way; way++) {
        ac_ref ref = ac_spawn(wait_somehow, *way);
        ck_assert_int_eq(ac_sleep(0.005), 0);
        ck_assert_int_eq(ac_cancel(ref), 0);
        ck_assert_int_eq(ac_resume(ref, "too late"), -EAGAIN);
        struct ac_exit end = join(ref);
        ck_assert_int_eq(end.how, AC_CANCELLED);
    }
    return ac_nil;
}

TEST(every_wait_can_be_cancelled) {
    ac_spawn(cancel_each, ac_nil);
    run();
    ck_assert_str_eq(story, "ysupj");
}

static ac_value cancel_oneself(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    tell('a');
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    tell('b');
    return ac_nil;
}

TEST(one_can_cancel_oneself_and_learns_at_the_next_wait) {
    ac_spawn(cancel_oneself, ac_nil);
    ac_spawn(letter, '.');
    run();
    ck_assert_str_eq(story, "ab.");
}

static ac_value cancelled_unknowingly(ac_value unused) {
    (void)unused;
    ac_ref it = ac_spawn(yield_once, ac_nil);
    ck_assert_int_eq(ac_yield(), 0); // it yields now, and its yield has been granted
    ck_assert_int_eq(ac_cancel(it), 0);
    struct ac_exit end = join(it);
    ck_assert_int_eq(end.how, AC_FINISHED);
    return ac_nil;
}

TEST(one_that_ends_before_it_learns_of_its_cancellation_has_finished) {
    ac_spawn(cancelled_unknowingly, ac_nil);
    run();
}

static ac_value resume_then_cancel(ac_value whom) {
    ck_assert_int_eq(ac_resume(ac_ref_of(whom), "kept"), 0);
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    return ac_nil;
}

TEST(what_was_handed_over_before_the_cancellation_is_not_lost) {
    ac_ref it = ac_spawn(suspend, ac_nil);
    ac_spawn(resume_then_cancel, it);
    run();
    ck_assert_int_eq(suspended_result, 0);
    ck_assert_str_eq(ac_text_of(suspended_value), "kept");
    ac_drop(suspended_value);
}

static ac_value cancel_oddly(ac_value whom) {
    ac_ref ref = ac_ref_of(whom);
    ac_ref far = {.peer = ref.peer + 1, .id = ref.id};
    ck_assert_int_eq(ac_cancel(far), -ENOTSUP);
    ac_ref channel = {.peer = ref.peer, .id = ref.id | REF_CHANNEL};
    ck_assert_int_eq(ac_cancel(channel), -ENOTSUP);
    ck_assert_int_eq(ac_cancel(ac_no_ref), -ESRCH);
    ck_assert_int_eq(ac_cancel(ref), 0);
    return ac_nil;
}

TEST(what_cannot_be_cancelled_is_told_apart) {
    ac_spawn(cancel_oddly, ac_spawn(sleep_for_ever, 1000.0));
    run();
}

// ---- failures that nobody sees ----

static ac_value fail_with(ac_value err) { return ac_result((int)ac_int_of(err)); }

static ac_value join_failure(ac_value unused) {
    (void)unused;
    struct ac_exit end;
    ck_assert_int_eq(ac_join(ac_spawn(fail_with, -EIO), &end, AC_FOREVER), 0);
    ck_assert_int_eq(end.reason, -EIO);
    ac_drop(end.value);
    return ac_nil;
}

static ac_value join_failure_later(ac_value whom) {
    struct ac_exit end;
    ck_assert_int_eq(ac_join(ac_ref_of(whom), &end, AC_FOREVER), 0);
    ck_assert_int_eq(end.how, AC_FAILED);
    ac_drop(end.value);
    return ac_nil;
}

TEST(a_failure_that_is_kept_and_never_asked_for_is_the_result_of_the_run) {
    ac_spawn(fail_with, -EIO, .joinable = true);
    ck_assert_int_eq(ac_run(), -EIO);
}

TEST(a_failure_that_nobody_sees_is_the_result_of_the_run) {
    ac_spawn(fail_with, 0);
    ac_spawn(fail_with, -EIO);
    ac_spawn(fail_with, -ENOENT); // the first one counts
    ck_assert_int_eq(ac_run(), -EIO);
    run(); // and is forgotten with its loop
}

TEST(a_failure_that_somebody_sees_is_not) {
    ac_spawn(join_failure, ac_nil);
    ac_spawn(join_failure_later, ac_spawn(fail_with, -EIO, .joinable = true));
    ac_spawn(sleep_for_ever, 1000.0, .daemon = true);
    run();
}
