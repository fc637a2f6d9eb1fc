// SPDX-License-Identifier: MIT
// Tests of what lets a process in: keys that are rotated while links stand and frames flow.
#include "fabric/rig.h"

#include <sys/resource.h>
#include <sys/stat.h>

static char folder[TEST_TEMPLATE_BYTES];
static char key_file[96];

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    (void)!system(command);
}

static void world_begin(void) {
    struct key_ring ring;
    char text[256];
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(atexit(remove_folder), 0);
    snprintf(key_file, sizeof key_file, "%s/key", folder);
    ck_assert_int_eq(key_find(key_file, &ring, text), 0);
}

static struct side *side_of_file(uint64_t peer) {
    struct fabric_options options = rig_options(peer);
    options.key = NULL;
    options.key_path = key_file;
    options.grace = 4 * NS_PER_S;
    return side_open(&options);
}

static struct key_ring keys_of_file(void) {
    struct key_ring ring;
    char text[256] = "";
    ck_assert_msg(key_load(key_file, &ring, text) == 0, "%s", text);
    return ring;
}

static size_t keys_of(struct side *side) { return rig_in(side, fabric_keys(side->fabric)->count); }

// The present key becomes the older one.
static void rotate(void) {
    struct key_ring before = keys_of_file(), after = {.count = 2};
    char text[256];
    ck_assert_int_eq(key_draw(after.keys[0]), 0);
    memcpy(after.keys[1], before.keys[0], KEY_BYTES);
    ck_assert_int_eq(key_replace(key_file, &before, &after, text), 0);
}

static void retire(void) {
    struct key_ring before = keys_of_file(), after = {.count = 1};
    char text[256];
    memcpy(after.keys[0], before.keys[0], KEY_BYTES);
    ck_assert_int_eq(key_replace(key_file, &before, &after, text), 0);
}

// Sends numbered frames both ways, as many as go, until the condition holds.
static uint64_t numbers[2];

static void pump(struct side *a, struct side *b) {
    while (side_count(a, 2, numbers[0], 500) == 0)
        numbers[0]++;
    while (side_count(b, 1, numbers[1], 500) == 0)
        numbers[1]++;
    rig_turn();
}

