// SPDX-License-Identifier: MIT
// Wardens: see sandbox.h.
//
// A warden is forked from us and never runs a program: it shares our memory as it was, until either
// changes it, and has nothing open but its end of the line, so that no connection of ours outlives
// us in it. As we may have threads it does only what a handler of signals may.
//
// On the line, which keeps messages apart:
//
//      struct started     it runs, or what failed            warden -> us
//      'T'                SIGTERM to all                     us -> warden
//      'K'                kill all
//      struct sys_ward_end   nothing lives any more; then the warden ends     warden -> us
//
// What the ward has left behind becomes the warden's own child when its parent ends. So killing its
// children, with their groups, and reaping them until there are none kills all, however deep. No
// number is used that could have passed to somebody else: only those of its own children that it
// has not reaped.
//
// Where no controller limits memory and processes the warden looks now and then at what all of them
// use: the memory of each that is its own, and the most that one of them shares. What is shared
// without being mapped, and files in a tmpfs, it does not see.
//
// A warden that is born in the ward's group leaves it for the group of wardens, which may be killed
// with the ward's only at one blow. One that is left alone removes both, and leaves before.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

#include <errno.h>

enum {
    LOOK_MS = 100,       // between looks at what memory the ward uses, and
    COUNT_MS = 1000,     // only at how many it has
    CHILDREN_MAX = 4096, // seen in one look
    LINE = 3,            // the warden's descriptors
    SIGNALS = 4,
    KILL = 5,           // cgroup.kill of the ward's group
    OUT = 6,            // cgroup.procs of the group of wardens
    ALL_LOWEST = 7,     // from here on nothing is open
    LEAVE_ROUNDS = 100, // until a group is empty, or another warden has left
    LEAVE_PAUSE_MS = 2,
    BLIND_ROUNDS = 500, // in which there are children that cannot be found
    BLIND_PAUSE_MS = 10,
    INTO_GROUP_HIGH = 2 // CLONE_INTO_CGROUP is bit 33
};

struct started {
    int err;
    int id;
    char what[64];
};

// What a warden knows; in our memory as it was when it was forked.
struct warden {
    const struct sys_process_options *how;
    const struct sys_sandbox *sandbox;
    char *stack; // for process_spawn
    int line;
    int group_kill; // open: cgroup.kill and
    int group_in;   // cgroup.procs of the ward's group, and
    int group_out;  // of the wardens' group; all -1: there is none
    bool in_group;  // it was born there
    uint32_t user, our_group;
    uint64_t page_bytes;
    char group[288], wardens[288],
        all[256];     // paths: of the ward's group, the wardens', all of ours
    char out[2][300]; // cgroup.procs of where we may go, the first that lets us
    struct sys_process ward;
    bool over;  // the ward itself has ended
    bool alone; // nobody is at the other end of the line
    struct sys_ward_end end;
    int count; // of `seen`
    int seen[CHILDREN_MAX];
};

// ---- looking at processes, without the C library's streams ----

// "/proc/1/task/2/children" from parts: numbers where a part is NULL. Returns the length.
IN_CHILD static void path_of(char path[64], int id, const char *middle, int thread,
                             const char *last) {
    const char *const texts[] = {"/proc/", NULL, middle, NULL, last};
    const int numbers[] = {0, id, 0, thread, 0};
    size_t length = 0;
    for (size_t i = 0; i < countof(texts); i++) {
        char digits[12];
        size_t count = 0;
        if (texts[i]) {
            for (const char *at = texts[i]; *at; at++)
                path[length++] = *at;
            continue;
        }
        if (numbers[i] == 0)
            continue;
        for (int number = numbers[i]; number > 0; number /= 10)
            digits[count++] = (char)('0' + number % 10);
        while (count > 0)
            path[length++] = digits[--count];
    }
    path[length] = 0;
}

