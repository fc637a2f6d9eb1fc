// SPDX-License-Identifier: MIT
// The functions of the face, the peers and what happens to their links, the ticker, and the end.
//
// A peer and its link:
//
//            fabric_send, reach          connected                 connection breaks
//     NONE ----------------------> OPENING ---------> UP -------------------------------> BROKEN
//      ^ ^                            |               | ^                                   | |
//      | +------- lost: grace over, nobody listens ---+ |  +------ resumed within grace ----+ |
//      |                                      goodbye, | silence                              |
//      +------------------ lost -----------------------+--------------------------------------+
//
// While a link is OPENING or BROKEN the peer's dialer (tcp.c) tries to connect. Who decides that a
// peer is lost:
//   the dialer   nobody listens there any more, or another process does: -ECONNRESET
//   the reader   goodbye: -ECONNRESET; a breach of the protocol: -ENOTCONN
//   the ticker   nothing heard for the heartbeat limit: -ETIMEDOUT; grace over: -ENOTCONN
// No function of the face decides it, so that the door is never called from inside one of them.
//
// The ticker also starts what could not be started for want of memory: listeners, dialers,
// discovery. So the opening of a fabric has one coroutine to start, as its last step, and needs no
// undoing after it.
//
// A lost peer is remembered for its address for REMEMBER_NS; one whose process is gone for GONE_NS,
// so that what others tell does not bring it back. A peer known by beacons alone is forgotten after
// SILENT_NS without one.
#include "fabric/fabric_private.h"

#include <stdio.h>

#define HEARTBEAT_NS (10 * NS_PER_S)
#define HEARTBEAT_NS_MIN (NS_PER_S / 5)
#define GRACE_NS (10 * NS_PER_S)
#define AGAIN_NS (100 * NS_PER_MS) // what found no memory is tried again after so long
#define IDLE_TICK_NS (5 * NS_PER_S)
#define REMEMBER_NS (600 * NS_PER_S)
#define GONE_NS (60 * NS_PER_S)
#define MEASURE_NS_MIN (NS_PER_S / 2)
#define DOUBT_NS (7 * NS_PER_S) // after three beacons that should have come
#define CLOSER_LOOKS_NS (20 * NS_PER_MS)

static ac_value tick(ac_value argument);
static ac_value close_down(ac_value argument);
static void dial_ended(struct task *task);
static void reach_ended(struct task *task);
static void answer_reaches(struct fabric *fabric, uint64_t peer, int err);

ac_time fabric_now(const struct fabric *fabric) { return sys_now(fabric->sys); }

// ---- tasks ----

static void task_has_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct task *task = container_of(watch, struct task, watch);
    struct fabric *fabric = task->fabric;
    (void)exit;
    task->coro = NULL;
    fabric->tasks--;
    if (task->ended)
        task->ended(task); // may free what the task lies in
    if (fabric->closing)
        bell_ring(&fabric->closer_bell);
}

int task_start(struct fabric *fabric, struct task *task, ac_function run, void *argument,
               const char *name) {
    assert(!task->coro);
    if (fabric->ending)
        return -ECANCELED;
    struct ac_spawn_options options = {.size = sizeof options, .name = name, .daemon = true};
    int err = -ENOMEM;
    struct coro *coro = coro_create(fabric->loop, run, ac_of_pointer(argument), &options, true,
                                    &err);
    if (!coro)
        return err;
    task->fabric = fabric;
    task->coro = coro;
    task->watch.ended = task_has_ended;
    list_init(&task->watch.link);
    coro_watch(coro, &task->watch);
    fabric->tasks++;
    return 0;
}

void task_cancel(struct task *task) {
    if (task->coro && task->coro != task->fabric->loop->running)
        coro_cancel(task->coro);
}

// ---- bells ----

static bool abandon_bell(struct coro *coro) {
    struct bell *bell = coro->wait_for;
    bell->waiting = NULL;
    return true;
}

static const struct wait_kind waits_for_bell = {.name = "fabric", .abandon = abandon_bell};

