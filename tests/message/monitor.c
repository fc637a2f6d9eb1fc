// SPDX-License-Identifier: MIT
// Tests of exit notices within one loop.
#include <stdlib.h>

#include "message/message.h"
#include "test.h"

#include <asyncoro.h>

static int progress;

// The exit notice that must be the next message.
static struct ac_exit next_exit(void) {
    ac_value message;
    struct ac_exit exit;
    ck_assert_int_eq(ac_receive(&message, ac_after(10)), 0);
    ck_assert_int_eq(ac_kind_of(message), AC_NOTICE);
    ck_assert(ac_exit_of(message, &exit));
    ac_drop(message);
    return exit;
}

static void check_exit(ac_ref who, enum ac_end how, int reason, ac_value value) {
    struct ac_exit exit = next_exit();
    ck_assert(ac_ref_equal(exit.who, who));
    ck_assert_int_eq(exit.how, how);
    ck_assert_int_eq(exit.reason, reason);
    ck_assert(ac_equal(exit.value, value));
    ac_drop(exit.value);
    ac_drop(value);
}

static void check_no_message(void) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_NOW), -ETIMEDOUT);
}

static void run(ac_function function) {
    ac_spawn(function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 1); // it has come to its end
}

static ac_value give_back(ac_value it) {
    if (ac_yield() < 0)
        return ac_nil;
    return ac_hold(it);
}

static ac_value wait_for_ever(ac_value unused) {
    (void)unused;
    while (ac_sleep(1) == 0)
        ;
    return ac_of_text("cleaned up");
}

// ---- the four ends ----

static ac_value see_ends(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(give_back, ac_list("result", 1));
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_FINISHED, 0, ac_list("result", 1));

    who = ac_spawn(give_back, ac_of_error(-EPIPE, "it broke"));
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_FAILED, -EPIPE, ac_of_error(-EPIPE, "it broke"));

    who = ac_spawn(give_back, ac_of_error(-EIO, NULL));
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_FAILED, -EIO, ac_of_error(-EIO, NULL));

    who = ac_spawn(wait_for_ever, ac_nil);
    ck_assert_int_eq(ac_monitor(who), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(who), 0);
    struct ac_exit exit = next_exit();
    ck_assert_int_eq(exit.how, AC_CANCELLED);
    ck_assert_str_eq(ac_text_of(exit.value), "cleaned up");
    ac_drop(exit.value);

    // None of them is reported twice, and what has ended is lost.
    check_no_message();
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_LOST, -ESRCH, ac_nil);
    check_no_message();
    progress++;
    return ac_nil;
}

TEST(the_ends_are_told_apart) { run(see_ends); }

static ac_value see_kept(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(give_back, "kept", .joinable = true);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_monitor(who), 0);
        check_exit(who, AC_FINISHED, 0, ac_of("kept"));
    }
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(who, &exit, AC_NOW), 0);
    ac_drop(exit.value);
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_LOST, -ESRCH, ac_nil);
    progress++;
    return ac_nil;
}

TEST(one_that_has_ended_and_is_kept_is_reported_at_once_with_its_end) { run(see_kept); }

static ac_value join_monitored(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(give_back, "kept", .joinable = true);
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_FINISHED, 0, ac_of("kept"));
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(who, &exit, AC_NOW), 0);
    ac_drop(exit.value);
    progress++;
    return ac_nil;
}

TEST(a_monitor_is_no_join) { run(join_monitored); }

static ac_value see_thrice(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(give_back, 5);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_monitor(who), 0);
    for (int i = 0; i < 3; i++)
        check_exit(who, AC_FINISHED, 0, ac_of(5));
    check_no_message();
    progress++;
    return ac_nil;
}

TEST(each_request_gives_one_notice) { run(see_thrice); }

static ac_value send_and_end(ac_value arguments) {
    ac_ref to;
    ck_assert_int_eq(ac_unpack(arguments, &to), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ac_send(to, i), 0);
    return ac_nil;
}

