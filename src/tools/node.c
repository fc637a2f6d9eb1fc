// SPDX-License-Identifier: MIT
// `asyncoro node`: the daemon that lets programs of this key run their functions on this computer.
#include <stdio.h>

#include "tools/tools.h"

static int complain(const char *text) {
    fprintf(stderr, "asyncoro node: %s\n", text);
    return EXIT_FAILED;
}

static int check(const struct node_options *node, const char *hours_text, struct hours *hours) {
    ac_value tags;
    if (hours_text && !hours_read(hours_text, hours)) {
        fprintf(stderr,
                "asyncoro node: --hours takes hours such as 22:00-06:00,sat,mon-fri "
                "12:00-13:00, not '%s'\n",
                hours_text);
        return EXIT_USAGE;
    }
    if (node->name && !node->name[0]) {
        fprintf(stderr, "asyncoro node: --name takes a name\n");
        return EXIT_USAGE;
    }
    if (node->tags && !tags_read(node->tags, &tags)) {
        fprintf(stderr, "asyncoro node: --tags takes tags such as gpu=a100,disk=ssd, not '%s'\n",
                node->tags);
        return EXIT_USAGE;
    }
    if (node->tags)
        ac_drop(tags);
    return EXIT_GOOD;
}

// Without capabilities jobs of root may still read what root owns, talk to services that obey it,
// and let others in (chmod). Who wants that can say so.
static void warn_of_root(const struct node_options *node) {
    if (!node->user && sys_user_is_root())
        fprintf(stderr,
                "asyncoro node: jobs run as root, and what root owns is theirs to read and to open "
                "to others: --user NAME says as whom they run instead, and --user root that this "
                "is meant, as in a container of their own\n");
}

static int run(struct node_options *node, struct key_ring *keys, bool key_stdin) {
    char text[256];
    int code = key_stdin ? tool_read_keys("node", keys) : EXIT_GOOD;
    if (code)
        return code;
    node->keys = key_stdin ? keys : NULL;
    warn_of_root(node);
    int err = node_run(node, text);
    digest_wipe(keys, sizeof *keys);
    return err ? complain(text) : EXIT_GOOD;
}

static int read_level(const char *text, enum sys_sandbox_level *level) {
    static const char *const names[] = {"default", "strict", "none"};
    for (size_t i = 0; text && i < countof(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *level = (enum sys_sandbox_level)i;
            return EXIT_GOOD;
        }
    if (!text)
        return EXIT_GOOD;
    fprintf(stderr, "asyncoro node: --sandbox is default, strict or none, not '%s'\n", text);
    return EXIT_USAGE;
}

int tool_node(int count, char **arguments) {
    struct node_options node = {.grace_ns = 20ll * 1000 * 1000 * 1000};
    uint32_t port = 0, discovery_port = 0;
    const char *hours_text = NULL;
    struct hours hours;
    struct key_ring keys = {.count = 0};
    bool key_stdin = false;
    const char *sandbox = NULL;
    uint32_t seconds = 0;
    const struct tool_option options[] = {
        {.name = "--workers", .number = &node.workers, .number_max = 1024},
        {.name = "--memory", .bytes = &node.memory_bytes},
        {.name = "--tags", .text = &node.tags},
        {.name = "--name", .text = &node.name},
        {.name = "--hours", .text = &hours_text},
        {.name = "--idle", .duration = &node.idle_ns},
        {.name = "--grace", .duration = &node.grace_ns},
        {.name = "--die-with-stdin", .flag = &node.die_with_stdin},
        {.name = "--scheduler", .text = &node.scheduler},
        {.name = "--slurm", .flag = &node.slurm},
        {.name = "--loopback", .flag = &node.loopback_only},
        {.name = "--port", .number = &port, .number_max = UINT16_MAX},
        {.name = "--no-discovery", .flag = &node.no_discovery},
        {.name = "--discovery-port", .number = &discovery_port, .number_max = UINT16_MAX},
        {.name = "--key-file", .text = &node.key_file},
        {.name = "--key-stdin", .flag = &key_stdin},
        {.name = "--sandbox", .text = &sandbox},
        {.name = "--folder", .text = &node.folder},
        {.name = "--user", .text = &node.user},
        {.name = "--read", .text = &node.readable},
        {.name = "--write", .text = &node.writable},
        {.name = "--no-unix-sockets", .flag = &node.no_unix_sockets},
        {.name = "--worker-memory", .bytes = &node.worker_memory_bytes_max},
        {.name = "--worker-processes", .number = &node.worker_processes_max, .number_max = 1 << 20},
        {.name = "--worker-seconds", .number = &seconds, .number_max = 1 << 30},
        {.name = "--worker-file", .bytes = &node.worker_file_bytes_max},
    };
    int code = tool_read_options("node", count, arguments, options, countof(options), NULL);
    if (!code)
        code = check(&node, hours_text, &hours);
    if (!code)
        code = read_level(sandbox, &node.sandbox);
    if (code)
        return code;
    node.port = (uint16_t)port;
    node.discovery_port = (uint16_t)discovery_port;
    node.worker_seconds_max = seconds;
    node.hours = hours_text ? &hours : NULL;
    return run(&node, &keys, key_stdin);
}
