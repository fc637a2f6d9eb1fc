// SPDX-License-Identifier: MIT
// Tests of TLS streams under attack: somebody between who passes on, stops, changes or ends what
// goes there; garbage; words in clear that shall pass for more; keys that change without end.
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "io/secure.h"

// ---- somebody between ----

struct relay {
    ac_stream *from, *to;
    size_t passes;  // bytes, and then it ends the connection; 0: all
    size_t changes; // the byte with this number, counted from 1
    size_t passed;
    struct ac_event goes; // it waits for that before it passes a piece on
    struct ac_event done;
};

static bool over; // the streams between are closed

static ac_value pass_on(ac_value relay) {
    struct relay *it = ac_pointer_of(relay);
    uint8_t bytes[4096];
    long got = 1;
    while (got > 0 && !over) {
        got = ac_read(it->from, bytes, sizeof bytes, AC_FOREVER);
        if (got <= 0 || ac_event_wait(&it->goes, AC_FOREVER) < 0 || over)
            break;
        bool ends = it->passes && it->passed + (size_t)got >= it->passes;
        if (ends)
            got = (long)(it->passes - it->passed);
        if (it->changes > it->passed && it->changes <= it->passed + (size_t)got)
            bytes[it->changes - it->passed - 1] ^= 0x5a;
        it->passed += (size_t)got;
        got = ac_write_all(it->to, bytes, (size_t)got, AC_FOREVER, NULL);
        got = ends ? 0 : got;
    }
    if (!over)
        ac_shutdown(it->to);
    ac_event_set(&it->done);
    return ac_nil;
}

static struct relay to_server, to_client;
static ac_stream *between[2];

// Client and server, and the two ways between them.
static void connect_through(void) {
    memset(&to_server, 0, sizeof to_server);
    memset(&to_client, 0, sizeof to_client);
    over = false;
    connect_pair(&client, &between[0]);
    connect_pair(&between[1], &server);
    to_server.from = to_client.to = between[0];
    to_server.to = to_client.from = between[1];
    ac_event_set(&to_server.goes);
    ac_event_set(&to_client.goes);
}

static void start_between(void) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(pass_on, (void *)&to_server)), 0);
    ck_assert_int_eq(ac_ref_error(ac_spawn(pass_on, (void *)&to_client)), 0);
}

static void end_between(void) {
    over = true;
    ac_event_set(&to_server.goes);
    ac_event_set(&to_client.goes);
    ac_close(between[0]);
    ac_close(between[1]);
    ck_assert_int_eq(ac_event_wait(&to_server.done, soon()), 0);
    ck_assert_int_eq(ac_event_wait(&to_client.done, soon()), 0);
}

static void shake_through(void) {
    long accepted;
    connect_through();
    start_between();
    ck_assert_int_eq(shake(client, of_client, "localhost", server, of_server, &accepted), 0);
    ck_assert_int_eq(accepted, 0);
}

TLS_TEST(a_connection_that_is_cut_is_no_end_of_stream) {
    char text[8];
    shake_through();
    write_text(client, "hello");
    expect(server, "hello");
    end_between();
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -ECONNRESET);
    ck_assert_str_eq(ac_tls_problem(server), "the connection has ended without a goodbye");
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -ECONNRESET);
    close_both();
}

// The wire ends in the midst of a record.
TLS_TEST(half_a_record_is_never_given_out) {
    char text[64];
    shake_through();
    write_text(client, "whole");
    expect(server, "whole");
    to_server.passes = to_server.passed + 20;
    write_text(client, "torn");
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -ECONNRESET);
    end_between();
    close_both();
}

