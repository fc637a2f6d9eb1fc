// SPDX-License-Identifier: MIT
// Limit of spawn, run and end: a stack from a pool where the last one given back is the first one
// taken, an initial frame, a switch into it, its function, the stack back to the pool, a switch
// back.
#include "limit.h"

enum { POOL = 64 };

static struct stack *pool;    // free stacks, linked by next
static struct stack spawner;  // the program's own stack
static void *dead_sp;         // where an ended stack's pointer is thrown away
static void (*spawned)(void); // the argument of start()
static uint64_t ended;        // what the spawned function counts

static void start(void);
static void spawn(void (*function)(void));
static void count(void);

void spawn_prepare(void) {
    struct stack *stacks = limit_stacks(POOL);
    stacks[POOL - 1].next = NULL;
    pool = stacks;
    limit_current = &spawner;
}

static void start(void) {
    spawned();
    struct stack *me = limit_current;
    me->next = pool;
    pool = me;
    limit_current = &spawner;
    limit_switch(&dead_sp, spawner.sp);
}

static __attribute__((noinline)) void spawn(void (*function)(void)) {
    struct stack *s = pool;
    pool = s->next;
    limit_prepare(s, start);
    spawned = function;
    limit_current = s;
    limit_switch(&spawner.sp, s->sp);
}

static void count(void) { ended++; }

uint64_t spawn_work(uint64_t n) {
    uint64_t before = ended;
    for (uint64_t i = 0; i < n; i++)
        spawn(count);
    return ended - before;
}
