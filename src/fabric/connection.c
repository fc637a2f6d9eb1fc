// SPDX-License-Identifier: MIT
// One TCP connection under TLS, from its first byte to its last: bytes, frames, and its two
// coroutines.
//
// The reader decrypts, takes frames apart and hands them up. The writer takes all that waits,
// encrypts it and writes it at once, so that small frames share a system call. Both wait only in
// the poller or for the bell `work`, never in TLS.
//
// Whoever finds first that the connection is of no more use says so by connection_fail, once; that
// detaches the peer, whose link may go on over another connection, and ends the other coroutine.
// The last user frees the memory.
#include "fabric/fabric_private.h"

// Left to the reader of a connection that cannot be written to any more.
#define LAST_WORDS_NS NS_PER_S

static void reader_ended(struct task *task);
static void writer_ended(struct task *task);

// ---- a connection ----

struct connection *connection_create(struct fabric *fabric, bool server,
                                     const struct sys_address *remote) {
    struct connection *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    if (!server)
        it->tls = identity_tls(fabric->identity, false, &it->settings);
    if (!server && !it->tls) {
        memory_release(it);
        return NULL;
    }
    it->fabric = fabric;
    it->remote = *remote;
    it->reader.ended = reader_ended;
    it->writer.ended = writer_ended;
    it->deadline = fabric_now(fabric) + GREETING_NS;
    buffer_init(&it->plain);
    it->plain_more = PLAIN_BYTES_FIRST;
    buffer_init(&it->out);
    buffer_init(&it->news);
    list_append(&fabric->connections, &it->link);
    return it;
}

void connection_leave(struct connection *it) {
    if (--it->users > 0)
        return;
    assert(!it->peer);
    stranger_is_known(it);
    list_remove(&it->link);
    if (it->handle.sys)
        sys_close(&it->handle);
    tls_destroy(it->tls);
    ac_tls_destroy(it->settings);
    buffer_done(&it->plain);
    buffer_done(&it->out);
    buffer_done(&it->news);
    memory_release(it);
}

void connection_end(struct connection *it) {
    it->ended = true;
    task_cancel(&it->reader);
    task_cancel(&it->writer);
}

// The connection can be used no more: -EBADMSG for a breach of the protocol, else by accident.
void connection_fail(struct connection *it, int err) {
    struct peer *peer = it->peer;
    it->peer = NULL;
    connection_end(it);
    if (!peer)
        return;
    trace(TRACE_FABRIC, "connection to %016llx: %s", (unsigned long long)peer->id,
          ac_strerror(err));
    if (err == -EBADMSG)
        peer_lose(peer, -ENOTCONN);
    else if (it->goodbye_sent)
        peer_lose(peer, -ECONNRESET);
    else
        peer_broke(peer);
}

int connection_start(struct connection *it, struct task *task, ac_function run, const char *name) {
    int err = task_start(it->fabric, task, run, it, name);
    if (err == 0)
        it->users++;
    return err;
}

// A task ends after it has said how the connection fared, or without having run at all.
static void task_left(struct connection *it) {
    if (!it->ended)
        connection_fail(it, -ENOMEM);
    connection_leave(it);
}

static void reader_ended(struct task *task) {
    task_left(container_of(task, struct connection, reader));
}

static void writer_ended(struct task *task) {
    task_left(container_of(task, struct connection, writer));
}

void connection_rest(struct connection *it) {
    link_rest(&it->peer->link);
    if (it->out.length == 0)
        buffer_done(&it->out);
    it->rests = true; // the reader sees to its memory itself, which is being read into now
}

bool fabric_cut(struct fabric *fabric, uint64_t id) {
    struct peer *peer = peer_find(fabric, id);
    if (!peer || !peer->connection)
        return false;
    connection_fail(peer->connection, -ECONNABORTED);
    return true;
}

// ---- bytes ----

