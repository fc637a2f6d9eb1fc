// SPDX-License-Identifier: MIT
// Tests of src/io/socket.c.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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
    ck_assert_int_eq(ac_listener_descriptor(listener), -EBADF);
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

// ---- out of descriptors ----

enum { STORM = 400 };

// Closes what it has accepted as soon as that has said a byte. Out of descriptors it lets others go
// on; what waits to be accepted is not lost.
static ac_value serve_one_byte(ac_value stream) {
    ac_stream *it = ac_pointer_of(stream);
    char byte;
    ck_assert_int_eq(ac_read(it, &byte, 1, AC_FOREVER), 1);
    ac_close(it);
    served++;
    return ac_nil;
}

static ac_value accept_storm(ac_value unused) {
    (void)unused;
    for (int i = 0; i < STORM;) {
        ac_stream *stream;
        int err = ac_accept(listener, &stream, AC_FOREVER);
        if (err == -EMFILE) {
            ck_assert_int_eq(ac_sleep(0.001), 0);
            continue;
        }
        ck_assert_int_eq(err, 0);
        ck_assert_int_eq(ac_ref_error(ac_spawn(serve_one_byte, ac_of_pointer(stream))), 0);
        i++;
    }
    ac_listener_close(listener);
    return ac_nil;
}

static ac_value send_one_byte(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    int err;
    while ((err = ac_connect(&stream, address, AC_FOREVER)) == -EMFILE)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(err, 0);
    write_text(stream, "x");
    ac_close(stream);
    ended++;
    return ac_nil;
}

static ac_value storm(ac_value unused) {
    (void)unused;
    listener = listen_at("127.0.0.1:0", address);
    spawn(accept_storm);
    for (int i = 0; i < STORM; i++)
        spawn(send_one_byte);
    return ac_nil;
}

static ac_value accept_without_descriptors(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), -EMFILE);
    ck_assert_ptr_null(stream);
    ended++;
    return ac_nil;
}

CORO_TEST(who_waits_for_a_connection_is_told_that_descriptors_have_run_out) {
    struct rlimit limit, none;
    ac_stream *client, *server;
    listener = listen_at("127.0.0.1:0", address);
    ac_ref waiting = ac_spawn(accept_without_descriptors, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr = {htonl(INADDR_LOOPBACK)},
                             .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1))};
    (void)connect(fd, (struct sockaddr *)&at, sizeof at);
    ck_assert_int_eq(ac_join(waiting, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 1);
    // It is not lost, though no other comes.
    ck_assert_int_eq(ac_accept(listener, &server, AC_NOW), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &client, AC_NOW), -ETIMEDOUT);
    ac_close(server);
    close(fd);
    ac_listener_close(listener);
}

TEST(a_storm_of_connections_is_accepted_without_loss) {
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 60; // so that accepting and connecting run out of descriptors all the time
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    run(storm);
    ck_assert_int_eq(served, STORM);
    ck_assert_int_eq(ended, STORM);
}

// ---- options ----

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t bytes = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, name, &value, &bytes), 0);
    return value;
}

CORO_TEST(what_is_accepted_has_the_options_of_its_listener) {
    ac_stream *client, *server;
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .delay = true, .keep_alive_s = 30,
                               .send_buffer_bytes = 50000, .receive_buffer_bytes = 60000),
                     0);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    int fd = ac_stream_descriptor(server);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 60000);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_SNDBUF), 100000);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_RCVBUF), 120000);
    // By default nothing is delayed, and nobody asked.
    fd = ac_stream_descriptor(client);
    ck_assert_int_ne(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
}

