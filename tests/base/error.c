// SPDX-License-Identifier: MIT
// The texts of error codes.
#include "test.h"

#include "base/base.h"

TEST(both_signs_give_the_same_text) {
    ck_assert_str_eq(ac_strerror(-ETIMEDOUT), "time was up");
    ck_assert_str_eq(ac_strerror(ETIMEDOUT), "time was up");
    ck_assert_str_eq(ac_strerror(-ECANCELED), "the coroutine was cancelled");
    ck_assert_str_eq(ac_strerror(-EPERM), "called outside a coroutine, or not allowed");
}

TEST(zero_is_no_error) { ck_assert_str_eq(ac_strerror(0), "no error"); }

TEST(every_number_has_a_text) {
    for (int code = -5000; code < 5000; code++)
        ck_assert_uint_gt(strlen(ac_strerror(code)), 0);
    ck_assert_ptr_nonnull(ac_strerror(INT32_MIN));
    ck_assert_ptr_nonnull(ac_strerror(INT32_MAX));
    ck_assert_str_eq(ac_strerror(-99999), "an unknown error");
}

TEST(other_codes_have_the_text_of_the_c_library) {
    ck_assert_str_eq(ac_strerror(-ENOTBLK), strerror(ENOTBLK));
    ck_assert_str_eq(error_name(-ENOTBLK), "ENOTBLK");
}

TEST(texts_are_short_and_have_no_full_stop) {
    for (int code = 1; code < 140; code++) {
        const char *text = ac_strerror(code);
        ck_assert_uint_lt(strlen(text), 80);
        ck_assert_int_ne(text[strlen(text) - 1], '.');
    }
}

TEST(codes_have_names) {
    ck_assert_str_eq(error_name(-EPIPE), "EPIPE");
    ck_assert_str_eq(error_name(ESRCH), "ESRCH");
    ck_assert_ptr_null(error_name(-99999));
}

TEST(no_two_of_our_codes_have_one_text) {
    for (int a = 1; a < 134; a++)
        for (int b = a + 1; b < 134; b++)
            if (error_name(a) && error_name(b) && strcmp(error_name(a), error_name(b)) != 0)
                ck_assert_str_ne(ac_strerror(a), ac_strerror(b));
}

TEST(the_version_is_the_one_compiled_against) { ck_assert_str_eq(ac_version(), AC_VERSION); }
