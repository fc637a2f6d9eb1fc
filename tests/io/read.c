// SPDX-License-Identifier: MIT
// Tests of src/io/read.c.
#include "io/model.h"
#include "io/secure.h"

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
    ck_assert_int_lt(took, TEST_PATIENCE_S * 1000000000LL);
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

// ---- until a delimiter ----

static long read_until(const char *delimiter, char *to, size_t bytes) {
    return ac_read_until(here, delimiter, strlen(delimiter), to, bytes, AC_FOREVER);
}

CORO_TEST(what_ends_in_a_delimiter_is_read_with_it) {
    char text[32];
    connect_pair(&here, &there);
    write_text(there, "one--two----rest-");
    ac_close(there);
    ck_assert_int_eq(read_until("--", text, sizeof text), 5);
    ck_assert_mem_eq(text, "one--", 5);
    ck_assert_int_eq(read_until("--", text, sizeof text), 5);
    ck_assert_mem_eq(text, "two--", 5);
    ck_assert_int_eq(read_until("--", text, sizeof text), 2);
    ck_assert_int_eq(read_until("--", text, sizeof text), 5); // at the end, without one
    ck_assert_mem_eq(text, "rest-", 5);
    ck_assert_int_eq(read_until("--", text, sizeof text), 0);
    ck_assert_int_eq(read_until("--", text, sizeof text), 0);
    ac_close(here);
}

CORO_TEST(a_delimiter_may_come_in_pieces) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "text\r\n\r");
    ck_assert_int_eq(ac_read_until(here, "\r\n\r\n", 4, text, 16, ac_after(0.02)), -ETIMEDOUT);
    write_text(there, "\nmore");
    ck_assert_int_eq(read_until("\r\n\r\n", text, 16), 8);
    ck_assert_int_eq(ac_read(here, text, 16, AC_FOREVER), 4);
    ck_assert_mem_eq(text, "more", 4);
    ac_close(here);
    ac_close(there);
}

CORO_TEST(what_is_too_long_before_a_delimiter_is_left_there) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "12345;");
    ck_assert_int_eq(read_until(";", text, 5), -EMSGSIZE);
    ck_assert_int_eq(read_until(";;", text, 6), -EMSGSIZE); // at once: nothing more can help
    ck_assert_int_eq(read_until(";", text, 6), 6);          // just fits
    ac_close(here);
    ac_close(there);
}

