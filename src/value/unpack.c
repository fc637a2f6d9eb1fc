// SPDX-License-Identifier: MIT
// Taking a list apart into the variables of the caller, with a check of shape, kinds and ranges.
#include "value/flat.h"

#include <limits.h>
#include <math.h>

static int store(const ac_target *target, ac_value it);
static int store_number(const ac_target *target, ac_value it);
static int store_float(float *to, ac_value it);
static int store_text(const char **to, ac_value it);
static void give_back(const ac_target *targets, size_t count);

int ac_unpack_to(ac_value it, const ac_target *targets, size_t count) {
    if (it.kind == AC_INVALID)
        return (int)it.as.integer;
    if (!targets && count > 0)
        return -EINVAL;
    if (it.kind != AC_LIST)
        return count == 1 ? store(targets, it) : -EMSGSIZE;
    if (ac_count(it) != count)
        return -EMSGSIZE;
    uint64_t items;
    const uint8_t *at = cbor_get_head(it.as.flat->encoded + it.offset, &items);
    for (size_t i = 0; i < count; i++) {
        ac_value item;
        at = flat_read(it.as.flat, at, &item);
        int err = store(&targets[i], item);
        if (unlikely(err)) {
            give_back(targets, i);
            return err;
        }
    }
    return 0;
}

// Only an item that is wanted as a value is held; what points into others stays valid with the
// list.
static int store(const ac_target *target, ac_value it) {
    if (!target->to)
        return -EINVAL;
    switch (target->want) {
    case AC_WANT_VALUE: *(ac_value *)target->to = ac_hold(it); return 0;
    case AC_WANT_TEXT: return store_text(target->to, it);
    case AC_WANT_FLOAT: return store_float(target->to, it);
    case AC_WANT_BOOL:
        // In C11 `true` is an int, so that what was meant as a bool may have come as 0 or 1.
        if (it.kind != AC_BOOL && !(it.kind == AC_INT && (it.as.integer | 1) == 1))
            return -EINVAL;
        *(bool *)target->to = ac_bool_of(it);
        return 0;
    case AC_WANT_REAL:
        if (it.kind != AC_REAL && it.kind != AC_INT)
            return -EINVAL;
        *(double *)target->to = ac_real_of(it);
        return 0;
    case AC_WANT_SPAN:
        if (it.kind != AC_TEXT && it.kind != AC_BYTES)
            return -EINVAL;
        *(ac_span *)target->to = ac_span_of(it);
        return 0;
    case AC_WANT_REF:
        if (it.kind != AC_REF && it.kind != AC_NIL)
            return -EINVAL;
        *(ac_ref *)target->to = ac_ref_of(it);
        return 0;
    case AC_WANT_POINTER:
        if (it.kind != AC_POINTER)
            return -EINVAL;
        *(void **)target->to = it.as.pointer;
        return 0;
    default: return it.kind == AC_INT ? store_number(target, it) : -EINVAL;
    }
}

#define STORE_IN_RANGE(type, low, high)                                                            \
    do {                                                                                           \
        if (number < (low) || number > (high))                                                     \
            return -ERANGE;                                                                        \
        *(type *)target->to = (type)number;                                                        \
        return 0;                                                                                  \
    } while (0)

static int store_number(const ac_target *target, ac_value it) {
    int64_t number = it.as.integer;
    switch (target->want) {
    case AC_WANT_INT: STORE_IN_RANGE(int, INT_MIN, INT_MAX);
    case AC_WANT_UNSIGNED: STORE_IN_RANGE(unsigned, 0, UINT_MAX);
    case AC_WANT_LONG: STORE_IN_RANGE(long, LONG_MIN, LONG_MAX);
    case AC_WANT_LONG_LONG: STORE_IN_RANGE(long long, LLONG_MIN, LLONG_MAX);
    case AC_WANT_UNSIGNED_LONG: STORE_IN_RANGE(unsigned long, 0, INT64_MAX);
    case AC_WANT_UNSIGNED_LONG_LONG: STORE_IN_RANGE(unsigned long long, 0, INT64_MAX);
    default: return -EINVAL;
    }
}

static int store_float(float *to, ac_value it) {
    if (it.kind != AC_REAL && it.kind != AC_INT)
        return -EINVAL;
    double real = ac_real_of(it);
    if (isfinite(real) && isinf((float)real))
        return -ERANGE;
    *to = (float)real;
    return 0;
}

static int store_text(const char **to, ac_value it) {
    if (it.kind == AC_NIL) {
        *to = NULL;
        return 0;
    }
    return it.kind == AC_TEXT ? value_text(it, to) : -EINVAL;
}

// Drops the items that the first `count` targets hold already.
static void give_back(const ac_target *targets, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (targets[i].want != AC_WANT_VALUE)
            continue;
        ac_value *held = targets[i].to;
        ac_drop(*held);
        *held = ac_nil;
    }
}
