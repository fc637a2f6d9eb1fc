// SPDX-License-Identifier: MIT
// TLS 1.3 with a pre-shared secret (RFC 8446, "external PSK" with an X25519 exchange), by OpenSSL,
// over bytes in memory.
//
// Both sides prove that they hold the secret and nothing is ever sent in clear but the identity,
// which is the secret's name. There are no certificates: the store is empty and verification is
// demanded, so that a handshake without the secret cannot succeed in any way. No tickets, no
// resumption, no early data.
//
// OpenSSL reads and writes through a BIO of our own. It reads from `in` and, when that is empty,
// says "come again"; it appends to `out`, which has no end, so that writing never has to be
// repeated.
//
// Two traps, found by experiment: with SSL_VERIFY_PEER the server refuses ("session id context
// uninitialized") unless it has a session id context; with one on the client, the client refuses.
// So it is set on the server alone.
#include "io/crypto.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context_side(struct tls_context *context, bool server);
static SSL_SESSION *make_session(SSL *ssl);
static int find_session(SSL *ssl, const unsigned char *identity, size_t count, SSL_SESSION **found);
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *count,
                       SSL_SESSION **session);
static int fail(struct tls *tls, int result, int otherwise);
static int bio_read(BIO *bio, char *to, size_t count, size_t *done);
static int bio_write(BIO *bio, const char *from, size_t count, size_t *done);
static long bio_control(BIO *bio, int command, long number, void *pointer);

enum {
    IN_BYTES_FIRST = 4 * 1024, // until the handshake is done: strangers shall not cost much
    IN_BYTES = 32 * 1024
};

struct tls_context {
    SSL_CTX *client;
    SSL_CTX *server;
    BIO_METHOD *method;
    char identity[TLS_IDENTITY_BYTES_MAX + 1];
    uint8_t secret[32];
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    uint8_t *in; // what came and OpenSSL has not read yet lies in in[in_begin..in_end)
    size_t in_begin;
    size_t in_end;
    size_t in_capacity;
    struct buffer out; // what is to be sent
    const char *problem;
    bool done;      // the handshake
    bool no_memory; // `out` could not grow
};

// ---- context ----

struct tls_context *tls_context_create(const uint8_t secret[32], const char *identity, int *err) {
    *err = -EINVAL;
    if (strlen(identity) > TLS_IDENTITY_BYTES_MAX)
        return NULL;
    *err = -ENOMEM;
    struct tls_context *context = memory_allocate_zeroed(sizeof *context);
    if (!context)
        return NULL;
    strcpy(context->identity, identity);
    memcpy(context->secret, secret, sizeof context->secret);
    context->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "asyncoro memory");
    if (!context->method)
        goto destroy;
    BIO_meth_set_read_ex(context->method, bio_read);
    BIO_meth_set_write_ex(context->method, bio_write);
    BIO_meth_set_ctrl(context->method, bio_control);
    context->client = context_side(context, false);
    context->server = context_side(context, true);
    if (context->client && context->server)
        return context;
    *err = -ENOSYS;
destroy:
    ERR_clear_error();
    tls_context_destroy(context);
    return NULL;
}

