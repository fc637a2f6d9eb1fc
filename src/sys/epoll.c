// SPDX-License-Identifier: MIT
// The poller over edge-triggered epoll.
//
// An operation is tried at once; only when the system would make it wait, its handle is registered
// (once in its life, for both directions) and the operation stays in the handle until an edge says
// that trying again may help. A read that got fewer bytes than asked has emptied the socket: the
// next one waits for the edge without asking. `hung_up` remembers that the other side has closed:
// its edge may have come before the bytes were read, and no other follows.
//
// A *shared* descriptor (standard input) must stay in the mode in which others use it, so it is
// asked for readiness before each attempt. What epoll refuses (a regular file) never waits.
#include "sys/net_private.h"
#include "sys/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };

struct epoll_sys {
    struct sys sys;
    int fd;
    int wake_fd;       // an eventfd; edge-triggered, so that it need not be read
    struct sys *inner; // the nested poller
    bool no_pwait2;    // the kernel lacks epoll_pwait2
    struct epoll_event events[EVENTS];
};

static bool attempt(struct sys_op *op);

static struct sys *create(int *err) {
    struct epoll_sys *self = memory_allocate_zeroed(sizeof *self);
    if (!self) {
        *err = -ENOMEM;
        return NULL;
    }
    uint64_t number;
    *err = sys_random_bytes(&number, sizeof number); // the only time that it may fail
    if (*err < 0) {
        memory_release(self);
        return NULL;
    }
    self->sys.driver = &sys_epoll;
    self->fd = epoll_create1(EPOLL_CLOEXEC);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = &self->wake_fd};
    if (self->fd >= 0 && self->wake_fd >= 0 &&
        epoll_ctl(self->fd, EPOLL_CTL_ADD, self->wake_fd, &event) == 0)
        return &self->sys;
    *err = -errno;
    if (self->fd >= 0)
        close(self->fd);
    if (self->wake_fd >= 0)
        close(self->wake_fd);
    memory_release(self);
    return NULL;
}

static void destroy(struct sys *sys) {
    struct epoll_sys *self = (struct epoll_sys *)sys;
    close(self->fd);
    close(self->wake_fd);
    memory_release(self);
}

static ac_time now(struct sys *sys) {
    (void)sys;
    return sys_clock();
}

static uint64_t random_number(struct sys *sys) {
    (void)sys;
    uint64_t number = 0;
    while (sys_random_bytes(&number, sizeof number) != 0)
        continue; // getrandom fails for no reason that lasts
    return number;
}

// ---- opening and closing ----

static int open_socket(struct sys *sys, struct sys_handle *handle, const struct sys_open *how) {
    int fd = net_open(how);
    if (fd < 0)
        return fd;
    *handle = (struct sys_handle){.sys = sys, .fd = fd};
    return 0;
}

static void adopt(struct sys *sys, struct sys_handle *handle, int fd, bool shared) {
    *handle = (struct sys_handle){.sys = sys, .fd = fd, .shared = shared};
    if (!shared)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK | fcntl(fd, F_GETFL));
}

static void close_handle(struct sys_handle *handle) {
    assert(!handle->reader && !handle->writer);
    struct epoll_sys *self = (struct epoll_sys *)handle->sys;
    // Another process may still hold a copy of the descriptor: then closing ours would not end the
    // registration, and an event would name a handle that is gone.
    if (handle->registered)
        (void)epoll_ctl(self->fd, EPOLL_CTL_DEL, handle->fd, NULL);
    close(handle->fd);
    handle->sys = NULL;
    handle->fd = -1;
}

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

static bool attempt_read(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    if (handle->shared && !handle->always_ready && !is_ready(handle, POLLIN))
        return false;
    ssize_t got;
    do
        got = read(handle->fd, op->bytes, op->count);
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

// Leaves errno as it is.
static void quiet_end(const struct quiet *quiet, ssize_t put) {
    int err = errno;
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    if (put < 0 && err == EPIPE && !sigismember(&quiet->pending, SIGPIPE))
        (void)sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &quiet->old, NULL);
    errno = err;
}

