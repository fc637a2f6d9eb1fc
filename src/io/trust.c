// SPDX-License-Identifier: MIT
// Settings for TLS with certificates, by OpenSSL: which are ours, whom to trust, which sessions can
// be resumed. What connections do with them is in tls.c (bytes) and secure.c (streams).
//
// Settings are shared by threads and counted: their owner is one holder, and each connection
// another. Once made they change in two ways only, under the mutex: certificates are added, and the
// client's sessions come and go.
//
// Certificates. The first is that of the options. When a client has named the host that it wants,
// all that bear the name are set for this connection, so that one with an RSA key and one with an
// ECDSA key may stand for the same host; if none does, the first is shown.
//
// Sessions of a client are kept by host, the latest of all last. One of TLS 1.3 is used once, so
// that nobody who watches can tell that two connections are of one client (RFC 8446, C.4), and a
// connection is given as many new ones as its server likes. Verification is not repeated when a
// session is resumed; but the session was made under the same settings, for the same host. A server
// keeps nothing: its tickets hold all, under keys that live as long as the settings.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/io.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum {
    FILE_BYTES_MAX = 16 << 20,
    HOST_BYTES_MAX = 255,
    PROTOCOL_BYTES_MAX = 255,
    PROTOCOLS_BYTES_MAX = AC_TLS_PROTOCOLS_MAX * (PROTOCOL_BYTES_MAX + 1),
    HOST_SESSIONS_MAX = 8, // kept of one host
    LOG_LINE_BYTES = 512
};

struct certificate {
    struct list link;
    X509 *leaf;
    STACK_OF(X509) * chain; // those above it
    EVP_PKEY *key;
};

struct session {
    struct list link;
    SSL_SESSION *session;
    char host[];
};

struct ac_tls {
    uint32_t holders; // atomic
    SSL_CTX *ssl;
    BIO_METHOD *method;
    bool verifies;
    bool resumes;
    bool key_readable_by_all;
    uint8_t clients;           // enum ac_tls_clients
    int log_fd;                // -1: none
    uint8_t *protocols;        // each with its length before it
    size_t protocols_bytes;    // of these
    char *protocol_names;      // the same, each with a NUL behind it
    struct sys_mutex *mutex;   // for what follows
    struct list certificates;  // struct certificate
    size_t certificates_count; // of these
    struct list sessions;      // struct session
    size_t sessions_count;     // of these
};

static int make(struct ac_tls *tls, const struct ac_tls_options *options,
                const struct ac_tls *before, unsigned *kept);
static int set_trust(struct ac_tls *tls, const char *path);
static int set_revoked(struct ac_tls *tls, const char *path);
static int set_certificate(struct ac_tls *tls, const struct ac_tls_options *options);
static int keep_store(struct ac_tls *tls, const struct ac_tls *before, bool lists, int otherwise);
static int keep_certificate(struct ac_tls *tls, const struct ac_tls *before);
static int set_protocols(struct ac_tls *tls, const char *text);
static int set_log(struct ac_tls *tls, const struct ac_tls_options *options);
static void set_sessions(struct ac_tls *tls);
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *bytes,
                           const unsigned char *offered, unsigned offered_bytes, void *settings);
static int choose_certificate(SSL *ssl, void *settings);
static int accept_name(SSL *ssl, int *alert, void *unused);
static int keep_session(SSL *ssl, SSL_SESSION *session);
static void log_secret(const SSL *ssl, const char *line);
static void certificate_destroy(struct certificate *certificate);
static void session_destroy(struct session *session);

// The error of the last call of OpenSSL, which gives `otherwise` if it was not for want of memory.
static int failed(const char *what, int otherwise) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    int err = ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? -ENOMEM : otherwise;
    trace(TRACE_IO, "TLS: %s: %s", what, reason ? reason : "unknown error");
    ERR_clear_error();
    return err;
}

// ---- settings ----

int ac_tls_create_with(ac_tls **tls, const struct ac_tls_options *options) {
    unsigned kept;
    return trust_renew(tls, NULL, options, &kept);
}

