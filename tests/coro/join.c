// SPDX-License-Identifier: MIT
// Tests of src/coro/join.c: joining coroutines of other loops; and of resuming them (away.c).
#include "coro/coro.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>

#ifdef SYS_TSAN
enum { MANY = 300, RACES = 200 };
#else
enum { MANY = 3000, RACES = 3000 };
#endif

static void run(ac_function function, uint32_t loops) {
    ck_assert(ac_ref_is(ac_spawn(function, ac_nil)));
    ck_assert_int_eq(ac_run(.loops = loops), 0);
}

static ac_value give_back(ac_value it) { return ac_list("given back", ac_hold(it)); }

static void check_given(const struct ac_exit *exit, ac_ref who, long expected) {
    ck_assert(ac_ref_equal(exit->who, who) && exit->how == AC_FINISHED && exit->reason == 0);
    ck_assert_int_eq(ac_int_of(ac_at(exit->value, 1)), expected);
    ac_drop(exit->value);
}

static ac_value spread_and_join(ac_value unused) {
    (void)unused;
    static ac_ref all[MANY];
    for (int i = 0; i < MANY; i++)
        all[i] = ac_spawn(give_back, i, .loop = AC_SPREAD, .joinable = true);
    for (int i = 0; i < MANY; i++) {
        struct ac_exit exit;
        ck_assert_int_eq(ac_join(all[i], &exit, AC_FOREVER), 0);
        check_given(&exit, all[i], i);
        if (i % 3 == 0) // it is forgotten
            ck_assert_int_eq(ac_join(all[i], &exit, AC_FOREVER), -ESRCH);
    }
    return ac_nil;
}

TEST(coroutines_spread_over_all_loops_are_joined) { run(spread_and_join, 4); }

static ac_value fails(ac_value unused) {
    (void)unused;
    return ac_of_error(-EDOM, "as it should");
}

static ac_value sleeps(ac_value unused) {
    (void)unused;
    return ac_sleep(1000) == -ECANCELED ? ac_list("was cancelled") : ac_nil;
}

static ac_value join_all_kinds(ac_value unused) {
    (void)unused;
    struct ac_exit exit;
    ac_ref there = ac_spawn(fails, ac_nil, .loop = 2, .joinable = true);
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), 0);
    ck_assert(exit.how == AC_FAILED && exit.reason == -EDOM);
    ck_assert_uint_eq(ac_span_of(exit.value).bytes, strlen("as it should"));
    ac_drop(exit.value);
    there = ac_spawn(sleeps, ac_nil, .loop = 2, .joinable = true);
    ck_assert_int_eq(ac_join(there, &exit, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_join(there, &exit, ac_after(0.01)), -ETIMEDOUT);
    ck_assert_int_eq(ac_cancel(there), 0);
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), 0);
    ck_assert_int_eq(exit.how, AC_CANCELLED);
    ac_drop(exit.value);
    there = ac_spawn(give_back, 1, .loop = 2, .joinable = true);
    ck_assert_int_eq(ac_join(there, NULL, AC_FOREVER), 0);
    ac_ref nowhere = {there.peer, there.id | 63 << 2};
    ck_assert_int_eq(ac_join(nowhere, &exit, AC_FOREVER), -ENOTSUP);
    ac_ref channel = {there.peer, there.id | REF_CHANNEL};
    ck_assert_int_eq(ac_join(channel, &exit, AC_FOREVER), -ENOTSUP);
    ck_assert_int_eq(ac_join((ac_ref){there.peer + 1, there.id}, &exit, AC_FOREVER), -ENOTSUP);
    there = ac_spawn(give_back, 2, .loop = 2, .joinable = true);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), -ENOMEM);
    memory_fail_nth(0);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), 0);
    check_given(&exit, there, 2);
    return ac_nil;
}

TEST(every_end_on_another_loop_is_told) { run(join_all_kinds, 2); }

static ac_value take_turns(ac_value yields) {
    for (long i = ac_int_of(yields); i > 0; i--)
        (void)ac_yield();
    return ac_list("given back", ac_hold(yields));
}

// A joiner that gives up takes nothing from the next one, however close the two are.
static ac_value join_in_a_hurry(ac_value unused) {
    (void)unused;
    uint64_t state = 1;
    for (int i = 0; i < RACES; i++) {
        struct ac_exit exit;
        state = state * 6364136223846793005u + 1442695040888963407u;
        ac_ref there = ac_spawn(take_turns, i % 20, .loop = 2, .joinable = true);
        int err = ac_join(there, &exit, ac_now() + (ac_time)((state >> 33) % 30000));
        ck_assert(err == 0 || err == -ETIMEDOUT);
        if (err < 0)
            ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), 0);
        check_given(&exit, there, i % 20);
        ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), -ESRCH);
    }
    return ac_nil;
}

TEST(a_joiner_that_gives_up_leaves_the_end_to_the_next) { run(join_in_a_hurry, 2); }

static bool ended; // atomic

static ac_value note_ended(ac_value unused) {
    (void)unused;
    __atomic_store_n(&ended, true, __ATOMIC_RELEASE);
    return ac_nil;
}

static ac_value wait_for_message(ac_value unused) {
    ac_value message;
    (void)unused;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        ac_drop(message);
    }
    return ac_list("given back", 7);
}

