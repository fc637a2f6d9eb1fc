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
                   (const char *)here, geteuid());
}
AC_JOB(look)

// Writes a file and sends it home.
static ac_value write_home(ac_value number) {
    char name[64], text[64];
    snprintf(name, sizeof name, "of job %lld", (long long)ac_int_of(number));
    int length = snprintf(text, sizeof text, "result %lld", (long long)ac_int_of(number));
    int fd = sys_file_create(name);
    int err = fd < 0 ? fd : sys_fd_write(fd, text, (size_t)length);
    sys_fd_close(fd);
    char there[96];
    snprintf(there, sizeof there, "results/%s", name);
    if (!err)
        err = ac_job_file(name, there, ac_after(40));
    (void)sys_file_remove(name);
    return ac_result(err);
}
AC_JOB(write_home)

JOBS_OF_THIS_TEST

static char words[160], table[160];
static uint32_t user_is; // as whom jobs run

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
        uint32_t user;
        const char *one, *two, *three, *folder;
        ck_assert_int_eq(ac_unpack(job.exit.value, &answer, &one, &two, &three, &folder, &user), 0);
        ck_assert_uint_eq(user, user_is);
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

// Root's node gives them to the user as whom its workers run.
TEST(another_user_reads_and_writes_them) {
    char node[96];
    if (geteuid() != 0)
        TEST_SKIP("only root can run workers as somebody else");
    world_make();
    ck_assert_int_eq(chmod(world_folder, 0711), 0);
    snprintf(node, sizeof node, "%s/node", world_folder);
    write_file("words.txt", "some words", words);
    write_file("a table", "the table", table);
    user_is = 65534;
    world_node_options[0] = "--user";
    world_node_options[1] = "nobody";
    world_start_node_with("1", "--folder", node);
    world_run(send_along);
    world_end();
}

TEST(files_and_libraries_are_there_for_jobs_and_go_with_the_computation) {
    user_is = geteuid();
    world_begin("1");
    write_file("words.txt", "some words", words);
    write_file("a table", "the table", table);
    world_run(send_along);
    world_stop_node();
    ck_assert_uint_eq(folders_left(), 0);
    world_clean();
}

static ac_value collect(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    struct ac_job_exit job;
    char inbox[96], path[160], text[64];
    ck_assert_int_eq(ac_job_file("/etc/passwd", "x", AC_NOW), -ENOTCONN);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, write_home, 0), 0);
    ck_assert(world_next_exit(&job, 40)); // nobody has opened a folder
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(ac_error_of(job.exit.value), -EACCES);
    ac_drop(job.exit.value);
    snprintf(inbox, sizeof inbox, "%s/inbox", world_folder);
    ck_assert_int_eq(sys_folder_make(inbox), 0);
    ck_assert_int_eq(ac_transfer_accept(inbox), 0);
    for (int i = 1; i <= 3; i++)
        ck_assert_int_gt(ac_submit(computation, write_home, i), 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert(world_next_exit(&job, 40));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ac_drop(job.exit.value);
    }
    for (int i = 1; i <= 3; i++) {
        char expected[64];
        snprintf(path, sizeof path, "%s/results/of job %d", inbox, i);
        snprintf(expected, sizeof expected, "result %d", i);
        read_text(path, text);
        ck_assert_str_eq(text, expected);
    }
    ck_assert_int_eq(ac_transfer_refuse(), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(jobs_send_files_home) {
    world_begin("2");
    world_run(collect);
    world_end();
}
