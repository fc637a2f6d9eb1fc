// SPDX-License-Identifier: MIT
// Tests of digests, with the examples of the standards.
#include "io/io.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

static const char *hex(const uint8_t *bytes, size_t count) {
    static char text[256];
    for (size_t i = 0; i < count; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
    return text;
}

TEST(sha_256_of_abc) {
    uint8_t out[DIGEST_BYTES];
    ck_assert_int_eq(digest_of("abc", 3, out), 0);
    ck_assert_str_eq(hex(out, 32),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_int_eq(digest_of(NULL, 0, out), 0);
    ck_assert_str_eq(hex(out, 32),
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(pieces_give_the_digest_of_the_whole_and_it_can_be_used_again) {
    uint8_t out[DIGEST_BYTES], whole[DIGEST_BYTES], bytes[10000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    struct digest *digest = digest_create();
    ck_assert_int_eq(digest_of(bytes, sizeof bytes, whole), 0);
    for (size_t step = 1; step < 4000; step = step * 3 + 1) {
        for (size_t at = 0; at < sizeof bytes; at += step) {
            size_t count = sizeof bytes - at < step ? sizeof bytes - at : step;
            ck_assert_int_eq(digest_add(digest, bytes + at, count), 0);
        }
        ck_assert_int_eq(digest_end(digest, out), 0);
        ck_assert_mem_eq(out, whole, sizeof out);
    }
    digest_destroy(digest);
    digest_destroy(NULL);
}

// RFC 4231, test cases 1 and 2.
TEST(hmac_as_in_rfc_4231) {
    uint8_t key[20], out[DIGEST_BYTES];
    memset(key, 0x0b, sizeof key);
    struct digest_mac *mac = digest_mac_create(key, sizeof key);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(digest_mac_of(mac, "Hi There", 8, out), 0);
        ck_assert_str_eq(hex(out, 32),
                         "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
    digest_mac_destroy(mac);
    mac = digest_mac_create((const uint8_t *)"Jefe", 4);
    ck_assert_int_eq(digest_mac_of(mac, "what do ya want for nothing?", 28, out), 0);
    ck_assert_str_eq(hex(out, 32),
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    digest_mac_destroy(mac);
}

// RFC 5869, test case 3 has neither salt nor info; the length is its 42 bytes.
TEST(hkdf_as_in_rfc_5869) {
    uint8_t secret[22], out[42], part[10];
    memset(secret, 0x0b, sizeof secret);
    ck_assert_int_eq(digest_derive(secret, sizeof secret, "", "", out, sizeof out), 0);
    ck_assert_str_eq(hex(out, 42),
                     "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
                     "9d201395faa4b61a96c8");
    ck_assert_int_eq(digest_derive(secret, sizeof secret, "", "", part, sizeof part), 0);
    ck_assert_mem_eq(out, part, sizeof part);
    ck_assert_int_eq(digest_derive(secret, sizeof secret, "", "x", part, sizeof part), 0);
    ck_assert_mem_ne(out, part, sizeof part);
}

TEST(comparing_and_wiping) {
    char a[8] = "secret", b[8] = "secret";
    ck_assert(digest_equal(a, b, sizeof a));
    b[7] = 1;
    ck_assert(!digest_equal(a, b, sizeof a));
    digest_wipe(a, sizeof a);
    for (size_t i = 0; i < sizeof a; i++)
        ck_assert_int_eq(a[i], 0);
}

TEST(without_memory_there_is_no_digest) {
    memory_fail_nth(1);
    ck_assert_ptr_null(digest_create());
    memory_fail_nth(1);
    ck_assert_ptr_null(digest_mac_create((const uint8_t *)"k", 1));
    memory_fail_nth(0);
}
