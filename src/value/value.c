// SPDX-License-Identifier: MIT
// Making, owning and reading values. flat.h shows how they lie in memory, codec.c how they are
// encoded.
//
// A list or map is made in two passes over its items: the first adds up what they amount to and
// finds the first one that is invalid, the second writes into the one allocation; items that are
// flat are copied as they stand.
#define AC_IN_PLACE_ // here the library gets its own
#include "value/flat.h"

#include <stdlib.h>

enum { KEYS_ON_STACK = 16 };

// A key of a map in the making.
struct key {
    const uint8_t *at;   // its encoded form; NULL: it is `small`
    size_t bytes;        // of the encoded form
    const ac_value *key; // in the caller's array; its value stands behind it
    uint8_t small[16];   // an integer's encoded form
};

static ac_value value_of_flat(struct ac_flat *flat, enum ac_kind kind, size_t offset);
static ac_value of_string(unsigned major, const void *data, size_t bytes);
static int add_flat(struct extent *total, ac_value it);
static int add_all(struct extent *total, const ac_value *items, size_t n, size_t entries);
static void measure(ac_value it, struct extent *extent);
static uint8_t *put_item(uint8_t *to, ac_value it);
static int map_write(const ac_value *items, size_t count, ac_value *map);
static int keys_sort(struct key *keys, const ac_value *items, size_t count);
static int keys_compare(const void *a, const void *b);
static enum ac_kind tag_kind(const uint8_t *at);
static const uint8_t *item_at(ac_value it);
static const uint8_t *first_item(ac_value of, uint64_t *items);
static ac_value item_value(ac_value of, const uint8_t *at);
static ac_span error_text(ac_value error);

// ---- the flat buffer ----

struct ac_flat *flat_create(const struct extent *extent) {
    assert(extent->bytes > 0 && extent->bytes <= AC_VALUE_BYTES_MAX);
    struct ac_flat *flat = memory_allocate(sizeof *flat + extent->bytes + 1);
    if (!flat)
        return NULL;
    flat->texts = NULL;
    flat->holders = 1;
    flat->bytes = (uint32_t)extent->bytes;
    flat->items = (uint32_t)extent->items;
    flat->depth = (uint16_t)extent->depth;
    flat->local = extent->local;
    flat->encoded[extent->bytes] = 0;
    return flat;
}

void flat_release(struct ac_flat *flat) {
    memory_release(flat->texts);
    memory_release(flat);
}

static ac_value value_of_flat(struct ac_flat *flat, enum ac_kind kind, size_t offset) {
    return (ac_value){
        .kind = (uint8_t)kind, .form = FORM_FLAT, .offset = (uint32_t)offset, .as.flat = flat};
}

ac_value ac_hold(ac_value it) {
    if (it.form == FORM_FLAT) {
        assert(it.as.flat->holders < UINT32_MAX);
        it.as.flat->holders++;
    }
    return it;
}

static inline void drop(ac_value it) {
    if (it.form == FORM_FLAT && --it.as.flat->holders == 0)
        flat_release(it.as.flat);
}

void ac_drop(ac_value it) { drop(it); }

// ---- making what needs no memory ----

ac_value ac_of_unsigned(uint64_t it) {
    return it <= INT64_MAX ? ac_of_int((int64_t)it) : value_invalid(-ERANGE);
}

ac_value ac_result(int err) { return err < 0 ? ac_of_error(err, NULL) : ac_nil; }

ac_value value_invalid(int err) {
    assert(err < 0);
    return (ac_value){.kind = AC_INVALID, .as.integer = err};
}

// The number that follows the head's major type: a negative n is encoded as -1-n.
static uint64_t magnitude(int64_t it) { return it < 0 ? ~(uint64_t)it : (uint64_t)it; }

// The kinds that come most are asked first: a table of jumps costs more than the whole of an int.
static inline size_t plain_bytes(ac_value it) {
    if (it.kind == AC_INT)
        return cbor_head_bytes(magnitude(it.as.integer));
    if (it.kind == AC_REAL)
        return 9;
    if (it.kind == AC_ERROR)
        return TAG_BYTES + 1 + cbor_head_bytes(magnitude(it.as.integer)) + 1;
    if (it.kind == AC_POINTER)
        return TAG_BYTES + cbor_head_bytes((uintptr_t)it.as.pointer);
    return 1;
}