int trust_renew(struct ac_tls **tls, const struct ac_tls *before,
                const struct ac_tls_options *options, unsigned *kept) {
    static const struct ac_tls_options defaults = {.size = sizeof defaults};
    if (!tls)
        return -EINVAL;
    *tls = NULL;
    *kept = 0;
    if (!options)
        options = &defaults;
    if (options->size != sizeof *options || (unsigned)options->version_min > AC_TLS_V13 ||
        (unsigned)options->clients > AC_TLS_DEMAND || (options->clients && !options->trust) ||
        (options->revoked && !options->trust) || (options->key && !options->certificate))
        return -EINVAL;
    struct ac_tls *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->holders = 1;
    it->log_fd = -1;
    list_init(&it->certificates);
    list_init(&it->sessions);
    int err = make(it, options, before, kept);
    if (err) {
        ac_tls_destroy(it);
        return err;
    }
    *tls = it;
    return 0;
}

static int make(struct ac_tls *tls, const struct ac_tls_options *options,
                const struct ac_tls *before, unsigned *kept) {
    tls->verifies = !options->no_verification;
    tls->resumes = !options->no_resumption;
    tls->clients = (uint8_t)options->clients;
    tls->key_readable_by_all = options->key_readable_by_all;
    tls->mutex = sys_mutex_create();
    tls->method = tls_method_create();
    tls->ssl = SSL_CTX_new(TLS_method());
    if (!tls->mutex || !tls->method || !tls->ssl)
        return failed("no memory", -ENOMEM);
    SSL_CTX *ssl = tls->ssl;
    int least = options->version_min == AC_TLS_V13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    // Of TLS 1.2 only what has forward secrecy and authenticated encryption.
    if (!SSL_CTX_set_app_data(ssl, tls) || !SSL_CTX_set_min_proto_version(ssl, least) ||
        !SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") ||
        !SSL_CTX_set1_groups_list(ssl, "X25519:P-256:P-384"))
        return failed("settings", -ENOMEM);
    SSL_CTX_set_security_level(ssl, 2);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_early_data(ssl, 0);
    // Who is named as trusted is trusted, though it may not be at the root of a chain.
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    set_sessions(tls);
    int err = set_trust(tls, options->trust);
    if (err && before && ++*kept)
        err = keep_store(tls, before, false, err);
    if (!err && options->revoked) {
        err = set_revoked(tls, options->revoked);
        if (err && before && ++*kept)
            err = keep_store(tls, before, true, err);
    }
    if (!err)
        err = set_protocols(tls, options->protocols);
    if (!err)
        err = set_log(tls, options);
    if (!err && options->certificate) {
        err = set_certificate(tls, options);
        if (err && before && ++*kept)
            err = keep_certificate(tls, before);
    }
    return err;
}

