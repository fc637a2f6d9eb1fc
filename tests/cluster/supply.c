// SPDX-License-Identifier: MIT
// Bringing a program to a node: refusals, what the node answers to those who send it something
// else, limits.
#include "cluster/scheduler.h"
#include "cluster/world.h"

static ac_value nothing(ac_value unused) { return unused; }
AC_JOB(nothing)

JOBS_OF_THIS_TEST

// This coroutine plays the agent of a scheduler and the supplier of a client.
static ac_ref find_node(void) {
    ac_value message;
    ac_ref node = ac_no_ref;
    ck_assert_int_eq(remote_follow(NODE_NAME), 0);
    while (!ac_ref_is(node)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        (void)remote_holder_of(message, &node);
        ac_drop(message);
    }
    return node;
}

// What this program is, or says that it is.
struct said {
    struct cargo_item item;
    struct elf_facts facts;
};

static ac_value item_of(const struct said *it) {
    return ac_list(ac_of_bytes(it->item.content.digest, DIGEST_BYTES), it->item.content.bytes);
}

static void open_with(ac_ref node, ac_value cargo) {
    ck_assert_int_eq(ac_send(node, ac_list("open", ac_self(), "test", cargo, 1, ac_self(),
                                           ac_of_bytes("sixteen letters.", SECRET_BYTES), "",
                                           ac_nil, 0.0, false)),
                     0);
}

static void open_there(ac_ref node, const struct said *it) {
    open_with(node, ac_list(ac_list(item_of(it)),
                            ac_list(ac_list(0, elf_to_value(&it->facts), "test", ac_nil)), ac_nil,
                            ac_nil, false));
}

// The next message that opens with this word; to be dropped.
static ac_value await_word(const char *word) {
    ac_value message;
    for (;;) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (message_is(message, word))
            return message;
        ck_assert_msg(strcmp(word, "refused") != 0 || !message_is(message, "ready"),
                      "the node took it");
        ac_drop(message);
    }
}

static void await_refusal(const char *why) {
    const char *word, *text, *name;
    ac_value message = await_word("refused");
    ck_assert_int_eq(ac_unpack(message, &word, &text, &name), 0);
    ck_assert_str_eq(name, "here");
    ck_assert_msg(strstr(text, why) != NULL, "it says: %s", text);
    ac_drop(message);
}

static ac_ref await_need_of_round(int64_t item, uint64_t expected) {
    const char *word;
    ac_ref host;
    ac_span secret;
    ac_value wanted;
    uint64_t round;
    ac_value message = await_word("need");
    ck_assert_int_eq(ac_unpack(message, &word, &host, &secret, &wanted, &round), 0);
    ck_assert_mem_eq(secret.at, "sixteen letters.", SECRET_BYTES);
    ck_assert_uint_eq(round, expected);
    ck_assert_uint_eq(ac_count(wanted), 1);
    ac_value number = ac_at(wanted, 0);
    ck_assert_int_eq(ac_int_of(number), item);
    ac_drop(number);
    ac_drop(wanted);
    ac_drop(message);
    return host;
}

static ac_ref await_need(int64_t item) { return await_need_of_round(item, 1); }

static void send_piece(ac_ref host, const struct said *it, uint64_t offset) {
    uint8_t piece[1000];
    ck_assert_int_eq(sys_file_read_at(it->item.fd, offset, piece, sizeof piece), 0);
    ck_assert_int_eq(
        ac_send(host, ac_list("piece", 0, offset, ac_of_bytes(piece, sizeof piece), 1)), 0);
}

