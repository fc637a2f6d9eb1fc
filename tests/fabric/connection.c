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
    int turns = 0;
    while (b->frames < 1001 && turns++ < 100)
        rig_turn();
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
        ck_assert(rig_in(a, fabric_cut(a->fabric, 2)));
    }
    rig_until(peer_find(a->fabric, 2)->state == LINK_UP, 5);
    rig_until(peer_find(b->fabric, 1)->state == LINK_UP, 5);
    rig_for(0.2);
    ck_assert_ptr_eq(a->fabric->connections.next, a->fabric->connections.prev);
    ck_assert_ptr_eq(b->fabric->connections.next, b->fabric->connections.prev);
    ck_assert_int_eq(b->disorder, 0);
    // Ticker, listeners, reader and writer.
    ck_assert_uint_le(a->fabric->tasks, 5);
    rig_close_all();
}

TEST(each_side_may_have_a_heartbeat_limit_of_its_own) {
    struct fabric_options one = rig_options(1), two = rig_options(2);
    one.heartbeat = NS_PER_S / 4; // the other keeps the ten seconds
    struct side *a = side_open(&one), *b = side_open(&two);
    side_introduce(a, 2, side_port(b));
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_for(1.5);
    ck_assert_int_eq(b->frames, 1);
    ck_assert_int_eq(a->lost + b->lost, 0);
    rig_close_all();
}

TEST(an_idle_link_sends_heartbeats_and_little_else) {
    struct fabric_options one = rig_options(1), two = rig_options(2);
    one.heartbeat = two.heartbeat = NS_PER_S / 2;
    struct side *a = side_open(&one), *b = side_open(&two);
    side_introduce(a, 2, side_port(b));
    ck_assert_int_eq(side_count(a, 2, 0, 20), 0);
    rig_until(b->frames == 1, 5);
    struct peer *peer = peer_find(a->fabric, 2);
    int heard = 0;
    ac_time last = peer->heard;
    double end = rig_seconds() + 2;
    while (rig_seconds() < end) {
        rig_turn();
        heard += peer->heard != last;
        last = peer->heard;
    }
    ck_assert_int_ge(heard, 10); // one each 0.125 s
    ck_assert_int_le(heard, 24);
    ck_assert_int_eq(a->lost + b->lost, 0);
    rig_close_all();
}
