// SPDX-License-Identifier: MIT
// Tests of channels within one loop.
#include <limits.h>

#include "message/message.h"
#include "test.h"

#include <asyncoro.h>

static int progress;

static void run(ac_function function) {
    ac_spawn(function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 1); // it has come to its end
}

static void check_next(int64_t expected) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, ac_after(10)), 0);
    ck_assert_int_eq(ac_kind_of(message), AC_INT);
    ck_assert_int_eq(ac_int_of(message), expected);
}

static void check_no_message(void) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_NOW), -ETIMEDOUT);
}

static ac_ref open_one(void) {
    ac_ref channel = ac_channel_open("test");
    ck_assert(ac_ref_is(channel));
    return channel;
}

static ac_value expect_no_more(void) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_FOREVER), -ECANCELED);
    ck_assert_uint_eq(ac_mailbox_count(), 0);
    progress++;
    return ac_nil;
}

// Expects the integers of its argument, in order, and then nothing more until it is cancelled.
static ac_value expect(ac_value list) {
    size_t cursor = 0;
    ac_value item;
    while (ac_next(list, &cursor, &item))
        check_next(ac_int_of(item));
    return expect_no_more();
}

static ac_value end_at_once(ac_value unused) {
    (void)unused;
    return ac_nil;
}

static ac_value wait_for_ever(ac_value unused) {
    (void)unused;
    while (ac_sleep(1) == 0)
        ;
    return ac_nil;
}

// ---- subscribers ----

TEST(each_subscriber_gets_one_copy_and_nobody_else) {
    ac_ref channel = ac_channel_open("news"); // before there is any coroutine
    ck_assert_int_eq(ac_deliver(channel, 0, AC_NOW), 0);
    ck_assert_int_eq(ac_send(channel, 0), 0);
    for (int i = 0; i < 10; i++) {
        ac_ref who = ac_spawn(expect, ac_list(1, 2), .daemon = true);
        ck_assert_int_eq(ac_channel_subscribe(channel, who), 0);
        ck_assert_int_eq(ac_channel_subscribe(channel, who), 0);
    }
    ck_assert_int_eq(ac_channel_count(channel), 10);
    ac_spawn(expect, ac_list_of(NULL, 0), .daemon = true); // did not subscribe
    ck_assert_int_eq(ac_deliver(channel, 1, AC_NOW), 10);
    ac_ref late = ac_spawn(expect, ac_list(2), .daemon = true);
    ck_assert_int_eq(ac_channel_subscribe(channel, late), 0);
    ck_assert_int_eq(ac_send(channel, 2), 0);
    ac_spawn(end_at_once, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 12);
    ck_assert_int_eq(ac_channel_count(channel), -ESRCH); // closed with the loop
}

static double results[2];

static ac_value add_up(ac_value multiply) {
    double result = ac_int_of(multiply) ? 1 : 0;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0 && !ac_is_nil(message))
        result = ac_int_of(multiply) ? result * ac_real_of(message) : result + ac_real_of(message);
    results[ac_int_of(multiply)] = result;
    progress++;
    return ac_nil;
}

TEST(the_program_with_sum_and_product) {
    ac_ref channel = open_one();
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_spawn(add_up, 0)), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_spawn(add_up, 1)), 0);
    const double inputs[] = {0.5, 4, -2, 8};
    for (size_t i = 0; i < countof(inputs); i++)
        ck_assert_int_eq(ac_send(channel, inputs[i]), 0);
    ck_assert_int_eq(ac_send(channel, ac_nil), 0);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 2);
    ck_assert(results[0] == 10.5 && results[1] == -32);
}

static ac_value unsubscribe(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one();
    ck_assert_int_eq(ac_channel_unsubscribe(channel, ac_self()), -ENOENT);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_send(channel, 1), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, ac_self()), -ENOENT);
    ck_assert_int_eq(ac_deliver(channel, 2, AC_NOW), 0);
    check_next(1);
    check_no_message();
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_deliver(channel, 3, AC_NOW), 1);
    check_next(3);
    progress++;
    return ac_nil;
}

TEST(one_who_unsubscribes_keeps_what_he_has_and_gets_no_more) { run(unsubscribe); }

