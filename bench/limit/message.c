// SPDX-License-Identifier: MIT
// Limits of messages between two stacks.
//
// `roundtrip`: a number to the other stack and back. As in the library, send() never runs the
// receiver: it writes the number straight into the variable of the waiting receiver and makes it
// the ready one (here at most one is); receive() waits by switching to the ready one. Both are
// called, not inlined.
//
// `oneway`: batches into a ring of 16-byte cells, which the other stack takes out when the turn is
// passed.
#include "limit.h"

enum { CELLS = 1024 }; // a power of two that holds a batch

struct cell {
    uint64_t tag;
    uint64_t content;
};

static struct stack *pair;  // [0] is the program's own stack
static struct stack *ready; // made so by send(), run by receive()

static struct cell cells[CELLS];
static uint32_t head, tail; // next to take, next free; they wrap around
static uint64_t sum;        // so that no receive is for nothing

static void echo(void);
static void send(struct stack *to, int64_t number);
static void receive(int64_t *number);
static void drain(void);
static int push(uint64_t content);
static int pop(struct cell *cell);

// ---- roundtrip ----

static __attribute__((noinline)) void send(struct stack *to, int64_t number) {
    *to->waiting = number;
    ready = to;
}

static __attribute__((noinline)) void receive(int64_t *number) {
    struct stack *me = limit_current, *next = ready;
    me->waiting = number;
    limit_current = next;
    limit_switch(&me->sp, next->sp);
}

static void echo(void) {
    int64_t number;
    for (;;) {
        receive(&number);
        send(&pair[0], number + 1);
    }
}

void roundtrip_prepare(void) {
    pair = limit_stacks(2);
    limit_prepare(&pair[1], echo);
    int64_t nothing;
    pair[0].waiting = &nothing;
    limit_current = &pair[1];
    ready = &pair[0];
    limit_switch(&pair[0].sp, pair[1].sp); // until it waits
}

uint64_t roundtrip_work(uint64_t n) {
    int64_t number = 0;
    for (uint64_t i = 0; i < n; i++) {
        send(&pair[1], number);
        receive(&number);
    }
    return (uint64_t)number;
}

// ---- oneway ----

static __attribute__((noinline)) int push(uint64_t content) {
    if (tail - head == CELLS)
        return -1;
    struct cell *cell = &cells[tail++ % CELLS];
    cell->tag = 1;
    cell->content = content;
    return 0;
}

static __attribute__((noinline)) int pop(struct cell *cell) {
    if (head == tail)
        return -1;
    *cell = cells[head++ % CELLS];
    return 0;
}

static void drain(void) {
    struct cell cell;
    for (;;) {
        while (pop(&cell) == 0)
            sum += cell.content;
        limit_yield();
    }
}

void oneway_prepare(void) {
    pair = limit_stacks(2);
    limit_prepare(&pair[1], drain);
    limit_current = &pair[0];
}

uint64_t oneway_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            push((uint64_t)i);
        limit_yield();
    }
    return done;
}
