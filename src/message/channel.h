// SPDX-License-Identifier: MIT
// What channel.c, walk.c and relay.c share: channels, their subscriptions, and walks through the
// graph that these make. channel.c makes and changes the graph, walk.c goes through it; relay.c has
// those who stand in it for coroutines elsewhere.
#ifndef MESSAGE_CHANNEL_H
#define MESSAGE_CHANNEL_H

#include "message/state.h"

// Who can be subscribed.
struct member {
    uint64_t id;       // of its reference
    uint64_t peer;     // likewise
    struct list above; // its subscriptions: struct subscription.of_member
    uint64_t mark;     // the last walk that has met it
    enum member_kind { MEMBER_CHANNEL, MEMBER_CORO, MEMBER_RELAY } kind;
    struct coro *coro;      // MEMBER_CORO
    struct end_watch watch; // of the coroutine
};

// The walks of a loop.
struct walks {
    uint64_t mark; // of the latest
    bool busy;     // a message is on its way down: the graph must not change
};

struct channel {
    struct member member;       // as a subscriber of other channels
    struct listener *listeners; // the coroutines directly below
    uint32_t listener_count;
    uint32_t listener_room;    // for how many the array has room
    struct list below;         // struct subscription.of_channel: the channels directly below
    uint32_t below_count;      // of them
    uint32_t relay_count;      // of the next
    struct list relays;        // struct subscription.of_channel: of those elsewhere
    struct channel *walk_next; // in the queue of the present walk
    ac_value handed;           // what the present walk hands to it; owned while it is queued
    ac_transform transform;    // NULL: none
    void *context;             // of the transform
    struct loop *loop;
    struct walks *walks;  // of its loop
    struct list waits;    // struct channel_wait: who is in ac_channel_wait
    struct list watchers; // struct end_watch: who is told when it closes
    ac_value notice;      // that it is closed; owned
    char *name;           // owned; may be NULL
};

struct subscription {
    struct list of_member;
    struct channel *channel;
    struct member *member;
    // ---- of a channel or a relay ----
    struct list of_channel;
    struct farewell *farewell; // of a relay: kept back for the notice that the channel is closed
    // ---- of a coroutine ----
    struct cell *cell; // likewise
    uint32_t place;    // in channel->listeners
};

// What a send needs to know of a subscribed coroutine.
struct listener {
    struct coro *coro;
    struct subscription *it;
};

static inline struct channel *channel_of(struct member *member) {
    return container_of(member, struct channel, member);
}

// ---- channel.c ----

// The one that a member is or stands for has ended, and with it all its subscriptions.
void member_ended(struct member *member);

// ---- relay.c ----

// The member that stands for a coroutine elsewhere, made if there is none. NULL and *err: -ESRCH,
// -ENOTSUP, -ENOMEM, -EHOSTUNREACH; -EAGAIN when its process has 2^16 of them on
// this loop.
struct member *relay_need(struct loop *loop, ac_ref who, int *err);
// It has no subscription any more.
void relay_release(struct member *member);
// Sends a message on at once. Takes it. 0: queued there; -ESRCH: nobody is there any more, which
// was counted as a dead letter; -ENOMEM; -ENOTSUP: it cannot travel there.
int relay_put(struct member *member, ac_value message);
// What tells it that the channel is closed. NULL if there is no memory.
struct farewell *relay_farewell(struct member *member, ac_ref channel);
// Sends that on at once, behind all else. Takes it.
void relay_close(struct member *member, struct farewell *farewell);
void farewell_release(struct farewell *farewell);

// ---- walk.c ----

// What a walk has for the coroutines of one other process: it goes there in one copy when the walk
// is over.
struct bundle {
    struct bundle *next;
    uint64_t peer;
    ac_value message; // owned
    uint32_t count;
    uint32_t room; // in `ids`
    uint64_t *ids; // of the coroutines
};

// Channels that a walk has met and not yet looked into, the nearest first. One walk of a loop at a
// time.
struct walk {
    struct bundle *bundles; // the latest first
    uint64_t mark;
    struct channel *from; // where it began
    struct channel *first;
    struct channel *last;
};

// Hands a message down from a channel. Takes it. How many coroutines have it in their mailbox, and
// in *missed the error for which another one has not, or 0. -EBUSY if one is on its way already.
int walk_down(struct channel *top, ac_value message, int *missed);
// How many coroutines a message to the channel would reach.
uint32_t walk_count(struct channel *top);
// A walk up: the channel itself, then each one that it is below of, once; NULL at the end.
struct walk walk_begin(struct channel *from);
struct channel *walk_up(struct walk *walk);

#endif
