// SPDX-License-Identifier: MIT
// Channels: who is subscribed to what, and the way of a message down to all of them.
//
//   channel ---- subscription ---- member      a member is a coroutine with at least one
//      |                             |         subscription, or a channel (every channel has one
//      +---- subscription -----------+         in its record)
//
// A subscription is in two lists: that of its channel, in the order of subscription, which is the
// order in which messages are put; and that of its member, by which all of them are found when the
// member ends. A map of the loop, from (channel, who) to the subscription, makes it a set.
//
// Channels below channels form a graph without circles: a subscription that would close one is
// found by walking up from the channel, and refused. A walk, up or down, queues the channels that
// it meets in the channels themselves and marks whom it has met with its number. So it needs
// neither memory nor recursion, and whoever can be reached on several ways gets each message once:
// a lattice of channels cannot multiply messages.
//
// Nobody runs during a walk, so nothing changes under it.
//
// What the references name stands in a slot table (slot.c).
#include "message/state.h"

struct member {
    uint64_t id;            // of its reference
    struct list above;      // its subscriptions: struct subscription.of_member
    uint64_t mark;          // the last walk that has met it
    struct coro *coro;      // NULL: a channel
    struct end_watch watch; // of the coroutine
};

struct channel {
    struct member member;      // as a subscriber of other channels
    struct list subscriptions; // struct subscription.of_channel
    uint32_t count;            // of them
    struct channel *walk_next; // in the queue of the present walk
    struct loop *loop;
    struct list watchers; // struct end_watch: who is told when it closes
    char *name;           // owned; may be NULL
};

struct subscription {
    struct list of_channel;
    struct list of_member;
    struct channel *channel;
    struct member *member;
};

struct channel_table {
    struct slot_table slots;  // struct channel
    uint64_t walks;           // how many there were: the mark of the latest
    struct map members;       // coroutines by id: struct member
    struct map subscriptions; // by struct pair
};

// The key of a subscription. Both are of the same loop, so their ids tell all.
struct pair {
    uint64_t channel;
    uint64_t who;
};
_Static_assert(sizeof(struct pair) == 16, "a key of the map has no padding");

// Channels that a walk has met and not yet looked into, first come, first served.
struct walk {
    uint64_t mark;
    struct channel *first;
    struct channel *last;
};

static struct channel_table *need_table(struct loop *loop);
static struct channel *find(const struct loop *loop, uint64_t id);
static int find_here(ac_ref ref, struct channel **channel);
static bool is_far(ac_ref channel, ac_ref who);
static int subscribe_elsewhere(ac_ref channel, ac_ref who, bool on);
static int find_member(struct loop *loop, ac_ref who, struct member **member);
static int subscribe(struct channel *channel, struct member *member);
static void unsubscribe(struct subscription *it);
static void remove_subscription(struct subscription *it);
static int need_member(struct coro *coro, struct member **member);
static void release_if_idle(struct member *member);
static void subscriber_ended(struct end_watch *watch, const struct ac_exit *exit);
static void walk_begin(struct walk *walk, struct channel_table *table);
static bool walk_meet(struct walk *walk, struct member *member);
static void walk_queue(struct walk *walk, struct channel *channel);
static struct channel *walk_next(struct walk *walk);
static int put_below(struct walk *walk, struct channel *channel, ac_value message, int *missed);
static bool is_above(struct channel_table *table, struct channel *channel, struct channel *below);
static void close_channel(struct channel *channel);

static struct channel_table *table_of(const struct loop *loop) {
    struct message_state *state = message_state(loop);
    return state ? state->channels : NULL;
}

static struct channel *channel_of(struct member *member) {
    return container_of(member, struct channel, member);
}

// ---- opening and closing ----

