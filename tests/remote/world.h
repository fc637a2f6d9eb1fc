// SPDX-License-Identifier: MIT
// Small worlds for the tests of remote/: the test process and children of it, each a peer with a
// loop and a network of its own. They share a key file and a port for beacons that nobody else
// uses, so that worlds side by side do not meet.
//
// Children are forked before the test process makes a loop. A child hears of the test through one
// pipe and answers through another, a byte each time; the end of the first pipe is its order to
// end. All die with the test: libcheck ends its process group, and the kernel ends the children of
// one that has died. A keeper in a group of its own removes the folder once all of them are gone.
#ifndef TESTS_REMOTE_WORLD_H
#define TESTS_REMOTE_WORLD_H

#include "base/base.h"
#include "remote/remote_private.h"
#include "test.h"

#include <asyncoro.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

enum { PATIENCE_S = 20, TEST_STACK = 256 << 10 };

struct child {
    pid_t pid;
    int to;   // its orders
    int from; // its answers
};

static struct {
    char folder[128];
    char key_file[160];
    uint16_t beacons; // UDP port
    pid_t keeper;
    int life;     // the keeper waits until nobody holds this any more
    bool child;   // this process is one
    int ends[32]; // of the pipes to all children so far: no child may keep them open for another
    int end_count;
    int orders;  // of a child: what it is told
    int answers; // and what it says
} world;