void ac_tls_destroy(ac_tls *tls) {
    if (!tls || __atomic_sub_fetch(&tls->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    SSL_CTX_free(tls->ssl);
    BIO_meth_free(tls->method);
    list_each (link, &tls->certificates)
        certificate_destroy(container_of(link, struct certificate, link));
    list_each (link, &tls->sessions)
        session_destroy(container_of(link, struct session, link));
    if (tls->log_fd >= 0)
        sys_fd_close(tls->log_fd);
    if (tls->mutex)
        sys_mutex_destroy(tls->mutex);
    memory_release(tls->protocols);
    memory_release(tls->protocol_names);
    memory_release(tls);
}

void trust_hold(struct ac_tls *tls) { __atomic_add_fetch(&tls->holders, 1, __ATOMIC_RELAXED); }

// ---- files ----

// A file in memory, for OpenSSL to read. The bytes are wiped by close_pem.
static BIO *open_pem(const char *path, bool guarded, struct buffer *bytes, int *err) {
    buffer_init(bytes);
    *err = guarded ? sys_file_read_guarded(path, bytes, FILE_BYTES_MAX)
                   : sys_file_read(path, bytes, FILE_BYTES_MAX);
    if (*err) {
        trace(TRACE_IO, "TLS: %s: %s", path, ac_strerror(*err));
        return NULL;
    }
    BIO *file = BIO_new_mem_buf(bytes->bytes ? (const void *)bytes->bytes : "", (int)bytes->length);
    if (!file)
        *err = failed(path, -ENOMEM);
    return file;
}

static void close_pem(BIO *file, struct buffer *bytes) {
    BIO_free(file);
    if (bytes->bytes)
        digest_wipe(bytes->bytes, bytes->capacity);
    buffer_done(bytes);
}

// A password that was not given must not be asked for at the terminal.
static int give_password(char *to, int bytes, int writing, void *password) {
    (void)writing;
    size_t length = password ? strlen(password) : 0;
    if (length == 0 || length > (size_t)bytes)
        return -1;
    memcpy(to, password, length);
    return (int)length;
}

static int read_key(EVP_PKEY **key, const char *path, const char *password, bool guarded) {
    struct buffer bytes;
    int err;
    BIO *file = open_pem(path, guarded, &bytes, &err);
    if (file) {
        *key = PEM_read_bio_PrivateKey(file, NULL, give_password, (void *)(uintptr_t)password);
        if (!*key)
            err = failed(path, -EBADMSG);
    }
    close_pem(file, &bytes);
    return err;
}

// The certificates of a file, the first one apart if somebody wants that.
static int read_certificates(const char *path, X509 **first, STACK_OF(X509) * others) {
    struct buffer bytes;
    int err;
    BIO *file = open_pem(path, false, &bytes, &err);
    for (bool any = false; !err; any = true) {
        X509 *it = PEM_read_bio_X509_AUX(file, NULL, give_password, NULL);
        if (!it) {
            bool end = any && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            err = end ? 1 : failed(path, -EBADMSG);
        } else if (first && !any) {
            *first = it;
        } else if (!sk_X509_push(others, it)) {
            X509_free(it);
            err = failed(path, -ENOMEM);
        }
    }
    ERR_clear_error();
    close_pem(file, &bytes);
    return err > 0 ? 0 : err;
}

static int set_trust(struct ac_tls *tls, const char *path) {
    SSL_CTX *ssl = tls->ssl;
    if (!path)
        return SSL_CTX_set_default_verify_paths(ssl) ? 0 : failed("system's trust", -ENOMEM);
    STACK_OF(X509) *all = sk_X509_new_null();
    if (!all)
        return failed(path, -ENOMEM);
    int err = read_certificates(path, NULL, all);
    if (err == -EISDIR)
        err = SSL_CTX_load_verify_dir(ssl, path) ? 0 : failed(path, -ENOMEM);
    for (int i = 0; !err && i < sk_X509_num(all); i++) {
        X509 *it = sk_X509_value(all, i);
        if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), it) ||
            (tls->clients && !SSL_CTX_add_client_CA(ssl, it)))
            err = failed(path, -ENOMEM);
    }
    sk_X509_pop_free(all, X509_free);
    return err;
}

static int set_revoked(struct ac_tls *tls, const char *path) {
    X509_STORE *store = SSL_CTX_get_cert_store(tls->ssl);
    struct buffer bytes;
    int err;
    BIO *file = open_pem(path, false, &bytes, &err);
    for (bool any = false; !err; any = true) {
        X509_CRL *it = PEM_read_bio_X509_CRL(file, NULL, give_password, NULL);
        if (it) {
            err = X509_STORE_add_crl(store, it) ? 0 : failed(path, -ENOMEM);
            X509_CRL_free(it);
            continue;
        }
        bool end = any && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        err = end ? 1 : failed(path, -EBADMSG);
    }
    ERR_clear_error();
    close_pem(file, &bytes);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls->ssl),
                                X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return err > 0 ? 0 : err;
}

