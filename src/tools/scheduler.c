// SPDX-License-Identifier: MIT
// `asyncoro scheduler`: gives the jobs of several programs of this key to the nodes.
#include <stdio.h>

#include "tools/tools.h"

int tool_scheduler(int count, char **arguments) {
    struct scheduler_options scheduler = {.grace_ns = 20ll * 1000 * 1000 * 1000};
    uint32_t port = 0, discovery_port = 0;
    struct key_ring keys = {.count = 0};
    bool key_stdin = false;
    const struct tool_option options[] = {
        {.name = "--computations",
         .number = &scheduler.computations_max,
         .number_max = SCHEDULER_COMPUTATIONS_MAX},
        {.name = "--name", .text = &scheduler.name},
        {.name = "--idle", .duration = &scheduler.idle_ns},
        {.name = "--grace", .duration = &scheduler.grace_ns},
        {.name = "--journal", .text = &scheduler.journal},
        {.name = "--return", .duration = &scheduler.return_ns},
        {.name = "--die-with-stdin", .flag = &scheduler.die_with_stdin},
        {.name = "--loopback", .flag = &scheduler.loopback_only},
        {.name = "--port", .number = &port, .number_max = UINT16_MAX},
        {.name = "--no-discovery", .flag = &scheduler.no_discovery},
        {.name = "--discovery-port", .number = &discovery_port, .number_max = UINT16_MAX},
        {.name = "--key-file", .text = &scheduler.key_file},
        {.name = "--key-stdin", .flag = &key_stdin},
    };
    int code = tool_read_options("scheduler", count, arguments, options, countof(options), NULL);
    if (!code && scheduler.name && !scheduler.name[0]) {
        fprintf(stderr, "asyncoro scheduler: --name takes a name\n");
        code = EXIT_USAGE;
    }
    if (!code && key_stdin)
        code = tool_read_keys("scheduler", &keys);
    if (code)
        return code;
    char text[256];
    scheduler.port = (uint16_t)port;
    scheduler.discovery_port = (uint16_t)discovery_port;
    scheduler.keys = key_stdin ? &keys : NULL;
    int err = scheduler_run(&scheduler, text);
    digest_wipe(&keys, sizeof keys);
    if (err)
        fprintf(stderr, "asyncoro scheduler: %s\n", text);
    return err ? EXIT_FAILED : EXIT_GOOD;
}
