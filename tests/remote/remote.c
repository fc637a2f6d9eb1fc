// SPDX-License-Identifier: MIT
// Tests of src/remote/remote.c: starting and stopping the network, what it opens, who may use it,
// and what is said when it cannot be started.
#include "remote/remote_private.h"
#include "world.h"

#include <math.h>

static struct child peer;

// ---- sockets ----

struct sockets {
    int tcp, udp;      // Internet sockets of this process
    int listening;     // of them
    int tcp_elsewhere; // TCP sockets at another port than that of the network
    int udp_elsewhere; // UDP sockets at another port than that of beacons
};

static void see_socket(int fd, uint16_t tcp_port, struct sockets *seen) {
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof address;
    int type = 0, listens = 0;
    if (getsockname(fd, (struct sockaddr *)&address, &bytes) < 0)
        return;
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6)
        return;
    bytes = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes);
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes);
    // The port lies at the same place for both families.
    uint16_t port = ntohs(((struct sockaddr_in *)&address)->sin_port);
    seen->tcp += type == SOCK_STREAM;
    seen->udp += type == SOCK_DGRAM;
    seen->listening += listens;
    seen->tcp_elsewhere += type == SOCK_STREAM && port != tcp_port;
    seen->udp_elsewhere += type == SOCK_DGRAM && port != world.beacons;
}

static struct sockets see_sockets(uint16_t tcp_port) {
    struct sockets seen = {0};
    DIR *folder = opendir("/proc/self/fd");
    must(folder != NULL);
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            see_socket(atoi(entry->d_name), tcp_port, &seen);
    closedir(folder);
    return seen;
}

static uint16_t network_port(void) {
    char address[64];
    must_be(ac_network_address(address), 0);
    return (uint16_t)atoi(strrchr(address, ':') + 1);
}

static ac_value see_none(ac_value unused) {
    ac_ref it;
    must_be(ac_register(ac_self(), "name"), 0);
    must_be(ac_locate("other", &it, ac_after(0.05)), -ETIMEDOUT);
    must_be(ac_send(ac_self(), 1), 0);
    must_be(ac_send(((ac_ref){1, 2}), 1), -EHOSTUNREACH);
    struct sockets seen = see_sockets(0);
    must_be(seen.tcp + seen.udp, 0);
    return unused;
}

TEST(without_network_no_socket_is_open) {
    world_begin();
    run_with(see_none, NULL);
    must_be(access(world.key_file, F_OK), -1);
    world_end();
}

static ac_value see_documented(ac_value unused) {
    struct sockets seen = see_sockets(network_port());
    must(seen.listening >= 1 && seen.listening <= 2); // IPv4 and IPv6
    must_be(seen.tcp, seen.listening);
    must_be(seen.tcp_elsewhere, 0);
    must(seen.udp >= 1);
    must_be(seen.udp_elsewhere, 0);
    return unused;
}

TEST(with_network_the_documented_ports_are_open_and_closed_again) {
    world_begin();
    run(see_documented);
    struct sockets seen = see_sockets(0);
    must_be(seen.tcp + seen.udp, 0);
    struct stat key;
    must_be(stat(world.key_file, &key), 0); // made at first use
    must_be(key.st_mode & 0777, 0600);
    world_end();
}

static ac_value see_no_beacons(ac_value unused) {
    struct sockets seen = see_sockets(network_port());
    must_be(seen.udp, 0);
    must_be(seen.tcp, seen.listening);
    return unused;
}

TEST(without_discovery_there_is_no_beacon_socket) {
    world_begin();
    run_with(see_no_beacons,
             &(struct ac_network_options){.loopback_only = true, .no_discovery = true});
    world_end();
}

// ---- starting ----

static ac_value start_again(ac_value unused) {
    must_be(ac_network_start(.loopback_only = true), -EALREADY);
    must(ac_network_error()[0] != '\0');
    return unused;
}

