// SPDX-License-Identifier: MIT
// Tests of src/io/secure.c: TLS streams, with both ends here. Where the wire misbehaves: attack.c.
#include <malloc.h>
#include <sys/socket.h>

#include "io/secure.h"

// ---- talking ----

TLS_TEST(a_client_and_a_server_talk) {
    char text[64];
    uint8_t digest[AC_TLS_FINGERPRINT_BYTES] = {0}, none[AC_TLS_FINGERPRINT_BYTES] = {0};
    connect_tls();
    write_text(client, "hello");
    expect(server, "hello");
    write_text(server, "and hello to you");
    expect(client, "and hello to you");
    ck_assert_str_eq(ac_tls_version(client), "TLSv1.3");
    ck_assert_str_eq(ac_tls_cipher(client), ac_tls_cipher(server));
    ck_assert_int_ne(ac_tls_cipher(client)[0], 0);
    ck_assert_str_eq(ac_tls_protocol(client), "");
    ck_assert_str_eq(ac_tls_server_name(server), "localhost");
    ck_assert_str_eq(ac_tls_problem(client), "");
    ck_assert(!ac_tls_resumed(client));
    ck_assert_int_eq(ac_tls_subject(client, text, sizeof text), 0);
    ck_assert_str_eq(text, "CN=server,O=asyncoro");
    ck_assert_int_eq(ac_tls_subject(client, text, 20), -EMSGSIZE);
    ck_assert_int_eq(ac_tls_subject(client, text, 21), 0);
    ck_assert_int_eq(ac_tls_fingerprint(client, digest), 0);
    ck_assert_mem_ne(digest, none, sizeof digest);
    ck_assert_int_eq(ac_tls_subject(server, text, sizeof text), -ENODATA);
    ck_assert_int_eq(ac_tls_fingerprint(server, digest), -ENODATA);
    close_both();
}

CORO_TEST(a_stream_without_tls_knows_nothing_of_it) {
    char text[8];
    uint8_t digest[AC_TLS_FINGERPRINT_BYTES];
    connect_pair(&client, &server);
    ck_assert_str_eq(ac_tls_version(client), "");
    ck_assert_str_eq(ac_tls_cipher(client), "");
    ck_assert_str_eq(ac_tls_protocol(client), "");
    ck_assert_str_eq(ac_tls_server_name(client), "");
    ck_assert_str_eq(ac_tls_problem(client), "");
    ck_assert(!ac_tls_resumed(client));
    ck_assert_int_eq(ac_tls_subject(client, text, sizeof text), -ENOTSUP);
    ck_assert_int_eq(ac_tls_fingerprint(client, digest), -ENOTSUP);
    ck_assert_str_eq(ac_tls_problem(NULL), "");
    ck_assert_int_eq(ac_tls_subject(NULL, text, sizeof text), -EINVAL);
    ck_assert_int_eq(ac_tls_fingerprint(NULL, digest), -EINVAL);
    close_both();
}

TLS_TEST(lines_and_single_bytes_are_the_same_as_ever) {
    char line[32];
    connect_tls();
    for (const char *at = "one\r\ntwo\nthr"; *at; at++)
        ck_assert_int_eq(ac_write_all(client, at, 1, soon(), NULL), 1);
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), 4);
    ck_assert_str_eq(line, "one");
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), 4);
    ck_assert_str_eq(line, "two");
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, ac_after(0.02)), -ETIMEDOUT);
    write_text(client, "ee\n");
    ck_assert_int_eq(ac_read_line(server, line, sizeof line, soon()), 6);
    ck_assert_str_eq(line, "three");
    for (int i = 0; i < 3; i++)
        write_text(client, "abc");
    char byte;
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(ac_read(server, &byte, 1, soon()), 1);
        ck_assert_int_eq(byte, "abc"[i % 3]);
    }
    ck_assert_int_eq(ac_read(server, &byte, 1, AC_NOW), -ETIMEDOUT);
    close_both();
}

enum { LARGE = 5 << 20 };
static uint8_t large[LARGE];

