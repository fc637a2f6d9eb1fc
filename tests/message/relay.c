// SPDX-License-Identifier: MIT
// Tests of src/message/relay.c: the order of what goes to other loops through channels and
// directly, and the end of what stands there for coroutines elsewhere.
#include "message/message.h"
#include "message/next.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>

#ifdef SYS_TSAN
enum { PLAYS = 4, SENDS = 150 };
#else
enum { PLAYS = 40, SENDS = 400 };
#endif

enum { LOOPS = 3, SENDERS = 4, RECEIVERS = 5 };

static void run(ac_function function, ac_value argument, uint32_t loops) {
    ck_assert(ac_ref_is(ac_spawn(function, argument)));
    ck_assert_int_eq(ac_run(.loops = loops), 0);
}

static ac_ref next_ref(void) {
    ac_value message = next_message();
    ac_ref ref = ac_ref_of(message);
    ac_drop(message);
    return ref;
}

static uint64_t draw(uint64_t *state, uint64_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

// ---- order, with seeds ----
//
// Every sender has a channel with another one below it, on its own loop. Every receiver subscribes
// to one of the two or to both, of each sender. Then a sender sends numbers that count up, through
// the channel to all or directly to one; closes the channel, says goodbye to each directly, with
// how many numbers it had for that one, and ends. All of that must come in this order.

static ac_value receive_play(ac_value seed) {
    uint64_t state = (uint64_t)ac_int_of(seed);
    ac_ref senders[SENDERS], channels[SENDERS];
    long last[SENDERS] = {0}, had[SENDERS] = {0};
    int closed[SENDERS] = {0}, wanted[SENDERS] = {0};
    ac_ref stage = next_ref();
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = next_ref();
        ac_ref top = next_ref(), below = next_ref();
        channels[i] = top;
        uint64_t how = draw(&state, 3);
        if (how != 0)
            ck_assert_int_eq(ac_channel_subscribe(top, ac_self()), 0);
        if (how != 1)
            ck_assert_int_eq(ac_channel_subscribe(below, ac_self()), 0);
        wanted[i] = how != 0; // the notice of the channel that will be closed
        ck_assert_int_eq(ac_monitor(senders[i]), 0);
    }
    ck_assert_int_eq(ac_send(stage, "ready"), 0);
    for (int left = SENDERS; left > 0;) {
        ac_value message = next_message();
        struct ac_exit exit;
        int from;
        long number, total;
        if (ac_exit_of(message, &exit)) {
            for (int i = 0; i < SENDERS; i++) {
                closed[i] += ac_ref_equal(exit.who, channels[i]);
                if (ac_ref_equal(exit.who, senders[i])) {
                    ck_assert_int_eq(last[i], -1); // behind the goodbye
                    left--;
                }
            }
            ac_drop(exit.value);
        } else if (ac_count(message) == 2) {
            ck_assert_int_eq(ac_unpack(message, &from, &number), 0);
            ck_assert_int_gt(number, last[from]);
            ck_assert_int_eq(closed[from], 0);
            last[from] = number;
            had[from]++;
        } else {
            ck_assert_int_eq(ac_unpack(message, &from, &number, &total), 0);
            ck_assert_int_eq(had[from], total);
            ck_assert_int_eq(closed[from], wanted[from]);
            last[from] = -1;
        }
        ac_drop(message);
    }
    ck_assert_int_eq(ac_mailbox_count(), 0);
    add(1);
    return ac_nil;
}

