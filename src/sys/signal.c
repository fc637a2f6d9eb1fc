// SPDX-License-Identifier: MIT
// The signals that ask a program to end, read like data: they are blocked, so that no handler runs
// in the middle of anything, and a signalfd tells of them. And the one by which the system tells a
// process that its parent has died.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sys/sys.h"

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
