// SPDX-License-Identifier: MIT
// What a computation brings with it, at the client: the files are opened and read when the
// computation is opened, and stay open, so that every node gets the same.
//
// Nodes are told of a cargo as the value
//
//     [items, variants]
//
//     items     [[sha-256, bytes], ...]
//     variants  [[item, needs, name], ...]     the client's own executable first; needs as
//                                              elf_to_value makes them
//
// and want some of the items, which are sent as ["piece", item, offset, bytes], one item after the
// other from its beginning, and then ["done"]. Two files with the same content are one item.
#include "cluster/cluster_private.h"

#include <stdio.h>

// What is gathered while a cargo is opened.
struct gathering {
    struct cargo *cargo;
    struct elf_facts facts; // of the variant that is looked at
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
    snprintf(name, sizeof name, "%s", name_of(path));
    text_mend(name);
    it->variants[it->variant_count++] = ac_list(item, elf_to_value(&it->facts), (const char *)name);
    return 0;
}

static int gather(struct gathering *it, const struct ac_computation_options *options) {
    int err = add_variant(it, sys_program_open(), job_program_name());
    const char *const *path = options ? options->variants : NULL;
    struct sys_file_facts facts;
    for (; !err && path && *path; path++)
        err = add_variant(it, sys_file_open_as(*path, SYS_FILE_READ, 0, &facts), *path);
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
    cargo->told = ac_list(ac_list_of(it->items, cargo->count),
                          ac_list_of(it->variants, it->variant_count));
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

void cargo_send(struct cargo_sending *sending, ac_value wanted) {
    cargo_send_end(sending);
    *sending = (struct cargo_sending){.wanted = wanted};
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
        return ac_list("done");
    uint64_t left = item->content.bytes - sending->offset;
    size_t count = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    uint8_t *piece = memory_allocate(count);
    int err = piece ? sys_file_read_at(item->fd, sending->offset, piece, count) : -ENOMEM;
    ac_value message = err ? value_invalid(err)
                           : ac_list("piece", number, sending->offset, ac_of_bytes(piece, count));
    memory_release(piece);
    sending->offset += count;
    return message;
}
