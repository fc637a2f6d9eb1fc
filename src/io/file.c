// SPDX-License-Identifier: MIT
// Regular files as a kind of stream, and pipes.
//
// The system cannot be asked to tell when a file is ready, so what would wait for a disk is done by
// helper threads. First, though, it is tried at once (RWF_NOWAIT): what lies in memory comes
// without a hop to a thread and back, and that never blocks. A file system that does not offer it
// says so once, and is not asked again.
//
// A thread works on memory of its own, in a `transfer`, and never on that of who called, who may
// have left by then. It keeps the descriptor open, too: closing ends all waits, and the last one
// that has to do with the file closes the descriptor and frees the record:
//
//      transfer --> file: descriptor_holders, holders      (counts; the stream counts one each)
//
// The position is ours, and the system's is not used: so a read that was given up has moved
// nothing. A write that was given up while a thread is at it moves the position when it is over.
#include <limits.h>

#include "io/io.h"

#include <asyncoro/file.h>

enum {
    AHEAD_BYTES = 64 << 10,
    TRANSFER_BYTES_MAX = 256 << 10, // that a thread reads or writes at once
    OPEN_RETRY_US_MIN = 1000,       // how often a named pipe is asked for a reader
    OPEN_RETRY_US_MAX = 50000
};

struct file {
    int fd;
    uint32_t descriptor_holders; // atomic
    uint32_t holders;            // atomic
    bool appends;
    bool closed;     // by its owner or the end of the loop: transfers touch nothing but the counts
    bool writing;    // a transfer is to move the position, and perhaps nobody waits for it
    bool try_reads;  // the file system has not said that it cannot be tried
    bool try_writes; // likewise
    uint64_t at;     // the position, behind what was read ahead
    uint64_t bytes;  // how long it is known to be at least
    struct list transfers; // that a coroutine waits for
};

struct transfer {
    struct work work;
    struct list link; // in file->transfers; in no list otherwise
    struct file *file;
    uint64_t offset;
    size_t count;
    int64_t result;
    bool moves;  // the position, also when nobody waits
    void *bytes; // owned; NULL until it is needed
};

static int64_t file_read(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline);
static int64_t file_write(struct ac_stream *stream, const void *from, size_t bytes,
                          ac_time deadline);
static int file_shut(struct ac_stream *stream);
static void file_release(struct ac_stream *stream);
static int64_t read_by_thread(struct file *file, uint64_t offset, void *to, size_t bytes,
                              ac_time deadline);

static const struct stream_kind file_kind = {.ahead_bytes = AHEAD_BYTES,
                                             .read = file_read,
                                             .write = file_write,
                                             .shut = file_shut,
                                             .release = file_release};

static struct file *file_of(const ac_stream *stream) {
    return stream->kind == &file_kind ? stream->own : NULL;
}

// ---- who holds a file ----

static void drop_descriptor(struct file *file) {
    if (__atomic_sub_fetch(&file->descriptor_holders, 1, __ATOMIC_ACQ_REL) == 0)
        sys_fd_close(file->fd);
}

static void drop_file(struct file *file) {
    if (__atomic_sub_fetch(&file->holders, 1, __ATOMIC_ACQ_REL) == 0)
        memory_release(file);
}

// The stream is closed, or its loop ends.
static void file_closing(struct io_object *object) {
    struct file *file = container_of(object, struct ac_stream, object)->own;
    file->closed = true;
    list_each (link, &file->transfers) {
        list_remove(link); // nobody does that for it any more
        work_abort(&container_of(link, struct transfer, link)->work, -EBADF);
    }
    drop_descriptor(file);
}

static void file_release(struct ac_stream *stream) { drop_file(stream->own); }

// ---- transfers ----

static void transfer_destroy(struct transfer *it);

// Nobody waits for it any more, and no thread works on it. With the loop gone this is called by the
// thread.
static void orphaned(struct work *work) {
    struct transfer *it = container_of(work, struct transfer, work);
    struct file *file = it->file;
    if (!file->closed) {
        list_remove(&it->link);
        if (it->moves) {
            file->writing = false;
            if (it->result > 0 && !file->appends)
                file->at += (uint64_t)it->result;
        }
    }
    transfer_destroy(it);
}

