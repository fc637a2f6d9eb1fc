// SPDX-License-Identifier: MIT
// Tests of src/io/socket.c.
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/connect.h"

#include "base/base.h"

static char address[AC_ADDRESS_TEXT_BYTES]; // of the listener
static ac_listener *listener;
static int served, ended;

// ---- listening ----

TEST(listening_tells_the_port_that_the_system_chose) {
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(strncmp(address, "127.0.0.1:", 10), 0);
    ck_assert_int_gt(atoi(address + 10), 0);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(what_cannot_be_listened_on_is_an_error) {
    static const char *const wrong[] = {
        "",      ":",      "localhost:80", "127.0.0.1", "1.2.3.4:70000",
        ":http", ":70000", "[::1:80",      "::1:80"};
    for (size_t i = 0; i < countof(wrong); i++) {
        listener = (void *)wrong;
        ck_assert_msg(ac_listen(&listener, wrong[i]) == -EINVAL, "%s", wrong[i]);
        ck_assert_ptr_null(listener);
    }
    ck_assert_int_eq(ac_listen(NULL, ":0"), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, NULL), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, "192.0.2.1:0"), -EADDRNOTAVAIL);
    ck_assert_int_eq(ac_listener_address(NULL, address), -EINVAL);
    ac_listener_close(NULL);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(a_port_is_taken_until_its_listener_is_closed) {
    ac_listener *another;
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(ac_listen(&another, address), -EADDRINUSE);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_listen(&listener, address), 0);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(what_is_listened_on_when_the_loop_ends_can_still_be_closed) {
    listener = listen_at(":0", address);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ac_listener_address(listener, address), -EBADF);
    ac_listener_close(listener);
}

TEST(lack_of_memory_while_listening_is_an_error) {
    int failures = 0;
    ck_assert_int_eq(ac_random_int(1, 1), 1); // makes the loop
    (void)ac_random_real(0, 1);
    for (long n = 1;; n++) {
        memory_fail_nth(n);
        int err = ac_listen(&listener, "127.0.0.1:0");
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        failures += failed;
        if (!err)
            ac_listener_close(listener);
        ck_assert(failed ? err == -ENOMEM : err == 0);
        if (!failed)
            break;
    }
    ck_assert_int_ge(failures, 2);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- serving ----

static ac_value serve_echo(ac_value stream) {
    ac_stream *it = ac_pointer_of(stream);
    char text[64];
    for (long got; (got = ac_read(it, text, sizeof text, AC_FOREVER)) != 0;) {
        ck_assert_int_gt(got, 0);
        ck_assert_int_eq(ac_write_all(it, text, (size_t)got, AC_FOREVER, NULL), got);
    }
    ac_close(it);
    served++;
    return ac_nil;
}

static ac_value accept_all(ac_value count) {
    for (int64_t i = 0; i < ac_int_of(count); i++) {
        ac_stream *stream;
        ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), 0);
        ck_assert_int_eq(ac_ref_error(ac_spawn(serve_echo, ac_of_pointer(stream))), 0);
    }
    ac_listener_close(listener);
    return ac_nil;
}

static int connected, goal;

static ac_value ask_echo(ac_value number) {
    char text[64], back[64];
    ac_stream *stream;
    ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), 0);
    connected++;
    while (connected < goal) // so that all are connected at the same time
        ck_assert_int_eq(ac_sleep(0.01), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%d %d", (int)ac_int_of(number), i);
        write_text(stream, text);
        size_t bytes = strlen(text) + 1;
        ck_assert_int_eq(ac_read_exactly(stream, back, bytes - 1, AC_FOREVER, NULL),
                         (long)bytes - 1);
        ck_assert_mem_eq(text, back, bytes - 1);
    }
    ac_close(stream);
    ended++;
    return ac_nil;
}

static void echo_with(int clients, const char *listen_on) {
    goal = clients;
    listener = listen_at(listen_on, address);
    ck_assert_int_eq(ac_ref_error(ac_spawn(accept_all, clients)), 0);
    for (int i = 0; i < clients; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(ask_echo, i)), 0);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(served, clients);
    ck_assert_int_eq(ended, clients);
}

TEST(a_hundred_clients_are_each_served_by_a_coroutine) { echo_with(100, "127.0.0.1:0"); }

TEST(a_thousand_connections_are_served_at_once) {
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    echo_with(1000, "127.0.0.1:0");
}

TEST(ipv6_is_served_too) { echo_with(10, "[::1]:0"); }

static void expect_served_at(const char *host) {
    ac_stream *client, *server;
    char to[AC_ADDRESS_TEXT_BYTES + 16], text[8];
    snprintf(to, sizeof to, "%s%s", host, strrchr(address, ':'));
    ck_assert_msg(ac_connect(&client, to, ac_after(20)) == 0, "%s", to);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_stream_local(server, to), 0);
    ck_assert_int_eq(ac_stream_remote(client, to), 0);
    write_text(client, "x");
    ck_assert_int_eq(ac_read(server, text, 8, AC_FOREVER), 1);
    ac_close(client);
    ac_close(server);
}

static ac_value serve_everywhere(ac_value unused) {
    (void)unused;
    expect_served_at("127.0.0.1");
    expect_served_at("[::1]");
    expect_served_at("localhost");
    expect_served_at("");
    ac_listener_close(listener);
    return ac_nil;
}

TEST(no_host_means_every_address_of_this_computer) {
    listener = listen_at(":0", address);
    ck_assert_int_eq(strncmp(address, "[::]:", 5), 0);
    run(serve_everywhere);
}

