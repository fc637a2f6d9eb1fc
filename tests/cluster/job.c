// SPDX-License-Identifier: MIT
// What jobs may ask for and how they end, with a real node on loopback.
#include "cluster/world.h"

static ac_value nap(ac_value seconds) {
    int err = ac_sleep(ac_real_of(seconds));
    return err ? ac_result(err) : ac_hold(seconds);
}
AC_JOB(nap)

// Says so, and then computes without waiting, and so cannot be cancelled.
static ac_value spin_for_ever(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)getpid()));
    while (ac_now() > 0)
        continue;
    return ac_nil;
}
AC_JOB(spin_for_ever)

// Ends its process, but for the time after the file is there that the argument names.
static ac_value crash_once(ac_value path) {
    const char *name = ac_text_of(path);
    if (access(name, F_OK) == 0)
        return ac_of((int)getpid());
    FILE *file = fopen(name, "w");
    if (file)
        fclose(file);
    abort();
}
AC_JOB(crash_once)

static ac_value deep(ac_value levels) {
    ac_value it = ac_nil;
    for (int64_t i = ac_int_of(levels); i > 0; i--)
        it = ac_list_of(&it, 1);
    return it;
}
AC_JOB(deep)

// Ends when it is told to.
static ac_value wait_for_word(ac_value unused) {
    (void)unused;
    ac_value message;
    int err = ac_receive(&message, AC_FOREVER);
    return err ? ac_result(err) : message;
}
AC_JOB(wait_for_word)

// Ends its process if it is told so.
static ac_value abort_if(ac_value it) {
    if (ac_bool_of(it))
        abort();
    return ac_nil;
}
AC_JOB(abort_if)

JOBS_OF_THIS_TEST

static ac_computation *computation;

static void open_one(void) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_WORKER_READY, 20);
}

static ac_value ask_for_too_much(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    open_one();
    ck_assert_int_eq(ac_submit(computation, nap, 0, .tags = "gpu disk=fast"), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.job, 1);
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -ENODEV);
    ac_span text = ac_span_of(job.exit.value);
    ck_assert_ptr_nonnull(memmem(text.at, text.bytes, "has no tag gpu", 14));
    ac_drop(job.exit.value);
    ck_assert_int_eq(ac_submit(computation, nap, 0, .cpus = 64), 2);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.reason, -ENODEV);
    ac_drop(job.exit.value);
    // What asks for what there is runs, with whatever other options.
    ck_assert_int_eq(ac_submit(computation, nap, 0, .node = "h?re", .cpus = 1, .retries = 3), 3);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_job_that_no_node_fits_fails_with_the_reason) {
    world_begin("1");
    world_run(ask_for_too_much);
    world_end();
}

