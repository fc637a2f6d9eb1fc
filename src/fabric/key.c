// SPDX-License-Identifier: MIT
// The key: 32 random bytes that all programs of one user share, and that decide who may talk; and,
// while it is being rotated, the one before it.
//
// Where it is looked for: the file that the options name; the file that ASYNCORO_KEY_FILE names;
// the file `key` in the user's configuration folder. A file that is not there is made, with a new
// key, readable by its owner alone; its folder is made only if it is the configuration folder, so
// that a misspelt path is an error. Of two programs that make it at once one succeeds and the other
// reads what that one made.
//
// A path such as /proc/PID/fd/N is a file that a process has open, and goes with it: `asyncoro run`
// tells so of a key that lies in memory alone.
//
// The file is text. Each line that is neither blank nor begins with "#" is a key, 64 hexadecimal
// digits, with blanks anywhere: the newest first, KEYS_MAX at the most. It is never written in
// place: a change is a new file that takes its name, so that who reads it sees one or the other.
//
// Rotation. With two keys in its file a program takes both from others, signs beacons with both,
// and offers the newer one first to whom it calls, and the older one if that is refused. So the
// computers of a user may learn of a new key one after the other, and when all have, the old one is
// retired.
//
// What is derived from each, by HKDF-SHA-256 with the salt "asyncoro/1":
//   "tls psk"      32 bytes: the secret of TLS connections
//   "beacon hmac"  32 bytes: the key that signs beacons
//   "key id"        8 bytes: in hexadecimal the fingerprint; after "asyncoro/1/" the name under
//                   which TLS offers the secret, so that everybody on the way may know it
// None of them tells anything of the others or of the key.
#include "fabric/fabric_private.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 4096, TEXT_BYTES = 256, KEY_ID_BYTES = 8 };

static const char digits[] = "0123456789abcdef";
static const char salt[] = "asyncoro/1";

static void put_hex(char *to, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
}

// ---- the text of a key file ----

static int digit_of(char it) {
    if (it >= '0' && it <= '9')
        return it - '0';
    if (it >= 'a' && it <= 'f')
        return it - 'a' + 10;
    return it >= 'A' && it <= 'F' ? it - 'A' + 10 : -1;
}

// How many digits a line holds, of which at most those of a key are stored; -1 if there is anything
// else in it.
static int read_line(const char *line, size_t bytes, uint8_t key[KEY_BYTES]) {
    int found = 0;
    if (bytes > 0 && line[0] == '#')
        return 0;
    for (size_t i = 0; i < bytes; i++) {
        if (line[i] == '\r' || line[i] == ' ' || line[i] == '\t')
            continue;
        int digit = digit_of(line[i]);
        if (digit < 0 || found == 2 * KEY_BYTES)
            return -1;
        key[found / 2] = (uint8_t)(found % 2 ? key[found / 2] << 4 | digit : digit);
        found++;
    }
    return found;
}

int key_parse(const void *text, size_t bytes, struct key_ring *ring) {
    const char *at = text, *end = at + bytes;
    uint8_t key[KEY_BYTES];
    bool good = true;
    *ring = (struct key_ring){0};
    while (good && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        int found = read_line(at, length, key);
        at += length + (stop ? 1 : 0);
        if (found == 0)
            continue;
        good = found == 2 * KEY_BYTES && ring->count < KEYS_MAX && !key_ring_has(ring, key);
        if (good)
            memcpy(ring->keys[ring->count++], key, KEY_BYTES);
    }
    digest_wipe(key, sizeof key);
    if (good && ring->count > 0)
        return 0;
    digest_wipe(ring, sizeof *ring);
    return -EINVAL;
}

size_t key_print(const struct key_ring *ring, char text[KEY_TEXT_BYTES]) {
    char *at = text;
    for (size_t i = 0; i < ring->count; i++) {
        put_hex(at, ring->keys[i], KEY_BYTES);
        at += 2 * KEY_BYTES;
        *at++ = '\n';
    }
    *at = 0;
    return (size_t)(at - text);
}

bool key_ring_has(const struct key_ring *ring, const uint8_t key[KEY_BYTES]) {
    bool has = false;
    for (size_t i = 0; i < ring->count; i++)
        has |= digest_equal(ring->keys[i], key, KEY_BYTES);
    return has;
}

// ---- the file ----

static int explain(int err, const char *path, char text[TEXT_BYTES]) {
    const char *advice = ac_strerror(err);
    if (err == -EACCES)
        advice = "it must be a file of yours, closed to others; if nobody has seen it: chmod 600";
    else if (err == -EINVAL)
        advice =
            "it holds no key of 64 hexadecimal digits; copy it again, or remove it for a new one";
    else if (err == -ENOENT)
        advice = "it, or its folder, is not there";
    // The advice matters more than the beginning of a long path.
    enum { PATH_SHOWN = TEXT_BYTES - 112 };
    size_t length = strlen(path);
    const char *end = length > PATH_SHOWN ? path + length - PATH_SHOWN : path;
    snprintf(text, TEXT_BYTES, "key file %s%.144s: %s", end > path ? "..." : "", end, advice);
    return err;
}

