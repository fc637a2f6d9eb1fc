// SPDX-License-Identifier: MIT
// Tests of src/sys/address.c.
#include <stdio.h>
#include <sys/un.h>

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
    ck_assert_uint_eq(net_to_sockaddr(&none, NULL, &storage), 0);
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
        socklen_t bytes = net_to_sockaddr(&address, NULL, &storage);
        ck_assert_uint_gt(bytes, 0);
        net_from_sockaddr((struct sockaddr *)&storage, bytes, &back, NULL);
        ck_assert(sys_address_equal(&address, &back));
    }
}

static void expect_unix(const char *text, size_t bytes) {
    struct sys_unix name;
    char back[SYS_UNIX_TEXT_BYTES];
    ck_assert_int_eq(sys_unix_parse(text, &name), 0);
    ck_assert_uint_eq(name.bytes, bytes);
    sys_unix_text(&name, back);
    ck_assert_str_eq(back, text);
}

TEST(names_of_unix_sockets_are_understood_and_shown) {
    expect_unix("unix:/run/it", 7);
    expect_unix("unix:it", 2);
    expect_unix("unix:@it", 3);
    expect_unix("unix:/run/a:80", 9);
}

TEST(no_name_is_shown_as_such) {
    struct sys_unix name;
    char text[SYS_UNIX_TEXT_BYTES];
    ck_assert_int_eq(sys_unix_parse("unix:@", &name), 0);
    ck_assert_uint_eq(name.bytes, 0);
    sys_unix_text(&name, text);
    ck_assert_str_eq(text, "unix:");
}

TEST(what_is_no_name_of_a_unix_socket_is_refused) {
    static const char *const wrong[] = {"", "unix", "unix:", "Unix:/a", "/run/it", "1.2.3.4:80"};
    struct sys_unix name;
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_msg(sys_unix_parse(wrong[i], &name) == -EINVAL, "%s", wrong[i]);
}

TEST(a_name_that_the_system_has_no_room_for_is_refused) {
    char text[5 + 109 + 1] = "unix:";
    struct sys_unix name;
    memset(text + 5, 'a', 107);
    ck_assert_int_eq(sys_unix_parse(text, &name), 0);
    strcat(text, "a");
    ck_assert_int_eq(sys_unix_parse(text, &name), -ENAMETOOLONG);
    text[5] = '@'; // needs no closing NUL
    ck_assert_int_eq(sys_unix_parse(text, &name), 0);
    strcat(text, "a");
    ck_assert_int_eq(sys_unix_parse(text, &name), -ENAMETOOLONG);
}

TEST(names_of_the_system_come_back_as_they_went) {
    static const char *const texts[] = {"unix:/run/it", "unix:@it"};
    struct sys_address address = {.family = SYS_UNIX}, back;
    for (size_t i = 0; i < countof(texts); i++) {
        struct sys_unix name, name_back;
        struct sockaddr_storage storage;
        ck_assert_int_eq(sys_unix_parse(texts[i], &name), 0);
        socklen_t bytes = net_to_sockaddr(&address, &name, &storage);
        // With the NUL behind a path that the system adds.
        net_from_sockaddr((struct sockaddr *)&storage, bytes + (i == 0), &back, &name_back);
        ck_assert_int_eq(back.family, SYS_UNIX);
        ck_assert_uint_eq(name_back.bytes, name.bytes);
        ck_assert_mem_eq(name_back.text, name.text, name.bytes);
    }
}

TEST(the_longest_names_of_the_system_fit) {
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};
    struct sys_address address;
    struct sys_unix name;
    char text[SYS_UNIX_TEXT_BYTES];
    memset(((struct sockaddr_un *)&storage)->sun_path, 'a', 108);
    net_from_sockaddr((struct sockaddr *)&storage, 111, &address, &name);
    ck_assert_uint_eq(name.bytes, 108);
    sys_unix_text(&name, text);
    ck_assert_uint_eq(strlen(text), 113);
}

TEST(what_the_system_says_nothing_of_is_no_address) {
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};
    struct sys_address address;
    struct sys_unix name = {.bytes = 7};
    net_from_sockaddr((struct sockaddr *)&storage, sizeof(sa_family_t), &address, &name);
    ck_assert_int_eq(address.family, SYS_UNIX);
    ck_assert_uint_eq(name.bytes, 0);
    net_from_sockaddr((struct sockaddr *)&storage, 0, &address, NULL);
    ck_assert_int_eq(address.family, 0);
}

TEST(interfaces_are_known_by_name_and_by_number) {
    uint32_t lo = sys_interface_index("lo");
    char number[16];
    snprintf(number, sizeof number, "%u", (unsigned)lo);
    ck_assert_uint_ne(lo, 0);
    ck_assert_uint_eq(sys_interface_index(number), lo);
    ck_assert_uint_eq(sys_interface_index("no-such-card"), 0);
    ck_assert_uint_eq(sys_interface_index(""), 0);
}

static bool holds(const char *network, const char *address) {
    struct sys_network it;
    struct sys_address at;
    ck_assert_msg(sys_network_parse(network, &it), "%s", network);
    ck_assert_msg(sys_address_parse(address, &at), "%s", address);
    return sys_network_holds(&it, &at);
}

TEST(a_network_holds_the_addresses_that_begin_as_it_does) {
    ck_assert(holds("192.168.7.0/24", "192.168.7.255:1"));
    ck_assert(!holds("192.168.7.0/24", "192.168.8.0:1"));
    ck_assert(holds("10.0.0.128/25", "10.0.0.200:1"));
    ck_assert(!holds("10.0.0.128/25", "10.0.0.127:1"));
    ck_assert(holds("10.0.0.3", "10.0.0.3:9"));
    ck_assert(!holds("10.0.0.3", "10.0.0.2:9"));
    ck_assert(holds("0.0.0.0/0", "1.2.3.4:1"));
    ck_assert(!holds("0.0.0.0/0", "[::1]:1"));
    ck_assert(holds("fd00::/8", "[fd12::1]:1"));
    ck_assert(!holds("fd00::/8", "[fe80::1]:1"));
    ck_assert(holds("::1", "[::1]:1"));
}

TEST(what_is_no_network_is_refused) {
    static const char *const wrong[] = {"",           "/8",       "10.0.0.0/33", "10.0.0.1/8",
                                        "10.0.0.0/",  "10.0.0/8", "fd00::/129",  "fd00::1/8",
                                        "10.0.0.0/x", "host/8",   "10.0.0.0/-1", "10.0.0.0/8/8"};
    struct sys_network it;
    for (size_t i = 0; i < countof(wrong); i++)
        ck_assert_msg(!sys_network_parse(wrong[i], &it), "%s", wrong[i]);
}
