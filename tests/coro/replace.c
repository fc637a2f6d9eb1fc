// SPDX-License-Identifier: MIT
// Tests of src/coro/replace.c: what stays when a function is replaced, who goes before whom, and a
// new version in a shared object. That every wait ends is in interrupt.c.
#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <asyncoro.h>

#include <dlfcn.h>
#include <stdlib.h>

static void run(ac_function function) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(function, ac_nil)), 0);
    ck_assert_int_eq(ac_run(), 0);
}

static struct ac_exit end_of(ac_ref who) {
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(who, &exit, ac_after(20)), 0);
    return exit;
}

// The coroutine ends, and returns this text.
static void ends_with(ac_ref who, enum ac_end how, const char *text) {
    struct ac_exit exit = end_of(who);
    ck_assert_int_eq(exit.how, how);
    ck_assert_str_eq(ac_text_of(exit.value), text);
    ac_drop(exit.value);
}

// Waits until it is told of its replacement, and hands on "state".
static ac_value old(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    tell('o');
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ERESTART);
    return ac_of("state");
}

static ac_ref spawn_old(void) {
    ac_ref who = ac_spawn(old, "first argument", .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    return who;
}

static ac_value new (ac_value argument) {
    tell('n');
    ck_assert_int_eq(ac_yield(), 0);
    return ac_hold(argument);
}

static ac_value newer(ac_value argument) {
    tell('N');
    return ac_hold(argument);
}

// ---- what is handed over ----

static ac_value hand_over(ac_value unused) {
    (void)unused;
    ac_ref who = spawn_old();
    ck_assert_int_eq(ac_replace(who, new, ac_nil), 0);
    ck_assert_str_eq(story, "o"); // nothing runs inside the call
    ends_with(who, AC_FINISHED, "state");
    who = spawn_old();
    ck_assert_int_eq(ac_replace(who, new, "an argument"), 0);
    ends_with(who, AC_FINISHED, "an argument");
    return ac_nil;
}

TEST(the_new_function_gets_its_argument_or_what_the_old_one_returned) {
    run(hand_over);
    ck_assert_str_eq(story, "onon");
}

static ac_value fail_when_told(ac_value it) {
    (void)ac_set_replaceable(true);
    int err = ac_sleep_until(AC_FOREVER);
    return ac_bool_of(it) ? ac_of_text("\xff") : ac_result(err);
}

static ac_value see_error(ac_value error) {
    ck_assert_int_eq(ac_kind_of(error), AC_ERROR);
    return ac_of(ac_error_of(error));
}

static ac_value fail_and_go_on(ac_value unused) {
    (void)unused;
    int codes[] = {-ERESTART, -EILSEQ};
    for (int i = 0; i < 2; i++) {
        ac_ref who = ac_spawn(fail_when_told, (bool)i, .joinable = true);
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_replace(who, see_error, ac_nil), 0);
        struct ac_exit exit = end_of(who);
        ck_assert_int_eq(exit.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(exit.value), codes[i]);
    }
    return ac_nil;
}

TEST(an_error_of_the_old_function_is_no_end_but_handed_over) { run(fail_and_go_on); }

static bool late_cleanup;

static ac_value clean_up_slowly(ac_value unused) {
    (void)unused;
    (void)ac_set_replaceable(true);
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ERESTART);
    ck_assert_int_eq(ac_yield(), -ERESTART);
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    late_cleanup = true;
    return ac_of("cleaned up"); // the shield ends with the function
}

static ac_value wait_bare(ac_value argument) {
    ck_assert(late_cleanup);
    ck_assert_int_eq(ac_shield_end(), -EPERM);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    return ac_hold(argument);
}

static ac_value replace_slow_one(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(clean_up_slowly, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_replace(who, wait_bare, ac_nil), 0);
    ends_with(who, AC_CANCELLED, "cleaned up");
    return ac_nil;
}

TEST(the_old_function_can_clean_up_under_a_shield_which_the_new_one_does_not_inherit) {
    run(replace_slow_one);
}

// ---- what stays ----

static ac_value receive_two(ac_value answer_to) {
    ac_value message;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        ck_assert_int_eq(ac_send(ac_ref_of(answer_to), message), 0);
    }
    return ac_of("both");
}

static ac_value ignore_messages(ac_value answer_to) {
    (void)ac_set_replaceable(true);
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ERESTART);
    return ac_hold(answer_to);
}

