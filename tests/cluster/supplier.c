// SPDX-License-Identifier: MIT
// How what nodes lack gets from a client to many of them: puppets play the nodes, and tell the test
// what each is told.
#include "cluster/client_private.h"
#include "cluster/world.h"

enum { PUPPETS = 5 };

static ac_ref test, supplier, puppets[PUPPETS];
static uint64_t pieces[PUPPETS]; // bytes that each has got
static ac_computation *computation;

static ac_value nothing(ac_value unused) { return unused; }
AC_JOB(nothing)

JOBS_OF_THIS_TEST

// Counts pieces, and passes on what else it gets.
static ac_value puppet(ac_value argument) {
    int64_t index = ac_int_of(argument);
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ac_span piece;
        const char *word;
        uint64_t item, offset, round;
        if (message_is(message, "piece") &&
            ac_unpack(message, &word, &item, &offset, &piece, &round) == 0) {
            pieces[index] += piece.bytes;
            ac_drop(message);
        } else if (ac_send(test, ac_list(index, message)) < 0) {
            break;
        }
    }
    return ac_nil;
}

// Of the nodes in a process.
static ac_value secret_of(uint64_t peer) {
    uint8_t secret[SECRET_BYTES];
    ck_assert_int_eq(supplier_secret(computation->key, peer, secret), 0);
    return ac_of_bytes(secret, sizeof secret);
}

static ac_value secret(void) { return secret_of(ac_self().peer); }

static void need(int index, int64_t item, uint64_t round) {
    ck_assert_int_eq(
        ac_send(supplier, ac_list("need", puppets[index], secret(), ac_list(item), round)), 0);
}

static void have(int index) {
    ck_assert_int_eq(ac_send(supplier, ac_list("have", puppets[index], secret())), 0);
}

// The next word that any of them is told. To be dropped.
static ac_value await(int *index, const char *word) {
    ac_value message, body;
    for (;;) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (ac_unpack(message, index, &body) == 0) {
            ac_drop(message);
            break;
        }
        ac_drop(message); // a status
    }
    if (!message_is(body, word)) {
        char text[200];
        (void)ac_format(text, sizeof text, "%v", body);
        ck_abort_msg("puppet %d is told %s, not %s", *index, text, word);
    }
    return body;
}

static void await_at(int expected, const char *word) {
    int index;
    ac_drop(await(&index, word));
    ck_assert_int_eq(index, expected);
}

static ac_value begin(void) {
    test = ac_self();
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    supplier = coro_ref(computation->supplier);
    for (int i = 0; i < PUPPETS; i++) {
        pieces[i] = 0;
        puppets[i] = ac_spawn(puppet, ac_of(i), .daemon = true);
        ck_assert(ac_ref_is(puppets[i]));
    }
    ck_assert_uint_ge(computation->cargo.items[0].content.bytes, 1 << 20); // else nobody shares it
    return ac_nil;
}

static ac_value end(void) { return ac_result(ac_computation_close(computation, AC_NOW)); }

static uint64_t whole(void) { return computation->cargo.items[0].content.bytes; }

// Puppet `to` is told that `from` sends, and `from` is told to.
static void await_gift(int from, int to) {
    const char *word, *address;
    ac_ref host;
    ac_value items;
    uint64_t round;
    int first, second;
    ac_value one = await(&first, "from");
    ck_assert_int_eq(first, to);
    ck_assert_int_eq(ac_unpack(one, &word, &host, &address, &round), 0);
    ck_assert(ac_ref_equal(host, puppets[from]));
    ac_drop(one);
    ac_value other = await(&second, "give");
    ck_assert_int_eq(second, from);
    ck_assert_int_eq(ac_unpack(other, &word, &host, &address, &items, &round), 0);
    ck_assert(ac_ref_equal(host, puppets[to]));
    ck_assert_uint_eq(ac_count(items), 1);
    ac_drop(items);
    ac_drop(other);
}

static ac_value share(ac_value unused) {
    (void)unused;
    begin();
    for (int i = 0; i < PUPPETS; i++)
        need(i, 0, 1);
    await_at(0, "done");
    await_at(1, "done");
    ck_assert_uint_eq(pieces[0], whole());
    ck_assert_uint_eq(pieces[1], whole());
    have(0);
    await_gift(0, 2); // and the place that 0 had with us is free
    await_at(3, "done");
    ck_assert_uint_eq(pieces[3], whole());
    have(1); // and not 0, which has enough to do
    await_gift(1, 4);
    ck_assert_uint_eq(pieces[2] + pieces[4], 0);
    return end();
}

