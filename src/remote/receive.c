// SPDX-License-Identifier: MIT
// Files from peers. Each offer, and each wish to delete, has a coroutine, a `take`: it waits for
// its turn, has the steps of store.c made, and answers. One name has one take at work at a time,
// the oldest first. What comes for a take is noted in its record, and it is woken.
//
// A peer that does not keep to the protocol, or of whom nothing comes for long, ends its take. What
// has come of the file is kept when the peer is lost, leaves or is silent, or when something is
// missing here that may be there later (memory, descriptors, room on the disk), for the next one
// who offers it; it is removed when it turned out to be wrong, or cannot have its name.
#include "remote/transfer.h"

#include <asyncoro/message.h>
#include <asyncoro/sync.h>

enum { ANSWER_ATTEMPTS = 100 };

struct take {
    struct list link;
    struct remote *remote;
    struct watcher by; // the peer, and its number
    struct ac_event changed;
    struct store *store;     // one hold
    struct deposit *deposit; // NULL: not made, or gone with a thread
    bool deletes;
    bool begun;     // it has had its turn
    bool streams;   // pieces may come
    bool deposited; // a thread has the deposit
    bool over;      // it is to end: `why`
    bool silent;    // there is nobody to be told
    int why;
    uint64_t bytes;                       // of the file
    uint64_t come;                        // of these, in pieces
    uint64_t told;                        // of these, that they are written
    ac_value pieces[TRANSFER_PIECES_MAX]; // that have come and are not with the deposit
    unsigned piece_count;
    size_t name_bytes;
    char name[];
};

static ac_value run_take(ac_value argument);

// ---- takes ----

static void take_destroy(struct take *take) {
    for (unsigned i = 0; i < take->piece_count; i++)
        ac_drop(take->pieces[i]);
    if (!take->deposited)
        deposit_destroy(take->deposit);
    store_drop(take->store);
    memory_release(take);
}

static void take_wake(struct take *take) { (void)ac_event_set(&take->changed); }

static void take_end(struct take *take, int why, bool silent) {
    if (!take->over)
        take->why = why;
    take->over = true;
    take->silent |= silent;
    take_wake(take);
}

static bool same_name(const struct take *a, const struct take *b) {
    return a->name_bytes == b->name_bytes && memcmp(a->name, b->name, a->name_bytes) == 0;
}

// Whether it is its turn.
static bool may_begin(const struct take *take) {
    const struct transfers *transfers = take->remote->transfers;
    if (transfers->begun >= take->store->limits.at_once)
        return false;
    list_each (link, &transfers->takes) {
        struct take *other = container_of(link, struct take, link);
        if (other == take)
            return true;
        if (same_name(other, take))
            return false;
    }
    return false;
}

static int await_turn(struct take *take) {
    while (!take->over && !may_begin(take)) {
        (void)ac_event_clear(&take->changed);
        int err = ac_event_wait(&take->changed, AC_FOREVER);
        if (err)
            return err;
    }
    if (take->over)
        return take->why;
    take->begun = true;
    take->remote->transfers->begun++;
    return 0;
}

// Without memory for it, it is tried again for a while: somebody waits for it.
static void answer(const struct take *take, enum transfer_verb verb, int64_t argument) {
    int err, attempts = ANSWER_ATTEMPTS;
    do
        err = transfer_frame(take->remote, take->by.peer, take->by.number, verb, argument, ac_nil,
                             AC_NOW);
    while (err == -ENOMEM && attempts-- > 0 && ac_sleep(0.01) == 0);
    if (err)
        trace(TRACE_REMOTE, "a file: no answer: %s", ac_strerror(err));
    if (err == -ENOMEM)
        remote_give_up_now(take->remote, take->by.peer);
}

// ---- the coroutine ----

static int make(struct take *take, void (*step)(struct deposit *it)) {
    take->deposited = true;
    int err = store_do(&take->deposit, step, &take->over);
    take->deposited = false;
    return err ? err : take->over ? take->why : 0;
}