TLS_TEST(a_changed_byte_is_noticed_and_ends_the_connection) {
    char text[64];
    shake_through();
    write_text(client, "whole");
    expect(server, "whole");
    to_server.changes = to_server.passed + 10;
    write_text(client, "changed");
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -EPROTO);
    ck_assert_str_ne(ac_tls_problem(server), "");
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -EPROTO);
    ck_assert_int_eq(ac_write_all(server, "x", 1, soon(), NULL), -EPROTO);
    // And the other side is told.
    ck_assert_int_eq(ac_read(client, text, sizeof text, soon()), -EPROTO);
    end_between();
    close_both();
}

// Whatever byte of a handshake is changed, and wherever it is cut: two errors, or nobody cares.
TLS_TEST(changed_and_torn_handshakes_do_no_harm, .seconds_max = 240) {
    for (size_t at = 1; at < 1300; at += at < 100 ? 9 : 53) {
        for (int way = 0; way < 4; way++) {
            struct relay *which = way & 1 ? &to_server : &to_client;
            connect_through();
            *(way & 2 ? &which->changes : &which->passes) = at;
            start_between();
            struct party it = {.stream = server, .settings = of_server, .deadline = ac_after(0.1)};
            ck_assert_int_eq(ac_ref_error(ac_spawn(accept_tls, (void *)&it)), 0);
            int err = ac_tls_connect(client, of_client, "localhost", ac_after(0.1));
            char text[4];
            if (err == 0) // the server may still have refused it
                err = (int)ac_read(client, text, sizeof text, ac_after(0.02));
            if (err == -ETIMEDOUT)
                end_between();
            ac_close(client);
            ck_assert_int_eq(ac_event_wait(&it.done, soon()), 0);
            ck_assert_msg(err < 0, "%d after %zu, way %d", err, at, way);
            if (err != -ETIMEDOUT)
                end_between();
            ac_close(server);
        }
    }
}

TLS_TEST(garbage_is_refused) {
    uint8_t bytes[3000];
    for (uint32_t seed = 1; seed <= 60; seed++) {
        uint32_t state = seed;
        for (size_t i = 0; i < sizeof bytes; i++) {
            state = state * 1103515245 + 12345;
            bytes[i] = (uint8_t)(state >> 16);
        }
        static const uint8_t head[] = {22, 3, 1, 11, 0, 1}; // as a greeting begins
        if (seed % 2)
            memcpy(bytes, head, seed % 7 < sizeof head ? seed % 7 : sizeof head);
        connect_pair(&client, &server);
        ck_assert_int_eq(ac_write_all(client, bytes, sizeof bytes, soon(), NULL), sizeof bytes);
        ck_assert_int_eq(ac_shutdown(client), 0);
        int err = ac_tls_accept(server, of_server, soon());
        ck_assert_msg(err == -EPROTO || err == -ECONNRESET, "%d from %u", err, seed);
        close_both();
    }
}

// ---- TLS begins later ----

TLS_TEST(what_was_read_ahead_is_the_beginning_of_tls) {
    char line[64];
    uint8_t bytes[2000];
    // A line that somebody between has put before, and TLS after it.
    connect_through();
    start_between();
    write_text(between[1], "PROXY TCP4 or whatever\r\n");
    long accepted;
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), 23);
    ck_assert_int_eq(shake(client, of_client, "localhost", server, of_server, &accepted), 0);
    ck_assert_int_eq(accepted, 0);
    end_between();
    close_both();
    // In one piece: the greeting is taken off the wire first.
    connect_pair(&client, &between[0]);
    connect_pair(&between[1], &server);
    struct party caller = {.stream = server, .settings = of_server, .deadline = soon()};
    ck_assert_int_eq(ac_tls_connect(client, of_client, "localhost", AC_NOW), -ETIMEDOUT);
    long got = ac_read(between[0], bytes + 5, sizeof bytes - 5, soon());
    ck_assert_int_gt(got, 100);
    memcpy(bytes, "TLS\r\n", 5);
    ck_assert_int_eq(ac_write_all(between[1], bytes, (size_t)got + 5, soon(), NULL), got + 5);
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), 4);
    ck_assert_int_eq(ac_ref_error(ac_spawn(accept_tls, (void *)&caller)), 0);
    ck_assert_int_gt(ac_read(between[1], bytes, sizeof bytes, soon()), 500); // an answer to it
    ck_assert_int_eq(bytes[0], 22);
    ac_close(between[1]);
    ck_assert_int_eq(ac_event_wait(&caller.done, soon()), 0);
    ac_close(between[0]);
    close_both();
}

