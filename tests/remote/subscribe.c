// SPDX-License-Identifier: MIT
// Tests of src/remote/subscribe.c: channels whose subscribers are in other processes.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

static ac_ref news, more;

// The process of the channels. It is told to close "news", to take a subscriber or to let it go,
// and answers how many subscribe to "news" then.
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
    must_be(ask_keeper("close"), -ESRCH);
    must_be(ac_channel_subscribe(far, ac_self()), -ESRCH);
    must_be(ac_channel_unsubscribe(far, ac_self()), -ESRCH);
    return unused;
}

TEST(a_subscription_ends_with_either_side) { with_keeper(end_subscriptions); }

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
    must_be(map_count(&remote_of(loop_here)->forwards), 0);
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