static inline uint8_t *put_int(uint8_t *to, int64_t it) {
    return cbor_put(to, it < 0 ? CBOR_NEGATIVE : CBOR_UNSIGNED, magnitude(it));
}

static inline __attribute__((always_inline)) uint8_t *plain_put(uint8_t *to, ac_value it) {
    if (it.kind == AC_INT)
        return put_int(to, it.as.integer);
    if (it.kind == AC_REAL) {
        uint64_t bits;
        memcpy(&bits, &it.as.real, sizeof bits);
        *to++ = CBOR_REAL;
        return cbor_put_u64(to, bits);
    }
    if (it.kind == AC_ERROR) {
        to = cbor_put(cbor_put_tag(to, TAG_ERROR), CBOR_ARRAY, 2);
        to = put_int(to, it.as.integer);
        *to++ = CBOR_NULL;
        return to;
    }
    if (it.kind == AC_POINTER)
        return cbor_put(cbor_put_tag(to, TAG_POINTER), CBOR_UNSIGNED, (uintptr_t)it.as.pointer);
    assert(it.kind == AC_NIL || it.kind == AC_BOOL);
    *to++ = it.kind == AC_NIL ? CBOR_NULL : it.as.boolean ? CBOR_TRUE : CBOR_FALSE;
    return to;
}

// ---- making text, bytes, references and errors ----

ac_value ac_of_text(const char *text) {
    return text ? ac_of_text_span(text, strlen(text)) : ac_nil;
}

ac_value ac_of_text_span(const char *text, size_t bytes) {
    if (bytes > AC_VALUE_BYTES_MAX)
        return value_invalid(-EMSGSIZE);
    if (text && !text_is_utf8(text, bytes))
        return value_invalid(-EILSEQ);
    return of_string(CBOR_TEXT, text, bytes);
}

ac_value ac_of_bytes(const void *data, size_t bytes) { return of_string(CBOR_BYTES, data, bytes); }

static ac_value of_string(unsigned major, const void *data, size_t bytes) {
    if (!data && bytes > 0)
        return value_invalid(-EINVAL);
    size_t head = cbor_head_bytes(bytes);
    if (bytes > AC_VALUE_BYTES_MAX - head)
        return value_invalid(-EMSGSIZE);
    struct ac_flat *flat = flat_create(&(struct extent){.bytes = head + bytes, .items = 1});
    if (!flat)
        return value_invalid(-ENOMEM);
    cbor_put_head(flat->encoded, major, bytes);
    if (bytes > 0)
        memcpy(flat->encoded + head, data, bytes);
    return value_of_flat(flat, major == CBOR_TEXT ? AC_TEXT : AC_BYTES, 0);
}

ac_value ac_of_ref(ac_ref ref) {
    if (!ac_ref_is(ref))
        return ac_ref_error(ref) < 0 ? value_invalid(ac_ref_error(ref)) : ac_nil;
    struct ac_flat *flat = flat_create(&(struct extent){.bytes = REF_ENCODED_BYTES, .items = 1});
    if (!flat)
        return value_invalid(-ENOMEM);
    uint8_t *to = cbor_put_tag(flat->encoded, TAG_REF);
    to += cbor_put_head(to, CBOR_BYTES, REF_BYTES);
    to = cbor_put_u64(to, ref.peer);
    cbor_put_u64(to, ref.id);
    return value_of_flat(flat, AC_REF, 0);
}

ac_value ac_of_error(int code, const char *text) {
    if (code >= 0)
        return value_invalid(-EINVAL);
    ac_value plain = plain_error(code);
    size_t length = text ? strlen(text) : 0;
    if (length == 0)
        return plain;
    if (length > AC_VALUE_BYTES_MAX / 2)
        return value_invalid(-EMSGSIZE);
    size_t bytes = plain_bytes(plain) - 1 + cbor_head_bytes(length) + length;
    struct ac_flat *flat = flat_create(&(struct extent){.bytes = bytes, .items = 1});
    if (!flat)
        return plain; // the code says more than that there was no memory for its text
    uint8_t *to = plain_put(flat->encoded, plain) - 1;
    to += cbor_put_head(to, CBOR_TEXT, length);
    memcpy(to, text, length);
    // A text for people, often from elsewhere: a wrong byte in it must not cost the error.
    if (!text_is_utf8(text, length))
        for (size_t i = 0; i < length; i++)
            if (to[i] >= 0x80)
                to[i] = '?';
    return value_of_flat(flat, AC_ERROR, 0);
}

