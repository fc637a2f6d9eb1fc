// SPDX-License-Identifier: MIT
// Tests of src/io/stream.c.
#include <stdlib.h>

#include "io/connect.h"

#include "base/base.h"

static ac_stream *here, *there; // the two ends
static int ended;

// ---- reading ----

CORO_TEST(what_is_there_is_read) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "hello");
    ck_assert_int_eq(ac_read(here, text, sizeof text, AC_FOREVER), 5);
    ck_assert_mem_eq(text, "hello", 5);
    write_text(there, "hello");
    ck_assert_int_eq(ac_read(here, text, 2, AC_FOREVER), 2);
    ck_assert_int_eq(ac_read(here, text, 16, AC_FOREVER), 3);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(a_time_out_is_no_end_of_stream) {
    char text[4];
    connect_pair(&here, &there);
    ac_time before = ac_now();
    ck_assert_int_eq(ac_read(here, text, 4, ac_after(0.2)), -ETIMEDOUT);
    ac_time took = ac_now() - before;
    ck_assert_int_ge(took, 200000000);
    ck_assert_int_lt(took, 2000000000);
    ck_assert_int_eq(ac_read(here, text, 4, AC_NOW), -ETIMEDOUT);
    write_text(there, "late");
    ck_assert_int_eq(ac_read(here, text, 4, ac_after(5)), 4);
    ac_close(there);
    ck_assert_int_eq(ac_read(here, text, 4, AC_FOREVER), 0);
    ck_assert_int_eq(ac_read(here, text, 4, AC_FOREVER), 0); // and again
    ac_close(here);
}

CORO_TEST(trying_reads_what_is_there) {
    char text[4];
    connect_pair(&here, &there);
    write_text(there, "now");
    ck_assert_int_eq(ac_read(here, text, 4, AC_NOW), 3);
    ck_assert_int_eq(ac_read(here, text, 4, AC_NOW), -ETIMEDOUT);
    ac_close(there);
    ac_close(here);
}

static ac_value write_slowly(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 5; i++) {
        write_text(there, "ab");
        ck_assert_int_eq(ac_sleep(0.005), 0);
    }
    ac_close(there);
    return ac_nil;
}

CORO_TEST(exactly_so_many_bytes_are_gathered) {
    char text[16] = "";
    size_t got;
    connect_pair(&here, &there);
    spawn(write_slowly);
    ck_assert_int_eq(ac_read_exactly(here, text, 7, AC_FOREVER, &got), 7);
    ck_assert_uint_eq(got, 7);
    ck_assert_str_eq(text, "abababa");
    ck_assert_int_eq(ac_read_exactly(here, text, 0, AC_FOREVER, &got), 0);
    // The stream ends before: what came is handed over.
    ck_assert_int_eq(ac_read_exactly(here, text, 7, AC_FOREVER, &got), 0);
    ck_assert_uint_eq(got, 3);
    ck_assert_mem_eq(text, "bab", 3);
    ck_assert_int_eq(ac_read_exactly(here, text, 7, AC_FOREVER, &got), 0);
    ck_assert_uint_eq(got, 0);
    ac_close(here);
}

CORO_TEST(a_time_out_hands_over_what_came) {
    char text[16] = "";
    size_t got;
    connect_pair(&here, &there);
    write_text(there, "abc");
    ck_assert_int_eq(ac_read_exactly(here, text, 5, ac_after(0.05), &got), -ETIMEDOUT);
    ck_assert_uint_eq(got, 3);
    write_text(there, "de");
    ck_assert_int_eq(ac_read_exactly(here, text + 3, 2, AC_FOREVER, NULL), 2);
    ck_assert_str_eq(text, "abcde");
    ac_close(here);
    ac_close(there);
}

static ac_value be_cancelled(ac_value unused) {
    (void)unused;
    char text[8];
    size_t got;
    ck_assert_int_eq(ac_read_exactly(here, text, 5, AC_FOREVER, &got), -ECANCELED);
    ck_assert_uint_eq(got, 2);
    ck_assert_int_eq(ac_read(here, text, 5, AC_FOREVER), -ECANCELED);
    ended++;
    return ac_nil;
}

