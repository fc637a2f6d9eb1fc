// SPDX-License-Identifier: MIT
// The clock and its events, chance, the hash of the trace, and the table of processes.
//
// Events happen in the order of their times and, at one time, of their making. All chance comes
// from two kinds of sources, both seeded: that of the world, and one for each process.
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { STACK_CLASS = 3 }; // 256 KiB
#define CLOCK_BEGINS (1000 * SIM_S)

struct event {
    ac_time at;
    uint64_t order; // of two at one time, which is first
    void (*run)(uint64_t a, uint64_t b);
    uint64_t a, b;
};

static struct {
    struct event *heap;
    size_t count, capacity;
    uint64_t made;
} events;

struct sim sim;

// ---- failing ----

void sim_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("# seed %llu failed at %.6f s: ", (unsigned long long)sim.seed,
           (double)(sim.now - CLOCK_BEGINS) / 1e9);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    abort();
}

// ---- chance ----

// SplitMix64 (Guy Steele, Doug Lea, Christine Flood).
uint64_t random_step(uint64_t *state) {
    uint64_t it = *state += 0x9e3779b97f4a7c15;
    it = (it ^ it >> 30) * 0xbf58476d1ce4e5b9;
    it = (it ^ it >> 27) * 0x94d049bb133111eb;
    return it ^ it >> 31;
}

uint64_t sim_random(void) { return random_step(&sim.random); }
uint64_t sim_below(uint64_t limit) { return limit ? sim_random() % limit : 0; }
bool sim_chance(unsigned per_mille) { return sim_below(1000) < per_mille; }

// ---- the trace ----

static void mix(uint64_t word) {
    uint64_t state = sim.hash ^ word;
    sim.hash = random_step(&state);
}

void sim_note(const char *what, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t word = 0;
    for (size_t i = 0; what[i]; i++)
        word = word * 31 + (uint8_t)what[i];
    mix((uint64_t)sim.now);
    mix(word);
    mix(a);
    mix(b);
    mix(c);
    if (sim.talks)
        printf("%12.6f %-10s %llu %llu %llu\n", (double)(sim.now - CLOCK_BEGINS) / 1e9, what,
               (unsigned long long)a, (unsigned long long)b, (unsigned long long)c);
}

// ---- events ----

