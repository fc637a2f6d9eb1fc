// SPDX-License-Identifier: MIT
// Bare stacks for the limit programs: what a coroutine is when everything but its stack and its
// place in a ring has been left out.
//
// Stacks are slots of one mapping, of 64 KiB as in the library if nothing else is said. Their tops
// are shifted by up to 31 cache lines, or they would all share the same few sets of the first-level
// cache; and a page lies between two slots of whole pages, or the tops would share the same few
// sets of what remembers addresses (a ring of 503 is three times slower without).
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include "../measure.h"

#include <stddef.h>

struct stack {
    void *sp;           // where it stopped; valid while it does not run
    struct stack *next; // in the ring of ready stacks, or in the pool
    void *top;          // highest address, aligned to 16 bytes
    int64_t *waiting;   // where a message goes that arrives while it waits
};

// The stack that runs now.
extern struct stack *limit_current;

// Saves the callee-saved registers, stores the stack pointer in *save, goes on at `load`. In
// switch.S.
void limit_switch(void **save, void *load);

enum { LIMIT_SLOT_BYTES = 64 * 1024, LIMIT_SLOT_BYTES_SMALL = 2 * 1024 };

// n stacks, linked to a ring in the order of their addresses. Never freed: the program ends soon.
struct stack *limit_stacks(size_t n);
// The same, of slots of that many bytes.
struct stack *limit_stacks_of(size_t n, size_t slot_bytes);

enum { LIMIT_GUARDS_AT_ONCE = 1024 }; // as many as the system takes

// Makes the pages that lie behind these slots guards, into which the next one's stack would
// overflow. n: LIMIT_GUARDS_AT_ONCE at the most; slots of whole pages only.
void limit_guard(const struct stack *stacks, size_t n);

// Lets `s` start with entry() when it is first switched to; entry never returns.
void limit_prepare(struct stack *s, void (*entry)(void));

// The rest of the ring gets its turn.
void limit_yield(void);

// The measured work and, where it needs partners, what makes them.
void switch_prepare(void);
uint64_t switch_work(uint64_t n);
void yield_2_prepare(void);
uint64_t yield_2_work(uint64_t n);
void yield_10k_prepare(void);
uint64_t yield_10k_work(uint64_t n);
void spawn_prepare(void);
uint64_t spawn_work(uint64_t n);
void roundtrip_prepare(void);
uint64_t roundtrip_work(uint64_t n);
void oneway_prepare(void);
uint64_t oneway_work(uint64_t n);
void broadcast_prepare(void);
uint64_t broadcast_work(uint64_t n);
void token_prepare(void);
uint64_t token_work(uint64_t n);
double skynet_ms(void);
double skynet_mb(void);
double idle_bytes(void);
double idle_bytes_small(void);
double timers_cpu_ms(void);
double timers_small_cpu_ms(void);
double timers_guarded_cpu_ms(void);
void cross_roundtrip_prepare(void);
uint64_t cross_roundtrip_work(uint64_t n);
void cross_oneway_prepare(void);
uint64_t cross_oneway_work(uint64_t n);
void cross_at_once_prepare(void);
uint64_t cross_at_once_work(uint64_t n);

// Servers of echo.c; they never return.
double echo_serve(void);
double echo_serve_polling(void);

#endif
