// SPDX-License-Identifier: MIT
// What befalls a simulated world: every now and then something, by the chance of its seed.
#include "story.h"

static ac_time faults_end;

static void happen(uint64_t unused, uint64_t too);

static ac_time soon(uint64_t ms) { return sim.now + (ac_time)sim_below(ms * (uint64_t)SIM_MS); }

static void note_fault(void) { story.fault_at = sim.now; }

static struct node *somebody(void) { return story.at[sim_below(story.places)]; }

static void heal_one(uint64_t from, uint64_t to) {
    note_fault();
    net_block((uint32_t)from, (uint32_t)to, false);
}

// Some computers can reach some others no more, both ways or one way, for a while.
static void part(void) {
    uint64_t side = sim_random(), ways = sim_below(3);
    ac_time until = soon((uint64_t)(1500 * (story.heartbeat_s + story.grace_s)));
    for (uint32_t a = 0; a < story.places; a++)
        for (uint32_t b = 0; b < story.places; b++) {
            uint32_t from = story_host(a), to = story_host(b);
            bool across = (side >> a % 64 & 1) && !(side >> b % 64 & 1);
            if (!across || from == to)
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

static void start_again(uint64_t place, uint64_t unused) {
    (void)unused;
    note_fault();
    if (!process_lives(story.at[place]->process))
        story_start((uint32_t)place);
}

static void kill_one(bool power) {
    struct node *node = somebody();
    if (!process_lives(node->process))
        return;
    if (!power && sim_chance(500)) // in the middle of something, soon
        node->process->dies_in = 1 + sim_below(200);
    else
        process_kill(node->process, power);
    sim_at(sim.now + 50 * SIM_MS + (ac_time)sim_below(3 * (uint64_t)SIM_S), start_again,
           node->place, 0);
}

static void go_on(uint64_t number, uint64_t unused) {
    (void)unused;
    note_fault();
    process_continue(sim.processes[number - 1]);
}

static void freeze_one(void) {
    struct node *node = somebody();
    process_freeze(node->process);
    sim_at(soon((uint64_t)(2000 * (story.heartbeat_s + story.grace_s))), go_on,
           node->process->number, 0);
}

static void slow_down(void) {
    struct node *node = somebody();
    node->process->lag = sim_chance(500) ? 0 : (ac_time)sim_below(40 * (uint64_t)SIM_MS);
    net_set_delay((ac_time)sim_below(30 * (uint64_t)SIM_MS),
                  (ac_time)sim_below(30 * (uint64_t)SIM_MS));
    net_set_loss((unsigned)sim_below(200));
}

static void happen(uint64_t unused, uint64_t too) {
    (void)unused, (void)too;
    if (sim.now >= faults_end)
        return;
    unsigned what = 1u << sim_below(7);
    note_fault();
    switch (what & story.weather) {
    case WEATHER_CUTS: net_cut(sim_chance(200) ? 1000 : 300, false); break;
    case WEATHER_SILENT: net_cut(200, true); break;
    case WEATHER_PARTITIONS: part(); break;
    case WEATHER_KILLS: kill_one(false); break;
    case WEATHER_POWER: kill_one(true); break;
    case WEATHER_FREEZES: freeze_one(); break;
    case WEATHER_SLOW: slow_down(); break;
    default: break;
    }
    sim_at(soon(400), happen, 0, 0);
}

void fault_begin(ac_time until) {
    faults_end = until;
    if (story.weather & ~(unsigned)WEATHER_FLOOD)
        sim_at(sim.now + SIM_S, happen, 0, 0);
}

void fault_mend(void) {
    note_fault();
    net_heal_all();
    net_set_loss(0);
    net_set_delay(SIM_MS / 10, SIM_MS / 10);
    for (uint32_t place = 0; place < story.places; place++) {
        struct process *process = story.at[place]->process;
        process->lag = 0;
        process->dies_in = 0;
        process_continue(process);
        if (!process_lives(process))
            story_start(place);
    }
}
