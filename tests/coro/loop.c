// SPDX-License-Identifier: MIT
// Tests of src/coro/loop.c: running and ending a loop, posts from other threads, loops in several
// threads, a loop that is driven from outside, random numbers.
#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>

static ac_value letter(ac_value it) {
    tell((char)ac_int_of(it));
    return ac_nil;
}

static double seconds_since(ac_time start) { return (double)(sys_clock() - start) * 1e-9; }

static struct loop *need(void) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    ck_assert_ptr_nonnull(loop);
    return loop;
}

// ---- running ----

TEST(there_is_nothing_to_run) {
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ac_run_with(NULL), 0);
    ck_assert_ptr_null(loop_here);
    need();
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_ptr_null(loop_here);
}

static ac_value run_inside(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_run(), -EPERM);
    tell('.');
    return ac_nil;
}

TEST(run_is_refused_inside_a_coroutine) {
    ac_spawn(run_inside, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, ".");
}

TEST(a_thread_may_run_one_loop_after_another) {
    ac_ref before = ac_no_ref;
    for (char it = 'a'; it <= 'e'; it++) {
        ac_ref ref = ac_spawn(letter, it);
        ck_assert(!ac_ref_equal(ref, before)); // references of former loops name nothing
        if (before.peer != 0)
            ck_assert_int_eq(ac_cancel(before), -ENOTSUP);
        before = ref;
        ck_assert_int_eq(ac_run(), 0);
        ck_assert_int_eq(ac_cancel(before), -ESRCH);
    }
    ck_assert_str_eq(story, "abcde");
}

static uint64_t seed_of_a_map(void) {
    struct map map;
    map_init(&map);
    ck_assert_int_eq(map_put_id(&map, 1, story), 0);
    uint64_t seed = map.seed;
    map_done(&map);
    return seed;
}

TEST(a_loop_gives_maps_a_seed) {
    need();
    uint64_t first = seed_of_a_map();
    ck_assert_int_eq(ac_run(), 0);
    need();
    ck_assert_uint_ne(seed_of_a_map(), first);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value sleep_in_thread(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(ac_sleep(0.005), 0);
    return ac_nil;
}

static void run_many(void *ends) {
    for (int i = 0; i < 100; i++)
        ac_spawn(sleep_in_thread, "text");
    *(int *)ends = ac_run();
}

TEST(each_thread_has_a_loop_of_its_own) {
    struct sys_thread *threads[2];
    int ends[2] = {1, 1};
    ac_time start = sys_clock();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(sys_thread_start(&threads[i], run_many, &ends[i], 256 << 10, "loop"), 0);
    int own = 1;
    run_many(&own);
    for (int i = 0; i < 2; i++)
        sys_thread_join(threads[i]);
    ck_assert_int_eq(own, 0);
    ck_assert_int_eq(ends[0], 0);
    ck_assert_int_eq(ends[1], 0);
    ck_assert_double_ge(seconds_since(start), 0.1);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
}

static ac_ref ref_of_main;

static void look_from_thread(void *result) {
    ck_assert_int_eq(ac_resume(ref_of_main, 0), -ESRCH); // no loop here
    ac_spawn(letter, 't');
    ck_assert_int_eq(ac_resume(ref_of_main, 0), -ENOTSUP);
    *(int *)result = ac_run();
}

TEST(a_reference_to_another_loop_is_not_served) {
    ref_of_main = ac_spawn(letter, 'm');
    struct sys_thread *thread;
    int result = 1;
    ck_assert_int_eq(sys_thread_start(&thread, look_from_thread, &result, 256 << 10, "look"), 0);
    sys_thread_join(thread);
    ck_assert_int_eq(result, 0);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, "tm");
}

TEST(an_idle_loop_uses_no_processor_time) {
    ac_spawn(sleep_in_thread, ac_nil);
    struct loop *loop = loop_here;
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_lt(loop->turns, 60); // 20 sleeps
    ck_assert_int_eq(ac_run(), 0);
}

// ---- the end: daemons ----

