// SPDX-License-Identifier: MIT
// Tests of src/remote/ask.c: what a program tells of itself to another one, and the limits on that.
#include "world.h"

#include <asyncoro/debug.h>

static struct child peer;

enum { PARTS = 64 };

static ac_value parts[PARTS];
static long part_count;

// Asks until it is answered at all.
static void ask(uint64_t at, enum remote_question what) {
    part_count = remote_ask(at, what, parts, PARTS, ac_after(PATIENCE_S));
    if (part_count < 0)
        must_be(part_count, 1);
}

static void forget_parts(void) {
    while (part_count > 0)
        ac_drop(parts[--part_count]);
}

static int64_t number_in(ac_value map, const char *key) {
    ac_value it = ac_get(map, key);
    must_be(ac_kind_of(it), AC_INT);
    return ac_int_of(it);
}

static bool is_what(ac_value map, const char *what) {
    ac_value it = ac_get(map, "what");
    const char *text = ac_text_of(it);
    bool is = text && strcmp(text, what) == 0;
    ac_drop(it);
    return is;
}

// ---- the state of a program ----

static ac_value hoard(ac_value unused) {
    must_be(ac_register(ac_self(), "hoarder"), 0);
    (void)ac_sleep(1000 * PATIENCE_S);
    return unused;
}

static ac_value serving_with_hoarder(ac_value unused) {
    must(ac_ref_is(ac_spawn(hoard, ac_nil, .name = "hoarder", .daemon = true)));
    return serving(unused);
}

static ac_value see_state(ac_value unused) {
    ac_ref server_ref = find("server"), hoarder = find("hoarder");
    for (int i = 0; i < 5; i++)
        must_be(ac_deliver(hoarder, i, ac_after(PATIENCE_S)), 1);
    ac_ref ended = start_job(server_ref, 0);
    must_be(ac_monitor(ended), 0);
    (void)next_exit();
    must_be(ac_send(ended, "dead letter"), 0);
    ask(server_ref.peer, REMOTE_STATE);
    must_be(part_count, 2);
    must(is_what(parts[0], "network"));
    must_be(number_in(parts[0], "names"), 2);
    must_be(number_in(parts[0], "peers"), 1);
    ac_value links = ac_get(parts[0], "links");
    must_be(ac_count(links), 0); // but for the one who asks
    ac_drop(links);
    must(is_what(parts[1], "loop"));
    must_be(number_in(parts[1], "loop"), 1);
    must_be(number_in(parts[1], "queued"), 5);
    must_be(number_in(parts[1], "longest"), 5);
    ac_value name = ac_get(parts[1], "longest_of"), dead = ac_get(parts[1], "dead_letters");
    must(strcmp(ac_text_of(name), "hoarder") == 0);
    must_be(number_in(dead, "ended"), 1);
    must_be(number_in(dead, "unread"), 0);
    must(number_in(parts[1], "coroutines") >= 3);
    ac_drop(name);
    ac_drop(dead);
    forget_parts();
    return unused;
}

static ac_value ends_at_once(ac_value unused) {
    (void)unused;
    return ac_nil;
}

TEST(a_program_tells_its_queues_and_dead_letters) {
    world_begin();
    server_jobs[0] = ends_at_once;
    peer = child(serving_with_hoarder);
    hear(peer);
    run(see_state);
    child_end(peer);
    world_end();
}

// A third program is linked with the server, and the test sees that link.
static ac_value link_with_server(ac_value unused) {
    must_be(ac_deliver(find("server"), 0, ac_after(PATIENCE_S)), 1);
    say();
    return until_the_end(unused);
}

static const struct ac_network_options third = {
    .size = sizeof third, .loopback_only = true, .name = "third"};

static ac_value see_link(ac_value unused) {
    ac_ref at = find("server");
    bool seen = false;
    for (double end = seconds() + PATIENCE_S; !seen && seconds() < end;) {
        ask(at.peer, REMOTE_STATE);
        ac_value links = ac_get(parts[0], "links"), link = ac_at(links, 0);
        ac_value name = ac_get(link, "name"), trip = ac_get(link, "round_trip_s");
        must_be(ac_count(links), 1);
        must(strcmp(ac_text_of(name), "third") == 0);
        must(number_in(link, "messages_in") >= 1 && number_in(link, "bytes_in") >= 1);
        must_be(number_in(link, "reconnects"), 0);
        seen = ac_real_of(trip) > 0; // which is measured when they link
        ac_drop(links), ac_drop(link), ac_drop(name), ac_drop(trip);
        forget_parts();
        must_be(ac_sleep(0.15), 0);
    }
    must(seen);
    return unused;
}

TEST(a_program_tells_its_links) {
    world_begin();
    peer = child(serving);
    hear(peer);
    struct child other = child_with(link_with_server, &third);
    hear(other);
    run(see_link);
    child_end(other);
    child_end(peer);
    world_end();
}

