// SPDX-License-Identifier: MIT
// Names: given here to coroutines and channels; looked for here and at all peers.
//
// A LOCATE stays open at the peer that was asked until it is answered (once) or forgotten: so a
// name given later is found when it is given, and no peer need say "no" but where all holders are
// wanted that there are now. After the answer it stays open, too, until the peer has told by a LEFT
// that the holder has the name no more: till then he is found in a cache, and nobody is asked.
// Peers that appear while a query is open are asked as they appear; the query is sent again to a
// peer that was lost and met again.
//
// The names given here and the peers that follow them are shared with the guest side, which answers
// while the host computes.
#include "remote/remote_private.h"

#include <stdio.h>

static bool abandon_locate(struct coro *coro);
static const struct wait_kind locate_wait = {"locate", abandon_locate, .until_deadline = false};

static bool name_is_good(const char *name, size_t *bytes) {
    *bytes = name ? strnlen(name, NAME_BYTES_MAX + 1) : 0;
    return *bytes > 0 && *bytes <= NAME_BYTES_MAX;
}

// ---- those who follow from elsewhere: shared ----

// `holder` is none where nobody has the name. `leaves`: a LEFT will follow.
static void send_found(struct remote *remote, uint64_t peer, uint64_t number, ac_ref holder,
                       bool leaves) {
    struct head head = {0};
    head_put(&head, number);
    uint8_t scratch[16];
    ac_value value = ac_of_ref(holder);
    ac_span encoded = value_encoded(value, scratch);
    memcpy(head.bytes + head.count, encoded.at, encoded.bytes);
    head.count += encoded.bytes;
    head.bytes[head.count++] = leaves ? 0xf5 : 0xf4; // CBOR true, false
    remote_tell(remote, peer, FRAME_FOUND, &head, FABRIC_ALWAYS);
    ac_drop(value);
}

static void send_number(struct remote *remote, uint64_t peer, enum frame_type type,
                        uint64_t number) {
    struct head head = {0};
    head_put(&head, number);
    remote_tell(remote, peer, type, &head, FABRIC_ALWAYS);
}

static void followers_release(struct remote *remote, struct followers *followers) {
    map_take(&remote->followers, followers->text, followers->bytes);
    memory_release(followers);
}

// The followers of a name, made if there are none. NULL if there is no memory.
static struct followers *followers_need(struct remote *remote, ac_span name) {
    struct followers *followers = map_get(&remote->followers, name.at, name.bytes);
    if (followers)
        return followers;
    followers = memory_allocate(sizeof *followers + name.bytes);
    if (!followers)
        return NULL;
    list_init(&followers->all);
    followers->bytes = (uint32_t)name.bytes;
    memcpy(followers->text, name.at, name.bytes);
    if (map_put(&remote->followers, name.at, name.bytes, followers) == 0)
        return followers;
    memory_release(followers);
    return NULL;
}

static void follower_release(struct remote *remote, struct follower *follower) {
    struct remote_peer *peer = map_get_id(&remote->peers, follower->peer);
    if (peer)
        map_take_id(&peer->follows, follower->number);
    list_remove(&follower->link);
    memory_release(follower);
}

// NULL and *err: -ENOMEM; -ENOBUFS: the peer has too many; -EEXIST: it draws its numbers badly.
static struct follower *follower_add(struct remote *remote, struct remote_peer *peer,
                                     uint64_t number, ac_span name, enum locate_mode mode,
                                     int *err) {
    *err = -ENOBUFS;
    if (map_count(&peer->follows) >= FOLLOWERS_MAX)
        return NULL;
    struct follower *follower = memory_allocate(sizeof *follower);
    *err = follower ? map_put_id(&peer->follows, number, follower) : -ENOMEM;
    if (*err < 0) {
        memory_release(follower);
        return NULL;
    }
    struct followers *followers = followers_need(remote, name);
    if (!followers) {
        map_take_id(&peer->follows, number);
        memory_release(follower);
        *err = -ENOMEM;
        return NULL;
    }
    *follower = (struct follower){
        .of = followers, .peer = peer->id, .number = number, .mode = mode};
    list_init(&follower->link);
    list_append(&followers->all, &follower->link);
    return follower;
}

