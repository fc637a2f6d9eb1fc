// SPDX-License-Identifier: MIT
// `asyncoro status`, `jobs`, `why` and `cancel`.
#include "tools/tool.h"

static ac_value one(ac_value unused) { return unused; }
AC_JOB(one)

static ac_value stay(ac_value unused) {
    (void)unused;
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(stay)

static ac_value break_down(ac_value unused) {
    (void)unused;
    return ac_result(-EIO);
}
AC_JOB(break_down)

JOBS_OF_THIS_TEST

TEST(which_job_has_to_be_said) {
    static const char *const bad[] = {"", "x", "0", "1.", "1.0", "1.2.3", "1x", ".1"};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_assert_int_eq(run_tool("why", bad[i]), 2);
        ck_assert_int_eq(run_tool("cancel", bad[i]), 2);
        ck_said("which job?");
    }
    ck_assert_int_eq(run_tool("why"), 2);
    ck_assert_int_eq(run_tool("why", "1"), 2);
    ck_not_said("or COMPUTATION");
    ck_assert_int_eq(run_tool("cancel"), 2);
    ck_said("or COMPUTATION");
}

#define LOOK "--loopback", "--peer", world_scheduler_address

// ---- who says that he is a scheduler, and does not come to an end ----

enum { SAME_AGAIN, EVER_MORE, NO_JOBS, SAME_JOBS };

static ac_value page_of(int way, ac_value body) {
    const char *word;
    uint64_t number = 0, from = 0;
    bool jobs = ac_unpack(body, &word, &number, &from) == 0;
    if (!jobs)
        ck_assert_int_eq(ac_unpack(body, &word, &number), 0);
    if (jobs && way == NO_JOBS)
        return ac_map("jobs", ac_list_of(NULL, 0), "next", from + 1);
    if (jobs)
        return ac_map("jobs", ac_list(ac_map("job", from, "function", "f")), "next", from);
    number = way == SAME_AGAIN ? 1 : number + 1;
    return ac_map("computations", ac_list(ac_map("number", number, "waiting", 3)), "more",
                  way < NO_JOBS);
}

static int way; // of the one that is played

static ac_value tell_for_ever(ac_value unused) {
    ac_value message, body;
    ac_ref asker;
    if (ac_register(ac_self(), SCHEDULER_DESK_NAME) || write(pump_ready, "!", 1) != 1)
        abort();
    while (ac_receive(&message, AC_FOREVER) == 0) {
        if (ac_unpack(message, &asker, &body) == 0) {
            (void)ac_send(asker, page_of(way, body));
            ac_drop(body);
        }
        ac_drop(message);
    }
    return unused;
}

static void ask_endless(const char *tool, int how) {
    world_make();
    way = how;
    pid_t pid = pump_start(tell_for_ever, false);
    ck_assert_int_eq(run_tool(tool, "--loopback"), 1);
    ck_said("makes no sense, or has no end");
    pump_stop(pid);
    world_clean();
}

TEST(a_scheduler_whose_pages_never_end_is_given_up_by_status) { ask_endless("status", SAME_AGAIN); }

TEST(a_scheduler_with_ever_more_computations_is_given_up, .seconds_max = 120) {
    ask_endless("status", EVER_MORE);
}

TEST(a_scheduler_whose_pages_never_end_is_given_up_by_jobs) { ask_endless("jobs", SAME_AGAIN); }

TEST(pages_without_jobs_are_given_up) { ask_endless("jobs", NO_JOBS); }

TEST(pages_with_the_same_jobs_are_given_up) { ask_endless("jobs", SAME_JOBS); }

// Whether a line of what the tool said has both.
static bool line_has(const char *one, const char *other) {
    const char *at = strstr(tool_said, one), *end = at ? strchr(at, '\n') : NULL, *found;
    while (at && at > tool_said && at[-1] != '\n')
        at--;
    found = at ? strstr(at, other) : NULL;
    return found && end && found < end;
}

