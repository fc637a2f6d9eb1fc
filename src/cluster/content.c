// SPDX-License-Identifier: MIT
// A node's store of contents: what was sent to it, executables and other files, by the SHA-256 of
// the bytes.
//
// The store is a folder, `contents` in the user's cache folder, which several nodes of the user may
// have in common. A file there is named by its digest, in hexadecimal digits, and can be run and
// not be written (mode 0500). It is written under another name, "DIGEST.NUMBER", and gets its own
// when it is complete and its digest is right: it is there whole or not at all. What a node that
// was killed leaves of an upload is removed by the next one that has looked into the folder after
// STALE_NS.
//
// Whoever uses a content holds the file (a lock of the system, with others). When one is added, and
// when a node starts, those that nobody holds go, the one that was used longest ago first, until
// what is left has at most bytes_max bytes. What is larger than that is kept as long as it is used.
//
// What is found is read and compared with its digest before it is used, because the disk may have
// damaged it, or its owner changed it; but only once for each state of the file that the system
// tells apart (inode, size, time of the last change) as long as the node runs: to read a program of
// 10 MB costs 8 ms and to start it 1. Where others may write into the folder there is no store:
// each upload then lies in memory, for one computation, and the folders of computations lie in one
// of the node's own, $TMPDIR/asyncoro-node-NUMBER, which it keeps by a lock of the system; those
// that nobody keeps are removed by the next node that has no store either.
#include "cluster/cargo.h"

#include <stdio.h>

enum {
    CHUNK_BYTES = 64 << 10, // is in the cache when it is digested, and in no new pages
    SMALL_BYTES = 1 << 20,  // so much is digested at once, without a helper thread
    COMPILE_SECONDS = 120,
    TEMPORARY_TRIES = 3,
    CHECKED_MAX = 4096 // contents of which a node remembers that it has checked them
};
static const uint64_t default_bytes_max = 4ull << 30;
static const int64_t stale_ns = 60 * 1000 * 1000 * 1000ll;

// A file that is read through, to digest or to copy it.
struct reading {
    struct work work;
    int fd; // a descriptor of its own, which lives as long as this record
    int to; // likewise; -1: no copy is made
    uint64_t bytes;
    uint8_t digest[DIGEST_BYTES];
    int err;
};

static void reading_run(struct work *work);
static void reading_release(struct work *work);

// ---- reading through ----

static int read_through(int fd, uint64_t bytes, int to, uint8_t digest[DIGEST_BYTES]) {
    struct reading *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    *it = (struct reading){.work = {.run = reading_run, .orphaned = reading_release},
                           .fd = sys_fd_copy(fd),
                           .to = to < 0 ? -1 : sys_fd_copy(to),
                           .bytes = bytes};
    int err = it->fd < 0 ? it->fd : to >= 0 && it->to < 0 ? it->to : 0;
    if (!err && bytes > SMALL_BYTES) {
        err = work_do(&it->work, AC_FOREVER);
        if (!work_is_callers(err))
            return err;
    }
    // Also when no helper could be had.
    if (bytes <= SMALL_BYTES || err == -EAGAIN || err == -ENOMEM) {
        if (it->fd >= 0 && (to < 0 || it->to >= 0)) {
            err = 0;
            reading_run(&it->work);
        }
    }
    if (!err)
        err = it->err;
    memcpy(digest, it->digest, DIGEST_BYTES);
    reading_release(&it->work);
    return err;
}

int content_digest(int fd, uint64_t bytes, uint8_t digest[DIGEST_BYTES]) {
    return read_through(fd, bytes, -1, digest);
}

int content_copy(int fd, uint64_t bytes, int to) {
    uint8_t digest[DIGEST_BYTES];
    return to < 0 ? -EBADF : read_through(fd, bytes, to, digest);
}

