// SPDX-License-Identifier: MIT
// Tests of src/io/write.c.
#include <limits.h>

#include "io/model.h"
#include "io/secure.h"

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

// ---- parts ----

static int operations;
static bool (*start_of_driver)(struct sys_op *op);

static bool start_and_count(struct sys_op *op) {
    operations++;
    return start_of_driver(op);
}

CORO_TEST(parts_go_with_one_operation) {
    const ac_part parts[] = {{"head", 4}, {NULL, 0}, {", ", 2}, {"", 0}, {"body", 4}, {NULL, 0}};
    char text[16];
    size_t put;
    connect_pair(&here, &there);
    struct sys *sys = loop_here->sys;
    const struct sys_driver *driver = sys->driver;
    struct sys_driver counting = *driver;
    start_of_driver = driver->start;
    counting.start = start_and_count;
    sys->driver = &counting;
    ck_assert_int_eq(ac_write_parts(here, parts, countof(parts), AC_FOREVER, &put), 10);
    sys->driver = driver;
    ck_assert_int_eq(operations, 1);
    ck_assert_uint_eq(put, 10);
    ck_assert_int_eq(ac_read_exactly(there, text, 10, AC_FOREVER, NULL), 10);
    ck_assert_mem_eq(text, "head, body", 10);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(parts_may_be_none_or_empty) {
    size_t put = 1;
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_parts(here, NULL, 0, AC_FOREVER, &put), 0);
    ck_assert_uint_eq(put, 0);
    const ac_part empty[] = {{"", 0}, {NULL, 0}};
    ck_assert_int_eq(ac_write_parts(here, empty, 2, AC_FOREVER, &put), 0);
    char text[1];
    ck_assert_int_eq(ac_read(there, text, 1, AC_NOW), -ETIMEDOUT);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(wrong_parts_are_refused) {
    char text[1];
    size_t put = 1;
    const ac_part nowhere[] = {{"x", 1}, {NULL, 1}};
    const ac_part endless[] = {{"x", 1}, {"x", LONG_MAX}};
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_parts(here, nowhere, 2, AC_FOREVER, &put), -EINVAL);
    ck_assert_uint_eq(put, 0);
    ck_assert_int_eq(ac_write_parts(here, endless, 2, AC_FOREVER, NULL), -EINVAL);
    ck_assert_int_eq(ac_write_parts(here, NULL, 1, AC_FOREVER, NULL), -EINVAL);
    ck_assert_int_eq(ac_write_parts(NULL, NULL, 0, AC_FOREVER, NULL), -EINVAL);
    ck_assert_int_eq(ac_read(there, text, 1, AC_NOW), -ETIMEDOUT); // nothing was written
    ac_close(here);
    ac_close(there);
}

// Cuts `bytes` bytes, which read_all expects, into parts of every length.
static ac_part *cut(struct model *random, const uint8_t *bytes, size_t left, size_t *count) {
    ac_part *parts = malloc((left + 1) * sizeof *parts);
    *count = 0;
    while (left > 0) {
        size_t length = model_length(random, left + 1);
        parts[(*count)++] = (ac_part){bytes, length};
        bytes += length;
        left -= length;
    }
    return parts;
}

enum { MUCH = 32 << 20 }; // more than a connection holds

static uint8_t *make_much(void) {
    uint8_t *much = malloc(MUCH);
    for (size_t i = 0; i < MUCH; i++)
        much[i] = (uint8_t)(i % 251);
    return much;
}

static void write_many_parts(void) {
    struct model random = {.seed = 4711};
    uint8_t *much = make_much();
    size_t count, put;
    ac_part *parts = cut(&random, much, MUCH / 8, &count);
    ck_assert_uint_gt(count, 1024); // more than the system takes at once
    spawn(read_all);
    ck_assert_int_eq(ac_write_parts(here, parts, count, AC_FOREVER, &put), MUCH / 8);
    ck_assert_uint_eq(put, MUCH / 8);
    ck_assert_int_eq(ac_shutdown(here), 0);
    char text[1];
    ck_assert_int_eq(ac_read(here, text, 1, AC_FOREVER), 0);
    ck_assert_uint_eq(received, MUCH / 8);
    ac_close(here);
    free(parts);
    free(much);
}

