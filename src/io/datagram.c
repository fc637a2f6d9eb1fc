// SPDX-License-Identifier: MIT
// Datagrams: UDP and Unix sockets.
//
// A socket at no address, or at every one, is of IPv6 and sends and receives IPv4 as well, unless
// there is no IPv6 here. A datagram that has no room where it is received is told from one that
// fits: the system gives its true size. Of a Unix socket whose queue is full the system does not
// tell when there is room, unless it was connected to; so it is asked again after a while.
#include <limits.h>
#include <stddef.h>
#include <stdio.h>

#include "io/io.h"

enum { RIGHTS_MAX = 0777 };

// Between two looks whether the queue of a Unix socket has room.
#define ROOM_NS_MIN ((ac_time)1000 * 1000)
#define ROOM_NS_MAX ((ac_time)20 * 1000 * 1000)

struct ac_datagrams {
    struct io_object object;
    struct io_socket_file file;
    struct coro *pausing; // who waits to try to send again, or NULL
    uint8_t family;       // 4, 6 or SYS_UNIX
};

static void release(struct io_object *object);
static void closing(struct io_object *object);
static bool abandon_pause(struct coro *coro);

static const struct wait_kind pause_wait = {"datagram out", abandon_pause, .until_deadline = true};

// ---- opening and closing ----

static int read_interface(const char *interface, unsigned *index) {
    *index = interface ? sys_interface_index(interface) : 0;
    return interface && !*index ? -ENODEV : 0;
}

static int read_options(const struct ac_datagrams_options *options, struct sys_open *how) {
    struct ac_datagrams_options whole = {0};
    if (!options)
        return 0;
    if (options->size < offsetof(struct ac_datagrams_options, hops))
        return -EINVAL;
    memcpy(&whole, options, options->size < sizeof whole ? options->size : sizeof whole);
    if (whole.mode > RIGHTS_MAX || whole.send_buffer_bytes > INT32_MAX ||
        whole.receive_buffer_bytes > INT32_MAX)
        return -EINVAL;
    how->share_port = how->spread_port = whole.reuse_port;
    how->broadcast = whole.broadcast;
    how->ipv6_only = whole.ipv6_only;
    how->no_loopback = whole.no_loopback;
    how->replace = whole.replace;
    how->hops = whole.hops;
    how->mode = whole.mode;
    how->send_buffer_bytes = whole.send_buffer_bytes;
    how->receive_buffer_bytes = whole.receive_buffer_bytes;
    return read_interface(whole.interface, &how->interface);
}

static int open_nowhere(struct loop *loop, struct sys_handle *handle, struct sys_open *how) {
    how->family = 6;
    int err = sys_open(loop->sys, handle, how);
    if (err != -EAFNOSUPPORT || how->ipv6_only)
        return err;
    how->family = 4;
    return sys_open(loop->sys, handle, how);
}

static int open_socket(struct loop *loop, struct ac_datagrams *it, const char *address,
                       struct sys_open *how) {
    struct sys_handle *handle = &it->object.handle;
    struct sys_address local;
    int err = address ? io_open_at(loop, handle, address, how, &it->file)
                      : open_nowhere(loop, handle, how);
    if (err)
        return err;
    err = sys_local(handle, &local, NULL);
    // An unbound IPv6 socket is at "[::]:0", which is no dressed address of IPv4.
    it->family = local.family;
    it->object.closing = closing;
    return err;
}

int ac_datagrams_open_with(ac_datagrams **datagrams, const char *address,
                           const struct ac_datagrams_options *options) {
    struct sys_open how = {.transport = SYS_DATAGRAMS};
    if (!datagrams)
        return -EINVAL;
    *datagrams = NULL;
    int err = read_options(options, &how);
    struct loop *loop = err ? NULL : loop_need(&err);
    if (!loop)
        return err;
    struct ac_datagrams *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    err = io_prepare(loop, &it->object, release);
    if (!err)
        err = open_socket(loop, it, address, &how);
    trace(TRACE_IO, "datagrams at %s: %d", address ? address : "no address", err);
    if (err) {
        io_close(&it->object);
        return err;
    }
    *datagrams = it;
    return 0;
}

static void release(struct io_object *object) {
    memory_release(container_of(object, struct ac_datagrams, object));
}

// While the socket is open no other file can have the number of its own.
static void closing(struct io_object *object) {
    struct ac_datagrams *it = container_of(object, struct ac_datagrams, object);
    sys_socket_file_remove(&it->file.name, it->file.is);
    if (it->pausing)
        coro_wake(it->pausing, -EBADF);
    it->pausing = NULL;
}

void ac_datagrams_close(ac_datagrams *datagrams) {
    if (datagrams)
        io_close(&datagrams->object);
}

// ---- addresses and groups ----

int ac_datagrams_address(const ac_datagrams *datagrams, char text[AC_ADDRESS_TEXT_BYTES]) {
    return datagrams && text ? io_local_text(&datagrams->object, text) : -EINVAL;
}

int ac_datagrams_descriptor(const ac_datagrams *datagrams) {
    if (!datagrams)
        return -EINVAL;
    return datagrams->object.handle.sys ? datagrams->object.handle.fd : -EBADF;
}

// A group is an address without a port, and without brackets.
static bool parse_group(const char *text, struct sys_address *group) {
    char whole[SYS_ADDRESS_TEXT_BYTES];
    bool is_ipv6 = strchr(text, ':') != NULL;
    if (strlen(text) > sizeof whole - sizeof "[]:0")
        return false;
    snprintf(whole, sizeof whole, is_ipv6 ? "[%s]:0" : "%s:0", text);
    return sys_address_parse(whole, group);
}

