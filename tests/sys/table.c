// SPDX-License-Identifier: MIT
// Memory that grows and never moves.
#include "sys/sys.h"
#include "test.h"

#include <sys/resource.h>

enum { MIB = 1 << 20 };

TEST(a_table_grows_in_place_and_is_zero) {
    struct sys_table table;
    ck_assert_int_eq(sys_table_init(&table, 64 * MIB, 64 * MIB), 0);
    ck_assert_uint_eq(table.bytes, 0);
    ck_assert_uint_eq(table.bytes_max, 64 * MIB);
    char *at = table.at;
    ck_assert_uint_eq((uintptr_t)at % 64, 0);
    for (size_t bytes = 1; bytes <= 64 * MIB; bytes = bytes < MIB ? 3 * bytes : bytes + MIB) {
        size_t before = table.bytes;
        ck_assert_int_eq(sys_table_grow(&table, bytes), 0);
        ck_assert_ptr_eq(table.at, at);
        ck_assert_uint_ge(table.bytes, bytes);
        ck_assert_uint_le(table.bytes, table.bytes_max);
        for (size_t i = before; i < table.bytes; i += 512) {
            ck_assert_int_eq(at[i], 0);
            at[i] = 1;
        }
        ck_assert_int_eq(at[0], 1);
    }
    ck_assert_int_eq(sys_table_grow(&table, 64 * MIB), 0);
    at[64 * MIB - 1] = 1;
    sys_table_done(&table);
    ck_assert_ptr_null(table.at);
    sys_table_done(&table);
}

TEST(what_a_table_does_not_hold_yet_cannot_be_touched, .signal = SIGSEGV) {
    struct sys_table table;
    ck_assert_int_eq(sys_table_init(&table, MIB, MIB), 0);
    ck_assert_int_eq(sys_table_grow(&table, 1), 0);
    signal(SIGSEGV, SIG_DFL); // not the sanitizer's
    ((volatile char *)table.at)[table.bytes] = 1;
}

TEST(a_table_is_smaller_where_address_space_is_short) {
    TEST_SKIP_SANITIZED("a sanitizer needs more address space than it could have");
    struct rlimit limit = {.rlim_cur = (rlim_t)1 << 30, .rlim_max = RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    struct sys_table table;
    ck_assert_int_eq(sys_table_init(&table, (size_t)4 << 30, MIB), 0);
    ck_assert_uint_eq(table.bytes_max, (size_t)64 << 20);
    ck_assert_int_eq(sys_table_grow(&table, 3 * MIB), 0);
    sys_table_done(&table);
    ck_assert_int_eq(sys_table_init(&table, (size_t)4 << 30, (size_t)2 << 30), -ENOMEM);
    ck_assert_ptr_null(table.at);
}
