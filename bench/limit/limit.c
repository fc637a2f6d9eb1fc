// SPDX-License-Identifier: MIT
// The limit programs: for each figure the least code that does just this one thing, on bare stacks.
//
// They say what the processor allows, so that our own figures can be read as a multiple of it. This
// file makes stacks, passes the turn around a ring (figures `switch`, `yield-2`, `yield-10k`) and
// holds main.
#define _GNU_SOURCE
#include "limit.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { PAGE_BYTES = 4096, COLOURS = 32, COLOUR_BYTES = 64 };

struct stack *limit_current;

static void ring_prepare(size_t n);
static void pass_on(void);
static void switch_back(void);

struct stack *limit_stacks(size_t n) {
    return limit_stacks_of(n, LIMIT_SLOT_BYTES);
}

struct stack *limit_stacks_of(size_t n, size_t slot_bytes) {
    size_t stride = slot_bytes + (slot_bytes < PAGE_BYTES ? 0 : PAGE_BYTES);
    size_t bytes = n * stride;
    char *slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct stack *stacks = calloc(n, sizeof *stacks);
    if (slots == MAP_FAILED || !stacks) {
        perror("stacks");
        exit(1);
    }
    madvise(slots, bytes, MADV_NOHUGEPAGE);
    // Half a slot at the most goes into colours; small slots have fewer.
    size_t colours = slot_bytes / 2 / COLOUR_BYTES;
    colours = colours < COLOURS ? colours : COLOURS;
    for (size_t i = 0; i < n; i++) {
        stacks[i].top = slots + i * stride + slot_bytes - i % colours * COLOUR_BYTES;
        stacks[i].next = &stacks[(i + 1) % n];
    }
    return stacks;
}

void limit_guard(const struct stack *stacks, size_t n) {
    struct iovec guards[LIMIT_GUARDS_AT_ONCE];
    for (size_t i = 0; i < n; i++) {
        uintptr_t top_page = ((uintptr_t)stacks[i].top - 1) & -(uintptr_t)PAGE_BYTES;
        guards[i] = (struct iovec){(void *)(top_page + PAGE_BYTES), PAGE_BYTES};
    }
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    long done = syscall(SYS_process_madvise, self, guards, n, MADV_GUARD_INSTALL, 0);
    close(self);
    if (done != (long)n * PAGE_BYTES)
        measure_cannot("the system has no guards that need no mapping of their own");
}

void limit_prepare(struct stack *s, void (*entry)(void)) {
    void **sp = s->top;
#if defined(__x86_64__)
    sp -= 8; // six registers, the resume address, a return address of 0
    sp[6] = (void *)entry;
    sp[7] = NULL;
#else
    sp -= 20;
    sp[11] = (void *)entry;
#endif
    s->sp = sp;
}

void limit_yield(void) {
    struct stack *me = limit_current;
    struct stack *next = me->next;
    limit_current = next;
    limit_switch(&me->sp, next->sp);
}

// ---- switch: to the other stack and back, two switches ----

static struct stack *other;
static void *main_sp;

static void switch_back(void) {
    for (;;)
        limit_switch(&other->sp, main_sp);
}

void switch_prepare(void) {
    other = limit_stacks(1);
    limit_prepare(other, switch_back);
}

uint64_t switch_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += 2)
        limit_switch(&main_sp, other->sp);
    return done;
}

// ---- yield: each stack of a ring passes the turn on; the program's own stack is one of them ----

static void pass_on(void) {
    for (;;)
        limit_yield();
}

static void ring_prepare(size_t n) {
    struct stack *ring = limit_stacks(n);
    for (size_t i = 1; i < n; i++)
        limit_prepare(&ring[i], pass_on);
    limit_current = &ring[0];
}

void yield_2_prepare(void) { ring_prepare(2); }

uint64_t yield_2_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += 2)
        limit_yield();
    return done;
}

void yield_10k_prepare(void) { ring_prepare(MEASURE_MANY); }

uint64_t yield_10k_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_MANY)
        limit_yield();
    return done;
}

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"switch", switch_prepare, switch_work},
        {"yield-2", yield_2_prepare, yield_2_work},
        {"yield-10k", yield_10k_prepare, yield_10k_work},
        {"spawn", spawn_prepare, spawn_work},
        {"roundtrip", roundtrip_prepare, roundtrip_work},
        {"oneway", oneway_prepare, oneway_work},
        {"broadcast-1000", broadcast_prepare, broadcast_work},
        {"ring-503", token_prepare, token_work},
        {"skynet-1m", .value = skynet_ms},
        {"skynet-1m-mb", .value = skynet_mb},
        {"idle-bytes", .value = idle_bytes},
        {"idle-bytes-small", .value = idle_bytes_small},
        {"timers-1m-cpu", .value = timers_cpu_ms},
        {"timers-1m-cpu-small", .value = timers_small_cpu_ms},
        {"timers-1m-cpu-guarded", .value = timers_guarded_cpu_ms},
        {"cross-roundtrip", cross_roundtrip_prepare, cross_roundtrip_work},
        {"cross-oneway", cross_oneway_prepare, cross_oneway_work},
        {"cross-oneway-at-once", cross_at_once_prepare, cross_at_once_work},
        {"echo", .value = echo_serve},
        {"echo-polling", .value = echo_serve_polling},
        {NULL},
    };
    return measure_main(argc, argv, figures);
}