TEST(options_out_of_range_are_refused) {
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .mode = 01000), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .keep_alive_s = 32768), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .backlog = 1u << 31), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .send_buffer_bytes = 1u << 31), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .receive_buffer_bytes = UINT32_MAX),
                     -EINVAL);
    ck_assert_int_eq(ac_listen_with(&listener, "127.0.0.1:0", &(struct ac_socket_options){0}),
                     -EINVAL);
    ck_assert_ptr_null(listener);
    // A program that knows fewer of them, and one that knows more.
    ck_assert_int_eq(
        ac_listen_with(&listener, "127.0.0.1:0",
                       &(struct ac_socket_options){.size = offsetof(struct ac_socket_options, mode),
                                                   .mode = 01000}),
        0);
    ac_listener_close(listener);
    struct {
        struct ac_socket_options known;
        char unknown[100];
    } newer = {.known.size = sizeof newer};
    ck_assert_int_eq(ac_listen_with(&listener, "127.0.0.1:0", &newer.known), 0);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_listen_with(&listener, "127.0.0.1:0", NULL), 0);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_run(), 0);
}

CORO_TEST(two_listeners_share_a_port_if_both_say_so) {
    ac_listener *another;
    ac_stream *client, *server;
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .reuse_port = true), 0);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    ck_assert_int_eq(ac_listen(&another, address), -EADDRINUSE);
    ck_assert_int_eq(ac_listen(&another, address, .reuse_port = true), 0);
    int taken[2] = {0};
    for (int i = 0; i < 200 && !(taken[0] && taken[1]); i++) {
        ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
        int err = ac_accept(listener, &server, AC_NOW);
        taken[err == 0]++;
        if (err)
            ck_assert_int_eq(ac_accept(another, &server, AC_NOW), 0);
        ac_close(client);
        ac_close(server);
    }
    ck_assert(taken[0] && taken[1]);
    ac_listener_close(listener);
    ac_listener_close(another);
}

CORO_TEST(a_listener_of_ipv6_only_leaves_ipv4_to_others) {
    ac_listener *four;
    char text[AC_ADDRESS_TEXT_BYTES + 16];
    int err = -EADDRINUSE;
    for (int i = 0; i < 20 && err == -EADDRINUSE; i++) { // others may have that port of IPv4
        if (i > 0)
            ac_listener_close(listener);
        ck_assert_int_eq(ac_listen(&listener, ":0", .ipv6_only = true), 0);
        ck_assert_int_eq(ac_listener_address(listener, address), 0);
        snprintf(text, sizeof text, "0.0.0.0%s", strrchr(address, ':'));
        err = ac_listen(&four, text);
    }
    ck_assert_int_eq(err, 0);
    ac_listener_close(four);
    ac_listener_close(listener);
}

// ---- Unix sockets ----

static char folder[TEST_TEMPLATE_BYTES], path[80];

// "unix:" and a file that is not there yet; leave_folder checks that it is gone.
static const char *in_folder(void) {
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/it", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    return address;
}

static void leave_folder(void) { ck_assert_int_eq(rmdir(folder), 0); }

static void expect_credentials(const ac_stream *stream) {
    struct ac_credentials credentials = {0};
    ck_assert_int_eq(ac_stream_credentials(stream, &credentials), 0);
    ck_assert_int_eq(credentials.pid, getpid());
    ck_assert_uint_eq(credentials.uid, getuid());
    ck_assert_uint_eq(credentials.gid, getgid());
}

static void expect_unix_service(void) {
    ac_stream *client, *server;
    char text[AC_ADDRESS_TEXT_BYTES], bytes[8];
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_stream_remote(client, text), 0);
    ck_assert_str_eq(text, address);
    ck_assert_int_eq(ac_stream_local(server, text), 0);
    ck_assert_str_eq(text, address);
    ck_assert_int_eq(ac_stream_remote(server, text), 0);
    ck_assert_str_eq(text, "unix:");
    expect_credentials(client);
    expect_credentials(server);
    write_text(client, "hello");
    ck_assert_int_eq(ac_shutdown(client), 0);
    ck_assert_int_eq(ac_read_exactly(server, bytes, 5, AC_FOREVER, NULL), 5);
    ck_assert_int_eq(ac_read(server, bytes, 5, AC_FOREVER), 0);
    ac_close(client);
    ac_close(server);
}

CORO_TEST(a_unix_socket_is_served_and_its_file_goes_with_it) {
    listener = listen_at(in_folder(), address);
    expect_unix_service();
    ac_listener_close(listener);
    leave_folder();
}

