// SPDX-License-Identifier: MIT
// Tests of src/coro/work.c.
#include <dirent.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <asyncoro/debug.h>
#include <asyncoro/io.h>
#include <asyncoro/message.h>
#include <asyncoro/remote.h>

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
    sys_mutex_lock(gate->mutex); // whoever has been let through may still be on his way
    while (gate->running > 0)
        sys_condition_wait(gate->changed, gate->mutex, AC_FOREVER);
    sys_mutex_unlock(gate->mutex);
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
static struct job *aborted;

static ac_value wait_to_be_aborted(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(work_do(&aborted->work, AC_FOREVER), -EBADF);
    ended++;
    return ac_nil;
}

static ac_value abort_work(ac_value unused) {
    (void)unused;
    gate = gate_create();
    for (int begun = 0; begun < 2; begun++) {
        aborted = job_create(gate, 1);
        ck_assert_int_eq(ac_ref_error(ac_spawn(wait_to_be_aborted, ac_nil)), 0);
        ck_assert_int_eq(ac_yield(), 0);
        while (begun && gate_get(gate, &gate->running) == 0)
            ck_assert_int_eq(ac_sleep(0.001), 0);
        work_abort(&aborted->work, -EBADF);
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ended, begun + 1);
    }
    gate_open(gate);
    while (jobs_alive > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(gate_get(gate, &gate->orphaned), 2);
    return ac_nil;
}

TEST(somebody_else_can_end_the_wait) {
    run(abort_work);
    gate_destroy(gate);
}

enum { OWN_THREADS = 4 };

static ac_value hold_own_thread(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(do_job(gate, 1, AC_FOREVER), 2);
    return ac_nil;
}

static ac_value work_with_files(ac_value unused) {
    (void)unused;
    gate = gate_create();
    for (int i = 0; i < OWN_THREADS; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(hold_own_thread, ac_nil)), 0);
    while (gate_get(gate, &gate->running) < OWN_THREADS)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    struct job *job = job_create(NULL, 21);
    ck_assert_int_eq(work_do_with_files(&job->work, AC_FOREVER), 0);
    ck_assert_int_eq(job->number, 42);
    job_orphaned(&job->work);
    gate_open(gate);
    return ac_nil;
}

TEST(files_do_not_wait_for_what_blocks_long) {
    run(work_with_files);
    gate_destroy(gate);
}

static ac_value do_and_abort(ac_value unused) {
    (void)unused;
    struct job *job = aborted = job_create(NULL, 21);
    ck_assert_int_eq(work_do(&job->work, AC_FOREVER), 0);
    work_abort(&job->work, -EBADF); // too late
    ck_assert_int_eq(job->number, 42);
    job_orphaned(&job->work);
    return ac_nil;
}

TEST(what_has_been_done_cannot_be_aborted) { run(do_and_abort); }

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
    ck_assert_int_eq(do_job(gate, 1, ac_after(2)), -ETIMEDOUT);
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
    ck_assert_int_lt(ac_now() - before, TEST_PATIENCE_S * 1000000000LL);
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

// ---- ac_work ----

static ac_value to_give_back; // what a function has kept of a value

// Waits at the gate and returns its argument.
static ac_value pass_gate(ac_value argument) {
    struct job job = {.gate = gate};
    run_job(&job.work);
    return ac_hold(argument);
}

static ac_value count_letters(ac_value text) { return ac_of(strlen(ac_text_of(text))); }

static ac_value have_letters_counted(ac_value unused) {
    (void)unused;
    ac_value result = ac_nil;
    ck_assert_int_eq(ac_work(count_letters, "a text of its own", &result, AC_FOREVER), 0);
    ck_assert_int_eq(ac_int_of(result), 17);
    ck_assert_int_eq(ac_work(count_letters, "whose length nobody wants", NULL, AC_FOREVER), 0);
    return ac_nil;
}

TEST(a_function_runs_elsewhere_and_its_result_is_stored) { run(have_letters_counted); }