static ac_value receive_from_three(ac_value unused) {
    (void)unused;
    ac_ref x = open_one(), y = open_one();
    ck_assert_int_eq(ac_channel_subscribe(x, ac_self()), 0);
    ck_assert_int_eq(ac_channel_subscribe(y, ac_self()), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(ac_send(x, 10 + i), 0);
        ck_assert_int_eq(ac_send(ac_self(), 20 + i), 0);
        ck_assert_int_eq(ac_send(y, 30 + i), 0);
    }
    for (int i = 0; i < 3; i++)
        for (int j = 10; j <= 30; j += 10)
            check_next(i + j);
    check_no_message();
    progress++;
    return ac_nil;
}

TEST(one_mailbox_takes_from_all_sources_in_order) { run(receive_from_three); }

static ac_value hold_the_same(ac_value unused) {
    (void)unused;
    static uint8_t big[1 << 20];
    ac_ref x = open_one(), y = open_one();
    ck_assert_int_eq(ac_channel_subscribe(x, ac_self()), 0);
    ck_assert_int_eq(ac_channel_subscribe(y, ac_self()), 0);
    ac_value it = ac_of_bytes(big, sizeof big);
    ck_assert_int_eq(ac_send(x, ac_hold(it)), 0);
    ck_assert_int_eq(ac_send(y, ac_hold(it)), 0);
    for (int i = 0; i < 2; i++) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, AC_NOW), 0);
        ck_assert_ptr_eq(ac_span_of(message).at, ac_span_of(it).at);
        ac_drop(message);
    }
    ac_drop(it);
    progress++;
    return ac_nil;
}

TEST(a_message_is_not_copied) { run(hold_the_same); }

static ac_value outlive_subscribers(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one(), other = open_one();
    ac_ref dead = ac_spawn(end_at_once, ac_nil, .joinable = true);
    ac_ref alive = ac_spawn(wait_for_ever, ac_nil);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, dead), 0);
    ck_assert_int_eq(ac_channel_subscribe(other, dead), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, alive), 0);
    ck_assert_int_eq(ac_channel_count(channel), 3);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_channel_count(channel), 2);
    ck_assert_int_eq(ac_channel_count(other), 0);
    ck_assert_int_eq(ac_deliver(channel, 1, AC_NOW), 2);
    check_next(1);
    ck_assert_int_eq(ac_channel_subscribe(channel, dead), -ESRCH);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, dead), -ESRCH);
    // Its end is still there for the one who joins.
    ck_assert_int_eq(ac_join(dead, NULL, AC_NOW), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, dead), -ESRCH);
    ck_assert_int_eq(ac_cancel(alive), 0);
    progress++;
    return ac_nil;
}

TEST(a_dead_subscriber_is_removed_and_holds_up_nobody) { run(outlive_subscribers); }

// ---- channels below channels ----

static ac_value hand_down(ac_value unused) {
    (void)unused;
    ac_ref c[5];
    for (int i = 0; i < 5; i++)
        c[i] = open_one();
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(ac_channel_subscribe(c[i], c[i + 1]), 0);
        ac_ref who = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
        ck_assert_int_eq(ac_channel_subscribe(c[i], who), 0);
    }
    ck_assert_int_eq(ac_deliver(c[0], 1, AC_NOW), 4);
    ck_assert_int_eq(ac_deliver(c[1], 1, AC_NOW), 3);
    ck_assert_int_eq(ac_deliver(c[3], 1, AC_NOW), 1);
    ck_assert_int_eq(ac_deliver(c[4], 1, AC_NOW), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(c[1], c[2]), 0);
    ck_assert_int_eq(ac_deliver(c[0], 1, AC_NOW), 2);
    progress++;
    return ac_nil;
}

TEST(a_channel_below_a_channel_hands_down) { run(hand_down); }

TEST(what_is_sent_to_the_lower_channel_stays_there) {
    ac_ref upper = open_one(), lower = open_one();
    ck_assert_int_eq(ac_channel_subscribe(upper, ac_spawn(expect, ac_list(1), .daemon = true)), 0);
    ck_assert_int_eq(ac_channel_subscribe(upper, lower), 0);
    ck_assert_int_eq(ac_channel_subscribe(lower, ac_spawn(expect, ac_list(1, 2), .daemon = true)),
                     0);
    ck_assert_int_eq(ac_deliver(upper, 1, AC_NOW), 2);
    ck_assert_int_eq(ac_deliver(lower, 2, AC_NOW), 1);
    ac_spawn(end_at_once, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 2);
}

