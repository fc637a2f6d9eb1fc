// SPDX-License-Identifier: MIT
// Tests of beacons, on loopback and on a port that no other program uses.
#include "fabric/rig.h"

#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>

static struct fabric_options beaconing(uint64_t peer, uint16_t port) {
    struct fabric_options options = rig_options(peer);
    options.no_discovery = false;
    options.discovery_port = port;
    return options;
}

static void datagram(uint16_t port, const void *bytes, size_t count) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    (void)!sendto(fd, bytes, count, 0, (struct sockaddr *)&to, sizeof to);
    close(fd);
}

TEST(programs_find_each_other_without_being_told) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    struct side *a = side_open(&one);
    rig_for(0.5); // the burst of the first is over
    double start = rig_seconds();
    struct side *b = side_open(&two);
    rig_until(a->met == 1 && b->met == 1, 2);
    printf("found after %.0f ms\n", (rig_seconds() - start) * 1e3);
    ck_assert_int_eq(a->last_met, 2);
    ck_assert_int_eq(b->last_met, 1);
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    rig_for(0.3);
    ck_assert_int_eq(a->met + b->met, 2); // the link did not make them meet again
    rig_close_all();
}

TEST(they_find_each_other_on_all_interfaces) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    one.loopback_only = two.loopback_only = false;
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_until(a->met == 1 && b->met == 1, 2);
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->frames == 1, 5);
    rig_close_all();
}

TEST(beacons_have_a_budget) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port);
    struct side *a = side_open(&one);
    static const uint8_t zeros[72];
    double start = rig_seconds();
    for (int i = 0; i < 5000; i++) {
        datagram(port, zeros, sizeof zeros);
        if (i % 20 == 0)
            rig_turn();
    }
    double took = rig_seconds() - start;
    ck_assert_double_le(a->fabric->refused_beacons, 1000 * (took + 1) + 10);
    ck_assert_uint_gt(a->fabric->refused_beacons, 500);
    rig_close_all();
}

TEST(three_programs_see_all_others) {
    uint16_t port = test_hold_port(NULL);
    struct side *sides[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct fabric_options options = beaconing(i + 1, port);
        sides[i] = side_open(&options);
    }
    rig_until(sides[0]->met == 2 && sides[1]->met == 2 && sides[2]->met == 2, 2);
    rig_close_all();
}

TEST(beacons_under_another_key_are_ignored) {
    uint16_t port = test_hold_port(NULL);
    static const uint8_t other_key[32] = "another key";
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    two.key = other_key;
    FILE *errors = tmpfile();
    static char told[4096];
    setenv("AC_TRACE", "fabric", 1);
    ck_assert(errors && dup2(fileno(errors), STDERR_FILENO) >= 0);
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_for(1);
    ck_assert_int_eq(a->met + b->met, 0);
    ck_assert_uint_gt(a->fabric->refused_beacons, 0);
    rewind(errors);
    told[fread(told, 1, sizeof told - 1, errors)] = 0;
    ck_assert_msg(strstr(told, "ignored, as 1 so far: it is signed by another key, or none"),
                  "it said: %s", told);
    rig_close_all();
}

TEST(random_datagrams_do_no_harm) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port);
    struct side *a = side_open(&one);
    uint8_t bytes[2000];
    unsigned seed = 7;
    for (int i = 0; i < 3000; i++) {
        size_t count = i % 2 ? 72 : (size_t)rand_r(&seed) % sizeof bytes;
        for (size_t n = 0; n < count; n++)
            bytes[n] = (uint8_t)rand_r(&seed);
        datagram(port, bytes, count);
        if (i % 10 == 0)
            rig_turn();
    }
    rig_for(0.1);
    ck_assert_int_eq(a->met, 0);
    rig_close_all();
}

