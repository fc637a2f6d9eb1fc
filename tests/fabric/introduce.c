// SPDX-License-Identifier: MIT
// Tests of src/fabric/introduce.c: peers that are told of each other, and what is advertised.
#include "fabric/rig.h"

static struct side *introducer(uint64_t peer) {
    struct fabric_options options = rig_options(peer);
    options.introduces = true;
    return side_open(&options);
}

static void link_to(struct side *from, uint64_t to, struct side *at) {
    uint64_t frames = at->frames;
    side_introduce(from, to, side_port(at));
    ck_assert_int_eq(side_count(from, to, 0, 100), 0);
    rig_until(at->frames == frames + 1, 10);
}

TEST(peers_of_one_that_introduces_get_to_know_each_other) {
    struct side *hub = introducer(1), *a = side_of(2), *b = side_of(3);
    link_to(a, 1, hub);
    link_to(b, 1, hub);
    rig_until(a->met == 2 && b->met == 2, 10);
    ck_assert_int_eq(side_count(a, 3, 0, 100), 0); // not by way of the hub
    rig_until(b->frames == 1, 10);
    ck_assert_int_eq(hub->frames, 2);
    rig_for(0.2);
    ck_assert_int_eq(a->met + b->met, 4);
    rig_close_all();
}

TEST(who_does_not_want_to_introduces_nobody) {
    struct side *hub = side_of(1), *a = side_of(2), *b = side_of(3);
    link_to(a, 1, hub);
    link_to(b, 1, hub);
    rig_for(0.5);
    ck_assert_int_eq(a->met + b->met, 2);
    rig_close_all();
}

TEST(introductions_are_told_again_after_a_break) {
    struct side *hub = introducer(1), *a = side_of(2), *b = side_of(3);
    link_to(a, 1, hub);
    link_to(b, 1, hub);
    rig_until(a->met == 2 && b->met == 2, 10);
    guest_enter(a->guest);
    struct peer *other = peer_find(a->fabric, 3); // is forgotten, as if it had never been told
    (other->state == LINK_NONE ? peer_leave : peer_lose)(other, -ENOTCONN);
    guest_leave(a->guest);
    ck_assert(rig_in(a, fabric_cut(a->fabric, 1)));
    rig_until(a->met == 3, 10);
    ck_assert_int_eq(a->lost, 1); // but not the hub
    rig_close_all();
}

TEST(an_address_to_advertise_is_what_others_are_told) {
    struct fabric_options behind = rig_options(2);
    behind.advertise = "127.0.0.2:4321";
    struct side *hub = introducer(1), *a = side_open(&behind), *b = side_of(3);
    ck_assert_int_eq(fabric_address(a->fabric).port, 4321);
    ck_assert_int_eq(fabric_address(a->fabric).ip[3], 2);
    struct sys_address there = loopback(side_port(hub));
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 1, &there)), 0);
    ck_assert_int_eq(side_count(a, 1, 0, 100), 0);
    rig_until(hub->frames == 1, 10);
    const struct peer *peer = peer_find(hub->fabric, 2);
    ck_assert_int_eq(peer->advertised.port, 4321);
    ck_assert_int_eq(peer->advertised.ip[3], 2);
    link_to(b, 1, hub); // is told of it, finds nobody there, and is found instead
    rig_until(a->met == 2 && b->met == 2, 10);
    rig_close_all();
}

TEST(an_address_to_advertise_is_an_ip_address) {
    static const char *const good[] = {"1.2.3.4", "1.2.3.4:5", "fd00::1", "[fd00::1]",
                                       "[fd00::1]:5"};
    static const char *const bad[] = {"", "host", "host:5", "1.2.3.4:99999", "fe80::1%lo", ":5"};
    for (size_t i = 0; i < countof(good); i++) {
        struct fabric_options options = rig_options(1);
        options.advertise = good[i];
        struct side *side = side_open(&options);
        ck_assert_int_ne(fabric_address(side->fabric).port, 0);
        rig_close_all();
    }
    for (size_t i = 0; i < countof(bad); i++) {
        struct fabric_options options = rig_options(1);
        char text[256];
        int err = 0;
        options.advertise = bad[i];
        struct loop *host = loop_create(&sys_chosen, 1, &err);
        struct guest *guest = guest_create(host, &sys_chosen, &err);
        guest_enter(guest);
        ck_assert_msg(!fabric_open(guest, &options, &rig_door, NULL, &err, text), "%s", bad[i]);
        guest_leave(guest);
        ck_assert_int_eq(err, -EINVAL);
        ck_assert_ptr_nonnull(strstr(text, "advertise"));
        guest_destroy(guest);
        loop_destroy(host);
    }
}

