// SPDX-License-Identifier: MIT
// Tests of src/remote/transfer.c: files that are sent.
#include "remote/transfer.h"
#include "files.h"

static struct child peer;
static struct ac_transfer_limits limits = {.size = sizeof limits, .no_sync = true};

enum { BIG = 3 << 20, HUGE_BYTES = 96 << 20 };

// ---- the other side ----

static ac_value receiving(ac_value unused) {
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    return serving(unused);
}

static ac_value receiving_when_told(ac_value unused) {
    must(told());
    return receiving(unused);
}

static void with_receiver(ac_function client) {
    world_begin();
    make_inbox();
    peer = child(receiving);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

static int send_to(uint64_t to, const char *path, const char *name) {
    return ac_transfer_send(to, at(path), name, ac_after(PATIENCE_S));
}

// ---- it comes there ----

static void send_some_to(uint64_t to) {
    static const size_t sizes[] = {0,  1, 4095, TRANSFER_PIECE_BYTES, TRANSFER_WINDOW_BYTES + 1,
                                   BIG};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make_file(at("file"), sizes[i], i, 0640);
        must_be(send_to(to, "file", "a/b"), 0);
        must(is_file(at("inbox/a/b"), sizes[i], i, 0640));
        must_be(send_to(to, "file", "a/b"), 1);
        must_be(parts(NULL), 0);
    }
    must_be(ac_transfer_delete(to, "a/b", ac_after(PATIENCE_S)), 0);
    must_be(ac_transfer_delete(to, "a/b", ac_after(PATIENCE_S)), -ENOENT);
    must(!is_there(at("inbox/a")));
}

static ac_value send_some(ac_value unused) {
    (void)unused;
    send_some_to(find("server").peer);
    return ac_nil;
}

TEST(files_come_there_and_are_deleted) { with_receiver(send_some); }

static ac_value send_to_oneself(ac_value unused) {
    (void)unused;
    uint64_t here = ac_self().peer;
    make_file(at("file"), 10, 1, 0600);
    must_be(send_to(here, "file", "a"), -EACCES);
    must_be(ac_transfer_delete(here, "a", ac_after(PATIENCE_S)), -EACCES);
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    send_some_to(here);
    return ac_nil;
}

TEST(a_process_sends_to_itself_without_a_network) {
    world_begin();
    make_inbox();
    run_with(send_to_oneself, NULL);
    world_end();
}

static ac_value on_another_loop(ac_value to) {
    must_be(ac_loop(), 2);
    must_be(ac_transfer_accept(at("inbox")), -ENOTSUP);
    must_be(ac_transfer_refuse(), -ENOTSUP);
    send_some_to((uint64_t)ac_int_of(to));
    must_be(send_to((uint64_t)ac_int_of(to), "nothing", "a"), -ENOENT);
    must_be(ac_transfer_send((uint64_t)ac_int_of(to), at("file"), "a", ac_after(-1)), -ETIMEDOUT);
    return ac_nil;
}

static ac_value spawn_on_another_loop(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    must(ac_ref_is(ac_spawn(on_another_loop, ac_of_int((int64_t)to), .loop = 2)));
    return ac_nil;
}

TEST(coroutines_of_all_loops_send) {
    world_begin();
    make_inbox();
    peer = child(receiving);
    hear(peer);
    must_be(ac_network_start_with(&near), 0);
    must(ac_ref_is(ac_spawn(spawn_on_another_loop, ac_nil)));
    must_be(ac_run(.loops = 2), 0);
    child_end(peer);
    world_end();
}

// ---- what goes wrong here ----

static ac_value send_wrongly(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    static const char *const names[] = {"", "/a", "../a", "a/../b", "a//b", ".asyncoro/a", "."};
    make_file(at("file"), 10, 1, 0600);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        must_be(send_to(to, "file", names[i]), -EINVAL);
        must_be(ac_transfer_delete(to, names[i], AC_FOREVER), -EINVAL);
    }
    must_be(ac_transfer_send(to, NULL, "a", AC_FOREVER), -EINVAL);
    must_be(ac_transfer_send(to, "a", NULL, AC_FOREVER), -EINVAL);
    must_be(ac_transfer_delete(to, NULL, AC_FOREVER), -EINVAL);
    must_be(ac_transfer_accept(NULL), -EINVAL);
    must_be(ac_transfer_accept(at("nothing")), -ENOENT);
    must_be(ac_transfer_refuse(), -ENOENT);
    must_be(send_to(to, "nothing", "a"), -ENOENT);
    must_be(send_to(to, "inbox", "a"), -EISDIR);
    must_be(mkfifo(at("pipe"), 0600), 0);
    must_be(send_to(to, "pipe", "a"), -ENOTSUP);
    must_be(send_to(to + 1, "file", "a"), -EHOSTUNREACH);
    must_be(send_to(0, "file", "a"), -EHOSTUNREACH);
    must_be(ac_transfer_send(to, at("file"), "a", ac_after(-1)), -ETIMEDOUT);
    must_be(ac_transfer_delete(to, "a", ac_after(-1)), -ETIMEDOUT);
    must_be(send_to(to, "file", "a"), 0);
    must_be(ac_transfer_send(to, at("file"), "a", ac_after(PATIENCE_S), .is_new = true), 1);
    make_file(at("file"), 10, 2, 0600);
    must_be(ac_transfer_send(to, at("file"), "a", ac_after(PATIENCE_S), .is_new = true), -EEXIST);
    must(is_file(at("inbox/a"), 10, 1, 0600));
    return ac_nil;
}