// Takes out one who follows, and the name with the last one.
static void follower_drop(struct remote *remote, struct follower *follower) {
    struct followers *followers = follower->of;
    follower_release(remote, follower);
    if (list_empty(&followers->all))
        followers_release(remote, followers);
}

void names_asked(struct remote *remote, struct remote_peer *peer, uint64_t number, ac_span name,
                 enum locate_mode mode) {
    struct name *given = map_get(&remote->names, name.at, name.bytes);
    struct follower *follower = NULL;
    int err = 0;
    if (mode != LOCATE_NOW)
        follower = follower_add(remote, peer, number, name, mode, &err);
    if (err == -ENOMEM) {
        remote_give_up(remote, peer->id);
        return;
    }
    if (err == -ENOBUFS && !(given && mode == LOCATE_ONCE)) {
        names_refuse(remote, peer, number, err);
        return;
    }
    if (follower)
        follower->told = given && mode == LOCATE_ONCE;
    if (given || mode == LOCATE_NOW)
        send_found(remote, peer->id, number, given ? given->holder : ac_no_ref,
                   follower && follower->told);
}

void names_refuse(struct remote *remote, const struct remote_peer *peer, uint64_t number, int err) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, err);
    head.bytes[head.count++] = 0xf4; // CBOR false
    remote_tell(remote, peer->id, FRAME_FOUND, &head, FABRIC_ALWAYS);
}

void names_forget(struct remote *remote, struct remote_peer *peer, uint64_t number) {
    struct follower *follower = map_get_id(&peer->follows, number);
    if (follower)
        follower_drop(remote, follower);
}

void names_peer_gone(struct remote *remote, struct remote_peer *peer) {
    struct follower *follower;
    for (uint64_t cursor = 0; (follower = map_next(&peer->follows, &cursor, NULL, NULL));)
        follower_drop(remote, follower);
}

// A name was given: tells those who wait for it.
static void tell_followers(struct remote *remote, const struct name *name) {
    struct followers *followers = map_get(&remote->followers, name->text, name->bytes);
    if (!followers)
        return;
    list_each (link, &followers->all) {
        struct follower *it = container_of(link, struct follower, link);
        it->told = it->mode == LOCATE_ONCE;
        send_found(remote, it->peer, it->number, name->holder, it->told);
    }
}

// A name is free: tells those who may have kept who had it.
static void tell_left(struct remote *remote, const struct name *name) {
    struct followers *followers = map_get(&remote->followers, name->text, name->bytes);
    if (!followers)
        return;
    list_each (link, &followers->all) {
        struct follower *it = container_of(link, struct follower, link);
        if (!it->told)
            continue;
        send_number(remote, it->peer, FRAME_LEFT, it->number);
        follower_release(remote, it);
    }
    if (list_empty(&followers->all))
        followers_release(remote, followers);
}

// ---- names given here: host side ----

static void name_release(struct name *name) {
    remote_enter(name->remote);
    map_take(&name->remote->names, name->text, name->bytes);
    if (name->remote->fabric)
        tell_left(name->remote, name);
    remote_leave(name->remote);
    memory_release(name);
}

static void holder_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    name_release(container_of(watch, struct name, watch));
}

static void found_here(struct remote *remote, const struct name *name);

static void holder_elsewhere_ended(struct far_watch *watch, int reason) {
    (void)reason;
    name_release(container_of(watch, struct name, far));
}

static int watch_coroutine(struct loop *loop, struct name *name) {
    struct coro *coro = coro_find(loop, name->holder.id);
    if (!coro || coro->state == CORO_ENDED)
        return -ESRCH;
    coro_watch(coro, &name->watch);
    return 0;
}

static int watch_channel(struct loop *loop, struct name *name) {
    if (!channel_is_open(loop, name->holder))
        return -ESRCH;
    channel_watch(loop, name->holder, &name->watch);
    return 0;
}

// Whether a channel is open only its loop can say: if it is not, we are told that it has closed.
static int watch_elsewhere(struct loop *loop, struct name *name) {
    uint64_t id = name->holder.id;
    const struct loop *at = team_loop(loop, ref_loop(id));
    bool is_channel = ref_sort(id) == REF_CHANNEL;
    if (!is_channel && ref_sort(id) != REF_COROUTINE)
        return -ENOTSUP;
    if (!at || (!is_channel && !coro_is_alive(at, id)))
        return -ESRCH;
    return elsewhere_watch(loop, name->holder, &name->far);
}