TEST(a_beacon_heard_twice_counts_once_and_cannot_move_a_peer) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    // Hear a beacon of the second, to repeat it.
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_until(a->met == 1 && b->met == 1, 2);
    uint8_t beacon[100];
    ssize_t count;
    do
        count = recv(fd, beacon, sizeof beacon, 0);
    while (beacon[23] != 2);
    close(fd);
    ck_assert_int_eq(count, 72);
    ck_assert_int_eq(beacon[10] << 8 | beacon[11], side_port(b));
    struct peer *peer = peer_find(a->fabric, 2);
    uint64_t last = peer->beacon;
    datagram(port, beacon, 72);
    rig_for(0.1);
    ck_assert_uint_ge(peer->beacon, last);
    ck_assert_int_eq(a->met, 1);
    // The same with another port is no beacon at all.
    beacon[11] ^= 1;
    beacon[24] = 1; // as if it were the latest
    uint64_t refused = a->fabric->refused_beacons;
    datagram(port, beacon, 72);
    rig_for(0.1);
    ck_assert_int_eq(peer->address.port, side_port(b));
    ck_assert_uint_gt(a->fabric->refused_beacons + b->fabric->refused_beacons, refused);
    rig_close_all();
}

// Hears beacons of a peer as anybody can, until one comes with another number than `but`.
static void record(int fd, uint64_t id, uint64_t but, uint8_t beacon[100]) {
    ssize_t count;
    do {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        rig_until(poll(&waiting, 1, 0) == 1, 20);
        count = recv(fd, beacon, 100, 0);
    } while (count != 72 || frame_read_u64(beacon + 16) != id ||
             frame_read_u64(beacon + 24) == but);
}

static int recorder(uint16_t port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

TEST(recorded_beacons_of_a_program_that_ended_have_no_effect) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    uint8_t beacon[100];
    struct side *b = side_open(&two);
    int fd = recorder(port);
    record(fd, 2, 0, beacon);
    close(fd);
    side_close(b, 1);
    struct side *a = side_open(&one); // has never heard of it
    for (int i = 0; i < 10; i++) {
        datagram(port, beacon, 72);
        rig_for(0.05);
    }
    rig_until(map_count(&a->fabric->hinted) == 0, 10);
    ck_assert_uint_eq(a->fabric->refused_beacons, 0); // it is as good as it was
    ck_assert_int_eq(a->met, 0);
    ck_assert_uint_eq(map_count(&a->fabric->peers), 0);
    rig_close_all();
}

TEST(a_beacon_tells_the_port_at_which_it_listens_also_where_another_is_advertised) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port);
    uint8_t beacon[100];
    one.advertise = "203.0.113.7:4321";
    int fd = recorder(port);
    struct side *a = side_open(&one);
    record(fd, 1, 0, beacon);
    close(fd);
    ck_assert_int_eq(beacon[10] << 8 | beacon[11], a->fabric->port);
    rig_close_all();
}

TEST(recorded_beacons_from_elsewhere_do_not_move_a_peer) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    uint8_t beacon[100];
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_until(a->met == 1 && b->met == 1, 5);
    int fd = recorder(port);
    struct peer *peer = peer_find(a->fabric, 2);
    record(fd, 2, peer->beacon, beacon);
    close(fd);
    peer->beacon = 0; // as if this one had not been heard
    peer->heard -= 7 * NS_PER_S;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000009)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    ck_assert_int_eq(sendto(fd, beacon, 72, 0, (struct sockaddr *)&to, sizeof to), 72);
    close(fd);
    rig_until(peer->beacon > 0, 10);
    rig_until(map_count(&a->fabric->hinted) == 0, 10);
    ck_assert_int_eq(peer->address.ip[3], 1);
    ck_assert_int_eq(a->met, 1);
    rig_close_all();
}

TEST(beacons_keep_to_the_lists_of_networks) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    one.beacons_deny = "127.0.0.0/8";
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_for(0.6);
    ck_assert_int_eq(a->met + b->met, 0); // it neither hears nor sends any
    ck_assert_uint_eq(a->fabric->refused_beacons, 0);
    side_introduce(a, 2, side_port(b)); // but links
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 10);
    rig_close_all();
}

