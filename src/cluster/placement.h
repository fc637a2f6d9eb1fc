// SPDX-License-Identifier: MIT
// Placement: which job runs at which worker and when, what becomes of it when somebody is lost, and
// why it waits. Decisions and plain data: no coroutine, no message, no clock but the time that it
// is told. The scheduler around it turns what arrives into calls, and what placement wants, told
// through a door, into messages.
//
//      computation --- classes --- jobs, queued by class, the oldest first
//           |                        |
//        workers ----------------- flights: a job that was given to a worker
//           |
//         nodes (shared by all computations)
//
// A *class* is what jobs have in common: function, requirements, limits. Jobs have numbers, given
// by the client, increasing. A *flight* is one attempt of a job at a worker, named by (job,
// attempt); a late report of an attempt that was given up matches no flight and changes nothing, so
// that each job ends once.
//
//      QUEUED --placed--> flight SENT --begun--> STARTED --ended--> reported, forgotten
//        ^                  |   |                   |
//        |        recalled, |   | worker lost       | worker lost, and it may run again
//        +------------------+---+-------------------+
//
// How much is given to a worker ahead: the jobs that keep it busy for four round trips or 2 ms,
// whichever is longer, by the mean time of their class; nothing while that is unknown, or where it
// is a hundred round trips. What a worker has not begun is called back when another one idles; so a
// slow worker holds up little (facts-cluster.md §5.4 has the simulation).
//
// Fairness: processors of a node are held by the workers that have jobs there. Where they do not
// suffice, a computation whose share (processors held, by weight) is larger than another's that
// waits gets no new ones until its jobs at a worker have ended.
//
// All objects belong to the placement; who calls keeps what it wants in their `user` fields. Of the
// same loop only.
#ifndef CLUSTER_PLACEMENT_H
#define CLUSTER_PLACEMENT_H

#include "value/value.h"

struct placement;
struct place_computation;
struct place_class;
struct place_node;
struct place_worker;
struct job;

enum {
    PLACE_TEXT_BYTES = 256, // of a reason
    PLACE_TAGS_BYTES = 256, // of the tags of a node, or of those that a class wants
    PLACE_NAME_BYTES = 64,
    PLACE_CLASSES_MAX = 4096, // of one computation
    PLACE_GAP_MAX = 1 << 20,  // numbers that may be left out between two jobs
    PLACE_STARTS_LOST_MAX = 250
};

// What jobs ask of a node, and have in common. Zero is the default everywhere.
struct place_needs {
    uint32_t function;           // of the caller's choice
    uint32_t cpus;               // processors that it computes with; 0: one, or none where a worker
                                 // runs many jobs at once
    uint64_t memory;             // bytes
    char tags[PLACE_TAGS_BYTES]; // "gpu disk=fast": each word must be among the node's; ""
    char node[PLACE_NAME_BYTES]; // a name or pattern with * and ?; "": any
    char architecture[16];       // "x86_64"; "": any that runs the program
    uint8_t retries;             // how often it may be run again after an attempt that had begun
    bool copies;                 // may run at two places at once, when others idle
    bool wait_for_nodes;         // does not fail when no node fits
    double seconds_max;          // it may take; 0: any time
};

struct place_facts { // of a node
    char name[PLACE_NAME_BYTES];
    char architecture[16];
    char tags[PLACE_TAGS_BYTES];
    uint32_t cpus;
    uint64_t memory; // 0: unknown, and then no limit
};

// How a job that never ran to its end is reported, or a worker that is to go.
enum place_end { PLACE_CANCELLED, PLACE_FAILED, PLACE_LOST };

// What placement has done by others. None of these may call placement; none waits or fails.
struct place_door {
    // Have the worker run it. Its argument stays the job's.
    void (*run)(void *up, struct place_worker *worker, struct job *job, uint32_t attempt);
    // Ask it back, or to end; the worker answers by an end or by giving it back.
    void (*recall)(void *up, struct place_worker *worker, uint64_t number, uint32_t attempt);
    void (*cancel)(void *up, struct place_worker *worker, uint64_t number, uint32_t attempt);
    // End the worker by force: then call placement_remove_worker. `number`: for whose sake.
    void (*kill)(void *up, struct place_worker *worker, uint64_t number, const char *why);
    // An attempt is over, and the job goes on without it. `counts`: it had begun, which is one lost
    // start.
    void (*over)(void *up, struct place_computation *computation, uint64_t number, uint32_t attempt,
                 bool counts);
    // The job has ended without an end of its own; it is forgotten after this. `worker` NULL: it
    // was at none.
    void (*report)(void *up, struct place_computation *computation, uint64_t number,
                   enum place_end how, int err, const char *why);
    // Something that the client is told unasked: why jobs of a class wait.
    void (*hint)(void *up, struct place_computation *computation, const char *why);
};

