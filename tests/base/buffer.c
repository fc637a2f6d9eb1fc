// SPDX-License-Identifier: MIT
// Growable runs of bytes.
#include "test.h"

#include "base/base.h"

TEST(a_new_buffer_is_empty_and_has_no_memory) {
    struct buffer buffer;
    buffer_init(&buffer);
    ck_assert_uint_eq(buffer.length, 0);
    ck_assert_ptr_null(buffer.bytes);
    buffer_done(&buffer);
}

TEST(bytes_are_appended_and_consumed) {
    struct buffer buffer;
    buffer_init(&buffer);
    ck_assert_int_eq(buffer_append(&buffer, "hello ", 6), 0);
    ck_assert_int_eq(buffer_append(&buffer, "world", 5), 0);
    ck_assert_int_eq(buffer_append(&buffer, NULL, 0), 0);
    ck_assert_mem_eq(buffer.bytes, "hello world", 11);
    buffer_consume(&buffer, 0);
    buffer_consume(&buffer, 6);
    ck_assert_uint_eq(buffer.length, 5);
    ck_assert_mem_eq(buffer.bytes, "world", 5);
    buffer_consume(&buffer, 5);
    ck_assert_uint_eq(buffer.length, 0);
    buffer_consume(&buffer, 0);
    buffer_done(&buffer);
}

TEST(a_buffer_grows_to_a_megabyte_byte_by_byte) {
    struct buffer buffer;
    buffer_init(&buffer);
    for (uint32_t i = 0; i < 1 << 20; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        ck_assert_int_eq(buffer_append(&buffer, &byte, 1), 0);
    }
    ck_assert_uint_eq(buffer.length, 1 << 20);
    for (uint32_t i = 0; i < 1 << 20; i++)
        if (buffer.bytes[i] != (uint8_t)(i * 7))
            ck_abort_msg("byte %u is wrong", i);
    buffer_done(&buffer);
}

TEST(reserved_room_needs_no_further_memory) {
    struct buffer buffer;
    buffer_init(&buffer);
    ck_assert_int_eq(buffer_reserve(&buffer, 1000), 0);
    ck_assert_uint_eq(buffer.length, 0);
    memory_fail_nth(1);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(buffer_append(&buffer, "x", 1), 0);
    ck_assert(!memory_has_failed());
    buffer_done(&buffer);
}

TEST(without_memory_a_buffer_stays_as_it_was) {
    struct buffer buffer;
    char long_text[200];
    buffer_init(&buffer);
    memset(long_text, 'x', sizeof long_text);
    memory_fail_nth(1);
    ck_assert_int_eq(buffer_append(&buffer, "abc", 3), -ENOMEM);
    ck_assert_uint_eq(buffer.length, 0);
    ck_assert_int_eq(buffer_append(&buffer, "abc", 3), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(buffer_append(&buffer, long_text, sizeof long_text), -ENOMEM);
    ck_assert_uint_eq(buffer.length, 3);
    ck_assert_mem_eq(buffer.bytes, "abc", 3);
    buffer_done(&buffer);
}

TEST(a_size_beyond_all_memory_is_refused) {
    struct buffer buffer;
    buffer_init(&buffer);
    ck_assert_int_eq(buffer_append(&buffer, "abc", 3), 0);
    ck_assert_int_eq(buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
    ck_assert_int_eq(buffer_reserve(&buffer, SIZE_MAX / 2), -ENOMEM);
    ck_assert_mem_eq(buffer.bytes, "abc", 3);
    buffer_done(&buffer);
}
