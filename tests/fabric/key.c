// SPDX-License-Identifier: MIT
// Tests of the key file and of what is derived from the key.
#include "fabric/fabric_private.h"
#include "test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[TEST_TEMPLATE_BYTES];
static pid_t maker; // of the folder: the one who removes it

static int remove_entry(const char *path, const struct stat *facts, int type, struct FTW *where) {
    (void)facts, (void)type, (void)where;
    return remove(path);
}

static void remove_folder(void) {
    if (getpid() == maker)
        (void)nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *fresh_folder(void) {
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    maker = getpid();
    ck_assert_int_eq(atexit(remove_folder), 0);
    unsetenv("ASYNCORO_KEY_FILE");
    setenv("XDG_CONFIG_HOME", folder, 1);
    return folder;
}

static void in_folder(char path[256], const char *name) {
    snprintf(path, 256, "%s/%s", folder, name);
}

static void put_file(const char *path, const char *text, mode_t mode) {
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static int find(const char *given, uint8_t key[32]) {
    char text[256] = "", path[KEY_PATH_BYTES];
    struct key_ring ring;
    int err = key_path(given, true, path, text);
    if (!err)
        err = key_find(path, &ring, text);
    ck_assert((err == 0) == (text[0] == 0));
    if (!err) {
        ck_assert_uint_eq(ring.count, 1);
        memcpy(key, ring.keys[0], 32);
    }
    return err;
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
#define OTHER "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

TEST(a_key_is_made_at_first_use_and_found_later) {
    uint8_t first[32], second[32];
    char path[256];
    struct stat facts;
    fresh_folder();
    ck_assert_int_eq(find(NULL, first), 0);
    ck_assert_int_eq(find(NULL, second), 0);
    ck_assert_mem_eq(first, second, 32);
    in_folder(path, "asyncoro/key");
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_int_eq(facts.st_mode & 07777, 0600);
    ck_assert_int_eq(facts.st_size, 65);
}

TEST(racers_end_with_the_same_key) {
    uint8_t keys[8][32];
    int ends[2];
    fresh_folder();
    ck_assert_int_eq(pipe(ends), 0);
    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            uint8_t key[32];
            _exit(find(NULL, key) != 0 || write(ends[1], key, 32) != 32);
        }
    for (int i = 0; i < 8; i++) {
        int status;
        wait(&status);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(read(ends[0], keys[i], 32), 32);
        ck_assert_mem_eq(keys[i], keys[0], 32);
    }
}

TEST(a_key_that_others_can_read_is_refused) {
    uint8_t key[32];
    char path[256];
    fresh_folder();
    in_folder(path, "key");
    put_file(path, HEX "\n", 0640);
    ck_assert_int_eq(find(path, key), -EACCES);
    chmod(path, 0600);
    ck_assert_int_eq(find(path, key), 0);
}

TEST(blanks_and_comments_are_skipped) {
    uint8_t key[32];
    char path[256];
    fresh_folder();
    in_folder(path, "key");
    put_file(path, "# the lab's key: abcdef\r\n  " HEX "\t\r\n\n# the end", 0600);
    ck_assert_int_eq(find(path, key), 0);
    for (int i = 0; i < 32; i++)
        ck_assert_int_eq(key[i], i);
}

TEST(a_file_that_holds_no_key_is_refused) {
    static const char *const bad[] = {"",
                                      "\n",
                                      "00",
                                      HEX "0",
                                      HEX HEX,
                                      "g" HEX,
                                      HEX " # x",
                                      "#" HEX,
                                      HEX "\n" HEX,
                                      HEX "\n0",
                                      HEX "\n" OTHER "\n"
                                          "00" HEX};
    uint8_t key[32];
    char path[256];
    fresh_folder();
    in_folder(path, "key");
    for (size_t i = 0; i < countof(bad); i++) {
        put_file(path, bad[i], 0600);
        ck_assert_int_eq(find(path, key), -EINVAL);
    }
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 10000; i++)
        fputc('\n', file);
    fclose(file);
    ck_assert_int_eq(find(path, key), -EINVAL);
}

TEST(the_environment_names_the_file) {
    uint8_t first[32], second[32];
    char path[256];
    fresh_folder();
    in_folder(path, "elsewhere");
    setenv("ASYNCORO_KEY_FILE", path, 1);
    ck_assert_int_eq(find(NULL, first), 0);
    ck_assert_int_eq(access(path, R_OK), 0);
    unsetenv("ASYNCORO_KEY_FILE");
    ck_assert_int_eq(find(NULL, second), 0);
    ck_assert_mem_ne(first, second, 32);
    ck_assert_int_eq(find(path, second), 0);
    ck_assert_mem_eq(first, second, 32);
}

TEST(a_file_in_a_folder_that_is_not_there_is_not_made) {
    uint8_t key[32];
    char path[256];
    fresh_folder();
    in_folder(path, "no/such/key");
    ck_assert_int_eq(find(path, key), -ENOENT);
}

TEST(without_a_home_the_text_says_what_to_do) {
    char text[256] = "", path[KEY_PATH_BYTES];
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    unsetenv("ASYNCORO_KEY_FILE");
    ck_assert_int_lt(key_path(NULL, true, path, text), 0);
    ck_assert_ptr_nonnull(strstr(text, "ASYNCORO_KEY_FILE"));
}

TEST(two_keys_are_read_as_they_were_written) {
    struct key_ring ring, again;
    char text[KEY_TEXT_BYTES];
    ck_assert_int_eq(key_parse(HEX "\n" OTHER, 129, &ring), 0);
    ck_assert_uint_eq(ring.count, 2);
    ck_assert_uint_eq(ring.keys[0][0], 0);
    ck_assert_uint_eq(ring.keys[1][0], 0xff);
    ck_assert(key_ring_has(&ring, ring.keys[1]));
    size_t bytes = key_print(&ring, text);
    ck_assert_uint_eq(bytes, 130);
    ck_assert_int_eq(key_parse(text, bytes, &again), 0);
    ck_assert_mem_eq(&ring, &again, sizeof ring);
    ck_assert_int_eq(key_parse(text, 65, &again), 0);
    ck_assert(!key_ring_has(&again, ring.keys[1]));
    ck_assert_int_eq(key_parse("x", 1, &again), -EINVAL);
    ck_assert_uint_eq(again.count, 0);
}

TEST(a_file_is_replaced_only_if_it_is_as_it_was_read) {
    struct key_ring before, after = {.count = 2}, now;
    char path[256], text[256];
    fresh_folder();
    in_folder(path, "key");
    ck_assert_int_eq(key_find(path, &before, text), 0);
    ck_assert_int_eq(key_create(path, &before, text), -EEXIST);
    ck_assert_int_eq(key_draw(after.keys[0]), 0);
    memcpy(after.keys[1], before.keys[0], KEY_BYTES);
    ck_assert_int_eq(key_replace(path, &before, &after, text), 0);
    ck_assert_int_eq(key_load(path, &now, text), 0);
    ck_assert_mem_eq(&now, &after, sizeof now);
    ck_assert_int_eq(key_replace(path, &before, &before, text), -ESTALE);
    ck_assert_int_eq(key_load(path, &now, text), 0);
    ck_assert_mem_eq(&now, &after, sizeof now);
    chmod(path, 0604);
    ck_assert_int_eq(key_replace(path, &after, &before, text), -EACCES);
    ck_assert_ptr_nonnull(strstr(text, "chmod 600"));
    ck_assert_int_eq(key_replace("/no/such/key", &after, &before, text), -ENOENT);
}

TEST(of_many_that_rotate_at_once_one_succeeds) {
    enum { RACERS = 8 };
    struct key_ring before, now;
    char path[256], text[256];
    int winners = 0;
    fresh_folder();
    in_folder(path, "key");
    ck_assert_int_eq(key_find(path, &before, text), 0);
    for (int i = 0; i < RACERS; i++)
        if (fork() == 0) {
            struct key_ring after = {.count = 2};
            memset(after.keys[0], i + 1, KEY_BYTES);
            memcpy(after.keys[1], before.keys[0], KEY_BYTES);
            int err = key_replace(path, &before, &after, text);
            _exit(err == 0 ? i + 1 : err == -ESTALE ? 0 : 100);
        }
    for (int i = 0; i < RACERS; i++) {
        int status;
        wait(&status);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 100);
        if (WEXITSTATUS(status))
            winners = winners * 100 + WEXITSTATUS(status);
    }
    ck_assert_int_eq(key_load(path, &now, text), 0);
    ck_assert_int_eq(now.keys[0][0], winners);
}

