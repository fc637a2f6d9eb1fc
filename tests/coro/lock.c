// SPDX-License-Identifier: MIT
// Tests of src/coro/lock.c: lock and condition.
#include "coro/fifo.h"

// ---- first come, first served ----

static struct ac_lock lock;

static int lock_acquire(bool all, ac_time deadline) {
    ck_assert(!all);
    return ac_lock_acquire(&lock, deadline);
}
static int lock_release(void) { return ac_lock_release(&lock); }

static void lock_forget(void) { memset(&lock, 0, sizeof lock); }

static const struct object plain = {
    .room = 1,
    .forget = lock_forget,
    .acquire = lock_acquire,
    .release = lock_release,
    .queue = &lock.queue_,
    .loop = &lock.loop_,
};

TEST(a_lock_is_first_come_first_served_whatever_happens) { fifo_hold(&plain); }

TEST(who_leaves_the_queue_of_a_lock_leaves_it_as_it_was) { fifo_leave_everywhere(&plain); }

// ---- lock ----

static ac_value take_and_tell(ac_value letter) {
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ck_assert(ac_lock_is_mine(&lock));
    tell((char)ac_int_of(letter));
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    return ac_nil;
}

static ac_value release_and_barge(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ac_ref first = ac_spawn(take_and_tell, 'a');
    ac_spawn(take_and_tell, 'b');
    ac_spawn(take_and_tell, 'c');
    let_others_run();
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_uint_eq(lock.owner_, first.id);
    ck_assert(!ac_lock_is_mine(&lock));
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM);
    ck_assert_str_eq(story, "");
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    tell('.');
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    return ac_nil;
}

TEST(a_lock_belongs_to_the_first_who_waits_before_that_one_runs) {
    ac_spawn(release_and_barge, ac_nil);
    run();
    ck_assert_str_eq(story, "abc.");
    ck_assert_ptr_null(lock.loop_);
    ck_assert_uint_eq(lock.owner_, 0);
}

static ac_value take_free_one(ac_value unused) {
    (void)unused;
    ac_spawn(take_and_tell, 'x');
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(ac_lock_acquire(&lock, i % 2 ? AC_NOW : AC_FOREVER), 0);
        ck_assert_int_eq(ac_lock_release(&lock), 0);
    }
    ck_assert_int_eq(ac_lock_acquire(&lock, ac_now() - 1), 0); // there is nothing to wait for
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_str_eq(story, "");
    return ac_nil;
}

TEST(who_takes_a_free_lock_does_not_let_the_others_run) {
    ac_spawn(take_free_one, ac_nil);
    run();
    ck_assert_str_eq(story, "x");
}

static ac_value be_refused(ac_value unused) {
    (void)unused;
    ck_assert(!ac_lock_is_mine(&lock));
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM); // nobody owns it
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), -EDEADLK);
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), -EDEADLK);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM);
    return ac_nil;
}

TEST(a_lock_refuses_strangers_and_a_second_time) {
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM);
    ck_assert(!ac_lock_is_mine(&lock));
    ac_spawn(be_refused, ac_nil);
    run();
}

static ac_value try_to_take(ac_value expected) {
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), (int)ac_int_of(expected));
    if (ac_lock_is_mine(&lock))
        ck_assert_int_eq(ac_lock_release(&lock), 0);
    tell('x');
    return ac_nil;
}

static ac_value take_three_times(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_lock_acquire(&lock, i == 1 ? AC_NOW : AC_FOREVER), 0);
    for (int i = 0; i < 3; i++) {
        ac_spawn(try_to_take, -ETIMEDOUT);
        let_others_run();
        ck_assert(ac_lock_is_mine(&lock));
        ck_assert_int_eq(ac_lock_release(&lock), 0);
    }
    ck_assert(!ac_lock_is_mine(&lock));
    ac_spawn(try_to_take, 0);
    let_others_run();
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), 0);
    lock.depth_ = UINT32_MAX;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), -EOVERFLOW);
    lock.depth_ = 1;
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM);
    return ac_nil;
}

TEST(a_reentrant_lock_is_free_after_as_many_releases) {
    lock.reentrant = true;
    ac_spawn(take_three_times, ac_nil);
    run();
    ck_assert_str_eq(story, "xxxx");
}

