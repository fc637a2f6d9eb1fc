// SPDX-License-Identifier: MIT
// `asyncoro run`: what the program gets and gives, what is started for it, and that nothing is
// left, however it ends. The programs are shells, and this test itself: with the argument "--square
// N" it is one that has N squares computed. How far it is: tests/tools/progress.c.
#include "tools/tool.h"

#include <dirent.h>
#include <fcntl.h>

static ac_value square(ac_value x) { return ac_of(ac_int_of(x) * ac_int_of(x)); }
AC_JOB(square)

JOBS_OF_THIS_TEST

// Fails unless all squares come.
static ac_value have_squares(ac_value count) {
    ac_computation *computation;
    struct ac_job_exit exit;
    int64_t sum = 0, right = 0;
    int err = ac_computation_open(&computation);
    for (int64_t i = 1; i <= ac_int_of(count) && !err; i++) {
        err = (int)ac_submit(computation, square, i) < 0 ? -EIO : 0;
        right += i * i;
    }
    for (int64_t i = 1; i <= ac_int_of(count) && !err; i++) {
        err = world_next_exit(&exit, TEST_PATIENCE_S) ? 0 : -ETIMEDOUT;
        sum += err ? 0 : ac_int_of(exit.exit.value);
        if (!err)
            ac_drop(exit.exit.value);
    }
    if (!err)
        err = ac_computation_close(computation, AC_FOREVER);
    return ac_result(err ? err : sum == right ? 0 : -EIO);
}

__attribute__((constructor)) static void be_program(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "--square") != 0)
        return;
    ac_spawn(have_squares, ac_of(atoi(argv[2])), .stack_bytes = 256 << 10);
    int err = ac_run();
    printf("%s at %s\n", err ? "failed" : "squared", getenv("AC_SCHEDULER"));
    exit(err ? 1 : 0);
}

static const char *own_path(void) {
    static char path[512];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    ck_assert_int_gt(length, 0);
    path[length] = 0;
    return path;
}

// The user has a key.
static void make_key(void) {
    ck_assert_int_eq(run_tool("key", "make"), 0);
    tool_said[0] = 0;
}

// One that goes on while the test does. Its standard output and error come from *output.
static void start_run(struct sys_process *process, int *output, const char *const *arguments) {
    char path[512], *all[32] = {(char *)"asyncoro", (char *)"run"};
    int ends[2];
    world_tool(path);
    for (int i = 0; arguments[i]; i++)
        all[i + 2] = (char *)arguments[i];
    ck_assert_int_eq(sys_pipe(ends), 0);
    const struct sys_process_options how = {.path = path,
                                            .arguments = all,
                                            .input = -1,
                                            .output = ends[1],
                                            .error = ends[1],
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(process, &how), 0);
    sys_fd_close(ends[1]);
    *output = ends[0];
}
#define start_run(process, output, ...)                                                            \
    start_run(process, output, (const char *const[]){__VA_ARGS__, NULL})

static void read_line(int fd, char line[256]) {
    size_t length = 0;
    while (length < 255 && read(fd, line + length, 1) == 1 && line[length] != '\n')
        length++;
    line[length] = 0;
}

