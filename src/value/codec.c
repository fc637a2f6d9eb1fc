// SPDX-License-Identifier: MIT
// The encoded form of values: a strict subset of CBOR (RFC 8949) in which every value has one
// encoding.
//
// clang-format off
//   nil              f6
//   bool             f4 false, f5 true
//   int >= 0         major 0: head(n), n up to 2^63-1
//   int < 0          major 1: head(-1-n), likewise
//   real             fb, then the 64 bits of the IEEE 754 number, big-endian. Always 64 bits, so
//                    that each number, infinity and NaN comes back as it was, bit by bit
//   bytes            major 2: head(length), then the bytes
//   text             major 3: head(length), then UTF-8: no surrogates, nothing overlong, a NUL is
//                    allowed
//   list             major 4: head(count), then the items
//   map              major 5: head(count), then key and value in turn; keys are text or int, in
//                    strictly rising order of their encoded bytes
//   reference        d9 98 58 (tag 39000), 50, peer and id of 8 bytes each, big-endian; the peer is
//                    not 0
//   error            d9 98 59 (tag 39001), 82, the code as an int of -2^31 .. -1, and f6 or a text
//                    of at least one byte
//   local pointer    d9 98 5a (tag 39002), major 0: head(address). Only in memory: never accepted
//                    from outside
//   notice           d9 98 5b (tag 39003), a list. Accepted from outside only as the whole of an
//                    item, and only where the reader says so
// clang-format on
//
//   head(n) with major type m is the shortest of these, numbers big-endian:
//     n < 24: one byte m<<5|n      n < 2^8: m<<5|24, 1 byte      n < 2^16: m<<5|25, 2 bytes
//     n < 2^32: m<<5|26, 4 bytes   n < 2^64: m<<5|27, 8 bytes
//
// Everything else is refused: indefinite lengths, longer heads than needed, short reals, undefined,
// other simple values, other tags, and whatever follows the end. Limits, each -EMSGSIZE:
// AC_VALUE_BYTES_MAX bytes, VALUE_ITEMS_MAX items (each head but those of tags, and those inside an
// error, counts), AC_VALUE_DEPTH_MAX lists and maps in each other.
//
// What comes from outside is checked once, by cbor_check: without recursion, without allocation,
// and with every claimed length compared with the bytes that are there before anything else is done
// with it. After that it is read without further checks.
#include "value/flat.h"

// A list or map that is being walked.
struct level {
    size_t left;        // items still to come; of a map, keys and values
    const uint8_t *key; // of a map, the key before, or NULL
    size_t key_bytes;
    bool is_map;
};

struct check {
    const uint8_t *at;  // what is to be read next
    const uint8_t *end; // of what there is
    unsigned flags;
    unsigned depth; // lists and maps around `at`
    struct extent *extent;
    struct level levels[AC_VALUE_DEPTH_MAX];
};

static bool head(const uint8_t **at, const uint8_t *end, unsigned *major, uint64_t *argument);
static int check_item(struct check *check);
static int check_string(struct check *check, unsigned major, uint64_t bytes);
static bool is_simple(uint8_t first);
static int check_tag(struct check *check, unsigned *major, uint64_t *argument);
static int check_error(struct check *check);
static int check_enter(struct check *check, unsigned major, uint64_t count);
static int check_key(struct check *check, const uint8_t *start);
static bool check_leave(struct check *check);

// ---- writing ----

size_t cbor_put_head(uint8_t *to, unsigned major, uint64_t argument) {
    assert(major <= CBOR_SIMPLE);
    return (size_t)(cbor_put(to, major, argument) - to);
}

int ac_encode(ac_value it, void **encoded, size_t *bytes) {
    if (!encoded || !bytes)
        return -EINVAL;
    *encoded = NULL;
    *bytes = 0;
    if (it.kind == AC_INVALID)
        return (int)it.as.integer;
    if (it.kind == AC_NOTICE || value_is_local(it))
        return -ENOTSUP;
    uint8_t scratch[16];
    ac_span span = value_encoded(it, scratch);
    void *copy = memory_allocate(span.bytes);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, span.at, span.bytes);
    *encoded = copy;
    *bytes = span.bytes;
    return 0;
}