// Of several attempts one must be punctual: the computer may be busy with other things.
static ac_value wait_for_a_fifth_of_a_second(ac_value unused) {
    (void)unused;
    double best = 10;
    for (ac_time end = ac_after(TEST_PATIENCE_S); best > 0.22 && ac_now() < end;) {
        ac_time start = ac_now();
        ck_assert_int_eq(ac_lock_acquire(&lock, ac_after(0.2)), -ETIMEDOUT);
        double took = (double)(ac_now() - start) * 1e-9;
        ck_assert_double_ge(took, 0.2);
        best = took < best ? took : best;
    }
    ck_assert_double_le(best, 0.22);
    return ac_nil;
}

static ac_value hold_while_one_waits(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ac_ref waiter = ac_spawn(wait_for_a_fifth_of_a_second, ac_nil);
    ac_spawn(take_and_tell, 'x');
    ck_assert_int_eq(ac_join(waiter, NULL, AC_FOREVER), 0);
    ck_assert_str_eq(story, "");
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    return ac_nil;
}

TEST(a_wait_for_a_lock_ends_when_its_time_is_up) {
    ac_spawn(hold_while_one_waits, ac_nil);
    run();
    ck_assert_str_eq(story, "x");
    ck_assert_ptr_null(lock.loop_);
}

static ac_value keep_what_was_handed_over(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, world_after_us(10)), 0);
    ck_assert(ac_lock_is_mine(&lock));
    ck_assert_int_eq(ac_sleep(0), -ECANCELED);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    tell('x');
    return ac_nil;
}

static ac_value hand_over_and_cancel(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), 0);
    ac_ref waiter = ac_spawn(keep_what_was_handed_over, ac_nil);
    let_others_run();
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_int_eq(ac_cancel(waiter), 0);
    world.now += 1000000;
    return ac_nil;
}

TEST(what_was_handed_over_is_kept_through_cancellation_and_deadline) {
    world_begin(1);
    ac_spawn(hand_over_and_cancel, ac_nil);
    run();
    ck_assert_str_eq(story, "x");
    ck_assert_ptr_null(lock.loop_);
}

static ac_value go_on_though_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), 0);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    return ac_nil;
}

TEST(a_cancelled_coroutine_takes_what_is_free_without_waiting_only) {
    ac_spawn(go_on_though_cancelled, ac_nil);
    run();
}

static ac_value end_as_owner(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), 0);
    return ac_nil;
}

TEST(who_comes_after_the_end_of_the_owner_gets_the_lock) {
    ac_spawn(end_as_owner, ac_nil);
    ac_spawn(end_as_owner, ac_nil);
    ac_spawn(try_to_take, 0);
    run();
    ck_assert_str_eq(story, "x");
    ck_assert_ptr_null(lock.loop_);
}

static ac_value take_and_keep(ac_value letter) {
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

static ac_value wait_in_vain(ac_value expected) {
    ck_assert_int_eq(ac_lock_acquire(&lock, world_after_us(50)), (int)ac_int_of(expected));
    tell('-');
    return ac_nil;
}

// Those who wait when the owner ends, and those who wait for these; the first goes away before.
static ac_value end_while_others_wait(ac_value cancels) {
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), 0);
    ac_ref first = ac_spawn(wait_in_vain, ac_bool_of(cancels) ? -ECANCELED : -ETIMEDOUT);
    ac_spawn(take_and_keep, 'a');
    ac_spawn(take_and_tell, 'b');
    ac_spawn(take_and_keep, 'c');
    ac_spawn(take_and_keep, 'd');
    let_others_run();
    if (ac_bool_of(cancels))
        ck_assert_int_eq(ac_cancel(first), 0);
    ck_assert_int_eq(ac_sleep(100e-6), 0);
    tell('.');
    return ac_nil;
}

TEST(who_waits_when_the_owner_ends_gets_the_lock) {
    for (int cancels = 0; cancels < 2; cancels++) {
        world_begin(1);
        memset(story, 0, sizeof story);
        lock_forget();
        ac_spawn(end_while_others_wait, cancels);
        run();
        ck_assert_str_eq(story, "-.abcd");
        ck_assert_ptr_null(lock.queue_.first_);
    }
}

// The lock lies on the stack of its owner, which is used again.
static ac_value own_what_goes_with_the_stack(ac_value unused) {
    struct ac_lock own = {0};
    struct ac_rwlock reads = {0}, writes = {0};
    ck_assert_int_eq(ac_lock_acquire(&own, AC_NOW), 0);
    ck_assert_int_eq(ac_rwlock_read(&reads, AC_NOW), 0);
    ck_assert_int_eq(ac_rwlock_write(&writes, AC_NOW), 0);
    return unused;
}

