// SPDX-License-Identifier: MIT
// The poller over io_uring, from Linux 6.1.
//
// An operation is tried at once, as everything else would cost more when it need not wait. One that
// has to wait is queued; the next sys_poll tells the system of all that are, in the same system
// call that waits. What the system is told:
//
//      to read from a socket   read as soon as something is there, into the memory of the operation
//      anything else           watch the descriptor once; then the operation is tried again
//
// So the system writes into the memory of an operation only while a socket is read, and no read
// that had to wait needs a system call of its own. After each it says whether more is there; if not
// the next read is not tried but queued.
//
//      IDLE --start--> QUEUED --poll--> AWAITING --ready, tried again: done--> IDLE
//                        ^  \              |  ready, but it would wait still
//                        |   \             |
//                        +----\------------+
//                              --poll--> RECEIVING --bytes, end, error--> IDLE
//
// Each submission names its operation by address, so an operation lives until its completion was
// seen: sys_cancel submits a cancellation at once, looks for the completion that this brings about,
// and takes it away. If it is not there, or tells of bytes, it is seen in sys_poll as any other.
//
// The ring. Its completions come about only when its thread asks for them (DEFER_TASKRUN), which
// saves it interruptions: a tenth of the time with 50 connections, a third with 1,000. It belongs
// to the thread that first polls. A poller that several threads drive in turn cannot have that; the
// system interrupts the thread that submitted an operation to complete it, and gives up what a
// thread that ends has submitted, which is submitted anew then.
//
// liburing maps the ring and fills in submissions. Its calls that submit and wait are not used:
// those of version 2.3 wait twice as long as asked when something was submitted.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <liburing.h>

#include "sys/poller_private.h"

enum {
    SUBMISSIONS = 256,   // that the ring holds; more of them are submitted in several goes
    COMPLETIONS = 4096,  // that it holds; what is more the system keeps elsewhere meanwhile
    BYTES_MAX = 1 << 30, // of one operation
    PROBE_NS = 100 * 1000 * 1000,
    SETTLE_NS = 1000 * 1000 * 1000
};

enum {
    RING = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
    RING_OF_ONE_THREAD = RING | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                         IORING_SETUP_TASKRUN_FLAG
};

// sys_op.stage
enum stage { IDLE, QUEUED, AWAITING, RECEIVING };

struct uring_sys {
    struct poller poller;
    struct io_uring ring;
    struct list queued; // sys_op.link, the oldest first: to be submitted, or their cancellation
    bool enabled;       // the ring belongs to a thread
    bool wake_armed;    // the system watches the eventfd
    bool inner_armed;   // the system watches the nested poller
};

static int enter(struct uring_sys *self, unsigned wait, ac_time deadline);
static int submit(struct uring_sys *self);

// ---- making and ending ----

// Makes the ring and the eventfd. 0 or a negative error.
static int set_up(struct uring_sys *self, unsigned flags) {
    struct io_uring_params how = {.flags = flags, .cq_entries = COMPLETIONS};
    list_init(&self->queued);
    self->poller.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->poller.wake_fd < 0)
        return -errno;
    int err = io_uring_queue_init_params(SUBMISSIONS, &self->ring, &how);
    if (err < 0) {
        close(self->poller.wake_fd);
        return err;
    }
    // A process made by fork that touches it ends, and takes nothing from this one.
    (void)io_uring_ring_dontfork(&self->ring);
    self->poller.fd = self->ring.ring_fd;
    return 0;
}

static struct sys *create(unsigned flags, int *err) {
    struct uring_sys *self = memory_allocate_zeroed(sizeof *self);
    if (!self) {
        *err = -ENOMEM;
        return NULL;
    }
    uint64_t number;
    *err = sys_random_bytes(&number, sizeof number); // the only time that it may fail
    if (*err == 0)
        *err = set_up(self, flags);
    if (*err < 0) {
        memory_release(self);
        return NULL;
    }
    self->poller.sys.driver = &sys_uring;
    return &self->poller.sys;
}

static void destroy(struct sys *sys) {
    struct uring_sys *self = (struct uring_sys *)sys;
    io_uring_queue_exit(&self->ring);
    close(self->poller.wake_fd);
    memory_release(self);
}

// ---- submitting ----