CORO_TEST(many_parts_arrive_in_order) {
    connect_pair(&here, &there);
    write_many_parts();
}

TLS_TEST(many_parts_arrive_in_order_through_tls) {
    connect_tls();
    here = client;
    there = server;
    write_many_parts();
}

CORO_TEST(trying_parts_tells_how_much_there_was_room_for) {
    uint8_t *much = make_much();
    const ac_part parts[] = {{much, 10}, {much + 10, MUCH / 2}, {much + 10 + MUCH / 2, 3}};
    size_t bytes = 10 + MUCH / 2 + 3, put, more;
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_write_parts(here, parts, 3, AC_NOW, &put), -ETIMEDOUT);
    ck_assert_uint_gt(put, 10);
    ck_assert_uint_lt(put, bytes);
    spawn(read_all);
    ck_assert_int_eq(ac_write_all(here, much + put, bytes - put, AC_FOREVER, &more),
                     (long)(bytes - put));
    ck_assert_int_eq(ac_shutdown(here), 0);
    char text[1];
    ck_assert_int_eq(ac_read(here, text, 1, AC_FOREVER), 0);
    ck_assert_uint_eq(received, bytes);
    ac_close(here);
    free(much);
}

CORO_TEST(small_parts_are_joined_for_a_kind_of_stream_and_large_ones_are_not) {
    struct kept kept = {.bytes = malloc(MUCH), .most = SIZE_MAX};
    uint8_t *much = make_much();
    size_t put;
    const ac_part parts[] = {{much, 3},
                             {much + 3, 4},
                             {NULL, 0},
                             {much + 7, 1000},
                             {much + 1007, MUCH / 2},
                             {much + 1007 + MUCH / 2, 5},
                             {much + 1012 + MUCH / 2, 6}};
    here = open_kind(&kept_kind, &kept);
    long bytes = 1018 + MUCH / 2;
    ck_assert_int_eq(ac_write_parts(here, parts, countof(parts), AC_FOREVER, &put), bytes);
    ck_assert_uint_eq(put, (size_t)bytes);
    ck_assert_int_eq(kept.writes,
                     3); // the first ones with the beginning of the large one, its rest
    ck_assert_int_eq(kept.flushes, 1);
    ck_assert_uint_eq(kept.count, (size_t)bytes);
    ck_assert_mem_eq(kept.bytes, much, (size_t)bytes);
    ac_close(here);
    free(much);
}

CORO_TEST(a_kind_of_stream_may_take_parts_in_pieces) {
    struct model random = {.seed = 7};
    uint8_t *much = make_much();
    for (size_t most = 1; most <= 100000; most *= 10) {
        size_t bytes = most * 300 < MUCH ? most * 300 : MUCH, count;
        struct kept kept = {.bytes = malloc(MUCH), .most = most};
        ac_part *parts = cut(&random, much, bytes, &count);
        here = open_kind(&kept_kind, &kept);
        ck_assert_int_eq(ac_write_parts(here, parts, count, AC_FOREVER, NULL), (long)bytes);
        ck_assert_uint_eq(kept.count, bytes);
        ck_assert_mem_eq(kept.bytes, much, bytes);
        ac_close(here);
        free(parts);
    }
    free(much);
}

CORO_TEST(lack_of_memory_to_join_parts_is_an_error) {
    struct kept kept = {.bytes = malloc(16), .most = SIZE_MAX};
    const ac_part parts[] = {{"ab", 2}, {"cd", 2}};
    size_t put = 1;
    here = open_kind(&kept_kind, &kept);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_write_parts(here, parts, 1, AC_FOREVER, &put), 2); // nothing to join
    ck_assert_int_eq(ac_write_parts(here, parts, 2, AC_FOREVER, &put), -ENOMEM);
    ck_assert_uint_eq(put, 0);
    ck_assert_int_eq(ac_write_parts(here, parts, 2, AC_FOREVER, &put), 4);
    ck_assert_mem_eq(kept.bytes, "ababcd", 6);
    ac_close(here);
}
