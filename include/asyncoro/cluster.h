// SPDX-License-Identifier: MIT
// Computing on many machines: a program ships itself to the nodes of the network and runs its
// functions there.
//
// A *node* is a computer that runs `asyncoro node`; a *worker* is a process that it starts for a
// *computation*, as many as it has processors by default; a *job* is a coroutine in a worker that
// runs one of the program's functions.
//
//     static ac_value square(ac_value x) { return ac_of(ac_int_of(x) * ac_int_of(x)); }
//     AC_JOB(square)
//
//     int main(int argc, char **argv) {
//         ac_cluster_init(argc, argv);       // first: in a worker this call does not return
//         ac_spawn(client, ac_nil);
//         return ac_run();
//     }
//
// The code that travels is the program's own executable, named by the SHA-256 of its content and
// sent once to each node; so do the shared libraries that it has loaded from elsewhere than the
// folders of the system. Jobs run as coroutines, one at a time in a worker by default: they may
// wait, send, receive and monitor as anywhere.
//
// Workers are confined: a job writes in its working folder, which its computation has for itself,
// is $HOME and $TMPDIR, and goes when the computation ends; it reads what lies where programs and
// libraries do; it has no capabilities and no part of the node's environment but the language, the
// time zone and variables that begin with AC_; it cannot trace, mount or make namespaces. When a
// worker ends, all that it has started ends, daemons too. `asyncoro node` has options for more and
// less of this and for limits of memory, processes, time and files; it says when it starts what its
// system lacks. The text with which a worker's end is told has exit code or signal, the limit that
// it went beyond, its greatest memory and the last that it wrote.
//
// Status messages and, for each job, exactly one exit notice go to the coroutine that opened the
// computation.
//
// A *scheduler* gives jobs to workers: in the client's own process, or `asyncoro scheduler`, a
// program that serves several clients at once, which share nodes and workers by their weights. What
// a job and its client send each other goes straight between the two in either case, and the exit
// notice of a job comes after all that it has sent to its client.
#ifndef ASYNCORO_CLUSTER_H
#define ASYNCORO_CLUSTER_H

#include <asyncoro/base.h>
#include <asyncoro/coro.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// Declares a function as one that jobs may run. Stands at file level, after the function.
#define AC_JOB(function)                                                                           \
    static const struct ac_job_entry ac_job_entry_##function                                       \
        __attribute__((used, section("ac_jobs"), aligned(sizeof(void *)))) = {#function,           \
                                                                              function};
struct ac_job_entry {
    const char *name;
    ac_function function;
};

// The entries of the program, gathered by the linker; none in a program without AC_JOB.
extern const struct ac_job_entry __start_ac_jobs[] __attribute__((weak, visibility("hidden")));
extern const struct ac_job_entry __stop_ac_jobs[] __attribute__((weak, visibility("hidden")));

// First thing in main of a program that ships itself. In a worker process, which a node has
// started, it runs jobs until the computation ends and then exits the process; otherwise it returns
// at once.
static inline void ac_cluster_init(int argc, char **argv);

// The function under ac_cluster_init: `jobs` are the `count` entries of the program.
AC_API void ac_cluster_init_with(int argc, char **argv, const struct ac_job_entry *jobs,
                                 size_t count);

static inline void ac_cluster_init(int argc, char **argv) {
    ac_cluster_init_with(argc, argv, __start_ac_jobs, (size_t)(__stop_ac_jobs - __start_ac_jobs));
}

// A computation: owned by the coroutine that opened it, until ac_computation_close.
typedef struct ac_computation ac_computation;

// A file that travels with a computation. Each node gets it once, named by its content: a file that
// has not changed since is not sent again.
struct ac_computation_file {
    const char *path; // here; NULL closes a list
    const char *name; // there, such as "data/words.txt"; default: the last part of `path`
    bool writable;    // the computation gets a copy of its own on each node; default: read only
};

// Lists for the options that follow.
#define AC_VARIANTS(...) AC_ARRAY_(const char *const, __VA_ARGS__, NULL)
#define AC_SOURCE(...) AC_VARIANTS(__VA_ARGS__)
#define AC_FILES(...) AC_ARRAY_(const struct ac_computation_file, __VA_ARGS__, {0})

