// SPDX-License-Identifier: MIT
// The disks of simulated computers, of which each process that receives files has one, with one
// folder, "/N" for disk N, that outlives processes; and files to be sent, "/source/N", whose bytes
// files.c knows. Computer N has disk N where its scheduler keeps a journal, "/N/journal". The
// linker puts the functions here in the place of those whose names they carry.
//
// What the oracle is to know of a disk is told where it happens (disk_watch). A file that has a
// name outside of the folder of parts is never written to, unless it is a journal, and only what is
// there is moved: else the run has failed. Nothing is reached but what lies in the folder of the
// process that asks.
//
// When the power goes, what was not synced may be lost: of the bytes of a file the last, or they
// are zeros; and either all changes of names since anything was synced, or none. A journal loses
// nothing then, as it does not promise to outlive that; who dies while it writes to one may have
// written a part.
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "disk.h"

enum { NAME_BYTES = SYS_PART_BYTES_MAX + 1, DISKS_MAX = 512, BLOCK_BYTES = 4096 };

struct entry {
    struct list link;            // in inode->entries of a folder
    struct inode *now, *durable; // NULL: nothing has that name
    char name[NAME_BYTES];
};

// What an open descriptor is of: those that were copied share it.
struct opened {
    uint32_t users;
    struct process *process;
    struct inode *inode;
    uint32_t source; // number of a file that is to be sent, if there is no inode
};

static struct {
    struct inode *roots[DISKS_MAX];
    struct opened **fds; // by descriptor - DISK_FD
    int fd_count;
} disks;

#define REPLACES __attribute__((used))
#define WRAPPED(result_, name_, ...) result_ __wrap_##name_(__VA_ARGS__)
WRAPPED(int64_t, sys_wall_now, void);
WRAPPED(int, sys_file_open_as, const char *path, unsigned how, unsigned permissions,
        struct sys_file_facts *facts);
WRAPPED(int, sys_file_hold, int fd, bool alone);
WRAPPED(void, sys_file_stamp, const char *path, struct sys_file_stamp *stamp);
WRAPPED(void, sys_fd_stamp, int fd, struct sys_file_stamp *stamp);
WRAPPED(int64_t, sys_file_bytes, int fd);
WRAPPED(int, sys_file_rename, const char *from, const char *to);
WRAPPED(int, sys_file_remove, const char *path);
WRAPPED(int, sys_file_resize, int fd, uint64_t bytes);
WRAPPED(int, sys_file_sync, int fd);
WRAPPED(int, sys_beneath_open, const char *path);
WRAPPED(int, sys_beneath_lock, int fd);
WRAPPED(int, sys_beneath_walk, int folder, const char *path, bool make);
WRAPPED(int, sys_beneath_look, int folder, const char *name, struct sys_file_facts *facts);
WRAPPED(int, sys_beneath_read, int folder, const char *name, struct sys_file_facts *facts);
WRAPPED(int, sys_beneath_write, int folder, const char *name, struct sys_file_facts *facts);
WRAPPED(int, sys_beneath_facts, int fd, struct sys_file_facts *facts);
WRAPPED(bool, sys_beneath_is_same, int a, int b);
WRAPPED(int, sys_beneath_permit, int fd, unsigned permissions);
WRAPPED(int, sys_beneath_rename, int from, const char *name, int to, const char *as, bool replace);
WRAPPED(int, sys_beneath_remove, int folder, const char *name, bool is_folder);
WRAPPED(int, sys_beneath_list, int folder, struct buffer *names);
WRAPPED(int, sys_beneath_count, int folder, uint64_t each_min, uint64_t *bytes);
WRAPPED(int, sys_beneath_free, int folder, uint64_t *bytes);

// ---- files and folders ----

static void *need(void *it) {
    if (!it)
        abort();
    return it;
}

