// SPDX-License-Identifier: MIT
// What executables need, with copies of this very program in which single bytes are changed.
#include "cluster/world.h"

static struct elf_facts facts;
static char problem[PROBLEM_BYTES];

struct copy {
    uint8_t *bytes;
    size_t count;
};

static struct copy copy_self(void) {
    int fd = sys_program_open();
    struct copy it = {.count = (size_t)sys_file_bytes(fd)};
    it.bytes = malloc(it.count);
    ck_assert_int_eq(sys_file_read_at(fd, 0, it.bytes, it.count), 0);
    sys_fd_close(fd);
    return it;
}

// Reads the first `count` bytes of a copy as a file.
static int read_copy(const struct copy *it, size_t count) {
    int fd = sys_memory_create("copy", true);
    ck_assert_int_eq(sys_file_write_at(fd, 0, it->bytes, count), 0);
    problem[0] = 0;
    int err = elf_read(fd, &facts, problem);
    sys_fd_close(fd);
    return err;
}

static int check_here(void) {
    struct elf_place place;
    elf_place_here(&place);
    problem[0] = 0;
    int err = elf_check(&facts, &place, problem);
    elf_place_done(&place);
    return err;
}

// Changes a text in the file for another one of the same length.
static void patch(struct copy *it, const char *from, const char *to) {
    size_t bytes = strlen(from) + 1;
    uint8_t *at = memmem(it->bytes, it->count, from, bytes);
    ck_assert_ptr_nonnull(at);
    ck_assert_uint_eq(strlen(from), strlen(to));
    for (; at; at = memmem(at, it->count - (size_t)(at - it->bytes), from, bytes))
        memcpy(at, to, bytes);
}

#define ck_says(word) ck_assert_msg(strstr(problem, word) != NULL, "it says: %s", problem)

TEST(this_program_runs_here) {
    struct copy it = copy_self();
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(facts.bits, 64);
    ck_assert_str_ne(facts.interpreter, "");
    ck_assert_ptr_nonnull(strstr(facts.libraries, "libc.so.6\n"));
    ck_assert_int_ge(facts.libc_major, 2);
    ck_assert_int_eq(check_here(), 0);
    free(it.bytes);
}

TEST(another_architecture_is_named) {
    struct copy it = copy_self();
    uint16_t other = it.bytes[18] == 183 ? 62 : 183;
    it.bytes[18] = (uint8_t)other;
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(check_here(), -ENOEXEC);
    ck_says(other == 183 ? "built for aarch64" : "built for x86_64");
    it.bytes[18] = 99; // nobody's
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(check_here(), -ENOEXEC);
    ck_says("machine 99");
    free(it.bytes);
}

TEST(thirty_two_bits_are_refused) {
    struct copy it = copy_self();
    it.bytes[4] = 1;
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(check_here(), -ENOEXEC);
    ck_says("32 bit");
    free(it.bytes);
}

TEST(a_c_library_that_is_too_new_is_named) {
    struct copy it = copy_self();
    patch(&it, "GLIBC_2.34", "GLIBC_2.99");
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(facts.libc_minor, 99);
    ck_assert_int_eq(check_here(), -ENOEXEC);
    ck_says("needs GLIBC_2.99, this node has glibc");
    free(it.bytes);
}

TEST(a_missing_library_is_named) {
    struct copy it = copy_self();
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    char name[64] = "", other[64];
    ck_assert_int_eq(sscanf(facts.libraries, "%63[^\n]", name), 1);
    strcpy(other, name);
    other[0] = 'X';
    patch(&it, name, other);
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(check_here(), -ENOEXEC);
    ck_says(other);
    ck_says("lacks");
    free(it.bytes);
}

TEST(a_missing_loader_is_named) {
    struct copy it = copy_self();
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    char other[128];
    strcpy(other, facts.interpreter);
    other[1] = 'X';
    patch(&it, facts.interpreter, other);
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ck_assert_int_eq(check_here(), -ENOEXEC);
    ck_says("needs the loader /X");
    free(it.bytes);
}

TEST(what_is_truncated_is_never_taken_for_whole) {
    struct copy it = copy_self();
    // Every length of the first page, and then fewer.
    for (size_t count = 0; count < it.count; count += count < 4096 ? 1 : it.count / 64) {
        int err = read_copy(&it, count);
        // What is behind the last segment is not looked at: symbols and debugging information.
        if (count < it.count / 8)
            ck_assert_int_eq(err, -ENOEXEC);
        if (err)
            ck_assert(strstr(problem, "truncated") || strstr(problem, "not an ELF file") ||
                      strstr(problem, "damaged"));
    }
    free(it.bytes);
}

TEST(no_changed_byte_of_the_head_does_harm) {
    struct copy it = copy_self();
    for (size_t at = 0; at < 1024; at++) {
        uint8_t before = it.bytes[at];
        static const uint8_t others[] = {0, 1, 0x7f, 0x80, 0xff};
        for (size_t i = 0; i < countof(others); i++) {
            it.bytes[at] = others[i];
            int err = read_copy(&it, it.count);
            ck_assert(err == 0 || err == -ENOEXEC);
            ck_assert(err == 0 || problem[0]);
        }
        it.bytes[at] = before;
    }
    free(it.bytes);
}

TEST(other_files_are_named) {
    struct copy script = {(uint8_t *)"#!/bin/sh\necho hello\n", 21}, text = {(uint8_t *)"hello", 5};
    ck_assert_int_eq(read_copy(&script, script.count), -ENOEXEC);
    ck_says("a script");
    ck_assert_int_eq(read_copy(&text, text.count), -ENOEXEC);
    ck_says("not an ELF file");
    struct copy it = copy_self();
    it.bytes[16] = 1;
    ck_assert_int_eq(read_copy(&it, it.count), -ENOEXEC);
    ck_says("object file");
    free(it.bytes);
}

TEST(needs_travel_as_a_value) {
    struct copy it = copy_self();
    struct elf_facts back;
    ck_assert_int_eq(read_copy(&it, it.count), 0);
    ac_value value = elf_to_value(&facts);
    ck_assert(elf_of_value(value, &back));
    ck_assert_mem_eq(&back, &facts, sizeof back);
    ac_drop(value);
    ck_assert(!elf_of_value(ac_nil, &back));
    value = ac_list(1, 2, 3);
    ck_assert(!elf_of_value(value, &back));
    ac_drop(value);
    free(it.bytes);
}
