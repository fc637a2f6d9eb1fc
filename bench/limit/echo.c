// SPDX-License-Identifier: MIT
// The limit of the figures of sockets: a server over edge-triggered epoll that can do nothing but
// send back what it reads.
//
// A connection is registered once, for both directions. A read that fills less than the buffer has
// emptied the socket, so the next edge is waited for without another read; but when the other side
// has closed, no other edge follows. What cannot be written at once is kept, and nothing is read
// until it has been.
#define _GNU_SOURCE
#include "limit.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, ECHO_BYTES = 1024 };

struct connection {
    int fd;
    size_t kept; // bytes that could not be written
    char *bytes; // these, at their end; NULL: there never were any
};

static int epoll;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int server_open(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, bytes) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &bytes) < 0)
        fail("listen");
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int fd, struct connection *it, uint32_t events) {
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = it};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

// What is accepted does not delay either: it inherits that from the socket that listens.
static void accept_all(int server) {
    for (;;) {
        int fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN)
            return;
        struct connection *it = calloc(1, sizeof *it);
        if (fd < 0 || !it)
            fail("accept");
        it->fd = fd;
        watch(fd, it, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    }
}

static void end(struct connection *it) {
    close(it->fd);
    free(it->bytes);
    free(it);
}

static bool keep(struct connection *it, const char *bytes, size_t count) {
    if (!it->bytes)
        it->bytes = malloc(ECHO_BYTES);
    it->kept = count;
    if (it->bytes)
        memmove(it->bytes + ECHO_BYTES - count, bytes, count);
    return it->bytes != NULL;
}

// Whether reading may go on; false also if the connection has ended.
static bool write_or_keep(struct connection *it, const char *bytes, size_t count) {
    ssize_t put = send(it->fd, bytes, count, MSG_NOSIGNAL);
    if (put == (ssize_t)count) {
        it->kept = 0;
        return true;
    }
    bool goes_on = put >= 0 || errno == EAGAIN;
    size_t written = put > 0 ? (size_t)put : 0;
    if (!goes_on || !keep(it, bytes + written, count - written))
        end(it);
    return false;
}

static void serve(struct connection *it, bool hung_up) {
    static char bytes[ECHO_BYTES];
    if (it->kept > 0 && !write_or_keep(it, it->bytes + ECHO_BYTES - it->kept, it->kept))
        return;
    for (;;) {
        ssize_t got = recv(it->fd, bytes, sizeof bytes, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            end(it);
            return;
        }
        if (!write_or_keep(it, bytes, (size_t)got))
            return;
        if ((size_t)got < sizeof bytes && !hung_up)
            return;
    }
}

// Asks for events; before it sleeps it goes on asking for `poll_us`.
static int await(struct epoll_event *events, int poll_us) {
    double until = poll_us > 0 ? measure_now() + poll_us * 1e3 : 0;
    int count = 0;
    while (poll_us > 0 && count == 0 && measure_now() < until)
        count = epoll_wait(epoll, events, EVENTS, 0);
    return count != 0 ? count : epoll_wait(epoll, events, EVENTS, -1);
}

static void run(int poll_us) {
    struct epoll_event events[EVENTS];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int server = server_open();
    watch(server, NULL, EPOLLIN);
    for (;;) {
        int count = await(events, poll_us);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
            else
                accept_all(server);
        }
    }
}

double echo_serve(void) {
    run(0);
    return 0; // not reached
}

double echo_serve_polling(void) {
    run(MEASURE_POLL_US);
    return 0; // not reached
}
