// SPDX-License-Identifier: MIT
// Tests of one connection under load: what it costs to be coalesced, and that nothing of it is left
// behind.
#include "fabric/rig.h"

TEST(small_frames_share_a_write) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_until(b->frames == 1, 5);
    for (uint64_t i = 1; i <= 1000; i++)
        ck_assert_int_eq(side_count(a, 2, i, 20), 0);
    struct connection *connection = peer_find(a->fabric, 2)->connection;
    ck_assert_ptr_nonnull(connection);
    int turns = 0; // that bring something
    for (double end = rig_seconds() + TEST_PATIENCE_S; b->frames < 1001 && rig_seconds() < end;) {
        uint64_t before = b->frames;
        rig_turn();
        turns += b->frames > before;
    }
    ck_assert_uint_eq(b->frames, 1001);
    ck_assert_int_lt(turns, 20);
    ck_assert_int_eq(b->disorder, 0);
    rig_close_all();
}

TEST(a_connection_leaves_nothing_behind) {
    struct side *a, *b;
    rig_pair(&a, &b);
    for (uint64_t i = 0; i < 20; i++) {
        ck_assert_int_eq(side_count(a, 2, i, 20), 0);
        rig_until(b->frames == i + 1, 5);
        // As soon as there is a connection: both sides may have opened one, and given both up.
        rig_until(rig_in(a, fabric_cut(a->fabric, 2)), 5);
    }
    rig_until(peer_find(a->fabric, 2)->state == LINK_UP, 5);
    rig_until(peer_find(b->fabric, 1)->state == LINK_UP, 5);
    rig_until(a->fabric->connections.next == a->fabric->connections.prev, 5);
    rig_until(b->fabric->connections.next == b->fabric->connections.prev, 5);
    ck_assert_int_eq(b->disorder, 0);
    // Ticker, listeners, reader and writer.
    rig_until(a->fabric->tasks <= 5, 5);
    rig_close_all();
}

TEST(each_side_may_have_a_heartbeat_limit_of_its_own) {
    struct fabric_options one = rig_options(1), two = rig_options(2);
    one.heartbeat = NS_PER_S; // the other keeps the ten seconds
    struct side *a = side_open(&one), *b = side_open(&two);
    side_introduce(a, 2, side_port(b));
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_for(4);
    ck_assert_int_eq(b->frames, 1);
    ck_assert_int_eq(a->lost + b->lost, 0);
    rig_close_all();
}

TEST(an_idle_link_sends_heartbeats_and_little_else) {
    struct fabric_options one = rig_options(1), two = rig_options(2);
    one.heartbeat = two.heartbeat = NS_PER_S;
    struct side *a = side_open(&one), *b = side_open(&two);
    side_introduce(a, 2, side_port(b));
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_until(b->frames == 1, 5);
    struct peer *peer = peer_find(a->fabric, 2);
    int heard = 0;
    ac_time last = rig_in(a, peer->heard);
    double start = rig_seconds();
    while (heard < 10 && rig_seconds() - start < TEST_PATIENCE_S) {
        rig_turn();
        ac_time now = rig_in(a, peer->heard);
        heard += now != last;
        last = now;
    }
    ck_assert_int_ge(heard, 10);
    ck_assert_double_ge(rig_seconds() - start, 10 * 0.25 / 2); // one each 0.25 s, and few more
    ck_assert_int_eq(a->lost + b->lost, 0);
    rig_close_all();
}

TEST(where_much_came_the_memory_for_it_is_given_back_when_the_link_rests) {
    struct fabric_options one = rig_options(1), two = rig_options(2);
    one.heartbeat = two.heartbeat = NS_PER_S / 2;
    struct side *a = side_open(&one), *b = side_open(&two);
    side_introduce(a, 2, side_port(b));
    for (uint64_t round = 1; round <= 2; round++) {
        for (uint64_t i = 20 * (round - 1); i < 20 * round; i++)
            ck_assert_int_eq(side_count(a, 2, i, 20000), 0);
        rig_until(b->frames == 20 * round, 10);
        const struct connection *connection = peer_find(b->fabric, 1)->connection;
        ck_assert_uint_eq(rig_in(b, connection->plain_more), PLAIN_BYTES);
        rig_until(rig_in(b, connection->plain.capacity) == 0, 10);
        ck_assert_uint_eq(rig_in(b, connection->plain_more), PLAIN_BYTES_FIRST);
    }
    ck_assert_int_eq(a->lost + b->lost, 0);
    rig_close_all();
}

// ---- what is counted ----

static struct fabric_peer peer_of(struct side *side, uint64_t id) {
    struct fabric_peer found;
    ck_assert(rig_in(side, fabric_peer_find(side->fabric, id, &found)));
    return found;
}

