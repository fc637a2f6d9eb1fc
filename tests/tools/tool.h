// SPDX-License-Identifier: MIT
// Runs the program `asyncoro` with arguments, and keeps what it says.
#ifndef TESTS_TOOLS_TOOL_H
#define TESTS_TOOLS_TOOL_H

#include "cluster/world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static char tool_said[1 << 18]; // on standard output and standard error
static int tool_input = -1;     // what it reads, if that is not nothing
static int tool_output = -1;    // where its standard output goes, if that is not kept

// Returns its exit code.
__attribute__((unused)) static int run_tool(const char *const *arguments) {
    char path[512], *all[32] = {(char *)"asyncoro"};
    int ends[2];
    world_tool(path);
    for (int i = 0; arguments[i]; i++)
        all[i + 1] = (char *)arguments[i];
    ck_assert_int_eq(sys_pipe(ends), 0);
    struct sys_process process;
    const struct sys_process_options how = {.path = path,
                                            .arguments = all,
                                            .input = tool_input,
                                            .output = tool_output >= 0 ? tool_output : ends[1],
                                            .error = ends[1],
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    sys_fd_close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], tool_said + length, sizeof tool_said - 1 - length)) > 0;)
        length += (size_t)got;
    tool_said[length] = 0;
    sys_fd_close(ends[0]);
    struct sys_process_end end;
    ck_assert(world_ends(process.handle, 20));
    ck_assert_int_eq(sys_process_reap(&process, &end), 0);
    ck_assert(!end.by_signal);
    return end.code;
}
#define ck_not_said(text) ck_assert_msg(!strstr(tool_said, text), "it said: %.4000s", tool_said)
#define run_tool(...) run_tool((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

// ---- a program to look at ----
//
// "pump": its coroutine "echo" answers calls with their body and keeps other messages to itself, of
// which it tells none; "sink" reads nothing; "news" is a channel to which "echo" is subscribed. One
// message has reached nobody.

__attribute__((unused)) static ac_value pump_echo(ac_value unused) {
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ac_ref to;
        ac_value body;
        if (ac_unpack(message, &to, &body) == 0)
            (void)ac_send(to, body);
        ac_drop(message);
    }
    return unused;
}

__attribute__((unused)) static ac_value pump_sink(ac_value unused) {
    (void)ac_sleep(3600);
    return unused;
}

static ac_value pump_ends(ac_value unused) { return unused; }

static int pump_ready;                         // a pipe
static struct ac_network_options pump_network; // how it takes part in it

__attribute__((unused)) static ac_value pump(ac_value unused) {
    ac_ref echo = ac_spawn(pump_echo, ac_nil, .name = "echo");
    ac_ref sink = ac_spawn(pump_sink, ac_nil, .name = "sink");
    ac_ref news = ac_channel_open("news");
    (void)ac_send(ac_spawn(pump_ends, ac_nil), "unread");
    if (ac_register(echo, "echo") || ac_register(sink, "sink") || ac_register(news, "news") ||
        ac_channel_subscribe(news, echo) || ac_yield() || write(pump_ready, "!", 1) != 1)
        abort();
    (void)ac_sleep(3600);
    return unused;
}

// Starts it; another function may be its main coroutine, which writes to pump_ready.
__attribute__((unused)) static pid_t pump_start(ac_function main, bool unseen) {
    int ends[2];
    char byte;
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sys_fd_close(ends[0]);
        pump_ready = ends[1];
        pump_network.size = sizeof pump_network;
        pump_network.name = "pump";
        pump_network.loopback_only = true;
        pump_network.unseen = unseen;
        if (ac_network_start_with(&pump_network) == 0) {
            ac_spawn(main, ac_nil);
            (void)ac_run();
        }
        _exit(EXIT_FAILURE);
    }
    sys_fd_close(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    sys_fd_close(ends[0]);
    return pid;
}

__attribute__((unused)) static void pump_stop(pid_t pid) {
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

#define ck_said(text) ck_assert_msg(strstr(tool_said, text) != NULL, "it said: %.4000s", tool_said)

#endif