static ac_value play_agent(ac_value unused) {
    (void)unused;
    static struct cargo cargo;
    static struct said own, other;
    char problem[PROBLEM_BYTES];
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    own.item = cargo.items[0];
    ck_assert_int_eq(elf_read(own.item.fd, &own.facts, problem), 0);
    ac_ref node = find_node();

    other = own;
    other.facts.machine = own.facts.machine == 183 ? 62 : 183;
    open_there(node, &other);
    await_refusal("built for");

    other = own;
    strcat(other.facts.libraries, "libnowhere.so.4\n");
    open_there(node, &other);
    await_refusal("libnowhere.so.4");

    other = own;
    other.facts.libc_minor = 99;
    open_there(node, &other);
    await_refusal("needs GLIBC_2.99");

    other = own;
    other.item.content.bytes = 1ull << 40;
    open_there(node, &other);
    await_refusal("more than 1 GiB");

    open_there(node, &own); // truncated
    ac_ref host = await_need(0);
    send_piece(host, &own, 0);
    ck_assert_int_eq(ac_send(host, ac_list("done", 1)), 0);
    await_refusal("the upload ended after 1000 of");

    open_there(node, &own); // with a gap
    host = await_need(0);
    send_piece(host, &own, 2000);
    await_refusal("cannot be stored");

    other = own; // short, whole, and no program: the digest tells the one that was announced
    other.item.content.bytes = 1000;
    open_there(node, &other);
    host = await_need(0);
    send_piece(host, &other, 0);
    ck_assert_int_eq(ac_send(host, ac_list("done", 1)), 0);
    await_refusal("SHA-256");

    // A truncated program that says what it is: its segments lie past its end.
    uint8_t piece[1000];
    ck_assert_int_eq(sys_file_read_at(own.item.fd, 0, piece, sizeof piece), 0);
    ck_assert_int_eq(digest_of(piece, sizeof piece, other.item.content.digest), 0);
    open_there(node, &other);
    host = await_need(0);
    send_piece(host, &other, 0);
    ck_assert_int_eq(ac_send(host, ac_list("done", 1)), 0);
    await_refusal("truncated ELF");

    // What is no message of ours changes nothing.
    ck_assert_int_eq(ac_send(node, ac_list("open", 1, 2)), 0);
    ck_assert_int_eq(ac_send(node, "open"), 0);
    ck_assert_int_eq(ac_send(node, ac_nil), 0);
    other = own;
    other.facts.machine = 99;
    open_there(node, &other);
    await_refusal("machine 99");
    cargo_close(&cargo);
    return ac_nil;
}

TEST(a_node_refuses_what_it_cannot_run_and_says_why) {
    world_begin("1");
    world_run(play_agent);
    world_end();
}

static ac_value offer_variants(ac_value unused) {
    (void)unused;
    static struct cargo cargo;
    static struct said own, other;
    char problem[PROBLEM_BYTES];
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    own.item = cargo.items[0];
    ck_assert_int_eq(elf_read(own.item.fd, &own.facts, problem), 0);
    other = own;
    other.facts.machine = own.facts.machine == 183 ? 62 : 183;
    ac_ref node = find_node();

    // Two variants, of which neither runs here: each with its reason.
    struct said second = own;
    strcat(second.facts.libraries, "libnowhere.so.4\n");
    open_with(node, ac_list(ac_list(item_of(&other), item_of(&second)),
                            ac_list(ac_list(0, elf_to_value(&other.facts), "one", ac_nil),
                                    ac_list(1, elf_to_value(&second.facts), "two", ac_nil)),
                            ac_nil, ac_nil, false));
    await_refusal("; two: needs shared libraries that this node lacks: libnowhere.so.4");
    // Of two the second runs here, and is asked for.
    open_with(node, ac_list(ac_list(item_of(&other), item_of(&own)),
                            ac_list(ac_list(0, elf_to_value(&other.facts), "one", ac_nil),
                                    ac_list(1, elf_to_value(&own.facts), "two", ac_nil)),
                            ac_nil, ac_nil, false));
    ac_ref host = await_need(1);
    ck_assert_int_eq(ac_send(host, ac_list("close")), 0);
    cargo_close(&cargo);
    return ac_nil;
}

TEST(a_node_takes_the_first_variant_that_runs_there) {
    world_begin("1");
    world_run(offer_variants);
    world_end();
}

static ac_value upload_twice(ac_value unused) {
    (void)unused;
    ac_computation *one, *other;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&one, .workers_max = 1, .name = "caf\xc3"), 0);
    ck_assert_int_eq(ac_computation_open(&other, .workers_max = 1), 0);
    ck_assert_int_gt(ac_submit(one, nothing, 1), 0);
    ck_assert_int_gt(ac_submit(other, nothing, 2), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert(world_next_exit(&job, 20));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ac_drop(job.exit.value);
    }
    ck_assert_int_eq(ac_computation_close(one, AC_FOREVER), 0);
    return ac_result(ac_computation_close(other, AC_FOREVER));
}

TEST(two_computations_upload_the_same_program_at_once) {
    world_begin("2");
    world_run(upload_twice);
    world_end();
}

// Gets what one node passes on to another.
static ac_value receiver(ac_value expected) {
    static uint8_t piece_here[PIECE_BYTES];
    int64_t bytes = 0;
    ac_value message;
    struct said *own = ac_pointer_of(expected);
    bool done = false;
    while (!done && ac_receive(&message, ac_after(20)) == 0) {
        const char *word;
        uint64_t item, offset, round;
        ac_span piece;
        done = message_is(message, "done");
        if (ac_unpack(message, &word, &item, &offset, &piece, &round) == 0) {
            ck_assert_uint_eq(offset, (uint64_t)bytes);
            ck_assert_uint_eq(round, 7);
            ck_assert_int_eq(sys_file_read_at(own->item.fd, offset, piece_here, piece.bytes), 0);
            ck_assert_mem_eq(piece.at, piece_here, piece.bytes);
            bytes += (int64_t)piece.bytes;
        }
        ac_drop(message);
    }
    ck_assert(done);
    return ac_of(bytes);
}