static ac_value see_last(ac_value wait_first) {
    ac_ref who = ac_spawn(send_and_end, ac_self());
    ck_assert_int_eq(ac_monitor(who), 0);
    if (ac_int_of(wait_first))
        ck_assert_int_eq(ac_sleep(0.01), 0);
    for (int i = 0; i < 100; i++) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        ck_assert_int_eq(ac_int_of(message), i);
    }
    check_exit(who, AC_FINISHED, 0, ac_nil);
    progress++;
    return ac_nil;
}

TEST(the_notice_comes_after_the_last_message) {
    ac_spawn(see_last, 0);
    ac_spawn(see_last, 1);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 2);
}

// ---- observers that end ----

static ac_value monitor_and_end(ac_value arguments) {
    ac_ref who;
    ck_assert_int_eq(ac_unpack(arguments, &who), 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ac_monitor(who), 0);
    return ac_nil;
}

static ac_value outlive_observers(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(wait_for_ever, ac_nil);
    for (int i = 0; i < 100; i++)
        ac_spawn(monitor_and_end, who);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ck_assert(list_empty(&coro_find(loop_here, who.id)->watchers));
    ck_assert_int_eq(ac_cancel(who), 0);
    progress++;
    return ac_nil;
}

TEST(observers_that_have_ended_leave_nothing_behind) { run(outlive_observers); }

static ac_value watch_each_other(ac_value arguments) {
    ac_ref other, parent;
    ac_value message;
    ck_assert_int_eq(ac_unpack(arguments, &parent), 0);
    ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
    other = ac_ref_of(message);
    ac_drop(message);
    ck_assert_int_eq(ac_monitor(other), 0);
    ck_assert_int_eq(ac_monitor(ac_self()), 0);
    ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
    if (ac_kind_of(message) == AC_NOTICE)
        ck_assert_int_eq(ac_send(parent, message), 0);
    else
        ac_drop(message);
    return ac_nil;
}

static ac_value make_pair(ac_value unused) {
    (void)unused;
    ac_ref a = ac_spawn(watch_each_other, ac_self());
    ac_ref b = ac_spawn(watch_each_other, ac_self());
    ck_assert_int_eq(ac_send(a, b), 0);
    ck_assert_int_eq(ac_send(b, a), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_send(a, "end"), 0);
    check_exit(a, AC_FINISHED, 0, ac_nil); // passed on by b: a notice is a message
    progress++;
    return ac_nil;
}

TEST(two_may_watch_each_other_and_themselves) { run(make_pair); }

static ac_value monitor_at_the_end(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    ck_assert_int_eq(ac_monitor(who), 0);
    progress++;
    return ac_nil;
}

TEST(a_monitor_may_be_open_when_the_loop_ends) { run(monitor_at_the_end); }

// ---- what is refused ----

static ac_value monitor_nothing(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_monitor(channel), -ENOTSUP);
    ck_assert_int_eq(ac_monitor(ac_no_ref), -ENOTSUP);
    ck_assert_int_eq(ac_monitor(ac_spawn(NULL, ac_nil)), -EINVAL);
    ac_ref far = ac_self();
    far.peer++;
    ck_assert_int_eq(ac_monitor(far), -EHOSTUNREACH);
    check_no_message();
    progress++;
    return ac_nil;
}

TEST(what_names_no_coroutine_cannot_be_monitored) {
    ck_assert_int_eq(ac_monitor(ac_no_ref), -EPERM);
    run(monitor_nothing);
}

