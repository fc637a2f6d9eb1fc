// SPDX-License-Identifier: MIT
// What lies beneath a folder, reached so that nothing leads out of it: small blocking calls, for
// helper threads.
//
// A path is walked one part after the other, each opened in the folder before it and never through
// a symbolic link, so that what somebody puts in the place of a folder meanwhile leads nowhere
// else: openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS would find the same, but folders have
// to be made on the way and older kernels do not have it. Parts named "." and ".." are for the
// caller to refuse.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "sys/sys.h"

enum { DEPTH_MAX = 64, CLEAR_ROUNDS_MAX = 1 << 20 };

int sys_beneath_open(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int sys_beneath_lock(int fd) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

// ---- walking ----

// Why a part of a path could not be opened as a folder: a link is not told from a file.
static int why_not(int folder, const char *name, int err) {
    struct stat found;
    if (err != -ENOTDIR || fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return err;
    return S_ISLNK(found.st_mode) ? -ELOOP : -ENOTDIR;
}

static int step(int folder, const char *name, bool make) {
    enum { HOW = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
    int fd = openat(folder, name, HOW);
    if (fd < 0 && errno == ENOENT && make) {
        if (mkdirat(folder, name, 0777) < 0 && errno != EEXIST)
            return -errno;
        fd = openat(folder, name, HOW);
    }
    return fd < 0 ? why_not(folder, name, -errno) : fd;
}

int sys_beneath_walk(int folder, const char *path, bool make) {
    int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    if (at < 0)
        return -errno;
    char part[SYS_PART_BYTES_MAX + 1];
    while (at >= 0 && *path) {
        size_t bytes = strcspn(path, "/");
        int next = -EINVAL;
        if (bytes <= SYS_PART_BYTES_MAX) {
            memcpy(part, path, bytes);
            part[bytes] = 0;
            next = step(at, part, make);
        }
        close(at);
        at = next;
        path += bytes + (path[bytes] == '/');
    }
    return at;
}

// ---- what lies in a folder ----

static void take_facts(const struct stat *from, struct sys_file_facts *facts) {
    enum sys_file_sort sort = S_ISREG(from->st_mode)    ? SYS_FILE_REGULAR
                              : S_ISDIR(from->st_mode)  ? SYS_FILE_FOLDER
                              : S_ISLNK(from->st_mode)  ? SYS_FILE_LINK
                              : S_ISFIFO(from->st_mode) ? SYS_FILE_PIPE
                                                        : SYS_FILE_ELSE;
    *facts = (struct sys_file_facts){.sort = sort,
                                     .permissions = from->st_mode & 07777,
                                     .bytes = (uint64_t)from->st_size,
                                     .modified_ns = (int64_t)from->st_mtim.tv_sec * 1000000000 +
                                                    from->st_mtim.tv_nsec};
}

int sys_beneath_look(int folder, const char *name, struct sys_file_facts *facts) {
    struct stat found;
    if (fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    take_facts(&found, facts);
    return 0;
}

int sys_beneath_read(int folder, const char *name, struct sys_file_facts *facts) {
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat found;
    int err = fstat(fd, &found) < 0 ? -errno : 0;
    if (!err)
        take_facts(&found, facts);
    if (!err && facts->sort != SYS_FILE_REGULAR)
        err = facts->sort == SYS_FILE_FOLDER ? -EISDIR : -ENOTSUP;
    if (!err)
        return fd;
    close(fd);
    return err;
}

int sys_beneath_write(int folder, const char *name, struct sys_file_facts *facts) {
    enum { HOW = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    int fd = openat(folder, name, HOW, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return -errno;
    struct stat found;
    int err = fstat(fd, &found) < 0 ? -errno : 0;
    // Another name of it might be anywhere, and another owner could change it later.
    if (!err && !(S_ISREG(found.st_mode) && found.st_nlink == 1 && found.st_uid == geteuid()))
        err = -EACCES;
    if (!err)
        err = sys_beneath_lock(fd);
    if (!err) {
        take_facts(&found, facts);
        return fd;
    }
    close(fd);
    return err;
}

int sys_beneath_facts(int fd, struct sys_file_facts *facts) {
    struct stat found;
    if (fstat(fd, &found) < 0)
        return -errno;
    take_facts(&found, facts);
    return 0;
}

bool sys_beneath_is_same(int a, int b) {
    struct stat one, other;
    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

int sys_beneath_permit(int fd, unsigned permissions) {
    struct stat found;
    if (fstat(fd, &found) < 0)
        return -errno;
    // A device that got here by mistake keeps its permissions, which others live by.
    if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode))
        return -EINVAL;
    return fchmod(fd, permissions & 0777) < 0 ? -errno : 0;
}

int sys_beneath_rename(int from, const char *name, int to, const char *as, bool replace) {
    if (replace)
        return renameat2(from, name, to, as, 0) < 0 ? -errno : 0;
    if (renameat2(from, name, to, as, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (linkat(from, name, to, as, 0) < 0) // not every file system can rename this way
        return -errno;
    (void)unlinkat(from, name, 0);
    return 0;
}

int sys_beneath_link(int fd, int folder, const char *name) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int sys_beneath_remove(int folder, const char *name, bool is_folder) {
    return unlinkat(folder, name, is_folder ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

// ---- all that lies beneath ----

static DIR *open_list(int folder) {
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *all = fd < 0 ? NULL : fdopendir(fd);
    if (!all && fd >= 0) {
        int err = errno;
        close(fd);
        errno = err;
    }
    return all;
}

// The next name that is not the folder's own or its parent's; NULL with errno 0 after the last.
static const char *next_name(DIR *all) {
    for (;;) {
        errno = 0;
        struct dirent *at = readdir(all);
        if (!at)
            return NULL;
        if (strcmp(at->d_name, ".") != 0 && strcmp(at->d_name, "..") != 0)
            return at->d_name;
    }
}

int sys_beneath_list(int folder, struct buffer *names) {
    DIR *all = open_list(folder);
    if (!all)
        return -errno;
    int err = 0;
    const char *name;
    while (!err && (name = next_name(all)))
        err = buffer_append(names, name, strlen(name) + 1);
    err = err ? err : -errno;
    closedir(all);
    return err;
}

// What goes while it is counted is not counted.
static int count_in(int folder, uint64_t each_min, int depth, uint64_t *bytes) {
    DIR *all = depth < DEPTH_MAX ? open_list(folder) : NULL;
    if (!all)
        return depth < DEPTH_MAX ? -errno : 0;
    int err = 0;
    const char *name;
    while (!err && (name = next_name(all))) {
        struct stat found;
        if (fstatat(dirfd(all), name, &found, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        uint64_t size = S_ISDIR(found.st_mode) ? 0 : (uint64_t)found.st_size;
        *bytes += size > each_min ? size : each_min;
        if (!S_ISDIR(found.st_mode))
            continue;
        int below = step(dirfd(all), name, false);
        if (below < 0)
            continue;
        err = count_in(below, each_min, depth + 1, bytes);
        close(below);
    }
    err = err ? err : -errno;
    closedir(all);
    return err;
}

int sys_beneath_count(int folder, uint64_t each_min, uint64_t *bytes) {
    *bytes = 0;
    return count_in(folder, each_min, 0, bytes);
}

// A folder in it, also one that its owner has closed to himself; then it is opened to him.
static int open_to_clear(int folder, const char *name) {
    int fd = step(folder, name, false);
    if (fd != -EACCES)
        return fd;
    char path[32];
    int it = openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", it);
    if (it >= 0 && chmod(path, S_IRWXU) == 0)
        fd = step(it, ".", false);
    if (it >= 0)
        close(it);
    return fd;
}

// Moves a folder to the top, where it is cleared in a later round.
static int move_up(int folder, const char *name, int top, uint64_t *moved) {
    char as[32];
    for (int tries = 0; tries < DEPTH_MAX; tries++) {
        snprintf(as, sizeof as, "moved-%llu", (unsigned long long)++*moved);
        if (renameat(folder, name, top, as) == 0)
            return 0;
        int err = -errno;
        if (err == -EACCES) { // it was closed, too
            int it = open_to_clear(folder, name);
            if (it < 0 || sys_beneath_permit(it, S_IRWXU) < 0)
                tries = DEPTH_MAX;
            sys_fd_close(it);
        } else if (err != -EEXIST && err != -ENOTEMPTY && err != -ENOTDIR) {
            return err;
        }
    }
    return -EACCES;
}

// Removes what a name in the folder is. What lies deeper than one level is moved up before, so that
// however deep somebody has gone takes neither stack nor descriptors here. 0 if it is gone.
static int clear_one(int top, const char *name, uint64_t *moved, bool *progress) {
    if (unlinkat(top, name, 0) == 0) {
        *progress = true;
        return 0;
    }
    int inner = open_to_clear(top, name);
    if (inner < 0)
        return inner;
    int err = sys_beneath_permit(inner, S_IRWXU);
    DIR *all = err ? NULL : open_list(inner);
    const char *below;
    while (all && (below = next_name(all))) {
        int one = unlinkat(inner, below, 0) == 0 ? 0 : move_up(inner, below, top, moved);
        *progress |= one == 0;
        err = err ? err : one;
    }
    if (all)
        closedir(all);
    close(inner);
    if (unlinkat(top, name, AT_REMOVEDIR) < 0)
        return err ? err : -errno;
    *progress = true;
    return 0;
}

int sys_beneath_clear(int folder) {
    uint64_t moved = 0;
    bool progress = true;
    int err = sys_beneath_permit(folder, S_IRWXU);
    for (int round = 0; !err && progress && round < CLEAR_ROUNDS_MAX; round++) {
        DIR *all = open_list(folder);
        if (!all)
            return -errno;
        const char *name;
        bool empty = true;
        int failed = 0;
        progress = false;
        while ((name = next_name(all))) {
            int one = clear_one(folder, name, &moved, &progress);
            failed = failed ? failed : one;
            empty = false;
        }
        closedir(all);
        if (empty)
            return 0;
        if (!progress)
            err = failed ? failed : -EBUSY;
    }
    return err;
}

static int give_one(int folder, const char *name, const struct stat *found, uint32_t user,
                    uint32_t group) {
    if (S_ISDIR(found->st_mode) || (found->st_mode & S_IWUSR))
        return fchownat(folder, name, user, group, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
    return fchmodat(folder, name, (found->st_mode & 0777) | 0055, 0) < 0 ? -errno : 0;
}

static int give_in(int folder, uint32_t user, uint32_t group, int depth) {
    DIR *all = depth < DEPTH_MAX ? open_list(folder) : NULL;
    if (!all)
        return depth < DEPTH_MAX ? -errno : -ELOOP;
    int err = 0;
    const char *name;
    while (!err && (name = next_name(all))) {
        struct stat found;
        if (fstatat(dirfd(all), name, &found, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        int below = S_ISDIR(found.st_mode) ? step(dirfd(all), name, false) : -1;
        err = below >= 0 ? give_in(below, user, group, depth + 1) : 0;
        sys_fd_close(below);
        if (!err && (S_ISDIR(found.st_mode) || S_ISREG(found.st_mode)))
            err = give_one(dirfd(all), name, &found, user, group);
    }
    closedir(all);
    return err;
}

int sys_beneath_give(int folder, uint32_t user, uint32_t group) {
    int err = give_in(folder, user, group, 0);
    if (!err && fchown(folder, user, group) < 0)
        err = -errno;
    return err;
}

int sys_beneath_free(int folder, uint64_t *bytes) {
    struct statvfs facts;
    if (fstatvfs(folder, &facts) < 0)
        return -errno;
    // Some file systems do not tell.
    *bytes = facts.f_blocks ? (uint64_t)facts.f_bavail * facts.f_frsize : UINT64_MAX;
    return 0;
}
