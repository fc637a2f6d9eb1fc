// SPDX-License-Identifier: MIT
// Tests of src/remote/receive.c: what a receiver of files allows, and peers that mean harm.
#include "files.h"
#include "remote/transfer.h"

#include <signal.h>
#include <sys/resource.h>

static struct child peer;
static struct ac_transfer_limits limits;
static ac_ref server_ref;

// ---- the other side ----

static ac_value receiving(ac_value unused) {
    limits.size = sizeof limits;
    limits.no_sync = true;
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    return serving(unused);
}

static void with_receiver_of(ac_function receiver, ac_function client) {
    world_begin();
    make_inbox();
    peer = child(receiver);
    hear(peer);
    run(client);
    child_end(peer);
    world_end();
}

static void with_receiver(ac_function client) { with_receiver_of(receiving, client); }

static int send_file(size_t bytes, unsigned seed, const char *name) {
    make_file(at("file"), bytes, seed, 0600);
    return ac_transfer_send(server_ref.peer, at("file"), name, ac_after(PATIENCE_S));
}

static void meet(void) { server_ref = find("server"); }

// ---- frames of a sender that means harm ----

//
// Their numbers are none that the library would draw.
static void throw(uint64_t number, enum transfer_verb verb, int64_t argument, ac_value value) {
    must_be(transfer_frame(remote_of(loop_here), server_ref.peer, number + ((uint64_t)1 << 40),
                           verb, argument, value, ac_after(PATIENCE_S)),
            0);
}

static ac_value content_of(size_t bytes, unsigned seed) {
    uint8_t *content = memory_allocate(bytes + 1);
    must(content != NULL);
    for (size_t i = 0; i < bytes; i++)
        content[i] = byte_at(i, seed);
    ac_value value = ac_of_bytes(content, bytes);
    memory_release(content);
    return value;
}

static void offer(uint64_t number, const char *name, size_t name_bytes, int64_t bytes,
                  size_t digest_bytes) {
    static const uint8_t digest[DIGEST_BYTES + 1];
    throw(number, TRANSFER_OFFER, bytes,
          ac_list(transfer_name(name, name_bytes), 04777, ac_of_bytes(digest, digest_bytes),
                  ac_of_bool(false)));
}

static void await_parts(int count) {
    while (parts(NULL) != count)
        must_be(ac_sleep(0.002), 0);
}

static void await_bytes_of_a_part(void) {
    for (size_t bytes = 0; parts(&bytes) != 1 || bytes == 0;)
        must_be(ac_sleep(0.002), 0);
}

// All goes on.
static void check_it_serves(unsigned seed) {
    must_be(server_count(server_ref), 0);
    must_be(send_file(200000, seed, "well"), 0);
    must(is_file(at("inbox/well"), 200000, seed, 0600));
    must_be(count_names(at("inbox"), NULL), 2);
}

static ac_value offer_bad_names(ac_value unused) {
    (void)unused;
    meet();
    int before = count_names(world.folder, NULL);
    static const struct {
        const char *name;
        size_t bytes;
    } names[] = {
        {"../evil", 7}, {"/tmp/evil", 9}, {"a/../../evil", 12},   {"", 0},     {".", 1},
        {"..", 2},      {"a\0b", 3},      {".asyncoro/evil", 14}, {"a//b", 4}, {".asyncoro", 9},
        {"a/", 2}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        offer(1000 + i, names[i].name, names[i].bytes, 0, DIGEST_BYTES);
        offer(2000 + i, names[i].name, names[i].bytes, 5, DIGEST_BYTES);
        throw(2000 + i, TRANSFER_PIECE, 0, content_of(5, 1));
        throw(3000 + i, TRANSFER_DELETE, 0, transfer_name(names[i].name, names[i].bytes));
    }
    check_it_serves(1);
    must_be(parts(NULL), 0);
    must_be(count_names(world.folder, NULL), before + 1); // "file"
    return ac_nil;
}

TEST(bad_names_do_nothing) { with_receiver(offer_bad_names); }

