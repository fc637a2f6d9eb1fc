// SPDX-License-Identifier: MIT
// `asyncoro peers`: the programs of this key that are found within a second. A beacon tells where a
// program listens; what it calls itself and how far away it is is known of those that are linked.
// As with grep, finding nobody is a failure, so that a script need not read what is written.
#include <stdio.h>
#include <string.h>

#include "tools/tools.h"

static struct tool_network look = {.seconds = 1};
static bool json;

static ac_value in_json(const struct ac_peer_info *it) {
    char id[17];
    snprintf(id, sizeof id, "%016llx", (unsigned long long)it->id);
    return ac_map("id", (const char *)id, "name", tool_text(it->name), "address",
                  (const char *)it->address, "linked", it->linked, "round_trip_s",
                  it->round_trip_s < 0 ? ac_nil : ac_of(it->round_trip_s));
}

static void print_one(struct ac_peer_info *it) {
    char trip[32] = "-";
    if (it->round_trip_s >= 0)
        snprintf(trip, sizeof trip, "%.3f ms", it->round_trip_s * 1e3);
    tool_clean(it->name);
    printf("%-24s %12s  %s\n", it->address, trip, it->name);
}

// The round trip is measured when two link, which some of those in the list have done just now.
static void wait_for_trips(struct ac_peer_info *peers, size_t *count) {
    ac_time until = ac_after(0.5);
    size_t measured = 0;
    while (measured < *count && ac_now() < until && ac_sleep(0.005) == 0) {
        measured = 0;
        *count = tool_peers_now(peers);
        for (size_t i = 0; i < *count; i++)
            measured += !peers[i].linked || peers[i].round_trip_s >= 0;
    }
}

static ac_value run_peers(ac_value argument) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    size_t count;
    int err = tool_meet("peers", &look, peers, &count);
    (void)argument;
    if (!err)
        wait_for_trips(peers, &count);
    for (size_t i = 0; !err && i < count; i++)
        if (json && !tool_print_json(in_json(&peers[i])))
            err = -EIO;
        else if (!json)
            print_one(&peers[i]);
    return ac_result(err);
}

int tool_peers(int count, char **arguments) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options("peers", count, arguments, options, known, NULL);
    return err ? err : tool_run("peers", &look, run_peers);
}
