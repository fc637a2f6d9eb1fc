// SPDX-License-Identifier: MIT
// Fuzz target: the decoder of values. What it accepts has one encoding, the one that it was given,
// and libcbor reads it as well. What it refuses is refused by a second judge, too, who knows the
// rules of value/codec.c and takes its heads apart with libcbor.
#include "fuzz.h"

#include "value/value.h"

#include <string.h>

// ---- a judge of his own ----

#ifdef ORACLE
#include <cbor.h>

enum { JUDGE_DEPTH_MAX = 40 };

enum verdict { BAD, GOOD, UNKNOWN };

// What stands at a place, as libcbor sees it.
struct item {
    enum { NUMBER, BYTES, TEXT, LIST, MAP, TAG, REAL, SIMPLE } kind;
    int is_negative, is_null;
    uint64_t number;
    const uint8_t *content;
    size_t bytes; // of head and content
};

#define ON_NUMBER(name_, type_, kind_, negative_)                                                  \
    static void name_(void *context, type_ number) {                                               \
        *(struct item *)context = (struct item){                                                   \
            .kind = kind_, .is_negative = negative_, .number = number};                            \
    }
ON_NUMBER(on_u8, uint8_t, NUMBER, 0)
ON_NUMBER(on_u16, uint16_t, NUMBER, 0)
ON_NUMBER(on_u32, uint32_t, NUMBER, 0)
ON_NUMBER(on_u64, uint64_t, NUMBER, 0)
ON_NUMBER(on_n8, uint8_t, NUMBER, 1)
ON_NUMBER(on_n16, uint16_t, NUMBER, 1)
ON_NUMBER(on_n32, uint32_t, NUMBER, 1)
ON_NUMBER(on_n64, uint64_t, NUMBER, 1)
ON_NUMBER(on_list, size_t, LIST, 0)
ON_NUMBER(on_map, size_t, MAP, 0)
ON_NUMBER(on_tag, uint64_t, TAG, 0)

static void on_bytes(void *context, cbor_data at, size_t count) {
    *(struct item *)context = (struct item){.kind = BYTES, .content = at, .number = count};
}
static void on_text(void *context, cbor_data at, size_t count) {
    *(struct item *)context = (struct item){.kind = TEXT, .content = at, .number = count};
}
static void on_real(void *context, double number) {
    (void)number;
    *(struct item *)context = (struct item){.kind = REAL};
}
static void on_bool(void *context, bool it) {
    (void)it;
    *(struct item *)context = (struct item){.kind = SIMPLE};
}
static void on_null(void *context) {
    *(struct item *)context = (struct item){.kind = SIMPLE, .is_null = 1};
}

// How long libcbor itself would make this head; 0 for what it does not know.
static size_t head_bytes(const struct item *it) {
    uint8_t scratch[16];
    switch (it->kind) {
    case NUMBER:
        return it->is_negative ? cbor_encode_negint(it->number, scratch, sizeof scratch)
                               : cbor_encode_uint(it->number, scratch, sizeof scratch);
    case BYTES: return cbor_encode_bytestring_start(it->number, scratch, sizeof scratch);
    case TEXT: return cbor_encode_string_start(it->number, scratch, sizeof scratch);
    case LIST: return cbor_encode_array_start(it->number, scratch, sizeof scratch);
    case MAP: return cbor_encode_map_start(it->number, scratch, sizeof scratch);
    case TAG: return cbor_encode_tag(it->number, scratch, sizeof scratch);
    default: return 0;
    }
}

// False for what is not there whole, of a kind that values do not have, or longer than needed.
static bool next(const uint8_t *at, const uint8_t *end, struct item *it) {
    struct cbor_callbacks calls = cbor_empty_callbacks;
    calls.uint8 = on_u8, calls.uint16 = on_u16, calls.uint32 = on_u32, calls.uint64 = on_u64;
    calls.negint8 = on_n8, calls.negint16 = on_n16, calls.negint32 = on_n32;
    calls.negint64 = on_n64, calls.byte_string = on_bytes, calls.string = on_text;
    calls.array_start = on_list, calls.map_start = on_map, calls.tag = on_tag;
    calls.float8 = on_real, calls.boolean = on_bool, calls.null = on_null;
    it->bytes = 0;
    it->kind = SIMPLE;
    it->number = SIZE_MAX; // a call that nobody hears leaves it there
    struct cbor_decoder_result result = cbor_stream_decode(at, (size_t)(end - at), &calls, it);
    if (result.status != CBOR_DECODER_FINISHED || it->number == SIZE_MAX)
        return false;
    it->bytes = result.read;
    if (it->kind == REAL || it->kind == SIMPLE)
        return true;
    size_t content = it->kind == BYTES || it->kind == TEXT ? it->number : 0;
    return result.read == head_bytes(it) + content;
}

// Table 3-7 of the Unicode standard.
static bool is_text(const uint8_t *at, size_t count) {
    static const struct {
        uint8_t first, last, low, high;
        size_t more;
    } rows[] = {
        {0x00, 0x7f, 0, 0, 0},       {0xc2, 0xdf, 0x80, 0xbf, 1}, {0xe0, 0xe0, 0xa0, 0xbf, 2},
        {0xe1, 0xec, 0x80, 0xbf, 2}, {0xed, 0xed, 0x80, 0x9f, 2}, {0xee, 0xef, 0x80, 0xbf, 2},
        {0xf0, 0xf0, 0x90, 0xbf, 3}, {0xf1, 0xf3, 0x80, 0xbf, 3}, {0xf4, 0xf4, 0x80, 0x8f, 3}};
    for (size_t i = 0; i < count;) {
        size_t row = 0, rows_max = sizeof rows / sizeof *rows;
        while (row < rows_max && !(at[i] >= rows[row].first && at[i] <= rows[row].last))
            row++;
        if (row == rows_max || count - i <= rows[row].more)
            return false;
        for (size_t n = 1; n <= rows[row].more; n++)
            if (at[i + n] < (n == 1 ? rows[row].low : 0x80) ||
                at[i + n] > (n == 1 ? rows[row].high : 0xbf))
                return false;
        i += 1 + rows[row].more;
    }
    return true;
}

