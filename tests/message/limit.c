// SPDX-License-Identifier: MIT
// Tests of src/message/limit.c: mailboxes that are full, and senders that wait for room.
#include "message/state.h"
#include "test.h"

#include <asyncoro.h>

static ac_ref receiver;
static int steps[32]; // what happened, in order
static int step_count;

static void note(int step) { steps[step_count++] = step; }

static void check_steps(int count, const int *expected) {
    ck_assert_int_eq(step_count, count);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(steps[i], expected[i]);
}
#define STEPS(...)                                                                                 \
    check_steps((int)countof(((const int[]){__VA_ARGS__})), (const int[]){__VA_ARGS__})

static int64_t take_number(ac_time deadline) {
    ac_value message;
    int err = ac_receive(&message, deadline);
    return err ? err : ac_int_of(message);
}

static void run(ac_function function) {
    receiver = ac_spawn(function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- a mailbox that refuses ----

static ac_value refuse_the_third(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(2, AC_REFUSE), 0);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    ck_assert_int_eq(ac_deliver(receiver, 2, AC_NOW), 1);
    ck_assert_int_eq(ac_send(receiver, "too much"), -ENOBUFS);
    ck_assert_int_eq(ac_try_send(receiver, "too much"), -ENOBUFS);
    ck_assert_int_eq(ac_deliver(receiver, "too much", AC_FOREVER), -ENOBUFS);
    ck_assert_uint_eq(ac_mailbox_count(), 2);
    ck_assert_int_eq(take_number(AC_NOW), 1);
    ck_assert_int_eq(ac_send(receiver, 3), 0);
    ck_assert_int_eq(ac_send(receiver, 4), -ENOBUFS);
    ck_assert_int_eq(take_number(AC_FOREVER), 2);
    ck_assert_int_eq(take_number(AC_FOREVER), 3);
    ck_assert_int_eq(take_number(AC_NOW), -ETIMEDOUT);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_FULL), 0); // its sender knows
    return ac_nil;
}

TEST(a_full_mailbox_refuses_until_something_is_taken) { run(refuse_the_third); }

static ac_value change_limits(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(ac_send(receiver, i), 0);
    ck_assert_int_eq(ac_mailbox_limit(2, AC_REFUSE), 0);
    ck_assert_uint_eq(ac_mailbox_count(), 5);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(ac_send(receiver, i), -ENOBUFS);
        ck_assert_int_eq(take_number(AC_NOW), i);
    }
    ck_assert_int_eq(ac_send(receiver, 5), 0);
    ck_assert_int_eq(ac_send(receiver, 6), -ENOBUFS);
    ck_assert_int_eq(ac_mailbox_limit(0, 0), 0);
    for (int i = 6; i < 100; i++)
        ck_assert_int_eq(ac_send(receiver, i), 0);
    for (int i = 4; i < 100; i++)
        ck_assert_int_eq(take_number(AC_NOW), i);
    return ac_nil;
}

TEST(what_is_there_stays_when_a_limit_comes_and_nothing_is_refused_when_it_goes) {
    run(change_limits);
}

static ac_value wrong_limits(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, 0), -EINVAL);
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS + 1), -EINVAL);
    ck_assert_int_eq(ac_mailbox_limit(0, 77), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_mailbox_limit(1, AC_REFUSE), -ENOMEM);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    ck_assert_int_eq(ac_send(receiver, 2), 0);
    return ac_nil;
}

TEST(a_limit_that_cannot_be_set_changes_nothing) {
    ck_assert_int_eq(ac_mailbox_limit(1, AC_REFUSE), -EPERM);
    run(wrong_limits);
}

static ac_value end_at_once(ac_value unused) {
    (void)unused;
    return ac_nil;
}

static ac_value notices_fit(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_REFUSE), 0);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_monitor(ac_spawn(end_at_once, ac_nil)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_monitor(receiver), 0); // of oneself: none
    ck_assert_uint_eq(ac_mailbox_count(), 4);
    ck_assert_int_eq(take_number(AC_NOW), 1);
    ck_assert_int_eq(ac_send(receiver, 2), 0); // notices take no room
    ck_assert_int_eq(ac_send(receiver, 3), -ENOBUFS);
    for (int i = 0; i < 3; i++) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, AC_NOW), 0);
        ck_assert(ac_exit_of(message, NULL));
        ac_drop(message);
        ck_assert_int_eq(ac_send(receiver, 3), -ENOBUFS); // nor do they leave any
    }
    ck_assert_int_eq(take_number(AC_NOW), 2);
    ck_assert_int_eq(ac_send(receiver, 3), 0);
    // They are not counted either when they came before the limit.
    ck_assert_int_eq(ac_mailbox_limit(0, 0), 0);
    ck_assert_int_eq(ac_monitor(ac_spawn(end_at_once, ac_nil)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_mailbox_limit(2, AC_REFUSE), 0);
    ck_assert_int_eq(ac_send(receiver, 4), 0);
    ck_assert_int_eq(ac_send(receiver, 5), -ENOBUFS);
    return ac_nil;
}