// ---- several loops ----

static ac_value serve_on_loops(ac_value unused) {
    (void)unused;
    must(ac_ref_is(ac_spawn(hoard, ac_nil, .name = "hoarder", .daemon = true, .loop = 2)));
    ac_ref it;
    must_be(ac_locate("hoarder", &it, ac_after(PATIENCE_S)), 0);
    say();
    return until_the_end(ac_nil);
}

static ac_value see_loops(ac_value unused) {
    ac_ref hoarder = find("hoarder");
    must_be(ac_deliver(hoarder, "kept", ac_after(PATIENCE_S)), 1);
    ask(hoarder.peer, REMOTE_STATE);
    must_be(part_count, 4);
    int64_t queued = 0, loops = 0;
    for (int i = 1; i < 4; i++) {
        must(is_what(parts[i], "loop"));
        loops |= 1 << number_in(parts[i], "loop");
        queued += number_in(parts[i], "queued");
    }
    must_be(loops, 2 + 4 + 8);
    must_be(queued, 1);
    forget_parts();
    return unused;
}

TEST(each_loop_of_a_program_tells_its_own) {
    world_begin();
    int to[2], from[2];
    must_be(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        close(to[1]);
        world.child = true;
        world.orders = to[0];
        world.answers = from[1];
        must_be(ac_network_start_with(&near), 0);
        must(ac_ref_is(ac_spawn(serve_on_loops, ac_nil, .stack_bytes = TEST_STACK)));
        must_be(ac_run(.loops = 3), 0);
        exit(EXIT_SUCCESS);
    }
    close(to[0]);
    close(from[1]);
    peer = (struct child){pid, to[1], from[0]};
    hear(peer);
    run(see_loops);
    child_end(peer);
    world_end();
}

// ---- one that computes ----

static ac_value see_one_that_computes(ac_value unused) {
    ac_ref at = find("server");
    must_be(ac_send(at, ac_list("compute", ac_self(), 6.0)), 0);
    must_be(ac_sleep(0.2), 0); // it has begun, or will before it answers anything
    part_count = remote_ask(at.peer, REMOTE_STATE, parts, PARTS, ac_after(2));
    must_be(part_count, 1);
    must(is_what(parts[0], "network"));
    must_be(ac_mailbox_count(), 0); // it still computes
    forget_parts();
    ac_drop(next_message()); // it is done
    ask(at.peer, REMOTE_STATE);
    must_be(part_count, 2);
    forget_parts();
    return unused;
}

TEST(a_program_that_computes_tells_of_its_network_nevertheless) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(see_one_that_computes);
    child_end(peer);
    world_end();
}

// ---- names ----

enum { MANY_NAMES = 3000 };

static ac_value give_many(ac_value unused) {
    char name[256];
    ac_ref channel = ac_channel_open("many");
    for (int i = 0; i < MANY_NAMES; i++) {
        snprintf(name, sizeof name, "%0200d", i);
        must_be(ac_register(channel, name), 0);
    }
    say();
    return until_the_end(unused);
}

static ac_value see_many(ac_value unused) {
    struct ac_peer_info info;
    while (ac_peers(&info, 1) < 1)
        must_be(ac_sleep(0.005), 0);
    static bool seen[MANY_NAMES];
    ask(info.id, REMOTE_NAMES);
    must(part_count > 2);
    for (long i = 0; i + 1 < part_count; i++) {
        size_t cursor = 0;
        for (ac_value item; ac_next(parts[i], &cursor, &item); ac_drop(item)) {
            const char *name;
            ac_ref holder;
            must_be(ac_unpack(item, &name, &holder), 0);
            must(holder.peer == info.id && ref_sort(holder.id) == REF_CHANNEL);
            int number = atoi(name + strspn(name, "0"));
            must(number >= 0 && number < MANY_NAMES && !seen[number]);
            seen[number] = true;
        }
    }
    must_be(ac_int_of(parts[part_count - 1]), MANY_NAMES);
    for (int i = 0; i < MANY_NAMES; i++)
        must(seen[i]);
    forget_parts();
    return unused;
}

TEST(all_names_are_told_in_frames_that_fit) {
    world_begin();
    peer = child(give_many);
    hear(peer);
    run(see_many);
    child_end(peer);
    world_end();
}

// ---- limits, and those who do not answer ----

static const struct ac_network_options hidden = {
    .size = sizeof hidden, .loopback_only = true, .unseen = true};

static ac_value see_nothing(ac_value unused) {
    ac_ref at = find("server");
    must_be(remote_ask(at.peer, REMOTE_STATE, parts, PARTS, ac_after(PATIENCE_S)), -EACCES);
    must_be(remote_ask(at.peer, REMOTE_NAMES, parts, PARTS, ac_after(PATIENCE_S)), -EACCES);
    return unused;
}

