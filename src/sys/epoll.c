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
//
// Of two nested pollers the outer one watches the handles of the inner one as well, so that one
// system call finds what is ready in either; an epoll inside another would have to be asked by a
// second one, and costs the system more with each event. What the outer one finds for the inner one
// stays where it is until sys_feed, under the lock that guards the inner one. By then another
// thread may have closed such a handle, which `closed` tells: then none of them is looked at, and
// the inner poller is asked, which has been told of everything too.
#include "sys/poller_private.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };

struct epoll_sys {
    struct poller poller;     // its eventfd is edge-triggered
    bool no_pwait2;           // the kernel lacks epoll_pwait2
    uint64_t closed;          // atomic: how many of its handles were closed after they were watched
    struct epoll_sys *within; // by which they are watched as well, or NULL
    struct epoll_sys *inner;  // whose handles it watches as well, or NULL
    uint64_t closed_before;   // of the inner poller: `closed` before the last poll
    int found;                // of the inner poller: events[0..found) are for it
    struct epoll_event events[EVENTS];
};

// How the outer poller knows handles of the inner one, which it may not touch.
enum { OF_INNER = 1 };

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
    self->poller.sys.driver = &sys_epoll;
    self->poller.fd = epoll_create1(EPOLL_CLOEXEC);
    self->poller.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = &self->poller.wake_fd};
    if (self->poller.fd >= 0 && self->poller.wake_fd >= 0 &&
        epoll_ctl(self->poller.fd, EPOLL_CTL_ADD, self->poller.wake_fd, &event) == 0)
        return &self->poller.sys;
    *err = -errno;
    if (self->poller.fd >= 0)
        close(self->poller.fd);
    if (self->poller.wake_fd >= 0)
        close(self->poller.wake_fd);
    memory_release(self);
    return NULL;
}

static void destroy(struct sys *sys) {
    struct epoll_sys *self = (struct epoll_sys *)sys;
    close(self->poller.fd);
    close(self->poller.wake_fd);
    memory_release(self);
}

// ---- operations ----

static void close_handle(struct sys_handle *handle) {
    assert(!handle->reader && !handle->writer);
    struct epoll_sys *self = (struct epoll_sys *)handle->sys;
    // Another process may still hold a copy of the descriptor: then closing ours would not end the
    // registration, and an event would name a handle that is gone.
    if (handle->registered) {
        (void)epoll_ctl(self->poller.fd, EPOLL_CTL_DEL, handle->fd, NULL);
        if (self->within)
            (void)epoll_ctl(self->within->poller.fd, EPOLL_CTL_DEL, handle->fd, NULL);
        // Last: who sees this number before it polls does not find the handle.
        __atomic_store_n(&self->closed, self->closed + 1, __ATOMIC_SEQ_CST);
    }
    close(handle->fd);
    handle->sys = NULL;
    handle->fd = -1;
}

// 0; 1 if the descriptor needs no watching; or a negative error.
static int watch(struct sys_handle *handle) {
    struct epoll_sys *self = (struct epoll_sys *)handle->sys;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = handle};
    if (epoll_ctl(self->poller.fd, EPOLL_CTL_ADD, handle->fd, &event) != 0) {
        handle->always_ready = errno == EPERM;
        return handle->always_ready ? 1 : -errno;
    }
    event.data.u64 = (uintptr_t)handle | OF_INNER;
    if (self->within &&
        epoll_ctl(self->within->poller.fd, EPOLL_CTL_ADD, handle->fd, &event) != 0) {
        int err = -errno;
        (void)epoll_ctl(self->poller.fd, EPOLL_CTL_DEL, handle->fd, NULL);
        return err;
    }
    handle->registered = true;
    return 0;
}

