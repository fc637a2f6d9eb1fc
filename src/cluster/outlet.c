// SPDX-License-Identifier: MIT
// What workers write, at a node whose client does not want it: on to the node's standard error, and
// only as fast as it is read there.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum {
    PATIENCE_NS = 20 * 1000 * 1000, // with a standard error that is full
    STANDARD_ERROR = 2
};

void outlet_open(struct outlet *outlet) {
    int copy = sys_fd_copy(STANDARD_ERROR);
    *outlet = (struct outlet){0};
    if (copy >= 0)
        sys_adopt(loop_here->sys, &outlet->handle, copy, true);
}

// What was not written by then is lost. Returns how much that is.
static size_t outlet_put(struct outlet *outlet, char *bytes, size_t count, ac_time deadline) {
    while (count > 0 && outlet->handle.sys) {
        struct sys_op op = {
            .verb = SYS_WRITE, .handle = &outlet->handle, .bytes = bytes, .count = count};
        int64_t put = coro_operate(&op, AC_NOW);
        if (put == -ETIMEDOUT && deadline != AC_NOW)
            put = coro_operate(&op, deadline);
        if (put <= 0)
            break;
        bytes += put;
        count -= (size_t)put;
    }
    return count;
}

static void outlet_tell_dropped(struct outlet *outlet, int64_t number) {
    char text[128];
    if (outlet->dropped == 0)
        return;
    int length = snprintf(text, sizeof text,
                          "\n(worker %lld: %llu bytes that it wrote were dropped here)\n",
                          (long long)number, (unsigned long long)outlet->dropped);
    if (outlet_put(outlet, text, (size_t)length, AC_NOW) == 0)
        outlet->dropped = 0;
}

void outlet_pass_on(struct outlet *outlet, int64_t number, char *bytes, size_t count) {
    outlet_tell_dropped(outlet, number);
    size_t left = outlet->dropped > 0
                      ? count
                      : outlet_put(outlet, bytes, count,
                                   outlet->stalled ? AC_NOW : ac_now() + PATIENCE_NS);
    outlet->dropped += left;
    outlet->stalled = left > 0;
}

void outlet_close(struct outlet *outlet, int64_t number) {
    outlet_tell_dropped(outlet, number);
    if (outlet->handle.sys)
        sys_close(&outlet->handle);
}
