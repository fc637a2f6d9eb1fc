// SPDX-License-Identifier: MIT
// The fabric over TCP and TLS: listening, connecting, the greeting. What comes after it
// is connection.c.
//
//   the one who connects                         the one who listens
//   TCP connection, TLS handshake (io/tls.c): now both know that the other holds the key
//   HELLO(who, to whom, link, received) ------>  judges
//        <------ WELCOME(who, link, received)    the link is up here
//   the link is up here                    or REFUSE(why): the connection ends
//
// One link per pair. If two connect to each other at once, the connection of the smaller id wins: a
// HELLO that comes while one's own HELLO is unanswered is refused with CROSSING by the smaller and
// accepted by the larger, whose own will be refused. So is a HELLO for a new link while there is a
// young one, because it may have been overtaken; once that is GREETING_NS old, a new HELLO means
// that the other side has given it up.
//
// A HELLO with link 0 asks only who listens (fabric_reach). A HELLO with the id of the link that is
// there resumes it.
//
// What a stranger may cost until its HELLO has been read is in stranger.c.
#include "fabric/fabric_private.h"

#include <stdio.h>

#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)
#define RETRY_NS_MIN (20 * NS_PER_MS)
#define RETRY_NS_MAX NS_PER_S
#define CROSSING_NS (100 * NS_PER_MS)
#define CROSSED_NS (500 * NS_PER_MS) // so long after a resumption a HELLO may be overtaken
#define DIAL_NS (3 * NS_PER_S)       // for one attempt
#define REACH_NS (15 * NS_PER_S)     // for asking who listens somewhere

enum { LISTEN_ATTEMPTS = 8 };

static ac_value accept_all(ac_value argument);
static ac_value serve(ac_value argument);

// ---- the greeting ----

static void fill_greeting(struct connection *it, struct greeting *to, uint64_t peer,
                          struct link *link, bool resuming) {
    struct fabric *fabric = it->fabric;
    struct sys_address local;
    *to = (struct greeting){
        .peer = fabric->self,
        .to = peer,
        .resuming = resuming,
        .heartbeat_ms = (uint64_t)(fabric->heartbeat / NS_PER_MS),
        .port = fabric->port,
    };
    memcpy(to->name, fabric->name, sizeof to->name);
    to->advertised = fabric->advertised;
    if (to->advertised.family && to->advertised.port == 0)
        to->advertised.port = fabric->port;
    if (sys_local(&it->handle, &local, NULL) == 0) {
        to->ip_bytes = local.family == 4 ? 4 : 16;
        memcpy(to->ip, local.ip, to->ip_bytes);
    }
    if (!link)
        return;
    to->link = link->id;
    to->received = link->told_received = link->received;
    to->taken = link->told_taken = link->payload_taken;
}

static int say(struct connection *it, enum frame_type type, const struct greeting *greeting) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    size_t count = frame_put_greeting(bytes, type, greeting);
    if (show_is_on())
        show_frames(it, bytes, count);
    return tls_write(it->tls, bytes, count);
}

// Waits for the other side's greeting. Its type, or an error.
static int hear(struct connection *it, struct greeting *greeting) {
    struct frame frame;
    for (;;) {
        const struct buffer *plain = &it->plain;
        if (plain->length >= FRAME_HEADER_BYTES) {
            int err = frame_read_header(plain->bytes, &frame);
            if (err || frame.type > FRAME_REFUSE || frame.bytes > GREETING_BYTES_MAX)
                return -EPROTO;
            if (plain->length >= FRAME_HEADER_BYTES + frame.bytes)
                break;
        }
        int err = connection_pull(it, it->deadline);
        if (err)
            return err;
    }
    if (show_is_on())
        show_frame(it, false, &frame, it->plain.bytes + FRAME_HEADER_BYTES);
    int err = frame_read_greeting(frame.type, it->plain.bytes + FRAME_HEADER_BYTES, frame.bytes,
                                  greeting);
    buffer_consume(&it->plain, FRAME_HEADER_BYTES + frame.bytes);
    // It may have been ended while its bytes were on the way here: nothing may begin over it then.
    if (it->ended)
        return -ECANCELED;
    return err ? err : frame.type;
}