static struct transfer *transfer_create(struct file *file, void (*run)(struct work *it),
                                        uint64_t offset, size_t count) {
    struct transfer *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->work.run = run;
    it->work.orphaned = orphaned;
    it->file = file;
    it->offset = offset;
    it->count = count < TRANSFER_BYTES_MAX ? count : TRANSFER_BYTES_MAX;
    list_init(&it->link);
    __atomic_add_fetch(&file->holders, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&file->descriptor_holders, 1, __ATOMIC_RELAXED);
    return it;
}

static void transfer_destroy(struct transfer *it) {
    drop_descriptor(it->file);
    drop_file(it->file);
    memory_release(it->bytes);
    memory_release(it);
}

// Has a thread do it. Its result, and it is the caller's; or an error, and *gone if it is not.
static int64_t transfer_do(struct transfer *it, ac_time deadline, bool *gone) {
    list_append(&it->file->transfers, &it->link);
    int err = work_do_with_files(&it->work, deadline);
    *gone = !work_is_callers(err);
    if (*gone)
        return err;
    list_remove(&it->link);
    return err ? err : it->result;
}

// For what only has a result.
static int64_t do_simply(struct file *file, void (*run)(struct work *it), uint64_t offset,
                         ac_time deadline) {
    struct transfer *it = transfer_create(file, run, offset, 0);
    if (!it)
        return -ENOMEM;
    bool gone;
    int64_t result = transfer_do(it, deadline, &gone);
    if (!gone)
        transfer_destroy(it);
    return result;
}

// ---- on a helper thread ----

static void run_read(struct work *work) {
    struct transfer *it = container_of(work, struct transfer, work);
    it->bytes = memory_allocate(it->count);
    it->result = it->bytes ? sys_file_read_some(it->file->fd, it->offset, it->bytes, it->count)
                           : -ENOMEM;
}

static void run_write(struct work *work) {
    struct transfer *it = container_of(work, struct transfer, work);
    it->result = sys_file_write_some(it->file->fd, it->offset, it->bytes, it->count);
}

static void run_size(struct work *work) {
    struct transfer *it = container_of(work, struct transfer, work);
    it->result = sys_file_bytes(it->file->fd);
}

static void run_resize(struct work *work) {
    struct transfer *it = container_of(work, struct transfer, work);
    it->result = sys_file_resize(it->file->fd, it->offset);
}

static void run_sync(struct work *work) {
    struct transfer *it = container_of(work, struct transfer, work);
    it->result = sys_file_sync(it->file->fd);
}

// ---- reading ----

// What was read ahead goes. How many bytes that was.
static size_t drop_ahead(struct ac_stream *stream) {
    size_t count = stream->ahead.length - stream->ahead_taken;
    stream->ahead.length = stream->ahead_taken = 0;
    return count;
}

// What is there at once: the bytes; or -EAGAIN if a thread must look.
static int64_t try_read(struct file *file, uint64_t offset, void *to, size_t bytes) {
    if (!file->try_reads)
        return -EAGAIN;
    int64_t got = sys_file_try_read(file->fd, offset, to, bytes);
    if (got == -EOPNOTSUPP) {
        file->try_reads = false;
        return -EAGAIN;
    }
    // Linux 5.9 and 5.10 give 0 also where the bytes are not in memory.
    if (got == 0 && offset < file->bytes)
        return -EAGAIN;
    return got;
}

static int64_t read_somehow(struct file *file, uint64_t offset, void *to, size_t bytes,
                            ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, AC_FOREVER);
    if (err)
        return err;
    if (file->closed)
        return -EBADF;
    int64_t got = try_read(file, offset, to, bytes);
    if (got == -EAGAIN)
        got = read_by_thread(file, offset, to, bytes, deadline);
    else
        coro_go_on_fairly(self);
    if (got > 0 && offset + (uint64_t)got > file->bytes)
        file->bytes = offset + (uint64_t)got;
    return got;
}

