// SPDX-License-Identifier: MIT
// Cells: see cell.h. A node that was given a folder keeps it by a lock of the system, and has its
// store and the folders of its computations in it; else these lie in the cache folder, which it
// shares with the user's other nodes.
#include "cluster/cell.h"

#include "cluster/cluster_private.h"

#include <stdio.h>

enum {
    PROCESSES_MAX = 1024, // of a worker, where nothing else was said
    VARIABLES_MAX = 64,
    FOLDER_BYTES_MAX = 640,
    TAIL_SHOWN = 280,
    CLEAR_TRIES = 100
};
#define CLEAR_PAUSE_S 0.002

// ---- the node's folder ----

static int take_folder(struct cells *cells, const char *folder) {
    int err = sys_folder_make(folder);
    if (!err)
        err = sys_folder_is_private(folder);
    if (err)
        return err;
    cells->lock = sys_beneath_open(folder);
    if (cells->lock < 0)
        return cells->lock;
    return sys_beneath_lock(cells->lock);
}

// Whether another user can get to what lies in a folder: 0 or an error.
static int open_folder(struct cells *cells, const char *folder) {
    char path[FOLDER_BYTES_MAX];
    struct sys_file_facts facts;
    size_t bytes = (size_t)snprintf(path, sizeof path, "%s", folder);
    int err = bytes < sizeof path ? sys_beneath_permit(cells->lock, 0711) : -ENAMETOOLONG;
    while (!err && (bytes = (size_t)(strrchr(path, '/') - path)) > 0) {
        path[bytes] = 0;
        int fd = sys_beneath_open(path);
        err = fd < 0 ? fd : sys_beneath_facts(fd, &facts);
        sys_fd_close(fd);
        if (!err && !(facts.permissions & 1))
            err = -EACCES;
    }
    return err;
}

static int prepare_folder(struct cells *cells, const struct node_options *options, char text[256]) {
    const char *folder = options->folder;
    bool shared = cells->sandbox.user != 0;
    if (!folder && shared) {
        snprintf(text, 256, "--user: with --folder name a place that this user can get to");
        return -EINVAL;
    }
    if (!folder)
        return 0;
    if (folder[0] != '/') {
        snprintf(text, 256, "--folder: '%.150s' does not begin with '/'", folder);
        return -EINVAL;
    }
    int err = take_folder(cells, folder);
    if (err == -EBUSY)
        snprintf(text, 256, "another node uses the folder %.150s", folder);
    else if (err)
        snprintf(text, 256, "the folder %.150s: %s", folder, ac_strerror(err));
    if (!err && shared && (err = open_folder(cells, folder)) != 0)
        snprintf(text, 256, "the user '%.60s' cannot get to the folder %.150s", options->user,
                 folder);
    return err;
}

// ---- what confines workers ----

static int choose_user(struct cells *cells, const struct node_options *options, char text[256]) {
    if (!options->user)
        return 0;
    if (sys_user_is_root() && strcmp(options->user, "root") == 0) // also where no users are listed
        return 0;
    int err = sys_user_find(options->user, &cells->sandbox.user, &cells->sandbox.group);
    if (err)
        snprintf(text, 256, "there is no user '%.100s'", options->user);
    else if (!sys_user_is_root())
        snprintf(text, 256, "--user: only root can run workers as somebody else");
    return err || sys_user_is_root() ? err : -EPERM;
}

// Paths are looked up when a worker starts: what is not there yet may come.
static int check_paths(const char *option, const char *paths, char text[256]) {
    for (const char *at = paths; at && *at; at += strcspn(at, ":"), at += *at == ':')
        if (*at != '/' && *at != ':') {
            snprintf(text, 256, "%s: '%.*s' does not begin with '/'", option,
                     (int)(strcspn(at, ":") < 150 ? strcspn(at, ":") : 150), at);
            return -EINVAL;
        }
    return 0;
}

static void add_text(struct cells *cells, const char *text) {
    size_t length = strlen(cells->text);
    snprintf(cells->text + length, sizeof cells->text - length, "%s", text);
}

