// SPDX-License-Identifier: MIT
// Tests of src/remote/presence.c: coroutines that watch peers come and go, and are told of each
// change exactly once.
#include "world.h"

static struct child peer;

// The next message, which must tell of a peer.
static struct ac_peer_change next_change(void) {
    struct ac_peer_change change;
    ac_value message = next_message();
    must(ac_peer_change_of(message, &change));
    ac_drop(message);
    return change;
}

static void nothing_comes(double for_seconds) {
    ac_value message;
    must_be(ac_receive(&message, ac_after(for_seconds)), -ETIMEDOUT);
}

static const struct ac_network_options named = {
    .size = sizeof named, .loopback_only = true, .name = "the watched"};

// ---- one peer comes, is linked, and goes ----

// Starts its network when it is told to.
static ac_value serve_when_told(ac_value unused) {
    must(told());
    must_be(ac_network_start_with(&named), 0);
    return serving(unused);
}

static ac_value watch_one(ac_value unused) {
    struct ac_exit exit;
    must_be(ac_peers_watch(), 0);
    must_be(ac_peers_watch(), -EALREADY);
    tell(peer);
    struct ac_peer_change change = next_change();
    must(change.came && change.reason == 0 && change.peer.id != ac_self().peer);
    must(strncmp(change.peer.address, "127.0.0.1:", 10) == 0);
    uint64_t id = change.peer.id;
    ac_ref to = find("server"); // links
    must_be(to.peer, id);
    must_be(ac_monitor(to), 0);
    nothing_comes(0.5); // the link and further beacons are no news
    child_end(peer);
    // Of the two notices for the end of the process either may be first.
    for (int changes = 0, exits = 0; changes + exits < 2;) {
        ac_value message = next_message();
        if (ac_peer_change_of(message, &change)) {
            must(!change.came && change.peer.id == id && ++changes == 1);
            must_be(change.reason, -ECONNRESET);
            must(!change.peer.linked && change.peer.address[0]);
        } else {
            must(ac_exit_of(message, &exit) && ++exits == 1);
        }
        ac_drop(message);
    }
    nothing_comes(0.3);
    return unused;
}

TEST(who_watches_is_told_once_of_each_change) {
    world_begin();
    peer = child_with(serve_when_told, NULL);
    run(watch_one);
    world_end();
}

// ---- who is there already; who is killed; who comes again ----

static ac_value watch_those_known(ac_value unused) {
    find("server");
    must_be(ac_peers(NULL, 0), 1);
    must_be(ac_peers_watch(), 0);
    struct ac_peer_change first = next_change();
    must(first.came && first.peer.linked);
    must(strcmp(first.peer.name, "the watched") == 0);
    child_kill(peer);
    struct ac_peer_change second = next_change();
    must(!second.came && second.peer.id == first.peer.id);
    must(strcmp(second.peer.name, "the watched") == 0);
    must_be(second.reason, -ECONNRESET);
    must_be(ac_peers_unwatch(), 0);
    must_be(ac_peers_unwatch(), -ENOENT);
    return unused;
}

TEST(who_is_there_already_is_told_first_and_a_killed_one_is_lost) {
    world_begin();
    peer = child_with(serving, &named);
    hear(peer);
    run(watch_those_known);
    world_end();
}

static ac_value watch_many(ac_value unused) {
    must_be(ac_peers_watch(), 0);
    for (int i = 0; i < 5; i++) {
        tell(peer); // it forks nobody: the same loop begins anew, as another peer
        struct ac_peer_change came = next_change();
        must(came.came);
        find("server");
        tell(peer);
        struct ac_peer_change went = next_change();
        must(!went.came && went.peer.id == came.peer.id);
    }
    nothing_comes(0.2);
    return unused;
}

static ac_value serve_until_told(ac_value unused) {
    must(ac_ref_is(ac_spawn(server, ac_nil, .daemon = true, .stack_bytes = TEST_STACK)));
    must(told());
    return unused;
}

static ac_value wait_for_order(ac_value unused) {
    must(told());
    return unused;
}

// Comes and goes five times, each time with a new loop.
static ac_value come_and_go(ac_value unused) {
    run_with(wait_for_order, NULL);
    run_with(serve_until_told, &named);
    return unused;
}

static struct child coming_and_going(void) {
    int to[2], from[2];
    must_be(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid > 0) {
        close(to[0]);
        close(from[1]);
        return (struct child){pid, to[1], from[0]};
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(to[1]);
    world.child = true;
    world.orders = to[0];
    world.answers = from[1];
    for (int i = 0; i < 5; i++)
        (void)come_and_go(ac_nil);
    exit(EXIT_SUCCESS);
}

TEST(peers_that_come_and_go_are_told_in_turn) {
    world_begin();
    peer = coming_and_going();
    run(watch_many);
    child_end(peer);
    world_end();
}

// ---- from another loop, and to several ----

static ac_value watch_from_there(ac_value unused) {
    must_be(ac_peers_watch(), 0);
    must_be(ac_peers_watch(), -EALREADY);
    tell(peer);
    struct ac_peer_change change = next_change();
    must(change.came);
    find("server");
    child_end(peer);
    change = next_change();
    must(!change.came);
    must_be(ac_peers_unwatch(), 0);
    must_be(ac_peers_unwatch(), -ENOENT);
    must_be(ac_peers_watch(), 0); // ends with the coroutine
    return unused;
}

static ac_value spawn_there(ac_value unused) {
    must(ac_ref_is(ac_spawn(watch_from_there, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return unused;
}

TEST(a_coroutine_of_another_loop_watches_as_well) {
    world_begin();
    peer = child_with(serve_when_told, NULL);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(spawn_there, ac_nil)));
    must_be(ac_run(.loops = 2), 0);
    world_end();
}

// ---- what is no such message, and where it cannot be had ----

static ac_value watch_without_network(ac_value unused) {
    struct ac_peer_change change;
    must_be(ac_peers_watch(), -ENOTCONN);
    must_be(ac_peers_unwatch(), -ENOTCONN);
    must(!ac_peer_change_of(ac_nil, &change));
    ac_value list = ac_list("peer", 1, true, 0, true, "name", "address");
    must(!ac_peer_change_of(list, &change));
    ac_drop(list);
    return unused;
}

TEST(without_network_nobody_is_watched) {
    must_be(ac_peers_watch(), -EPERM);
    run_with(watch_without_network, NULL);
}
