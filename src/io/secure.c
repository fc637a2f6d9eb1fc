// SPDX-License-Identifier: MIT
// TLS streams: the kind of stream whose bytes go through a TLS connection (tls.c, trust.c), which
// works in memory, and from there by operations on the handle.
//
// Reading. What comes is read into `small`, which lies in the record of the stream, so that a
// connection that waits has no other memory for it. If that was filled, more is there, and `large`
// is taken until a read finds nothing. The bytes are lent to the connection, which has eaten all of
// them before it asks for more.
//
// Writing. Text is encrypted into the output of the connection, up to CHUNK_BYTES at a time. Who
// sends it moves it to `sending` and is alone meanwhile (`sends`), for reading has output too:
// alerts, and answers to a change of keys. A reader sends what does not wait; what it must leave is
// sent by the next call of either side. So at most OUTPUT_BYTES_MAX may lie there before it waits
// for room: or somebody who changes keys and never reads would have us keep all the answers.
//
// What was encrypted must be sent, in order and whole, or the connection is broken; so what is left
// when a wait ends early stays in `sending`, and goes before all else.
#include "io/io.h"

enum {
    SMALL_BYTES = 512,
    LARGE_BYTES = 32 << 10,
    CHUNK_BYTES = 64 << 10,
    OUTPUT_BYTES_MAX = 16 << 10, // that reading may leave
    GOODBYE_SECONDS = 5
};

struct secure {
    struct tls *tls;
    ac_tls *settings;      // held
    char *host;            // that a client wants, or NULL
    struct ac_lock sends;  // of who moves bytes to `sending` and from there
    struct buffer sending; // what is to be sent before the output of the connection
    size_t sent;           // of these, how many have gone
    struct buffer ahead;   // what was read of the stream before it became a TLS one
    uint8_t *large;        // LARGE_BYTES of memory, or NULL
    bool more;             // the latest read has filled its memory
    bool is_sending;       // somebody holds `sends`
    bool said_goodbye;     // nothing more is written
    int broken;            // what all calls give from now on, or 0
    const char *problem;   // of ours; NULL: of the connection
    uint8_t small[SMALL_BYTES];
};

static int64_t secure_read(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline);
static int64_t secure_write(struct ac_stream *stream, const void *from, size_t bytes,
                            ac_time deadline);
static int secure_flush(struct ac_stream *stream, ac_time deadline);
static int secure_shut(struct ac_stream *stream);
static void secure_close(struct ac_stream *stream);
static void secure_release(struct ac_stream *stream);
static int shake(struct ac_stream *stream, ac_time deadline);

static const struct stream_kind secure_kind = {
    .read = secure_read,
    .write = secure_write,
    .flush = secure_flush,
    .shut = secure_shut,
    .close = secure_close,
    .release = secure_release,
};

static struct secure *of(const struct ac_stream *stream) { return stream->own; }

static int give_up(struct secure *it, int err, const char *problem) {
    if (problem)
        it->problem = problem;
    it->broken = err;
    return err;
}

// ---- making a stream a TLS one ----

static struct secure *secure_create(ac_tls *settings, const char *host, int *err) {
    *err = -ENOMEM;
    struct secure *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    buffer_init(&it->sending);
    buffer_init(&it->ahead);
    trust_hold(settings);
    it->settings = settings;
    it->host = host ? memory_copy_text(host) : NULL;
    return it;
}

static void secure_destroy(struct secure *it) {
    tls_destroy(it->tls);
    ac_tls_destroy(it->settings);
    buffer_done(&it->sending);
    buffer_done(&it->ahead);
    memory_release(it->large);
    memory_release(it->host);
    memory_release(it);
}

static void secure_release(struct ac_stream *stream) { secure_destroy(of(stream)); }

// What was read ahead is what the other side has said in TLS: said in clear it would be no record.
static void take_ahead(struct ac_stream *stream, struct secure *it) {
    size_t count = stream->ahead.length - stream->ahead_taken;
    if (count == 0)
        return;
    it->ahead = stream->ahead;
    buffer_init(&stream->ahead);
    tls_feed(it->tls, it->ahead.bytes + stream->ahead_taken, count);
    stream->ahead_taken = 0;
}

// The settings of those who name none: one for all streams of a loop.
static int find_settings(ac_tls **settings) {
    struct io *io = io_of(coro_here()->loop);
    if (!io)
        return -ENOMEM;
    int err = io->tls ? 0 : ac_tls_create_with(&io->tls, NULL);
    *settings = io->tls;
    return err;
}

static int begin(struct ac_stream *stream, ac_tls *settings, bool server, const char *host,
                 ac_time deadline) {
    int err = settings ? 0 : find_settings(&settings);
    if (err)
        return err;
    struct secure *it = secure_create(settings, host, &err);
    if (!it)
        return err;
    if (!host || it->host)
        err = server ? trust_accept(settings, &it->tls)
                     : trust_connect(settings, it->host, &it->tls);
    if (err) {
        secure_destroy(it);
        return err;
    }
    take_ahead(stream, it);
    stream->own = it;
    stream->kind = &secure_kind;
    return shake(stream, deadline);
}

