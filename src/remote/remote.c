// SPDX-License-Identifier: MIT
// The network of a loop: starting and stopping it; the way from the guest to the host, and who
// handles what has come it. See remote_private.h for the two sides.
#include "remote/remote_private.h"

#include <stdio.h>
#include <stdlib.h>

enum { STOP_SECONDS = 5, LIMIT_SECONDS_MAX = 1000000 };

static void on_met(void *up, uint64_t peer);
static void on_linked(void *up, uint64_t peer);
static void on_lost(void *up, uint64_t peer, int reason);
static void on_room(void *up, uint64_t peer);
static void on_reached(void *up, void *token, uint64_t peer, int err);
static void run_arrivals(struct post *post);

static const struct fabric_door fabric_door = {
    .frame = incoming_frame,
    .met = on_met,
    .linked = on_linked,
    .lost = on_lost,
    .room = on_room,
    .reached = on_reached,
    .describe = show_describe,
};

static const struct message_door message_up = {
    .send = send_far,
    .deliver = deliver_far,
    .monitor = monitor_far,
    .watch = watch_far,
    .unwatch = unwatch_far,
    .subscribe = subscribe_far,
    .pass = pass_far,
    .closed = closed_far,
};

static const struct coro_door coro_up = {.cancel = cancel_far, .join = join_far};

// ---- start and stop ----

static void stopping(struct loop *loop, void *state);
static void done(struct loop *loop, void *state);

struct remote *remote_need(struct loop *loop) {
    struct remote *remote = remote_of(loop);
    if (remote)
        return remote;
    remote = memory_allocate_zeroed(sizeof *remote);
    if (!remote)
        return NULL;
    remote->host = loop;
    buffer_init(&remote->spare_bytes);
    remote->post.run = run_arrivals;
    map_init(&remote->names);
    map_init(&remote->followers);
    map_init(&remote->peers);
    map_init(&remote->delivers);
    map_init(&remote->reaches);
    map_init(&remote->monitors);
    map_init(&remote->common);
    list_init(&remote->idle);
    map_init(&remote->queries);
    map_init(&remote->questions);
    map_init(&remote->cache);
    map_init(&remote->cached);
    map_init(&remote->sending);
    list_init(&remote->room);
    list_init(&remote->begin);
    map_init(&remote->watched);
    map_init(&remote->burdens);
    map_init(&remote->outboxes);
    map_init(&remote->functions);
    map_init(&remote->grants);
    map_init(&remote->guards);
    map_init(&remote->limits);
    map_init(&remote->present);
    map_init(&remote->watchers);
    loop_extend(loop, LOOP_REMOTE, (struct loop_extra){remote, stopping, done});
    return remote;
}

// A port of its own keeps tests and separate worlds of one user apart: so one that cannot be
// understood is not passed over. 0 if nothing is said, or -EINVAL.
static long discovery_port_of(const struct ac_network_options *options) {
    const char *text = getenv("ASYNCORO_DISCOVERY_PORT");
    if (options->discovery_port || options->no_discovery || !text || !*text)
        return options->discovery_port;
    char *end;
    long port = strtol(text, &end, 10);
    return *end == '\0' && port > 0 && port <= UINT16_MAX ? port : -EINVAL;
}

static bool variable_is_one(const char *name) {
    const char *text = getenv(name);
    return text && strcmp(text, "1") == 0;
}

// Seconds as the fabric wants them. What is too much for the clock is as good as for ever.
static ac_time limit_of(double seconds) {
    if (!(seconds > 0))
        return seconds < 0 ? 1 : 0; // 0, and what is no number, means the default
    return seconds < LIMIT_SECONDS_MAX ? (ac_time)(seconds * 1e9) + 1
                                       : LIMIT_SECONDS_MAX * (ac_time)1000000000;
}

