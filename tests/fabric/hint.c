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
