// SPDX-License-Identifier: MIT
// `asyncoro names`: what is told of names, of all programs and of one.
#include "tools/tool.h"

TEST(names_are_listed_with_kind_place_and_reference) {
    world_make();
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("names", "--loopback"), 0);
    ck_said("echo                     coroutine 127.0.0.1:");
    ck_said("sink                     coroutine 127.0.0.1:");
    ck_said("news                     channel   127.0.0.1:");
    ck_said(" <reference ");
    ck_assert_int_eq(run_tool("names", "--loopback", "pump"), 0);
    ck_said("echo ");
    ck_assert_int_eq(run_tool("names", "--loopback", "--json", "pump"), 0);
    ck_said("\"name\":\"news\"");
    ck_said("\"kind\":\"channel\"");
    ck_said("\"peer\":\"pump\"");
    ck_said("\"reference\":{\"$ref\":\"");
    ck_assert_int_eq(run_tool("names", "--loopback", "other"), 1);
    ck_said("nobody there is 'other'");
    pump_stop(pid);
    world_clean();
}

TEST(a_program_that_does_not_tell_is_named) {
    world_make();
    pid_t pid = pump_start(pump, true);
    ck_assert_int_eq(run_tool("names", "--loopback"), 1);
    ck_said("'pump' does not tell");
    ck_not_said("echo");
    // The name is found nevertheless.
    ck_assert_int_eq(run_tool("send", "--loopback", "--wait", "echo", "1"), 0);
    pump_stop(pid);
    world_clean();
}