static void reading_run(struct work *work) {
    struct reading *it = container_of(work, struct reading, work);
    struct digest *digest = digest_create();
    uint8_t *chunk = memory_allocate(CHUNK_BYTES);
    it->err = digest && chunk ? 0 : -ENOMEM;
    for (uint64_t at = 0; !it->err && at < it->bytes;) {
        size_t count = it->bytes - at < CHUNK_BYTES ? (size_t)(it->bytes - at) : CHUNK_BYTES;
        it->err = sys_file_read_at(it->fd, at, chunk, count);
        if (!it->err)
            it->err = it->to < 0 ? digest_add(digest, chunk, count)
                                 : sys_file_write_at(it->to, at, chunk, count);
        at += count;
    }
    if (!it->err)
        it->err = digest_end(digest, it->digest);
    memory_release(chunk);
    if (digest)
        digest_destroy(digest);
}

static void reading_release(struct work *work) {
    struct reading *it = container_of(work, struct reading, work);
    sys_fd_close(it->fd);
    sys_fd_close(it->to);
    memory_release(it);
}

// ---- the folder ----

static int prepare_folder(struct contents *it, const char *wanted) {
    char base[400];
    int err = 0;
    if (!wanted)
        err = sys_folder_cache(base, sizeof base);
    else if (snprintf(base, sizeof base, "%s", wanted) >= (int)sizeof base)
        err = -ENAMETOOLONG;
    if (err)
        return err;
    snprintf(it->folder, sizeof it->folder, "%s/contents", base);
    snprintf(it->work, sizeof it->work, "%s/work", base);
    err = sys_folder_make(it->folder);
    if (!err)
        err = sys_folder_make(it->work);
    // Where others may write, a file can change after it was checked, and a folder be another one.
    const char *const folders[] = {base, it->folder, it->work};
    for (size_t i = 0; i < countof(folders) && !err; i++)
        err = sys_folder_is_private(folders[i]);
    return err;
}

// ---- the folder of a node without a store ----

static const char temporary_name[] = "asyncoro-node-";

static bool is_temporary_name(const char *name) {
    unsigned long long number;
    char same[sizeof temporary_name + 16];
    if (sscanf(name, "asyncoro-node-%16llx", &number) != 1)
        return false;
    snprintf(same, sizeof same, "%s%016llx", temporary_name, number);
    return strcmp(name, same) == 0;
}

// Removes those that killed nodes of this user have left.
static void sweep_temporary(void) {
    struct buffer names;
    char path[512];
    int top = sys_beneath_open(sys_folder_temporary());
    if (top < 0)
        return;
    buffer_init(&names);
    (void)sys_beneath_list(top, &names);
    const char *name = (const char *)names.bytes;
    for (const char *end = name + names.length; name < end; name += strlen(name) + 1) {
        snprintf(path, sizeof path, "%.400s/%.64s", sys_folder_temporary(), name);
        if (!is_temporary_name(name) || sys_folder_is_private(path) < 0)
            continue;
        int fd = sys_beneath_walk(top, name, false);
        if (fd >= 0 && sys_beneath_lock(fd) == 0) {
            (void)sys_beneath_clear(fd);
            (void)sys_beneath_remove(top, name, true);
        }
        sys_fd_close(fd);
    }
    buffer_done(&names);
    sys_fd_close(top);
}

// -EBUSY if another node has swept it away before it was kept.
static int try_temporary(struct contents *it) {
    uint64_t number = 0;
    int err = sys_random_bytes(&number, sizeof number);
    snprintf(it->work, sizeof it->work, "%.400s/%s%016llx", sys_folder_temporary(), temporary_name,
             (unsigned long long)number);
    if (!err)
        err = sys_folder_make(it->work);
    if (!err)
        err = sys_folder_is_private(it->work);
    if (!err) {
        it->kept = sys_beneath_open(it->work);
        err = it->kept < 0 ? it->kept : sys_beneath_lock(it->kept);
    }
    if (!err && !sys_file_exists(it->work))
        err = -EBUSY;
    if (err) {
        sys_fd_close(it->kept);
        it->kept = -1;
        it->work[0] = 0;
    }
    return err;
}

