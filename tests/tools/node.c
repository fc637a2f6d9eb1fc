// SPDX-License-Identifier: MIT
// `asyncoro node`, and how the program takes its arguments.
#include "tools/tool.h"

TEST(without_arguments_it_explains_itself) {
    ck_assert_int_eq(run_tool(), 0);
    ck_said("usage: asyncoro COMMAND");
    ck_said("Exit codes:");
    ck_assert_int_eq(run_tool("help"), 0);
    ck_said("node");
    ck_assert_int_eq(run_tool("help", "node"), 0);
    ck_said("--workers N");
    ck_assert_int_eq(run_tool("node", "--help"), 0);
    ck_said("--workers N");
}

TEST(what_it_does_not_know_it_names) {
    ck_assert_int_eq(run_tool("frobnicate"), 2);
    ck_said("there is no command 'frobnicate'");
    ck_assert_int_eq(run_tool("help", "frobnicate"), 2);
    ck_assert_int_eq(run_tool("node", "--frobnicate"), 2);
    ck_said("'--frobnicate' is not understood");
    ck_assert_int_eq(run_tool("node", "word"), 2);
    ck_assert_int_eq(run_tool("node", "--workers"), 2);
    ck_said("--workers takes a value");
    ck_assert_int_eq(run_tool("node", "--loopback=yes"), 2);
}

TEST(numbers_are_checked) {
    static const char *const bad[] = {"0", "-1", "1025", "x", "", "1x", "99999999999999999999"};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_assert_int_eq(run_tool("node", "--workers", bad[i]), 2);
        ck_said("a number from 1 to 1024");
    }
    ck_assert_int_eq(run_tool("node", "--port=65536"), 2);
}

TEST(a_node_starts_and_ends) {
    world_begin("2");
    world_end();
}

TEST(a_port_that_is_taken_is_an_error_that_is_said) {
    world_make();
    struct sys_handle handle = {0};
    struct sys_address address;
    int err = 0;
    struct sys *sys = sys_create(&sys_chosen, &err);
    ck_assert(sys_address_parse("127.0.0.1:0", &address));
    ck_assert_int_eq(
        sys_open(sys, &handle,
                 &(struct sys_open){.transport = SYS_STREAM, .bind = &address, .listen = true}),
        0);
    ck_assert_int_eq(sys_local(&handle, &address, NULL), 0);
    char port[16];
    snprintf(port, sizeof port, "%d", address.port);
    ck_assert_int_eq(run_tool("node", "--loopback", "--port", port), 1);
    ck_said("asyncoro node: ");
    sys_close(&handle);
    sys_destroy(sys);
    world_clean();
}
