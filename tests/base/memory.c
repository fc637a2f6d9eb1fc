// SPDX-License-Identifier: MIT
// Allocation that tests can make fail.
#include "test.h"

#include <stdlib.h>

#include "base/base.h"

TEST(memory_can_be_had_resized_and_released) {
    char *it = memory_allocate(3);
    ck_assert_ptr_nonnull(it);
    memcpy(it, "ab", 3);
    it = memory_resize(it, 1000);
    ck_assert_str_eq(it, "ab");
    memory_release(it);
    memory_release(NULL);
}

TEST(zeroed_memory_is_zero) {
    char *it = memory_allocate_zeroed(5000);
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(it[i], 0);
    memory_release(it);
}

TEST(no_bytes_are_not_a_failure) {
    void *none = memory_allocate(0), *zeroed = memory_allocate_zeroed(0);
    ck_assert_ptr_nonnull(none);
    ck_assert_ptr_nonnull(zeroed);
    none = memory_resize(none, 0);
    ck_assert_ptr_nonnull(none);
    memory_release(none);
    memory_release(zeroed);
}

TEST(a_text_is_copied_and_no_text_stays_none) {
    char *copy = memory_copy_text("pump");
    ck_assert_str_eq(copy, "pump");
    memory_release(copy);
    ck_assert_ptr_null(memory_copy_text(NULL));
}

TEST(the_nth_allocation_fails_and_only_that) {
    memory_fail_nth(3);
    void *first = memory_allocate(1);
    void *second = memory_allocate_zeroed(1);
    ck_assert(first && second && !memory_has_failed());
    ck_assert_ptr_null(memory_resize(second, 100)); // and `second` is still there
    ck_assert(memory_has_failed());
    void *third = memory_resize(second, 100);
    ck_assert_ptr_nonnull(third);
    memory_release(first);
    memory_release(third);
}

TEST(each_kind_of_allocation_can_fail) {
    memory_fail_nth(1);
    ck_assert_ptr_null(memory_allocate(1));
    memory_fail_nth(1);
    ck_assert_ptr_null(memory_allocate_zeroed(1));
    memory_fail_nth(1);
    ck_assert_ptr_null(memory_resize(NULL, 1));
    memory_fail_nth(1);
    ck_assert_ptr_null(memory_copy_text("x"));
}

TEST(nothing_fails_once_it_is_called_off) {
    memory_fail_nth(1);
    memory_fail_nth(0);
    void *it = memory_allocate(1);
    ck_assert_ptr_nonnull(it);
    ck_assert(!memory_has_failed());
    memory_release(it);
}

TEST(what_users_get_can_be_given_to_free) { free(memory_allocate(10)); }

TEST(lines_are_aligned_and_zero) {
    unsigned char *it = memory_allocate_lines(100);
    ck_assert_uint_eq((uintptr_t)it % MEMORY_LINE_BYTES, 0);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(it[i], 0);
    memory_release(it);
    memory_fail_nth(1);
    ck_assert_ptr_null(memory_allocate_lines(1));
}
