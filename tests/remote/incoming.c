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

// ---- too much ----

// Small frames of types that the window of their sender does not hold back, with numbers that name
// nothing here.
static const unsigned small_types[] = {FRAME_ANSWER,  FRAME_MONITOR,   FRAME_EXIT,   FRAME_FOUND,
                                       FRAME_UNWATCH, FRAME_SUBSCRIBE, FRAME_CLOSED, FRAME_RIGHTS,
                                       FRAME_STARTED, FRAME_LEFT,      FRAME_CANCEL};

static size_t small_payload(unsigned type, uint8_t *to) {
    size_t count = 0;
    uint64_t high = (uint64_t)1 << 62;
    uint64_t first = type == FRAME_RIGHTS ? AC_MAY_ALL | high : high;
    count += cbor_put_head(to + count, 0, first);
    switch (type) {
    case FRAME_ANSWER: count += cbor_put_head(to + count, 0, 1); break;
    case FRAME_STARTED:
    case FRAME_CLOSED: count += cbor_put_head(to + count, 0, high); break;
    case FRAME_FOUND: to[count++] = 0xf6; break;
    case FRAME_EXIT:
        count += cbor_put_head(to + count, 0, AC_FINISHED);
        count += cbor_put_head(to + count, 0, 0);
        to[count++] = 0xf6;
        break;
    case FRAME_SUBSCRIBE:
        count += cbor_put_head(to + count, 0, high);
        count += cbor_put_head(to + count, 0, high);
        break;
    case FRAME_MONITOR: count += cbor_put_head(to + count, 0, high); break;
    default: break;
    }
    if (type == FRAME_FOUND || type == FRAME_UNWATCH || type == FRAME_SUBSCRIBE ||
        type == FRAME_MONITOR)
        to[count++] = 0xf4;
    return count;
}

// Holds up the loop that it is on until the test says so: only a guardian takes in what comes.
static ac_value holds_up(ac_value asker) {
    char byte;
    say();
    must_be(read(world.orders, &byte, 1), 1);
    must_be(ac_send(ac_ref_of(asker), "goes on"), 0);
    return ac_nil;
}

// What keeps to the window finds it full, when much waits for one that computes. The sender gives
// up when there was no room for a while.
static ac_value flood_within_the_window(ac_value unused) {
    enum { MOST = FEW_ARRIVALS + FABRIC_WINDOW_BYTES / 9 + 1000, REFUSALS = 50 };
    ac_ref to = find("server");
    for (size_t i = 0; i < sizeof small_types / sizeof *small_types; i++) {
        uint8_t payload[64];
        size_t bytes = small_payload(small_types[i], payload);
        (void)start_job(to, 0);
        hear(peer);
        long count = 0;
        for (int refusals = 0; refusals < REFUSALS;) {
            if (throw_frame(to, small_types[i], payload, bytes) == 0) {
                refusals = 0;
                count++;
            } else {
                refusals++;
                must_be(ac_sleep(0.001), 0);
            }
            if (count > MOST)
                fprintf(stderr, "type %u\n", small_types[i]);
            must(count <= MOST);
        }
        tell(peer);
        ac_drop(next_message());
        must_be(server_count(to), 0);
    }
    return unused;
}

TEST(small_frames_fill_the_window_of_one_that_computes, .seconds_max = 120) {
    world_begin();
    server_jobs[0] = holds_up;
    peer = child(serving);
    hear(peer);
    run(flood_within_the_window);
    child_end(peer);
    world_end();
}

// Who sends more than ARRIVALS_MAX that are not taken in is lost, and others are served. Now and
// then it asks something that is answered there at once, lest too much waits here.
static ac_value flood_beyond_it(ac_value unused) {
    enum { AT_ONCE = 20000 };
    ac_ref to = find("server"), holder;
    struct head head = {0};
    head.count = small_payload(FRAME_LEFT, head.bytes);
    must_be(ac_monitor(to), 0);
    (void)start_job(to, 0);
    say();
    must(told());
    long count = 0;
    for (; count < ARRIVALS_MAX + 2 * AT_ONCE && ac_mailbox_count() == 0; count++) {
        (void)remote_frame_now(remote_of(loop_here), to.peer, FRAME_LEFT, &head, (ac_span){0},
                               FABRIC_ALWAYS);
        if (count % AT_ONCE == 0)
            must(ac_locate_all("server", &holder, 1, ac_after(PATIENCE_S)) >= 0);
    }
    struct ac_exit exit = next_exit();
    must_be(exit.how, AC_LOST);
    must(count > ARRIVALS_MAX - AT_ONCE);
    return unused;
}

static ac_value be_served(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    say();
    return until_the_end(unused);
}

TEST(who_floods_beyond_it_is_lost, .seconds_max = 120) {
    world_begin();
    server_jobs[0] = holds_up;
    peer = child(serving);
    hear(peer);
    struct child foe = child(flood_beyond_it);
    hear(foe);
    hear(peer);
    tell(foe);
    int status;
    must_be(waitpid(foe.pid, &status, 0), foe.pid);
    must_be(status, 0);
    tell(peer);
    struct child friend = child(be_served);
    hear(friend);
    child_end(friend);
    child_end(peer);
    world_end();
}