TEST(a_lock_that_goes_with_its_owner_is_not_touched) { // the sanitizer looks for it, and for leaks
    for (int i = 0; i < 100; i++)
        ac_spawn(own_what_goes_with_the_stack, i);
    run();
}

static ac_value be_first_in_the_next_loop(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM); // though its id is that of the former owner
    ck_assert(!ac_lock_is_mine(&lock));
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_ptr_null(lock.loop_);
    return ac_nil;
}

TEST(what_a_loop_that_has_ended_left_taken_is_free) {
    for (int i = 0; i < 3; i++) {
        ac_spawn(end_as_owner, ac_nil);
        run();
        ck_assert_ptr_nonnull(lock.loop_);
        if (i > 0)
            ac_spawn(be_first_in_the_next_loop, ac_nil);
        run();
    }
}

static ac_value be_refused_until_its_loop_ends(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), -EXDEV);
    return ac_nil;
}

static ac_value leave_it_to_no_other_loop(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_join(ac_spawn(end_as_owner, ac_nil), NULL, AC_FOREVER), 0);
    elsewhere(be_refused_until_its_loop_ends);
    return ac_nil;
}

TEST(what_a_living_loop_has_left_taken_is_not_of_another) {
    ac_spawn(leave_it_to_no_other_loop, ac_nil);
    run();
    elsewhere(be_first_in_the_next_loop);
}

// ---- condition ----

static struct ac_condition condition;
static int result; // of the last wait

