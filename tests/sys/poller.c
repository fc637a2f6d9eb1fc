// SPDX-License-Identifier: MIT
// Tests of src/sys/poller.c, and of what any poller promises: operations that finish at once or
// later, hang-ups, cancelling, shared descriptors, the nested poller, waking. They run once for
// each value of AC_POLLER.
#include "sys/trial.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void make(void) {
    int err = 0;
    sys = sys_create(&sys_chosen, &err);
    ck_assert_ptr_nonnull(sys);
}

static struct sys_address loopback(void) {
    struct sys_address address;
    ck_assert(sys_address_parse("127.0.0.1:0", &address));
    return address;
}

static void open_listener(struct sys_handle *listener, struct sys_address *address) {
    *address = loopback();
    struct sys_open how = {.transport = SYS_STREAM, .bind = address, .listen = true};
    ck_assert_int_eq(sys_open(sys, listener, &how), 0);
    ck_assert_int_eq(sys_local(listener, address, NULL), 0);
    ck_assert_uint_ne(address->port, 0);
}

static void open_tcp(struct sys_handle *handle) {
    struct sys_open how = {.transport = SYS_STREAM, .family = 4};
    ck_assert_int_eq(sys_open(sys, handle, &how), 0);
}

// ---- connections ----

TEST(a_connection_is_made_used_and_ended) {
    make();
    struct sys_handle listener, client, server;
    struct sys_address address, seen;
    open_listener(&listener, &address);
    struct trial accepting = {0}, connecting = {0}, reading = {0};
    ck_assert(!start(&accepting, SYS_ACCEPT, &listener, NULL, 0));
    poll_now();
    ck_assert_int_eq(accepting.finished, 0);
    open_tcp(&client);
    connecting.op.address = address;
    ck_assert_int_eq(finish(&connecting, SYS_CONNECT, &client, NULL, 0), 0);
    if (!accepting.finished)
        poll_until(&accepting);
    ck_assert_int_ge(accepting.op.result, 0);
    sys_adopt_accepted(sys, &server, (int)accepting.op.result);
    ck_assert_int_eq(sys_local(&client, &seen, NULL), 0);
    ck_assert(sys_address_equal(&seen, &accepting.op.address));
    ck_assert_int_eq(sys_remote(&client, &seen, NULL), 0);
    ck_assert(sys_address_equal(&seen, &address));

    char bytes[16] = "";
    ck_assert(!start(&reading, SYS_READ, &server, bytes, sizeof bytes));
    ck_assert_int_eq(write_some(&client, "hello", 5), 5);
    poll_until(&reading);
    ck_assert_int_eq(reading.op.result, 5);
    ck_assert_str_eq(bytes, "hello");
    ck_assert_int_eq(write_some(&server, "answer", 6), 6);
    ck_assert_int_eq(sys_shut(&client), 0);
    ck_assert_int_eq(read_some(&server, bytes, sizeof bytes), 0);
    ck_assert_int_eq(read_some(&client, bytes, sizeof bytes), 6); // one half is still open
    sys_close(&server);
    ck_assert_int_eq(read_some(&client, bytes, sizeof bytes), 0);
    ck_assert_int_eq(read_some(&client, bytes, sizeof bytes), 0);
    ck_assert_ptr_null(server.sys);
    sys_close(&client);
    sys_close(&listener);
    sys_destroy(sys);
}

TEST(a_connection_that_nobody_accepts_is_refused) {
    make();
    struct sys_handle listener, client;
    struct sys_address address;
    open_listener(&listener, &address);
    sys_close(&listener);
    open_tcp(&client);
    struct trial connecting = {.op.address = address};
    ck_assert_int_eq(finish(&connecting, SYS_CONNECT, &client, NULL, 0), -ECONNREFUSED);
    sys_close(&client);
    sys_destroy(sys);
}

