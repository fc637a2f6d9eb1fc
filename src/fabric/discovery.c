// SPDX-License-Identifier: MIT
// Beacons: how programs that hold the same key find each other on the local network without being
// told anything.
//
// A beacon is a datagram of 72 bytes to the discovery port, numbers with the most significant byte
// first:
//
//    0  8  "asyncoro"
//    8  2  version of the wire
//   10  2  TCP port on which the sender listens
//   12  4  0
//   16  8  the sender's peer id
//   24  8  number of this beacon of this sender, growing; the same on all interfaces
//   32  8  0
//   40 32  HMAC-SHA-256 of bytes 0 to 39, with a key derived from the shared one
//
// While the shared key is being rotated there are two, and a beacon goes out under each.
//
// A beacon is a hint and nothing else: somebody who held the key once sent it, and whoever recorded
// it can send it again, from anywhere. So who listens at the address from which it came and the
// port in it is asked (hint.c), and only who answers becomes known. A peer that is known and has no
// link stays so while beacons with growing numbers come from its address; one that comes from
// elsewhere is a hint again, once those from its address have ceased or no link to it can be had.
// There is no wall clock in it, because clocks are wrong.
//
// Where they go: IPv4, to the broadcast address of each interface that is up, pinned to that
// interface, 127.255.255.255 on loopback; IPv6, to ff02::6163:6f72 on each interface with a
// link-local address, but loopback, where multicast fails. When: at the start, 50, 150 and 350 ms
// after it, then every 2 s; and soon after an unknown peer was heard, so that it need not wait for
// us. Of changes of the interfaces the system tells; then they are read again, and all is sent as
// at the start. Where it does not tell they are read every 5 s.
//
// What strangers can do: make us compute BEACONS_PER_S digests a second, and who has recorded
// beacons what hints cost. What is over that is dropped unseen.
#include "fabric/fabric_private.h"

#include <stdio.h>

#define BEACON_NS (2 * NS_PER_S)
#define ANSWER_NS (100 * NS_PER_MS) // two beacons are never closer
#define INTERFACES_NS (5 * NS_PER_S)
#define SETTLE_NS (20 * NS_PER_MS)  // changes of interfaces come in swarms
#define SAME_BEACON_NS NS_PER_S     // between the datagrams of one beacon, by several interfaces
#define ELSEWHERE_NS (6 * NS_PER_S) // without a beacon from its address: a peer may be elsewhere
#define GONE_DEAF_NS (2 * NS_PER_S) // beacons still on their way when the process ended

enum { BEACON_BYTES = 72, SIGNED_BYTES = 40, BEACONS_PER_S = 1000, INTERFACES_MAX = 1024 };

static const uint8_t magic[8] = {'a', 's', 'y', 'n', 'c', 'o', 'r', 'o'};
static const uint8_t group_ip[16] = {0xff, 0x02, [12] = 'a', 'c', 'o', 'r'};

static ac_value send_all(ac_value argument);
static ac_value hear_all(ac_value argument);
static ac_value hear_changes(ac_value argument);
static void changes_ended(struct task *task);
static void socket_ended(struct task *task);

// ---- sockets ----

static int open_socket(struct fabric *fabric, struct beacon_socket *it, uint8_t family,
                       unsigned interface) {
    struct sys_address bind = {.family = family, .port = fabric->discovery->port};
    struct sys_open how = {.transport = SYS_DATAGRAMS, .bind = &bind, .share_port = true};
    how.broadcast = family == 4;
    if (family == 6) {
        // Bound to the group, it hears nothing that is meant for another socket.
        memcpy(bind.ip, group_ip, sizeof bind.ip);
        bind.scope = interface;
        how.ipv6_only = true; // IPv4 has a socket of its own on this port
    }
    int err = sys_open(fabric->sys, &it->handle, &how);
    if (!err && family == 6) {
        err = sys_group(&it->handle, &bind, interface, true);
        if (err)
            sys_close(&it->handle);
    }
    if (err) {
        it->handle.sys = NULL;
        return err;
    }
    it->fabric = fabric;
    it->interface = interface;
    it->closing = false;
    it->task.ended = socket_ended;
    return 0;
}

static void close_socket(struct beacon_socket *it) {
    it->closing = true;
    if (it->task.coro)
        task_cancel(&it->task);
    else if (it->handle.sys)
        sys_close(&it->handle);
}

static void socket_ended(struct task *task) {
    struct beacon_socket *it = container_of(task, struct beacon_socket, task);
    if (it->closing && it->handle.sys)
        sys_close(&it->handle);
}

static bool is_open(const struct beacon_socket *it) { return it->handle.sys && !it->closing; }

static bool is_link_local(const struct sys_address *it) {
    return it->family == 6 && it->ip[0] == 0xfe && (it->ip[1] & 0xc0) == 0x80;
}

