// SPDX-License-Identifier: MIT
// What is done with files by their names: one blocking call each, on a helper thread. A call that
// is given up is made all the same if the thread is at it, and what it has found is thrown away.
#include <stdlib.h>

#include "io/io.h"

#include <asyncoro/file.h>

struct call {
    struct work work;
    int (*make)(struct call *it); // the call, on a helper thread
    int result;
    unsigned permissions;
    const char *other; // another path, behind the first
    struct sys_file_facts facts;
    struct buffer names;
    char path[];
};

static void run(struct work *work) {
    struct call *it = container_of(work, struct call, work);
    it->result = it->make(it);
}

static void call_destroy(struct call *it) {
    buffer_done(&it->names);
    memory_release(it);
}

static void orphaned(struct work *work) { call_destroy(container_of(work, struct call, work)); }

static struct call *call_create(int (*make)(struct call *it), const char *path, const char *other) {
    size_t bytes = strlen(path) + 1;
    size_t other_bytes = other ? strlen(other) + 1 : 0;
    struct call *it = memory_allocate_zeroed(sizeof *it + bytes + other_bytes);
    if (!it)
        return NULL;
    it->work = (struct work){.run = run, .orphaned = orphaned};
    it->make = make;
    buffer_init(&it->names);
    memcpy(it->path, path, bytes);
    if (other) {
        memcpy(it->path + bytes, other, other_bytes);
        it->other = it->path + bytes;
    }
    return it;
}

// Has it made. NULL: it is no longer the caller's, and *err tells.
static struct call *call_make(struct call *it, ac_time deadline, int *err) {
    *err = it ? work_do_with_files(&it->work, deadline) : -ENOMEM;
    if (!it || !work_is_callers(*err))
        return NULL;
    if (!*err)
        *err = it->result;
    return it;
}

// For what only has a result.
static int make_simply(struct call *it, ac_time deadline) {
    int err;
    it = call_make(it, deadline, &err);
    if (it)
        call_destroy(it);
    return err;
}

// ---- the calls ----

static int make_look(struct call *it) { return sys_file_look(it->path, false, &it->facts); }
static int make_rename(struct call *it) { return sys_file_rename(it->path, it->other); }
static int make_remove(struct call *it) { return sys_file_remove_any(it->path); }
static int make_folder(struct call *it) { return sys_folder_make_with(it->path, it->permissions); }
static int make_list(struct call *it) { return sys_folder_list(it->path, &it->names); }

int ac_file_look(const char *path, struct ac_file_facts *facts, ac_time deadline) {
    static const enum ac_file_sort sorts[] = {[SYS_FILE_REGULAR] = AC_FILE_REGULAR,
                                              [SYS_FILE_FOLDER] = AC_FILE_FOLDER,
                                              [SYS_FILE_LINK] = AC_FILE_LINK,
                                              [SYS_FILE_PIPE] = AC_FILE_PIPE,
                                              [SYS_FILE_ELSE] = AC_FILE_OTHER};
    if (!path || !facts)
        return -EINVAL;
    int err;
    struct call *it = call_make(call_create(make_look, path, NULL), deadline, &err);
    if (!err)
        *facts = (struct ac_file_facts){.sort = sorts[it->facts.sort],
                                        .permissions = it->facts.permissions,
                                        .bytes = it->facts.bytes,
                                        .modified_ns = it->facts.modified_ns};
    if (it)
        call_destroy(it);
    return err;
}

int ac_file_rename(const char *from, const char *to, ac_time deadline) {
    if (!from || !to)
        return -EINVAL;
    return make_simply(call_create(make_rename, from, to), deadline);
}

int ac_file_remove(const char *path, ac_time deadline) {
    return path ? make_simply(call_create(make_remove, path, NULL), deadline) : -EINVAL;
}

int ac_folder_make(const char *path, unsigned permissions, ac_time deadline) {
    if (!path)
        return -EINVAL;
    struct call *it = call_create(make_folder, path, NULL);
    if (it)
        it->permissions = permissions;
    return make_simply(it, deadline);
}

// ---- lists ----

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// A list of names, which lie one after the other.
static ac_value list_of(const struct buffer *names) {
    size_t count = 0, at = 0;
    const char *all = (const char *)names->bytes;
    for (size_t i = 0; i < names->length; i++)
        count += all[i] == 0;
    const char **sorted = memory_allocate((count + 1) * sizeof *sorted);
    ac_value *items = memory_allocate((count + 1) * sizeof *items);
    ac_value list = {.kind = AC_INVALID};
    if (sorted && items) {
        for (size_t i = 0; i < count; i++, at += strlen(all + at) + 1)
            sorted[i] = all + at;
        qsort(sorted, count, sizeof *sorted, compare_names);
        for (size_t i = 0; i < count; i++) {
            items[i] = ac_of_text(sorted[i]);
            if (ac_error_of(items[i]) == -EILSEQ)
                items[i] = ac_of_bytes(sorted[i], strlen(sorted[i]));
        }
        list = ac_list_of(items, count);
    }
    memory_release(sorted);
    memory_release(items);
    return list;
}

int ac_folder_list(const char *path, ac_value *names, ac_time deadline) {
    if (!path || !names)
        return -EINVAL;
    *names = ac_nil;
    int err;
    struct call *it = call_make(call_create(make_list, path, NULL), deadline, &err);
    if (!err) {
        ac_value list = list_of(&it->names);
        err = ac_kind_of(list) == AC_INVALID ? -ENOMEM : 0;
        if (!err)
            *names = list;
    }
    if (it)
        call_destroy(it);
    return err;
}
