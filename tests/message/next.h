// SPDX-License-Identifier: MIT
// What tests of messages between loops share: a count of all loops, and taking what has come, for
// which they wait long, as the machine may be busy.
#ifndef TESTS_MESSAGE_NEXT_H
#define TESTS_MESSAGE_NEXT_H

#include "test.h"

#include <asyncoro.h>

static long count; // atomic

static inline void add(long n) { __atomic_fetch_add(&count, n, __ATOMIC_SEQ_CST); }
static inline long counted(void) { return __atomic_load_n(&count, __ATOMIC_SEQ_CST); }

static inline ac_value next_message(void) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, ac_after(30)), 0);
    return message;
}

static inline struct ac_exit next_exit(void) {
    struct ac_exit exit;
    ac_value message = next_message();
    ck_assert(ac_exit_of(message, &exit));
    ac_drop(exit.value);
    ac_drop(message);
    return exit;
}

#endif