// ---- making lists and maps ----

ac_value ac_list_of(const ac_value *items, size_t count) {
    if (!items && count > 0)
        return value_invalid(-EINVAL);
    struct extent total = {0};
    int err = add_all(&total, items, count, count);
    struct ac_flat *flat = err ? NULL : flat_create(&total);
    if (!flat) {
        for (size_t i = 0; i < count; i++)
            drop(items[i]);
        return value_invalid(err ? err : -ENOMEM);
    }
    uint8_t *to = flat->encoded + cbor_put_head(flat->encoded, CBOR_ARRAY, count);
    for (size_t i = 0; i < count; i++) {
        to = put_item(to, items[i]);
        drop(items[i]);
    }
    assert(to == flat->encoded + flat->bytes);
    return value_of_flat(flat, AC_LIST, 0);
}

ac_value ac_map_of(const ac_value *items, size_t count) {
    if (!items && count > 0)
        return value_invalid(-EINVAL);
    ac_value map = ac_nil;
    int err = count > VALUE_ITEMS_MAX ? -EMSGSIZE : map_write(items, count, &map);
    for (size_t i = 0; i < count; i++) {
        drop(items[2 * i]);
        drop(items[2 * i + 1]);
    }
    return err ? value_invalid(err) : map;
}

static int map_write(const ac_value *items, size_t count, ac_value *map) {
    struct key on_stack[KEYS_ON_STACK], *keys = on_stack;
    struct extent total = {0};
    struct ac_flat *flat = NULL;
    int err = add_all(&total, items, 2 * count, count);
    if (err)
        return err;
    if (count > KEYS_ON_STACK && !(keys = memory_allocate(count * sizeof *keys)))
        return -ENOMEM;
    err = keys_sort(keys, items, count);
    if (!err && !(flat = flat_create(&total)))
        err = -ENOMEM;
    if (!err) {
        uint8_t *to = flat->encoded + cbor_put_head(flat->encoded, CBOR_MAP, count);
        for (size_t i = 0; i < count; i++) {
            to = put_item(to, keys[i].key[0]);
            to = put_item(to, keys[i].key[1]);
        }
        assert(to == flat->encoded + flat->bytes);
        *map = value_of_flat(flat, AC_MAP, 0);
    }
    if (keys != on_stack)
        memory_release(keys);
    return err;
}

// Adds up n items of a list or map with `entries` entries, and its own head.
static int add_all(struct extent *total, const ac_value *items, size_t n, size_t entries) {
    if (n >= VALUE_ITEMS_MAX)
        return -EMSGSIZE;
    *total = (struct extent){0};
    // Plain items are added up aside, in registers.
    size_t bytes = cbor_head_bytes(entries), plain = 1;
    bool local = false;
    for (size_t i = 0; i < n; i++) {
        ac_value it = items[i];
        if (unlikely(it.kind == AC_INVALID))
            return (int)it.as.integer;
        if (it.form == FORM_PLAIN) {
            bytes += plain_bytes(it);
            local |= it.kind == AC_POINTER;
            plain++;
        } else {
            int err = add_flat(total, it);
            if (err)
                return err;
        }
    }
    total->bytes += bytes;
    total->items += plain;
    total->local |= local;
    total->depth++;
    bool fits = total->bytes <= AC_VALUE_BYTES_MAX && total->items <= VALUE_ITEMS_MAX &&
                total->depth <= AC_VALUE_DEPTH_MAX;
    return fits ? 0 : -EMSGSIZE;
}

