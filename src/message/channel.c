// SPDX-License-Identifier: MIT
// Channels: opening and closing them, who is subscribed to what, and waiting for subscribers.
//
//   channel ---- subscription ---- member      a member is a coroutine with at least one
//      |                             |         subscription, or a channel (every channel has one
//      +---- subscription -----------+         in its record)
//
// A subscription is known to its channel, which keeps coroutines in an array and channels in a
// list, and is in a list of its member, by which all of them are found when the member ends. A map
// of the loop, from (channel, who) to the subscription, makes it a set. The array is what a send
// runs along: it has no order, for the last entry fills the place of one that is taken out. For a
// coroutine of another loop or process a member stands in the graph that sends on what it is handed
// (relay.c).
//
// Channels below channels form a graph without circles: a subscription that would close one is
// found by walking up from the channel, and refused. How messages go through it stands in walk.c.
//
// The notice of a close cannot fail: the channel has it from the beginning, and each subscription
// of a coroutine keeps back a cell for it; one of a coroutine elsewhere has a notice of its own.
//
// Who waits for a number of subscribers counts for himself, each time that he is woken. He is woken
// when so many subscriptions were made below his channel that the number may have been reached.
//
// What the references name stands in a slot table (slot.c).
#include "message/channel.h"

enum { LISTENERS_FIRST = 4 };

struct channel_table {
    struct slot_table slots; // struct channel
    uint32_t waiting;        // how many are in ac_channel_wait
    struct walks walks;
    struct map members;       // coroutines by id: struct member
    struct map subscriptions; // by struct pair
};

// The key of a subscription.
struct pair {
    uint64_t channel; // of this loop
    uint64_t who;
    uint64_t peer; // of who
};
_Static_assert(sizeof(struct pair) == 24, "a key of the map has no padding");

// A coroutine in ac_channel_wait, on its stack.
struct channel_wait {
    struct list link;
    struct coro *coro;
    uint32_t missing; // so many subscriptions more are the least it needs
};

static struct channel_table *need_table(struct loop *loop);
static struct channel *find(const struct loop *loop, uint64_t id);
static int find_here(ac_ref ref, struct channel **channel);
static int find_to_change(ac_ref ref, struct channel **channel);
static void close_channel(struct channel *channel);
static void notify_listeners(struct channel *channel);
static void notify_relays(struct channel *channel);
static bool is_elsewhere(ac_ref channel, ac_ref who);
static int subscribe_elsewhere(ac_ref channel, ac_ref who, bool on);
static bool is_above(struct channel *channel, const struct channel *below);
static int find_member(struct loop *loop, ac_ref who, struct member **member);
static int need_member(struct coro *coro, struct member **member);
static int subscribe(struct channel *channel, struct member *member);
static int add_to_channel(struct channel *channel, struct subscription *it);
static int add_listener(struct channel *channel, struct subscription *it);
static int add_relay(struct channel *channel, struct subscription *it);
static void remove_listener(struct channel *channel, struct subscription *it);
static void unsubscribe(struct subscription *it);
static void remove_subscription(struct subscription *it);
static void release_if_idle(struct member *member);
static void subscriber_ended(struct end_watch *watch, const struct ac_exit *exit);
static bool leave_wait(struct coro *coro);
static void wake_waits(struct channel *channel, uint32_t gain);
static void end_wait(struct channel_wait *wait);
static void end_waits(struct channel *channel);

static const struct wait_kind waiting = {.name = "channel", .abandon = leave_wait};

static struct channel_table *table_of(const struct loop *loop) {
    struct message_state *state = message_state(loop);
    return state ? state->channels : NULL;
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
    channel->walks = &table->walks;
    channel->member.peer = loop->peer;
    list_init(&channel->member.above);
    list_init(&channel->below);
    list_init(&channel->relays);
    list_init(&channel->waits);
    list_init(&channel->watchers);
    ac_ref ref = {loop->peer, channel->member.id};
    channel->notice = message_exit_notice(&(struct ac_exit){.who = ref, .how = AC_FINISHED});
    if (channel->notice.kind == AC_INVALID)
        goto give_slot;
    trace(TRACE_MESSAGE, "channel '%s' opens", name ? name : "");
    return ref;

give_slot:
    err = ac_error_of(channel->notice);
    slot_give(&table->slots, channel->member.id);
free_name:
    memory_release(channel->name);
free_channel:
    memory_release(channel);
    return ref_none(err);
}