CORO_TEST(a_cancelled_reader_loses_nothing) {
    char text[8];
    connect_pair(&here, &there);
    ac_ref reader = ac_spawn(be_cancelled, ac_nil);
    write_text(there, "ab");
    ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_eq(ac_cancel(reader), 0);
    write_text(there, "cd");
    ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_eq(ended, 1);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), 2);
    ck_assert_mem_eq(text, "cd", 2);
    ac_close(here);
    ac_close(there);
}

// ---- several at once ----

static bool reading;

static ac_value read_for_ever(ac_value unused) {
    (void)unused;
    char text[8];
    reading = true;
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -EBADF);
    ended++;
    return ac_nil;
}

static ac_value write_for_ever(ac_value unused) {
    (void)unused;
    static char much[1 << 20];
    size_t put;
    long result = 1;
    while (result > 0)
        result = ac_write_all(here, much, sizeof much, AC_FOREVER, &put);
    ck_assert_int_eq(result, -EBADF);
    ck_assert_uint_lt(put, sizeof much);
    ended++;
    return ac_nil;
}

CORO_TEST(a_second_reader_is_refused_and_closing_wakes_the_first) {
    char text[8];
    connect_pair(&here, &there);
    spawn(read_for_ever);
    spawn(write_for_ever);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_read_exactly(here, text, 8, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ac_read_line(here, text, 8, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_write_all(here, "x", 1, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ended, 0);
    ac_close(here);
    ck_assert_int_eq(ended, 0); // they are woken, not run
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 2); // and run next
    ac_close(there);
}

static ac_value read_once(ac_value unused) {
    (void)unused;
    char text[8];
    long result = ac_read(here, text, 8, AC_FOREVER);
    ck_assert_msg(result == 1 || result == -EBADF, "%ld", result);
    // The next wait ends in its own way.
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ended++;
    return ac_nil;
}

static ac_value close_here(ac_value unused) {
    (void)unused;
    ac_close(here);
    return ac_nil;
}

// The reader's bytes have come, but it has not run yet when the stream is closed.
CORO_TEST(closing_meets_a_reader_that_is_on_its_way) {
    connect_pair(&here, &there);
    spawn(read_once);
    ck_assert_int_eq(ac_yield(), 0);
    write_text(there, "x");
    // Spawned by the poll in which the bytes come, at the latest: the order of both does not matter
    // here.
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_yield(), 0);
    spawn(close_here);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ck_assert_int_eq(ended, 1);
    ac_close(there);
}

static ac_value close_on_time(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.02), 0);
    write_text(there, "x");
    ac_close(here);
    return ac_nil;
}

CORO_TEST(closing_while_bytes_arrive) {
    connect_pair(&here, &there);
    spawn(read_once);
    spawn(close_on_time);
    ck_assert_int_eq(ac_sleep(0.06), 0);
    ck_assert_int_eq(ended, 1);
    ac_close(there);
}

CORO_TEST(the_other_side_reads_the_end_as_soon_as_it_is_closed) {
    char text[8];
    connect_pair(&here, &there);
    spawn(read_for_ever);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert(reading);
    ac_close(here);
    ck_assert_int_eq(ac_read(there, text, 8, AC_NOW), 0);
    ac_close(there);
}

static int ticks;
static ac_time worst;

static ac_value tick(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 50; i++) {
        ac_time before = ac_now();
        ck_assert_int_eq(ac_sleep(0.01), 0);
        ac_time late = ac_now() - before - 10000000;
        ck_assert_int_ge(late, 0);
        worst = late > worst ? late : worst;
        ticks++;
    }
    ac_close(here);
    return ac_nil;
}

CORO_TEST(others_run_while_one_reads_an_idle_connection) {
    connect_pair(&here, &there);
    spawn(tick);
    read_for_ever(ac_nil);
    ck_assert_int_eq(ticks, 50);
    ck_assert_int_lt(worst, 500000000);
    ac_close(there);
}