static struct sys_process_end end_of(struct sys_process *process) {
    struct sys_process_end end;
    ck_assert(world_ends(process->handle, 2 * TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(process, &end), 0);
    return end;
}

TEST(its_arguments_are_checked) {
    world_make();
    ck_assert_int_eq(run_tool("help", "run"), 0);
    ck_said("128 and the signal's number");
    ck_assert_int_eq(run_tool("run"), 125);
    ck_said("which program?");
    ck_assert_int_eq(run_tool("run", "true"), 125);
    ck_assert_int_eq(run_tool("run", "--"), 125);
    ck_assert_int_eq(run_tool("run", "--frobnicate", "--", "true"), 125);
    ck_assert_int_eq(run_tool("run", "--", "no-such-program"), 127);
    ck_said("no-such-program");
    ck_assert_int_eq(run_tool("run", "--", "/nowhere/program"), 127);
    ck_assert_int_eq(run_tool("run", "--", "/etc/passwd"), 126);
    char cache[160]; // of nodes: none was started
    snprintf(cache, sizeof cache, "%s/asyncoro", world_folder);
    ck_assert_int_eq(access(cache, F_OK), -1);
    world_clean();
}

TEST(what_keeps_it_from_beginning_is_said) {
    world_make();
    ck_assert_int_eq(run_tool("run", "--key-file", "/nowhere/key", "--", "echo", "runs"), 125);
    ck_said("/nowhere/key");
    ck_not_said("runs");
    ck_assert_int_eq(run_tool("run", "--sandbox", "soft", "--", "echo", "runs"), 125);
    ck_said("--sandbox is default");
    ck_said("the node could not be started here");
    ck_not_said("runs");
    int fd = open(getenv("ASYNCORO_KEY_FILE"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    ck_assert_int_ge(fd, 0);
    sys_fd_close(fd);
    ck_assert_int_eq(run_tool("run", "--", "echo", "runs"), 125); // open to others
    ck_said("closed to others");
    world_clean();
}

TEST(input_output_and_exit_code_are_those_of_the_program) {
    int ends[2];
    world_make();
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert_int_eq(sys_fd_write(ends[1], "given\n", 6), 0);
    sys_fd_close(ends[1]);
    tool_input = ends[0];
    ck_assert_int_eq(
        run_tool("run", "--", "sh", "-c", "cat; echo \"$@\" >&2; exit 7", "x", "--", "--help"), 7);
    ck_assert_str_eq(tool_said, "given\n-- --help\n");
    sys_fd_close(ends[0]);
    tool_input = -1;
    ck_assert_int_eq(run_tool("run", "--quiet", "--", "true"), 0);
    ck_assert_str_eq(tool_said, "");
    ck_assert_int_eq(run_tool("run", "--", "sh", "-c", "kill -9 $$"), 128 + SIGKILL);
    ck_assert_int_eq(run_tool("run", "--", "sh", "-c", "kill -SEGV $$"), 128 + SIGSEGV);
    world_clean();
}

// The key is nowhere where others see it, and gone afterwards.
TEST(without_a_key_one_is_made_that_nobody_sees) {
    static const char look[] =
        "for p in /proc/[0-9]*; do grep -qsaf $ASYNCORO_KEY_FILE $p/environ $p/cmdline && "
        "echo seen; done; wc -c < $ASYNCORO_KEY_FILE; stat -L -c %a $ASYNCORO_KEY_FILE; "
        "echo $ASYNCORO_KEY_FILE";
    world_make();
    char path[128];
    snprintf(path, sizeof path, "%s", getenv("ASYNCORO_KEY_FILE"));
    ck_assert_int_eq(run_tool("run", "--", "sh", "-c", look), 0);
    ck_not_said("seen");
    ck_said("65\n600\n/proc/");
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(run_tool("run", "--workers", "2", "--", own_path(), "--square", "100"), 0);
    ck_said("squared at 127.0.0.1:");
    ck_assert_int_eq(access(path, F_OK), -1);
    world_clean();
}

TEST(with_the_users_key_the_program_has_that) {
    char text[160];
    world_make();
    make_key();
    snprintf(text, sizeof text, "%s\n", getenv("ASYNCORO_KEY_FILE"));
    ck_assert_int_eq(run_tool("run", "--", "sh", "-c", "echo $ASYNCORO_KEY_FILE"), 0);
    ck_assert_str_eq(tool_said, text);
    ck_assert_int_eq(run_tool("run", "--workers", "2", "--", own_path(), "--square", "100"), 0);
    ck_said("squared at 127.0.0.1:");
    char file[128];
    snprintf(file, sizeof file, "%s", getenv("ASYNCORO_KEY_FILE"));
    setenv("ASYNCORO_KEY_FILE", "/nowhere", 1);
    ck_assert_int_eq(
        run_tool("run", "--progress", "--key-file", file, "--", own_path(), "--square", "10"), 0);
    ck_said("squared");
    snprintf(text, sizeof text, " --key-file %.128s\n", file); // for who wants to look
    ck_said(text);
    ck_assert_int_eq(run_tool("run", "--key-file", "/nowhere", "--", "true"), 125);
    ck_said("key file /nowhere: it, or its folder, is not there\n");
    world_clean();
}

TEST(a_scheduler_that_is_there_is_used) {
    char text[96];
    world_make();
    world_start_scheduler();
    unsetenv("AC_SCHEDULER");
    world_start_node("1");
    snprintf(text, sizeof text, "squared at %s\n", world_scheduler_address);
    ck_assert_int_eq(
        run_tool("run", "--loopback", "--seconds", "20", "--", own_path(), "--square", "10"), 0);
    ck_assert_str_eq(tool_said, text);
    ck_assert_int_eq(run_tool("run", "--loopback", "--scheduler", world_scheduler_address, "--",
                              own_path(), "--square", "10"),
                     0);
    ck_assert_str_eq(tool_said, text);
    ck_assert_int_eq(run_tool("run", "--scheduler", "here", "--", own_path(), "--square", "10"), 0);
    ck_assert_str_ne(tool_said, text);
    ck_said("squared at 127.0.0.1:");
    world_stop(&world_scheduler);
    world_end();
}

TEST(where_that_does_not_answer_this_is_said) {
    world_make();
    make_key();
    ck_assert_int_eq(
        run_tool("run", "--scheduler", "127.0.0.1:1", "--", own_path(), "--square", "10"), 0);
    ck_said("the scheduler at 127.0.0.1:1: ");
    ck_said("squared");
    world_clean();
}

// Each has a scheduler of its own, also when the second one seeks one while the first runs.
// It has no names, and says so.
TEST(while_it_runs_others_learn_what_names_there_are) {
    struct sys_process process;
    int output, code;
    char line[256];
    world_make();
    make_key();
    start_run(&process, &output, "--loopback", "--", "sh", "-c", "echo ready; exec sleep 1000");
    read_line(output, line);
    do
        code = run_tool("names", "--loopback");
    while (strstr(tool_said, "nobody was found"));
    ck_assert_str_eq(tool_said, "");
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(sys_process_signal(&process, SIGTERM, false), 0);
    ck_assert_int_eq(end_of(&process).code, 128 + SIGTERM);
    sys_fd_close(output);
    world_clean();
}

TEST(two_at_once_have_nothing_to_do_with_each_other) {
    struct sys_process first;
    int output;
    char line[256];
    world_make();
    make_key();
    start_run(&first, &output, "--", "sh", "-c", "echo $AC_SCHEDULER; exec sleep 1000");
    read_line(output, line);
    ck_assert_ptr_nonnull(strstr(line, "127.0.0.1:"));
    ck_assert_int_eq(run_tool("run", "--workers", "1", "--", own_path(), "--square", "10"), 0);
    ck_said("squared at 127.0.0.1:");
    ck_not_said(line);
    ck_assert_int_eq(sys_process_signal(&first, SIGTERM, false), 0);
    ck_assert_int_eq(end_of(&first).code, 128 + SIGTERM);
    sys_fd_close(output);
    world_clean();
}

TEST(signals_are_passed_on) {
    static const char program[] = "trap 'echo got; exit 9' INT; echo ready; "
                                  "while :; do sleep 0.05; done";
    struct sys_process process;
    int output;
    char line[256];
    world_make();
    start_run(&process, &output, "--", "sh", "-c", program);
    read_line(output, line);
    ck_assert_str_eq(line, "ready");
    ck_assert_int_eq(sys_process_signal(&process, SIGINT, false), 0);
    read_line(output, line);
    ck_assert_str_eq(line, "got");
    struct sys_process_end end = end_of(&process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 9);
    sys_fd_close(output);
    world_clean();
}

// `asyncoro run` started by a shell, whose words these are, "$0" being the program. Its exit code.
static int run_by_shell(const char *words) {
    char path[512];
    struct sys_process process;
    world_tool(path);
    const char *const arguments[] = {"sh", "-c", words, path, NULL};
    const struct sys_process_options how = {.path = "/bin/sh",
                                            .arguments = (char *const *)arguments,
                                            .input = -1,
                                            .output = -1,
                                            .error = -1,
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    struct sys_process_end end = end_of(&process);
    ck_assert(!end.by_signal);
    return end.code;
}

// As with nohup.
TEST(what_is_ignored_the_program_ignores_too) {
    world_make();
    ck_assert_int_eq(run_by_shell("trap '' HUP; exec \"$0\" run -- sh -c 'kill -HUP $$; exit 9'"),
                     9);
    ck_assert_int_eq(run_by_shell("exec \"$0\" run -- sh -c 'kill -HUP $$; exit 9'"), 128 + SIGHUP);
    world_clean();
}

// What is closed is nothing, and not something of the run's.
TEST(without_standard_streams_the_program_has_empty_ones) {
    world_make();
    ck_assert_int_eq(run_by_shell("exec \"$0\" run -- cat <&-"), 0);
    ck_assert_int_eq(run_by_shell("exec \"$0\" run -- echo text >&-"), 0);
    ck_assert_int_eq(run_by_shell("exec \"$0\" run -- sh -c 'cat && echo text >&2' <&- >&- 2>&-"),
                     0);
    world_clean();
}

TEST(that_nobody_reads_how_far_it_is_ends_nothing) {
    world_make();
    ck_assert_int_eq(run_by_shell("cd $XDG_CACHE_HOME; { \"$0\" run --progress -- sh -c 'exit 9'; "
                                  "echo $? >code; } 2>&1 | :; exit $(cat code)"),
                     9);
    world_clean();
}

// Whether a process has that signal blocked, as one that reads it.
static bool reads_signal(int id, int number) {
    char path[64], line[256];
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/%d/status", id);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        (void)sscanf(line, "SigBlk: %llx", &blocked);
    if (file)
        fclose(file);
    return blocked >> (number - 1) & 1;
}

TEST(a_signal_before_the_program_runs_ends_it) {
    struct sys_process process;
    int output;
    world_make();
    make_key();
    start_run(&process, &output, "--loopback", "--seconds", "900", "--", "echo", "runs");
    while (!reads_signal(process.id, SIGTERM))
        usleep(1000);
    ck_assert_int_eq(sys_process_signal(&process, SIGTERM, false), 0);
    struct sys_process_end end = end_of(&process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 128 + SIGTERM);
    char line[256];
    read_line(output, line);
    ck_assert_str_eq(line, "");
    sys_fd_close(output);
    world_clean();
}

struct child {
    int id;
    int handle;
};

static size_t children_of(int id, struct child *children, size_t max);

// Those that one thread of it has started, and those that these have.
static size_t children_by(int id, const char *thread, struct child *children, size_t max) {
    char path[320];
    size_t count = 0;
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", id, thread);
    FILE *file = fopen(path, "re");
    while (file && count < max && fscanf(file, "%d", &child) == 1) {
        int handle = (int)syscall(SYS_pidfd_open, child, 0);
        if (handle >= 0)
            children[count++] = (struct child){child, handle};
        count += children_of(child, children + count, max - count);
    }
    if (file)
        fclose(file);
    return count;
}

static size_t children_of(int id, struct child *children, size_t max) {
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", id);
    DIR *threads = opendir(path);
    for (struct dirent *it; threads && (it = readdir(threads)) != NULL;)
        if (it->d_name[0] != '.')
            count += children_by(id, it->d_name, children + count, max - count);
    if (threads)
        closedir(threads);
    return count;
}

static int find_child(const char *command, const struct child *children, size_t count, int but) {
    char path[64], text[256];
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/proc/%d/cmdline", children[i].id);
        FILE *file = fopen(path, "re");
        size_t bytes = file ? fread(text, 1, sizeof text - 1, file) : 0;
        text[bytes] = 0;
        if (file)
            fclose(file);
        if (children[i].id != but &&
            strcmp(text + strlen(text) + (strlen(text) < bytes), command) == 0)
            return children[i].id;
    }
    return -1;
}

// The one that is run as that subcommand.
static int child_that_is(const char *command, const struct child *children, size_t count) {
    int id = find_child(command, children, count, -1);
    for (size_t i = 0; i < count; i++)
        if (children[i].id == id)
            return children[i].handle;
    ck_abort_msg("there is no %s", command);
}

static uint32_t entries;
static int count_entry(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)path, (void)facts, (void)type;
    entries += at->level == 1;
    return 0;
}

TEST(killed_it_leaves_nothing) {
    struct child children[32];
    struct sys_process process;
    int output;
    char line[256], path[128];
    world_make();
    snprintf(path, sizeof path, "%s", getenv("ASYNCORO_KEY_FILE"));
    start_run(&process, &output, "--workers", "1", "--", "sh", "-c",
              "\"$0\" --square 10; exec sleep 1000", own_path());
    read_line(output, line);
    ck_assert_ptr_nonnull(strstr(line, "squared"));
    size_t count = children_of(process.id, children, 32);
    ck_assert_uint_ge(count, 3); // scheduler, node and program
    ck_assert_int_eq(sys_process_signal(&process, SIGKILL, false), 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert(world_ends(children[i].handle, 2 * TEST_PATIENCE_S));
        sys_fd_close(children[i].handle);
    }
    ck_assert(end_of(&process).by_signal);
    ck_assert_int_eq(access(path, F_OK), -1);
    snprintf(path, sizeof path, "%s/asyncoro/work", world_folder);
    (void)nftw(path, count_entry, 16, FTW_PHYS);
    ck_assert_uint_eq(entries, 0);
    sys_fd_close(output);
    world_clean();
}

// And what else it has started ends with the run.
// Kills the node of a run, once it is there and ready.
static void kill_node_of(int id, int *killed) {
    struct child children[32];
    for (int tries = 0; tries < 20 * TEST_PATIENCE_S; tries++) {
        size_t count = children_of(id, children, 32);
        int node = find_child("node", children, count, *killed);
        if (node >= 0)
            ck_assert_int_eq(kill(node, SIGKILL), 0);
        *killed = node >= 0 ? node : *killed;
        for (size_t i = 0; i < count; i++)
            sys_fd_close(children[i].handle);
        if (node >= 0)
            return;
        usleep(50 * 1000);
    }
    ck_abort_msg("there is no node");
}

TEST(a_node_that_ends_is_started_again, .seconds_max = 120) {
    struct sys_process process;
    int output, killed = 0;
    char line[256], go[128];
    world_make();
    snprintf(go, sizeof go, "%s/go", world_folder);
    setenv("GO", go, 1);
    start_run(&process, &output, "--workers", "1", "--", "sh", "-c",
              "echo ready; while [ ! -e \"$GO\" ]; do sleep 0.05; done; exec \"$0\" --square 10",
              own_path());
    read_line(output, line);
    kill_node_of(process.id, &killed);
    read_line(output, line);
    ck_assert_msg(strstr(line, "the node that was started here has ended: killed by signal 9"),
                  "%s", line);
    read_line(output, line);
    ck_assert_msg(strstr(line, "another node was started here"), "%s", line);
    sys_fd_close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    read_line(output, line);
    ck_assert_msg(strstr(line, "squared"), "%s", line);
    ck_assert_int_eq(end_of(&process).code, 0);
    sys_fd_close(output);
    world_clean();
}

TEST(where_nodes_end_again_and_again_the_program_is_ended, .seconds_max = 120) {
    struct sys_process process;
    int output, killed = 0;
    char line[256];
    world_make();
    start_run(&process, &output, "--workers", "1", "--", "sh", "-c", "echo ready; exec sleep 1000");
    read_line(output, line);
    for (int i = 1; i <= 4; i++) {
        kill_node_of(process.id, &killed);
        read_line(output, line);
        ck_assert_msg(strstr(line, "has ended: killed by signal 9"), "%s", line);
        read_line(output, line);
        ck_assert_msg(strstr(line, i < 4 ? "another node" : "the program is ended"), "%s", line);
    }
    struct sys_process_end end = end_of(&process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 125);
    sys_fd_close(output);
    world_clean();
}

TEST(a_helper_that_ends_is_told_of) {
    struct child children[32];
    struct sys_process process;
    int output;
    char line[256];
    world_make();
    start_run(&process, &output, "--", "sh", "-c", "echo ready; exec sleep 1000");
    read_line(output, line);
    size_t count = children_of(process.id, children, 32);
    ck_assert_uint_ge(count, 3);
    ck_assert_int_eq(syscall(SYS_pidfd_send_signal, child_that_is("scheduler", children, count),
                             SIGKILL, NULL, 0),
                     0);
    read_line(output, line);
    ck_assert_msg(strstr(line, "that was started here has ended: killed by signal 9"), "%s", line);
    ck_assert_int_eq(sys_process_signal(&process, SIGTERM, false), 0);
    ck_assert_int_eq(end_of(&process).code, 128 + SIGTERM);
    for (size_t i = 0; i < count; i++) {
        ck_assert(world_ends(children[i].handle, 2 * TEST_PATIENCE_S));
        sys_fd_close(children[i].handle);
    }
    sys_fd_close(output);
    world_clean();
}
