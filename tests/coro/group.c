// SPDX-License-Identifier: MIT
// Tests of src/coro/group.c: joining, failures, cancellation, closing, the end of the owner.
#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>

static int run_gives(ac_function function) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(function, ac_nil)), 0);
    return ac_run();
}

static void run(ac_function function) { ck_assert_int_eq(run_gives(function), 0); }

static ac_group *open_group(void) {
    ac_group *group = NULL;
    ck_assert_int_eq(ac_group_open(&group), 0);
    ck_assert_ptr_nonnull(group);
    return group;
}

// Yields this often, then tells a letter.
static ac_value yield_and_tell(ac_value arguments) {
    int times, letter;
    ck_assert_int_eq(ac_unpack(arguments, &times, &letter), 0);
    while (times-- > 0)
        if (ac_yield() < 0)
            return ac_nil;
    tell((char)letter);
    return ac_nil;
}

static ac_value fail_after(ac_value arguments) {
    int times, err;
    ck_assert_int_eq(ac_unpack(arguments, &times, &err), 0);
    while (times-- > 0)
        ck_assert_int_eq(ac_yield(), 0);
    return ac_of_error(err, "some text that takes memory");
}

static ac_value sleep_on(ac_value letter) {
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

// Cleans up for a while when it is cancelled.
static ac_value clean_up(ac_value letter) {
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_eq(ac_shield_end(), 0);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

// ---- joining ----

static ac_value join_some(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ck_assert_uint_eq(ac_group_count(group), 0);
    ck_assert_int_eq(ac_group_join(group, AC_NOW), 0);
    ac_spawn(yield_and_tell, ac_list(3, 'a'), .group = group);
    ac_spawn(yield_and_tell, ac_list(1, 'b'), .group = group);
    ck_assert_uint_eq(ac_group_count(group), 2);
    ck_assert_int_eq(ac_group_join(group, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_group_join(group, ac_now() - 1), -ETIMEDOUT);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), 0);
    ck_assert_str_eq(story, "ba");
    ck_assert_uint_eq(ac_group_count(group), 0);
    ac_spawn(yield_and_tell, ac_list(2, 'c'), .group = group);
    ck_assert_int_eq(ac_group_join(group, ac_after(20)), 0);
    ck_assert_str_eq(story, "bac");
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert_int_eq(ac_group_close(NULL), 0);
    return ac_nil;
}

TEST(join_waits_for_all_and_again_for_later_ones) { run(join_some); }

static ac_value spawn_more(ac_value group) {
    ac_group *it = ac_pointer_of(group);
    ck_assert_int_eq(ac_yield(), 0);
    ac_spawn(yield_and_tell, ac_list(4, 'x'), .group = it);
    return ac_nil;
}

static ac_value join_growing(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(spawn_more, ac_of_pointer(group), .group = group);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), 0);
    ck_assert_str_eq(story, "x");
    ac_spawn(sleep_on, 'y', .group = group);
    ac_time start = ac_now();
    ck_assert_int_eq(ac_group_join(group, ac_after(0.02)), -ETIMEDOUT);
    ck_assert_int_ge(ac_now() - start, 20 * 1000 * 1000);
    ck_assert_str_eq(story, "x"); // time that is up cancels nobody
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert_str_eq(story, "xy");
    return ac_nil;
}

TEST(members_may_spawn_members_while_the_owner_waits) { run(join_growing); }

static ac_value join_one(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_ref one = ac_spawn(fail_after, ac_list(1, -EIO), .group = group, .joinable = true);
    ac_spawn(sleep_on, 'a', .group = group, .daemon = true);
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(one, &exit, AC_FOREVER), 0);
    ck_assert_int_eq(exit.how, AC_FAILED);
    ac_drop(exit.value);
    ck_assert_int_eq(ac_group_close(group), -EIO);
    return ac_nil;
}

TEST(a_member_can_be_joined_by_itself_too) { run(join_one); }

// ---- failures ----

static ac_value first_failure(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(sleep_on, 'a', .group = group);
    ac_spawn(fail_after, ac_list(2, -ENOENT), .group = group);
    ac_spawn(fail_after, ac_list(1, -EIO), .group = group);
    ac_spawn(clean_up, 'c', .group = group);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -EIO);
    ck_assert_str_eq(story, "ac"); // it waits for those who clean up
    ck_assert_int_eq(ac_group_join(group, AC_NOW), -EIO);
    ck_assert(ac_ref_is(ac_spawn(yield_and_tell, ac_list(0, 'x'), .group = group)));
    ck_assert_uint_eq(ac_group_count(group), 1);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -EIO);
    ck_assert_str_eq(story, "ac");
    ck_assert_int_eq(ac_group_close(group), -EIO);
    return ac_nil;
}