// Whether beacons go by the interface over IPv6.
static bool is_wanted(const struct fabric *fabric, const struct sys_interface *it) {
    return is_link_local(&it->address) && !it->is_loopback &&
           permits_beacon(fabric->permits, &it->address);
}

static bool has_interface(const struct fabric *fabric, const struct sys_interface *found, int count,
                          unsigned index) {
    for (int i = 0; i < count; i++)
        if (found[i].index == index && is_wanted(fabric, &found[i]))
            return true;
    return false;
}

// One IPv6 socket for each interface that has a link-local address. Where there is no IPv6 there is
// none.
static void match_sockets(struct fabric *fabric, const struct sys_interface *found, int count) {
    struct discovery *it = fabric->discovery;
    for (size_t i = 1; i < BEACON_SOCKETS_MAX; i++)
        if (is_open(&it->sockets[i]) &&
            !has_interface(fabric, found, count, it->sockets[i].interface))
            close_socket(&it->sockets[i]);
    for (int n = 0; n < count && !fabric->loopback_only; n++) {
        struct beacon_socket *unused = NULL;
        bool there = !is_wanted(fabric, &found[n]);
        for (size_t i = 1; i < BEACON_SOCKETS_MAX; i++) {
            struct beacon_socket *at = &it->sockets[i];
            there |= is_open(at) && at->interface == found[n].index;
            if (!at->handle.sys && !at->task.coro)
                unused = at;
        }
        if (!there && unused)
            (void)open_socket(fabric, unused, 6, found[n].index);
    }
}

// ---- changes of the interfaces ----

static void changes_ended(struct task *task) {
    struct discovery *it = container_of(task, struct discovery, changes_task);
    if (task->fabric->closing && it->changes.sys)
        sys_close(&it->changes);
}

// What the messages say is read from the interfaces themselves, also where some were lost.
static ac_value hear_changes(ac_value argument) {
    struct fabric *fabric = ac_pointer_of(argument);
    struct discovery *it = fabric->discovery;
    for (;;) {
        uint8_t message[4096];
        struct sys_op op = {
            .verb = SYS_READ, .handle = &it->changes, .bytes = message, .count = sizeof message};
        int64_t got = coro_operate(&op, AC_FOREVER);
        if (got == -ECANCELED)
            return ac_nil;
        ac_time pause = got <= 0 ? ANSWER_NS : it->changed ? 0 : SETTLE_NS;
        if (pause && ac_sleep_until(fabric_now(fabric) + pause) < 0)
            return ac_nil;
        it->changed = true;
        discovery_send_soon(fabric);
    }
}

// ---- life ----

int discovery_start(struct fabric *fabric, const struct fabric_options *options, char text[256]) {
    bool silent = options->no_discovery || identity_signatures(fabric->identity) == 0;
    if (silent && fabric->loopback_only)
        return 0;
    struct discovery *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    fabric->discovery = it;
    it->port = options->discovery_port ? options->discovery_port : FABRIC_PORT;
    it->tokens = BEACONS_PER_S;
    it->filled = fabric_now(fabric);
    const struct sys_open changes = {.transport = SYS_INTERFACES};
    if (sys_open(fabric->sys, &it->changes, &changes) < 0)
        it->changes.sys = NULL;
    it->changes_task.ended = changes_ended;
    it->silent = silent;
    int err = silent ? 0 : open_socket(fabric, &it->sockets[0], 4, 0);
    if (err)
        snprintf(text, 256, "cannot hear beacons on UDP port %u: %s", (unsigned)it->port,
                 ac_strerror(err));
    return err;
}

void discovery_run(struct fabric *fabric) {
    struct discovery *it = fabric->discovery;
    if (!it || fabric->closing)
        return;
    for (size_t i = 0; i < BEACON_SOCKETS_MAX; i++)
        if (is_open(&it->sockets[i]) && !it->sockets[i].task.coro)
            (void)task_start(fabric, &it->sockets[i].task, hear_all, &it->sockets[i],
                             "fabric beacons in");
    if (it->changes.sys && !it->changes_task.coro)
        (void)task_start(fabric, &it->changes_task, hear_changes, fabric, "fabric interfaces");
    if (!it->task.coro)
        (void)task_start(fabric, &it->task, send_all, fabric, "fabric beacons out");
}

void discovery_stop(struct fabric *fabric) {
    struct discovery *it = fabric->discovery;
    if (!it)
        return;
    task_cancel(&it->task);
    if (it->changes_task.coro)
        task_cancel(&it->changes_task);
    else if (it->changes.sys)
        sys_close(&it->changes);
    for (size_t i = 0; i < BEACON_SOCKETS_MAX; i++)
        close_socket(&it->sockets[i]);
}

