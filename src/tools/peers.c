// SPDX-License-Identifier: MIT
// `asyncoro peers`: the programs of this key that are found within a second. A beacon tells where a
// program listens; what it calls itself it tells those that link to it. As with grep, finding
// nobody is a failure, so that a script need not read what is written.
#include <stdio.h>

#include "tools/tools.h"

enum { PEERS_MAX = 256 };

static bool found; // somebody

static ac_value run_peers(ac_value argument) {
    static struct ac_peer_info peers[PEERS_MAX];
    (void)argument;
    int err = ac_sleep(1);
    long count = ac_peers(peers, PEERS_MAX);
    ac_time until = ac_after(1);
    for (long i = 0; i < count && i < PEERS_MAX; i++)
        if (!peers[i].linked && ac_peer(peers[i].address, until) < 0)
            fprintf(stderr, "asyncoro peers: %s does not answer\n", peers[i].address);
    count = ac_peers(peers, PEERS_MAX);
    for (long i = 0; i < count && i < PEERS_MAX; i++)
        printf("%-24s %s\n", peers[i].address, peers[i].name);
    found = count > 0;
    if (!found)
        fprintf(stderr, "asyncoro peers: nobody was found\n");
    return ac_result(err);
}

int tool_peers(int count, char **arguments) {
    bool loopback = false;
    uint32_t discovery_port = 0;
    const char *key_file = NULL;
    const struct tool_option options[] = {
        {.name = "--loopback", .flag = &loopback},
        {.name = "--discovery-port", .number = &discovery_port, .number_max = UINT16_MAX},
        {.name = "--key-file", .text = &key_file},
    };
    int err = tool_read_options("peers", count, arguments, options, countof(options), NULL);
    if (err)
        return err;
    err = ac_network_start(.name = "asyncoro peers", .loopback_only = loopback,
                           .discovery_port = (uint16_t)discovery_port, .key_file = key_file);
    if (err) {
        fprintf(stderr, "asyncoro peers: %s\n", ac_network_error());
        return EXIT_FAILED;
    }
    ac_spawn(run_peers, ac_nil, .name = "peers");
    return ac_run() || !found ? EXIT_FAILED : EXIT_GOOD;
}