ac_ref ac_channel_open(const char *name) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return ref_none(err);
    err = -ENOMEM;
    struct channel_table *table = need_table(loop);
    struct channel *channel = memory_allocate_zeroed(sizeof *channel);
    if (!table || !channel)
        goto free_channel;
    if (name) {
        channel->name = memory_copy_text(name);
        if (!channel->name)
            goto free_channel;
    }
    err = slot_take(&table->slots, loop, REF_CHANNEL, channel, &channel->member.id);
    if (err)
        goto free_name;
    channel->loop = loop;
    list_init(&channel->member.above);
    list_init(&channel->subscriptions);
    list_init(&channel->watchers);
    trace(TRACE_MESSAGE, "channel '%s' opens", name ? name : "");
    return (ac_ref){loop->peer, channel->member.id};

free_name:
    memory_release(channel->name);
free_channel:
    memory_release(channel);
    return ref_none(err);
}

int ac_channel_close(ac_ref ref) {
    struct channel *channel;
    int err = find_here(ref, &channel);
    if (!err)
        close_channel(channel);
    return err;
}

bool channel_is_open(struct loop *loop, ac_ref channel) {
    return ref_is_here(loop, channel) && ref_sort(channel.id) == REF_CHANNEL &&
           find(loop, channel.id);
}

void channel_watch(struct loop *loop, ac_ref channel, struct end_watch *watch) {
    list_append(&find(loop, channel.id)->watchers, &watch->link);
}

static void close_channel(struct channel *channel) {
    trace(TRACE_MESSAGE, "channel '%s' closes", channel->name ? channel->name : "");
    struct list *link;
    while ((link = list_first(&channel->subscriptions)))
        unsubscribe(container_of(link, struct subscription, of_channel));
    while ((link = list_first(&channel->member.above)))
        unsubscribe(container_of(link, struct subscription, of_member));
    struct ac_exit exit = {.who = {channel->loop->peer, channel->member.id}, .how = AC_FINISHED};
    while ((link = list_take(&channel->watchers))) {
        struct end_watch *watch = container_of(link, struct end_watch, link);
        watch->ended(watch, &exit);
    }
    slot_give(&table_of(channel->loop)->slots, channel->member.id);
    memory_release(channel->name);
    memory_release(channel);
}

static struct channel_table *need_table(struct loop *loop) {
    struct message_state *state = message_state_need(loop);
    if (!state || state->channels)
        return state ? state->channels : NULL;
    struct channel_table *table = memory_allocate_zeroed(sizeof *table);
    if (table) {
        map_init(&table->members);
        map_init(&table->subscriptions);
        state->channels = table;
    }
    return table;
}

void channel_table_destroy(struct channel_table *table) {
    if (!table)
        return;
    struct channel *channel;
    for (uint32_t cursor = 0; (channel = slot_next(&table->slots, &cursor));)
        close_channel(channel);
    assert(map_count(&table->members) == 0 && map_count(&table->subscriptions) == 0);
    map_done(&table->members);
    map_done(&table->subscriptions);
    slot_table_done(&table->slots);
    memory_release(table);
}

// ---- finding ----

// The channel of this loop that the id names; NULL if it is closed.
static struct channel *find(const struct loop *loop, uint64_t id) {
    const struct channel_table *table = table_of(loop);
    return table ? slot_find(&table->slots, id) : NULL;
}

// The channel that a user names: 0, -ENOTSUP or -ESRCH.
static int find_here(ac_ref ref, struct channel **channel) {
    struct loop *loop = loop_here;
    if (!ac_ref_is(ref))
        return ref_refuse(ref);
    if (!loop)
        return -ESRCH;
    if (!ref_is_here(loop, ref) || ref_sort(ref.id) != REF_CHANNEL)
        return -ENOTSUP;
    *channel = find(loop, ref.id);
    return *channel ? 0 : -ESRCH;
}

// ---- subscribing ----

// Whether one of the two, and one alone, is of another process.
static bool is_far(ac_ref channel, ac_ref who) {
    struct loop *loop = loop_here;
    return loop && ac_ref_is(channel) && ac_ref_is(who) &&
           ref_is_here(loop, channel) != ref_is_here(loop, who);
}