static struct inode *inode_create(uint32_t disk, struct inode *folder, enum sys_file_sort sort,
                                  unsigned permissions) {
    struct inode *it = need(calloc(1, sizeof *it));
    *it = (struct inode){.disk = disk,
                         .folder = folder,
                         .sort = sort,
                         .permissions = permissions,
                         .modified = sim.now};
    list_init(&it->entries);
    return it;
}

static void inode_hold(struct inode *it) {
    if (it)
        it->holders++;
}

static void inode_drop(struct inode *it) {
    if (!it || --it->holders > 0)
        return;
    list_each (link, &it->entries) {
        struct entry *entry = container_of(link, struct entry, link);
        inode_drop(entry->now);
        inode_drop(entry->durable);
        free(entry);
    }
    if (it->sort != SYS_FILE_FOLDER && !it->journal)
        disk_watch.gone(it);
    free(it->bytes);
    free(it);
}

static void put(struct inode **at, struct inode *it) {
    inode_hold(it);
    inode_drop(*at);
    *at = it;
}

static struct entry *entry_of(const struct inode *folder, const char *name) {
    list_each (link, &folder->entries)
        if (strcmp(container_of(link, struct entry, link)->name, name) == 0)
            return container_of(link, struct entry, link);
    return NULL;
}

static struct inode *find(const struct inode *folder, const char *name) {
    sim_check(*name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/') &&
                  strlen(name) < NAME_BYTES,
              "somebody seeks '%s' in a folder", name);
    struct entry *entry = entry_of(folder, name);
    return entry ? entry->now : NULL;
}

static void give_name(struct inode *folder, const char *name, struct inode *it) {
    struct entry *entry = entry_of(folder, name);
    if (!entry) {
        entry = need(calloc(1, sizeof *entry));
        strcpy(entry->name, name);
        list_append(&folder->entries, &entry->link);
    }
    put(&entry->now, it);
    if (!it)
        return;
    it->folder = folder;
    strcpy(it->name, name);
}

// Whatever is on its way to the disk is there now, or is no more.
static void settle(struct inode *folder, bool keep) {
    list_each (link, &folder->entries) {
        struct entry *entry = container_of(link, struct entry, link);
        if (keep)
            put(&entry->durable, entry->now);
        else
            put(&entry->now, entry->durable);
        if (entry->now && entry->now->sort == SYS_FILE_FOLDER)
            settle(entry->now, keep);
        if (entry->now) {
            entry->now->removed = false;
            entry->now->folder = folder;
            strcpy(entry->now->name, entry->name);
            continue;
        }
        list_remove(link);
        free(entry);
    }
}

static void lose_bytes(struct inode *folder) {
    list_each (link, &folder->entries) {
        struct inode *it = container_of(link, struct entry, link)->now;
        if (it->sort == SYS_FILE_FOLDER) {
            lose_bytes(it);
        } else if (it->synced < it->length) {
            it->length = it->synced + sim_below(it->length - it->synced + 1);
            it->damaged = sim_chance(500);
            if (it->damaged)
                memset(it->bytes + it->synced, 0, it->length - it->synced);
            it->synced = it->length;
        }
    }
}

bool disk_is_public(const struct inode *it) {
    for (; it->folder; it = it->folder)
        if (strcmp(it->name, ".asyncoro") == 0)
            return false;
    return true;
}

void disk_path(const struct inode *it, char path[DISK_PATH_BYTES]) {
    if (!it->folder) {
        path[0] = 0;
        return;
    }
    disk_path(it->folder, path);
    size_t bytes = strlen(path);
    sim_check(bytes + strlen(it->name) + 2 < DISK_PATH_BYTES, "a path is too long");
    sprintf(path + bytes, "%s%s", bytes ? "/" : "", it->name);
}

void disk_each(struct inode *folder, void (*see)(struct inode *it)) {
    list_each (link, &folder->entries) {
        struct inode *it = container_of(link, struct entry, link)->now;
        if (it && it->sort == SYS_FILE_FOLDER)
            disk_each(it, see);
        else if (it)
            see(it);
    }
}

