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

static char folder[64];
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
    strcpy(folder, "/tmp/asyncoro-key-XXXXXX");
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

static int find(const char *path, uint8_t key[32]) {
    char text[256] = "";
    struct fabric_options options = {.key_path = path};
    int err = key_find(&options, key, text);
    ck_assert((err == 0) == (text[0] == 0));
    return err;
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

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
    put_file(path, "# the lab's key: abcdef\r\n  " HEX "\r\n\n# the end", 0600);
    ck_assert_int_eq(find(path, key), 0);
    for (int i = 0; i < 32; i++)
        ck_assert_int_eq(key[i], i);
}

TEST(a_file_that_holds_no_key_is_refused) {
    static const char *const bad[] = {"",      "\n",    "00",       HEX "0",
                                      HEX HEX, "g" HEX, HEX " # x", "#" HEX};
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
    char text[256] = "";
    uint8_t key[32];
    struct fabric_options options = {0};
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    unsetenv("ASYNCORO_KEY_FILE");
    ck_assert_int_lt(key_find(&options, key, text), 0);
    ck_assert_ptr_nonnull(strstr(text, "ASYNCORO_KEY_FILE"));
}

TEST(a_given_key_needs_no_file) {
    uint8_t key[32], given[32] = {7};
    char text[256];
    struct fabric_options options = {.key = given, .key_path = "/no/such/folder/key"};
    ck_assert_int_eq(key_find(&options, key, text), 0);
    ck_assert_mem_eq(key, given, 32);
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