TEST(what_cannot_be_sent_is_an_error) {
    must_be(ac_transfer_send(1, "a", "a", AC_FOREVER), -EPERM);
    must_be(ac_transfer_delete(1, "a", AC_FOREVER), -EPERM);
    with_receiver(send_wrongly);
}

// ---- progress ----

static ac_value check_progress(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    make_file(at("file"), BIG, 1, 0600);
    must_be(ac_transfer_send(to, at("file"), "b/\xff", ac_after(PATIENCE_S), .told = ac_self()), 0);
    int64_t before = -1;
    for (int i = 0; before < BIG; i++) {
        ac_value message = next_message();
        ac_span name;
        int64_t there, all;
        must_be(ac_unpack(message, &name, &there, &all), 0);
        must(name.bytes == 3 && memcmp(name.at, "b/\xff", 3) == 0 && all == BIG);
        must(i > 0 || there == 0);
        must(there > before && there <= all);
        before = there;
        ac_drop(message);
    }
    must_be(ac_mailbox_count(), 0);
    must_be(ac_transfer_send(to, at("file"), "b/\xff", ac_after(PATIENCE_S), .told = ac_self()), 1);
    must_be(ac_mailbox_count(), 1);
    ac_drop(next_message());
    return ac_nil;
}

TEST(progress_is_told) { with_receiver(check_progress); }

// ---- breaking off, and going on ----

static void make_huge(const char *path) {
    make_file(path, BIG, 1, 0600);
    must_be(truncate(path, HUGE_BYTES), 0);
}

static bool is_huge(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && facts.st_size == HUGE_BYTES;
}

// Waits until so much of a file is there.
static void await_part(size_t least) {
    size_t bytes = 0;
    while (parts(&bytes) == 0 || bytes < least)
        must_be(ac_sleep(0.001), 0);
}

// Sends it, and tells how it ended.
static ac_value send_huge(ac_value to) {
    return ac_of_int(send_to((uint64_t)ac_int_of(to), "file", "a"));
}

static ac_ref start_huge(uint64_t to) {
    return ac_spawn(send_huge, ac_of_int((int64_t)to), .joinable = true, .stack_bytes = TEST_STACK);
}

static int64_t end_of(ac_ref sender) {
    struct ac_exit exit;
    must_be(ac_join(sender, &exit, ac_after(PATIENCE_S)), 0);
    int64_t result = exit.how == AC_FINISHED ? ac_int_of(exit.value) : exit.reason;
    ac_drop(exit.value);
    return result;
}

// The rest of it comes, and not the beginning once more.
static void send_the_rest(uint64_t to) {
    size_t bytes = 0;
    must_be(parts(&bytes), 1);
    must(bytes > 0 && bytes < HUGE_BYTES);
    must_be(ac_transfer_send(to, at("file"), "a", ac_after(2 * PATIENCE_S), .told = ac_self()), 0);
    ac_value message = next_message(), name;
    int64_t there, all;
    must_be(ac_unpack(message, &name, &there, &all), 0);
    must(there >= (int64_t)bytes && all == HUGE_BYTES);
    ac_drop(name);
    ac_drop(message);
    must(is_huge(at("inbox/a")));
    must_be(send_to(to, "file", "a"), 1); // so it is the right content
    must_be(parts(NULL), 0);
}

static ac_value cancel_in_the_middle(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    make_huge(at("file"));
    ac_ref sender = start_huge(to);
    await_part(1 << 20);
    must_be(ac_cancel(sender), 0);
    must_be(end_of(sender), -ECANCELED);
    must(!is_there(at("inbox/a")));
    send_the_rest(to);
    return ac_nil;
}

TEST(what_was_cancelled_goes_on_later, .seconds_max = 120) { with_receiver(cancel_in_the_middle); }

static ac_value freeze_in_the_middle(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    make_huge(at("file"));
    ac_ref sender = start_huge(to);
    await_part(1 << 20);
    child_freeze(peer);
    must_be(ac_cancel(sender), 0);
    must_be(end_of(sender), -ECANCELED);
    must_be(ac_transfer_send(to, at("file"), "b", ac_after(1.5)), -ETIMEDOUT);
    must(!is_there(at("inbox/a")));
    child_thaw(peer);
    // Behind what was offered under that name, and may have got as far as a part.
    must_be(ac_transfer_delete(to, "b", ac_after(PATIENCE_S)), -ENOENT);
    send_the_rest(to);
    return ac_nil;
}

