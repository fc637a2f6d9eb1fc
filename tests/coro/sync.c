// SPDX-License-Identifier: MIT
// Tests of src/coro/sync.c: event, semaphore and wait group: order, deadlines, cancellation, other
// threads, and places in several queues at once.
#include "coro/fifo.h"

// ---- event ----

static struct ac_event event;

static ac_value wait_for_event(ac_value letter) {
    ck_assert_int_eq(ac_event_wait(&event, AC_FOREVER), 0);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

static ac_value set_and_clear(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_event_set(&event), 0);
    ck_assert(ac_event_is_set(&event));
    ck_assert_int_eq(ac_event_wait(&event, AC_NOW), 0);
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert(!ac_event_is_set(&event));
    ck_assert_int_eq(ac_event_wait(&event, AC_NOW), -ETIMEDOUT);
    tell('.');
    return ac_nil;
}

TEST(setting_an_event_lets_all_go_on_even_if_it_is_cleared_before_they_run) {
    for (char it = 'a'; it <= 'e'; it++)
        ac_spawn(wait_for_event, it);
    ac_spawn(set_and_clear, ac_nil);
    run();
    ck_assert_str_eq(story, ".abcde");
    ck_assert_ptr_null(event.queue_.first_);
    ck_assert_ptr_null(event.loop_);
}

// ---- semaphore ----

static struct ac_semaphore semaphore;

static ac_value take_one(ac_value letter) {
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_FOREVER), 0);
    tell((char)ac_int_of(letter));
    return ac_nil;
}

static ac_value release_and_barge(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    tell('.');
    return ac_nil;
}

TEST(what_is_released_is_handed_to_the_first_who_waits) {
    semaphore.count = 1;
    for (char it = 'a'; it <= 'c'; it++)
        ac_spawn(take_one, it);
    ac_spawn(release_and_barge, ac_nil);
    run();
    ck_assert_str_eq(story, "a.bc");
    ck_assert_uint_eq(semaphore.count, 0);
}

static int semaphore_acquire(bool all, ac_time deadline) {
    ck_assert(!all);
    return ac_semaphore_acquire(&semaphore, deadline);
}
static int semaphore_release(void) { return ac_semaphore_release(&semaphore); }

static const struct object three = {
    .room = 3,
    .acquire = semaphore_acquire,
    .release = semaphore_release,
    .queue = &semaphore.queue_,
    .loop = &semaphore.loop_,
};

TEST(a_semaphore_is_first_come_first_served_whatever_happens) {
    semaphore.count = semaphore.count_max = 3;
    fifo_hold(&three);
    ck_assert_uint_eq(semaphore.count, 3);
}

TEST(who_leaves_the_queue_of_a_semaphore_leaves_it_as_it_was) {
    semaphore.count = semaphore.count_max = 3;
    fifo_leave_everywhere(&three);
}

static ac_value be_within_bounds(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, ac_now() - 1), 0); // nothing to wait for
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_FOREVER), 0);
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, ac_now() - 1), -ETIMEDOUT);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), -EOVERFLOW);
    ck_assert_uint_eq(semaphore.count, 2);
    semaphore.count_max = 0;
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    semaphore.count = UINT32_MAX;
    ck_assert_int_eq(ac_semaphore_release(&semaphore), -EOVERFLOW);
    return ac_nil;
}

TEST(a_semaphore_keeps_its_bounds) {
    semaphore.count = semaphore.count_max = 2;
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), -EOVERFLOW);
    ac_spawn(be_within_bounds, ac_nil);
    run();
}

TEST(a_semaphore_is_released_outside_coroutines) {
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0); // there is no loop yet
    ac_spawn(take_one, 'a');
    ac_spawn(take_one, 'b');
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    run();
    ck_assert_str_eq(story, "ab");
    ck_assert_ptr_null(semaphore.loop_);
}

// ---- wait group ----

static struct ac_waitgroup group;

static ac_value do_a_part(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep((double)ac_random_int(1, 100) * 1e-6), 0);
    tell('-');
    ck_assert_int_eq(ac_waitgroup_done(&group), 0);
    return ac_nil;
}

