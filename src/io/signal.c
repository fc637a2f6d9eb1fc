// SPDX-License-Identifier: MIT
// Receivers of signals, as objects to wait on: a bell that the handler rings (sys/signal.c) is read
// by the poller, and a set of numbers tells which came.
#include "io/io.h"

#include <asyncoro/process.h>

_Static_assert(AC_SIGNALS_MAX == SYS_CATCHERS_MAX, "one catcher each");

struct ac_signals {
    struct io_object object; // its handle is the bell
    int catcher;             // of sys/signal.c; negative: none
};

static void signals_release(struct io_object *object) {
    memory_release(container_of(object, struct ac_signals, object));
}

// Before the bell is closed, for the handler may be ringing it.
static void signals_closing(struct io_object *object) {
    struct ac_signals *signals = container_of(object, struct ac_signals, object);
    sys_catcher_close(signals->catcher);
}

int ac_signals_open_list(ac_signals **signals, const int *numbers) {
    if (signals)
        *signals = NULL;
    if (!signals || !numbers)
        return -EINVAL;
    int err, bell;
    struct loop *loop = loop_need(&err);
    struct ac_signals *new = loop ? memory_allocate_zeroed(sizeof *new) : NULL;
    if (!new)
        return loop ? -ENOMEM : err;
    err = io_prepare(loop, &new->object, signals_release);
    if (!err)
        err = new->catcher = sys_catcher_open(numbers, &bell);
    if (err < 0) {
        io_close(&new->object);
        return err;
    }
    new->object.closing = signals_closing;
    sys_adopt(loop->sys, &new->object.handle, bell, false);
    *signals = new;
    return 0;
}

int ac_signals_wait(ac_signals *signals, ac_time deadline) {
    if (!signals)
        return -EINVAL;
    int err = io_enter(&signals->object, IO_READS);
    if (err)
        return err;
    int64_t result = sys_catcher_next(signals->catcher);
    while (result == 0) {
        uint64_t rings;
        struct sys_op op = {.verb = SYS_READ, .bytes = &rings, .count = sizeof rings};
        result = io_operate(&signals->object, &op, deadline);
        if (result > 0)
            result = signals->object.closed ? -EBADF : sys_catcher_next(signals->catcher);
    }
    io_leave(&signals->object, IO_READS);
    return (int)result;
}

void ac_signals_close(ac_signals *signals) {
    if (signals)
        io_close(&signals->object);
}
