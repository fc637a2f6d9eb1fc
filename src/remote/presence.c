// SPDX-License-Identifier: MIT
// Who is there: the peers as the host knows them, and the coroutines that watch them come and go.
//
// The fabric tells of a peer that is met and of one that is lost, in turn; both come here through
// the arrivals, in order. A peer is *present* from the one to the other. Watchers are told when
// that changes and at no other time, so each gets one notice for each change, however often beacons
// are heard and links break and mend. A peer that was never present, because there was no memory
// for it or because frames were queued for an address that nobody had, is lost in silence.
//
// A notice is a list inside of what peers cannot make: "peer", came, reason, and what is known of
// the peer as it lies in memory, since no notice leaves the process.
#include "remote/remote_private.h"

struct present {
    struct ac_peer_info info;
};

struct peer_watcher {
    struct end_watch watch; // of a coroutine of this loop
    struct far_watch far;   // of one of another loop
    struct remote *remote;
    ac_ref who;
};

// ---- notices ----

static ac_value notice_of(const struct ac_peer_info *peer, bool came, int reason) {
    return value_notice(ac_list("peer", came, reason, ac_of_bytes(peer, sizeof *peer)));
}

bool ac_peer_change_of(ac_value message, struct ac_peer_change *change) {
    ac_value list = value_notice_list(message);
    const char *kind = NULL;
    bool came;
    int reason;
    ac_span peer;
    bool is = list.kind == AC_LIST && ac_unpack(list, &kind, &came, &reason, &peer) == 0 &&
              strcmp(kind, "peer") == 0 && peer.bytes == sizeof change->peer;
    if (is) {
        *change = (struct ac_peer_change){.came = came, .reason = reason};
        memcpy(&change->peer, peer.at, sizeof change->peer);
    }
    ac_drop(list);
    return is;
}

static void tell(struct peer_watcher *watcher, const struct ac_peer_info *peer, bool came,
                 int reason) {
    struct remote *remote = watcher->remote;
    ac_value notice = notice_of(peer, came, reason);
    int err = ref_is_here(remote->host, watcher->who)
                  ? message_deliver_here(remote->host, watcher->who, notice)
                  : ac_try_send_value(watcher->who, value_detach(notice));
    if (err < 0)
        trace(TRACE_REMOTE, "a notice of a peer is lost: %s", ac_strerror(err));
}

static void tell_all(struct remote *remote, const struct ac_peer_info *peer, bool came,
                     int reason) {
    struct peer_watcher *watcher;
    for (uint64_t cursor = 0; (watcher = map_next(&remote->watchers, &cursor, NULL, NULL));)
        tell(watcher, peer, came, reason);
}

// ---- those who come and go ----

// What is known of a peer now; what is not stays as it was.
static void look_at(struct remote *remote, struct ac_peer_info *info) {
    struct fabric_peer found;
    remote_enter(remote);
    bool known = fabric_peer_find(remote->fabric, info->id, &found);
    remote_leave(remote);
    if (known)
        peers_describe(&found, info);
}

void presence_met(struct remote *remote, uint64_t id) {
    if (map_get_id(&remote->present, id))
        return;
    struct present *it = memory_allocate_zeroed(sizeof *it);
    if (!it || map_put_id(&remote->present, id, it) < 0) {
        trace(TRACE_REMOTE, "peer %016llx is not shown: no memory", (unsigned long long)id);
        memory_release(it);
        return;
    }
    it->info.id = id;
    look_at(remote, &it->info);
    tell_all(remote, &it->info, true, 0);
}

void presence_lost(struct remote *remote, uint64_t id, int reason) {
    struct present *it = map_take_id(&remote->present, id);
    if (!it)
        return;
    it->info.linked = false;
    tell_all(remote, &it->info, false, reason);
    memory_release(it);
}

// ---- those who watch ----

static void release_watcher(struct peer_watcher *watcher) {
    map_take(&watcher->remote->watchers, &watcher->who, sizeof watcher->who);
    memory_release(watcher);
}

static void watcher_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    release_watcher(container_of(watch, struct peer_watcher, watch));
}

static void watcher_elsewhere_ended(struct far_watch *watch, int reason) {
    (void)reason;
    release_watcher(container_of(watch, struct peer_watcher, far));
}

static int watch_end(struct peer_watcher *watcher) {
    struct loop *loop = watcher->remote->host;
    if (!ref_is_here(loop, watcher->who))
        return elsewhere_watch(loop, watcher->who, &watcher->far);
    struct coro *coro = coro_find(loop, watcher->who.id);
    if (!coro || coro->state == CORO_ENDED)
        return -ESRCH;
    coro_watch(coro, &watcher->watch);
    return 0;
}

int presence_watch(struct remote *remote, ac_ref who) {
    if (map_get(&remote->watchers, &who, sizeof who))
        return -EALREADY;
    struct peer_watcher *watcher = memory_allocate_zeroed(sizeof *watcher);
    if (!watcher)
        return -ENOMEM;
    watcher->watch.ended = watcher_ended;
    watcher->far.ended = watcher_elsewhere_ended;
    watcher->remote = remote;
    watcher->who = who;
    list_init(&watcher->watch.link);
    int err = map_put(&remote->watchers, &watcher->who, sizeof watcher->who, watcher);
    if (err < 0)
        goto release;
    err = watch_end(watcher);
    if (err < 0)
        goto take;
    struct present *it;
    for (uint64_t cursor = 0; (it = map_next(&remote->present, &cursor, NULL, NULL));) {
        look_at(remote, &it->info);
        tell(watcher, &it->info, true, 0);
    }
    return 0;
take:
    map_take(&remote->watchers, &watcher->who, sizeof watcher->who);
release:
    memory_release(watcher);
    return err;
}

int presence_unwatch(struct remote *remote, ac_ref who) {
    struct peer_watcher *watcher = map_get(&remote->watchers, &who, sizeof who);
    if (!watcher)
        return -ENOENT;
    coro_unwatch(&watcher->watch);
    elsewhere_unwatch(remote->host, watcher->who, &watcher->far);
    release_watcher(watcher);
    return 0;
}

void presence_done(struct remote *remote) {
    struct present *it;
    for (uint64_t cursor = 0; (it = map_next(&remote->present, &cursor, NULL, NULL));)
        memory_release(it);
    map_done(&remote->present);
    struct peer_watcher *watcher;
    for (uint64_t cursor = 0; (watcher = map_next(&remote->watchers, &cursor, NULL, NULL));) {
        coro_unwatch(&watcher->watch);
        memory_release(watcher);
    }
    map_done(&remote->watchers);
}

// ---- the public calls ----

static int do_verb(enum remote_verb verb) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    ac_ref who = coro_ref(self);
    if (!remote_is_at_first(self->loop))
        return remote_ask_first(self->loop, verb, "peers", &who, AC_FOREVER);
    struct remote *remote = remote_linked(self->loop);
    if (!remote)
        return -ENOTCONN;
    return verb == REMOTE_WATCH ? presence_watch(remote, who) : presence_unwatch(remote, who);
}

int ac_peers_watch(void) { return do_verb(REMOTE_WATCH); }
int ac_peers_unwatch(void) { return do_verb(REMOTE_UNWATCH); }
