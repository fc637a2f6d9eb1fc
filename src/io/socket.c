// SPDX-License-Identifier: MIT
// Listening and accepting; the options of sockets; streams over descriptors that others opened.
#include <stddef.h>
#include <stdio.h>

#include "io/io.h"

enum {
    KEEP_ALIVE_S_MAX = 32767, // what Linux takes
    RIGHTS_MAX = 0777
};

struct ac_listener {
    struct io_object object;
    struct io_socket_file file;
    uint32_t send_buffer_bytes; // for connections that do not inherit them: Unix sockets
    uint32_t receive_buffer_bytes;
};

static void release(struct io_object *object);
static void closing(struct io_object *object);

// ---- options ----

int io_options_read(const struct ac_socket_options *options, struct sys_open *how,
                    const char **local) {
    struct ac_socket_options whole = {0};
    *local = NULL;
    if (!options)
        return 0;
    if (options->size < offsetof(struct ac_socket_options, backlog))
        return -EINVAL;
    // An older program knows fewer of them, and a newer one more.
    memcpy(&whole, options, options->size < sizeof whole ? options->size : sizeof whole);
    if (whole.backlog > INT32_MAX || whole.mode > RIGHTS_MAX ||
        whole.keep_alive_s > KEEP_ALIVE_S_MAX || whole.send_buffer_bytes > INT32_MAX ||
        whole.receive_buffer_bytes > INT32_MAX)
        return -EINVAL;
    how->backlog = whole.backlog;
    how->spread_port = whole.reuse_port;
    how->ipv6_only = whole.ipv6_only;
    how->delay = whole.delay;
    how->replace = whole.replace;
    how->mode = whole.mode;
    how->keep_alive_s = whole.keep_alive_s;
    how->send_buffer_bytes = whole.send_buffer_bytes;
    how->receive_buffer_bytes = whole.receive_buffer_bytes;
    *local = whole.local;
    return 0;
}

// ---- binding ----

static int open_at(struct loop *loop, struct sys_handle *handle, const char *text,
                   struct sys_open *how, struct io_socket_file *file) {
    struct io_address at;
    int err = io_address_parse(text, &at);
    if (err)
        return err;
    how->bind = &at.ip;
    if (at.ip.family == SYS_UNIX) {
        how->name = &at.name;
        how->file = &file->is;
        file->name = at.name;
    }
    return sys_open(loop->sys, handle, how);
}

int io_open_at(struct loop *loop, struct sys_handle *handle, const char *text, struct sys_open *how,
               struct io_socket_file *file) {
    char whole[AC_ADDRESS_TEXT_BYTES];
    if (text[0] != ':')
        return open_at(loop, handle, text, how, file);
    // The IPv6 socket takes IPv4 as well.
    snprintf(whole, sizeof whole, "[::]%s", text);
    int err = open_at(loop, handle, whole, how, file);
    if ((err != -EAFNOSUPPORT && err != -EADDRNOTAVAIL) || how->ipv6_only)
        return err;
    snprintf(whole, sizeof whole, "0.0.0.0%s", text);
    return open_at(loop, handle, whole, how, file);
}

int io_local_text(const struct io_object *object, char text[AC_ADDRESS_TEXT_BYTES]) {
    struct io_address local;
    if (!object->handle.sys)
        return -EBADF;
    int err = sys_local((struct sys_handle *)&object->handle, &local.ip, &local.name);
    if (!err)
        io_address_text(&local, text);
    return err;
}

// ---- listening ----

static struct ac_listener *create(struct loop *loop) {
    struct ac_listener *it = memory_allocate_zeroed(sizeof *it);
    if (it && io_prepare(loop, &it->object, release) < 0) {
        memory_release(it);
        return NULL;
    }
    return it;
}

