// SPDX-License-Identifier: MIT
// Limits of messages between two threads, each pinned to a core of its own.
//
// From each thread to the other leads a ring with one producer and one consumer. An entry is the
// place of its receiver and 16 bytes of value. What was put there is published at once when a
// number goes to and fro, and every few messages when they come in bulk. Who finds nothing spins on
// the index of the other for a while and then sleeps on it (futex).
//
// `cross-oneway-at-once` has no index: an entry is filled when its receiver is not 0, so each is
// seen as soon as it is there. Its consumer only spins, and tells now and then how far it is.
//
// Receivers are stacks: who waits switches to the stack of its thread, which looks into the ring,
// writes the value into the variable of the receiver and switches there. What is in the ring
// already and is for the one who receives, it takes by itself.
#include "../cores.h"

#include "limit.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ENTRIES = 2048, // a power of two that holds two batches
    PUBLISH = 64,   // messages of a batch that become visible together
    TELL = 256,     // entries that are taken before the producer is told, where there is no index
    SPINS = 20000,  // before a thread sleeps
    LINE = 128      // two lines of the cache: the processor fetches them in pairs
};

struct value {
    uint64_t tag;
    int64_t content;
};

struct entry {
    uint64_t receiver;
    struct value value;
};

struct ring {
    struct entry entries[ENTRIES] __attribute__((aligned(LINE)));
    uint32_t filled __attribute__((aligned(LINE)));  // atomic: entries ever published
    uint32_t asleep;                                 // atomic: the consumer sleeps on `filled`
    uint32_t emptied __attribute__((aligned(LINE))); // atomic: entries ever taken out
    // Of the producer alone.
    uint32_t put __attribute__((aligned(LINE))); // entries ever put there
    uint32_t emptied_seen;                       // `emptied` when last looked at
    // Of the consumer alone.
    uint32_t taken __attribute__((aligned(LINE)));
    uint32_t filled_seen;
};

// A coroutine and its thread.
struct end {
    void *sp;           // of the coroutine while it waits
    void *home_sp;      // of the thread while the coroutine runs
    struct value *into; // the variable of the waiting coroutine
    struct ring *in;    // what comes to it
    struct ring *out;   // what goes to the other
};

static struct ring rings[2];
static struct end near, far; // of the measuring thread, of the other one
static int64_t sum;

// ---- the ring ----

static void futex(uint32_t *word, int operation, uint32_t value) {
    syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static inline void publish(struct ring *ring) {
    __atomic_store_n(&ring->filled, ring->put, __ATOMIC_SEQ_CST);
    if (__builtin_expect(__atomic_load_n(&ring->asleep, __ATOMIC_SEQ_CST), 0))
        futex(&ring->filled, FUTEX_WAKE, 1);
}

static __attribute__((noinline)) void put(struct ring *ring, uint64_t receiver,
                                          struct value value) {
    while (__builtin_expect(ring->put - ring->emptied_seen == ENTRIES, 0)) {
        publish(ring);
        relax();
        ring->emptied_seen = __atomic_load_n(&ring->emptied, __ATOMIC_ACQUIRE);
    }
    ring->entries[ring->put++ % ENTRIES] = (struct entry){receiver, value};
}

// Until something is in the ring.
static __attribute__((noinline)) void wait_filled(struct ring *ring) {
    __atomic_store_n(&ring->emptied, ring->taken, __ATOMIC_RELEASE);
    for (int i = 0; i < SPINS; i++) {
        ring->filled_seen = __atomic_load_n(&ring->filled, __ATOMIC_ACQUIRE);
        if (ring->filled_seen != ring->taken)
            return;
        relax();
    }
    __atomic_store_n(&ring->asleep, 1, __ATOMIC_SEQ_CST);
    while ((ring->filled_seen = __atomic_load_n(&ring->filled, __ATOMIC_SEQ_CST)) == ring->taken)
        futex(&ring->filled, FUTEX_WAIT, ring->taken);
    __atomic_store_n(&ring->asleep, 0, __ATOMIC_SEQ_CST);
}

static inline struct entry *take(struct ring *ring) {
    if (ring->taken == ring->filled_seen)
        wait_filled(ring);
    return &ring->entries[ring->taken++ % ENTRIES];
}

// ---- the same without an index ----

static __attribute__((noinline)) void put_at_once(struct ring *ring, uint64_t receiver,
                                                  struct value value) {
    // One entry stays empty: the one behind the last.
    while (__builtin_expect(ring->put - ring->emptied_seen == ENTRIES - 1, 0)) {
        relax();
        ring->emptied_seen = __atomic_load_n(&ring->emptied, __ATOMIC_ACQUIRE);
    }
    struct entry *entry = &ring->entries[ring->put++ % ENTRIES];
    __atomic_store_n(&ring->entries[ring->put % ENTRIES].receiver, 0, __ATOMIC_RELAXED);
    entry->value = value;
    __atomic_store_n(&entry->receiver, receiver, __ATOMIC_RELEASE);
}

// Whom the next entry is for; waits until there is one.
static inline struct entry *look_at_once(struct ring *ring) {
    struct entry *entry = &ring->entries[ring->taken % ENTRIES];
    while (!__atomic_load_n(&entry->receiver, __ATOMIC_ACQUIRE))
        relax();
    return entry;
}

static inline void take_at_once(struct ring *ring) {
    if (++ring->taken % TELL == 0)
        __atomic_store_n(&ring->emptied, ring->taken, __ATOMIC_RELEASE);
}

// ---- a coroutine at each end ----

// Hands what comes in to the coroutine of this thread, for ever or until it goes on by itself.
static void *serve(struct end *me) {
    for (;;) {
        struct entry *entry = take(me->in);
        struct end *receiver = (struct end *)entry->receiver;
        *receiver->into = entry->value;
        limit_switch(&receiver->home_sp, receiver->sp);
    }
    return NULL;
}

static __attribute__((noinline)) struct value receive(struct end *me) {
    struct ring *in = me->in;
    struct entry *entry = &in->entries[in->taken % ENTRIES];
    if (in->taken != in->filled_seen && entry->receiver == (uint64_t)me) {
        in->taken++;
        return entry->value;
    }
    struct value value;
    me->into = &value;
    limit_switch(&me->sp, me->home_sp);
    return value;
}

static void echo(void) {
    for (;;) {
        struct value value = receive(&far);
        value.content++;
        put(far.out, (uint64_t)&near, value);
        publish(far.out);
    }
}

static void drain(void) {
    for (;;) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            sum += receive(&far).content;
        put(far.out, (uint64_t)&near, (struct value){0});
        publish(far.out);
    }
}