// An attacker says something before, hoping that it will be taken for part of what is said in TLS.
TLS_TEST(what_was_said_in_clear_does_not_pass_for_more) {
    char line[64];
    connect_pair(&client, &server);
    write_text(client, "STARTTLS\r\nDELETE everything\r\n");
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), 9);
    ck_assert_int_eq(ac_tls_accept(server, of_server, soon()), -EPROTO);
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), -EPROTO);
    close_both();
}

// ---- keys that change ----

// A client by the inner functions, whose settings are those of a stream: it can do what streams do
// not.
static void send_output(ac_stream *raw, struct tls *tls) {
    struct buffer bytes;
    buffer_init(&bytes);
    tls_output(tls, &bytes);
    if (bytes.length > 0)
        ck_assert_int_ge(ac_write_all(raw, bytes.bytes, bytes.length, soon(), NULL), 0);
    buffer_done(&bytes);
}

static struct tls *shake_by_hand(ac_stream *raw, char *host) {
    struct tls *tls;
    int err;
    ck_assert_int_eq(trust_connect(of_client, host, &tls), 0);
    while ((err = tls_handshake(tls)) == -EAGAIN) {
        size_t room;
        send_output(raw, tls);
        uint8_t *to = tls_room(tls, &room);
        long got = ac_read(raw, to, room, soon());
        ck_assert_int_gt(got, 0);
        tls_came(tls, (size_t)got);
    }
    ck_assert_int_eq(err, 0);
    send_output(raw, tls);
    return tls;
}

