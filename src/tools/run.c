// SPDX-License-Identifier: MIT
// `asyncoro run -- PROGRAM`: runs a program that computes on nodes, where nothing was started
// before. It seeks a scheduler; if there is none it starts one and a node on this computer, for as
// long as the program runs.
//
// What is started. A scheduler and a node, this same program, on loopback, in sessions of their own
// so that Ctrl-C is not for them. They send no beacons, and the node connects to this scheduler: so
// nobody else finds them, and two runs at once have nothing to do with each other. The ends of two
// pipes hold them (--die-with-stdin): however this process ends, they do. The program itself the
// system kills when this process is killed.
//
// If that node ends before the program does, nobody else could run its jobs: another one is started
// in its place, and the program goes on, with what jobs it has lost. When several have ended so,
// each within a minute, the program is ended, which would wait for ever. If the scheduler ends, the
// program is told so by its computation.
//
// The key. That of the user; if he has none, one for this run: a nameless file in memory, which the
// program is told of as a descriptor of this process, /proc/PID/fd/N, in ASYNCORO_KEY_FILE, and the
// others by --key-stdin. So it lies in no argument, in no environment and on no disk, and goes with
// this process. As with a key file, programs of the same user can read it.
//
// Signals. From the terminal the program gets them as well as we do: it is in our process group.
// Those that somebody has sent to us are passed on, and that the terminal is gone: where no shell
// is between, we alone are told. Before the program runs they end the run. What is ignored here the
// program ignores too, as with nohup.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/tools.h"

#include <asyncoro/process.h>

enum { EXIT_OURS = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127, EXIT_SIGNAL = 128 };
enum { ARGUMENTS_MAX = 32, STOP_S = 15, NODES_MAX = 4 };
#define NODE_LIVES_NS (60 * 1000 * 1000 * 1000ll) // one that does so has not ended at once
#define START_S 30.0
#define DRAW_S 0.5

// Signals that are passed on; and two that stop and continue us.
static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};

// A scheduler or a node that was started here.
struct helper {
    const char *name;
    ac_process *process;
};

static struct {
    // What was asked for.
    const char *where; // the scheduler
    uint32_t seconds;  // to seek it
    uint32_t every;    // seconds between two lines
    bool loopback;
    uint32_t discovery_port;
    const char *key_file;
    const char *workers, *memory, *tags, *sandbox, *readable, *writable; // of the node; NULL
    bool told, quiet;                                                    // of the progress
    char **program;                                                      // its arguments

    struct key_ring keys; // of this run; count 0: the user's
    int key_fd;           // where they lie for the program; -1
    char key_path[64];
    char found[4096]; // the program
    char address[64]; // of the scheduler
    bool own;         // it was started here
    struct helper scheduler, node;
    ac_ref keeper; // of the node
    bool helpless; // no node could be kept: the program is ended
    ac_ref main;
    bool runs; // the program
    bool over; // it has ended
    struct sys_process process;
    int signals;
    int ended_by; // a signal that came before the program ran
    int code;
    struct progress progress;
} run = {.seconds = 1, .every = 5, .key_fd = -1, .code = EXIT_OURS};

static int complain(const char *what, int err) {
    tool_complain("run", what, err);
    return err;
}

// ---- the key ----

// The user's; or, if he has none, one of this run.
static int need_key(void) {
    char path[KEY_PATH_BYTES], why[256], text[KEY_TEXT_BYTES];
    struct key_ring ring;
    int err = key_path(run.key_file, false, path, why);
    if (!err)
        err = key_load(path, &ring, why);
    digest_wipe(&ring, sizeof ring);
    if (err && (err != -ENOENT || run.key_file)) {
        fprintf(stderr, "asyncoro run: %s\n", why);
        return err;
    }
    if (!err)
        return 0;
    run.keys.count = 1;
    err = key_draw(run.keys.keys[0]);
    if (!err)
        err = run.key_fd = sys_memory_create("asyncoro key", false);
    if (err >= 0)
        err = fchmod(run.key_fd, S_IRUSR | S_IWUSR) < 0 ? -errno : 0;
    if (!err)
        err = sys_fd_write(run.key_fd, text, key_print(&run.keys, text));
    digest_wipe(text, sizeof text);
    snprintf(run.key_path, sizeof run.key_path, "/proc/%d/fd/%d", (int)getpid(), run.key_fd);
    return err ? complain("a key for this run", err) : 0;
}

