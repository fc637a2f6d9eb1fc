// SPDX-License-Identifier: MIT
// Signals for whoever wants them, of whatever thread. The signals that ask a program to end, read
// like data: they are blocked, so that no handler runs in the middle of anything, and a signalfd
// tells of them. The one by which the system tells a process that its parent has died. And SIGQUIT,
// by which people ask what a program does: its handler, which may interrupt anything, only rings a
// bell for a thread that waits.
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "sys/sys.h"

static pthread_once_t bell_once = PTHREAD_ONCE_INIT;
static sem_t bell;
static bool quit_came;
static struct sigaction before_quit; // what SIGQUIT did before it rang

int sys_signals_open(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    int err = -pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

int sys_signals_next(int fd) {
    struct signalfd_siginfo info;
    ssize_t got = read(fd, &info, sizeof info);
    if (got < 0)
        return -errno;
    return got == sizeof info ? (int)info.ssi_signo : -EAGAIN;
}

// The system can kill a process whose parent dies, but not what that process has started.
static void end_group(int number) {
    (void)number;
    if (getpgrp() == getpid())
        kill(0, SIGKILL);
    _exit(1);
}

int sys_end_with_parent(void) {
    struct sigaction action = {.sa_handler = end_group, .sa_flags = SA_ONSTACK};
    sigfillset(&action.sa_mask);
    if (sigaction(SIGRTMAX, &action, NULL) < 0 || prctl(PR_SET_PDEATHSIG, SIGRTMAX, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

// ---- catchers ----
//
// The handler may run at any moment and in any thread: it looks through a table that never moves,
// with atomic loads, notes the signal and rings. Who closes a catcher takes it out of the table,
// and then waits until no handler is inside that may have seen it there; if it has interrupted the
// closer itself, it has ended by then.

enum { SIGNALS = 65 };

static struct {
    struct catcher {
        uint64_t wants; // atomic: bit n - 1 for signal n; 0: free, under the lock
        uint64_t has;   // atomic: those that have come
        int bell;       // atomic; an eventfd
    } all[SYS_CATCHERS_MAX];
    uint32_t inside;                  // atomic: handlers that run
    uint32_t counts[SIGNALS];         // how many catchers a signal has; under the lock
    struct sigaction before[SIGNALS]; // what it did before the first; likewise
} catchers;

static uint64_t bit_of(int number) { return (uint64_t)1 << (number - 1); }

static void catch_signal(int number) {
    int kept = errno;
    __atomic_add_fetch(&catchers.inside, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < SYS_CATCHERS_MAX; i++) {
        struct catcher *it = &catchers.all[i];
        if (!(__atomic_load_n(&it->wants, __ATOMIC_SEQ_CST) & bit_of(number)))
            continue;
        __atomic_or_fetch(&it->has, bit_of(number), __ATOMIC_SEQ_CST);
        uint64_t one = 1;
        // Full means that it rings already.
        if (write(__atomic_load_n(&it->bell, __ATOMIC_SEQ_CST), &one, sizeof one) < 0)
            continue;
    }
    __atomic_sub_fetch(&catchers.inside, 1, __ATOMIC_SEQ_CST);
    errno = kept;
}

static bool can_be_caught(int number) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    for (size_t i = 0; i < countof(faults); i++)
        if (number == faults[i])
            return false;
    return number > 0 && number < SIGNALS && number != SIGKILL && number != SIGSTOP;
}

// With the lock held, as the next.
static int begin_catching(int number) {
    // On the alternative signal stack, because that of a coroutine may be almost full.
    struct sigaction action = {.sa_handler = catch_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigfillset(&action.sa_mask);
    if (catchers.counts[number] == 0 && sigaction(number, &action, &catchers.before[number]) < 0)
        return -errno;
    catchers.counts[number]++;
    return 0;
}

static void end_catching(int number) {
    struct sigaction now;
    if (--catchers.counts[number] > 0)
        return;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler == catch_signal)
        (void)sigaction(number, &catchers.before[number], NULL);
}

// The first `count` signals of a list.
static void end_all(const int *signals, size_t count) {
    while (count > 0)
        end_catching(signals[--count]);
}

// Nobody tells it anything any more when this returns.
static void leave_table(struct catcher *it) {
    __atomic_store_n(&it->wants, 0, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&catchers.inside, __ATOMIC_SEQ_CST) > 0)
        sched_yield();
}

// `wants`: the set of these signals.
static int open_with_lock(const int *signals, uint64_t wants, int *bell_fd) {
    struct catcher *it = catchers.all;
    while (it < catchers.all + SYS_CATCHERS_MAX && it->wants != 0)
        it++;
    if (it == catchers.all + SYS_CATCHERS_MAX)
        return -EAGAIN;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    // Before the first handler is set: what comes from then on is told.
    __atomic_store_n(&it->has, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&it->bell, fd, __ATOMIC_SEQ_CST);
    __atomic_store_n(&it->wants, wants, __ATOMIC_SEQ_CST);
    for (size_t count = 0; signals[count]; count++) {
        int err = begin_catching(signals[count]);
        if (err == 0)
            continue;
        end_all(signals, count);
        leave_table(it);
        close(fd);
        return err;
    }
    *bell_fd = fd;
    return (int)(it - catchers.all);
}

int sys_catcher_open(const int *signals, int *bell_fd) {
    if (!signals[0])
        return -EINVAL;
    uint64_t wants = 0;
    for (size_t i = 0; signals[i]; i++) {
        if (!can_be_caught(signals[i]) || wants & bit_of(signals[i]))
            return -EINVAL;
        wants |= bit_of(signals[i]);
    }
    sys_process_lock(SYS_LOCK_SIGNALS);
    int catcher = open_with_lock(signals, wants, bell_fd);
    sys_process_unlock(SYS_LOCK_SIGNALS);
    return catcher;
}

int sys_catcher_next(int catcher) {
    struct catcher *it = &catchers.all[catcher];
    uint64_t has = __atomic_load_n(&it->has, __ATOMIC_SEQ_CST);
    if (has == 0)
        return 0;
    int number = __builtin_ctzll(has) + 1;
    __atomic_and_fetch(&it->has, ~bit_of(number), __ATOMIC_SEQ_CST);
    return number;
}

void sys_catcher_close(int catcher) {
    struct catcher *it = &catchers.all[catcher];
    sys_process_lock(SYS_LOCK_SIGNALS);
    uint64_t wanted = it->wants;
    for (int number = 1; number < SIGNALS; number++)
        if (wanted & bit_of(number))
            end_catching(number);
    leave_table(it);
    sys_process_unlock(SYS_LOCK_SIGNALS);
}

// ---- the bell ----

static void make_bell(void) { sem_init(&bell, 0, 0); }

void sys_bell_ring(void) {
    pthread_once(&bell_once, make_bell);
    sem_post(&bell);
}

bool sys_bell_wait(ac_time deadline) {
    pthread_once(&bell_once, make_bell);
    struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    int err;
    do
        err = deadline == AC_FOREVER ? sem_wait(&bell)
                                     : sem_clockwait(&bell, CLOCK_MONOTONIC, &until);
    while (err < 0 && errno == EINTR);
    return err == 0;
}

static void ring_for_quit(int number) {
    (void)number;
    int kept = errno;
    __atomic_store_n(&quit_came, true, __ATOMIC_SEQ_CST);
    sem_post(&bell);
    errno = kept;
}

bool sys_quit_came(void) { return __atomic_exchange_n(&quit_came, false, __ATOMIC_SEQ_CST); }

int sys_quit_rings(bool on) {
    // On the alternative signal stack, because that of a coroutine may be almost full.
    struct sigaction action = {.sa_handler = ring_for_quit, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    pthread_once(&bell_once, make_bell);
    struct sigaction now;
    if (sigaction(SIGQUIT, NULL, &now) < 0)
        return -errno;
    bool rings = now.sa_handler == ring_for_quit;
    if (rings == on)
        return 0;
    return sigaction(SIGQUIT, on ? &action : &before_quit, on ? &before_quit : NULL) < 0 ? -errno
                                                                                         : 0;
}
