// SPDX-License-Identifier: MIT
// The folder of one computation on a node, with the files that travel with it:
//
//     work/NUMBER/files/       where its workers start and may write: each file under the name that
//                              was asked for
//     work/NUMBER/libraries/   the program's own shared libraries, for LD_LIBRARY_PATH
//
// `work` lies beside the store of contents, on the same disk. Where workers run as another user, a
// file that is not to be changed is another name of what lies in the store and takes no room. Else
// each is a copy, which takes none where the disk can share blocks: its owner could change the mode
// of another name, and then what other computations run.
//
// The folder is kept by a lock of the system as long as its node lives, and removed with all that
// its workers have left in it when the computation ends. What a killed node has left the next one
// removes when it starts: whatever nobody keeps. Where workers run as another user, `files` and
// what may be written in it are his, and all may pass through the folders above it.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum { PARTS_MAX = 32, TRIES_MAX = 3 };

// A folder that is removed on a helper thread, as it may be large.
struct removing {
    struct work work;
    struct folder folder;
};

static int try_make(struct folder *it, const char *work);
static void remove_now(struct folder *it);

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
    it->shares = contents->user != 0;
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
        remove_now(it);
    return err;
}

static void remove_now(struct folder *it) {
    if (it->fd >= 0) {
        (void)sys_beneath_clear(it->fd);
        (void)sys_beneath_remove(it->work, it->name, true);
    }
    sys_fd_close(it->fd);
    sys_fd_close(it->work);
    *it = (struct folder){.fd = -1, .work = -1};
}

static void run_removing(struct work *work) {
    remove_now(&container_of(work, struct removing, work)->folder);
}

static void removing_release(struct work *work) {
    memory_release(container_of(work, struct removing, work));
}

void folder_remove(struct folder *it) {
    struct removing *removing = it->fd < 0 ? NULL : memory_allocate(sizeof *removing);
    if (!removing) {
        remove_now(it);
        return;
    }
    *removing = (struct removing){.work = {.run = run_removing, .orphaned = removing_release},
                                  .folder = *it};
    *it = (struct folder){.fd = -1, .work = -1};
    int err = work_do_with_files(&removing->work, AC_FOREVER);
    if (err && work_is_callers(err))
        remove_now(&removing->folder);
    if (work_is_callers(err))
        memory_release(removing);
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
            (void)sys_beneath_clear(fd);
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
    int err = fd < 0 ? fd : sys_file_clone(content, fd);
    if (fd >= 0 && err)
        err = content_copy(content, bytes, fd);
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
    int err = writable || !it->shares ? -EXDEV : sys_beneath_link(content, parent, last);
    if (err && err != -EEXIST)
        err = copy(parent, last, content, bytes, writable);
    sys_fd_close(parent);
    return err;
}

// Libraries are for all to read; what is in `files` is the user's.
static int open_to(struct folder *it, int files, uint32_t user, uint32_t group) {
    int libraries = sys_beneath_walk(it->fd, "libraries", false);
    int err = sys_beneath_permit(it->work, 0711);
    if (!err)
        err = sys_beneath_permit(it->fd, 0711);
    if (!err)
        err = sys_beneath_give(files, user, group);
    if (!err && libraries >= 0)
        err = sys_beneath_give(libraries, 0, 0);
    if (!err && libraries >= 0)
        err = sys_beneath_permit(libraries, 0755);
    sys_fd_close(libraries);
    return err;
}

int folder_open_to(struct folder *it, uint32_t user, uint32_t group) {
    int files = sys_beneath_walk(it->fd, "files", true);
    if (files < 0)
        return files;
    int err = user ? open_to(it, files, user, group) : 0;
    if (!err)
        err = sys_beneath_permit(files, 0700);
    sys_fd_close(files);
    return err;
}
