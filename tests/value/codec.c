// SPDX-License-Identifier: MIT
// The encoded form: what is written, what is accepted from outside and what is refused.
#include "test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "value/flat.h"

// The error with which the bytes of the literal are refused; 0 if they are accepted.
#define DECODE(literal) decode((literal), sizeof(literal) - 1)
static int decode(const void *bytes, size_t count) {
    // A copy of the exact size, so that a sanitizer sees each byte that is read behind the end.
    void *copy = malloc(count ? count : 1);
    memcpy(copy, bytes, count);
    ac_value it = ac_decode(copy, count);
    free(copy);
    int err = it.kind == AC_INVALID ? ac_error_of(it) : 0;
    ac_drop(it);
    return err;
}

static void round_trip(ac_value it) {
    void *encoded, *again;
    size_t bytes, bytes_again;
    ck_assert_int_eq(ac_encode(it, &encoded, &bytes), 0);
    ac_value copy = ac_decode(encoded, bytes);
    ck_assert_int_eq(copy.kind, it.kind);
    ck_assert(ac_equal(it, copy));
    ck_assert_int_eq(ac_encode(copy, &again, &bytes_again), 0);
    ck_assert_uint_eq(bytes, bytes_again);
    ck_assert_mem_eq(encoded, again, bytes);
    free(encoded);
    free(again);
    ac_drop(copy);
    ac_drop(it);
}

// ---- round trips ----

TEST(every_kind_comes_back) {
    round_trip(ac_nil);
    round_trip(ac_of_bool(true));
    round_trip(ac_of_bool(false));
    round_trip(ac_of(INT64_MIN));
    round_trip(ac_of(INT64_MAX));
    round_trip(ac_of(""));
    round_trip(ac_of_text_span("a\0b", 3));
    round_trip(ac_of_bytes(NULL, 0));
    round_trip(ac_list_of(NULL, 0));
    round_trip(ac_map_of(NULL, 0));
    round_trip(ac_of(((ac_ref){UINT64_MAX, 0})));
    round_trip(ac_of_error(-1, NULL));
    round_trip(ac_of_error(INT32_MIN, "text"));
    round_trip(ac_list(1, "a", ac_list(ac_map("k", ac_list(2))), ac_of_error(-5, "x")));
}

TEST(heads_of_every_length_come_back) {
    static const uint64_t edges[] = {
        0, 23, 24, 255, 256, 65535, 65536, UINT32_MAX, (uint64_t)UINT32_MAX + 1, INT64_MAX};
    for (size_t i = 0; i < countof(edges); i++) {
        round_trip(ac_of_int((int64_t)edges[i]));
        round_trip(ac_of_int((int64_t)~edges[i]));
        if (edges[i] > 1 << 17)
            continue;
        char *text = malloc(edges[i] + 1);
        memset(text, 'x', edges[i]);
        round_trip(ac_of_text_span(text, edges[i]));
        round_trip(ac_list(ac_of_bytes(text, edges[i]), 1));
        free(text);
    }
}

TEST(every_real_comes_back_bit_by_bit) {
    static const uint64_t bits[] = {0x7ff8000000000000u, 0xfff8000000000001u, 0x7ff0000000000001u,
                                    0x7ff0000000000000u, 0xfff0000000000000u, 0x8000000000000000u,
                                    0x0000000000000001u, 0x7fefffffffffffffu};
    for (size_t i = 0; i < countof(bits); i++) {
        uint8_t encoded[9] = {0xfb};
        uint64_t back;
        cbor_put_u64(encoded + 1, bits[i]);
        ac_value it = ac_decode(encoded, sizeof encoded);
        ck_assert_int_eq(it.kind, AC_REAL);
        memcpy(&back, &it.as.real, sizeof back);
        ck_assert_uint_eq(back, bits[i]);
        round_trip(it);
    }
}

