// SPDX-License-Identifier: MIT
// The key: 32 random bytes that all programs of one user share, and that decide who may talk.
//
// Where it is looked for: fabric_options.key; the file fabric_options.key_path; the file that
// ASYNCORO_KEY_FILE names; the file `key` in the user's configuration folder. A file that is not
// there is made, with a new key, readable by its owner alone; its folder is made only if it is the
// configuration folder, so that a misspelt path is an error. Of two programs that make it at once
// one succeeds and the other reads what that one made.
//
// The file is text: 64 hexadecimal digits, and blanks and line ends around them. Lines that begin
// with "#" are comments.
//
// What is derived from it, by HKDF-SHA-256 with the salt "asyncoro/1":
//   "tls psk"      32 bytes: the secret of TLS connections
//   "beacon hmac"  32 bytes: the key that signs beacons
//   "key id"        8 bytes: in hexadecimal, after "asyncoro/1/", the name under which TLS offers
//                   the secret
// None of them tells anything of the others or of the key.
#include "fabric/fabric_private.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 4096, FILE_BYTES_MAX = 4096, TEXT_BYTES = 256, KEY_ID_BYTES = 8 };

static const char digits[] = "0123456789abcdef";

static void put_hex(char *to, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
}

static int digit_of(char it) {
    if (it >= '0' && it <= '9')
        return it - '0';
    if (it >= 'a' && it <= 'f')
        return it - 'a' + 10;
    return it >= 'A' && it <= 'F' ? it - 'A' + 10 : -1;
}

// Reads the text of a key file. False if there is anything but one key in it.
static bool parse(const uint8_t *text, size_t bytes, uint8_t key[KEY_BYTES]) {
    size_t found = 0;
    bool comment = false, line_begins = true;
    for (size_t i = 0; i < bytes; i++) {
        char it = (char)text[i];
        comment = it != '\n' && (comment || (line_begins && it == '#'));
        line_begins = it == '\n';
        if (comment || it == '\n' || it == '\r' || it == ' ' || it == '\t')
            continue;
        int digit = digit_of(it);
        if (digit < 0 || found == 2 * (size_t)KEY_BYTES)
            return false;
        key[found / 2] = (uint8_t)(found % 2 ? key[found / 2] << 4 | digit : digit);
        found++;
    }
    return found == 2 * (size_t)KEY_BYTES;
}

static int read_file(const char *path, uint8_t key[KEY_BYTES]) {
    struct buffer text;
    buffer_init(&text);
    int err = sys_file_read_secret(path, &text, FILE_BYTES_MAX);
    if (err == 0 && !parse(text.bytes, text.length, key))
        err = -EINVAL;
    if (text.bytes)
        digest_wipe(text.bytes, text.length);
    buffer_done(&text);
    return err == -EFBIG ? -EINVAL : err;
}

static int make_file(const char *path) {
    uint8_t key[KEY_BYTES];
    char text[2 * KEY_BYTES + 1];
    int err = sys_random_bytes(key, sizeof key);
    if (err)
        return err;
    put_hex(text, key, sizeof key);
    text[2 * KEY_BYTES] = '\n';
    err = sys_file_create_secret(path, text, sizeof text);
    digest_wipe(key, sizeof key);
    digest_wipe(text, sizeof text);
    return err == -EEXIST ? 0 : err; // another program was quicker: its key it is
}

static int explain(int err, const char *path, char text[TEXT_BYTES]) {
    const char *advice = ac_strerror(err);
    if (err == -EACCES)
        advice = "it must belong to you and be closed to others; if nobody has seen it: chmod 600";
    else if (err == -EINVAL)
        advice =
            "it holds no key of 64 hexadecimal digits; copy it again, or remove it for a new one";
    else if (err == -ENOENT)
        advice = "its folder is not there";
    // The advice matters more than the beginning of a long path.
    enum { PATH_SHOWN = TEXT_BYTES - 112 };
    size_t length = strlen(path);
    const char *end = length > PATH_SHOWN ? path + length - PATH_SHOWN : path;
    snprintf(text, TEXT_BYTES, "key file %s%.144s: %s", end > path ? "..." : "", end, advice);
    return err;
}

// The path of the key file; makes the configuration folder if it lies there.
static int find_path(const struct fabric_options *options, char path[PATH_BYTES],
                     char text[TEXT_BYTES]) {
    const char *given = options->key_path ? options->key_path : getenv("ASYNCORO_KEY_FILE");
    if (given && given[0]) {
        int length = snprintf(path, PATH_BYTES, "%s", given);
        return length < PATH_BYTES ? 0 : explain(-ENAMETOOLONG, given, text);
    }
    int err = sys_folder_config(path, PATH_BYTES - sizeof "/key");
    if (err) {
        snprintf(text, TEXT_BYTES,
                 "no place for the key file: set HOME, or ASYNCORO_KEY_FILE to its path");
        return err;
    }
    err = sys_folder_make(path);
    if (err) {
        snprintf(text, TEXT_BYTES, "the folder %.128s cannot be made: %s", path, ac_strerror(err));
        return err;
    }
    strcat(path, "/key");
    return 0;
}

int key_find(const struct fabric_options *options, uint8_t key[KEY_BYTES], char text[TEXT_BYTES]) {
    char path[PATH_BYTES];
    if (options->key) {
        memcpy(key, options->key, KEY_BYTES);
        return 0;
    }
    int err = find_path(options, path, text);
    if (err)
        return err;
    err = read_file(path, key);
    if (err == -ENOENT) {
        err = make_file(path);
        if (err == 0)
            err = read_file(path, key);
    }
    return err ? explain(err, path, text) : 0;
}

int key_derive(const uint8_t key[KEY_BYTES], struct key_derived *derived) {
    static const char salt[] = "asyncoro/1", prefix[] = "asyncoro/1/";
    uint8_t id[KEY_ID_BYTES];
    int err = digest_derive(key, KEY_BYTES, salt, "tls psk", derived->tls, KEY_BYTES);
    if (err == 0)
        err = digest_derive(key, KEY_BYTES, salt, "beacon hmac", derived->beacon, KEY_BYTES);
    if (err == 0)
        err = digest_derive(key, KEY_BYTES, salt, "key id", id, sizeof id);
    if (err)
        return err;
    memset(derived->identity, 0, sizeof derived->identity);
    strcpy(derived->identity, prefix);
    put_hex(derived->identity + strlen(prefix), id, sizeof id);
    return 0;
}
