// SPDX-License-Identifier: MIT
// How `asyncoro run` shows how far its program is: in lines, and on a terminal, which is a
// pseudo-terminal here.
#include "tools/tool.h"

#include <fcntl.h>
#include <sys/ioctl.h>

static ac_value one(ac_value unused) { return unused; }
AC_JOB(one)

static ac_value break_down(ac_value unused) {
    (void)unused;
    return ac_result(-EIO);
}
AC_JOB(break_down)

JOBS_OF_THIS_TEST

// "--jobs": a program with three jobs, one of which fails. It then writes a line and reads until
// its input ends.
static ac_value have_jobs(ac_value unused) {
    ac_computation *computation;
    struct ac_job_exit exit;
    int err = ac_computation_open(&computation);
    for (int i = 0; i < 3 && !err; i++)
        err = ac_submit(computation, i ? one : break_down, ac_nil) < 0 ? -EIO : 0;
    for (int i = 0; i < 3 && !err; i++) {
        err = world_next_exit(&exit, TEST_PATIENCE_S) ? 0 : -ETIMEDOUT;
        if (!err)
            ac_drop(exit.exit.value);
    }
    char byte;
    puts("the program is done");
    fflush(stdout);
    while (!err && read(STDIN_FILENO, &byte, 1) == 1)
        continue;
    return err ? ac_result(err) : unused;
}

__attribute__((constructor)) static void be_program(int argc, char **argv) {
    if (argc != 2 || strcmp(argv[1], "--jobs") != 0)
        return;
    ac_spawn(have_jobs, ac_nil, .stack_bytes = 256 << 10);
    exit(ac_run() ? 1 : 0);
}

static const char *own_path(void) {
    static char path[512];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    ck_assert_int_gt(length, 0);
    path[length] = 0;
    return path;
}

TEST(lines_tell_what_is_done) {
    world_make();
    ck_assert_int_eq(run_tool("run", "--progress", "--workers", "1", "--", own_path(), "--jobs"),
                     0);
    ck_said("asyncoro jobs --loopback --peer 127.0.0.1:");
    ck_said("--key-file /proc/");
    ck_said("asyncoro run: 2 done, 1 failed, 0 running, 0 waiting; ");
    ck_assert_int_eq(run_tool("run", "--workers", "1", "--", own_path(), "--jobs"), 0);
    ck_assert_str_eq(tool_said, "the program is done\n");
    ck_assert_int_eq(
        run_tool("run", "--progress", "--quiet", "--workers", "1", "--", own_path(), "--jobs"), 0);
    ck_assert_str_eq(tool_said, "the program is done\n");
    world_clean();
}

// Three jobs that end at once after two seconds were not more than one and a half a second.
TEST(the_rate_counts_the_time_before_the_first_end) {
    double rate = 100;
    world_make();
    ck_assert_int_eq(run_tool("run", "--progress", "--every", "1", "--workers", "1", "--", "sh",
                              "-c", "sleep 2; exec \"$0\" --jobs", own_path()),
                     0);
    const char *last = strstr(tool_said, "2 done, 1 failed, 0 running, 0 waiting; ");
    ck_assert_msg(last && sscanf(strstr(last, "; "), "; %lf/s", &rate) == 1, "%s", tool_said);
    ck_assert_msg(rate < 1.6, "%s", tool_said);
    world_clean();
}

// A run whose program stays until its input ends.
struct shown_run {
    struct sys_process process;
    int input, output;
};

// Begins one and waits until it has shown what its program has done.
static void begin_shown(struct shown_run *it) {
    char path[512];
    int input[2], output[2];
    size_t length = 0;
    world_tool(path);
    ck_assert(sys_pipe(input) == 0 && sys_pipe(output) == 0);
    const char *const arguments[] = {"asyncoro", "run", "--loopback", "--progress", "--every",
                                     "1",        "--",  own_path(),   "--jobs",     NULL};
    const struct sys_process_options how = {.path = path,
                                            .arguments = (char *const *)arguments,
                                            .input = input[0],
                                            .output = output[1],
                                            .error = output[1],
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&it->process, &how), 0);
    sys_fd_close(input[0]);
    sys_fd_close(output[1]);
    it->input = input[1];
    it->output = output[0];
    tool_said[0] = 0;
    while (!strstr(tool_said, " done, 1 failed, 0 running, 0 waiting; ")) {
        ssize_t got = read(it->output, tool_said + length, sizeof tool_said - 1 - length);
        ck_assert_msg(got > 0 && !strstr(tool_said, " 2 failed"), "it said: %s", tool_said);
        length += (size_t)got;
        tool_said[length] = 0;
    }
    ck_said("asyncoro run: the scheduler at 127.0.0.1:");
    ck_said("asyncoro run: 2 done, 1 failed");
}

static void end_shown(struct shown_run *it) {
    struct sys_process_end end;
    sys_fd_close(it->input);
    ck_assert(world_ends(it->process.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&it->process, &end), 0);
    ck_assert_int_eq(end.code, 0);
    sys_fd_close(it->output);
}

// The second one is not told of what the first has there.
TEST(at_a_scheduler_that_was_there_its_own_jobs_count) {
    struct shown_run first, second;
    world_make();
    world_start_scheduler();
    world_start_node("1");
    begin_shown(&first);
    begin_shown(&second);
    end_shown(&second);
    end_shown(&first);
    world_stop(&world_scheduler);
    world_end();
}

