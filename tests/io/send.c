// SPDX-License-Identifier: MIT
// Tests of src/io/send.c. Two calls of the C library are taken over (see the list in
// tests/meson.build), so that every file system is met: one that has the file in memory, one that
// has not, one that cannot tell, and one from which the system cannot send.
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/model.h"
#include "io/secure.h"

#include <asyncoro/file.h>

static enum { IS_THERE, BEGINS_THERE, IS_NOT_THERE, CANNOT_TELL, CANNOT_SEND, HAS_SHRUNK } memory;
static int sent_by_system; // how often

ssize_t __wrap_preadv64v2(int fd, const struct iovec *parts, int count, off_t at, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    (void)flags;
    bool begins = memory == BEGINS_THERE && at % (64 << 10) == 0;
    errno = memory == CANNOT_TELL ? EOPNOTSUPP : EAGAIN;
    bool is_refused = memory == CANNOT_TELL || memory == IS_NOT_THERE;
    return is_refused || (memory == BEGINS_THERE && !begins) ? -1 : preadv(fd, parts, count, at);
}

ssize_t __real_sendfile64(int to, int from, off_t *at, size_t count);
ssize_t __wrap_sendfile64(int to, int from, off_t *at, size_t count);
ssize_t __wrap_sendfile64(int to, int from, off_t *at, size_t count) {
    if (memory == HAS_SHRUNK)
        return 0;
    errno = EINVAL;
    if (memory == CANNOT_SEND)
        return -1;
    sent_by_system++;
    return __real_sendfile64(to, from, at, count);
}

enum { MUCH = (12 << 20) + 1 }; // more than a connection holds

static ac_stream *here, *there, *file;
static size_t received, first; // how many bytes; which of the file came first