int bell_wait(struct bell *bell, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err)
        return err;
    if (bell->rung) {
        bell->rung = false;
        return 0;
    }
    assert(!bell->waiting);
    bell->waiting = self;
    self->wait_for = bell;
    return (int)coro_wait(self, &waits_for_bell, deadline);
}

void bell_ring(struct bell *bell) {
    struct coro *waiting = bell->waiting;
    bell->waiting = NULL;
    bell->rung = !waiting;
    if (waiting)
        coro_wake(waiting, 0);
}

// ---- opening ----

static ac_time limit_or(ac_time wanted, ac_time otherwise, ac_time least) {
    ac_time it = wanted ? wanted : otherwise;
    return it < least ? least : it;
}

// An IP address, with or without a port.
static bool read_advertised(const char *text, struct sys_address *address) {
    char with_port[SYS_ADDRESS_TEXT_BYTES];
    bool is_ip6 = strchr(text, ':') != strrchr(text, ':') && text[0] != '[';
    if (sys_address_parse(text, address) && !is_ip6)
        return address->scope == 0;
    int length = snprintf(with_port, sizeof with_port, is_ip6 ? "[%s]:0" : "%s:0", text);
    return length < (int)sizeof with_port && sys_address_parse(with_port, address) &&
           address->scope == 0;
}

// What others take as a greeting is UTF-8, and a name may come from a file's or be cut within a
// letter: then what is not ASCII becomes '?'.
static int take_name(struct fabric *fabric, const char *name) {
    snprintf(fabric->name, sizeof fabric->name, "%s", name);
    ac_value text = ac_of_text(fabric->name);
    int err = text.kind == AC_INVALID ? ac_error_of(text) : 0;
    for (char *at = fabric->name; err == -EILSEQ && *at; at++)
        *at = (unsigned char)*at < 128 ? *at : '?';
    ac_drop(text);
    return err == -EILSEQ ? 0 : err;
}

static int read_options(struct fabric *fabric, const struct fabric_options *options,
                        char text[256]) {
    if (options->peer == 0) {
        snprintf(text, 256, "a process needs an identity other than 0");
        return -EINVAL;
    }
    fabric->self = options->peer;
    fabric->loopback_only = options->loopback_only;
    fabric->heartbeat = limit_or(options->heartbeat, HEARTBEAT_NS, HEARTBEAT_NS_MIN);
    fabric->grace = limit_or(options->grace, GRACE_NS, NS_PER_MS);
    fabric->introduces = options->introduces;
    int err = take_name(fabric, options->name ? options->name : "");
    if (err)
        snprintf(text, 256, "%s", ac_strerror(err));
    else
        err = permits_read(options, &fabric->permits, text);
    if (err)
        return err;
    if (options->advertise && !read_advertised(options->advertise, &fabric->advertised)) {
        snprintf(text, 256, "\"%.80s\" is no address to advertise, such as 203.0.113.7:4000",
                 options->advertise);
        return -EINVAL;
    }
    return identity_open(&fabric->identity, options, text);
}

static int open_parts(struct fabric *fabric, const struct fabric_options *options, char text[256]) {
    int err = read_options(fabric, options, text);
    if (!err)
        err = tcp_listen(fabric, options, text);
    if (!err)
        err = discovery_start(fabric, options, text);
    if (!err)
        err = task_start(fabric, &fabric->ticker, tick, fabric, "fabric ticker");
    return err;
}

struct fabric *fabric_open(struct guest *guest, const struct fabric_options *options,
                           const struct fabric_door *door, void *up, int *err, char text[256]) {
    snprintf(text, 256, "the network cannot be started: no memory");
    *err = -ENOMEM;
    struct fabric *fabric = memory_allocate_zeroed(sizeof *fabric);
    if (!fabric)
        return NULL;
    text[0] = 0;
    fabric->guest = guest;
    fabric->loop = guest_loop(guest);
    fabric->sys = fabric->loop->sys;
    fabric->door = *door;
    fabric->up = up;
    map_init(&fabric->peers);
    list_init(&fabric->connections);
    list_init(&fabric->reaches);
    strangers_init(fabric);
    hints_start(fabric);
    *err = open_parts(fabric, options, text);
    if (*err == 0)
        return fabric;
    if (text[0] == 0)
        snprintf(text, 256, "the network cannot be started: %s", ac_strerror(*err));
    fabric_free(fabric);
    return NULL;
}

