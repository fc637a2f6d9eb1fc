// SPDX-License-Identifier: MIT
// A hash table that keeps the order of insertion, so that nothing a program can see depends on a
// hash.
//
//   entries   in the order of insertion; an entry that was taken out stays as a hole until the
//             array is full
//   slots     open addressing with linear probing: the index of an entry plus one, 0 for a free
//             slot. The slot of a hole stays taken, as the chains of others may lead over it
//
// There are twice as many slots as places for entries, so that chains are short. When the array is
// full and a quarter of it is holes it is packed where it lies, which needs no memory; otherwise it
// doubles.
//
// Every entry has a stamp, one more than that of the entry put in before it. A cursor of map_next
// is the stamp from which to go on: it stays right when entries are taken out, put in or packed
// meanwhile.
//
// The hash has a seed: names and references come from peers, and who knew the hash could choose
// such as share a slot. A map keeps the seed that it began with, as the hashes of its entries are
// kept.
#include "base/base.h"

enum { KEY_BYTES_INLINE = 16, ENTRIES_FIRST = 8 };
#define ENTRIES_MAX ((uint32_t)1 << 30)

struct map_entry {
    uint64_t hash;  // of the key
    uint64_t stamp; // which insertion this was
    size_t bytes;   // length of the key
    union {
        uint8_t here[KEY_BYTES_INLINE]; // a short key, padded with anything
        uint8_t *copy;                  // a long one, owned
    } key;
    void *it; // what the caller put in; NULL: this is a hole
};

static uint64_t seed_of_new_maps; // atomic

static uint64_t hash_of(uint64_t seed, const void *key, size_t bytes);
static const void *entry_key(const struct map_entry *entry);
static struct map_entry *find(const struct map *map, const void *key, size_t bytes, uint64_t hash);
static int make_room(struct map *map);
static void pack(struct map *map);
static int grow(struct map *map);
static void fill_slots(struct map *map);
static uint32_t free_slot(const struct map *map, uint64_t hash);

void map_seed(uint64_t seed) { __atomic_store_n(&seed_of_new_maps, seed, __ATOMIC_RELAXED); }

void map_init(struct map *map) { *map = (struct map){0}; }

void map_done(struct map *map) {
    for (uint32_t i = 0; i < map->entry_count; i++)
        if (map->entries[i].it && map->entries[i].bytes > KEY_BYTES_INLINE)
            memory_release(map->entries[i].key.copy);
    memory_release(map->entries);
    memory_release(map->slots);
    map_init(map);
}

int map_put(struct map *map, const void *key, size_t bytes, void *it) {
    assert(it);
    if (!map->entries)
        map->seed = __atomic_load_n(&seed_of_new_maps, __ATOMIC_RELAXED);
    uint64_t hash = hash_of(map->seed, key, bytes);
    if (find(map, key, bytes, hash))
        return -EEXIST;
    struct map_entry new = {.hash = hash, .bytes = bytes, .it = it};
    if (bytes <= KEY_BYTES_INLINE) {
        if (bytes > 0)
            memcpy(new.key.here, key, bytes);
    } else {
        new.key.copy = memory_allocate(bytes);
        if (!new.key.copy)
            return -ENOMEM;
        memcpy(new.key.copy, key, bytes);
    }
    // From here on `key` is not looked at: it may lie in the array that moves now.
    if (make_room(map)) {
        if (bytes > KEY_BYTES_INLINE)
            memory_release(new.key.copy);
        return -ENOMEM;
    }
    new.stamp = map->stamp++;
    map->slots[free_slot(map, hash)] = map->entry_count + 1;
    map->entries[map->entry_count++] = new;
    map->live_count++;
    return 0;
}

void *map_get(const struct map *map, const void *key, size_t bytes) {
    struct map_entry *entry = find(map, key, bytes, hash_of(map->seed, key, bytes));
    return entry ? entry->it : NULL;
}

void *map_take(struct map *map, const void *key, size_t bytes) {
    struct map_entry *entry = find(map, key, bytes, hash_of(map->seed, key, bytes));
    if (!entry)
        return NULL;
    void *it = entry->it;
    if (entry->bytes > KEY_BYTES_INLINE)
        memory_release(entry->key.copy);
    entry->it = NULL;
    map->live_count--;
    // Who takes out the oldest again and again must not walk over all holes again and again.
    while (map->first_live < map->entry_count && !map->entries[map->first_live].it)
        map->first_live++;
    return it;
}