// The run itself does not fail: it was observed.
TEST(the_first_failure_cancels_the_others_and_is_told) { run(first_failure); }

static ac_value all_failures(ac_value unused) {
    (void)unused;
    ac_group *group;
    ck_assert_int_eq(ac_group_open(&group, .keep_going = true), 0);
    ac_spawn(fail_after, ac_list(1, -EIO), .group = group);
    ac_spawn(fail_after, ac_list(2, -ENOENT), .group = group);
    ac_spawn(yield_and_tell, ac_list(4, 'g'), .group = group);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -EIO);
    ck_assert_str_eq(story, "g");
    ac_spawn(yield_and_tell, ac_list(0, 'h'), .group = group);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -EIO);
    ck_assert_str_eq(story, "gh");
    ck_assert_int_eq(ac_group_close(group), -EIO);
    return ac_nil;
}

TEST(with_keep_going_a_failure_leaves_the_others_alone) { run(all_failures); }

static ac_value cancel_one(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_ref one = ac_spawn(sleep_on, 'a', .group = group);
    ac_spawn(yield_and_tell, ac_list(5, 'b'), .group = group);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(one), 0);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), 0);
    ck_assert_str_eq(story, "ab");
    ck_assert_int_eq(ac_group_close(group), 0);
    return ac_nil;
}

TEST(a_member_that_is_cancelled_has_not_failed) { run(cancel_one); }

// ---- cancelling ----

static ac_value cancel_all(ac_value group) {
    ac_group_cancel(ac_pointer_of(group));
    ac_group_cancel(ac_pointer_of(group));
    ck_assert_int_eq(ac_yield(), -ECANCELED); // it is a member itself
    tell('.');
    return ac_nil;
}

static ac_value cancel_group(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    for (char it = 'a'; it < 'e'; it++)
        ac_spawn(sleep_on, it, .group = group);
    ac_spawn(cancel_all, ac_of_pointer(group), .group = group);
    ac_spawn(yield_and_tell, ac_list(0, 'x'), .group = group); // has not run when it is cancelled
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), 0);
    ck_assert_str_eq(story, ".abcd");
    ac_spawn(yield_and_tell, ac_list(0, 'x'), .group = group);
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert_str_eq(story, ".abcd");
    return ac_nil;
}

TEST(cancelling_reaches_all_and_those_who_come_later_never_run) { run(cancel_group); }

static ac_value be_cancelled_in_join(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(clean_up, 'c', .group = group);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -ECANCELED);
    ck_assert_uint_eq(ac_group_count(group), 1); // it has not been cancelled with us
    ck_assert_int_eq(ac_group_close(group), 0);
    tell('o');
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_owner(ac_value unused) {
    (void)unused;
    ac_ref owner = ac_spawn(be_cancelled_in_join, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(owner), 0);
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(owner, &exit, AC_FOREVER), 0);
    ck_assert_int_eq(exit.how, AC_CANCELLED);
    return ac_nil;
}

TEST(a_cancelled_owner_cannot_join_but_close_waits_for_all) {
    run(cancel_owner);
    ck_assert_str_eq(story, "co");
}

static ac_value close_it(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(clean_up, 'c', .group = group);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_group_close(group), 0); // is cancelled while it waits
    tell('o');
    return ac_nil;
}

static ac_value cancel_in_close(ac_value unused) {
    (void)unused;
    ac_ref owner = ac_spawn(close_it, ac_nil);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(owner), 0);
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(owner, &exit, AC_FOREVER), 0);
    ck_assert_int_eq(exit.how, AC_FINISHED); // no wait has told it
    return ac_nil;
}

TEST(close_goes_on_waiting_when_its_caller_is_cancelled) {
    run(cancel_in_close);
    ck_assert_str_eq(story, "co");
}

static ac_value close_shielded(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(clean_up, 'c', .group = group);
    ck_assert_int_eq(ac_yield(), 0);
    for (int i = 0; i < 255; i++)
        ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert_int_eq(ac_shield_begin(), -EOVERFLOW); // as many as before
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(close_needs_no_shield_where_there_is_one) { run(close_shielded); }

// ---- closing ----

static ac_value spawn_while_closing(ac_value group) {
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    ck_assert(ac_ref_is(ac_spawn(yield_and_tell, ac_list(0, 'x'), .group = ac_pointer_of(group))));
    return ac_nil;
}

static ac_value close_growing(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(spawn_while_closing, ac_of_pointer(group), .group = group);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_group_close(group), 0);
    return ac_nil;
}

