// SPDX-License-Identifier: MIT
// Small blocking calls on files, for the start of a program and for helper threads.
//
// A secret file is a regular file that belongs to this user and that nobody else may read or write;
// what is not is refused before a byte of it is read, and so is a symbolic link, which others may
// have laid. It is written under a name of its own in the same folder and gets its real name when
// all its bytes are on the disk: others see it whole or not at all, and of two programs that make
// it at once one is told -EEXIST and reads the other's. Those that would change one take its lock
// first; as the changed file is another one, whoever waited for the lock looks again.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
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

// Not blocking, because a pipe in the place of the file would make the open wait.
static int open_regular(const char *path, int flags, struct stat *facts) {
    int fd = open(path, O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags);
    if (fd < 0)
        return errno == ELOOP && flags & O_NOFOLLOW ? -EACCES : -errno;
    int err = fstat(fd, facts) < 0 ? -errno : S_ISREG(facts->st_mode) ? 0 : -EACCES;
    if (!err)
        return fd;
    close(fd);
    return err;
}

int sys_file_read_secret(const char *path, struct buffer *into, size_t bytes_max) {
    struct stat facts;
    // What lies below /proc is a process's own descriptor, and not what somebody else put there.
    bool own = strncmp(path, "/proc/", 6) == 0;
    int fd = open_regular(path, O_RDONLY | (own ? 0 : O_NOFOLLOW), &facts);
    if (fd < 0)
        return fd;
    if (facts.st_uid == geteuid() && (facts.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return read_and_close(fd, into, bytes_max);
    close(fd);
    return -EACCES;
}

int sys_file_read_guarded(const char *path, struct buffer *into, size_t bytes_max) {
    struct stat facts;
    int fd = open_regular(path, O_RDONLY, &facts);
    if (fd < 0)
        return fd;
    if ((facts.st_mode & S_IRWXO) == 0)
        return read_and_close(fd, into, bytes_max);
    close(fd);
    return -EACCES;
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

int sys_file_open_log(const char *path) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, S_IRUSR | S_IWUSR);
    return fd < 0 ? -errno : fd;
}

int sys_file_add(int fd, const void *bytes, size_t count) { return write_all(fd, bytes, count); }

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

static int write_secret(const char *path, const void *bytes, size_t count, bool replace) {
    static const char suffix[] = ".XXXXXX";
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
    if (!err && replace)
        err = rename(temporary, path) < 0 ? -errno : 0;
    else if (!err)
        err = rename_new(temporary, path);
    if (err)
        unlink(temporary);
    else
        sync_folder_of(temporary);
release:
    memory_release(temporary);
    return err;
}

int sys_file_create_secret(const char *path, const void *bytes, size_t count) {
    // Spares the common case the work, and says -EEXIST where the folder may not be written.
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return write_secret(path, bytes, count, false);
}

int sys_file_replace_secret(const char *path, const void *bytes, size_t count) {
    return write_secret(path, bytes, count, true);
}

// For writing, without which NFS gives nobody a lock to himself; but a file may be closed to
// writing.
static int open_to_lock(const char *path, struct stat *facts) {
    int fd = open_regular(path, O_RDWR | O_NOFOLLOW, facts);
    return fd == -EACCES || fd == -EROFS ? open_regular(path, O_RDONLY | O_NOFOLLOW, facts) : fd;
}

int sys_file_lock(const char *path) {
    for (;;) {
        struct stat locked, named;
        int fd = open_to_lock(path, &locked);
        if (fd < 0)
            return fd;
        int err;
        while ((err = flock(fd, LOCK_EX) < 0 ? -errno : 0) == -EINTR)
            continue;
        if (!err && lstat(path, &named) < 0)
            err = -errno;
        if (!err && named.st_ino == locked.st_ino && named.st_dev == locked.st_dev)
            return fd;
        close(fd);
        if (err)
            return err;
    }
}

static void take_stamp(const struct stat *facts, struct sys_file_stamp *stamp) {
    *stamp = (struct sys_file_stamp){
        .device = facts->st_dev,
        .inode = facts->st_ino,
        .bytes = (uint64_t)facts->st_size,
        .changed_ns = facts->st_ctim.tv_sec * (int64_t)1000000000 + facts->st_ctim.tv_nsec,
    };
}

void sys_file_stamp(const char *path, struct sys_file_stamp *stamp) {
    struct stat facts;
    *stamp = (struct sys_file_stamp){0};
    if (stat(path, &facts) == 0)
        take_stamp(&facts, stamp);
}

void sys_fd_stamp(int fd, struct sys_file_stamp *stamp) {
    struct stat facts;
    *stamp = (struct sys_file_stamp){0};
    if (fstat(fd, &facts) == 0)
        take_stamp(&facts, stamp);
}

// ---- folders ----

static int make_one(const char *path, mode_t permissions) {
    struct stat facts;
    if (mkdir(path, permissions) == 0)
        return 0;
    int err = -errno;
    // What is there already is good, also where it may not be made (-EROFS, -EACCES); if it is a
    // folder.
    if (stat(path, &facts) < 0)
        return err;
    return S_ISDIR(facts.st_mode) ? 0 : -ENOTDIR;
}

int sys_folder_make(const char *path) { return sys_folder_make_with(path, S_IRWXU); }

int sys_folder_make_with(const char *path, unsigned permissions) {
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
        err = make_one(part, permissions);
        *at = '/';
    }
    if (!err)
        err = make_one(part, permissions);
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

const char *sys_folder_temporary(void) {
    const char *named = path_variable("TMPDIR");
    return named ? named : "/tmp";
}

int sys_folder_list(const char *path, struct buffer *names) {
    DIR *all = opendir(path);
    if (!all)
        return -errno;
    int err = 0;
    for (;;) {
        errno = 0;
        struct dirent *at = readdir(all);
        if (!at) {
            err = -errno;
            break;
        }
        if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0)
            continue;
        err = buffer_append(names, at->d_name, strlen(at->d_name) + 1);
        if (err)
            break;
    }
    closedir(all);
    return err;
}

