// SPDX-License-Identifier: MIT
// Tests of src/coro/team.c: loops that run one program, the order on the lanes between them, when
// they sleep, and how they end.
#include "coro/coro.h"
#include "coro/poller.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>
#include <time.h>

#ifdef SYS_TSAN
enum { MANY = 2000 };
#else
enum { MANY = 20000 };
#endif

static int count; // atomic

static int add_one(void) { return __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST); }
static int counted(void) { return __atomic_load_n(&count, __ATOMIC_SEQ_CST); }

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run(ac_function function, uint32_t loops) {
    ck_assert(ac_ref_is(ac_spawn(function, ac_nil)));
    ck_assert_int_eq(ac_run(.loops = loops), 0);
    ck_assert_ptr_null(loop_here);
}

// ---- how many loops ----

static ac_value note_loop(ac_value expected) {
    ck_assert_int_eq(ac_loop(), ac_int_of(expected));
    add_one();
    return ac_nil;
}

static ac_value spawn_on_each(ac_value loops) {
    ck_assert_int_eq(ac_loops(), ac_int_of(loops));
    ck_assert_int_eq(ac_loop(), 1);
    for (int i = 1; i <= ac_int_of(loops); i++)
        ck_assert(ac_ref_is(ac_spawn(note_loop, i, .loop = i)));
    ck_assert_int_eq(ac_ref_error(ac_spawn(note_loop, 0, .loop = (int)ac_int_of(loops) + 1)),
                     -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_spawn(note_loop, 0, .loop = -2)), -EINVAL);
    return ac_nil;
}

static void each_runs(int loops) {
    count = 0;
    ac_spawn(spawn_on_each, loops);
    ck_assert_int_eq(ac_loops(), 1);
    ck_assert_int_eq(ac_run(.loops = (uint32_t)loops), 0);
    ck_assert_int_eq(counted(), loops);
}

TEST(a_program_has_as_many_loops_as_it_asks_for) {
    ck_assert_int_eq(ac_loops(), 0);
    ck_assert_int_eq(ac_loop(), 0);
    each_runs(1);
    each_runs(2);
    each_runs(5);
}

TEST(sixty_three_loops_are_the_most, .seconds_max = 120) {
    each_runs(63);
    ac_spawn(note_loop, 1);
    ck_assert_int_eq(ac_run(.loops = 64), -EINVAL);
    ck_assert_int_eq(counted(), 63); // nothing has run
    each_runs(2);
}

TEST(without_coroutines_several_loops_end_at_once) {
    int err;
    ck_assert_ptr_nonnull(loop_need(&err));
    ck_assert_int_eq(ac_run(.loops = 4), 0);
}

static ac_value nothing(ac_value unused) { return unused; }

TEST(loops_for_which_there_is_no_memory_end_the_run) {
    for (long n = 1;; n++) {
        ac_spawn(nothing, ac_nil);
        memory_fail_nth(n);
        int err = ac_run(.loops = 3);
        bool failed = memory_has_failed();
        memory_fail_nth(0);
        if (!failed)
            break;
        ck_assert(err == 0 || err == -ENOMEM);
    }
}

// ---- where coroutines go ----

static int on_loop[5]; // atomic

static ac_value note_where(ac_value unused) {
    (void)unused;
    __atomic_fetch_add(&on_loop[ac_loop()], 1, __ATOMIC_SEQ_CST);
    return ac_nil;
}

static ac_value spread(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 4 * 100; i++)
        ck_assert(ac_ref_is(ac_spawn(note_where, ac_nil, .loop = AC_SPREAD)));
    return ac_nil;
}

TEST(spreading_gives_each_loop_the_same_number) {
    run(spread, 4);
    for (int i = 1; i <= 4; i++)
        ck_assert_int_eq(on_loop[i], 100);
}

// ---- the order on a lane ----

struct numbered {
    struct post post;
    int number;
};

static int last;  // touched by the second loop alone
static bool open; // atomic: the second loop may go on

static void note_number(struct post *post) {
    struct numbered *it = container_of(post, struct numbered, post);
    ck_assert_int_eq(it->number, last);
    last++;
    free(it);
}

static ac_value compute_until_open(ac_value unused) {
    (void)unused;
    while (!__atomic_load_n(&open, __ATOMIC_ACQUIRE))
        continue;
    return ac_nil;
}

static void post_next(int number) {
    struct numbered *it = malloc(sizeof *it);
    *it = (struct numbered){.post.run = note_number, .number = number};
    team_post(loop_here, team_nth(loop_here, 2), &it->post);
}

