// SPDX-License-Identifier: MIT
// Tests of src/io/datagram.c.
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/connect.h"

#include "base/base.h"

static ac_datagrams *here, *there;
static char at[AC_ADDRESS_TEXT_BYTES];   // where `there` is
static char from[AC_ADDRESS_TEXT_BYTES]; // the sender of what came last
static char bytes[100];
static int ended;

static ac_datagrams *open_at(const char *address, char text[AC_ADDRESS_TEXT_BYTES]) {
    ac_datagrams *it;
    ck_assert_int_eq(ac_datagrams_open(&it, address), 0);
    ck_assert_int_eq(ac_datagrams_address(it, text), 0);
    return it;
}

static void send_text(ac_datagrams *it, const char *text, const char *to) {
    ck_assert_int_eq(ac_datagrams_send(it, text, strlen(text), to, AC_FOREVER), (long)strlen(text));
}

static void expect_text(ac_datagrams *it, const char *text) {
    memset(bytes, 0, sizeof bytes);
    ck_assert_int_eq(ac_datagrams_receive(it, bytes, sizeof bytes, from, ac_after(20)),
                     (long)strlen(text));
    ck_assert_str_eq(bytes, text);
}

static void expect_nothing(ac_datagrams *it) {
    ck_assert_int_eq(ac_datagrams_receive(it, bytes, sizeof bytes, from, AC_NOW), -ETIMEDOUT);
}

static void close_both(void) {
    ac_datagrams_close(here);
    ac_datagrams_close(there);
}

// ---- there and back ----

static void expect_answers(const char *address, const char *local) {
    char ours[AC_ADDRESS_TEXT_BYTES];
    there = open_at(address, at);
    here = open_at(local, ours);
    send_text(here, "question", at);
    expect_text(there, "question");
    ck_assert_str_eq(from, ours);
    send_text(there, "answer", from);
    expect_text(here, "answer");
    ck_assert_str_eq(from, at);
    close_both();
}

CORO_TEST(datagrams_come_and_are_answered) {
    expect_answers("127.0.0.1:0", "127.0.0.1:0");
    expect_answers("[::1]:0", "[::1]:0");
    expect_answers("unix:@", "unix:@");
}

static void expect_asked_from(const char *host, const char *seen) {
    char to[AC_ADDRESS_TEXT_BYTES];
    snprintf(to, sizeof to, "%s%s", host, strrchr(at, ':'));
    ck_assert_int_eq(ac_datagrams_open(&here, NULL), 0);
    send_text(here, "question", to);
    expect_text(there, "question");
    ck_assert_msg(strncmp(from, seen, strlen(seen)) == 0, "%s", from);
    send_text(there, "answer", from);
    expect_text(here, "answer");
    ck_assert_str_eq(from, to);
    ac_datagrams_close(here);
}

CORO_TEST(a_socket_at_every_address_serves_both_families) {
    there = open_at(":0", at);
    ck_assert_int_eq(strncmp(at, "[::]:", 5), 0);
    expect_asked_from("127.0.0.1", "127.0.0.1:");
    expect_asked_from("[::1]", "[::1]:");
    ac_datagrams_close(there);
}

CORO_TEST(an_empty_datagram_is_one) {
    there = open_at("127.0.0.1:0", at);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL), 0);
    ck_assert_int_eq(ac_datagrams_send(here, NULL, 0, at, AC_FOREVER), 0);
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, sizeof bytes, from, AC_FOREVER), 0);
    ck_assert_int_eq(strncmp(from, "127.0.0.1:", 10), 0);
    ck_assert_int_eq(ac_datagrams_send(here, NULL, 0, at, AC_FOREVER), 0);
    ck_assert_int_eq(ac_datagrams_receive(there, NULL, 0, NULL, AC_FOREVER), 0);
    expect_nothing(there);
    close_both();
}

static void expect_cut(const char *address) {
    there = open_at(address, at);
    here = open_at(address, from);
    send_text(here, "0123456789", at);
    send_text(here, "next", at);
    memset(bytes, 0, sizeof bytes);
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, 4, from, AC_FOREVER), -EMSGSIZE);
    ck_assert_str_eq(bytes, "0123");
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, 4, from, AC_FOREVER), 4);
    ck_assert_mem_eq(bytes, "next", 4);
    send_text(here, "x", at);
    ck_assert_int_eq(ac_datagrams_receive(there, NULL, 0, NULL, AC_FOREVER), -EMSGSIZE);
    close_both();
}

