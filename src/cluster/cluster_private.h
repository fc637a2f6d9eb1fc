// SPDX-License-Identifier: MIT
// What the files of cluster/ share.
#ifndef CLUSTER_CLUSTER_PRIVATE_H
#define CLUSTER_CLUSTER_PRIVATE_H

#include "cluster/cargo.h"
#include "cluster/cell.h"
#include "cluster/cluster.h"
#include "io/io.h"

// The name by which nodes are found.
#define NODE_NAME "asyncoro.node"

enum {
    WORKERS_MAX = 1024,     // of one computation on one node
    HOSTS_MAX = 64,         // computations on one node
    JOB_CLASSES_MAX = 4096, // of one computation
    JOBS_MAX = 1 << 20      // of one computation that have not ended
};

// True for this text. What peers send may also be text that is none in C, with a NUL in it.
static inline bool text_is(ac_value it, const char *text) {
    ac_span span = ac_span_of(it);
    return it.kind == AC_TEXT && span.bytes == strlen(text) &&
           memcmp(span.at, text, span.bytes) == 0;
}

// True for a list that opens with this word: a message of ours.
static inline bool message_is(ac_value message, const char *word) {
    ac_value first = message.kind == AC_LIST ? ac_at(message, 0) : ac_nil;
    bool is = text_is(first, word);
    ac_drop(first);
    return is;
}

// ---- setup.c: what makes places ready and tidies them up ----

// What a worker is called to run beside jobs. The numbers travel.
enum place_call {
    CALL_NOTHING,
    CALL_NODE_SETUP,
    CALL_WORKER_SETUP,
    CALL_WORKER_CLEANUP,
    CALL_NODE_CLEANUP,
    PLACE_CALLS
};
static inline bool place_call_sets_up(enum place_call call) {
    return call == CALL_NODE_SETUP || call == CALL_WORKER_SETUP;
}
// "the set-up of the node". Constant text.
const char *place_call_name(enum place_call call);
// What a client tells the scheduler of them: nil if there are none. Takes the argument that is in
// the options. *cleanup_ns: what all clean-ups may take together. 0; or an error of
// ac_computation_open.
int setup_told(const struct ac_computation_options *options, ac_value *told, ac_time *cleanup_ns);

// What a worker writes for its node, in memory that outlives it however it ends.
struct worker_marks {
    int64_t begun;      // the jobs that it has come to, of all that it was sent; -1: not known
    int64_t setting_up; // enum place_call: the set-up that runs here, or has failed; 0
    int64_t set_up;     // 1: the set-up of the node has run here; 0
    int64_t cleaning;   // 1: a clean-up has begun here; 0
};

// ---- batch.c: what one coroutine has for another, many things in one message ----

// Who tells whom what, and its items.
enum thing {
    // scheduler -> worker
    THING_RUN = 1, // number, attempt, function's name, argument, had it begun at a lost worker?
    THING_RECALL,  // number, attempt: give it back if it has not begun
    THING_CANCEL,  // number, attempt: cancel it, running or not
    // worker -> scheduler
    THING_BEGUN, // number, attempt, coroutine: it is about to run
    THING_ENDED, // number, attempt, how, reason, value, nanoseconds
    THING_BACK,  // number, attempt: it was given back
    THING_HAS,   // number, attempt: it is there and has not begun
    // client -> scheduler
    THING_CLASS, // function's name, processors, memory, tags, node, architecture, retries, copies?,
                 // wait for nodes?, seconds at most, quiet?
    THING_JOB,   // number, class, worker or nil, argument
    THING_DROP,  // number: cancel it; 0: all
    THING_TAKEN, // how many THING_DONE it has taken of this desk; only where that keeps a journal
    THING_ALL,   // how many jobs it has told again: that was all that it had
    // scheduler -> client
    THING_STATUS,  // kind, node, worker, coroutine, job, lost?, location, text, worker's address
    THING_STARTED, // number, worker, coroutine
    THING_DONE     // number, how, reason, value, worker or nil, seconds
};
enum { THING_ITEMS_MAX = 11, BATCH_BYTES_MAX = 48 << 10 };
// Of one item: the message has room for the others of its thing.
#define BATCH_ITEM_BYTES_MAX (AC_VALUE_BYTES_MAX - BATCH_BYTES_MAX)

// Things that wait to be sent.
struct batch {
    ac_value *items;
    size_t first, count, capacity; // of the items
};

