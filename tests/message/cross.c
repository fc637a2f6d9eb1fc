// SPDX-License-Identifier: MIT
// Tests of src/message/cross.c: messages, notices and channels between the loops of a program, and
// messages from threads without a loop.
#include "message/message.h"
#include "message/next.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>

#ifdef SYS_TSAN
enum { MANY = 2000, BURST = 50000, RACES = 100 };
#elif defined(SYS_ASAN)
enum { MANY = 5000, BURST = 100000, RACES = 500 };
#else
enum { MANY = 50000, BURST = 1000000, RACES = 2000 };
#endif

static void run(ac_function function, uint32_t loops) {
    ck_assert(ac_ref_is(ac_spawn(function, ac_nil)));
    ck_assert_int_eq(ac_run(.loops = loops), 0);
}

static void expect_nothing(void) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_NOW), -ETIMEDOUT);
}

static ac_ref ref_at(ac_value list, size_t i) {
    ac_value it = ac_at(list, i);
    ac_ref ref = ac_ref_of(it);
    ac_drop(it);
    return ref;
}

static ac_value swallow(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    return ac_nil;
}

// On each loop but the caller's, by a flag: computes until it is let go.
static bool computes, open; // atomic

static ac_value compute_until_open(ac_value unused) {
    (void)unused;
    __atomic_store_n(&computes, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&open, __ATOMIC_ACQUIRE))
        continue;
    return ac_nil;
}

static void let_compute(int loop) {
    __atomic_store_n(&computes, false, __ATOMIC_RELEASE);
    __atomic_store_n(&open, false, __ATOMIC_RELEASE);
    ac_spawn(compute_until_open, ac_nil, .loop = loop);
    while (!__atomic_load_n(&computes, __ATOMIC_ACQUIRE))
        ck_assert_int_eq(ac_sleep(0.001), 0);
}

static void let_go(void) { __atomic_store_n(&open, true, __ATOMIC_RELEASE); }

// ---- sending ----

static ac_value receive_in_order(ac_value messages) {
    for (long i = 0; i < ac_int_of(messages); i++)
        ck_assert_int_eq(ac_int_of(next_message()), i);
    expect_nothing();
    add(1);
    return ac_nil;
}