static ac_value random_value(int levels) {
    char text[300];
    size_t n = (size_t)(rand() % 8);
    ac_value items[16];
    switch (rand() % (levels > 0 ? 14 : 9)) {
    case 0: return ac_nil;
    case 1: return ac_of_bool(rand() % 2);
    case 2: return ac_of(rand() % 600 - 300);
    case 3: return ac_of_int((int64_t)((uint64_t)rand() << 33 ^ (uint64_t)rand()) >> rand() % 64);
    case 4: return ac_of(ldexp(rand() - RAND_MAX / 2, rand() % 200 - 100));
    case 5: return ac_of(((ac_ref){(uint64_t)rand() + 1, (uint64_t)rand()}));
    case 6: return ac_of_error(-1 - rand() % 200, rand() % 2 ? "some text" : NULL);
    case 7:
    case 8:
        n = (size_t)rand() % (rand() % 10 ? 20 : sizeof text);
        memset(text, 'a' + rand() % 26, n);
        return rand() % 2 ? ac_of_text_span(text, n) : ac_of_bytes(text, n);
    case 9:
    case 10:
    case 11:
        for (size_t i = 0; i < n; i++)
            items[i] = random_value(levels - 1);
        return ac_list_of(items, n);
    default:
        for (size_t i = 0; i < n; i++) {
            items[2 * i] = rand() % 2 ? ac_of((int)i * 37) : ac_of_text_span("abcdefgh", i);
            items[2 * i + 1] = random_value(levels - 1);
        }
        return ac_map_of(items, n);
    }
}

// Makes the list again from the items that are read from it.
static ac_value rebuild(ac_value it) {
    static ac_value items[64];
    size_t cursor = 0, n = 0;
    while (ac_next(it, &cursor, &items[n]))
        n++;
    return it.kind == AC_LIST ? ac_list_of(items, n) : ac_map_of(items, n / 2);
}

TEST(random_values_come_back) {
    srand(22);
    for (int i = 0; i < 20000; i++) {
        ac_value it = random_value(5);
        ck_assert_int_ne(it.kind, AC_INVALID);
        if (it.kind == AC_LIST || it.kind == AC_MAP) {
            ac_value same = rebuild(it);
            ck_assert(ac_equal(it, same));
            ac_drop(same);
        }
        round_trip(it);
    }
}

TEST(what_is_accepted_has_one_encoding) {
    // Bytes of random values, some of them changed: either refused or exactly what would be
    // written.
    int accepted = 0;
    srand(23);
    for (int i = 0; i < 60000; i++) {
        void *encoded, *again;
        size_t bytes, bytes_again;
        ac_value it = random_value(3);
        ck_assert_int_eq(ac_encode(it, &encoded, &bytes), 0);
        ac_drop(it);
        for (int changes = rand() % 3; changes >= 0; changes--)
            ((uint8_t *)encoded)[rand() % (int)bytes] = (uint8_t)rand();
        if (rand() % 4 == 0)
            bytes = 1 + (size_t)rand() % bytes;
        void *exact = malloc(bytes);
        memcpy(exact, encoded, bytes);
        it = ac_decode(exact, bytes);
        if (it.kind != AC_INVALID) {
            accepted++;
            ac_value same = it.kind == AC_LIST || it.kind == AC_MAP ? rebuild(it) : ac_hold(it);
            ck_assert_int_eq(ac_encode(same, &again, &bytes_again), 0);
            ck_assert_uint_eq(bytes, bytes_again);
            ck_assert_mem_eq(exact, again, bytes);
            free(again);
            ac_drop(same);
        } else {
            ck_assert(ac_error_of(it) == -EBADMSG || ac_error_of(it) == -EMSGSIZE);
        }
        ac_drop(it);
        free(exact);
        free(encoded);
    }
    ck_assert_int_gt(accepted, 1000);
}

TEST(random_bytes_do_no_harm) {
    uint8_t bytes[64];
    srand(24);
    for (int i = 0; i < 200000; i++) {
        size_t n = (size_t)rand() % sizeof bytes;
        for (size_t j = 0; j < n; j++)
            bytes[j] = (uint8_t)(rand() % 4 ? rand() % 32 << 3 | rand() % 4 : rand());
        decode(bytes, n);
    }
}

// ---- what is refused ----

TEST(an_encoding_without_a_place_for_it_is_refused) {
    void *encoded = &encoded;
    size_t bytes = 7;
    ck_assert_int_eq(ac_encode(ac_of(1), NULL, &bytes), -EINVAL);
    ck_assert_int_eq(ac_encode(ac_of(1), &encoded, NULL), -EINVAL);
    ck_assert_int_eq(ac_encode(ac_of(1), NULL, NULL), -EINVAL);
    ck_assert(encoded == &encoded && bytes == 7);
}

