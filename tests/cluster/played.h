// SPDX-License-Identifier: MIT
// A scheduler that the test plays, twice: first as a child process, which is killed, then itself.
// To be called before this process starts its network.
#ifndef TESTS_CLUSTER_PLAYED_H
#define TESTS_CLUSTER_PLAYED_H

#include "cluster/world.h"

static pid_t played_first; // the child
static int played_told;    // what it writes is read here; in the child: where it writes

// What the first one tells of itself.
struct played_self {
    ac_ref agent;
    struct sys_address address;
};

static void played_say(const void *what, size_t bytes) {
    ck_assert_int_eq(sys_fd_write(played_told, what, bytes), 0);
}

static void played_hear(void *what, size_t bytes) {
    for (size_t got = 0; got < bytes;) {
        ssize_t more = read(played_told, (char *)what + got, bytes - got);
        ck_assert_msg(more > 0, "the first scheduler has ended");
        got += (size_t)more;
    }
}

// Runs the function in a child, after it has told of itself, and then stays there.
static ac_function played_function;
static ac_value played_main(ac_value unused) {
    struct played_self self = {.agent = ac_self(), .address = remote_address(loop_here)};
    played_say(&self, sizeof self);
    ac_drop(played_function(unused));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}

static void played_begin(ac_function function, struct played_self *self) {
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    played_function = function;
    played_first = fork();
    ck_assert_int_ge(played_first, 0);
    played_told = ends[played_first == 0];
    close(ends[played_first != 0]);
    if (played_first == 0) {
        world_run(played_main);
        _exit(0);
    }
    played_hear(self, sizeof *self);
}

static void played_kill(void) {
    int handle = world_handle(played_first);
    ck_assert_int_eq(kill(played_first, SIGKILL), 0);
    ck_assert(world_ends(handle, TEST_PATIENCE_S));
    close(handle);
    close(played_told);
}

// Receives until a message opens with that word. To be dropped.
__attribute__((unused)) static ac_value played_await(const char *word) {
    ac_value message;
    for (;; ac_drop(message)) {
        ck_assert_msg(ac_receive(&message, ac_after(TEST_PATIENCE_S)) == 0, "no '%s' came", word);
        if (message_is(message, word))
            return message;
    }
}

#endif
