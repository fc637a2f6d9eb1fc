// SPDX-License-Identifier: MIT
// A node's store of contents: what arrives damaged or not at all, what is changed on the disk, what
// goes when there is too much, two nodes with one folder.
#include <fcntl.h>
#include <time.h>

#include "cluster/world.h"

enum { BYTES = 100000 };

static struct contents store;
static char base[96], folder[112];
static uint8_t bytes[4][BYTES];
static struct content content[4];

static void make_contents(void) {
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(sys_random_bytes(bytes[i], BYTES), 0);
        content[i].bytes = BYTES;
        ck_assert_int_eq(digest_of(bytes[i], BYTES, content[i].digest), 0);
    }
    snprintf(base, sizeof base, "%s/store", world_folder);
    snprintf(folder, sizeof folder, "%s/contents", base);
}

static int add_some(struct upload *upload, int i, uint64_t count) {
    int err = 0;
    for (uint64_t at = 0; !err && at < count; at += 30000)
        err = upload_add(upload, at, bytes[i] + at, count - at < 30000 ? count - at : 30000);
    return err;
}

// Stores a content; it is open in what is returned.
static int put(struct contents *contents, int i) {
    struct upload upload;
    char problem[PROBLEM_BYTES] = "";
    int fd = -1;
    ck_assert_int_eq(upload_begin(&upload, contents, &content[i]), 0);
    ck_assert_int_eq(add_some(&upload, i, BYTES), 0);
    ck_assert_int_eq(upload_end(&upload, &fd, problem), 0);
    upload_close(&upload);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static bool is_there(struct contents *contents, int i) {
    int fd;
    bool found = content_find(contents, &content[i], &fd);
    ck_assert_int_eq(found, fd >= 0);
    sys_fd_close(fd);
    return found;
}

static void path_in_store(int i, char path[256]) {
    char *at = path + sprintf(path, "%s/", folder);
    for (int n = 0; n < DIGEST_BYTES; n++, at += 2)
        sprintf(at, "%02x", content[i].digest[n]);
}

static size_t files_in_store(void) {
    struct buffer names;
    buffer_init(&names);
    ck_assert_int_eq(sys_folder_list(folder, &names), 0);
    size_t count = 0;
    for (size_t i = 0; i < names.length; i++)
        count += names.bytes[i] == 0;
    buffer_done(&names);
    return count;
}

static ac_value store_whole(ac_value unused) {
    (void)unused;
    struct upload upload;
    char problem[PROBLEM_BYTES];
    int fd = -1;
    contents_open(&store, base, 0);
    ck_assert(!is_there(&store, 0));

    ck_assert_int_eq(upload_begin(&upload, &store, &content[0]), 0);
    ck_assert_int_eq(add_some(&upload, 0, BYTES / 2), 0);
    ck_assert_uint_eq(files_in_store(), 1);
    ck_assert_int_eq(upload_add(&upload, 0, "again", 5), -EPROTO);
    ck_assert_int_eq(upload_end(&upload, &fd, problem), -EPROTO);
    ck_assert_ptr_nonnull(strstr(problem, "the upload ended after 50000 of 100000"));
    upload_close(&upload);
    upload_close(&upload);
    ck_assert_uint_eq(files_in_store(), 0);

    ck_assert_int_eq(upload_begin(&upload, &store, &content[0]), 0);
    ck_assert_int_eq(upload_add(&upload, 0, bytes[1], BYTES), 0);
    ck_assert_int_eq(upload_add(&upload, BYTES, "more", 4), -EPROTO);
    ck_assert_int_eq(upload_end(&upload, &fd, problem), -EPROTO);
    ck_assert_ptr_nonnull(strstr(problem, "SHA-256"));
    upload_close(&upload);
    ck_assert_uint_eq(files_in_store(), 0);

    sys_fd_close(put(&store, 0));
    ck_assert_uint_eq(files_in_store(), 1);
    ck_assert(is_there(&store, 0));
    struct content shorter = content[0];
    shorter.bytes--;
    ck_assert_int_eq(content_find(&store, &shorter, &fd), 0);

    struct content huge = {.bytes = (uint64_t)PROGRAM_BYTES_MAX + 1};
    ck_assert_int_eq(upload_begin(&upload, &store, &huge), -EFBIG);
    contents_close(&store);
    return ac_nil;
}

TEST(a_content_is_kept_only_if_it_arrived_whole) {
    world_make();
    make_contents();
    world_run(store_whole);
    world_clean();
}

// Also after it was checked, and when its time of modification has been put back.
static ac_value change_it(ac_value unused) {
    (void)unused;
    char path[256];
    struct stat before;
    contents_open(&store, base, 0);
    sys_fd_close(put(&store, 0));
    ck_assert(is_there(&store, 0));
    ck_assert(is_there(&store, 0));
    path_in_store(0, path);
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(before.st_mode & 0777, 0500);
    ck_assert_int_eq(chmod(path, 0700), 0);
    ck_assert(is_there(&store, 0));
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_file_write_at(fd, 100, "changed", 7), 0);
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    ck_assert_int_eq(futimens(fd, times), 0);
    sys_fd_close(fd);
    ck_assert(!is_there(&store, 0));
    // It comes again, in the place of the damaged one.
    sys_fd_close(put(&store, 0));
    ck_assert(is_there(&store, 0));
    ck_assert_uint_eq(files_in_store(), 1);
    contents_close(&store);
    // One of another node does not believe what this one has checked.
    contents_open(&store, base, 0);
    ck_assert(is_there(&store, 0));
    contents_close(&store);
    return ac_nil;
}

