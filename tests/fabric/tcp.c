// SPDX-License-Identifier: MIT
// Tests of listening: the greeting, peers that do not keep to the protocol, ports.
#include "fabric/rig.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <sys/resource.h>

TEST(a_fabric_with_another_key_is_a_stranger) {
    static const uint8_t other_key[32] = "another key";
    struct fabric_options options = rig_options(2);
    options.key = other_key;
    options.grace = NS_PER_S / 2;
    struct side *a = side_of(1), *b = side_open(&options);
    struct sys_address there = loopback(side_port(a));
    ck_assert_int_eq(rig_in(b, fabric_reach(b->fabric, &there, ac_after(2), b)), 0);
    rig_until(b->reached, 2);
    ck_assert_int_eq(b->reach_err, -EACCES);
    side_introduce(b, 1, side_port(a));
    ck_assert_int_eq(side_send(b, 1, 16, "x", 1, FABRIC_WINDOW), 0);
    rig_until(b->lost == 1, 2);
    ck_assert_int_eq(b->reason, -ENOTCONN);
    ck_assert_int_eq(a->met + a->frames, 0);
    rig_close_all();
}

// ---- one who holds the key, and does not keep to the protocol ----

struct odd {
    int fd;
    struct tls_context *context;
    struct tls *tls;
};

static void odd_send(struct odd *it) {
    struct buffer out;
    buffer_init(&out);
    tls_output(it->tls, &out);
    if (out.length)
        ck_assert_int_eq(send(it->fd, out.bytes, out.length, MSG_NOSIGNAL), out.length);
    buffer_done(&out);
    rig_turn();
}

static void odd_receive(struct odd *it) {
    size_t room;
    uint8_t *place = tls_room(it->tls, &room);
    ssize_t got = recv(it->fd, place, room, 0);
    if (got > 0)
        tls_came(it->tls, (size_t)got);
    rig_turn();
}

static struct odd odd_connect(struct side *to) {
    struct key_derived derived;
    int err = 0;
    struct odd it = {.fd = raw_connect(to->fabric->port)};
    ck_assert_int_eq(key_derive(rig_key, &derived), 0);
    it.context = tls_context_create(derived.tls, derived.identity, &err);
    it.tls = tls_create(it.context, false);
    while (tls_handshake(it.tls) == -EAGAIN) {
        odd_send(&it);
        odd_receive(&it);
    }
    odd_send(&it);
    return it;
}

static void odd_say(struct odd *it, const void *bytes, size_t count) {
    ck_assert_int_eq(tls_write(it->tls, bytes, count), 0);
    odd_send(it);
}

static void odd_hello(struct odd *it, const struct greeting *hello, int version) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    size_t count = frame_put_greeting(bytes, FRAME_HELLO, hello);
    bytes[FRAME_HEADER_BYTES + 9] = (uint8_t)version;
    odd_say(it, bytes, count);
}

// The type of the next frame, and its greeting if it is one; 0 when the connection is over.
static int odd_hear(struct odd *it, struct greeting *greeting) {
    static uint8_t bytes[FRAME_BYTES_MAX];
    struct frame frame = {0};
    size_t have = 0;
    bool over = false;
    double end = rig_seconds() + 6;
    while (rig_seconds() < end) {
        size_t want = have < FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES
                                                : FRAME_HEADER_BYTES + frame.bytes;
        if (have >= FRAME_HEADER_BYTES && have == want) {
            if (frame.type <= FRAME_REFUSE)
                ck_assert_int_eq(frame_read_greeting(frame.type, bytes + FRAME_HEADER_BYTES,
                                                     frame.bytes, greeting),
                                 0);
            return frame.type;
        }
        int64_t got = tls_read(it->tls, bytes + have, want - have);
        if (got == -EAGAIN) {
            odd_receive(it);
            char byte;
            if (over)
                return 0;
            over = recv(it->fd, &byte, 1, MSG_PEEK) == 0;
            continue;
        }
        ck_assert_int_gt(got, 0);
        have += (size_t)got;
        if (have == FRAME_HEADER_BYTES)
            ck_assert_int_eq(frame_read_header(bytes, &frame), 0);
    }
    ck_abort_msg("no frame came");
    return 0;
}