struct ac_computation_options {
    size_t size;        // sizeof(struct ac_computation_options); set by the macro
    const char *name;   // for people; default: the program's name
    bool many_jobs;     // a worker runs many jobs at once (they wait more than they compute)
    uint32_t nodes_max; // take so many nodes at the most; default: all
    uint32_t
        workers_max; // take so many workers of each node at the most; default: all that it offers
    const char *const *variants; // paths of the same program built for other computers, closed by a
                                 // NULL: AC_VARIANTS("build/demo.aarch64"). A node takes the first
                                 // that runs there, this executable before them
    const char *const *source; // the program as C, for nodes on which neither this executable nor a
                               // variant runs: paths of its files, headers too, closed by a NULL:
                               // AC_SOURCE("demo.c", "demo.h"). Such a node compiles it with its
                               // own cc, within two minutes, once for each source; it needs the
                               // header and library of asyncoro then
    const char *source_flags;  // for cc, words: "-O3 -march=native -lm"
    const struct ac_computation_file *files; // that travel along: AC_FILES({.path = "words.txt"}).
                                             // They lie in the folder in which workers start
    const char *output; // where what jobs write to standard output and error goes: a folder here,
                        // in which each worker has a file NODE.NUMBER, added to if it is there;
                        // "-", this process's standard error, each line with NODE.NUMBER before
                        // it. Nodes of one name are NODE, NODE-2 and so on. It comes beside the
                        // notices, perhaps later, and all of it has come when
                        // ac_computation_close returns, but for workers that were lost. Default:
                        // the standard error of the node
    uint32_t weight;    // of its share of the processors where other computations of the same
                        // scheduler want them too; default: 1
    const char *scheduler; // where it is: "HOST" or "HOST:PORT" of an `asyncoro scheduler`; "any",
                           // the first one that is found; "here", this process. Default: the
                           // variable AC_SCHEDULER, else here
    bool nodes_disabled; // nodes are told of, and used when ac_place_enable says so; default: used
    // Functions that make places ready for jobs, and tidy them up; each is declared by AC_JOB, gets
    // `setup_argument`, and runs as a coroutine in a worker, where it may do what a job may. A
    // set-up that returns an error, ends its worker or takes too long keeps its place out of the
    // computation, and is not tried again: AC_WORKER_GONE or AC_NODE_REFUSED tells why. What comes
    // of a clean-up changes nothing; where it fails, the text of AC_WORKER_GONE says so.
    ac_function node_setup;     // once on each node, in the first of its workers, before any of
                                // them is given jobs. All start in the folder that it writes in
    ac_function worker_setup;   // once in each worker process, after that of its node; in one that
                                // is started for another that crashed, too
    ac_function worker_cleanup; // in a worker that was set up, before it ends in order: at the end
                                // of the computation, or when its node drains or was disabled; not
                                // where worker, node or scheduler is lost or ended by force
    ac_function node_cleanup;   // after the clean-ups of all workers of a node, in one of them
    ac_value setup_argument;    // taken, also where the call fails; default: nil
    double setup_seconds_max;   // what each set-up may take; default: any time
    double cleanup_seconds_max; // what each clean-up may take, up to an hour; default: 3 seconds
};

