// SPDX-License-Identifier: MIT
// By what this process is let in and lets others in: keys, or a certificate. The files are read
// when the network starts, and again when one has changed, which is looked at every LOOK_NS, and
// soon after somebody was refused, because what it has may be newer. So a program takes part in a
// rotation, in a revocation and in the renewal of its certificate without being started again.
//
// What has become of a file may be a mistake: missing, open to others, half copied. Then what it
// said stays as it was, the other files are taken up all the same, and it is read again and again.
// What goes together is one part: our certificate and its key. A connection that would not be made
// any more is ended: with a key that is not good any more, with a certificate that is revoked, has
// expired (CHECK_NS) or is of nobody who is trusted now. Its link is resumed over a new connection
// if that can be made, so that between two that still belong together nothing is lost; else the
// peer is lost when the grace time is over.
//
// With certificates a key that is given as well signs beacons and opens nothing; without one there
// are none, as a signature that all could check would cost each a thousand times more to check than
// to forge.
//
// The files are looked at by the thread that drives the fabric, as they are read at the start: 2 us
// each where they are of this computer.
#include "fabric/fabric_private.h"

#include <stdio.h>

enum { FILES_MAX = 5, NAMES_BYTES_MAX = 4096 };

// A file, and as it was when it was read.
struct watched {
    char *path; // NULL: there is none
    struct sys_file_stamp stamp;
};

// What follows from the files as they were read last.
struct proof {
    struct key_ring keys;
    char names[KEYS_MAX][TLS_IDENTITY_BYTES_MAX + 1]; // under which TLS offers the keys
    struct digest_mac *beacons[KEYS_MAX];             // that sign with them
    struct tls_context *tls;                          // NULL: there is no key
    struct ac_tls *certificates;                      // NULL: the keys let in
};

struct identity {
    struct proof now;
    unsigned kept; // parts that are as they were before their file changed
    // The key, our certificate, its key, the authorities, the lists of what is revoked.
    union {
        struct watched all[FILES_MAX];
        struct {
            struct watched key, certificate, certificate_key, authority, revoked;
        };
    };
    char *peer_names; // NULL: all
};

static void proof_done(struct proof *proof) {
    for (size_t i = 0; i < KEYS_MAX; i++)
        digest_mac_destroy(proof->beacons[i]);
    tls_context_destroy(proof->tls);
    ac_tls_destroy(proof->certificates);
    digest_wipe(proof, sizeof *proof);
}

static int add_key(struct proof *proof, size_t number) {
    struct key_derived it;
    int err = key_derive(proof->keys.keys[number], &it);
    if (err)
        return err;
    strcpy(proof->names[number], it.identity);
    if (number > 0)
        err = tls_context_add(proof->tls, it.tls, it.identity);
    else
        proof->tls = tls_context_create(it.tls, it.identity, &err);
    if (proof->tls && number == 0)
        err = 0;
    proof->beacons[number] = digest_mac_create(it.beacon, sizeof it.beacon);
    digest_wipe(&it, sizeof it);
    return err || proof->beacons[number] ? err : -ENOMEM;
}

static int read_certificates(const struct identity *it, struct proof *proof, unsigned *kept,
                             char text[256]) {
    if (!it->certificate.path)
        return 0;
    const struct ac_tls_options options = {.size = sizeof options,
                                           .certificate = it->certificate.path,
                                           .key = it->certificate_key.path,
                                           .trust = it->authority.path,
                                           .revoked = it->revoked.path,
                                           .version_min = AC_TLS_V13,
                                           .clients = AC_TLS_DEMAND,
                                           .no_resumption = true};
    int err = trust_renew(&proof->certificates, it->now.certificates, &options, kept);
    if (err)
        snprintf(text, 256, "certificate %.60s, its key, authority %.60s or revocation list: %s%s",
                 it->certificate.path, it->authority.path, ac_strerror(err),
                 err == -EACCES ? "; the key must be closed to all others: chmod 600" : "");
    return err;
}

// From the keys that are in it and the files of certificates, of which what cannot be used is as it
// is now, if there is anything now; *kept counts such parts. On failure it is empty.
static int proof_make(const struct identity *it, struct proof *proof, unsigned *kept,
                      char text[256]) {
    int err = 0;
    for (size_t i = 0; i < proof->keys.count && !err; i++)
        err = add_key(proof, i);
    if (!err)
        err = read_certificates(it, proof, kept, text);
    if (err)
        proof_done(proof);
    return err;
}

// ---- life ----

static int watch(struct watched *it, const char *path) {
    if (!path)
        return 0;
    it->path = memory_copy_text(path);
    if (!it->path)
        return -ENOMEM;
    sys_file_stamp(path, &it->stamp);
    return 0;
}