// The name goes when its holder ends. 0; -ESRCH; -ENOTSUP; -ENOMEM.
static int watch_holder(struct loop *loop, struct name *name) {
    if (ref_sort(name->holder.id) == REF_FUNCTION) // its loop tells when it is closed
        return 0;
    if (!ref_is_here(loop, name->holder))
        return watch_elsewhere(loop, name);
    return ref_sort(name->holder.id) == REF_COROUTINE ? watch_coroutine(loop, name)
                                                      : watch_channel(loop, name);
}

static void unwatch_holder(struct name *name) {
    coro_unwatch(&name->watch);
    if (ref_sort(name->holder.id) != REF_FUNCTION)
        elsewhere_unwatch(name->remote->host, name->holder, &name->far);
}

static int list_name(struct name *name) {
    struct remote *remote = name->remote;
    remote_enter(remote);
    int err = map_put(&remote->names, name->text, name->bytes, name);
    if (err == 0 && remote->fabric)
        tell_followers(remote, name);
    remote_leave(remote);
    return err;
}

// Gives a name that is good.
static int give(struct loop *loop, ac_ref holder, const char *text, size_t bytes) {
    struct remote *remote = remote_need(loop);
    if (!remote)
        return -ENOMEM;
    if (holder.peer != loop->peer)
        return -ENOTSUP;
    struct name *name = memory_allocate_zeroed(sizeof *name);
    if (!name)
        return -ENOMEM;
    name->remote = remote;
    name->holder = holder;
    name->bytes = (uint32_t)bytes;
    name->watch.ended = holder_ended;
    name->far.ended = holder_elsewhere_ended;
    memcpy(name->text, text, bytes);
    list_init(&name->watch.link);
    int err = watch_holder(loop, name);
    if (err < 0)
        goto release;
    err = list_name(name);
    if (err < 0)
        goto unwatch;
    found_here(remote, name);
    return 0;
unwatch:
    unwatch_holder(name);
release:
    memory_release(name);
    return err;
}

int names_register(ac_ref holder, const char *text) {
    size_t bytes;
    return name_is_good(text, &bytes) ? give(loop_here, holder, text, bytes) : -EINVAL;
}

void names_holder_closed(struct remote *remote, ac_ref holder) {
    struct name *name;
    for (uint64_t cursor = 0; (name = map_next(&remote->names, &cursor, NULL, NULL));)
        if (ac_ref_equal(name->holder, holder))
            name_release(name);
}

int ac_register(ac_ref holder, const char *text) {
    int err = 0;
    size_t bytes;
    if (!name_is_good(text, &bytes))
        return -EINVAL;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    if (ref_sort(holder.id) == REF_FUNCTION && holder.peer == loop->peer &&
        !function_is_open(loop, holder))
        return ref_is_here(loop, holder) ? -ESRCH : -EXDEV;
    if (remote_is_at_first(loop))
        return give(loop, holder, text, bytes);
    // Here it is known at once.
    if (ref_is_here(loop, holder) && ref_sort(holder.id) == REF_CHANNEL &&
        !channel_is_open(loop, holder))
        return -ESRCH;
    return remote_ask_first(loop, REMOTE_REGISTER, text, &holder, AC_FOREVER);
}

int ac_unregister(const char *text) {
    size_t bytes;
    if (!remote_is_at_first(loop_here))
        return remote_ask_first(loop_here, REMOTE_UNREGISTER, text, NULL, AC_FOREVER);
    struct remote *remote = loop_here ? remote_of(loop_here) : NULL;
    if (!remote || !name_is_good(text, &bytes))
        return -ENOENT;
    struct name *name = map_get(&remote->names, text, bytes);
    if (!name)
        return -ENOENT;
    unwatch_holder(name);
    name_release(name);
    return 0;
}

// ---- looking for names: host side ----

static void query_release(struct query *query) {
    map_take_id(&query->remote->queries, query->number);
    map_done(&query->asked);
    map_done(&query->told);
    if (!query->waiter)
        memory_release(query);
}