static struct fabric_options fabric_options_of(struct loop *loop,
                                               const struct ac_network_options *options,
                                               const struct key_ring *keys, const char *name) {
    return (struct fabric_options){
        .peer = loop->peer,
        .name = name,
        .port = options->port,
        .loopback_only = options->loopback_only,
        .no_discovery = options->no_discovery,
        .discovery_port = (uint16_t)discovery_port_of(options),
        .key_path = options->key_file,
        .certificate = options->certificate,
        .certificate_key = options->certificate_key,
        .authority = options->authority,
        .revoked = options->revoked,
        .peer_names = options->peer_names,
        .key = keys ? keys->keys[0] : NULL,
        .key_count = keys ? keys->count : 0,
        .allow = options->allow,
        .deny = options->deny,
        .beacons_allow = options->beacons_allow,
        .beacons_deny = options->beacons_deny,
        .advertise = options->advertise ? options->advertise : getenv("ASYNCORO_ADVERTISE"),
        .introduces = options->introduces || variable_is_one("ASYNCORO_INTRODUCES"),
        .heartbeat = limit_of(options->heartbeat_s),
        .grace = limit_of(options->grace_s),
    };
}

static void default_name(char name[64]) {
    char host[32];
    sys_host_name(host, sizeof host);
    snprintf(name, 64, "%.28s@%s", sys_program_name(), host);
}

static int explain(struct remote *remote, int err, const char *why) {
    snprintf(remote->error, sizeof remote->error, "the network cannot be started: %s", why);
    return err;
}

int remote_start(struct loop *loop, const struct ac_network_options *options,
                 const struct key_ring *keys) {
    struct remote *remote = remote_need(loop);
    if (!remote)
        return -ENOMEM;
    remote->error[0] = '\0';
    if (loop->number != 0)
        return explain(remote, -ENOTSUP, "it is the first loop of a program that starts it");
    if (remote->fabric)
        return explain(remote, -EALREADY, "the network of this thread is started already");
    if (discovery_port_of(options) < 0)
        return explain(remote, -EINVAL, "ASYNCORO_DISCOVERY_PORT is no port from 1 to 65535");
    int err = rights_begin(remote, options);
    if (err < 0)
        return explain(remote, err,
                       err == -EINVAL ? "a rule of rights names no network, as "
                                        "\"192.168.7.0/24\" does"
                                      : ac_strerror(err));
    err = message_set_door(loop, &message_up);
    if (!err)
        err = seek_start(remote, options);
    if (err < 0)
        return explain(remote, err, ac_strerror(err));
    remote->guest = guest_create(loop, &sys_chosen, &err);
    if (!remote->guest)
        return explain(remote, err, ac_strerror(err));
    remote->unseen = options->unseen;
    char name[64];
    default_name(name);
    struct fabric_options how = fabric_options_of(loop, options, keys,
                                                  options->name ? options->name : name);
    guest_enter(remote->guest);
    struct fabric *fabric = fabric_open(remote->guest, &how, &fabric_door, remote, &err,
                                        remote->error);
    __atomic_store_n(&remote->fabric, fabric, __ATOMIC_RELEASE);
    guest_leave(remote->guest);
    memory_comes_and_goes(); // with large messages
    if (!fabric) {
        seek_stop(remote);
        guest_destroy(remote->guest);
        remote->guest = NULL;
        (void)message_set_door(loop, NULL);
        return err;
    }
    __atomic_store_n(&loop->door, &coro_up, __ATOMIC_RELEASE);
    return 0;
}

int ac_network_start_with(const struct ac_network_options *options) {
    static const struct ac_network_options defaults;
    int err = 0;
    struct loop *loop = loop_need(&err);
    return loop ? remote_start(loop, options ? options : &defaults, NULL) : err;
}

const char *ac_network_error(void) {
    struct remote *remote = loop_here ? remote_of(loop_here) : NULL;
    return remote ? remote->error : "";
}

static void close_fabric(struct remote *remote, ac_time until) {
    remote_enter(remote);
    fabric_close(remote->fabric, until);
    remote_leave(remote);
    send_stop(remote);
    watch_stop(remote);
}