static ac_value post_many(ac_value unused) {
    (void)unused;
    for (int i = 0; i < MANY; i++) {
        post_next(i);
        if (i % 1000 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(posts_arrive_in_order) {
    run(post_many, 2);
    ck_assert_int_eq(last, MANY);
}

// Each allocation that a post makes fails, for a lane at first, then for its chunks.
static ac_value post_without_memory(ac_value unused) {
    (void)unused;
    ac_spawn(compute_until_open, ac_nil, .loop = 2);
    for (int i = 0; i < 5000; i++) {
        memory_fail_nth(i < 1000 ? 1 : 0);
        post_next(i);
        memory_fail_nth(0);
    }
    __atomic_store_n(&open, true, __ATOMIC_RELEASE);
    for (int i = 5000; i < MANY + 5000; i++) {
        memory_fail_nth(i % 3 == 0);
        post_next(i);
        memory_fail_nth(0);
        if (i % 100 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(posts_need_no_memory_and_keep_their_order) {
    run(post_without_memory, 2);
    ck_assert_int_eq(last, MANY + 5000);
}

static ac_value post_to_new_lane(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 100; i++) {
        memory_fail_nth(1);
        post_next(i);
        memory_fail_nth(0);
        post_next(++i);
    }
    return ac_nil;
}

TEST(posts_for_which_no_lane_can_be_made_keep_their_order) {
    run(post_to_new_lane, 2);
    ck_assert_int_eq(last, 100);
}

// ---- sleeping and waking ----

static ac_value answer(ac_value to) {
    ck_assert_int_eq(ac_send(ac_ref_of(to), ac_loop()), 0);
    return ac_nil;
}

static ac_value ask_all(ac_value unused) {
    (void)unused;
    for (int loop = 1; loop <= 4; loop++) {
        ac_value message;
        ac_spawn(answer, ac_self(), .loop = loop);
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        ck_assert_int_eq(ac_int_of(message), loop);
    }
    return ac_nil;
}

static ac_value idle(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        ask_all(ac_nil);
        ck_assert_int_eq(ac_sleep(0.01), 0); // the spinning is over
        double before = cpu_seconds();
        ck_assert_int_eq(ac_sleep(0.3), 0);
        ck_assert(cpu_seconds() - before < 0.05);
    }
    ask_all(ac_nil);
    return ac_nil;
}

TEST(idle_loops_sleep_and_wake) { run(idle, 4); }

enum { ROUNDS = MANY / 4 };

static ac_value bounce(ac_value other) {
    ac_value message;
    ac_ref to = ac_ref_of(other);
    bool begins = ac_ref_is(to);
    for (int i = 0; i < ROUNDS; i++) {
        if (begins)
            ck_assert_int_eq(ac_send(to, ac_self()), 0);
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        if (!begins)
            ck_assert_int_eq(ac_send(ac_ref_of(message), i), 0);
        else
            ck_assert_int_eq(ac_int_of(message), i);
        ac_drop(message);
        // Once in a while the other side falls asleep.
        if (begins && i % (ROUNDS / 20) == 0)
            ck_assert_int_eq(ac_sleep(0.003), 0);
    }
    return ac_nil;
}

static ac_value bounce_on_loops(ac_value unused) {
    (void)unused;
    for (int i = 2; i <= 4; i++) {
        ac_ref wall = ac_spawn(bounce, ac_nil, .loop = i);
        ck_assert(ac_ref_is(ac_spawn(bounce, wall, .loop = i - 1)));
    }
    return ac_nil;
}

TEST(no_wake_up_is_lost) { run(bounce_on_loops, 4); }

static ac_value note_polling(ac_value polling_ns) {
    ck_assert_int_eq(loop_here->poll_ns, ac_int_of(polling_ns));
    return ac_nil;
}

static ac_value bounce_polling(ac_value polling_ns) {
    note_polling(polling_ns);
    ck_assert(ac_ref_is(ac_spawn(note_polling, polling_ns, .loop = 2)));
    return bounce_on_loops(ac_nil);
}

static void poll_for(uint32_t poll_us) {
    ac_spawn(bounce_polling, (int64_t)poll_us * 1000);
    ck_assert_int_eq(ac_run(.loops = 4, .poll_us = poll_us), 0);
    ck_assert_ptr_null(loop_here);
}

TEST(no_wake_up_is_lost_where_all_loops_poll) {
    poll_for(5);
    poll_for(100);
}

// ---- the end ----

static int begun; // atomic: how many coroutines run, who begin to count

static ac_value sleep_long(ac_value unused) {
    (void)unused;
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
    if (ac_sleep(1000) == -ECANCELED)
        add_one();
    return ac_nil;
}

static void await_begun(int wanted) {
    while (__atomic_load_n(&begun, __ATOMIC_SEQ_CST) < wanted)
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

static ac_value spawn_daemons(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 40; i++)
        ac_spawn(sleep_long, ac_nil, .loop = AC_SPREAD, .daemon = true);
    await_begun(40); // who has not begun does not know of its cancellation
    return ac_nil;
}

TEST(daemons_are_cancelled_on_all_loops) {
    run(spawn_daemons, 4);
    ck_assert_int_eq(counted(), 40);
}

static ac_value work_for_a_while(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.02), 0);
    add_one();
    return ac_nil;
}

static ac_value spawn_and_end(ac_value generations) {
    if (ac_int_of(generations) == 0)
        return work_for_a_while(ac_nil);
    ac_spawn(spawn_and_end, ac_int_of(generations) - 1, .loop = AC_SPREAD);
    ac_spawn(spawn_and_end, ac_int_of(generations) - 1, .loop = 3);
    return ac_nil;
}

static ac_value spawn_generations(ac_value unused) {
    (void)unused;
    return spawn_and_end(ac_of_int(6));
}

TEST(a_program_runs_until_nothing_is_alive_on_any_loop) {
    for (int i = 0; i < 5; i++) {
        count = 0;
        run(spawn_generations, 3);
        ck_assert_int_eq(counted(), 64);
    }
}

static ac_value become_daemon(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_set_daemon(true), 0);
    return sleep_long(ac_nil);
}

static ac_value spawn_future_daemon(ac_value unused) {
    (void)unused;
    ac_spawn(become_daemon, ac_nil, .loop = 2);
    return ac_nil;
}

TEST(who_becomes_a_daemon_elsewhere_keeps_nobody) {
    run(spawn_future_daemon, 2);
    ck_assert_int_eq(counted(), 1);
}

static ac_value fails(ac_value unused) {
    (void)unused;
    return ac_of_error(-EDOM, "as asked");
}

static ac_value spawn_failure(ac_value unused) {
    (void)unused;
    ac_spawn(fails, ac_nil, .loop = 2);
    return ac_nil;
}

TEST(a_failure_that_nobody_saw_is_that_of_the_run) {
    ac_spawn(spawn_failure, ac_nil);
    ck_assert_int_eq(ac_run(.loops = 3), -EDOM);
    ac_spawn(spawn_failure, ac_nil);
    ck_assert_int_eq(ac_run(.loops = 2), -EDOM);
}

static ac_value spawn_joinable(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 8; i++)
        ac_spawn(fails, ac_nil, .loop = AC_SPREAD, .joinable = true);
    ac_ref there = ac_spawn(nothing, ac_nil, .loop = 2, .joinable = true);
    ck_assert_int_eq(ac_join(there, NULL, AC_FOREVER), 0);
    return ac_nil;
}