static ac_value wait_there(ac_value unused) {
    (void)unused;
    ac_value value;
    ck_assert(!ac_ref_is(ac_self()));
    ck_assert_int_eq(ac_yield(), -EPERM);
    ck_assert_int_eq(ac_sleep(0.001), -EPERM);
    ck_assert_int_eq(ac_suspend(&value, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_work(wait_there, ac_nil, &value, AC_FOREVER), -EPERM);
    ck_assert_ptr_null(loop_here);
    return ac_of(true);
}

static ac_value have_waited(ac_value unused) {
    (void)unused;
    ac_value result = ac_nil;
    ck_assert_int_eq(ac_work(wait_there, ac_nil, &result, AC_FOREVER), 0);
    ck_assert(ac_bool_of(result));
    return ac_nil;
}

TEST(a_function_cannot_wait_there) { run(have_waited); }

static ac_value end_at_once(ac_value unused) { return unused; }

static ac_value want_a_loop(ac_value unused) {
    (void)unused;
    ac_listener *listener;
    ck_assert_int_eq(ac_ref_error(ac_spawn(end_at_once, "dropped")), -EPERM);
    ck_assert_int_eq(ac_ref_error(ac_spawn(end_at_once, 1, .joinable = true)), -EPERM);
    ck_assert_int_eq(ac_ref_error(ac_channel_open("news")), -EPERM);
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0"), -EPERM);
    ck_assert_ptr_null(ac_input());
    ck_assert_int_eq(ac_network_start(), -EPERM);
    ck_assert_int_eq(ac_register(ac_no_ref, "name"), -EPERM);
    ck_assert_int_eq(ac_on_dead_letter(NULL, NULL), -EPERM);
    ck_assert_int_eq(ac_set_work_threads(2), -EPERM);
    ck_assert_int_eq(ac_measure_stacks(true), -EPERM);
    ck_assert_int_eq(ac_watchdog(1), -EPERM);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_ptr_null(loop_here);
    return ac_of(true);
}

static ac_value have_a_loop_wanted(ac_value unused) {
    (void)unused;
    ac_value result = ac_nil;
    ck_assert_int_eq(ac_work(want_a_loop, ac_nil, &result, AC_FOREVER), 0);
    ck_assert(ac_bool_of(result));
    return ac_nil;
}

TEST(a_function_cannot_make_a_loop_there) { run(have_a_loop_wanted); }

static ac_value tell(ac_value to) {
    ck_assert_int_eq(ac_send(ac_ref_of(to), (int)ac_loop()), 0);
    return ac_nil;
}

static ac_value spawn_for(ac_value to) {
    ac_ref spawned = ac_spawn(tell, ac_hold(to));
    ck_assert_msg(ac_ref_is(spawned), "%s", ac_strerror(ac_ref_error(spawned)));
    ck_assert_ptr_null(loop_here);
    return ac_nil;
}

static ac_value have_one_spawned(ac_value unused) {
    (void)unused;
    ac_value loop;
    ck_assert_int_eq(ac_work(spawn_for, ac_self(), NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_receive(&loop, AC_FOREVER), 0);
    ck_assert_int_eq(ac_int_of(loop), 1);
    return ac_nil;
}

TEST(a_function_spawns_into_the_background_where_there_is_one) {
    ck_assert_int_eq(ac_start(), 0);
    ck_assert(ac_ref_is(ac_spawn(have_one_spawned, ac_nil)));
    ck_assert_int_eq(ac_finish(), 0);
}

static ac_value fail_so(ac_value how) {
    if (ac_is_nil(how))
        return value_invalid(-EMSGSIZE);
    return ac_of_error((int)ac_int_of(how), "the disk is full");
}

static ac_value see_failures(ac_value unused) {
    (void)unused;
    ac_value result;
    ck_assert_int_eq(ac_work(fail_so, -ENOSPC, &result, AC_FOREVER), 0);
    ck_assert_int_eq(result.kind, AC_ERROR);
    ck_assert_int_eq(ac_error_of(result), -ENOSPC);
    ac_span text = ac_span_of(result);
    ck_assert_mem_eq(text.at, "the disk is full", text.bytes);
    ac_drop(result);
    // Nobody else shall hold a value that could not be made.
    ck_assert_int_eq(ac_work(fail_so, ac_nil, &result, AC_FOREVER), 0);
    ck_assert_int_eq(result.kind, AC_ERROR);
    ck_assert_int_eq(ac_error_of(result), -EMSGSIZE);
    return ac_nil;
}

TEST(an_error_that_a_function_returns_is_its_result) { run(see_failures); }

static ac_value give_bad_arguments(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_work(NULL, ac_list("dropped", 1), NULL, AC_FOREVER), -EINVAL);
    ck_assert_int_eq(ac_work(fail_so, value_invalid(-EMSGSIZE), NULL, AC_FOREVER), -EMSGSIZE);
    ck_assert_int_eq(ac_work(fail_so, ac_list("dropped", 1), NULL, AC_NOW), -ETIMEDOUT);
    return ac_nil;
}

TEST(bad_arguments_are_refused_and_dropped) { // the sanitizer looks for leaks
    ck_assert_int_eq(ac_work(fail_so, ac_list("dropped", 1), NULL, AC_FOREVER), -EPERM);
    run(give_bad_arguments);
}

// Keeps what it returns, so that it is shared.
static ac_value keep(ac_value argument) {
    to_give_back = ac_hold(argument);
    return ac_hold(argument);
}

static ac_value return_it(ac_value argument) { return ac_hold(argument); }

static ac_value tell_where(ac_value text) { return ac_of((uintptr_t)ac_text_of(text)); }

static ac_value see_copies(ac_value unused) {
    (void)unused;
    ac_value text = ac_of("a text that lies behind its record"), result;
    const char *at = ac_text_of(text);
    // Shared by the caller.
    ck_assert_int_eq(ac_work(tell_where, ac_hold(text), &result, AC_FOREVER), 0);
    ck_assert_int_ne(ac_int_of(result), (intptr_t)at);
    // Shared by nobody: it goes and comes back as it is.
    ck_assert_int_eq(ac_work(return_it, text, &result, AC_FOREVER), 0);
    ck_assert_ptr_eq(ac_text_of(result), at);
    // Shared by the function.
    ck_assert_int_eq(ac_work(keep, result, &result, AC_FOREVER), 0);
    ck_assert_str_eq(ac_text_of(result), at);
    ck_assert_ptr_eq(ac_text_of(to_give_back), at);
    ck_assert_ptr_ne(ac_text_of(result), at);
    ac_drop(to_give_back);
    ac_drop(result);
    return ac_nil;
}

TEST(a_value_is_copied_where_the_other_side_shares_it) { run(see_copies); }

static ac_value keep_without_memory(ac_value argument) {
    memory_fail_nth(1);
    return keep(argument);
}

static ac_value lack_memory_there(ac_value unused) {
    (void)unused;
    ac_value result = ac_of(5);
    int err = ac_work(keep_without_memory, "a text behind its record", &result, AC_FOREVER);
    ck_assert_int_eq(err, -ENOMEM);
    ck_assert_int_eq(ac_int_of(result), 5); // nothing was stored
    ac_drop(to_give_back);
    return ac_nil;
}

TEST(a_result_for_which_there_is_no_memory_is_an_error) { run(lack_memory_there); }

static void wait_until_running(int count) {
    while (gate_get(gate, &gate->running) < count)
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

// What a thousand give to be worked on, and the sum of what came back.
static int64_t sum;

static ac_value give_number(ac_value number) {
    ac_value result;
    ck_assert_int_eq(ac_work(pass_gate, ac_list(number, "text"), &result, AC_FOREVER), 0);
    int64_t mine;
    ac_value text;
    ck_assert_int_eq(ac_unpack(result, &mine, &text), 0);
    ck_assert_str_eq(ac_text_of(text), "text");
    ac_drop(text);
    ck_assert_int_eq(mine, ac_int_of(number));
    sum += mine;
    ac_drop(result);
    return ac_nil;
}

static ac_value see_all_run(ac_value threads) {
    int count = (int)ac_int_of(threads);
    wait_until_running(count);
    ck_assert_int_eq(sum, 0);
    gate_open(gate);
    return ac_nil;
}

TEST(a_thousand_works_are_done_by_eight_threads) {
    gate = gate_create();
    for (int i = 1; i <= 1000; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(give_number, i)), 0);
    ac_spawn(see_all_run, 8);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(sum, 500500);
    ck_assert_int_eq(gate->most, 8);
    gate_destroy(gate);
}

static ac_value give_too_many(ac_value unused) {
    (void)unused;
    wait_until_running(8);
    for (int i = 0; i < 1024; i++)
        ac_spawn(give_number, 1);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_work(pass_gate, ac_list("dropped", 1), NULL, AC_FOREVER), -EAGAIN);
    gate_open(gate);
    return ac_nil;
}

