// SPDX-License-Identifier: MIT
// The read-write lock: any number of readers, or one writer.
//
// The first in the queue is let in as soon as it can be, and with it those behind it as far as they
// can be in together: so a reader waits behind a writer, and readers next to one another come in at
// once. Whoever gives up what it holds, or leaves the queue, lets in those whom it kept out.
//
// A reader is known by a record of its own, so that strangers are told from owners. The records
// form a digital search tree over the ids, stirred: at each step down the next bit chooses the
// child, so it is at most 64 deep, and about log2(n). A record is made before its coroutine waits,
// since nothing may fail when it is let in.
//
// The lock is in use, and so claimed by its loop (sync.c), while somebody holds it; nobody waits
// for one that nobody holds.
//
// Who ends without a release does not touch the lock, whose memory may be gone with it: those who
// live do. The first in the queue watches one of those who hold it, and looks at the lock at the
// end of that. And whoever comes to a lock after a coroutine of the loop has ended with one held
// (loop->left_behind) first takes out those who have ended. The records stand in a list of the loop
// as well, which at its end frees those that nobody came for.
#include "coro/coro.h"

// One who holds the lock to read, or will.
struct ac_reader_ {
    uint64_t id; // of the coroutine
    struct ac_reader_ *below[2];
    struct list link; // in loop->readers
};

// A place in the queue.
struct place {
    struct waiter waiter;
    struct ac_rwlock *lock;
    struct ac_reader_ *reader;     // what it will hold the lock with; NULL: it wants to write
    struct end_watch holder_ended; // of the first in the queue alone
};

static int claim(struct ac_rwlock *lock);
static int acquire(struct ac_rwlock *lock, bool reads, ac_time deadline);
static int wait_in_queue(struct ac_rwlock *lock, struct coro *self, struct ac_reader_ *reader,
                         ac_time deadline);
static bool may_enter(const struct ac_rwlock *lock, bool reads);
static void enter(struct ac_rwlock *lock, struct coro *coro, struct ac_reader_ *reader);
static void settle(struct ac_rwlock *lock);
static void watch_holder(struct ac_rwlock *lock, struct place *place);
static void holder_has_ended(struct end_watch *watch, const struct ac_exit *exit);
static void take_out_the_dead(struct ac_rwlock *lock, const struct loop *loop);
static void reader_free(struct ac_reader_ *reader);
static bool abandon_place(struct coro *coro);
static struct ac_reader_ **reader_find(struct ac_rwlock *lock, uint64_t id);
static struct ac_reader_ *reader_take(struct ac_rwlock *lock, uint64_t id);

// coro->wait_for is the place.
static const struct wait_kind read_wait = {"lock to read", abandon_place, .until_deadline = false};
static const struct wait_kind write_wait = {"lock to write", abandon_place,
                                            .until_deadline = false};

static uint64_t id_of(const struct coro *coro) { return coro_ref(coro).id; }

int ac_rwlock_read(struct ac_rwlock *lock, ac_time deadline) {
    return acquire(lock, true, deadline);
}

int ac_rwlock_write(struct ac_rwlock *lock, ac_time deadline) {
    return acquire(lock, false, deadline);
}

int ac_rwlock_release(struct ac_rwlock *lock) {
    struct coro *self = coro_here();
    if (!self || !object_is_mine(&lock->loop_))
        return -EPERM;
    if (lock->writer_ == id_of(self)) {
        lock->writer_ = 0;
    } else {
        struct ac_reader_ *reader = reader_take(lock, id_of(self));
        if (!reader)
            return -EPERM;
        reader_free(reader);
    }
    self->held--;
    settle(lock);
    return 0;
}

// What a loop that has ended left in the lock is forgotten: the records went with it.
static int claim(struct ac_rwlock *lock) {
    int err = object_claim(&lock->loop_);
    if (likely(err == 0) || !object_take_over(&lock->loop_))
        return err;
    lock->writer_ = 0;
    lock->readers_ = NULL;
    lock->queue_ = (struct ac_queue_){0};
    return 0;
}

static int acquire(struct ac_rwlock *lock, bool reads, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_try(self, deadline);
    if (err == 0)
        err = claim(lock);
    if (err < 0)
        return err;
    if (unlikely(lock->left_behind_ != self->loop->left_behind))
        take_out_the_dead(lock, self->loop);
    uint64_t id = id_of(self);
    if (lock->writer_ == id || *reader_find(lock, id))
        return -EDEADLK;
    bool at_once = !waiter_first(&lock->queue_) && may_enter(lock, reads);
    err = at_once ? 0 : coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct ac_reader_ *reader = reads ? memory_allocate_zeroed(sizeof *reader) : NULL;
    if (reads && !reader) {
        settle(lock);
        return -ENOMEM;
    }
    if (reads)
        list_append(&self->loop->readers, &reader->link);
    if (!at_once)
        return wait_in_queue(lock, self, reader, deadline);
    enter(lock, self, reader);
    return 0;
}