// How often a text is in what the tool said.
static int count_said(const char *text) {
    int count = 0;
    for (const char *at = tool_said; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

// There is no node: the jobs wait. The tools run while this coroutine waits for nothing.
static ac_value wait_in_vain(ac_value unused) {
    ac_computation *computation;
    struct ac_job_exit exit;
    ck_assert_int_eq(ac_computation_open(&computation, .name = "in vain"), 0);
    for (int i = 1; i <= 3; i++)
        ck_assert_int_eq(ac_submit(computation, one, ac_nil), i);
    (void)world_await(AC_JOBS_WAIT, TEST_PATIENCE_S); // they have come there
    ck_assert_int_eq(run_tool("status", LOOK), 0);
    ck_said("serving, 0 nodes");
    ck_said("1: in vain of 127.0.0.1:");
    ck_said("0 workers, jobs: 3 waiting, 0 at workers");
    ck_assert_int_eq(run_tool("status", "--json", LOOK), 0);
    ck_said("\"waiting\":3");
    ck_said("\"finished\":0");
    ck_assert_int_eq(run_tool("jobs", LOOK), 0);
    ck_said("1.1 ");
    ck_said("1.3 ");
    ck_said("waiting");
    ck_not_said("more");
    ck_assert_int_eq(run_tool("jobs", "1", "--limit", "2", LOOK), 0);
    ck_said("1.2 ");
    ck_not_said("1.3 ");
    ck_said("and 1 more");
    ck_assert_int_eq(run_tool("jobs", "2", LOOK), 1);
    ck_said("there is none of that number");
    ck_assert_int_eq(run_tool("jobs", "--json", "--limit", "2", LOOK), 0);
    ck_assert(line_has("\"1.1\"", "\"function\":\"one\""));
    ck_assert(line_has("\"1.1\"", "\"state\":\"waiting\""));
    ck_assert(line_has("\"1.1\"", "\"attempt\":0"));
    ck_assert(line_has("\"1.1\"", "\"node\":null"));
    ck_said("\"more\":1");
    ck_assert_int_eq(run_tool("why", "--json", "1.2", LOOK), 0);
    ck_said("\"job\":\"1.2\"");
    ck_said("\"why\":\"no node has been found");
    ck_assert_int_eq(run_tool("why", "1.2", LOOK), 0);
    ck_said("no node has been found");
    ck_assert_int_eq(run_tool("why", "1.4", LOOK), 1);
    ck_said("there is none of that number");
    ck_assert_int_eq(run_tool("cancel", "2", LOOK), 1);
    ck_assert_int_eq(run_tool("cancel", "1.2", LOOK), 0);
    ck_assert(world_next_exit(&exit, TEST_PATIENCE_S));
    ck_assert_int_eq(exit.job, 2);
    ck_assert_int_eq(exit.exit.how, AC_CANCELLED);
    ac_drop(exit.exit.value);
    ck_assert_int_eq(run_tool("cancel", "--json", "1", LOOK), 0);
    ck_said("\"cancelled\":\"1\"");
    for (int i = 0; i < 2; i++) {
        ck_assert(world_next_exit(&exit, TEST_PATIENCE_S));
        ck_assert_int_eq(exit.exit.how, AC_CANCELLED);
        ac_drop(exit.exit.value);
    }
    ck_assert_int_eq(run_tool("status", LOOK), 0);
    ck_said("jobs: 0 waiting, 0 at workers, 0 running; 0 finished, 0 failed, 3 cancelled, 0 lost");
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(which_computation_has_to_be_a_number) {
    static const char *const bad[] = {"", "x", "0", "1.", "1.2", "1x"};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_assert_int_eq(run_tool("jobs", bad[i]), 2);
        ck_said("of which COMPUTATION?");
    }
    ck_assert_int_eq(run_tool("jobs", "--limit", "0"), 2);
}

TEST(what_a_scheduler_has_is_told_explained_and_cancelled) {
    world_make();
    world_start_scheduler();
    world_run(wait_in_vain);
    world_stop(&world_scheduler);
    world_clean();
}

// One that runs, one behind it, one that has finished, one that has failed, one that is lost; and
// what a scheduler tells of computations that are closed.
static ac_value run_some(ac_value unused) {
    ac_computation *computation;
    struct ac_job_exit exit;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, one, ac_nil), 1);
    ck_assert_int_eq(ac_submit(computation, break_down, ac_nil), 2);
    for (int i = 0; i < 2; i++) {
        ck_assert(world_next_exit(&exit, TEST_PATIENCE_S));
        ac_drop(exit.exit.value);
    }
    ck_assert_int_eq(ac_submit(computation, stay, ac_nil), 3);
    (void)world_await(AC_JOB_STARTED, TEST_PATIENCE_S);
    ck_assert_int_eq(ac_submit(computation, one, ac_nil), 4);
    ck_assert_int_eq(ac_submit(computation, one, ac_nil, .tags = "none", .wait_for_nodes = true),
                     5);
    do {
        ck_assert_int_eq(ac_sleep(0.02), 0); // what is submitted goes on its way
        ck_assert_int_eq(run_tool("jobs", "--json", LOOK), 0);
    } while (count_said("\"job\":") < 3);
    ck_assert(line_has("\"1.3\"", "\"function\":\"stay\""));
    ck_assert(line_has("\"1.3\"", "\"state\":\"running\""));
    ck_assert(line_has("\"1.3\"", "\"attempt\":1"));
    ck_assert(line_has("\"1.3\"", "\"node\":\"here\""));
    ck_assert(line_has("\"1.3\"", "\"location\":\"127.0.0.1:"));
    ck_assert(line_has("\"1.5\"", "\"state\":\"waiting\""));
    ck_assert_int_eq(run_tool("status", LOOK), 0);
    ck_assert_int_eq(count_said("1 running; 1 finished, 1 failed, 0 cancelled, 0 lost"), 2);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    do {
        ck_assert_int_eq(ac_sleep(0.02), 0);
        ck_assert_int_eq(run_tool("status", LOOK), 0);
    } while (count_said("jobs: ") > 1);
    ck_said("jobs: 0 waiting, 0 at workers, 0 running; 1 finished, 1 failed");
    return unused;
}

