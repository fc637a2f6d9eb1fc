// SPDX-License-Identifier: MIT
// Send and deliver to other processes. "What happens when I send to a remote coroutine?":
// message/mailbox.c finds that the reference is not of this process and calls send_far below, which
// encodes nothing (a value is its encoding) and hands a frame to the fabric (fabric/tcp.c); there,
// remote.c finds the receiver.
//
// A full window makes the sender wait in a queue, first come first served, until the fabric says
// that there is room. Then the first of the queue is woken; whoever has sent a frame wakes the next
// one. A message that is too large for a frame travels in pieces, after each of which its sender
// goes behind those who wait: so others get through meanwhile, and messages of one sender stay in
// order, because it does nothing else until the last piece is queued.
//
// The other side keeps the pieces until the last one is there, and limits how many messages and
// bytes it keeps so. It drops what is beyond, so the limits are kept here: a large message that
// would break them waits in a second queue.
#include "remote/remote_private.h"

static bool abandon_asker(struct coro *coro);
static bool abandon_room(struct coro *coro);
static int send_whole(struct remote *remote, uint64_t peer, enum frame_type type,
                      const struct head *head, ac_span value, ac_time deadline);

const struct wait_kind deliver_wait = {"deliver", abandon_asker, .until_deadline = false};
const struct wait_kind reach_wait = {"peer", abandon_asker, .until_deadline = false};
const struct wait_kind subscribe_wait = {"subscribe", abandon_asker, .until_deadline = false};
const struct wait_kind invoke_wait = {"invoke", abandon_asker, .until_deadline = false};
static const struct wait_kind room_wait = {"window", abandon_room, .until_deadline = false};

// ---- queues of senders ----

static bool abandon_room(struct coro *coro) {
    struct room_waiter *waiter = coro->wait_for;
    list_remove(&waiter->link);
    return true;
}

static struct room_waiter *first_waiter(const struct list *queue, uint64_t peer) {
    list_each (link, queue) {
        struct room_waiter *waiter = container_of(link, struct room_waiter, link);
        if (waiter->peer == peer)
            return waiter;
    }
    return NULL;
}

static void wake_next(struct list *queue, uint64_t peer, int result) {
    struct room_waiter *waiter = first_waiter(queue, peer);
    if (!waiter)
        return;
    list_remove(&waiter->link);
    coro_wake(waiter->coro, result);
}

// How to wait for one's turn.
enum turn {
    TURN_LAST,  // behind those who wait
    TURN_AGAIN, // before them: it was the first, but there was no room
    TURN_PASS   // behind them, and the first of them is woken
};

static int wait_turn(struct list *queue, uint64_t peer, enum turn turn, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct room_waiter waiter = {.peer = peer, .coro = self};
    list_append(turn == TURN_AGAIN ? queue->next : queue, &waiter.link);
    if (turn == TURN_PASS)
        wake_next(queue, peer, 0);
    self->wait_for = &waiter;
    return coro_wait(self, &room_wait, deadline);
}

void send_room(struct remote *remote, uint64_t peer) { wake_next(&remote->room, peer, 0); }

// ---- frames of any size ----

// One frame, waiting for room as long as the deadline allows. Who comes while others wait goes
// behind them. `turn` is TURN_PASS for who has just sent another frame and woken nobody yet.
static int send_one(struct remote *remote, uint64_t peer, enum frame_type type,
                    const struct head *head, ac_span value, enum turn turn, ac_time deadline) {
    bool first = !first_waiter(&remote->room, peer);
    for (;;) {
        int err = -EAGAIN;
        if (first)
            err = remote_frame_now(remote, peer, type, head, value, FABRIC_WINDOW);
        if (err != -EAGAIN || deadline == AC_NOW)
            return err;
        err = wait_turn(&remote->room, peer, first ? TURN_AGAIN : turn, deadline);
        if (err < 0)
            return err;
        first = true;
    }
}

// A turn is over. If there is no room for the next one, that one will wait for it.
static int turn_end(struct remote *remote, uint64_t peer, int err) {
    wake_next(&remote->room, peer, 0);
    return err;
}

static bool may_begin(const struct sending *sending, size_t total) {
    return sending->count == 0 ||
           (sending->count < SENDING_MAX && total <= AC_VALUE_BYTES_MAX - sending->bytes);
}