// Whom others trusted, or their lists of what is revoked. Settings that look into a folder for that
// have none.
static int keep_store(struct ac_tls *tls, const struct ac_tls *before, bool lists, int otherwise) {
    X509_STORE *to = SSL_CTX_get_cert_store(tls->ssl);
    const STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(before->ssl));
    for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
        const X509_OBJECT *object = sk_X509_OBJECT_value(all, i);
        X509 *it = lists ? NULL : X509_OBJECT_get0_X509(object);
        X509_CRL *list = lists ? X509_OBJECT_get0_X509_CRL((X509_OBJECT *)object) : NULL;
        if ((it && (!X509_STORE_add_cert(to, it) ||
                    (tls->clients && !SSL_CTX_add_client_CA(tls->ssl, it)))) ||
            (list && !X509_STORE_add_crl(to, list)))
            return failed("what was known before", -ENOMEM);
        otherwise = it || list ? 0 : otherwise;
    }
    return otherwise;
}

// ---- our certificates ----

static void certificate_destroy(struct certificate *certificate) {
    X509_free(certificate->leaf);
    sk_X509_pop_free(certificate->chain, X509_free);
    EVP_PKEY_free(certificate->key);
    memory_release(certificate);
}

static int certificate_create(struct certificate **made, const struct ac_tls *tls,
                              const char *chain_path, const char *key_path, const char *password) {
    struct certificate *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->chain = sk_X509_new_null();
    int err = it->chain ? read_certificates(chain_path, &it->leaf, it->chain)
                        : failed(chain_path, -ENOMEM);
    if (!err)
        err = read_key(&it->key, key_path ? key_path : chain_path, password,
                       !tls->key_readable_by_all);
    if (!err && !X509_check_private_key(it->leaf, it->key))
        err = failed(chain_path, -EKEYREJECTED);
    if (err)
        certificate_destroy(it);
    else
        *made = it;
    return err;
}

static void add(struct ac_tls *tls, struct certificate *certificate) {
    list_append(&tls->certificates, &certificate->link);
    tls->certificates_count++;
}

// What clients show, and servers to those who have no name in mind.
static int show_first(struct ac_tls *tls, struct certificate *it) {
    if (!SSL_CTX_use_cert_and_key(tls->ssl, it->leaf, it->key, it->chain, 1)) {
        certificate_destroy(it);
        return failed("our certificate", -EKEYREJECTED);
    }
    add(tls, it);
    SSL_CTX_set_cert_cb(tls->ssl, choose_certificate, tls);
    SSL_CTX_set_tlsext_servername_callback(tls->ssl, accept_name);
    return 0;
}

static int set_certificate(struct ac_tls *tls, const struct ac_tls_options *options) {
    struct certificate *it;
    int err = certificate_create(&it, tls, options->certificate, options->key, options->password);
    return err ? err : show_first(tls, it);
}

static int keep_certificate(struct ac_tls *tls, const struct ac_tls *before) {
    const struct certificate *from = container_of(before->certificates.next, struct certificate,
                                                  link);
    struct certificate *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->chain = X509_chain_up_ref(from->chain);
    if (!it->chain) {
        certificate_destroy(it);
        return failed("our certificate", -ENOMEM);
    }
    X509_up_ref(from->leaf);
    EVP_PKEY_up_ref(from->key);
    it->leaf = from->leaf;
    it->key = from->key;
    return show_first(tls, it);
}

int ac_tls_add_certificate(ac_tls *tls, const char *certificate, const char *key) {
    struct certificate *it;
    if (!tls || !certificate)
        return -EINVAL;
    int err = certificate_create(&it, tls, certificate, key, NULL);
    if (err)
        return err;
    sys_mutex_lock(tls->mutex);
    if (tls->certificates_count == 0)
        err = -EINVAL;
    else if (tls->certificates_count >= AC_TLS_CERTIFICATES_MAX)
        err = -ENOSPC;
    else
        add(tls, it);
    sys_mutex_unlock(tls->mutex);
    if (err)
        certificate_destroy(it);
    return err;
}

static bool bears(const struct certificate *certificate, const char *name) {
    return X509_check_host(certificate->leaf, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                           NULL) == 1;
}

static bool use_certificate(SSL *ssl, const struct certificate *certificate) {
    return SSL_use_cert_and_key(ssl, certificate->leaf, certificate->key, certificate->chain, 1);
}