// Sends what TLS has for the wire.
int connection_flush(struct connection *it, ac_time deadline) {
    size_t at = 0;
    if (it->out.length == 0)
        tls_output(it->tls, &it->out);
    while (at < it->out.length) {
        struct sys_op op = {.verb = SYS_WRITE,
                            .handle = &it->handle,
                            .bytes = it->out.bytes + at,
                            .count = it->out.length - at};
        int64_t put = coro_operate(&op, deadline);
        if (put < 0)
            return (int)put;
        at += (size_t)put;
    }
    it->out.length = 0;
    return 0;
}

// Gives TLS some bytes from the wire.
int connection_receive(struct connection *it, ac_time deadline) {
    struct sys_op op = {.verb = SYS_READ, .handle = &it->handle};
    op.bytes = tls_room(it->tls, &op.count);
    if (!op.bytes)
        return -ENOMEM;
    int64_t got = coro_operate(&op, deadline);
    if (got <= 0)
        return got ? (int)got : -ECONNRESET;
    tls_came(it->tls, (size_t)got);
    if (it->peer)
        it->peer->heard = fabric_now(it->fabric);
    if (it->secured && !it->stranger)
        return 0;
    it->stranger_bytes += (size_t)got;
    return it->stranger_bytes > STRANGER_BYTES_MAX ? -EMSGSIZE : 0;
}

// Decrypts some bytes more.
int connection_pull(struct connection *it, ac_time deadline) {
    struct buffer *plain = &it->plain;
    for (;;) {
        int err = buffer_reserve(plain, it->plain_more);
        if (err)
            return err;
        int64_t got = tls_read(it->tls, plain->bytes + plain->length, it->plain_more);
        if (got > 0) {
            plain->length += (size_t)got;
            if ((size_t)got == it->plain_more)
                it->plain_more = PLAIN_BYTES;
            return 0;
        }
        if (got != -EAGAIN)
            return got ? (int)got : -ECONNRESET;
        // Only changes of keys are answered, which nobody who reads sends without end.
        if (tls_output_bytes(it->tls) > ANSWERS_BYTES_MAX)
            return -EBADMSG;
        if (tls_has_output(it->tls))
            bell_ring(&it->work);
        if (it->rests && plain->length == 0) {
            buffer_done(plain);
            it->plain_more = PLAIN_BYTES_FIRST;
            tls_rest(it->tls);
            coro_trim_stack();
        }
        // What has come is for the host to hand over, while it is still in the caches.
        if (it->peer && (err = ac_yield()) < 0)
            return err;
        err = connection_receive(it, deadline);
        if (err)
            return err;
    }
}

int connection_handshake(struct connection *it) {
    for (;;) {
        ac_time begun = fabric_now(it->fabric);
        int done = tls_handshake(it->tls);
        stranger_spent(it, fabric_now(it->fabric) - begun);
        int err = connection_flush(it, it->deadline);
        it->secured = done == 0;
        if (done == 0 && !identity_is_good(it->fabric->identity, it->tls))
            done = -EACCES; // it was when the handshake began
        if (done != -EAGAIN)
            return done ? done : err;
        if (err == 0)
            err = connection_receive(it, it->deadline);
        if (err)
            return err;
    }
}

// ---- reading ----

static int take_up(struct connection *it, const struct frame *frame, const uint8_t *payload) {
    struct fabric *fabric = it->fabric;
    struct peer *peer = it->peer;
    int fresh = link_arrived(&peer->link, frame);
    it->rests = false;
    if (fresh <= 0)
        return fresh;
    if (fabric->closing)
        fabric_taken(fabric, peer->id, frame->bytes);
    else
        fabric->door.frame(fabric->up, peer->id, frame->type, payload, frame->bytes);
    return 0;
}

