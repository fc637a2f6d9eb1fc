// SPDX-License-Identifier: MIT
// What there is for a node: cgroups that a test has written, an environment as Slurm makes it, and
// tags.
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster/cluster_private.h"
#include "test.h"

static char top[TEST_TEMPLATE_BYTES];

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)facts, (void)type, (void)at;
    return remove(path);
}

static void make_top(void) {
    char path[128];
    test_template(top);
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(path, sizeof path, "%s/a/b", top);
    ck_assert_int_eq(sys_folder_make(path), 0);
}

static void say(const char *file, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", top, file);
    ck_assert_int_eq(sys_file_replace_secret(path, text, strlen(text)), 0);
}

TEST(the_tightest_group_above_a_process_counts) {
    struct place place = {.processors = 16, .memory_bytes = 1 << 30};
    make_top();
    place_of_groups(&place, "0::/a/b\n", top); // no group says anything
    ck_assert_uint_eq(place.processors, 16);
    ck_assert_uint_eq(place.memory_bytes, 1 << 30);
    say("a/b/cpu.max", "max 100000\n");
    say("a/cpu.max", "250000 100000\n");
    say("cpu.max", "400000 100000\n");
    say("a/b/memory.max", "max\n");
    say("a/memory.max", "104857600\n");
    place_of_groups(&place, "12:cpu:/x\n0::/a/b\n", top);
    ck_assert_uint_eq(place.processors, 3); // two and a half
    ck_assert_uint_eq(place.memory_bytes, 100 << 20);
    say("a/b/cpu.max", "1000 100000\n");
    place_of_groups(&place, "0::/a/b", top);
    ck_assert_uint_eq(place.processors, 1);
    place = (struct place){.processors = 16};
    place_of_groups(&place, "0::/", top); // in a container
    ck_assert_uint_eq(place.processors, 4);
    ck_assert_uint_eq(place.memory_bytes, 0);
    nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TEST(groups_that_make_no_sense_change_nothing) {
    struct place place = {.processors = 16, .memory_bytes = 5};
    make_top();
    say("cpu.max", "many 0\n");
    say("memory.max", "\n");
    place_of_groups(&place, "0::/", top);
    place_of_groups(&place, "0::/../../..", top);
    place_of_groups(&place, "1:cpu:/", top);
    place_of_groups(&place, "", top);
    ck_assert_uint_eq(place.processors, 16);
    ck_assert_uint_eq(place.memory_bytes, 5);
    nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TEST(this_computer_has_something) {
    struct place place;
    place_here(&place);
    ck_assert_uint_ge(place.processors, 1);
    ck_assert_uint_le(place.processors, (unsigned)sys_processors());
    ck_assert_uint_gt(place.memory_bytes, 1 << 20);
}

TEST(slurm_tells_by_the_environment) {
    struct slurm_place it;
    unsetenv("SLURM_JOB_ID");
    ck_assert(!place_of_slurm(&it));
    setenv("SLURM_JOB_ID", "12; rm -r", 1);
    ck_assert(!place_of_slurm(&it));
    setenv("SLURM_JOB_ID", "419", 1);
    ck_assert(place_of_slurm(&it));
    ck_assert_uint_eq(it.processors, 0);
    ck_assert_uint_eq(it.memory_bytes, 0);
    ck_assert_int_eq(it.end_s, 0);
    setenv("SLURM_CPUS_ON_NODE", "8", 1);
    setenv("SLURM_MEM_PER_CPU", "1024", 1);
    setenv("SLURMD_NODENAME", "n2", 1);
    setenv("SLURM_JOB_END_TIME", "1700000000", 1);
    ck_assert(place_of_slurm(&it));
    ck_assert_str_eq(it.job, "419");
    ck_assert_str_eq(it.node, "n2");
    ck_assert_uint_eq(it.processors, 8);
    ck_assert_uint_eq(it.memory_bytes, (uint64_t)8 << 30);
    ck_assert_int_eq(it.end_s, 1700000000);
    setenv("SLURM_CPUS_PER_TASK", "2", 1); // the task has these, the node may have others
    setenv("SLURM_MEM_PER_NODE", "4096", 1);
    ck_assert(place_of_slurm(&it));
    ck_assert_uint_eq(it.processors, 2);
    ck_assert_uint_eq(it.memory_bytes, (uint64_t)4 << 30);
}

TEST(the_time_that_slurm_leaves_is_read) {
    static const struct {
        const char *text;
        int64_t seconds;
    } all[] = {{"0:00\n", 0},
               {"5:06", 306},
               {"05:06:07\n", 18367},
               {"1-02:03:04\n", 93784},
               {"2-00:00:00", 172800},
               {"UNLIMITED\n", INT64_MAX},
               {"INVALID\n", -1},
               {"NOT_SET", -1},
               {"", -1},
               {"7\n", -1},
               {"1:2:3:4", -1},
               {"1:2x", -1},
               {"1-2-3:04", -1},
               {"-1:00", -1},
               {"1:", -1},
               {"99999999999999999999:00", -1}};
    for (size_t i = 0; i < countof(all); i++)
        ck_assert_msg(slurm_time_left(all[i].text) == all[i].seconds, "%s", all[i].text);
}

TEST(tags_are_a_map_of_texts) {
    static const char *const bad[] = {"gpu",      "=x",   "a=1,a=2", "a b=c",
                                      "a=1,,b=2", ",a=1", "\xff=1",  "a=\xff"};
    ac_value tags;
    ck_assert(tags_read("gpu=a100,site/rack=b=3,empty=", &tags));
    ac_value wanted = ac_map("gpu", "a100", "site/rack", "b=3", "empty", "");
    ck_assert(ac_equal(tags, wanted));
    ac_drop(wanted);
    ac_drop(tags);
    ck_assert(tags_read("", &tags));
    ck_assert_int_eq(tags.kind, AC_MAP);
    ck_assert_uint_eq(ac_count(tags), 0);
    ac_drop(tags);
    for (size_t i = 0; i < countof(bad); i++)
        ck_assert_msg(!tags_read(bad[i], &tags), "%s", bad[i]);
}
