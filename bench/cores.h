// SPDX-License-Identifier: MIT
// For the programs of two cores: which thread runs where. To be included first.
#ifndef BENCH_CORES_H
#define BENCH_CORES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "measure.h"

#include <sched.h>

static cpu_set_t cores_allowed;

// To be called in main, before there is another thread: both cores must be there.
static inline void cores_find(void) {
    sched_getaffinity(0, sizeof cores_allowed, &cores_allowed);
    if (CPU_COUNT(&cores_allowed) < 2)
        measure_cannot("it needs two cores");
}

// Keeps the calling thread on the n-th of them, from 0.
static inline void cores_pin(int n) {
    cpu_set_t one;
    CPU_ZERO(&one);
    int core = 0;
    for (;; core++)
        if (CPU_ISSET(core, &cores_allowed) && n-- == 0)
            break;
    CPU_SET(core, &one);
    sched_setaffinity(0, sizeof one, &one);
}

#endif
