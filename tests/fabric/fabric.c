// SPDX-License-Identifier: MIT
// Tests of the fabric as a whole: two or more fabrics in one process, over real sockets on
// loopback.
#include "fabric/rig.h"

enum { MANY = 100000 };

TEST(peers_have_a_limit) {
    struct side *a = side_of(1);
    struct sys_address there = loopback(9);
    for (uint64_t id = 2; id < 2 + FABRIC_PEERS_MAX; id++)
        side_introduce(a, id, 9);
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 99999, &there)), -ENOSPC);
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 2, &there)), 0); // is known
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 1, &there)), 0); // is ourselves
    ck_assert_uint_eq(a->met, FABRIC_PEERS_MAX);
    ck_assert_uint_eq(rig_in(a, fabric_peers(a->fabric, NULL, 0)), FABRIC_PEERS_MAX);
    // One that turns out to be gone makes room.
    peer_find(a->fabric, 7)->doubtful = false;
    ck_assert_int_eq(side_send(a, 7, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(a->lost == 1, 2);
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 99999, &there)), 0);
    rig_close_all();
}

TEST(a_frame_arrives) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_send(a, 2, 200, "hello", 5, FABRIC_WINDOW), 0);
    rig_until(b->frames == 1, 5);
    ck_assert_int_eq(b->last_type, 200);
    ck_assert_int_eq(b->last_peer, 1);
    ck_assert_int_eq(b->bytes, 5);
    ck_assert_int_eq(a->met, 1);
    ck_assert_int_eq(a->linked, 1);
    ck_assert_int_eq(b->met, 1);
    ck_assert_int_eq(b->linked, 1);
    rig_close_all();
}

TEST(frames_go_both_ways_over_one_link) {
    struct side *a, *b;
    rig_pair(&a, &b);
    b->echo = true;
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_int_eq(side_count(a, 2, i, 20), 0);
    rig_until(a->frames == 100, 5);
    ck_assert_int_eq(a->disorder + b->disorder, 0);
    ck_assert_int_eq(b->linked, 1);
    rig_close_all();
}

TEST(frames_of_three_parts_and_of_none_arrive) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ac_span parts[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
    ck_assert_int_eq(rig_in(a, fabric_send(a->fabric, 2, 16, parts, 3, FABRIC_WINDOW)), 0);
    ck_assert_int_eq(rig_in(a, fabric_send(a->fabric, 2, 255, NULL, 0, FABRIC_URGENT)), 0);
    rig_until(b->frames == 2, 5);
    ck_assert_int_eq(b->bytes, 5);
    rig_close_all();
}

TEST(what_cannot_be_sent_is_refused) {
    struct side *a, *b;
    static uint8_t large[FRAME_PAYLOAD_MAX + 1];
    rig_pair(&a, &b);
    ck_assert_int_eq(side_send(a, 3, 16, "x", 1, FABRIC_WINDOW), -EHOSTUNREACH);
    ck_assert_int_eq(side_send(a, 1, 16, "x", 1, FABRIC_WINDOW), -EHOSTUNREACH);
    ck_assert_int_eq(side_send(a, 2, 16, large, sizeof large, FABRIC_URGENT), -EMSGSIZE);
    ck_assert_int_eq(side_send(a, 2, 16, large, FRAME_PAYLOAD_MAX, FABRIC_URGENT), 0);
    rig_until(b->bytes == FRAME_PAYLOAD_MAX, 5);
    rig_close_all();
}

// Sends counted frames both ways as fast as the windows let them.
static void exchange(struct side *a, struct side *b, uint64_t count, size_t bytes) {
    uint64_t sent_a = 0, sent_b = 0;
    double end = rig_seconds() + 60;
    while (b->frames < count || a->frames < count) {
        while (sent_a < count && side_count(a, 2, sent_a, bytes) == 0)
            sent_a++;
        while (sent_b < count && side_count(b, 1, sent_b, bytes) == 0)
            sent_b++;
        rig_turn();
        ck_assert_msg(rig_seconds() < end, "%lu and %lu of %lu frames came", (long)a->frames,
                      (long)b->frames, (long)count);
    }
    ck_assert_int_eq(a->disorder + b->disorder, 0);
    ck_assert_int_eq(a->lost + b->lost, 0);
}

