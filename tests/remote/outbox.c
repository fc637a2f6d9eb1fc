// SPDX-License-Identifier: MIT
// Tests of src/remote/outbox.c: the order of what goes to another process through channels and
// directly, also where the window is full.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

enum { SENDS = 600, LARGE_BYTES = 300 * 1000, LOOPS = 3 };

// ---- order, with seeds ----
//
// The receiver, in a process of its own, subscribes to the channel of each of the senders and
// monitors it. A sender sends (sender, number, some bytes), numbers counting up,
// through its channel or directly, and closes the channel in the end.

static uint64_t draw(uint64_t *state, uint64_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

static ac_ref take_ref(ac_value list, size_t i) {
    ac_value it = ac_at(list, i);
    ac_ref ref = ac_ref_of(it);
    ac_drop(it);
    return ref;
}

enum { SENDERS = 3 };

static ac_value receives(ac_value unused) {
    (void)unused;
    ac_ref senders[SENDERS], channels[SENDERS];
    long last[SENDERS] = {0};
    bool closed[SENDERS] = {false};
    ac_value message = next_message();
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = take_ref(message, 2 * i);
        channels[i] = take_ref(message, 2 * i + 1);
        must_be(ac_channel_subscribe(channels[i], ac_self()), 0);
        must_be(ac_monitor(senders[i]), 0);
    }
    ac_drop(message);
    for (size_t i = 0; i < SENDERS; i++)
        must_be(ac_send(senders[i], "subscribed"), 0);
    for (int left = SENDERS; left > 0;) {
        if (last[0] % 100 == 0)
            compute(0.02); // so that windows are full
        message = next_message();
        struct ac_exit exit;
        if (ac_exit_of(message, &exit)) {
            for (int i = 0; i < SENDERS; i++) {
                closed[i] |= ac_ref_equal(exit.who, channels[i]);
                if (ac_ref_equal(exit.who, senders[i])) {
                    must(closed[i]);
                    must_be(last[i], SENDS + 1);
                    must_be(exit.how, AC_FINISHED);
                    left--;
                }
            }
            ac_drop(exit.value);
        } else {
            int from;
            long number;
            ac_value text;
            must_be(ac_unpack(message, &from, &number, &text), 0);
            ac_drop(text);
            must_be(number, last[from] + 1);
            must(closed[from] == (number == SENDS + 1));
            last[from] = number;
        }
        ac_drop(message);
    }
    must_be(ac_mailbox_count(), 0);
    return ac_nil;
}

static long seed;
static char large[LARGE_BYTES];

static ac_value sends(ac_value number) {
    int self = (int)ac_int_of(number);
    uint64_t state = (uint64_t)(seed * SENDERS + self);
    ac_value message = next_message();
    ac_ref stage = ac_ref_of(message), job;
    ac_drop(message);
    ac_ref channel = ac_channel_open(NULL);
    must_be(ac_send(stage, ac_list(ac_self(), channel)), 0);
    message = next_message();
    job = ac_ref_of(message);
    ac_drop(message);
    ac_drop(next_message()); // "subscribed"
    must_be(ac_channel_count(channel), 1);
    for (long i = 1; i <= SENDS; i++) {
        size_t bytes = draw(&state, 40) == 0 ? draw(&state, LARGE_BYTES) : draw(&state, 9000);
        message = ac_list(self, i, ac_of_bytes(large, bytes));
        switch (draw(&state, 4)) {
        case 0: must_be(ac_send(channel, message), 0); break;
        case 1: must_be(ac_deliver(channel, message, ac_after(PATIENCE_S)), 1); break;
        case 2: must_be(ac_send(job, message), 0); break;
        default: {
            int err = ac_try_send(job, ac_hold(message));
            must(err == 0 || err == -EAGAIN);
            if (err == 0)
                ac_drop(message);
            else
                must_be(ac_send(channel, message), 0);
        }
        }
        if (draw(&state, 50) == 0)
            must_be(ac_yield(), 0);
    }
    must_be(ac_channel_close(channel), 0);
    must_be(ac_send(job, ac_list(self, (long)SENDS + 1, 0)), 0);
    return ac_nil;
}

