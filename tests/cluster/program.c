// SPDX-License-Identifier: MIT
// Programs as files: the digest, the cache, what arrives damaged or not at all.
#include <fcntl.h>

#include "cluster/world.h"

static uint8_t digest[DIGEST_BYTES];
static struct program own;

static int store_some(struct program_store *store, uint64_t count, const uint8_t *damage) {
    uint8_t piece[PIECE_BYTES];
    for (uint64_t at = 0; at < count;) {
        size_t bytes = count - at < sizeof piece ? (size_t)(count - at) : sizeof piece;
        ck_assert_int_eq(sys_file_read_at(own.fd, at, piece, bytes), 0);
        if (damage && at == 0)
            piece[bytes - 1] ^= *damage;
        int err = program_store_add(store, at, piece, bytes);
        if (err)
            return err;
        at += bytes;
    }
    return 0;
}

static ac_value find_and_store(ac_value unused) {
    (void)unused;
    struct program_store store;
    struct elf_facts needs;
    char problem[PROBLEM_BYTES];
    int fd = -1;
    ck_assert_int_eq(program_open_own(&own), 0);
    ck_assert_int_eq(program_digest(own.fd, own.bytes, digest), 0);
    ck_assert_mem_eq(digest, own.digest, DIGEST_BYTES);
    ck_assert_int_eq(program_find(digest, own.bytes, &fd), 0);

    ck_assert_int_eq(program_store_open(&store, digest, own.bytes), 0);
    ck_assert_int_eq(store_some(&store, own.bytes / 2, NULL), 0);
    ck_assert_int_eq(program_store_end(&store, &fd, &needs, problem), -EPROTO);
    ck_assert_ptr_nonnull(strstr(problem, "the upload ended after"));
    ck_assert_int_eq(program_store_add(&store, 0, "again", 5), -EPROTO);
    program_store_close(&store);
    ck_assert_int_eq(program_find(digest, own.bytes, &fd), 0);

    static const uint8_t one = 1;
    ck_assert_int_eq(program_store_open(&store, digest, own.bytes), 0);
    ck_assert_int_eq(store_some(&store, own.bytes, &one), 0);
    ck_assert_int_eq(program_store_add(&store, own.bytes, "more", 4), -EPROTO);
    ck_assert_int_eq(program_store_end(&store, &fd, &needs, problem), -EPROTO);
    ck_assert_ptr_nonnull(strstr(problem, "SHA-256"));
    program_store_close(&store);

    ck_assert_int_eq(program_store_open(&store, digest, own.bytes), 0);
    ck_assert_int_eq(store_some(&store, own.bytes, NULL), 0);
    ck_assert_int_eq(program_store_end(&store, &fd, &needs, problem), 0);
    ck_assert_mem_eq(&needs, &own.facts, sizeof needs);
    program_store_close(&store);
    sys_fd_close(fd);
    ck_assert_int_eq(program_find(digest, own.bytes, &fd), 1);
    sys_fd_close(fd);
    ck_assert_int_eq(program_find(digest, own.bytes - 1, &fd), 0);

    // What was changed in the cache is not used.
    fd = open(store.path, O_WRONLY);
    ck_assert_int_eq(sys_file_write_at(fd, 100, "changed", 7), 0);
    sys_fd_close(fd);
    ck_assert_int_eq(program_find(digest, own.bytes, &fd), 0);
    program_close(&own);
    return ac_nil;
}

TEST(a_program_is_kept_only_if_it_arrived_whole) {
    world_make();
    world_run(find_and_store);
    world_clean();
}

static ac_value store_in_memory(ac_value unused) {
    (void)unused;
    struct program_store store;
    struct elf_facts needs;
    char problem[PROBLEM_BYTES];
    int fd = -1;
    ck_assert_int_eq(program_open_own(&own), 0);
    ck_assert_int_eq(program_store_open(&store, own.digest, own.bytes), 0);
    ck_assert_str_eq(store.path, "");
    ck_assert_int_eq(store_some(&store, own.bytes, NULL), 0);
    ck_assert_int_eq(program_store_end(&store, &fd, &needs, problem), 0);
    program_store_close(&store);
    ck_assert_int_eq(sys_file_bytes(fd), (int64_t)own.bytes);
    sys_fd_close(fd);
    ck_assert_int_eq(program_store_open(&store, own.digest, (uint64_t)PROGRAM_BYTES_MAX + 1),
                     -EFBIG);
    program_close(&own);
    return ac_nil;
}

TEST(without_a_cache_it_lies_in_memory) {
    world_make();
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    world_run(store_in_memory);
    world_clean();
}

TEST(where_others_may_write_it_lies_in_memory) {
    world_make();
    char folder[512];
    snprintf(folder, sizeof folder, "%s/asyncoro/programs", getenv("XDG_CACHE_HOME"));
    ck_assert_int_eq(sys_folder_make(folder), 0);
    ck_assert_int_eq(chmod(folder, 0777), 0);
    world_run(store_in_memory);
    world_clean();
}
