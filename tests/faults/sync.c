// SPDX-License-Identifier: MIT
// Faults under locks and their friends: who waits is served or told, and what is given up is free.
#include "faults.h"

enum { WORKERS = 4 };

// What the coroutines of a scenario share; `holders` are inside at once, `entered` ever.
static struct {
    struct ac_lock lock;
    struct ac_condition condition;
    struct ac_event event;
    struct ac_semaphore semaphore;
    struct ac_rwlock rwlock;
    struct ac_waitgroup group;
    int entered;
    int holders;
    int spawned;
} all;

static void run_workers(ac_function function) {
    memset(&all, 0, sizeof all);
    for (int i = 0; i < WORKERS; i++)
        all.spawned += ac_ref_is(note_ref(ac_spawn(function, i, .name = "worker")));
    note(ac_run());
    REQUIRE(all.holders == 0);
    REQUIRE(all.entered == WORKERS || faults_errors() > 0);
}

static void hold_a_while(int others_max) {
    REQUIRE(all.holders <= others_max);
    all.holders++;
    all.entered++;
    note(ac_sleep(0.0001));
    all.holders--;
}

static ac_value lock(ac_value unused) {
    (void)unused;
    if (note(ac_lock_acquire(&all.lock, ac_after(5))) < 0)
        return ac_nil;
    REQUIRE(ac_lock_is_mine(&all.lock));
    hold_a_while(0);
    REQUIRE(ac_lock_release(&all.lock) == 0);
    return ac_nil;
}

SCENARIO(a_lock_has_one_owner) {
    run_workers(lock);
    REQUIRE(all.lock.owner_ == 0);
}

// Each waits for the one before it.
static ac_value condition(ac_value nth) {
    int turn = (int)ac_int_of(nth);
    if (note(ac_condition_acquire(&all.condition, ac_after(5))) < 0)
        return ac_nil;
    int err = 0;
    while (all.entered < turn && err == 0)
        err = (int)note(patiently(ac_condition_wait(&all.condition, ac_after(0.05))));
    all.entered++;
    REQUIRE(ac_condition_notify(&all.condition, AC_ALL) >= 0);
    REQUIRE(ac_condition_release(&all.condition) == 0);
    return ac_nil;
}

SCENARIO(a_condition_lets_each_have_its_turn) { run_workers(condition); }

static ac_value event(ac_value nth) {
    if (ac_int_of(nth) == WORKERS - 1) {
        REQUIRE(ac_event_clear(&all.event) == 0 && !ac_event_is_set(&all.event));
        note(ac_sleep(0.0001));
        REQUIRE(ac_event_set(&all.event) == 0);
    } else if (note(patiently(ac_event_wait(&all.event, ac_after(0.05)))) < 0) {
        return ac_nil;
    }
    all.entered++;
    return ac_nil;
}

SCENARIO(an_event_reaches_all) { run_workers(event); }

static ac_value semaphore(ac_value nth) {
    if (ac_int_of(nth) == 0)
        REQUIRE(ac_semaphore_release(&all.semaphore) == 0 &&
                ac_semaphore_release(&all.semaphore) == 0);
    if (note(patiently(ac_semaphore_acquire(&all.semaphore, ac_after(0.05)))) < 0)
        return ac_nil;
    hold_a_while(1);
    REQUIRE(ac_semaphore_release(&all.semaphore) == 0);
    return ac_nil;
}

SCENARIO(a_semaphore_counts) { run_workers(semaphore); }

static ac_value read_and_write(ac_value nth) {
    bool writes = ac_int_of(nth) == 1;
    int err = writes ? ac_rwlock_write(&all.rwlock, ac_after(5))
                     : ac_rwlock_read(&all.rwlock, ac_after(5));
    if (note(err) < 0)
        return ac_nil;
    hold_a_while(writes ? 0 : WORKERS);
    REQUIRE(ac_rwlock_release(&all.rwlock) == 0);
    return ac_nil;
}

SCENARIO(a_read_write_lock_has_readers_or_one_writer) { run_workers(read_and_write); }

static ac_value wait_for_group(ac_value nth) {
    if (ac_int_of(nth) == 0) {
        REQUIRE(ac_waitgroup_add(&all.group, all.spawned - 1) == 0);
        note(patiently(ac_waitgroup_wait(&all.group, ac_after(0.05))));
    } else {
        note(ac_yield());
        if (all.group.count_ > 0)
            REQUIRE(ac_waitgroup_done(&all.group) == 0);
    }
    all.entered++;
    return ac_nil;
}

SCENARIO(a_wait_group_is_waited_for) { run_workers(wait_for_group); }
