// SPDX-License-Identifier: MIT
// Sending files to peers, and deleting them there. The coroutine that calls reads the file, by
// helper threads, and sends it in pieces; what the receiver answers is noted in a record on its
// stack, and it is woken. The frames are specified in transfer.h.
//
// A file is read twice: first for its digest, by which the receiver knows what it has already.
#include "remote/transfer.h"

#include <asyncoro/message.h>
#include <asyncoro/sync.h>

enum { CHUNK_BYTES = 4 * TRANSFER_PIECE_BYTES, CHUNKS_A_STEP = 16 };
#define TELL_NS ((ac_time)100 * 1000 * 1000) // how often its progress is told

// A file that is sent. It belongs to a thread from source_do until that returns.
struct source {
    struct work work;
    void (*step)(struct source *it);
    int err;
    bool more; // the step is not finished
    int fd;
    struct sys_file_facts facts;
    uint64_t at;  // where the chunk is in the file, or up to where the digest goes
    size_t count; // of bytes in the chunk
    struct digest *hash;
    uint8_t digest[DIGEST_BYTES];
    uint8_t chunk[CHUNK_BYTES];
    char path[];
};

// What is sent, or wanted.
struct outgoing {
    struct remote *remote;
    uint64_t peer;
    uint64_t number;
    ac_time deadline;
    struct ac_event changed;
    uint64_t bytes;
    uint64_t sent;
    uint64_t took; // as the receiver says
    bool began;    // it has said so
    bool done;
    bool lost;
    int result;
    const char *name;
    ac_ref told; // of progress
    ac_time told_at;
    uint64_t told_of;
};

// ---- frames ----

struct transfers *transfers_need(struct remote *remote) {
    if (remote->transfers)
        return remote->transfers;
    struct transfers *transfers = memory_allocate_zeroed(sizeof *transfers);
    if (!transfers)
        return NULL;
    map_init(&transfers->outgoing);
    list_init(&transfers->takes);
    remote->transfers = transfers;
    return transfers;
}

static int frame_near(struct remote *remote, uint64_t number, enum transfer_verb verb,
                      int64_t argument, ac_value value) {
    if (verb >= TRANSFER_TOOK) { // an answer needs no memory
        struct arrival answer = {
            .peer = remote->host->peer, .number = number, .verb = verb, .result = argument};
        transfer_arrived(remote, &answer);
        return 0;
    }
    remote_enter(remote);
    struct arrival *arrival = remote_arrival(remote, ARRIVED_FILE, remote->host->peer);
    if (arrival) {
        arrival->number = number;
        arrival->verb = verb;
        arrival->result = argument;
        arrival->value = value;
    }
    remote_leave(remote);
    if (!arrival)
        ac_drop(value);
    return arrival ? 0 : -ENOMEM;
}

int transfer_frame(struct remote *remote, uint64_t peer, uint64_t number, enum transfer_verb verb,
                   int64_t argument, ac_value value, ac_time deadline) {
    if (value.kind == AC_INVALID)
        return ac_error_of(value);
    if (peer == remote->host->peer)
        return frame_near(remote, number, verb, argument, value);
    struct head head = {0};
    uint8_t scratch[16];
    head_put(&head, number);
    head_put(&head, verb);
    head_put_signed(&head, argument);
    ac_span encoded = value_encoded(value, scratch);
    int err = !remote->fabric ? -EHOSTUNREACH
              : deadline == AC_NOW
                  ? remote_frame_now(remote, peer, FRAME_FILE, &head, encoded, FABRIC_ALWAYS)
                  : send_frame(remote, peer, FRAME_FILE, &head, encoded, deadline);
    ac_drop(value);
    return err;
}

bool transfer_begins(uint64_t verb) { return verb == TRANSFER_OFFER || verb == TRANSFER_DELETE; }

void transfer_refuse(struct incoming *in, uint64_t number, int err) {
    struct head head = {0};
    head_put(&head, number);
    head_put(&head, TRANSFER_DONE);
    head_put_signed(&head, err);
    head.bytes[head.count++] = 0xf6; // CBOR nil
    remote_tell(in->remote, in->peer->id, FRAME_FILE, &head, FABRIC_ALWAYS);
}

void transfer_tell(ac_ref told, ac_value message) {
    int err = ac_try_send_value(told, message);
    if (err)
        trace(TRACE_REMOTE, "nobody is told of a file: %s", ac_strerror(err));
}

