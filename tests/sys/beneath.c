// SPDX-License-Identifier: MIT
// Tests of src/sys/beneath.c: what lies beneath a folder, and that nothing leads out of it.
#include "sys/sys.h"
#include "test.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64];
static int folder;

static int remove_one(const char *path, const struct stat *facts, int sort, struct FTW *place) {
    (void)facts, (void)sort, (void)place;
    return remove(path);
}

static void begin(void) {
    test_template(top);
    ck_assert_ptr_nonnull(mkdtemp(top));
    folder = sys_beneath_open(top);
    ck_assert_int_ge(folder, 0);
}

static void end(void) {
    close(folder);
    ck_assert_int_eq(nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void put(const char *name, const char *text) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

TEST(walking_makes_folders_and_stops_at_links) {
    begin();
    ck_assert_int_eq(sys_beneath_walk(folder, "a/b", false), -ENOENT);
    int fd = sys_beneath_walk(folder, "a/b", true);
    ck_assert_int_ge(fd, 0);
    close(fd);
    fd = sys_beneath_walk(folder, "a/b", false);
    struct sys_file_facts facts;
    ck_assert_int_eq(sys_beneath_facts(fd, &facts), 0);
    ck_assert_int_eq(facts.sort, SYS_FILE_FOLDER);
    int same = sys_beneath_walk(folder, "a/b", true);
    ck_assert(sys_beneath_is_same(fd, same) && !sys_beneath_is_same(fd, folder));
    close(fd);
    close(same);
    fd = sys_beneath_walk(folder, "", false);
    ck_assert(sys_beneath_is_same(fd, folder));
    close(fd);
    ck_assert_int_eq(symlinkat("/", folder, "root"), 0);
    ck_assert_int_eq(symlinkat("a", folder, "inside"), 0);
    put("file", "");
    ck_assert_int_eq(sys_beneath_walk(folder, "root", true), -ELOOP);
    ck_assert_int_eq(sys_beneath_walk(folder, "root/tmp", true), -ELOOP);
    ck_assert_int_eq(sys_beneath_walk(folder, "inside/b", true), -ELOOP);
    ck_assert_int_eq(sys_beneath_walk(folder, "file/b", true), -ENOTDIR);
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    ck_assert_int_eq(sys_beneath_walk(folder, long_name, true), -EINVAL);
    ck_assert_int_eq(sys_beneath_open("/nothing/there"), -ENOENT);
    end();
}

TEST(only_regular_files_are_opened) {
    begin();
    put("file", "text");
    ck_assert_int_eq(symlinkat("file", folder, "link"), 0);
    ck_assert_int_eq(mkfifoat(folder, "pipe", 0600), 0);
    ck_assert_int_eq(mkdirat(folder, "folder", 0700), 0);
    struct sys_file_facts facts;
    int fd = sys_beneath_read(folder, "file", &facts);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(facts.bytes, 4);
    ck_assert_int_eq(sys_beneath_permit(fd, 07741), 0);
    ck_assert_int_eq(sys_beneath_facts(fd, &facts), 0);
    ck_assert_int_eq(facts.permissions, 0741);
    close(fd);
    ck_assert_int_eq(sys_beneath_read(folder, "link", &facts), -ELOOP);
    ck_assert_int_eq(sys_beneath_read(folder, "pipe", &facts), -ENOTSUP);
    ck_assert_int_eq(sys_beneath_read(folder, "folder", &facts), -EISDIR);
    ck_assert_int_eq(sys_beneath_read(folder, "nothing", &facts), -ENOENT);
    ck_assert_int_eq(sys_beneath_look(folder, "link", &facts), 0);
    ck_assert_int_eq(facts.sort, SYS_FILE_LINK);
    ck_assert_int_eq(sys_beneath_look(folder, "pipe", &facts), 0);
    ck_assert_int_eq(facts.sort, SYS_FILE_PIPE);
    ck_assert_int_eq(sys_beneath_look(folder, "nothing", &facts), -ENOENT);
    end();
}

TEST(a_file_to_write_is_ones_own_alone) {
    begin();
    struct sys_file_facts facts;
    int fd = sys_beneath_write(folder, "file", &facts);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(facts.permissions, 0600);
    ck_assert_int_eq(sys_beneath_write(folder, "file", &facts), -EBUSY);
    close(fd);
    fd = sys_beneath_write(folder, "file", &facts);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(linkat(folder, "file", folder, "other", 0), 0);
    ck_assert_int_eq(sys_beneath_write(folder, "file", &facts), -EACCES);
    ck_assert_int_eq(symlinkat("nothing", folder, "link"), 0);
    ck_assert_int_eq(sys_beneath_write(folder, "link", &facts), -ELOOP);
    ck_assert_int_eq(faccessat(folder, "nothing", F_OK, 0), -1);
    end();
}

TEST(files_are_renamed_and_removed_and_counted) {
    begin();
    put("a", "one");
    put("b", "three");
    ck_assert_int_eq(mkdirat(folder, "in", 0700), 0);
    int in = sys_beneath_walk(folder, "in", false);
    ck_assert_int_eq(sys_beneath_rename(folder, "a", in, "c", false), 0);
    ck_assert_int_eq(sys_beneath_rename(folder, "b", in, "c", false), -EEXIST);
    uint64_t bytes;
    ck_assert_int_eq(sys_beneath_count(folder, 0, &bytes), 0);
    ck_assert_uint_eq(bytes, 3 + 5);
    ck_assert_int_eq(sys_beneath_count(folder, 100, &bytes), 0);
    ck_assert_uint_eq(bytes, 300);
    ck_assert_int_eq(symlinkat("/", folder, "root"), 0); // is not gone into
    ck_assert_int_eq(sys_beneath_count(folder, 100, &bytes), 0);
    ck_assert_uint_eq(bytes, 400);
    ck_assert_int_eq(sys_beneath_rename(folder, "b", in, "c", true), 0);
    struct buffer names;
    buffer_init(&names);
    ck_assert_int_eq(sys_beneath_list(in, &names), 0);
    ck_assert_uint_eq(names.length, 2);
    ck_assert_str_eq((char *)names.bytes, "c");
    buffer_done(&names);
    ck_assert_int_eq(sys_beneath_remove(folder, "in", true), -ENOTEMPTY);
    ck_assert_int_eq(sys_beneath_remove(in, "c", false), 0);
    ck_assert_int_eq(sys_beneath_remove(folder, "in", true), 0);
    close(in);
    ck_assert_int_eq(sys_beneath_free(folder, &bytes), 0);
    ck_assert_uint_gt(bytes, 0);
    end();
}

TEST(all_is_cleared_however_deep_and_whatever_was_done_to_it) {
    char line[400], kept[TEST_TEMPLATE_BYTES];
    begin();
    test_template(kept);
    int file = mkstemp(kept);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(fchmod(file, 0640), 0);
    snprintf(line, sizeof line,
             "cd %s && mkdir -p a/b/c e/moved-1 moved-2 && echo x >a/b/c/d && echo x >moved-3 && "
             "ln -s %s a/link && ln -s %s link && mkfifo a/pipe && chmod 0 a/b/c/d a/b/c a/b a",
             top, kept, kept);
    ck_assert_int_eq(system(line), 0);
    // Deeper than any path can tell.
    int at = dup(folder);
    for (int i = 0; i < 1500; i++) {
        ck_assert_int_eq(mkdirat(at, "deep", 0700), 0);
        int next = openat(at, "deep", O_RDONLY | O_DIRECTORY);
        close(at);
        at = next;
    }
    close(at);
    ck_assert_int_eq(sys_beneath_clear(folder), 0);
    struct buffer names;
    buffer_init(&names);
    ck_assert_int_eq(sys_beneath_list(folder, &names), 0);
    ck_assert_uint_eq(names.length, 0);
    // What links name is as it was.
    struct stat facts;
    ck_assert_int_eq(fstat(file, &facts), 0);
    ck_assert_uint_eq(facts.st_nlink, 1);
    ck_assert_uint_eq(facts.st_mode & 0777, 0640);
    ck_assert_int_eq(sys_beneath_clear(folder), 0);
    ck_assert_int_eq(unlink(kept), 0);
    close(file);
    end();
}

TEST(a_folder_is_given_with_what_may_be_written) {
    begin();
    if (geteuid() != 0) {
        end();
        TEST_SKIP("only root can give files to others");
    }
    struct stat facts;
    put("written", "1");
    put("read", "2");
    ck_assert_int_eq(fchmodat(folder, "read", 0500, 0), 0);
    close(sys_beneath_walk(folder, "below", true));
    ck_assert_int_eq(symlinkat("/dev/null", folder, "link"), 0);
    ck_assert_int_eq(sys_beneath_give(folder, 65534, 65533), 0);
    static const char *const given[] = {"written", "below", "."};
    for (size_t i = 0; i < countof(given); i++) {
        ck_assert_int_eq(fstatat(folder, given[i], &facts, 0), 0);
        ck_assert_uint_eq(facts.st_uid, 65534);
        ck_assert_uint_eq(facts.st_gid, 65533);
    }
    ck_assert_int_eq(fstatat(folder, "read", &facts, 0), 0);
    ck_assert_uint_eq(facts.st_uid, 0);
    ck_assert_uint_eq(facts.st_mode & 0777, 0555);
    ck_assert_int_eq(stat("/dev/null", &facts), 0);
    ck_assert_uint_eq(facts.st_uid, 0);
    end();
}