static int take_told(struct connection *it, const struct frame *frame, const uint8_t *payload) {
    struct fabric *fabric = it->fabric;
    struct peer *peer = it->peer;
    if (frame->bytes != TAKEN_BYTES)
        return -EPROTO;
    int err = link_told(&peer->link, frame_read_u64(payload), frame_read_u64(payload + 8));
    if (err)
        return err;
    if (peer->parting)
        peer_part_if_taken(peer);
    if (fabric->closing)
        bell_ring(&fabric->closer_bell);
    else if (link_has_room(&peer->link))
        fabric->door.room(fabric->up, peer->id);
    return 0;
}

// A heartbeat may ask for an answer, which tells the round trip. What waits at both ends in front
// of connections counts, what waits for them does not, as heartbeats go first.
static int take_heartbeat(struct connection *it, const struct frame *frame,
                          const uint8_t *payload) {
    struct peer *peer = it->peer;
    if (frame->bytes == 0)
        return 0;
    if (frame->bytes != HEARTBEAT_BYTES)
        return -EPROTO;
    uint64_t number = frame_read_u64(payload + 1);
    if (payload[0] == HEARTBEAT_ASKS) {
        it->answer = true;
        it->question = number;
        bell_ring(&it->work);
    } else if (payload[0] != HEARTBEAT_ANSWERS) {
        return -EPROTO;
    } else if (peer->answer_due && number == peer->question) {
        ac_time took = fabric_now(it->fabric) - peer->asked_at;
        peer->answer_due = false;
        peer->round_trip = peer->round_trip ? (7 * peer->round_trip + took) / 8 : took;
        peer->round_trip += peer->round_trip == 0; // 0 means that it was not measured
    }
    return 0;
}

static int take_frame(struct connection *it, const struct frame *frame, const uint8_t *payload) {
    if (show_is_on())
        show_frame(it, false, frame, payload);
    if (frame->type >= FRAME_UP)
        return take_up(it, frame, payload);
    switch (frame->type) {
    case FRAME_TAKEN: return take_told(it, frame, payload);
    case FRAME_HEARTBEAT: return take_heartbeat(it, frame, payload);
    case FRAME_GOODBYE: peer_lose(it->peer, -ECONNRESET); return 0;
    case FRAME_PART:
        it->peer->parted_there = true;
        peer_lose(it->peer, -ENOTCONN);
        return 0;
    case FRAME_INTRODUCE: return introduce_take(it->fabric, payload, frame->bytes);
    default: return -EPROTO;
    }
}

// Hands up the whole frames that have come.
static int take_frames(struct connection *it) {
    struct frame frame;
    size_t at = 0;
    int err = 0;
    while (!it->ended && it->plain.length - at >= FRAME_HEADER_BYTES) {
        const uint8_t *here = it->plain.bytes + at;
        err = frame_read_header(here, &frame);
        if (err || it->plain.length - at < FRAME_HEADER_BYTES + frame.bytes)
            break;
        err = take_frame(it, &frame, here + FRAME_HEADER_BYTES);
        if (err)
            break;
        at += FRAME_HEADER_BYTES + frame.bytes;
    }
    buffer_consume(&it->plain, at);
    return err ? -EBADMSG : 0;
}

// The peer is told at once of a lot, and of a little with the next tick.
static void consider_telling(struct connection *it) {
    int owes = link_owes(&it->peer->link);
    if (owes == 2) {
        it->tell = true;
        bell_ring(&it->work);
    } else if (owes == 1) {
        fabric_tick_by(it->fabric, it->peer->heard + TELL_NS);
    }
}

ac_value connection_read_on(ac_value argument) {
    struct connection *it = ac_pointer_of(argument);
    int err = 0;
    while (!err) {
        err = take_frames(it);
        if (it->ended)
            return ac_nil;
        if (!err) {
            consider_telling(it);
            err = connection_pull(it, AC_FOREVER);
        }
    }
    if (!it->ended)
        connection_fail(it, err);
    return ac_nil;
}

// ---- writing ----

static int put_empty(struct connection *it, enum frame_type type) {
    uint8_t header[FRAME_HEADER_BYTES];
    frame_put_header(header, &(struct frame){.type = (uint8_t)type});
    if (show_is_on())
        show_frames(it, header, sizeof header);
    return tls_write(it->tls, header, sizeof header);
}