static bool use_certificates_of(struct ac_tls *tls, SSL *ssl, const char *name) {
    bool good = true, any = false;
    // Of two with the same kind of key the first stays.
    for (struct list *link = tls->certificates.prev; good && link != &tls->certificates;
         link = link->prev) {
        struct certificate *it = container_of(link, struct certificate, link);
        if (!bears(it, name))
            continue;
        if (!any)
            SSL_certs_clear(ssl);
        any = true;
        good = use_certificate(ssl, it);
    }
    return good;
}

// A certificate is needed now. 1: go on; 0: the handshake fails.
static int choose_certificate(SSL *ssl, void *settings) {
    struct ac_tls *tls = settings;
    const char *name = SSL_is_server(ssl) ? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
                                          : NULL;
    if (!name)
        return 1;
    sys_mutex_lock(tls->mutex);
    bool good = tls->certificates_count < 2 || use_certificates_of(tls, ssl, name);
    sys_mutex_unlock(tls->mutex);
    return good;
}

// Any name will do. Only names that were accepted are known again of resumed sessions (TLS 1.2).
static int accept_name(SSL *ssl, int *alert, void *unused) {
    (void)ssl, (void)alert, (void)unused;
    return SSL_TLSEXT_ERR_OK;
}

// ---- protocols ----

static int set_protocols(struct ac_tls *tls, const char *text) {
    if (!text)
        return 0;
    size_t length = strlen(text);
    if (length == 0 || length >= PROTOCOLS_BYTES_MAX)
        return -EINVAL;
    tls->protocol_names = memory_copy_text(text);
    tls->protocols = memory_allocate(length + 1);
    if (!tls->protocol_names || !tls->protocols)
        return -ENOMEM;
    size_t count = 0;
    for (char *name = tls->protocol_names; name <= tls->protocol_names + length;) {
        size_t bytes = strcspn(name, ",");
        if (bytes == 0 || bytes > PROTOCOL_BYTES_MAX || ++count > AC_TLS_PROTOCOLS_MAX)
            return -EINVAL;
        uint8_t *to = tls->protocols + (name - tls->protocol_names);
        to[0] = (uint8_t)bytes;
        memcpy(to + 1, name, bytes);
        name[bytes] = 0;
        name += bytes + 1;
    }
    tls->protocols_bytes = length + 1;
    SSL_CTX_set_alpn_select_cb(tls->ssl, choose_protocol, tls);
    // 0 is success here.
    return SSL_CTX_set_alpn_protos(tls->ssl, tls->protocols, (unsigned)length + 1) == 0
               ? 0
               : failed("protocols", -ENOMEM);
}