static ac_value close_circles(ac_value unused) {
    (void)unused;
    ac_ref c[4];
    for (int i = 0; i < 4; i++)
        c[i] = open_one();
    ck_assert_int_eq(ac_channel_subscribe(c[0], c[0]), -ELOOP);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_channel_subscribe(c[i], c[i + 1]), 0);
    for (int i = 1; i < 4; i++)
        for (int j = 0; j < i; j++)
            ck_assert_int_eq(ac_channel_subscribe(c[i], c[j]), -ELOOP);
    ck_assert_int_eq(ac_channel_count(c[3]), 0);
    ck_assert_int_eq(ac_channel_subscribe(c[0], c[3]), 0); // a short cut is no circle
    ck_assert_int_eq(ac_channel_subscribe(c[3], ac_self()), 0);
    ck_assert_int_eq(ac_deliver(c[0], 1, AC_NOW), 1);
    ck_assert_int_eq(ac_channel_unsubscribe(c[1], c[2]), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(c[0], c[3]), 0);
    ck_assert_int_eq(ac_channel_subscribe(c[3], c[0]), 0); // no longer one
    progress++;
    return ac_nil;
}

TEST(a_circle_is_refused) { run(close_circles); }

static ac_value reach_on_many_ways(ac_value unused) {
    (void)unused;
    enum { LEVELS = 60 };
    ac_ref left[LEVELS], right[LEVELS];
    for (int i = 0; i < LEVELS; i++) {
        left[i] = open_one();
        right[i] = open_one();
        ck_assert_int_eq(ac_channel_subscribe(left[i], ac_self()), 0);
        if (i == 0)
            continue;
        ck_assert_int_eq(ac_channel_subscribe(left[i - 1], left[i]), 0);
        ck_assert_int_eq(ac_channel_subscribe(left[i - 1], right[i]), 0);
        ck_assert_int_eq(ac_channel_subscribe(right[i - 1], left[i]), 0);
        ck_assert_int_eq(ac_channel_subscribe(right[i - 1], right[i]), 0);
    }
    ck_assert_int_eq(ac_channel_subscribe(left[LEVELS - 1], left[0]), -ELOOP);
    ck_assert_int_eq(ac_deliver(left[0], 1, AC_NOW), 1);
    check_next(1);
    check_no_message();
    progress++;
    return ac_nil;
}

TEST(a_lattice_of_channels_does_not_multiply_messages) { run(reach_on_many_ways); }

static ac_value go_deep(ac_value unused) {
    (void)unused;
    enum { DEPTH = 10000 };
    ac_ref top = open_one(), last = top;
    for (int i = 1; i < DEPTH; i++) {
        ac_ref next = open_one();
        ck_assert_int_eq(ac_channel_subscribe(next, top),
                         0); // built from below, or it takes DEPTH²
        top = next;
    }
    ck_assert_int_eq(ac_channel_subscribe(last, top), -ELOOP);
    ck_assert_int_eq(ac_channel_subscribe(last, ac_self()), 0);
    ck_assert_int_eq(ac_deliver(top, 1, AC_NOW), 1);
    check_next(1);
    progress++;
    return ac_nil;
}

TEST(a_long_chain_needs_no_stack) { run(go_deep); }

// ---- closing, stale and foreign references ----

static ac_value close_some(ac_value unused) {
    (void)unused;
    ac_ref c[3];
    for (int i = 0; i < 3; i++)
        c[i] = open_one();
    ck_assert_int_eq(ac_channel_subscribe(c[0], c[1]), 0);
    ck_assert_int_eq(ac_channel_subscribe(c[1], c[2]), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_channel_subscribe(c[i], ac_self()), 0);
    ck_assert(channel_is_open(loop_here, c[1]));
    ck_assert_int_eq(ac_channel_close(c[1]), 0);
    ck_assert(!channel_is_open(loop_here, c[1]));
    ck_assert_int_eq(ac_channel_close(c[1]), -ESRCH);
    ck_assert_int_eq(ac_channel_count(c[0]), 1);
    ck_assert_int_eq(ac_channel_count(c[1]), -ESRCH);
    ck_assert_int_eq(ac_send(c[1], "text"), -ESRCH);
    ck_assert_int_eq(ac_deliver(c[1], "text", AC_NOW), -ESRCH);
    ck_assert_int_eq(ac_channel_subscribe(c[1], ac_self()), -ESRCH);
    ck_assert_int_eq(ac_channel_subscribe(c[0], c[1]), -ESRCH);
    ck_assert_int_eq(ac_channel_unsubscribe(c[0], c[1]), -ESRCH);
    ck_assert_int_eq(ac_channel_unsubscribe(c[1], c[0]), -ESRCH);
    ck_assert_int_eq(ac_channel_unsubscribe(c[0], c[2]), -ENOENT);
    // The next channel lies where the closed one lay, and has another name.
    ac_ref again = open_one();
    ck_assert(!ac_ref_equal(again, c[1]));
    ck_assert_int_eq(ac_send(c[1], "text"), -ESRCH);
    ck_assert_int_eq(ac_channel_count(again), 0);
    progress++;
    return ac_nil;
}