static void count(const struct inode *folder, uint64_t each_min, uint64_t *files,
                  uint64_t *folders) {
    list_each (link, &folder->entries) {
        const struct inode *it = container_of(link, struct entry, link)->now;
        if (it && it->sort == SYS_FILE_FOLDER) {
            *folders += each_min;
            count(it, each_min, files, folders);
        } else if (it) {
            *files += it->length > each_min ? it->length : each_min;
        }
    }
}

uint64_t disk_bytes(uint32_t disk, bool with_folders) {
    uint64_t files = 0, folders = 0;
    if (disks.roots[disk])
        count(disks.roots[disk], BLOCK_BYTES, &files, &folders);
    return files + (with_folders ? folders : 0);
}

static struct inode *root_of(uint32_t disk) {
    if (!disks.roots[disk])
        put(&disks.roots[disk], inode_create(disk, NULL, SYS_FILE_FOLDER, 0755));
    return disks.roots[disk];
}

struct inode *disk_root(uint32_t disk) {
    return disks.roots[disk];
}

// ---- descriptors ----

static struct opened *opened_of(int fd) {
    int at = fd - DISK_FD;
    assert(at >= 0 && at < disks.fd_count && disks.fds[at]);
    struct opened *it = disks.fds[at];
    assert(it->process == sim.running);
    return it;
}

static struct inode *inode_of(int fd) { return opened_of(fd)->inode; }

static int fd_for(struct opened *it) {
    int at = 0;
    while (at < disks.fd_count && disks.fds[at])
        at++;
    if (at == disks.fd_count) {
        disks.fds = need(realloc(disks.fds, (size_t)++disks.fd_count * sizeof *disks.fds));
        disks.fds[at] = NULL;
    }
    it->users++;
    disks.fds[at] = it;
    return DISK_FD + at;
}

static int open_inode(struct inode *inode, uint32_t source) {
    struct opened *it = need(calloc(1, sizeof *it));
    *it = (struct opened){.process = sim.running, .inode = inode, .source = source};
    inode_hold(inode);
    return fd_for(it);
}

static void close_at(int at) {
    struct opened *it = disks.fds[at];
    disks.fds[at] = NULL;
    if (--it->users > 0)
        return;
    if (it->inode && it->inode->keeper == it)
        it->inode->keeper = NULL;
    inode_drop(it->inode);
    free(it);
}

void disk_close(int fd) {
    (void)opened_of(fd);
    close_at(fd - DISK_FD);
}

int disk_copy(int fd) { return fd_for(opened_of(fd)); }

uint32_t disk_open_count(const struct process *process) {
    uint32_t count = 0;
    for (int i = 0; i < disks.fd_count; i++)
        count += disks.fds[i] && disks.fds[i]->process == process;
    return count;
}

void disk_forget(const struct process *process, bool power) {
    uint32_t disk = UINT32_MAX;
    for (int i = 0; i < disks.fd_count; i++)
        if (disks.fds[i] && disks.fds[i]->process == process) {
            if (disks.fds[i]->inode && !disks.fds[i]->inode->journal)
                disk = disks.fds[i]->inode->disk;
            close_at(i);
        }
    if (!power || disk == UINT32_MAX)
        return;
    settle(disks.roots[disk], sim_chance(500));
    lose_bytes(disks.roots[disk]);
    disk_watch.power_lost(disk);
}

void disk_end(void) {
    for (int i = 0; i < disks.fd_count; i++)
        if (disks.fds[i])
            close_at(i);
    for (size_t i = 0; i < countof(disks.roots); i++)
        inode_drop(disks.roots[i]);
    free(disks.fds);
    memset(&disks, 0, sizeof disks);
}

