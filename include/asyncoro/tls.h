// SPDX-License-Identifier: MIT
// TLS 1.2 and 1.3 on streams, by OpenSSL.
//
//     ac_tls *settings;
//     int err = ac_tls_create(&settings, .certificate = "chain.pem", .key = "key.pem");
//     ...
//     err = ac_accept(listener, &stream, AC_FOREVER);
//     err = ac_tls_accept(stream, settings, ac_after(10));       // and read and write as ever
//
//     err = ac_connect(&stream, "example.com:443", ac_after(10));
//     err = ac_tls_connect(stream, NULL, "example.com", ac_after(10));
//
// A connected stream becomes a TLS one in place; what reads and writes streams does so afterwards,
// and one coroutine may read while another writes.
//
// Trust. A client checks the server's certificate and its name, unless its settings say
// `.no_verification`; a server that of a client, if it asks for one. With TLS 1.3 a client learns
// only by reading that the server does not trust it: -EACCES. With TLS 1.2 a server that demands a
// certificate and gets none may give no reason: then that is -EPROTO.
//
// Ends. ac_shutdown tells the other side that nothing more will be written (close_notify) before it
// ends that half of the connection: it can wait for room, 5 s at most, then -ETIMEDOUT. ac_close
// tells it if that can be done without waiting; who has written much to one who reads slowly calls
// ac_shutdown first. A stream that ends without having been told so was cut off, maybe by an
// attacker: reading then gives -ECONNRESET and not 0. Some servers end so
// after an answer whose length they have told; who has read all of it has lost nothing.
//
// Time-outs. What a write call has taken (`*put`) is encrypted and cannot be taken back: when it
// ends early, by its deadline or by cancellation, the next call that writes begins with what is
// left of that, and so ac_write_all(stream, NULL, 0, deadline, NULL) sends no more than that.
// Nothing is lost, repeated or torn; *put may be all the bytes in spite of the error. A handshake
// that ends early cannot be taken up again: the stream is good for ac_close only.
//
// Errors. After one that comes of the protocol all later calls give it again. ac_tls_problem has
// the words.
//
// Nothing blocks but for files, which are read when settings are made; and a folder of trusted
// certificates (the system's is one), in which the one needed is looked up in the handshake. A
// handshake takes 0.1 to 1 ms of the processor and 10 KiB of the stack, so a small stack is not
// enough for one; a connection that waits has 24 KiB of memory.
#ifndef ASYNCORO_TLS_H
#define ASYNCORO_TLS_H

#include <asyncoro/base.h>
#include <asyncoro/io.h>

