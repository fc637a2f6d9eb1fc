// SPDX-License-Identifier: MIT
// Tables: memory that grows in one place.
//
//      raw     at                                    at + bytes             at + bytes_max
//       |  ... | steps of 128 KiB, then of 2 MiB ... | address space ...     |
//
// `at` is where a huge page could begin. The first 2 MiB come in small steps and are never a huge
// page, so that a program with few coroutines stays small.
#include "sys/sys.h"

#include <sys/mman.h>
#include <sys/resource.h>

enum { STEP_BYTES = 128 << 10, HUGE_PAGE_BYTES = 2 << 20 };

// A table must leave room for stacks, and for the tables of other loops.
static size_t address_space_share(void) {
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return limited ? limit.rlim_cur / 16 : SIZE_MAX;
}

int sys_table_init(struct sys_table *table, size_t bytes_max, size_t bytes_min) {
    *table = (struct sys_table){0};
    void *at = MAP_FAILED;
    size_t bytes = bytes_max;
    while (bytes > address_space_share() && bytes / 2 >= bytes_min)
        bytes /= 2;
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

int sys_table_grow(struct sys_table *table, size_t bytes) {
    if (bytes <= table->bytes)
        return 0;
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

void sys_table_done(struct sys_table *table) {
    if (table->at)
        munmap(table->raw, table->bytes_max + HUGE_PAGE_BYTES);
    *table = (struct sys_table){0};
}
