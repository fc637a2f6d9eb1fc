// SPDX-License-Identifier: MIT
// Tests of src/message/call.c: questions, answers, and what comes instead of an answer.
#include "message/state.h"
#include "test.h"

#include <asyncoro.h>

static ac_ref server;

static void run(ac_function client, ac_function serve) {
    server = ac_spawn(serve, ac_nil, .daemon = true);
    ac_spawn(client, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_ref next_request(int64_t *body) {
    ac_value request;
    ac_ref answer;
    if (ac_receive(&request, AC_FOREVER) < 0)
        return ac_no_ref;
    ck_assert_int_eq(ac_unpack(request, &answer, body), 0);
    ac_drop(request);
    return answer;
}

static ac_value square(ac_value unused) {
    (void)unused;
    int64_t body;
    ac_ref answer;
    while (ac_ref_is(answer = next_request(&body)))
        ck_assert_int_eq(ac_send(answer, body * body), 0);
    return ac_nil;
}

// ---- answers ----

static ac_value ask_a_thousand(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 1000; i++) {
        ac_value answer;
        ck_assert_int_eq(ac_call(server, i, &answer, i % 2 ? AC_FOREVER : ac_after(60)), 0);
        ck_assert_int_eq(ac_int_of(answer), i * i);
    }
    ck_assert_uint_eq(ac_mailbox_count(), 0);
    ck_assert_uint_eq(message_state(loop_here)->answers.count, 1); // all of them in one slot
    return ac_nil;
}

TEST(a_question_is_answered) { run(ask_a_thousand, square); }

static int finished;

static ac_value ask_one(ac_value number) {
    ac_value answer;
    ck_assert_int_eq(ac_call(server, number, &answer, AC_FOREVER), 0);
    ck_assert_int_eq(ac_int_of(answer), ac_int_of(number) + 1000);
    finished++;
    return ac_nil;
}

static ac_value answer_backwards(ac_value unused) {
    (void)unused;
    ac_ref answers[20];
    int64_t bodies[20];
    for (int i = 0; i < 20; i++)
        answers[i] = next_request(&bodies[i]);
    for (int i = 19; i >= 0; i--)
        ck_assert_int_eq(ac_deliver(answers[i], bodies[i] + 1000, AC_NOW), 1);
    return ac_result(ac_sleep_until(AC_FOREVER));
}

static ac_value ask_twenty(ac_value unused) {
    (void)unused;
    ac_ref clients[20];
    for (int i = 0; i < 20; i++)
        clients[i] = ac_spawn(ask_one, i, .joinable = true);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(ac_join(clients[i], NULL, AC_FOREVER), 0);
    return ac_nil;
}

TEST(each_answer_finds_its_question) {
    run(ask_twenty, answer_backwards);
    ck_assert_int_eq(finished, 20);
}

static ac_value answer_twice(ac_value unused) {
    (void)unused;
    int64_t body;
    ac_ref answer = next_request(&body);
    ck_assert_int_eq(ac_monitor(answer), -ENOTSUP);
    ck_assert_int_eq(ac_send(answer, "first"), 0);
    ck_assert_int_eq(ac_send(answer, "second"), -ESRCH);
    ck_assert_int_eq(ac_try_send(answer, "third"), -ESRCH);
    ck_assert_int_eq(ac_deliver(answer, "fourth", AC_NOW), -ESRCH);
    return ac_result(ac_sleep_until(AC_FOREVER));
}

static ac_value take_the_first(ac_value unused) {
    (void)unused;
    ac_value answer;
    ck_assert_int_eq(ac_call(server, 1, &answer, AC_FOREVER), 0);
    ck_assert_str_eq(ac_text_of(answer), "first");
    ac_drop(answer);
    ck_assert_uint_eq(ac_mailbox_count(), 0);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_LATE), 3);
    return ac_nil;
}

TEST(one_message_closes_a_question) { run(take_the_first, answer_twice); }

// ---- no answer ----

static ac_ref kept;

static ac_value keep_the_reference(ac_value unused) {
    (void)unused;
    int64_t body;
    kept = next_request(&body);
    return ac_result(ac_sleep_until(AC_FOREVER));
}

static ac_value wait_too_short(ac_value unused) {
    (void)unused;
    ac_value answer = ac_of_int(77);
    ck_assert_int_eq(ac_call(server, "late", &answer, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_call(server, 1, &answer, ac_after(0.01)), -ETIMEDOUT);
    ck_assert(ac_ref_is(kept));
    ck_assert_int_eq(ac_send(kept, "too late"), -ESRCH);
    ck_assert_int_eq(ac_int_of(answer), 77);
    ck_assert_uint_eq(ac_mailbox_count(), 0);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_LATE), 1);
    return ac_nil;
}

TEST(a_late_answer_is_a_dead_letter_and_in_no_mailbox) { run(wait_too_short, keep_the_reference); }

