// SPDX-License-Identifier: MIT
// Tests of src/remote/seek.c: peers that are named in the options, in variables and in files; and
// of closing a peer for good.
#include "world.h"

static struct child peer;
static char peer_address[64];

static const struct ac_network_options silent = {
    .size = sizeof silent, .loopback_only = true, .no_discovery = true, .name = "the sought"};

// Tells the test its address, through the file system.
static ac_value serve_at_address(ac_value unused) {
    char address[64], path[256];
    must_be(ac_network_address(address), 0);
    snprintf(path, sizeof path, "%s.address", world.key_file);
    FILE *file = fopen(path, "w");
    must(file && fprintf(file, "%s", address) > 0 && fclose(file) == 0);
    return serving(unused);
}

static void start_peer(void) {
    char path[256];
    world_begin();
    peer = child_with(serve_at_address, &silent);
    hear(peer);
    snprintf(path, sizeof path, "%s.address", world.key_file);
    FILE *file = fopen(path, "r");
    must(file && fgets(peer_address, sizeof peer_address, file) && fclose(file) == 0);
    unlink(path);
}

static void end_peer(void) {
    child_end(peer);
    world_end();
}

static ac_value find_it(ac_value unused) {
    (void)find("server");
    return unused;
}

TEST(a_peer_named_in_the_options_is_found) {
    char peers[128];
    start_peer();
    snprintf(peers, sizeof peers, "127.0.0.1:1, %s", peer_address); // nobody is at the first
    struct ac_network_options options = silent;
    options.peers = peers;
    run_with(find_it, &options);
    end_peer();
}

TEST(a_peer_named_in_a_variable_is_found) {
    start_peer();
    setenv("ASYNCORO_PEERS", peer_address, 1);
    run_with(find_it, &silent);
    end_peer();
}

// ---- files ----

static char file_path[256];

static void write_file(const char *text) {
    FILE *file = fopen(file_path, "w");
    must(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static ac_value add_it_later(ac_value unused) {
    char text[256];
    ac_ref it;
    must_be(ac_locate("server", &it, ac_after(0.5)), -ETIMEDOUT);
    snprintf(text, sizeof text, "# %s is a comment\n\n# another\n  %s\n", peer_address,
             peer_address);
    write_file(text);
    return find_it(unused);
}

TEST(a_peer_named_in_a_file_is_found_also_when_it_is_added) {
    start_peer();
    snprintf(file_path, sizeof file_path, "%s.peers", world.key_file);
    char text[128];
    snprintf(text, sizeof text, "# %s\n", peer_address);
    write_file(text);
    struct ac_network_options options = silent;
    options.peers_file = file_path;
    run_with(add_it_later, &options);
    unlink(file_path);
    end_peer();
}

// ---- one that comes again ----

// A process at the same port, started when the first is gone.
static struct child next_peer;

static ac_value find_the_next(ac_value unused) {
    struct ac_peer_change change;
    must_be(ac_peers_watch(), 0);
    ac_value message = next_message();
    must(ac_peer_change_of(message, &change) && change.came);
    ac_drop(message);
    uint64_t first = change.peer.id;
    child_kill(peer);
    message = next_message();
    must(ac_peer_change_of(message, &change) && !change.came && change.peer.id == first);
    ac_drop(message);
    tell(next_peer); // to listen there now
    message = next_message();
    must(ac_peer_change_of(message, &change) && change.came && change.peer.id != first);
    ac_drop(message);
    return find_it(unused);
}

static ac_value serve_at_the_same_port(ac_value unused) {
    struct ac_network_options options = silent;
    must(told());
    options.port = (uint16_t)atoi(strrchr(peer_address, ':') + 1);
    int err;
    for (double end = seconds() + PATIENCE_S; (err = ac_network_start_with(&options)) < 0;)
        must(seconds() < end && ac_sleep(0.02) == 0);
    return serving(unused);
}

TEST(a_named_peer_that_is_lost_is_found_when_it_comes_again) {
    start_peer();
    next_peer = child_with(serve_at_the_same_port, NULL);
    struct ac_network_options options = silent;
    options.peers = peer_address;
    run_with(find_the_next, &options);
    child_end(next_peer);
    world_end();
}

// ---- closing ----

static ac_value close_it(ac_value unused) {
    struct ac_exit exit;
    ac_ref to;
    must_be(ac_peer(peer_address, ac_after(PATIENCE_S)), 0);
    to = find("server");
    must_be(ac_monitor(to), 0);
    for (int i = 0; i < 1000; i++)
        must_be(ac_send(to, i), 0);
    must_be(ac_peer_close(to.peer), 0);
    must_be(ac_peer_close(to.peer), -EALREADY);
    must_be(ac_send(to, 1), -EHOSTUNREACH);
    exit = next_exit();
    must(exit.how == AC_LOST && exit.reason == -ENOTCONN);
    must_be(ac_peers(NULL, 0), 0);
    must_be(ac_locate("server", &to, ac_after(0.3)), -ETIMEDOUT);
    must_be(ac_peer_close(to.peer + 1), -EHOSTUNREACH);
    // It is the same process, has lost nothing that was sent before, and comes back when we want
    // it.
    must_be(ac_peer(peer_address, ac_after(PATIENCE_S)), 0);
    to = find("server");
    must_be(server_count(to), 1000);
    return unused;
}

TEST(a_closed_peer_gets_what_was_sent_before_and_comes_back_when_it_is_wanted) {
    start_peer();
    run_with(close_it, &silent);
    end_peer();
}

static ac_value close_from_there(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_peers_watch(), 0);
    must_be(ac_peer_close(to.peer), 0);
    for (int changes = 0; changes < 2; changes++) {
        struct ac_peer_change change;
        ac_value message = next_message();
        must(ac_peer_change_of(message, &change) && change.came == (changes == 0));
        must_be(change.reason, changes == 0 ? 0 : -ENOTCONN);
        ac_drop(message);
    }
    return unused;
}

static ac_value spawn_there(ac_value unused) {
    must(ac_ref_is(ac_spawn(close_from_there, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return unused;
}

TEST(another_loop_closes_a_peer_as_well_and_beacons_do_not_bring_it_back) {
    world_begin();
    peer = child_with(serving, &near);
    hear(peer);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(spawn_there, ac_nil)));
    must_be(ac_run(.loops = 2), 0);
    child_end(peer);
    world_end();
}

static ac_value nothing(ac_value unused) {
    must_be(ac_peer_close(1), -EHOSTUNREACH);
    return unused;
}

TEST(what_is_wrong_with_the_options_is_said) {
    world_begin();
    struct ac_network_options options = silent;
    options.allow = "everybody";
    must_be(ac_network_start_with(&options), -EINVAL);
    must(strstr(ac_network_error(), "everybody") != NULL);
    options.allow = NULL;
    options.advertise = "here";
    options.peers = "127.0.0.1:1";
    must_be(ac_network_start_with(&options), -EINVAL);
    must(strstr(ac_network_error(), "here") != NULL);
    must_be(ac_peer_close(1), -ENOTCONN);
    run_with(nothing, &silent);
    world_end();
}