TEST(a_closed_channel_is_gone_and_its_reference_stale) { run(close_some); }

static ac_ref closed[2];

static void note_closed(struct end_watch *watch, const struct ac_exit *exit) {
    ck_assert(list_empty(&watch->link));
    closed[progress++] = exit->who;
}

TEST(who_watches_a_channel_is_told_once_when_it_closes) {
    struct end_watch watches[3] = {
        {.ended = note_closed}, {.ended = note_closed}, {.ended = note_closed}};
    ac_ref a = open_one(), b = open_one();
    channel_watch(loop_here, a, &watches[0]);
    channel_watch(loop_here, b, &watches[1]);
    channel_watch(loop_here, b, &watches[2]);
    coro_unwatch(&watches[2]);
    ck_assert_int_eq(ac_channel_close(a), 0);
    ck_assert_int_eq(progress, 1);
    ck_assert_int_eq(ac_run(), 0); // the other one closes with its loop
    ck_assert_int_eq(progress, 2);
    ck_assert(ac_ref_equal(closed[0], a) && ac_ref_equal(closed[1], b));
}

// ---- the notice of a close ----

static void check_notice(ac_ref channel) {
    struct ac_exit exit;
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, ac_after(10)), 0);
    ck_assert(ac_exit_of(message, &exit));
    ck_assert(ac_ref_equal(exit.who, channel));
    ck_assert_int_eq(exit.how, AC_FINISHED);
    ck_assert_int_eq(exit.reason, 0);
    ck_assert(ac_is_nil(exit.value));
    ac_drop(message);
}

// Expects 1, 2, then the notice, then nothing more until it is cancelled.
static ac_value expect_notice(ac_value channel) {
    check_next(1);
    check_next(2);
    check_notice(ac_ref_of(channel));
    return expect_no_more();
}

static ac_value close_with_subscribers(ac_value unused) {
    (void)unused;
    enum { DIRECT = 10, LEFT = DIRECT, ABOVE, BELOW, ALL };
    ac_ref upper = open_one(), channel = open_one(), lower = open_one(), who[ALL];
    ck_assert_int_eq(ac_channel_subscribe(upper, channel), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, lower), 0);
    for (int i = 0; i < DIRECT; i++) {
        who[i] = ac_spawn(expect_notice, channel);
        ck_assert_int_eq(ac_channel_subscribe(channel, who[i]), 0);
        ck_assert_int_eq(ac_channel_subscribe(lower, who[i]), 0);
    }
    who[LEFT] = ac_spawn(expect, ac_list(1));
    who[ABOVE] = ac_spawn(expect, ac_list(1));
    who[BELOW] = ac_spawn(expect, ac_list(1, 2));
    ck_assert_int_eq(ac_channel_subscribe(channel, who[LEFT]), 0);
    ck_assert_int_eq(ac_channel_subscribe(upper, who[ABOVE]), 0);
    ck_assert_int_eq(ac_channel_subscribe(lower, who[BELOW]), 0);
    ck_assert_int_eq(ac_yield(), 0); // all wait for a message
    ck_assert_int_eq(ac_deliver(upper, 1, AC_NOW), ALL);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, who[LEFT]), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, who[0]), 0);
    ck_assert_int_eq(ac_deliver(channel, 2, AC_NOW), DIRECT + 1);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    ck_assert_int_eq(ac_channel_close(channel), -ESRCH);
    ck_assert_int_eq(ac_channel_count(upper), 1);
    ck_assert_int_eq(ac_channel_count(lower), DIRECT + 1);
    for (int i = 0; i < ALL; i++) {
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_cancel(who[i]), 0);
    }
    return ac_nil;
}

TEST(each_direct_subscriber_is_told_once_that_a_channel_closes) {
    ac_spawn(close_with_subscribers, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 13); // all have come to their ends
}

