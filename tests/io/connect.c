// SPDX-License-Identifier: MIT
// Tests of src/io/connect.c.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/connect.h"

#include "io/io.h"

static char address[AC_ADDRESS_TEXT_BYTES]; // of the listener
static ac_listener *listener;
static int ended;

// ---- ports ----

static struct sockaddr_in loopback_at(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
}

// A socket that holds a port, so that no other program has it, and lets who says SO_REUSEADDR, too,
// listen there. Where nobody does, connecting is refused.
static int hold(struct sockaddr *at, socklen_t bytes) {
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
    if (bind(fd, at, bytes) == 0)
        return fd;
    ck_assert_int_eq(errno, EADDRINUSE);
    close(fd);
    return -1;
}

// A port that both addresses of this computer have for this test alone, until it ends.
static uint16_t held_port(void) {
    for (int i = 0; i < 100; i++) {
        struct sockaddr_in four = loopback_at(0);
        socklen_t bytes = sizeof four;
        int fd = hold((struct sockaddr *)&four, bytes);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&four, &bytes), 0);
        struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT,
                                   .sin6_port = four.sin_port};
        if (hold((struct sockaddr *)&six, sizeof six) >= 0)
            return ntohs(four.sin_port);
        close(fd);
    }
    ck_abort_msg("no port is free at both addresses");
    return 0;
}

// ---- one address ----

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
    uint16_t nobody = held_port();
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)nobody);
    spawn(tick);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), -ECONNREFUSED);
        ck_assert_ptr_null(stream);
        ck_assert_int_eq(ac_sleep(0.002), 0);
    }
    snprintf(address, sizeof address, "localhost:%u", (unsigned)nobody);
    ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), -ECONNREFUSED);
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
struct full {
    int fds[4];
    uint16_t port;
};

static void listen_full(struct full *full, uint16_t port) {
    struct sockaddr_in at = loopback_at(port);
    socklen_t bytes = sizeof at;
    full->fds[0] = hold((struct sockaddr *)&at, bytes);
    ck_assert_int_ge(full->fds[0], 0);
    ck_assert_int_eq(listen(full->fds[0], 0), 0);
    ck_assert_int_eq(getsockname(full->fds[0], (struct sockaddr *)&at, &bytes), 0);
    for (int i = 1; i < 4; i++) {
        full->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(full->fds[i], (struct sockaddr *)&at, sizeof at);
    }
    full->port = ntohs(at.sin_port);
    snprintf(address, sizeof address, "127.0.0.1:%d", full->port);
}

static void close_full(struct full *full) {
    for (int i = 0; i < 4; i++)
        close(full->fds[i]);
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
    struct full full;
    listen_full(&full, 0);
    ac_time before = ac_now();
    ck_assert_int_eq(ac_connect(&stream, address, ac_after(0.1)), -ETIMEDOUT);
    ck_assert_int_ge(ac_now() - before, 100000000);
    ck_assert_int_eq(ac_connect(&stream, address, AC_NOW), -ETIMEDOUT);
    ac_ref waiting = ac_spawn(connect_until_cancelled, ac_nil);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ck_assert_int_eq(ac_cancel(waiting), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
    close_full(&full);
}

// ---- options ----

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t bytes = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, name, &value, &bytes), 0);
    return value;
}

CORO_TEST(a_connection_has_the_options_that_were_asked_for) {
    ac_stream *client;
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .delay = true, .keep_alive_s = 9,
                                .send_buffer_bytes = 50000, .receive_buffer_bytes = 60000),
                     0);
    int fd = ac_stream_descriptor(client);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 9);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 3);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_SNDBUF), 100000);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_RCVBUF), 120000);
    ac_close(client);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .keep_alive_s = 99999), -EINVAL);
    ck_assert_ptr_null(client);
    ck_assert_int_eq(ac_connect_with(&client, address, AC_FOREVER, &(struct ac_socket_options){0}),
                     -EINVAL);
    ck_assert_int_eq(ac_connect_with(&client, address, AC_FOREVER, NULL), 0);
    ac_close(client);
    ac_listener_close(listener);
}