// ---- walking what is known to be correct ----

const uint8_t *cbor_skip(const uint8_t *at) {
    for (uint64_t left = 1; left > 0; left--) {
        uint64_t argument;
        unsigned major = cbor_major(at);
        at = cbor_get_head(at, &argument);
        switch (major) {
        case CBOR_BYTES:
        case CBOR_TEXT: at += argument; break;
        case CBOR_ARRAY: left += argument; break;
        case CBOR_MAP: left += 2 * argument; break;
        case CBOR_TAG: left++; break;
        default: break;
        }
    }
    return at;
}

// ---- checking what came from outside ----

int cbor_check(const uint8_t *at, const uint8_t *end, unsigned flags, struct extent *extent) {
    struct check check;
    check.at = at;
    check.end = end;
    check.flags = flags;
    check.depth = 0;
    check.extent = extent;
    *extent = (struct extent){0};
    do {
        int err = check_item(&check);
        if (err)
            return err;
    } while (!check_leave(&check));
    extent->bytes = (size_t)(check.at - at);
    return extent->bytes <= AC_VALUE_BYTES_MAX ? 0 : -EMSGSIZE;
}

// Reads a head strictly and moves *at behind it. For a real the argument is its bits.
static bool head(const uint8_t **at, const uint8_t *end, unsigned *major, uint64_t *argument) {
    const uint8_t *here = *at;
    if (here >= end)
        return false;
    unsigned low = *here & 31;
    *major = cbor_major(here);
    size_t bytes = low < 24 ? 0 : (size_t)1 << (low - 24);
    if (low > 27 || (size_t)(end - here) <= bytes)
        return false;
    *at = cbor_get_head(here, argument);
    return cbor_head_bytes(*argument) == 1 + bytes || *here == CBOR_REAL;
}

// One item, of a list or map its head only.
static int check_item(struct check *check) {
    const uint8_t *start = check->at;
    unsigned major;
    uint64_t argument;
    if (!head(&check->at, check->end, &major, &argument))
        return -EBADMSG;
    if (++check->extent->items > VALUE_ITEMS_MAX)
        return -EMSGSIZE;
    int err = 0;
    switch (major) {
    case CBOR_UNSIGNED:
    case CBOR_NEGATIVE: err = argument <= INT64_MAX ? 0 : -EBADMSG; break;
    case CBOR_BYTES:
    case CBOR_TEXT: err = check_string(check, major, argument); break;
    case CBOR_SIMPLE: err = is_simple(*start) ? 0 : -EBADMSG; break;
    case CBOR_TAG: err = check_tag(check, &major, &argument); break;
    default: break;
    }
    if (!err && check->depth > 0)
        err = check_key(check, start);
    if (!err && (major == CBOR_ARRAY || major == CBOR_MAP))
        err = check_enter(check, major, argument);
    return err;
}

static int check_string(struct check *check, unsigned major, uint64_t bytes) {
    if (bytes > (size_t)(check->end - check->at))
        return -EBADMSG;
    if (major == CBOR_TEXT && !(check->flags & CHECK_TRUSTED) && !text_is_utf8(check->at, bytes))
        return -EBADMSG;
    check->at += bytes;
    return 0;
}

static bool is_simple(uint8_t first) {
    return first == CBOR_FALSE || first == CBOR_TRUE || first == CBOR_NULL || first == CBOR_REAL;
}

// What follows a tag. Of a notice only the head of its list, which is then to be entered as such:
// *major and *argument become those of the list.
static int check_tag(struct check *check, unsigned *major, uint64_t *argument) {
    bool trusted = check->flags & CHECK_TRUSTED;
    uint64_t tag = *argument, number;
    unsigned inner;
    if (tag == TAG_ERROR)
        return check_error(check);
    if (!head(&check->at, check->end, &inner, &number))
        return -EBADMSG;
    switch (tag) {
    case TAG_REF:
        if (inner != CBOR_BYTES || number != REF_BYTES ||
            (size_t)(check->end - check->at) < REF_BYTES || cbor_get_u64(check->at) == 0)
            return -EBADMSG;
        check->at += REF_BYTES;
        return 0;
    case TAG_POINTER:
        check->extent->local = true;
        return trusted && inner == CBOR_UNSIGNED ? 0 : -EBADMSG;
    case TAG_NOTICE:
        if (inner != CBOR_ARRAY || !(trusted || (check->depth == 0 && check->flags & CHECK_NOTICE)))
            return -EBADMSG;
        check->extent->local |= check->depth > 0;
        *major = inner;
        *argument = number;
        return 0;
    default: return -EBADMSG;
    }
}

