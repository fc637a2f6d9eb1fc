// SPDX-License-Identifier: MIT
// Cells: what the workers of a computation live in on a node (cell.c): its folder (folder.c), in
// which they start; each worker is a ward (sys/sandbox.h), confined as the node's options say, with
// an environment that tells it nothing of the node's.
#ifndef CLUSTER_CELL_H
#define CLUSTER_CELL_H

#include "cluster/cluster.h"

enum { CELL_TEXT_BYTES = 640, WORKER_END_LAST_BYTES = 4 << 10 };

// What a node knows of its cells.
struct cells {
    struct sys_sandbox_parts parts;
    struct sys_sandbox sandbox; // but for the folder
    int lock;                   // of the folder that was named; -1: not open
    char text[CELL_TEXT_BYTES]; // what confines workers here, and what is missing
};

// Keeps the folder that was named, so that no other node has it, and finds out what this system has
// to confine workers with. Takes some ms. 0; -EBUSY if another node has the folder; or another
// error; then `text` says what is wrong.
int cells_open(struct cells *cells, const struct node_options *options, char text[256]);
// Kills and removes what is left.
void cells_close(struct cells *cells);

// Starts a worker in the folder that `how` names, with what may pass of the environment that `how`
// has; else as sys_ward_start. 0 or an error, and `problem`.
int cell_start(struct cells *cells, struct sys_ward *ward, const struct sys_process_options *how,
               char problem[SYS_WARD_PROBLEM_BYTES]);

// Removes what the system has of a worker that was reaped. Can wait, for a moment.
void cell_clear(struct sys_ward *ward);

// Runs a program, sought as shells do, to its end in a folder, confined as a worker is, and kills
// it with what it has started when the time is up. Can wait. Its exit code, 128 more than the
// signal that ended it, -ETIMEDOUT or another error; *said, what it wrote up to bytes_max, is to be
// released.
int cell_run(struct cells *cells, const char *const *words, const char *folder, double seconds,
             size_t bytes_max, char **said);

// How a worker ended.
struct worker_end {
    bool closed;              // it was asked to
    int err;                  // nobody knows how, and this is why; 0
    struct sys_ward_end ward; // exit code or signal, limits that it went beyond, what it used
    const char *last;         // what it wrote last
    size_t last_bytes;
};

// In one line of plain letters: "killed by signal 11 (Segmentation fault), 12 MiB at the most; it
// wrote last: ...". What does not fit is left out.
void worker_end_text(const struct worker_end *end, char *text, size_t bytes);

#endif
