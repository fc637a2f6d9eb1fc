// SPDX-License-Identifier: MIT
// Tests of src/sys/net.c.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "test.h"

#include "sys/net_private.h"

static void expect_text(const char *text, const char *shown) {
    struct sys_address address;
    char back[SYS_ADDRESS_TEXT_BYTES];
    ck_assert_msg(sys_address_parse(text, &address), "%s", text);
    sys_address_text(&address, back);
    ck_assert_str_eq(back, shown);
}

TEST(numeric_addresses_are_understood_and_shown) {
    expect_text("127.0.0.1:80", "127.0.0.1:80");
    expect_text("0.0.0.0:0", "0.0.0.0:0");
    expect_text("255.255.255.255:65535", "255.255.255.255:65535");
    expect_text("[::1]:80", "[::1]:80");
    expect_text("[::]:0", "[::]:0");
    expect_text("[2001:DB8:0:0::1]:443", "[2001:db8::1]:443");
    expect_text("[fe80::1%lo]:80", "[fe80::1%lo]:80");
    expect_text("[fe80::1%1]:80", "[fe80::1%lo]:80");
    expect_text("[::ffff:1.2.3.4]:80", "1.2.3.4:80");
    expect_text("[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
                "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
}

TEST(what_is_no_numeric_address_is_refused) {
    static const char *const wrong[] = {
        "",
        ":",
        ":80",
        "80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3:80",
        "1.2.3.256:1",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:1x",
        "1.2.3.4: 1",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[:80",
        "[1.2.3.4]:1",
        "[::1%]:80",
        "[g::]:80",
        "localhost:80",
        "1.2.3.4:http",
        " 1.2.3.4:1",
        "1.2.3.4:0000080",
        "[fe80::1%no-such-card]:80",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80",
    };
    struct sys_address address;
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_msg(!sys_address_parse(wrong[i], &address), "%s", wrong[i]);
}

TEST(no_address_has_a_text_too) {
    struct sys_address none = {0};
    char text[SYS_ADDRESS_TEXT_BYTES];
    struct sockaddr_storage storage;
    sys_address_text(&none, text);
    ck_assert_str_eq(text, "none");
    ck_assert_uint_eq(net_to_sockaddr(&none, &storage), 0);
}

TEST(an_interface_that_is_gone_is_shown_by_its_number) {
    struct sys_address address = {.family = 6, .port = 1, .scope = UINT32_MAX, .ip = {0xfe, 0x80}};
    char text[SYS_ADDRESS_TEXT_BYTES];
    sys_address_text(&address, text);
    ck_assert_str_eq(text, "[fe80::%4294967295]:1");
}

TEST(addresses_are_equal_in_all_that_counts) {
    struct sys_address a, b;
    ck_assert(sys_address_parse("127.0.0.1:80", &a));
    ck_assert(sys_address_parse("[::ffff:127.0.0.1]:80", &b));
    ck_assert(sys_address_equal(&a, &b));
    b.ip[15] = 1; // means nothing in an IPv4 address
    ck_assert(sys_address_equal(&a, &b));
    b.port = 81;
    ck_assert(!sys_address_equal(&a, &b));
    ck_assert(sys_address_parse("[::1]:80", &b));
    ck_assert(!sys_address_equal(&a, &b));
}

TEST(loopback_is_known) {
    static const char *const yes[] = {"127.0.0.1:1", "127.9.8.7:1", "[::1]:1"};
    static const char *const no[] = {"128.0.0.1:1", "[::2]:1", "[::]:1", "0.0.0.0:1"};
    struct sys_address address;
    for (size_t i = 0; i < countof(yes); i++)
        ck_assert(sys_address_parse(yes[i], &address) && sys_address_is_loopback(&address));
    for (size_t i = 0; i < countof(no); i++)
        ck_assert(sys_address_parse(no[i], &address) && !sys_address_is_loopback(&address));
}

TEST(addresses_of_the_system_come_back_as_they_went) {
    static const char *const texts[] = {"1.2.3.4:5", "[fe80::1%lo]:7", "[2001:db8::9]:8"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct sys_address address, back;
        struct sockaddr_storage storage;
        ck_assert(sys_address_parse(texts[i], &address));
        ck_assert_uint_gt(net_to_sockaddr(&address, &storage), 0);
        net_from_sockaddr((struct sockaddr *)&storage, &back);
        ck_assert(sys_address_equal(&address, &back));
    }
}

TEST(localhost_is_found) {
    struct sys_address found[8];
    int count = sys_lookup("localhost", "80", found, countof(found));
    ck_assert_int_ge(count, 1);
    for (int i = 0; i < count; i++) {
        ck_assert(sys_address_is_loopback(&found[i]));
        ck_assert_int_eq(found[i].port, 80);
    }
    ck_assert_int_eq(sys_lookup("localhost", "80", found, 1), 1);
}

TEST(what_nobody_knows_is_not_found) {
    struct sys_address found[8];
    // Without a name service nobody can know that the name is unknown.
    int result = sys_lookup("no-such-host.invalid", "80", found, countof(found));
    ck_assert(result == -ENOENT || result == -EAGAIN);
    ck_assert_int_eq(sys_lookup("127.0.0.1", "no-such-service", found, countof(found)), -ENOENT);
}

TEST(the_loopback_interface_is_listed) {
    struct sys_interface found[64];
    int count = sys_interfaces(found, countof(found));
    bool seen = false;
    for (int i = 0; i < count; i++) {
        ck_assert_uint_ne(found[i].index, 0);
        ck_assert(found[i].address.family == 4 || found[i].address.family == 6);
        if (!found[i].is_loopback || found[i].address.family != 4)
            continue;
        seen = true;
        ck_assert_str_eq(found[i].name, "lo");
        ck_assert_int_eq(found[i].broadcast.ip[3], 255);
    }
    ck_assert(seen);
    ck_assert_int_eq(sys_interfaces(found, 0), 0);
}

TEST(the_host_name_is_cut_to_fit) {
    char name[256], cut[2];
    sys_host_name(name, sizeof name);
    ck_assert_uint_gt(strlen(name), 0);
    sys_host_name(cut, sizeof cut);
    ck_assert_uint_le(strlen(cut), 1);
}

static int open_bound(enum sys_transport transport, const char *text, bool listens, bool share) {
    struct sys_address bind_to;
    ck_assert(sys_address_parse(text, &bind_to));
    struct sys_open how = {
        .transport = transport, .bind = &bind_to, .listen = listens, .share_port = share};
    return net_open(&how);
}

static void text_of(int fd, char text[SYS_ADDRESS_TEXT_BYTES]) {
    struct sockaddr_storage storage;
    socklen_t bytes = sizeof storage;
    struct sys_address address;
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&storage, &bytes), 0);
    net_from_sockaddr((struct sockaddr *)&storage, &address);
    sys_address_text(&address, text);
}