TEST(time_may_be_up_first, .seconds_max = 120) { with_receiver(freeze_in_the_middle); }

static struct child next_peer;

static ac_value kill_the_receiver(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    make_huge(at("file"));
    ac_ref sender = start_huge(to);
    await_part(1 << 20);
    child_kill(peer);
    must_be(end_of(sender), -ECONNRESET);
    must(!is_there(at("inbox/a")));
    tell(next_peer);
    hear(next_peer);
    // The end of the transfer may be told a moment before the name is known to be free.
    ac_time until = ac_after(PATIENCE_S);
    ac_ref server;
    do
        server = find("server");
    while (server.peer == to && ac_now() < until && ac_yield() == 0);
    must(server.peer != to);
    send_the_rest(server.peer);
    return ac_nil;
}

TEST(a_receiver_may_be_killed_and_started_anew, .seconds_max = 120) {
    world_begin();
    make_inbox();
    next_peer = child(receiving_when_told);
    peer = child(receiving);
    hear(peer);
    run(kill_the_receiver);
    child_end(next_peer);
    world_end();
}

// As a process of its own.
static ac_value sending(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    say();
    (void)send_to(to, "file", "a");
    return ac_nil;
}

static ac_value kill_the_sender(ac_value unused) {
    (void)unused;
    await_part(1 << 20);
    child_kill(next_peer);
    must(!is_there(at("inbox/a")));
    send_the_rest(find("server").peer);
    return ac_nil;
}

TEST(a_sender_may_be_killed_and_started_anew, .seconds_max = 120) {
    world_begin();
    make_inbox();
    make_huge(at("file"));
    peer = child(receiving);
    hear(peer);
    next_peer = child(sending);
    hear(next_peer);
    run(kill_the_sender);
    child_end(peer);
    world_end();
}

// ---- a file that changes ----

static ac_value change_it(ac_value unused) {
    (void)unused;
    uint64_t to = find("server").peer;
    for (int shorter = 0; shorter < 2; shorter++) {
        make_huge(at("file"));
        child_freeze(peer); // so that it is offered, and not read
        ac_ref sender = start_huge(to);
        must_be(ac_sleep(1), 0);
        make_file(at("file"), BIG, 2, 0600);
        must_be(truncate(at("file"), shorter ? 1000 : HUGE_BYTES), 0);
        child_thaw(peer);
        must_be(end_of(sender), -EBADMSG);
        must(!is_there(at("inbox/a")));
        // What was not what was promised is not kept.
        must_be(shorter ? 0 : parts(NULL), 0);
    }
    return ac_nil;
}

TEST(a_file_that_changes_meanwhile_is_not_taken, .seconds_max = 120) { with_receiver(change_it); }

// ---- beside others ----

static ac_value talk_beside_a_file(ac_value unused) {
    (void)unused;
    ac_ref server = find("server");
    make_huge(at("file"));
    ac_ref sender = start_huge(server.peer);
    await_part(1 << 20);
    for (int i = 0; i < 10; i++) {
        must_be(ac_send(server, ac_list("echo", ac_self(), i)), 0);
        must_be(ac_int_of(next_message()), i);
    }
    must(!is_there(at("inbox/a"))); // they were not behind it
    must_be(end_of(sender), 0);
    must(is_huge(at("inbox/a")));
    return ac_nil;
}

TEST(messages_are_not_behind_a_file, .seconds_max = 120) { with_receiver(talk_beside_a_file); }

enum { SENDERS = 24 };

static ac_value send_one_of_many(ac_value n) {
    char file[16], name[16];
    uint64_t to = find("server").peer;
    snprintf(file, sizeof file, "file%d", (int)ac_int_of(n));
    snprintf(name, sizeof name, "%d", (int)ac_int_of(n) / 3); // three to each name
    make_file(at(file), 100000, (unsigned)ac_int_of(n), 0600);
    must_be(send_to(to, file, name), 0);
    return ac_nil;
}

static ac_value send_many(ac_value unused) {
    (void)unused;
    ac_ref senders[SENDERS];
    for (int i = 0; i < SENDERS; i++)
        senders[i] = ac_spawn(send_one_of_many, ac_of_int(i), .joinable = true,
                              .stack_bytes = TEST_STACK);
    for (int i = 0; i < SENDERS; i++)
        must_be(ac_join(senders[i], NULL, ac_after(PATIENCE_S)), 0);
    for (unsigned i = 0; i < SENDERS / 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "inbox/%u", i);
        must(is_file(at(name), 100000, 3 * i, 0600) || is_file(at(name), 100000, 3 * i + 1, 0600) ||
             is_file(at(name), 100000, 3 * i + 2, 0600));
    }
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(many_send_at_once_to_the_same_names, .seconds_max = 120) { with_receiver(send_many); }
