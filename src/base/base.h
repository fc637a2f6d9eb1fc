// SPDX-License-Identifier: MIT
// The face of base/: plain data, no coroutines and no operating system.
//
//   memory   allocation, which tests can make fail by number
//   list     intrusive doubly linked lists
//   heap     4-ary heap of deadlines, ordered by (deadline, sequence)
//   map      hash table from 64-bit keys or byte strings to pointers
//   buffer   growable run of bytes
//   error    the texts of error codes
//   trace    AC_TRACE=floor[,floor]: what the library does, as lines on standard error
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <asyncoro/base.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(pointer, type, field) ((type *)((char *)(pointer)-offsetof(type, field)))
#define countof(array) (sizeof(array) / sizeof((array)[0]))

// ---- memory.c ----

// As malloc, calloc, realloc and free; NULL when there is no memory or when a test asked this call
// to fail.
void *memory_allocate(size_t bytes);
void *memory_allocate_zeroed(size_t bytes);
// Zeroed, and beginning with a line of the cache.
enum { MEMORY_LINE_BYTES = 64 };
void *memory_allocate_lines(size_t bytes);
void *memory_resize(void *old, size_t bytes);
void memory_release(void *it);
// Large blocks will come and go in this process. The C library takes one that is given back for a
// sign (mallopt, M_MMAP_THRESHOLD) not to return such memory to the system each time, and have it
// back page by page; this gives it the sign.
void memory_comes_and_goes(void);
char *memory_copy_text(const char *text);

// For tests: the n-th of the allocations that follow in this thread fails (1: the next one; 0:
// none), once.
void memory_fail_nth(long n);
// For tests: true once that allocation has failed.
bool memory_has_failed(void);

// ---- list: intrusive, circular, with a head of the same type ----

struct list {
    struct list *next; // a head or link that is in no list points to itself
    struct list *prev;
};

static inline void list_init(struct list *list) { list->next = list->prev = list; }
static inline bool list_empty(const struct list *list) { return list->next == list; }
static inline void list_append(struct list *head, struct list *link) {
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}
// Takes the link out and leaves it in no list; harmless when it is in none.
static inline void list_remove(struct list *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}
static inline struct list *list_first(const struct list *head) {
    return head->next == head ? NULL : head->next;
}
// Takes the first link out and returns it; NULL when the list is empty.
static inline struct list *list_take(struct list *head) {
    struct list *first = list_first(head);
    if (first)
        list_remove(first);
    return first;
}
#define list_each(link, head)                                                                      \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head);              \
         link = link##_next, link##_next = link->next)

// ---- heap.c: deadlines; the earliest first, of equal ones the one that was inserted first ----

// Who has a deadline is named by a number below HEAP_IDS_MAX.
enum { HEAP_ID_BITS = 24, HEAP_IDS_MAX = 1 << HEAP_ID_BITS };
#define HEAP_SEQUENCE_MAX ((uint64_t)1 << (64 - HEAP_ID_BITS))

struct heap_entry; // private: deadline, sequence and id
struct heap {
    struct heap_entry *entries;
    uint32_t *places;  // by id: where it stands among the entries, from 1; 0: not in the heap
    void *memory;      // that the entries lie in
    uint32_t count;    // of the entries
    uint32_t capacity; // likewise
    uint32_t ids;      // how many places there are
    uint32_t reserved; // how many entries were promised
    uint64_t sequence; // of the next insertion; below HEAP_SEQUENCE_MAX
};

void heap_init(struct heap *heap);
void heap_done(struct heap *heap);
// Promises one more entry, and a place to `id`, which has none yet or has had one before, so that a
// later heap_insert of it cannot fail. 0, -ENOMEM, or -EAGAIN for an id beyond the limit.
int heap_reserve(struct heap *heap, uint32_t id);
void heap_unreserve(struct heap *heap);
// Inserts an id for which a place is reserved and which is not in the heap.
void heap_insert(struct heap *heap, uint32_t id, ac_time deadline);
// Takes the id out; harmless when it is not in.
void heap_remove(struct heap *heap, uint32_t id);
// The deadline of an id; AC_FOREVER when it is not in.
ac_time heap_deadline(const struct heap *heap, uint32_t id);
// The earliest deadline; AC_FOREVER when the heap is empty.
ac_time heap_earliest(const struct heap *heap);
// The id with the earliest deadline; 0 when the heap is empty.
uint32_t heap_first(const struct heap *heap);
// Takes out the earliest and stores its id, if its deadline is `now` or before. False if there is
// none.
bool heap_take_due(struct heap *heap, ac_time now, uint32_t *id);