static enum verdict judge(const uint8_t **at, const uint8_t *end, unsigned depth);

static enum verdict judge_tag(const uint8_t **at, const uint8_t *end, uint64_t tag) {
    struct item it;
    static const uint8_t nobody[8];
    if (!next(*at, end, &it))
        return BAD;
    *at += it.bytes;
    if (tag == 39000)
        return it.kind == BYTES && it.number == 16 && memcmp(it.content, nobody, 8) != 0 ? GOOD
                                                                                         : BAD;
    if (tag != 39001 || it.kind != LIST || it.number != 2 || !next(*at, end, &it) ||
        it.kind != NUMBER || !it.is_negative || it.number > INT32_MAX)
        return BAD;
    *at += it.bytes;
    if (!next(*at, end, &it))
        return BAD;
    *at += it.bytes;
    return it.is_null || (it.kind == TEXT && it.number > 0 && is_text(it.content, it.number)) ? GOOD
                                                                                              : BAD;
}

static enum verdict judge_map(const uint8_t **at, const uint8_t *end, uint64_t count,
                              unsigned depth) {
    const uint8_t *last = NULL;
    size_t last_bytes = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct item key;
        const uint8_t *start = *at;
        if (!next(start, end, &key) || (key.kind != NUMBER && key.kind != TEXT))
            return BAD;
        size_t common = key.bytes < last_bytes ? key.bytes : last_bytes;
        if (last && memcmp(last, start, common) >= 0)
            return BAD;
        last = start;
        last_bytes = key.bytes;
        enum verdict of_key = judge(at, end, depth);
        enum verdict of_value = of_key == GOOD ? judge(at, end, depth) : of_key;
        if (of_value != GOOD)
            return of_value;
    }
    return GOOD;
}

static enum verdict judge(const uint8_t **at, const uint8_t *end, unsigned depth) {
    struct item it;
    enum verdict verdict = GOOD;
    if (depth > JUDGE_DEPTH_MAX)
        return UNKNOWN; // the limit has been passed, but there may be worse behind
    if (!next(*at, end, &it))
        return BAD;
    *at += it.bytes;
    switch (it.kind) {
    case NUMBER: return it.number <= INT64_MAX ? GOOD : BAD;
    case TEXT: return is_text(it.content, it.number) ? GOOD : BAD;
    case LIST:
        for (uint64_t i = 0; i < it.number && verdict == GOOD; i++)
            verdict = judge(at, end, depth + 1);
        return verdict;
    case MAP: return judge_map(at, end, it.number, depth + 1);
    case TAG: return judge_tag(at, end, it.number);
    default: return GOOD;
    }
}

// libcbor makes a tree of it, and of the tree the same bytes. Only for what was accepted: a length
// that is not there makes it ask for gigabytes.
static void compare_tree(const uint8_t *bytes, size_t count) {
    struct cbor_load_result result;
    unsigned char *again = NULL;
    size_t room = 0;
    cbor_item_t *tree = cbor_load(bytes, count, &result);
    REQUIRE(tree && result.read == count);
    size_t made = cbor_serialize_alloc(tree, &again, &room);
    REQUIRE(made == count && memcmp(again, bytes, count) == 0);
    free(again);
    cbor_decref(&tree);
}

static void compare(const uint8_t *bytes, size_t count, int err) {
    const uint8_t *at = bytes;
    enum verdict verdict = judge(&at, bytes + count, 0);
    if (verdict == GOOD && at != bytes + count)
        verdict = BAD;
    if (err == 0) {
        REQUIRE(verdict == GOOD);
        compare_tree(bytes, count);
    } else if (err == -EBADMSG) {
        REQUIRE(verdict != GOOD);
    }
}
#else
static void compare(const uint8_t *bytes, size_t count, int err) {
    (void)bytes;
    (void)count;
    (void)err;
}
#endif

// ---- what was accepted ----

// Visits all that is inside; how deep it is.
static unsigned visit(ac_value it) {
    unsigned deepest = 0;
    ac_value item;
    size_t count = 0, cursor = 0;
    (void)ac_text_of(it);
    while (ac_next(it, &cursor, &item)) {
        unsigned depth = visit(item);
        deepest = depth > deepest ? depth : deepest;
        count++;
        ac_drop(item);
    }
    REQUIRE(count == ac_count(it) * (ac_kind_of(it) == AC_MAP ? 2 : 1));
    return deepest + 1;
}

static void use(ac_value it, const uint8_t *bytes, size_t count) {
    void *again;
    size_t again_bytes;
    REQUIRE(visit(it) <= AC_VALUE_DEPTH_MAX + 1);
    REQUIRE(ac_encode(it, &again, &again_bytes) == 0);
    REQUIRE(again_bytes == count && memcmp(again, bytes, count) == 0);
    free(again);
    char text[256];
    int length = ac_format(text, sizeof text, "%v", it);
    REQUIRE(length >= 0 && strlen(text) < sizeof text);
    REQUIRE(ac_equal(it, it));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    ac_value it = ac_decode(bytes, count);
    int err = ac_kind_of(it) == AC_INVALID ? ac_error_of(it) : 0;
    REQUIRE(err == 0 || err == -EBADMSG || err == -EMSGSIZE);
    compare(bytes, count, err);
    if (err == 0)
        use(it, bytes, count);
    ac_drop(it);
    return 0;
}