static ac_value serve_one_family(ac_value unused) {
    (void)unused;
    expect_served_at(""); // one of its two addresses leads nowhere
    ac_listener_close(listener);
    return ac_nil;
}

TEST(the_addresses_of_a_name_are_tried_in_turn) {
    listener = listen_at("127.0.0.1:0", address);
    run(serve_one_family);
}

TEST(the_addresses_of_a_name_are_tried_in_turn_also_the_other_way_round) {
    listener = listen_at("[::1]:0", address);
    run(serve_one_family);
}

CORO_TEST(an_ipv4_client_of_both_is_shown_as_such) {
    ac_stream *client, *server;
    char to[AC_ADDRESS_TEXT_BYTES + 16], seen[AC_ADDRESS_TEXT_BYTES];
    listener = listen_at(":0", address);
    snprintf(to, sizeof to, "127.0.0.1%s", strrchr(address, ':'));
    ck_assert_int_eq(ac_connect(&client, to, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_stream_remote(server, seen), 0);
    ck_assert_int_eq(strncmp(seen, "127.0.0.1:", 10), 0);
    ck_assert_int_eq(ac_stream_local(server, seen), 0);
    ck_assert_str_eq(seen, to);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
}

// ---- accepting ----

static ac_value accept_until_closed(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), -EBADF);
    ck_assert_ptr_null(stream);
    ended++;
    return ac_nil;
}

CORO_TEST(a_second_one_that_accepts_is_refused_and_closing_wakes_the_first) {
    ac_stream *stream;
    listener = listen_at("127.0.0.1:0", address);
    spawn(accept_until_closed);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), -EBUSY);
    ac_listener_close(listener);
    // The port is free at once.
    ck_assert_int_eq(ac_listen(&listener, address), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
    ac_listener_close(listener);
}

static ac_value accept_until_cancelled(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), -ECANCELED);
    ended++;
    return ac_nil;
}

CORO_TEST(accepting_ends_with_its_time_and_with_its_coroutine) {
    ac_stream *stream, *client;
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(ac_accept(listener, &stream, ac_after(0.02)), -ETIMEDOUT);
    ck_assert_int_eq(ac_accept(listener, &stream, AC_NOW), -ETIMEDOUT);
    ac_ref waiting = ac_spawn(accept_until_cancelled, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(waiting), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
    // And the next connection is not lost.
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &stream, AC_NOW), 0);
    ac_close(stream);
    ac_close(client);
    ac_listener_close(listener);
}

CORO_TEST(without_descriptors_a_connection_waits) {
    ac_stream *client, *server;
    struct rlimit limit, none;
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), -EMFILE);
    ck_assert_int_eq(ac_connect(&server, address, AC_FOREVER), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
}

CORO_TEST(without_memory_a_connection_waits) {
    ac_stream *client, *server;
    listener = listen_at("127.0.0.1:0", address);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), -ENOMEM);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), -ENOMEM);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
}

TEST(outside_coroutines_nothing_waits) {
    ac_stream *stream;
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_connect(&stream, "localhost:1", AC_FOREVER), -EPERM);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- connecting ----

static bool done;
static int ticks;

static ac_value tick(ac_value unused) {
    (void)unused;
    while (!done) {
        ck_assert_int_eq(ac_sleep(0.001), 0);
        ticks++;
    }
    return ac_nil;
}

CORO_TEST(where_nobody_listens_connecting_is_refused) {
    ac_stream *stream;
    listener = listen_at("127.0.0.1:0", address);
    ac_listener_close(listener);
    spawn(tick);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), -ECONNREFUSED);
        ck_assert_ptr_null(stream);
        ck_assert_int_eq(ac_sleep(0.002), 0);
    }
    char by_name[AC_ADDRESS_TEXT_BYTES];
    snprintf(by_name, sizeof by_name, "localhost%s", strrchr(address, ':'));
    ck_assert_int_eq(ac_connect(&stream, by_name, AC_FOREVER), -ECONNREFUSED);
    done = true;
    ck_assert_int_gt(ticks, 0);
}

CORO_TEST(what_cannot_be_an_address_is_refused) {
    ac_stream *stream;
    ck_assert_int_eq(ac_connect(&stream, "no colon", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_connect(NULL, "127.0.0.1:1", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_connect(&stream, NULL, AC_FOREVER), -EINVAL);
}

// A listener that nobody can reach any more: its queue is full, so that the system lets further
// ones wait.
static void listen_full(int fds[4]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof at;
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    ck_assert_int_eq(getsockname(fds[0], (struct sockaddr *)&at, &bytes), 0);
    for (int i = 1; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], (struct sockaddr *)&at, sizeof at);
    }
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
}

static ac_value connect_until_cancelled(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), -ECANCELED);
    ck_assert_ptr_null(stream);
    ended++;
    return ac_nil;
}

CORO_TEST(connecting_ends_with_its_time_and_with_its_coroutine) {
    ac_stream *stream;
    int fds[4];
    listen_full(fds);
    ac_time before = ac_now();
    ck_assert_int_eq(ac_connect(&stream, address, ac_after(0.1)), -ETIMEDOUT);
    ck_assert_int_ge(ac_now() - before, 100000000);
    ck_assert_int_eq(ac_connect(&stream, address, AC_NOW), -ETIMEDOUT);
    ac_ref waiting = ac_spawn(connect_until_cancelled, ac_nil);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ck_assert_int_eq(ac_cancel(waiting), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}