// Time passes for who asks the disk, on a helper thread; every third disk is slow. It may be killed
// there.
static void take_time(uint64_t bytes) {
    process_counts(sim.running);
    unsigned slow = sim.running->number % 3 == 0 ? 300 : 20;
    uint64_t us = sim_chance(slow) ? sim_below(20000) : sim_below(100);
    thread_rest((ac_time)(us * 1000 + bytes));
}

// ---- files to be sent ----

int64_t __wrap_sys_wall_now(void) { return sim.now; }

static void take_facts(const struct inode *from, struct sys_file_facts *facts) {
    *facts = (struct sys_file_facts){.sort = from->sort,
                                     .permissions = from->permissions,
                                     .bytes = from->length,
                                     .modified_ns = from->modified};
}

static int open_source(uint32_t source, struct sys_file_facts *facts) {
    *facts = (struct sys_file_facts){.sort = SYS_FILE_REGULAR,
                                     .permissions = 0644,
                                     .bytes = disk_watch.source_bytes(source),
                                     .modified_ns = sim.now};
    return open_inode(NULL, source);
}

int disk_read(int fd, uint64_t offset, void *to, size_t count) {
    take_time(count);
    struct opened *it = opened_of(fd);
    if (!it->inode)
        return disk_watch.source_read(it->source, offset, to, count);
    if (offset > it->inode->length || count > it->inode->length - offset)
        return -ENODATA;
    memcpy(to, it->inode->bytes + offset, count);
    return 0;
}

// ---- parts ----

static void write_some(struct inode *it, uint64_t offset, const uint8_t *from, size_t count) {
    if (offset + count > it->capacity) {
        it->capacity = 2 * (offset + count);
        it->bytes = need(realloc(it->bytes, it->capacity));
    }
    memcpy(it->bytes + offset, from, count);
    it->length = offset + count;
    it->modified = sim.now;
}

// In two goes, between which it may be killed.
int disk_write(int fd, uint64_t offset, const void *from, size_t count) {
    struct opened *opened = opened_of(fd);
    struct inode *it = opened->inode;
    sim_check(it->journal || !disk_is_public(it), "a file that has its name is written to");
    sim_check(it->keeper == opened, "a part is written to that is not kept");
    sim_check(offset == it->length,
              "what is there of a part is written once more: from %llu of %llu",
              (unsigned long long)offset, (unsigned long long)it->length);
    size_t first = sim_below(count + 1);
    take_time(first);
    write_some(it, offset, from, first);
    take_time(count - first);
    sim_check(offset + first == it->length, "two write to one part");
    if (!it->journal && disk_watch.fails(it->disk))
        return -EIO;
    write_some(it, offset + first, (const uint8_t *)from + first, count - first);
    if (!it->journal)
        disk_watch.wrote(it, opened);
    return 0;
}

REPLACES int __wrap_sys_file_resize(int fd, uint64_t bytes) {
    struct inode *it = inode_of(fd);
    sim_check(it->journal && bytes <= it->length, "a part is cut short, or a journal made longer");
    take_time(0);
    it->length = bytes;
    return 0;
}

REPLACES int __wrap_sys_file_sync(int fd) {
    struct inode *it = inode_of(fd);
    take_time(sim_below(10 * (uint64_t)SIM_MS));
    it->synced = it->length;
    settle(disks.roots[it->disk], true);
    return 0;
}

// ---- journals ----

// The folder that a path is in, of the disk of the computer that asks.
static struct inode *folder_of(const char *path, const char **name) {
    unsigned disk;
    int bytes = 0;
    sim_check(sscanf(path, "/%u/%n", &disk, &bytes) == 1 && bytes > 0 && disk < DISKS_MAX &&
                  disk == sim.running->host,
              "somebody asks for %s", path);
    *name = path + bytes;
    take_time(0);
    return root_of(disk);
}