// Adds the numbers in a file to those seen. False if there is no such file.
IN_CHILD static bool add_numbers(struct warden *it, const char *path) {
    char text[1024];
    int number = 0;
    ssize_t got;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    while ((got = syscall(SYS_read, fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                number = number * 10 + text[i] - '0';
            } else if (number > 0) {
                if (it->count < CHILDREN_MAX)
                    it->seen[it->count++] = number;
                number = 0;
            }
        }
    syscall(SYS_close, fd);
    return true;
}

// Calls `visit` for each number that is a name in a folder.
IN_CHILD static void each_number(struct warden *it, const char *folder, int id,
                                 void (*visit)(struct warden *it, int id, int number)) {
    struct entry {
        uint64_t inode;
        int64_t offset;
        uint16_t bytes;
        uint8_t sort;
        char name[];
    };
    _Alignas(8) char entries[2048];
    ssize_t got;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    while ((got = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0)
        for (ssize_t at = 0; at < got;) {
            const struct entry *entry = (const void *)(entries + at);
            int number = 0;
            for (const char *digit = entry->name; *digit >= '0' && *digit <= '9'; digit++)
                number = number * 10 + *digit - '0';
            if (number > 0)
                visit(it, id, number);
            at += entry->bytes;
        }
    syscall(SYS_close, fd);
}

IN_CHILD static void visit_thread(struct warden *it, int id, int thread) {
    char path[64];
    path_of(path, id, "/task/", thread, "/children");
    add_numbers(it, path);
}

// Adds the children of all threads of a process.
IN_CHILD static void add_children(struct warden *it, int id) {
    char path[64];
    path_of(path, id, "/task", 0, "");
    each_number(it, path, id, visit_thread);
}

// Reads the first bytes of a file that tells of a process. How many; 0 if there is no such process.
IN_CHILD static ssize_t read_of(int id, const char *file, char *text, size_t bytes) {
    char path[64];
    path_of(path, id, file, 0, "");
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t got = fd < 0 ? 0 : syscall(SYS_read, fd, text, bytes);
    if (fd >= 0)
        syscall(SYS_close, fd);
    return got > 0 ? got : 0;
}

// "12 (name) S 1 ...": the fourth is the parent; a name may hold anything.
IN_CHILD static void visit_process(struct warden *it, int parent, int id) {
    char text[512];
    ssize_t got = read_of(id, "/stat", text, sizeof text);
    ssize_t at = got;
    while (at > 0 && text[at - 1] != ')')
        at--;
    int number = 0;
    for (at += 3; at < got && text[at] >= '0' && text[at] <= '9'; at++)
        number = number * 10 + text[at] - '0';
    if (number == parent && it->count < CHILDREN_MAX)
        it->seen[it->count++] = id;
}

// Adds the children of this process where the system has no lists of them.
IN_CHILD static void find_children(struct warden *it, int self) {
    each_number(it, "/proc", self, visit_process);
}

// The memory of a process that is not that of files, in bytes.
IN_CHILD static uint64_t memory_of(const struct warden *it, int id) {
    char text[128];
    ssize_t got = read_of(id, "/statm", text, sizeof text);
    uint64_t numbers[3] = {0}; // all, resident, of these shared
    for (ssize_t i = 0, n = 0; i < got && n < 3; i++) {
        if (text[i] == ' ')
            n++;
        else
            numbers[n] = numbers[n] * 10 + (uint64_t)(text[i] - '0');
    }
    return numbers[1] > numbers[2] ? (numbers[1] - numbers[2]) * it->page_bytes : 0;
}

// What it has mapped of memory that others may have too (MAP_SHARED, memfd_create, tmpfs), in
// bytes.
IN_CHILD static uint64_t shared_memory_of(int id) {
    static const char name[] = "\nRssShmem:"; // a program's own name has no line breaks there
    char text[4096];
    ssize_t got = read_of(id, "/status", text, sizeof text);
    uint64_t number = 0;
    size_t matched = 0; // of `name`
    for (ssize_t i = 0; i < got; i++) {
        if (matched < sizeof name - 1)
            matched = text[i] == name[matched] ? matched + 1 : text[i] == name[0];
        else if (text[i] >= '0' && text[i] <= '9')
            number = number * 10 + (uint64_t)(text[i] - '0');
        else if (text[i] == '\n')
            break;
    }
    return number << 10;
}

// ---- ending all ----

IN_CHILD static void pause_ms(int ms) {
    const struct timespec it = {0, ms * 1000000L};
    syscall(SYS_ppoll, NULL, 0, &it, NULL, 0);
}

// Signals to our children and the groups that they lead.
IN_CHILD static int signal_children(struct warden *it, int number) {
    char path[64];
    int self = (int)syscall(SYS_getpid);
    it->count = 0;
    path_of(path, self, "/task/", self, "/children");
    if (!it->sandbox->parts->children || !add_numbers(it, path))
        find_children(it, self);
    for (int i = 0; i < it->count; i++) {
        int id = it->seen[i];
        if (syscall(SYS_getpgid, id) == id)
            syscall(SYS_kill, -id, number);
        syscall(SYS_kill, id, number);
    }
    return it->count;
}

IN_CHILD static void take(struct warden *it, int id, int status, const struct rusage *used) {
    if (id != it->ward.id || it->over)
        return;
    it->over = true;
    it->end.process = (struct sys_process_end){
        .by_signal = WIFSIGNALED(status),
        .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
        .user_ns = (int64_t)used->ru_utime.tv_sec * 1000000000 + used->ru_utime.tv_usec * 1000,
        .system_ns = (int64_t)used->ru_stime.tv_sec * 1000000000 + used->ru_stime.tv_usec * 1000,
        .memory_bytes_max = (uint64_t)used->ru_maxrss << 10};
}

// The next child that has ended. True if there was one; *none if there are no children at all.
IN_CHILD static bool reap(struct warden *it, bool wait, bool *none) {
    siginfo_t info = {.si_pid = 0};
    struct rusage used = {0};
    int status = 0;
    *none = false;
    // Its group is killed while its number is still its own.
    if (syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOWAIT | (wait ? 0 : WNOHANG), NULL) < 0) {
        *none = errno == ECHILD;
        return false;
    }
    if (info.si_pid == 0)
        return false;
    if (info.si_pid == it->ward.id)
        syscall(SYS_kill, -info.si_pid, SIGKILL);
    int id = (int)syscall(SYS_wait4, info.si_pid, &status, 0, &used);
    take(it, id, status, &used);
    return true;
}

// Without /proc nobody can say which children there are, so after a while what is left stays.
IN_CHILD static void kill_all(struct warden *it) {
    bool none = false;
    for (int blind = 0; !none && blind < BLIND_ROUNDS;) {
        if (it->group_kill >= 0)
            (void)!syscall(SYS_write, KILL, "1", 1);
        if (it->sandbox->level == SYS_SANDBOX_STRICT && it->sandbox->parts->namespaces)
            syscall(SYS_kill, -1, SIGKILL);
        bool sees = signal_children(it, SIGKILL) > 0;
        if (!it->over) {
            syscall(SYS_kill, -it->ward.id, SIGKILL);
            syscall(SYS_kill, it->ward.id, SIGKILL);
        }
        (void)reap(it, sees, &none);
        while (!none && reap(it, false, &none))
            continue;
        if (!sees && !none)
            pause_ms(BLIND_PAUSE_MS);
        blind = sees ? 0 : blind + 1;
    }
}

// ---- a warden's life ----

IN_CHILD static void see_to_line(struct warden *it) {
    char word = 0;
    ssize_t got = syscall(SYS_recvfrom, LINE, &word, 1, MSG_DONTWAIT, NULL, NULL);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    it->alone = got <= 0;
    if (got == 1 && word == 'T')
        signal_children(it, SIGTERM);
    else
        kill_all(it);
}

IN_CHILD static bool counts_alone(const struct sys_sandbox *it) {
    return it->memory_bytes_max == 0 || it->parts->group_memory;
}

IN_CHILD static bool must_look(const struct sys_sandbox *it) {
    bool counts = it->processes_max && !it->parts->group_pids;
    return it->parts->children && (counts || !counts_alone(it));
}

IN_CHILD static void look(struct warden *it) {
    const struct sys_sandbox *sandbox = it->sandbox;
    uint64_t bytes = 0, shared_most = 0;
    it->count = 0;
    add_children(it, (int)syscall(SYS_getpid));
    for (int i = 0; i < it->count; i++) {
        add_children(it, it->seen[i]);
        if (sandbox->memory_bytes_max && !sandbox->parts->group_memory) {
            bytes += memory_of(it, it->seen[i]);
            uint64_t shared = shared_memory_of(it->seen[i]);
            shared_most = shared > shared_most ? shared : shared_most;
        }
    }
    bytes += shared_most; // of one, as the others may have the same
    if (sandbox->memory_bytes_max && bytes > sandbox->memory_bytes_max)
        it->end.memory_limit = sandbox->memory_bytes_max;
    else if (sandbox->processes_max && (uint32_t)it->count > sandbox->processes_max)
        it->end.processes_limit = sandbox->processes_max;
    if (it->end.memory_limit || it->end.processes_limit)
        kill_all(it);
}

IN_CHILD static void close_from(unsigned lowest) {
    if (syscall(SYS_close_range, lowest, ~0u, 0) == 0)
        return;
    for (unsigned fd = lowest; fd < WITHOUT_CLOSE_RANGE; fd++)
        syscall(SYS_close, fd);
}

// From now on this process has nothing of ours open but what it needs.
IN_CHILD static void let_go(struct warden *it, int signals) {
    int nothing = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
    int copies[] = {nothing, nothing, nothing, it->line, signals, it->group_kill, it->group_out};
    // Above all targets first, lest one overwrites another.
    for (size_t i = 0; i < countof(copies); i++)
        if (copies[i] >= 0)
            copies[i] = (int)syscall(SYS_fcntl, copies[i], F_DUPFD_CLOEXEC, 64);
    for (size_t i = 0; i < countof(copies); i++)
        if (copies[i] >= 0)
            syscall(SYS_dup3, copies[i], (int)i, O_CLOEXEC);
    close_from(it->group_kill >= 0 && it->group_out >= 0 ? ALL_LOWEST : KILL);
}

IN_CHILD static int begin(struct warden *it, int *signals, const char **what) {
    static const char all[] = "\xff\xff\xff\xff\xff\xff\xff\xff"; // a set of signals
    uint64_t child = (uint64_t)1 << (SIGCHLD - 1);
    bool strict = it->sandbox->level == SYS_SANDBOX_STRICT && it->sandbox->parts->namespaces;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, NULL, 8);
    syscall(SYS_setsid);
    prctl(PR_SET_NAME, "asyncoro-warden", 0, 0, 0);
    *what = "warden";
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -errno;
    *signals = (int)syscall(SYS_signalfd4, -1, &child, sizeof child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (*signals < 0)
        return -errno;
    *what = "group of processes";
    if (it->group_in >= 0 && !it->in_group && syscall(SYS_write, it->group_in, "0", 1) < 0)
        return -errno;
    int err = strict ? sandbox_mount(it->sandbox, it->user, it->our_group, what) : 0;
    return err ? err : process_spawn(it->stack, it->how, it->sandbox, &it->ward, what);
}

// The group of the ward may be killed as a whole once we are not in it.
IN_CHILD static void leave_ward(struct warden *it) {
    if (it->group_kill < 0 || it->group_out < 0 || syscall(SYS_write, OUT, "0", 1) < 0)
        it->group_kill = -1;
}

IN_CHILD static void remove_group(const char *path) {
    for (int i = 0; i < LEAVE_ROUNDS; i++) {
        if (syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR) == 0 || errno != EBUSY)
            return;
        pause_ms(LEAVE_PAUSE_MS);
    }
}