static bool is_closed(struct remote *remote) {
    remote_enter(remote);
    bool closed = fabric_is_closed(remote->fabric);
    remote_leave(remote);
    return closed;
}

// Waits until what is on its way has left, says goodbye and waits until that is done. Its sleeps
// end whether or not it is cancelled.
static ac_value say_goodbye(ac_value argument) {
    struct remote *remote = ac_pointer_of(argument);
    ac_time until = ac_after(STOP_SECONDS);
    while ((remote->carriers > 0 || outbox_is_busy(remote)) && ac_now() < until)
        (void)ac_sleep(0.001);
    close_fabric(remote, until);
    for (double pause = 0.0002;; pause = pause < 0.005 ? pause * 2 : pause) {
        if (is_closed(remote))
            return ac_nil;
        (void)ac_sleep(pause);
    }
}

static void stopping(struct loop *loop, void *state) {
    struct remote *remote = state;
    if (!remote->fabric)
        return;
    int err = 0;
    if (coro_create(loop, say_goodbye, ac_of_pointer(remote), NULL, true, &err))
        return;
    trace(TRACE_REMOTE, "no coroutine to say goodbye: %s", ac_strerror(err));
    close_fabric(remote, AC_NOW);
}

// Where no memory was left for a coroutine that says goodbye, or for its stack.
static void end_fabric(struct loop *loop, struct remote *remote) {
    if (is_closed(remote))
        return;
    ac_time until = sys_now(loop->sys) + (ac_time)(STOP_SECONDS * 1e9);
    remote_enter(remote);
    fabric_close(remote->fabric, AC_NOW);
    remote_leave(remote);
    while (!is_closed(remote) && sys_now(loop->sys) < until)
        (void)loop_turn(loop);
}

static void release_streams(struct remote_peer *peer) {
    struct stream *stream;
    for (uint64_t cursor = 0; (stream = map_next(&peer->streams, &cursor, NULL, NULL));) {
        buffer_done(&stream->bytes);
        memory_release(stream);
    }
    map_done(&peer->streams);
    map_done(&peer->follows);
}

static void release_peer(struct remote_peer *peer) {
    release_streams(peer);
    memory_release(peer->loss);
    memory_release(peer);
}

static void release_all(struct map *map) {
    void *it;
    for (uint64_t cursor = 0; (it = map_next(map, &cursor, NULL, NULL));)
        memory_release(it);
    map_done(map);
}

// Releases what it carries.
static void arrival_empty(struct arrival *arrival) {
    ac_drop(arrival->value);
    memory_release(arrival->ids);
}

static void drop_arrivals(struct remote *remote) {
    struct arrival *arrival;
    while ((arrival = remote->first)) {
        remote->first = arrival->next;
        arrival_empty(arrival);
        memory_release(arrival);
    }
    while ((arrival = remote->spare)) {
        remote->spare = arrival->next;
        memory_release(arrival);
    }
    buffer_done(&remote->spare_bytes);
}

static void done(struct loop *loop, void *state) {
    struct remote *remote = state;
    if (remote->fabric)
        end_fabric(loop, remote);
    __atomic_store_n(&loop->door, NULL, __ATOMIC_RELEASE);
    (void)message_set_door(loop, NULL);
    if (remote->fabric) {
        fabric_free(remote->fabric);
        guest_destroy(remote->guest);
    }
    drop_arrivals(remote);
    names_done(remote);
    transfer_done(remote);
    struct remote_peer *peer;
    for (uint64_t cursor = 0; (peer = map_next(&remote->peers, &cursor, NULL, NULL));)
        release_peer(peer);
    map_done(&remote->peers);
    map_done(&remote->delivers);
    map_done(&remote->reaches);
    map_done(&remote->questions);
    watch_done(remote);
    presence_done(remote);
    release_all(&remote->watched);
    release_all(&remote->burdens);
    map_done(&remote->outboxes);
    functions_done(remote);
    rights_done(remote);
    release_all(&remote->sending);
    loop->extra[LOOP_REMOTE].state = NULL;
    memory_release(remote);
}

