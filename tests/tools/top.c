// SPDX-License-Identifier: MIT
// `asyncoro top`: what is shown of programs, and of those that tell nothing.
#include "tools/tool.h"

TEST(a_look_shows_programs_queues_and_losses) {
    world_make();
    pid_t pid = pump_start(pump, false);
    ck_assert_int_eq(run_tool("top", "--loopback", "--once"), 0);
    ck_said("1 program;");
    ck_said("PROGRAM ");
    ck_said("pump ");
    ck_said(" well\n");
    ck_said("dead letters of loop 1: unread 1");
    ck_not_said("\033"); // this is no terminal
    ck_assert_int_eq(run_tool("top", "--loopback", "--times", "2"), 0);
    const char *first = strstr(tool_said, "PROGRAM ");
    ck_assert(first && strstr(first + 1, "PROGRAM "));
    pump_stop(pid);
    world_clean();
}

// Sends to "sink" of the other program without end, at some pace.
static ac_value flood(ac_value unused) {
    ac_ref to;
    if (ac_locate("sink", &to, AC_FOREVER) || write(pump_ready, "!", 1) != 1)
        abort();
    while (ac_send(to, 1) == 0 && ac_sleep(0.002) == 0)
        continue;
    (void)ac_sleep(3600);
    return unused;
}

static double number_behind(const char *from, const char *key) {
    const char *at = from ? strstr(from, key) : NULL;
    ck_assert_msg(at != NULL, "no %s in: %s", key, tool_said);
    return atof(at + strlen(key));
}

TEST(json_shows_links_rates_and_loops) {
    world_make();
    pid_t pid = pump_start(pump, false), other = pump_start(flood, false);
    ck_assert_int_eq(run_tool("top", "--loopback", "--once", "--json", "--every", "2"), 0);
    ck_said("{\"programs\":[{\"");
    ck_said("\"state\":\"well\"");
    ck_said("\"what\":\"network\"");
    ck_said("\"what\":\"loop\"");
    ck_said("\"dead_letters\":{");
    ck_said("\"round_trip_s\":");
    // The one that sends has a rate outwards.
    double most = 0;
    for (const char *at = tool_said; (at = strstr(at, "\"per_second\":")); at++) {
        double rate = number_behind(at, "\"messages_out\":");
        most = rate > most ? rate : most;
    }
    ck_assert_msg(most > 5, "%s", tool_said);
    ck_assert_int_eq(run_tool("top", "--loopback", "--once", "--links"), 0);
    ck_said("  with pump ");
    pump_stop(other);
    pump_stop(pid);
    world_clean();
}

TEST(a_program_that_tells_nothing_is_shown_as_hidden) {
    world_make();
    pid_t pid = pump_start(pump, true);
    ck_assert_int_eq(run_tool("top", "--loopback", "--once"), 0);
    ck_said("pump ");
    ck_said(" hidden\n");
    pump_stop(pid);
    world_clean();
}

static ac_value compute(ac_value unused) {
    if (write(pump_ready, "!", 1) != 1)
        abort();
    for (volatile unsigned i = 0;; i = i + 1)
        continue;
    return unused;
}

TEST(a_program_that_computes_is_shown_as_such) {
    world_make();
    pid_t pid = pump_start(compute, false);
    ck_assert_int_eq(run_tool("top", "--loopback", "--once", "--seconds", "3"), 0);
    ck_said("pump ");
    ck_said(" computes\n");
    pump_stop(pid);
    world_clean();
}

TEST(it_ends_when_it_is_told_to) {
    world_make();
    pid_t pid = pump_start(pump, false);
    char path[600], script[1024];
    world_tool(path);
    snprintf(script, sizeof script,
             "'%s' top --loopback > '%s/out' & top=$!; "
             "until grep -q well '%s/out'; do sleep 0.1; done; kill $top; "
             "wait $top",
             path, world_folder, world_folder);
    ck_assert_int_eq(system(script), 0);
    pump_stop(pid);
    world_clean();
}

TEST(on_a_terminal_the_table_is_drawn_over_the_last_one) {
    world_make();
    pid_t pid = pump_start(pump, false);
    char path[600], script[1024];
    world_tool(path);
    snprintf(script, sizeof script,
             "script -qec \"stty cols 60 rows 20; '%s' top --loopback --times 2\" '%s/typed' "
             "> /dev/null < /dev/null",
             path, world_folder);
    ck_assert_int_eq(system(script), 0);
    snprintf(script, sizeof script, "%s/typed", world_folder);
    FILE *file = fopen(script, "r");
    ck_assert_ptr_nonnull(file);
    tool_said[fread(tool_said, 1, sizeof tool_said - 1, file)] = 0;
    fclose(file);
    ck_said("\033[H");
    ck_said("PROGRAM ");
    ck_said("\033[K");
    ck_said("\033[J");
    ck_not_said("STATE"); // in columns that do not fit
    pump_stop(pid);
    world_clean();
}