static ac_value sleep_regardless(ac_value mark) {
    ac_set_daemon(true);
    for (;;)
        (void)ac_sleep(0.01);
    return ac_hold(mark);
}
static ac_value yield_regardless(ac_value mark) {
    ac_set_daemon(true);
    for (;;)
        (void)ac_yield();
    return ac_hold(mark);
}
static ac_value suspend_regardless(ac_value mark) {
    ac_set_daemon(true);
    for (;;)
        (void)ac_suspend(NULL, AC_FOREVER);
    return ac_hold(mark);
}
static ac_value join_regardless(ac_value whom) {
    ac_set_daemon(true);
    int err;
    do
        err = ac_join(ac_ref_of(whom), NULL, AC_FOREVER);
    while (err != -ESRCH);
    for (;;)
        (void)ac_yield();
    return ac_hold(whom);
}
static ac_value return_it(ac_value it) { return ac_hold(it); }
static ac_value spawn_regardless(ac_value unused) {
    ac_set_daemon(true);
    for (;;) {
        ac_spawn(return_it, "text", .daemon = true, .joinable = true);
        ac_spawn(sleep_regardless, ac_nil, .daemon = true);
        (void)ac_sleep(0.1);
        (void)ac_yield();
    }
    return unused;
}

static void end_with(ac_function function, ac_value argument) {
    ac_time start = sys_clock();
    ac_spawn(function, argument, .name = "stubborn");
    ac_spawn(letter, '.');
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
    ck_assert_int_eq(story[0], '.');
}

TEST(a_daemon_that_sleeps_on_is_abandoned) { end_with(sleep_regardless, ac_of("text")); }
TEST(a_daemon_that_yields_on_is_abandoned) { end_with(yield_regardless, ac_of("text")); }
TEST(a_daemon_that_suspends_on_is_abandoned) { end_with(suspend_regardless, ac_of("text")); }
TEST(a_daemon_that_joins_on_is_abandoned) {
    end_with(join_regardless, ac_of(ac_spawn(sleep_regardless, "text")));
}

TEST(daemons_that_wait_for_one_another_are_abandoned) {
    ac_ref first = ac_spawn(yield_regardless, "text");
    for (int i = 0; i < 50; i++) {
        ac_spawn(join_regardless, first);
        first = ac_spawn(i % 2 ? yield_regardless : suspend_regardless, "text", .joinable = true);
        ac_spawn(join_regardless, first);
    }
    end_with(yield_regardless, ac_of("text"));
}

static int heirs_result;

static ac_value wait_as_heir(ac_value unused) {
    (void)unused;
    heirs_result = ac_suspend(NULL, AC_FOREVER);
    return ac_nil;
}
static ac_value leave_an_heir(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_suspend(NULL, AC_FOREVER), -ECANCELED);
    ac_spawn(wait_as_heir, ac_nil, .daemon = true);
    return ac_nil;
}

TEST(what_a_daemon_spawns_as_its_last_act_is_cancelled_too) {
    ac_spawn(leave_an_heir, ac_nil, .daemon = true);
    ac_spawn(return_it, ac_nil); // runs second
    ac_time start = sys_clock();
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(heirs_result, -ECANCELED);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
}

TEST(a_daemon_that_spawns_on_is_abandoned) {
    ac_spawn(spawn_regardless, ac_nil);
    ac_time start = sys_clock();
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
}

static ac_value clean_up_slowly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_suspend(NULL, AC_FOREVER), -ECANCELED);
    ac_spawn(letter, 'n'); // for cleaning up: is cancelled before it runs, or runs
    tell('c');
    return ac_nil;
}

TEST(daemons_are_let_clean_up) {
    for (int i = 0; i < 5; i++)
        ac_spawn(clean_up_slowly, ac_nil, .daemon = true);
    ac_spawn(letter, '.');
    ac_spawn(letter, '.');
    ck_assert_int_eq(ac_run(), 0);
    char cleaned[8] = "";
    for (const char *at = story; *at; at++)
        if (*at == 'c')
            strcat(cleaned, "c");
    ck_assert_str_eq(cleaned, "ccccc");
}

// What an abandoned coroutine had on its stack may be in somebody's list: nobody else gets it.
static volatile uint32_t *left_behind;

static ac_value leave_a_record(ac_value unused) {
    volatile uint32_t record[64];
    for (int i = 0; i < 64; i++)
        record[i] = 0x5a5a0000u + (uint32_t)i;
    left_behind = record;
    return sleep_regardless(unused);
}

static ac_value use_the_stack(ac_value unused) {
    volatile uint8_t much[16 << 10];
    for (size_t i = 0; i < sizeof much; i++)
        much[i] = 0xff;
    ck_assert_int_eq(ac_yield(), 0);
    tell(much[77] == 0xff ? 'g' : '?');
    return unused;
}

