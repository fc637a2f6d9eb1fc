// SPDX-License-Identifier: MIT
// A guest: a loop that another one, its host, drives each time it polls. What must go on while a
// coroutine of the user computes (heartbeats, answers to other processes) lives in a guest: a
// guardian thread takes over when the host has not polled for a while, and lets go as soon as it
// has.
//
// Why not a thread for the guest? Waking another core costs 25 to 40 us, several times what a
// message costs; here a message crosses no thread as long as the host is well.
//
// The guest's lock is held by whoever runs it. The guardian looks after the host every TICK_NS.
// After a second in which the host only slept in its poller, where it drives the guest itself, the
// guardian goes to sleep until the host has woken up, so an idle program is idle.
#include "coro/coro.h"

enum {
    TICK_NS = 10 * 1000 * 1000, // a host that has not polled for so long is busy
    STEP_NS = 2 * 1000 * 1000,  // between two turns of the guest under the guardian
    QUIET_TICKS = 100,          // ticks without anything to guard, then the guardian sleeps
    GUARDIAN_STACK = 256 * 1024
};

struct guest {
    struct loop *host;
    struct loop *loop;
    struct sys_mutex *lock;
    struct sys_condition *wake; // of the guardian
    struct sys_thread *guardian;
    ac_time due;  // atomic: when the guest next has something to do by itself
    bool poked;   // atomic: a post has come since it last ran
    bool armed;   // atomic: the guardian ticks
    bool ending;  // under the lock
    bool guarded; // under the lock: the guardian runs the guest
    bool fed;     // under the lock: the host's poller has told the guest's all there is
};

static void guard(void *argument);

struct guest *guest_create(struct loop *host, const struct sys_driver *driver, int *err) {
    struct guest *guest = memory_allocate_zeroed(sizeof *guest);
    *err = -ENOMEM;
    if (!guest)
        return NULL;
    guest->host = host;
    guest->due = AC_NOW;
    guest->armed = true;
    guest->lock = sys_mutex_create();
    guest->wake = sys_condition_create();
    if (!guest->lock || !guest->wake)
        goto no_memory;
    guest->loop = loop_create(driver->in_turn ? driver->in_turn : driver, host->peer, err);
    if (!guest->loop)
        goto no_memory;
    guest->loop->in = guest;
    // Else references to its coroutines would name the host's.
    loop_set_number(guest->loop, host->number + 1u);
    *err = sys_nest(host->sys, guest->loop->sys);
    if (*err < 0)
        goto no_nest;
    *err = sys_thread_start(&guest->guardian, guard, guest, GUARDIAN_STACK, "ac-guardian");
    if (*err < 0)
        goto no_thread;
    watchdog_add(guest->loop);
    host->guest = guest;
    return guest;
no_thread:
    (void)sys_nest(host->sys, NULL);
no_nest:
    loop_destroy(guest->loop);
no_memory:
    sys_condition_destroy(guest->wake);
    sys_mutex_destroy(guest->lock);
    memory_release(guest);
    return NULL;
}

void guest_destroy(struct guest *guest) {
    sys_mutex_lock(guest->lock);
    guest->ending = true;
    sys_condition_signal(guest->wake);
    sys_mutex_unlock(guest->lock);
    sys_thread_join(guest->guardian);
    guest->host->guest = NULL;
    (void)sys_nest(guest->host->sys, NULL);
    loop_destroy(guest->loop);
    sys_condition_destroy(guest->wake);
    sys_mutex_destroy(guest->lock);
    memory_release(guest);
}

struct loop *guest_loop(struct guest *guest) {
    return guest->loop;
}
bool guest_is_guarded(struct guest *guest) { return guest->guarded; }
bool guest_is_fed(const struct guest *guest) { return guest->fed; }

static void note_due(struct guest *guest) {
    __atomic_store_n(&guest->due, loop_due(guest->loop), __ATOMIC_RELAXED);
}

void guest_enter(struct guest *guest) { sys_mutex_lock(guest->lock); }

void guest_leave(struct guest *guest) {
    note_due(guest);
    sys_mutex_unlock(guest->lock);
}

static int run(struct guest *guest) {
    __atomic_store_n(&guest->poked, false, __ATOMIC_SEQ_CST);
    sys_context_of_thread(&guest->loop->home);
    int err = loop_turn(guest->loop);
    note_due(guest);
    return err;
}

