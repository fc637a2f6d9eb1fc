// SPDX-License-Identifier: MIT
// Stacks: cut from slabs of 64 MiB of address space, guarded at the low end, used again last in,
// first out.
//
//      slab (aligned to 64 MiB, MAP_NORESERVE)
//      | guard | ... usable ... | owner | colour || guard | ... usable ... | owner | colour || ...
//      low                        ^ top
//
// A page of a stack takes memory when it is first touched and keeps it. `colour` shifts the tops by
// up to 31 cache lines: otherwise all tops would compete for the same sets of the first-level
// cache. For the same reason the guard is a page more than the stack has: the first pages of stacks
// that lie a power of two apart compete for a few sets of the address translation. Huge pages must
// be refused, or the first touch of a stack of 64 KiB costs all of it; but not to small stacks.
//
// Guards: MADV_GUARD_INSTALL marks a page as inaccessible without splitting the mapping
// (Linux 6.13); up to 256 stacks ahead are guarded by one call. Where the kernel lacks it, mprotect
// does the same but costs mappings, of which a process has vm.max_map_count: a quarter of them is
// used. After that a canary word at the low end must do, which is checked when the coroutine ends.
//
// Small stacks have no guard page: two share a page. They always have a canary, which coro/ checks
// whenever their coroutine waits or ends.
//
// Measuring. What of a stack lies below its frames is filled with a pattern; where the pattern ends
// later, somebody has been. A page without memory has not been used and is left alone (mincore),
// so measuring costs no memory. A page that was used for the first time still has zeros where
// others have the pattern.
//
// Slabs of all pools stand in one table, by their addresses, so that the signal handler of
// overflow.c can tell whose stack an address belongs to. Those that lie next to each other have
// different places in it. It is only changed under a lock; the handler reads it without.
#include "sys/stack_private.h"
#include "sys/sys.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) (void)(id)
#define VALGRIND_DISABLE_ERROR_REPORTING (void)0
#define VALGRIND_ENABLE_ERROR_REPORTING (void)0
#endif

#ifdef SYS_SANITIZED
void __asan_unpoison_memory_region(void const volatile *at, size_t bytes) __attribute__((weak));
#endif

#define UNSANITIZED __attribute__((noinline, no_sanitize("address", "thread", "undefined")))

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { COLOURS = 32, COLOURS_SMALL = 4, LINE = 64, HUGE_PAGE_BYTES = 2 << 20 };

// By one call, which takes 6 us and half a microsecond for each: with more of them there is little
// left to gain, and whoever is ready waits longer.
enum { GUARDS_AT_ONCE = 256 };

static const uint64_t canary = 0x5ca1ab1e0ddba11;
static const uint64_t paint = 0xc0a7c0a7c0a7c0a7;

// Asked about at once; on a stack that may be small.
enum { PAGES = 64, OWN_FRAME_BYTES = 512 };

enum { PLACES = 1024 }; // of the table of slabs

static pthread_mutex_t slabs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sys_slab *slabs[PLACES]; // atomic for the reader in the signal handler
static enum sys_guard guard_kind;      // of the last guard; stored under slabs_lock, read without
static int small_class;                // atomic: what who asks for a small stack gets
static long mprotect_left = -1;        // guards that mprotect may still make; -1: not known yet

static size_t page_bytes(void);
static struct sys_slab **place_of(const void *address);
static struct sys_slab *slab_create(int class);
static void slab_destroy(struct sys_slab *slab);
static void *cut(struct sys_stacks *stacks, struct sys_slab *slab);
static void guard_next(struct sys_slab *slab);

// To write a line of the trace takes more than a small stack has.
void sys_stacks_init(struct sys_stacks *stacks) {
    memset(stacks, 0, sizeof *stacks);
    int class = trace_on_any() ? SYS_STACK_SMALL + 1 : SYS_STACK_SMALL;
    __atomic_store_n(&small_class, class, __ATOMIC_RELAXED);
}

void sys_stacks_done(struct sys_stacks *stacks) {
    while (stacks->slabs) {
        struct sys_slab *slab = stacks->slabs;
        stacks->slabs = slab->next;
        slab_destroy(slab);
    }
    memset(stacks->free, 0, sizeof stacks->free);
    memset(stacks->latest, 0, sizeof stacks->latest);
}

size_t sys_stack_bytes(int class) {
    static const size_t bytes[SYS_STACK_CLASSES] = {2 << 10,   16 << 10, 64 << 10,
                                                    256 << 10, 1 << 20,  8 << 20};
    return bytes[class];
}

