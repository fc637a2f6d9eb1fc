// SPDX-License-Identifier: MIT
// The folder of a computation on a node: names, what is put into it, what nodes that are gone left.
#include "cluster/world.h"

static struct contents contents;

static void begin(void) {
    char base[96];
    world_make();
    snprintf(base, sizeof base, "%s/node", world_folder);
    contents_open(&contents, base, 0);
    ck_assert_str_ne(contents.work, "");
}

static void end(void) {
    contents_close(&contents);
    world_clean();
}

static size_t folders(void) {
    struct buffer names;
    buffer_init(&names);
    if (sys_file_exists(contents.work))
        ck_assert_int_eq(sys_folder_list(contents.work, &names), 0);
    size_t count = 0;
    for (size_t i = 0; i < names.length; i++)
        count += names.bytes[i] == 0;
    buffer_done(&names);
    return count;
}

TEST(names_lead_nowhere_else) {
    char name[1200];
    static const char *const good[] = {"a", "a/b", ".hidden", "..a", "a/...", "caf\xc3\xa9 2"};
    static const char *const bad[] = {"",  "/",  "/a",   "a/",   "a//b",
                                      ".", "..", "a/..", "../a", "a/./b"};
    for (size_t i = 0; i < countof(good); i++)
        ck_assert_msg(folder_name_is_good(good[i]), "%s", good[i]);
    for (size_t i = 0; i < countof(bad); i++)
        ck_assert_msg(!folder_name_is_good(bad[i]), "%s", bad[i]);
    memset(name, 'a', sizeof name);
    name[255] = 0;
    ck_assert(folder_name_is_good(name));
    name[255] = 'a';
    name[256] = 0;
    ck_assert(!folder_name_is_good(name));
    for (int i = 0; i < 33; i++)
        strcpy(name + 2 * i, "a/");
    name[63] = 0;
    ck_assert(folder_name_is_good(name));
    name[63] = '/';
    name[65] = 0;
    ck_assert(!folder_name_is_good(name));
}

// Puts them in for workers that run as we do, or as somebody else.
static void put_files_for(uint32_t user) {
    struct folder folder;
    char path[700];
    struct stat facts;
    snprintf(path, sizeof path, "%s/content", world_folder);
    int content = sys_file_create(path);
    ck_assert_int_ge(content, 0);
    ck_assert_int_eq(sys_fd_write(content, "words", 5), 0);
    contents.user = user;
    ck_assert_int_eq(folder_make(&folder, &contents), 0);
    ck_assert_uint_eq(folders(), 1);
    ck_assert_int_eq(folder_put(&folder, "files", "a/b", content, 5, false), 0);
    ck_assert_int_eq(folder_put(&folder, "files", "a/b", content, 5, false), -EEXIST);
    ck_assert_int_eq(folder_put(&folder, "files", "a/b", content, 5, true), -EEXIST);
    ck_assert_int_eq(folder_put(&folder, "files", "a/c", content, 5, true), 0);
    ck_assert_int_eq(folder_put(&folder, "files", "../c", content, 5, true), -EINVAL);
    ck_assert_int_eq(folder_put(&folder, "files", "a/b/c", content, 5, false), -ENOTDIR);
    ck_assert_int_eq(folder_put(&folder, "libraries", "b", content, 5, false), 0);
    // Another user gets names of what is ours, unless he may change it; else each is a copy, whose
    // mode its owner may change.
    ck_assert_int_eq(fstat(content, &facts), 0);
    ck_assert_uint_eq(facts.st_nlink, user ? 3 : 1);
    snprintf(path, sizeof path, "%s/files/a/b", folder.path);
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_int_eq(facts.st_size, 5);
    // What lies in memory has no name to add to: it is copied.
    int memory = sys_memory_create("memory", true);
    ck_assert_int_eq(sys_fd_write(memory, "memory", 6), 0);
    ck_assert_int_eq(folder_put(&folder, "files", "m", memory, 6, false), 0);
    snprintf(path, sizeof path, "%s/files/m", folder.path);
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_int_eq(facts.st_size, 6);
    ck_assert_uint_eq(facts.st_mode & 0777, 0500);
    sys_fd_close(memory);
    // A link that a worker left leads nothing out.
    snprintf(path, sizeof path, "%s/files/link", folder.path);
    ck_assert_int_eq(symlink(world_folder, path), 0);
    ck_assert_int_lt(folder_put(&folder, "files", "link/x", content, 5, false), 0);
    folder_remove(&folder);
    folder_remove(&folder);
    ck_assert_uint_eq(folders(), 0);
    ck_assert_int_eq(fstat(content, &facts), 0);
    ck_assert_uint_eq(facts.st_nlink, 1);
    sys_fd_close(content);
    snprintf(path, sizeof path, "%s/content", world_folder);
    ck_assert_int_eq(unlink(path), 0);
}