static ac_stream *make_file(void) {
    char path[TEST_TEMPLATE_BYTES];
    test_template(path);
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    FILE *out = fdopen(fd, "w");
    for (size_t i = 0; i < MUCH; i++)
        putc((int)(i % 251), out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_int_eq(ac_file_open(&file, path, "r", AC_FOREVER), 0);
    ck_assert_int_eq(unlink(path), 0);
    return file;
}

static ac_value receive(ac_value unused) {
    (void)unused;
    static uint8_t part[30000];
    size_t wrong = 0;
    for (long got; (got = ac_read(there, part, sizeof part, AC_FOREVER)) > 0;)
        for (long i = 0; i < got; i++, received++)
            wrong += part[i] != (uint8_t)((first + received) % 251);
    ck_assert_uint_eq(wrong, 0);
    ac_close(there);
    return ac_nil;
}

static void begin(void) {
    if (!here)
        connect_pair(&here, &there);
    make_file();
    received = 0;
    spawn(receive);
}

static void end_with(size_t bytes) {
    char byte;
    ck_assert_int_eq(ac_shutdown(here), 0);
    ck_assert_int_eq(ac_read(here, &byte, 1, AC_FOREVER), 0); // all was read
    ck_assert_uint_eq(received, bytes);
    ac_close(here);
    ac_close(file);
}

static void send_all(void) {
    size_t put;
    begin();
    ck_assert_int_eq(ac_send_file(here, file, 0, SIZE_MAX, AC_FOREVER, &put), MUCH);
    ck_assert_uint_eq(put, MUCH);
    end_with(MUCH);
}

CORO_TEST(what_lies_in_memory_is_sent_by_the_system) {
    send_all();
    ck_assert_int_ge(sent_by_system, MUCH >> 20); // in pieces
}

CORO_TEST(what_does_not_is_read_first) {
    memory = IS_NOT_THERE;
    send_all();
    ck_assert_int_eq(sent_by_system, 0);
}

CORO_TEST(so_is_that_of_which_only_the_beginning_lies_there) {
    memory = BEGINS_THERE;
    send_all();
    ck_assert_int_le(sent_by_system, 1); // the last byte may be a piece of its own
}

CORO_TEST(so_is_what_may_not_lie_in_memory) {
    memory = CANNOT_TELL;
    send_all();
    ck_assert_int_eq(sent_by_system, 0);
}

CORO_TEST(and_what_the_system_cannot_send) {
    memory = CANNOT_SEND;
    send_all();
}

CORO_TEST(and_what_it_says_has_ended) {
    memory = HAS_SHRUNK;
    send_all();
}

TLS_TEST(a_file_is_sent_through_tls) {
    connect_tls();
    here = client;
    there = server;
    send_all();
    ck_assert_int_eq(sent_by_system, 0);
}

static void send_part(void) {
    size_t put;
    begin();
    first = MUCH - 100000;
    ck_assert_int_eq(ac_send_file(here, file, first, 70000, AC_FOREVER, &put), 70000);
    ck_assert_uint_eq(put, 70000);
    ck_assert_int_eq(ac_send_file(here, file, first + 70000, 30001, AC_FOREVER, NULL), 30000);
    ck_assert_int_eq(ac_send_file(here, file, MUCH, 1, AC_FOREVER, &put), 0); // the file has ended
    ck_assert_int_eq(ac_send_file(here, file, INT64_MAX, 1, AC_FOREVER, &put), 0);
    ck_assert_int_eq(ac_send_file(here, file, 0, 0, AC_FOREVER, &put), 0);
    end_with(100000);
}

CORO_TEST(a_part_of_a_file_is_sent) { send_part(); }

CORO_TEST(a_part_is_sent_by_reading_it) {
    memory = IS_NOT_THERE;
    send_part();
}

CORO_TEST(a_file_can_be_sent_through_a_pipe) {
    ck_assert_int_eq(ac_pipe(&there, &here), 0);
    make_file();
    spawn(receive);
    ck_assert_int_eq(ac_send_file(here, file, 0, MUCH, AC_FOREVER, NULL), MUCH);
    ac_close(here);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    while (received < MUCH)
        ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_gt(sent_by_system, 0);
    ac_close(file);
}

CORO_TEST(a_kind_of_stream_writes_copies) {
    struct kept kept = {.bytes = malloc(MUCH), .most = 10000};
    here = open_kind(&kept_kind, &kept);
    make_file();
    memory_fail_nth(1);
    ck_assert_int_eq(ac_send_file(here, file, 0, MUCH, AC_FOREVER, NULL), -ENOMEM);
    ck_assert_int_eq(ac_send_file(here, file, 0, MUCH, AC_FOREVER, NULL), MUCH);
    ck_assert_int_eq(sent_by_system, 0);
    ck_assert_int_eq(kept.flushes, 1);
    ck_assert_uint_eq(kept.count, MUCH);
    for (size_t i = 0; i < MUCH; i++)
        if (kept.bytes[i] != i % 251)
            ck_abort_msg("byte %zu", i);
    ac_close(here);
    ac_close(file);
}

static void time_out(void) {
    size_t put, more;
    connect_pair(&here, &there);
    make_file();
    ck_assert_int_eq(ac_send_file(here, file, 0, MUCH, ac_after(0.1), &put), -ETIMEDOUT);
    ck_assert_uint_gt(put, 0);
    ck_assert_uint_lt(put, MUCH);
    spawn(receive);
    ck_assert_int_eq(ac_send_file(here, file, put, MUCH, AC_FOREVER, &more), (long)(MUCH - put));
    end_with(MUCH);
}

CORO_TEST(a_time_out_tells_how_much_was_sent) { time_out(); }

CORO_TEST(a_time_out_tells_how_much_was_read_and_sent) {
    memory = IS_NOT_THERE;
    time_out();
}

static void send_to_nobody(void) {
    connect_pair(&here, &there);
    make_file();
    ac_close(there);
    long result = 1;
    while (result > 0) // the first bytes may still go into the void
        result = ac_send_file(here, file, 0, 1, AC_FOREVER, NULL);
    ck_assert(result == -EPIPE || result == -ECONNRESET);
    ck_assert_int_eq(ac_send_file(here, file, 0, 1, AC_FOREVER, NULL), -EPIPE); // and no signal
    ac_close(here);
    ac_close(file);
}

CORO_TEST(sending_to_one_that_is_gone_is_an_error) { send_to_nobody(); }

CORO_TEST(that_nobody_reads_a_pipe_is_an_error_and_no_signal) {
    ck_assert_int_eq(ac_pipe(&there, &here), 0);
    make_file();
    ac_close(there);
    ck_assert_int_eq(ac_send_file(here, file, 0, 1, AC_FOREVER, NULL), -EPIPE);
    ac_close(here);
    ac_close(file);
}

static long ended;

static ac_value send_for_ever(ac_value unused) {
    (void)unused;
    ended = ac_send_file(here, file, 0, MUCH, AC_FOREVER, NULL);
    return ac_nil;
}

CORO_TEST(closing_the_stream_ends_it_at_once) {
    connect_pair(&here, &there);
    make_file();
    spawn(send_for_ever);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ck_assert_int_eq(ac_send_file(here, file, 0, 1, AC_FOREVER, NULL), -EBUSY);
    ck_assert_int_eq(ended, 0);
    ac_close(here);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, -EBADF);
    ac_close(there);
    ac_close(file);
}

CORO_TEST(closing_the_file_ends_it_behind_the_piece_at_hand) {
    connect_pair(&here, &there);
    make_file();
    spawn(send_for_ever);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ac_close(file);
    ck_assert_int_eq(ended, 0);
    spawn(receive);
    while (ended == 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(ended, -EBADF);
    ac_close(here);
}

CORO_TEST(what_is_no_file_cannot_be_sent) {
    size_t put = 1;
    connect_pair(&here, &there);
    make_file();
    ck_assert_int_eq(ac_send_file(here, there, 0, 1, AC_NOW, &put), -ENOTSUP);
    ck_assert_uint_eq(put, 0);
    ck_assert_int_eq(ac_send_file(here, here, 0, 1, AC_NOW, &put), -EINVAL);
    ck_assert_int_eq(ac_send_file(here, NULL, 0, 1, AC_NOW, &put), -EINVAL);
    ck_assert_int_eq(ac_send_file(NULL, file, 0, 1, AC_NOW, &put), -EINVAL);
    ck_assert_int_eq(ac_send_file(here, file, UINT64_MAX, 1, AC_NOW, &put), -EINVAL);
    write_text(here, "x"); // nobody is left on this side
    ac_close(here);
    ac_close(there);
    ac_close(file);
}
