// SPDX-License-Identifier: MIT
// Deadlines: a heap in which every node has four children. The key lies in the array itself, so
// that sifting touches one cache line and a half a level and never the nodes that are only
// compared. Equal deadlines come out in the order in which they went in, which makes equal runs
// equal.
//
// Places are promised beforehand (heap_reserve), so that going to sleep can never fail for lack of
// memory. The array grows when a promise needs it and never shrinks before heap_done.
//
//   entries[i] has the children 4i+1 .. 4i+4 and the parent (i-1)/4; node->at is i+1
#include "base/base.h"

struct heap_entry {
    ac_time deadline;       // the key: what comes first
    uint64_t sequence;      // among equal deadlines, the order of insertion
    struct heap_node *node; // whose deadline it is; owned by the caller
};

enum { CHILDREN = 4, CAPACITY_FIRST = 16 };

static bool earlier(const struct heap_entry *a, const struct heap_entry *b);
static void place(struct heap *heap, uint32_t i, struct heap_entry entry);
static void sift_up(struct heap *heap, uint32_t i, struct heap_entry entry);
static void sift_down(struct heap *heap, uint32_t i, struct heap_entry entry);

void heap_init(struct heap *heap) { *heap = (struct heap){0}; }

void heap_done(struct heap *heap) {
    memory_release(heap->entries);
    heap_init(heap);
}

int heap_reserve(struct heap *heap) {
    if (heap->reserved < heap->capacity) {
        heap->reserved++;
        return 0;
    }
    if (heap->capacity > UINT32_MAX / 2)
        return -ENOMEM;
    uint32_t capacity = heap->capacity ? 2 * heap->capacity : CAPACITY_FIRST;
    void *entries = memory_resize(heap->entries, capacity * sizeof(struct heap_entry));
    if (!entries)
        return -ENOMEM;
    heap->entries = entries;
    heap->capacity = capacity;
    heap->reserved++;
    return 0;
}

void heap_unreserve(struct heap *heap) {
    assert(heap->reserved > heap->count);
    heap->reserved--;
}

void heap_insert(struct heap *heap, struct heap_node *node, ac_time deadline) {
    assert(node->at == 0);
    assert(heap->count < heap->reserved);
    sift_up(heap, heap->count++, (struct heap_entry){deadline, heap->sequence++, node});
}

void heap_remove(struct heap *heap, struct heap_node *node) {
    if (node->at == 0)
        return;
    uint32_t i = node->at - 1;
    assert(i < heap->count && heap->entries[i].node == node);
    node->at = 0;
    struct heap_entry last = heap->entries[--heap->count];
    if (i == heap->count)
        return;
    // The last entry fills the hole; it may belong above or below it.
    if (i > 0 && earlier(&last, &heap->entries[(i - 1) / CHILDREN]))
        sift_up(heap, i, last);
    else
        sift_down(heap, i, last);
}

ac_time heap_deadline(const struct heap *heap, const struct heap_node *node) {
    return node->at ? heap->entries[node->at - 1].deadline : AC_FOREVER;
}

ac_time heap_earliest(const struct heap *heap) {
    return heap->count ? heap->entries[0].deadline : AC_FOREVER;
}

struct heap_node *heap_take_due(struct heap *heap, ac_time now) {
    if (heap->count == 0 || heap->entries[0].deadline > now)
        return NULL;
    struct heap_node *node = heap->entries[0].node;
    heap_remove(heap, node);
    return node;
}

static bool earlier(const struct heap_entry *a, const struct heap_entry *b) {
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->sequence < b->sequence;
}

static void place(struct heap *heap, uint32_t i, struct heap_entry entry) {
    heap->entries[i] = entry;
    entry.node->at = i + 1;
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

static void sift_down(struct heap *heap, uint32_t i, struct heap_entry entry) {
    for (;;) {
        uint64_t first = (uint64_t)i * CHILDREN + 1;
        if (first >= heap->count)
            break;
        uint64_t end = first + CHILDREN < heap->count ? first + CHILDREN : heap->count;
        uint64_t least = first;
        for (uint64_t child = first + 1; child < end; child++)
            if (earlier(&heap->entries[child], &heap->entries[least]))
                least = child;
        if (!earlier(&heap->entries[least], &entry))
            break;
        place(heap, i, heap->entries[least]);
        i = (uint32_t)least;
    }
    place(heap, i, entry);
}
