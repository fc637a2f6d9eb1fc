// SPDX-License-Identifier: MIT
// What subcommands that look at other programs share: the options that say where to look, a network
// that tells nothing of itself, and the list of those who are there.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tools.h"

size_t tool_look_options(struct tool_network *it, struct tool_option *options, size_t count) {
    const struct tool_option all[TOOL_LOOK_OPTIONS] = {
        {.name = "--loopback", .flag = &it->how.loopback_only},
        {.name = "--discovery-port", .number = &it->discovery_port, .number_max = UINT16_MAX},
        {.name = "--key-file", .text = &it->how.key_file},
        {.name = "--certificate", .text = &it->how.certificate},
        {.name = "--certificate-key", .text = &it->how.certificate_key},
        {.name = "--authority", .text = &it->how.authority},
        {.name = "--revoked", .text = &it->how.revoked},
        {.name = "--peer-names", .text = &it->how.peer_names},
        {.name = "--peer", .text = &it->peer},
        {.name = "--seconds", .number = &it->seconds, .number_max = 1000},
    };
    memcpy(options + count, all, sizeof all);
    return count + countof(all);
}

int tool_run(const char *tool, const struct tool_network *it, ac_function main) {
    char name[64];
    struct ac_network_options how = it->how;
    snprintf(name, sizeof name, "asyncoro %s", tool);
    how.size = sizeof how;
    how.name = name;
    how.unseen = true;
    how.discovery_port = (uint16_t)it->discovery_port;
    int err = ac_network_start_with(&how);
    if (err) {
        fprintf(stderr, "asyncoro %s: %s\n", tool, ac_network_error());
        return EXIT_FAILED;
    }
    // JSON of a deep value is written by functions that call themselves.
    ac_ref it_runs = ac_spawn(main, ac_nil, .name = tool, .stack_bytes = 512 << 10);
    return ac_run() || !ac_ref_is(it_runs) ? EXIT_FAILED : EXIT_GOOD;
}

void tool_complain(const char *tool, const char *what, int err) {
    fprintf(stderr, "asyncoro %s: %s: %s\n", tool, what, ac_strerror(err));
}

int tool_reach(const char *tool, const struct tool_network *it) {
    int err = it->peer ? ac_peer(it->peer, ac_after(it->seconds)) : 0;
    if (err == -EACCES)
        fprintf(stderr,
                "asyncoro %s: %s has another key, does not trust our certificate, or may not be "
                "reached from here\n",
                tool, it->peer);
    else if (err)
        tool_complain(tool, it->peer, err);
    return err;
}

static int by_name(const void *a, const void *b) {
    const struct ac_peer_info *one = a, *two = b;
    int order = strcmp(one->name, two->name);
    return order ? order : strcmp(one->address, two->address);
}

size_t tool_peers_now(struct ac_peer_info peers[TOOL_PEERS_MAX]) {
    long count = ac_peers(peers, TOOL_PEERS_MAX);
    count = count > TOOL_PEERS_MAX ? TOOL_PEERS_MAX : count < 0 ? 0 : count;
    qsort(peers, (size_t)count, sizeof peers[0], by_name);
    return (size_t)count;
}

// Who does not answer is told of, and stays in the list.
int tool_meet(const char *tool, const struct tool_network *it, struct ac_peer_info *peers,
              size_t *count) {
    int err = tool_reach(tool, it);
    if (!err && !it->peer)
        err = ac_sleep(it->seconds);
    *count = tool_peers_now(peers);
    ac_time until = ac_after(it->seconds);
    for (size_t i = 0; !err && i < *count; i++)
        if (!peers[i].linked && ac_peer(peers[i].address, until) < 0)
            fprintf(stderr, "asyncoro %s: %s does not answer\n", tool, peers[i].address);
    *count = tool_peers_now(peers);
    if (!err && *count == 0)
        fprintf(stderr, "asyncoro %s: nobody was found\n", tool);
    return err ? err : *count ? 0 : -ENOENT;
}

void tool_clean(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

const char *tool_text_in(ac_value map, const char *key, char *text, size_t bytes) {
    ac_value it = ac_get(map, key);
    snprintf(text, bytes, "%s", ac_text_of(it) ? ac_text_of(it) : "-");
    ac_drop(it);
    tool_clean(text);
    return text;
}

long long tool_number_in(ac_value map, const char *key) {
    ac_value it = ac_get(map, key);
    long long number = it.kind == AC_INT ? ac_int_of(it) : 0;
    ac_drop(it);
    return number;
}

ac_value tool_text(const char *text) {
    ac_value value = ac_of(text);
    return value.kind == AC_INVALID && ac_error_of(value) == -EILSEQ ? ac_of("?") : value;
}

bool tool_print_json(ac_value value) {
    char *text = convert_to_json(value);
    ac_drop(value);
    if (!text)
        fprintf(stderr, "asyncoro: no memory for the JSON\n");
    else
        printf("%s\n", text);
    free(text);
    fflush(stdout);
    return text && !ferror(stdout);
}

int tool_read_keys(const char *tool, struct key_ring *keys) {
    char text[256];
    size_t length = 0;
    ssize_t got = 0;
    while (length < sizeof text && (got = read(STDIN_FILENO, text + length, 1)) == 1) {
        if (text[length++] == '\n' && (length == 1 || text[length - 2] == '\n'))
            break;
    }
    int err = got < 0 || length == sizeof text ? -EINVAL : key_parse(text, length, keys);
    digest_wipe(text, sizeof text);
    if (err)
        fprintf(stderr,
                "asyncoro %s: --key-stdin: standard input begins with no key, which is a line or "
                "two of 64 hexadecimal digits, as of: asyncoro key show --secret\n",
                tool);
    return err ? EXIT_FAILED : EXIT_GOOD;
}
