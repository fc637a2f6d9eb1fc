// SPDX-License-Identifier: MIT
// Digests, keyed digests, derived keys and TLS: the part of the face of io/ behind which OpenSSL is
// hidden.
//
//   digest.c   SHA-256, HMAC-SHA-256, HKDF, comparing and wiping secrets
//   tls.c      a TLS connection over bytes in memory, and its settings for two holders of the same
//              secret
//   trust.c    settings for certificates: ours, and whom to trust; sessions to resume
//
// No call waits, and none keeps anything in thread-local variables from one call to the next, so
// that the same object may be used on one thread now and on another later, but never on two at
// once.
#ifndef IO_CRYPTO_H
#define IO_CRYPTO_H

#include "base/base.h"

struct ac_tls;
struct ac_tls_options;

enum { DIGEST_BYTES = 32, TLS_IDENTITY_BYTES_MAX = 127, TLS_SECRETS_MAX = 2 };

// ---- digest.c ----

// A SHA-256 that grows with what it is given.
struct digest;

struct digest *digest_create(void); // NULL if there is no memory
void digest_destroy(struct digest *digest);
// 0 or -ENOMEM.
int digest_add(struct digest *digest, const void *bytes, size_t count);
// Stores the digest of all that was added; the next one starts empty. 0 or -ENOMEM.
int digest_end(struct digest *digest, uint8_t out[DIGEST_BYTES]);
// SHA-256 of bytes that lie in one piece. 0 or -ENOMEM.
int digest_of(const void *bytes, size_t count, uint8_t out[DIGEST_BYTES]);

// HMAC-SHA-256 under one key, for many short messages.
struct digest_mac;

struct digest_mac *digest_mac_create(const uint8_t *key,
                                     size_t count); // NULL if there is no memory
// Wipes the key.
void digest_mac_destroy(struct digest_mac *mac);
// 0 or -ENOMEM.
int digest_mac_of(struct digest_mac *mac, const void *bytes, size_t count,
                  uint8_t out[DIGEST_BYTES]);

// HKDF-SHA-256 (RFC 5869): `count` bytes for the purpose `info` from a secret, which they do not
// give away. 0 or -ENOMEM.
int digest_derive(const uint8_t *secret, size_t secret_count, const char *salt, const char *info,
                  uint8_t *out, size_t count);

// Takes the same time wherever the bytes differ.
bool digest_equal(const void *a, const void *b, size_t count);
// Overwrites a secret, also where the compiler thinks that nobody will look.
void digest_wipe(void *secret, size_t count);

// ---- tls.c ----

// What all connections under the same secrets share. Counted: each connection is a holder, too.
struct tls_context;
// One connection: bytes from the wire go in by tls_room and tls_came, bytes for the wire come out
// by tls_output.
struct tls;

// For the 32-byte secret that goes by the name `identity`, which travels in clear. NULL and *err:
// -ENOMEM, -EINVAL for an identity that is too long, -ENOSYS if OpenSSL lacks what is needed.
struct tls_context *tls_context_create(const uint8_t secret[32], const char *identity, int *err);
// One secret more: a server takes it as well, a client offers it instead of the first one after
// tls_offer. Before the first connection. 0; -EINVAL; -ENOSPC over TLS_SECRETS_MAX.
int tls_context_add(struct tls_context *context, const uint8_t secret[32], const char *identity);
// Lets it go; its connections keep it until they are destroyed. NULL is ignored.
void tls_context_destroy(struct tls_context *context);

// NULL if there is no memory.
struct tls *tls_create(struct tls_context *context, bool server);
// Which secret a client offers, counted from 0; before the handshake.
void tls_offer(struct tls *tls, size_t number);
// The name of the secret that both sides hold, after the handshake; "" with certificates. It stays
// as long as the connection.
const char *tls_identity(const struct tls *tls);
void tls_destroy(struct tls *tls);

// Where the next bytes from the wire are to be put and, in *count, how many at most: never 0 after
// tls_read or tls_handshake has said -EAGAIN. NULL if there is no memory. The place stays until
// tls_came.
uint8_t *tls_room(struct tls *tls, size_t *count);
void tls_came(struct tls *tls, size_t count);
// Gives back memory that is only of use where much comes, or often, until that is so again.
void tls_rest(struct tls *tls);
// The same for bytes that lie elsewhere, and stay there until tls_read or tls_handshake says
// -EAGAIN, as it has done last: all that came before has been read.
void tls_feed(struct tls *tls, const uint8_t *bytes, size_t count);
// Moves what is to be sent into `into`, which is empty: the two change buffers. Whoever has called
// any other function of the connection looks here afterwards.
void tls_output(struct tls *tls, struct buffer *into);
// How many bytes that is.
size_t tls_output_bytes(const struct tls *tls);
bool tls_has_output(const struct tls *tls);

