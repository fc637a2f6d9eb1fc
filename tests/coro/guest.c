// SPDX-License-Identifier: MIT
// Tests of src/coro/guest.c: a guest that is driven by its host, and by the guardian while the host
// computes.
#include "coro/coro.h"
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct guest *guest;
static struct loop *host;
static bool over; // the guest's coroutines shall end; changed under the guest's lock

static double seconds_since(ac_time start) { return (double)(sys_clock() - start) * 1e-9; }

static void end_guest(struct loop *loop, void *state) {
    (void)loop;
    ck_assert_uint_eq(loop_living(guest_loop(state)), 0);
    guest_destroy(state);
    guest = NULL;
}

static void make(void) {
    int err = 0;
    host = loop_need(&err);
    guest = guest_create(host, &sys_chosen, &err);
    ck_assert_ptr_nonnull(guest);
    loop_extend(host, LOOP_REMOTE, (struct loop_extra){.state = guest, .done = end_guest});
}

static struct coro *settle(ac_function function, ac_value argument) {
    int err = 0;
    guest_enter(guest);
    struct coro *coro = coro_create(guest_loop(guest), function, argument, NULL, true, &err);
    guest_leave(guest);
    ck_assert_ptr_nonnull(coro);
    return coro;
}

// Of the guest's coroutines.
static uint32_t count_alive(void) {
    guest_enter(guest);
    uint32_t count = loop_living(guest_loop(guest));
    guest_leave(guest);
    return count;
}

static void end_guests_coroutines(void) {
    guest_enter(guest);
    over = true;
    guest_leave(guest);
    ac_time limit = ac_after(TEST_PATIENCE_S);
    while (count_alive() > 0) {
        ck_assert_int_eq(ac_sleep(0.005), 0);
        ck_assert_int_lt(ac_now(), limit);
    }
}

// ---- who drives ----

static int ticks, guarded_ticks; // under the guest's lock

static ac_value tick(ac_value unused) {
    (void)unused;
    while (!over) {
        ck_assert_int_eq(ac_sleep(0.005), 0);
        ck_assert_ptr_eq(loop_here, guest_loop(guest));
        ticks++;
        guarded_ticks += guest_is_guarded(guest);
    }
    return ac_nil;
}

static void reset_ticks(void) {
    guest_enter(guest);
    ticks = guarded_ticks = 0;
    guest_leave(guest);
}

static void compute(double seconds) {
    ac_time start = sys_clock();
    while (seconds_since(start) < seconds)
        continue;
}

// The host computes until the guest has ticked under the guardian.
static void compute_while_guarded(void) {
    ac_time start = sys_clock();
    int guarded;
    reset_ticks();
    do {
        compute(0.05);
        guest_enter(guest);
        guarded = guarded_ticks;
        guest_leave(guest);
    } while (guarded < 12 && seconds_since(start) < TEST_PATIENCE_S);
    ck_assert_int_ge(guarded, 12);
    ck_assert_ptr_eq(loop_here, host);
}

static bool has_run; // under the guest's lock

static ac_value run_once(ac_value unused) {
    (void)unused;
    has_run = true;
    return ac_nil;
}

static ac_value await_guest(ac_value unused) {
    while (count_alive() > 0)
        ck_assert_int_eq(ac_yield(), 0);
    return unused;
}

