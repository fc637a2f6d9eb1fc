// SPDX-License-Identifier: MIT
// `asyncoro send`: a message to a name, with and without an answer.
#include "tools/tool.h"

TEST(a_value_is_sent_delivered_and_answered) {
    world_make();
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("send", "--loopback", "sink", "[1, \"a\"]"), 0);
    ck_assert_str_eq(tool_said, "");
    ck_assert_int_eq(run_tool("send", "--loopback", "--deliver", "sink", "true"), 0);
    ck_assert_str_eq(tool_said, "1\n");
    ck_assert_int_eq(run_tool("send", "--loopback", "--deliver", "news", "null"), 0);
    ck_assert_str_eq(tool_said, "1\n");
    ck_assert_int_eq(run_tool("send", "--loopback", "--wait", "echo", "{\"a\": [1]}"), 0);
    ck_assert_str_eq(tool_said, "{\"a\":[1]}\n");
    // What was only sent is there: the tool does not end before it has been taken.
    ck_assert_int_eq(run_tool("top", "--loopback", "--once"), 0);
    ck_said("longest mailbox of loop 1: 2, of 'sink'");
    pump_stop(pid);
    world_clean();
}

TEST(a_value_may_be_longer_than_arguments_can_be) {
    world_make();
    pid_t pid = pump_start(pump, false);
    char path[600], script[2048];
    world_tool(path);
    // 300,000 numbers and their sum, from a pipe.
    snprintf(script, sizeof script,
             "(echo '['; i=0; while [ $i -lt 30 ]; do yes 7, | head -n 10000; i=$((i+1)); done; "
             "echo '1]') | '%s' send --loopback --deliver sink - && "
             "(head -c 70000 /dev/zero | tr '\\0' 1 | sed 's/.*/\"&\"/') | "
             "'%s' send --loopback --wait echo - | wc -c",
             path, path);
    FILE *pipe = popen(script, "r");
    ck_assert_ptr_nonnull(pipe);
    tool_said[fread(tool_said, 1, sizeof tool_said - 1, pipe)] = 0;
    ck_assert_int_eq(pclose(pipe), 0);
    ck_assert_str_eq(tool_said, "1\n70003\n");
    pump_stop(pid);
    world_clean();
}

TEST(what_nobody_gets_is_a_failure) {
    world_make();
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("send", "--loopback", "--seconds", "1", "nobody", "1"), 1);
    ck_said("nobody has the name 'nobody'");
    ck_assert_int_eq(run_tool("send", "--loopback", "--seconds", "1", "--wait", "sink", "1"), 1);
    ck_said("no answer came");
    pump_stop(pid);
    world_clean();
}

TEST(it_takes_a_name_and_a_value) {
    ck_assert_int_eq(run_tool("send"), 2);
    ck_said("it takes a NAME and a VALUE");
    ck_assert_int_eq(run_tool("send", "name"), 2);
    ck_assert_int_eq(run_tool("send", "name", "1", "2"), 2);
    ck_said("'2' is not understood");
    ck_assert_int_eq(run_tool("send", "--wait", "--deliver", "name", "1"), 2);
    ck_said("take one");
    ck_assert_int_eq(run_tool("send", "name", "text"), 2);
    ck_said("a text is written '\"so\"'");
    ck_assert_int_eq(run_tool("help", "send"), 0);
    ck_said("--deliver");
}
