// SPDX-License-Identifier: MIT
// Tests of src/sys/warden.c: nothing is left of a ward, however it or we end, and its end is told.
#include "sys/ward.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const enum sys_sandbox_level levels[] = {SYS_SANDBOX_NONE, SYS_SANDBOX_DEFAULT,
                                                SYS_SANDBOX_STRICT};
#define EACH_LEVEL(sandbox)                                                                        \
    for (size_t i_ = 0; i_ < countof(levels); i_++)                                                \
        for (struct sys_sandbox sandbox = ward_sandbox(levels[i_]), *once_ = &sandbox; once_;      \
             once_ = NULL)

TEST(how_it_ended_is_told) {
    char text[128];
    ward_begin();
    EACH_LEVEL(sandbox) {
        struct sys_ward_end end = ward_run(&sandbox, "echo hello; exit 3");
        ck_assert(!end.process.by_signal);
        ck_assert_int_eq(end.process.code, 3);
        ck_assert_str_eq(ward_text, "hello\n");
        ck_assert_uint_gt(end.process.memory_bytes_max, 0);
        end = ward_run(&sandbox, "kill -SEGV $$");
        sys_ward_end_text(&end, text, sizeof text);
        ck_assert_str_eq(text, "killed by signal 11 (Segmentation fault)");
    }
    ward_clean();
}

TEST(what_fails_before_it_runs_is_told) {
    char problem[SYS_WARD_PROBLEM_BYTES];
    char *const arguments[] = {(char *)"x", NULL};
    struct sys_ward ward;
    ward_begin();
    const struct sys_process_options how = {.path = "/no/such/program",
                                            .arguments = arguments,
                                            .input = -1,
                                            .output = -1,
                                            .error = -1,
                                            .extra = -1};
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    ck_assert_int_eq(sys_ward_start(&ward, &how, &sandbox, problem), -ENOENT);
    ck_assert_ptr_nonnull(strstr(problem, "program: "));
    sandbox.folder = "/no/such/folder";
    ck_assert_int_eq(sys_ward_start(&ward, &how, &sandbox, problem), -ENOENT);
    ck_assert_ptr_nonnull(strstr(problem, "/no/such/folder: "));
    for (int n = 1; n <= 2; n++) {
        memory_fail_nth((uint64_t)n);
        ck_assert_int_eq(sys_ward_start(&ward, &how, &sandbox, problem), -ENOMEM);
    }
    ward_clean();
}

// A line of shell whose daemon outlives it, unless somebody sees to it: the daemon holds the pipe,
// so that its end is the end of what can be read there.
static const char daemon_line[] =
    "trap 'exit 5' TERM; rm -f daemon; "
    "(setsid sh -c 'setsid sleep 1000 & echo $! >daemon; echo up; exit 0' &) ; %s";

static bool pipe_ends(int output, int seconds) {
    char byte;
    struct pollfd it = {.fd = output, .events = POLLIN};
    while (poll(&it, 1, seconds * 1000) == 1) {
        ssize_t got = read(output, &byte, 1);
        if (got <= 0)
            return got == 0;
    }
    return false;
}

static void lose_daemons(void) {
    char line[256];
    snprintf(line, sizeof line, daemon_line, "while ! test -s daemon; do :; done; exit 4");
    EACH_LEVEL(sandbox) {
        struct sys_ward ward;
        char problem[SYS_WARD_PROBLEM_BYTES];
        int output;
        ck_assert_int_eq(ward_start(&ward, &sandbox, line, &output, problem), 0);
        ck_assert_int_eq(ward_wait(&ward).process.code, 4);
        ck_assert(pipe_ends(output, 1)); // the handle told that nothing lives any more
        sys_fd_close(output);
    }
}

TEST(daemons_end_with_the_ward) {
    ward_begin();
    lose_daemons();
    ward_parts.children = false; // some systems have no lists of children
    lose_daemons();
    ward_clean();
}