static ac_value send_in_order(ac_value unused) {
    (void)unused;
    ac_ref to = ac_spawn(receive_in_order, MANY, .loop = 2);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(ac_send(to, i), 0);
        if (i % 100 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(messages_to_another_loop_arrive_in_order) {
    run(send_in_order, 2);
    ck_assert_int_eq(counted(), 1);
}

static ac_value send_burst(ac_value unused) {
    (void)unused;
    let_compute(2);
    ac_ref to = ac_spawn(receive_in_order, BURST, .loop = 2);
    for (int i = 0; i < BURST; i++)
        ck_assert_int_eq(ac_send(to, i), 0);
    let_go();
    return ac_nil;
}

TEST(a_burst_waits_for_a_loop_that_does_not_read, .seconds_max = 120) {
    run(send_burst, 2);
    ck_assert_int_eq(counted(), 1);
}

static long taken; // on the second loop

// A microsecond or so for each message, and none has to be waited for.
static ac_value take_slowly(ac_value unused) {
    (void)unused;
    for (; taken < MANY; taken++) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        ck_assert_int_eq(ac_int_of(message), taken);
        for (volatile int i = 0; i < 1000; i++)
            continue;
    }
    return ac_nil;
}

static ac_value sleep_meanwhile(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_lt(taken, MANY);
    add(1);
    return ac_nil;
}

static ac_value send_to_slow_one(ac_value unused) {
    (void)unused;
    let_compute(2);
    ac_spawn(sleep_meanwhile, ac_nil, .loop = 2);
    ac_ref to = ac_spawn(take_slowly, ac_nil, .loop = 2);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(ac_send(to, i), 0);
    let_go();
    return ac_nil;
}

TEST(timers_run_while_messages_are_there) {
    run(send_to_slow_one, 2);
    ck_assert_int_eq(counted(), 1);
}

enum { LOOPS = 4 };

static ac_value add_up(ac_value messages) {
    long sum = 0;
    for (long i = 0; i < ac_int_of(messages); i++)
        sum += ac_int_of(next_message());
    expect_nothing();
    add(sum);
    return ac_nil;
}

static ac_value send_to_all(ac_value receivers) {
    for (int i = 0; i < MANY; i++)
        for (size_t n = 0; n < LOOPS; n++) {
            ac_ref to = ref_at(receivers, n);
            ck_assert_int_eq(ac_send(to, 1), 0);
        }
    return ac_nil;
}

static ac_value exchange(ac_value unused) {
    (void)unused;
    ac_ref to[LOOPS];
    for (int i = 0; i < LOOPS; i++)
        to[i] = ac_spawn(add_up, LOOPS * MANY, .loop = i + 1);
    for (int i = 0; i < LOOPS; i++)
        ac_spawn(send_to_all, ac_list(to[0], to[1], to[2], to[3]), .loop = i + 1);
    return ac_nil;
}

TEST(all_messages_between_all_loops_arrive, .seconds_max = 120) {
    run(exchange, LOOPS);
    ck_assert_int_eq(counted(), (long)LOOPS * LOOPS * MANY);
}

static ac_value check_shared(ac_value unused) {
    (void)unused;
    for (int i = 0; i < MANY / 10; i++) {
        ac_value message = next_message();
        for (int n = 0; n < 10; n++)
            ac_drop(ac_hold(message));
        ck_assert_int_eq(ac_count(message), 3);
        ac_drop(message);
    }
    add(1);
    return ac_nil;
}

static ac_value share(ac_value unused) {
    (void)unused;
    ac_ref to[3];
    for (int i = 0; i < 3; i++)
        to[i] = ac_spawn(check_shared, ac_nil, .loop = i + 1);
    ac_value text = ac_of_text("a text that is too long for a value itself");
    ac_value shared = ac_list(ac_hold(text), ac_self(), 7);
    for (int i = 0; i < MANY / 10; i++)
        for (int n = 0; n < 3; n++)
            ck_assert_int_eq(ac_send(to[n], ac_hold(shared)), 0);
    ac_drop(text);
    ac_drop(shared);
    return ac_nil;
}

TEST(what_the_sender_holds_is_copied) {
    run(share, 3);
    ck_assert_int_eq(counted(), 3);
}

static ac_value nothing(ac_value unused) { return ac_hold(unused); }

static ac_value send_badly(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(nothing, ac_nil, .loop = 2);
    ck_assert_int_eq(ac_monitor(there), 0);
    (void)next_exit();
    ck_assert_int_eq(ac_send(there, ac_list("dropped")), -ESRCH);
    ck_assert_int_eq(ac_deliver(there, ac_list("dropped"), ac_after(20)), -ESRCH);
    ck_assert_int_eq(ac_try_send(there, ac_list("dropped")), -ESRCH);
    ac_ref function = {there.peer, (there.id & ~3ull) | REF_FUNCTION};
    ck_assert_int_eq(ac_send(function, ac_list("dropped")), -ENOTSUP);
    ck_assert_int_eq(ac_monitor(function), -ENOTSUP);
    ac_ref nowhere = {there.peer, there.id | 63 << 2};
    ck_assert_int_eq(ac_send(nowhere, ac_list("dropped")), -ESRCH);
    ck_assert_int_eq(ac_deliver(nowhere, ac_list("dropped"), ac_after(20)), -ESRCH);
    ck_assert_int_eq(ac_monitor(nowhere), -ESRCH);
    return ac_nil;
}

TEST(what_cannot_be_sent_to_another_loop_is_refused) { run(send_badly, 2); }

static ac_value forge(ac_value victim) {
    ac_ref afar = ac_ref_of(victim);
    afar.peer++;
    ck_assert_int_eq(ac_send(afar, ac_list("dropped")), -EHOSTUNREACH);
    ck_assert_int_eq(ac_deliver(afar, ac_list("dropped"), ac_after(20)), -EHOSTUNREACH);
    ck_assert_int_eq(ac_monitor(afar), 0);
    struct ac_exit exit = next_exit();
    ck_assert(exit.how == AC_LOST && ac_ref_equal(exit.who, afar));
    add(1);
    return ac_nil;
}

static ac_value forge_on_both(ac_value unused) {
    (void)unused;
    ac_spawn(forge, ac_self(), .loop = 2);
    ac_spawn(forge, ac_self(), .loop = 2);
    return ac_nil;
}

TEST(without_a_network_no_loop_reaches_other_processes) {
    run(forge_on_both, 2);
    ck_assert_int_eq(counted(), 2);
}

// ---- delivering ----

static ac_value deliver(ac_value unused) {
    (void)unused;
    ac_ref to = ac_spawn(swallow, ac_nil, .loop = 2, .daemon = true);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ac_deliver(to, ac_list("a message", i), ac_after(20)), 1);
    let_compute(2);
    ck_assert_int_eq(ac_deliver(to, ac_list("a message"), ac_after(0.02)), 0);
    ck_assert_int_eq(ac_deliver(to, ac_list("a message"), AC_NOW), 0);
    let_go();
    ck_assert_int_eq(ac_deliver(to, ac_list("a message"), ac_after(20)), 1);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_deliver(to, ac_list("a message"), AC_FOREVER), -ECANCELED);
    return ac_nil;
}