TEST(many_events_at_once_are_all_served) {
    make();
    enum { COUNT = 700 }; // more than fit one answer of the system
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * COUNT + 50)
        TEST_SKIP("few files may be open here");
    struct sys_handle *handles = calloc(COUNT, sizeof *handles);
    struct trial *trials = calloc(COUNT, sizeof *trials);
    int *others = calloc(COUNT, sizeof *others);
    char byte[COUNT];
    for (int i = 0; i < COUNT; i++) {
        others[i] = make_pair(&handles[i]);
        ck_assert(!start(&trials[i], SYS_READ, &handles[i], &byte[i], 1));
    }
    poll_now();
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(write(others[i], "x", 1), 1);
    for (int i = 0; i < COUNT; i++) {
        if (!trials[i].finished)
            poll_until(&trials[i]);
        ck_assert_int_eq(trials[i].op.result, 1);
        sys_close(&handles[i]);
        close(others[i]);
    }
    free(handles);
    free(trials);
    free(others);
    sys_destroy(sys);
}

// ---- edges ----

TEST(after_a_short_read_the_next_waits_for_more) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char bytes[100];
    struct trial reading = {0};
    ck_assert(!start(&reading, SYS_READ, &handle, bytes, sizeof bytes));
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(write(other, "0123456789", 10), 10);
        poll_until(&reading);
        ck_assert_int_eq(reading.op.result, 10);
        ck_assert(!start(&reading, SYS_READ, &handle, bytes, sizeof bytes));
        poll_now();
        ck_assert_int_eq(reading.finished, 0);
    }
    ck_assert(sys_cancel(&reading.op));
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(what_came_before_the_read_was_started_is_found) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char bytes[100];
    struct trial reading = {0};
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(write(other, "0123456789", 10), 10);
        if (i % 3 == 1)
            poll_now();
        // Short and full reads in turn.
        ck_assert_int_eq(finish(&reading, SYS_READ, &handle, bytes, 5), 5);
        ck_assert_int_eq(finish(&reading, SYS_READ, &handle, bytes, i % 2 ? 5 : 100), 5);
        ck_assert_int_eq(memcmp(bytes, "56789", 5), 0);
        if (i == 0) { // so that the handle is registered
            ck_assert(!start(&reading, SYS_READ, &handle, bytes, 1));
            ck_assert(sys_cancel(&reading.op));
        }
    }
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(one_who_is_not_going_to_wait_is_not_sent_away_by_old_news) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char bytes[100];
    struct trial reading = {0};
    ck_assert(!start(&reading, SYS_READ, &handle, bytes, 1));
    ck_assert(sys_cancel(&reading.op));
    ck_assert_int_eq(write(other, "0123456789", 10), 10); // no poll in between
    reading.op.eager = true;
    ck_assert(sys_start(&reading.op));
    ck_assert_int_eq(reading.op.result, 1);
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(data_before_a_hang_up_is_read_to_the_end) {
    for (int round = 0; round < 4; round++) {
        make();
        struct sys_handle handle;
        int other = make_pair(&handle);
        char bytes[100];
        struct trial reading = {0};
        bool registered = round & 1, polled = round & 2;
        if (registered) {
            ck_assert(!start(&reading, SYS_READ, &handle, bytes, 1));
            ck_assert(sys_cancel(&reading.op));
        }
        ck_assert_int_eq(write(other, "12345", 5), 5);
        close(other);
        if (polled)
            poll_now();
        ck_assert_int_eq(read_some(&handle, bytes, 2), 2);
        poll_now();
        ck_assert_int_eq(read_some(&handle, bytes, 100), 3);
        ck_assert_int_eq(read_some(&handle, bytes, 100), 0);
        ck_assert_int_eq(read_some(&handle, bytes, 100), 0);
        ck_assert_int_eq(write_some(&handle, "x", 1), -EPIPE);
        sys_close(&handle);
        sys_destroy(sys);
    }
}