static int subscribe_elsewhere(ac_ref channel, ac_ref who, bool on) {
    const struct message_door *door = message_door(loop_here);
    if (!door || ref_sort(channel.id) != REF_CHANNEL || ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    return door->subscribe(loop_here, channel, who, on);
}

int ac_channel_subscribe(ac_ref ref, ac_ref who) {
    struct channel *channel;
    struct member *member;
    if (is_far(ref, who))
        return subscribe_elsewhere(ref, who, true);
    int err = find_here(ref, &channel);
    if (!err)
        err = find_member(channel->loop, who, &member);
    if (err)
        return err;
    struct channel_table *table = table_of(channel->loop);
    if (!member->coro && is_above(table, channel, channel_of(member)))
        return -ELOOP;
    err = subscribe(channel, member);
    release_if_idle(member);
    return err;
}

int ac_channel_unsubscribe(ac_ref ref, ac_ref who) {
    struct channel *channel;
    if (is_far(ref, who))
        return subscribe_elsewhere(ref, who, false);
    int err = find_here(ref, &channel);
    if (err)
        return err;
    struct loop *loop = channel->loop;
    if (!ac_ref_is(who))
        return ref_refuse(who);
    if (!ref_is_here(loop, who))
        return -ENOTSUP;
    struct pair key = {ref.id, who.id};
    struct subscription *it = map_get(&table_of(loop)->subscriptions, &key, sizeof key);
    if (it) {
        unsubscribe(it);
        return 0;
    }
    if (ref_sort(who.id) == REF_CHANNEL)
        return find(loop, who.id) ? -ENOENT : -ESRCH;
    if (ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    struct coro *coro = coro_find(loop, who.id);
    return coro && coro->state != CORO_ENDED ? -ENOENT : -ESRCH;
}

int ac_channel_count(ac_ref ref) {
    struct channel *channel;
    int err = find_here(ref, &channel);
    return err ? err : (int)channel->count;
}

// The member for a reference that a user gives; a coroutine that is none yet becomes one, and
// release_if_idle ends that if no subscription follows. 0; -ESRCH, -ENOTSUP, -ENOMEM.
static int find_member(struct loop *loop, ac_ref who, struct member **member) {
    if (!ac_ref_is(who))
        return ref_refuse(who);
    if (!ref_is_here(loop, who))
        return -ENOTSUP;
    if (ref_sort(who.id) == REF_CHANNEL) {
        struct channel *channel = find(loop, who.id);
        *member = channel ? &channel->member : NULL;
        return channel ? 0 : -ESRCH;
    }
    if (ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    struct coro *coro = coro_find(loop, who.id);
    return coro && coro->state != CORO_ENDED ? need_member(coro, member) : -ESRCH;
}

static int need_member(struct coro *coro, struct member **member) {
    struct map *members = &table_of(coro->loop)->members;
    uint64_t id = coro_ref(coro).id;
    *member = map_get_id(members, id);
    if (*member)
        return 0;
    struct member *new = memory_allocate_zeroed(sizeof *new);
    if (!new)
        return -ENOMEM;
    int err = map_put_id(members, id, new);
    if (err) {
        memory_release(new);
        return err;
    }
    new->id = id;
    list_init(&new->above);
    new->coro = coro;
    new->watch.ended = subscriber_ended;
    coro_watch(coro, &new->watch);
    *member = new;
    return 0;
}

static int subscribe(struct channel *channel, struct member *member) {
    struct map *subscriptions = &table_of(channel->loop)->subscriptions;
    struct pair key = {channel->member.id, member->id};
    if (map_get(subscriptions, &key, sizeof key))
        return 0;
    struct subscription *it = memory_allocate(sizeof *it);
    if (!it)
        return -ENOMEM;
    int err = map_put(subscriptions, &key, sizeof key, it);
    if (err) {
        memory_release(it);
        return err;
    }
    it->channel = channel;
    it->member = member;
    list_append(&channel->subscriptions, &it->of_channel);
    list_append(&member->above, &it->of_member);
    channel->count++;
    return 0;
}

static void unsubscribe(struct subscription *it) {
    struct member *member = it->member;
    remove_subscription(it);
    release_if_idle(member);
}

static void remove_subscription(struct subscription *it) {
    struct pair key = {it->channel->member.id, it->member->id};
    map_take(&table_of(it->channel->loop)->subscriptions, &key, sizeof key);
    list_remove(&it->of_channel);
    list_remove(&it->of_member);
    it->channel->count--;
    memory_release(it);
}

// A coroutine without subscriptions is no member.
static void release_if_idle(struct member *member) {
    if (!member->coro || !list_empty(&member->above))
        return;
    map_take_id(&table_of(member->coro->loop)->members, member->id);
    coro_unwatch(&member->watch);
    memory_release(member);
}

static void subscriber_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct member *member = container_of(watch, struct member, watch);
    struct list *link;
    while ((link = list_first(&member->above)))
        remove_subscription(container_of(link, struct subscription, of_member));
    release_if_idle(member);
}

// ---- walking ----

int channel_put(struct loop *loop, ac_ref ref, ac_value message, int *missed) {
    struct channel *top = find(loop, ref.id);
    int count = top ? 0 : -ESRCH;
    *missed = 0;
    if (top) {
        struct walk walk;
        walk_begin(&walk, table_of(loop));
        walk_queue(&walk, top);
        for (struct channel *channel; (channel = walk_next(&walk));)
            count += put_below(&walk, channel, message, missed);
    }
    ac_drop(message);
    return count;
}

// Puts the message to the coroutines directly below a channel and queues the channels there.
// Returns how many have got it. One that has not for lack of memory does not hold up the others.
static int put_below(struct walk *walk, struct channel *channel, ac_value message, int *missed) {
    int count = 0;
    list_each (link, &channel->subscriptions) {
        struct member *member = container_of(link, struct subscription, of_channel)->member;
        if (!walk_meet(walk, member))
            continue;
        if (!member->coro) {
            walk_queue(walk, channel_of(member));
            continue;
        }
        int err = mailbox_put(member->coro, ac_hold(message));
        if (err)
            *missed = err;
        else
            count++;
    }
    return count;
}

// Whether `below` is the channel itself or one above it, so that it must not come below it.
static bool is_above(struct channel_table *table, struct channel *channel, struct channel *below) {
    struct walk walk;
    walk_begin(&walk, table);
    walk_meet(&walk, &channel->member);
    walk_queue(&walk, channel);
    for (struct channel *at; (at = walk_next(&walk));) {
        if (at == below)
            return true;
        list_each (link, &at->member.above) {
            struct channel *above = container_of(link, struct subscription, of_member)->channel;
            if (walk_meet(&walk, &above->member))
                walk_queue(&walk, above);
        }
    }
    return false;
}

static void walk_begin(struct walk *walk, struct channel_table *table) {
    *walk = (struct walk){.mark = ++table->walks};
}

// True the first time this walk meets the member.
static inline bool walk_meet(struct walk *walk, struct member *member) {
    if (member->mark == walk->mark)
        return false;
    member->mark = walk->mark;
    return true;
}

static void walk_queue(struct walk *walk, struct channel *channel) {
    channel->walk_next = NULL;
    if (walk->last)
        walk->last->walk_next = channel;
    else
        walk->first = channel;
    walk->last = channel;
}

static struct channel *walk_next(struct walk *walk) {
    struct channel *channel = walk->first;
    if (channel) {
        walk->first = channel->walk_next;
        if (!walk->first)
            walk->last = NULL;
    }
    return channel;
}