IN_CHILD static bool go_to(const char *path) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    bool there = fd >= 0 && syscall(SYS_write, fd, "0", 1) == 1;
    if (fd >= 0)
        syscall(SYS_close, fd);
    return there;
}

// Removes the groups that nobody else will. Whoever starts wards keeps them as long as it lives.
IN_CHILD static void leave_all(struct warden *it) {
    if (!it->group[0])
        return;
    if (!go_to(it->out[0]))
        (void)go_to(it->out[1]);
    remove_group(it->group);
    int lock = (int)syscall(SYS_openat, AT_FDCWD, it->all, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    bool ours = false;
    for (int i = 0; lock >= 0 && !ours && i < LEAVE_ROUNDS; i++) {
        ours = syscall(SYS_flock, lock, LOCK_EX | LOCK_NB) == 0;
        if (!ours)
            pause_ms(LEAVE_PAUSE_MS);
    }
    // The last one succeeds.
    if (ours && syscall(SYS_unlinkat, AT_FDCWD, it->wardens, AT_REMOVEDIR) == 0)
        syscall(SYS_unlinkat, AT_FDCWD, it->all, AT_REMOVEDIR);
    if (lock >= 0)
        syscall(SYS_close, lock);
}

IN_CHILD static void live(struct warden *it) {
    bool looks = must_look(it->sandbox), none;
    int pause = counts_alone(it->sandbox) ? COUNT_MS : LOOK_MS;
    while (!it->over) {
        struct pollfd both[] = {{.fd = LINE, .events = POLLIN}, {.fd = SIGNALS, .events = POLLIN}};
        const struct timespec wait = {pause / 1000, pause % 1000 * 1000000L};
        char signals[512];
        syscall(SYS_ppoll, both, 2, looks ? &wait : NULL, NULL, 0);
        while (syscall(SYS_read, SIGNALS, signals, sizeof signals) > 0)
            continue;
        while (reap(it, false, &none))
            continue;
        if (both[0].revents && !it->over)
            see_to_line(it);
        else if (looks && !it->over)
            look(it);
    }
    kill_all(it);
}

IN_CHILD __attribute__((noreturn)) static void run_warden(struct warden *it) {
    struct started started = {0};
    const char *what = "";
    int signals = -1;
    started.err = begin(it, &signals, &what);
    started.id = it->ward.id;
    for (size_t i = 0; started.err && i < sizeof started.what - 1 && what[i]; i++)
        started.what[i] = what[i];
    if (!started.err)
        let_go(it, signals);
    int line = started.err ? it->line : LINE;
    syscall(SYS_sendto, line, &started, sizeof started, MSG_NOSIGNAL, NULL, 0);
    if (!started.err) {
        leave_ward(it);
        live(it);
        syscall(SYS_sendto, line, &it->end, sizeof it->end, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
        if (it->alone)
            leave_all(it);
    }
    for (;;)
        syscall(SYS_exit_group, started.err != 0);
}

// ---- here ----

static int open_of(const char *group, const char *file) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", group, file);
    return group[0] ? open(path, O_WRONLY | O_CLOEXEC) : -1;
}

static void name_groups(struct warden *it, const char *group) {
    const char *all = it->sandbox->parts->path;
    if (!group[0])
        return;
    snprintf(it->group, sizeof it->group, "%s", group);
    snprintf(it->wardens, sizeof it->wardens, "%s/wardens", all);
    snprintf(it->all, sizeof it->all, "%s", all);
    snprintf(it->out[0], sizeof it->out[0], "%.*s/cgroup.procs", (int)(strrchr(all, '/') - all),
             all);
    snprintf(it->out[1], sizeof it->out[1], "%s.us/cgroup.procs", all);
}

// A copy of this process, born in the group if the system can do that. Its number or an error.
static int fork_warden(struct warden *it, const char *group, int *handle) {
    struct { // of clone3, which headers may not know
        uint64_t flags, handle, child, parent, exit_signal, stack, stack_bytes, local, ids,
            id_count, group;
    } how = {.flags = CLONE_PIDFD | (uint64_t)INTO_GROUP_HIGH << 32,
             .handle = (uintptr_t)handle,
             .exit_signal = SIGCHLD};
    unsigned long flags = CLONE_PIDFD;
    if (it->sandbox->level == SYS_SANDBOX_STRICT && it->sandbox->parts->namespaces)
        flags |= CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC |
                 (it->sandbox->parts->root ? 0 : CLONE_NEWUSER);
    how.flags |= flags;
    int folder = group[0] ? open(group, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    long id = -1;
    if (folder >= 0) {
        how.group = (uint64_t)folder;
        it->in_group = true;
        id = syscall(SYS_clone3, &how, sizeof how);
        if (id == 0)
            run_warden(it);
        close(folder);
        it->in_group = false;
    }
    if (id < 0)
        id = syscall(SYS_clone, flags | SIGCHLD, NULL, handle, NULL, NULL);
    if (id == 0)
        run_warden(it);
    return id < 0 ? -errno : (int)id;
}

static int receive_started(int line, struct started *started) {
    ssize_t got;
    do
        got = recv(line, started, sizeof *started, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got == sizeof *started ? started->err : -EIO;
}

static void describe(const struct sys_sandbox *sandbox, const char *what, int err, char *problem) {
    bool of_folder = strstr(what, "folder") != NULL;
    snprintf(problem, SYS_WARD_PROBLEM_BYTES, "%s%s%.80s: %s", what, of_folder ? " " : "",
             of_folder && sandbox->folder ? sandbox->folder : "", ac_strerror(err));
}

int sys_ward_start(struct sys_ward *ward, const struct sys_process_options *how,
                   const struct sys_sandbox *sandbox, char problem[SYS_WARD_PROBLEM_BYTES]) {
    struct sys_process_options all = *how;
    struct started started = {.what = "warden"};
    sigset_t every, old;
    int line[2];
    *ward = (struct sys_ward){.line = -1, .warden = {.handle = -1}};
    all.own_session = all.dies_with_us = all.no_new_rights = true;
    all.folder = sandbox->folder;
    struct warden *it = memory_allocate_zeroed(sizeof *it);
    char *stack = memory_allocate(PROCESS_STACK_BYTES);
    int err = it && stack ? 0 : -ENOMEM;
    if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) < 0)
        err = -errno;
    if (err)
        goto release;
    *it = (struct warden){.how = &all,
                          .sandbox = sandbox,
                          .stack = stack,
                          .line = line[1],
                          .user = geteuid(),
                          .our_group = getegid(),
                          .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE)};
    err = group_make(sandbox, ward->group);
    name_groups(it, ward->group);
    it->group_kill = open_of(ward->group, "cgroup.kill");
    it->group_in = open_of(ward->group, "cgroup.procs");
    it->group_out = ward->group[0] ? open_of(sandbox->parts->path, "wardens/cgroup.procs") : -1;
    if (!err) {
        // A handler of ours has no business in the warden.
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, &old);
        int id = fork_warden(it, ward->group, &ward->warden.handle);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        err = id < 0 ? id : 0;
        ward->warden.id = id;
    }
    sys_fd_close(line[1]);
    sys_fd_close(it->group_kill);
    sys_fd_close(it->group_in);
    sys_fd_close(it->group_out);
    if (!err && (err = receive_started(line[0], &started)) != 0)
        sys_process_abandon(&ward->warden, false);
    ward->id = started.id;
    ward->line = line[0];
    if (err) {
        sys_fd_close(line[0]);
        ward->line = -1;
        if (ward->group[0])
            group_remove(ward->group);
    }
