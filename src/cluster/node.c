// SPDX-License-Identifier: MIT
// The node daemon: takes computations in, a host for each (host.c), for as long as its life
// (life.c) says; then it ends all workers and itself.
//
// Its coroutines:
//   door     found under NODE_NAME: takes "open", and "can" (doctor.c), of peers that may ship
//            code. After a rest there is a new one, as who follows a name is told of a holder once
//   main     found under NODE_DESK_NAME: answers calls of peers that may ship code, who ask what
//            the node is, or that it drains, and does what the life of the node wants
//   signals, standard input, time of Slurm
//            tell the life of what they wait for, and wake main
//
// What it is and does, as a map: "name"; "state", of life_state_name; "why", a text unless it
// serves; "workers", of each computation; "memory", bytes or nil; "tags", a map; "computations",
// how many there are; "sandbox", a text.
#include "cluster/cluster_private.h"

#include <asyncoro/io.h>
#include <asyncoro/process.h>

#include <stdio.h>
#include <stdlib.h>

static const ac_time STOP_GRACE_NS = 4 * 1000 * 1000 * 1000ll;
static const ac_time UPLOAD_NS = 300 * 1000 * 1000 * 1000ll;
static const ac_time LOOK_NS = 5 * 1000 * 1000 * 1000ll;

enum {
    SLURM_ASK_S = 20,   // how long squeue may take
    SLURM_RETRY_S = 10, // until it is asked again when it has failed,
    SLURM_AGAIN_S = 300 // and when it has not: a limit may be changed
};

static ac_value run_node(ac_value argument);
static ac_value run_door(ac_value argument);
static ac_value run_slurm(ac_value argument);

// What the coroutines of the node share.
struct daemon {
    struct node node;
    const struct node_options *options;
    struct life life;
    enum node_state shown; // the last state that was told and acted on
    bool ended_all;        // the grace is over and the hosts were asked to end
    struct slurm_place slurm;
    ac_ref door;
    struct outside outside;
    int err; // why main has ended; 0: it was asked to
};

// ---- starting ----

static int start_network(const struct node_options *options, const struct node *node,
                         char text[256]) {
    bool is_file = options->scheduler && strchr(options->scheduler, '/');
    const struct ac_network_options network = {.size = sizeof network,
                                               .name = node->name,
                                               .port = options->port,
                                               .loopback_only = options->loopback_only,
                                               .no_discovery = options->no_discovery,
                                               .discovery_port = options->discovery_port,
                                               .key_file = options->key_file,
                                               .peers = is_file ? NULL : options->scheduler,
                                               .peers_file = is_file ? options->scheduler : NULL};
    return outside_network(&network, options->keys, text);
}

// Who can read the key is a node to all others of it. Where jobs run as somebody else the mode of
// its file keeps them from it.
static int hide_key(const struct node_options *options, const struct node *node, char text[256]) {
    char path[KEY_PATH_BYTES];
    if (options->keys || node->cells.sandbox.user)
        return 0;
    int err = key_path(options->key_file, true, path, text);
    if (err || !sys_sandbox_reads(&node->cells.sandbox, path))
        return err;
    snprintf(text, 256,
             "jobs could read the key %.100s: keep it elsewhere than programs and what "
             "--read and --write name, or say --user or --key-stdin",
             path);
    return -EACCES;
}

// What is asked for goes before what Slurm has given, and that before what is there.
static void settle(struct daemon *daemon) {
    const struct node_options *options = daemon->options;
    const struct slurm_place *slurm = &daemon->slurm;
    struct node *node = &daemon->node;
    struct place place;
    place_here(&place);
    node->workers = options->workers    ? options->workers
                    : slurm->processors ? slurm->processors
                                        : place.processors;
    node->workers = node->workers < WORKERS_MAX ? node->workers : WORKERS_MAX;
    node->memory_bytes = options->memory_bytes ? options->memory_bytes
                         : slurm->memory_bytes ? slurm->memory_bytes
                                               : place.memory_bytes;
    node->upload_ns = options->upload_ns ? options->upload_ns : UPLOAD_NS;
    node->loopback_only = options->loopback_only;
    if (options->name || slurm->node[0])
        snprintf(node->name, sizeof node->name, "%s", options->name ? options->name : slurm->node);
    else
        sys_host_name(node->name, sizeof node->name);
    text_mend(node->name);
    daemon->life = (struct life){
        .hours = options->hours, .idle_ns = options->idle_ns, .grace_ns = options->grace_ns};
}

