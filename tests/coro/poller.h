// SPDX-License-Identifier: MIT
// A loop that loses its poller, for tests.
#ifndef TESTS_CORO_POLLER_H
#define TESTS_CORO_POLLER_H

#include "coro/coro.h"
#include "test.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

// A coroutine: the poller of its loop is none any more, and its next wait fails with -EINVAL. On
// that loop's thread, as nobody else uses the descriptor.
static ac_value break_poller(ac_value unused) {
    const struct {
        struct sys sys;
        int fd;
    } *poller = (const void *)loop_here->sys; // how src/sys/epoll.c begins
    char path[64], link[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", poller->fd);
    ck_assert_int_gt(readlink(path, link, sizeof link - 1), 0);
    ck_assert_str_eq(link, "anon_inode:[eventpoll]");
    int other = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(dup2(other, poller->fd), poller->fd);
    close(other);
    return unused;
}

#endif
