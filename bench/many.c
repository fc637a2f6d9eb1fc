// SPDX-License-Identifier: MIT
// Our figures of a million coroutines: how quickly they come and go, what they take, what they cost
// the others.
#include "ours.h"

// Stacks of leaves and nodes that do next to nothing.
#ifdef AC_STACK_BYTES_SMALL
enum { STACK_BYTES_LITTLE = AC_STACK_BYTES_SMALL };
#else
enum { STACK_BYTES_LITTLE = 0 }; // as any other
#endif

// ---- skynet: a tree whose leaves send up their ordinal numbers, and whose nodes the sums ----

struct node {
    ac_ref parent;
    int64_t first; // ordinal number of its first leaf
    int64_t size;  // how many leaves it has
};

static ac_value skynet(ac_value argument);

// The description of a child lies in the frame of its parent, which waits for its answer.
static int64_t sum_of_children(const struct node *node) {
    struct node children[MEASURE_CHILDREN];
    int64_t size = node->size / MEASURE_CHILDREN, sum = 0;
    for (int i = 0; i < MEASURE_CHILDREN; i++) {
        children[i] = (struct node){ac_self(), node->first + i * size, size};
        ac_ref child = ac_spawn(skynet, (void *)&children[i], .stack_bytes = STACK_BYTES_LITTLE);
        must(ac_ref_error(child), "ac_spawn");
    }
    for (int i = 0; i < MEASURE_CHILDREN; i++) {
        ac_value message;
        must(ac_receive(&message, AC_FOREVER), "ac_receive");
        sum += ac_int_of(message);
    }
    return sum;
}

static ac_value skynet(ac_value argument) {
    const struct node *node = ac_pointer_of(argument);
    ac_send(node->parent, node->size == 1 ? node->first : sum_of_children(node));
    return ac_nil;
}

double skynet_ms(void) {
    struct node root = {ac_self(), 0, MEASURE_CROWD};
    ac_value sum;
    double start = measure_now();
    must(ac_ref_error(ac_spawn(skynet, (void *)&root)), "ac_spawn");
    must(ac_receive(&sum, AC_FOREVER), "ac_receive");
    double took = measure_now() - start;
    if (ac_int_of(sum) != (int64_t)MEASURE_CROWD * (MEASURE_CROWD - 1) / 2)
        must(-EBADMSG, "the sum of the tree");
    return took / 1e6;
}

double skynet_mb(void) {
    skynet_ms();
    return measure_peak_mb();
}

// ---- idle: coroutines that wait for a message which never comes ----

static uint64_t idle;

static ac_value wait_for_ever(ac_value unused) {
    (void)unused;
    ac_value message;
    idle++;
    return ac_result(ac_receive(&message, AC_FOREVER));
}

static void idle_start(size_t stack_bytes) {
    for (int i = 0; i < MEASURE_CROWD; i++) {
        ac_ref ref = ac_spawn(wait_for_ever, ac_nil, .daemon = true, .stack_bytes = stack_bytes);
        must(ac_ref_error(ref), "ac_spawn");
    }
    ac_yield();
    if (idle != MEASURE_CROWD)
        must(-ECHILD, "spawned, and not run after one yield");
}

static double bytes_of_idle(size_t stack_bytes) {
    double before = measure_memory_bytes();
    idle_start(stack_bytes);
    return (measure_memory_bytes() - before) / MEASURE_CROWD;
}

double idle_bytes(void) { return bytes_of_idle(AC_STACK_BYTES_DEFAULT); }

double idle_bytes_small(void) {
#ifdef AC_STACK_BYTES_SMALL
    return bytes_of_idle(AC_STACK_BYTES_SMALL);
#else
    measure_cannot("the library has no small stacks");
    return 0;
#endif
}

double idle_cost(void) {
    roundtrip_prepare();
    double alone = measure(roundtrip_work);
    idle_start(AC_STACK_BYTES_DEFAULT);
    return measure(roundtrip_work) / alone;
}

// ---- timers ----

static ac_ref sleepless; // waits for all sleepers
static uint64_t asleep;

static ac_value sleep_once(ac_value unused) {
    (void)unused;
    must(ac_sleep((double)measure_random(1000 * 1000 * 1000) / 1e9), "ac_sleep");
    if (--asleep == 0)
        ac_send(sleepless, 0);
    return ac_nil;
}

static double cpu_ms_of_sleep(size_t stack_bytes) {
    double before = measure_cpu_ms();
    sleepless = ac_self();
    asleep = MEASURE_CROWD;
    for (int i = 0; i < MEASURE_CROWD; i++)
        must(ac_ref_error(ac_spawn(sleep_once, ac_nil, .stack_bytes = stack_bytes)), "ac_spawn");
    ac_value message;
    must(ac_receive(&message, AC_FOREVER), "ac_receive");
    return measure_cpu_ms() - before;
}

double timers_cpu_ms(void) { return cpu_ms_of_sleep(AC_STACK_BYTES_DEFAULT); }

double timers_small_cpu_ms(void) {
#ifdef AC_STACK_BYTES_SMALL
    return cpu_ms_of_sleep(AC_STACK_BYTES_SMALL);
#else
    measure_cannot("the library has no small stacks");
    return 0;
#endif
}
