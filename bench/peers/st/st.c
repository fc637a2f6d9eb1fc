// SPDX-License-Identifier: MIT
// State Threads 1.9, set as its documentation advises: the epoll event system, and condition
// variables without a mutex, because its threads only switch inside functions that block.
//
// It has no yield on the short way and no messages. st_usleep(0), which its reference calls
// yielding, goes through the timers and takes 300 ns, so `yield` hands a signal around a ring of
// condition variables, which is many times quicker. A mailbox is a ring of numbers and a condition
// variable, as small as a user could write it.
#include "../../measure.h"

#include <st.h>
#include <stdlib.h>

enum { STACK_BYTES = 64 * 1024, CELLS = 1024 };

struct mailbox {
    st_cond_t filled;
    uint32_t head, tail; // next to take, next free; they wrap around
    int64_t cells[CELLS];
};

static struct mailbox ours, theirs;
static uint64_t ended;
static int64_t sum;
static st_cond_t *turns; // one for each thread of the ring
static size_t turns_n;

static void thread_start(void *(*function)(void *), void *argument) {
    if (!st_thread_create(function, argument, 0, STACK_BYTES)) {
        fprintf(stderr, "st_thread_create failed\n");
        exit(1);
    }
}

// ---- yield ----

static void pass_on(size_t i) {
    st_cond_signal(turns[(i + 1) % turns_n]);
    st_cond_wait(turns[i]);
}

static void *ring_thread(void *argument) {
    size_t i = (size_t)argument;
    st_cond_wait(turns[i]);
    for (;;)
        pass_on(i);
    return NULL;
}

static void ring_prepare(size_t n) {
    turns = calloc(n, sizeof *turns);
    turns_n = n;
    for (size_t i = 0; i < n; i++)
        turns[i] = st_cond_new();
    for (size_t i = 1; i < n; i++)
        thread_start(ring_thread, (void *)i);
    st_usleep(1000); // until all of them wait
}

static void yield_2_prepare(void) { ring_prepare(2); }

static void yield_10k_prepare(void) { ring_prepare(MEASURE_MANY); }

static uint64_t yield_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += turns_n)
        pass_on(0);
    return done;
}

// ---- spawn ----

static void *count(void *argument) {
    ended++;
    return argument;
}

static uint64_t spawn_work(uint64_t n) {
    uint64_t before = ended;
    for (uint64_t i = 0; i < n; i++) {
        st_thread_t thread = st_thread_create(count, NULL, 1, STACK_BYTES);
        if (!thread)
            exit(1);
        st_thread_join(thread, NULL);
    }
    return ended - before;
}

// ---- messages ----

static void mailbox_push(struct mailbox *to, int64_t number) {
    to->cells[to->tail++ % CELLS] = number;
    st_cond_signal(to->filled);
}

static int64_t mailbox_pop(struct mailbox *from) {
    while (from->head == from->tail)
        st_cond_wait(from->filled);
    return from->cells[from->head++ % CELLS];
}

static void *echo(void *unused) {
    (void)unused;
    for (;;)
        mailbox_push(&ours, mailbox_pop(&theirs) + 1);
    return NULL;
}

static void roundtrip_prepare(void) {
    ours.filled = st_cond_new();
    theirs.filled = st_cond_new();
    thread_start(echo, NULL);
}

static uint64_t roundtrip_work(uint64_t n) {
    int64_t number = 0;
    for (uint64_t i = 0; i < n; i++) {
        mailbox_push(&theirs, number);
        number = mailbox_pop(&ours);
    }
    return (uint64_t)number;
}

static void *drain(void *unused) {
    (void)unused;
    for (;;) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            sum += mailbox_pop(&theirs);
        mailbox_push(&ours, 0);
    }
    return NULL;
}

static void oneway_prepare(void) {
    ours.filled = st_cond_new();
    theirs.filled = st_cond_new();
    thread_start(drain, NULL);
}

static uint64_t oneway_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            mailbox_push(&theirs, i);
        mailbox_pop(&ours); // the batch has been taken
    }
    return done;
}

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"yield-2", yield_2_prepare, yield_work},
        {"yield-10k", yield_10k_prepare, yield_work},
        {"spawn", NULL, spawn_work},
        {"roundtrip", roundtrip_prepare, roundtrip_work},
        {"oneway", oneway_prepare, oneway_work},
        {NULL, NULL, NULL},
    };
    st_set_eventsys(ST_EVENTSYS_ALT);
    if (st_init() < 0) {
        perror("st_init");
        return 1;
    }
    return measure_main(argc, argv, figures);
}
