// SPDX-License-Identifier: MIT
// AC_TRACE and the lines it asks for. Each case runs in a process of its own, so each may set the
// variable before it is read.
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base.h"

static char written[8192];
static int errors; // where standard error went before

// Turns standard error into a pipe for the rest of the case.
static int catch_errors(void) {
    int ends[2];
    errors = dup(STDERR_FILENO);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    return ends[0];
}

static const char *caught(int from) {
    dup2(errors, STDERR_FILENO); // closes the pipe, so that it has an end
    close(errors);
    size_t length = 0;
    for (ssize_t n; (n = read(from, written + length, sizeof written - 1 - length)) > 0;)
        length += (size_t)n;
    return written;
}

TEST(without_the_variable_nothing_is_traced) {
    unsetenv("AC_TRACE");
    for (enum trace_floor floor = TRACE_SYS; floor <= TRACE_CLUSTER; floor++)
        ck_assert(!trace_on(floor));
}

TEST(the_floors_that_are_named_are_traced) {
    setenv("AC_TRACE", "fabric,sys", 1);
    ck_assert(trace_on(TRACE_FABRIC));
    ck_assert(trace_on(TRACE_SYS));
    ck_assert(!trace_on(TRACE_CORO));
    ck_assert(!trace_on(TRACE_CLUSTER));
}

TEST(all_means_every_floor) {
    setenv("AC_TRACE", "nonsense,,all", 1);
    for (enum trace_floor floor = TRACE_SYS; floor <= TRACE_CLUSTER; floor++)
        ck_assert(trace_on(floor));
}

TEST(frames_are_traced_only_where_they_are_named) {
    setenv("AC_TRACE", "all", 1);
    ck_assert(!trace_on(TRACE_FRAME));
}

TEST(frames_may_be_named_beside_all) {
    setenv("AC_TRACE", "frame,all", 1);
    ck_assert(trace_on(TRACE_FRAME));
    ck_assert(trace_on(TRACE_CLUSTER));
}

TEST(other_words_mean_nothing_and_the_first_of_them_is_told_of) {
    setenv("AC_TRACE", ",fabri,fabrics,allx,", 1);
    int from = catch_errors();
    for (enum trace_floor floor = TRACE_SYS; floor <= TRACE_CLUSTER; floor++)
        ck_assert(!trace_on(floor));
    ck_assert_str_eq(caught(from), "asyncoro: AC_TRACE: \"fabri\" is none of sys, coro, message, "
                                   "io, fabric, remote, cluster, all and frame\n");
}

TEST(nothing_is_told_of_words_that_are_known) {
    setenv("AC_TRACE", "sys,,frame,all,", 1);
    int from = catch_errors();
    ck_assert(trace_on(TRACE_SYS));
    ck_assert_str_eq(caught(from), "");
}

TEST(the_variable_is_read_once) {
    setenv("AC_TRACE", "io", 1);
    ck_assert(trace_on(TRACE_IO));
    setenv("AC_TRACE", "coro", 1);
    ck_assert(trace_on(TRACE_IO));
    ck_assert(!trace_on(TRACE_CORO));
}

TEST(a_line_names_its_floor) {
    setenv("AC_TRACE", "message", 1);
    int from = catch_errors();
    trace(TRACE_MESSAGE, "%d of %s", 3, "five");
    trace(TRACE_REMOTE, "never seen");
    trace(TRACE_MESSAGE, "again");
    ck_assert_str_eq(caught(from), "asyncoro message: 3 of five\nasyncoro message: again\n");
}

TEST(a_line_that_is_too_long_shows_it) {
    char text[3000];
    setenv("AC_TRACE", "all", 1);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    int from = catch_errors();
    trace(TRACE_CLUSTER, "%s", text);
    const char *line = caught(from);
    ck_assert_uint_eq(strlen(line), 1024);
    ck_assert_str_eq(line + 1024 - 5, "x...\n");
}

TEST(lines_at_the_limit_are_whole) {
    char text[1100];
    setenv("AC_TRACE", "all", 1);
    // "asyncoro sys: " and the end of line leave 1009 bytes.
    for (int bytes = 1005; bytes <= 1012; bytes++) {
        memset(text, 'x', sizeof text);
        text[bytes] = 0;
        memset(written, 0, sizeof written);
        int from = catch_errors();
        trace(TRACE_SYS, "%s", text);
        const char *line = caught(from);
        ck_assert_int_eq(line[strlen(line) - 1], '\n');
        ck_assert_int_eq(strstr(line, "...") != NULL, bytes > 1009);
        ck_assert_uint_le(strlen(line), 1024);
        close(from);
    }
}
