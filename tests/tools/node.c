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

// Last among the arguments of a node that is to start: root says as whom jobs run.
static const char *own_user(void) { return geteuid() == 0 ? "--user=root" : NULL; }

TEST(root_is_warned_unless_it_says_as_whom_jobs_run) {
    if (geteuid() != 0)
        TEST_SKIP("only root is");
    world_make();
    // It ends by itself when it has started.
    ck_assert_int_eq(run_tool("node", "--loopback", "--idle", "1s"), 0);
    ck_said("--user NAME says as whom they run instead");
    ck_assert_int_eq(run_tool("node", "--loopback", "--idle", "1s", "--user", "root"), 0);
    ck_assert_ptr_null(strstr(tool_said, "--user NAME"));
    world_start_node("1"); // with --user=root
    ck_assert_int_eq(run_tool("nodes", "--loopback", "--peer", world_node_address), 0);
    ck_said("jobs run as root");
    world_end();
}

TEST(how_workers_are_confined_is_checked) {
    ck_assert_int_eq(run_tool("node", "--sandbox", "soft"), 2);
    ck_said("--sandbox is default, strict or none, not 'soft'");
    ck_assert_int_eq(run_tool("node", "--user", "nobody-of-that-name"), 1);
    ck_said("there is no user 'nobody-of-that-name'");
}

TEST(numbers_are_checked) {
    static const char *const bad[] = {"0", "-1", "1025", "x", "", "1x", "99999999999999999999"};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_assert_int_eq(run_tool("node", "--workers", bad[i]), 2);
        ck_said("a number from 1 to 1024");
    }
    ck_assert_int_eq(run_tool("node", "--port=65536"), 2);
}

TEST(times_sizes_hours_and_tags_are_checked) {
    static const char *const bad_times[] = {"", "5x", "s", "-1s", "5mm", "99999999999999999d"};
    static const char *const bad_sizes[] = {"", "0", "0G", "5X", "G", "1.5G", "99999999999999999T"};
    for (size_t i = 0; i < countof(bad_times); i++) {
        ck_assert_int_eq(run_tool("node", "--idle", bad_times[i]), 2);
        ck_said("a time such as");
    }
    for (size_t i = 0; i < countof(bad_sizes); i++) {
        ck_assert_int_eq(run_tool("node", "--memory", bad_sizes[i]), 2);
        ck_said("bytes such as");
    }
    ck_assert_int_eq(run_tool("node", "--hours", "at night"), 2);
    ck_said("not 'at night'");
    ck_assert_int_eq(run_tool("node", "--name="), 2);
    ck_said("--name takes a name");
    ck_assert_int_eq(run_tool("node", "--tags", "fast"), 2);
    ck_said("not 'fast'");
}

TEST(slurm_without_slurm_is_an_error_that_is_said) {
    unsetenv("SLURM_JOB_ID");
    ck_assert_int_eq(run_tool("node", "--slurm", "--loopback", own_user()), 1);
    ck_said("SLURM_JOB_ID");
}

TEST(no_key_on_standard_input_is_an_error_that_is_said) {
    ck_assert_int_eq(run_tool("node", "--key-stdin", "--loopback", own_user()), 1);
    ck_said("--key-stdin");
}

// What comes behind the key is not read: it is for --die-with-stdin.
TEST(the_key_may_come_by_standard_input) {
    char text[KEY_TEXT_BYTES], path[96];
    struct key_ring ring;
    int ends[2];
    world_make();
    snprintf(path, sizeof path, "%s/key", world_folder);
    ck_assert_int_eq(key_find(path, &ring, (char[256]){0}), 0);
    key_print(&ring, text);
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert_int_eq(sys_fd_write(ends[1], text, strlen(text)), 0);
    ck_assert_int_eq(sys_fd_write(ends[1], "\n", 1), 0);
    setenv("ASYNCORO_KEY_FILE", "/nowhere", 1);
    world_node_input = ends[0];
    world_node_options[0] = "--key-stdin";
    world_node_options[1] = "--die-with-stdin";
    world_start_node("1");
    setenv("ASYNCORO_KEY_FILE", path, 1);
    ck_assert_int_eq(run_tool("nodes", "--loopback", "--peer", world_node_address), 0);
    ck_said("here");
    sys_fd_close(ends[1]);
    struct sys_process_end end;
    ck_assert(world_ends(world_node.handle, 20));
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
    ck_assert_int_eq(end.code, 0);
    sys_fd_close(ends[0]);
    world_clean();
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
    ck_assert_int_eq(run_tool("node", "--loopback", "--port", port, own_user()), 1);
    ck_said("asyncoro node: ");
    sys_close(&handle);
    sys_destroy(sys);
    world_clean();
}