static int prepare(struct daemon *daemon, char text[256]) {
    const struct node_options *options = daemon->options;
    list_init(&daemon->node.hosts);
    if (options->slurm && !place_of_slurm(&daemon->slurm)) {
        snprintf(text, 256, "--slurm is for a task of Slurm, and SLURM_JOB_ID is not set here");
        return -EINVAL;
    }
    if (!tags_read(options->tags ? options->tags : "", &daemon->node.tags)) {
        snprintf(text, 256, "'%s' are no tags, as gpu=a100,disk=ssd are", options->tags);
        return -EINVAL;
    }
    int err = outside_open(&daemon->outside, &daemon->life, text);
    if (!err)
        settle(daemon);
    return err;
}

int node_run(const struct node_options *options, char text[256]) {
    struct daemon daemon = {.options = options};
    struct node *node = &daemon.node;
    text[0] = 0;
    int err = prepare(&daemon, text);
    if (err) {
        ac_drop(node->tags);
        return err;
    }
    err = cells_open(&node->cells, options, text);
    if (err) {
        ac_drop(node->tags);
        outside_close(&daemon.outside);
        return err;
    }
    elf_place_here(&node->place);
    contents_open(&node->contents, options->folder, options->store_bytes_max);
    node->contents.cells = &node->cells;
    node->contents.user = node->cells.sandbox.user;
    node->contents.group = node->cells.sandbox.group;
    err = hide_key(options, node, text);
    if (!err)
        err = start_network(options, node, text);
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
    cells_close(&node->cells);
    elf_place_done(&node->place);
    ac_drop(node->tags);
    outside_close(&daemon.outside);
    return err;
}

// ---- the time that Slurm leaves ----

// How many seconds the job of Slurm has left; as slurm_time_left.
static int64_t ask_slurm(const struct daemon *daemon) {
    ac_process *process;
    struct ac_process_answer answer = {0};
    const char *job = daemon->slurm.job;
    ac_time until = ac_after(SLURM_ASK_S);
    if (daemon->slurm.end_s) {
        int64_t left = daemon->slurm.end_s - sys_wall_now() / (1000 * 1000 * 1000);
        return left > 0 ? left : 0;
    }
    int err = ac_process_start(&process, AC_ARGUMENTS("squeue", "-h", "-j", job, "-o", "%L"), until,
                               .output = AC_PIPE);
    if (err)
        return -1;
    err = ac_process_communicate(process, &answer, until);
    const char *text = ac_text_of(answer.output);
    int64_t left = !err && text ? slurm_time_left(text) : -1;
    ac_drop(answer.output);
    ac_drop(answer.error);
    ac_process_close(process);
    return left;
}

static ac_value run_slurm(ac_value argument) {
    struct daemon *daemon = ac_pointer_of(argument);
    int err = 0;
    while (!err) {
        int64_t left = ask_slurm(daemon);
        trace(TRACE_CLUSTER, "Slurm leaves %lld seconds", (long long)left);
        if (left >= 0) {
            daemon->life.limit = left < INT32_MAX ? ac_now() + left * 1000 * 1000 * 1000
                                                  : AC_FOREVER;
            (void)mailbox_put(daemon->node.main, ac_nil);
        }
        err = ac_sleep(left >= 0 ? SLURM_AGAIN_S : SLURM_RETRY_S);
    }
    return ac_nil;
}

// ---- telling ----

static void say_ready(const struct node *node) {
    char address[64] = "";
    (void)ac_network_address(address);
    (void)ac_print("node %s at %s: %u worker%s, ready\n", node->name, address, node->workers,
                   node->workers == 1 ? "" : "s");
    (void)ac_print("sandbox %s\n", node->cells.text);
    outside_say_ready();
}

static ac_value describe(const struct daemon *daemon) {
    const struct node *node = &daemon->node;
    const struct life *life = &daemon->life;
    return ac_map("name", (const char *)node->name, "state", life_state_name(life->state), "why",
                  life->why, "workers", node->workers, "memory",
                  node->memory_bytes ? ac_of(node->memory_bytes) : ac_nil, "tags",
                  ac_hold(node->tags), "computations", node->host_count, "sandbox",
                  (const char *)node->cells.text);
}