#ifdef __cplusplus
extern "C" {
#endif

// Settings for any number of connections, on any loop and thread: certificates, whom to trust,
// sessions to resume. Owned by whoever made them, until ac_tls_destroy.
typedef struct ac_tls ac_tls;

// The lowest version of TLS that is spoken.
enum ac_tls_minimum { AC_TLS_V12 = 1, AC_TLS_V13 };

// Whether a server asks clients for a certificate: those that have none are let in, or not. One
// that is shown must be trusted in either case.
enum ac_tls_clients { AC_TLS_ASK = 1, AC_TLS_DEMAND };

// How to make settings. Zero means the default everywhere. Texts are copied.
struct ac_tls_options {
    size_t size;             // sizeof(struct ac_tls_options); set by the macro
    const char *certificate; // file with ours, then those between it and a trusted one, as PEM; a
                             // server needs one, a client where it is asked for one
    const char *key;         // file with its secret key, as PEM; default: that of .certificate. One
                             // that everybody may read is refused
    const char *password;    // of the key, if it is encrypted
    const char *trust;       // file with those who are trusted, as PEM, or a folder as c_rehash of
                             // OpenSSL makes it; default: those that the system trusts
    const char *revoked;     // file with lists of revoked certificates, as PEM; needs .trust. There
                             // must be a current one of each authority above a certificate, else
                             // that is not trusted
    const char *protocols;   // for ALPN, what is liked best first: "h2,http/1.1"
    const char *key_log;     // file to which the secrets of each connection are added, with which
                             // Wireshark reads what was recorded: for debugging only
    enum ac_tls_minimum version_min; // default: AC_TLS_V12
    enum ac_tls_clients clients;     // default: not asked for a certificate; needs .trust
    bool no_verification;        // of servers, by a client: whoever sits between reads everything
    bool key_readable_by_all;    // let the key's file be one that everybody may read
    bool key_log_of_environment; // add secrets to the file that SSLKEYLOGFILE names, if any
    bool no_resumption;          // each connection begins anew
};

#define AC_TLS_CERTIFICATES_MAX 1024 // of one ac_tls
#define AC_TLS_SESSIONS_MAX 128      // that a client keeps to resume, of all hosts
#define AC_TLS_PROTOCOLS_MAX 32      // of the option .protocols

// Makes settings from options by name: ac_tls_create(&tls, .trust = "ca.pem"). Blocks meanwhile:
// reads files. 0, else *tls is NULL: -EINVAL for options that cannot be; -ENOENT and the like for a
// file that cannot be read, -EACCES also for a key that everybody may read; -EBADMSG for one that
// holds no certificate, or no key, as PEM (or the password is wrong); -EKEYREJECTED if the key is
// not that of the certificate; -ENOMEM. AC_TRACE=io has the words.
#define ac_tls_create(...) AC_TLS_CREATE_(__VA_ARGS__, )
#define AC_TLS_CREATE_(tls, ...)                                                                   \
    ac_tls_create_with(                                                                            \
        (tls), AC_OPTIONS_(ac_tls_options){.size = sizeof(struct ac_tls_options), __VA_ARGS__})
// The function under ac_tls_create. `options` may be NULL.
AC_API int ac_tls_create_with(ac_tls **tls, const struct ac_tls_options *options) AC_CHECKED;

// One more certificate for a server: it shows those that bear the name that the client asks for,
// and that of the options if there is none, or if the client asks for no name. Files as in the
// options; `key` may be NULL. From any thread, also while there are connections. Blocks meanwhile.
// 0; -EINVAL if the options named none; -ENOSPC over AC_TLS_CERTIFICATES_MAX; else as
// ac_tls_create.
AC_API int ac_tls_add_certificate(ac_tls *tls, const char *certificate, const char *key) AC_CHECKED;

// Lets the settings go; connections keep what they need of them until they are closed. From any
// thread. NULL is ignored.
AC_API void ac_tls_destroy(ac_tls *tls);

// Makes the stream a TLS one, as the client. `tls`: NULL for the defaults; the stream holds it.
// `host`: name or numeric address of the server, which its certificate must bear; may be NULL with
// .no_verification. What was read ahead of what the caller has taken (ac_read_line) is the
// beginning of what the server says in TLS, so that nothing said in clear can pass for part of it.
// Can wait. 0; -EKEYREJECTED: the certificate is not trusted, or is not of that host; -EACCES: the
// server does not accept ours, or wants one; -EPROTO: no TLS, or none that both speak; -ECONNRESET:
// it ended in the midst; -EALREADY if it is a TLS stream; -EBUSY if another coroutine reads or
// writes it; -ENOTSUP for what is no connection; -EINVAL; -ENOMEM; else the errors of ac_write_all.
// But for -EALREADY, -EBUSY, -ENOTSUP, -EINVAL and -EPERM the stream is of no more use then.
AC_API int ac_tls_connect(ac_stream *stream, ac_tls *tls, const char *host,
                          ac_time deadline) AC_CHECKED;

// The same as the server, which needs a certificate (else -EINVAL). Can wait. Returns as
// ac_tls_connect; -EKEYREJECTED: the client's certificate is not trusted, or it has shown none and
// must.
AC_API int ac_tls_accept(ac_stream *stream, ac_tls *tls, ac_time deadline) AC_CHECKED;

// What went wrong with TLS on this stream, in OpenSSL's words ("certificate has expired", "hostname
// mismatch"); "" if nothing did, or if it is no TLS stream. Constant text.
AC_API const char *ac_tls_problem(const ac_stream *stream);

// Of a TLS stream: the protocol that both have agreed on by ALPN; the version ("TLSv1.3") and the
// cipher; the name that the client has asked for. "" if there is none, or if it is no TLS stream.
// Valid until the stream is closed.
AC_API const char *ac_tls_protocol(const ac_stream *stream);
AC_API const char *ac_tls_version(const ac_stream *stream);
AC_API const char *ac_tls_cipher(const ac_stream *stream);
AC_API const char *ac_tls_server_name(const ac_stream *stream);

// Whether the connection took up an earlier session, which saves the certificates. False if it is
// no TLS stream.
AC_API bool ac_tls_resumed(const ac_stream *stream);

#define AC_TLS_FINGERPRINT_BYTES 32

// Of the other side's certificate: whom it was issued to ("CN=example.com,O=Example", RFC 2253),
// and its SHA-256 digest. 0; -ENODATA if it has shown none; -ENOTSUP if it is no TLS stream;
// -EMSGSIZE if `bytes` are not enough; -ENOMEM.
AC_API int ac_tls_subject(const ac_stream *stream, char *text, size_t bytes);
AC_API int ac_tls_fingerprint(const ac_stream *stream, uint8_t digest[AC_TLS_FINGERPRINT_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
