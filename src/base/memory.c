// SPDX-License-Identifier: MIT
// Allocation. A thin layer over malloc whose only purpose is that a test can make any single
// allocation of its thread fail, so that every path that gives up can be walked: "fail the n-th"
// until none fails.
//
// What is allocated here may be released with free() and the other way round; users are told so
// where memory passes to them (ac_encode).
#include <stdlib.h>
#include <sys/mman.h>

#include "base/base.h"

// A table begins with steps of the one size, until it holds one of the other.
enum { STEP_BYTES = 128 << 10, HUGE_PAGE_BYTES = 2 << 20 };

// One for each thread, so that a test does not disturb others.
static _Thread_local struct {
    long countdown; // the allocation that brings it to zero fails; 0: none will
    bool failed;    // it has come to that
} fault;

static bool must_fail(void);

void *memory_allocate(size_t bytes) {
    if (unlikely(fault.countdown) && must_fail())
        return NULL;
    return malloc(bytes ? bytes : 1);
}

void *memory_allocate_zeroed(size_t bytes) {
    if (unlikely(fault.countdown) && must_fail())
        return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *memory_allocate_lines(size_t bytes) {
    if (unlikely(fault.countdown) && must_fail())
        return NULL;
    void *it = aligned_alloc(MEMORY_LINE_BYTES,
                             (bytes + MEMORY_LINE_BYTES - 1) & ~(size_t)(MEMORY_LINE_BYTES - 1));
    if (it)
        memset(it, 0, bytes);
    return it;
}

void *memory_resize(void *old, size_t bytes) {
    if (unlikely(fault.countdown) && must_fail())
        return NULL;
    return realloc(old, bytes ? bytes : 1);
}

void memory_release(void *it) { free(it); }

char *memory_copy_text(const char *text) {
    if (!text)
        return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

int memory_table_init(struct memory_table *table, size_t bytes_max, size_t bytes_min) {
    *table = (struct memory_table){0};
    if (unlikely(fault.countdown) && must_fail())
        return -ENOMEM;
    void *at = MAP_FAILED;
    size_t bytes = bytes_max;
    for (; at == MAP_FAILED && bytes >= bytes_min; bytes /= 2) {
        // Enough to begin with a huge page, wherever the address space begins.
        at = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        table->bytes_max = bytes;
    }
    if (at == MAP_FAILED)
        return -ENOMEM;
    table->raw = at;
    table->at = (char *)at + (-(uintptr_t)at & (HUGE_PAGE_BYTES - 1));
    return 0;
}

int memory_table_grow(struct memory_table *table, size_t bytes) {
    if (bytes <= table->bytes)
        return 0;
    if (unlikely(fault.countdown) && must_fail())
        return -ENOMEM;
    assert(bytes <= table->bytes_max);
    size_t step = bytes <= HUGE_PAGE_BYTES ? STEP_BYTES : HUGE_PAGE_BYTES;
    size_t to = (bytes + step - 1) & ~(step - 1);
    to = to < table->bytes_max ? to : table->bytes_max;
    char *at = (char *)table->at + table->bytes;
    if (mprotect(at, to - table->bytes, PROT_READ | PROT_WRITE) != 0)
        return -ENOMEM;
    if (step == HUGE_PAGE_BYTES)
        (void)madvise(at, to - table->bytes, MADV_HUGEPAGE); // if there are none, so be it
    table->bytes = to;
    return 0;
}

void memory_table_done(struct memory_table *table) {
    if (table->at)
        munmap(table->raw, table->bytes_max + HUGE_PAGE_BYTES);
    *table = (struct memory_table){0};
}

void memory_fail_nth(long n) {
    fault.countdown = n > 0 ? n : 0;
    fault.failed = false;
}

bool memory_has_failed(void) { return fault.failed; }

static bool must_fail(void) {
    if (--fault.countdown > 0)
        return false;
    fault.failed = true;
    return true;
}