// ---- seeking a scheduler ----

static bool is_sought(void) { return run.keys.count == 0 && strcmp(run.where, "here") != 0; }

static int start_network(void) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    const struct ac_network_options how = {.size = sizeof how,
                                           .name = "asyncoro run",
                                           .loopback_only = run.loopback || !is_sought(),
                                           .no_discovery = !is_sought(),
                                           .discovery_port = (uint16_t)run.discovery_port,
                                           .key_file = run.key_file};
    if (loop)
        err = remote_start(loop, &how, run.keys.count ? &run.keys : NULL);
    if (err)
        fprintf(stderr, "asyncoro run: %s\n",
                *ac_network_error() ? ac_network_error() : ac_strerror(err));
    return err;
}

// 0 and its address; -ECANCELED; or another error if there is none.
static int find_scheduler(void) {
    ac_ref door = ac_no_ref;
    bool any = strcmp(run.where, "any") == 0;
    ac_time until = ac_after(run.seconds);
    int err = any ? ac_locate(SCHEDULER_NAME, &door, until)
                  : ac_locate_at(SCHEDULER_NAME, run.where, &door, until);
    if (!err && !remote_lets_us(loop_here, door.peer, AC_MAY_SHIP))
        err = -EACCES;
    if (!err)
        err = ac_location(door, run.address);
    if (err && err != -ECANCELED && !any && !run.quiet)
        fprintf(stderr, "asyncoro run: the scheduler at %s: %s; one is started here\n", run.where,
                ac_strerror(err));
    return err;
}

// ---- starting one ----

// The file of this program, by its name if that still is it.
static const char *own_path(void) {
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return access(path, X_OK) == 0 ? path : "/proc/self/exe";
}

static void add(const char **arguments, size_t *count, const char *option, const char *value) {
    if (!value)
        return;
    arguments[(*count)++] = option;
    if (*value)
        arguments[(*count)++] = value;
}

// Waits for the line with which it says that it is ready, "... at ADDRESS: ...".
static int await_ready(struct helper *it, char address[64]) {
    char line[512];
    long got = ac_read_line(ac_process_output(it->process), line, sizeof line, ac_after(START_S));
    if (got == -ECANCELED)
        return -ECANCELED;
    char *at = NULL;
    for (char *next = got > 0 ? line : NULL; next && (next = strstr(next, " at ")); at = next)
        next += 4;
    char *end = at && strstr(line, "ready") ? strstr(at, ": ") : NULL;
    if (!end) {
        fprintf(stderr, "asyncoro run: the %s could not be started here\n", it->name);
        return -ECHILD;
    }
    snprintf(address, 64, "%.*s", (int)(end - at), at);
    return 0;
}

// Starts one of both and waits until it is ready.
static int start_helper(struct helper *it, const char **arguments, size_t count, char address[64]) {
    char text[KEY_TEXT_BYTES + 1];
    add(arguments, &count, "--loopback", "");
    add(arguments, &count, "--no-discovery", "");
    add(arguments, &count, "--die-with-stdin", "");
    add(arguments, &count, "--key-file", run.key_file);
    add(arguments, &count, "--key-stdin", run.keys.count ? "" : NULL);
    arguments[count] = NULL;
    it->name = arguments[1];
    int err = ac_process_start(&it->process, arguments, ac_after(START_S), .input = AC_PIPE,
                               .output = AC_PIPE, .own_session = true);
    if (!err && run.keys.count) {
        size_t bytes = key_print(&run.keys, text);
        text[bytes++] = '\n';
        long put = ac_write_all(ac_process_input(it->process), text, bytes, ac_after(START_S),
                                NULL);
        err = put < 0 && put != -EPIPE ? (int)put : 0; // one that has ended says why
        digest_wipe(text, sizeof text);
    }
    if (err && err != -ECANCELED)
        return complain(it->name, err);
    return err ? err : await_ready(it, address);
}

