// SPDX-License-Identifier: MIT
// Tests of src/sys/file.c.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "sys/sys.h"

static char folder[TEST_TEMPLATE_BYTES];

// A folder of the test's own, in which it then works.
static void enter_folder(void) {
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *path, const char *text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

// How many files the folder has.
static int count_files(void) {
    int count = 0;
    DIR *all = opendir(".");
    for (struct dirent *at; (at = readdir(all));)
        count += at->d_name[0] != '.' || strlen(at->d_name) > 2;
    closedir(all);
    return count;
}

TEST(a_file_is_read_whole) {
    struct buffer buffer;
    enter_folder();
    write_file("it", "some text", 0644);
    buffer_init(&buffer);
    ck_assert_int_eq(sys_file_read("it", &buffer, 100), 0);
    ck_assert_int_eq(sys_file_read("it", &buffer, 9), 0); // appends
    ck_assert_uint_eq(buffer.length, 18);
    ck_assert_mem_eq(buffer.bytes, "some textsome text", 18);
    buffer_done(&buffer);
    remove_folder();
}

TEST(a_large_file_is_read_whole) {
    struct buffer buffer;
    enter_folder();
    int fd = open("it", O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(ftruncate(fd, 1000000), 0);
    close(fd);
    buffer_init(&buffer);
    ck_assert_int_eq(sys_file_read("it", &buffer, 1000000), 0);
    ck_assert_uint_eq(buffer.length, 1000000);
    ck_assert_int_eq(sys_file_read("it", &buffer, 999999), -EFBIG);
    ck_assert_uint_eq(buffer.length, 1000000);
    buffer_done(&buffer);
    remove_folder();
}

TEST(what_cannot_be_read_is_an_error) {
    struct buffer buffer;
    enter_folder();
    write_file("it", "1234", 0600);
    write_file("empty", "", 0600);
    buffer_init(&buffer);
    ck_assert_int_eq(sys_file_read("none", &buffer, 100), -ENOENT);
    ck_assert_int_eq(sys_file_read(".", &buffer, 100), -EISDIR);
    ck_assert_int_eq(sys_file_read("it", &buffer, 3), -EFBIG);
    ck_assert_int_eq(sys_file_read("it", &buffer, 0), -EFBIG);
    ck_assert_int_eq(sys_file_read("empty", &buffer, 0), 0);
    ck_assert_uint_eq(buffer.length, 0);
    memory_fail_nth(1);
    ck_assert_int_eq(sys_file_read("it", &buffer, 100), memory_has_failed() ? -ENOMEM : 0);
    buffer_done(&buffer);
    remove_folder();
}

TEST(a_secret_is_read_if_nobody_else_can_read_it) {
    struct buffer buffer;
    enter_folder();
    buffer_init(&buffer);
    write_file("it", "secret", 0600);
    ck_assert_int_eq(sys_file_read_secret("it", &buffer, 100), 0);
    ck_assert_mem_eq(buffer.bytes, "secret", 6);
    buffer.length = 0;
    ck_assert_int_eq(chmod("it", 0400), 0);
    ck_assert_int_eq(sys_file_read_secret("it", &buffer, 100), 0);
    static const mode_t open_to_others[] = {0640, 0620, 0610, 0604, 0602, 0601};
    for (size_t i = 0; i < countof(open_to_others); i++) {
        ck_assert_int_eq(chmod("it", open_to_others[i]), 0);
        buffer.length = 0;
        ck_assert_int_eq(sys_file_read_secret("it", &buffer, 100), -EACCES);
        ck_assert_uint_eq(buffer.length, 0);
    }
    buffer_done(&buffer);
    remove_folder();
}

TEST(a_secret_is_no_link_pipe_or_folder) {
    struct buffer buffer;
    enter_folder();
    buffer_init(&buffer);
    write_file("it", "secret", 0600);
    ck_assert_int_eq(symlink("it", "link"), 0);
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(mkdir("folder", 0700), 0);
    ck_assert_int_eq(sys_file_read_secret("link", &buffer, 100), -EACCES);
    ck_assert_int_eq(sys_file_read_secret("pipe", &buffer, 100), -EACCES);
    ck_assert_int_eq(sys_file_read_secret("folder", &buffer, 100), -EACCES);
    ck_assert_int_eq(sys_file_read_secret("none", &buffer, 100), -ENOENT);
    buffer_done(&buffer);
    remove_folder();
}

// The link below /proc is the system's.
TEST(a_secret_may_be_a_descriptor_of_a_process) {
    struct buffer buffer;
    char path[64];
    int fd = sys_memory_create("secret", false);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sys_fd_write(fd, "secret", 6), 0);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), fd);
    buffer_init(&buffer);
    ck_assert_int_eq(fchmod(fd, 0604), 0);
    ck_assert_int_eq(sys_file_read_secret(path, &buffer, 100), -EACCES);
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    ck_assert_int_eq(sys_file_read_secret(path, &buffer, 100), 0);
    ck_assert_mem_eq(buffer.bytes, "secret", 6);
    sys_fd_close(fd);
    buffer.length = 0;
    ck_assert_int_eq(sys_file_read_secret(path, &buffer, 100), -ENOENT);
    buffer_done(&buffer);
}

