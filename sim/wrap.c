// SPDX-License-Identifier: MIT
// What the library asks of the system beside its poller, as simulated processes have it: the linker
// puts these functions in the place of those whose names they carry (--wrap, see meson.build).
//
// Memory: each process has its own, so that what it has is known, what it leaves is known, and it
// can be dropped whole. A chunk is a head in front of what the process sees:
//
//   base ... struct chunk | bytes
#include "sim.h"

#include "io/crypto.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct chunk {
    struct list link;        // in the memory of its process
    struct process *process; // NULL: of none
    void *base;              // what is to be freed
    uint32_t bytes;
    uint32_t mark;    // CHUNK
    const void *from; // who has allocated it
};
#define CHUNK 0xa5c0c0a5
_Static_assert(sizeof(struct chunk) == 48, "what follows it is aligned to 16");

// What the linker gives these names to.
#define REPLACES __attribute__((used))
int __wrap_ac_encode(ac_value it, void **encoded, size_t *bytes);
int __real_ac_encode(ac_value it, void **encoded, size_t *bytes);
void *__wrap_memory_allocate(size_t bytes);
void *__wrap_memory_allocate_zeroed(size_t bytes);
void *__wrap_memory_allocate_lines(size_t bytes);
void *__wrap_memory_resize(void *old, size_t bytes);
void __wrap_memory_release(void *it);
char *__wrap_memory_copy_text(const char *text);
ac_time __wrap_sys_clock(void);
int __wrap_sys_random_bytes(void *to, size_t bytes);
int __wrap_sys_interfaces(struct sys_interface *found, size_t found_max);
void __wrap_sys_fd_close(int fd);
struct digest *__wrap_digest_create(void);
struct digest *__real_digest_create(void);
void __wrap_digest_destroy(struct digest *digest);
void __real_digest_destroy(struct digest *digest);
int __wrap_sys_overflow_watch(size_t (*describe)(const void *owner, char *text, size_t bytes));
void __wrap_sys_overflow_unwatch(void);
bool __wrap_trace_on(enum trace_floor floor);
void __wrap_trace_line(enum trace_floor floor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void __wrap_watchdog_add(struct loop *loop);
void __wrap_watchdog_remove(struct loop *loop);
struct loop *__wrap_watchdog_find(uint64_t peer, uint32_t number);
void __real_watchdog_add(struct loop *loop);
void __real_watchdog_remove(struct loop *loop);
struct loop *__real_watchdog_find(uint64_t peer, uint32_t number);

// ---- memory ----

static void *put_chunk(uint8_t *base, size_t before, size_t bytes, const void *from) {
    if (!base || bytes > UINT32_MAX)
        abort();
    struct chunk *it = (struct chunk *)(base + before) - 1;
    *it = (struct chunk){.process = sim.running,
                         .base = base,
                         .bytes = (uint32_t)bytes,
                         .mark = CHUNK,
                         .from = from};
    list_append(sim.running ? &sim.running->memory : &sim.memory, &it->link);
    if (it->process) {
        it->process->bytes += bytes;
        if (it->process->bytes > it->process->bytes_most)
            it->process->bytes_most = it->process->bytes;
    }
    return it + 1;
}

static struct chunk *chunk_of(void *it) {
    struct chunk *chunk = (struct chunk *)it - 1;
    assert(chunk->mark == CHUNK);
    return chunk;
}

REPLACES void *__wrap_memory_allocate(size_t bytes) {
    return put_chunk(malloc(sizeof(struct chunk) + bytes), sizeof(struct chunk), bytes,
                     __builtin_return_address(0));
}

REPLACES void *__wrap_memory_allocate_zeroed(size_t bytes) {
    return put_chunk(calloc(1, sizeof(struct chunk) + bytes), sizeof(struct chunk), bytes,
                     __builtin_return_address(0));
}

REPLACES void *__wrap_memory_allocate_lines(size_t bytes) {
    bytes = (bytes + MEMORY_LINE_BYTES - 1) & ~(size_t)(MEMORY_LINE_BYTES - 1);
    uint8_t *base = aligned_alloc(MEMORY_LINE_BYTES, MEMORY_LINE_BYTES + bytes);
    if (base)
        memset(base, 0, MEMORY_LINE_BYTES + bytes);
    return put_chunk(base, MEMORY_LINE_BYTES, bytes, __builtin_return_address(0));
}
_Static_assert(sizeof(struct chunk) <= MEMORY_LINE_BYTES, "the head fits in front");

static void release(struct chunk *it) {
    list_remove(&it->link);
    if (it->process)
        it->process->bytes -= it->bytes;
    it->mark = 0;
    free(it->base);
}

REPLACES void *__wrap_memory_resize(void *old, size_t bytes) {
    void *it = __wrap_memory_allocate(bytes);
    if (old) {
        struct chunk *chunk = chunk_of(old);
        memcpy(it, old, chunk->bytes < bytes ? chunk->bytes : bytes);
        release(chunk);
    }
    return it;
}

REPLACES void __wrap_memory_release(void *it) {
    if (it)
        release(chunk_of(it));
}

REPLACES char *__wrap_memory_copy_text(const char *text) {
    if (!text)
        return NULL;
    size_t bytes = strlen(text) + 1;
    return memcpy(__wrap_memory_allocate(bytes), text, bytes);
}

// Whoever is given the bytes frees them with free().
REPLACES int __wrap_ac_encode(ac_value it, void **encoded, size_t *bytes) {
    void *ours;
    int err = __real_ac_encode(it, &ours, bytes);
    if (err)
        return err;
    *encoded = malloc(*bytes);
    if (!*encoded)
        abort();
    memcpy(*encoded, ours, *bytes);
    __wrap_memory_release(ours);
    return 0;
}

void wrap_list(const struct list *memory) {
    list_each (link, memory) {
        const struct chunk *it = container_of(link, struct chunk, link);
        printf("# %u bytes for %p\n", it->bytes, it->from);
    }
}

void wrap_forget(struct list *memory) {
    list_each (link, memory)
        release(container_of(link, struct chunk, link));
}

// ---- digests ----

// What OpenSSL has for them belongs to no process, so who has made one is remembered.
static struct {
    struct digest *digest;
    const struct process *process;
} * digests;
static size_t digest_count;

REPLACES struct digest *__wrap_digest_create(void) {
    size_t i = 0;
    struct digest *it = __real_digest_create();
    while (i < digest_count && digests[i].digest)
        i++;
    if (i == digest_count && !(digests = realloc(digests, ++digest_count * sizeof *digests)))
        abort();
    digests[i].digest = it;
    digests[i].process = sim.running;
    return it;
}

REPLACES void __wrap_digest_destroy(struct digest *digest) {
    for (size_t i = 0; digest && i < digest_count; i++)
        if (digests[i].digest == digest)
            digests[i].digest = NULL;
    __real_digest_destroy(digest);
}

void wrap_forget_digests(const struct process *process) {
    for (size_t i = 0; i < digest_count; i++)
        if (digests[i].digest && digests[i].process == process)
            __wrap_digest_destroy(digests[i].digest);
}

// ---- clock and chance without a poller ----

REPLACES ac_time __wrap_sys_clock(void) {
    return sim.running ? process_clock(sim.running) : sim.now;
}

REPLACES int __wrap_sys_random_bytes(void *to, size_t bytes) {
    uint8_t *at = to;
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)random_step(sim.running ? &sim.running->random : &sim.random);
    return 0;
}

