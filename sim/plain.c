// SPDX-License-Identifier: MIT
// A transport in the place of TLS (io/tls.c), for most runs: bytes go as they are, after a
// handshake in which each side shows a digest of its secret. It keeps the contract of
// io/crypto.h as far as the fabric uses it: a handshake of several messages, which begins with what
// may be the head of a record of TLS, the client done before the server has checked; bytes that
// come in any portions.
//
// Why: a handshake of TLS costs half a millisecond of real time, and what OpenSSL allocates belongs
// to no process, so that it could not be dropped with one. Runs with --tls have the real thing.
#include "sim.h"

#include "io/crypto.h"
#include "io/io.h"

enum { HEAD_BYTES = 5, HELLO_BYTES = 200, ROOM_BYTES = 32 * 1024 };

struct tls_context {
    unsigned users; // whoever made it, and its connections
    size_t count;
    uint8_t secrets[TLS_SECRETS_MAX][32];
    char names[TLS_SECRETS_MAX][TLS_IDENTITY_BYTES_MAX + 1];
};

struct tls {
    struct tls_context *context;
    struct buffer in, out;
    size_t offers;    // which secret
    const char *name; // of the secret that both hold
    bool server;
    bool said; // its hello
    bool done;
};

#define WRAPPED(result_, name_, ...)                                                               \
    result_ __wrap_##name_(__VA_ARGS__);                                                           \
    result_ __real_##name_(__VA_ARGS__)
WRAPPED(struct tls_context *, tls_context_create, const uint8_t secret[32], const char *identity,
        int *err);
WRAPPED(int, tls_context_add, struct tls_context *context, const uint8_t secret[32],
        const char *identity);
WRAPPED(void, tls_context_destroy, struct tls_context *context);
WRAPPED(void, tls_offer, struct tls *tls, size_t number);
WRAPPED(const char *, tls_identity, const struct tls *tls);
WRAPPED(struct tls *, tls_create, struct tls_context *context, bool server);
WRAPPED(void, tls_destroy, struct tls *tls);
WRAPPED(uint8_t *, tls_room, struct tls *tls, size_t *count);
WRAPPED(void, tls_came, struct tls *tls, size_t count);
WRAPPED(void, tls_rest, struct tls *tls);
WRAPPED(void, tls_output, struct tls *tls, struct buffer *into);
WRAPPED(size_t, tls_output_bytes, const struct tls *tls);
WRAPPED(bool, tls_has_output, const struct tls *tls);
WRAPPED(int, tls_handshake, struct tls *tls);
WRAPPED(int, tls_write, struct tls *tls, const void *bytes, size_t count);
WRAPPED(int64_t, tls_read, struct tls *tls, void *to, size_t count);
WRAPPED(const char *, tls_problem, const struct tls *tls);

struct tls_context *__wrap_tls_context_create(const uint8_t secret[32], const char *identity,
                                              int *err) {
    if (sim.tls)
        return __real_tls_context_create(secret, identity, err);
    struct tls_context *it = memory_allocate_zeroed(sizeof *it);
    *err = it ? 0 : -ENOMEM;
    if (!it)
        return NULL;
    it->users = 1;
    *err = __wrap_tls_context_add(it, secret, identity);
    return it;
}

int __wrap_tls_context_add(struct tls_context *it, const uint8_t secret[32], const char *identity) {
    if (sim.tls)
        return __real_tls_context_add(it, secret, identity);
    if (it->count == TLS_SECRETS_MAX)
        return -ENOSPC;
    memcpy(it->secrets[it->count], secret, sizeof it->secrets[0]);
    snprintf(it->names[it->count++], sizeof it->names[0], "%s", identity);
    return 0;
}

void __wrap_tls_context_destroy(struct tls_context *it) {
    if (sim.tls)
        __real_tls_context_destroy(it);
    else if (it && --it->users == 0)
        memory_release(it);
}

