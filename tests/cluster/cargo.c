// SPDX-License-Identifier: MIT
// What a computation brings with it, at the client: what is opened, what is told, what is sent.
#include "cluster/world.h"

static struct cargo cargo;

static void write_file(const char *name, const void *bytes, size_t count) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", world_folder, name);
    int fd = sys_file_create(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_fd_write(fd, bytes, count), 0);
    sys_fd_close(fd);
}

// A copy of this program that says it is built for another computer.
static void write_foreign(const char *name) {
    int fd = sys_program_open();
    size_t count = (size_t)sys_file_bytes(fd);
    uint8_t *bytes = malloc(count);
    ck_assert_int_eq(sys_file_read_at(fd, 0, bytes, count), 0);
    sys_fd_close(fd);
    bytes[18] = bytes[18] == 183 ? 62 : 183;
    write_file(name, bytes, count);
    free(bytes);
}

static int open_variants(const char *one, const char *other) {
    const char *const variants[] = {one, other, NULL};
    const struct ac_computation_options options = {.size = sizeof options, .variants = variants};
    return cargo_open(&cargo, &options);
}

// What nodes would be sent for `wanted`, put together: how many bytes; digest of all.
static uint64_t send_all(ac_value wanted, uint8_t digest[DIGEST_BYTES]) {
    struct cargo_sending sending = {0};
    struct digest *all = digest_create();
    uint64_t bytes = 0, expected = 0;
    int64_t item, last = -1;
    bool over;
    cargo_send(&sending, wanted, 1);
    for (;;) {
        const char *word;
        uint64_t offset, round;
        ac_span piece;
        ac_value message = cargo_next(&cargo, &sending, &over);
        if (over) {
            ck_assert(message_is(message, "done"));
            ac_drop(message);
            break;
        }
        ck_assert_int_eq(ac_unpack(message, &word, &item, &offset, &piece, &round), 0);
        expected = item == last ? expected : 0;
        last = item;
        ck_assert_uint_eq(offset, expected);
        ck_assert_uint_gt(piece.bytes, 0);
        ck_assert_uint_le(piece.bytes, PIECE_BYTES);
        expected += piece.bytes;
        bytes += piece.bytes;
        ck_assert_int_eq(digest_add(all, piece.at, piece.bytes), 0);
        ac_drop(message);
    }
    ck_assert_int_eq(digest_end(all, digest), 0);
    digest_destroy(all);
    cargo_send_end(&sending);
    cargo_send_end(&sending);
    return bytes;
}

static ac_value open_and_send(ac_value unused) {
    (void)unused;
    char foreign[160], twin[160];
    uint8_t digest[DIGEST_BYTES];
    snprintf(foreign, sizeof foreign, "%s/foreign", world_folder);
    snprintf(twin, sizeof twin, "%s/twin", world_folder);
    write_foreign("foreign");
    write_foreign("twin");
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    ck_assert_uint_eq(cargo.count, 1);
    cargo_close(&cargo);
    cargo_close(&cargo);

    ck_assert_int_eq(open_variants(foreign, twin), 0);
    ck_assert_uint_eq(cargo.count, 2); // what is the same is sent once
    ac_value items, variants, files, source;
    bool output;
    ck_assert_int_eq(ac_unpack(cargo.told, &items, &variants, &files, &source, &output), 0);
    ck_assert(ac_is_nil(source));
    ck_assert(!output);
    ck_assert_uint_eq(ac_count(files), 0);
    ac_drop(files);
    ck_assert_uint_eq(ac_count(items), 2);
    ck_assert_uint_eq(ac_count(variants), 3);
    ac_value last = ac_at(variants, 2), needs, libraries;
    const char *name;
    int item;
    ck_assert_int_eq(ac_unpack(last, &item, &needs, &name, &libraries), 0);
    ck_assert_int_eq(item, 1);
    ck_assert_str_eq(name, "twin");
    ac_drop(needs);
    ac_drop(libraries);
    ac_drop(last);
    ac_drop(items);
    ac_drop(variants);

    ck_assert_uint_eq(send_all(ac_list(1), digest), cargo.items[1].content.bytes);
    ck_assert_mem_eq(digest, cargo.items[1].content.digest, DIGEST_BYTES);
    ck_assert_uint_eq(send_all(ac_list(0, 1), digest),
                      cargo.items[0].content.bytes + cargo.items[1].content.bytes);
    // What no node could want.
    ck_assert_uint_eq(send_all(ac_list(7, -1, "x"), digest), cargo.items[0].content.bytes);
    ck_assert_uint_eq(send_all(ac_nil, digest), 0);
    cargo_close(&cargo);
    return ac_nil;
}