// A client that offers none that we know is refused (RFC 7301, 3.2).
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *bytes,
                           const unsigned char *offered, unsigned offered_bytes, void *settings) {
    const struct ac_tls *tls = settings;
    (void)ssl;
    int found = SSL_select_next_proto((unsigned char **)(uintptr_t)chosen, bytes, tls->protocols,
                                      (unsigned)tls->protocols_bytes, offered, offered_bytes);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// ---- the log of secrets ----

static int set_log(struct ac_tls *tls, const struct ac_tls_options *options) {
    const char *path = options->key_log;
    if (!path && options->key_log_of_environment)
        path = getenv("SSLKEYLOGFILE");
    if (!path || !path[0])
        return 0;
    tls->log_fd = sys_file_open_log(path);
    trace(TRACE_IO, "TLS: secrets are logged to %s: %d", path, tls->log_fd);
    if (tls->log_fd < 0)
        return tls->log_fd;
    SSL_CTX_set_keylog_callback(tls->ssl, log_secret);
    return 0;
}

// In one piece, for connections of other threads and programs add theirs.
static void log_secret(const SSL *ssl, const char *line) {
    const struct ac_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    char text[LOG_LINE_BYTES];
    int length = snprintf(text, sizeof text, "%s\n", line);
    if (length > 0 && (size_t)length < sizeof text)
        (void)sys_file_add(tls->log_fd, text, (size_t)length);
    digest_wipe(text, sizeof text);
}

// ---- sessions ----

static void set_sessions(struct ac_tls *tls) {
    if (!tls->resumes) {
        SSL_CTX_set_options(tls->ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(tls->ssl, 0);
        SSL_CTX_set_session_cache_mode(tls->ssl, SSL_SESS_CACHE_OFF);
        return;
    }
    SSL_CTX_set_session_cache_mode(tls->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls->ssl, keep_session);
}

static void session_destroy(struct session *session) {
    SSL_SESSION_free(session->session);
    memory_release(session);
}

static void forget_session(struct ac_tls *tls, struct session *session) {
    list_remove(&session->link);
    tls->sessions_count--;
    session_destroy(session);
}

// Makes room for one more of the host.
static void make_room(struct ac_tls *tls, const char *host) {
    struct session *oldest = NULL;
    size_t count = 0;
    list_each (link, &tls->sessions) {
        struct session *it = container_of(link, struct session, link);
        if (strcmp(it->host, host) == 0 && count++ == 0)
            oldest = it;
    }
    if (count < HOST_SESSIONS_MAX && tls->sessions_count >= AC_TLS_SESSIONS_MAX)
        oldest = container_of(list_first(&tls->sessions), struct session, link);
    if (count >= HOST_SESSIONS_MAX || tls->sessions_count >= AC_TLS_SESSIONS_MAX)
        forget_session(tls, oldest);
}

// A client was given a session. 1: it is ours now.
static int keep_session(SSL *ssl, SSL_SESSION *session) {
    struct ac_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const char *host = SSL_get_app_data(ssl);
    struct session *it = host ? memory_allocate(sizeof *it + strlen(host) + 1) : NULL;
    if (!it)
        return 0;
    it->session = session;
    strcpy(it->host, host);
    sys_mutex_lock(tls->mutex);
    make_room(tls, host);
    list_append(&tls->sessions, &it->link);
    tls->sessions_count++;
    sys_mutex_unlock(tls->mutex);
    return 1;
}

// Has the client offer the latest session of the host, if there is one.
static void offer_session(struct ac_tls *tls, SSL *ssl, const char *host) {
    struct session *latest = NULL;
    sys_mutex_lock(tls->mutex);
    list_each (link, &tls->sessions) {
        struct session *it = container_of(link, struct session, link);
        if (strcmp(it->host, host) == 0)
            latest = it;
    }
    if (latest) {
        SSL_set_session(ssl, latest->session);
        if (SSL_SESSION_get_protocol_version(latest->session) == TLS1_3_VERSION ||
            !SSL_SESSION_is_resumable(latest->session))
            forget_session(tls, latest);
    }
    sys_mutex_unlock(tls->mutex);
    ERR_clear_error();
}

// ---- connections ----

// Small letters, and no dot at the end. False if it cannot be a host.
static bool normalize(char *host) {
    size_t length = strlen(host);
    if (length > 1 && host[length - 1] == '.')
        host[--length] = 0;
    for (char *at = host; *at; at++) {
        if ((unsigned char)*at <= ' ' || *at == '/' || *at == 0x7f)
            return false;
        *at = (char)tolower((unsigned char)*at);
    }
    // OpenSSL would take a name that begins with a dot for all names that end so.
    return length > 0 && length <= HOST_BYTES_MAX && host[0] != '.';
}

// Says which host the certificate must bear, and tells the server which one is meant.
static int set_host(SSL *ssl, char *host) {
    if (!normalize(host))
        return -EINVAL;
    X509_VERIFY_PARAM *check = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(check, host))
        return 0;
    ERR_clear_error();
    if (strchr(host, ':'))
        return -EINVAL; // a port, maybe
    X509_VERIFY_PARAM_set_hostflags(check, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!X509_VERIFY_PARAM_set1_host(check, host, 0) || !SSL_set_tlsext_host_name(ssl, host))
        return failed(host, -ENOMEM);
    return 0;
}

int trust_connect(struct ac_tls *tls, char *host, struct tls **connection) {
    if (!host && tls->verifies)
        return -EINVAL;
    struct tls *it = tls_over(tls->ssl, tls->method, false);
    if (!it)
        return -ENOMEM;
    SSL *ssl = tls_ssl(it);
    int err = host ? set_host(ssl, host) : 0;
    if (!err && !SSL_set_app_data(ssl, host))
        err = failed("host", -ENOMEM);
    if (err) {
        tls_destroy(it);
        return err;
    }
    SSL_set_verify(ssl, tls->verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (host && tls->resumes)
        offer_session(tls, ssl, host);
    *connection = it;
    return 0;
}

int trust_accept(struct ac_tls *tls, struct tls **connection) {
    static const unsigned char context[] = "asyncoro";
    if (!tls->certificates_count)
        return -EINVAL;
    struct tls *it = tls_over(tls->ssl, tls->method, true);
    if (!it)
        return -ENOMEM;
    SSL *ssl = tls_ssl(it);
    int verify = SSL_VERIFY_NONE;
    if (tls->clients)
        verify = SSL_VERIFY_PEER;
    if (tls->clients == AC_TLS_DEMAND)
        verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(ssl, verify, NULL);
    if (!SSL_set_session_id_context(ssl, context, sizeof context - 1)) {
        tls_destroy(it);
        return failed("session", -ENOMEM);
    }
    *connection = it;
    return 0;
}

// ---- peers ----

static bool pattern_fits(const char *pattern, size_t bytes, const char *name) {
    if (bytes == 1 && pattern[0] == '*')
        return true;
    if (bytes > 2 && pattern[0] == '*' && pattern[1] == '.') {
        name = strchr(name, '.');
        pattern++;
        bytes--;
    }
    if (!name || strlen(name) != bytes)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (tolower((unsigned char)pattern[i]) != tolower((unsigned char)name[i]))
            return false;
    return true;
}

bool trust_name_is_among(const char *name, const char *names) {
    for (const char *at = names; at; at = *at ? at + 1 : NULL) {
        at += strspn(at, " \t");
        size_t bytes = strcspn(at, ",");
        const char *end = at + bytes;
        while (bytes > 0 && (at[bytes - 1] == ' ' || at[bytes - 1] == '\t'))
            bytes--;
        if (bytes > 0 && pattern_fits(at, bytes, name))
            return true;
        at = end;
    }
    return !names;
}

// A name as it can be shown and compared. A wildcard names nobody, and a comma parts names.
static bool take_name(const ASN1_STRING *from, char name[TRUST_NAME_BYTES]) {
    const unsigned char *bytes = ASN1_STRING_get0_data(from);
    int length = ASN1_STRING_length(from);
    if (length <= 0 || length >= TRUST_NAME_BYTES)
        return false;
    for (int i = 0; i < length; i++) {
        if (bytes[i] < ' ' || bytes[i] > '~' || bytes[i] == '*' || bytes[i] == ',')
            return false;
        name[i] = (char)tolower(bytes[i]);
    }
    name[length] = 0;
    return true;
}

static bool find_common_name(const X509 *leaf, const char *names, char name[TRUST_NAME_BYTES]) {
    const X509_NAME *subject = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    return at >= 0 && take_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), name) &&
           trust_name_is_among(name, names);
}