static void spawn_users(struct loop *loop, void *state) {
    (void)state;
    static const struct ac_spawn_options how = {.size = sizeof how};
    int err = 0;
    for (int i = 0; i < 8; i++)
        ck_assert_ptr_nonnull(coro_create(loop, use_the_stack, ac_nil, &how, true, &err));
}

static void look_at_the_record(struct loop *loop, void *state) {
    (void)loop, (void)state;
    for (int i = 0; i < 64; i++)
        ck_assert_uint_eq(left_behind[i], 0x5a5a0000u + (uint32_t)i);
    tell('D');
}

TEST(what_lies_on_the_stack_of_an_abandoned_coroutine_stays_until_all_floors_are_done) {
    loop_extend(need(), LOOP_REMOTE,
                (struct loop_extra){.stopping = spawn_users, .done = look_at_the_record});
    ac_spawn(leave_a_record, ac_nil);
    ac_spawn(letter, '.');
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, ".ggggggggD");
}

// ---- the end: what floors hang on a loop ----

static ac_value say_goodbye(ac_value mark) {
    ck_assert_int_eq(ac_sleep(0.01), 0);
    tell((char)ac_int_of(mark));
    return ac_nil;
}

static void stopping(struct loop *loop, void *state) {
    int err = 0;
    static const struct ac_spawn_options how = {.size = sizeof how};
    ck_assert_ptr_nonnull(coro_create(loop, say_goodbye, ac_of(*(char *)state), &how, true, &err));
}

static void done(struct loop *loop, void *state) {
    ck_assert_uint_eq(loop_living(loop), 0);
    tell((char)(*(char *)state - 'a' + 'A'));
}

static ac_value serve(ac_value mark) {
    while (ac_sleep(1000) == 0)
        continue;
    tell((char)ac_int_of(mark));
    return ac_nil;
}

TEST(floors_say_goodbye_from_the_top_before_their_own_coroutines_are_cancelled) {
    struct loop *loop = need();
    static char low = 'm', high = 'r';
    loop_extend(loop, LOOP_MESSAGE,
                (struct loop_extra){.state = &low, .stopping = stopping, .done = done});
    loop_extend(loop, LOOP_IO, (struct loop_extra){.state = NULL});
    loop_extend(loop, LOOP_REMOTE,
                (struct loop_extra){.state = &high, .stopping = stopping, .done = done});
    int err = 0;
    struct ac_spawn_options how = {.size = sizeof how, .daemon = true};
    ck_assert_ptr_nonnull(coro_create(loop, serve, ac_of('i'), &how, true, &err));
    ac_spawn(serve, 'u', .daemon = true);
    ac_spawn(letter, '.');
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, ".urmiRM");
}

// ---- posts ----

struct number_post {
    struct post post;
    int number;
    struct number_post **last; // of this sender
};

static int post_count;
static struct coro *sleeper;

static void take_number(struct post *post) {
    struct number_post *it = container_of(post, struct number_post, post);
    ck_assert_ptr_null(loop_here->running);
    if (*it->last)
        ck_assert_int_eq(it->number, (*it->last)->number + 1);
    *it->last = it;
    post_count++;
}

static void wake_sleeper(struct post *post) {
    (void)post;
    coro_wake(sleeper, 7);
}

enum { POSTS = 5000, POSTERS = 3 };

struct poster {
    struct sys_thread *thread;
    struct loop *loop;
    struct number_post *posts; // POSTS of them
    struct number_post *last;  // that arrived
    struct post end;
};

static int posters_left = POSTERS;

static void poster_ended(struct post *post) {
    (void)post;
    posters_left--;
    if (posters_left == 0 && sleeper)
        coro_wake(sleeper, 0);
}

static void send_posts(void *argument) {
    struct poster *poster = argument;
    for (int i = 0; i < POSTS; i++) {
        poster->posts[i] = (struct number_post){{NULL, take_number}, i, &poster->last};
        loop_post(poster->loop, &poster->posts[i].post);
    }
    poster->end.run = poster_ended;
    loop_post(poster->loop, &poster->end);
}

static bool let_go(struct coro *coro) {
    (void)coro;
    return true;
}
static const struct wait_kind until_woken = {"test", let_go, .until_deadline = false};

static int woken_with;

