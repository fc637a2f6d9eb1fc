// SPDX-License-Identifier: MIT
// Sending files over streams.
//
// What lies in memory the system sends by itself (sendfile), if bytes reach the stream as they are:
// they are not copied then. It would make the loop wait for what lies on the disk only, so it is
// asked first whether the ends of a piece are in memory. All else is read, by a helper thread if
// need be, and written from a buffer, as for TLS.
#include <limits.h>

#include "io/io.h"

#include <asyncoro/file.h>

enum {
    SENT_AT_ONCE = 1 << 20, // others have their turn in between
    COPIED_AT_ONCE = 64 << 10
};

// What is being sent.
struct sending {
    struct ac_stream *stream;
    struct ac_stream *file;
    struct file *held; // the file's, which keeps the descriptor open
    uint64_t offset;   // of the next byte
    uint8_t *copy;     // COPIED_AT_ONCE; NULL until it is needed
};

// How many bytes, at most `count`, the system has sent; -ENOTSUP if it cannot, or not yet.
static int64_t send_by_system(struct sending *it, size_t count, ac_time deadline) {
    int fd;
    if (!stream_is_written_by_handle(it->stream))
        return -ENOTSUP;
    size_t there = file_in_memory(it->held, it->offset, count, &fd);
    if (there == 0)
        return -ENOTSUP;
    struct sys_op op = {.verb = SYS_SEND_FILE, .file = fd, .offset = it->offset, .count = there};
    int64_t sent = stream_operate(it->stream, &op, deadline);
    // 0: the file has become shorter, which is found by reading it.
    return sent == 0 || sent == -EINVAL ? -ENOTSUP : sent;
}

// How many bytes, at most `count`, were read and written, 0 at the end of the file. *put counts
// also those that were written before an error.
static int64_t send_copy(struct sending *it, size_t count, ac_time deadline, size_t *put) {
    if (!it->copy)
        it->copy = memory_allocate(COPIED_AT_ONCE);
    if (!it->copy)
        return -ENOMEM;
    long got = ac_file_read_at(it->file, it->copy, count < COPIED_AT_ONCE ? count : COPIED_AT_ONCE,
                               it->offset, deadline);
    if (got <= 0)
        return got;
    int64_t err = stream_write_whole(it->stream, it->copy, (size_t)got, deadline, put);
    return err < 0 ? err : got;
}

// 0 or an error; *put in either case.
static int64_t send_pieces(struct sending *it, size_t count, ac_time deadline, size_t *put) {
    int64_t result = 1;
    while (*put < count && result > 0) {
        size_t left = count - *put;
        result = send_by_system(it, left < SENT_AT_ONCE ? left : SENT_AT_ONCE, deadline);
        if (result > 0)
            *put += (size_t)result;
        else if (result == -ENOTSUP)
            result = send_copy(it, left, deadline, put);
        if (result > 0)
            it->offset += (uint64_t)result;
    }
    return result < 0 ? result : stream_flush(it->stream, deadline);
}

long ac_send_file(ac_stream *stream, ac_stream *file, uint64_t offset, size_t count,
                  ac_time deadline, size_t *put) {
    struct sending it = {.stream = stream, .file = file, .offset = offset};
    size_t done = 0;
    if (put)
        *put = 0;
    if (!stream || !file || stream == file || offset > INT64_MAX)
        return -EINVAL;
    if (count > INT64_MAX - offset)
        count = INT64_MAX - offset; // to the end
    int64_t result = io_enter(&stream->object, IO_WRITES);
    if (result)
        return (long)result;
    result = io_enter(&file->object, IO_BESIDE);
    if (result)
        goto leave_stream;
    result = file_hold(file, &it.held);
    if (result)
        goto leave_file;
    result = send_pieces(&it, count, deadline, &done);
    file_drop(it.held);
    memory_release(it.copy);
leave_file:
    io_leave(&file->object, IO_BESIDE);
leave_stream:
    io_leave(&stream->object, IO_WRITES);
    if (put)
        *put = done;
    return result < 0 ? (long)result : (long)done;
}
