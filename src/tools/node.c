// SPDX-License-Identifier: MIT
// `asyncoro node`: the daemon that lets programs of this key run their functions on this computer.
#include <stdio.h>

#include "tools/tools.h"

int tool_node(int count, char **arguments) {
    struct node_options node = {0};
    uint32_t port = 0, discovery_port = 0;
    const struct tool_option options[] = {
        {.name = "--workers", .number = &node.workers, .number_max = 1024},
        {.name = "--name", .text = &node.name},
        {.name = "--loopback", .flag = &node.loopback_only},
        {.name = "--port", .number = &port, .number_max = UINT16_MAX},
        {.name = "--discovery-port", .number = &discovery_port, .number_max = UINT16_MAX},
        {.name = "--key-file", .text = &node.key_file},
    };
    int err = tool_read_options("node", count, arguments, options, countof(options), NULL);
    if (err)
        return err;
    node.port = (uint16_t)port;
    node.discovery_port = (uint16_t)discovery_port;
    char text[256];
    err = node_run(&node, text);
    if (err)
        fprintf(stderr, "asyncoro node: %s\n", text);
    return err ? EXIT_FAILED : EXIT_GOOD;
}