TEST(exit_notices_always_fit_and_do_not_count) { run(notices_fit); }

static ac_value lose_below_a_channel(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_channel_subscribe(channel, receiver), 0);
    ck_assert_int_eq(ac_deliver(channel, 1, AC_NOW), 1);
    ck_assert_int_eq(ac_send(channel, 2), 0);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_FULL), 1);
    ck_assert_int_eq(ac_deliver(channel, 3, AC_NOW), -ENOBUFS);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_FULL), 2);
    // The notice of the channel's end fits.
    ck_assert_int_eq(ac_channel_close(channel), 0);
    ck_assert_int_eq(take_number(AC_NOW), 1);
    return ac_nil;
}

TEST(what_a_channel_hands_to_a_full_mailbox_is_a_dead_letter) { run(lose_below_a_channel); }

static ac_value forget_the_limit(ac_value expected) {
    ck_assert_int_eq(ac_send(ac_self(), 1), 0);
    ck_assert_int_eq(ac_send(ac_self(), 2), ac_int_of(expected));
    ck_assert_int_eq(ac_mailbox_limit(1, AC_REFUSE), 0);
    return ac_nil;
}

static ac_value one_after_the_other(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        ac_ref one = ac_spawn(forget_the_limit, 0);
        ck_assert_int_eq(ac_join(one, NULL, AC_FOREVER), 0);
    }
    return ac_nil;
}

TEST(a_limit_ends_with_its_coroutine) { run(one_after_the_other); }

// ---- senders that wait ----

static ac_value send_two(ac_value first) {
    int64_t n = ac_int_of(first);
    ck_assert_int_eq(ac_send(receiver, n), 0);
    note((int)n);
    ck_assert_int_eq(ac_send(receiver, n + 1), 0);
    note((int)n + 1);
    return ac_nil;
}

static ac_value let_senders_in(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ac_spawn(send_two, 10);
    ac_spawn(send_two, 20);
    ac_spawn(send_two, 30);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ac_yield(), 0);
    STEPS(10);
    ck_assert_uint_eq(ac_mailbox_count(), 1);
    ck_assert_int_eq(ac_try_send(receiver, 5), -EAGAIN);
    ck_assert_int_eq(ac_send(receiver, 5), -EAGAIN); // nobody waits for himself
    ck_assert_int_eq(ac_deliver(receiver, 5, AC_FOREVER), -ENOBUFS);
    const int expected[] = {10, 11, 20, 30, 21, 31};
    for (int i = 0; i < 6; i++) {
        // The first who waits is in the mailbox before he runs: nobody can overtake.
        ck_assert_int_eq(take_number(AC_NOW), expected[i]);
        ck_assert_uint_eq(ac_mailbox_count(), i < 5);
        if (i < 5)
            ck_assert_int_eq(ac_try_send(receiver, 5), -EAGAIN);
        for (int n = 0; n < 10; n++)
            ck_assert_int_eq(ac_yield(), 0);
    }
    STEPS(10, 11, 20, 30, 21, 31);
    return ac_nil;
}

TEST(senders_are_let_in_first_come_first_served) { run(let_senders_in); }

static ac_value raise_the_limit(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    ac_ref senders[3];
    for (int i = 0; i < 3; i++)
        senders[i] = ac_spawn(send_two, 10 * (i + 1), .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_mailbox_limit(3, AC_REFUSE), 0);
    ck_assert_uint_eq(ac_mailbox_count(), 3);
    // Who waited before goes on waiting; who comes now is refused.
    ck_assert_int_eq(ac_send(receiver, 2), -ENOBUFS);
    ck_assert_int_eq(ac_mailbox_limit(0, 0), 0);
    ck_assert_uint_eq(ac_mailbox_count(), 4);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_join(senders[i], NULL, AC_FOREVER), 0);
    const int expected[] = {1, 10, 20, 30, 11, 21, 31};
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(take_number(AC_NOW), expected[i]);
    return ac_nil;
}

TEST(a_higher_limit_lets_senders_in) { run(raise_the_limit); }

static ac_value be_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_send(receiver, "never there"), -ECANCELED);
    ck_assert_int_eq(ac_send(receiver, "nor this"), -ECANCELED);
    note(1);
    return ac_nil;
}

