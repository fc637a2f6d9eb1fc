// SPDX-License-Identifier: MIT
// What the files of the client share: a computation and its jobs, as its owner sees them.
//
// All of it belongs to one loop and is touched between waits only. The *courier*, an internal
// coroutine, carries what the owner wants to the desk of the scheduler, and brings the news; the
// *supplier* has the program sent to the nodes that ask for it.
#ifndef CLUSTER_CLIENT_PRIVATE_H
#define CLUSTER_CLIENT_PRIVATE_H

#include "cluster/cluster_private.h"

struct scheduler;
struct chunk;

// Where what jobs write goes.
struct output {
    bool wanted;        // it comes to this process,
    bool here;          // to its standard error; else
    char *where;        // to a folder
    struct map nodes;   // their names, by the numbers of their processes
    struct map names;   // the same, by themselves: no two nodes have the same one
    struct map streams; // by worker
    struct list recent; // them; the one last that was written to last
};

// What cluster/ hangs on a loop.
struct cluster {
    struct list computations;
    struct scheduler *scheduler; // of this loop; NULL: not needed so far
};

// One who waits in ac_run_at until its job has started.
struct run_wait {
    struct coro *coro;
    struct ac_computation *computation;
    struct client_job *job; // NULL: it is over
    ac_ref result;
};

// A job that has not ended.
struct client_job {
    uint64_t number;
    ac_ref coroutine;      // since it has started
    struct run_wait *wait; // NULL: nobody waits
    bool silent;           // its owner does not know of it: no notice
    bool at;               // of ac_run_at: its notices carry the number 0
    bool unwanted;         // it was cancelled
    bool kept;             // this is the head of a struct kept_job
    struct chunk *chunk;   // of a mapping, which gets the result instead of the owner; NULL
};

// One that can be told again, to a scheduler that was lost and has come back.
struct kept_job {
    struct client_job job;
    uint32_t class;
    ac_value at; // the worker, or nil
    ac_value argument;
};

struct ac_computation {
    struct list link; // in cluster.computations
    struct loop *loop;
    struct coro *owner; // NULL once it has ended
    struct end_watch owner_watch;
    struct coro *courier; // NULL once it has ended
    struct coro *supplier;
    struct coro *closer; // NULL until it is being closed
    struct coro *waiter; // in ac_computation_close; NULL: nobody
    ac_time deadline;    // of closing
    bool closed;         // everything has gone; kept for an owner that may still close it
    bool kicked;         // there is a kick in the courier's mailbox
    bool broken;         // no memory for what is wanted
    struct cargo cargo;
    struct output output;
    struct list deliveries;    // of cargo, to nodes (supplier.c)
    uint8_t key[SECRET_BYTES]; // of what nodes say to the supplier
    ac_time wait_ns;           // after which nodes that wait for it are told so; 0: 30 seconds
    uint32_t helpers;          // coroutines of ours that live, but for the closer
    ac_value open;             // what the scheduler is told of it
    ac_value setup;            // and in that, of set-ups and clean-ups (setup.c)
    ac_time cleanup_ns;        // what the clean-ups may take when it is closed
    char where[300];           // a scheduler elsewhere, or "any"; "": that of this loop
    char why[512];             // what is in its way, for people; "": nothing so far
    ac_ref desk;               // none until it has said where it is
    bool desk_gone;            // it has ended, for good
    struct batch wants;        // for the desk
    struct list submitters;    // those who wait because too many jobs have not ended
    struct map jobs;           // struct client_job by number
    struct map classes;        // numbers of classes, from 1, by what their jobs have in common
    uint32_t class_count;
    const struct ac_job_entry *last_entry; // the class without options that was used last
    uint32_t last_class;
    struct map spots;     // of workers, by their references
    struct list mappings; // struct ac_mapping
    bool many_jobs;       // a worker runs many at once
    uint64_t last_number;

    // Of a scheduler elsewhere.
    bool answered;     // it has taken the computation
    bool has_token;    // and keeps a journal: it may come back if it is lost
    bool desk_lost;    // it is lost
    bool telling;      // it is sought again, or told again what there is
    bool leaving;      // the desk was told to end
    bool all_unwanted; // all jobs were cancelled
    uint8_t token[JOURNAL_TOKEN_BYTES];
    ac_time return_ns;         // how long it is sought when it is lost
    uint64_t taken;            // THING_DONE, of this desk
    uint64_t taken_told;       // of them, that it was told of
    struct batch kept_classes; // each THING_CLASS that was told, where jobs are kept

