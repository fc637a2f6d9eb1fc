// SPDX-License-Identifier: MIT
// Wards for tests: a line of shell in a folder of its own, what it writes and how it ended.
#ifndef TESTS_SYS_WARD_H
#define TESTS_SYS_WARD_H

#include "test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct sys_sandbox_parts ward_parts;
static char ward_folder[TEST_TEMPLATE_BYTES];
static char ward_text[4096]; // what the last one wrote

__attribute__((unused)) static void ward_begin(void) {
    sys_sandbox_probe(&ward_parts, false);
    test_template(ward_folder);
    ck_assert_ptr_nonnull(mkdtemp(ward_folder));
}

__attribute__((unused)) static void ward_remove(const char *path) {
    int folder = sys_beneath_open(path);
    ck_assert_int_ge(folder, 0);
    ck_assert_int_eq(sys_beneath_clear(folder), 0);
    sys_fd_close(folder);
    ck_assert_int_eq(rmdir(path), 0);
}

__attribute__((unused)) static void ward_clean(void) { ward_remove(ward_folder); }

__attribute__((unused)) static struct sys_sandbox ward_sandbox(enum sys_sandbox_level level) {
    return (struct sys_sandbox){.level = level, .parts = &ward_parts, .folder = ward_folder};
}

// Starts one; *output is where what it writes can be read.
__attribute__((unused)) static int ward_start(struct sys_ward *ward,
                                              const struct sys_sandbox *sandbox, const char *line,
                                              int *output, char problem[SYS_WARD_PROBLEM_BYTES]) {
    int ends[2];
    char *const arguments[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)line, NULL};
    ck_assert_int_eq(sys_pipe(ends), 0);
    const struct sys_process_options how = {.path = "/bin/sh",
                                            .arguments = arguments,
                                            .input = -1,
                                            .output = ends[1],
                                            .error = ends[1],
                                            .extra = -1};
    int err = sys_ward_start(ward, &how, sandbox, problem);
    sys_fd_close(ends[1]);
    if (err)
        sys_fd_close(ends[0]);
    *output = ends[0];
    return err;
}

__attribute__((unused)) static struct sys_ward_end ward_wait(struct sys_ward *ward) {
    struct sys_ward_end end = {.processes_limit = 0};
    struct pollfd it = {.fd = ward->warden.handle, .events = POLLIN};
    ck_assert_int_eq(poll(&it, 1, 30000), 1);
    ck_assert_int_eq(sys_ward_reap(ward, &end), 0);
    for (int i = 0; i < 1000 && sys_ward_clear(ward) == -EBUSY; i++)
        usleep(2000); // the system tells nobody
    return end;
}

// Reads until that has been written, or until nothing more can come.
__attribute__((unused)) static void ward_read(int output, const char *until) {
    size_t count = 0;
    ssize_t got;
    ward_text[0] = 0;
    while (count < sizeof ward_text - 1 && (!until || !strstr(ward_text, until)) &&
           (got = read(output, ward_text + count, sizeof ward_text - 1 - count)) > 0) {
        count += (size_t)got;
        ward_text[count] = 0;
    }
}

// Runs a line of shell to its end.
__attribute__((unused)) static struct sys_ward_end ward_run(const struct sys_sandbox *sandbox,
                                                            const char *line) {
    struct sys_ward ward;
    char problem[SYS_WARD_PROBLEM_BYTES] = "";
    int output;
    int err = ward_start(&ward, sandbox, line, &output, problem);
    ck_assert_msg(err == 0, "%s", problem);
    ward_read(output, NULL);
    sys_fd_close(output);
    return ward_wait(&ward);
}

#endif
