// SPDX-License-Identifier: MIT
// The node daemon: found under the name NODE_NAME, it takes computations in, a host for each
// (host.c), until a signal asks it to end; then it ends all workers and itself.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum { STOP_GRACE_NS = 4000 * 1000 * 1000ll };

static ac_value run_node(ac_value argument);
static ac_value run_signals(ac_value argument);

// What main waits with: the node and the descriptor of the signals.
struct daemon {
    struct node node;
    int signals;
    bool asked; // a signal has asked it to end
    int err;    // why main has ended; 0: it was asked to
};

static int start_network(const struct node_options *options, const struct node *node,
                         char text[256]) {
    int err = ac_network_start(.name = node->name, .port = options->port,
                               .loopback_only = options->loopback_only,
                               .discovery_port = options->discovery_port,
                               .key_file = options->key_file);
    if (err)
        snprintf(text, 256, "%s", *ac_network_error() ? ac_network_error() : ac_strerror(err));
    return err;
}

int node_run(const struct node_options *options, char text[256]) {
    struct daemon daemon = {.signals = sys_signals_open()};
    struct node *node = &daemon.node;
    text[0] = 0;
    if (daemon.signals < 0) {
        snprintf(text, 256, "signals cannot be read: %s", ac_strerror(daemon.signals));
        return daemon.signals;
    }
    list_init(&node->hosts);
    node->workers = options->workers ? options->workers : (uint32_t)sys_processors();
    node->workers = node->workers < WORKERS_MAX ? node->workers : WORKERS_MAX;
    node->loopback_only = options->loopback_only;
    if (options->name)
        snprintf(node->name, sizeof node->name, "%s", options->name);
    else
        sys_host_name(node->name, sizeof node->name);
    text_mend(node->name);
    elf_place_here(&node->place);
    contents_open(&node->contents, NULL, options->store_bytes_max);
    int err = start_network(options, node, text);
    if (!err) {
        ac_ref main = ac_spawn(run_node, ac_of_pointer(&daemon), .name = "node",
                               .stack_bytes = 256 << 10);
        err = ac_ref_error(main);
    }
    int later = ac_run();
    err = err ? err : later ? later : daemon.err;
    if (err && !text[0])
        snprintf(text, 256, "%s", ac_strerror(err));
    contents_close(&node->contents);
    elf_place_done(&node->place);
    sys_fd_close(daemon.signals);
    return err;
}

// Waits for signals and passes them on. Not in a message, which any peer could send.
static ac_value run_signals(ac_value argument) {
    struct daemon *daemon = ac_pointer_of(argument);
    struct sys_handle handle = {0};
    int copy = sys_fd_copy(daemon->signals);
    if (copy < 0)
        return ac_result(copy);
    sys_adopt(loop_here->sys, &handle, copy, false);
    struct sys_op op = {.verb = SYS_WATCH, .handle = &handle};
    while (coro_operate(&op, AC_FOREVER) == 0) {
        int number = sys_signals_next(daemon->signals);
        if (number <= 0)
            break;
        trace(TRACE_CLUSTER, "signal %d", number);
        daemon->asked = true;
        (void)mailbox_put(daemon->node.main, ac_nil);
    }
    sys_close(&handle);
    return ac_nil;
}

static void say_ready(const struct node *node) {
    char address[64] = "";
    (void)ac_network_address(address);
    (void)ac_print("node %s at %s: %u worker%s, ready\n", node->name, address, node->workers,
                   node->workers == 1 ? "" : "s");
    fflush(stdout);
}

static void stop(struct node *node) {
    node->stopping = true;
    (void)ac_unregister(NODE_NAME);
    host_stop_all(node);
    ac_time until = ac_now() + STOP_GRACE_NS;
    ac_value message;
    while (node->host_count > 0 && ac_receive(&message, until) == 0)
        ac_drop(message);
}

static ac_value run_node(ac_value argument) {
    struct daemon *daemon = ac_pointer_of(argument);
    struct node *node = &daemon->node;
    const struct ac_spawn_options watch = {.size = sizeof watch, .name = "signals", .daemon = true};
    int err = 0;
    node->main = coro_here();
    if (coro_create(loop_here, run_signals, ac_of_pointer(daemon), &watch, true, &err))
        err = remote_guard(loop_here, ac_self(), AC_MAY_SHIP); // "open" is what begins it all
    if (!err)
        err = ac_register(ac_self(), NODE_NAME);
    daemon->err = err;
    if (err)
        return ac_nil;
    say_ready(node);
    while (!daemon->asked) {
        ac_value message;
        err = ac_receive(&message, AC_FOREVER);
        if (err)
            break;
        if (message_is(message, "open"))
            host_create(node, message);
        else if (message_is(message, "can"))
            doctor_answer(node, message);
        ac_drop(message);
    }
    stop(node);
    daemon->err = err;
    return ac_nil;
}
