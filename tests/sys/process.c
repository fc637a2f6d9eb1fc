// SPDX-License-Identifier: MIT
// Tests of src/sys/process.c.
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "sys/filter.h"
#include "sys/sys.h"

#define SHELL "/bin/sh"

// How to run a line of shell, with nothing for input and output.
static struct sys_process_options shell_options(char **arguments, const char *line) {
    arguments[0] = (char *)"sh";
    arguments[1] = (char *)"-c";
    arguments[2] = (char *)(uintptr_t)line;
    arguments[3] = NULL;
    return (struct sys_process_options){
        .path = SHELL, .arguments = arguments, .input = -1, .output = -1, .error = -1, .extra = -1};
}

static struct sys_process_end wait_for(struct sys_process *process) {
    struct sys_process_end end;
    struct pollfd ended = {.fd = process->handle, .events = POLLIN};
    ck_assert_int_eq(poll(&ended, 1, 20000), 1);
    ck_assert_int_eq(sys_process_reap(process, &end), 0);
    ck_assert_int_eq(process->handle, -1);
    return end;
}

// What a line of shell writes to its standard output.
static void output_of(struct sys_process_options *how, char *text, size_t bytes) {
    int ends[2];
    struct sys_process process;
    ck_assert_int_eq(sys_pipe(ends), 0);
    how->output = ends[1];
    ck_assert_int_eq(sys_process_start(&process, how), 0);
    sys_fd_close(ends[1]);
    size_t count = 0;
    for (ssize_t got; (got = read(ends[0], text + count, bytes - 1 - count)) > 0;)
        count += (size_t)got;
    text[count] = 0;
    sys_fd_close(ends[0]);
    struct sys_process_end end = wait_for(&process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 0);
}

TEST(the_exit_code_is_told) {
    char *arguments[4], text[64];
    struct sys_process_options how = shell_options(arguments, "exit 3");
    struct sys_process process;
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    ck_assert_int_gt(process.id, 0);
    struct sys_process_end end = wait_for(&process);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 3);
    sys_process_end_text(&end, text, sizeof text);
    ck_assert_str_eq(text, "exit code 3");
}

TEST(the_signal_that_ended_it_is_told) {
    char *arguments[4], text[64];
    struct sys_process_options how = shell_options(arguments, "kill -SEGV $$");
    struct sys_process process;
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    struct sys_process_end end = wait_for(&process);
    ck_assert(end.by_signal);
    ck_assert_int_eq(end.code, SIGSEGV);
    sys_process_end_text(&end, text, sizeof text);
    ck_assert_str_eq(text, "killed by signal 11 (Segmentation fault)");
}

TEST(one_that_runs_is_not_reaped_and_can_be_ended) {
    char *arguments[4];
    struct sys_process_options how = shell_options(arguments, "exec sleep 100");
    struct sys_process process;
    struct sys_process_end end;
    for (int hard = 0; hard < 2; hard++) {
        ck_assert_int_eq(sys_process_start(&process, &how), 0);
        ck_assert_int_eq(sys_process_reap(&process, &end), -EAGAIN);
        sys_process_end(&process, hard, false);
        end = wait_for(&process);
        ck_assert(end.by_signal);
        ck_assert_int_eq(end.code, hard ? SIGKILL : SIGTERM);
        sys_process_end(&process, true, true); // does nothing any more
        ck_assert_int_eq(sys_process_reap(&process, &end), -ECHILD);
    }
}

