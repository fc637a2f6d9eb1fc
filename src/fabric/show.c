// SPDX-License-Identifier: MIT
// AC_TRACE=frame: each frame as a line on standard error, in both directions, as it is given to a
// connection or taken from one; what is sent again is shown again.
//
//   asyncoro frame: -> 00ab12cd34ef5678 SEND 12, ack 7, 31 bytes: to <reference ab..:17>: [1, "a"]
//   asyncoro frame: <- 00ab12cd34ef5678 TAKEN, ack 12, 16 bytes: received 12, taken 310 bytes
//
// The arrow points to the receiver; the other side is named by its id or, until that is known, by
// its address. Behind the type stands the number of a frame that has one; then the last number that
// the receiver is known to have heard of from here (out), or we from it (in); then the bytes of
// payload. Of greetings nothing but the size is shown, and of TLS nothing at all: no line holds
// anything from which a key could be found. What other frames say the floor above tells.
#include "fabric/fabric_private.h"

#include <stdio.h>

enum { WHO_BYTES = 72, SAYS_BYTES = 640 };

static const char *name_of(unsigned type) {
    switch (type) {
    case FRAME_HELLO: return "HELLO";
    case FRAME_WELCOME: return "WELCOME";
    case FRAME_REFUSE: return "REFUSE";
    case FRAME_TAKEN: return "TAKEN";
    case FRAME_HEARTBEAT: return "HEARTBEAT";
    case FRAME_GOODBYE: return "GOODBYE";
    case FRAME_INTRODUCE: return "INTRODUCE";
    case FRAME_PART: return "PART";
    }
    return NULL;
}

// What a frame of this floor says; nothing of a greeting. Returns the name of its type.
static const char *describe_own(const struct frame *frame, const uint8_t *payload, char *text) {
    text[0] = 0;
    if (frame->type == FRAME_TAKEN && frame->bytes == TAKEN_BYTES)
        snprintf(text, SAYS_BYTES, "received %llu, taken %llu bytes",
                 (unsigned long long)frame_read_u64(payload),
                 (unsigned long long)frame_read_u64(payload + 8));
    return name_of(frame->type);
}

// The same for a frame that goes up.
static const char *describe(const struct connection *it, bool out, const struct frame *frame,
                            const uint8_t *payload, char *text) {
    const struct fabric *fabric = it->fabric;
    text[0] = 0;
    if (!fabric->door.describe || !it->peer)
        return NULL;
    uint64_t to = out ? it->peer->id : fabric->self;
    return fabric->door.describe(to, frame->type, payload, frame->bytes, text, SAYS_BYTES);
}

static void name_other_side(const struct connection *it, char who[WHO_BYTES]) {
    if (it->peer)
        snprintf(who, WHO_BYTES, "%016llx", (unsigned long long)it->peer->id);
    else
        sys_address_text(&it->remote, who);
}

void show_frame(const struct connection *it, bool out, const struct frame *frame,
                const uint8_t *payload) {
    char who[WHO_BYTES], says[SAYS_BYTES], type[24], number[24] = "";
    const char *name = frame->type < FRAME_UP ? describe_own(frame, payload, says)
                                              : describe(it, out, frame, payload, says);
    uint64_t ack = 0;
    name_other_side(it, who);
    snprintf(type, sizeof type, "type %u", frame->type);
    if (frame->sequence)
        snprintf(number, sizeof number, " %llu", (unsigned long long)frame->sequence);
    if (it->peer)
        ack = out ? it->peer->link.told_received : it->peer->link.acknowledged;
    trace(TRACE_FRAME, "%s %s %s%s, ack %llu, %u bytes%s%s", out ? "->" : "<-", who,
          name ? name : type, number, (unsigned long long)ack, frame->bytes, *says ? ": " : "",
          says);
}

void show_frames(const struct connection *it, const uint8_t *frames, size_t bytes) {
    for (size_t at = 0; at + FRAME_HEADER_BYTES <= bytes;) {
        struct frame frame;
        int err = frame_read_header(frames + at, &frame);
        assert(err == 0);
        (void)err;
        show_frame(it, true, &frame, frames + at + FRAME_HEADER_BYTES);
        at += FRAME_HEADER_BYTES + frame.bytes;
    }
}
