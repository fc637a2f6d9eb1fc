// SPDX-License-Identifier: MIT
// What the tests of TLS streams share: settings for both ends, and both handshakes at once.
#ifndef TESTS_IO_SECURE_H
#define TESTS_IO_SECURE_H

#include "io/certificates.h"
#include "io/connect.h"
#include "io/io.h"

static ac_tls *of_server, *of_client;

static inline ac_time soon(void) { return ac_after(20); }

// A case as a coroutine, with certificates and settings for both.
#define TLS_TEST(name_, ...)                                                                       \
    static void name_##_with_settings(void);                                                       \
    static ac_value name_##_coro(ac_value unused) {                                                \
        (void)unused;                                                                              \
        name_##_with_settings();                                                                   \
        return ac_nil;                                                                             \
    }                                                                                              \
    TEST(name_, __VA_ARGS__) {                                                                     \
        make_settings();                                                                           \
        run(name_##_coro);                                                                         \
        end_settings();                                                                            \
    }                                                                                              \
    static void name_##_with_settings(void)

static inline void make_settings(void) {
    certificates_make();
    ck_assert_int_eq(ac_tls_create(&of_server, .certificate = "server.pem", .key = "server.key"),
                     0);
    ck_assert_int_eq(ac_tls_create(&of_client, .trust = "ca.pem"), 0);
}

static inline void end_settings(void) {
    ac_tls_destroy(of_server);
    ac_tls_destroy(of_client);
    certificates_end();
}

// ---- somebody who does something with a stream of his own ----

struct party {
    ac_stream *stream;
    ac_tls *settings;
    ac_time deadline;
    long result;
    struct ac_event done;
};

static inline ac_value accept_tls(ac_value party) {
    struct party *it = ac_pointer_of(party);
    it->result = ac_tls_accept(it->stream, it->settings, it->deadline);
    ac_event_set(&it->done);
    return ac_nil;
}

// Both handshakes at once; their results.
static inline int shake(ac_stream *client, ac_tls *client_settings, const char *host,
                        ac_stream *server, ac_tls *server_settings, long *accepted) {
    struct party it = {.stream = server, .settings = server_settings, .deadline = soon()};
    ck_assert_int_eq(ac_ref_error(ac_spawn(accept_tls, (void *)&it)), 0);
    int connected = ac_tls_connect(client, client_settings, host, soon());
    if (connected < 0) // the server may be waiting for what never comes
        ck_assert_int_eq(ac_sleep(0), 0);
    ck_assert_int_eq(ac_event_wait(&it.done, soon()), 0);
    *accepted = it.result;
    return connected;
}

static ac_stream *client, *server;

static inline void connect_tls(void) {
    long accepted;
    connect_pair(&client, &server);
    ck_assert_int_eq(shake(client, of_client, "localhost", server, of_server, &accepted), 0);
    ck_assert_int_eq(accepted, 0);
}

static inline void close_both(void) {
    ac_close(client);
    ac_close(server);
}

static inline void expect(ac_stream *from, const char *text) {
    char came[64] = "";
    size_t length = strlen(text);
    ck_assert_int_eq(ac_read_exactly(from, came, length, soon(), NULL), (long)length);
    ck_assert_mem_eq(came, text, length);
}

// Bytes of which each tells where it belongs.
static inline void fill(uint8_t *bytes, size_t count) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1103515245 + 12345;
        bytes[i] = (uint8_t)(state >> 16);
    }
}

#endif