TEST(a_ward_is_asked_to_end_or_killed_with_its_daemons) {
    char line[256];
    ward_begin();
    snprintf(line, sizeof line, daemon_line, "while :; do sleep 0.05; done");
    EACH_LEVEL(sandbox) {
        for (int hard = 0; hard < 2; hard++) {
            struct sys_ward ward;
            struct sys_ward_end end;
            char problem[SYS_WARD_PROBLEM_BYTES];
            int output;
            ck_assert_int_eq(ward_start(&ward, &sandbox, line, &output, problem), 0);
            ward_read(output, "up\n");
            ck_assert_int_eq(sys_ward_reap(&ward, &end), -EAGAIN);
            sys_ward_end(&ward, hard);
            end = ward_wait(&ward);
            ck_assert_int_eq(end.process.by_signal, hard);
            ck_assert_int_eq(end.process.code, hard ? SIGKILL : 5);
            ck_assert(pipe_ends(output, 1));
            sys_fd_close(output);
            sys_ward_end(&ward, true); // does nothing any more
        }
    }
    ward_clean();
}

TEST(all_of_a_ward_that_is_abandoned_ends) {
    char line[256];
    ward_begin();
    snprintf(line, sizeof line, daemon_line, "while :; do sleep 1000; done");
    EACH_LEVEL(sandbox) {
        struct sys_ward ward;
        char problem[SYS_WARD_PROBLEM_BYTES];
        int output;
        ck_assert_int_eq(ward_start(&ward, &sandbox, line, &output, problem), 0);
        ward_read(output, "up\n");
        sys_ward_abandon(&ward);
        ck_assert(pipe_ends(output, 20));
        sys_fd_close(output);
    }
    ward_clean();
}

TEST(without_proc_a_warden_ends_all_the_same) {
    char line[256], path[128], problem[SYS_WARD_PROBLEM_BYTES];
    int output, daemon = 0;
    struct sys_ward ward;
    ward_begin();
    if (!ward_parts.root || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/proc", "tmpfs", 0, NULL) < 0) {
        ward_clean();
        TEST_SKIP("nothing may be mounted over /proc here");
    }
    snprintf(line, sizeof line, daemon_line, "while :; do sleep 1000; done");
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    ck_assert_int_eq(ward_start(&ward, &sandbox, line, &output, problem), 0);
    ward_read(output, "up\n");
    sys_ward_end(&ward, true);
    ck_assert_int_eq(ward_wait(&ward).process.code, SIGKILL);
    snprintf(path, sizeof path, "%s/daemon", ward_folder);
    FILE *file = fopen(path, "r");
    ck_assert_int_eq(fscanf(file, "%d", &daemon), 1);
    fclose(file);
    ck_assert_int_eq(kill(daemon, SIGKILL), 0); // which nobody could find
    ck_assert(pipe_ends(output, 20));
    sys_fd_close(output);
    ck_assert_int_eq(umount("/proc"), 0); // a sanitizer looks there at the end
    ward_clean();
}

// Another process has the ward; it is killed.
TEST(a_second_after_its_starter_is_killed_nothing_lives) {
    char line[256], up[1];
    ward_begin();
    snprintf(line, sizeof line, daemon_line, "while :; do sleep 1000; done");
    EACH_LEVEL(sandbox) {
        int ends[2], told[2];
        ck_assert_int_eq(sys_pipe(ends), 0);
        ck_assert_int_eq(sys_pipe(told), 0);
        pid_t starter = fork();
        if (starter == 0) {
            struct sys_ward ward;
            char problem[SYS_WARD_PROBLEM_BYTES];
            char *const arguments[] = {(char *)"sh", (char *)"-c", line, NULL};
            const struct sys_process_options how = {.path = "/bin/sh",
                                                    .arguments = arguments,
                                                    .input = -1,
                                                    .output = ends[1],
                                                    .error = ends[1],
                                                    .extra = -1};
            if (sys_ward_start(&ward, &how, &sandbox, problem) == 0)
                (void)!write(told[1], "", 1);
            for (;;)
                pause();
        }
        sys_fd_close(ends[1]);
        sys_fd_close(told[1]);
        ck_assert_int_eq(read(told[0], up, 1), 1);
        ward_read(ends[0], "up\n");
        ck_assert_int_eq(kill(starter, SIGKILL), 0);
        ck_assert_int_eq(waitpid(starter, NULL, 0), starter);
        // A second on a computer that has nothing else to do.
        ck_assert(pipe_ends(ends[0], 20));
        sys_fd_close(ends[0]);
        sys_fd_close(told[0]);
    }
    ward_clean();
}