int ac_listen_with(ac_listener **listener, const char *address,
                   const struct ac_socket_options *options) {
    struct sys_open how = {.transport = SYS_STREAM, .listen = true};
    const char *local;
    if (!listener || !address)
        return -EINVAL;
    *listener = NULL;
    int err = io_options_read(options, &how, &local);
    struct loop *loop = err ? NULL : loop_need(&err);
    if (!loop)
        return err;
    struct ac_listener *it = create(loop);
    if (!it)
        return -ENOMEM;
    it->send_buffer_bytes = how.send_buffer_bytes;
    it->receive_buffer_bytes = how.receive_buffer_bytes;
    err = io_open_at(loop, &it->object.handle, address, &how, &it->file);
    trace(TRACE_IO, "listen on %s: %d", address, err);
    if (err) {
        io_close(&it->object);
        return err;
    }
    it->object.closing = closing;
    *listener = it;
    return 0;
}

int ac_listener_adopt(ac_listener **listener, int descriptor) {
    if (!listener)
        return -EINVAL;
    *listener = NULL;
    int err = sys_fd_is_listener(descriptor);
    struct loop *loop = err ? NULL : loop_need(&err);
    if (!loop)
        return err;
    struct ac_listener *it = create(loop);
    if (!it)
        return -ENOMEM;
    sys_adopt(loop->sys, &it->object.handle, descriptor, false);
    *listener = it;
    return 0;
}

static void release(struct io_object *object) {
    memory_release(container_of(object, struct ac_listener, object));
}

// While the socket is open no other file can have the number of its own.
static void closing(struct io_object *object) {
    struct ac_listener *it = container_of(object, struct ac_listener, object);
    sys_socket_file_remove(&it->file.name, it->file.is);
}

int ac_listener_address(const ac_listener *listener, char text[AC_ADDRESS_TEXT_BYTES]) {
    return listener && text ? io_local_text(&listener->object, text) : -EINVAL;
}

int ac_listener_descriptor(const ac_listener *listener) {
    if (!listener)
        return -EINVAL;
    return listener->object.handle.sys ? listener->object.handle.fd : -EBADF;
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
    struct sys_op op = {0};
    int64_t result = -ENOMEM;
    if (new) {
        do {
            op = (struct sys_op){.verb = SYS_ACCEPT};
            result = io_operate(&listener->object, &op, deadline);
        } while (is_of_connection(result));
    }
    uint32_t send_bytes = listener->send_buffer_bytes;
    uint32_t receive_bytes = listener->receive_buffer_bytes;
    io_leave(&listener->object, IO_READS); // which may free it
    if (result < 0) {
        ac_close(new);
        return (int)result;
    }
    sys_adopt_accepted(loop->sys, &new->object.handle, (int)result);
    new->remote = op.address;
    if (op.address.family == SYS_UNIX)
        err = sys_fd_set_buffers((int)result, send_bytes, receive_bytes);
    if (err)
        ac_close(new);
    else
        *stream = new;
    return err;
}

// ---- descriptors ----

int ac_stream_adopt(ac_stream **stream, int descriptor) {
    if (!stream)
        return -EINVAL;
    *stream = NULL;
    int err = sys_fd_is_stream(descriptor);
    struct loop *loop = err ? NULL : loop_need(&err);
    if (!loop)
        return err;
    struct ac_stream *it = stream_create(loop);
    if (!it)
        return -ENOMEM;
    sys_adopt(loop->sys, &it->object.handle, descriptor, false);
    // What is no socket, or is not connected any more, has no other side.
    if (sys_remote(&it->object.handle, &it->remote, NULL) < 0)
        it->remote = (struct sys_address){0};
    *stream = it;
    return 0;
}

int ac_stream_descriptor(const ac_stream *stream) {
    if (!stream)
        return -EINVAL;
    if (!stream->object.handle.sys)
        return -EBADF;
    return stream->object.handle.fd >= 0 ? stream->object.handle.fd : -ENOTSUP;
}

int ac_stream_credentials(const ac_stream *stream, struct ac_credentials *credentials) {
    struct sys_credentials found;
    int fd = credentials ? ac_stream_descriptor(stream) : -EINVAL;
    int err = fd < 0 ? fd : sys_fd_credentials(fd, &found);
    if (!err)
        *credentials = (struct ac_credentials){found.process, found.user, found.group};
    return err;
}
