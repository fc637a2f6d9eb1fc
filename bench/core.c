// SPDX-License-Identifier: MIT
// Our own figures of one core, through the public interface: what a user's program would see.
//
// The measuring coroutine is one of those that are measured. Its partners are daemons, so the
// program ends when it ends. `switch` is not here: it is no public thing, see switch.c.
#include "measure.h"

#include <asyncoro.h>
#include <stdlib.h>

static ac_ref measurer, partner;
static uint64_t ended;
static int64_t sum;

static void must(int err, const char *what) {
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, ac_strerror(err));
        exit(1);
    }
}

static ac_ref start(ac_function function) {
    ac_ref ref = ac_spawn(function, ac_nil, .daemon = true);
    must(ac_ref_error(ref), "ac_spawn");
    return ref;
}

// ---- yield ----

static ac_value pass_on(ac_value unused) {
    (void)unused;
    while (ac_yield() == 0)
        ;
    return ac_nil;
}

static void ring_prepare(size_t n) {
    for (size_t i = 1; i < n; i++)
        start(pass_on);
}

static void yield_2_prepare(void) { ring_prepare(2); }

static void yield_10k_prepare(void) { ring_prepare(MEASURE_MANY); }

static uint64_t yields(uint64_t n, size_t ring) {
    uint64_t done;
    for (done = 0; done < n; done += ring)
        ac_yield();
    return done;
}

static uint64_t yield_2_work(uint64_t n) { return yields(n, 2); }

static uint64_t yield_10k_work(uint64_t n) { return yields(n, MEASURE_MANY); }

// ---- spawn: the new coroutine runs and ends while the measuring one yields ----

static ac_value count(ac_value unused) {
    (void)unused;
    ended++;
    return ac_nil;
}

static uint64_t spawn_work(uint64_t n) {
    uint64_t before = ended;
    for (uint64_t i = 0; i < n; i++) {
        ac_spawn(count, ac_nil);
        ac_yield();
    }
    if (ended - before != n)
        must(-ECHILD, "spawned, and not run after one yield");
    return n;
}

// ---- messages ----

static ac_value echo(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_send(measurer, ac_int_of(message) + 1);
    return ac_nil;
}

static void roundtrip_prepare(void) {
    measurer = ac_self();
    partner = start(echo);
}

static uint64_t roundtrip_work(uint64_t n) {
    int64_t number = 0;
    for (uint64_t i = 0; i < n; i++) {
        ac_value message;
        ac_send(partner, number);
        must(ac_receive(&message, AC_FOREVER), "ac_receive");
        number = ac_int_of(message);
    }
    return (uint64_t)number;
}

static ac_value drain(ac_value unused) {
    (void)unused;
    ac_value message;
    for (;;) {
        for (int i = 0; i < MEASURE_BATCH; i++) {
            if (ac_receive(&message, AC_FOREVER) < 0)
                return ac_nil;
            sum += ac_int_of(message);
        }
        ac_send(measurer, 0);
    }
}

static void oneway_prepare(void) {
    measurer = ac_self();
    partner = start(drain);
}

static uint64_t oneway_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        ac_value taken;
        for (int i = 0; i < MEASURE_BATCH; i++)
            ac_send(partner, i);
        must(ac_receive(&taken, AC_FOREVER), "ac_receive");
    }
    return done;
}

// ---- the program ----

static int arguments_n;
static char **arguments;
static int status;

static ac_value run(ac_value unused) {
    (void)unused;
    static const struct measure_figure figures[] = {
        {"yield-2", yield_2_prepare, yield_2_work},
        {"yield-10k", yield_10k_prepare, yield_10k_work},
        {"spawn", NULL, spawn_work},
        {"roundtrip", roundtrip_prepare, roundtrip_work},
        {"oneway", oneway_prepare, oneway_work},
        {NULL, NULL, NULL},
    };
    status = measure_main(arguments_n, arguments, figures);
    return ac_nil;
}

int main(int argc, char **argv) {
    arguments_n = argc;
    arguments = argv;
    must(ac_ref_error(ac_spawn(run, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
    return status;
}
