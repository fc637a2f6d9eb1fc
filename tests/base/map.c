// SPDX-License-Identifier: MIT
// The map, against an array that is searched.
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

static char things[2000]; // what the maps of these tests point to

TEST(an_empty_map_has_nothing) {
    struct map map;
    uint64_t cursor = 0;
    map_init(&map);
    ck_assert_uint_eq(map_count(&map), 0);
    ck_assert_ptr_null(map_get(&map, "a", 1));
    ck_assert_ptr_null(map_take_id(&map, 5));
    ck_assert_ptr_null(map_next(&map, &cursor, NULL, NULL));
    map_done(&map);
}

TEST(keys_of_any_length_are_told_apart) {
    struct map map;
    char key[100];
    map_init(&map);
    memset(key, 'k', sizeof key); // each key is the beginning of the next
    for (size_t bytes = 0; bytes <= sizeof key; bytes++)
        ck_assert_int_eq(map_put(&map, bytes ? key : NULL, bytes, &things[bytes]), 0);
    ck_assert_int_eq(map_put(&map, key, 50, things), -EEXIST);
    ck_assert_int_eq(map_put(&map, NULL, 0, things), -EEXIST);
    for (size_t bytes = 0; bytes <= sizeof key; bytes++)
        ck_assert_ptr_eq(map_get(&map, bytes ? key : NULL, bytes), &things[bytes]);
    key[16] = 0;
    ck_assert_ptr_null(map_get(&map, key, 17));
    ck_assert_ptr_null(map_get(&map, "\0", 1));
    map_done(&map);
}

TEST(the_key_is_copied) {
    struct map map;
    char short_key[] = "pump", long_key[] = "the pump in the cellar";
    map_init(&map);
    ck_assert_int_eq(map_put(&map, short_key, 4, things), 0);
    ck_assert_int_eq(map_put(&map, long_key, 22, things + 1), 0);
    short_key[0] = long_key[0] = 'x';
    ck_assert_ptr_eq(map_get(&map, "pump", 4), things);
    ck_assert_ptr_eq(map_get(&map, "the pump in the cellar", 22), things + 1);
    map_done(&map);
}

TEST(ids_are_keys) {
    struct map map;
    map_init(&map);
    ck_assert_int_eq(map_put_id(&map, 0, things), 0);
    ck_assert_int_eq(map_put_id(&map, UINT64_MAX, things + 1), 0);
    ck_assert_int_eq(map_put_id(&map, 0, things), -EEXIST);
    ck_assert_ptr_eq(map_get_id(&map, 0), things);
    ck_assert_ptr_eq(map_take_id(&map, UINT64_MAX), things + 1);
    ck_assert_ptr_null(map_take_id(&map, UINT64_MAX));
    ck_assert_uint_eq(map_count(&map), 1);
    map_done(&map);
}

TEST(a_visit_follows_the_order_of_insertion) {
    struct map map;
    uint64_t cursor = 0;
    const void *key;
    size_t bytes;
    map_init(&map);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_int_eq(map_put_id(&map, i * 7919 % 1000, &things[i]), 0);
    for (uint64_t i = 0; i < 1000; i += 3)
        ck_assert_ptr_eq(map_take_id(&map, i * 7919 % 1000), &things[i]);
    for (uint64_t i = 0; i < 1000; i++) {
        if (i % 3 == 0)
            continue;
        uint64_t id = i * 7919 % 1000;
        ck_assert_ptr_eq(map_next(&map, &cursor, &key, &bytes), &things[i]);
        ck_assert_uint_eq(bytes, sizeof id);
        ck_assert_mem_eq(key, &id, sizeof id);
    }
    ck_assert_ptr_null(map_next(&map, &cursor, &key, &bytes));
    map_done(&map);
}

TEST(entries_may_come_and_go_during_a_visit) {
    struct map map;
    uint64_t cursor = 0, new_id = 1000;
    char seen[1000] = {0}, *it;
    const void *key;
    size_t bytes;
    map_init(&map);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_int_eq(map_put_id(&map, i, &things[i]), 0);
    // For each one visited: it is taken out, so is one not yet visited, and one is put in, for
    // which the map packs its entries now and then.
    while ((it = map_next(&map, &cursor, &key, &bytes)) && it < &things[1000]) {
        size_t i = (size_t)(it - things);
        ck_assert_int_eq(seen[i]++, 0);
        ck_assert_ptr_eq(map_take(&map, key, bytes), it);
        if (i % 3 == 0 && i + 1 < 1000)
            seen[i + 1] += map_take_id(&map, i + 1) != NULL;
        if (new_id < 1500) {
            ck_assert_int_eq(map_put_id(&map, new_id, &things[new_id]), 0);
            new_id++;
        }
    }
    for (size_t i = 0; i < 1000; i++)
        ck_assert_int_eq(seen[i], 1);
    ck_assert_uint_eq(map_count(&map), 500);
    map_done(&map);
}

TEST(a_map_does_not_grow_with_what_went_through_it) {
    struct map map;
    map_init(&map);
    for (uint64_t i = 0; i < 100000; i++) {
        ck_assert_int_eq(map_put_id(&map, i, things), 0);
        if (i >= 5)
            ck_assert_ptr_eq(map_take_id(&map, i - 5), things);
    }
    ck_assert_uint_eq(map_count(&map), 5);
    ck_assert_uint_le(map.slot_count, 32);
    map_done(&map);
}

