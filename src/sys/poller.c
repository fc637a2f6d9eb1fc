// SPDX-License-Identifier: MIT
// Which poller there is, and what all of them have in common: what they do to a descriptor without
// waiting.
//
// An operation is tried at once, and again when the system says that this may help.
//
// A *shared* descriptor (standard input) must stay in the mode in which others use it, so it is
// asked for readiness before each attempt.
#include "sys/poller_private.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sys/net_private.h"

static struct sys *create_chosen(int *err);
static struct sys *create_chosen_in_turn(int *err);

// ---- AC_POLLER ----

static const struct sys_driver chosen_in_turn = {.name = "chosen", .create = create_chosen_in_turn};

const struct sys_driver sys_chosen = {
    .name = "chosen", .create = create_chosen, .in_turn = &chosen_in_turn};

#ifdef SYS_URING
static struct sys *create_ring(bool in_turn, int *err) {
    return (in_turn ? sys_uring.in_turn : &sys_uring)->create(err);
}
#else
int uring_probe(void) { return -EOPNOTSUPP; }
static struct sys *create_ring(bool in_turn, int *err) {
    (void)in_turn;
    *err = -EOPNOTSUPP;
    return NULL;
}
#endif

// What AC_POLLER asks for and the system lets us have: found out once, and told. The first threads
// may all ask; they find the same.
enum { UNKNOWN, EPOLL, URING };
static int choice; // atomic

static int choose(void) {
    const char *asked = getenv("AC_POLLER");
    if (!asked || !*asked || strcmp(asked, "epoll") == 0)
        return EPOLL;
    if (strcmp(asked, "uring") != 0) {
        trace(TRACE_SYS, "AC_POLLER=%s is not known, there are epoll and uring: epoll", asked);
        return EPOLL;
    }
    int err = uring_probe();
    if (err < 0) {
        trace(TRACE_SYS, "AC_POLLER=uring: no io_uring here, epoll instead: %s", ac_strerror(err));
        return EPOLL;
    }
    return URING;
}

static const struct sys_driver *given; // by sys_choose

void sys_choose(const struct sys_driver *driver) { given = driver; }

static struct sys *create_as_chosen(bool in_turn, int *err) {
    if (given)
        return sys_create(in_turn && given->in_turn ? given->in_turn : given, err);
    int which = __atomic_load_n(&choice, __ATOMIC_RELAXED);
    if (which == UNKNOWN) {
        which = choose();
        __atomic_store_n(&choice, which, __ATOMIC_RELAXED);
    }
    if (which == URING) {
        struct sys *sys = create_ring(in_turn, err);
        if (sys || *err == -ENOMEM)
            return sys;
        trace(TRACE_SYS, "AC_POLLER=uring: a ring was refused, epoll instead: %s",
              ac_strerror(*err));
    }
    return sys_epoll.create(err);
}

static struct sys *create_chosen(int *err) { return create_as_chosen(false, err); }
static struct sys *create_chosen_in_turn(int *err) { return create_as_chosen(true, err); }

// ---- for all drivers ----

int sys_nest(struct sys *outer, struct sys *inner) { return outer->driver->nest(outer, inner); }

bool sys_feed(struct sys *outer) { return outer->driver->feed && outer->driver->feed(outer); }

int sys_local(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    return handle->sys->driver->local(handle, address, name);
}

int sys_remote(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    return handle->sys->driver->remote(handle, address, name);
}

// ---- for the tables ----

ac_time poller_now(struct sys *sys) {
    (void)sys;
    return sys_clock();
}

uint64_t poller_random(struct sys *sys) {
    (void)sys;
    uint64_t number = 0;
    while (sys_random_bytes(&number, sizeof number) != 0)
        continue; // getrandom fails for no reason that lasts
    return number;
}

void poller_wake(struct sys *sys) {
    uint64_t one = 1;
    // Full means that a wake-up is on its way already.
    if (write(((struct poller *)sys)->wake_fd, &one, sizeof one) < 0)
        return;
}

// ---- descriptors ----

int poller_open(struct sys *sys, struct sys_handle *handle, const struct sys_open *how) {
    int fd = net_open(how);
    if (fd < 0)
        return fd;
    *handle = (struct sys_handle){.sys = sys, .fd = fd};
    return 0;
}

void poller_adopt(struct sys *sys, struct sys_handle *handle, int fd, bool shared) {
    *handle = (struct sys_handle){.sys = sys, .fd = fd, .shared = shared};
    if (!shared)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK | fcntl(fd, F_GETFL));
}

