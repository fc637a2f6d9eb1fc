// SPDX-License-Identifier: MIT
// The limits of the figures of two processes: sockets that block, bare and under TLS 1.3 with a
// shared key, as our links are (AES-128-GCM, X25519). `limit-far tcp FIGURE`: bare.
//
// A message is its bytes and nothing else: what is for whom both sides know. Small messages are
// gathered into pieces of 64 KiB, and the receiver looks at one byte of each. To find something at
// the other end, or to call it, is a round trip.
#include "../far.h"

#include <netinet/tcp.h>
#include <openssl/ssl.h>

enum { PIECE_BYTES = 64 << 10 };

static bool secure;
static SSL *ssl;
static int fd;
static uint8_t piece[PIECE_BYTES];
static uint64_t sum;

// ---- bytes ----

static void put(const void *bytes, size_t count) {
    for (const uint8_t *at = bytes; count > 0;) {
        ssize_t done = secure ? SSL_write(ssl, at, (int)count) : write(fd, at, count);
        far_must(done > 0, "write");
        at += done;
        count -= (size_t)done;
    }
}

static size_t get_some(void *to, size_t count) {
    ssize_t done = secure ? SSL_read(ssl, to, (int)count) : read(fd, to, count);
    if (done <= 0)
        exit(1);
    return (size_t)done;
}

static void get(void *to, size_t count) {
    for (uint8_t *at = to; count > 0;) {
        size_t done = get_some(at, count);
        at += done;
        count -= done;
    }
}

// ---- TLS ----

static const uint8_t secret[32] = "the same in all that take part.";

static SSL_SESSION *make_session(SSL *it) {
    SSL_SESSION *session = SSL_SESSION_new();
    far_must(
        session && SSL_SESSION_set1_master_key(session, secret, sizeof secret) &&
            SSL_SESSION_set_cipher(session, SSL_CIPHER_find(it, (const uint8_t[]){0x13, 0x01})) &&
            SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION),
        "session");
    return session;
}

static int find_session(SSL *it, const uint8_t *name, size_t bytes, SSL_SESSION **session) {
    (void)name;
    (void)bytes;
    *session = make_session(it);
    return 1;
}

static int use_session(SSL *it, const EVP_MD *digest, const uint8_t **name, size_t *bytes,
                       SSL_SESSION **session) {
    (void)digest;
    *name = (const uint8_t *)"bench";
    *bytes = 5;
    *session = make_session(it);
    return 1;
}

static void shake_hands(bool server) {
    SSL_CTX *settings = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    far_must(settings && SSL_CTX_set_min_proto_version(settings, TLS1_3_VERSION) &&
                 SSL_CTX_set_ciphersuites(settings, "TLS_AES_128_GCM_SHA256") &&
                 SSL_CTX_set1_groups_list(settings, "X25519") &&
                 SSL_CTX_set_num_tickets(settings, 0),
             "settings");
    SSL_CTX_set_psk_find_session_callback(settings, find_session);
    SSL_CTX_set_psk_use_session_callback(settings, use_session);
    ssl = SSL_new(settings);
    far_must(ssl && SSL_set_fd(ssl, fd) && (server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1,
             "handshake");
}

// ---- the server ----

// The client says how many bytes will come.
static void serve_oneway(void) {
    for (;;) {
        uint64_t left;
        get(&left, sizeof left);
        while (left > 0) {
            size_t got = get_some(piece, left < sizeof piece ? left : sizeof piece);
            for (size_t at = 0; at + 8 <= got; at += far.bytes)
                sum += piece[at];
            left -= got;
        }
        put("", 1);
    }
}

static void serve_echo(void) {
    for (;;)
        put(piece, get_some(piece, sizeof piece));
}

static void serve(void) {
    struct sockaddr_in address = far_address(0);
    socklen_t bytes = sizeof address;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    far_pin();
    far_must(listener >= 0 && bind(listener, (struct sockaddr *)&address, bytes) == 0 &&
                 listen(listener, 1) == 0 &&
                 getsockname(listener, (struct sockaddr *)&address, &bytes) == 0,
             "listen");
    far_listens(ntohs(address.sin_port));
    fd = accept(listener, NULL, NULL);
    far_must(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "accept");
    if (secure)
        shake_hands(true);
    if (strncmp(far.figure, "far-oneway", 10) == 0)
        serve_oneway();
    else
        serve_echo();
}

// ---- the client ----

static uint64_t roundtrip(uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        put(piece, FAR_BYTES);
        get(piece, FAR_BYTES);
    }
    return n;
}

// A message is written as it would be anywhere: by a copy of its bytes to where it is gathered.
static uint64_t oneway(uint64_t n) {
    uint8_t message[FAR_BYTES] = {0}, end;
    uint64_t left = n * far.bytes;
    put(&left, sizeof left);
    while (left > 0) {
        size_t count = left < sizeof piece ? left : sizeof piece;
        if (far.bytes == FAR_BYTES)
            for (size_t at = 0; at < count; at += FAR_BYTES) {
                message[0]++;
                memcpy(piece + at, message, FAR_BYTES);
            }
        put(piece, count);
        left -= count;
    }
    get(&end, 1);
    return n;
}

static uint64_t calls(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += FAR_CALLERS) {
        put(piece, FAR_CALLERS * FAR_BYTES);
        get(piece, FAR_CALLERS * FAR_BYTES);
    }
    return done;
}

int main(int argc, char **argv) {
    bool bare = argc > 1 && strcmp(argv[1], "tcp") == 0;
    secure = !bare;
    signal(SIGPIPE, SIG_IGN);
    far_start(argc - bare, argv + bare, serve);
    far_pin();
    struct sockaddr_in address = far_address(far.port);
    int on = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    far_must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                 setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0,
             "connect");
    if (secure)
        shake_hands(false);
    far_print(&(struct far_ways){roundtrip, oneway, calls});
    return 0;
}