TEST(jobs_are_listed_and_counted_by_their_states) {
    world_make();
    world_start_scheduler();
    world_start_node("1");
    world_run(run_some);
    world_stop(&world_scheduler);
    world_end();
}

// More jobs and more computations than one answer of a scheduler tells of.
enum { MANY_JOBS = 600, MANY_COMPUTATIONS = 300 };

static ac_value have_many(ac_value unused) {
    static ac_computation *computations[MANY_COMPUTATIONS];
    ck_assert_int_eq(ac_computation_open(&computations[0]), 0);
    for (int i = 1; i <= MANY_JOBS; i++)
        ck_assert_int_eq(ac_submit(computations[0], one, ac_nil, .wait_for_nodes = true), i);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i < MANY_COMPUTATIONS; i++) {
        ck_assert_int_eq(ac_computation_open(&computations[i]), 0);
        (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    }
    do {
        ck_assert_int_eq(ac_sleep(0.02), 0);
        ck_assert_int_eq(run_tool("jobs", "1", "--json", "--limit", "513", LOOK), 0);
    } while (!strstr(tool_said, "\"more\":87"));
    ck_assert_int_eq(count_said("\"job\":"), 513);
    ck_said("\"1.513\"");
    ck_not_said("\"1.514\"");
    ck_assert_int_eq(run_tool("status", LOOK), 0);
    ck_assert_int_eq(count_said("0 workers"), MANY_COMPUTATIONS);
    ck_said("\n300: ");
    for (int i = 0; i < MANY_COMPUTATIONS; i++)
        ck_assert_int_eq(ac_computation_close(computations[i], AC_NOW), 0);
    return unused;
}

TEST(a_scheduler_that_has_many_tells_of_all, .seconds_max = 120) {
    world_make();
    world_start_scheduler();
    world_run(have_many);
    world_stop(&world_scheduler);
    world_clean();
}

// Two schedulers have a computation 1 each, of which one alone is to be cancelled.
static char other_address[64];
static ac_value cancel_one(ac_value unused) {
    ac_computation *computations[2];
    struct ac_job_exit exit;
    const char *addresses[2] = {world_scheduler_address, other_address};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_computation_open(&computations[i], .scheduler = addresses[i]), 0);
        ck_assert_int_eq(ac_submit(computations[i], one, ac_nil), 1);
    }
    for (int i = 0; i < 2; i++)
        (void)world_await(AC_JOBS_WAIT, TEST_PATIENCE_S);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(run_tool(i ? "cancel" : "why", "1.1", "--loopback"), 1);
        ck_said("there are 2 schedulers; say which one is meant:\n");
        ck_said(addresses[0]);
        ck_said(addresses[1]);
    }
    ck_assert(!world_next_exit(&exit, 0.2));
    ck_assert_int_eq(run_tool("status", LOOK), 0);
    ck_not_said(addresses[1]);
    ck_assert_int_eq(run_tool("cancel", "1", LOOK), 0);
    ck_assert(world_next_exit(&exit, TEST_PATIENCE_S));
    ac_drop(exit.exit.value);
    ck_assert(!world_next_exit(&exit, 0.2));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(ac_computation_close(computations[i], AC_NOW), 0);
    return unused;
}

TEST(of_several_schedulers_one_has_to_be_named) {
    struct sys_process other;
    world_make();
    world_start_scheduler();
    static const char *const arguments[] = {"asyncoro", "scheduler", "--loopback", "--grace",
                                            "0s",       "--name",    "other",      NULL};
    world_start(&other, arguments, -1, other_address);
    world_run(cancel_one);
    world_stop(&other);
    world_stop(&world_scheduler);
    world_clean();
}

// What others have written does no harm on a terminal.
static ac_value ask_of_colours(ac_value unused) {
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(
        ac_submit(computation, one, ac_nil, .tags = "\033[31m", .wait_for_nodes = true), 1);
    (void)world_await(AC_NODE_READY, TEST_PATIENCE_S);
    ck_assert_int_eq(run_tool("why", "1.1", LOOK), 0);
    ck_said("?[31m");
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    return unused;
}

TEST(what_is_told_does_no_harm_on_a_terminal) {
    world_make();
    world_start_scheduler();
    world_start_node("1");
    world_run(ask_of_colours);
    world_stop(&world_scheduler);
    world_end();
}

TEST(without_a_scheduler_that_is_said) {
    world_begin("1");
    ck_assert_int_eq(run_tool("status", "--loopback", "--peer", world_node_address), 1);
    ck_said("no scheduler was found");
    world_end();
}