static ac_value keep_all(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(ignore_messages, ac_self(), .name = "constant");
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_channel_subscribe(channel, who), 0);
    ck_assert_int_eq(ac_monitor(who), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_send(who, "before"), 0);
    ck_assert_int_eq(ac_replace(who, receive_two, ac_nil), 0);
    ck_assert_str_eq(ac_name_of(who), "constant");
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    ck_assert_str_eq(ac_text_of(message), "before");
    ac_drop(message);
    ck_assert_str_eq(ac_name_of(who), "constant");
    ck_assert_int_eq(ac_deliver(channel, "through the channel", ac_after(20)), 1);
    ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    ck_assert_str_eq(ac_text_of(message), "through the channel");
    ac_drop(message);
    ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    struct ac_exit exit;
    ck_assert(ac_exit_of(message, &exit));
    ac_drop(message);
    ck_assert(ac_ref_equal(exit.who, who));
    ck_assert_int_eq(exit.how, AC_FINISHED);
    ck_assert_str_eq(ac_text_of(exit.value), "both");
    ac_drop(exit.value);
    return ac_nil;
}

TEST(reference_name_mailbox_subscriptions_and_monitors_stay) { run(keep_all); }

// ---- who goes before whom ----

static ac_value replace_again(ac_value unused) {
    (void)unused;
    ac_ref who = spawn_old();
    ck_assert_int_eq(ac_replace(who, new, "dropped"), 0);
    ck_assert_int_eq(ac_replace(who, newer, "later"), 0);
    ends_with(who, AC_FINISHED, "later");
    return ac_nil;
}

TEST(a_later_replacement_goes_before_one_that_has_not_come_about) {
    run(replace_again);
    ck_assert_str_eq(story, "oN");
}

static ac_value replace_and_cancel(ac_value unused) {
    (void)unused;
    ac_ref who = spawn_old();
    ck_assert_int_eq(ac_replace(who, new, "dropped"), 0);
    ck_assert_int_eq(ac_cancel(who), 0); // its wait has ended already, with -ERESTART
    ends_with(who, AC_CANCELLED, "state");
    return ac_nil;
}

TEST(a_cancellation_goes_before_a_replacement) {
    run(replace_and_cancel);
    ck_assert_str_eq(story, "o");
}

static ac_value be_cancelled(ac_value unused) {
    (void)unused;
    (void)ac_set_replaceable(true);
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    return ac_of("cancelled");
}

static ac_value cancel_and_replace(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(be_cancelled, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(who), 0);
    ck_assert_int_eq(ac_replace(who, new, "dropped"), 0);
    ends_with(who, AC_CANCELLED, "cancelled");
    return ac_nil;
}

TEST(a_replacement_after_a_cancellation_does_not_come_about) {
    run(cancel_and_replace);
    ck_assert_str_eq(story, "");
}

static ac_value cancel_it(ac_value whom) {
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    return ac_nil;
}

static ac_value go_on_waiting(ac_value unused) {
    (void)unused;
    (void)ac_set_replaceable(true);
    ck_assert_int_eq(ac_replace(ac_self(), new, ac_nil), 0);
    ac_spawn(cancel_it, ac_self());
    ck_assert_int_eq(ac_yield(), -ERESTART);
    // The one who cancels it runs meanwhile.
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    return ac_nil;
}

TEST(one_that_goes_on_waiting_lets_the_others_run_and_learns_what_they_did) {
    run(go_on_waiting);
    ck_assert_str_eq(story, "");
}

// ---- that it comes about ----

static ac_value never_waits(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    ck_assert_int_eq(ac_replace(ac_self(), newer, "of itself"), 0);
    ck_assert_int_eq(ac_set_replaceable(false), 0); // it has been accepted
    return ac_nil;
}

static ac_value see_one_that_never_waits(ac_value unused) {
    (void)unused;
    ends_with(ac_spawn(never_waits, ac_nil, .joinable = true), AC_FINISHED, "of itself");
    return ac_nil;
}

TEST(one_that_never_waits_again_is_replaced_when_it_returns) {
    run(see_one_that_never_waits);
    ck_assert_str_eq(story, "N");
}

static ac_value count_down(ac_value number) {
    int64_t left = ac_int_of(number);
    ck_assert_int_eq(ac_replace(ac_self(), count_down, ac_nil), -EACCES);
    ck_assert_int_eq(ac_yield(), 0);
    if (left == 0)
        return ac_of("done");
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    ck_assert_int_eq(ac_replace(ac_self(), count_down, ac_nil), 0);
    return ac_of(left - 1);
}

static ac_value replace_often(ac_value unused) {
    (void)unused;
    // Were each function called by the one before, the stack would not do.
    ac_ref who = ac_spawn(count_down, 100000, .joinable = true, .stack_bytes = AC_STACK_BYTES_MIN);
    ends_with(who, AC_FINISHED, "done");
    return ac_nil;
}

TEST(a_coroutine_is_replaced_any_number_of_times_on_the_same_stack) { run(replace_often); }

static ac_value sleep_until_cancelled(ac_value unused) {
    (void)unused;
    tell('d');
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    tell('c');
    return ac_nil;
}

static ac_value replace_oneself(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    ck_assert_int_eq(ac_replace(ac_self(), sleep_until_cancelled, ac_nil), 0);
    return ac_nil;
}

TEST(a_daemon_stays_one_and_is_cancelled_at_the_end_of_the_loop) {
    ac_spawn(replace_oneself, ac_nil, .daemon = true);
    run(newer);
    ck_assert_str_eq(story, "dNc");
}