// ---- on a terminal ----

static int terminal; // the end that a user would sit at

// Starts it there, in the foreground, in a terminal of 24 lines.
static pid_t start_there(const char *kind, const char *const *arguments) {
    char path[512];
    world_tool(path);
    const struct winsize size = {.ws_row = 24, .ws_col = 80};
    terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(terminal, 0);
    ck_assert_int_eq(grantpt(terminal) | unlockpt(terminal), 0);
    ck_assert_int_eq(ioctl(terminal, TIOCSWINSZ, &size), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("TERM", kind, 1);
    int fd = setsid() < 0 ? -1 : open(ptsname(terminal), O_RDWR);
    if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0 || dup2(fd, 0) < 0 || dup2(fd, 1) < 0 ||
        dup2(fd, 2) < 0)
        _exit(99);
    execv(path, (char *const *)arguments);
    _exit(98);
}
#define start_there(kind, ...)                                                                     \
    start_there(kind, (const char *const[]){"asyncoro", "run", __VA_ARGS__, NULL})

static size_t shown;

// Reads what is shown until a text is among it; NULL: to its end. False if it does not come.
static bool await_shown(const char *text) {
    struct pollfd it = {.fd = terminal, .events = POLLIN};
    while (!text || !strstr(tool_said, text)) {
        ssize_t got = poll(&it, 1, TEST_PATIENCE_S * 1000) == 1
                          ? read(terminal, tool_said + shown, sizeof tool_said - 1 - shown)
                          : -1;
        if (got <= 0)
            return !text && errno == EIO;
        shown += (size_t)got;
        tool_said[shown] = 0;
    }
    return true;
}

static int end_there(pid_t pid) {
    int status;
    ck_assert(await_shown(NULL));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    sys_fd_close(terminal);
    return WEXITSTATUS(status);
}

TEST(a_terminal_keeps_its_last_line_for_it) {
    world_make();
    pid_t pid = start_there("xterm", "--workers", "1", "--", "sh", "-c",
                            "echo first; \"$0\" --jobs; echo last", own_path());
    ck_assert(await_shown("\033[1;23r")); // the others scroll
    ck_assert(await_shown("\033[24;1H\033[2K2 done, 1 failed, 0 running, 0 waiting; "));
    ck_assert_int_eq(write(terminal, "\004", 1), 1); // the end of its input
    ck_assert_int_eq(end_there(pid), 0);
    ck_said("first\r\n");
    ck_said("the program is done\r\n");
    ck_said("last\r\n");
    ck_said("\033[r\033[24;1H\033[2K"); // as it was
    ck_said("asyncoro run: 2 done, 1 failed");
    world_clean();
}

TEST(a_terminal_that_cannot_be_drawn_on_is_left_alone) {
    world_make();
    pid_t pid = start_there("dumb", "--", "sh", "-c", "sleep 1.2; echo done");
    ck_assert_int_eq(end_there(pid), 0);
    ck_assert_str_eq(tool_said, "done\r\n");
    world_clean();
}

// The program gets it from the terminal, once, and what was started for it does not.
TEST(ctrl_c_is_for_the_program) {
    static const char program[] = "n=0; trap 'n=$((n+1))' INT; echo ready; "
                                  "while [ $n = 0 ]; do sleep 0.05; done; sleep 0.5; "
                                  "\"$0\" --jobs </dev/null; exit $n";
    world_make();
    pid_t pid = start_there("xterm", "--workers", "1", "--", "sh", "-c", program, own_path());
    ck_assert(await_shown("ready"));
    ck_assert_int_eq(write(terminal, "\003", 1), 1);
    ck_assert_int_eq(end_there(pid), 1);
    ck_said("the program is done\r\n");
    world_clean();
}

// One that it ends: as a shell would have it.
TEST(ctrl_c_ends_a_program_that_does_not_mind) {
    world_make();
    pid_t pid = start_there("xterm", "--", "sh", "-c", "echo ready; exec sleep 1000");
    ck_assert(await_shown("ready"));
    ck_assert(await_shown("\033[1;23r"));
    ck_assert_int_eq(write(terminal, "\003", 1), 1);
    ck_assert_int_eq(end_there(pid), 128 + SIGINT);
    ck_said("\033[r");
    world_clean();
}

// While it is stopped the terminal is its user's.
TEST(ctrl_z_gives_the_terminal_back) {
    int status;
    world_make();
    pid_t pid = start_there("xterm", "--", "sh", "-c", "echo ready; exec sleep 1000");
    ck_assert(await_shown("ready"));
    ck_assert(await_shown("\033[1;23r"));
    ck_assert_int_eq(write(terminal, "\032", 1), 1);
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));
    ck_assert(await_shown("\033[r"));
    shown = 0;
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    ck_assert(await_shown("\033[1;23r"));
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_assert_int_eq(end_there(pid), 128 + SIGTERM);
    world_clean();
}

// The program is told by us where no shell does that.
TEST(a_terminal_that_goes_ends_the_program) {
    int status;
    world_make();
    pid_t pid = start_there("xterm", "--", "sh", "-c", "echo ready; exec sleep 1000");
    ck_assert(await_shown("\033[1;23r"));
    sys_fd_close(terminal);
    int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    ck_assert(world_ends(handle, TEST_PATIENCE_S));
    sys_fd_close(handle);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGHUP);
    world_clean();
}
