// SPDX-License-Identifier: MIT
// Our own figures of one core and few coroutines, and main. `switch` is not here: it is no public
// thing, see switch.c.
#include "ours.h"

static ac_ref measurer, partner;
static uint64_t ended;
static int64_t sum;

// ---- yield ----

static ac_value pass_on(ac_value unused) {
    (void)unused;
    while (ac_yield() == 0)
        ;
    return ac_nil;
}

static void ring_prepare(size_t n) {
    for (size_t i = 1; i < n; i++)
        start(pass_on, 0);
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

void roundtrip_prepare(void) {
    measurer = ac_self();
    partner = start(echo, 0);
}

uint64_t roundtrip_work(uint64_t n) {
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
    partner = start(drain, 0);
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

// ---- broadcast: a message to all listeners, each of which receives it before the next is sent
// ----

static ac_ref channel;
static uint64_t heard;

static ac_value listen(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        sum += ac_int_of(message);
        heard++;
    }
    return ac_nil;
}

static void broadcast_prepare(void) {
    channel = ac_channel_open(NULL);
    for (int i = 0; i < MEASURE_LISTENERS; i++)
        must(ac_channel_subscribe(channel, start(listen, 0)), "ac_channel_subscribe");
    ac_yield(); // until they wait
}

static uint64_t broadcast_work(uint64_t n) {
    uint64_t before = heard, done;
    for (done = 0; done < n; done += MEASURE_LISTENERS) {
        ac_send(channel, 1);
        ac_yield();
    }
    if (heard - before != done)
        must(-ENOMSG, "sent to a channel, and not received by all after one yield");
    return done;
}

// ---- ring: the token is the number of hops left ----

static ac_ref ring[MEASURE_RING];

static ac_value hand_on(ac_value place) {
    ac_ref next = ring[(ac_int_of(place) + 1) % MEASURE_RING];
    ac_value token;
    while (ac_receive(&token, AC_FOREVER) == 0) {
        int64_t left = ac_int_of(token);
        ac_send(left > 0 ? next : measurer, left - 1);
    }
    return ac_nil;
}

static void token_prepare(void) {
    measurer = ac_self();
    for (int i = 0; i < MEASURE_RING; i++)
        ring[i] = start(hand_on, i);
    ac_yield();
}

static uint64_t token_work(uint64_t n) {
    ac_value token;
    ac_send(ring[0], (int64_t)n);
    must(ac_receive(&token, AC_FOREVER), "ac_receive");
    return n;
}

// ---- the program ----

static int arguments_n;
static char **arguments;

// Ends the program by itself: a million idle coroutines need not be ended in order.
static ac_value run(ac_value unused) {
    (void)unused;
    static const struct measure_figure figures[] = {
        {"yield-2", yield_2_prepare, yield_2_work},
        {"yield-10k", yield_10k_prepare, yield_10k_work},
        {"spawn", NULL, spawn_work},
        {"roundtrip", roundtrip_prepare, roundtrip_work},
        {"oneway", oneway_prepare, oneway_work},
        {"broadcast-1000", broadcast_prepare, broadcast_work},
        {"ring-503", token_prepare, token_work},
        {"skynet-1m", .value = skynet_ms},
        {"skynet-1m-mb", .value = skynet_mb},
        {"idle-bytes", .value = idle_bytes},
        {"idle-bytes-small", .value = idle_bytes_small},
        {"timers-1m-cpu", .value = timers_cpu_ms},
        {"timers-1m-cpu-small", .value = timers_small_cpu_ms},
        {"idle-cost", .value = idle_cost},
        {NULL},
    };
    exit(measure_main(arguments_n, arguments, figures));
}

int main(int argc, char **argv) {
    arguments_n = argc;
    arguments = argv;
    must(ac_ref_error(ac_spawn(run, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
    return 1; // not reached
}