// No more answers are wanted: the peers that still watch for the name may stop.
static void query_end(struct query *query) {
    struct remote *remote = query->remote;
    if (remote->fabric) {
        remote_enter(remote);
        const void *key;
        for (uint64_t cursor = 0; map_next(&query->asked, &cursor, &key, NULL);) {
            uint64_t peer;
            memcpy(&peer, key, sizeof peer);
            send_number(remote, peer, FRAME_FORGET, query->number);
        }
        remote_leave(remote);
    }
    query_release(query);
}

static enum locate_mode mode_of(const struct query *query) {
    return query->collects ? LOCATE_NOW : query->waiter ? LOCATE_ONCE : LOCATE_FOLLOW;
}

// Asks one peer, unless it has been asked. Inside the guest. 0 or -ENOMEM: one that cannot be
// reached has no say.
static int query_ask(struct query *query, uint64_t peer) {
    struct head head = {0};
    head_put(&head, query->number);
    head.count += cbor_put_head(head.bytes + head.count, 3, query->bytes);
    uint8_t tail[NAME_BYTES_MAX + 1];
    memcpy(tail, query->name, query->bytes);
    tail[query->bytes] = (uint8_t)mode_of(query); // a small number in CBOR
    int err = map_put_id(&query->asked, peer, query);
    if (err < 0)
        return err == -EEXIST ? 0 : err;
    err = remote_frame(query->remote, peer, FRAME_LOCATE, &head, (ac_span){tail, query->bytes + 1},
                       FABRIC_ALWAYS);
    if (err < 0)
        map_take_id(&query->asked, peer);
    return err == -ENOMEM ? err : 0;
}

static int query_ask_all(struct query *query) {
    struct remote *remote = query->remote;
    if (!remote->fabric)
        return 0;
    remote_enter(remote);
    size_t max = fabric_peers(remote->fabric, NULL, 0);
    struct fabric_peer *peers = max ? memory_allocate(max * sizeof *peers) : NULL;
    int err = max && !peers ? -ENOMEM : 0;
    size_t count = peers ? fabric_peers(remote->fabric, peers, max) : 0;
    for (size_t i = 0; i < count && err == 0; i++)
        if (query->only == 0 || query->only == peers[i].id)
            err = query_ask(query, peers[i].id);
    remote_leave(remote);
    memory_release(peers);
    return err;
}

void names_met(struct remote *remote, uint64_t peer) {
    struct query *query;
    remote_enter(remote);
    for (uint64_t cursor = 0; (query = map_next(&remote->queries, &cursor, NULL, NULL));)
        if (!query->collects && query->only == 0 && query_ask(query, peer) < 0)
            trace(TRACE_REMOTE, "peer %016llx is not asked: no memory", (unsigned long long)peer);
    remote_leave(remote);
}

// ---- the cache ----

static void cache_release(struct remote *remote, struct cached *it) {
    map_take(&remote->cache, it->text, it->bytes);
    map_take_id(&remote->cached, it->number);
    memory_release(it);
}

static int cache_add(struct remote *remote, const struct query *query, ac_ref holder) {
    if (map_count(&remote->cache) >= CACHE_MAX)
        return -ENOSPC;
    struct cached *it = memory_allocate(sizeof *it + query->bytes);
    if (!it)
        return -ENOMEM;
    *it = (struct cached){.number = query->number, .holder = holder, .bytes = query->bytes};
    memcpy(it->text, query->name, query->bytes);
    int err = map_put(&remote->cache, it->text, it->bytes, it);
    if (err == 0 && (err = map_put_id(&remote->cached, it->number, it)) < 0)
        map_take(&remote->cache, it->text, it->bytes);
    if (err < 0)
        memory_release(it);
    return err;
}

// A peer will tell when its holder leaves: he is kept, or nothing need be told.
static void cache(struct query *query, ac_ref holder) {
    struct remote *remote = query->remote;
    if (cache_add(remote, query, holder) == 0)
        return;
    remote_enter(remote);
    send_number(remote, holder.peer, FRAME_FORGET, query->number);
    remote_leave(remote);
}

void names_left(struct remote *remote, const struct arrival *arrival) {
    struct cached *it = map_get_id(&remote->cached, arrival->number);
    if (it && it->holder.peer == arrival->peer)
        cache_release(remote, it);
}