static struct tls *connect_by_hand(char *host, int buffer_bytes) {
    connect_pair(&client, &server);
    if (buffer_bytes) {
        int to = client->object.handle.fd, from = server->object.handle.fd;
        setsockopt(to, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
        setsockopt(from, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    }
    struct party it = {.stream = server, .settings = of_server, .deadline = soon()};
    ck_assert_int_eq(ac_ref_error(ac_spawn(accept_tls, (void *)&it)), 0);
    struct tls *tls = shake_by_hand(client, host);
    ck_assert_int_eq(ac_event_wait(&it.done, soon()), 0);
    ck_assert_int_eq(it.result, 0);
    return tls;
}

TLS_TEST(keys_change_while_both_talk) {
    char host[] = "localhost", text[8];
    struct tls *tls = connect_by_hand(host, 0);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(SSL_key_update(tls_ssl(tls), SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_int_eq(tls_write(tls, "hello", 5), 0);
        send_output(client, tls);
        expect(server, "hello");
        write_text(server, "you");
        // The answer to the change comes before.
        int64_t got;
        while ((got = tls_read(tls, text, sizeof text)) == -EAGAIN) {
            size_t room;
            uint8_t *to = tls_room(tls, &room);
            long came = ac_read(client, to, room, soon());
            ck_assert_int_gt(came, 0);
            tls_came(tls, (size_t)came);
        }
        ck_assert_int_eq(got, 3);
    }
    tls_destroy(tls);
    close_both();
}

TLS_TEST(who_changes_keys_without_end_is_refused) {
    char host[] = "localhost", text[8];
    struct tls *tls = connect_by_hand(host, 0);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(SSL_key_update(tls_ssl(tls), SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_int_eq(SSL_do_handshake(tls_ssl(tls)), 1);
    }
    send_output(client, tls);
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -EPROTO);
    ck_assert_str_eq(ac_tls_problem(server), "too many messages without data");
    tls_destroy(tls);
    close_both();
}

static ac_value read_single_bytes(ac_value party) {
    struct party *it = ac_pointer_of(party);
    char byte;
    while ((it->result = ac_read(it->stream, &byte, 1, soon())) > 0)
        continue;
    ac_event_set(&it->done);
    return ac_nil;
}

// One who changes keys, says a byte, and never reads the answers: we stop reading, and keep no more
// than the limit.
TLS_TEST(who_has_keys_changed_and_reads_no_answers_must_wait, .seconds_max = 120) {
    char host[] = "localhost";
    struct tls *tls = connect_by_hand(host, 8192);
    struct party reader = {.stream = server};
    ck_assert_int_eq(ac_ref_error(ac_spawn(read_single_bytes, (void *)&reader)), 0);
    struct buffer bytes;
    buffer_init(&bytes);
    long put = 0;
    size_t rounds = 0;
    for (; put >= 0 && rounds < 1000; rounds++) {
        for (int i = 0; i < 500; i++) {
            ck_assert_int_eq(SSL_key_update(tls_ssl(tls), SSL_KEY_UPDATE_REQUESTED), 1);
            ck_assert_int_eq(tls_write(tls, "x", 1), 0);
        }
        tls_output(tls, &bytes);
        put = ac_write_all(client, bytes.bytes, bytes.length, ac_after(1), NULL);
        bytes.length = 0;
    }
    ck_assert_int_eq(put, -ETIMEDOUT);
    buffer_done(&bytes);
    tls_destroy(tls);
    ac_close(client);
    ck_assert_int_eq(ac_event_wait(&reader.done, soon()), 0);
    ck_assert_int_lt(reader.result, 0);
    ac_close(server);
}

// ---- no memory for OpenSSL ----

static long scarce; // the allocation with this number, from now on, fails; 0: none

static bool is_scarce(void) { return scarce > 0 && --scarce == 0; }

static void *allocate(size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    return is_scarce() ? NULL : malloc(bytes);
}

static void *resize(void *old, size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    return is_scarce() ? NULL : realloc(old, bytes);
}

static void release(void *it, const char *file, int line) {
    (void)file, (void)line;
    free(it);
}

static ac_value accept_or_close(ac_value party) {
    struct party *it = ac_pointer_of(party);
    it->result = ac_tls_accept(it->stream, it->settings, it->deadline);
    if (it->result == 0)
        it->result = ac_write_all(it->stream, "hello", 5, it->deadline, NULL);
    ac_close(it->stream);
    ac_event_set(&it->done);
    return ac_nil;
}

// Whether an allocation has failed.
static bool talk_with_scarce_memory(long n) {
    char text[8];
    connect_pair(&client, &server);
    struct party it = {.stream = server, .settings = of_server, .deadline = soon()};
    ck_assert_int_eq(ac_ref_error(ac_spawn(accept_or_close, (void *)&it)), 0);
    scarce = n;
    long err = ac_tls_connect(client, of_client, "localhost", soon());
    if (err == 0)
        err = ac_read_exactly(client, text, 5, soon(), NULL);
    bool failed = scarce == 0;
    ac_close(client);
    ck_assert_int_eq(ac_event_wait(&it.done, soon()), 0);
    scarce = 0;
    ck_assert_int_ne(err, 0);
    ck_assert_int_ne(err, -ETIMEDOUT);
    ck_assert(failed || (err == 5 && it.result == 5));
    return failed;
}

static ac_value talk_and_talk(ac_value unused) {
    (void)unused;
    for (long n = 1; talk_with_scarce_memory(n); n += 1 + n / 24)
        continue;
    return ac_nil;
}

TEST(memory_that_openssl_cannot_have_is_an_error_and_nothing_worse, .seconds_max = 120) {
    ck_assert_int_eq(CRYPTO_set_mem_functions(allocate, resize, release), 1);
    make_settings();
    run(talk_and_talk);
    end_settings();
}