TEST(an_end_that_is_kept_and_that_nobody_asks_for_is_unseen) {
    ac_spawn(spawn_joinable, ac_nil);
    ck_assert_int_eq(ac_run(.loops = 3), -EDOM);
}

// While the others end, each spawns on all of them: none of it may be lost or run for ever.
static ac_value spawn_when_cancelled(ac_value generations) {
    (void)ac_sleep(1000);
    for (int i = 1; i <= 3 && ac_int_of(generations) > 0; i++)
        ac_spawn(spawn_when_cancelled, ac_int_of(generations) - 1, .loop = i, .daemon = i % 2 == 0,
                 .joinable = i == 3);
    return ac_list("dropped", 1);
}

static ac_value spawn_stubborn(ac_value unused) {
    (void)unused;
    for (int i = 1; i <= 3; i++)
        ac_spawn(spawn_when_cancelled, 3, .loop = i, .daemon = true);
    return ac_nil;
}

TEST(what_is_spawned_elsewhere_at_the_end_ends) {
    for (int i = 0; i < 10; i++)
        run(spawn_stubborn, 3);
}

// ---- a poller that is lost ----

static ac_value tell_and_sleep(ac_value whom) {
    ck_assert_int_eq(ac_send(ac_ref_of(whom), 0), 0);
    return sleep_long(ac_nil);
}

static ac_value break_on(ac_value nth) {
    for (int i = 1; i <= 3; i++)
        ck_assert(ac_ref_is(ac_spawn(tell_and_sleep, ac_self(), .loop = i)));
    ac_value message; // who has not begun would not know of its cancellation
    for (int i = 1; i <= 3; i++)
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
    ck_assert(ac_ref_is(ac_spawn(break_poller, ac_nil, .loop = (int)ac_int_of(nth))));
    (void)sleep_long(ac_nil);
    return ac_of_error(-EDOM, "not seen: that of the poller goes before");
}

TEST(the_program_ends_when_any_loop_loses_its_poller) {
    for (int nth = 1; nth <= 3; nth++) {
        count = 0;
        ck_assert(ac_ref_is(ac_spawn(break_on, nth)));
        ck_assert_int_eq(ac_run(.loops = 3), poller_gone);
        ck_assert_int_eq(counted(), 4); // all were cancelled
    }
}

static ac_value compute_long(ac_value unused) {
    (void)unused;
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
    for (ac_time until = sys_clock() + 300 * 1000 * 1000; sys_clock() < until;)
        continue;
    add_one();
    return ac_nil;
}

static ac_value leave_computing(ac_value unused) {
    (void)unused;
    ac_spawn(compute_long, ac_nil, .loop = 2, .daemon = true);
    await_begun(1);
    return ac_nil;
}

TEST(the_end_waits_for_a_loop_that_computes) {
    run(leave_computing, 3);
    ck_assert_int_eq(counted(), 1);
}