#define pump_until(a, b, condition, seconds_)                                                      \
    do {                                                                                           \
        double pump_end = rig_seconds() + (seconds_);                                              \
        while (!(condition)) {                                                                     \
            if (rig_seconds() > pump_end)                                                          \
                ck_abort_msg("in vain: %s", #condition);                                           \
            pump(a, b);                                                                            \
        }                                                                                          \
    } while (0)

TEST(a_given_key_needs_no_file) {
    uint8_t given[64] = {7, [32] = 8};
    struct fabric_options options = rig_options(1);
    options.key = given;
    options.key_path = "/no/such/folder/key";
    struct side *a = side_open(&options);
    ck_assert_uint_eq(keys_of(a), 1);
    ck_assert_mem_eq(fabric_keys(a->fabric)->keys[0], given, 32);
    options.peer = 2;
    options.key_count = 2;
    struct side *b = side_open(&options);
    ck_assert_uint_eq(keys_of(b), 2);
    ck_assert_mem_eq(fabric_keys(b->fabric)->keys[1], given + 32, 32);
    rig_close_all();
}

// Of two that hold both keys, the old one or the new one, only the last two do not come together.
TEST(who_has_two_keys_links_with_holders_of_either) {
    uint8_t both[64] = {1, [32] = 2};
    const uint8_t *keys[] = {both, both, both + 32}; // of sides 1 to 3: both, the new, the old
    struct side *sides[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct fabric_options options = rig_options(i + 1);
        options.key = keys[i];
        options.key_count = i == 0 ? 2 : 1;
        sides[i] = side_open(&options);
    }
    for (int first = 0; first < 3; first++)
        for (int then = 0; then < 3; then++) {
            if (first == then)
                continue;
            struct sys_address there = loopback(side_port(sides[then]));
            struct side *from = sides[first];
            from->reached = false;
            ck_assert_int_eq(rig_in(from, fabric_reach(from->fabric, &there, ac_after(10), from)),
                             0);
            rig_until(from->reached, 10);
            ck_assert_int_eq(from->reach_err, first && then ? -EACCES : 0);
        }
    rig_close_all();
}

TEST(a_change_that_could_not_be_read_is_read_later) {
    struct rlimit before, none;
    world_begin();
    struct side *a = side_of_file(1);
    rotate();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig_for(3); // it is looked every two seconds
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    rig_until(keys_of(a) == 2, 10);
    rig_close_all();
}

TEST(keys_are_rotated_while_frames_flow_and_nothing_is_lost, .seconds_max = 120) {
    world_begin();
    struct side *a = side_of_file(1), *b = side_of_file(2);
    side_introduce(a, 2, side_port(b));
    pump_until(a, b, a->frames > 100 && b->frames > 100, 10);
    struct connection *before = peer_find(a->fabric, 2)->connection;
    rotate();
    pump_until(a, b, keys_of(a) == 2 && keys_of(b) == 2, 10);
    ck_assert_ptr_eq(peer_find(a->fabric, 2)->connection, before); // the old key is still good
    retire();
    pump_until(a, b, keys_of(a) == 1 && keys_of(b) == 1, 10);
    uint64_t a_frames = a->frames, b_frames = b->frames;
    pump_until(a, b, a->frames > a_frames + 100 && b->frames > b_frames + 100, 10);
    rig_until(a->frames == numbers[1] && b->frames == numbers[0], 10);
    struct key_derived derived;
    struct key_ring now = keys_of_file();
    ck_assert_int_eq(key_derive(now.keys[0], &derived), 0);
    // Between two connections there is none for a moment.
    rig_until(peer_find(a->fabric, 2)->connection, 10);
    ck_assert_str_eq(tls_identity(peer_find(a->fabric, 2)->connection->tls), derived.identity);
    ck_assert_int_eq(a->disorder + b->disorder, 0);
    ck_assert_int_eq(a->lost + b->lost, 0);
    ck_assert_int_eq(a->linked + b->linked, 2);
    rig_close_all();
}

// The one sees the new key at once and the other at its next look: they find together again within
// the grace time.
TEST(a_key_may_be_replaced_at_once) {
    world_begin();
    struct side *a = side_of_file(1), *b = side_of_file(2);
    side_introduce(a, 2, side_port(b));
    pump_until(a, b, a->frames > 0 && b->frames > 0, 10);
    rotate();
    retire();
    struct key_ring now = keys_of_file();
    pump_until(a, b,
               key_ring_has(fabric_keys(a->fabric), now.keys[0]) &&
                   key_ring_has(fabric_keys(b->fabric), now.keys[0]),
               10);
    uint64_t a_frames = a->frames, b_frames = b->frames;
    pump_until(a, b, a->frames > a_frames && b->frames > b_frames, 10);
    ck_assert_int_eq(a->disorder + b->disorder + a->lost + b->lost, 0);
    rig_close_all();
}

TEST(who_has_only_a_retired_key_is_lost_and_gets_in_no_more, .seconds_max = 120) {
    world_begin();
    struct key_ring old = keys_of_file();
    struct fabric_options options = rig_options(2);
    options.key = old.keys[0];
    options.grace = 2 * NS_PER_S;
    struct side *a = side_of_file(1), *b = side_open(&options);
    side_introduce(b, 1, side_port(a));
    ck_assert_int_eq(side_count(b, 1, 0, 10), 0);
    rig_until(a->frames == 1, 10);
    rotate();
    rig_until(keys_of(a) == 2, 10);
    ck_assert_int_eq(a->lost, 0);
    retire();
    rig_until(a->lost == 1 && b->lost == 1, 20);
    ck_assert_int_eq(a->reason, -ENOTCONN);
    ck_assert_int_eq(b->reason, -ENOTCONN);
    struct sys_address there = loopback(side_port(a));
    ck_assert_int_eq(rig_in(b, fabric_reach(b->fabric, &there, ac_after(10), b)), 0);
    rig_until(b->reached, 10);
    ck_assert_int_eq(b->reach_err, -EACCES);
    rig_close_all();
}

TEST(a_file_that_cannot_be_taken_up_changes_nothing) {
    world_begin();
    struct side *a = side_of_file(1);
    struct key_ring ring = keys_of_file();
    ck_assert_int_eq(chmod(key_file, 0644), 0);
    rig_until(a->fabric->looked > 0, 1);
    ac_time looked = a->fabric->looked;
    rig_until(a->fabric->looked > looked, 10);
    ck_assert_mem_eq(fabric_keys(a->fabric), &ring, sizeof ring);
    ck_assert_int_eq(unlink(key_file), 0);
    looked = a->fabric->looked;
    rig_until(a->fabric->looked > looked, 10);
    ck_assert_mem_eq(fabric_keys(a->fabric), &ring, sizeof ring);
    ck_assert_int_ne(access(key_file, F_OK), 0); // nor is one made
    rig_close_all();
}

// Who would listen first would be told that the port is taken.
TEST(without_a_good_key_nothing_listens) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t bytes = sizeof at;
    char text[256];
    int err = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    world_begin();
    struct side *a = side_of(9);
    struct fabric_options options = rig_options(1);
    options.key = NULL;
    options.key_path = key_file;
    options.loopback_only = false;
    options.port = ntohs(at.sin_port);
    ck_assert_ptr_null(rig_in(a, fabric_open(a->guest, &options, &rig_door, a, &err, text)));
    ck_assert_int_eq(err, -EADDRINUSE);
    ck_assert_int_eq(chmod(key_file, 0644), 0);
    ck_assert_ptr_null(rig_in(a, fabric_open(a->guest, &options, &rig_door, a, &err, text)));
    ck_assert_int_eq(err, -EACCES);
    ck_assert_int_eq(chmod(key_file, 0600) | truncate(key_file, 7), 0);
    ck_assert_ptr_null(rig_in(a, fabric_open(a->guest, &options, &rig_door, a, &err, text)));
    ck_assert_int_eq(err, -EINVAL);
    options.key_path = "/no/such/folder/key";
    ck_assert_ptr_null(rig_in(a, fabric_open(a->guest, &options, &rig_door, a, &err, text)));
    ck_assert_int_eq(err, -ENOENT);
    close(fd);
    rig_close_all();
}

