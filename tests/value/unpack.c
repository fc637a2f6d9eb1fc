// SPDX-License-Identifier: MIT
// ac_unpack and ac_unpack_to.
#include "test.h"

#include <float.h>
#include <limits.h>
#include <math.h>

#include "value/value.h"

TEST(every_kind_of_target_is_filled) {
    ac_ref pump = {5, 6}, ref;
    int thing, i;
    bool b;
    unsigned u;
    long l;
    long long ll;
    unsigned long ul;
    unsigned long long ull;
    double d;
    float f;
    const char *text;
    ac_span span;
    ac_value value;
    void *pointer;
    ac_value it = ac_list(ac_of_bool(true), -1, 2u, -3L, -4LL, 5UL, 6ULL, 7.5, 8.5f, "nine",
                          ac_of_bytes("t\0n", 3), pump, ac_list(12), (void *)&thing);
    ck_assert_int_eq(
        ac_unpack(it, &b, &i, &u, &l, &ll, &ul, &ull, &d, &f, &text, &span, &ref, &value, &pointer),
        0);
    ck_assert(b && i == -1 && u == 2 && l == -3 && ll == -4 && ul == 5 && ull == 6);
    ck_assert(d == 7.5 && f == 8.5f);
    ck_assert_str_eq(text, "nine");
    ck_assert_uint_eq(span.bytes, 3);
    ck_assert_mem_eq(span.at, "t\0n", 3);
    ck_assert(ac_ref_equal(ref, pump));
    ck_assert_uint_eq(ac_count(value), 1);
    ck_assert_ptr_eq(pointer, &thing);
    ac_drop(it);
    ck_assert_uint_eq(ac_count(value), 1); // has a hold of its own
    ac_drop(value);
}

TEST(what_is_no_list_is_a_list_of_one) {
    int n;
    const char *text;
    ac_value value, it = ac_of("alone");
    ck_assert_int_eq(ac_unpack(ac_of(3), &n), 0);
    ck_assert_int_eq(n, 3);
    ck_assert_int_eq(ac_unpack(it, &text), 0);
    ck_assert_str_eq(text, "alone");
    ck_assert_int_eq(ac_unpack(it, &value), 0);
    ac_drop(it);
    ck_assert_str_eq(ac_text_of(value), "alone");
    ac_drop(value);
    ck_assert_int_eq(ac_unpack(ac_nil, &text), 0);
    ck_assert_ptr_null(text);
    ck_assert_int_eq(ac_unpack(ac_nil, &value), 0);
    ck_assert(ac_is_nil(value));
    ck_assert_int_eq(ac_unpack(ac_of(3), &n, &text), -EMSGSIZE);
}

TEST(the_number_of_items_must_agree) {
    int a, b, c;
    ac_value two = ac_list(1, 2), none = ac_list_of(NULL, 0);
    ck_assert_int_eq(ac_unpack(two, &a), -EMSGSIZE);
    ck_assert_int_eq(ac_unpack(two, &a, &b, &c), -EMSGSIZE);
    ck_assert_int_eq(ac_unpack(two, &a, &b), 0);
    ck_assert_int_eq(ac_unpack_to(none, NULL, 0), 0);
    ck_assert_int_eq(ac_unpack_to(two, NULL, 0), -EMSGSIZE);
    ck_assert_int_eq(ac_unpack_to(ac_of(1), NULL, 0), -EMSGSIZE);
    ac_drop(two);
    ac_drop(none);
}

TEST(what_is_to_be_stored_nowhere_is_refused) {
    int a = 0;
    ac_value two = ac_list(1, 2), texts = ac_list("a", "b"), held = ac_nil;
    ck_assert_int_eq(ac_unpack_to(two, NULL, 2), -EINVAL);
    ck_assert_int_eq(ac_unpack_to(ac_of(1), NULL, 1), -EINVAL);
    ck_assert_int_eq(ac_unpack_to(two, NULL, SIZE_MAX), -EINVAL);
    for (int want = AC_WANT_BOOL; want <= AC_WANT_POINTER; want++) {
        ac_target nowhere[] = {{AC_WANT_INT, &a}, {(enum ac_want)want, NULL}};
        ck_assert_int_eq(ac_unpack_to(two, nowhere, 2), -EINVAL);
        ck_assert_int_eq(ac_unpack_to(texts, &nowhere[1], 2), -EINVAL);
        ck_assert_int_eq(ac_unpack_to(ac_nil, &nowhere[1], 1), -EINVAL);
    }
    ck_assert_int_eq(ac_unpack(texts, &held, (ac_value *)NULL), -EINVAL);
    ck_assert(ac_is_nil(held)); // on failure nothing is held
    ac_drop(two);
    ac_drop(texts);
}

TEST(an_invalid_value_gives_its_error) {
    int a;
    ck_assert_int_eq(ac_unpack(value_invalid(-ENOMEM), &a), -ENOMEM);
    ck_assert_int_eq(ac_unpack_to(value_invalid(-EPIPE), NULL, 0), -EPIPE);
}

