// SPDX-License-Identifier: MIT
// The poller of a simulated process, which sys_chosen makes here.
//
// An operation is tried when it is started, and again when its socket has been kicked: then it
// stands among the `due` of its poller, and the process is woken. A host loop that polls gives the
// processor back each time, also when it would not wait: so the others run at the right moments. A
// guest loop, which is polled under its host, never does.
#include "sim.h"

#include <stdlib.h>

struct sim_sys {
    struct sys sys;
    struct process *process;
    struct sim_sys *inner;
    struct list link; // in process->loops
    struct list due;  // struct sys_op.link
    bool is_inner;
};

static struct sim_sys *sim_of(struct sys *sys) { return (struct sim_sys *)sys; }

static const struct sys_driver simulated;

static struct sys *create(int *err) {
    struct sim_sys *self = memory_allocate_zeroed(sizeof *self);
    *err = self ? 0 : -ENOMEM;
    if (!self)
        return NULL;
    assert(sim.running);
    self->sys.driver = &simulated;
    self->process = sim.running;
    list_init(&self->due);
    list_append(&self->process->loops, &self->link);
    if (!self->process->outer)
        self->process->outer = self;
    return &self->sys;
}

static void destroy(struct sys *sys) {
    struct sim_sys *self = sim_of(sys);
    list_remove(&self->link);
    if (self->process->outer == self)
        self->process->outer = NULL;
    memory_release(self);
}

void driver_forget(struct process *process) {
    for (struct list *link; (link = list_take(&process->loops));)
        (void)link;
    process->outer = NULL;
}

static ac_time now(struct sys *sys) {
    struct process *process = sim_of(sys)->process;
    process->spent += process->cost;
    sim_check(process->spent < 5 * SIM_S, "process %u never lets go of the processor",
              process->number);
    return process_clock(process);
}

static uint64_t random_number(struct sys *sys) {
    return random_step(&sim_of(sys)->process->random);
}

// ---- operations ----

static bool writes(const struct sys_op *op) {
    return op->verb == SYS_CONNECT || op->verb == SYS_WRITE || op->verb == SYS_SEND;
}

static bool attempt(struct sys_op *op) {
    struct socket *socket = net_socket(op->handle->fd);
    process_counts(socket->process);
    if (!net_attempt(op, socket))
        return false;
    sim_note("op", socket->process->number, (uint64_t)op->verb << 32 | (unsigned)socket->fd,
             (uint64_t)op->result);
    return true;
}

static bool start(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    if (attempt(op))
        return true;
    net_socket(handle->fd)->handle = handle;
    list_init(&op->link);
    if (writes(op))
        handle->writer = op;
    else
        handle->reader = op;
    return false;
}

static void forget(struct sys_op *op) {
    struct sys_handle *handle = op->handle;
    list_remove(&op->link);
    if (handle->reader == op)
        handle->reader = NULL;
    else
        handle->writer = NULL;
    if (!handle->reader && !handle->writer) // it may be gone before its socket
        net_socket(handle->fd)->handle = NULL;
}

static bool cancel(struct sys_op *op) {
    if (op->handle->reader != op && op->handle->writer != op)
        return false;
    forget(op);
    op->result = -ECANCELED;
    return true;
}

static void kick_op(struct sys_op *op) {
    struct sim_sys *self = sim_of(op->handle->sys);
    list_remove(&op->link);
    list_append(&self->due, &op->link);
    process_wake(self->process, sim.now);
}

void driver_kick(struct socket *socket, bool reader, bool writer) {
    struct sys_handle *handle = socket->handle;
    if (!handle || !socket->process || !process_lives(socket->process))
        return;
    if (reader && handle->reader)
        kick_op(handle->reader);
    if (writer && handle->writer)
        kick_op(handle->writer);
}

// Tries those that have been kicked. False if there was none.
static bool run_due(struct sim_sys *self) {
    struct list tried;
    bool any = !list_empty(&self->due);
    list_init(&tried);
    for (struct list *link; (link = list_take(&self->due));)
        list_append(&tried, link);
    for (struct list *link; (link = list_take(&tried));) {
        struct sys_op *op = container_of(link, struct sys_op, link);
        if (!attempt(op))
            continue;
        forget(op);
        op->finished(op);
    }
    return any;
}

static int poll(struct sys *sys, ac_time deadline) {
    struct sim_sys *self = sim_of(sys);
    struct process *process = self->process;
    if (self->is_inner) {
        (void)run_due(self);
        return 0;
    }
    bool waits = list_empty(&self->due) && !(self->inner && !list_empty(&self->inner->due)) &&
                 deadline > process_clock(process);
    ac_time when = sim.now + process->spent;
    if (waits)
        when = deadline == AC_FOREVER ? AC_FOREVER : process_when(process, deadline);
    if (when != AC_FOREVER)
        process_wake(process, when);
    process_wait(process);
    (void)run_due(self);
    sys->inner_due |= self->inner && !list_empty(&self->inner->due);
    return 0;
}

static void wake(struct sys *sys) { process_wake(sim_of(sys)->process, sim.now); }

static int nest(struct sys *outer, struct sys *inner) {
    struct sim_sys *self = sim_of(outer);
    if (self->inner)
        self->inner->is_inner = false;
    self->inner = inner ? sim_of(inner) : NULL;
    if (self->inner)
        self->inner->is_inner = true;
    return 0;
}

// ---- handles ----

static int open_handle(struct sys *sys, struct sys_handle *handle, const struct sys_open *how) {
    process_counts(sim_of(sys)->process);
    int fd = net_open_socket(sim_of(sys)->process, how);
    if (fd < 0)
        return fd;
    *handle = (struct sys_handle){.sys = sys, .fd = fd};
    return 0;
}

static void adopt(struct sys *sys, struct sys_handle *handle, int fd, bool shared) {
    (void)shared;
    *handle = (struct sys_handle){.sys = sys, .fd = fd};
}

static void close_handle(struct sys_handle *handle) {
    assert(!handle->reader && !handle->writer);
    process_counts(sim_of(handle->sys)->process);
    net_close(handle->fd);
    handle->sys = NULL;
    handle->fd = -1;
}

static int local(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    (void)name;
    *address = net_socket(handle->fd)->local;
    return 0;
}

static int remote(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name) {
    (void)name;
    *address = net_socket(handle->fd)->remote;
    return 0;
}

static int group(struct sys_handle *handle, const struct sys_address *address, unsigned interface,
                 bool member) {
    (void)handle, (void)address, (void)interface, (void)member;
    return -EAFNOSUPPORT; // there is IPv4 alone
}

static int shut(struct sys_handle *handle) { return net_shut(net_socket(handle->fd)); }

static const struct sys_driver simulated = {
    .name = "simulated",
    .create = create,
    .destroy = destroy,
    .now = now,
    .random = random_number,
    .open = open_handle,
    .adopt = adopt,
    .close = close_handle,
    .attempt = attempt,
    .start = start,
    .cancel = cancel,
    .poll = poll,
    .wake = wake,
    .nest = nest,
    .local = local,
    .remote = remote,
    .group = group,
    .shut = shut,
};

void driver_begin(void) { sys_choose(&simulated); }