static void make_temporary(struct contents *it) {
    sweep_temporary();
    for (int tries = 0; tries < TEMPORARY_TRIES && try_temporary(it) == -EBUSY; tries++)
        continue;
}

static void prune(const struct contents *it) {
    (void)sys_folder_prune(it->folder, it->bytes_max, sys_wall_now() - stale_ns);
}

void contents_open(struct contents *it, const char *folder, uint64_t bytes_max) {
    *it = (struct contents){.bytes_max = bytes_max ? bytes_max : default_bytes_max,
                            .compile_seconds = COMPILE_SECONDS,
                            .kept = -1};
    map_init(&it->checked);
    int err = prepare_folder(it, folder);
    if (err) {
        trace(TRACE_CLUSTER, "there is no store of contents: %s", ac_strerror(err));
        it->folder[0] = 0;
        make_temporary(it);
    } else {
        prune(it);
        folder_sweep(it);
    }
}

static void forget_checks(struct contents *it) {
    uint64_t cursor = 0;
    void *stamp;
    while ((stamp = map_next(&it->checked, &cursor, NULL, NULL)) != NULL)
        memory_release(stamp);
    map_done(&it->checked);
    map_init(&it->checked);
}

void contents_close(struct contents *it) {
    if (it->work[0] && !it->folder[0])
        (void)sys_file_remove_any(it->work);
    sys_fd_close(it->kept);
    it->kept = -1;
    forget_checks(it);
    map_done(&it->checked);
}

static void path_of(const struct contents *it, const struct content *content, char path[640]) {
    char *at = path + snprintf(path, 640, "%s/", it->folder);
    for (int i = 0; i < DIGEST_BYTES; i++, at += 2)
        snprintf(at, 3, "%02x", content->digest[i]);
}

// ---- finding ----

static bool is_checked(const struct contents *it, const struct content *content, int fd) {
    struct sys_file_stamp now, *then = map_get(&it->checked, content->digest, DIGEST_BYTES);
    sys_fd_stamp(fd, &now);
    return then && memcmp(&now, then, sizeof now) == 0;
}

// Without memory it is checked again the next time.
static void note_checked(struct contents *it, const struct content *content, int fd) {
    if (map_count(&it->checked) >= CHECKED_MAX)
        forget_checks(it);
    struct sys_file_stamp *stamp = map_get(&it->checked, content->digest, DIGEST_BYTES);
    bool is_new = !stamp;
    if (is_new)
        stamp = memory_allocate_zeroed(sizeof *stamp);
    if (!stamp)
        return;
    sys_fd_stamp(fd, stamp);
    if (is_new && map_put(&it->checked, content->digest, DIGEST_BYTES, stamp) < 0)
        memory_release(stamp);
}

// Whether the file is what its name says. It is held when this is called, so nobody removes it.
static bool is_good(struct contents *it, const struct content *content, int fd) {
    uint8_t found[DIGEST_BYTES];
    struct sys_file_stamp before, after;
    if (sys_file_bytes(fd) != (int64_t)content->bytes)
        return false;
    if (is_checked(it, content, fd))
        return true;
    sys_fd_stamp(fd, &before);
    if (content_digest(fd, content->bytes, found) != 0 ||
        !digest_equal(found, content->digest, DIGEST_BYTES))
        return false;
    sys_fd_stamp(fd, &after);
    if (memcmp(&before, &after, sizeof after) == 0)
        note_checked(it, content, fd);
    return true;
}

// Says that it is used now. To do so changes the file's stamp, which was right a moment ago.
static void touch(struct contents *it, const struct content *content, int fd) {
    bool checked = is_checked(it, content, fd);
    sys_file_touch(fd);
    if (checked)
        note_checked(it, content, fd);
}

