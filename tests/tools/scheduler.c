// SPDX-License-Identifier: MIT
// `asyncoro scheduler`, and how it takes its arguments. What it does: tests/cluster/service.c.
#include "tools/tool.h"

TEST(the_scheduler_explains_itself) {
    ck_assert_int_eq(run_tool("help"), 0);
    ck_said("scheduler");
    ck_assert_int_eq(run_tool("help", "scheduler"), 0);
    ck_said("--computations N");
    ck_said("--journal FILE");
    ck_said("AC_SCHEDULER");
}

TEST(its_arguments_are_checked) {
    ck_assert_int_eq(run_tool("scheduler", "--computations", "0"), 2);
    ck_said("a number from 1 to 65536");
    ck_assert_int_eq(run_tool("scheduler", "--idle", "soon"), 2);
    ck_assert_int_eq(run_tool("scheduler", "--name", ""), 2);
    ck_said("--name takes a name");
    ck_assert_int_eq(run_tool("scheduler", "word"), 2);
    ck_assert_int_eq(run_tool("scheduler", "--workers", "2"), 2);
    ck_said("'--workers' is not understood");
}

TEST(it_starts_and_ends) {
    world_make();
    world_start_scheduler();
    ck_assert_ptr_nonnull(strstr(world_scheduler_address, "127.0.0.1:"));
    world_stop(&world_scheduler);
    world_clean();
}

TEST(without_a_key_it_says_so) {
    ck_assert_int_eq(run_tool("scheduler", "--loopback", "--key-stdin"), 1);
    ck_said("asyncoro scheduler: --key-stdin");
    ck_assert_int_eq(run_tool("scheduler", "--loopback", "--key-file", "/nowhere/key"), 1);
    ck_said("asyncoro scheduler: ");
}

TEST(a_journal_that_is_none_is_told_and_left_alone) {
    char path[96], text[16] = "";
    world_make();
    snprintf(path, sizeof path, "%s/journal", world_folder);
    FILE *file = fopen(path, "w");
    ck_assert_int_eq(fputs("my notes", file) < 0, 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
    ck_assert_int_eq(run_tool("scheduler", "--loopback", "--journal", path), 1);
    ck_said("is no journal of a scheduler");
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    fclose(file);
    ck_assert_str_eq(text, "my notes");
    world_clean();
}

TEST(a_port_that_is_taken_is_told) {
    char port[16];
    world_make();
    world_start_scheduler();
    snprintf(port, sizeof port, "%s", strchr(world_scheduler_address, ':') + 1);
    ck_assert_int_eq(run_tool("scheduler", "--loopback", "--port", port), 1);
    ck_said(port);
    world_stop(&world_scheduler);
    world_clean();
}