// ---- lines ----

static long read_line(char text[], size_t bytes) {
    return ac_read_line(here, text, bytes, AC_FOREVER);
}

CORO_TEST(lines_are_read_one_by_one) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "one\ntwo\r\n\n\r\na\rb\nlast");
    ac_close(there);
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "one");
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(read_line(text, sizeof text), 1);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(read_line(text, sizeof text), 1);
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "a\rb");
    ck_assert_int_eq(read_line(text, sizeof text), 5);
    ck_assert_str_eq(text, "last");
    ck_assert_int_eq(read_line(text, sizeof text), 0);
    ck_assert_int_eq(read_line(text, sizeof text), 0);
    ac_close(here);
}

CORO_TEST(a_line_with_a_nul_has_its_whole_length) {
    char text[16];
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_all(there, "a\0b\n", 4, AC_FOREVER, NULL), 4);
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_mem_eq(text, "a\0b", 4);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(a_line_that_does_not_fit_is_left_there) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "12345\r\nabc\n");
    ck_assert_int_eq(read_line(text, 5), -EMSGSIZE);
    ck_assert_int_eq(read_line(text, 1), -EMSGSIZE);
    ck_assert_int_eq(read_line(text, 6), 6); // just fits
    ck_assert_str_eq(text, "12345");
    ck_assert_int_eq(read_line(text, 3), -EMSGSIZE);
    ck_assert_int_eq(read_line(text, 4), 4);
    // Also one whose end has not come yet, or never comes.
    write_text(there, "1234");
    ck_assert_int_eq(read_line(text, 4), -EMSGSIZE);
    ck_assert_int_eq(ac_read_line(here, text, 5, ac_after(0.02)), -ETIMEDOUT);
    write_text(there, "\r");
    ck_assert_int_eq(ac_read_line(here, text, 5, ac_after(0.02)), -ETIMEDOUT);
    write_text(there, "\n1234\r");
    ck_assert_int_eq(read_line(text, 5), 5);
    ac_close(there);
    ck_assert_int_eq(read_line(text, 5), -EMSGSIZE);
    ck_assert_int_eq(read_line(text, 6), 6);
    ck_assert_str_eq(text, "1234\r");
    ac_close(here);
}

CORO_TEST(what_was_read_with_a_line_is_read_next) {
    char text[16] = "";
    size_t got;
    connect_pair(&here, &there);
    write_text(there, "line\nabcdefg");
    ck_assert_int_eq(read_line(text, sizeof text), 5);
    ck_assert_int_eq(ac_read(here, text, 2, AC_NOW), 2);
    ck_assert_mem_eq(text, "ab", 2);
    write_text(there, "hi");
    ck_assert_int_eq(ac_read_exactly(here, text, 6, AC_FOREVER, &got), 6);
    ck_assert_mem_eq(text, "cdefgh", 6);
    ck_assert_int_eq(ac_read(here, text, 16, AC_FOREVER), 1);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(a_time_out_leaves_the_beginning_of_the_line) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "begin");
    ck_assert_int_eq(ac_read_line(here, text, sizeof text, ac_after(0.03)), -ETIMEDOUT);
    ck_assert_int_eq(ac_read_line(here, text, sizeof text, AC_NOW), -ETIMEDOUT);
    write_text(there, "ning\n");
    ck_assert_int_eq(read_line(text, sizeof text), 10);
    ck_assert_str_eq(text, "beginning");
    ac_close(here);
    ac_close(there);
}

enum { LINES = 20000 };

static ac_value write_lines(ac_value unused) {
    (void)unused;
    for (int i = 0; i < LINES; i++) {
        char text[128];
        snprintf(
            text, sizeof text, "%d %.*s\n", i, i % 100,
            "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijab"
            "cdefghijabcdefghij");
        write_text(there, text);
    }
    ac_close(there);
    return ac_nil;
}

