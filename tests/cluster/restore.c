// SPDX-License-Identifier: MIT
// A scheduler that keeps a journal, is killed, and is started again: what its clients see, what
// runs again and what does not, and when it is given up.
#include "cluster/outage.h"
#include "cluster/scheduler.h"

// ---- what runs, and what waits ----

// 1 ends while there is no scheduler, 2 runs on, the others wait.
static ac_value lose_scheduler(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit_waiting(1, 0);
    submit_waiting(2, 1);
    await_begun(1, 1);
    await_begun(2, 1);
    for (int i = 3; i <= 20; i++)
        submit(i, 0.001, 0);
    world_kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    submit(21, 0.001, 0); // waits behind the others
    let_go(1);
    await_ended(1);
    start_scheduler();
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= 20; i++) { // all but 2
        struct ac_job_exit job = next_exit();
        ck_assert_int_ne(job.job, 2);
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ac_drop(job.exit.value);
    }
    let_go(2);
    ck_next(2, AC_FINISHED);
    for (int i = 1; i <= 21; i++)
        ck_assert_uint_eq(begun(i), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(jobs_that_run_when_the_scheduler_is_killed_go_on, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(lose_scheduler);
    end();
}

static void kill_node(void) {
    struct sys_process_end end;
    sys_process_end(&world_node, true, false);
    ck_assert(world_ends(world_node.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
}

// A job whose retries are used up by lost nodes, one that may run on, and one that may not run
// again.
static ac_value lose_often(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit_waiting(1, 2);
    submit_waiting(2, 200);
    submit_waiting(3, 0);
    for (uint8_t times = 1; times <= 3; times++) {
        await_begun(1, times);
        await_begun(2, times);
        await_begun(3, 1);
        world_kill_scheduler();
        kill_node();
        start_scheduler();
        start_node("3");
        (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
        if (times == 1)
            ck_next(3, AC_LOST);
    }
    ck_next(1, AC_LOST);
    await_begun(2, 4);
    let_go(2);
    ck_next(2, AC_FINISHED);
    ck_assert_uint_eq(begun(1), 3);
    ck_assert_uint_eq(begun(3), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(starts_lost_with_nodes_are_counted_from_one_scheduler_to_the_next, .seconds_max = 120) {
    return_time = "3s"; // nobody awaits the lost nodes longer
    begin();
    start_node("3");
    world_run(lose_often);
    end();
}

static int process_here(void) {
    struct ac_job_exit job;
    ck_assert_int_gt(ac_submit(computation, whoami, ac_nil), 0);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    return (int)ac_int_of(job.exit.value);
}

// The worker, on which one job runs and others wait, is killed while there is no scheduler.
static ac_value lose_worker_meanwhile(ac_value retries) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    int worker = process_here(); // job 1
    int handle = world_handle(worker);
    submit_waiting(2, (unsigned)ac_int_of(retries));
    await_begun(2, 1);
    for (int i = 3; i <= 10; i++)
        submit(i, 0.001, 0);
    world_kill_scheduler();
    ck_assert_int_eq(kill(worker, SIGKILL), 0);
    ck_assert(world_ends(handle, TEST_PATIENCE_S));
    close(handle);
    let_go(2);
    start_scheduler();
    for (int i = 2; i <= 10; i++) {
        struct ac_job_exit job = next_exit();
        ck_assert_int_eq(job.exit.how, job.job > 2 || ac_int_of(retries) ? AC_FINISHED : AC_LOST);
        ac_span text = ac_span_of(job.exit.value);
        if (job.exit.how == AC_LOST)
            ck_assert_msg(memmem(text.at, text.bytes, "killed by signal 9", 18) != NULL, "%.*s",
                          (int)text.bytes, (const char *)text.at);
        ac_drop(job.exit.value);
    }
    ck_assert_uint_eq(begun(2), 1 + ac_int_of(retries));
    for (int i = 3; i <= 10; i++)
        ck_assert_uint_eq(begun(i), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

static ac_value lose_worker_for_good(ac_value unused) {
    (void)unused;
    return lose_worker_meanwhile(ac_of(0));
}
static ac_value lose_worker_and_run_again(ac_value unused) {
    (void)unused;
    return lose_worker_meanwhile(ac_of(1));
}

TEST(a_job_of_a_worker_that_is_killed_meanwhile_is_lost, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(lose_worker_for_good);
    end();
}

TEST(a_job_of_a_worker_that_is_killed_meanwhile_may_run_again, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(lose_worker_and_run_again);
    end();
}

// What the worker has told was never read.
static ac_value lose_a_report(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit_waiting(1, 0);
    await_begun(1, 1);
    ck_assert_int_eq(kill(world_scheduler.id, SIGSTOP), 0);
    let_go(1);
    await_ended(1);
    world_kill_scheduler();
    start_scheduler();
    ck_next(1, AC_FINISHED);
    ck_assert_uint_eq(begun(1), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_result_that_only_the_lost_scheduler_was_told_of_comes_once, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(lose_a_report);
    end();
}

// Every job that waits when the scheduler is killed runs, also those that no node has ever seen.
static ac_value wait_for_node(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= 3000; i++)
        submit(i, 0, 0);
    ac_sleep(0.05); // some of them are there, or all
    world_kill_scheduler();
    start_scheduler();
    start_node("2");
    for (int i = 1; i <= 3000; i++) {
        struct ac_job_exit job = next_exit();
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(job.exit.value), job.job);
        ac_drop(job.exit.value);
        ck_assert_uint_eq(begun(job.job), 1);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(jobs_that_wait_are_told_again, .seconds_max = 120) {
    begin();
    world_run(wait_for_node);
    end();
}

enum { MANY = 100000 };

// More than go into one message, while their owner goes on.
static ac_value tell_many(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    uint8_t *seen = calloc(MANY + 1, 1);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= MANY / 2; i++)
        ck_assert_int_eq(ac_submit(computation, square, i, .quiet = true), i);
    world_kill_scheduler();
    start_scheduler();
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = MANY / 2 + 1; i <= MANY; i++) {
        ck_assert_int_eq(ac_submit(computation, square, i, .quiet = true, .retries = i % 3), i);
        if (i % 1000 == 0) {
            ck_assert_int_eq(ac_job_cancel(computation, i), 0);
            ck_assert_int_eq(ac_job_cancel(computation, i - MANY / 2), 0);
            ck_assert_int_eq(ac_yield(), 0);
        }
    }
    start_node("2");
    for (int64_t i = 1; i <= MANY; i++) {
        ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
        ck_assert_int_eq(seen[job.job]++, 0);
        if (job.exit.how == AC_FINISHED)
            ck_assert_int_eq(ac_int_of(job.exit.value), job.job * job.job);
        else
            ck_assert(job.exit.how == AC_CANCELLED && job.job % 1000 == 0);
        ac_drop(job.exit.value);
    }
    free(seen);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(many_jobs_are_told_again_while_more_are_submitted, .seconds_max = 120) {
    begin();
    world_run(tell_many);
    end();
}

static int64_t early; // ends of jobs that came meanwhile

// Until the scheduler is back or given up; or for a while, because the notice may be what got lost.
static void await_return(void) {
    ac_time until = ac_after(1.5);
    ac_value message;
    struct ac_status status = {0};
    struct ac_job_exit job;
    bool lost = false;
    early = 0;
    while (!(lost && status.kind == AC_SCHEDULER_READY) && status.kind != AC_SCHEDULER_GONE &&
           ac_receive(&message, until) == 0) {
        if (ac_job_exit_of(message, &job)) {
            early++;
            ac_drop(job.exit.value);
        }
        if (!ac_status_of(message, &status))
            status.kind = 0;
        lost |= status.kind == AC_SCHEDULER_LOST;
        ac_drop(message);
    }
}

// Each allocation of the client fails once from the loss of a scheduler on: it comes back, or is
// given up, and each job is reported once.
static ac_value fail_each(ac_value unused) {
    (void)unused;
    bool failed = true;
    int back = 0;
    for (long n = 1; failed; n += n < 20 ? 1 : n / 5) {
        struct ac_job_exit job;
        ck_assert_int_eq(ac_computation_open(&computation), 0);
        (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
        for (int i = 1; i <= 20; i++)
            ck_assert_int_eq(ac_submit(computation, square, i, .retries = i % 4), i);
        ck_assert_int_eq(ac_sleep(0.002), 0);
        world_kill_scheduler();
        start_scheduler();
        memory_fail_nth(n);
        await_return();
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
        int count = (int)early, ended[AC_LOST + 1] = {0};
        while (world_next_exit(&job, 0)) {
            count++;
            ended[job.exit.how]++;
            ac_drop(job.exit.value);
        }
        ck_assert_int_le(count, 20); // the notice itself may be what got lost
        ck_assert_int_ge(count, 19);
        back += ended[AC_CANCELLED] > 0;
    }
    ck_assert_int_gt(back, 0);
    return ac_nil;
}

TEST(each_allocation_of_a_client_may_fail, .seconds_max = 200) {
    begin();
    world_run(fail_each);
    world_stop(&world_scheduler);
    world_clean();
}

// The scheduler is killed again and again while short jobs run.
static ac_value kill_in_the_middle(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= 600; i++)
        submit(i, 0.002, i % 2 ? 200 : 0);
    for (int i = 1; i <= 600; i++) {
        struct ac_job_exit job = next_exit();
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(job.exit.value), job.job);
        ac_drop(job.exit.value);
        ck_assert_uint_eq(begun(job.job), 1);
        if (i % 150 == 0 && i < 600) {
            world_kill_scheduler();
            start_scheduler();
        }
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(each_job_runs_once_and_is_reported_once, .seconds_max = 200) {
    begin();
    start_node("2");
    world_run(kill_in_the_middle);
    end();
}

enum { ITEMS = 2000 };
static ac_value *items;

static ac_value map_over(ac_value unused) {
    (void)unused;
    ac_mapping *mapping;
    struct ac_mapped result;
    static uint8_t seen[ITEMS];
    int got;
    items = calloc(ITEMS, sizeof *items);
    for (int i = 0; i < ITEMS; i++)
        items[i] = ac_of(i);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_mapping_open(&mapping, computation, square, .items = items, .count = ITEMS,
                                     .job.retries = 100),
                     0);
    for (int count = 0; (got = ac_mapping_next(mapping, &result, ac_after(60))) == 1; count++) {
        ck_assert_int_eq(result.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(result.value), result.index * result.index);
        ck_assert_int_eq(seen[result.index]++, 0);
        if (count == 10 || count == 500) {
            world_kill_scheduler();
            start_scheduler();
        }
    }
    ck_assert_int_eq(got, 0);
    for (int i = 0; i < ITEMS; i++)
        ck_assert_int_eq(seen[i], 1);
    ac_mapping_close(mapping);
    free(items);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_mapping_goes_on, .seconds_max = 200) {
    begin();
    start_node("2");
    world_run(map_over);
    end();
}

// ---- what is wanted meanwhile ----

static ac_value want_meanwhile(ac_value unused) {
    (void)unused;
    char why[256];
    struct ac_place places[4];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status worker = world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    submit(1, 1000, 100);
    await_begun(1, 1);
    submit(2, 0.001, 0);
    submit(3, 0.001, 0);
    world_kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    ck_assert_int_eq(ac_job_cancel(computation, 1), 0);
    ck_assert_int_eq(ac_job_cancel(computation, 3), 0);
    submit(4, 0.001, 0);
    ck_assert_int_eq(ac_job_cancel(computation, 4), 0);
    submit(5, 0.001, 0);
    ck_assert_int_eq(ac_job_why(computation, 2, why, sizeof why, AC_NOW), 0);
    ck_assert_msg(strstr(why, "waits: the scheduler"), "%s", why);
    ck_assert_int_eq(ac_places(computation, places, 4, AC_NOW), 0);
    ck_assert_int_eq(ac_place_suspend(computation, worker.node, AC_NOW), -ESRCH);
    ac_ref at = ac_run_at(computation, worker.worker, square, 3);
    ck_assert_int_eq(ac_ref_error(at), -EHOSTUNREACH);
    start_scheduler();
    ck_next(3, AC_CANCELLED);
    ck_next(4, AC_CANCELLED);
    ck_next(1, AC_CANCELLED); // which its worker had to be told
    ck_next(2, AC_FINISHED);
    ck_next(5, AC_FINISHED);
    ck_assert_uint_eq(begun(1), 1);
    ck_assert_uint_eq(begun(3) + begun(4), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_is_wanted_meanwhile_is_done_afterwards, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(want_meanwhile);
    end();
}

// One that is to run at one worker runs on there.
static ac_value stay_at_worker(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status worker = world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    ac_ref at = ac_run_at(computation, worker.worker, count_and_wait,
                          ac_list((const char *)counts, 1));
    ck_assert(ac_ref_is(at));
    await_begun(1, 1);
    world_kill_scheduler();
    start_scheduler();
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    let_go(1);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.job, 0);
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert(ac_ref_equal(job.exit.who, at));
    ac_drop(job.exit.value);
    ck_assert_uint_eq(begun(1), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_runs_at_a_certain_worker_goes_on_there, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(stay_at_worker);
    end();
}

static ac_value close_meanwhile(ac_value unused) {
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit(1, 0.001, 0);
    ac_sleep(0.02);
    world_kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    ac_time before = ac_now();
    ck_assert_int_eq(ac_computation_close(computation, ac_after(0.3)), 0);
    double seconds = (double)(ac_now() - before) * 1e-9;
    ck_assert_double_ge(seconds, 0.29);
    ck_assert_double_lt(seconds, 10); // far less than the time in which it may come back
    ck_assert(world_next_exit(&job, 0));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    ck_assert(!world_next_exit(&job, 0));
    return unused;
}

TEST(closing_meanwhile_waits_no_longer_than_it_should) {
    begin();
    world_run(close_meanwhile);
    ck_assert_int_eq(count_in_journal(), 1); // whose client does not come back
    world_clean();
}

// ---- computations with set-ups ----

enum { NODE_SETUP = 3000, WORKER_SETUP, WORKER_CLEANUP, NODE_CLEANUP, FAIL = 2 };

// Waits until it is let go, and fails if it is to.
static ac_value set_up_node(ac_value path) {
    uint8_t *counted = shared(ac_text_of(path)), way;
    int err = counted ? 0 : -EIO;
    if (!err)
        __atomic_fetch_add(&counted[NODE_SETUP], 1, __ATOMIC_RELAXED);
    while (!err && !(way = __atomic_load_n(&counted[NODE_SETUP + 500], __ATOMIC_RELAXED)))
        err = ac_sleep(0.005);
    return err ? ac_result(err) : way == FAIL ? ac_of_error(-EBADMSG, "no table") : ac_nil;
}
AC_JOB(set_up_node)

static ac_value count(ac_value path, int what) {
    uint8_t *counted = shared(ac_text_of(path));
    if (counted)
        __atomic_fetch_add(&counted[what], 1, __ATOMIC_RELAXED);
    return ac_result(counted ? 0 : -EIO);
}
static ac_value set_up_worker(ac_value path) { return count(path, WORKER_SETUP); }
AC_JOB(set_up_worker)
static ac_value clean_worker(ac_value path) { return count(path, WORKER_CLEANUP); }
AC_JOB(clean_worker)
static ac_value clean_node(ac_value path) { return count(path, NODE_CLEANUP); }
AC_JOB(clean_node)

static void let_node_go(uint8_t way) {
    __atomic_store_n(&shared(counts)[NODE_SETUP + 500], way, __ATOMIC_RELAXED);
}

static void open_with_set_ups(void) {
    ck_assert_int_eq(ac_computation_open(&computation, .node_setup = set_up_node,
                                         .worker_setup = set_up_worker,
                                         .worker_cleanup = clean_worker, .node_cleanup = clean_node,
                                         .setup_argument = ac_of((const char *)counts)),
                     0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
}

// So often each has run, and the clean-ups do when it is closed.
static ac_value close_set_up(int workers_set_up, int workers_left) {
    ck_assert_int_eq(begun(NODE_SETUP), 1);
    ck_assert_int_eq(begun(WORKER_SETUP), workers_set_up);
    ck_assert_int_eq(begun(WORKER_CLEANUP) + begun(NODE_CLEANUP), 0);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    ck_assert_int_eq(begun(WORKER_CLEANUP), workers_left);
    ck_assert_int_eq(begun(NODE_CLEANUP), 1);
    return ac_nil;
}

// One worker has a job, and the other has none.
static ac_value keep_set_ups(ac_value unused) {
    (void)unused;
    let_node_go(1);
    open_with_set_ups();
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    submit_waiting(1, 0);
    await_begun(1, 1);
    world_kill_scheduler();
    start_scheduler();
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    submit(2, 0.001, 0);
    ck_next(2, AC_FINISHED);
    let_go(1);
    ck_next(1, AC_FINISHED);
    ck_assert_uint_eq(begun(1), 1);
    return close_set_up(2, 2);
}

TEST(set_ups_that_have_run_are_not_run_again, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(keep_set_ups);
    end();
}

// The set-up of the node is over before the scheduler is back, or after.
static ac_value go_on_setting_up(ac_value meanwhile) {
    open_with_set_ups();
    await_begun(NODE_SETUP, 1);
    world_kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    if (ac_bool_of(meanwhile)) {
        let_node_go(1);
        ck_assert_int_eq(ac_sleep(0.1), 0); // either way is right
    }
    start_scheduler();
    for (int i = 0; i < 2 && !ac_bool_of(meanwhile); i++)
        (void)world_await(AC_WORKER_FOUND, TEST_PATIENCE_S);
    let_node_go(1);
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    submit(1, 0.001, 0);
    ck_next(1, AC_FINISHED);
    return close_set_up(2, 2);
}
static ac_value set_up_meanwhile(ac_value unused) {
    (void)unused;
    return go_on_setting_up(ac_of_bool(true));
}
static ac_value set_up_later(ac_value unused) {
    (void)unused;
    return go_on_setting_up(ac_of_bool(false));
}

TEST(a_set_up_that_ends_without_a_scheduler_has_run, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(set_up_meanwhile);
    end();
}

TEST(a_set_up_that_runs_goes_on, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(set_up_later);
    end();
}

static ac_value fail_meanwhile(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    open_with_set_ups();
    await_begun(NODE_SETUP, 1);
    ck_assert_int_eq(ac_submit(computation, square, 3), 1);
    world_kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    let_node_go(FAIL);
    start_scheduler();
    struct ac_status status = world_await(AC_NODE_REFUSED, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "no table"), "%s", status.text);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -ENODEV);
    ac_drop(job.exit.value);
    ck_assert_int_eq(begun(NODE_SETUP), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_set_up_that_fails_without_a_scheduler_keeps_its_node_out, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(fail_meanwhile);
    end();
}

// The worker that has set up the node is killed meanwhile.
static ac_value lose_who_has_set_up(ac_value unused) {
    (void)unused;
    let_node_go(1);
    open_with_set_ups();
    int worker = process_here(); // job 1
    int handle = world_handle(worker);
    world_kill_scheduler();
    ck_assert_int_eq(kill(worker, SIGKILL), 0);
    ck_assert(world_ends(handle, TEST_PATIENCE_S));
    close(handle);
    start_scheduler();
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    ck_assert_int_ne(process_here(), worker);
    return close_set_up(2, 1);
}

TEST(a_node_stays_set_up_without_the_worker_that_has_done_it, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(lose_who_has_set_up);
    end();
}

// Of a worker that had nothing to do it is known what it begins for the next scheduler.
static ac_value lose_idle_later(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= 5; i++)
        submit(i, 0.0001, 0);
    for (int i = 1; i <= 5; i++)
        ck_next(i, AC_FINISHED);
    world_kill_scheduler();
    start_scheduler();
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    int worker;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_submit(computation, whoami, ac_nil), 6);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    worker = (int)ac_int_of(job.exit.value);
    for (int i = 7; i <= 26; i++) // it learns how short they are
        submit(i, 0.0001, 0);
    for (int i = 7; i <= 26; i++)
        ck_next(i, AC_FINISHED);
    for (int i = 27; i <= 30; i++)
        submit(i, i == 27 ? 1000 : 0.0001, 0);
    await_begun(27, 1);
    char why[256];
    ck_assert_int_eq(ac_job_why(computation, 28, why, sizeof why, AC_FOREVER), 0);
    ck_assert_msg(strstr(why, "lies ready at a worker"), "%s", why); // behind the other
    ck_assert_int_eq(kill(worker, SIGKILL), 0);
    for (int i = 27; i <= 30; i++) {
        struct ac_job_exit end = next_exit();
        ck_assert_int_eq(end.exit.how, end.job == 27 ? AC_LOST : AC_FINISHED);
        ac_drop(end.exit.value);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_an_adopted_worker_has_not_begun_is_not_lost_with_it, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(lose_idle_later);
    end();
}

// ---- what workers need not keep any longer ----

static struct worker_agent tell_from(struct desk *desk) {
    struct worker_agent worker = {.desk = desk};
    list_init(&worker.link);
    return worker;
}

TEST(a_worker_keeps_what_it_has_told_until_the_client_knows) {
    world_make();
    char text[256], path[128];
    int err;
    snprintf(path, sizeof path, "%s/journal", world_folder);
    struct journal *journal = journal_open(path, &err, text);
    ck_assert_msg(journal, "%s", text);
    struct desk desk = {.record = journal_add(journal, 1, "one")};
    ck_assert_ptr_nonnull(desk.record);
    list_init(&desk.workers);
    struct worker_agent one = tell_from(&desk), second = tell_from(&desk);
    list_append(&desk.workers, &one.link);
    list_append(&desk.workers, &second.link);
    // Three tells, with two ends; and one of the other worker, with none, behind them.
    ck_assert_int_eq(restore_note_end(&desk, 1), 0);
    restore_note_tell(&one);
    ck_assert_int_eq(restore_note_end(&desk, 2), 0);
    restore_note_tell(&one);
    restore_note_tell(&one);
    restore_note_tell(&second);
    ck_assert_uint_eq(one.taken + second.taken, 0);
    ck_assert_int_eq(restore_take_ends(&desk, 1), 0);
    // That the client has an end does not say that it has what was told behind it.
    ck_assert_uint_eq(one.taken + second.taken, 0);
    ck_assert_int_eq(restore_take_ends(&desk, 2), 0);
    ck_assert_uint_eq(one.taken, 1);
    ck_assert_uint_eq(second.taken, 0);
    ck_assert_int_eq(restore_note_end(&desk, 3), 0);
    ck_assert_int_eq(restore_take_ends(&desk, 3), 0);
    ck_assert_uint_eq(one.taken, 3);
    ck_assert_uint_eq(second.taken, 1);
    // More than it was told of, and fewer than it has said before.
    ck_assert_int_eq(restore_take_ends(&desk, 4), -EPROTO);
    ck_assert_int_eq(restore_take_ends(&desk, 1), -EPROTO);
    memory_release(desk.ends.numbers);
    journal_close(journal);
    world_clean();
}
