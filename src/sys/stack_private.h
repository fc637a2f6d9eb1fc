// SPDX-License-Identifier: MIT
// Private to sys/: what stack.c tells overflow.c.
#ifndef SYS_STACK_PRIVATE_H
#define SYS_STACK_PRIVATE_H

#include "sys/sys.h"

#define SLAB_BYTES ((size_t)64 << 20)

struct iovec;

struct sys_slab {
    struct sys_slab *next;      // of the same pool
    struct sys_slab *next_here; // atomic: in the same place of the table of the process
    char *base;                 // aligned to SLAB_BYTES
    int class;
    size_t before;  // stacks in the slabs of its class that the pool has filled before it
    size_t count;   // stacks that fit
    size_t cut;     // stacks cut so far
    size_t guarded; // how many, from the first on, have a guard page; what is cut beyond them has a
                    // canary
    size_t split;   // how many of the guards were made by mprotect
    struct iovec
        *ahead; // room for the guards of one call: whoever needs a stack may have a small one
    unsigned *valgrind_ids; // what Valgrind calls them; NULL without it
};

// The slab around an address; NULL if it belongs to no stack. Safe in a signal handler. In constant
// time up to 64 GiB of stacks; beyond, it grows with their number divided by a thousand.
struct sys_slab *sys_slab_find(const void *address);
// The top of a stack of the slab.
void *sys_stack_top_at(const struct sys_slab *slab, size_t index);
// From one stack of a class to the next, the guard included.
size_t sys_stack_span(int class);
// The lowest address of a stack: of its guard, if it has one.
char *sys_stack_low(const void *top, int class);

#endif
