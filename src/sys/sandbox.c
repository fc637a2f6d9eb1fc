// SPDX-License-Identifier: MIT
// Confining a process before it runs its program; and what this kernel has for that.
//
// In this order, as each step may need the rights that a later one takes:
//
//      no new rights           nothing that it runs gains any; nor core files (process.c)
//      limits                  setrlimit
//      rules of Landlock       paths are opened while this user may still reach them
//      user, no capabilities   where we are root; also a root without another user loses them all
//      Landlock                writing beneath the folder, reading where programs live: all else is
//                              refused, and signals to processes outside
//      filter                  last, since it refuses what was needed before
//
// A strict one has mounts of its own before all that. What can be written is its folder and what it
// was given to write; all else is read-only. Where others have their temporary files, and where the
// services of the computer listen (/run), lies something of its own, bounded in size; what it was
// given to read or write beneath is put back there.
//
// Landlock is called by number, with the structs as they are specified, since headers are often
// older than kernels: a kernel takes as much of a struct as its ABI knows.
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

#include <errno.h>

enum {
    LANDLOCK_CREATE = 444,
    LANDLOCK_ADD = 445,
    LANDLOCK_RESTRICT = 446,
    LANDLOCK_ASK_ABI = 1,
    LANDLOCK_BENEATH = 1, // a rule for what lies beneath a path
    OPEN_TREE = 428,
    MOVE_MOUNT = 429,
    SET_MOUNT = 442,
    TREE_CLONE = 1,        // OPEN_TREE_CLONE
    FROM_EMPTY = 4,        // MOVE_MOUNT_F_EMPTY_PATH
    FROM_SYMLINK = 0x10,   // MOVE_MOUNT_T_SYMLINKS: where to may be a link
    WHOLE_TREE = 0x8000,   // AT_RECURSIVE
    THE_OPEN_ONE = 0x1000, // AT_EMPTY_PATH
    TREES_MAX = 64,        // paths that are put back
    PATH_BYTES = 1024,
    CAPABILITIES_MAX = 64,
    SECONDS_LEFT = 5, // between SIGXCPU and SIGKILL
    TASKS_OF_OTHERS = 16 << 10
};

// Rights that Landlock knows.
enum {
    EXECUTE = 1 << 0,
    WRITE = 1 << 1,
    READ = 1 << 2,
    LIST = 1 << 3,
    ALL_OF_1 = (1 << 13) - 1,
    MOVE = 1 << 13,     // from ABI 2
    TRUNCATE = 1 << 14, // from ABI 3
    OF_FILES = EXECUTE | WRITE | READ | TRUNCATE,
    LOOK = EXECUTE | READ | LIST
};
enum { SCOPE_SOCKETS = 1, SCOPE_SIGNALS = 2 }; // from ABI 6

struct landlock_rules {
    uint64_t files, network, scoped;
};
struct landlock_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

// Where programs, libraries and what they need lie; and the devices that anybody may use.
static const char *const looked_at[] = {
    "/usr", "/lib",  "/lib64", "/bin",       "/sbin",      "/etc",
    "/opt", "/proc", "/sys",   "/nix/store", "/gnu/store", "/run/systemd/resolve"};
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random",
                                      "/dev/urandom"};
// In a strict sandbox these are its own and empty, and each has the room of its limit of memory, or
// so much;
static const char *const private_places[] = {"/tmp", "/var/tmp", "/dev/shm"};
static const uint64_t private_bytes = 1 << 30;
// so is this, with little room, but for what names are looked up with, and programs lie in.
static const char services[] = "/run";
static const char services_kept[] = "/run/systemd/resolve:/run/current-system:/run/opengl-driver";

// ---- limits ----

