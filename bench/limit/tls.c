// SPDX-License-Identifier: MIT
// The limit of the figures of TLS: OpenSSL on sockets that do not block, and one loop over
// edge-triggered epoll.
#include "../tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/epoll.h>

enum { EVENTS = 256 };

struct connection {
    SSL *ssl;
    bool shaken; // hands
    bool writes; // for ever
};

static int epoll;
static SSL_CTX *settings;

static int server_open(int port_fd) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    tls_must(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
                 bind(fd, (struct sockaddr *)&address, bytes) == 0 && listen(fd, SOMAXCONN) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &bytes) == 0,
             "listen");
    uint16_t port = ntohs(address.sin_port);
    tls_must(write(port_fd, &port, sizeof port) == sizeof port, "port");
    return fd;
}

static void watch(int fd, struct connection *it) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = it};
    tls_must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void accept_all(int server) {
    int fd;
    while ((fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *it = calloc(1, sizeof *it);
        tls_must(it && (it->ssl = SSL_new(settings)) && SSL_set_fd(it->ssl, fd), "accept");
        SSL_set_accept_state(it->ssl);
        watch(fd, it);
    }
}

// Goes on until it would have to wait. False if the connection has ended.
static bool serve(struct connection *it) {
    static uint8_t piece[TLS_PIECE_BYTES];
    int result = 1;
    while (result > 0) {
        if (!it->shaken) {
            result = SSL_do_handshake(it->ssl);
            it->shaken = result > 0;
        } else if (!it->writes) {
            char byte;
            result = SSL_read(it->ssl, &byte, 1);
            it->writes = result > 0;
        } else {
            result = SSL_write(it->ssl, piece, sizeof piece);
        }
    }
    int why = SSL_get_error(it->ssl, result);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static void end(struct connection *it) {
    int fd = SSL_get_fd(it->ssl);
    ERR_clear_error();
    SSL_free(it->ssl);
    close(fd);
    free(it);
}

static void run(const char *pem, int port_fd) {
    struct epoll_event events[EVENTS];
    signal(SIGPIPE, SIG_IGN);
    settings = SSL_CTX_new(TLS_server_method());
    tls_must(settings && SSL_CTX_use_certificate_file(settings, pem, SSL_FILETYPE_PEM) == 1 &&
                 SSL_CTX_use_PrivateKey_file(settings, pem, SSL_FILETYPE_PEM) == 1,
             "certificate");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int server = server_open(port_fd);
    watch(server, NULL);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *it = events[i].data.ptr;
            if (!it)
                accept_all(server);
            else if (!serve(it))
                end(it);
        }
    }
}

int main(int argc, char **argv) { return tls_main(argc, argv, run); }
