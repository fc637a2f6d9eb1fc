// SPDX-License-Identifier: MIT
// Small blocking calls on files, for the start of a program and for helper threads.
//
// A secret file is a regular file that belongs to this user and that nobody else may read or write;
// what is not is refused before a byte of it is read, and so is a symbolic link, which others may
// have laid. It is written under a name of its own in the same folder and gets its real name when
// all its bytes are on the disk: others see it whole or not at all, and of two programs that make
// it at once one is told -EEXIST and reads the other's.
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/sys.h"

enum { CHUNK_BYTES = 64 << 10 };

// ---- reading ----

// Appends what `fd` still gives, at most `bytes_max`.
static int read_all(int fd, struct buffer *into, size_t bytes_max) {
    size_t before = into->length;
    for (;;) {
        size_t had = into->length - before;
        // One byte more than allowed tells a file that is too large from one that just fits.
        size_t ask = bytes_max - had < CHUNK_BYTES ? bytes_max - had + 1 : CHUNK_BYTES;
        int err = buffer_reserve(into, ask);
        if (err)
            return err;
        ssize_t got = read(fd, into->bytes + into->length, ask);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0 && had + (size_t)got > bytes_max)
            return -EFBIG;
        if (got > 0)
            into->length += (size_t)got;
    }
}

static int read_and_close(int fd, struct buffer *into, size_t bytes_max) {
    size_t before = into->length;
    int err = read_all(fd, into, bytes_max);
    if (err)
        into->length = before;
    close(fd);
    return err;
}

int sys_file_read(const char *path, struct buffer *into, size_t bytes_max) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : read_and_close(fd, into, bytes_max);
}

int sys_file_read_secret(const char *path, struct buffer *into, size_t bytes_max) {
    // Not blocking, because a pipe in the place of the file would make the open wait.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ELOOP ? -EACCES : -errno;
    struct stat facts;
    int err = fstat(fd, &facts) < 0 ? -errno : 0;
    bool secret = !err && S_ISREG(facts.st_mode) && facts.st_uid == geteuid() &&
                  (facts.st_mode & (S_IRWXG | S_IRWXO)) == 0;
    if (!secret) {
        close(fd);
        return err ? err : -EACCES;
    }
    return read_and_close(fd, into, bytes_max);
}

// ---- creating ----

static int write_all(int fd, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t put = write(fd, bytes, count);
        if (put < 0 && errno != EINTR)
            return -errno;
        if (put > 0) {
            bytes += put;
            count -= (size_t)put;
        }
    }
    return 0;
}

// Gives the file its real name unless that is taken. Not every file system can rename this way, and
// not every one knows hard links.
static int rename_new(const char *from, const char *to) {
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(from, to) < 0)
        return -errno;
    unlink(from);
    return 0;
}

// Puts a new name on the disk. Best effort: some file systems refuse it, and the file is good all
// the same.
static void sync_folder_of(char *path) {
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = 0;
    int fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

int sys_file_create_secret(const char *path, const void *bytes, size_t count) {
    static const char suffix[] = ".XXXXXX";
    // Spares the common case the work, and says -EEXIST where the folder may not be written.
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    size_t length = strlen(path);
    char *temporary = memory_allocate(length + sizeof suffix);
    if (!temporary)
        return -ENOMEM;
    memcpy(temporary, path, length);
    memcpy(temporary + length, suffix, sizeof suffix);
    int fd = mkostemp(temporary, O_CLOEXEC);
    int err = fd < 0 ? -errno : 0;
    if (err)
        goto release;
    // mkostemp obeys the umask, which may take rights from the owner too.
    err = fchmod(fd, S_IRUSR | S_IWUSR) < 0 ? -errno : write_all(fd, bytes, count);
    if (!err && fsync(fd) < 0)
        err = -errno;
    if (close(fd) < 0 && !err)
        err = -errno;
    if (!err)
        err = rename_new(temporary, path);
    if (err)
        unlink(temporary);
    else
        sync_folder_of(temporary);
release:
    memory_release(temporary);
    return err;
}

// ---- folders ----

static int make_one(const char *path) {
    struct stat facts;
    if (mkdir(path, S_IRWXU) == 0)
        return 0;
    int err = -errno;
    // What is there already is good, also where it may not be made (-EROFS, -EACCES); if it is a
    // folder.
    if (stat(path, &facts) < 0)
        return err;
    return S_ISDIR(facts.st_mode) ? 0 : -ENOTDIR;
}

int sys_folder_make(const char *path) {
    if (!*path)
        return -ENOENT;
    char *part = memory_copy_text(path);
    if (!part)
        return -ENOMEM;
    int err = 0;
    for (char *at = part + 1; !err && *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        err = make_one(part);
        *at = '/';
    }
    if (!err)
        err = make_one(part);
    memory_release(part);
    return err;
}

int sys_folder_is_private(const char *path) {
    struct stat facts;
    if (lstat(path, &facts) != 0)
        return -errno;
    bool private = S_ISDIR(facts.st_mode) && facts.st_uid == geteuid() &&
                   !(facts.st_mode & (S_IWGRP | S_IWOTH));
    return private ? 0 : -EACCES;
}

// A variable whose value is an absolute path, as the XDG specification wants it; else NULL.
static const char *path_variable(const char *name) {
    const char *value = secure_getenv(name);
    return value && value[0] == '/' ? value : NULL;
}

static int standard_folder(const char *variable, const char *below_home, char *path, size_t bytes) {
    const char *base = path_variable(variable);
    const char *home = path_variable("HOME");
    int length;
    if (base)
        length = snprintf(path, bytes, "%s/asyncoro", base);
    else if (home)
        length = snprintf(path, bytes, "%s/%s/asyncoro", home, below_home);
    else
        return -ENOENT;
    return length >= 0 && (size_t)length < bytes ? 0 : -EMSGSIZE;
}

int sys_folder_config(char *path, size_t bytes) {
    return standard_folder("XDG_CONFIG_HOME", ".config", path, bytes);
}

int sys_folder_cache(char *path, size_t bytes) {
    return standard_folder("XDG_CACHE_HOME", ".cache", path, bytes);
}
