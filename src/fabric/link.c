// SPDX-License-Identifier: MIT
// One link to a peer, without the connection: what waits, what was sent and may have to be sent
// again, what came.
//
//   link_queue --> urgent --+                          +--> connection --> peer
//                           +--> numbered --> sent ----+
//   link_queue --> normal --+                 kept until the peer has received it
//
// Numbering. Frames get their number when they move into `sent`, urgent ones first; from there on
// their order is fixed. Each connection is given the bytes of `sent` from its beginning, which is
// after what the peer says in its greeting that it has received. So a connection may break at any
// byte: what the peer got is not sent again, what it did not get is. A peer that is sent a frame
// twice all the same knows it by its number.
//
// Two counts are told by the peer, and both only grow. *Received* is the last number that came
// whole: frames up to it are dropped from `sent`. *Taken* is the payload that has been handed to
// the receivers: what was queued here and is not taken there is in flight and fills the window. An
// urgent frame is counted but not held back.
//
// Limits: FABRIC_WINDOW_BYTES bytes of payload in flight, or one frame; four times that on the
// wire, so that very small frames cannot pile up; URGENT_BYTES_MAX of waiting urgent frames.
#include "fabric/fabric_private.h"

enum { QUEUED_BYTES_MAX = 4 * FABRIC_WINDOW_BYTES, FIFO_BYTES_KEPT = 16 * 1024 };

// ---- bytes in a row ----

static size_t fifo_count(const struct fifo *fifo) { return fifo->end - fifo->begin; }

static void fifo_done(struct fifo *fifo) {
    memory_release(fifo->bytes);
    *fifo = (struct fifo){0};
}

// Makes room for `more` bytes behind the end. Bytes are moved only when half of the memory is free,
// so that each is moved once or twice in all.
static int fifo_reserve(struct fifo *fifo, size_t more) {
    size_t count = fifo_count(fifo);
    if (fifo->capacity - fifo->end >= more)
        return 0;
    if (fifo->begin >= fifo->capacity / 2 && fifo->capacity - count >= more) {
        memmove(fifo->bytes, fifo->bytes + fifo->begin, count);
    } else {
        size_t capacity = fifo->capacity ? fifo->capacity : 1024;
        while (capacity < count + more)
            capacity *= 2;
        if (capacity == fifo->capacity) // mostly free at the front, but not by half
            capacity *= 2;
        uint8_t *bytes = memory_allocate(capacity);
        if (!bytes)
            return -ENOMEM;
        if (count)
            memcpy(bytes, fifo->bytes + fifo->begin, count);
        memory_release(fifo->bytes);
        fifo->bytes = bytes;
        fifo->capacity = capacity;
    }
    fifo->begin = 0;
    fifo->end = count;
    return 0;
}

static void fifo_take(struct fifo *fifo, size_t count) {
    assert(count <= fifo_count(fifo));
    fifo->begin += count;
    if (fifo->begin < fifo->end)
        return;
    fifo->begin = fifo->end = 0;
    if (fifo->capacity > FIFO_BYTES_KEPT)
        fifo_done(fifo);
}

// The bytes of the frame at the beginning of what lies there.
static size_t frame_bytes_at(const uint8_t *at) {
    struct frame frame;
    int err = frame_read_header(at, &frame);
    // Frames that wait have no number yet, which is an error on the wire alone.
    assert(err == 0 || frame.sequence == 0);
    (void)err;
    return FRAME_HEADER_BYTES + frame.bytes;
}

// ---- life ----

void link_init(struct link *link) { *link = (struct link){.refused = SIZE_MAX}; }

void link_reset(struct link *link) {
    fifo_done(&link->urgent);
    fifo_done(&link->normal);
    fifo_done(&link->sent);
    link_init(link);
}

// ---- sending ----

static bool fits(const struct link *link, size_t payload) {
    uint64_t in_flight = link->payload_out - link->payload_out_taken;
    size_t queued = fifo_count(&link->normal) + fifo_count(&link->sent);
    if (queued > QUEUED_BYTES_MAX)
        return false;
    return in_flight == 0 || in_flight + payload <= FABRIC_WINDOW_BYTES;
}

int link_queue(struct link *link, unsigned type, const ac_span *parts, size_t count,
               enum fabric_way way) {
    size_t payload = 0;
    assert(type >= FRAME_UP && type <= UINT8_MAX);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].bytes > FRAME_PAYLOAD_MAX - payload)
            return -EMSGSIZE;
        payload += parts[i].bytes;
    }
    if (way == FABRIC_WINDOW && !fits(link, payload)) {
        if (payload < link->refused)
            link->refused = payload;
        return -EAGAIN;
    }
    struct fifo *fifo = way == FABRIC_URGENT ? &link->urgent : &link->normal;
    if (way != FABRIC_WINDOW &&
        fifo_count(fifo) + fifo_count(&link->sent) + payload > URGENT_BYTES_MAX)
        return -ENOBUFS;
    int err = fifo_reserve(fifo, FRAME_HEADER_BYTES + payload);
    if (err)
        return err;
    uint8_t *at = fifo->bytes + fifo->end;
    frame_put_header(at, &(struct frame){.bytes = (uint32_t)payload, .type = (uint8_t)type});
    at += FRAME_HEADER_BYTES;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].bytes)
            memcpy(at, parts[i].at, parts[i].bytes);
        at += parts[i].bytes;
    }
    fifo->end += FRAME_HEADER_BYTES + payload;
    link->payload_out += payload;
    return 0;
}

