// SPDX-License-Identifier: MIT
// Reading streams.
//
// Who looks for an end that it does not know (of a line, say) reads more than it gives out. What is
// too much stays in the stream (`ahead`), and every kind of reading takes from there first. What is
// too long, a time-out and a cancellation leave all of it there.
#include <limits.h>

#include "io/io.h"

enum {
    AHEAD_BYTES_MIN = 4096,      // asked of the system at once
    AHEAD_BYTES_KEPT = 64 * 1024 // of memory, at most, while nothing lies there
};

static int64_t read_more(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline);

// ---- ahead ----

static size_t ahead_count(const struct ac_stream *stream) {
    return stream->ahead.length - stream->ahead_taken;
}

const uint8_t *stream_next(const struct ac_stream *stream) {
    return stream->ahead.bytes + stream->ahead_taken;
}

void stream_skip(struct ac_stream *stream, size_t bytes) {
    stream->ahead_taken += bytes;
    assert(stream->ahead_taken <= stream->ahead.length);
    if (ahead_count(stream) > 0)
        return;
    stream->ahead.length = stream->ahead_taken = 0;
    if (stream->ahead.capacity > AHEAD_BYTES_KEPT)
        buffer_done(&stream->ahead);
}

void stream_take(struct ac_stream *stream, void *to, size_t bytes) {
    if (bytes == 0) // memcpy must not see a NULL even then
        return;
    memcpy(to, stream_next(stream), bytes);
    stream_skip(stream, bytes);
}

// Reads some more ahead. As ac_read.
static int64_t ahead_more(struct ac_stream *stream, ac_time deadline) {
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

int64_t stream_fill(struct ac_stream *stream, size_t least, ac_time deadline) {
    int64_t got = 1;
    while (ahead_count(stream) < least && got > 0)
        got = ahead_more(stream, deadline);
    return got < 0 ? got : (int64_t)ahead_count(stream);
}

long ac_peek(ac_stream *stream, void *to, size_t bytes, size_t least, ac_time deadline) {
    if (!stream || !to || least == 0 || least > bytes || bytes > LONG_MAX)
        return -EINVAL;
    int err = io_enter(&stream->object, IO_READS);
    if (err)
        return err;
    int64_t result = stream_fill(stream, least, deadline);
    if (result > (int64_t)bytes)
        result = (int64_t)bytes;
    if (result > 0)
        memcpy(to, stream_next(stream), (size_t)result);
    io_leave(&stream->object, IO_READS);
    return (long)result;
}

// ---- some, and exactly ----

int64_t stream_read_handle(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    struct sys_op op = {.verb = SYS_READ, .bytes = to, .count = bytes};
    return stream_operate(stream, &op, deadline);
}

// Reads past what is ahead.
static int64_t read_more(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    return stream->kind ? stream->kind->read(stream, to, bytes, deadline)
                        : stream_read_handle(stream, to, bytes, deadline);
}

static int64_t read_some(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    size_t ahead = ahead_count(stream);
    if (ahead == 0) {
        if (!stream->kind || bytes >= stream->kind->ahead_bytes)
            return read_more(stream, to, bytes, deadline);
        int64_t got = ahead_more(stream, deadline);
        if (got <= 0)
            return got;
        ahead = (size_t)got;
    }
    size_t count = ahead < bytes ? ahead : bytes;
    stream_take(stream, to, count);
    return (int64_t)count;
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

// ---- until a delimiter ----

// Looks for the delimiter, reading ahead as need be. *length: how many bytes there are up to its
// end. 1; 0 if the stream ends before it, where *length is what remains; -EMSGSIZE if the next
// `limit` bytes hold none; the errors of ac_read.
static int64_t seek(struct ac_stream *stream, const void *delimiter, size_t bytes, size_t limit,
                    ac_time deadline, size_t *length) {
    size_t searched = 0; // so many bytes ahead begin no delimiter
    for (;;) {
        size_t count = ahead_count(stream) < limit ? ahead_count(stream) : limit;
        const uint8_t *found = NULL;
        if (count >= searched + bytes)
            found = memmem(stream_next(stream) + searched, count - searched, delimiter, bytes);
        *length = found ? (size_t)(found - stream_next(stream)) + bytes : count;
        if (found)
            return 1;
        if (count == limit)
            return -EMSGSIZE;
        if (count >= bytes) // what remains may begin one that is cut here
            searched = count - bytes + 1;
        int64_t got = ahead_more(stream, deadline);
        if (got <= 0)
            return got;
    }
}

long ac_read_until(ac_stream *stream, const void *delimiter, size_t delimiter_bytes, void *to,
                   size_t bytes, ac_time deadline) {
    size_t length;
    if (!stream || !delimiter || !to || bytes == 0 || bytes > LONG_MAX)
        return -EINVAL;
    if (delimiter_bytes == 0 || delimiter_bytes > AC_DELIMITER_BYTES_MAX)
        return -EINVAL;
    int err = io_enter(&stream->object, IO_READS);
    if (err)
        return err;
    int64_t result = seek(stream, delimiter, delimiter_bytes, bytes, deadline, &length);
    if (result >= 0) {
        stream_take(stream, to, length);
        result = (int64_t)length;
    }
    io_leave(&stream->object, IO_READS);
    return (long)result;
}

// ---- lines ----

// Gives out the line in the next `length` bytes, the end mark among them if it has one.
static long line_give(struct ac_stream *stream, char *to, size_t bytes, size_t length,
                      bool has_end) {
    const uint8_t *start = stream_next(stream);
    size_t text = length;
    if (has_end && --text > 0 && start[text - 1] == '\r')
        text--;
    if (text >= bytes)
        return -EMSGSIZE;
    if (text > 0)
        memcpy(to, start, text);
    to[text] = 0;
    stream_skip(stream, length);
    return (long)text + 1;
}

static long read_line(struct ac_stream *stream, char *to, size_t bytes, ac_time deadline) {
    size_t length;
    int64_t found = seek(stream, "\n", 1, bytes, deadline, &length);
    // The text may fill all of `to` but the place of the NUL, and end in "\r\n".
    if (found == -EMSGSIZE && stream_next(stream)[bytes - 1] == '\r')
        found = seek(stream, "\n", 1, bytes + 1, deadline, &length);
    if (found < 0 || length == 0)
        return (long)found;
    return line_give(stream, to, bytes, length, found > 0);
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
