// SPDX-License-Identifier: MIT
// Deadlines: a heap in which every entry has four children, which lie in one line of the cache.
// Equal deadlines come out in the order in which they went in, which makes equal runs equal.
//
// Nothing of those who have the deadlines is touched: they are numbers, and where each of them
// stands is kept in an array of its own. With a million deadlines taking one out moves ten entries,
// and a line of ten cold records is ten times what the rest of it costs.
//
// Places are promised beforehand (heap_reserve), so that going to sleep can never fail for lack of
// memory. The arrays grow when a promise needs it and never shrink before heap_done.
//
//   entries[i] has the children 4i+1 .. 4i+4 and the parent (i-1)/4; places[id] is i+1
#include "base/base.h"

struct heap_entry {
    ac_time deadline; // the key: what comes first
    uint64_t order;   // among equal deadlines, the order of insertion; the lowest HEAP_ID_BITS bits
                      // are the id
};

enum {
    CHILDREN = 4,
    CAPACITY_FIRST = 16,
    BEFORE_FIRST = CHILDREN - 1, // entries that entries[0] lies behind the beginning of a line
    BYTES_MORE = BEFORE_FIRST * sizeof(struct heap_entry) + MEMORY_LINE_BYTES - 1
};
_Static_assert(CHILDREN * sizeof(struct heap_entry) == MEMORY_LINE_BYTES, "children fill a line");

static int grow_entries(struct heap *heap);
static int grow_places(struct heap *heap, uint32_t id);
static void renumber(struct heap *heap);
static inline __int128 key_of(const struct heap_entry *entry);
static inline bool earlier(const struct heap_entry *a, const struct heap_entry *b);
static inline uint32_t id_of(struct heap_entry entry);
static inline void place(struct heap *heap, uint32_t i, struct heap_entry entry);
static void sift_up(struct heap *heap, uint32_t i, struct heap_entry entry);
static void sift_down(struct heap *heap, uint32_t i, struct heap_entry entry);

void heap_init(struct heap *heap) { *heap = (struct heap){0}; }

void heap_done(struct heap *heap) {
    memory_release(heap->memory);
    memory_release(heap->places);
    heap_init(heap);
}

int heap_reserve(struct heap *heap, uint32_t id) {
    if (id >= HEAP_IDS_MAX)
        return -EAGAIN;
    if ((heap->reserved == heap->capacity && grow_entries(heap) < 0) ||
        (id >= heap->ids && grow_places(heap, id) < 0))
        return -ENOMEM;
    heap->reserved++;
    return 0;
}

void heap_unreserve(struct heap *heap) {
    assert(heap->reserved > heap->count);
    heap->reserved--;
}

void heap_insert(struct heap *heap, uint32_t id, ac_time deadline) {
    assert(id < heap->ids && heap->places[id] == 0);
    assert(heap->count < heap->reserved);
    if (unlikely(heap->sequence == HEAP_SEQUENCE_MAX))
        renumber(heap);
    uint64_t order = heap->sequence++ << HEAP_ID_BITS | id;
    sift_up(heap, heap->count++, (struct heap_entry){deadline, order});
}

void heap_remove(struct heap *heap, uint32_t id) {
    if (id >= heap->ids || heap->places[id] == 0)
        return;
    uint32_t i = heap->places[id] - 1;
    assert(i < heap->count && id_of(heap->entries[i]) == id);
    heap->places[id] = 0;
    struct heap_entry last = heap->entries[--heap->count];
    if (i == heap->count)
        return;
    // The last entry fills the hole; it may belong above or below it.
    if (i > 0 && earlier(&last, &heap->entries[(i - 1) / CHILDREN]))
        sift_up(heap, i, last);
    else
        sift_down(heap, i, last);
}

ac_time heap_deadline(const struct heap *heap, uint32_t id) {
    bool in = id < heap->ids && heap->places[id] != 0;
    return in ? heap->entries[heap->places[id] - 1].deadline : AC_FOREVER;
}

ac_time heap_earliest(const struct heap *heap) {
    return heap->count ? heap->entries[0].deadline : AC_FOREVER;
}

uint32_t heap_first(const struct heap *heap) { return heap->count ? id_of(heap->entries[0]) : 0; }

bool heap_take_due(struct heap *heap, ac_time now, uint32_t *id) {
    if (heap->count == 0 || heap->entries[0].deadline > now)
        return false;
    *id = id_of(heap->entries[0]);
    heap_remove(heap, *id);
    return true;
}

// ---- memory ----

// Where entries[0] lies in a piece of memory: the four entries from entries[1] on begin a line.
static struct heap_entry *entries_in(void *memory) {
    uintptr_t line = ((uintptr_t)memory + MEMORY_LINE_BYTES - 1) & -(uintptr_t)MEMORY_LINE_BYTES;
    return (struct heap_entry *)line + BEFORE_FIRST;
}