static bool is_before(const struct event *a, const struct event *b) {
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void swap(size_t i, size_t j) {
    struct event kept = events.heap[i];
    events.heap[i] = events.heap[j];
    events.heap[j] = kept;
}

void sim_at(ac_time when, void (*run)(uint64_t a, uint64_t b), uint64_t a, uint64_t b) {
    if (events.count == events.capacity) {
        events.capacity = events.capacity ? 2 * events.capacity : 1024;
        events.heap = realloc(events.heap, events.capacity * sizeof *events.heap);
        if (!events.heap)
            abort();
    }
    size_t i = events.count++;
    events.heap[i] = (struct event){when < sim.now ? sim.now : when, events.made++, run, a, b};
    for (; i > 0 && is_before(&events.heap[i], &events.heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(i, (i - 1) / 2);
}

static struct event take_event(void) {
    struct event first = events.heap[0];
    events.heap[0] = events.heap[--events.count];
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < events.count; child++)
            if (is_before(&events.heap[child], &events.heap[least]))
                least = child;
        if (least == i)
            return first;
        swap(i, least);
        i = least;
    }
}

// Processes that go in circles would never come to the next second.
static void count_event(void) {
    if (sim.now - sim.second >= SIM_S) {
        sim.second = sim.now;
        sim.in_second = 0;
    }
    sim.events++;
    uint64_t most = 2000000 + (uint64_t)100000 * sim.process_count;
    sim_check(++sim.in_second < most, "the processes go in circles: %llu events in a second",
              (unsigned long long)sim.in_second);
}

void sim_until(ac_time when) {
    while (events.count > 0 && events.heap[0].at <= when) {
        struct event event = take_event();
        sim.now = event.at;
        count_event();
        event.run(event.a, event.b);
    }
    sim.now = when;
}

// ---- life ----

void sim_begin(uint64_t seed) {
    bool talks = sim.talks, tls = sim.tls;
    sim = (struct sim){
        .seed = seed, .random = seed, .now = CLOCK_BEGINS, .talks = talks, .tls = tls};
    sys_context_of_thread(&sim.home);
    sys_stacks_init(&sim.stacks);
    list_init(&sim.memory);
    driver_begin();
    net_begin();
    disk_begin();
}

void sim_end(void) {
    net_end();
    disk_end();
    for (uint32_t i = 0; i < sim.process_count; i++)
        free(sim.processes[i]);
    free(sim.processes);
    sys_stacks_done(&sim.stacks);
    wrap_forget(&sim.memory);
    free(events.heap);
    memset(&events, 0, sizeof events);
}

// ---- the clock of a process ----

static ac_time clock_of(const struct process *process, ac_time when) {
    ac_time since = when - process->began;
    return process->offset + when + since / 1000000 * process->ppm +
           since % 1000000 * process->ppm / 1000000;
}

ac_time process_clock_at(const struct process *process, ac_time when) {
    return clock_of(process, when);
}

ac_time process_clock(const struct process *process) {
    return clock_of(process, sim.now + process->spent);
}

ac_time process_when(const struct process *process, ac_time clock) {
    ac_time when = clock - process->offset;
    when -= (when - process->began) / 1000000 * process->ppm;
    while (clock_of(process, when) < clock)
        when += 1 + (clock - clock_of(process, when)) / 2;
    return when;
}

// ---- processes ----

static void run_process(void *argument) {
    struct process *process = argument;
    sys_entered();
    process->main(process);
    process->state = PROCESS_ENDED;
    process->ended = sim.now + process->spent;
    process_wait(process);
    abort();
}

static void leave_processor(struct process *process) {
    process->busy_until = sim.now + process->spent;
    process->loop = loop_here;
    loop_here = NULL;
    sim.running = NULL;
}

static void kill_kept(uint64_t number, uint64_t unused) {
    (void)unused;
    process_kill(sim.processes[number - 1], false);
}

// What a process that is gone leaves to the simulator. Those that it kept end soon.
static void bury(struct process *process) {
    for (uint32_t i = 0; i < sim.process_count; i++)
        if (sim.processes[i]->keeper == process->number && process_lives(sim.processes[i]))
            sim_at(sim.now + (ac_time)sim_below(50 * (uint64_t)SIM_MS), kill_kept, i + 1, 0);
    net_process_ended(process);
    sys_stack_give(&sim.stacks, STACK_CLASS, process->stack);
    process->stack = NULL;
    process->loop = NULL;
    process->ended = sim.now;
}

static void give_processor(struct process *process) {
    sim.running = process;
    process->spent = 0;
    process->wake_at = AC_FOREVER;
    loop_here = process->loop;
    (void)sys_switch(&sim.home, &process->context);
    leave_processor(process);
    if (process->state == PROCESS_KILLED) { // by itself, in the middle of something
        process->state = PROCESS_RUNS;
        process_kill(process, false);
    } else if (process->state == PROCESS_ENDED) {
        sim_note("ended", process->number, 0, 0);
        if (process->bytes && sim.talks)
            wrap_list(&process->memory);
        sim_check(process->bytes == 0, "process %u has ended and left %zu bytes of memory",
                  process->number, process->bytes);
        sim_check(process->sockets == 0, "process %u has ended and left %u sockets open",
                  process->number, process->sockets);
        bury(process);
    }
}

static void wake(uint64_t number, uint64_t at) {
    struct process *process = sim.processes[number - 1];
    if (process->state == PROCESS_RUNS && process->wake_at == (ac_time)at) {
        sim_note("run", number, 0, 0);
        give_processor(process);
    }
}

void process_wake(struct process *process, ac_time when) {
    if (when < process->busy_until)
        when = process->busy_until;
    if (when < sim.now)
        when = sim.now;
    if (process->lag)
        when += (ac_time)sim_below((uint64_t)process->lag);
    if (when >= process->wake_at || !process_lives(process))
        return;
    process->wake_at = when;
    sim_at(when, wake, process->number, (uint64_t)when);
}

void process_wait(struct process *process) { (void)sys_switch(&process->context, &sim.home); }

void process_counts(struct process *process) {
    if (process->dies_in == 0 || --process->dies_in > 0)
        return;
    struct sys_context nowhere = {0};
    process->state = PROCESS_KILLED;
    (void)sys_switch(&nowhere, &sim.home);
    abort();
}

struct process *process_start(uint32_t host, void (*run)(struct process *), void *of) {
    struct process *process = calloc(1, sizeof *process);
    sim.processes = realloc(sim.processes, (sim.process_count + 1) * sizeof(struct process *));
    if (!process || !sim.processes)
        abort();
    sim.processes[sim.process_count++] = process;
    process->number = sim.process_count;
    process->host = host;
    process->main = run;
    process->of = of;
    process->random = sim_random();
    process->began = sim.now;
    process->offset = (ac_time)sim_below(1000) * SIM_S;
    process->ppm = (int64_t)sim_below(401) - 200;
    process->cost = 50 + (ac_time)sim_below(200);
    process->wake_at = AC_FOREVER;
    list_init(&process->loops);
    list_init(&process->memory);
    process->stack = sys_stack_take(&sim.stacks, STACK_CLASS);
    if (!process->stack)
        abort();
    sys_stack_own(process->stack, NULL);
    sys_context_prepare(&process->context, process->stack, STACK_CLASS, run_process, process);
    net_host_up(host);
    sim_note("start", process->number, host, 0);
    process_wake(process, sim.now);
    return process;
}

void process_kill(struct process *process, bool power) {
    if (!process_lives(process))
        return;
    sim_note("kill", process->number, power, 0);
    process->state = PROCESS_KILLED;
    net_process_gone(process, power);
    driver_forget(process);
    wrap_forget_loops(process);
    wrap_forget(&process->memory);
    process->bytes = 0;
    bury(process);
}

void process_freeze(struct process *process) {
    if (process->state != PROCESS_RUNS)
        return;
    sim_note("freeze", process->number, 0, 0);
    process->state = PROCESS_FROZEN;
}

void process_continue(struct process *process) {
    if (process->state != PROCESS_FROZEN)
        return;
    sim_note("continue", process->number, 0, 0);
    process->state = PROCESS_RUNS;
    process->wake_at = AC_FOREVER; // what was to wake it may have passed
    process_wake(process, sim.now);
}