void fabric_free(struct fabric *fabric) {
    assert(fabric->tasks == 0 && list_empty(&fabric->connections));
    tcp_stop_listening(fabric);
    discovery_free(fabric);
    uint64_t cursor = 0;
    struct peer *peer;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL))) {
        link_reset(&peer->link);
        memory_release(peer);
    }
    map_done(&fabric->peers);
    map_done(&fabric->hinted);
    permits_release(fabric->permits);
    identity_close(fabric->identity);
    memory_release(fabric);
}

// ---- peers ----

struct peer *peer_find(const struct fabric *fabric, uint64_t id) {
    struct peer *latest = fabric->latest;
    return latest && latest->id == id ? latest : map_get_id(&fabric->peers, id);
}

static void peer_free(struct peer *peer) {
    assert(peer->state == LINK_NONE && !peer->connection && !peer->dial.coro);
    (void)map_take_id(&peer->fabric->peers, peer->id);
    if (peer->fabric->latest == peer)
        peer->fabric->latest = NULL;
    link_reset(&peer->link);
    memory_release(peer);
}

static bool peer_may_be_freed(const struct peer *peer) {
    return peer->state == LINK_NONE && !peer->connection && !peer->dial.coro;
}

// Makes room in the table at the cost of those that nobody has been told of.
static bool make_room(struct fabric *fabric) {
    uint64_t cursor = 0;
    struct peer *peer;
    if (map_count(&fabric->peers) < FABRIC_PEERS_MAX)
        return true;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL)))
        if (!peer->met && !peer->parted_here && peer_may_be_freed(peer)) {
            peer_free(peer);
            return true;
        }
    return false;
}

struct peer *peer_need(struct fabric *fabric, uint64_t id) {
    struct peer *peer = peer_find(fabric, id);
    if (peer || id == fabric->self || !make_room(fabric))
        return peer;
    peer = memory_allocate_zeroed(sizeof *peer);
    if (!peer)
        return NULL;
    peer->id = id;
    peer->fabric = fabric;
    peer->dial.ended = dial_ended;
    link_init(&peer->link);
    peer->forget_at = fabric_now(fabric) + REMEMBER_NS;
    if (map_put_id(&fabric->peers, id, peer) < 0) {
        memory_release(peer);
        return NULL;
    }
    return peer;
}

void peer_meet(struct peer *peer) {
    struct fabric *fabric = peer->fabric;
    peer->gone = peer->parted_there = false;
    if (peer->met)
        return;
    peer->met = true;
    trace(TRACE_FABRIC, "met %016llx", (unsigned long long)peer->id);
    if (!fabric->closing)
        fabric->door.met(fabric->up, peer->id);
}

static void start_dialer(struct peer *peer) {
    // If one is still ending, its end starts the next; if there is no memory, the ticker will try.
    if (!peer->dial.coro && !peer->fabric->ending)
        (void)task_start(peer->fabric, &peer->dial, tcp_dial, peer, "fabric dialer");
}

static void dial_ended(struct task *task) {
    struct peer *peer = container_of(task, struct peer, dial);
    peer->hello_sent = false;
    if (peer->state == LINK_OPENING || peer->state == LINK_BROKEN)
        start_dialer(peer);
}

static void peer_set_state(struct peer *peer, enum link_state state) {
    struct fabric *fabric = peer->fabric;
    peer->state = state;
    peer->since = fabric_now(fabric);
    if (state == LINK_UP)
        fabric_tick_by(fabric, peer->since + peer->beat_ns);
    else if (state != LINK_NONE)
        fabric_tick_by(fabric, peer->since + AGAIN_NS);
}

void peer_open(struct peer *peer) {
    if (peer->state != LINK_NONE)
        return;
    peer_set_state(peer, LINK_OPENING);
    start_dialer(peer);
}