CORO_TEST(a_unix_socket_in_no_folder_is_served) {
    listener = listen_at("unix:@", address);
    ck_assert_int_eq(strncmp(address, "unix:@", 6), 0);
    ck_assert_uint_gt(strlen(address), 6);
    expect_unix_service();
    ac_listener_close(listener);
}

TEST(the_file_of_a_listener_goes_when_its_loop_ends) {
    listener = listen_at(in_folder(), address);
    ck_assert_int_eq(ac_run(), 0);
    leave_folder();
    ac_listener_close(listener);
}

TEST(the_file_of_another_is_left_alone) {
    ac_listener *another;
    listener = listen_at(in_folder(), address);
    ck_assert_int_eq(ac_listen(&another, address), -EADDRINUSE);
    ck_assert_int_eq(ac_listen(&another, address, .replace = true), -EADDRINUSE);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(ac_listen(&another, address), 0);
    ac_listener_close(listener);
    ck_assert_int_eq(access(path, F_OK), 0);
    ac_listener_close(another);
    leave_folder();
    ck_assert_int_eq(ac_run(), 0);
}

TEST(a_file_that_was_left_behind_is_replaced_if_asked_for) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    in_folder();
    strcpy(un.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    close(fd);
    ck_assert_int_eq(ac_listen(&listener, address), -EADDRINUSE);
    ck_assert_int_eq(ac_listen(&listener, address, .replace = true, .mode = 0640), 0);
    struct stat facts;
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_uint_eq(facts.st_mode & 0777, 0640);
    ac_listener_close(listener);
    leave_folder();
    ck_assert_int_eq(ac_run(), 0);
}

TEST(what_no_unix_socket_can_be_called_is_refused) {
    char text[200] = "unix:/";
    memset(text + 6, 'a', 107);
    ck_assert_int_eq(ac_listen(&listener, text), -ENAMETOOLONG);
    ck_assert_int_eq(ac_listen(&listener, "unix:"), -EINVAL);
    ck_assert_int_eq(ac_listen(&listener, "unix:/no/such/folder"), -ENOENT);
    ck_assert_int_eq(ac_run(), 0);
}

CORO_TEST(buffers_of_unix_connections_are_those_of_the_listener) {
    ac_stream *client, *server;
    ck_assert_int_eq(ac_listen(&listener, "unix:@", .send_buffer_bytes = 50000), 0);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(option_of(ac_stream_descriptor(server), SOL_SOCKET, SO_SNDBUF), 100000);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
}

// ---- descriptors ----