static inline bool batch_empty(const struct batch *batch) { return batch->count == 0; }
// Takes the items. 0; -ENOMEM, or the error of an item that is invalid.
int batch_add_items(struct batch *batch, enum thing thing, const ac_value *items, size_t count);
#define batch_add(batch, thing, ...)                                                               \
    batch_add_items((batch), (thing), (ac_value[]){__VA_ARGS__},                                   \
                    sizeof((ac_value[]){__VA_ARGS__}) / sizeof(ac_value))
// Whether a value may be an item: 0; -EMSGSIZE if it is too large or too deep to stand in a
// message; -ENOMEM.
int batch_fits(ac_value it);
// A message of the oldest of them, as many as go into one. AC_INVALID: no memory; what was to be in
// it is gone.
ac_value batch_take(struct batch *batch, const char *word);
// The next thing of such a message: *cursor starts at 0. False after the last, or where it is not
// as it should be. Its items belong to the caller, who drops them with batch_drop.
bool batch_next(ac_value message, size_t *cursor, enum thing *thing,
                ac_value items[THING_ITEMS_MAX]);
void batch_drop(enum thing thing, const ac_value items[THING_ITEMS_MAX]);
void batch_done(struct batch *batch);

// ---- contact.c ----

enum { JOURNAL_TOKEN_BYTES = 16, JOURNAL_ID_BYTES = 8 }; // see journal.h
// The name under which the scheduler that keeps this journal is found.
void scheduler_journal_name(const uint8_t id[JOURNAL_ID_BYTES], char name[80]);

// ---- supplier.c ----

// What a node says to the supplier of a computation says who it is, and shows a secret, which the
// scheduler has told to that node alone: made from the key of the computation, which the client has
// told to the scheduler.
enum { SECRET_BYTES = 16 };
// The secret of the hosts of a computation in one process. 0; -ENOMEM.
int supplier_secret(const uint8_t key[SECRET_BYTES], uint64_t peer, uint8_t secret[SECRET_BYTES]);

// What a host needs to be heard by the supplier.
struct voice {
    ac_ref supplier;
    ac_ref host;
    uint8_t secret[SECRET_BYTES];
};

// ---- elf.c ----

// What an executable needs. Names are separated, and the last one ended, by '\n'.
struct elf_facts {
    int machine;    // e_machine
    int bits;       // 32 or 64
    int libc_major; // the newest version of glibc that it asks for; 0: none
    int libc_minor;
    char interpreter[128]; // the loader; "" if it is static
    char libraries[2048];  // needed directly
    char folders[1024];    // where it looks for them first (DT_RUNPATH, DT_RPATH)
};

// What a computer offers.
struct elf_place {
    int machine;
    int libc_major;
    int libc_minor;
    struct buffer cache; // of its loader: names of libraries between NULs; may be empty
};

// Reads the facts of an open file. 0; -ENOEXEC, and `problem` says why it is no program that can be
// run or not all of it; or the error of reading.
int elf_read(int fd, struct elf_facts *facts, char problem[PROBLEM_BYTES]);
// Whether a program with these needs runs here: 0, or -ENOEXEC and `problem`.
int elf_check(const struct elf_facts *facts, const struct elf_place *place,
              char problem[PROBLEM_BYTES]);
// Whether it needs this library.
bool elf_needs(const struct elf_facts *facts, const char *name);
// The program is given this library: it need not be at the node.
void elf_provide(struct elf_facts *facts, const char *name);
// The program also needs what one of its libraries does.
void elf_add_needs(struct elf_facts *facts, const struct elf_facts *library);
// "x86_64".
const char *elf_machine(int machine);
// This computer. The cache is to be freed by elf_place_done.
void elf_place_here(struct elf_place *place);
void elf_place_done(struct elf_place *place);
// As a value, to travel; and back: false if it is none.
ac_value elf_to_value(const struct elf_facts *facts);
bool elf_of_value(ac_value value, struct elf_facts *facts);

// ---- status.c ----

ac_value status_notice(const struct ac_status *status);
// Takes exit->exit.value.
ac_value job_exit_notice(const struct ac_job_exit *exit);
// Makes a text one that can travel: where it is no UTF-8, because it came from a file name or was
// cut within a letter, what is not ASCII becomes '?'.
void text_mend(char *text);
// Makes bytes ones that may be shown: what is no UTF-8, and the controls but '\n' and '\t', become
// '?'.
void text_clean(char *bytes, size_t count);
// "192.168.1.7:51350"; "" if it is not known.
void location_of(struct loop *loop, ac_ref ref, char text[64]);

