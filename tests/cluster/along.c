// SPDX-License-Identifier: MIT
// What travels with a computation, on a real node: files where workers start, and a shared library
// that only this program knows of (along_library.c).
#include <fcntl.h>

#include "cluster/world.h"

int along_answer(void);

static void read_text(const char *path, char text[64]) {
    memset(text, 0, 64);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, 63) < 0)
        snprintf(text, 64, "%s cannot be read", path);
    sys_fd_close(fd);
}

// In a worker.
static ac_value look(ac_value unused) {
    char words[64], table[64], changed[64], here[512] = "";
    (void)unused;
    read_text("words.txt", words);
    read_text("data/table", table);
    int fd = open("data/table", O_WRONLY);
    if (fd >= 0)
        (void)sys_file_write_at(fd, 0, "T", 1);
    sys_fd_close(fd);
    read_text("data/table", changed);
    if (!getcwd(here, sizeof here))
        return ac_result(-errno);
    return ac_list(along_answer(), (const char *)words, (const char *)table, (const char *)changed,
                   (const char *)here);
}
AC_JOB(look)

JOBS_OF_THIS_TEST

static char words[160], table[160];

static void write_file(const char *name, const char *text, char path[160]) {
    snprintf(path, 160, "%s/%s", world_folder, name);
    int fd = sys_file_create(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_fd_write(fd, text, strlen(text)), 0);
    sys_fd_close(fd);
}

static ac_value send_along(ac_value unused) {
    (void)unused;
    char here[512] = "";
    for (int round = 0; round < 2; round++) {
        ac_computation *computation;
        struct ac_job_exit job;
        ck_assert_int_eq(
            ac_computation_open(
                &computation, .variants = AC_VARIANTS("/proc/self/exe"),
                .files = AC_FILES({.path = words},
                                  {.path = table, .name = "data/table", .writable = true})),
            0);
        ck_assert_int_gt(ac_submit(computation, look, ac_nil), 0);
        ck_assert(world_next_exit(&job, 40));
        ck_assert_msg(job.exit.how == AC_FINISHED, "%.*s", (int)ac_span_of(job.exit.value).bytes,
                      (const char *)ac_span_of(job.exit.value).at);
        int answer;
        const char *one, *two, *three, *folder;
        ck_assert_int_eq(ac_unpack(job.exit.value, &answer, &one, &two, &three, &folder), 0);
        ck_assert_int_eq(answer, 42);
        ck_assert_str_eq(one, "some words");
        ck_assert_str_eq(two, "the table"); // also the second time: each gets a new copy
        ck_assert_str_eq(three, "The table");
        ck_assert_str_ne(folder, here);
        snprintf(here, sizeof here, "%s", folder);
        ac_drop(job.exit.value);
        ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    }
    return ac_nil;
}

static size_t folders_left(void) {
    char work[160];
    struct buffer names;
    buffer_init(&names);
    snprintf(work, sizeof work, "%s/asyncoro/work", world_folder);
    ck_assert_int_eq(sys_folder_list(work, &names), 0);
    size_t bytes = names.length;
    buffer_done(&names);
    return bytes;
}

TEST(files_and_libraries_are_there_for_jobs_and_go_with_the_computation) {
    world_begin("1");
    write_file("words.txt", "some words", words);
    write_file("a table", "the table", table);
    world_run(send_along);
    world_stop_node();
    ck_assert_uint_eq(folders_left(), 0);
    world_clean();
}