CORO_TEST(a_datagram_without_room_is_told_from_one_that_fits) {
    expect_cut("127.0.0.1:0");
    expect_cut("[::1]:0");
    expect_cut("unix:@");
}

CORO_TEST(what_is_too_large_for_a_datagram_is_not_sent) {
    static char large[70000];
    there = open_at("127.0.0.1:0", at);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL), 0);
    ck_assert_int_eq(ac_datagrams_send(here, large, 65508, at, AC_FOREVER), -EMSGSIZE);
    ck_assert_int_eq(ac_datagrams_send(here, large, 65507, at, AC_FOREVER), 65507);
    ck_assert_int_eq(ac_datagrams_receive(there, large, sizeof large, NULL, AC_FOREVER), 65507);
    close_both();
}

// ---- one other ----

CORO_TEST(who_has_chosen_hears_no_other) {
    ac_datagrams *another;
    char ours[AC_ADDRESS_TEXT_BYTES];
    there = open_at("127.0.0.1:0", at);
    here = open_at("127.0.0.1:0", ours);
    ck_assert_int_eq(ac_datagrams_open(&another, NULL), 0);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, NULL, AC_FOREVER), -EDESTADDRREQ);
    ck_assert_int_eq(ac_datagrams_connect(here, at, AC_FOREVER), 0);
    send_text(here, "to the one", NULL);
    expect_text(there, "to the one");
    ck_assert_str_eq(from, ours);
    send_text(another, "from another", ours);
    send_text(there, "from the one", ours);
    expect_text(here, "from the one");
    expect_nothing(here);
    ac_datagrams_close(another);
    close_both();
}

CORO_TEST(that_nobody_is_there_is_told_to_who_has_chosen) {
    there = open_at("127.0.0.1:0", at);
    ac_datagrams_close(there);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL), 0);
    ck_assert_int_eq(ac_datagrams_connect(here, at, AC_FOREVER), 0);
    send_text(here, "hello?", NULL);
    ck_assert_int_eq(ac_datagrams_receive(here, bytes, sizeof bytes, from, ac_after(20)),
                     -ECONNREFUSED);
    ac_datagrams_close(here);
}

CORO_TEST(one_is_chosen_by_name) {
    char by_name[AC_ADDRESS_TEXT_BYTES];
    there = open_at("127.0.0.1:0", at);
    snprintf(by_name, sizeof by_name, "localhost%s", strrchr(at, ':'));
    here = open_at("127.0.0.1:0", from); // IPv4: the other address of the name is passed over
    ck_assert_int_eq(ac_datagrams_connect(here, by_name, ac_after(20)), 0);
    send_text(here, "hello", NULL);
    expect_text(there, "hello");
    ck_assert_int_eq(ac_datagrams_connect(here, "127.0.0.1:no-such-service", ac_after(20)),
                     -ENOENT);
    ck_assert_int_eq(ac_datagrams_connect(here, by_name, AC_NOW), -ETIMEDOUT);
    close_both();
}

// ---- waiting ----

static ac_value receive_until(ac_value err) {
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, sizeof bytes, from, AC_FOREVER),
                     ac_int_of(err));
    ended++;
    return ac_nil;
}

CORO_TEST(receiving_ends_with_its_time_with_its_coroutine_and_with_the_socket) {
    there = open_at("127.0.0.1:0", at);
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, sizeof bytes, from, ac_after(0.01)),
                     -ETIMEDOUT);
    expect_nothing(there);
    ac_ref waiting = ac_spawn(receive_until, -ECANCELED);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, sizeof bytes, from, AC_FOREVER), -EBUSY);
    ck_assert_int_eq(ac_cancel(waiting), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
    // What comes then is not lost, and sending is not in the way of receiving.
    send_text(there, "x", at);
    expect_text(there, "x");
    ck_assert_int_eq(ac_ref_error(ac_spawn(receive_until, -EBADF)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ac_datagrams_close(there);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 2);
}

static ac_value send_until_room(ac_value unused) {
    (void)unused;
    send_text(here, "last", at);
    ended++;
    return ac_nil;
}

// Fills the queue of a Unix socket; the system holds only a few.
static int fill(const char *to) {
    int count = 0;
    while (ac_datagrams_send(here, "x", 1, to, AC_NOW) == 1)
        ck_assert_int_lt(++count, 100000);
    ck_assert_int_gt(count, 0);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, to, AC_NOW), -ETIMEDOUT);
    return count;
}

