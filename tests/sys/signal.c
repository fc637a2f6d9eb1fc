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
