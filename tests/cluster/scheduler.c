// SPDX-License-Identifier: MIT
// Where jobs run and how each one is reported, with a real node on loopback.
#include "cluster/world.h"

static ac_value nap(ac_value seconds) {
    int err = ac_sleep(ac_real_of(seconds));
    return err ? ac_result(err) : ac_hold(seconds);
}
AC_JOB(nap)

// Computes without waiting.
static ac_value spin(ac_value seconds) {
    for (ac_time until = ac_after(ac_real_of(seconds)); ac_now() < until;)
        continue;
    return ac_of((int)getpid());
}
AC_JOB(spin)

static ac_value fail_there(ac_value unused) {
    (void)unused;
    return ac_of_error(-EDOM, "not today");
}
AC_JOB(fail_there)

// Tells its process and then never ends by itself.
static ac_value tell_and_stay(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)getpid()));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(tell_and_stay)

JOBS_OF_THIS_TEST

static ac_computation *computation;

static void open_for_two(void) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_WORKER_READY, 20);
    (void)world_await(AC_WORKER_READY, 20);
}

static ac_value balance(ac_value unused) {
    (void)unused;
    ac_ref first = ac_no_ref;
    int at_first = 0;
    open_for_two();
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(ac_submit(computation, nap, 0.5), i + 1); // far more than a hitch
    for (int i = 0; i < 8; i++) {
        struct ac_job_exit job;
        ck_assert(world_next_exit(&job, 20));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        if (!ac_ref_is(first))
            first = job.worker;
        at_first += ac_ref_equal(first, job.worker);
        ac_drop(job.exit.value);
    }
    ck_assert(at_first >= 3 && at_first <= 5);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(equal_jobs_are_shared_evenly) {
    world_begin("2");
    world_run(balance);
    world_end();
}

static ac_value compute_twice(ac_value unused) {
    (void)unused;
    struct ac_job_exit one, other;
    open_for_two();
    ck_assert_int_gt(ac_submit(computation, spin, 0.3), 0);
    ck_assert_int_gt(ac_submit(computation, spin, 0.3), 0);
    ck_assert(world_next_exit(&one, 20) && world_next_exit(&other, 20));
    ck_assert_int_ne(ac_int_of(one.exit.value), ac_int_of(other.exit.value));
    ck_assert_int_ne(ac_int_of(one.exit.value), getpid());
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(two_jobs_that_compute_run_in_two_processes) {
    world_begin("2");
    world_run(compute_twice);
    world_end();
}

// Both jobs go to the worker that is there; the second one is called back when another worker
// comes.
static ac_value recall(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, nap, 30.0), 0);
    ck_assert_int_gt(ac_submit(computation, nap, 0.0), 0);
    ck_assert_int_gt(ac_submit(computation, nap, 0.0), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert(world_next_exit(&job, 10));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ck_assert_int_ne(job.job, 1);
    }
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(no_job_waits_behind_a_long_one_while_a_worker_idles) {
    world_begin("2");
    world_run(recall);
    world_end();
}

static ac_value fail_first(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, fail_there, ac_nil), 0);
    ck_assert_int_gt(ac_submit(computation, nap, 0.0), 0);
    ck_assert(world_next_exit(&job, 20));
    ac_ref worker = job.worker;
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -EDOM);
    ac_span text = ac_span_of(job.exit.value);
    ck_assert_uint_eq(text.bytes, strlen("not today"));
    ck_assert_mem_eq(text.at, "not today", text.bytes);
    ac_drop(job.exit.value);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert(ac_ref_equal(worker, job.worker));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_job_that_fails_says_why_and_leaves_the_worker_at_work) {
    world_begin("1");
    world_run(fail_first);
    world_end();
}

// Receives until the job has told its process.
static int await_process(void) {
    ac_value message;
    int id = 0;
    while (id == 0) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        id = message.kind == AC_INT ? (int)ac_int_of(message) : 0;
        ac_drop(message);
    }
    return id;
}

static ac_value kill_worker(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    int lost = 0, finished = 0;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, tell_and_stay, ac_self()), 1);
    // The next one waits in the same worker, and others behind it.
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(ac_submit(computation, nap, 0.0), i + 2);
    ck_assert_int_eq(kill(await_process(), SIGKILL), 0);
    bool seen[7] = {false};
    for (int i = 0; i < 6; i++) {
        ck_assert(world_next_exit(&job, 20));
        ck_assert(job.job >= 1 && job.job <= 6 && !seen[job.job]);
        seen[job.job] = true;
        lost += job.exit.how == AC_LOST;
        finished += job.exit.how == AC_FINISHED;
        if (job.exit.how == AC_LOST) {
            ck_assert_int_eq(job.job, 1);
            ac_span text = ac_span_of(job.exit.value);
            ck_assert_ptr_nonnull(memmem(text.at, text.bytes, "killed by signal 9", 18));
        }
        ac_drop(job.exit.value);
    }
    ck_assert_int_eq(lost, 1);
    ck_assert_int_eq(finished, 5); // by the worker that was started in its place
    ck_assert(!world_next_exit(&job, 0.3));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_killed_worker_loses_the_job_that_ran_and_no_other) {
    world_begin("1");
    world_run(kill_worker);
    world_end();
}

static ac_value many(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation, .many_jobs = true, .workers_max = 1), 0);
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(ac_submit(computation, nap, 0.5), i + 1);
    char *seen = calloc(5001, 1);
    ac_ref worker = ac_no_ref;
    for (int i = 0; i < 5000; i++) {
        struct ac_job_exit job;
        ck_assert(world_next_exit(&job, 60));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ck_assert_int_eq(seen[job.job]++, 0);
        if (i > 0)
            ck_assert(ac_ref_equal(worker, job.worker));
        worker = job.worker;
    }
    free(seen);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(five_thousand_jobs_wait_in_one_worker_at_once, .seconds_max = 100) {
    world_begin("2");
    world_run(many);
    world_end();
}

enum { JOBS_HERE = 200000 };

static ac_value limits(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    // There is no node: all of them wait.
    for (int i = 0; i < JOBS_HERE; i++)
        ck_assert_int_eq(ac_submit(computation, nap, 0), i + 1);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    struct ac_job_exit job;
    int count = 0;
    while (world_next_exit(&job, 0)) {
        count += job.exit.how == AC_CANCELLED;
        ac_drop(job.exit.value);
    }
    ck_assert_int_eq(count, JOBS_HERE);
    return ac_nil;
}

TEST(many_jobs_may_wait_for_a_node) {
    world_make();
    world_run(limits);
    world_clean();
}
