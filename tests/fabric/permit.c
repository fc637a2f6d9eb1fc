// SPDX-License-Identifier: MIT
// Tests of src/fabric/permit.c: lists of networks, and that links and beacons keep to them.
#include "fabric/rig.h"

static struct sys_address ip(const char *text) {
    char with_port[64];
    struct sys_address address;
    snprintf(with_port, sizeof with_port, strchr(text, ':') ? "[%s]:7" : "%s:7", text);
    ck_assert(sys_address_parse(with_port, &address));
    return address;
}

static struct permits *read_lists(const struct fabric_options *options) {
    char text[256] = "";
    struct permits *permits;
    ck_assert_msg(permits_read(options, &permits, text) == 0, "%s", text);
    return permits;
}

static bool links(const struct permits *permits, const char *text) {
    struct sys_address address = ip(text);
    return permits_link(permits, &address);
}

static bool beacons(const struct permits *permits, const char *text) {
    struct sys_address address = ip(text);
    return permits_beacon(permits, &address);
}

TEST(without_lists_all_networks_will_do) {
    struct fabric_options none = {0};
    struct permits *permits = read_lists(&none);
    ck_assert_ptr_null(permits);
    ck_assert(links(permits, "8.8.8.8") && links(permits, "2001:db8::1"));
    ck_assert(beacons(permits, "8.8.8.8"));
}

TEST(what_is_allowed_is_allowed_and_nothing_else) {
    struct fabric_options options = {.allow = "10.0.0.0/8, fd00::/8\n192.168.7.9,"};
    struct permits *permits = read_lists(&options);
    ck_assert(links(permits, "10.200.3.4") && links(permits, "fdff::1"));
    ck_assert(links(permits, "192.168.7.9") && !links(permits, "192.168.7.8"));
    ck_assert(!links(permits, "11.0.0.1") && !links(permits, "fe80::1"));
    ck_assert(!beacons(permits, "11.0.0.1") && beacons(permits, "10.0.0.1"));
    ck_assert(links(permits, "127.0.0.1") && links(permits, "::1"));
    permits_release(permits);
}

TEST(what_is_denied_is_denied_whatever_is_allowed) {
    struct fabric_options options = {.allow = "10.0.0.0/8", .deny = "10.1.0.0/16 127.0.0.0/8"};
    struct permits *permits = read_lists(&options);
    ck_assert(links(permits, "10.0.255.255") && !links(permits, "10.1.0.1"));
    ck_assert(!links(permits, "127.0.0.1") && links(permits, "::1"));
    permits_release(permits);
    struct fabric_options only = {.deny = "fe80::/10"};
    permits = read_lists(&only);
    ck_assert(!links(permits, "febf::1") && links(permits, "fec0::1") && links(permits, "1.2.3.4"));
    permits_release(permits);
}

TEST(beacons_have_narrower_lists) {
    struct fabric_options options = {
        .deny = "10.1.0.0/16", .beacons_allow = "10.0.0.0/8", .beacons_deny = "10.2.0.0/16"};
    struct permits *permits = read_lists(&options);
    ck_assert(links(permits, "192.168.1.1") && !beacons(permits, "192.168.1.1"));
    ck_assert(links(permits, "10.2.0.1") && !beacons(permits, "10.2.0.1"));
    ck_assert(!links(permits, "10.1.0.1") && !beacons(permits, "10.1.0.1"));
    ck_assert(beacons(permits, "10.3.0.1"));
    permits_release(permits);
}

static void refused(const struct fabric_options *options, int err, const char *says) {
    char text[256] = "";
    struct permits *permits;
    ck_assert_int_eq(permits_read(options, &permits, text), err);
    ck_assert_ptr_null(permits);
    ck_assert_msg(strstr(text, says) != NULL, "%s", text);
}

TEST(a_list_that_is_none_is_refused_by_name) {
    refused(&(struct fabric_options){.allow = "10.0.0.0/8 nonsense"}, -EINVAL, "nonsense");
    refused(&(struct fabric_options){.deny = "10.0.0.0/33"}, -EINVAL, "deny");
    refused(&(struct fabric_options){.beacons_allow = "10.0.0.1/8"}, -EINVAL, "beacons_allow");
    refused(&(struct fabric_options){.beacons_deny = "::1/129"}, -EINVAL, "beacons_deny");
    char many[65 * 4 + 1] = "";
    for (int i = 0; i < 65; i++)
        strcat(many, "::1 ");
    refused(&(struct fabric_options){.allow = many}, -E2BIG, "64");
    many[64 * 4] = 0;
    struct fabric_options just = {.allow = many};
    permits_release(read_lists(&just));
}

// ---- that it is kept ----

TEST(a_connection_from_a_denied_network_is_closed_at_once) {
    struct fabric_options careful = rig_options(1);
    careful.deny = "127.0.0.0/8";
    struct side *a = side_open(&careful), *b = side_of(2);
    side_introduce(b, 1, side_port(a));
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->fabric->strangers.refused > 0, 10);
    ck_assert_int_eq(a->met, 0);
    ck_assert_uint_eq(a->fabric->strangers.count, 0); // before a handshake
    rig_close_all();
}

TEST(nobody_is_sought_in_a_denied_network) {
    struct fabric_options careful = rig_options(1);
    careful.deny = "127.0.0.0/8";
    struct side *a = side_open(&careful), *b = side_of(2);
    struct sys_address there = loopback(side_port(b));
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 2, &there)), -EACCES);
    ck_assert_int_eq(rig_in(a, fabric_reach(a->fabric, &there, ac_after(5), a)), -EACCES);
    ck_assert_int_eq(side_count(a, 2, 0, 100), -EHOSTUNREACH);
    rig_close_all();
}