void discovery_free(struct fabric *fabric) {
    struct discovery *it = fabric->discovery;
    if (!it)
        return;
    discovery_stop(fabric);
    memory_release(it->found);
    memory_release(it);
    fabric->discovery = NULL;
}

// ---- sending ----

static int make_beacon(struct fabric *fabric, size_t signer, uint8_t beacon[BEACON_BYTES]) {
    struct discovery *it = fabric->discovery;
    memset(beacon, 0, BEACON_BYTES);
    memcpy(beacon, magic, sizeof magic);
    frame_put_u64(beacon + 8, (uint64_t)WIRE_VERSION << 48 | (uint64_t)fabric->port << 32);
    frame_put_u64(beacon + 16, fabric->self);
    frame_put_u64(beacon + 24, ++it->sequence);
    return identity_sign(fabric->identity, signer, beacon, SIGNED_BYTES, beacon + SIGNED_BYTES);
}

static int send_to(struct beacon_socket *from, const struct sys_address *to, unsigned interface,
                   uint8_t *beacon) {
    struct sys_op op = {.verb = SYS_SEND,
                        .handle = &from->handle,
                        .interface = interface,
                        .bytes = beacon,
                        .count = BEACON_BYTES,
                        .address = *to};
    op.address.port = from->fabric->discovery->port;
    return (int)coro_operate(&op, fabric_now(from->fabric) + ANSWER_NS);
}

// An interface may be gone or refuse: the others get their beacons all the same. -ECANCELED ends
// it.
static int send_signed(struct fabric *fabric, size_t signer) {
    struct discovery *it = fabric->discovery;
    uint8_t beacon[BEACON_BYTES];
    int err = make_beacon(fabric, signer, beacon);
    for (int i = 0; i < it->found_count && !err; i++) {
        const struct sys_interface *by = &it->found[i];
        if (by->broadcast.family != 4 || (fabric->loopback_only && !by->is_loopback) ||
            !permits_beacon(fabric->permits, &by->address))
            continue;
        if (send_to(&it->sockets[0], &by->broadcast, by->index, beacon) == -ECANCELED)
            return -ECANCELED;
    }
    for (size_t i = 1; i < BEACON_SOCKETS_MAX && !err; i++) {
        struct sys_address to = {.family = 6, .scope = it->sockets[i].interface};
        memcpy(to.ip, group_ip, sizeof to.ip);
        if (is_open(&it->sockets[i]) &&
            send_to(&it->sockets[i], &to, to.scope, beacon) == -ECANCELED)
            return -ECANCELED;
    }
    return 0;
}

// A beacon for each key, so that those who have not heard of a newer one hear of us.
static int send_beacons(struct fabric *fabric) {
    int err = 0;
    for (size_t i = 0; !err && i < identity_signatures(fabric->identity); i++)
        err = send_signed(fabric, i);
    return err;
}

// From a list that is full some may be missing: nothing follows from it but where beacons go.
static void read_interfaces(struct fabric *fabric) {
    struct discovery *it = fabric->discovery;
    struct sys_interface *found = memory_allocate(INTERFACES_MAX * sizeof *found);
    if (!found)
        return; // what was read before will do until the next beacon
    it->changed = false;
    int count = sys_interfaces(found, INTERFACES_MAX);
    memory_release(it->found);
    it->found = memory_resize(found, (count > 0 ? (size_t)count : 1) * sizeof *found);
    it->found = it->found ? it->found : found;
    it->found_count = count > 0 ? count : 0;
    if (!it->silent)
        match_sockets(fabric, it->found, it->found_count);
    if (count > 0 && count < INTERFACES_MAX)
        tcp_readdress(fabric, it->found, count);
    discovery_run(fabric);
}

static ac_value send_all(ac_value argument) {
    static const ac_time burst[] = {50 * NS_PER_MS, 100 * NS_PER_MS, 200 * NS_PER_MS};
    struct fabric *fabric = ac_pointer_of(argument);
    struct discovery *it = fabric->discovery;
    ac_time read_at = 0;
    for (size_t n = 0;; n++) {
        ac_time now = fabric_now(fabric);
        bool is_time = !it->changes.sys && now - read_at >= INTERFACES_NS;
        if (it->found_count == 0 || it->changed || is_time) {
            n = it->changed ? 0 : n;
            read_at = now;
            read_interfaces(fabric);
        }
        if (!it->silent && send_beacons(fabric) == -ECANCELED)
            return ac_nil;
        it->last = now;
        it->next = now + (n < countof(burst) ? burst[n] : BEACON_NS);
        if (it->silent)
            it->next = it->changes.sys && it->found_count > 0 ? AC_FOREVER : now + INTERFACES_NS;
        int err;
        do // the bell may have moved the moment
            err = bell_wait(&it->bell, it->next);
        while (err == 0);
        if (err == -ECANCELED)
            return ac_nil;
    }
}