void peer_broke(struct peer *peer) {
    assert(peer->state == LINK_UP);
    peer->connection = NULL;
    if (peer->doom || peer->parting)
        return peer_lose(peer, peer->doom);
    trace(TRACE_FABRIC, "connection to %016llx broke", (unsigned long long)peer->id);
    peer_set_state(peer, LINK_BROKEN);
    start_dialer(peer);
}

void peer_linked(struct peer *peer, struct connection *connection) {
    struct fabric *fabric = peer->fabric;
    bool first = peer->state != LINK_BROKEN && peer->state != LINK_UP;
    struct connection *old = peer->connection;
    peer->connection = connection;
    peer->seen = connection->remote;
    connection->peer = peer;
    if (old) {
        old->peer = NULL;
        connection_end(old);
    }
    task_cancel(&peer->dial);
    peer->heard = connection->sent_at = fabric_now(fabric);
    connection->ask = true;
    peer_set_state(peer, LINK_UP);
    introduce_all(peer, first);
    if (!first) {
        peer->link.reconnects++;
        // The greeting may have told of what the other side has taken meanwhile.
        if (!fabric->closing && link_has_room(&peer->link))
            fabric->door.room(fabric->up, peer->id);
        return;
    }
    peer->round_trip = 0;
    trace(TRACE_FABRIC, "linked with %016llx '%s'", (unsigned long long)peer->id, peer->name);
    peer->linked_at = peer->heard;
    peer_meet(peer);
    if (!fabric->closing)
        fabric->door.linked(fabric->up, peer->id);
    answer_reaches(fabric, peer->id, 0);
}

void peer_lose(struct peer *peer, int reason) {
    struct fabric *fabric = peer->fabric;
    assert(peer->state != LINK_NONE);
    if (peer->parting) // whatever the way in which it came about
        reason = -ENOTCONN;
    trace(TRACE_FABRIC, "lost %016llx: %s", (unsigned long long)peer->id, ac_strerror(reason));
    struct connection *connection = peer->connection;
    peer->connection = NULL;
    if (connection) {
        connection->peer = NULL;
        connection_end(connection);
    }
    task_cancel(&peer->dial);
    link_reset(&peer->link);
    peer_set_state(peer, LINK_NONE);
    peer->doom = 0;
    peer->met = peer->parting = false;
    peer->gone = reason == -ECONNRESET;
    peer->forget_at = peer->parted_here ? AC_FOREVER
                                        : peer->since + (peer->gone ? GONE_NS : REMEMBER_NS);
    if (fabric->closing)
        return bell_ring(&fabric->closer_bell);
    fabric->door.lost(fabric->up, peer->id, reason);
    answer_reaches(fabric, peer->id, reason);
}

void peer_leave(struct peer *peer, int reason) {
    struct fabric *fabric = peer->fabric;
    assert(peer->state == LINK_NONE);
    if (!peer->met)
        return;
    trace(TRACE_FABRIC, "%016llx is not there: %s", (unsigned long long)peer->id,
          ac_strerror(reason));
    peer->met = false;
    if (!fabric->closing)
        fabric->door.lost(fabric->up, peer->id, reason);
}

// ---- sending and taking ----

int fabric_send(struct fabric *fabric, uint64_t id, unsigned type, const ac_span *parts,
                size_t count, enum fabric_way way) {
    struct peer *peer = peer_find(fabric, id);
    if (!peer || peer->gone || peer->parted_here || peer->address.family == 0 || fabric->closing)
        return -EHOSTUNREACH;
    if (peer->doom)
        return 0; // it is as good as lost, and what is queued for one who is lost is dropped
    int err = link_queue(&peer->link, type, parts, count, way);
    if (err == -ENOBUFS) {
        peer->doom = -ETIMEDOUT;
        fabric_tick_by(fabric, AC_NOW);
        return 0;
    }
    if (err)
        return err;
    fabric->latest = peer;
    if (peer->state == LINK_UP)
        bell_ring(&peer->connection->work);
    else
        peer_open(peer);
    return 0;
}