// Waits until the other side has hung up, so that what was said last is not lost in the ending of
// the connection.
static void linger(struct connection *it) {
    if (connection_flush(it, it->deadline) < 0 || sys_shut(&it->handle) < 0 ||
        buffer_reserve(&it->plain, PLAIN_BYTES) < 0)
        return;
    while (connection_receive(it, it->deadline) == 0)
        while (tls_read(it->tls, it->plain.bytes, it->plain.capacity) > 0)
            ;
}

static const char *refusal_text(enum refusal refusal) {
    switch (refusal) {
    case REFUSE_VERSION: return "this program speaks version 1 of the wire and no other";
    case REFUSE_SELF: return "this is yourself";
    case REFUSE_OTHER: return "another process listens here now";
    case REFUSE_CROSSING: return "a connection the other way is under way";
    case REFUSE_GONE: return "the link was given up here";
    case REFUSE_CLOSING: return "this process is ending";
    case REFUSE_FULL: return "too many peers";
    case REFUSE_PARTED: return "this process has closed the connection with you";
    }
    return "refused";
}

static void refuse(struct connection *it, enum refusal refusal) {
    struct greeting greeting = {.peer = it->fabric->self, .refusal = refusal};
    snprintf(greeting.text, sizeof greeting.text, "%s", refusal_text(refusal));
    if (say(it, FRAME_REFUSE, &greeting) == 0)
        linger(it);
}

// Whether the speaker sees its own address as we do: then no translator is between.
static bool is_same_ip(const struct connection *it, const struct greeting *greeting) {
    return greeting->ip_bytes == (it->remote.family == 4 ? 4 : 16) &&
           memcmp(greeting->ip, it->remote.ip, greeting->ip_bytes) == 0;
}

// What follows from the peer's greeting for its record.
static void learn(struct connection *it, struct peer *peer, const struct greeting *greeting,
                  bool accepted) {
    struct fabric *fabric = it->fabric;
    memcpy(peer->name, greeting->name, sizeof peer->name);
    identity_name(fabric->identity, it->tls, peer->certificate);
    ac_time theirs = (ac_time)(greeting->heartbeat_ms % 1000000000) * NS_PER_MS;
    ac_time limit = theirs && theirs < fabric->heartbeat ? theirs : fabric->heartbeat;
    peer->beat_ns = limit < NS_PER_S / 5 ? NS_PER_S / 20 : limit / 4;
    bool same_ip = is_same_ip(it, greeting);
    peer->advertised = greeting->advertised;
    if (!accepted) {
        peer->address = it->remote;
        peer->doubtful = false;
    } else if (!same_ip && greeting->advertised.family &&
               permits_link(fabric->permits, &greeting->advertised)) {
        peer->address = greeting->advertised;
        peer->doubtful = true;
    } else if (same_ip || peer->doubtful || peer->address.family == 0) {
        peer->address = it->remote;
        peer->address.port = greeting->port;
        peer->doubtful = !same_ip;
    }
}

// The greeting is over: the link goes on over this connection.
static int attach(struct connection *it, struct peer *peer, const struct greeting *greeting) {
    int err = link_resume(&peer->link, greeting->received, greeting->taken);
    if (err) {
        if (peer->state != LINK_NONE)
            peer_lose(peer, -ENOTCONN);
        return err;
    }
    err = connection_start(it, &it->writer, connection_write_all, "fabric writer");
    if (err == 0)
        peer_linked(peer, it);
    return err;
}

// ---- listening ----

// Whether the certificate bears the name that this peer has had before, if it has been linked: else
// whoever is let in could be whom he likes.
static bool is_same_holder(const struct connection *it, const struct peer *peer) {
    char name[TRUST_NAME_BYTES];
    identity_name(it->fabric->identity, it->tls, name);
    return !peer->certificate[0] || strcmp(name, peer->certificate) == 0;
}