// Somebody was refused, maybe because the key has changed there first: that is looked at soon.
TEST(a_refused_stranger_has_the_file_looked_at) {
    world_begin();
    struct side *a = side_of_file(1), *b = side_of(2);
    rig_until(a->fabric->looked > 0, 1);
    ac_time looked = a->fabric->looked;
    struct sys_address there = loopback(side_port(a));
    ck_assert_int_eq(rig_in(b, fabric_reach(b->fabric, &there, ac_after(10), b)), 0);
    rig_until(b->reached, 10);
    ck_assert_int_eq(b->reach_err, -EACCES);
    rig_until(a->fabric->looked > looked, 10);
    ck_assert_int_lt(a->fabric->looked - looked, LOOK_NS);
    rig_close_all();
}

TEST(beacons_are_signed_with_each_key) {
    uint8_t both[64] = {1, [32] = 2}, signature[DIGEST_BYTES];
    struct identity *all, *old;
    char text[256];
    struct fabric_options options = {.key = both, .key_count = 2};
    ck_assert_int_eq(identity_open(&all, &options, text), 0);
    options = (struct fabric_options){.key = both + 32};
    ck_assert_int_eq(identity_open(&old, &options, text), 0);
    ck_assert_uint_eq(identity_signatures(all), 2);
    ck_assert_int_eq(identity_sign(all, 1, "it", 2, signature), 0);
    ck_assert(identity_signed(old, "it", 2, signature));
    ck_assert_int_eq(identity_sign(all, 0, "it", 2, signature), 0);
    ck_assert(!identity_signed(old, "it", 2, signature));
    ck_assert(identity_signed(all, "it", 2, signature));
    ck_assert_int_eq(identity_sign(old, 0, "it", 2, signature), 0);
    ck_assert(identity_signed(all, "it", 2, signature));
    identity_close(all);
    identity_close(old);
}