TEST(more_than_1024_waiting_works_are_refused) {
    gate = gate_create();
    for (int i = 0; i < 8; i++)
        ac_spawn(give_number, 1);
    run(give_too_many);
    ck_assert_int_eq(sum, 1032);
    gate_destroy(gate);
}

static ac_value do_own(ac_value unused) {
    (void)unused;
    wait_until_running(8);
    ck_assert_int_eq(do_job(NULL, 4, ac_after(30)), 8);
    gate_open(gate);
    return ac_nil;
}

TEST(the_librarys_own_work_does_not_wait_behind_that_of_users) {
    gate = gate_create();
    for (int i = 0; i < 100; i++)
        ac_spawn(give_number, 1);
    run(do_own);
    ck_assert_int_eq(sum, 100);
    gate_destroy(gate);
}

static ac_value lose_patience(ac_value deadline) {
    ac_value result = ac_of(5);
    ac_time until = ac_is_nil(deadline) ? AC_FOREVER : ac_after(ac_real_of(deadline));
    int err = ac_work(pass_gate, ac_list("dropped", 1), &result, until);
    ck_assert_int_eq(err, ac_is_nil(deadline) ? -ECANCELED : -ETIMEDOUT);
    ck_assert_int_eq(ac_int_of(result), 5);
    ended++;
    return ac_nil;
}