TEST(an_accepted_connection_has_no_delay) {
    int listener = open_bound(SYS_TCP, "127.0.0.1:0", true, false);
    ck_assert_int_ge(listener, 0);
    struct sockaddr_in address;
    socklen_t bytes = sizeof address;
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    int server = accept(listener, NULL, NULL);
    int on = 0;
    bytes = sizeof on;
    ck_assert_int_eq(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, &bytes), 0);
    ck_assert_int_ne(on, 0);
    close(server);
    close(client);
    close(listener);
}

TEST(a_port_that_is_listened_on_is_taken) {
    char text[SYS_ADDRESS_TEXT_BYTES];
    int first = open_bound(SYS_TCP, "127.0.0.1:0", true, false);
    text_of(first, text);
    ck_assert_int_eq(open_bound(SYS_TCP, text, true, false), -EADDRINUSE);
    close(first);
    int second = open_bound(SYS_TCP, text, true, false);
    ck_assert_int_ge(second, 0);
    close(second);
}

TEST(datagram_sockets_share_a_port_if_they_all_say_so) {
    char text[SYS_ADDRESS_TEXT_BYTES];
    int first = open_bound(SYS_UDP, "127.0.0.1:0", false, true);
    text_of(first, text);
    int second = open_bound(SYS_UDP, text, false, true);
    ck_assert_int_ge(second, 0);
    ck_assert_int_eq(open_bound(SYS_UDP, text, false, false), -EADDRINUSE);
    close(first);
    close(second);
}

TEST(datagram_sockets_of_both_families_have_the_same_port) {
    char text[SYS_ADDRESS_TEXT_BYTES], six[SYS_ADDRESS_TEXT_BYTES];
    int first = open_bound(SYS_UDP, "0.0.0.0:0", false, false);
    text_of(first, text);
    snprintf(six, sizeof six, "[::]%s", strrchr(text, ':'));
    int second = open_bound(SYS_UDP, six, false, false);
    ck_assert(second >= 0 || second == -EAFNOSUPPORT);
    close(first);
    sys_fd_close(second);
}

TEST(a_group_is_joined) {
    struct sys_address group, any;
    ck_assert(sys_address_parse("239.255.1.2:0", &group));
    ck_assert(sys_address_parse("0.0.0.0:0", &any));
    struct sys_open how = {
        .transport = SYS_UDP, .bind = &any, .broadcast = true, .group = group, .interface = 1};
    int fd = net_open(&how);
    ck_assert_int_ge(fd, 0);
    close(fd);
    how.interface = 999999;
    ck_assert_int_eq(net_open(&how), -ENODEV);
}

TEST(a_socket_of_no_family_is_refused) {
    struct sys_open how = {.transport = SYS_TCP};
    ck_assert_int_eq(net_open(&how), -EINVAL);
}