TEST(what_is_spawned_during_the_close_never_runs) {
    run(close_growing);
    ck_assert_str_eq(story, "");
}

static ac_ref late;

// When the last member has ended and before the owner runs, another one is spawned.
static ac_value spawn_behind_it(ac_value group) {
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    ck_assert_uint_eq(ac_group_count(ac_pointer_of(group)), 0);
    late = ac_spawn(yield_and_tell, ac_list(0, 'x'), .group = ac_pointer_of(group));
    ck_assert(ac_ref_is(late));
    return ac_nil;
}

static ac_value cancel_and_end(ac_value whom) {
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0); // ready before the owner is woken
    return ac_nil;
}

static ac_value close_late(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_ref outsider = ac_spawn(spawn_behind_it, ac_of_pointer(group));
    ac_spawn(cancel_and_end, outsider, .group = group);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert(ac_ref_is(late));
    ck_assert_ptr_null(coro_find(loop_here, late.id));
    return ac_nil;
}

TEST(close_waits_for_one_that_came_when_the_last_had_just_ended) {
    run(close_late);
    ck_assert_str_eq(story, "");
}

static ac_value meddle(ac_value group) {
    ac_group *it = ac_pointer_of(group);
    ck_assert_int_eq(ac_group_join(it, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_group_close(it), -EPERM);
    return ac_nil;
}

static ac_value open_oddly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_group_open(NULL), -EINVAL);
    ck_assert_int_eq(ac_group_join(NULL, AC_FOREVER), -EINVAL);
    ck_assert_uint_eq(ac_group_count(NULL), 0);
    ac_group_cancel(NULL);
    ac_group *group;
    ck_assert_int_eq(ac_group_open_with(&group, NULL), 0);
    ck_assert_int_eq(ac_ref_error(ac_spawn(NULL, "dropped", .group = group)), -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_spawn(meddle, "\xff", .group = group)), -EILSEQ);
    ck_assert_int_eq(ac_ref_error(ac_spawn(meddle, ac_nil, .group = group,
                                           .stack_bytes = AC_STACK_BYTES_MAX + 1)),
                     -EINVAL);
    ck_assert_uint_eq(ac_group_count(group), 0);
    ac_spawn(meddle, ac_of_pointer(group), .group = group);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), 0);
    ac_spawn(sleep_on, 's', .group = group);
    return ac_nil;
}

TEST(only_the_owner_joins_and_closes_and_only_coroutines_own) {
    ac_group *group;
    ck_assert_int_eq(ac_group_open(&group), -EPERM);
    ck_assert_ptr_null(group);
    run(open_oddly);
    ck_assert_int_eq(ac_group_close(NULL), 0);
}

static ac_value of_another_loop(ac_value unused) {
    (void)unused;
    int err;
    struct loop *other = loop_create(&sys_chosen, 0, &err);
    ck_assert_ptr_nonnull(other);
    ac_group *group = open_group();
    const struct ac_spawn_options how = {.size = sizeof how, .group = group};
    ck_assert_ptr_null(coro_create(other, sleep_on, ac_of("dropped"), &how, false, &err));
    ck_assert_int_eq(err, -EXDEV);
    ck_assert_int_eq(ac_group_close(group), 0);
    loop_destroy(other);
    return ac_nil;
}

TEST(a_group_takes_coroutines_of_its_own_loop_only) { run(of_another_loop); }

// ---- the end of the owner ----

static ac_value fail_when_cancelled(ac_value unused) {
    (void)unused;
    while (ac_yield() == 0)
        continue;
    tell('f');
    return ac_nil;
}

static ac_value fail_unknowingly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0); // granted before the cancellation
    return ac_result(-EIO);
}

static ac_value leave(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_group *empty = open_group();
    ck_assert_ptr_ne(group, empty);
    ac_spawn(spawn_while_closing, ac_of_pointer(group), .group = group);
    ac_spawn(clean_up, 'c', .group = group);
    ac_spawn(fail_when_cancelled, ac_nil, .group = group);
    ac_spawn(fail_unknowingly, ac_nil, .group = group);
    ck_assert_int_eq(ac_yield(), 0);
    tell('l');
    return ac_nil;
}