CORO_TEST(an_open_descriptor_becomes_a_stream) {
    int ends[2];
    ac_stream *ours, *its;
    char text[AC_ADDRESS_TEXT_BYTES] = "";
    struct ac_credentials credentials;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ck_assert_int_eq(ac_stream_adopt(&ours, ends[0]), 0);
    ck_assert_int_eq(ac_stream_adopt(&its, ends[1]), 0);
    ck_assert_int_eq(ac_stream_descriptor(ours), ends[0]);
    write_text(ours, "hello");
    ck_assert_int_eq(ac_read(its, text, sizeof text, AC_FOREVER), 5);
    ck_assert_int_eq(ac_read(its, text, sizeof text, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_int_eq(ac_stream_remote(ours, text), 0);
    ck_assert_str_eq(text, "unix:");
    expect_credentials(ours);
    ac_close(ours);
    ck_assert_int_eq(ac_read(its, text, sizeof text, AC_FOREVER), 0);
    ac_close(its);
    // A pipe, which is no connection.
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(ac_stream_adopt(&ours, ends[0]), 0);
    ck_assert_int_eq(write(ends[1], "abc", 3), 3);
    ck_assert_int_eq(ac_read(ours, text, sizeof text, AC_FOREVER), 3);
    ck_assert_int_eq(ac_stream_remote(ours, text), -ENOTSUP);
    ck_assert_int_eq(ac_stream_credentials(ours, &credentials), -ENOTSUP);
    close(ends[1]);
    ac_close(ours);
}

CORO_TEST(a_socket_that_listens_already_becomes_a_listener) {
    ac_stream *client, *server;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(ac_listener_adopt(&listener, fd), -EINVAL); // not yet
    ck_assert_ptr_null(listener);
    ck_assert_int_eq(listen(fd, 5), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_listener_adopt(&listener, fd), -ENOMEM);
    memory_fail_nth(0);
    ck_assert_int_eq(ac_listener_adopt(&listener, fd), 0);
    ck_assert_int_eq(ac_listener_descriptor(listener), fd);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    ck_assert_int_eq(ac_accept(listener, &server, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_listener_adopt(&listener, fd), -EBADF);
    ck_assert_int_eq(ac_listener_adopt(NULL, fd), -EINVAL);
    ck_assert_int_eq(ac_listener_descriptor(NULL), -EINVAL);
}

TEST(what_cannot_be_a_stream_is_refused_and_stays_its_owners) {
    ac_stream *stream = (void *)&address;
    struct ac_credentials credentials;
    listener = listen_at("127.0.0.1:0", address);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(ac_stream_adopt(&stream, fd), -EINVAL);
    ck_assert_ptr_null(stream);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(ac_stream_adopt(&stream, fd), -EBADF);
    ck_assert_int_eq(ac_stream_adopt(&stream, -1), -EBADF);
    ck_assert_int_eq(ac_stream_adopt(NULL, 0), -EINVAL);
    ck_assert_int_eq(ac_stream_descriptor(NULL), -EINVAL);
    ck_assert_int_eq(ac_stream_credentials(NULL, &credentials), -EINVAL);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_stream_adopt(&stream, ends[0]), -ENOMEM);
    memory_fail_nth(0);
    ck_assert_int_eq(close(ends[0]), 0);
    close(ends[1]);
    ac_listener_close(listener);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(a_stream_that_is_closed_has_no_descriptor) {
    ac_stream *stream;
    int ends[2];
    struct ac_credentials credentials;
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(ac_stream_adopt(&stream, ends[0]), 0);
    ck_assert_int_eq(ac_stream_credentials(stream, NULL), -EINVAL);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ac_stream_descriptor(stream), -EBADF);
    ck_assert_int_eq(ac_stream_credentials(stream, &credentials), -EBADF);
    close(ends[1]);
    ac_close(stream);
}

// ---- resets ----

// A connection whose client resets it when it is closed.
static void connect_to_reset(ac_stream **client) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    ck_assert_int_eq(ac_connect(client, address, AC_FOREVER), 0);
    ck_assert_int_eq(
        setsockopt(ac_stream_descriptor(*client), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once),
        0);
}

CORO_TEST(a_reset_before_accepting_is_told_and_harms_no_other) {
    ac_stream *client, *server;
    char bytes[8];
    listener = listen_at("127.0.0.1:0", address);
    connect_to_reset(&client);
    ac_close(client);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_read(server, bytes, sizeof bytes, AC_FOREVER), -ECONNRESET);
    ac_close(server);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    write_text(client, "x");
    ck_assert_int_eq(ac_read(server, bytes, sizeof bytes, AC_FOREVER), 1);
    ac_close(server);
    ac_close(client);
    ac_listener_close(listener);
}

static ac_value read_until_reset(ac_value stream) {
    char bytes[8];
    ck_assert_int_eq(ac_read(ac_pointer_of(stream), bytes, sizeof bytes, AC_FOREVER), -ECONNRESET);
    ended++;
    return ac_nil;
}