static int change_group(ac_datagrams *datagrams, const char *text, const char *interface,
                        bool member) {
    struct sys_address group;
    unsigned index;
    if (!datagrams || !text || !parse_group(text, &group))
        return -EINVAL;
    if (!datagrams->object.handle.sys)
        return -EBADF;
    if (datagrams->family == SYS_UNIX)
        return -ENOTSUP;
    int err = read_interface(interface, &index);
    return err ? err : sys_group(&datagrams->object.handle, &group, index, member);
}

int ac_datagrams_join(ac_datagrams *datagrams, const char *group, const char *interface) {
    return change_group(datagrams, group, interface, true);
}

int ac_datagrams_leave(ac_datagrams *datagrams, const char *group, const char *interface) {
    return change_group(datagrams, group, interface, false);
}

// ---- connecting ----

static int connect_to(struct ac_datagrams *it, const struct io_address *to, ac_time deadline) {
    struct sys_op op = {.verb = SYS_CONNECT,
                        .address = to->ip,
                        .name = (struct sys_unix *)(uintptr_t)&to->name}; // only read
    return (int)io_operate(&it->object, &op, deadline);
}

// The first of the addresses of a name that this socket can send to.
static int connect_by_name(struct ac_datagrams *it, const char *text, ac_time deadline) {
    struct sys_address found[IO_ADDRESSES_MAX];
    int count = io_resolve(text, found, countof(found), deadline);
    int err = count < 0 ? count : -EAFNOSUPPORT;
    for (int i = 0; i < count && err && !coro_is_interruption(err) && err != -EBADF; i++) {
        struct io_address to = {.ip = found[i]};
        err = connect_to(it, &to, deadline);
    }
    return err;
}

int ac_datagrams_connect(ac_datagrams *datagrams, const char *address, ac_time deadline) {
    struct io_address to;
    if (!datagrams || !address)
        return -EINVAL;
    int err = io_enter(&datagrams->object, IO_WRITES);
    if (err)
        return err;
    err = io_address_parse(address, &to);
    if (!err)
        err = connect_to(datagrams, &to, deadline);
    else if (err == -EINVAL)
        err = connect_by_name(datagrams, address, deadline);
    io_leave(&datagrams->object, IO_WRITES);
    return err;
}

// ---- sending ----

static int64_t send_once(struct ac_datagrams *it, const void *from, size_t bytes,
                         const struct io_address *to, ac_time deadline) {
    struct sys_op op = {.verb = SYS_SEND,
                        .bytes = (void *)(uintptr_t)from, // the poller only reads it, and the name
                        .count = bytes,
                        .address = to->ip,
                        .name = (struct sys_unix *)(uintptr_t)&to->name};
    return io_operate(&it->object, &op, deadline);
}

static bool abandon_pause(struct coro *coro) {
    struct ac_datagrams *it = coro->wait_for;
    it->pausing = NULL;
    return true;
}

// Waits for the moment. 0; -EBADF if the socket is closed meanwhile; -ECANCELED.
static int pause_until(struct ac_datagrams *it, ac_time until) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, AC_FOREVER);
    if (err)
        return err;
    it->pausing = self;
    self->wait_for = it;
    return coro_wait(self, &pause_wait, until);
}

static int64_t send_to_name(struct ac_datagrams *it, const void *from, size_t bytes,
                            const struct io_address *to, ac_time deadline) {
    struct sys *sys = coro_here()->loop->sys;
    for (ac_time pause = ROOM_NS_MIN;; pause = pause < ROOM_NS_MAX ? 2 * pause : pause) {
        int64_t put = send_once(it, from, bytes, to, AC_NOW);
        ac_time now = sys_now(sys);
        if (put != -ETIMEDOUT || deadline <= now)
            return put;
        int err = pause_until(it, deadline - now < pause ? deadline : now + pause);
        if (err)
            return err;
    }
}

long ac_datagrams_send(ac_datagrams *datagrams, const void *from, size_t bytes, const char *to,
                       ac_time deadline) {
    struct io_address address = {.ip.family = 0};
    if (!datagrams || (!from && bytes > 0) || bytes > LONG_MAX)
        return -EINVAL;
    int err = to ? io_address_parse(to, &address) : 0;
    if (!err)
        err = io_enter(&datagrams->object, IO_WRITES);
    if (err)
        return err;
    int64_t put = address.ip.family == SYS_UNIX
                      ? send_to_name(datagrams, from, bytes, &address, deadline)
                      : send_once(datagrams, from, bytes, &address, deadline);
    io_leave(&datagrams->object, IO_WRITES);
    return (long)put;
}

// ---- receiving ----

long ac_datagrams_receive(ac_datagrams *datagrams, void *to, size_t bytes,
                          char from[AC_ADDRESS_TEXT_BYTES], ac_time deadline) {
    struct io_address address;
    char nothing;
    if (!datagrams || (!to && bytes > 0) || bytes > LONG_MAX)
        return -EINVAL;
    int err = io_enter(&datagrams->object, IO_READS);
    if (err)
        return err;
    struct sys_op op = {.verb = SYS_RECEIVE,
                        .bytes = bytes > 0 ? to : &nothing,
                        .count = bytes,
                        .name = from ? &address.name : NULL};
    int64_t got = io_operate(&datagrams->object, &op, deadline);
    bool is_unix = datagrams->family == SYS_UNIX;
    io_leave(&datagrams->object, IO_READS); // which may free it
    if (got >= 0 && from) {
        address.ip = op.address;
        if (is_unix) // also if the sender has no name
            address.ip.family = SYS_UNIX;
        io_address_text(&address, from);
    }
    return got > (int64_t)bytes ? -EMSGSIZE : (long)got;
}
