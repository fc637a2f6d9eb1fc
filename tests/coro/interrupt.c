// SPDX-License-Identifier: MIT
// Tests of waits that end early, of whatever kind: a table of all waits, each cancelled, replaced
// and shielded; and of shields by themselves.
#include "coro/coro.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>
#include <unistd.h>

#define FAR ac_after(100)

static double seconds_since(ac_time start) { return (double)(ac_now() - start) * 1e-9; }

static void run(ac_function function) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(function, ac_nil)), 0);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- the ways to wait, each until the deadline if nothing ends it earlier ----

static ac_ref sleeper;            // a coroutine that does not end by itself
static ac_listener *listener;     // nobody connects to it
static struct ac_lock taken;      // held by the test
static struct ac_rwlock written;  // likewise, to write
static ac_stream *silent, *stuck; // nobody writes to it, nobody reads from it
static ac_stream *others[2];      // their other ends

static ac_value sleep_on(ac_value unused) {
    (void)unused;
    return ac_result(ac_sleep_until(AC_FOREVER));
}

static int wait_sleep(ac_time deadline) { return ac_sleep_until(deadline); }

static int wait_suspend(ac_time deadline) {
    ac_value update;
    return ac_suspend(&update, deadline);
}

static int wait_join(ac_time deadline) { return ac_join(sleeper, NULL, deadline); }

static int wait_receive(ac_time deadline) {
    ac_value message;
    return ac_receive(&message, deadline);
}

static int wait_event(ac_time deadline) {
    static struct ac_event never;
    return ac_event_wait(&never, deadline);
}

static int wait_semaphore(ac_time deadline) {
    static struct ac_semaphore none;
    return ac_semaphore_acquire(&none, deadline);
}

static int wait_waitgroup(ac_time deadline) {
    static struct ac_waitgroup much;
    ck_assert_int_eq(ac_waitgroup_add(&much, 1), 0);
    return ac_waitgroup_wait(&much, deadline);
}

static int wait_lock(ac_time deadline) { return ac_lock_acquire(&taken, deadline); }

static int wait_condition(ac_time deadline) {
    static struct ac_condition never;
    int err = ac_condition_acquire(&never, deadline);
    if (err == 0) {
        err = ac_condition_wait(&never, deadline);
        ck_assert_int_eq(ac_condition_release(&never), 0);
    }
    return err;
}

static int wait_read_lock(ac_time deadline) { return ac_rwlock_read(&written, deadline); }

static int wait_channel(ac_time deadline) {
    ac_ref channel = ac_channel_open("nobody subscribes");
    int err = ac_channel_wait(channel, 1, deadline);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    return err;
}

static int wait_group(ac_time deadline) {
    ac_group *group;
    ck_assert_int_eq(ac_group_open(&group), 0);
    ck_assert(ac_ref_is(ac_spawn(sleep_on, ac_nil, .group = group)));
    int err = ac_group_join(group, deadline);
    ck_assert_int_eq(ac_group_close(group), 0);
    return err;
}

static int wait_accept(ac_time deadline) {
    ac_stream *stream;
    return ac_accept(listener, &stream, deadline);
}

static int wait_read(ac_time deadline) {
    char byte;
    return (int)ac_read(silent, &byte, 1, deadline);
}

static int wait_write(ac_time deadline) {
    static char much[1 << 20];
    int err;
    do
        err = (int)ac_write_all(stuck, much, sizeof much, deadline, NULL);
    while (err > 0);
    return err;
}

static ac_value read_to_end(ac_value fd) {
    char byte;
    ck_assert_int_eq(read((int)ac_int_of(fd), &byte, 1), 0);
    close((int)ac_int_of(fd));
    return ac_nil;
}

static int wait_work(ac_time deadline) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    int err = ac_work(read_to_end, ends[0], NULL, deadline);
    close(ends[1]);
    return err;
}