// As ck_assert, in the test and in its children.
#define must(condition_)                                                                           \
    do {                                                                                           \
        if (!(condition_))                                                                         \
            world_fail(__FILE__, __LINE__, #condition_, 0, 0);                                     \
    } while (0)
#define must_be(value_, wanted_)                                                                   \
    do {                                                                                           \
        long long must_value_ = (value_), must_wanted_ = (wanted_);                                \
        if (must_value_ != must_wanted_)                                                           \
            world_fail(__FILE__, __LINE__, #value_ " == " #wanted_, must_value_, must_wanted_);    \
    } while (0)

static void world_fail(const char *file, int line, const char *what, long long is,
                       long long wanted) {
    if (!world.child)
        ck_abort_msg("%s:%d: %s (%lld, %lld)", file, line, what, is, wanted);
    fprintf(stderr, "%s:%d: in a child: %s (%lld, %lld)\n", file, line, what, is, wanted);
    _exit(EXIT_FAILURE);
}

static UNUSED double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Uses the processor without waiting.
static UNUSED void compute(double how_long) {
    for (double until = seconds() + how_long; seconds() < until;)
        continue;
}

// ---- the world ----

static int remove_one(const char *path, const struct stat *facts, int sort, struct FTW *place) {
    (void)facts, (void)sort, (void)place;
    (void)remove(path);
    return 0;
}

static void keep(int life) {
    char byte;
    while (read(life, &byte, 1) > 0)
        continue;
    nftw(world.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    _exit(EXIT_SUCCESS);
}

static UNUSED void world_begin(void) {
    const char *folder = getenv("TMPDIR");
    char port[8];
    int life[2], held;
    snprintf(world.folder, sizeof world.folder, "%.100s/asyncoro-XXXXXX",
             folder ? folder : P_tmpdir);
    must(mkdtemp(world.folder) != NULL);
    snprintf(world.key_file, sizeof world.key_file, "%s/key", world.folder);
    world.beacons = test_hold_port(&held);
    snprintf(port, sizeof port, "%u", world.beacons);
    setenv("ASYNCORO_KEY_FILE", world.key_file, 1);
    setenv("ASYNCORO_DISCOVERY_PORT", port, 1);
    must_be(pipe2(life, O_CLOEXEC), 0);
    world.life = life[1];
    world.keeper = fork();
    if (world.keeper == 0) {
        setsid();
        close(life[1]);
        keep(life[0]); // and the port
    }
    close(life[0]);
    close(held);
    world.end_count = 0;
}

static UNUSED void world_end(void) {
    int status;
    close(world.life);
    must_be(waitpid(world.keeper, &status, 0), world.keeper);
    must_be(access(world.folder, F_OK), -1);
}

// ---- what a child does ----

// Answers the test.
static UNUSED void say(void) { must_be(write(world.answers, "!", 1), 1); }

// Waits for an order of the test. False at the end of all orders. Can wait.
static UNUSED bool told(void) {
    struct pollfd orders = {.fd = world.orders, .events = POLLIN};
    while (poll(&orders, 1, 0) == 0)
        if (ac_sleep(0.002) < 0)
            return false;
    char byte;
    return read(world.orders, &byte, 1) == 1;
}

// What keeps a child alive whose other coroutines are daemons.
static UNUSED ac_value until_the_end(ac_value unused) {
    (void)unused;
    while (told())
        continue;
    return ac_nil;
}

// Runs one coroutine on a loop, with a network unless `options` is NULL. The loop ends with it.
static void run_with(ac_function function, const struct ac_network_options *options) {
    if (options)
        must_be(ac_network_start_with(options), 0);
    must(ac_ref_is(ac_spawn(function, ac_nil, .stack_bytes = TEST_STACK)));
    must_be(ac_run(), 0);
}

static const struct ac_network_options near = {.size = sizeof near, .loopback_only = true};

static UNUSED void run(ac_function function) { run_with(function, &near); }

static UNUSED struct child child_with(ac_function function,
                                      const struct ac_network_options *options) {
    int to[2], from[2];
    must_be(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
    pid_t parent = getpid();
    pid_t pid = fork();
    must(pid >= 0);
    if (pid > 0) {
        close(to[0]);
        close(from[1]);
        must(world.end_count + 2 <= 32);
        world.ends[world.end_count++] = to[1];
        world.ends[world.end_count++] = from[0];
        return (struct child){pid, to[1], from[0]};
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    close(to[1]);
    close(from[0]);
    for (int i = 0; i < world.end_count; i++)
        close(world.ends[i]);
    world.child = true;
    world.orders = to[0];
    world.answers = from[1];
    run_with(function, options);
    exit(EXIT_SUCCESS); // and so through the search for leaks
}

static UNUSED struct child child(ac_function function) { return child_with(function, &near); }

// ---- what the test does with a child ----

// Waits until the child says something.
static UNUSED void hear(struct child child) {
    struct pollfd from = {.fd = child.from, .events = POLLIN};
    char byte;
    must_be(poll(&from, 1, PATIENCE_S * 1000), 1);
    must_be(read(child.from, &byte, 1), 1);
}

static UNUSED void tell(struct child child) { must_be(write(child.to, "!", 1), 1); }

// Lets the child end, as it should.
static UNUSED void child_end(struct child child) {
    int status;
    close(child.to);
    must_be(waitpid(child.pid, &status, 0), child.pid);
    must_be(status, 0);
    close(child.from);
}

static UNUSED void child_kill(struct child child) {
    int status;
    must_be(kill(child.pid, SIGKILL), 0);
    must_be(waitpid(child.pid, &status, 0), child.pid);
    close(child.to);
    close(child.from);
}

static UNUSED void child_freeze(struct child child) {
    int status;
    must_be(kill(child.pid, SIGSTOP), 0);
    must_be(waitpid(child.pid, &status, WUNTRACED), child.pid);
    must(WIFSTOPPED(status));
}

static UNUSED void child_thaw(struct child child) { must_be(kill(child.pid, SIGCONT), 0); }

// ---- a peer that does what it is asked ----
//
// "server" answers requests [verb, to whom, what]: "echo" sends it back; "compute" uses the
// processor for so many seconds without waiting and then says so; "start" spawns the coroutine of
// that index in server_jobs and tells its reference; "count" tells how many other messages have
// come, integers that should count up from 0, or -1 if one of them did not.

static ac_function server_jobs[12];

static int serve_request(ac_value message, long count) {
    const char *verb;
    ac_ref to;
    ac_value what = ac_nil;
    if (ac_unpack(message, &verb, &to, &what) < 0)
        return -EINVAL;
    int err = 0;
    if (strcmp(verb, "echo") == 0) {
        err = ac_send(to, ac_hold(what));
    } else if (strcmp(verb, "compute") == 0) {
        compute(ac_real_of(what));
        err = ac_send(to, "computed");
    } else if (strcmp(verb, "count") == 0) {
        err = ac_send(to, count);
    } else if (strcmp(verb, "start") == 0) {
        err = ac_send(to, ac_spawn(server_jobs[ac_int_of(what)], to, .name = "job",
                                   .stack_bytes = TEST_STACK, .daemon = true));
    }
    ac_drop(what);
    must_be(err, 0);
    return 0;
}

static UNUSED ac_value server(ac_value unused) {
    ac_value message;
    long count = 0;
    (void)unused;
    must_be(ac_register(ac_self(), "server"), 0);
    say();
    while (ac_receive(&message, AC_FOREVER) == 0) {
        if (serve_request(message, count) < 0 && count >= 0)
            count = ac_kind_of(message) == AC_INT && ac_int_of(message) == count ? count + 1 : -1;
        ac_drop(message);
    }
    return ac_nil;
}

// What a child is that serves until it is told to end.
static UNUSED ac_value serving(ac_value unused) {
    must(ac_ref_is(
        ac_spawn(server, ac_nil, .name = "server", .daemon = true, .stack_bytes = TEST_STACK)));
    return until_the_end(unused);
}

// ---- what clients do ----

static UNUSED ac_ref find(const char *name) {
    ac_ref it;
    must_be(ac_locate(name, &it, ac_after(PATIENCE_S)), 0);
    return it;
}

static UNUSED ac_value next_message(void) {
    ac_value message;
    must_be(ac_receive(&message, ac_after(PATIENCE_S)), 0);
    return message;
}

// Asks the server for a coroutine and tells its reference.
static UNUSED ac_ref start_job(ac_ref at, int index) {
    must_be(ac_send(at, ac_list("start", ac_self(), index)), 0);
    ac_value answer = next_message();
    ac_ref job = ac_ref_of(answer);
    must(ac_ref_is(job));
    ac_drop(answer);
    return job;
}

// Waits for an exit notice and forgets its value.
static UNUSED struct ac_exit next_exit(void) {
    struct ac_exit exit;
    ac_value message = next_message();
    must(ac_exit_of(message, &exit));
    ac_drop(exit.value);
    ac_drop(message);
    return exit;
}

// A frame as only a peer that means harm sends it. 0 or -EAGAIN.
static UNUSED int throw_frame(ac_ref at, unsigned type, const void *payload, size_t bytes) {
    static const struct head none;
    int err = remote_frame_now(remote_of(loop_here), at.peer, (enum frame_type)type, &none,
                               (ac_span){payload, bytes}, FABRIC_WINDOW);
    must(err == 0 || err == -EAGAIN);
    return err;
}

// The same, waiting for room.
static UNUSED void throw_frame_at_last(ac_ref at, unsigned type, const void *payload,
                                       size_t bytes) {
    while (throw_frame(at, type, payload, bytes) < 0)
        must_be(ac_sleep(0.001), 0);
}

static UNUSED long server_count(ac_ref at) {
    must_be(ac_send(at, ac_list("count", ac_self(), 0)), 0);
    ac_value answer = next_message();
    must_be(ac_kind_of(answer), AC_INT);
    return ac_int_of(answer);
}

#endif
