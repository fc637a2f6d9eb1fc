// SPDX-License-Identifier: MIT
// Tests of what strangers may cost: time, places, memory, the processor. A stranger here is a bare
// socket, or a TLS client of OpenSSL.
#include "fabric/rig.h"

#include <malloc.h>
#include <openssl/ssl.h>

TEST(random_bytes_get_nothing_but_an_end) {
    struct side *a = side_of(1);
    unsigned seed = 5;
    for (int round = 0; round < 40; round++) {
        uint8_t bytes[3000];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = round == 0 ? 0xff : (uint8_t)rand_r(&seed);
        int fd = raw_connect(side_port(a));
        rig_for(0.002);
        (void)!send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        ck_assert(hangs_up(fd, 6));
        close(fd);
    }
    rig_until(a->fabric->strangers.count == 0, 1);
    ck_assert_int_eq(a->met, 0);
    still_works(a);
    rig_close_all();
}

TEST(a_stranger_that_says_nothing_is_out_after_five_seconds) {
    struct side *a = side_of(1);
    int silent = raw_connect(side_port(a)), slow = raw_connect(side_port(a));
    double start = rig_seconds();
    // A drop now and then does not help: the limit is for all of it.
    static const uint8_t record[5] = {22, 3, 1, 0x3f, 0xff};
    for (int i = 0; i < 5; i++) {
        (void)!send(slow, &record[i], 1, MSG_NOSIGNAL);
        rig_for(0.5);
    }
    ck_assert_int_eq(a->fabric->strangers.count, 2);
    ck_assert(hangs_up(silent, TEST_PATIENCE_S));
    ck_assert(hangs_up(slow, TEST_PATIENCE_S));
    ck_assert_double_gt(rig_seconds() - start, 4.5);
    close(silent);
    close(slow);
    rig_close_all();
}

TEST(a_stranger_cannot_make_us_read_much) {
    struct side *a = side_of(1);
    int fd = raw_connect(side_port(a));
    rig_for(0.01);
    // A client hello that never ends: records of 16 KiB full of handshake.
    static uint8_t record[5 + 16384] = {22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff};
    size_t sent = 0;
    double end = rig_seconds() + 6;
    while (rig_seconds() < end) {
        ssize_t put = send(fd, record, sizeof record, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN)
            break;
        sent += put > 0 ? (size_t)put : 0;
        rig_turn();
    }
    ck_assert_double_lt(rig_seconds(), end - 1.5); // before its time is up
    rig_until(a->fabric->strangers.count == 0, 1);
    close(fd);
    still_works(a);
    rig_close_all();
}

TEST(silent_strangers_have_a_limit_and_keep_no_friend_out) {
    struct side *a = side_of(1);
    enum { COUNT = STRANGERS_MAX + 20 };
    int fds[COUNT], open_fds = 0;
    for (int i = 0; i < COUNT; i++)
        fds[i] = raw_connect(side_port(a));
    // The oldest had to go.
    rig_until(a->fabric->strangers.refused == COUNT - STRANGERS_MAX, 5);
    ck_assert_int_eq(a->fabric->strangers.count, STRANGERS_MAX);
    rig_for(0.1); // they are told
    for (int i = 0; i < COUNT; i++) {
        char byte;
        bool open = recv(fds[i], &byte, 1, 0) < 0 && errno == EAGAIN;
        ck_assert(open || i < COUNT - STRANGERS_MAX); // the oldest had to go
        open_fds += open;
    }
    ck_assert_int_eq(open_fds, STRANGERS_MAX);
    still_works(a); // although all places are taken by the silent
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_until(a->fabric->strangers.count == 0, 1);
    rig_close_all();
}

// Who says nothing has no TLS yet; who has begun its handshake goes last.
TEST(the_silent_go_before_those_that_have_begun) {
    struct side *a = side_of(1);
    enum { COUNT = STRANGERS_MAX + 20 };
    int fds[COUNT], first = raw_connect(side_port(a));
    rig_until(a->fabric->strangers.count == 1, 5);
    ck_assert_int_eq(send(first, "\x16\x03\x01\x01\x00", 5, MSG_NOSIGNAL), 5);
    rig_until(a->fabric->strangers.begun == 1, 5);
    for (int i = 0; i < COUNT; i++)
        fds[i] = raw_connect(side_port(a));
    rig_until(a->fabric->strangers.refused > 0, 5);
    rig_for(0.2);
    char byte;
    ck_assert(recv(first, &byte, 1, 0) < 0 && errno == EAGAIN);
    ck_assert_uint_eq(a->fabric->strangers.begun, 1);
    list_each (link, &a->fabric->connections) {
        const struct connection *it = container_of(link, struct connection, link);
        ck_assert((it->tls != NULL) == (it->charged > 0));
    }
    close(first);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_until(a->fabric->strangers.count == 0, 5);
    rig_close_all();
}

