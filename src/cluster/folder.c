// SPDX-License-Identifier: MIT
// The folder of one computation on a node, with the files that travel with it:
//
//     work/NUMBER/files/       where its workers start: each file under the name that was asked for
//     work/NUMBER/libraries/   the program's own shared libraries, for LD_LIBRARY_PATH
//
// `work` lies beside the store of contents, on the same disk, so that a file that is not to be
// changed is another name of what lies in the store and takes no room; one that may be written is a
// copy. Where the disk knows no second names each is a copy.
//
// The folder is kept by a lock of the system as long as its node lives, and removed with all that
// its workers have left in it when the computation ends. What a killed node has left the next one
// removes when it starts: whatever nobody keeps.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum { DEPTH_MAX = 64, PARTS_MAX = 32, TRIES_MAX = 3 };

static int try_make(struct folder *it, const char *work);
static void remove_beneath(int folder, int depth);

bool folder_name_is_good(const char *name) {
    size_t bytes = strlen(name);
    int parts = 0;
    if (bytes == 0 || bytes > NAME_BYTES_MAX)
        return false;
    for (;; name++) {
        size_t part = strcspn(name, "/");
        bool dots = (part == 1 && name[0] == '.') || (part == 2 && memcmp(name, "..", 2) == 0);
        if (part == 0 || part > SYS_PART_BYTES_MAX || dots || ++parts > PARTS_MAX)
            return false;
        name += part;
        if (!*name)
            return true;
    }
}

// ---- making and removing ----

int folder_make(struct folder *it, const struct contents *contents) {
    *it = (struct folder){.fd = -1, .work = -1};
    if (!contents->work[0])
        return -ENOENT;
    int err = sys_folder_make(contents->work);
    for (int tries = 0; !err && tries < TRIES_MAX; tries++) {
        err = try_make(it, contents->work);
        if (err != -EBUSY)
            break;
        err = 0;
    }
    return err ? err : it->fd < 0 ? -EBUSY : 0;
}

// -EBUSY if another node has swept it away before it was kept.
static int try_make(struct folder *it, const char *work) {
    uint64_t number = 0;
    struct sys_file_facts facts;
    int err = sys_random_bytes(&number, sizeof number);
    if (err)
        return err;
    snprintf(it->name, sizeof it->name, "%016llx", (unsigned long long)number);
    snprintf(it->path, sizeof it->path, "%s/%s", work, it->name);
    it->work = sys_beneath_open(work);
    it->fd = it->work < 0 ? it->work : sys_beneath_walk(it->work, it->name, true);
    err = it->fd < 0 ? it->fd : sys_beneath_lock(it->fd);
    if (!err && sys_beneath_look(it->work, it->name, &facts) < 0)
        err = -EBUSY;
    if (err)
        folder_remove(it);
    return err;
}

void folder_remove(struct folder *it) {
    if (it->fd >= 0) {
        remove_beneath(it->fd, 0);
        (void)sys_beneath_remove(it->work, it->name, true);
    }
    sys_fd_close(it->fd);
    sys_fd_close(it->work);
    *it = (struct folder){.fd = -1, .work = -1};
}

static void remove_one(int folder, const char *name, int depth) {
    struct sys_file_facts facts;
    if (sys_beneath_look(folder, name, &facts) < 0)
        return;
    if (facts.sort == SYS_FILE_FOLDER && depth < DEPTH_MAX) {
        int below = sys_beneath_walk(folder, name, false);
        if (below >= 0)
            remove_beneath(below, depth + 1);
        sys_fd_close(below);
    }
    (void)sys_beneath_remove(folder, name, facts.sort == SYS_FILE_FOLDER);
}

// As much as goes.
static void remove_beneath(int folder, int depth) {
    struct buffer names;
    buffer_init(&names);
    (void)sys_beneath_permit(folder, 0700);
    (void)sys_beneath_list(folder, &names);
    const char *name = (const char *)names.bytes;
    for (const char *end = name + names.length; name < end; name += strlen(name) + 1)
        remove_one(folder, name, depth);
    buffer_done(&names);
}

void folder_sweep(const struct contents *contents) {
    struct buffer names;
    int work = contents->work[0] ? sys_beneath_open(contents->work) : -1;
    if (work < 0)
        return;
    buffer_init(&names);
    (void)sys_beneath_list(work, &names);
    const char *name = (const char *)names.bytes;
    for (const char *end = name + names.length; name < end; name += strlen(name) + 1) {
        int fd = sys_beneath_walk(work, name, false);
        if (fd >= 0 && sys_beneath_lock(fd) == 0) {
            remove_beneath(fd, 0);
            (void)sys_beneath_remove(work, name, true);
        }
        sys_fd_close(fd);
    }
    buffer_done(&names);
    sys_fd_close(work);
}

// ---- filling ----

// The folder in which the last part of the name belongs; *last is that.
static int open_parent(const struct folder *it, const char *below, const char *name,
                       const char **last) {
    char parent[NAME_BYTES_MAX + 64];
    if (!folder_name_is_good(name))
        return -EINVAL;
    const char *slash = strrchr(name, '/');
    *last = slash ? slash + 1 : name;
    snprintf(parent, sizeof parent, "%s%s%.*s", below, slash ? "/" : "",
             slash ? (int)(slash - name) : 0, name);
    return sys_beneath_walk(it->fd, parent, true);
}

static int copy(int parent, const char *name, int content, uint64_t bytes, bool writable) {
    struct sys_file_facts facts;
    int fd = sys_beneath_look(parent, name, &facts) == 0 ? -EEXIST
                                                         : sys_beneath_write(parent, name, &facts);
    int err = fd < 0 ? fd : content_copy(content, bytes, fd);
    if (!err)
        err = sys_beneath_permit(fd, writable ? 0700 : 0500);
    sys_fd_close(fd);
    return err;
}

int folder_put(struct folder *it, const char *below, const char *name, int content, uint64_t bytes,
               bool writable) {
    const char *last;
    int parent = open_parent(it, below, name, &last);
    if (parent < 0)
        return parent;
    int err = writable ? -EXDEV : sys_beneath_link(content, parent, last);
    if (err && err != -EEXIST)
        err = copy(parent, last, content, bytes, writable);
    sys_fd_close(parent);
    return err;
}
