// SPDX-License-Identifier: MIT
// Tests of src/io/process.c, with real programs. After each case no process, not even a zombie, and
// no descriptor may be left.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/connect.h"

#include "base/base.h"

#include <asyncoro/file.h>
#include <asyncoro/process.h>

static int count_descriptors(void) {
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

// Those that were abandoned may take a moment; this case's time-out is the limit.
static void check_no_children(void) {
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    ck_assert_int_eq(errno, ECHILD);
}

#define PROCESS_TEST(name_)                                                                        \
    static void name_##_body(void);                                                                \
    static ac_value name_##_coro(ac_value unused) {                                                \
        (void)unused;                                                                              \
        name_##_body();                                                                            \
        return ac_nil;                                                                             \
    }                                                                                              \
    TEST(name_) {                                                                                  \
        int before = count_descriptors();                                                          \
        run(name_##_coro);                                                                         \
        check_no_children();                                                                       \
        while (count_descriptors() > before) /* a thread may still hold one */                     \
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);                               \
    }                                                                                              \
    static void name_##_body(void)

#define START(process_, arguments_, ...)                                                           \
    ck_assert_int_eq(ac_process_start(&(process_), arguments_, AC_FOREVER, __VA_ARGS__), 0)
#define SHELL(line_) AC_ARGUMENTS("sh", "-c", line_)

static struct ac_process_end await(ac_process *process) {
    struct ac_process_end end;
    ck_assert_int_eq(ac_process_wait(process, &end, AC_FOREVER), 0);
    return end;
}

static void check_line(ac_stream *stream, const char *line) {
    char text[256];
    ck_assert_int_gt(ac_read_line(stream, text, sizeof text, AC_FOREVER), 0);
    ck_assert_str_eq(text, line);
}

static void check_end_of(ac_stream *stream) {
    char byte;
    ck_assert_int_eq(ac_read(stream, &byte, 1, AC_FOREVER), 0);
}

// ---- starting, talking, ending ----

PROCESS_TEST(a_program_is_fed_read_and_awaited) {
    ac_process *process;
    START(process, AC_ARGUMENTS("sort", "-n"), .input = AC_PIPE, .output = AC_PIPE);
    ck_assert_int_gt(ac_process_id(process), 0);
    ck_assert_ptr_null(ac_process_error(process));
    write_text(ac_process_input(process), "10\n9\n");
    ck_assert_int_eq(ac_process_wait(process, NULL, ac_after(0.01)), -ETIMEDOUT);
    write_text(ac_process_input(process), "1\n");
    ck_assert_int_eq(ac_shutdown(ac_process_input(process)), 0);
    check_line(ac_process_output(process), "1");
    check_line(ac_process_output(process), "9");
    check_line(ac_process_output(process), "10");
    check_end_of(ac_process_output(process));
    struct ac_process_end end = await(process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 0);
    ck_assert_uint_gt(end.memory_bytes_max, 100000);
    ck_assert(end.user_seconds >= 0 && end.system_seconds >= 0 &&
              end.user_seconds + end.system_seconds < 10);
    await(process); // and again
    ck_assert_int_eq(ac_process_signal(process, SIGTERM), -ESRCH);
    ac_process_close(process);
}

PROCESS_TEST(exit_codes_and_signals_are_told_apart) {
    ac_process *process;
    char text[64];
    START(process, SHELL("exit 3"), .error = AC_NOTHING);
    struct ac_process_end end = await(process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 3);
    ac_process_end_text(&end, text, sizeof text);
    ck_assert_str_eq(text, "exit code 3");
    ac_process_close(process);
    START(process, AC_ARGUMENTS("sleep", "100"), .error = AC_NOTHING);
    ck_assert_int_eq(ac_process_signal(process, 0), -EINVAL);
    ck_assert_int_eq(ac_process_signal(process, 1000), -EINVAL);
    ck_assert_int_eq(ac_process_signal(process, SIGUSR1), 0);
    end = await(process);
    ck_assert(end.by_signal);
    ck_assert_int_eq(end.code, SIGUSR1);
    ac_process_close(process);
}

