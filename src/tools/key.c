// SPDX-License-Identifier: MIT
// `asyncoro key`: where the key lies that this user's programs share. It is copied to other
// computers by hand.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tools.h"

static int find_path(const char *given, char *path, size_t bytes) {
    if (!given)
        given = getenv("ASYNCORO_KEY_FILE");
    if (given && *given)
        return (size_t)snprintf(path, bytes, "%s", given) < bytes ? 0 : -EMSGSIZE;
    int err = sys_folder_config(path, bytes - sizeof "/key");
    if (!err)
        strcat(path, "/key");
    return err;
}

int tool_key(int count, char **arguments) {
    const char *file = NULL, *word = NULL;
    const struct tool_option options[] = {{.name = "--key-file", .text = &file}};
    int err = tool_read_options("key", count, arguments, options, countof(options), &word);
    if (err)
        return err;
    if (word && strcmp(word, "path") != 0) {
        fprintf(stderr, "asyncoro key: '%s' is not understood; see: asyncoro help key\n", word);
        return EXIT_USAGE;
    }
    char path[512];
    err = find_path(file, path, sizeof path);
    if (err) {
        fprintf(stderr, "asyncoro key: no configuration folder: set HOME, or name a file\n");
        return EXIT_FAILED;
    }
    // A network that is started on loopback makes the key, or says what is wrong with it.
    if (!word) {
        err = ac_network_start(.key_file = path, .loopback_only = true, .no_discovery = true);
        if (err)
            fprintf(stderr, "asyncoro key: %s\n", ac_network_error());
        int later = ac_run();
        err = err ? err : later;
    }
    if (!err)
        printf("%s\n", path);
    return err ? EXIT_FAILED : EXIT_GOOD;
}
