// SPDX-License-Identifier: MIT
// The scheduler: takes computations of clients, has nodes run their programs, and gives jobs to the
// workers. It lives on a loop, in a client or in a process of its own, and is made of
//
//      finder         a coroutine: knows the nodes                       supply.c
//      placer         a coroutine: lets placement.c decide, once for all
//                     that happened while others ran                    scheduler.c
//      desks          one a computation: a coroutine that talks to its
//                     client, and what belongs to the computation       desk.c
//      site agents    one for each computation and node                  supply.c
//      worker agents  one for each worker                                agent.c
//
// and, where it keeps a journal, what the desks do for its sake             restore.c,
// so that whoever takes nothing in holds up nobody else. Each owns its record; whoever wants
// something of one changes the record and kicks it (an empty message).
#ifndef CLUSTER_SCHEDULER_H
#define CLUSTER_SCHEDULER_H

#include "cluster/cluster_private.h"
#include "cluster/journal.h"
#include "cluster/placement.h"

enum { JOB_ENDS = AC_LOST + 1 };

// What a client may want of a place.
enum steer { STEER_SUSPEND, STEER_RESUME, STEER_DISABLE, STEER_ENABLE, STEERS };

// What a computation wants to have run beside jobs (setup.c).
struct setup {
    ac_value told;                      // by the client, which holds the texts; nil: nothing
    const char *functions[PLACE_CALLS]; // NULL or "": none
    ac_value argument;
    ac_time setup_ns;   // that each set-up may take; 0: any time
    ac_time cleanup_ns; // each clean-up
    uint32_t workers;   // that are being set up, or wait for the set-up of their node
};

// The set-up of a node.
enum setup_state { SETUP_WAITS, SETUP_RUNS, SETUP_DONE };

// A node, for all computations.
struct site {
    struct list link;         // in scheduler.sites
    ac_ref holder;            // the daemon
    struct place_node *place; // NULL until it has told what it has
    uint32_t users;           // the list of the scheduler, and agents; freed with the last of them
    char location[64];
};

struct scheduler {
    struct loop *loop;
    struct placement *placement;
    struct coro *placer;
    struct coro *finder;
    bool kicked;  // the placer runs soon
    bool hurries; // it stops, and its desks are to wait for no clean-up
    bool shared;  // by clients in other processes: what comes for a desk is taken of those alone
                  // that may ship code
    struct list desks;
    struct list sites;
    uint32_t desk_count;
    uint64_t last_number;     // of a desk
    uint64_t ended[JOB_ENDS]; // jobs of desks that have gone, by how they ended
    struct coro *keeper;      // gets an empty message when a desk has gone; NULL: nobody

    struct journal *journal; // of whoever made it; NULL: none, and so in all desks
    ac_time return_ns;       // with one: how long clients and nodes wait for another scheduler
};

// Jobs of which the client was told that they have ended, in that order, until it has said that it
// knows.
struct ends {
    uint64_t *numbers;
    size_t first, count, capacity;
    uint64_t taken; // how many the client has said it knows, ever
};

// One computation.
struct desk {
    struct list link; // in scheduler.desks
    struct scheduler *scheduler;
    struct place_computation *place;
    struct coro *coro; // NULL once it has ended
    uint64_t number;   // among the desks of this scheduler, from 1
    bool kicked;       // there is a kick in its mailbox
    bool broken;       // no memory for what it has to tell: it ends, and the client learns that
    bool closing;      // its client has said so, or is gone;
    bool deserted;     // it is gone, or was lost: who finds us again hears nothing from this desk
    ac_ref courier;    // of the client
    ac_ref supplier;   // of the client: has the program
    uint8_t key[SECRET_BYTES]; // and hears who has a secret that is made from this
    struct sys_address client; // where it listens
    struct batch news;         // for the courier
    ac_time since;             // it is open
    uint64_t ended[JOB_ENDS];  // jobs, by how they ended
    ac_value cargo;            // what it brings with it, as nodes are told
    struct setup setup;
    bool many_jobs;
    uint32_t nodes_max;   // 0: all
    uint32_t workers_max; // of a node; 0: all
    char **functions;     // by the `function` of a class
    bool *quiet;          // by class: the client does not want to hear that its jobs begin
    uint32_t function_count;
    struct map asked;     // holders of sites that have or had an agent here
    struct map disabled;  // of these, that the client does not want, now or so far
    bool nodes_disabled;  // those that are found are
    struct list agents;   // of sites: struct site_agent
    struct list workers;  // struct worker_agent
    uint32_t agent_count; // coroutines of both

