// SPDX-License-Identifier: MIT
// The face of cluster/: shipping programs to nodes and running their functions there.
//
//   client.c     a computation from open to close; its courier and its supplier
//   contact.c    how a computation comes to its scheduler
//   journal.c    what a scheduler writes down to survive being killed (journal.h)
//   job.c        submitting jobs, running one at a worker, cancelling, asking why
//   mapping.c    one function over many arguments, many of them a job
//   scheduler.c  the scheduler as a whole: its beginning, its end, the placer (scheduler.h)
//   service.c    the scheduler as a program of its own
//   desk.c       a computation at the scheduler
//   restore.c    what that does for the sake of a journal
//   agent.c      a worker at the scheduler
//   setup.c      set-ups and clean-ups of nodes and workers
//   supply.c     the nodes at the scheduler: finding them, having them run programs
//   placement.c  jobs, workers and nodes as plain data (placement.h)
//   choose.c     which job goes to which worker, and why the others wait
//   batch.c      many things in one message
//   status.c     status messages and exit notices of jobs
//   node.c       the daemon: takes computations in
//   life.c       when a node serves, drains and ends
//   outside.c    network, signals, standard input and the service manager of node and scheduler
//   place.c      what a computer leaves to a node, and what a batch system has given it
//   host.c       one computation on a node: upload, worker processes, their ends
//   cell.c       what the workers of a computation live in: folder, limits, sandbox (cell.h)
//   worker.c     inside a worker process: runs jobs; and the functions that a program declares
//   cargo.c      what a computation brings with it, at the client (cargo.h)
//   intake.c     the same at a node: choosing a variant, taking in what is missing
//   compile.c    making the program of its source on a node
//   folder.c     the folder of a computation on a node
//   content.c    a node's store of what was sent to it
//   doctor.c     which nodes could run an executable
//   elf.c        what an executable needs, and whether a computer has it
//
// Who talks to whom. Everything is a message; the messages are specified at the heads of desk.c
// (client and scheduler), service.c (client and a scheduler elsewhere), host.c (node with scheduler
// and client) and worker.c (scheduler and worker). Where the scheduler is in the client's process,
// nothing but scheduler_create and desk_open is called there directly.
//
//      client              scheduler                    node               worker process
//      owner <- notices
//      courier <---------> desk.c
//                          supply.c: an agent a node <-> host.c -- starts ->
//                          agent.c: an agent a worker <--------------------> worker.c
//      supplier <--------------------------------------> host.c
//
// Whoever is lost takes what it made along: a client its computations on the nodes, a node its
// workers; a scheduler all that it has, unless it keeps a journal (journal.h): then nodes and
// clients wait a while for the one that takes its place.
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include "remote/remote.h"

#include <asyncoro/cluster.h>

// ---- life.c: what a node is told of its times ----

enum { WEEK_MINUTES = 7 * 24 * 60 };

// When a node serves: a bit for each minute of the week, which begins on Monday at 0:00.
struct hours {
    uint8_t bits[WEEK_MINUTES / 8];
};
// Reads "22:00-06:00, sat, mon-fri 12:00-13:00": windows, each of every day or of the days that it
// names, or whole days. A window that ends before it begins ends on the next day. False if it is
// none of that, or never.
bool hours_read(const char *text, struct hours *hours);
bool hours_open(const struct hours *hours, int minute);

// ---- place.c ----

// Reads "gpu=a100,disk=ssd" as a map of texts, to be dropped. False if it is none: a key is made of
// letters, digits and "_.-/", comes once and is not empty; a value has no comma.
bool tags_read(const char *text, ac_value *tags);

// ---- node.c ----

// The name of a node's coroutine that answers calls of peers that may ship code, with a map of what
// the node is and does (node.c). The body is "tell", or ["drain", seconds]: it takes no computation
// in any more, and ends when those that run have, or after so many seconds; less than 0: after the
// grace that it was started with.
#define NODE_DESK_NAME "asyncoro.node.desk"