struct transfer {
    ac_stream *stream;
    size_t piece;
    bool writes;
    struct ac_event done;
};

static ac_value transfer(ac_value transfer) {
    struct transfer *it = ac_pointer_of(transfer);
    static uint8_t came[2][64 << 10];
    uint8_t *to = came[it->stream == server];
    for (size_t at = 0; at < LARGE;) {
        size_t count = LARGE - at < it->piece ? LARGE - at : it->piece;
        if (it->writes) {
            ck_assert_int_eq(ac_write_all(it->stream, large + at, count, soon(), NULL),
                             (long)count);
        } else {
            long got = ac_read(it->stream, to, count, soon());
            ck_assert_int_gt(got, 0);
            ck_assert(memcmp(to, large + at, (size_t)got) == 0);
            count = (size_t)got;
        }
        at += count;
    }
    ac_event_set(&it->done);
    return ac_nil;
}

// Each side has one who reads and one who writes.
TLS_TEST(much_goes_both_ways_at_once) {
    static const size_t pieces[][2] = {{64 << 10, 64 << 10}, {1000, 60000}, {LARGE, 4096}};
    fill(large, LARGE);
    for (size_t i = 0; i < countof(pieces); i++) {
        connect_tls();
        struct transfer all[] = {{client, pieces[i][0], true, {0}},
                                 {server, pieces[i][0], true, {0}},
                                 {client, pieces[i][1], false, {0}},
                                 {server, pieces[i][1], false, {0}}};
        for (size_t n = 0; n < countof(all); n++)
            ck_assert_int_eq(ac_ref_error(ac_spawn(transfer, (void *)&all[n])), 0);
        for (size_t n = 0; n < countof(all); n++)
            ck_assert_int_eq(ac_event_wait(&all[n].done, soon()), 0);
        close_both();
    }
}

// ---- whom to trust ----