static int check_error(struct check *check) {
    unsigned major;
    uint64_t argument;
    if (!head(&check->at, check->end, &major, &argument) || major != CBOR_ARRAY || argument != 2)
        return -EBADMSG;
    if (!head(&check->at, check->end, &major, &argument) || major != CBOR_NEGATIVE ||
        argument > INT32_MAX)
        return -EBADMSG;
    const uint8_t *text = check->at;
    if (!head(&check->at, check->end, &major, &argument))
        return -EBADMSG;
    if (*text == CBOR_NULL)
        return 0;
    return major == CBOR_TEXT && argument > 0 ? check_string(check, major, argument) : -EBADMSG;
}

// Begins a list or map with `count` entries.
static int check_enter(struct check *check, unsigned major, uint64_t count) {
    // Each entry takes a byte at least, so a count that is not there is found out here, before it
    // is used.
    uint64_t each = major == CBOR_MAP ? 2 : 1;
    if (count > (size_t)(check->end - check->at) / each)
        return -EBADMSG;
    if (check->depth == AC_VALUE_DEPTH_MAX)
        return -EMSGSIZE;
    check->levels[check->depth++] = (struct level){.left = count * each,
                                                   .is_map = major == CBOR_MAP};
    if (check->depth > check->extent->depth)
        check->extent->depth = check->depth;
    return 0;
}

// Counts the item from `start` to check->at off the list or map around it; if it is a key, checks
// it.
static int check_key(struct check *check, const uint8_t *start) {
    struct level *level = &check->levels[check->depth - 1];
    bool is_key = level->is_map && level->left % 2 == 0;
    level->left--;
    if (!is_key)
        return 0;
    unsigned major = cbor_major(start);
    if (major != CBOR_UNSIGNED && major != CBOR_NEGATIVE && major != CBOR_TEXT)
        return -EBADMSG;
    size_t bytes = (size_t)(check->at - start);
    size_t common = bytes < level->key_bytes ? bytes : level->key_bytes;
    // No key is the beginning of another, as its head tells its length.
    if (level->key && memcmp(level->key, start, common) >= 0)
        return -EBADMSG;
    level->key = start;
    level->key_bytes = bytes;
    return 0;
}

// Leaves the lists and maps that are complete. True when the whole item is.
static bool check_leave(struct check *check) {
    while (check->depth > 0 && check->levels[check->depth - 1].left == 0)
        check->depth--;
    return check->depth == 0;
}

// The length of the character at `at` when it is correct UTF-8 of more than one byte, else 0.
static size_t utf8_bytes(const uint8_t *at, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < bytes)
        return 0;
    uint32_t character = at[0] & (0x7f >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (at[i] & 0x3f);
    }
    bool surrogate = character >= 0xd800 && character <= 0xdfff;
    return character >= least[bytes] && character <= 0x10ffff && !surrogate ? bytes : 0;
}

bool text_is_utf8(const void *text, size_t bytes) {
    const uint8_t *at = text, *end = at + bytes;
    while (at < end) {
        uint64_t eight;
        while (end - at >= 8 && (memcpy(&eight, at, 8), !(eight & 0x8080808080808080u)))
            at += 8;
        if (at == end)
            break;
        size_t character = *at < 0x80 ? 1 : utf8_bytes(at, (size_t)(end - at));
        if (character == 0)
            return false;
        at += character;
    }
    return true;
}

// ---- reading frames and values ----

void cbor_reader_init(struct cbor_reader *reader, const void *bytes, size_t count) {
    static const uint8_t nothing[1];
    const uint8_t *at = count > 0 ? bytes : nothing;
    *reader = (struct cbor_reader){.at = at, .end = at + count};
}

