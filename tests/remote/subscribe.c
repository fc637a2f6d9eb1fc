// SPDX-License-Identifier: MIT
// Tests of src/remote/subscribe.c: channels whose subscribers are in other processes.
#include "remote/remote_private.h"
#include "world.h"

#include <limits.h>

static struct child peer;

static ac_ref news, more;

static ac_value end_at_once(ac_value unused) { return unused; }

static int send_notice(void) {
    ac_ref who = ac_spawn(end_at_once, ac_nil, .stack_bytes = TEST_STACK);
    must_be(ac_monitor(who), 0);
    return ac_send(news, next_message());
}

// The process of the channels. It is told to close "news", to take a subscriber or to let it go,
// and answers, if it is told to whom, how many subscribe to "news" then. With "notice" it sends
// through "news" an exit notice that it got itself, and tells the error.
static ac_value keep_channels(ac_value unused) {
    news = ac_channel_open("news");
    more = ac_channel_open("more");
    must_be(ac_register(news, "news"), 0);
    must_be(ac_register(more, "more"), 0);
    must_be(ac_channel_subscribe(news, more), 0);
    must_be(ac_register(ac_self(), "keeper"), 0);
    say();
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        const char *verb;
        ac_ref to;
        must_be(ac_unpack(message, &verb, &to), 0);
        if (strcmp(verb, "close") == 0)
            must_be(ac_channel_close(news), 0);
        else if (strcmp(verb, "take") == 0)
            must_be(ac_channel_subscribe(news, to), 0);
        else if (strcmp(verb, "let go") == 0)
            must_be(ac_channel_unsubscribe(news, to), 0);
        else if (strcmp(verb, "notice") == 0)
            must_be(ac_send(to, send_notice()), 0);
        if (ac_ref_is(to))
            must_be(ac_send(to, ac_channel_count(news)), 0);
        ac_drop(message);
    }
    return unused;
}

static ac_value keeper(ac_value unused) {
    must(ac_ref_is(ac_spawn(keep_channels, ac_nil, .daemon = true, .stack_bytes = TEST_STACK)));
    return until_the_end(unused);
}