    struct journal_computation *record; // what the journal has of it; NULL: no journal
    bool restoring;                     // its client tells again what it has; no node serves it yet
    uint64_t restored;                  // jobs that were told so
    struct ends ends;                   // only with a record
    struct list awaited;                // struct awaited
    ac_time awaits_until;               // those of nodes that have not come back
    struct map
        returned; // peers of nodes that were asked for what they have kept, if it is restored

    char name[64];
};

enum { SITE_WORKERS_MAX = 2 * WORKERS_MAX }; // agents of workers of one computation at one node

// A worker that the lost scheduler had given jobs, and that has not been heard of since.
struct awaited {
    struct list link; // in desk.awaited
    struct journal_worker *record;
    struct place_worker *place;
    bool kept; // its node has said that it has it
};

struct site_agent {
    struct list link; // in desk.agents
    struct desk *desk;
    struct site *site;
    struct coro *coro;
    ac_ref host;           // what the node made for us
    bool ready;            // the client was told so
    bool over;             // refused or gone
    bool draining;         // the node takes no jobs any more
    bool suspended;        // the client wants none of its workers to be given jobs
    bool disabled;         // likewise, and that they end
    bool leaving;          // the node was told to end them
    bool closed;           // it has ended in order
    uint32_t worker_count; // agents of its workers
    enum setup_state setup;
    struct map unheard;       // numbers of workers that were kept for us, and have not told so far
    enum place_call cleaning; // the clean-up that runs; PLACE_CALLS: all have
    ac_time cleaning_until;   // and until when
    char name[64];
    char why[PLACE_TEXT_BYTES]; // it was refused; "": it was not
};

struct worker_agent {
    struct list link; // in desk.workers
    struct desk *desk;
    struct site *at;         // where it is
    struct site_agent *site; // of this computation; NULL once that has ended
    struct place_worker *place;
    struct coro *coro;
    ac_ref ref;       // of the worker
    ac_ref host;      // that has started it
    int64_t number;   // on its node
    struct batch out; // for the worker
    bool kicked;
    bool suspended;       // by the client
    bool broken;          // no memory for what the worker is to be told
    bool ending;          // takes no more jobs
    bool lost;            // the monitor has told
    bool told;            // the node has told how it ended: `text`,
    uint64_t begun;       // and how many of its jobs it had come to; PLACE_NOT_KNOWN
    bool closed;          // it was asked to
    bool doom;            // the node is to end it by force,
    bool doomed;          // and was asked to
    ac_time deadline;     // when an ending worker is given up
    enum place_call call; // what it runs beside jobs
    bool call_due;        // it has still to be told so
    bool is_set_up;
    bool told_all;   // it has said what it has: where there is a journal
    uint64_t given;  // and that so many jobs were given to it before,
    uint32_t called; // and which enum place_call have run in it: bits

    struct journal_worker *record; // NULL: no journal, or it was given nothing so far
    uint64_t tells;                // with a journal: how many it has told,
    uint64_t mark_tells;           // so many of them had come when the client was told of
    uint64_t mark_ends;            // so many ends; once it knows of these,
    uint64_t taken;                // the worker need not keep so many tells,
    uint64_t taken_told;           // and was told so

    char location[64];
    char node_name[64];
    ac_ref node_ref;
    char why[320]; // what came of set-up or clean-up, if that is not as it should be; ""
    char text[512];
};