static ac_value let_all_go(ac_value unused) {
    (void)unused;
    ac_ref all[20];
    ck_assert_int_eq(ac_set_work_threads(2), 0);
    for (int i = 0; i < 20; i++)
        all[i] = i % 2 ? ac_spawn(lose_patience, 0.01) : ac_spawn(lose_patience, ac_nil);
    wait_until_running(2);
    for (int i = 0; i < 20; i += 2)
        ck_assert_int_eq(ac_cancel(all[i]), 0);
    while (ended < 20)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    gate_open(gate);
    ac_value result;
    ck_assert_int_eq(ac_work(pass_gate, 1, &result, AC_FOREVER), 0);
    ck_assert_int_eq(ac_int_of(result), 1);
    return ac_nil;
}

TEST(what_nobody_waits_for_any_more_is_dropped) { // the sanitizer looks for leaks
    gate = gate_create();
    run(let_all_go);
    ck_assert_int_eq(gate->most, 2); // the other 18 had not begun and never did
    gate_destroy(gate);
}

static ac_value let_go_of_a_thread(ac_value unused) {
    (void)unused;
    ac_ref late[2] = {ac_spawn(lose_patience, ac_nil), ac_spawn(lose_patience, ac_nil)};
    wait_until_running(2);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(ac_cancel(late[i]), 0);
    return ac_nil;
}

// Those that work for users. The sanitizers have threads of their own.
static int count_threads(void) {
    DIR *folder = opendir("/proc/self/task");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (!file)
            continue; // it has ended, or is no thread
        count += fgets(name, sizeof name, file) && strcmp(name, "asyncoro-work\n") == 0;
        fclose(file);
    }
    closedir(folder);
    return count;
}

TEST(a_thread_may_outlive_the_loop) { // the sanitizer looks for leaks
    gate = gate_create();
    run(let_go_of_a_thread);
    ck_assert_int_eq(gate_get(gate, &gate->running), 2);
    ck_assert_int_eq(count_threads(), 2);
    gate_open(gate);
    while (gate_get(gate, &gate->running) > 0 || count_threads() > 0)
        usleep(1000);
    gate_destroy(gate);
}