TEST(large_cargo_goes_from_the_client_to_two_nodes_and_from_these_to_others) {
    world_make();
    world_run(share);
    world_clean();
}

static ac_value share_little(ac_value unused) {
    (void)unused;
    begin();
    for (int i = 0; i < PUPPETS; i++)
        need(i, 17, 1); // there is no such item: nothing is to be sent
    for (int i = 0; i < PUPPETS; i++)
        await_at(i, "done");
    return end();
}

TEST(little_cargo_goes_from_the_client_at_once) {
    world_make();
    world_run(share_little);
    world_clean();
}

static ac_value need_too_much(ac_value unused) {
    enum { ITEMS = 20000 };
    static ac_value items[ITEMS];
    (void)unused;
    begin();
    for (int i = 0; i < ITEMS; i++)
        items[i] = ac_of(0);
    ac_value wanted = ac_list_of(items, ITEMS);
    ck_assert_int_eq(ac_send(supplier, ac_list("need", puppets[0], secret(), wanted, 1)), 0);
    need(1, 0, 1);
    await_at(1, "done");
    ck_assert_uint_eq(pieces[0], 0);
    return end();
}

TEST(who_asks_for_more_than_there_is_gets_nothing) {
    world_make();
    world_run(need_too_much);
    world_clean();
}

static ac_value lose_giver(ac_value unused) {
    (void)unused;
    begin();
    for (int i = 0; i < 3; i++)
        need(i, 0, 1);
    await_at(0, "done");
    await_at(1, "done");
    have(0);
    await_gift(0, 2);
    // It cannot: who waits is told, and asks once more.
    ck_assert_int_eq(ac_send(supplier, ac_list("cannot", puppets[0], secret(), puppets[2], 1)), 0);
    await_at(2, "again");
    need(2, 0, 2);
    await_at(2, "done");
    ck_assert_uint_eq(pieces[2], whole());
    // It is gone: what it had is nobody's source.
    ck_assert_int_eq(ac_cancel(puppets[0]), 0);
    ck_assert_int_eq(ac_join(puppets[0], NULL, AC_FOREVER), 0);
    have(2);
    need(3, 0, 1);
    await_gift(2, 3);
    return end();
}

TEST(a_node_that_cannot_pass_it_on_is_left_for_the_client_itself) {
    world_make();
    world_run(lose_giver);
    world_clean();
}

static ac_value distrust_giver(ac_value unused) {
    (void)unused;
    begin();
    for (int i = 0; i < 3; i++)
        need(i, 0, 1);
    await_at(0, "done");
    await_at(1, "done");
    have(0);
    await_gift(0, 2);
    need(2, 0, 2); // what came was not what it should be, or nothing did
    await_at(2, "done");
    need(3, 0, 1);
    have(1);
    await_gift(1, 3);
    return end();
}

TEST(a_node_that_has_passed_it_on_badly_does_so_no_more) {
    world_make();
    world_run(distrust_giver);
    world_clean();
}

static ac_value lose_takers(ac_value unused) {
    (void)unused;
    begin();
    for (int i = 0; i < 3; i++)
        need(i, 0, 1);
    await_at(0, "done");
    await_at(1, "done");
    // Neither says that it has it; when one ends, its place is free.
    ck_assert_int_eq(ac_cancel(puppets[0]), 0);
    await_at(2, "done");
    ck_assert_uint_eq(pieces[2], whole());
    return end();
}

TEST(a_node_that_ends_leaves_its_place_to_one_that_waits) {
    world_make();
    world_run(lose_takers);
    world_clean();
}

// Two are sent to, who take their time, and the third waits.
static ac_value keep_waiting(ac_value unused) {
    (void)unused;
    begin();
    computation->wait_ns = 200 * 1000 * 1000;
    for (int i = 0; i < 3; i++)
        need(i, 0, 1);
    await_at(0, "done");
    await_at(1, "done");
    ac_value message = ac_nil;
    ac_time until = ac_after(20);
    do { // what comes for the supplier all the time changes nothing
        ac_drop(message);
        ck_assert_int_eq(ac_send(supplier, ac_list("have", ac_self(), secret())), 0);
    } while (ac_receive(&message, ac_after(0.02)) == -ETIMEDOUT && ac_now() < until);
    ac_value body;
    int index;
    ck_assert_int_eq(ac_unpack(message, &index, &body), 0);
    ck_assert_int_eq(index, 2);
    ck_assert(message_is(body, "wait"));
    ac_drop(body);
    ac_drop(message);
    return end();
}