static void refused(const char *name, const char *host, ac_tls *settings, int err,
                    const char *problem) {
    ac_tls *its;
    char certificate[32], key[32], text[8];
    long accepted;
    snprintf(certificate, sizeof certificate, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    ck_assert_int_eq(ac_tls_create(&its, .certificate = certificate, .key = key), 0);
    connect_pair(&client, &server);
    ck_assert_int_eq(shake(client, settings, host, server, its, &accepted), err);
    ck_assert_str_eq(ac_tls_problem(client), problem);
    // The server has been told why.
    ck_assert_int_eq(accepted, err ? -EACCES : 0);
    if (err) {
        ck_assert_int_eq(ac_read(client, text, sizeof text, soon()), err);
        ck_assert_int_eq(ac_write_all(client, "x", 1, soon(), NULL), err);
        ck_assert_int_eq(ac_shutdown(client), err);
    }
    close_both();
    ac_tls_destroy(its);
}

TLS_TEST(who_is_not_trusted_is_refused) {
    ac_tls *careless;
    certificates_add("old", "DNS:localhost", "ca", -1);
    certificates_add("other", "DNS:other.example,DNS:*.wild.example", "ca", 2);
    certificates_command("openssl req -x509 " CERTIFICATES_KEY " -subj /CN=own -days 2"
                         " -addext subjectAltName=DNS:localhost"
                         " -keyout own.key -out own.pem 2>/dev/null");
    refused("server", "localhost", of_client, 0, "");
    refused("server", "LOCALHOST.", of_client, 0, "");
    refused("server", "127.0.0.1", of_client, 0, "");
    refused("server", "127.0.0.2", of_client, -EKEYREJECTED, "IP address mismatch");
    refused("server", "::1", of_client, -EKEYREJECTED, "IP address mismatch");
    refused("server", "other.example", of_client, -EKEYREJECTED, "hostname mismatch");
    refused("other", "localhost", of_client, -EKEYREJECTED, "hostname mismatch");
    refused("other", "a.wild.example", of_client, 0, "");
    refused("other", "a.b.wild.example", of_client, -EKEYREJECTED, "hostname mismatch");
    refused("old", "localhost", of_client, -EKEYREJECTED, "certificate has expired");
    refused("own", "localhost", of_client, -EKEYREJECTED, "self-signed certificate");
    // Who names nobody trusts the system's.
    refused("server", "localhost", NULL, -EKEYREJECTED, "unable to get local issuer certificate");
    ck_assert_int_eq(ac_tls_create(&careless, .no_verification = true), 0);
    refused("own", "elsewhere", careless, 0, "");
    refused("own", NULL, careless, 0, "");
    ac_tls_destroy(careless);
    ck_assert_int_eq(ac_tls_create(&careless, .trust = "own.pem"), 0);
    refused("own", "localhost", careless, 0, "");
    ac_tls_destroy(careless);
}

static void client_shows(const char *name, enum ac_tls_clients clients, int connects, int accepts,
                         int reads) {
    ac_tls *here, *there;
    char certificate[32], key[32], text[64];
    long accepted;
    snprintf(certificate, sizeof certificate, "%s.pem", name ? name : "");
    snprintf(key, sizeof key, "%s.key", name ? name : "");
    ck_assert_int_eq(ac_tls_create(&here, .trust = "ca.pem", .certificate = name ? certificate : 0,
                                   .key = name ? key : 0),
                     0);
    ck_assert_int_eq(ac_tls_create(&there, .certificate = "server.pem", .key = "server.key",
                                   .trust = "ca.pem", .clients = clients),
                     0);
    connect_pair(&client, &server);
    ck_assert_int_eq(shake(client, here, "localhost", server, there, &accepted), connects);
    ck_assert_int_eq(accepted, accepts);
    if (accepts == 0) {
        ck_assert_int_eq(ac_tls_subject(server, text, sizeof text), name ? 0 : -ENODATA);
        if (name)
            ck_assert_str_eq(text, "CN=friend,O=asyncoro");
        write_text(server, "welcome");
    } else {
        ck_assert_str_ne(ac_tls_problem(server), "");
    }
    ck_assert_int_eq(ac_read(client, text, sizeof text, soon()), reads);
    if (reads < 0)
        ck_assert_str_ne(ac_tls_problem(client), "");
    close_both();
    ac_tls_destroy(here);
    ac_tls_destroy(there);
}

// A client of TLS 1.3 learns only by reading that it is not trusted.
TLS_TEST(clients_show_certificates_if_they_must) {
    certificates_add("friend", "DNS:friend", "ca", 2);
    certificates_command("openssl req -x509 " CERTIFICATES_KEY " -subj /CN=stranger -days 2"
                         " -keyout stranger.key -out stranger.pem 2>/dev/null");
    client_shows(NULL, AC_TLS_ASK, 0, 0, 7);
    client_shows("friend", AC_TLS_ASK, 0, 0, 7);
    client_shows("friend", AC_TLS_DEMAND, 0, 0, 7);
    client_shows(NULL, AC_TLS_DEMAND, 0, -EKEYREJECTED, -EACCES);
    client_shows("stranger", AC_TLS_DEMAND, 0, -EKEYREJECTED, -EACCES);
    client_shows("stranger", AC_TLS_ASK, 0, -EKEYREJECTED, -EACCES);
}

TLS_TEST(what_cannot_be_is_refused_and_leaves_the_stream_as_it_was) {
    char text[4];
    ac_tls *none;
    ck_assert_int_eq(ac_tls_create(&none), 0);
    connect_pair(&client, &server);
    ck_assert_int_eq(ac_tls_connect(NULL, of_client, "localhost", soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_connect(client, of_client, NULL, soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_connect(client, of_client, "", soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_connect(client, of_client, "local host", soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_connect(client, of_client, "localhost:443", soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_connect(client, of_client, ".localhost", soon()), -EINVAL);
    char name[300];
    memset(name, 'a', sizeof name);
    name[256] = 0;
    ck_assert_int_eq(ac_tls_connect(client, of_client, name, soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_accept(server, NULL, soon()), -EINVAL);
    ck_assert_int_eq(ac_tls_accept(server, none, soon()), -EINVAL); // no certificate
    write_text(client, "as");
    expect(server, "as");
    write_text(server, "ever");
    ck_assert_int_eq(ac_read(client, text, sizeof text, soon()), 4);
    close_both();
    ac_tls_destroy(none);
    connect_tls();
    ck_assert_int_eq(ac_tls_connect(client, of_client, "localhost", soon()), -EALREADY);
    ck_assert_int_eq(ac_tls_accept(server, of_server, soon()), -EALREADY);
    close_both();
}

TEST(nothing_is_done_outside_coroutines) {
    make_settings();
    ck_assert_int_eq(ac_tls_connect(ac_input(), of_client, "localhost", AC_FOREVER), -EPERM);
    end_settings();
}

// ---- protocols, names, sessions ----

static void speak(const char *here, const char *there, int err, const char *chosen) {
    ac_tls *one, *two;
    long accepted;
    ck_assert_int_eq(ac_tls_create(&one, .trust = "ca.pem", .protocols = here), 0);
    ck_assert_int_eq(
        ac_tls_create(&two, .certificate = "server.pem", .key = "server.key", .protocols = there),
        0);
    connect_pair(&client, &server);
    ck_assert_int_eq(shake(client, one, "localhost", server, two, &accepted), err);
    ck_assert_int_eq(accepted, err);
    ck_assert_str_eq(ac_tls_protocol(client), chosen);
    ck_assert_str_eq(ac_tls_protocol(server), chosen);
    close_both();
    ac_tls_destroy(one);
    ac_tls_destroy(two);
}

TLS_TEST(the_protocol_is_the_one_that_the_server_likes_best) {
    speak("h2,http/1.1", "http/1.1,h2", 0, "http/1.1");
    speak("http/1.1,h2", "h2,http/1.1", 0, "h2");
    speak("http/1.1", "h2,http/1.1", 0, "http/1.1");
    speak(NULL, "h2", 0, "");
    speak("h2", NULL, 0, "");
    speak("ftp", "h2,http/1.1", -EPROTO, "");
}

static void named(const char *host, const char *subject) {
    char text[64];
    long accepted;
    connect_pair(&client, &server);
    ck_assert_int_eq(shake(client, of_client, host, server, of_server, &accepted), 0);
    ck_assert_int_eq(accepted, 0);
    ck_assert_int_eq(ac_tls_subject(client, text, sizeof text), 0);
    ck_assert_str_eq(text, subject);
    close_both();
}

TLS_TEST(the_server_shows_the_certificate_that_is_asked_for) {
    certificates_add("one", "DNS:one.example", "ca", 2);
    certificates_add("two", "DNS:two.example,DNS:*.two.example", "ca", 2);
    ck_assert_int_eq(ac_tls_add_certificate(of_server, "one.pem", "one.key"), 0);
    ck_assert_int_eq(ac_tls_add_certificate(of_server, "two.pem", "two.key"), 0);
    named("one.example", "CN=one,O=asyncoro");
    named("two.example", "CN=two,O=asyncoro");
    named("www.two.example", "CN=two,O=asyncoro");
    named("localhost", "CN=server,O=asyncoro");
    named("127.0.0.1", "CN=server,O=asyncoro"); // no name is sent
}

// One exchange, in which the client reads what the server has to say of sessions.
static bool resumes(ac_tls *settings, const char *host, ac_tls *others) {
    long accepted;
    connect_pair(&client, &server);
    ck_assert_int_eq(shake(client, settings, host, server, others, &accepted), 0);
    ck_assert_int_eq(accepted, 0);
    write_text(server, "hello");
    expect(client, "hello");
    bool resumed = ac_tls_resumed(client);
    ck_assert_int_eq(ac_tls_resumed(server), resumed);
    ck_assert_str_eq(ac_tls_server_name(server), host[0] == '1' ? "" : "localhost");
    close_both();
    return resumed;
}

TLS_TEST(a_session_is_resumed_with_the_same_host_and_settings) {
    char text[64];
    ac_tls *no, *other;
    ck_assert(!resumes(of_client, "localhost", of_server));
    ck_assert(resumes(of_client, "localhost", of_server));
    ck_assert(resumes(of_client, "LocalHost", of_server));
    ck_assert(!resumes(of_client, "127.0.0.1", of_server));
    ck_assert(resumes(of_client, "127.0.0.1", of_server));
    // The certificate of the first is known.
    connect_pair(&client, &server);
    long accepted;
    ck_assert_int_eq(shake(client, of_client, "localhost", server, of_server, &accepted), 0);
    ck_assert(ac_tls_resumed(client));
    ck_assert_int_eq(ac_tls_subject(client, text, sizeof text), 0);
    close_both();
    ck_assert_int_eq(ac_tls_create(&no, .trust = "ca.pem", .no_resumption = true), 0);
    ck_assert(!resumes(no, "localhost", of_server));
    ck_assert(!resumes(no, "localhost", of_server));
    ac_tls_destroy(no);
    ck_assert_int_eq(
        ac_tls_create(&no, .certificate = "server.pem", .key = "server.key", .no_resumption = true),
        0);
    ck_assert_int_eq(ac_tls_create(&other, .trust = "ca.pem"), 0);
    ck_assert(!resumes(other, "localhost", no));
    ck_assert(!resumes(other, "localhost", no));
    // What one server has given another does not take.
    ck_assert(!resumes(other, "localhost", of_server));
    ck_assert(!resumes(other, "localhost", no));
    ac_tls_destroy(no);
    ac_tls_destroy(other);
}

TLS_TEST(settings_live_as_long_as_their_connections) {
    connect_tls();
    ac_tls_destroy(of_client);
    ac_tls_destroy(of_server);
    write_text(client, "hello");
    expect(server, "hello");
    write_text(server, "hello");
    expect(client, "hello");
    close_both();
    of_client = of_server = NULL;
}

// ---- ends ----

TLS_TEST(the_end_of_writing_is_told_and_the_other_half_goes_on) {
    char text[4];
    connect_tls();
    write_text(client, "question");
    ck_assert_int_eq(ac_shutdown(client), 0);
    ck_assert_int_eq(ac_write_all(client, "x", 1, soon(), NULL), -EPIPE);
    expect(server, "question");
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), 0);
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), 0);
    write_text(server, "answer");
    ac_close(server);
    expect(client, "answer");
    ck_assert_int_eq(ac_read(client, text, sizeof text, soon()), 0);
    ac_close(client);
}

TLS_TEST(closing_tells_the_end_too) {
    char text[4];
    connect_tls();
    write_text(client, "x");
    ac_close(client);
    expect(server, "x");
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), 0);
    ac_close(server);
}

// A client that reads nothing is given sessions to resume, and closes: what it wrote must arrive.
TLS_TEST(who_only_writes_and_closes_is_heard) {
    uint8_t bytes[1000], came[1000];
    fill(bytes, sizeof bytes);
    for (int i = 0; i < 20; i++) {
        connect_tls();
        ck_assert_int_eq(ac_write_all(client, bytes, sizeof bytes, soon(), NULL), sizeof bytes);
        ac_close(client);
        ck_assert_int_eq(ac_sleep(0.001), 0);
        ck_assert_int_eq(ac_read_exactly(server, came, sizeof came, soon(), NULL), sizeof came);
        ck_assert_mem_eq(came, bytes, sizeof bytes);
        ck_assert_int_eq(ac_read(server, came, 1, soon()), 0);
        ac_close(server);
    }
}

static ac_value read_until_closed(ac_value party) {
    struct party *it = ac_pointer_of(party);
    char text[4];
    it->result = ac_read(it->stream, text, sizeof text, AC_FOREVER);
    ac_event_set(&it->done);
    return ac_nil;
}

TLS_TEST(closing_wakes_who_waits_and_a_second_reader_is_refused) {
    char text[4];
    struct party reader = {0};
    connect_tls();
    reader.stream = client;
    ck_assert_int_eq(ac_ref_error(ac_spawn(read_until_closed, (void *)&reader)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_read(client, text, sizeof text, AC_NOW), -EBUSY);
    ac_close(client);
    ck_assert_int_eq(ac_event_wait(&reader.done, soon()), 0);
    ck_assert_int_eq(reader.result, -EBADF);
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), 0); // it was told
    ac_close(server);
    connect_pair(&client, &server);
    reader = (struct party){.stream = client};
    ck_assert_int_eq(ac_ref_error(ac_spawn(read_until_closed, (void *)&reader)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_tls_connect(client, of_client, "localhost", soon()), -EBUSY);
    close_both();
    ck_assert_int_eq(ac_event_wait(&reader.done, soon()), 0);
}

// ---- time, and being cancelled ----

TLS_TEST(a_handshake_has_its_deadline_and_cannot_be_taken_up_again) {
    char text[4];
    connect_pair(&client, &server);
    ck_assert_int_eq(ac_tls_accept(server, of_server, ac_after(0.05)), -ETIMEDOUT);
    ck_assert_int_eq(ac_read(server, text, sizeof text, soon()), -ECONNABORTED);
    ck_assert_int_eq(ac_write_all(server, "x", 1, soon(), NULL), -ECONNABORTED);
    ck_assert_str_eq(ac_tls_problem(server), "the handshake was given up");
    ck_assert_int_eq(ac_tls_connect(client, of_client, "localhost", AC_NOW), -ETIMEDOUT);
    close_both();
    // One who says a byte now and then gets no more time by that.
    connect_pair(&client, &server);
    struct party it = {.stream = server, .settings = of_server, .deadline = ac_after(0.1)};
    ck_assert_int_eq(ac_ref_error(ac_spawn(accept_tls, (void *)&it)), 0);
    static const char greeting[] = {22, 3, 1, 1, 0};
    for (size_t i = 0; it.result == 0 && i < 400; i++) {
        long put = ac_write_all(client, &greeting[i % 5], 1, soon(), NULL);
        ck_assert(put == 1 || i > 4);
        ck_assert_int_eq(ac_sleep(0.005), 0);
        if (i == 4)
            break;
    }
    ck_assert_int_eq(ac_event_wait(&it.done, soon()), 0);
    ck_assert_int_eq(it.result, -ETIMEDOUT);
    close_both();
}

TLS_TEST(a_handshake_can_be_cancelled) {
    connect_pair(&client, &server);
    struct party it = {.stream = server, .settings = of_server, .deadline = AC_FOREVER};
    ac_ref who = ac_spawn(accept_tls, (void *)&it);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(who), 0);
    ck_assert_int_eq(ac_event_wait(&it.done, soon()), 0);
    ck_assert_int_eq(it.result, -ECANCELED);
    close_both();
}