TEST(frames_and_bytes_are_counted_on_both_sides) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_uint_eq(peer_of(a, 2).frames_out, 0);
    b->hold = true;
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_int_eq(side_count(a, 2, i, 20), 0);
    ck_assert_uint_eq(peer_of(a, 2).queued_bytes, 60);
    rig_until(b->frames == 3, 5);
    struct fabric_peer at_a = peer_of(a, 2), at_b = peer_of(b, 1);
    ck_assert_uint_eq(at_a.frames_out, 3);
    ck_assert_uint_eq(at_a.bytes_out, 60);
    ck_assert_uint_eq(at_a.queued_bytes, 60); // nobody has taken them
    ck_assert_uint_eq(at_a.frames_in + at_a.bytes_in, 0);
    ck_assert_uint_eq(at_b.frames_in, 3);
    ck_assert_uint_eq(at_b.bytes_in, 60);
    ck_assert_uint_eq(at_b.frames_out + at_b.bytes_out + at_b.queued_bytes, 0);
    guest_enter(b->guest);
    fabric_taken(b->fabric, 1, 60);
    guest_leave(b->guest);
    rig_until(peer_of(a, 2).queued_bytes == 0, 5);
    ck_assert_uint_eq(peer_of(a, 2).reconnects, 0);
    rig_close_all();
}

TEST(connections_that_took_the_place_of_broken_ones_are_counted) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_until(b->frames == 1, 5);
    for (uint64_t i = 1; i <= 2; i++) {
        rig_until(rig_in(a, fabric_cut(a->fabric, 2)), 5);
        ck_assert_int_eq(side_count(a, 2, i, 20), 0);
        rig_until(b->frames == i + 1, 5);
        rig_until(peer_of(a, 2).linked, 5);
    }
    ck_assert_uint_ge(peer_of(a, 2).reconnects, 2);
    ck_assert_uint_eq(peer_of(a, 2).frames_out, 3);
    rig_close_all();
}

TEST(the_round_trip_is_measured_when_a_link_comes_up) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert(peer_of(a, 2).round_trip_seconds < 0);
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_until(peer_of(a, 2).round_trip_seconds > 0, 5);
    rig_until(b->met && peer_of(b, 1).round_trip_seconds > 0, 5);
    ck_assert(peer_of(a, 2).round_trip_seconds < 5);
    rig_close_all();
}

TEST(the_round_trip_is_measured_again_when_it_is_asked_for) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    struct peer *peer = peer_find(a->fabric, 2);
    rig_until(rig_in(a, peer->round_trip) != 0, 5);
    uint64_t asked = rig_in(a, peer->question);
    rig_until(({
                  guest_enter(a->guest);
                  fabric_measure(a->fabric);
                  bool again = peer->question > asked && !peer->answer_due;
                  guest_leave(a->guest);
                  again;
              }),
              5);
    // Not again at once: nobody who asks often makes much of it.
    asked = rig_in(a, peer->question);
    guest_enter(a->guest);
    ac_time before = peer->asked_at;
    for (int i = 0; i < 10; i++)
        fabric_measure(a->fabric);
    bool soon = sys_clock() - before < NS_PER_S / 2; // the computer may have been busy
    bool asks = peer->connection->ask;
    guest_leave(a->guest);
    ck_assert(!(soon && asks));
    rig_close_all();
}

TEST(the_round_trip_is_measured_once_in_the_heartbeat_limit) {
    struct fabric_options one = rig_options(1), two = rig_options(2);
    one.heartbeat = NS_PER_S / 2;
    struct side *a = side_open(&one), *b = side_open(&two);
    side_introduce(a, 2, side_port(b));
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    struct peer *peer = peer_find(a->fabric, 2);
    rig_until(rig_in(a, peer->question) >= 3, 20);
    ck_assert_uint_eq(rig_in(b, peer_find(b->fabric, 1)->question), 1); // its limit is 10 s
    rig_close_all();
}

// ---- when much goes wrong ----

// Numbered frames over links that are lost and opened again: (link << 32 | number), the number from
// 0 on each link.
struct course {
    struct side *side;
    uint64_t link;   // of the sender: how often it lost the peer
    uint64_t number; // of the next frame
    uint64_t came;   // at this side: the last that came
    uint64_t total;  // that came
    uint64_t faults; // out of order, twice, or of a link that was over
    bool up;
};

static struct course courses[2];