// Goes on with the handshake. 0: done, and the other side holds the secret, or has the certificate
// that was asked for; -EAGAIN: more bytes must come; else it has failed, and there may be an alert
// to send. With a secret: -EACCES: the other side does not hold it or speaks something else. With
// certificates: -EKEYREJECTED: that of the other side is not trusted; -EACCES: it does not trust
// ours, or wants one; -EPROTO. -ENOMEM. The client's handshake is done before the server has
// checked the client: wait for its first word.
int tls_handshake(struct tls *tls);
// Encrypts all the bytes. 0; -ENOMEM; -EPROTO. After a failure of which tls_problem tells the
// connection is of no more use; else nothing was encrypted.
int tls_write(struct tls *tls, const void *bytes, size_t count);
// Decrypts at most `count` bytes. How many; 0 when the other side has closed in order; -EAGAIN:
// more bytes must come; -EPROTO: they were forged or garbled, or too many that hold no data;
// -EACCES: the server does not trust our certificate; -ENOMEM.
int64_t tls_read(struct tls *tls, void *to, size_t count);
// What went wrong last, in OpenSSL's words; "" if nothing did. Constant text.
const char *tls_problem(const struct tls *tls);
// Has the end of what we write told to the other side (close_notify), once the handshake is done.
void tls_end(struct tls *tls);
// Has the keys changed under which we write, as tls_write does by itself in time.
void tls_update_keys(struct tls *tls);

// ---- trust.c ----

// One more holder, who lets it go by ac_tls_destroy.
void trust_hold(struct ac_tls *settings);
// As ac_tls_create, to take the place of `before`: each of three parts whose file cannot be used is
// as it is there, and *kept tells of how many: those who are trusted, the lists of what is revoked,
// our certificate with its key. The other options are as they were for `before`; NULL: all must be
// good.
int trust_renew(struct ac_tls **settings, const struct ac_tls *before,
                const struct ac_tls_options *options, unsigned *kept);
// A connection under these settings, which stay until tls_destroy. A client: to `host`, which is
// brought into its usual form, and stays until then too; NULL: not known. 0; -EINVAL: a server has
// no certificate, the host cannot be one, or it is to be verified and not known; -ENOMEM.
int trust_connect(struct ac_tls *settings, char *host, struct tls **tls);
int trust_accept(struct ac_tls *settings, struct tls **tls);

enum { TRUST_NAME_BYTES = 256 }; // of a peer, with the NUL

// A connection to a peer under settings without resumption: both sides show a certificate, which
// must be trusted, and bear a name that is one of `names` (trust_name_is_among). The texts stay
// until tls_destroy. 0; -EINVAL: the settings have no certificate; -ENOMEM.
int trust_peer(struct ac_tls *settings, bool server, const char *names, struct tls **tls);
// The first of the names in the other side's certificate that is among those: DNS names; the common
// name where there is none. In small letters. False if there is none.
bool trust_peer_name(const struct tls *tls, const char *names, char name[TRUST_NAME_BYTES]);
// Whether these settings would trust the certificate that the other side has shown, now.
bool trust_still(struct ac_tls *settings, const struct tls *tls);
// `names`: patterns with commas between them, NULL for any name. A pattern is a name,
// "*.example.org" for all that have one label more than "example.org", or "*". Large letters are as
// small ones.
bool trust_name_is_among(const char *name, const char *names);

// What is known of it after the handshake. Texts stay as long as the connection.
const char *trust_protocol(const struct ac_tls *settings, const struct tls *tls);
const char *trust_server_name(const struct tls *tls);
const char *trust_version(const struct tls *tls);
const char *trust_cipher(const struct tls *tls);
bool trust_resumed(const struct tls *tls);
// 0; -ENODATA if the other side has shown no certificate; -EMSGSIZE; -ENOMEM.
int trust_subject(const struct tls *tls, char *text, size_t bytes);
int trust_fingerprint(const struct tls *tls, uint8_t digest[DIGEST_BYTES]);

// ---- between tls.c and trust.c, which know OpenSSL ----

struct bio_method_st;
struct ssl_ctx_st;
struct ssl_st;

// The way of connections to their bytes. NULL if there is no memory.
struct bio_method_st *tls_method_create(void);
// A connection under settings of OpenSSL's, which it holds; the method stays. NULL if there is no
// memory.
struct tls *tls_over(struct ssl_ctx_st *settings, const struct bio_method_st *method, bool server);
struct ssl_st *tls_ssl(const struct tls *tls);

#endif