size_t sys_stack_span(int class) {
    size_t bytes = sys_stack_bytes(class), page = page_bytes();
    return class == SYS_STACK_SMALL ? bytes : ((bytes + page - 1) & ~(page - 1)) + page;
}

char *sys_stack_low(const void *top, int class) {
    char *base = (char *)((uintptr_t)top & ~(uintptr_t)(SLAB_BYTES - 1));
    return (char *)top - (size_t)((const char *)top - base) % sys_stack_span(class);
}

// Where what can be used begins.
static char *bottom_of(const void *top, int class) {
    return sys_stack_low(top, class) + (class == SYS_STACK_SMALL ? 0 : page_bytes());
}

int sys_stack_class(size_t bytes) {
    if (bytes == 0)
        return SYS_STACK_DEFAULT;
#ifdef SYS_SANITIZED
    bytes = bytes < (256 << 10) ? 256 << 10 : bytes;
#endif
    if (bytes == sys_stack_bytes(SYS_STACK_SMALL))
        return __atomic_load_n(&small_class, __ATOMIC_RELAXED);
    for (int class = SYS_STACK_SMALL + 1; class < SYS_STACK_CLASSES; class ++)
        if (bytes <= sys_stack_bytes(class))
            return class;
    return -EINVAL;
}

void *sys_stack_cut(struct sys_stacks *stacks, int class) {
    struct sys_slab *slab = stacks->latest[class]; // those before it are full
    if (!slab || slab->cut == slab->count) {
        size_t before = slab ? slab->before + slab->count : 0;
        slab = slab_create(class);
        if (!slab)
            return NULL;
        slab->before = before;
        slab->next = stacks->slabs;
        stacks->slabs = stacks->latest[class] = slab;
    }
    return cut(stacks, slab);
}

#ifdef SYS_SANITIZED
void sys_stack_clean(void *top, int class) {
    if (!__asan_unpoison_memory_region)
        return;
    char *low = bottom_of(top, class);
    __asan_unpoison_memory_region(low, (size_t)((char *)top - low));
}
#endif

bool sys_stack_intact(const void *top, int class) {
    char *low = sys_stack_low(top, class);
    if (class == SYS_STACK_SMALL)
        return *(uint64_t *)low == canary;
    struct sys_slab *slab = sys_slab_find(low);
    size_t index = (size_t)(low - slab->base) / sys_stack_span(class);
    return index < slab->guarded || *(uint64_t *)low == canary;
}

// Not inlined, so that what it calls lies below its frame.
__attribute__((noinline)) void sys_stack_trim(const void *top, int class) {
    uintptr_t own = (uintptr_t)__builtin_frame_address(0) - OWN_FRAME_BYTES;
    char *end = (char *)(own & ~(uintptr_t)(page_bytes() - 1)), *low = bottom_of(top, class);
    if (class != SYS_STACK_SMALL && end > low)
        (void)madvise(low, (size_t)(end - low), MADV_DONTNEED);
}

// Which of the pages have memory; all of them if the system does not tell. Returns their number.
static size_t ask_pages(char *at, const char *end, unsigned char there[PAGES]) {
    size_t count = (size_t)(end - at) / page_bytes();
    count = count < PAGES ? count : PAGES;
    if (mincore(at, count * page_bytes(), there) != 0)
        memset(there, 1, count);
    return count;
}

// Not inlined, so that its frame is one of its own; what it touches are dead frames, and those that
// sanitizers know of as such.
static UNSANITIZED void paint_words(volatile uint64_t *from, const volatile uint64_t *to) {
    const volatile uint64_t *here = __builtin_frame_address(0);
    here -= OWN_FRAME_BYTES / sizeof *here;
    bool own = here >= from && here < to;
    to = own ? here : to;
    VALGRIND_DISABLE_ERROR_REPORTING; // of what is done below a stack pointer
    while (from < to)
        *from++ = paint;
    VALGRIND_ENABLE_ERROR_REPORTING;
}

void sys_stack_paint(void *top, int class, const void *to) {
    if (class == SYS_STACK_SMALL)
        return;
    char *end = sys_stack_low(top, class) + sys_stack_span(class);
    for (char *at = bottom_of(top, class); at < (const char *)to;) {
        unsigned char there[PAGES];
        size_t count = ask_pages(at, end, there);
        for (size_t i = 0; i < count && at < (const char *)to; i++, at += page_bytes()) {
            char *page_end = at + page_bytes();
            if (there[i] & 1)
                paint_words((uint64_t *)at, to < (void *)page_end ? to : page_end);
        }
    }
}