// ---- answers ----

static void collected(struct query *query) {
    if (map_count(&query->asked) > 0)
        return;
    struct coro *waiter = query->waiter;
    query_end(query);
    coro_wake(waiter, 0);
}

// Whoever follows may meet other holders for ever.
static void forget_holders(struct query *query, uint64_t peer) {
    const void *key;
    for (uint64_t cursor = 0; map_next(&query->told, &cursor, &key, NULL);) {
        ac_ref holder;
        memcpy(&holder, key, sizeof holder);
        if (holder.peer == peer)
            map_take(&query->told, &holder, sizeof holder);
    }
}

static void lose_peer(struct query *query, uint64_t peer) {
    forget_holders(query, peer);
    if (!map_take_id(&query->asked, peer))
        return;
    if (query->collects) {
        collected(query);
    } else if (query->only == peer) {
        struct coro *waiter = query->waiter;
        query_end(query);
        coro_wake(waiter, -EHOSTUNREACH);
    }
}

void names_lost(struct remote *remote, uint64_t peer) {
    struct query *query;
    for (uint64_t cursor = 0; (query = map_next(&remote->queries, &cursor, NULL, NULL));)
        lose_peer(query, peer);
    struct cached *it;
    for (uint64_t cursor = 0; (it = map_next(&remote->cache, &cursor, NULL, NULL));)
        if (it->holder.peer == peer)
            cache_release(remote, it);
}

static void tell_follower(struct query *query, ac_ref holder) {
    if (map_put(&query->told, &holder, sizeof holder, query) < 0)
        return; // reported before
    ac_value notice = value_notice(ac_list("holder", holder, query->name));
    (void)message_deliver_here(query->remote->host, query->follower, notice);
}

static void answer_query(struct query *query, ac_ref holder) {
    if (!query->waiter) {
        tell_follower(query, holder);
        return;
    }
    struct coro *waiter = query->waiter;
    *query->answer = holder;
    query_end(query);
    coro_wake(waiter, 0);
}

static void take_refusal(struct query *query, uint64_t peer, int err) {
    if (!map_take_id(&query->asked, peer))
        return;
    query->refusal = err;
    if (query->collects) {
        collected(query);
    } else if (query->only == peer) {
        struct coro *waiter = query->waiter;
        query_end(query);
        coro_wake(waiter, err);
    }
}

static void collect(struct query *query, const struct arrival *arrival) {
    if (!map_take_id(&query->asked, arrival->peer))
        return;
    if (ac_ref_is(arrival->to) && query->count++ < query->room)
        query->answer[query->count - 1] = arrival->to;
    collected(query);
}

void names_found(struct remote *remote, const struct arrival *arrival) {
    struct query *query = map_get_id(&remote->queries, arrival->number);
    if (!query || !map_get_id(&query->asked, arrival->peer))
        return; // it answers what it was not asked
    if (arrival->result < 0)
        take_refusal(query, arrival->peer, arrival->result == -ENOBUFS ? -ENOBUFS : -EACCES);
    else if (ac_ref_is(arrival->to) && arrival->to.peer != arrival->peer)
        return;
    else if (query->collects)
        collect(query, arrival);
    else if (ac_ref_is(arrival->to)) {
        if (query->waiter && map_take_id(&query->asked, arrival->peer) && arrival->result > 0)
            cache(query, arrival->to);
        answer_query(query, arrival->to);
    }
}

static void found_here(struct remote *remote, const struct name *name) {
    struct query *query;
    for (uint64_t cursor = 0; (query = map_next(&remote->queries, &cursor, NULL, NULL));)
        if ((query->only == 0 || query->only == remote->host->peer) && !query->collects &&
            query->bytes == name->bytes && memcmp(query->name, name->text, name->bytes) == 0)
            answer_query(query, name->holder);
}

static int query_begin(struct remote *remote, struct query *query, const char *text, size_t bytes) {
    query->remote = remote;
    query->number = ++remote->number;
    query->bytes = (uint32_t)bytes;
    memcpy(query->name, text, bytes + 1);
    map_init(&query->asked);
    map_init(&query->told);
    return map_put_id(&remote->queries, query->number, query);
}