static ac_value stage_senders(ac_value unused) {
    (void)unused;
    ac_ref job = start_job(find("server"), 0);
    ac_value pairs[2 * SENDERS];
    ac_ref senders[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = ac_spawn(sends, i, .stack_bytes = TEST_STACK,
                              .loop = ac_loops() > 1 ? i % LOOPS + 1 : 0);
        must_be(ac_send(senders[i], ac_self()), 0);
        ac_value pair = next_message();
        pairs[2 * i] = ac_at(pair, 0);
        pairs[2 * i + 1] = ac_at(pair, 1);
        must_be(ac_send(senders[i], job), 0);
        ac_drop(pair);
    }
    must_be(ac_send(job, ac_list_of(pairs, 2 * SENDERS)), 0);
    must_be(ac_monitor(job), 0);
    must_be(next_exit().how, AC_FINISHED);
    must_be(map_count(&remote_of(loop_here)->outboxes), 0);
    return ac_nil;
}

static void play(long with_seed, uint32_t loops) {
    seed = with_seed;
    world_begin();
    server_jobs[0] = receives;
    peer = child(serving);
    hear(peer);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(stage_senders, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(.loops = loops), 0);
    child_end(peer);
    world_end();
}

TEST(what_goes_through_channels_and_directly_to_another_process_keeps_its_order,
     .seconds_max = 120) {
    for (long i = 1; i <= 4; i++)
        play(i, 1);
}

TEST(it_does_so_from_all_loops, .seconds_max = 120) {
    for (long i = 1; i <= 4; i++)
        play(i, LOOPS);
}

// ---- how much waits for one that takes nothing ----

enum { PIECE_KIB = 500, TOO_MANY = OUTBOX_BYTES_MAX / (PIECE_KIB << 10) + 40 };

// Numbers that grow, and bytes; the last one is negative.
static long take_growing(long *last) {
    long number;
    ac_value bytes;
    ac_value message = next_message();
    must_be(ac_unpack(message, &number, &bytes), 0);
    ac_drop(bytes);
    ac_drop(message);
    if (number >= 0) {
        must(number > *last);
        *last = number;
    }
    return number;
}

static ac_value is_slow(ac_value unused) {
    long last = -1, count = 0;
    (void)unused;
    must_be(ac_channel_subscribe(find("loud"), ac_self()), 0);
    while (take_growing(&last) >= 0)
        count++;
    must_be(ac_send(find("counts"), count), 0);
    return until_the_end(ac_nil);
}

static ac_value is_quick(ac_value channel) {
    must_be(ac_channel_subscribe(ac_ref_of(channel), ac_self()), 0);
    for (long last = -1, i = 0; i < TOO_MANY; i++)
        must_be(take_growing(&last), i);
    return ac_nil;
}

static ac_value speak_too_loud(ac_value unused) {
    static char bytes[PIECE_KIB << 10];
    (void)unused;
    ac_ref channel = ac_channel_open(NULL), slow;
    must_be(ac_register(ac_self(), "counts"), 0);
    must_be(ac_register(channel, "loud"), 0);
    ac_ref quick = ac_spawn(is_quick, channel, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_channel_wait(channel, 2, ac_after(PATIENCE_S)), 2);
    struct ac_peer_info info;
    must_be(ac_peers(&info, 1), 1);
    slow = (ac_ref){.peer = info.id};
    child_freeze(peer);
    size_t most = 0;
    long missed = 0;
    for (long i = 0; i < TOO_MANY; i++) {
        ac_value message = ac_list(i, ac_of_bytes(bytes, sizeof bytes));
        if (i % 2)
            must_be(ac_send(channel, message), 0);
        else
            missed += ac_deliver(channel, message, AC_FOREVER) == 1; // the one here
        if (i % 10 == 9)
            must_be(ac_sleep(0.001), 0);
        size_t held = outbox_bytes(remote_of(loop_here), slow.peer);
        most = held > most ? held : most;
    }
    must(most > OUTBOX_BYTES_MAX / 2 && most <= OUTBOX_BYTES_MAX);
    must_be(ac_join(quick, NULL, ac_after(PATIENCE_S)), 0); // who takes them is held up by nobody
    uint64_t full = ac_dead_letters(AC_DEAD_FULL);
    must(full > 0 && missed > 0);
    child_thaw(peer);
    while (outbox_bytes(remote_of(loop_here), slow.peer) > 0)
        must_be(ac_sleep(0.002), 0);
    must_be(ac_send(channel, ac_list(-1, 0)), 0);
    ac_value count = next_message();
    must_be(ac_int_of(count) + (long)full, TOO_MANY);
    return ac_nil;
}

TEST(what_waits_for_a_slow_process_has_a_limit_and_holds_up_nobody_else, .seconds_max = 120) {
    static const struct ac_network_options patient = {
        .size = sizeof patient, .loopback_only = true, .heartbeat_s = 100, .grace_s = 100};
    world_begin();
    peer = child_with(is_slow, &patient);
    run_with(speak_too_loud, &patient);
    child_end(peer);
    world_end();
}
