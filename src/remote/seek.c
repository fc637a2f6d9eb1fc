// SPDX-License-Identifier: MIT
// Peers that are named in the options, in the environment or in a file: one coroutine of the
// library reaches each of them, and again when it is lost, as long as the network is there.
//
// Names are read anew for each round, so that a line added to the file is found. A round asks only
// those that are not known. After a round in which one did not answer comes a pause, PAUSE_MIN_S at
// first and longer each time; after one in which all are known, or became known, PAUSE_S.
#include "remote/remote_private.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MIN_S 0.25
#define PAUSE_S 2.0
#define PAUSE_MAX_S 10.0
#define REACH_S 5.0

enum { NAMES_MAX = 256, HOST_BYTES_MAX = 300, FILE_BYTES_MAX = 64 * 1024, PATH_BYTES = 4096 };

struct wanted {
    uint64_t id; // who answered there last; 0: nobody has
    char name[HOST_BYTES_MAX];
};

struct seeker {
    struct end_watch watch;
    struct remote *remote;
    struct map wanted; // name -> struct wanted
    bool all_known;    // in this round
    char *text;        // names of the options or of the environment; or NULL
    char path[PATH_BYTES];
};

static const char separators[] = " \t\r\n,";

static void release(struct seeker *it) {
    struct wanted *wanted;
    for (uint64_t cursor = 0; (wanted = map_next(&it->wanted, &cursor, NULL, NULL));)
        memory_release(wanted);
    map_done(&it->wanted);
    memory_release(it->text);
    memory_release(it);
}

// ---- one name ----

static bool is_known(struct remote *remote, uint64_t id) {
    struct fabric_peer found;
    remote_enter(remote);
    bool known = id != 0 && fabric_peer_find(remote->fabric, id, &found);
    remote_leave(remote);
    return known;
}

// The record of a name, made if there is none; NULL if there is no room or memory.
static struct wanted *need(struct seeker *it, const char *name, size_t bytes) {
    struct wanted *wanted = map_get(&it->wanted, name, bytes);
    if (wanted || bytes >= HOST_BYTES_MAX || map_count(&it->wanted) >= NAMES_MAX)
        return wanted;
    wanted = memory_allocate_zeroed(sizeof *wanted);
    if (!wanted)
        return NULL;
    memcpy(wanted->name, name, bytes);
    if (map_put(&it->wanted, wanted->name, bytes, wanted) == 0)
        return wanted;
    memory_release(wanted);
    return NULL;
}

static int seek_one(struct seeker *it, const char *name, size_t bytes) {
    struct wanted *wanted = need(it, name, bytes);
    if (!wanted || is_known(it->remote, wanted->id))
        return 0;
    int err = peers_reach(it->remote, wanted->name, ac_after(REACH_S), &wanted->id);
    if (err < 0) {
        trace(TRACE_REMOTE, "peer %s: %s", wanted->name, ac_strerror(err));
        // Somebody who names himself need not be sought for ever.
        it->all_known &= err == -ELOOP;
    }
    return err == -ECANCELED ? err : 0;
}

// ---- all names ----

static int seek_in_line(struct seeker *it, const char *from, const char *end) {
    int err = 0;
    while (!err && from < end) {
        from += strspn(from, separators);
        size_t bytes = strcspn(from, separators);
        if (from + bytes > end || bytes == 0)
            return 0;
        err = seek_one(it, from, bytes);
        from += bytes;
    }
    return err;
}

// `text` ends with a NUL.
static int seek_in(struct seeker *it, const char *text) {
    int err = 0;
    while (!err && *text) {
        const char *end = text + strcspn(text, "\n");
        if (*text != '#')
            err = seek_in_line(it, text, end);
        text = *end ? end + 1 : end;
    }
    return err;
}

static int seek_in_file(struct seeker *it) {
    struct buffer text;
    buffer_init(&text);
    int err = sys_file_read(it->path, &text, FILE_BYTES_MAX);
    if (err == 0)
        err = buffer_append(&text, "", 1);
    if (err < 0) // it may come, or become shorter
        trace(TRACE_REMOTE, "file of peers %s: %s", it->path, ac_strerror(err));
    err = err < 0 ? 0 : seek_in(it, (const char *)text.bytes);
    buffer_done(&text);
    return err;
}

static ac_value seek(ac_value argument) {
    struct seeker *it = ac_pointer_of(argument);
    double pause = PAUSE_MIN_S;
    while (it->remote->fabric) {
        it->all_known = true;
        int err = it->text ? seek_in(it, it->text) : 0;
        if (!err && it->path[0])
            err = seek_in_file(it);
        if (err || ac_sleep(it->all_known ? PAUSE_S : pause) < 0)
            return ac_nil;
        pause = it->all_known ? PAUSE_MIN_S : 2 * pause < PAUSE_MAX_S ? 2 * pause : PAUSE_MAX_S;
    }
    return ac_nil;
}

static void seeker_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    container_of(watch, struct seeker, watch)->remote->seeker = NULL;
    release(container_of(watch, struct seeker, watch));
}

// ---- beginning ----

static const char *chosen(const char *option, const char *variable) {
    const char *text = option ? option : getenv(variable);
    return text && text[0] ? text : NULL;
}

static int keep_names(struct seeker *it, const char *text, const char *path) {
    if (path && strlen(path) >= sizeof it->path)
        return -ENAMETOOLONG;
    if (path)
        strcpy(it->path, path);
    if (!text)
        return 0;
    it->text = memory_allocate(strlen(text) + 1);
    if (!it->text)
        return -ENOMEM;
    strcpy(it->text, text);
    return 0;
}

int seek_start(struct remote *remote, const struct ac_network_options *options) {
    const char *text = chosen(options->peers, "ASYNCORO_PEERS");
    const char *path = chosen(options->peers_file, "ASYNCORO_PEERS_FILE");
    if (!text && !path)
        return 0;
    struct seeker *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->remote = remote;
    it->watch.ended = seeker_ended;
    list_init(&it->watch.link);
    map_init(&it->wanted);
    int err = keep_names(it, text, path);
    struct ac_spawn_options how = {.size = sizeof how, .name = "network peers", .daemon = true};
    struct coro *coro = err ? NULL
                            : coro_create(remote->host, seek, ac_of_pointer(it), &how, true, &err);
    if (!coro) {
        release(it);
        return err;
    }
    coro_watch(coro, &it->watch);
    remote->seeker = coro;
    return 0;
}

void seek_stop(struct remote *remote) {
    if (remote->seeker)
        coro_cancel(remote->seeker);
}
