// SPDX-License-Identifier: MIT
// The way of a message from a channel down to all coroutines below it, and what else goes through
// the graph of channels.
//
// A walk, up or down, queues the channels that it meets in the channels themselves and marks whom
// it has met with its number. So it needs neither memory nor recursion, and whoever can be reached
// on several ways gets each message once: a lattice of channels cannot multiply messages. It goes
// to the nearest channels first; what a channel hands on is what it got from the first channel
// above it that handed something down.
//
// No coroutine runs during a walk. Transforms do, and hooks that a send calls: what they could do
// to the graph, or to the queue and the marks of the walk, is refused with -EBUSY.
//
// What goes to other processes is gathered, and goes out when the walk is over, still in the turn
// of its sender: each process gets a message once, with a list of those whom it is for. Where
// transforms make several messages of one, it gets each of those once.
//
// Where one channel alone is concerned nothing is marked: a send runs along one array, and touches
// nothing else but what it must, the mailboxes.
#include "message/channel.h"

enum { BUNDLE_FIRST = 16 };

static int hand_on(struct walk *walk, struct channel *channel, int *missed);
static bool change(struct channel *channel, ac_value *message, int *missed);
static int put_to_listeners(struct walk *walk, const struct channel *channel, ac_value message,
                            int *missed);
static int put_to_relays(struct walk *walk, const struct channel *channel, ac_value message,
                         int *missed);
static int send_bundles(struct loop *loop, struct walk *walk, int *missed);
static inline bool meet(struct walk *walk, struct member *member);
static void queue(struct walk *walk, struct channel *channel);
static void queue_below(struct walk *walk, struct channel *channel, ac_value message);
static struct channel *next(struct walk *walk);

// ---- a message ----

int walk_down(struct channel *top, ac_value message, int *missed) {
    *missed = 0;
    if (top->walks->busy) {
        ac_drop(message);
        return -EBUSY;
    }
    top->walks->busy = true;
    int count = 0;
    struct walk walk = walk_begin(top);
    top->handed = message;
    for (struct channel *channel; (channel = next(&walk));)
        count += hand_on(&walk, channel, missed);
    if (unlikely(walk.bundles != NULL))
        count += send_bundles(top->loop, &walk, missed);
    top->walks->busy = false;
    return count;
}

// Puts what was handed to a channel to the coroutines directly below and hands it to the channels
// there. Returns how many coroutines have got it.
static int hand_on(struct walk *walk, struct channel *channel, int *missed) {
    ac_value message = channel->handed;
    int count = 0;
    if (!channel->transform || change(channel, &message, missed)) {
        count = put_to_listeners(walk, channel, message, missed);
        if (unlikely(channel->relay_count > 0))
            count += put_to_relays(walk, channel, message, missed);
        queue_below(walk, channel, message);
    }
    ac_drop(message);
    return count;
}

// Lets the transform change a message. False: it goes no further.
static bool change(struct channel *channel, ac_value *message, int *missed) {
    struct coro *running = loop_step_out(channel->loop);
    bool further = channel->transform(message, channel->context);
    loop_step_in(channel->loop, running);
    if (!further || message->kind != AC_INVALID)
        return further;
    *missed = ac_error_of(*message);
    return false;
}

// Where there was no room nobody else is told.
static void note_missed(int err, int *missed) {
    if (err < 0 && (err != -ENOBUFS || *missed == 0))
        *missed = err;
}

// A coroutine has not got the message.
static void miss(struct coro *coro, ac_value message, int err, int *missed) {
    if (err == -ENOBUFS)
        dead_letter(coro->loop, AC_DEAD_FULL, coro_ref(coro), ac_hold(message));
    note_missed(err, missed);
}

// One that has not got it for lack of memory or room does not hold up the others.
static int put_to_listeners(struct walk *walk, const struct channel *channel, ac_value message,
                            int *missed) {
    const struct listener *listeners = channel->listeners;
    const bool alone = channel == walk->from && list_empty(&channel->below);
    int count = 0;
    for (uint32_t i = 0, n = channel->listener_count; i < n; i++) {
        struct coro *coro = listeners[i].coro;
        if (!alone && !meet(walk, listeners[i].it->member))
            continue;
        int err = mailbox_offer(coro, value_hold(message));
        if (likely(!err))
            count++;
        else
            miss(coro, message, err, missed);
    }
    return count;
}

// ---- bundles ----