TEST(a_fingerprint_names_a_key) {
    uint8_t key[32] = {1};
    char one[KEY_FINGERPRINT_BYTES], two[KEY_FINGERPRINT_BYTES];
    struct key_derived derived;
    ck_assert_int_eq(key_fingerprint(key, one), 0);
    ck_assert_uint_eq(strlen(one), 16);
    ck_assert_int_eq(key_derive(key, &derived), 0);
    ck_assert_str_eq(derived.identity + strlen("asyncoro/1/"), one);
    key[0] = 2;
    ck_assert_int_eq(key_fingerprint(key, two), 0);
    ck_assert_str_ne(one, two);
}

TEST(what_is_derived_differs_by_purpose_and_by_key) {
    uint8_t key[32] = {1};
    struct key_derived a, b;
    ck_assert_int_eq(key_derive(key, &a), 0);
    key[31] = 1;
    ck_assert_int_eq(key_derive(key, &b), 0);
    ck_assert_mem_ne(a.tls, a.beacon, 32);
    ck_assert_mem_ne(a.tls, b.tls, 32);
    ck_assert_str_ne(a.identity, b.identity);
    ck_assert_int_eq(strlen(a.identity), strlen("asyncoro/1/0123456789abcdef"));
    ck_assert_mem_eq(a.identity, "asyncoro/1/", 11);
}