// On both sides, so that nobody else reads or writes meanwhile.
static int secure(struct ac_stream *stream, ac_tls *settings, bool server, const char *host,
                  ac_time deadline) {
    const enum io_side both = (enum io_side)(IO_READS | IO_WRITES);
    if (!stream)
        return -EINVAL;
    if (stream->kind)
        return stream->kind == &secure_kind ? -EALREADY : -ENOTSUP;
    int err = io_enter(&stream->object, both);
    if (err)
        return err;
    // Entering may have let another coroutine do the same.
    err = stream->kind ? -EALREADY : begin(stream, settings, server, host, deadline);
    trace(TRACE_IO, "TLS %s: %d %s",
          server ? "accept"
          : host ? host
                 : "connect",
          err, ac_tls_problem(stream));
    io_leave(&stream->object, both);
    return err;
}

int ac_tls_connect(ac_stream *stream, ac_tls *tls, const char *host, ac_time deadline) {
    return secure(stream, tls, false, host, deadline);
}

int ac_tls_accept(ac_stream *stream, ac_tls *tls, ac_time deadline) {
    return tls ? secure(stream, tls, true, NULL, deadline) : -EINVAL;
}

// ---- bytes from the wire ----

static int64_t read_large(struct ac_stream *stream, struct secure *it) {
    if (!it->large)
        it->large = memory_allocate(LARGE_BYTES);
    if (!it->large)
        return -ENOMEM;
    int64_t got = stream_read_handle(stream, it->large, LARGE_BYTES, AC_NOW);
    if (got > 0)
        tls_feed(it->tls, it->large, (size_t)got);
    it->more = got == LARGE_BYTES;
    return got;
}

static int64_t read_small(struct ac_stream *stream, struct secure *it, ac_time deadline) {
    memory_release(it->large);
    it->large = NULL;
    int64_t got = stream_read_handle(stream, it->small, sizeof it->small, deadline);
    if (got > 0)
        tls_feed(it->tls, it->small, (size_t)got);
    it->more = got == sizeof it->small;
    return got;
}

// The connection has eaten all and wants more. 0; -ECONNRESET at the end of the stream; the errors
// of ac_read, after which nothing is lost.
static int fill(struct ac_stream *stream, struct secure *it, ac_time deadline) {
    buffer_done(&it->ahead);
    int64_t got = -ETIMEDOUT;
    if (it->more)
        got = read_large(stream, it);
    if (got == -ETIMEDOUT)
        got = read_small(stream, it, deadline);
    if (got == 0)
        return give_up(it, -ECONNRESET, "the connection has ended without a goodbye");
    return got < 0 ? (int)got : 0;
}

// ---- bytes for the wire ----

static size_t unsent(const struct secure *it) {
    return it->sending.length - it->sent + tls_output_bytes(it->tls);
}

// Sends `sending`, then what the connection has put out meanwhile, until there is no more.
static int send_all(struct ac_stream *stream, struct secure *it, ac_time deadline) {
    for (;;) {
        if (it->sent == it->sending.length) {
            it->sending.length = it->sent = 0;
            if (!tls_has_output(it->tls))
                return 0;
            tls_output(it->tls, &it->sending);
        }
        int64_t put = stream_write_handle(stream, it->sending.bytes + it->sent,
                                          it->sending.length - it->sent, deadline);
        if (put < 0)
            return (int)put;
        it->sent += (size_t)put;
    }
}

static int secure_flush(struct ac_stream *stream, ac_time deadline) {
    struct secure *it = of(stream);
    if (unsent(it) == 0)
        return it->broken;
    int err = ac_lock_acquire(&it->sends, deadline);
    if (err)
        return err;
    it->is_sending = true;
    err = send_all(stream, it, deadline);
    it->is_sending = false;
    if (!err)
        buffer_done(&it->sending);
    ac_lock_release(&it->sends);
    return err ? err : it->broken;
}

// Sends what reading has put out. 0, also if some of it must wait for the next call; or the errors
// of ac_write_all.
static int answer(struct ac_stream *stream, struct secure *it, ac_time deadline) {
    if (unsent(it) == 0)
        return 0;
    (void)secure_flush(stream, AC_NOW);
    return tls_output_bytes(it->tls) > OUTPUT_BYTES_MAX ? secure_flush(stream, deadline) : 0;
}

// ---- the kind ----

static int shake(struct ac_stream *stream, ac_time deadline) {
    struct secure *it = of(stream);
    for (;;) {
        int done = tls_handshake(it->tls);
        bool failed = done < 0 && done != -EAGAIN;
        int err = secure_flush(stream, failed ? AC_NOW : deadline); // an alert, maybe
        if (failed)
            return give_up(it, done, NULL);
        if (done == -EAGAIN && !err)
            err = fill(stream, it, deadline);
        if (err && !it->broken)
            give_up(it, -ECONNABORTED, "the handshake was given up");
        if (err || done == 0)
            return err;
    }
}