ac_value transfer_name(const char *name, size_t bytes) {
    ac_value text = ac_of_text_span(name, bytes);
    return ac_error_of(text) == -EILSEQ ? ac_of_bytes(name, bytes) : text;
}

// ---- the file, on helper threads ----

static void source_destroy(struct source *it) {
    if (!it)
        return;
    sys_fd_close(it->fd);
    digest_destroy(it->hash);
    memory_release(it);
}

static void orphaned(struct work *work) { source_destroy(container_of(work, struct source, work)); }

static void run(struct work *work) {
    struct source *it = container_of(work, struct source, work);
    it->err = 0;
    it->more = false;
    it->step(it);
}

static struct source *source_create(const char *path) {
    size_t bytes = strlen(path) + 1;
    struct source *it = memory_allocate(sizeof *it + bytes);
    if (!it)
        return NULL;
    *it = (struct source){.work = {.run = run, .orphaned = orphaned}, .fd = -1};
    memcpy(it->path, path, bytes);
    it->hash = digest_create();
    if (it->hash)
        return it;
    source_destroy(it);
    return NULL;
}

static int source_do(struct source **it, void (*step)(struct source *it), ac_time deadline) {
    do {
        (*it)->step = step;
        int err = work_do_with_files(&(*it)->work, deadline);
        if (!work_is_callers(err))
            *it = NULL;
        if (err)
            return err;
    } while (!(*it)->err && (*it)->more);
    return (*it)->err;
}

static void source_open(struct source *it) {
    int fd = sys_file_open_as(it->path, SYS_FILE_READ, 0, &it->facts);
    it->fd = fd < 0 ? -1 : fd;
    it->err = fd < 0 ? fd : it->facts.sort == SYS_FILE_REGULAR ? 0 : -ENOTSUP;
}

static void source_hash(struct source *it) {
    for (int i = 0; i < CHUNKS_A_STEP && it->at < it->facts.bytes; i++) {
        uint64_t left = it->facts.bytes - it->at;
        size_t count = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        it->err = sys_file_read_at(it->fd, it->at, it->chunk, count);
        if (!it->err)
            it->err = digest_add(it->hash, it->chunk, count);
        if (it->err)
            break;
        it->at += count;
    }
    it->more = it->at < it->facts.bytes;
    if (!it->err && !it->more)
        it->err = digest_end(it->hash, it->digest);
    if (it->err == -ENODATA) // it became shorter
        it->err = -EBADMSG;
}

static void source_read(struct source *it) {
    uint64_t left = it->facts.bytes - it->at;
    size_t count = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
    it->err = sys_file_read_at(it->fd, it->at, it->chunk, count);
    it->count = it->err ? 0 : count;
    if (it->err == -ENODATA)
        it->err = -EBADMSG;
}

// ---- talking with the receiver ----

static int out_begin(struct outgoing *it, struct remote *remote, uint64_t peer, ac_time deadline) {
    struct transfers *transfers = transfers_need(remote);
    if (!transfers)
        return -ENOMEM;
    *it = (struct outgoing){
        .remote = remote, .peer = peer, .number = ++remote->number, .deadline = deadline};
    return map_put_id(&transfers->outgoing, it->number, it);
}

// The receiver is told that nothing more comes, if he waits for it.
static void out_end(struct outgoing *it, bool asked) {
    map_take_id(&it->remote->transfers->outgoing, it->number);
    if (asked && !it->done)
        (void)transfer_frame(it->remote, it->peer, it->number, TRANSFER_LEAVE, 0, ac_nil, AC_NOW);
}

static int out_send(struct outgoing *it, enum transfer_verb verb, int64_t argument,
                    ac_value value) {
    // A frame to ourselves is no wait, but the deadline holds for it, too.
    int err = coro_may_wait(coro_here(), it->deadline);
    if (err) {
        ac_drop(value);
        return err;
    }
    return transfer_frame(it->remote, it->peer, it->number, verb, argument, value, it->deadline);
}

static void out_tell(struct outgoing *it, uint64_t there, bool at_once) {
    ac_time now = ac_now();
    if (!ac_ref_is(it->told) || (!at_once && now - it->told_at < TELL_NS))
        return;
    it->told_at = now;
    it->told_of = there;
    transfer_tell(it->told, ac_list(transfer_name(it->name, strlen(it->name)), (int64_t)there,
                                    (int64_t)it->bytes));
}

