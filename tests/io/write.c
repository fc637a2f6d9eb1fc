// SPDX-License-Identifier: MIT
// Tests of src/io/write.c.
#include <stdlib.h>

#include "io/connect.h"

#include "base/base.h"

static ac_stream *here, *there; // the two ends

static size_t received;

static ac_value read_all(ac_value unused) {
    (void)unused;
    static uint8_t part[30000];
    size_t wrong = 0;
    for (long got; (got = ac_read(there, part, sizeof part, AC_FOREVER)) > 0;)
        for (long i = 0; i < got; i++, received++)
            wrong += part[i] != (uint8_t)(received % 251);
    ck_assert_uint_eq(wrong, 0);
    ac_close(there);
    return ac_nil;
}

CORO_TEST(all_is_written_and_arrives_in_order) {
    enum { BYTES = 20 << 20 };
    uint8_t *much = malloc(BYTES);
    size_t put;
    for (size_t i = 0; i < BYTES; i++)
        much[i] = (uint8_t)(i % 251);
    connect_pair(&here, &there);
    spawn(read_all);
    ck_assert_int_eq(ac_write_all(here, much, BYTES, AC_FOREVER, &put), BYTES);
    ck_assert_uint_eq(put, BYTES);
    ck_assert_int_eq(ac_shutdown(here), 0);
    char text[1];
    ck_assert_int_eq(ac_read(here, text, 1, AC_FOREVER),
                     0); // the other side has read all and closed
    ck_assert_uint_eq(received, BYTES);
    ac_close(here);
    free(much);
}

CORO_TEST(a_time_out_tells_how_much_was_written) {
    enum { BYTES = 64 << 20 };
    uint8_t *much = malloc(BYTES);
    size_t put, rest;
    for (size_t i = 0; i < BYTES; i++)
        much[i] = (uint8_t)(i % 251);
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_all(here, much, BYTES, ac_after(0.05), &put), -ETIMEDOUT);
    ck_assert_uint_gt(put, 0);
    ck_assert_uint_lt(put, BYTES);
    spawn(read_all);
    ck_assert_int_eq(ac_write_all(here, much + put, BYTES - put, AC_FOREVER, &rest),
                     (long)(BYTES - put));
    ck_assert_int_eq(ac_shutdown(here), 0);
    char text[1];
    ck_assert_int_eq(ac_read(here, text, 1, AC_FOREVER), 0);
    ck_assert_uint_eq(received, BYTES);
    ac_close(here);
    free(much);
}

CORO_TEST(writing_to_one_that_is_gone_is_an_error) {
    connect_pair(&here, &there);
    ac_close(there);
    long result = 1;
    while (result > 0) // the first write may still go into the void
        result = ac_write_all(here, "x", 1, AC_FOREVER, NULL);
    ck_assert(result == -EPIPE || result == -ECONNRESET);
    ac_close(here);
}

CORO_TEST(after_shutdown_the_other_side_reads_the_end_and_can_write) {
    char text[8];
    connect_pair(&here, &there);
    write_text(here, "bye");
    ck_assert_int_eq(ac_shutdown(here), 0);
    ck_assert_int_eq(ac_read(there, text, 8, AC_FOREVER), 3);
    ck_assert_int_eq(ac_read(there, text, 8, AC_FOREVER), 0);
    ck_assert_int_eq(ac_write_all(here, "x", 1, AC_FOREVER, NULL), -EPIPE);
    write_text(there, "well");
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), 4);
    ac_close(here);
    ac_close(there);
}