static bool find_name(const X509 *leaf, const char *names, char name[TRUST_NAME_BYTES]) {
    GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool any = false, found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *it = sk_GENERAL_NAME_value(all, i);
        if (it->type != GEN_DNS)
            continue;
        any = true;
        found = take_name(it->d.dNSName, name) && trust_name_is_among(name, names);
    }
    GENERAL_NAMES_free(all);
    ERR_clear_error();
    return any ? found : find_common_name(leaf, names, name);
}

bool trust_peer_name(const struct tls *connection, const char *names, char name[TRUST_NAME_BYTES]) {
    const X509 *leaf = SSL_get0_peer_certificate(tls_ssl(connection));
    return leaf && find_name(leaf, names, name);
}

// Asked for each certificate of a chain, the leaf last. The name is looked at here, so that who has
// the wrong one is told as if his certificate were bad.
static int check_name(int good, X509_STORE_CTX *check) {
    char name[TRUST_NAME_BYTES];
    if (!good || X509_STORE_CTX_get_error_depth(check) > 0)
        return good;
    SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (find_name(X509_STORE_CTX_get_current_cert(check), SSL_get_app_data(ssl), name))
        return 1;
    X509_STORE_CTX_set_error(check, X509_V_ERR_HOSTNAME_MISMATCH);
    return 0;
}