static ac_value read_others(ac_value unused) {
    (void)unused;
    struct ac_exit exit = {.reason = 77};
    const ac_value others[] = {
        ac_nil,
        ac_of("exit"),
        ac_list("exit", ac_self(), 1, 0, ac_nil),
        value_notice(ac_list("status", ac_self(), 1, 0, ac_nil)),
        value_notice(ac_list("exit", ac_self(), 0, 0, ac_nil)),
        value_notice(ac_list("exit", ac_self(), 5, 0, ac_nil)),
        value_notice(ac_list("exit", ac_self(), 1, 0)),
        value_notice(ac_list("exit", ac_self(), 1, 0, ac_nil, ac_nil)),
        value_notice(ac_list(1, 2, 3, 4, 5)),
    };
    for (size_t i = 0; i < countof(others); i++) {
        ck_assert(!ac_exit_of(others[i], &exit));
        ac_drop(others[i]);
    }
    ck_assert_int_eq(exit.reason, 77);
    progress++;
    return ac_nil;
}

TEST(other_messages_are_no_exit_notices) { run(read_others); }

// ---- notices that cannot be as they should ----

static ac_value return_deep(ac_value unused) {
    (void)unused;
    ac_value it = ac_of("bottom");
    for (int i = 0; i < AC_VALUE_DEPTH_MAX; i++)
        it = ac_list(it);
    ck_assert_int_eq(ac_kind_of(it), AC_LIST);
    return it;
}

static ac_value see_deep(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(return_deep, ac_nil);
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_FINISHED, -EMSGSIZE, ac_nil);

    who = ac_spawn(return_deep, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ck_assert_int_eq(ac_monitor(who), 0);
    check_exit(who, AC_FINISHED, -EMSGSIZE, ac_nil);
    progress++;
    return ac_nil;
}

TEST(a_result_that_does_not_fit_into_a_notice_is_left_out) { run(see_deep); }

static ac_value monitor_without_memory(ac_value unused) {
    (void)unused;
    bool failed = true;
    ac_value message;
    for (int full = 0; full < 2; full++, failed = true)
        for (long n = 1; failed; n++) {
            ac_ref who = ac_spawn(give_back, "text");
            memory_fail_nth(n);
            int err = ac_monitor(who);
            failed = memory_has_failed();
            memory_fail_nth(0);
            ck_assert_int_eq(err, failed ? -ENOMEM : 0);
            ck_assert_int_eq(ac_sleep(0.001), 0);
            if (!err)
                check_exit(who, AC_FINISHED, 0, ac_of("text"));
            check_no_message();
            // What has ended before is reported without a record, but not without memory.
            memory_fail_nth(n);
            err = ac_monitor(who);
            bool failed_now = memory_has_failed();
            memory_fail_nth(0);
            ck_assert_int_eq(err, failed_now ? -ENOMEM : 0);
            if (!err)
                check_exit(who, AC_LOST, -ESRCH, ac_nil);
            ck_assert_int_eq(ac_receive(&message, AC_NOW), -ETIMEDOUT);
            failed |= failed_now;
        }
    progress++;
    return ac_nil;
}

TEST(a_monitor_without_memory_fails_and_leaves_nothing) { run(monitor_without_memory); }

static ac_value end_without_memory(ac_value n) {
    if (ac_yield() < 0)
        return ac_nil;
    ac_value result = ac_of("result");
    memory_fail_nth(ac_int_of(n));
    return result;
}

static ac_value see_without_memory(ac_value unused) {
    (void)unused;
    int failures = 0;
    for (long n = 1;; n++) {
        ac_ref who = ac_spawn(end_without_memory, n);
        ck_assert_int_eq(ac_monitor(who), 0);
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(ac_send(ac_self(), message), 0);
        if (!failed) {
            check_exit(who, AC_FINISHED, 0, ac_of("result"));
            break;
        }
        check_exit(who, AC_LOST, -ENOMEM, ac_nil);
        failures++;
    }
    ck_assert_int_gt(failures, 0);
    progress++;
    return ac_nil;
}

TEST(a_notice_comes_even_when_there_is_no_memory_for_it) { run(see_without_memory); }

// ---- against a model: every request is answered once, with seeds ----

enum { OBSERVED = 12, STEPS = 3000 };

