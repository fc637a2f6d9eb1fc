// SPDX-License-Identifier: MIT
// The frame on the wire, and the greeting with which a connection begins. Everything travels inside
// TLS.
//
// A frame, all numbers with the most significant byte first:
//
//    0  4  bytes of payload, 0 to FRAME_PAYLOAD_MAX
//    4  1  type: below 16 the fabric's own, 16 to 255 go up
//    5  1  flags: 0
//    6  2  0
//    8  8  sequence number: 1, 2, 3 ... over all frames that go up on one link; else 0
//   16     payload
//
// A header that breaks one of these rules ends the link before anything is allocated for it.
//
// The fabric's own frames:
//
//    1 HELLO      the first frame of the one who connected
//    2 WELCOME    the answer: the link is up
//    3 REFUSE     the answer: it is not, and why
//    4 TAKEN      8 bytes: the last sequence number received; 8 bytes: how many bytes of payload
//                 the receivers have taken since the link exists. Cumulative, so that a lost one
//                 does no harm
//    5 HEARTBEAT  nothing; or 1 byte: 1 asks for an answer, 2 answers; 8 bytes: a number drawn by
//                 the one who asks
//    6 GOODBYE    nothing, and nothing follows
//    7 INTRODUCE  CBOR: unsigned: id of another peer; bytes: the IP address, 4 or 16, at which it
//    is
//                 said to listen; unsigned: port. May be lost with the connection, and comes again
//                 with the next one
//    8 PART       nothing, and nothing follows on this link: the one who sends it goes on, and
//                 refuses new ones until it wants one itself
//
// The payload of a greeting (1, 2, 3), whose first ten bytes are the same in all versions of the
// wire:
//
//    0  8  "asyncoro"
//    8  2  version of the wire
//   10     CBOR items, one after the other:
//          HELLO, WELCOME  unsigned: peer, to, link, resuming (0 or 1), received, taken, heartbeat
//                          in ms, port; bytes: IP address of the speaker as it sees it, 0, 4 or 16;
//                          text: name; bytes: IP
//                          address at which it wants to be sought from elsewhere, 0, 4 or 16;
//                          unsigned: port of that
//          REFUSE          unsigned: peer, code; text, for people. The same in all versions
//
// A HELLO of another version is answered by REFUSE with REFUSE_VERSION.
#include "fabric/fabric_private.h"

static const uint8_t magic[8] = {'a', 's', 'y', 'n', 'c', 'o', 'r', 'o'};

enum { MAJOR_UNSIGNED = 0, MAJOR_BYTES = 2, MAJOR_TEXT = 3, CLEAR_BYTES = 10 };

_Static_assert(FRAME_BYTES_MAX <= 64 * 1024, "a frame is at most 64 KiB on the wire");
// 10 clear bytes, 10 numbers of at most 9 bytes, four strings with heads of at most 3.
_Static_assert(CLEAR_BYTES + 10 * 9 + 4 * 3 + 2 * 16 + NAME_BYTES_MAX + REFUSAL_TEXT_BYTES <=
                   GREETING_BYTES_MAX,
               "every greeting fits");

// Written out, which the compiler makes one instruction of.
void frame_put_u64(uint8_t to[8], uint64_t number) {
    to[0] = (uint8_t)(number >> 56);
    to[1] = (uint8_t)(number >> 48);
    to[2] = (uint8_t)(number >> 40);
    to[3] = (uint8_t)(number >> 32);
    to[4] = (uint8_t)(number >> 24);
    to[5] = (uint8_t)(number >> 16);
    to[6] = (uint8_t)(number >> 8);
    to[7] = (uint8_t)number;
}

uint64_t frame_read_u64(const uint8_t from[8]) {
    return (uint64_t)from[0] << 56 | (uint64_t)from[1] << 48 | (uint64_t)from[2] << 40 |
           (uint64_t)from[3] << 32 | (uint64_t)from[4] << 24 | (uint64_t)from[5] << 16 |
           (uint64_t)from[6] << 8 | from[7];
}