// Waits for an answer. 0: there is a new one.
static int out_wait(struct outgoing *it) {
    int err = ac_event_wait(&it->changed, it->deadline);
    (void)ac_event_clear(&it->changed);
    if (!err && it->began && !it->done && it->took > it->told_of)
        out_tell(it, it->took, false);
    return err;
}

// Waits until it is done. The result.
static int out_wait_for_end(struct outgoing *it) {
    int err = 0;
    while (!err && !it->done)
        err = out_wait(it);
    return err ? err : it->result;
}

// The receiver wants it: the next piece, from the chunk, which is read anew if need be.
static int send_piece(struct outgoing *it, struct source **source) {
    struct source *file = *source;
    if (it->sent < file->at || it->sent >= file->at + file->count) {
        file->at = it->sent;
        int err = source_do(source, source_read, it->deadline);
        if (err)
            return err;
        file = *source;
    }
    size_t from = (size_t)(it->sent - file->at), count = file->count - from;
    if (count > TRANSFER_PIECE_BYTES)
        count = TRANSFER_PIECE_BYTES;
    int err = out_send(it, TRANSFER_PIECE, (int64_t)it->sent,
                       ac_of_bytes(file->chunk + from, count));
    if (!err)
        it->sent += count;
    return err == -EHOSTUNREACH ? -ECONNRESET : err; // it was reached before
}

static int send_all(struct outgoing *it, struct source **source) {
    int err = 0;
    while (!err && !it->done && !it->began)
        err = out_wait(it);
    if (!err && !it->done)
        out_tell(it, it->took, true);
    it->sent = it->took;
    (*source)->count = 0;
    while (!err && !it->done && it->sent < it->bytes)
        err = it->sent - it->took < TRANSFER_WINDOW_BYTES ? send_piece(it, source) : out_wait(it);
    if (!err)
        err = out_wait_for_end(it);
    if (err >= 0)
        out_tell(it, it->bytes, true);
    return err;
}

static ac_value offer_of(const struct outgoing *it, const struct source *source, bool is_new) {
    return ac_list(transfer_name(it->name, strlen(it->name)),
                   (unsigned)(source->facts.permissions & 0777),
                   ac_of_bytes(source->digest, DIGEST_BYTES), ac_of_bool(is_new));
}

static int send_source(struct remote *remote, uint64_t peer, struct source **source,
                       const char *name, ac_time deadline,
                       const struct ac_transfer_options *options) {
    int err = source_do(source, source_open, deadline);
    if (!err)
        err = source_do(source, source_hash, deadline);
    if (err)
        return err;
    struct outgoing it;
    err = out_begin(&it, remote, peer, deadline);
    if (err)
        return err;
    it.name = name;
    it.bytes = (*source)->facts.bytes;
    it.told = options->told;
    err = out_send(&it, TRANSFER_OFFER, (int64_t)it.bytes, offer_of(&it, *source, options->is_new));
    bool asked = !err;
    if (!err)
        err = send_all(&it, source);
    out_end(&it, asked);
    return err;
}

// ---- answers ----

static void take_answer(struct outgoing *it, const struct arrival *arrival) {
    uint64_t number = (uint64_t)arrival->result;
    bool fits = arrival->verb == TRANSFER_TOOK
                    ? number >= it->took && number <= (it->began ? it->sent : it->bytes)
                    : arrival->result <= 1 && arrival->result > -4096;
    if (fits && arrival->verb == TRANSFER_TOOK) {
        it->began = true;
        it->took = number;
    } else {
        it->done = true;
        it->result = fits ? (int)arrival->result : -EPROTO;
    }
    (void)ac_event_set(&it->changed);
}

void transfer_arrived(struct remote *remote, struct arrival *arrival) {
    if (arrival->verb < TRANSFER_TOOK) {
        receive_arrived(remote, arrival);
        return;
    }
    struct outgoing *it = remote->transfers
                              ? map_get_id(&remote->transfers->outgoing, arrival->number)
                              : NULL;
    if (it && it->peer == arrival->peer && !it->done && arrival->verb <= TRANSFER_DONE)
        take_answer(it, arrival);
}

