// SPDX-License-Identifier: MIT
// Tests of src/remote/rights.c: what is refused to whom, what they are told, and what is counted.
#include "io/certificates.h"
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

static const struct ac_rights_rule nothing[] = {{.may = 0}};
static const struct ac_rights_rule locating[] = {{.from = "10.0.0.0/8", .may = AC_MAY_ALL},
                                                 {.from = "127.0.0.0/8", .may = AC_MAY_LOCATE},
                                                 {.from = "::1", .may = AC_MAY_LOCATE},
                                                 {.may = 0}};

static void with_server(ac_function served, const struct ac_rights_rule *rules, size_t count,
                        ac_function client) {
    world_begin();
    const struct ac_network_options options = {
        .size = sizeof options, .loopback_only = true, .rights = rules, .rights_count = count};
    peer = child_with(served, &options);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

// Once somebody has asked in vain, and may not be told anything, says how often he was refused.
static ac_value counts_refusals(ac_value unused) {
    ac_spawn(server, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    while (told()) {
        must(ac_refusals(AC_MAY_LOCATE) > 0 || ac_refusals(AC_MAY_SEND) > 0);
        say();
    }
    return unused;
}

static uint64_t only_peer(void) {
    struct ac_peer_info info;
    while (ac_peers(&info, 1) < 1)
        must_be(ac_sleep(0.002), 0);
    return info.id;
}

static ac_value locate_in_vain(ac_value unused) {
    ac_ref it;
    uint64_t id = only_peer();
    must_be(ac_locate("server", &it, ac_after(1)), -EACCES);
    must_be(ac_locate("server", &it, AC_NOW), -ETIMEDOUT); // nothing is known by then
    must_be(ac_peer_rights(id), AC_MAY_ALL);               // here it may
    tell(peer);
    hear(peer);
    return unused;
}

TEST(who_may_nothing_finds_no_name) { with_server(counts_refusals, nothing, 1, locate_in_vain); }

// What the peer says of rights on its link comes before all else, so it is known when the name is.
static ac_value only_locate(ac_value unused) {
    ac_ref to = find("server"), channel = {to.peer, ref_id(REF_CHANNEL, 0, 0, 1)};
    must_be(ac_send(to, 0), -EACCES);
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), -EACCES);
    must_be(ac_channel_subscribe(channel, ac_self()), -EACCES);
    ac_value answer;
    must_be(ac_call(to, 1, &answer, ac_after(PATIENCE_S)), -EACCES);
    must_be(ac_monitor(to), 0);
    struct ac_exit exit = next_exit();
    must_be(exit.how, AC_LOST);
    must_be(exit.reason, -EACCES);
    must(ac_ref_equal(exit.who, to));
    must(!remote_lets_us(loop_here, to.peer, AC_MAY_SHIP));
    must(remote_lets_us(loop_here, to.peer, AC_MAY_LOCATE));
    uint8_t frame[32]; // the check is there, not here
    size_t bytes = cbor_put_head(frame, 0, to.id);
    frame[bytes++] = 1;
    throw_frame_at_last(to, FRAME_SEND, frame, bytes);
    tell(peer);
    hear(peer);
    return unused;
}

