// SPDX-License-Identifier: MIT
// The face of cluster/: shipping programs to nodes and running their functions there.
//
//   client.c     a computation from open to close; submit and run_at
//   scheduler.c  the jobs of a computation: placing, following and reporting them
//   supply.c     finding nodes and bringing the program to them
//   status.c     status messages and exit notices of jobs
//   node.c       the daemon: takes computations in
//   host.c       one computation on a node: upload, worker processes, their ends
//   worker.c     inside a worker process: runs jobs; and the functions that a program declares
//   cargo.c      what a computation brings with it, at the client (cargo.h)
//   intake.c     the same at a node: choosing a variant, taking in what is missing
//   content.c    a node's store of what was sent to it
//   doctor.c     which nodes could run an executable
//   elf.c        what an executable needs, and whether a computer has it
//
// Who talks to whom. Everything is a message; the messages are specified at the head of host.c
// (client and node) and worker.c (client and worker):
//
//      client                               node                      worker process
//      owner <-- notices -- scheduler.c
//      supply.c: an agent a node  <-------> host.c  --- starts -----> worker.c
//      scheduler.c: an agent a worker  <---------------------------->
//
// Whoever is lost takes what it made along: a client its computations on the nodes, a node its
// workers.
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include "remote/remote.h"

#include <asyncoro/cluster.h>

struct node_options {
    uint32_t workers;   // for each computation; 0: one a processor
    const char *name;   // for people; NULL: this computer's
    bool loopback_only; // as in ac_network_options, all that follow
    uint16_t port;
    uint16_t discovery_port;
    const char *key_file;
    uint64_t store_bytes_max; // of what was sent here and nobody uses; 0: 4 GiB
};

// Runs the node daemon until SIGTERM, SIGINT or SIGHUP: prints one line when it is ready, "node
// NAME at ADDRESS: N workers, ready". To be called outside coroutines. 0; or the error of what
// could not be started, and `text` says what.
int node_run(const struct node_options *options, char text[256]);

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