// Hands what has come to the deposit, and has it written. Waits until something has come.
static int write_some(struct take *take) {
    struct deposit *deposit = take->deposit;
    if (take->piece_count == 0) {
        (void)ac_event_clear(&take->changed);
        int err = ac_event_wait(&take->changed, ac_after(take->store->limits.idle_s));
        if (err == -ETIMEDOUT)
            take_end(take, -ECONNRESET, false);
        if (err || take->over)
            return take->over ? take->why : err;
    }
    memcpy(deposit->pieces, take->pieces, take->piece_count * sizeof *take->pieces);
    deposit->piece_count = take->piece_count;
    take->piece_count = 0;
    int err = make(take, deposit_write);
    if (!err && deposit->at < deposit->bytes) {
        take->told = deposit->at;
        answer(take, TRANSFER_TOOK, (int64_t)take->told);
    }
    return err;
}

static int receive_file(struct take *take) {
    int err = make(take, deposit_look);
    if (err || take->deposit->there)
        return err ? err : 1;
    err = make(take, deposit_begin);
    if (!err && take->deposit->at < take->bytes) {
        take->come = take->told = take->deposit->at;
        take->streams = true;
        answer(take, TRANSFER_TOOK, (int64_t)take->come);
    }
    while (!err && take->deposit->at < take->bytes)
        err = write_some(take);
    return err ? err : make(take, deposit_finish);
}

static void tell(const struct take *take) {
    const struct ac_transfer_limits *limits = &take->store->limits;
    if (!ac_ref_is(limits->told))
        return;
    transfer_tell(limits->told,
                  ac_list(ac_of_text(take->deletes ? "deleted" : "received"),
                          transfer_name(take->name, take->name_bytes), (int64_t)take->bytes));
}

// Its turn is over: others may begin.
static void leave(struct take *take) {
    struct transfers *transfers = take->remote->transfers;
    list_remove(&take->link);
    transfers->take_count--;
    transfers->begun -= take->begun;
    list_each (link, &transfers->takes)
        if (!container_of(link, struct take, link)->begun)
            take_wake(container_of(link, struct take, link));
}

// Whether the same may succeed later, with what has come already.
static bool may_pass(int err) {
    switch (err) {
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
    case -ENOSPC:
    case -EDQUOT:
    case -EAGAIN:
    case -EINTR:
    case -EIO:
    case -ECANCELED: return true;
    default: return false;
    }
}

// Of what had not begun nothing is kept, whatever has ended it.
static bool is_to_be_removed(const struct take *take, int err) {
    return take->deposit && err < 0 &&
           (take->deposit->at == 0 || (!take->over && !may_pass(err)));
}

static ac_value run_take(ac_value argument) {
    struct take *take = ac_pointer_of(argument);
    int result = await_turn(take);
    if (!result)
        result = take->deletes ? make(take, deposit_delete) : receive_file(take);
    if (take->deposit && take->deposit->finished) // whatever has happened meanwhile
        result = 0;
    take->streams = false;
    if (is_to_be_removed(take, result))
        (void)make(take, deposit_undo);
    if (result == 0)
        tell(take);
    if (!take->silent)
        answer(take, TRANSFER_DONE, result == -ECANCELED ? -ECONNRESET : result);
    leave(take);
    take_destroy(take);
    return ac_nil;
}

// ---- what comes ----

static void refuse(struct remote *remote, const struct watcher *by, int err) {
    if (transfer_frame(remote, by->peer, by->number, TRANSFER_DONE, err, ac_nil, AC_NOW) == -ENOMEM)
        remote_give_up_now(remote, by->peer);
}

static struct take *find(const struct transfers *transfers, const struct watcher *by) {
    list_each (link, &transfers->takes) {
        struct take *take = container_of(link, struct take, link);
        if (take->by.peer == by->peer && take->by.number == by->number)
            return take;
    }
    return NULL;
}

