// SPDX-License-Identifier: MIT
// Standard input, output and error as streams. Each works on a copy of its descriptor, so that
// closing the stream leaves the descriptor open, and does not make it non-blocking: the mode
// belongs to all who share it, such as the shell that started us. Where a descriptor is closed,
// reading and writing give -EBADF. One that is a regular file is read and written by the loop
// itself, at the system's position, which others share as well.
#include "io/io.h"

static ac_stream *standard(int number) {
    int err;
    struct loop *loop = loop_need(&err);
    struct io *io = loop ? io_of(loop) : NULL;
    if (!io || io->standard[number])
        return io ? io->standard[number] : NULL;
    struct ac_stream *stream = stream_create(loop);
    if (!stream)
        return NULL;
    int fd = sys_fd_copy(number);
    if (fd >= 0)
        sys_adopt(loop->sys, &stream->object.handle, fd, true);
    io->standard[number] = stream;
    return stream;
}

ac_stream *ac_input(void) { return standard(0); }
ac_stream *ac_output(void) { return standard(1); }
ac_stream *ac_error_output(void) { return standard(2); }

bool standard_is(const struct io *io, const struct io_object *object) {
    for (size_t i = 0; i < countof(io->standard); i++)
        if (io->standard[i] && object == &io->standard[i]->object)
            return true;
    return false;
}

void standard_closed(struct io *io, const struct ac_stream *stream) {
    for (size_t i = 0; i < countof(io->standard); i++)
        if (io->standard[i] == stream)
            io->standard[i] = NULL; // it can be had anew
}