static ac_value send_play(ac_value argument) {
    ac_value seed_value = ac_at(argument, 0), number_value = ac_at(argument, 1);
    uint64_t state = (uint64_t)ac_int_of(seed_value);
    int self = (int)ac_int_of(number_value);
    ac_ref top = ac_channel_open("top"), below = ac_channel_open("below");
    ck_assert_int_eq(ac_channel_subscribe(top, below), 0);
    ac_ref stage = next_ref(), receivers[RECEIVERS];
    for (int i = 0; i < RECEIVERS; i++)
        receivers[i] = next_ref();
    ck_assert_int_eq(ac_send(stage, top), 0);
    ck_assert_int_eq(ac_send(stage, below), 0);
    ac_drop(next_message()); // all have subscribed
    long had[RECEIVERS] = {0};
    for (long i = 1; i <= SENDS; i++) {
        uint64_t to = draw(&state, 2 * RECEIVERS);
        ac_value message = draw(&state, 4) == 0 ? ac_list(self, i) : ac_list((long)self, i);
        if (to < RECEIVERS) {
            ck_assert_int_eq(ac_send(receivers[to], message), 0);
            had[to]++;
        } else {
            ck_assert_int_eq(ac_deliver(top, message, AC_FOREVER), RECEIVERS);
            for (int n = 0; n < RECEIVERS; n++)
                had[n]++;
        }
        if (draw(&state, 30) == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    ck_assert_int_eq(ac_channel_close(top), 0);
    for (int i = 0; i < RECEIVERS; i++)
        ck_assert_int_eq(ac_send(receivers[i], ac_list(self, 0, had[i])), 0);
    return ac_nil;
}

static ac_value play(ac_value seed) {
    uint64_t state = (uint64_t)ac_int_of(seed);
    ac_ref senders[SENDERS], receivers[RECEIVERS];
    for (int i = 0; i < RECEIVERS; i++)
        receivers[i] = ac_spawn(receive_play, (long)draw(&state, 1 << 30),
                                .loop = (int)draw(&state, LOOPS) + 1);
    for (int i = 0; i < SENDERS; i++)
        senders[i] = ac_spawn(send_play, ac_list((long)draw(&state, 1 << 30), i),
                              .loop = (int)draw(&state, LOOPS) + 1);
    for (int i = 0; i < RECEIVERS; i++)
        ck_assert_int_eq(ac_send(receivers[i], ac_self()), 0);
    for (int i = 0; i < SENDERS; i++) {
        ck_assert_int_eq(ac_send(senders[i], ac_self()), 0);
        for (int n = 0; n < RECEIVERS; n++)
            ck_assert_int_eq(ac_send(senders[i], receivers[n]), 0);
        ac_ref top = next_ref(), below = next_ref();
        for (int n = 0; n < RECEIVERS; n++) {
            ck_assert_int_eq(ac_send(receivers[n], senders[i]), 0);
            ck_assert_int_eq(ac_send(receivers[n], top), 0);
            ck_assert_int_eq(ac_send(receivers[n], below), 0);
        }
    }
    for (int i = 0; i < RECEIVERS; i++)
        ac_drop(next_message());
    for (int i = 0; i < SENDERS; i++)
        ck_assert_int_eq(ac_send(senders[i], "begin"), 0);
    return ac_nil;
}

TEST(what_goes_through_channels_and_directly_to_another_loop_keeps_its_order, .seconds_max = 120) {
    for (int seed = 1; seed <= PLAYS; seed++)
        run(play, ac_of(seed), LOOPS);
    ck_assert_int_eq(counted(), PLAYS * RECEIVERS);
}

// ---- who subscribes whom, and what ends ----

static ac_value listen_until_told(ac_value unused) {
    (void)unused;
    for (;;) {
        ac_value message = next_message();
        bool ends = ac_kind_of(message) == AC_INT;
        ac_drop(message);
        if (ends)
            return ac_nil;
    }
}

static ac_value subscribe_others(ac_value channel_value) {
    ac_ref channel = ac_ref_of(channel_value);
    ac_ref it = ac_spawn(listen_until_told, ac_nil, .loop = 3);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, it), -ENOENT);
    ck_assert_int_eq(ac_channel_subscribe(channel, it), 0); // of a loop that is neither's
    ck_assert_int_eq(ac_deliver(channel, "for it", AC_FOREVER), 1);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, it), 0);
    ck_assert_int_eq(ac_deliver(channel, "for nobody", AC_FOREVER), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, it), 0);
    ac_ref other = ac_channel_open(NULL);
    ck_assert_int_eq(ac_channel_subscribe(other, it), 0);
    ck_assert_int_eq(ac_send(it, 0), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, other), -ENOTSUP);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, other), -ENOTSUP);
    ac_ref nowhere = {channel.peer, channel.id | 63 << 2};
    ck_assert_int_eq(ac_channel_subscribe(nowhere, ac_self()), -ESRCH);
    ck_assert_int_eq(ac_channel_subscribe(channel, (ac_ref){it.peer, it.id | 63 << 2}), -ESRCH);
    ck_assert_int_eq(ac_channel_subscribe((ac_ref){channel.peer + 1, channel.id}, ac_self()),
                     -EHOSTUNREACH);
    // Without a network; the second loop learns of that from the first.
    ac_ref afar = {it.peer + 1, it.id};
    ck_assert_int_eq(ac_channel_subscribe(channel, afar), -EHOSTUNREACH);
    ck_assert_int_eq(ac_channel_subscribe(other, afar), 0);
    while (ac_channel_count(other) > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    return ac_nil;
}

