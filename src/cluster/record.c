// SPDX-License-Identifier: MIT
// What a node tells a worker through the pipe that it inherits: the letters "acworker", the length
// of what follows (4 bytes, the lowest first), and a value. First the start-up record:
//
//     [keys, agent, scheduler's address, supplier, client's address, number, loopback only?,
//      node's name, stays?]
//
// Then, each time another scheduler has been started instead of one that was lost:
//
//     [agent, scheduler's address]
//
// Nothing of it stands in arguments or in the environment, where others could read it. What the
// worker writes in turn lies in memory that both have: struct worker_marks.
#include "cluster/cluster_private.h"

#include <stdlib.h>

enum {
    RECORD_BYTES_MAX = 1024, // fits into any pipe, so that writing it waits for nobody
    RECORD_ITEMS = 9,
    RECORD_HEAD_BYTES = 12
};

static const char record_magic[8] = {'a', 'c', 'w', 'o', 'r', 'k', 'e', 'r'};

// Takes the value. How many bytes the record has, or an error.
static int record_make(ac_value list, uint8_t record[RECORD_BYTES_MAX]) {
    void *encoded;
    size_t bytes;
    int err = ac_encode(list, &encoded, &bytes);
    ac_drop(list);
    if (err)
        return err;
    err = bytes + RECORD_HEAD_BYTES > RECORD_BYTES_MAX ? -EMSGSIZE : 0;
    if (!err) {
        memcpy(record, record_magic, sizeof record_magic);
        for (int i = 0; i < 4; i++)
            record[8 + i] = (uint8_t)(bytes >> 8 * i);
        memcpy(record + RECORD_HEAD_BYTES, encoded, bytes);
    }
    digest_wipe(encoded, bytes);
    free(encoded);
    return err ? err : (int)bytes + RECORD_HEAD_BYTES;
}

// How many bytes follow this head; 0: it is none.
static size_t record_bytes(const uint8_t head[RECORD_HEAD_BYTES]) {
    size_t bytes = head[8] | (size_t)head[9] << 8 | (size_t)head[10] << 16 | (size_t)head[11] << 24;
    return memcmp(head, record_magic, sizeof record_magic) == 0 && bytes <= RECORD_BYTES_MAX ? bytes
                                                                                             : 0;
}

int worker_start_write(int fd, const struct worker_start *start) {
    char scheduler[SYS_ADDRESS_TEXT_BYTES], client[SYS_ADDRESS_TEXT_BYTES];
    sys_address_text(&start->scheduler, scheduler);
    sys_address_text(&start->client, client);
    uint8_t record[RECORD_BYTES_MAX];
    int count = record_make(ac_list(ac_of_bytes(start->keys.keys, start->keys.count * KEY_BYTES),
                                    start->agent, (const char *)scheduler, start->supplier,
                                    (const char *)client, start->number, start->loopback_only,
                                    start->node, start->stays),
                            record);
    int err = count < 0 ? count : sys_fd_write(fd, record, (size_t)count);
    digest_wipe(record, sizeof record);
    return err;
}

int worker_return_write(int fd, ac_ref agent, const struct sys_address *scheduler) {
    char address[SYS_ADDRESS_TEXT_BYTES];
    sys_address_text(scheduler, address);
    uint8_t record[RECORD_BYTES_MAX];
    int count = record_make(ac_list(agent, (const char *)address), record);
    int copy = count < 0 ? count : sys_fd_copy(fd);
    if (copy < 0)
        return copy;
    // As much as this is written as a whole, once there is room for anything.
    struct sys_handle handle = {0};
    sys_adopt(loop_here->sys, &handle, copy, true);
    struct sys_op op = {
        .verb = SYS_WRITE, .handle = &handle, .bytes = record, .count = (size_t)count};
    int64_t put = coro_operate(&op, AC_NOW);
    sys_close(&handle);
    return put < 0 ? (int)put : put == count ? 0 : -EPIPE;
}

bool worker_start_read(int fd, struct worker_start *start, ac_value *held) {
    uint8_t record[RECORD_BYTES_MAX];
    if (sys_pipe_take(fd, record, RECORD_HEAD_BYTES) < 0)
        return false;
    size_t bytes = record_bytes(record);
    if (bytes == 0 || sys_pipe_take(fd, record, bytes) < 0)
        return false;
    *held = ac_decode(record, bytes);
    digest_wipe(record, sizeof record);
    ac_span keys;
    const char *scheduler, *client;
    *start = (struct worker_start){0};
    bool good = ac_count(*held) == RECORD_ITEMS &&
                ac_unpack(*held, &keys, &start->agent, &scheduler, &start->supplier, &client,
                          &start->number, &start->loopback_only, &start->node,
                          &start->stays) == 0 &&
                keys.bytes % KEY_BYTES == 0 && keys.bytes > 0 &&
                keys.bytes <= sizeof start->keys.keys && scheduler && client && start->node &&
                sys_address_parse(scheduler, &start->scheduler) &&
                sys_address_parse(client, &start->client);
    if (!good) {
        ac_drop(*held);
        return false;
    }
    memcpy(start->keys.keys, keys.at, keys.bytes);
    start->keys.count = keys.bytes / KEY_BYTES;
    return true;
}

// 0, or why it did not read all of that; -EPIPE: the pipe has ended.
static int read_pipe(struct sys_handle *handle, uint8_t *to, size_t count) {
    struct sys_op op = {.verb = SYS_READ, .handle = handle, .bytes = to, .count = count};
    while (op.count > 0) {
        int64_t got = coro_operate(&op, AC_FOREVER);
        if (got <= 0)
            return got < 0 ? (int)got : -EPIPE;
        op.bytes = (uint8_t *)op.bytes + got;
        op.count -= (size_t)got;
    }
    return 0;
}

int worker_return_read(struct sys_handle *handle, ac_value *it) {
    uint8_t record[RECORD_BYTES_MAX];
    int err = read_pipe(handle, record, RECORD_HEAD_BYTES);
    size_t bytes = err ? 0 : record_bytes(record);
    if (!err)
        err = bytes == 0 ? -EBADMSG : read_pipe(handle, record, bytes);
    if (err)
        return err;
    *it = ac_decode(record, bytes);
    return ac_error_of(*it);
}

// ---- what a worker writes for its node ----

static const struct worker_marks not_known = {.begun = -1}; // until the worker says 0

int worker_marks_create(void) {
    int fd = sys_memory_create("marks", false);
    if (fd >= 0 && sys_file_write_at(fd, 0, &not_known, sizeof not_known) == 0)
        return fd;
    sys_fd_close(fd);
    return -1;
}

struct worker_marks worker_marks_read(int fd) {
    struct worker_marks marks;
    bool good = fd >= 0 && sys_file_read_at(fd, 0, &marks, sizeof marks) >= 0;
    return good ? marks : not_known;
}