void fabric_taken(struct fabric *fabric, uint64_t id, size_t bytes) {
    struct peer *peer = peer_find(fabric, id);
    if (!peer || peer->state == LINK_NONE)
        return;
    struct link *link = &peer->link;
    int owed = link_owes(link);
    // What belongs to an earlier link must not be counted for this one.
    uint64_t most = link->payload_in - link->payload_taken;
    link->payload_taken += bytes < most ? bytes : most;
    int owes = link_owes(link);
    if (peer->state != LINK_UP || owes == owed)
        return;
    if (owes == 1)
        return fabric_tick_by(fabric, fabric_now(fabric) + TELL_NS);
    peer->connection->tell = true;
    bell_ring(&peer->connection->work);
}

// ---- parting ----

void peer_part_if_taken(struct peer *peer) {
    if (!link_is_taken(&peer->link) || peer->connection->goodbye)
        return;
    peer->connection->goodbye = true;
    bell_ring(&peer->connection->work);
}

int fabric_part(struct fabric *fabric, uint64_t id) {
    struct peer *peer = peer_find(fabric, id);
    if (!peer || (!peer->met && peer->state == LINK_NONE))
        return peer && peer->parted_here ? -EALREADY : -EHOSTUNREACH;
    if (peer->parted_here)
        return -EALREADY;
    peer->parted_here = true;
    if (peer->state == LINK_NONE) {
        peer->forget_at = AC_FOREVER;
    } else {
        peer->parting = true;
        peer->part_by = fabric_now(fabric) + fabric->grace;
    }
    if (peer->state == LINK_UP) {
        peer_part_if_taken(peer);
        fabric_tick_by(fabric, peer->part_by);
    } else {
        peer->doom = -ENOTCONN; // not from here: the door is never called from inside the face
        fabric_tick_by(fabric, AC_NOW);
    }
    return 0;
}

void fabric_lose(struct fabric *fabric, uint64_t id, int reason) {
    struct peer *peer = peer_find(fabric, id);
    if (!peer || peer->doom || (!peer->met && peer->state == LINK_NONE))
        return;
    peer->doom = reason; // as above
    fabric_tick_by(fabric, AC_NOW);
}

// Time is up for a peer that is parted from. True if it is lost.
static bool tick_parting(struct peer *peer, ac_time now) {
    if (!peer->parting || now < peer->part_by)
        return false;
    if (now >= peer->part_by + NS_PER_S) {
        peer_lose(peer, -ENOTCONN);
        return true;
    }
    peer->connection->goodbye = true; // which leaves if the socket takes it
    bell_ring(&peer->connection->work);
    fabric_tick_by(peer->fabric, peer->part_by + NS_PER_S);
    return false;
}

// ---- reaching ----

int fabric_reach(struct fabric *fabric, const struct sys_address *address, ac_time deadline,
                 void *token) {
    if (!permits_link(fabric->permits, address))
        return -EACCES;
    struct reach *reach = memory_allocate_zeroed(sizeof *reach);
    if (!reach)
        return -ENOMEM;
    reach->fabric = fabric;
    reach->address = *address;
    reach->deadline = deadline;
    reach->token = token;
    reach->task.ended = reach_ended;
    if (task_start(fabric, &reach->task, tcp_reach, reach, "fabric reach") < 0) {
        memory_release(reach);
        return -ENOMEM;
    }
    list_append(&fabric->reaches, &reach->link);
    fabric_tick_by(fabric, deadline);
    return 0;
}

// Gives the answer, once; the record goes when its task has ended.
void reach_answer(struct reach *reach, uint64_t peer, int err) {
    struct fabric *fabric = reach->fabric;
    void *token = reach->token;
    list_remove(&reach->link);
    if (reach->task.coro) {
        reach->peer = 0;
        task_cancel(&reach->task);
    } else {
        memory_release(reach);
    }
    if (!fabric->closing)
        fabric->door.reached(fabric->up, token, peer, err);
}

