// SPDX-License-Identifier: MIT
// What one who has connected may cost before he has proved who he is: a stranger, from the first
// byte until his HELLO has been read.
//
//   time       GREETING_NS for all of it
//   places     STRANGERS_MAX; of one address, loopback apart, STRANGERS_PER_ADDRESS_MAX
//   coming     ACCEPTS_PER_S may come in, of those with one address, loopback apart,
//              ADDRESS_ACCEPTS_PER_S; the others wait in the queue of the system, or are out at
//              once. One who has gone without a word counts for a tenth, so that what a flood has
//              left in that queue is soon gone
//   bytes      STRANGER_BYTES_MAX are read
//   processor  HANDSHAKES_PER_S may begin, and together take a tenth of it: a handshake that takes
//              longer counts for several, as with long RSA keys, but for CHARGE_MAX at the most, as
//              this thread may have been held up meanwhile. Who turns out to be a friend costs
//              nothing
//   memory     with nothing said: half a KiB, the stack of a coroutine and a socket of the system;
//              TLS, 76 KiB more, comes with the head of a first record that can be one of TLS
//
// When all places are taken, the oldest goes who has not begun his handshake, or else the oldest.
// So the silent cannot keep friends out, who need their place for some milliseconds only. Who comes
// from the host of a peer goes last of all, and such handshakes have a rate of their own: so one
// who has been here before gets in while others flood, however long his way is. What a
// stranger says is not looked at by anybody but TLS before TLS has found who he is; and nothing is
// said to him but by TLS.
#include "fabric/fabric_private.h"

#include <stdio.h>

// Of the processor, for a handshake of a stranger.
#define HANDSHAKE_NS (NS_PER_S / 10 / HANDSHAKES_PER_S)

#define GONE_COSTS 0.1 // of what one who comes in does, if he has gone

enum {
    CHARGE_MAX = HANDSHAKES_PER_S / 4,
    RECORD_HEAD_BYTES = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_BYTES_MAX = 1 << 14
};

// ---- rates ----

static void refill(struct rate *rate, double per_s, ac_time now) {
    rate->tokens += (double)(now - rate->filled) * per_s / 1e9;
    rate->filled = now;
    if (rate->tokens > per_s)
        rate->tokens = per_s;
}

// Takes one of what may happen so often; when there will be one if there is none now.
static ac_time rate_take(struct rate *rate, double per_s, ac_time now) {
    refill(rate, per_s, now);
    if (rate->tokens < 1)
        return now + (ac_time)((1 - rate->tokens) / per_s * 1e9) + 1;
    rate->tokens -= 1;
    return AC_NOW;
}

// An IPv6 host has a network of 2^64 addresses to itself.
static size_t ip_bytes(const struct sys_address *it) { return it->family == 4 ? 4 : 8; }

// Several addresses may share a rate; which ones nobody can know who does not know the seed.
static struct rate *rate_of(struct strangers *all, const struct sys_address *from) {
    uint64_t hash = all->seed;
    for (size_t i = 0; i < ip_bytes(from); i++) {
        hash = (hash ^ from->ip[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return &all->of_address[hash % countof(all->of_address)];
}

void strangers_init(struct fabric *fabric) {
    struct strangers *all = &fabric->strangers;
    ac_time now = fabric_now(fabric);
    all->seed = sys_random(fabric->sys);
    all->accepts = (struct rate){ACCEPTS_PER_S, now};
    all->handshakes = all->peers_handshakes = (struct rate){HANDSHAKES_PER_S, now};
    for (size_t i = 0; i < countof(all->of_address); i++)
        all->of_address[i] = (struct rate){ADDRESS_ACCEPTS_PER_S, now};
}

// ---- coming in ----

ac_time strangers_next(struct fabric *fabric) {
    return rate_take(&fabric->strangers.accepts, ACCEPTS_PER_S, fabric_now(fabric));
}

static bool same_host(const struct sys_address *a, const struct sys_address *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, ip_bytes(a)) == 0;
}

static bool may_enter(struct fabric *fabric, const struct sys_address *from) {
    unsigned same = 0;
    if (sys_address_is_loopback(from))
        return true;
    struct rate *rate = rate_of(&fabric->strangers, from);
    if (rate_take(rate, ADDRESS_ACCEPTS_PER_S, fabric_now(fabric)) != AC_NOW)
        return false;
    list_each (link, &fabric->connections) {
        const struct connection *it = container_of(link, struct connection, link);
        same += it->stranger && same_host(&it->remote, from);
    }
    return same < STRANGERS_PER_ADDRESS_MAX;
}

// Whether a peer is known there, or was not long ago.
static bool is_peers_host(const struct fabric *fabric, const struct sys_address *from) {
    uint64_t cursor = 0;
    const struct peer *peer;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL)))
        if (same_host(&peer->seen, from) || same_host(&peer->address, from))
            return true;
    return false;
}

