// SPDX-License-Identifier: MIT
// Peers as users see them: reaching one by its address, listing them, telling where a reference
// lives.
#include "remote/remote_private.h"

#include "io/io.h"

#include <stdio.h>

// ---- ac_peer ----

static int reach(struct remote *remote, const struct sys_address *address, uint64_t *peer,
                 ac_time deadline) {
    struct asker asker = {.number = ++remote->number, .in = &remote->reaches};
    int err = map_put_id(&remote->reaches, asker.number, &asker);
    if (err < 0)
        return err;
    remote_enter(remote);
    err = fabric_reach(remote->fabric, address, deadline, (void *)(uintptr_t)asker.number);
    remote_leave(remote);
    if (err < 0) {
        map_take_id(&remote->reaches, asker.number);
        return err;
    }
    err = asker_wait(&asker, &reach_wait, deadline);
    *peer = asker.found;
    return err;
}

void peers_reached(struct remote *remote, const struct arrival *arrival) {
    struct asker *asker = map_get_id(&remote->reaches, arrival->number);
    if (!asker || !asker->coro)
        return;
    map_take_id(&remote->reaches, asker->number);
    asker->found = arrival->peer;
    coro_wake(asker->coro, arrival->result);
}

// An address without a port gets the one where the first program of a computer listens.
static bool with_port(const char *address, char text[512]) {
    if (!*address)
        return false;
    const char *colon = strrchr(address, ':');
    bool ipv6 = colon && strchr(address, ':') != colon && address[0] != '[';
    bool has_port = colon && !ipv6 && (address[0] != '[' || colon[-1] == ']');
    int length;
    if (has_port)
        length = snprintf(text, 512, "%s", address);
    else if (ipv6)
        length = snprintf(text, 512, "[%s]:%d", address, FABRIC_PORT);
    else
        length = snprintf(text, 512, "%s:%d", address, FABRIC_PORT);
    return length > 0 && length < 512;
}

// The peer that is linked and listens at this address, or this process itself; 0: none is known.
static uint64_t known_at(struct remote *remote, const char *text) {
    struct sys_address address;
    uint64_t known = 0;
    if (!sys_address_parse(text, &address))
        return 0;
    remote_enter(remote);
    struct sys_address own = fabric_address(remote->fabric);
    size_t count = fabric_peers(remote->fabric, NULL, 0);
    struct fabric_peer *peers = count ? memory_allocate(count * sizeof *peers) : NULL;
    count = peers ? fabric_peers(remote->fabric, peers, count) : 0;
    for (size_t i = 0; i < count; i++)
        if (peers[i].linked && sys_address_equal(&peers[i].address, &address))
            known = peers[i].id;
    remote_leave(remote);
    memory_release(peers);
    return sys_address_equal(&own, &address) ? remote->host->peer : known;
}

// Reaches whoever listens at an address.
static int find(struct remote *remote, const char *text, uint64_t *peer, ac_time deadline) {
    struct sys_address found[IO_ADDRESSES_MAX];
    int count = io_resolve(text, found, IO_ADDRESSES_MAX, deadline);
    int err = count < 0 ? count : -ENOENT;
    for (int i = 0; i < count; i++) {
        err = reach(remote, &found[i], peer, deadline);
        // Those who answered, but will not talk to us, know better than the silence at the other
        // addresses.
        bool answered = err == 0 || err == -EACCES || err == -EKEYREJECTED || err == -EPROTO ||
                        err == -ECONNABORTED;
        if (answered || coro_is_interruption(err) || err == -ETIMEDOUT)
            break;
    }
    return err;
}

int peers_find(struct remote *remote, const char *address, uint64_t *peer, ac_time deadline) {
    char text[512];
    if (!with_port(address, text))
        return -EINVAL;
    *peer = known_at(remote, text);
    return *peer != 0 ? 0 : find(remote, text, peer, deadline);
}

int peers_reach(struct remote *remote, const char *address, ac_time deadline, uint64_t *id) {
    char text[512];
    if (!address || !with_port(address, text))
        return -EINVAL;
    return find(remote, text, id, deadline);
}

int ac_peer(const char *address, ac_time deadline) {
    struct coro *self = coro_here();
    uint64_t id;
    if (!self)
        return -EPERM;
    if (!remote_is_at_first(self->loop))
        return remote_ask_first(self->loop, REMOTE_PEER, address, NULL, deadline);
    struct remote *remote = remote_linked(self->loop);
    return remote ? peers_reach(remote, address, deadline, &id) : -ENOTCONN;
}

int ac_peer_close(uint64_t id) {
    struct loop *loop = loop_here;
    ac_ref ref = {.peer = id};
    if (!remote_is_at_first(loop))
        return remote_ask_first(loop, REMOTE_CLOSE, "peer", &ref, AC_FOREVER);
    struct remote *remote = remote_linked(loop);
    if (!remote)
        return -ENOTCONN;
    remote_enter(remote);
    int err = fabric_part(remote->fabric, id);
    remote_leave(remote);
    return err;
}

// ---- listing: from any loop of the program ----

void peers_describe(const struct fabric_peer *from, struct ac_peer_info *to) {
    to->id = from->id;
    to->linked = from->linked;
    to->round_trip_s = from->round_trip_seconds;
    to->messages_in = from->frames_in;
    to->messages_out = from->frames_out;
    to->bytes_in = from->bytes_in;
    to->bytes_out = from->bytes_out;
    to->queued_bytes = from->queued_bytes;
    to->reconnects = from->reconnects;
    snprintf(to->name, sizeof to->name, "%s", from->name);
    snprintf(to->certificate, sizeof to->certificate, "%s", from->certificate);
    sys_address_text(&from->address, to->address);
}

long ac_peers(struct ac_peer_info *peers, size_t max) {
    struct remote *remote = remote_seen(loop_here);
    if (!remote)
        return -ENOTCONN;
    if (max > FABRIC_PEERS_MAX)
        max = FABRIC_PEERS_MAX;
    struct fabric_peer *found = max ? memory_allocate(max * sizeof *found) : NULL;
    if (max && !found)
        return -ENOMEM;
    remote_enter(remote);
    size_t count = fabric_peers(remote->fabric, found, max);
    remote_leave(remote);
    for (size_t i = 0; i < count && i < max; i++)
        peers_describe(&found[i], &peers[i]);
    memory_release(found);
    return (long)count;
}

int ac_location(ac_ref ref, char text[64]) {
    struct loop *loop = loop_here;
    if (!text)
        return -EINVAL;
    text[0] = '\0';
    if (loop && ref.peer == loop->peer) {
        snprintf(text, 64, "here");
        return 0;
    }
    struct sys_address address;
    if (!loop || !remote_find(loop, ref.peer, &address))
        return -EHOSTUNREACH;
    sys_address_text(&address, text);
    return 0;
}

int ac_network_address(char text[64]) {
    if (!text)
        return -EINVAL;
    text[0] = '\0';
    struct sys_address address = remote_address(loop_here);
    if (address.family == 0)
        return -ENOTCONN;
    sys_address_text(&address, text);
    return 0;
}