TEST(what_cannot_be_run_is_an_error) {
    char *arguments[4];
    struct sys_process process;
    struct sys_process_options how = shell_options(arguments, "");
    how.path = "/no/such/program";
    ck_assert_int_eq(sys_process_start(&process, &how), -ENOENT);
    how.path = "/etc/passwd";
    ck_assert_int_eq(sys_process_start(&process, &how), -EACCES);
    how.path = SHELL;
    how.folder = "/no/such/folder";
    ck_assert_int_eq(sys_process_start(&process, &how), -ENOENT);
    how.folder = NULL;
    how.output = 9999;
    ck_assert_int_eq(sys_process_start(&process, &how), -EBADF);
    // Nothing is left of them.
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

TEST(lack_of_memory_is_an_error) {
    char *arguments[4];
    struct sys_process process;
    struct sys_process_options how = shell_options(arguments, "");
    memory_fail_nth(1);
    ck_assert_int_eq(sys_process_start(&process, &how), -ENOMEM);
}

TEST(it_starts_in_its_folder_with_its_environment) {
    char *arguments[4], text[256];
    char *environment[] = {(char *)"GREETING=hello", NULL};
    struct sys_process_options how = shell_options(arguments, "echo $GREETING $HOME; pwd");
    how.environment = environment;
    how.folder = "/";
    output_of(&how, text, sizeof text);
    ck_assert_str_eq(text, "hello\n/\n");
}

TEST(without_an_environment_it_gets_ours) {
    char *arguments[4], text[256];
    setenv("GREETING", "good morning", 1);
    struct sys_process_options how = shell_options(arguments, "echo $GREETING");
    output_of(&how, text, sizeof text);
    ck_assert_str_eq(text, "good morning\n");
}

TEST(nothing_for_input_is_the_end_of_the_stream) {
    char *arguments[4], text[256];
    struct sys_process_options how = shell_options(arguments, "cat; echo end; echo nowhere >&2");
    output_of(&how, text, sizeof text);
    ck_assert_str_eq(text, "end\n");
}

// Input, output and error each come from the place of another, and the executable lies among them.
TEST(descriptors_do_not_overwrite_one_another) {
    int in[2], out[2], extra[2];
    char *arguments[4], text[64];
    ck_assert_int_eq(sys_pipe(in), 0);
    ck_assert_int_eq(sys_pipe(out), 0);
    ck_assert_int_eq(sys_pipe(extra), 0);
    int executable = open(SHELL, O_RDONLY | O_CLOEXEC);
    int saved_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 50);
    ck_assert_int_eq(fcntl(out[1], F_DUPFD_CLOEXEC, 60), 60);
    ck_assert_int_eq(fcntl(in[0], F_DUPFD_CLOEXEC, 61), 61);
    ck_assert_int_eq(fcntl(extra[1], F_DUPFD_CLOEXEC, 62), 62);
    ck_assert_int_eq(fcntl(executable, F_DUPFD_CLOEXEC, 63), 63);
    dup3(60, 0, O_CLOEXEC); // what becomes 1
    dup3(62, 1, O_CLOEXEC); // what becomes 3
    dup3(63, 2, O_CLOEXEC); // the executable
    dup3(61, 3, O_CLOEXEC); // what becomes 0
    struct sys_process_options how = shell_options(arguments, "cat; echo more >&3");
    how.path = NULL;
    how.executable = 2;
    how.input = 3;
    how.output = 0;
    how.extra = 1;
    struct sys_process process;
    int err = sys_process_start(&process, &how);
    dup2(saved_error, STDERR_FILENO);
    ck_assert_int_eq(err, 0);
    for (int fd = 60; fd < 64; fd++)
        close(fd);
    int mine[] = {0, 1, 3};
    for (size_t i = 0; i < countof(mine); i++)
        close(mine[i]);
    int given[] = {in[1], out[0], extra[0]};
    ck_assert_int_eq(write(given[0], "word\n", 5), 5);
    close(given[0]);
    struct sys_process_end end = wait_for(&process);
    ck_assert_int_eq(end.code, 0);
    ck_assert_int_eq(read(given[1], text, sizeof text), 5);
    ck_assert_mem_eq(text, "word\n", 5);
    ck_assert_int_eq(read(given[2], text, sizeof text), 5);
    ck_assert_mem_eq(text, "more\n", 5);
}

TEST(no_other_descriptor_is_passed_on) {
    char *arguments[4], text[256];
    int leaky = open("/dev/null", O_RDONLY); // not closed by exec, as user programs do it
    ck_assert_int_ge(leaky, 0);
    leaky = fcntl(leaky, F_DUPFD, 20); // nor is what a shell was told to open
    ck_assert_int_ge(leaky, 20);
    struct sys_process_options how = shell_options(
        arguments, "for fd in /proc/self/fd/*; do echo -n ${fd##*/},; done");
    for (int old = 0; old < 2; old++) {
        if (old) // a kernel that cannot close all at once
            filter(SYS_close_range, FILTER_ERROR(EINVAL));
        output_of(&how, text, sizeof text);
        // The shell itself may open one to read the folder, which is 3.
        ck_assert_msg(strcmp(text, "0,1,2,") == 0 || strcmp(text, "0,1,2,3,") == 0, "%s", text);
    }
}