TEST(a_full_socket_lets_the_writer_wait) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    static char block[65536];
    struct trial writing = {0}, reading = {0};
    int64_t sent = 0;
    while (start(&writing, SYS_WRITE, &handle, block, sizeof block)) {
        ck_assert_int_gt(writing.op.result, 0);
        sent += writing.op.result;
    }
    poll_now();
    ck_assert_int_eq(writing.finished, 0);
    char byte;
    ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1)); // both directions at once
    ck_assert_int_eq(write(other, "r", 1), 1);
    poll_until(&reading);
    ck_assert_int_eq(writing.finished, 0);
    while (sent > 0) {
        ssize_t got = read(other, block, sizeof block);
        ck_assert_int_gt(got, 0);
        sent -= got;
    }
    poll_until(&writing);
    ck_assert_int_gt(writing.op.result, 0);
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(parts_are_written_in_order) {
    make();
    const struct sys_part parts[] = {{"one", 3}, {", ", 2}, {"two", 3}};
    char text[16];
    for (int pipe_or_socket = 0; pipe_or_socket < 2; pipe_or_socket++) {
        struct sys_handle handle;
        int ends[2];
        if (pipe_or_socket == 0) {
            ck_assert_int_eq(pipe(ends), 0);
            sys_adopt(sys, &handle, ends[1], false);
        } else {
            ends[0] = make_pair(&handle);
        }
        struct sys_op op = {
            .verb = SYS_WRITE, .handle = &handle, .parts = parts, .parts_count = countof(parts)};
        ck_assert(sys_start(&op));
        ck_assert_int_eq(op.result, 8);
        ck_assert_int_eq(read(ends[0], text, sizeof text), 8);
        ck_assert_mem_eq(text, "one, two", 8);
        sys_close(&handle);
        close(ends[0]);
    }
    sys_destroy(sys);
}

TEST(of_parts_a_shared_descriptor_takes_the_first) {
    make();
    const struct sys_part parts[] = {{"one", 3}, {"two", 3}};
    int ends[2];
    char text[16];
    struct sys_handle handle;
    ck_assert_int_eq(pipe(ends), 0);
    sys_adopt(sys, &handle, ends[1], true);
    struct sys_op op = {
        .verb = SYS_WRITE, .handle = &handle, .parts = parts, .parts_count = countof(parts)};
    ck_assert(sys_start(&op));
    ck_assert_int_eq(op.result, 3);
    ck_assert_int_eq(read(ends[0], text, sizeof text), 3);
    sys_close(&handle);
    close(ends[0]);
    sys_destroy(sys);
}

// ---- cancelling ----

TEST(an_attempt_does_it_at_once_or_leaves_all_as_it_is) {
    make();
    struct sys_handle one = {0};
    int other = make_pair(&one);
    char text[8];
    struct sys_op get = {.verb = SYS_READ, .handle = &one, .bytes = text, .count = sizeof text};
    ck_assert(!sys_attempt(&get));
    ck_assert_int_eq(write(other, "abc", 3), 3);
    ck_assert(sys_attempt(&get));
    ck_assert_int_eq(get.result, 3);
    struct sys_op put = {.verb = SYS_WRITE, .handle = &one, .bytes = text, .count = 3};
    ck_assert(sys_attempt(&put));
    ck_assert_int_eq(put.result, 3);
    ck_assert_int_eq(read(other, text, sizeof text), 3);
    close(other);
    ck_assert(sys_attempt(&put));
    ck_assert_int_eq(put.result, -EPIPE);
    sys_close(&one);
    sys_destroy(sys);
}

TEST(a_cancelled_operation_takes_nothing) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char bytes[10];
    struct trial reading = {0};
    for (int late = 0; late < 2; late++) {
        ck_assert(!start(&reading, SYS_READ, &handle, bytes, sizeof bytes));
        if (late) // the bytes are there, but the poller has not looked
            ck_assert_int_eq(write(other, "1234", 4), 4);
        ck_assert(sys_cancel(&reading.op));
        ck_assert_int_eq(reading.op.result, -ECANCELED);
        if (!late)
            ck_assert_int_eq(write(other, "1234", 4), 4);
        poll_now();
        ck_assert_int_eq(reading.finished, 0);
        ck_assert_int_eq(read_some(&handle, bytes, sizeof bytes), 4);
    }
    struct sys_handle listener;
    struct sys_address address;
    open_listener(&listener, &address);
    ck_assert(!start(&reading, SYS_ACCEPT, &listener, NULL, 0));
    ck_assert(sys_cancel(&reading.op));
    sys_close(&listener);
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(no_event_of_a_closed_handle_arrives_while_others_hold_a_copy) {
    make();
    struct sys_handle *handle = malloc(sizeof *handle);
    int other = make_pair(handle);
    char byte;
    struct trial reading = {0};
    ck_assert(!start(&reading, SYS_READ, handle, &byte, 1));
    ck_assert(sys_cancel(&reading.op));
    int copy = dup(handle->fd);
    ck_assert_int_eq(write(other, "x", 1), 1);
    sys_close(handle);
    free(handle); // the sanitizer would see that it is touched
    poll_now();
    ck_assert_int_eq(write(other, "x", 1), 1);
    poll_now();
    close(copy);
    close(other);
    sys_destroy(sys);
}