int poller_local(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    return net_local(handle->fd, address, name);
}

int poller_remote(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    return net_remote(handle->fd, address, name);
}

int poller_group(struct sys_handle *handle, const struct sys_address *group, unsigned interface,
                 bool member) {
    return net_group(handle->fd, group, interface, member);
}

int poller_shut(struct sys_handle *handle) { return shutdown(handle->fd, SHUT_WR) ? -errno : 0; }

// ---- attempts: each returns true if the operation is finished, op->result set ----

static bool finish(struct sys_op *op, int64_t result) {
    op->result = result < 0 ? -errno : result;
    return true;
}

static bool would_wait(void) { return errno == EAGAIN || errno == EWOULDBLOCK; }

static bool is_ready(const struct sys_handle *handle, short events) {
    struct pollfd ask = {.fd = handle->fd, .events = events};
    return poll(&ask, 1, 0) > 0;
}

// A socket is read quicker by the call of its own, all the more when the caches hold none of it.
static ssize_t read_some(struct sys_handle *handle, void *to, size_t count) {
    if (likely(!handle->no_socket)) {
        ssize_t got = recvfrom(handle->fd, to, count, MSG_DONTWAIT, NULL, NULL);
        if (got >= 0 || errno != ENOTSOCK)
            return got;
        handle->no_socket = true;
    }
    return read(handle->fd, to, count);
}

static bool attempt_read(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    if (handle->shared && !handle->always_ready && !is_ready(handle, POLLIN))
        return false;
    ssize_t got;
    do
        got = read_some(handle, op->bytes, op->count);
    while (got < 0 && errno == EINTR);
    if (got < 0 && would_wait())
        return false;
    // A terminal (always shared) gives one line at a time, however much is there.
    bool is_emptied = got >= 0 && (size_t)got < op->count && !handle->shared;
    if (is_emptied && handle->registered && !handle->hung_up)
        handle->readable = false;
    return finish(op, got);
}

// What writes without MSG_NOSIGNAL stands between these two: a pipe or a connection whose reader
// has gone gives EPIPE alone then, and no SIGPIPE.
struct quiet {
    sigset_t old;     // which signals were blocked
    sigset_t pending; // which of these had come
};

static void quiet_begin(struct quiet *quiet) {
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigemptyset(&quiet->pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &quiet->old);
    if (sigismember(&quiet->old, SIGPIPE)) // else it would have been taken when it came
        sigpending(&quiet->pending);
}

// `maybe`: the signal may have come. Leaves errno as it is.
static void quiet_end(const struct quiet *quiet, bool maybe) {
    int err = errno;
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    if (maybe && !sigismember(&quiet->pending, SIGPIPE))
        (void)sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &quiet->old, NULL);
    errno = err;
}

static ssize_t write_quietly(int fd, const struct msghdr *what) {
    struct quiet quiet;
    quiet_begin(&quiet);
    ssize_t put = writev(fd, what->msg_iov, (int)what->msg_iovlen);
    quiet_end(&quiet, put < 0 && errno == EPIPE);
    return put;
}