static bool abandon_locate(struct coro *coro) {
    query_end(coro->wait_for);
    return true;
}

// Asks and waits. Can wait.
static int query_wait(struct remote *remote, struct query *query, const char *text, size_t bytes,
                      ac_time deadline) {
    struct coro *self = query->waiter;
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    err = query_begin(remote, query, text, bytes);
    if (err < 0) {
        query_release(query);
        return err;
    }
    err = query_ask_all(query);
    bool here = query->only == remote->host->peer;
    bool nobody = map_count(&query->asked) == 0 && (query->collects || (query->only != 0 && !here));
    if (err < 0 || nobody) {
        query_end(query);
        return err < 0 || query->collects ? err : -EHOSTUNREACH;
    }
    self->wait_for = query;
    err = coro_wait(self, &locate_wait, deadline);
    return err == -ETIMEDOUT && query->refusal ? query->refusal : err;
}

// What is known without asking. `only`: of that peer alone; 0: of any.
static bool locate_at_once(struct remote *remote, const char *text, size_t bytes, uint64_t only,
                           ac_ref *holder) {
    const struct name *name = map_get(&remote->names, text, bytes);
    if (name && (only == 0 || only == remote->host->peer)) {
        *holder = name->holder;
        return true;
    }
    const struct cached *cached = map_get(&remote->cache, text, bytes);
    if (!cached || (only != 0 && only != cached->holder.peer))
        return false;
    *holder = cached->holder;
    return true;
}

int ac_locate(const char *text, ac_ref *holder, ac_time deadline) {
    struct coro *self = coro_here();
    size_t bytes;
    if (!self)
        return -EPERM;
    if (!name_is_good(text, &bytes))
        return -EINVAL;
    if (!remote_is_at_first(self->loop))
        return remote_ask_first(self->loop, REMOTE_LOCATE, text, holder, deadline);
    struct remote *remote = remote_need(self->loop);
    if (!remote)
        return -ENOMEM;
    if (locate_at_once(remote, text, bytes, 0, holder))
        return 0;
    struct query query = {.waiter = self, .answer = holder};
    return query_wait(remote, &query, text, bytes, deadline);
}

static int locate_at_from_elsewhere(struct loop *loop, const char *text, const char *address,
                                    ac_ref *holder, ac_time deadline) {
    char both[NAME_BYTES_MAX + 258];
    int count = snprintf(both, sizeof both, "%s\n%s", address, text);
    if (count < 0 || (size_t)count >= sizeof both || strchr(address, '\n'))
        return -EINVAL;
    return remote_ask_first(loop, REMOTE_LOCATE_AT, both, holder, deadline);
}

int ac_locate_at(const char *text, const char *address, ac_ref *holder, ac_time deadline) {
    struct coro *self = coro_here();
    size_t bytes;
    if (!self)
        return -EPERM;
    if (!name_is_good(text, &bytes) || !address)
        return -EINVAL;
    if (!remote_is_at_first(self->loop))
        return locate_at_from_elsewhere(self->loop, text, address, holder, deadline);
    struct remote *remote = remote_linked(self->loop);
    if (!remote)
        return -ENOTCONN;
    uint64_t peer;
    int err = peers_find(remote, address, &peer, deadline);
    if (err < 0 || locate_at_once(remote, text, bytes, peer, holder))
        return err;
    struct query query = {.waiter = self, .answer = holder, .only = peer};
    return query_wait(remote, &query, text, bytes, deadline);
}

// ---- all holders ----

static long locate_all(const char *text, size_t bytes, ac_ref *holders, size_t max,
                       ac_time deadline) {
    struct coro *self = coro_here();
    struct remote *remote = remote_need(self->loop);
    if (!remote)
        return -ENOMEM;
    struct query query = {.waiter = self, .answer = holders, .room = max, .collects = true};
    const struct name *name = map_get(&remote->names, text, bytes);
    if (name && query.count++ < max)
        holders[0] = name->holder;
    int err = query_wait(remote, &query, text, bytes, deadline);
    return err < 0 && err != -ETIMEDOUT && err != -EACCES ? err : (long)query.count;
}

// From another loop: the holders are written to a place of the errand's own.
struct collecting {
    struct errand errand;
    char text[NAME_BYTES_MAX + 1];
    size_t bytes;
    size_t max;
    ac_time deadline;
    long result;
    ac_ref holders[];
};

