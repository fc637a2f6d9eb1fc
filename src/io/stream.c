// SPDX-License-Identifier: MIT
// What streams are: making and closing them, what lies below reading and writing, their addresses.
//
// The system tells once that a connection broke, to the first who reads or writes, and from then on
// that the stream has ended. Whoever reads must not take the one for the other, so the stream
// remembers.
#include "io/io.h"

static void release(struct io_object *object);

struct ac_stream *stream_create(struct loop *loop) {
    struct ac_stream *stream = memory_allocate_zeroed(sizeof *stream);
    if (!stream)
        return NULL;
    buffer_init(&stream->ahead);
    if (io_prepare(loop, &stream->object, release) == 0)
        return stream;
    release(&stream->object);
    return NULL;
}

static void release(struct io_object *object) {
    struct ac_stream *stream = container_of(object, struct ac_stream, object);
    if (stream->kind)
        stream->kind->release(stream);
    buffer_done(&stream->ahead);
    memory_release(stream);
}

void ac_close(ac_stream *stream) {
    if (!stream)
        return;
    struct io *io = loop_here ? loop_here->extra[LOOP_IO].state : NULL;
    if (io)
        standard_closed(io, stream);
    if (stream->kind && stream->kind->close && stream->object.handle.sys)
        stream->kind->close(stream);
    io_close(&stream->object);
}

// ---- operations on the handle ----

// Errors after which the system would say that the stream has ended.
static bool is_break(int64_t err) {
    switch (-err) {
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH: return true;
    default: return false;
    }
}

int64_t stream_operate(struct ac_stream *stream, struct sys_op *op, ac_time deadline) {
    int64_t result = io_operate(&stream->object, op, deadline);
    if (likely(result > 0))
        return result;
    // The system waited in vain for the other side, which is no deadline of ours.
    if (result == -ETIMEDOUT && op->result == -ETIMEDOUT)
        result = -ECONNABORTED;
    if (is_break(result))
        stream->broken = (int)result;
    return result == 0 && op->verb == SYS_READ ? stream->broken : result;
}

int ac_shutdown(ac_stream *stream) {
    if (!stream)
        return -EINVAL;
    if (!stream->object.handle.sys)
        return -EBADF;
    return stream->kind ? stream->kind->shut(stream) : sys_shut(&stream->object.handle);
}

// ---- addresses ----

int ac_stream_local(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]) {
    if (!stream || !text)
        return -EINVAL;
    return stream->remote.family ? io_local_text(&stream->object, text) : -ENOTSUP;
}

int ac_stream_remote(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]) {
    struct io_address remote;
    if (!stream || !text)
        return -EINVAL;
    remote.ip = stream->remote;
    if (remote.ip.family == 0)
        return -ENOTSUP;
    if (remote.ip.family == SYS_UNIX) { // its name, which most have not, is not kept
        if (!stream->object.handle.sys)
            return -EBADF;
        int err = sys_remote((struct sys_handle *)&stream->object.handle, &remote.ip, &remote.name);
        if (err)
            return err;
    }
    io_address_text(&remote, text);
    return 0;
}
