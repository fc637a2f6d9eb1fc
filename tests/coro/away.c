// SPDX-License-Identifier: MIT
// Tests of src/coro/away.c: spawning and cancelling on other loops, and the background with the
// threads that use it.
#include "coro/coro.h"
#include "coro/poller.h"
#include "test.h"

#include <asyncoro.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#ifdef SYS_TSAN
enum { MANY = 1000 };
#else
enum { MANY = 10000 };
#endif

static int count; // atomic

static int add_one(void) { return __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST); }
static int counted(void) { return __atomic_load_n(&count, __ATOMIC_SEQ_CST); }

static void run(ac_function function, uint32_t loops) {
    ck_assert(ac_ref_is(ac_spawn(function, ac_nil)));
    ck_assert_int_eq(ac_run(.loops = loops), 0);
}

static bool computes; // atomic
static bool open;     // atomic: who computes may go on

static ac_value compute_until_open(ac_value unused) {
    (void)unused;
    __atomic_store_n(&computes, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&open, __ATOMIC_ACQUIRE))
        continue;
    return ac_nil;
}

static void let_second_compute(void) {
    ac_spawn(compute_until_open, ac_nil, .loop = 2);
    while (!__atomic_load_n(&computes, __ATOMIC_ACQUIRE))
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

static ac_value nothing(ac_value unused) { return ac_hold(unused); }

static ac_value add(ac_value unused) {
    (void)unused;
    add_one();
    return ac_nil;
}

static struct ac_exit next_exit(void) {
    ac_value message;
    struct ac_exit exit;
    ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    ck_assert(ac_exit_of(message, &exit));
    ac_drop(exit.value);
    ac_drop(message);
    return exit;
}

// ---- spawning on another loop ----

static int last; // touched by the second loop alone

static ac_value check_number(ac_value number) {
    ck_assert_int_eq(ac_loop(), 2);
    ck_assert_int_eq(ac_int_of(number), last);
    last++;
    return ac_nil;
}

static ac_value spawn_in_order(ac_value unused) {
    (void)unused;
    for (int i = 0; i < MANY; i++) {
        ck_assert(ac_ref_is(ac_spawn(check_number, i, .loop = 2)));
        if (i % 500 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(coroutines_begin_in_the_order_in_which_they_were_spawned_elsewhere) {
    run(spawn_in_order, 2);
    ck_assert_int_eq(last, MANY);
}

static ac_value hold_and_drop(ac_value it) {
    for (int i = 0; i < 1000; i++)
        ac_drop(ac_hold(it));
    ck_assert_int_eq(ac_count(it), 2);
    return ac_hold(it);
}

static ac_value share_arguments(ac_value unused) {
    (void)unused;
    ac_value shared = ac_list("a text that needs a buffer of its own", 12345678901);
    for (int i = 0; i < 100; i++) {
        ac_ref there = ac_spawn(hold_and_drop, ac_hold(shared), .loop = AC_SPREAD);
        ck_assert_int_eq(ac_monitor(there), 0);
    }
    hold_and_drop(shared); // holds it once more
    for (int i = 0; i < 100; i++)
        (void)next_exit();
    ac_drop(shared);
    ac_drop(shared);
    return ac_nil;
}

TEST(arguments_and_results_are_not_shared_between_loops) { run(share_arguments, 4); }

static ac_value spawn_badly(ac_value unused) {
    (void)unused;
    ac_group *group;
    ck_assert_int_eq(ac_group_open(&group), 0);
    ck_assert_int_eq(ac_ref_error(ac_spawn(nothing, ac_list("dropped"), .loop = 2, .group = group)),
                     -EXDEV);
    ck_assert_int_eq(ac_group_close(group), 0);
    ck_assert_int_eq(ac_ref_error(ac_spawn(NULL, ac_list("dropped"), .loop = 2)), -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_spawn(nothing, ac_list("dropped"), .loop = 3)), -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_spawn(nothing, ac_list("dropped"), .loop = 2,
                                           .stack_bytes = AC_STACK_BYTES_MAX + 1)),
                     -EINVAL);
    return ac_nil;
}

TEST(what_cannot_be_spawned_elsewhere_is_refused) { run(spawn_badly, 2); }

static ac_value spawn_without_memory(ac_value unused) {
    (void)unused;
    ac_value shared = ac_list("a text that needs a buffer of its own");
    bool failed = true;
    for (int i = 0; failed; i++) {
        memory_fail_nth(i + 1);
        ac_ref there = ac_spawn(nothing, ac_hold(shared), .loop = 2);
        failed = memory_has_failed();
        memory_fail_nth(0);
        // What is missing on the lane is not needed.
        ck_assert(ac_ref_is(there) || (failed && ac_ref_error(there) == -ENOMEM));
    }
    ac_drop(shared);
    return ac_nil;
}

TEST(a_spawn_elsewhere_for_which_there_is_no_memory_says_so) { run(spawn_without_memory, 2); }

// ---- cancelling ----

static ac_value sleep_long(ac_value unused) {
    (void)unused;
    if (ac_sleep(1000) == -ECANCELED)
        add_one();
    return ac_nil;
}

static ac_value begin_to_sleep_long(ac_value unused) {
    add_one();
    return sleep_long(unused);
}

static ac_value cancel_elsewhere(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(begin_to_sleep_long, ac_nil, .loop = 2);
    ck_assert_int_eq(ac_monitor(there), 0);
    while (counted() == 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(ac_cancel(there), 0);
    ck_assert_int_eq(next_exit().how, AC_CANCELLED);
    ck_assert_int_eq(ac_cancel(there), -ESRCH);
    ck_assert_int_eq(ac_cancel((ac_ref){there.peer, there.id | 63 << 2}), -ENOTSUP);
    ck_assert_int_eq(ac_cancel((ac_ref){there.peer + 1, there.id}), -ENOTSUP);
    return ac_nil;
}

TEST(who_waits_on_another_loop_can_be_cancelled) {
    run(cancel_elsewhere, 2);
    ck_assert_int_eq(counted(), 2);
}

static ac_value cancel_at_once(ac_value unused) {
    (void)unused;
    let_second_compute();
    for (int i = 0; i < 100; i++) {
        ac_ref there = ac_spawn(add, ac_list("dropped"), .loop = 2);
        ck_assert_int_eq(ac_monitor(there), 0);
        ck_assert_int_eq(ac_cancel(there), 0);
        ck_assert_int_eq(ac_cancel(there), 0);
    }
    __atomic_store_n(&open, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(next_exit().how, AC_CANCELLED);
    return ac_nil;
}

TEST(who_is_cancelled_before_it_has_come_never_runs) {
    run(cancel_at_once, 2);
    ck_assert_int_eq(counted(), 0);
}

// The third loop cancels what the first is spawning on the second: its request may come before.
static ac_value cancel_given(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0 && ac_kind_of(message) == AC_REF) {
        int err = ac_cancel(ac_ref_of(message));
        ck_assert(err == 0 || err == -ESRCH);
        ac_drop(message);
    }
    return ac_nil;
}

static ac_value cancel_by_another(ac_value unused) {
    (void)unused;
    ac_ref canceller = ac_spawn(cancel_given, ac_nil, .loop = 3);
    for (int i = 0; i < MANY; i++) {
        ac_ref there = ac_spawn(i % 2 ? add : nothing, ac_nil, .loop = 2);
        ck_assert_int_eq(ac_send(canceller, there), 0);
        if (i % 10 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    ck_assert_int_eq(ac_send(canceller, 0), 0);
    return ac_nil;
}

TEST(records_survive_cancellations_that_overtake_their_coroutines) {
    run(cancel_by_another, 3);
    ck_assert_int_le(counted(), MANY / 2);
}

static ac_value cancel_without_memory(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(sleep_long, ac_nil, .loop = 2);
    ck_assert_int_eq(ac_monitor(there), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_cancel(there), -ENOMEM);
    memory_fail_nth(0);
    ck_assert_int_eq(ac_cancel(there), 0);
    ck_assert_int_eq(next_exit().how, AC_CANCELLED);
    return ac_nil;
}

TEST(a_cancellation_elsewhere_needs_memory) { run(cancel_without_memory, 2); }

// ---- errands ----

struct sum {
    struct errand errand;
    int of;
    int result;
};

static int orphans; // touched by the first loop alone

static void add_up(struct errand *errand) {
    struct sum *it = container_of(errand, struct sum, errand);
    ck_assert_int_eq(ac_loop(), 2);
    if (errand->waits && ac_sleep(0.001 * it->of) < 0)
        return;
    it->result = it->of + 1;
}

static void forget_sum(struct errand *errand) {
    orphans++;
    free(container_of(errand, struct sum, errand));
}

static int sum(int of, bool waits, double patience_s) {
    struct sum *it = malloc(sizeof *it);
    *it = (struct sum){.errand = {.run = add_up, .orphaned = forget_sum, .waits = waits}, .of = of};
    int err = errand_do(team_nth(loop_here, 2), &it->errand, ac_after(patience_s));
    if (err < 0)
        return err;
    int result = it->result;
    free(it);
    return result;
}

static ac_value run_errands(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(sum(i % 3, i % 2, 20), i % 3 + 1);
    ck_assert_int_eq(orphans, 0);
    ck_assert_int_eq(sum(100000, true, 0.01), -ETIMEDOUT);
    let_second_compute();
    ck_assert_int_eq(sum(1, false, 0.01), -ETIMEDOUT);
    ck_assert_int_eq(sum(1, true, 0.01), -ETIMEDOUT);
    __atomic_store_n(&open, true, __ATOMIC_RELEASE);
    ck_assert_int_eq(sum(1, true, -1), -ETIMEDOUT);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(sum(1, false, 20), -ECANCELED);
    return ac_nil;
}

TEST(errands_are_done_or_forgotten) {
    run(run_errands, 2);
    ck_assert_int_eq(orphans, 5);
}

// ---- the background ----

static void start(uint32_t loops) { ck_assert_int_eq(ac_start(.loops = loops), 0); }

TEST(the_background_is_started_once_and_finished_once) {
    ck_assert_int_eq(ac_finish(), 0);
    start(2);
    ck_assert_int_eq(ac_start(), -EALREADY);
    ck_assert_int_eq(ac_finish(), 0);
    ck_assert_int_eq(ac_finish(), 0);
    start(0);
    ck_assert_int_eq(ac_finish(), 0);
}

static ac_value note_polling(ac_value unused) {
    ck_assert_int_eq(loop_here->poll_ns, 20 * 1000);
    add_one();
    return unused;
}

TEST(the_background_takes_all_options) {
    ck_assert_int_eq(ac_start(.loops = 2, .poll_us = 20), 0);
    for (int nth = 1; nth <= 2; nth++)
        ck_assert(ac_ref_is(ac_spawn(note_polling, ac_nil, .loop = nth)));
    ck_assert_int_eq(ac_finish(), 0);
    ck_assert_int_eq(counted(), 2);
}

static ac_value start_inside(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_start(), -EPERM);
    ck_assert_int_eq(ac_finish(), -EPERM);
    add_one();
    return ac_nil;
}

TEST(coroutines_neither_start_nor_finish_the_background) {
    run(start_inside, 1);
    start(1);
    ck_assert(ac_ref_is(ac_spawn(start_inside, ac_nil)));
    ck_assert_int_eq(ac_finish(), 0);
    ck_assert_int_eq(counted(), 2);
}

TEST(a_background_that_cannot_be_made_is_none) {
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ac_start(.loops = AC_LOOPS_MAX + 1), -EINVAL);
    ck_assert_int_eq(ac_finish(), 0);
    for (long n = 1;; n++) {
        memory_fail_nth(n);
        int err = ac_start();
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : 0);
        ck_assert_int_eq(ac_finish(), 0);
        if (!failed)
            break;
    }
}

static ac_value fails(ac_value unused) {
    (void)unused;
    return ac_of_error(-EDOM, NULL);
}

TEST(finishing_tells_of_a_failure_that_nobody_saw) {
    start(3);
    ac_spawn(fails, ac_nil, .loop = 3);
    ck_assert_int_eq(ac_finish(), -EDOM);
    start(1);
    ac_spawn(fails, ac_nil);
    ck_assert_int_eq(ac_finish(), -EDOM);
    start(2);
    ck_assert_int_eq(ac_finish(), 0);
}

TEST(spawning_in_a_background_that_is_lost_is_refused) {
    for (int nth = 1; nth <= 2; nth++) {
        start(2);
        ck_assert(ac_ref_is(ac_spawn(break_poller, ac_nil, .loop = nth)));
        ac_ref ref;
        while (ac_ref_is(ref = ac_spawn(nothing, ac_list("dropped"))))
            sched_yield();
        ck_assert_int_eq(ac_ref_error(ref), -ESRCH);
        ck_assert_int_eq(ac_ref_error(ac_spawn(nothing, ac_nil, .loop = 2)), -ESRCH);
        ck_assert_int_eq(ac_finish(), poller_gone);
        ck_assert_uint_eq(ac_loops(), 0); // no loop was made for who was refused
    }
    start(1);
    ck_assert_int_eq(ac_finish(), 0);
}

static ac_value note_loop(ac_value expected) {
    ck_assert_int_eq(ac_loop(), ac_int_of(expected));
    add_one();
    return ac_nil;
}

TEST(threads_spawn_on_the_loops_of_the_background) {
    start(3);
    ck_assert_int_eq(ac_loops(), 0); // this thread has none
    ck_assert(ac_ref_is(ac_spawn(note_loop, 1)));
    for (int i = 1; i <= 3; i++)
        ck_assert(ac_ref_is(ac_spawn(note_loop, i, .loop = i)));
    for (int i = 0; i < 30; i++)
        ck_assert(ac_ref_is(ac_spawn(add, ac_nil, .loop = AC_SPREAD)));
    ck_assert_int_eq(ac_ref_error(ac_spawn(add, ac_list("dropped"), .loop = 4)), -EINVAL);
    ck_assert_ptr_null(loop_here); // nor was one made for what has failed
    ck_assert_int_eq(ac_ref_error(ac_spawn(NULL, ac_list("dropped"))), -EINVAL);
    ck_assert_int_eq(ac_finish(), 0);
    ck_assert_int_eq(counted(), 34);
}

TEST(finishing_waits_for_what_was_spawned_before) {
    for (int i = 0; i < 50; i++) {
        count = 0;
        start(2);
        for (int n = 0; n < 10; n++)
            ac_spawn(add, ac_nil, .loop = n % 2 + 1);
        ck_assert_int_eq(ac_finish(), 0);
        ck_assert_int_eq(counted(), 10);
    }
}

static ac_value receive_numbers(ac_value senders) {
    int next[16] = {0};
    for (long left = MANY * ac_int_of(senders); left > 0; left--) {
        ac_value message;
        int from, number;
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        ck_assert_int_eq(ac_unpack(message, &from, &number), 0);
        ck_assert_int_eq(number, next[from]);
        next[from]++;
        ac_drop(message);
    }
    add_one();
    return ac_nil;
}

struct sender {
    pthread_t thread;
    int number;
    ac_ref to[2];
};

static void *send_numbers(void *argument) {
    struct sender *it = argument;
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(ac_send(it->to[0], ac_list(it->number, i)), 0);
        ck_assert_int_eq(ac_try_send(it->to[1], ac_list(it->number, i)), 0);
        if (i % 1000 == 0)
            ck_assert(ac_ref_is(ac_spawn(add, ac_nil, .loop = AC_SPREAD)));
    }
    ck_assert_ptr_null(loop_here);
    return NULL;
}

TEST(what_several_threads_send_arrives_in_the_order_of_each) {
    enum { THREADS = 4 };
    struct sender senders[THREADS];
    start(2);
    ac_ref to[2] = {ac_spawn(receive_numbers, THREADS + 1, .loop = 1),
                    ac_spawn(receive_numbers, THREADS + 1, .loop = 2)};
    for (int i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.number = i, .to = {to[0], to[1]}};
        ck_assert_int_eq(pthread_create(&senders[i].thread, NULL, send_numbers, &senders[i]), 0);
    }
    struct sender mine = {.number = THREADS, .to = {to[0], to[1]}};
    send_numbers(&mine);
    for (int i = 0; i < THREADS; i++)
        pthread_join(senders[i].thread, NULL);
    ck_assert_int_eq(ac_finish(), 0);
    ck_assert_int_eq(counted(), 2 + (THREADS + 1) * ((MANY + 999) / 1000));
    ck_assert_int_eq(ac_send(to[1], ac_list("dropped")), -ESRCH);
    ck_assert_int_eq(ac_cancel(to[1]), -ESRCH);
}

