// SPDX-License-Identifier: MIT
// Hints: somebody says that a peer listens at an address. A beacon says so, which anybody may have
// recorded and sent again, and a peer that introduces others, who may see them elsewhere than we
// do. So who listens there is asked (TLS, and a greeting that wants no link), and only the one whom
// the hint names becomes known, there and then. A hint that does not hold has no effect but this
// question.
//
// What hints cost at the most: HINTS_MAX of them wait, HINTS_AT_ONCE are looked into at a time,
// each for HINT_NS at the longest, HINTS_PER_S may come. What is over that is dropped: a beacon
// comes again. There is one hint for a peer at a time. Where somebody else was found to listen, as
// one who has another key, that peer is sought again after REBUFF_NS_MIN, and after twice as long
// each time, REBUFF_NS_MAX at the most, or when what lets us in has changed.
#include "fabric/fabric_private.h"

#define HINT_NS (5 * NS_PER_S)
#define ATTEMPT_NS (100 * NS_PER_MS) // before the next one
#define REBUFF_NS_MIN NS_PER_S
#define REBUFF_NS_MAX (64 * NS_PER_S)

enum { HINTS_MAX = 256, HINTS_AT_ONCE = 16, HINTS_PER_S = 100, ATTEMPTS = 3 };

struct hint {
    struct list link; // in fabric->hints
    struct reach ask; // its address, deadline and task
    uint64_t id;      // who is said to listen there
    uint64_t beacon;  // number of the beacon that said so; 0: somebody introduced it
};

static void hint_ended(struct task *task);

// ---- what has been found ----

void hint_holds(struct fabric *fabric, uint64_t id, const struct sys_address *address,
                const char *name, uint64_t beacon) {
    struct peer *peer = peer_need(fabric, id);
    if (!peer || fabric->closing || peer->parted_here)
        return;
    if (beacon > peer->beacon)
        peer->beacon = beacon;
    if (peer->state == LINK_UP)
        return;
    bool unknown = !peer->met;
    ac_time now = fabric_now(fabric);
    peer->address = *address;
    peer->doubtful = false;
    peer->gone = peer->parted_there = false;
    memcpy(peer->name, name, sizeof peer->name);
    if (peer->state == LINK_NONE) {
        peer->heard = now;
        peer->forget_at = now + SILENT_NS;
    } else {
        bell_ring(&peer->dial_bell);
    }
    peer_meet(peer);
    if (unknown)
        discovery_send_soon(fabric);
}

// A peer without a link, whose beacons have ceased, does not listen there any more.
static void hint_fails(struct hint *hint) {
    struct fabric *fabric = hint->ask.fabric;
    struct peer *peer = peer_find(fabric, hint->id);
    if (peer && peer->met && peer->state == LINK_NONE &&
        sys_address_equal(&peer->address, &hint->ask.address))
        peer_leave(peer, -ECONNRESET);
}

// With one to whom somebody introduced us a link is made at once: through a translator it can
// neither see where we listen nor find us there.
static void follow(struct hint *hint, const char *name) {
    struct fabric *fabric = hint->ask.fabric;
    struct peer *peer = peer_find(fabric, hint->id);
    bool introduced = hint->beacon == 0 && !(peer && peer->met);
    hint_holds(fabric, hint->id, &hint->ask.address, name, hint->beacon);
    peer = peer_find(fabric, hint->id);
    if (peer && introduced && !fabric->closing && !peer->parted_here)
        peer_open(peer);
}

// ---- where somebody else listens ----

