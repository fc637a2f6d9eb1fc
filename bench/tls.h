// SPDX-License-Identifier: MIT
// The figures of TLS: the load, the same for both servers, and what starts them.
//
// A program holds a server and calls tls_main(). That makes a certificate (ECDSA, P-256), starts
// the server in a process of its own on one core, and is the load on the other: bare OpenSSL over
// blocking sockets. The server listens on 127.0.0.1 and writes its port to a pipe.
//
// tls-bulk: one connection; after a byte of the client the server writes pieces of 64 KiB for ever.
// tls-handshakes: THREADS at a time connect, shake hands in full (TLS 1.3, X25519), and go. To
// check a certificate takes the client longer than the server takes for its part, so what is
// counted is handshakes per second of the processor time of the server.
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include "cores.h"
#include "measure.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TLS_PIECE_BYTES = 64 << 10, TLS_THREADS = 8 };
static const double TLS_WARM_NS = 200e6, TLS_RUN_NS = 800e6;

static struct {
    uint16_t port;
    pid_t server;
    SSL_CTX *settings;
    long handshakes; // atomic
    bool over;       // atomic
} tls;

static inline void tls_must(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

// One file with key and certificate.
static inline void tls_make_certificate(const char *path) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *it = X509_new();
    tls_must(key && it, "certificate");
    ASN1_INTEGER_set(X509_get_serialNumber(it), 1);
    X509_gmtime_adj(X509_getm_notBefore(it), 0);
    X509_gmtime_adj(X509_getm_notAfter(it), 86400);
    X509_set_pubkey(it, key);
    X509_NAME *name = X509_get_subject_name(it);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"localhost", -1, -1, 0);
    X509_set_issuer_name(it, name);
    tls_must(X509_sign(it, key, EVP_sha256()) > 0, "signature");
    FILE *file = fopen(path, "w");
    tls_must(file && fchmod(fileno(file), 0600) == 0 &&
                 PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) &&
                 PEM_write_X509(file, it) && fclose(file) == 0,
             "file of the certificate");
    X509_free(it);
    EVP_PKEY_free(key);
}

static inline SSL *tls_connect(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(tls.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    tls_must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL *ssl = SSL_new(tls.settings);
    tls_must(ssl && SSL_set_fd(ssl, fd) && SSL_connect(ssl) == 1, "handshake");
    return ssl;
}

static inline void tls_close(SSL *ssl) {
    // No time is spent in waiting for the other side's port to be free.
    struct linger none = {.l_onoff = 1};
    int fd = SSL_get_fd(ssl);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    SSL_free(ssl);
    close(fd);
}

static inline double tls_bulk(void) {
    static uint8_t bytes[TLS_PIECE_BYTES];
    SSL *ssl = tls_connect();
    tls_must(SSL_write(ssl, "x", 1) == 1, "write");
    double begin = measure_now(), start = 0, count = 0;
    for (;;) {
        int got = SSL_read(ssl, bytes, sizeof bytes);
        tls_must(got > 0, "read");
        double now = measure_now();
        if (start == 0 && now - begin > TLS_WARM_NS)
            start = now;
        else if (start > 0)
            count += got;
        if (start > 0 && now - start > TLS_RUN_NS) {
            tls_close(ssl);
            return count / (now - start) * 1e9 / (1 << 20);
        }
    }
}

static inline void *tls_shake_hands(void *unused) {
    (void)unused;
    while (!__atomic_load_n(&tls.over, __ATOMIC_RELAXED)) {
        tls_close(tls_connect());
        __atomic_add_fetch(&tls.handshakes, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static inline double tls_server_cpu_s(void) {
    clockid_t clock;
    struct timespec t;
    tls_must(clock_getcpuclockid(tls.server, &clock) == 0 && clock_gettime(clock, &t) == 0,
             "clock of the server");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline double tls_handshakes(void) {
    pthread_t threads[TLS_THREADS];
    for (int i = 0; i < TLS_THREADS; i++)
        tls_must(pthread_create(&threads[i], NULL, tls_shake_hands, NULL) == 0, "thread");
    usleep((useconds_t)(TLS_WARM_NS / 1e3));
    double cpu = tls_server_cpu_s();
    long before = __atomic_load_n(&tls.handshakes, __ATOMIC_RELAXED);
    usleep((useconds_t)(TLS_RUN_NS / 1e3));
    long after = __atomic_load_n(&tls.handshakes, __ATOMIC_RELAXED);
    cpu = tls_server_cpu_s() - cpu;
    __atomic_store_n(&tls.over, true, __ATOMIC_RELAXED);
    for (int i = 0; i < TLS_THREADS; i++)
        pthread_join(threads[i], NULL);
    return (double)(after - before) / cpu;
}

// `serve` listens, writes the port (uint16_t) to `port_fd`, and serves for ever.
static inline int tls_main(int argc, char **argv, void (*serve)(const char *pem, int port_fd)) {
    bool bulk = argc == 2 && strcmp(argv[1], "tls-bulk") == 0;
    if (argc != 2 || (!bulk && strcmp(argv[1], "tls-handshakes") != 0)) {
        fprintf(stderr, "usage: %s tls-bulk|tls-handshakes\n", argv[0]);
        return 2;
    }
    char folder[] = "/tmp/asyncoro-bench.XXXXXX", pem[64];
    int ends[2];
    cores_find();
    tls_must(mkdtemp(folder) && pipe(ends) == 0, "folder");
    snprintf(pem, sizeof pem, "%s/server.pem", folder);
    tls_make_certificate(pem);
    tls.server = fork();
    if (tls.server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        cores_pin(0);
        serve(pem, ends[1]);
        exit(1);
    }
    cores_pin(1);
    close(ends[1]);
    bool good = read(ends[0], &tls.port, sizeof tls.port) == sizeof tls.port;
    unlink(pem);
    rmdir(folder);
    tls_must(good, "server");
    tls.settings = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(tls.settings, TLS1_3_VERSION);
    printf("%.3f\n", bulk ? tls_bulk() : tls_handshakes());
    fflush(stdout);
    kill(tls.server, SIGKILL);
    waitpid(tls.server, NULL, 0);
    return 0;
}

#endif