// Opens a computation: starts the network if need be, finds nodes, now and later, ships the program
// to each and has its workers started. Status messages and exit notices go to the calling
// coroutine. A scheduler in another process is sought until it is there; if it takes no code from
// this program, refuses the computation or is gone, AC_SCHEDULER_GONE tells, all jobs are AC_LOST
// and the computation can only be closed. If it was killed and keeps a journal (`asyncoro scheduler
// --journal`), AC_SCHEDULER_LOST tells, and it is awaited for as long as it has said: what is
// wanted meanwhile waits. Jobs that run go on, and end once it is back; those of workers that it
// does not find again run again if they may, else they are AC_LOST. Set-ups that have run are not
// run again, and one that runs goes on, with its time anew; where a clean-up had begun, the node is
// set up anew. What ac_place_suspend and the like have done is forgotten.
//
// Does not wait for nodes or scheduler; can wait for a helper thread that reads a large program. 0;
// -EPERM outside coroutines; -EINVAL if ac_cluster_init was not called; -ENOMEM; an error of
// ac_network_start; or of reading the program's own executable or what else is to travel: -ENOENT
// and the like, -ENOEXEC for a variant that is no program, -EFBIG over 1 GiB, -E2BIG for more than
// 15 variants, or 256 files in all; -EINVAL for a bad .name of a file; then AC_TRACE=cluster tells
// with which file; -EINVAL for a .scheduler of more than 299 bytes, an empty .output, or seconds
// that cannot be; -ENOSYS for a set-up or clean-up that is not declared by AC_JOB; -ENOTSUP,
// -EMSGSIZE for a .setup_argument as for ac_run_at.
#define ac_computation_open(computation, ...)                                                      \
    ac_computation_open_with((computation),                                                        \
                             AC_OPTIONS_(ac_computation_options){                                  \
                                 .size = sizeof(struct ac_computation_options), __VA_ARGS__})
AC_API int ac_computation_open_with(ac_computation **computation,
                                    const struct ac_computation_options *options) AC_CHECKED;

// Waits until all jobs have ended (cancelling what still runs when the deadline is over), has
// workers and nodes cleaned up, ends the workers and forgets the computation. The exit notices of
// cancelled jobs have been sent when it returns: a job that does not end within two seconds of its
// cancellation is AC_LOST with -ECANCELED, and its worker is ended. A computation whose owner ends
// is closed by that. Can wait. 0; -ECANCELED, and then it is closed all the same; -EPERM outside
// coroutines.
AC_API int ac_computation_close(ac_computation *computation, ac_time deadline);

// Runs a job at a given worker, which a status message named: function(argument), argument being
// anything that ac_of takes. Takes the argument. Can wait (for room at that worker). Returns the
// reference of the job, a coroutine to which messages can be sent; or none, and ac_ref_error tells:
// -ENOSYS for a function not declared by AC_JOB; -EHOSTUNREACH if the worker is gone, or went
// before the job had begun; -ECONNRESET if the worker or the scheduler was lost, and the job may
// have begun; -EBUSY if the worker is suspended; -ENOTSUP for an argument that cannot travel,
// -EMSGSIZE for one too large for a message, or its own error; -E2BIG as for ac_submit; -EINVAL;
// -ECANCELED, also when the computation is being closed; -EPERM outside coroutines; -ENOMEM. The
// exit notice follows as a message, but not where there was no reference.
#define ac_run_at(computation, worker, function, argument)                                         \
    ac_run_at_with((computation), (worker), (function), ac_of(argument))
AC_API ac_ref ac_run_at_with(ac_computation *computation, ac_ref worker, ac_function function,
                             ac_value argument);

// What a job asks for; jobs that ask for the same are placed together.
struct ac_job_options {
    size_t size;              // sizeof(struct ac_job_options); set by the macro
    uint32_t cpus;            // processors that it computes with; default: one, or none where a
                              // worker runs many jobs at once
    uint32_t retries;         // how often it may be run again if the worker where it had begun is
                              // lost; at most 255. It may then have run twice
    uint64_t memory;          // bytes that its node must have for it
    const char *tags;         // words that its node must have: "gpu disk=fast"
    const char *node;         // the name of its node, with * and ? as in a file name
    const char *architecture; // of its node: "x86_64", "aarch64"
    double seconds_max;       // how long it may run; then it has failed with -ETIME
    bool copies;         // it may run at two workers at once when others idle; the first result
                         // counts
    bool wait_for_nodes; // if no node fits it waits for one; otherwise it has failed with
                         // -ENODEV a second after the first node was found
    bool quiet;          // no AC_JOB_STARTED
};

