// SPDX-License-Identifier: MIT
// ZeroMQ with CURVE: PAIR sockets over TCP without limits on what may be queued, each process with
// one thread of its own for input and output. The processes are not bound to cores.
#include "../../far.h"

#include <zmq.h>

static char public_key[41], secret_key[41];
static void *pair;
static uint8_t bytes[FAR_LARGE_BYTES];

static void open_pair(void) {
    int none = 0;
    pair = zmq_socket(zmq_ctx_new(), ZMQ_PAIR);
    far_must(pair && zmq_setsockopt(pair, ZMQ_SNDHWM, &none, sizeof none) == 0 &&
                 zmq_setsockopt(pair, ZMQ_RCVHWM, &none, sizeof none) == 0 &&
                 zmq_setsockopt(pair, ZMQ_CURVE_SECRETKEY, secret_key, 41) == 0,
             "socket");
}

static void put(size_t count) { far_must(zmq_send(pair, bytes, count, 0) == (int)count, "send"); }

// A message as it comes, without a copy of it.
static size_t get(void) {
    zmq_msg_t message;
    far_must(zmq_msg_init(&message) == 0 && zmq_msg_recv(&message, pair, 0) >= 0, "receive");
    size_t count = zmq_msg_size(&message);
    if (count == 8)
        memcpy(bytes, zmq_msg_data(&message), 8);
    zmq_msg_close(&message);
    return count;
}

static void serve(void) {
    char at[64];
    size_t room = sizeof at;
    int one = 1;
    open_pair();
    far_must(zmq_setsockopt(pair, ZMQ_CURVE_SERVER, &one, sizeof one) == 0 &&
                 zmq_bind(pair, "tcp://127.0.0.1:*") == 0 &&
                 zmq_getsockopt(pair, ZMQ_LAST_ENDPOINT, at, &room) == 0,
             "bind");
    far_listens((uint16_t)atoi(strrchr(at, ':') + 1));
    if (strncmp(far.figure, "far-oneway", 10) != 0)
        for (;;)
            put(get());
    for (;;) {
        uint64_t left;
        get();
        memcpy(&left, bytes, sizeof left);
        while (left-- > 0)
            get();
        put(1);
    }
}

static uint64_t roundtrip(uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        put(FAR_BYTES);
        get();
    }
    return n;
}

static uint64_t oneway(uint64_t n) {
    memcpy(bytes, &n, sizeof n);
    put(sizeof n);
    for (uint64_t i = 0; i < n; i++)
        put(far.bytes);
    get();
    return n;
}

static uint64_t calls(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += FAR_CALLERS) {
        for (int i = 0; i < FAR_CALLERS; i++)
            put(FAR_BYTES);
        for (int i = 0; i < FAR_CALLERS; i++)
            get();
    }
    return done;
}

int main(int argc, char **argv) {
    char at[64], own_public[41], own_secret[41];
    far_must(zmq_curve_keypair(public_key, secret_key) == 0 &&
                 zmq_curve_keypair(own_public, own_secret) == 0,
             "keys");
    far_start(argc, argv, serve);
    memcpy(secret_key, own_secret, sizeof secret_key);
    open_pair();
    snprintf(at, sizeof at, "tcp://127.0.0.1:%u", far.port);
    far_must(zmq_setsockopt(pair, ZMQ_CURVE_PUBLICKEY, own_public, 41) == 0 &&
                 zmq_setsockopt(pair, ZMQ_CURVE_SERVERKEY, public_key, 41) == 0 &&
                 zmq_connect(pair, at) == 0,
             "connect");
    far_print(&(struct far_ways){roundtrip, oneway, calls});
    return 0;
}