static ac_value wait_for_group(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_waitgroup_wait(&group, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_waitgroup_wait(&group, AC_FOREVER), 0);
    tell('!');
    ck_assert_int_eq(ac_waitgroup_wait(&group, AC_FOREVER), 0); // at once: nothing is left
    return ac_nil;
}

TEST(a_wait_group_lets_all_go_on_when_nothing_is_left) {
    world_begin(1);
    ck_assert_int_eq(ac_waitgroup_wait(&group, AC_NOW), -EPERM);
    ck_assert_int_eq(ac_waitgroup_add(&group, 5), 0);
    for (int i = 0; i < 3; i++)
        ac_spawn(wait_for_group, ac_nil);
    for (int i = 0; i < 5; i++)
        ac_spawn(do_a_part, ac_nil);
    run();
    ck_assert_str_eq(story, "-----!!!");
    ck_assert_ptr_null(group.loop_);
}

TEST(a_wait_group_counts_within_bounds) {
    ck_assert_int_eq(ac_waitgroup_done(&group), -EINVAL);
    ck_assert_int_eq(ac_waitgroup_add(&group, 2), 0);
    ck_assert_int_eq(ac_waitgroup_add(&group, -3), -EINVAL);
    ck_assert_int_eq(ac_waitgroup_add(&group, INT32_MIN), -EINVAL);
    ck_assert_int_eq(ac_waitgroup_add(&group, 0), 0);
    ck_assert_uint_eq(group.count_, 2);
    ck_assert_int_eq(ac_waitgroup_add(&group, INT32_MAX), 0);
    ck_assert_int_eq(ac_waitgroup_add(&group, INT32_MAX), -EOVERFLOW);
    ck_assert_uint_eq(group.count_, 2u + INT32_MAX);
    ck_assert_int_eq(ac_waitgroup_add(&group, INT32_MAX - 1), 0);
    ck_assert_int_eq(ac_waitgroup_add(&group, 1), -EOVERFLOW);
    ck_assert_ptr_null(group.loop_);
}

// ---- waits that end early ----

static int wait_for(int what, ac_time deadline) {
    switch (what) {
    case 0: return ac_event_wait(&event, deadline);
    case 1: return ac_semaphore_acquire(&semaphore, deadline);
    default: return ac_waitgroup_wait(&group, deadline);
    }
}

static int give(int what) {
    switch (what) {
    case 0: return ac_event_set(&event);
    case 1: return ac_semaphore_release(&semaphore);
    default: return ac_waitgroup_done(&group);
    }
}

static void check_that_nobody_waits(void) {
    ck_assert(!event.queue_.first_ && !event.loop_);
    ck_assert(!semaphore.queue_.first_ && !semaphore.loop_);
    ck_assert(!group.queue_.first_ && !group.loop_);
}

static void begin(void) {
    world_begin(1);
    memset(story, 0, sizeof story);
    event = (struct ac_event){0};
    semaphore = (struct ac_semaphore){0};
    group = (struct ac_waitgroup){.count_ = 1};
}

static ac_value wait_in_vain(ac_value it) {
    int what = (int)ac_int_of(it);
    ac_time until = world_after_us(30);
    ck_assert_int_eq(wait_for(what, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(wait_for(what, world.now - 1), -ETIMEDOUT);
    ck_assert_int_eq(wait_for(what, until), -ETIMEDOUT);
    ck_assert_int_ge(world.now, until);
    ck_assert_int_lt(world.now, until + 1000);
    check_that_nobody_waits();
    ck_assert_int_eq(wait_for(what, AC_FOREVER), -ECANCELED);
    check_that_nobody_waits();
    ck_assert_int_eq(give(what), 0);
    ck_assert_int_eq(wait_for(what, AC_FOREVER), -ECANCELED); // though it is there
    ck_assert_int_eq(wait_for(what, AC_NOW), 0);
    tell('x');
    return ac_nil;
}

static ac_value cancel_later(ac_value whom) {
    ck_assert_int_eq(ac_sleep(100e-6), 0);
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), 0);
    return ac_nil;
}