TEST(a_cancelled_read_writes_nothing_any_more) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char bytes[4] = "...";
    struct trial reading = {0};
    ck_assert(!start(&reading, SYS_READ, &handle, bytes, 3));
    poll_now();
    ck_assert(sys_cancel(&reading.op));
    ck_assert_int_eq(write(other, "abc", 3), 3);
    poll_now();
    ck_assert_str_eq(bytes, "...");
    ck_assert_int_eq(reading.finished, 0);
    ck_assert_int_eq(read_some(&handle, bytes, 3), 3);
    ck_assert_str_eq(bytes, "abc");
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

TEST(many_are_cancelled_and_what_comes_then_goes_to_others) {
    make();
    enum { COUNT = 200 };
    struct sys_handle handles[COUNT];
    struct trial trials[COUNT] = {0};
    int others[COUNT];
    char byte[COUNT];
    for (int i = 0; i < COUNT; i++) {
        others[i] = make_pair(&handles[i]);
        ck_assert(!start(&trials[i], SYS_READ, &handles[i], &byte[i], 1));
        if (i % 3 == 0)
            poll_now();
    }
    for (int i = 0; i < COUNT; i += 2)
        ck_assert(sys_cancel(&trials[i].op));
    for (int i = 0; i < COUNT; i++) {
        char sent = (char)i, got;
        ck_assert_int_eq(write(others[i], &sent, 1), 1);
        if (i % 2)
            poll_until(&trials[i]);
        else
            ck_assert_int_eq(read_some(&handles[i], &got, 1), 1);
        ck_assert_int_eq(i % 2 ? byte[i] : got, sent);
        ck_assert_int_eq(trials[i].finished, i % 2);
        sys_close(&handles[i]);
        close(others[i]);
    }
    sys_destroy(sys);
}

TEST(what_is_closed_after_a_cancellation_is_closed_for_the_other_side) {
    make();
    struct sys_handle handle;
    int other = make_pair(&handle);
    char byte;
    struct trial reading = {0};
    ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1));
    poll_now();
    ck_assert(sys_cancel(&reading.op));
    sys_close(&handle);
    ck_assert_int_eq(read(other, &byte, 1), 0);
    close(other);
    sys_destroy(sys);
}

// ---- datagrams ----

