// SPDX-License-Identifier: MIT
// `asyncoro doctor FILE`: which of the nodes found could run this executable, and what the others
// lack.
#include <stdio.h>
#include <string.h>

#include "tools/tools.h"

enum { EXIT_SOME = 3 };

static struct tool_network look = {.seconds = 1};
static bool json;
static const char *file;
static int code = EXIT_FAILED; // what main ends with, if nothing fails

static ac_value in_json(const struct doctor_node *it) {
    return ac_map("node", tool_text(it->name), "address", tool_text(it->location), "runs", it->runs,
                  "answered", it->answered, "why", it->runs ? ac_nil : tool_text(it->why));
}

static ac_value needs_in_json(const struct doctor_report *report) {
    return ac_map("file", tool_text(file), "machine", tool_text(report->machine), "libc",
                  report->libc[0] ? tool_text(report->libc) : ac_nil, "loader",
                  report->loader[0] ? tool_text(report->loader) : ac_nil, "libraries",
                  tool_text(report->libraries));
}

static void print_needs(struct doctor_report *report) {
    tool_clean(report->loader);
    tool_clean(report->libraries);
    printf("%s: for %s, %s%s%s%s%s\n", file, report->machine,
           report->loader[0] ? "loaded by " : "static", report->loader,
           report->libc[0] ? ", needs " : "", report->libc, report->libraries[0] ? ":" : "");
    if (report->libraries[0])
        printf("    %s\n", report->libraries);
}

static void print_node(struct doctor_node *it) {
    tool_clean(it->name);
    tool_clean(it->why);
    printf("%-24s %-3s %s%s%s\n", it->location,
           it->runs       ? "yes"
           : it->answered ? "no"
                          : "?",
           it->name, it->runs ? "" : ": ", it->runs ? "" : it->why);
}

static int print_all(struct doctor_report *report) {
    size_t runs = 0;
    bool good = true;
    if (json)
        good = tool_print_json(needs_in_json(report));
    else
        print_needs(report);
    for (size_t i = 0; good && i < report->count; i++) {
        runs += report->nodes[i].runs;
        if (json)
            good = tool_print_json(in_json(&report->nodes[i]));
        else
            print_node(&report->nodes[i]);
    }
    if (report->count == 0)
        fprintf(stderr, "asyncoro doctor: no node was found\n");
    code = runs == 0 ? EXIT_FAILED : runs == report->count ? EXIT_GOOD : EXIT_SOME;
    return good ? 0 : -EIO;
}

static ac_value run_doctor(ac_value argument) {
    static struct doctor_report report;
    char text[PROBLEM_BYTES];
    (void)argument;
    int err = tool_reach("doctor", &look);
    if (err)
        return ac_result(err);
    err = doctor_ask(file, look.seconds, look.peer ? 1 : 0, &report, text);
    if (err) {
        tool_clean(text);
        fprintf(stderr, "asyncoro doctor: %s: %s\n", file, text);
        return ac_result(err);
    }
    return ac_result(print_all(&report));
}

int tool_doctor(int count, char **arguments) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options("doctor", count, arguments, options, known, &file);
    if (err)
        return err;
    if (!file) {
        fprintf(stderr, "asyncoro doctor: which FILE? see: asyncoro help doctor\n");
        return EXIT_USAGE;
    }
    err = tool_run("doctor", &look, run_doctor);
    return err ? err : code;
}