static ac_value put_files(ac_value unused) {
    put_files_for(0);
    put_files_for(65534);
    return unused;
}

TEST(files_are_put_in_and_all_goes) {
    begin();
    world_run(put_files);
    end();
}

TEST(what_a_killed_node_left_goes_and_what_is_kept_stays) {
    struct folder folder;
    char left[700];
    begin();
    ck_assert_int_eq(folder_make(&folder, &contents), 0);
    snprintf(left, sizeof left, "%s/0123456789abcdef/files/below", contents.work);
    ck_assert_int_eq(sys_folder_make(left), 0);
    ck_assert_int_eq(chmod(left, 0), 0);
    ck_assert_uint_eq(folders(), 2);
    folder_sweep(&contents);
    ck_assert_uint_eq(folders(), 1);
    ck_assert(sys_file_exists(folder.path));
    folder_remove(&folder);
    folder_sweep(&contents);
    ck_assert_uint_eq(folders(), 0);
    end();
}

TEST(without_a_store_folders_are_temporary) {
    struct folder folder;
    char work[sizeof contents.work];
    world_make();
    contents_open(&contents, "/dev/null/x", 0);
    ck_assert_str_eq(contents.folder, "");
    strcpy(work, contents.work);
    ck_assert_int_eq(folder_make(&folder, &contents), 0);
    ck_assert_ptr_nonnull(strstr(folder.path, work));
    folder_remove(&folder);
    ck_assert_uint_eq(folders(), 0);
    end();
    ck_assert(!sys_file_exists(work));
}

TEST(without_a_store_the_folders_of_killed_nodes_are_swept) {
    struct contents others;
    char left[160], file[200], other[160];
    world_make();
    setenv("TMPDIR", world_folder, 1);
    snprintf(left, sizeof left, "%s/asyncoro-node-0123456789abcdef", world_folder);
    snprintf(file, sizeof file, "%s/01/files", left);
    ck_assert_int_eq(sys_folder_make(file), 0);
    snprintf(other, sizeof other, "%s/asyncoro-node-of-mine", world_folder);
    ck_assert_int_eq(sys_folder_make(other), 0);
    contents_open(&others, "/dev/null/x", 0);
    ck_assert(!sys_file_exists(left));
    ck_assert(sys_file_exists(other));
    // One that a node uses stays.
    contents_open(&contents, "/dev/null/x", 0);
    ck_assert(sys_file_exists(others.work));
    ck_assert_str_ne(others.work, contents.work);
    contents_close(&others);
    ck_assert(!sys_file_exists(others.work));
    end();
}

TEST(without_any_place_there_is_no_folder) {
    struct folder folder;
    world_make();
    setenv("TMPDIR", "/dev/null/y", 1);
    contents_open(&contents, "/dev/null/x", 0);
    ck_assert_int_eq(folder_make(&folder, &contents), -ENOENT);
    folder_remove(&folder);
    folder_sweep(&contents);
    end();
}
