// SPDX-License-Identifier: MIT
// Waiting for operations of the poller.
//
// The operation lies on the stack of the coroutine, which cannot be left before the operation has
// finished: a wait that ends early asks the poller to cancel it and, if that takes time, goes on
// until the poller lets go (coro->early keeps why). What the operation had achieved by then wins:
// bytes that were read are handed over.
#include "coro/coro.h"

static bool abandon_operation(struct coro *coro) { return sys_cancel(coro->wait_for); }

static const struct wait_kind operation_waits[] = {
    [SYS_ACCEPT] = {"accept", abandon_operation, .until_deadline = false},
    [SYS_CONNECT] = {"connect", abandon_operation, .until_deadline = false},
    [SYS_READ] = {"read", abandon_operation, .until_deadline = false},
    [SYS_WRITE] = {"write", abandon_operation, .until_deadline = false},
    [SYS_RECEIVE] = {"datagram", abandon_operation, .until_deadline = false},
    [SYS_SEND] = {"datagram out", abandon_operation, .until_deadline = false},
    [SYS_SEND_FILE] = {"send file", abandon_operation, .until_deadline = false},
    [SYS_WATCH] = {"watch", abandon_operation, .until_deadline = false},
};

static void operation_finished(struct sys_op *op) {
    struct coro *coro = op->owner;
    int early = op->result == -ECANCELED ? coro->early : 0;
    coro_note_told(coro, early);
    coro->early = 0;
    coro_wake(coro, early); // 0: it finds the result in the operation
}

int64_t coro_operate(struct sys_op *op, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, AC_FOREVER);
    if (unlikely(err < 0))
        return err;
    op->finished = operation_finished;
    op->owner = self;
    op->eager = deadline == AC_NOW;
    if (sys_start(op)) {
        coro_go_on_fairly(self);
        return op->result;
    }
    bool over = deadline == AC_NOW ||
                (deadline != AC_FOREVER && deadline <= sys_now(self->loop->sys));
    if (over) {
        bool ended = sys_cancel(op);
        // One whose time was up before it began is still tried, once.
        if (ended && !op->eager && op->verb != SYS_CONNECT) {
            op->eager = true;
            if (sys_start(op)) {
                coro_go_on_fairly(self);
                return op->result;
            }
            ended = sys_cancel(op);
        }
        if (ended)
            return -ETIMEDOUT;
        self->early = -ETIMEDOUT;
        deadline = AC_FOREVER;
    }
    self->wait_for = op;
    int early = coro_wait(self, &operation_waits[op->verb], deadline);
    return early < 0 ? early : op->result;
}

void coro_operation_abort(struct sys_op *op, int err) {
    struct coro *coro = op->owner;
    if (sys_cancel(op)) {
        coro->early = 0;
        coro_wake(coro, err);
    } else if (coro->early == 0) {
        coro->early = err;
    }
}