IN_CHILD static int limit(int which, uint64_t soft, uint64_t hard) {
    struct rlimit old;
    if (soft == 0)
        return 0;
    if (getrlimit((__rlimit_resource_t)which, &old) < 0)
        return -errno;
    if (hard > old.rlim_max)
        hard = old.rlim_max;
    const struct rlimit next = {soft < hard ? soft : hard, hard};
    return setrlimit((__rlimit_resource_t)which, &next) < 0 ? -errno : 0;
}

IN_CHILD static int set_limits(const struct sys_sandbox *it) {
    const struct sys_sandbox_parts *parts = it->parts;
    uint64_t seconds = it->seconds_max;
    int err = limit(RLIMIT_CPU, seconds, seconds + SECONDS_LEFT);
    if (!err)
        err = limit(RLIMIT_FSIZE, it->file_bytes_max, it->file_bytes_max);
    if (!err)
        err = limit(RLIMIT_NOFILE, it->files_max, it->files_max);
    // The warden counts now and then, and this ends what multiplies in between. The system counts
    // all that a user has, here and elsewhere, but of root nothing: so there is room for others.
    if (!err && it->processes_max && !parts->group_pids) {
        uint64_t count = parts->tasks + TASKS_OF_OTHERS + (uint64_t)it->processes_max;
        err = limit(RLIMIT_NPROC, count, count);
    }
    // The warden looks now and then, and this keeps what lies between within bounds.
    if (!err && it->memory_bytes_max && !parts->group_memory) {
        uint64_t bytes = 2 * it->memory_bytes_max + ((uint64_t)256 << 20);
        err = limit(RLIMIT_DATA, bytes, bytes);
    }
    return err;
}

// ---- Landlock ----

IN_CHILD static int add_rule(int rules, int fd, uint64_t allowed) {
    struct landlock_beneath rule = {.allowed = allowed, .parent = fd};
    return syscall(LANDLOCK_ADD, rules, LANDLOCK_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

// What is not there needs no rule.
IN_CHILD static int add_path(int rules, const char *path, uint64_t allowed) {
    struct stat facts;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -errno;
    int err = fstat(fd, &facts) < 0 ? -errno : 0;
    if (!err)
        err = add_rule(rules, fd, S_ISDIR(facts.st_mode) ? allowed : allowed & OF_FILES);
    close(fd);
    return err;
}

// Cuts the next path off a list. False if there is none.
IN_CHILD static bool next_path(const char **paths, char path[PATH_BYTES]) {
    size_t length = 0;
    while (length == 0 && *paths && **paths) {
        for (; **paths && **paths != ':'; ++*paths)
            if (length < PATH_BYTES - 1)
                path[length++] = **paths;
        *paths += **paths == ':';
    }
    path[length] = 0;
    return length > 0;
}

IN_CHILD static int add_paths(int rules, const char *paths, uint64_t allowed) {
    char path[PATH_BYTES];
    int err = 0;
    while (!err && next_path(&paths, path))
        err = add_path(rules, path, allowed);
    return err;
}

// The rules, open; or an error.
IN_CHILD static int make_rules(const struct sys_sandbox *it, int executable) {
    int abi = it->parts->landlock;
    uint64_t all = ALL_OF_1 | (abi >= 2 ? MOVE : 0) | (abi >= 3 ? TRUNCATE : 0);
    const struct landlock_rules wanted = {.files = all,
                                          .scoped = abi >= 6 ? SCOPE_SIGNALS | SCOPE_SOCKETS : 0};
    size_t bytes = abi >= 6 ? sizeof wanted : sizeof wanted.files;
    int rules = (int)syscall(LANDLOCK_CREATE, &wanted, bytes, 0);
    if (rules < 0)
        return -errno;
    int err = add_path(rules, it->folder, all);
    for (size_t i = 0; i < countof(looked_at) && !err; i++)
        err = add_path(rules, looked_at[i], LOOK);
    for (size_t i = 0; i < countof(devices) && !err; i++)
        err = add_path(rules, devices[i], (READ | WRITE | TRUNCATE) & all);
    for (size_t i = 0; i < countof(private_places) && !err; i++)
        if (it->level == SYS_SANDBOX_STRICT)
            err = add_path(rules, private_places[i], all);
    if (!err)
        err = add_paths(rules, it->readable, LOOK);
    if (!err)
        err = add_paths(rules, it->libraries, LOOK);
    if (!err)
        err = add_paths(rules, it->writable, all);
    // A program in memory needs no rule, and the system knows none for it.
    if (!err && executable >= 0 && (err = add_rule(rules, executable, EXECUTE | READ)) == -EBADFD)
        err = 0;
    if (!err)
        return rules;
    close(rules);
    return err;
}

// ---- who it is ----

// What a program that is run can have at the most; asked of the system, as new ones come.
IN_CHILD static int drop_capabilities(void) {
    for (int i = 0; i < CAPABILITIES_MAX; i++)
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno != EINVAL)
            return errno == EPERM ? 0 : -errno; // we never had any
    return 0;
}

IN_CHILD static int become(const struct sys_sandbox *it) {
    if (it->user == 0 || !it->parts->root)
        return 0;
    // The system calls: the C library's functions would tell other threads, of which there are none
    // here.
    if (syscall(SYS_setgroups, 0, NULL) < 0 ||
        syscall(SYS_setresgid, it->group, it->group, it->group) < 0 ||
        syscall(SYS_setresuid, it->user, it->user, it->user) < 0)
        return -errno;
    return 0;
}

IN_CHILD static int lose_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}};
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