CORO_TEST(a_full_queue_of_a_unix_socket_is_waited_for) {
    there = open_at("unix:@", at);
    here = open_at("unix:@", from);
    int count = fill(at);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, at, ac_after(0.01)), -ETIMEDOUT);
    ac_ref sending = ac_spawn(send_until_room, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, at, AC_FOREVER), -EBUSY);
    for (int i = 0; i < count; i++)
        expect_text(there, "x");
    ck_assert_int_eq(ac_join(sending, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ended, 1);
    expect_text(there, "last");
    close_both();
}

static ac_value send_until(ac_value err) {
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, at, AC_FOREVER), ac_int_of(err));
    ended++;
    return ac_nil;
}

CORO_TEST(waiting_for_a_full_queue_ends_with_its_coroutine_and_with_the_socket) {
    there = open_at("unix:@", at);
    here = open_at("unix:@", from);
    fill(at);
    ac_ref sending = ac_spawn(send_until, -ECANCELED);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(sending), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 1);
    ck_assert_int_eq(ac_ref_error(ac_spawn(send_until, -EBADF)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ac_datagrams_close(here);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ended, 2);
    ac_datagrams_close(there);
}

CORO_TEST(a_full_queue_of_the_one_chosen_is_waited_for) {
    there = open_at("unix:@", at);
    here = open_at("unix:@", from);
    ck_assert_int_eq(ac_datagrams_connect(here, at, AC_FOREVER), 0);
    int count = fill(NULL);
    at[0] = 0;
    ac_ref sending = ac_spawn(send_until_room, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_datagrams_address(there, at), 0);
    ck_assert_int_eq(ac_yield(), 0);
    for (int i = 0; i < count; i++)
        expect_text(there, "x");
    ck_assert_int_eq(ac_join(sending, NULL, AC_FOREVER), 0);
    expect_text(there, "last");
    close_both();
}

TEST(outside_coroutines_nothing_waits) {
    there = open_at("127.0.0.1:0", at);
    ck_assert_int_eq(ac_datagrams_receive(there, bytes, 1, from, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_datagrams_send(there, bytes, 1, at, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_datagrams_connect(there, at, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ac_datagrams_address(there, at), -EBADF);
    ck_assert_int_eq(ac_datagrams_descriptor(there), -EBADF);
    ck_assert_int_eq(ac_datagrams_join(there, "239.255.77.2", "lo"), -EBADF);
    ac_datagrams_close(there);
}

// ---- groups and broadcasts ----

// Where a group is reached at the port of `there`.
static const char *group_at(const char *group) {
    static char text[AC_ADDRESS_TEXT_BYTES];
    snprintf(text, sizeof text, "%s%s", group, strrchr(at, ':'));
    return text;
}

static void expect_membership(const char *group, const char *interface, const char *to) {
    there = open_at(":0", at);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL, .interface = interface), 0);
    ck_assert_int_eq(ac_datagrams_join(there, group, interface), 0);
    ck_assert_int_eq(ac_datagrams_join(there, group, interface), -EADDRINUSE);
    if (to) {
        send_text(here, "to all", group_at(to));
        expect_text(there, "to all");
    }
    ck_assert_int_eq(ac_datagrams_leave(there, group, interface), 0);
    ck_assert_int_eq(ac_datagrams_leave(there, group, interface), -EADDRNOTAVAIL);
    if (to) {
        send_text(here, "to nobody", group_at(to));
        expect_nothing(there);
    }
    close_both();
}

CORO_TEST(what_is_sent_to_a_group_comes_to_its_members) {
    expect_membership("239.255.77.3", "lo", "239.255.77.3");
    // Linux sends nothing to groups of IPv6 through its loopback.
    expect_membership("ff02::4d03", "lo", NULL);
    struct sys_interface found[64];
    int count = sys_interfaces(found, countof(found));
    for (int i = 0; i < count; i++) {
        if (found[i].address.family != 6 || found[i].is_loopback)
            continue;
        char to[64];
        snprintf(to, sizeof to, "[ff02::4d03%%%.15s]", found[i].name);
        expect_membership("ff02::4d03", found[i].name, to);
    }
}

CORO_TEST(what_is_sent_to_a_group_comes_to_its_members_alone) {
    ac_datagrams *another;
    ck_assert_int_eq(ac_datagrams_open(&there, "0.0.0.0:0", .reuse_port = true), 0);
    ck_assert_int_eq(ac_datagrams_address(there, at), 0);
    ck_assert_int_eq(ac_datagrams_open(&another, at, .reuse_port = true), 0);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL, .interface = "lo"), 0);
    ck_assert_int_eq(ac_datagrams_join(another, "239.255.77.7", "lo"), 0);
    send_text(here, "to the member", group_at("239.255.77.7"));
    expect_text(another, "to the member");
    expect_nothing(there);
    ac_datagrams_close(another);
    close_both();
}