TEST(threads_cancel_in_the_background) {
    start(2);
    for (int i = 0; i < 200; i++) {
        ac_ref there = ac_spawn(sleep_long, ac_nil, .loop = i % 2 + 1);
        ck_assert_int_eq(ac_cancel(there), 0);
    }
    ck_assert_int_eq(ac_finish(), 0); // else it would wait for them
}

static ac_value swallow(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return ac_nil;
}

// Uses the background until it is gone.
static void *use_until_the_end(void *argument) {
    struct sender *it = argument;
    int err;
    for (int i = 0; (err = ac_send(it->to[i % 2], ac_list("a text in a buffer", i))) == 0; i++) {
        (void)ac_cancel(ac_spawn(nothing, ac_list("another"), .loop = i % 2 + 1, .daemon = true));
        if (i == 10)
            add_one();
    }
    // A thread that has spawned after the end has got a loop of its own.
    ck_assert_int_eq(err, loop_here ? -EHOSTUNREACH : -ESRCH);
    (void)ac_run();
    return NULL;
}

TEST(the_background_ends_under_the_hands_of_threads) {
    for (int round = 0; round < 20; round++) {
        struct sender users[3];
        count = 0;
        start(2);
        ac_ref to = ac_spawn(swallow, ac_nil, .daemon = true);
        for (int i = 0; i < 3; i++) {
            users[i].to[0] = to;
            users[i].to[1] = ac_spawn(swallow, ac_nil, .daemon = true, .loop = 1);
            ck_assert_int_eq(pthread_create(&users[i].thread, NULL, use_until_the_end, &users[i]),
                             0);
        }
        while (counted() == 0)
            sched_yield();
        ck_assert_int_eq(ac_finish(), 0);
        for (int i = 0; i < 3; i++)
            pthread_join(users[i].thread, NULL);
    }
}
