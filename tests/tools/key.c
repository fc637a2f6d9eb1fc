// SPDX-License-Identifier: MIT
// `asyncoro key`: the key is made once, and a bad one is told.
#include "tools/tool.h"

TEST(the_key_is_made_once_and_shown_by_its_path) {
    world_make();
    char path[128];
    snprintf(path, sizeof path, "%s/key", world_folder);
    ck_assert_int_eq(run_tool("key", "path"), 0);
    ck_said(path);
    ck_assert(!sys_file_exists(path));
    ck_assert_int_eq(run_tool("key"), 0);
    ck_said(path);
    struct buffer before = {0}, after = {0};
    ck_assert_int_eq(sys_file_read_secret(path, &before, 4096), 0);
    ck_assert_int_eq(run_tool("key"), 0);
    ck_assert_int_eq(sys_file_read_secret(path, &after, 4096), 0);
    ck_assert_uint_eq(before.length, after.length);
    ck_assert_mem_eq(before.bytes, after.bytes, before.length);
    buffer_done(&before);
    buffer_done(&after);
    ck_assert_int_eq(run_tool("key", "other"), 2);
    world_clean();
}

TEST(a_file_that_holds_no_key_is_an_error) {
    world_make();
    char path[128];
    snprintf(path, sizeof path, "%s/bad", world_folder);
    ck_assert_int_eq(sys_file_create_secret(path, "no key\n", 7), 0);
    ck_assert_int_eq(run_tool("key", "--key-file", path), 1);
    ck_said("asyncoro key: ");
    world_clean();
}
