// SPDX-License-Identifier: MIT
// SHA-256, HMAC-SHA-256 and HKDF by OpenSSL.
//
// Looking an algorithm up costs OpenSSL 3 more than a short digest, so that objects which are used
// again and again keep what they have found. The only way for any of this to fail is lack of
// memory, or an OpenSSL that was built without SHA-256, which is reported the same way.
#include "io/crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

struct digest {
    EVP_MD_CTX *context;
};

struct digest_mac {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
    size_t key_count;
    uint8_t key[];
};

// ---- SHA-256 ----

struct digest *digest_create(void) {
    struct digest *digest = memory_allocate(sizeof *digest);
    if (!digest)
        return NULL;
    digest->context = EVP_MD_CTX_new();
    if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1) {
        ERR_clear_error();
        digest_destroy(digest);
        return NULL;
    }
    return digest;
}

void digest_destroy(struct digest *digest) {
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->context);
    memory_release(digest);
}

int digest_add(struct digest *digest, const void *bytes, size_t count) {
    if (EVP_DigestUpdate(digest->context, bytes, count) == 1)
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

int digest_end(struct digest *digest, uint8_t out[DIGEST_BYTES]) {
    if (EVP_DigestFinal_ex(digest->context, out, NULL) == 1 &&
        EVP_DigestInit_ex(digest->context, NULL, NULL) == 1)
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

int digest_of(const void *bytes, size_t count, uint8_t out[DIGEST_BYTES]) {
    if (EVP_Digest(bytes, count, out, NULL, EVP_sha256(), NULL) == 1)
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

// ---- HMAC ----

struct digest_mac *digest_mac_create(const uint8_t *key, size_t count) {
    struct digest_mac *mac = memory_allocate_zeroed(sizeof *mac + count);
    if (!mac)
        return NULL;
    mac->key_count = count;
    memcpy(mac->key, key, count);
    char sha256[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string("digest", sha256, 0),
        OSSL_PARAM_construct_end(),
    };
    mac->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    mac->context = mac->mac ? EVP_MAC_CTX_new(mac->mac) : NULL;
    if (!mac->context || EVP_MAC_CTX_set_params(mac->context, parameters) != 1) {
        ERR_clear_error();
        digest_mac_destroy(mac);
        return NULL;
    }
    return mac;
}

void digest_mac_destroy(struct digest_mac *mac) {
    if (!mac)
        return;
    EVP_MAC_CTX_free(mac->context);
    EVP_MAC_free(mac->mac);
    digest_wipe(mac->key, mac->key_count);
    memory_release(mac);
}

// The key is given anew each time: early releases of OpenSSL 3 did not restart without it.
int digest_mac_of(struct digest_mac *mac, const void *bytes, size_t count,
                  uint8_t out[DIGEST_BYTES]) {
    size_t written = 0;
    if (EVP_MAC_init(mac->context, mac->key, mac->key_count, NULL) == 1 &&
        EVP_MAC_update(mac->context, bytes, count) == 1 &&
        EVP_MAC_final(mac->context, out, &written, DIGEST_BYTES) == 1 && written == DIGEST_BYTES)
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

// ---- HKDF: extract, then expand ----

int digest_derive(const uint8_t *secret, size_t secret_count, const char *salt, const char *info,
                  uint8_t *out, size_t count) {
    enum { INFO_BYTES_MAX = 64 };
    uint8_t key[DIGEST_BYTES], block[DIGEST_BYTES + INFO_BYTES_MAX + 1];
    size_t info_count = strlen(info), before = 0;
    assert(info_count <= INFO_BYTES_MAX && count <= (size_t)255 * DIGEST_BYTES);
    int err = -ENOMEM;
    if (!HMAC(EVP_sha256(), salt, (int)strlen(salt), secret, secret_count, key, NULL))
        goto wipe;
    for (uint8_t i = 1; count > 0; i++) {
        uint8_t result[DIGEST_BYTES];
        memcpy(block + before, info, info_count);
        block[before + info_count] = i;
        if (!HMAC(EVP_sha256(), key, DIGEST_BYTES, block, before + info_count + 1, result, NULL))
            goto wipe;
        size_t part = count < DIGEST_BYTES ? count : DIGEST_BYTES;
        memcpy(out, result, part);
        memcpy(block, result, DIGEST_BYTES);
        digest_wipe(result, sizeof result);
        before = DIGEST_BYTES;
        out += part;
        count -= part;
    }
    err = 0;
wipe:
    ERR_clear_error();
    digest_wipe(key, sizeof key);
    digest_wipe(block, sizeof block);
    return err;
}

bool digest_equal(const void *a, const void *b, size_t count) {
    return CRYPTO_memcmp(a, b, count) == 0;
}

void digest_wipe(void *secret, size_t count) { OPENSSL_cleanse(secret, count); }