static bool attempt_write(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    struct iovec first = {.iov_base = op->bytes, .iov_len = op->count};
    struct msghdr what = {.msg_iov = &first, .msg_iovlen = 1};
    if (op->parts) {
        what.msg_iov = (struct iovec *)(uintptr_t)op->parts;
        what.msg_iovlen = op->parts_count;
    }
    if (handle->shared && !handle->always_ready) {
        if (!is_ready(handle, POLLOUT))
            return false;
        // For so much there is room then, and the write does not wait.
        first = what.msg_iov[0];
        first.iov_len = first.iov_len < PIPE_BUF ? first.iov_len : PIPE_BUF;
        what = (struct msghdr){.msg_iov = &first, .msg_iovlen = 1};
    }
    ssize_t put;
    do {
        // One part is sent a little quicker by the simpler call.
        put = what.msg_iov == &first
                  ? send(handle->fd, first.iov_base, first.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                  : sendmsg(handle->fd, &what, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == ENOTSOCK)
            put = write_quietly(handle->fd, &what);
    } while (put < 0 && errno == EINTR);
    if (put < 0 && would_wait())
        return false;
    return finish(op, put);
}

_Static_assert(sizeof(struct sys_part) == sizeof(struct iovec) &&
                   offsetof(struct sys_part, bytes) == offsetof(struct iovec, iov_base) &&
                   offsetof(struct sys_part, count) == offsetof(struct iovec, iov_len) &&
                   SYS_PARTS_MAX <= IOV_MAX,
               "parts are handed to the system as they are");

static bool attempt_send_file(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    if (handle->shared) { // its mode might make this wait
        op->result = -EINVAL;
        return true;
    }
    struct quiet quiet;
    off_t offset = (off_t)op->offset;
    ssize_t put;
    quiet_begin(&quiet);
    do
        put = sendfile(handle->fd, op->file, &offset, op->count);
    while (put < 0 && errno == EINTR);
    // It sends piece by piece: where a later one finds the connection gone, the signal comes with
    // the number of bytes before it, and no error.
    quiet_end(&quiet, put < 0 || (size_t)put < op->count);
    if (put < 0 && would_wait())
        return false;
    return finish(op, put);
}

static bool attempt_accept(struct sys_op *op) {
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    int fd;
    do
        fd = accept4(op->handle->fd, (struct sockaddr *)&address, &bytes,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0 && would_wait())
        return false;
    if (fd >= 0)
        net_from_sockaddr((struct sockaddr *)&address, bytes, &op->address, op->name);
    return finish(op, fd);
}

// A connection in progress has an answer when the socket can be written.
static bool attempt_connected(struct sys_op *op) {
    int err = 0;
    socklen_t bytes = sizeof err;
    if (getsockopt(op->handle->fd, SOL_SOCKET, SO_ERROR, &err, &bytes) != 0)
        err = errno;
    op->result = -err;
    return true;
}

static bool attempt_connect(struct sys_op *op) {
    struct sockaddr_storage address;
    socklen_t bytes = net_to_sockaddr(&op->address, op->name, &address);
    int err = connect(op->handle->fd, (struct sockaddr *)&address, bytes);
    if (err != 0 && (errno == EINPROGRESS || errno == EINTR))
        return false;
    return finish(op, err);
}

static bool attempt_receive(struct sys_op *op) {
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    ssize_t got;
    do
        got = recvfrom(op->handle->fd, op->bytes, op->count, MSG_TRUNC, (struct sockaddr *)&address,
                       &bytes);
    while (got < 0 && errno == EINTR);
    if (got < 0 && would_wait())
        return false;
    if (got >= 0)
        net_from_sockaddr((struct sockaddr *)&address, bytes, &op->address, op->name);
    return finish(op, got);
}

// Names the interface through which a datagram shall leave: a broadcast needs it where there is no
// default route.
static void pin_interface(struct msghdr *message, const struct sys_op *op) {
    struct cmsghdr *control = message->msg_control;
    if (op->address.family == 4) {
        struct in_pktinfo info = {.ipi_ifindex = (int)op->interface};
        control->cmsg_level = IPPROTO_IP;
        control->cmsg_type = IP_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(control), &info, sizeof info);
        message->msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = op->interface};
        control->cmsg_level = IPPROTO_IPV6;
        control->cmsg_type = IPV6_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(control), &info, sizeof info);
        message->msg_controllen = CMSG_SPACE(sizeof info);
    }
}

static bool attempt_send(struct sys_op *op) {
    struct sockaddr_storage address;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
    struct iovec part = {.iov_base = op->bytes, .iov_len = op->count};
    socklen_t bytes = net_to_sockaddr(&op->address, op->name, &address);
    struct msghdr message = {.msg_name = bytes > 0 ? &address : NULL,
                             .msg_namelen = bytes,
                             .msg_iov = &part,
                             .msg_iovlen = 1};
    if (op->interface != 0) {
        message.msg_control = control;
        pin_interface(&message, op);
    }
    ssize_t put;
    do
        put = sendmsg(op->handle->fd, &message, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0 && would_wait())
        return false;
    return finish(op, put);
}

static bool attempt_watch(struct sys_op *op) {
    op->result = 0;
    return is_ready(op->handle, POLLIN);
}

bool poller_attempt(struct sys_op *op) {
    switch (op->verb) {
    case SYS_ACCEPT: return attempt_accept(op);
    case SYS_CONNECT: return attempt_connect(op);
    case SYS_READ: return attempt_read(op);
    case SYS_WRITE: return attempt_write(op);
    case SYS_RECEIVE: return attempt_receive(op);
    case SYS_SEND: return attempt_send(op);
    case SYS_SEND_FILE: return attempt_send_file(op);
    case SYS_WATCH: return attempt_watch(op);
    }
    op->result = -EINVAL;
    return true;
}

bool poller_attempt_again(struct sys_op *op) {
    return op->verb == SYS_CONNECT ? attempt_connected(op) : poller_attempt(op);
}