// The place of a peer and an address; others may share it, and then the last one has it. Which ones
// nobody can know who does not know the seed.
static struct rebuff *rebuff_of(struct fabric *fabric, uint64_t id, const struct sys_address *at,
                                uint64_t *who) {
    uint64_t hash = fabric->strangers.seed ^ id;
    const uint64_t rest[] = {at->family, at->port, at->scope, frame_read_u64(at->ip),
                             frame_read_u64(at->ip + 8)};
    for (size_t i = 0; i < countof(rest); i++) {
        hash = (hash ^ rest[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    *who = hash;
    return &fabric->rebuffs[hash % countof(fabric->rebuffs)];
}

static void rebuff(struct fabric *fabric, uint64_t id, const struct sys_address *address) {
    uint64_t who;
    struct rebuff *it = rebuff_of(fabric, id, address, &who);
    ac_time pause = it->who == who ? 2 * it->pause : REBUFF_NS_MIN;
    it->who = who;
    it->pause = pause < REBUFF_NS_MAX ? pause : REBUFF_NS_MAX;
    it->until = fabric_now(fabric) + it->pause;
}

static bool is_rebuffed(struct fabric *fabric, uint64_t id, const struct sys_address *address) {
    uint64_t who;
    const struct rebuff *it = rebuff_of(fabric, id, address, &who);
    return it->who == who && fabric_now(fabric) < it->until;
}

void hints_forgive(struct fabric *fabric) { memset(fabric->rebuffs, 0, sizeof fabric->rebuffs); }

// ---- asking ----

// Whether an attempt that failed so may do better soon: there was no place among the strangers.
static bool is_worth_another(int err) {
    return err == -ECONNRESET || err == -EPIPE || err == -EPROTO;
}

static ac_value look_into(ac_value argument) {
    struct hint *hint = ac_pointer_of(argument);
    struct fabric *fabric = hint->ask.fabric;
    struct greeting answer = {0};
    int err = tcp_ask(&hint->ask, &answer);
    for (int i = 1; i < ATTEMPTS && is_worth_another(err); i++) {
        ac_time pause = ATTEMPT_NS + (ac_time)(sys_random(fabric->sys) % ATTEMPT_NS);
        if (ac_sleep_until(fabric_now(fabric) + pause) < 0)
            return ac_nil;
        err = tcp_ask(&hint->ask, &answer);
    }
    trace(TRACE_FABRIC, "hint of %016llx: %s", (unsigned long long)hint->id, ac_strerror(err));
    if (err == 0 && answer.peer == hint->id)
        follow(hint, answer.name);
    else if (err == 0 || err == -ECONNREFUSED)
        hint_fails(hint);
    if (err == -EACCES || err == -EKEYREJECTED || (err == 0 && answer.peer != hint->id))
        rebuff(fabric, hint->id, &hint->ask.address);
    return ac_nil;
}

// ---- those that wait ----

static void start_some(struct fabric *fabric) {
    list_each (link, &fabric->hints) {
        struct hint *hint = container_of(link, struct hint, link);
        if (fabric->hints_asked == HINTS_AT_ONCE || fabric->closing)
            return;
        if (hint->ask.task.coro)
            continue;
        hint->ask.deadline = fabric_now(fabric) + HINT_NS;
        if (task_start(fabric, &hint->ask.task, look_into, hint, "fabric hint") < 0)
            return; // for want of memory: the next one that comes tries again
        fabric->hints_asked++;
    }
}

static void hint_release(struct hint *hint) {
    struct fabric *fabric = hint->ask.fabric;
    list_remove(&hint->link);
    (void)map_take_id(&fabric->hinted, hint->id);
    memory_release(hint);
}

static void hint_ended(struct task *task) {
    struct hint *hint = container_of(task, struct hint, ask.task);
    struct fabric *fabric = hint->ask.fabric;
    fabric->hints_asked--;
    hint_release(hint);
    start_some(fabric);
}

static bool may_come(struct fabric *fabric) {
    ac_time now = fabric_now(fabric);
    fabric->hint_tokens += (double)(now - fabric->hint_filled) * HINTS_PER_S / 1e9;
    fabric->hint_filled = now;
    if (fabric->hint_tokens > HINTS_MAX)
        fabric->hint_tokens = HINTS_MAX;
    if (fabric->hint_tokens < 1)
        return false;
    fabric->hint_tokens -= 1;
    return true;
}

void hint_take(struct fabric *fabric, uint64_t id, const struct sys_address *address,
               uint64_t beacon) {
    if (id == fabric->self || id == 0 || fabric->closing ||
        !permits_link(fabric->permits, address) || map_get_id(&fabric->hinted, id) ||
        map_count(&fabric->hinted) >= HINTS_MAX || is_rebuffed(fabric, id, address) ||
        !may_come(fabric))
        return;
    struct hint *hint = memory_allocate_zeroed(sizeof *hint);
    if (!hint || map_put_id(&fabric->hinted, id, hint) < 0) {
        memory_release(hint);
        return;
    }
    hint->ask.fabric = fabric;
    hint->ask.address = *address;
    hint->ask.task.ended = hint_ended;
    hint->id = id;
    hint->beacon = beacon;
    list_append(&fabric->hints, &hint->link);
    start_some(fabric);
}

void hints_start(struct fabric *fabric) {
    list_init(&fabric->hints);
    map_init(&fabric->hinted);
    fabric->hint_tokens = HINTS_MAX;
    fabric->hint_filled = fabric_now(fabric);
}

void hints_stop(struct fabric *fabric) {
    list_each (link, &fabric->hints) {
        struct hint *hint = container_of(link, struct hint, link);
        if (hint->ask.task.coro)
            task_cancel(&hint->ask.task);
        else
            hint_release(hint);
    }
}