// So that who is not read from soon must wait.
static void connect_with_little_room(void) {
    int bytes = 64 << 10;
    connect_tls();
    setsockopt(client->object.handle.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(server->object.handle.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

// Reads all that comes and compares it with `large`.
static ac_value read_large(ac_value party) {
    struct party *it = ac_pointer_of(party);
    static uint8_t came[60000];
    size_t at = 0;
    long got;
    while ((got = ac_read(it->stream, came, sizeof came, soon())) > 0) {
        ck_assert_uint_le(at + (size_t)got, LARGE);
        ck_assert(memcmp(came, large + at, (size_t)got) == 0);
        at += (size_t)got;
    }
    ck_assert_int_eq(got, 0);
    it->result = (long)at;
    ac_event_set(&it->done);
    return ac_nil;
}

// Nobody reads for a while: writing runs into its deadline in the midst of a record. Later it goes
// on behind what was taken, and not a byte is missing.
TLS_TEST(what_was_taken_goes_before_all_else) {
    size_t at = 0, put = 0;
    fill(large, LARGE);
    connect_with_little_room();
    long err = 0;
    while (err >= 0) {
        err = ac_write_all(client, large + at, 100000, ac_after(0.02), &put);
        at += put;
        ck_assert_uint_lt(at, LARGE);
    }
    ck_assert_int_eq(err, -ETIMEDOUT);
    // Trying takes up to a limit, and then nothing.
    do {
        err = ac_write_all(client, large + at, 100000, AC_NOW, &put);
        at += put;
        ck_assert_uint_lt(at, LARGE);
    } while (put > 0);
    ck_assert_int_eq(err, -ETIMEDOUT);
    struct party reader = {.stream = server};
    ck_assert_int_eq(ac_ref_error(ac_spawn(read_large, (void *)&reader)), 0);
    ck_assert_int_eq(ac_write_all(client, NULL, 0, soon(), &put), 0);
    ck_assert_int_eq(ac_write_all(client, large + at, LARGE - at, soon(), &put),
                     (long)(LARGE - at));
    ck_assert_int_eq(ac_shutdown(client), 0);
    ck_assert_int_eq(ac_event_wait(&reader.done, soon()), 0);
    ck_assert_int_eq(reader.result, LARGE);
    close_both();
}

static size_t taken;

static ac_value write_large(ac_value party) {
    struct party *it = ac_pointer_of(party);
    it->result = ac_write_all(it->stream, large, LARGE, AC_FOREVER, &taken);
    ac_event_set(&it->done);
    return ac_nil;
}

TLS_TEST(another_writer_goes_on_where_a_cancelled_one_was) {
    fill(large, LARGE);
    connect_with_little_room();
    struct party writer = {.stream = client}, reader = {.stream = server};
    ac_ref who = ac_spawn(write_large, (void *)&writer);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ck_assert_int_eq(ac_cancel(who), 0);
    ck_assert_int_eq(ac_event_wait(&writer.done, soon()), 0);
    ck_assert_int_eq(writer.result, -ECANCELED);
    ck_assert_uint_gt(taken, 0);
    ck_assert_uint_lt(taken, LARGE);
    ck_assert_int_eq(ac_ref_error(ac_spawn(read_large, (void *)&reader)), 0);
    size_t rest = LARGE - taken;
    ck_assert_int_eq(ac_write_all(client, large + taken, rest, soon(), NULL), (long)rest);
    ck_assert_int_eq(ac_shutdown(client), 0); // waits for room, as ac_close does not
    ac_close(client);
    ck_assert_int_eq(ac_event_wait(&reader.done, soon()), 0);
    ck_assert_int_eq(reader.result, LARGE);
    ac_close(server);
}

// ---- memory ----

enum { MANY = 100 };

// What a pair of connections that wait has: OpenSSL's and ours, no stacks.
TLS_TEST(a_connection_that_waits_has_little_memory) {
    static ac_stream *all[MANY][2];
    static uint8_t bytes[200000];
    size_t before = 0;
    for (int i = 0; i < MANY; i++) {
        if (i == 10) // what is made once has been made
            before = mallinfo2().uordblks;
        connect_tls();
        ck_assert_int_eq(ac_write_all(client, bytes, 30000, soon(), NULL), 30000);
        ck_assert_int_eq(ac_read_exactly(server, bytes, 30000, soon(), NULL), 30000);
        ck_assert_int_eq(ac_write_all(server, bytes, 30000, soon(), NULL), 30000);
        ck_assert_int_eq(ac_read_exactly(client, bytes, 30000, soon(), NULL), 30000);
        ck_assert_int_eq(ac_read(server, bytes, 1, AC_NOW), -ETIMEDOUT);
        ck_assert_int_eq(ac_read(client, bytes, 1, AC_NOW), -ETIMEDOUT);
        all[i][0] = client;
        all[i][1] = server;
    }
    size_t each = (mallinfo2().uordblks - before) / ((MANY - 10) * 2);
    if (getenv("SHOW"))
        fprintf(stderr, "%zu bytes each\n", each);
    ck_assert_uint_lt(each, 28000);
    for (int i = 0; i < MANY; i++) {
        ac_close(all[i][0]);
        ac_close(all[i][1]);
    }
}