// The limits are checked each time, so that the sums cannot overflow.
static int add_flat(struct extent *total, ac_value it) {
    const struct ac_flat *flat = it.as.flat;
    struct extent part = {flat->bytes, flat->items, flat->depth, flat->local};
    if (it.offset > 0)
        measure(it, &part);
    total->bytes += part.bytes;
    total->items += part.items;
    total->local |= part.local || it.kind == AC_NOTICE;
    if (part.depth > total->depth)
        total->depth = part.depth;
    return total->bytes > AC_VALUE_BYTES_MAX || total->items > VALUE_ITEMS_MAX ? -EMSGSIZE : 0;
}

// What an item of a larger buffer amounts to.
static void measure(ac_value it, struct extent *extent) {
    const uint8_t *end = it.as.flat->encoded + it.as.flat->bytes;
    int err = cbor_check(item_at(it), end, CHECK_TRUSTED, extent);
    assert(!err);
    (void)err;
}

static uint8_t *put_item(uint8_t *to, ac_value it) {
    if (it.form == FORM_PLAIN)
        return plain_put(to, it);
    ac_span encoded = value_encoded(it, NULL);
    memcpy(to, encoded.at, encoded.bytes);
    return to + encoded.bytes;
}

static int keys_sort(struct key *keys, const ac_value *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const ac_value *key = &items[2 * i];
        if (key->kind != AC_TEXT && key->kind != AC_INT)
            return -EINVAL;
        ac_span encoded = value_encoded(*key, keys[i].small);
        keys[i].at = encoded.at == keys[i].small ? NULL : encoded.at;
        keys[i].bytes = encoded.bytes;
        keys[i].key = key;
    }
    if (count > 1)
        qsort(keys, count, sizeof *keys, keys_compare);
    for (size_t i = 1; i < count; i++)
        if (keys_compare(&keys[i - 1], &keys[i]) == 0)
            return -EEXIST;
    return 0;
}

