// SPDX-License-Identifier: MIT
// Signals that ask a program to end, read like data.
#include "test.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/sys.h"

TEST(a_signal_is_read_and_ends_nothing) {
    int fd = sys_signals_open();
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_signals_next(fd), -EAGAIN);
    ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
    ck_assert_int_eq(sys_signals_next(fd), SIGTERM);
    ck_assert_int_eq(sys_signals_next(fd), -EAGAIN);
    sys_fd_close(fd);
}

// Parent and child in one: the child binds itself and tells, the grandchild says where it is.
TEST(a_group_ends_with_the_parent_of_its_leader) {
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t parent = fork();
    if (parent == 0) {
        if (fork() == 0) {
            setsid();
            pid_t ids[2] = {getpid(), fork()};
            if (ids[1] > 0 && sys_end_with_parent() == 0)
                (void)sys_fd_write(ends[1], ids, sizeof ids);
        }
        for (;;)
            pause();
    }
    pid_t ids[2];
    ck_assert_int_eq(read(ends[0], ids, sizeof ids), sizeof ids);
    struct pollfd handles[2];
    for (int i = 0; i < 2; i++) {
        handles[i] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, ids[i], 0),
                                     .events = POLLIN};
        ck_assert_int_ge(handles[i].fd, 0);
    }
    ck_assert_int_eq(kill(parent, SIGKILL), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(poll(&handles[i], 1, 10000), 1);
}

// ---- catchers ----

TEST(catchers_are_told_and_ring) {
    int bells[2];
    int one = sys_catcher_open((const int[]){SIGUSR1, SIGTERM, 0}, &bells[0]);
    int two = sys_catcher_open((const int[]){SIGTERM, 0}, &bells[1]);
    ck_assert_int_ge(one, 0);
    ck_assert_int_ge(two, 0);
    ck_assert_int_ne(one, two);
    ck_assert_int_eq(sys_catcher_next(one), 0);
    errno = 7;
    ck_assert_int_eq(raise(SIGTERM), 0);
    ck_assert_int_eq(errno, 7);
    for (int i = 0; i < 2; i++) {
        uint64_t rings;
        ck_assert_int_eq(read(bells[i], &rings, sizeof rings), sizeof rings);
        ck_assert_uint_eq(rings, 1);
        ck_assert_int_eq(sys_catcher_next(i ? two : one), SIGTERM);
        ck_assert_int_eq(sys_catcher_next(i ? two : one), 0);
    }
    sys_catcher_close(two);
    ck_assert_int_eq(raise(SIGTERM), 0);
    ck_assert_int_eq(sys_catcher_next(one), SIGTERM);
    ck_assert_int_eq(sys_catcher_open((const int[]){0}, &bells[1]), -EINVAL);
    ck_assert_int_eq(sys_catcher_open((const int[]){SIGUSR1, SIGKILL, 0}, &bells[1]), -EINVAL);
    sys_fd_close(bells[1]);
    sys_catcher_close(one);
    sys_fd_close(bells[0]);
}

TEST(what_somebody_else_has_set_meanwhile_stays) {
    int bell;
    int one = sys_catcher_open((const int[]){SIGUSR1, 0}, &bell);
    struct sigaction action = {.sa_handler = SIG_IGN}, now;
    sigaction(SIGUSR1, &action, NULL);
    sys_catcher_close(one);
    sys_fd_close(bell);
    ck_assert_int_eq(sigaction(SIGUSR1, NULL, &now), 0);
    ck_assert(now.sa_handler == SIG_IGN);
}

// ---- the bell ----

TEST(a_bell_that_rang_before_is_heard_once) {
    ck_assert(!sys_bell_wait(AC_NOW));
    sys_bell_ring();
    ck_assert(sys_bell_wait(AC_FOREVER));
    ac_time start = sys_clock();
    ck_assert(!sys_bell_wait(start + 10 * 1000 * 1000));
    ck_assert_int_ge(sys_clock(), start + 10 * 1000 * 1000);
}

static void ring(void *unused) {
    (void)unused;
    sys_bell_ring();
}

TEST(a_bell_wakes_the_thread_that_waits) {
    struct sys_thread *thread;
    ck_assert_int_eq(sys_thread_start(&thread, ring, NULL, 256 << 10, "rings"), 0);
    ck_assert(sys_bell_wait(AC_FOREVER));
    sys_thread_join(thread);
}

static int quits;

static void count_quit(int number) {
    (void)number;
    quits++;
}

TEST(sigquit_rings_as_long_as_it_shall) {
    struct sigaction action = {.sa_handler = count_quit};
    sigaction(SIGQUIT, &action, NULL);
    ck_assert_int_eq(sys_quit_rings(false), 0);
    ck_assert_int_eq(sys_quit_rings(true), 0);
    ck_assert_int_eq(sys_quit_rings(true), 0);
    ck_assert(!sys_quit_came());
    errno = 7;
    ck_assert_int_eq(raise(SIGQUIT), 0);
    ck_assert_int_eq(errno, 7);
    ck_assert(sys_bell_wait(AC_NOW));
    ck_assert(sys_quit_came());
    ck_assert(!sys_quit_came());
    ck_assert_int_eq(sys_quit_rings(false), 0);
    ck_assert_int_eq(raise(SIGQUIT), 0);
    ck_assert_int_eq(quits, 1);
    ck_assert(!sys_quit_came());
}

TEST(an_action_that_somebody_else_has_set_meanwhile_is_left_alone) {
    ck_assert_int_eq(sys_quit_rings(true), 0);
    struct sigaction action = {.sa_handler = count_quit};
    sigaction(SIGQUIT, &action, NULL);
    ck_assert_int_eq(sys_quit_rings(false), 0);
    ck_assert_int_eq(raise(SIGQUIT), 0);
    ck_assert_int_eq(quits, 1);
}