int key_path(const char *given, bool make_folder, char path[KEY_PATH_BYTES],
             char text[TEXT_BYTES]) {
    if (!given)
        given = getenv("ASYNCORO_KEY_FILE");
    if (given && given[0]) {
        int length = snprintf(path, KEY_PATH_BYTES, "%s", given);
        return length < KEY_PATH_BYTES ? 0 : explain(-ENAMETOOLONG, given, text);
    }
    int err = sys_folder_config(path, KEY_PATH_BYTES - sizeof "/key");
    if (err) {
        snprintf(text, TEXT_BYTES,
                 "no place for the key file: set HOME, or ASYNCORO_KEY_FILE to its path");
        return err;
    }
    err = make_folder ? sys_folder_make(path) : 0;
    if (err) {
        snprintf(text, TEXT_BYTES, "the folder %.128s cannot be made: %s", path, ac_strerror(err));
        return err;
    }
    strcat(path, "/key");
    return 0;
}

static int read_file(const char *path, struct key_ring *ring) {
    struct buffer text;
    buffer_init(&text);
    int err = sys_file_read_secret(path, &text, FILE_BYTES_MAX);
    if (err == 0)
        err = key_parse(text.bytes, text.length, ring);
    if (text.bytes)
        digest_wipe(text.bytes, text.length);
    buffer_done(&text);
    return err == -EFBIG ? -EINVAL : err;
}

int key_load(const char *path, struct key_ring *ring, char text[TEXT_BYTES]) {
    int err = read_file(path, ring);
    return err ? explain(err, path, text) : 0;
}

int key_draw(uint8_t key[KEY_BYTES]) { return sys_random_bytes(key, KEY_BYTES); }

int key_create(const char *path, const struct key_ring *ring, char text[TEXT_BYTES]) {
    char content[KEY_TEXT_BYTES];
    int err = sys_file_create_secret(path, content, key_print(ring, content));
    digest_wipe(content, sizeof content);
    return err && err != -EEXIST ? explain(err, path, text) : err;
}

int key_replace(const char *path, const struct key_ring *before, const struct key_ring *ring,
                char text[TEXT_BYTES]) {
    char content[KEY_TEXT_BYTES];
    struct key_ring there = {0};
    int lock = sys_file_lock(path);
    int err = lock < 0 ? lock : read_file(path, &there);
    if (!err && memcmp(&there, before, sizeof there) != 0)
        err = -ESTALE;
    if (!err)
        err = sys_file_replace_secret(path, content, key_print(ring, content));
    sys_fd_close(lock);
    digest_wipe(&there, sizeof there);
    digest_wipe(content, sizeof content);
    return err && err != -ESTALE ? explain(err, path, text) : err;
}

static int make_file(const char *path, char text[TEXT_BYTES]) {
    struct key_ring ring = {.count = 1};
    int err = key_draw(ring.keys[0]);
    if (!err)
        err = key_create(path, &ring, text);
    digest_wipe(&ring, sizeof ring);
    return err == -EEXIST ? 0 : err; // another program was quicker: its key it is
}

int key_find(const char *path, struct key_ring *ring, char text[TEXT_BYTES]) {
    int err = read_file(path, ring);
    if (err != -ENOENT)
        return err ? explain(err, path, text) : 0;
    err = make_file(path, text);
    return err ? err : key_load(path, ring, text);
}

// ---- what is derived ----

int key_derive(const uint8_t key[KEY_BYTES], struct key_derived *derived) {
    static const char prefix[] = "asyncoro/1/";
    int err = digest_derive(key, KEY_BYTES, salt, "tls psk", derived->tls, KEY_BYTES);
    if (err == 0)
        err = digest_derive(key, KEY_BYTES, salt, "beacon hmac", derived->beacon, KEY_BYTES);
    if (err)
        return err;
    strcpy(derived->identity, prefix);
    return key_fingerprint(key, derived->identity + strlen(prefix));
}

int key_fingerprint(const uint8_t key[KEY_BYTES], char text[KEY_FINGERPRINT_BYTES]) {
    uint8_t id[KEY_ID_BYTES];
    int err = digest_derive(key, KEY_BYTES, salt, "key id", id, sizeof id);
    if (err)
        return err;
    put_hex(text, id, sizeof id);
    text[2 * KEY_ID_BYTES] = 0;
    return 0;
}
