// SPDX-License-Identifier: MIT
// Names: given here to coroutines and channels; looked for here and at all peers.
//
// A LOCATE stays open at the peer that was asked until it is answered (once) or forgotten: so a
// name given later is found when it is given, and no peer need say "no". Peers that appear while a
// query is open are asked as they appear; the query is sent again to a peer that was lost and met
// again.
//
// The names given here and the peers that follow them are shared with the guest side, which answers
// while the host computes.
#include "remote/remote_private.h"

static bool abandon_locate(struct coro *coro);
static const struct wait_kind locate_wait = {"locate", abandon_locate, .until_deadline = false};

static bool name_is_good(const char *name, size_t *bytes) {
    *bytes = name ? strnlen(name, NAME_BYTES_MAX + 1) : 0;
    return *bytes > 0 && *bytes <= NAME_BYTES_MAX;
}

// ---- those who follow from elsewhere: shared ----

static void send_found(struct remote *remote, uint64_t peer, uint64_t number, ac_ref holder) {
    struct head head = {0};
    head_put(&head, number);
    uint8_t scratch[16];
    ac_value value = ac_of_ref(holder);
    (void)remote_frame(remote, peer, FRAME_FOUND, &head, value_encoded(value, scratch),
                       FABRIC_ALWAYS);
    ac_drop(value);
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

static void follower_add(struct remote *remote, struct remote_peer *peer, uint64_t number,
                         ac_span name, bool once) {
    struct follower *follower = memory_allocate(sizeof *follower);
    if (!follower || map_put_id(&peer->follows, number, follower) < 0) {
        memory_release(follower); // no memory, or the peer draws its numbers badly
        return;
    }
    struct followers *followers = followers_need(remote, name);
    if (!followers) {
        map_take_id(&peer->follows, number);
        memory_release(follower);
        return;
    }
    *follower = (struct follower){
        .of = followers, .peer = peer->id, .number = number, .once = once};
    list_init(&follower->link);
    list_append(&followers->all, &follower->link);
}

// Takes out one who follows, and the name with the last one.
static void follower_drop(struct remote *remote, struct follower *follower) {
    struct followers *followers = follower->of;
    follower_release(remote, follower);
    if (list_empty(&followers->all))
        followers_release(remote, followers);
}

void names_asked(struct remote *remote, struct remote_peer *peer, uint64_t number, ac_span name,
                 bool once) {
    struct name *given = map_get(&remote->names, name.at, name.bytes);
    if (given)
        send_found(remote, peer->id, number, given->holder);
    if (!(given && once) && map_count(&peer->follows) < FOLLOWERS_MAX)
        follower_add(remote, peer, number, name, once);
}

void names_refuse(struct remote *remote, const struct remote_peer *peer, uint64_t number) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, -EACCES);
    (void)remote_frame(remote, peer->id, FRAME_FOUND, &head, (ac_span){0}, FABRIC_ALWAYS);
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
        send_found(remote, it->peer, it->number, name->holder);
        if (it->once)
            follower_release(remote, it);
    }
    if (list_empty(&followers->all))
        followers_release(remote, followers);
}

// ---- names given here: host side ----

static void name_release(struct name *name) {
    remote_enter(name->remote);
    map_take(&name->remote->names, name->text, name->bytes);
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
        struct head head = {0};
        head_put(&head, query->number);
        remote_enter(remote);
        const void *key;
        for (uint64_t cursor = 0; map_next(&query->asked, &cursor, &key, NULL);) {
            uint64_t peer;
            memcpy(&peer, key, sizeof peer);
            (void)remote_frame(remote, peer, FRAME_FORGET, &head, (ac_span){0}, FABRIC_ALWAYS);
        }
        remote_leave(remote);
    }
    query_release(query);
}

// Asks one peer, unless it has been asked. Inside the guest. 0 or -ENOMEM: one that cannot be
// reached has no say.
static int query_ask(struct query *query, uint64_t peer) {
    struct head head = {0};
    head_put(&head, query->number);
    head.count += cbor_put_head(head.bytes + head.count, 3, query->bytes);
    uint8_t tail[NAME_BYTES_MAX + 1];
    memcpy(tail, query->name, query->bytes);
    tail[query->bytes] = query->waiter ? 0xf5 : 0xf4; // CBOR true: once
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
        err = query_ask(query, peers[i].id);
    remote_leave(remote);
    memory_release(peers);
    return err;
}

void names_met(struct remote *remote, uint64_t peer) {
    struct query *query;
    remote_enter(remote);
    for (uint64_t cursor = 0; (query = map_next(&remote->queries, &cursor, NULL, NULL));)
        if (query_ask(query, peer) < 0)
            trace(TRACE_REMOTE, "peer %016llx is not asked: no memory", (unsigned long long)peer);
    remote_leave(remote);
}

void names_lost(struct remote *remote, uint64_t peer) {
    struct query *query;
    for (uint64_t cursor = 0; (query = map_next(&remote->queries, &cursor, NULL, NULL));)
        map_take_id(&query->asked, peer);
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

void names_found(struct remote *remote, const struct arrival *arrival) {
    struct query *query = map_get_id(&remote->queries, arrival->number);
    if (query && arrival->result < 0 && map_take_id(&query->asked, arrival->peer))
        query->refused = true;
    if (!query || arrival->result < 0 || arrival->to.peer != arrival->peer)
        return;
    if (query->waiter)
        map_take_id(&query->asked, arrival->peer);
    answer_query(query, arrival->to);
}

static void found_here(struct remote *remote, const struct name *name) {
    struct query *query;
    for (uint64_t cursor = 0; (query = map_next(&remote->queries, &cursor, NULL, NULL));)
        if (query->bytes == name->bytes && memcmp(query->name, name->text, name->bytes) == 0)
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
    struct name *name = map_get(&remote->names, text, bytes);
    if (name) {
        *holder = name->holder;
        return 0;
    }
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct query query = {.waiter = self, .answer = holder};
    err = query_begin(remote, &query, text, bytes);
    if (err < 0) {
        query_release(&query);
        return err;
    }
    err = query_ask_all(&query);
    if (err < 0) {
        query_end(&query);
        return err;
    }
    self->wait_for = &query;
    err = coro_wait(self, &locate_wait, deadline);
    return err == -ETIMEDOUT && query.refused ? -EACCES : err;
}

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
}