TEST(nothing_and_less_than_an_item_is_refused) {
    ck_assert_int_eq(ac_error_of(ac_decode(NULL, 0)), -EBADMSG);
    ck_assert_int_eq(ac_error_of(ac_decode(NULL, 5)), -EINVAL);
    static const char list[] = "\x84\x19\x01\x00\x62hi\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"
                               "\xd9\x98\x59\x82\x21\x62no";
    ck_assert_int_eq(DECODE(list), 0);
    for (size_t n = 0; n < sizeof list - 1; n++)
        ck_assert_int_eq(decode(list, n), -EBADMSG);
}

TEST(bytes_behind_the_end_are_refused) {
    ck_assert_int_eq(DECODE("\xf6\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x81\x01\x00"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x61"
                            "ab"),
                     -EBADMSG);
}

TEST(longer_heads_than_needed_are_refused) {
    ck_assert_int_eq(DECODE("\x18\x17"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x19\x00\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x1a\x00\x00\xff\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x1b\x00\x00\x00\x00\xff\xff\xff\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x38\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x78\x01"
                            "a"),
                     -EBADMSG);
    ck_assert_int_eq(DECODE("\x98\x01\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xda\x00\x00\x98\x59\x82\x21\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x98\x02\x21\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x38\x01\xf6"), -EBADMSG);
}

TEST(integers_beyond_64_bits_with_sign_are_refused) {
    ck_assert_int_eq(DECODE("\x1b\x7f\xff\xff\xff\xff\xff\xff\xff"), 0);
    ck_assert_int_eq(DECODE("\x1b\x80\x00\x00\x00\x00\x00\x00\x00"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x1b\xff\xff\xff\xff\xff\xff\xff\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x3b\x80\x00\x00\x00\x00\x00\x00\x00"), -EBADMSG);
}

TEST(indefinite_lengths_and_reserved_heads_are_refused) {
    for (unsigned major = 0; major < 8; major++)
        for (unsigned low = 28; low < 32; low++) {
            uint8_t bytes[12] = {(uint8_t)(major << 5 | low), 0x01, 0xff};
            ck_assert_int_eq(decode(bytes, 3), -EBADMSG);
            ck_assert_int_eq(decode(bytes, sizeof bytes), -EBADMSG);
        }
}

TEST(other_simple_values_and_short_reals_are_refused) {
    for (unsigned low = 0; low < 24; low++) {
        uint8_t byte = (uint8_t)(0xe0 | low);
        ck_assert_int_eq(decode(&byte, 1), low >= 20 && low <= 22 ? 0 : -EBADMSG);
    }
    ck_assert_int_eq(DECODE("\xf8\x20"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xf8\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xf9\x3c\x00"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xfa\x3f\x80\x00\x00"), -EBADMSG);
}

TEST(a_claimed_length_must_be_there) {
    memory_fail_nth(1); // nothing may be allocated before it is known
    ck_assert_int_eq(DECODE("\x9a\x10\x00\x00\x00"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xba\x10\x00\x00\x00"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xbb\x80\x00\x00\x00\x00\x00\x00\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x7a\x10\x00\x00\x00"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x82\x9a\xff\xff\xff\xff\x01"), -EBADMSG);
    ck_assert(!memory_has_failed());
}

TEST(wrong_utf8_is_refused) {
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"\x7f", true},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"12345678abc\xe2\x82\xac-12345678", true},
        {"\x80", false},             // a continuation alone
        {"\xc0\x80", false},         // overlong
        {"\xc1\xbf", false},         // overlong
        {"\xe0\x9f\xbf", false},     // overlong
        {"\xf0\x8f\xbf\xbf", false}, // overlong
        {"\xed\xa0\x80", false},     // a surrogate
        {"\xed\xbf\xbf", false},     // a surrogate
        {"\xf4\x90\x80\x80", false}, // above the last character
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xc2", false}, // cut off
        {"\xe2\x82", false},
        {"\xf0\x90\x80", false},
        {"\xe2\x28\xa1", false},
        {"12345678\xc3", false},
        {"1234567\xc3"
         "12345678",
         false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t encoded[64];
        size_t bytes = strlen(cases[i].text);
        size_t head = cbor_put_head(encoded, CBOR_TEXT, bytes);
        memcpy(encoded + head, cases[i].text, bytes);
        ck_assert_int_eq(decode(encoded, head + bytes), cases[i].good ? 0 : -EBADMSG);
        encoded[0] = (uint8_t)(encoded[0] - (1 << 5)); // as bytes it is welcome
        ck_assert_int_eq(decode(encoded, head + bytes), 0);
    }
}

TEST(maps_must_be_sorted_with_keys_of_text_or_int) {
    ck_assert_int_eq(DECODE("\xa2\x01\xf6\x02\xf6"), 0);
    ck_assert_int_eq(DECODE("\xa2\x02\xf6\x01\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xa2\x01\xf6\x01\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xa2\x61"
                            "b\xf6\x62"
                            "aa\xf6"),
                     0); // the shorter first
    ck_assert_int_eq(DECODE("\xa2\x62"
                            "aa\xf6\x61"
                            "b\xf6"),
                     -EBADMSG);
    ck_assert_int_eq(DECODE("\xa2\x20\xf6\x01\xf6"), -EBADMSG); // 1 before -1
    ck_assert_int_eq(DECODE("\xa1\xf6\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xa1\x41\x01\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xa1\x80\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xa1\xd9\x98\x59\x82\x21\xf6\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xa1\x01"), -EBADMSG);
    // A map inside does not disturb the order of the one around it.
    ck_assert_int_eq(DECODE("\xa2\x01\xa1\x09\xf6\x02\xf6"), 0);
    ck_assert_int_eq(DECODE("\xa2\x05\xa1\x01\xf6\x04\xf6"), -EBADMSG);
}

TEST(tags_hold_what_they_must) {
    ck_assert_int_eq(DECODE("\xd9\x98\x58\x50"
                            "0123456789abcdef"),
                     0);
    ck_assert_int_eq(DECODE("\xd9\x98\x58\x50\0\0\0\0\0\0\0\0"
                            "89abcdef"),
                     -EBADMSG); // no process
    ck_assert_int_eq(DECODE("\xd9\x98\x58\x50"
                            "0123456789abcde"),
                     -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x58\x70"
                            "0123456789abcdef"),
                     -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x58\x4f"
                            "0123456789abcde"),
                     -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x21\x62no"), 0);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x01\xf6"), -EBADMSG); // a code above 0
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x21\x60"), -EBADMSG); // an empty text
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x21\x61\xff"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x21\x41x"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x3a\x80\x00\x00\x00\xf6"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x82\x3a\x7f\xff\xff\xff\xf6"), 0);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x81\x21"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x59\x83\x21\xf6\xf6"), -EBADMSG);
}

