// SPDX-License-Identifier: MIT
// Starting, watching and ending other processes.
//
// A process is started with clone(CLONE_VM | CLONE_VFORK): the child runs on a small stack of its
// own in our memory, while the calling thread stands still until the child has become the new
// program or given up. So nothing is copied however large this process is, and the child leaves the
// reason of its failure in a variable. posix_spawn does the same but knows neither of the parent's
// death nor of sessions, limits and open executables. What the child may do is what a signal
// handler may; other threads go on meanwhile. In the child:
//
//      signals: all to their defaults but those that stay ignored, none blocked
//      session, death of the parent, rights, limits, folder
//      descriptors: those to be passed are first copied above any target, then put in their
//                   places, so that none can overwrite another; all others close with the exec
//      exec
//
// A process is named by a pidfd from its first moment, so no number is used that could have passed
// to another process.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

enum {
    MOURNER_STACK_BYTES = 64 << 10,
    TARGETS = 5,           // descriptors 0 to 4 are given to the new program
    FIRST_COPY = 10,       // above all targets
    EXIT_CANNOT_RUN = 127, // as shells have it; nobody sees it
    END_ROUNDS_MAX =
        16, // how often a session that starts processes faster than they end is gone through
    CLOSE_ON_EXEC = 1 << 2, // CLOSE_RANGE_CLOEXEC, which is newer than some headers
    WAIT_PIDFD = 3,         // P_PIDFD, likewise
};

// What parent and child share while the child lives in our memory.
struct start {
    const struct sys_process_options *how;
    const struct sys_sandbox *sandbox; // NULL: it is not confined
    pid_t parent;                      // to notice that it died before the child asked to be told
    int err;                           // what made the child give up; 0: it runs the program
    const char *what;                  // what it was about to do
};

// The sanitizers know nothing of this stack and of a child that shares their memory.
// ThreadSanitizer's own clone takes the child for one of fork, which has a copy of the memory, and
// then stops watching in it, that is, in ours.
// And it keeps notes of descriptors, in our memory: those of the child, which bear the numbers of
// ours, are none of its business.
#ifdef SYS_TSAN
int __clone(int (*run)(void *), void *stack, int flags, void *argument, ...);
#define clone __clone
#define dup2(from, to) ((int)syscall(SYS_dup3, from, to, 0))
#endif
static int run_child(void *argument);
static void await_end(int handle);
static int place_descriptors(const struct sys_process_options *how, int *executable);

// ---- starting ----

int sys_process_start(struct sys_process *process, const struct sys_process_options *how) {
    const char *what;
    char *stack = memory_allocate(PROCESS_STACK_BYTES);
    if (!stack)
        return -ENOMEM;
    int err = process_spawn(stack, how, NULL, process, &what);
    memory_release(stack);
    return err;
}

int process_spawn(char *stack, const struct sys_process_options *how,
                  const struct sys_sandbox *sandbox, struct sys_process *process,
                  const char **what) {
    struct start start = {
        .how = how, .sandbox = sandbox, .parent = getpid(), .what = "new process"};
    // A handler of ours that ran in the child would touch our memory.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    int handle = -1;
    char *top = stack + PROCESS_STACK_BYTES - (uintptr_t)(stack + PROCESS_STACK_BYTES) % 16;
    pid_t id = clone(run_child, top, flags, &start, &handle);
    int err = id < 0 ? -errno : 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    *what = start.what;
    if (err)
        return err;
    *process = (struct sys_process){.id = id, .handle = handle};
    if (start.err) {
        await_end(handle);
        process->handle = -1;
    }
    return start.err;
}

const char *sys_program_paths(void) {
    const char *paths = getenv("PATH");
    return paths ? paths : "/usr/local/bin:/usr/bin:/bin";
}

int sys_program_find(const char *name, const char *paths, char *found, size_t bytes) {
    int err = -ENOENT;
    if (!*name)
        return -ENOENT;
    if (strchr(name, '/'))
        return snprintf(found, bytes, "%s", name) < (int)bytes ? 0 : -ENAMETOOLONG;
    for (const char *at = paths;; at++) {
        size_t length = strcspn(at, ":");
        // An empty one is the folder where we are.
        int put = snprintf(found, bytes, "%.*s%s%s", (int)length, at, length ? "/" : "./", name);
        struct stat facts;
        if (put < (int)bytes && stat(found, &facts) == 0 && S_ISREG(facts.st_mode)) {
            if (faccessat(AT_FDCWD, found, X_OK, AT_EACCESS) == 0)
                return 0;
            err = -EACCES;
        }
        at += length;
        if (!*at)
            return err;
    }
}

