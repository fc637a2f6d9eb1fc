// SPDX-License-Identifier: MIT
// Values as JSON: each kind goes to another program and back as it was written, and what is no
// value is refused before anything is sent.
#include "tools/tool.h"

// What comes back of `sent`, which must be `expected`.
static void ck_echo(const char *sent, const char *expected) {
    char line[2048];
    ck_assert_int_eq(run_tool("send", "--loopback", "--wait", "echo", sent), 0);
    snprintf(line, sizeof line, "%s\n", expected);
    ck_assert_str_eq(tool_said, line);
}

TEST(each_kind_of_value_comes_back_as_it_was) {
    world_make();
    pid_t pid = pump_start(pump, false);
    static const char all[] =
        "[null,true,false,0,-1,9223372036854775807,-9223372036854775808,2.0,-0.5,0.1,1e300,\"\","
        "\"a \\\"b\\\" \\u0000\xc3\xa4\",[],[[1]],{},{\"k\":{\"l\":[1]}},{\"$bytes\":\"00ff\"},"
        "{\"$bytes\":\"\"},{\"$real\":\"nan\"},{\"$real\":\"inf\"},{\"$real\":\"-inf\"},"
        "{\"$ref\":\"1a2b:17\"},{\"$error\":[\"ENOENT\",null]},{\"$error\":[\"EIO\",\"why\"]},"
        "{\"$error\":[\"-100000\",null]},{\"$map\":[[1,\"one\"],[\"$k\",2]]}]";
    ck_echo(all, all);
    ck_echo("7", "7"); // not only lists and maps
    ck_echo("-7", "-7");
    ck_echo("\"text\"", "\"text\"");
    ck_echo(" {\"b\" : 1, \"a\" : 2.50} ", "{\"a\":2.5,\"b\":1}");
    ck_echo("{\"$map\":[[\"plain\",1]]}", "{\"plain\":1}");
    pump_stop(pid);
    world_clean();
}

TEST(what_is_no_value_is_refused) {
    static const char *const bad[] = {
        "",
        "text",
        "[1",
        "[1] 2",
        "nan",
        "{\"a\":1,\"a\":2}",
        "9223372036854775808",
        "\"\xff\"",
        "{\"$bytes\":\"0\"}",
        "{\"$bytes\":\"0g\"}",
        "{\"$bytes\":1}",
        "{\"$real\":\"one\"}",
        "{\"$real\":1}",
        "{\"$ref\":\"17\"}",
        "{\"$ref\":\"0:17\"}",
        "{\"$ref\":\"1:2x\"}",
        "{\"$ref\":1}",
        "{\"$error\":[\"ENOTHING\",null]}",
        "{\"$error\":[\"ENOENT\"]}",
        "{\"$error\":[\"5\",null]}",
        "{\"$error\":[\"ENOENT\",1]}",
        "{\"$map\":[[1]]}",
        "{\"$map\":1}",
        "{\"$map\":[[1,1],[1,2]]}",
        "{\"$map\":[[1.5,1]]}",
        "{\"$other\":1}",
        "{\"$notice\":[]}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_assert_msg(run_tool("send", "echo", bad[i]) == 2, "taken: %s", bad[i]);
        ck_said("asyncoro send: VALUE is not understood: ");
    }
}
