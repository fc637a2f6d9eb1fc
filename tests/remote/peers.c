// SPDX-License-Identifier: MIT
// Tests of src/remote/peers.c: finding each other with nothing configured, reaching a peer by its
// address, and what is told of peers.
#include "world.h"

static struct child peer;

// Ends as soon as somebody is seen; tells the test when.
static ac_value see_somebody(ac_value unused) {
    struct ac_peer_info info;
    double end = seconds() + PATIENCE_S;
    while (ac_peers(&info, 1) < 1)
        must(ac_sleep(0.005) == 0 && seconds() < end);
    say();
    return until_the_end(unused);
}

static ac_value say_and_see(ac_value unused) {
    say();
    return see_somebody(unused);
}

static ac_value wait_for_peer(ac_value unused) {
    struct ac_peer_info info;
    double begin = seconds();
    while (ac_peers(&info, 1) < 1)
        must(ac_sleep(0.005) == 0 && seconds() < begin + PATIENCE_S);
    must(info.id != ac_self().peer);
    must(info.address[0] != '\0');
    hear(peer); // it sees us as well
    return unused;
}

static const struct ac_network_options nothing = {.size = sizeof nothing};

TEST(two_programs_find_each_other_when_the_other_was_first) {
    world_begin();
    peer = child_with(say_and_see, &nothing);
    hear(peer);
    run_with(wait_for_peer, &nothing);
    child_end(peer);
    world_end();
}

static ac_value see_when_told(ac_value unused) {
    must_be(ac_sleep(0), 0);
    return see_somebody(unused);
}

// Starts its network when it is told to.
static ac_value start_when_told(ac_value unused) {
    must(told());
    must_be(ac_network_start_with(&nothing), 0);
    return see_when_told(unused);
}

static ac_value let_peer_start(ac_value unused) {
    must_be(ac_sleep(0.5), 0); // all the beacons that a start sends have been sent
    must_be(ac_peers(NULL, 0), 0);
    tell(peer);
    return wait_for_peer(unused);
}

TEST(two_programs_find_each_other_when_the_other_comes_later) {
    world_begin();
    peer = child_with(start_when_told, NULL);
    run_with(let_peer_start, &nothing);
    child_end(peer);
    world_end();
}

// ---- what is told of peers ----

static ac_value list_peers(ac_value unused) {
    struct ac_peer_info info[2] = {0};
    ac_ref to = find("server");
    char text[64];
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    must_be(ac_peers(NULL, 0), 1);
    must_be(ac_peers(info, 2), 1);
    must_be(info[0].id, to.peer);
    must(info[0].linked);
    must(strcmp(info[0].name, "the \"server\"") == 0);
    must_be(ac_location(to, text), 0);
    must(strcmp(text, info[0].address) == 0);
    must(strncmp(text, "127.0.0.1:", 10) == 0 || strncmp(text, "[::1]:", 6) == 0);
    must(info[0].messages_out >= 2 && info[0].bytes_out > 0); // the question for it, and this
    must(info[0].messages_in >= 2 && info[0].bytes_in > 0);   // and the answers
    must_be(info[0].reconnects, 0);
    double end = seconds() + PATIENCE_S;
    while (!(info[0].round_trip_s > 0 && info[0].queued_bytes == 0)) {
        must(ac_sleep(0.005) == 0 && seconds() < end);
        must_be(ac_peers(info, 1), 1);
    }
    must_be(info[1].id, 0);
    must_be(ac_network_address(NULL), -EINVAL);
    must_be(ac_location(to, NULL), -EINVAL);
    must_be(ac_location((ac_ref){1, 2}, text), -EHOSTUNREACH);
    must(text[0] == '\0');
    must_be(ac_location(ac_no_ref, text), -EHOSTUNREACH);
    return unused;
}

static const struct ac_network_options named = {
    .size = sizeof named, .loopback_only = true, .name = "the \"server\""};

TEST(peers_are_listed_with_name_and_address) {
    world_begin();
    peer = child_with(serving, &named);
    hear(peer);
    run(list_peers);
    child_end(peer);
    world_end();
}

static ac_value ask_without_network(ac_value unused) {
    char text[64] = "text";
    must_be(ac_peer("127.0.0.1:1", AC_FOREVER), -ENOTCONN);
    must_be(ac_peers(NULL, 0), -ENOTCONN);
    must_be(ac_network_address(text), -ENOTCONN);
    must(text[0] == '\0');
    must_be(ac_location((ac_ref){1, 2}, text), -EHOSTUNREACH);
    must_be(ac_location(ac_self(), text), 0);
    must(strcmp(text, "here") == 0);
    return unused;
}

TEST(without_network_there_are_no_peers) {
    char text[64];
    must_be(ac_peer("127.0.0.1:1", AC_FOREVER), -EPERM);
    must_be(ac_peers(NULL, 0), -ENOTCONN);
    must_be(ac_location((ac_ref){1, 2}, text), -EHOSTUNREACH);
    run_with(ask_without_network, NULL);
}

// ---- ac_peer ----

static const struct ac_network_options silent = {
    .size = sizeof silent, .loopback_only = true, .no_discovery = true};

static char peer_address[64];

// Tells the test its address, through the file system.
static ac_value serve_at_address(ac_value unused) {
    char address[64], path[256];
    must_be(ac_network_address(address), 0);
    snprintf(path, sizeof path, "%s.address", world.key_file);
    FILE *file = fopen(path, "w");
    must(file && fprintf(file, "%s", address) > 0 && fclose(file) == 0);
    return serving(unused);
}

