// SPDX-License-Identifier: MIT
// Tests of src/sys/cgroup.c: groups of wards, where we may make some.
#include "sys/ward.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include "sys/sandbox_private.h"

static bool begin(void) {
    ward_begin();
    sys_sandbox_probe(&ward_parts, true);
    if (!ward_parts.group)
        ward_clean();
    return ward_parts.group;
}

static void end(void) {
    char path[256];
    strcpy(path, ward_parts.path);
    sys_sandbox_leave(&ward_parts);
    ck_assert_int_ne(access(path, F_OK), 0);
    ward_clean();
}

static const char none[] = "no cgroup v2 in which we may make others";

TEST(a_ward_has_a_group_of_its_own_which_goes_with_it) {
    if (!begin())
        TEST_SKIP(none);
    for (int level = SYS_SANDBOX_DEFAULT; level <= SYS_SANDBOX_NONE; level++) {
        struct sys_sandbox sandbox = ward_sandbox((enum sys_sandbox_level)level);
        ward_run(&sandbox, "cat /proc/self/cgroup; (setsid sleep 1000 &) >/dev/null");
        ck_assert_ptr_nonnull(strstr(ward_text, strrchr(ward_parts.path, '/')));
    }
    int left = 0;
    DIR *all = opendir(ward_parts.path);
    for (struct dirent *at; (at = readdir(all));)
        left += at->d_name[0] == 'w' && strcmp(at->d_name, "wardens") != 0;
    closedir(all);
    ck_assert_int_eq(left, 0);
    end();
}

// Who still has something in its group keeps nobody waiting who takes its end.
TEST(a_group_that_cannot_be_removed_yet_can_be_later) {
    char path[288], below[300], problem[SYS_WARD_PROBLEM_BYTES];
    int output;
    struct sys_ward ward;
    struct sys_ward_end end_of;
    if (!begin())
        TEST_SKIP(none);
    struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    ck_assert_int_eq(ward_start(&ward, &sandbox, "true", &output, problem), 0);
    strcpy(path, ward.group);
    snprintf(below, sizeof below, "%s/below", path);
    ck_assert_int_eq(mkdir(below, 0755), 0);
    struct pollfd it = {.fd = ward.warden.handle, .events = POLLIN};
    ck_assert_int_eq(poll(&it, 1, 30000), 1);
    ck_assert_int_eq(sys_ward_reap(&ward, &end_of), 0);
    ck_assert_int_eq(sys_ward_clear(&ward), -EBUSY);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_int_eq(rmdir(below), 0);
    for (int i = 0; i < 1000 && sys_ward_clear(&ward) == -EBUSY; i++)
        usleep(2000); // the system tells nobody
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(sys_ward_clear(&ward), 0);
    sys_fd_close(output);
    end();
}

// As one that was killed together with its wardens leaves it: nobody keeps it any more.
TEST(what_one_that_was_killed_has_left_is_killed_and_removed) {
    char path[288], line[400], problem[SYS_WARD_PROBLEM_BYTES];
    int output;
    struct sys_ward ward;
    struct sys_sandbox_parts other, without;
    if (!begin())
        TEST_SKIP(none);
    const struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
    ck_assert_int_eq(group_make(&sandbox, path), 0);
    struct sys_sandbox outside = ward_sandbox(SYS_SANDBOX_NONE);
    without = ward_parts;
    without.group = false;
    outside.parts = &without;
    snprintf(line, sizeof line, "echo 0 >%s/cgroup.procs && echo up && exec sleep 1000", path);
    ck_assert_int_eq(ward_start(&ward, &outside, line, &output, problem), 0);
    ward_read(output, "up\n");
    ck_assert_str_eq(ward_text, "up\n");
    // As long as we keep it nobody else touches it.
    sys_sandbox_probe(&other, true);
    ck_assert_str_ne(other.path, ward_parts.path);
    sys_sandbox_leave(&other);
    struct sys_ward_end end_of;
    ck_assert_int_eq(sys_ward_reap(&ward, &end_of), -EAGAIN);
    ck_assert_int_eq(access(path, F_OK), 0);
    sys_fd_close(ward_parts.group_lock);
    ward_parts.group_lock = -1;
    sys_sandbox_probe(&other, true);
    ck_assert_int_eq(ward_wait(&ward).process.code, SIGKILL);
    ck_assert_int_ne(access(path, F_OK), 0);
    sys_sandbox_leave(&other);
    sys_fd_close(output);
    end();
}

// The last warden of one that was killed removes all of its groups.
TEST(no_group_outlives_who_made_it) {
    int ends[2];
    char path[256] = "";
    if (!begin())
        TEST_SKIP(none);
    sys_sandbox_leave(&ward_parts);
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t starter = fork();
    if (starter == 0) {
        sys_sandbox_probe(&ward_parts, true);
        const struct sys_sandbox sandbox = ward_sandbox(SYS_SANDBOX_DEFAULT);
        for (int i = 0; i < 3; i++) {
            struct sys_ward ward;
            char problem[SYS_WARD_PROBLEM_BYTES];
            int output;
            if (ward_start(&ward, &sandbox, "sleep 1000 & sleep 1000", &output, problem) != 0)
                _exit(1);
        }
        (void)!write(ends[1], ward_parts.path, sizeof ward_parts.path);
        for (;;)
            pause();
    }
    ck_assert_int_eq(read(ends[0], path, sizeof path), sizeof path);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_int_eq(kill(starter, SIGKILL), 0);
    ck_assert_int_eq(waitpid(starter, NULL, 0), starter);
    for (int i = 0; i < TEST_PATIENCE_S * 100 && access(path, F_OK) == 0; i++)
        usleep(10000); // the system tells nobody
    ck_assert_int_ne(access(path, F_OK), 0);
    sys_fd_close(ends[0]);
    sys_fd_close(ends[1]);
    ward_clean();
}

// The kernel's files, as they look where it has the controllers.
TEST(numbers_are_found_in_files_of_a_group) {
    char path[128];
    ward_begin();
    snprintf(path, sizeof path, "%s/memory.events", ward_folder);
    FILE *file = fopen(path, "w");
    fputs("low 0\nhigh 3\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/memory.peak", ward_folder);
    file = fopen(path, "w");
    fputs("123456789\n", file);
    fclose(file);
    ck_assert_uint_eq(group_number(ward_folder, "memory.events", "oom_kill"), 1);
    ck_assert_uint_eq(group_number(ward_folder, "memory.events", "max"), 12);
    ck_assert_uint_eq(group_number(ward_folder, "memory.events", "none"), 0);
    ck_assert_uint_eq(group_number(ward_folder, "memory.peak", NULL), 123456789);
    ck_assert_uint_eq(group_number(ward_folder, "memory.max", NULL), 0);
    ward_clean();
}
