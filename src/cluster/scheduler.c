// SPDX-License-Identifier: MIT
// The scheduler as a whole: its beginning, its end, and the placer, which lets placement decide.
// Whatever happens, a message that comes, a worker that goes, only tells placement and kicks the
// placer, which runs when all that was ready has run. So a burst of reports is one decision.
#include "cluster/scheduler.h"

static ac_value run_placer(ac_value argument);

struct coro *cluster_spawn(struct loop *loop, ac_function function, void *argument,
                           const char *name) {
    const struct ac_spawn_options options = {
        .size = sizeof options, .name = name, .daemon = true, .stack_bytes = 256 << 10};
    int err = 0;
    return coro_create(loop, function, ac_of_pointer(argument), &options, true, &err);
}

struct scheduler *scheduler_create(struct loop *loop) {
    struct scheduler *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->loop = loop;
    list_init(&it->desks);
    list_init(&it->sites);
    it->placement = placement_create(&agent_door, it);
    it->placer = it->placement ? cluster_spawn(loop, run_placer, it, "placer of jobs") : NULL;
    it->finder = it->placer ? cluster_spawn(loop, supply_run_finder, it, "finder of nodes") : NULL;
    if (it->finder)
        return it;
    if (it->placer)
        coro_cancel(it->placer); // it has not run yet, and never will
    if (it->placement)
        placement_destroy(it->placement);
    memory_release(it);
    return NULL;
}

void scheduler_stop(struct scheduler *it) {
    list_each (link, &it->desks) {
        struct desk *desk = container_of(link, struct desk, link);
        desk->closing = true;
        desk_kick(desk);
    }
}

void scheduler_free(struct scheduler *it) {
    placement_destroy(it->placement);
    list_each (link, &it->sites)
        memory_release(container_of(link, struct site, link));
    memory_release(it);
}

void scheduler_changed(struct scheduler *it) { it->kicked = it->kicked || agent_kick(it->placer); }

static ac_value run_placer(ac_value argument) {
    struct scheduler *it = ac_pointer_of(argument);
    ac_time due = AC_FOREVER;
    int err = 0;
    while (err == 0 || err == -ETIMEDOUT) {
        ac_value message;
        err = ac_receive(&message, due);
        if (!err)
            ac_drop(message);
        it->kicked = false;
        if (err == 0 || err == -ETIMEDOUT)
            due = placement_turn(it->placement, ac_now());
    }
    return ac_nil;
}
