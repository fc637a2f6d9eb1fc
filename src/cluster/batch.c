// SPDX-License-Identifier: MIT
// What one coroutine of the cluster floor has for another: things of a few items each, collected
// while others run and sent many in one message. One message each would cost more than placing and
// running a small job.
//
//     [word, what, item, ..., what, item, ...]
//
// `what` is an enum thing, which says how many items follow. A message holds at most
// BATCH_ITEMS_MAX items and, if it holds more than one thing, BATCH_BYTES_MAX bytes.
#include "cluster/cluster_private.h"

enum { BATCH_ITEMS_MAX = 2048 };

static const uint8_t item_counts[] = {
    [THING_RUN] = 5,    [THING_RECALL] = 2,  [THING_CANCEL] = 2, [THING_BEGUN] = 3,
    [THING_ENDED] = 6,  [THING_BACK] = 2,    [THING_HAS] = 2,    [THING_CLASS] = 11,
    [THING_JOB] = 4,    [THING_DROP] = 1,    [THING_TAKEN] = 1,  [THING_ALL] = 1,
    [THING_STATUS] = 9, [THING_STARTED] = 3, [THING_DONE] = 6,
};

void batch_done(struct batch *batch) {
    for (size_t i = batch->first; i < batch->count; i++)
        ac_drop(batch->items[i]);
    memory_release(batch->items);
    *batch = (struct batch){0};
}

// Makes room for `more` items at the end.
static bool reserve(struct batch *batch, size_t more) {
    if (batch->count + more <= batch->capacity)
        return true;
    if (batch->first >= batch->capacity / 2 && batch->first > more) {
        memmove(batch->items, batch->items + batch->first,
                (batch->count - batch->first) * sizeof *batch->items);
        batch->count -= batch->first;
        batch->first = 0;
        return true;
    }
    size_t capacity = batch->capacity ? batch->capacity * 2 : 64;
    ac_value *items = memory_resize(batch->items, capacity * sizeof *items);
    if (!items)
        return false;
    batch->items = items;
    batch->capacity = capacity;
    return true;
}

int batch_add_items(struct batch *batch, enum thing thing, const ac_value *items, size_t count) {
    int err = 0;
    assert(count == item_counts[thing]);
    for (size_t i = 0; i < count && !err; i++)
        err = items[i].kind == AC_INVALID ? ac_error_of(items[i]) : 0;
    if (!err && !reserve(batch, count + 1))
        err = -ENOMEM;
    if (err) {
        for (size_t i = 0; i < count; i++)
            ac_drop(items[i]);
        return err;
    }
    batch->items[batch->count] = ac_of((int)thing);
    memcpy(batch->items + batch->count + 1, items, count * sizeof *items);
    batch->count += count + 1;
    return 0;
}

int batch_fits(ac_value it) {
    uint8_t scratch[16];
    if (it.kind == AC_INVALID)
        return ac_error_of(it);
    if (value_encoded(it, scratch).bytes > BATCH_ITEM_BYTES_MAX)
        return -EMSGSIZE;
    if (it.kind != AC_LIST && it.kind != AC_MAP && it.kind != AC_ERROR)
        return 0;
    ac_value items[THING_ITEMS_MAX + 2] = {ac_hold(it)}; // the others are nil
    ac_value probe = ac_list_of(items, countof(items));
    int err = probe.kind == AC_INVALID ? ac_error_of(probe) : 0;
    ac_drop(probe);
    return err;
}

ac_value batch_take(struct batch *batch, const char *word) {
    ac_value items[BATCH_ITEMS_MAX + 1];
    size_t count = 1, bytes = 0;
    items[0] = ac_of_text(word);
    while (batch->first < batch->count) {
        const ac_value *at = batch->items + batch->first;
        size_t more = (size_t)item_counts[ac_int_of(at[0])] + 1;
        uint8_t scratch[16];
        for (size_t i = 0; i < more; i++)
            bytes += value_encoded(at[i], scratch).bytes;
        if (count + more > countof(items) || (count > 1 && bytes > BATCH_BYTES_MAX))
            break;
        memcpy(items + count, at, more * sizeof *at);
        count += more;
        batch->first += more;
    }
    if (batch->first == batch->count)
        batch->first = batch->count = 0;
    if (batch->count == 0 && batch->capacity > BATCH_ITEMS_MAX) { // remembers no old burst
        memory_release(batch->items);
        *batch = (struct batch){0};
    }
    return ac_list_of(items, count);
}

bool batch_next(ac_value message, size_t *cursor, enum thing *thing,
                ac_value items[THING_ITEMS_MAX]) {
    ac_value what;
    if (*cursor == 0) { // the word
        if (!ac_next(message, cursor, &what))
            return false;
        ac_drop(what);
    }
    if (!ac_next(message, cursor, &what))
        return false;
    int64_t number = what.kind == AC_INT ? ac_int_of(what) : 0;
    ac_drop(what);
    if (number <= 0 || number >= (int64_t)countof(item_counts))
        return false;
    *thing = (enum thing)number;
    for (size_t i = 0; i < item_counts[number]; i++)
        if (!ac_next(message, cursor, &items[i])) {
            while (i > 0)
                ac_drop(items[--i]);
            return false;
        }
    return true;
}

void batch_drop(enum thing thing, const ac_value items[THING_ITEMS_MAX]) {
    for (size_t i = 0; i < item_counts[thing]; i++)
        ac_drop(items[i]);
}