void *map_next(const struct map *map, uint64_t *cursor, const void **key, size_t *bytes) {
    // The first entry with a stamp of at least *cursor. Stamps rise, so it cannot lie behind
    // `high`; while nothing was packed it lies there exactly.
    uint32_t low = map->first_live, high = map->entry_count;
    if (low<high && * cursor> map->entries[low].stamp) {
        uint64_t guess = low + (*cursor - map->entries[low].stamp);
        high = guess < high ? (uint32_t)guess : high;
        if (high < map->entry_count && map->entries[high].stamp == *cursor)
            low = high;
    } else {
        high = low;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (map->entries[middle].stamp < *cursor)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < map->entry_count && !map->entries[low].it)
        low++;
    if (low == map->entry_count)
        return NULL;
    const struct map_entry *entry = &map->entries[low];
    *cursor = entry->stamp + 1;
    if (key)
        *key = entry_key(entry);
    if (bytes)
        *bytes = entry->bytes;
    return entry->it;
}

// Multiplies to 128 bits and folds the halves, eight bytes at a time.
static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(uint64_t seed, const void *key, size_t bytes) {
    const uint8_t *at = key;
    uint64_t hash = seed ^ 0x9e3779b97f4a7c15u ^ bytes;
    uint64_t word;
    for (; bytes >= sizeof word; at += sizeof word, bytes -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = mix(hash ^ word, 0xd6e8feb86659fd93u);
    }
    if (bytes > 0) {
        word = 0;
        memcpy(&word, at, bytes);
        hash = mix(hash ^ word, 0xa0761d6478bd642fu);
    }
    return mix(hash, 0xe7037ed1a0b428dbu);
}

static const void *entry_key(const struct map_entry *entry) {
    return entry->bytes <= KEY_BYTES_INLINE ? entry->key.here : entry->key.copy;
}

static struct map_entry *find(const struct map *map, const void *key, size_t bytes, uint64_t hash) {
    if (map->live_count == 0)
        return NULL;
    uint32_t mask = map->slot_count - 1;
    for (uint32_t slot = (uint32_t)hash & mask; map->slots[slot]; slot = (slot + 1) & mask) {
        struct map_entry *entry = &map->entries[map->slots[slot] - 1];
        if (entry->it && entry->hash == hash && entry->bytes == bytes &&
            (bytes == 0 || memcmp(entry_key(entry), key, bytes) == 0))
            return entry;
    }
    return NULL;
}

// Sees to it that one more entry has a place.
static int make_room(struct map *map) {
    uint32_t capacity = map->slot_count / 2;
    if (map->entry_count < capacity)
        return 0;
    if (map->live_count > capacity - capacity / 4 || capacity == 0)
        return grow(map);
    pack(map);
    return 0;
}

static void pack(struct map *map) {
    uint32_t to = 0;
    for (uint32_t from = 0; from < map->entry_count; from++)
        if (map->entries[from].it)
            map->entries[to++] = map->entries[from];
    map->entry_count = to;
    map->first_live = 0;
    fill_slots(map);
}

static int grow(struct map *map) {
    uint32_t capacity = map->slot_count ? map->slot_count : ENTRIES_FIRST;
    if (capacity > ENTRIES_MAX)
        return -ENOMEM;
    uint32_t *slots = memory_allocate(2 * (size_t)capacity * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    struct map_entry *entries = memory_resize(map->entries, capacity * sizeof *entries);
    if (!entries) {
        memory_release(slots);
        return -ENOMEM;
    }
    memory_release(map->slots);
    map->entries = entries;
    map->slots = slots;
    map->slot_count = 2 * capacity;
    pack(map);
    return 0;
}

static void fill_slots(struct map *map) {
    memset(map->slots, 0, map->slot_count * sizeof *map->slots);
    for (uint32_t i = 0; i < map->entry_count; i++)
        map->slots[free_slot(map, map->entries[i].hash)] = i + 1;
}

static uint32_t free_slot(const struct map *map, uint64_t hash) {
    uint32_t mask = map->slot_count - 1;
    uint32_t slot = (uint32_t)hash & mask;
    while (map->slots[slot])
        slot = (slot + 1) & mask;
    return slot;
}