TEST(the_oldest_of_many_is_found_at_once) {
    enum { N = 300000 };
    struct map map;
    const void *key;
    size_t bytes;
    map_init(&map);
    for (uint64_t i = 0; i < N; i++)
        ck_assert_int_eq(map_put_id(&map, i, things), 0);
    for (uint64_t i = 0; i < N; i++) {
        uint64_t cursor = 0, id;
        ck_assert_ptr_nonnull(map_next(&map, &cursor, &key, &bytes));
        memcpy(&id, key, sizeof id);
        ck_assert_uint_eq(id, i);
        map_take(&map, key, bytes);
    }
    map_done(&map);
}

TEST(a_map_behaves_as_an_array_that_is_searched) {
    enum { KEYS = 200, STEPS = 40000 };
    struct map map;
    int order[KEYS], count = 0; // the keys that are in, oldest first
    char key[60];
    srand(21);
    map_init(&map);
    for (int step = 0; step < STEPS; step++) {
        int k = rand() % KEYS, at = 0;
        size_t bytes = (size_t)snprintf(key, sizeof key, "%0*d", k % 40 + 1, k);
        while (at < count && order[at] != k)
            at++;
        ck_assert_ptr_eq(map_get(&map, key, bytes), at < count ? &things[k] : NULL);
        // Times of growth and of decline in turn.
        if (rand() % 10 < (step / 1000 % 2 ? 8 : 2)) {
            ck_assert_int_eq(map_put(&map, key, bytes, &things[k]), at < count ? -EEXIST : 0);
            if (at == count)
                order[count++] = k;
        } else {
            ck_assert_ptr_eq(map_take(&map, key, bytes), at < count ? &things[k] : NULL);
            if (at < count)
                memmove(order + at, order + at + 1, (size_t)(--count - at) * sizeof *order);
        }
        ck_assert_uint_eq(map_count(&map), count);
        if (step % 50 == 0) {
            uint64_t cursor = 0;
            for (int i = 0; i < count; i++)
                ck_assert_ptr_eq(map_next(&map, &cursor, NULL, NULL), &things[order[i]]);
            ck_assert_ptr_null(map_next(&map, &cursor, NULL, NULL));
        }
    }
    map_done(&map);
}

// How often map_get of the first key compares keys is not seen from outside, but where the hashes
// lie is: the first slot in use tells one seed from another.
static uint32_t slot_of_a_key(const struct map *map) {
    for (uint32_t slot = 0; slot < map->slot_count; slot++)
        if (map->slots[slot])
            return slot;
    return map->slot_count;
}

TEST(where_a_key_lies_depends_on_the_seed) {
    enum { SEEDS = 200 };
    bool used[64] = {false};
    uint32_t places = 0, slots = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct map map;
        map_seed(seed);
        map_init(&map);
        ck_assert_int_eq(map_put(&map, "a name", 6, things), 0);
        slots = map.slot_count;
        ck_assert_uint_le(slots, countof(used));
        uint32_t slot = slot_of_a_key(&map);
        places += !used[slot];
        used[slot] = true;
        map_done(&map);
    }
    map_seed(0);
    ck_assert_uint_eq(places, slots); // each of them, after so many seeds
}

TEST(a_map_keeps_the_seed_that_it_began_with) {
    struct map map;
    map_seed(1);
    map_init(&map);
    map_seed(2);
    for (uint64_t i = 0; i < 500; i++) {
        ck_assert_int_eq(map_put_id(&map, i, &things[i]), 0);
        map_seed(i + 3);
        ck_assert_ptr_eq(map_get_id(&map, i / 2), &things[i / 2]);
    }
    uint64_t cursor = 0;
    for (uint64_t i = 0; i < 500; i++)
        ck_assert_ptr_eq(map_next(&map, &cursor, NULL, NULL), &things[i]);
    for (uint64_t i = 0; i < 500; i++)
        ck_assert_ptr_eq(map_take_id(&map, i), &things[i]);
    // Emptied, it still has holes, whose hashes are of its seed.
    ck_assert_int_eq(map_put_id(&map, 7, things), 0);
    ck_assert_ptr_eq(map_get_id(&map, 7), things);
    map_done(&map);
    map_seed(0);
}

TEST(without_memory_a_map_stays_as_it_was) {
    for (long n = 1;; n++) {
        struct map map;
        char key[40];
        int put = 0;
        map_init(&map);
        memory_fail_nth(n);
        for (int i = 0; i < 100; i++) {
            size_t bytes = (size_t)snprintf(key, sizeof key, "%0*d", i % 2 ? 5 : 30, i);
            int err = map_put(&map, key, bytes, &things[i]);
            ck_assert(err == 0 || (err == -ENOMEM && memory_has_failed()));
            ck_assert_ptr_eq(map_get(&map, key, bytes), err ? NULL : &things[i]);
            put += !err;
        }
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(put, failed ? 99 : 100);
        ck_assert_uint_eq(map_count(&map), put);
        map_done(&map);
        if (!failed)
            break;
    }
}