static void course_frame(void *up, uint64_t peer, unsigned type, const uint8_t *payload,
                         size_t bytes) {
    struct course *it = up;
    uint64_t frame;
    (void)type;
    memcpy(&frame, payload, sizeof frame);
    bool next = frame == it->came + 1;
    bool first = (frame & UINT32_MAX) == 0 && frame >> 32 > it->came >> 32;
    it->faults += !it->up || !(next || first || (it->total == 0 && frame == 0));
    it->came = frame;
    it->total++;
    fabric_taken(it->side->fabric, peer, bytes);
}

static void course_linked(void *up, uint64_t peer) {
    struct course *it = up;
    (void)peer;
    it->faults += it->up;
    it->up = true;
}

static void course_lost(void *up, uint64_t peer, int reason) {
    struct course *it = up;
    (void)peer, (void)reason;
    it->up = false;
    it->link++;
    it->number = 0;
}

static void course_met(void *up, uint64_t peer) { (void)up, (void)peer; }
static void course_room(void *up, uint64_t peer) { (void)up, (void)peer; }

static const struct fabric_door course_door = {
    .frame = course_frame,
    .met = course_met,
    .linked = course_linked,
    .lost = course_lost,
    .room = course_room,
};

static void course_send(struct course *it, uint64_t to) {
    uint64_t payload[20] = {0};
    guest_enter(it->side->guest);
    ac_span part = {payload, sizeof payload};
    payload[0] = it->link << 32 | it->number; // under the lock: a loss may have come in between
    if (fabric_send(it->side->fabric, to, 16, &part, 1, FABRIC_WINDOW) == 0)
        it->number++;
    guest_leave(it->side->guest);
}

static void course_lose(struct course *it, uint64_t who) {
    guest_enter(it->side->guest);
    struct peer *peer = peer_find(it->side->fabric, who);
    if (peer->state != LINK_NONE)
        peer_lose(peer, -ETIMEDOUT);
    guest_leave(it->side->guest);
}

static void course_open(ac_time grace) {
    for (uint64_t i = 0; i < 2; i++) {
        struct fabric_options options = rig_options(i + 1);
        options.grace = grace;
        courses[i] = (struct course){.side = side_open(&options)};
        guest_enter(courses[i].side->guest);
        courses[i].side->fabric->door = course_door;
        courses[i].side->fabric->up = &courses[i];
        guest_leave(courses[i].side->guest);
    }
    side_introduce(courses[0].side, 2, side_port(courses[1].side));
    side_introduce(courses[1].side, 1, side_port(courses[0].side));
}

static bool courses_are_short(void) {
    return courses[0].total <= 100 || courses[1].total <= 100 ||
           courses[0].link + courses[1].link <= 5;
}

TEST(links_that_are_lost_and_opened_again_hand_up_nothing_of_the_old_one, .seconds_max = 120) {
    unsigned seed = 11;
    course_open(3 * NS_PER_MS);
    double end = rig_seconds() + 6;
    for (int turn = 0; rig_seconds() < end || (courses_are_short() && rig_seconds() < end + 30);
         turn++) {
        struct course *it = &courses[rand_r(&seed) % 2];
        course_send(it, it == courses ? 2 : 1);
        if (rand_r(&seed) % 3 == 0)
            rig_turn();
        if (turn % 100 == 0)
            (void)rig_in(it->side, fabric_cut(it->side->fabric, it == courses ? 2 : 1));
        if (turn % 5000 == 50) // the next connection may be there before the grace time is over
            course_lose(it, it == courses ? 2 : 1);
    }
    printf("%lu and %lu frames over %lu and %lu links\n", (unsigned long)courses[0].total,
           (unsigned long)courses[1].total, (unsigned long)courses[0].link + 1,
           (unsigned long)courses[1].link + 1);
    ck_assert_uint_eq(courses[0].faults + courses[1].faults, 0);
    ck_assert(!courses_are_short());
    rig_close_all();
}

TEST(whichever_allocation_fails_nothing_is_lost_or_repeated, .seconds_max = 120) {
    course_open(60 * NS_PER_S);
    int failed = 0;
    for (long n = 1; n < 400; n++) {
        memory_fail_nth(n % 12 + 1);
        for (int i = 0; i < 3; i++) {
            course_send(&courses[0], 2);
            course_send(&courses[1], 1);
            rig_turn();
        }
        if (n % 3 == 0)
            (void)rig_in(courses[0].side, fabric_cut(courses[0].side->fabric, 2));
        failed += memory_has_failed();
        memory_fail_nth(0);
        rig_for(0.001);
    }
    rig_until(courses[0].total == courses[1].number && courses[1].total == courses[0].number, 10);
    ck_assert_int_gt(failed, 20);
    ck_assert_uint_eq(courses[0].faults + courses[1].faults, 0);
    ck_assert_uint_eq(courses[0].link + courses[1].link, 0);
    rig_close_all();
}
