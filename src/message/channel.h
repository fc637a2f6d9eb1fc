// SPDX-License-Identifier: MIT
// What channel.c and walk.c share: channels, their subscriptions, and walks through the graph that
// these make. channel.c makes and changes the graph, walk.c goes through it.
#ifndef MESSAGE_CHANNEL_H
#define MESSAGE_CHANNEL_H

#include "message/state.h"

// Who can be subscribed.
struct member {
    uint64_t id;            // of its reference
    struct list above;      // its subscriptions: struct subscription.of_member
    uint64_t mark;          // the last walk that has met it
    struct coro *coro;      // NULL: a channel
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
    // ---- of a channel ----
    struct list of_channel;
    // ---- of a coroutine ----
    struct cell *cell; // kept back for the notice that the channel is closed
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

// ---- walk.c ----

// Channels that a walk has met and not yet looked into, the nearest first. One walk of a loop at a
// time.
struct walk {
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
