// SPDX-License-Identifier: MIT
// What the files of cluster/ share.
#ifndef CLUSTER_CLUSTER_PRIVATE_H
#define CLUSTER_CLUSTER_PRIVATE_H

#include "cluster/cargo.h"
#include "cluster/cluster.h"
#include "io/io.h"

// The name by which nodes are found.
#define NODE_NAME "asyncoro.node"

enum {
    WORKERS_MAX = 1024,  // of one computation on one node
    HOSTS_MAX = 64,      // computations on one node
    QUEUE_MAX = 100000,  // jobs that wait for a worker
    WINDOW_MANY = 10000, // jobs at once in a worker that runs many
    WINDOW_ONE = 2       // in one that runs one at a time: the next one is there when it ends
};

// True for a list that opens with this word: a message of ours.
static inline bool message_is(ac_value message, const char *word) {
    ac_value first = message.kind == AC_LIST ? ac_at(message, 0) : ac_nil;
    ac_span span = ac_span_of(first);
    bool is = first.kind == AC_TEXT && span.bytes == strlen(word) &&
              memcmp(span.at, word, span.bytes) == 0;
    ac_drop(first);
    return is;
}

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

// What a node tells a worker process through descriptor 3.
struct worker_start {
    struct key_ring keys;
    ac_ref agent; // of the client: whom to tell that the worker is ready
    struct sys_address client;
    int64_t number; // of the worker on its node, from 1
    bool loopback_only;
    const char *node; // its name
};

// Writes the record into a pipe. 0 or an error.
int worker_start_write(int fd, const struct worker_start *start);
// True if `fd` is a pipe with such a record; then it is read into *start, whose texts live as long
// as *held.
bool worker_start_read(int fd, struct worker_start *start, ac_value *held);
// The second argument of a worker process.
extern const char worker_mark[];

// ---- doctor.c ----

struct node;
// Answers a "can" to the node's main coroutine. Does not take it.
void doctor_answer(const struct node *node, ac_value question);

// ---- host.c ----

// The daemon, as its hosts see it.
struct node {
    struct coro *main; // to be told when a host has ended
    struct list hosts; // struct host
    uint32_t host_count;
    uint32_t workers; // for each computation
    bool loopback_only;
    bool stopping;
    char name[64];
    struct elf_place place;
    struct contents contents;
};

// Takes a computation in: `open` is the message. Takes nothing.
void host_create(struct node *node, ac_value open);
// Asks all hosts to end their workers and themselves; node->main gets a message when the last one
// has ended.
void host_stop_all(struct node *node);

#endif