static ac_value close_own(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one();
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    check_notice(channel);
    check_no_message();
    progress++;
    return ac_nil;
}

TEST(who_closes_a_channel_is_told_too) { run(close_own); }

static ac_value close_without_memory(ac_value unused) {
    (void)unused;
    for (int before = 0; before < 3; before++) {
        ac_ref channel = open_one();
        ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
        // Until no cell is left, so that each further message needs memory.
        memory_fail_nth(1);
        while (ac_send(ac_self(), 1) == 0)
            continue;
        memory_fail_nth(1);
        ck_assert_int_eq(ac_channel_close(channel), 0);
        memory_fail_nth(0);
        while (ac_mailbox_count() > 1)
            check_next(1);
        check_notice(channel);
    }
    progress++;
    return ac_nil;
}

TEST(the_notice_of_a_close_needs_no_memory) { run(close_without_memory); }

// How many messages can be put into mailboxes before more memory is needed.
static int count_room(void) {
    int count = 0;
    memory_fail_nth(1);
    while (ac_send(ac_self(), count) == 0)
        count++;
    memory_fail_nth(0);
    for (int i = 0; i < count; i++)
        check_next(i);
    return count;
}

static ac_value end_subscriptions(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one();
    ck_assert_int_eq(ac_send(ac_self(), 0), 0); // makes the first cells
    check_next(0);
    int room = count_room();
    for (int i = 0; i < 100; i++) {
        ac_ref closes = open_one(), ends = ac_spawn(end_at_once, ac_nil);
        ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
        ck_assert_int_eq(ac_channel_subscribe(channel, ends), 0);
        ck_assert_int_eq(ac_channel_subscribe(closes, ac_self()), 0);
        ck_assert_int_eq(ac_channel_unsubscribe(channel, ac_self()), 0);
        ck_assert_int_eq(ac_channel_close(closes), 0);
        check_notice(closes);
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_channel_count(channel), 0);
    }
    ck_assert_int_eq(count_room(), room);
    progress++;
    return ac_nil;
}

TEST(what_is_kept_back_for_a_notice_is_given_back) { run(end_subscriptions); }

// ---- waiting for subscribers ----

static int wait_result;

static ac_value wait_for(ac_value list) {
    ac_ref channel;
    int count;
    ck_assert_int_eq(ac_unpack(list, &channel, &count), 0);
    wait_result = ac_channel_wait(channel, (uint32_t)count, AC_FOREVER);
    return ac_nil;
}

static ac_ref start_wait(ac_ref channel, int count) {
    wait_result = INT_MAX;
    ac_ref it = ac_spawn(wait_for, ac_list(channel, count));
    ck_assert_int_eq(ac_yield(), 0);
    return it;
}

static void check_wait(int expected) {
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(wait_result, expected);
}

static ac_value wait_for_some(ac_value unused) {
    (void)unused;
    ac_ref top = open_one(), middle = open_one(), low = open_one(), who[4];
    for (int i = 0; i < 4; i++)
        who[i] = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    start_wait(top, 0);
    check_wait(0);
    start_wait(top, 1);
    check_wait(INT_MAX);
    ck_assert_int_eq(ac_channel_subscribe(low, who[0]), 0);
    ck_assert_int_eq(ac_channel_subscribe(middle, low), 0);
    check_wait(INT_MAX);
    ck_assert_int_eq(ac_channel_subscribe(top, middle), 0);
    check_wait(1);
    start_wait(top, 4);
    // Each counts once, on however many ways it is reached, and as long as it is there.
    ck_assert_int_eq(ac_channel_subscribe(top, low), 0);
    ck_assert_int_eq(ac_channel_subscribe(top, who[0]), 0);
    ck_assert_int_eq(ac_channel_subscribe(middle, who[0]), 0);
    check_wait(INT_MAX);
    ck_assert_int_eq(ac_channel_subscribe(low, who[1]), 0);
    ck_assert_int_eq(ac_channel_subscribe(middle, who[2]), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(low, who[1]), 0);
    check_wait(INT_MAX);
    ck_assert_int_eq(ac_channel_subscribe(top, who[1]), 0);
    check_wait(INT_MAX);
    ck_assert_int_eq(ac_channel_subscribe(low, who[3]), 0);
    check_wait(4);
    ck_assert_int_eq(ac_channel_wait(top, 4, AC_NOW), 4);
    ck_assert_int_eq(ac_deliver(top, 1, AC_NOW), 4);
    ck_assert_int_eq(ac_channel_wait(middle, 2, AC_NOW), 3);
    progress++;
    return ac_nil;
}