// ---- the computer ----

REPLACES int __wrap_sys_interfaces(struct sys_interface *found, size_t found_max) {
    assert(sim.running && found_max >= 2);
    (void)found_max;
    found[0] = (struct sys_interface){.index = 1,
                                      .is_loopback = true,
                                      .address = {.family = 4, .ip = {127, 0, 0, 1}},
                                      .broadcast = {.family = 4, .ip = {127, 255, 255, 255}},
                                      .name = "lo"};
    found[1] = (struct sys_interface){.index = 2,
                                      .address = net_host_address(sim.running->host),
                                      .broadcast = {.family = 4, .ip = {10, 255, 255, 255}},
                                      .name = "eth0"};
    return 2;
}

REPLACES void __wrap_sys_fd_close(int fd) {
    if (fd >= DISK_FD)
        disk_close(fd);
    else if (fd >= 0)
        net_close(fd);
}

// ---- what the library tells of itself ----

REPLACES bool __wrap_trace_on(enum trace_floor floor) {
    return floor == TRACE_FABRIC || (sim.talks && floor >= TRACE_REMOTE && floor < TRACE_FRAME);
}

// Two sides that run the same code never breach the protocol: who finds that is told of a mistake
// that is mended by losing the peer, and which nobody would see.
REPLACES void __wrap_trace_line(enum trace_floor floor, const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    const char *breach = ac_strerror(-EBADMSG);
    size_t bytes = strlen(line), tail = strlen(breach);
    if (sim.talks)
        printf("#     process %u: %s\n", sim.running ? sim.running->number : 0, line);
    sim_check(floor != TRACE_FABRIC || bytes < tail || strcmp(line + bytes - tail, breach) != 0,
              "process %u finds a breach of the protocol: %s", sim.running->number, line);
}

// ---- loops ----

// The program watches for overflows, and not each process.
REPLACES int __wrap_sys_overflow_watch(size_t (*describe)(const void *owner, char *text,
                                                          size_t bytes)) {
    (void)describe;
    return 0;
}

REPLACES void __wrap_sys_overflow_unwatch(void) {}

REPLACES void __wrap_watchdog_add(struct loop *loop) {
    struct process *process = sim.running;
    __real_watchdog_add(loop);
    for (size_t i = 0; i < countof(process->made); i++)
        if (!process->made[i]) {
            process->made[i] = loop;
            return;
        }
}

REPLACES void __wrap_watchdog_remove(struct loop *loop) {
    struct process *process = sim.running;
    __real_watchdog_remove(loop);
    for (size_t i = 0; i < countof(process->made); i++)
        if (process->made[i] == loop)
            process->made[i] = NULL;
}

// A process finds its own loops.
REPLACES struct loop *__wrap_watchdog_find(uint64_t peer, uint32_t number) {
    struct loop *loop = __real_watchdog_find(peer, number);
    for (size_t i = 0; loop && i < countof(sim.running->made); i++)
        if (sim.running->made[i] == loop)
            return loop;
    return NULL;
}

void wrap_forget_loops(struct process *process) {
    for (size_t i = 0; i < countof(process->made); i++) {
        struct loop *loop = process->made[i];
        if (!loop)
            continue;
        process->made[i] = NULL;
        __real_watchdog_remove(loop);
        sys_table_done(&loop->records);
        sys_stacks_done(&loop->stacks);
    }
}