int ac_channel_close(ac_ref ref) {
    struct channel *channel;
    int err = find_to_change(ref, &channel);
    if (!err)
        close_channel(channel);
    return err;
}

int channel_put(struct loop *loop, ac_ref ref, ac_value message, int *missed) {
    struct channel *channel = find(loop, ref.id);
    if (channel)
        return walk_down(channel, message, missed);
    *missed = 0;
    ac_drop(message);
    return -ESRCH;
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
    notify_listeners(channel);
    notify_relays(channel);
    end_waits(channel);
    while (channel->listener_count > 0)
        unsubscribe(channel->listeners[channel->listener_count - 1].it);
    while ((link = list_first(&channel->relays)))
        unsubscribe(container_of(link, struct subscription, of_channel));
    while ((link = list_first(&channel->below)))
        unsubscribe(container_of(link, struct subscription, of_channel));
    while ((link = list_first(&channel->member.above)))
        unsubscribe(container_of(link, struct subscription, of_member));
    struct ac_exit exit = {.who = {channel->loop->peer, channel->member.id}, .how = AC_FINISHED};
    while ((link = list_take(&channel->watchers))) {
        struct end_watch *watch = container_of(link, struct end_watch, link);
        watch->ended(watch, &exit);
    }
    slot_give(&table_of(channel->loop)->slots, channel->member.id);
    ac_drop(channel->notice);
    memory_release(channel->listeners);
    memory_release(channel->name);
    memory_release(channel);
}

static void notify_listeners(struct channel *channel) {
    for (uint32_t i = 0; i < channel->listener_count; i++) {
        struct listener *listener = &channel->listeners[i];
        if (listener->coro->state == CORO_ENDED)
            continue; // a hook closes the channel while the coroutine ends: its mailbox is gone
        mailbox_put_cell(listener->coro, listener->it->cell, ac_hold(channel->notice));
        listener->it->cell = NULL;
    }
}