void __wrap_tls_offer(struct tls *it, size_t number) {
    if (sim.tls)
        __real_tls_offer(it, number);
    else if (number < it->context->count)
        it->offers = number;
}

const char *__wrap_tls_identity(const struct tls *it) {
    return sim.tls ? __real_tls_identity(it) : it->name;
}

struct tls *__wrap_tls_create(struct tls_context *context, bool server) {
    if (sim.tls)
        return __real_tls_create(context, server);
    struct tls *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->context = context;
    context->users++;
    it->server = server;
    it->name = "";
    buffer_init(&it->in);
    buffer_init(&it->out);
    return it;
}

void __wrap_tls_destroy(struct tls *it) {
    if (sim.tls) {
        __real_tls_destroy(it);
        return;
    }
    if (!it)
        return;
    buffer_done(&it->in);
    buffer_done(&it->out);
    __wrap_tls_context_destroy(it->context);
    memory_release(it);
}

uint8_t *__wrap_tls_room(struct tls *it, size_t *count) {
    if (sim.tls)
        return __real_tls_room(it, count);
    if (buffer_reserve(&it->in, ROOM_BYTES) < 0)
        return NULL;
    *count = ROOM_BYTES;
    return it->in.bytes + it->in.length;
}

void __wrap_tls_came(struct tls *it, size_t count) {
    if (sim.tls)
        __real_tls_came(it, count);
    else
        it->in.length += count;
}

void __wrap_tls_rest(struct tls *it) {
    if (sim.tls)
        __real_tls_rest(it);
    else if (it->in.length == 0)
        buffer_done(&it->in);
}

void __wrap_tls_output(struct tls *it, struct buffer *into) {
    if (sim.tls) {
        __real_tls_output(it, into);
        return;
    }
    struct buffer kept = *into;
    *into = it->out;
    it->out = kept;
}

size_t __wrap_tls_output_bytes(const struct tls *it) {
    return sim.tls ? __real_tls_output_bytes(it) : it->out.length;
}

bool __wrap_tls_has_output(const struct tls *it) {
    return sim.tls ? __real_tls_has_output(it) : it->out.length > 0;
}

static int say_hello(struct tls *it) {
    uint8_t hello[HELLO_BYTES] = {22, 3, 1, 0, HELLO_BYTES - HEAD_BYTES};
    if (it->said)
        return 0;
    memcpy(hello + HEAD_BYTES, it->context->secrets[it->offers], sizeof it->context->secrets[0]);
    it->said = true;
    return buffer_append(&it->out, hello, sizeof hello);
}

// The client speaks first; the server when it has heard that.
int __wrap_tls_handshake(struct tls *it) {
    if (sim.tls)
        return __real_tls_handshake(it);
    int err = it->server ? 0 : say_hello(it);
    if (err || it->done)
        return err;
    if (it->in.length < HELLO_BYTES)
        return -EAGAIN;
    for (size_t i = 0; i < it->context->count && !it->done; i++)
        if (memcmp(it->in.bytes + HEAD_BYTES, it->context->secrets[i],
                   sizeof it->context->secrets[i]) == 0) {
            it->done = true;
            it->offers = i;
        }
    if (!it->done)
        return -EACCES;
    it->name = it->context->names[it->offers];
    buffer_consume(&it->in, HELLO_BYTES);
    return say_hello(it);
}

int __wrap_tls_write(struct tls *it, const void *bytes, size_t count) {
    if (sim.tls)
        return __real_tls_write(it, bytes, count);
    return buffer_append(&it->out, bytes, count);
}

int64_t __wrap_tls_read(struct tls *it, void *to, size_t count) {
    if (sim.tls)
        return __real_tls_read(it, to, count);
    if (it->in.length == 0)
        return -EAGAIN;
    size_t some = it->in.length < count ? it->in.length : count;
    memcpy(to, it->in.bytes, some);
    buffer_consume(&it->in, some);
    return (int64_t)some;
}

const char *__wrap_tls_problem(const struct tls *it) {
    return sim.tls ? __real_tls_problem(it) : "";
}