struct node_options {
    uint32_t workers;   // for each computation; 0: one a processor that it may use
    const char *name;   // for people; NULL: this computer's
    bool loopback_only; // as in ac_network_options, all that follow
    uint16_t port;
    bool no_discovery;
    uint16_t discovery_port;
    const char *key_file;
    uint64_t store_bytes_max;    // of what was sent here and nobody uses; 0: 4 GiB
    const struct key_ring *keys; // instead of the file; NULL
    const char *scheduler;       // connects to "HOST:PORT", or, if it has a "/", to those in a file
    uint64_t memory_bytes;       // that jobs may use; 0: what the computer and the cgroups leave
    const char *tags;            // as of tags_read; NULL: none
    const struct hours *hours;   // NULL: always
    int (*minute)(void);         // of the week, the clock for `hours`; NULL: this computer's
    ac_time look_ns;             // how often it looks at that clock; 0: every five seconds
    ac_time idle_ns;             // ends when it has had no computation for so long; 0: never
    ac_time grace_ns;            // what is left to running jobs when it drains
    ac_time upload_ns;           // how long an upload may bring nothing; 0: five minutes
    bool die_with_stdin;         // stops when standard input ends
    bool slurm;                  // takes from the environment what Slurm has given it
    enum sys_sandbox_level sandbox; // how workers are confined
    const char *folder;             // of this node alone; NULL: the cache folder, with others
    const char *user;     // as whom workers run, where the node is root; NULL: as the node
    const char *readable; // more that workers may read, paths separated by ':'; NULL: none
    const char *writable; // and write, likewise
    bool no_unix_sockets; // workers may make none but pairs
    // Limits of a worker; 0: none.
    uint64_t worker_memory_bytes_max;
    uint32_t worker_processes_max; // 0: 1024, but where there is no sandbox
    uint64_t worker_seconds_max;   // of processor, of each of its processes
    uint64_t worker_file_bytes_max;
};

// Runs the node daemon until it is told to end (life.c): prints when it is ready "node NAME at
// ADDRESS: N workers, ready" and, in a second line, what confines workers here. To be called
// outside coroutines. 0; or the error of what could not be started, and `text` says what.
int node_run(const struct node_options *options, char text[256]);

// ---- service.c ----

// The names under which the scheduler as a program is found: by clients, who open computations
// there; and by tools, who ask what it has. Both answer calls of peers that may ship code
// (service.c).
#define SCHEDULER_NAME "asyncoro.scheduler"
#define SCHEDULER_DESK_NAME "asyncoro.scheduler.desk"

enum { SCHEDULER_COMPUTATIONS_MAX = 1 << 16 };

struct scheduler_options {
    const char *name;   // for people; NULL: this computer's
    bool loopback_only; // as in ac_network_options, all that follow
    uint16_t port;
    bool no_discovery;
    uint16_t discovery_port;
    const char *key_file;
    const struct key_ring *keys; // instead of the file; NULL
    uint32_t computations_max;   // at once; 0: 1024
    ac_time idle_ns;             // ends when it has had no computation for so long; 0: never
    ac_time grace_ns;            // what is left to computations when it drains
    bool die_with_stdin;         // stops when standard input ends
    const char *journal;         // the file in which it keeps one (journal.h); NULL: none
    ac_time return_ns;           // how long computations of a journal await their clients, and
                                 // clients a scheduler that keeps one; 0: 60 s
};

// Runs the scheduler until it is told to end (life.c): prints one line when it is ready, "scheduler
// NAME at ADDRESS: ready", and one more if computations of its journal await their clients. To be
// called outside coroutines. 0; or the error of what could not be
// started, and `text` says what.
int scheduler_run(const struct scheduler_options *options, char text[256]);

// ---- doctor.c ----

enum { DOCTOR_NODES_MAX = 1024, PROBLEM_BYTES = 400 }; // of a sentence that says what is wrong

struct doctor_node {
    ac_ref node;
    char name[64];
    char location[64];
    bool answered;
    bool runs;
    char why[PROBLEM_BYTES]; // it does not run there, or why nobody knows
};

struct doctor_report {
    char machine[32];    // what the executable is for
    char libc[32];       // the version that it needs; "": none
    char loader[128];    // "" if it is static
    char libraries[512]; // "a, b": as far as they fit
    size_t count;
    struct doctor_node nodes[DOCTOR_NODES_MAX];
};

// Reads an executable and asks all nodes that are found within `seconds` whether it would run
// there; ends early when `enough` have answered (0: never), and waits for answers as long again.
// The network has been started. Can wait. 0, also if there is no node; or an error of reading,
// -ENOEXEC for what is no program, and `text` says what is wrong.
int doctor_ask(const char *path, double seconds, size_t enough, struct doctor_report *report,
               char text[PROBLEM_BYTES]);

#endif