// Whether the guardian has run the guest while its host, which has not polled yet, has computed for
// a moment. -1: nobody can tell, for the moment was longer than a tick.
static int is_guarded_at_once(void) {
    enum { TICK_NS = 10 * 1000 * 1000 };
    has_run = false;
    ac_time start = sys_clock();
    make();
    settle(run_once, ac_nil);
    compute(0.004);
    guest_enter(guest);
    int found = sys_clock() - start < TICK_NS ? has_run : -1;
    guest_leave(guest);
    ac_spawn(await_guest, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    return found;
}

TEST(who_begins_is_not_taken_for_one_who_computes) {
    ac_time limit = sys_clock() + (ac_time)(TEST_PATIENCE_S * 1e9);
    int found;
    while ((found = is_guarded_at_once()) < 0)
        ck_assert_int_lt(sys_clock(), limit);
    ck_assert_int_eq(found, 0);
}

static void sleep_once(void) { ck_assert_int_eq(ac_sleep(0.3), 0); }

static void yield_on(void) {
    ac_time start = ac_now();
    while (seconds_since(start) < 0.3)
        ck_assert_int_eq(ac_yield(), 0);
}

// The host does this, and drives the guest meanwhile. If others take the processor from the host,
// the guardian sees to the guest, as it should; then once more.
static void drives_while(void (*it)(void)) {
    ac_time start = sys_clock();
    int all, guarded;
    do {
        reset_ticks();
        it();
        guest_enter(guest);
        all = ticks, guarded = guarded_ticks;
        guest_leave(guest);
    } while ((all < 15 || guarded > all / 2) && seconds_since(start) < TEST_PATIENCE_S);
    ck_assert_msg(all >= 15 && guarded <= all / 2, "%d ticks, %d guarded", all, guarded);
}

static ac_value compute_and_sleep(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.05), 0);
    for (int round = 0; round < 2; round++) {
        compute_while_guarded();
        ck_assert_int_eq(ac_sleep(0.02), 0);
        drives_while(sleep_once);
    }
    end_guests_coroutines();
    return ac_nil;
}