// ---- all of it ----

IN_CHILD int sandbox_enter(const struct sys_sandbox *it, int executable, const char **what) {
    bool confined = it->level != SYS_SANDBOX_NONE;
    pid_t warden = getppid();
    int rules = -1;
    *what = "limits";
    int err = set_limits(it);
    if (!err && confined && it->parts->landlock) {
        *what = "rules of Landlock";
        rules = make_rules(it, executable);
        err = rules < 0 ? rules : 0;
    }
    if (!err && confined) {
        *what = "capabilities";
        err = drop_capabilities();
    }
    if (!err) {
        *what = "user";
        err = become(it);
    }
    if (!err && confined) {
        *what = "capabilities";
        err = lose_capabilities();
    }
    // To become another user makes the system forget this.
    if (!err && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        err = -errno;
    if (!err && getppid() != warden)
        err = -ESRCH;
    if (!err && rules >= 0) {
        *what = "Landlock";
        err = syscall(LANDLOCK_RESTRICT, rules, 0) < 0 ? -errno : 0;
        close(rules);
    }
    if (!err && confined && it->parts->filter) {
        *what = "filter of system calls";
        err = filter_set(it->no_unix_sockets);
    }
    return err;
}

// ---- namespaces ----

IN_CHILD static int put(const char *path, const char *text, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = write(fd, text, bytes) == (ssize_t)bytes ? 0 : -errno;
    close(fd);
    return err;
}

// Writes a number as text; how many digits.
IN_CHILD static size_t put_number(char *text, uint64_t number) {
    char digits[24];
    size_t count = 0, length = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count > 0)
        text[length++] = digits[--count];
    return length;
}

// "1000 1000 1": who has this number outside has it inside, and there is nobody else.
IN_CHILD static int put_map(const char *path, uint32_t number) {
    char text[64];
    size_t length = 0;
    for (int twice = 0; twice < 2; twice++) {
        length += put_number(text + length, number);
        text[length++] = ' ';
    }
    text[length++] = '1';
    return put(path, text, length);
}

