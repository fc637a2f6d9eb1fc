// SPDX-License-Identifier: MIT
// What placement.c and choose.c share.
#ifndef CLUSTER_PLACEMENT_PRIVATE_H
#define CLUSTER_PLACEMENT_PRIVATE_H

#include "cluster/placement.h"

enum {
    PAGE_JOBS = 1024,
    SETTLE_NS = 1000 * 1000 * 1000, // after the first node the others have come that will soon
    ROUND_TRIP_NS = 200 * 1000,     // while it is not known
    AHEAD_NS = 2 * 1000 * 1000,     // how much work is given ahead
    AHEAD_ROUND_TRIPS = 4,          // or for how many round trips
    AHEAD_MAX = 4096,               // jobs
    AHEAD_LEAST = 2,                // jobs, but where they are long or nothing is known of them
    LONG_ROUND_TRIPS = 100,         // is what a job takes that is long
    AHEAD_MANY = 10000              // jobs at once in a worker that runs many
};

// How long jobs of a class wait without a fitting node until the client is told.
#define HINT_NS (3 * 1000 * 1000 * 1000ll)

struct page {
    struct job *jobs[PAGE_JOBS];
    uint32_t living; // of them
};

struct place_node {
    struct list link; // in placement.nodes
    struct placement *placement;
    void *user;
    struct place_facts facts;
    bool enabled;
    uint32_t cpus_held;
    uint64_t memory_held;
};

struct placement {
    const struct place_door *door;
    void *up;
    struct list computations;
    struct list nodes;
    uint32_t node_count;
    struct place_node nowhere; // of the workers that are awaited; takes no jobs
    ac_time now;               // when it was last told
    ac_time settled;           // from when on a class that fits no node is given up
    struct flight *free_flights;
};

struct place_computation {
    struct list link; // in placement.computations
    struct placement *placement;
    void *user;
    uint32_t weight;
    bool many_jobs;
    bool limited; // there are classes with a limit of time
    uint64_t cancel_ns;
    struct place_class **classes;
    uint32_t class_count;
    struct list queued;  // classes of which jobs wait
    struct list workers; // all
    struct list idle;    // workers that have nothing to do and may be given something
    struct list roomy;   // that have something, and may be given more; who was given last is last
    struct list cancelling; // flights that were asked to end, the earliest first
    struct page **pages;    // jobs by number
    uint64_t page_count;
    uint64_t last_number;
    uint64_t gap_max;
    uint64_t job_count;
    uint64_t waiting;                        // of them
    uint32_t cpus_held;                      // by its workers
    uint32_t disabled;                       // nodes, by its client
    uint32_t pending_nodes, pending_workers; // that are being made ready
    struct list outs;                        // struct place_out
};

// A node that is none for a computation.
struct place_out {
    struct list link; // in computation.outs
    const struct place_node *node;
    char why[PLACE_TEXT_BYTES];
};

struct place_class {
    struct list link; // in computation.queued, while jobs of it wait
    struct place_computation *computation;
    uint32_t number;
    uint32_t cpus; // that one of its jobs computes with
    struct place_needs needs;
    uint64_t limit_ns; // 0: none
    struct list queue; // jobs that wait
    uint64_t queued;   // how many
    struct list timed; // flights that may run too long, the earliest first
    uint64_t ended;
    double mean_ns;      // of those that have ended, lately
    ac_time unfit_since; // no node fits; 0: one does
    bool hinted;         // the client was told
    char late_text[80];
};

struct place_worker {
    struct list link; // in computation.workers
    struct list room; // in computation.idle or .roomy
    struct place_computation *computation;
    struct place_node *node;
    void *user;
    struct list flights; // in the order in which they were sent
    uint64_t given;      // jobs, ever
    uint32_t load;       // flights
    uint32_t unbegun;    // of them
    uint32_t recalled;   // of them, that were asked back and have not answered
    uint32_t cpus;       // held of the node
    uint64_t memory;     // likewise
    uint64_t round_trip_ns;
    bool enabled;
    bool suspended; // by its client
    bool killing;   // it is to be ended by force
};

// One job: with its argument what a job that waits costs.
struct job {
    struct list link; // in class.queue while it waits
    struct place_class *class;
    struct flight *flight; // where it is; more than one by flight.other
    ac_value argument;
    uint64_t number;
    ac_time since; // it is in the queue
    uint32_t attempts;
    uint8_t starts_lost; // attempts that had begun and were lost
    bool cancelled;
    bool pinned; // to one worker
    bool done;   // its client knows; copies of it have still to end
};

struct flight {
    struct list link;  // in worker.flights
    struct list timed; // in class.timed or computation.cancelling
    struct job *job;
    struct place_worker *worker;
    struct flight *other; // of the same job; or the next free one
    uint64_t number;      // among all that its worker was given, from 1
    ac_time since;        // begun; until then, given to its worker
    ac_time until;        // asked to end, and given up then
    uint32_t attempt;
    bool begun;
    bool restored; // a scheduler that is lost gave it to its worker
    bool known;    // and that has told that it has it
    bool recalled;
    bool asked;   // to end
    bool late;    // because it has run too long
    bool culprit; // its worker is ended for it
};

// Whether it takes jobs at all.
static inline bool is_open(const struct place_worker *worker) {
    return worker->enabled && worker->node->enabled && !worker->suspended;
}

static inline ac_time earlier(ac_time a, ac_time b) { return a < b ? a : b; }

// ---- placement.c ----

// The record that says that a node is kept out; NULL. Without a node: any.
struct place_out *placement_out(const struct place_computation *computation,
                                const struct place_node *node);
struct job *placement_find(const struct place_computation *computation, uint64_t number);
void placement_queue_first(struct job *job);
void placement_unqueue(struct job *job);
// Gives a job that is in no queue to the worker. False: no memory.
bool placement_fly(struct job *job, struct place_worker *worker);
// Asks back so many of the flights that have not begun, the latest first.
void placement_recall(struct place_worker *worker, uint32_t count);
// The job ends without an end of its own.
void placement_report(struct job *job, enum place_end how, int err, const char *why);

// ---- choose.c ----

// Places what can be placed. Returns when to look again.
ac_time place_all(struct placement *placement, ac_time now);

#endif