static ac_value break_the_protocol(ac_value unused) {
    (void)unused;
    meet();
    // Nothing that could be understood.
    throw(1, TRANSFER_PIECE, 0, content_of(5, 1));
    throw(1, TRANSFER_LEAVE, 0, ac_nil);
    throw(1, 7, 0, ac_nil);
    throw(1, 1000000, 0, ac_nil);
    throw(1, TRANSFER_TOOK, 5, ac_nil);
    throw(1, TRANSFER_DONE, 0, ac_nil);
    throw(1, TRANSFER_OFFER, 5, ac_of_int(3));
    throw(1, TRANSFER_OFFER, 5, ac_list("a", "b", "c", "d"));
    throw(1, TRANSFER_DELETE, 0, ac_of_int(3));
    offer(1, "a", 1, -1, DIGEST_BYTES);
    offer(1, "a", 1, INT64_MIN, DIGEST_BYTES);
    offer(1, "a", 1, 5, DIGEST_BYTES - 1);
    offer(1, "a", 1, 5, DIGEST_BYTES + 1);
    offer(1, "a", 1, INT64_MAX, DIGEST_BYTES); // too large
    static const uint8_t noise[] = {0xff, 0, 0x1b, 1, 2, 3, 4, 5, 6, 7, 8, 0x9f, 0x5b};
    for (size_t i = 0; i < sizeof noise; i++)
        throw_frame_at_last(server_ref, FRAME_FILE, noise + i, sizeof noise - i);
    check_it_serves(1);
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(what_cannot_be_understood_does_nothing) { with_receiver(break_the_protocol); }

static ac_value send_wrong_pieces(ac_value unused) {
    (void)unused;
    meet();
    // A piece before it was asked for, one too far, an empty one, one that is too long, one of
    // another kind, twice the same offer.
    for (uint64_t i = 1; i <= 6; i++) {
        char name[2] = {(char)('a' + i), 0};
        offer(i, name, 1, 100, DIGEST_BYTES);
        if (i > 1)
            await_parts(1);
        if (i > 1)
            must_be(server_count(server_ref), 0);
        must_be(ac_sleep(i > 1 ? 0.1 : 0), 0);
        throw(i, TRANSFER_PIECE, i == 2 ? 10 : 0,
              i == 3   ? ac_of_bytes("", 0)
              : i == 4 ? content_of(101, 1)
              : i == 5 ? ac_of_int(7)
                       : content_of(10, 1));
        if (i == 6)
            offer(i, name, 1, 100, DIGEST_BYTES);
        check_it_serves((unsigned)i);
        must(!is_there(at("inbox/a")) || i == 0);
        // It was broken off: what has come of it may be kept.
        if (parts(NULL) == 1)
            must_be(system("rm -f \"$TRANSFER_PARTS\"/*"), 0);
    }
    // With the digest that they promise these bytes cannot have.
    offer(10, "wrong", 5, 10, DIGEST_BYTES);
    await_parts(1);
    must_be(ac_sleep(0.2), 0); // it asks for the pieces
    throw(10, TRANSFER_PIECE, 0, content_of(10, 1));
    await_parts(0);
    must(!is_there(at("inbox/wrong")));
    check_it_serves(9);
    return ac_nil;
}

TEST(wrong_pieces_end_what_they_belong_to) {
    world_begin();
    make_inbox();
    setenv("TRANSFER_PARTS", at("inbox/.asyncoro"), 1);
    peer = child(receiving);
    hear(peer);
    run(send_wrong_pieces);
    child_end(peer);
    world_end();
}

static ac_value offer_too_many(ac_value unused) {
    (void)unused;
    meet();
    for (uint64_t i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "many%d", (int)i);
        offer(1 + i, name, strlen(name), 1 << 20, DIGEST_BYTES);
        must(parts(NULL) <= 3);
    }
    // Whoever is silent is given up, and the others have their turn.
    must_be(send_file(1000, 1, "b"), -EBUSY);
    int err = -EBUSY;
    while (err == -EBUSY && ac_sleep(0.05) == 0)
        err = send_file(1000, 1, "b");
    must_be(err, 0);
    return ac_nil;
}