// Says when a helper ends before its time.
static ac_value watch_helper(ac_value argument) {
    struct helper *it = ac_pointer_of(argument);
    struct ac_process_end end;
    char text[128];
    if (ac_process_wait(it->process, &end, AC_FOREVER) == 0 && !run.over) {
        ac_process_end_text(&end, text, sizeof text);
        fprintf(stderr, "asyncoro run: the %s that was started here has ended: %s\n", it->name,
                text);
    }
    return ac_nil;
}

static int start_node(void) {
    const char *node[ARGUMENTS_MAX] = {own_path(), "node", "--grace", "0s"};
    char unused[64];
    size_t count = 4;
    add(node, &count, "--scheduler", run.address);
    add(node, &count, "--workers", run.workers);
    add(node, &count, "--memory", run.memory);
    add(node, &count, "--tags", run.tags);
    add(node, &count, "--sandbox", run.sandbox);
    add(node, &count, "--read", run.readable);
    add(node, &count, "--write", run.writable);
    add(node, &count, "--user", sys_user_is_root() ? "root" : NULL); // the program is root, too
    return start_helper(&run.node, node, count, unused);
}

static int start_here(void) {
    const char *scheduler[ARGUMENTS_MAX] = {own_path(), "scheduler", "--grace", "0s"};
    int err = start_helper(&run.scheduler, scheduler, 4, run.address);
    run.own = !err;
    return err ? err : start_node();
}

static void end_program(void) {
    fprintf(stderr,
            "asyncoro run: there is no node that could run its jobs: the program is ended\n");
    run.helpless = true;
    (void)sys_process_signal(&run.process, SIGTERM, false);
    if (ac_sleep(STOP_S) == 0)
        (void)sys_process_signal(&run.process, SIGKILL, false);
}

// Starts another node when one has ended. It is cancelled when the program is over.
static ac_value keep_node(ac_value unused) {
    for (int ended = 0; ended < NODES_MAX;) {
        ac_time began = ac_now();
        watch_helper(ac_of_pointer(&run.node));
        if (run.over)
            return unused;
        ended = ac_now() - began < NODE_LIVES_NS ? ended + 1 : 1;
        if (ended == NODES_MAX)
            break;
        ac_process_close(run.node.process);
        run.node.process = NULL;
        if (start_node() < 0)
            break;
        fprintf(stderr, "asyncoro run: another node was started here\n");
    }
    if (!run.over)
        end_program();
    return unused;
}

static void watch_here(void) {
    ac_spawn(watch_helper, ac_of_pointer(&run.scheduler), .daemon = true);
    run.keeper = ac_spawn(keep_node, ac_nil, .daemon = true, .stack_bytes = 256 << 10);
}

// Lets both go, and waits until they have gone.
static void stop_helper(struct helper *it, ac_time until) {
    if (it->process && ac_process_wait(it->process, NULL, until) < 0)
        fprintf(stderr, "asyncoro run: the %s that was started here does not end, and is killed\n",
                it->name);
    ac_process_close(it->process);
    it->process = NULL;
}

static void stop_here(void) {
    int err = ac_ref_is(run.keeper) ? ac_cancel(run.keeper) : 0;
    if (!err && ac_ref_is(run.keeper))
        err = ac_join(run.keeper, NULL, AC_FOREVER);
    if (err && err != -ESRCH)
        complain("the one who keeps the node", err);
    ac_time until = ac_after(STOP_S);
    if (run.scheduler.process)
        (void)ac_shutdown(ac_process_input(run.scheduler.process));
    if (run.node.process)
        (void)ac_shutdown(ac_process_input(run.node.process));
    stop_helper(&run.node, until);
    stop_helper(&run.scheduler, until);
}

// ---- signals ----