static int64_t read_by_thread(struct file *file, uint64_t offset, void *to, size_t bytes,
                              ac_time deadline) {
    struct transfer *it = transfer_create(file, run_read, offset, bytes);
    if (!it)
        return -ENOMEM;
    bool gone;
    int64_t got = transfer_do(it, deadline, &gone);
    if (gone)
        return got;
    if (got > 0)
        memcpy(to, it->bytes, (size_t)got);
    transfer_destroy(it);
    return got;
}

// Whether the position is being used by somebody else than the caller, who is on one side.
static bool position_is_taken(const struct ac_stream *stream) {
    const struct file *file = stream->own;
    return file->writing || stream->object.taken == (IO_READS | IO_WRITES);
}

static int64_t file_read(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    struct file *file = stream->own;
    if (position_is_taken(stream))
        return -EBUSY;
    int64_t got = read_somehow(file, file->at, to, bytes, deadline);
    if (got > 0)
        file->at += (uint64_t)got;
    return got;
}

long ac_file_read_at(ac_stream *stream, void *to, size_t bytes, uint64_t offset, ac_time deadline) {
    if (!stream || (!to && bytes > 0) || bytes > LONG_MAX || offset > INT64_MAX - bytes)
        return -EINVAL;
    struct file *file = file_of(stream);
    int err = file ? io_enter(&stream->object, IO_BESIDE) : -ENOTSUP;
    if (err)
        return err;
    size_t count = 0;
    int64_t got = 1;
    while (count < bytes && got > 0) {
        got = read_somehow(file, offset + count, (char *)to + count, bytes - count, deadline);
        count += got > 0 ? (size_t)got : 0;
    }
    io_leave(&stream->object, IO_BESIDE);
    return got < 0 ? (long)got : (long)count;
}

// ---- for who sends it ----

int file_hold(struct ac_stream *stream, struct file **held) {
    struct file *file = file_of(stream);
    if (!file)
        return -ENOTSUP;
    if (file->closed)
        return -EBADF;
    __atomic_add_fetch(&file->holders, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&file->descriptor_holders, 1, __ATOMIC_RELAXED);
    *held = file;
    return 0;
}

void file_drop(struct file *held) {
    drop_descriptor(held);
    drop_file(held);
}

size_t file_in_memory(struct file *held, uint64_t offset, size_t count, int *fd) {
    uint8_t byte;
    if (held->closed || offset >= held->bytes)
        return 0;
    if (count > held->bytes - offset)
        count = held->bytes - offset;
    *fd = held->fd;
    bool is_there = try_read(held, offset, &byte, 1) == 1 &&
                    (count == 1 || try_read(held, offset + count - 1, &byte, 1) == 1);
    return is_there ? count : 0;
}

// ---- writing ----

// Has a thread write a copy. `moves` as in a transfer; otherwise as file_write.
static int64_t write_by_thread(struct file *file, uint64_t offset, const void *from, size_t bytes,
                               bool moves, ac_time deadline) {
    struct transfer *it = transfer_create(file, run_write, offset, bytes);
    if (!it)
        return -ENOMEM;
    it->bytes = memory_allocate(it->count);
    if (!it->bytes) {
        transfer_destroy(it);
        return -ENOMEM;
    }
    memcpy(it->bytes, from, it->count);
    it->moves = moves;
    file->writing |= moves;
    bool gone;
    int64_t put = transfer_do(it, deadline, &gone);
    if (gone)
        return put;
    if (moves)
        file->writing = false;
    transfer_destroy(it);
    return put;
}

static int64_t write_somehow(struct file *file, uint64_t offset, const void *from, size_t bytes,
                             bool moves, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, AC_FOREVER);
    if (err)
        return err;
    if (file->closed)
        return -EBADF;
    int64_t put = file->try_writes ? sys_file_try_write(file->fd, offset, from, bytes) : -EAGAIN;
    if (put == -EOPNOTSUPP) {
        file->try_writes = false;
        put = -EAGAIN;
    }
    if (put == -EAGAIN)
        return write_by_thread(file, offset, from, bytes, moves, deadline);
    coro_go_on_fairly(self);
    return put;
}