// ---- frames out ----

int remote_frame(struct remote *remote, uint64_t peer, enum frame_type type,
                 const struct head *head, ac_span value, enum fabric_way way) {
    ac_span parts[3] = {{head->bytes, head->count}};
    size_t count = 1;
    if (head->more.bytes > 0)
        parts[count++] = head->more;
    if (value.bytes > 0)
        parts[count++] = value;
    int err = fabric_send(remote->fabric, peer, type, parts, count, way);
    if (unlikely(err == 0 && !remote_peer_need(remote, peer))) {
        // Who waits for an answer could not be told of the loss of the peer.
        fabric_lose(remote->fabric, peer, -ENOTCONN);
        return -ENOMEM;
    }
    return err;
}

int remote_frame_now(struct remote *remote, uint64_t peer, enum frame_type type,
                     const struct head *head, ac_span value, enum fabric_way way) {
    remote_enter(remote);
    int err = remote_frame(remote, peer, type, head, value, way);
    remote_leave(remote);
    return err;
}

void remote_tell(struct remote *remote, uint64_t peer, enum frame_type type,
                 const struct head *head, enum fabric_way way) {
    if (remote_frame(remote, peer, type, head, (ac_span){0}, way) == -ENOMEM)
        remote_give_up(remote, peer);
}

void remote_tell_now(struct remote *remote, uint64_t peer, enum frame_type type,
                     const struct head *head, enum fabric_way way) {
    remote_enter(remote);
    remote_tell(remote, peer, type, head, way);
    remote_leave(remote);
}

// ---- giving up ----

void remote_give_up(struct remote *remote, uint64_t id) {
    struct remote_peer *peer = remote_peer_find(remote, id);
    trace(TRACE_REMOTE, "peer %016llx is given up", (unsigned long long)id);
    if (peer)
        peer->given_up = true;
    fabric_lose(remote->fabric, id, -ENOTCONN);
}

void remote_give_up_now(struct remote *remote, uint64_t peer) {
    remote_enter(remote);
    remote_give_up(remote, peer);
    remote_leave(remote);
}

// ---- arrivals: guest side ----

static struct arrival *arrival_take(struct remote *remote) {
    struct arrival *arrival = remote->spare;
    if (!arrival)
        return memory_allocate_zeroed(sizeof *arrival);
    remote->spare = arrival->next;
    remote->spares--;
    *arrival = (struct arrival){0};
    return arrival;
}

// `from`: the record of the peer, or NULL.
static struct arrival *arrival_queue(struct remote *remote, struct arrival *arrival,
                                     enum arrival_kind kind, uint64_t peer,
                                     struct remote_peer *from) {
    arrival->kind = kind;
    arrival->peer = peer;
    arrival->from = from;
    if (from) {
        from->arrivals++;
        arrival->era = from->era;
    }
    if (remote->first)
        remote->last->next = arrival;
    else
        remote->first = arrival;
    remote->last = arrival;
    remote_call_host(remote);
    return arrival;
}

struct arrival *remote_arrival(struct remote *remote, enum arrival_kind kind, uint64_t id) {
    struct remote_peer *from = remote_peer_record(remote, id);
    if (unlikely(from && from->arrivals >= ARRIVALS_MAX)) {
        remote_give_up(remote, id);
        return NULL;
    }
    struct arrival *arrival = arrival_take(remote);
    if (arrival)
        return arrival_queue(remote, arrival, kind, id, from);
    trace(TRACE_REMOTE, "no memory: something of peer %016llx is lost", (unsigned long long)id);
    return NULL;
}

void remote_call_host(struct remote *remote) {
    if (remote->posted)
        return;
    remote->posted = true;
    loop_post(remote->host, &remote->post);
}

// ---- arrivals: host side ----