TEST(a_program_that_wants_to_be_unseen_tells_nothing) {
    world_begin();
    peer = child_with(serving, &hidden);
    hear(peer);
    run(see_nothing);
    child_end(peer);
    world_end();
}

static const struct ac_rights_rule may_send[] = {{.may = AC_MAY_SEND}};
static const struct ac_network_options strict = {
    .size = sizeof strict, .loopback_only = true, .rights = may_send, .rights_count = 1};

static ac_value ask_without_right(ac_value unused) {
    struct ac_peer_info info;
    while (ac_peers(&info, 1) < 1)
        must_be(ac_sleep(0.005), 0);
    must_be(remote_ask(info.id, REMOTE_STATE, parts, PARTS, ac_after(PATIENCE_S)), -EACCES);
    must_be(remote_ask(info.id, REMOTE_NAMES, parts, PARTS, ac_after(PATIENCE_S)), -EACCES);
    return unused;
}

TEST(who_may_not_locate_names_is_told_nothing) {
    world_begin();
    peer = child_with(serving, &strict);
    hear(peer);
    run(ask_without_right);
    child_end(peer);
    world_end();
}

static ac_value ask_too_often(ac_value unused) {
    ac_ref at = find("server");
    int good = 0, busy = 0;
    double begin = seconds();
    for (int i = 0; i < 200; i++) {
        part_count = remote_ask(at.peer, REMOTE_NAMES, parts, PARTS, ac_after(PATIENCE_S));
        good += part_count > 0;
        busy += part_count == -EBUSY;
        forget_parts();
    }
    must_be(good + busy, 200);
    must(good >= 8 && good <= 9 + 8 * (seconds() - begin));
    must_be(ac_sleep(0.3), 0);
    ask(at.peer, REMOTE_NAMES); // forgiven
    forget_parts();
    return unused;
}

TEST(who_asks_too_often_is_told_so) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(ask_too_often);
    child_end(peer);
    world_end();
}

static ac_value ask_badly(ac_value unused) {
    ac_ref at = find("server");
    static const uint8_t long_frame[] = {0x01, 0x01, 0x01}, short_frame[] = {0x01};
    must_be(remote_ask(at.peer, (enum remote_question)9, parts, PARTS, ac_after(PATIENCE_S)),
            -EINVAL);
    must_be(remote_ask(at.peer ^ 1, REMOTE_STATE, parts, PARTS, ac_after(1)), -EHOSTUNREACH);
    must_be(remote_ask(at.peer, REMOTE_STATE, parts, 1, ac_after(PATIENCE_S)), -EMSGSIZE);
    must_be(remote_ask(at.peer, REMOTE_STATE, parts, PARTS, AC_NOW), -ETIMEDOUT);
    throw_frame(at, FRAME_ASK, long_frame, sizeof long_frame);
    throw_frame(at, FRAME_ASK, short_frame, sizeof short_frame);
    throw_frame(at, FRAME_TOLD, long_frame, sizeof long_frame); // nobody has asked
    throw_frame(at, FRAME_TOLD, long_frame, 2);
    throw_frame(at, FRAME_TOLD, "\xff", 1);
    must_be(ac_deliver(at, 0, ac_after(PATIENCE_S)), 1);
    return unused;
}

TEST(bad_questions_and_answers_do_no_harm) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(ask_badly);
    child_end(peer);
    world_end();
}

static ac_value kill_peer(ac_value unused) {
    child_kill(peer);
    return unused;
}

static ac_value ask_one_who_dies(ac_value unused) {
    ac_ref at = find("server");
    must_be(ac_deliver(at, 0, ac_after(PATIENCE_S)), 1);
    child_freeze(peer);
    ac_time deadline = ac_after(PATIENCE_S);
    must_be(remote_ask(at.peer, REMOTE_STATE, parts, PARTS, ac_after(0.2)), -ETIMEDOUT);
    must(ac_ref_is(ac_spawn(kill_peer, ac_nil))); // once the question is on its way
    must_be(remote_ask(at.peer, REMOTE_STATE, parts, PARTS, deadline), -ECONNRESET);
    return unused;
}

TEST(the_loss_of_who_was_asked_is_told) {
    world_begin();
    peer = child(serving);
    hear(peer);
    run(ask_one_who_dies);
    world_end();
}

static ac_value ask_without_network(ac_value unused) {
    must_be(remote_ask(1, REMOTE_STATE, parts, PARTS, AC_FOREVER), -ENOTCONN);
    return unused;
}

TEST(without_a_network_or_a_coroutine_nobody_is_asked) {
    must_be(remote_ask(1, REMOTE_STATE, parts, PARTS, AC_FOREVER), -EPERM);
    run_with(ask_without_network, NULL);
}
