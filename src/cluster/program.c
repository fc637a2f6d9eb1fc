// SPDX-License-Identifier: MIT
// Programs as files: the digest by which they are known, and a node's cache of those that were sent
// to it.
//
// The cache is the folder `programs` in the user's cache folder. A file there is named by the
// SHA-256 of its content, in hexadecimal digits. It is written under another name and gets its own
// when it is complete and checked; its content is checked again whenever it is used, because it may
// have been changed meanwhile. The CACHE_FILES_MAX used last are kept. Where there is no such
// folder a program lies in memory, for one computation.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum {
    CACHE_FILES_MAX = 32,
    CHUNK_BYTES = 256 << 10,
    SMALL_BYTES = 1 << 20 // so much is digested at once, without a helper thread
};

struct digesting {
    struct work work;
    int fd; // a descriptor of its own, which lives as long as this record
    uint64_t bytes;
    uint8_t digest[DIGEST_BYTES];
    int err;
};

static void digest_run(struct work *work);
static void digest_release(struct work *work);

// ---- this process's own ----

int program_open_own(struct program *program) {
    char problem[PROBLEM_BYTES];
    *program = (struct program){.fd = sys_program_open()};
    if (program->fd < 0)
        return program->fd;
    int64_t bytes = sys_file_bytes(program->fd);
    int err = bytes < 0 ? (int)bytes : bytes > PROGRAM_BYTES_MAX ? -EFBIG : 0;
    program->bytes = (uint64_t)bytes;
    if (!err)
        err = elf_read(program->fd, &program->facts, problem);
    if (!err)
        err = program_digest(program->fd, program->bytes, program->digest);
    if (err)
        program_close(program);
    return err;
}

void program_close(struct program *program) {
    sys_fd_close(program->fd);
    program->fd = -1;
}

// ---- digests ----

int program_digest(int fd, uint64_t bytes, uint8_t digest[DIGEST_BYTES]) {
    struct digesting *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    *it = (struct digesting){.work = {.run = digest_run, .orphaned = digest_release},
                             .fd = sys_fd_copy(fd),
                             .bytes = bytes};
    int err = it->fd < 0 ? it->fd : 0;
    if (!err && bytes > SMALL_BYTES) {
        err = work_do(&it->work, AC_FOREVER);
        if (!work_is_callers(err))
            return err;
    }
    // Also when no helper could be had.
    if (bytes <= SMALL_BYTES || err == -EAGAIN || err == -ENOMEM) {
        err = 0;
        digest_run(&it->work);
    }
    if (!err)
        err = it->err;
    memcpy(digest, it->digest, DIGEST_BYTES);
    digest_release(&it->work);
    return err;
}

static void digest_run(struct work *work) {
    struct digesting *it = container_of(work, struct digesting, work);
    struct digest *digest = digest_create();
    uint8_t *chunk = memory_allocate(CHUNK_BYTES);
    it->err = digest && chunk ? 0 : -ENOMEM;
    for (uint64_t at = 0; !it->err && at < it->bytes;) {
        size_t count = it->bytes - at < CHUNK_BYTES ? (size_t)(it->bytes - at) : CHUNK_BYTES;
        it->err = sys_file_read_at(it->fd, at, chunk, count);
        if (!it->err)
            it->err = digest_add(digest, chunk, count);
        at += count;
    }
    if (!it->err)
        it->err = digest_end(digest, it->digest);
    memory_release(chunk);
    if (digest)
        digest_destroy(digest);
}

static void digest_release(struct work *work) {
    struct digesting *it = container_of(work, struct digesting, work);
    sys_fd_close(it->fd);
    memory_release(it);
}

// ---- the cache ----

static int cache_folder(char *path, size_t bytes) {
    static const char folder[] = "/programs";
    int err = sys_folder_cache(path, bytes - sizeof folder);
    if (err)
        return err;
    memcpy(path + strlen(path), folder, sizeof folder);
    err = sys_folder_make(path);
    // Where others may write, a file can change after it was checked: then programs stay in memory.
    return err ? err : sys_folder_is_private(path);
}