int content_find(struct contents *it, const struct content *content, int *fd) {
    char path[640];
    *fd = -1;
    if (!it->folder[0])
        return 0;
    path_of(it, content, path);
    int found = sys_file_open(path);
    if (found < 0)
        return 0;
    // One that is being removed just now stays as long as it is open, held or not.
    (void)sys_file_hold(found, false);
    if (is_good(it, content, found)) {
        touch(it, content, found);
        *fd = found;
        return 1;
    }
    trace(TRACE_CLUSTER, "%s is damaged", path);
    sys_fd_close(found);
    return 0;
}

// ---- arriving ----

int upload_begin(struct upload *upload, struct contents *contents, const struct content *content) {
    *upload = (struct upload){.contents = contents, .content = *content, .fd = -1};
    if (content->bytes > PROGRAM_BYTES_MAX)
        return -EFBIG;
    upload->digest = digest_create();
    if (!upload->digest)
        return -ENOMEM;
    if (contents->folder[0]) {
        uint64_t number = 0;
        (void)sys_random_bytes(&number, sizeof number);
        path_of(contents, content, upload->path);
        snprintf(upload->temporary, sizeof upload->temporary, "%s.%016llx", upload->path,
                 (unsigned long long)number);
        upload->fd = sys_file_create(upload->temporary);
        if (upload->fd >= 0)
            (void)sys_file_hold(upload->fd, true);
    }
    if (upload->fd < 0) {
        upload->path[0] = upload->temporary[0] = 0;
        upload->fd = sys_memory_create("asyncoro-content", true);
    }
    int err = upload->fd < 0 ? upload->fd : 0;
    if (err)
        upload_close(upload);
    return err;
}

int upload_add(struct upload *upload, uint64_t offset, const void *piece, size_t count) {
    if (offset != upload->received || count > upload->content.bytes - upload->received)
        return -EPROTO;
    int err = sys_file_write_at(upload->fd, offset, piece, count);
    if (!err)
        err = digest_add(upload->digest, piece, count);
    if (!err)
        upload->received += count;
    return err;
}

// Opens what was written once more, for reading only: what is open for writing cannot be run.
static int reopen(struct upload *upload) {
    if (!upload->path[0]) {
        int fd = upload->fd;
        upload->fd = -1;
        return fd;
    }
    int err = sys_beneath_permit(upload->fd, 0500);
    int fd = err ? err : sys_file_open(upload->temporary);
    if (fd < 0)
        return fd;
    err = sys_file_rename(upload->temporary, upload->path);
    if (err) {
        sys_fd_close(fd);
        return err;
    }
    upload->temporary[0] = 0;
    sys_fd_close(upload->fd); // with its lock
    upload->fd = -1;
    (void)sys_file_hold(fd, false);
    note_checked(upload->contents, &upload->content, fd);
    prune(upload->contents);
    return fd;
}

int upload_end(struct upload *upload, int *fd, char problem[PROBLEM_BYTES]) {
    uint8_t digest[DIGEST_BYTES];
    if (upload->received != upload->content.bytes) {
        snprintf(problem, PROBLEM_BYTES, "the upload ended after %llu of %llu bytes",
                 (unsigned long long)upload->received, (unsigned long long)upload->content.bytes);
        return -EPROTO;
    }
    int err = digest_end(upload->digest, digest);
    if (err)
        return err;
    if (!digest_equal(digest, upload->content.digest, DIGEST_BYTES)) {
        snprintf(problem, PROBLEM_BYTES, "the upload is damaged: its SHA-256 is another one");
        return -EPROTO;
    }
    *fd = reopen(upload);
    return *fd < 0 ? *fd : 0;
}

void upload_close(struct upload *upload) {
    sys_fd_close(upload->fd);
    upload->fd = -1;
    if (upload->digest)
        digest_destroy(upload->digest);
    upload->digest = NULL;
    if (upload->temporary[0])
        (void)sys_file_remove(upload->temporary);
    upload->temporary[0] = 0;
}