static ac_value keep_channel(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open(NULL);
    ac_ref there = ac_spawn(subscribe_others, channel, .loop = 2);
    ck_assert_int_eq(ac_monitor(there), 0);
    (void)next_exit();
    while (ac_channel_count(channel) > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    return ac_nil;
}

TEST(anybody_may_subscribe_anybody_of_any_loop) { run(keep_channel, ac_nil, 3); }

static bool open; // atomic

// Computes until all has been sent; what lies on the lane then comes into its mailbox while it
// waits for something else.
static ac_value fill_limited(ac_value channel_value) {
    ac_ref channel = ac_ref_of(channel_value);
    ck_assert_int_eq(ac_mailbox_limit(2, AC_REFUSE), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ac_value message = next_message();
    ck_assert_int_eq(ac_send(ac_ref_of(message), "subscribed"), 0);
    ac_drop(message);
    while (!__atomic_load_n(&open, __ATOMIC_ACQUIRE))
        continue;
    ck_assert_int_eq(ac_sleep(0.001), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(ac_int_of(next_message()), i);
    ck_assert(ac_ref_equal(next_exit().who, channel)); // which has room
    add((long)ac_dead_letters(AC_DEAD_FULL));
    return ac_nil;
}

static ac_value overfill(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open(NULL);
    ac_ref there = ac_spawn(fill_limited, channel, .loop = 2);
    ck_assert_int_eq(ac_send(there, ac_self()), 0);
    ac_drop(next_message());
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(ac_deliver(channel, i, AC_FOREVER), 1);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    __atomic_store_n(&open, true, __ATOMIC_RELEASE);
    return ac_nil;
}

TEST(a_full_mailbox_elsewhere_makes_dead_letters_and_has_room_for_the_notice) {
    run(overfill, ac_nil, 2);
    ck_assert_int_eq(counted(), 3);
}

static ac_value pass_notices(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(listen_until_told, ac_nil, .loop = 2);
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_channel_subscribe(channel, there), 0);
    ck_assert_int_eq(ac_monitor((ac_ref){channel.peer, there.id | 0xffull << 56}), 0);
    ck_assert_int_eq(ac_deliver(channel, next_message(), AC_FOREVER), 1); // an exit notice
    ck_assert_int_eq(ac_deliver(channel, 0, AC_FOREVER), 1);
    while (ac_channel_count(channel) > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(ac_deliver(channel, ac_list("dropped"), AC_FOREVER), 0);
    return ac_nil;
}

TEST(notices_go_through_channels_to_other_loops) { run(pass_notices, ac_nil, 2); }

// ---- want of memory ----

static ac_value listen_for_numbers(ac_value unused) {
    (void)unused;
    long sum = 0;
    for (;;) {
        ac_value message = next_message();
        struct ac_exit exit;
        if (ac_exit_of(message, &exit)) {
            ac_drop(message);
            break;
        }
        sum += ac_int_of(ac_at(message, 1));
        ac_drop(message);
    }
    add(sum);
    return ac_nil;
}

static ac_value want_memory(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open(NULL);
    ac_ref there = ac_spawn(listen_for_numbers, ac_nil, .loop = 2);
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_channel_subscribe(channel, there);
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        ck_assert_int_eq(ac_channel_count(channel), !failed);
    }
    ac_ref here = ac_spawn(listen_for_numbers, ac_nil);
    ck_assert_int_eq(ac_channel_subscribe(channel, here), 0);
    ac_value shared = ac_list("a text in a buffer", 1);
    failed = true;
    long sent = 0;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_send(channel, ac_hold(shared));
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        sent++;
    }
    ac_drop(shared);
    ck_assert_int_ge(sent, 2);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_channel_close(channel), 0); // needs none
    ck_assert(!memory_has_failed());
    memory_fail_nth(0);
    add(-1 - sent);
    return ac_nil;
}

TEST(without_memory_for_one_elsewhere_the_sender_is_told_and_others_hear) {
    run(want_memory, ac_nil, 2);
    ck_assert_int_eq(counted(), 0);
}

// ---- too many ----

static int watch_nothing(struct loop *loop, ac_ref of, struct far_watch *watch) {
    (void)loop, (void)of;
    watch->state = &watch->state; // it is watched, as far as anybody can tell
    return 0;
}

static void unwatch_nothing(struct far_watch *watch) { watch->state = NULL; }

static const struct message_door door_to_nobody = {.watch = watch_nothing,
                                                   .unwatch = unwatch_nothing};

static ac_value subscribe_too_many(ac_value unused) {
    (void)unused;
    enum { MOST = 1 << 16 };
    ac_ref channel = ac_channel_open(NULL);
    ac_ref far = {.peer = loop_here->peer ^ 1};
    for (uint64_t i = 1; i <= MOST; i++) {
        far.id = i << 24;
        ck_assert_int_eq(ac_channel_subscribe(channel, far), 0);
    }
    ck_assert_int_eq(ac_channel_subscribe(channel, far), 0); // it is there
    far.id = (uint64_t)(MOST + 1) << 24;
    ck_assert_int_eq(ac_channel_subscribe(channel, far), -EAGAIN);
    // Others have room.
    ac_ref other = {.peer = loop_here->peer ^ 2, .id = far.id};
    ck_assert_int_eq(ac_channel_subscribe(channel, other), 0);
    // And it has again when one of its own has gone.
    ck_assert_int_eq(ac_channel_unsubscribe(channel, (ac_ref){far.peer, (uint64_t)1 << 24}), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, far), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, (ac_ref){far.peer, (uint64_t)1 << 24}), -EAGAIN);
    for (uint64_t i = 2; i <= MOST + 1; i++)
        ck_assert_int_eq(ac_channel_unsubscribe(channel, (ac_ref){far.peer, i << 24}), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(channel, other), 0);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    return ac_nil;
}

TEST(one_process_uses_up_no_others_room) {
    int err;
    ck_assert_int_eq(message_set_door(loop_need(&err), &door_to_nobody), 0);
    run(subscribe_too_many, ac_nil, 1);
}
