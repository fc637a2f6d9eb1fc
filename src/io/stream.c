// SPDX-License-Identifier: MIT
// Reading and writing streams.
//
// ac_read_line reads more than its line. What is too much stays in the stream (`ahead`), and every
// kind of reading takes from there first. A line that is too long, a time-out and a cancellation
// leave all of it there.
#include <limits.h>

#include "io/io.h"

enum {
    AHEAD_BYTES_MIN = 4096 // asked of the system at once when a line is sought
};

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
    if (io && io->input == stream)
        io->input = NULL; // ac_input opens it anew
    if (stream->kind && stream->kind->close && stream->object.handle.sys)
        stream->kind->close(stream);
    io_close(&stream->object);
}

// ---- reading ----

static size_t ahead_count(const struct ac_stream *stream) {
    return stream->ahead.length - stream->ahead_taken;
}

static size_t ahead_take(struct ac_stream *stream, void *to, size_t bytes_max) {
    size_t bytes = ahead_count(stream) < bytes_max ? ahead_count(stream) : bytes_max;
    if (bytes == 0)
        return 0;
    memcpy(to, stream->ahead.bytes + stream->ahead_taken, bytes);
    stream->ahead_taken += bytes;
    if (ahead_count(stream) == 0)
        stream->ahead.length = stream->ahead_taken = 0;
    return bytes;
}

int64_t stream_read_handle(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    struct sys_op op = {.verb = SYS_READ, .bytes = to, .count = bytes};
    return io_operate(&stream->object, &op, deadline);
}

// Reads past what is ahead.
static int64_t read_more(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    return stream->kind ? stream->kind->read(stream, to, bytes, deadline)
                        : stream_read_handle(stream, to, bytes, deadline);
}

// Reads some more ahead. As ac_read.
static int64_t read_ahead(struct ac_stream *stream, ac_time deadline) {
    struct buffer *ahead = &stream->ahead;
    buffer_consume(ahead, stream->ahead_taken);
    stream->ahead_taken = 0;
    size_t least = stream->kind ? stream->kind->ahead_bytes : 0;
    int err = buffer_reserve(ahead, least > AHEAD_BYTES_MIN ? least : AHEAD_BYTES_MIN);
    if (err)
        return err;
    int64_t got = read_more(stream, ahead->bytes + ahead->length, ahead->capacity - ahead->length,
                            deadline);
    if (got > 0)
        ahead->length += (size_t)got;
    return got;
}

static int64_t read_some(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    size_t ahead = ahead_take(stream, to, bytes);
    if (ahead > 0)
        return (int64_t)ahead;
    if (!stream->kind || bytes >= stream->kind->ahead_bytes)
        return read_more(stream, to, bytes, deadline);
    int64_t got = read_ahead(stream, deadline);
    return got > 0 ? (int64_t)ahead_take(stream, to, bytes) : got;
}

long ac_read(ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    if (!stream || !to || bytes == 0 || bytes > LONG_MAX)
        return -EINVAL;
    int err = io_enter(&stream->object, IO_READS);
    if (err)
        return err;
    long result = (long)read_some(stream, to, bytes, deadline);
    io_leave(&stream->object, IO_READS);
    return result;
}

long ac_read_exactly(ac_stream *stream, void *to, size_t bytes, ac_time deadline, size_t *got) {
    size_t count = 0;
    if (got)
        *got = 0;
    if (!stream || (!to && bytes > 0) || bytes > LONG_MAX)
        return -EINVAL;
    int err = io_enter(&stream->object, IO_READS);
    if (err)
        return err;
    int64_t result = 1;
    while (count < bytes && result > 0) {
        result = read_some(stream, (char *)to + count, bytes - count, deadline);
        if (result > 0)
            count += (size_t)result;
    }
    io_leave(&stream->object, IO_READS);
    if (got)
        *got = count;
    return count == bytes ? (long)bytes : (long)result;
}

// ---- lines ----

// Gives out the line that ends at `end` in what was read ahead; `skip` bytes there are its end
// mark.
static long line_give(struct ac_stream *stream, char *to, size_t bytes, const uint8_t *end,
                      size_t skip) {
    const uint8_t *start = stream->ahead.bytes + stream->ahead_taken;
    size_t length = (size_t)(end - start);
    if (skip > 0 && length > 0 && end[-1] == '\r') {
        length--;
        skip++;
    }
    if (length >= bytes)
        return -EMSGSIZE;
    ahead_take(stream, to, length);
    stream->ahead_taken += skip;
    to[length] = 0;
    return (long)length + 1;
}

static long read_line(struct ac_stream *stream, char *to, size_t bytes, ac_time deadline) {
    size_t searched = 0; // bytes ahead that hold no end of a line
    for (;;) {
        size_t count = ahead_count(stream);
        const uint8_t *start = stream->ahead.bytes + stream->ahead_taken;
        const uint8_t *end = count > searched ? memchr(start + searched, '\n', count - searched)
                                              : NULL;
        if (end)
            return line_give(stream, to, bytes, end, 1);
        // A "\r" at the very end may belong to the end of the line.
        if (count > bytes || (count == bytes && start[count - 1] != '\r'))
            return -EMSGSIZE;
        searched = count;
        int64_t got = read_ahead(stream, deadline);
        if (got < 0)
            return (long)got;
        if (got == 0) // of the stream; what is there is the last line
            return count == 0 ? 0 : line_give(stream, to, bytes, stream->ahead.bytes + count, 0);
    }
}

long ac_read_line(ac_stream *stream, char *to, size_t bytes, ac_time deadline) {
    if (!stream || !to || bytes == 0 || bytes >= LONG_MAX)
        return -EINVAL;
    int err = io_enter(&stream->object, IO_READS);
    if (err)
        return err;
    long result = read_line(stream, to, bytes, deadline);
    io_leave(&stream->object, IO_READS);
    return result;
}

// ---- writing ----

int64_t stream_write_handle(struct ac_stream *stream, const void *from, size_t bytes,
                            ac_time deadline) {
    struct sys_op op = {.verb = SYS_WRITE,
                        .bytes = (void *)(uintptr_t)from, // the poller only reads it
                        .count = bytes};
    return io_operate(&stream->object, &op, deadline);
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

int ac_shutdown(ac_stream *stream) {
    if (!stream)
        return -EINVAL;
    if (!stream->object.handle.sys)
        return -EBADF;
    return stream->kind ? stream->kind->shut(stream) : sys_shut(&stream->object.handle);
}

// ---- addresses ----

int ac_stream_local(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]) {
    struct sys_address address;
    if (!stream || !text)
        return -EINVAL;
    if (stream->remote.family == 0)
        return -ENOTSUP;
    if (!stream->object.handle.sys)
        return -EBADF;
    int err = sys_local((struct sys_handle *)&stream->object.handle, &address, NULL);
    if (!err)
        sys_address_text(&address, text);
    return err;
}

int ac_stream_remote(const ac_stream *stream, char text[AC_ADDRESS_TEXT_BYTES]) {
    if (!stream || !text)
        return -EINVAL;
    if (stream->remote.family == 0)
        return -ENOTSUP;
    sys_address_text(&stream->remote, text);
    return 0;
}