bool cbor_read_end(const struct cbor_reader *reader) {
    return !reader->err && reader->at == reader->end;
}

// The next head, whose major type must be in the set (bits 1 << major).
static bool read_head(struct cbor_reader *reader, unsigned set, unsigned *major,
                      uint64_t *argument) {
    if (reader->err)
        return false;
    if (head(&reader->at, reader->end, major, argument) && set >> *major & 1)
        return true;
    reader->err = -EBADMSG;
    return false;
}

uint64_t cbor_read_unsigned(struct cbor_reader *reader) {
    unsigned major;
    uint64_t number;
    return read_head(reader, 1 << CBOR_UNSIGNED, &major, &number) ? number : 0;
}

int64_t cbor_read_int(struct cbor_reader *reader) {
    unsigned major;
    uint64_t number;
    if (!read_head(reader, 1 << CBOR_UNSIGNED | 1 << CBOR_NEGATIVE, &major, &number))
        return 0;
    if (number > INT64_MAX) {
        reader->err = -EBADMSG;
        return 0;
    }
    return (int64_t)(major == CBOR_NEGATIVE ? ~number : number);
}

bool cbor_read_bool(struct cbor_reader *reader) {
    const uint8_t *at = reader->at;
    unsigned major;
    uint64_t number;
    if (!read_head(reader, 1 << CBOR_SIMPLE, &major, &number))
        return false;
    if (*at != CBOR_TRUE && *at != CBOR_FALSE)
        reader->err = -EBADMSG;
    return *at == CBOR_TRUE;
}

ac_span cbor_read_span(struct cbor_reader *reader) {
    unsigned major;
    uint64_t bytes;
    if (!read_head(reader, 1 << CBOR_BYTES | 1 << CBOR_TEXT, &major, &bytes))
        return (ac_span){NULL, 0};
    if (bytes > (size_t)(reader->end - reader->at) ||
        (major == CBOR_TEXT && !text_is_utf8(reader->at, bytes))) {
        reader->err = -EBADMSG;
        return (ac_span){NULL, 0};
    }
    ac_span span = {reader->at, bytes};
    reader->at += bytes;
    return span;
}

ac_ref cbor_read_ref(struct cbor_reader *reader) {
    unsigned major;
    uint64_t number;
    if (!read_head(reader, 1 << CBOR_TAG, &major, &number))
        return ac_no_ref;
    if (number != TAG_REF)
        reader->err = -EBADMSG;
    if (!read_head(reader, 1 << CBOR_BYTES, &major, &number))
        return ac_no_ref;
    if (number != REF_BYTES || (size_t)(reader->end - reader->at) < REF_BYTES) {
        reader->err = -EBADMSG;
        return ac_no_ref;
    }
    ac_ref ref = {cbor_get_u64(reader->at), cbor_get_u64(reader->at + 8)};
    reader->at += REF_BYTES;
    return ref;
}

ac_value cbor_read_value(struct cbor_reader *reader, bool notices) {
    if (reader->err)
        return value_invalid(reader->err);
    struct extent extent;
    ac_value it;
    reader->err = cbor_check(reader->at, reader->end, notices ? CHECK_NOTICE : 0, &extent);
    if (reader->err)
        return value_invalid(reader->err);
    const uint8_t *at = reader->at;
    if (!plain_read(at, &it)) {
        struct ac_flat *flat = flat_create(&extent);
        if (!flat) {
            reader->err = -ENOMEM;
            return value_invalid(-ENOMEM);
        }
        memcpy(flat->encoded, at, extent.bytes);
        flat_read(flat, flat->encoded, &it); // the hold of its creation becomes that of the value
    }
    reader->at += extent.bytes;
    return it;
}

ac_value ac_decode(const void *encoded, size_t bytes) {
    struct cbor_reader reader;
    if (!encoded && bytes > 0)
        return value_invalid(-EINVAL);
    cbor_reader_init(&reader, encoded, bytes);
    ac_value it = cbor_read_value(&reader, false);
    if (reader.err || cbor_read_end(&reader))
        return it;
    ac_drop(it);
    return value_invalid(-EBADMSG);
}