// ---- scheduler.c ----

// NULL: no memory.
struct scheduler *scheduler_create(struct loop *loop);
// Something has changed that placement should see.
void scheduler_changed(struct scheduler *scheduler);
// The loop stops: ends what the scheduler runs for itself.
void scheduler_stop(struct scheduler *scheduler);
void scheduler_free(struct scheduler *scheduler);
// An internal coroutine, daemon, with a stack that our messages fit on. NULL: no memory.
struct coro *cluster_spawn(struct loop *loop, ac_function function, void *argument,
                           const char *name);

// ---- desk.c ----

// Opens a computation, as the message says, and tells which its desk is (`desk` may be NULL). 0; or
// an error: -ESRCH, it has a token that the journal does not know, or whose computation has a desk.
int desk_open(struct scheduler *scheduler, ac_value open, struct desk **desk);
// Adds news for the client.
#define desk_tell(desk, thing, ...)                                                                \
    desk_told((desk), batch_add(&(desk)->news, (thing), __VA_ARGS__))
void desk_told(struct desk *desk, int err);
// Tells that a job has ended, and counts it. Takes the value.
void desk_tell_end(struct desk *desk, uint64_t number, enum ac_end how, int err, ac_value value,
                   ac_ref worker, double seconds);
void desk_status(struct desk *desk, const struct ac_status *status, const char *address);
// What closing it may take: more than the limits of its clean-ups.
ac_time desk_closing_ns(const struct desk *desk);
// A coroutine of the desk has ended.
void desk_agent_ended(struct desk *desk);
void desk_kick(struct desk *desk);

// ---- setup.c ----

// Takes what the client has told. 0 or an error; to be released by setup_done in either case.
int setup_read(struct setup *setup, ac_value told);
void setup_done(struct setup *setup);
// What is yet to be set up may have changed.
void setup_look(struct desk *desk);
// A node has kept these workers for us, a list of numbers; has its set-up run?
void setup_take_kept(struct site_agent *site, ac_value numbers, bool set_up);
// The node tells that a worker has ended: in a set-up, or CALL_NOTHING. Has that of the node run?
void setup_take_gone(struct site_agent *site, int64_t number, int64_t call, bool closed,
                     bool set_up, const char *text);
// The worker has told which calls have ended well in it, as bits, and which one runs.
void setup_take_state(struct worker_agent *worker, uint32_t called, int64_t runs);
// In the agent of a worker, where there is a journal: waits until it has told all. 0 or an error.
int setup_await_state(struct worker_agent *worker);
// In the agent of a worker: waits until node and worker are set up. 0 or an error.
int setup_worker(struct worker_agent *worker);
// The worker tells how what it was called to run has ended.
void setup_take_called(struct worker_agent *worker, ac_value message);
// The node has told how the worker has ended: was it by what it was called to run?
void setup_note_end(struct worker_agent *worker);
// The worker is gone, and `text` says how.
void setup_worker_gone(struct worker_agent *worker, const char *text);
// In the agent of a worker: tells it of the clean-up that is due.
void setup_send(struct worker_agent *worker);
// Whether the node is still to be set up.
bool setup_holds_back(const struct site_agent *site);
// Begins the clean-ups of a site that is leaving, and goes on with them: true when they are over.
// To be called again when it was kicked, and when site->cleaning_until is over.
bool setup_is_cleaned(struct site_agent *site);
// What all clean-ups may take together.
ac_time setup_closing_ns(const struct desk *desk);

// ---- restore.c ----