// Through the system call: the sanitizers keep notes of sigaction, in the memory of the parent.
IN_CHILD static void reset_signals(bool keeps_ignored) {
    static const char nothing[64]; // a struct of the kernel: default action, no flags, no mask
    for (int signal = 1; signal < NSIG; signal++) {
        uintptr_t now[8] = {0}; // likewise, the action first
        if (keeps_ignored)
            syscall(SYS_rt_sigaction, signal, NULL, now, 8);
        if (now[0] != (uintptr_t)SIG_IGN)
            syscall(SYS_rt_sigaction, signal, nothing, NULL, 8);
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, 8);
}

// 0 or a negative error.
IN_CHILD static int take_rights(const struct start *start) {
    const struct sys_process_options *how = start->how;
    if (how->own_session && setsid() < 0)
        return -errno;
    if (how->dies_with_us) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
            return -errno;
        if (getppid() != start->parent)
            return -ESRCH;
    }
    if (how->no_new_rights) {
        const struct rlimit none = {0, 0};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
            return -errno;
    }
    if (how->folder && chdir(how->folder) < 0)
        return -errno;
    return 0;
}

IN_CHILD static int run_child(void *argument) {
    struct start *start = argument;
    const struct sys_process_options *how = start->how;
    char *const *environment = how->environment ? how->environment : environ;
    int executable = how->executable;
    reset_signals(how->keeps_ignored);
    start->what = "session, rights or folder";
    int err = take_rights(start);
    if (!err) {
        start->what = "descriptors";
        err = place_descriptors(how, &executable);
    }
    if (!err && start->sandbox)
        err = sandbox_enter(start->sandbox, how->path ? -1 : executable, &start->what);
    if (!err)
        start->what = "program";
    if (!err) {
        if (how->path)
            execve(how->path, how->arguments, environment);
        else
            syscall(SYS_execveat, executable, "", how->arguments, environment, AT_EMPTY_PATH);
        err = -errno;
    }
    start->err = err;
    _exit(EXIT_CANNOT_RUN);
}

