// SPDX-License-Identifier: MIT
// What befalls a simulated cluster: every now and then something, by the chance of its seed. Who is
// killed is started again, but for workers, which their nodes start.
#include "cluster.h"

static ac_time blows_end;

static void happen(uint64_t unused, uint64_t too);

static ac_time soon(double s) { return sim.now + (ac_time)sim_below((uint64_t)(s * 1e9)); }

static struct actor *somebody(void) { return &cluster.actors[sim_below(cluster.actor_count)]; }

// A worker that lives, or NULL.
static struct process *some_worker(void) {
    struct process *found = NULL;
    uint64_t count = 0;
    for (uint32_t i = 0; i < sim.process_count; i++) {
        struct process *it = sim.processes[i];
        if (it->keeper && process_lives(it) && sim_below(++count) == 0)
            found = it;
    }
    return found;
}

static struct process *some_process(void) {
    struct process *worker = sim_chance(600) ? some_worker() : NULL;
    return worker ? worker : somebody()->process;
}

static void start_again(uint64_t place, uint64_t unused) {
    (void)unused;
    struct actor *actor = &cluster.actors[place];
    if (!process_lives(actor->process) && (actor->role != ROLE_SCHEDULER || comeback_may_start()))
        (void)cluster_start(actor);
}

static void start_dead(void) {
    for (uint32_t i = 0; i < cluster.actor_count; i++)
        if (!process_lives(cluster.actors[i].process))
            sim_at(soon(4), start_again, i, 0);
}

static void kill_one(void) {
    struct process *it = some_process();
    if (!process_lives(it))
        return;
    if (sim_chance(500)) // in the middle of something, soon
        it->dies_in = 1 + sim_below(200);
    else
        process_kill(it, false);
    start_dead();
}

// A node or scheduler is asked to end in order, as by SIGTERM, and is started again when it has.
static void await_end(uint64_t place, uint64_t unused) {
    (void)unused;
    if (!process_lives(cluster.actors[place].process))
        start_again(place, 0);
    else if (cluster.actors[place].process->stop && !cluster.quiet)
        sim_at(soon(2), await_end, place, 0);
}

static void stop_one(void) {
    struct actor *actor = somebody();
    if (actor->role == ROLE_CLIENT || !process_lives(actor->process))
        return;
    sim_note("stop", actor->process->number, 0, 0);
    actor->process->stop = true;
    sim_at(soon(2), await_end, (uint64_t)(actor - cluster.actors), 0);
}

static void kill_computer(void) {
    uint32_t host = somebody()->host;
    for (uint32_t i = 0; i < sim.process_count; i++)
        if (sim.processes[i]->host == host && process_lives(sim.processes[i]))
            process_kill(sim.processes[i], true);
    start_dead();
}

// A worker that was to end by a signal takes it now.
static void go_on(uint64_t number, uint64_t unused) {
    (void)unused;
    struct process *it = sim.processes[number - 1];
    process_continue(it);
    if (it->keeper && it->stop)
        process_kill(it, false);
}

static void freeze_one(void) {
    struct process *it = some_process();
    if (it->state != PROCESS_RUNS)
        return;
    process_freeze(it);
    sim_at(soon(2 * (story.heartbeat_s + story.grace_s)), go_on, it->number, 0);
}

static void heal_one(uint64_t from, uint64_t to) { net_block((uint32_t)from, (uint32_t)to, false); }

// Some computers can reach some others no more, both ways or one way, for a while.
static void part(void) {
    uint64_t side = sim_random(), ways = sim_below(3);
    ac_time until = soon(1.5 * (story.heartbeat_s + story.grace_s));
    for (uint32_t a = 0; a < cluster.actor_count; a++)
        for (uint32_t b = 0; b < cluster.actor_count; b++) {
            uint32_t from = cluster.actors[a].host, to = cluster.actors[b].host;
            if (from == to || !(side >> from % 64 & 1) || side >> to % 64 & 1)
                continue;
            if (ways != 1) {
                net_block(from, to, true);
                sim_at(until, heal_one, from, to);
            }
            if (ways != 2) {
                net_block(to, from, true);
                sim_at(until + (ac_time)sim_below(SIM_S), heal_one, to, from);
            }
        }
}

static void slow_down(void) {
    some_process()->lag = sim_chance(500) ? 0 : (ac_time)sim_below(40 * (uint64_t)SIM_MS);
    net_set_delay((ac_time)sim_below(30 * (uint64_t)SIM_MS),
                  (ac_time)sim_below(30 * (uint64_t)SIM_MS));
    net_set_loss((unsigned)sim_below(200));
    net_set_more_delay(somebody()->host, somebody()->host,
                       (ac_time)sim_below(200 * (uint64_t)SIM_MS));
}

static void happen(uint64_t unused, uint64_t too) {
    (void)unused, (void)too;
    if (sim.now >= blows_end)
        return;
    switch (1u << sim_below(7) & story.weather) {
    case WEATHER_CUTS: net_cut(sim_chance(200) ? 1000 : 300, false); break;
    case WEATHER_SILENT: net_cut(200, true); break;
    case WEATHER_PARTITIONS: part(); break;
    case WEATHER_KILLS: (sim_chance(800) ? kill_one : stop_one)(); break;
    case WEATHER_POWER: kill_computer(); break;
    case WEATHER_FREEZES: freeze_one(); break;
    case WEATHER_SLOW: slow_down(); break;
    default: break;
    }
    sim_at(soon(0.6), happen, 0, 0);
}

// Some ways are slow from the beginning, so that what goes by another one is there before.
static void slow_ways(void) {
    for (uint32_t i = 0; i < cluster.actor_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (sim_chance(300))
                net_set_more_delay(cluster.actors[i].host, cluster.actors[j].host,
                                   (ac_time)sim_below(100 * (uint64_t)SIM_MS));
}

void blows_begin(ac_time until) {
    blows_end = until;
    if (story.weather & (WEATHER_SLOW | WEATHER_FLOOD))
        slow_ways();
    if (story.weather & ~(unsigned)WEATHER_FLOOD)
        sim_at(sim.now + 2 * SIM_S, happen, 0, 0);
}

void blows_mend(void) {
    net_heal_all();
    net_set_loss(0);
    net_set_delay(SIM_MS / 10, SIM_MS / 10);
    for (uint32_t i = 0; i < cluster.actor_count; i++)
        for (uint32_t j = 0; j < i; j++)
            net_set_more_delay(cluster.actors[i].host, cluster.actors[j].host, 0);
    for (uint32_t i = 0; i < sim.process_count; i++) {
        sim.processes[i]->lag = 0;
        sim.processes[i]->dies_in = 0;
        go_on(i + 1, 0);
    }
    for (uint32_t i = 0; i < cluster.actor_count; i++)
        await_end(i, 0);
}