static struct {
    ac_ref ref;
    int64_t number; // what it returns when it is told to end
    bool joinable;
    bool ended;
    bool cancelled;
} observed[OBSERVED];
static int requests, answers;

static ac_value end_when_told(ac_value number) {
    return ac_suspend(NULL, AC_FOREVER) == 0 ? ac_hold(number) : ac_result(-ECANCELED);
}

static void spawn_observed(int i) {
    static int64_t number;
    static bool joinable;
    joinable = !joinable;
    observed[i].number = ++number;
    observed[i].joinable = joinable;
    observed[i].ended = observed[i].cancelled = false;
    observed[i].ref = ac_spawn(end_when_told, number, .joinable = joinable);
}

// What is due has come, in the order asked for; of each notice it is told who is meant by it.
static void take_answers(void) {
    ac_value message;
    struct ac_exit exit;
    while (ac_receive(&message, AC_NOW) == 0) {
        ck_assert(ac_exit_of(message, &exit));
        ac_drop(message);
        answers++;
        for (int i = 0; i < OBSERVED; i++)
            if (ac_ref_equal(exit.who, observed[i].ref)) {
                ck_assert(observed[i].ended);
                enum ac_end how = observed[i].cancelled ? AC_CANCELLED : AC_FINISHED;
                ck_assert(exit.how == how || (exit.how == AC_LOST && !observed[i].joinable));
                if (exit.how == AC_FINISHED)
                    ck_assert_int_eq(ac_int_of(exit.value), observed[i].number);
            }
        ac_drop(exit.value);
    }
}

static ac_value ask_often(ac_value argument) {
    unsigned seed = (unsigned)ac_int_of(argument);
    requests = answers = 0;
    for (int i = 0; i < OBSERVED; i++)
        spawn_observed(i);
    ck_assert_int_eq(ac_yield(), 0);
    for (int step = 0; step < STEPS; step++) {
        int i = rand_r(&seed) % OBSERVED, what = rand_r(&seed) % 10;
        if (what < 6) {
            ck_assert_int_eq(ac_monitor(observed[i].ref), 0);
            requests++;
        } else if (!observed[i].ended) {
            observed[i].ended = true;
            observed[i].cancelled = what == 6;
            int err = what == 6 ? ac_cancel(observed[i].ref) : ac_resume(observed[i].ref, ac_nil);
            ck_assert_int_eq(err, 0);
        } else if (what > 7) {
            ck_assert_int_eq(ac_yield(), 0);
            take_answers();
            if (observed[i].joinable)
                ck_assert_int_eq(ac_join(observed[i].ref, NULL, AC_NOW), 0);
            spawn_observed(i);
        }
        ck_assert_int_eq(ac_yield(), 0);
    }
    for (int i = 0; i < OBSERVED; i++) {
        observed[i].cancelled |= !observed[i].ended;
        observed[i].ended = true;
        ac_cancel(observed[i].ref);
    }
    ck_assert_int_eq(ac_sleep(0.001), 0);
    take_answers();
    ck_assert_int_eq(answers, requests);
    return ac_nil;
}

TEST(every_request_is_answered_once_whatever_happens) {
    for (int seed = 1; seed <= 30; seed++) {
        ac_spawn(ask_often, seed);
        ck_assert_int_eq(ac_run(), 0);
    }
}

static ac_value end_with_text(ac_value unused) {
    (void)unused;
    return ac_of("a text with memory of its own");
}

static ac_value ask_whether_it_is_a_notice(ac_value unused) {
    (void)unused;
    ac_value message;
    ck_assert_int_eq(ac_monitor(ac_spawn(end_with_text, ac_nil)), 0);
    ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
    ck_assert(ac_exit_of(message, NULL));
    ck_assert(!ac_exit_of(ac_nil, NULL));
    ac_drop(message);
    return ac_nil;
}

TEST(whether_a_message_is_an_exit_notice_can_be_asked_alone) {
    ac_spawn(ask_whether_it_is_a_notice, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}
