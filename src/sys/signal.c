// SPDX-License-Identifier: MIT
// The signals that ask a program to end, read like data: they are blocked, so that no handler runs
// in the middle of anything, and a signalfd tells of them. The one by which the system tells a
// process that its parent has died. And SIGQUIT, by which people ask what a program does: its
// handler, which may interrupt anything, only rings a bell for a thread that waits.
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
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