TEST(a_node_that_waits_is_told_so_however_much_else_comes) {
    world_make();
    world_run(keep_waiting);
    world_clean();
}

static ac_value deaf(ac_value unused) {
    ck_assert_int_eq(ac_mailbox_limit(2, AC_SENDER_WAITS), 0);
    (void)ac_suspend(NULL, AC_FOREVER);
    return unused;
}

// A node that asks again and again, and takes nothing in.
static ac_value ask_in_vain(ac_value unused) {
    (void)unused;
    begin();
    ck_assert_int_eq(ac_cancel(puppets[0]), 0);
    puppets[0] = ac_spawn(deaf, ac_nil, .daemon = true);
    for (int round = 1; round <= 30; round++) {
        need(0, 0, (uint64_t)round);
        ck_assert_int_eq(ac_sleep(0.001), 0);
    }
    need(1, 0, 1);
    await_at(1, "done"); // what came before it has been seen to
    ck_assert_uint_le(computation->helpers, 5);
    return end();
}

TEST(a_node_that_asks_and_takes_nothing_in_holds_up_nobody) {
    world_make();
    world_run(ask_in_vain);
    world_clean();
}

// Each has what would be answered, if it were heard.
static void say_in_vain(ac_value name, ac_value shown) {
    struct output *output = &computation->output;
    const char *words[] = {"need", "have", "output"};
    for (int i = 0; i < 3; i++) {
        ac_value more = i == 0 ? ac_list(0) : i == 1 ? ac_nil : ac_of("spoken");
        ac_value message = i == 0   ? ac_list(words[i], ac_hold(name), ac_hold(shown), more, 1)
                           : i == 1 ? ac_list(words[i], ac_hold(name), ac_hold(shown))
                                    : ac_list(words[i], ac_hold(name), ac_hold(shown), more, 1,
                                              ac_of_bytes("x", 1));
        ck_assert_int_eq(ac_send(supplier, message), 0);
    }
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_uint_eq(map_count(&output->streams), 0);
    ac_drop(name);
    ac_drop(shown);
}

static ac_value speak_for_others(ac_value unused) {
    (void)unused;
    begin();
    computation->output.wanted = computation->output.here = true;
    uint8_t nearly[SECRET_BYTES];
    uint64_t here = ac_self().peer;
    ac_ref elsewhere = puppets[0];
    elsewhere.peer++;
    ck_assert_int_eq(supplier_secret(computation->key, here, nearly), 0);
    nearly[SECRET_BYTES - 1] ^= 1;
    say_in_vain(ac_of(puppets[0]), ac_nil);
    say_in_vain(ac_of(puppets[0]), ac_of_bytes(nearly, sizeof nearly));
    say_in_vain(ac_of(puppets[0]), ac_of_bytes(nearly, SECRET_BYTES - 1));
    say_in_vain(ac_of(puppets[0]), secret_of(here + 1));
    say_in_vain(ac_of(elsewhere), secret());
    say_in_vain(ac_of("who"), secret());
    ck_assert_int_eq(ac_send(supplier, ac_list("need")), 0);
    ck_assert_int_eq(ac_send(supplier, "need"), 0);
    // They would have been answered before this.
    need(1, 0, 1);
    await_at(1, "done");
    ck_assert_uint_eq(pieces[0], 0);
    // And it is no giver who says that one cannot give.
    for (int i = 2; i < 4; i++)
        need(i, 0, 1);
    await_at(2, "done");
    have(1);
    await_gift(1, 3);
    ck_assert_int_eq(ac_send(supplier, ac_list("cannot", puppets[0], secret(), puppets[3], 1)), 0);
    ck_assert_int_eq(
        ac_send(supplier, ac_list("cannot", puppets[1], secret_of(here + 1), puppets[3], 1)), 0);
    need(4, 17, 1);
    await_at(4, "done"); // and 3 was told nothing before
    return end();
}

TEST(nobody_speaks_for_a_host_but_who_was_told_its_secret) {
    world_make();
    world_run(speak_for_others);
    world_clean();
}
