// SPDX-License-Identifier: MIT
// What the files of value/ share and no other floor may see: the flat buffer, and CBOR that is
// known to be correct because this library wrote or checked it.
//
// A value either lies in the 16 bytes of its record (FORM_PLAIN) or in a flat buffer (FORM_FLAT).
// Each kind has one form only, so that equal values have equal forms:
//
//   plain   nil, bool, int, real, pointer, an error without a text, what is invalid
//   flat    text, bytes, list, map, reference, notice, an error with a text
//
//   ac_value                      struct ac_flat, one allocation
//   kind form     offset -------> texts holders bytes ... | encoded[bytes] | one NUL
//   flat ---------------------->                            ^ the item starts at `offset` in here
//
// An item of a list is the same buffer with another offset and one more holder: nothing is copied.
// A value with offset 0 is the whole buffer.
#ifndef VALUE_FLAT_H
#define VALUE_FLAT_H

#include "value/value.h"

enum { FORM_PLAIN = 0, FORM_FLAT }; // 0: see value_drop

#define VALUE_ITEMS_MAX ((size_t)1 << 20)

enum cbor_major {
    CBOR_UNSIGNED,
    CBOR_NEGATIVE,
    CBOR_BYTES,
    CBOR_TEXT,
    CBOR_ARRAY,
    CBOR_MAP,
    CBOR_TAG,
    CBOR_SIMPLE
};
enum { CBOR_FALSE = 0xf4, CBOR_TRUE = 0xf5, CBOR_NULL = 0xf6, CBOR_REAL = 0xfb };
// Each tag is three bytes: CBOR_TAG_FIRST and the number, big-endian.
enum { TAG_REF = 39000, TAG_ERROR = 39001, TAG_POINTER = 39002, TAG_NOTICE = 39003 };
enum { CBOR_TAG_FIRST = 0xd9, TAG_BYTES = 3, REF_BYTES = 16, REF_ENCODED_BYTES = 20 };

// What an encoded item amounts to: how the limits of a value are kept without walking it again.
struct extent {
    size_t bytes;   // encoded
    size_t items;   // its own and all inside; an error, a reference or a pointer is one
    unsigned depth; // levels of lists and maps: 0 for anything else
    bool local;     // has a local pointer in it, or a notice inside a list or map
};

struct ac_flat {
    // NULL, or as long as `encoded`: each text that ac_text_of had to end with a NUL stands here at
    // its own place. The NUL takes the place of the first byte of what follows, which is never part
    // of another text.
    char *texts;
    uint32_t holders; // values that refer to the buffer; the last one to be dropped releases it
    uint32_t bytes;   // of `encoded`, its closing NUL not counted
    uint32_t items;   // see struct extent
    uint16_t depth;   // likewise
    bool local;       // likewise
    uint8_t encoded[];
};

// ---- value.c ----

// A buffer with one holder and room for extent->bytes, whose limits were checked; NULL without
// memory.
struct ac_flat *flat_create(const struct extent *extent);
void flat_release(struct ac_flat *flat);

// Reads the checked item at `at`, in the buffer if its kind is not a plain one, and returns where
// it ends. The value has no hold of its own.
const uint8_t *flat_read(struct ac_flat *flat, const uint8_t *at, ac_value *it);
// The same if its kind is a plain one, else NULL.
const uint8_t *plain_read(const uint8_t *at, ac_value *it);
// The value of the item at `offset` of the buffer, with a hold of its own.
ac_value flat_item(struct ac_flat *flat, uint32_t offset);

// As ac_text_of for a value of kind AC_TEXT: 0, -EILSEQ when it has a NUL in it, -ENOMEM.
int value_text(ac_value it, const char **text);

// ---- codec.c ----

bool text_is_utf8(const void *text, size_t bytes);

enum { CHECK_TRUSTED = 1, CHECK_NOTICE = 2 };
// Walks one item that starts at `at` and checks everything the head of codec.c promises.
// CHECK_TRUSTED: bytes of this process, where pointers and notices may stand anywhere and texts
// need no check. CHECK_NOTICE: the item itself may be a notice. 0 and *extent; -EBADMSG; -EMSGSIZE
// over a limit.
int cbor_check(const uint8_t *at, const uint8_t *end, unsigned flags, struct extent *extent);
// Where the checked item at `at` ends.
const uint8_t *cbor_skip(const uint8_t *at);

// Sums of comparisons, not branches: numbers of all sizes come mixed.
static inline size_t cbor_head_bytes(uint64_t argument) {
    return 1 + (argument >= 24) + (argument > UINT8_MAX) + 2 * (argument > UINT16_MAX) +
           4 * (argument > UINT32_MAX);
}

static inline uint64_t cbor_get_u64(const uint8_t *at) {
    uint64_t number;
    memcpy(&number, at, sizeof number);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    number = __builtin_bswap64(number);
#endif
    return number;
}

static inline unsigned cbor_major(const uint8_t *at) { return *at >> 5; }
static inline unsigned cbor_tag(const uint8_t *at) { return (unsigned)at[1] << 8 | at[2]; }

static inline uint8_t *cbor_put_tag(uint8_t *to, unsigned tag) {
    to[0] = CBOR_TAG_FIRST;
    to[1] = (uint8_t)(tag >> 8);
    to[2] = (uint8_t)tag;
    return to + TAG_BYTES;
}

static inline uint8_t *cbor_put_u64(uint8_t *to, uint64_t number) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    number = __builtin_bswap64(number);
#endif
    memcpy(to, &number, sizeof number);
    return to + sizeof number;
}

// Reads the head of a checked item and returns what follows it.
static inline const uint8_t *cbor_get_head(const uint8_t *at, uint64_t *argument) {
    unsigned low = *at & 31;
    switch (low) {
    case 24: *argument = at[1]; return at + 2;
    case 25: *argument = (uint64_t)at[1] << 8 | at[2]; return at + 3;
    case 26:
        *argument = (uint64_t)at[1] << 24 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 8 | at[4];
        return at + 5;
    case 27: *argument = cbor_get_u64(at + 1); return at + 9;
    default: *argument = low; return at + 1;
    }
}

// As cbor_put_head, but returns what follows the head.
static inline uint8_t *cbor_put(uint8_t *to, unsigned major, uint64_t argument) {
    uint8_t type = (uint8_t)(major << 5);
    if (argument < 24) {
        *to = (uint8_t)(type | argument);
        return to + 1;
    }
    size_t bytes = cbor_head_bytes(argument) - 1;
    *to = (uint8_t)(type | (24 + __builtin_ctzll(bytes)));
    for (size_t i = bytes; i > 0; i--, argument >>= 8)
        to[i] = (uint8_t)argument;
    return to + 1 + bytes;
}

// The error as it is inside: without the checks of the public maker.
static inline ac_value plain_error(int64_t code) {
    return (ac_value){.kind = AC_ERROR, .as.integer = code};
}

#endif
