// SPDX-License-Identifier: MIT
// `asyncoro names`: the names that are given at all programs found, or at one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tools.h"

enum { PARTS_MAX = 256 };

static struct tool_network look = {.seconds = 1};
static bool json;
static const char *only; // an address or what a program calls itself; NULL: all

static const char *kind_of(ac_ref holder) {
    switch (ref_sort(holder.id)) {
    case REF_COROUTINE: return "coroutine";
    case REF_CHANNEL: return "channel";
    case REF_FUNCTION: return "function";
    case REF_ANSWER: break;
    }
    return "unknown";
}

static void print_one(ac_value name, ac_ref holder, const struct ac_peer_info *at) {
    char text[1024];
    (void)ac_format(text, sizeof text, "%v", name);
    tool_clean(text);
    (void)ac_print("%-24s %-9s %-24s %r\n", text, kind_of(holder), at->address, holder);
}

static bool print_names(ac_value list, const struct ac_peer_info *at) {
    size_t cursor = 0;
    bool good = true;
    for (ac_value item; good && ac_next(list, &cursor, &item); ac_drop(item)) {
        ac_value name;
        ac_ref holder;
        if (ac_unpack(item, &name, &holder) < 0)
            continue;
        if (json)
            good = tool_print_json(ac_map("name", ac_hold(name), "kind", kind_of(holder), "peer",
                                          tool_text(at->name), "address", at->address, "reference",
                                          holder));
        else
            print_one(name, holder, at);
        ac_drop(name);
    }
    return good;
}

static int ask_one(const struct ac_peer_info *at) {
    ac_value parts[PARTS_MAX];
    size_t told = 0;
    long count = remote_ask(at->id, REMOTE_NAMES, parts, PARTS_MAX, ac_after(5));
    int err = count < 0 ? (int)count : 0;
    for (long i = 0; i < count; i++) {
        told += ac_count(parts[i]);
        if (ac_kind_of(parts[i]) == AC_LIST && !err && !print_names(parts[i], at))
            err = -EIO;
        if (i + 1 == count && ac_int_of(parts[i]) > (int64_t)told)
            fprintf(stderr, "asyncoro names: %s has %lld names, of which it told %zu\n",
                    at->address, (long long)ac_int_of(parts[i]), told);
        ac_drop(parts[i]);
    }
    if (err == -EACCES)
        fprintf(stderr, "asyncoro names: %s '%s' does not tell\n", at->address, at->name);
    else if (err)
        tool_complain("names", at->address, err);
    return err;
}

static bool is_wanted(const struct ac_peer_info *it) {
    return !only || strcmp(it->name, only) == 0 || strcmp(it->address, only) == 0;
}

static ac_value run_names(ac_value argument) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    size_t count, asked = 0;
    int err = tool_meet("names", &look, peers, &count), worst = 0;
    (void)argument;
    for (size_t i = 0; !err && i < count; i++) {
        if (!is_wanted(&peers[i]))
            continue;
        int failed = ask_one(&peers[i]);
        worst = failed ? failed : worst;
        asked++;
    }
    if (!err && asked == 0)
        fprintf(stderr, "asyncoro names: nobody there is '%s'\n", only);
    return ac_result(err ? err : asked == 0 ? -ENOENT : worst);
}

int tool_names(int count, char **arguments) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options("names", count, arguments, options, known, &only);
    return err ? err : tool_run("names", &look, run_names);
}
