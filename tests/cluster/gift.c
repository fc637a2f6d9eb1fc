// SPDX-License-Identifier: MIT
// What a node passes on to another one, which the test plays; and its supplier.
#include "cluster/world.h"

static ac_value nothing(ac_value unused) { return unused; }
AC_JOB(nothing)

JOBS_OF_THIS_TEST

static uint8_t bytes[3 * PIECE_BYTES + 17];
static ac_ref test;
static struct node node;

// An intake with two items, of which it has the first.
static void make_intake(struct intake *intake, struct intake_item items[2]) {
    int fd = sys_memory_create("item", false);
    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    ck_assert_int_eq(sys_file_write_at(fd, 0, bytes, sizeof bytes), 0);
    items[0] = (struct intake_item){.content.bytes = sizeof bytes, .fd = fd, .wanted = true};
    items[1] = (struct intake_item){.content.bytes = 100, .fd = -1};
    *intake = (struct intake){.items = items, .count = 2};
}

// Compares what comes, to the end.
static ac_value receiver(ac_value unused) {
    ac_value message;
    size_t count = 0;
    bool done = false;
    while (!done && ac_receive(&message, ac_after(TEST_PATIENCE_S)) == 0) {
        const char *word;
        uint64_t item, offset, round;
        ac_span piece;
        done = message_is(message, "done");
        if (!done) {
            ck_assert_int_eq(ac_unpack(message, &word, &item, &offset, &piece, &round), 0);
            ck_assert_uint_eq(item, 0);
            ck_assert_uint_eq(round, 5);
            ck_assert_uint_eq(offset, count);
            ck_assert_mem_eq(piece.at, bytes + offset, piece.bytes);
            count += piece.bytes;
        }
        ac_drop(message);
    }
    ck_assert(done);
    ck_assert_uint_eq(count, sizeof bytes);
    ck_assert_int_eq(ac_send(test, "all of it"), 0);
    return unused;
}

static ac_value drops_all(ac_value unused) {
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return unused;
}

static ac_value ends_at_once(ac_value unused) { return unused; }

static void await_cannot(ac_ref whom, uint64_t expected) {
    ac_value message;
    const char *word;
    ac_ref giver, host;
    ac_span secret;
    uint64_t round;
    ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert(message_is(message, "cannot"));
    ck_assert_int_eq(ac_unpack(message, &word, &giver, &secret, &host, &round), 0);
    ck_assert(ac_ref_equal(giver, test));
    ck_assert_str_eq(secret.at, "fifteen letters");
    ck_assert(ac_ref_equal(host, whom));
    ck_assert_uint_eq(round, expected);
    ac_drop(message);
}

static ac_value give(ac_value unused) {
    struct intake intake;
    struct intake_item items[2];
    ac_value message;
    test = ac_self();
    const struct voice voice = {.supplier = test, .host = test, .secret = "fifteen letters"};
    make_intake(&intake, items);
    ac_ref to = ac_spawn(receiver, ac_nil, .stack_bytes = 256 << 10);
    ck_assert_int_eq(gift_begin(&node, &intake, "test", &voice, to, ac_list(0), 5), 0);
    sys_fd_close(items[0].fd); // it has a copy, and outlives the host
    ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert_str_eq(ac_text_of(message), "all of it");
    ac_drop(message);

    make_intake(&intake, items);
    ac_ref gone = ac_spawn(ends_at_once, ac_nil);
    ck_assert_int_eq(ac_join(gone, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(gift_begin(&node, &intake, "test", &voice, gone, ac_list(0), 6), 0);
    await_cannot(gone, 6);
    // What is not here cannot be read.
    to = ac_spawn(drops_all, ac_nil, .daemon = true);
    ck_assert_int_eq(gift_begin(&node, &intake, "test", &voice, to, ac_list(1), 7), 0);
    await_cannot(to, 7);
    sys_fd_close(items[0].fd);
    return unused;
}

TEST(what_is_here_is_passed_on_and_what_cannot_be_is_said) {
    world_make();
    world_run(give);
    world_clean();
}