static int sending_need(struct remote *remote, uint64_t peer, struct sending **sending) {
    *sending = map_get_id(&remote->sending, peer);
    if (*sending)
        return 0;
    *sending = memory_allocate_zeroed(sizeof **sending);
    int err = *sending ? map_put_id(&remote->sending, peer, *sending) : -ENOMEM;
    if (err < 0)
        memory_release(*sending);
    return err;
}

// Waits until one more message of `total` bytes may travel in pieces.
static int stream_begin(struct remote *remote, uint64_t peer, size_t total, ac_time deadline) {
    bool first = !first_waiter(&remote->begin, peer);
    for (;;) {
        struct sending *sending;
        int err = sending_need(remote, peer, &sending);
        if (err < 0)
            return err;
        if (first && may_begin(sending, total)) {
            sending->count++;
            sending->bytes += total;
            wake_next(&remote->begin, peer, 0);
            return 0;
        }
        if (deadline == AC_NOW)
            return -EAGAIN;
        err = wait_turn(&remote->begin, peer, first ? TURN_AGAIN : TURN_LAST, deadline);
        if (err < 0) {
            wake_next(&remote->begin, peer,
                      0); // it may have been woken, and others fit where it did not
            return err;
        }
        first = true;
    }
}

static void stream_end(struct remote *remote, uint64_t peer, size_t total) {
    struct sending *sending = map_get_id(&remote->sending, peer);
    sending->bytes -= total;
    if (--sending->count == 0) {
        map_take_id(&remote->sending, peer);
        memory_release(sending);
    }
    wake_next(&remote->begin, peer, 0);
}

// A frame as a run of bytes that is cut into pieces.
struct pieces {
    struct remote *remote;
    uint64_t peer;
    enum frame_type type;
    uint64_t stream;
    size_t total;
    size_t sent;
    ac_time deadline; // AC_NOW: all of them at once or none
};

// The next piece: `head`, if it is the first one, and some of the value.
static int send_piece(struct pieces *it, const struct head *head, ac_span part) {
    struct head piece = {0};
    size_t bytes = head->count + part.bytes;
    head_put(&piece, it->stream);
    head_put(&piece, it->type);
    head_put(&piece, it->total);
    head_put(&piece, it->sent);
    piece.count += cbor_put_head(piece.bytes + piece.count, 2, bytes);
    assert(piece.count + head->count <= sizeof piece.bytes);
    memcpy(piece.bytes + piece.count, head->bytes, head->count);
    piece.count += head->count;
    // Who does not wait needs room for the first piece only: what follows is bounded by what may be
    // sent so.
    int err = it->deadline == AC_NOW && it->sent > 0
                  ? remote_frame_now(it->remote, it->peer, FRAME_PIECE, &piece, part, FABRIC_ALWAYS)
                  : send_one(it->remote, it->peer, FRAME_PIECE, &piece, part,
                             it->sent > 0 ? TURN_PASS : TURN_LAST, it->deadline);
    if (err == 0)
        it->sent += bytes;
    return err;
}

static size_t piece_of(size_t left) { return left < PIECE_BYTES ? left : PIECE_BYTES; }

// After a failure in the middle the other side is told to forget the beginning.
static int send_all_pieces(struct pieces *it, const struct head *head, ac_span value) {
    const struct head none = {0};
    const uint8_t *at = value.at;
    size_t share = piece_of(value.bytes);
    int err = send_piece(it, head, (ac_span){at, share});
    while (err == 0 && it->sent < it->total) {
        at += share;
        share = piece_of(it->total - it->sent);
        err = send_piece(it, &none, (ac_span){at, share});
    }
    if (err < 0 && it->sent > 0) {
        struct head stream = {0};
        head_put(&stream, it->stream);
        remote_tell_now(it->remote, it->peer, FRAME_ABORT, &stream, FABRIC_ALWAYS);
    }
    return err;
}

// A frame with more than a head before its value, in pieces: these are cut from one run of bytes.
static int send_joined(struct remote *remote, uint64_t peer, enum frame_type type,
                       const struct head *head, ac_span value, ac_time deadline) {
    struct head plain = *head;
    plain.more = (ac_span){0};
    struct buffer joined;
    buffer_init(&joined);
    int err = buffer_append(&joined, head->more.at, head->more.bytes);
    if (err == 0)
        err = buffer_append(&joined, value.at, value.bytes);
    if (err == 0)
        err = send_whole(remote, peer, type, &plain, (ac_span){joined.bytes, joined.length},
                         deadline);
    buffer_done(&joined);
    return err;
}