TEST(delivering_to_another_loop_tells_what_is_known_in_time) { run(deliver, 2); }

// ---- monitors ----

static ac_value talk_and_end(ac_value to) {
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ac_send(ac_ref_of(to), i), 0);
    return ac_list("done");
}

static ac_value monitor_talkers(ac_value unused) {
    (void)unused;
    for (int i = 0; i < RACES; i++) {
        ac_ref there = ac_spawn(talk_and_end, ac_self(), .loop = 2);
        ck_assert_int_eq(ac_monitor(there), 0);
        for (int n = 0; n < 10; n++)
            ck_assert_int_eq(ac_int_of(next_message()), n);
        struct ac_exit exit = next_exit();
        ck_assert(ac_ref_equal(exit.who, there));
        // It may have ended before it was monitored.
        ck_assert(exit.how == AC_FINISHED || (exit.how == AC_LOST && exit.reason == -ESRCH));
        ck_assert_int_eq(ac_monitor(there), 0);
        ck_assert_int_eq(next_exit().reason, -ESRCH);
    }
    expect_nothing();
    return ac_nil;
}

TEST(the_notice_of_another_loop_comes_once_and_last) { run(monitor_talkers, 2); }

static ac_value wait_a_little(ac_value yields) {
    for (long i = 0; i < ac_int_of(yields); i++)
        (void)ac_yield();
    return ac_list("done");
}

static ac_value monitor_and_end(ac_value argument) {
    ac_ref of = ref_at(argument, 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_monitor(of), 0);
    ac_drop(wait_a_little(ac_at(argument, 1)));
    ac_value message;
    int notices = 0;
    while (ac_receive(&message, AC_NOW) == 0) {
        notices += ac_exit_of(message, NULL);
        ac_drop(message);
    }
    ck_assert_int_le(notices, 3);
    add(notices);
    return ac_nil;
}

