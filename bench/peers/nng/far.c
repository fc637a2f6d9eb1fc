// SPDX-License-Identifier: MIT
// nng: pair sockets over bare TCP, as Debian's has no TLS, with the largest queues there are;
// messages are handed over without copies. The processes are not bound to cores.
#include "../../far.h"

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

enum { QUEUE = 8192 };

static nng_socket pair;

static void open_pair(void) {
    far_must(nng_pair0_open(&pair) == 0 && nng_socket_set_int(pair, NNG_OPT_SENDBUF, QUEUE) == 0 &&
                 nng_socket_set_int(pair, NNG_OPT_RECVBUF, QUEUE) == 0,
             "socket");
}

static void put(size_t count, uint64_t number) {
    nng_msg *message;
    far_must(nng_msg_alloc(&message, count) == 0, "message");
    memcpy(nng_msg_body(message), &number, sizeof number);
    far_must(nng_sendmsg(pair, message, 0) == 0, "send");
}

static uint64_t get(void) {
    nng_msg *message;
    uint64_t number;
    far_must(nng_recvmsg(pair, &message, 0) == 0, "receive");
    memcpy(&number, nng_msg_body(message), sizeof number);
    nng_msg_free(message);
    return number;
}

static void serve(void) {
    nng_listener listener;
    int port;
    open_pair();
    far_must(nng_listener_create(&listener, pair, "tcp://127.0.0.1:0") == 0 &&
                 nng_listener_start(listener, 0) == 0 &&
                 nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0,
             "listen");
    far_listens((uint16_t)port);
    if (strncmp(far.figure, "far-oneway", 10) != 0)
        for (;;)
            put(FAR_BYTES, get());
    for (;;) {
        for (uint64_t left = get(); left > 0; left--)
            get();
        put(sizeof(uint64_t), 0);
    }
}

static uint64_t roundtrip(uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        put(FAR_BYTES, i);
        get();
    }
    return n;
}

static uint64_t oneway(uint64_t n) {
    put(sizeof n, n);
    for (uint64_t i = 0; i < n; i++)
        put(far.bytes, i);
    get();
    return n;
}

static uint64_t calls(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += FAR_CALLERS) {
        for (int i = 0; i < FAR_CALLERS; i++)
            put(FAR_BYTES, (uint64_t)i);
        for (int i = 0; i < FAR_CALLERS; i++)
            get();
    }
    return done;
}

int main(int argc, char **argv) {
    char at[64];
    far_start(argc, argv, serve);
    open_pair();
    snprintf(at, sizeof at, "tcp://127.0.0.1:%u", far.port);
    far_must(nng_dial(pair, at, NULL, 0) == 0, "connect");
    far_print(&(struct far_ways){roundtrip, oneway, calls});
    return 0;
}