static void run_collecting(struct errand *errand) {
    struct collecting *it = container_of(errand, struct collecting, errand);
    it->result = locate_all(it->text, it->bytes, it->holders, it->max, it->deadline);
}

static void collecting_release(struct errand *errand) {
    memory_release(container_of(errand, struct collecting, errand));
}

static long locate_all_from_elsewhere(struct loop *loop, const char *text, size_t bytes,
                                      ac_ref *holders, size_t max, ac_time deadline) {
    struct collecting *it = memory_allocate_zeroed(sizeof *it + max * sizeof *holders);
    if (!it)
        return -ENOMEM;
    it->errand = (struct errand){
        .run = run_collecting, .orphaned = collecting_release, .waits = true};
    memcpy(it->text, text, bytes);
    it->bytes = bytes;
    it->max = max;
    it->deadline = deadline;
    // The first loop sees to the deadline, and what it has found by then is wanted.
    int err = errand_do(team_loop(loop, 0), &it->errand, AC_FOREVER);
    if (err < 0 && err != -ENOMEM)
        return err;
    long count = err < 0 ? err : it->result;
    for (long i = 0; i < count && (size_t)i < max; i++)
        holders[i] = it->holders[i];
    memory_release(it);
    return count;
}

long ac_locate_all(const char *text, ac_ref *holders, size_t max, ac_time deadline) {
    struct coro *self = coro_here();
    size_t bytes;
    if (!self)
        return -EPERM;
    if (!name_is_good(text, &bytes) || (max > 0 && !holders))
        return -EINVAL;
    max = max < FABRIC_PEERS_MAX + 1 ? max : FABRIC_PEERS_MAX + 1;
    return remote_is_at_first(self->loop)
               ? locate_all(text, bytes, holders, max, deadline)
               : locate_all_from_elsewhere(self->loop, text, bytes, holders, max, deadline);
}

// ---- following ----

static void follower_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    query_end(container_of(watch, struct query, watch));
}

int remote_follow(const char *text) {
    struct coro *self = coro_here();
    size_t bytes;
    if (!self)
        return -EPERM;
    if (!name_is_good(text, &bytes))
        return -EINVAL;
    struct remote *remote = remote_linked(self->loop);
    if (!remote)
        return -ENOTCONN;
    struct query *query = memory_allocate_zeroed(sizeof *query);
    if (!query)
        return -ENOMEM;
    query->follower = coro_ref(self);
    query->watch.ended = follower_ended;
    int err = query_begin(remote, query, text, bytes);
    if (err < 0) {
        query_release(query);
        return err;
    }
    err = query_ask_all(query);
    if (err < 0) {
        query_end(query);
        return err;
    }
    coro_watch(self, &query->watch);
    struct name *name = map_get(&remote->names, text, bytes);
    if (name)
        tell_follower(query, name->holder);
    return 0;
}

bool remote_holder_of(ac_value message, ac_ref *holder) {
    ac_value list = value_notice_list(message);
    const char *kind = NULL, *name;
    ac_ref ref;
    bool is = list.kind == AC_LIST && ac_unpack(list, &kind, &ref, &name) == 0 &&
              strcmp(kind, "holder") == 0;
    if (is)
        *holder = ref;
    ac_drop(list);
    return is;
}

void names_done(struct remote *remote) {
    struct name *name;
    for (uint64_t cursor = 0; (name = map_next(&remote->names, &cursor, NULL, NULL));) {
        coro_unwatch(&name->watch);
        memory_release(name);
    }
    map_done(&remote->names);
    struct followers *followers;
    for (uint64_t cursor = 0; (followers = map_next(&remote->followers, &cursor, NULL, NULL));) {
        struct list *link;
        while ((link = list_take(&followers->all)))
            memory_release(container_of(link, struct follower, link));
        memory_release(followers);
    }
    map_done(&remote->followers);
    map_done(&remote->queries);
    struct cached *cached;
    for (uint64_t cursor = 0; (cached = map_next(&remote->cache, &cursor, NULL, NULL));)
        memory_release(cached);
    map_done(&remote->cache);
    map_done(&remote->cached);
}