TEST(what_is_no_record_of_tls_is_out_at_once) {
    static const char *const heads[] = {"GET / HTTP/1.1\r\n\r\n", "\x17\x03\x03\x01\x01",
                                        "\x16\x02\x01\x01\x01", "\x16\x03\x01\x50\x01"};
    struct side *a = side_of(1);
    for (size_t i = 0; i < countof(heads); i++) {
        int fd = raw_connect(side_port(a));
        rig_until(a->fabric->strangers.count == 1, 5);
        ck_assert_int_gt(send(fd, heads[i], strlen(heads[i]), MSG_NOSIGNAL), 0);
        ck_assert(hangs_up(fd, 4)); // before time is up
        close(fd);
    }
    ck_assert_uint_eq(a->fabric->strangers.begun, 0);
    ck_assert_uint_eq(a->fabric->strangers.refused, countof(heads));
    rig_close_all();
}

// All that a stranger costs: nothing said; a record begun. So few that all have begun before the
// first one's time is over, where a handshake takes long.
TEST(a_stranger_costs_little_memory) {
    enum { COUNT = STRANGERS_MAX / 4 };
    static const size_t limits[] = {2 << 10, 96 << 10};
    for (size_t talks = 0; talks < countof(limits); talks++) {
        struct side *a = side_of(1);
        int fds[COUNT];
        rig_for(0.1);
        size_t before = mallinfo2().uordblks;
        for (int i = 0; i < COUNT; i++)
            fds[i] = raw_connect(side_port(a));
        rig_until(a->fabric->strangers.count == COUNT, 5);
        for (int i = 0; talks && i < COUNT; i++)
            ck_assert_int_eq(send(fds[i], "\x16\x03\x01\x02\x00\x01", 6, MSG_NOSIGNAL), 6);
        if (talks)
            rig_until(a->fabric->strangers.begun == COUNT, 5);
        size_t cost = (mallinfo2().uordblks - before) / COUNT;
        if (getenv("TEST_TELLS"))
            fprintf(stderr, "# a stranger that %s: %zu bytes\n", talks ? "talks" : "is silent",
                    cost);
#ifndef __SANITIZE_ADDRESS__
        ck_assert_uint_lt(cost, limits[talks]);
#endif
        for (int i = 0; i < COUNT; i++)
            close(fds[i]);
        rig_until(a->fabric->strangers.count == 0, 5);
        rig_close_all();
    }
}

TEST(handshakes_have_a_rate) {
    struct side *a = side_of(1);
    enum { COUNT = 60 };
    int fds[COUNT];
    struct strangers *all = &a->fabric->strangers;
    rig_for(0.05);
    for (int i = 0; i < COUNT; i++)
        fds[i] = raw_connect(side_port(a));
    rig_until(all->count == COUNT, 5);
    all->handshakes.tokens = 0;
    all->handshakes.filled = fabric_now(a->fabric);
    ac_time begun = all->handshakes.filled;
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(send(fds[i], "\x16\x03\x01\x01\x00", 5, MSG_NOSIGNAL), 5);
    rig_until(all->begun == COUNT, 5);
    ck_assert_int_gt(fabric_now(a->fabric) - begun, (COUNT - 1) * (NS_PER_S / HANDSHAKES_PER_S));
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_until(all->count == 0, 5);
    still_works(a);
    rig_close_all();
}

