// SPDX-License-Identifier: MIT
// TLS by OpenSSL, over bytes in memory; and the settings for TLS 1.3 with a pre-shared secret (RFC
// 8446, "external PSK" with an X25519 exchange). Those for certificates are in trust.c.
//
// With a secret, both sides prove that they hold the secret and nothing is ever sent in clear but
// the identity, which is the secret's name. A client offers one secret, for OpenSSL knows no way to
// offer two; a server finds that one among those it has. There are no certificates: the store is
// empty and verification is demanded, so that a handshake without the secret cannot succeed in any
// way. No tickets, no resumption, no early data.
//
// OpenSSL reads and writes through a BIO of our own. It reads from `in` and, when that is empty,
// says "come again"; it appends to `out`, which has no end, so that writing never has to be
// repeated. What is in `in` OpenSSL takes whole before it asks for more, a part of a record too.
//
// After the handshake the other side may change keys as often as it likes, which costs us more than
// it: STEPS_MAX steps of such messages in a row, without data between them, are the end. We change
// ours after KEY_BYTES, long before AES-GCM wants it (RFC 8446, 5.5: 2^24.5 records).
//
// Two traps, found by experiment: with SSL_VERIFY_PEER the server refuses ("session id context
// uninitialized") unless it has a session id context; with one on the client, the client refuses.
// So it is set on the server alone.
//
// Both roles share their settings: to look up all that TLS may want for another SSL_CTX takes
// OpenSSL a tenth of a millisecond, which a process that is started for a job would pay before it.
#include "io/crypto.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

struct secret;
static SSL_CTX *make_settings(struct tls_context *context);
static SSL_SESSION *make_session(SSL *ssl, const struct secret *secret);
static int find_session(SSL *ssl, const unsigned char *identity, size_t count, SSL_SESSION **found);
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *count,
                       SSL_SESSION **session);
static void forget_errors(void);
static int fail(struct tls *tls, int result, int otherwise);
static int blame(struct tls *tls, int reason);
static void count_step(const SSL *ssl, int where, int result);
static int bio_read(BIO *bio, char *to, size_t count, size_t *done);
static int bio_write(BIO *bio, const char *from, size_t count, size_t *done);
static long bio_control(BIO *bio, int command, long number, void *pointer);

enum {
    IN_BYTES_FIRST = 4 * 1024, // until more comes at once; strangers get no more
    IN_BYTES = 32 * 1024,
    RECORD_BYTES = 16 * 1024, // of plain text, at the most
    RECORD_BYTES_MORE = 64,   // head, tag and what else a record has besides
    PIECES_FEW = 16,          // after so many from the wire OpenSSL keeps its buffers
    STEPS_MAX = 192           // of a message two or three
};
#define KEY_BYTES ((uint64_t)64 << 30)

struct secret {
    char identity[TLS_IDENTITY_BYTES_MAX + 1];
    uint8_t bytes[32];
};

struct tls_context {
    SSL_CTX *settings;
    BIO_METHOD *method;
    struct secret secrets[TLS_SECRETS_MAX];
    size_t count; // of these
    size_t holders;
};

struct tls {
    struct tls_context *context; // NULL: certificates
    const struct secret *secret; // of the context: that a client offers, that a server was offered
    SSL *ssl;
    const uint8_t *in; // what came and OpenSSL has not read yet lies in in[in_begin..in_end)
    size_t in_begin;
    size_t in_end;
    uint8_t *room; // memory of its own for that, or NULL
    size_t room_bytes;
    bool busy;         // it was full since the handshake and the last rest
    bool keeps;        // OpenSSL keeps its buffers from one record to the next
    uint32_t pieces;   // that have come since the handshake and the last rest, while it does not
    struct buffer out; // what is to be sent
    const char *problem;
    uint64_t key_bytes; // written under the present keys
    uint32_t steps;     // of messages of the handshake, since there was data last
    bool done;          // the handshake
    bool no_memory;     // `out` could not grow
};

// ---- context ----

struct tls_context *tls_context_create(const uint8_t secret[32], const char *identity, int *err) {
    *err = -ENOMEM;
    struct tls_context *context = memory_allocate_zeroed(sizeof *context);
    if (!context)
        return NULL;
    context->holders = 1;
    *err = tls_context_add(context, secret, identity);
    if (*err)
        goto destroy;
    *err = -ENOMEM;
    context->method = tls_method_create();
    if (!context->method)
        goto destroy;
    context->settings = make_settings(context);
    if (context->settings)
        return context;
    *err = -ENOSYS;
destroy:
    ERR_clear_error();
    tls_context_destroy(context);
    return NULL;
}

int tls_context_add(struct tls_context *context, const uint8_t secret[32], const char *identity) {
    size_t length = strlen(identity);
    if (length > TLS_IDENTITY_BYTES_MAX)
        return -EINVAL;
    if (context->count == TLS_SECRETS_MAX)
        return -ENOSPC;
    struct secret *it = &context->secrets[context->count++];
    memcpy(it->identity, identity, length + 1);
    memcpy(it->bytes, secret, sizeof it->bytes);
    return 0;
}