void discovery_send_soon(struct fabric *fabric) {
    struct discovery *it = fabric->discovery;
    if (!it)
        return;
    ac_time now = fabric_now(fabric), when = it->last + ANSWER_NS;
    if (when < now)
        when = now;
    if (when >= it->next)
        return;
    it->next = when;
    bell_ring(&it->bell);
}

// ---- hearing ----

static bool may_look(struct fabric *fabric) {
    struct discovery *it = fabric->discovery;
    ac_time now = fabric_now(fabric);
    it->tokens += (double)(now - it->filled) * BEACONS_PER_S / 1e9;
    it->filled = now;
    if (it->tokens > BEACONS_PER_S)
        it->tokens = BEACONS_PER_S;
    if (it->tokens < 1)
        return false;
    it->tokens -= 1;
    return true;
}

static bool is_genuine(struct fabric *fabric, const uint8_t *beacon, size_t bytes) {
    return bytes == BEACON_BYTES &&
           identity_signed(fabric->identity, beacon, SIGNED_BYTES, beacon + SIGNED_BYTES) &&
           memcmp(beacon, magic, sizeof magic) == 0;
}

// Tells, ever more rarely, why: who waits for a program that is there learns so what keeps the two
// apart.
static void ignore(struct fabric *fabric, const struct sys_address *from, const char *why) {
    char address[SYS_ADDRESS_TEXT_BYTES];
    uint64_t count = ++fabric->refused_beacons;
    if ((count & (count - 1)) != 0 || !trace_on(TRACE_FABRIC))
        return;
    sys_address_text(from, address);
    trace(TRACE_FABRIC, "beacon from %s ignored, as %llu so far: %s", address,
          (unsigned long long)count, why);
}

// A beacon of a peer that was met and has no connection, and is not too old.
static void hear_again(struct peer *peer, const struct sys_address *from, ac_time now) {
    struct fabric *fabric = peer->fabric;
    bool at_its_address = sys_address_equal(from, &peer->address);
    if (peer->state == LINK_NONE && at_its_address) {
        peer->heard = now;
        peer->forget_at = now + SILENT_NS;
    } else if (!at_its_address && (peer->state != LINK_NONE || now - peer->heard >= ELSEWHERE_NS)) {
        hint_take(fabric, peer->id, from, peer->beacon);
    }
}

// A beacon that somebody who holds the key has made.
static void take_beacon(struct fabric *fabric, const uint8_t *beacon,
                        const struct sys_address *from) {
    uint64_t head = frame_read_u64(beacon + 8), id = frame_read_u64(beacon + 16);
    uint64_t sequence = frame_read_u64(beacon + 24);
    struct sys_address at = *from;
    ac_time now = fabric_now(fabric);
    at.port = (uint16_t)(head >> 32);
    if (head >> 48 != WIRE_VERSION)
        ignore(fabric, from, "of another version of the library");
    if (head >> 48 != WIRE_VERSION || id == fabric->self || id == 0 || at.port == 0)
        return;
    struct peer *peer = peer_find(fabric, id);
    if (!peer) {
        hint_take(fabric, id, &at, sequence);
        return;
    }
    if (sequence < peer->beacon ||
        (sequence == peer->beacon && now - peer->beacon_at > SAME_BEACON_NS))
        return;
    if (sequence > peer->beacon)
        peer->beacon_at = now;
    peer->beacon = sequence;
    if (peer->parted_here || peer->parted_there)
        return;
    if (peer->state == LINK_UP || (peer->gone && now - peer->since < GONE_DEAF_NS))
        return;
    if (peer->met)
        hear_again(peer, &at, now);
    else
        hint_take(fabric, id, &at, sequence);
}

static ac_value hear_all(ac_value argument) {
    struct beacon_socket *it = ac_pointer_of(argument);
    struct fabric *fabric = it->fabric;
    for (;;) {
        uint8_t beacon[BEACON_BYTES + 1];
        struct sys_op op = {
            .verb = SYS_RECEIVE, .handle = &it->handle, .bytes = beacon, .count = sizeof beacon};
        int64_t got = coro_operate(&op, AC_FOREVER);
        if (got == -ECANCELED)
            return ac_nil;
        if (got < 0) {
            if (ac_sleep_until(fabric_now(fabric) + ANSWER_NS) < 0)
                return ac_nil;
        } else if (permits_beacon(fabric->permits, &op.address) && may_look(fabric)) {
            if (is_genuine(fabric, beacon, (size_t)got))
                take_beacon(fabric, beacon, &op.address);
            else
                ignore(fabric, &op.address, "it is signed by another key, or none");
        }
    }
}