// 0 or a negative error. `*executable` is where the executable is open afterwards.
IN_CHILD static int place_descriptors(const struct sys_process_options *how, int *executable) {
    int copies[TARGETS] = {how->input, how->output, how->error, how->extra,
                           how->more > 0 ? how->more : -1};
    for (int i = 0; i < TARGETS; i++) {
        if (copies[i] >= 0)
            copies[i] = fcntl(copies[i], F_DUPFD_CLOEXEC, FIRST_COPY);
        else if (i <= STDERR_FILENO)
            copies[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        else
            continue;
        if (copies[i] < 0)
            return -errno;
    }
    // The executable and a /dev/null may lie where others will be put.
    if (!how->path && (*executable = fcntl(*executable, F_DUPFD_CLOEXEC, FIRST_COPY)) < 0)
        return -errno;
    for (int i = 0; i <= STDERR_FILENO; i++)
        if (copies[i] < FIRST_COPY &&
            (copies[i] = fcntl(copies[i], F_DUPFD_CLOEXEC, FIRST_COPY)) < 0)
            return -errno;
    int targets = TARGETS;
    while (targets > STDERR_FILENO + 1 && copies[targets - 1] < 0)
        targets--;
    for (int i = 0; i < targets; i++)
        if (dup2(copies[i], i) < 0)
            return -errno;
    // The library's own descriptors close by themselves. The user's may not, and nothing else shall
    // leak into the new program; kernels before 5.11 cannot do this at once.
    if (syscall(SYS_close_range, (unsigned)targets, ~0u, CLOSE_ON_EXEC) < 0)
        for (int fd = targets; fd < WITHOUT_CLOSE_RANGE; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
    return 0;
}

// ---- ending ----

static int send_signal(int handle, int number) {
    return syscall(SYS_pidfd_send_signal, handle, number, NULL, 0) < 0 ? -errno : 0;
}

// The session of a process and whether it has ended; 0 if there is no such process. The name of the
// program, in parentheses, may contain anything; after its last parenthesis follow state, parent,
// group and session.
static int session_of(int id, bool *ended) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    const char *after = strrchr(text, ')');
    char state;
    int session = 0;
    if (!after || sscanf(after + 1, " %c %*d %*d %d", &state, &session) != 2)
        return 0;
    *ended = state == 'Z' || state == 'X';
    return session;
}

// Sends the signal to one process if it is of that session. True if it was and had not ended.
static bool end_member(int id, int session, int number) {
    bool ended = false;
    if (session_of(id, &ended) != session || ended)
        return false;
    int handle = (int)syscall(SYS_pidfd_open, id, 0);
    if (handle < 0)
        return false;
    // Asked again, because the number may have passed to another process before it was opened.
    bool found = session_of(id, &ended) == session && !ended;
    if (found)
        send_signal(handle, number);
    close(handle);
    return found;
}

// One round through all processes. Returns how many of the session had not ended.
static int end_members(int session, int number) {
    DIR *all = opendir("/proc");
    if (!all)
        return 0;
    int count = 0;
    for (struct dirent *at; (at = readdir(all));) {
        int id = atoi(at->d_name);
        if (id > 0)
            count += end_member(id, session, number);
    }
    closedir(all);
    return count;
}

void sys_process_end(const struct sys_process *process, bool hard, bool whole_session) {
    if (process->handle < 0)
        return;
    int number = hard ? SIGKILL : SIGTERM;
    send_signal(process->handle, number);
    if (!whole_session)
        return;
    // The group first, at one blow, so that little is left that could start others; then what has
    // left the group. The number is still this process's: it has not been reaped.
    if (getpgid(process->id) == process->id)
        kill(-process->id, number);
    if (!hard) {
        end_members(process->id, number);
        return;
    }
    for (int i = 0; i < END_ROUNDS_MAX && end_members(process->id, number) > 0; i++)
        continue;
}

int sys_process_signal(const struct sys_process *process, int number, bool whole_group) {
    if (process->handle < 0)
        return -ESRCH;
    // It has not been reaped, so the number is still its own.
    if (whole_group && getpgid(process->id) == process->id)
        return kill(-process->id, number) < 0 ? -errno : 0;
    return send_signal(process->handle, number);
}

static int64_t nanoseconds(struct timeval time) {
    return (int64_t)time.tv_sec * 1000000000 + (int64_t)time.tv_usec * 1000;
}

int sys_process_reap(struct sys_process *process, struct sys_process_end *end) {
    siginfo_t info = {.si_pid = 0};
    struct rusage used = {0};
    if (process->handle < 0)
        return -ECHILD;
    // The C library's function does not tell what was used.
    if (syscall(SYS_waitid, WAIT_PIDFD, process->handle, &info, WEXITED | WNOHANG, &used) < 0) {
        int err = -errno;
        close(process->handle);
        process->handle = -1;
        return err;
    }
    if (info.si_pid == 0)
        return -EAGAIN;
    close(process->handle);
    process->handle = -1;
    *end = (struct sys_process_end){.by_signal = info.si_code != CLD_EXITED,
                                    .code = info.si_status,
                                    .user_ns = nanoseconds(used.ru_utime),
                                    .system_ns = nanoseconds(used.ru_stime),
                                    .memory_bytes_max = (uint64_t)used.ru_maxrss << 10};
    return 0;
}

// What a thread needs to wait for the end of a process.
_Static_assert(SYS_SIGNAL_KILL == SIGKILL && SYS_SIGNAL_TERMINATE == SIGTERM, "see sys.h");

struct mourner {
    int handle;
    struct sys_thread *thread; // atomic; NULL until its starter knows it
};

static void await_end(int handle) {
    siginfo_t info;
    while (waitid((idtype_t)WAIT_PIDFD, (id_t)handle, &info, WEXITED) < 0 && errno == EINTR)
        continue;
    close(handle);
}

static void mourn(void *argument) {
    struct mourner *it = argument;
    await_end(it->handle);
    struct sys_thread *self;
    while (!(self = __atomic_load_n(&it->thread, __ATOMIC_ACQUIRE)))
        sched_yield();
    memory_release(it);
    sys_thread_detach(self);
}

void sys_process_abandon(struct sys_process *process, bool whole_group) {
    (void)sys_process_signal(process, SIGKILL, whole_group);
    process_mourn(process);
}

void process_mourn(struct sys_process *process) {
    struct sys_process_end end;
    if (sys_process_reap(process, &end) != -EAGAIN)
        return;
    int handle = process->handle;
    process->handle = -1;
    struct mourner *it = memory_allocate_zeroed(sizeof *it);
    struct sys_thread *thread;
    if (it)
        it->handle = handle;
    if (it && sys_thread_start(&thread, mourn, it, MOURNER_STACK_BYTES, "asyncoro-reap") == 0) {
        __atomic_store_n(&it->thread, thread, __ATOMIC_RELEASE);
        return;
    }
    memory_release(it);
    await_end(handle); // it will not be long
}

void sys_process_end_text(const struct sys_process_end *end, char *text, size_t bytes) {
    if (!end->by_signal) {
        snprintf(text, bytes, "exit code %d", end->code);
        return;
    }
    const char *meaning = sigdescr_np(end->code);
    if (meaning)
        snprintf(text, bytes, "killed by signal %d (%s)", end->code, meaning);
    else
        snprintf(text, bytes, "killed by signal %d", end->code);
}

// ---- descriptors ----

int sys_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

void sys_fd_close(int fd) {
    if (fd >= 0)
        close(fd);
}

int sys_fd_copy(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}