PROCESS_TEST(what_cannot_be_run_is_an_error) {
    ac_process *process;
    char path[TEST_TEMPLATE_BYTES];
    test_template(path);
    close(mkstemp(path));
#define FAILS(err, arguments, ...)                                                                 \
    ck_assert_int_eq(ac_process_start(&process, arguments, AC_FOREVER, __VA_ARGS__), err);         \
    ck_assert_ptr_null(process)
    FAILS(-ENOENT, AC_ARGUMENTS("no such program"), .input = AC_PIPE);
    FAILS(-ENOENT, AC_ARGUMENTS(""), .input = AC_PIPE);
    FAILS(-ENOENT, AC_ARGUMENTS("/no/such/program"), .input = AC_PIPE);
    FAILS(-EACCES, AC_ARGUMENTS(path), .input = AC_PIPE);
    FAILS(-EACCES, AC_ARGUMENTS("/"), .input = AC_PIPE);
    FAILS(-ENOENT, AC_ARGUMENTS("true"), .folder = "/no/such/folder");
    FAILS(-EINVAL, AC_ARGUMENTS("true"), .input = AC_TO_OUTPUT);
    FAILS(-EINVAL, AC_ARGUMENTS("true"), .output = AC_TO_OUTPUT);
    FAILS(-EINVAL, AC_ARGUMENTS("true"), .output = (enum ac_process_way)77);
    FAILS(-EINVAL, NULL, .output = AC_PIPE);
    FAILS(-EINVAL, ((const char *const[]){NULL}), .output = AC_PIPE);
    ck_assert_int_eq(ac_process_start(&process, AC_ARGUMENTS("true"), AC_NOW, .input = AC_PIPE),
                     -ETIMEDOUT);
    unlink(path);
    ac_process_close(NULL);
    ck_assert_int_eq(ac_process_wait(NULL, NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_process_signal(NULL, SIGTERM), -EINVAL);
    ck_assert_int_eq(ac_process_stop(NULL, NULL, AC_FOREVER), -EINVAL);
}

TEST(outside_coroutines_nothing_is_started) {
    ac_process *process;
    ck_assert_int_eq(ac_process_start(&process, AC_ARGUMENTS("true"), AC_FOREVER, .input = AC_PIPE),
                     -EPERM);
}

PROCESS_TEST(it_has_its_folder_environment_and_nothing_else) {
    ac_process *process;
    int leak = open("/dev/null", O_RDONLY); // without close-on-exec
    ck_assert_int_gt(leak, 2);
    START(process, SHELL("pwd; echo $GREETING $HOME; ls /proc/self/fd | wc -l"), .folder = "/",
          .environment = (const char *const[]){"GREETING=hello", "PATH=/usr/bin:/bin", NULL},
          .output = AC_PIPE, .error = AC_PIPE);
    check_line(ac_process_output(process), "/");
    check_line(ac_process_output(process), "hello");
    check_line(ac_process_output(process), "4"); // the three, and that of ls for the folder
    check_end_of(ac_process_error(process));
    await(process);
    ac_process_close(process);
    close(leak);
}

PROCESS_TEST(errors_may_go_where_the_output_goes) {
    ac_process *process;
    START(process, SHELL("echo one; echo two >&2; echo three"), .output = AC_PIPE,
          .error = AC_TO_OUTPUT);
    check_line(ac_process_output(process), "one");
    check_line(ac_process_output(process), "two");
    check_line(ac_process_output(process), "three");
    check_end_of(ac_process_output(process));
    ac_process_close(process);
}

PROCESS_TEST(there_is_nothing_to_read_unless_asked_for) {
    ac_process *process;
    START(process, AC_ARGUMENTS("cat"), .output = AC_PIPE);
    ck_assert_ptr_null(ac_process_input(process));
    check_end_of(ac_process_output(process));
    await(process);
    ac_process_close(process);
}

// ---- streams given away ----

PROCESS_TEST(files_and_pipes_can_be_given_to_it) {
    char in[TEST_TEMPLATE_BYTES], out[TEST_TEMPLATE_BYTES], text[8];
    test_template(in);
    test_template(out);
    int fd = mkstemp(in);
    ck_assert_int_eq(write(fd, "one\ntwo\n", 8), 8);
    close(fd);
    close(mkstemp(out));
    ac_process *process;
    ac_stream *input, *output, *reader, *writer;
    ck_assert_int_eq(ac_file_open(&input, in, "r", AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_open(&output, out, "w", AC_FOREVER), 0);
    ck_assert_int_eq(ac_pipe(&reader, &writer), 0);
    check_line(input, "one"); // the program goes on where we are
    write_text(output, "0\n");
    START(process, SHELL("cat; echo error >&2"), .input_stream = input, .output_stream = output,
          .error_stream = writer);
    check_line(reader, "error");
    check_end_of(reader);
    ac_close(reader);
    await(process);
    ac_process_close(process);
    fd = open(out, O_RDONLY);
    ck_assert_int_eq(read(fd, text, 8), 6);
    ck_assert_mem_eq(text, "0\ntwo\n", 6);
    close(fd);
    unlink(in);
    unlink(out);
}

PROCESS_TEST(what_was_lent_to_what_does_not_run_comes_back) {
    ac_process *process;
    ac_stream *reader, *writer;
    ck_assert_int_eq(ac_pipe(&reader, &writer), 0);
    FAILS(-ENOENT, AC_ARGUMENTS("/no/such/program"), .input_stream = reader);
    write_text(writer, "one\ntwo\n");
    check_line(reader, "one");
    FAILS(-EBUSY, AC_ARGUMENTS("cat"), .input_stream = reader); // it has read ahead
    check_line(reader, "two");
    char text[4];
    ck_assert_int_eq(ac_read(reader, text, 1, AC_NOW), -ETIMEDOUT); // and does not block
    FAILS(-EBUSY, AC_ARGUMENTS("cat"), .output_stream = writer, .error_stream = writer);
    FAILS(-EINVAL, AC_ARGUMENTS("cat"), .input_from = NULL, .output = (enum ac_process_way)9,
          .input_stream = reader);
    ac_close(reader);
    ac_close(writer);
}

PROCESS_TEST(programs_are_chained) {
    ac_process *first, *second, *third;
    START(first, AC_ARGUMENTS("printf", "b\\na\\nb\\n"), .output = AC_PIPE);
    START(second, AC_ARGUMENTS("sort"), .input_from = first, .output = AC_PIPE);
    ck_assert_ptr_null(ac_process_output(first));
    START(third, AC_ARGUMENTS("uniq", "-c"), .input_from = second, .output = AC_PIPE);
    check_line(ac_process_output(third), "      1 a");
    check_line(ac_process_output(third), "      2 b");
    check_end_of(ac_process_output(third));
    ck_assert_int_eq(await(first).code + await(second).code + await(third).code, 0);
    ac_process *fourth;
    ck_assert_int_eq(
        ac_process_start(&fourth, AC_ARGUMENTS("cat"), AC_FOREVER, .input_from = first), -EINVAL);
    ac_process_close(first);
    ac_process_close(second);
    ac_process_close(third);
}

static ac_value close_process(ac_value process) {
    ac_process_close(ac_pointer_of(process));
    return ac_nil;
}

PROCESS_TEST(the_first_of_a_chain_may_be_closed_while_the_next_starts) {
    ac_process *first, *second;
    START(first, AC_ARGUMENTS("sleep", "1000"), .output = AC_PIPE);
    ac_spawn(close_process, (void *)first); // runs when the start below waits for its thread
    START(second, AC_ARGUMENTS("cat"), .input_from = first, .output = AC_PIPE);
    check_end_of(ac_process_output(second));
    ck_assert_int_eq(await(second).code, 0);
    ac_process_close(second);
}

PROCESS_TEST(streams_of_a_process_are_not_lent_to_another) {
    ac_process *first, *second;
    START(first, AC_ARGUMENTS("cat"), .input = AC_PIPE, .output = AC_PIPE);
    ck_assert_int_eq(ac_process_start(&second, AC_ARGUMENTS("cat"), AC_FOREVER,
                                      .input_stream = ac_process_output(first)),
                     -EINVAL);
    ck_assert_int_eq(ac_process_start(&second, AC_ARGUMENTS("cat"), AC_FOREVER,
                                      .output_stream = ac_process_input(first)),
                     -EINVAL);
    write_text(ac_process_input(first), "still there\n");
    check_line(ac_process_output(first), "still there");
    ac_process_close(first);
}

PROCESS_TEST(a_named_pipe_that_is_lent_waits_for_its_writer) {
    ac_stream *pipe;
    ac_process *process;
    char folder[TEST_TEMPLATE_BYTES], path[80];
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pipe", folder);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(ac_file_open(&pipe, path, "r", AC_FOREVER), 0);
    int writer = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(writer, 0);
    ck_assert_int_eq(unlink(path) + rmdir(folder), 0);
    START(process, AC_ARGUMENTS("cat"), .input_stream = pipe, .output = AC_PIPE);
    ck_assert_int_eq(ac_process_wait(process, NULL, ac_after(0.05)), -ETIMEDOUT);
    ck_assert_int_eq(write(writer, "hello\n", 6), 6);
    close(writer);
    check_line(ac_process_output(process), "hello");
    ck_assert_int_eq(await(process).code, 0);
    ac_process_close(process);
}

PROCESS_TEST(the_first_of_a_chain_learns_that_the_last_has_gone) {
    ac_process *first, *second;
    START(first, AC_ARGUMENTS("yes"), .output = AC_PIPE);
    START(second, AC_ARGUMENTS("head", "-n", "1"), .input_from = first, .output = AC_PIPE);
    check_line(ac_process_output(second), "y");
    struct ac_process_end end = await(first);
    ck_assert(end.by_signal);
    ck_assert_int_eq(end.code, SIGPIPE);
    ac_process_close(first);
    ac_process_close(second);
}

// ---- programs that do not do as they should ----

PROCESS_TEST(who_does_not_read_gives_epipe_and_no_signal) {
    static char much[1 << 20];
    ac_process *process;
    START(process, AC_ARGUMENTS("true"), .input = AC_PIPE);
    ck_assert_int_eq(ac_write_all(ac_process_input(process), much, sizeof much, AC_FOREVER, NULL),
                     -EPIPE);
    ck_assert_int_eq(await(process).code, 0);
    ac_process_close(process);
}

PROCESS_TEST(who_closes_its_output_early_has_not_ended) {
    ac_process *process;
    START(process, SHELL("echo one; exec >&-; read line; exit 5"), .input = AC_PIPE,
          .output = AC_PIPE);
    check_line(ac_process_output(process), "one");
    check_end_of(ac_process_output(process));
    ck_assert_int_eq(ac_process_wait(process, NULL, AC_NOW), -ETIMEDOUT);
    write_text(ac_process_input(process), "\n");
    ck_assert_int_eq(await(process).code, 5);
    ac_process_close(process);
}

PROCESS_TEST(who_ignores_to_be_asked_is_killed) {
    ac_process *process;
    START(process, SHELL("trap '' TERM; echo ready; while :; do sleep 0.01; done"),
          .output = AC_PIPE);
    check_line(ac_process_output(process), "ready");
    struct ac_process_end end;
    ck_assert_int_eq(ac_process_stop(process, &end, ac_after(0.05)), 0);
    ck_assert(end.by_signal);
    ck_assert_int_eq(end.code, SIGKILL);
    ac_process_close(process);
    START(process, SHELL("trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done"),
          .output = AC_PIPE);
    check_line(ac_process_output(process), "ready");
    ck_assert_int_eq(ac_process_stop(process, &end, AC_FOREVER), 0);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 4);
    ck_assert_int_eq(ac_process_stop(process, &end, AC_FOREVER), 0); // again
    ck_assert_int_eq(end.code, 4);
    ac_process_close(process);
}

PROCESS_TEST(a_grandchild_may_hold_the_pipe) {
    ac_process *process;
    START(process, SHELL("sleep 100 & echo $!"), .output = AC_PIPE);
    char text[32];
    ck_assert_int_gt(ac_read_line(ac_process_output(process), text, sizeof text, AC_FOREVER), 0);
    await(process);
    ck_assert_int_eq(ac_read(ac_process_output(process), text + 16, 1, ac_after(0.02)), -ETIMEDOUT);
    ac_process_close(process);
    ck_assert_int_eq(kill(atoi(text), SIGKILL), 0);
}

PROCESS_TEST(a_session_is_signalled_whole) {
    ac_process *process;
    START(process, SHELL("sleep 100 & sleep 100 & wait"), .output = AC_PIPE, .own_session = true);
    ck_assert_int_eq(ac_process_stop(process, NULL, AC_FOREVER), 0);
    check_end_of(ac_process_output(process)); // nobody holds it any more
    ac_process_close(process);
    ac_stream *reader, *writer;
    ck_assert_int_eq(ac_pipe(&reader, &writer), 0);
    START(process, SHELL("sleep 100 & echo ready; wait"), .output_stream = writer,
          .own_session = true);
    check_line(reader, "ready");
    ac_process_close(process);
    check_end_of(reader);
    ac_close(reader);
}

// ---- waiting ----

static ac_process *awaited;
static int results[4];

static ac_value wait_for_it(ac_value n) {
    struct ac_process_end end = {.code = -1};
    int err = ac_process_wait(awaited, &end, AC_FOREVER);
    results[ac_int_of(n)] = err ? err : end.code;
    return ac_nil;
}

PROCESS_TEST(several_wait_for_one) {
    START(awaited, SHELL("read line; exit 6"), .input = AC_PIPE);
    ac_ref all[4];
    for (int i = 0; i < 4; i++)
        all[i] = ac_spawn(wait_for_it, i, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(all[3]), 0);
    write_text(ac_process_input(awaited), "\n");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(ac_join(all[i], NULL, AC_FOREVER), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(results[i], 6);
    ck_assert_int_eq(results[3], -ECANCELED);
    ac_process_close(awaited);
}

PROCESS_TEST(closing_kills_it_and_wakes_who_waits) {
    START(awaited, AC_ARGUMENTS("sleep", "100"), .input = AC_PIPE);
    ac_spawn(wait_for_it, 0);
    ck_assert_int_eq(ac_yield(), 0);
    int id = ac_process_id(awaited);
    ac_process_close(awaited);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(results[0], -EBADF);
    while (kill(id, 0) == 0) // until it is reaped
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

PROCESS_TEST(closed_at_once_it_is_killed) {
    START(awaited, AC_ARGUMENTS("sleep", "100"), .input = AC_PIPE, .output = AC_PIPE);
    ac_process_close(awaited);
}

static ac_value start_and_leave(ac_value unused) {
    (void)unused;
    START(awaited, AC_ARGUMENTS("sleep", "100"), .input = AC_PIPE);
    return ac_nil;
}

TEST(the_end_of_the_loop_kills_it) {
    int before = count_descriptors();
    run(start_and_leave);
    check_no_children();
    ac_process_close(awaited);
    while (count_descriptors() > before)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static ac_value start_and_be_cancelled(ac_value unused) {
    (void)unused;
    ac_process *process;
    results[0] = ac_process_start(&process, AC_ARGUMENTS("sleep", "100"), AC_FOREVER,
                                  .input = AC_PIPE, .output = AC_PIPE);
    ck_assert_ptr_null(process);
    return ac_nil;
}

PROCESS_TEST(a_start_that_is_given_up_leaves_nothing) {
    for (int i = 0; i < 20; i++) {
        results[0] = 77;
        ac_ref starter = ac_spawn(start_and_be_cancelled, ac_nil);
        ck_assert_int_eq(ac_yield(), 0);
        if (i % 2)
            nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL); // a thread is at it
        ck_assert_int_eq(ac_cancel(starter), 0);
        while (results[0] == 77)
            ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(results[0], -ECANCELED);
    }
}

TEST(one_whose_end_the_system_throws_away_is_closed_like_others) {
    signal(SIGCHLD, SIG_IGN);
    run(start_and_leave);
    ac_process_close(awaited);
}

static ac_value lose_the_end(ac_value unused) {
    (void)unused;
    START(awaited, AC_ARGUMENTS("true"), .input = AC_PIPE);
    ck_assert_int_eq(ac_process_wait(awaited, NULL, AC_FOREVER), -ECHILD);
    ac_process_close(awaited);
    return ac_nil;
}

TEST(an_end_that_the_system_throws_away_is_an_error) {
    signal(SIGCHLD, SIG_IGN);
    run(lose_the_end);
}

// ---- many ----

PROCESS_TEST(a_thousand_in_a_row) {
    for (int i = 0; i < 1000; i++) {
        ac_process *process;
        START(process, AC_ARGUMENTS("/bin/true"), .input = AC_PIPE, .output = AC_PIPE);
        ck_assert_int_eq(await(process).code, 0);
        ac_process_close(process);
    }
}

static ac_value run_one(ac_value n) {
    char text[16];
    ac_process *process;
    ac_format(text, sizeof text, "%d", (int)ac_int_of(n));
    START(process, AC_ARGUMENTS("echo", text), .output = AC_PIPE);
    check_line(ac_process_output(process), text);
    check_end_of(ac_process_output(process));
    ck_assert_int_eq(await(process).code, 0);
    ac_process_close(process);
    return ac_nil;
}

PROCESS_TEST(fifty_at_once) {
    ac_ref all[50];
    for (int i = 0; i < 50; i++)
        all[i] = ac_spawn(run_one, i, .joinable = true);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(ac_join(all[i], NULL, AC_FOREVER), 0);
}

PROCESS_TEST(lack_of_memory_is_an_error) {
    int err = -ENOMEM;
    ac_process *process;
    START(process, AC_ARGUMENTS("true"), .folder = "/"); // makes the threads
    await(process);
    ac_process_close(process);
    for (int n = 1; err; n++) {
        memory_fail_nth(n);
        err = ac_process_start(&process, AC_ARGUMENTS("true"), AC_FOREVER, .folder = "/",
                               .environment = (const char *const[]){"A=B", NULL}, .input = AC_PIPE,
                               .output = AC_PIPE);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
    }
    await(process);
    ac_process_close(process);
}