static ac_value change_threads(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_set_work_threads(0), -EINVAL);
    ck_assert_int_eq(ac_set_work_threads(1025), -EINVAL);
    ck_assert_int_eq(ac_set_work_threads(1024), 0);
    ck_assert_int_eq(ac_set_work_threads(3), 0);
    for (int i = 0; i < 20; i++)
        ac_spawn(give_number, 1);
    wait_until_running(3);
    ck_assert_int_eq(ac_set_work_threads(5), 0); // two more begin at once
    wait_until_running(5);
    ck_assert_int_eq(count_threads(), 5);
    ck_assert_int_eq(ac_set_work_threads(1), 0);
    gate_open(gate);
    while (sum < 20 || count_threads() > 1)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    return ac_nil;
}

TEST(the_number_of_threads_can_be_changed) {
    ck_assert_int_eq(ac_set_work_threads(2), 0); // before there is any coroutine
    gate = gate_create();
    run(change_threads);
    ck_assert_int_eq(gate->most, 5);
    while (count_threads() > 0)
        usleep(1000);
    gate_destroy(gate);
}

static ac_value lower_while_idle(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 8; i++)
        ac_spawn(give_number, 1);
    wait_until_running(8);
    gate_open(gate);
    while (sum < 8)
        ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_set_work_threads(2), 0);
    while (count_threads() > 2)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(ac_work(return_it, i, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(count_threads(), 2);
    return ac_nil;
}

TEST(idle_threads_that_are_too_many_end) {
    gate = gate_create();
    run(lower_while_idle);
    gate_destroy(gate);
}

static ac_value idle_away(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(work_tune(8, 5 * 1000 * 1000), 0);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 8; i++)
            ac_spawn(give_number, 1);
        if (round == 1)
            wait_until_running(8);
        gate_open(gate);
        while (sum < 8 * round || count_threads() > 0)
            ck_assert_int_eq(ac_sleep(0.001), 0);
    }
    return ac_nil;
}

TEST(threads_that_stay_idle_end_and_others_are_started_when_needed) {
    gate = gate_create();
    run(idle_away);
    gate_destroy(gate);
}

static ac_value hurry_user(ac_value number) {
    for (int i = 0; i < 20; i++) {
        ac_value result = ac_nil;
        ac_time until = ac_after(0.0001 * (double)((ac_int_of(number) + i) % 7));
        int err = ac_work(return_it, ac_list("text", i), &result, until);
        ck_assert(err == 0 || err == -ETIMEDOUT);
        ac_drop(result);
    }
    return ac_nil;
}

TEST(loops_come_and_go_while_threads_end_of_idleness) {
    for (int round = 0; round < 100; round++) {
        ck_assert_int_eq(work_tune(1 + (uint32_t)round % 8, round % 3 * 50 * 1000), 0);
        for (int i = 0; i < 8; i++)
            ck_assert_int_eq(ac_ref_error(ac_spawn(hurry_user, i)), 0);
        ck_assert_int_eq(ac_run(), 0);
    }
    while (count_threads() > 0)
        usleep(1000);
}

static bool has_failed;

static ac_value lack_memory_here(ac_value n) {
    ac_value text = ac_of("a text behind its record"), result = ac_nil;
    memory_fail_nth((long)ac_int_of(n));
    int err = ac_work(return_it, ac_hold(text), &result, AC_FOREVER);
    has_failed = memory_has_failed();
    memory_fail_nth(0);
    ck_assert(err == 0 ? !has_failed : has_failed && (err == -ENOMEM || err == -EAGAIN));
    ac_drop(text);
    ac_drop(result);
    return ac_nil;
}

TEST(lack_of_memory_is_an_error_and_no_value_is_lost) {
    int n = 0;
    do {
        ck_assert_int_eq(ac_ref_error(ac_spawn(lack_memory_here, ++n)), 0);
        ck_assert_int_eq(ac_run(), 0);
    } while (has_failed);
    // The record, the copy, the crew, its lock, the helper, its condition, its thread.
    ck_assert_int_eq(n - 1, 7);
}

TEST(lack_of_memory_for_the_number_of_threads_is_an_error) {
    long n = 0;
    do {
        memory_fail_nth(++n);
        int err = ac_set_work_threads(3);
        has_failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, has_failed ? -ENOMEM : 0);
        ck_assert_int_eq(ac_run(), 0);
    } while (has_failed);
    ck_assert_int_gt(n, 4); // the loop, its poller, the crew, its lock
}