TEST(the_network_is_started_once) {
    world_begin();
    must(strcmp(ac_network_error(), "") == 0);
    must_be(ac_network_start(.loopback_only = true), 0);
    must(strcmp(ac_network_error(), "") == 0);
    must_be(ac_network_start(.loopback_only = true), -EALREADY);
    run_with(start_again, NULL);
    must_be(ac_network_start(.loopback_only = true), 0); // another loop has another network
    must_be(ac_run(), 0);
    world_end();
}

static ac_value start_inside(ac_value unused) {
    ac_ref it;
    must_be(ac_register(ac_self(), "early"), 0);
    must_be(ac_locate("server", &it, ac_after(0.01)), -ETIMEDOUT);
    must_be(ac_network_start(.loopback_only = true), 0);
    it = find("server");
    must_be(ac_deliver(it, 0, ac_after(PATIENCE_S)), 1);
    must(ac_ref_equal(find("early"), ac_self()));
    return unused;
}

static ac_value await_network(ac_value unused) {
    ac_ref it = find("server"); // asked before there is a network
    (void)unused;
    must_be(ac_deliver(it, 1, ac_after(PATIENCE_S)), 1);
    return ac_nil;
}

static ac_value start_beside(ac_value unused) {
    ac_spawn(await_network, ac_nil, .stack_bytes = TEST_STACK);
    must_be(ac_yield(), 0);
    return start_inside(unused);
}

TEST(a_coroutine_can_start_the_network_for_those_who_wait) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run_with(start_beside, NULL);
    child_end(peer);
    world_end();
}

TEST(odd_limits_are_brought_into_range) {
    world_begin();
    const double odd[] = {-1, 1e-9, 1e300, INFINITY, NAN, 1e10};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        must_be(ac_network_start(.loopback_only = true, .heartbeat_s = odd[i], .grace_s = odd[i]),
                0);
        must_be(ac_run(), 0);
    }
    world_end();
}

static ac_value outlast_freeze(ac_value unused) {
    ac_ref at = find("server");
    must_be(ac_monitor(at), 0);
    must_be(ac_deliver(at, 0, ac_after(PATIENCE_S)), 1);
    child_freeze(peer);
    ac_value message;
    must_be(ac_receive(&message, ac_after(0.8)), -ETIMEDOUT);
    child_thaw(peer);
    must_be(ac_deliver(at, 1, ac_after(PATIENCE_S)), 1);
    return unused;
}

TEST(a_limit_that_never_ends_is_no_short_one) {
    world_begin();
    struct ac_network_options patient = near;
    patient.heartbeat_s = patient.grace_s = INFINITY;
    peer = child_with(serving, &patient);
    hear(peer);
    run_with(outlast_freeze, &patient);
    child_end(peer);
    world_end();
}

// ---- what cannot be started ----

static void fails(int err, const char *path, const struct ac_network_options *options) {
    must_be(ac_network_start_with(options), err);
    must(strstr(ac_network_error(), path) != NULL);
    struct sockets seen = see_sockets(0);
    must_be(seen.tcp + seen.udp, 0);
}

static void write_key(const char *text, mode_t mode) {
    FILE *file = fopen(world.key_file, "w");
    must(file && fputs(text, file) >= 0 && fclose(file) == 0);
    must_be(chmod(world.key_file, mode), 0);
}

