// SPDX-License-Identifier: MIT
// The folder into which peers send files, on helper threads: see store.h.
//
// A file is written to a part, in the folder of parts, and renamed to its name when its digest is
// right. Parts are found again by name and digest, so it does not matter who sends the rest. One
// that is written to is locked, which is how the others are known to be left-overs, after kill -9
// too: the oldest go when they are too old or too many.
#include "remote/store.h"

#include <stdio.h>

enum { CHUNK_BYTES = 256 << 10, CHUNKS_A_STEP = 16, FINISH_ATTEMPTS = 8 };
static const char parts_folder[] = ".asyncoro";
static const uint64_t block_bytes = 4096;           // what a small file counts
#define COUNT_NS ((ac_time)10 * 1000 * 1000 * 1000) // how long what was counted is believed
enum { COUNT_SHARE = 16 }; // a folder that is full is counted for one part of the time in so many

// ---- names ----

static bool part_is_good(const char *part, size_t bytes) {
    return bytes > 0 && bytes <= SYS_PART_BYTES_MAX && !memchr(part, 0, bytes) &&
           !(bytes == 1 && part[0] == '.') && !(bytes == 2 && part[0] == '.' && part[1] == '.');
}

bool store_name_is_good(const char *name, size_t bytes) {
    size_t first = sizeof parts_folder - 1;
    if (bytes == 0 || bytes > TRANSFER_NAME_BYTES_MAX)
        return false;
    if (bytes >= first && memcmp(name, parts_folder, first) == 0 &&
        (bytes == first || name[first] == '/'))
        return false;
    for (int depth = 0; depth <= TRANSFER_DEPTH_MAX; depth++) {
        const char *slash = memchr(name, '/', bytes);
        size_t part = slash ? (size_t)(slash - name) : bytes;
        if (!part_is_good(name, part))
            return false;
        if (!slash)
            return true;
        name += part + 1;
        bytes -= part + 1;
    }
    return false;
}

// ---- the folder ----

// Opens the folder of parts and keeps it. A descriptor or an error.
static int open_parts(int folder) {
    int parts = sys_beneath_walk(folder, parts_folder, true);
    int err = parts < 0 ? parts : sys_beneath_permit(parts, 0700);
    if (!err)
        err = sys_beneath_lock(parts);
    if (!err)
        return parts;
    sys_fd_close(parts);
    return err;
}

// The same where this program has it already.
static int share_parts(const struct store *former, int folder) {
    return former && sys_beneath_is_same(former->folder, folder) ? sys_fd_copy(former->parts)
                                                                 : -EBUSY;
}

struct store *store_open(const char *folder, const struct ac_transfer_limits *limits,
                         const struct store *former, int *err) {
    struct store *store = memory_allocate_zeroed(sizeof *store);
    *err = -ENOMEM;
    if (!store)
        return NULL;
    *store = (struct store){.holders = 1, .folder = -1, .parts = -1, .limits = *limits};
    store->lock = sys_mutex_create();
    if (store->lock)
        *err = store->folder = sys_beneath_open(folder);
    if (*err >= 0)
        *err = store->parts = open_parts(store->folder);
    if (*err == -EBUSY)
        *err = store->parts = share_parts(former, store->folder);
    if (*err >= 0)
        return store;
    store_drop(store);
    return NULL;
}