TEST(what_was_changed_on_the_disk_is_not_used) {
    world_make();
    make_contents();
    world_run(change_it);
    world_clean();
}

static void age(int i, int seconds) {
    char path[256];
    path_in_store(i, path);
    const struct timespec then[2] = {{.tv_sec = time(NULL) - seconds},
                                     {.tv_sec = time(NULL) - seconds}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, then, 0), 0);
}

static ac_value fill_up(ac_value unused) {
    (void)unused;
    contents_open(&store, base, 2 * BYTES + BYTES / 2);
    int used = put(&store, 0); // stays in use
    age(0, 300);
    sys_fd_close(put(&store, 1));
    age(1, 200);
    sys_fd_close(put(&store, 2));
    ck_assert_uint_eq(files_in_store(), 2); // the one in use, and the one that came last
    age(2, 100);
    ck_assert(is_there(&store, 0));
    ck_assert(!is_there(&store, 1));
    age(0, 300);
    sys_fd_close(put(&store, 3));
    ck_assert_uint_eq(files_in_store(), 2);
    ck_assert(is_there(&store, 0));
    age(3, 200);
    ck_assert(is_there(&store, 3)); // that is a use
    sys_fd_close(used);
    age(0, 100);
    sys_fd_close(put(&store, 1));
    ck_assert(!is_there(&store, 0));
    ck_assert(is_there(&store, 1));
    ck_assert(is_there(&store, 3));
    contents_close(&store);
    // The next node allows less.
    contents_open(&store, base, 1);
    ck_assert_uint_eq(files_in_store(), 0);
    // What is larger than all is kept while it is used.
    used = put(&store, 2);
    ck_assert(is_there(&store, 2));
    sys_fd_close(used);
    contents_close(&store);
    return ac_nil;
}

TEST(what_was_used_longest_ago_goes_but_never_what_is_in_use) {
    world_make();
    make_contents();
    world_run(fill_up);
    world_clean();
}

static ac_value share_it(ac_value unused) {
    (void)unused;
    static struct contents other;
    struct upload one, two;
    char problem[PROBLEM_BYTES] = "";
    int fd[2];
    contents_open(&store, base, 0);
    contents_open(&other, base, 0);
    // The same content arrives at both, and one of them opens its store meanwhile.
    ck_assert_int_eq(upload_begin(&one, &store, &content[0]), 0);
    ck_assert_int_eq(upload_begin(&two, &other, &content[0]), 0);
    ck_assert_int_eq(add_some(&one, 0, BYTES), 0);
    contents_close(&other);
    contents_open(&other, base, 0);
    ck_assert_uint_eq(files_in_store(), 2);
    ck_assert_int_eq(upload_end(&one, &fd[0], problem), 0);
    upload_close(&one);
    ck_assert(is_there(&other, 0));
    ck_assert_int_eq(add_some(&two, 0, BYTES), 0);
    ck_assert_int_eq(upload_end(&two, &fd[1], problem), 0);
    upload_close(&two);
    ck_assert_uint_eq(files_in_store(), 1);
    // What one uses the other does not remove.
    contents_close(&other);
    contents_open(&other, base, 1);
    ck_assert(is_there(&store, 0));
    sys_fd_close(fd[0]);
    sys_fd_close(fd[1]);
    // Nor what it has found there.
    ck_assert_int_eq(content_find(&store, &content[0], &fd[0]), 1);
    contents_close(&other);
    contents_open(&other, base, 1);
    ck_assert(is_there(&store, 0));
    sys_fd_close(fd[0]);
    contents_close(&other);
    contents_open(&other, base, 1);
    ck_assert(!is_there(&store, 0));
    contents_close(&store);
    contents_close(&other);
    return ac_nil;
}