// NULL: no memory.
struct placement *placement_create(const struct place_door *door, void *up);
void placement_destroy(struct placement *placement);

// ---- computations ----

struct place_options {
    void *user;
    uint32_t weight;    // of its share where several want the same processors; 0: 1
    bool many_jobs;     // a worker runs many jobs at once; they take no processor
    uint64_t cancel_ns; // what a cancelled job may take before its worker is ended; 0: 2 s
    uint64_t gap_max;   // 0: PLACE_GAP_MAX
};

struct place_computation *placement_open(struct placement *placement,
                                         const struct place_options *options);
// Forgets it, its workers and its jobs, which are reported no more.
void placement_close(struct place_computation *computation);
void *placement_user(const struct place_computation *computation);
// How many nodes its client has disabled, for who asks why jobs wait.
void placement_set_disabled(struct place_computation *computation, uint32_t nodes);
// How many nodes and workers are still being made ready: meanwhile no class is given up.
void placement_set_pending(struct place_computation *computation, uint32_t nodes, uint32_t workers);
// No worker of the computation will be on that node, and why says why; NULL: that is no longer so.
// Jobs that only it fits are given up, as those that fit no node.
void placement_keep_out(struct place_computation *computation, struct place_node *node,
                        const char *why);
// Jobs that have not ended; of these, that wait for a worker.
uint64_t placement_jobs(const struct place_computation *computation);
uint64_t placement_waiting(const struct place_computation *computation);
// How many have begun at workers; what runs at two counts twice.
uint64_t placement_running(const struct place_computation *computation);

// ---- nodes and workers ----

// `user` of both is set by the caller.
struct place_node *placement_add_node(struct placement *placement, void *user,
                                      const struct place_facts *facts, ac_time now);
// Workers that it had must have been removed.
void placement_remove_node(struct place_node *node);
// A node or worker that is not enabled is given no more jobs, and asked for those not begun.
void placement_enable_node(struct place_node *node, bool enabled);
void *placement_node_user(const struct place_node *node);
const struct place_facts *placement_facts(const struct place_node *node);

#define PLACE_NOT_KNOWN UINT64_MAX
struct place_worker *placement_add_worker(struct place_computation *computation,
                                          struct place_node *node, void *user);
void placement_enable_worker(struct place_worker *worker, bool enabled);
// The same for as long as its client wants it, who is told so when jobs wait for it.
void placement_suspend_worker(struct place_worker *worker, bool suspended);
// It is gone, why says how. Jobs that had not begun there wait again, at no cost; of those that
// had, or may have, the ones that may run again do, the others are reported lost. If it was ended
// for the sake of one job (door.kill), the other ones are run again. `begun`: how many of the jobs
// that it was given (door.run) it has come to; PLACE_NOT_KNOWN: perhaps all, because what it has
// told last may not have arrived.
void placement_remove_worker(struct place_worker *worker, uint64_t begun, const char *why);
// A worker *awaited*: its scheduler was ended and started again, and has not heard of it yet. It is
// on no node, and given nothing. It is told by placement_settle_worker that it has come back, or by
// placement_remove_worker that it does not, and how many of its jobs it had begun. NULL: no memory.
struct place_worker *placement_await_worker(struct place_computation *computation, void *user);
bool placement_is_awaited(const struct place_worker *worker);
// What it was given: a job that is there, this attempt, as its `place`-th. A job that waits does so
// no more. `pinned`: it runs there or nowhere. 0; -ESRCH if there is no such job; -EINVAL if it is
// at a worker as that attempt, or the place is 0; -ENOMEM.
int placement_restore_flight(struct place_worker *worker, uint64_t number, uint32_t attempt,
                             uint64_t place, bool pinned);