// The worker is given a job: to be called within door.run, where the desk has a record.
void restore_given(struct worker_agent *worker, uint64_t number, uint32_t attempt);
// A job is told again that may have been given to a worker before: as desk.c takes one. `class`: of
// it. `pinned`: it runs there or nowhere. Takes the argument.
int restore_job(struct desk *desk, uint64_t number, uint32_t class, bool pinned, ac_value argument);
// Whether a job that is told again was given to this worker.
bool restore_has(const struct desk *desk, uint64_t number, ac_ref worker);
// The client has told all its jobs, so many: it is served. 0 or an error.
int restore_end(struct desk *desk, uint64_t jobs);
// The client is about to be told that a job has ended. 0; -ENOMEM.
int restore_note_end(struct desk *desk, uint64_t number);
// It knows of so many of these ends. 0; -EPROTO.
int restore_take_ends(struct desk *desk, uint64_t taken);
// The desk, with a record, has taken in a "tell" of the worker.
void restore_note_tell(struct worker_agent *worker);
// A node has been asked for what it has kept, and has kept these workers: a list of numbers.
void restore_kept(struct site_agent *site, ac_value numbers);
// One that it has kept has ended; `begun` as of placement_remove_worker. Harmless for any other.
void restore_worker_ended(struct site_agent *site, int64_t number, uint64_t begun,
                          const char *text);
// The node has told all, or, `gone`, tells nothing more: its other workers are awaited no longer.
void restore_site_told(struct site_agent *site, bool gone);
// A worker is there, perhaps one that was awaited: then its place and its record are those of it.
void restore_worker(struct worker_agent *worker);
// Gives up the workers of nodes that have not come back in time.
void restore_look(struct desk *desk);
// The desk is done with its record, which goes.
void restore_close(struct desk *desk);

// ---- agent.c ----

// Receives one message of the agent. 0; -ETIMEDOUT at the deadline of the worker or this one; or
// another error.
int agent_receive(struct worker_agent *worker, ac_time deadline);
// Has the node end the worker.
void agent_end_by_force(struct worker_agent *worker);

void agent_add(struct site_agent *site, int64_t number, ac_ref worker);
struct worker_agent *agent_find(struct desk *desk, ac_ref worker);
// As supply_steer, for a worker.
int agent_steer(struct desk *desk, ac_ref worker, enum steer what);
// Whether the client wants it to be given no jobs.
bool agent_is_suspended(const struct worker_agent *worker);
// That may have changed.
void agent_look(struct worker_agent *worker);
enum ac_place_state agent_state(const struct worker_agent *worker);
// The node tells how a worker ended, or that itself has (number 0: all of this node).
// `begun`: how many of its jobs it had come to; PLACE_NOT_KNOWN. `closed`: it was asked to end.
// The first word of a worker counts.
void agent_worker_ended(struct site_agent *site, int64_t number, uint64_t begun, bool closed,
                        const char *text);
// Tells the agents of all workers of a desk to end.
void agent_end_all(struct desk *desk);
extern const struct place_door agent_door;

// ---- supply.c ----

ac_value supply_run_finder(ac_value argument);
// A new desk gets agents for the nodes that are known.
void supply_serve(struct desk *desk);
// An agent knows the site no more.
void supply_release(struct site *site);
// What the client wants of a place. 0; -ESRCH if that is none of the desk; -EINVAL for what cannot
// be: a worker is neither disabled nor enabled, a disabled node neither suspended nor resumed;
// -ENOMEM.
int supply_steer(struct desk *desk, ac_ref place, enum steer what);
// The places from the n-th on, as many as go into a message: [how many there are, place, ...].
ac_value supply_list(struct desk *desk, uint64_t from);
// The node takes part: it is set up, if that is to be.
void supply_ready(struct site_agent *agent);
// It does not, and `why` says why. Its agent ends, and with it its workers.
void supply_refuse(struct site_agent *agent, const char *why);
// Tells all site agents of a desk to have their workers ended, and to end.
void supply_end_all(struct desk *desk);

// Whether what runs at the site may end, and nothing else begins.
static inline bool is_draining(const struct site_agent *site) {
    return site->draining || site->disabled;
}

// False if there is nobody to kick or no memory.
static inline bool agent_kick(struct coro *coro) { return coro && mailbox_put(coro, ac_nil) == 0; }

#endif