int trust_peer(struct ac_tls *tls, bool server, const char *names, struct tls **connection) {
    static const unsigned char context[] = "asyncoro";
    assert(!tls->resumes);
    if (!tls->certificates_count)
        return -EINVAL;
    struct tls *it = tls_over(tls->ssl, tls->method, server);
    if (!it)
        return -ENOMEM;
    SSL *ssl = tls_ssl(it);
    SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, check_name);
    if (!SSL_set_app_data(ssl, (void *)(uintptr_t)names) ||
        (server && !SSL_set_session_id_context(ssl, context, sizeof context - 1))) {
        tls_destroy(it);
        return failed("names", -ENOMEM);
    }
    *connection = it;
    return 0;
}

bool trust_still(struct ac_tls *tls, const struct tls *connection) {
    SSL *ssl = tls_ssl(connection);
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    bool good =
        leaf && check &&
        X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(tls->ssl), leaf,
                            SSL_get_peer_cert_chain(ssl)) &&
        X509_STORE_CTX_set_default(check, SSL_is_server(ssl) ? "ssl_client" : "ssl_server") &&
        X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(check), SSL_CTX_get0_param(tls->ssl)) &&
        X509_verify_cert(check) == 1;
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return good;
}

// ---- what is known of a connection ----

const char *trust_protocol(const struct ac_tls *tls, const struct tls *connection) {
    const unsigned char *chosen;
    unsigned bytes;
    SSL_get0_alpn_selected(tls_ssl(connection), &chosen, &bytes);
    if (bytes == 0)
        return "";
    // The same text among ours, which has an end. Not all versions of OpenSSL see to it that the
    // server has chosen one of them.
    const char *end = tls->protocol_names + tls->protocols_bytes;
    for (const char *name = tls->protocol_names; name < end; name += strlen(name) + 1)
        if (strlen(name) == bytes && memcmp(name, chosen, bytes) == 0)
            return name;
    return "";
}

const char *trust_server_name(const struct tls *connection) {
    const char *name = SSL_get_servername(tls_ssl(connection), TLSEXT_NAMETYPE_host_name);
    return name ? name : "";
}

const char *trust_version(const struct tls *connection) {
    return SSL_get_version(tls_ssl(connection));
}

const char *trust_cipher(const struct tls *connection) {
    return SSL_get_cipher_name(tls_ssl(connection));
}

bool trust_resumed(const struct tls *connection) { return SSL_session_reused(tls_ssl(connection)); }

int trust_subject(const struct tls *connection, char *text, size_t bytes) {
    const X509 *leaf = SSL_get0_peer_certificate(tls_ssl(connection));
    if (!leaf)
        return -ENODATA;
    BIO *memory = BIO_new(BIO_s_mem());
    char *name;
    int err = -ENOMEM;
    if (memory &&
        X509_NAME_print_ex(memory, X509_get_subject_name(leaf), 0, XN_FLAG_RFC2253) >= 0) {
        size_t length = (size_t)BIO_get_mem_data(memory, &name);
        err = length < bytes ? 0 : -EMSGSIZE;
        if (!err) {
            memcpy(text, name, length);
            text[length] = 0;
        }
    }
    BIO_free(memory);
    ERR_clear_error();
    return err;
}

int trust_fingerprint(const struct tls *connection, uint8_t digest[DIGEST_BYTES]) {
    const X509 *leaf = SSL_get0_peer_certificate(tls_ssl(connection));
    if (!leaf)
        return -ENODATA;
    return X509_digest(leaf, EVP_sha256(), digest, NULL) ? 0 : failed("fingerprint", -ENOMEM);
}