static ac_value ends_at_once(ac_value unused) { return unused; }

// What comes of the rounds of a host's questions; and what it passes on.
static ac_value pass_on(ac_value unused) {
    (void)unused;
    static struct cargo cargo;
    static struct said own;
    struct cargo_sending sending = {.wanted = ac_nil};
    char problem[PROBLEM_BYTES];
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    own.item = cargo.items[0];
    ck_assert_int_eq(elf_read(own.item.fd, &own.facts, problem), 0);
    ac_ref node = find_node();
    open_there(node, &own);
    ac_ref host = await_need(0);

    // Told to, it asks once more, but not for another round than this one.
    send_piece(host, &own, 0);
    ck_assert_int_eq(ac_send(host, ac_list("again", 9)), 0);
    ck_assert_int_eq(ac_send(host, ac_list("again", 1)), 0);
    ck_assert(ac_ref_equal(await_need_of_round(0, 2), host));
    // Who was to send is gone.
    ac_ref giver = ac_spawn(ends_at_once, ac_nil);
    ck_assert_int_eq(ac_join(giver, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_send(host, ac_list("from", giver, "", 2)), 0);
    ck_assert(ac_ref_equal(await_need_of_round(0, 3), host));
    // What still comes of rounds before is dropped: else it would be out of order.
    send_piece(host, &own, 1000);
    ck_assert_int_eq(ac_send(host, ac_list("done", 1)), 0);
    cargo_send(&sending, ac_list(0), 3);
    for (bool over = false; !over;)
        ck_assert_int_eq(ac_send(host, cargo_next(&cargo, &sending, &over)), 0);
    ac_drop(await_word("have"));

    // It passes on what it has, and says when it cannot.
    ac_ref there = ac_spawn(receiver, ac_of_pointer(&own), .stack_bytes = 256 << 10);
    ac_value got;
    ck_assert_int_eq(ac_send(host, ac_list("give", there, "", ac_list(0), 7)), 0);
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(there, &exit, ac_after(20)), 0);
    got = exit.value;
    ck_assert_int_eq(ac_int_of(got), (int64_t)own.item.content.bytes);
    ac_drop(got);
    ck_assert_int_eq(ac_send(host, ac_list("give", giver, "", ac_list(0), 8)), 0);
    const char *word;
    ac_ref giver_of_it, whom;
    ac_span secret;
    uint64_t round;
    ac_value message = await_word("cannot");
    ck_assert_int_eq(ac_unpack(message, &word, &giver_of_it, &secret, &whom, &round), 0);
    ck_assert(ac_ref_equal(giver_of_it, host));
    ck_assert(ac_ref_equal(whom, giver));
    ck_assert_uint_eq(round, 8);
    ac_drop(message);
    ck_assert_int_eq(ac_send(host, ac_list("close")), 0);
    cargo_send_end(&sending);
    cargo_close(&cargo);
    return ac_nil;
}

TEST(a_node_passes_on_what_it_has_and_asks_once_more_for_what_does_not_come) {
    world_begin("1");
    world_run(pass_on);
    world_end();
}

// Who wants what workers write has all of it, and its end, before the end of the worker is told.
static ac_value await_end_of_output(ac_value unused) {
    static struct cargo cargo;
    static struct said own;
    struct cargo_sending sending = {.wanted = ac_nil};
    char problem[PROBLEM_BYTES];
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    own.item = cargo.items[0];
    ck_assert_int_eq(elf_read(own.item.fd, &own.facts, problem), 0);
    open_with(find_node(), ac_list(ac_list(item_of(&own)),
                                   ac_list(ac_list(0, elf_to_value(&own.facts), "test", ac_nil)),
                                   ac_nil, ac_nil, true));
    ac_ref host = await_need(0);
    cargo_send(&sending, ac_list(0), 1);
    for (bool over = false; !over;)
        ck_assert_int_eq(ac_send(host, cargo_next(&cargo, &sending, &over)), 0);
    ac_drop(await_word("worker"));
    ck_assert_int_eq(ac_send(host, ac_list("end", 1)), 0);
    bool ended = false, gone = false;
    while (!gone) {
        ac_value message;
        const char *word, *node;
        int64_t number;
        ac_ref from;
        ac_span secret, bytes;
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        gone = message_is(message, "gone");
        if (message_is(message, "output") &&
            ac_unpack(message, &word, &from, &secret, &node, &number, &bytes) == 0 && number == 1)
            ended |= bytes.bytes == 0;
        ac_drop(message);
    }
    ck_assert(ended);
    ck_assert_int_eq(ac_send(host, ac_list("close")), 0);
    cargo_send_end(&sending);
    cargo_close(&cargo);
    return unused;
}

