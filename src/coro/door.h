// SPDX-License-Identifier: MIT
// The door of coro/ to other processes. Part of the face, coro.h.
#ifndef CORO_DOOR_H
#define CORO_DOOR_H

#include <asyncoro/coro.h>

struct loop;

// What to do with coroutines of other processes: declared here, filled by remote/, called on the
// first loop's thread. Without a door such references give -ENOTSUP.
struct coro_door {
    // As ac_cancel. Must not wait.
    int (*cancel)(struct loop *loop, ac_ref coroutine);
    // As ac_join, for the running coroutine. May wait.
    int (*join)(struct loop *loop, ac_ref coroutine, struct ac_exit *exit, ac_time deadline);
};

// The first loop of the team, if it has a door, else NULL.
struct loop *loop_with_door(struct loop *loop);

#endif
