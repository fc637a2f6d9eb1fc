// SPDX-License-Identifier: MIT
// Values as JSON and back. What both have is the same in both: null, true, numbers, text, lists,
// maps with texts for keys. What JSON has not is an object with one key that begins with "$":
//
//   {"$bytes": "00ff"}                in hexadecimal
//   {"$real": "nan"}                  or "inf", "-inf"
//   {"$ref": "1a2b:17"}               a reference: process and id in hexadecimal
//   {"$error": ["ENOENT", "text"]}    the text may be null
//   {"$map": [[key, value], ...]}     a map with a key that is a number, has a NUL in it or begins
//                                     with "$"
//   {"$notice": [...]}                of the library; only written, as nobody can make one
//
// A number with a point or an exponent is a real, any other one an integer of 64 bits. An object
// with another single key that begins with "$" is refused, so that a mistake in one of these is not
// taken for a map. A key may stand in an object once.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tools.h"

static json_t *to_json(ac_value it);
static ac_value from_json(const json_t *it);

// ---- to JSON. NULL: no memory ----

static json_t *tagged(const char *tag, json_t *what) {
    json_t *object = json_object();
    if (what && object && json_object_set_new_nocheck(object, tag, what) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *text_to_json(ac_span text) {
    return json_stringn_nocheck(text.at ? text.at : "", text.bytes);
}

static json_t *bytes_to_json(ac_span bytes) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes.at;
    char *text = malloc(2 * bytes.bytes + 1);
    if (!text)
        return NULL;
    for (size_t i = 0; i < bytes.bytes; i++) {
        text[2 * i] = digits[from[i] >> 4];
        text[2 * i + 1] = digits[from[i] & 15];
    }
    json_t *string = json_stringn_nocheck(text, 2 * bytes.bytes);
    free(text);
    return tagged("$bytes", string);
}

// How many digits it takes to read a number back as it is.
static size_t digits_of(double real) {
    size_t digits = 15;
    for (char text[40]; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", (int)digits, real);
        if (strtod(text, NULL) == real)
            break;
    }
    return digits;
}

// jansson writes all numbers of a text with the same number of digits: as many as one of them
// needs.
static size_t digits_needed;

static json_t *real_to_json(double real) {
    size_t digits = isfinite(real) ? digits_of(real) : 0;
    digits_needed = digits > digits_needed ? digits : digits_needed;
    if (isfinite(real))
        return json_real(real);
    return tagged("$real", json_string(isnan(real) ? "nan" : real > 0 ? "inf" : "-inf"));
}

static json_t *ref_to_json(ac_ref ref) {
    char text[40];
    snprintf(text, sizeof text, "%llx:%llx", (unsigned long long)ref.peer,
             (unsigned long long)ref.id);
    return tagged("$ref", json_string(text));
}

static json_t *error_to_json(ac_value it) {
    char name[32];
    ac_span text = ac_span_of(it);
    const char *known = error_name(ac_error_of(it));
    snprintf(name, sizeof name, "%d", ac_error_of(it));
    json_t *pair = json_array();
    if (!pair)
        return NULL;
    int err = json_array_append_new(pair, json_string(known ? known : name));
    err |= json_array_append_new(pair, text.bytes ? text_to_json(text) : json_null());
    if (!err)
        return tagged("$error", pair);
    json_decref(pair);
    return NULL;
}

static json_t *list_to_json(ac_value it) {
    json_t *list = json_array();
    size_t cursor = 0;
    for (ac_value item; list && ac_next(it, &cursor, &item); ac_drop(item))
        if (json_array_append_new(list, to_json(item)) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static bool keys_are_plain(ac_value map) {
    size_t cursor = 0;
    bool plain = true;
    for (ac_value item; ac_next(map, &cursor, &item); ac_drop(item)) {
        ac_span key = ac_span_of(item);
        plain &= ac_kind_of(item) == AC_TEXT && !memchr(key.at, 0, key.bytes) &&
                 !(key.bytes && *(const char *)key.at == '$');
        ac_drop(item);
        (void)ac_next(map, &cursor, &item);
    }
    return plain;
}

static int put_entry(json_t *object, ac_value key, ac_value value) {
    const char *text = ac_text_of(key);
    return text ? json_object_set_new_nocheck(object, text, to_json(value)) : -1;
}

static int put_pair(json_t *list, ac_value key, ac_value value) {
    json_t *pair = json_array();
    if (pair && json_array_append_new(pair, to_json(key)) == 0 &&
        json_array_append_new(pair, to_json(value)) == 0)
        return json_array_append_new(list, pair);
    json_decref(pair);
    return -1;
}

static json_t *map_to_json(ac_value it) {
    bool plain = keys_are_plain(it);
    json_t *json = plain ? json_object() : json_array();
    size_t cursor = 0;
    int err = 0;
    for (ac_value key, value; json && ac_next(it, &cursor, &key);) {
        (void)ac_next(it, &cursor, &value);
        err |= plain ? put_entry(json, key, value) : put_pair(json, key, value);
        ac_drop(key);
        ac_drop(value);
    }
    if (json && !err)
        return plain ? json : tagged("$map", json);
    json_decref(json);
    return NULL;
}

static json_t *notice_to_json(ac_value it) {
    ac_value list = value_notice_list(it);
    json_t *json = to_json(list);
    ac_drop(list);
    return tagged("$notice", json);
}

static json_t *to_json(ac_value it) {
    switch (ac_kind_of(it)) {
    case AC_BOOL: return json_boolean(ac_bool_of(it));
    case AC_INT: return json_integer(ac_int_of(it));
    case AC_REAL: return real_to_json(ac_real_of(it));
    case AC_TEXT: return text_to_json(ac_span_of(it));
    case AC_BYTES: return bytes_to_json(ac_span_of(it));
    case AC_LIST: return list_to_json(it);
    case AC_MAP: return map_to_json(it);
    case AC_REF: return ref_to_json(ac_ref_of(it));
    case AC_ERROR: return error_to_json(it);
    case AC_NOTICE: return notice_to_json(it);
    case AC_NIL: return json_null();
    case AC_POINTER:
    case AC_INVALID: break;
    }
    return NULL;
}

char *convert_to_json(ac_value it) {
    digits_needed = 0;
    json_t *json = to_json(it);
    size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits_needed);
    char *text = json ? json_dumps(json, flags) : NULL;
    json_decref(json);
    return text;
}

// ---- from JSON. AC_INVALID with -EINVAL for what is no value ----

static int digit_of(char it) {
    const char *at = it ? strchr("0123456789abcdef", it) : NULL;
    return at ? (int)(at - "0123456789abcdef") : -1;
}

static ac_value bytes_from_json(const json_t *it) {
    const char *text = json_string_value(it);
    size_t count = text ? json_string_length(it) : 1;
    if (count % 2)
        return value_invalid(-EINVAL);
    uint8_t *bytes = malloc(count / 2 + 1);
    bool good = true;
    for (size_t i = 0; bytes && good && i < count / 2; i++) {
        int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        good = high >= 0 && low >= 0;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    ac_value value = !bytes ? value_invalid(-ENOMEM)
                     : good ? ac_of_bytes(bytes, count / 2)
                            : value_invalid(-EINVAL);
    free(bytes);
    return value;
}

static ac_value real_from_json(const json_t *it) {
    const char *text = json_string_value(it);
    if (text && strcmp(text, "nan") == 0)
        return ac_of_real(NAN);
    if (text && strcmp(text, "inf") == 0)
        return ac_of_real(INFINITY);
    return text && strcmp(text, "-inf") == 0 ? ac_of_real(-INFINITY) : value_invalid(-EINVAL);
}

static ac_value ref_from_json(const json_t *it) {
    const char *text = json_string_value(it);
    unsigned long long peer = 0, id = 0;
    int end = 0;
    bool good = text && sscanf(text, "%16llx:%16llx%n", &peer, &id, &end) == 2 &&
                (size_t)end == json_string_length(it) && peer != 0;
    return good ? ac_of_ref((ac_ref){peer, id}) : value_invalid(-EINVAL);
}

static ac_value error_from_json(const json_t *it) {
    const char *name = json_string_value(json_array_get(it, 0));
    const json_t *text = json_array_get(it, 1);
    if (json_array_size(it) != 2 || !name || !(json_is_null(text) || json_is_string(text)))
        return value_invalid(-EINVAL);
    for (int code = -1; code > -4096; code--) {
        const char *known = error_name(code);
        if (known && strcmp(known, name) == 0)
            return ac_of_error(code, json_string_value(text));
    }
    int code = atoi(name);
    return code < 0 ? ac_of_error(code, json_string_value(text)) : value_invalid(-EINVAL);
}

// Lists and maps are made of as many values as there are, which they take.
static ac_value list_from_json(const json_t *it) {
    size_t count = json_array_size(it);
    ac_value *items = malloc((count + 1) * sizeof *items);
    if (!items)
        return value_invalid(-ENOMEM);
    for (size_t i = 0; i < count; i++)
        items[i] = from_json(json_array_get(it, i));
    ac_value list = ac_list_of(items, count);
    free(items);
    return list;
}

static ac_value pairs_from_json(const json_t *it) {
    size_t count = json_array_size(it);
    ac_value *items = json_is_array(it) ? malloc((2 * count + 1) * sizeof *items) : NULL;
    if (!items)
        return value_invalid(json_is_array(it) ? -ENOMEM : -EINVAL);
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(it, i);
        bool good = json_array_size(pair) == 2;
        items[2 * i] = good ? from_json(json_array_get(pair, 0)) : value_invalid(-EINVAL);
        items[2 * i + 1] = good ? from_json(json_array_get(pair, 1)) : ac_nil;
    }
    ac_value map = ac_map_of(items, count);
    free(items);
    return map;
}

static ac_value tagged_from_json(const char *tag, const json_t *it) {
    if (strcmp(tag, "$bytes") == 0)
        return bytes_from_json(it);
    if (strcmp(tag, "$real") == 0)
        return real_from_json(it);
    if (strcmp(tag, "$ref") == 0)
        return ref_from_json(it);
    if (strcmp(tag, "$error") == 0)
        return error_from_json(it);
    return strcmp(tag, "$map") == 0 ? pairs_from_json(it) : value_invalid(-EINVAL);
}

static ac_value object_from_json(const json_t *it) {
    json_t *object = (json_t *)it, *value; // looked at only, but jansson's iterators do not say so
    const char *key;
    size_t count = json_object_size(object), i = 0;
    void *first = json_object_iter(object);
    if (count == 1 && json_object_iter_key(first)[0] == '$')
        return tagged_from_json(json_object_iter_key(first), json_object_iter_value(first));
    ac_value *items = malloc((2 * count + 1) * sizeof *items);
    if (!items)
        return value_invalid(-ENOMEM);
    json_object_foreach(object, key, value) {
        items[i++] = ac_of(key);
        items[i++] = from_json(value);
    }
    ac_value map = ac_map_of(items, count);
    free(items);
    return map;
}

static ac_value from_json(const json_t *it) {
    switch (json_typeof(it)) {
    case JSON_NULL: return ac_nil;
    case JSON_TRUE: return ac_of_bool(true);
    case JSON_FALSE: return ac_of_bool(false);
    case JSON_INTEGER: return ac_of_int(json_integer_value(it));
    case JSON_REAL: return ac_of_real(json_real_value(it));
    case JSON_STRING: return ac_of_text_span(json_string_value(it), json_string_length(it));
    case JSON_ARRAY: return list_from_json(it);
    case JSON_OBJECT: return object_from_json(it);
    }
    return value_invalid(-EINVAL);
}

ac_value convert_from_json(const char *text, size_t bytes, char why[CONVERT_WHY_BYTES]) {
    json_error_t error;
    json_t *json = json_loadb(text, bytes,
                              JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json) {
        snprintf(why, CONVERT_WHY_BYTES, "%s at byte %d", error.text, error.position);
        return value_invalid(-EINVAL);
    }
    ac_value value = from_json(json);
    json_decref(json);
    why[0] = 0;
    if (value.kind == AC_INVALID && ac_error_of(value) == -EINVAL)
        snprintf(why, CONVERT_WHY_BYTES,
                 "an object with a key such as \"$bytes\" that is not as "
                 "`asyncoro help send` says");
    else if (value.kind == AC_INVALID)
        snprintf(why, CONVERT_WHY_BYTES, "%s", ac_strerror(ac_error_of(value)));
    return value;
}
