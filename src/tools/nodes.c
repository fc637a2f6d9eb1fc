// SPDX-License-Identifier: MIT
// `asyncoro nodes` and `asyncoro drain`: what nodes are there and what they do, and one of them
// told to end when it can. A node answers peers alone that may ship code to it.
#include <stdio.h>
#include <string.h>

#include "tools/tools.h"

static struct tool_network look = {.seconds = 1};
static bool json;
static ac_time grace = -1;
static const char *only; // an address or a node's name; NULL: all

static void describe_tags(ac_value node, char *text, size_t bytes) {
    ac_value tags = ac_get(node, "tags");
    (void)ac_format(text, bytes, "%v", tags);
    if (tags.kind != AC_MAP || ac_count(tags) == 0)
        text[0] = 0;
    ac_drop(tags);
    tool_clean(text);
}

static bool print_json(ac_value node, const char *address) {
    static const char *const keys[] = {"name",   "state",        "why",     "workers",
                                       "memory", "computations", "sandbox", "tags"};
    ac_value items[2 * countof(keys) + 2] = {ac_of("address"), ac_of(address)};
    for (size_t i = 0; i < countof(keys); i++) {
        items[2 * i + 2] = ac_of(keys[i]);
        items[2 * i + 3] = ac_get(node, keys[i]);
    }
    return tool_print_json(ac_map_of(items, countof(items) / 2));
}

static bool print_one(ac_value node, const char *address) {
    char name[64], state[16], sandbox[512], why[128], tags[1024], memory[32] = "-";
    if (json)
        return print_json(node, address);
    long long bytes = tool_number_in(node, "memory");
    if (bytes > 0)
        snprintf(memory, sizeof memory, "%lld MiB", bytes >> 20);
    describe_tags(node, tags, sizeof tags);
    bool serves = strcmp(tool_text_in(node, "state", state, sizeof state), "serving") == 0;
    printf("%-24s %-24s %-8s %3lld workers %12s %2lld computations, sandbox %s%s%s%s%s\n",
           tool_text_in(node, "name", name, sizeof name), address, state,
           tool_number_in(node, "workers"), memory, tool_number_in(node, "computations"),
           tool_text_in(node, "sandbox", sandbox, sizeof sandbox), *tags ? ", " : "", tags,
           serves ? "" : ": ", serves ? "" : tool_text_in(node, "why", why, sizeof why));
    return true;
}

static bool is_wanted(ac_value node, const char *address) {
    char name[64];
    return !only || strcmp(only, address) == 0 ||
           strcmp(only, tool_text_in(node, "name", name, sizeof name)) == 0;
}

// Asks one. 1: it is one of those that are wanted; 0: it is not; or an error, having said so.
static int ask(const char *tool, ac_ref desk, bool drains) {
    ac_value node = ac_nil;
    char address[64] = "";
    (void)ac_location(desk, address);
    int err = ac_call(desk, "tell", &node, ac_after(5));
    bool wanted = !err && is_wanted(node, address);
    if (wanted && drains) {
        ac_drop(node);
        node = ac_nil;
        err = ac_call(desk, ac_list("drain", grace < 0 ? -1.0 : (double)grace * 1e-9), &node,
                      ac_after(5));
    }
    if (err)
        fprintf(stderr, "asyncoro %s: %s: %s\n", tool, address,
                err == -EACCES || err == -ETIMEDOUT ? "it does not answer, or not this user"
                                                    : ac_strerror(err));
    else if (wanted && !print_one(node, address))
        err = -EIO;
    ac_drop(node);
    return err ? err : wanted;
}

static int ask_all(const char *tool, bool drains) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    static ac_ref desks[TOOL_PEERS_MAX];
    size_t count;
    int err = tool_meet(tool, &look, peers, &count), worst = 0, asked = 0;
    if (err)
        return err;
    long found = ac_locate_all(NODE_DESK_NAME, desks, TOOL_PEERS_MAX, ac_after(look.seconds));
    for (long i = 0; i < found && i < TOOL_PEERS_MAX; i++) {
        int is = ask(tool, desks[i], drains);
        worst = is < 0 ? is : worst;
        asked += is > 0;
    }
    if (!worst && asked == 0)
        fprintf(stderr, "asyncoro %s: no node was found%s%s\n", tool, only ? " that is " : "",
                only ? only : "");
    return found < 0 ? (int)found : worst ? worst : asked > 0 ? 0 : -ENOENT;
}

static ac_value run_nodes(ac_value argument) {
    (void)argument;
    return ac_result(ask_all("nodes", false));
}

static ac_value run_drain(ac_value argument) {
    (void)argument;
    return ac_result(ask_all("drain", true));
}

int tool_nodes(int count, char **arguments) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options("nodes", count, arguments, options, known, &only);
    return err ? err : tool_run("nodes", &look, run_nodes);
}

int tool_drain(int count, char **arguments) {
    struct tool_option options[2 + TOOL_LOOK_OPTIONS] = {{.name = "--grace", .duration = &grace},
                                                         {.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 2);
    int err = tool_read_options("drain", count, arguments, options, known, &only);
    if (!err && !only) {
        fprintf(stderr, "asyncoro drain: which node? See: asyncoro nodes\n");
        err = EXIT_USAGE;
    }
    return err ? err : tool_run("drain", &look, run_drain);
}
