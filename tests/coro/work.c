// SPDX-License-Identifier: MIT
// Tests of src/coro/work.c.
#include <stdatomic.h>
#include <stdlib.h>

#include "test.h"

#include "coro/coro.h"

// A work that waits on its helper thread until the test opens the gate.
struct job {
    struct work work;
    struct gate *gate; // NULL: does not wait
    int number;
};

// What jobs wait for. It outlives the loop, and its memory is freed by the last job.
struct gate {
    struct sys_mutex *mutex;
    struct sys_condition *changed;
    bool open;
    int running;  // jobs that have begun and not ended
    int most;     // that were running at once
    int orphaned; // jobs that were given up
};

static _Atomic int jobs_alive;

static struct gate *gate_create(void) {
    struct gate *gate = memory_allocate_zeroed(sizeof *gate);
    gate->mutex = sys_mutex_create();
    gate->changed = sys_condition_create();
    return gate;
}

static void gate_open(struct gate *gate) {
    sys_mutex_lock(gate->mutex);
    gate->open = true;
    for (int i = 0; i < 16; i++)
        sys_condition_signal(gate->changed);
    sys_mutex_unlock(gate->mutex);
}

static int gate_get(struct gate *gate, const int *field) {
    sys_mutex_lock(gate->mutex);
    int value = *field;
    sys_mutex_unlock(gate->mutex);
    return value;
}

static void gate_destroy(struct gate *gate) {
    sys_condition_destroy(gate->changed);
    sys_mutex_destroy(gate->mutex);
    memory_release(gate);
}

static void run_job(struct work *work) {
    struct job *job = container_of(work, struct job, work);
    struct gate *gate = job->gate;
    ck_assert_ptr_null(loop_here);
    job->number *= 2;
    if (!gate)
        return;
    sys_mutex_lock(gate->mutex);
    gate->running++;
    gate->most = gate->running > gate->most ? gate->running : gate->most;
    while (!gate->open)
        sys_condition_wait(gate->changed, gate->mutex, AC_FOREVER);
    gate->running--;
    sys_condition_signal(gate->changed);
    sys_mutex_unlock(gate->mutex);
}

static void job_orphaned(struct work *work) {
    struct job *job = container_of(work, struct job, work);
    if (job->gate) {
        sys_mutex_lock(job->gate->mutex);
        job->gate->orphaned++;
        sys_mutex_unlock(job->gate->mutex);
    }
    memory_release(job);
    jobs_alive--;
}

static struct job *job_create(struct gate *gate, int number) {
    struct job *job = memory_allocate_zeroed(sizeof *job);
    job->work.run = run_job;
    job->work.orphaned = job_orphaned;
    job->gate = gate;
    job->number = number;
    jobs_alive++;
    return job;
}

// Has a job done; returns what it has made of the number, or the error.
static int do_job(struct gate *gate, int number, ac_time deadline) {
    struct job *job = job_create(gate, number);
    int err = work_do(&job->work, deadline);
    if (err == -ETIMEDOUT || err == -ECANCELED)
        return err;
    int result = err ? err : job->number;
    memory_release(job);
    jobs_alive--;
    return result;
}

static void run(ac_function function) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(function, ac_nil)), 0);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- cases ----

static ac_value twice(ac_value number) {
    int it = (int)ac_int_of(number);
    ck_assert_int_eq(do_job(NULL, it, AC_FOREVER), 2 * it);
    return ac_nil;
}

TEST(work_is_done_on_another_thread_and_awaited) {
    for (int i = 1; i <= 200; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(twice, i)), 0);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(jobs_alive, 0);
}

TEST(outside_coroutines_no_work_is_done) { ck_assert_int_eq(do_job(NULL, 1, AC_FOREVER), -EPERM); }

static struct gate *gate;
static int ended;

static ac_value wait_at_gate(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(do_job(gate, 3, AC_FOREVER), 6);
    ended++;
    return ac_nil;
}

static ac_value count_helpers(ac_value unused) {
    (void)unused;
    while (gate_get(gate, &gate->running) < 4)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(ac_sleep(0.02), 0); // time for a fifth, if there were one
    ck_assert_int_eq(ended, 0);
    gate_open(gate);
    return ac_nil;
}

TEST(at_most_four_work_at_once_and_the_loop_goes_on) {
    gate = gate_create();
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(wait_at_gate, ac_nil)), 0);
    run(count_helpers);
    ck_assert_int_eq(ended, 10);
    ck_assert_int_eq(gate->most, 4);
    ck_assert_int_eq(jobs_alive, 0);
    gate_destroy(gate);
}