static void notify_relays(struct channel *channel) {
    list_each (link, &channel->relays) {
        struct subscription *it = container_of(link, struct subscription, of_channel);
        relay_close(it->member, it->farewell);
        it->farewell = NULL;
    }
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

// As find_here, for what may not happen while a message is on its way down: then -EBUSY.
static int find_to_change(ac_ref ref, struct channel **channel) {
    int err = find_here(ref, channel);
    return !err && (*channel)->walks->busy ? -EBUSY : err;
}

// ---- subscribing ----

// Whether the channel is not of this loop, and one of the two is of this program.
static bool is_elsewhere(ac_ref channel, ac_ref who) {
    struct loop *loop = loop_here;
    return loop && ac_ref_is(channel) && ac_ref_is(who) && !ref_is_here(loop, channel) &&
           (channel.peer == loop->peer || who.peer == loop->peer);
}

static int subscribe_elsewhere(ac_ref channel, ac_ref who, bool on) {
    if (ref_sort(channel.id) != REF_CHANNEL || ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    return elsewhere_subscribe(loop_here, channel, who, on);
}

int ac_channel_subscribe(ac_ref ref, ac_ref who) {
    struct channel *channel;
    struct member *member = NULL;
    if (is_elsewhere(ref, who))
        return subscribe_elsewhere(ref, who, true);
    int err = find_to_change(ref, &channel);
    if (!err)
        err = find_member(channel->loop, who, &member);
    if (err)
        return err;
    if (member->kind == MEMBER_CHANNEL && is_above(channel, channel_of(member)))
        return -ELOOP;
    err = subscribe(channel, member);
    release_if_idle(member);
    trace(TRACE_MESSAGE, "channel '%s' is subscribed to: %d", channel->name ? channel->name : "",
          err);
    return err;
}

int ac_channel_unsubscribe(ac_ref ref, ac_ref who) {
    struct channel *channel;
    if (is_elsewhere(ref, who))
        return subscribe_elsewhere(ref, who, false);
    int err = find_to_change(ref, &channel);
    if (err)
        return err;
    struct loop *loop = channel->loop;
    if (!ac_ref_is(who))
        return ref_refuse(who);
    struct pair key = {ref.id, who.id, who.peer};
    struct subscription *it = map_get(&table_of(loop)->subscriptions, &key, sizeof key);
    if (it) {
        unsubscribe(it);
        return 0;
    }
    if (!ref_is_here(loop, who))
        return ref_sort(who.id) == REF_COROUTINE ? -ENOENT : -ENOTSUP;
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
    if (err)
        return err;
    return (int)(channel->listener_count + channel->relay_count + channel->below_count);
}

int ac_channel_transform(ac_ref ref, ac_transform transform, void *context) {
    struct channel *channel;
    int err = find_here(ref, &channel);
    if (!err) {
        channel->transform = transform;
        channel->context = context;
    }
    return err;
}

// Whether `below` is the channel itself or one above it, so that it must not come below it.
static bool is_above(struct channel *channel, const struct channel *below) {
    struct walk walk = walk_begin(channel);
    for (struct channel *at; (at = walk_up(&walk));)
        if (at == below)
            return true;
    return false;
}

// The member for a reference that a user gives; a coroutine that is none yet becomes one, and
// release_if_idle ends that if no subscription follows. 0; -ESRCH, -ENOTSUP, -ENOMEM; for one
// elsewhere as relay_need.
static int find_member(struct loop *loop, ac_ref who, struct member **member) {
    if (!ac_ref_is(who))
        return ref_refuse(who);
    if (!ref_is_here(loop, who)) {
        int err = 0;
        *member = relay_need(loop, who, &err);
        return *member ? 0 : err;
    }
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
    new->peer = coro->loop->peer;
    list_init(&new->above);
    new->kind = MEMBER_CORO;
    new->coro = coro;
    new->watch.ended = subscriber_ended;
    coro_watch(coro, &new->watch);
    *member = new;
    return 0;
}

static int subscribe(struct channel *channel, struct member *member) {
    struct map *subscriptions = &table_of(channel->loop)->subscriptions;
    struct pair key = {channel->member.id, member->id, member->peer};
    if (map_get(subscriptions, &key, sizeof key))
        return 0;
    struct subscription *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->channel = channel;
    it->member = member;
    int err = map_put(subscriptions, &key, sizeof key, it);
    if (!err)
        err = add_to_channel(channel, it);
    if (err) {
        map_take(subscriptions, &key, sizeof key);
        memory_release(it);
        return err;
    }
    list_append(&member->above, &it->of_member);
    wake_waits(channel, member->kind != MEMBER_CHANNEL ? 1 : UINT32_MAX);
    return 0;
}

static int add_to_channel(struct channel *channel, struct subscription *it) {
    switch (it->member->kind) {
    case MEMBER_CORO: return add_listener(channel, it);
    case MEMBER_RELAY: return add_relay(channel, it);
    case MEMBER_CHANNEL: break;
    }
    list_append(&channel->below, &it->of_channel);
    channel->below_count++;
    return 0;
}

static int add_relay(struct channel *channel, struct subscription *it) {
    it->farewell = relay_farewell(it->member, (ac_ref){channel->loop->peer, channel->member.id});
    if (!it->farewell)
        return -ENOMEM;
    list_append(&channel->relays, &it->of_channel);
    channel->relay_count++;
    return 0;
}

static int add_listener(struct channel *channel, struct subscription *it) {
    if (channel->listener_count == channel->listener_room) {
        uint32_t room = channel->listener_room ? 2 * channel->listener_room : LISTENERS_FIRST;
        struct listener *listeners = memory_resize(channel->listeners, room * sizeof *listeners);
        if (!listeners)
            return -ENOMEM;
        channel->listeners = listeners;
        channel->listener_room = room;
    }
    it->cell = cell_take(channel->loop);
    if (!it->cell)
        return -ENOMEM;
    it->place = channel->listener_count++;
    channel->listeners[it->place] = (struct listener){it->member->coro, it};
    return 0;
}

static void remove_listener(struct channel *channel, struct subscription *it) {
    struct listener last = channel->listeners[--channel->listener_count];
    channel->listeners[it->place] = last;
    last.it->place = it->place;
    if (it->cell)
        cell_give(channel->loop, it->cell);
}

static void unsubscribe(struct subscription *it) {
    struct member *member = it->member;
    remove_subscription(it);
    release_if_idle(member);
}

static void remove_subscription(struct subscription *it) {
    struct channel *channel = it->channel;
    struct pair key = {channel->member.id, it->member->id, it->member->peer};
    assert(!channel->walks->busy);
    map_take(&table_of(channel->loop)->subscriptions, &key, sizeof key);
    list_remove(&it->of_member);
    switch (it->member->kind) {
    case MEMBER_CORO: remove_listener(channel, it); break;
    case MEMBER_RELAY:
        list_remove(&it->of_channel);
        channel->relay_count--;
        farewell_release(it->farewell);
        break;
    case MEMBER_CHANNEL:
        list_remove(&it->of_channel);
        channel->below_count--;
        break;
    }
    memory_release(it);
}

// A coroutine without subscriptions is no member.
static void release_if_idle(struct member *member) {
    if (member->kind == MEMBER_CHANNEL || !list_empty(&member->above))
        return;
    if (member->kind == MEMBER_RELAY) {
        relay_release(member);
        return;
    }
    map_take_id(&table_of(member->coro->loop)->members, member->id);
    coro_unwatch(&member->watch);
    memory_release(member);
}

static void subscriber_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    member_ended(container_of(watch, struct member, watch));
}

void member_ended(struct member *member) {
    struct list *link;
    while ((link = list_first(&member->above)))
        remove_subscription(container_of(link, struct subscription, of_member));
    release_if_idle(member);
}

// ---- waiting for subscribers ----

int ac_channel_wait(ac_ref ref, uint32_t count, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_try(self, deadline);
    while (!err) {
        struct channel *channel;
        err = find_here(ref, &channel);
        if (err)
            break;
        uint32_t reached = walk_count(channel);
        if (reached >= count)
            return (int)reached;
        err = coro_may_wait(self, deadline);
        if (err)
            break;
        struct channel_wait wait = {.coro = self, .missing = count - reached};
        list_append(&channel->waits, &wait.link);
        table_of(channel->loop)->waiting++;
        self->wait_for = &wait;
        err = coro_wait(self, &waiting, deadline);
    }
    return err;
}

static void end_wait(struct channel_wait *wait) {
    list_remove(&wait->link);
    table_of(wait->coro->loop)->waiting--;
}

static bool leave_wait(struct coro *coro) {
    end_wait(coro->wait_for);
    return true;
}

// A subscription was made, which brings messages to the channel to so many more at the most.
static void wake_waits(struct channel *channel, uint32_t gain) {
    if (table_of(channel->loop)->waiting == 0)
        return;
    struct walk walk = walk_begin(channel);
    for (struct channel *at; (at = walk_up(&walk));)
        list_each (link, &at->waits) {
            struct channel_wait *wait = container_of(link, struct channel_wait, link);
            if (wait->missing > gain) {
                wait->missing -= gain;
                continue;
            }
            end_wait(wait);
            coro_wake(wait->coro, 0);
        }
}

static void end_waits(struct channel *channel) {
    struct list *link;
    while ((link = list_first(&channel->waits))) {
        struct channel_wait *wait = container_of(link, struct channel_wait, link);
        end_wait(wait);
        coro_wake(wait->coro, -ESRCH);
    }
}
