// SPDX-License-Identifier: MIT
// Tests of src/io/object.c: an object is freed once, by the last one out, whatever the order.
#include "io/connect.h"

#include "io/io.h"

static int released;

static void release(struct io_object *object) {
    ck_assert_ptr_null(object->handle.sys);
    released++;
}

static struct io_object object;

static void prepare(void) {
    int err;
    memset(&object, 0, sizeof object);
    released = 0;
    ck_assert_int_eq(io_prepare(loop_need(&err), &object, release), 0);
}

// Gives the object one end of a pipe, and returns the other one.
static int give_pipe(void) {
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    sys_adopt(coro_here()->loop->sys, &object.handle, ends[0], false);
    return ends[1];
}

CORO_TEST(one_without_a_handle_is_closed_and_has_no_calls) {
    prepare();
    ck_assert_int_eq(io_enter(&object, IO_READS), -EBADF);
    io_close(&object);
    ck_assert_int_eq(released, 1);
}

static int64_t result;

static ac_value read_it(ac_value unused) {
    (void)unused;
    char byte;
    struct sys_op op = {.verb = SYS_READ, .bytes = &byte, .count = 1};
    ck_assert_int_eq(io_enter(&object, IO_READS), 0);
    result = io_operate(&object, &op, AC_FOREVER);
    ck_assert_int_eq(released, 0); // not before its last user has left
    io_leave(&object, IO_READS);
    return ac_nil;
}

CORO_TEST(the_last_one_out_releases_it) {
    prepare();
    int end = give_pipe();
    spawn(read_it);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_uint_eq(object.users, 1);
    io_close(&object);
    ck_assert_ptr_null(object.handle.sys); // closed at once
    ck_assert_int_eq(released, 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(released, 1);
    ck_assert_int_eq(result, -EBADF);
    sys_fd_close(end);
}

static ac_value ignore_cancellation(ac_value unused) {
    (void)unused;
    ac_value after = read_it(ac_nil);
    ck_assert_int_eq(result, -ECANCELED);
    return after;
}

CORO_TEST(a_cancelled_user_leaves_it_open) {
    prepare();
    int end = give_pipe();
    ac_ref reader = ac_spawn(ignore_cancellation, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(reader), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(released, 0);
    ck_assert_uint_eq(object.users, 0);
    io_close(&object);
    ck_assert_int_eq(released, 1);
    sys_fd_close(end);
}

static ac_value enter_late(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(10), -ECANCELED);
    // A cancelled coroutine that goes on lets others run first, and these close the object
    // meanwhile.
    ck_assert_int_eq(io_enter(&object, IO_READS), -ECANCELED);
    return ac_nil;
}

CORO_TEST(it_may_be_closed_while_somebody_enters) {
    prepare();
    int end = give_pipe();
    ac_ref late = ac_spawn(enter_late, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(late), 0);
    ck_assert_int_eq(ac_yield(), 0);
    io_close(&object);
    while (released == 0)
        ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(released, 1);
    sys_fd_close(end);
}

static int other_end;

static ac_value leave_open(ac_value unused) {
    (void)unused;
    prepare();
    other_end = give_pipe();
    return ac_nil;
}

TEST(the_loop_closes_what_is_open_and_leaves_its_memory_to_the_owner) {
    run(leave_open);
    ck_assert_ptr_null(object.handle.sys);
    ck_assert_int_eq(released, 0);
    io_close(&object);
    ck_assert_int_eq(released, 1);
    sys_fd_close(other_end);
}

// ---- what the poller has nothing to do with ----

static int closings;

static void closing(struct io_object *it) {
    ck_assert_ptr_eq(it, &object);
    ck_assert_int_eq(released, 0);
    closings++;
}

static void prepare_without_descriptor(void) {
    prepare();
    object.closing = closing;
    object.handle = (struct sys_handle){.sys = loop_here->sys, .fd = -1};
}

CORO_TEST(closing_is_told_once_and_any_number_may_be_inside) {
    prepare_without_descriptor();
    ck_assert_int_eq(io_enter(&object, IO_BESIDE), 0);
    ck_assert_int_eq(io_enter(&object, IO_BESIDE), 0);
    io_close(&object);
    ck_assert_int_eq(closings, 1);
    io_leave(&object, IO_BESIDE);
    ck_assert_int_eq(released, 0);
    io_leave(&object, IO_BESIDE);
    ck_assert_int_eq(released, 1);
    ck_assert_int_eq(closings, 1);
}

static ac_value leave_without_descriptor(ac_value unused) {
    (void)unused;
    prepare_without_descriptor();
    return ac_nil;
}

TEST(the_end_of_the_loop_is_told_as_closing) {
    run(leave_without_descriptor);
    ck_assert_int_eq(closings, 1);
    ck_assert_ptr_null(object.handle.sys);
    io_close(&object);
    ck_assert_int_eq(closings, 1);
    ck_assert_int_eq(released, 1);
}

TEST(lack_of_memory_is_an_error) {
    int err;
    ck_assert_ptr_nonnull(loop_need(&err));
    memset(&object, 0, sizeof object);
    memory_fail_nth(1);
    ck_assert_int_eq(io_prepare(loop_here, &object, release), -ENOMEM);
    io_close(&object);
    ck_assert_int_eq(released, 1);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_stream *foreign;

static ac_value use_foreign(ac_value unused) {
    (void)unused;
    char byte;
    ck_assert_int_eq(ac_read(foreign, &byte, 1, AC_NOW), -ENOTSUP);
    ck_assert_int_eq(ac_write_all(foreign, "x", 1, AC_NOW, NULL), -ENOTSUP);
    return ac_nil;
}

static void run_elsewhere(void *unused) {
    (void)unused;
    run(use_foreign);
}

CORO_TEST(the_loop_of_another_thread_cannot_use_it) {
    ac_stream *peer;
    connect_pair(&foreign, &peer);
    struct sys_thread *thread;
    ck_assert_int_eq(sys_thread_start(&thread, run_elsewhere, NULL, 256 << 10, "other"), 0);
    sys_thread_join(thread);
    write_text(foreign, "here it works");
    ac_close(foreign);
    ac_close(peer);
}
