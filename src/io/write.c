// SPDX-License-Identifier: MIT
// Writing streams. Whatever ends a call early, the caller learns how much was handed over before.
//
// Parts are handed to the system as they lie, if the stream is written by operations on its handle.
// A kind of stream takes one run of bytes at a time, and each may cost it much (a record of TLS):
// so small parts are joined for it first.
#include <limits.h>

#include "io/io.h"

enum {
    PARTS_AT_ONCE = 64,       // 1 KiB of the caller's stack
    JOINED_BYTES_MAX = 16384, // as much as a record of TLS holds
};

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

int64_t stream_flush(struct ac_stream *stream, ac_time deadline) {
    return stream->kind && stream->kind->flush ? stream->kind->flush(stream, deadline) : 0;
}

int64_t stream_write_whole(struct ac_stream *stream, const void *from, size_t bytes,
                           ac_time deadline, size_t *put) {
    for (size_t count = 0; count < bytes;) {
        int64_t result = write_some(stream, (const char *)from + count, bytes - count, deadline);
        if (result < 0)
            return result;
        count += (size_t)result;
        *put += (size_t)result;
    }
    return 0;
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
    int64_t result = stream_write_whole(stream, from, bytes, deadline, &count);
    if (result >= 0)
        result = stream_flush(stream, deadline);
    io_leave(&stream->object, IO_WRITES);
    if (put)
        *put = count;
    return result < 0 ? (long)result : (long)bytes;
}

// ---- parts ----

bool stream_is_written_by_handle(const struct ac_stream *stream) {
    return !stream->kind || stream->kind->write == stream_write_handle;
}

// What is still to be written: these parts, the first from `skip` on. It is not empty then.
struct rest {
    const ac_part *parts;
    size_t count;
    size_t skip;
};

static void rest_advance(struct rest *rest, size_t bytes) {
    rest->skip += bytes;
    while (rest->count > 0 && rest->skip >= rest->parts->bytes) {
        rest->skip -= rest->parts->bytes;
        rest->parts++;
        rest->count--;
    }
}

static int64_t write_gathered(struct ac_stream *stream, const struct rest *rest, ac_time deadline) {
    struct sys_part parts[PARTS_AT_ONCE];
    size_t count = 0, skip = rest->skip;
    for (size_t i = 0; i < rest->count && count < PARTS_AT_ONCE; i++) {
        const ac_part *part = &rest->parts[i];
        if (part->bytes > 0)
            parts[count++] = (struct sys_part){(const char *)part->from + skip, part->bytes - skip};
        skip = 0;
    }
    struct sys_op op = {.verb = SYS_WRITE, .parts = parts, .parts_count = count};
    return stream_operate(stream, &op, deadline);
}

// `joined` has room for JOINED_BYTES_MAX.
static int64_t write_joined(struct ac_stream *stream, const struct rest *rest, uint8_t *joined,
                            ac_time deadline) {
    size_t skip = rest->skip, length = 0;
    if (rest->count == 1 || rest->parts->bytes - skip >= JOINED_BYTES_MAX)
        return write_some(stream, (const char *)rest->parts->from + skip, rest->parts->bytes - skip,
                          deadline);
    for (size_t i = 0; i < rest->count && length < JOINED_BYTES_MAX; i++) {
        const ac_part *part = &rest->parts[i];
        size_t room = JOINED_BYTES_MAX - length;
        size_t bytes = part->bytes - skip < room ? part->bytes - skip : room;
        if (bytes > 0)
            memcpy(joined + length, (const char *)part->from + skip, bytes);
        length += bytes;
        skip = 0;
    }
    return write_some(stream, joined, length, deadline);
}

static int64_t write_rest(struct ac_stream *stream, struct rest *rest, ac_time deadline,
                          size_t *put) {
    uint8_t *joined = NULL;
    int64_t result = 0;
    rest_advance(rest, 0);
    bool by_handle = stream_is_written_by_handle(stream);
    if (!by_handle && rest->count > 1) {
        joined = memory_allocate(JOINED_BYTES_MAX);
        if (!joined)
            return -ENOMEM;
    }
    while (rest->count > 0 && result >= 0) {
        result = by_handle ? write_gathered(stream, rest, deadline)
                           : write_joined(stream, rest, joined, deadline);
        if (result > 0) {
            *put += (size_t)result;
            rest_advance(rest, (size_t)result);
        }
    }
    memory_release(joined);
    return result;
}

// How many bytes these are, or -EINVAL.
static long parts_bytes(const ac_part *parts, size_t count) {
    long sum = 0;
    for (size_t i = 0; i < count; i++) {
        if ((!parts[i].from && parts[i].bytes > 0) || parts[i].bytes > (size_t)(LONG_MAX - sum))
            return -EINVAL;
        sum += (long)parts[i].bytes;
    }
    return sum;
}

long ac_write_parts(ac_stream *stream, const ac_part *parts, size_t count, ac_time deadline,
                    size_t *put) {
    size_t done = 0;
    if (put)
        *put = 0;
    if (!stream || (!parts && count > 0))
        return -EINVAL;
    long bytes = parts_bytes(parts, count);
    if (bytes < 0)
        return bytes;
    int err = io_enter(&stream->object, IO_WRITES);
    if (err)
        return err;
    struct rest rest = {.parts = parts, .count = count};
    int64_t result = write_rest(stream, &rest, deadline, &done);
    if (result >= 0)
        result = stream_flush(stream, deadline);
    io_leave(&stream->object, IO_WRITES);
    if (put)
        *put = done;
    return result < 0 ? (long)result : bytes;
}