CORO_TEST(many_lines_come_whole) {
    char text[128];
    connect_pair(&here, &there);
    spawn(write_lines);
    for (int i = 0; i < LINES; i++) {
        long length = read_line(text, sizeof text) - 1;
        ck_assert_int_eq(strtol(text, NULL, 10), i);
        ck_assert_int_eq(length, (long)strcspn(text, " ") + 1 + i % 100);
    }
    ck_assert_int_eq(read_line(text, sizeof text), 0);
    ac_close(here);
}

static ac_value write_long_line(ac_value unused) {
    (void)unused;
    static char much[100000];
    memset(much, 'x', sizeof much);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ac_write_all(there, much, sizeof much, AC_FOREVER, NULL), sizeof much);
    write_text(there, "\n");
    ac_close(there);
    return ac_nil;
}

CORO_TEST(a_long_line_comes_whole) {
    static char text[1000001];
    connect_pair(&here, &there);
    spawn(write_long_line);
    ck_assert_int_eq(read_line(text, 500000), -EMSGSIZE);
    ck_assert_int_eq(read_line(text, sizeof text), sizeof text);
    ck_assert_uint_eq(strlen(text), 1000000);
    ac_close(here);
}

CORO_TEST(lack_of_memory_for_a_line_is_an_error_and_loses_nothing) {
    char text[8];
    connect_pair(&here, &there);
    write_text(there, "line\n");
    memory_fail_nth(1);
    ck_assert_int_eq(read_line(text, sizeof text), -ENOMEM);
    ck_assert_int_eq(read_line(text, sizeof text), 5);
    ac_close(here);
    ac_close(there);
}

// ---- writing ----

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

// ---- the rest ----

CORO_TEST(both_ends_have_addresses) {
    char mine[AC_ADDRESS_TEXT_BYTES], theirs[AC_ADDRESS_TEXT_BYTES];
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_stream_local(here, mine), 0);
    ck_assert_int_eq(ac_stream_remote(there, theirs), 0);
    ck_assert_str_eq(mine, theirs);
    ck_assert_int_eq(ac_stream_remote(here, mine), 0);
    ck_assert_int_eq(ac_stream_local(there, theirs), 0);
    ck_assert_str_eq(mine, theirs);
    ac_close(there);
    ck_assert_int_eq(ac_stream_remote(here, theirs), 0); // also when the other side has gone
    ck_assert_str_eq(mine, theirs);
    ac_close(here);
}

CORO_TEST(wrong_arguments_are_refused) {
    char text[AC_ADDRESS_TEXT_BYTES];
    size_t got = 1;
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_read(NULL, text, 1, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read(here, NULL, 1, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read(here, text, 0, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read_exactly(NULL, text, 1, AC_NOW, &got), -EINVAL);
    ck_assert_uint_eq(got, 0);
    ck_assert_int_eq(ac_read_line(here, text, 0, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_write_all(here, NULL, 1, AC_NOW, NULL), -EINVAL);
    ck_assert_int_eq(ac_write_all(here, NULL, 0, AC_NOW, NULL), 0);
    ck_assert_int_eq(ac_stream_local(NULL, text), -EINVAL);
    ck_assert_int_eq(ac_stream_remote(NULL, text), -EINVAL);
    ck_assert_int_eq(ac_shutdown(NULL), -EINVAL);
    ac_close(NULL);
    ac_close(here);
    ac_close(there);
}

static ac_value make_pair(ac_value unused) {
    (void)unused;
    connect_pair(&here, &there);
    return ac_nil;
}

static ac_value keep_loop(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.01), 0);
    return ac_nil;
}

TEST(what_is_open_when_the_loop_ends_can_still_be_closed) {
    char text[AC_ADDRESS_TEXT_BYTES];
    run(make_pair);
    ck_assert_int_eq(ac_read(here, text, 1, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_write_all(here, text, 1, AC_FOREVER, NULL), -EPERM);
    ck_assert_int_eq(ac_stream_local(here, text), -EBADF);
    ck_assert_int_eq(ac_shutdown(here), -EBADF);
    run(keep_loop); // another loop of the same thread
    ac_close(here);
    ac_close(there);
}