// A handshake that takes long counts for several; who turns out to be a friend costs nothing.
TEST(handshakes_have_a_share_of_the_processor) {
    struct side *a = side_of(1);
    struct rate *rate = &a->fabric->strangers.handshakes;
    struct connection it = {.fabric = a->fabric, .stranger = true, .charged = 1};
    a->fabric->strangers.count = 1;
    double before = rate->tokens;
    stranger_spent(&it, NS_PER_MS / 10);
    ck_assert_double_eq(rate->tokens, before);
    stranger_spent(&it, 5 * NS_PER_MS);
    ck_assert_double_lt(rate->tokens, before - 9);
    // But not for all the time in which this thread was held up.
    stranger_spent(&it, 100 * NS_PER_S);
    ck_assert_double_ge(rate->tokens, before - HANDSHAKES_PER_S / 2);
    stranger_is_friend(&it);
    ck_assert_double_ge(rate->tokens, before + 1);
    ck_assert_int_eq(a->fabric->strangers.count, 0);
    rig_close_all();
}

// Strangers from there who have come in, and are no connections here.
static struct connection *enter(struct side *side, uint8_t network, uint8_t host) {
    struct sys_address from = {.family = 4, .port = 7, .ip = {network, 0, 2, host}};
    struct connection *it = stranger_enter(side->fabric, &from);
    if (it)
        it->users++;
    return it;
}

TEST(who_comes_from_the_host_of_a_peer_keeps_his_place) {
    struct side *a = side_of(1);
    struct sys_address there = {.family = 4, .port = 9, .ip = {192, 0, 2, 1}};
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 2, &there)), 0);
    struct connection *all[STRANGERS_MAX], *known = enter(a, 192, 1);
    ck_assert(known->peers_host);
    all[0] = known;
    for (uint8_t i = 1; i < STRANGERS_MAX; i++) {
        all[i] = enter(a, 198, i);
        ck_assert(!all[i]->peers_host);
        all[i]->charged = 1; // their handshakes have begun, and his has not
    }
    struct connection *next = enter(a, 198, 100);
    ck_assert(!known->ended && all[1]->ended && !next->ended);
    next->charged = 1;
    struct connection *also = enter(a, 192, 1);
    ck_assert(!known->ended && all[2]->ended && !next->ended && !also->ended);
    // Where all are from hosts of peers another has no place, and one of these has.
    for (int i = 1; i < STRANGERS_MAX; i++)
        all[i]->peers_host = true;
    next->peers_host = true;
    also->charged = 1;
    ck_assert_ptr_null(enter(a, 198, 101));
    ck_assert(!known->ended);
    struct connection *last = enter(a, 192, 1);
    ck_assert(known->ended && !last->ended);
    for (int i = 0; i < STRANGERS_MAX; i++)
        connection_leave(all[i]);
    connection_leave(next);
    connection_leave(also);
    connection_leave(last);
    ck_assert_int_eq(a->fabric->strangers.count, 0);
    rig_close_all();
}

// Others have used up the handshakes of a quarter of a minute; the peer comes again at once.
TEST(handshakes_from_the_host_of_a_peer_have_a_rate_of_their_own) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->linked == 1, 10);
    struct side *c = side_of(3); // from the same host
    a->fabric->strangers.handshakes.tokens = -15 * HANDSHAKES_PER_S;
    side_introduce(c, 1, side_port(a));
    ck_assert_int_eq(side_count(c, 1, 0, 100), 0);
    rig_until(a->frames == 1, 10);
    ck_assert_double_lt(a->fabric->strangers.handshakes.tokens, 0);
    rig_close_all();
}

// What a flood has left in the queue of the system: those who came and went count little.
TEST(who_has_gone_without_a_word_counts_for_a_tenth) {
    enum { COUNT = 1000 };
    struct side *a = side_of(1);
    struct strangers *all = &a->fabric->strangers;
    const struct linger at_once = {.l_onoff = 1};
    rig_for(0.05);
    all->accepts = (struct rate){COUNT, fabric_now(a->fabric)};
    for (int i = 0; i < COUNT; i++) {
        // Who is put out for want of a place has not gone by himself.
        if (i % 20 == 0)
            rig_turn();
        int fd = raw_connect(side_port(a));
        if (i % 10 > 0) // the others go in order
            ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
        close(fd);
    }
    struct side *b = side_of(2);
    side_introduce(b, 1, side_port(a));
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->frames == 1, 10);
    rig_until(all->count == 0, 10);
    ck_assert_double_ge(all->accepts.tokens, COUNT * 0.8);
    rig_close_all();
}