static int open_journal(const char *path, unsigned how, unsigned permissions,
                        struct sys_file_facts *facts) {
    const char *name;
    struct inode *folder = folder_of(path, &name), *it = find(folder, name);
    if (it ? how & SYS_FILE_NEW : !(how & SYS_FILE_CREATE))
        return it ? -EEXIST : -ENOENT;
    if (!it) {
        it = inode_create(folder->disk, folder, SYS_FILE_REGULAR, permissions);
        it->journal = true;
        give_name(folder, name, it);
    }
    take_facts(it, facts);
    return open_inode(it, 0);
}

REPLACES int __wrap_sys_file_open_as(const char *path, unsigned how, unsigned permissions,
                                     struct sys_file_facts *facts) {
    unsigned source;
    if (how != SYS_FILE_READ || sscanf(path, "/source/%u", &source) != 1)
        return open_journal(path, how, permissions, facts);
    take_time(0);
    return open_source(source, facts);
}

REPLACES int __wrap_sys_file_rename(const char *from, const char *to) {
    const char *name, *as;
    struct inode *folder = folder_of(from, &name), *it = find(folder, name);
    struct inode *target = folder_of(to, &as);
    if (!it)
        return -ENOENT;
    give_name(target, as, it);
    give_name(folder, name, NULL);
    return 0;
}

REPLACES int __wrap_sys_file_remove(const char *path) {
    const char *name;
    struct inode *folder = folder_of(path, &name), *it = find(folder, name);
    if (it)
        give_name(folder, name, NULL);
    return it ? 0 : -ENOENT;
}

static void take_stamp(const struct inode *it, struct sys_file_stamp *found) {
    *found = (struct sys_file_stamp){0};
    if (it)
        *found = (struct sys_file_stamp){
            .device = 1, .inode = (uint64_t)(uintptr_t)it, .bytes = it->length};
}

REPLACES void __wrap_sys_file_stamp(const char *path, struct sys_file_stamp *found) {
    const char *name;
    struct inode *folder = folder_of(path, &name);
    take_stamp(find(folder, name), found);
}

REPLACES void __wrap_sys_fd_stamp(int fd, struct sys_file_stamp *found) {
    take_stamp(inode_of(fd), found);
}

REPLACES int64_t __wrap_sys_file_bytes(int fd) { return (int64_t)inode_of(fd)->length; }

// ---- beneath a folder ----

REPLACES int __wrap_sys_beneath_open(const char *path) {
    unsigned disk;
    sim_check(sscanf(path, "/%u", &disk) == 1 && disk < DISKS_MAX, "somebody opens %s", path);
    take_time(0);
    return open_inode(root_of(disk), 0);
}

REPLACES int __wrap_sys_beneath_lock(int fd) {
    struct opened *it = opened_of(fd);
    if (it->inode->keeper && it->inode->keeper != it)
        return -EBUSY;
    it->inode->keeper = it;
    return 0;
}

REPLACES int __wrap_sys_file_hold(int fd, bool alone) {
    sim_check(alone, "a file is held with others");
    return __wrap_sys_beneath_lock(fd);
}

REPLACES int __wrap_sys_beneath_walk(int folder, const char *path, bool make) {
    struct inode *at = inode_of(folder);
    inode_hold(at); // it may be removed meanwhile
    char part[NAME_BYTES];
    int err = 0;
    while (!err && *path) {
        size_t bytes = strcspn(path, "/");
        take_time(0);
        snprintf(part, sizeof part, "%.*s", (int)bytes, path);
        struct inode *next = find(at, part);
        if (!next && make && at->removed) {
            err = -ENOENT;
        } else if (!next && make) {
            next = inode_create(at->disk, at, SYS_FILE_FOLDER, 0755);
            give_name(at, part, next);
        }
        err = err ? err : !next ? -ENOENT : next->sort != SYS_FILE_FOLDER ? -ENOTDIR : 0;
        if (!err)
            put(&at, next);
        path += bytes + (path[bytes] == '/');
    }
    int fd = err ? err : open_inode(at, 0);
    inode_drop(at);
    return fd;
}