// Makes the folders that lead to a path, and a folder or file there, in a place that was emptied.
IN_CHILD static int make_way(const char *path, bool folder) {
    char part[PATH_BYTES];
    for (size_t i = 0; i < sizeof part; i++) {
        part[i] = path[i];
        if (i > 0 && (path[i] == '/' || (path[i] == 0 && folder))) {
            part[i] = 0;
            if (mkdir(part, 0755) < 0 && errno != EEXIST && errno != EROFS)
                return -errno;
            part[i] = path[i];
        }
        if (path[i])
            continue;
        if (!folder && mknod(path, S_IFREG | 0600, 0) < 0 && errno != EEXIST && errno != EROFS)
            return -errno;
        return 0;
    }
    return -ENAMETOOLONG;
}

// ---- what is put back ----

struct trees {
    size_t count;
    struct {
        int fd; // a mount, which is nowhere
        bool folder;
        const char *path; // where it belongs, first in a list
    } all[TREES_MAX];
};

static const struct mount_change {
    uint64_t set, clear, propagation, users;
} read_only = {.set = 1}; // MOUNT_ATTR_RDONLY

IN_CHILD static bool begins_with(const char *path, const char *top) {
    while (*top && *path == *top)
        path++, top++;
    return *top == 0 && (*path == '/' || *path == 0);
}

IN_CHILD static bool will_be_hidden(const char *path) {
    for (size_t i = 0; i < countof(private_places); i++)
        if (begins_with(path, private_places[i]))
            return true;
    return begins_with(path, services);
}

// Keeps what lies at a path, the first of a list. What is not there needs no place.
IN_CHILD static int keep_tree(struct trees *trees, const char *list, const char *path,
                              bool writable) {
    struct stat facts;
    int fd = (int)syscall(OPEN_TREE, AT_FDCWD, path, TREE_CLONE | WHOLE_TREE | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -errno;
    int err = trees->count == TREES_MAX ? -E2BIG : fstat(fd, &facts) < 0 ? -errno : 0;
    if (!err && !writable &&
        syscall(SET_MOUNT, fd, "", THE_OPEN_ONE | WHOLE_TREE, &read_only, sizeof read_only) < 0)
        err = -errno;
    if (err) {
        close(fd);
        return err;
    }
    trees->all[trees->count].fd = fd;
    trees->all[trees->count].folder = S_ISDIR(facts.st_mode);
    trees->all[trees->count].path = list;
    trees->count++;
    return 0;
}

IN_CHILD static int keep_trees(struct trees *trees, const char *paths, bool writable) {
    char path[PATH_BYTES];
    int err = 0;
    for (const char *at = paths; !err && next_path(&paths, path); at = paths)
        if (writable || will_be_hidden(path))
            err = keep_tree(trees, at, path, writable);
    return err;
}

IN_CHILD static int put_trees_back(struct trees *trees) {
    char path[PATH_BYTES];
    int err = 0;
    for (size_t i = 0; i < trees->count; i++) {
        const char *list = trees->all[i].path;
        (void)next_path(&list, path);
        if (!err)
            err = make_way(path, trees->all[i].folder);
        if (!err && syscall(MOVE_MOUNT, trees->all[i].fd, "", AT_FDCWD, path,
                            FROM_EMPTY | FROM_SYMLINK) < 0)
            err = -errno;
        close(trees->all[i].fd);
    }
    return err;
}

IN_CHILD static int hide(const char *path, const char *mode, uint64_t bytes) {
    char how[64];
    size_t length = 0;
    for (const char *at = mode; *at; at++)
        how[length++] = *at;
    how[length + put_number(how + length, bytes)] = 0;
    return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, how) < 0 && errno != ENOENT ? -errno
                                                                                           : 0;
}

// Puts something empty in the places of others, and what this one was given back into them.
IN_CHILD static int hide_places(const struct sys_sandbox *it, struct trees *trees) {
    uint64_t bytes = it->memory_bytes_max ? it->memory_bytes_max : private_bytes;
    int err = 0;
    for (size_t i = 0; i < countof(private_places) && !err; i++)
        err = hide(private_places[i], "mode=1777,nr_inodes=65536,size=", bytes);
    if (!err)
        err = hide(services, "mode=755,nr_inodes=1024,size=", 1 << 20);
    int later = put_trees_back(trees);
    return err ? err : later;
}