static int64_t file_write(struct ac_stream *stream, const void *from, size_t bytes,
                          ac_time deadline) {
    struct file *file = stream->own;
    if (position_is_taken(stream))
        return -EBUSY;
    // Reading goes on where the bytes in memory end, writing where the reader is.
    size_t ahead = drop_ahead(stream);
    file->at -= ahead;
    int64_t put = write_somehow(file, file->at, from, bytes, true, deadline);
    if (put > 0 && !file->appends)
        file->at += (uint64_t)put;
    return put;
}

long ac_file_write_at(ac_stream *stream, const void *from, size_t bytes, uint64_t offset,
                      ac_time deadline) {
    if (!stream || (!from && bytes > 0) || bytes > LONG_MAX || offset > INT64_MAX - bytes)
        return -EINVAL;
    struct file *file = file_of(stream);
    int err = file && !file->appends ? io_enter(&stream->object, IO_BESIDE) : -ENOTSUP;
    if (err)
        return err;
    size_t count = 0;
    int64_t put = 0;
    while (count < bytes && put >= 0) {
        put = write_somehow(file, offset + count, (const char *)from + count, bytes - count, false,
                            deadline);
        count += put > 0 ? (size_t)put : 0;
    }
    // A reader may have read the old bytes ahead.
    if (!(stream->object.taken & IO_READS))
        file->at -= drop_ahead(stream);
    io_leave(&stream->object, IO_BESIDE);
    return put < 0 ? (long)put : (long)bytes;
}

// Nobody waits for the end of what is written to a file but who reads its size.
static int file_shut(struct ac_stream *stream) {
    (void)stream;
    return -ENOTSUP;
}

// ---- position, size, disk ----

// First and last thing in a call that needs the position for itself. `file` is NULL for what is no
// regular file.
static int enter_alone(ac_stream *stream, struct file *file) {
    int err = file ? io_enter(&stream->object, IO_READS | IO_WRITES) : -ENOTSUP;
    if (!err && file->writing) {
        io_leave(&stream->object, IO_READS | IO_WRITES);
        err = -EBUSY;
    }
    return err;
}

static void leave_alone(ac_stream *stream) { io_leave(&stream->object, IO_READS | IO_WRITES); }

int64_t ac_file_size(ac_stream *stream, ac_time deadline) {
    if (!stream)
        return -EINVAL;
    struct file *file = file_of(stream);
    int err = file ? io_enter(&stream->object, IO_BESIDE) : -ENOTSUP;
    if (err)
        return err;
    int64_t size = do_simply(file, run_size, 0, deadline);
    io_leave(&stream->object, IO_BESIDE);
    return size;
}

int64_t ac_file_seek(ac_stream *stream, int64_t offset, enum ac_file_origin from,
                     ac_time deadline) {
    if (!stream || (unsigned)from > AC_FILE_END)
        return -EINVAL;
    struct file *file = file_of(stream);
    int err = enter_alone(stream, file);
    if (err)
        return err;
    int64_t base = 0;
    if (from == AC_FILE_CURRENT)
        base = (int64_t)(file->at - (stream->ahead.length - stream->ahead_taken));
    else if (from == AC_FILE_END)
        base = do_simply(file, run_size, 0, deadline);
    int64_t to = base;
    if (base >= 0 && (__builtin_add_overflow(base, offset, &to) || to < 0))
        to = -EINVAL;
    if (to >= 0) {
        drop_ahead(stream);
        file->at = (uint64_t)to;
    }
    leave_alone(stream);
    return to;
}

int ac_file_truncate(ac_stream *stream, uint64_t bytes, ac_time deadline) {
    if (!stream || bytes > INT64_MAX)
        return -EINVAL;
    struct file *file = file_of(stream);
    int err = enter_alone(stream, file);
    if (err)
        return err;
    file->at -= drop_ahead(stream);
    err = (int)do_simply(file, run_resize, bytes, deadline);
    file->bytes = 0; // no longer known
    leave_alone(stream);
    return err;
}

int ac_file_sync(ac_stream *stream, ac_time deadline) {
    if (!stream)
        return -EINVAL;
    struct file *file = file_of(stream);
    int err = file ? io_enter(&stream->object, IO_BESIDE) : -ENOTSUP;
    if (err)
        return err;
    err = (int)do_simply(file, run_sync, 0, deadline);
    io_leave(&stream->object, IO_BESIDE);
    return err;
}

