// SPDX-License-Identifier: MIT
// The second kind of story: a cluster. Nodes, a scheduler, clients with computations, and the
// workers that the nodes start, all of them simulated processes that run the code of src/cluster.
//
//   cluster.c  who takes part, and the play: faults, their mending, the end
//   owner.c    the program of the clients: opens computations, has jobs run, hears what came of
//   them jobs.c     the functions that jobs run; the oracle that knows what was wanted of each job,
//   and
//              what became of it, from what the bodies of jobs and their owners see
//   blows.c    what befalls a cluster
//   comeback.c a scheduler that keeps a journal is killed, and comes back
//   places.c   set-ups and clean-ups
//   wards.c    what nodes and workers have in the place of their computer
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "plot.h"

#include "cluster/scheduler.h"

enum role { ROLE_SCHEDULER, ROLE_NODE, ROLE_CLIENT };

// One who takes part, and is started again when it was killed.
struct actor {
    enum role role;
    uint32_t place; // among those of its role
    uint32_t host;
    struct process *process; // the latest
    bool tagged;             // a node that has the tag
    uint32_t owners;         // of a client: coroutines that have computations
};

struct account;

enum { ACTORS_MAX = 32, CLUSTER_CPUS = 3 };

struct cluster {
    struct actor actors[ACTORS_MAX];
    uint32_t actor_count;
    uint32_t nodes, clients;
    bool has_scheduler;   // as a process of its own: the first actor
    double return_s;      // for so long it is awaited, if it keeps a journal
    unsigned start_fails; // of a thousand workers that are to be started
    bool quiet;           // nothing new is begun
    struct list kept;     // memory of the run, freed at its end
};
extern struct cluster cluster;

// ---- cluster.c ----

struct process *cluster_start(struct actor *actor);
// For a process: its network.
void cluster_start_network(void);
// Memory, zeroed, that stays until the run ends.
void *cluster_keep(size_t bytes);

// ---- owner.c ----

// The main function of the process of a client.
void owner_run_client(struct process *process);

// ---- blows.c ----

void blows_begin(ac_time until);
// All is well again: what was blocked is open, who was frozen goes on, who was killed is started.
void blows_mend(void);

// ---- places.c ----

void places_begin(void);
// A node takes a program in: the number of the ground that it is from then on.
uint32_t places_ground(void);
// A worker process runs now; its node has started it there.
void places_worker(uint32_t ground);
// A job begins here, of a computation that has its places set up.
void places_job_begins(void);
// Who has the computation closes it, and has closed it, where nothing befalls anybody.
void places_closing(const struct account *account);
void places_closed(const struct account *account);
// Functions that are declared.
ac_value set_up_site(ac_value argument);
ac_value set_up_spot(ac_value argument);
ac_value clean_up_spot(ac_value argument);
ac_value clean_up_site(ac_value argument);

// ---- comeback.c ----

void comeback_begin(ac_time until);
void comeback_mend(void);
// Where the journal is; NULL: the scheduler keeps none.
const char *comeback_journal(void);
// Whether it may be started again now; it is, in the place of `old`, or NULL.
bool comeback_may_start(void);
void comeback_starts(const struct process *old);
// It was away for so long, a short time ago, that nodes may not have waited for it.
bool comeback_excuses(void);
// A client is told of its scheduler.
void comeback_told(struct account *account, const struct ac_status *status);
void comeback_check_journal(void);

// ---- jobs.c: what the oracle knows ----

// What a job is to do.
enum deed {
    DEED_BRIEF,    // is over in microseconds
    DEED_WAIT,     // waits a while
    DEED_COMPUTE,  // keeps its worker busy
    DEED_TALK,     // sends its owner messages
    DEED_LARGE,    // has a large result
    DEED_FAIL,     // returns an error
    DEED_CRASH,    // ends its worker, now and then
    DEED_STUBBORN, // does not end when it is cancelled
    DEEDS
};

enum { BEGINS_MAX = 32, TALKS_MAX = 40, LATE_MS = 400 };

// That the body of a job began.
struct beginning {
    uint64_t peer; // of the worker
    uint32_t sent; // messages to the owner
    uint32_t came;
    bool told; // its result is that of the job
};

// A computation.
struct account {
    struct actor *client;
    struct process *process; // of the client
    uint32_t id;
    bool sets_up; // its places
    bool wild;    // it has jobs that may end workers, or make others end them
    bool many;
    bool here; // its scheduler is in the client
    bool gone; // its scheduler is, and with it all jobs
    enum { CONTACT_NONE, CONTACT_READY, CONTACT_LOST } contact; // with its scheduler
    ac_time lost_at;                                            // when it was told so
    bool closing;                                               // what still runs may be cancelled
    struct order **orders; // by number of the job; NULL where that is no order
    uint32_t order_count;
};

// A job that a client wants.
struct order {
    uint32_t id;
    struct account *of;
    int64_t number; // 0: run at one worker
    ac_ref ref;     // of that one
    enum deed deed;
    uint32_t retries;
    bool copies;
    bool quiet;
    bool limited; // to LATE_MS
    bool tagged;  // wants the tag, and does not wait for a node that has it
    bool started; // its owner was told
    bool cancel_asked;
    ac_time cancel_at; // when
    bool noticed;
    uint32_t begun, ended; // bodies
    uint32_t lost;         // attempts that had begun, or may have, at workers that were lost
    uint32_t undone;       // those that had begun where a worker was ended for the sake of another
    struct beginning beginnings[BEGINS_MAX];
    uint64_t lost_at[BEGINS_MAX]; // workers, of those attempts
    uint32_t lost_count;
};

void jobs_begin(void);
void jobs_end(void);
struct account *jobs_account(struct actor *client);
struct account *jobs_account_at(uint32_t id);
struct order *jobs_order(struct account *account, enum deed deed);
// It has that number. The computation has no other of it.
void jobs_is(struct order *order, int64_t number);
// It runs at a worker, as that coroutine.
void jobs_pinned(struct order *order, ac_ref ref);
struct order *jobs_find(const struct account *account, const struct ac_job_exit *exit);
// The owner got a message of a job, its exit notice, a status.
void jobs_came(struct account *account, ac_value message);
void jobs_noticed(struct account *account, const struct ac_job_exit *exit);
// Nothing more will be told of the computation.
void jobs_closed(const struct account *account);
uint32_t jobs_missing(const struct account *account);
// Prints why.
void jobs_tell_missing(const struct account *account, ac_computation *computation);
// Functions that are declared.
ac_value brief(ac_value argument);
ac_value act(ac_value argument);
ac_value square(ac_value argument);
// A worker process was made by a node, runs, and has ended.
void jobs_worker_made(struct process *process, const int64_t *begun);
bool jobs_run_here(void);
// A worker that is told to be lost is.
void jobs_check_ended(ac_ref worker, const char *text);
void jobs_check_none_runs(void);

// True if all that befalls this run is mended by sending again: nobody is ever lost, but a
// scheduler that keeps a journal.
bool cluster_is_mild(void);

#endif
