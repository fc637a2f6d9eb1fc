// SPDX-License-Identifier: MIT
// Tests of src/message/slot.c: ids that are never given twice, and memory that runs out.
#include "message/state.h"
#include "test.h"

static struct loop loop = {.number = 5};
static struct slot_table table;
static int things[100];

static uint64_t take(int *it) {
    uint64_t id;
    ck_assert_int_eq(slot_take(&table, &loop, REF_CHANNEL, it, &id), 0);
    return id;
}

TEST(an_id_names_what_was_put_in_until_it_is_given_up) {
    uint64_t ids[100];
    for (int i = 0; i < 100; i++)
        ids[i] = take(&things[i]);
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_eq(slot_find(&table, ids[i]), &things[i]);
    for (int i = 0; i < 100; i += 2)
        slot_give(&table, ids[i]);
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_eq(slot_find(&table, ids[i]), i % 2 ? &things[i] : NULL);
    uint32_t cursor = 0;
    for (int i = 1; i < 100; i += 2)
        ck_assert_ptr_eq(slot_next(&table, &cursor), &things[i]);
    ck_assert_ptr_null(slot_next(&table, &cursor));
    slot_table_done(&table);
}

TEST(an_id_tells_its_loop_and_sort) {
    uint64_t id = take(&things[0]);
    ck_assert_uint_eq(ref_sort(id), REF_CHANNEL);
    ck_assert_uint_eq((uint8_t)id >> 2, 5);
    slot_table_done(&table);
}

TEST(a_slot_that_is_used_again_gives_another_id) {
    uint64_t first = take(&things[0]);
    slot_give(&table, first);
    uint64_t second = take(&things[1]);
    ck_assert_uint_ne(first, second);
    ck_assert_ptr_null(slot_find(&table, first));
    ck_assert_ptr_eq(slot_find(&table, second), &things[1]);
    slot_table_done(&table);
}

TEST(an_id_of_a_slot_that_never_was_names_nothing) {
    ck_assert_ptr_null(slot_find(&table, ref_id(REF_CHANNEL, 5, 0, 1)));
    take(&things[0]);
    ck_assert_ptr_null(slot_find(&table, ref_id(REF_CHANNEL, 5, 16777215, 1)));
    ck_assert_ptr_null(slot_find(&table, ref_id(REF_CHANNEL, 5, 0, 0)));
    slot_table_done(&table);
}

TEST(without_memory_nothing_is_taken) {
    uint64_t id;
    memory_fail_nth(1);
    ck_assert_int_eq(slot_take(&table, &loop, REF_CHANNEL, &things[0], &id), -ENOMEM);
    ck_assert(memory_has_failed());
    ck_assert_uint_eq(table.count, 0);
    ck_assert_ptr_eq(slot_find(&table, take(&things[0])), &things[0]);
    slot_table_done(&table);
}