static ac_value takes_nothing(ac_value unused) {
    (void)unused;
    ac_value message;
    must_be(ac_register(ac_self(), "server"), 0);
    say();
    must_be(ac_receive(&message, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value refuses_messages(ac_value unused) {
    ac_spawn(takes_nothing, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    while (told()) {
        while (ac_refusals(AC_MAY_SEND) < 4) // deliver, subscribe, monitor, and the frame
            must_be(ac_sleep(0.002), 0);
        must_be(ac_refusals(AC_MAY_LOCATE), 0);
        say();
    }
    return unused;
}

TEST(who_may_locate_alone_sends_nothing) {
    with_server(refuses_messages, locating, countof(locating), only_locate);
}

// ---- changed while it runs ----

static ac_value changes_its_mind(ac_value unused) {
    ac_spawn(server, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    uint64_t id = only_peer();
    must_be(told(), true);
    must_be(ac_peer_rights(id), AC_MAY_ALL);
    must_be(ac_set_peer_rights(id, AC_MAY_LOCATE), 0);
    must_be(ac_peer_rights(id), AC_MAY_LOCATE);
    must_be(remote_may(loop_here, id, AC_MAY_SHIP), -EACCES);
    must_be(remote_may(loop_here, id, AC_MAY_LOCATE), 0);
    must_be(ac_refusals(AC_MAY_SHIP), 1);
    say();
    must_be(told(), true);
    must_be(ac_set_peer_rights(id, AC_MAY_ALL), 0);
    say();
    return until_the_end(unused);
}

static ac_value feel_it(ac_value unused) {
    ac_ref to = find("server");
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    tell(peer);
    hear(peer);
    must_be(ac_deliver(to, 1, ac_after(PATIENCE_S)), -EACCES);
    must_be(ac_send(to, 1), -EACCES);
    tell(peer);
    hear(peer);
    must_be(ac_deliver(to, 1, ac_after(PATIENCE_S)), 1);
    must_be(ac_send(to, 2), 0);
    must_be(server_count(to), 3);
    return unused;
}

TEST(rights_can_be_changed) { with_server(changes_its_mind, NULL, 0, feel_it); }

// ---- guards ----

static const struct ac_rights_rule no_code[] = {{.may = AC_MAY_ALL & ~AC_MAY_SHIP}};

static ac_value guarded(ac_value unused) {
    (void)unused;
    must_be(remote_guard(loop_here, ac_self(), AC_MAY_SHIP), 0);
    must_be(remote_guard(loop_here, ac_self(), AC_MAY_SHIP), 0);
    must_be(ac_register(ac_self(), "guarded"), 0);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        must_be(ac_int_of(message), 7); // from here, or once it is guarded no more
        remote_unguard(loop_here, ac_self());
        say();
    }
    return ac_nil;
}

static ac_value has_a_guard(ac_value unused) {
    ac_ref it = ac_spawn(guarded, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    ac_spawn(server, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    must(told());
    must_be(ac_refusals(AC_MAY_SHIP), 1);
    must_be(ac_send(it, 7), 0);
    return until_the_end(unused);
}

static ac_value meet_the_guard(ac_value unused) {
    ac_ref it = find("guarded");
    must_be(ac_deliver(it, 8, ac_after(PATIENCE_S)), -EACCES);
    must_be(ac_deliver(find("server"), 0, ac_after(PATIENCE_S)), 1);
    tell(peer);
    hear(peer);
    must_be(ac_deliver(it, 7, ac_after(PATIENCE_S)), 1);
    hear(peer);
    return unused;
}

TEST(a_guarded_receiver_takes_from_those_alone_that_have_the_right) {
    with_server(has_a_guard, no_code, 1, meet_the_guard);
}

// ---- what is no right ----

static ac_value odd(ac_value unused) {
    must_be(ac_set_peer_rights(7, AC_MAY_ALL), -EHOSTUNREACH);
    must_be(ac_peer_rights(7), -EHOSTUNREACH);
    must_be(ac_refusals(AC_MAY_ALL), 0);
    must_be(ac_refusals((enum ac_right)64), 0);
    return unused;
}

TEST(odd_questions_have_answers) {
    world_begin();
    run(odd);
    world_end();
}

TEST(a_rule_that_names_no_network_is_refused) {
    world_begin();
    const struct ac_rights_rule rules[] = {{.from = "10.0.0.1/8", .may = AC_MAY_ALL}};
    must_be(ac_network_start(.loopback_only = true, .rights = rules, .rights_count = 1), -EINVAL);
    must(strstr(ac_network_error(), "rights") != NULL);
    must_be(ac_network_start(.loopback_only = true, .rights_count = 1), -EINVAL);
    must_be(ac_network_start(.loopback_only = true, .rights = rules, .rights_count = 2000),
            -EINVAL);
    must_be(ac_set_peer_rights(7, AC_MAY_ALL), -ENOTCONN);
    must_be(ac_peer_rights(7), -ENOTCONN);
    must_be(ac_run(), 0);
    world_end();
}

// ---- by certificate ----

static const struct ac_rights_rule by_name[] = {
    {.certificate = "carol.lab.example", .may = 0},
    {.certificate = "nobody.example, bob.lab.example", .may = AC_MAY_LOCATE},
    {.may = AC_MAY_ALL},
};

static ac_value may_locate_only(ac_value unused) {
    struct ac_peer_info info;
    ac_ref it = find("server");
    must_be(ac_deliver(it, 1, ac_after(PATIENCE_S)), -EACCES);
    must_be(ac_peers(&info, 1), 1);
    must(strcmp(info.certificate, "alice.lab.example") == 0);
    return unused;
}

// They find each other by beacons under a key, which gives no right to anything.
TEST(rights_go_by_the_name_in_the_certificate) {
    certificates_begin("ca");
    certificates_add("alice", "DNS:alice.lab.example", "ca", 2);
    certificates_add("bob", "DNS:bob.lab.example", "ca", 2);
    world_begin();
    const struct ac_network_options alice = {.size = sizeof alice,
                                             .loopback_only = true,
                                             .key_file = world.key_file,
                                             .certificate = "alice.pem",
                                             .certificate_key = "alice.key",
                                             .authority = "ca.pem",
                                             .rights = by_name,
                                             .rights_count = countof(by_name)};
    struct ac_network_options bob = alice;
    bob.certificate = "bob.pem";
    bob.certificate_key = "bob.key";
    bob.rights = NULL;
    bob.rights_count = 0;
    peer = child_with(serving, &alice);
    hear(peer);
    run_with(may_locate_only, &bob);
    child_end(peer);
    world_end();
    certificates_end();
}