TEST(many_small_frames_come_in_order_both_ways, .seconds_max = 120) {
    struct side *a, *b;
    rig_pair(&a, &b);
    side_introduce(b, 1, side_port(a));
    double start = rig_seconds();
    exchange(a, b, MANY, 32);
    double took = rig_seconds() - start;
    printf("%d frames of 32 bytes each way: %.0f frames/s in all\n", MANY, 2 * MANY / took);
    rig_close_all();
}

TEST(large_frames_come_in_order_both_ways, .seconds_max = 120) {
    struct side *a, *b;
    rig_pair(&a, &b);
    side_introduce(b, 1, side_port(a));
    double start = rig_seconds();
    exchange(a, b, 4000, 60000);
    double took = rig_seconds() - start;
    printf("frames of 60,000 bytes each way: %.0f MB/s in all\n", 2 * 4000 * 0.06 / took);
    rig_close_all();
}

TEST(round_trips_are_short) {
    struct side *a, *b;
    rig_pair(&a, &b);
    b->echo = true;
    double start = 0;
    for (uint64_t i = 0; i < 2100; i++) {
        if (i == 100)
            start = rig_seconds();
        if (side_count(a, 2, i, 32) != 0)
            ck_abort();
        rig_until(a->frames == i + 1, 5);
    }
    printf("round trip: %.1f us\n", (rig_seconds() - start) / 2000 * 1e6);
    rig_close_all();
}

TEST(a_full_window_refuses_until_frames_are_taken) {
    struct side *a, *b;
    rig_pair(&a, &b);
    b->hold = true;
    uint64_t sent = 0;
    double end = rig_seconds() + TEST_PATIENCE_S, calm = rig_seconds() + 0.3;
    while (rig_seconds() < calm && rig_seconds() < end) {
        while (side_count(a, 2, sent, 1000) == 0)
            sent++, calm = rig_seconds() + 0.3;
        rig_turn();
        if (b->frames < sent)
            calm = rig_seconds() + 0.3;
    }
    ck_assert_int_gt(sent, FABRIC_WINDOW_BYTES / 1000 - 10);
    ck_assert_int_le(sent * 1000, FABRIC_WINDOW_BYTES);
    ck_assert_int_eq(b->frames, sent);
    ck_assert_int_eq(a->rooms, 0);
    // An urgent one passes.
    ck_assert_int_eq(side_send(a, 2, 99, "!", 1, FABRIC_URGENT), 0);
    rig_until(b->last_type == 99, 5);
    // Taking one frame makes room for one.
    guest_enter(b->guest);
    fabric_taken(b->fabric, 1, 1001);
    guest_leave(b->guest);
    rig_until(a->rooms == 1, 1);
    ck_assert_int_eq(side_count(a, 2, sent, 1000), 0);
    ck_assert_int_eq(side_count(a, 2, sent, 1000), -EAGAIN);
    rig_until(b->frames == sent + 2, 1);
    rig_close_all();
}

// What was taken while there was no connection is told by the greeting of the next one.
TEST(a_window_that_opens_between_two_connections_has_room) {
    struct side *a, *b;
    rig_pair(&a, &b);
    b->hold = true;
    uint64_t sent = 0;
    while (side_count(a, 2, sent, 1000) == 0)
        sent++;
    rig_until(b->frames == sent, 10);
    guest_enter(b->guest);
    bool cut = fabric_cut(b->fabric, 1);
    fabric_taken(b->fabric, 1, sent * 1001);
    guest_leave(b->guest);
    ck_assert(cut);
    rig_until(a->rooms == 1, 10);
    ck_assert_int_eq(side_count(a, 2, sent, 1000), 0);
    rig_close_all();
}

TEST(urgent_frames_overtake_those_that_wait) {
    struct side *a, *b;
    rig_pair(&a, &b);
    for (uint64_t i = 0; i < 20; i++)
        ck_assert_int_eq(side_count(a, 2, i, 50000), 0);
    ck_assert_int_eq(side_send(a, 2, 99, "!", 1, FABRIC_URGENT), 0);
    rig_until(b->frames > 0, 5); // the link is still to be opened, so all of them waited
    rig_until(b->frames == 21, 5);
    ck_assert_int_eq(b->disorder, 0);
    ck_assert_int_ne(b->last_type, 99);
    rig_close_all();
}