TEST(a_wait_ends_when_its_time_is_up_or_it_is_cancelled) {
    for (int what = 0; what < 3; what++) {
        begin();
        ac_spawn(cancel_later, ac_spawn(wait_in_vain, what));
        run();
        ck_assert_str_eq(story, "x");
    }
}

static ac_value get_in_time(ac_value it) {
    ck_assert_int_eq(wait_for((int)ac_int_of(it), world_after_us(20)), 0);
    ck_assert_int_eq(ac_sleep(0), -ECANCELED);
    tell('x');
    return ac_nil;
}

static ac_value give_and_cancel(ac_value list) {
    ac_ref waiter;
    int64_t what;
    ck_assert_int_eq(ac_unpack(list, &waiter, &what), 0);
    let_others_run();
    ck_assert_int_eq(give((int)what), 0);
    ck_assert_int_eq(ac_cancel(waiter), 0);
    world.now += 1000000;
    return ac_nil;
}

TEST(what_was_given_is_kept_through_cancellation_and_deadline) {
    for (int what = 0; what < 3; what++) {
        begin();
        ac_ref waiter = ac_spawn(get_in_time, what);
        ac_spawn(give_and_cancel, ac_list(waiter, what));
        run();
        ck_assert_str_eq(story, "x");
        check_that_nobody_waits();
    }
}

// ---- other threads ----

static ac_value be_refused_elsewhere(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_event_set(&event), -EXDEV);
    ck_assert_int_eq(ac_event_clear(&event), -EXDEV);
    ck_assert(!ac_event_is_set(&event));
    ck_assert_int_eq(ac_event_wait(&event, AC_NOW), -EXDEV);
    ck_assert_int_eq(ac_semaphore_acquire(&semaphore, AC_FOREVER), -EXDEV);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), -EXDEV);
    ck_assert_int_eq(ac_waitgroup_add(&group, 1), -EXDEV);
    ck_assert_int_eq(ac_waitgroup_done(&group), -EXDEV);
    ck_assert_int_eq(ac_waitgroup_wait(&group, AC_FOREVER), -EXDEV);
    struct waiter waiter = {.coro = coro_here()};
    ck_assert_int_eq(event_attach(&event, &waiter), -EXDEV);
    ck_assert_int_eq(semaphore_attach(&semaphore, &waiter), -EXDEV);
    waiter_detach(&waiter); // stands nowhere
    tell('x');
    return ac_nil;
}

static ac_value be_welcome_elsewhere(ac_value unused) {
    (void)unused;
    for (int what = 0; what < 3; what++) {
        ck_assert_int_eq(give(what), 0);
        ck_assert_int_eq(wait_for(what, AC_FOREVER), 0);
    }
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert_int_eq(ac_event_wait(&event, ac_after(0.001)), -ETIMEDOUT);
    tell('y');
    return ac_nil;
}

static void *set_without_loop(void *expected) {
    ck_assert_int_eq(ac_event_set(&event), *(int *)expected);
    ck_assert_int_eq(ac_event_clear(&event), *(int *)expected);
    return NULL;
}

static void without_loop(int expected) {
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, set_without_loop, &expected), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static ac_value wait_here(ac_value it) {
    ck_assert_int_eq(wait_for((int)ac_int_of(it), AC_FOREVER), 0);
    return ac_nil;
}

static ac_value ask_elsewhere(ac_value unused) {
    (void)unused;
    let_others_run();
    elsewhere(be_refused_elsewhere);
    without_loop(-EXDEV);
    for (int what = 0; what < 3; what++)
        ck_assert_int_eq(give(what), 0);
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert_int_eq(ac_waitgroup_add(&group, 1), 0);
    without_loop(0); // though those who waited have not run yet
    elsewhere(be_welcome_elsewhere);
    return ac_nil;
}

TEST(what_somebody_waits_for_is_of_one_loop) {
    group.count_ = 1;
    for (int what = 0; what < 3; what++)
        ac_spawn(wait_here, what);
    ac_spawn(ask_elsewhere, ac_nil);
    run();
    ck_assert_str_eq(story, "xy");
    check_that_nobody_waits();
}