// ---- parting ----

TEST(what_was_sent_before_a_parting_arrives_and_then_both_lose_each_other) {
    struct side *a, *b;
    rig_pair(&a, &b);
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_int_eq(side_count(a, 2, i, 1000), 0);
    rig_until(b->frames > 0, 10);
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 2)), 0);
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 2)), -EALREADY);
    ck_assert_int_eq(side_count(a, 2, 100, 1000), -EHOSTUNREACH);
    rig_until(a->lost == 1 && b->lost == 1, 10);
    ck_assert_uint_eq(b->frames, 100);
    ck_assert_uint_eq(b->disorder, 0);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_int_eq(b->reason, -ENOTCONN);
    rig_close_all();
}

TEST(who_was_parted_from_stays_away_until_it_is_reached_again) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 10);
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 2)), 0);
    rig_until(a->lost == 1 && b->lost == 1, 10);
    // It can neither come, nor ask, nor be introduced.
    struct sys_address to_a = loopback(side_port(a)), to_b = loopback(side_port(b));
    ck_assert_int_eq(rig_in(b, fabric_reach(b->fabric, &to_a, ac_after(10), b)), 0);
    rig_until(b->reached, 15);
    ck_assert_int_eq(b->reach_err, -ECONNABORTED);
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0); // to the address that is remembered
    rig_until(b->lost == 2, 10);
    ck_assert_int_eq(b->reason, -ENOTCONN);
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 2, &to_b)), 0);
    rig_for(0.2);
    ck_assert_int_eq(a->met, 1);
    // Until this side wants it.
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &to_b, ac_after(10), a)), 0);
    rig_until(a->reached, 15);
    ck_assert_int_eq(a->reach_err, 0);
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->frames == 1, 10);
    rig_close_all();
}

// A hint that was under way, or comes of a beacon, is true, and changes nothing.
TEST(who_was_parted_from_is_not_brought_back_by_a_hint) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 10);
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 2)), 0);
    rig_until(a->lost == 1 && b->lost == 1, 10);
    for (uint64_t beacon = 0; beacon < 2; beacon++) { // by an introduction, by a beacon
        struct sys_address to_b = loopback(side_port(b));
        guest_enter(a->guest);
        hint_take(a->fabric, 2, &to_b, beacon);
        guest_leave(a->guest);
        ck_assert_uint_eq(map_count(&a->fabric->hinted), 1);
        rig_until(map_count(&a->fabric->hinted) == 0, 10);
    }
    rig_for(0.1);
    ck_assert_int_eq(a->met + a->linked, 2);
    ck_assert_int_eq(peer_find(a->fabric, 2)->state, LINK_NONE);
    rig_close_all();
}

// However many others come to be known.
TEST(who_was_parted_from_is_not_forgotten_for_want_of_room) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 10);
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 2)), 0);
    rig_until(a->lost == 1, 10);
    for (uint64_t id = 3; id < 2 + FABRIC_PEERS_MAX; id++)
        side_introduce(a, id, 9);
    struct sys_address there = loopback(side_port(b));
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 99999, &there)), -ENOSPC);
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 2, &there)), 0);
    ck_assert_uint_eq(a->met, FABRIC_PEERS_MAX); // with the one that was parted from, once
    rig_close_all();
}

TEST(parting_from_one_who_takes_nothing_ends_with_the_grace_time) {
    struct fabric_options hasty = rig_options(1);
    hasty.grace = NS_PER_S / 2;
    struct side *a = side_open(&hasty), *b = side_of(2);
    b->hold = true;
    side_introduce(a, 2, side_port(b));
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 10);
    double begin = rig_seconds();
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 2)), 0);
    rig_until(a->lost == 1 && b->lost == 1, 10);
    ck_assert_double_ge(rig_seconds() - begin, 0.45);
    ck_assert_int_eq(rig_in(a, fabric_part(a->fabric, 3)), -EHOSTUNREACH);
    rig_close_all();
}
