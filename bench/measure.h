// SPDX-License-Identifier: MIT
// One measurement, the same for every C and C++ program of the benchmark.
//
// A program names its figures in a table and calls measure_main(), which prints one number and
// nothing else: bench/run reads it.
//
// A figure in nanoseconds has `work(n)`, which does n operations, or a few more, and returns how
// many it did. It is run until a run is long enough to trust (this is the warm-up), then once more
// for about a third of a second. A figure in another unit has `value()`, which measures by itself.
// What cannot be measured here says so by measure_cannot().
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t (*measure_work)(uint64_t n);

struct measure_figure {
    const char *name;      // as bench/run knows it
    void (*prepare)(void); // makes partners, once, outside the measured time; may be NULL
    measure_work work;     // NULL: `value` measures
    double (*value)(void); // in the unit of the figure
};

// The same in every program.
enum {
    MEASURE_BATCH = 1000,        // in a batch of one-way messages
    MEASURE_MANY = 10000,        // ready coroutines of the figure `yield-10k`
    MEASURE_LISTENERS = 1000,    // subscribers of `broadcast-1000`
    MEASURE_RING = 503,          // coroutines of `ring-503`
    MEASURE_CROWD = 1000 * 1000, // coroutines of the figures of many; leaves of `skynet-1m`
    MEASURE_CHILDREN = 10,       // of a node of `skynet-1m`
    MEASURE_POLL_US = 50,        // how long a server of `echo-1-polling` polls before it sleeps
    MEASURE_CANNOT = 77          // exit status of a program that cannot measure the figure
};

static inline double measure_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// Processor time of the process until now, of user and system, in milliseconds.
static inline double measure_cpu_ms(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
}

// The bytes behind a field of /proc/PID/status, "VmRSS" say.
static inline double measure_status_bytes(int pid, const char *field) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    double kib = -1;
    size_t length = strlen(field);
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, length) == 0 && line[length] == ':')
            kib = atof(line + length + 1);
    if (!file || kib < 0) {
        fprintf(stderr, "no %s in %s\n", field, path);
        exit(1);
    }
    fclose(file);
    return kib * 1024;
}

// What a process has of memory now, with the tables by which the processor finds it.
static inline double measure_memory_bytes_of(int pid) {
    return measure_status_bytes(pid, "VmRSS") + measure_status_bytes(pid, "VmPTE");
}

// The same of this process.
static inline double measure_memory_bytes(void) { return measure_memory_bytes_of(getpid()); }

// The most it ever had, in megabytes, without those tables.
static inline double measure_peak_mb(void) { return measure_status_bytes(getpid(), "VmHWM") / 1e6; }

// The next of a sequence of numbers below `end` that is the same in every run (xorshift64*).
static inline uint64_t measure_random(uint64_t end) {
    static uint64_t state = 88172645463325252;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 2685821657736338717u >> 32) * end >> 32;
}

static inline int measure_compare(const void *a, const void *b) {
    const double *one = (const double *)a, *other = (const double *)b; // in C++ too
    return (*one > *other) - (*one < *other);
}

// The middle one; they are put in order.
static inline double measure_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, measure_compare);
    return values[count / 2];
}

// Ends a program that cannot measure the figure, which is no failure; bench/run shows why.
static inline void measure_cannot(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(MEASURE_CANNOT);
}

// Nanoseconds per operation of `work`.
static inline double measure(measure_work work) {
    const double warm_ns = 60e6, run_ns = 300e6;
    uint64_t n = 1000;
    for (;;) {
        double start = measure_now();
        uint64_t done = work(n);
        double took = measure_now() - start;
        if (took >= warm_ns) {
            n = (uint64_t)((double)done * run_ns / took) + 1;
            break;
        }
        n *= 2;
    }
    double start = measure_now();
    uint64_t done = work(n);
    return (measure_now() - start) / (double)done;
}

// The body of a program: find the figure that argv[1] names, measure it, print. Returns the exit
// status.
static inline int measure_main(int argc, char **argv, const struct measure_figure *figures) {
    const struct measure_figure *f = figures;
    while (argc == 2 && f->name && strcmp(f->name, argv[1]) != 0)
        f++;
    if (argc != 2 || !f->name) {
        fprintf(stderr, "usage: %s FIGURE, one of:", argv[0]);
        for (f = figures; f->name; f++)
            fprintf(stderr, " %s", f->name);
        fprintf(stderr, "\n");
        return 2;
    }
    if (f->prepare)
        f->prepare();
    printf("%.3f\n", f->work ? measure(f->work) : f->value());
    fflush(stdout);
    return 0;
}

#endif