TEST(what_a_worker_writes_ends_before_its_end_is_told) {
    world_begin("1");
    world_run(await_end_of_output);
    world_end();
}

// Of two nodes one is taken; when it is killed, the other one.
static ac_value take_one_node(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    struct ac_job_exit job;
    struct sys_process_end end;
    struct sys_process here = world_node;
    world_node_name = "there";
    world_start_node("1");
    struct sys_process there = world_node;
    ck_assert_int_eq(ac_computation_open(&computation, .nodes_max = 1), 0);
    struct ac_status status = world_await(AC_NODE_READY, 20);
    bool first = strcmp(status.text, "here") == 0;
    // Both are known by now, or will be soon.
    for (struct ac_peer_info peers[8]; ac_peers(peers, countof(peers)) < 2;)
        ck_assert_int_eq(ac_sleep(0.01), 0);
    struct sys_process *taken = first ? &here : &there;
    world_node = first ? there : here;
    sys_process_end(taken, true, false);
    status = world_await(AC_NODE_GONE, 20);
    ck_assert(status.lost);
    ck_assert_str_ne(status.location, "");
    ck_assert_str_eq(world_await(AC_NODE_READY, 20).text, first ? "there" : "here");
    ck_assert(world_ends(taken->handle, 10));
    ck_assert_int_eq(sys_process_reap(taken, &end), 0);
    ck_assert_int_gt(ac_submit(computation, nothing, 1), 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(when_a_node_goes_another_one_takes_its_place) {
    world_begin("1");
    world_run(take_one_node);
    world_end();
}

// Plays a node that announces more workers than any has. They are all itself, and have nothing to
// say.
static ac_value be_boastful_node(ac_value unused) {
    (void)unused;
    ac_value message = ac_nil;
    ac_ref agent = ac_no_ref;
    ck_assert_int_eq(ac_register(ac_self(), NODE_NAME), 0);
    do {
        ac_drop(message);
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    } while (!message_is(message, "open"));
    ac_value second = ac_at(message, 1);
    agent = ac_ref_of(second);
    ac_drop(second);
    ac_drop(message);
    ck_assert_int_eq(ac_send(agent, ac_list("host", ac_self(), "boastful")), 0);
    ck_assert_int_eq(ac_send(agent, ac_list("ready", 1, ac_list(1, 1 << 30, "", "x86_64"))), 0);
    for (int i = 1; i <= SITE_WORKERS_MAX; i++)
        ck_assert_int_eq(ac_send(agent, ac_list("worker", i, ac_self())), 0);
    ck_assert_int_eq(ac_send(agent, ac_list("worker", SITE_WORKERS_MAX + 1, ac_self())), 0);
    (void)ac_suspend(NULL, AC_FOREVER);
    return ac_nil;
}

static ac_value meet_boastful_node(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ac_ref node = ac_spawn(be_boastful_node, ac_nil);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status status;
    int found = 0;
    ac_value message;
    do {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        ck_assert(ac_status_of(message, &status));
        ac_drop(message);
        found += status.kind == AC_WORKER_FOUND;
    } while (status.kind != AC_NODE_GONE);
    ck_assert(status.lost);
    ck_assert_int_le(found, SITE_WORKERS_MAX);
    ck_assert_int_eq(ac_cancel(node), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_node_that_announces_too_many_workers_is_given_up) {
    world_make();
    world_run(meet_boastful_node);
    world_clean();
}

// The finder knows that a node is gone, and its agent not yet: what is kept of it goes with that.
TEST(a_node_that_is_gone_is_no_place_before_its_agent_knows) {
    struct scheduler scheduler = {.placement = placement_create(&agent_door, NULL)};
    struct desk desk = {.scheduler = &scheduler};
    struct site site = {.holder = {.peer = 1, .id = 2}};
    struct site_agent agent = {.desk = &desk, .site = &site};
    desk.place = placement_open(scheduler.placement, &(struct place_options){.user = &desk});
    struct list *const lists[] = {&scheduler.sites, &desk.agents, &desk.workers, &site.link,
                                  &agent.link};
    for (size_t i = 0; i < countof(lists); i++)
        list_init(lists[i]);
    map_init(&desk.disabled);
    list_append(&desk.agents, &agent.link);
    for (enum steer what = STEER_SUSPEND; what < STEERS; what++)
        ck_assert_int_eq(supply_steer(&desk, site.holder, what), -ESRCH);
    ck_assert_uint_eq(map_count(&desk.disabled), 0);
    ck_assert(batch_empty(&desk.news));
    ac_value none = supply_list(&desk, 0);
    ck_assert_uint_eq(ac_count(none), 1);
    ac_drop(none);
    map_done(&desk.disabled);
    placement_destroy(scheduler.placement);
}