TEST(a_guest_goes_on_while_its_host_computes_and_is_driven_by_it_otherwise) {
    make();
    settle(tick, ac_nil);
    ac_spawn(compute_and_sleep, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_ptr_null(guest);
}

static ac_value sleep_for_a_while(ac_value unused) {
    (void)unused;
    drives_while(sleep_once);
    end_guests_coroutines();
    return ac_nil;
}

TEST(a_host_that_polls_before_it_sleeps_drives_its_guest) {
    make();
    settle(tick, ac_nil);
    ac_spawn(sleep_for_a_while, ac_nil);
    ck_assert_int_eq(ac_run(.poll_us = 1000 * 1000), 0);
}

static ac_value yield_for_a_while(ac_value unused) {
    (void)unused;
    drives_while(yield_on);
    end_guests_coroutines();
    return ac_nil;
}

TEST(a_host_that_is_busy_with_switches_drives_its_guest) {
    make();
    settle(tick, ac_nil);
    ac_spawn(yield_for_a_while, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(the_guardian_guards_also_before_the_host_runs) {
    make();
    settle(tick, ac_nil);
    compute_while_guarded();
    ac_spawn(yield_for_a_while, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- posts and wake-ups ----

static struct coro *waiter, *host_waiter;

static bool let_go(struct coro *coro) {
    (void)coro;
    return true;
}
static const struct wait_kind until_woken = {"test", let_go, .until_deadline = false};

static void wake_host_waiter(struct post *post) {
    (void)post;
    coro_wake(host_waiter, 7);
}

static struct post for_host = {.run = wake_host_waiter};

// In the host: waits for for_host.
static void await_post(void) {
    host_waiter = coro_here();
    ck_assert_int_eq(coro_wait(host_waiter, &until_woken, ac_after(TEST_PATIENCE_S)), 7);
}

// ---- a guest that gets something to do while its host falls asleep ----

static ac_value compute_and_sleep_in_guest(ac_value unused) {
    (void)unused;
    compute(0.08);
    ck_assert_int_eq(ac_sleep(0.05), 0);
    loop_post(host, &for_host);
    return ac_nil;
}

static void spawn_in_guest(struct post *post) {
    (void)post;
    int err = 0;
    ck_assert_ptr_nonnull(
        coro_create(guest_loop(guest), compute_and_sleep_in_guest, ac_nil, NULL, true, &err));
}

static ac_value sleep_while_guarded(ac_value unused) {
    (void)unused;
    static struct post post = {.run = spawn_in_guest};
    ck_assert_int_eq(ac_sleep(0.01), 0);
    loop_post(guest_loop(guest), &post);
    compute(0.05); // the guardian begins to run the guest, and goes on for a while
    await_post();
    end_guests_coroutines();
    return ac_nil;
}

TEST(what_becomes_due_under_the_guardian_while_the_host_falls_asleep_is_not_forgotten) {
    make();
    ac_spawn(sleep_while_guarded, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- the guest's poller ----

static int ends[2];
static int bytes_read;

static ac_value read_all(ac_value unused) {
    (void)unused;
    struct sys_handle handle;
    sys_adopt(loop_here->sys, &handle, ends[0], false);
    for (;;) {
        char byte;
        struct sys_op op = {.verb = SYS_READ, .handle = &handle, .bytes = &byte, .count = 1};
        int64_t got = coro_operate(&op, AC_FOREVER);
        if (got <= 0)
            break;
        bytes_read++;
    }
    sys_close(&handle);
    return ac_nil;
}

static int count_bytes(void) {
    guest_enter(guest);
    int count = bytes_read;
    guest_leave(guest);
    return count;
}

static ac_value write_to_guest(ac_value unused) {
    (void)unused;
    for (int i = 1; i <= 10; i++) {
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ac_time limit = ac_after(TEST_PATIENCE_S);
        if (i % 2)
            while (count_bytes() < i && ac_now() < limit)
                ck_assert_int_eq(ac_sleep(0.001), 0);
        else
            while (count_bytes() < i && ac_now() < limit)
                continue; // the guardian must see to it
        ck_assert_int_eq(count_bytes(), i);
    }
    close(ends[1]);
    while (count_alive() > 0)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    return ac_nil;
}

TEST(operations_of_the_guest_finish_whoever_drives_it) {
    make();
    ck_assert_int_eq(sys_pipe(ends), 0);
    settle(read_all, ac_nil);
    ac_spawn(write_to_guest, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- posts to a guest ----

static bool host_sleeps; // under the guest's lock

static ac_value wait_in_guest(ac_value unused) {
    (void)unused;
    waiter = coro_here();
    while (!over)
        if (coro_wait(waiter, &until_woken, AC_FOREVER) == 7) {
            bytes_read++;
            if (host_sleeps)
                loop_post(host, &for_host);
        }
    return ac_nil;
}

static void wake_waiter(struct post *post) {
    (void)post;
    ck_assert_ptr_eq(loop_here, guest_loop(guest));
    coro_wake(waiter, 7);
}

static void post_later(void *post) {
    usleep(50000);
    loop_post(guest_loop(guest), post);
}

static ac_value sleep_through(ac_value seconds) {
    ck_assert_int_eq(ac_sleep(ac_real_of(seconds)), 0);
    return ac_nil;
}

static ac_value sleep_on(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(1000), -ECANCELED);
    return ac_nil;
}

static ac_value await_posts(ac_value unused) {
    (void)unused;
    // The host has a deadline of its own, and a later one.
    ac_ref sleeper = ac_spawn(sleep_on, ac_nil);
    for (int i = 1; i <= 4; i++) {
        ck_assert_int_eq(ac_sleep(0.01), 0); // the waiter waits
        guest_enter(guest);
        host_sleeps = i % 2;
        guest_leave(guest);
        struct post post = {.run = wake_waiter};
        struct sys_thread *thread;
        ck_assert_int_eq(sys_thread_start(&thread, post_later, &post, 64 << 10, "post"), 0);
        ac_time start = ac_now();
        if (i % 2)
            await_post(); // it is woken for the guest, and then by it
        while (count_bytes() < i && seconds_since(start) < TEST_PATIENCE_S)
            compute(0.02); // the guardian must see to it
        ck_assert_int_eq(count_bytes(), i);
        sys_thread_join(thread);
    }
    guest_enter(guest);
    over = true;
    coro_wake(waiter, 0);
    guest_leave(guest);
    end_guests_coroutines();
    ck_assert_int_eq(ac_cancel(sleeper), 0);
    return ac_nil;
}

TEST(a_post_to_a_guest_wakes_a_sleeping_host_or_reaches_the_guardian) {
    make();
    settle(wait_in_guest, ac_nil);
    ac_spawn(await_posts, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value post_from_guest(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(0.03), 0);
    loop_post(host, &for_host);
    return ac_nil;
}

static ac_value wait_for_guest(ac_value unused) {
    (void)unused;
    settle(post_from_guest, ac_nil);
    await_post();
    return ac_nil;
}

TEST(a_guest_posts_to_its_host) {
    make();
    ac_spawn(wait_for_guest, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- references ----

static ac_value look_for_host(ac_value whom) {
    ck_assert_int_eq(ac_cancel(ac_ref_of(whom)), -ENOTSUP);
    ck_assert_uint_eq(ac_self().peer, ac_ref_of(whom).peer);
    ck_assert(!ac_ref_equal(ac_self(), ac_ref_of(whom)));
    bytes_read = 1;
    return ac_nil;
}

TEST(coroutines_of_guest_and_host_have_different_references) {
    make();
    ac_ref ref = ac_spawn(sleep_through, 0.1);
    settle(look_for_host, ac_of(ref));
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(bytes_read, 1);
}

// ---- an idle program is idle ----

// How often the guardian has waited; -1 if it is not found.
static long guardian_waits(void) {
    long waits = -1;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[300], line[200];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "re");
        bool is_it = false;
        while (file && fgets(line, sizeof line, file)) {
            is_it |= strcmp(line, "Name:\tac-guardian\n") == 0;
            if (is_it)
                (void)sscanf(line, "voluntary_ctxt_switches: %ld", &waits);
        }
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return waits;
}

static long waits, waits_later;

// Until the guardian has waited often, and then no more for a while.
static void watch_guardian(void *unused) {
    (void)unused;
    ac_time start = sys_clock();
    do {
        waits = guardian_waits();
        usleep(400000);
        waits_later = guardian_waits();
    } while ((waits < 25 || waits_later != waits) && seconds_since(start) < TEST_PATIENCE_S);
    loop_post(host, &for_host);
}

static ac_value idle_then_compute(ac_value unused) {
    (void)unused;
    struct sys_thread *thread;
    host_waiter = coro_here();
    ck_assert_int_eq(sys_thread_start(&thread, watch_guardian, NULL, 256 << 10, "watch"), 0);
    ck_assert_int_eq(coro_wait(host_waiter, &until_woken, ac_after(2.0 * TEST_PATIENCE_S)), 7);
    sys_thread_join(thread);
    ck_assert_int_ge(waits, 25);
    ck_assert_int_eq(waits_later, waits);
    settle(tick, ac_nil); // and it is awake again when the host is
    ck_assert_int_eq(ac_sleep(0.02), 0);
    compute_while_guarded();
    end_guests_coroutines();
    return ac_nil;
}

TEST(the_guardian_of_an_idle_program_sleeps_and_wakes_up_with_it) {
    make();
    ac_spawn(idle_then_compute, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- errors ----

TEST(making_a_guest_survives_the_failure_of_any_allocation) {
    int err = 0;
    host = loop_need(&err);
    for (int n = 1; !guest; n++) {
        ck_assert_int_lt(n, 50);
        memory_fail_nth(n);
        err = 0;
        guest = guest_create(host, &sys_chosen, &err);
        ck_assert(guest || err == -ENOMEM);
        ck_assert_ptr_eq(host->guest, guest);
    }
    memory_fail_nth(0);
    loop_extend(host, LOOP_REMOTE, (struct loop_extra){.state = guest, .done = end_guest});
    ac_spawn(sleep_through, 0.05);
    ck_assert_int_eq(ac_run(), 0);
}

static struct sys *create_nothing(int *err) {
    *err = -EMFILE;
    return NULL;
}

TEST(a_guest_without_a_poller_cannot_be_made) {
    int err = 0;
    host = loop_need(&err);
    struct sys_driver none = {.create = create_nothing};
    ck_assert_ptr_null(guest_create(host, &none, &err));
    ck_assert_int_eq(err, -EMFILE);
    ck_assert_int_eq(ac_run(), 0);
}
