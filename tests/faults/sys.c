// SPDX-License-Identifier: MIT
// Faults under files and processes: a file is there whole or not at all, a process runs or its
// starter is told.
#include "faults.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char text[] = "hello\n";

// ---- processes ----

static void await_end(struct sys_process *process, int from) {
    char said[sizeof text] = "";
    struct sys_process_end end;
    struct pollfd ends = {.fd = process->handle, .events = POLLIN};
    while (poll(&ends, 1, -1) != 1)
        continue;
    if (note(sys_pipe_take(from, said, strlen(text))) == 0)
        REQUIRE(strcmp(said, text) == 0);
    if (note(sys_process_reap(process, &end)) == 0)
        REQUIRE(!end.by_signal && end.code == 0);
    REQUIRE(process->handle == -1);
}

SCENARIO(a_process_is_run) {
    int ends[2];
    struct sys_process process;
    char name[] = "echo", what[] = "hello", *arguments[] = {name, what, NULL};
    if (note(sys_pipe(ends)) < 0)
        return;
    int err = (int)note(
        sys_process_start(&process, &(struct sys_process_options){.path = "/bin/echo",
                                                                  .arguments = arguments,
                                                                  .input = -1,
                                                                  .output = ends[1],
                                                                  .error = -1,
                                                                  .extra = ends[1],
                                                                  .folder = "/",
                                                                  .own_session = true,
                                                                  .dies_with_us = true,
                                                                  .no_new_rights = true}));
    sys_fd_close(ends[1]);
    if (err == 0)
        await_end(&process, ends[0]);
    sys_fd_close(ends[0]);
}

// ---- files ----

SCENARIO(a_secret_file_is_there_whole_or_not_at_all) {
    char top[TEST_TEMPLATE_BYTES], folder[80], path[96], unused[8];
    struct buffer buffer;
    test_template(top);
    if (!mkdtemp(top))
        return;
    snprintf(folder, sizeof folder, "%s/a", top);
    snprintf(path, sizeof path, "%s/secret", folder);
    buffer_init(&buffer);
    if (note(sys_folder_make(folder)) == 0) {
        note(sys_folder_is_private(folder));
        bool made = note(sys_file_create_secret(path, text, sizeof text)) == 0;
        // Asked so that it cannot fail.
        REQUIRE((readlink(path, unused, sizeof unused) < 0 && errno == ENOENT) == !made);
        if (made && note(sys_file_read_secret(path, &buffer, 100)) == 0)
            REQUIRE(buffer.length == sizeof text && memcmp(buffer.bytes, text, sizeof text) == 0);
        unlink(path);
    }
    buffer_done(&buffer);
    rmdir(folder);
    REQUIRE(rmdir(top) == 0); // and nothing else is left in it
}

// Copies the first bytes of a file.
static void copy(int from, int to) {
    char bytes[256], again[256];
    REQUIRE(note(sys_file_bytes(from)) > (long)sizeof bytes || faults_errors() > 0);
    if (note(sys_file_read_at(from, 0, bytes, sizeof bytes)) == 0 &&
        note(sys_file_write_at(to, 0, bytes, sizeof bytes)) == 0 &&
        note(sys_file_read_at(to, 0, again, sizeof again)) == 0)
        REQUIRE(memcmp(bytes, again, sizeof bytes) == 0);
}

SCENARIO(an_executable_is_copied) {
    int from = (int)note(sys_program_open());
    int to = (int)note(sys_memory_create("copy", true));
    int another = from >= 0 ? (int)note(sys_fd_copy(from)) : -1;
    if (from >= 0 && to >= 0)
        copy(from, to);
    sys_fd_close(another);
    sys_fd_close(to);
    sys_fd_close(from);
}

SCENARIO(old_files_are_removed) {
    char folder[TEST_TEMPLATE_BYTES], path[2][80];
    test_template(folder);
    if (!mkdtemp(folder))
        return;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%d", folder, i);
        int fd = (int)note(sys_file_create(path[i]));
        if (fd >= 0)
            note(sys_fd_write(fd, text, sizeof text));
        sys_fd_close(fd);
    }
    note(sys_folder_prune(folder, sizeof text, 0));
    REQUIRE(unlink(path[0]) + unlink(path[1]) == -1 || faults_errors() > 0);
    REQUIRE(rmdir(folder) == 0);
}

SCENARIO(a_file_gets_one_more_name) {
    char folder[] = "/tmp/asyncoro-XXXXXX", path[64];
    struct sys_file_facts facts;
    if (!mkdtemp(folder))
        return;
    snprintf(path, sizeof path, "%s/one", folder);
    int fd = (int)note(sys_file_create(path)), at = (int)note(sys_beneath_open(folder));
    bool both = fd >= 0 && at >= 0;
    if (both && note(sys_beneath_link(fd, at, "two")) == 0)
        REQUIRE(note(sys_beneath_look(at, "two", &facts)) == 0 || faults_errors() > 0);
    sys_fd_close(at);
    sys_fd_close(fd);
    unlink(path);
    snprintf(path, sizeof path, "%s/two", folder);
    unlink(path);
    REQUIRE(rmdir(folder) == 0);
}

SCENARIO(signals_are_read) {
    int fd = (int)note(sys_signals_open());
    if (fd >= 0) {
        raise(SIGTERM);
        int got = sys_signals_next(fd);
        REQUIRE(got == SIGTERM || faults_what());
        while (got < 0) // it waits still
            got = sys_signals_next(fd);
        REQUIRE(got == SIGTERM);
    }
    sys_fd_close(fd);
}
