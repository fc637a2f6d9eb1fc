// SPDX-License-Identifier: MIT
// Runs the program `asyncoro` with arguments, and keeps what it says.
#ifndef TESTS_TOOLS_TOOL_H
#define TESTS_TOOLS_TOOL_H

#include "cluster/world.h"

static char tool_said[4096]; // on standard output and standard error
static int tool_input = -1;  // what it reads, if that is not nothing
static int tool_output = -1; // where its standard output goes, if that is not kept

// Returns its exit code.
__attribute__((unused)) static int run_tool(const char *const *arguments) {
    char path[512], *all[16] = {(char *)"asyncoro"};
    int ends[2];
    world_tool(path);
    for (int i = 0; arguments[i]; i++)
        all[i + 1] = (char *)arguments[i];
    ck_assert_int_eq(sys_pipe(ends), 0);
    struct sys_process process;
    const struct sys_process_options how = {.path = path,
                                            .arguments = all,
                                            .input = tool_input,
                                            .output = tool_output >= 0 ? tool_output : ends[1],
                                            .error = ends[1],
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    sys_fd_close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], tool_said + length, sizeof tool_said - 1 - length)) > 0;)
        length += (size_t)got;
    tool_said[length] = 0;
    sys_fd_close(ends[0]);
    struct sys_process_end end;
    ck_assert(world_ends(process.handle, 20));
    ck_assert_int_eq(sys_process_reap(&process, &end), 0);
    ck_assert(!end.by_signal);
    return end.code;
}
#define run_tool(...) run_tool((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

#define ck_said(text) ck_assert_msg(strstr(tool_said, text) != NULL, "it said: %s", tool_said)

#endif