// ---- the life ----

static int open_door(struct daemon *daemon) {
    const struct ac_spawn_options options = {
        .size = sizeof options, .name = "door", .daemon = true, .stack_bytes = 256 << 10};
    int err = 0;
    if (ac_ref_is(daemon->door)) {
        (void)ac_unregister(NODE_NAME);
        (void)ac_cancel(daemon->door);
    }
    struct coro *door = coro_create(loop_here, run_door, ac_of_pointer(daemon), &options, true,
                                    &err);
    if (!door)
        return err;
    daemon->door = coro_ref(door);
    err = remote_guard(loop_here, daemon->door, AC_MAY_SHIP); // "open" is what begins it all
    return err ? err : ac_register(daemon->door, NODE_NAME);
}

static ac_value run_door(ac_value argument) {
    struct daemon *daemon = ac_pointer_of(argument);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        if (message_is(message, "open")) {
            host_create(&daemon->node, message);
            (void)mailbox_put(daemon->node.main, ac_nil);
        } else if (message_is(message, "can")) {
            doctor_answer(&daemon->node, message);
        }
        ac_drop(message);
    }
    remote_unguard(loop_here, ac_self());
    return ac_nil;
}

// Does what has changed in the life of the node. 0 or an error.
static int follow_life(struct daemon *daemon) {
    struct life *life = &daemon->life;
    struct node *node = &daemon->node;
    const struct node_options *options = daemon->options;
    int minute = !life->hours ? 0 : options->minute ? options->minute() : sys_wall_minute();
    life_look(life, ac_now(), minute, node->host_count);
    if (life->over && !daemon->ended_all)
        host_stop_all(node);
    daemon->ended_all = life->over;
    if (life->state == daemon->shown)
        return 0;
    daemon->shown = life->state;
    node->closed = life->why;
    outside_say_state(life);
    if (life->state == NODE_SERVES)
        return open_door(daemon);
    if (life->state != NODE_STOPS)
        host_drain_all(node, life->until - ac_now());
    return 0;
}

static bool read_drain(ac_value body, double *seconds) {
    const char *word;
    return message_is(body, "drain") && ac_unpack(body, &word, seconds) == 0;
}

static void answer(struct daemon *daemon, ac_value message) {
    ac_ref asker;
    ac_value body;
    double seconds;
    if (ac_unpack(message, &asker, &body) < 0)
        return;
    bool drains = read_drain(body, &seconds);
    if (drains) {
        ac_time grace = seconds < 0 ? -1 : seconds < 1e6 ? (ac_time)(seconds * 1e9) : (ac_time)1e15;
        life_drain(&daemon->life, ac_now(), grace, "it was told to drain");
    }
    if (drains || text_is(body, "tell"))
        (void)ac_try_send(asker, describe(daemon)); // nobody who asks holds up the node
    ac_drop(body);
}

static int begin(struct daemon *daemon) {
    daemon->node.main = coro_here();
    life_begin(&daemon->life, ac_now());
    int err = outside_watch(&daemon->outside, daemon->options->die_with_stdin);
    if (!err && daemon->options->slurm)
        err = outside_spawn(run_slurm, daemon, "time of Slurm");
    if (!err)
        err = remote_guard(loop_here, ac_self(), AC_MAY_SHIP);
    if (!err)
        err = ac_register(ac_self(), NODE_DESK_NAME);
    return err ? err : open_door(daemon);
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
    int err = begin(daemon);
    if (!err)
        say_ready(&daemon->node);
    ac_time look_ns = daemon->options->look_ns ? daemon->options->look_ns : LOOK_NS;
    while (!err) {
        err = follow_life(daemon);
        if (err || daemon->life.state == NODE_STOPS)
            break;
        ac_time next = life_next(&daemon->life), look = ac_now() + look_ns;
        ac_value message;
        err = ac_receive(&message, daemon->life.hours && look < next ? look : next);
        if (!err) {
            answer(daemon, message);
            ac_drop(message);
        }
        err = err == -ETIMEDOUT ? 0 : err;
    }
    if (ac_ref_is(daemon->door))
        stop(&daemon->node);
    daemon->err = err;
    return ac_nil;
}