static int wait_in_queue(struct ac_rwlock *lock, struct coro *self, struct ac_reader_ *reader,
                         ac_time deadline) {
    struct place place = {.waiter = {.coro = self}, .lock = lock, .reader = reader};
    place.holder_ended.ended = holder_has_ended;
    list_init(&place.holder_ended.link);
    waiter_append(&lock->queue_, &place.waiter);
    if (waiter_first(&lock->queue_) == &place.waiter)
        watch_holder(lock, &place);
    self->wait_for = &place;
    return coro_wait(self, reader ? &read_wait : &write_wait, deadline);
}

static bool may_enter(const struct ac_rwlock *lock, bool reads) {
    return lock->writer_ == 0 && (reads || !lock->readers_);
}

static void enter(struct ac_rwlock *lock, struct coro *coro, struct ac_reader_ *reader) {
    uint64_t id = id_of(coro);
    coro_holds(coro);
    if (!reader) {
        lock->writer_ = id;
        return;
    }
    reader->id = id;
    *reader_find(lock, id) = reader;
}

// Lets in whoever may enter now: the first in the queue, and the next ones as far as they may enter
// with it. Nobody waits for a lock that nobody holds.
static void settle(struct ac_rwlock *lock) {
    struct waiter *first;
    while ((first = waiter_first(&lock->queue_))) {
        struct place *place = container_of(first, struct place, waiter);
        const struct loop *loop = first->coro->loop;
        if (lock->left_behind_ != loop->left_behind)
            take_out_the_dead(lock, loop);
        if (!may_enter(lock, place->reader != NULL)) {
            watch_holder(lock, place);
            return;
        }
        coro_unwatch(&place->holder_ended);
        waiter_remove(first);
        enter(lock, first->coro, place->reader);
        waiter_grant(first);
    }
    if (may_enter(lock, false))
        object_give_up(&lock->loop_);
}

// One of those who hold it, all of whom live. As the first in the queue cannot enter, there is one.
static void watch_holder(struct ac_rwlock *lock, struct place *place) {
    uint64_t id = lock->writer_ ? lock->writer_ : lock->readers_->id;
    coro_unwatch(&place->holder_ended);
    coro_watch(coro_find(place->waiter.coro->loop, id), &place->holder_ended);
}

static void holder_has_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    settle(container_of(watch, struct place, holder_ended)->lock);
}

static bool abandon_place(struct coro *coro) {
    struct place *place = coro->wait_for;
    coro_unwatch(&place->holder_ended);
    waiter_remove(&place->waiter);
    if (place->reader)
        reader_free(place->reader);
    settle(place->lock); // a writer that goes away may have kept out readers
    return true;
}

// ---- who reads ----

// Where the reader stands, or where it would be put: then NULL is there.
static struct ac_reader_ **reader_find(struct ac_rwlock *lock, uint64_t id) {
    struct ac_reader_ **at = &lock->readers_;
    // Ids of neighbours differ in few bits in the middle; stirred, in the upper ones.
    for (uint64_t bits = id * 0x9e3779b97f4a7c15; *at && (*at)->id != id; bits <<= 1)
        at = &(*at)->below[bits >> 63];
    return at;
}

// Takes a reader out, if it is there: a leaf from below it takes its place.
static struct ac_reader_ *reader_take(struct ac_rwlock *lock, uint64_t id) {
    struct ac_reader_ **at = reader_find(lock, id);
    struct ac_reader_ *reader = *at;
    if (!reader)
        return NULL;
    struct ac_reader_ **end = at;
    while ((*end)->below[0] || (*end)->below[1])
        end = &(*end)->below[(*end)->below[0] == NULL];
    struct ac_reader_ *leaf = *end;
    *end = NULL;
    if (leaf != reader) {
        memcpy(leaf->below, reader->below, sizeof leaf->below);
        *at = leaf;
    }
    return reader;
}

static void reader_free(struct ac_reader_ *reader) {
    list_remove(&reader->link);
    memory_release(reader);
}

// Takes leaf after leaf, and puts back who lives.
static void take_out_the_dead(struct ac_rwlock *lock, const struct loop *loop) {
    lock->left_behind_ = loop->left_behind;
    if (lock->writer_ && !coro_is_alive(loop, lock->writer_))
        lock->writer_ = 0;
    struct ac_reader_ *root = lock->readers_;
    lock->readers_ = NULL;
    while (root) {
        struct ac_reader_ **leaf = &root;
        while ((*leaf)->below[0] || (*leaf)->below[1])
            leaf = &(*leaf)->below[(*leaf)->below[0] == NULL];
        struct ac_reader_ *reader = *leaf;
        *leaf = NULL;
        if (coro_is_alive(loop, reader->id))
            *reader_find(lock, reader->id) = reader;
        else
            reader_free(reader);
    }
}

void rwlock_forget(struct loop *loop) {
    struct list *link;
    while ((link = list_take(&loop->readers)))
        memory_release(container_of(link, struct ac_reader_, link));
}
