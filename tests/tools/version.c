// SPDX-License-Identifier: MIT
// `asyncoro version`: one line that scripts can read; and what becomes of lines that nobody can
// have, of this command and others.
#include "tools/tool.h"

#include <fcntl.h>

TEST(the_version_is_one_line) {
    ck_assert_int_eq(run_tool("version"), 0);
    ck_assert_str_eq(tool_said, "asyncoro " AC_VERSION "\n");
    ck_assert_int_eq(run_tool("--version"), 0);
    ck_assert_str_eq(tool_said, "asyncoro " AC_VERSION "\n");
    ck_assert_int_eq(run_tool("version", "--what"), 2);
}

TEST(what_could_not_be_written_is_an_error) {
    static const char complaint[] = "asyncoro: not all could be written to standard output\n";
    tool_output = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(tool_output, 0);
    ck_assert_int_eq(run_tool("version"), 1);
    ck_assert_str_eq(tool_said, complaint);
    ck_assert_int_eq(run_tool("help", "run"), 1);
    ck_assert_str_eq(tool_said, complaint);
    ck_assert_int_eq(run_tool("run", "--help"), 1);
    ck_assert_int_eq(run_tool("--help"), 1);
    sys_fd_close(tool_output);
    tool_output = -1;
}