// Who ends first, the observed, the observer or both at once, is left to chance.
static ac_value race_ends(ac_value unused) {
    (void)unused;
    for (int i = 0; i < RACES; i++) {
        ac_ref of = ac_spawn(wait_a_little, i % 7, .loop = 2, .joinable = i % 5 == 0);
        ac_spawn(monitor_and_end, ac_list(of, i % 11), .loop = i % 3 + 1);
        if (i % 20 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(monitors_survive_all_orders_of_ends) {
    run(race_ends, 3);
    ck_assert_int_le(counted(), 3 * RACES);
}

static ac_value monitor_for_ever(ac_value of) {
    ck_assert_int_eq(ac_monitor(ac_ref_of(of)), 0);
    add(1);
    return swallow(ac_nil);
}

static ac_value monitor_each_other(ac_value unused) {
    (void)unused;
    ac_ref former = ac_self();
    for (int i = 0; i < 300; i++)
        former = ac_spawn(monitor_for_ever, former, .loop = AC_SPREAD, .daemon = true);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    return ac_nil;
}

TEST(monitors_end_with_the_run) { run(monitor_each_other, 4); }

static ac_value fails_unseen(ac_value unused) {
    (void)unused;
    ac_drop(next_message());
    return ac_of_error(-EDOM, NULL);
}

static ac_value see_failure(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(fails_unseen, ac_nil, .loop = 2);
    ck_assert_int_eq(ac_monitor(there), 0);
    ck_assert_int_eq(ac_send(there, "fail"), 0);
    struct ac_exit exit = next_exit();
    ck_assert(exit.how == AC_FAILED && exit.reason == -EDOM);
    // One whose end is kept, too.
    there = ac_spawn(fails_unseen, ac_nil, .loop = 2, .joinable = true);
    ck_assert_int_eq(ac_send(there, "fail"), 0);
    ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_eq(ac_monitor(there), 0);
    exit = next_exit();
    ck_assert(exit.how == AC_FAILED && exit.reason == -EDOM);
    return ac_nil;
}

TEST(a_failure_that_another_loop_monitors_is_seen) { run(see_failure, 2); }

// ---- questions ----

static ac_value answer_some(ac_value questions) {
    for (long i = 0; i < ac_int_of(questions); i++) {
        ac_value request = next_message(), body;
        ac_ref answer;
        ck_assert_int_eq(ac_unpack(request, &answer, &body), 0);
        ck_assert_int_eq(ac_send(answer, ac_int_of(body) + 1), 0);
        ac_drop(body);
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value question(ac_value unused) {
    (void)unused;
    ac_value answer;
    for (int i = 0; i < RACES / 10; i++) {
        ac_ref there = ac_spawn(answer_some, 3, .loop = 2);
        for (int n = 0; n < 3; n++) {
            ck_assert_int_eq(ac_call(there, n, &answer, AC_FOREVER), 0);
            ck_assert_int_eq(ac_int_of(answer), n + 1);
        }
        // It ends, has ended, or ends without an answer.
        ck_assert_int_eq(ac_call(there, 3, &answer, AC_FOREVER), -ESRCH);
        there = ac_spawn(wait_a_little, i % 5, .loop = 2);
        ck_assert_int_eq(ac_call(there, ac_list("why"), &answer, AC_FOREVER), -ESRCH);
    }
    ac_ref silent = ac_spawn(swallow, ac_nil, .loop = 2, .daemon = true);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(ac_call(silent, ac_list("why"), &answer, ac_after(0.001)), -ETIMEDOUT);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_call(silent, 1, &answer, AC_FOREVER), -ENOMEM);
    memory_fail_nth(0);
    return ac_nil;
}

TEST(questions_to_another_loop_are_answered_or_closed) { run(question, 2); }

static ac_value fails_unanswered(ac_value unused) {
    ac_value message = next_message();
    ac_drop(message);
    (void)unused;
    return ac_of_error(-EDOM, NULL);
}

static ac_value question_failing(ac_value unused) {
    (void)unused;
    ac_value answer;
    ac_ref there = ac_spawn(fails_unanswered, ac_nil, .loop = 2);
    ck_assert_int_eq(ac_call(there, 1, &answer, AC_FOREVER), -ESRCH);
    return ac_nil;
}

TEST(a_failure_of_one_who_was_asked_is_not_seen) {
    ac_spawn(question_failing, ac_nil);
    ck_assert_int_eq(ac_run(.loops = 2), -EDOM);
}

// ---- want of memory ----

static ac_value want_memory(ac_value unused) {
    (void)unused;
    ac_ref to = ac_spawn(swallow, ac_nil, .loop = 2, .daemon = true);
    ac_value shared = ac_list("a text that the sender holds as well");
    for (int call = 0; call < 3; call++) {
        bool failed = true;
        for (long n = 1; failed; n++) {
            memory_fail_nth(n);
            int err = call == 0   ? ac_send(to, ac_hold(shared))
                      : call == 1 ? ac_deliver(to, ac_hold(shared), ac_after(20))
                                  : ac_monitor(to);
            failed = memory_has_failed();
            memory_fail_nth(0);
            ck_assert(err == (call == 1) || (failed && err == -ENOMEM));
        }
    }
    ac_drop(shared);
    return ac_nil;
}

TEST(what_finds_no_memory_says_so) { run(want_memory, 2); }

// ---- channels ----

static ac_value listen(ac_value argument) {
    ac_ref channel = ref_at(argument, 0), parent = ref_at(argument, 1);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), 0);
    ck_assert_int_eq(ac_send(parent, "ready"), 0);
    for (int i = 0; i < MANY / 10; i++) {
        ac_value message = next_message();
        ck_assert_int_eq(ac_int_of(ac_at(message, 1)), i);
        ac_drop(message);
    }
    ck_assert_int_eq(ac_send(parent, "heard"), 0);
    struct ac_exit exit = next_exit();
    ck_assert(ac_ref_equal(exit.who, channel));
    ck_assert_int_eq(ac_channel_subscribe(channel, ac_self()), -ESRCH);
    expect_nothing();
    add(1);
    return ac_nil;
}

static ac_value broadcast(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open("all");
    for (int i = 1; i <= 4; i++)
        ac_spawn(listen, ac_list(channel, ac_self()), .loop = i);
    for (int i = 0; i < 4; i++)
        ac_drop(next_message());
    ck_assert_int_eq(ac_channel_count(channel), 4);
    for (int i = 0; i < MANY / 10; i++)
        ck_assert_int_eq(ac_send(channel, ac_list("a number", i)), 0);
    for (int i = 0; i < 4; i++)
        ac_drop(next_message());
    ck_assert_int_eq(ac_channel_close(channel), 0);
    return ac_nil;
}

TEST(a_channel_has_subscribers_on_all_loops) {
    run(broadcast, 4);
    ck_assert_int_eq(counted(), 4);
}

static ac_value come_and_go(ac_value channel) {
    ac_ref it = ac_ref_of(channel);
    ck_assert_int_eq(ac_channel_unsubscribe(it, ac_self()), -ENOENT);
    ck_assert_int_eq(ac_channel_subscribe(it, ac_self()), 0);
    ck_assert_int_eq(ac_send(it, "for me"), 0);
    ac_drop(next_message());
    ck_assert_int_eq(ac_channel_unsubscribe(it, ac_self()), 0);
    ck_assert_int_eq(ac_deliver(it, "for nobody", ac_after(20)), 0);
    ck_assert_int_eq(ac_channel_subscribe(it, ac_self()), 0);
    ck_assert_int_eq(ac_deliver(it, "for me", ac_after(20)), 1);
    ac_drop(next_message());
    add(1);
    return ac_nil;
}

static ac_value offer_channel(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open(NULL);
    for (int i = 0; i < 50; i++) {
        ac_ref there = ac_spawn(come_and_go, channel, .loop = 2);
        ck_assert_int_eq(ac_monitor(there), 0);
        (void)next_exit();
        ac_time end = ac_after(TEST_PATIENCE_S);
        while (ac_channel_count(channel) > 0 && ac_now() < end)
            ck_assert_int_eq(ac_sleep(0.001), 0);
        ck_assert_int_eq(ac_channel_count(channel), 0);
    }
    return ac_nil;
}

TEST(subscriptions_elsewhere_end_with_their_subscriber) {
    run(offer_channel, 2);
    ck_assert_int_eq(counted(), 50);
}

// Who watches a channel of another loop.
struct sight {
    struct far_watch watch;
    ac_ref watcher; // who gets a message; ac_no_ref: nobody
    int times;
    int reason;
};

static void channel_closed(struct far_watch *watch, int reason) {
    struct sight *it = container_of(watch, struct sight, watch);
    it->times++;
    it->reason = reason;
    if (ac_ref_is(it->watcher))
        ck_assert_int_eq(ac_send(it->watcher, "closed"), 0);
}

static void watch_channel(ac_ref channel, struct sight *sight) {
    ck_assert_int_eq(elsewhere_watch(loop_here, channel, &sight->watch), 0);
    ck_assert_ptr_nonnull(sight->watch.state);
}

// Opens a channel, and closes it when it is told to.
static ac_value hold_channel(ac_value to) {
    ac_ref channel = ac_channel_open(NULL);
    ck_assert_int_eq(ac_send(ac_ref_of(to), channel), 0);
    ac_drop(next_message());
    ck_assert_int_eq(ac_channel_close(channel), 0);
    return ac_nil;
}

static ac_value watch_channels(ac_value unused) {
    (void)unused;
    struct sight sight = {.watch.ended = channel_closed, .watcher = ac_self()};
    struct sight given_up = sight;
    ac_ref holder = ac_spawn(hold_channel, ac_self(), .loop = 2);
    ac_value message = next_message();
    ac_ref channel = ac_ref_of(message);
    watch_channel(channel, &given_up);
    elsewhere_unwatch(loop_here, channel, &given_up.watch);
    watch_channel(channel, &sight);
    ck_assert_int_eq(ac_send(holder, "close"), 0);
    ac_drop(next_message());
    ck_assert_int_eq(sight.times, 1);
    ck_assert_int_eq(sight.reason, -ESRCH);
    elsewhere_unwatch(loop_here, channel, &sight.watch); // does nothing
    watch_channel(channel, &sight);
    ac_drop(next_message()); // it is closed already
    ck_assert_int_eq(sight.times, 2);
    expect_nothing();
    ck_assert_int_eq(given_up.times, 0);
    memory_fail_nth(1);
    ck_assert_int_eq(elsewhere_watch(loop_here, channel, &sight.watch), -ENOMEM);
    memory_fail_nth(0);
    ac_drop(message);
    return ac_nil;
}

TEST(who_watches_a_channel_of_another_loop_is_told_that_it_closes) { run(watch_channels, 2); }

static struct sight last_sight = {.watch.ended = channel_closed};

static ac_value leave_channel_open(ac_value to) {
    ck_assert_int_eq(ac_send(ac_ref_of(to), ac_channel_open(NULL)), 0);
    return ac_nil;
}

static ac_value watch_to_the_end(ac_value unused) {
    (void)unused;
    ac_spawn(leave_channel_open, ac_self(), .loop = 2);
    ac_value message = next_message();
    watch_channel(ac_ref_of(message), &last_sight);
    ac_drop(message);
    return ac_nil;
}

TEST(a_channel_that_is_watched_closes_with_its_loop) {
    run(watch_to_the_end, 2);
    ck_assert_int_eq(last_sight.times, 1);
}

// ---- helper threads ----

static ac_value send_from_thread(ac_value to) {
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ac_send(ac_ref_of(to), i), 0);
    return ac_nil;
}

static ac_value have_work_done(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_work(send_from_thread, ac_self(), NULL, ac_after(20)), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ac_int_of(next_message()), i);
    add(1);
    return ac_nil;
}

