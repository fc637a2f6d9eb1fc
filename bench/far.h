// SPDX-License-Identifier: MIT
// The figures of two processes on loopback: what all C and C++ programs of them share.
//
// A program calls far_start(), which starts the server in a process of its own: that listens on
// 127.0.0.1 and tells its port by far_listens(). Then it connects and calls far_print() with what
// it can do, each a work function as those of measure.h:
//
//   roundtrip  n messages of 64 bytes, each sent when the answer to the one before, of as many, has
//              come
//   oneway     n messages, and one answer when the last of them is where its receiver finds it
//   calls      n questions of 64 bytes and their answers, FAR_CALLERS under way at a time
//
// A round trip has one core for both processes, the others two. far_pin() gives each process its
// own, for those that have one thread that matters.
#ifndef BENCH_FAR_H
#define BENCH_FAR_H

#include "cores.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
    FAR_BYTES = 64,          // of a small message
    FAR_LARGE_BYTES = 65536, // of a large one
    FAR_CALLERS = 1000       // of far-calls-1000
};

struct far_ways {
    measure_work roundtrip;
    measure_work oneway; // of messages of far.bytes
    measure_work calls;
};

static struct {
    const char *figure;
    bool two_cores;
    size_t bytes;  // of a message
    uint16_t port; // of the server
    pid_t server;
    int port_to; // in the server: where its port is told
} far;

static inline void far_must(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

// Puts this process on its core, the server on the first one of two.
static inline void far_pin(void) {
    if (far.two_cores)
        cores_pin(far.server == 0 ? 0 : 1);
}

// In the server.
static inline void far_listens(uint16_t port) {
    far_must(write(far.port_to, &port, sizeof port) == sizeof port, "port");
}

// Starts the server, once what it needs is in far; `serve` never returns.
static inline void far_fork(void (*serve)(void)) {
    int ends[2];
    far_must(pipe(ends) == 0, "pipe");
    far.port_to = ends[1];
    far.server = fork();
    if (far.server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        serve();
        exit(1);
    }
    close(ends[1]);
    far_must(read(ends[0], &far.port, sizeof far.port) == sizeof far.port, "server");
    close(ends[0]);
}

static inline void far_start(int argc, char **argv, void (*serve)(void)) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIGURE\n", argv[0]);
        exit(2);
    }
    far.figure = argv[1];
    far.two_cores = strncmp(far.figure, "far-oneway", 10) == 0 ||
                    strcmp(far.figure, "far-calls-1000") == 0;
    far.bytes = strcmp(far.figure, "far-oneway-64k") == 0 ? FAR_LARGE_BYTES : FAR_BYTES;
    if (far.two_cores)
        cores_find();
    far_fork(serve);
}

// The figure, from nanoseconds for an operation.
static inline double far_value(const struct far_ways *ways) {
    bool roundtrip = !far.two_cores;
    bool calls = strcmp(far.figure, "far-calls-1000") == 0;
    measure_work work = roundtrip ? ways->roundtrip : calls ? ways->calls : ways->oneway;
    if (!work)
        measure_cannot("it is not made for that");
    double ns = measure(work);
    if (roundtrip)
        return ns / 1e3;
    return far.bytes == FAR_LARGE_BYTES ? FAR_LARGE_BYTES / ns * 1e9 / (1 << 20) : 1e9 / ns;
}

static inline void far_end(void) {
    kill(far.server, SIGKILL);
    waitpid(far.server, NULL, 0);
}

static inline void far_print(const struct far_ways *ways) {
    printf("%.3f\n", far_value(ways));
    fflush(stdout);
    far_end();
}

// ---- for those who use sockets themselves ----

static inline struct sockaddr_in far_address(uint16_t port) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

#endif
