// SPDX-License-Identifier: MIT
// Executables: this process's own, and those that come from elsewhere in pieces, are stored and
// run. Small blocking calls on descriptors, for files that lie in the page cache as a rule.
#include <dirent.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/sys.h"

#include <errno.h>

static int opened(int fd) { return fd < 0 ? -errno : fd; }

int sys_program_open(void) { return opened(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); }

int sys_file_open(const char *path) {
    return opened(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW));
}

int sys_file_create(const char *path) {
    return opened(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRWXU));
}

int sys_memory_create(const char *name) {
    enum { EXECUTABLE = 0x10 }; // MFD_EXEC: asked for since Linux 6.3, refused before
    int fd = memfd_create(name, MFD_CLOEXEC | EXECUTABLE);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC);
    return opened(fd);
}

int64_t sys_file_bytes(int fd) {
    struct stat facts;
    if (fstat(fd, &facts) < 0)
        return -errno;
    return S_ISREG(facts.st_mode) ? (int64_t)facts.st_size : -EINVAL;
}

int sys_file_read_at(int fd, uint64_t offset, void *to, size_t count) {
    char *at = to;
    while (count > 0) {
        ssize_t got = pread(fd, at, count, (off_t)offset);
        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            at += got;
            offset += (uint64_t)got;
            count -= (size_t)got;
        }
    }
    return 0;
}

int sys_file_write_at(int fd, uint64_t offset, const void *from, size_t count) {
    const char *at = from;
    while (count > 0) {
        ssize_t put = pwrite(fd, at, count, (off_t)offset);
        if (put < 0 && errno != EINTR)
            return -errno;
        if (put > 0) {
            at += put;
            offset += (uint64_t)put;
            count -= (size_t)put;
        }
    }
    return 0;
}

bool sys_file_exists(const char *path) { return access(path, F_OK) == 0; }

int sys_file_rename(const char *from, const char *to) { return rename(from, to) < 0 ? -errno : 0; }

int sys_file_remove(const char *path) { return unlink(path) < 0 ? -errno : 0; }

// ---- a folder that must not grow for ever ----

void sys_file_touch(int fd) { (void)futimens(fd, NULL); }

// Finds the regular file that was touched longest ago. Returns how many there are, or an error.
static long oldest_of(int folder, char *name, size_t bytes) {
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *all = fd < 0 ? NULL : fdopendir(fd);
    if (!all) {
        int err = -errno;
        sys_fd_close(fd);
        return err;
    }
    long count = 0;
    int err = 0;
    struct timespec oldest = {0, 0};
    for (struct dirent *at; !err && (at = readdir(all));) {
        struct stat facts;
        if (fstatat(folder, at->d_name, &facts, AT_SYMLINK_NOFOLLOW) < 0) {
            err = errno == ENOENT ? 0 : -errno; // somebody else removes files, too
            continue;
        }
        if (!S_ISREG(facts.st_mode))
            continue;
        struct timespec then = facts.st_mtim;
        bool older = then.tv_sec < oldest.tv_sec ||
                     (then.tv_sec == oldest.tv_sec && then.tv_nsec < oldest.tv_nsec);
        if (count++ == 0 || older) {
            oldest = then;
            snprintf(name, bytes, "%s", at->d_name);
        }
    }
    closedir(all);
    return err ? err : count;
}

int sys_folder_prune(const char *path, size_t keep) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -errno;
    char name[256];
    long count;
    int err = 0;
    while (!err && (count = oldest_of(folder, name, sizeof name)) > (long)keep)
        if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
            err = -errno;
    close(folder);
    return err ? err : count < 0 ? (int)count : 0;
}

// ---- pipes and other descriptors ----

int sys_pipe_take(int fd, void *to, size_t count) {
    struct stat facts;
    int there = 0;
    if (fstat(fd, &facts) < 0 || !S_ISFIFO(facts.st_mode) || ioctl(fd, FIONREAD, &there) < 0)
        return -EINVAL;
    if ((size_t)there < count)
        return -ENODATA;
    char *at = to;
    while (count > 0) {
        ssize_t got = read(fd, at, count);
        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            at += got;
            count -= (size_t)got;
        }
    }
    return 0;
}

int sys_fd_keep(int fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0; }

int sys_fd_write(int fd, const void *from, size_t count) {
    const char *at = from;
    while (count > 0) {
        ssize_t put = write(fd, at, count);
        if (put < 0 && errno != EINTR)
            return -errno;
        if (put > 0) {
            at += put;
            count -= (size_t)put;
        }
    }
    return 0;
}

// ---- this computer ----

void sys_libc_version(int *major, int *minor) {
    *major = *minor = 0;
    (void)sscanf(gnu_get_libc_version(), "%d.%d", major, minor);
}

int sys_processors(void) {
    cpu_set_t mine;
    int count = sched_getaffinity(0, sizeof mine, &mine) < 0 ? 1 : CPU_COUNT(&mine);
    return count > 0 ? count : 1;
}

const char *sys_program_name(void) { return program_invocation_short_name; }