static void odd_close(struct odd *it) {
    close(it->fd);
    tls_destroy(it->tls);
    tls_context_destroy(it->context);
}

TEST(another_version_is_refused_politely) {
    struct side *a = side_of(1);
    struct odd it = odd_connect(a);
    struct greeting answer;
    odd_hello(&it, &(struct greeting){.peer = 9, .link = 5}, WIRE_VERSION + 1);
    ck_assert_int_eq(odd_hear(&it, &answer), FRAME_REFUSE);
    ck_assert_int_eq(answer.refusal, REFUSE_VERSION);
    ck_assert_int_ne(answer.text[0], 0);
    ck_assert_int_eq(a->met, 0);
    odd_close(&it);
    rig_close_all();
}

TEST(what_cannot_be_granted_is_refused_with_the_reason) {
    struct side *a = side_of(1);
    static const struct {
        struct greeting hello;
        enum refusal refusal;
    } cases[] = {
        {{.peer = 1, .link = 5}, REFUSE_SELF},
        {{.peer = 9, .to = 3, .link = 5}, REFUSE_OTHER},
        {{.peer = 9, .to = 1, .link = 5, .resuming = true}, REFUSE_GONE},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct greeting answer;
        struct odd it = odd_connect(a);
        odd_hello(&it, &cases[i].hello, WIRE_VERSION);
        ck_assert_int_eq(odd_hear(&it, &answer), FRAME_REFUSE);
        ck_assert_int_eq(answer.refusal, cases[i].refusal);
        odd_close(&it);
    }
    ck_assert_int_eq(a->met, 0);
    rig_close_all();
}

// With a port, it sees itself at the address at which it is seen.
static struct odd odd_peer_at(struct side *to, uint64_t id, uint16_t port, bool sees_itself) {
    struct greeting answer, hello = {.peer = id, .to = 1, .link = 5, .heartbeat_ms = 10000};
    struct odd it = odd_connect(to);
    hello.port = port;
    hello.ip_bytes = sees_itself ? 4 : 0;
    memcpy(hello.ip, (uint8_t[]){127, 0, 0, 1}, 4);
    odd_hello(&it, &hello, WIRE_VERSION);
    ck_assert_int_eq(odd_hear(&it, &answer), FRAME_WELCOME);
    ck_assert_int_eq(answer.peer, 1);
    ck_assert_int_eq(answer.link, 5);
    return it;
}

static struct odd odd_peer(struct side *to, uint64_t id) { return odd_peer_at(to, id, 0, false); }

// As when its bytes came at the moment in which it was ended: nothing begins over it.
TEST(a_connection_that_ends_during_its_greeting_becomes_no_link) {
    struct side *a = side_of(1);
    struct odd it = odd_connect(a);
    rig_until(!list_empty(&a->fabric->connections), 5);
    guest_enter(a->guest);
    struct connection *its = container_of(a->fabric->connections.next, struct connection, link);
    its->ended = true;
    guest_leave(a->guest);
    odd_hello(&it, &(struct greeting){.peer = 9, .link = 5}, WIRE_VERSION);
    ck_assert(hangs_up(it.fd, 5));
    rig_until(list_empty(&a->fabric->connections), 5);
    ck_assert_int_eq(a->met + a->linked, 0);
    ck_assert_int_eq(a->fabric->strangers.count, 0);
    odd_close(&it);
    still_works(a);
    rig_close_all();
}

// Who listens nowhere is told of to nobody; what is told goes before the first heartbeat.
TEST(who_listens_at_no_port_is_not_introduced) {
    struct fabric_options options = rig_options(1);
    options.introduces = true;
    struct side *hub = side_open(&options);
    struct greeting none;
    struct odd silent = odd_peer_at(hub, 20, 0, true), one = odd_peer_at(hub, 21, 4321, true);
    ck_assert_int_eq(odd_hear(&one, &none), FRAME_HEARTBEAT);
    struct odd two = odd_peer_at(hub, 22, 0, true);
    ck_assert_int_eq(odd_hear(&two, &none), FRAME_INTRODUCE); // of the one with a port
    ck_assert_int_eq(odd_hear(&two, &none), FRAME_HEARTBEAT);
    odd_close(&silent);
    odd_close(&one);
    odd_close(&two);
    rig_close_all();
}