// A reach whose question is answered waits in the list for the link; one that is in no list has
// been answered.
static void reach_ended(struct task *task) {
    struct reach *reach = container_of(task, struct reach, task);
    if (list_empty(&reach->link))
        memory_release(reach);
    else if (reach->peer == 0)
        reach_answer(reach, 0, -ECANCELED);
}

static void answer_reaches(struct fabric *fabric, uint64_t peer, int err) {
    list_each (link, &fabric->reaches) {
        struct reach *reach = container_of(link, struct reach, link);
        if (reach->peer == peer)
            reach_answer(reach, peer, err);
    }
}

// ---- what is known ----

int fabric_introduce(struct fabric *fabric, uint64_t id, const struct sys_address *address) {
    if (id == fabric->self || id == 0)
        return 0;
    if (!permits_link(fabric->permits, address))
        return -EACCES;
    bool known = peer_find(fabric, id) != NULL;
    if (!known && !make_room(fabric))
        return -ENOSPC;
    struct peer *peer = peer_need(fabric, id);
    if (!peer)
        return -ENOMEM;
    if (peer->gone || peer->parted_here || peer->parted_there ||
        (peer->met && peer->address.family))
        return 0;
    peer->address = *address;
    peer->doubtful = true; // what others can reach may be somebody else when seen from here
    peer->forget_at = AC_FOREVER;
    peer_meet(peer);
    return 0;
}

static void describe(const struct peer *peer, struct fabric_peer *to) {
    const struct link *link = &peer->link;
    *to = (struct fabric_peer){
        .id = peer->id,
        .address = peer->address,
        .linked = peer->state == LINK_UP,
        .heard_seconds = -1,
        .round_trip_seconds = -1,
        .frames_in = link->received,
        .frames_out = link->sequence,
        .bytes_in = link->payload_in,
        .bytes_out = link->payload_out,
        .queued_bytes = link->payload_out - link->payload_out_taken,
        .reconnects = link->reconnects,
    };
    if (peer->connection)
        to->remote = peer->connection->remote;
    if (peer->round_trip && peer->state != LINK_NONE)
        to->round_trip_seconds = (double)peer->round_trip / 1e9;
    if (peer->heard)
        to->heard_seconds = (double)(fabric_now(peer->fabric) - peer->heard) / 1e9;
    memcpy(to->name, peer->name, sizeof peer->name);
    memcpy(to->certificate, peer->certificate, sizeof peer->certificate);
}

size_t fabric_peers(const struct fabric *fabric, struct fabric_peer *peers, size_t max) {
    size_t count = 0;
    uint64_t cursor = 0;
    struct peer *peer;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL))) {
        if (!peer->met)
            continue;
        if (count < max)
            describe(peer, &peers[count]);
        count++;
    }
    return count;
}

bool fabric_peer_find(const struct fabric *fabric, uint64_t id, struct fabric_peer *found) {
    struct peer *peer = peer_find(fabric, id);
    if (!peer || !peer->met)
        return false;
    describe(peer, found);
    return true;
}

uint64_t fabric_bytes_to(const struct fabric *fabric, uint64_t id) {
    const struct peer *peer = peer_find(fabric, id);
    return peer ? peer->link.payload_out : 0;
}

const char *fabric_certificate(const struct fabric *fabric, uint64_t id) {
    const struct peer *peer = peer_find(fabric, id);
    return peer ? peer->certificate : "";
}

void fabric_measure(struct fabric *fabric) {
    uint64_t cursor = 0;
    struct peer *peer;
    ac_time now = fabric_now(fabric);
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL)))
        if (peer->state == LINK_UP && now - peer->asked_at >= MEASURE_NS_MIN) {
            peer->connection->ask = true;
            bell_ring(&peer->connection->work);
        }
}

struct sys_address fabric_address(const struct fabric *fabric) {
    return fabric->address;
}

const struct key_ring *fabric_keys(const struct fabric *fabric) {
    return identity_keys(fabric->identity);
}

// ---- the ticker ----

void fabric_tick_by(struct fabric *fabric, ac_time when) {
    if (when >= fabric->tick_at)
        return;
    fabric->tick_at = when;
    bell_ring(&fabric->tick);
}