void transfer_lost(struct remote *remote, uint64_t peer) {
    if (!remote->transfers)
        return;
    receive_lost(remote, peer);
    struct outgoing *it;
    for (uint64_t cursor = 0; (it = map_next(&remote->transfers->outgoing, &cursor, NULL, NULL));) {
        if (it->peer != peer || it->done)
            continue;
        it->done = true;
        it->result = -ECONNRESET;
        (void)ac_event_set(&it->changed);
    }
}

void transfer_done(struct remote *remote) {
    if (!remote->transfers)
        return;
    receive_done(remote->transfers);
    map_done(&remote->transfers->outgoing);
    memory_release(remote->transfers);
    remote->transfers = NULL;
}

// ---- what users call, on the first loop ----

static int send_here(struct loop *loop, uint64_t peer, const char *path, const char *name,
                     ac_time deadline, const struct ac_transfer_options *options) {
    struct remote *remote = remote_need(loop);
    struct source *source = remote ? source_create(path) : NULL;
    if (!source)
        return -ENOMEM;
    int err = send_source(remote, peer, &source, name, deadline, options);
    source_destroy(source);
    return err;
}

static int delete_here(struct loop *loop, uint64_t peer, const char *name, ac_time deadline) {
    struct remote *remote = remote_need(loop);
    struct outgoing it;
    int err = remote ? out_begin(&it, remote, peer, deadline) : -ENOMEM;
    if (err)
        return err;
    err = out_send(&it, TRANSFER_DELETE, 0, transfer_name(name, strlen(name)));
    bool asked = !err;
    if (!err)
        err = out_wait_for_end(&it);
    out_end(&it, asked);
    return err;
}

// ---- on other loops: the first one does it ----

struct order {
    struct errand errand;
    uint64_t peer;
    ac_time deadline;
    struct ac_transfer_options options;
    int result;
    const char *path; // NULL: deletes
    char name[];      // behind it the path
};

static int carry_out(struct loop *loop, const struct order *it) {
    return it->path ? send_here(loop, it->peer, it->path, it->name, it->deadline, &it->options)
                    : delete_here(loop, it->peer, it->name, it->deadline);
}

static void run_order(struct errand *errand) {
    struct order *it = container_of(errand, struct order, errand);
    it->result = carry_out(loop_here, it);
}

static void forget_order(struct errand *errand) {
    memory_release(container_of(errand, struct order, errand));
}

static int order(struct loop *loop, uint64_t peer, const char *path, const char *name,
                 ac_time deadline, const struct ac_transfer_options *options) {
    size_t name_bytes = strlen(name) + 1, path_bytes = path ? strlen(path) + 1 : 0;
    struct order *it = memory_allocate_zeroed(sizeof *it + name_bytes + path_bytes);
    if (!it)
        return -ENOMEM;
    it->errand = (struct errand){.run = run_order, .orphaned = forget_order, .waits = true};
    it->peer = peer;
    it->deadline = deadline;
    it->options = *options;
    memcpy(it->name, name, name_bytes);
    if (path)
        it->path = memcpy(it->name + name_bytes, path, path_bytes);
    int err = errand_do(team_loop(loop, 0), &it->errand, deadline);
    if (err < 0 && err != -ENOMEM)
        return err; // it is forgotten there
    err = err < 0 ? err : it->result;
    memory_release(it);
    return err;
}

// ---- the calls ----

static int call(uint64_t peer, const char *path, const char *name, ac_time deadline,
                const struct ac_transfer_options *options) {
    if (!name || options->size < sizeof *options || !store_name_is_good(name, strlen(name)))
        return -EINVAL;
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    struct loop *loop = self->loop;
    if (!remote_is_at_first(loop))
        return order(loop, peer, path, name, deadline, options);
    return path ? send_here(loop, peer, path, name, deadline, options)
                : delete_here(loop, peer, name, deadline);
}

static const struct ac_transfer_options defaults = {.size = sizeof defaults};

int ac_transfer_send_with(uint64_t peer, const char *path, const char *name, ac_time deadline,
                          const struct ac_transfer_options *options) {
    return path ? call(peer, path, name, deadline, options ? options : &defaults) : -EINVAL;
}

int ac_transfer_delete(uint64_t peer, const char *name, ac_time deadline) {
    return call(peer, NULL, name, deadline, &defaults);
}