static void read_address(void) {
    char path[256];
    snprintf(path, sizeof path, "%s.address", world.key_file);
    FILE *file = fopen(path, "r");
    must(file && fgets(peer_address, sizeof peer_address, file) && fclose(file) == 0);
    unlink(path);
}

static void with_silent_peer(ac_function client) {
    world_begin();
    peer = child_with(serve_at_address, &silent);
    hear(peer);
    read_address();
    run_with(client, &silent);
    child_end(peer);
    world_end();
}

static const char *port_of(const char *address) { return strrchr(address, ':') + 1; }

static ac_value reach_by_address(ac_value unused) {
    ac_ref it;
    char text[128], address[64];
    must_be(ac_locate("server", &it, ac_after(0.3)), -ETIMEDOUT); // nobody knows the other
    must_be(ac_peers(NULL, 0), 0);
    must_be(ac_peer(peer_address, ac_after(PATIENCE_S)), 0);
    must_be(ac_peers(NULL, 0), 1);
    must_be(ac_locate("server", &it, ac_after(PATIENCE_S)), 0);
    must_be(ac_deliver(it, 0, ac_after(PATIENCE_S)), 1);
    // Again, and by other names of the same place.
    must_be(ac_peer(peer_address, ac_after(PATIENCE_S)), 0);
    snprintf(text, sizeof text, "localhost:%s", port_of(peer_address));
    must_be(ac_peer(text, ac_after(PATIENCE_S)), 0);
    snprintf(text, sizeof text, "127.0.0.1:%s", port_of(peer_address));
    must_be(ac_peer(text, ac_after(PATIENCE_S)), 0);
    // Without a port it is the one of the first program of a computer, if that is in this world.
    if (strcmp(port_of(peer_address), "51350") == 0) {
        must_be(ac_peer("localhost", ac_after(PATIENCE_S)), 0);
        must_be(ac_peer("127.0.0.1", ac_after(PATIENCE_S)), 0);
    }
    must_be(ac_peers(NULL, 0), 1);
    // Oneself is nobody to talk to, but is no harm.
    must_be(ac_network_address(address), 0);
    (void)!ac_peer(address, ac_after(1));
    must_be(ac_peers(NULL, 0), 1);
    return unused;
}

TEST(without_beacons_a_peer_is_reached_by_its_address) { with_silent_peer(reach_by_address); }

// A port of this computer at which nobody listens, or (listening) nobody answers.
static int some_port(char text[64], bool listening) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    must_be(bind(fd, (struct sockaddr *)&address, bytes), 0);
    must_be(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    if (listening)
        must_be(listen(fd, 5), 0);
    snprintf(text, 64, "127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

static ac_value reach_nobody(ac_value unused) {
    char text[64];
    int fd = some_port(text, false);
    must_be(ac_peer(text, ac_after(PATIENCE_S)), -ECONNREFUSED);
    close(fd);
    fd = some_port(text, true);
    double begin = seconds();
    must_be(ac_peer(text, ac_after(0.5)), -ETIMEDOUT);
    must(seconds() - begin >= 0.5);
    close(fd);
    int err = ac_peer("192.0.2.1:51350", ac_after(0.5)); // an address that nobody may have
    must(err < 0 && err != -ECANCELED);
    err = ac_peer("no-such-host.invalid", ac_after(PATIENCE_S));
    must_be(err, -ENOENT);
    must_be(ac_peer(peer_address, AC_NOW), -ETIMEDOUT);
    must_be(ac_peer(NULL, AC_NOW), -EINVAL);
    must_be(ac_peer("", ac_after(1)), -EINVAL);
    must_be(ac_peer("127.0.0.1:99999", ac_after(1)), -EINVAL);
    must_be(ac_peers(NULL, 0), 0);
    return unused;
}

TEST(who_does_not_answer_is_no_peer) { with_silent_peer(reach_nobody); }

static int reach_result;

static ac_value reach_for_ever(ac_value text) {
    reach_result = ac_peer(ac_text_of(text), AC_FOREVER);
    return ac_nil;
}

static ac_value cancel_reach(ac_value unused) {
    char text[64];
    int fd = some_port(text, true);
    ac_ref it = ac_spawn(reach_for_ever, text, .joinable = true, .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.05), 0);
    must_be(ac_cancel(it), 0);
    must_be(ac_join(it, NULL, ac_after(PATIENCE_S)), 0);
    must_be(reach_result, -ECANCELED);
    close(fd);
    return unused;
}

TEST(reaching_can_be_cancelled) { with_silent_peer(cancel_reach); }

// ---- another key ----

static char other_key[200];

static ac_value reach_with_other_key(ac_value unused) {
    ac_ref it;
    char text[128];
    must_be(ac_peer(peer_address, ac_after(PATIENCE_S)), -EACCES);
    snprintf(text, sizeof text, "localhost:%s", port_of(peer_address));
    must_be(ac_peer(text, ac_after(PATIENCE_S)),
            -EACCES); // although nobody listens at another of its addresses
    must_be(ac_peers(NULL, 0), 0);
    must_be(ac_locate("server", &it, ac_after(0.3)), -ETIMEDOUT);
    return unused;
}

TEST(a_process_with_another_key_gets_nothing) {
    world_begin();
    peer = child_with(serve_at_address, &near); // whose beacons are heard, and count for nothing
    hear(peer);
    read_address();
    snprintf(other_key, sizeof other_key, "%s.other", world.key_file);
    struct ac_network_options other = near;
    other.key_file = other_key;
    run_with(reach_with_other_key, &other);
    unlink(other_key);
    child_end(peer);
    world_end();
}