void sys_stacks_paint_free(struct sys_stacks *stacks) {
    for (int class = 0; class < SYS_STACK_CLASSES; class ++)
        for (void *top = stacks->free[class]; top; top = *(void **)top)
            sys_stack_paint(top, class, top);
}

// The lowest word of a page that has memory which was used; NULL: none of a painted page.
static UNSANITIZED const char *first_used(const char *page) {
    const uint64_t *word = (const uint64_t *)page, *end = (const uint64_t *)(page + page_bytes());
    VALGRIND_DISABLE_ERROR_REPORTING;
    uint64_t unused = *word == paint ? paint : 0;
    while (word < end && *word == unused)
        word++;
    VALGRIND_ENABLE_ERROR_REPORTING;
    if (word < end)
        return (const char *)word;
    return unused == paint ? NULL : page;
}

size_t sys_stack_used(const void *top, int class) {
    if (class == SYS_STACK_SMALL)
        return 0; // not painted
    char *end = sys_stack_low(top, class) + sys_stack_span(class);
    for (char *at = bottom_of(top, class); at < end;) {
        unsigned char there[PAGES];
        size_t count = ask_pages(at, end, there);
        for (size_t i = 0; i < count; i++, at += page_bytes()) {
            const char *used = there[i] & 1 ? first_used(at) : NULL;
            if (used)
                return used < (const char *)top ? (size_t)((const char *)top - used) : 0;
        }
    }
    return 0;
}

void sys_stacks_count(const struct sys_stacks *stacks, uint64_t *count, uint64_t *bytes) {
    *count = *bytes = 0;
    for (const struct sys_slab *slab = stacks->slabs; slab; slab = slab->next) {
        *count += slab->cut;
        *bytes += slab->cut * sys_stack_bytes(slab->class);
    }
}

enum sys_guard sys_stack_guard(void) {
    pthread_mutex_lock(&slabs_lock);
    enum sys_guard kind = guard_kind;
    pthread_mutex_unlock(&slabs_lock);
    return kind;
}

struct sys_slab *sys_slab_find(const void *address) {
    struct sys_slab *slab = __atomic_load_n(place_of(address), __ATOMIC_ACQUIRE);
    while (slab && (uintptr_t)slab->base / SLAB_BYTES != (uintptr_t)address / SLAB_BYTES)
        slab = __atomic_load_n(&slab->next_here, __ATOMIC_ACQUIRE);
    return slab;
}

void *sys_stack_top_at(const struct sys_slab *slab, size_t index) {
    char *end = slab->base + (index + 1) * sys_stack_span(slab->class);
    size_t colours = slab->class == SYS_STACK_SMALL ? COLOURS_SMALL : COLOURS;
    return end - 16 - index % colours * LINE;
}

static struct sys_slab **place_of(const void *address) {
    return &slabs[(uintptr_t)address / SLAB_BYTES % PLACES];
}

static size_t page_bytes(void) {
    static size_t bytes; // the same whoever stores it
    size_t known = __atomic_load_n(&bytes, __ATOMIC_RELAXED);
    if (unlikely(known == 0)) {
        known = (size_t)sysconf(_SC_PAGESIZE);
        __atomic_store_n(&bytes, known, __ATOMIC_RELAXED);
    }
    return known;
}