static ac_value wait_for_a_node(ac_value unused) {
    (void)unused;
    char text[256];
    open_one();
    ck_assert_int_eq(ac_submit(computation, nap, 0, .tags = "gpu", .wait_for_nodes = true), 1);
    struct ac_status status = world_await(AC_JOBS_WAIT, 20);
    ck_assert_ptr_nonnull(strstr(status.text, "has no tag gpu"));
    ck_assert_int_eq(ac_job_why(computation, 1, text, sizeof text, AC_FOREVER), 0);
    ck_assert_ptr_nonnull(strstr(text, "has no tag gpu"));
    struct ac_job_exit job;
    ck_assert_int_eq(ac_job_cancel(computation, 1), 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_CANCELLED);
    ac_drop(job.exit.value);
    ck_assert_int_eq(ac_job_cancel(computation, 1), -ESRCH);
    ck_assert_int_eq(ac_job_why(computation, 1, text, sizeof text, AC_FOREVER), -ESRCH);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(one_that_waits_for_nodes_says_why) {
    world_begin("1");
    world_run(wait_for_a_node);
    world_end();
}

static ac_value crash_and_go_on(ac_value unused) {
    (void)unused;
    char path[96];
    struct ac_job_exit job;
    open_one();
    snprintf(path, sizeof path, "%s/crashed", world_shared());
    ck_assert_int_eq(ac_submit(computation, crash_once, (const char *)path, .retries = 1), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_drop(job.exit.value);
    ck_assert_int_eq(remove(path), 0);
    ck_assert_int_eq(ac_submit(computation, crash_once, (const char *)path), 2);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert(!world_next_exit(&job, 0.3));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_job_runs_again_only_if_it_may) {
    world_make();
    world_start_node_with("1", "--write", world_shared());
    world_run(crash_and_go_on);
    world_end();
}

// Short jobs are told of some at a time; of those behind one that ends the worker it is known that
// they never ran.
static ac_value abort_among_others(ac_value unused) {
    (void)unused;
    enum { BEFORE = 100, BEHIND = 50 };
    struct ac_job_exit job;
    open_one();
    for (int i = 0; i < BEFORE; i++)
        ck_assert_int_gt(ac_submit(computation, abort_if, false), 0);
    for (int i = 0; i < BEFORE; i++)
        ck_assert(world_next_exit(&job, 20));
    for (int i = 0; i <= BEHIND; i++)
        ck_assert_int_gt(ac_submit(computation, abort_if, i == 0), 0);
    for (int i = 0; i <= BEHIND; i++) {
        ck_assert(world_next_exit(&job, 20));
        ck_assert_int_eq(job.exit.how, job.job == BEFORE + 1 ? AC_LOST : AC_FINISHED);
        ac_drop(job.exit.value);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(jobs_behind_one_that_ends_the_worker_run_elsewhere) {
    world_begin("1");
    world_run(abort_among_others);
    world_end();
}

static ac_value cancel_what_spins(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    open_one();
    ck_assert_int_eq(ac_submit(computation, spin_for_ever, ac_self()), 1);
    for (int64_t process = 0; process == 0;) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        process = ac_int_of(message);
        ac_drop(message);
    }
    ck_assert_int_eq(ac_submit(computation, nap, 0.01), 2);
    ck_assert_int_eq(ac_job_cancel(computation, 1), 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.job, 1);
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert_int_eq(job.exit.reason, -ECANCELED);
    ac_drop(job.exit.value);
    // The one behind it is run again, at the worker that took its place.
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.job, 2);
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert(!world_next_exit(&job, 0.1));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_job_that_does_not_end_when_cancelled_costs_its_worker_and_no_other_job) {
    world_begin("1");
    world_run(cancel_what_spins);
    world_end();
}

static ac_value take_too_long(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    open_one();
    ck_assert_int_eq(ac_submit(computation, nap, 1000, .seconds_max = 0.2), 1);
    ck_assert_int_eq(ac_submit(computation, nap, 0.01, .seconds_max = 20), 2);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.job, 1);
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -ETIME);
    ac_drop(job.exit.value);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_job_may_take_so_long_and_no_longer) {
    world_begin("1");
    world_run(take_too_long);
    world_end();
}

static ac_value send_what_does_not_travel(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    char text[300];
    open_one();
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ck_assert_int_eq(ac_submit(computation, nap, 0, .tags = text), -EINVAL);
    ck_assert_int_eq(ac_submit(computation, nap, 0, .seconds_max = -1), -EINVAL);
    ck_assert_int_eq(ac_job_cancel(computation, 7), -ESRCH);
    ck_assert_int_eq(ac_job_cancel(computation, 0), -EINVAL);
    ck_assert_int_eq(ac_job_cancel(NULL, 1), -EINVAL);
    // Too deep for a message around it, as argument and as result.
    int levels = 0;
    ac_value it = ac_nil;
    for (ac_value next; (next = ac_list(ac_hold(it))).kind != AC_INVALID; levels++) {
        ac_drop(it);
        it = next;
    }
    ck_assert_int_eq(ac_ref_error(ac_run_at(computation, ac_self(), nap, ac_hold(it))), -EMSGSIZE);
    ck_assert_int_eq(ac_submit(computation, nap, it), -EMSGSIZE);
    ck_assert_int_eq(ac_ref_error(ac_run_at(NULL, ac_self(), nap, 0)), -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_run_at(computation, ac_self(), nap, 0)), -EHOSTUNREACH);
    ck_assert_int_eq(ac_submit(computation, deep, levels), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -EMSGSIZE);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_cannot_be_is_refused_and_harms_nobody) {
    world_begin("1");
    world_run(send_what_does_not_travel);
    world_end();
}