void frame_put_header(uint8_t to[FRAME_HEADER_BYTES], const struct frame *frame) {
    assert(frame->bytes <= FRAME_PAYLOAD_MAX);
    frame_put_u64(to, (uint64_t)frame->bytes << 32 | (uint64_t)frame->type << 24);
    frame_put_u64(to + 8, frame->sequence);
}

int frame_read_header(const uint8_t from[FRAME_HEADER_BYTES], struct frame *frame) {
    uint64_t first = frame_read_u64(from);
    frame->bytes = (uint32_t)(first >> 32);
    frame->type = (uint8_t)(first >> 24);
    frame->sequence = frame_read_u64(from + 8);
    bool numbered = frame->sequence != 0, goes_up = frame->type >= FRAME_UP;
    bool known = goes_up || (frame->type >= FRAME_HELLO && frame->type <= FRAME_PART);
    bool good = known && numbered == goes_up && (first & 0xffffff) == 0;
    return good && frame->bytes <= FRAME_PAYLOAD_MAX ? 0 : -EPROTO;
}

// ---- greetings ----

static uint8_t *put_number(uint8_t *to, uint64_t number) {
    return to + cbor_put_head(to, MAJOR_UNSIGNED, number);
}

static uint8_t *put_span(uint8_t *to, unsigned major, const void *bytes, size_t count) {
    to += cbor_put_head(to, major, count);
    memcpy(to, bytes, count);
    return to + count;
}

// IP and port; of no family: nothing, and 0.
static uint8_t *put_address(uint8_t *to, const struct sys_address *address) {
    to = put_span(to, MAJOR_BYTES, address->ip,
                  address->family == 4   ? 4
                  : address->family == 6 ? 16
                                         : 0);
    return put_number(to, address->port);
}

size_t frame_put_greeting(uint8_t to[FRAME_HEADER_BYTES + GREETING_BYTES_MAX], enum frame_type type,
                          const struct greeting *it) {
    uint8_t *payload = to + FRAME_HEADER_BYTES, *at = payload;
    memcpy(at, magic, sizeof magic);
    at[8] = 0;
    at[9] = WIRE_VERSION;
    at = put_number(at + CLEAR_BYTES, it->peer);
    if (type == FRAME_REFUSE) {
        at = put_number(at, it->refusal);
        at = put_span(at, MAJOR_TEXT, it->text, strnlen(it->text, REFUSAL_TEXT_BYTES));
    } else {
        at = put_number(at, it->to);
        at = put_number(at, it->link);
        at = put_number(at, it->resuming);
        at = put_number(at, it->received);
        at = put_number(at, it->taken);
        at = put_number(at, it->heartbeat_ms);
        at = put_number(at, it->port);
        at = put_span(at, MAJOR_BYTES, it->ip, it->ip_bytes);
        at = put_span(at, MAJOR_TEXT, it->name, strnlen(it->name, NAME_BYTES_MAX));
        at = put_address(at, &it->advertised);
    }
    size_t bytes = (size_t)(at - payload);
    assert(bytes <= GREETING_BYTES_MAX);
    frame_put_header(to, &(struct frame){.bytes = (uint32_t)bytes, .type = (uint8_t)type});
    return FRAME_HEADER_BYTES + bytes;
}

// Bytes, or a text; {NULL, 0} for the other of the two, too.
static ac_span read_span(struct cbor_reader *reader, unsigned major) {
    bool right = reader->at < reader->end && *reader->at >> 5 == major;
    ac_span span = cbor_read_span(reader);
    return right && !reader->err ? span : (ac_span){NULL, 0};
}

// A text for people from outside: what could do harm on a terminal becomes a question mark, also
// the control characters from U+0080 to U+009F, which begin with c2.
static bool read_text(struct cbor_reader *reader, char *to, size_t bytes_max) {
    ac_span span = read_span(reader, MAJOR_TEXT);
    if (!span.at || span.bytes > bytes_max)
        return false;
    const uint8_t *from = span.at;
    for (size_t i = 0; i < span.bytes; i++) {
        bool high = from[i] == 0xc2 && from[i + 1] < 0xa0; // it is UTF-8: another byte follows
        bool control = from[i] < 0x20 || from[i] == 0x7f || high;
        to[i] = control ? '?' : (char)from[i];
        if (high)
            to[++i] = '?';
    }
    to[span.bytes] = 0;
    return true;
}

