// SPDX-License-Identifier: MIT
// Executables: this process's own, and those that come from elsewhere in pieces, are stored and
// run. Small blocking calls on descriptors, for files that lie in the page cache as a rule.
#include <dirent.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/sys.h"

#include <errno.h>

static int opened(int fd) { return fd < 0 ? -errno : fd; }

int sys_program_open(void) { return opened(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); }

static int add_library(struct dl_phdr_info *library, size_t bytes, void *paths) {
    (void)bytes;
    const char *path = library->dlpi_name;
    return path && path[0] == '/' ? buffer_append(paths, path, strlen(path) + 1) : 0;
}

int sys_program_libraries(struct buffer *paths) { return dl_iterate_phdr(add_library, paths); }

char *const *sys_environment(void) { return environ; }

int sys_file_open(const char *path) {
    return opened(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW));
}

int sys_file_create(const char *path) {
    return opened(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRWXU));
}

int sys_memory_create(const char *name, bool executable) {
    // MFD_NOEXEC_SEAL and MFD_EXEC: asked for since Linux 6.3, refused before.
    enum { NEVER_EXECUTABLE = 0x8, EXECUTABLE = 0x10 };
    int fd = memfd_create(name, MFD_CLOEXEC | (executable ? EXECUTABLE : NEVER_EXECUTABLE));
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC);
    return opened(fd);
}

void *sys_memory_map(int fd, size_t bytes) {
    struct stat facts;
    if (fstat(fd, &facts) < 0 || facts.st_size < (off_t)bytes)
        return NULL;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

int sys_file_clone(int from, int to) { return ioctl(to, FICLONE, from) < 0 ? -errno : 0; }

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

int sys_file_hold(int fd, bool alone) {
    if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

struct old_file {
    int64_t used_ns;
    uint64_t bytes;
    char name[SYS_PART_BYTES_MAX + 1];
};

static int compare_age(const void *a, const void *b) {
    int64_t one = ((const struct old_file *)a)->used_ns,
            other = ((const struct old_file *)b)->used_ns;
    return (one > other) - (one < other);
}

// Appends the regular files of a folder. 0 or an error.
static int list_files(int folder, struct buffer *files, uint64_t *bytes) {
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *all = fd < 0 ? NULL : fdopendir(fd);
    if (!all) {
        int err = -errno;
        sys_fd_close(fd);
        return err;
    }
    int err = 0;
    for (struct dirent *at; !err && (at = readdir(all));) {
        struct stat facts;
        if (fstatat(folder, at->d_name, &facts, AT_SYMLINK_NOFOLLOW) < 0) {
            err = errno == ENOENT ? 0 : -errno; // somebody else removes files, too
            continue;
        }
        struct old_file file = {.bytes = (uint64_t)facts.st_size,
                                .used_ns = (int64_t)facts.st_mtim.tv_sec * 1000000000 +
                                           facts.st_mtim.tv_nsec};
        snprintf(file.name, sizeof file.name, "%s", at->d_name);
        if (S_ISREG(facts.st_mode)) {
            *bytes += file.bytes;
            err = buffer_append(files, &file, sizeof file);
        }
    }
    closedir(all);
    return err;
}

// True unless somebody holds the file, who may be in this process.
static bool remove_unheld(int folder, const char *name) {
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT;
    // Where it cannot be known whether somebody holds it, as on NFS by a descriptor that only
    // reads, it stays.
    bool gone = sys_file_hold(fd, true) == 0 && unlinkat(folder, name, 0) == 0;
    close(fd);
    return gone;
}

int sys_folder_prune(const char *path, uint64_t bytes_max, int64_t stale_ns) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -errno;
    struct buffer files;
    uint64_t bytes = 0;
    buffer_init(&files);
    int err = list_files(folder, &files, &bytes);
    struct old_file *file = (struct old_file *)files.bytes;
    size_t count = files.length / sizeof *file;
    if (!err && count > 0)
        qsort(file, count, sizeof *file, compare_age);
    for (size_t i = 0; !err && i < count; i++) {
        bool stale = file[i].used_ns < stale_ns && strchr(file[i].name, '.');
        if ((bytes > bytes_max || stale) && remove_unheld(folder, file[i].name))
            bytes -= file[i].bytes;
    }
    buffer_done(&files);
    close(folder);
    return err;
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