// Queues a job to be run at whichever fitting worker is free first. Takes the argument. Can wait
// (when a million jobs have not ended). Further arguments are options: ac_submit(it, render, 7,
// .tags = "gpu", .retries = 2). Returns the number of the job, above 0, which its started message
// and its exit notice carry; or -EINVAL for options that cannot be; -E2BIG for more than 4,096
// kinds of jobs; -ENOSYS, -ENOTSUP, -EMSGSIZE (an argument too large for a message), -ECANCELED,
// -EPERM, -ENOMEM as for ac_run_at.
#define ac_submit(computation, function, ...)                                                      \
    AC_SUBMIT_PICK_(__VA_ARGS__, AC_SUBMIT_WITH_, AC_SUBMIT_WITH_, AC_SUBMIT_WITH_,                \
                    AC_SUBMIT_WITH_, AC_SUBMIT_WITH_, AC_SUBMIT_WITH_, AC_SUBMIT_WITH_,            \
                    AC_SUBMIT_WITH_, AC_SUBMIT_WITH_, AC_SUBMIT_WITH_, AC_SUBMIT_PLAIN_, )         \
    ((computation), (function), __VA_ARGS__)
#define AC_SUBMIT_PICK_(a, o1, o2, o3, o4, o5, o6, o7, o8, o9, o10, it, ...) it
#define AC_SUBMIT_PLAIN_(computation, function, argument)                                          \
    ac_submit_with((computation), (function), ac_of(argument), NULL)
#define AC_SUBMIT_WITH_(computation, function, argument, ...)                                      \
    ac_submit_with(                                                                                \
        (computation), (function), ac_of(argument),                                                \
        AC_OPTIONS_(ac_job_options){.size = sizeof(struct ac_job_options), __VA_ARGS__})
AC_API int64_t ac_submit_with(ac_computation *computation, ac_function function, ac_value argument,
                              const struct ac_job_options *options) AC_CHECKED;

// Cancels a job that was submitted: its exit notice follows. If it runs and does not end within two
// seconds, its worker is ended, and the other jobs there are run again. Does not wait. 0; -ESRCH if
// it has ended; -EINVAL; -EPERM outside coroutines.
AC_API int ac_job_cancel(ac_computation *computation, int64_t job);

// Says in a sentence where a job is, or why it waits: "waits: all of 4 fitting workers are busy; 17
// jobs of its kind are before it". Can wait. 0; -ESRCH if it has ended; -ETIMEDOUT; -ECANCELED;
// -EINVAL; -EPERM outside coroutines; an error of ac_call.
AC_API int ac_job_why(ac_computation *computation, int64_t job, char *text, size_t bytes,
                      ac_time deadline) AC_CHECKED;

// A mapping: one function over many arguments, each of which is a job for all that matters to the
// user; short ones travel in *chunks* of many, which makes them some ten times cheaper.
//
//     ac_mapping *map;
//     struct ac_mapped one;
//     int err = ac_mapping_open(&map, computation, simulate, .count = 1000000, .in_order = true);
//     while (!err && (err = ac_mapping_next(map, &one, AC_FOREVER)) > 0) {
//         use(one.index, one.value);
//         ac_drop(one.value);
//         err = 0;
//     }
//     ac_mapping_close(map);
//
// It takes arguments as fast as results are taken, so that neither of them piles up. It belongs to
// the computation: ac_computation_close closes it too. Status messages come to the mailbox as ever:
// where no result comes, AC_JOBS_WAIT and AC_NODE_REFUSED there tell why.
typedef struct ac_mapping ac_mapping;

// The next argument into *item, which is taken: 1; 0 after the last; or an error, which ends the
// mapping. Called within ac_mapping_next, and may wait.
typedef int (*ac_mapping_source)(void *user, ac_value *item);

struct ac_mapping_options {
    size_t size;              // sizeof(struct ac_mapping_options); set by the macro
    const ac_value *items;    // the arguments, `count` of them, which stay the caller's and as they
                              // are until the last result is there
    uint64_t count;           // without `items` and `source` the arguments are 0, 1, ... count - 1
    ac_mapping_source source; // of the arguments, instead of `items` and `count`
    void *user;               // for the source
    bool in_order;            // results come in the order of their arguments; default: as they are
                              // there
    ac_function reduce;       // declared by AC_JOB: gets a list of two results or reductions and
                              // returns one. Results are reduced at the workers and on their way;
                              // in any grouping, and without in_order in any order
    struct ac_job_options job; // what the jobs ask for: .job.tags = "gpu". `quiet` has no meaning
};

