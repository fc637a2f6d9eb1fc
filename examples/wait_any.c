// SPDX-License-Identifier: MIT
// A night porter waits for four things at once: a guest who rings, a room that is clean, the
// morning, and the end of the cleaner, who then takes no room any more.
#include <asyncoro.h>

static struct ac_semaphore clean_rooms;
static struct ac_event quiet, morning;

static ac_value clean(ac_value rooms) {
    for (int64_t i = 0; i < ac_int_of(rooms); i++) {
        ac_yield(); // stands for the work
        ac_semaphore_release(&clean_rooms);
    }
    return ac_hold(rooms);
}

static ac_value pass_the_night(ac_value argument) {
    ac_ref porter = ac_ref_of(argument);
    int err = ac_send(porter, "Ada");
    if (err == 0)
        err = ac_event_wait(&quiet, AC_FOREVER);
    if (err == 0)
        err = ac_send(porter, "Grace");
    return ac_result(err < 0 ? err : ac_event_set(&morning));
}

static ac_value porter(ac_value unused) {
    ac_value name;
    struct ac_exit end;
    ac_ref cleaner = ac_spawn(clean, 2, .joinable = true);
    ac_spawn(pass_the_night, ac_self());
    enum { RING, ROOM, MORNING, HOME };
    const struct ac_source sources[] = {
        [RING] = {.kind = AC_SOURCE_MESSAGE, .message = &name},
        [ROOM] = {.kind = AC_SOURCE_SEMAPHORE, .semaphore = &clean_rooms},
        [MORNING] = {.kind = AC_SOURCE_EVENT, .event = &morning},
        [HOME] = {.kind = AC_SOURCE_END, .coroutine = cleaner, .exit = &end},
    };
    size_t count = HOME + 1;
    for (;;) {
        int which = ac_wait_any(sources, count, ac_after(60));
        if (which == RING) {
            ac_print("%v rings\n", name);
            ac_drop(name);
        } else if (which == ROOM) {
            ac_print("a room is clean\n");
        } else if (which == HOME) {
            ac_print("the cleaner goes home after %v rooms\n", end.value);
            ac_drop(end.value);
            count = HOME; // an end is told once; the others can come again
            ac_event_set(&quiet);
        } else {
            ac_print(which == MORNING ? "morning\n" : "it will not end\n");
            return ac_result(which < 0 ? which : 0);
        }
    }
}

int main(void) {
    ac_spawn(porter, ac_nil);
    return ac_run();
}