// Moves frames from `from` into `sent` while less than BATCH_BYTES are to be given. What finds no
// memory waits on.
static void number(struct link *link, struct fifo *from) {
    struct fifo *sent = &link->sent;
    while (fifo_count(from) > 0 && fifo_count(sent) - link->given < BATCH_BYTES) {
        const uint8_t *frame = from->bytes + from->begin;
        size_t bytes = frame_bytes_at(frame);
        if (fifo_reserve(sent, bytes) < 0)
            return;
        uint8_t *to = sent->bytes + sent->end;
        memcpy(to, frame, bytes);
        frame_put_u64(to + 8, ++link->sequence);
        sent->end += bytes;
        fifo_take(from, bytes);
    }
}

// The bytes of whole frames, at most BATCH_BYTES and one frame, that lie at `at`.
static size_t whole_frames(const uint8_t *at, size_t there) {
    size_t bytes = 0;
    while (bytes < there && bytes < BATCH_BYTES)
        bytes += frame_bytes_at(at + bytes);
    assert(bytes <= there);
    return bytes;
}

const uint8_t *link_load(struct link *link, size_t *bytes) {
    number(link, &link->urgent);
    number(link, &link->normal);
    size_t there = fifo_count(&link->sent) - link->given;
    const uint8_t *at = link->sent.bytes + link->sent.begin + link->given;
    *bytes = there ? whole_frames(at, there) : 0;
    return at;
}

bool link_waits(const struct link *link) {
    return fifo_count(&link->urgent) + fifo_count(&link->normal) > 0;
}

bool link_is_flushed(const struct link *link) {
    return fifo_count(&link->urgent) + fifo_count(&link->normal) + fifo_count(&link->sent) == 0;
}

bool link_is_taken(const struct link *link) {
    return link_is_flushed(link) && link->payload_out == link->payload_out_taken;
}

// ---- what the peer tells ----

// Drops the frames that the peer has received.
static int acknowledge(struct link *link, uint64_t received) {
    if (received < link->acknowledged || received > link->sequence)
        return -EPROTO;
    size_t bytes = 0;
    for (; link->acknowledged < received; link->acknowledged++)
        bytes += frame_bytes_at(link->sent.bytes + link->sent.begin + bytes);
    fifo_take(&link->sent, bytes);
    link->given = link->given > bytes ? link->given - bytes : 0;
    return 0;
}

int link_told(struct link *link, uint64_t received, uint64_t taken) {
    if (taken < link->payload_out_taken || taken > link->payload_out)
        return -EPROTO;
    int err = acknowledge(link, received);
    if (!err)
        link->payload_out_taken = taken;
    return err;
}

int link_resume(struct link *link, uint64_t received, uint64_t taken) {
    int err = link_told(link, received, taken);
    link->given = 0;
    return err;
}

bool link_has_room(struct link *link) {
    if (link->refused == SIZE_MAX || !fits(link, link->refused))
        return false;
    link->refused = SIZE_MAX;
    return true;
}

// ---- what comes ----

int link_arrived(struct link *link, const struct frame *frame) {
    link->wire_in += FRAME_HEADER_BYTES + frame->bytes;
    if (frame->sequence <= link->received)
        return 0;
    uint64_t overdue = link->payload_in - link->payload_taken;
    if (frame->sequence != link->received + 1 || overdue + frame->bytes > PAYLOAD_OVERDUE_MAX)
        return -EPROTO;
    link->received = frame->sequence;
    link->payload_in += frame->bytes;
    return 1;
}

int link_owes(const struct link *link) {
    uint64_t taken = link->payload_taken - link->told_taken;
    uint64_t wire = link->wire_in - link->told_wire;
    if (taken >= TELL_BYTES || wire >= TELL_BYTES)
        return 2;
    return taken > 0 || link->received != link->told_received;
}

void link_tell(struct link *link, uint8_t to[FRAME_HEADER_BYTES + TAKEN_BYTES]) {
    frame_put_header(to, &(struct frame){.bytes = TAKEN_BYTES, .type = FRAME_TAKEN});
    frame_put_u64(to + FRAME_HEADER_BYTES, link->received);
    frame_put_u64(to + FRAME_HEADER_BYTES + 8, link->payload_taken);
    link->told_received = link->received;
    link->told_taken = link->payload_taken;
    link->told_wire = link->wire_in;
}