static int grow_entries(struct heap *heap) {
    uint32_t capacity = heap->capacity ? 2 * heap->capacity : CAPACITY_FIRST;
    if (capacity > HEAP_IDS_MAX)
        return -ENOMEM;
    size_t offset = (size_t)((char *)heap->entries - (char *)heap->memory);
    char *memory = memory_resize(heap->memory, capacity * sizeof(struct heap_entry) + BYTES_MORE);
    if (!memory)
        return -ENOMEM;
    heap->memory = memory;
    heap->entries = entries_in(memory);
    if (heap->capacity > 0 && (char *)heap->entries != memory + offset)
        memmove(heap->entries, memory + offset, heap->count * sizeof(struct heap_entry));
    heap->capacity = capacity;
    return 0;
}

static int grow_places(struct heap *heap, uint32_t id) {
    uint32_t ids = heap->ids ? heap->ids : CAPACITY_FIRST;
    while (ids <= id)
        ids *= 2;
    uint32_t *places = memory_resize(heap->places, ids * sizeof *places);
    if (!places)
        return -ENOMEM;
    memset(places + heap->ids, 0, (ids - heap->ids) * sizeof *places);
    heap->places = places;
    heap->ids = ids;
    return 0;
}

// ---- order ----

// As one number.
static inline __int128 key_of(const struct heap_entry *entry) {
    return (__int128)((unsigned __int128)entry->deadline << 64 | entry->order);
}

static inline bool earlier(const struct heap_entry *a, const struct heap_entry *b) {
    return key_of(a) < key_of(b);
}

static inline uint32_t id_of(struct heap_entry entry) {
    return (uint32_t)entry.order & (HEAP_IDS_MAX - 1);
}

static inline void place(struct heap *heap, uint32_t i, struct heap_entry entry) {
    heap->entries[i] = entry;
    heap->places[id_of(entry)] = i + 1;
}

// The numbers of the insertions are used up: begins anew with those that are in the heap. They are
// put into their order, in which they are still a heap.
static void renumber(struct heap *heap) {
    uint32_t count = heap->count;
    while (heap->count > 0) {
        struct heap_entry first = heap->entries[0];
        heap_remove(heap, id_of(first));
        heap->entries[heap->count] = first; // behind the others, so the latest comes first
    }
    for (uint32_t i = 0; i < count - i; i++) {
        struct heap_entry early = heap->entries[count - 1 - i], late = heap->entries[i];
        heap->entries[i] = early;
        heap->entries[count - 1 - i] = late;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = id_of(heap->entries[i]);
        place(heap, i,
              (struct heap_entry){heap->entries[i].deadline, (uint64_t)i << HEAP_ID_BITS | id});
    }
    heap->count = count;
    heap->sequence = count;
}

static void sift_up(struct heap *heap, uint32_t i, struct heap_entry entry) {
    while (i > 0) {
        uint32_t parent = (i - 1) / CHILDREN;
        if (!earlier(&entry, &heap->entries[parent]))
            break;
        place(heap, i, heap->entries[parent]);
        i = parent;
    }
    place(heap, i, entry);
}

// The index of the least of four entries, without branches and with few steps one after the other.
static inline uint32_t least_of_four(const struct heap_entry *four) {
    __int128 keys[CHILDREN] = {key_of(&four[0]), key_of(&four[1]), key_of(&four[2]),
                               key_of(&four[3])};
    uint32_t a = keys[1] < keys[0], b = 2 + (keys[3] < keys[2]);
    __int128 least = keys[1] < keys[0] ? keys[1] : keys[0];
    __int128 other = keys[3] < keys[2] ? keys[3] : keys[2];
    return a ^ ((a ^ b) & -(uint32_t)(other < least));
}

static void sift_down(struct heap *heap, uint32_t i, struct heap_entry entry) {
    struct heap_entry *entries = heap->entries;
    uint32_t count = heap->count;
    for (;;) {
        uint32_t first = i * CHILDREN + 1;
        if (first >= count)
            break;
        // All children of these children are fetched meanwhile: some of them come next.
        uint32_t next = first * CHILDREN + 1;
        if (next < count)
            for (uint32_t line = next; line < next + CHILDREN * CHILDREN; line += CHILDREN)
                __builtin_prefetch(&entries[line]);
        uint32_t least = first;
        if (likely(first + CHILDREN <= count))
            least += least_of_four(&entries[first]);
        else
            for (uint32_t child = first + 1; child < count; child++)
                least = earlier(&entries[child], &entries[least]) ? child : least;
        if (!earlier(&entries[least], &entry))
            break;
        place(heap, i, entries[least]);
        i = least;
    }
    place(heap, i, entry);
}
