// SPDX-License-Identifier: MIT
// What node and scheduler share as daemons: how they start the network; what they are told of the
// outside, which is signals and the end of standard input; and what they tell the service manager
// that has started them. Two coroutines tell the life (life.c) what they have seen, and wake the
// main coroutine, which does what the life then wants.
#include "cluster/cluster_private.h"

#include <asyncoro/io.h>

#include <stdio.h>
#include <stdlib.h>

#define AGAIN_S 0.05 // when there was no memory

static ac_value run_signals(ac_value argument);
static ac_value run_input(ac_value argument);

int outside_open(struct outside *outside, struct life *life, char text[256]) {
    *outside = (struct outside){.life = life, .signals = sys_signals_open()};
    if (outside->signals < 0)
        snprintf(text, 256, "signals cannot be read: %s", ac_strerror(outside->signals));
    return outside->signals < 0 ? outside->signals : 0;
}

void outside_close(struct outside *outside) { sys_fd_close(outside->signals); }

struct coro *outside_daemon(ac_function function, void *argument, const char *name) {
    const struct ac_spawn_options options = {
        .size = sizeof options, .name = name, .daemon = true, .stack_bytes = 256 << 10};
    int err = 0;
    return coro_create(loop_here, function, ac_of_pointer(argument), &options, true, &err);
}

int outside_spawn(ac_function function, void *argument, const char *name) {
    return outside_daemon(function, argument, name) ? 0 : -ENOMEM;
}

int outside_network(const struct ac_network_options *network, const struct key_ring *keys,
                    char text[256]) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    if (loop)
        err = remote_start(loop, network, keys);
    if (err)
        snprintf(text, 256, "%s", *ac_network_error() ? ac_network_error() : ac_strerror(err));
    return err;
}

int outside_watch(struct outside *outside, bool input) {
    outside->main = coro_here();
    int err = outside_spawn(run_signals, outside, "signals");
    return err || !input ? err : outside_spawn(run_input, outside, "standard input");
}

// What was told to the life may not get lost for want of memory.
static void wake(const struct outside *outside) {
    while (mailbox_put(outside->main, ac_nil) == -ENOMEM && ac_sleep(AGAIN_S) == 0)
        continue;
}

static ac_value run_signals(ac_value argument) {
    struct outside *outside = ac_pointer_of(argument);
    struct sys_handle handle = {0};
    int copy = sys_fd_copy(outside->signals);
    if (copy < 0)
        return ac_result(copy);
    sys_adopt(loop_here->sys, &handle, copy, false);
    struct sys_op op = {.verb = SYS_WATCH, .handle = &handle};
    while (coro_operate(&op, AC_FOREVER) == 0) {
        int number;
        while ((number = sys_signals_next(outside->signals)) > 0) {
            trace(TRACE_CLUSTER, "signal %d", number);
            life_ask(outside->life, ac_now());
        }
        wake(outside);
    }
    sys_close(&handle);
    return ac_nil;
}

// Reads standard input until it ends.
static ac_value run_input(ac_value argument) {
    struct outside *outside = ac_pointer_of(argument);
    struct sys_handle handle = {0};
    char bytes[256];
    int copy = sys_fd_copy(0);
    if (copy >= 0) {
        sys_adopt(loop_here->sys, &handle, copy, true);
        struct sys_op op = {
            .verb = SYS_READ, .handle = &handle, .bytes = bytes, .count = sizeof bytes};
        while (coro_operate(&op, AC_FOREVER) > 0)
            continue;
        sys_close(&handle);
    }
    life_stop(outside->life, "its standard input has ended");
    wake(outside);
    return ac_nil;
}

static void notify(const char *text) {
    const char *socket = getenv("NOTIFY_SOCKET");
    char address[160];
    ac_datagrams *datagrams;
    if (!socket || !*socket || ac_datagrams_open(&datagrams, "unix:@") < 0)
        return;
    snprintf(address, sizeof address, "unix:%s", socket);
    if (ac_datagrams_send(datagrams, text, strlen(text), address, ac_after(1)) < 0)
        trace(TRACE_CLUSTER, "the service manager was not told: %s", text);
    ac_datagrams_close(datagrams);
}

void outside_say_ready(void) {
    fflush(stdout);
    notify("READY=1");
}

void outside_say_state(const struct life *life) {
    char text[256];
    const char *state = life_state_name(life->state);
    trace(TRACE_CLUSTER, "%s: %s", state, life->why ? life->why : "");
    snprintf(text, sizeof text, "%sSTATUS=%s%s%s", life->state == NODE_STOPS ? "STOPPING=1\n" : "",
             state, life->why ? ": " : "", life->why ? life->why : "");
    notify(text);
}