TEST(too_many_urgent_frames_mean_that_the_peer_hangs) {
    struct fabric_options options = rig_options(1);
    options.grace = 60 * NS_PER_S;
    struct side *a = side_open(&options);
    static uint8_t large[60000];
    // Somebody accepts connections there, and never answers.
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t bytes = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, bytes), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    getsockname(fd, (struct sockaddr *)&at, &bytes);
    side_introduce(a, 2, ntohs(at.sin_port));
    for (int i = 0; i < URGENT_BYTES_MAX / 60000 + 2; i++)
        ck_assert_int_eq(side_send(a, 2, 99, large, sizeof large, FABRIC_URGENT), 0);
    rig_until(a->lost == 1, 2);
    ck_assert_int_eq(a->reason, -ETIMEDOUT);
    rig_close_all();
    close(fd);
}

TEST(a_link_that_is_given_up_is_lost_and_comes_again) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_send(a, 2, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(b->frames == 1, 5);
    fabric_lose(a->fabric, 2, -ENOBUFS);
    ck_assert_int_eq(a->lost, 0);                                    // not from inside
    ck_assert_int_eq(side_send(a, 2, 16, "y", 1, FABRIC_WINDOW), 0); // which is dropped
    rig_until(a->lost == 1 && b->lost == 1, 5);
    ck_assert_int_eq(a->reason, -ENOBUFS);
    ck_assert_int_eq(side_send(a, 2, 18, "z", 1, FABRIC_WINDOW), 0);
    rig_until(b->frames == 2, 5);
    ck_assert_int_eq(b->last_type, 18);
    // Nobody is told of the loss of one that was never met, so it is not to be.
    ck_assert_ptr_nonnull(peer_need(a->fabric, 3));
    fabric_lose(a->fabric, 3, -ENOBUFS);
    ck_assert_int_eq(peer_find(a->fabric, 3)->doom, 0);
    ck_assert_int_eq(a->lost, 1);
    rig_close_all();
}

TEST(a_cut_connection_loses_and_repeats_nothing, .seconds_max = 120) {
    struct side *a, *b;
    rig_pair(&a, &b);
    side_introduce(b, 1, side_port(a));
    enum { COUNT = 60000 };
    uint64_t sent_a = 0, sent_b = 0, cuts = 0, turn = 0;
    double end = rig_seconds() + 60;
    while (b->frames < COUNT || a->frames < COUNT) {
        // Not too many a turn, so that there are many turns however slow the machine is.
        for (int i = 0; i < 300 && sent_a < COUNT; i++)
            sent_a += side_count(a, 2, sent_a, 100 + sent_a % 900) == 0;
        for (int i = 0; i < 300 && sent_b < COUNT; i++)
            sent_b += side_count(b, 1, sent_b, 100 + sent_b % 900) == 0;
        rig_turn();
        if (++turn % 5 == 0)
            cuts += rig_in(a, fabric_cut(a->fabric, 2));
        if (turn % 7 == 0)
            cuts += rig_in(b, fabric_cut(b->fabric, 1));
        ck_assert_msg(rig_seconds() < end, "%ld and %ld frames came after %ld cuts",
                      (long)a->frames, (long)b->frames, (long)cuts);
    }
    rig_for(0.1);
    printf("%lu cuts\n", (unsigned long)cuts);
    ck_assert_int_gt(cuts, 10);
    ck_assert_int_eq(a->frames, COUNT);
    ck_assert_int_eq(b->frames, COUNT);
    ck_assert_int_eq(a->disorder + b->disorder, 0);
    ck_assert_int_eq(a->lost + b->lost, 0);
    ck_assert_int_eq(a->linked + b->linked, 2);
    rig_close_all();
}

TEST(two_that_connect_at_once_get_one_link) {
    for (int round = 0; round < 30; round++) {
        struct side *a = side_of(1), *b = side_of(2);
        side_introduce(a, 2, side_port(b));
        side_introduce(b, 1, side_port(a));
        b->echo = false;
        for (uint64_t i = 0; i < 5; i++) {
            ck_assert_int_eq(side_count(a, 2, i, 100), 0);
            ck_assert_int_eq(side_count(b, 1, i, 100), 0);
        }
        rig_until(a->frames == 5 && b->frames == 5, 5);
        rig_for(0.05);
        ck_assert_int_eq(a->linked, 1);
        ck_assert_int_eq(b->linked, 1);
        ck_assert_int_eq(a->lost + b->lost, 0);
        ck_assert_int_eq(a->disorder + b->disorder, 0);
        rig_close_all();
    }
}