// Twice the address space is asked for and what is not aligned given back.
static char *map_aligned(int class) {
    char *raw = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *base = (char *)(((uintptr_t)raw + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
    if (base > raw)
        munmap(raw, (size_t)(base - raw));
    munmap(base + SLAB_BYTES, (size_t)(raw + SLAB_BYTES - base));
    // Small stacks are used one after the other from the beginning of a slab: many of them share a
    // huge page, and who has few does not get the first.
    size_t plain = class == SYS_STACK_SMALL ? HUGE_PAGE_BYTES : SLAB_BYTES;
    madvise(base, plain, MADV_NOHUGEPAGE);
    if (plain < SLAB_BYTES)
        madvise(base + plain, SLAB_BYTES - plain, MADV_HUGEPAGE);
    return base;
}

static struct sys_slab *slab_create(int class) {
    struct sys_slab *slab = memory_allocate_zeroed(sizeof *slab);
    if (!slab)
        return NULL;
    slab->ahead = memory_allocate(GUARDS_AT_ONCE * sizeof *slab->ahead);
    slab->base = slab->ahead ? map_aligned(class) : NULL;
    if (!slab->base) {
        memory_release(slab->ahead);
        memory_release(slab);
        return NULL;
    }
    slab->class = class;
    slab->count = SLAB_BYTES / sys_stack_span(class);
    trace(TRACE_SYS, "address space for %zu more stacks of %zu KiB", slab->count,
          sys_stack_bytes(class) >> 10);
    pthread_mutex_lock(&slabs_lock);
    struct sys_slab **place = place_of(slab->base);
    slab->next_here = *place;
    __atomic_store_n(place, slab, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&slabs_lock);
    return slab;
}

static void slab_destroy(struct sys_slab *slab) {
    pthread_mutex_lock(&slabs_lock);
    struct sys_slab **link = place_of(slab->base);
    while (*link != slab)
        link = &(*link)->next_here;
    __atomic_store_n(link, slab->next_here, __ATOMIC_RELEASE);
    mprotect_left += (long)slab->split;
    pthread_mutex_unlock(&slabs_lock);
    for (size_t i = 0; slab->valgrind_ids && i < slab->cut; i++)
        VALGRIND_STACK_DEREGISTER(slab->valgrind_ids[i]);
    memory_release(slab->valgrind_ids);
    memory_release(slab->ahead);
#ifdef SYS_SANITIZED
    // Who was killed in the simulator has not given its stacks back.
    if (__asan_unpoison_memory_region)
        __asan_unpoison_memory_region(slab->base, SLAB_BYTES);
#endif
    munmap(slab->base, SLAB_BYTES);
    memory_release(slab);
}

// Cuts the next stack of a slab that has one left.
static void *cut(struct sys_stacks *stacks, struct sys_slab *slab) {
    size_t bytes = sys_stack_span(slab->class);
    size_t index = slab->cut++;
    char *low = slab->base + index * bytes;
    bool small = slab->class == SYS_STACK_SMALL;
    if (!small && slab->guarded == index)
        guard_next(slab);
    if (slab->guarded <= index) {
        *(uint64_t *)low = canary;
        if (!small)
            stacks->checks |= SYS_STACK_CANARIES;
    }
#ifdef RUNNING_ON_VALGRIND
    if (RUNNING_ON_VALGRIND) {
        if (!slab->valgrind_ids)
            slab->valgrind_ids = memory_allocate_zeroed(slab->count * sizeof *slab->valgrind_ids);
        if (slab->valgrind_ids)
            slab->valgrind_ids[index] = VALGRIND_STACK_REGISTER(low, low + bytes);
    }
#endif
    return sys_stack_top_at(slab, index);
}

// How many guards mprotect may make: a quarter of the mappings that the system allows, and each
// costs two.
static long mprotect_guards(void) {
    long maps = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file) {
        if (fscanf(file, "%ld", &maps) != 1)
            maps = 65530;
        fclose(file);
    }
    return maps / 8;
}

// Guards the next stacks of a slab by one call: as many again as the pool has cut of this class, so
// that few are guarded in vain. How many; 0 if that does not work here.
static size_t guard_ahead(struct sys_slab *slab) {
    size_t count = slab->before + slab->guarded;
    count = count < GUARDS_AT_ONCE ? count : GUARDS_AT_ONCE;
    count = count < slab->count - slab->guarded ? count : slab->count - slab->guarded;
    if (count < 2)
        return 0;
    struct iovec *guards = slab->ahead;
    for (size_t i = 0; i < count; i++)
        guards[i] = (struct iovec){slab->base + (slab->guarded + i) * sys_stack_span(slab->class),
                                   page_bytes()};
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0)
        return 0;
    long done = syscall(SYS_process_madvise, self, guards, count, MADV_GUARD_INSTALL, 0);
    close(self);
    return done < 0 ? 0 : (size_t)done / page_bytes();
}

// Guards the next stack of a slab, and maybe some after it. If there is no guard left a canary must
// do.
static void guard_next(struct sys_slab *slab) {
    char *low = slab->base + slab->guarded * sys_stack_span(slab->class);
    if (__atomic_load_n(&guard_kind, __ATOMIC_RELAXED) == SYS_GUARD_MARKER) {
        size_t ahead = guard_ahead(slab);
        if (ahead == 0 && madvise(low, page_bytes(), MADV_GUARD_INSTALL) == 0)
            ahead = 1;
        slab->guarded += ahead;
        if (ahead > 0)
            return;
    }
    pthread_mutex_lock(&slabs_lock);
    if (mprotect_left < 0)
        mprotect_left = mprotect_guards();
    enum sys_guard kind = SYS_GUARD_CANARY;
    if (mprotect_left > 0 && mprotect(low, page_bytes(), PROT_NONE) == 0) {
        mprotect_left--;
        slab->split++;
        slab->guarded++;
        kind = SYS_GUARD_MPROTECT;
    }
    __atomic_store_n(&guard_kind, kind, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&slabs_lock);
}