static SSL_CTX *make_settings(struct tls_context *context) {
    SSL_CTX *it = SSL_CTX_new(TLS_method());
    if (!it)
        return NULL;
    // The secret is bound to SHA-256, so that no other suite could use it.
    if (!SSL_CTX_set_min_proto_version(it, TLS1_3_VERSION) ||
        !SSL_CTX_set_max_proto_version(it, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(it, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(it, "X25519") || !SSL_CTX_set_num_tickets(it, 0) ||
        !SSL_CTX_set_max_early_data(it, 0) || !SSL_CTX_set_app_data(it, context)) {
        SSL_CTX_free(it);
        return NULL;
    }
    SSL_CTX_set_options(it, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(it, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(it, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(it, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_psk_find_session_callback(it, find_session);
    SSL_CTX_set_psk_use_session_callback(it, use_session);
    return it;
}

void tls_context_destroy(struct tls_context *context) {
    if (!context || --context->holders > 0)
        return;
    SSL_CTX_free(context->settings);
    BIO_meth_free(context->method);
    OPENSSL_cleanse(context->secrets, sizeof context->secrets);
    memory_release(context);
}

// The secret, in the form in which OpenSSL wants it.
static SSL_SESSION *make_session(SSL *ssl, const struct secret *secret) {
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && cipher &&
        SSL_SESSION_set1_master_key(session, secret->bytes, sizeof secret->bytes) &&
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
    struct tls *tls = BIO_get_data(SSL_get_rbio(ssl));
    *found = NULL;
    for (size_t i = 0; i < context->count; i++) {
        const struct secret *it = &context->secrets[i];
        if (count != strlen(it->identity) || memcmp(identity, it->identity, count) != 0)
            continue;
        tls->secret = it;
        *found = make_session(ssl, it);
        return *found != NULL;
    }
    return 1;
}

// Client: which secret to offer. `md` is set in a second round, when the digest is already agreed
// on.
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *count,
                       SSL_SESSION **session) {
    const struct secret *secret = ((struct tls *)BIO_get_data(SSL_get_rbio(ssl)))->secret;
    *session = NULL;
    if (md && EVP_MD_get_type(md) != NID_sha256)
        return 0;
    *session = make_session(ssl, secret);
    *identity = (const unsigned char *)secret->identity;
    *count = strlen(secret->identity);
    return *session != NULL;
}

// ---- connection ----

struct tls *tls_create(struct tls_context *context, bool server) {
    static const unsigned char session_context[] = "asyncoro";
    struct tls *tls = tls_over(context->settings, context->method, server);
    if (!tls)
        return NULL;
    context->holders++;
    tls->context = context;
    if (!server)
        tls->secret = &context->secrets[0];
    else if (!SSL_set_session_id_context(tls->ssl, session_context, sizeof session_context - 1)) {
        ERR_clear_error();
        tls_destroy(tls);
        return NULL;
    }
    return tls;
}

void tls_offer(struct tls *tls, size_t number) {
    assert(tls->secret && number < tls->context->count);
    tls->secret = &tls->context->secrets[number];
}

const char *tls_identity(const struct tls *tls) { return tls->secret ? tls->secret->identity : ""; }

struct tls *tls_over(SSL_CTX *settings, const BIO_METHOD *method, bool server) {
    struct tls *tls = memory_allocate_zeroed(sizeof *tls);
    if (!tls)
        return NULL;
    tls->problem = "";
    buffer_init(&tls->out);
    BIO *bio = NULL;
    tls->ssl = SSL_new(settings);
    if (tls->ssl)
        bio = BIO_new(method);
    if (!bio) {
        ERR_clear_error();
        tls_destroy(tls);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_info_callback(tls->ssl, count_step);
    if (server)
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    return tls;
}

SSL *tls_ssl(const struct tls *tls) { return tls->ssl; }

static void count_step(const SSL *ssl, int where, int result) {
    (void)result;
    struct tls *tls = BIO_get_data(SSL_get_rbio(ssl));
    if (where & SSL_CB_LOOP && tls->done)
        tls->steps++;
}

void tls_destroy(struct tls *tls) {
    if (!tls)
        return;
    // OpenSSL would take an end without goodbyes for a reason not to resume the session. What
    // breaks the protocol it forgets by itself.
    if (tls->ssl && tls->done)
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    tls_context_destroy(tls->context);
    buffer_done(&tls->out);
    memory_release(tls->room);
    memory_release(tls);
}

uint8_t *tls_room(struct tls *tls, size_t *count) {
    size_t wanted = tls->busy ? IN_BYTES : IN_BYTES_FIRST;
    if (tls->room_bytes < wanted) {
        uint8_t *room = memory_resize(tls->room, wanted);
        if (!room)
            return NULL;
        tls->room = room;
        tls->room_bytes = wanted;
    }
    tls->in = tls->room;
    if (tls->in_begin == tls->in_end)
        tls->in_begin = tls->in_end = 0;
    *count = tls->room_bytes - tls->in_end;
    return tls->room + tls->in_end;
}

void tls_came(struct tls *tls, size_t count) {
    assert(count <= tls->room_bytes - tls->in_end);
    tls->in_end += count;
    if (!tls->done)
        return;
    tls->busy |= tls->in_end == tls->room_bytes;
    if (tls->keeps || (!tls->busy && ++tls->pieces < PIECES_FEW))
        return;
    tls->keeps = true;
    // Else OpenSSL allocates 16 KiB for each record and frees them again, and each time malloc
    // gathers up all small blocks that were freed since.
    SSL_clear_mode(tls->ssl, SSL_MODE_RELEASE_BUFFERS);
}

void tls_rest(struct tls *tls) {
    if (tls->in_begin < tls->in_end)
        return;
    tls->pieces = 0;
    if (!tls->keeps)
        return;
    tls->keeps = false;
    SSL_set_mode(tls->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_free_buffers(tls->ssl); // or when what it holds is read
    if (!tls->busy)
        return;
    tls->busy = false;
    memory_release(tls->room);
    tls->room = NULL;
    tls->in = NULL;
    tls->room_bytes = tls->in_begin = tls->in_end = 0;
}

void tls_feed(struct tls *tls, const uint8_t *bytes, size_t count) {
    assert(tls->in_begin == tls->in_end);
    tls->in = bytes;
    tls->in_begin = 0;
    tls->in_end = count;
}

void tls_output(struct tls *tls, struct buffer *into) {
    assert(into->length == 0);
    struct buffer empty = *into;
    *into = tls->out;
    tls->out = empty;
}

size_t tls_output_bytes(const struct tls *tls) { return tls->out.length; }

bool tls_has_output(const struct tls *tls) { return tls->out.length > 0; }

int tls_handshake(struct tls *tls) {
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1)
        return fail(tls, result, -EACCES);
    // A handshake that succeeded without the secret would be a mistake of ours: never let it pass.
    if (tls->context &&
        (!SSL_session_reused(tls->ssl) || SSL_version(tls->ssl) != TLS1_3_VERSION)) {
        tls->problem = "handshake without the shared secret";
        return -EACCES;
    }
    tls->done = true;
    return 0;
}

int tls_write(struct tls *tls, const void *bytes, size_t count) {
    const uint8_t *from = bytes;
    size_t records = (count + RECORD_BYTES - 1) / RECORD_BYTES;
    if (buffer_reserve(&tls->out, count + records * RECORD_BYTES_MORE) < 0)
        return -ENOMEM;
    tls->key_bytes += count;
    if (tls->key_bytes > KEY_BYTES)
        tls_update_keys(tls);
    while (count > 0) {
        size_t done = 0;
        forget_errors();
        int result = SSL_write_ex(tls->ssl, from, count, &done);
        if (result != 1) {
            int err = fail(tls, result, -EPROTO);
            if (err != -EAGAIN)
                return err;
            tls->problem = "a message of the protocol came in pieces";
            return -EPROTO;
        }
        from += done;
        count -= done;
    }
    return 0;
}

void tls_update_keys(struct tls *tls) {
    tls->key_bytes = 0;
    if (SSL_version(tls->ssl) == TLS1_3_VERSION)
        SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    ERR_clear_error();
}

// Whether nothing can come of asking OpenSSL, which costs as much as decrypting something small.
static bool is_empty(const struct tls *tls) {
    return tls->in_begin == tls->in_end && tls->done && !tls->problem[0] &&
           !SSL_has_pending(tls->ssl) && !(SSL_get_shutdown(tls->ssl) & SSL_RECEIVED_SHUTDOWN);
}

int64_t tls_read(struct tls *tls, void *to, size_t count) {
    size_t done = 0;
    if (is_empty(tls))
        return -EAGAIN;
    forget_errors();
    int result = SSL_read_ex(tls->ssl, to, count, &done);
    if (tls->steps > STEPS_MAX) {
        tls->problem = "too many messages without data";
        return -EPROTO;
    }
    if (result == 1) {
        tls->steps = 0;
        return (int64_t)done;
    }
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_ZERO_RETURN)
        return 0;
    return fail(tls, result, -EPROTO);
}

void tls_end(struct tls *tls) {
    if (tls->done && !(SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN))
        SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

const char *tls_problem(const struct tls *tls) { return tls->problem; }

// OpenSSL can tell what went wrong only if nothing is left from before. To clear what is empty
// costs it seven times as much as to look.
static void forget_errors(void) {
    if (unlikely(ERR_peek_error() != 0))
        ERR_clear_error();
}

static int fail(struct tls *tls, int result, int otherwise) {
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    tls->problem = reason ? reason : "unknown error";
    if (!tls->context)
        otherwise = blame(tls, ERR_GET_REASON(code));
    bool no_memory = tls->no_memory || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    ERR_clear_error();
    return no_memory ? -ENOMEM : otherwise;
}

// With certificates: who does not trust whom.
static int blame(struct tls *tls, int reason) {
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        tls->problem = X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl));
        return -EKEYREJECTED;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return -EKEYREJECTED;
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return -EACCES;
    default: return -EPROTO;
    }
}

// ---- the BIO ----

BIO_METHOD *tls_method_create(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "asyncoro memory");
    if (!method)
        return NULL;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
}

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