static const char good_key[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

TEST(what_is_wrong_with_the_key_file_is_said) {
    world_begin();
    write_key(good_key, 0644);
    fails(-EACCES, world.key_file, &near);
    must(strstr(ac_network_error(), "chmod 600") != NULL);
    write_key("no key\n", 0600);
    fails(-EINVAL, world.key_file, &near);
    struct ac_network_options nowhere = near;
    nowhere.key_file = "/no/such/folder/key";
    fails(-ENOENT, "/no/such/folder/key", &nowhere);
    write_key(good_key, 0600);
    must_be(ac_network_start_with(&near), 0); // after all
    must(strcmp(ac_network_error(), "") == 0);
    must_be(ac_run(), 0);
    world_end();
}

TEST(a_discovery_port_that_cannot_be_understood_is_said) {
    world_begin();
    static const char *const bad[] = {"abc", "65536", "0", "-1", "51350x", " "};
    const struct ac_network_options silent = {
        .size = sizeof silent, .loopback_only = true, .no_discovery = true};
    for (size_t i = 0; i < countof(bad); i++) {
        setenv("ASYNCORO_DISCOVERY_PORT", bad[i], 1);
        fails(-EINVAL, "ASYNCORO_DISCOVERY_PORT", &near);
    }
    must_be(ac_network_start_with(&silent), 0); // it has no meaning there
    must_be(ac_run(), 0);
    world_end();
}

TEST(a_port_that_is_taken_is_said) {
    world_begin();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    char port[8];
    must_be(bind(fd, (struct sockaddr *)&address, bytes), 0);
    must_be(listen(fd, 1), 0);
    must_be(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    struct ac_network_options taken = near;
    taken.port = ntohs(address.sin_port);
    snprintf(port, sizeof port, "%u", taken.port);
    must_be(ac_network_start_with(&taken), -EADDRINUSE);
    must(strstr(ac_network_error(), port) != NULL);
    close(fd);
    must_be(ac_network_start_with(&taken), 0);
    must_be(network_port(), taken.port);
    must_be(ac_run(), 0);
    world_end();
}

TEST(without_memory_the_network_is_not_started_and_says_so) {
    world_begin();
    write_key(good_key, 0600);
    bool failed = true;
    for (int n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_network_start(.loopback_only = true, .no_discovery = true);
        failed = memory_has_failed();
        memory_fail_nth(0);
        must(err == 0 || (failed && err == -ENOMEM));
        // Before there is a loop nothing can keep a sentence.
        if (err < 0 && loop_here && remote_of(loop_here))
            must(ac_network_error()[0] != '\0');
        if (err == 0 && failed)
            must_be(ac_network_start(.loopback_only = true), -EALREADY);
        must_be(ac_run(), 0);
    }
    world_end();
}

// ---- strangers ----

static long resident_kib(pid_t pid) {
    char line[128];
    long kib = 0;
    snprintf(line, sizeof line, "/proc/%d/status", (int)pid);
    FILE *file = fopen(line, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    must(file && fclose(file) == 0);
    return kib;
}

static void send_noise(uint16_t port, int type, unsigned seed) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t noise[3000];
    srandom(seed);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = seed % 4 ? (uint8_t)random() : 0xff;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        (void)!send(fd, noise, 1 + seed * 37 % sizeof noise, MSG_NOSIGNAL);
    close(fd);
}

static ac_value make_noise(ac_value unused) {
    ac_ref to = find("server"); // which works before, and after
    char address[64];
    must_be(ac_location(to, address), 0);
    uint16_t port = (uint16_t)atoi(strrchr(address, ':') + 1);
    long before = resident_kib(peer.pid);
    for (unsigned seed = 0; seed < 300; seed++) {
        send_noise(port, SOCK_STREAM, seed);
        send_noise(world.beacons, SOCK_DGRAM, seed);
    }
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    must_be(server_count(to), 1);
    must(resident_kib(peer.pid) - before < 32 << 10);
    return unused;
}

TEST(noise_on_the_ports_does_no_harm) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(make_noise);
    child_end(peer);
    world_end();
}

// ---- the end ----

static double ended_at;

static ac_value talk_and_end(ac_value unused) {
    must_be(ac_deliver(find("server"), 0, ac_after(PATIENCE_S)), 1);
    ended_at = seconds();
    return unused;
}

TEST(the_end_of_the_network_takes_no_time) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(talk_and_end);
    must(seconds() - ended_at < 4); // not the time that one who is silent is given
    child_end(peer);
    world_end();
}