// ---- worker.c: the functions that the program declared ----

// NULL if it was not declared.
const struct ac_job_entry *job_entry_of(ac_function function);
const struct ac_job_entry *job_entry_named(const char *name);
// True once ac_cluster_init has been called.
bool job_entries_known(void);
// The name of this program, from main.
const char *job_program_name(void);

// ---- mapping.c ----

// What runs a chunk of a mapping in a worker; the same for an argument of one that was lost.
extern const struct ac_job_entry mapping_entry, mapping_again_entry;

// What a node tells a worker process through descriptor 3.
struct worker_start {
    struct key_ring keys;
    ac_ref agent; // of the scheduler: whom to tell that the worker is ready
    struct sys_address scheduler;
    ac_ref supplier; // of the client, with whom jobs exchange messages and files
    struct sys_address client;
    int64_t number; // of the worker on its node, from 1
    bool loopback_only;
    const char *node; // its name
    bool stays;       // when its scheduler is lost, which then has another find it
};

// Writes the record into a pipe. 0 or an error.
int worker_start_write(int fd, const struct worker_start *start);
// Writes into that pipe where the scheduler is that has come back. Does not wait for the worker: 0;
// -ETIMEDOUT if that has read nothing for long; or an error. From a coroutine.
int worker_return_write(int fd, ac_ref agent, const struct sys_address *scheduler);
// True if `fd` is a pipe with such a record; then it is read into *start, whose texts live as long
// as *held.
bool worker_start_read(int fd, struct worker_start *start, ac_value *held);
// Waits for what is written so; the pipe has another end until the node ends. 0; -EPIPE; -EBADMSG;
// or an error.
int worker_return_read(struct sys_handle *handle, ac_value *it);
// Memory for what a worker writes, which outlives it. A descriptor, or -1.
int worker_marks_create(void);
// What stands there; that nothing is known if it cannot be read.
struct worker_marks worker_marks_read(int fd);
// The second argument of a worker process.
extern const char worker_mark[];
// What a worker process is but for the process: runs jobs, on a loop of its own, until it is to
// leave. Wipes the keys. `record`: our end of the pipe in which the record lay, which is closed
// when the worker leaves; `marks`: memory that its node sees. 0 or an error; and `problem` says to
// people why it left, "" if it was told to.
int worker_run(struct worker_start *start, int record, struct worker_marks *marks,
               char problem[PROBLEM_BYTES]);

// ---- doctor.c ----

struct node;
// Answers a "can" to the node's main coroutine. Does not take it.
void doctor_answer(const struct node *node, ac_value question);

// ---- life.c: when a node serves, drains and ends ----

enum node_state {
    NODE_SERVES,
    NODE_RESTS,  // out of its hours: takes nothing in, and lets what it has end within the grace
    NODE_DRAINS, // the same, and then it stops
    NODE_STOPS
};

// Plain data: who uses it passes the time in.
struct life {
    const struct hours *hours; // NULL: always
    ac_time idle_ns;           // 0: never idle
    ac_time grace_ns;
    ac_time limit; // when whoever gave the place takes it back; AC_FOREVER: not known
    // The rest is for life.c to change.
    enum node_state state;
    ac_time asked;   // when a signal asked it to end first; AC_NOW: none has
    ac_time since;   // when the last computation ended; AC_FOREVER: there is one
    ac_time until;   // when the grace of a drain or a rest is over
    bool over;       // that grace is over: what still runs is to be ended
    bool hurries;    // it stops, and a signal has asked once more: nothing is waited for
    const char *why; // for people, for all states but NODE_SERVES
};

void life_begin(struct life *life, ac_time now);
// A signal asks it to end: the first one drains it, a later one stops it, and one after that does
// not let it wait for anything.
void life_ask(struct life *life, ac_time now);
// To be drained: with a grace of its own, or less than 0 for that of the life. A later one may
// change the grace.
void life_drain(struct life *life, ac_time now, ac_time grace_ns, const char *why);
void life_stop(struct life *life, const char *why);
// What is the case now: `computations` run. `minute`: of the week, for the hours.
void life_look(struct life *life, ac_time now, int minute, uint32_t computations);
// When it should be looked at again at the latest, but for the hours; AC_FOREVER.
ac_time life_next(const struct life *life);
const char *life_state_name(enum node_state state);

// ---- outside.c: what node and scheduler are told of the outside ----