TEST(a_program_that_ended_is_not_met_again) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = beaconing(1, port), two = beaconing(2, port);
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_until(a->met == 1 && b->met == 1, 2);
    ck_assert_int_eq(side_count(a, 2, 0, 100), 0);
    rig_until(b->frames == 1, 5);
    side_close(b, 1);
    rig_until(a->lost == 1, 2);
    struct sys_address there = loopback(9);
    ck_assert_int_eq(rig_in(a, fabric_introduce(a->fabric, 2, &there)), 0); // old gossip
    rig_for(0.5);
    ck_assert_int_eq(a->met, 1);
    rig_close_all();
}

TEST(without_discovery_no_port_is_open) {
    uint16_t port = test_hold_port(NULL);
    struct fabric_options one = rig_options(1);
    one.discovery_port = port;
    struct side *a = side_open(&one);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    ck_assert_ptr_null(a->fabric->discovery);
    rig_close_all();
}

// ---- more addresses than a few, in a network of its own, where this process may change them ----

static void interface_control(const char *name, unsigned long what, int flags, unsigned host) {
    struct ifreq request = {0};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a090000 + host)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (host > 0)
        memcpy(&request.ifr_addr, &at, sizeof at);
    else
        request.ifr_flags = (short)flags;
    ck_assert_int_eq(ioctl(fd, what, &request), 0);
    close(fd);
}

static void add_address(unsigned host) {
    char name[IFNAMSIZ];
    snprintf(name, sizeof name, "lo:%u", host);
    interface_control(name, SIOCSIFADDR, 0, host);
}

static void change_addresses(bool beacons) {
    enum { MANY = 150 };
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        printf("not tried: this process may not have a network of its own\n");
        return;
    }
    interface_control("lo", SIOCSIFFLAGS, IFF_UP | IFF_RUNNING, 0);
    for (unsigned host = 1; host <= MANY; host++)
        add_address(host);
    struct fabric_options one = beaconing(1, 4000), two = rig_options(2);
    one.loopback_only = two.loopback_only = false;
    one.no_discovery = !beacons;
    struct side *a = side_open(&one), *b = side_open(&two);
    rig_until(a->fabric->discovery->found_count >= MANY, 10);
    struct sys_address there = {.family = 4, .port = side_port(a), .ip = {10, 9, 0, MANY}};
    ck_assert_int_eq(rig_in(b, fabric_introduce(b->fabric, 1, &there)), 0);
    ck_assert_int_eq(side_count(b, 1, 0, 100), 0);
    rig_until(a->frames == 1, 10);
    const struct discovery *discovery = a->fabric->discovery;
    const struct connection *before = peer_find(a->fabric, 2)->connection;
    int count = discovery->found_count;
    ck_assert_int_ge(count, MANY);
    add_address(MANY + 1);
    rig_until(discovery->found_count > count, 10); // which is looked at in the same breath
    ck_assert_ptr_eq(peer_find(a->fabric, 2)->connection, before);
    ck_assert_int_eq(side_count(b, 1, 1, 100), 0);
    rig_until(a->frames == 2, 10);
    ck_assert_uint_eq(peer_find(a->fabric, 2)->link.reconnects, 0);
    char name[IFNAMSIZ];
    snprintf(name, sizeof name, "lo:%u", (unsigned)MANY);
    interface_control(name, SIOCSIFFLAGS, 0, 0); // it is gone
    rig_until(peer_find(a->fabric, 2)->connection != before, 10);
    rig_close_all();
}

TEST(a_link_stays_whose_address_is_one_of_many_and_breaks_when_that_goes) {
    change_addresses(true);
}

TEST(without_beacons_changes_of_addresses_are_seen_as_well) { change_addresses(false); }
