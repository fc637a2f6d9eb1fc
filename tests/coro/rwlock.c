// SPDX-License-Identifier: MIT
// Tests of src/coro/rwlock.c: the read-write lock.
#include "coro/fifo.h"

static struct ac_rwlock rwlock;

static int rwlock_acquire(bool all, ac_time deadline) {
    return all ? ac_rwlock_write(&rwlock, deadline) : ac_rwlock_read(&rwlock, deadline);
}
static int rwlock_release(void) { return ac_rwlock_release(&rwlock); }

static void rwlock_forget_all(void) { memset(&rwlock, 0, sizeof rwlock); }

static const struct object read_write = {
    .room = ALL,
    .forget = rwlock_forget_all,
    .shared = true,
    .acquire = rwlock_acquire,
    .release = rwlock_release,
    .queue = &rwlock.queue_,
    .loop = &rwlock.loop_,
};

TEST(a_read_write_lock_is_first_come_first_served_whatever_happens) { fifo_hold(&read_write); }

TEST(who_leaves_the_queue_of_a_read_write_lock_leaves_it_as_it_was) {
    fifo_leave_everywhere(&read_write);
}

// ---- order ----

static ac_value read_and_tell(ac_value letter) {
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), 0);
    tell((char)ac_int_of(letter));
    let_others_run();
    tell((char)(ac_int_of(letter) - 'a' + 'A'));
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    return ac_nil;
}

static ac_value write_and_tell(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_FOREVER), 0);
    tell('(');
    let_others_run();
    tell(')');
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    return ac_nil;
}

TEST(readers_share_writers_do_not_and_nobody_overtakes) {
    ac_spawn(read_and_tell, 'a');
    ac_spawn(read_and_tell, 'b');
    ac_spawn(write_and_tell, ac_nil);
    ac_spawn(write_and_tell, ac_nil);
    ac_spawn(read_and_tell, 'c');
    ac_spawn(read_and_tell, 'd');
    ac_spawn(write_and_tell, ac_nil);
    ac_spawn(read_and_tell, 'e');
    run();
    ck_assert_str_eq(story, "abAB()()cdCD()eE");
    ck_assert_ptr_null(rwlock.readers_);
    ck_assert_ptr_null(rwlock.loop_);
}

static ac_value write_in_vain(ac_value deadline) {
    int err = ac_rwlock_write(&rwlock, ac_int_of(deadline));
    ck_assert_int_eq(err, ac_int_of(deadline) == AC_FOREVER ? -ECANCELED : -ETIMEDOUT);
    return ac_nil;
}

// How the first of those who wait, a writer, goes away: 0: its time is up; 1: it is cancelled; 2:
// it is given up.
static ac_value read_while_a_writer_leaves(ac_value how) {
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_NOW), 0);
    ac_time deadline = ac_int_of(how) == 0 ? world_after_us(50) : AC_FOREVER;
    ac_ref writer = ac_spawn(write_in_vain, deadline);
    ac_spawn(read_and_tell, 'a');
    ac_spawn(read_and_tell, 'b');
    ac_spawn(write_and_tell, ac_nil);
    ac_spawn(read_and_tell, 'c');
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_str_eq(story, "");
    if (ac_int_of(how) == 0)
        ck_assert_int_eq(ac_sleep(100e-6), 0);
    else if (ac_int_of(how) == 1)
        ck_assert_int_eq(ac_cancel(writer), 0);
    else
        coro_abandon(coro_find(loop_here, writer.id));
    let_others_run();
    let_others_run();
    ck_assert_str_eq(story, "abAB");
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    return ac_nil;
}

TEST(a_writer_that_leaves_the_queue_lets_in_the_readers_behind_it) {
    for (int how = 0; how < 3; how++) {
        world_begin(1);
        memset(story, 0, sizeof story);
        ac_spawn(read_while_a_writer_leaves, how);
        run();
        ck_assert_str_eq(story, "abAB()cC");
        ck_assert_ptr_null(rwlock.loop_);
    }
}

// ---- refusals ----

static ac_value be_refused_at_rwlock(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_release(&rwlock), -EPERM);
    for (int writes = 0; writes < 2; writes++) {
        ck_assert_int_eq(rwlock_acquire(writes, AC_FOREVER), 0);
        ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), -EDEADLK);
        ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_NOW), -EDEADLK);
        ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
        ck_assert_int_eq(ac_rwlock_release(&rwlock), -EPERM);
    }
    return ac_nil;
}

static ac_value release_as_stranger(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_release(&rwlock), -EPERM);
    return ac_nil;
}

static ac_value release_what_another_holds(ac_value writes) {
    ck_assert_int_eq(rwlock_acquire(ac_bool_of(writes), AC_NOW), 0);
    ac_ref stranger = ac_spawn(release_as_stranger, ac_nil);
    ck_assert_int_eq(ac_join(stranger, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    return ac_nil;
}

TEST(a_read_write_lock_refuses_strangers_and_a_second_time) {
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), -EPERM);
    ac_spawn(be_refused_at_rwlock, ac_nil);
    run();
    for (int writes = 0; writes < 2; writes++) {
        ac_spawn(release_what_another_holds, writes == 1);
        run();
    }
}

static ac_value wait_without_memory(ac_value unused) {
    (void)unused;
    memory_fail_nth(1);
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), -ENOMEM);
    ck_assert(memory_has_failed());
    ck_assert_ptr_null(rwlock.queue_.first_);
    memory_fail_nth(0);
    return ac_nil;
}

static ac_value read_without_memory(ac_value unused) {
    (void)unused;
    memory_fail_nth(1);
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), -ENOMEM);
    ck_assert(memory_has_failed());
    ck_assert_ptr_null(rwlock.loop_);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_FOREVER), 0); // needs none
    memory_fail_nth(0);
    ac_ref reader = ac_spawn(wait_without_memory, ac_nil);
    ck_assert_int_eq(ac_join(reader, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), 0);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    return ac_nil;
}