TEST(other_tags_are_refused) {
    ck_assert_int_eq(DECODE("\xc0\x60"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xc2\x41\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x57\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x5c\x80"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xdb\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x58\xd9\x98\x58\x50"
                            "0123456789abcdef"),
                     -EBADMSG);
}

TEST(pointers_and_notices_are_refused) {
    ck_assert_int_eq(DECODE("\xd9\x98\x5a\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x81\xd9\x98\x5a\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\xd9\x98\x5b\x81\x01"), -EBADMSG);
    ck_assert_int_eq(DECODE("\x81\xd9\x98\x5b\x81\x01"), -EBADMSG);
}

TEST(nesting_ends_at_thirty_two) {
    uint8_t bytes[64];
    memset(bytes, 0x81, sizeof bytes);
    bytes[32] = 0x01;
    ck_assert_int_eq(decode(bytes, 33), 0);
    bytes[32] = 0x80;
    ck_assert_int_eq(decode(bytes, 33), -EMSGSIZE);
    bytes[31] = 0x80;
    ck_assert_int_eq(decode(bytes, 32), 0);
    bytes[31] = 0x81;
    bytes[32] = 0x81;
    bytes[33] = 0x01;
    ck_assert_int_eq(decode(bytes, 34), -EMSGSIZE);
}

TEST(a_million_levels_do_no_harm) {
    size_t n = 1000000;
    uint8_t *bytes = malloc(n);
    memset(bytes, 0x81, n);
    ck_assert_int_eq(decode(bytes, n), -EMSGSIZE);
    memset(bytes, 0xa1, n);
    ck_assert_int_eq(decode(bytes, n), -EBADMSG);
    memset(bytes, 0xd9, n);
    ck_assert_int_eq(decode(bytes, n), -EBADMSG);
    free(bytes);
}