TEST(the_end_of_the_owner_closes_the_group_and_failures_count_as_observed) {
    run(leave);
    ck_assert_str_eq(story, "lfc");
}

static ac_value deaf(ac_value unused) {
    (void)unused;
    while (ac_now() > 0)
        (void)ac_yield();
    return ac_nil;
}

static ac_value close_deaf(ac_value unused) {
    (void)unused;
    ac_group *group = open_group();
    ac_spawn(deaf, ac_nil, .group = group, .daemon = true);
    ck_assert_int_eq(ac_set_daemon(true), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_group_close(group), 0);
    tell('?');
    return ac_nil;
}

static ac_value yield_twice(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

// The sanitizer looks for what is left of the group.
TEST(a_close_that_hangs_is_abandoned_with_the_loop) {
    ac_spawn(close_deaf, ac_nil);
    run(yield_twice);
    ck_assert_str_eq(story, "");
}

// ---- memory, and options of other versions ----

static ac_value spawn_without_memory(ac_value unused) {
    (void)unused;
    int failures = 0;
    // Groups first: then members, while records are used up.
    for (long n = 1;; n++) {
        ac_group *group;
        memory_fail_nth(n);
        int err = ac_group_open(&group);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        ck_assert_int_eq(group == NULL, failed);
        failures += failed;
        ck_assert_int_eq(ac_group_close(group), 0);
        if (!failed)
            break;
    }
    ck_assert_int_eq(failures, 1);
    ac_group *group = open_group();
    enum { RECORDS = 700 }; // more than a step of their table
    for (uint32_t i = 0; i < RECORDS; i++) {
        for (long n = 1;; n++) {
            ac_value argument = ac_list(0, 'a');
            memory_fail_nth(n);
            ac_ref ref = ac_spawn(fail_when_cancelled, argument, .group = group);
            bool failed = memory_has_failed();
            memory_fail_nth(0);
            ck_assert_int_eq(ac_ref_error(ref), failed ? -ENOMEM : 0);
            ck_assert_uint_eq(ac_group_count(group), failed ? i : i + 1);
            failures += failed;
            if (!failed)
                break;
        }
    }
    ck_assert_int_gt(failures, RECORDS); // a member each, and a step of the table
    ac_group_cancel(group);              // before any has run
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert_str_eq(story, "");
    return ac_nil;
}

TEST(without_memory_nothing_is_made) { run(spawn_without_memory); }

// An ac_spawn_options of the first version, and what happens to lie behind it.
struct old_options {
    union {
        struct ac_spawn_options now;
        struct {
            char first[offsetof(struct ac_spawn_options, group)];
            uintptr_t behind;
        } old;
    } u;
};

static ac_value spawn_as_of_old(ac_value unused) {
    (void)unused;
    struct old_options it = {.u.now = {.size = offsetof(struct ac_spawn_options, group),
                                       .name = "of old",
                                       .joinable = true}};
    it.u.old.behind = 1; // no group
    ac_ref ref = ac_spawn_with(yield_and_tell, ac_list(1, 'a'), &it.u.now);
    ck_assert_int_eq(ac_ref_error(ref), 0);
    ck_assert_str_eq(ac_name_of(ref), "of old");
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_join(ref, NULL, AC_NOW), 0);
    struct {
        struct ac_spawn_options now;
        char more[16];
    } newer = {.now = {.size = sizeof newer, .name = "of tomorrow"}};
    ref = ac_spawn_with(yield_and_tell, ac_list(1, 'b'), &newer.now);
    ck_assert_str_eq(ac_name_of(ref), "of tomorrow");
    struct ac_spawn_options none = {.name = "its size was forgotten"};
    ck_assert_int_eq(ac_ref_error(ac_spawn_with(yield_and_tell, ac_of("dropped"), &none)), -EINVAL);
    ac_group *group;
    struct ac_group_options oldest = {.size = sizeof(size_t), .keep_going = true};
    ck_assert_int_eq(ac_group_open_with(&group, &oldest), 0);
    ac_spawn(sleep_on, 's', .group = group);
    ac_spawn(fail_after, ac_list(1, -EIO), .group = group);
    ck_assert_int_eq(ac_group_close(group), 0); // nothing has run yet
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(options_of_other_versions_are_read_as_far_as_they_go) {
    run(spawn_as_of_old);
    ck_assert_str_eq(story, "ab");
}