static void answer_from_host(struct remote *remote, uint64_t peer, uint64_t number, int count) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, count);
    remote_tell_now(remote, peer, FRAME_ANSWER, &head, FABRIC_URGENT);
}

// A DELIVER to something of another loop: goes there as a post and comes back with the count.
struct passing {
    struct post post;
    struct remote *remote;
    struct loop *there;
    uint64_t peer;
    uint64_t number;
    ac_ref to;
    ac_value message; // owned on the way there
    int count;
};

static void passing_is_back(struct post *post) {
    struct passing *it = container_of(post, struct passing, post);
    answer_from_host(it->remote, it->peer, it->number, it->count);
    memory_release(it);
}

static void passing_is_there(struct post *post) {
    struct passing *it = container_of(post, struct passing, post);
    it->count = message_arrive(it->there, it->to, it->message, false);
    it->post.run = passing_is_back;
    team_post(it->there, it->remote->host, &it->post);
}

// Passes a message on to another loop. Takes its value.
static void pass_on(struct remote *remote, struct arrival *arrival, struct loop *there) {
    ac_value message = value_detach(arrival->value);
    arrival->value = ac_nil;
    if (arrival->number == 0) {
        int err = ac_try_send_value(arrival->to, message);
        if (err < 0)
            trace(TRACE_REMOTE, "a message for another loop is lost: %s", ac_strerror(err));
        return;
    }
    struct passing *it = memory_allocate(sizeof *it);
    if (!it || message.kind == AC_INVALID) {
        ac_drop(message);
        memory_release(it);
        answer_from_host(remote, arrival->peer, arrival->number, -ENOMEM);
        return;
    }
    *it = (struct passing){.post.run = passing_is_there,
                           .remote = remote,
                           .there = there,
                           .peer = arrival->peer,
                           .number = arrival->number,
                           .to = arrival->to,
                           .message = message};
    team_post(remote->host, there, &it->post);
}

static void take_message(struct remote *remote, struct arrival *arrival) {
    struct loop *there = team_loop(remote->host, ref_loop(arrival->to.id));
    if (there && there != remote->host) {
        pass_on(remote, arrival, there);
        return;
    }
    bool promised = arrival->result != 0;
    int count = there ? message_arrive(remote->host, arrival->to, arrival->value, promised)
                      : -ESRCH;
    if (there)
        arrival->value = ac_nil;
    if (arrival->number != 0)
        answer_from_host(remote, arrival->peer, arrival->number, count);
}

// A message for another loop is copied for each receiver there: what a peer may have copied by one
// frame is bounded, and the rest is dropped.
static void take_spread(struct remote *remote, const struct arrival *arrival) {
    struct arrival one = {.peer = arrival->peer, .to.peer = remote->host->peer};
    uint8_t scratch[16];
    size_t bytes = value_encoded(arrival->value, scratch).bytes, copied = 0;
    for (uint32_t i = 0; i < arrival->count; i++) {
        one.to.id = arrival->ids[i];
        if (ref_loop(one.to.id) != remote->host->number) {
            if (bytes > AC_VALUE_BYTES_MAX - copied) {
                trace(TRACE_REMOTE, "messages for other loops are lost: too much at once");
                continue;
            }
            copied += bytes;
        }
        one.value = ac_hold(arrival->value);
        take_message(remote, &one);
        ac_drop(one.value);
    }
}