release:
    if (err)
        describe(sandbox, started.what, err, problem);
    memory_release(stack);
    memory_release(it);
    return err;
}

void sys_ward_end(const struct sys_ward *ward, bool hard) {
    if (ward->line >= 0)
        (void)send(ward->line, hard ? "K" : "T", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int sys_ward_reap(struct sys_ward *ward, struct sys_ward_end *end) {
    struct sys_process_end of_warden;
    int err = sys_process_reap(&ward->warden, &of_warden);
    if (err == -EAGAIN)
        return err;
    if (!err && recv(ward->line, end, sizeof *end, MSG_DONTWAIT) != sizeof *end)
        err = -EIO;
    sys_fd_close(ward->line);
    ward->line = -1;
    if (!ward->group[0])
        return err;
    uint64_t most = group_number(ward->group, "memory.peak", NULL);
    if (!err && most > 0)
        end->process.memory_bytes_max = most;
    if (!err && group_number(ward->group, "memory.events", "oom_kill") > 0)
        end->memory_limit = group_number(ward->group, "memory.max", NULL);
    return err;
}

int sys_ward_clear(struct sys_ward *ward) {
    int err = ward->group[0] ? group_try_remove(ward->group) : 0;
    if (err != -EBUSY)
        ward->group[0] = 0;
    return err == -EBUSY ? err : 0;
}

void sys_ward_abandon(struct sys_ward *ward) {
    sys_fd_close(ward->line); // whereupon it kills all, which nobody else would, and ends
    ward->line = -1;
    process_mourn(&ward->warden);
}

void sys_ward_end_text(const struct sys_ward_end *end, char *text, size_t bytes) {
    sys_process_end_text(&end->process, text, bytes);
    size_t length = strlen(text);
    if (end->memory_limit)
        snprintf(text + length, bytes - length, ": out of memory, it may use %llu MiB",
                 (unsigned long long)(end->memory_limit >> 20));
    else if (end->processes_limit)
        snprintf(text + length, bytes - length, ": it may have %u processes", end->processes_limit);
}
