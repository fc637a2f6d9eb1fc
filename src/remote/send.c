// SPDX-License-Identifier: MIT
// Send and deliver to other processes. "What happens when I send to a remote coroutine?": message/mailbox.c finds that the
// reference is not of this process and calls send_far below, which encodes nothing (a value is its encoding) and hands
// a frame to the fabric (fabric/tcp.c); there, remote.c finds the receiver.
//
// A full window makes the sender wait in a queue, first come first served, until the fabric says that there is room. A message
// that is too large for a frame travels in pieces, for each of which the sender waits its turn: so others get through
// meanwhile, and messages of one sender stay in order, because it does nothing else until the last piece is queued.
#include "remote/remote_private.h"

static bool abandon_asker(struct coro *coro);
static bool abandon_room(struct coro *coro);

const struct wait_kind deliver_wait = {"deliver", abandon_asker, .until_deadline = false};
const struct wait_kind reach_wait = {"peer", abandon_asker, .until_deadline = false};
static const struct wait_kind room_wait = {"window", abandon_room, .until_deadline = false};

// ---- waiting for room ----

static bool abandon_room(struct coro *coro) {
    struct room_waiter *waiter = coro->wait_for;
    list_remove(&waiter->link);
    return true;
}

static int wait_room(struct remote *remote, uint64_t peer, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct room_waiter waiter = {.peer = peer, .coro = self};
    list_append(&remote->room, &waiter.link);
    self->wait_for = &waiter;
    return coro_wait(self, &room_wait, deadline);
}

static void wake_room(struct remote *remote, uint64_t peer, int result) {
    list_each(link, &remote->room) {
        struct room_waiter *waiter = container_of(link, struct room_waiter, link);
        if (waiter->peer != peer)
            continue;
        list_remove(link);
        coro_wake(waiter->coro, result);
    }
}

void send_room(struct remote *remote, uint64_t peer) { wake_room(remote, peer, 0); }

// ---- frames of any size ----

static bool others_wait(struct remote *remote, uint64_t peer) {
    list_each(link, &remote->room) {
        if (container_of(link, struct room_waiter, link)->peer == peer)
            return true;
    }
    return false;
}

// One frame, waiting for room as long as the deadline allows.
static int send_one(struct remote *remote, uint64_t peer, enum frame_type type, const struct head *head,
                    ac_span value, ac_time deadline) {
    for (bool waited = false;; waited = true) {
        // Who comes while others wait goes behind them.
        int err = -EAGAIN;
        if (waited || !others_wait(remote, peer))
            err = remote_frame_now(remote, peer, type, head, value, FABRIC_WINDOW);
        if (err != -EAGAIN || deadline == AC_NOW)
            return err;
        err = wait_room(remote, peer, deadline);
        if (err < 0)
            return err;
    }
}

// The frame as a run of bytes, cut into pieces. After a failure in the middle the other side keeps the beginning until this
// process is lost to it: so only a lost peer or a cancellation may end it early, and the stream is given up by a
// last piece that does not fit.
static int send_pieces(struct remote *remote, uint64_t peer, enum frame_type type, const struct head *head,
                       ac_span value, ac_time deadline) {
    uint64_t stream = ++remote->stream;
    size_t total = head->count + value.bytes;
    const uint8_t *at = value.at;
    size_t left = value.bytes;
    struct buffer first;
    buffer_init(&first);
    size_t share = left < PIECE_BYTES ? left : PIECE_BYTES;
    int err = buffer_append(&first, head->bytes, head->count);
    if (err == 0)
        err = buffer_append(&first, at, share);
    ac_span part = {first.bytes, first.length};
    bool begun = false;
    while (err == 0) {
        struct head piece = {0};
        head_put(&piece, stream);
        head_put(&piece, type);
        head_put(&piece, total);
        piece.count += cbor_put_head(piece.bytes + piece.count, 2, part.bytes);
        err = send_one(remote, peer, FRAME_PIECE, &piece, part, deadline);
        if (err < 0)
            break;
        begun = true;
        at += share;
        left -= share;
        if (left == 0)
            break;
        share = left < PIECE_BYTES ? left : PIECE_BYTES;
        part = (ac_span){at, share};
    }
    buffer_done(&first);
    if (err < 0 && begun) {
        struct head none = {0};
        head_put(&none, stream);
        (void)remote_frame_now(remote, peer, FRAME_ABORT, &none, (ac_span){0}, FABRIC_ALWAYS);
    }
    return err;
}

