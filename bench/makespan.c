// SPDX-License-Identifier: MIT
// A figure of placement alone, the part of the scheduler that decides, with a clock and workers
// that are played here: how long equal jobs take with one worker of many ten times slower than the
// others, over the time if each had its due share.
#include "measure.h"

#include "cluster/placement.h"

enum { WORKERS = 16, SLOW = 3, SLOWNESS = 10, JOBS = 1000, HAND = 4200, JOB_NS = 100 * 1000 };

// A worker: what it was given, in that order; the first of it runs.
static struct player {
    struct place_worker *worker;
    ac_time job_ns;
    ac_time until; // when the first one ends
    bool runs;
    int count;
    struct hand {
        uint64_t number;
        uint32_t attempt;
        bool asked; // to give it back
    } hand[HAND];
} players[WORKERS];

static void must(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static void door_run(void *up, struct place_worker *worker, struct job *job, uint32_t attempt) {
    struct player *it = placement_worker_user(worker);
    (void)up;
    must(it->count < HAND, "placement keeps to its limit, which");
    it->hand[it->count++] = (struct hand){.number = placement_number(job), .attempt = attempt};
}

static void door_recall(void *up, struct place_worker *worker, uint64_t number, uint32_t attempt) {
    struct player *it = placement_worker_user(worker);
    (void)up;
    for (int i = it->runs; i < it->count; i++)
        if (it->hand[i].number == number && it->hand[i].attempt == attempt)
            it->hand[i].asked = true;
}

static void door_cancel(void *up, struct place_worker *worker, uint64_t number, uint32_t attempt) {
    (void)up, (void)worker, (void)number, (void)attempt;
    must(false, "nothing is cancelled, which");
}

static void door_kill(void *up, struct place_worker *worker, uint64_t number, const char *why) {
    (void)up, (void)worker, (void)number;
    must(false, why);
}

static void door_report(void *up, struct place_computation *computation, uint64_t number,
                        enum place_end how, int err, const char *why) {
    (void)up, (void)computation, (void)number, (void)how, (void)err;
    must(false, why);
}

static void door_over(void *up, struct place_computation *it, uint64_t number, uint32_t attempt,
                      bool counts) {
    (void)up, (void)it, (void)number, (void)attempt, (void)counts;
}

static void door_hint(void *up, struct place_computation *computation, const char *why) {
    (void)up, (void)computation, (void)why;
}

static struct hand take(struct player *it, int at) {
    struct hand hand = it->hand[at];
    it->count--;
    memmove(&it->hand[at], &it->hand[at + 1], (size_t)(it->count - at) * sizeof hand);
    it->runs = it->runs && at > 0;
    return hand;
}

static uint64_t done;

// What a worker does at a time. True if that was anything.
static bool play(struct player *it, ac_time now) {
    bool changed = false;
    for (int i = it->count - 1; i >= 0; i--)
        if (it->hand[i].asked) {
            struct hand hand = take(it, i);
            (void)placement_given_back(it->worker, hand.number, hand.attempt);
            changed = true;
        }
    if (it->runs && it->until <= now) {
        struct hand hand = take(it, 0);
        changed = true;
        done += placement_ended(it->worker, hand.number, hand.attempt, (uint64_t)it->job_ns, now);
    }
    if (!it->runs && it->count > 0) {
        uint32_t class_number;
        changed = it->runs = true;
        it->until = now + it->job_ns;
        (void)placement_begun(it->worker, it->hand[0].number, it->hand[0].attempt, now,
                              &class_number);
    }
    return changed;
}

static ac_time earliest(ac_time next) {
    for (int i = 0; i < WORKERS; i++)
        if (players[i].runs && players[i].until < next)
            next = players[i].until;
    return next;
}

static double makespan_slow(void) {
    static const struct place_door door = {.run = door_run,
                                           .recall = door_recall,
                                           .cancel = door_cancel,
                                           .kill = door_kill,
                                           .over = door_over,
                                           .report = door_report,
                                           .hint = door_hint};
    const ac_time start = 1000 * 1000 * 1000;
    ac_time now = start;
    struct placement *placement = placement_create(&door, NULL);
    struct place_computation *it = placement_open(placement, &(struct place_options){0});
    struct place_facts facts = {
        .name = "node", .architecture = "x86_64", .cpus = WORKERS, .memory = 1 << 30};
    struct place_node *node = placement_add_node(placement, NULL, &facts, now);
    for (int i = 0; i < WORKERS; i++) {
        players[i].job_ns = i == SLOW ? JOB_NS * SLOWNESS : JOB_NS;
        players[i].worker = placement_add_worker(it, node, &players[i]);
    }
    int class_number = placement_add_class(it, &(struct place_needs){0}, now);
    must(class_number >= 0, "placement_add_class");
    for (uint64_t i = 1; i <= JOBS; i++)
        must(placement_submit(it, i, (uint32_t)class_number, NULL, ac_nil) == 0,
             "placement_submit");
    while (done < JOBS) {
        ac_time next = placement_turn(placement, now);
        bool changed = false;
        for (int i = 0; i < WORKERS; i++)
            changed |= play(&players[i], now);
        if (!changed && done < JOBS)
            now = earliest(next);
    }
    // All but the slow one do a job in JOB_NS.
    double ideal = (double)JOB_NS * JOBS / (WORKERS - 1 + 1.0 / SLOWNESS);
    return (double)(now - start) / ideal;
}

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"makespan-slow", NULL, NULL, makespan_slow},
        {NULL, NULL, NULL, NULL},
    };
    return measure_main(argc, argv, figures);
}