static uint32_t count_of(const struct transfers *transfers, uint64_t peer) {
    uint32_t count = 0;
    list_each (link, &transfers->takes)
        count += container_of(link, struct take, link)->by.peer == peer;
    return count;
}

// Makes a take of a name, which runs at its turn. Not yet what it is to do.
static int take_create(struct remote *remote, const struct watcher *by, ac_span name,
                       struct take **created) {
    struct transfers *transfers = remote->transfers;
    if (transfers->take_count >= TAKES_MAX || count_of(transfers, by->peer) >= TAKES_OF_PEER_MAX)
        return -EBUSY;
    struct take *take = memory_allocate_zeroed(sizeof *take + name.bytes);
    if (!take)
        return -ENOMEM;
    take->remote = remote;
    take->by = *by;
    take->name_bytes = name.bytes;
    memcpy(take->name, name.at, name.bytes);
    list_init(&take->link);
    take->store = transfers->store;
    __atomic_add_fetch(&take->store->holders, 1, __ATOMIC_RELAXED);
    take->deposit = deposit_create(take->store, name.at, name.bytes);
    if (!take->deposit) {
        take_destroy(take);
        return -ENOMEM;
    }
    *created = take;
    return 0;
}

static int take_start(struct take *take) {
    struct transfers *transfers = take->remote->transfers;
    static const struct ac_spawn_options options = {
        .size = sizeof options, .name = "file from a peer", .daemon = true};
    int err = 0;
    list_append(&transfers->takes, &take->link);
    transfers->take_count++;
    if (coro_create(take->remote->host, run_take, ac_of_pointer(take), &options, true, &err))
        return 0;
    list_remove(&take->link);
    transfers->take_count--;
    take_destroy(take);
    return err;
}

static int offered(struct remote *remote, const struct watcher *by, int64_t bytes, ac_value value) {
    ac_span name, digest;
    unsigned permissions;
    bool is_new;
    if (ac_unpack(value, &name, &permissions, &digest, &is_new) != 0 || bytes < 0 ||
        digest.bytes != DIGEST_BYTES || !store_name_is_good(name.at, name.bytes))
        return -EINVAL;
    if ((uint64_t)bytes > remote->transfers->store->limits.file_bytes_max)
        return -EFBIG;
    struct take *take;
    int err = take_create(remote, by, name, &take);
    if (err)
        return err;
    struct deposit *deposit = take->deposit;
    deposit->bytes = take->bytes = (uint64_t)bytes;
    deposit->permissions = permissions & 0777;
    memcpy(deposit->digest, digest.at, DIGEST_BYTES);
    deposit->is_new = is_new;
    return take_start(take);
}

static int asked_to_delete(struct remote *remote, const struct watcher *by, ac_value value) {
    ac_span name = ac_span_of(value);
    if (!name.at || !store_name_is_good(name.at, name.bytes))
        return -EINVAL;
    if (remote->transfers->store->limits.no_delete)
        return -EACCES;
    struct take *take;
    int err = take_create(remote, by, name, &take);
    if (err)
        return err;
    take->deletes = true;
    return take_start(take);
}

static void piece_came(struct take *take, int64_t offset, ac_value *value) {
    ac_span piece = ac_span_of(*value);
    bool good = take->streams && offset >= 0 && (uint64_t)offset == take->come && piece.at &&
                piece.bytes > 0 && piece.bytes <= take->bytes - take->come &&
                piece.bytes <= TRANSFER_PIECE_BYTES &&
                take->come - take->told < TRANSFER_WINDOW_BYTES &&
                take->piece_count < TRANSFER_PIECES_MAX;
    if (!good) {
        take_end(take, -EPROTO, false);
        return;
    }
    take->pieces[take->piece_count++] = *value;
    *value = ac_nil;
    take->come += piece.bytes;
    take_wake(take);
}