CORO_TEST(a_reset_while_reading_is_told) {
    ac_stream *client, *server;
    listener = listen_at("127.0.0.1:0", address);
    connect_to_reset(&client);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ac_ref reader = ac_spawn(read_until_reset, ac_of_pointer(server), .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ac_close(client);
    ck_assert_int_eq(ac_join(reader, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 1);
    ac_close(server);
    ac_listener_close(listener);
}

static ac_value write_until_reset(ac_value stream) {
    static const char bytes[64 << 10];
    long put = 1;
    while (put > 0)
        put = ac_write_all(ac_pointer_of(stream), bytes, sizeof bytes, AC_FOREVER, NULL);
    ck_assert_msg(put == -ECONNRESET || put == -EPIPE, "%ld", put);
    ended++;
    return ac_nil;
}

CORO_TEST(a_reset_while_writing_is_told) {
    ac_stream *client, *server;
    listener = listen_at("127.0.0.1:0", address);
    connect_to_reset(&client);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ac_ref writer = ac_spawn(write_until_reset, ac_of_pointer(server), .joinable = true);
    // Not read, it fills what both sides hold, and waits.
    ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_eq(ended, 0);
    ac_close(client);
    ck_assert_int_eq(ac_join(writer, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 1);
    ac_close(server);
    ac_listener_close(listener);
}

// ---- half-open peers ----

// From now on the socket drops all that comes, as if its computer had been switched off. Only some
// users may do that; false: not this one.
static bool fall_silent(const ac_stream *stream) {
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog filter = {.len = 1, .filter = &drop};
    int fd = ac_stream_descriptor(stream);
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0)
        return true;
    ck_assert_int_eq(errno, EPERM);
    return false;
}

static ac_value read_until_given_up(ac_value stream) {
    char byte;
    ck_assert_int_eq(ac_read(ac_pointer_of(stream), &byte, 1, AC_FOREVER), -ECONNABORTED);
    ended++;
    return ac_nil;
}

static ac_value write_until_given_up(ac_value stream) {
    static const char many[64 << 10];
    long put = 1;
    while (put > 0)
        put = ac_write_all(ac_pointer_of(stream), many, sizeof many, AC_FOREVER, NULL);
    ck_assert_int_eq(put, -ECONNABORTED);
    ended++;
    return ac_nil;
}

CORO_TEST(a_peer_that_has_vanished_is_noticed_if_asked_for) {
    enum { VANISHES, READS_NOTHING, IS_QUIET, CLIENTS };
    ac_stream *clients[CLIENTS], *servers[CLIENTS];
    int noticed = 1;
    char byte;
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0", .keep_alive_s = 1), 0);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(ac_connect(&clients[i], address, AC_FOREVER), 0);
        ck_assert_int_eq(ac_accept(listener, &servers[i], AC_FOREVER), 0);
    }
    ac_ref writer = ac_spawn(write_until_given_up, ac_of_pointer(servers[READS_NOTHING]),
                             .joinable = true);
    if (fall_silent(clients[VANISHES])) {
        ac_ref reader = ac_spawn(read_until_given_up, ac_of_pointer(servers[VANISHES]),
                                 .joinable = true);
        ck_assert_int_eq(ac_join(reader, NULL, ac_after(30)), 0);
        noticed++;
    }
    ck_assert_int_eq(ac_join(writer, NULL, ac_after(30)), 0);
    ck_assert_int_eq(ended, noticed);
    // Who is only quiet is not taken for gone.
    ck_assert_int_eq(ac_read(servers[IS_QUIET], &byte, 1, AC_NOW), -ETIMEDOUT);
    write_text(clients[IS_QUIET], "x");
    ck_assert_int_eq(ac_read(servers[IS_QUIET], &byte, 1, AC_FOREVER), 1);
    for (int i = 0; i < CLIENTS; i++) {
        ac_close(clients[i]);
        ac_close(servers[i]);
    }
    ac_listener_close(listener);
}

CORO_TEST(bytes_come_one_by_one) {
    ac_stream *client, *server;
    char back[200];
    connect_pair(&client, &server);
    for (int i = 0; i < (int)sizeof back; i++) {
        char byte = (char)i;
        ck_assert_int_eq(ac_write_all(client, &byte, 1, AC_FOREVER, NULL), 1);
    }
    ck_assert_int_eq(ac_read_exactly(server, back, sizeof back, AC_FOREVER, NULL), sizeof back);
    for (int i = 0; i < (int)sizeof back; i++)
        ck_assert_int_eq(back[i], (char)i);
    ac_close(client);
    ac_close(server);
}