// The higher it is, the later he goes.
static int rank(const struct connection *it) {
    return (it->peers_host ? 2 : 0) + (it->charged > 0 ? 1 : 0);
}

// False if none is to be had at the cost of those who are there.
static bool make_place(struct fabric *fabric, bool peers_host) {
    struct connection *out = NULL;
    if (fabric->strangers.count < STRANGERS_MAX)
        return true;
    list_each (link, &fabric->connections) {
        struct connection *it = container_of(link, struct connection, link);
        if (it->stranger && (!out || rank(it) < rank(out)))
            out = it;
    }
    assert(out);
    if (out->peers_host && !peers_host)
        return false;
    fabric->strangers.refused++;
    stranger_is_known(out); // its place is free
    connection_end(out);
    return true;
}

struct connection *stranger_enter(struct fabric *fabric, const struct sys_address *from) {
    struct connection *it = NULL;
    bool peers_host = false;
    if (permits_link(fabric->permits, from) && may_enter(fabric, from)) {
        peers_host = is_peers_host(fabric, from);
        if (make_place(fabric, peers_host))
            it = connection_create(fabric, true, from);
    }
    if (!it) {
        fabric->strangers.refused++;
        return NULL;
    }
    it->stranger = true;
    it->peers_host = peers_host;
    fabric->strangers.count++;
    return it;
}

void stranger_is_known(struct connection *it) {
    if (it->stranger)
        it->fabric->strangers.count--;
    it->stranger = false;
}

// ---- the handshake ----

// The head of the first record of TLS, which is read before there is anything of TLS here.
static int read_head(struct connection *it, uint8_t head[RECORD_HEAD_BYTES]) {
    size_t have = 0;
    while (have < RECORD_HEAD_BYTES) {
        struct sys_op op = {.verb = SYS_READ,
                            .handle = &it->handle,
                            .bytes = head + have,
                            .count = RECORD_HEAD_BYTES - have};
        int64_t got = coro_operate(&op, it->deadline);
        if (have == 0 && (got == 0 || got == -ECONNRESET))
            it->fabric->strangers.accepts.tokens += 1 - GONE_COSTS;
        if (got <= 0)
            return got ? (int)got : -ECONNRESET;
        have += (size_t)got;
    }
    size_t bytes = (size_t)head[3] << 8 | head[4];
    bool good = head[0] == RECORD_HANDSHAKE && head[1] == 3 && bytes > 0 &&
                bytes <= RECORD_BYTES_MAX;
    return good ? 0 : -EPROTO;
}

static struct rate *handshakes_of(const struct connection *it) {
    struct strangers *all = &it->fabric->strangers;
    return it->peers_host ? &all->peers_handshakes : &all->handshakes;
}

static int wait_turn(struct connection *it) {
    struct strangers *all = &it->fabric->strangers;
    ac_time when;
    while ((when = rate_take(handshakes_of(it), HANDSHAKES_PER_S, fabric_now(it->fabric))) !=
           AC_NOW) {
        if (when > it->deadline)
            return -ETIMEDOUT;
        if (ac_sleep_until(when) < 0)
            return -ECANCELED;
    }
    it->charged = 1;
    all->begun++;
    return 0;
}

int stranger_begin(struct connection *it) {
    uint8_t head[RECORD_HEAD_BYTES];
    size_t room;
    int err = read_head(it, head);
    if (!err)
        err = wait_turn(it);
    if (err)
        return err;
    it->tls = identity_tls(it->fabric->identity, true, &it->settings);
    uint8_t *place = it->tls ? tls_room(it->tls, &room) : NULL;
    if (!place)
        return -ENOMEM;
    memcpy(place, head, sizeof head);
    tls_came(it->tls, sizeof head);
    it->stranger_bytes = sizeof head;
    return 0;
}

void stranger_spent(struct connection *it, ac_time ns) {
    if (!it->stranger)
        return;
    it->spent += ns;
    double cost = (double)it->spent / (double)HANDSHAKE_NS;
    cost = cost < CHARGE_MAX ? cost : CHARGE_MAX;
    if (cost <= it->charged)
        return;
    handshakes_of(it)->tokens -= cost - it->charged;
    it->charged = cost;
}

void stranger_is_friend(struct connection *it) {
    if (it->stranger)
        handshakes_of(it)->tokens += it->charged;
    stranger_is_known(it);
}

void stranger_failed(struct connection *it, int err) {
    trace(TRACE_FABRIC, "stranger: %s %s", ac_strerror(err), it->tls ? tls_problem(it->tls) : "");
    if (err != -EACCES && err != -EKEYREJECTED && err != -EPROTO)
        return;
    it->fabric->strangers.refused++;
    fabric_doubt_identity(it->fabric); // it may have a newer key than we
}
