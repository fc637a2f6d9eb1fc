// SPDX-License-Identifier: MIT
// Faults under TLS: settings are made or not, hands are shaken or both sides are told, and what is
// written is read, whole and in order, or one of them is told. (What OpenSSL allocates does not
// fail here: tests/io/trust.c.)
#include "faults.h"

#include "io/certificates.h"

enum { BYTES = 100 << 10 };

static struct {
    char address[AC_ADDRESS_TEXT_BYTES];
    ac_listener *listener;
    ac_tls *of_server, *of_client;
    size_t bytes;
    bool answered;
} net;

static ac_time patience(void) { return ac_after(faults_excuse() ? 1 : 5); }

static void serve_one(ac_stream *stream) {
    static char bytes[BYTES];
    size_t got;
    if (note(ac_tls_accept(stream, net.of_server, patience())) < 0)
        return;
    note(ac_read_exactly(stream, bytes, sizeof bytes, patience(), &got));
    net.bytes += got;
    if (got == sizeof bytes && note(ac_read(stream, bytes, 1, patience())) == 0 &&
        note(ac_write_all(stream, "good\n", 5, patience(), NULL)) == 5)
        note(ac_shutdown(stream));
}

static ac_value serve(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    if (note(ac_accept(net.listener, &stream, patience())) == 0) {
        serve_one(stream);
        ac_close(stream);
    }
    return ac_nil;
}

static void ask(ac_stream *stream) {
    static const char bytes[BYTES];
    char line[16];
    if (note(ac_tls_connect(stream, net.of_client, "localhost", patience())) == 0 &&
        note(ac_write_all(stream, bytes, sizeof bytes, patience(), NULL)) >= 0 &&
        note(ac_shutdown(stream)) == 0 &&
        note(ac_read_line(stream, line, sizeof line, patience())) == 5)
        net.answered = note(ac_read(stream, line, 1, patience())) == 0;
}

static ac_value talk(ac_value unused) {
    (void)unused;
    if (note(ac_listen(&net.listener, "127.0.0.1:0")) < 0)
        return ac_nil;
    ac_stream *stream;
    if (note(ac_listener_address(net.listener, net.address)) == 0 &&
        ac_ref_is(note_ref(ac_spawn(serve, ac_nil))) &&
        note(ac_connect(&stream, net.address, patience())) == 0) {
        ask(stream);
        ac_close(stream);
    }
    note(ac_sleep(0.0005));
    ac_listener_close(net.listener);
    return ac_nil;
}

static void a_talk_in_secret(void) {
    memset(&net, 0, sizeof net);
    bool made = note(ac_tls_create(&net.of_server, .certificate = "server.pem", .key = "server.key",
                                   .protocols = "a,b")) == 0 &&
                note(ac_tls_create(&net.of_client, .trust = "ca.pem", .protocols = "b")) == 0;
    if (made) {
        note_ref(ac_spawn(talk, ac_nil));
        note(ac_run());
    }
    ac_tls_destroy(net.of_server);
    ac_tls_destroy(net.of_client);
    REQUIRE((net.bytes == BYTES && net.answered) || faults_errors() > 0);
}

// As SCENARIO, with certificates, which are made once.
#define SECURE_CASE(case_, kind_)                                                                  \
    TEST(a_talk_in_secret_##case_, .seconds_max = FAULTS_SECONDS_MAX) {                            \
        certificates_make();                                                                       \
        faults_run("a_talk_in_secret", a_talk_in_secret, kind_);                                   \
        certificates_end();                                                                        \
    }

SECURE_CASE(or_a_call_fails, FAULT_CALL)
SECURE_CASE(or_memory_fails, FAULT_MEMORY)
SECURE_CASE(or_memory_is_gone, FAULT_MEMORY_GONE)
SECURE_CASE(interrupted, FAULT_INTERRUPTED)
SECURE_CASE(waiting, FAULT_WAIT)
SECURE_CASE(in_short_writes, FAULT_SHORT)