TEST(numbers_must_fit) {
    int i;
    unsigned u;
    unsigned long ul;
    unsigned long long ull;
    long l;
    float f;
    ck_assert_int_eq(ac_unpack(ac_of((long)INT_MAX + 1), &i), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of((long)INT_MIN - 1), &i), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of(INT_MIN), &i), 0);
    ck_assert_int_eq(i, INT_MIN);
    ck_assert_int_eq(ac_unpack(ac_of(-1), &u), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of((long)UINT_MAX + 1), &u), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of(UINT_MAX), &u), 0);
    ck_assert_uint_eq(u, UINT_MAX);
    ck_assert_int_eq(ac_unpack(ac_of(-1), &ul), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of(-1), &ull), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of(INT64_MAX), &ull), 0);
    ck_assert_uint_eq(ull, INT64_MAX);
    ck_assert_int_eq(ac_unpack(ac_of(INT64_MIN), &l), 0);
    ck_assert_int_eq(l, INT64_MIN);
    ck_assert_int_eq(ac_unpack(ac_of(1e300), &f), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of(-DBL_MAX), &f), -ERANGE);
    ck_assert_int_eq(ac_unpack(ac_of(INFINITY), &f), 0);
    ck_assert(isinf(f));
    ck_assert_int_eq(ac_unpack(ac_of(NAN), &f), 0);
    ck_assert(isnan(f));
}

TEST(an_integer_is_a_real_but_a_real_is_no_integer) {
    double d;
    float f;
    int i;
    ck_assert_int_eq(ac_unpack(ac_of(3), &d), 0);
    ck_assert(d == 3);
    ck_assert_int_eq(ac_unpack(ac_of(3), &f), 0);
    ck_assert(f == 3);
    ck_assert_int_eq(ac_unpack(ac_of(3.0), &i), -EINVAL);
}

TEST(zero_and_one_are_bools) {
    bool b; // `true` is an int in C11, so that ac_list(true) makes an int
    ck_assert(ac_unpack(ac_of(true), &b) == 0 && b);
    ck_assert(ac_unpack(ac_of(0), &b) == 0 && !b);
    ck_assert_int_eq(ac_unpack(ac_of(2), &b), -EINVAL);
    ck_assert_int_eq(ac_unpack(ac_of(1.0), &b), -EINVAL);
}

TEST(other_kinds_are_refused) {
    int i;
    bool b;
    double d;
    float f;
    const char *text;
    ac_span span;
    ac_ref ref;
    void *pointer;
    ac_value list = ac_list(ac_list(1));
    ck_assert_int_eq(ac_unpack(list, &i), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &b), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &d), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &f), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &text), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &span), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &ref), -EINVAL);
    ck_assert_int_eq(ac_unpack(list, &pointer), -EINVAL);
    ck_assert_int_eq(ac_unpack_to(ac_of(1), &(ac_target){(enum ac_want)99, &i}, 1), -EINVAL);
    ac_drop(list);
    ac_value bytes = ac_of_bytes("x", 1);
    ck_assert_int_eq(ac_unpack(bytes, &text), -EINVAL);
    ac_drop(bytes);
}

TEST(nil_is_no_text_and_no_reference) {
    const char *text = "x";
    ac_ref ref = {1, 2};
    ac_value it = ac_list((const char *)NULL, ac_no_ref);
    ck_assert_int_eq(ac_unpack(it, &text, &ref), 0);
    ck_assert_ptr_null(text);
    ck_assert(!ac_ref_is(ref));
    ac_drop(it);
}

TEST(a_text_with_a_nul_is_no_c_string) {
    const char *text;
    ac_span span;
    ac_value it = ac_of_text_span("a\0b", 3);
    ck_assert_int_eq(ac_unpack(it, &text), -EILSEQ);
    ck_assert_int_eq(ac_unpack(it, &span), 0);
    ck_assert_uint_eq(span.bytes, 3);
    ac_drop(it);
}

TEST(texts_stay_valid_while_the_list_is_held) {
    const char *a, *b, *c;
    ac_value it = ac_list("first", "second", "third");
    ck_assert_int_eq(ac_unpack(it, &a, &b, &c), 0);
    ck_assert_str_eq(a, "first");
    ck_assert_str_eq(b, "second");
    ck_assert_str_eq(c, "third");
    ac_drop(it);
}

TEST(on_failure_nothing_is_held) {
    ac_value a, b;
    int i;
    ac_value it = ac_list("one", ac_list(2), "three");
    ck_assert_int_eq(ac_unpack(it, &a, &b, &i), -EINVAL);
    ck_assert(ac_is_nil(a) && ac_is_nil(b));
    ac_value alone = value_detach(it);
    ck_assert_ptr_eq(alone.as.flat, it.as.flat); // it has one holder again
    ac_drop(alone);
}

TEST(without_memory_nothing_is_held) {
    for (long n = 1;; n++) {
        ac_value first;
        const char *a, *b;
        ac_value it = ac_list(ac_list("x"), "aa", "bb");
        memory_fail_nth(n);
        int err = ac_unpack(it, &first, &a, &b);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        if (!err) {
            ck_assert_str_eq(a, "aa");
            ck_assert_str_eq(b, "bb");
            ac_drop(first);
        }
        ac_drop(it);
        if (!failed)
            break;
    }
}