static int watch_certificates(struct identity *it, const struct fabric_options *options,
                              char text[256]) {
    const char *names = options->peer_names;
    bool any = options->certificate_key || options->authority || options->revoked || names;
    if (options->certificate ? !options->authority : any) {
        snprintf(text, 256,
                 "a certificate needs an authority for those of the peers, and what else "
                 "is said of certificates needs one");
        return -EINVAL;
    }
    if (names && strlen(names) > NAMES_BYTES_MAX)
        return -EINVAL;
    int err = watch(&it->certificate, options->certificate);
    if (!err)
        err = watch(&it->certificate_key, options->certificate_key);
    if (!err)
        err = watch(&it->authority, options->authority);
    if (!err)
        err = watch(&it->revoked, options->revoked);
    if (!err && names) {
        it->peer_names = memory_copy_text(names);
        err = it->peer_names ? 0 : -ENOMEM;
    }
    return err;
}

static int find_keys(struct identity *it, const struct fabric_options *options, char text[256]) {
    char path[KEY_PATH_BYTES];
    struct key_ring *ring = &it->now.keys;
    if (options->key) {
        ring->count = options->key_count ? options->key_count : 1;
        assert(ring->count <= KEYS_MAX);
        memcpy(ring->keys, options->key, ring->count * KEY_BYTES);
        return 0;
    }
    if (options->certificate && !options->key_path)
        return 0;
    int err = key_path(options->key_path, true, path, text);
    if (!err)
        err = watch(&it->key, path); // one that is made now will be looked at once more
    return err ? err : key_find(path, ring, text);
}

int identity_open(struct identity **made, const struct fabric_options *options, char text[256]) {
    struct identity *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    int err = watch_certificates(it, options, text);
    if (!err)
        err = find_keys(it, options, text);
    unsigned kept;
    if (!err)
        err = proof_make(it, &it->now, &kept, text);
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
    for (size_t i = 0; i < FILES_MAX; i++)
        memory_release(it->all[i].path);
    memory_release(it->peer_names);
    memory_release(it);
}

// ---- changes ----

bool identity_has_files(const struct identity *it) { return it->key.path || it->certificate.path; }

// True, once, if a file is not as it was.
static bool has_changed(struct identity *it) {
    bool changed = false;
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct sys_file_stamp stamp;
        if (!it->all[i].path)
            continue;
        sys_file_stamp(it->all[i].path, &stamp);
        changed |= memcmp(&stamp, &it->all[i].stamp, sizeof stamp) != 0;
        it->all[i].stamp = stamp;
    }
    return changed;
}

// How many parts there are: the keys; whom we trust, the lists of what is revoked, our certificate.
static unsigned parts(const struct identity *it) {
    return (it->key.path ? 1 : 0) + (it->certificate.path ? 2 : 0) + (it->revoked.path ? 1 : 0);
}

// Those of the file, or as they are now.
static void read_keys(const struct identity *it, struct proof *proof, unsigned *kept,
                      char text[256]) {
    if (!it->key.path || key_load(it->key.path, &proof->keys, text) == 0)
        return;
    proof->keys = it->now.keys;
    ++*kept;
}

// What was in the way, as a lack of descriptors, may pass by itself, so what could not be read is
// read at each look; but that is news only if it is better than it was.
bool identity_look(struct identity *it) {
    struct proof next = {.keys = it->now.keys};
    char text[256] = "";
    unsigned kept = 0, kept_certificates = 0, before = it->kept;
    bool changed = identity_has_files(it) && has_changed(it);
    if (!changed && before == 0)
        return false;
    read_keys(it, &next, &kept, text);
    int err = proof_make(it, &next, &kept_certificates, text);
    kept += kept_certificates;
    it->kept = err ? parts(it) + 1 : kept;
    if (err || kept > 0)
        trace(TRACE_FABRIC, "of keys and certificates %u parts stay as they were: %s %s", it->kept,
              text, err ? ac_strerror(err) : "");
    if (err || (!changed && kept >= before) || kept == parts(it)) {
        proof_done(&next);
        return false;
    }
    trace(TRACE_FABRIC, "keys or certificates have changed: %zu keys", next.keys.count);
    proof_done(&it->now);
    it->now = next;
    return true;
}

// ---- use ----

const struct key_ring *identity_keys(const struct identity *it) { return &it->now.keys; }

struct tls *identity_tls(struct identity *it, bool server, struct ac_tls **settings) {
    struct tls *tls = NULL;
    *settings = NULL;
    if (!it->now.certificates)
        return tls_create(it->now.tls, server);
    if (trust_peer(it->now.certificates, server, it->peer_names, &tls) < 0)
        return NULL;
    *settings = it->now.certificates;
    trust_hold(*settings);
    return tls;
}

void identity_name(const struct identity *it, const struct tls *tls, char name[TRUST_NAME_BYTES]) {
    if (!it->now.certificates || !trust_peer_name(tls, it->peer_names, name))
        name[0] = 0;
}

size_t identity_offers(const struct identity *it) {
    return it->now.certificates ? 1 : it->now.keys.count;
}

void identity_offer(const struct identity *it, struct tls *tls, size_t number) {
    if (!it->now.certificates)
        tls_offer(tls, number);
}

bool identity_is_good(const struct identity *it, const struct tls *tls) {
    if (it->now.certificates)
        return trust_still(it->now.certificates, tls);
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