// When the peer next needs looking after.
static ac_time tick_linked(struct peer *peer, ac_time now) {
    struct fabric *fabric = peer->fabric;
    struct connection *connection = peer->connection;
    if (tick_parting(peer, now))
        return AC_FOREVER;
    ac_time hangs_at = peer->heard + fabric->heartbeat;
    if (now >= hangs_at) {
        peer_lose(peer, -ETIMEDOUT);
        return AC_FOREVER;
    }
    ac_time beat_at = connection->sent_at + peer->beat_ns;
    connection->tell |= link_owes(&peer->link) > 0;
    connection->ask |= now - peer->asked_at >= fabric->heartbeat;
    if (now >= beat_at) {
        connection_rest(connection);
        connection->beat = true;
        beat_at = now + peer->beat_ns;
    }
    bool waits = link_waits(&peer->link);
    if (connection->tell || connection->beat || connection->ask || waits)
        bell_ring(&connection->work);
    ac_time next = beat_at < hangs_at ? beat_at : hangs_at;
    if (peer->parting && now < peer->part_by && peer->part_by < next)
        next = peer->part_by;
    return waits && next > now + AGAIN_NS ? now + AGAIN_NS : next;
}

// Of a peer whose beacons have ceased it is asked whether it is still there.
static ac_time tick_unlinked(struct peer *peer, ac_time now) {
    if (peer->doom)
        peer_leave(peer, peer->doom);
    peer->doom = 0;
    if (now >= peer->forget_at && peer_may_be_freed(peer)) {
        peer_leave(peer, -ETIMEDOUT);
        peer_free(peer);
    } else if (peer->met && peer->forget_at != AC_FOREVER && now - peer->heard >= DOUBT_NS) {
        hint_take(peer->fabric, peer->id, &peer->address, 0);
    }
    return AC_FOREVER;
}

static ac_time tick_peer(struct peer *peer, ac_time now) {
    if (peer->state == LINK_NONE)
        return tick_unlinked(peer, now);
    if (peer->doom)
        peer_lose(peer, peer->doom);
    else if (peer->state == LINK_UP)
        return tick_linked(peer, now);
    else if (now - peer->since >= peer->fabric->grace)
        peer_lose(peer, -ENOTCONN);
    else if (peer->dial.coro)
        return peer->since + peer->fabric->grace;
    else
        start_dialer(peer);
    return now + AGAIN_NS;
}

static void tick_reaches(struct fabric *fabric, ac_time now) {
    list_each (link, &fabric->reaches) {
        struct reach *reach = container_of(link, struct reach, link);
        if (now >= reach->deadline)
            reach_answer(reach, reach->peer, -ETIMEDOUT);
        else
            fabric_tick_by(fabric, reach->deadline);
    }
}

// This process itself was held up: what the peers sent meanwhile lies in the sockets and counts as
// heard. Of whom some has been read already, nothing more is to come.
static void forgive(struct fabric *fabric, ac_time now, ac_time late) {
    uint64_t cursor = 0;
    struct peer *peer;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL)))
        if (peer->state == LINK_UP)
            peer->heard = peer->heard + late < now ? peer->heard + late : now;
}

void fabric_doubt_identity(struct fabric *fabric) {
    ac_time when = fabric->looked + AGAIN_NS;
    if (when < fabric->look_at)
        fabric->look_at = when;
    fabric_tick_by(fabric, fabric->look_at);
}

// Ends the connections that would not be made any more.
static void check_connections(struct fabric *fabric) {
    list_each (link, &fabric->connections) {
        struct connection *it = container_of(link, struct connection, link);
        if (it->secured && !it->ended && !identity_is_good(fabric->identity, it->tls))
            connection_fail(it, -EKEYREJECTED);
    }
}

// Takes up what has changed of the keys and certificates.
static void tick_identity(struct fabric *fabric, ac_time now) {
    if (now >= fabric->look_at) {
        fabric->looked = now;
        fabric->look_at = identity_has_files(fabric->identity) ? now + LOOK_NS : AC_FOREVER;
        bool changed = identity_look(fabric->identity);
        if (changed || now - fabric->checked >= CHECK_NS) {
            fabric->checked = now;
            check_connections(fabric);
        }
        if (changed) {
            hints_forgive(fabric);
            discovery_send_soon(fabric);
        }
    }
    fabric_tick_by(fabric, fabric->look_at);
}