enum { TIMES = 20000 };

static struct ac_semaphore contested = {.count = 1};
static int started; // atomic: threads
static long inside, times;

// Whoever takes it is alone, be the other on this thread or not.
static ac_value contend(ac_value unused) {
    (void)unused;
    __atomic_fetch_add(&started, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&started, __ATOMIC_RELAXED) < 2)
        ;
    for (int got = 0; got < TIMES;) {
        int err = ac_semaphore_acquire(&contested, AC_NOW);
        ck_assert(err == 0 || err == -EXDEV || err == -ETIMEDOUT);
        if (err < 0)
            continue;
        ck_assert_int_eq(inside++, 0);
        times++;
        inside--;
        while ((err = ac_semaphore_release(&contested)) == -EXDEV)
            ;
        ck_assert_int_eq(err, 0);
        got++;
    }
    return ac_nil;
}

TEST(threads_that_take_and_give_at_once_do_no_harm) {
    pthread_t threads[2];
    ac_function function = contend;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_in_thread, &function), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(times, 2 * TIMES);
    ck_assert_uint_eq(contested.count, 1);
}

// ---- one who waits for several ----

// What ac_wait_any does, in short: places in several queues, and the first that is granted takes
// the others out.
struct place {
    struct waiter waiter;
    struct several *of;
};
struct several {
    struct place places[4];
    int granted; // which; -1: none
};

static void leave_all(struct several *several) {
    for (size_t i = 0; i < countof(several->places); i++)
        waiter_detach(&several->places[i].waiter);
}

static void one_is_granted(struct waiter *waiter) {
    struct place *place = container_of(waiter, struct place, waiter);
    ck_assert_int_eq(place->of->granted, -1);
    place->of->granted = (int)(place - place->of->places);
    leave_all(place->of);
    coro_wake(waiter->coro, 0);
}

static bool abandon_several(struct coro *coro) {
    leave_all(coro->wait_for);
    return true;
}

static const struct wait_kind several_wait = {"several", abandon_several, .until_deadline = false};

// The event stands in twice.
static int wait_for_several(struct several *several, ac_time deadline) {
    struct coro *self = coro_here();
    *several = (struct several){.granted = -1};
    for (size_t i = 0; i < countof(several->places); i++) {
        struct place *place = &several->places[i];
        *place = (struct place){.waiter = {.coro = self, .granted = one_is_granted}, .of = several};
        int err = i % 2 ? semaphore_try(&semaphore) : event_try(&event);
        ck_assert_int_eq(err, -EAGAIN);
        err = i % 2 ? semaphore_attach(&semaphore, &place->waiter)
                    : event_attach(&event, &place->waiter);
        ck_assert_int_eq(err, 0);
    }
    self->wait_for = several;
    return coro_wait(self, &several_wait, deadline);
}

static ac_value choose(ac_value expected) {
    struct several several;
    int err = wait_for_several(&several, AC_FOREVER);
    ck_assert_int_eq(err, ac_int_of(expected) < 0 ? -ECANCELED : 0);
    ck_assert_int_eq(several.granted, ac_int_of(expected));
    for (size_t i = 0; i < countof(several.places); i++)
        ck_assert_ptr_null(several.places[i].waiter.in);
    tell('x');
    return ac_nil;
}

static ac_value give_to_choosers(ac_value cancelled) {
    let_others_run();
    ck_assert_int_eq(ac_cancel(ac_ref_of(cancelled)), 0);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0); // for the first
    ck_assert_int_eq(ac_event_set(&event), 0);             // for the others, once each
    check_that_nobody_waits();
    ck_assert_uint_eq(semaphore.count, 0);
    return ac_nil;
}

TEST(a_waiter_in_several_queues_is_granted_one_thing) {
    ac_spawn(choose, 1);
    ac_ref cancelled = ac_spawn(choose, -1);
    ac_spawn(choose, 0);
    ac_spawn(choose, 0);
    ac_spawn(wait_for_event, 'e');
    ac_spawn(give_to_choosers, cancelled);
    run();
    ck_assert_uint_eq(strlen(story), 5);
}