static void pass_on(const struct signalfd_siginfo *info) {
    int number = (int)info->ssi_signo;
    bool ends = number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
    bool sent = info->ssi_code <= 0 || number == SIGHUP; // by a process, and not by the terminal
    if (!run.runs && ends && !run.ended_by) {
        run.ended_by = number;
        (void)ac_cancel(run.main);
    } else if (run.runs && sent) {
        (void)sys_process_signal(&run.process, number, false);
    }
    if (number == SIGTSTP) {
        progress_clear(&run.progress);
        kill(getpid(), SIGSTOP);
    }
}

static ac_value take_signals(ac_value unused) {
    struct sys_handle handle = {0};
    int copy = sys_fd_copy(run.signals);
    if (copy < 0)
        return ac_result(copy);
    sys_adopt(loop_here->sys, &handle, copy, false);
    struct sys_op op = {.verb = SYS_WATCH, .handle = &handle};
    while (coro_operate(&op, AC_FOREVER) == 0) {
        struct signalfd_siginfo info;
        while (read(run.signals, &info, sizeof info) == sizeof info)
            pass_on(&info);
    }
    sys_close(&handle);
    return unused;
}

// Before there is another thread.
static int open_signals(void) {
    sigset_t set;
    struct sigaction action;
    sigemptyset(&set);
    for (size_t i = 0; i < countof(passed); i++)
        if (sigaction(passed[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, passed[i]);
    // That nobody reads how far the program is is no reason to end it.
    sigset_t blocked = set;
    sigaddset(&blocked, SIGPIPE);
    int err = -pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    run.signals = err ? err : signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return err ? err : run.signals < 0 ? -errno : 0;
}

// ---- the program ----

static int code_of(int err) { return err == -ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN; }

static int start_program(void) {
    char *end = realpath(run.key_file ? run.key_file : "", NULL);
    const char *key = run.keys.count ? run.key_path : end;
    int err = setenv("AC_SCHEDULER", run.address, 1) < 0 ? -errno : 0;
    if (!err && key)
        err = setenv("ASYNCORO_KEY_FILE", key, 1) < 0 ? -errno : 0;
    free(end);
    char port[16];
    snprintf(port, sizeof port, "%u", run.discovery_port);
    if (!err && run.discovery_port)
        err = setenv("ASYNCORO_DISCOVERY_PORT", port, 1) < 0 ? -errno : 0;
    if (err)
        return complain("the environment of the program", err);
    const struct sys_process_options how = {.path = run.found,
                                            .arguments = run.program,
                                            .input = STDIN_FILENO,
                                            .output = STDOUT_FILENO,
                                            .error = STDERR_FILENO,
                                            .extra = -1,
                                            .dies_with_us = true,
                                            .keeps_ignored = true};
    err = sys_process_start(&run.process, &how);
    if (err)
        run.code = code_of(err);
    return err ? complain(run.program[0], err) : 0;
}

static int await_program(void) {
    struct sys_handle handle = {0};
    struct sys_process_end end;
    int copy = sys_fd_copy(run.process.handle);
    if (copy < 0)
        return complain("waiting for the program", copy);
    sys_adopt(loop_here->sys, &handle, copy, false);
    struct sys_op op = {.verb = SYS_WATCH, .handle = &handle};
    int err = (int)coro_operate(&op, AC_FOREVER);
    sys_close(&handle);
    run.over = true;
    run.runs = false;
    if (!err)
        err = sys_process_reap(&run.process, &end);
    if (err)
        return complain("waiting for the program", err);
    run.code = end.by_signal ? EXIT_SIGNAL + end.code : end.code;
    return 0;
}

// ---- progress ----

static ac_value show_progress(ac_value unused) {
    double pause = run.progress.drawn ? DRAW_S : run.every;
    while (ac_sleep(pause) == 0)
        if (progress_look(&run.progress) == 0 && !run.over)
            progress_show(&run.progress);
    return unused;
}

static void say_where(void) {
    const char *key = run.keys.count ? run.key_path : run.key_file;
    if (!run.own)
        fprintf(stderr, "asyncoro run: the scheduler at %s\n", run.address);
    else
        fprintf(stderr,
                "asyncoro run: a scheduler and a node of its own; see: asyncoro jobs --loopback "
                "--peer %s%s%s\n",
                run.address, key ? " --key-file " : "", key ? key : "");
}

static void begin_progress(void) {
    run.progress.drawn = progress_can_draw();
    if (run.quiet || (!run.told && !run.progress.drawn))
        return;
    say_where();
    if (progress_find(&run.progress, run.address, run.own) == 0)
        ac_spawn(show_progress, ac_nil, .daemon = true);
}

// The last word, when the jobs have ended too.
static void end_progress(void) {
    bool shown = ac_ref_is(run.progress.desk) && !run.quiet;
    if (shown && progress_look(&run.progress) == 0) {
        progress_clear(&run.progress);
        run.progress.drawn = false;
        progress_show(&run.progress);
    }
    progress_clear(&run.progress);
}

// ---- the whole ----

static ac_value run_main(ac_value unused) {
    run.main = ac_self();
    ac_spawn(take_signals, ac_nil, .daemon = true);
    int err = is_sought() ? find_scheduler() : -ENOENT;
    if (err && err != -ECANCELED)
        err = start_here();
    if (!err)
        begin_progress();
    if (!err && !run.ended_by)
        err = start_program();
    (void)ac_shield_begin();
    if (!err && !run.ended_by) {
        run.runs = true;
        if (run.own)
            watch_here();
        (void)await_program();
        end_progress();
    }
    run.over = true;
    stop_here();
    if (run.ended_by)
        run.code = EXIT_SIGNAL + run.ended_by;
    else if (run.helpless)
        run.code = EXIT_OURS;
    (void)ac_shield_end();
    return unused;
}

// What stands behind "--" is the program's. Returns how many arguments there are before it.
static int split(int count, char **arguments) {
    int at = 0;
    while (at < count && strcmp(arguments[at], "--") != 0)
        at++;
    run.program = at < count ? arguments + at + 1 : NULL;
    return at;
}

static int read_arguments(int count, char **arguments) {
    const struct tool_option options[] = {
        {.name = "--scheduler", .text = &run.where},
        {.name = "--seconds", .number = &run.seconds, .number_max = 1000},
        {.name = "--loopback", .flag = &run.loopback},
        {.name = "--discovery-port", .number = &run.discovery_port, .number_max = UINT16_MAX},
        {.name = "--key-file", .text = &run.key_file},
        {.name = "--workers", .text = &run.workers},
        {.name = "--memory", .text = &run.memory},
        {.name = "--tags", .text = &run.tags},
        {.name = "--sandbox", .text = &run.sandbox},
        {.name = "--read", .text = &run.readable},
        {.name = "--write", .text = &run.writable},
        {.name = "--progress", .flag = &run.told},
        {.name = "--every", .number = &run.every, .number_max = 86400},
        {.name = "--quiet", .flag = &run.quiet},
    };
    run.where = getenv("AC_SCHEDULER");
    int before = split(count, arguments);
    if (tool_read_options("run", before, arguments, options, countof(options), NULL))
        return EXIT_OURS;
    if (!run.program || !run.program[0]) {
        fprintf(stderr, "asyncoro run: which program? Say it behind --, as in: "
                        "asyncoro run -- PROGRAM ARGUMENTS; see: asyncoro help run\n");
        return EXIT_OURS;
    }
    run.where = !run.where ? "any" : *run.where ? run.where : "here";
    int err = sys_program_find(run.program[0], sys_program_paths(), run.found, sizeof run.found);
    if (!err && access(run.found, X_OK) < 0)
        err = -errno; // before anything is started for it
    if (err)
        complain(run.program[0], err);
    return err ? code_of(err) : EXIT_GOOD;
}

int tool_run_program(int count, char **arguments) {
    int code = read_arguments(count, arguments);
    if (code)
        return code;
    int err = open_signals();
    if (err)
        complain("signals", err);
    if (!err)
        err = need_key();
    if (!err)
        err = start_network();
    if (!err)
        ac_spawn(run_main, ac_nil, .name = "run", .stack_bytes = 256 << 10);
    if (!err)
        (void)ac_run();
    digest_wipe(&run.keys, sizeof run.keys);
    return run.code;
}