static int keys_compare(const void *a, const void *b) {
    const struct key *x = a, *y = b;
    size_t bytes = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(x->at ? x->at : x->small, y->at ? y->at : y->small, bytes);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

// ---- from encoded items to values ----

const uint8_t *plain_read(const uint8_t *at, ac_value *it) {
    uint64_t number;
    unsigned major = cbor_major(at);
    const uint8_t *end = cbor_get_head(at, &number);
    if (major <= CBOR_NEGATIVE) {
        *it = ac_of_int((int64_t)(major == CBOR_NEGATIVE ? ~number : number));
        return end;
    }
    if (major == CBOR_SIMPLE) {
        double real;
        memcpy(&real, &number, sizeof real);
        *it = *at == CBOR_REAL   ? ac_of_real(real)
              : *at == CBOR_NULL ? ac_nil
                                 : ac_of_bool(*at == CBOR_TRUE);
        return end;
    }
    if (major != CBOR_TAG)
        return NULL;
    if (number == TAG_POINTER) {
        end = cbor_get_head(end, &number);
        *it = ac_of_pointer((void *)(uintptr_t)number);
        return end;
    }
    if (number != TAG_ERROR)
        return NULL;
    end = cbor_get_head(end + 1, &number);
    *it = plain_error((int64_t)~number);
    return *end == CBOR_NULL ? end + 1 : NULL;
}

const uint8_t *flat_read(struct ac_flat *flat, const uint8_t *at, ac_value *it) {
    const uint8_t *end = plain_read(at, it);
    if (end)
        return end;
    unsigned major = cbor_major(at);
    enum ac_kind kind = major == CBOR_TEXT    ? AC_TEXT
                        : major == CBOR_BYTES ? AC_BYTES
                        : major == CBOR_ARRAY ? AC_LIST
                        : major == CBOR_MAP   ? AC_MAP
                                              : tag_kind(at);
    *it = value_of_flat(flat, kind, (size_t)(at - flat->encoded));
    return kind == AC_REF ? at + REF_ENCODED_BYTES : cbor_skip(at);
}

static enum ac_kind tag_kind(const uint8_t *at) {
    switch (cbor_tag(at)) {
    case TAG_REF: return AC_REF;
    case TAG_ERROR: return AC_ERROR;
    default: assert(cbor_tag(at) == TAG_NOTICE); return AC_NOTICE;
    }
}

ac_value flat_item(struct ac_flat *flat, uint32_t offset) {
    ac_value it;
    flat_read(flat, flat->encoded + offset, &it);
    return ac_hold(it);
}

static const uint8_t *item_at(ac_value it) {
    assert(it.form == FORM_FLAT);
    return it.as.flat->encoded + it.offset;
}

static ac_value item_value(ac_value of, const uint8_t *at) {
    return flat_item(of.as.flat, (uint32_t)(at - of.as.flat->encoded));
}

ac_span value_encoded(ac_value it, uint8_t scratch[16]) {
    assert(it.kind != AC_INVALID);
    if (it.form == FORM_PLAIN)
        return (ac_span){scratch, (size_t)(plain_put(scratch, it) - scratch)};
    const uint8_t *at = item_at(it);
    return (ac_span){at, it.offset == 0 ? it.as.flat->bytes : (size_t)(cbor_skip(at) - at)};
}

// ---- reading ----

const char *ac_kind_name(enum ac_kind kind) {
    static const char *const names[] = {
        [AC_NIL] = "nil",         [AC_BOOL] = "bool",     [AC_INT] = "int",
        [AC_REAL] = "real",       [AC_TEXT] = "text",     [AC_BYTES] = "bytes",
        [AC_LIST] = "list",       [AC_MAP] = "map",       [AC_REF] = "reference",
        [AC_ERROR] = "error",     [AC_NOTICE] = "notice", [AC_POINTER] = "pointer",
        [AC_INVALID] = "invalid",
    };
    return (size_t)kind < countof(names) ? names[kind] : "unknown";
}

int ac_error_of(ac_value it) {
    if (it.kind != AC_ERROR && it.kind != AC_INVALID)
        return 0;
    if (it.form == FORM_PLAIN)
        return (int)it.as.integer;
    uint64_t number;
    cbor_get_head(item_at(it) + TAG_BYTES + 1, &number);
    return (int)(int64_t)~number;
}

ac_ref ac_ref_of(ac_value it) {
    if (it.kind != AC_REF)
        return ac_no_ref;
    const uint8_t *at = item_at(it) + TAG_BYTES + 1;
    return (ac_ref){cbor_get_u64(at), cbor_get_u64(at + 8)};
}

ac_span ac_span_of(ac_value it) {
    if (it.kind == AC_ERROR)
        return error_text(it);
    if (it.kind != AC_TEXT && it.kind != AC_BYTES)
        return (ac_span){NULL, 0};
    uint64_t bytes;
    const uint8_t *at = cbor_get_head(item_at(it), &bytes);
    return (ac_span){at, bytes};
}

static ac_span error_text(ac_value error) {
    if (error.form == FORM_PLAIN)
        return (ac_span){NULL, 0};
    uint64_t number;
    const uint8_t *at = cbor_get_head(item_at(error) + TAG_BYTES + 1, &number);
    at = cbor_get_head(at, &number);
    return (ac_span){at, number};
}

const char *ac_text_of(ac_value it) {
    const char *text = NULL;
    return it.kind == AC_TEXT && value_text(it, &text) == 0 ? text : NULL;
}

int value_text(ac_value it, const char **text) {
    ac_span span = ac_span_of(it);
    struct ac_flat *flat = it.as.flat;
    if (memchr(span.at, 0, span.bytes))
        return -EILSEQ;
    size_t offset = (size_t)((const uint8_t *)span.at - flat->encoded);
    if (offset + span.bytes == flat->bytes) { // the buffer's own NUL follows
        *text = span.at;
        return 0;
    }
    // Memory that nothing is written to is hardly ever real, so a short text in a long message
    // costs little.
    if (!flat->texts && !(flat->texts = memory_allocate(flat->bytes)))
        return -ENOMEM;
    memcpy(flat->texts + offset, span.at, span.bytes);
    flat->texts[offset + span.bytes] = 0;
    *text = flat->texts + offset;
    return 0;
}

// ---- reading lists and maps ----

// The first item of a list or map, and how many there are (of a map, keys and values).
static const uint8_t *first_item(ac_value of, uint64_t *items) {
    const uint8_t *at = cbor_get_head(item_at(of), items);
    if (of.kind == AC_MAP)
        *items *= 2;
    return at;
}

size_t ac_count(ac_value it) {
    if (it.kind != AC_LIST && it.kind != AC_MAP)
        return 0;
    uint64_t count;
    cbor_get_head(item_at(it), &count);
    return count;
}

ac_value ac_at(ac_value list, size_t i) {
    uint64_t items;
    if (list.kind == AC_INVALID)
        return list;
    if (list.kind != AC_LIST)
        return value_invalid(-ERANGE);
    const uint8_t *at = first_item(list, &items);
    if (i >= items)
        return value_invalid(-ERANGE);
    while (i-- > 0)
        at = cbor_skip(at);
    return item_value(list, at);
}

ac_value ac_get(ac_value map, const char *key) {
    uint64_t items, bytes;
    if (map.kind == AC_INVALID)
        return map;
    if (map.kind != AC_MAP || !key)
        return value_invalid(-ENOENT);
    size_t wanted = strlen(key);
    const uint8_t *at = first_item(map, &items);
    for (uint64_t i = 0; i < items; i += 2) {
        const uint8_t *value = cbor_skip(at);
        const uint8_t *text = cbor_get_head(at, &bytes);
        if (cbor_major(at) == CBOR_TEXT && bytes == wanted && memcmp(text, key, wanted) == 0)
            return item_value(map, value);
        at = cbor_skip(value);
    }
    return value_invalid(-ENOENT);
}

// A cursor is, in its upper half, the index of the next item and, in its lower half, where that
// stands behind the start of the list.
static_assert(sizeof(size_t) == 8, "a cursor has two halves of 32 bits");

bool ac_next(ac_value of, size_t *cursor, ac_value *item) {
    if (!cursor || !item)
        return false;
    *item = ac_nil;
    if (of.kind != AC_LIST && of.kind != AC_MAP)
        return false;
    uint64_t items, index = *cursor >> 32;
    const uint8_t *start = item_at(of), *at = first_item(of, &items);
    if (index >= items)
        return false;
    if (index > 0)
        at = start + (uint32_t)*cursor;
    at = flat_read(of.as.flat, at, item);
    ac_hold(*item);
    *cursor = (index + 1) << 32 | (uint32_t)(at - start);
    return true;
}

bool ac_equal(ac_value a, ac_value b) {
    if (a.kind != b.kind || a.form != b.form)
        return false;
    if (a.kind == AC_INVALID)
        return a.as.integer == b.as.integer;
    uint8_t a_scratch[16], b_scratch[16];
    ac_span x = value_encoded(a, a_scratch), y = value_encoded(b, b_scratch);
    return x.bytes == y.bytes && memcmp(x.at, y.at, x.bytes) == 0;
}

// ---- for the floors above ----

ac_value value_notice(ac_value list) {
    struct extent total = {.bytes = TAG_BYTES};
    int err = list.kind == AC_INVALID ? (int)list.as.integer : list.kind != AC_LIST ? -EINVAL : 0;
    if (!err)
        err = add_flat(&total, list);
    struct ac_flat *flat = err ? NULL : flat_create(&total);
    if (flat)
        put_item(cbor_put_tag(flat->encoded, TAG_NOTICE), list);
    drop(list);
    return flat ? value_of_flat(flat, AC_NOTICE, 0) : value_invalid(err ? err : -ENOMEM);
}

ac_value value_notice_list(ac_value notice) {
    if (notice.kind != AC_NOTICE)
        return value_invalid(-EINVAL);
    return item_value(notice, item_at(notice) + TAG_BYTES);
}

bool value_is_local(ac_value it) {
    if (it.form == FORM_PLAIN)
        return it.kind == AC_POINTER;
    const struct ac_flat *flat = it.as.flat;
    if (!flat->local || it.offset == 0)
        return flat->local;
    struct extent extent;
    measure(it, &extent);
    return extent.local;
}

ac_value value_detach(ac_value it) {
    if (it.form == FORM_PLAIN || it.as.flat->holders == 1)
        return it;
    struct extent total = {0};
    add_flat(&total, it);
    total.local = value_is_local(it);
    struct ac_flat *flat = flat_create(&total);
    if (flat)
        put_item(flat->encoded, it);
    drop(it);
    return flat ? value_of_flat(flat, it.kind, 0) : value_invalid(-ENOMEM);
}