TEST(the_port_that_is_told_is_that_at_which_it_listens_and_what_is_advertised_stands_apart) {
    struct fabric_options options = rig_options(1);
    options.advertise = "203.0.113.7:4321";
    struct side *a = side_open(&options);
    struct odd it = odd_connect(a);
    struct greeting answer;
    odd_hello(&it, &(struct greeting){.peer = 9, .link = 5}, WIRE_VERSION);
    ck_assert_int_eq(odd_hear(&it, &answer), FRAME_WELCOME);
    ck_assert_int_eq(answer.port, a->fabric->port);
    ck_assert_int_ne(answer.port, 4321);
    ck_assert_int_eq(answer.advertised.port, 4321);
    ck_assert_int_eq(fabric_address(a->fabric).port, 4321);
    odd_close(&it);
    rig_close_all();
    // Without a port it is our own.
    options.advertise = "203.0.113.7";
    a = side_open(&options);
    it = odd_connect(a);
    odd_hello(&it, &(struct greeting){.peer = 9, .link = 5}, WIRE_VERSION);
    ck_assert_int_eq(odd_hear(&it, &answer), FRAME_WELCOME);
    ck_assert_int_eq(answer.advertised.port, a->fabric->port);
    odd_close(&it);
    rig_close_all();
}

TEST(a_breach_of_the_protocol_ends_the_link) {
    struct side *a = side_of(1);
    static const struct frame breaches[] = {
        {.type = FRAME_HELLO},
        {.type = FRAME_TAKEN},                   // without its payload
        {.type = 7},                             // of no known type
        {.type = 16, .sequence = 2},             // the first one is missing
        {.type = 16, .sequence = 0},             // without a number
        {.type = FRAME_HEARTBEAT, .sequence = 1} // with one
    };
    for (size_t i = 0; i < countof(breaches); i++) {
        uint8_t header[FRAME_HEADER_BYTES];
        a->lost = 0;
        struct odd it = odd_peer(a, 20 + i);
        frame_put_header(header, &breaches[i]);
        odd_say(&it, header, sizeof header);
        rig_until(a->lost == 1, 2);
        ck_assert_int_eq(a->reason, -ENOTCONN);
        ck_assert(hangs_up(it.fd, 2));
        odd_close(&it);
    }
    uint8_t ones[64];
    memset(ones, 0xff, sizeof ones);
    struct odd it = odd_peer(a, 40);
    a->lost = 0;
    odd_say(&it, ones, sizeof ones);
    rig_until(a->lost == 1, 2);
    odd_close(&it);
    ck_assert_int_eq(a->frames, 0);
    still_works(a);
    rig_close_all();
}

// Each change of keys that is asked for is answered. Who asks without end and reads nothing is out,
// and costs little meanwhile.
TEST(changes_of_keys_without_end_are_a_breach) {
    struct side *a = side_of(1);
    struct odd it = odd_connect(a);
    struct greeting answer;
    uint8_t heartbeat[FRAME_HEADER_BYTES];
    frame_put_header(heartbeat, &(struct frame){.type = FRAME_HEARTBEAT});
    odd_hello(&it, &(struct greeting){.peer = 9, .link = 5}, WIRE_VERSION);
    ck_assert_int_eq(odd_hear(&it, &answer), FRAME_WELCOME);
    rig_until(a->linked == 1, 5);
    int few = 4096; // bytes that wait in the system on the way to one who reads nothing
    struct connection *connection = peer_find(a->fabric, 9)->connection;
    ck_assert_int_eq(setsockopt(connection->handle.fd, SOL_SOCKET, SO_SNDBUF, &few, sizeof few), 0);
    ck_assert_int_eq(setsockopt(it.fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof few), 0);
    size_t most = 0, rounds = 0;
    for (double end = rig_seconds() + 30; a->lost == 0 && rig_seconds() < end; rounds++) {
        struct buffer out;
        buffer_init(&out);
        (void)SSL_key_update(tls_ssl(it.tls), SSL_KEY_UPDATE_REQUESTED);
        ck_assert_int_eq(tls_write(it.tls, heartbeat, sizeof heartbeat), 0);
        tls_output(it.tls, &out);
        for (size_t at = 0; at < out.length && a->lost == 0;) {
            ssize_t put = send(it.fd, out.bytes + at, out.length - at, MSG_NOSIGNAL);
            at += put > 0 ? (size_t)put : 0;
            rig_turn();
        }
        buffer_done(&out);
        if (a->lost == 0 && tls_output_bytes(connection->tls) > most)
            most = tls_output_bytes(connection->tls);
    }
    ck_assert_int_eq(a->lost, 1);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_uint_gt(rounds, 100);
    ck_assert_uint_le(most, 2 * ANSWERS_BYTES_MAX);
    odd_close(&it);
    rig_close_all();
}