static ac_value wait_at_condition(ac_value letter) {
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    result = ac_condition_wait(&condition, AC_FOREVER);
    ck_assert_int_eq(result, 0);
    tell((char)ac_int_of(letter));
    ck_assert_int_eq(ac_yield(), 0); // still alone
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

static ac_value notify_some(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ac_spawn(take_and_tell, 'x'); // comes before those who are notified
    let_others_run();
    ck_assert_int_eq(ac_condition_notify(&condition, 0), 0);
    ck_assert_int_eq(ac_condition_notify(&condition, 2), 2);
    let_others_run();
    ck_assert_str_eq(story, "");
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_str_eq(story, "xab");
    ck_assert_int_eq(ac_condition_notify(&condition, AC_ALL), 3);
    ck_assert_int_eq(ac_condition_notify(&condition, AC_ALL), 0);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

TEST(those_notified_go_on_one_after_the_other_as_soon_as_the_lock_is_free) {
    condition.lock = &lock;
    for (char it = 'a'; it <= 'e'; it++)
        ac_spawn(wait_at_condition, it);
    ac_spawn(notify_some, ac_nil);
    run();
    ck_assert_str_eq(story, "xabcde");
    ck_assert_ptr_null(condition.queue_.first_);
    ck_assert_ptr_null(condition.queue_.last_);
    ck_assert_ptr_null(lock.loop_);
}

static ac_value wait_with_depth_3(ac_value deadline_us) {
    int64_t us = ac_int_of(deadline_us);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    result = ac_condition_wait(&condition, us ? world_after_us(us) : AC_FOREVER);
    tell('w');
    struct ac_lock *of = condition.lock ? condition.lock : &condition.own_;
    ck_assert(ac_lock_is_mine(of));
    ck_assert_uint_eq(of->depth_, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_condition_release(&condition), 0);
    ck_assert_int_eq(ac_condition_release(&condition), -EPERM);
    return ac_nil;
}

static ac_value notify_with_depth_2(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ck_assert_int_eq(ac_condition_notify(&condition, 1), 1);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    let_others_run();
    tell('n');
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

TEST(a_wait_gives_the_lock_up_and_takes_it_again_as_often_as_it_was_taken) {
    world_begin(1);
    ac_spawn(wait_with_depth_3, 0);
    ac_spawn(notify_with_depth_2, ac_nil);
    run();
    ck_assert_str_eq(story, "nw");
    ck_assert_int_eq(result, 0);
    ck_assert_ptr_null(condition.own_.loop_);
}

TEST(a_wait_whose_time_is_up_holds_the_lock) {
    world_begin(1);
    ac_spawn(wait_with_depth_3, 5);
    run();
    ck_assert_int_eq(result, -ETIMEDOUT);
    ck_assert_ptr_null(condition.own_.loop_);
    ck_assert_ptr_null(condition.queue_.first_);
}

static ac_value cancel_it(ac_value whom) {
    let_others_run();
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    return ac_nil;
}

TEST(a_wait_that_is_cancelled_holds_the_lock) {
    world_begin(1);
    ac_spawn(cancel_it, ac_spawn(wait_with_depth_3, 0));
    run();
    ck_assert_int_eq(result, -ECANCELED);
    ck_assert_ptr_null(condition.own_.loop_);
}

static ac_value hold_and_cancel(ac_value whom) {
    struct ac_exit end;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    ck_assert_int_eq(ac_join(ac_ref_of(whom), &end, AC_FOREVER), 0);
    ck_assert_int_eq(end.how, AC_CANCELLED);
    return ac_nil;
}

TEST(who_learns_by_a_wait_that_it_was_cancelled_ends_as_cancelled) {
    world_begin(1);
    ac_spawn(hold_and_cancel, ac_spawn(wait_with_depth_3, 0));
    run();
    ck_assert_int_eq(result, -ECANCELED);
}

// What happens to the one who waits while another holds the lock for long.
enum { NOTIFY = 1, CANCEL = 2, TIME_OUT = 4, NOTIFY_LATE = 8 };

static ac_ref waits;

static ac_value hold_the_lock(ac_value what) {
    int64_t does = ac_int_of(what);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    if (does & NOTIFY)
        ck_assert_int_eq(ac_condition_notify(&condition, 1), 1);
    if (does & TIME_OUT)
        ck_assert_int_eq(ac_sleep(50e-6), 0);
    if (does & CANCEL)
        ck_assert_int_eq(ac_cancel(waits), 0);
    let_others_run();
    ck_assert_int_eq(ac_sleep(50e-6), 0);
    if (does & NOTIFY_LATE)
        ck_assert_int_eq(ac_condition_notify(&condition, AC_ALL), 0); // it waits no more
    tell('h');
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

static ac_value wait_once(ac_value deadline) {
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    result = ac_condition_wait(&condition, ac_int_of(deadline));
    tell('w');
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    tell(ac_sleep(0) < 0 ? 'c' : '-');
    tell(ac_sleep(0) < 0 ? 'c' : '-');
    return ac_nil;
}

static void check_wait(int64_t does, int expected, const char *expected_story, enum ac_end how) {
    world_begin(1);
    memset(story, 0, sizeof story);
    ac_time deadline = does & TIME_OUT ? world_after_us(30) : AC_FOREVER;
    waits = ac_spawn(wait_once, deadline, .joinable = true);
    ac_spawn(hold_the_lock, does);
    struct loop *loop = loop_here;
    ck_assert_int_eq(loop_run(loop), 0);
    struct coro *waiter = coro_find(loop, waits.id);
    ck_assert_int_eq(waiter->end.how, how);
    run();
    ck_assert_int_eq(result, expected);
    ck_assert_str_eq(story, expected_story);
    ck_assert_ptr_null(condition.own_.loop_);
    ck_assert_ptr_null(condition.own_.queue_.first_);
    ck_assert_ptr_null(condition.queue_.first_);
}

TEST(why_a_wait_ends_is_settled_before_the_lock_is_free) {
    check_wait(TIME_OUT | NOTIFY_LATE, -ETIMEDOUT, "hw--", AC_FINISHED);
    check_wait(CANCEL | NOTIFY_LATE, -ECANCELED, "hwcc", AC_CANCELLED);
    check_wait(NOTIFY, 0, "hw--", AC_FINISHED);
    check_wait(NOTIFY | TIME_OUT, 0, "hw--", AC_FINISHED);
    check_wait(NOTIFY | CANCEL, 0, "hwcc", AC_CANCELLED);
    check_wait(NOTIFY | TIME_OUT | CANCEL, 0, "hwcc", AC_CANCELLED);
    check_wait(TIME_OUT | CANCEL, -ETIMEDOUT, "hwcc", AC_CANCELLED);
}

static ac_value be_refused_at_condition(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_wait(&condition, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_condition_notify(&condition, 1), -EPERM);
    ck_assert_int_eq(ac_condition_release(&condition), -EPERM);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0); // its own lock is reentrant
    ac_spawn(take_and_tell, 'x');                                  // another lock
    ck_assert_int_eq(ac_condition_wait(&condition, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_condition_wait(&condition, ac_now() - 1), -ETIMEDOUT);
    ck_assert_str_eq(story, ""); // it did not wait
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

TEST(a_condition_refuses_who_does_not_own_its_lock) {
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_condition_wait(&condition, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_condition_notify(&condition, 1), -EPERM);
    ck_assert_int_eq(ac_condition_release(&condition), -EPERM);
    ac_spawn(be_refused_at_condition, ac_nil);
    run();
}

// A buffer of two places: producers and consumers wait at two conditions of one lock, run out of
// time and are cancelled.
static struct {
    struct ac_lock lock;
    struct ac_condition room, goods;
    int count;
    int inside; // who is between two waits; more than one: the lock has failed
    int64_t put, taken;
} bounded = {.room = {.lock = &bounded.lock}, .goods = {.lock = &bounded.lock}};

static ac_value move_goods(ac_value by) {
    int step = (int)ac_int_of(by);
    struct ac_condition *mine = step > 0 ? &bounded.room : &bounded.goods;
    struct ac_condition *theirs = step > 0 ? &bounded.goods : &bounded.room;
    for (int i = 0; i < 20; i++) {
        if (ac_lock_acquire(&bounded.lock, AC_FOREVER) < 0)
            return ac_nil;
        ck_assert_int_eq(bounded.inside++, 0);
        int err = 0;
        while (err == 0 && bounded.count == (step > 0 ? 2 : 0)) {
            bounded.inside--;
            ac_time deadline = ac_random_int(0, 1) ? AC_FOREVER : world_after_us(20);
            err = ac_condition_wait(mine, deadline);
            ck_assert(ac_lock_is_mine(&bounded.lock));
            ck_assert_int_eq(bounded.inside++, 0);
        }
        if (bounded.count != (step > 0 ? 2 : 0)) {
            bounded.count += step;
            *(step > 0 ? &bounded.put : &bounded.taken) += 1;
            if (ac_random_int(0, 1))
                pause_a_little();
        }
        // Also by one that was notified and has not used it.
        ck_assert_int_ge(ac_condition_notify(theirs, 1), 0);
        ck_assert_int_ge(ac_condition_notify(mine, 1), 0);
        bounded.inside--;
        ck_assert_int_eq(ac_lock_release(&bounded.lock), 0);
        pause_a_little();
    }
    return ac_nil;
}

static ac_value cancel_movers(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(ac_sleep((double)ac_random_int(1, 300) * 1e-6), 0);
        (void)ac_cancel(worker_refs[ac_random_int(0, WORKERS - 1)]); // it may have ended
    }
    // Those who are left have nobody to deal with in the end.
    ck_assert_int_eq(ac_sleep(1), 0);
    for (int i = 0; i < WORKERS; i++)
        (void)ac_cancel(worker_refs[i]);
    return ac_nil;
}

TEST(a_bounded_buffer_works_whoever_gives_up) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        world_begin(seed);
        for (int i = 0; i < WORKERS; i++)
            worker_refs[i] = ac_spawn(move_goods, i % 2 ? 1 : -1);
        ac_spawn(cancel_movers, ac_nil);
        run();
        ck_assert_msg(bounded.put == bounded.taken + bounded.count, "seed %lu",
                      (unsigned long)seed);
        ck_assert_msg(!bounded.lock.loop_ && !bounded.room.queue_.first_ &&
                          !bounded.goods.queue_.first_,
                      "seed %lu", (unsigned long)seed);
    }
    ck_assert_int_gt(bounded.taken, 10 * SEEDS);
}

// ---- coroutines that are given up ----

static ac_value wait_stubbornly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    int err = ac_condition_wait(&condition, AC_FOREVER);
    ck_abort_msg("it got a lock that stays taken: %d", err);
    return ac_nil;
}

static ac_value own_stubbornly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ck_assert_int_eq(ac_shield_begin(), 0);
    (void)ac_suspend(NULL, AC_FOREVER);
    ck_abort_msg("it was not given up");
    return ac_nil;
}