static ac_value have_work_done_on_both(ac_value unused) {
    ac_spawn(have_work_done, ac_nil, .loop = 2);
    return have_work_done(unused);
}

TEST(blocking_work_can_send) {
    run(have_work_done, 1);
    run(have_work_done_on_both, 2);
    ck_assert_int_eq(counted(), 3);
}

// ---- all at once, with seeds ----

enum { ACTORS = 24, ACTOR_STEPS = 400 };

static ac_value forward_to(ac_value argument);

// One of those who send to, deliver to, monitor, cancel and replace each other at random. The
// references of all are known to each.
static ac_value act(ac_value seed) {
    ac_value message = next_message();
    while (ac_count(message) != ACTORS) { // from one who began before
        ac_drop(message);
        message = next_message();
    }
    ac_ref others[ACTORS];
    for (int i = 0; i < ACTORS; i++)
        others[i] = ref_at(message, (size_t)i);
    ac_drop(message);
    uint64_t state = (uint64_t)ac_int_of(seed) * 2654435761u + 1;
    int asked = 0;
    for (int i = 0; i < ACTOR_STEPS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ac_ref to = others[(state >> 33) % ACTORS];
        int err = 0;
        switch ((state >> 50) % 8) {
        case 0: err = ac_deliver(to, ac_list("delivered", i), ac_after(0.001)); break;
        case 1: err = ac_monitor(to), asked += err == 0 && !ac_ref_equal(to, ac_self()); break;
        case 2: err = ac_yield(); break;
        case 3: err = ac_ref_error(ac_spawn(forward_to, ac_list(to, i), .loop = AC_SPREAD)); break;
        case 4:
            while (ac_receive(&message, AC_NOW) == 0) {
                asked -= ac_exit_of(message, NULL);
                ac_drop(message);
            }
            break;
        default: err = ac_send(to, ac_list("sent", i)); break;
        }
        if (i > ACTOR_STEPS / 2 && (state >> 40) % 500 == 0)
            (void)ac_cancel(to);
        ck_assert(err >= 0 || err == -ESRCH || err == -ECANCELED);
        if (err == -ECANCELED)
            return ac_nil;
    }
    ck_assert_int_ge(asked, 0);
    add(1);
    return ac_list("acted", asked);
}