IN_CHILD int sandbox_mount(const struct sys_sandbox *it, uint32_t user, uint32_t group,
                           const char **what) {
    struct trees trees = {.count = 0};
    int err = 0;
    *what = "namespace of users";
    if (!it->parts->root) {
        err = put("/proc/self/setgroups", "deny", 4);
        if (!err)
            err = put_map("/proc/self/uid_map", user);
        if (!err)
            err = put_map("/proc/self/gid_map", group);
    }
    *what = "mounts";
    if (!err && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        err = -errno;
    int folder = err ? -1 : (int)syscall(OPEN_TREE, AT_FDCWD, it->folder, TREE_CLONE | O_CLOEXEC);
    if (err || folder < 0)
        return err ? err : -errno;
    *what = "mounts of what may be read or written";
    err = keep_trees(&trees, services_kept, false);
    if (!err)
        err = keep_trees(&trees, it->readable, false);
    if (!err)
        err = keep_trees(&trees, it->libraries, false);
    if (!err)
        err = keep_trees(&trees, it->writable, true);
    if (!err && syscall(SET_MOUNT, AT_FDCWD, "/", WHOLE_TREE, &read_only, sizeof read_only) < 0)
        err = -errno;
    if (!err)
        err = hide_places(it, &trees);
    // Of its own processes alone: the numbers in the one that was there are others.
    if (!err && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        err = -errno;
    *what = "mount of the folder";
    if (!err)
        err = make_way(it->folder, true);
    if (!err && syscall(MOVE_MOUNT, folder, "", AT_FDCWD, it->folder, FROM_EMPTY) < 0)
        err = -errno;
    close(folder);
    if (!err && chdir(it->folder) < 0)
        err = -errno;
    return err;
}

// ---- what there is ----

// Tries all of it in a process that ends at once.
static bool namespaces_work(const struct sys_sandbox_parts *parts) {
    const struct sys_sandbox it = {.level = SYS_SANDBOX_STRICT, .parts = parts, .folder = "/tmp"};
    const char *what;
    uint32_t user = geteuid(), group = getegid();
    unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC |
                          (parts->root ? 0 : CLONE_NEWUSER) | SIGCHLD;
    int status;
    pid_t id = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (id == 0)
        syscall(SYS_exit_group, sandbox_mount(&it, user, group, &what) ? 1 : 0);
    while (id > 0 && waitpid(id, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return id > 0 && status == 0;
}

// How many tasks a user has: what RLIMIT_NPROC counts.
static uint32_t count_tasks(void) {
    DIR *all = opendir("/proc");
    uint32_t count = 0;
    for (struct dirent *at; all && (at = readdir(all));) {
        char path[300];
        struct stat facts;
        snprintf(path, sizeof path, "/proc/%s/task", at->d_name);
        if (at->d_name[0] >= '0' && at->d_name[0] <= '9' && stat(path, &facts) == 0 &&
            facts.st_uid == geteuid())
            count += (uint32_t)facts.st_nlink - 2;
    }
    if (all)
        closedir(all);
    return count;
}

void sys_sandbox_probe(struct sys_sandbox_parts *parts, bool groups) {
    char path[64];
    long abi = syscall(LANDLOCK_CREATE, NULL, 0, LANDLOCK_ASK_ABI);
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    *parts = (struct sys_sandbox_parts){.landlock = abi > 0 ? (int)abi : 0,
                                        .filter = filter_is_there(),
                                        .children = access(path, R_OK) == 0,
                                        .root = geteuid() == 0,
                                        .group_lock = -1,
                                        .tasks = count_tasks()};
    parts->namespaces = namespaces_work(parts);
    if (groups)
        group_probe(parts);
}

void sys_sandbox_leave(struct sys_sandbox_parts *parts) { group_leave(parts); }

static void add_text(char *text, size_t bytes, const char *before, const char *it) {
    size_t length = strlen(text);
    snprintf(text + length, bytes - length, "%s%s", before, it);
}

void sys_sandbox_text(const struct sys_sandbox_parts *parts, enum sys_sandbox_level level,
                      char *text, size_t bytes) {
    static const char *const names[] = {"default", "strict", "none"};
    bool confined = level != SYS_SANDBOX_NONE;
    snprintf(text, bytes, "%s: limits, %s", names[level],
             confined ? "no capabilities, no new rights" : "no new rights");
    const struct {
        bool wanted, there;
        const char *name, *without;
    } all[] = {
        {confined, parts->filter, "filter of system calls", ""},
        {confined, parts->landlock > 0, "Landlock",
         " (jobs may read and write wherever their user may)"},
        {level == SYS_SANDBOX_STRICT, parts->namespaces, "namespaces", ""},
        {true, parts->group, "cgroup v2", " (wardens alone see to it that nothing is left)"},
        {true, parts->group_memory, "memory controller", " (wardens look at what is used)"},
        {true, parts->group_pids, "pids controller", " (wardens count)"},
        {true, parts->children, "lists of children", " (wardens neither look nor count)"},
        {confined && parts->landlock, parts->landlock >= 3, "truncation in Landlock",
         " (jobs may empty files that their user may write)"},
        {confined && parts->landlock, parts->landlock >= 6, "scopes of Landlock",
         " (jobs may send signals to processes of their user)"},
    };
    for (size_t i = 0; i < countof(all); i++)
        if (all[i].wanted && all[i].there)
            add_text(text, bytes, ", ", all[i].name);
    const char *before = "; this system has no ";
    for (size_t i = 0; i < countof(all); i++)
        if (all[i].wanted && !all[i].there) {
            add_text(text, bytes, before, all[i].name);
            add_text(text, bytes, "", all[i].without);
            before = ", no ";
        }
}

// ---- what wards may read ----

// The path without links; of what is not there yet, that of its folder.
static bool real_path(const char *path, char real[PATH_MAX]) {
    char folder[PATH_MAX];
    if (realpath(path, real))
        return true;
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder)
        return false;
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        slash++;
    if (slash)
        *slash = 0;
    return realpath(slash ? folder : ".", real) != NULL;
}

// Whether a real path is the other one, which may have links, or lies beneath it.
static bool is_beneath(const char *real, const char *other) {
    char top[PATH_MAX];
    if (!realpath(other, top))
        return false;
    size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    return strncmp(real, top, length) == 0 && (real[length] == '/' || real[length] == 0);
}

static bool is_beneath_any(const char *real, const char *paths) {
    char path[PATH_MAX];
    for (const char *at = paths; at && *at; at += strcspn(at, ":"), at += *at == ':') {
        size_t length = strcspn(at, ":");
        if (length == 0 || length >= sizeof path)
            continue;
        memcpy(path, at, length);
        path[length] = 0;
        if (is_beneath(real, path))
            return true;
    }
    return false;
}

bool sys_sandbox_reads(const struct sys_sandbox *it, const char *path) {
    char real[PATH_MAX];
    if (it->level == SYS_SANDBOX_NONE || !it->parts->landlock || !real_path(path, real))
        return false;
    for (size_t i = 0; i < countof(looked_at); i++)
        if (is_beneath(real, looked_at[i]))
            return true;
    return is_beneath_any(real, it->readable) || is_beneath_any(real, it->libraries) ||
           is_beneath_any(real, it->writable);
}

// ---- users ----

int sys_user_find(const char *name, uint32_t *user, uint32_t *group) {
    const struct passwd *it = getpwnam(name);
    if (!it)
        return -ENOENT;
    *user = it->pw_uid;
    *group = it->pw_gid;
    return 0;
}

bool sys_user_is_root(void) { return geteuid() == 0; }