// Whether the HELLO is refused; if not, *found is the peer, or NULL if it only asks who we are.
static int judge(const struct connection *it, const struct greeting *hello, struct peer **found) {
    struct fabric *fabric = it->fabric;
    *found = NULL;
    if (hello->peer == fabric->self)
        return REFUSE_SELF;
    if (hello->to != 0 && hello->to != fabric->self)
        return REFUSE_OTHER;
    struct peer *peer = peer_find(fabric, hello->peer);
    if (peer && !is_same_holder(it, peer))
        return REFUSE_OTHER;
    if (peer && peer->parted_here)
        return REFUSE_PARTED;
    if (hello->link == 0)
        return fabric->closing ? REFUSE_CLOSING : 0;
    bool here = peer && peer->state != LINK_NONE;
    bool same = here && peer->link.id == hello->link;
    if (fabric->closing && !same)
        return REFUSE_CLOSING;
    if (here && peer->hello_sent && fabric->self < hello->peer)
        return REFUSE_CROSSING;
    // When both resume at once, the HELLO of the larger may come when ours has just been accepted
    // and it has given up its own: to follow it would break the connection that is good, again and
    // again.
    if (same && peer->state == LINK_UP && fabric->self < hello->peer &&
        fabric_now(fabric) - peer->since < CROSSED_NS)
        return REFUSE_CROSSING;
    if (!same && hello->resuming)
        return REFUSE_GONE;
    if (!same && here && peer->state != LINK_OPENING) {
        if (fabric_now(fabric) - peer->linked_at < GREETING_NS)
            return REFUSE_CROSSING;
        peer_lose(peer, -ENOTCONN); // the other side has begun anew
    }
    *found = peer_need(fabric, hello->peer);
    return *found ? 0 : REFUSE_FULL;
}

// Who only asks who we are holds the key and is there: so it becomes known, too.
static void know(struct connection *it, const struct greeting *hello) {
    struct sys_address address = it->remote;
    address.port = hello->port;
    if (hello->port && is_same_ip(it, hello))
        hint_holds(it->fabric, hello->peer, &address, hello->name, 0);
}

static int welcome(struct connection *it, const struct greeting *hello, struct peer *peer) {
    struct greeting answer;
    if (!peer) {
        know(it, hello);
        fill_greeting(it, &answer, hello->peer, NULL, false);
        int err = say(it, FRAME_WELCOME, &answer);
        if (err == 0)
            linger(it);
        return err ? err : -ECONNRESET;
    }
    peer->link.id = hello->link;
    learn(it, peer, hello, true);
    fill_greeting(it, &answer, peer->id, &peer->link, hello->resuming);
    int err = say(it, FRAME_WELCOME, &answer); // the writer will send it before all else
    return err ? err : attach(it, peer, hello);
}

// An accepted connection: the handshake and the greeting. 0 when it belongs to a peer.
static int greet(struct connection *it) {
    struct greeting hello;
    struct peer *peer;
    int err = stranger_begin(it);
    if (!err)
        err = connection_handshake(it);
    if (err) {
        stranger_failed(it, err);
        return err;
    }
    int type = hear(it, &hello);
    if (type == -EPROTONOSUPPORT)
        refuse(it, REFUSE_VERSION);
    if (type != FRAME_HELLO)
        return type < 0 ? type : -EPROTO;
    stranger_is_friend(it);
    int refusal = judge(it, &hello, &peer);
    if (refusal) {
        refuse(it, (enum refusal)refusal);
        return -ECONNREFUSED;
    }
    return welcome(it, &hello, peer);
}

static ac_value serve(ac_value argument) {
    struct connection *it = ac_pointer_of(argument);
    int err = greet(it);
    if (err == 0)
        return connection_read_on(argument);
    if (!it->ended)
        connection_fail(it, err);
    return ac_nil;
}

static void admit(struct fabric *fabric, int fd, const struct sys_address *from) {
    struct connection *it = stranger_enter(fabric, from);
    if (!it) {
        sys_fd_close(fd);
        return;
    }
    sys_adopt_accepted(fabric->sys, &it->handle, fd);
    it->users++;
    if (connection_start(it, &it->reader, serve, "fabric reader") < 0)
        it->ended = true;
    connection_leave(it);
}

static ac_value accept_all(ac_value argument) {
    struct listener *listener = ac_pointer_of(argument);
    struct fabric *fabric = listener->fabric;
    for (;;) {
        ac_time when;
        while ((when = strangers_next(fabric)) != AC_NOW)
            if (ac_sleep_until(when) < 0)
                return ac_nil;
        struct sys_op op = {.verb = SYS_ACCEPT, .handle = &listener->handle};
        int64_t fd = coro_operate(&op, AC_FOREVER);
        if (fd >= 0)
            admit(fabric, (int)fd, &op.address);
        else if (fd == -ECANCELED)
            return ac_nil;
        else if (fd != -ECONNABORTED && ac_sleep_until(fabric_now(fabric) + ACCEPT_PAUSE_NS) < 0)
            return ac_nil; // too many open files and the like: others may get better
    }
}

