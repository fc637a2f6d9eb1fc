// SPDX-License-Identifier: MIT
// Tests of src/message/sort.c: categories, how often is asked, and memory that runs out.
#include "message/state.h"
#include "test.h"

#include <asyncoro.h>

static int asked[2000]; // how often about each message
static long all_asked;

// Messages are integers; the last digit is the category.
static int64_t last_digit(ac_value message, void *context) {
    ck_assert_ptr_eq(context, asked);
    int64_t number = ac_int_of(message);
    asked[number]++;
    all_asked++;
    return number % 10 == 9 ? INT64_MIN : number % 10;
}

static int64_t take(ac_time deadline) {
    ac_value message;
    int err = ac_receive(&message, deadline);
    return err ? err : ac_int_of(message);
}

static int64_t take_from(int64_t category, ac_time deadline) {
    ac_value message;
    int err = ac_receive_category(&message, category, deadline);
    return err ? err : ac_int_of(message);
}

static void fill(int from, int to) {
    for (int i = from; i < to; i++)
        ck_assert_int_eq(ac_send(ac_self(), i), 0);
}

static void run(ac_function function) {
    ac_spawn(function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value take_by_category(ac_value unused) {
    (void)unused;
    fill(0, 50);
    ck_assert_int_eq(take_from(3, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
    fill(50, 100);
    for (int i = 3; i < 50; i += 10)
        ck_assert_int_eq(take_from(3, AC_NOW), i);
    ck_assert_int_eq(take(AC_NOW), 0); // the oldest of all, sorted or not
    fill(100, 110);
    ck_assert_uint_eq(ac_mailbox_count(), 104);
    for (int i = 53; i < 110; i += 10)
        ck_assert_int_eq(take_from(3, AC_NOW), i);
    ck_assert_int_eq(take_from(3, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(take_from(10, AC_NOW), -ETIMEDOUT);
    for (int i = 9; i < 110; i += 10)
        ck_assert_int_eq(take_from(INT64_MIN, AC_NOW), i);
    for (int i = 1; i < 110; i++)
        if (i % 10 != 3 && i % 10 != 9)
            ck_assert_int_eq(take(AC_NOW), i);
    ck_assert_uint_eq(ac_mailbox_count(), 0);
    for (int i = 0; i < 110; i++)
        ck_assert_int_eq(asked[i], 1);
    return ac_nil;
}

TEST(a_category_is_received_in_order_and_each_message_asked_about_once) { run(take_by_category); }

static ac_value walk_not(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(ac_send(ac_self(), 1), 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(ac_send(ac_self(), 2), 0);
        ck_assert_int_eq(take_from(2, AC_NOW), 2);
    }
    ck_assert_int_eq(all_asked, 2000);
    return ac_nil;
}

TEST(a_short_category_is_not_looked_for_in_a_long_one) { run(walk_not); }

static ac_value send_two_late(ac_value to) {
    ck_assert_int_eq(ac_send(ac_ref_of(to), 18), 0);
    ck_assert_int_eq(ac_send(ac_ref_of(to), 17), 0);
    return ac_nil;
}

static ac_value wait_for_a_category(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
    ck_assert_int_eq(take_from(7, ac_after(0.01)), -ETIMEDOUT);
    ac_spawn(send_two_late, ac_self());
    ck_assert_int_eq(take_from(7, AC_FOREVER), 17);
    ck_assert_int_eq(take_from(7, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(take_from(8, AC_NOW), 18);
    ac_spawn(send_two_late, ac_self());
    ck_assert_int_eq(take(AC_FOREVER), 18); // nobody need be asked about it
    ck_assert_int_eq(take(AC_FOREVER), 17);
    ck_assert_int_eq(asked[17], 1);
    ck_assert_int_eq(asked[18], 1);
    return ac_nil;
}

TEST(one_can_wait_for_a_category) { run(wait_for_a_category); }

static int64_t first_digit(ac_value message, void *context) {
    (void)context;
    return ac_int_of(message) / 10;
}

static ac_value sort_otherwise(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_sort(NULL, NULL), 0);
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
    fill(10, 40);
    ck_assert_int_eq(take_from(5, AC_NOW), 15);
    fill(40, 50);
    ck_assert_int_eq(ac_mailbox_sort(first_digit, NULL), 0);
    ck_assert_uint_eq(ac_mailbox_count(), 39);
    ck_assert_int_eq(take_from(4, AC_NOW), 40);
    ck_assert_int_eq(take_from(1, AC_NOW), 10);
    ck_assert_int_eq(ac_mailbox_sort(NULL, NULL), 0);
    ck_assert_int_eq(take_from(1, AC_NOW), -EINVAL);
    for (int i = 11; i < 50; i++)
        if (i != 15 && i != 40)
            ck_assert_int_eq(take(AC_NOW), i);
    fill(50, 60);
    ck_assert_int_eq(take(AC_NOW), 50);
    return ac_nil; // and what is left goes
}

TEST(the_order_of_all_survives_other_categories_and_none) {
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), -EPERM);
    run(sort_otherwise);
}

static ac_value leave_sorted(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
    fill(0, 100);
    ck_assert_int_eq(ac_send(ac_self(), "a text"), 0);
    ck_assert_int_eq(take_from(1, AC_NOW), 1);
    return ac_nil;
}

TEST(sorted_messages_go_with_their_owner) { run(leave_sorted); }

// ---- memory ----

static long failures;

static ac_value sort_without_memory(ac_value unused) {
    (void)unused;
    fill(0, 40); // and so there are cells enough from now on
    while (take(AC_NOW) >= 0)
        continue;
    bool failed = true;
    for (long n = 1; failed; n++) {
        failed = false;
        memory_fail_nth(n);
        int err = ac_mailbox_sort(last_digit, asked);
        failed |= memory_has_failed();
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        memory_fail_nth(0);
        ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
        fill(0, 30);
        memory_fail_nth(n);
        ck_assert_int_eq(take_from(2, AC_NOW), 2);
        failed |= memory_has_failed();
        ck_assert_int_eq(take_from(1, AC_NOW), 1);
        ck_assert_int_eq(take(AC_NOW), 0);
        memory_fail_nth(0);
        ck_assert_int_eq(take_from(2, AC_NOW), 12);
        for (int i = 3; i < 30; i++)
            if (i != 12)
                ck_assert_int_eq(take(AC_NOW), i);
        failures += failed;
    }
    ck_assert_int_ge(failures, 30);
    return ac_nil;
}

TEST(without_memory_for_sorting_every_message_is_still_found) { run(sort_without_memory); }

static ac_value unsort_without_memory(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_mailbox_sort(last_digit, asked), 0);
    fill(0, 700); // more than a chunk of cells
    ck_assert_int_eq(take_from(10, AC_NOW), -ETIMEDOUT);
    while (message_state(loop_here)->free)
        (void)cell_take(loop_here); // lost until the loop goes
    memory_fail_nth(1);
    ck_assert_int_eq(ac_mailbox_sort(NULL, NULL), -ENOMEM);
    ck_assert(memory_has_failed());
    memory_fail_nth(0);
    ck_assert_int_eq(take_from(5, AC_NOW), 5);
    ck_assert_int_eq(ac_mailbox_sort(NULL, NULL), 0);
    for (int i = 0; i < 700; i++)
        if (i != 5)
            ck_assert_int_eq(take(AC_NOW), i);
    return ac_nil;
}

TEST(sorting_goes_on_while_there_is_no_memory_to_end_it) { run(unsort_without_memory); }