int cells_open(struct cells *cells, const struct node_options *options, char text[256]) {
    bool confined = options->sandbox != SYS_SANDBOX_NONE;
    *cells = (struct cells){.lock = -1};
    cells->sandbox = (struct sys_sandbox){
        .level = options->sandbox,
        .memory_bytes_max = options->worker_memory_bytes_max,
        .processes_max = options->worker_processes_max ? options->worker_processes_max
                         : confined                    ? PROCESSES_MAX
                                                       : 0,
        .seconds_max = options->worker_seconds_max,
        .file_bytes_max = options->worker_file_bytes_max,
        .readable = options->readable,
        .writable = options->writable,
        .no_unix_sockets = options->no_unix_sockets,
        .parts = &cells->parts,
    };
    int err = choose_user(cells, options, text);
    if (!err)
        err = check_paths("--read", options->readable, text);
    if (!err)
        err = check_paths("--write", options->writable, text);
    if (!err)
        err = prepare_folder(cells, options, text);
    if (!err) {
        sys_sandbox_probe(&cells->parts, true);
        sys_sandbox_text(&cells->parts, options->sandbox, cells->text, sizeof cells->text);
        if (options->no_unix_sockets)
            add_text(cells, "; no Unix sockets");
        if (sys_user_is_root() && cells->sandbox.user == 0)
            add_text(cells, "; jobs run as root: they read what it owns, and may open it to "
                            "others");
    }
    if (!err && options->sandbox == SYS_SANDBOX_STRICT && !cells->parts.namespaces) {
        snprintf(text, 256, "--sandbox strict: this system gives us no namespaces");
        err = -ENOTSUP;
    }
    if (!err && options->no_unix_sockets && !(confined && cells->parts.filter)) {
        snprintf(text, 256, "--no-unix-sockets: %s",
                 confined ? "this system has no filters" : "not with --sandbox none");
        err = -ENOTSUP;
    }
    if (err)
        cells_close(cells);
    return err;
}

void cells_close(struct cells *cells) {
    sys_sandbox_leave(&cells->parts);
    sys_fd_close(cells->lock);
    *cells = (struct cells){.lock = -1};
}

// ---- a worker's ----