static void listener_ended(struct task *task) {
    struct listener *listener = container_of(task, struct listener, task);
    if (task->fabric->ending && listener->handle.sys)
        sys_close(&listener->handle);
}

void tcp_accept(struct fabric *fabric) {
    for (size_t i = 0; i < countof(fabric->listeners); i++) {
        struct listener *listener = &fabric->listeners[i];
        if (listener->handle.sys && !listener->task.coro)
            (void)task_start(fabric, &listener->task, accept_all, listener, "fabric listener");
    }
}

void tcp_stop_listening(struct fabric *fabric) {
    for (size_t i = 0; i < countof(fabric->listeners); i++) {
        struct listener *listener = &fabric->listeners[i];
        if (listener->task.coro)
            task_cancel(&listener->task);
        else if (listener->handle.sys)
            sys_close(&listener->handle);
    }
}

static int listen_at(struct fabric *fabric, struct listener *listener, uint8_t family,
                     uint16_t port) {
    struct sys_address address = {.family = family, .port = port};
    if (fabric->loopback_only && family == 4)
        memcpy(address.ip, (uint8_t[]){127, 0, 0, 1}, 4);
    if (fabric->loopback_only && family == 6)
        address.ip[15] = 1;
    struct sys_open how = {.transport = SYS_STREAM, .bind = &address, .listen = true};
    int err = sys_open(fabric->sys, &listener->handle, &how);
    if (err) {
        listener->handle.sys = NULL;
        return err;
    }
    listener->fabric = fabric;
    listener->task.ended = listener_ended;
    return sys_local(&listener->handle, &fabric->address, NULL);
}

// Everywhere: one socket for both families, or IPv4 alone where there is no IPv6. On loopback: one
// for each family, with the same port.
static int listen_on(struct fabric *fabric, uint16_t port) {
    struct listener *first = &fabric->listeners[0], *second = &fabric->listeners[1];
    if (!fabric->loopback_only) {
        int err = listen_at(fabric, first, 6, port);
        if (err == -EADDRINUSE || err == 0)
            return err;
        return listen_at(fabric, first, 4, port);
    }
    for (int i = 0;; i++) {
        int err = listen_at(fabric, first, 4, port);
        if (err)
            return err;
        struct sys_address address = fabric->address;
        err = listen_at(fabric, second, 6, address.port);
        fabric->address = address;
        if (err != -EADDRINUSE || (port != 0 && i > 0))
            return 0; // a computer without IPv6
        if (i == LISTEN_ATTEMPTS)
            return 0;
        sys_close(&first->handle);
    }
}

// What to tell others of where we listen: the first IPv4 address of this computer that is not its
// loopback, else an IPv6 address that is known beyond its link, else loopback.
static void name_address(struct fabric *fabric, const struct sys_interface *found, int count) {
    uint16_t port = fabric->port;
    struct sys_address best = {.family = 4, .port = port, .ip = {127, 0, 0, 1}};
    if (fabric->advertised.family) {
        best = fabric->advertised;
        port = best.port ? best.port : port;
        count = 0;
    }
    for (int i = count - 1; i >= 0; i--) {
        const struct sys_address *it = &found[i].address;
        bool usable = !found[i].is_loopback && it->scope == 0;
        if (usable && (it->family == 4 || best.ip[0] == 127))
            best = *it;
    }
    best.port = port;
    fabric->address = best;
}

int tcp_listen(struct fabric *fabric, const struct fabric_options *options, char text[256]) {
    int err = listen_on(fabric, options->port ? options->port : FABRIC_PORT);
    if (err && options->port == 0)
        err = listen_on(fabric, 0);
    if (err) {
        snprintf(text, 256, "cannot listen on TCP port %u: %s", (unsigned)options->port,
                 ac_strerror(err));
        return err;
    }
    struct sys_interface found[32];
    fabric->port = fabric->address.port;
    name_address(fabric, found, options->loopback_only ? 0 : sys_interfaces(found, countof(found)));
    return 0;
}

static bool has_address(const struct sys_interface *found, int count,
                        const struct sys_address *address) {
    size_t bytes = address->family == 4 ? 4 : 16;
    for (int i = 0; i < count; i++)
        if (found[i].address.family == address->family &&
            memcmp(found[i].address.ip, address->ip, bytes) == 0)
            return true;
    return sys_address_is_loopback(address);
}