static bool read_address(struct cbor_reader *reader, struct sys_address *to) {
    ac_span ip = cbor_read_span(reader);
    uint64_t port = cbor_read_unsigned(reader);
    if (reader->err || port > UINT16_MAX || (ip.bytes != 0 && ip.bytes != 4 && ip.bytes != 16))
        return false;
    *to = (struct sys_address){.family = ip.bytes == 4 ? 4 : ip.bytes == 16 ? 6 : 0};
    to->port = (uint16_t)port;
    memcpy(to->ip, ip.at, ip.bytes);
    return true;
}

static bool read_items(struct cbor_reader *reader, struct greeting *it) {
    it->to = cbor_read_unsigned(reader);
    it->link = cbor_read_unsigned(reader);
    uint64_t resuming = cbor_read_unsigned(reader);
    it->received = cbor_read_unsigned(reader);
    it->taken = cbor_read_unsigned(reader);
    it->heartbeat_ms = cbor_read_unsigned(reader);
    uint64_t port = cbor_read_unsigned(reader);
    ac_span ip = read_span(reader, MAJOR_BYTES);
    if (!ip.at || resuming > 1 || port > UINT16_MAX)
        return false;
    if (ip.bytes != 0 && ip.bytes != 4 && ip.bytes != 16)
        return false;
    it->resuming = resuming;
    it->port = (uint16_t)port;
    it->ip_bytes = (uint8_t)ip.bytes;
    memcpy(it->ip, ip.at, ip.bytes);
    return read_text(reader, it->name, NAME_BYTES_MAX) && read_address(reader, &it->advertised);
}

int frame_read_greeting(enum frame_type type, const uint8_t *payload, size_t bytes,
                        struct greeting *it) {
    *it = (struct greeting){0};
    if (bytes < CLEAR_BYTES || bytes > GREETING_BYTES_MAX ||
        memcmp(payload, magic, sizeof magic) != 0)
        return -EPROTO;
    unsigned version = (unsigned)payload[8] << 8 | payload[9];
    if (version != WIRE_VERSION && type != FRAME_REFUSE)
        return -EPROTONOSUPPORT;
    struct cbor_reader reader;
    cbor_reader_init(&reader, payload + CLEAR_BYTES, bytes - CLEAR_BYTES);
    it->peer = cbor_read_unsigned(&reader);
    if (type == FRAME_REFUSE) {
        uint64_t refusal = cbor_read_unsigned(&reader);
        it->refusal = refusal <= REFUSE_PARTED ? (enum refusal)refusal : 0;
        return read_text(&reader, it->text, REFUSAL_TEXT_BYTES) ? 0 : -EPROTO;
    }
    bool good = read_items(&reader, it) && cbor_read_end(&reader) && it->peer != 0;
    return good ? 0 : -EPROTO;
}

// ---- introductions ----

_Static_assert(9 + 1 + 16 + 3 <= INTRODUCTION_BYTES_MAX, "every introduction fits");

size_t frame_put_introduction(uint8_t to[FRAME_HEADER_BYTES + INTRODUCTION_BYTES_MAX],
                              uint64_t peer, const struct sys_address *address) {
    uint8_t *payload = to + FRAME_HEADER_BYTES;
    size_t bytes = (size_t)(put_address(put_number(payload, peer), address) - payload);
    frame_put_header(to, &(struct frame){.bytes = (uint32_t)bytes, .type = FRAME_INTRODUCE});
    return FRAME_HEADER_BYTES + bytes;
}

int frame_read_introduction(const uint8_t *payload, size_t bytes, uint64_t *peer,
                            struct sys_address *address) {
    struct cbor_reader reader;
    if (bytes > INTRODUCTION_BYTES_MAX)
        return -EPROTO;
    cbor_reader_init(&reader, payload, bytes);
    *peer = cbor_read_unsigned(&reader);
    bool good = read_address(&reader, address) && cbor_read_end(&reader);
    return good && address->family && address->port && *peer ? 0 : -EPROTO;
}