TEST(two_nodes_have_one_folder_in_common) {
    world_make();
    make_contents();
    world_run(share_it);
    world_clean();
}

TEST(what_a_killed_node_left_of_an_upload_goes) {
    char path[300];
    world_make();
    make_contents();
    ck_assert_int_eq(sys_folder_make(folder), 0);
    path_in_store(0, path);
    strcat(path, ".0123456789abcdef");
    for (int round = 0; round < 2; round++) {
        int fd = sys_file_create(path);
        ck_assert_int_ge(fd, 0);
        const struct timespec then[2] = {{.tv_sec = time(NULL) - 600},
                                         {.tv_sec = time(NULL) - 600}};
        ck_assert_int_eq(futimens(fd, then), 0);
        if (round == 0) // it is held: somebody is at work on it
            ck_assert_int_eq(sys_file_hold(fd, true), 0);
        else
            sys_fd_close(fd);
        contents_open(&store, base, 0);
        contents_close(&store);
        ck_assert_uint_eq(files_in_store(), round == 0);
        if (round == 0) {
            sys_fd_close(fd);
            ck_assert_int_eq(sys_file_remove(path), 0);
        }
    }
    world_clean();
}

static ac_value store_in_memory(ac_value unused) {
    (void)unused;
    contents_open(&store, NULL, 0);
    ck_assert_str_eq(store.folder, "");
    int fd = put(&store, 0);
    ck_assert_int_eq(sys_file_bytes(fd), BYTES);
    ck_assert(!is_there(&store, 0));
    sys_fd_close(fd);
    contents_close(&store);
    return ac_nil;
}

TEST(without_a_folder_it_lies_in_memory) {
    world_make();
    make_contents();
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    world_run(store_in_memory);
    world_clean();
}

TEST(where_others_may_write_it_lies_in_memory) {
    world_make();
    make_contents();
    char path[512];
    snprintf(path, sizeof path, "%s/asyncoro/contents", getenv("XDG_CACHE_HOME"));
    ck_assert_int_eq(sys_folder_make(path), 0);
    ck_assert_int_eq(chmod(path, 0777), 0);
    world_run(store_in_memory);
    world_clean();
}

static ac_value digest_large(ac_value unused) {
    (void)unused;
    enum { LARGE = 3 << 20 };
    uint8_t one[DIGEST_BYTES], other[DIGEST_BYTES];
    uint8_t *all = malloc(LARGE);
    ck_assert_int_eq(sys_random_bytes(all, LARGE), 0);
    int fd = sys_memory_create("large", true);
    ck_assert_int_eq(sys_file_write_at(fd, 0, all, LARGE), 0);
    ck_assert_int_eq(digest_of(all, LARGE, one), 0);
    ck_assert_int_eq(content_digest(fd, LARGE, other), 0);
    ck_assert_mem_eq(one, other, DIGEST_BYTES);
    ck_assert_int_eq(content_digest(fd, LARGE + 1, other), -ENODATA);
    ck_assert_int_eq(content_digest(-1, 1, other), -EBADF);
    // Copies go the same way.
    int to = sys_memory_create("copy", true);
    ck_assert_int_eq(content_copy(fd, LARGE, to), 0);
    ck_assert_int_eq(content_digest(to, LARGE, other), 0);
    ck_assert_mem_eq(one, other, DIGEST_BYTES);
    ck_assert_int_eq(content_copy(fd, 1000, -1), -EBADF);
    sys_fd_close(to);
    sys_fd_close(fd);
    free(all);
    return ac_nil;
}

TEST(a_large_file_is_digested_by_a_helper) {
    world_make();
    world_run(digest_large);
    world_clean();
}