TEST(too_many_wait_and_the_silent_are_given_up, .seconds_max = 120) {
    limits.at_once = 3;
    limits.idle_s = 0.2;
    with_receiver(offer_too_many);
}

// ---- limits ----

static ac_value send_too_much(ac_value unused) {
    (void)unused;
    meet();
    must_be(send_file(100001, 1, "a"), -EFBIG);
    must_be(send_file(100000, 1, "a"), 0);
    must_be(send_file(100000, 1, "b"), -EDQUOT);
    must_be(ac_transfer_delete(server_ref.peer, "a", ac_after(PATIENCE_S)), -EACCES);
    must_be(count_names(at("inbox"), NULL), 2);
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(limits_hold) {
    limits.file_bytes_max = 100000;
    limits.all_bytes_max = 150000;
    limits.no_delete = true;
    with_receiver(send_too_much);
}

static ac_value send_without_room(ac_value unused) {
    (void)unused;
    meet();
    must_be(send_file(1, 1, "a"), -ENOSPC);
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(room_is_left_on_the_disk) {
    limits.free_bytes_min = UINT64_MAX;
    with_receiver(send_without_room);
}

static ac_value receiving_on_a_small_disk(ac_value unused) {
    struct rlimit small = {500000, 500000};
    signal(SIGXFSZ, SIG_IGN);
    must_be(setrlimit(RLIMIT_FSIZE, &small), 0);
    return receiving(unused);
}

static ac_value fill_the_disk(ac_value unused) {
    (void)unused;
    meet();
    must_be(send_file(3 << 20, 1, "a"), -EFBIG);
    must(!is_there(at("inbox/a")));
    must_be(parts(NULL), 0); // what nobody can use is no use
    check_it_serves(1);
    return ac_nil;
}

TEST(a_disk_that_is_full_keeps_nothing) {
    with_receiver_of(receiving_on_a_small_disk, fill_the_disk);
}

// ---- on and off, and news ----

static ac_value tell_of_files(ac_value unused) {
    (void)unused;
    limits.size = sizeof limits;
    limits.told = ac_self();
    limits.no_sync = true;
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    must_be(ac_register(ac_self(), "server"), 0);
    say();
    for (int i = 0; i < 2; i++) {
        ac_value message = next_message();
        const char *what, *name;
        int64_t bytes;
        must_be(ac_unpack(message, &what, &name, &bytes), 0);
        must_be(strcmp(what, i == 0 ? "received" : "deleted"), 0);
        must_be(strcmp(name, "a/b"), 0);
        must_be(bytes, i == 0 ? 300000 : 0);
        ac_drop(message);
    }
    must_be(ac_mailbox_count(), 0);
    must_be(ac_transfer_refuse(), 0);
    must_be(ac_transfer_refuse(), -ENOENT);
    say();
    must(told());
    must_be(mkdir(at("inbox2"), 0700), 0);
    must_be(ac_transfer_accept(at("inbox2")), 0);
    must_be(ac_transfer_accept(at("inbox2")), 0);
    say();
    return until_the_end(ac_nil);
}

static ac_value cause_news(ac_value unused) {
    (void)unused;
    meet();
    must_be(send_file(300000, 1, "a/b"), 0);
    must_be(send_file(300000, 1, "a/b"), 1);
    must_be(ac_transfer_delete(server_ref.peer, "a/b", ac_after(PATIENCE_S)), 0);
    hear(peer);
    must_be(send_file(10, 1, "a"), -EACCES);
    must_be(ac_transfer_delete(server_ref.peer, "a", ac_after(PATIENCE_S)), -EACCES);
    tell(peer);
    hear(peer);
    must_be(send_file(10, 1, "a"), 0);
    must(is_file(at("inbox2/a"), 10, 1, 0600));
    must(!is_there(at("inbox/a")));
    return ac_nil;
}

TEST(a_receiver_is_told_and_may_stop) { with_receiver_of(tell_of_files, cause_news); }

// Accepts files until some of one has come.
static void receive_the_beginning(void) {
    limits.size = sizeof limits;
    limits.no_sync = true;
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    must_be(ac_register(ac_self(), "server"), 0);
    say();
    await_bytes_of_a_part();
}

static ac_value stop_in_the_middle(ac_value unused) {
    receive_the_beginning();
    must_be(ac_transfer_refuse(), 0);
    say();
    must(told());
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    say();
    return until_the_end(unused);
}

static ac_value be_stopped(ac_value unused) {
    (void)unused;
    meet();
    make_file(at("file"), 1000, 1, 0600);
    must_be(truncate(at("file"), 96 << 20), 0);
    must_be(ac_transfer_send(server_ref.peer, at("file"), "a", ac_after(PATIENCE_S)), -EACCES);
    hear(peer);
    must(!is_there(at("inbox/a")));
    must_be(parts(NULL), 1);
    tell(peer);
    hear(peer);
    must_be(ac_transfer_send(server_ref.peer, at("file"), "a", ac_after(PATIENCE_S)), 0);
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(what_is_under_way_ends_with_it, .seconds_max = 120) {
    with_receiver_of(stop_in_the_middle, be_stopped);
}

// What is under way in a folder keeps it, whatever took its place meanwhile.
static ac_value change_in_the_middle(ac_value unused) {
    receive_the_beginning();
    must_be(ac_transfer_accept_with(at("inbox2"), &limits), 0);
    must_be(remote_of(loop_here)->transfers->take_count, 1);
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    must_be(ac_transfer_refuse(), 0);
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    must_be(remote_of(loop_here)->transfers->take_count, 1);
    say();
    must(told());
    // Now there is no room, for a while.
    struct ac_transfer_limits small = limits;
    small.free_bytes_min = UINT64_MAX;
    must_be(ac_transfer_accept_with(at("inbox"), &small), 0);
    say();
    must(told());
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    say();
    return until_the_end(unused);
}

static int send_large_file(void) {
    return ac_transfer_send(server_ref.peer, at("file"), "a", ac_after(PATIENCE_S));
}

static ac_value meet_changes(ac_value unused) {
    (void)unused;
    meet();
    must_be(mkdir(at("inbox2"), 0700), 0);
    make_file(at("file"), 1000, 1, 0600);
    must_be(truncate(at("file"), 96 << 20), 0);
    must_be(send_large_file(), -EACCES);
    hear(peer);
    must_be(parts(NULL), 1);
    tell(peer);
    hear(peer);
    size_t before = 0, after = 0;
    (void)parts(&before);
    must_be(send_large_file(), -ENOSPC);
    must_be(send_file(10, 2, "b"), -ENOSPC);
    must_be(parts(&after), 1); // of what had not begun nothing is kept
    must(before > 0 && after == before);
    make_file(at("file"), 1000, 1, 0600);
    must_be(truncate(at("file"), 96 << 20), 0);
    tell(peer);
    hear(peer);
    must_be(send_large_file(), 0);
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(a_folder_may_be_changed_while_files_come_and_want_of_room_passes, .seconds_max = 120) {
    with_receiver_of(change_in_the_middle, meet_changes);
}

// ---- what comes, by hand: of a peer that nobody can answer ----

enum { STRANGER = 77 };

static void come(uint64_t number, enum transfer_verb verb, int64_t argument, ac_value value) {
    struct arrival arrival = {.kind = ARRIVED_FILE,
                              .peer = STRANGER,
                              .number = number,
                              .verb = verb,
                              .result = argument,
                              .value = value};
    receive_arrived(remote_of(loop_here), &arrival);
    ac_drop(arrival.value);
}

static ac_value lose_who_deletes(ac_value unused) {
    (void)unused;
    limits = (struct ac_transfer_limits){.size = sizeof limits, .told = ac_self()};
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    make_file(at("inbox/a"), 10, 1, 0600);
    come(1, TRANSFER_DELETE, 0, ac_of_text("a"));
    must_be(ac_yield(), 0); // a thread is at it
    receive_lost(remote_of(loop_here), STRANGER);
    ac_value message = next_message();
    const char *what, *name;
    int64_t bytes;
    must_be(ac_unpack(message, &what, &name, &bytes), 0);
    must_be(strcmp(what, "deleted"), 0);
    ac_drop(message);
    must(!is_there(at("inbox/a")));
    return ac_nil;
}

TEST(what_was_deleted_is_told_though_the_peer_is_lost_meanwhile) {
    world_begin();
    make_inbox();
    run_with(lose_who_deletes, NULL);
    world_end();
}

static void come_offer(void) {
    static const uint8_t digest[DIGEST_BYTES];
    come(1, TRANSFER_OFFER, 10 << 20,
         ac_list("a", 0600, ac_of_bytes(digest, sizeof digest), ac_of_bool(false)));
    await_parts(1);
}

static void await_no_takes(void) {
    while (remote_of(loop_here)->transfers->take_count > 0)
        must_be(ac_sleep(0.002), 0);
}

static ac_value leave_before_it_begins(ac_value unused) {
    (void)unused;
    limits = (struct ac_transfer_limits){.size = sizeof limits, .no_sync = true};
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    come_offer();
    come(1, TRANSFER_LEAVE, 0, ac_nil);
    await_no_takes();
    must_be(parts(NULL), 0);
    come_offer();
    receive_lost(remote_of(loop_here), STRANGER);
    await_no_takes();
    must_be(parts(NULL), 0);
    return ac_nil;
}

TEST(of_what_had_not_begun_nothing_is_kept) {
    world_begin();
    make_inbox();
    run_with(leave_before_it_begins, NULL);
    world_end();
}

// Offers a file and sends so many pieces of it at once. Whether they were taken: they may come
// before they are asked for, which nobody here can see.
static bool take_pieces(int count, double pause) {
    const struct transfers *transfers = remote_of(loop_here)->transfers;
    size_t before = 0, bytes = 0;
    come_offer();
    must_be(ac_sleep(pause), 0);
    (void)parts(&before);
    for (int i = 0; i < count; i++)
        come(1, TRANSFER_PIECE, (int64_t)before + (int64_t)i * TRANSFER_PIECE_BYTES,
             content_of(TRANSFER_PIECE_BYTES, 1));
    do {
        must_be(ac_sleep(0.002), 0);
        (void)parts(&bytes);
    } while (transfers->take_count > 0 && bytes < before + (size_t)count * TRANSFER_PIECE_BYTES);
    must_be(ac_sleep(0.002), 0);
    bool taken = transfers->take_count == 1;
    receive_lost(remote_of(loop_here), STRANGER);
    await_no_takes();
    return taken;
}

static ac_value overrun_the_window(ac_value unused) {
    enum { WINDOW = TRANSFER_WINDOW_BYTES / TRANSFER_PIECE_BYTES };
    double pause = 0.02;
    (void)unused;
    limits = (struct ac_transfer_limits){.size = sizeof limits, .no_sync = true};
    must_be(ac_transfer_accept_with(at("inbox"), &limits), 0);
    while (!take_pieces(WINDOW, pause))
        must((pause *= 2) < 4 * PATIENCE_S);
    must(!take_pieces(WINDOW + 1, pause));
    return ac_nil;
}

TEST(no_more_of_a_file_is_taken_than_its_window, .seconds_max = 120) {
    world_begin();
    make_inbox();
    run_with(overrun_the_window, NULL);
    world_end();
}

// ---- rights ----

static ac_value lack_the_right(ac_value unused) {
    (void)unused;
    meet();
    must_be(send_file(10, 1, "a"), -EACCES);
    must_be(ac_transfer_delete(server_ref.peer, "a", ac_after(PATIENCE_S)), -EACCES);
    throw(1, TRANSFER_PIECE, 0, content_of(5, 1));
    must_be(server_count(server_ref), 0);
    must_be(count_names(at("inbox"), NULL), 1);
    return ac_nil;
}

TEST(who_lacks_the_right_sends_nothing) {
    static const struct ac_rights_rule rules[] = {{.may = AC_MAY_ALL & ~AC_MAY_SEND_FILES}};
    static const struct ac_network_options options = {
        .size = sizeof options, .loopback_only = true, .rights = rules, .rights_count = 1};
    world_begin();
    make_inbox();
    peer = child_with(receiving, &options);
    hear(peer);
    run(lack_the_right);
    child_end(peer);
    world_end();
}
