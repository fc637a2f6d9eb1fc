// SPDX-License-Identifier: MIT
// Private to sys/: what stack.c tells overflow.c.
#ifndef SYS_STACK_PRIVATE_H
#define SYS_STACK_PRIVATE_H

#include "sys/sys.h"

#define SLAB_BYTES ((size_t)64 << 20)

struct sys_slab {
    struct sys_slab *next;        // of the same pool
    struct sys_slab *next_of_all; // atomic: of the process
    char *base;                   // aligned to SLAB_BYTES
    int class;
    size_t count;   // stacks that fit
    size_t cut;     // stacks cut so far
    size_t guarded; // how many of these, from the first on, have a guard page; the others have a
                    // canary
    size_t split;   // how many of the guards were made by mprotect
    unsigned *valgrind_ids; // what Valgrind calls them; NULL without it
};

// The slab around an address; NULL if it belongs to no stack. Safe in a signal handler.
struct sys_slab *sys_slab_find(const void *address);
// The top of a stack of the slab.
void *sys_stack_top_at(const struct sys_slab *slab, size_t index);
// The lowest address of a stack.
static inline char *sys_stack_low(const void *top, int class) {
    return (char *)((uintptr_t)top & ~(uintptr_t)(sys_stack_bytes(class) - 1));
}

#endif
