// SPDX-License-Identifier: MIT
// Listening, accepting, connecting.
//
// A name may have several addresses, some of which lead nowhere. They are tried in the order in
// which the system gives them; each but the last gets its share of the time that is left, and no
// more than ten seconds, so that a silent one cannot use up the time of those behind it.
#include <stdio.h>

#include "io/io.h"

enum { ATTEMPT_SECONDS_MAX = 10 };

struct ac_listener {
    struct io_object object;
};

static void release(struct io_object *object);
static int open_listener(struct loop *loop, struct sys_handle *handle, const char *address);

// ---- listening ----

int ac_listen(ac_listener **listener, const char *address) {
    int err = 0;
    if (!listener || !address)
        return -EINVAL;
    *listener = NULL;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    struct ac_listener *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    err = io_prepare(loop, &it->object, release);
    if (!err)
        err = open_listener(loop, &it->object.handle, address);
    trace(TRACE_IO, "listen on %s: %d", address, err);
    if (err) {
        io_close(&it->object);
        return err;
    }
    *listener = it;
    return 0;
}

static void release(struct io_object *object) {
    memory_release(container_of(object, struct ac_listener, object));
}

static int open_one(struct loop *loop, struct sys_handle *handle, const char *address) {
    struct sys_address bind;
    if (!sys_address_parse(address, &bind))
        return -EINVAL;
    const struct sys_open how = {.transport = SYS_STREAM, .bind = &bind, .listen = true};
    return sys_open(loop->sys, handle, &how);
}

static int open_listener(struct loop *loop, struct sys_handle *handle, const char *address) {
    char text[AC_ADDRESS_TEXT_BYTES];
    if (address[0] != ':')
        return open_one(loop, handle, address);
    // The IPv6 socket takes IPv4 as well.
    snprintf(text, sizeof text, "[::]%s", address);
    int err = open_one(loop, handle, text);
    if (err != -EAFNOSUPPORT && err != -EADDRNOTAVAIL)
        return err;
    snprintf(text, sizeof text, "0.0.0.0%s", address);
    return open_one(loop, handle, text);
}

int ac_listener_address(const ac_listener *listener, char text[AC_ADDRESS_TEXT_BYTES]) {
    struct sys_address address;
    if (!listener || !text)
        return -EINVAL;
    if (!listener->object.handle.sys)
        return -EBADF;
    int err = sys_local((struct sys_handle *)&listener->object.handle, &address, NULL);
    if (!err)
        sys_address_text(&address, text);
    return err;
}

void ac_listener_close(ac_listener *listener) {
    if (listener)
        io_close(&listener->object);
}

// ---- accepting ----

// Errors of one connection that broke before it was taken, which the system reports to the
// listener: the next one may be good.
static bool is_of_connection(int64_t err) {
    switch (-err) {
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET: return true;
    default: return false;
    }
}

int ac_accept(ac_listener *listener, ac_stream **stream, ac_time deadline) {
    if (!listener || !stream)
        return -EINVAL;
    *stream = NULL;
    int err = io_enter(&listener->object, IO_READS);
    if (err)
        return err;
    // Made before the connection is taken, which is lost if there is no memory for it.
    struct loop *loop = coro_here()->loop;
    struct ac_stream *new = stream_create(loop);
    struct sys_op op;
    int64_t result = -ENOMEM;
    if (new) {
        do {
            op = (struct sys_op){.verb = SYS_ACCEPT};
            result = io_operate(&listener->object, &op, deadline);
        } while (is_of_connection(result));
    }
    io_leave(&listener->object, IO_READS);
    if (result < 0) {
        ac_close(new);
        return (int)result;
    }
    sys_adopt(loop->sys, &new->object.handle, (int)result, false);
    new->remote = op.address;
    *stream = new;
    return 0;
}

// ---- connecting ----

// A connection from a port to itself, which the system makes when nobody listens on a port that it
// has just chosen as ours.
static bool is_to_itself(struct ac_stream *stream, const struct sys_address *address) {
    struct sys_address local;
    return sys_local(&stream->object.handle, &local, NULL) == 0 &&
           sys_address_equal(&local, address);
}

static int connect_one(struct ac_stream *stream, const struct sys_address *address,
                       ac_time deadline) {
    struct sys_handle *handle = &stream->object.handle;
    const struct sys_open how = {.transport = SYS_STREAM, .family = address->family};
    int err = sys_open(coro_here()->loop->sys, handle, &how);
    if (err)
        return err;
    struct sys_op op = {.verb = SYS_CONNECT, .address = *address};
    err = (int)io_operate(&stream->object, &op, deadline);
    if (!err && is_to_itself(stream, address))
        err = -ECONNREFUSED;
    if (err)
        sys_close(handle);
    else
        stream->remote = *address;
    return err;
}

// The time for one of `left` addresses that are still to be tried.
static ac_time share(ac_time deadline, int left) {
    ac_time most = ac_after(ATTEMPT_SECONDS_MAX);
    if (left <= 1 || deadline == AC_NOW)
        return deadline;
    if (deadline == AC_FOREVER)
        return most;
    ac_time now = sys_now(coro_here()->loop->sys);
    ac_time until = now + (deadline - now) / left;
    return until < most ? until : most;
}

// Of several failures the one worth telling: not that this computer has no route or no such
// addresses.
static bool says_little(int err) {
    return err == 0 || err == -ENETUNREACH || err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL ||
           err == -EHOSTUNREACH;
}

static int connect_any(struct ac_stream *stream, const struct sys_address *found, int count,
                       ac_time deadline) {
    int worst = 0;
    for (int i = 0; i < count; i++) {
        int err = connect_one(stream, &found[i], share(deadline, count - i));
        if (err == 0 || coro_is_interruption(err) || err == -EBADF)
            return err;
        if (says_little(worst))
            worst = err;
    }
    return worst;
}

int ac_connect(ac_stream **stream, const char *address, ac_time deadline) {
    struct sys_address found[IO_ADDRESSES_MAX];
    if (!stream || !address)
        return -EINVAL;
    *stream = NULL;
    struct coro *coro = coro_here();
    int err = coro_may_wait(coro, AC_FOREVER);
    if (err)
        return err;
    int count = io_resolve(address, found, countof(found), deadline);
    if (count < 0)
        return count;
    struct ac_stream *new = stream_create(coro->loop);
    if (!new)
        return -ENOMEM;
    err = connect_any(new, found, count, deadline);
    trace(TRACE_IO, "connect to %s: %d", address, err);
    if (err) {
        ac_close(new);
        return err;
    }
    *stream = new;
    return 0;
}