// Submits what was filled in, waits for `wait` completions until the deadline, and lets come about
// what can. 0, also if it came to nothing for now, or a negative error.
static int enter(struct uring_sys *self, unsigned wait, ac_time deadline) {
    int err = 0;
    if (!self->enabled)
        err = io_uring_register((unsigned)self->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                                0);
    if (err < 0)
        return err;
    self->enabled = true;
    struct io_uring_sq *sq = &self->ring.sq;
    unsigned mask = *sq->kring_mask, tail = *sq->ktail;
    for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++, tail++)
        sq->array[tail & mask] = sq->sqe_head & mask;
    io_uring_smp_store_release(sq->ktail, tail);
    unsigned count = tail - io_uring_smp_load_acquire(sq->khead);

    struct __kernel_timespec time = {0};
    struct io_uring_getevents_arg how = {0};
    if (wait > 0 && deadline != AC_FOREVER) {
        ac_time left = deadline - sys_clock();
        if (left > 0)
            time = (struct __kernel_timespec){left / 1000000000, left % 1000000000};
        how.ts = (uintptr_t)&time;
    }
    err = io_uring_enter2((unsigned)self->ring.ring_fd, count, wait,
                          IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, (sigset_t *)&how,
                          sizeof how);
    // Time is up; a signal; too many completions that nobody has looked at; no memory to submit,
    // which stays where it is.
    bool passes = err == -ETIME || err == -EINTR || err == -EBUSY || err == -EAGAIN;
    return err < 0 && !passes ? err : 0;
}

// A submission to be filled in, or NULL: there is no room even after those before it have left.
static struct io_uring_sqe *next_submission(struct uring_sys *self, int *err) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
    if (likely(sqe))
        return sqe;
    *err = enter(self, 0, AC_NOW);
    return *err < 0 ? NULL : io_uring_get_sqe(&self->ring);
}

static void describe(struct sys_op *op, struct io_uring_sqe *sqe) {
    const struct sys_handle *handle = op->handle;
    if (op->stage != QUEUED) {
        io_uring_prep_cancel(sqe, op, 0);
        io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
        io_uring_sqe_set_data(sqe, NULL);
        return;
    }
    if (op->verb == SYS_READ && handle->socket && !handle->shared) {
        io_uring_prep_recv(sqe, handle->fd, op->bytes,
                           op->count < BYTES_MAX ? op->count : BYTES_MAX, 0);
        sqe->ioprio = IORING_RECVSEND_POLL_FIRST; // nothing was there when it was tried
        op->stage = RECEIVING;
    } else {
        io_uring_prep_poll_add(sqe, handle->fd, poller_writes(op) ? POLLOUT : POLLIN);
        op->stage = AWAITING;
    }
    io_uring_sqe_set_data(sqe, op);
}

// Fills in all that is queued, as far as there is room. 0 or a negative error.
static int submit(struct uring_sys *self) {
    int err = 0;
    struct io_uring_sqe *sqe;
    while (!list_empty(&self->queued) && (sqe = next_submission(self, &err)))
        describe(container_of(list_take(&self->queued), struct sys_op, link), sqe);
    return err;
}

// Whether there is something that the system does not know.
static void note_queued(struct uring_sys *self) {
    self->poller.sys.queued = !list_empty(&self->queued) || io_uring_sq_ready(&self->ring) > 0;
}

// Has the system watch the eventfd and the nested poller. What it was told of the eventfd lasts.
static int arm(struct uring_sys *self) {
    int err = 0;
    struct io_uring_sqe *sqe;
    if (!self->wake_armed && (sqe = next_submission(self, &err))) {
        io_uring_prep_poll_multishot(sqe, self->poller.wake_fd, POLLIN);
        io_uring_sqe_set_data(sqe, &self->poller.wake_fd);
        self->wake_armed = true;
    }
    if (self->poller.inner && !self->inner_armed && (sqe = next_submission(self, &err))) {
        io_uring_prep_poll_add(sqe, self->poller.inner->fd, POLLIN);
        io_uring_sqe_set_data(sqe, &self->poller.inner);
        self->inner_armed = true;
    }
    return err;
}

// ---- operations ----

static void queue(struct uring_sys *self, struct sys_op *op) {
    op->stage = QUEUED;
    op->cancelled = false;
    list_append(&self->queued, &op->link);
    self->poller.sys.queued = true;
}

