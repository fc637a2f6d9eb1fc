// SPDX-License-Identifier: MIT
// Tests of src/remote/names.c: who holds a name, who finds it, when, and how long.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

static void alone(ac_function function) { run_with(function, NULL); }

static void with_peer(ac_function served, ac_function client) {
    world_begin();
    peer = child(served);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

// ---- without network ----

static ac_value waits(ac_value unused) {
    (void)unused;
    ac_value message;
    if (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return ac_nil;
}

static ac_value name_here(ac_value unused) {
    ac_ref it = ac_no_ref;
    double begin = seconds();
    must_be(ac_locate("me", &it, AC_NOW), -ETIMEDOUT);
    must_be(ac_locate("me", &it, ac_after(0.1)), -ETIMEDOUT);
    must(seconds() - begin >= 0.1);
    must_be(ac_register(ac_self(), "me"), 0);
    must_be(ac_register(ac_self(), "myself"), 0);
    must_be(ac_locate("me", &it, AC_NOW), 0);
    must(ac_ref_equal(it, ac_self()));
    must_be(ac_unregister("me"), 0);
    must_be(ac_unregister("me"), -ENOENT);
    must_be(ac_locate("me", &it, AC_NOW), -ETIMEDOUT);
    must_be(ac_locate("myself", &it, AC_NOW), 0);
    return unused;
}

TEST(names_work_within_one_process) { alone(name_here); }

static ac_value register_later(ac_value name) {
    must_be(ac_register(ac_self(), ac_text_of(name)), 0);
    return waits(ac_nil);
}

static ac_value wait_here(ac_value unused) {
    ac_ref it, later = ac_spawn(register_later, "later");
    must_be(ac_locate("later", &it, ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(it, later));
    must_be(ac_send(later, "end"), 0);
    return unused;
}

TEST(a_name_given_later_here_is_found) { alone(wait_here); }

static ac_value register_badly(ac_value unused) {
    char name[300];
    memset(name, 'x', sizeof name);
    name[256] = '\0';
    must_be(ac_register(ac_self(), ""), -EINVAL);
    must_be(ac_register(ac_self(), NULL), -EINVAL);
    must_be(ac_register(ac_self(), name), -EINVAL);
    ac_ref it;
    must_be(ac_locate("", &it, AC_NOW), -EINVAL);
    must_be(ac_locate(name, &it, AC_NOW), -EINVAL);
    name[255] = '\0';
    must_be(ac_register(ac_self(), name), 0);
    must_be(ac_register(ac_self(), name), -EEXIST);
    ac_ref ended = ac_spawn(waits, ac_nil);
    must_be(ac_register(ended, name), -EEXIST);
    must_be(ac_cancel(ended), 0);
    (void)!ac_join(ended, NULL, ac_after(PATIENCE_S));
    must_be(ac_register(ended, "ended"), -ESRCH);
    must_be(ac_register(ac_no_ref, "none"), -ENOTSUP);
    must_be(ac_register((ac_ref){ac_self().peer ^ 1, ac_self().id}, "far"), -ENOTSUP);
    ac_ref channel = ac_channel_open(NULL);
    must_be(ac_channel_close(channel), 0);
    must_be(ac_register(channel, "closed"), -ESRCH);
    must_be(ac_unregister("nobody"), -ENOENT);
    must_be(ac_unregister(NULL), -ENOENT);
    return unused;
}

TEST(what_cannot_be_registered_is_refused) { alone(register_badly); }

TEST(outside_coroutines_names_can_be_given_and_not_located) {
    ac_ref it, holder = ac_spawn(waits, ac_nil, .daemon = true);
    must_be(ac_register(holder, "daemon"), 0);
    must_be(ac_locate("daemon", &it, AC_NOW), -EPERM);
    must_be(ac_unregister("daemon"), 0);
    must_be(ac_register(holder, "daemon"), 0);
    must_be(ac_run(), 0);
}

static ac_value free_names(ac_value unused) {
    ac_ref it, holder = ac_spawn(waits, ac_nil, .joinable = true),
               channel = ac_channel_open("news");
    must_be(ac_register(holder, "a"), 0);
    must_be(ac_register(holder, "b"), 0);
    must_be(ac_register(channel, "c"), 0);
    must_be(ac_locate("c", &it, AC_NOW), 0);
    must(ac_ref_equal(it, channel));
    must_be(ac_channel_close(channel), 0);
    must_be(ac_cancel(holder), 0);
    must_be(ac_join(holder, NULL, ac_after(PATIENCE_S)), 0);
    const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        must_be(ac_locate(names[i], &it, AC_NOW), -ETIMEDOUT);
        must_be(ac_register(ac_self(), names[i]), 0);
    }
    // A channel that the loop closes has a name until then.
    must_be(ac_register(ac_channel_open(NULL), "d"), 0);
    return unused;
}

TEST(a_name_goes_with_its_holder) { alone(free_names); }

static ac_value locate_for_ever(ac_value unused) {
    ac_ref it;
    (void)unused;
    must_be(ac_locate("never", &it, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_locate(ac_value unused) {
    ac_ref it = ac_spawn(locate_for_ever, ac_nil, .joinable = true);
    must_be(ac_yield(), 0);
    must_be(ac_cancel(it), 0);
    must_be(ac_join(it, NULL, ac_after(PATIENCE_S)), 0);
    must_be(map_count(&remote_of(loop_here)->queries), 0);
    return unused;
}

TEST(a_locate_can_be_cancelled) { alone(cancel_locate); }

static ac_value without_memory(ac_value unused) {
    ac_ref it;
    bool failed = true;
    for (int n = 1; failed; n++) {
        char name[32];
        snprintf(name, sizeof name, "a name of more than %d", n);
        memory_fail_nth(n);
        int err = ac_register(ac_self(), name);
        failed = memory_has_failed();
        memory_fail_nth(0);
        must_be(err, failed ? -ENOMEM : 0);
        must_be(ac_locate(name, &it, AC_NOW), failed ? -ETIMEDOUT : 0);
        must_be(ac_unregister(name), failed ? -ENOENT : 0);
    }
    failed = true;
    for (int n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_locate("nobody", &it, ac_after(0.01));
        failed = memory_has_failed();
        memory_fail_nth(0);
        must_be(err, failed ? -ENOMEM : -ETIMEDOUT);
    }
    return unused;
}

TEST(without_memory_names_are_refused) { alone(without_memory); }

static ac_value far_without_memory(ac_value unused) {
    ac_ref to = find("server"), it;
    bool failed = true;
    for (int n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_locate("server", &it, ac_after(0.1));
        failed = memory_has_failed();
        memory_fail_nth(0);
        // The answer may be what there was no memory for.
        must(err == 0 || (failed && (err == -ENOMEM || err == -ETIMEDOUT)));
        must(ac_ref_equal(find("server"), to));
    }
    failed = true;
    for (int n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_monitor(to);
        failed = memory_has_failed();
        memory_fail_nth(0);
        must_be(err, failed && err < 0 ? -ENOMEM : 0);
    }
    failed = true;
    for (int n = 1; failed; n++) {
        ac_value message = ac_list("echo", ac_self(), n);
        memory_fail_nth(n);
        int err = ac_send(to, message);
        failed = memory_has_failed();
        memory_fail_nth(0);
        must_be(err, failed && err < 0 ? -ENOMEM : 0);
        if (err == 0)
            must_be(ac_int_of(next_message()), n);
    }
    return unused;
}

TEST(without_memory_what_goes_far_fails_or_arrives) { with_peer(serving, far_without_memory); }

// ---- between processes ----

static ac_value locate_server(ac_value unused) {
    ac_ref it = find("server");
    char text[64], address[64];
    must(it.peer != ac_self().peer);
    must_be(ac_location(it, text), 0);
    must_be(ac_network_address(address), 0);
    must(text[0] && strcmp(text, address) != 0);
    must_be(ac_location(ac_self(), text), 0);
    must(strcmp(text, "here") == 0);
    must_be(ac_deliver(it, 0, ac_after(PATIENCE_S)), 1);
    // A name here goes before others.
    must_be(ac_register(ac_self(), "server"), 0);
    must(ac_ref_equal(find("server"), ac_self()));
    must_be(ac_unregister("server"), 0);
    must(ac_ref_equal(find("server"), it));
    double begin = seconds();
    must_be(ac_locate("nobody", &it, ac_after(0.3)), -ETIMEDOUT);
    must(seconds() - begin >= 0.3);
    must_be(map_count(&remote_of(loop_here)->queries), 0);
    return unused;
}

TEST(a_name_is_found_in_another_process) { with_peer(serving, locate_server); }

enum { CLIENTS = 5, COROUTINES = 10, EACH = 3 };

static ac_value send_some(ac_value arguments) {
    ac_ref to;
    int client, coroutine;
    must_be(ac_unpack(arguments, &to, &client, &coroutine), 0);
    for (int i = 0; i < EACH; i++)
        must_be(ac_send(to, ac_list(client, coroutine, i)), 0);
    return ac_nil;
}

static ac_value clients(ac_value unused) {
    ac_ref to = find("processor");
    int client = (int)getpid();
    for (int i = 0; i < COROUTINES; i++)
        ac_spawn(send_some, ac_list(to, client, i), .stack_bytes = TEST_STACK);
    return unused;
}

static ac_value process_all(ac_value unused) {
    static int next[CLIENTS][COROUTINES], pids[CLIENTS];
    must_be(ac_register(ac_self(), "processor"), 0);
    for (int n = 0; n < CLIENTS * COROUTINES * EACH; n++) {
        ac_value message = next_message();
        int client, coroutine, i, who = 0;
        must_be(ac_unpack(message, &client, &coroutine, &i), 0);
        ac_drop(message);
        while (pids[who] && pids[who] != client)
            must(++who < CLIENTS);
        pids[who] = client;
        must(coroutine >= 0 && coroutine < COROUTINES);
        must_be(i, next[who][coroutine]++);
    }
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(five_clients_at_once_are_all_heard_in_order) {
    struct child all[CLIENTS];
    world_begin();
    for (int i = 0; i < CLIENTS; i++)
        all[i] = child(clients);
    run(process_all);
    for (int i = 0; i < CLIENTS; i++)
        child_end(all[i]);
    world_end();
}

// Gives a name when it is told to, and takes it back at the next order.
static ac_value names_when_told(ac_value unused) {
    say();
    while (told()) {
        must_be(ac_register(ac_self(), "late"), 0);
        if (!told())
            break;
        must_be(ac_unregister("late"), 0);
        say();
    }
    return unused;
}

static int located;

static ac_value locate_late(ac_value unused) {
    ac_ref it;
    (void)unused;
    must_be(ac_locate("late", &it, ac_after(PATIENCE_S)), 0);
    located++;
    return ac_nil;
}

// What was found here is kept until the news comes that it is right no more.
static void until_unknown(const char *name) {
    ac_ref it;
    int err;
    while ((err = ac_locate(name, &it, AC_NOW)) == 0)
        must_be(ac_sleep(0.002), 0);
    must_be(err, -ETIMEDOUT);
    must_be(map_count(&remote_of(loop_here)->cache), 0);
    must_be(map_count(&remote_of(loop_here)->cached), 0);
}

// Waits until the peer is known and knows what is asked here: it answers in order.
static void until_asked(void) {
    struct ac_peer_info info;
    for (double end = seconds() + PATIENCE_S; ac_peers(&info, 1) < 1 || !info.linked;)
        must(ac_sleep(0.002) == 0 && seconds() < end);
}

static ac_value await_late(ac_value unused) {
    ac_ref it;
    for (int round = 0; round < 3; round++) {
        ac_ref many[3];
        for (int i = 0; i < 3; i++)
            many[i] = ac_spawn(locate_late, ac_nil, .joinable = true, .stack_bytes = TEST_STACK);
        until_asked();
        must_be(located, 3 * round);
        tell(peer);
        for (int i = 0; i < 3; i++)
            must_be(ac_join(many[i], NULL, ac_after(PATIENCE_S)), 0);
        must_be(located, 3 * round + 3);
        tell(peer);
        hear(peer);
        until_unknown("late");
        must_be(ac_locate("late", &it, ac_after(0.1)), -ETIMEDOUT); // no longer
    }
    return unused;
}

TEST(a_name_given_later_is_found_when_it_is_given) { with_peer(names_when_told, await_late); }

static ac_value find_late_peer(ac_value unused) {
    ac_ref it;
    say();
    must_be(ac_locate("here at last", &it, ac_after(PATIENCE_S)), 0);
    return unused;
}

static ac_value appear(ac_value unused) {
    must_be(ac_register(ac_self(), "here at last"), 0);
    return waits(unused); // until the one who looked is gone
}

static ac_value watch_for_end(ac_value holder) {
    int status;
    while (waitpid(peer.pid, &status, WNOHANG) == 0)
        must_be(ac_sleep(0.005), 0);
    must_be(status, 0);
    must_be(ac_send(ac_ref_of(holder), "end"), 0);
    return ac_nil;
}

static ac_value appear_and_see(ac_value unused) {
    ac_spawn(watch_for_end, ac_self(), .stack_bytes = TEST_STACK);
    return appear(unused);
}

TEST(peers_that_appear_while_one_waits_are_asked_too) {
    world_begin();
    peer = child(find_late_peer);
    hear(peer);
    run(appear_and_see);
    world_end();
}

static ac_value locate_dead(ac_value unused) {
    (void)find("server");
    child_kill(peer);
    ac_ref it;
    // Until the loss is known the name is found as before; then nobody holds it, and nothing
    // breaks.
    until_unknown("server");
    must_be(ac_locate("server", &it, ac_after(0.5)), -ETIMEDOUT);
    return unused;
}

TEST(the_names_of_a_dead_process_are_gone) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(locate_dead);
    world_end();
}

// As a program with many coroutines whose time is up before the name is given.
static ac_value ask_and_forget(ac_value unused) {
#ifdef SYS_TSAN
    enum { MANY = 60000, SECONDS_MAX = 60 };
#else
    enum { MANY = 60000, SECONDS_MAX = 6 };
#endif
    ac_ref to = find("server");
    double begin = seconds();
    for (unsigned forget = 0; forget < 2; forget++)
        for (unsigned i = 0; i < MANY; i++) {
            uint8_t frame[64];
            size_t bytes = cbor_put_head(frame, 0, MANY + i);
            if (!forget) {
                char name[16];
                int length = snprintf(name, sizeof name, "name %u", i);
                bytes += cbor_put_head(frame + bytes, 3, (uint64_t)length);
                memcpy(frame + bytes, name, (size_t)length);
                bytes += (size_t)length;
                frame[bytes++] = LOCATE_ONCE;
            }
            throw_frame_at_last(to, forget ? FRAME_FORGET : FRAME_LOCATE, frame, bytes);
        }
    must_be(ac_deliver(to, 0, ac_after(PATIENCE_S)), 1);
    must(seconds() - begin < SECONDS_MAX);
    return unused;
}

TEST(many_who_ask_and_forget_hold_up_nobody) { with_peer(serving, ask_and_forget); }

// ---- channels ----

static ac_value offer_channel(ac_value unused) {
    ac_ref channel = ac_channel_open("news");
    must_be(ac_register(channel, "news"), 0);
    must_be(ac_channel_subscribe(channel, ac_self()), 0);
    say();
    must_be(ac_int_of(next_message()), 42);
    must_be(ac_channel_close(channel), 0);
    say();
    return until_the_end(unused);
}

static ac_value use_channel(ac_value unused) {
    ac_ref news = find("news"), it;
    must_be(ac_deliver(news, 42, ac_after(PATIENCE_S)), 1);
    hear(peer);
    must_be(ac_locate("news", &it, ac_after(0.2)), -ETIMEDOUT);
    must_be(ac_deliver(news, 43, ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_channel_subscribe(news, ac_self()), -ESRCH);
    return unused;
}

TEST(a_channel_is_found_by_name_until_it_is_closed) { with_peer(offer_channel, use_channel); }

// ---- following ----

static ac_value follow(ac_value unused) {
    ac_ref first, second, here = ac_spawn(waits, ac_nil, .daemon = true);
    must_be(remote_follow("late"), 0);
    must_be(ac_register(here, "late"), 0);
    ac_value message = next_message();
    must(remote_holder_of(message, &first));
    must(ac_ref_equal(first, here));
    ac_drop(message);
    tell(peer);
    message = next_message();
    must(remote_holder_of(message, &second));
    must(second.peer != here.peer);
    ac_drop(message);
    // The same holder again is no news.
    must_be(ac_unregister("late"), 0);
    must_be(ac_register(here, "late"), 0);
    must_be(ac_sleep(0.05), 0);
    must_be(ac_mailbox_count(), 0);
    must(!remote_holder_of(ac_nil, &first));
    return unused;
}

TEST(who_follows_a_name_learns_of_every_holder_once) { with_peer(names_when_told, follow); }

// ---- what was found is kept ----

// Gives the name to a coroutine, takes it back, gives it to another one and ends that; then waits.
static ac_value changes_holders(ac_value unused) {
    ac_ref first = ac_spawn(waits, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    must_be(ac_register(first, "shifting"), 0);
    say();
    must(told());
    must_be(ac_unregister("shifting"), 0);
    say();
    must(told());
    ac_ref second = ac_spawn(waits, ac_nil, .daemon = true, .stack_bytes = TEST_STACK);
    must_be(ac_register(second, "shifting"), 0);
    must(told());
    must_be(ac_cancel(second), 0);
    must(told());
    must_be(ac_register(ac_self(), "shifting"), 0);
    return until_the_end(unused);
}

static ac_value find_again(ac_value unused) {
    ac_ref first = find("shifting"), it;
    must_be(ac_locate("shifting", &it, AC_NOW), 0); // nobody need be asked
    must(ac_ref_equal(it, first));
    tell(peer);
    hear(peer);
    until_unknown("shifting");
    tell(peer);
    ac_ref second = find("shifting");
    must(!ac_ref_equal(first, second));
    must_be(ac_locate("shifting", &it, AC_NOW), 0);
    tell(peer);
    until_unknown("shifting");
    tell(peer);
    must(!ac_ref_equal(find("shifting"), second));
    must_be(ac_locate("shifting", &it, AC_NOW), 0);
    // A holder here goes before.
    must_be(ac_register(ac_self(), "shifting"), 0);
    must(ac_ref_equal(find("shifting"), ac_self()));
    must_be(ac_unregister("shifting"), 0);
    must_be(ac_locate("shifting", &it, AC_NOW), 0);
    child_kill(peer);
    until_unknown("shifting");
    return unused;
}

TEST(what_was_found_is_kept_until_the_holder_leaves) {
    world_begin();
    peer = child(changes_holders);
    hear(peer);
    run(find_again);
    world_end();
}

static ac_value has_many(ac_value unused) {
    for (int i = 0; i < CACHE_MAX + 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        must_be(ac_register(ac_self(), name), 0);
    }
    say();
    return until_the_end(unused);
}

static ac_value find_many(ac_value unused) {
    for (int i = 0; i < CACHE_MAX + 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        (void)find(name);
    }
    must_be(map_count(&remote_of(loop_here)->cache), CACHE_MAX);
    (void)find("16390"); // found also if it is not kept
    return unused;
}

TEST(so_many_names_are_kept_and_no_more) { with_peer(has_many, find_many); }

// ---- several holders ----

static struct child other;

static void with_two(ac_function served, ac_function client) {
    world_begin();
    peer = child(served);
    other = child(served);
    hear(peer);
    hear(other);
    run(client);
    child_end(peer);
    child_end(other);
    world_end();
}

static ac_value holds_too(ac_value unused) {
    must_be(ac_register(ac_self(), "common"), 0);
    must_be(ac_register(ac_self(), "also"), 0);
    say();
    must(told());
    must_be(ac_unregister("common"), 0);
    say();
    return until_the_end(unused);
}

static void address_of(ac_ref it, char address[64]) { must_be(ac_location(it, address), 0); }

static ac_value find_both(ac_value unused) {
    ac_ref all[4], first, it;
    struct ac_peer_info peers[4];
    while (ac_peers(peers, 4) < 2)
        must_be(ac_sleep(0.002), 0);
    must_be(ac_locate_all("common", all, 4, ac_after(PATIENCE_S)), 2);
    must(all[0].peer != all[1].peer);
    must_be(ac_locate_all("common", all, 1, ac_after(PATIENCE_S)), 2);
    must_be(ac_locate_all("common", NULL, 0, ac_after(PATIENCE_S)), 2);
    must_be(ac_locate_all("nobody's", all, 4, ac_after(PATIENCE_S)), 0);
    must_be(ac_locate_all("", all, 4, AC_NOW), -EINVAL);
    must_be(ac_locate_all("common", NULL, 4, AC_NOW), -EINVAL);
    must_be(ac_register(ac_self(), "common"), 0);
    must_be(ac_locate_all("common", all, 4, ac_after(PATIENCE_S)), 3);
    must(ac_ref_equal(all[0], ac_self()));
    must_be(ac_unregister("common"), 0);
    for (int i = 0; i < 2; i++) {
        char address[64];
        address_of(all[i + 1], address);
        must_be(ac_locate_at("common", address, &it, ac_after(PATIENCE_S)), 0);
        must(ac_ref_equal(it, all[i + 1]));
        must_be(ac_locate_at("nobody's", address, &it, ac_after(0.02)), -ETIMEDOUT);
    }
    first = find("common");
    for (int i = 0; i < 5; i++)
        must(ac_ref_equal(find("common"), first)); // it stays the one that answered first
    tell(peer);
    tell(other);
    hear(peer);
    hear(other);
    until_unknown("common");
    must_be(ac_locate_all("common", all, 4, ac_after(PATIENCE_S)), 0);
    must_be(map_count(&remote_of(loop_here)->queries), 0);
    return unused;
}

TEST(of_several_holders_all_are_found_or_those_of_one_peer) { with_two(holds_too, find_both); }

static ac_value ask_lost_peer(ac_value address) {
    ac_ref it;
    must_be(ac_locate_at("nobody's", ac_text_of(address), &it, AC_FOREVER), -EHOSTUNREACH);
    return ac_nil;
}

static ac_value find_at_odd_places(ac_value unused) {
    ac_ref it;
    char own[64], address[64];
    must_be(ac_locate_at("common", NULL, &it, AC_NOW), -EINVAL);
    must_be(ac_locate_at("", "127.0.0.1:1", &it, AC_NOW), -EINVAL);
    must_be(ac_locate_at("common", "127.0.0.1:1", &it, ac_after(PATIENCE_S)), -ECONNREFUSED);
    must_be(ac_network_address(own), 0);
    must_be(ac_locate_at("mine", own, &it, ac_after(0.02)), -ETIMEDOUT);
    must_be(ac_register(ac_self(), "mine"), 0);
    must_be(ac_locate_at("mine", own, &it, AC_NOW), 0);
    must(ac_ref_equal(it, ac_self()));
    address_of(find("also"), address);
    must_be(ac_locate_at("mine", address, &it, ac_after(0.02)), -ETIMEDOUT);
    tell(peer);
    hear(peer);
    child_freeze(peer);
    ac_ref asks = ac_spawn(ask_lost_peer, ac_of_text(address), .joinable = true,
                           .stack_bytes = TEST_STACK);
    must_be(ac_sleep(0.01), 0);
    must_be(ac_locate_all("common", NULL, 0, ac_after(0.05)), 0); // it does not answer in time
    child_kill(peer);
    must_be(ac_join(asks, NULL, ac_after(PATIENCE_S)), 0);
    must_be(map_count(&remote_of(loop_here)->queries), 0);
    return unused;
}

TEST(a_peer_that_has_no_such_name_or_is_lost) {
    world_begin();
    peer = child(holds_too);
    hear(peer);
    run(find_at_odd_places);
    world_end();
}

// ---- answers of who was not asked ----

static void answer_unasked(uint64_t liar, uint64_t number) {
    names_found(remote_of(loop_here),
                &(struct arrival){.kind = ARRIVED_FOUND,
                                  .peer = liar,
                                  .number = number,
                                  .to = {liar, ref_id(REF_COROUTINE, 0, 7, 1)}});
}

static ac_value follow_among_liars(ac_value unused) {
    must_be(remote_follow("followed"), 0);
    answer_unasked(77, remote_of(loop_here)->number);
    must_be(ac_mailbox_count(), 0);
    return unused;
}

TEST(who_follows_a_name_is_told_by_those_alone_that_were_asked) {
    world_begin();
    run(follow_among_liars);
    world_end();
}

static ac_ref asked_for;

static ac_value ask_one(ac_value address) {
    must_be(ac_locate_at("late", ac_text_of(address), &asked_for, ac_after(PATIENCE_S)), 0);
    return ac_nil;
}

static ac_value ask_any(ac_value unused) {
    must_be(ac_locate("late", &asked_for, ac_after(PATIENCE_S)), 0);
    return unused;
}

static ac_value ask_among_liars(ac_value unused) {
    ac_ref server_ref = find("server"), asks[2];
    char address[64];
    address_of(server_ref, address);
    asks[0] = ac_spawn(ask_one, ac_of_text(address), .joinable = true, .stack_bytes = TEST_STACK);
    asks[1] = ac_spawn(ask_any, ac_nil, .joinable = true, .stack_bytes = TEST_STACK);
    while (map_count(&remote_of(loop_here)->queries) < 2)
        must_be(ac_sleep(0.002), 0);
    for (uint64_t number = remote_of(loop_here)->number; number > 0; number--)
        answer_unasked(77, number);
    must_be(map_count(&remote_of(loop_here)->queries), 2);
    must_be(map_count(&remote_of(loop_here)->cache), 1); // the server
    (void)start_job(server_ref, 0);
    for (int i = 0; i < 2; i++) {
        must_be(ac_join(asks[i], NULL, ac_after(PATIENCE_S)), 0);
        must(asked_for.peer == server_ref.peer);
    }
    return unused;
}

static ac_value names_itself(ac_value unused) {
    must_be(ac_register(ac_self(), "late"), 0);
    return until_the_end(unused);
}

TEST(who_asks_takes_the_answer_of_those_alone_that_were_asked) {
    server_jobs[0] = names_itself;
    with_peer(serving, ask_among_liars);
}

static ac_value find_from_second(ac_value unused) {
    ac_ref all[4], it = find("common");
    char address[64];
    (void)unused;
    address_of(it, address);
    must_be(ac_loop(), 2);
    must_be(ac_locate_all("common", all, 4, ac_after(PATIENCE_S)), 1);
    must(ac_ref_equal(all[0], it));
    must_be(ac_locate_at("also", address, &all[1], ac_after(PATIENCE_S)), 0);
    must(ac_ref_equal(all[1], it));
    must_be(ac_locate_at("nobody's", address, &it, ac_after(0.02)), -ETIMEDOUT);
    must_be(ac_locate_all("nobody's", all, 4, ac_after(PATIENCE_S)), 0);
    tell(peer);
    hear(peer);
    return ac_nil;
}

static ac_value spawn_on_second(ac_value unused) {
    must(ac_ref_is(ac_spawn(find_from_second, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return unused;
}

TEST(all_loops_find_all_holders) {
    world_begin();
    peer = child(holds_too);
    hear(peer);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(spawn_on_second, ac_nil)));
    must_be(ac_run(.loops = 2), 0);
    child_end(peer);
    world_end();
}
