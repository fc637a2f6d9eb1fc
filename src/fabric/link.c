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
// The three queues are rows of chunks, each of whole frames: what is to be sent moves from one row
// to the next with its chunk, and what comes to the end of its way makes room for more.
//
// Limits: FABRIC_WINDOW_BYTES bytes of payload in flight, or one frame; four times that on the
// wire, so that very small frames cannot pile up; URGENT_BYTES_MAX of frames that the window does
// not hold back, of those that wait here, and beyond the window of those in flight.
#include "fabric/fabric_private.h"

enum {
    QUEUED_BYTES_MAX = 4 * FABRIC_WINDOW_BYTES,
    CHUNK_BYTES = 128 * 1024 - 64, // so that malloc does not ask the system for each
    CHUNK_BYTES_LEAST = 2 * 1024,  // of the first of a row: most links have little to say at a time
    SPARE_MAX = FABRIC_WINDOW_BYTES / CHUNK_BYTES
};

_Static_assert((int)FRAME_BYTES_MAX <= (int)CHUNK_BYTES, "every frame fits a chunk");

// ---- frames in a row ----

// Whole frames, one behind the other.
struct chunk {
    struct chunk *next;
    size_t begin; // frames lie in bytes[begin..end)
    size_t end;
    size_t capacity;
    uint8_t bytes[];
};

static size_t fifo_count(const struct fifo *fifo) { return fifo->count; }

// One that holds `bytes` at the least.
static struct chunk *chunk_take(struct link *link, size_t bytes, size_t wanted) {
    struct chunk *chunk = link->spare;
    if (chunk && chunk->capacity >= bytes) {
        link->spare = chunk->next;
        link->spares--;
    } else {
        size_t capacity = bytes > wanted ? CHUNK_BYTES : wanted;
        chunk = memory_allocate(sizeof *chunk + capacity);
        if (!chunk)
            return NULL;
        chunk->capacity = capacity;
    }
    chunk->next = NULL;
    chunk->begin = chunk->end = 0;
    return chunk;
}

static void chunk_give(struct link *link, struct chunk *chunk) {
    if (chunk->capacity < CHUNK_BYTES || link->spares >= SPARE_MAX) {
        memory_release(chunk);
        return;
    }
    chunk->next = link->spare;
    link->spare = chunk;
    link->spares++;
}

static void fifo_append(struct fifo *fifo, struct chunk *chunk) {
    if (fifo->last)
        fifo->last->next = chunk;
    else
        fifo->first = chunk;
    fifo->last = chunk;
}

static struct chunk *fifo_take(struct fifo *fifo) {
    struct chunk *chunk = fifo->first;
    fifo->first = chunk->next;
    if (!fifo->first)
        fifo->last = NULL;
    chunk->next = NULL;
    return chunk;
}

static void fifo_done(struct link *link, struct fifo *fifo) {
    while (fifo->first)
        chunk_give(link, fifo_take(fifo));
    fifo->count = 0;
}

// Room for a frame at the end, which counts as there; NULL if there is no memory.
static uint8_t *fifo_put(struct link *link, struct fifo *fifo, size_t bytes) {
    struct chunk *last = fifo->last;
    if (!last || last->capacity - last->end < bytes) {
        last = chunk_take(link, bytes, last ? CHUNK_BYTES : CHUNK_BYTES_LEAST);
        if (!last)
            return NULL;
        fifo_append(fifo, last);
    }
    uint8_t *at = last->bytes + last->end;
    last->end += bytes;
    fifo->count += bytes;
    return at;
}

// The bytes of the frame at the beginning of what lies there, of which we have made the header.
static size_t frame_bytes_at(const uint8_t *at) {
    return FRAME_HEADER_BYTES +
           ((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]);
}

// ---- life ----

void link_init(struct link *link) { *link = (struct link){.refused = SIZE_MAX}; }

void link_rest(struct link *link) {
    while (link->spare) {
        struct chunk *chunk = link->spare;
        link->spare = chunk->next;
        memory_release(chunk);
    }
    link->spares = 0;
}

void link_reset(struct link *link) {
    fifo_done(link, &link->urgent);
    fifo_done(link, &link->normal);
    fifo_done(link, &link->sent);
    link_rest(link);
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

// What the window does not hold back has limits nevertheless: that of what waits here, and that
// which the peer sets to what was not taken there (link_arrived).
static bool is_too_much(const struct link *link, const struct fifo *fifo, size_t payload) {
    uint64_t in_flight = link->payload_out - link->payload_out_taken;
    return fifo_count(fifo) + fifo_count(&link->sent) + payload > URGENT_BYTES_MAX ||
           in_flight + payload > FABRIC_WINDOW_BYTES + URGENT_BYTES_MAX;
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
    if (way != FABRIC_WINDOW && is_too_much(link, fifo, payload))
        return -ENOBUFS;
    uint8_t *at = fifo_put(link, fifo, FRAME_HEADER_BYTES + payload);
    if (!at)
        return -ENOMEM;
    frame_put_header(at, &(struct frame){.bytes = (uint32_t)payload, .type = (uint8_t)type});
    at += FRAME_HEADER_BYTES;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].bytes)
            memcpy(at, parts[i].at, parts[i].bytes);
        at += parts[i].bytes;
    }
    link->payload_out += payload;
    return 0;
}

static void number_chunk(struct link *link, struct chunk *chunk) {
    for (size_t at = chunk->begin; at < chunk->end; at += frame_bytes_at(chunk->bytes + at))
        frame_put_u64(chunk->bytes + at + 8, ++link->sequence);
}

// Moves frames from `from` into `sent`, a chunk at a time, while less than BATCH_BYTES are to be
// given. Little is copied behind what is there, so that many little ones do not take a chunk each.
static void number(struct link *link, struct fifo *from) {
    struct fifo *sent = &link->sent;
    while (from->count > 0 && sent->count - link->given < BATCH_BYTES) {
        struct chunk *chunk = fifo_take(from), *last = sent->last;
        size_t bytes = chunk->end - chunk->begin;
        number_chunk(link, chunk);
        from->count -= bytes;
        sent->count += bytes;
        if (last && last->capacity - last->end >= bytes) {
            memcpy(last->bytes + last->end, chunk->bytes + chunk->begin, bytes);
            last->end += bytes;
            chunk_give(link, chunk);
        } else {
            fifo_append(sent, chunk);
        }
    }
}

const uint8_t *link_load(struct link *link, size_t *bytes) {
    number(link, &link->urgent);
    number(link, &link->normal);
    size_t before = link->given;
    *bytes = 0;
    for (const struct chunk *chunk = link->sent.first; chunk; chunk = chunk->next) {
        size_t there = chunk->end - chunk->begin;
        if (before < there) {
            *bytes = there - before;
            return chunk->bytes + chunk->begin + before;
        }
        before -= there;
    }
    return NULL;
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
    struct fifo *sent = &link->sent;
    for (; link->acknowledged < received; link->acknowledged++) {
        struct chunk *chunk = sent->first;
        size_t bytes = frame_bytes_at(chunk->bytes + chunk->begin);
        chunk->begin += bytes;
        sent->count -= bytes;
        link->given = link->given > bytes ? link->given - bytes : 0;
        if (chunk->begin == chunk->end)
            chunk_give(link, fifo_take(sent));
    }
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
