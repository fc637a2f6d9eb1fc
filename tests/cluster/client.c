// SPDX-License-Identifier: MIT
// Computations from open to close, with a real node on loopback.
#include "cluster/world.h"

static ac_value nap(ac_value seconds) {
    int err = ac_sleep(ac_real_of(seconds));
    return err ? ac_result(err) : ac_hold(seconds);
}
AC_JOB(nap)

static ac_value process_id(ac_value unused) {
    (void)unused;
    return ac_of((int)getpid());
}
AC_JOB(process_id)

static ac_value undeclared(ac_value unused) { return unused; }

JOBS_OF_THIS_TEST

// The tutorial's client: a job for each worker that is ready or has just finished one.
static ac_value tutorial(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    int submitted = 0, done = 0, started = 0, nodes = 0, workers = 0;
    ac_value message;
    while (done < 10) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        struct ac_job_exit job;
        struct ac_status status;
        ac_ref idle = ac_no_ref;
        if (ac_job_exit_of(message, &job)) {
            ck_assert_int_eq(job.exit.how, AC_FINISHED);
            ck_assert(ac_real_of(job.exit.value) == 0.02);
            ck_assert_str_ne(job.location, "");
            ck_assert(job.seconds >= 0.02);
            ac_drop(job.exit.value);
            done++;
            idle = job.worker;
        } else if (ac_status_of(message, &status)) {
            nodes += status.kind == AC_NODE_READY;
            workers += status.kind == AC_WORKER_READY;
            started += status.kind == AC_JOB_STARTED;
            if (status.kind == AC_WORKER_READY) {
                ck_assert_int_eq(nodes, 1);
                idle = status.worker;
            }
        }
        ac_drop(message);
        if (ac_ref_is(idle) && submitted < 10) {
            ac_ref coroutine = ac_run_at(computation, idle, nap, 0.02);
            ck_assert_int_eq(ac_ref_error(coroutine), 0);
            ck_assert_uint_eq(coroutine.peer, idle.peer);
            submitted++;
        }
    }
    ck_assert_int_eq(submitted, 10);
    ck_assert_int_eq(started, 10);
    ck_assert_int_eq(workers, 2);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(the_client_of_the_tutorial_gets_ten_results_of_two_workers) {
    world_begin("2");
    world_run(tutorial);
    world_end();
}

static ac_value late_node(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, nap, 0.0), 0);
    world_start_node("1"); // blocks: the client is busy meanwhile
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_node_that_starts_later_is_found) {
    world_make();
    world_run(late_node);
    world_end();
}

static ac_value refusals(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    int here = 0;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, undeclared, 1), -ENOSYS);
    ck_assert_int_eq(ac_submit(computation, nap, (void *)&here), -ENOTSUP);
    ck_assert_int_eq(ac_ref_error(ac_run_at(computation, ac_self(), undeclared, 1)), -ENOSYS);
    ck_assert_int_eq(ac_ref_error(ac_run_at(computation, ac_self(), nap, 1)), -EHOSTUNREACH);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    ck_assert_int_eq(ac_computation_open(NULL), -EINVAL);
    return ac_nil;
}

TEST(what_cannot_run_is_refused_at_once) {
    world_make();
    world_run(refusals);
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), -EPERM);
    ck_assert_int_eq(ac_computation_close(NULL, AC_NOW), -EPERM);
    world_clean();
}

static ac_value close_early(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(ac_submit(computation, nap, 1000.0), i + 1);
    (void)world_await(AC_JOB_STARTED, 20);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    bool seen[8] = {false};
    struct ac_job_exit job;
    for (int i = 0; i < 7; i++) {
        ck_assert(world_next_exit(&job, 0));
        ck_assert_int_eq(job.exit.how, AC_CANCELLED);
        ck_assert(job.job >= 1 && job.job <= 7 && !seen[job.job]);
        seen[job.job] = true;
        ac_drop(job.exit.value);
    }
    ck_assert(!world_next_exit(&job, 0));
    return ac_nil;
}

TEST(closing_cancels_what_is_left_and_says_so_once_for_each) {
    world_begin("2");
    world_run(close_early);
    world_end();
}

// One try without a node: the n-th allocation fails. True if there was one.
static bool open_without_memory(long n) {
    ac_computation *computation;
    memory_fail_nth(n);
    int err = ac_computation_open(&computation);
    if (!err) {
        int64_t job = ac_submit(computation, nap, 1);
        ck_assert(job == 1 || job == -ENOMEM);
        while ((err = ac_computation_close(computation, AC_NOW)) == -ENOMEM)
            continue;
        ck_assert_int_eq(err, 0);
    } else {
        ck_assert_int_eq(err, -ENOMEM);
    }
    bool failed = memory_has_failed();
    memory_fail_nth(0);
    ac_value message;
    while (ac_receive(&message, AC_NOW) == 0)
        ac_drop(message);
    return failed;
}

static ac_value fail_each(ac_value unused) {
    (void)unused;
    long n = 1;
    while (open_without_memory(n))
        n++;
    ck_assert_int_gt(n, 10);
    return ac_nil;
}

TEST(each_allocation_may_fail) {
    world_make();
    world_run(fail_each);
    world_clean();
}

static long abandoned_worker;

static ac_value leave_open(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, process_id, ac_nil), 0);
    ck_assert(world_next_exit(&job, 20));
    abandoned_worker = ac_int_of(job.exit.value);
    ck_assert_int_gt(ac_submit(computation, nap, 1000.0), 0);
    return ac_nil;
}

TEST(a_computation_ends_with_its_owner) {
    world_begin("1");
    world_run(leave_open);
    // The worker had ended before the loop did, so its number names nobody or somebody else.
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/%ld/comm", abandoned_worker);
    FILE *file = fopen(path, "r");
    ck_assert(!file || !fgets(name, sizeof name, file) || !strstr(name, "test-cluster"));
    world_end();
}

static ac_ref busy_worker;
static ac_computation *shared;

static ac_value wait_for_turn(ac_value unused) {
    (void)unused;
    ac_ref job = ac_run_at(shared, busy_worker, nap, 0.0);
    ck_assert_int_eq(ac_ref_error(job), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_a_run(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&shared), 0);
    busy_worker = world_await(AC_WORKER_READY, 20).worker;
    ck_assert_int_eq(ac_ref_error(ac_run_at(shared, busy_worker, nap, 0.3)), 0);
    ac_ref waiting = ac_spawn(wait_for_turn, ac_nil);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    ck_assert_int_eq(ac_cancel(waiting), 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(shared, AC_FOREVER), 0);
    ck_assert(!world_next_exit(&job, 0)); // nobody hears of the one that was cancelled
    return ac_nil;
}

TEST(a_run_that_is_cancelled_before_it_began_leaves_no_trace) {
    world_begin("1");
    world_run(cancel_a_run);
    world_end();
}
