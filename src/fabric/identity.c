// SPDX-License-Identifier: MIT
// By what this process is let in and lets others in: the keys. They are read when the network
// starts, and again when their file has changed, which is looked at every LOOK_NS, and soon after
// somebody was refused, because the keys may have changed there first. So a program takes part in a
// rotation without being started again.
//
// What has become of the file may be a mistake: missing, open to others, half copied. Then all stays
// as it is until it changes once more. What was made by a key that is no longer good is ended: the
// connection breaks and is made anew with one that is, so that between two that still belong
// together nothing is lost; who has no other key is lost when the grace time is over.
//
// The file is looked at by the thread that drives the fabric, as it was read at the start: 2 us
// where the file is of this computer.
#include "fabric/fabric_private.h"

// What follows from the files as they were read last.
struct proof {
    struct key_ring keys;
    char names[KEYS_MAX][TLS_IDENTITY_BYTES_MAX + 1]; // under which TLS offers the keys
    struct digest_mac *beacons[KEYS_MAX];             // that sign with them
    struct tls_context *tls;
};

struct identity {
    struct proof now;
    char *key_path; // NULL: the keys were given, and stay
    struct sys_file_stamp key_stamp;
};

static void proof_done(struct proof *proof) {
    for (size_t i = 0; i < KEYS_MAX; i++)
        digest_mac_destroy(proof->beacons[i]);
    tls_context_destroy(proof->tls);
    digest_wipe(proof, sizeof *proof);
}

static int add_key(struct proof *proof, size_t number) {
    struct key_derived it;
    int err = key_derive(proof->keys.keys[number], &it);
    if (err)
        return err;
    strcpy(proof->names[number], it.identity);
    if (number == 0)
        proof->tls = tls_context_create(it.tls, it.identity, &err);
    else
        err = tls_context_add(proof->tls, it.tls, it.identity);
    proof->beacons[number] = digest_mac_create(it.beacon, sizeof it.beacon);
    digest_wipe(&it, sizeof it);
    if (number == 0 && !proof->tls)
        return err;
    return proof->beacons[number] ? err : -ENOMEM;
}

// From the keys that are in it. On failure it is empty.
static int proof_make(struct proof *proof) {
    int err = 0;
    for (size_t i = 0; i < proof->keys.count && !err; i++)
        err = add_key(proof, i);
    if (err)
        proof_done(proof);
    return err;
}

// ---- life ----

static void give_keys(const struct fabric_options *options, struct key_ring *ring) {
    ring->count = options->key_count ? options->key_count : 1;
    assert(ring->count <= KEYS_MAX);
    memcpy(ring->keys, options->key, ring->count * KEY_BYTES);
}

static int find_keys(struct identity *it, const struct fabric_options *options, char text[256]) {
    char path[KEY_PATH_BYTES];
    if (options->key) {
        give_keys(options, &it->now.keys);
        return 0;
    }
    int err = key_path(options->key_path, true, path, text);
    if (err)
        return err;
    it->key_path = memory_copy_text(path);
    if (!it->key_path)
        return -ENOMEM;
    // One that is made now is another one when it is looked at, and read once more.
    sys_file_stamp(path, &it->key_stamp);
    return key_find(path, &it->now.keys, text);
}

int identity_open(struct identity **made, const struct fabric_options *options, char text[256]) {
    struct identity *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    int err = find_keys(it, options, text);
    if (!err)
        err = proof_make(&it->now);
    if (err)
        identity_close(it);
    else
        *made = it;
    return err;
}

void identity_close(struct identity *it) {
    if (!it)
        return;
    proof_done(&it->now);
    memory_release(it->key_path);
    memory_release(it);
}

bool identity_has_files(const struct identity *it) { return it->key_path != NULL; }

bool identity_look(struct identity *it) {
    struct sys_file_stamp stamp;
    struct proof next = {0};
    char text[256] = "";
    if (!it->key_path)
        return false;
    sys_file_stamp(it->key_path, &stamp);
    if (memcmp(&stamp, &it->key_stamp, sizeof stamp) == 0)
        return false;
    it->key_stamp = stamp;
    int err = key_load(it->key_path, &next.keys, text);
    if (!err && memcmp(&next.keys, &it->now.keys, sizeof next.keys) == 0)
        err = -EALREADY;
    if (!err)
        err = proof_make(&next);
    if (err == -ENOMEM)
        it->key_stamp = (struct sys_file_stamp){0}; // once more, later
    if (err) {
        if (err != -EALREADY)
            trace(TRACE_FABRIC, "the key stays: %s", text[0] ? text : ac_strerror(err));
        digest_wipe(&next, sizeof next);
        return false;
    }
    proof_done(&it->now);
    it->now = next;
    trace(TRACE_FABRIC, "the key file has changed: %zu keys, the newest is %s",
          it->now.keys.count, it->now.names[0]);
    return true;
}

// ---- use ----

const struct key_ring *identity_keys(const struct identity *it) { return &it->now.keys; }

struct tls *identity_tls(struct identity *it, bool server) {
    return tls_create(it->now.tls, server);
}

size_t identity_offers(const struct identity *it) { return it->now.keys.count; }

void identity_offer(const struct identity *it, struct tls *tls, size_t number) {
    (void)it;
    tls_offer(tls, number);
}

bool identity_is_good(const struct identity *it, const struct tls *tls) {
    for (size_t i = 0; i < it->now.keys.count; i++)
        if (strcmp(tls_identity(tls), it->now.names[i]) == 0)
            return true;
    return false;
}

size_t identity_signatures(const struct identity *it) { return it->now.keys.count; }

int identity_sign(const struct identity *it, size_t number, const void *bytes, size_t count,
                  uint8_t signature[DIGEST_BYTES]) {
    return digest_mac_of(it->now.beacons[number], bytes, count, signature);
}

bool identity_signed(const struct identity *it, const void *bytes, size_t count,
                     const uint8_t signature[DIGEST_BYTES]) {
    uint8_t digest[DIGEST_BYTES];
    for (size_t i = 0; i < it->now.keys.count; i++)
        if (digest_mac_of(it->now.beacons[i], bytes, count, digest) == 0 &&
            digest_equal(digest, signature, sizeof digest))
            return true;
    return false;
}