// ---- map.c: open addressing; iteration in the order of insertion, so that nothing depends on
// hashes ----

struct map_entry; // private
struct map {
    struct map_entry *entries; // in the order of insertion, holes included
    uint32_t *slots;           // hash table of indexes into entries, plus one
    uint32_t entry_count;      // used entries, holes included
    uint32_t live_count;       // entries that hold something
    uint32_t slot_count;       // power of two, or 0
    uint32_t first_live;       // index of the first entry that is not a hole
    uint64_t stamp;            // of the next insertion
    uint64_t seed;             // of its hashes; taken at the first insertion
};

// From now on the hashes of maps that have had no entry yet depend on this seed of the process,
// which nobody outside can guess: so nobody can choose keys that meet in one place. At first it is
// 0. May be called by any thread, and again.
void map_seed(uint64_t seed);
void map_init(struct map *map);
// Releases the table and its copies of the keys, not what the entries point to.
void map_done(struct map *map);
static inline uint32_t map_count(const struct map *map) { return map->live_count; }
// Keys are byte strings, which are copied; map_..._id use a 64-bit number as key.
// 0; -EEXIST if the key is there; -ENOMEM. `it` is not NULL.
int map_put(struct map *map, const void *key, size_t bytes, void *it);
void *map_get(const struct map *map, const void *key, size_t bytes);
// Takes the entry out and returns what it held, or NULL.
void *map_take(struct map *map, const void *key, size_t bytes);
static inline int map_put_id(struct map *map, uint64_t id, void *it) {
    return map_put(map, &id, sizeof id, it);
}
static inline void *map_get_id(const struct map *map, uint64_t id) {
    return map_get(map, &id, sizeof id);
}
static inline void *map_take_id(struct map *map, uint64_t id) {
    return map_take(map, &id, sizeof id);
}
// Visits the entries in the order of insertion: *cursor starts at 0. Returns NULL after the last.
// Entries may be taken out and put in meanwhile: what is in the map throughout is visited once.
// `key` and `bytes` may be NULL; the key stays where it is until the next map_put or the taking out
// of its entry.
void *map_next(const struct map *map, uint64_t *cursor, const void **key, size_t *bytes);

// ---- buffer.c ----

struct buffer {
    uint8_t *bytes;
    size_t length;
    size_t capacity;
};

void buffer_init(struct buffer *buffer);
void buffer_done(struct buffer *buffer);
// Makes room for `more` bytes beyond length. 0 or -ENOMEM.
int buffer_reserve(struct buffer *buffer, size_t more);
// 0 or -ENOMEM, in which case nothing was appended.
int buffer_append(struct buffer *buffer, const void *bytes, size_t count);
// Takes away the first `count` bytes.
void buffer_consume(struct buffer *buffer, size_t count);

// ---- error.c (and ac_strerror, ac_version) ----

// The name that errno.h has for the code ("EPIPE"), or NULL. Takes either sign.
const char *error_name(int err);

// ---- trace.c ----

enum trace_floor {
    TRACE_SYS,
    TRACE_CORO,
    TRACE_MESSAGE,
    TRACE_IO,
    TRACE_FABRIC,
    TRACE_REMOTE,
    TRACE_CLUSTER,
    TRACE_FRAME // no floor: each frame between peers; "all" leaves it out
};

// One line to standard error if the environment variable AC_TRACE names the floor ("fabric", or
// "all").
#define trace(floor, ...)                                                                          \
    do {                                                                                           \
        if (unlikely(trace_on(floor)))                                                             \
            trace_line(floor, __VA_ARGS__);                                                        \
    } while (0)
bool trace_on(enum trace_floor floor);
// Whether it names any floor.
bool trace_on_any(void);
void trace_line(enum trace_floor floor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