static ac_value tick(ac_value argument) {
    struct fabric *fabric = ac_pointer_of(argument);
    for (;;) {
        tcp_accept(fabric);
        discovery_run(fabric);
        ac_time now = fabric_now(fabric), planned = fabric->tick_at;
        uint64_t cursor = 0;
        struct peer *peer;
        if (planned && now - planned > fabric->heartbeat / 4)
            forgive(fabric, now, now - planned);
        fabric->tick_at = now + IDLE_TICK_NS;
        tick_identity(fabric, now);
        tick_reaches(fabric, now);
        while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL)))
            fabric_tick_by(fabric, tick_peer(peer, now));
        int err;
        do // a bell may only have moved the moment
            err = bell_wait(&fabric->tick, fabric->tick_at);
        while (err == 0);
        if (err == -ECANCELED)
            return ac_nil;
    }
}

// ---- the end ----

void fabric_close(struct fabric *fabric, ac_time deadline) {
    if (fabric->closing)
        return;
    fabric->closing = true;
    fabric->close_deadline = deadline;
    discovery_stop(fabric);
    hints_stop(fabric);
    list_each (link, &fabric->reaches)
        reach_answer(container_of(link, struct reach, link), 0, -ECANCELED);
    if (task_start(fabric, &fabric->closer, close_down, fabric, "fabric closer") < 0)
        fabric_end(fabric);
}

bool fabric_is_closed(const struct fabric *fabric) {
    return fabric->closing && fabric->tasks == 0 && list_empty(&fabric->connections);
}

// Says goodbye to those who have got everything. False when nothing more is to be done for the
// peer.
static bool take_leave(struct peer *peer, bool hurry) {
    switch (peer->state) {
    case LINK_NONE: return false;
    case LINK_UP:
        if ((hurry || link_is_taken(&peer->link)) && !peer->connection->goodbye) {
            peer->connection->goodbye = true;
            bell_ring(&peer->connection->work);
        }
        return true;
    default:
        if (link_is_flushed(&peer->link) || hurry)
            peer_lose(peer, -ENOTCONN);
        return peer->state != LINK_NONE;
    }
}

static bool leave_all(struct fabric *fabric, bool hurry) {
    uint64_t cursor = 0;
    struct peer *peer;
    bool busy = false;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL)))
        busy |= take_leave(peer, hurry);
    return busy;
}

static ac_value close_down(ac_value argument) {
    struct fabric *fabric = ac_pointer_of(argument);
    ac_time now = fabric_now(fabric);
    while (now < fabric->close_deadline && leave_all(fabric, false)) {
        ac_time look = now + CLOSER_LOOKS_NS;
        if (look > fabric->close_deadline)
            look = fabric->close_deadline;
        if (bell_wait(&fabric->closer_bell, look) == -ECANCELED)
            break;
        now = fabric_now(fabric);
    }
    // Time is up: the goodbye still leaves if the socket takes it at once.
    if (leave_all(fabric, true))
        (void)bell_wait(&fabric->closer_bell, now + CLOSER_LOOKS_NS);
    fabric_end(fabric);
    return ac_nil;
}

// Ends all tasks; each cleans up behind itself.
void fabric_end(struct fabric *fabric) {
    fabric->ending = true;
    tcp_stop_listening(fabric);
    discovery_stop(fabric);
    hints_stop(fabric);
    uint64_t cursor = 0;
    struct peer *peer;
    while ((peer = map_next(&fabric->peers, &cursor, NULL, NULL))) {
        if (peer->state != LINK_NONE)
            peer_lose(peer, -ENOTCONN);
        task_cancel(&peer->dial);
    }
    list_each (link, &fabric->connections)
        connection_end(container_of(link, struct connection, link));
    task_cancel(&fabric->ticker);
    task_cancel(&fabric->closer);
}