static bool start(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    bool writing = poller_writes(op);
    bool known_blocked = handle->registered && !(writing ? handle->writable : handle->readable);
    if (!known_blocked || op->eager || op->verb == SYS_CONNECT) {
        if (poller_attempt(op))
            return true;
        if (writing)
            handle->writable = false;
        else
            handle->readable = false;
    }
    if (!handle->registered) {
        int err = watch(handle);
        if (err > 0)
            return poller_attempt(op);
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
    if (!poller_attempt(op)) {
        handle->readable = false;
        return;
    }
    handle->reader = NULL;
    op->finished(op);
}

static void retry_writer(struct sys_handle *handle) {
    struct sys_op *op = handle->writer;
    bool done = poller_attempt_again(op);
    if (!done) {
        handle->writable = false;
        return;
    }
    handle->writer = NULL;
    op->finished(op);
}

static void take_events(struct sys_handle *handle, uint32_t events) {
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

static void take_event(struct epoll_sys *self, const struct epoll_event *event) {
    if (event->data.u64 & OF_INNER) {
        self->poller.sys.inner_due |= self->inner != NULL;
        self->events[self->found++] = *event;
    } else if (event->data.ptr == self->poller.inner) {
        self->poller.sys.inner_due = true;
    } else if (event->data.ptr != &self->poller.wake_fd) {
        take_events(event->data.ptr, event->events);
    }
}

static int wait_events(struct epoll_sys *self, ac_time deadline) {
    ac_time left = deadline == AC_NOW || deadline == AC_FOREVER ? 0 : deadline - sys_clock();
    if (left < 0)
        left = 0;
    struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    if (!self->no_pwait2) {
        int count = epoll_pwait2(self->poller.fd, self->events, EVENTS,
                                 deadline == AC_FOREVER ? NULL : &wait, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) // EPERM: from filters of containers
            return count;
        self->no_pwait2 = true;
    }
    // Milliseconds, rounded up: late by less than one, never early.
    int64_t ms = deadline == AC_FOREVER ? -1 : (left + 999999) / 1000000;
    return epoll_wait(self->poller.fd, self->events, EVENTS, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

// With many connections the handle that an event is of is cold, and so is the operation that waits
// there. Both are asked for while the system reads for those before.
static inline void fetch_ahead(const struct epoll_sys *self, int i, int count) {
    if (i + 2 < count)
        __builtin_prefetch(self->events[i + 2].data.ptr);
    if (i + 1 >= count)
        return;
    const struct sys_handle *next = self->events[i + 1].data.ptr;
    const void *at = next;
    if (at != &self->poller.wake_fd && at != self->poller.inner && !((uintptr_t)at & OF_INNER))
        __builtin_prefetch(next->reader);
}

static int poll_events(struct sys *sys, ac_time deadline) {
    struct epoll_sys *self = (struct epoll_sys *)sys;
    self->found = 0;
    if (self->inner)
        self->closed_before = __atomic_load_n(&self->inner->closed, __ATOMIC_SEQ_CST);
    int count = wait_events(self, deadline);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        fetch_ahead(self, i, count);
        take_event(self, &self->events[i]);
    }
    sys->queued &= count == EVENTS;
    return 0;
}

static bool feed(struct sys *outer) {
    struct epoll_sys *self = (struct epoll_sys *)outer, *inner = self->inner;
    if (!inner)
        return false;
    int found = self->found;
    self->found = 0;
    // Until it has been asked for all that was not looked at here.
    inner->poller.sys.queued |= found > 0 && inner->closed != self->closed_before;
    if (inner->poller.sys.queued)
        return false;
    for (int i = 0; i < found; i++) {
        uintptr_t handle = self->events[i].data.u64 & ~(uintptr_t)OF_INNER;
        if (handle != (uintptr_t)&inner->poller.wake_fd)
            take_events((struct sys_handle *)handle, self->events[i].events);
    }
    return true;
}

// The inner one's own eventfd, and its handles as they come to be watched.
static int nest_closely(struct epoll_sys *self, struct epoll_sys *inner) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET,
                                .data.u64 = (uintptr_t)&inner->poller.wake_fd | OF_INNER};
    if (epoll_ctl(self->poller.fd, EPOLL_CTL_ADD, inner->poller.wake_fd, &event) != 0)
        return -errno;
    inner->within = self;
    self->inner = inner;
    return 0;
}

static int nest(struct sys *outer, struct sys *inner) {
    struct epoll_sys *self = (struct epoll_sys *)outer;
    if (inner && inner->driver == &sys_epoll)
        return nest_closely(self, (struct epoll_sys *)inner);
    if (!inner && self->inner) {
        int fd = self->inner->poller.wake_fd;
        self->inner = NULL;
        return epoll_ctl(self->poller.fd, EPOLL_CTL_DEL, fd, NULL) ? -errno : 0;
    }
    if (!inner) {
        int fd = self->poller.inner->fd;
        self->poller.inner = NULL;
        return epoll_ctl(self->poller.fd, EPOLL_CTL_DEL, fd, NULL) ? -errno : 0;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = inner};
    if (epoll_ctl(self->poller.fd, EPOLL_CTL_ADD, ((struct poller *)inner)->fd, &event) != 0)
        return -errno;
    self->poller.inner = (struct poller *)inner;
    return 0;
}

const struct sys_driver sys_epoll = {
    .name = "epoll",
    .create = create,
    .destroy = destroy,
    .now = poller_now,
    .random = poller_random,
    .open = poller_open,
    .adopt = poller_adopt,
    .close = close_handle,
    .attempt = poller_attempt,
    .start = start,
    .cancel = cancel,
    .poll = poll_events,
    .wake = poller_wake,
    .nest = nest,
    .feed = feed,
    .local = poller_local,
    .remote = poller_remote,
    .group = poller_group,
    .shut = poller_shut,
};