static bool same_message(ac_value a, ac_value b) { return memcmp(&a, &b, sizeof a) == 0; }

static struct bundle *bundle_need(struct walk *walk, uint64_t peer, ac_value message) {
    for (struct bundle *it = walk->bundles; it; it = it->next)
        if (it->peer == peer && same_message(it->message, message))
            return it;
    struct bundle *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->peer = peer;
    it->message = ac_hold(message);
    it->next = walk->bundles;
    walk->bundles = it;
    return it;
}

// False: there is no memory.
static bool gather(struct walk *walk, const struct member *member, ac_value message) {
    struct bundle *it = bundle_need(walk, member->peer, message);
    if (!it)
        return false;
    if (it->count == it->room) {
        uint32_t room = it->room ? 2 * it->room : BUNDLE_FIRST;
        uint64_t *ids = memory_resize(it->ids, room * sizeof *ids);
        if (!ids)
            return false;
        it->ids = ids;
        it->room = room;
    }
    it->ids[it->count++] = member->id;
    return true;
}

static int send_bundles(struct loop *loop, struct walk *walk, int *missed) {
    int count = 0;
    while (walk->bundles) {
        struct bundle *it = walk->bundles;
        walk->bundles = it->next;
        int err = 0;
        if (it->count > 0)
            err = elsewhere_pass_all(loop, it->peer, it->ids, it->count, it->message);
        else
            ac_drop(it->message);
        count += err == 0 ? (int)it->count : 0;
        if (err != -ESRCH)
            note_missed(err, missed);
        memory_release(it->ids);
        memory_release(it);
    }
    return count;
}

// What goes to other loops and processes is queued for them now, in the turn of its sender: so what
// he sends there directly comes behind it.
static int put_to_relays(struct walk *walk, const struct channel *channel, ac_value message,
                         int *missed) {
    int count = 0;
    list_each (link, &channel->relays) {
        struct member *member = container_of(link, struct subscription, of_channel)->member;
        if (!meet(walk, member))
            continue;
        if (member->peer != channel->loop->peer && gather(walk, member, message))
            continue; // it is counted when it goes
        int err = relay_put(member, ac_hold(message));
        count += err == 0;
        if (err != -ESRCH)
            note_missed(err, missed);
    }
    return count;
}

uint32_t walk_count(struct channel *top) {
    if (list_empty(&top->below))
        return top->listener_count + top->relay_count;
    uint32_t count = 0;
    struct walk walk = walk_begin(top);
    for (struct channel *at; (at = next(&walk));) {
        for (uint32_t i = 0; i < at->listener_count; i++)
            count += meet(&walk, at->listeners[i].it->member);
        list_each (link, &at->relays)
            count += meet(&walk, container_of(link, struct subscription, of_channel)->member);
        queue_below(&walk, at, ac_nil);
    }
    return count;
}

// ---- a walk ----

struct walk walk_begin(struct channel *from) {
    struct walk walk = {.mark = ++from->walks->mark, .from = from};
    queue(&walk, from);
    return walk;
}

// True the first time this walk meets the member. The channel where it began it never meets: there
// is no circle.
static inline bool meet(struct walk *walk, struct member *member) {
    if (member->mark == walk->mark)
        return false;
    member->mark = walk->mark;
    return true;
}

static void queue(struct walk *walk, struct channel *channel) {
    channel->walk_next = NULL;
    if (walk->last)
        walk->last->walk_next = channel;
    else
        walk->first = channel;
    walk->last = channel;
}

// Queues the channels directly below, each with the message handed to it.
static void queue_below(struct walk *walk, struct channel *channel, ac_value message) {
    list_each (link, &channel->below) {
        struct member *member = container_of(link, struct subscription, of_channel)->member;
        if (!meet(walk, member))
            continue;
        channel_of(member)->handed = ac_hold(message);
        queue(walk, channel_of(member));
    }
}

static struct channel *next(struct walk *walk) {
    struct channel *channel = walk->first;
    if (channel) {
        walk->first = channel->walk_next;
        if (!walk->first)
            walk->last = NULL;
    }
    return channel;
}

struct channel *walk_up(struct walk *walk) {
    struct channel *channel = next(walk);
    if (!channel)
        return NULL;
    list_each (link, &channel->member.above) {
        struct channel *above = container_of(link, struct subscription, of_member)->channel;
        if (meet(walk, &above->member))
            queue(walk, above);
    }
    return channel;
}