CORO_TEST(a_connection_comes_from_the_address_that_was_asked_for) {
    ac_stream *client, *server;
    char from[AC_ADDRESS_TEXT_BYTES], seen[AC_ADDRESS_TEXT_BYTES];
    listener = listen_at("127.0.0.1:0", address);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .local = "127.0.0.2:0"), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_stream_remote(server, seen), 0);
    ck_assert_int_eq(strncmp(seen, "127.0.0.2:", 10), 0);
    ck_assert_int_eq(ac_stream_local(client, from), 0);
    ck_assert_str_eq(from, seen);
    ac_close(client);
    ac_close(server);
    // By name too, where one of the two addresses fits.
    char by_name[AC_ADDRESS_TEXT_BYTES];
    snprintf(by_name, sizeof by_name, "%s", strrchr(address, ':'));
    ck_assert_int_eq(ac_connect(&client, by_name, AC_FOREVER, .local = "127.0.0.3:0"), 0);
    ac_close(client);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .local = "[::1]:0"), -EADDRNOTAVAIL);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .local = "192.0.2.1:0"),
                     -EADDRNOTAVAIL);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .local = "localhost:0"), -EINVAL);
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER, .local = "unix:@a"), -EINVAL);
    ac_listener_close(listener);
}

// ---- Unix sockets ----

