// SPDX-License-Identifier: MIT
// Slot tables: what the references of channels and of answers name. They work like the table of
// coroutines: a slot whose thing is gone gets a higher generation before it is used again, so that
// a former reference finds nothing, and is given up when its generations run out.
#include "message/state.h"

enum { SLOTS_MAX = 1 << 24, SLOTS_FIRST = 16 };

struct slot {
    void *it;            // NULL: free
    uint32_t generation; // of the thing in it, or of the next one
    uint32_t next_free;  // a free slot: the index of the next one plus one; 0: none
};

static int take_index(struct slot_table *table, uint32_t *index);

int slot_take(struct slot_table *table, const struct loop *loop, enum ref_sort sort, void *it,
              uint64_t *id) {
    uint32_t index;
    int err = take_index(table, &index);
    if (err < 0)
        return err;
    struct slot *slot = &table->slots[index];
    slot->it = it;
    *id = ref_id(sort, loop->number, index, slot->generation);
    return 0;
}

static int take_index(struct slot_table *table, uint32_t *index) {
    if (table->free) {
        *index = table->free - 1;
        table->free = table->slots[*index].next_free;
        return 0;
    }
    if (table->count == SLOTS_MAX)
        return -EAGAIN;
    if (table->count == table->capacity) {
        uint32_t capacity = table->capacity ? 2 * table->capacity : SLOTS_FIRST;
        struct slot *slots = memory_resize(table->slots, capacity * sizeof *slots);
        if (!slots)
            return -ENOMEM;
        table->slots = slots;
        table->capacity = capacity;
    }
    *index = table->count++;
    table->slots[*index] = (struct slot){.generation = 1};
    return 0;
}

void slot_give(struct slot_table *table, uint64_t id) {
    struct slot *slot = &table->slots[ref_index(id)];
    assert(slot->it && slot->generation == ref_generation(id));
    slot->it = NULL;
    if (++slot->generation == 0)
        return;
    slot->next_free = table->free;
    table->free = ref_index(id) + 1;
}

void *slot_find(const struct slot_table *table, uint64_t id) {
    if (ref_index(id) >= table->count)
        return NULL;
    const struct slot *slot = &table->slots[ref_index(id)];
    return slot->generation == ref_generation(id) ? slot->it : NULL;
}

void *slot_next(const struct slot_table *table, uint32_t *cursor) {
    while (*cursor < table->count) {
        void *it = table->slots[(*cursor)++].it;
        if (it)
            return it;
    }
    return NULL;
}

void slot_table_done(struct slot_table *table) {
    memory_release(table->slots);
    *table = (struct slot_table){0};
}