static ac_value be_cancelled(ac_value unused) {
    (void)unused;
    ac_value answer;
    ck_assert_int_eq(ac_call(server, 1, &answer, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_call(server, "and again", &answer, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_who_asks(ac_value unused) {
    (void)unused;
    ac_ref client = ac_spawn(be_cancelled, ac_nil, .joinable = true);
    while (!ac_ref_is(kept))
        ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(client), 0);
    ck_assert_int_eq(ac_join(client, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_send(kept, "too late"), -ESRCH);
    return ac_nil;
}

TEST(a_question_ends_with_a_cancellation) { run(cancel_who_asks, keep_the_reference); }

static ac_value end_without_an_answer(ac_value unused) {
    (void)unused;
    int64_t body;
    (void)next_request(&body);
    return ac_nil;
}

static ac_value ask_one_who_ends(ac_value unused) {
    (void)unused;
    ac_value answer;
    ck_assert_int_eq(ac_call(server, 1, &answer, AC_FOREVER), -ESRCH);
    ck_assert_int_eq(ac_call(server, "ended", &answer, AC_FOREVER), -ESRCH);
    ck_assert_uint_eq(ac_mailbox_count(), 0);
    return ac_nil;
}

TEST(the_end_of_who_was_asked_ends_the_question) { run(ask_one_who_ends, end_without_an_answer); }

static ac_value answer_and_end(ac_value unused) {
    (void)unused;
    int64_t body;
    ck_assert_int_eq(ac_send(next_request(&body), "answer"), 0);
    return ac_nil;
}

static ac_value ask_the_last_moment(ac_value unused) {
    (void)unused;
    ac_value answer;
    ck_assert_int_eq(ac_call(server, 1, &answer, AC_FOREVER), 0);
    ac_drop(answer);
    return ac_nil;
}

TEST(an_answer_right_before_the_end_counts) { run(ask_the_last_moment, answer_and_end); }

static ac_value ask_wrongly(ac_value unused) {
    (void)unused;
    ac_value answer;
    ac_ref far = server;
    far.peer ^= 1;
    ck_assert_int_eq(ac_call(server, "text", NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_call(ac_self(), "text", &answer, AC_FOREVER), -EDEADLK);
    ck_assert_int_eq(ac_call(ac_no_ref, "text", &answer, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_call(far, "text", &answer, AC_FOREVER), -EHOSTUNREACH);
    ck_assert_int_eq(ac_call(server, ac_of_text("\xff"), &answer, AC_FOREVER), -EILSEQ);
    return ac_nil;
}

TEST(what_cannot_be_asked_says_why) {
    ac_value answer;
    ck_assert_int_eq(ac_call(ac_no_ref, "text", &answer, AC_FOREVER), -EPERM);
    run(ask_wrongly, square);
}

// ---- channels and full mailboxes ----

static ac_value ask_a_channel(ac_value unused) {
    (void)unused;
    ac_value answer;
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_call(channel, "nobody", &answer, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_int_eq(ac_channel_subscribe(channel, server), 0);
    ck_assert_int_eq(ac_call(channel, 12, &answer, AC_FOREVER), 0);
    ck_assert_int_eq(ac_int_of(answer), 144);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, server), 0);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    ck_assert_int_eq(ac_call(channel, "closed", &answer, AC_FOREVER), -ESRCH);
    return ac_nil;
}

TEST(a_channel_can_be_asked) { run(ask_a_channel, square); }

static ac_value answer_when_full(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(ac_send(ac_self(), "blocks"), 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ac_yield(), 0);
    ac_value blocks, request, body;
    ac_ref answer;
    ck_assert_int_eq(ac_receive(&blocks, AC_NOW), 0);
    ac_drop(blocks);
    // The request has come in, and is answered before its sender runs.
    ck_assert_int_eq(ac_receive(&request, AC_NOW), 0);
    ck_assert_int_eq(ac_unpack(request, &answer, &body), 0);
    ac_drop(body);
    ac_drop(request);
    ck_assert_int_eq(ac_send(answer, "early"), 0);
    return ac_nil;
}

static ac_value ask_a_full_one(ac_value unused) {
    (void)unused;
    ac_value answer;
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_call(server, "in vain", &answer, ac_after(0)), -ETIMEDOUT);
    ck_assert_int_eq(ac_call(server, "request", &answer, AC_FOREVER), 0);
    ck_assert_str_eq(ac_text_of(answer), "early");
    ac_drop(answer);
    return ac_nil;
}

TEST(an_answer_can_come_before_the_sender_of_the_request_runs) {
    run(ask_a_full_one, answer_when_full);
}

static ac_value stay_full(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_limit(1, AC_SENDER_WAITS), 0);
    ck_assert_int_eq(ac_send(ac_self(), "blocks"), 0);
    return ac_result(ac_sleep_until(AC_FOREVER));
}

static ac_value give_up_before_a_full_one(ac_value unused) {
    (void)unused;
    ac_value answer;
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_call(server, "request", &answer, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_uint_eq(message_state(loop_here)->answers.count, 1);
    ck_assert_int_eq(ac_cancel(server), 0);
    ck_assert_int_eq(ac_call(server, "request", &answer, AC_FOREVER), -ESRCH);
    return ac_nil;
}

TEST(the_deadline_of_a_question_ends_also_the_wait_to_ask_it) {
    run(give_up_before_a_full_one, stay_full);
}

// ---- memory ----

static ac_value ask_without_memory(ac_value unused) {
    (void)unused;
    bool failed = true;
    for (long n = 1; failed; n++) {
        ac_value answer;
        memory_fail_nth(n);
        int err = ac_call(server, 3, &answer, AC_FOREVER);
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        finished++;
    }
    return ac_nil;
}

TEST(a_question_without_memory_fails_and_leaves_nothing) {
    run(ask_without_memory, square);
    ck_assert_int_ge(finished, 3);
}
