// SPDX-License-Identifier: MIT
// Tests of src/fabric/hint.c: only who answers where a hint says becomes known, and hints are
// bounded.
#include "fabric/rig.h"

static void hint(struct side *side, uint64_t id, uint16_t port) {
    struct sys_address at = loopback(port);
    guest_enter(side->guest);
    hint_take(side->fabric, id, &at, 1);
    guest_leave(side->guest);
}

TEST(who_answers_where_the_hint_says_becomes_known_at_both_ends) {
    struct side *a = side_of(1), *b = side_of(2);
    hint(a, 2, side_port(b));
    rig_until(a->met == 1 && b->met == 1, 10);
    ck_assert_int_eq(a->linked + b->linked, 0); // it was only asked
    struct fabric_peer found;
    ck_assert(rig_in(a, fabric_peer_find(a->fabric, 2, &found)));
    ck_assert_str_eq(found.name, "test");
    ck_assert(rig_in(b, fabric_peer_find(b->fabric, 1, &found)));
    ck_assert_int_eq(found.address.port, side_port(a));
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->frames == 1, 10);
    ck_assert_int_eq(a->met + b->met, 2);
    rig_close_all();
}

TEST(a_hint_that_does_not_hold_has_no_effect) {
    struct side *a = side_of(1), *b = side_of(2);
    hint(a, 3, side_port(b)); // somebody else listens there
    hint(a, 4, 9);            // nobody does
    hint(a, 1, side_port(b)); // oneself
    hint(a, 0, side_port(b));
    rig_until(map_count(&a->fabric->hinted) == 0, 10);
    ck_assert_ptr_null(peer_find(a->fabric, 3));
    ck_assert_ptr_null(peer_find(a->fabric, 4));
    ck_assert_int_eq(a->met, 0);
    rig_close_all();
}

TEST(a_hint_cannot_move_a_peer_that_is_linked) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 10);
    hint(a, 2, 9);
    rig_until(map_count(&a->fabric->hinted) == 0, 10);
    ck_assert_int_eq(peer_find(a->fabric, 2)->address.port, side_port(b));
    ck_assert_int_eq(a->lost, 0);
    rig_close_all();
}

TEST(hints_are_bounded) {
    struct side *a = side_of(1);
    int fds[1] = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&at, bytes), 0);
    ck_assert_int_eq(listen(fds[0], 64), 0); // and says nothing
    getsockname(fds[0], (struct sockaddr *)&at, &bytes);
    for (uint64_t id = 10; id < 2000; id++)
        hint(a, id, ntohs(at.sin_port));
    ck_assert_uint_le(map_count(&a->fabric->hinted), 256);
    ck_assert_uint_gt(map_count(&a->fabric->hinted), 200);
    ck_assert_uint_le(a->fabric->hints_asked, 16);
    size_t before = map_count(&a->fabric->hinted);
    hint(a, 10, ntohs(at.sin_port)); // one for each peer
    ck_assert_uint_eq(map_count(&a->fabric->hinted), before);
    close(fds[0]);
    rig_close_all(); // with most of them waiting
}

// One who has another key listens where a peer is said to, as beacons say again and again.
TEST(where_somebody_else_listens_it_is_asked_less_and_less_often) {
    uint8_t other[32] = {7};
    struct fabric_options options = rig_options(9);
    options.key = other;
    struct side *a = side_of(1), *b = side_of(2), *foe = side_open(&options);
    for (double end = rig_seconds() + 3.5; rig_seconds() < end; rig_for(0.05))
        hint(a, 3, side_port(foe));
    ck_assert_uint_ge(foe->fabric->strangers.begun, 1);
    ck_assert_uint_le(foe->fabric->strangers.begun, 3); // at once, after 1 s and 2 s more
    hint(a, 2, side_port(b));
    rig_until(a->met == 1, 10); // others are asked at once
    hint(a, 4, side_port(b));
    rig_until(map_count(&a->fabric->hinted) == 0, 10);
    for (size_t i = 0; i < countof(a->fabric->rebuffs); i++)
        a->fabric->rebuffs[i].until = AC_FOREVER;
    hint(a, 4, side_port(b)); // who has our key, and is another
    ck_assert_uint_eq(map_count(&a->fabric->hinted), 0);
    rig_close_all();
}

TEST(pauses_between_two_questions_are_bounded_and_end_when_keys_change) {
    char folder[] = "/tmp/asyncoro-hint-XXXXXX", path[64], text[256];
    uint8_t other[32] = {7};
    struct key_ring ours, theirs = {.count = 1, .keys = {{7}}};
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/key", folder);
    ck_assert_int_eq(key_find(path, &ours, text), 0);
    struct fabric_options options = rig_options(1);
    options.key = NULL;
    options.key_path = path;
    struct side *a = side_open(&options);
    options = rig_options(3);
    options.key = other;
    struct side *b = side_open(&options);
    struct rebuff *it = a->fabric->rebuffs, *end = it + countof(a->fabric->rebuffs);
    hint(a, 3, side_port(b));
    rig_until(map_count(&a->fabric->hinted) == 0, 10);
    while (it < end && it->who == 0)
        it++;
    ck_assert_ptr_ne(it, end);
    for (int i = 0; i < 10; i++) {
        it->until = 0;
        hint(a, 3, side_port(b));
        rig_until(map_count(&a->fabric->hinted) == 0, 10);
    }
    ck_assert_int_eq(it->pause, 64 * NS_PER_S);
    ck_assert_int_gt(it->until, fabric_now(a->fabric) + 30 * NS_PER_S);
    ck_assert_int_eq(key_replace(path, &ours, &theirs, text), 0);
    for (double until = rig_seconds() + 20; a->met == 0; rig_for(0.05)) {
        ck_assert_double_lt(rig_seconds(), until);
        hint(a, 3, side_port(b));
    }
    rig_close_all();
    unlink(path);
    rmdir(folder);
}

TEST(a_peer_that_is_silent_is_asked_whether_it_is_there) {
    struct side *a = side_of(1), *b = side_of(2);
    hint(a, 2, side_port(b));
    rig_until(a->met == 1, 10);
    peer_find(a->fabric, 2)->heard -= 8 * NS_PER_S;
    ac_time heard = peer_find(a->fabric, 2)->heard;
    rig_until(peer_find(a->fabric, 2)->heard > heard, 20); // it is
    ck_assert_int_eq(a->lost, 0);
    side_close(b, 1);
    peer_find(a->fabric, 2)->heard -= 8 * NS_PER_S;
    rig_until(a->lost == 1, 20); // it is not
    ck_assert_int_eq(a->reason, -ECONNRESET);
    struct fabric_peer found;
    ck_assert(!rig_in(a, fabric_peer_find(a->fabric, 2, &found)));
    rig_close_all();
}
