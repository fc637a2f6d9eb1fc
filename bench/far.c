// SPDX-License-Identifier: MIT
// Our figures of messages between two processes: values made, encoded, sent, decoded, put into a
// mailbox and received, over a link as ac_network_start makes it.
#include "far_ours.h"

static ac_ref server;

// ---- the server ----

static ac_value echo(ac_value unused) {
    ac_ref to = ac_ref_of(ours_receive());
    (void)unused;
    for (;;)
        must(ac_send(to, ours_receive()), "ac_send");
    return ac_nil;
}

// The client says how many will come.
static ac_value drain(ac_value unused) {
    ac_ref to = ac_ref_of(ours_receive());
    (void)unused;
    for (;;) {
        for (int64_t left = ac_int_of(ours_receive()); left > 0; left--)
            ac_drop(ours_receive());
        must(ac_send(to, true), "ac_send");
    }
    return ac_nil;
}

static ac_value answer(ac_value unused) {
    (void)unused;
    for (;;) {
        ac_value request = ours_receive(), body;
        ac_ref to;
        must(ac_unpack(request, &to, &body), "ac_unpack");
        must(ac_send(to, body), "ac_send");
        ac_drop(request);
    }
    return ac_nil;
}

static void serve(void) {
    far_pin();
    ours_network(0);
    must(ac_register(start(echo, 0), "echo"), "ac_register");
    must(ac_register(start(drain, 0), "drain"), "ac_register");
    must(ac_register(ac_spawn(answer, ac_nil), "answer"), "ac_register");
    ours_listens();
    must(ac_run(), "ac_run");
}

// ---- the client ----

static uint8_t bytes[FAR_LARGE_BYTES];

static uint64_t roundtrip(uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        must(ac_send(server, ac_of_bytes(bytes, FAR_BYTES)), "ac_send");
        ac_drop(ours_receive());
    }
    return n;
}

static uint64_t oneway(uint64_t n) {
    must(ac_send(server, (int64_t)n), "ac_send");
    for (uint64_t i = 0; i < n; i++)
        must(ac_send(server, ac_of_bytes(bytes, far.bytes)), "ac_send");
    ac_drop(ours_receive());
    return n;
}

static uint64_t asked;
static ac_ref asker;

static ac_value ask(ac_value times) {
    for (int64_t left = ac_int_of(times); left > 0; left--) {
        ac_value body;
        must(ac_call(server, ac_of_bytes(bytes, FAR_BYTES), &body, AC_FOREVER), "ac_call");
        ac_drop(body);
    }
    if (--asked == 0)
        must(ac_send(asker, true), "ac_send");
    return ac_nil;
}

static uint64_t calls(uint64_t n) {
    int64_t each = (int64_t)(n / FAR_CALLERS + 1);
    asker = ac_self();
    asked = FAR_CALLERS;
    for (int i = 0; i < FAR_CALLERS; i++)
        start(ask, each);
    ac_drop(ours_receive());
    return (uint64_t)each * FAR_CALLERS;
}

static ac_value measure_all(ac_value unused) {
    bool calling = strcmp(far.figure, "far-calls-1000") == 0;
    bool turning = strcmp(far.figure, "far-roundtrip") == 0;
    (void)unused;
    server = ours_find(far.port, calling ? "answer" : turning ? "echo" : "drain");
    ours_remove_key();
    if (!calling)
        must(ac_send(server, ac_self()), "ac_send");
    far_print(&(struct far_ways){roundtrip, oneway, calls});
    exit(0);
}

int main(int argc, char **argv) {
    ours_make_key();
    far_start(argc, argv, serve);
    far_pin();
    ours_network(0);
    must(ac_ref_error(ac_spawn(measure_all, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
    return 1; // not reached
}
