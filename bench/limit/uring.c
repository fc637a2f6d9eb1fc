// SPDX-License-Identifier: MIT
// As limit/echo.c over io_uring: one accept and, on each connection, one receive that go on by
// themselves (multishot), buffers that the kernel picks from a ring, and all that is asked for
// handed in by the call that waits.
//
// An answer is sent from the buffer that was received into, which goes back to the ring once it has
// been sent. When there is no buffer left a receive ends, and is asked for again.
#define _GNU_SOURCE
#include "../measure.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

enum { ENTRIES = 4096, BUFFERS = 2048, ECHO_BYTES = 1024, GROUP = 1 };

// What a completion is of: the low half of its user data is the descriptor.
enum verb { ACCEPT, RECEIVE, SEND };

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *bytes; // of the buffers

static void fail(const char *what, int err) {
    fprintf(stderr, "%s: %s\n", what, strerror(err));
    exit(1);
}

static int server_open(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        fail("listen", errno);
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void ring_open(void) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                     .cq_entries = 4 * ENTRIES};
    int err = io_uring_queue_init_params(ENTRIES, &ring, &params);
    if (err == -EPERM || err == -ENOSYS || err == -EINVAL)
        measure_cannot("the system refuses io_uring, or an option of it");
    if (err < 0)
        fail("io_uring", -err);
}

static char *buffer_at(unsigned id) { return bytes + (size_t)id * ECHO_BYTES; }

static void buffer_give(unsigned id) {
    io_uring_buf_ring_add(buffers, buffer_at(id), ECHO_BYTES, (uint16_t)id,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void buffers_open(void) {
    void *memory;
    bytes = malloc((size_t)BUFFERS * ECHO_BYTES);
    if (!bytes || posix_memalign(&memory, 4096, BUFFERS * sizeof(struct io_uring_buf)) != 0)
        fail("buffers", ENOMEM);
    buffers = memory;
    io_uring_buf_ring_init(buffers);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory, .ring_entries = BUFFERS, .bgid = GROUP};
    int err = io_uring_register_buf_ring(&ring, &reg, 0);
    if (err < 0)
        measure_cannot("the system has no rings of buffers");
    for (unsigned i = 0; i < BUFFERS; i++)
        buffer_give(i);
}

// A free entry; the kernel takes what is there when there is none.
static struct io_uring_sqe *entry(void) {
    struct io_uring_sqe *it = io_uring_get_sqe(&ring);
    if (!it) {
        io_uring_submit(&ring);
        it = io_uring_get_sqe(&ring);
    }
    return it;
}

static uint64_t name_of(enum verb verb, int fd, unsigned buffer) {
    return (uint64_t)verb << 56 | (uint64_t)buffer << 32 | (uint32_t)fd;
}

static void accept_all(int server) {
    struct io_uring_sqe *it = entry();
    io_uring_prep_multishot_accept(it, server, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(it, name_of(ACCEPT, server, 0));
}

static void receive_all(int fd) {
    struct io_uring_sqe *it = entry();
    io_uring_prep_recv_multishot(it, fd, NULL, 0, 0);
    it->flags |= IOSQE_BUFFER_SELECT;
    it->buf_group = GROUP;
    io_uring_sqe_set_data64(it, name_of(RECEIVE, fd, 0));
}

// The kernel goes on until all of it is sent.
static void send_back(int fd, unsigned buffer, size_t count) {
    struct io_uring_sqe *it = entry();
    io_uring_prep_send(it, fd, buffer_at(buffer), count, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(it, name_of(SEND, fd, buffer));
}

static void accepted(int server, const struct io_uring_cqe *it) {
    if (it->res < 0)
        fail("accept", -it->res);
    receive_all(it->res);
    if (!(it->flags & IORING_CQE_F_MORE))
        accept_all(server);
}

static void received(int fd, const struct io_uring_cqe *it) {
    if (it->res > 0)
        send_back(fd, it->flags >> IORING_CQE_BUFFER_SHIFT, (size_t)it->res);
    if (it->flags & IORING_CQE_F_MORE)
        return;
    if (it->res > 0 || it->res == -ENOBUFS)
        receive_all(fd);
    else
        close(fd);
}

static void finished(const struct io_uring_cqe *it) {
    int fd = (int)(uint32_t)it->user_data;
    switch ((enum verb)(it->user_data >> 56)) {
    case ACCEPT: accepted(fd, it); break;
    case RECEIVE: received(fd, it); break;
    case SEND: buffer_give(it->user_data >> 32 & 0xffff); break;
    }
}

// Hands in what was asked for, and waits; before it sleeps it goes on asking for `poll_us`.
static void await(int poll_us) {
    double until = poll_us > 0 ? measure_now() + poll_us * 1e3 : 0;
    while (poll_us > 0 && measure_now() < until) {
        io_uring_submit_and_get_events(&ring);
        if (io_uring_cq_ready(&ring) > 0)
            return;
    }
    io_uring_submit_and_wait(&ring, 1);
}

int main(int argc, char **argv) {
    int poll_us = argc == 2 && strcmp(argv[1], "echo-polling") == 0 ? MEASURE_POLL_US : 0;
    ring_open();
    buffers_open();
    accept_all(server_open());
    for (;;) {
        struct io_uring_cqe *it;
        unsigned head, count = 0;
        await(poll_us);
        io_uring_for_each_cqe(&ring, head, it) {
            finished(it);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
