// SPDX-License-Identifier: MIT
// Writing streams. Whatever ends a call early, the caller learns how much was handed over before.
#include <limits.h>

#include "io/io.h"

int64_t stream_write_handle(struct ac_stream *stream, const void *from, size_t bytes,
                            ac_time deadline) {
    struct sys_op op = {.verb = SYS_WRITE,
                        .bytes = (void *)(uintptr_t)from, // the poller only reads it
                        .count = bytes};
    return stream_operate(stream, &op, deadline);
}

static int64_t write_some(struct ac_stream *stream, const void *from, size_t bytes,
                          ac_time deadline) {
    return stream->kind ? stream->kind->write(stream, from, bytes, deadline)
                        : stream_write_handle(stream, from, bytes, deadline);
}

// What a kind has kept back goes before the call returns.
static int flush(struct ac_stream *stream, ac_time deadline) {
    return stream->kind && stream->kind->flush ? stream->kind->flush(stream, deadline) : 0;
}

long ac_write_all(ac_stream *stream, const void *from, size_t bytes, ac_time deadline,
                  size_t *put) {
    size_t count = 0;
    if (put)
        *put = 0;
    if (!stream || (!from && bytes > 0) || bytes > LONG_MAX)
        return -EINVAL;
    int err = io_enter(&stream->object, IO_WRITES);
    if (err)
        return err;
    int64_t result = 0;
    while (count < bytes && result >= 0) {
        result = write_some(stream, (const char *)from + count, bytes - count, deadline);
        if (result > 0)
            count += (size_t)result;
    }
    if (result >= 0)
        result = flush(stream, deadline);
    io_leave(&stream->object, IO_WRITES);
    if (put)
        *put = count;
    return result < 0 ? (long)result : (long)bytes;
}