TEST(a_peer_behind_a_translator_is_not_thought_dead_because_it_cannot_be_called_back) {
    struct fabric_options options = rig_options(1);
    options.grace = NS_PER_S / 2;
    struct side *a = side_open(&options);
    struct odd it = odd_peer(a, 30); // it said no IP address, so its address is a guess
    rig_until(a->linked == 1, 1);
    close(it.fd);
    double start = rig_seconds();
    rig_until(a->lost == 1, 2);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_double_ge(rig_seconds() - start, 0.45);
    it.fd = raw_connect(side_port(a));
    odd_close(&it);
    rig_close_all();
}

// ---- ports ----

TEST(a_given_port_that_is_taken_is_an_error) {
    struct side *a = side_of(1);
    struct fabric_options options = rig_options(2);
    int err = 0;
    char text[256];
    options.port = side_port(a);
    guest_enter(a->guest);
    ck_assert_ptr_null(fabric_open(a->guest, &options, &rig_door, a, &err, text));
    guest_leave(a->guest);
    ck_assert_int_eq(err, -EADDRINUSE);
    char number[16];
    snprintf(number, sizeof number, "%u", side_port(a));
    ck_assert_ptr_nonnull(strstr(text, number));
    rig_close_all();
}

TEST(it_listens_on_every_address_or_on_loopback_alone) {
    struct fabric_options options = rig_options(1);
    struct side *a = side_open(&options);
    ck_assert(sys_address_is_loopback(&a->fabric->address));
    struct sys_address local;
    ck_assert_int_eq(sys_local(&a->fabric->listeners[0].handle, &local, NULL), 0);
    ck_assert(sys_address_is_loopback(&local));
    if (a->fabric->listeners[1].handle.sys) {
        ck_assert_int_eq(sys_local(&a->fabric->listeners[1].handle, &local, NULL), 0);
        ck_assert(sys_address_is_loopback(&local));
        ck_assert_int_eq(local.port, side_port(a));
    }
    options = rig_options(2);
    options.loopback_only = false;
    struct side *b = side_open(&options);
    ck_assert_int_ne(side_port(a), side_port(b));
    struct sys_address there = loopback(side_port(b));
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &there, ac_after(2), a)), 0);
    rig_until(a->reached, 2);
    ck_assert_int_eq(a->reach_err, 0);
    rig_close_all();
}

TEST(too_many_open_files_do_not_make_it_spin) {
    struct side *a = side_of(1);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    // Not connected yet: the guardian may accept at any moment.
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct rlimit low = {.rlim_cur = (rlim_t)fd + 1, .rlim_max = limit.rlim_max};
    for (int i = 3; i < fd; i++)
        if (fcntl(i, F_GETFD) < 0)
            (void)dup2(fd, i); // no gaps
    setrlimit(RLIMIT_NOFILE, &low);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(side_port(a))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)connect(fd, (struct sockaddr *)&to, sizeof to);
    clock_t start = clock();
    for (double end = rig_seconds() + 0.3; rig_seconds() < end;) {
        rig_turn();
        usleep(1000);
    }
    ck_assert_int_lt((clock() - start) * 1000 / CLOCKS_PER_SEC, 150); // ms of processor time
    ck_assert_int_eq(a->fabric->strangers.count, 0);
    setrlimit(RLIMIT_NOFILE, &limit);
    rig_until(a->fabric->strangers.count == 1, 1);
    close(fd);
    rig_close_all();
}
