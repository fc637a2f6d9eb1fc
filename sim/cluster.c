// SPDX-License-Identifier: MIT
// The play of a simulated cluster: nodes, clients and, in most worlds, a scheduler are started;
// things befall them; all is mended; the clients begin nothing new, and all that they have begun
// must end, and then all that ran for it: no worker lives, and no node or scheduler has a
// computation. All are asked to end, and must leave nothing.
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>

struct cluster cluster;

enum { HOST_FIRST = 1, GONE_AFTER_S = 30, TOOL_HOST = 400 };

static const struct key_ring keys = {{"of all simulated programs, 32 by"}, 1};

struct kept {
    struct list link;
    _Alignas(16) uint8_t bytes[];
};

void *cluster_keep(size_t bytes) {
    struct kept *it = calloc(1, sizeof *it + bytes);
    if (!it)
        abort();
    list_append(&cluster.kept, &it->link);
    return it->bytes;
}

bool cluster_is_mild(void) {
    return (story.weather & ~(unsigned)(WEATHER_CUTS | WEATHER_FLOOD)) == 0;
}

static ac_time after(double seconds) { return sim.now + (ac_time)(seconds * 1e9); }

// ---- who takes part ----

void cluster_start_network(void) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    const struct ac_network_options options = {.size = sizeof options, .name = "simulated"};
    err = loop ? remote_start(loop, &options, &keys) : err;
    sim_check(err == 0, "a network cannot be started: %s", ac_network_error());
}

static void run_node(struct process *process) {
    const struct actor *actor = process->of;
    char text[256], name[32];
    story_name(name, "node", actor->place);
    const struct node_options options = {.workers = CLUSTER_CPUS,
                                         .name = name,
                                         .keys = &keys,
                                         .tags = actor->tagged ? "kind=rare" : NULL,
                                         .memory_bytes = (uint64_t)1 << 30};
    int err = node_run(&options, text);
    sim_check(err == 0, "node %u ended: %s", actor->place, text);
}

static void run_scheduler(struct process *process) {
    (void)process;
    char text[256];
    const struct scheduler_options options = {.name = "simulated",
                                              .keys = &keys,
                                              .journal = comeback_journal(),
                                              .return_ns = (ac_time)(cluster.return_s * 1e9)};
    int err = scheduler_run(&options, text);
    sim_check(err == 0, "the scheduler ended: %s", text);
}

struct process *cluster_start(struct actor *actor) {
    static void (*const mains[])(struct process *) = {
        [ROLE_SCHEDULER] = run_scheduler, [ROLE_NODE] = run_node, [ROLE_CLIENT] = owner_run_client};
    actor->owners = 0;
    if (actor->role == ROLE_SCHEDULER)
        comeback_starts(actor->process);
    actor->process = process_start(actor->host, mains[actor->role], actor);
    return actor->process;
}

static void add(enum role role, uint32_t place) {
    struct actor *actor = &cluster.actors[cluster.actor_count];
    *actor = (struct actor){.role = role,
                            .place = place,
                            .host = HOST_FIRST + cluster.actor_count++,
                            .tagged = role == ROLE_NODE && place % 2 == 0};
    (void)cluster_start(actor);
}

// ---- what is left ----

// A tool asks nodes and schedulers how many computations they have.
static uint32_t computations_left;
static bool tool_done;

static uint32_t count_at(const char *name, const char *question) {
    ac_ref found[ACTORS_MAX];
    uint32_t count = 0;
    long places = ac_locate_all(name, found, ACTORS_MAX, ac_after(5));
    for (long i = 0; i < places; i++) {
        ac_value answer = ac_nil;
        int err = ac_call(found[i], ac_of(question), &answer, ac_after(5));
        sim_check(err == 0, "a tool gets no answer though all is well: %s", ac_strerror(err));
        ac_value computations = ac_get(answer, "computations");
        count += computations.kind == AC_LIST ? (uint32_t)ac_count(computations)
                                              : (uint32_t)ac_int_of(computations);
        ac_drop(computations);
        ac_drop(answer);
    }
    return count;
}

static ac_value look(ac_value argument) {
    (void)argument;
    computations_left = count_at(NODE_DESK_NAME, "tell") + count_at(SCHEDULER_DESK_NAME, "status");
    tool_done = true;
    return ac_nil;
}

static void run_tool(struct process *process) {
    (void)process;
    cluster_start_network();
    (void)ac_spawn(look, ac_nil);
    (void)ac_run();
}

static void check_nothing_left(void) {
    jobs_check_none_runs();
    tool_done = false;
    struct process *tool = process_start(TOOL_HOST, run_tool, NULL);
    for (ac_time until = after(30); process_lives(tool) && sim.now < until;)
        sim_until(sim.now + 100 * SIM_MS);
    sim_check(tool_done, "a tool has not asked all");
    sim_check(computations_left == 0, "%u computations are left at nodes and schedulers",
              computations_left);
}

// ---- the play ----

static void begin(void) {
    cluster = (struct cluster){.nodes = 1 + (uint32_t)sim_below(4),
                               .clients = 1 + (uint32_t)sim_below(3),
                               .has_scheduler = sim_chance(700) || story.keeps};
    cluster.return_s = story.keeps ? 8 + (double)sim_below(12) : 0;
    cluster.start_fails = sim_chance(200) ? 100 : 0;
    list_init(&cluster.kept);
    jobs_begin();
    places_begin();
    if (cluster.has_scheduler)
        add(ROLE_SCHEDULER, 0);
    for (uint32_t i = 0; i < cluster.nodes; i++)
        add(ROLE_NODE, i);
    for (uint32_t i = 0; i < cluster.clients; i++)
        add(ROLE_CLIENT, i);
}

static void wait_for_owners(void) {
    bool any = true;
    for (ac_time until = after(300); any && sim.now < until;) {
        sim_until(sim.now + 200 * SIM_MS);
        any = false;
        for (uint32_t i = 0; i < cluster.actor_count; i++)
            any |= cluster.actors[i].owners > 0;
    }
    sim_check(!any, "an owner does not come to the end of its computations");
}

static void end_all(void) {
    bool any = true;
    for (uint32_t i = 0; i < cluster.actor_count; i++)
        cluster.actors[i].process->stop = true;
    for (ac_time until = after(30); any && sim.now < until;) {
        sim_until(sim.now + 100 * SIM_MS);
        any = false;
        for (uint32_t i = 0; i < sim.process_count; i++)
            any |= process_lives(sim.processes[i]);
    }
    for (uint32_t i = 0; i < sim.process_count; i++)
        sim_check(!process_lives(sim.processes[i]), "process %u does not end",
                  sim.processes[i]->number);
    sim_check(net_sockets_open() == 0, "%u sockets are left open", net_sockets_open());
}

void cluster_play(void) {
    if (!sim.talks && !freopen("/dev/null", "w", stderr)) // what workers complain of
        abort();
    begin();
    blows_begin(after(story.seconds));
    comeback_begin(after(story.seconds));
    sim_until(after(story.seconds));
    comeback_mend();
    blows_mend();
    sim_until(after(story.heartbeat_s + story.grace_s + 5));
    cluster.quiet = true;
    wait_for_owners();
    sim_until(after(GONE_AFTER_S + cluster.return_s));
    check_nothing_left();
    end_all();
    comeback_check_journal();
    story.places = cluster.actor_count;
    jobs_end();
    for (struct list *link; (link = list_take(&cluster.kept)) != NULL;)
        free(container_of(link, struct kept, link));
}
