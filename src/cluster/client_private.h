// SPDX-License-Identifier: MIT
// What the three files of the client share: a computation, its nodes, workers and jobs.
//
// All of it belongs to one loop and is touched between waits only. An *agent* is an internal
// coroutine that talks to one node or one worker, so that one that takes nothing in holds up nobody
// else. Agents own their records; whoever wants something of one changes the record and kicks the
// agent (an empty message). The computation is freed by its closer, after the last agent has ended.
#ifndef CLUSTER_CLIENT_PRIVATE_H
#define CLUSTER_CLIENT_PRIVATE_H

#include "cluster/cluster_private.h"

enum job_state {
    JOB_QUEUED,   // in computation.queue
    JOB_PLACED,   // in worker.outbox: to be sent by its agent
    JOB_SENT,     // the worker has it; in worker.jobs
    JOB_RECALLED, // the same, and was asked to give it back
    JOB_STARTED   // it runs; in worker.jobs
};

// One who waits in ac_run_at until its job has started.
struct run_wait {
    struct coro *coro;
    struct job *job; // NULL: it is over
    ac_ref result;
};

struct job {
    struct list link; // see enum job_state
    uint64_t id;      // unique in the computation
    int64_t number;   // for the owner; 0: run by ac_run_at
    const char *function;
    ac_value argument; // until it has started
    enum job_state state;
    struct worker_agent *worker; // NULL while it is queued
    struct run_wait *wait;       // NULL: nobody waits
    ac_ref coroutine;            // since it has started
    bool silent;                 // its owner does not know of it: no notice
    bool cancelled;              // is to end
    bool cancel_sent;            // the worker was told
    bool recall_sent;            // likewise
};

struct worker_agent {
    struct list link; // in computation.workers
    struct ac_computation *computation;
    struct node_agent *node; // NULL once that has ended
    struct coro *coro;
    ac_ref ref;         // of the worker
    int64_t number;     // on its node
    struct list outbox; // jobs to be sent
    struct list jobs;   // jobs sent
    uint32_t load;      // of both
    bool kicked;        // there is a kick in its mailbox
    bool ending;        // takes no more jobs
    bool lost;          // the monitor has told
    bool told;          // the node has told how it ended: `text`
    ac_time deadline;   // when an ending worker is given up
    char location[64];
    char node_name[64];
    ac_ref node_ref;
    char text[512];
};

struct node_agent {
    struct list link; // in computation.nodes
    struct ac_computation *computation;
    struct coro *coro;
    ac_ref holder;                // the daemon
    ac_ref host;                  // what it made for us
    struct cargo_sending sending; // while it is uploading
    bool uploading;
    bool ready; // its owner was told so
    bool over;
    bool closing;
    char location[64];
    char name[64];
};

struct ac_computation {
    struct list link; // in cluster.computations
    struct loop *loop;
    struct coro *owner; // NULL once it has ended
    struct end_watch owner_watch;
    struct coro *finder;
    struct coro *closer; // NULL until it is being closed
    struct coro *waiter; // in ac_computation_close; NULL: nobody
    ac_time deadline;    // of closing
    bool closed;         // everything has gone; kept for an owner that may still close it
    struct cargo cargo;
    bool many_jobs;
    uint32_t nodes_max;   // 0: all
    uint32_t workers_max; // 0: all
    uint32_t agents;      // coroutines of ours that live, but for the closer
    struct list nodes;
    struct list spare; // holders beyond nodes_max: struct spare
    struct list workers;
    struct list queue; // jobs that wait for a worker, the oldest first
    uint32_t queue_count;
    struct list submitters; // those who wait for room in the queue
    struct map jobs;        // by id
    uint64_t last_id;
    int64_t last_number;
    uint64_t key; // names it to nodes, for people
    char name[64];
};

// ---- client.c ----

// Gives a message to the owner; drops it if that has ended.
void computation_tell(struct ac_computation *computation, ac_value notice);
// An agent has ended, or the last job has.
void computation_changed(struct ac_computation *computation);
// Room in the queue: wakes those who wait for it.
void computation_has_room(struct ac_computation *computation);
// Starts a coroutine that counts as an agent. NULL if there is no memory.
struct coro *computation_spawn(struct ac_computation *computation, ac_function function,
                               void *argument, const char *name);

// ---- scheduler.c ----

// A worker is ready: makes its agent.
void scheduler_add_worker(struct node_agent *node, int64_t number, ac_ref worker);
// The node tells how a worker ended, or that itself has (number 0: all of this node).
void scheduler_worker_ended(struct node_agent *node, int64_t number, const char *text);
// A new job, queued or for one worker. Takes the argument. NULL if there is no memory.
struct job *scheduler_add_job(struct ac_computation *computation, struct worker_agent *worker,
                              const char *function, ac_value argument);
// Cancels a job wherever it is.
void scheduler_cancel(struct job *job);
// Cancels all jobs.
void scheduler_cancel_all(struct ac_computation *computation);
// Reports all jobs that are left as lost: their workers are about to be ended.
void scheduler_give_up(struct ac_computation *computation);
struct worker_agent *scheduler_find_worker(struct ac_computation *computation, ac_ref worker);
// Tells the agents of all workers to end.
void scheduler_end_workers(struct ac_computation *computation);

// ---- supply.c ----

// Finds nodes until it is cancelled: the coroutine `finder`.
ac_value supply_run_finder(ac_value argument);
// Tells the agents of all nodes to have their workers ended, and to end.
void supply_end_nodes(struct ac_computation *computation);
void supply_forget_spares(struct ac_computation *computation);

// False if there is nobody to kick or no memory.
static inline bool agent_kick(struct coro *coro) { return coro && mailbox_put(coro, ac_nil) == 0; }

#endif