int send_frame(struct remote *remote, uint64_t peer, enum frame_type type, const struct head *head, ac_span value,
               ac_time deadline) {
    if (head->count + value.bytes <= FRAME_PAYLOAD_MAX)
        return send_one(remote, peer, type, head, value, deadline);
    if (deadline == AC_NOW)
        return -EAGAIN; // its pieces would have to wait for each other
    return send_pieces(remote, peer, type, head, value, deadline);
}

// ---- send ----

static int refuse(ac_value message) {
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    return value_is_local(message) || message.kind == AC_NOTICE ? -ENOTSUP : 0;
}

int send_far(struct loop *loop, ac_ref to, ac_value message, bool may_wait) {
    struct remote *remote = remote_linked(loop);
    int err = remote ? refuse(message) : -EHOSTUNREACH;
    if (err == 0) {
        uint8_t scratch[16];
        struct head head = {0};
        head_put(&head, to.id);
        // Outside coroutines nobody can wait.
        bool wait = may_wait && coro_here();
        err = send_frame(remote, to.peer, FRAME_SEND, &head, value_encoded(message, scratch),
                         wait ? AC_FOREVER : AC_NOW);
    }
    ac_drop(message);
    return err;
}

// ---- deliver, and waiting for answers ----

static bool abandon_asker(struct coro *coro) {
    struct asker *asker = coro->wait_for;
    map_take_id(asker->in, asker->number);
    return true;
}

int asker_wait(struct asker *asker, const struct wait_kind *kind, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err < 0) {
        map_take_id(asker->in, asker->number);
        return err;
    }
    asker->coro = self;
    self->wait_for = asker;
    return coro_wait(self, kind, deadline);
}

static int deliver(struct remote *remote, ac_ref to, ac_value message, ac_time deadline) {
    struct asker asker = {.number = ++remote->number, .peer = to.peer, .in = &remote->delivers};
    int err = map_put_id(&remote->delivers, asker.number, &asker);
    if (err < 0)
        return err;
    uint8_t scratch[16];
    struct head head = {0};
    head_put(&head, asker.number);
    head_put(&head, to.id);
    err = send_frame(remote, to.peer, FRAME_DELIVER, &head, value_encoded(message, scratch), deadline);
    if (err < 0) {
        map_take_id(&remote->delivers, asker.number);
        return err == -ETIMEDOUT || err == -EAGAIN ? 0 : err;
    }
    // No answer can have come yet: answers come through home.
    err = asker_wait(&asker, &deliver_wait, deadline);
    return err == -ETIMEDOUT ? 0 : err;
}

int deliver_far(struct loop *loop, ac_ref to, ac_value message, ac_time deadline) {
    struct remote *remote = remote_linked(loop);
    int err = remote ? refuse(message) : -EHOSTUNREACH;
    if (err == 0)
        err = coro_here() ? deliver(remote, to, message, deadline) : -EPERM;
    ac_drop(message);
    return err;
}

void send_answered(struct remote *remote, const struct arrival *arrival) {
    struct asker *asker = map_get_id(&remote->delivers, arrival->number);
    if (!asker || asker->peer != arrival->peer || !asker->coro)
        return; // time was up before, or somebody answers what he was not asked
    map_take_id(&remote->delivers, asker->number);
    coro_wake(asker->coro, arrival->result);
}

void send_lost(struct remote *remote, uint64_t peer) {
    wake_room(remote, peer, -EHOSTUNREACH);
    struct asker *asker;
    for (uint64_t cursor = 0; (asker = map_next(&remote->delivers, &cursor, NULL, NULL));) {
        if (asker->peer != peer || !asker->coro)
            continue;
        map_take_id(&remote->delivers, asker->number);
        coro_wake(asker->coro, -ECONNRESET);
    }
}
