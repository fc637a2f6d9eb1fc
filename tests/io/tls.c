// SPDX-License-Identifier: MIT
// Tests of TLS over memory: two ends, between which the test carries the bytes.
#include "io/io.h"
#include "test.h"

#include <malloc.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef SYS_SANITIZED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const uint8_t secret[32] = "a secret of thirty-two bytes...";
static const uint8_t other_secret[32] = "some other one";

// Carries what one end has for the wire to the other, `step` bytes at a time.
static void carry(struct tls *from, struct tls *to, size_t step) {
    struct buffer bytes;
    buffer_init(&bytes);
    tls_output(from, &bytes);
    ck_assert(!tls_has_output(from));
    for (size_t at = 0; at < bytes.length;) {
        size_t room, count = bytes.length - at;
        uint8_t *place = tls_room(to, &room);
        count = count < step ? count : step;
        if (count > room)
            count = room;
        ck_assert_uint_gt(count, 0);
        memcpy(place, bytes.bytes + at, count);
        tls_came(to, count);
        at += count;
        if (at < bytes.length && room == count)
            ck_abort_msg("more than there is room for");
    }
    buffer_done(&bytes);
}

// Goes on with both handshakes until neither asks for more.
static void shake(struct tls *client, struct tls *server, int *client_result, int *server_result) {
    *client_result = *server_result = -EAGAIN;
    for (int i = 0; i < 10; i++) {
        if (*client_result == -EAGAIN)
            *client_result = tls_handshake(client);
        carry(client, server, 100);
        if (*server_result == -EAGAIN)
            *server_result = tls_handshake(server);
        carry(server, client, 100);
    }
}

static void handshake_between(const uint8_t *one, const char *name, const uint8_t *two,
                              const char *other_name, int *client_result, int *server_result) {
    int err = 0;
    struct tls_context *a = tls_context_create(one, name, &err);
    struct tls_context *b = tls_context_create(two, other_name, &err);
    ck_assert(a && b);
    struct tls *client = tls_create(a, false), *server = tls_create(b, true);
    shake(client, server, client_result, server_result);
    if (*server_result < 0)
        ck_assert_int_ne(tls_problem(server)[0], 0);
    tls_destroy(client);
    tls_destroy(server);
    tls_context_destroy(a);
    tls_context_destroy(b);
}

TEST(two_holders_of_the_secret_agree) {
    int client, server;
    handshake_between(secret, "asyncoro/1/a", secret, "asyncoro/1/a", &client, &server);
    ck_assert_int_eq(client, 0);
    ck_assert_int_eq(server, 0);
}

TEST(another_secret_or_another_name_is_refused_by_both) {
    int client, server;
    handshake_between(secret, "asyncoro/1/a", other_secret, "asyncoro/1/a", &client, &server);
    ck_assert_int_eq(client, -EACCES);
    ck_assert_int_eq(server, -EACCES);
    handshake_between(secret, "asyncoro/1/a", secret, "asyncoro/1/b", &client, &server);
    ck_assert_int_eq(client, -EACCES);
    ck_assert_int_eq(server, -EACCES);
}

// While a secret is being replaced: who has both takes either, and offers the one or the other.
TEST(a_server_takes_each_of_its_secrets) {
    int err, one, two;
    struct tls_context *both = tls_context_create(other_secret, "asyncoro/1/b", &err);
    struct tls_context *old = tls_context_create(secret, "asyncoro/1/a", &err);
    ck_assert_int_eq(tls_context_add(both, secret, "asyncoro/1/a"), 0);
    ck_assert_int_eq(tls_context_add(both, secret, "asyncoro/1/c"), -ENOSPC);
    struct tls_context *clients[] = {old, both, both}, *servers[] = {both, both, old};
    static const char *const names[] = {"asyncoro/1/a", "asyncoro/1/b", "asyncoro/1/a"};
    for (size_t i = 0; i < countof(clients); i++) {
        struct tls *client = tls_create(clients[i], false), *server = tls_create(servers[i], true);
        ck_assert_str_eq(tls_identity(server), "");
        if (i == 2)
            tls_offer(client, 1);
        shake(client, server, &one, &two);
        ck_assert_int_eq(one, 0);
        ck_assert_int_eq(two, 0);
        ck_assert_str_eq(tls_identity(client), names[i]);
        ck_assert_str_eq(tls_identity(server), names[i]);
        tls_destroy(client);
        tls_destroy(server);
    }
    // The connection keeps the context that is let go.
    struct tls *client = tls_create(both, false), *server = tls_create(old, true);
    tls_context_destroy(both);
    tls_context_destroy(old);
    shake(client, server, &one, &two);
    ck_assert_int_eq(one, -EACCES);
    ck_assert_int_eq(two, -EACCES);
    ck_assert_str_eq(tls_identity(client), "asyncoro/1/b");
    tls_destroy(client);
    tls_destroy(server);
}