TEST(all_that_is_named_is_told_and_sent_when_it_is_wanted) {
    world_make();
    world_run(open_and_send);
    world_clean();
}

static int open_files(const struct ac_computation_file *files) {
    const struct ac_computation_options options = {.size = sizeof options, .files = files};
    return cargo_open(&cargo, &options);
}

static ac_value send_files(ac_value unused) {
    (void)unused;
    char path[160], twin[160];
    write_file("words", "words", 5);
    write_file("same", "words", 5);
    snprintf(path, sizeof path, "%s/words", world_folder);
    snprintf(twin, sizeof twin, "%s/same", world_folder);
    const struct ac_computation_file files[] = {
        {.path = path}, {twin, "data/twin", true}, {.path = path, .name = "again"}, {0}};
    ck_assert_int_eq(open_files(files), 0);
    ck_assert_uint_eq(cargo.count, 2); // with the program
    ac_value items, variants, told, source;
    bool output;
    ck_assert_int_eq(ac_unpack(cargo.told, &items, &variants, &told, &source, &output), 0);
    static const char *const names[] = {"words", "data/twin", "again"};
    ck_assert_uint_eq(ac_count(told), 3);
    for (size_t i = 0; i < 3; i++) {
        int item;
        ac_span name;
        bool writable;
        ac_value file = ac_at(told, i);
        ck_assert_int_eq(ac_unpack(file, &item, &name, &writable), 0);
        ck_assert_int_eq(item, 1);
        ck_assert_uint_eq(name.bytes, strlen(names[i]));
        ck_assert_mem_eq(name.at, names[i], name.bytes);
        ck_assert_int_eq(writable, i == 1);
        ac_drop(file);
    }
    ac_drop(items);
    ac_drop(variants);
    ac_drop(told);
    cargo_close(&cargo);
    static const char *const bad[] = {"/etc/passwd", "../words", "a/../../b", "",
                                      "a//b",        "./a",      "a/"};
    for (size_t i = 0; i < countof(bad); i++) {
        const struct ac_computation_file one[] = {{path, bad[i], false}, {0}};
        ck_assert_int_eq(open_files(one), -EINVAL);
    }
    const struct ac_computation_file missing[] = {
        {.path = path}, {.path = "/nowhere/to/be/found"}, {0}};
    ck_assert_int_eq(open_files(missing), -ENOENT);
    const struct ac_computation_file folder[] = {{.path = world_folder}, {0}};
    ck_assert_int_eq(open_files(folder), -EISDIR);
    return ac_nil;
}

TEST(files_are_told_with_their_names) {
    world_make();
    world_run(send_files);
    world_clean();
}

static ac_value open_bad(ac_value unused) {
    (void)unused;
    char script[160];
    snprintf(script, sizeof script, "%s/script", world_folder);
    write_file("script", "#!/bin/sh\n", 10);
    ck_assert_int_eq(open_variants("/nowhere/at/all", NULL), -ENOENT);
    ck_assert_int_eq(open_variants(script, NULL), -ENOEXEC);
    ck_assert_int_eq(open_variants(world_folder, NULL), -EISDIR);
    const char *many[CARGO_VARIANTS_MAX + 1] = {NULL};
    for (int i = 0; i < CARGO_VARIANTS_MAX; i++)
        many[i] = "/proc/self/exe";
    const struct ac_computation_options options = {.size = sizeof options, .variants = many};
    ck_assert_int_eq(cargo_open(&cargo, &options), -E2BIG);
    return ac_nil;
}

TEST(what_cannot_be_sent_is_an_error) {
    world_make();
    world_run(open_bad);
    world_clean();
}
