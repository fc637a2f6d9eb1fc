// SPDX-License-Identifier: MIT
// Standard input as a stream. It works on a copy of descriptor 0, so that closing the stream leaves
// the descriptor open, and it does not make it non-blocking: the mode belongs to all who share it,
// such as the shell that started us. If standard input is closed, reading gives -EBADF.
#include "io/io.h"

ac_stream *ac_input(void) {
    int err;
    struct loop *loop = loop_need(&err);
    struct io *io = loop ? io_of(loop) : NULL;
    if (!io || io->input)
        return io ? io->input : NULL;
    struct ac_stream *stream = stream_create(loop);
    if (!stream)
        return NULL;
    int fd = sys_fd_copy(0);
    if (fd >= 0)
        sys_adopt(loop->sys, &stream->object.handle, fd, true);
    io->input = stream;
    return stream;
}
