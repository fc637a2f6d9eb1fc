// SPDX-License-Identifier: MIT
// Tests of src/io/path.c.
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/connect.h"

#include "base/base.h"

#include <asyncoro/file.h>

static char folder[TEST_TEMPLATE_BYTES];

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

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

CORO_TEST(what_lies_at_a_path_is_told) {
    struct ac_file_facts facts;
    enter_folder();
    write_file("file", "four");
    ck_assert_int_eq(chmod("file", 0640), 0);
    ck_assert_int_eq(mkdir("folder", 0700), 0);
    ck_assert_int_eq(symlink("nowhere", "link"), 0);
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    static const struct {
        const char *path;
        enum ac_file_sort sort;
    } all[] = {{"file", AC_FILE_REGULAR},
               {"folder", AC_FILE_FOLDER},
               {"link", AC_FILE_LINK},
               {"pipe", AC_FILE_PIPE},
               {"/dev/null", AC_FILE_OTHER}};
    for (size_t i = 0; i < countof(all); i++) {
        ck_assert_int_eq(ac_file_look(all[i].path, &facts, AC_FOREVER), 0);
        ck_assert_int_eq(facts.sort, all[i].sort);
    }
    ck_assert_int_eq(ac_file_look("file", &facts, AC_FOREVER), 0);
    ck_assert_uint_eq(facts.bytes, 4);
    ck_assert_uint_eq(facts.permissions, 0640);
    struct stat found;
    ck_assert_int_eq(stat("file", &found), 0);
    ck_assert_int_eq(facts.modified_ns / 1000000000, found.st_mtim.tv_sec);
    ck_assert_int_eq(facts.modified_ns % 1000000000, found.st_mtim.tv_nsec);
    ck_assert_int_eq(ac_file_look("none", &facts, AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_file_look("file/it", &facts, AC_FOREVER), -ENOTDIR);
    ck_assert_int_eq(ac_file_look(NULL, &facts, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_look("file", NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_look("file", &facts, AC_NOW), -ETIMEDOUT);
    remove_folder();
}

CORO_TEST(files_are_renamed_and_removed) {
    struct ac_file_facts facts;
    enter_folder();
    write_file("one", "1");
    write_file("two", "22");
    ck_assert_int_eq(ac_file_rename("two", "one", AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_look("two", &facts, AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_file_look("one", &facts, AC_FOREVER), 0);
    ck_assert_uint_eq(facts.bytes, 2);
    ck_assert_int_eq(ac_file_rename("two", "one", AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_file_rename(NULL, "one", AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_rename("one", NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_file_remove("one", AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_remove("one", AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_file_remove(NULL, AC_FOREVER), -EINVAL);
    remove_folder();
}

CORO_TEST(folders_are_made_listed_and_removed) {
    ac_value names;
    struct ac_file_facts facts;
    char text[64];
    enter_folder();
    umask(022);
    ck_assert_int_eq(ac_folder_make("a/b", 0777, AC_FOREVER), 0);
    ck_assert_int_eq(ac_folder_make("a/b", 0777, AC_FOREVER), 0);
    ck_assert_int_eq(ac_file_look("a/b", &facts, AC_FOREVER), 0);
    ck_assert_uint_eq(facts.permissions, 0755);
    ck_assert_int_eq(ac_folder_list("a/b", &names, AC_FOREVER), 0);
    ck_assert_int_eq(ac_format(text, sizeof text, "%v", names), 2);
    ac_drop(names);
    write_file("a/z", "");
    write_file("a/\xff", ""); // no UTF-8
    write_file("a/.hidden", "");
    ck_assert_int_eq(ac_folder_make("a/z", 0777, AC_FOREVER), -ENOTDIR);
    ck_assert_int_eq(ac_folder_make(NULL, 0777, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_folder_list("a", &names, AC_FOREVER), 0);
    static const char *const expected[] = {".hidden", "b", "z", "\xff"};
    ck_assert_uint_eq(ac_count(names), countof(expected));
    for (uint32_t i = 0; i < countof(expected); i++) {
        ac_value name = ac_at(names, i);
        ac_span span = ac_span_of(name);
        ck_assert_uint_eq(span.bytes, strlen(expected[i]));
        ck_assert_mem_eq(span.at, expected[i], span.bytes);
        ac_drop(name);
    }
    ac_drop(names);
    ck_assert_int_eq(ac_file_remove("a", AC_FOREVER), -ENOTEMPTY);
    ck_assert_int_eq(ac_file_remove("a/b", AC_FOREVER), 0);
    ck_assert_int_eq(ac_folder_list("a/b", &names, AC_FOREVER), -ENOENT);
    ck_assert_int_eq(ac_folder_list("a", NULL, AC_FOREVER), -EINVAL);
    remove_folder();
}

TEST(outside_coroutines_nothing_is_done) {
    struct ac_file_facts facts;
    ck_assert_int_eq(ac_file_look("/", &facts, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_file_remove("/nowhere", AC_FOREVER), -EPERM);
}

CORO_TEST(lack_of_memory_is_an_error) {
    enter_folder();
    write_file("it", "");
    int n = 0, err = -ENOMEM;
    ac_value names;
    while (err) {
        memory_fail_nth(++n);
        err = ac_folder_list(".", &names, AC_FOREVER);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        ac_drop(names);
    }
    ck_assert_int_gt(n, 3);
    remove_folder();
}
