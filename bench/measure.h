// SPDX-License-Identifier: MIT
// One measurement, the same for every C and C++ program of the benchmark.
//
// A program names its figures in a table and calls measure_main(). That runs the work of one figure
// until a run is long enough to trust (this is the warm-up), then once more for about a third of a
// second, and prints nanoseconds per operation. Nothing else goes to the standard output: bench/run
// reads it.
//
// `work(n)` does n operations, or a few more, and returns how many it did.
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef uint64_t (*measure_work)(uint64_t n);

struct measure_figure {
    const char *name;      // as bench/run knows it
    void (*prepare)(void); // makes partners, once, outside the measured time; may be NULL
    measure_work work;
};

// In a batch of one-way messages; every program uses the same.
enum { MEASURE_BATCH = 1000 };
// Ready coroutines of the figure `yield-10k`.
enum { MEASURE_MANY = 10000 };

static inline double measure_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
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
    printf("%.3f\n", measure(f->work));
    fflush(stdout);
    return 0;
}

#endif
