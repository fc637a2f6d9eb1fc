// SPDX-License-Identifier: MIT
// Tests of src/remote/incoming.c: frames that no friend would send.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

// One CBOR item, more often than not.
static size_t odd_item(uint8_t *to, int depth) {
    static const uint64_t odd[] = {0, 1, 23, 24, 255, 65536, INT64_MAX, UINT64_MAX};
    unsigned major = (unsigned)random() % 8;
    uint64_t number = random() % 2 ? odd[random() % 8] : (uint64_t)random() % 20;
    size_t count = cbor_put_head(to, major, major > 1 ? number % 30 : number);
    if (major == 2 || major == 3)
        for (uint64_t i = 0; i < number % 30; i++)
            to[count++] = (uint8_t)('a' + i);
    if (major >= 4 && major <= 6 && depth < 3)
        for (uint64_t i = 0; i < number % 4; i++)
            count += odd_item(to + count, depth + 1);
    return count;
}

static size_t odd_payload(uint8_t *to) {
    size_t count = 0;
    for (long items = 1 + random() % 6; items > 0; items--)
        count += odd_item(to + count, 0);
    if (random() % 4 == 0)
        to[(size_t)random() % count] = (uint8_t)random();
    return random() % 4 == 0 ? (size_t)random() % count : count;
}

// A stream that carries its own end.
static void throw_abort_in_piece(ac_ref at) {
    const uint8_t payload[] = {1, 0x18, FRAME_ABORT, 1, 0, 0x41, 1};
    throw_frame_at_last(at, FRAME_PIECE, payload, sizeof payload);
}

static ac_value talk_nonsense(ac_value unused) {
    ac_ref to = find("server");
    for (int i = 0; i < 20; i++)
        throw_abort_in_piece(to);
    remote_of(loop_here)->number = 1000; // what is answered to nonsense is no answer to us
    srandom(1);
    for (int i = 0; i < 30000; i++) {
        uint8_t payload[8192];
        unsigned type = FRAME_SEND + (unsigned)random() % 20;
        if (type != FRAME_RIGHTS) // which would be obeyed: nothing is sent to us any more
            throw_frame_at_last(to, type, payload, odd_payload(payload));
    }
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    must_be(server_count(to), 1);
    return unused;
}

TEST(frames_of_nonsense_do_no_harm) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(talk_nonsense);
    child_end(peer);
    world_end();
}