static ac_value nothing(ac_value unused) { return unused; }

TEST(the_end_of_the_loop_takes_one_who_cannot_get_the_lock_out_of_its_queue) {
    world_begin(1);
    ac_spawn(wait_stubbornly, ac_nil, .daemon = true);
    ac_spawn(own_stubbornly, ac_nil, .daemon = true);
    ac_spawn(nothing, ac_nil);
    run();
    ck_assert_ptr_null(condition.own_.queue_.first_);
    ck_assert_ptr_null(condition.queue_.first_);
    ck_assert_uint_eq(condition.own_.away_, 0);
}

static ac_value give_up_the_waiter(ac_value whom) {
    let_others_run();
    coro_abandon(coro_find(loop_here, ac_ref_of(whom).id));
    ck_assert_uint_eq(condition.own_.owner_, 0);
    ck_assert_ptr_null(condition.own_.loop_);
    ck_assert_ptr_null(condition.queue_.first_);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

static ac_value notify_and_end(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_int_eq(ac_condition_notify(&condition, 1), 1);
    return ac_nil;
}

static ac_value end_and_leave_them_at_the_condition(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    return ac_nil;
}

static ac_value wait_for_time_to_be_up(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_int_eq(ac_condition_wait(&condition, world_after_us(50)), -ETIMEDOUT);
    tell('t');
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

TEST(who_waits_at_a_condition_gets_the_lock_of_an_owner_that_ended) {
    world_begin(1);
    ac_spawn(wait_at_condition, 'a');
    ac_spawn(notify_and_end, ac_nil);
    run();
    ck_assert_str_eq(story, "a");
    ck_assert_ptr_null(condition.own_.loop_);
    world_begin(1);
    ac_spawn(wait_for_time_to_be_up, ac_nil);
    ac_spawn(wait_for_time_to_be_up, ac_nil);
    ac_spawn(end_and_leave_them_at_the_condition, ac_nil);
    run();
    ck_assert_str_eq(story, "att");
    ck_assert_ptr_null(condition.own_.loop_);
}

// The end of the owner cancels who waits at the condition, before the first in the queue is told.
static ac_value wait_until_the_group_ends(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_int_eq(ac_condition_wait(&condition, AC_FOREVER), -ECANCELED);
    tell('c');
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

static ac_value fail_as_owner(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    let_others_run();
    return ac_of_error(-EDOM, NULL);
}

static ac_value be_first(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    tell('f');
    let_others_run();
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

static ac_value open_group_of_owner(ac_value unused) {
    (void)unused;
    ac_group *group;
    ck_assert_int_eq(ac_group_open(&group), 0);
    ac_spawn(wait_until_the_group_ends, ac_nil, .group = group);
    ac_spawn(fail_as_owner, ac_nil, .group = group);
    ac_spawn(be_first, ac_nil);
    ck_assert_int_eq(ac_group_join(group, AC_FOREVER), -EDOM);
    ck_assert_int_eq(ac_group_close(group), -EDOM);
    return ac_nil;
}

TEST(the_lock_of_an_owner_that_ended_goes_to_one) {
    ac_spawn(open_group_of_owner, ac_nil);
    run();
    ck_assert_str_eq(story, "fc");
}

TEST(one_who_is_given_up_at_a_condition_leaves_no_lock_taken) {
    ac_spawn(give_up_the_waiter, ac_spawn(wait_stubbornly, ac_nil));
    run();
}

// ---- several threads ----

static ac_value be_refused_elsewhere(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), -EXDEV);
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), -EXDEV);
    ck_assert(!ac_lock_is_mine(&lock));
    ck_assert_int_eq(ac_lock_release(&lock), -EPERM);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), -EXDEV);
    ck_assert_int_eq(ac_condition_wait(&condition, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_condition_notify(&condition, 1), -EPERM);
    tell('x');
    return ac_nil;
}

static ac_value be_welcome_elsewhere(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_int_eq(ac_condition_wait(&condition, ac_after(0.001)), -ETIMEDOUT);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    tell('y');
    return ac_nil;
}

static ac_value use_all(ac_value unused) {
    (void)unused;
    let_others_run();
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_NOW), 0);
    elsewhere(be_refused_elsewhere);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_int_eq(ac_cancel(waits), 0);
    let_others_run();
    elsewhere(be_welcome_elsewhere);
    return ac_nil;
}

static ac_value wait_until_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_NOW), 0);
    ck_assert_int_eq(ac_condition_wait(&condition, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    return ac_nil;
}

// The lock of the condition is free, but somebody waits for its return.
TEST(what_is_in_use_is_of_one_loop_and_what_is_not_of_any) {
    ac_spawn(use_all, ac_nil);
    waits = ac_spawn(wait_until_cancelled, ac_nil);
    run();
    ck_assert_str_eq(story, "xy");
}