CORO_TEST(members_that_share_a_port_all_get_what_is_sent_to_the_group) {
    ac_datagrams *another;
    ck_assert_int_eq(ac_datagrams_open(&there, "0.0.0.0:0", .reuse_port = true), 0);
    ck_assert_int_eq(ac_datagrams_address(there, at), 0);
    ck_assert_int_eq(ac_datagrams_open(&another, at), -EADDRINUSE);
    ck_assert_int_eq(ac_datagrams_open(&another, at, .reuse_port = true), 0);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL, .interface = "lo"), 0);
    ck_assert_int_eq(ac_datagrams_join(there, "239.255.77.4", "lo"), 0);
    ck_assert_int_eq(ac_datagrams_join(another, "239.255.77.4", "lo"), 0);
    send_text(here, "to all", group_at("239.255.77.4"));
    expect_text(there, "to all");
    expect_text(another, "to all");
    ac_datagrams_close(another);
    close_both();
}

TEST(what_is_no_group_is_refused) {
    char long_text[200];
    memset(long_text, '1', sizeof long_text);
    long_text[199] = 0;
    there = open_at("127.0.0.1:0", at);
    ck_assert_int_eq(ac_datagrams_join(there, "127.0.0.1", "lo"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_join(there, "name", "lo"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_join(there, "239.255.77.6:1", "lo"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_join(there, long_text, "lo"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_join(there, NULL, "lo"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_join(NULL, "239.255.77.6", "lo"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_join(there, "239.255.77.6", "no-such-card"), -ENODEV);
    ck_assert_int_eq(ac_datagrams_leave(there, "239.255.77.6", "lo"), -EADDRNOTAVAIL);
    ac_datagrams_close(there);
    there = open_at("unix:@", at);
    ck_assert_int_eq(ac_datagrams_join(there, "239.255.77.6", "lo"), -ENOTSUP);
    ac_datagrams_close(there);
    ck_assert_int_eq(ac_run(), 0);
}

CORO_TEST(broadcasting_needs_to_be_allowed) {
    there = open_at("0.0.0.0:0", at);
    const char *to = group_at("127.255.255.255");
    ck_assert_int_eq(ac_datagrams_open(&here, NULL), 0);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, to, AC_FOREVER), -EACCES);
    ac_datagrams_close(here);
    ck_assert_int_eq(ac_datagrams_open(&here, NULL, .broadcast = true), 0);
    send_text(here, "to everybody", to);
    expect_text(there, "to everybody");
    close_both();
}

// ---- options ----

static int option_of(const ac_datagrams *it, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    ck_assert_int_eq(getsockopt(ac_datagrams_descriptor(it), level, name, &value, &size), 0);
    return value;
}

TEST(a_socket_has_the_options_that_it_was_opened_with) {
    ck_assert_int_eq(ac_datagrams_open(&here, "127.0.0.1:0", .hops = 5, .no_loopback = true,
                                       .send_buffer_bytes = 50000, .receive_buffer_bytes = 60000),
                     0);
    ck_assert_int_eq(option_of(here, IPPROTO_IP, IP_TTL), 5);
    ck_assert_int_eq(option_of(here, IPPROTO_IP, IP_MULTICAST_TTL), 5);
    ck_assert_int_eq(option_of(here, IPPROTO_IP, IP_MULTICAST_LOOP),
                     0); // the device "lo" loops all
    ck_assert_int_eq(option_of(here, SOL_SOCKET, SO_SNDBUF), 100000);
    ck_assert_int_eq(option_of(here, SOL_SOCKET, SO_RCVBUF), 120000);
    ac_datagrams_close(here);
    ck_assert_int_eq(ac_datagrams_open(&here, ":0", .ipv6_only = true), 0);
    ck_assert_int_eq(option_of(here, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    ac_datagrams_close(here);
    ck_assert_int_eq(ac_datagrams_descriptor(NULL), -EINVAL);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(what_cannot_be_opened_is_an_error) {
    static const char *const wrong[] = {"", ":", "localhost:1", "1.2.3.4", "::1:80", "unix:"};
    char text[200] = "unix:/";
    memset(text + 6, 'a', 107);
    for (size_t i = 0; i < countof(wrong); i++) {
        here = (void *)&at;
        ck_assert_msg(ac_datagrams_open(&here, wrong[i]) == -EINVAL, "%s", wrong[i]);
        ck_assert_ptr_null(here);
    }
    ck_assert_int_eq(ac_datagrams_open(NULL, ":0"), -EINVAL);
    ck_assert_int_eq(ac_datagrams_open(&here, text), -ENAMETOOLONG);
    ck_assert_int_eq(ac_datagrams_open(&here, "192.0.2.1:0"), -EADDRNOTAVAIL);
    ck_assert_int_eq(ac_datagrams_open(&here, ":0", .interface = "no-such-card"), -ENODEV);
    ck_assert_int_eq(ac_datagrams_open(&here, ":0", .mode = 01000), -EINVAL);
    ck_assert_int_eq(ac_datagrams_open(&here, ":0", .send_buffer_bytes = 1u << 31), -EINVAL);
    ck_assert_int_eq(ac_datagrams_open(&here, ":0", .receive_buffer_bytes = 1u << 31), -EINVAL);
    ck_assert_int_eq(ac_datagrams_open_with(&here, ":0", &(struct ac_datagrams_options){0}),
                     -EINVAL);
    ck_assert_int_eq(ac_datagrams_address(NULL, at), -EINVAL);
    ck_assert_int_eq(ac_datagrams_open_with(&here, NULL, NULL), 0);
    ac_datagrams_close(here);
    ac_datagrams_close(NULL);
    ck_assert_int_eq(ac_run(), 0);
}

CORO_TEST(what_cannot_be_sent_to_is_refused) {
    ck_assert_int_eq(ac_datagrams_open(&here, NULL), 0);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, "localhost:1", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_datagrams_send(here, NULL, 1, "127.0.0.1:1", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_datagrams_send(NULL, "x", 1, "127.0.0.1:1", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_datagrams_receive(here, NULL, 1, from, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_datagrams_connect(here, NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_datagrams_connect(here, "no port", AC_FOREVER), -EINVAL);
    ck_assert_int_lt(ac_datagrams_send(here, "x", 1, "unix:@a", AC_FOREVER), 0);
    ac_datagrams_close(here);
    here = open_at("127.0.0.1:0", at);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, "[::1]:1", AC_FOREVER), -EAFNOSUPPORT);
    ac_datagrams_close(here);
    here = open_at("unix:@", at);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, NULL, AC_FOREVER), -ENOTCONN);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, "unix:@none such", AC_FOREVER), -ECONNREFUSED);
    ck_assert_int_eq(ac_datagrams_send(here, "x", 1, "unix:/no/such", AC_FOREVER), -ENOENT);
    ac_datagrams_close(here);
}

TEST(lack_of_memory_while_opening_is_an_error) {
    int failures = 0;
    ac_datagrams_close(open_at("127.0.0.1:0", at)); // makes the loop
    for (long n = 1;; n++) {
        memory_fail_nth(n);
        int err = ac_datagrams_open(&here, "127.0.0.1:0");
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        failures += failed;
        ck_assert(failed ? err == -ENOMEM : err == 0);
        ac_datagrams_close(here);
        if (!failed)
            break;
    }
    ck_assert_int_ge(failures, 1);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- the files of Unix sockets ----

CORO_TEST(the_file_of_a_socket_goes_with_it) {
    char folder[TEST_TEMPLATE_BYTES], path[80], address[96];
    struct stat facts;
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/it", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    ck_assert_int_eq(ac_datagrams_open(&there, address, .mode = 0600), 0);
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_uint_eq(facts.st_mode & 0777, 0600);
    ck_assert_int_eq(ac_datagrams_open(&here, address), -EADDRINUSE);
    ck_assert_int_eq(ac_datagrams_open(&here, address, .replace = true), -EADDRINUSE);
    // One without a name is heard, and cannot be answered.
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, path);
    ck_assert_int_eq(sendto(fd, "hello", 5, 0, (struct sockaddr *)&un, sizeof un), 5);
    expect_text(there, "hello");
    ck_assert_str_eq(from, "unix:");
    close(fd);
    ac_datagrams_close(there);
    ck_assert_int_eq(rmdir(folder), 0);
}
