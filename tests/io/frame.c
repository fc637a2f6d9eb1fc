// SPDX-License-Identifier: MIT
// Tests of src/io/frame.c. That frames are read whole however they are cut is in the model
// (read.c).
#include "io/model.h"

static ac_stream *here, *there; // the two ends

static void write_bytes(const char *bytes, size_t count) {
    ck_assert_int_eq(ac_write_all(there, bytes, count, AC_FOREVER, NULL), (long)count);
}

static void ends_with(int expected) {
    char text[16];
    size_t got;
    ac_close(there);
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), expected);
        ck_assert_uint_eq(got, 0);
    }
    ac_close(here);
}

CORO_TEST(frames_arrive_as_they_were_written) {
    char text[16];
    size_t got, put;
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_frame(there, "one", 3, AC_FOREVER, &put), 0);
    ck_assert_uint_eq(put, 7);
    ck_assert_int_eq(ac_write_frame(there, NULL, 0, AC_FOREVER, NULL), 0);
    ck_assert_int_eq(ac_write_frame(there, "three", 5, AC_FOREVER, NULL), 0);
    ck_assert_int_eq(ac_read_frame(here, text, 3, AC_FOREVER, &got), 1);
    ck_assert_uint_eq(got, 3);
    ck_assert_mem_eq(text, "one", 3);
    ck_assert_int_eq(ac_read_frame(here, NULL, 0, AC_FOREVER, &got), 1);
    ck_assert_uint_eq(got, 0);
    ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), 1);
    ck_assert_uint_eq(got, 5);
    ck_assert_mem_eq(text, "three", 5);
    ends_with(0);
}

CORO_TEST(a_frame_is_its_length_and_its_bytes) {
    char bytes[16];
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_frame(here, "abc", 3, AC_FOREVER, NULL), 0);
    ck_assert_int_eq(ac_read(there, bytes, sizeof bytes, AC_FOREVER), 7); // as one
    ck_assert_mem_eq(bytes, "\0\0\0\3abc", 7);
    static char long_one[0x010203];
    ck_assert_int_eq(ac_write_frame(here, long_one, sizeof long_one, AC_FOREVER, NULL), 0);
    ck_assert_int_eq(ac_read_exactly(there, bytes, 4, AC_FOREVER, NULL), 4);
    ck_assert_mem_eq(bytes, "\0\1\2\3", 4);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(the_end_between_frames_is_an_end) {
    connect_pair(&here, &there);
    ends_with(0);
}

CORO_TEST(the_end_inside_a_length_is_an_error) {
    connect_pair(&here, &there);
    write_bytes("\0\0\0", 3);
    ends_with(-EPROTO);
}

CORO_TEST(the_end_inside_a_frame_is_an_error) {
    connect_pair(&here, &there);
    write_bytes("\0\0\0\3ab", 6);
    ends_with(-EPROTO);
}

CORO_TEST(a_frame_that_is_too_long_is_left_there_and_its_length_told) {
    char text[16];
    size_t got;
    connect_pair(&here, &there);
    write_bytes("\0\0\0\5abcde", 9);
    ck_assert_int_eq(ac_read_frame(here, text, 4, AC_FOREVER, &got), -EMSGSIZE);
    ck_assert_uint_eq(got, 5);
    ck_assert_int_eq(ac_read_frame(here, text, 5, AC_FOREVER, &got), 1);
    ck_assert_mem_eq(text, "abcde", 5);
    write_bytes("\xff\xff\xff\xff", 4); // known before any of it has come
    ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), -EMSGSIZE);
    ck_assert_uint_eq(got, UINT32_MAX);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(a_time_out_inside_a_frame_loses_nothing) {
    char text[16];
    size_t got;
    connect_pair(&here, &there);
    static const char bytes[] = "\0\0\0\3abc\0\0\0\1";
    for (size_t i = 0; i < 6; i++) {
        write_bytes(bytes + i, 1);
        ck_assert_int_eq(ac_read_frame(here, text, sizeof text, ac_after(0.001), &got), -ETIMEDOUT);
        ck_assert_uint_eq(got, 0);
    }
    write_bytes(bytes + 6, 5);
    ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), 1);
    ck_assert_uint_eq(got, 3);
    ck_assert_mem_eq(text, "abc", 3);
    ends_with(-EPROTO);
}

CORO_TEST(memory_is_asked_for_as_a_frame_comes) {
    char text[16];
    size_t got;
    connect_pair(&here, &there);
    write_bytes("\x7f\xff\xff\xff"
                "a",
                5);
    ck_assert_int_eq(ac_read_frame(here, text, UINT32_MAX, ac_after(0.01), &got), -ETIMEDOUT);
    ck_assert_uint_le(here->ahead.capacity, 8192);
    ac_close(here);
    ac_close(there);
}

static ac_value write_long_frame(ac_value unused) {
    (void)unused;
    static char much[3 << 20];
    memset(much, 'x', sizeof much);
    ck_assert_int_eq(ac_write_frame(there, much, sizeof much, AC_FOREVER, NULL), 0);
    return ac_nil;
}

CORO_TEST(memory_for_a_long_frame_is_given_back) {
    static char text[3 << 20];
    size_t got;
    connect_pair(&here, &there);
    spawn(write_long_frame);
    ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), 1);
    ck_assert_uint_eq(got, sizeof text);
    for (size_t i = 0; i < sizeof text; i += 1000)
        ck_assert_int_eq(text[i], 'x');
    ck_assert_uint_le(here->ahead.capacity, 65536);
    ends_with(0);
}

CORO_TEST(lack_of_memory_for_a_frame_is_an_error_and_loses_nothing) {
    char text[16];
    size_t got;
    connect_pair(&here, &there);
    write_bytes("\0\0\0\1a", 5);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), -ENOMEM);
    ck_assert_int_eq(ac_read_frame(here, text, sizeof text, AC_FOREVER, &got), 1);
    ends_with(0);
}

CORO_TEST(wrong_frames_are_refused) {
    char text[1];
    size_t got, put = 1;
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_frame(here, text, (size_t)UINT32_MAX + 1, AC_NOW, &put), -EMSGSIZE);
    ck_assert_uint_eq(put, 0);
    ck_assert_int_eq(ac_write_frame(here, NULL, 1, AC_NOW, NULL), -EINVAL);
    ck_assert_int_eq(ac_write_frame(NULL, text, 1, AC_NOW, NULL), -EINVAL);
    ck_assert_int_eq(ac_read_frame(NULL, text, 1, AC_NOW, &got), -EINVAL);
    ck_assert_int_eq(ac_read_frame(here, NULL, 1, AC_NOW, &got), -EINVAL);
    ck_assert_int_eq(ac_read_frame(here, text, 1, AC_NOW, NULL), -EINVAL);
    ac_close(here);
    ac_close(there);
}
