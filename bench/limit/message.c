// SPDX-License-Identifier: MIT
// Limits of messages between stacks.
//
// `roundtrip`: a number to the other stack and back. As in the library, send() never runs the
// receiver: it writes the number straight into the variable of the waiting receiver and makes it
// the ready one (here at most one is); receive() waits by switching to the ready one. Both are
// called, not inlined.
//
// `oneway`: batches into a ring of 16-byte cells, which the other stack takes out when the turn is
// passed.
//
// `broadcast-1000`: a number into the variable of each listener; then the turn goes around.
//
// `ring-503`: the token is the number of hops left; each stack puts it into the slot of the next
// one and switches there.
#include "limit.h"

enum { CELLS = 1024 }; // a power of two that holds a batch

struct cell {
    uint64_t tag;
    uint64_t content;
};

static struct stack *stacks; // of all figures but `ring-503`, [0] is the program's own stack
static struct stack *ready;  // made so by send(), run by receive()

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
        send(&stacks[0], number + 1);
    }
}

void roundtrip_prepare(void) {
    stacks = limit_stacks(2);
    limit_prepare(&stacks[1], echo);
    int64_t nothing;
    stacks[0].waiting = &nothing;
    limit_current = &stacks[1];
    ready = &stacks[0];
    limit_switch(&stacks[0].sp, stacks[1].sp); // until it waits
}

uint64_t roundtrip_work(uint64_t n) {
    int64_t number = 0;
    for (uint64_t i = 0; i < n; i++) {
        send(&stacks[1], number);
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
    stacks = limit_stacks(2);
    limit_prepare(&stacks[1], drain);
    limit_current = &stacks[0];
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

// ---- broadcast ----

static int64_t heard[MEASURE_LISTENERS]; // what each listener has been told

static void listen(void) {
    int64_t *mine = limit_current->waiting;
    for (;;) {
        sum += (uint64_t)*mine;
        limit_yield();
    }
}

void broadcast_prepare(void) {
    stacks = limit_stacks(1 + MEASURE_LISTENERS);
    for (int i = 0; i < MEASURE_LISTENERS; i++) {
        stacks[1 + i].waiting = &heard[i];
        limit_prepare(&stacks[1 + i], listen);
    }
    limit_current = &stacks[0];
}

uint64_t broadcast_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_LISTENERS) {
        for (int i = 0; i < MEASURE_LISTENERS; i++)
            *stacks[1 + i].waiting = (int64_t)done;
        limit_yield();
    }
    return done;
}

// ---- ring ----

static struct stack measurer;
static int64_t slots[MEASURE_RING]; // the token, as put there by the one before

static void hand_on(void) {
    struct stack *me = limit_current, *next = me->next;
    int64_t *mine = me->waiting, *theirs = next->waiting;
    for (;;) {
        int64_t left = *mine;
        // A branch that is foreseen: where to go on must not wait for the token.
        if (__builtin_expect(left > 0, 1)) {
            *theirs = left - 1;
            limit_current = next;
            limit_switch(&me->sp, next->sp);
        } else {
            limit_current = &measurer;
            limit_switch(&me->sp, measurer.sp);
        }
    }
}

void token_prepare(void) {
    stacks = limit_stacks(MEASURE_RING);
    for (int i = 0; i < MEASURE_RING; i++) {
        stacks[i].waiting = &slots[i];
        limit_prepare(&stacks[i], hand_on);
    }
}

uint64_t token_work(uint64_t n) {
    slots[0] = (int64_t)n;
    limit_current = &stacks[0];
    limit_switch(&measurer.sp, stacks[0].sp);
    return n;
}