static bool passes_on(const char *variable) {
    static const char *const names[] = {"AC_",
                                        "LANG=",
                                        "LC_",
                                        "TZ=",
                                        "LD_LIBRARY_PATH=",
                                        "PKG_CONFIG_PATH=",
#ifdef SYS_SANITIZED
                                        "ASAN_OPTIONS=",
                                        "LSAN_OPTIONS=",
                                        "TSAN_OPTIONS=",
                                        "UBSAN_OPTIONS="
#endif
    };
    for (size_t i = 0; i < countof(names); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

int cell_start(struct cells *cells, struct sys_ward *ward, const struct sys_process_options *how,
               char problem[SYS_WARD_PROBLEM_BYTES]) {
    static const char libraries[] = "LD_LIBRARY_PATH=";
    char home[FOLDER_BYTES_MAX], temporary[FOLDER_BYTES_MAX];
    char *variables[VARIABLES_MAX + 4] = {(char *)"PATH=/usr/local/bin:/usr/bin:/bin", home,
                                          temporary};
    size_t count = 3;
    struct sys_process_options all = *how;
    struct sys_sandbox sandbox = cells->sandbox;
    char *const *given = how->environment ? how->environment : sys_environment();
    sandbox.folder = how->folder;
    snprintf(home, sizeof home, "HOME=%s", how->folder);
    snprintf(temporary, sizeof temporary, "TMPDIR=%s", how->folder);
    for (; *given && count < VARIABLES_MAX; given++) {
        if (passes_on(*given))
            variables[count++] = *given;
        if (strncmp(*given, libraries, sizeof libraries - 1) == 0)
            sandbox.libraries = *given + sizeof libraries - 1;
    }
    all.environment = variables;
    if (sandbox.user != 0 && !how->path)
        (void)sys_beneath_permit(how->executable, 0555);
    return sys_ward_start(ward, &all, &sandbox, problem);
}

void cell_clear(struct sys_ward *ward) {
    for (int i = 0; i < CLEAR_TRIES && sys_ward_clear(ward) == -EBUSY; i++)
        if (ac_sleep(CLEAR_PAUSE_S) < 0)
            return;
}

// ---- another program ----

// Reads what comes until nobody can write any more, or until then. 0 or an error.
static int read_all(int fd, size_t bytes_max, ac_time until, struct buffer *text) {
    struct sys_handle handle = {0};
    char bytes[4096];
    struct sys_op op = {.verb = SYS_READ, .handle = &handle, .bytes = bytes, .count = sizeof bytes};
    int64_t got;
    sys_adopt(loop_here->sys, &handle, fd, false);
    while ((got = coro_operate(&op, until)) > 0) {
        size_t room = bytes_max - text->length;
        int err = buffer_append(text, bytes, (size_t)got < room ? (size_t)got : room);
        if (err) {
            got = err;
            break;
        }
    }
    sys_close(&handle);
    return (int)got;
}

// Waits until nothing of it lives. False if somebody does not want to wait so long.
static bool wait_for_ward(const struct sys_ward *ward) {
    struct sys_handle handle = {0};
    int copy = sys_fd_copy(ward->warden.handle);
    if (copy < 0)
        return false;
    sys_adopt(loop_here->sys, &handle, copy, false);
    struct sys_op op = {.verb = SYS_WATCH, .handle = &handle};
    bool ended = coro_operate(&op, AC_FOREVER) >= 0;
    sys_close(&handle);
    return ended;
}

int cell_run(struct cells *cells, const char *const *words, const char *folder, double seconds,
             size_t bytes_max, char **said) {
    char path[FOLDER_BYTES_MAX], problem[SYS_WARD_PROBLEM_BYTES];
    struct sys_ward ward;
    struct sys_ward_end end = {.processes_limit = 0};
    struct buffer text;
    int ends[2];
    *said = NULL;
    int err = sys_program_find(words[0], sys_program_paths(), path, sizeof path);
    if (!err)
        err = sys_pipe(ends);
    if (err)
        return err;
    const struct sys_process_options how = {.path = path,
                                            .arguments = (char *const *)(uintptr_t)words,
                                            .folder = folder,
                                            .executable = -1,
                                            .input = -1,
                                            .output = ends[1],
                                            .error = ends[1],
                                            .extra = -1};
    err = cell_start(cells, &ward, &how, problem);
    sys_fd_close(ends[1]);
    if (err) {
        sys_fd_close(ends[0]);
        return err;
    }
    buffer_init(&text);
    err = read_all(ends[0], bytes_max, ac_after(seconds), &text);
    if (err)
        sys_ward_end(&ward, true);
    int later = wait_for_ward(&ward) ? sys_ward_reap(&ward, &end) : -ECANCELED;
    if (later == -ECANCELED)
        sys_ward_abandon(&ward);
    else
        cell_clear(&ward);
    err = err ? err : later;
    if (buffer_append(&text, "", 1) == 0 && (*said = memory_allocate(text.length)) != NULL)
        memcpy(*said, text.bytes, text.length);
    buffer_done(&text);
    return err ? err : end.process.by_signal ? 128 + end.process.code : end.process.code;
}

// ---- how a worker ended ----

// What the worker wrote last, in one line of plain letters.
static void add_last(const struct worker_end *end, char *text, size_t bytes) {
    size_t count = end->last_bytes;
    while (count > 0 && end->last[count - 1] == '\n')
        count--;
    size_t from = count > TAIL_SHOWN ? count - TAIL_SHOWN : 0;
    size_t length = strlen(text);
    if (count == from || bytes - length < count - from + 32)
        return;
    length += (size_t)snprintf(text + length, bytes - length, "; it wrote last: ");
    for (size_t i = from; i < count; i++) {
        unsigned char it = (unsigned char)end->last[i];
        text[length++] = it == '\n' ? '|' : it < 32 || it > 126 ? '?' : (char)it;
    }
    text[length] = 0;
}

void worker_end_text(const struct worker_end *end, char *text, size_t bytes) {
    if (end->closed || end->err) {
        snprintf(text, bytes, "%s", end->closed ? "closed" : ac_strerror(end->err));
    } else {
        sys_ward_end_text(&end->ward, text, bytes);
        size_t length = strlen(text);
        uint64_t most = end->ward.process.memory_bytes_max;
        snprintf(text + length, bytes - length, ", %llu MiB at the most",
                 (unsigned long long)((most + (1 << 20) - 1) >> 20));
    }
    if (!end->closed)
        add_last(end, text, bytes);
}