TEST(a_ward_does_not_outlive_its_warden) {
    struct sys_ward ward;
    struct sys_ward_end end;
    char problem[SYS_WARD_PROBLEM_BYTES];
    int output;
    ward_begin();
    EACH_LEVEL(sandbox) {
        ck_assert_int_eq(ward_start(&ward, &sandbox, "echo up; exec sleep 1000", &output, problem),
                         0);
        ward_read(output, "up\n");
        ck_assert_int_eq(kill(ward.warden.id, SIGKILL), 0);
        ck_assert(pipe_ends(output, 20));
        struct pollfd it = {.fd = ward.warden.handle, .events = POLLIN};
        ck_assert_int_eq(poll(&it, 1, 20000), 1);
        ck_assert_int_eq(sys_ward_reap(&ward, &end), -EIO);
        sys_fd_close(output);
    }
    ward_clean();
}

TEST(a_warden_has_nothing_of_ours_open) {
    struct sys_ward ward;
    char problem[SYS_WARD_PROBLEM_BYTES];
    int output, ours[2];
    ward_begin();
    ck_assert_int_eq(sys_pipe(ours), 0);
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    ck_assert_int_eq(ward_start(&ward, &sandbox, "echo up; sleep 1000", &output, problem), 0);
    sys_fd_close(ours[1]);
    ck_assert(pipe_ends(ours[0], 20));
    sys_ward_end(&ward, true);
    ward_wait(&ward);
    sys_fd_close(ours[0]);
    sys_fd_close(output);
    ward_clean();
}

TEST(who_takes_more_memory_than_it_may_is_ended_and_that_is_told) {
    char text[256];
    ward_begin();
    if (!ward_parts.children) {
        ward_clean();
        TEST_SKIP("this kernel has no lists of children");
    }
    EACH_LEVEL(sandbox) {
        sandbox.memory_bytes_max = (uint64_t)48 << 20;
        struct sys_ward_end end = ward_run(&sandbox, "sh -c 'x=0123456789; i=0; while test $i -lt "
                                                     "23; do x=$x$x; i=$((i+1)); done; sleep 100'");
        ck_assert(end.process.by_signal);
        sys_ward_end_text(&end, text, sizeof text);
        ck_assert_str_eq(text, "killed by signal 9 (Killed): out of memory, it may use 48 MiB");
    }
    ward_clean();
}

// This program, run by a ward as "... share MIB PROCESSES": all of them use the same memory.
__attribute__((constructor)) static void share(int count, char **arguments) {
    if (count != 4 || strcmp(arguments[1], "share") != 0)
        return;
    size_t bytes = (size_t)atoi(arguments[2]) << 20;
    char *all = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        _exit(1);
    for (int i = 1; i < atoi(arguments[3]) && fork() > 0; i++)
        continue;
    memset(all, 1, bytes);
    usleep(1000000); // ten looks of the warden
    _exit(0);
}

TEST(shared_memory_counts_once) {
    char text[256], line[400], self[300] = "";
    TEST_SKIP_SANITIZED("a sanitizer needs more memory than there may be");
    ward_begin();
    if (!ward_parts.children) {
        ward_clean();
        TEST_SKIP("this kernel has no lists of children");
    }
    ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    sandbox.memory_bytes_max = (uint64_t)48 << 20;
    sandbox.readable = self;
    snprintf(line, sizeof line, "'%s' share 96 1", self);
    struct sys_ward_end end = ward_run(&sandbox, line);
    sys_ward_end_text(&end, text, sizeof text);
    ck_assert_str_eq(text, "killed by signal 9 (Killed): out of memory, it may use 48 MiB");
    snprintf(line, sizeof line, "'%s' share 24 4", self);
    end = ward_run(&sandbox, line);
    sys_ward_end_text(&end, text, sizeof text);
    ck_assert_msg(strcmp(text, "exit code 0") == 0, "%s; %s", text, ward_text);
    ward_clean();
}

TEST(a_fork_bomb_is_limited_and_ended) {
    char text[256];
    ward_begin();
    if (!ward_parts.children) {
        ward_clean();
        TEST_SKIP("this kernel has no lists of children");
    }
    EACH_LEVEL(sandbox) {
        sandbox.processes_max = 40;
        struct sys_ward_end end = ward_run(
            &sandbox, "i=0; while test $i -lt 100; do sleep 100 & i=$((i+1)); done; wait");
        sys_ward_end_text(&end, text, sizeof text);
        ck_assert_str_eq(text, "killed by signal 9 (Killed): it may have 40 processes");
    }
    ward_clean();
}
