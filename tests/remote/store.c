// SPDX-License-Identifier: MIT
// Tests of src/remote/store.c: the folder into which peers send files, without peers and threads.
#include "remote/store.h"
#include "files.h"

static struct store *store;
static struct ac_transfer_limits limits = {.size = sizeof limits,
                                           .file_bytes_max = 1 << 30,
                                           .free_bytes_min = 1,
                                           .at_once = 8,
                                           .idle_s = 60,
                                           .keep_s = 3600,
                                           .no_sync = true};

static void open_store(void) {
    int err = 0;
    store = store_open(at("inbox"), &limits, NULL, &err);
    must_be(err < 0 ? err : 0, 0);
}

static void begin(void) {
    world_begin();
    make_inbox();
    open_store();
}

static void end(void) {
    store_drop(store);
    world_end();
}

// A deposit of a file as make_file makes it.
static struct deposit *offer(const char *name, size_t bytes, unsigned seed, unsigned mode) {
    struct deposit *it = deposit_create(store, name, strlen(name));
    uint8_t *content = memory_allocate(bytes + 1);
    must(it && content);
    for (size_t i = 0; i < bytes; i++)
        content[i] = byte_at(i, seed);
    must_be(digest_of(content, bytes, it->digest), 0);
    memory_release(content);
    it->bytes = bytes;
    it->permissions = mode;
    return it;
}

static int step(struct deposit *it, void (*step_of)(struct deposit *it)) {
    do {
        it->err = 0;
        it->more = false;
        step_of(it);
    } while (!it->err && it->more);
    return it->err;
}

static void put(struct deposit *it, size_t bytes, unsigned seed) {
    uint8_t *piece = memory_allocate(bytes);
    must(piece != NULL);
    for (size_t i = 0; i < bytes; i++)
        piece[i] = byte_at(it->at + i, seed);
    it->pieces[0] = ac_of_bytes(piece, bytes);
    it->piece_count = 1;
    memory_release(piece);
    must_be(step(it, deposit_write), 0);
    ac_drop(it->pieces[0]);
    it->piece_count = 0;
}

// All the steps. What the last of them gave; 1 if it was there.
static int bring(struct deposit *it, unsigned seed) {
    int err = step(it, deposit_look);
    if (!err && it->there)
        err = 1;
    if (!err)
        err = step(it, deposit_begin);
    if (!err && it->at < it->bytes)
        put(it, it->bytes - it->at, seed);
    if (!err)
        err = step(it, deposit_finish);
    if (err < 0)
        (void)step(it, deposit_undo);
    deposit_destroy(it);
    return err;
}

static int bring_file(const char *name, size_t bytes, unsigned seed, unsigned mode) {
    return bring(offer(name, bytes, seed, mode), seed);
}

static int delete (const char *name) {
    struct deposit *it = deposit_create(store, name, strlen(name));
    must(it != NULL);
    int err = step(it, deposit_delete);
    deposit_destroy(it);
    return err;
}

static bool good(const char *name) { return store_name_is_good(name, strlen(name)); }