static ac_value forward_to(ac_value argument) {
    int err = ac_send(ref_at(argument, 0), ac_hold(argument));
    ck_assert(err == 0 || err == -ESRCH);
    return ac_nil;
}

static ac_value stage(ac_value seed) {
    ac_ref actors[ACTORS];
    ac_value all[ACTORS];
    for (int i = 0; i < ACTORS; i++) {
        actors[i] = ac_spawn(act, ac_int_of(seed) * ACTORS + i, .loop = AC_SPREAD);
        all[i] = ac_of_ref(actors[i]);
        ck_assert_int_eq(ac_monitor(actors[i]), 0);
    }
    ac_value list = ac_list_of(all, ACTORS);
    for (int i = 0; i < ACTORS; i++)
        ck_assert_int_eq(ac_send(actors[i], ac_hold(list)), 0);
    ac_drop(list);
    for (int i = 0; i < ACTORS; i++)
        (void)next_exit();
    expect_nothing();
    return ac_nil;
}

TEST(loops_that_do_everything_to_each_other_lose_nothing, .seconds_max = 120) {
#ifdef SYS_TSAN
    enum { PLAYS = 3 };
#else
    enum { PLAYS = 20 };
#endif
    for (int seed = 0; seed < PLAYS; seed++) {
        ac_spawn(stage, seed);
        ck_assert_int_eq(ac_run(.loops = 3), 0);
    }
}
