// SPDX-License-Identifier: MIT
// Tests of src/io/standard.c. Each case runs in a process of its own, whose standard descriptors it
// replaces.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/connect.h"

#include "base/base.h"

// Opens what is to be read as standard input, and closes the descriptor given.
static void become_input(int fd) {
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(dup2(fd, 0), 0);
    close(fd);
}

static int make_pipe(void) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    become_input(ends[0]);
    return ends[1];
}

static long read_line(char *text, size_t bytes) {
    return ac_read_line(ac_input(), text, bytes, AC_FOREVER);
}

static int writer = -1;
static const char *const parts[] = {"on", "e\nt", "wo\nthree"};

static ac_value write_parts(ac_value unused) {
    (void)unused;
    for (size_t i = 0; i < countof(parts); i++) {
        ck_assert_int_eq(ac_sleep(0.005), 0);
        ck_assert_int_eq(write(writer, parts[i], strlen(parts[i])), (ssize_t)strlen(parts[i]));
    }
    close(writer);
    return ac_nil;
}

CORO_TEST(lines_come_from_a_pipe_while_others_run) {
    char text[16];
    writer = make_pipe();
    spawn(write_parts);
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "one");
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(read_line(text, sizeof text), 6);
    ck_assert_str_eq(text, "three");
    ck_assert_int_eq(read_line(text, sizeof text), 0);
    ck_assert_int_eq(read_line(text, sizeof text), 0);
}

CORO_TEST(its_mode_is_not_changed_and_a_time_out_is_kept) {
    char text[16];
    writer = make_pipe();
    int before = fcntl(0, F_GETFL);
    ck_assert_int_eq(before & O_NONBLOCK, 0);
    ck_assert_int_eq(ac_read(ac_input(), text, 16, ac_after(0.02)), -ETIMEDOUT);
    ck_assert_int_eq(fcntl(0, F_GETFL), before);
    ck_assert_int_eq(write(writer, "abc", 3), 3);
    ck_assert_int_eq(ac_read(ac_input(), text, 2, AC_FOREVER), 2);
    ck_assert_int_eq(ac_read(ac_input(), text, 16, AC_FOREVER), 1);
    ck_assert_int_eq(ac_read(ac_input(), text, 16, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(fcntl(0, F_GETFL), before);
    close(writer);
}

CORO_TEST(lines_come_from_a_file) {
    char path[TEST_TEMPLATE_BYTES], text[16];
    test_template(path);
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "one\ntwo", 7), 7);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    become_input(fd);
    unlink(path);
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "one");
    ck_assert_int_eq(read_line(text, sizeof text), 4);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(read_line(text, sizeof text), 0);
}

CORO_TEST(nothing_is_the_end_of_the_stream) {
    char text[16];
    become_input(open("/dev/null", O_RDONLY));
    ck_assert_int_eq(read_line(text, sizeof text), 0);
    ck_assert_int_eq(ac_read(ac_input(), text, 16, AC_FOREVER), 0);
}

CORO_TEST(a_closed_one_is_an_error) {
    char text[16];
    close(0);
    ck_assert_ptr_nonnull(ac_input());
    ck_assert_int_eq(read_line(text, sizeof text), -EBADF);
    ck_assert_int_eq(ac_read(ac_input(), text, 16, AC_FOREVER), -EBADF);
}

CORO_TEST(lines_come_from_a_terminal) {
    char text[16];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_ge(master, 0);
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    become_input(open(ptsname(master), O_RDWR | O_NOCTTY));
    ck_assert_int_eq(ac_read_line(ac_input(), text, 16, ac_after(0.02)), -ETIMEDOUT);
    ck_assert_int_eq(write(master, "typed\nmore\n", 11), 11);
    ck_assert_int_eq(read_line(text, sizeof text), 6);
    ck_assert_str_eq(text, "typed");
    ck_assert_int_eq(read_line(text, sizeof text), 5);
    ck_assert_str_eq(text, "more");
    ck_assert_int_eq(ac_read_line(ac_input(), text, 16, ac_after(0.02)), -ETIMEDOUT);
    ck_assert_int_eq(write(master, "\004", 1), 1); // the end of the stream, as people type it
    ck_assert_int_eq(read_line(text, sizeof text), 0);
    close(master);
}

