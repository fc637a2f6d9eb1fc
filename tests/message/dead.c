// SPDX-License-Identifier: MIT
// Tests of src/message/dead.c: which messages are dead letters, and who is told.
#include "message/state.h"
#include "test.h"

#include <asyncoro.h>

static struct {
    enum ac_dead_reason reason;
    ac_ref to;
    int64_t number;
    void *context;
    int calls;
} last;

static void remember(enum ac_dead_reason reason, ac_ref to, ac_value message, void *context) {
    ck_assert(!ac_ref_is(ac_self())); // as if outside coroutines
    ck_assert_int_eq(ac_yield(), -EPERM);
    last.reason = reason;
    last.to = to;
    last.number = ac_int_of(message);
    last.context = context;
    last.calls++;
}

static ac_value end_at_once(ac_value unused) {
    (void)unused;
    return ac_nil;
}

static ac_value read_one_of_three(ac_value other) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
    ck_assert_int_eq(ac_monitor(ac_ref_of(other)), 0);
    ck_assert_int_eq(ac_yield() | ac_yield(), 0);
    ck_assert_uint_eq(ac_mailbox_count(), 3);
    return ac_nil;
}

static ac_value leave_two_unread(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_on_dead_letter(remember, &last), 0);
    ac_ref to = ac_spawn(read_one_of_three, ac_spawn(end_at_once, ac_nil), .joinable = true);
    for (int i = 1; i <= 3; i++)
        ck_assert_int_eq(ac_send(to, i), 0);
    ck_assert_int_eq(ac_join(to, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(last.calls, 2);
    ck_assert_int_eq(last.reason, AC_DEAD_UNREAD);
    ck_assert(ac_ref_equal(last.to, to));
    ck_assert_int_eq(last.number, 3); // the oldest first
    ck_assert_ptr_eq(last.context, &last);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_UNREAD), 2);
    struct ac_counters counters = {.size = sizeof counters};
    ck_assert_int_eq(ac_counters(&counters), 0);
    ck_assert_uint_eq(counters.dead_letters, 2);
    return ac_nil;
}

TEST(what_is_unread_at_the_end_is_a_dead_letter_unless_the_library_sent_it) {
    ac_spawn(leave_two_unread, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value leave_one_unread(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_on_dead_letter(remember, NULL), 0);
    ck_assert_int_eq(ac_on_dead_letter(NULL, NULL), 0);
    ac_ref to = ac_spawn(end_at_once, ac_nil);
    ck_assert_int_eq(ac_send(to, 1), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(last.calls, 0);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_UNREAD), 1);
    return ac_nil;
}

TEST(a_hook_that_was_taken_away_is_not_called) {
    ac_spawn(leave_one_unread, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value send_to_ended(ac_value unused) {
    (void)unused;
    ac_ref ended = ac_spawn(end_at_once, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_send(ended, 1), -ESRCH);
    return ac_nil;
}

TEST(what_was_refused_is_no_dead_letter) {
    ac_spawn(send_to_ended, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    for (int reason = 0; reason <= AC_DEAD_REASONS; reason++)
        ck_assert_uint_eq(ac_dead_letters((enum ac_dead_reason)reason), 0);
}

// ---- from another process ----

static ac_value arrive(ac_value unused) {
    (void)unused;
    struct loop *loop = loop_here;
    ac_ref ended = ac_spawn(end_at_once, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_on_dead_letter(remember, NULL), 0);
    ck_assert_int_eq(message_arrive(loop, ended, ac_of_int(1), false), -ESRCH);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_ENDED), 1);
    ck_assert(ac_ref_equal(last.to, ended));

    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(message_arrive(loop, ac_self(), ac_of_int(2), false), 1);
    ck_assert_int_eq(message_arrive(loop, ac_self(), ac_of_int(3), false), -ENOBUFS);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_FULL), 1);
    ck_assert_int_eq(last.number, 3);
    // Of this one it was said that it is there.
    ck_assert_int_eq(message_arrive(loop, ac_self(), ac_of_int(4), true), 1);
    ck_assert_uint_eq(ac_mailbox_count(), 2);

    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(message_arrive(loop, channel, ac_of_int(5), false), -ENOBUFS);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_FULL), 2); // once
    ck_assert_int_eq(ac_channel_close(channel), 0);
    ck_assert_int_eq(message_arrive(loop, channel, ac_of_int(6), false), -ESRCH);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_ENDED), 2);

    ac_ref question = ac_self();
    question.id |= REF_ANSWER;
    ck_assert_int_eq(message_arrive(loop, question, ac_of_int(7), false), -ESRCH);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_LATE), 1);
    ck_assert_int_eq(last.number, 7);
    message_lost(loop, 3);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_NO_MEMORY), 3);
    ck_assert_int_eq(last.calls, 5);
    return ac_nil;
}

TEST(what_comes_from_afar_and_reaches_nobody_is_a_dead_letter) {
    ac_spawn(arrive, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value arrive_without_memory(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_on_dead_letter(remember, NULL), 0);
    struct message_state *state = message_state(loop_here);
    ck_assert_ptr_null(state->free);
    memory_fail_nth(1);
    ck_assert_int_eq(message_arrive(loop_here, ac_self(), ac_of_int(8), false), -ENOMEM);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_NO_MEMORY), 1);
    ck_assert_int_eq(last.number, 8);
    return ac_nil;
}

TEST(what_comes_from_afar_and_cannot_be_kept_is_a_dead_letter) {
    ac_spawn(arrive_without_memory, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- the rest ----

TEST(a_hook_needs_memory) {
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_on_dead_letter(remember, NULL);
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
    }
    ck_assert_int_eq(ac_run(), 0);
}

TEST(each_reason_has_a_name) {
    ck_assert_str_eq(ac_dead_reason_name(AC_DEAD_ENDED), "ended");
    ck_assert_str_eq(ac_dead_reason_name(AC_DEAD_UNREAD), "unread");
    ck_assert_str_eq(ac_dead_reason_name(AC_DEAD_FULL), "full");
    ck_assert_str_eq(ac_dead_reason_name(AC_DEAD_LATE), "late");
    ck_assert_str_eq(ac_dead_reason_name(AC_DEAD_NO_MEMORY), "no memory");
    ck_assert_str_eq(ac_dead_reason_name(AC_DEAD_REASONS), "unknown");
}
