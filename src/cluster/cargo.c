// SPDX-License-Identifier: MIT
// What a computation brings with it, at the client: the files are opened and read when the
// computation is opened, and stay open, so that every node gets the same.
//
// Nodes are told of a cargo as the value
//
//     [items, variants, files, source, output]
//
//     items     [[sha-256, bytes], ...]
//     variants  [[item, needs, name, libraries], ...]   the client's own executable first; needs as
//                                              elf_to_value makes them, without what comes along
//     libraries [[item, name], ...]            of that variant
//     source    [flags, [[item, name], ...]]   nil: none
//     files     [[item, name, writable], ...]  for the folder of the computation
//     output    true                           the supplier is to be sent what workers write
//
// and want some of the items, which are sent as ["piece", item, offset, bytes], one item after the
// other from its beginning, and then ["done"]. Two files with the same content are one item.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum { LIBRARIES_MAX = 64 };

// What is gathered while a cargo is opened.
struct gathering {
    struct cargo *cargo;
    struct elf_facts facts; // of the variant that is looked at
    struct elf_facts library_facts;
    ac_value libraries[LIBRARIES_MAX]; // of the program itself
    size_t library_count;
    ac_value files[CARGO_ITEMS_MAX];
    size_t file_count;
    ac_value source[CARGO_ITEMS_MAX];
    size_t source_count;
    ac_value variants[CARGO_VARIANTS_MAX];
    size_t variant_count;
    ac_value items[CARGO_ITEMS_MAX];
};