static ac_value stays_deaf(ac_value unused) {
    (void)unused;
    (void)ac_set_replaceable(true);
    ck_assert_int_eq(ac_replace(ac_self(), new, "some text that takes memory"), 0);
    (void)ac_shield_begin();
    (void)ac_sleep_until(AC_FOREVER);
    return ac_nil;
}

TEST(what_an_abandoned_one_would_have_gone_on_with_is_dropped) {
    ac_spawn(stays_deaf, ac_nil, .daemon = true);
    run(newer);
    ck_assert_str_eq(story, "N");
}

// ---- what cannot be replaced ----

static ac_value refuse(ac_value unused) {
    (void)unused;
    ac_ref ended = ac_spawn(newer, "kept", .joinable = true);
    ac_ref not_begun = ac_spawn(newer, ac_nil);
    ck_assert_int_eq(ac_replace(not_begun, new, "dropped text"), -EACCES);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_replace(ended, new, "dropped text"), -ESRCH);
    ck_assert_int_eq(ac_replace(not_begun, new, "dropped text"), -ESRCH);
    ck_assert_int_eq(ac_replace(ac_self(), new, "dropped text"), -EACCES);
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    ck_assert_int_eq(ac_replace(ac_self(), NULL, "dropped text"), -EINVAL);
    ck_assert_int_eq(ac_replace(ac_self(), new, "\xff"), -EILSEQ);
    ck_assert_int_eq(ac_set_replaceable(false), 0);
    ck_assert_int_eq(ac_replace(ac_self(), new, "dropped text"), -EACCES);
    ac_ref far = {.peer = ended.peer + 1, .id = ended.id};
    ck_assert_int_eq(ac_replace(far, new, "dropped text"), -ENOTSUP);
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_replace(channel, new, "dropped text"), -ENOTSUP);
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(what_cannot_be_replaced_is_told_apart) {
    ck_assert_int_eq(ac_set_replaceable(true), -EPERM);
    ck_assert_int_eq(ac_replace(ac_no_ref, new, "dropped text"), -ESRCH);
    run(refuse);
    ck_assert_str_eq(story, "NN");
}

static ac_value replace_without_memory(ac_value unused) {
    (void)unused;
    int failures = 0;
    for (long n = 1;; n++) {
        ac_ref who = spawn_old();
        ac_value argument = ac_of("some text that takes memory");
        memory_fail_nth(n);
        int err = ac_replace_with(who, newer, argument);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        failures += failed;
        if (failed) // it goes on as if nothing had been asked
            ck_assert_int_eq(ac_replace(who, newer, "some text that takes memory"), 0);
        ck_assert_int_eq(ac_replace(who, newer, "another"), 0);
        ends_with(who, AC_FINISHED, "another");
        if (!failed)
            break;
    }
    ck_assert_int_eq(failures, 1);
    return ac_nil;
}

TEST(without_memory_for_a_replacement_nothing_changes) { run(replace_without_memory); }

// ---- a new version in a shared object ----

// Counts those who ask; tells them. Hands over the count.
static ac_value version_1(ac_value state) {
    int64_t count = ac_int_of(state);
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ck_assert_int_eq(ac_send(ac_ref_of(message), ++count), 0);
        ac_drop(message);
    }
    return ac_of(count);
}

static int64_t ask(ac_ref who) {
    ac_value answer;
    ck_assert_int_eq(ac_send(who, ac_self()), 0);
    ck_assert_int_eq(ac_receive(&answer, ac_after(20)), 0);
    return ac_int_of(answer);
}

static ac_value load_and_replace(ac_value unused) {
    (void)unused;
    ac_ref counter = ac_spawn(version_1, 0);
    ck_assert_int_eq(ask(counter), 1);
    ck_assert_int_eq(ask(counter), 2);
    void *object = dlopen(REPLACEMENT_OBJECT, RTLD_NOW);
    ck_assert_msg(object != NULL, "%s", dlerror());
    ac_function version_2;
    void *symbol = dlsym(object, "replacement");
    ck_assert_ptr_nonnull(symbol);
    memcpy(&version_2, &symbol, sizeof symbol);
    ck_assert_int_eq(ac_replace(counter, version_2, ac_nil), 0);
    ck_assert_int_eq(ask(counter), 12);
    ck_assert_int_eq(ask(counter), 22);
    ck_assert_int_eq(ac_monitor(counter), 0);
    ck_assert_int_eq(ac_send(counter, ac_nil), 0);
    ac_value message;
    struct ac_exit exit;
    ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    ck_assert(ac_exit_of(message, &exit));
    ac_drop(message);
    ck_assert_int_eq(ac_int_of(exit.value), 22);
    dlclose(object); // its function has returned
    return ac_nil;
}

TEST(a_function_of_a_shared_object_goes_on_with_the_state_of_the_old_one) { run(load_and_replace); }