static ac_value cancel_a_sender(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    ac_ref first = ac_spawn(be_cancelled, ac_nil, .joinable = true);
    ac_ref second = ac_spawn(send_two, 2, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(first), 0);
    ck_assert_int_eq(ac_join(first, NULL, AC_FOREVER), 0);
    for (int i = 1; i <= 3; i++)
        ck_assert_int_eq(take_number(AC_FOREVER), i);
    ck_assert_int_eq(ac_join(second, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(take_number(AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(step_count, 3);
    return ac_nil;
}

TEST(a_sender_that_is_cancelled_takes_its_message_back) { run(cancel_a_sender); }

static ac_value send_in_vain(ac_value text) {
    ck_assert_int_eq(ac_send(receiver, ac_hold(text)), -ESRCH);
    note(1);
    return ac_nil;
}

static ac_value end_before_its_senders(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    ac_spawn(send_in_vain, "a text that must be dropped");
    ac_spawn(send_in_vain, "another one");
    return ac_result(ac_yield());
}

TEST(senders_that_wait_learn_of_the_end_of_the_receiver) {
    run(end_before_its_senders);
    STEPS(1, 1);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_FULL), 0);
}

static ac_value wait_for_the_end(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    return ac_result(ac_sleep_until(AC_FOREVER) == -ECANCELED ? 0 : -EINVAL);
}

static ac_value main_ends(ac_value unused) {
    (void)unused;
    return ac_result(ac_yield() | ac_yield());
}

static ac_value send_until_the_end(ac_value unused) {
    (void)unused;
    int err;
    while ((err = ac_send(receiver, "text")) == 0)
        continue;
    ck_assert(err == -ECANCELED || err == -ESRCH);
    return ac_nil;
}

TEST(senders_that_wait_do_not_keep_a_program_from_its_end) {
    receiver = ac_spawn(wait_for_the_end, ac_nil, .daemon = true);
    ac_spawn(send_until_the_end, ac_nil, .daemon = true);
    ac_spawn(main_ends, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- choosing from a full mailbox ----

static bool is_text(ac_value message, void *context) {
    (void)context;
    return message.kind == AC_TEXT;
}

static ac_value send_text(ac_value number) {
    ck_assert_int_eq(ac_send(receiver, number), 0);
    ck_assert_int_eq(ac_send(receiver, "wanted"), 0);
    note((int)ac_int_of(number));
    return ac_nil;
}

static ac_value choose_from_a_full_one(ac_value unused) {
    (void)unused;
    ac_value message;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    ck_assert_int_eq(ac_receive_if(&message, is_text, NULL, ac_after(0.01)), -ETIMEDOUT);
    ac_spawn(send_text, 2);
    ck_assert_int_eq(ac_yield(), 0);
    // 2 waits, and its sender with it.
    ck_assert_int_eq(ac_receive_if(&message, is_text, NULL, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_int_eq(take_number(AC_NOW), 1);
    ck_assert_int_eq(ac_yield(), 0);
    // 2 is there, and the text waits outside.
    ck_assert_uint_eq(ac_mailbox_count(), 1);
    ck_assert_int_eq(ac_receive_if(&message, is_text, NULL, AC_NOW), 0);
    ac_drop(message);
    // What comes while one waits goes past a full mailbox.
    ac_spawn(send_text, 3);
    ck_assert_int_eq(take_number(AC_NOW), 2);
    ck_assert_int_eq(ac_receive_if(&message, is_text, NULL, AC_FOREVER), 0);
    ac_drop(message);
    ck_assert_int_eq(take_number(AC_NOW), 3);
    STEPS(2, 3);
    return ac_nil;
}

TEST(a_full_mailbox_keeps_nobody_from_what_he_chooses) { run(choose_from_a_full_one); }

// ---- memory ----

static ac_value send_without_memory(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_send(receiver, 1), 0);
    while (cell_take(loop_here)) { // uses up the chunk: what is lost goes with the loop
        memory_fail_nth(1);
        if (!message_state(loop_here)->free &&
            message_state(loop_here)->fresh == message_state(loop_here)->fresh_end)
            break;
        memory_fail_nth(0);
    }
    memory_fail_nth(1);
    ck_assert_int_eq(ac_send(receiver, "waits"), -ENOMEM);
    ck_assert(memory_has_failed());
    ck_assert_int_eq(ac_send(receiver, 2), 0);
    return ac_nil;
}

static ac_value take_both(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ac_spawn(send_without_memory, ac_nil);
    ck_assert_int_eq(ac_yield() | ac_yield(), 0);
    ck_assert_int_eq(take_number(AC_FOREVER), 1);
    ck_assert_int_eq(take_number(AC_FOREVER), 2);
    return ac_nil;
}

TEST(a_sender_that_would_wait_without_memory_is_told_so) { run(take_both); }
