// SPDX-License-Identifier: MIT
// Tests of src/remote/errand.c, and of what goes between other processes and the loops of a program
// that are not the first: messages, deliveries, monitors, subscriptions, names and what is told of
// peers.
#include "remote/remote_private.h"
#include "world.h"

static struct child peer;

enum { LOOPS = 3, MANY = 500 };

enum { JOB_WATCHES, JOB_FINISHES, JOB_LISTENS, JOB_FINDS, JOB_SPEAKS };

// Runs a client on the second of several loops.
static ac_value spawn_client(ac_value function) {
    ac_function client = (ac_function)ac_pointer_of(function);
    must(ac_ref_is(ac_spawn(client, ac_nil, .loop = 2, .stack_bytes = TEST_STACK)));
    return ac_nil;
}

static void on_second_loop(ac_function client) {
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(spawn_client, ac_of_pointer((void *)client))));
    must_be(ac_run(.loops = LOOPS), 0);
}

// ---- the other process ----

// Monitors, delivers to and sends to the one who asked for it; tells "watcher" how that ended.
static ac_value watches(ac_value to) {
    ac_ref it = ac_ref_of(to);
    must_be(ac_monitor(it), 0);
    must_be(ac_deliver(it, "delivered", ac_after(PATIENCE_S)), 1);
    for (int i = 0; i < MANY; i++)
        must_be(ac_send(it, i), 0);
    struct ac_exit exit = next_exit();
    must(ac_ref_equal(exit.who, it));
    must_be(exit.how, AC_FINISHED);
    must_be(ac_deliver(it, "too late", ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_monitor(it), 0);
    must_be(next_exit().reason, -ESRCH);
    must_be(ac_send(find("watcher"), "seen"), 0);
    return ac_nil;
}

static ac_value finishes(ac_value unused) {
    (void)unused;
    ac_drop(next_message());
    return ac_list("result", 7);
}

// Subscribes to the channel that it is sent.
static ac_value listens(ac_value to) {
    ac_value message = next_message();
    ac_ref channel = ac_ref_of(message);
    ac_drop(message);
    must_be(ac_channel_subscribe(channel, ac_self()), 0);
    must_be(ac_send(ac_ref_of(to), "ready"), 0);
    for (int i = 0; i < MANY; i++)
        must_be(ac_int_of(next_message()), i);
    must(ac_ref_equal(next_exit().who, channel)); // it is closed
    must_be(ac_send(ac_ref_of(to), "closed"), 0);
    return ac_nil;
}

static ac_value finds(ac_value to) {
    ac_ref holder = find("second");
    must_be(ac_deliver(holder, ac_ref_of(to), ac_after(PATIENCE_S)), 1);
    return ac_nil;
}

static ac_value speaks(ac_value unused) {
    (void)unused;
    must_be(ac_send(find("channel"), "from far"), 0);
    return ac_nil;
}

static void with_server(ac_function client) {
    static const ac_function jobs[] = {watches, finishes, listens, finds, speaks};
    world_begin();
    memcpy(server_jobs, jobs, sizeof jobs);
    peer = child(serving);
    hear(peer);
    on_second_loop(client);
    child_end(peer);
    world_end();
}

// ---- from here to there ----

static ac_value talk(ac_value unused) {
    (void)unused;
    must_be(ac_loop(), 2);
    ac_ref server = find("server");
    for (int i = 0; i < MANY; i++)
        must_be(ac_send(server, i), 0);
    must_be(server_count(server), MANY);
    must_be(ac_deliver(server, MANY, ac_after(PATIENCE_S)), 1);
    must_be(server_count(server), MANY + 1);
    ac_ref job = start_job(server, JOB_FINISHES);
    must_be(ac_monitor(job), 0);
    must_be(ac_send(job, "go"), 0);
    struct ac_exit exit = next_exit();
    must(exit.how == AC_FINISHED && ac_ref_equal(exit.who, job));
    must_be(ac_deliver(job, "too late", ac_after(PATIENCE_S)), -ESRCH);
    must_be(ac_send(server, ac_of_pointer(&peer)), -ENOTSUP);
    // Who is asked ends without an answer, has ended, or takes too long.
    ac_value answer;
    job = start_job(server, JOB_FINISHES);
    must_be(ac_call(job, 1, &answer, AC_FOREVER), -ESRCH);
    must_be(ac_call(job, 1, &answer, AC_FOREVER), -ESRCH);
    must_be(ac_call(server, 1, &answer, ac_after(0.01)), -ETIMEDOUT);
    return ac_nil;
}

TEST(coroutines_of_all_loops_talk_with_other_processes) { with_server(talk); }

static ac_value ask_for_ever(ac_value of_whom) {
    ac_value answer;
    must_be(ac_call(ac_ref_of(of_whom), 1, &answer, AC_FOREVER), -ECONNRESET);
    return ac_nil;
}

static ac_value lose_peer(ac_value unused) {
    (void)unused;
    ac_ref server = find("server");
    ac_spawn(ask_for_ever, server, .stack_bytes = TEST_STACK);
    while (server_count(server) != -1) // the question has come
        must_be(ac_sleep(0.001), 0);
    must_be(ac_monitor(server), 0);
    must_be(ac_deliver(server, 0, ac_after(PATIENCE_S)), 1);
    child_kill(peer);
    struct ac_exit exit = next_exit();
    must(exit.how == AC_LOST && ac_ref_equal(exit.who, server));
    return ac_nil;
}

TEST(the_loss_of_a_process_is_noticed_on_all_loops) {
    world_begin();
    peer = child(serving);
    hear(peer);
    on_second_loop(lose_peer);
    world_end();
}

// ---- from there to here ----

static ac_value is_watched(ac_value unused) {
    (void)unused;
    (void)start_job(find("server"), JOB_WATCHES);
    ac_value message = next_message();
    must(ac_span_of(message).bytes == strlen("delivered"));
    ac_drop(message);
    for (int i = 0; i < MANY; i++)
        must_be(ac_int_of(next_message()), i);
    return ac_nil;
}

static ac_value wait_for_watcher(ac_value unused) {
    (void)unused;
    must_be(ac_register(ac_self(), "watcher"), 0);
    ac_spawn(is_watched, ac_nil, .loop = 3, .stack_bytes = TEST_STACK);
    ac_drop(next_message());
    return ac_nil;
}

TEST(other_processes_reach_the_coroutines_of_all_loops) { with_server(wait_for_watcher); }

static ac_value broadcast(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open("of the second loop");
    ac_ref job = start_job(find("server"), JOB_LISTENS);
    must_be(ac_send(job, channel), 0);
    ac_drop(next_message());
    must_be(ac_channel_count(channel), 1);
    for (int i = 0; i < MANY; i++)
        must_be(ac_send(channel, i), 0);
    must_be(ac_channel_close(channel), 0);
    ac_drop(next_message());
    return ac_nil;
}

TEST(channels_of_all_loops_have_subscribers_in_other_processes) { with_server(broadcast); }

// ---- names ----

static ac_value hold_name(ac_value unused) {
    (void)unused;
    must_be(ac_register(ac_self(), "second"), 0);
    must_be(ac_register(ac_self(), "second"), -EEXIST);
    must_be(ac_register(ac_self(), ""), -EINVAL);
    must(ac_ref_equal(find("second"), ac_self()));
    (void)start_job(find("server"), JOB_FINDS);
    ac_value message = next_message();
    must(ac_ref_equal(ac_ref_of(message), ac_self()));
    ac_drop(message);
    memory_fail_nth(1);
    must_be(ac_locate("second", &(ac_ref){0}, ac_after(PATIENCE_S)), -ENOMEM);
    memory_fail_nth(1);
    must_be(ac_unregister("second"), -ENOMEM);
    memory_fail_nth(0);
    must_be(ac_unregister("second"), 0);
    must_be(ac_unregister("second"), -ENOENT);
    must_be(ac_register(ac_self(), "second"), 0);
    return ac_nil;
}

static ac_value give_names(ac_value unused) {
    (void)unused;
    ac_ref holder = ac_spawn(hold_name, ac_nil, .loop = 3, .stack_bytes = TEST_STACK), found;
    must_be(ac_monitor(holder), 0);
    (void)next_exit();
    // The name has gone with its holder, or goes.
    while (ac_locate("second", &found, ac_after(0.1)) == 0)
        must_be(ac_sleep(0.001), 0);
    must_be(ac_register(holder, "second"), -ESRCH);
    must_be(ac_peer("", ac_after(PATIENCE_S)), -EINVAL);
    must_be(ac_peer("127.0.0.1:1", ac_after(PATIENCE_S)), -ECONNREFUSED);
    must_be(ac_network_start_with(&near), -ENOTSUP);
    return ac_nil;
}

TEST(coroutines_of_all_loops_give_names_and_find_them) { with_server(give_names); }

// Waits until nobody has the name any more.
static void see_name_go(const char *name) {
    ac_ref found;
    while (ac_locate(name, &found, ac_after(0.05)) == 0)
        must_be(ac_sleep(0.001), 0);
}

// The channel is of the second loop.
static ac_value names_channel(ac_value of) {
    ac_ref channel = ac_ref_of(of);
    must_be(ac_loop(), 3);
    must_be(ac_register(channel, "channel"), -EEXIST);
    must_be(ac_unregister("channel"), 0);
    see_name_go("channel");
    must_be(ac_register(channel, "channel"), 0);
    must_be(ac_register(channel, "of the third"), 0);
    must(ac_ref_equal(find("of the third"), channel));
    return ac_nil;
}

static ac_value name_channel(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open(NULL);
    must_be(ac_register(channel, "channel"), 0);
    must(ac_ref_equal(find("channel"), channel));
    must_be(ac_channel_subscribe(channel, ac_self()), 0);
    must_be(ac_monitor(ac_spawn(names_channel, channel, .loop = 3, .stack_bytes = TEST_STACK)), 0);
    must_be(next_exit().how, AC_FINISHED);
    (void)start_job(find("server"), JOB_SPEAKS);
    ac_value message = next_message();
    must(ac_span_of(message).bytes == strlen("from far"));
    ac_drop(message);
    must_be(ac_channel_close(channel), 0);
    must(ac_ref_equal(next_exit().who, channel));
    see_name_go("channel");
    see_name_go("of the third");
    must_be(ac_register(channel, "channel"), -ESRCH);
    return ac_nil;
}

TEST(channels_of_all_loops_have_names) { with_server(name_channel); }

static ac_value keep_channels(ac_value to) {
    ac_ref closed = ac_channel_open(NULL), open = ac_channel_open(NULL);
    must_be(ac_channel_close(closed), 0);
    must_be(ac_send(ac_ref_of(to), ac_list(closed, open)), 0);
    ac_drop(next_message());
    return ac_nil;
}

static ac_value name_them_from_the_first(ac_value unused) {
    (void)unused;
    ac_ref keeper = ac_spawn(keep_channels, ac_self(), .loop = 2, .stack_bytes = TEST_STACK);
    ac_ref closed, open;
    ac_value message = next_message();
    must_be(ac_unpack(message, &closed, &open), 0);
    ac_drop(message);
    int err = -ENOMEM;
    for (long n = 1; err == -ENOMEM; n++) {
        memory_fail_nth(n);
        err = ac_register(open, "open");
        memory_fail_nth(0);
        must(n > 1 || err == -ENOMEM);
    }
    must_be(err, 0);
    must(ac_ref_equal(find("open"), open));
    must_be(ac_register(closed, "closed"), 0); // nobody here can know
    see_name_go("closed");
    must_be(ac_register((ac_ref){open.peer, open.id ^ (63 << 2)}, "none"), -ESRCH);
    must_be(ac_send(keeper, "end"), 0);
    return ac_nil; // the name that is left goes with the channel's loop
}

TEST(names_of_channels_elsewhere_go_when_these_are_closed) {
    must(ac_ref_is(ac_spawn(name_them_from_the_first, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(.loops = 2), 0);
}

// ---- what is told of peers ----

static char listens_at[64]; // told by the first loop
static bool listed;         // atomic

// Lists while the first loop does nothing but wait for that.
static ac_value list(ac_value server) {
    struct ac_peer_info info[2] = {0};
    ac_ref to = ac_ref_of(server);
    char text[64];
    must_be(ac_loop(), 3);
    must_be(ac_peers(NULL, 0), 1);
    must_be(ac_peers(info, 2), 1);
    must_be(info[0].id, to.peer);
    must(info[0].linked && strcmp(info[0].name, "") != 0);
    must_be(ac_location(to, text), 0);
    must(strcmp(text, info[0].address) == 0);
    must_be(ac_location(ac_self(), text), 0);
    must(strcmp(text, "here") == 0);
    must_be(ac_location((ac_ref){1, 2}, text), -EHOSTUNREACH);
    must(text[0] == '\0');
    must_be(ac_network_address(text), 0);
    must(strcmp(text, listens_at) == 0);
    memory_fail_nth(1);
    must_be(ac_peers(info, 2), -ENOMEM);
    memory_fail_nth(0);
    __atomic_store_n(&listed, true, __ATOMIC_SEQ_CST);
    return ac_nil;
}

static ac_value compute_until_listed(ac_value unused) {
    (void)unused;
    ac_ref server = find("server");
    must_be(ac_deliver(server, 0, ac_after(PATIENCE_S)), 1);
    must_be(ac_network_address(listens_at), 0);
    ac_spawn(list, server, .loop = 3, .stack_bytes = TEST_STACK);
    for (double end = seconds() + PATIENCE_S; !__atomic_load_n(&listed, __ATOMIC_SEQ_CST);)
        must(seconds() < end);
    return ac_nil;
}

TEST(coroutines_of_all_loops_are_told_of_peers_while_the_first_computes) {
    world_begin();
    peer = child(serving);
    hear(peer);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(compute_until_listed, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(.loops = LOOPS), 0);
    child_end(peer);
    world_end();
}

static ac_value ask_until_there_is_a_network(ac_value first) {
    char text[64] = "text";
    must_be(ac_peers(NULL, 0), -ENOTCONN);
    must_be(ac_network_address(text), -ENOTCONN);
    must(text[0] == '\0');
    must_be(ac_location((ac_ref){1, 2}, text), -EHOSTUNREACH);
    must_be(ac_location(ac_self(), text), 0);
    must_be(ac_send(ac_ref_of(first), "start"), 0);
    while (ac_network_address(text) < 0)
        must_be(ac_yield(), 0);
    must_be(ac_peers(NULL, 0), 0);
    return ac_nil;
}

static ac_value start_late(ac_value unused) {
    (void)unused;
    for (int loop = 2; loop <= LOOPS; loop++)
        ac_spawn(ask_until_there_is_a_network, ac_self(), .loop = loop, .stack_bytes = TEST_STACK);
    for (int loop = 2; loop <= LOOPS; loop++)
        ac_drop(next_message());
    must_be(ac_network_start_with(&near), 0);
    return ac_nil;
}

TEST(a_network_that_starts_late_is_seen_by_all_loops) {
    world_begin();
    must(ac_ref_is(ac_spawn(start_late, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(.loops = LOOPS), 0);
    world_end();
}
