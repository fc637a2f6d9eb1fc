// SPDX-License-Identifier: MIT
// A world of its own for a test that ships itself: a key, a cache, a discovery port, and a real
// `asyncoro node` on loopback, which leaves running jobs no time when it is asked to end. Whatever
// a test does, the node dies with it (and the workers with the node), and its folder is removed.
//
// The test program is the program that is shipped: JOBS_OF_THIS_TEST makes it a worker when a node
// starts it.
#ifndef TESTS_CLUSTER_WORLD_H
#define TESTS_CLUSTER_WORLD_H

#include "test.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cluster/cluster_private.h"

#include <asyncoro.h>

// Before main, which belongs to the test runner. glibc gives constructors the arguments of main.
#define JOBS_OF_THIS_TEST                                                                          \
    __attribute__((constructor)) static void be_worker(int argc, char **argv) {                    \
        ac_cluster_init(argc, argv);                                                               \
    }

static char world_folder[TEST_TEMPLATE_BYTES];
static pid_t world_owner;             // forked children do not clean up
static struct sys_process world_node; // the one that was started last
static const char *world_node_name = "here";
static char world_node_address[64];        // where that one listens
static const char *world_node_options[16]; // more of them
static int world_node_input = -1;          // its standard input

static int world_remove(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)facts, (void)type, (void)at;
    return remove(path);
}

__attribute__((unused)) static void world_clean(void) {
    if (getpid() == world_owner && world_folder[0])
        nftw(world_folder, world_remove, 16, FTW_DEPTH | FTW_PHYS);
    world_folder[0] = 0;
}

// A folder, and an environment in which nobody else is met.
__attribute__((unused)) static void world_make(void) {
    char text[96];
    test_template(world_folder);
    ck_assert_ptr_nonnull(mkdtemp(world_folder));
    world_owner = getpid();
    unsetenv("AC_SCHEDULER");
    atexit(world_clean);
    snprintf(text, sizeof text, "%s/key", world_folder);
    setenv("ASYNCORO_KEY_FILE", text, 1);
    setenv("XDG_CACHE_HOME", world_folder, 1);
    snprintf(text, sizeof text, "%d", test_hold_port(NULL));
    setenv("ASYNCORO_DISCOVERY_PORT", text, 1);
}

// A folder in the world's, for what jobs are to read or write: the key, which they may not, lies
// beside it.
__attribute__((unused)) static const char *world_shared(void) {
    static char path[sizeof world_folder + 8];
    snprintf(path, sizeof path, "%s/shared", world_folder);
    ck_assert_int_eq(sys_folder_make(path), 0);
    return path;
}

// The path of the program `asyncoro` that was built with this test.
__attribute__((unused)) static void world_tool(char path[512]) {
    ssize_t length = readlink("/proc/self/exe", path, 400);
    ck_assert_int_gt(length, 0);
    path[length] = 0;
    strcpy(strrchr(path, '/'), "/../src/asyncoro");
}

// Starts `asyncoro ARGUMENTS` and waits for the line with which it says that it is ready. Stores
// where it listens.
__attribute__((unused)) static void world_start(struct sys_process *process,
                                                const char *const *arguments, int input,
                                                char address[64]) {
    char tool[512], line[256] = "";
    int ends[2];
    world_tool(tool);
    ck_assert_int_eq(sys_pipe(ends), 0);
    const struct sys_process_options how = {.path = tool,
                                            .arguments = (char *const *)arguments,
                                            .input = input,
                                            .output = ends[1],
                                            .error = STDERR_FILENO,
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(process, &how), 0);
    sys_fd_close(ends[1]);
    for (size_t n = 0; n < sizeof line - 1 && !strchr(line, '\n'); n++)
        if (read(ends[0], line + n, 1) != 1)
            ck_abort_msg("it did not become ready: '%s'", line);
    ck_assert_ptr_nonnull(strstr(line, "ready"));
    (void)sscanf(line, "%*s %*s at %63s", address);
    if (*address) // without the ':' behind it
        address[strlen(address) - 1] = 0;
    sys_fd_close(ends[0]);
}

// True if the process behind a handle ends within the time.
__attribute__((unused)) static bool world_ends(int handle, int seconds) {
    struct pollfd it = {.fd = handle, .events = POLLIN};
    return poll(&it, 1, seconds * 1000) == 1;
}

// A scheduler as a program of its own, which computations of this process then use.
static struct sys_process world_scheduler;
static char world_scheduler_address[64];
static const char *world_scheduler_options[16];
static int world_journals; // so many were made

__attribute__((unused)) static void world_start_scheduler(void) {
    const char *arguments[32] = {"asyncoro", "scheduler", "--loopback", "--grace", "0s"};
    char journal[80];
    size_t at = 5;
    for (size_t i = 0; world_scheduler_options[i]; i++)
        arguments[at++] = world_scheduler_options[i];
    if (getenv("WORLD_JOURNAL")) {
        snprintf(journal, sizeof journal, "%s/journal-%d", world_folder, world_journals++);
        arguments[at++] = "--journal";
        arguments[at++] = journal;
    }
    world_start(&world_scheduler, arguments, -1, world_scheduler_address);
    setenv("AC_SCHEDULER", world_scheduler_address, 1);
}