// ---- opening ----

struct opening {
    struct work work;
    unsigned how;
    unsigned permissions;
    int fd; // or an error
    struct sys_file_facts facts;
    char path[];
};

static void run_open(struct work *work) {
    struct opening *it = container_of(work, struct opening, work);
    it->fd = sys_file_open_as(it->path, it->how, it->permissions, &it->facts);
    // Of other things than pipes it means what it says.
    struct sys_file_facts facts;
    if (it->fd == -ENXIO && sys_file_look(it->path, true, &facts) == 0 &&
        facts.sort == SYS_FILE_PIPE)
        it->fd = -EAGAIN;
}

static void opening_orphaned(struct work *work) {
    struct opening *it = container_of(work, struct opening, work);
    sys_fd_close(it->fd);
    memory_release(it);
}

// What a mode of fopen means, or -EINVAL.
static int how_of(const char *mode) {
    int how;
    switch (*mode++) {
    case 'r': how = SYS_FILE_READ; break;
    case 'w': how = SYS_FILE_WRITE | SYS_FILE_CREATE | SYS_FILE_EMPTY; break;
    case 'a': how = SYS_FILE_WRITE | SYS_FILE_CREATE | SYS_FILE_APPEND; break;
    default: return -EINVAL;
    }
    for (; *mode; mode++) {
        if (*mode == '+')
            how |= SYS_FILE_READ | SYS_FILE_WRITE;
        else if (*mode == 'x' && how & SYS_FILE_CREATE)
            how |= SYS_FILE_NEW;
        else if (*mode != 'b')
            return -EINVAL;
    }
    return how;
}

// Makes a stream of what was opened.
static int adopt(ac_stream **stream, struct loop *loop, const struct opening *it) {
    bool regular = it->facts.sort == SYS_FILE_REGULAR;
    struct ac_stream *new = stream_create(loop);
    struct file *file = new &&regular ? memory_allocate_zeroed(sizeof *file) : NULL;
    if (!new || (regular && !file)) {
        ac_close(new);
        return -ENOMEM;
    }
    *stream = new;
    if (!regular) {
        // Nobody may have written to a pipe yet, which reads like its end; and a terminal gives a
        // line at a time, however much is there. So who reads waits first until there is something,
        // as on a descriptor that is shared.
        bool asks_first = it->facts.sort == SYS_FILE_PIPE ? !(it->how & SYS_FILE_WRITE)
                                                          : (it->how & SYS_FILE_READ) != 0;
        sys_adopt(loop->sys, &new->object.handle, it->fd, asks_first);
        return 0;
    }
    *file = (struct file){.fd = it->fd,
                          .descriptor_holders = 1,
                          .holders = 1,
                          .appends = it->how & SYS_FILE_APPEND,
                          .try_reads = true,
                          .try_writes = true,
                          .bytes = it->facts.bytes};
    list_init(&file->transfers);
    new->kind = &file_kind;
    new->own = file;
    new->object.closing = file_closing;
    new->object.handle = (struct sys_handle){.sys = loop->sys, .fd = -1};
    return 0;
}

// Opens by a thread. 0 or an error: -EAGAIN also for a pipe that nobody reads.
static int open_once(ac_stream **stream, const char *path, unsigned how, unsigned permissions,
                     ac_time deadline, bool *no_reader) {
    size_t bytes = strlen(path) + 1;
    struct opening *it = memory_allocate_zeroed(sizeof *it + bytes);
    if (!it)
        return -ENOMEM;
    it->work = (struct work){.run = run_open, .orphaned = opening_orphaned};
    it->how = how;
    it->permissions = permissions;
    it->fd = -1;
    memcpy(it->path, path, bytes);
    int err = work_do_with_files(&it->work, deadline);
    if (!work_is_callers(err))
        return err;
    if (!err)
        err = it->fd < 0 ? it->fd : adopt(stream, loop_here, it);
    *no_reader = it->fd == -EAGAIN;
    if (err)
        sys_fd_close(it->fd);
    memory_release(it);
    return err;
}