static int put_heartbeat(struct connection *it, enum heartbeat what, uint64_t number) {
    uint8_t frame[FRAME_HEADER_BYTES + HEARTBEAT_BYTES];
    frame_put_header(frame, &(struct frame){.bytes = HEARTBEAT_BYTES, .type = FRAME_HEARTBEAT});
    frame[FRAME_HEADER_BYTES] = (uint8_t)what;
    frame_put_u64(frame + FRAME_HEADER_BYTES + 1, number);
    if (show_is_on())
        show_frames(it, frame, sizeof frame);
    return tls_write(it->tls, frame, sizeof frame);
}

// Heartbeats that ask and answer.
static int put_heartbeats(struct connection *it) {
    struct peer *peer = it->peer;
    int err = it->answer ? put_heartbeat(it, HEARTBEAT_ANSWERS, it->question) : 0;
    if (!err && it->ask) {
        peer->asked_at = fabric_now(it->fabric);
        peer->answer_due = true;
        err = put_heartbeat(it, HEARTBEAT_ASKS, ++peer->question);
    }
    it->beat &= !it->answer && !it->ask;
    it->answer = it->ask = false;
    return err;
}

// Encrypts what there is to send, at most about BATCH_BYTES, always whole frames.
static int gather(struct connection *it) {
    struct link *link = &it->peer->link;
    size_t count;
    int err = 0;
    if (it->tell) {
        uint8_t told[FRAME_HEADER_BYTES + TAKEN_BYTES];
        link_tell(link, told);
        if (show_is_on())
            show_frames(it, told, sizeof told);
        err = tls_write(it->tls, told, sizeof told);
    }
    if (!err && it->news.length > 0) {
        err = tls_write(it->tls, it->news.bytes, it->news.length);
        buffer_done(&it->news);
    }
    if (!err && (it->answer || it->ask))
        err = put_heartbeats(it);
    const uint8_t *frames = link_load(link, &count);
    if (!err && count > 0) {
        if (show_is_on())
            show_frames(it, frames, count);
        err = tls_write(it->tls, frames, count);
        link->given += count;
        it->rests = false;
    }
    if (!err && it->beat && !it->tell && count == 0)
        err = put_empty(it, FRAME_HEARTBEAT);
    it->tell = it->beat = false;
    if (!err && it->goodbye && !it->goodbye_sent && count == 0) {
        err = put_empty(it, it->peer->parting ? FRAME_PART : FRAME_GOODBYE);
        it->goodbye_sent = true;
    }
    return err;
}

static int write_some(struct connection *it) {
    bool was_sent = it->goodbye_sent;
    int err = gather(it);
    if (err)
        return err;
    if (!tls_has_output(it->tls)) {
        if (it->rests)
            coro_trim_stack();
        return bell_wait(&it->work, AC_FOREVER);
    }
    err = connection_flush(it, AC_FOREVER);
    it->sent_at = fabric_now(it->fabric);
    if (!err && it->goodbye_sent && !was_sent)
        err = sys_shut(&it->handle); // the peer will hang up, which ends the reader
    return err;
}

// The peer takes nothing any more, but what it has said before is still to be read: it may have
// been its last. The reader comes to the end of that, or has not done so in time.
static void await_reader(struct connection *it) {
    ac_time until = fabric_now(it->fabric) + LAST_WORDS_NS;
    while (!it->ended && bell_wait(&it->work, until) == 0)
        continue;
}

ac_value connection_write_all(ac_value argument) {
    struct connection *it = ac_pointer_of(argument);
    int err = 0;
    while (!err && !it->ended)
        err = write_some(it);
    if (err == -EPIPE || err == -ECONNRESET)
        await_reader(it);
    if (!it->ended)
        connection_fail(it, err);
    return ac_nil;
}