// What came of one argument.
struct ac_mapped {
    int64_t index;   // of the argument; -1: the value is the reduction of all that have finished
    enum ac_end how; // as in the exit notice of a job
    ac_value value;  // what the function returned, or the error; to be dropped by the caller
};

// Opens a mapping; further arguments are options. Does not wait. 0; -EINVAL for options that cannot
// be; -E2BIG as for ac_submit; -ENOSYS for a function not declared by AC_JOB; -ECANCELED if the
// computation is being closed; -EPERM outside coroutines; -ENOMEM.
#define ac_mapping_open(mapping, computation, function, ...)                                       \
    ac_mapping_open_with(                                                                          \
        (mapping), (computation), (function),                                                      \
        AC_OPTIONS_(ac_mapping_options){.size = sizeof(struct ac_mapping_options), __VA_ARGS__})
AC_API int ac_mapping_open_with(ac_mapping **mapping, ac_computation *computation,
                                ac_function function,
                                const struct ac_mapping_options *options) AC_CHECKED;

// The next result. Whatever becomes of an argument, there is exactly one for it: one that cannot
// travel is one that has failed. Where there is a reduction, only what has not finished is told one
// by one, and last comes the reduction, nil if nothing has finished. Can wait. 1; 0 after the last,
// or the error of the source, each time; -ETIMEDOUT; -ECANCELED, also when the computation is being
// closed and all is told; -EBUSY while another coroutine waits for it; -EPERM outside coroutines;
// -EINVAL; -ENOMEM.
AC_API int ac_mapping_next(ac_mapping *mapping, struct ac_mapped *result,
                           ac_time deadline) AC_CHECKED;

// Forgets the mapping; jobs of it that have not ended are cancelled. Does not wait. Of NULL:
// nothing.
AC_API void ac_mapping_close(ac_mapping *mapping);

// In a job: sends a file to the client, into the folder that this has opened with
// ac_transfer_accept, as `name`: for results that are too large for a message, and files that the
// job has written. Can wait. 0; 1 if a file of that content has that name there already; -ENOTCONN
// outside workers; -EACCES if the client has opened no folder; the errors of ac_transfer_send.
AC_API int ac_job_file(const char *path, const char *name, ac_time deadline) AC_CHECKED;

// Lets a place take no new jobs of this computation: what has begun there goes on, what has not is
// given to others, and ac_run_at there fails with -EBUSY; what that has already sent there stays.
// A place is a node, named by the `node` of a status message, or a worker, named by `worker`; that
// one takes jobs when neither it nor its node is suspended. When this returns it is done; a status
// message tells it too, unless it was so before. Can wait. 0; -ESRCH if that is no place of the
// computation, or not any more; -EINVAL, also for a node that is disabled; -ETIMEDOUT; -ECANCELED,
// also while it is being closed; -EPERM outside coroutines; an error of ac_call.
AC_API int ac_place_suspend(ac_computation *computation, ac_ref place, ac_time deadline);

// The opposite. To resume a worker does not resume its node. Can wait. Returns as ac_place_suspend.
AC_API int ac_place_resume(ac_computation *computation, ac_ref place, ac_time deadline);

// Gives a node back: it takes no new jobs of this computation, and when those that run have ended,
// its workers end, and AC_NODE_GONE tells so. With .nodes_max another node may take its place. Can
// wait. Returns as ac_place_suspend, but does not wait for the jobs; -EINVAL for a worker; -ENOMEM.
AC_API int ac_place_disable(ac_computation *computation, ac_ref node, ac_time deadline);

// Uses a node that was disabled, by ac_place_disable or .nodes_disabled, also beyond .nodes_max:
// AC_NODE_FOUND tells that it is asked, AC_NODE_READY or AC_NODE_REFUSED what came of it. Can wait.
// Returns as ac_place_disable.
AC_API int ac_place_enable(ac_computation *computation, ac_ref node, ac_time deadline);

