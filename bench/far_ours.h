// SPDX-License-Identifier: MIT
// Our programs of several processes: each has a network of its own on 127.0.0.1, without beacons,
// and a key that the first of them makes.
#ifndef BENCH_FAR_OURS_H
#define BENCH_FAR_OURS_H

#include "far.h"

#include "ours.h"

static char ours_folder[] = "/tmp/asyncoro-bench.XXXXXX", ours_key[64];

// In the first process.
static inline void ours_remove_key(void) {
    unlink(ours_key);
    rmdir(ours_folder);
}

static inline void ours_make_key(void) {
    far_must(mkdtemp(ours_folder) != NULL, "folder");
    snprintf(ours_key, sizeof ours_key, "%s/key", ours_folder);
}

static inline void ours_network(double heartbeat_s) {
    int err = ac_network_start(.loopback_only = true, .no_discovery = true, .key_file = ours_key,
                               .heartbeat_s = heartbeat_s);
    if (err < 0)
        fprintf(stderr, "%s\n", ac_network_error());
    must(err, "ac_network_start");
}

// In a server: the process can be reached.
static inline void ours_listens(void) {
    char address[64];
    must(ac_network_address(address), "ac_network_address");
    far_listens((uint16_t)atoi(strrchr(address, ':') + 1));
}

// In a client: links with the server and returns who has a name there.
static inline ac_ref ours_find(uint16_t port, const char *name) {
    char address[32];
    ac_ref found;
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    must(ac_peer(address, ac_after(10)), "ac_peer");
    must(ac_locate(name, &found, ac_after(10)), "ac_locate");
    return found;
}

static inline ac_value ours_receive(void) {
    ac_value message;
    must(ac_receive(&message, AC_FOREVER), "ac_receive");
    return message;
}

#endif
