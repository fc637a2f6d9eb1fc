// SPDX-License-Identifier: MIT
// Tests of src/io/stream.c.
#include <stdlib.h>

#include "io/connect.h"

#include "base/base.h"

static ac_stream *here, *there; // the two ends
static int ended;

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
    size_t got;
    connect_pair(&here, &there);
    spawn(read_for_ever);
    spawn(write_for_ever);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_read_exactly(here, text, 8, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ac_read_line(here, text, 8, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_read_until(here, ";", 1, text, 8, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_peek(here, text, 8, 1, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_read_frame(here, text, 8, AC_FOREVER, &got), -EBUSY);
    ck_assert_int_eq(ac_write_all(here, "x", 1, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ac_write_parts(here, &(ac_part){"x", 1}, 1, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ac_write_frame(here, "x", 1, AC_FOREVER, NULL), -EBUSY);
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

static ac_value tick(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 50; i++) {
        ac_time before = ac_now();
        ck_assert_int_eq(ac_sleep(0.01), 0);
        ac_time late = ac_now() - before - 10000000;
        ck_assert_int_ge(late, 0);
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
