// SPDX-License-Identifier: MIT
// The folder into which peers send files (store.c). What is done with it blocks, so it is done in
// steps, each on a helper thread, between which the coroutine of the transfer may give up.
//
//     folder/a/b            files, whole
//     folder/.asyncoro/     of this program alone, as long as it lives (a lock)
//         <64 hex digits>   the beginning of a file; the name is the SHA-256 of its name and digest
//
// A `deposit` is one file on its way in. Its steps belong to a thread from store_do until that
// returns; when that returns early, the deposit is the thread's for ever.
#ifndef REMOTE_STORE_H
#define REMOTE_STORE_H

#include "coro/coro.h"
#include "io/io.h"

#include <asyncoro/transfer.h>

enum {
    TRANSFER_NAME_BYTES_MAX = 1024,
    TRANSFER_DEPTH_MAX = 32,
    TRANSFER_PIECE_BYTES = 60 * 1024,
    TRANSFER_WINDOW_BYTES = 8 * TRANSFER_PIECE_BYTES, // on their way of one file
    TRANSFER_PIECES_MAX = 16,                         // of them at once
    STORE_PARTS_MAX = 256                             // beginnings of files
};

struct store {
    uint32_t holders; // atomic
    int folder;
    int parts; // the folder within, kept for us
    struct ac_transfer_limits limits;
    struct sys_mutex *lock; // whose turn it is to begin; on helper threads only
    ac_time counted_at;     // under the lock; 0: never
    ac_time count_ns;       // likewise: how long that took
    uint64_t counted;       // atomic: bytes in the folder, as far as they are known
    uint64_t reserved;      // atomic: bytes that are still to come
};

struct deposit {
    struct work work;
    void (*step)(struct deposit *it);
    struct store *store; // one hold
    int err;             // of the last step
    bool more;           // that step is not finished: it wants to be called again
    // What is to come.
    uint64_t bytes;
    unsigned permissions;
    uint8_t digest[DIGEST_BYTES];
    bool is_new; // nothing is to be replaced
    // What is there.
    bool there;        // a file of that content
    int old;           // the file that is compared, or -1
    int part;          // the beginning, or -1
    bool finished;     // it has its name; or it is deleted
    uint64_t at;       // bytes of it
    uint64_t hashed;   // of `old` or of `part`
    uint64_t reserved; // of this deposit in the store
    struct digest *hash;
    ac_value pieces[TRANSFER_PIECES_MAX]; // to be written
    unsigned piece_count;
    uint8_t *chunk; // to read into, or NULL
    char part_name[2 * DIGEST_BYTES + 1];
    char *leaf;     // behind the folders of the name, or the name
    char folders[]; // of the name, "" for none; behind it the leaf
};

// Whether a name is one that peers may use.
bool store_name_is_good(const char *name, size_t bytes);

// Opens a folder for files; `former` may be the same. Does not wait. NULL and *err as
// ac_transfer_accept.
struct store *store_open(const char *folder, const struct ac_transfer_limits *limits,
                         const struct store *former, int *err);
void store_drop(struct store *store);

// A deposit of a good name. NULL if there is no memory.
struct deposit *deposit_create(struct store *store, const char *name, size_t bytes);
void deposit_destroy(struct deposit *it);

// Has a thread make a step, until it needs no more. Can wait. The step's error; or that of the
// wait, and then *it is NULL and the deposit gone, if it is with a thread.
int store_do(struct deposit **it, void (*step)(struct deposit *it), const bool *give_up);

// Steps, in this order. What stands in the way; whether the same is `there`, which then has the
// permissions.
void deposit_look(struct deposit *it);
// Finds a beginning, `at` bytes of it, and a place for the rest.
void deposit_begin(struct deposit *it);
// Writes the pieces.
void deposit_write(struct deposit *it);
// Gives it its name. -EBADMSG if its content is another one.
void deposit_finish(struct deposit *it);
// Removes what has come of it.
void deposit_undo(struct deposit *it);
// Instead of all these: deletes the file of that name.
void deposit_delete(struct deposit *it);

#endif