static ac_value join_in_vain(ac_value whom) {
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(ac_ref_of(whom), &exit, AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value cancel_joiner(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(wait_for_message, ac_nil, .loop = 2, .joinable = true);
    ac_ref joiner = ac_spawn(join_in_vain, there);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_deliver(there, "behind the join", AC_FOREVER), 1);
    ck_assert_int_eq(ac_send(there, "end"), 0);
    ac_spawn(note_ended, ac_nil, .loop = 2);
    while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE))
        continue; // the end is on its way, but this loop does not take it in
    ck_assert_int_eq(ac_cancel(joiner), 0);
    struct ac_exit exit;
    for (int i = 0; i < 4; i++) { // until all that the first join has sent has been there and back
        ac_ref other = ac_spawn(give_back, i, .loop = 2, .joinable = true);
        ck_assert_int_eq(ac_join(other, NULL, AC_FOREVER), 0);
    }
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), 0);
    check_given(&exit, there, 7);
    ck_assert_int_eq(ac_join(there, &exit, AC_FOREVER), -ESRCH);
    return ac_nil;
}

TEST(an_end_that_meets_nobody_on_its_way_back_stays_kept) { run(cancel_joiner, 2); }

static long joined; // atomic

static ac_value join_it(ac_value parent) {
    struct ac_exit exit;
    ac_value whom;
    ck_assert_int_eq(ac_receive(&whom, AC_FOREVER), 0);
    ck_assert_int_eq(ac_send(ac_ref_of(parent), "about to join"), 0);
    ck_assert_int_eq(ac_join(ac_ref_of(whom), &exit, AC_FOREVER), 0);
    ck_assert_int_eq(exit.how, AC_CANCELLED);
    ac_drop(exit.value);
    ac_drop(whom);
    __atomic_fetch_add(&joined, 1, __ATOMIC_SEQ_CST);
    return ac_nil;
}

static ac_value be_joined_by_many(ac_value unused) {
    (void)unused;
    ac_ref one = ac_spawn(sleeps, ac_nil), joiners[20];
    for (int i = 0; i < 20; i++) {
        joiners[i] = ac_spawn(join_it, ac_self(), .loop = AC_SPREAD);
        ck_assert_int_eq(ac_send(joiners[i], one), 0);
    }
    for (int i = 0; i < 20; i++) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, AC_FOREVER), 0);
        ac_drop(message);
    }
    // What comes back from there comes behind the join.
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(ac_deliver(joiners[i], 0, AC_FOREVER), 1);
    ck_assert_int_eq(ac_cancel(one), 0);
    return ac_nil;
}

TEST(many_join_one) {
    run(be_joined_by_many, 3);
    ck_assert_int_eq(joined, 20);
}

static ac_value fail_unjoined(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(fails, ac_nil, .loop = 2, .joinable = true);
    (void)there;
    return ac_nil;
}

TEST(a_failure_that_nobody_joined_ends_the_run_with_it) {
    ac_spawn(fail_unjoined, ac_nil);
    ck_assert_int_eq(ac_run(.loops = 2), -EDOM);
}

static ac_value join_for_ever(ac_value whom) {
    int err = ac_join(ac_ref_of(whom), NULL, AC_FOREVER);
    ck_assert(err == -ECANCELED || err == 0 || err == -ESRCH);
    return ac_nil;
}

static ac_value join_in_a_row(ac_value unused) {
    (void)unused;
    ac_ref former = ac_spawn(sleeps, ac_nil, .daemon = true);
    for (int i = 0; i < 100; i++)
        former = ac_spawn(join_for_ever, former, .loop = AC_SPREAD, .daemon = true,
                          .joinable = i % 2);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    return ac_nil;
}

TEST(joins_end_with_the_run) { run(join_in_a_row, 3); }

// ---- resuming ----

static ac_value be_resumed(ac_value times) {
    for (long i = 0; i < ac_int_of(times); i++) {
        ac_value update;
        ck_assert_int_eq(ac_suspend(&update, AC_FOREVER), 0);
        ck_assert_int_eq(ac_int_of(ac_at(update, 1)), i);
        ac_drop(update);
    }
    return ac_nil;
}

static ac_value resume_there(ac_value unused) {
    (void)unused;
    ac_ref there = ac_spawn(be_resumed, 100, .loop = 2);
    ac_value shared = ac_list("a text that the resumer holds as well", 0);
    for (int i = 0; i < 100; i++) {
        ac_value update = i == 0 ? ac_hold(shared) : ac_list("a text", i);
        int err;
        while ((err = ac_resume(there, ac_hold(update))) == -EAGAIN)
            ck_assert_int_eq(ac_sleep(0.0001), 0);
        ck_assert_int_eq(err, 0);
        ac_drop(update);
    }
    ac_drop(shared);
    int err = ac_join(there, NULL, AC_FOREVER);
    ck_assert(err == 0 || err == -ESRCH);
    ck_assert_int_eq(ac_resume(there, ac_list("dropped")), -ESRCH);
    ac_ref nowhere = {there.peer, there.id | 63 << 2};
    ck_assert_int_eq(ac_resume(nowhere, ac_list("dropped")), -ENOTSUP);
    bool failed = true;
    ac_value update = ac_list("dropped");
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        err = ac_resume(there, ac_hold(update));
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(err, failed ? -ENOMEM : -ESRCH);
    }
    ac_drop(update);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_resume(there, ac_list("dropped")), -ECANCELED);
    return ac_nil;
}

TEST(who_is_suspended_on_another_loop_is_resumed) { run(resume_there, 2); }