int guest_drive(struct guest *guest) {
    if (!guest->host->sys->inner_due && guest_due(guest) > guest->host->now &&
        !guest_is_poked(guest))
        return 0;
    guest->host->sys->inner_due = false;
    sys_mutex_lock(guest->lock);
    guest->fed = sys_feed(guest->host->sys);
    int err = run(guest);
    guest->fed = false;
    sys_mutex_unlock(guest->lock);
    return err;
}

bool guest_host_is_awaited(const struct guest *guest) {
    return !guest->guarded && __atomic_load_n(&guest->host->inbox, __ATOMIC_RELAXED);
}

void guest_run_ready(struct guest *guest) {
    if (guest_due(guest) != AC_NOW)
        return;
    sys_mutex_lock(guest->lock);
    sys_context_of_thread(&guest->loop->home);
    loop_run_ready(guest->loop);
    note_due(guest);
    sys_mutex_unlock(guest->lock);
}

ac_time guest_due(struct guest *guest) { return __atomic_load_n(&guest->due, __ATOMIC_SEQ_CST); }

void guest_poke(struct guest *guest) {
    __atomic_store_n(&guest->poked, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&guest->host->asleep, __ATOMIC_SEQ_CST))
        sys_wake(guest->host->sys);
}

bool guest_is_poked(struct guest *guest) {
    return __atomic_load_n(&guest->poked, __ATOMIC_SEQ_CST);
}

void guest_host_awake(struct guest *guest) {
    if (likely(__atomic_load_n(&guest->armed, __ATOMIC_SEQ_CST)))
        return;
    sys_mutex_lock(guest->lock);
    __atomic_store_n(&guest->armed, true, __ATOMIC_SEQ_CST);
    sys_condition_signal(guest->wake);
    sys_mutex_unlock(guest->lock);
}

// The host may have fallen asleep while the guardian ran the guest, with what was due before. It
// says that it sleeps before it looks a last time at what is due, so one of the two sees the other.
static void tell_host(struct guest *guest) {
    __atomic_store_n(&guest->due, loop_due(guest->loop), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&guest->host->asleep, __ATOMIC_SEQ_CST))
        sys_wake(guest->host->sys);
}

// What the guardian sees of the host at a tick.
struct sight {
    uint64_t turns;
    int quiet; // ticks at which there was nothing to guard
};

static bool host_is_busy(struct guest *guest, struct sight *sight) {
    uint64_t turns = __atomic_load_n(&guest->host->turns, __ATOMIC_RELAXED);
    bool asleep = __atomic_load_n(&guest->host->asleep, __ATOMIC_SEQ_CST);
    bool polled = turns != sight->turns;
    sight->turns = turns;
    sight->quiet = asleep && !polled ? sight->quiet + 1 : 0;
    return !asleep && !polled;
}

// The guardian goes to sleep until the host has woken up: true. False if that has happened since it
// looked: the host found it armed then and will not signal. One of the two sees what the other has
// stored.
static bool disarm(struct guest *guest) {
    __atomic_store_n(&guest->armed, false, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&guest->host->asleep, __ATOMIC_SEQ_CST))
        return true;
    __atomic_store_n(&guest->armed, true, __ATOMIC_SEQ_CST);
    return false;
}

static void guard(void *argument) {
    struct guest *guest = argument;
    // Whoever has just begun gets the time of a tick, as all others do, until it polls.
    struct sight sight = {.turns = UINT64_MAX};
    bool watched = sys_overflow_watch(coro_describe) == 0;
    sys_mutex_lock(guest->lock);
    while (!guest->ending) {
        ac_time next;
        if (host_is_busy(guest, &sight)) {
            guest->guarded = true;
            (void)run(guest); // the host will meet the same error and report it
            guest->guarded = false;
            tell_host(guest);
            next = sys_clock() + STEP_NS;
        } else if (sight.quiet < QUIET_TICKS) {
            next = sys_clock() + TICK_NS;
        } else {
            sight.quiet = 0;
            next = disarm(guest) ? AC_FOREVER : sys_clock() + TICK_NS;
        }
        (void)sys_condition_wait(guest->wake, guest->lock, next);
    }
    sys_mutex_unlock(guest->lock);
    if (watched)
        sys_overflow_unwatch();
}