TEST(goodbye_comes_after_everything_else) {
    struct side *a, *b;
    rig_pair(&a, &b);
    for (uint64_t i = 0; i < 900; i++)
        ck_assert_int_eq(side_count(a, 2, i, 1000), 0);
    side_close(a, 5);
    rig_until(b->lost == 1, 5);
    ck_assert_int_eq(b->frames, 900);
    ck_assert_int_eq(b->disorder, 0);
    ck_assert_int_eq(b->reason, -ECONNRESET);
    rig_close_all();
}

TEST(closing_waits_no_longer_than_asked) {
    struct side *a, *b;
    rig_pair(&a, &b);
    b->hold = true;
    ck_assert_int_eq(side_count(a, 2, 0, 1000), 0);
    rig_until(b->frames == 1, 5);
    double start = rig_seconds();
    side_close(a, 0.3);
    ck_assert_double_lt(rig_seconds() - start, 5);
    rig_until(b->lost == 1, 5);
    ck_assert_int_eq(b->reason, -ECONNRESET);
    rig_close_all();
}

TEST(a_peer_that_nobody_listens_for_is_lost_at_once) {
    struct side *a, *b;
    rig_pair(&a, &b);
    peer_find(a->fabric, 2)->doubtful = false; // as if by a beacon
    side_close(b, 1);
    ck_assert_int_eq(side_send(a, 2, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(a->lost == 1, 1);
    ck_assert_int_eq(a->reason, -ECONNRESET); // and not -ETIMEDOUT, nor after the grace time
    ck_assert_int_eq(side_send(a, 2, 16, "x", 1, FABRIC_WINDOW), -EHOSTUNREACH);
    rig_close_all();
}

TEST(what_others_told_of_an_address_proves_no_death) {
    struct fabric_options options = rig_options(1);
    options.grace = NS_PER_S / 2;
    struct side *a = side_open(&options), *b = side_of(2), *c = side_of(3);
    side_introduce(a, 2, side_port(b));
    side_close(b, 1);                   // nobody there
    side_introduce(a, 4, side_port(c)); // somebody else there
    double start = rig_seconds();
    ck_assert_int_eq(side_send(a, 2, 16, "x", 1, FABRIC_WINDOW), 0);
    ck_assert_int_eq(side_send(a, 4, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(a->lost == 2, 2);
    ck_assert_double_ge(rig_seconds() - start, 0.5);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_int_eq(c->frames + c->linked, 0);
    rig_close_all();
}

TEST(another_process_at_the_address_means_that_the_peer_is_gone) {
    struct side *a = side_of(1), *b = side_of(3);
    side_introduce(a, 2, side_port(b));
    peer_find(a->fabric, 2)->doubtful = false;
    ck_assert_int_eq(side_send(a, 2, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(a->lost == 1, 1);
    ck_assert_int_eq(a->reason, -ECONNRESET);
    ck_assert_int_eq(b->frames + b->linked, 0);
    rig_close_all();
}

TEST(our_own_address_is_not_a_peer) {
    struct side *a = side_of(1);
    side_introduce(a, 2, side_port(a));
    peer_find(a->fabric, 2)->doubtful = false;
    ck_assert_int_eq(side_send(a, 2, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(a->lost == 1, 1);
    ck_assert_int_eq(a->linked, 0);
    struct sys_address self = loopback(side_port(a));
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &self, ac_after(1), a)), 0);
    rig_until(a->reached, 2);
    ck_assert_int_eq(a->reach_err, -ELOOP);
    rig_close_all();
}

TEST(a_program_can_be_reached_by_its_address) {
    struct side *a = side_of(1), *b = side_of(2);
    struct sys_address there = loopback(side_port(b));
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &there, ac_after(5), a)), 0);
    rig_until(a->reached, 5);
    ck_assert_int_eq(a->reach_err, 0);
    ck_assert_int_eq(a->reach_peer, 2);
    ck_assert_int_eq(a->linked, 1);
    // Once more: the link is there already.
    a->reached = false;
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &there, ac_after(5), a)), 0);
    rig_until(a->reached, 5);
    ck_assert_int_eq(a->reach_err, 0);
    ck_assert_int_eq(a->linked, 1);
    rig_until(b->linked == 1, 1);
    struct fabric_peer found;
    ck_assert(rig_in(b, fabric_peer_find(b->fabric, 1, &found)));
    ck_assert_str_eq(found.name, "test");
    ck_assert_int_eq(found.address.port, side_port(a));
    ck_assert(found.linked);
    ck_assert_double_ge(found.heard_seconds, 0);
    ck_assert_int_eq(rig_in(b, fabric_peers(b->fabric, &found, 1)), 1);
    rig_close_all();
}

