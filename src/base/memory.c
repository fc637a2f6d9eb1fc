// SPDX-License-Identifier: MIT
// Allocation. A thin layer over malloc whose only purpose is that a test can make any single
// allocation of its thread fail, so that every path that gives up can be walked: "fail the n-th"
// until none fails.
//
// What is allocated here may be released with free() and the other way round; users are told so
// where memory passes to them (ac_encode).
#include <stdlib.h>

#include "base/base.h"

// One for each thread, so that a test does not disturb others.
static _Thread_local struct {
    long countdown; // the allocation that brings it to zero fails; 0: none will
    bool failed;    // it has come to that
} fault;

enum { LARGE_BYTES = 4 << 20 };

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

void memory_comes_and_goes(void) {
    void *volatile block = malloc(LARGE_BYTES); // nothing is lost if there is none
    free(block);
}

char *memory_copy_text(const char *text) {
    if (!text)
        return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
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