static ac_value wait_for_wake(ac_value unused) {
    (void)unused;
    sleeper = coro_here();
    woken_with = (int)coro_wait(sleeper, &until_woken, ac_after(20));
    return ac_nil;
}

static ac_value wait_for_posters(ac_value unused) {
    return posters_left > 0 ? wait_for_wake(unused) : ac_nil;
}

TEST(posts_of_each_thread_arrive_in_order_and_none_is_lost, .seconds_max = 60) {
    struct poster posters[POSTERS] = {0};
    need();
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = loop_here;
        posters[i].posts = calloc(POSTS, sizeof *posters[i].posts);
        ck_assert_int_eq(sys_thread_start(&posters[i].thread, send_posts, &posters[i], 256 << 10,
                                          "a name that is longer than fifteen"),
                         0);
    }
    ac_spawn(wait_for_posters, ac_nil);
    ck_assert_int_eq(loop_run(loop_here), 0);
    ck_assert_int_eq(woken_with, 0);
    ck_assert_int_eq(post_count, POSTS * POSTERS);
    for (int i = 0; i < POSTERS; i++) {
        sys_thread_join(posters[i].thread);
        free(posters[i].posts);
    }
    ck_assert_int_eq(ac_run(), 0);
}

static void wait_and_post(void *argument) {
    struct poster *poster = argument;
    ac_time until = sys_clock() + 50 * 1000 * 1000;
    while (sys_clock() < until)
        continue;
    poster->end.run = wake_sleeper;
    loop_post(poster->loop, &poster->end);
}