// As that of a program whose file has such a name.
TEST(a_name_that_is_no_text_keeps_nobody_away) {
    struct fabric_options options = rig_options(1);
    options.name = "caf\xe9@host";
    struct side *a = side_open(&options), *b = side_of(2);
    struct sys_address there = loopback(side_port(b));
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &there, ac_after(5), a)), 0);
    rig_until(a->reached && b->linked == 1, 5);
    ck_assert_int_eq(a->reach_err, 0);
    struct fabric_peer found;
    ck_assert(rig_in(b, fabric_peer_find(b->fabric, 1, &found)));
    ck_assert_str_eq(found.name, "caf?@host");
    rig_close_all();
}

TEST(what_cannot_be_reached_gives_an_answer_in_time) {
    struct side *a = side_of(1);
    int fd = socket(AF_INET, SOCK_STREAM, 0); // holds a port, and does not listen
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, bytes), 0);
    getsockname(fd, (struct sockaddr *)&at, &bytes);
    struct sys_address nobody = loopback(ntohs(at.sin_port));
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &nobody, ac_after(2), a)), 0);
    rig_until(a->reached, 1);
    ck_assert_int_eq(a->reach_err, -ECONNREFUSED);
    close(fd);
    // Documentation addresses (RFC 5737) answer nothing, or the network says at once that there is
    // no way.
    struct sys_address nowhere = {.family = 4, .port = 9, .ip = {198, 51, 100, 1}};
    a->reached = false;
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &nowhere, ac_after(0.3), a)), 0);
    rig_until(a->reached, 2);
    ck_assert_int_lt(a->reach_err, 0);
    rig_close_all();
}

// ---- other processes ----

// Runs a fabric in a process of its own, which echoes. Its port comes through the pipe.
static pid_t start_process(uint64_t peer, const struct fabric_options *like, uint16_t *port) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct fabric_options options = *like;
        options.peer = peer;
        struct side *side = side_open(&options);
        side->echo = true;
        uint16_t mine = side_port(side);
        (void)!write(ends[1], &mine, sizeof mine);
        for (;;)
            rig_turn();
    }
    ck_assert_int_eq(read(ends[0], port, sizeof *port), sizeof *port);
    close(ends[0]);
    close(ends[1]);
    return child;
}

static void freeze(pid_t child) {
    int status;
    kill(child, SIGSTOP);
    ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
}

TEST(a_killed_process_is_lost_at_once) {
    uint16_t port;
    struct fabric_options options = rig_options(1);
    pid_t child = start_process(2, &options, &port);
    struct side *a = side_open(&options);
    side_introduce(a, 2, port);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    kill(child, SIGKILL);
    double start = rig_seconds();
    rig_until(a->lost == 1, 2);
    printf("known %.1f ms after the kill\n", (rig_seconds() - start) * 1e3);
    ck_assert_int_eq(a->reason, -ECONNRESET);
    waitpid(child, NULL, 0);
    rig_close_all();
}

TEST(a_killed_process_that_had_connected_is_lost_at_once) {
    uint16_t port;
    struct fabric_options options = rig_options(1);
    pid_t child = start_process(2, &options, &port);
    struct side *a = side_open(&options);
    // The child is told to connect: we only know it by that.
    struct side *c = side_of(3);
    side_introduce(c, 2, port);
    ck_assert_int_eq(side_count(c, 2, 0, 100), 0);
    rig_until(c->frames == 1, 5);
    kill(child, SIGKILL);
    rig_until(c->lost == 1, 2);
    ck_assert_int_eq(c->reason, -ECONNRESET);
    ck_assert_int_eq(a->lost, 0);
    waitpid(child, NULL, 0);
    rig_close_all();
}

// A process of its own stops this one, and after that long the other one, and lets this one go on.
static void hold_up(pid_t other, unsigned seconds) {
    pid_t self = getpid(), helper = fork();
    if (helper == 0) {
        kill(self, SIGSTOP);
        sleep(seconds);
        kill(other, SIGSTOP);
        usleep(100000);
        kill(self, SIGCONT);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(helper, NULL, 0), helper);
}

