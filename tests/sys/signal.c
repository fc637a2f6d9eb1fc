// SPDX-License-Identifier: MIT
// Signals that ask a program to end, read like data.
#include "test.h"

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
