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
    must(seconds() - begin >= 0.3 && seconds() - begin < 0.6);
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
    // Until the loss is known the name may be asked for in vain; then nobody holds it, and nothing
    // breaks.
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
                frame[bytes++] = 0xf5; // once
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