TEST(without_memory_a_reader_is_refused_and_nothing_changes) {
    ac_spawn(read_without_memory, ac_nil);
    run();
    ck_assert_ptr_null(rwlock.loop_);
}

// ---- many readers ----

enum { MANY = 3000 };

static ac_value read_for_a_while(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_NOW), 0);
    ck_assert_int_eq(ac_sleep((double)ac_random_int(1, 1000) * 1e-6), 0);
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_NOW), -EDEADLK);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), -EPERM);
    return ac_nil;
}

TEST(many_read_at_once_and_leave_in_any_order) {
    world_begin(1);
    for (int i = 0; i < MANY; i++)
        ac_spawn(read_for_a_while, ac_nil, .stack_bytes = AC_STACK_BYTES_MIN);
    ac_spawn(write_and_tell, ac_nil);
    run();
    ck_assert_str_eq(story, "()");
    ck_assert_ptr_null(rwlock.readers_);
}

// ---- owners that end ----

static ac_value end_as_holder(ac_value writes) {
    ck_assert_int_eq(rwlock_acquire(ac_int_of(writes) == 1, AC_FOREVER), 0);
    return ac_nil;
}

static ac_value hold_until_told(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), 0);
    ck_assert_int_eq(ac_suspend(NULL, AC_FOREVER), 0);
    tell('r');
    return ac_nil;
}

// The writer waits for two readers, of which the one that ends without a release may be the one
// that it watches, and may end first or last.
static ac_value let_readers_end(ac_value order) {
    ac_ref readers[3];
    for (size_t i = 0; i < countof(readers); i++)
        readers[i] = ac_spawn(hold_until_told, ac_nil);
    let_others_run();
    ac_spawn(write_and_tell, ac_nil);
    ac_spawn(read_and_tell, 'a');
    let_others_run();
    for (size_t i = 0; i < countof(readers); i++) {
        ck_assert_int_eq(ac_resume(readers[(i + (size_t)ac_int_of(order)) % 3], ac_nil), 0);
        let_others_run();
    }
    return ac_nil;
}

TEST(who_waits_when_the_last_reader_ends_gets_the_lock) {
    for (int order = 0; order < 3; order++) {
        memset(story, 0, sizeof story);
        ac_spawn(let_readers_end, order);
        run();
        ck_assert_str_eq(story, "rrr()aA");
        ck_assert_ptr_null(rwlock.loop_);
        ck_assert_ptr_null(rwlock.readers_);
    }
}

static ac_value come_after_holders(ac_value unused) {
    (void)unused;
    for (int64_t i = 0; i < 8; i++) {
        ck_assert_int_eq(ac_join(ac_spawn(end_as_holder, i & 1), NULL, AC_FOREVER), 0);
        ck_assert_int_eq(ac_join(ac_spawn(end_as_holder, i & 1), NULL, AC_FOREVER), 0);
        ck_assert_int_eq(rwlock_acquire(i >> 1 & 1, AC_NOW), 0);
        ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
        ck_assert_ptr_null(rwlock.readers_);
        ck_assert_ptr_null(rwlock.loop_);
    }
    return ac_nil;
}

TEST(who_comes_after_the_end_of_a_holder_gets_the_lock) {
    ac_spawn(come_after_holders, ac_nil);
    run();
}

static ac_value read_beside_the_dead(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_NOW), 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(ac_join(ac_spawn(end_as_holder, 0), NULL, AC_FOREVER), 0);
        size_t records = 0;
        list_each (link, &loop_here->readers)
            records++;
        ck_assert_uint_le(records, 2);
    }
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_NOW), 0);
    ck_assert(list_empty(&loop_here->readers));
    ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    return ac_nil;
}

TEST(readers_that_end_as_such_leave_no_more_than_one_record) {
    ac_spawn(read_beside_the_dead, ac_nil);
    run();
}

TEST(what_a_loop_that_has_ended_left_held_is_free) { // the sanitizer looks for leaks
    for (int64_t i = 0; i < 8; i++) {
        ac_spawn(end_as_holder, i & 1);
        run();
        ck_assert_ptr_nonnull(rwlock.loop_);
        if (i & 2)
            ac_spawn(be_refused_at_rwlock, ac_nil);
        run();
    }
}

// ---- cancelled coroutines, other threads ----

static ac_value go_on_though_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    for (int all = 0; all < 2; all++) {
        ck_assert_int_eq(rwlock_acquire(all, AC_FOREVER), -ECANCELED);
        ck_assert_int_eq(rwlock_acquire(all, AC_NOW), 0);
        ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    }
    return ac_nil;
}

TEST(a_cancelled_coroutine_takes_what_is_free_without_waiting_only) {
    ac_spawn(go_on_though_cancelled, ac_nil);
    run();
}

static ac_value be_refused_elsewhere(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), -EXDEV);
    ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_NOW), -EXDEV);
    ck_assert_int_eq(ac_rwlock_release(&rwlock), -EPERM);
    tell('x');
    return ac_nil;
}

static ac_value use_it_elsewhere(ac_value unused) {
    (void)unused;
    for (int all = 0; all < 2; all++) {
        ck_assert_int_eq(rwlock_acquire(all, AC_NOW), 0);
        elsewhere(be_refused_elsewhere);
        ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    }
    elsewhere(be_refused_at_rwlock); // as everywhere
    return ac_nil;
}

TEST(a_read_write_lock_in_use_is_of_one_loop) {
    ac_spawn(use_it_elsewhere, ac_nil);
    run();
    ck_assert_str_eq(story, "xx");
}