static ac_value give_up(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(do_job(gate, 1, ac_after(0.5)), -ETIMEDOUT);
    ck_assert_int_eq(jobs_alive, 1); // its thread still has it
    gate_open(gate);
    while (jobs_alive > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(do_job(gate, 5, AC_FOREVER), 10);
    ck_assert_int_eq(do_job(gate, 5, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(jobs_alive, 0);
    return ac_nil;
}

TEST(one_that_is_given_up_is_orphaned_when_it_has_run) {
    gate = gate_create();
    run(give_up);
    ck_assert_int_eq(gate->orphaned, 2);
    gate_destroy(gate);
}

static ac_value be_refused(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(do_job(gate, 3, AC_FOREVER), -EAGAIN);
    gate_open(gate);
    return ac_nil;
}

static ac_value fill_up(ac_value unused) {
    (void)unused;
    while (gate_get(gate, &gate->running) < 4)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    for (int i = 0; i < 256; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(wait_at_gate, ac_nil)), 0);
    ck_assert_int_eq(ac_ref_error(ac_spawn(be_refused, ac_nil)), 0);
    return ac_nil;
}

TEST(more_than_256_waiting_are_refused) {
    gate = gate_create();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(wait_at_gate, ac_nil)), 0);
    run(fill_up);
    ck_assert_int_eq(ended, 260);
    ck_assert_int_eq(jobs_alive, 0);
    gate_destroy(gate);
}

static ac_value be_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(do_job(gate, 3, AC_FOREVER), -ECANCELED);
    ended++;
    ck_assert_int_eq(do_job(gate, 3, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_all(ac_value unused) {
    (void)unused;
    ac_ref all[10];
    for (int i = 0; i < 10; i++)
        all[i] = ac_spawn(be_cancelled, ac_nil);
    while (gate_get(gate, &gate->running) < 4)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    for (int i = 9; i >= 0; i--)
        ck_assert_int_eq(ac_cancel(all[i]), 0);
    ck_assert_int_eq(jobs_alive, 4); // those that no thread has begun are gone at once
    // What was taken out of the queue has left it whole: later ones get their turn.
    ck_assert_int_eq(ac_ref_error(ac_spawn(wait_at_gate, ac_nil)), 0);
    ck_assert_int_eq(ac_yield(), 0);
    gate_open(gate);
    return ac_nil;
}

TEST(cancelled_ones_leave_the_queue) {
    gate = gate_create();
    run(cancel_all);
    ck_assert_int_eq(ended, 11);
    while (jobs_alive > 0) // a thread may still be on its way out of the gate
        continue;
    ck_assert_int_eq(gate->orphaned, 20);
    gate_destroy(gate);
}

static ac_value wait_a_little(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(do_job(gate, 1, ac_after(0.01)), -ETIMEDOUT);
    return ac_nil;
}

TEST(the_end_of_the_loop_does_not_wait_for_a_thread_that_hangs) {
    gate = gate_create();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(wait_a_little, ac_nil)), 0);
    ac_time before = ac_now();
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_lt(ac_now() - before, 5000000000);
    // Another loop of this thread has helpers of its own.
    run(wait_a_little);
    gate_open(gate);
    sys_mutex_lock(gate->mutex);
    while (gate->running > 0)
        sys_condition_wait(gate->changed, gate->mutex, AC_FOREVER);
    sys_mutex_unlock(gate->mutex);
    // The threads now hand their orphans back themselves. They touch the gate when they do.
    while (jobs_alive > 0)
        continue;
    ck_assert_int_eq(gate->orphaned, 4);
    gate_destroy(gate);
}

static ac_value hurry(ac_value number) {
    struct gate *open = gate;
    for (int i = 0; i < 20; i++) {
        int result = do_job(open, 1, ac_after(0.0001 * (double)((ac_int_of(number) + i) % 7)));
        ck_assert(result == 2 || result == -ETIMEDOUT);
    }
    return ac_nil;
}

TEST(loops_come_and_go_while_threads_work) {
    gate = gate_create();
    gate_open(gate);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 8; i++)
            ck_assert_int_eq(ac_ref_error(ac_spawn(hurry, i)), 0);
        ck_assert_int_eq(ac_run(), 0);
    }
    while (jobs_alive > 0)
        continue;
    gate_destroy(gate);
}

static ac_value fail_once(ac_value unused) {
    (void)unused;
    int failures = 0;
    for (long n = 1;; n++) {
        struct job *job = job_create(NULL, 4);
        memory_fail_nth(n);
        int err = work_do(&job->work, AC_FOREVER);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert(err == 0 || (failed && (err == -ENOMEM || err == -EAGAIN)));
        memory_release(job);
        failures += failed;
        if (!failed)
            break;
    }
    ck_assert_int_ge(failures, 3); // the crew, its lock, its condition, its thread
    return ac_nil;
}

TEST(lack_of_memory_is_an_error_and_nothing_is_lost) { run(fail_once); }