void store_drop(struct store *store) {
    if (__atomic_sub_fetch(&store->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    sys_fd_close(store->parts);
    sys_fd_close(store->folder);
    sys_mutex_destroy(store->lock);
    memory_release(store);
}

// ---- deposits ----

static void orphaned(struct work *work) {
    deposit_destroy(container_of(work, struct deposit, work));
}

static void run(struct work *work) {
    struct deposit *it = container_of(work, struct deposit, work);
    it->err = 0;
    it->more = false;
    it->step(it);
}

struct deposit *deposit_create(struct store *store, const char *name, size_t bytes) {
    struct deposit *it = memory_allocate_zeroed(sizeof *it + bytes + 2);
    if (!it)
        return NULL;
    it->work = (struct work){.run = run, .orphaned = orphaned};
    it->old = it->part = -1;
    size_t folders = bytes;
    while (folders > 0 && name[folders - 1] != '/')
        folders--;
    if (folders > 0)
        memcpy(it->folders, name, folders - 1);
    it->leaf = it->folders + folders + (folders == 0);
    memcpy(it->leaf, name + folders, bytes - folders);
    it->hash = digest_create();
    if (!it->hash) {
        memory_release(it);
        return NULL;
    }
    it->store = store;
    __atomic_add_fetch(&store->holders, 1, __ATOMIC_RELAXED);
    return it;
}

// What it has not used of the place that was kept for it.
static void give_back(struct deposit *it) {
    __atomic_sub_fetch(&it->store->reserved, it->reserved, __ATOMIC_RELAXED);
    it->reserved = 0;
}

static void drop_pieces(struct deposit *it) {
    for (unsigned i = 0; i < it->piece_count; i++)
        ac_drop(it->pieces[i]);
    it->piece_count = 0;
}

void deposit_destroy(struct deposit *it) {
    if (!it)
        return;
    give_back(it);
    drop_pieces(it);
    sys_fd_close(it->old);
    sys_fd_close(it->part);
    digest_destroy(it->hash);
    memory_release(it->chunk);
    store_drop(it->store);
    memory_release(it);
}

int store_do(struct deposit **it, void (*step)(struct deposit *it), const bool *give_up) {
    do {
        (*it)->step = step;
        int err = work_do_with_files(&(*it)->work, AC_FOREVER);
        if (!work_is_callers(err))
            *it = NULL;
        if (err)
            return err;
        drop_pieces(*it);
    } while (!(*it)->err && (*it)->more && !*give_up);
    return (*it)->err;
}

// ---- content ----

// Adds some of a file to the digest, up to `bytes` of it. `more` says that there is more.
static int hash_some(struct deposit *it, int fd, uint64_t bytes) {
    if (!it->chunk && !(it->chunk = memory_allocate(CHUNK_BYTES)))
        return -ENOMEM;
    for (int i = 0; i < CHUNKS_A_STEP && it->hashed < bytes; i++) {
        uint64_t left = bytes - it->hashed;
        size_t count = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        int err = sys_file_read_at(fd, it->hashed, it->chunk, count);
        if (!err)
            err = digest_add(it->hash, it->chunk, count);
        if (err)
            return err;
        it->hashed += count;
    }
    it->more = it->hashed < bytes;
    return 0;
}

static int hash_is_right(struct deposit *it, bool *right) {
    uint8_t found[DIGEST_BYTES];
    int err = digest_end(it->hash, found);
    *right = !err && memcmp(found, it->digest, sizeof found) == 0;
    return err;
}

// ---- what is there already ----

static int kind_error(const struct sys_file_facts *facts) {
    switch (facts->sort) {
    case SYS_FILE_REGULAR: return 0;
    case SYS_FILE_FOLDER: return -EISDIR;
    case SYS_FILE_LINK: return -ELOOP;
    default: return -EEXIST;
    }
}

// What has its name, in the folder that it will have: 0; -ENOENT; what speaks against it.
static int look_in(struct deposit *it, int folder) {
    struct sys_file_facts facts;
    int err = sys_beneath_look(folder, it->leaf, &facts);
    if (!err)
        err = kind_error(&facts);
    if (err || facts.bytes != it->bytes)
        return err ? err : it->is_new ? -EEXIST : 0;
    int fd = sys_beneath_read(folder, it->leaf, &facts);
    if (fd == -EACCES) // it cannot be compared, and may be replaced
        return it->is_new ? -EEXIST : 0;
    it->old = fd;
    return fd < 0 ? fd : 0;
}

// It is the same, but perhaps for the permissions. Those of somebody else's file are not ours to
// change, but it may be replaced.
static int permit(struct deposit *it) {
    struct sys_file_facts facts;
    int err = sys_beneath_facts(it->old, &facts);
    if (!err && facts.permissions != it->permissions)
        err = sys_beneath_permit(it->old, it->permissions);
    it->there = !err;
    return err != -EPERM ? err : it->is_new ? -EEXIST : 0;
}

static int compare(struct deposit *it) {
    bool right = false;
    int err = hash_some(it, it->old, it->bytes);
    if (err == 0 && it->more)
        return 0;
    bool shorter = err == -ENODATA; // than it was
    if (err == 0 || shorter)
        err = hash_is_right(it, &right);
    if (!err && right)
        err = permit(it);
    else if (!err && it->is_new)
        err = -EEXIST;
    sys_fd_close(it->old);
    it->old = -1;
    it->hashed = 0;
    return err;
}

void deposit_look(struct deposit *it) {
    if (it->old < 0) {
        int folder = sys_beneath_walk(it->store->folder, it->folders, false);
        it->err = folder < 0 ? folder : look_in(it, folder);
        sys_fd_close(folder);
        if (it->err == -ENOENT)
            it->err = 0;
    }
    if (!it->err && it->old >= 0)
        it->err = compare(it);
}

// ---- parts ----

static int name_part(struct deposit *it) {
    uint8_t digest[DIGEST_BYTES];
    int err = digest_add(it->hash, it->folders, strlen(it->folders) + 1);
    if (!err)
        err = digest_add(it->hash, it->leaf, strlen(it->leaf) + 1);
    if (!err)
        err = digest_add(it->hash, it->digest, sizeof it->digest);
    if (!err)
        err = digest_end(it->hash, digest);
    for (int i = 0; i < DIGEST_BYTES; i++)
        snprintf(it->part_name + (size_t)2 * i, 3, "%02x", digest[i]);
    return err;
}

// Removes a part unless it is being written to.
static void remove_part(int parts, const char *name) {
    struct sys_file_facts facts;
    int fd = sys_beneath_read(parts, name, &facts);
    if (fd < 0 || sys_beneath_lock(fd) == 0)
        (void)sys_beneath_remove(parts, name, fd == -EISDIR);
    sys_fd_close(fd);
}

// Removes parts that are too old, and the oldest if there are too many. Returns an error or 0.
static int sweep(const struct store *store) {
    struct buffer names;
    buffer_init(&names);
    int err = sys_beneath_list(store->parts, &names);
    int64_t now = sys_wall_now();
    uint32_t count = 0;
    const char *oldest = NULL;
    int64_t oldest_ns = INT64_MAX;
    for (size_t at = 0; !err && at < names.length;) {
        const char *name = (const char *)names.bytes + at;
        struct sys_file_facts facts;
        at += strlen(name) + 1;
        if (sys_beneath_look(store->parts, name, &facts) < 0)
            continue;
        count++;
        if ((double)(now - facts.modified_ns) > store->limits.keep_s * 1e9)
            remove_part(store->parts, name);
        else if (facts.modified_ns < oldest_ns) {
            oldest_ns = facts.modified_ns;
            oldest = name;
        }
    }
    if (!err && count > STORE_PARTS_MAX && oldest)
        remove_part(store->parts, oldest);
    buffer_done(&names);
    return err;
}

// What a file of these bytes counts.
static uint64_t count_of(uint64_t bytes) { return bytes > block_bytes ? bytes : block_bytes; }

// So much as a file of these bytes counts has gone.
static void uncount(struct store *store, uint64_t bytes) {
    uint64_t less = count_of(bytes);
    uint64_t counted = __atomic_load_n(&store->counted, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&store->counted, &counted,
                                        counted > less ? counted - less : 0, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        continue;
}

// Whether there is room for the rest of it, which then is kept for it. With the lock held.
static int reserve(struct deposit *it) {
    struct store *store = it->store;
    uint64_t left = it->bytes - it->at, room;
    int err = sys_beneath_free(store->folder, &room);
    if (err)
        return err;
    uint64_t kept = __atomic_load_n(&store->reserved, __ATOMIC_RELAXED);
    uint64_t least = store->limits.free_bytes_min;
    if (room < least || room - least < kept || room - least - kept < left)
        return -ENOSPC;
    it->reserved = left;
    __atomic_add_fetch(&store->reserved, left, __ATOMIC_RELAXED);
    return 0;
}

// What the file counts that it will replace.
static uint64_t replaced_bytes(const struct deposit *it) {
    struct sys_file_facts facts;
    int folder = sys_beneath_walk(it->store->folder, it->folders, false);
    int err = folder < 0 ? folder : sys_beneath_look(folder, it->leaf, &facts);
    sys_fd_close(folder);
    return err ? 0 : count_of(facts.bytes);
}

// What all that lies in the folder, or will, makes with it. With the lock held.
static uint64_t all_with(const struct deposit *it) {
    const struct store *store = it->store;
    uint64_t less = replaced_bytes(it);
    uint64_t all = __atomic_load_n(&store->counted, __ATOMIC_RELAXED) +
                   __atomic_load_n(&store->reserved, __ATOMIC_RELAXED) + count_of(it->bytes) -
                   it->at;
    return all > less ? all - less : 0;
}

// Counts anew what lies in the folder, and of its own part the bytes alone, of which all_with knows
// the rest. With the lock held.
static int count_all(const struct deposit *it) {
    struct store *store = it->store;
    uint64_t counted;
    ac_time begin = sys_clock();
    int err = sys_beneath_count(store->folder, block_bytes, &counted);
    if (err)
        return err;
    if (it->at < block_bytes && counted >= block_bytes)
        counted -= block_bytes - it->at;
    __atomic_store_n(&store->counted, counted, __ATOMIC_RELAXED);
    store->counted_at = sys_clock();
    store->count_ns = store->counted_at - begin;
    return 0;
}

// Whether what was counted may be wrong, and it is time to count again. With the lock held.
static bool is_to_be_counted(const struct deposit *it) {
    const struct store *store = it->store;
    ac_time age = sys_clock() - store->counted_at;
    if (store->counted_at == 0)
        return true;
    return age >= COUNT_SHARE * store->count_ns &&
           (age >= COUNT_NS || all_with(it) > store->limits.all_bytes_max);
}

// Whether that is too much. With the lock held. What goes by this program is known at once, and
// what others do in the folder when it is counted again: if there seems to be too much, that is
// done at once but for what it costs, for peers may offer as often as they like.
static int weigh(struct deposit *it) {
    struct store *store = it->store;
    if (store->limits.all_bytes_max == 0)
        return 0;
    int err = is_to_be_counted(it) ? count_all(it) : 0;
    if (err)
        return err;
    if (all_with(it) > store->limits.all_bytes_max)
        return -EDQUOT;
    if (it->bytes < block_bytes)
        __atomic_add_fetch(&store->counted, block_bytes - it->bytes, __ATOMIC_RELAXED);
    return 0;
}

static int open_part(struct deposit *it) {
    struct sys_file_facts facts;
    int fd = sys_beneath_write(it->store->parts, it->part_name, &facts);
    if (fd == -EACCES || fd == -ELOOP || fd == -EISDIR) { // what is not ours goes
        (void)sys_beneath_remove(it->store->parts, it->part_name, fd == -EISDIR);
        fd = sys_beneath_write(it->store->parts, it->part_name, &facts);
    }
    if (fd < 0)
        return fd;
    it->part = fd;
    it->at = facts.bytes;
    if (it->at <= it->bytes)
        return 0;
    it->at = 0;
    return sys_file_resize(fd, 0);
}

static int find_part(struct deposit *it) {
    int err = name_part(it);
    if (err)
        return err;
    sys_mutex_lock(it->store->lock);
    err = sweep(it->store);
    if (!err)
        err = open_part(it);
    if (!err)
        err = weigh(it);
    if (!err)
        err = reserve(it);
    sys_mutex_unlock(it->store->lock);
    return err;
}

void deposit_begin(struct deposit *it) {
    if (it->part < 0)
        it->err = find_part(it);
    if (!it->err && it->hashed < it->at)
        it->err = hash_some(it, it->part, it->at);
}

// ---- the rest of it ----

static int write_piece(struct deposit *it, ac_span piece) {
    int err = sys_file_write_at(it->part, it->at, piece.at, piece.bytes);
    if (!err)
        err = digest_add(it->hash, piece.at, piece.bytes);
    if (err)
        return err;
    it->at += piece.bytes;
    it->reserved -= piece.bytes;
    __atomic_sub_fetch(&it->store->reserved, piece.bytes, __ATOMIC_RELAXED);
    __atomic_add_fetch(&it->store->counted, piece.bytes, __ATOMIC_RELAXED);
    return 0;
}

void deposit_write(struct deposit *it) {
    for (unsigned i = 0; i < it->piece_count && !it->err; i++)
        it->err = write_piece(it, ac_span_of(it->pieces[i]));
}

static int give_name(struct deposit *it) {
    struct sys_file_facts facts;
    int folder = sys_beneath_walk(it->store->folder, it->folders, true);
    if (folder < 0)
        return folder;
    int err = sys_beneath_look(folder, it->leaf, &facts);
    bool replaces = !err;
    if (!err)
        err = it->is_new ? -EEXIST : kind_error(&facts);
    else if (err == -ENOENT)
        err = 0;
    if (!err)
        err = sys_beneath_rename(it->store->parts, it->part_name, folder, it->leaf, !it->is_new);
    it->finished = !err;
    if (!err && replaces)
        uncount(it->store, facts.bytes);
    if (!err && !it->store->limits.no_sync)
        (void)sys_file_sync(
            folder); // some file systems refuse it, and the file is good all the same
    sys_fd_close(folder);
    return err;
}

void deposit_finish(struct deposit *it) {
    bool right;
    it->err = hash_is_right(it, &right);
    if (!it->err && !right)
        it->err = -EBADMSG;
    if (!it->err)
        it->err = sys_beneath_permit(it->part, it->permissions);
    if (!it->err && !it->store->limits.no_sync)
        it->err = sys_file_sync(it->part);
    // The folder may be removed meanwhile with the last file in it, and is made again.
    for (int i = 0; !it->err && !it->finished && i < FINISH_ATTEMPTS; i++) {
        int err = give_name(it);
        if (err != -ENOENT || i == FINISH_ATTEMPTS - 1)
            it->err = err;
    }
}

void deposit_undo(struct deposit *it) {
    if (it->part >= 0 && !it->finished &&
        sys_beneath_remove(it->store->parts, it->part_name, false) == 0 && it->at > 0)
        uncount(it->store, it->at);
}

// ---- deleting ----

// Removes the folders of its name that are empty, the innermost first.
static void remove_folders(struct deposit *it) {
    while (it->folders[0]) {
        char *last = strrchr(it->folders, '/');
        const char *name = last ? last + 1 : it->folders;
        if (last)
            *last = 0;
        int above = sys_beneath_walk(it->store->folder, last ? it->folders : "", false);
        int err = above < 0 ? above : sys_beneath_remove(above, name, true);
        sys_fd_close(above);
        if (!last)
            it->folders[0] = 0;
        if (err)
            return;
    }
}

void deposit_delete(struct deposit *it) {
    struct sys_file_facts facts;
    int folder = sys_beneath_walk(it->store->folder, it->folders, false);
    it->err = folder < 0 ? folder : sys_beneath_look(folder, it->leaf, &facts);
    if (!it->err)
        it->err = kind_error(&facts);
    if (it->err == -EEXIST)
        it->err = -ENOTSUP;
    if (!it->err)
        it->err = sys_beneath_remove(folder, it->leaf, false);
    sys_fd_close(folder);
    it->finished = !it->err;
    if (it->finished) {
        uncount(it->store, facts.bytes);
        remove_folders(it);
    }
}