static ssize_t write_quietly(int fd, const struct msghdr *what) {
    struct quiet quiet;
    quiet_begin(&quiet);
    ssize_t put = writev(fd, what->msg_iov, (int)what->msg_iovlen);
    quiet_end(&quiet, put);
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
    quiet_end(&quiet, put);
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

static bool attempt(struct sys_op *op) {
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

// ---- operations ----

static bool is_writing(const struct sys_op *op) {
    return op->verb == SYS_CONNECT || op->verb == SYS_WRITE || op->verb == SYS_SEND ||
           op->verb == SYS_SEND_FILE;
}

// 0; 1 if the descriptor needs no watching; or a negative error.
static int watch(struct sys_handle *handle) {
    struct epoll_sys *self = (struct epoll_sys *)handle->sys;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = handle};
    if (epoll_ctl(self->fd, EPOLL_CTL_ADD, handle->fd, &event) == 0) {
        handle->registered = true;
        return 0;
    }
    if (errno != EPERM)
        return -errno;
    handle->always_ready = true;
    return 1;
}

static bool start(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    bool writing = is_writing(op);
    bool known_blocked = handle->registered && !(writing ? handle->writable : handle->readable);
    if (!known_blocked || op->eager || op->verb == SYS_CONNECT) {
        if (attempt(op))
            return true;
        if (writing)
            handle->writable = false;
        else
            handle->readable = false;
    }
    if (!handle->registered) {
        int err = watch(handle);
        if (err > 0)
            return attempt(op);
        if (err < 0) {
            op->result = err;
            return true;
        }
    }
    if (writing)
        handle->writer = op;
    else
        handle->reader = op;
    return false;
}

static bool cancel(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    if (handle->reader == op)
        handle->reader = NULL;
    else if (handle->writer == op)
        handle->writer = NULL;
    else
        return false;
    op->result = -ECANCELED;
    return true;
}

static void retry_reader(struct sys_handle *handle) {
    struct sys_op *op = handle->reader;
    if (!attempt(op)) {
        handle->readable = false;
        return;
    }
    handle->reader = NULL;
    op->finished(op);
}

static void retry_writer(struct sys_handle *handle) {
    struct sys_op *op = handle->writer;
    bool done = op->verb == SYS_CONNECT ? attempt_connected(op) : attempt(op);
    if (!done) {
        handle->writable = false;
        return;
    }
    handle->writer = NULL;
    op->finished(op);
}

static void take_event(struct epoll_sys *self, const struct epoll_event *event) {
    if (event->data.ptr == &self->wake_fd)
        return;
    if (event->data.ptr == self->inner) {
        self->sys.inner_due = true;
        return;
    }
    struct sys_handle *handle = event->data.ptr;
    uint32_t events = event->events;
    if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        handle->hung_up = true;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
        handle->readable = true;
        if (handle->reader)
            retry_reader(handle);
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        handle->writable = true;
        if (handle->writer)
            retry_writer(handle);
    }
}

static int wait_events(struct epoll_sys *self, ac_time deadline) {
    ac_time left = deadline == AC_NOW || deadline == AC_FOREVER ? 0 : deadline - sys_clock();
    if (left < 0)
        left = 0;
    struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    if (!self->no_pwait2) {
        int count = epoll_pwait2(self->fd, self->events, EVENTS,
                                 deadline == AC_FOREVER ? NULL : &wait, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) // EPERM: from filters of containers
            return count;
        self->no_pwait2 = true;
    }
    // Milliseconds, rounded up: late by less than one, never early.
    int64_t ms = deadline == AC_FOREVER ? -1 : (left + 999999) / 1000000;
    return epoll_wait(self->fd, self->events, EVENTS, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int poll_events(struct sys *sys, ac_time deadline) {
    struct epoll_sys *self = (struct epoll_sys *)sys;
    int count = wait_events(self, deadline);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++)
        take_event(self, &self->events[i]);
    return 0;
}

static void wake(struct sys *sys) {
    struct epoll_sys *self = (struct epoll_sys *)sys;
    uint64_t one = 1;
    // Full means that a wake-up is on its way already.
    if (write(self->wake_fd, &one, sizeof one) < 0)
        return;
}

static int nest(struct sys *outer, struct sys *inner) {
    struct epoll_sys *self = (struct epoll_sys *)outer;
    if (!inner) {
        int fd = ((struct epoll_sys *)self->inner)->fd;
        self->inner = NULL;
        return epoll_ctl(self->fd, EPOLL_CTL_DEL, fd, NULL) ? -errno : 0;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = inner};
    if (epoll_ctl(self->fd, EPOLL_CTL_ADD, ((struct epoll_sys *)inner)->fd, &event) != 0)
        return -errno;
    self->inner = inner;
    return 0;
}

static int local(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    return net_local(handle->fd, address, name);
}

static int remote(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    return net_remote(handle->fd, address, name);
}

static int group(struct sys_handle *handle, const struct sys_address *group, unsigned interface,
                 bool member) {
    return net_group(handle->fd, group, interface, member);
}

static int shut(struct sys_handle *handle) { return shutdown(handle->fd, SHUT_WR) ? -errno : 0; }

const struct sys_driver sys_epoll = {
    .name = "epoll",
    .create = create,
    .destroy = destroy,
    .now = now,
    .random = random_number,
    .open = open_socket,
    .adopt = adopt,
    .close = close_handle,
    .attempt = attempt,
    .start = start,
    .cancel = cancel,
    .poll = poll_events,
    .wake = wake,
    .nest = nest,
    .local = local,
    .remote = remote,
    .group = group,
    .shut = shut,
};
