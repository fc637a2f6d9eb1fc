// SPDX-License-Identifier: MIT
// The example census, as `make demo` runs it: its sum, and bad input.
#include "cluster/world.h"

static struct sys_process census;
static int said_fd;
static char said[8192]; // on standard output and standard error

static void start_census(const char *folder) {
    char path[512];
    int ends[2];
    world_tool(path);
    strcpy(strstr(path, "/src/asyncoro"), "/examples/census");
    char *const arguments[] = {(char *)"census", (char *)folder, NULL};
    ck_assert_int_eq(sys_pipe(ends), 0);
    const struct sys_process_options how = {.path = path,
                                            .arguments = arguments,
                                            .input = -1,
                                            .output = ends[1],
                                            .error = ends[1],
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&census, &how), 0);
    sys_fd_close(ends[1]);
    said_fd = ends[0];
}

// Reads until it has said this, or (NULL) until its end.
static void read_until(const char *text) {
    size_t length = strlen(said);
    while (!text || !strstr(said, text)) {
        ssize_t got = read(said_fd, said + length, sizeof said - 1 - length);
        ck_assert_msg(got > 0 || !text, "it said: %s", said);
        if (got <= 0)
            return;
        length += (size_t)got;
    }
}

static int end_census(void) {
    struct sys_process_end end;
    read_until(NULL);
    ck_assert(world_ends(census.handle, 20));
    ck_assert_int_eq(sys_process_reap(&census, &end), 0);
    ck_assert(!end.by_signal);
    return end.code;
}

static void write_file(const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", world_folder, name);
    int fd = sys_file_create(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_fd_write(fd, text, strlen(text)), 0);
    sys_fd_close(fd);
}

#define ck_said(text) ck_assert_msg(strstr(said, text) != NULL, "it said: %s", said)

TEST(words_are_counted_and_the_sum_is_checked) {
    char folder[96], path[160];
    world_make();
    world_start_node_with("2", "--read", world_shared()); // what the jobs look at
    snprintf(folder, sizeof folder, "%s/words", world_shared());
    snprintf(path, sizeof path, "%s/below", folder);
    ck_assert_int_eq(sys_folder_make(path), 0);
    write_file("shared/words/one", "alpha beta, alpha-gamma_1 (alpha)");
    write_file("shared/words/two", "");
    write_file("shared/words/below/three", "beta\n\xff\xfe beta\n");
    write_file("shared/words/below/\xff", "alpha");
    start_census(folder);
    ck_assert_int_eq(end_census(), 0);
    ck_said("        4  alpha\n        3  beta\n        1  gamma_1\n");
    ck_said("4 files, 51 bytes, 8 words, 3 different ones");
    ck_said("one process counts 8 words in");
    ck_said(": the same");
    ck_said("worker 1 at ");
    world_end();
}

TEST(a_file_that_vanishes_meanwhile_is_skipped_and_said) {
    char folder[96], path[160];
    world_make();
    snprintf(folder, sizeof folder, "%s/words", world_shared());
    ck_assert_int_eq(sys_folder_make(folder), 0);
    write_file("shared/words/one", "alpha");
    write_file("shared/words/two", "beta");
    start_census(folder);
    read_until("0 of 2 files"); // it has seen both, and waits for a node
    snprintf(path, sizeof path, "%s/two", folder);
    ck_assert_int_eq(sys_file_remove(path), 0);
    world_start_node_with("1", "--read", world_shared());
    ck_assert_int_eq(end_census(), 0);
    ck_said("1 files, 5 bytes, 1 words");
    ck_said("skipped: 1 files and 0 folders");
    world_end();
}

TEST(a_folder_that_cannot_be_read_is_an_error) {
    world_make();
    start_census("/nowhere/to/be/found");
    ck_assert_int_eq(end_census(), 1);
    ck_said("census: /nowhere/to/be/found cannot be read");
    said[0] = 0;
    write_file("file", "no folder");
    char path[96];
    snprintf(path, sizeof path, "%s/file", world_folder);
    start_census(path);
    ck_assert_int_eq(end_census(), 1);
    ck_said("cannot be read");
    world_clean();
}
