// SPDX-License-Identifier: MIT
// Operations of a poller, for the tests of pollers.
#ifndef TESTS_SYS_TRIAL_H
#define TESTS_SYS_TRIAL_H

#include "sys/sys.h"
#include "test.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sys *sys;

// An operation, and how often it was told to have finished.
struct trial {
    struct sys_op op;
    int finished;
};

static void note(struct sys_op *op) { ((struct trial *)op->owner)->finished++; }

// True if it has finished at once.
static bool start(struct trial *trial, enum sys_verb verb, struct sys_handle *handle, void *bytes,
                  size_t count) {
    trial->finished = 0;
    trial->op = (struct sys_op){.verb = verb,
                                .handle = handle,
                                .bytes = bytes,
                                .count = count,
                                .address = trial->op.address,
                                .name = trial->op.name,
                                .interface = trial->op.interface,
                                .finished = note,
                                .owner = trial};
    return sys_start(&trial->op);
}

static void poll_until(const struct trial *trial) {
    ac_time limit = sys_clock() + TEST_PATIENCE_S * 1000000000LL;
    while (!trial->finished) {
        ck_assert_int_eq(sys_poll(sys, limit), 0);
        ck_assert_int_lt(sys_clock(), limit);
    }
    ck_assert_int_eq(trial->finished, 1);
}

static inline void poll_now(void) { ck_assert_int_eq(sys_poll(sys, AC_NOW), 0); }

// Waits for the result as coro/ would.
static inline int64_t finish(struct trial *trial, enum sys_verb verb, struct sys_handle *handle,
                             void *bytes, size_t count) {
    if (!start(trial, verb, handle, bytes, count))
        poll_until(trial);
    return trial->op.result;
}

static inline int64_t read_some(struct sys_handle *handle, void *bytes, size_t count) {
    struct trial trial = {0};
    return finish(&trial, SYS_READ, handle, bytes, count);
}

static inline int64_t write_some(struct sys_handle *handle, const void *bytes, size_t count) {
    struct trial trial = {0};
    return finish(&trial, SYS_WRITE, handle, (void *)bytes, count);
}

// A pair of connected stream sockets: one ours, the other a plain descriptor.
static inline int make_pair(struct sys_handle *handle) {
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    sys_adopt(sys, handle, ends[0], false);
    return ends[1];
}

// What is written to standard error from now on, and what it was.
static int errors;
static inline void catch_errors(void) {
    errors = memfd_create("errors", 0);
    ck_assert_int_eq(dup2(errors, STDERR_FILENO), STDERR_FILENO);
}
static inline void errors_caught(char *text, size_t bytes) {
    ssize_t got = pread(errors, text, bytes - 1, 0);
    ck_assert_int_ge(got, 0);
    text[got] = 0;
}

#endif