// A dispatch: each kind of arrival has its handler.
static void take_arrival(struct remote *remote, struct arrival *arrival) {
    switch (arrival->kind) {
    case ARRIVED_MESSAGE: take_message(remote, arrival); break;
    case ARRIVED_SPREAD: take_spread(remote, arrival); break;
    case ARRIVED_ANSWER: send_answered(remote, arrival); break;
    case ARRIVED_MONITOR: watch_asked(remote, arrival); break;
    case ARRIVED_CANCEL: cancel_asked(remote, arrival); break;
    case ARRIVED_UNWATCH: watch_left(remote, arrival); break;
    case ARRIVED_SUBSCRIBE: subscribe_asked(remote, arrival); break;
    case ARRIVED_CLOSED: subscribe_closed(remote, arrival); break;
    case ARRIVED_FILE: transfer_arrived(remote, arrival); break;
    case ARRIVED_EXIT: watch_exit(remote, arrival); break;
    case ARRIVED_ASKED: ask_arrived(remote, arrival); break;
    case ARRIVED_TOLD: ask_told(remote, arrival); break;
    case ARRIVED_FOUND: names_found(remote, arrival); break;
    case ARRIVED_CALL: function_called(remote, arrival); break;
    case ARRIVED_STARTED: function_started(remote, arrival); break;
    case ARRIVED_RIGHTS: rights_told(remote, arrival); break;
    case ARRIVED_LEFT: names_left(remote, arrival); break;
    case ARRIVED_MET:
        presence_met(remote, arrival->peer);
        names_met(remote, arrival->peer);
        break;
    case ARRIVED_LOST:
        send_lost(remote, arrival->peer);
        outbox_lost(remote, arrival->peer);
        watch_lost(remote, arrival->peer, (int)arrival->result);
        names_lost(remote, arrival->peer);
        ask_lost(remote, arrival->peer);
        map_take_id(&remote->limits, arrival->peer);
        transfer_lost(remote, arrival->peer);
        presence_lost(remote, arrival->peer, (int)arrival->result);
        break;
    case ARRIVED_ROOM: send_room(remote, arrival->peer); break;
    case ARRIVED_REACHED: peers_reached(remote, arrival); break;
    }
}

// A run of arrivals of one peer that have been handed over.
struct taken {
    struct remote *remote;
    struct remote_peer *from; // NULL: nobody
    uint32_t era;
    uint32_t count;
    size_t bytes; // which the fabric is told
    size_t whole; // of messages that came in pieces
};

static void flush_taken(struct taken *taken) {
    struct remote_peer *peer = taken->from;
    if (!peer || taken->count == 0)
        return;
    remote_enter(taken->remote);
    peer->arrivals -= taken->count;
    // What belongs to an earlier link was forgotten with it.
    if (peer->loss && peer->era == taken->era) {
        peer->whole_bytes -= taken->whole;
        if (taken->whole > 0) {
            taken->bytes += peer->withheld;
            peer->withheld = 0;
        }
        if (taken->bytes > 0)
            fabric_taken(taken->remote->fabric, peer->id, taken->bytes);
    }
    if (!peer->loss && peer->arrivals == 0) {
        map_take_id(&taken->remote->peers, peer->id);
        taken->remote->latest = NULL;
        release_peer(peer);
    }
    remote_leave(taken->remote);
}

static void note_taken(struct taken *taken, const struct arrival *arrival) {
    if (taken->from != arrival->from || taken->era != arrival->era) {
        flush_taken(taken);
        *taken = (struct taken){
            .remote = taken->remote, .from = arrival->from, .era = arrival->era};
    }
    taken->count++;
    taken->bytes += arrival->bytes;
    taken->whole += arrival->whole;
}

// Keeps the memory of arrivals for the next ones: whoever sends much sends more.
static void keep_arrivals(struct remote *remote, struct arrival *done) {
    remote_enter(remote);
    while (done && remote->spares < SPARE_ARRIVALS_MAX) {
        struct arrival *next = done->next;
        done->next = remote->spare;
        remote->spare = done;
        remote->spares++;
        done = next;
    }
    remote_leave(remote);
    while (done) {
        struct arrival *next = done->next;
        memory_release(done);
        done = next;
    }
}