static const struct way {
    const char *kind; // the name of the wait
    int (*wait)(ac_time deadline);
    int at_deadline; // its result then
} ways[] = {
    {"sleep", wait_sleep, 0},
    {"suspend", wait_suspend, -ETIMEDOUT},
    {"join", wait_join, -ETIMEDOUT},
    {"receive", wait_receive, -ETIMEDOUT},
    {"event", wait_event, -ETIMEDOUT},
    {"semaphore", wait_semaphore, -ETIMEDOUT},
    {"wait group", wait_waitgroup, -ETIMEDOUT},
    {"lock", wait_lock, -ETIMEDOUT},
    {"condition", wait_condition, -ETIMEDOUT},
    {"lock to read", wait_read_lock, -ETIMEDOUT},
    {"channel", wait_channel, -ETIMEDOUT},
    {"group", wait_group, -ETIMEDOUT},
    {"accept", wait_accept, -ETIMEDOUT},
    {"read", wait_read, -ETIMEDOUT},
    {"write", wait_write, -ETIMEDOUT},
    {"blocking work", wait_work, -ETIMEDOUT},
};

static void begin(void) {
    char address[AC_ADDRESS_TEXT_BYTES];
    sleeper = ac_spawn(sleep_on, ac_nil, .daemon = true);
    ck_assert_int_eq(ac_lock_acquire(&taken, AC_NOW), 0);
    ck_assert_int_eq(ac_rwlock_write(&written, AC_NOW), 0);
    ck_assert_int_eq(ac_listen(&listener, "127.0.0.1:0"), 0);
    ck_assert_int_eq(ac_listener_address(listener, address), 0);
    ac_stream **ours[] = {&silent, &stuck};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_connect(ours[i], address, AC_FOREVER), 0);
        ck_assert_int_eq(ac_accept(listener, &others[i], AC_FOREVER), 0);
    }
}

static void end(void) {
    ck_assert_int_eq(ac_lock_release(&taken), 0);
    ck_assert_int_eq(ac_rwlock_release(&written), 0);
    ac_listener_close(listener);
    ac_stream *all[] = {silent, stuck, others[0], others[1]};
    for (size_t i = 0; i < countof(all); i++)
        ac_close(all[i]);
}

// Lets others run until the coroutine waits in this way.
static void see_waiting(ac_ref who, const struct way *way) {
    for (;;) {
        struct coro *coro = coro_find(loop_here, who.id);
        ck_assert_ptr_nonnull(coro);
        if (coro->wait && strcmp(coro->wait->name, way->kind) == 0)
            return;
        ck_assert_int_eq(ac_yield(), 0);
    }
}

static enum ac_end end_of(ac_ref who) {
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(who, &exit, FAR), 0);
    ac_drop(exit.value);
    return exit.how;
}

// ---- all waits ----

static int first, second;

static ac_value wait_twice(ac_value way) {
    const struct way *it = ac_pointer_of(way);
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    first = it->wait(FAR);
    second = it->wait(FAR);
    return ac_hold(way);
}

static ac_value cancel_each(ac_value unused) {
    (void)unused;
    begin();
    for (size_t i = 0; i < countof(ways); i++) {
        ac_ref who = ac_spawn(wait_twice, ac_of_pointer((void *)&ways[i]), .joinable = true);
        see_waiting(who, &ways[i]);
        ck_assert_int_eq(ac_cancel(who), 0);
        ck_assert_int_eq(end_of(who), AC_CANCELLED);
        ck_assert_msg(first == -ECANCELED && second == -ECANCELED, "%s: %d, %d", ways[i].kind,
                      first, second);
    }
    end();
    return ac_nil;
}

TEST(every_wait_can_be_cancelled) { run(cancel_each); }

static int after_replacement;

static ac_value wait_again(ac_value way) {
    const struct way *it = ac_pointer_of(way);
    after_replacement = it->wait(ac_after(0.01));
    return ac_nil;
}

static ac_value replace_each(ac_value unused) {
    (void)unused;
    begin();
    for (size_t i = 0; i < countof(ways); i++) {
        const struct way *way = &ways[i];
        ac_ref who = ac_spawn(wait_twice, ac_of_pointer((void *)way), .joinable = true);
        see_waiting(who, way);
        ck_assert_int_eq(ac_replace(who, wait_again, ac_nil), 0);
        ck_assert_int_eq(end_of(who), AC_FINISHED);
        ck_assert_msg(first == -ERESTART && second == -ERESTART, "%s: %d, %d", way->kind, first,
                      second);
        ck_assert_msg(after_replacement == way->at_deadline, "%s: %d", way->kind,
                      after_replacement);
    }
    end();
    return ac_nil;
}

TEST(every_wait_can_be_replaced_and_the_new_function_can_wait_again) { run(replace_each); }

