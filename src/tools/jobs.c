// SPDX-License-Identifier: MIT
// `asyncoro status`, `why` and `cancel`: what schedulers have, asked of them. A scheduler answers
// peers alone that may ship code to it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tools.h"

static struct tool_network look = {.seconds = 1};
static bool json;
static uint64_t computation, job; // of which job; job 0: of all

static void print_computations(ac_value list) {
    size_t cursor = 0;
    ac_value it;
    while (ac_next(list, &cursor, &it)) {
        ac_value name = ac_get(it, "name"), client = ac_get(it, "client");
        char text[128];
        snprintf(text, sizeof text, "%s of %s", ac_text_of(name) ? ac_text_of(name) : "-",
                 ac_text_of(client) ? ac_text_of(client) : "-");
        tool_clean(text);
        (void)ac_print("%v: %s, %v workers, jobs: %v waiting, %v at workers\n",
                       ac_get(it, "number"), text, ac_get(it, "workers"), ac_get(it, "waiting"),
                       ac_get(it, "placed"));
        ac_drop(name);
        ac_drop(client);
        ac_drop(it);
    }
}

static int print_status(ac_value status, const char *address) {
    if (json)
        return tool_print_json(ac_map("address", address, "scheduler", ac_hold(status))) ? 0 : -EIO;
    ac_value name = ac_get(status, "name"), state = ac_get(status, "state"),
             list = ac_get(status, "computations");
    char text[128];
    snprintf(text, sizeof text, "%s at %s: %s", ac_text_of(name) ? ac_text_of(name) : "-", address,
             ac_text_of(state) ? ac_text_of(state) : "-");
    tool_clean(text);
    (void)ac_print("scheduler %s, %v nodes\n", text, ac_get(status, "nodes"));
    print_computations(list);
    ac_drop(name);
    ac_drop(state);
    ac_drop(list);
    return 0;
}

// Asks each scheduler that is found. 0; -ENOENT if none has what is asked for; or another error.
static int ask_all(const char *tool, ac_value question, int (*show)(ac_value, const char *)) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    static ac_ref desks[TOOL_PEERS_MAX];
    size_t count;
    int err = tool_meet(tool, &look, peers, &count), worst = -ENOENT;
    long found =
        err ? 0 : ac_locate_all(SCHEDULER_DESK_NAME, desks, TOOL_PEERS_MAX, ac_after(look.seconds));
    for (long i = 0; i < found && i < TOOL_PEERS_MAX; i++) {
        char address[64] = "";
        ac_value answer = ac_nil;
        (void)ac_location(desks[i], address);
        err = ac_call(desks[i], ac_hold(question), &answer, ac_after(5));
        if (err)
            tool_complain(tool, address, err);
        else if (!ac_is_nil(answer))
            worst = show(answer, address);
        ac_drop(answer);
    }
    ac_drop(question);
    if (!err && found <= 0)
        fprintf(stderr, "asyncoro %s: no scheduler was found\n", tool);
    else if (!err && worst == -ENOENT)
        fprintf(stderr, "asyncoro %s: there is none of that number\n", tool);
    return err ? err : worst;
}

static int print_answer(ac_value answer, const char *address) {
    (void)address;
    if (answer.kind == AC_TEXT)
        printf("%s\n", ac_text_of(answer));
    return 0;
}

static ac_value run_status(ac_value argument) {
    (void)argument;
    return ac_result(ask_all("status", ac_of("status"), print_status));
}

static ac_value run_why(ac_value argument) {
    (void)argument;
    return ac_result(ask_all("why", ac_list("why", computation, job), print_answer));
}

static ac_value run_cancel(ac_value argument) {
    (void)argument;
    return ac_result(ask_all("cancel", ac_list("cancel", computation, job), print_answer));
}

int tool_status(int count, char **arguments) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options("status", count, arguments, options, known, NULL);
    return err ? err : tool_run("status", &look, run_status);
}

// "3.17", or "3" where all jobs may be meant.
static int read_job(const char *tool, const char *text, bool all) {
    char *end = NULL;
    computation = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (computation && *end == '.' && end[1] >= '0' && end[1] <= '9')
        job = strtoull(end + 1, &end, 10);
    if (computation && !*end && (job || (all && !strchr(text, '.'))))
        return EXIT_GOOD;
    fprintf(stderr, "asyncoro %s: which job? Say COMPUTATION.JOB, as in 3.17\n", tool);
    return EXIT_USAGE;
}

static int run_for_job(const char *tool, int count, char **arguments, bool all, ac_function main) {
    struct tool_option options[TOOL_LOOK_OPTIONS];
    const char *word = NULL;
    size_t known = tool_look_options(&look, options, 0);
    int err = tool_read_options(tool, count, arguments, options, known, &word);
    if (!err)
        err = read_job(tool, word, all);
    return err ? err : tool_run(tool, &look, main);
}

int tool_why(int count, char **arguments) {
    return run_for_job("why", count, arguments, false, run_why);
}

int tool_cancel(int count, char **arguments) {
    return run_for_job("cancel", count, arguments, true, run_cancel);
}
