// SPDX-License-Identifier: MIT
// Our figures of two loops on two cores: messages from one to the other.
//
// The measuring coroutine is of the first loop, its partner of the second; each pins the thread of
// its loop to a core.
#include "cores.h"

#include "ours.h"

#ifdef AC_LOOPS_MAX

static ac_ref measurer, partner;
static int64_t sum;

static void pair(ac_function function) {
    cores_pin(0);
    measurer = ac_self();
    partner = ac_spawn(function, ac_nil, .daemon = true, .loop = 2);
    must(ac_ref_error(partner), "ac_spawn");
}

static int64_t receive(void) {
    ac_value message;
    must(ac_receive(&message, AC_FOREVER), "ac_receive");
    return ac_int_of(message);
}

static ac_value echo(ac_value unused) {
    (void)unused;
    cores_pin(1);
    for (;;)
        ac_send(measurer, receive() + 1);
    return ac_nil;
}

static void cross_roundtrip_prepare(void) { pair(echo); }

static uint64_t cross_roundtrip_work(uint64_t n) {
    int64_t number = 0;
    for (uint64_t i = 0; i < n; i++) {
        ac_send(partner, number);
        number = receive();
    }
    return (uint64_t)number;
}

static ac_value drain(ac_value unused) {
    (void)unused;
    cores_pin(1);
    for (;;) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            sum += receive();
        ac_send(measurer, 0);
    }
    return ac_nil;
}

static void cross_oneway_prepare(void) { pair(drain); }

static uint64_t cross_oneway_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            ac_send(partner, i);
        receive();
    }
    return done;
}

static int arguments_n;
static char **arguments;

static ac_value run(ac_value unused) {
    (void)unused;
    static const struct measure_figure figures[] = {
        {"cross-roundtrip", cross_roundtrip_prepare, cross_roundtrip_work},
        {"cross-oneway", cross_oneway_prepare, cross_oneway_work},
        {"cross-oneway-at-once", cross_oneway_prepare, cross_oneway_work}, // to another limit
        {NULL},
    };
    exit(measure_main(arguments_n, arguments, figures));
}

int main(int argc, char **argv) {
    cores_find();
    arguments_n = argc;
    arguments = argv;
    must(ac_ref_error(ac_spawn(run, ac_nil)), "ac_spawn");
    must(ac_run(.loops = 2), "ac_run");
    return 1; // not reached
}

#else

int main(void) { measure_cannot("the library has one loop in a process"); }

#endif