static ac_value be_quiet(ac_value unused) {
    (void)unused;
    enum { JOBS = 3000 };
    static bool seen[JOBS + 1];
    open_one();
    for (int i = 1; i <= JOBS; i++)
        ck_assert_int_eq(ac_submit(computation, nap, 0, .quiet = true), i);
    for (int ended = 0; ended < JOBS;) {
        ac_value message;
        struct ac_job_exit job;
        struct ac_status status;
        ck_assert_int_eq(ac_receive(&message, ac_after(30)), 0);
        ck_assert(!ac_status_of(message, &status) || status.kind != AC_JOB_STARTED);
        if (ac_job_exit_of(message, &job)) {
            ck_assert(!seen[job.job]);
            seen[job.job] = true;
            ended++;
            ac_drop(job.exit.value);
        }
        ac_drop(message);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(quiet_jobs_are_reported_once_and_their_starts_are_not) {
    world_begin("2");
    world_run(be_quiet);
    world_end();
}

static ac_value run_all_at_once(ac_value unused) {
    (void)unused;
    enum { JOBS = 600 };
    static ac_ref jobs[JOBS];
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation, .many_jobs = true), 0);
    for (int i = 1; i <= JOBS; i++)
        ck_assert_int_eq(ac_submit(computation, wait_for_word, ac_nil), i);
    for (int i = 0; i < JOBS; i++)
        jobs[i] = world_await(AC_JOB_STARTED, 30).coroutine;
    for (int i = 0; i < JOBS; i++)
        ck_assert_int_eq(ac_send(jobs[i], i), 0);
    for (int i = 0; i < JOBS; i++) {
        ck_assert(world_next_exit(&job, 30));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(hundreds_of_jobs_that_wait_for_each_other_run_at_once) {
    world_begin("1");
    world_run(run_all_at_once);
    world_end();
}

static ac_value run_behind(ac_value worker) {
    return ac_of(ac_ref_error(ac_run_at(computation, ac_ref_of(worker), nap, 0)));
}

static ac_value lose_what_waits(ac_value unused) {
    (void)unused;
    struct ac_exit end;
    struct ac_place places[2] = {0};
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ac_ref worker = world_await(AC_WORKER_READY, 20).worker;
    ck_assert(ac_ref_is(ac_run_at(computation, worker, wait_for_word, 0)));
    ac_ref other = ac_spawn(run_behind, ac_of(worker), .joinable = true, .stack_bytes = 256 << 10);
    for (ac_time until = ac_after(20); places[1].jobs < 2 && ac_now() < until;)
        ck_assert_int_eq(ac_places(computation, places, 2, until), 2);
    sys_process_end(&world_node, true, false);
    ck_assert_int_eq(ac_join(other, &end, ac_after(20)), 0);
    ck_assert_int_eq(ac_int_of(end.value), -ECONNRESET);
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_job_that_may_have_begun_where_all_is_lost_says_so) {
    world_begin("1");
    world_run(lose_what_waits);
    world_clean();
}

enum { LARGE = 5, LARGE_BYTES = 16 << 20 };

static ac_value run_large(ac_value worker) {
    char *large = calloc(1, LARGE_BYTES);
    ac_ref job = ac_run_at(computation, ac_ref_of(worker), nap, ac_of_bytes(large, LARGE_BYTES));
    free(large);
    return ac_of(ac_ref_error(job));
}

// More than the worker has room for lies behind a job that never waits.
static ac_value fill_a_worker(ac_value unused) {
    (void)unused;
    struct ac_exit end;
    struct ac_job_exit job;
    struct ac_place places[2] = {0};
    ac_ref others[LARGE];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ac_ref worker = world_await(AC_WORKER_READY, 20).worker;
    ck_assert_int_eq(ac_submit(computation, spin_for_ever, ac_self()), 1);
    (void)world_await(AC_JOB_STARTED, 20);
    for (int i = 0; i < LARGE; i++)
        others[i] = ac_spawn(run_large, ac_of(worker), .joinable = true, .stack_bytes = 256 << 10);
    for (ac_time until = ac_after(20); places[1].jobs <= LARGE && ac_now() < until;)
        ck_assert_int_eq(ac_places(computation, places, 2, until), 2);
    ck_assert_int_eq(ac_job_cancel(computation, 1), 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert_int_eq(job.exit.reason, -ECANCELED);
    ac_drop(job.exit.value);
    for (int i = 0; i < LARGE; i++) {
        ck_assert_int_eq(ac_join(others[i], &end, ac_after(20)), 0);
        ck_assert_int_eq(ac_int_of(end.value), -EHOSTUNREACH);
    }
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_worker_that_takes_nothing_in_is_ended_all_the_same) {
    world_begin("1");
    world_run(fill_a_worker);
    world_end();
}