// The path of the file with this digest. 0 or an error.
static int cache_path(const uint8_t digest[DIGEST_BYTES], char *path, size_t bytes) {
    int err = cache_folder(path, bytes - 2 * DIGEST_BYTES - 2);
    if (err)
        return err;
    char *at = path + strlen(path);
    *at++ = '/';
    for (int i = 0; i < DIGEST_BYTES; i++, at += 2)
        snprintf(at, 3, "%02x", digest[i]);
    return 0;
}

int program_find(const uint8_t digest[DIGEST_BYTES], uint64_t bytes, int *fd) {
    char path[512];
    uint8_t found[DIGEST_BYTES];
    if (cache_path(digest, path, sizeof path) < 0)
        return 0;
    *fd = sys_file_open(path);
    if (*fd < 0)
        return 0;
    bool good = sys_file_bytes(*fd) == (int64_t)bytes && program_digest(*fd, bytes, found) == 0 &&
                digest_equal(found, digest, DIGEST_BYTES);
    if (good) {
        sys_file_touch(*fd);
        return 1;
    }
    sys_fd_close(*fd);
    *fd = -1;
    return 0;
}

int program_store_open(struct program_store *store, const uint8_t digest[DIGEST_BYTES],
                       uint64_t bytes) {
    *store = (struct program_store){.fd = -1, .bytes = bytes};
    memcpy(store->digest, digest, DIGEST_BYTES);
    if (bytes > PROGRAM_BYTES_MAX)
        return -EFBIG;
    if (cache_path(digest, store->path, sizeof store->path) == 0) {
        uint64_t number = 0;
        (void)sys_random_bytes(&number, sizeof number);
        snprintf(store->temporary, sizeof store->temporary, "%s.%016llx", store->path,
                 (unsigned long long)number);
        store->fd = sys_file_create(store->temporary);
    }
    if (store->fd < 0) {
        store->path[0] = store->temporary[0] = 0;
        store->fd = sys_memory_create("asyncoro-program");
    }
    return store->fd < 0 ? store->fd : 0;
}

int program_store_add(struct program_store *store, uint64_t offset, const void *piece,
                      size_t count) {
    if (offset != store->received || count > store->bytes - store->received)
        return -EPROTO;
    int err = sys_file_write_at(store->fd, offset, piece, count);
    if (!err)
        store->received += count;
    return err;
}

// Opens what was written once more, for reading only: what is open for writing cannot be run.
static int reopen(struct program_store *store) {
    if (!store->path[0]) {
        int fd = store->fd;
        store->fd = -1;
        return fd;
    }
    char folder[512];
    sys_fd_close(store->fd);
    store->fd = -1;
    int err = sys_file_rename(store->temporary, store->path);
    if (err)
        return err;
    store->temporary[0] = 0;
    if (cache_folder(folder, sizeof folder) == 0)
        (void)sys_folder_prune(folder, CACHE_FILES_MAX);
    return sys_file_open(store->path);
}

int program_store_end(struct program_store *store, int *fd, struct elf_facts *facts,
                      char problem[PROBLEM_BYTES]) {
    uint8_t digest[DIGEST_BYTES];
    if (store->received != store->bytes) {
        snprintf(problem, PROBLEM_BYTES, "the upload ended after %llu of %llu bytes",
                 (unsigned long long)store->received, (unsigned long long)store->bytes);
        return -EPROTO;
    }
    int err = program_digest(store->fd, store->bytes, digest);
    if (err)
        return err;
    if (!digest_equal(digest, store->digest, DIGEST_BYTES)) {
        snprintf(problem, PROBLEM_BYTES, "the upload is damaged: its SHA-256 is another one");
        return -EPROTO;
    }
    err = elf_read(store->fd, facts, problem);
    if (err)
        return err;
    *fd = reopen(store);
    return *fd < 0 ? *fd : 0;
}

void program_store_close(struct program_store *store) {
    sys_fd_close(store->fd);
    store->fd = -1;
    if (store->temporary[0])
        (void)sys_file_remove(store->temporary);
    store->temporary[0] = 0;
}
