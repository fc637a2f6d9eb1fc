// SPDX-License-Identifier: MIT
// Our own figures, through the public interface: what a user's program would see.
//
// The measuring coroutine is one of those that are measured. Its partners are daemons.
#ifndef BENCH_OURS_H
#define BENCH_OURS_H

#include "measure.h"

#include <asyncoro.h>
#include <errno.h>

static inline void must(int err, const char *what) {
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, ac_strerror(err));
        exit(1);
    }
}

// A partner.
static inline ac_ref start(ac_function function, int64_t argument) {
    ac_ref ref = ac_spawn(function, argument, .daemon = true);
    must(ac_ref_error(ref), "ac_spawn");
    return ref;
}

// ---- core.c ----

void roundtrip_prepare(void);
uint64_t roundtrip_work(uint64_t n);

// ---- many.c ----

double skynet_ms(void);
double skynet_mb(void);
double idle_bytes(void);
double idle_bytes_small(void);
double timers_cpu_ms(void);
double timers_small_cpu_ms(void);
double idle_cost(void);

#endif