// Something new begins: 0, or why not.
static int begin(struct remote *remote, const struct watcher *by, const struct arrival *arrival) {
    struct transfers *transfers = transfers_need(remote);
    if (!transfers)
        return -ENOMEM;
    if (!transfers->store)
        return -EACCES;
    return arrival->verb == TRANSFER_OFFER ? offered(remote, by, arrival->result, arrival->value)
                                           : asked_to_delete(remote, by, arrival->value);
}

void receive_arrived(struct remote *remote, struct arrival *arrival) {
    struct watcher by = {arrival->peer, arrival->number};
    struct take *take = remote->transfers ? find(remote->transfers, &by) : NULL;
    if (!take && transfer_begins(arrival->verb)) {
        int err = begin(remote, &by, arrival);
        if (err)
            refuse(remote, &by, err);
    } else if (take && arrival->verb == TRANSFER_PIECE) {
        piece_came(take, arrival->result, &arrival->value);
    } else if (take && arrival->verb == TRANSFER_LEAVE) {
        take_end(take, -ECONNRESET, true);
    } else if (take) {
        take_end(take, -EPROTO, false);
    }
}

void receive_lost(struct remote *remote, uint64_t peer) {
    list_each (link, &remote->transfers->takes) {
        struct take *take = container_of(link, struct take, link);
        if (take->by.peer == peer)
            take_end(take, -ECONNRESET, true);
    }
}

void receive_done(struct transfers *transfers) {
    list_each (link, &transfers->takes)
        take_destroy(container_of(link, struct take, link));
    if (transfers->store)
        store_drop(transfers->store);
}

// ---- whether they may ----

static void break_off_all(struct transfers *transfers) {
    list_each (link, &transfers->takes)
        take_end(container_of(link, struct take, link), -EACCES, false);
}

static struct ac_transfer_limits with_defaults(const struct ac_transfer_limits *given) {
    struct ac_transfer_limits limits = *given;
    if (limits.file_bytes_max == 0)
        limits.file_bytes_max = (uint64_t)4 << 30;
    if (limits.free_bytes_min == 0)
        limits.free_bytes_min = (uint64_t)64 << 20;
    if (limits.at_once == 0)
        limits.at_once = 8;
    if (!(limits.idle_s > 0))
        limits.idle_s = 60;
    if (!(limits.keep_s > 0))
        limits.keep_s = 24.0 * 3600;
    return limits;
}

// What is under way in a folder keeps it for this program, also after others took its place.
static struct store *open_folder(const struct transfers *transfers, const char *folder,
                                 const struct ac_transfer_limits *limits, int *err) {
    struct store *store = store_open(folder, limits, transfers->store, err);
    list_each (link, &transfers->takes) {
        if (store || *err != -EBUSY)
            break;
        store = store_open(folder, limits, container_of(link, struct take, link)->store, err);
    }
    return store;
}

int ac_transfer_accept_with(const char *folder, const struct ac_transfer_limits *limits) {
    static const struct ac_transfer_limits defaults = {.size = sizeof defaults};
    limits = limits ? limits : &defaults;
    if (!folder || limits->size < sizeof *limits)
        return -EINVAL;
    int err = 0;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    if (!remote_is_at_first(loop))
        return -ENOTSUP;
    struct remote *remote = remote_need(loop);
    struct transfers *transfers = remote ? transfers_need(remote) : NULL;
    if (!transfers)
        return -ENOMEM;
    struct ac_transfer_limits all = with_defaults(limits);
    struct store *store = open_folder(transfers, folder, &all, &err);
    if (!store)
        return err;
    break_off_all(transfers);
    if (transfers->store)
        store_drop(transfers->store);
    transfers->store = store;
    return 0;
}

int ac_transfer_refuse(void) {
    struct loop *loop = loop_here;
    if (!remote_is_at_first(loop))
        return -ENOTSUP;
    struct remote *remote = loop ? remote_of(loop) : NULL;
    struct transfers *transfers = remote ? remote->transfers : NULL;
    if (!transfers || !transfers->store)
        return -ENOENT;
    break_off_all(transfers);
    store_drop(transfers->store);
    transfers->store = NULL;
    return 0;
}
