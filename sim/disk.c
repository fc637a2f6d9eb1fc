// SPDX-License-Identifier: MIT
// The disk of simulated computers: files, for the journal of a scheduler. What was written is there
// for whoever opens the file next, however the process has ended that wrote it. One that dies while
// it writes may have written a part. That a computer which loses its power may lose what it had not
// brought to its disk is not played: a journal does not promise to outlive that.
//
// A path belongs to a computer. A file that has no name any more stays for those who have it open,
// and in fact until the run ends. It is held as long as a descriptor is open that holds it.
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLACES __attribute__((used))
#define WRAPPED(result_, name_, ...)                                                               \
    result_ __wrap_##name_(__VA_ARGS__);                                                           \
    result_ __real_##name_(__VA_ARGS__)

WRAPPED(int, sys_file_open_as, const char *path, unsigned how, unsigned permissions,
        struct sys_file_facts *facts);
WRAPPED(int, sys_file_hold, int fd, bool alone);
WRAPPED(void, sys_file_stamp, const char *path, struct sys_file_stamp *stamp);
WRAPPED(void, sys_fd_stamp, int fd, struct sys_file_stamp *stamp);
WRAPPED(int64_t, sys_file_bytes, int fd);
WRAPPED(int, sys_file_resize, int fd, uint64_t bytes);
WRAPPED(int, sys_file_rename, const char *from, const char *to);
WRAPPED(int, sys_file_remove, const char *path);
WRAPPED(int, sys_file_read_at, int fd, uint64_t offset, void *to, size_t count);
WRAPPED(int, sys_file_write_at, int fd, uint64_t offset, const void *from, size_t count);

struct file {
    struct list link; // in `files`
    uint64_t number;
    uint32_t host;
    char name[64]; // "": it has none any more
    uint8_t *bytes;
    uint64_t count, capacity;
};

static struct list files;
static uint64_t last_number;

void disk_begin(void) {
    list_init(&files);
    last_number = 0;
}

void disk_end(void) {
    for (struct list *link; (link = list_take(&files)) != NULL;) {
        struct file *it = container_of(link, struct file, link);
        free(it->bytes);
        free(it);
    }
}

static bool is_simulated(const char *path) {
    return sim.running && strncmp(path, DISK_FOLDER, strlen(DISK_FOLDER)) == 0;
}

static struct file *find(const char *path) {
    list_each (link, &files) {
        struct file *it = container_of(link, struct file, link);
        if (it->host == sim.running->host && strcmp(it->name, path) == 0)
            return it;
    }
    return NULL;
}

static struct file *of(int fd) {
    struct socket *it = net_socket(fd);
    return it->sort == SOCKET_FILE ? it->file : NULL;
}

// ---- names ----

REPLACES int __wrap_sys_file_open_as(const char *path, unsigned how, unsigned permissions,
                                     struct sys_file_facts *facts) {
    if (!is_simulated(path))
        return __real_sys_file_open_as(path, how, permissions, facts);
    process_counts(sim.running);
    struct file *it = find(path);
    if (it ? how & SYS_FILE_NEW : !(how & SYS_FILE_CREATE))
        return it ? -EEXIST : -ENOENT;
    if (!it) {
        it = calloc(1, sizeof *it);
        if (!it)
            abort();
        it->number = ++last_number;
        it->host = sim.running->host;
        snprintf(it->name, sizeof it->name, "%s", path);
        list_init(&it->link);
        list_append(&files, &it->link);
    }
    *facts = (struct sys_file_facts){
        .sort = SYS_FILE_REGULAR, .permissions = 0600, .bytes = it->count};
    return net_file(sim.running, it);
}

REPLACES int __wrap_sys_file_rename(const char *from, const char *to) {
    if (!is_simulated(from))
        return __real_sys_file_rename(from, to);
    process_counts(sim.running);
    struct file *it = find(from), *old = find(to);
    if (!it)
        return -ENOENT;
    if (old)
        old->name[0] = 0;
    snprintf(it->name, sizeof it->name, "%s", to);
    sim_note("rename", it->number, 0, 0);
    return 0;
}

REPLACES int __wrap_sys_file_remove(const char *path) {
    if (!is_simulated(path))
        return __real_sys_file_remove(path);
    process_counts(sim.running);
    struct file *it = find(path);
    if (it)
        it->name[0] = 0;
    return it ? 0 : -ENOENT;
}

static void stamp_file(const struct file *it, struct sys_file_stamp *stamp) {
    *stamp = (struct sys_file_stamp){0};
    if (it)
        *stamp = (struct sys_file_stamp){.device = 1, .inode = it->number, .bytes = it->count};
}

REPLACES void __wrap_sys_file_stamp(const char *path, struct sys_file_stamp *stamp) {
    if (is_simulated(path))
        stamp_file(find(path), stamp);
    else
        __real_sys_file_stamp(path, stamp);
}

// ---- what is open ----

REPLACES void __wrap_sys_fd_stamp(int fd, struct sys_file_stamp *stamp) {
    stamp_file(of(fd), stamp);
}

REPLACES int __wrap_sys_file_hold(int fd, bool alone) {
    sim_check(alone, "a file is held with others");
    if (net_file_is_held(of(fd)))
        return -EBUSY;
    net_socket(fd)->holds = true;
    return 0;
}

REPLACES int64_t __wrap_sys_file_bytes(int fd) { return (int64_t)of(fd)->count; }

static void make_room(struct file *it, uint64_t count) {
    if (count > it->capacity) {
        it->capacity = 2 * count;
        it->bytes = realloc(it->bytes, it->capacity);
        if (!it->bytes)
            abort();
    }
    if (count > it->count)
        memset(it->bytes + it->count, 0, count - it->count);
}

REPLACES int __wrap_sys_file_resize(int fd, uint64_t bytes) {
    struct file *it = of(fd);
    process_counts(sim.running);
    make_room(it, bytes);
    it->count = bytes;
    return 0;
}

REPLACES int __wrap_sys_file_read_at(int fd, uint64_t offset, void *to, size_t count) {
    const struct file *it = of(fd);
    if (!it) { // memory of two words
        assert(offset == 0 && count <= SIM_WORDS * sizeof(uint64_t));
        memcpy(to, net_socket(fd)->words, count);
        return 0;
    }
    if (offset + count > it->count)
        return -ENODATA;
    if (count)
        memcpy(to, it->bytes + offset, count);
    return 0;
}

REPLACES int __wrap_sys_file_write_at(int fd, uint64_t offset, const void *from, size_t count) {
    struct file *it = of(fd);
    if (!it) {
        assert(offset == 0 && count <= SIM_WORDS * sizeof(uint64_t));
        memcpy(net_socket(fd)->words, from, count);
        return 0;
    }
    size_t put = sim.running->dies_in == 1 ? (size_t)sim_below(count + 1) : count;
    make_room(it, offset + put);
    if (put)
        memcpy(it->bytes + offset, from, put);
    it->count = offset + put > it->count ? offset + put : it->count;
    sim_note("write", it->number, offset, put);
    process_counts(sim.running);
    return 0;
}
