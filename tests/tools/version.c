// SPDX-License-Identifier: MIT
// `asyncoro version`: one line that scripts can read.
#include "tools/tool.h"

TEST(the_version_is_one_line) {
    ck_assert_int_eq(run_tool("version"), 0);
    ck_assert_str_eq(tool_said, "asyncoro " AC_VERSION "\n");
    ck_assert_int_eq(run_tool("--version"), 0);
    ck_assert_str_eq(tool_said, "asyncoro " AC_VERSION "\n");
    ck_assert_int_eq(run_tool("version", "--what"), 2);
}
