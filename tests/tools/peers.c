// SPDX-License-Identifier: MIT
// `asyncoro peers`: finds a node and other programs, and nobody where nobody is.
#include "tools/tool.h"

TEST(nobody_is_found_where_nobody_is_which_is_a_failure) {
    world_make();
    ck_assert_int_eq(run_tool("peers", "--loopback"), 1);
    ck_said("nobody was found");
    ck_assert_int_eq(run_tool("help", "peers"), 0);
    ck_said("Exits with 1 when nobody was found.");
    world_clean();
}

TEST(a_node_is_found) {
    world_begin("1");
    ck_assert_int_eq(run_tool("peers", "--loopback"), 0);
    ck_said("127.0.0.1:");
    ck_said("here");
    world_end();
}

TEST(the_round_trip_is_told) {
    world_make();
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("peers", "--loopback"), 0);
    ck_said(" ms  pump\n");
    ck_assert_int_eq(run_tool("peers", "--loopback", "--json"), 0);
    ck_said("\"name\":\"pump\"");
    ck_said("\"linked\":true");
    ck_said("\"round_trip_s\":");
    ck_not_said("\"round_trip_s\":null");
    pump_stop(pid);
    world_clean();
}