void tcp_readdress(struct fabric *fabric, const struct sys_interface *found, int count) {
    struct sys_address local;
    if (!fabric->loopback_only)
        name_address(fabric, found, count);
    list_each (link, &fabric->connections) {
        struct connection *it = container_of(link, struct connection, link);
        if (it->peer && sys_local(&it->handle, &local, NULL) == 0 && local.family &&
            !has_address(found, count, &local))
            connection_fail(it, -ENETDOWN);
    }
}

// ---- connecting ----

// Opens a connection up to the end of the TLS handshake. The caller is a user of it, also after a
// failure.
static int connect_to(struct connection *it) {
    struct fabric *fabric = it->fabric;
    struct sys_open how = {.transport = SYS_STREAM, .family = it->remote.family};
    int err = sys_open(fabric->sys, &it->handle, &how);
    if (err) {
        it->handle.sys = NULL;
        return err;
    }
    struct sys_op op = {.verb = SYS_CONNECT, .handle = &it->handle, .address = it->remote};
    int64_t result = coro_operate(&op, it->deadline);
    if (result < 0)
        return (int)result;
    err = connection_handshake(it);
    if (err == -EACCES)
        trace(TRACE_FABRIC, "handshake: %s", tls_problem(it->tls));
    return err;
}

static int refusal_error(const struct greeting *refusal) {
    trace(TRACE_FABRIC, "refused: %s", refusal->text);
    switch (refusal->refusal) {
    case REFUSE_VERSION: return -EPROTONOSUPPORT;
    case REFUSE_SELF: return -ELOOP;
    case REFUSE_OTHER: return -ESRCH;
    case REFUSE_CROSSING: return -EALREADY;
    case REFUSE_GONE: return -ESTALE;
    case REFUSE_CLOSING: return -ESHUTDOWN;
    case REFUSE_FULL: return -EBUSY;
    case REFUSE_PARTED: return -ECONNABORTED;
    }
    return -EPROTO;
}

// Says HELLO and waits for the answer. 0 for a welcome.
static int introduce(struct connection *it, const struct greeting *hello, struct greeting *answer) {
    int err = say(it, FRAME_HELLO, hello);
    if (err == 0)
        err = connection_flush(it, it->deadline);
    int type = err ? err : hear(it, answer);
    if (type == FRAME_REFUSE)
        return refusal_error(answer);
    if (type != FRAME_WELCOME)
        return type < 0 ? type : -EPROTO;
    return answer->peer == it->fabric->self ? -ELOOP : 0;
}

static bool wants_dialing(const struct peer *peer) {
    return peer->state == LINK_OPENING || peer->state == LINK_BROKEN;
}

// One attempt to bring the link up. `it` may be used up.
static int dial_over(struct connection *it, struct peer *peer) {
    struct greeting hello, answer;
    struct link *link = &peer->link;
    int err = connect_to(it);
    if (err)
        return err;
    while (link->id == 0)
        link->id = sys_random(it->fabric->sys);
    fill_greeting(it, &hello, peer->id, link, peer->state == LINK_BROKEN);
    peer->hello_sent = true;
    err = introduce(it, &hello, &answer);
    peer->hello_sent = false;
    if (err)
        return err;
    if (answer.peer != peer->id || !is_same_holder(it, peer))
        return -ESRCH;
    if (answer.link != link->id || !wants_dialing(peer))
        return -EALREADY;
    err = connection_start(it, &it->reader, connection_read_on, "fabric reader");
    if (err)
        return err;
    learn(it, peer, &answer, false);
    return attach(it, peer, &answer);
}

static int dial_offering(struct peer *peer, size_t offer) {
    struct connection *it = connection_create(peer->fabric, false, &peer->address);
    if (!it)
        return -ENOMEM;
    identity_offer(peer->fabric->identity, it->tls, offer);
    it->users++;
    it->deadline = fabric_now(peer->fabric) + DIAL_NS;
    int err = dial_over(it, peer);
    if (err)
        connection_end(it);
    connection_leave(it);
    return err;
}

// With each key, until one is taken.
static int dial_once(struct peer *peer) {
    struct identity *identity = peer->fabric->identity;
    int err = dial_offering(peer, 0);
    for (size_t i = 1; err == -EACCES && wants_dialing(peer) && i < identity_offers(identity); i++)
        err = dial_offering(peer, i);
    if (err == -EACCES || err == -EKEYREJECTED)
        fabric_doubt_identity(peer->fabric);
    return err;
}

