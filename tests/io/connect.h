// SPDX-License-Identifier: MIT
// What the tests of io/ share: running a case as a coroutine, and connections to ourselves.
#ifndef TESTS_IO_CONNECT_H
#define TESTS_IO_CONNECT_H

#include <stdio.h>
#include <string.h>

#include "test.h"

#include <asyncoro/coro.h>
#include <asyncoro/io.h>

static inline void spawn(ac_function function) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(function, ac_nil)), 0);
}

static inline void run(ac_function function) {
    spawn(function);
    ck_assert_int_eq(ac_run(), 0);
}

// A case that runs as a coroutine of its own loop: CORO_TEST(name) { ... }.
#define CORO_TEST(name_)                                                                           \
    static void name_##_body(void);                                                                \
    static ac_value name_##_coro(ac_value unused) {                                                \
        (void)unused;                                                                              \
        name_##_body();                                                                            \
        return ac_nil;                                                                             \
    }                                                                                              \
    TEST(name_) { run(name_##_coro); }                                                             \
    static void name_##_body(void)

// Listens on a port that the system chooses, and tells the address to connect to.
static inline ac_listener *listen_at(const char *address, char text[AC_ADDRESS_TEXT_BYTES]) {
    ac_listener *listener;
    ck_assert_int_eq(ac_listen(&listener, address), 0);
    ck_assert_int_eq(ac_listener_address(listener, text), 0);
    return listener;
}

// Both ends of a connection. Inside a coroutine.
static inline void connect_pair(ac_stream **client, ac_stream **server) {
    char text[AC_ADDRESS_TEXT_BYTES];
    ac_listener *listener = listen_at("127.0.0.1:0", text);
    ck_assert_int_eq(ac_connect(client, text, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, server, AC_FOREVER), 0);
    ac_listener_close(listener);
}

static inline void write_text(ac_stream *stream, const char *text) {
    long bytes = (long)strlen(text);
    ck_assert_int_eq(ac_write_all(stream, text, (size_t)bytes, AC_FOREVER, NULL), bytes);
}

#endif
