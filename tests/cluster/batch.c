// SPDX-License-Identifier: MIT
// Things in order, cut into messages, and what is no batch.
#include "cluster/cluster_private.h"
#include "test.h"

#include <stdlib.h>

static void add(struct batch *batch, int64_t number, ac_value argument) {
    ck_assert_int_eq(batch_add(batch, THING_RUN, ac_of(number), ac_of(1), ac_of("f"), argument,
                               ac_of_bool(false)),
                     0);
}

// Takes a message apart: how many things it has; the numbers must follow on *next.
static uint32_t count(ac_value message, int64_t *next) {
    size_t cursor = 0;
    enum thing thing;
    ac_value items[THING_ITEMS_MAX];
    uint32_t n = 0;
    ck_assert(message_is(message, "do"));
    while (batch_next(message, &cursor, &thing, items)) {
        ck_assert_int_eq(thing, THING_RUN);
        ck_assert_int_eq(ac_int_of(items[0]), (*next)++);
        batch_drop(thing, items);
        n++;
    }
    ac_drop(message);
    return n;
}

TEST(things_come_out_in_order_and_many_go_into_one_message) {
    struct batch batch = {0};
    int64_t next = 0;
    for (int i = 0; i < 10000; i++)
        add(&batch, i, ac_of(i));
    uint32_t messages = 0;
    while (!batch_empty(&batch)) {
        ck_assert_uint_gt(count(batch_take(&batch, "do"), &next), 0);
        messages++;
    }
    ck_assert_int_eq(next, 10000);
    ck_assert_uint_lt(messages, 50);
    batch_done(&batch);
}

TEST(what_is_added_while_others_are_taken_follows_them) {
    struct batch batch = {0};
    int64_t next = 0, number = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 700; i++)
            add(&batch, number++, ac_of_text("an argument of some length, so that it has memory"));
        (void)count(batch_take(&batch, "do"), &next);
    }
    while (!batch_empty(&batch))
        (void)count(batch_take(&batch, "do"), &next);
    ck_assert_int_eq(next, number);
    batch_done(&batch);
}

TEST(a_large_thing_goes_alone) {
    struct batch batch = {0};
    int64_t next = 0;
    size_t bytes = 1 << 20;
    char *large = calloc(1, bytes);
    add(&batch, 0, ac_nil);
    add(&batch, 1, ac_of_bytes(large, bytes));
    add(&batch, 2, ac_nil);
    ck_assert_uint_eq(count(batch_take(&batch, "do"), &next), 1);
    ck_assert_uint_eq(count(batch_take(&batch, "do"), &next), 1);
    ck_assert_uint_eq(count(batch_take(&batch, "do"), &next), 1);
    batch_done(&batch);
    free(large);
}

TEST(what_fits_into_no_message_is_found_before) {
    ac_value deep = ac_nil;
    int err = 0, levels = 0;
    while ((err = batch_fits(deep)) == 0) {
        deep = ac_list_of(&deep, 1);
        levels++;
    }
    ck_assert_int_eq(err, -EMSGSIZE);
    ck_assert_int_gt(levels, 3);
    ac_drop(deep);
    size_t bytes = AC_VALUE_BYTES_MAX - 1000;
    char *large = calloc(1, bytes);
    ac_value value = ac_of_bytes(large, bytes);
    ck_assert_int_eq(batch_fits(value), -EMSGSIZE);
    ac_drop(value);
    free(large);
    ck_assert_int_eq(batch_fits(ac_of(7)), 0);
}

TEST(an_item_that_could_not_be_made_is_refused_with_its_error) {
    struct batch batch = {0};
    ck_assert_int_eq(
        batch_add(&batch, THING_RECALL, ac_of_text("\xff"), ac_of_text("kept by none")), -EILSEQ);
    ck_assert(batch_empty(&batch));
    batch_done(&batch);
}

TEST(what_is_no_batch_ends_where_it_is_not_as_it_should_be) {
    const ac_value bad[] = {ac_of(7),
                            ac_list("do"),
                            ac_list("do", 0),
                            ac_list("do", 99, 1, 2),
                            ac_list("do", "run", 1),
                            ac_list("do", (int)THING_RUN, 1, 1, "f")};
    for (size_t i = 0; i < countof(bad); i++) {
        size_t cursor = 0;
        enum thing thing;
        ac_value items[THING_ITEMS_MAX];
        ck_assert(!batch_next(bad[i], &cursor, &thing, items));
        ac_drop(bad[i]);
    }
}

TEST(an_old_burst_is_not_remembered) {
    struct batch batch = {0};
    int64_t next = 0;
    for (int i = 0; i < 100000; i++)
        add(&batch, i, ac_of(i));
    while (!batch_empty(&batch))
        (void)count(batch_take(&batch, "do"), &next);
    ck_assert_uint_eq(batch.capacity, 0);
    batch_done(&batch);
}