static bool start(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    bool writing = poller_writes(op);
    bool known_blocked = handle->registered && !(writing ? handle->writable : handle->readable);
    if ((!known_blocked || op->eager || op->verb == SYS_CONNECT) && poller_attempt(op))
        return true;
    if (!handle->registered) {
        struct stat facts;
        handle->socket = fstat(handle->fd, &facts) == 0 && S_ISSOCK(facts.st_mode);
        handle->registered = true;
    }
    if (writing) {
        handle->writable = false;
        handle->writer = op;
    } else {
        handle->readable = false;
        handle->reader = op;
    }
    queue((struct uring_sys *)handle->sys, op);
    return false;
}

// The operation is the poller's no longer.
static void leave(struct sys_op *op, int64_t result) {
    struct sys_handle *handle = op->handle;
    if (handle->reader == op)
        handle->reader = NULL;
    else
        handle->writer = NULL;
    list_remove(&op->link);
    op->stage = IDLE;
    op->result = result;
}

// The completion of an operation that has come about and was not looked at, or NULL.
static struct io_uring_cqe *seek(struct uring_sys *self, const struct sys_op *op) {
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&self->ring, head, cqe) if (cqe->user_data == (uintptr_t)op) return cqe;
    return NULL;
}

// Nobody shall see it.
static void take_away(struct uring_sys *self, struct io_uring_cqe *cqe) {
    cqe->user_data = 0;
    // So that those of many cancelled operations need no room.
    if (cqe == &self->ring.cq.cqes[*self->ring.cq.khead & *self->ring.cq.kring_mask])
        io_uring_cq_advance(&self->ring, 1);
}

static bool took_nothing(const struct sys_op *op, int result) {
    return op->stage == AWAITING || result == -ECANCELED || result == -EAGAIN || result == -EINTR;
}

static bool cancel(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    struct uring_sys *self = (struct uring_sys *)handle->sys;
    if (handle->reader != op && handle->writer != op)
        return false;
    if (op->stage != QUEUED) {
        op->cancelled = true;
        list_remove(&op->link); // where it was cancelled before, without success
        list_append(&self->queued, &op->link);
        if (submit(self) == 0)
            (void)enter(self, 0, AC_NOW);
        note_queued(self);
        struct io_uring_cqe *cqe = seek(self, op);
        if (!cqe || !took_nothing(op, cqe->res))
            return false;
        take_away(self, cqe);
    }
    leave(op, -ECANCELED);
    return true;
}

