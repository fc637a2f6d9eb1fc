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
    char name[64], client[64];
    for (ac_value it; ac_next(list, &cursor, &it); ac_drop(it))
        printf("%lld: %s of %s, %lld workers, jobs: %lld waiting, %lld at workers\n",
               tool_number_in(it, "number"), tool_text_in(it, "name", name, sizeof name),
               tool_text_in(it, "client", client, sizeof client), tool_number_in(it, "workers"),
               tool_number_in(it, "waiting"), tool_number_in(it, "placed"));
}

static int print_status(ac_value status, const char *address) {
    char name[64], state[16];
    if (json)
        return tool_print_json(ac_map("address", address, "scheduler", ac_hold(status))) ? 0 : -EIO;
    printf("scheduler %s at %s: %s, %lld nodes\n", tool_text_in(status, "name", name, sizeof name),
           address, tool_text_in(status, "state", state, sizeof state),
           tool_number_in(status, "nodes"));
    ac_value list = ac_get(status, "computations");
    print_computations(list);
    ac_drop(list);
    return 0;
}

// An answer of one line, or true.
static int print_answer(ac_value answer, const char *address) {
    (void)address;
    char text[512];
    snprintf(text, sizeof text, "%s", ac_text_of(answer) ? ac_text_of(answer) : "");
    tool_clean(text);
    if (*text)
        printf("%s\n", text);
    return 0;
}

// Those who are to be asked: the one at the address of --peer, or all that are found. Returns how
// many; or an error, having said so.
static long find(const char *tool, ac_ref desks[TOOL_PEERS_MAX]) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    size_t count;
    long found = look.peer ? tool_reach(tool, &look) : tool_meet(tool, &look, peers, &count);
    if (found < 0)
        return found;
    ac_time until = ac_after(look.seconds);
    if (look.peer)
        found = ac_locate_at(SCHEDULER_DESK_NAME, look.peer, &desks[0], until) == 0;
    else
        found = ac_locate_all(SCHEDULER_DESK_NAME, desks, TOOL_PEERS_MAX, until);
    if (found <= 0)
        fprintf(stderr, "asyncoro %s: no scheduler was found\n", tool);
    return found <= 0 ? -ENOENT : found < TOOL_PEERS_MAX ? found : TOOL_PEERS_MAX;
}

// Each scheduler counts from 1: which one is meant has to be clear.
static int refuse(const char *tool, const ac_ref *desks, long found) {
    fprintf(stderr, "asyncoro %s: there are %ld schedulers; say which one is meant:\n", tool,
            found);
    for (long i = 0; i < found; i++) {
        char address[64] = "";
        (void)ac_location(desks[i], address);
        fprintf(stderr, "  --peer %s\n", address);
    }
    return -EINVAL;
}

// Asks the one scheduler that is meant, or with `all` each that is found. Takes the question. 0;
// -ENOENT if there is none, or it has not what is asked for; or another error.
static int ask(const char *tool, ac_value question, bool all, int (*show)(ac_value, const char *)) {
    static ac_ref desks[TOOL_PEERS_MAX];
    long found = find(tool, desks);
    if (found > 1 && !all)
        found = refuse(tool, desks, found);
    int worst = found < 0 ? (int)found : 0;
    for (long i = 0; i < found; i++) {
        char address[64] = "";
        ac_value answer = ac_nil;
        (void)ac_location(desks[i], address);
        int err = ac_call(desks[i], ac_hold(question), &answer, ac_after(5));
        if (err)
            tool_complain(tool, address, err);
        else if (ac_is_nil(answer))
            fprintf(stderr, "asyncoro %s: %s: there is none of that number\n", tool, address);
        else
            err = show(answer, address);
        worst = err ? err : ac_is_nil(answer) ? -ENOENT : worst;
        ac_drop(answer);
    }
    ac_drop(question);
    return worst;
}

static ac_value run_status(ac_value argument) {
    (void)argument;
    return ac_result(ask("status", ac_of("status"), true, print_status));
}

static ac_value run_why(ac_value argument) {
    (void)argument;
    return ac_result(ask("why", ac_list("why", computation, job), false, print_answer));
}

static ac_value run_cancel(ac_value argument) {
    (void)argument;
    return ac_result(ask("cancel", ac_list("cancel", computation, job), false, print_answer));
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
    fprintf(stderr, "asyncoro %s: which job? Say COMPUTATION.JOB, as in 3.17%s\n", tool,
            all ? ", or COMPUTATION for all of them" : "");
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