TEST(a_name_that_is_too_long_is_refused) {
    char name[TLS_IDENTITY_BYTES_MAX + 2];
    int err = 0;
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    ck_assert_ptr_null(tls_context_create(secret, name, &err));
    ck_assert_int_eq(err, -EINVAL);
}

struct ends {
    struct tls_context *context;
    struct tls *client, *server;
};

static struct ends connected(void) {
    int err, one, two;
    struct ends ends = {.context = tls_context_create(secret, "asyncoro/1/a", &err)};
    ends.client = tls_create(ends.context, false);
    ends.server = tls_create(ends.context, true);
    shake(ends.client, ends.server, &one, &two);
    ck_assert_int_eq(one, 0);
    ck_assert_int_eq(two, 0);
    return ends;
}

static void disconnect(struct ends *ends) {
    tls_destroy(ends->client);
    tls_destroy(ends->server);
    tls_context_destroy(ends->context);
}

// Carries what one end has for the wire to the other, `step` bytes at a time or as many as there is
// room for, and has them read each time. How many came.
static size_t pass(struct tls *from, struct tls *to, size_t step, uint8_t *came, size_t max) {
    struct buffer wire;
    size_t count = 0, room;
    int64_t got;
    buffer_init(&wire);
    tls_output(from, &wire);
    for (size_t at = 0; at < wire.length; at += room) {
        uint8_t *place = tls_room(to, &room);
        room = room < step ? room : step;
        room = room < wire.length - at ? room : wire.length - at;
        ck_assert_uint_gt(room, 0);
        memcpy(place, wire.bytes + at, room);
        tls_came(to, room);
        while ((got = tls_read(to, came + count, max - count)) > 0)
            count += (size_t)got;
        ck_assert_int_eq(got, -EAGAIN);
    }
    buffer_done(&wire);
    return count;
}

TEST(bytes_arrive_both_ways_whatever_the_pieces) {
    struct ends ends = connected();
    static uint8_t sent[20000], came[20001]; // one more: never 0 to be read
    for (size_t step = 1; step < 30000; step = step * 5 + 1) {
        for (size_t i = 0; i < sizeof sent; i++)
            sent[i] = (uint8_t)(i * step);
        struct tls *from = step % 2 ? ends.client : ends.server;
        struct tls *to = step % 2 ? ends.server : ends.client;
        ck_assert_int_eq(tls_write(from, sent, sizeof sent), 0);
        ck_assert_uint_eq(pass(from, to, step, came, sizeof came), sizeof sent);
        ck_assert_mem_eq(came, sent, sizeof sent);
        ck_assert_int_eq(tls_read(to, came, 1), -EAGAIN);
    }
    disconnect(&ends);
}

TEST(nothing_of_what_is_sent_can_be_seen) {
    struct ends ends = connected();
    static const char text[] = "nobody shall read this";
    struct buffer wire;
    buffer_init(&wire);
    ck_assert_int_eq(tls_write(ends.client, text, sizeof text), 0);
    tls_output(ends.client, &wire);
    ck_assert_ptr_null(memmem(wire.bytes, wire.length, text + 1, 6));
    buffer_done(&wire);
    disconnect(&ends);
}

TEST(a_changed_byte_is_noticed) {
    for (size_t i = 0; i < 40; i += 3) {
        struct ends ends = connected();
        struct buffer wire;
        size_t room;
        char came[64];
        buffer_init(&wire);
        ck_assert_int_eq(tls_write(ends.client, "hello, world", 12), 0);
        tls_output(ends.client, &wire);
        wire.bytes[i % wire.length] ^= 0x10;
        uint8_t *place = tls_room(ends.server, &room);
        memcpy(place, wire.bytes, wire.length);
        tls_came(ends.server, wire.length);
        int64_t got = tls_read(ends.server, came, sizeof came);
        ck_assert(got == -EPROTO || got == -EAGAIN); // the length was changed: it waits for more
        ck_assert_int_eq(tls_read(ends.server, came, sizeof came), got);
        buffer_done(&wire);
        disconnect(&ends);
    }
}

static size_t room_of(struct tls *tls) {
    size_t room;
    ck_assert_ptr_nonnull(tls_room(tls, &room));
    return room;
}

static void send_much(struct ends *ends, size_t count) {
    static uint8_t much[200000], came[200001];
    ck_assert_int_eq(tls_write(ends->client, much, count), 0);
    ck_assert_uint_eq(pass(ends->client, ends->server, count, came, sizeof came), count);
}