CORO_TEST(it_is_the_same_each_time_and_no_connection) {
    char text[AC_ADDRESS_TEXT_BYTES];
    writer = make_pipe();
    ac_stream *input = ac_input();
    ck_assert_ptr_eq(input, ac_input());
    ck_assert_int_eq(ac_stream_local(input, text), -ENOTSUP);
    ck_assert_int_eq(ac_stream_remote(input, text), -ENOTSUP);
    close(writer);
}

CORO_TEST(closed_by_its_user_it_can_be_had_anew) {
    char text[16];
    writer = make_pipe();
    ck_assert_int_eq(write(writer, "ab", 2), 2);
    ck_assert_int_eq(ac_read(ac_input(), text, 1, AC_FOREVER), 1);
    ac_close(ac_input());
    ck_assert_int_eq(ac_read(ac_input(), text, 16, AC_FOREVER), 1);
    ck_assert_int_eq(text[0], 'b');
    close(writer);
}

static ac_value read_one(ac_value unused) {
    (void)unused;
    char text[1];
    ck_assert_int_eq(ac_read(ac_input(), text, 1, AC_FOREVER), 1);
    return ac_nil;
}

TEST(each_loop_has_it_and_none_closes_descriptor_0) {
    writer = make_pipe();
    ck_assert_int_eq(write(writer, "abc", 3), 3);
    run(read_one);
    run(read_one);
    char text[1];
    ck_assert_int_eq(read(0, text, 1), 1);
    ck_assert_int_eq(text[0], 'c');
}

// ---- output ----

// Lets a descriptor lead into a pipe, and returns its other end.
static int replace_by_pipe(int fd) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(dup2(ends[1], fd), fd);
    close(ends[1]);
    return ends[0];
}

static int other_end;
static bool drained;

static ac_value drain(ac_value bytes) {
    char text[4096];
    ck_assert_int_eq(ac_sleep(0.005), 0);
    for (long left = (long)ac_int_of(bytes); left > 0;) {
        ssize_t got = read(other_end, text, sizeof text);
        ck_assert(got > 0 || (got < 0 && errno == EAGAIN));
        left -= got > 0 ? got : 0;
        ck_assert_int_eq(ac_sleep(got > 0 ? 0 : 0.001), 0);
    }
    drained = true;
    return ac_nil;
}

CORO_TEST(who_writes_waits_alone_until_it_is_taken) {
    enum { BYTES = 300000 };
    static char much[BYTES];
    int kept = dup(1);
    other_end = replace_by_pipe(1);
    ck_assert_int_eq(fcntl(other_end, F_SETFL, O_NONBLOCK), 0);
    int before = fcntl(1, F_GETFL);
    ck_assert_ptr_eq(ac_output(), ac_output());
    ck_assert_ptr_ne(ac_output(), ac_error_output());
    size_t put;
    ck_assert_int_eq(ac_write_all(ac_output(), much, BYTES, ac_after(0.01), &put), -ETIMEDOUT);
    ck_assert_uint_gt(put, 0);
    ck_assert_uint_lt(put, BYTES);
    ac_ref drainer = ac_spawn(drain, BYTES, .joinable = true);
    long left = (long)(BYTES - put);
    ck_assert_int_eq(ac_write_all(ac_output(), much, (size_t)left, AC_FOREVER, NULL), left);
    ck_assert_int_eq(ac_join(drainer, NULL, AC_FOREVER), 0);
    ck_assert(drained);
    ck_assert_int_eq(fcntl(1, F_GETFL), before);
    close(other_end);
    ck_assert_int_eq(ac_write_all(ac_output(), much, 1, AC_FOREVER, NULL), -EPIPE);
    dup2(kept, 1);
}

CORO_TEST(errors_go_to_their_own_descriptor_and_closing_leaves_it_open) {
    char text[8];
    int end = replace_by_pipe(2);
    write_text(ac_error_output(), "one");
    ac_close(ac_error_output());
    write_text(ac_error_output(), "two");
    ck_assert_int_eq(read(end, text, 8), 6);
    ck_assert_mem_eq(text, "onetwo", 6);
    close(end);
}

CORO_TEST(without_memory_there_is_none) {
    writer = make_pipe();
    for (long n = 1; n < 3; n++) {
        memory_fail_nth(n);
        ac_stream *input = ac_input();
        ck_assert(input != NULL || memory_has_failed());
        memory_fail_nth(0);
    }
    ck_assert_ptr_nonnull(ac_input());
    close(writer);
}