static int complain(const char *path, int err, const char *what) {
    trace(TRACE_CLUSTER, "%s cannot be sent along: %s", path, what ? what : ac_strerror(err));
    return err;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// ---- opening ----

// Takes the descriptor. Returns the number of the item, or an error.
static int add_item(struct cargo *cargo, int fd) {
    struct cargo_item item = {.fd = fd};
    int64_t bytes = sys_file_bytes(fd);
    int err = bytes < 0 ? (int)bytes : bytes > PROGRAM_BYTES_MAX ? -EFBIG : 0;
    item.content.bytes = (uint64_t)bytes;
    if (!err)
        err = content_digest(fd, item.content.bytes, item.content.digest);
    for (uint32_t i = 0; !err && i < cargo->count; i++)
        if (digest_equal(cargo->items[i].content.digest, item.content.digest, DIGEST_BYTES)) {
            sys_fd_close(fd);
            return (int)i;
        }
    if (!err && cargo->count == CARGO_ITEMS_MAX)
        err = -E2BIG;
    if (err) {
        sys_fd_close(fd);
        return err;
    }
    cargo->items[cargo->count] = item;
    return (int)cargo->count++;
}

// Libraries that come with the system of a node, or must be those of its loader.
static bool is_of_system(const char *path) {
    static const char *const folders[] = {"/lib/", "/lib64/", "/lib32/", "/usr/lib/",
                                          "/usr/lib64/"};
    static const char *const names[] = {"ld-linux",      "libc.so",  "libm.so",
                                        "libpthread.so", "libdl.so", "librt.so"};
    for (size_t i = 0; i < countof(folders); i++)
        if (strncmp(path, folders[i], strlen(folders[i])) == 0)
            return true;
    for (size_t i = 0; i < countof(names); i++)
        if (strncmp(name_of(path), names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static int add_library(struct gathering *it, const char *path) {
    char problem[PROBLEM_BYTES] = "";
    struct sys_file_facts facts;
    int fd = sys_file_open_as(path, SYS_FILE_READ, 0, &facts);
    if (fd < 0)
        return complain(path, fd, NULL);
    int err = it->library_count == LIBRARIES_MAX ? -E2BIG
                                                 : elf_read(fd, &it->library_facts, problem);
    if (err) {
        sys_fd_close(fd);
        return complain(path, err, problem[0] ? problem : NULL);
    }
    int item = add_item(it->cargo, fd);
    if (item < 0)
        return complain(path, item, NULL);
    elf_add_needs(&it->facts, &it->library_facts);
    ac_value name = ac_of_bytes(name_of(path), strlen(name_of(path)));
    it->libraries[it->library_count++] = ac_list(item, name);
    return 0;
}

static bool comes_along(const struct gathering *it, const char *path) {
    return !is_of_system(path) && elf_needs(&it->facts, name_of(path)) && sys_file_exists(path);
}

// The libraries that the program needs, or one of them does, and that nodes cannot be expected to
// have. The system names each after one that needs it.
static int add_libraries(struct gathering *it) {
    struct buffer paths;
    buffer_init(&paths);
    int err = sys_program_libraries(&paths);
    const char *path = (const char *)paths.bytes, *end = path + paths.length;
    for (const char *at = path; !err && at < end; at += strlen(at) + 1)
        if (comes_along(it, at))
            err = add_library(it, at);
    for (const char *at = path; !err && at < end; at += strlen(at) + 1)
        if (comes_along(it, at))
            elf_provide(&it->facts, name_of(at));
    buffer_done(&paths);
    return err;
}

static int open_file(struct gathering *it, const char *path) {
    struct sys_file_facts facts;
    int fd = sys_file_open_as(path, SYS_FILE_READ, 0, &facts);
    int item = fd < 0 ? fd : add_item(it->cargo, fd);
    return item < 0 ? complain(path, item, NULL) : item;
}

// Under its path, where that is one beneath this folder, so that files find each other.
static int add_source(struct gathering *it, const char *path) {
    const char *name = folder_name_is_good(path) ? path : name_of(path);
    int item = it->source_count == CARGO_ITEMS_MAX ? complain(path, -E2BIG, NULL)
                                                   : open_file(it, path);
    if (item < 0)
        return item;
    it->source[it->source_count++] = ac_list(item, ac_of_bytes(name, strlen(name)));
    return 0;
}

static int add_file(struct gathering *it, const struct ac_computation_file *file) {
    const char *name = file->name ? file->name : name_of(file->path);
    if (!folder_name_is_good(name))
        return complain(file->path, -EINVAL, "its name there is no path beneath a folder");
    if (it->file_count == CARGO_ITEMS_MAX)
        return complain(file->path, -E2BIG, NULL);
    int item = open_file(it, file->path);
    if (item < 0)
        return item;
    it->files[it->file_count++] = ac_list(item, ac_of_bytes(name, strlen(name)), file->writable);
    return 0;
}

// Takes the descriptor.
static int add_variant(struct gathering *it, int fd, const char *path) {
    char problem[PROBLEM_BYTES] = "", name[64];
    if (fd < 0)
        return complain(path, fd, NULL);
    int err = it->variant_count == CARGO_VARIANTS_MAX ? -E2BIG : elf_read(fd, &it->facts, problem);
    if (err) {
        sys_fd_close(fd);
        return complain(path, err, problem[0] ? problem : NULL);
    }
    int item = add_item(it->cargo, fd);
    if (item < 0)
        return complain(path, item, NULL);
    if (it->variant_count == 0) // which is what runs here, and is known to load
        err = add_libraries(it);
    snprintf(name, sizeof name, "%s", name_of(path));
    text_mend(name);
    it->variants[it->variant_count++] = ac_list(item, elf_to_value(&it->facts), (const char *)name,
                                                ac_list_of(it->libraries, it->library_count));
    it->library_count = 0;
    return err;
}

static int gather(struct gathering *it, const struct ac_computation_options *options) {
    int err = add_variant(it, sys_program_open(), job_program_name());
    const char *const *path = options ? options->variants : NULL;
    struct sys_file_facts facts;
    for (; !err && path && *path; path++)
        err = add_variant(it, sys_file_open_as(*path, SYS_FILE_READ, 0, &facts), *path);
    const struct ac_computation_file *file = options ? options->files : NULL;
    for (; !err && file && file->path; file++)
        err = add_file(it, file);
    path = options ? options->source : NULL;
    for (; !err && path && *path; path++)
        err = add_source(it, *path);
    return err;
}

int cargo_open(struct cargo *cargo, const struct ac_computation_options *options) {
    struct gathering *it = memory_allocate_zeroed(sizeof *it);
    cargo->count = 0;
    cargo->told = ac_nil;
    if (!it)
        return -ENOMEM;
    it->cargo = cargo;
    int err = gather(it, options);
    for (uint32_t i = 0; i < cargo->count; i++)
        it->items[i] = ac_list(ac_of_bytes(cargo->items[i].content.digest, DIGEST_BYTES),
                               cargo->items[i].content.bytes);
    const char *flags = options && options->source_flags ? options->source_flags : "";
    if (!err && strlen(flags) >= SOURCE_FLAGS_MAX)
        err = complain("source", -E2BIG, "its flags are too long");
    ac_value source = ac_nil;
    if (it->source_count > 0)
        source = ac_list(ac_of_bytes(flags, strlen(flags)),
                         ac_list_of(it->source, it->source_count));
    cargo->told = ac_list(
        ac_list_of(it->items, cargo->count), ac_list_of(it->variants, it->variant_count),
        ac_list_of(it->files, it->file_count), source, options && options->output);
    if (!err)
        err = ac_error_of(cargo->told);
    if (err)
        cargo_close(cargo);
    memory_release(it);
    return err;
}

void cargo_close(struct cargo *cargo) {
    for (uint32_t i = 0; i < cargo->count; i++)
        sys_fd_close(cargo->items[i].fd);
    cargo->count = 0;
    ac_drop(cargo->told);
    cargo->told = ac_nil;
}

// ---- sending ----

void cargo_send(struct cargo_sending *sending, ac_value wanted, uint64_t round) {
    cargo_send_end(sending);
    *sending = (struct cargo_sending){.wanted = wanted, .round = round};
}

void cargo_send_end(struct cargo_sending *sending) {
    ac_drop(sending->wanted);
    *sending = (struct cargo_sending){.wanted = ac_nil};
}

// The item that is sent now; NULL behind the last.
static const struct cargo_item *current_item(const struct cargo *cargo,
                                             struct cargo_sending *sending, int64_t *number) {
    while (sending->next < ac_count(sending->wanted)) {
        ac_value wanted = ac_at(sending->wanted, sending->next);
        *number = ac_int_of(wanted);
        ac_drop(wanted);
        bool known = *number >= 0 && *number < cargo->count;
        if (known && sending->offset < cargo->items[*number].content.bytes)
            return &cargo->items[*number];
        sending->next++;
        sending->offset = 0;
    }
    return NULL;
}

ac_value cargo_next(const struct cargo *cargo, struct cargo_sending *sending, bool *over) {
    int64_t number;
    const struct cargo_item *item = current_item(cargo, sending, &number);
    *over = item == NULL;
    if (!item)
        return ac_list("done", sending->round);
    uint64_t left = item->content.bytes - sending->offset;
    size_t count = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    uint8_t *piece = memory_allocate(count);
    int err = piece ? sys_file_read_at(item->fd, sending->offset, piece, count) : -ENOMEM;
    ac_value message = err ? value_invalid(err)
                           : ac_list("piece", number, sending->offset, ac_of_bytes(piece, count),
                                     sending->round);
    memory_release(piece);
    sending->offset += count;
    return message;
}