static int64_t secure_read(struct ac_stream *stream, void *to, size_t bytes, ac_time deadline) {
    struct secure *it = of(stream);
    while (!it->broken) {
        int64_t got = tls_read(it->tls, to, bytes);
        if (got < 0 && got != -EAGAIN)
            give_up(it, (int)got, NULL);
        int err = answer(stream, it, deadline);
        if (got != -EAGAIN)
            return got;
        if (!err)
            err = fill(stream, it, deadline);
        if (err)
            return err;
    }
    return it->broken;
}

static int64_t secure_write(struct ac_stream *stream, const void *from, size_t bytes,
                            ac_time deadline) {
    struct secure *it = of(stream);
    int err = it->broken ? it->broken : it->said_goodbye ? -EPIPE : 0;
    if (!err && unsent(it) >= CHUNK_BYTES)
        err = secure_flush(stream, deadline);
    if (err)
        return err;
    size_t count = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
    err = tls_write(it->tls, from, count);
    if (err && tls_problem(it->tls)[0])
        give_up(it, err, NULL);
    return err ? err : (int64_t)count;
}

static int secure_shut(struct ac_stream *stream) {
    struct secure *it = of(stream);
    int err = io_enter(&stream->object, IO_WRITES);
    if (err)
        return err;
    tls_end(it->tls);
    it->said_goodbye = true;
    err = secure_flush(stream, ac_after(GOODBYE_SECONDS));
    if (!err)
        err = sys_shut(&stream->object.handle);
    io_leave(&stream->object, IO_WRITES);
    return err;
}

// Says goodbye if nobody is in the midst of sending, and reads what nobody will: bytes that were
// not read when a connection is closed make the system break it, and the other side lose what we
// have sent. (A server gives sessions to resume to clients that read nothing.)
static void secure_close(struct ac_stream *stream) {
    enum { READS_MAX = 16 };
    struct secure *it = of(stream);
    struct sys_handle *handle = &stream->object.handle;
    struct sys_op op = {.verb = SYS_WRITE, .handle = handle};
    if (it->broken || it->is_sending)
        return;
    tls_end(it->tls);
    do {
        op.bytes = it->sending.bytes + it->sent;
        op.count = it->sending.length - it->sent;
        if (op.count > 0 && (!sys_attempt(&op) || op.result < 0))
            return;
        it->sent += op.count > 0 ? (size_t)op.result : 0;
        if (it->sent == it->sending.length) {
            it->sending.length = it->sent = 0;
            tls_output(it->tls, &it->sending);
        }
    } while (it->sent < it->sending.length);
    op = (struct sys_op){.verb = SYS_READ, .handle = handle, .bytes = it->small};
    op.count = sizeof it->small;
    for (int i = 0; i < READS_MAX && !handle->reader && sys_attempt(&op) && op.result > 0; i++)
        continue;
}

// ---- what is known of a stream ----

static struct secure *if_secure(const struct ac_stream *stream) {
    return stream && stream->kind == &secure_kind ? of(stream) : NULL;
}

const char *ac_tls_problem(const ac_stream *stream) {
    const struct secure *it = if_secure(stream);
    if (!it)
        return "";
    return it->problem ? it->problem : tls_problem(it->tls);
}

const char *ac_tls_protocol(const ac_stream *stream) {
    const struct secure *it = if_secure(stream);
    return it ? trust_protocol(it->settings, it->tls) : "";
}

const char *ac_tls_version(const ac_stream *stream) {
    const struct secure *it = if_secure(stream);
    return it ? trust_version(it->tls) : "";
}

const char *ac_tls_cipher(const ac_stream *stream) {
    const struct secure *it = if_secure(stream);
    return it ? trust_cipher(it->tls) : "";
}

const char *ac_tls_server_name(const ac_stream *stream) {
    const struct secure *it = if_secure(stream);
    return it ? trust_server_name(it->tls) : "";
}

bool ac_tls_resumed(const ac_stream *stream) {
    const struct secure *it = if_secure(stream);
    return it && trust_resumed(it->tls);
}

int ac_tls_subject(const ac_stream *stream, char *text, size_t bytes) {
    const struct secure *it = if_secure(stream);
    if (!stream || !text || bytes == 0)
        return -EINVAL;
    return it ? trust_subject(it->tls, text, bytes) : -ENOTSUP;
}

int ac_tls_fingerprint(const ac_stream *stream, uint8_t digest[AC_TLS_FINGERPRINT_BYTES]) {
    const struct secure *it = if_secure(stream);
    if (!stream || !digest)
        return -EINVAL;
    return it ? trust_fingerprint(it->tls, digest) : -ENOTSUP;
}
