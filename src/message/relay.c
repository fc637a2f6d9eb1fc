// SPDX-License-Identifier: MIT
// Relays: those who stand in the graph of channels for coroutines of other loops and processes.
//
// A relay is a member like a coroutine here, one for each coroutine elsewhere, so whoever is
// reached through several channels gets a message once. What it is handed it queues for the other
// loop or process at once, in the turn of the sender and behind all that this loop has sent there.
// It needs no coroutine: a lane takes everything, and what finds no room on a link the door keeps.
//
// It ends with its last subscription, or with the one it stands for. Each process has so many of
// them on a loop and no more, so that none can use up what others need.
#include "message/channel.h"

enum { RELAYS_MAX = 1 << 16 };

// A process for whose coroutines there are relays on this loop; our own is one.
struct relay_peer {
    uint64_t peer;
    uint32_t count; // of relays; not 0, but for a moment
};

struct relay {
    struct member member;
    struct loop *loop;
    ac_ref who;
    struct relay_peer *of;
    struct far_watch watch; // on the end of who
};

static struct relay *relay_of(struct member *member) {
    return container_of(member, struct relay, member);
}

static struct map *relays_of(struct loop *loop) { return &message_state(loop)->relays; }

static struct map *peers_of(struct loop *loop) { return &message_state(loop)->relay_peers; }

// NULL: no memory.
static struct relay_peer *hold_peer(struct loop *loop, uint64_t peer) {
    struct relay_peer *it = map_get_id(peers_of(loop), peer);
    if (!it) {
        it = memory_allocate_zeroed(sizeof *it);
        if (!it || map_put_id(peers_of(loop), peer, it) < 0) {
            memory_release(it);
            return NULL;
        }
        it->peer = peer;
    }
    it->count++;
    return it;
}

static void drop_peer(struct loop *loop, struct relay_peer *it) {
    if (--it->count > 0)
        return;
    map_take_id(peers_of(loop), it->peer);
    memory_release(it);
}

static void who_ended(struct far_watch *watch, int reason) {
    (void)reason;
    member_ended(&container_of(watch, struct relay, watch)->member);
}

// 0 or why there can be none.
static int check(struct loop *loop, ac_ref who) {
    if (ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    const struct relay_peer *of = map_get_id(peers_of(loop), who.peer);
    if (of && of->count >= RELAYS_MAX)
        return -EAGAIN;
    const struct loop *there = team_loop(loop, ref_loop(who.id));
    return who.peer != loop->peer || (there && coro_is_alive(there, who.id)) ? 0 : -ESRCH;
}

struct member *relay_need(struct loop *loop, ac_ref who, int *err) {
    struct relay *relay = map_get(relays_of(loop), &who, sizeof who);
    if (relay)
        return &relay->member;
    *err = check(loop, who);
    if (*err < 0)
        return NULL;
    struct relay_peer *of = hold_peer(loop, who.peer);
    relay = of ? memory_allocate_zeroed(sizeof *relay) : NULL;
    *err = relay ? 0 : -ENOMEM;
    if (!relay)
        goto drop;
    relay->member = (struct member){.kind = MEMBER_RELAY, .id = who.id, .peer = who.peer};
    list_init(&relay->member.above);
    relay->loop = loop;
    relay->who = who;
    relay->of = of;
    relay->watch.ended = who_ended;
    *err = map_put(relays_of(loop), &who, sizeof who, relay);
    if (*err < 0)
        goto release;
    *err = elsewhere_watch(loop, who, &relay->watch);
    if (*err == 0 && !relay->watch.state)
        *err = -EHOSTUNREACH; // nobody can know of it
    if (*err == 0)
        return &relay->member;
    map_take(relays_of(loop), &who, sizeof who);
release:
    memory_release(relay);
drop:
    if (of)
        drop_peer(loop, of);
    return NULL;
}

void relay_release(struct member *member) {
    struct relay *relay = relay_of(member);
    elsewhere_unwatch(relay->loop, relay->who, &relay->watch);
    map_take(relays_of(relay->loop), &relay->who, sizeof relay->who);
    drop_peer(relay->loop, relay->of);
    memory_release(relay);
}

int relay_put(struct member *member, ac_value message) {
    struct relay *relay = relay_of(member);
    return elsewhere_pass(relay->loop, relay->who, message);
}

// ---- the notice that a channel is closed ----

struct farewell *relay_farewell(struct member *member, ac_ref channel) {
    struct farewell *farewell = memory_allocate_zeroed(sizeof *farewell);
    if (!farewell)
        return NULL;
    farewell->who = relay_of(member)->who;
    farewell->channel = channel;
    farewell->notice = message_exit_notice(&(struct ac_exit){.who = channel, .how = AC_FINISHED});
    if (farewell->notice.kind != AC_INVALID)
        return farewell;
    memory_release(farewell);
    return NULL;
}

void relay_close(struct member *member, struct farewell *farewell) {
    elsewhere_close(relay_of(member)->loop, farewell);
}

void farewell_release(struct farewell *farewell) {
    if (!farewell)
        return;
    ac_drop(farewell->notice);
    memory_release(farewell);
}