REPLACES int __wrap_sys_beneath_look(int folder, const char *name, struct sys_file_facts *facts) {
    take_time(0);
    struct inode *it = find(inode_of(folder), name);
    if (it)
        take_facts(it, facts);
    return it ? 0 : -ENOENT;
}

REPLACES int __wrap_sys_beneath_read(int folder, const char *name, struct sys_file_facts *facts) {
    take_time(0);
    struct inode *it = find(inode_of(folder), name);
    if (!it || it->sort == SYS_FILE_FOLDER)
        return it ? -EISDIR : -ENOENT;
    take_facts(it, facts);
    return open_inode(it, 0);
}

REPLACES int __wrap_sys_beneath_write(int folder, const char *name, struct sys_file_facts *facts) {
    take_time(0);
    struct inode *in = inode_of(folder), *it = find(in, name);
    if (it && it->sort == SYS_FILE_FOLDER)
        return -EISDIR;
    if (it && it->keeper)
        return -EBUSY;
    if (!it) {
        it = inode_create(in->disk, in, SYS_FILE_REGULAR, 0600);
        give_name(in, name, it);
        sim_check(!disk_is_public(it), "a file is made that has its name and nothing in it");
    }
    take_facts(it, facts);
    int fd = open_inode(it, 0);
    it->keeper = disks.fds[fd - DISK_FD];
    return fd;
}

REPLACES int __wrap_sys_beneath_facts(int fd, struct sys_file_facts *facts) {
    take_facts(inode_of(fd), facts);
    return 0;
}

REPLACES bool __wrap_sys_beneath_is_same(int a, int b) { return inode_of(a) == inode_of(b); }

REPLACES int __wrap_sys_beneath_permit(int fd, unsigned permissions) {
    inode_of(fd)->permissions = permissions & 0777;
    return 0;
}

REPLACES int __wrap_sys_beneath_rename(int from, const char *name, int to, const char *as,
                                       bool replace) {
    take_time(0);
    struct inode *folder = inode_of(to), *it = find(inode_of(from), name), *old = find(folder, as);
    if (!it || folder->removed)
        return -ENOENT;
    if (old && (!replace || old->sort == SYS_FILE_FOLDER))
        return replace ? -EISDIR : -EEXIST;
    give_name(inode_of(from), name, NULL);
    give_name(folder, as, it);
    disk_watch.named(it);
    return 0;
}

REPLACES int __wrap_sys_beneath_remove(int folder, const char *name, bool is_folder) {
    take_time(0);
    struct inode *in = inode_of(folder), *it = find(in, name);
    if (!it)
        return -ENOENT;
    if ((it->sort == SYS_FILE_FOLDER) != is_folder)
        return is_folder ? -ENOTDIR : -EISDIR;
    list_each (link, &it->entries)
        if (container_of(link, struct entry, link)->now)
            return -ENOTEMPTY;
    it->removed = true;
    if (!is_folder)
        disk_watch.removed(it);
    give_name(in, name, NULL);
    return 0;
}

REPLACES int __wrap_sys_beneath_list(int folder, struct buffer *names) {
    take_time(0);
    int err = 0;
    list_each (link, &inode_of(folder)->entries) {
        const struct entry *it = container_of(link, struct entry, link);
        if (it->now && !err)
            err = buffer_append(names, it->name, strlen(it->name) + 1);
    }
    return err;
}

REPLACES int __wrap_sys_beneath_count(int folder, uint64_t each_min, uint64_t *bytes) {
    take_time(0);
    uint64_t folders = 0;
    *bytes = 0;
    count(inode_of(folder), each_min, bytes, &folders);
    *bytes += folders;
    return 0;
}

REPLACES int __wrap_sys_beneath_free(int folder, uint64_t *bytes) {
    uint64_t used = disk_bytes(inode_of(folder)->disk, true);
    uint64_t room = disk_watch.capacity(inode_of(folder)->disk);
    *bytes = used < room ? room - used : 0;
    return 0;
}