TEST(names_lead_nowhere_else) {
    char part[256], deep[3 * 33 + 1];
    ck_assert(good("a"));
    ck_assert(good("a/b.c/..d"));
    ck_assert(good("a/.asyncoro"));
    ck_assert(good(".asyncoroo"));
    static const char *const bad[] = {"",    "/",   "/a",    "a/",        "a//b",
                                      ".",   "..",  "a/..",  "../a",      "a/../b",
                                      "./a", "a/.", "a/./b", ".asyncoro", ".asyncoro/a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!good(bad[i]), "%s", bad[i]);
    ck_assert(!store_name_is_good("a\0b", 3));
    memset(part, 'a', sizeof part);
    ck_assert(store_name_is_good(part, 255));
    ck_assert(!store_name_is_good(part, 256));
    for (int i = 0; i < 33; i++)
        memcpy(deep + 3 * (size_t)i, "aa/", 3);
    ck_assert(store_name_is_good(deep, 3 * 33 - 1));
    ck_assert(!store_name_is_good(deep, 3 * 33 + 1 - 1));
    memcpy(deep + 3 * 32, "a/a", 3);
    ck_assert(!store_name_is_good(deep, 3 * 33));
}

TEST(a_file_appears_whole_with_its_permissions) {
    begin();
    must_be(bring_file("a/b/c", 300000, 1, 0751), 0);
    must(is_file(at("inbox/a/b/c"), 300000, 1, 0751));
    must_be(bring_file("empty", 0, 1, 0444), 0);
    must(is_file(at("inbox/empty"), 0, 1, 0444));
    must_be(parts(NULL), 0);
    end();
}

TEST(set_user_id_never_travels) {
    begin();
    must_be(bring_file("a", 10, 1, 06777 | 01000), 0);
    must(is_file(at("inbox/a"), 10, 1, 0777));
    must_be(bring_file("a", 10, 1, 06700), 1);
    must(is_file(at("inbox/a"), 10, 1, 0700));
    end();
}

TEST(what_is_there_is_not_sent_again) {
    begin();
    must_be(bring_file("a", 5 << 20, 1, 0644), 0);
    must_be(bring_file("a", 5 << 20, 1, 0600), 1);
    must(is_file(at("inbox/a"), 5 << 20, 1, 0600));
    must_be(bring_file("a", 5 << 20, 2, 0600), 0);
    must(is_file(at("inbox/a"), 5 << 20, 2, 0600));
    must_be(bring_file("a", 3, 2, 0600), 0);
    must(is_file(at("inbox/a"), 3, 2, 0600));
    end();
}

// Whose permissions are not ours to change. Root alone can make one and be somebody else.
TEST(the_same_of_another_owner_is_replaced) {
    enum { SOMEBODY = 65534, SOMEBODY_ELSE = 65533 };
    begin();
    if (geteuid() == 0) {
        must_be(bring_file("a", 1000, 1, 0644), 0);
        must_be(chown(at("inbox/a"), SOMEBODY_ELSE, SOMEBODY_ELSE), 0);
        must_be(chown(at("inbox"), SOMEBODY, SOMEBODY), 0);
        must_be(chown(at("inbox/.asyncoro"), SOMEBODY, SOMEBODY), 0);
        must_be(seteuid(SOMEBODY), 0);
        struct deposit *new = offer("a", 1000, 1, 0600);
        new->is_new = true;
        must_be(bring(new, 1), -EEXIST);
        must_be(bring_file("a", 1000, 1, 0644), 1);
        must_be(bring_file("a", 1000, 1, 0600), 0);
        must_be(seteuid(0), 0);
        must(is_file(at("inbox/a"), 1000, 1, 0600));
    }
    end();
}

TEST(a_new_file_replaces_nothing) {
    begin();
    must_be(bring_file("a", 100, 1, 0644), 0);
    for (size_t bytes = 100; bytes < 102; bytes++) {
        struct deposit *it = offer("a", bytes, 2, 0644);
        it->is_new = true;
        must_be(bring(it, 2), -EEXIST);
    }
    struct deposit *it = offer("a", 100, 1, 0644);
    it->is_new = true;
    must_be(bring(it, 1), 1);
    // Somebody else was quicker.
    it = offer("b", 100, 1, 0644);
    it->is_new = true;
    must_be(step(it, deposit_look), 0);
    must_be(step(it, deposit_begin), 0);
    put(it, 100, 1);
    make_file(at("inbox/b"), 7, 7, 0644);
    must_be(step(it, deposit_finish), -EEXIST);
    must_be(step(it, deposit_undo), 0);
    deposit_destroy(it);
    must(is_file(at("inbox/b"), 7, 7, 0644));
    must_be(parts(NULL), 0);
    end();
}

TEST(what_came_of_it_is_found_again) {
    begin();
    struct deposit *it = offer("a", 1 << 20, 1, 0644);
    must_be(step(it, deposit_begin), 0);
    must_be(it->at, 0);
    put(it, 700000, 1);
    deposit_destroy(it); // broken off
    must(!is_there(at("inbox/a")));
    size_t bytes = 0;
    must_be(parts(&bytes), 1);
    must_be(bytes, 700000);
    // Not for another content, nor for another name.
    it = offer("a", 1 << 20, 2, 0644);
    must_be(step(it, deposit_begin), 0);
    must_be(it->at, 0);
    deposit_destroy(it);
    it = offer("b", 1 << 20, 1, 0644);
    must_be(step(it, deposit_begin), 0);
    must_be(it->at, 0);
    deposit_destroy(it);
    store_drop(store); // by another program
    open_store();
    it = offer("a", 1 << 20, 1, 0600);
    must_be(step(it, deposit_begin), 0);
    must_be(it->at, 700000);
    put(it, (1 << 20) - 700000, 1);
    must_be(step(it, deposit_finish), 0);
    deposit_destroy(it);
    must(is_file(at("inbox/a"), 1 << 20, 1, 0600));
    end();
}

TEST(a_beginning_that_is_spoilt_is_not_used_twice) {
    begin();
    struct deposit *it = offer("a", 1000, 1, 0644);
    must_be(step(it, deposit_begin), 0);
    put(it, 400, 2); // not what was promised
    char part[400];
    snprintf(part, sizeof part, "inbox/.asyncoro/%s", it->part_name);
    deposit_destroy(it);
    must_be(bring_file("a", 1000, 1, 0644), -EBADMSG);
    must_be(parts(NULL), 0);
    must(!is_there(at("inbox/a")));
    make_file(at(part), 2000, 1, 0600); // longer than the file
    must_be(bring_file("a", 1000, 1, 0644), 0);
    must(is_file(at("inbox/a"), 1000, 1, 0644));
    end();
}

TEST(a_beginning_that_leads_elsewhere_is_removed) {
    begin();
    struct deposit *it = offer("a", 1000, 1, 0644);
    must_be(step(it, deposit_begin), 0);
    char part[400];
    snprintf(part, sizeof part, "inbox/.asyncoro/%s", it->part_name);
    must_be(step(it, deposit_undo), 0);
    deposit_destroy(it);
    make_file(at("precious"), 10, 3, 0600);
    must_be(symlink(at("precious"), at(part)), 0);
    must_be(bring_file("a", 1000, 1, 0644), 0);
    must(is_file(at("precious"), 10, 3, 0600));
    must_be(link(at("precious"), at(part)), 0);
    must_be(bring_file("a", 1000, 2, 0644), 0);
    struct deposit *again = offer("a", 1000, 1, 0644);
    must_be(step(again, deposit_begin), 0);
    must_be(again->at, 0);
    deposit_destroy(again);
    must(is_file(at("precious"), 10, 3, 0600));
    end();
}

TEST(links_lead_nowhere) {
    begin();
    must_be(mkdir(at("outside"), 0700), 0);
    make_file(at("outside/a"), 10, 3, 0600);
    must_be(symlink(at("outside"), at("inbox/link")), 0);
    must_be(symlink(at("outside/a"), at("inbox/file")), 0);
    must_be(symlink(at("outside/new"), at("inbox/dangling")), 0);
    must_be(bring_file("link/a", 10, 1, 0644), -ELOOP);
    must_be(bring_file("link/new/b", 10, 1, 0644), -ELOOP);
    must_be(bring_file("file", 10, 1, 0644), -ELOOP);
    must_be(bring_file("file", 10, 3, 0644), -ELOOP); // the same content
    must_be(bring_file("dangling", 10, 1, 0644), -ELOOP);
    must_be(delete ("link/a"), -ELOOP);
    must_be(delete ("link"), -ELOOP);
    must_be(delete ("file"), -ELOOP);
    must(is_file(at("outside/a"), 10, 3, 0600));
    must_be(count_names(at("outside"), NULL), 1);
    must_be(parts(NULL), 0);
    end();
}

TEST(a_link_that_is_put_there_meanwhile_leads_nowhere) {
    begin();
    must_be(mkdir(at("outside"), 0700), 0);
    make_file(at("outside/a"), 10, 3, 0600);
    // In the place of a folder that was one when it was looked at.
    must_be(mkdir(at("inbox/folder"), 0700), 0);
    struct deposit *it = offer("folder/a", 10, 1, 0644);
    must_be(step(it, deposit_look), 0);
    must_be(step(it, deposit_begin), 0);
    put(it, 10, 1);
    must_be(rmdir(at("inbox/folder")), 0);
    must_be(symlink(at("outside"), at("inbox/folder")), 0);
    must_be(step(it, deposit_finish), -ELOOP);
    must_be(step(it, deposit_undo), 0);
    deposit_destroy(it);
    // In the place of the file.
    it = offer("b", 10, 1, 0644);
    must_be(step(it, deposit_look), 0);
    must_be(step(it, deposit_begin), 0);
    put(it, 10, 1);
    must_be(symlink(at("outside/a"), at("inbox/b")), 0);
    must_be(step(it, deposit_finish), -ELOOP);
    must_be(step(it, deposit_undo), 0);
    deposit_destroy(it);
    must(is_file(at("outside/a"), 10, 3, 0600));
    must_be(count_names(at("outside"), NULL), 1);
    // In the place of the folder of parts.
    store_drop(store);
    must_be(rmdir(at("inbox/.asyncoro")), 0);
    must_be(symlink(at("outside"), at("inbox/.asyncoro")), 0);
    int err = 0;
    must(store_open(at("inbox"), &limits, NULL, &err) == NULL);
    must_be(err, -ELOOP);
    must_be(unlink(at("inbox/.asyncoro")), 0);
    open_store();
    end();
}

TEST(what_is_no_file_is_left_alone) {
    begin();
    must_be(mkdir(at("inbox/folder"), 0700), 0);
    must_be(mkfifo(at("inbox/pipe"), 0600), 0);
    make_file(at("inbox/file"), 10, 3, 0600);
    must_be(bring_file("folder", 10, 1, 0644), -EISDIR);
    must_be(bring_file("pipe", 0, 1, 0644), -EEXIST);
    must_be(bring_file("file/a", 10, 1, 0644), -ENOTDIR);
    must_be(delete ("folder"), -EISDIR);
    must_be(delete ("pipe"), -ENOTSUP);
    must_be(delete ("file/a"), -ENOTDIR);
    must_be(delete ("nothing"), -ENOENT);
    must_be(delete ("no/thing"), -ENOENT);
    must(is_there(at("inbox/folder")) && is_there(at("inbox/pipe")));
    end();
}

TEST(empty_folders_go_with_their_last_file) {
    begin();
    must_be(bring_file("a/b/c", 10, 1, 0644), 0);
    must_be(bring_file("a/d", 10, 1, 0644), 0);
    must_be(delete ("a/b/c"), 0);
    must(!is_there(at("inbox/a/b")) && is_there(at("inbox/a/d")));
    must_be(delete ("a/d"), 0);
    must(!is_there(at("inbox/a")) && is_there(at("inbox")));
    end();
}

TEST(a_folder_that_goes_meanwhile_is_made_again) {
    begin();
    struct deposit *it = offer("a/b", 10, 1, 0644);
    must_be(step(it, deposit_look), 0);
    must_be(step(it, deposit_begin), 0);
    put(it, 10, 1);
    must_be(bring_file("a/c", 10, 1, 0644), 0);
    must_be(delete ("a/c"), 0);
    must_be(step(it, deposit_finish), 0);
    deposit_destroy(it);
    must(is_file(at("inbox/a/b"), 10, 1, 0644));
    end();
}

TEST(old_beginnings_go_and_so_do_the_oldest_of_too_many) {
    begin();
    struct deposit *in_use = offer("used", 1000, 1, 0644);
    must_be(step(in_use, deposit_begin), 0);
    char name[64];
    struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    snprintf(name, sizeof name, "inbox/.asyncoro/%.40s", "left-over");
    make_file(at(name), 10, 1, 0600);
    must_be(utimensat(AT_FDCWD, at(name), long_ago, 0), 0);
    char used[400];
    snprintf(used, sizeof used, "inbox/.asyncoro/%s", in_use->part_name);
    must_be(utimensat(AT_FDCWD, at(used), long_ago, 0), 0);
    must_be(bring_file("a", 10, 1, 0644), 0);
    must(!is_there(at(name)));
    must(is_there(at(used)));
    for (int i = 0; i < STORE_PARTS_MAX; i++) {
        snprintf(name, sizeof name, "inbox/.asyncoro/%d", i);
        make_file(at(name), 10, 1, 0600);
    }
    struct timespec before[2] = {{.tv_sec = time(NULL) - 100}, {.tv_sec = time(NULL) - 100}};
    must_be(utimensat(AT_FDCWD, at("inbox/.asyncoro/17"), before, 0), 0);
    must_be(utimensat(AT_FDCWD, at(used), NULL, 0), 0);
    must_be(bring_file("b", 10, 1, 0644), 0);
    must(!is_there(at("inbox/.asyncoro/17")));
    must_be(parts(NULL), STORE_PARTS_MAX);
    deposit_destroy(in_use);
    end();
}

TEST(the_disk_is_not_filled) {
    begin();
    uint64_t room;
    must_be(sys_beneath_free(store->folder, &room), 0);
    store->limits.free_bytes_min = room > 100000 ? room - 100000 : 1;
    must_be(bring_file("a", 3 << 20, 1, 0644), -ENOSPC);
    must_be(parts(NULL), 0);
    store->limits.free_bytes_min = INT64_MAX;
    must_be(bring_file("a", 0, 1, 0644), -ENOSPC);
    // What others have promised counts.
    store->limits.free_bytes_min = 1;
    struct deposit *it = offer("a", 1000, 1, 0644);
    it->bytes = room - (room >> 2);
    must_be(step(it, deposit_begin), 0);
    struct deposit *other = offer("b", 1000, 1, 0644);
    other->bytes = room - (room >> 2);
    must_be(step(other, deposit_begin), -ENOSPC);
    deposit_destroy(it);
    must_be(step(other, deposit_undo), 0);
    deposit_destroy(other);
    must_be(store->reserved, 0);
    end();
}

TEST(all_files_together_have_a_limit) {
    limits.all_bytes_max = 100000;
    begin();
    must_be(bring_file("a", 60000, 1, 0644), 0);
    must_be(bring_file("b", 60000, 1, 0644), -EDQUOT);
    must_be(bring_file("a", 70000, 1, 0644), 0); // replaces
    must_be(bring_file("b", 20000, 1, 0644), 0);
    for (int i = 0; i < 40; i++) { // small ones count, too
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (bring_file(name, 1, 1, 0644) < 0)
            break;
        must(i < 5);
    }
    must_be(delete ("a"), 0);
    must_be(bring_file("c", 50000, 1, 0644), 0);
    // What is on its way counts whole.
    struct deposit *it = offer("d", 18000, 1, 0644);
    must_be(step(it, deposit_begin), 0);
    must_be(bring_file("e", 8000, 1, 0644), -EDQUOT);
    deposit_destroy(it);
    end();
    limits.all_bytes_max = 0;
}

TEST(what_just_fits_is_taken) {
    limits.all_bytes_max = 2 * 4096; // the folder of parts counts, too
    begin();
    must_be(bring_file("a", 100, 1, 0644), 0); // its part is there already when all is counted
    must_be(bring_file("b", 1, 1, 0644), -EDQUOT);
    must_be(bring_file("a", 200, 2, 0644), 0); // what it replaces counted 4 KiB
    must_be(bring_file("b", 1, 1, 0644), -EDQUOT);
    end();
    limits.all_bytes_max = 0;
}

TEST(a_folder_that_is_full_is_not_counted_for_each_offer) {
    limits.all_bytes_max = 100000;
    begin();
    must_be(bring_file("a", 90000, 1, 0644), 0);
    store->count_ns = (ac_time)3600 * 1000 * 1000 * 1000; // as if it had taken an hour
    ac_time counted_at = store->counted_at;
    for (int i = 0; i < 100; i++)
        must_be(bring_file("b", 20000, 1, 0644), -EDQUOT);
    must(store->counted_at == counted_at);
    // What this program does there is known all the same.
    must_be(bring_file("a", 50000, 2, 0644), 0);
    must_be(bring_file("b", 20000, 1, 0644), 0);
    must_be(delete ("b"), 0);
    must_be(bring_file("c", 40000, 1, 0644), 0);
    must_be(bring_file("d", 10000, 1, 0644), -EDQUOT);
    must(store->counted_at == counted_at);
    // What others have done there is seen when it may be counted again.
    must_be(unlink(at("inbox/a")), 0);
    must_be(bring_file("d", 10000, 1, 0644), -EDQUOT);
    store->count_ns = 0;
    must_be(bring_file("d", 10000, 1, 0644), 0);
    must(store->counted_at > counted_at);
    end();
    limits.all_bytes_max = 0;
}

TEST(a_folder_belongs_to_one_program) {
    begin();
    int err = 0;
    must(store_open(at("inbox"), &limits, NULL, &err) == NULL);
    must_be(err, -EBUSY);
    struct store *again = store_open(at("inbox"), &limits, store, &err);
    must(again != NULL);
    store_drop(store);
    store = again;
    must(store_open(at("inbox"), &limits, NULL, &err) == NULL);
    must_be(err, -EBUSY);
    must(store_open(at("nothing"), &limits, NULL, &err) == NULL);
    must_be(err, -ENOENT);
    must(store_open(at("key"), &limits, NULL, &err) == NULL);
    end();
}

TEST(without_memory_nothing_is_left) {
    begin();
    for (long n = 1;; n++) {
        memory_fail_nth(n);
        struct deposit *it = deposit_create(store, "a", 1);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        must(failed == (it == NULL));
        deposit_destroy(it);
        if (!failed)
            break;
    }
    end();
}