TEST(items_end_at_a_limit) {
    size_t most = VALUE_ITEMS_MAX - 1; // the list itself is one
    uint8_t *bytes = malloc(most + 6);
    memset(bytes, 0xf6, most + 6);
    ck_assert_uint_eq(cbor_put_head(bytes, CBOR_ARRAY, most), 5);
    ck_assert_int_eq(decode(bytes, 5 + most), 0);
    cbor_put_head(bytes, CBOR_ARRAY, most + 1);
    ck_assert_int_eq(decode(bytes, 5 + most + 1), -EMSGSIZE);
    free(bytes);
}

TEST(bytes_end_at_a_limit, .seconds_max = 60) {
    size_t most = AC_VALUE_BYTES_MAX - 5;
    uint8_t *bytes = calloc(1, most + 6);
    ck_assert_uint_eq(cbor_put_head(bytes, CBOR_BYTES, most), 5);
    ac_value it = ac_decode(bytes, most + 5);
    ck_assert_int_eq(it.kind, AC_BYTES);
    ac_drop(it);
    cbor_put_head(bytes, CBOR_BYTES, most + 1);
    it = ac_decode(bytes, most + 6);
    ck_assert_int_eq(ac_error_of(it), -EMSGSIZE);
    free(bytes);
}

TEST(what_cannot_leave_the_process_is_not_encoded) {
    void *encoded = &encoded;
    size_t bytes = 1;
    ac_value notice = value_notice(ac_list(1)), around = ac_list(ac_hold(notice));
    ck_assert_int_eq(ac_encode(ac_of_pointer(&bytes), &encoded, &bytes), -ENOTSUP);
    ck_assert_ptr_null(encoded);
    ck_assert_uint_eq(bytes, 0);
    ac_value list = ac_list("a", ac_list((void *)&bytes));
    ck_assert_int_eq(ac_encode(list, &encoded, &bytes), -ENOTSUP);
    ck_assert_int_eq(ac_encode(notice, &encoded, &bytes), -ENOTSUP);
    ck_assert_int_eq(ac_encode(around, &encoded, &bytes), -ENOTSUP);
    ck_assert_int_eq(ac_encode(value_invalid(-EPIPE), &encoded, &bytes), -EPIPE);
    ac_drop(list);
    ac_drop(around);
    ac_drop(notice);
}

TEST(without_memory_nothing_is_lost) {
    void *encoded;
    size_t bytes;
    ac_value list = ac_list("a", 1);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_encode(list, &encoded, &bytes), -ENOMEM);
    ck_assert_ptr_null(encoded);
    ck_assert_int_eq(ac_encode(list, &encoded, &bytes), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_error_of(ac_decode(encoded, bytes)), -ENOMEM);
    memory_fail_nth(1);
    ck_assert_int_eq(DECODE("\x05"), 0); // a scalar needs none
    memory_fail_nth(0);
    free(encoded);
    ac_drop(list);
}

// ---- the reader of frames ----

TEST(a_reader_goes_from_item_to_item) {
    static const char frame[] = "\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x38\x63\xf5\xf4\x62hi\x41\x00"
                                "\x60\xd9\x98\x58\x50"
                                "0123456789abcdef\x82\x01\x61"
                                "a\x07";
    struct cbor_reader reader;
    cbor_reader_init(&reader, frame, sizeof frame - 1);
    ck_assert_uint_eq(cbor_read_unsigned(&reader), UINT64_MAX);
    ck_assert_int_eq(cbor_read_int(&reader), -100);
    ck_assert(cbor_read_bool(&reader));
    ck_assert(!cbor_read_bool(&reader));
    ac_span text = cbor_read_span(&reader), bytes = cbor_read_span(&reader);
    ac_span empty = cbor_read_span(&reader);
    ck_assert_uint_eq(text.bytes, 2);
    ck_assert_mem_eq(text.at, "hi", 2);
    ck_assert_mem_eq(bytes.at, "", 1);
    ck_assert(empty.bytes == 0 && empty.at);
    ck_assert_uint_eq(cbor_read_ref(&reader).peer, 0x3031323334353637);
    ac_value list = cbor_read_value(&reader, false);
    ck_assert_uint_eq(ac_count(list), 2);
    ac_drop(list);
    ck_assert(!cbor_read_end(&reader));
    ck_assert_int_eq(ac_int_of(cbor_read_value(&reader, false)), 7);
    ck_assert(cbor_read_end(&reader));
    ck_assert_int_eq(cbor_read_int(&reader), 0);
    ck_assert_int_eq(reader.err, -EBADMSG);
    ck_assert(!cbor_read_end(&reader));
}

