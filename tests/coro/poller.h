// SPDX-License-Identifier: MIT
// A loop that loses its poller, for tests.
#ifndef TESTS_CORO_POLLER_H
#define TESTS_CORO_POLLER_H

#include "coro/coro.h"
#include "sys/poller_private.h"
#include "test.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

// What waiting fails with then.
static int poller_gone;

// A coroutine: the poller of its loop is none any more, and its next wait fails. On that loop's
// thread, as nobody else uses the descriptor.
static ac_value break_poller(ac_value unused) {
    int fd = ((struct poller *)loop_here->sys)->fd;
    char path[64], link[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ck_assert_int_gt(readlink(path, link, sizeof link - 1), 0);
    bool is_epoll = strcmp(link, "anon_inode:[eventpoll]") == 0;
    ck_assert(is_epoll || strcmp(link, "anon_inode:[io_uring]") == 0);
    poller_gone = is_epoll ? -EINVAL : -EOPNOTSUPP;
    int other = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(dup2(other, fd), fd);
    close(other);
    return unused;
}

#endif