    char name[64];
};

// ---- client.c ----

// Gives a message to the owner; drops it if that has ended.
void computation_tell(struct ac_computation *computation, ac_value notice);
// A helper has ended, or the last job has.
void computation_changed(struct ac_computation *computation);
// Something was added to what is wanted.
void computation_wants(struct ac_computation *computation, int err);
#define computation_want(computation, thing, ...)                                                  \
    computation_wants((computation), batch_add(&(computation)->wants, (thing), __VA_ARGS__))

// A coroutine for the computation, which says when it ends. NULL: no memory.
struct coro *computation_helper(struct ac_computation *computation, ac_function function,
                                void *argument, const char *name);
void computation_helper_ended(struct ac_computation *computation);
// Where a worker is: node and location of the status.
void spot_describe(const struct ac_computation *computation, ac_ref worker,
                   struct ac_status *status);

// Whether its jobs are kept, so that they can be told again.
static inline bool computation_keeps(const struct ac_computation *it) {
    return it->has_token || (it->where[0] && !it->answered);
}

// ---- output.c ----

// Before anything else.
void output_init(struct output *output);
// `where` as of ac_computation_options. 0; -EINVAL, -ENOMEM, or what a folder
// there cannot be made for. To be closed in any case.
int output_open(struct output *output, const char *where);
// What a worker has written, as a node tells: the message is specified at the head of host.c.
void output_take(struct output *output, ac_value message);
void output_close(struct output *output);

// ---- supplier.c ----

ac_value supplier_run(ac_value computation);
// The computation is being closed: none of them waits any longer for a node to take something in.
void supplier_end_deliveries(struct ac_computation *computation);

// ---- contact.c ----

// Chooses where the scheduler is. 0; -EINVAL.
int contact_choose(struct ac_computation *computation,
                   const struct ac_computation_options *options);
// Has the scheduler of this loop look for nodes, if it is the one, so that they answer while the
// program is read. Can wait for a turn of the loop. 0; -ENOMEM.
int contact_begin(struct cluster *cluster, struct ac_computation *computation);
// Opens the computation at the scheduler of this loop, or prepares what another one will be told.
int contact_open(struct cluster *cluster, struct ac_computation *computation,
                 const struct ac_computation_options *options);
// In the courier: waits until a scheduler elsewhere has opened it. 0 and computation->desk; or an
// error: it has refused, or nobody will be found, and computation->why says why.
int contact_reach(struct ac_computation *computation);
// The same once that one, which has given a token, was lost: it is sought again, until its time is
// over.
int contact_return(struct ac_computation *computation);
// Tells the owner that a scheduler elsewhere is gone, unless that is closing.
void contact_lost(struct ac_computation *computation);

// ---- job.c ----

// What the scheduler tells.
void job_started(struct ac_computation *computation, const ac_value *items);
void job_done(struct ac_computation *computation, const ac_value *items);
// All that are left end so.
void job_end_all(struct ac_computation *computation, enum ac_end how, int err, const char *why);
// Waits until another job may be submitted. 0; -ETIMEDOUT; or another error.
int job_wait_for_room(struct ac_computation *computation, ac_time deadline);
// The class of jobs that are chunks of a mapping of a function, run by an entry of ours. As
// ac_submit.
int job_class_of_chunks(struct ac_computation *computation, const struct ac_job_entry *entry,
                        const struct ac_job_entry *mapped, const struct ac_job_options *options,
                        uint32_t *class);
// Takes the argument. NULL: no memory.
struct client_job *job_submit_chunk(struct ac_computation *computation, uint32_t class,
                                    ac_value argument, struct chunk *chunk);
// Nobody wants to know of the job any more: it is cancelled in silence.
void job_give_up(struct ac_computation *computation, struct client_job *job);
// Those who wait to submit something get this.
void job_end_waits(struct ac_computation *computation, int err);
// The scheduler keeps no journal: nothing need be kept for it.
void job_keep_none(struct ac_computation *computation);
// In the courier: tells a scheduler that has come back all that it needs. 0 or an error of ac_send.
int job_tell_again(struct ac_computation *computation);
void job_free_all(struct ac_computation *computation);

// ---- mapping.c ----

// The job of a chunk has ended. Does not take the value of the exit.
void mapping_chunk_ended(struct chunk *chunk, const struct ac_exit *exit, double seconds);
void mapping_close_all(struct ac_computation *computation);

#endif