// Why a peer is lost after an attempt that ended so; 0: another attempt may do better.
static int verdict(const struct peer *peer, int err) {
    switch (err) {
    case -EACCES: // a process with another key listens there; or its key has changed, and ours will
    case -EKEYREJECTED:
        if (peer->state == LINK_BROKEN)
            return 0;
        return peer->doubtful ? 0 : -ECONNRESET;
    case -ECONNREFUSED: // nobody listens there any more,
    case -ESRCH:        // or another one with this key, or even this one
    case -ELOOP: return peer->doubtful ? 0 : -ECONNRESET;
    case -ESHUTDOWN: return -ECONNRESET;
    case -ECONNABORTED:
    case -ESTALE:
    case -EPROTONOSUPPORT: return -ENOTCONN;
    default: return 0;
    }
}

ac_value tcp_dial(ac_value argument) {
    struct peer *peer = ac_pointer_of(argument);
    struct fabric *fabric = peer->fabric;
    ac_time pause = RETRY_NS_MIN;
    for (;;) {
        int err = dial_once(peer);
        if (err == 0 || err == -ECANCELED || !wants_dialing(peer))
            return ac_nil;
        trace(TRACE_FABRIC, "dialling %016llx: %s", (unsigned long long)peer->id, ac_strerror(err));
        int reason = verdict(peer, err);
        if (reason) {
            peer_lose(peer, reason);
            return ac_nil;
        }
        ac_time wait = err == -EALREADY ? CROSSING_NS : pause;
        wait -= (ac_time)(sys_random(fabric->sys) % (uint64_t)(wait / 2));
        if (bell_wait(&peer->dial_bell, fabric_now(fabric) + wait) == -ECANCELED)
            return ac_nil;
        pause = 2 * pause < RETRY_NS_MAX ? 2 * pause : RETRY_NS_MAX;
    }
}

static int ask_offering(struct reach *reach, struct greeting *answer, size_t offer) {
    struct greeting hello;
    struct connection *it = connection_create(reach->fabric, false, &reach->address);
    if (!it)
        return -ENOMEM;
    identity_offer(reach->fabric->identity, it->tls, offer);
    it->users++;
    it->deadline += REACH_NS - GREETING_NS;
    if (it->deadline > reach->deadline)
        it->deadline = reach->deadline;
    int err = connect_to(it);
    if (err == 0) {
        fill_greeting(it, &hello, 0, NULL, false);
        err = introduce(it, &hello, answer);
    }
    const struct peer *peer = err ? NULL : peer_find(reach->fabric, answer->peer);
    if (peer && !is_same_holder(it, peer))
        err = -ESRCH;
    it->ended = true;
    connection_leave(it);
    return err;
}

int tcp_ask(struct reach *reach, struct greeting *answer) {
    struct identity *identity = reach->fabric->identity;
    int err = ask_offering(reach, answer, 0);
    for (size_t i = 1; err == -EACCES && i < identity_offers(identity); i++)
        err = ask_offering(reach, answer, i);
    if (err == -EACCES || err == -EKEYREJECTED)
        fabric_doubt_identity(reach->fabric);
    return err;
}

ac_value tcp_reach(ac_value argument) {
    struct reach *reach = ac_pointer_of(argument);
    struct fabric *fabric = reach->fabric;
    struct greeting answer;
    int err = tcp_ask(reach, &answer);
    if (list_empty(&reach->link))
        return ac_nil; // answered meanwhile: time is up
    struct peer *peer = err ? NULL : peer_need(fabric, answer.peer);
    if (!peer) {
        reach_answer(reach, 0, err ? err : -ENOSPC);
        return ac_nil;
    }
    if (peer->parting) {
        reach_answer(reach, 0, -EALREADY);
        return ac_nil;
    }
    reach->peer = peer->id;
    peer->parted_here = false;
    if (peer->state != LINK_UP) {
        peer->address = reach->address; // better than any other: it was there a moment ago
        peer->doubtful = false;
        memcpy(peer->name, answer.name, sizeof peer->name);
        bell_ring(&peer->dial_bell);
    }
    peer_meet(peer);
    if (peer->state == LINK_UP)
        reach_answer(reach, peer->id, 0);
    else
        peer_open(peer);
    return ac_nil;
}