struct outside {
    struct life *life; // is told
    struct coro *main; // is woken
    int signals;       // their descriptor
};

// To be called by the main thread before it starts others. 0 or an error, and `text` says what.
int outside_open(struct outside *outside, struct life *life, char text[256]);
void outside_close(struct outside *outside);
// `keys`: instead of a file; NULL. 0 or an error, and `text` says what.
int outside_network(const struct ac_network_options *network, const struct key_ring *keys,
                    char text[256]);
// From now on signals are told to the life, and with `input` the end of standard input, and the
// running coroutine gets a message. 0 or an error.
int outside_watch(struct outside *outside, bool input);
// A daemon coroutine that may call whatever it likes. NULL: no memory.
struct coro *outside_daemon(ac_function function, void *argument, const char *name);
// The same, for who does not want to know it. 0; -ENOMEM.
int outside_spawn(ac_function function, void *argument, const char *name);
// What was printed is to be seen; and the service manager, if there is one, is told.
void outside_say_ready(void);
void outside_say_state(const struct life *life);

// ---- place.c: what there is for a node ----

// Tags as words: "gpu=a100 ssd". What does not fit is left out.
void tags_write(ac_value tags, char *text, size_t bytes);

enum { SLURM_ID_BYTES = 32 };

struct place {
    uint32_t processors;
    uint64_t memory_bytes; // 0: not known
};
// This computer, as its processors, its memory and the cgroups of this process leave it.
void place_here(struct place *place);
// The same of cgroups alone: `own` is what /proc/self/cgroup says, `top` where cgroups are mounted.
// Only ever makes less of what is there.
void place_of_groups(struct place *place, const char *own, const char *top);

// What Slurm has given to a task: its environment (see sbatch's and srun's manual pages).
struct slurm_place {
    char job[SLURM_ID_BYTES];
    char node[64];         // "": not told
    uint32_t processors;   // 0: not told
    uint64_t memory_bytes; // 0: not told
    int64_t end_s;         // when the job's time is over, since 1970; 0: not told
};
// False if this is no task of Slurm.
bool place_of_slurm(struct slurm_place *it);
// Reads what `squeue -o %L` says of the time that is left: "1-02:03:04", "05:06", "UNLIMITED".
// Seconds; INT64_MAX without limit; -1 if it does not say.
int64_t slurm_time_left(const char *text);

// ---- outlet.c ----

// The node's standard error, as one listener sees it.
struct outlet {
    struct sys_handle handle; // a copy, in the mode it has; not open: all is dropped
    uint64_t dropped;         // bytes, not told yet
    bool stalled;             // the last run did not fit: the next one does not wait
};

void outlet_open(struct outlet *outlet);
// What does not fit is dropped. Changes nothing of the bytes.
void outlet_pass_on(struct outlet *outlet, int64_t number, char *bytes, size_t count);
void outlet_close(struct outlet *outlet, int64_t number);

// ---- gift.c ----

struct node;

// Sends items of an intake to another host; `name`: of the computation; the supplier is told if
// that cannot be done. Takes `wanted`. 0; -EBUSY where the node passes on as much as it may; or an
// error.
int gift_begin(struct node *node, const struct intake *intake, const char *name,
               const struct voice *voice, ac_ref to, ac_value wanted, uint64_t round);
// Tells the supplier that it cannot be done.
void gift_refuse(const struct voice *voice, ac_ref to, uint64_t round);

// ---- host.c ----

// The daemon, as its hosts see it.
struct node {
    struct coro *main; // to be told when a host has ended
    struct list hosts; // struct host
    uint32_t host_count;
    uint32_t gift_count;   // programs that are being passed on to other nodes
    uint32_t workers;      // for each computation, and the processors that jobs may compute with
    uint64_t memory_bytes; // that jobs may use, of all computations together; 0: not known
    ac_value tags;         // a map of texts
    ac_time upload_ns;     // how long an upload may bring nothing
    bool loopback_only;
    bool stopping;
    const char *closed; // why it takes no computation in now; NULL: it does
    char name[64];
    struct cells cells;
    struct elf_place place;
    struct contents contents;
};

// Takes a computation in: `open` is the message. Takes nothing.
void host_create(struct node *node, ac_value open);
// Has all hosts tell their agents that the node drains, and how much time is left to their jobs.
void host_drain_all(struct node *node, ac_time grace_ns);
// Asks all hosts to end their workers and themselves; node->main gets a message when the last one
// has ended.
void host_stop_all(struct node *node);

#endif