// An awaited worker says that it has that job, and has not begun it.
void placement_has(struct place_worker *worker, uint64_t number, uint32_t attempt);
// Before placement_ended: an attempt was cancelled. Where it was given by a scheduler that is lost,
// and its client does not want that, it was a copy, or had taken too long for that one. True: it is
// over, and the job is not.
bool placement_was_cancelled(struct place_worker *worker, uint64_t number, uint32_t attempt);
// An awaited worker has told all that it has, has begun and has ended, and is there: `given` jobs
// have arrived there, ever. Those that it did not tell of wait again.
void placement_settle_worker(struct place_worker *worker, struct place_node *node, void *user,
                             uint64_t given, ac_time now);
// What a message to it and back takes.
void placement_set_round_trip(struct place_worker *worker, uint64_t ns);
void *placement_worker_user(const struct place_worker *worker);
uint32_t placement_load(const struct place_worker *worker);
// How many jobs it was given, ever; within door.run the place of this one among them.
uint64_t placement_given(const struct place_worker *worker);

// ---- jobs ----

// A class of the computation, to be named by its number from 0 in the order of these calls. -E2BIG,
// -ENOMEM.
int placement_add_class(struct place_computation *computation, const struct place_needs *needs,
                        ac_time now);
// A job. `number` is above that of all before it, by gap_max at the most. Takes the argument.
// With a worker it runs there or nowhere: when that is gone it is reported lost. 0; -EINVAL for a
// number or class that is none; -ENOMEM.
int placement_submit(struct place_computation *computation, uint64_t number, uint32_t class_number,
                     struct place_worker *at, ac_value argument);
// The same for a job of which so many attempts were made before, so many of which had begun and
// were lost. 1: it may not run again, because those are more than its retries; the caller reports
// it, and its number counts as one before those that follow.
int placement_restore(struct place_computation *computation, uint64_t number, uint32_t class_number,
                      uint32_t attempts, uint8_t starts_lost, ac_value argument);
// A job that the caller has refused: its number counts as one before those that follow. 0; -EINVAL.
int placement_skip(struct place_computation *computation, uint64_t number);
// Cancels it: reported at once if it waits; else the worker is asked, and ended when it does not
// answer in time. Harmless when there is none.
void placement_cancel(struct place_computation *computation, uint64_t number, ac_time now);
void placement_cancel_all(struct place_computation *computation, ac_time now);

// What is told of a job to who lists them.
struct place_view {
    uint64_t number;
    uint32_t function;
    uint32_t attempts;             // so far, with the one that runs
    const struct place_worker *at; // NULL: it waits
    bool begun;                    // there
    ac_time since;                 // it waits, was given to that worker, or has begun there
};
// The first job that has not ended, from that number on. False if there is none.
bool placement_view(const struct place_computation *computation, uint64_t from,
                    struct place_view *view);

ac_value placement_argument(const struct job *job); // not to be dropped
uint64_t placement_number(const struct job *job);
// It had begun at a worker that was lost: it may be what ended that.
bool placement_is_suspect(const struct job *job);
uint32_t placement_function(const struct job *job);
uint32_t placement_class(const struct job *job);

// What the worker tells of an attempt: that it is about to run, has ended, or was given back. They
// return whether it is one that still counts; then the caller reports it. `ns`: how long it took.
bool placement_begun(struct place_worker *worker, uint64_t number, uint32_t attempt, ac_time now,
                     uint32_t *class_number);
bool placement_ended(struct place_worker *worker, uint64_t number, uint32_t attempt, uint64_t ns,
                     ac_time now);
bool placement_given_back(struct place_worker *worker, uint64_t number, uint32_t attempt);

// ---- time ----

// What time it is, for calls that are not told.
void placement_tell_time(struct placement *placement, ac_time now);
// Places what can be placed and sees to what is due. To be called after each round of the calls
// above. Returns when it wants to be called again though nothing has happened.
ac_time placement_turn(struct placement *placement, ac_time now);

// Why a job waits, or where it is, as a sentence. False if there is no such job.
bool placement_why(const struct place_computation *computation, uint64_t number, ac_time now,
                   char text[PLACE_TEXT_BYTES]);

#endif