TEST(datagrams_come_with_their_address) {
    make();
    struct sys_handle here, there;
    struct sys_address ours = loopback(), its = loopback();
    ck_assert_int_eq(
        sys_open(sys, &here, &(struct sys_open){.transport = SYS_DATAGRAMS, .bind = &ours}), 0);
    ck_assert_int_eq(
        sys_open(sys, &there, &(struct sys_open){.transport = SYS_DATAGRAMS, .bind = &its}), 0);
    ck_assert_int_eq(sys_local(&here, &ours, NULL), 0);
    ck_assert_int_eq(sys_local(&there, &its, NULL), 0);
    char bytes[100];
    struct trial receiving = {0}, sending = {0};
    ck_assert(!start(&receiving, SYS_RECEIVE, &there, bytes, sizeof bytes));
    sending.op.address = its;
    ck_assert_int_eq(finish(&sending, SYS_SEND, &here, (char *)"one", 3), 3);
    poll_until(&receiving);
    ck_assert_int_eq(receiving.op.result, 3);
    ck_assert(sys_address_equal(&receiving.op.address, &ours));
    // Several at once: a short datagram does not mean that there is no other.
    sending.op.interface = if_nametoindex("lo");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(finish(&sending, SYS_SEND, &here, (char *)"more", 4), 4);
    ck_assert_int_eq(finish(&sending, SYS_SEND, &here, NULL, 0), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(finish(&receiving, SYS_RECEIVE, &there, bytes, sizeof bytes), 4);
    ck_assert_int_eq(finish(&receiving, SYS_RECEIVE, &there, bytes, sizeof bytes), 0);
    ck_assert(!start(&receiving, SYS_RECEIVE, &there, bytes, sizeof bytes));
    ck_assert(sys_cancel(&receiving.op));
    sys_close(&here);
    sys_close(&there);
    sys_destroy(sys);
}

TEST(a_datagram_without_room_tells_its_size) {
    make();
    struct sys_handle here, there;
    struct sys_address its = loopback();
    ck_assert_int_eq(
        sys_open(sys, &here, &(struct sys_open){.transport = SYS_DATAGRAMS, .family = 4}), 0);
    ck_assert_int_eq(
        sys_open(sys, &there, &(struct sys_open){.transport = SYS_DATAGRAMS, .bind = &its}), 0);
    ck_assert_int_eq(sys_local(&there, &its, NULL), 0);
    char bytes[5] = "";
    struct trial receiving = {0}, connecting = {0}, sending = {0};
    connecting.op.address = its;
    ck_assert_int_eq(finish(&connecting, SYS_CONNECT, &here, NULL, 0), 0);
    ck_assert_int_eq(finish(&sending, SYS_SEND, &here, (char *)"0123456789", 10), 10);
    ck_assert_int_eq(finish(&receiving, SYS_RECEIVE, &there, bytes, 4), 10);
    ck_assert_str_eq(bytes, "0123");
    sys_close(&here);
    sys_close(&there);
    sys_destroy(sys);
}

static void open_unix(struct sys_handle *handle, struct sys_unix *name) {
    struct sys_address address = {.family = SYS_UNIX};
    struct sys_open how = {.transport = SYS_DATAGRAMS, .bind = &address, .name = name};
    name->bytes = 0; // the system chooses one
    ck_assert_int_eq(sys_open(sys, handle, &how), 0);
    ck_assert_int_eq(sys_local(handle, &address, name), 0);
}

TEST(unix_datagrams_come_with_their_name) {
    make();
    struct sys_handle here, there;
    struct sys_unix ours, its, seen;
    open_unix(&here, &ours);
    open_unix(&there, &its);
    char bytes[10];
    struct trial receiving = {0}, sending = {0};
    sending.op.address.family = SYS_UNIX;
    sending.op.name = &its;
    receiving.op.name = &seen;
    ck_assert(!start(&receiving, SYS_RECEIVE, &there, bytes, sizeof bytes));
    ck_assert_int_eq(finish(&sending, SYS_SEND, &here, (char *)"one", 3), 3);
    poll_until(&receiving);
    ck_assert_int_eq(receiving.op.result, 3);
    ck_assert_int_eq(receiving.op.address.family, SYS_UNIX);
    ck_assert_uint_eq(seen.bytes, ours.bytes);
    ck_assert_mem_eq(seen.text, ours.text, ours.bytes);
    sys_close(&here);
    sys_close(&there);
    sys_destroy(sys);
}

TEST(what_is_sent_to_a_group_comes_to_its_members) {
    make();
    struct sys_handle here, there;
    struct sys_address its = loopback(), group;
    unsigned lo = sys_interface_index("lo");
    ck_assert(sys_address_parse("239.255.77.1:0", &group));
    memset(its.ip, 0, 4);
    ck_assert_int_eq(
        sys_open(sys, &there, &(struct sys_open){.transport = SYS_DATAGRAMS, .bind = &its}), 0);
    ck_assert_int_eq(
        sys_open(sys, &here,
                 &(struct sys_open){.transport = SYS_DATAGRAMS, .family = 4, .interface = lo}),
        0);
    ck_assert_int_eq(sys_local(&there, &its, NULL), 0);
    ck_assert_int_eq(sys_group(&there, &group, lo, true), 0);
    char bytes[10];
    struct trial receiving = {0}, sending = {0};
    sending.op.address = group;
    sending.op.address.port = its.port;
    ck_assert(!start(&receiving, SYS_RECEIVE, &there, bytes, sizeof bytes));
    ck_assert_int_eq(finish(&sending, SYS_SEND, &here, (char *)"one", 3), 3);
    poll_until(&receiving);
    ck_assert_int_eq(receiving.op.result, 3);
    ck_assert_int_eq(sys_group(&there, &group, lo, false), 0);
    sys_close(&here);
    sys_close(&there);
    sys_destroy(sys);
}

// ---- watching ----

TEST(watching_tells_of_readability_and_reads_nothing) {
    make();
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    struct sys_handle handle;
    sys_adopt(sys, &handle, ends[0], false);
    struct trial watching = {0};
    ck_assert(!start(&watching, SYS_WATCH, &handle, NULL, 0));
    poll_now();
    ck_assert_int_eq(watching.finished, 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    poll_until(&watching);
    ck_assert_int_eq(watching.op.result, 0);
    ck_assert(start(&watching, SYS_WATCH, &handle, NULL, 0));
    char bytes[10];
    ck_assert_int_eq(read_some(&handle, bytes, sizeof bytes), 1);
    sys_close(&handle);
    close(ends[1]);
    sys_destroy(sys);
}

// ---- shared descriptors, pipes, files ----

TEST(a_shared_descriptor_keeps_its_mode_and_is_waited_for) {
    make();
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    struct sys_handle handle;
    sys_adopt(sys, &handle, ends[0], true);
    char bytes[10];
    struct trial reading = {0};
    for (int i = 0; i < 3; i++) {
        ck_assert(!start(&reading, SYS_READ, &handle, bytes, sizeof bytes));
        poll_now();
        ck_assert_int_eq(reading.finished, 0);
        ck_assert_int_eq(write(ends[1], "abc", 3), 3);
        poll_until(&reading);
        ck_assert_int_eq(reading.op.result, 3);
    }
    ck_assert_int_eq(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    close(ends[1]);
    ck_assert_int_eq(read_some(&handle, bytes, sizeof bytes), 0);
    sys_close(&handle);
    sys_destroy(sys);
}

TEST(a_terminal_gives_all_the_lines_that_were_typed) {
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
        TEST_SKIP("there are no terminals here");
    make();
    struct sys_handle handle;
    sys_adopt(sys, &handle, open(ptsname(terminal), O_RDWR | O_NOCTTY), true);
    char bytes[100];
    struct trial reading = {0};
    ck_assert(!start(&reading, SYS_READ, &handle, bytes, sizeof bytes));
    ck_assert_int_eq(write(terminal, "one\ntwo\nthree\n", 14), 14);
    poll_until(&reading);
    ck_assert_int_eq(reading.op.result, 4);
    ck_assert_int_eq(read_some(&handle, bytes, sizeof bytes), 4);
    ck_assert_int_eq(read_some(&handle, bytes, sizeof bytes), 6);
    ck_assert_int_eq(memcmp(bytes, "three\n", 6), 0);
    ck_assert(!start(&reading, SYS_READ, &handle, bytes, sizeof bytes));
    ck_assert(sys_cancel(&reading.op));
    sys_close(&handle);
    close(terminal);
    sys_destroy(sys);
}

TEST(writing_to_a_shared_pipe_that_is_full_does_not_block) {
    make();
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    struct sys_handle handle;
    sys_adopt(sys, &handle, ends[1], true);
    static char block[100000];
    struct trial writing = {0};
    int64_t sent = 0;
    while (start(&writing, SYS_WRITE, &handle, block, sizeof block)) {
        ck_assert_int_gt(writing.op.result, 0);
        sent += writing.op.result;
    }
    poll_now();
    ck_assert_int_eq(writing.finished, 0);
    while (sent > 0) {
        ssize_t got = read(ends[0], block, sizeof block);
        ck_assert_int_gt(got, 0);
        sent -= got;
    }
    poll_until(&writing);
    ck_assert_int_gt(writing.op.result, 0);
    sys_close(&handle);
    close(ends[0]);
    sys_destroy(sys);
}

TEST(a_pipe_whose_reader_has_gone_is_an_error_and_no_signal) {
    make();
    int ends[2];
    struct sys_handle handle;
    for (int shared = 0; shared < 2; shared++) {
        ck_assert_int_eq(pipe(ends), 0);
        sys_adopt(sys, &handle, ends[1], shared);
        ck_assert_int_eq(write_some(&handle, "x", 1), 1);
        close(ends[0]);
        ck_assert_int_eq(write_some(&handle, "x", 1), -EPIPE);
        ck_assert_int_eq(write_some(&handle, "x", 1), -EPIPE);
        sys_close(&handle);
    }
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    ck_assert(!sigismember(&blocked, SIGPIPE));
    sys_destroy(sys);
}

TEST(a_regular_file_never_waits) {
    make();
    char name[TEST_TEMPLATE_BYTES];
    test_template(name);
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    unlink(name);
    for (int shared = 0; shared < 2; shared++) {
        struct sys_handle handle;
        sys_adopt(sys, &handle, dup(fd), shared);
        ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
        struct trial trial = {0};
        ck_assert(start(&trial, SYS_WRITE, &handle, (char *)"hello", 5));
        ck_assert_int_eq(trial.op.result, 5);
        ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
        char bytes[10];
        ck_assert(start(&trial, SYS_READ, &handle, bytes, sizeof bytes));
        ck_assert_int_eq(trial.op.result, 5);
        ck_assert(start(&trial, SYS_READ, &handle, bytes, sizeof bytes));
        ck_assert_int_eq(trial.op.result, 0);
        ck_assert(start(&trial, SYS_WATCH, &handle, NULL, 0));
        sys_close(&handle);
    }
    close(fd);
    sys_destroy(sys);
}

TEST(a_bad_descriptor_is_an_error) {
    make();
    struct sys_handle handle;
    sys_adopt(sys, &handle, 999, true);
    char byte = 'x';
    ck_assert_int_eq(read_some(&handle, &byte, 1), -EBADF);
    ck_assert_int_eq(write_some(&handle, &byte, 1), -EBADF);
    sys_destroy(sys);
}

// ---- waiting and waking ----

TEST(polling_waits_until_the_deadline_and_never_less) {
    make();
    for (int i = 0; i < 10; i++) {
        ac_time begun = sys_now(sys);
        ck_assert_int_eq(sys_poll(sys, begun + 7300000), 0);
        ck_assert_int_ge(sys_now(sys) - begun, 7300000);
        ck_assert_int_lt(sys_now(sys) - begun, TEST_PATIENCE_S * 1000000000LL);
    }
    poll_now();
    ck_assert_int_eq(sys_poll(sys, sys_now(sys) - 1), 0);
    sys_destroy(sys);
}

static void wake_soon(void *unused) {
    (void)unused;
    usleep(30000);
    sys_wake(sys);
}

TEST(a_wake_up_ends_the_present_or_the_next_wait) {
    make();
    for (int i = 0; i < 3; i++) {
        struct sys_thread *thread;
        ck_assert_int_eq(sys_thread_start(&thread, wake_soon, NULL, 64 << 10, "wake"), 0);
        ck_assert_int_eq(sys_poll(sys, AC_FOREVER), 0);
        sys_thread_join(thread);
        sys_wake(sys);
        sys_wake(sys);
        ck_assert_int_eq(sys_poll(sys, AC_FOREVER), 0);
    }
    ac_time begun = sys_now(sys); // all of them are used up
    ck_assert_int_eq(sys_poll(sys, begun + 20000000), 0);
    ck_assert_int_ge(sys_now(sys) - begun, 20000000);
    sys_destroy(sys);
}

static void nothing(int number) { (void)number; }

TEST(a_signal_is_no_error) {
    make();
    signal(SIGALRM, nothing);
    struct itimerval soon = {.it_value.tv_usec = 20000};
    setitimer(ITIMER_REAL, &soon, NULL);
    ck_assert_int_eq(sys_poll(sys, sys_now(sys) + 2000000000), 0);
    sys_destroy(sys);
}

TEST(processes_are_started_and_watched_meanwhile) {
    make();
    struct sys_handle handle, end;
    int other = make_pair(&handle);
    char byte = 0, name[] = "true", *arguments[] = {name, NULL};
    struct trial reading = {0}, watching = {0};
    ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1));
    poll_now();
    struct sys_process process;
    const struct sys_process_options how = {.path = "/bin/true",
                                            .arguments = arguments,
                                            .input = -1,
                                            .output = -1,
                                            .error = -1,
                                            .extra = -1};
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    sys_adopt(sys, &end, sys_fd_copy(process.handle), false);
    ck_assert_int_eq(finish(&watching, SYS_WATCH, &end, NULL, 0), 0);
    struct sys_process_end seen;
    ck_assert_int_eq(sys_process_reap(&process, &seen), 0);
    ck_assert(!seen.by_signal);
    ck_assert_int_eq(reading.finished, 0);
    ck_assert_int_eq(write(other, "x", 1), 1);
    poll_until(&reading);
    ck_assert_int_eq(byte, 'x');
    sys_close(&end);
    sys_close(&handle);
    close(other);
    sys_destroy(sys);
}

// ---- a driver of somebody else's ----

static struct sys *create_nothing(int *err) {
    *err = -ENOTSUP;
    return NULL;
}

TEST(who_puts_another_world_in_the_place_of_the_system_chooses_the_driver) {
    static const struct sys_driver own = {.name = "own", .create = create_nothing};
    int err = 0;
    sys_choose(&own);
    ck_assert_ptr_null(sys_create(&sys_chosen, &err));
    ck_assert_ptr_null(sys_create(sys_chosen.in_turn, &err));
    ck_assert_int_eq(err, -ENOTSUP);
    sys_choose(NULL);
    make();
    sys_destroy(sys);
}

// ---- AC_POLLER ----

TEST(a_poller_that_is_not_known_is_the_default_and_is_told) {
    char text[256] = "";
    setenv("AC_TRACE", "sys", 1);
    setenv("AC_POLLER", "select", 1);
    catch_errors();
    make();
    errors_caught(text, sizeof text);
    ck_assert_str_eq(sys->driver->name, "epoll");
    ck_assert_str_eq(text, "asyncoro sys: AC_POLLER=select is not known, there are epoll and "
                           "uring: epoll\n");
    sys_destroy(sys);
}

TEST(unless_it_is_asked_for_the_poller_is_that_of_epoll) {
    for (int set = 0; set < 3; set++) {
        setenv("AC_POLLER", set == 1 ? "" : "epoll", 1);
        if (set == 0)
            unsetenv("AC_POLLER");
        make();
        ck_assert_str_eq(sys->driver->name, "epoll");
        sys_destroy(sys);
    }
}

// ---- nesting ----

TEST(a_nested_poller_makes_the_outer_one_return) {
    make();
    int err = 0;
    struct sys *inner = sys_create(sys_chosen.in_turn, &err);
    ck_assert_int_eq(sys_nest(sys, inner), 0);
    struct sys_handle handle;
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    sys_adopt(inner, &handle, ends[0], false);
    char byte;
    struct trial reading = {0};
    for (int i = 0; i < 3; i++) {
        ck_assert(!start(&reading, SYS_READ, &handle, &byte, 1));
        ck_assert_int_eq(sys_poll(inner, AC_NOW), 0);
        poll_now();
        sys->inner_due = false;
        poll_now();
        ck_assert(!sys->inner_due);
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ck_assert_int_eq(sys_poll(sys, AC_FOREVER), 0);
        ck_assert(sys->inner_due);
        ck_assert_int_eq(reading.finished, 0);
        ck_assert_int_eq(sys_poll(inner, AC_NOW), 0);
        ck_assert_int_eq(reading.finished, 1);
    }
    sys_wake(inner);
    sys->inner_due = false;
    ck_assert_int_eq(sys_poll(sys, AC_FOREVER), 0);
    ck_assert(sys->inner_due);
    ck_assert_int_eq(sys_nest(sys, NULL), 0);
    sys->inner_due = false;
    poll_now();
    ck_assert(!sys->inner_due);
    sys_close(&handle);
    close(ends[1]);
    sys_destroy(inner);
    sys_destroy(sys);
}

// ---- errors ----

TEST(a_poller_that_cannot_be_made_leaves_nothing_behind) {
    int err = 0;
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        sys = sys_create(&sys_chosen, &err);
        failed = memory_has_failed();
        memory_fail_nth(0);
        if (sys) // maybe of another kind than was asked for
            sys_destroy(sys);
        else
            ck_assert_int_eq(err, -ENOMEM);
        ck_assert(sys || failed);
    }
    int first_free = dup(0);
    close(first_free);
    for (int allowed = 0; allowed < 2; allowed++) {
        struct rlimit files = {(rlim_t)(first_free + allowed), 1024}, old;
        getrlimit(RLIMIT_NOFILE, &old);
        files.rlim_max = old.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
        err = 0;
        ck_assert_ptr_null(sys_create(&sys_chosen, &err));
        ck_assert_int_eq(err, -EMFILE);
        setrlimit(RLIMIT_NOFILE, &old);
        int now_free = dup(0);
        ck_assert_int_eq(now_free, first_free);
        close(now_free);
    }
    make();
    ck_assert_uint_ne(sys_random(sys), sys_random(sys));
    sys_destroy(sys);
}