static ac_value wait_shielded(ac_value way) {
    const struct way *it = ac_pointer_of(way);
    ck_assert_int_eq(ac_set_replaceable(true), 0);
    ck_assert_int_eq(ac_shield_begin(), 0);
    first = it->wait(ac_after(0.03));
    ck_assert_int_eq(ac_shield_end(), 0);
    second = it->wait(FAR);
    return ac_nil;
}

static ac_value wait_once(ac_value unused) {
    (void)unused;
    return ac_result(ac_yield());
}

static void interrupt_shielded(int reason) {
    for (size_t i = 0; i < countof(ways); i++) {
        const struct way *way = &ways[i];
        ac_ref who = ac_spawn(wait_shielded, ac_of_pointer((void *)way), .joinable = true);
        see_waiting(who, way);
        if (reason == -ECANCELED)
            ck_assert_int_eq(ac_cancel(who), 0);
        else
            ck_assert_int_eq(ac_replace(who, wait_once, ac_nil), 0);
        ck_assert_int_eq(end_of(who), reason == -ECANCELED ? AC_CANCELLED : AC_FINISHED);
        ck_assert_msg(first == way->at_deadline && second == reason, "%s: %d, %d", way->kind, first,
                      second);
    }
}

static ac_value shield_each(ac_value unused) {
    (void)unused;
    begin();
    interrupt_shielded(-ECANCELED);
    interrupt_shielded(-ERESTART);
    end();
    return ac_nil;
}

TEST(no_wait_is_interrupted_while_a_shield_is_up_and_the_first_one_behind_it_is) {
    run(shield_each);
}

// ---- shields ----

TEST(there_are_no_shields_outside_coroutines) {
    ck_assert_int_eq(ac_shield_begin(), -EPERM);
    ck_assert_int_eq(ac_shield_end(), -EPERM);
}

static ac_value count_shields(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_shield_end(), -EPERM);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    for (int i = 0; i < 255; i++)
        ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_shield_begin(), -EOVERFLOW);
    for (int i = 0; i < 255; i++) {
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_sleep(0), 0);
        ck_assert_int_eq(ac_shield_end(), 0);
    }
    ck_assert_int_eq(ac_yield(), -ECANCELED);
    ck_assert_int_eq(ac_shield_end(), -EPERM);
    ck_assert_int_eq(ac_shield_begin(), 0); // also after it was told
    ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(ac_shield_end(), 0);
    ck_assert_int_eq(ac_sleep(0.001), -ECANCELED);
    return ac_nil;
}

TEST(shields_nest_up_to_255) { run(count_shields); }

static ac_value end_shielded(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

static ac_value cancel_and_see(ac_value unused) {
    (void)unused;
    ac_ref who = ac_spawn(end_shielded, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(who), 0);
    ck_assert_int_eq(end_of(who), AC_FINISHED);
    // The record that it leaves has no shield for the next one.
    who = ac_spawn(sleep_on, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(who), 0);
    ck_assert_int_eq(end_of(who), AC_CANCELLED);
    return ac_nil;
}

TEST(one_that_ends_under_its_shield_was_not_cancelled) { run(cancel_and_see); }

static bool cleaned_up, went_on;

static ac_value clean_up(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_shield_begin(), 0);
    ck_assert_int_eq(ac_sleep(0.1), 0);
    ck_assert_int_eq(ac_shield_end(), 0);
    cleaned_up = true;
    return ac_nil;
}

static ac_value shielded_for_ever(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_shield_begin(), 0);
    (void)ac_sleep_until(AC_FOREVER);
    went_on = true;
    return ac_nil;
}

static ac_value shielded_yields(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_shield_begin(), 0);
    while (ac_yield() == 0)
        continue;
    went_on = true;
    return ac_nil;
}

TEST(the_end_of_the_loop_waits_for_shields_but_not_longer_than_its_second) {
    ac_spawn(clean_up, ac_nil, .daemon = true);
    ac_spawn(shielded_for_ever, ac_nil, .daemon = true);
    ac_spawn(shielded_yields, ac_nil, .daemon = true);
    ac_time start = ac_now();
    ac_spawn(wait_once, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert(cleaned_up);
    ck_assert(!went_on);
    ck_assert_double_ge(seconds_since(start), 1);
    ck_assert_double_lt(seconds_since(start), TEST_PATIENCE_S);
}
