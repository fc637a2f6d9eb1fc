// SPDX-License-Identifier: MIT
// Tests of src/sys/uring.c: what is io_uring's alone. What it shares with other pollers is tested
// in tests/sys/poller.c. Where there is no io_uring they do not run; the runner says so.
#include "sys/filter.h"
#include "sys/poller_private.h"
#include "sys/trial.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct sys *make_of(const struct sys_driver *driver) {
    int err = 0;
    struct sys *made = sys_create(driver, &err);
    ck_assert_ptr_nonnull(made);
    return made;
}

static void make(void) { sys = make_of(&sys_uring); }

// ---- whether there is one ----

TEST(whether_there_is_one_is_found_out_without_a_trace) {
    char text[64];
    signal(SIGCHLD, SIG_IGN);
    catch_errors();
    int next = dup(0);
    ck_assert_int_eq(uring_probe(), 0);
    ck_assert_int_eq(dup(0), next + 1);
    ck_assert_int_eq(waitpid(-1, NULL, __WALL | WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    errors_caught(text, sizeof text);
    ck_assert_str_eq(text, "");
}

static void check_refused(unsigned number, unsigned answer, int err) {
    char text[256];
    setenv("AC_TRACE", "sys", 1);
    setenv("AC_POLLER", "uring", 1);
    filter(number, answer);
    ck_assert_int_eq(uring_probe(), err);
    catch_errors();
    sys = make_of(&sys_chosen);
    errors_caught(text, sizeof text);
    ck_assert_str_eq(sys->driver->name, "epoll");
    ck_assert_ptr_nonnull(strstr(text, "asyncoro sys: AC_POLLER=uring: no io_uring here, epoll "
                                       "instead: "));
    sys_destroy(sys);
}

TEST(a_container_that_forbids_it_has_epoll) {
    check_refused(SYS_io_uring_setup, FILTER_ERROR(EPERM), -EPERM);
}
TEST(an_old_kernel_has_epoll) { check_refused(SYS_io_uring_setup, FILTER_ERROR(ENOSYS), -ENOSYS); }
TEST(a_kernel_that_lacks_a_feature_has_epoll) {
    check_refused(SYS_io_uring_setup, FILTER_ERROR(EINVAL), -EINVAL);
}
TEST(who_may_not_register_has_epoll) {
    check_refused(SYS_io_uring_register, FILTER_ERROR(EACCES), -EACCES);
}
TEST(who_may_not_enter_has_epoll) {
    check_refused(SYS_io_uring_enter, FILTER_ERROR(EPERM), -EPERM);
}
TEST(who_would_be_killed_for_asking_has_epoll) {
    check_refused(SYS_io_uring_setup, SECCOMP_RET_KILL_PROCESS, -EPERM);
}
TEST(who_would_be_killed_for_entering_has_epoll) {
    check_refused(SYS_io_uring_enter, SECCOMP_RET_KILL_PROCESS, -EPERM);
}
#ifndef SYS_ASAN // whose search for leaks makes one
TEST(where_no_process_can_be_made_there_is_epoll) {
    check_refused(SYS_clone, FILTER_ERROR(EAGAIN), -EAGAIN);
}
#endif

TEST(a_poller_that_is_refused_later_is_one_of_epoll) {
    char text[256];
    setenv("AC_TRACE", "sys", 1);
    setenv("AC_POLLER", "uring", 1);
    sys = make_of(&sys_chosen);
    ck_assert_str_eq(sys->driver->name, "uring");
    sys_destroy(sys);
    filter(SYS_io_uring_setup, FILTER_ERROR(EPERM));
    catch_errors();
    sys = make_of(&sys_chosen);
    ck_assert_str_eq(sys->driver->name, "epoll");
    errors_caught(text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "a ring was refused, epoll instead: "));
    sys_destroy(sys);
}

// ---- more than fits ----

TEST(more_than_the_ring_holds_is_served) {
    enum { PAIRS = 2200, COUNT = 2 * PAIRS }; // of 256 submissions and 4096 completions
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < COUNT + 50)
        TEST_SKIP("few files may be open here");
    make();
    struct sys_handle *handles = calloc(COUNT, sizeof *handles);
    struct trial *trials = calloc(COUNT, sizeof *trials);
    char *bytes = calloc(COUNT, 1);
    for (int i = 0; i < COUNT; i += 2) {
        int other = make_pair(&handles[i]);
        sys_adopt(sys, &handles[i + 1], other, false);
    }
    for (int i = 0; i < COUNT; i++)
        ck_assert(!start(&trials[i], SYS_READ, &handles[i], &bytes[i], 1));
    poll_now();
    ck_assert(!sys->queued);
    for (int i = 0; i < COUNT; i++) {
        char byte = (char)i;
        ck_assert_int_eq(write_some(&handles[i ^ 1], &byte, 1), 1);
    }
    for (int i = 0; i < COUNT; i++) {
        if (!trials[i].finished)
            poll_until(&trials[i]);
        ck_assert_int_eq(trials[i].finished, 1);
        ck_assert_int_eq(bytes[i], (char)i);
        sys_close(&handles[i]);
    }
    free(handles);
    free(trials);
    free(bytes);
    sys_destroy(sys);
}