TEST(a_wait_ends_when_so_many_subscribe_anywhere_below) { run(wait_for_some); }

static ac_value wait_for_those_who_come_and_go(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one(), stays = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    start_wait(channel, 2);
    ck_assert_int_eq(ac_channel_subscribe(channel, stays), 0);
    for (int i = 0; i < 10; i++) {
        ac_ref goes = ac_spawn(end_at_once, ac_nil);
        ck_assert_int_eq(ac_channel_subscribe(channel, goes), 0);
        ck_assert_int_eq(ac_channel_unsubscribe(channel, goes), 0);
        ac_ref ends = ac_spawn(end_at_once, ac_nil, .joinable = true);
        ck_assert_int_eq(ac_join(ends, NULL, AC_FOREVER), 0);
        check_wait(INT_MAX);
    }
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    check_wait(2);
    progress++;
    return ac_nil;
}

TEST(who_has_gone_again_is_not_waited_for) { run(wait_for_those_who_come_and_go); }

static ac_value end_waits(ac_value unused) {
    (void)unused;
    ac_ref upper = open_one(), channel = open_one(), far = channel;
    far.peer++;
    ck_assert_int_eq(ac_channel_subscribe(upper, channel), 0);
    ck_assert_int_eq(ac_channel_wait(channel, 1, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_channel_wait(channel, 1, ac_after(0.001)), -ETIMEDOUT);
    ck_assert_int_eq(ac_channel_wait(far, 1, AC_NOW), -ENOTSUP);
    ck_assert_int_eq(ac_channel_wait(ac_self(), 1, AC_NOW), -ENOTSUP);
    ck_assert_int_eq(ac_channel_wait(ac_no_ref, 1, AC_NOW), -ENOTSUP);
    ac_ref who = start_wait(channel, 1);
    ck_assert_int_eq(ac_cancel(who), 0);
    check_wait(-ECANCELED);
    // It is no longer in any queue.
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    start_wait(channel, 2);
    start_wait(upper, 2);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    check_wait(-ESRCH);
    ck_assert_int_eq(ac_channel_wait(channel, 1, AC_NOW), -ESRCH);
    ck_assert_int_eq(ac_channel_wait(channel, 0, AC_NOW), -ESRCH);
    wait_result = INT_MAX;
    check_wait(INT_MAX); // the upper one is open
    ck_assert_int_eq(ac_channel_close(upper), 0);
    check_wait(-ESRCH);
    // Woken, and before it runs there is nothing left to count.
    ac_ref last = open_one();
    start_wait(last, 1);
    ck_assert_int_eq(ac_channel_subscribe(last, ac_self()), 0);
    ck_assert_int_eq(ac_channel_close(last), 0);
    check_wait(-ESRCH);
    progress++;
    return ac_nil;
}

TEST(a_wait_ends_early_for_every_reason) {
    ck_assert_int_eq(ac_channel_wait(open_one(), 0, AC_NOW), -EPERM);
    run(end_waits);
}

static ac_value wait_cancelled(ac_value channel) {
    ck_assert_int_eq(ac_sleep(100), -ECANCELED);
    ck_assert_int_eq(ac_channel_wait(ac_ref_of(channel), 0, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_channel_wait(ac_ref_of(channel), 0, AC_NOW), 0);
    progress++;
    return ac_nil;
}

TEST(who_is_cancelled_does_not_wait_for_subscribers) {
    ac_ref who = ac_spawn(wait_cancelled, open_one());
    ck_assert_int_eq(ac_cancel(who), 0);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value misuse(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one(), far = channel;
    far.peer++;
    ck_assert_int_eq(ac_channel_subscribe(far, ac_self()), -EHOSTUNREACH);
    ck_assert_int_eq(ac_channel_subscribe(channel, far), -ENOTSUP);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, far), -ENOTSUP);
    ck_assert_int_eq(ac_channel_subscribe(ac_self(), channel), -ENOTSUP);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_no_ref), -ENOTSUP);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, ac_no_ref), -ENOTSUP);
    ck_assert_int_eq(ac_channel_subscribe(ac_no_ref, ac_self()), -ENOTSUP);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_spawn(NULL, ac_nil)), -EINVAL);
    ac_ref function = channel;
    function.id = (function.id & ~(uint64_t)3) | REF_FUNCTION;
    ck_assert_int_eq(ac_channel_subscribe(channel, function), -ENOTSUP);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, function), -ENOTSUP);
    ck_assert_int_eq(ac_channel_close(ac_self()), -ENOTSUP);
    ck_assert_int_eq(ac_channel_count(far), -ENOTSUP);
    ck_assert_int_eq(ac_cancel(channel), -ENOTSUP);
    ck_assert(!channel_is_open(loop_here, ac_self()));
    progress++;
    return ac_nil;
}

