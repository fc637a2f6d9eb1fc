// SPDX-License-Identifier: MIT
// Frames in a stream:
//
//      4 bytes   how many bytes follow, as a number whose highest byte comes first
//      n bytes   the message
//
// A frame is read ahead until it is whole, so that whatever ends the call early leaves all of it in
// the stream.
#include "io/io.h"

enum { HEAD_BYTES = 4 };

static int read_frame(struct ac_stream *stream, void *to, size_t bytes_max, ac_time deadline,
                      size_t *got) {
    int64_t there = stream_fill(stream, HEAD_BYTES, deadline);
    if (there <= 0)
        return (int)there;
    if (there < HEAD_BYTES)
        return -EPROTO;
    const uint8_t *head = stream_next(stream);
    size_t bytes = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    *got = bytes;
    if (bytes > bytes_max)
        return -EMSGSIZE;
    there = stream_fill(stream, HEAD_BYTES + bytes, deadline);
    if (there < 0)
        return (int)there;
    if ((size_t)there < HEAD_BYTES + bytes)
        return -EPROTO;
    stream_skip(stream, HEAD_BYTES);
    stream_take(stream, to, bytes);
    return 1;
}

int ac_read_frame(ac_stream *stream, void *to, size_t bytes_max, ac_time deadline, size_t *got) {
    if (got)
        *got = 0;
    if (!stream || !got || (!to && bytes_max > 0))
        return -EINVAL;
    int err = io_enter(&stream->object, IO_READS);
    if (err)
        return err;
    int result = read_frame(stream, to, bytes_max, deadline, got);
    if (result != 1 && result != -EMSGSIZE)
        *got = 0;
    io_leave(&stream->object, IO_READS);
    return result;
}

int ac_write_frame(ac_stream *stream, const void *from, size_t bytes, ac_time deadline,
                   size_t *put) {
    if (put)
        *put = 0;
    if (bytes > UINT32_MAX)
        return -EMSGSIZE;
    const uint8_t head[HEAD_BYTES] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16),
                                      (uint8_t)(bytes >> 8), (uint8_t)bytes};
    const ac_part parts[] = {{head, sizeof head}, {from, bytes}};
    long result = ac_write_parts(stream, parts, countof(parts), deadline, put);
    return result < 0 ? (int)result : 0;
}