// Such an address cannot be had in a test: those who come in are no connections here.
TEST(an_address_has_few_places_and_a_rate) {
    struct side *a = side_of(1);
    struct connection *in[STRANGERS_PER_ADDRESS_MAX + 1];
    struct sys_address from = {.family = 4, .port = 7, .ip = {192, 0, 2, 1}}, other = from;
    other.ip[3] = 2;
    for (int i = 0; i < STRANGERS_PER_ADDRESS_MAX; i++) {
        ck_assert_ptr_nonnull(in[i] = stranger_enter(a->fabric, &from));
        in[i]->users++;
    }
    ck_assert_ptr_null(stranger_enter(a->fabric, &from));
    ck_assert_ptr_nonnull(in[STRANGERS_PER_ADDRESS_MAX] = stranger_enter(a->fabric, &other));
    in[STRANGERS_PER_ADDRESS_MAX]->users++;
    for (int i = 0; i <= STRANGERS_PER_ADDRESS_MAX; i++)
        connection_leave(in[i]);
    int entered = 0;
    for (int i = 0; i < 10 * ADDRESS_ACCEPTS_PER_S; i++) {
        struct connection *it = stranger_enter(a->fabric, &from);
        if (!it)
            continue;
        entered++;
        it->users++;
        connection_leave(it);
    }
    ck_assert_int_ge(entered, ADDRESS_ACCEPTS_PER_S - STRANGERS_PER_ADDRESS_MAX - 2);
    ck_assert_int_le(entered, ADDRESS_ACCEPTS_PER_S + 10);
    ck_assert_int_eq(a->fabric->strangers.count, 0);
    rig_close_all();
}

// Ten thousand that say nothing: whoever is linked is served meanwhile, and another friend gets in.
TEST(thousands_of_silent_strangers_keep_nobody_out, .seconds_max = 120) {
    enum { COUNT = 10000, AT_ONCE = 200 };
    struct side *a = side_of(1), *b = side_of(2);
    side_introduce(b, 1, side_port(a));
    uint64_t sent = 0;
    ck_assert_int_eq(side_count(b, 1, sent++, 100), 0);
    rig_until(a->frames == 1, 5);
    size_t before = mallinfo2().uordblks, most = 0;
    int fds[AT_ONCE];
    for (int i = 0; i < COUNT; i++) {
        if (i >= AT_ONCE)
            close(fds[i % AT_ONCE]);
        fds[i % AT_ONCE] = raw_connect(side_port(a));
        if (i % 20 == 0 && side_count(b, 1, sent, 100) == 0)
            sent++;
        rig_turn();
        size_t now = mallinfo2().uordblks;
        most = now > before + most ? now - before : most;
        ck_assert_uint_le(a->fabric->strangers.count, STRANGERS_MAX);
    }
    rig_until(a->frames == sent, 5);
    ck_assert_int_eq(a->lost + b->lost + a->disorder, 0);
#ifndef __SANITIZE_ADDRESS__
    ck_assert_uint_lt(most, 4 << 20);
#endif
    struct side *c = side_of(3);
    struct sys_address there = loopback(side_port(a));
    ck_assert_int_eq(rig_in(c, fabric_reach(c->fabric, &there, ac_after(20), c)), 0);
    rig_until(c->reached, 20);
    ck_assert_int_eq(c->reach_err, 0);
    for (int i = 0; i < AT_ONCE; i++)
        close(fds[i]);
    rig_close_all();
}

TEST(a_tls_client_without_the_key_gets_nothing) {
    struct side *a = side_of(1);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        int fd = raw_connect(side_port(a));
        SSL *ssl = SSL_new(context);
        SSL_set_max_proto_version(ssl, version);
        SSL_set_fd(ssl, fd);
        SSL_set_connect_state(ssl);
        double end = rig_seconds() + 2;
        int result, problem;
        do {
            result = SSL_do_handshake(ssl);
            problem = SSL_get_error(ssl, result);
            rig_turn();
        } while (result != 1 && problem == SSL_ERROR_WANT_READ && rig_seconds() < end);
        ck_assert_int_ne(result, 1);
        ck_assert_int_ne(problem, SSL_ERROR_WANT_READ);
        SSL_free(ssl);
        close(fd);
    }
    SSL_CTX_free(context);
    ck_assert_uint_ge(a->fabric->strangers.refused, 1);
    still_works(a);
    rig_close_all();
}
