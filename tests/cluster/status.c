// SPDX-License-Identifier: MIT
// Status messages and exit notices of jobs, made and read.
#include "cluster/world.h"

TEST(a_status_comes_back_as_it_was_made) {
    struct ac_status out = {.kind = AC_JOB_STARTED,
                            .node = {1, 2},
                            .worker = {3, 4},
                            .coroutine = {5, 6},
                            .job = 7,
                            .lost = true,
                            .location = "here",
                            .text = "a text"},
                     in;
    ac_value notice = status_notice(&out);
    ck_assert_int_eq(notice.kind, AC_NOTICE);
    ck_assert(ac_status_of(notice, &in));
    ck_assert_int_eq(in.kind, AC_JOB_STARTED);
    ck_assert(ac_ref_equal(in.node, out.node) && ac_ref_equal(in.worker, out.worker));
    ck_assert(ac_ref_equal(in.coroutine, out.coroutine));
    ck_assert_int_eq(in.job, 7);
    ck_assert(in.lost);
    ck_assert_str_eq(in.location, "here");
    ck_assert_str_eq(in.text, "a text");
    struct ac_job_exit job;
    struct ac_exit exit;
    ck_assert(!ac_job_exit_of(notice, &job));
    ck_assert(!ac_exit_of(notice, &exit));
    ac_drop(notice);
}

TEST(the_exit_of_a_job_comes_back_as_it_was_made) {
    struct ac_job_exit out = {.exit = {.who = {1, 2},
                                       .how = AC_FAILED,
                                       .reason = -EDOM,
                                       .value = ac_of_error(-EDOM, "why")},
                              .job = 3,
                              .worker = {4, 5},
                              .location = "there",
                              .seconds = 0.5},
                       in;
    ac_value notice = job_exit_notice(&out);
    ck_assert(ac_job_exit_of(notice, &in));
    ck_assert(ac_ref_equal(in.exit.who, out.exit.who) && ac_ref_equal(in.worker, out.worker));
    ck_assert_int_eq(in.exit.how, AC_FAILED);
    ck_assert_int_eq(in.exit.reason, -EDOM);
    ck_assert_int_eq(ac_error_of(in.exit.value), -EDOM);
    ck_assert_int_eq(in.job, 3);
    ck_assert_str_eq(in.location, "there");
    ck_assert(in.seconds == 0.5);
    struct ac_status status;
    ck_assert(!ac_status_of(notice, &status));
    ac_drop(in.exit.value);
    ac_drop(notice);
}

TEST(one_that_never_ran_has_no_coroutine) {
    struct ac_job_exit out = {.exit = {.how = AC_CANCELLED, .reason = -ECANCELED}, .job = 1}, in;
    ac_value notice = job_exit_notice(&out);
    ck_assert(ac_job_exit_of(notice, &in));
    ck_assert(!ac_ref_is(in.exit.who) && !ac_ref_is(in.worker));
    ck_assert(ac_is_nil(in.exit.value));
    ac_drop(notice);
}

TEST(a_result_that_is_too_deep_for_a_notice_is_left_out) {
    ac_value deep = ac_list(1);
    for (int i = 1; i < AC_VALUE_DEPTH_MAX; i++)
        deep = ac_list(deep);
    ck_assert_int_ne(deep.kind, AC_INVALID);
    struct ac_job_exit out = {.exit = {.how = AC_FINISHED, .value = deep}, .job = 1}, in;
    ac_value notice = job_exit_notice(&out);
    ck_assert(ac_job_exit_of(notice, &in));
    ck_assert_int_eq(in.exit.reason, -EMSGSIZE);
    ck_assert(ac_is_nil(in.exit.value));
    ac_drop(notice);
}

TEST(other_values_are_neither) {
    struct ac_status status;
    struct ac_job_exit job;
    ac_value forged = ac_list("status", 1, ac_nil, ac_nil, ac_nil, 1, "", "");
    ck_assert(!ac_status_of(forged, &status));
    ck_assert(!ac_status_of(ac_nil, &status));
    ck_assert(!ac_job_exit_of(ac_of(1), &job));
    ac_drop(forged);
    ac_value broken = value_notice(ac_list("job", 1));
    ck_assert(!ac_job_exit_of(broken, &job));
    ck_assert(!ac_status_of(broken, &status));
    ac_drop(broken);
}

TEST(a_text_of_any_bytes_is_made_one_that_travels) {
    char good[] = "caf\xc3\xa9", cut[] = "caf\xc3", plain[] = "cafe";
    text_mend(good);
    ck_assert_str_eq(good, "caf\xc3\xa9");
    text_mend(cut);
    ck_assert_str_eq(cut, "caf?");
    text_mend(plain);
    ck_assert_str_eq(plain, "cafe");
}
