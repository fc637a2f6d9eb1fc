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

enum { FORM_PLAIN, FORM_FLAT };

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

// The value of the checked item at `at` if its kind is a plain one.
bool plain_from(const uint8_t *at, ac_value *it);
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

uint8_t *cbor_put_tag(uint8_t *to, unsigned tag);
uint8_t *cbor_put_u64(uint8_t *to, uint64_t number);

static inline size_t cbor_head_bytes(uint64_t argument) {
    return argument < 24            ? 1
           : argument <= UINT8_MAX  ? 2
           : argument <= UINT16_MAX ? 3
           : argument <= UINT32_MAX ? 5
                                    : 9;
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

// Reads the head of a checked item and returns what follows it.
static inline const uint8_t *cbor_get_head(const uint8_t *at, uint64_t *argument) {
    unsigned low = *at++ & 31;
    if (low < 24) {
        *argument = low;
        return at;
    }
    size_t bytes = (size_t)1 << (low - 24);
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | at[i];
    *argument = number;
    return at + bytes;
}

#endif
