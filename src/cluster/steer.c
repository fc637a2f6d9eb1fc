// SPDX-License-Identifier: MIT
// The nodes and workers of a computation, as its owner lists and steers them: calls to the desk,
// which are specified at the head of desk.c.
#include "cluster/client_private.h"
#include "cluster/scheduler.h"

#include <stdio.h>

// What is wrong with a call that wants something of the desk; 0 if nothing is.
static int check(const struct ac_computation *it) {
    if (!coro_here())
        return -EPERM;
    if (!it)
        return -EINVAL;
    return it->closer || it->closed || it->desk_gone ? -ECANCELED : 0;
}

static int steer(struct ac_computation *it, ac_ref place, enum steer what, ac_time deadline) {
    ac_value answer;
    int err = check(it);
    if (!err && !ac_ref_is(place))
        err = -EINVAL;
    if (!err && !ac_ref_is(it->desk))
        err = -ESRCH; // nobody has told of any place so far
    if (!err)
        err = ac_call(it->desk, ac_list("steer", place, (int)what), &answer, deadline);
    if (err)
        return err;
    err = (int)ac_int_of(answer);
    ac_drop(answer);
    return err;
}

int ac_place_suspend(ac_computation *it, ac_ref place, ac_time deadline) {
    return steer(it, place, STEER_SUSPEND, deadline);
}

int ac_place_resume(ac_computation *it, ac_ref place, ac_time deadline) {
    return steer(it, place, STEER_RESUME, deadline);
}

int ac_place_disable(ac_computation *it, ac_ref node, ac_time deadline) {
    return steer(it, node, STEER_DISABLE, deadline);
}

int ac_place_enable(ac_computation *it, ac_ref node, ac_time deadline) {
    return steer(it, node, STEER_ENABLE, deadline);
}

static void read_place(struct ac_place *place, ac_value list) {
    const char *name = NULL, *location = NULL;
    ac_value worker = ac_nil;
    int state = 0;
    *place = (struct ac_place){0};
    if (ac_unpack(list, &place->node, &worker, &state, &place->jobs, &place->cpus, &place->memory,
                  &name, &location) == 0) {
        place->worker = ac_ref_of(worker);
        place->state = (enum ac_place_state)state;
        snprintf(place->name, sizeof place->name, "%s", name ? name : "");
        snprintf(place->location, sizeof place->location, "%s", location ? location : "");
    }
    ac_drop(worker);
}

int64_t ac_places(ac_computation *it, struct ac_place *places, size_t max, ac_time deadline) {
    int err = check(it);
    if (!err && !places && max > 0)
        err = -EINVAL;
    if (err || !ac_ref_is(it->desk))
        return err;
    ac_ref desk = it->desk; // the computation may be closed meanwhile
    int64_t total = 0;
    size_t count = 0;
    do {
        ac_value answer, item;
        size_t cursor = 0, before = count;
        err = ac_call(desk, ac_list("places", count), &answer, deadline);
        if (err)
            return err;
        if (!ac_next(answer, &cursor, &item))
            return -ENOMEM; // there
        total = ac_int_of(item);
        ac_drop(item);
        while (count < max && ac_next(answer, &cursor, &item)) {
            read_place(&places[count++], item);
            ac_drop(item);
        }
        ac_drop(answer);
        if (count == before)
            break;
    } while (count < max && (int64_t)count < total);
    return total;
}