TEST(a_post_wakes_a_sleeping_loop) {
    ac_time start = sys_clock();
    ac_spawn(wait_for_wake, ac_nil);
    struct poster poster = {.loop = loop_here};
    ck_assert_int_eq(sys_thread_start(&poster.thread, wait_and_post, &poster, 256 << 10, "p"), 0);
    ck_assert_int_eq(loop_run(loop_here), 0);
    ck_assert_int_eq(woken_with, 7);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
    sys_thread_join(poster.thread);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value yield_until_woken(ac_value unused) {
    (void)unused;
    while (woken_with == 0)
        ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(a_post_reaches_a_busy_loop) {
    ac_spawn(wait_for_wake, ac_nil);
    ac_spawn(yield_until_woken, ac_nil);
    struct poster poster = {.loop = loop_here};
    ck_assert_int_eq(sys_thread_start(&poster.thread, wait_and_post, &poster, 256 << 10, "p"), 0);
    ck_assert_int_eq(loop_run(loop_here), 0);
    ck_assert_int_eq(woken_with, 7);
    sys_thread_join(poster.thread);
    ck_assert_int_eq(ac_run(), 0);
}

// Ping-pong with a thread: would hang if a wake-up were ever lost between the look and the sleep.
struct pinger {
    struct loop *loop;
    struct post post;
    uint32_t asked; // atomic
    uint32_t ended; // atomic
};

static void ping(void *argument) {
    struct pinger *pinger = argument;
    for (uint32_t answered = 0; !__atomic_load_n(&pinger->ended, __ATOMIC_ACQUIRE);) {
        if (__atomic_load_n(&pinger->asked, __ATOMIC_ACQUIRE) == answered)
            continue;
        answered++;
        loop_post(pinger->loop, &pinger->post);
    }
}

static struct pinger the_pinger;

static ac_value be_pinged(ac_value unused) {
    (void)unused;
    sleeper = coro_here();
    for (int i = 0; i < 2000; i++) {
        __atomic_fetch_add(&the_pinger.asked, 1, __ATOMIC_RELEASE);
        ck_assert_int_eq(coro_wait(sleeper, &until_woken, ac_after(10)), 7);
    }
    __atomic_store_n(&the_pinger.ended, 1, __ATOMIC_RELEASE);
    return ac_nil;
}

static void ping_pong(void) {
    the_pinger = (struct pinger){.loop = loop_here, .post.run = wake_sleeper};
    struct sys_thread *thread;
    ck_assert_int_eq(sys_thread_start(&thread, ping, &the_pinger, 256 << 10, "ping"), 0);
    ac_spawn(be_pinged, ac_nil);
    ck_assert_int_eq(loop_run(loop_here), 0);
    sys_thread_join(thread);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(no_wake_up_is_lost) {
    need();
    ping_pong();
}

// ---- polling before sleeping ----

// A poller that counts, with a clock of its own: to ask takes a microsecond, and who sleeps does so
// until the deadline.
static struct {
    struct sys_driver driver;
    const struct sys_driver *real;
    ac_time now;
    int asks;
    int sleeps;
} counter;

static ac_time count_time(struct sys *sys) {
    (void)sys;
    return counter.now;
}

static int count_poll(struct sys *sys, ac_time deadline) {
    (void)sys;
    ck_assert(deadline != AC_FOREVER);
    if (deadline <= counter.now) {
        counter.asks++;
        counter.now += 1000;
    } else {
        counter.sleeps++;
        counter.now = deadline;
    }
    return 0;
}

// The same by the clock of the system, which the sleeper of posts may sleep by.
static int count_real_poll(struct sys *sys, ac_time deadline) {
    *(deadline <= sys_clock() ? &counter.asks : &counter.sleeps) += 1;
    return counter.real->poll(sys, deadline);
}

static void count_asks(int (*poll)(struct sys *sys, ac_time deadline)) {
    memset(&counter, 0, sizeof counter);
    counter.real = need()->sys->driver;
    counter.driver = *counter.real;
    counter.driver.poll = poll;
    if (poll == count_poll)
        counter.driver.now = count_time;
    counter.now = 1000;
    loop_here->sys->driver = &counter.driver;
    loop_here->now = counter.now;
}

static ac_value sleep_thrice(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        ac_time until = ac_now() + 1000 * 1000;
        ck_assert_int_eq(ac_sleep_until(until), 0);
        ck_assert_int_ge(ac_now(), until);
    }
    return ac_nil;
}

static void poll_for(uint32_t poll_us) {
    count_asks(count_poll);
    ac_spawn(sleep_thrice, ac_nil);
    ck_assert_int_eq(ac_run(.poll_us = poll_us), 0);
}

TEST(a_loop_polls_for_so_long_before_each_sleep) {
    poll_for(0);
    ck_assert_int_eq(counter.sleeps, 3);
    int asks = counter.asks; // by which it looks at sockets in between
    ck_assert_int_lt(asks, 10);
    poll_for(50);
    ck_assert_int_eq(counter.sleeps, 3);
    ck_assert_int_ge(counter.asks, 3 * 50);
    ck_assert_int_le(counter.asks, 3 * 50 + asks);
}

TEST(a_loop_that_polls_until_the_next_deadline_does_not_sleep) {
    poll_for(1000);
    ck_assert_int_eq(counter.sleeps, 0);
    ck_assert_int_ge(counter.asks, 2990);
    ck_assert_int_lt(counter.asks, 3010);
    poll_for(UINT32_MAX);
    ck_assert_int_eq(counter.sleeps, 0);
}

TEST(a_loop_that_polls_takes_posts_and_needs_no_waking) {
    count_asks(count_real_poll);
    ac_spawn(wait_for_wake, ac_nil);
    loop_here->poll_ns = 1000 * 1000 * 1000;
    struct poster poster = {.loop = loop_here};
    ck_assert_int_eq(sys_thread_start(&poster.thread, wait_and_post, &poster, 256 << 10, "p"), 0);
    ck_assert_int_eq(loop_run(loop_here), 0);
    ck_assert_int_eq(woken_with, 7);
    ck_assert_int_eq(counter.sleeps, 0);
    ck_assert_int_gt(counter.asks, 100);
    sys_thread_join(poster.thread);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(no_wake_up_is_lost_between_polling_and_sleeping) {
    count_asks(count_real_poll);
    loop_here->poll_ns = 10 * 1000;
    ping_pong();
}

// ---- a loop that is driven from outside ----

static ac_value tick(ac_value times) {
    for (int64_t i = 0; i < ac_int_of(times); i++) {
        ck_assert_int_eq(ac_sleep(0.01), 0);
        tell('.');
    }
    return ac_nil;
}

TEST(a_loop_can_be_driven_turn_by_turn) {
    int err = 0;
    struct loop *loop = loop_create(&sys_chosen, 42, &err);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(loop_due(loop), AC_FOREVER);
    ck_assert_int_eq(loop_turn(loop), 0);
    struct coro *coro = coro_create(loop, tick, ac_of(3), NULL, false, &err);
    ck_assert_uint_eq(coro_ref(coro).peer, 42);
    ck_assert_int_eq(loop_due(loop), AC_NOW);
    ck_assert_ptr_null(loop_here);
    sys_context_of_thread(&loop->home);
    ac_time before = sys_clock();
    ck_assert_int_eq(loop_turn(loop), 0);
    ck_assert_ptr_null(loop_here);
    ck_assert_int_ge(loop_due(loop), before + 10000000);
    ck_assert_int_le(loop_due(loop), sys_clock() + 10000000);
    int turns = 0;
    while (loop->alive > 0) {
        while (sys_clock() < loop_due(loop))
            continue;
        ck_assert_int_eq(loop_turn(loop), 0);
        turns++;
    }
    ck_assert_int_eq(turns, 3);
    ck_assert_str_eq(story, "...");
    struct number_post it = {.post.run = take_number, .last = &(struct number_post *){NULL}};
    loop_post(loop, &it.post);
    ck_assert_int_eq(loop_due(loop), AC_NOW);
    ck_assert_int_eq(loop_turn(loop), 0);
    ck_assert_int_eq(post_count, 1);
    loop_destroy(loop);
}

static ac_value yield_for_ever(ac_value unused) {
    while (ac_yield() == 0)
        continue;
    return unused;
}

TEST(a_turn_ends_also_when_coroutines_are_always_ready) {
    int err = 0;
    struct loop *loop = loop_create(&sys_chosen, 0, &err);
    ck_assert_uint_ne(loop->peer, 0);
    struct coro *coro = coro_create(loop, yield_for_ever, ac_nil, NULL, false, &err);
    sys_context_of_thread(&loop->home);
    for (int i = 0; i < 20; i++) {
        ac_time start = sys_clock();
        ck_assert_int_eq(loop_turn(loop), 0);
        ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
        ck_assert_int_eq(loop_due(loop), AC_NOW);
    }
    coro_cancel(coro);
    ck_assert_int_eq(loop_turn(loop), 0);
    ck_assert_uint_eq(loop_living(loop), 0);
    loop_destroy(loop);
}

// ---- errors ----

static struct sys *create_nothing(int *err) {
    *err = -EMFILE;
    return NULL;
}

TEST(a_loop_without_a_poller_cannot_be_made) {
    struct sys_driver none = {.create = create_nothing};
    int err = 0;
    ck_assert_ptr_null(loop_create(&none, 0, &err));
    ck_assert_int_eq(err, -EMFILE);
}

static int fail_poll(struct sys *sys, ac_time deadline) {
    (void)sys, (void)deadline;
    return -EBADF;
}
static struct sys_driver failing;

static ac_value break_the_poller(ac_value unused) {
    failing = *loop_here->sys->driver;
    failing.poll = fail_poll;
    loop_here->sys->driver = &failing;
    ck_assert_int_eq(ac_sleep(100), -ECANCELED);
    tell('!');
    return ac_hold(unused);
}

static ac_value clean_up_deaf(ac_value unused) {
    ck_assert_int_eq(ac_sleep(100), -ECANCELED);
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    tell('s');
    return unused;
}

TEST(an_error_of_the_poller_ends_the_loop_and_all_clean_up) {
    ac_spawn(break_the_poller, "text");
    ac_spawn(clean_up_deaf, 1000);
    ck_assert_int_eq(ac_run(), -EBADF);
    ck_assert_ptr_null(loop_here);
    ck_assert_str_eq(story, "!s");
    ac_spawn(letter, '.');
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, "!s.");
}

TEST(making_a_loop_survives_the_failure_of_any_allocation) {
    struct loop *loop = NULL;
    int err = 0;
    for (int n = 1; !loop; n++) {
        ck_assert_int_lt(n, 50);
        memory_fail_nth(n);
        err = 0;
        loop = loop_create(&sys_chosen, 0, &err);
        ck_assert(loop || err == -ENOMEM);
    }
    ck_assert(!memory_has_failed());
    memory_fail_nth(0);
    loop_destroy(loop);
}

// ---- time ----

TEST(deadlines_are_never_early_and_know_their_limits) {
    ac_time now = ac_now();
    ck_assert_int_ge(ac_after(0), now);
    ck_assert_int_le(ac_after(-1), ac_now());
    ck_assert_int_le(ac_after((double)NAN), ac_now());
    ck_assert_int_eq(ac_after((double)INFINITY), AC_FOREVER);
    ck_assert_int_eq(ac_after(1e300), AC_FOREVER);
    ck_assert_int_eq(ac_after(9.3e9), AC_FOREVER);
    ck_assert_int_lt(ac_after(8e9), AC_FOREVER);
    now = ac_now();
    ck_assert_int_ge(ac_after(1.5) - now, 1500000000);
    now = ac_now();
    ck_assert_int_ge(ac_after(1e-10) - now, 1);
}

static ac_time stand_still(struct sys *sys) {
    (void)sys;
    return 1000;
}

TEST(parts_of_a_nanosecond_are_rounded_up) {
    static struct sys_driver still;
    const struct sys_driver *driver = need()->sys->driver;
    still = *driver;
    still.now = stand_still;
    loop_here->sys->driver = &still;
    ck_assert_int_eq(ac_after(1e-10), 1001);
    ck_assert_int_eq(ac_after(1.25e-7), 1125);
    ck_assert_int_eq(ac_after(1.5e-9), 1002);
    loop_here->sys->driver = driver;
    ck_assert_int_eq(ac_run(), 0);
}

// ---- a turn ----

static ac_value await_turn(ac_value unused) {
    (void)unused;
    struct loop *loop = loop_here;
    uint64_t before = loop->turns;
    tell('a');
    ck_assert_int_eq(loop_await_turn(), 0);
    tell('c');
    ck_assert_uint_gt(loop->turns, before);
    // One that is cancelled meanwhile learns of it the next time that it waits.
    coro_cancel(coro_here());
    ck_assert_int_eq(loop_await_turn(), -ECANCELED);
    return ac_nil;
}

TEST(who_waits_for_a_turn_runs_after_all_that_is_ready) {
    ac_spawn(await_turn, ac_nil);
    ac_spawn(letter, 'b');
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, "abc");
}

static ac_value clean_up_behind_a_turn(ac_value unused) {
    (void)unused;
    int err = loop_await_turn();
    ck_assert(err == 0 || err == -ECANCELED);
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_sleep(0.001), 0); // it ends
    ck_assert_int_eq(ac_shield_end(), 0);
    tell('d');
    return ac_nil;
}