static SSL_CTX *context_side(struct tls_context *context, bool server) {
    static const unsigned char session_context[] = "asyncoro";
    SSL_CTX *side = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!side)
        return NULL;
    // The secret is bound to SHA-256, so that no other suite could use it.
    bool good = SSL_CTX_set_min_proto_version(side, TLS1_3_VERSION) &&
                SSL_CTX_set_max_proto_version(side, TLS1_3_VERSION) &&
                SSL_CTX_set_ciphersuites(side, "TLS_AES_128_GCM_SHA256") &&
                SSL_CTX_set1_groups_list(side, "X25519") && SSL_CTX_set_num_tickets(side, 0) &&
                SSL_CTX_set_max_early_data(side, 0) && SSL_CTX_set_app_data(side, context);
    if (good && server)
        good = SSL_CTX_set_session_id_context(side, session_context, sizeof session_context - 1);
    if (!good) {
        SSL_CTX_free(side);
        return NULL;
    }
    SSL_CTX_set_options(side, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(side, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(side, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(side, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (server)
        SSL_CTX_set_psk_find_session_callback(side, find_session);
    else
        SSL_CTX_set_psk_use_session_callback(side, use_session);
    return side;
}

void tls_context_destroy(struct tls_context *context) {
    if (!context)
        return;
    SSL_CTX_free(context->client);
    SSL_CTX_free(context->server);
    BIO_meth_free(context->method);
    OPENSSL_cleanse(context->secret, sizeof context->secret);
    memory_release(context);
}

// The secret, in the form in which OpenSSL wants it.
static SSL_SESSION *make_session(SSL *ssl) {
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
    const struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && cipher &&
        SSL_SESSION_set1_master_key(session, context->secret, sizeof context->secret) &&
        SSL_SESSION_set_cipher(session, cipher) &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

// Server: a client names the secret it holds. "Not found" is no error: the handshake then goes on
// without a secret, and fails for want of a certificate.
static int find_session(SSL *ssl, const unsigned char *identity, size_t count,
                        SSL_SESSION **found) {
    const struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    *found = NULL;
    if (count != strlen(context->identity) || memcmp(identity, context->identity, count) != 0)
        return 1;
    *found = make_session(ssl);
    return *found != NULL;
}

// Client: which secret to offer. `md` is set in a second round, when the digest is already agreed
// on.
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *count,
                       SSL_SESSION **session) {
    const struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    *session = NULL;
    if (md && EVP_MD_get_type(md) != NID_sha256)
        return 0;
    *session = make_session(ssl);
    *identity = (const unsigned char *)context->identity;
    *count = strlen(context->identity);
    return *session != NULL;
}

// ---- connection ----

struct tls *tls_create(struct tls_context *context, bool server) {
    struct tls *tls = memory_allocate_zeroed(sizeof *tls);
    if (!tls)
        return NULL;
    tls->context = context;
    tls->problem = "";
    buffer_init(&tls->out);
    BIO *bio = NULL;
    tls->ssl = SSL_new(server ? context->server : context->client);
    if (tls->ssl)
        bio = BIO_new(context->method);
    if (!bio) {
        ERR_clear_error();
        tls_destroy(tls);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (server)
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    return tls;
}

void tls_destroy(struct tls *tls) {
    if (!tls)
        return;
    SSL_free(tls->ssl);
    buffer_done(&tls->out);
    memory_release(tls->in);
    memory_release(tls);
}

uint8_t *tls_room(struct tls *tls, size_t *count) {
    size_t wanted = tls->done ? IN_BYTES : IN_BYTES_FIRST;
    if (tls->in_capacity < wanted) {
        uint8_t *in = memory_resize(tls->in, wanted);
        if (!in)
            return NULL;
        tls->in = in;
        tls->in_capacity = wanted;
    }
    if (tls->in_begin == tls->in_end)
        tls->in_begin = tls->in_end = 0;
    *count = tls->in_capacity - tls->in_end;
    return tls->in + tls->in_end;
}

void tls_came(struct tls *tls, size_t count) {
    assert(count <= tls->in_capacity - tls->in_end);
    tls->in_end += count;
}

void tls_output(struct tls *tls, struct buffer *into) {
    assert(into->length == 0);
    struct buffer empty = *into;
    *into = tls->out;
    tls->out = empty;
}

bool tls_has_output(const struct tls *tls) { return tls->out.length > 0; }

int tls_handshake(struct tls *tls) {
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1)
        return fail(tls, result, -EACCES);
    // A handshake that succeeded without the secret would be a mistake of ours: never let it pass.
    if (!SSL_session_reused(tls->ssl) || SSL_version(tls->ssl) != TLS1_3_VERSION) {
        tls->problem = "handshake without the shared secret";
        return -EACCES;
    }
    tls->done = true;
    return 0;
}

int tls_write(struct tls *tls, const void *bytes, size_t count) {
    const uint8_t *from = bytes;
    while (count > 0) {
        size_t done = 0;
        ERR_clear_error();
        int result = SSL_write_ex(tls->ssl, from, count, &done);
        if (result != 1)
            return fail(tls, result, -EPROTO);
        from += done;
        count -= done;
    }
    return 0;
}

int64_t tls_read(struct tls *tls, void *to, size_t count) {
    size_t done = 0;
    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, to, count, &done);
    if (result == 1)
        return (int64_t)done;
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_ZERO_RETURN)
        return 0;
    return fail(tls, result, -EPROTO);
}

const char *tls_problem(const struct tls *tls) { return tls->problem; }

static int fail(struct tls *tls, int result, int otherwise) {
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    tls->problem = reason ? reason : "unknown error";
    ERR_clear_error();
    return tls->no_memory ? -ENOMEM : otherwise;
}

// ---- the BIO ----

static int bio_read(BIO *bio, char *to, size_t count, size_t *done) {
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t there = tls->in_end - tls->in_begin;
    if (there == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *done = count < there ? count : there;
    memcpy(to, tls->in + tls->in_begin, *done);
    tls->in_begin += *done;
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t count, size_t *done) {
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (buffer_append(&tls->out, from, count) < 0) {
        tls->no_memory = true;
        return 0;
    }
    *done = count;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}