static void run_arrivals(struct post *post) {
    struct remote *remote = container_of(post, struct remote, post);
    remote_enter(remote);
    struct arrival *arrival = remote->first;
    remote->first = remote->last = NULL;
    remote->posted = false;
    uint64_t lost = remote->lost;
    remote->lost = 0;
    remote_leave(remote);
    if (lost > 0)
        message_lost(remote->host, lost);
    struct taken taken = {.remote = remote};
    struct arrival *done = NULL;
    while (arrival) {
        struct arrival *next = arrival->next;
        note_taken(&taken, arrival);
        take_arrival(remote, arrival);
        arrival_empty(arrival);
        arrival->next = done;
        done = arrival;
        arrival = next;
    }
    flush_taken(&taken);
    keep_arrivals(remote, done);
}

// ---- news of peers: guest side ----

// Whoever is not known here, for want of memory, is met again later.
static void on_met(void *up, uint64_t peer) {
    if (!remote_peer_need(up, peer) || !remote_arrival(up, ARRIVED_MET, peer))
        remote_give_up(up, peer);
}

static void on_linked(void *up, uint64_t peer) {
    rights_linked(up, peer);
    trace(TRACE_REMOTE, "linked with peer %016llx", (unsigned long long)peer);
}

static void on_lost(void *up, uint64_t peer, int reason) {
    struct remote *remote = up;
    trace(TRACE_REMOTE, "lost peer %016llx: %s", (unsigned long long)peer, ac_strerror(reason));
    rights_lost(remote, peer);
    ask_note_loss(remote, reason);
    struct remote_peer *gone = remote_peer_find(remote, peer);
    if (!gone)
        return; // nobody has to do with it
    struct arrival *loss = gone->loss;
    names_peer_gone(remote, gone);
    release_streams(gone);
    *gone = (struct remote_peer){.id = peer, .arrivals = gone->arrivals, .era = gone->era + 1};
    arrival_queue(remote, loss, ARRIVED_LOST, peer, gone)->result = reason;
}

static void on_room(void *up, uint64_t peer) {
    if (!remote_arrival(up, ARRIVED_ROOM, peer))
        remote_give_up(up, peer); // those who wait for it learn at least that
}

static void on_reached(void *up, void *token, uint64_t peer, int err) {
    struct arrival *arrival = remote_arrival(up, ARRIVED_REACHED, peer);
    if (!arrival)
        return;
    arrival->number = (uintptr_t)token;
    arrival->result = err;
}

// ---- for the cluster ----

bool remote_is_started(struct loop *loop) { return remote_linked(loop) != NULL; }

int remote_keys(struct loop *loop, struct key_ring *keys) {
    struct remote *remote = remote_linked(loop);
    if (!remote)
        return -ENOTCONN;
    remote_enter(remote);
    *keys = *fabric_keys(remote->fabric);
    remote_leave(remote);
    return 0;
}

struct sys_address remote_address(struct loop *loop) {
    struct remote *remote = remote_seen(loop);
    struct sys_address address = {0};
    if (remote) {
        remote_enter(remote);
        address = fabric_address(remote->fabric);
        remote_leave(remote);
    }
    return address;
}

int remote_introduce(struct loop *loop, uint64_t peer, const struct sys_address *address) {
    struct remote *remote = remote_linked(loop);
    if (!remote)
        return -ENOTCONN;
    remote_enter(remote);
    int err = fabric_introduce(remote->fabric, peer, address);
    remote_leave(remote);
    return err;
}

bool remote_find(struct loop *loop, uint64_t peer, struct sys_address *address) {
    struct remote *remote = remote_seen(loop);
    struct fabric_peer found;
    if (!remote)
        return false;
    remote_enter(remote);
    bool known = fabric_peer_find(remote->fabric, peer, &found);
    remote_leave(remote);
    if (known)
        *address = found.address;
    return known;
}

uint64_t remote_bytes_to(struct loop *loop, uint64_t peer) {
    struct remote *remote = remote_seen(loop);
    if (!remote)
        return 0;
    remote_enter(remote);
    uint64_t bytes = fabric_bytes_to(remote->fabric, peer);
    remote_leave(remote);
    return bytes;
}
