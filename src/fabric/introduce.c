// SPDX-License-Identifier: MIT
// Introductions: a process that wants to tells the peers that it is linked with of each other, for
// those that no beacon reaches: behind routers and translators, in containers.
//
// Each is told of all others when it gets a connection, and of each that comes later. What it is
// told is a hint (hint.c): it asks at that address itself and then links. As both sides are told,
// it is enough that one of them can reach the other.
//
// The address that is told: the one that the peer advertises, else where it listens as seen from
// here. That is not told where it means something else to others: a guess, or an address of one
// link. A peer on this computer is told of at the address of this process, unless the one who is
// told is here as well.
#include "fabric/fabric_private.h"

static bool find_address(const struct peer *of, const struct peer *for_whom,
                         struct sys_address *address) {
    const struct sys_address *own = &of->fabric->address;
    if (of->advertised.family) {
        *address = of->advertised;
        return true;
    }
    *address = of->address;
    if (sys_address_is_loopback(address) && !sys_address_is_loopback(&for_whom->address)) {
        *address = *own;
        address->port = of->address.port;
        return !sys_address_is_loopback(address);
    }
    return !of->doubtful && address->family && address->scope == 0;
}

static void introduce(const struct peer *who, struct peer *to) {
    uint8_t frame[FRAME_HEADER_BYTES + INTRODUCTION_BYTES_MAX];
    struct sys_address address;
    if (who == to || who->state != LINK_UP || to->state != LINK_UP ||
        !find_address(who, to, &address) || address.port == 0)
        return;
    size_t bytes = frame_put_introduction(frame, who->id, &address);
    if (buffer_append(&to->connection->news, frame, bytes) < 0)
        return; // for want of memory: beacons, and the next connection, may tell
    bell_ring(&to->connection->work);
}

void introduce_all(struct peer *peer, bool is_new) {
    struct fabric *fabric = peer->fabric;
    uint64_t cursor = 0;
    struct peer *other;
    if (!fabric->introduces || fabric->closing)
        return;
    while ((other = map_next(&fabric->peers, &cursor, NULL, NULL))) {
        introduce(other, peer);
        if (is_new)
            introduce(peer, other);
    }
}

int introduce_take(struct fabric *fabric, const uint8_t *payload, size_t bytes) {
    struct sys_address address;
    uint64_t id;
    int err = frame_read_introduction(payload, bytes, &id, &address);
    if (err)
        return err;
    const struct peer *peer = peer_find(fabric, id);
    bool is_welcome = !peer || !(peer->gone || peer->parted_here || peer->parted_there);
    if (is_welcome && !(peer && (peer->met || peer->state != LINK_NONE)))
        hint_take(fabric, id, &address, 0);
    return 0;
}