CORO_TEST(delimiters_have_a_limit) {
    char text[512];
    static char long_one[AC_DELIMITER_BYTES_MAX + 1];
    connect_pair(&here, &there);
    memset(long_one, 'x', sizeof long_one);
    ck_assert_int_eq(ac_write_all(there, long_one, sizeof long_one - 1, AC_FOREVER, NULL),
                     AC_DELIMITER_BYTES_MAX);
    ck_assert_int_eq(ac_read_until(here, long_one, sizeof long_one, text, 512, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read_until(here, long_one, 0, text, 512, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read_until(here, NULL, 1, text, 512, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read_until(here, ";", 1, NULL, 1, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read_until(here, ";", 1, text, 0, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_read_until(NULL, ";", 1, text, 1, AC_NOW), -EINVAL);
    ck_assert_int_eq(
        ac_read_until(here, long_one, sizeof long_one - 1, text, sizeof text, AC_FOREVER),
        AC_DELIMITER_BYTES_MAX);
    ac_close(here);
    ac_close(there);
}

// ---- looking ahead ----

CORO_TEST(what_was_looked_at_is_still_to_be_read) {
    char text[16];
    connect_pair(&here, &there);
    write_text(there, "abc");
    ck_assert_int_eq(ac_peek(here, text, 2, 1, AC_FOREVER), 2);
    ck_assert_mem_eq(text, "ab", 2);
    ck_assert_int_eq(ac_peek(here, text, 16, 4, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_peek(here, text, 16, 1, AC_NOW), 3);
    write_text(there, "de");
    ck_assert_int_eq(ac_peek(here, text, 16, 5, AC_FOREVER), 5);
    ac_close(there);
    ck_assert_int_eq(ac_peek(here, text, 16, 6, AC_FOREVER), 5); // the stream ends there
    ck_assert_mem_eq(text, "abcde", 5);
    ck_assert_int_eq(ac_read(here, text, 16, AC_FOREVER), 5);
    ck_assert_mem_eq(text, "abcde", 5);
    ck_assert_int_eq(ac_peek(here, text, 16, 1, AC_FOREVER), 0);
    ac_close(here);
}

CORO_TEST(looking_ahead_needs_room_for_the_least) {
    char text[16];
    connect_pair(&here, &there);
    ck_assert_int_eq(ac_peek(here, text, 16, 17, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_peek(here, text, 16, 0, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_peek(here, NULL, 16, 1, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_peek(NULL, text, 16, 1, AC_NOW), -EINVAL);
    write_text(there, "x");
    memory_fail_nth(1);
    ck_assert_int_eq(ac_peek(here, text, 16, 1, AC_FOREVER), -ENOMEM);
    ck_assert_int_eq(ac_peek(here, text, 16, 1, AC_FOREVER), 1);
    ac_close(here);
    ac_close(there);
}

// ---- against a model ----

// A kind of stream whose bytes are those of a model, cut at random, with time-outs between.
struct cut {
    struct model model;
    size_t given;     // how far the stream has given them
    size_t piece_max; // at once
};

static int64_t cut_read(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    (void)deadline;
    struct cut *cut = stream->own;
    size_t left = cut->model.count - cut->given;
    if (model_random(&cut->model, 4) == 0)
        return -ETIMEDOUT;
    if (left == 0)
        return 0;
    size_t most = bytes < cut->piece_max ? bytes : cut->piece_max;
    size_t count = 1 + model_random(&cut->model, most < left ? most : left);
    memcpy(to, cut->model.bytes + cut->given, count);
    cut->given += count;
    return (int64_t)count;
}

static void cut_release(struct ac_stream *stream) { (void)stream; }

static const struct stream_kind cut_kind = {.read = cut_read, .release = cut_release};

CORO_TEST(however_bytes_are_cut_all_ways_of_reading_agree_with_a_model) {
    static const size_t pieces[] = {1, 2, 10, 100, MODEL_BYTES_MAX};
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct cut cut = {.piece_max = pieces[seed % countof(pieces)]};
        model_init(&cut.model, seed);
        here = open_kind(&cut_kind, &cut);
        model_read_all(&cut.model, here, false);
        ac_close(here);
        model_done(&cut.model);
    }
}

static ac_value write_model(ac_value argument) {
    struct model *model = ac_pointer_of(argument);
    struct model random = {.seed = model->first};
    for (size_t put = 0, piece; put < model->count; put += piece) {
        piece = 1 + model_length(&random, model->count - put);
        ck_assert_int_eq(ac_write_all(there, model->bytes + put, piece, AC_FOREVER, NULL),
                         (long)piece);
        ck_assert_int_eq(ac_yield(), 0);
    }
    ck_assert_int_eq(ac_shutdown(there), 0);
    ac_close(there);
    return ac_nil;
}

CORO_TEST(over_a_connection_all_ways_of_reading_agree_with_a_model) {
    for (uint64_t seed = 1000; seed < 1030; seed++) {
        struct model model;
        model_init(&model, seed);
        connect_pair(&here, &there);
        ac_spawn(write_model, (void *)&model);
        model_read_all(&model, here, true);
        ac_close(here);
        model_done(&model);
    }
}

TLS_TEST(over_tls_all_ways_of_reading_agree_with_a_model) {
    for (uint64_t seed = 2000; seed < 2010; seed++) {
        struct model model;
        model_init(&model, seed);
        connect_tls();
        here = client;
        there = server;
        ac_spawn(write_model, (void *)&model);
        model_read_all(&model, here, true);
        ac_close(here);
        model_done(&model);
    }
}

// ---- connections that break ----

// Closing what has unread bytes breaks the connection.
static void break_connection(void) {
    write_text(here, "unread");
    write_text(there, "abc");
    char text[8];
    ck_assert_int_eq(ac_peek(there, text, 1, 1, AC_FOREVER), 1);
    write_text(here, "more");
    ac_close(there);
}

CORO_TEST(a_broken_connection_never_reads_as_one_that_ended) {
    char text[8];
    connect_pair(&here, &there);
    break_connection();
    ck_assert_int_eq(ac_read_line(here, text, sizeof text, AC_FOREVER), -ECONNRESET);
    ck_assert_int_eq(ac_read_line(here, text, sizeof text, AC_FOREVER), -ECONNRESET);
    ck_assert_int_eq(ac_peek(here, text, 8, 4, AC_FOREVER), -ECONNRESET);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), 3); // what came before
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -ECONNRESET);
    ac_close(here);
}

CORO_TEST(the_reader_learns_of_a_break_of_which_the_writer_was_told) {
    char text[8];
    connect_pair(&here, &there);
    break_connection();
    long result = 1;
    while (result > 0)
        result = ac_write_all(here, "x", 1, AC_FOREVER, NULL);
    ck_assert_int_eq(result, -ECONNRESET);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), 3);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -ECONNRESET);
    ac_close(here);
}

static bool gives_up(struct sys_op *op) {
    op->result = -ETIMEDOUT;
    return true;
}

CORO_TEST(that_the_system_gave_up_is_no_time_out) {
    char text[8];
    connect_pair(&here, &there);
    struct sys *sys = loop_here->sys;
    const struct sys_driver *driver = sys->driver;
    struct sys_driver other = *driver;
    other.start = gives_up;
    sys->driver = &other;
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -ECONNABORTED);
    sys->driver = driver;
    ac_close(there);
    ck_assert_int_eq(ac_read(here, text, 8, AC_FOREVER), -ECONNABORTED); // which it remembers
    ac_close(here);
}