CORO_TEST(where_there_is_no_unix_socket_connecting_fails) {
    ac_stream *stream;
    char text[200] = "unix:/";
    ck_assert_int_eq(ac_connect(&stream, "unix:/no/such/socket", AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_connect(&stream, "unix:/dev/null", AC_FOREVER), -ECONNREFUSED);
    ck_assert_int_eq(ac_connect(&stream, "unix:@no such socket", AC_FOREVER), -ECONNREFUSED);
    ck_assert_int_eq(ac_connect(&stream, "unix:@", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_connect(&stream, "unix:", AC_FOREVER), -EINVAL);
    memset(text + 6, 'a', 107);
    ck_assert_int_eq(ac_connect(&stream, text, AC_FOREVER), -ENAMETOOLONG);
    ck_assert_ptr_null(stream);
}

static ac_value connect_one_more(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    ck_assert_int_eq(ac_connect(&stream, address, AC_FOREVER), 0);
    ac_close(stream);
    ended++;
    return ac_nil;
}

CORO_TEST(a_unix_listener_without_room_is_waited_for) {
    enum { QUEUE = 3 }; // the system takes one more than it was told
    ac_stream *queued[QUEUE], *stream;
    ck_assert_int_eq(ac_listen(&listener, "unix:@", .backlog = QUEUE - 1), 0);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    for (int i = 0; i < QUEUE; i++)
        ck_assert_int_eq(ac_connect(&queued[i], address, AC_FOREVER), 0);
    ck_assert_int_eq(ac_connect(&stream, address, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_connect(&stream, address, ac_after(0.02)), -ETIMEDOUT);
    ac_ref cancelled = ac_spawn(connect_until_cancelled, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(cancelled), 0);
    ck_assert_int_eq(ac_join(cancelled, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 1);
    ac_ref waiting = ac_spawn(connect_one_more, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_accept(listener, &stream, AC_FOREVER), 0);
    ck_assert_int_eq(ac_join(waiting, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 2);
    ac_close(stream);
    for (int i = 0; i < QUEUE; i++)
        ac_close(queued[i]);
    ac_listener_close(listener);
}

// ---- several addresses ----

static void expect_order(const char *before, const char *after) {
    struct sys_address addresses[IO_ADDRESSES_MAX];
    size_t count = strlen(before);
    for (size_t i = 0; i < count; i++)
        addresses[i] = (struct sys_address){.family = before[i] < 'a' ? 6 : 4,
                                            .port = (uint16_t)before[i]};
    connect_order(addresses, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(addresses[i].port == (uint16_t)after[i], "%s: %zu", before, i);
}

TEST(families_are_tried_in_turn_and_each_in_its_order) {
    expect_order("", "");
    expect_order("A", "A");
    expect_order("ABC", "ABC");
    expect_order("ABCabc", "AaBbCc");
    expect_order("abcABC", "aAbBcC");
    expect_order("ABCDa", "AaBCD");
    expect_order("aABCD", "aABCD");
    expect_order("AabcB", "AaBbc");
}

static int open_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

// What was given up ends a little later: each in its next turn.
static void expect_open_descriptors(int count) {
    for (ac_time end = ac_after(TEST_PATIENCE_S); open_descriptors() != count && ac_now() < end;)
        ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(open_descriptors(), count);
}

static const struct connect_how plainly = {.open.transport = SYS_STREAM};
static struct sys_address several[IO_ADDRESSES_MAX];

static struct sys_address ours(uint16_t port) {
    return (struct sys_address){.family = 4, .port = port, .ip = {127, 0, 0, 1}};
}

static uint16_t attended(void) {
    listener = listen_at("127.0.0.1:0", address);
    return (uint16_t)atoi(strrchr(address, ':') + 1);
}

CORO_TEST(a_silent_address_does_not_hold_up_the_next) {
    struct full full;
    ac_stream *client, *server;
    listen_full(&full, 0);
    several[0] = several[1] = ours(full.port);
    several[2] = ours(attended());
    int before = open_descriptors();
    ac_time began = ac_now();
    ck_assert_int_eq(connect_side_by_side(&client, several, 3, &plainly, AC_FOREVER), 0);
    ck_assert_int_ge(ac_now() - began, 500000000); // 250 ms for each that was silent
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    write_text(client, "x");
    ck_assert_int_eq(ac_read(server, address, 1, AC_FOREVER), 1);
    ac_close(server);
    ac_close(client);
    expect_open_descriptors(before);
    ac_listener_close(listener);
    close_full(&full);
}

CORO_TEST(a_name_with_a_silent_address_is_reached_by_the_other) {
    struct full full;
    ac_stream *client, *server;
    char text[AC_ADDRESS_TEXT_BYTES];
    uint16_t port = held_port();
    snprintf(text, sizeof text, "[::1]:%u", (unsigned)port);
    listener = listen_at(text, address);
    listen_full(&full, port);
    snprintf(text, sizeof text, ":%u", (unsigned)port);
    ck_assert_int_eq(ac_connect(&client, text, AC_FOREVER), 0);
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ck_assert_int_eq(ac_stream_remote(client, text), 0);
    ck_assert_int_eq(strncmp(text, "[::1]:", 6), 0);
    ac_close(client);
    ac_close(server);
    ac_listener_close(listener);
    close_full(&full);
}

static void connect_both_ways(const char *host) {
    ac_stream *client, *server;
    char text[AC_ADDRESS_TEXT_BYTES];
    snprintf(text, sizeof text, "%s:%u", host, (unsigned)held_port());
    listener = listen_at(text, address);
    snprintf(text, sizeof text, "%s", strrchr(address, ':'));
    ck_assert_int_eq(ac_connect(&client, text, AC_FOREVER), 0); // the other address is refused
    ck_assert_int_eq(ac_accept(listener, &server, AC_FOREVER), 0);
    ac_close(client);
    ac_close(server);
    ck_assert_int_eq(ac_connect(&client, text, AC_NOW), -ETIMEDOUT);
    ac_listener_close(listener);
}

CORO_TEST(the_addresses_of_a_name_are_all_tried) {
    connect_both_ways("127.0.0.1");
    connect_both_ways("[::1]");
}

CORO_TEST(one_that_fails_has_the_next_tried_at_once) {
    ac_stream *client;
    uint16_t nobody = held_port();
    for (int i = 0; i < 15; i++)
        several[i] = ours(nobody);
    several[15] = ours(attended());
    ac_time began = ac_now();
    ck_assert_int_eq(connect_side_by_side(&client, several, 16, &plainly, AC_FOREVER), 0);
    ck_assert_int_lt(ac_now() - began, 15 * 250000000LL); // were each waited for
    ac_close(client);
    ac_listener_close(listener);
}

CORO_TEST(where_all_fail_the_error_that_says_most_is_told) {
    ac_stream *client = NULL;
    uint16_t nobody = held_port();
    several[0] = (struct sys_address){.family = 4, .port = 9, .ip = {127, 0, 0, 1}};
    several[0].family = 6; // 7f00:1::, to which there is no route
    several[1] = ours(nobody);
    ck_assert_int_eq(connect_side_by_side(&client, several, 2, &plainly, AC_FOREVER),
                     -ECONNREFUSED);
    ck_assert_ptr_null(client);
}

CORO_TEST(time_is_up_for_all_addresses_at_once) {
    struct full full;
    ac_stream *client;
    listen_full(&full, 0);
    several[0] = several[1] = several[2] = ours(full.port);
    int before = open_descriptors();
    ck_assert_int_eq(connect_side_by_side(&client, several, 3, &plainly, ac_after(0.3)),
                     -ETIMEDOUT);
    expect_open_descriptors(before);
    ck_assert_int_eq(connect_side_by_side(&client, several, 3, &plainly, AC_NOW), -ETIMEDOUT);
    expect_open_descriptors(before);
    close_full(&full);
}

static ac_value race_until_cancelled(ac_value unused) {
    (void)unused;
    ac_stream *client;
    ck_assert_int_eq(connect_side_by_side(&client, several, 3, &plainly, AC_FOREVER), -ECANCELED);
    ended++;
    return ac_nil;
}

CORO_TEST(a_cancellation_gives_all_addresses_up) {
    struct full full;
    listen_full(&full, 0);
    several[0] = several[1] = several[2] = ours(full.port);
    int before = open_descriptors();
    ac_ref racing = ac_spawn(race_until_cancelled, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_sleep(0.3), 0); // two are tried by then
    ck_assert_int_gt(open_descriptors(), before);
    ck_assert_int_eq(ac_cancel(racing), 0);
    ck_assert_int_eq(ac_join(racing, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 1);
    expect_open_descriptors(before);
    close_full(&full);
}

static ac_value race_until_the_end(ac_value unused) {
    (void)unused;
    ac_stream *client;
    ck_assert_int_eq(connect_side_by_side(&client, several, 2, &plainly, AC_FOREVER), -ECANCELED);
    ended++;
    return ac_nil;
}

static ac_value sleep_shortly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.01), 0);
    return ac_nil;
}

TEST(the_end_of_the_loop_gives_all_addresses_up) {
    struct full full;
    listen_full(&full, 0);
    several[0] = several[1] = ours(full.port);
    ck_assert_int_eq(ac_ref_error(ac_spawn(race_until_the_end, ac_nil, .daemon = true)), 0);
    spawn(sleep_shortly);
    int before = open_descriptors();
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ended, 1);
    ck_assert_int_le(open_descriptors(), before);
    close_full(&full);
}

CORO_TEST(lack_of_memory_for_one_address_leaves_the_others) {
    ac_stream *client;
    several[0] = several[1] = ours(attended());
    int failures = 0;
    for (long n = 1;; n++) {
        memory_fail_nth(n);
        int err = connect_side_by_side(&client, several, 2, &plainly, AC_FOREVER);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        failures += failed;
        ck_assert(err == 0 || (failed && err == -ENOMEM));
        if (!err)
            ac_close(client);
        if (!failed)
            break;
    }
    ck_assert_int_ge(failures, 2);
    ac_listener_close(listener);
}

// ---- resets ----

CORO_TEST(a_reset_right_after_connecting_is_told) {
    ac_stream *client;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    struct sockaddr_in at = loopback_at(0);
    socklen_t bytes = sizeof at;
    int fd = hold((struct sockaddr *)&at, bytes);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), 0);
    close(fd); // with the connection that nobody has accepted
    ck_assert_int_eq(ac_read(client, address, 1, AC_FOREVER), -ECONNRESET);
    ck_assert_int_eq(ac_write_all(client, "x", 1, AC_FOREVER, NULL), -EPIPE);
    ac_close(client);
}

static ac_value reset_soon(ac_value argument) {
    struct full *full = ac_pointer_of(argument);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    close_full(full);
    return ac_nil;
}

CORO_TEST(a_listener_that_goes_while_one_connects_refuses_him) {
    static struct full full;
    ac_stream *client;
    listen_full(&full, 0);
    ck_assert_int_eq(ac_ref_error(ac_spawn(reset_soon, ac_of_pointer(&full))), 0);
    // The system asks again after a second.
    ck_assert_int_eq(ac_connect(&client, address, AC_FOREVER), -ECONNREFUSED);
    ck_assert_ptr_null(client);
}
