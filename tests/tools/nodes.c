// SPDX-License-Identifier: MIT
// `asyncoro nodes` and `asyncoro drain`.
#include "tools/tool.h"

static void begin(void) {
    world_node_options[0] = "--memory=3G";
    world_node_options[1] = "--tags=gpu=a100";
    world_begin("2");
}

TEST(nodes_are_listed_with_what_they_are) {
    begin();
    ck_assert_int_eq(run_tool("nodes", "--loopback", "--peer", world_node_address), 0);
    ck_said("here");
    ck_said("serving");
    ck_said("2 workers");
    ck_said("3072 MiB");
    ck_said("a100");
    ck_assert_int_eq(
        run_tool("nodes", "--loopback", "--peer", world_node_address, "--json", "here"), 0);
    ck_said("\"state\":\"serving\"");
    ck_said("\"memory\":3221225472");
    ck_said("\"gpu\":\"a100\"");
    ck_assert_int_eq(run_tool("nodes", "--loopback", "--peer", world_node_address, "elsewhere"), 1);
    ck_said("no node was found that is elsewhere");
    world_end();
}

TEST(a_node_drains_when_it_is_told) {
    struct sys_process_end end;
    begin();
    ck_assert_int_eq(run_tool("drain", "--loopback"), 2);
    ck_said("which node?");
    ck_assert_int_eq(run_tool("drain", "--loopback", "--peer", world_node_address, "elsewhere"), 1);
    ck_said("no node was found");
    ck_assert_int_eq(run_tool("drain", "--loopback", "--peer", world_node_address, "--json",
                              "--grace", "1m", "here"),
                     0);
    ck_said("\"name\":\"here\"");
    ck_assert(world_ends(world_node.handle, 20)); // it had nothing to do
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
    ck_assert_int_eq(end.code, 0);
    world_clean();
}

TEST(where_there_is_none_that_is_said) {
    world_make();
    ck_assert_int_eq(run_tool("nodes", "--loopback", "--seconds=1"), 1);
    ck_said("nobody was found");
    world_clean();
}