TEST(a_poller_says_that_it_has_yet_to_tell_the_system) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char byte;
    struct trial reading = {0};
    ck_assert(!sys->queued);
    ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1));
    ck_assert(sys->queued);
    poll_now();
    ck_assert(!sys->queued);
    ck_assert(sys_cancel(&reading.op));
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

// ---- calls that come to nothing ----

static int failures; // of the calls that follow
static int failure;

int __real_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *how, size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *how, size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *how, size_t bytes) {
    if (failures > 0) {
        failures--;
        return failure;
    }
    return __real_io_uring_enter2(fd, submit, wait, flags, how, bytes);
}

static void fail_enter(int count, int err) {
    failures = count;
    failure = err;
}

TEST(what_could_not_be_told_the_system_is_told_the_next_time) {
    static const int passing[] = {-EINTR, -EBUSY, -EAGAIN};
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char byte;
    struct trial reading = {0};
    for (size_t i = 0; i < countof(passing); i++) {
        ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1));
        fail_enter(3, passing[i]);
        for (int times = 0; times < 3; times++) {
            poll_now();
            ck_assert(sys->queued);
        }
        poll_now();
        ck_assert(!sys->queued);
        ck_assert_int_eq(write(other, "x", 1), 1);
        poll_until(&reading);
    }
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(a_cancellation_that_could_not_leave_leaves_the_next_time) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char bytes[4] = "...";
    struct trial reading = {0};
    for (int polled = 0; polled < 2; polled++) {
        ck_assert(!start(&reading, SYS_READ, &handle, bytes, 3));
        poll_now();
        fail_enter(1, -EINTR);
        ck_assert(!sys_cancel(&reading.op));
        ck_assert(sys->queued);
        if (polled)
            ck_assert_int_eq(write(other, "abc", 3), 3);
        poll_until(&reading);
        ck_assert(!sys->queued);
        if (reading.op.result == -ECANCELED)
            ck_assert_str_eq(bytes, "...");
        else
            ck_assert_int_eq(reading.op.result, 3);
    }
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

// ---- bytes that are quicker than a cancellation ----

// A read whose bytes are there, and the poller has not looked: such a ring takes them by itself.
static int read_unseen(struct trial *reading, struct sys_handle *handle, char *bytes) {
    sys = make_of(sys_uring.in_turn);
    int other = make_pair(handle);
    ck_assert(!start(reading, SYS_READ, handle, bytes, 4));
    poll_now();
    ck_assert_int_eq(write(other, "1234", 4), 4);
    return other;
}

