// SPDX-License-Identifier: MIT
// What workers write, on its way to the standard error of their node.
#include "cluster/cluster_private.h"
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { RUN_BYTES = 4096, RUNS = 200 }; // more than any pipe has room for

static int reader;

static size_t read_all(char *text, size_t bytes) {
    size_t count = 0;
    for (ssize_t got; count < bytes && (got = read(reader, text + count, bytes - count)) > 0;)
        count += (size_t)got;
    return count;
}

static ac_value write_much(ac_value unused) {
    static char run[RUN_BYTES], text[RUNS * RUN_BYTES];
    struct outlet outlet;
    memset(run, 'x', sizeof run);
    outlet_open(&outlet);
    ac_time begun = ac_now();
    for (int i = 0; i < RUNS; i++)
        outlet_pass_on(&outlet, 7, run, sizeof run);
    // It has waited once, and then no more.
    ck_assert_int_lt(ac_now() - begun, (ac_time)TEST_PATIENCE_S * 1000 * 1000 * 1000);
    size_t passed = read_all(text, sizeof text);
    ck_assert_uint_gt(passed, 0);
    ck_assert_uint_lt(passed, sizeof text);
    outlet_pass_on(&outlet, 7, run, 1);
    size_t rest = read_all(text, sizeof text - 1);
    text[rest] = 0;
    char expected[128];
    snprintf(expected, sizeof expected, "(worker 7: %zu bytes that it wrote were dropped here)",
             RUNS * RUN_BYTES - passed);
    ck_assert_msg(strstr(text, expected) != NULL, "it says: %.200s", text);
    ck_assert_int_eq(text[rest - 1], 'x');
    outlet_close(&outlet, 7);
    return unused;
}

TEST(what_nobody_reads_is_dropped_and_counted) {
    int ends[2], before = dup(STDERR_FILENO);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    reader = ends[0];
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    ac_spawn(write_much, ac_nil, .stack_bytes = 256 << 10);
    int err = ac_run();
    ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
    ck_assert_int_eq(err, 0);
    close(ends[0]);
    close(ends[1]);
    close(before);
}