TEST(what_is_no_channel_here_is_refused) {
    ck_assert_int_eq(ac_channel_count(ac_no_ref), -ENOTSUP);
    run(misuse);
}

// ---- no memory ----

static ac_value use_without_memory(ac_value unused) {
    (void)unused;
    ac_ref upper = open_one(), lower = open_one();
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        ac_ref channel = ac_channel_open("a name");
        bool open_failed = memory_has_failed();
        memory_fail_nth(n);
        int err = ac_channel_subscribe(upper, ac_self());
        bool subscribe_failed = memory_has_failed();
        memory_fail_nth(n);
        int err_below = ac_channel_subscribe(upper, lower);
        failed = memory_has_failed() || open_failed || subscribe_failed;
        bool below_failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(ac_ref_error(channel), open_failed ? -ENOMEM : 0);
        ck_assert_int_eq(err, subscribe_failed ? -ENOMEM : 0);
        ck_assert_int_eq(err_below, below_failed ? -ENOMEM : 0);
        ck_assert_int_eq(ac_channel_count(upper), (err == 0) + (err_below == 0));
        ck_assert_int_eq(ac_channel_unsubscribe(upper, ac_self()), err == 0 ? 0 : -ENOENT);
        ck_assert_int_eq(ac_channel_unsubscribe(upper, lower), err_below == 0 ? 0 : -ENOENT);
        if (ac_ref_is(channel))
            ck_assert_int_eq(ac_channel_close(channel), 0);
    }
    progress++;
    return ac_nil;
}

TEST(without_memory_channels_stay_as_they_were) {
    // The very first one makes the loop, the state of the floor and the table as well; some later
    // ones make the table grow.
    for (int i = 0; i < 40; i++) {
        bool failed = true;
        for (long n = 1; failed; n++) {
            memory_fail_nth(n);
            ac_ref channel = ac_channel_open("a name");
            failed = memory_has_failed();
            memory_fail_nth(0);
            ck_assert_int_eq(ac_ref_error(channel), failed ? -ENOMEM : 0);
        }
    }
    run(use_without_memory);
}

static ac_value subscribe_many_without_memory(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one();
    // The array of subscribers grows, the maps grow, and cells run out, in one place or another.
    for (int i = 0; i < 2000; i++) {
        ac_ref who = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
        bool failed = true;
        for (long n = 1; failed; n++) {
            memory_fail_nth(n);
            int err = ac_channel_subscribe(channel, who);
            failed = memory_has_failed();
            memory_fail_nth(0);
            ck_assert_int_eq(err, failed ? -ENOMEM : 0);
            ck_assert_int_eq(ac_channel_count(channel), i + !failed);
        }
    }
    ck_assert_int_eq(ac_deliver(channel, 1, AC_NOW), 2000);
    progress++;
    return ac_nil;
}

TEST(without_memory_nobody_is_subscribed_by_half) { run(subscribe_many_without_memory); }

static ac_value send_without_memory(ac_value unused) {
    (void)unused;
    ac_ref channel = open_one();
    ac_ref other = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, other), 0);
    // Chunks run out at any place: with the first subscriber or with the second.
    int missed = 0;
    for (int i = 0; i < 3000; i++) {
        memory_fail_nth(1);
        int count = ac_deliver(channel, i, AC_NOW);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(count, failed ? 1 : 2);
        missed += failed;
        if (i % 2)
            ck_assert_int_eq(ac_send(ac_self(), -1), 0);
    }
    ck_assert_int_gt(missed, 0);
    memory_fail_nth(1);
    while (ac_send(channel, "text") == 0)
        ;
    ck_assert(memory_has_failed());
    memory_fail_nth(0);
    progress++;
    return ac_nil;
}

TEST(a_message_through_a_channel_reaches_those_for_whom_there_is_memory) {
    run(send_without_memory);
}