// Whether somebody listens there.
__attribute__((unused)) static bool world_listens(const char *address) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool listens = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
    close(fd);
    return listens;
}

// Until its port is free too: where the kernel did its waiting (io_uring), that comes later.
__attribute__((unused)) static void world_kill_scheduler(void) {
    struct sys_process_end end;
    sys_process_end(&world_scheduler, true, false);
    ck_assert(world_ends(world_scheduler.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&world_scheduler, &end), 0);
    for (int i = 0; i < TEST_PATIENCE_S * 1000 && world_listens(world_scheduler_address); i++)
        usleep(1000);
}

// A port that nobody else is given, also while no scheduler listens there.
__attribute__((unused)) static void world_hold_port(char port[16]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, bytes), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    snprintf(port, 16, "%d", ntohs(at.sin_port));
}

// Starts a node, with one option more if it is not NULL.
__attribute__((unused)) static void world_start_node_with(const char *workers, const char *option,
                                                          const char *value) {
    const char *arguments[32] = {"asyncoro", "node",          "--workers", workers, "--loopback",
                                 "--name",   world_node_name, "--grace",   "0s"};
    size_t at = 9;
    for (size_t i = 0; world_node_options[i]; i++)
        arguments[at++] = world_node_options[i];
    if (option) {
        arguments[at++] = option;
        arguments[at++] = value;
    }
    // Root is warned unless it says as whom jobs run.
    bool said = option && strcmp(option, "--user") == 0;
    for (size_t i = 0; world_node_options[i]; i++)
        said = said || strncmp(world_node_options[i], "--user", 6) == 0;
    arguments[at] = geteuid() == 0 && !said ? "--user=root" : NULL;
    world_start(&world_node, arguments, world_node_input, world_node_address);
}

__attribute__((unused)) static void world_start_node(const char *workers) {
    world_start_node_with(workers, NULL, NULL);
}

__attribute__((unused)) static int world_handle(long id) {
    int handle = (int)syscall(SYS_pidfd_open, (pid_t)id, 0);
    ck_assert_int_ge(handle, 0);
    return handle;
}

// Asks a process to end; it has to do so in order.
__attribute__((unused)) static void world_stop(struct sys_process *process) {
    struct sys_process_end end;
    sys_process_end(process, false, false);
    ck_assert(world_ends(process->handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(process, &end), 0);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 0);
}
__attribute__((unused)) static void world_stop_node(void) { world_stop(&world_node); }

// With WORLD_SCHEDULER=1 in the environment computations are given to a scheduler in another
// process, which dies with the test; with WORLD_JOURNAL=1 too each such scheduler keeps a journal.
__attribute__((unused)) static void world_begin(const char *workers) {
    world_make();
    if (getenv("WORLD_SCHEDULER"))
        world_start_scheduler();
    world_start_node(workers);
}

__attribute__((unused)) static void world_end(void) {
    world_stop_node();
    world_clean();
}

// Runs one coroutine with the network of this world, until all is over. What it returns must not be
// an error.
static ac_function world_main;
static bool world_main_ended;
__attribute__((unused)) static ac_value world_call(ac_value argument) {
    ac_value result = world_main(argument);
    ck_assert_int_eq(ac_error_of(result), 0);
    world_main_ended = true;
    return result;
}
__attribute__((unused)) static void world_run(ac_function function) {
    int err = ac_network_start(.loopback_only = true);
    ck_assert_msg(err == 0, "%s", ac_network_error());
    world_main = function;
    ac_spawn(world_call, ac_nil, .stack_bytes = 256 << 10);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert(world_main_ended);
}

// A coroutine that lets nobody ship code here whom it meets.
__attribute__((unused)) static ac_value world_restrict(ac_value unused) {
    struct ac_peer_info peers[4];
    while (ac_sleep(0.005) == 0) {
        long count = ac_peers(peers, 4);
        for (long i = 0; i < count && i < 4; i++)
            (void)ac_set_peer_rights(peers[i].id, AC_MAY_ALL & ~(unsigned)AC_MAY_SHIP);
    }
    return unused;
}

// The next exit notice of a job, within the time; status messages on the way are dropped, and
// *status keeps the last one of the kind that it holds, if it is not NULL.
__attribute__((unused)) static bool world_next_exit(struct ac_job_exit *exit, double seconds) {
    ac_time until = ac_after(seconds);
    ac_value message;
    while (ac_receive(&message, until) == 0) {
        bool is = ac_job_exit_of(message, exit);
        ac_drop(message);
        if (is)
            return true;
    }
    return false;
}

// Waits for a status of that kind; whatever else comes is dropped.
__attribute__((unused)) static struct ac_status world_await(enum ac_status_kind kind,
                                                            double seconds) {
    ac_time until = ac_after(seconds);
    struct ac_status status = {0};
    ac_value message;
    while (ac_receive(&message, until) == 0) {
        bool is = ac_status_of(message, &status) && status.kind == kind;
        ac_drop(message);
        if (is)
            return status;
    }
    ck_abort_msg("status %d did not come", (int)kind);
}

#endif