static ac_value cancel_in_a_turn(ac_value unused) {
    (void)unused;
    ac_ref other = ac_spawn(clean_up_behind_a_turn, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(other), 0);
    return ac_nil;
}

TEST(who_is_cancelled_while_it_waits_for_a_turn_can_clean_up) {
    ac_spawn(cancel_in_a_turn, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_str_eq(story, "d");
}

// ---- random numbers ----

TEST(random_numbers_keep_their_bounds) {
    bool seen[7] = {false};
    for (int i = 0; i < 1000; i++) {
        int64_t it = ac_random_int(-3, 3);
        ck_assert(it >= -3 && it <= 3);
        seen[it + 3] = true;
        double real = ac_random_real(-1, 1.5);
        ck_assert(real >= -1 && real < 1.5);
    }
    for (int i = 0; i < 7; i++)
        ck_assert(seen[i]);
    ck_assert_int_eq(ac_random_int(5, 5), 5);
    ck_assert_int_eq(ac_random_int(5, 4), 5);
    ck_assert(ac_random_real(2, 2) == 2);
    ck_assert(ac_random_real(2, 1) == 2);
    ck_assert(ac_random_real((double)NAN, 1) != 0);
    bool negative = false, positive = false;
    for (int i = 0; i < 200; i++) {
        int64_t it = ac_random_int(INT64_MIN, INT64_MAX);
        negative |= it < 0;
        positive |= it > 0;
        ck_assert_int_ge(ac_random_int(INT64_MAX - 1, INT64_MAX), INT64_MAX - 1);
        ck_assert_int_le(ac_random_int(INT64_MIN, INT64_MIN + 1), INT64_MIN + 1);
    }
    ck_assert(negative && positive);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(random_numbers_are_even) {
    int counts[10] = {0};
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        counts[ac_random_int(0, 9)]++;
        sum += ac_random_real(0, 1);
    }
    for (int i = 0; i < 10; i++)
        ck_assert(counts[i] > 9300 && counts[i] < 10700); // seven standard deviations
    ck_assert(sum > 49300 && sum < 50700);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(a_random_number_makes_no_loop) {
    ck_assert_int_eq(ac_random_int(5, 5), 5);
    (void)ac_random_int(0, 9);
    (void)ac_random_real(0, 1);
    ck_assert_ptr_null(loop_here);
}