static void with_keeper(ac_function client) {
    world_begin();
    peer = child(keeper);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

static int next_number(void) {
    ac_value message = next_message();
    must_be(ac_kind_of(message), AC_INT);
    return (int)ac_int_of(message);
}

static int ask_keeper(const char *verb) {
    must_be(ac_send(find("keeper"), ac_list(verb, ac_self())), 0);
    return next_number();
}

// As ask_keeper("close"). The answer and the notice come in any order.
static int ask_keeper_to_close(ac_ref channel) {
    int count = INT_MAX, notices = 0;
    must_be(ac_send(find("keeper"), ac_list("close", ac_self())), 0);
    for (int i = 0; i < 2; i++) {
        ac_value message = next_message();
        struct ac_exit exit;
        if (!ac_exit_of(message, &exit)) {
            count = (int)ac_int_of(message);
            continue;
        }
        must(ac_ref_equal(exit.who, channel) && exit.how == AC_FINISHED && exit.reason == 0);
        notices++;
        ac_drop(message);
    }
    must_be(notices, 1);
    must_be(ac_mailbox_count(), 0);
    return count;
}

// ---- one subscriber ----

static ac_value use_channels(ac_value unused) {
    ac_ref far = find("news"), below = find("more");
    must_be(ac_channel_unsubscribe(far, ac_self()), -ENOENT);
    must_be(ac_deliver(far, 1, ac_after(PATIENCE_S)), 0);
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    must_be(ac_channel_subscribe(far, ac_self()), 0); // a set
    must_be(ask_keeper("count"), 2);
    must_be(ac_deliver(far, 2, ac_after(PATIENCE_S)), 1);
    must_be(next_number(), 2);
    must_be(ac_channel_subscribe(below, ac_self()), 0); // and is reached on two ways now
    must_be(ac_send(far, 3), 0);
    must_be(ac_send(below, 4), 0);
    must_be(next_number(), 3);
    must_be(next_number(), 4);
    must_be(ac_channel_unsubscribe(far, ac_self()), 0);
    must_be(ac_send(far, 5), 0);
    must_be(next_number(), 5);
    must_be(ac_channel_unsubscribe(below, ac_self()), 0);
    must_be(ac_deliver(far, 6, ac_after(PATIENCE_S)), 0);
    must_be(ac_mailbox_count(), 0);
    must_be(ask_keeper("count"), 1);
    return unused;
}

TEST(a_coroutine_subscribes_to_channels_elsewhere) { with_keeper(use_channels); }

static ac_value be_subscribed(ac_value unused) {
    ac_ref far = find("news");
    must_be(ask_keeper("take"), 2);
    must_be(ac_send(far, 7), 0);
    must_be(next_number(), 7);
    must_be(ask_keeper("let go"), 1);
    must_be(ac_deliver(far, 8, ac_after(PATIENCE_S)), 0);
    return unused;
}

TEST(a_channel_here_takes_a_subscriber_from_elsewhere) { with_keeper(be_subscribed); }

static ac_value subscribe_and_leave(ac_value channel) {
    must_be(ac_channel_subscribe(ac_ref_of(channel), ac_self()), 0);
    return ac_nil;
}

static ac_value end_subscriptions(ac_value unused) {
    ac_ref far = find("news"), here = ac_channel_open(NULL);
    ac_ref it = ac_spawn(subscribe_and_leave, far, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_join(it, NULL, ac_after(PATIENCE_S)), 0);
    for (double end = seconds() + PATIENCE_S; ask_keeper("count") > 1;)
        must(ac_sleep(0.002) == 0 && seconds() < end);
    ac_ref unknown = {far.peer ^ 1, 256}, unknown_channel = {far.peer ^ 1, far.id};
    must_be(ac_channel_subscribe(far, it), -ESRCH);
    must_be(ac_channel_subscribe(far, here), -ENOTSUP);
    must_be(ac_channel_subscribe(far, find("more")), -ENOTSUP);
    must_be(ac_channel_subscribe(here, find("news")), -ENOTSUP);
    must_be(ac_channel_subscribe(here, unknown), -EHOSTUNREACH);
    must_be(ac_channel_subscribe(unknown_channel, ac_self()), -EHOSTUNREACH);
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    must_be(ask_keeper_to_close(far), -ESRCH);
    must_be(ac_channel_subscribe(far, ac_self()), -ESRCH);
    must_be(ac_channel_unsubscribe(far, ac_self()), -ESRCH);
    return unused;
}

TEST(a_subscription_ends_with_either_side) { with_keeper(end_subscriptions); }

// ---- the notice of a close ----

static ac_value be_told(ac_value unused) {
    ac_ref far = find("news"), below = find("more");
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    must_be(ac_channel_subscribe(below, ac_self()), 0);
    for (int i = 0; i < 100; i++)
        must_be(ac_send(far, i), 0);
    must_be(ac_send(far, "close"), 0); // the keeper does not hear that
    must_be(ac_send(find("keeper"), ac_list("close", ac_no_ref)), 0);
    for (int i = 0; i < 100; i++)
        must_be(next_number(), i);
    ac_drop(next_message());
    must(ac_ref_equal(next_exit().who, far));
    // The other subscription goes on, and there is no second notice before the next message.
    must_be(ac_deliver(below, 100, ac_after(PATIENCE_S)), 1);
    must_be(next_number(), 100);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(a_subscriber_elsewhere_is_told_once_behind_the_last_message) { with_keeper(be_told); }

static ac_value be_told_when_taken(ac_value unused) {
    ac_ref far = find("news");
    must_be(ask_keeper("take"), 2);
    must_be(ask_keeper_to_close(far), -ESRCH);
    return unused;
}

TEST(who_was_subscribed_by_the_other_side_is_told_too) { with_keeper(be_told_when_taken); }

static ac_value be_told_no_more(ac_value unused) {
    ac_ref far = find("news"), below = find("more");
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    must_be(ac_channel_subscribe(below, ac_self()), 0);
    must_be(ac_channel_unsubscribe(far, ac_self()), 0);
    must_be(ask_keeper("close"), -ESRCH);
    must_be(ac_deliver(below, 1, ac_after(PATIENCE_S)), 1);
    must_be(next_number(), 1);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(who_has_unsubscribed_is_not_told) { with_keeper(be_told_no_more); }

static ac_value forge_notices(ac_value unused) {
    ac_ref keeper = find("keeper"), far = find("news");
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    uint8_t frame[32];
    // For a channel, for a coroutine that is none, about what is no channel.
    const uint64_t ids[3][2] = {
        {far.id, far.id}, {far.id, keeper.id + (1 << 30)}, {keeper.id, keeper.id}};
    for (int i = 0; i < 3; i++) {
        size_t bytes = cbor_put_head(frame, 0, ids[i][0]);
        bytes += cbor_put_head(frame + bytes, 0, ids[i][1]);
        throw_frame_at_last(far, FRAME_CLOSED, frame, bytes);
        throw_frame_at_last(far, FRAME_CLOSED, frame, bytes - 1);
    }
    must_be(ask_keeper("count"), 2);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(what_is_no_true_notice_reaches_nobody) { with_keeper(forge_notices); }

static ac_value survive_notice(ac_value unused) {
    ac_ref far = find("news");
    must_be(ac_channel_subscribe(far, ac_self()), 0);
    must_be(ac_send(find("keeper"), ac_list("notice", ac_self())), 0);
    must_be(next_number(), -ENOTSUP);
    must_be(next_number(), 2);
    must_be(ac_deliver(far, 1, ac_after(PATIENCE_S)), 1);
    must_be(next_number(), 1);
    return unused;
}

TEST(a_notice_through_a_channel_goes_to_nobody_elsewhere_and_ends_no_subscription) {
    with_keeper(survive_notice);
}

// ---- many processes ----

enum { NUMBERS = 300 };

static ac_value listen_far(ac_value unused) {
    must_be(ac_channel_subscribe(find("news"), ac_self()), 0);
    say();
    for (int i = 0; i < NUMBERS; i++)
        must_be(next_number(), i);
    say();
    return until_the_end(unused);
}

static ac_value tell_all(ac_value unused) {
    ac_ref far = find("news");
    for (int i = 0; i < NUMBERS - 1; i++)
        must_be(ac_send(far, i), 0);
    must_be(ac_deliver(far, NUMBERS - 1, ac_after(PATIENCE_S)), 2);
    return unused;
}

TEST(subscribers_in_two_processes_hear_a_third) {
    struct child listeners[2];
    world_begin();
    peer = child(keeper);
    hear(peer);
    for (int i = 0; i < 2; i++) {
        listeners[i] = child(listen_far);
        hear(listeners[i]);
    }
    run(tell_all);
    for (int i = 0; i < 2; i++) {
        hear(listeners[i]);
        child_end(listeners[i]);
    }
    child_end(peer);
    world_end();
}

static void until_subscribed(ac_ref channel, bool wanted) {
    for (double end = seconds() + PATIENCE_S; (ac_channel_count(channel) > 0) != wanted;)
        must(ac_sleep(0.002) == 0 && seconds() < end);
}

static ac_value await_loss(ac_value unused) {
    ac_ref channel = ac_channel_open("ours");
    must_be(ac_register(channel, "news"), 0);
    until_subscribed(channel, true);
    child_kill(peer);
    until_subscribed(channel, false);
    must_be(ac_deliver(channel, 1, AC_NOW), 0);
    must_be(map_count(&remote_of(loop_here)->monitors), 0);
    return unused;
}

TEST(a_lost_process_is_subscribed_no_longer) {
    world_begin();
    peer = child(listen_far);
    run(await_loss);
    world_end();
}

// ---- the end ----

static ac_value last_news(ac_value unused) {
    ac_ref channel = ac_channel_open("last");
    must_be(ac_register(channel, "news"), 0);
    until_subscribed(channel, true);
    for (int i = 0; i < NUMBERS; i++)
        must_be(ac_send(channel, i), 0);
    return unused;
}

static ac_value hear_last_news(ac_value unused) {
    must_be(ac_channel_subscribe(find("news"), ac_self()), 0);
    for (int i = 0; i < NUMBERS; i++)
        must_be(next_number(), i);
    return unused;
}

TEST(what_a_channel_got_right_before_the_end_arrives) {
    world_begin();
    peer = child(last_news);
    run(hear_last_news);
    child_end(peer);
    world_end();
}

static long nth; // allocation that fails while the notice goes out

static ac_value close_at_the_end(ac_value unused) {
    ac_ref channel = ac_channel_open("last");
    must_be(ac_register(channel, "news"), 0);
    until_subscribed(channel, true);
    must_be(ac_send(channel, 1), 0);
    memory_fail_nth(nth);
    must_be(ac_channel_close(channel), 0);
    must_be(ac_yield(), 0);
    memory_fail_nth(0);
    return unused;
}

static ac_value hear_of_the_end(ac_value unused) {
    ac_ref channel = find("news");
    must_be(ac_channel_subscribe(channel, ac_self()), 0);
    must_be(next_number(), 1);
    must(ac_ref_equal(next_exit().who, channel));
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(the_notice_of_a_close_right_before_the_end_arrives_with_little_memory_too) {
    for (nth = 0; nth < 3; nth++) {
        world_begin();
        peer = child(close_at_the_end);
        run(hear_of_the_end);
        child_end(peer);
        world_end();
    }
}

static ac_value end_with_open_channel(ac_value unused) {
    ac_ref channel = ac_channel_open("open");
    must_be(ac_register(channel, "news"), 0);
    until_subscribed(channel, true);
    must_be(ac_send(channel, 1), 0);
    return unused;
}

static ac_value hear_nothing_of_the_end(ac_value unused) {
    ac_ref channel = find("news");
    must_be(ac_channel_subscribe(channel, ac_self()), 0);
    must_be(next_number(), 1);
    for (double end = seconds() + PATIENCE_S; ac_send(channel, 2) == 0;)
        must(ac_sleep(0.002) == 0 && seconds() < end);
    while (ac_mailbox_count() > 0)
        must_be(next_number(), 2);
    return unused;
}

TEST(the_end_of_a_loop_is_no_close) {
    world_begin();
    peer = child(end_with_open_channel);
    run(hear_nothing_of_the_end);
    child_end(peer);
    world_end();
}

// ---- many in one process ----

enum { CROWD = 150, ROUNDS = 4, LARGE_BYTES = 300 * 1000, LOOPS = 3 };

static ac_ref crowd_channels[2];
static ac_value kept[ROUNDS][CROWD];
static int kept_count;

// Half of them subscribe to the channel below the other one, some to both.
static ac_value one_of_a_crowd(ac_value argument) {
    int i = (int)ac_int_of(argument);
    if (i % 2 == 0 || i % 10 == 1)
        must_be(ac_channel_subscribe(crowd_channels[0], ac_self()), 0);
    if (i % 2 == 1)
        must_be(ac_channel_subscribe(crowd_channels[1], ac_self()), 0);
    for (int round = 0; round < ROUNDS; round++, kept_count++)
        kept[round][i] = next_message();
    must_be(ac_int_of(next_message()), 7); // sent behind it, and to no more than one
    return ac_nil;
}

// What came in one copy lies in one place.
static ac_value be_a_crowd(ac_value unused) {
    crowd_channels[0] = find("above");
    crowd_channels[1] = find("below");
    for (int i = 0; i < CROWD; i++)
        must(ac_ref_is(ac_spawn(one_of_a_crowd, i, .stack_bytes = TEST_STACK)));
    while (kept_count < ROUNDS * CROWD)
        must_be(ac_sleep(0.002), 0);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < CROWD; i++) {
            ac_span span = ac_span_of(kept[round][i]);
            must_be(span.bytes, round % 2 ? LARGE_BYTES : 100);
            must_be(*(const uint8_t *)span.at, round);
            must(span.at == ac_span_of(kept[round][0]).at);
        }
    for (int i = 0; i < CROWD; i++)
        for (int round = 0; round < ROUNDS; round++)
            ac_drop(kept[round][i]);
    return until_the_end(unused);
}

static ac_value speak_to_a_crowd(ac_value unused) {
    static uint8_t bytes[LARGE_BYTES];
    (void)unused;
    ac_ref above = ac_channel_open("above"), below = ac_channel_open("below");
    must_be(ac_channel_subscribe(above, below), 0);
    must_be(ac_register(above, "above"), 0);
    must_be(ac_register(below, "below"), 0);
    must_be(ac_channel_wait(above, CROWD, ac_after(PATIENCE_S)), CROWD);
    while (ac_channel_count(above) + ac_channel_count(below) < CROWD + CROWD / 10 + 1)
        must_be(ac_sleep(0.002), 0);
    for (int round = 0; round < ROUNDS; round++) {
        bytes[0] = (uint8_t)round;
        size_t count = round % 2 ? LARGE_BYTES : 100; // in pieces, or in a frame
        must_be(ac_deliver(above, ac_of_bytes(bytes, count), ac_after(PATIENCE_S)), CROWD);
    }
    must_be(ac_send(above, 7), 0);
    must_be(ac_send(above, ac_of_pointer(&peer)), -ENOTSUP);
    return ac_nil;
}

TEST(many_in_one_process_get_one_copy_of_a_message) {
    world_begin();
    peer = child(be_a_crowd);
    run(speak_to_a_crowd);
    child_end(peer);
    world_end();
}

static ac_value speak_from_second(ac_value unused) {
    must(ac_ref_is(ac_spawn(speak_to_a_crowd, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return unused;
}

TEST(from_every_loop) {
    world_begin();
    peer = child(be_a_crowd);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(speak_from_second, ac_nil)));
    must_be(ac_run(.loops = LOOPS), 0);
    child_end(peer);
    world_end();
}

static ac_value lose_a_crowd(ac_value unused) {
    ac_ref channel = ac_channel_open("above");
    must_be(ac_register(channel, "above"), 0);
    must_be(ac_register(ac_channel_open("below"), "below"), 0);
    enum { ABOVE = CROWD / 2 + CROWD / 10 };
    must_be(ac_channel_wait(channel, ABOVE, ac_after(PATIENCE_S)), ABOVE);
    child_freeze(peer);
    uint64_t dead = ac_dead_letters(AC_DEAD_ENDED);
    static uint8_t bytes[LARGE_BYTES];
    for (int i = 0; i < 20; i++) // some of it finds no room in the window
        must_be(ac_send(channel, ac_of_bytes(bytes, LARGE_BYTES)), 0);
    child_kill(peer);
    while (ac_channel_count(channel) > 0)
        must_be(ac_sleep(0.002), 0);
    must((ac_dead_letters(AC_DEAD_ENDED) - dead) % (CROWD / 2 + CROWD / 10) == 0);
    must(ac_dead_letters(AC_DEAD_ENDED) > dead);
    return unused;
}

TEST(what_many_do_not_get_is_counted_for_each) {
    world_begin();
    peer = child(be_a_crowd);
    run(lose_a_crowd);
    world_end();
}