TEST(bytes_that_are_quicker_than_a_cancellation_are_handed_over) {
    struct sys_handle handle;
    struct trial reading = {0};
    char bytes[5] = "";
    int other = read_unseen(&reading, &handle, bytes);
    ck_assert(!sys_cancel(&reading.op));
    ck_assert(!sys_cancel(&reading.op)); // as io_close may
    ck_assert_int_eq(reading.finished, 0);
    poll_now();
    ck_assert_int_eq(reading.finished, 1);
    ck_assert_int_eq(reading.op.result, 4);
    ck_assert_str_eq(bytes, "1234");
    ck_assert(!sys_cancel(&reading.op));
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

// Its coroutine was abandoned.
static void check_closed(bool bytes_came) {
    struct sys_handle handle;
    struct trial reading = {0};
    char bytes[5] = "";
    int other;
    if (bytes_came) {
        other = read_unseen(&reading, &handle, bytes);
    } else {
        make();
        other = make_pair(&handle);
        ck_assert(!start(&reading, SYS_READ, &handle, bytes, 4));
        poll_now();
    }
    sys_close(&handle);
    memset(bytes, 0, sizeof bytes);
    memset(&reading, 0x55, sizeof reading);
    poll_now();
    ck_assert_str_eq(bytes, "");
    ck_assert_int_eq(reading.finished, 0x55555555);
    ck_assert_int_eq(send(other, "1234", 4, MSG_NOSIGNAL), -1);
    close(other);
    sys_destroy(sys);
}

TEST(what_is_closed_while_it_is_read_is_written_no_more) { check_closed(false); }
TEST(nor_if_bytes_have_come_that_nobody_saw) { check_closed(true); }

// ---- several threads ----

static struct trial shared_reading;
static struct sys_handle shared_handle;
static char shared_byte;

static void *read_in_thread(void *unused) {
    ck_assert(!start(&shared_reading, SYS_READ, &shared_handle, &shared_byte, 1));
    poll_now();
    return unused;
}

TEST(what_a_thread_that_has_ended_began_goes_on) {
    sys = make_of(sys_uring.in_turn);
    int other = make_pair(&shared_handle);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, read_in_thread, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        poll_now();
        ck_assert_int_eq(shared_reading.finished, 0);
        ck_assert_int_eq(write(other, "x", 1), 1);
        poll_until(&shared_reading);
        ck_assert_int_eq(shared_reading.op.result, 1);
    }
    sys_close(&shared_handle);
    close(other);
    sys_destroy(sys);
}

// ---- nesting ----

static void check_nested(const struct sys_driver *outer, const struct sys_driver *inner) {
    struct sys *under = make_of(inner);
    sys = under;
    struct sys_handle handle;
    int other = make_pair(&handle);
    sys = make_of(outer);
    ck_assert_int_eq(sys_nest(sys, under), 0);
    char byte;
    struct trial reading = {0};
    for (int i = 0; i < 3; i++) {
        ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1));
        ck_assert_int_eq(sys_poll(under, AC_NOW), 0);
        poll_now();
        sys->inner_due = false;
        poll_now();
        ck_assert(!sys->inner_due);
        ck_assert_int_eq(write(other, "x", 1), 1);
        for (int look = 0; look < 3; look++) { // as long as the inner one was not polled
            sys->inner_due = false;
            ck_assert_int_eq(sys_poll(sys, sys_clock() + 5000000000), 0);
            ck_assert(sys->inner_due);
        }
        ck_assert_int_eq(reading.finished, 0);
        ck_assert_int_eq(sys_poll(under, AC_NOW), 0);
        ck_assert_int_eq(reading.finished, 1);
    }
    ck_assert_int_eq(sys_nest(sys, NULL), 0);
    sys_close(&handle);
    sys_destroy(under);
    // The outer one holds nothing of it.
    poll_now();
    poll_now();
    close(other);
    sys_destroy(sys);
}

TEST(one_may_be_nested_in_another) { check_nested(&sys_uring, sys_uring.in_turn); }
TEST(one_may_be_nested_in_one_of_epoll) { check_nested(&sys_epoll, sys_uring.in_turn); }
TEST(one_of_epoll_may_be_nested_in_one) { check_nested(&sys_uring, &sys_epoll); }

// ---- errors ----

TEST(a_ring_that_is_lost_is_an_error) {
    make();
    poll_now();
    int fd = ((struct poller *)sys)->fd, other = dup(0);
    ck_assert_int_eq(dup2(other, fd), fd);
    ck_assert_int_eq(sys_poll(sys, sys_clock() + 1000000000), -EOPNOTSUPP);
    sys_destroy(sys);
}
