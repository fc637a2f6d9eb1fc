// SPDX-License-Identifier: MIT
// Files as streams, pipes, and what is done with files by their names.
//
// No call makes the loop wait for a disk. What the system has in memory is read at once, where the
// file system can tell (ext4, XFS, Btrfs and others; not tmpfs); all else is done by four helper
// threads of the loop. A file reads ahead, 64 KiB at a time, so that small reads and lines cost no
// system call each. What is written is with the system when the call returns; as that takes a
// helper thread on most file systems, gather what is small.
//
// A regular file has one position. Reading and writing it at once gives -EBUSY to the later of two
// coroutines. ac_file_read_at and ac_file_write_at do not use the position, and any number may be
// under way.
//
// A call that ends early leaves a helper thread at its work. A read has then had no effect. A write
// may yet be made, whole or in part: until it is over, calls that use the position give -EBUSY;
// ac_file_seek tells afterwards how far it came. ac_close waits for nothing: a call inside gives
// -EBADF, and the file is closed when the last thread has left it.
#ifndef ASYNCORO_FILE_H
#define ASYNCORO_FILE_H

#include <asyncoro/base.h>
#include <asyncoro/io.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- files as streams ----

// How to open a file. Zero means the default everywhere.
struct ac_file_options {
    size_t size;          // sizeof(struct ac_file_options); set by the macro
    unsigned permissions; // of a file that is made, less the umask; default: 0666
};

// Opens a file as a stream for ac_read, ac_read_line, ac_write_all and all the others, owned by the
// caller until ac_close. `mode` is that of fopen: "r" to read; "w" to write what is emptied or made
// first; "a" to write at the end, whoever else writes; with "+" for both; with "x" it must not be
// there yet; "b" says nothing. Options follow by name: ac_file_open(&file, "log", "a", AC_FOREVER,
// .permissions = 0600). A named pipe or a terminal is opened as what it is: to write to a pipe that
// nobody reads waits for a reader, to read one waits with the first call that reads. Can wait. 0;
// -ENOENT, -EACCES, -EEXIST, -EISDIR and the like from the system; -EMFILE, -ENFILE when
// descriptors have run out; -EINVAL for another mode, or NULL; -ETIMEDOUT; -ECANCELED; -EPERM
// outside coroutines; -EAGAIN if no thread can be made; -ENOMEM.
#define ac_file_open(stream, path, mode, ...) AC_FILE_OPEN_((stream), (path), (mode), __VA_ARGS__, )
#define AC_FILE_OPEN_(stream, path, mode, deadline, ...)                                           \
    ac_file_open_with(                                                                             \
        stream, path, mode, (deadline),                                                            \
        AC_OPTIONS_(ac_file_options){.size = sizeof(struct ac_file_options), __VA_ARGS__})
AC_API int ac_file_open_with(ac_stream **stream, const char *path, const char *mode,
                             ac_time deadline, const struct ac_file_options *options) AC_CHECKED;

// Reads from a place of the file, counted in bytes from its beginning, whatever its position. Can
// wait. How many bytes: `bytes`, or fewer at the end of the file, 0 behind it; -ENOTSUP if the
// stream is no regular file; else the errors of ac_read, and -EAGAIN if no thread can be made.
AC_API long ac_file_read_at(ac_stream *file, void *to, size_t bytes, uint64_t offset,
                            ac_time deadline) AC_CHECKED;

// Writes to a place of the file, whatever its position, and makes it longer if need be. Can wait.
// `bytes`; -ENOTSUP also for a file that was opened to append; else the errors of ac_write_all, and
// -EAGAIN. After an error any part of it may be written.
AC_API long ac_file_write_at(ac_stream *file, const void *from, size_t bytes, uint64_t offset,
                             ac_time deadline) AC_CHECKED;

// How long the file is, in bytes. Can wait. The number of bytes; or the errors of ac_file_read_at.
AC_API int64_t ac_file_size(ac_stream *file, ac_time deadline) AC_CHECKED;

// From where ac_file_seek counts.
enum ac_file_origin {
    AC_FILE_START,
    AC_FILE_CURRENT, // the position: what was read ahead has not moved it
    AC_FILE_END
};

// Moves the position, perhaps behind the end. In a file that was opened to append it is that of
// reading. Can wait, but only for the end. The position from the beginning, in bytes; -EINVAL for
// one before the beginning; -EBUSY while another coroutine reads or writes; else the errors of
// ac_file_read_at.
AC_API int64_t ac_file_seek(ac_stream *file, int64_t offset, enum ac_file_origin from,
                            ac_time deadline) AC_CHECKED;

// Cuts the file to so many bytes, or makes it longer with zeros. The position stays where it is.
// Can wait. 0; -EBUSY while another coroutine reads or writes; else the errors of ac_file_read_at
// and of the system.
AC_API int ac_file_truncate(ac_stream *file, uint64_t bytes, ac_time deadline) AC_CHECKED;

// Waits until what was written is on the disk. Can wait. 0; -EIO, -ENOSPC and the like if it could
// not be written there; else the errors of ac_file_read_at.
AC_API int ac_file_sync(ac_stream *file, ac_time deadline) AC_CHECKED;

// ---- pipes ----

// Opens a pipe inside this program, to read from one stream what is written to the other: for
// programs that one starts, or for a foreign thread. Both are owned by the caller. ac_shutdown of
// the writer closes it. Does not wait. 0; -EINVAL for NULL; -EMFILE, -ENFILE; -ENOMEM; the error of
// a loop that could not be made.
AC_API int ac_pipe(ac_stream **reader, ac_stream **writer) AC_CHECKED;

// ---- by name ----

// What can lie at a path, and what is known of it.
enum ac_file_sort { AC_FILE_REGULAR, AC_FILE_FOLDER, AC_FILE_LINK, AC_FILE_PIPE, AC_FILE_OTHER };

struct ac_file_facts {
    enum ac_file_sort sort;
    unsigned permissions; // as chmod has them
    uint64_t bytes;
    int64_t modified_ns; // since 1970, UTC
};

// Tells what lies at a path; of a symbolic link, what it is itself. Can wait. 0; -ENOENT and the
// like from the system; -EINVAL for NULL; -ETIMEDOUT; -ECANCELED; -EPERM outside coroutines;
// -EAGAIN if no thread can be made; -ENOMEM.
AC_API int ac_file_look(const char *path, struct ac_file_facts *facts, ac_time deadline) AC_CHECKED;

// Gives a file another name, and replaces what had that name. Can wait; one that ends early may yet
// come about, as with the two that follow. 0, or the errors of ac_file_look.
AC_API int ac_file_rename(const char *from, const char *to, ac_time deadline) AC_CHECKED;

// Removes a file, a link or an empty folder. Can wait. 0, or the errors of ac_file_look.
AC_API int ac_file_remove(const char *path, ac_time deadline) AC_CHECKED;

// Makes a folder and those above it, with permissions such as 0777, less the umask. Can wait. 0,
// also if it is there; -ENOTDIR if something else is; or the errors of ac_file_look.
AC_API int ac_folder_make(const char *path, unsigned permissions, ac_time deadline) AC_CHECKED;

// Lists what is in a folder: stores a list of names, sorted by their bytes, each a text (or bytes,
// where it is not UTF-8), which the caller drops. Can wait. 0, or the errors of ac_file_look.
AC_API int ac_folder_list(const char *path, ac_value *names, ac_time deadline) AC_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
