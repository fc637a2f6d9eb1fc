// SPDX-License-Identifier: MIT
// What becomes of workers that end while jobs are on their way to them.
#include "cluster/world.h"

static ac_value add_one(ac_value it) { return ac_of(ac_int_of(it) + 1); }
AC_JOB(add_one)

static ac_value whoami(ac_value unused) {
    (void)unused;
    return ac_of((int)getpid());
}
AC_JOB(whoami)

JOBS_OF_THIS_TEST

enum { JOBS = 20000, KILLS = 5 };

static ac_computation *computation;

static int ask_for_process(void) {
    struct ac_job_exit job;
    ck_assert_int_gt(ac_submit(computation, whoami, ac_nil, .retries = 255), 0);
    ck_assert(world_next_exit(&job, 30));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    return (int)ac_int_of(job.exit.value);
}

// Workers are killed while thousands of short jobs are under way: each job that may run again is
// reported once, as finished, with its own result.
static ac_value kill_some(ac_value unused) {
    (void)unused;
    static uint8_t seen[JOBS + KILLS + 1];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    int64_t last = 0, ended = 0;
    for (int round = 0; round < KILLS; round++) {
        int process = ask_for_process();
        int64_t first = last = last ? last + 1 : 1; // the one that asked
        for (int i = 0; i < JOBS / KILLS; i++) {
            last = ac_submit(computation, add_one, i, .retries = 255, .quiet = true);
            ck_assert_int_eq(last, first + 1 + i);
        }
        for (int i = 0; i < JOBS / KILLS; i++) {
            struct ac_job_exit job;
            ck_assert(world_next_exit(&job, 30));
            ck_assert_int_eq(job.exit.how, AC_FINISHED);
            ck_assert_int_eq(ac_int_of(job.exit.value), job.job - first);
            ck_assert_uint_eq(seen[job.job]++, 0);
            if (++ended % 1000 == 100 && process) {
                kill(process, SIGKILL);
                process = 0;
            }
        }
    }
    struct ac_job_exit job;
    ck_assert(!world_next_exit(&job, 0.1));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(jobs_that_may_run_again_outlive_their_workers) {
    world_begin("2");
    world_run(kill_some);
    world_end();
}