int ac_file_open_with(ac_stream **stream, const char *path, const char *mode, ac_time deadline,
                      const struct ac_file_options *options) {
    if (stream)
        *stream = NULL;
    int how = mode ? how_of(mode) : -EINVAL;
    if (!stream || !path || how < 0 || (options && options->size < sizeof *options))
        return -EINVAL;
    if (!coro_here())
        return -EPERM;
    unsigned permissions = options && options->permissions ? options->permissions : 0666;
    for (int retry_us = OPEN_RETRY_US_MIN;;) {
        bool no_reader = false;
        int err = open_once(stream, path, (unsigned)how, permissions, deadline, &no_reader);
        if (!no_reader)
            return err;
        if (ac_now() >= deadline)
            return -ETIMEDOUT;
        err = ac_sleep(retry_us / 1e6);
        if (err)
            return err;
        retry_us = 2 * retry_us < OPEN_RETRY_US_MAX ? 2 * retry_us : OPEN_RETRY_US_MAX;
    }
}

// ---- pipes ----

// What only is written to has one way to say that nothing more comes.
static int pipe_shut(struct ac_stream *stream) {
    if (stream->object.taken & IO_WRITES)
        return -EBUSY;
    sys_close(&stream->object.handle);
    return 0;
}

static void pipe_release(struct ac_stream *stream) { (void)stream; }

static const struct stream_kind writer_kind = {.read = stream_read_handle,
                                               .write = stream_write_handle,
                                               .shut = pipe_shut,
                                               .release = pipe_release};

int pipe_open(struct loop *loop, bool reads, ac_stream **ours, int *theirs) {
    struct ac_stream *stream = stream_create(loop);
    if (!stream)
        return -ENOMEM;
    int ends[2];
    int err = sys_pipe(ends);
    if (err) {
        ac_close(stream);
        return err;
    }
    sys_adopt(loop->sys, &stream->object.handle, ends[reads ? 0 : 1], false);
    stream->kind = reads ? NULL : &writer_kind;
    *ours = stream;
    *theirs = ends[reads ? 1 : 0];
    return 0;
}

// ---- lending ----

// Whether the mode of its descriptor, blocking or not, is no business of other programs.
static bool mode_is_ours(const struct ac_stream *stream) {
    return !standard_is(io_of(coro_here()->loop), &stream->object);
}

// A descriptor for another program, or an error.
static int copy_for_others(struct ac_stream *stream) {
    size_t ahead = stream->ahead.length - stream->ahead_taken;
    const struct file *file = file_of(stream);
    if (file) {
        int err = file->writing ? -EBUSY : 0;
        if (!err && !file->appends)
            err = sys_file_seek(file->fd, file->at - ahead);
        return err ? err : sys_fd_copy(file->fd);
    }
    if (stream->kind && stream->kind != &writer_kind)
        return -ENOTSUP;
    if (ahead > 0)
        return -EBUSY;
    int fd = stream->object.handle.fd;
    int err = mode_is_ours(stream) ? sys_fd_set_blocking(fd, true) : 0;
    return err ? err : sys_fd_copy(fd);
}

int stream_lend(struct ac_stream *stream) {
    int err = io_enter(&stream->object, IO_READS | IO_WRITES);
    if (err)
        return err;
    int copy = copy_for_others(stream);
    if (copy < 0)
        stream_return(stream, false);
    return copy;
}

void stream_return(struct ac_stream *stream, bool taken) {
    const struct sys_handle *handle = &stream->object.handle;
    bool closed = stream->object.closed;
    if (!taken && handle->sys && handle->fd >= 0 && mode_is_ours(stream))
        (void)sys_fd_set_blocking(handle->fd, false);
    io_leave(&stream->object, IO_READS | IO_WRITES);
    if (taken && !closed)
        ac_close(stream);
}

int ac_pipe(ac_stream **reader, ac_stream **writer) {
    if (!reader || !writer)
        return -EINVAL;
    *reader = *writer = NULL;
    int err, fd;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    struct ac_stream *other = stream_create(loop);
    err = other ? pipe_open(loop, true, reader, &fd) : -ENOMEM;
    if (err) {
        ac_close(other);
        return err;
    }
    sys_adopt(loop->sys, &other->object.handle, fd, false);
    other->kind = &writer_kind;
    *writer = other;
    return 0;
}