// ---- files as users have them ----

static void take_facts(const struct stat *from, struct sys_file_facts *facts) {
    enum sys_file_sort sort = SYS_FILE_ELSE;
    switch (from->st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK: sort = SYS_FILE_REGULAR; break;
    case S_IFDIR: sort = SYS_FILE_FOLDER; break;
    case S_IFLNK: sort = SYS_FILE_LINK; break;
    case S_IFIFO: sort = SYS_FILE_PIPE; break;
    default: break;
    }
    *facts = (struct sys_file_facts){.sort = sort,
                                     .permissions = from->st_mode & 07777,
                                     .bytes = (uint64_t)from->st_size,
                                     .modified_ns = (int64_t)from->st_mtim.tv_sec * 1000000000 +
                                                    from->st_mtim.tv_nsec};
}

int sys_file_look(const char *path, bool follow, struct sys_file_facts *facts) {
    struct stat found;
    if ((follow ? stat(path, &found) : lstat(path, &found)) < 0)
        return -errno;
    take_facts(&found, facts);
    return 0;
}

int sys_file_open_as(const char *path, unsigned how, unsigned permissions,
                     struct sys_file_facts *facts) {
    static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR};
    int flags = modes[how & (SYS_FILE_READ | SYS_FILE_WRITE)] | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    flags |= how & SYS_FILE_APPEND ? O_APPEND : 0;
    flags |= how & SYS_FILE_CREATE ? O_CREAT : 0;
    flags |= how & SYS_FILE_EMPTY ? O_TRUNC : 0;
    flags |= how & SYS_FILE_NEW ? O_EXCL : 0;
    int fd;
    do
        fd = open(path, flags, permissions);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    struct stat found;
    int err = fstat(fd, &found) < 0 ? -errno : S_ISDIR(found.st_mode) ? -EISDIR : 0;
    if (err) {
        close(fd);
        return err;
    }
    take_facts(&found, facts);
    return fd;
}

// Kernels and file systems that do not know the flag say so in several ways.
static int64_t try_result(ssize_t result) {
    if (result >= 0)
        return result;
    bool unknown = errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL;
    return unknown ? -EOPNOTSUPP : errno == EINTR ? -EAGAIN : -errno;
}

int64_t sys_file_try_read(int fd, uint64_t offset, void *to, size_t count) {
    struct iovec part = {.iov_base = to, .iov_len = count};
    return try_result(preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT));
}

int64_t sys_file_try_write(int fd, uint64_t offset, const void *from, size_t count) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)from, .iov_len = count};
    return try_result(pwritev2(fd, &part, 1, (off_t)offset, RWF_NOWAIT));
}

int64_t sys_file_read_some(int fd, uint64_t offset, void *to, size_t count) {
    ssize_t got;
    do
        got = pread(fd, to, count, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

int64_t sys_file_write_some(int fd, uint64_t offset, const void *from, size_t count) {
    ssize_t put;
    do
        put = pwrite(fd, from, count, (off_t)offset);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

int sys_file_resize(int fd, uint64_t bytes) {
    int err;
    do
        err = ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
    while (err == -EINTR);
    return err;
}

int sys_file_sync(int fd) { return fsync(fd) < 0 ? -errno : 0; }

int sys_file_seek(int fd, uint64_t offset) {
    return lseek(fd, (off_t)offset, SEEK_SET) < 0 ? -errno : 0;
}

int sys_file_remove_any(const char *path) { return remove(path) < 0 ? -errno : 0; }

int sys_fd_set_blocking(int fd, bool blocking) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    flags = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}