static void *serve_at_once(struct end *me) {
    for (;;) {
        struct entry *entry = look_at_once(me->in);
        struct end *receiver = (struct end *)entry->receiver;
        *receiver->into = entry->value;
        take_at_once(me->in);
        limit_switch(&receiver->home_sp, receiver->sp);
    }
    return NULL;
}

static __attribute__((noinline)) struct value receive_at_once(struct end *me) {
    struct ring *in = me->in;
    struct entry *entry = &in->entries[in->taken % ENTRIES];
    struct value value;
    if (__atomic_load_n(&entry->receiver, __ATOMIC_ACQUIRE) == (uint64_t)me) {
        value = entry->value;
        take_at_once(in);
        return value;
    }
    me->into = &value;
    limit_switch(&me->sp, me->home_sp);
    return value;
}

static void drain_at_once(void) {
    for (;;) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            sum += receive_at_once(&far).content;
        put_at_once(far.out, (uint64_t)&near, (struct value){0});
    }
}

static void *(*serve_with)(struct end *me) = serve;

static void serve_near(void) { serve_with(&near); }

static void *far_thread(void *entry) {
    cores_pin(1);
    struct stack *stack = limit_stacks(1);
    limit_prepare(stack, *(void (**)(void))entry);
    limit_switch(&far.home_sp, stack->sp); // until it waits
    return serve_with(&far);
}

// The program's own stack is the coroutine of the measuring thread; its home has one of its own.
static void ends_prepare(void (*entry)(void)) {
    static void (*partner)(void);
    static pthread_t thread;
    partner = entry;
    near = (struct end){.in = &rings[0], .out = &rings[1]};
    far = (struct end){.in = &rings[1], .out = &rings[0]};
    struct stack *home = limit_stacks(1);
    limit_prepare(home, serve_near);
    near.home_sp = home->sp;
    cores_find();
    cores_pin(0);
    if (pthread_create(&thread, NULL, far_thread, &partner) != 0) {
        perror("pthread_create");
        exit(1);
    }
}

void cross_roundtrip_prepare(void) { ends_prepare(echo); }

uint64_t cross_roundtrip_work(uint64_t n) {
    struct value value = {1, 0};
    for (uint64_t i = 0; i < n; i++) {
        put(near.out, (uint64_t)&far, value);
        publish(near.out);
        value = receive(&near);
    }
    return (uint64_t)value.content;
}

void cross_oneway_prepare(void) { ends_prepare(drain); }

uint64_t cross_oneway_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++) {
            put(near.out, (uint64_t)&far, (struct value){1, i});
            if (i % PUBLISH == PUBLISH - 1)
                publish(near.out);
        }
        publish(near.out);
        receive(&near);
    }
    return done;
}

void cross_at_once_prepare(void) {
    serve_with = serve_at_once;
    ends_prepare(drain_at_once);
}

uint64_t cross_at_once_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            put_at_once(near.out, (uint64_t)&far, (struct value){1, i});
        receive_at_once(&near);
    }
    return done;
}