TEST(what_is_guarded_its_group_may_read_but_not_everybody) {
    struct buffer buffer;
    enter_folder();
    buffer_init(&buffer);
    write_file("it", "secret", 0640);
    ck_assert_int_eq(symlink("it", "link"), 0);
    ck_assert_int_eq(sys_file_read_guarded("link", &buffer, 100), 0);
    ck_assert_uint_eq(buffer.length, 6);
    for (mode_t mode = 0641; mode <= 0644; mode++) {
        write_file("it", "secret", mode);
        ck_assert_int_eq(sys_file_read_guarded("it", &buffer, 100), -EACCES);
    }
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(sys_file_read_guarded("pipe", &buffer, 100), -EACCES);
    ck_assert_int_eq(sys_file_read_guarded("none", &buffer, 100), -ENOENT);
    buffer_done(&buffer);
    remove_folder();
}

TEST(a_log_is_made_for_its_owner_and_grows) {
    struct buffer buffer;
    struct stat facts;
    enter_folder();
    buffer_init(&buffer);
    for (int i = 0; i < 2; i++) {
        int fd = sys_file_open_log("log");
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(sys_file_add(fd, "line\n", 5), 0);
        close(fd);
    }
    ck_assert_int_eq(stat("log", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 0777, 0600);
    ck_assert_int_eq(sys_file_read("log", &buffer, 100), 0);
    ck_assert_uint_eq(buffer.length, 10);
    ck_assert_int_eq(sys_file_open_log("."), -EISDIR);
    buffer_done(&buffer);
    remove_folder();
}

TEST(a_secret_of_somebody_else_is_refused) {
    struct buffer buffer;
    if (geteuid() != 0)
        TEST_SKIP("only root can give a file away");
    enter_folder();
    buffer_init(&buffer);
    write_file("it", "secret", 0600);
    ck_assert_int_eq(chown("it", 12345, (gid_t)-1), 0);
    ck_assert_int_eq(sys_file_read_secret("it", &buffer, 100), -EACCES);
    buffer_done(&buffer);
    remove_folder();
}

TEST(a_secret_is_made_whole_with_its_mode_whatever_the_umask) {
    static const mode_t masks[] = {0, 022, 0777};
    struct buffer buffer;
    struct stat facts;
    enter_folder();
    buffer_init(&buffer);
    for (size_t i = 0; i < countof(masks); i++) {
        umask(masks[i]);
        ck_assert_int_eq(sys_file_create_secret("it", "secret", 6), 0);
        ck_assert_int_eq(stat("it", &facts), 0);
        ck_assert_int_eq(facts.st_mode & 07777, 0600);
        buffer.length = 0;
        ck_assert_int_eq(sys_file_read_secret("it", &buffer, 6), 0);
        ck_assert_mem_eq(buffer.bytes, "secret", 6);
        ck_assert_int_eq(count_files(), 1); // and nothing beside it
        ck_assert_int_eq(unlink("it"), 0);
    }
    buffer_done(&buffer);
    remove_folder();
}

TEST(what_is_there_is_not_overwritten) {
    struct buffer buffer;
    enter_folder();
    buffer_init(&buffer);
    write_file("it", "old", 0600);
    ck_assert_int_eq(symlink("nowhere", "link"), 0);
    ck_assert_int_eq(sys_file_create_secret("it", "new", 3), -EEXIST);
    ck_assert_int_eq(sys_file_create_secret("link", "new", 3), -EEXIST);
    ck_assert_int_eq(sys_file_create_secret("none/it", "new", 3), -ENOENT);
    ck_assert_int_eq(sys_file_read("it", &buffer, 3), 0);
    ck_assert_mem_eq(buffer.bytes, "old", 3);
    ck_assert_int_eq(count_files(), 2);
    memory_fail_nth(1);
    ck_assert_int_eq(sys_file_create_secret("another", "new", 3), -ENOMEM);
    buffer_done(&buffer);
    remove_folder();
}

// Each of many processes makes the file or reads what another has made; all end with the same
// bytes.
TEST(of_many_that_make_a_secret_at_once_one_wins_and_all_read_it) {
    enum { PROCESSES = 8, BYTES = 4096, ROUNDS = 20 };
    static char mine[BYTES];
    enter_folder();
    for (int round = 0; round < ROUNDS; round++) {
        char path[32];
        int winners = 0;
        snprintf(path, sizeof path, "secret%d", round);
        for (int i = 0; i < PROCESSES; i++) {
            if (fork() != 0)
                continue;
            struct buffer buffer;
            buffer_init(&buffer);
            memset(mine, 'a' + i, sizeof mine);
            int err = sys_file_create_secret(path, mine, sizeof mine);
            bool good = (err == 0 || err == -EEXIST) &&
                        sys_file_read_secret(path, &buffer, BYTES) == 0 && buffer.length == BYTES;
            for (size_t at = 0; good && at < BYTES; at++)
                good = buffer.bytes[at] == buffer.bytes[0];
            _exit(!good ? 1 : err == 0 ? 42 : 0);
        }
        for (int i = 0; i < PROCESSES; i++) {
            int status;
            ck_assert_int_gt(wait(&status), 0);
            ck_assert_int_ne(WEXITSTATUS(status), 1);
            winners += WEXITSTATUS(status) == 42;
        }
        ck_assert_int_eq(winners, 1);
    }
    ck_assert_int_eq(count_files(), ROUNDS);
    remove_folder();
}

TEST(a_secret_is_replaced_whole) {
    struct buffer buffer;
    struct stat facts;
    enter_folder();
    buffer_init(&buffer);
    write_file("it", "old", 0644);
    ck_assert_int_eq(sys_file_replace_secret("it", "newer", 5), 0);
    ck_assert_int_eq(sys_file_read_secret("it", &buffer, 100), 0);
    ck_assert_uint_eq(buffer.length, 5);
    ck_assert_mem_eq(buffer.bytes, "newer", 5);
    ck_assert_int_eq(stat("it", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 07777, 0600);
    ck_assert_int_eq(sys_file_replace_secret("none/it", "newer", 5), -ENOENT);
    ck_assert_int_eq(count_files(), 1);
    buffer_done(&buffer);
    remove_folder();
}

// Each adds one to the number in the file, which is another file each time.
TEST(of_many_that_change_a_secret_under_its_lock_none_is_forgotten) {
    enum { PROCESSES = 6, ROUNDS = 20 };
    struct buffer buffer;
    enter_folder();
    buffer_init(&buffer);
    ck_assert_int_eq(sys_file_lock("it"), -ENOENT);
    write_file("it", "000", 0600);
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0)
            continue;
        bool good = true;
        for (int round = 0; round < ROUNDS && good; round++) {
            char text[16] = "";
            int lock = sys_file_lock("it");
            buffer.length = 0;
            good = lock >= 0 && sys_file_read("it", &buffer, 3) == 0 && buffer.length == 3;
            if (good)
                memcpy(text, buffer.bytes, 3);
            snprintf(text, sizeof text, "%03d", atoi(text) + 1);
            good = good && sys_file_replace_secret("it", text, 3) == 0;
            sys_fd_close(lock);
        }
        _exit(good ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    buffer.length = 0;
    ck_assert_int_eq(sys_file_read("it", &buffer, 3), 0);
    ck_assert_mem_eq(buffer.bytes, "120", 3);
    buffer_done(&buffer);
    remove_folder();
}

// As on NFS, in place of the system's: nobody has a lock to himself on what he cannot write.
static bool as_on_nfs;

int flock(int fd, int how) {
    if (as_on_nfs && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, how);
}

TEST(a_lock_is_had_where_it_needs_a_file_open_for_writing) {
    enter_folder();
    write_file("it", "it", 0600);
    as_on_nfs = true;
    int lock = sys_file_lock("it");
    ck_assert_int_ge(lock, 0);
    sys_fd_close(lock);
    remove_folder();
}

TEST(a_file_that_is_closed_to_writing_can_be_locked) {
    enter_folder();
    write_file("it", "it", 0400);
    int lock = sys_file_lock("it");
    ck_assert_int_ge(lock, 0);
    sys_fd_close(lock);
    remove_folder();
}

TEST(a_stamp_changes_with_the_file) {
    struct sys_file_stamp none = {0}, one, two;
    enter_folder();
    sys_file_stamp("it", &one);
    ck_assert_mem_eq(&one, &none, sizeof one);
    write_file("it", "old", 0600);
    sys_file_stamp("it", &one);
    sys_file_stamp("it", &two);
    ck_assert_mem_eq(&one, &two, sizeof one);
    ck_assert_mem_ne(&one, &none, sizeof one);
    ck_assert_int_eq(sys_file_replace_secret("it", "new", 3), 0);
    sys_file_stamp("it", &two);
    ck_assert_mem_ne(&one, &two, sizeof one);
    remove_folder();
}

// ---- files as users have them ----

TEST(files_are_opened_as_asked_for) {
    struct sys_file_facts facts;
    enter_folder();
    write_file("it", "old", 0640);
    ck_assert_int_eq(sys_file_open_as("none", SYS_FILE_READ, 0, &facts), -ENOENT);
    ck_assert_int_eq(sys_file_open_as(".", SYS_FILE_READ, 0, &facts), -EISDIR);
    ck_assert_int_eq(
        sys_file_open_as("it", SYS_FILE_WRITE | SYS_FILE_CREATE | SYS_FILE_NEW, 0600, &facts),
        -EEXIST);
    int fd = sys_file_open_as("it", SYS_FILE_READ | SYS_FILE_WRITE, 0, &facts);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(facts.sort, SYS_FILE_REGULAR);
    ck_assert_uint_eq(facts.bytes, 3);
    ck_assert_uint_eq(facts.permissions, 0640);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(sys_file_resize(fd, 1), 0);
    ck_assert_int_eq(sys_file_sync(fd), 0);
    ck_assert_int_eq(sys_file_seek(fd, 1), 0);
    ck_assert_int_eq(sys_file_look("it", false, &facts), 0);
    ck_assert_uint_eq(facts.bytes, 1);
    sys_fd_close(fd);
    ck_assert_int_eq(sys_file_resize(fd, 1), -EBADF);
    ck_assert_int_eq(sys_file_sync(fd), -EBADF);
    ck_assert_int_eq(sys_file_seek(fd, 1), -EBADF);
    ck_assert_int_eq(sys_file_look("none", false, &facts), -ENOENT);
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(sys_file_open_as("pipe", SYS_FILE_WRITE, 0, &facts), -ENXIO);
    fd = sys_file_open_as("pipe", SYS_FILE_READ, 0, &facts);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(facts.sort, SYS_FILE_PIPE);
    ck_assert_int_eq(sys_fd_set_blocking(fd, true), 0);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(sys_fd_set_blocking(fd, false), 0);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    sys_fd_close(fd);
    ck_assert_int_eq(sys_fd_set_blocking(fd, false), -EBADF);
    remove_folder();
}

TEST(what_lies_in_memory_is_read_at_once_if_that_can_be_told) {
    struct sys_file_facts facts;
    char text[8];
    enter_folder();
    int fd = sys_file_open_as("it", SYS_FILE_READ | SYS_FILE_WRITE | SYS_FILE_CREATE, 0600, &facts);
    ck_assert_int_eq(sys_file_write_some(fd, 1, "bcd", 3), 3);
    int64_t put = sys_file_try_write(fd, 0, "a", 1);
    ck_assert(put == 1 || put == -EAGAIN || put == -EOPNOTSUPP);
    ck_assert_int_eq(sys_file_write_some(fd, 0, "a", 1), 1);
    ck_assert_int_eq(sys_file_read_some(fd, 0, text, 8), 4);
    ck_assert_mem_eq(text, "abcd", 4);
    int64_t got = sys_file_try_read(fd, 2, text, 8);
    ck_assert(got == 2 || got == -EAGAIN || got == -EOPNOTSUPP);
    ck_assert_int_eq(sys_file_read_some(fd, 4, text, 8), 0);
    sys_fd_close(fd);
    ck_assert_int_eq(sys_file_try_read(fd, 0, text, 8), -EBADF);
    ck_assert_int_eq(sys_file_try_write(fd, 0, text, 8), -EBADF);
    ck_assert_int_eq(sys_file_read_some(fd, 0, text, 8), -EBADF);
    ck_assert_int_eq(sys_file_write_some(fd, 0, text, 8), -EBADF);
    remove_folder();
}

TEST(folders_are_listed_and_removed) {
    struct buffer names;
    enter_folder();
    buffer_init(&names);
    ck_assert_int_eq(sys_folder_make_with("a/b", 0750), 0);
    ck_assert_int_eq(sys_folder_list("a", &names), 0);
    ck_assert_uint_eq(names.length, 2);
    ck_assert_str_eq((char *)names.bytes, "b");
    ck_assert_int_eq(sys_folder_list("none", &names), -ENOENT);
    ck_assert_int_eq(sys_file_remove_any("a"), -ENOTEMPTY);
    ck_assert_int_eq(sys_file_remove_any("a/b"), 0);
    write_file("a/c", "", 0600);
    ck_assert_int_eq(sys_file_remove_any("a/c"), 0);
    ck_assert_int_eq(sys_file_remove_any("a/c"), -ENOENT);
    buffer_done(&names);
    remove_folder();
}

TEST(folders_are_made_with_those_above) {
    struct stat facts;
    enter_folder();
    ck_assert_int_eq(sys_folder_make("a/b//c/"), 0);
    ck_assert_int_eq(stat("a/b/c", &facts), 0);
    ck_assert_int_eq(facts.st_mode & 0777, 0700);
    ck_assert_int_eq(sys_folder_make("a/b/c"), 0);
    ck_assert_int_eq(sys_folder_make("a"), 0);
    ck_assert_int_eq(sys_folder_make("/"), 0);
    ck_assert_int_eq(sys_folder_make(""), -ENOENT);
    write_file("file", "", 0600);
    ck_assert_int_eq(sys_folder_make("file"), -ENOTDIR);
    ck_assert_int_eq(sys_folder_make("file/below"), -ENOTDIR);
    memory_fail_nth(1);
    ck_assert_int_eq(sys_folder_make("a"), -ENOMEM);
    remove_folder();
}

TEST(a_folder_is_private_if_it_is_ours_and_nobody_else_may_write) {
    enter_folder();
    ck_assert_int_eq(mkdir("ours", 0700), 0);
    ck_assert_int_eq(sys_folder_is_private("ours"), 0);
    ck_assert_int_eq(chmod("ours", 0755), 0);
    ck_assert_int_eq(sys_folder_is_private("ours"), 0);
    ck_assert_int_eq(chmod("ours", 0770), 0);
    ck_assert_int_eq(sys_folder_is_private("ours"), -EACCES);
    ck_assert_int_eq(chmod("ours", 0702), 0);
    ck_assert_int_eq(sys_folder_is_private("ours"), -EACCES);
    ck_assert_int_eq(chmod("ours", 0700), 0);
    ck_assert_int_eq(symlink("ours", "link"), 0);
    ck_assert_int_eq(sys_folder_is_private("link"), -EACCES);
    ck_assert_int_eq(sys_folder_is_private("none"), -ENOENT);
    remove_folder();
}

TEST(the_folders_of_the_user_are_where_the_standard_says) {
    char path[64];
    setenv("HOME", "/home/her", 1);
    setenv("XDG_CONFIG_HOME", "/elsewhere", 1);
    unsetenv("XDG_CACHE_HOME");
    ck_assert_int_eq(sys_folder_config(path, sizeof path), 0);
    ck_assert_str_eq(path, "/elsewhere/asyncoro");
    ck_assert_int_eq(sys_folder_cache(path, sizeof path), 0);
    ck_assert_str_eq(path, "/home/her/.cache/asyncoro");
    setenv("XDG_CONFIG_HOME", "relative", 1); // to be ignored, says the standard
    ck_assert_int_eq(sys_folder_config(path, sizeof path), 0);
    ck_assert_str_eq(path, "/home/her/.config/asyncoro");
    ck_assert_int_eq(sys_folder_config(path, 26), -EMSGSIZE);
    ck_assert_int_eq(sys_folder_config(path, 27), 0);
    unsetenv("HOME");
    ck_assert_int_eq(sys_folder_config(path, sizeof path), -ENOENT);
}