TEST(where_much_comes_there_is_more_room_until_it_rests) {
    struct ends ends = connected();
    size_t first = room_of(ends.server);
    ck_assert_uint_le(first, 4096);
    send_much(&ends, 100);
    ck_assert_uint_eq(room_of(ends.server), first);
    for (int round = 0; round < 3; round++) {
        send_much(&ends, 200000);
        ck_assert_uint_gt(room_of(ends.server), 4 * first);
        size_t before = mallinfo2().uordblks;
        tls_rest(ends.server);
        size_t after = mallinfo2().uordblks;
        // The room, and what OpenSSL had for a record. Sanitizers have an allocator of their own.
        ck_assert(before > after + 40000 || SANITIZED);
        ck_assert_uint_eq(room_of(ends.server), first);
    }
    send_much(&ends, 200000);
    disconnect(&ends);
}

TEST(many_small_pieces_have_memory_until_it_rests) {
    struct ends ends = connected();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50; i++)
            send_much(&ends, 100);
        size_t before = mallinfo2().uordblks;
        tls_rest(ends.server);
        ck_assert(before > mallinfo2().uordblks + 16000 || SANITIZED);
        // A few do not.
        before = mallinfo2().uordblks;
        send_much(&ends, 100);
        ck_assert_uint_lt(mallinfo2().uordblks, before + 16000);
        tls_rest(ends.server);
    }
    disconnect(&ends);
}

TEST(a_record_may_be_read_in_pieces) {
    struct ends ends = connected();
    char came[8];
    ck_assert_int_eq(tls_write(ends.client, "hello", 5), 0);
    carry(ends.client, ends.server, 1000);
    ck_assert_int_eq(tls_read(ends.server, came, 3), 3);
    ck_assert_int_eq(tls_read(ends.server, came, 3), 2);
    ck_assert_int_eq(tls_read(ends.server, came, 3), -EAGAIN);
    disconnect(&ends);
}

TEST(the_end_is_told_each_time) {
    struct ends ends = connected();
    char came[8];
    ck_assert_int_eq(tls_write(ends.client, "hello", 5), 0);
    tls_end(ends.client);
    carry(ends.client, ends.server, 1000);
    ck_assert_int_eq(tls_read(ends.server, came, 3), 3);
    ck_assert_int_eq(tls_read(ends.server, came, 3), 2);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(tls_read(ends.server, came, sizeof came), 0);
    disconnect(&ends);
}

TEST(errors_that_others_have_left_do_no_harm) {
    struct ends ends = connected();
    struct buffer wire;
    size_t room;
    char came[8];
    buffer_init(&wire);
    ERR_raise(ERR_LIB_USER, 1);
    ck_assert_int_eq(tls_write(ends.client, "hello", 5), 0);
    tls_output(ends.client, &wire);
    for (size_t i = 0; i < wire.length; i++) {
        ERR_raise(ERR_LIB_USER, 1);
        ck_assert_int_eq(tls_read(ends.server, came, sizeof came), -EAGAIN);
        *tls_room(ends.server, &room) = wire.bytes[i];
        tls_came(ends.server, 1);
    }
    ck_assert_int_eq(tls_read(ends.server, came, sizeof came), 5);
    buffer_done(&wire);
    disconnect(&ends);
}

TEST(garbage_instead_of_a_handshake_is_refused) {
    int err;
    unsigned seed = 3;
    struct tls_context *context = tls_context_create(secret, "asyncoro/1/a", &err);
    for (int round = 0; round < 200; round++) {
        struct tls *server = tls_create(context, true);
        size_t room;
        uint8_t *place = tls_room(server, &room);
        for (size_t i = 0; i < 600; i++)
            place[i] = round == 0 ? 0xff : (uint8_t)rand_r(&seed);
        tls_came(server, 600);
        int result = tls_handshake(server);
        ck_assert(result == -EACCES || result == -EAGAIN);
        if (round == 0)
            ck_assert_int_eq(result, -EACCES);
        tls_destroy(server);
    }
    tls_context_destroy(context);
}

TEST(without_memory_a_connection_fails_cleanly) {
    int err;
    memory_fail_nth(1);
    ck_assert_ptr_null(tls_context_create(secret, "a", &err));
    ck_assert_int_eq(err, -ENOMEM);
    struct tls_context *context = tls_context_create(secret, "a", &err);
    memory_fail_nth(1);
    ck_assert_ptr_null(tls_create(context, true));
    struct tls *tls = tls_create(context, false);
    size_t room;
    memory_fail_nth(1);
    ck_assert_ptr_null(tls_room(tls, &room));
    memory_fail_nth(1);
    ck_assert_int_eq(tls_handshake(tls), -ENOMEM); // no room for what it has to say
    memory_fail_nth(0);
    tls_destroy(tls);
    tls_context_destroy(context);
}