// Past the outbox.
static int send_whole(struct remote *remote, uint64_t peer, enum frame_type type,
                      const struct head *head, ac_span value, ac_time deadline) {
    size_t total = head->count + head->more.bytes + value.bytes;
    if (total > FRAME_PAYLOAD_MAX && head->more.bytes > 0)
        return send_joined(remote, peer, type, head, value, deadline);
    if (total <= FRAME_PAYLOAD_MAX)
        return turn_end(remote, peer,
                        send_one(remote, peer, type, head, value, TURN_LAST, deadline));
    if (deadline == AC_NOW && total > FABRIC_WINDOW_BYTES)
        return -EMSGSIZE;
    int err = stream_begin(remote, peer, total, deadline);
    if (err < 0)
        return err;
    struct pieces it = {remote, peer, type, ++remote->stream, total, 0, deadline};
    err = send_all_pieces(&it, head, value);
    stream_end(remote, peer, total);
    return turn_end(remote, peer, err);
}

int send_frame(struct remote *remote, uint64_t peer, enum frame_type type, const struct head *head,
               ac_span value, ac_time deadline) {
    int err = outbox_wait(remote, peer, deadline);
    return err < 0 ? err : send_whole(remote, peer, type, head, value, deadline);
}

// ---- send ----

// What the peer has said that it will not take.
static int refuse_to(const struct remote *remote, ac_ref to) {
    return ref_sort(to.id) != REF_ANSWER && rights_missing(remote, to.peer, AC_MAY_SEND) ? -EACCES
                                                                                         : 0;
}

static int refuse(ac_value message) {
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    return value_is_local(message) || message.kind == AC_NOTICE ? -ENOTSUP : 0;
}

int send_far(struct loop *loop, ac_ref to, ac_value message, ac_time deadline) {
    struct remote *remote = remote_linked(loop);
    int err = remote ? refuse(message) : -EHOSTUNREACH;
    if (err == 0)
        err = refuse_to(remote, to);
    if (err == 0) {
        uint8_t scratch[16];
        struct head head = {0};
        head_put(&head, to.id);
        // Outside coroutines nobody can wait.
        err = send_frame(remote, to.peer, FRAME_SEND, &head, value_encoded(message, scratch),
                         coro_here() ? deadline : AC_NOW);
    }
    ac_drop(message);
    return err;
}

int send_past(struct remote *remote, uint64_t peer, const uint64_t *ids, uint32_t count,
              ac_value message, ac_time deadline) {
    int err = refuse(message);
    if (err < 0)
        return err;
    uint8_t scratch[16];
    struct head head = {0};
    if (count == 1) {
        head_put(&head, ids[0]);
    } else {
        _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "ids travel as they lie here");
        head.more = (ac_span){ids, count * sizeof *ids};
        head.count += cbor_put_head(head.bytes, 2, head.more.bytes);
    }
    ac_span value = value_encoded(message, scratch);
    if (deadline == AC_NOW && head.count + head.more.bytes + value.bytes > FRAME_PAYLOAD_MAX)
        return -EAGAIN;
    return send_whole(remote, peer, count == 1 ? FRAME_SEND : FRAME_SPREAD, &head, value, deadline);
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
    err = send_frame(remote, to.peer, FRAME_DELIVER, &head, value_encoded(message, scratch),
                     deadline);
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
    while (first_waiter(&remote->room, peer))
        wake_next(&remote->room, peer, -EHOSTUNREACH);
    struct asker *asker;
    for (uint64_t cursor = 0; (asker = map_next(&remote->delivers, &cursor, NULL, NULL));) {
        if (asker->peer != peer || !asker->coro)
            continue;
        map_take_id(&remote->delivers, asker->number);
        coro_wake(asker->coro, -ECONNRESET);
    }
}

static void wake_all(struct list *queue) {
    struct list *link;
    while ((link = list_take(queue)))
        coro_wake(container_of(link, struct room_waiter, link)->coro, -EHOSTUNREACH);
}

void send_stop(struct remote *remote) {
    wake_all(&remote->room);
    wake_all(&remote->begin);
}