// What it has sent meanwhile counts as heard when it is read, and not as heard still later.
TEST(a_process_that_freezes_while_this_one_is_held_up_is_lost_in_time) {
    uint16_t port;
    struct fabric_options options = rig_options(1);
    options.heartbeat = 60 * NS_PER_S; // the other one is to wait for us
    pid_t child = start_process(2, &options, &port);
    options.heartbeat = NS_PER_S;
    struct side *a = side_open(&options);
    side_introduce(a, 2, port);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    hold_up(child, 8);
    double start = rig_seconds();
    rig_until(a->lost == 1, 20);
    ck_assert_double_lt(rig_seconds() - start, 5);
    ck_assert_int_eq(a->reason, -ETIMEDOUT);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    rig_close_all();
}

TEST(a_frozen_process_is_lost_within_the_heartbeat_limit) {
    uint16_t port;
    struct fabric_options options = rig_options(1);
    options.heartbeat = 2 * NS_PER_S;
    pid_t child = start_process(2, &options, &port);
    struct side *a = side_open(&options);
    side_introduce(a, 2, port);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    rig_for(4.5); // idle, but well
    ck_assert_int_eq(a->lost, 0);
    freeze(child);
    double start = rig_seconds();
    rig_for(0.1); // what it has said comes
    ac_time heard = rig_in(a, peer_find(a->fabric, 2)->heard);
    rig_until(a->lost == 1, 3);
    ck_assert_int_eq(a->reason, -ETIMEDOUT);
    ck_assert_int_ge(sys_clock() - heard, options.heartbeat);
    ck_assert_double_lt(rig_seconds() - start, 9); // the limit that is not asked for is 10 s
    // When it goes on it learns that it was lost, and the two may meet again.
    kill(child, SIGCONT);
    rig_for(0.3);
    ck_assert_int_eq(side_count(a, 2, 7, 100), 0);
    rig_until(a->frames == 2, 5);
    ck_assert_int_eq(a->linked, 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    rig_close_all();
}

TEST(a_computing_host_does_not_look_hung) {
    struct fabric_options options = rig_options(1);
    options.heartbeat = 3 * NS_PER_S / 2;
    uint16_t port;
    pid_t child = start_process(2, &options, &port);
    struct side *a = side_open(&options);
    side_introduce(a, 2, port);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    // The host's thread does not poll: the guardian drives the guest.
    rig_compute(4);
    rig_for(0.1);
    ck_assert_int_eq(a->lost, 0);
    ck_assert_int_eq(side_count(a, 2, 1, 100), 0);
    rig_until(a->frames == 2, 5);
    ck_assert_int_eq(a->linked, 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    rig_close_all();
}

TEST(a_connection_that_does_not_come_back_is_lost_after_the_grace_time) {
    struct fabric_options options = rig_options(1);
    options.grace = NS_PER_S / 2;
    uint16_t port;
    pid_t child = start_process(2, &options, &port);
    struct side *a = side_open(&options);
    side_introduce(a, 2, port);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    freeze(child);
    double start = rig_seconds();
    ck_assert(rig_in(a, fabric_cut(a->fabric, 2)));
    rig_until(a->lost == 1, 2);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_double_ge(rig_seconds() - start, 0.5);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    rig_close_all();
}

TEST(opening_fails_cleanly_without_memory) {
    struct fabric_options options = rig_options(1);
    int err = 0;
    char text[256];
    struct side side = {0};
    struct loop *host = loop_create(&sys_chosen, 1, &err);
    struct guest *guest = guest_create(host, &sys_chosen, &err);
    options.no_discovery = false;
    options.discovery_port = test_hold_port(NULL);
    struct fabric *fabric = NULL;
    long n = 1;
    for (; !fabric; n++) {
        ck_assert_int_lt(n, 1000);
        guest_enter(guest);
        memory_fail_nth(n);
        fabric = fabric_open(guest, &options, &rig_door, &side, &err, text);
        memory_fail_nth(0);
        guest_leave(guest);
        if (!fabric) {
            ck_assert_int_lt(err, 0);
            ck_assert_int_ne(text[0], 0);
        }
    }
    ck_assert_int_gt(n, 4);
    guest_enter(guest);
    fabric_close(fabric, AC_NOW);
    guest_leave(guest);
    bool closed = false;
    double end = rig_seconds() + TEST_PATIENCE_S;
    while (!closed && rig_seconds() < end) {
        (void)loop_turn(host);
        guest_enter(guest);
        closed = fabric_is_closed(fabric);
        guest_leave(guest);
    }
    ck_assert(closed);
    fabric_free(fabric);
    guest_destroy(guest);
    loop_destroy(host);
}
