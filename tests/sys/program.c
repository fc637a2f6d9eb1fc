// SPDX-License-Identifier: MIT
// Executables and pipes, as src/sys/program.c reads and stores them.
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/sys.h"

TEST(ones_own_executable_can_be_read) {
    int fd = sys_program_open();
    ck_assert_int_ge(fd, 0);
    int64_t bytes = sys_file_bytes(fd);
    ck_assert_int_gt(bytes, 64);
    char magic[4], last;
    ck_assert_int_eq(sys_file_read_at(fd, 0, magic, 4), 0);
    ck_assert_mem_eq(magic, "\177ELF", 4);
    ck_assert_int_eq(sys_file_read_at(fd, (uint64_t)bytes - 1, &last, 1), 0);
    ck_assert_int_eq(sys_file_read_at(fd, (uint64_t)bytes - 1, magic, 2), -ENODATA);
    sys_fd_close(fd);
}

static int make_aged(const char *folder, const char *name, int age_s) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = sys_file_create(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_file_create(path), -EEXIST);
    ck_assert_int_eq(sys_file_write_at(fd, 0, "ten bytes.", 10), 0);
    const struct timespec then[2] = {{.tv_sec = 1000000 - age_s}, {.tv_sec = 1000000 - age_s}};
    ck_assert_int_eq(futimens(fd, then), 0);
    return fd;
}

// "1 0 1": which of the files are there.
static const char *left(const char *folder, const char *const *names) {
    static char text[64];
    text[0] = 0;
    for (; *names; names++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, *names);
        strcat(text, sys_file_exists(path) ? "1" : "0");
    }
    return text;
}

TEST(a_folder_is_pruned_from_the_oldest_but_not_of_what_is_held) {
    static const char *const names[] = {"a", "b", "c", "d", "e.part", "f.part", NULL};
    char folder[TEST_TEMPLATE_BYTES], path[80];
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    int fd[6];
    for (int i = 0; i < 6; i++)
        fd[i] = make_aged(folder, names[i], i == 5 ? 1 : 60 - 10 * i);
    const int64_t stale = (int64_t)(1000000 - 5) * 1000000000;
    // All fit: what is incomplete and old goes all the same, unless it is held.
    ck_assert_int_eq(sys_file_hold(fd[4], true), 0);
    ck_assert_int_eq(sys_folder_prune(folder, 60, stale), 0);
    ck_assert_str_eq(left(folder, names), "111111");
    sys_fd_close(fd[4]);
    ck_assert_int_eq(sys_folder_prune(folder, 60, stale), 0);
    ck_assert_str_eq(left(folder, names), "111101");
    // The one used longest ago is held, by two.
    snprintf(path, sizeof path, "%s/a", folder);
    int other = sys_file_open(path), third = sys_file_open(path);
    ck_assert_int_eq(sys_file_hold(fd[0], false), 0);
    ck_assert_int_eq(sys_file_hold(other, false), 0);
    ck_assert_int_eq(sys_file_hold(third, true), -EBUSY);
    sys_fd_close(third);
    sys_fd_close(fd[0]);
    sys_file_touch(fd[1]);
    for (int i = 1; i < 6; i++)
        if (i != 4)
            sys_fd_close(fd[i]);
    ck_assert_int_eq(sys_folder_prune(folder, 31, 0), 0);
    ck_assert_str_eq(left(folder, names), "110001");
    sys_fd_close(other);
    ck_assert_int_eq(sys_folder_prune(folder, 19, 0), 0);
    ck_assert_str_eq(left(folder, names), "010000");
    ck_assert_int_eq(sys_folder_prune(folder, 0, 0), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(sys_folder_prune(folder, 2, 0), -ENOENT);
}

TEST(what_lies_in_a_pipe_is_taken_without_waiting) {
    int ends[2];
    char text[8];
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert_int_eq(sys_pipe_take(ends[0], text, 4), -ENODATA);
    ck_assert_int_eq(sys_fd_write(ends[1], "four", 4), 0);
    ck_assert_int_eq(sys_pipe_take(ends[0], text, 5), -ENODATA);
    ck_assert_int_eq(sys_pipe_take(ends[0], text, 4), 0);
    ck_assert_mem_eq(text, "four", 4);
    int fd = sys_program_open();
    ck_assert_int_eq(sys_pipe_take(fd, text, 4), -EINVAL);
    ck_assert_int_eq(sys_pipe_take(999, text, 4), -EINVAL);
}

TEST(the_computer_tells_its_library_and_processors) {
    int major, minor;
    sys_libc_version(&major, &minor);
    ck_assert_int_ge(major, 2);
    ck_assert_int_ge(sys_processors(), 1);
}

// Where the system has a say in it (vm.memfd_noexec), it lets only such files be made.
TEST(a_nameless_file_need_not_be_one_that_can_be_run) {
    struct stat facts;
    int fd = sys_memory_create("data", false);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_file_write_at(fd, 0, "data", 4), 0);
    int old = (int)syscall(SYS_memfd_create, "data", 0x8 | 0x1);
    ck_assert_int_eq(fstat(fd, &facts), 0);
    if (old >= 0) // since Linux 6.3
        ck_assert_uint_eq(facts.st_mode & 0111, 0);
    sys_fd_close(old);
    sys_fd_close(fd);
}

TEST(a_nameless_file_can_be_run) {
    int from = sys_file_open("/bin/true"), to = sys_memory_create("true", true);
    ck_assert_int_ge(to, 0);
    size_t bytes = (size_t)sys_file_bytes(from);
    char *all = malloc(bytes);
    ck_assert_int_eq(sys_file_read_at(from, 0, all, bytes), 0);
    ck_assert_int_eq(sys_file_write_at(to, 0, all, bytes), 0);
    free(all);
    char *const arguments[] = {(char *)"true", NULL};
    struct sys_process process;
    ck_assert_int_eq(
        sys_process_start(&process, &(struct sys_process_options){.executable = to,
                                                                  .arguments = arguments,
                                                                  .input = -1,
                                                                  .output = -1,
                                                                  .error = -1,
                                                                  .extra = -1}),
        0);
    struct sys_process_end end;
    while (sys_process_reap(&process, &end) == -EAGAIN)
        usleep(1000);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 0);
}