TEST(after_an_error_a_reader_gives_nothing) {
    struct cbor_reader reader;
    cbor_reader_init(&reader, "\x60\x01\xf5\x41x", 5);
    ck_assert_uint_eq(cbor_read_unsigned(&reader), 0); // it is a text
    ck_assert_int_eq(reader.err, -EBADMSG);
    ck_assert_uint_eq(cbor_read_unsigned(&reader), 0);
    ck_assert_int_eq(cbor_read_int(&reader), 0);
    ck_assert(!cbor_read_bool(&reader));
    ck_assert_ptr_null(cbor_read_span(&reader).at);
    ck_assert(!ac_ref_is(cbor_read_ref(&reader)));
    ck_assert_int_eq(ac_error_of(cbor_read_value(&reader, true)), -EBADMSG);
    ck_assert(!cbor_read_end(&reader));
}

// The error after one read of each kind from the bytes of the literal.
#define READ(how, literal)                                                                         \
    ({                                                                                             \
        struct cbor_reader reader_;                                                                \
        cbor_reader_init(&reader_, literal, sizeof(literal) - 1);                                  \
        (void)how(&reader_);                                                                       \
        reader_.err;                                                                               \
    })

TEST(a_reader_takes_only_what_it_is_asked_for) {
    ck_assert_int_eq(READ(cbor_read_unsigned, ""), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_unsigned, "\x20"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_unsigned, "\x18\x01"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_int, "\x1b\x80\x00\x00\x00\x00\x00\x00\x00"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_int, "\x3b\x80\x00\x00\x00\x00\x00\x00\x00"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_int, "\x3b\x7f\xff\xff\xff\xff\xff\xff\xff"), 0);
    ck_assert_int_eq(READ(cbor_read_bool, "\xf6"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_bool, "\xfb\x00\x00\x00\x00\x00\x00\x00\x15"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_span, "\x62x"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_span, "\x61\xff"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_span, "\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_span, "\x81\x01"), -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_ref, "\xd9\x98\x59\x50"
                                         "0123456789abcdef"),
                     -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_ref, "\xd9\x98\x58\x50"
                                         "0123456789abcde"),
                     -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_ref, "\x50"
                                         "0123456789abcdef"),
                     -EBADMSG);
    ck_assert_int_eq(READ(cbor_read_ref, "\xd9\x98\x58\x50\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 0);
}

TEST(a_notice_is_read_only_where_it_may_be) {
    static const char bytes[] = "\xd9\x98\x5b\x82\x01\x81\x02";
    struct cbor_reader reader;
    cbor_reader_init(&reader, bytes, sizeof bytes - 1);
    ac_value notice = cbor_read_value(&reader, true);
    ck_assert(cbor_read_end(&reader));
    ck_assert_int_eq(notice.kind, AC_NOTICE);
    ck_assert(!value_is_local(notice));
    ac_value list = value_notice_list(notice), expected = ac_list(1, ac_list(2));
    ck_assert(ac_equal(list, expected));
    ac_drop(list);
    ac_drop(expected);
    ac_drop(notice);
    static const char inside[] = "\x82\x01\xd9\x98\x5b\x80";
    cbor_reader_init(&reader, inside, sizeof inside - 1);
    ck_assert_int_eq(ac_error_of(cbor_read_value(&reader, true)), -EBADMSG);
    static const char in_itself[] = "\xd9\x98\x5b\x81\xd9\x98\x5b\x80";
    cbor_reader_init(&reader, in_itself, sizeof in_itself - 1);
    ck_assert_int_eq(ac_error_of(cbor_read_value(&reader, true)), -EBADMSG);
    static const char no_list[] = "\xd9\x98\x5b\x01";
    cbor_reader_init(&reader, no_list, sizeof no_list - 1);
    ck_assert_int_eq(ac_error_of(cbor_read_value(&reader, true)), -EBADMSG);
}
