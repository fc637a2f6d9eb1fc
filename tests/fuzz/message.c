// SPDX-License-Identifier: MIT
// Fuzz target: what a peer sends once it is linked: frames of remote/. It holds the key and may
// mean harm all the same. The input is frames: a byte for the type, a byte for the bytes of
// payload, the payload, in which ff and another byte stand for the encoded id of a coroutine or
// channel here.
//
// Here are receivers, a channel, a name, and coroutines that wait for what the peer shall answer;
// then the peer is lost. Nobody crashes, everybody is told, and each byte of payload is taken once.
//
// It is compiled together with remote/remote.c, where the door to the fabric is private, and stands
// in for the fabric below.
#include "fuzz.h"

#include "remote/remote.c"

enum { PEER = 7, TURNS = 3, STACK = 64 * 1024 };

int __wrap_fabric_send(struct fabric *fabric, uint64_t peer, unsigned type, const ac_span *parts,
                       size_t count, enum fabric_way way);
void __wrap_fabric_taken(struct fabric *fabric, uint64_t peer, size_t bytes);

static struct loop *host;
static uint64_t given, taken; // bytes of payload
static unsigned sent;         // frames
static ac_ref here[3];        // whom the peer may know by ids
static ac_ref asking[4];

int __wrap_fabric_send(struct fabric *fabric, uint64_t peer, unsigned type, const ac_span *parts,
                       size_t count, enum fabric_way way) {
    size_t bytes = 0;
    (void)fabric;
    for (size_t i = 0; i < count; i++)
        bytes += parts[i].bytes;
    REQUIRE(peer == PEER && type >= FRAME_SEND && type <= UINT8_MAX && bytes <= FRAME_PAYLOAD_MAX);
    return way == FABRIC_WINDOW && ++sent % 5 == 0 ? -EAGAIN : 0;
}

void __wrap_fabric_taken(struct fabric *fabric, uint64_t peer, size_t bytes) {
    (void)fabric;
    REQUIRE(peer == PEER);
    taken += bytes;
    REQUIRE(taken <= given);
}

// ---- who lives here ----

static ac_value receiver(ac_value limit) {
    ac_value message;
    if (ac_int_of(limit) > 0)
        (void)ac_mailbox_limit((size_t)ac_int_of(limit), AC_REFUSE);
    while (ac_receive(&message, AC_FOREVER) == 0) {
        bool ends = ac_is_nil(message);
        ac_drop(message);
        if (ends)
            return ac_of("ended");
    }
    return ac_nil;
}

// A coroutine and a channel of the peer.
static const ac_ref far_coroutine = {PEER, 4096}, far_channel = {PEER, 4097};

static ac_value ask(ac_value what) {
    ac_value answer = ac_nil;
    ac_ref found;
    switch (ac_int_of(what)) {
    case 0: (void)!ac_deliver(far_coroutine, 1, AC_FOREVER); break;
    case 1: (void)!ac_locate("far", &found, AC_FOREVER); break;
    case 2: (void)!ac_call(far_coroutine, "?", &answer, AC_FOREVER); break;
    default:
        (void)!ac_monitor(far_coroutine);
        (void)ac_channel_subscribe(far_channel, ac_self());
        while (ac_receive(&answer, AC_FOREVER) == 0)
            ac_drop(answer);
        answer = ac_nil;
    }
    ac_drop(answer);
    return ac_nil;
}

// ---- the world of one input ----

static void turn(void) {
    for (int i = 0; i < TURNS; i++)
        REQUIRE(loop_turn(host) == 0);
}

static void create(void) {
    static const struct key_ring keys = {.keys = {"the key that the peer holds too"}, .count = 1};
    struct ac_network_options options = {
        .size = sizeof options, .name = "fuzz", .loopback_only = true, .no_discovery = true};
    int err = 0;
    host = loop_create(&sys_chosen, 1, &err);
    REQUIRE(host);
    sys_context_of_thread(&host->home); // as loop_run does: coroutines come back to this stack
    loop_here = host;
    REQUIRE(remote_start(host, &options, &keys) == 0);
}

static void begin(void) {
    if (!host)
        create();
    remote_of(host)->number = 0;
    given = taken = 0;
    sent = 0;
    here[0] = ac_spawn(receiver, 0, .daemon = true, .stack_bytes = STACK);
    here[1] = ac_spawn(receiver, 2, .daemon = true, .stack_bytes = STACK);
    here[2] = ac_channel_open("channel");
    REQUIRE(ac_channel_subscribe(here[2], here[0]) == 0);
    REQUIRE(ac_register(here[1], "here") == 0);
    for (int i = 0; i < 4; i++)
        asking[i] = ac_spawn(ask, i, .daemon = true, .stack_bytes = STACK);
    struct remote *remote = remote_of(host);
    remote_enter(remote);
    on_met(remote, PEER);
    on_linked(remote, PEER);
    remote_leave(remote);
    turn();
}

static void end(void) {
    struct remote *remote = remote_of(host);
    turn();
    REQUIRE(taken == given);
    remote_enter(remote);
    on_lost(remote, PEER, -ECONNRESET);
    remote_leave(remote);
    turn();
    REQUIRE(map_count(&remote->peers) == 0 && map_count(&remote->delivers) == 0);
    REQUIRE(map_count(&remote->monitors) == 0 && map_count(&remote->watched) == 0);
    REQUIRE(map_count(&remote->followers) == 0 && map_count(&remote->outboxes) == 0);
    for (int i = 0; i < 4; i++)
        (void)ac_cancel(asking[i]);
    for (int i = 0; i < 2; i++)
        (void)ac_cancel(here[i]);
    (void)ac_channel_close(here[2]);
    turn();
    REQUIRE(map_count(&remote->names) == 0 && map_count(&remote->queries) == 0);
}

// ---- the peer ----

// The payload of a frame, with the ids filled in.
static size_t make_payload(uint8_t *to, const uint8_t *from, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (from[i] == 0xff && i + 1 < count) {
            uint8_t which = from[++i];
            bytes += cbor_put_head(to + bytes, 0,
                                   which < 3 ? here[which].id : asking[which % 4].id);
        } else {
            to[bytes++] = from[i];
        }
    }
    return bytes;
}

// The two high bits of the type: a window has room; the loop gets its turn.
static void hear(struct fuzz_input *input) {
    static uint8_t payload[9 * 256];
    struct remote *remote = remote_of(host);
    const uint8_t *bytes;
    uint8_t type = fuzz_byte(input), length = fuzz_byte(input);
    size_t got = fuzz_bytes(input, length, &bytes), count = make_payload(payload, bytes, got);
    given += count;
    remote_enter(remote);
    incoming_frame(remote, PEER, FRAME_SEND + type % 64 % 40, payload, count);
    if (type & 128)
        on_room(remote, PEER);
    remote_leave(remote);
    if (type & 64)
        turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct fuzz_input input = {bytes, count};
    begin();
    for (int frames = 0; input.left > 0 && frames < 64; frames++)
        hear(&input);
    end();
    return 0;
}