static void complete(struct uring_sys *self, struct sys_op *op, const struct io_uring_cqe *cqe) {
    struct sys_handle *handle = op->handle;
    list_remove(&op->link); // a cancellation that has not left
    if (!took_nothing(op, cqe->res)) {
        handle->readable = (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
        leave(op, cqe->res);
    } else if (op->cancelled) {
        leave(op, -ECANCELED);
    } else if (op->stage == AWAITING && cqe->res != -ECANCELED && poller_attempt_again(op)) {
        // (Given up by the system it is not tried: a connection that is being made would seem
        // made.)
        if (poller_writes(op))
            handle->writable = true;
        else
            handle->readable = true;
        leave(op, op->result);
    } else {
        queue(self, op);
        return;
    }
    op->finished(op);
}

// The loop ends although an operation is pending: the one who started it was abandoned. Nothing is
// written into its memory afterwards.
static void settle(struct uring_sys *self, struct sys_op *op) {
    if (!op || cancel(op))
        return;
    ac_time until = sys_clock() + SETTLE_NS;
    struct io_uring_cqe *cqe;
    while (!(cqe = seek(self, op)) && sys_clock() < until)
        if (enter(self, io_uring_cq_ready(&self->ring) + 1, until) < 0)
            break;
    if (cqe)
        take_away(self, cqe);
    leave(op, -ECANCELED);
}

static void close_handle(struct sys_handle *handle) {
    struct uring_sys *self = (struct uring_sys *)handle->sys;
    settle(self, handle->reader);
    settle(self, handle->writer);
    close(handle->fd);
    handle->sys = NULL;
    handle->fd = -1;
}

// ---- polling ----

static void take(struct uring_sys *self, const struct io_uring_cqe *cqe) {
    if (cqe->user_data == (uintptr_t)&self->poller.wake_fd) {
        self->wake_armed = (cqe->flags & IORING_CQE_F_MORE) != 0;
    } else if (cqe->user_data == (uintptr_t)&self->poller.inner) {
        self->inner_armed = false;
        if (self->poller.inner && cqe->res > 0)
            self->poller.sys.inner_due = true;
    } else if (cqe->user_data != 0) {
        complete(self, (struct sys_op *)(uintptr_t)cqe->user_data, cqe);
    }
}

static int poll_completions(struct sys *sys, ac_time deadline) {
    struct uring_sys *self = (struct uring_sys *)sys;
    struct io_uring *ring = &self->ring;
    int err = arm(self);
    if (err == 0)
        err = submit(self);
    if (err < 0)
        return err;
    bool wait = deadline != AC_NOW && io_uring_cq_ready(ring) == 0 && list_empty(&self->queued);
    unsigned news = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
    if (wait || io_uring_sq_ready(ring) > 0 || (IO_URING_READ_ONCE(*ring->sq.kflags) & news))
        err = enter(self, wait, deadline);
    if (err < 0)
        return err;
    unsigned head, count = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(ring, head, cqe) {
        count++;
        take(self, cqe);
    }
    io_uring_cq_advance(ring, count);
    note_queued(self);
    return 0;
}

static int nest(struct sys *outer, struct sys *inner) {
    struct uring_sys *self = (struct uring_sys *)outer;
    self->poller.inner = (struct poller *)inner;
    if (inner || !self->inner_armed)
        return 0;
    // As long as it is watched it is not closed.
    int err = 0;
    struct io_uring_sqe *sqe = next_submission(self, &err);
    if (!sqe)
        return err < 0 ? err : -EBUSY;
    io_uring_prep_cancel(sqe, &self->poller.inner, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data(sqe, NULL);
    return enter(self, 0, AC_NOW);
}

// ---- whether the system has it ----

static void ignore(struct sys_op *op) { (void)op; }

// Reads a byte as it is read later. 0 or a negative error.
static int try_out(struct uring_sys *self) {
    int ends[2];
    int err = set_up(self, RING_OF_ONE_THREAD);
    if (err < 0)
        return err;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
        return -errno;
    char byte = 0;
    struct sys_handle handle = {.sys = &self->poller.sys, .fd = ends[0]};
    struct sys_op op = {
        .verb = SYS_READ, .handle = &handle, .bytes = &byte, .count = 1, .finished = ignore};
    if (start(&op) || write(ends[1], "x", 1) != 1)
        return -EIO;
    ac_time until = sys_clock() + PROBE_NS;
    while (err == 0 && handle.reader && sys_clock() < until)
        err = poll_completions(&self->poller.sys, until);
    return err < 0 ? err : handle.reader ? -ETIMEDOUT : op.result != 1 ? -EIO : 0;
}

// In a process of its own, because there are filters that end a process which asks for it. That
// process is a copy made by the system alone: no handler of the program runs, and nobody is told of
// its end.
int uring_probe(void) {
    struct uring_sys self = {0};
    long id = syscall(SYS_clone, 0L, NULL, NULL, NULL, 0L);
    if (id == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        syscall(SYS_exit_group, (long)-try_out(&self));
    }
    int status;
    pid_t ended = -1;
    while (id > 0 && (ended = waitpid((pid_t)id, &status, __WALL)) < 0 && errno == EINTR)
        continue;
    if (ended < 0)
        return -errno;
    return WIFSIGNALED(status) ? -EPERM : -WEXITSTATUS(status);
}

// ---- the table ----

static struct sys *create_alone(int *err) { return create(RING_OF_ONE_THREAD, err); }
static struct sys *create_in_turn(int *err) { return create(RING, err); }

static const struct sys_driver in_turn = {.name = "uring", .create = create_in_turn};

const struct sys_driver sys_uring = {
    .name = "uring",
    .create = create_alone,
    .in_turn = &in_turn,
    .destroy = destroy,
    .now = poller_now,
    .random = poller_random,
    .open = poller_open,
    .adopt = poller_adopt,
    .close = close_handle,
    .attempt = poller_attempt,
    .start = start,
    .cancel = cancel,
    .poll = poll_completions,
    .wake = poller_wake,
    .nest = nest,
    .local = poller_local,
    .remote = poller_remote,
    .group = poller_group,
    .shut = poller_shut,
};
