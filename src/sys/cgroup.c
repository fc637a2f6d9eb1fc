// SPDX-License-Identifier: MIT
// Groups of processes (cgroup v2). Beneath the group in which we run, where we may make others, one
// is made for us, with one for each ward in it:
//
//      OURS/asyncoro-PID-N/            has the controllers memory and pids, where there are any;
//      kept
//                                      by a lock of the system as long as we live
//      OURS/asyncoro-PID-N/wardens/    wardens, once their wards run
//      OURS/asyncoro-PID-N/w7/         a ward, by a number
//
// Controllers can be had for others only if no process is in OURS itself, unless that is the root.
// If we are alone in it, as a service with delegation is, we move to OURS/asyncoro-PID-N.us;
// otherwise we go without. A v2 tree without controllers still kills what is in a group.
//
// If we are killed, the last of our wardens removes all of that; and what nobody keeps is emptied
// and removed by the next one of us that looks for what there is.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

#include <errno.h>

enum {
    REMOVE_ROUNDS = 50,  // until who was killed is gone, where a ward could not be started, and
    CLEAR_ROUNDS = 1000, // where a node begins or ends
    REMOVE_PAUSE_US = 2000,
    TRIES_MAX = 16
};

static int put(const char *group, const char *file, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", group, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
    close(fd);
    return err;
}

// ---- where we are ----

// The path of the group that we run in; "" if there is no v2 tree.
static void find_own(char *path, size_t bytes) {
    char mount[200] = "", line[1024], group[256] = "";
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file && fgets(line, sizeof line, file)) {
        char at[200], type[32];
        if (sscanf(line, "%*s %199s %31s", at, type) == 2 && strcmp(type, "cgroup2") == 0)
            snprintf(mount, sizeof mount, "%s", at);
    }
    if (file)
        fclose(file);
    file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file))
        (void)sscanf(line, "0::%255s", group);
    if (file)
        fclose(file);
    path[0] = 0;
    int length = snprintf(path, bytes, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
    if (!mount[0] || !group[0] || length >= (int)bytes)
        path[0] = 0;
}

static bool has_word(const char *group, const char *file, const char *word) {
    char path[400], text[256] = " ", with_spaces[32];
    snprintf(path, sizeof path, "%s/%s", group, file);
    snprintf(with_spaces, sizeof with_spaces, " %s ", word);
    FILE *it = fopen(path, "re");
    if (it && fgets(text + 1, sizeof text - 2, it)) {
        text[strcspn(text, "\n")] = 0;
        strcat(text, " ");
    }
    if (it)
        fclose(it);
    return strstr(text, with_spaces) != NULL;
}

// True if no process is there but this one.
static bool is_ours_alone(const char *group) {
    char path[400];
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    FILE *it = fopen(path, "re");
    int id, others = 0;
    while (it && fscanf(it, "%d", &id) == 1)
        others += id != getpid();
    if (it)
        fclose(it);
    return it && others == 0;
}

static bool enable(const char *group, const char *controller) {
    char text[32];
    snprintf(text, sizeof text, "+%s", controller);
    return has_word(group, "cgroup.controllers", controller) &&
           put(group, "cgroup.subtree_control", text) == 0;
}

// Has the controllers for groups beneath this one.
static void enable_both(const char *own, struct sys_sandbox_parts *parts) {
    parts->group_memory = enable(own, "memory") && enable(parts->path, "memory");
    parts->group_pids = enable(own, "pids") && enable(parts->path, "pids");
}

int group_try_remove(const char *path) {
    if (rmdir(path) == 0)
        return 0;
    int err = -errno;
    if (err == -EBUSY)
        (void)put(path, "cgroup.kill", "1");
    return err;
}

// Processes that were killed may be in it for a moment still.
static void remove_in(const char *path, int rounds) {
    for (int i = 0; i < rounds && group_try_remove(path) == -EBUSY; i++)
        usleep(REMOVE_PAUSE_US);
}

// Kills what is in it and removes it.
static void clear(const char *path) {
    DIR *all = opendir(path);
    if (!all)
        return;
    (void)put(path, "cgroup.kill", "1");
    for (struct dirent *at; (at = readdir(all));) {
        char below[600];
        snprintf(below, sizeof below, "%s/%s", path, at->d_name);
        if (at->d_type == DT_DIR && at->d_name[0] != '.')
            remove_in(below, CLEAR_ROUNDS);
    }
    closedir(all);
    remove_in(path, CLEAR_ROUNDS);
}

