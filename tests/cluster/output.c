// SPDX-License-Identifier: MIT
// What jobs write, brought to their client.
#include "cluster/client_private.h"
#include "cluster/world.h"

#include <fcntl.h>

enum { LINES = 20000, TEXT_BYTES = 1 << 20 };

static ac_value count_aloud(ac_value lines) {
    for (int64_t i = 0; i < ac_int_of(lines); i++)
        fprintf(i % 2 ? stderr : stdout, "line %lld\n", (long long)i);
    fflush(stdout);
    return lines;
}
AC_JOB(count_aloud)

static ac_value say_and_die(ac_value text) {
    fputs(ac_text_of(text), stderr);
    raise(SIGKILL);
    return ac_nil;
}
AC_JOB(say_and_die)

JOBS_OF_THIS_TEST

static char text[TEXT_BYTES];

static void read_text(const char *folder, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "there is no %s", path);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
}

static int lines_of(const char *at) {
    int count = 0;
    for (; *at; at++)
        count += *at == '\n';
    return count;
}

// ---- by itself ----

static void take_of(struct output *it, uint64_t peer, const char *node, int64_t number,
                    const char *bytes) {
    ac_ref host = {.peer = peer, .id = 1};
    ac_value message = ac_list("output", host, "checked", node, number,
                               ac_of_bytes(bytes, strlen(bytes)));
    output_take(it, message);
    ac_drop(message);
}

// Each name is that of another node.
static void take(struct output *it, const char *node, int64_t number, const char *bytes) {
    take_of(it, (uint64_t)(node[0] << 8 | node[1]), node, number, bytes);
}

TEST(each_worker_has_a_file_and_no_name_leads_elsewhere) {
    struct output it;
    output_init(&it);
    world_make();
    ck_assert_int_eq(output_open(&it, ""), -EINVAL);
    output_close(&it);
    char folder[200];
    snprintf(folder, sizeof folder, "%s/kept", world_folder);
    ck_assert_int_eq(output_open(&it, folder), 0);
    take(&it, "here", 1, "one\n");
    take(&it, "here", 2, "other");
    take(&it, "../../there/x y", 1, "far");
    take(&it, "a\302\2332J\033b", 1, "steer");
    take(&it, "here", 1, "two\n");
    take(&it, "here", 1, ""); // its end
    take(&it, "here", 1, "three\n");
    output_close(&it);
    read_text(folder, "here.1");
    ck_assert_str_eq(text, "one\ntwo\nthree\n");
    read_text(folder, "here.2");
    ck_assert_str_eq(text, "other");
    read_text(folder, "_._.._there_x_y.1");
    ck_assert_str_eq(text, "far");
    read_text(folder, "a??2J?b.1");
    ck_assert_str_eq(text, "steer");
    world_clean();
}

TEST(nodes_of_the_same_name_have_files_of_their_own) {
    struct output it;
    output_init(&it);
    world_make();
    char folder[200];
    snprintf(folder, sizeof folder, "%s/kept", world_folder);
    ck_assert_int_eq(output_open(&it, folder), 0);
    take_of(&it, 1, "here", 1, "first\n");
    take_of(&it, 2, "here", 1, "second\n");
    take_of(&it, 3, "here-2", 1, "called so\n");
    take_of(&it, 1, "here", 1, "first again\n");
    take_of(&it, 4, "here", 1, "third\n");
    take_of(&it, 2, "other", 1, "second again\n"); // who has a name keeps it
    output_close(&it);
    read_text(folder, "here.1");
    ck_assert_str_eq(text, "first\nfirst again\n");
    read_text(folder, "here-2.1");
    ck_assert_str_eq(text, "second\nsecond again\n");
    read_text(folder, "here-2-2.1");
    ck_assert_str_eq(text, "called so\n");
    read_text(folder, "here-3.1");
    ck_assert_str_eq(text, "third\n");
    world_clean();
}

static int open_files(void) {
    int count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

TEST(workers_that_never_tell_their_end_take_few_descriptors) {
    struct output it;
    char folder[200];
    world_make();
    output_init(&it);
    snprintf(folder, sizeof folder, "%s/kept", world_folder);
    ck_assert_int_eq(output_open(&it, folder), 0);
    int before = open_files();
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 600; i++)
            take(&it, "lost", i, "line\n");
    ck_assert_int_le(open_files() - before, 300);
    output_close(&it);
    ck_assert_int_eq(open_files(), before);
    for (int i = 0; i < 600; i += 599) {
        char name[32];
        snprintf(name, sizeof name, "lost.%d", i);
        read_text(folder, name);
        ck_assert_str_eq(text, "line\nline\n");
    }
    world_clean();
}

// ---- from a node ----

static char kept[200];

static void await_jobs(int count) {
    struct ac_job_exit job;
    for (; count > 0; count--) {
        ck_assert(world_next_exit(&job, 30));
        ac_drop(job.exit.value);
    }
}

static ac_value keep_it(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation, .output = ""), -EINVAL);
    snprintf(kept, sizeof kept, "%s/kept", world_folder);
    ck_assert_int_eq(ac_computation_open(&computation, .output = kept, .workers_max = 1), 0);
    ck_assert_int_gt(ac_submit(computation, count_aloud, LINES), 0);
    ck_assert_int_gt(ac_submit(computation, count_aloud, LINES), 0);
    await_jobs(2);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(all_that_jobs_write_has_come_when_the_computation_is_closed) {
    world_begin("1");
    world_run(keep_it);
    read_text(kept, "here.1");
    ck_assert_int_eq(lines_of(text), 2 * LINES);
    ck_assert_ptr_nonnull(strstr(text, "line 19999\n")); // of standard error
    ck_assert_ptr_nonnull(strstr(text, "line 19998\n"));
    world_end();
}

static ac_value show_it(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation, .output = "-", .workers_max = 1), 0);
    ck_assert_int_gt(ac_submit(computation, count_aloud, 3), 0);
    ck_assert_int_gt(ac_submit(computation, say_and_die, "\033[2Jlast words"), 0);
    await_jobs(2);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(lines_on_standard_error_say_whose_they_are_and_steer_no_terminal) {
    world_begin("1");
    char name[200];
    snprintf(name, sizeof name, "%s/error", world_folder);
    int before = dup(STDERR_FILENO), file = open(name, O_CREAT | O_RDWR, 0600);
    ck_assert_int_ge(dup2(file, STDERR_FILENO), 0);
    world_run(show_it);
    ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
    read_text(world_folder, "error");
    ck_assert_ptr_nonnull(strstr(text, "here.1: line 0\n"));
    ck_assert_ptr_nonnull(strstr(text, "here.1: line 2\n"));
    ck_assert_ptr_nonnull(strstr(text, "here.1: ?[2Jlast words\n"));
    ck_assert_ptr_null(strchr(text, '\033'));
    close(before);
    close(file);
    world_end();
}