static unsigned long long signals_ignored(void) {
    char line[256];
    unsigned long long ignored = 0;
    FILE *file = fopen("/proc/self/status", "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "SigIgn: %llx", &ignored) == 1)
            break;
    fclose(file);
    return ignored;
}

TEST(signals_are_as_at_the_beginning) {
    char *arguments[4], text[256];
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    // grep itself catches a signal, so it is not asked about itself.
    struct sys_process_options how = shell_options(
        arguments, "cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)' | tr -d 'A-Za-z:\\t\\n'");
    output_of(&how, text, sizeof text);
    ck_assert_str_eq(text, "000000000000000000000000000000000000000000000000");
    // Who has started the tests may have had others ignored, too.
    char expected[64];
    snprintf(expected, sizeof expected, "%016d%016llx%016d", 0, signals_ignored(), 0);
    how.keeps_ignored = true;
    output_of(&how, text, sizeof text);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_ne(signals_ignored() & 1ull << (SIGPIPE - 1), 0);
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    ck_assert(sigismember(&now, SIGUSR1)); // our own mask is as it was
}

TEST(rights_can_be_taken_away) {
    char *arguments[4], text[256];
    struct sys_process_options how = shell_options(
        arguments, "ulimit -c; grep NoNewPrivs /proc/self/status | tr -d 'A-Za-z:\\t'");
    how.no_new_rights = true;
    output_of(&how, text, sizeof text);
    ck_assert_str_eq(text, "0\n1\n");
}

// Reads the number that a line of shell writes.
static int read_number(int fd) {
    char text[32] = "";
    for (size_t i = 0; i < sizeof text - 1 && read(fd, text + i, 1) == 1 && text[i] != '\n'; i++)
        continue;
    return atoi(text);
}

TEST(a_whole_session_is_ended_also_those_that_left_the_group) {
    char *arguments[4];
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    // With job control each background job has a group of its own; both hold the pipe open. The
    // plain shell has job control only on a terminal.
    struct sys_process_options how = shell_options(arguments,
                                                   "set -m; sleep 100 & sleep 100 & echo $!; wait");
    how.path = "/bin/bash";
    how.own_session = true;
    how.output = ends[1];
    struct sys_process process;
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    sys_fd_close(ends[1]);
    int child = read_number(ends[0]);
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(getsid(child), process.id);
    ck_assert_int_ne(getpgid(child), process.id);
    sys_process_end(&process, true, true);
    char more;
    ck_assert_int_eq(read(ends[0], &more, 1), 0); // nobody holds the pipe any more
    ck_assert_int_eq(wait_for(&process).code, SIGKILL);
}

TEST(children_are_ended_after_their_leader_has_died) {
    char *arguments[4];
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    struct sys_process_options how = shell_options(arguments, "sleep 100 & echo $!; exit 1");
    how.own_session = true;
    how.output = ends[1];
    struct sys_process process;
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    sys_fd_close(ends[1]);
    ck_assert_int_gt(read_number(ends[0]), 0);
    struct pollfd ended = {.fd = process.handle, .events = POLLIN};
    ck_assert_int_eq(poll(&ended, 1, 20000), 1);
    sys_process_end(&process, true, true);
    char more;
    ck_assert_int_eq(read(ends[0], &more, 1), 0);
    ck_assert_int_eq(wait_for(&process).code, 1);
}

TEST(it_dies_with_us) {
    char *arguments[4];
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t middle = fork();
    if (middle == 0) {
        struct sys_process_options how = shell_options(arguments, "echo ready; exec sleep 100");
        how.dies_with_us = true;
        how.output = ends[1];
        struct sys_process process;
        if (sys_process_start(&process, &how) == 0)
            pause();
        _exit(1);
    }
    sys_fd_close(ends[1]);
    char text[8];
    ck_assert_int_eq(read(ends[0], text, 6), 6);
    kill(middle, SIGKILL);
    waitpid(middle, NULL, 0);
    ck_assert_int_eq(read(ends[0], text, 1), 0); // the grandchild has gone and the pipe with it
}

TEST(a_copy_of_a_descriptor_reads_the_same_and_closes_on_exec) {
    int ends[2];
    char text[4];
    ck_assert_int_eq(sys_pipe(ends), 0);
    int copy = sys_fd_copy(ends[0]);
    ck_assert_int_ge(copy, 0);
    ck_assert_int_eq(fcntl(copy, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(write(ends[1], "abc", 3), 3);
    ck_assert_int_eq(read(copy, text, 4), 3);
    sys_fd_close(copy);
    ck_assert_int_eq(sys_fd_copy(copy), -EBADF);
    sys_fd_close(-1);
}

TEST(an_end_by_a_signal_without_a_name_has_a_text) {
    char text[64];
    struct sys_process_end end = {.by_signal = true, .code = 60};
    sys_process_end_text(&end, text, sizeof text);
    ck_assert_str_eq(text, "killed by signal 60");
}

TEST(a_signal_is_sent_to_one_or_to_its_group) {
    char *arguments[4];
    for (int group = 0; group < 2; group++) {
        struct sys_process_options how = shell_options(arguments, group ? "sleep 100 & wait"
                                                                        : "exec sleep 100");
        struct sys_process process;
        int ends[2];
        ck_assert_int_eq(sys_pipe(ends), 0);
        how.own_session = group;
        how.output = ends[1];
        ck_assert_int_eq(sys_process_start(&process, &how), 0);
        sys_fd_close(ends[1]);
        ck_assert_int_eq(sys_process_signal(&process, 1000, group), -EINVAL);
        ck_assert_int_eq(sys_process_signal(&process, SIGKILL, true), 0);
        ck_assert_int_eq(wait_for(&process).code, SIGKILL);
        ck_assert_int_eq(sys_process_signal(&process, SIGKILL, group), -ESRCH);
        char byte;
        if (group)
            ck_assert_int_eq(read(ends[0], &byte, 1), 0); // nobody holds the pipe
        sys_fd_close(ends[0]);
    }
}

TEST(what_was_used_is_told) {
    char *arguments[4];
    struct sys_process_options how = shell_options(
        arguments, "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done");
    struct sys_process process;
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    struct sys_process_end end = wait_for(&process);
    ck_assert_int_gt(end.user_ns + end.system_ns, 1000000);
    ck_assert_uint_gt(end.memory_bytes_max, 100000);
}

TEST(one_that_is_abandoned_is_killed_and_reaped) {
    char *arguments[4];
    struct sys_process_options how = shell_options(arguments, "exec sleep 100");
    for (long n = 0; n < 3; n++) { // without memory for a thread it is waited for
        struct sys_process process;
        ck_assert_int_eq(sys_process_start(&process, &how), 0);
        int id = process.id;
        memory_fail_nth(n);
        sys_process_abandon(&process, false);
        memory_fail_nth(0);
        ck_assert_int_eq(process.handle, -1);
        sys_process_abandon(&process, false); // does nothing any more
        while (kill(id, 0) == 0)
            poll(NULL, 0, 1);
    }
    ck_assert_int_eq(waitpid(-1, NULL, 0), -1);
    ck_assert_int_eq(errno, ECHILD);
}

TEST(programs_are_found_as_shells_find_them) {
    char found[64], top[TEST_TEMPLATE_BYTES], paths[64];
    test_template(top);
    ck_assert_int_eq(sys_program_find("sh", "/nowhere:/bin:/usr/bin", found, sizeof found), 0);
    ck_assert_str_eq(found, "/bin/sh");
    ck_assert_int_eq(sys_program_find("a/b", "/bin", found, sizeof found), 0);
    ck_assert_str_eq(found, "a/b");
    ck_assert_int_eq(sys_program_find("sh", "/nowhere", found, sizeof found), -ENOENT);
    ck_assert_int_eq(sys_program_find("", "/bin", found, sizeof found), -ENOENT);
    ck_assert_int_eq(sys_program_find("/bin/sh", "", found, 7), -ENAMETOOLONG);
    ck_assert_int_eq(sys_program_find("sh", "/bin", found, 7), -ENOENT);
    ck_assert_ptr_nonnull(mkdtemp(top));
    ck_assert_int_eq(chdir(top), 0);
    int fd = open("sh", O_CREAT | O_WRONLY, 0600);
    ck_assert_int_ge(fd, 0);
    snprintf(paths, sizeof paths, "%s", top);
    ck_assert_int_eq(sys_program_find("sh", paths, found, sizeof found), -EACCES);
    ck_assert_int_eq(sys_program_find("sh", "", found, sizeof found), -EACCES);
    ck_assert_int_eq(fchmod(fd, 0700), 0);
    ck_assert_int_eq(sys_program_find("sh", ":/bin", found, sizeof found), 0);
    ck_assert_str_eq(found, "./sh");
    close(fd);
    ck_assert_int_eq(unlink("sh"), 0);
    ck_assert_int_eq(rmdir(top), 0);
    setenv("PATH", "/x", 1);
    ck_assert_str_eq(sys_program_paths(), "/x");
    unsetenv("PATH");
    ck_assert_ptr_nonnull(strstr(sys_program_paths(), "/bin"));
}