enum ac_place_state {
    AC_PLACE_FOUND = 1, // known, not ready yet: it may still be set up
    AC_PLACE_READY,     // takes jobs
    AC_PLACE_SUSPENDED, // it is, or its node
    AC_PLACE_DRAINING,  // ends when the jobs that run there have ended
    AC_PLACE_DISABLED,  // a node that is not used
};

struct ac_place {
    ac_ref node;
    ac_ref worker; // ac_no_ref: this is the node
    enum ac_place_state state;
    uint32_t jobs;     // of this computation that it was given and that have not ended
    uint32_t cpus;     // of the node; 0: not known yet
    uint64_t memory;   // of the node, bytes; 0: not known
    char name[64];     // of the node; "": not known yet
    char location[64]; // of the node
};

// Lists the places, each node before its workers. Writes the first `max` into `places`. Can wait.
// Returns how many there are, which may be more; -ETIMEDOUT; -ECANCELED, also while it is being
// closed; -EINVAL; -EPERM outside coroutines; an error of ac_call.
AC_API int64_t ac_places(ac_computation *computation, struct ac_place *places, size_t max,
                         ac_time deadline) AC_CHECKED;

// What a status message tells.
enum ac_status_kind {
    AC_NODE_READY = 1, // a node takes part; it is set up
    AC_NODE_REFUSED,   // it cannot: `text` says why (other architecture, missing libraries, its
                       // set-up failed, ...)
    AC_NODE_GONE,      // it was closed, or `lost`
    AC_WORKER_READY,   // a worker takes jobs; it is set up
    AC_WORKER_GONE,    // it was closed, or `lost`; `text` says how it ended
    AC_JOB_STARTED,    // `job` runs as `coroutine` at `worker`
    AC_JOBS_WAIT,      // for three seconds jobs have found no fitting node, or the computation has
                       // found no scheduler: `text` says why
    AC_NODE_FOUND,     // a node is asked to take part; with .nodes_disabled, not yet
    AC_NODE_SUSPENDED, // by ac_place_suspend
    AC_NODE_RESUMED,
    AC_NODE_DISABLED,
    AC_WORKER_FOUND, // a worker was started
    AC_WORKER_SUSPENDED,
    AC_WORKER_RESUMED,
    AC_SCHEDULER_READY, // one in another process has opened the computation; `location`: where
    AC_SCHEDULER_GONE,  // it is gone, or has refused: `text` says why
    // It is lost, but keeps a journal: it is sought again, and AC_SCHEDULER_READY or
    // AC_SCHEDULER_GONE follows. Nodes and workers are to be forgotten; those that are used again
    // are told of anew.
    AC_SCHEDULER_LOST
};

// What is in a status message.
struct ac_status {
    enum ac_status_kind kind;
    ac_ref node;       // where
    ac_ref worker;     // where
    ac_ref coroutine;  // of a job
    int64_t job;       // its number, 0 if it was run by ac_run_at
    bool lost;         // it is gone without having been asked to end
    char location[64]; // address of the node
    char text[512];    // for people: the node's name, why it was refused, how a worker ended
};

// Takes the status out of a message: true if it is one. Does not take the message.
AC_API bool ac_status_of(ac_value message, struct ac_status *status);

// As ac_exit_of for the exit notice of a job: also its number and the worker where it ran.
// `exit->who` is the job's coroutine (ac_no_ref if it never ran); a job whose worker died while it
// ran, or may have run, is AC_LOST, and its value is an error whose text says how the worker ended;
// one whose function returned an error is AC_FAILED.
struct ac_job_exit {
    struct ac_exit exit;
    int64_t job;       // 0 if it was run by ac_run_at
    ac_ref worker;     // ac_no_ref if it never ran
    char location[64]; // of its node
    double seconds;    // how long it ran
};
AC_API bool ac_job_exit_of(ac_value message, struct ac_job_exit *exit);

#ifdef __cplusplus
}
#endif

#endif