// Removes the groups that others of us left when they were killed.
static void sweep(const char *own) {
    DIR *all = opendir(own);
    for (struct dirent *at; all && (at = readdir(all));) {
        char path[600];
        size_t length = strlen(at->d_name);
        if (at->d_type != DT_DIR || strncmp(at->d_name, "asyncoro-", 9) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", own, at->d_name);
        if (strcmp(at->d_name + length - 3, ".us") == 0) {
            (void)rmdir(path); // if nobody is in it
            continue;
        }
        int lock = access(path, W_OK) == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
            clear(path);
        sys_fd_close(lock);
    }
    if (all)
        closedir(all);
}

// Makes our group and keeps it, unless somebody who sweeps is quicker. False if that cannot be.
static bool make_ours(const char *own, struct sys_sandbox_parts *parts) {
    for (int i = 1; i <= TRIES_MAX; i++) {
        snprintf(parts->path, sizeof parts->path, "%.180s/asyncoro-%d-%d", own, (int)getpid(), i);
        if (mkdir(parts->path, 0755) < 0) {
            if (errno != EEXIST)
                return false;
            continue;
        }
        int lock = open(parts->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0 && access(parts->path, F_OK) == 0) {
            parts->group_lock = lock;
            return true;
        }
        sys_fd_close(lock);
        (void)rmdir(parts->path);
    }
    return false;
}

// Out of the group in which we are alone, so that it can have controllers.
static void make_way(const char *own, struct sys_sandbox_parts *parts) {
    char us[300];
    snprintf(us, sizeof us, "%s.us", parts->path);
    if (mkdir(us, 0755) < 0)
        return;
    parts->group_moved = put(us, "cgroup.procs", "0") == 0;
    if (parts->group_moved)
        enable_both(own, parts);
    else
        (void)rmdir(us);
}

void group_probe(struct sys_sandbox_parts *parts) {
    char own[200], path[300];
    parts->group_lock = -1;
    find_own(own, sizeof own);
    if (!own[0])
        return;
    sweep(own);
    if (!make_ours(own, parts)) {
        parts->path[0] = 0;
        return;
    }
    snprintf(path, sizeof path, "%s/cgroup.kill", parts->path);
    parts->group = access(path, W_OK) == 0;
    enable_both(own, parts);
    bool wanted = has_word(own, "cgroup.controllers", "memory") ||
                  has_word(own, "cgroup.controllers", "pids");
    if (wanted && !parts->group_memory && !parts->group_pids && is_ours_alone(own))
        make_way(own, parts);
    snprintf(path, sizeof path, "%s/wardens", parts->path);
    if (!parts->group || mkdir(path, 0755) < 0) {
        group_leave(parts);
        parts->group = parts->group_memory = parts->group_pids = false;
    }
}

void group_leave(struct sys_sandbox_parts *parts) {
    char own[256], us[300];
    if (!parts->path[0])
        return;
    clear(parts->path);
    sys_fd_close(parts->group_lock);
    parts->group_lock = -1;
    snprintf(own, sizeof own, "%s", parts->path);
    *strrchr(own, '/') = 0;
    snprintf(us, sizeof us, "%s.us", parts->path);
    if (parts->group_moved) {
        (void)put(own, "cgroup.subtree_control", "-memory");
        (void)put(own, "cgroup.subtree_control", "-pids");
        if (put(own, "cgroup.procs", "0") == 0)
            (void)rmdir(us);
    }
    parts->path[0] = 0;
}

// ---- groups of wards ----

static int put_number(const char *group, const char *file, uint64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return put(group, file, text);
}

int group_make(const struct sys_sandbox *sandbox, char path[288]) {
    static uint32_t count; // atomic
    const struct sys_sandbox_parts *parts = sandbox->parts;
    path[0] = 0;
    if (!parts->group)
        return 0;
    snprintf(path, 288, "%s/w%u", parts->path, __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
    int err = mkdir(path, 0755) < 0 ? -errno : 0;
    if (!err && parts->group_memory && sandbox->memory_bytes_max) {
        err = put_number(path, "memory.max", sandbox->memory_bytes_max);
        (void)put(path, "memory.swap.max", "0");
        (void)put(path, "memory.oom.group", "1");
    }
    if (!err && parts->group_pids && sandbox->processes_max)
        err = put_number(path, "pids.max", sandbox->processes_max);
    if (err)
        group_remove(path);
    return err;
}

void group_remove(const char *path) { remove_in(path, REMOVE_ROUNDS); }

uint64_t group_number(const char *path, const char *file, const char *key) {
    char whole[400], line[128];
    unsigned long long number = 0;
    snprintf(whole, sizeof whole, "%s/%s", path, file);
    FILE *it = fopen(whole, "re");
    while (it && fgets(line, sizeof line, it)) {
        size_t length = key ? strlen(key) : 0;
        if (key && (strncmp(line, key, length) != 0 || line[length] != ' '))
            continue;
        (void)sscanf(line + length, "%llu", &number);
        break;
    }
    if (it)
        fclose(it);
    return number;
}