static ac_value end_beside_frozen(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    child_freeze(peer);
    while (ac_try_send(to, "of which it will take no notice") == 0)
        continue;
    ended_at = seconds();
    return unused;
}

TEST(a_frozen_peer_holds_up_the_end_for_five_seconds_at_the_most) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(end_beside_frozen);
    must(seconds() - ended_at < PATIENCE_S);
    child_thaw(peer);
    child_end(peer);
    world_end();
}

// ---- many at once ----

static ac_value send_and_end(ac_value unused) {
    must_be(ac_send(find("gatherer"), (int)getpid()), 0);
    return unused;
}

enum { PEERS = 6 };

static ac_value gather(ac_value unused) {
    must_be(ac_register(ac_self(), "gatherer"), 0);
    for (int i = 0; i < PEERS; i++)
        must_be(ac_kind_of(next_message()), AC_INT);
    return unused;
}

TEST(all_of_many_peers_are_met_heard_and_let_go) {
    struct child all[PEERS];
    world_begin();
    for (int i = 0; i < PEERS; i++)
        all[i] = child(send_and_end);
    run(gather);
    for (int i = 0; i < PEERS; i++)
        child_end(all[i]);
    world_end();
}

// ---- references that go round ----

static ac_value pass_on(ac_value unused) {
    // Gets [whom, what] and sends it there, to a process that it need not have spoken with.
    must_be(ac_register(ac_self(), "postman"), 0);
    say();
    ac_value message = next_message(), what;
    ac_ref whom;
    must_be(ac_unpack(message, &whom, &what), 0);
    must_be(ac_deliver(whom, what, ac_after(PATIENCE_S)), 1);
    ac_drop(message);
    return until_the_end(unused);
}

static ac_value send_round(ac_value unused) {
    ac_ref postman = find("postman"), to = find("server");
    must_be(ac_send(postman, ac_list(to, ac_list("echo", ac_self(), "round"))), 0);
    ac_value message = next_message();
    must(strcmp(ac_text_of(message), "round") == 0);
    ac_drop(message);
    return unused;
}

TEST(a_reference_works_wherever_it_is_sent) {
    world_begin();
    peer = child(serving);
    struct child postman = child(pass_on);
    hear(peer);
    hear(postman);
    run(send_round);
    child_end(postman);
    child_end(peer);
    world_end();
}

// ---- keys ----

static void replace_keys(const struct key_ring *before, const struct key_ring *after) {
    char text[256];
    must_be(key_replace(world.key_file, before, after, text), 0);
}

// Sends numbers for longer than it takes both processes to look at the file.
static long send_numbers(ac_ref to, long from) {
    ac_time until = ac_after(3);
    while (ac_now() < until) {
        for (int i = 0; i < 100; i++)
            must_be(ac_send(to, from++), 0);
        must_be(ac_sleep(0.001), 0);
    }
    return from;
}

static ac_value rotate_keys(ac_value unused) {
    ac_ref server = find("server");
    struct key_ring first, both = {.count = 2}, last = {.count = 1};
    char text[256];
    must_be(ac_monitor(server), 0);
    must_be(key_load(world.key_file, &first, text), 0);
    must_be(key_draw(both.keys[0]), 0);
    memcpy(both.keys[1], first.keys[0], KEY_BYTES);
    memcpy(last.keys[0], both.keys[0], KEY_BYTES);
    replace_keys(&first, &both);
    long sent = send_numbers(server, 0);
    replace_keys(&both, &last);
    sent = send_numbers(server, sent);
    struct key_ring now;
    must_be(remote_keys(loop_here, &now), 0);
    must(memcmp(&now, &last, sizeof now) == 0);
    must_be(server_count(server), sent); // in order, each once; and no notice came
    return unused;
}

TEST(keys_are_rotated_between_processes_that_talk, .seconds_max = 120) {
    world_begin();
    struct child other = child(serving);
    hear(other);
    run(rotate_keys);
    child_end(other);
    world_end();
}
