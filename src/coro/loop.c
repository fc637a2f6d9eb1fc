// SPDX-License-Identifier: MIT
// The loop: what runs at home, on the stack of the thread.
//
// A turn: ask the poller (waiting only when nobody is ready, and not before poll_ns of turns in
// which nobody was), read the clock, end the waits whose time is up, run the posts of other
// threads, drive the guest; then switch to the first ready coroutine. Coroutines switch to one
// another and come back home when none is ready or when it is time to ask the poller again
// (coro.c).
//
// The end, loop_run: when only daemons are left they are cancelled and clean up; then the floors
// above say goodbye (loop_extra.stopping), from the top floor down; then the library's own
// coroutines are cancelled; what has not ended after its second is abandoned.
#include "coro/coro.h"

enum {
    TURNS_BY_CLOCK = 8, // turns for each look at the clock while parcels keep coming
    STOP_GRACE_NS = 1000 * 1000 * 1000,
    POLL_EVERY_NS = 50 * 1000,      // while other loops keep this one busy
    STOP_LOOK_NS = 20 * 1000 * 1000 // between two looks for coroutines made while others end
};

_Thread_local struct loop *loop_here __attribute__((tls_model("initial-exec")));

static uint64_t random_next(struct loop *loop);

static struct coro *coro_at(struct loop *loop, uint32_t index) { return &loop->coros[index]; }

static void look_at_clock(struct loop *loop) {
    loop->now = sys_now(loop->sys);
    loop->mark = (uint32_t)(loop->now / 1000000);
}

// ---- making and ending ----

struct loop *loop_create(const struct sys_driver *driver, uint64_t peer, int *err) {
    struct loop *loop = memory_allocate_lines(sizeof *loop);
    if (!loop) {
        *err = -ENOMEM;
        return NULL;
    }
    *err = sys_table_init(&loop->records, LOOP_COROS_MAX * sizeof *loop->coros,
                          LOOP_COROS_LEAST * sizeof *loop->coros);
    loop->coros = loop->records.at;
    if (*err == 0)
        *err = sys_overflow_watch(coro_describe);
    if (*err < 0)
        goto no_watch;
    loop->sys = sys_create(driver, err);
    if (!loop->sys)
        goto no_poller;
    loop->away = sys_mutex_create();
    if (!loop->away) {
        *err = -ENOMEM;
        goto no_lock;
    }
    list_init(&loop->watchdog.link);
    list_init(&loop->readers);
    loop->token = loop;
    loop->traced = trace_on(TRACE_CORO);
    heap_init(&loop->timers);
    sys_stacks_init(&loop->stacks);
    loop->random[0] = sys_random(loop->sys);
    loop->random[1] = sys_random(loop->sys) | 1;
    loop->peer = peer;
    while (loop->peer == 0)
        loop->peer = sys_random(loop->sys);
    map_seed(sys_random(loop->sys)); // each loop anew: maps that are in use keep theirs
    look_at_clock(loop);
    loop->asked = loop->now;
    return loop;
no_lock:
    sys_destroy(loop->sys);
no_poller:
    sys_overflow_unwatch();
no_watch:
    sys_table_done(&loop->records);
    memory_release(loop);
    return NULL;
}

void loop_destroy(struct loop *loop) {
    watchdog_remove(loop);
    measure_end(loop);
    for (int floor = LOOP_FLOORS - 1; floor >= 0; floor--)
        if (loop->extra[floor].done)
            loop->extra[floor].done(loop, loop->extra[floor].state);
    for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
        struct coro *coro = &loop->coros[i];
        if (coro_state_here(coro) == CORO_ENDED)
            ac_drop(coro->end.value); // its end was kept, and nobody asked
    }
    rwlock_forget(loop);
    sys_table_done(&loop->records);
    heap_done(&loop->timers);
    coro_end_runners(loop);
    sys_stacks_done(&loop->stacks);
    sys_destroy(loop->sys);
    sys_overflow_unwatch();
    sys_mutex_destroy(loop->away);
    memory_release(loop);
}

void loop_end(struct loop *loop) {
    loop_leave_process(loop); // nobody posts any more
    loop_run_posts(loop);
    loop_destroy(loop);
}

struct loop *loop_need(int *err) {
    if (unlikely(!loop_here)) {
        if (work_is_here()) {
            *err = -EPERM; // nobody would run the loop, or end it
            return NULL;
        }
        loop_here = loop_create(&sys_chosen, 0, err);
        if (loop_here) {
            watchdog_add(loop_here);
            loop_debug(loop_here);
        }
    }
    return loop_here;
}

// ---- a turn ----

static void run_timers(struct loop *loop) {
    look_at_clock(loop);
    uint32_t index;
    while (heap_take_due(&loop->timers, loop->now, &index)) {
        // Whose time is up has as a rule been out of the caches for long. The next one comes while
        // this one is woken and the heap is put in order.
        const struct coro *next = coro_at(loop, heap_first(&loop->timers));
        __builtin_prefetch(next);
        __builtin_prefetch(&next->early);
        coro_end_wait(coro_at(loop, index), -ETIMEDOUT);
    }
}

void loop_post(struct loop *loop, struct post *post) {
    struct post *first = __atomic_load_n(&loop->inbox, __ATOMIC_RELAXED);
    do
        post->next = first;
    while (!__atomic_compare_exchange_n(&loop->inbox, &first, post, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
    // The loop says that it sleeps before it looks into the inbox a last time, so one of the two
    // sees the other.
    if (first)
        return;
    if (loop->in)
        guest_poke(loop->in);
    else if (__atomic_load_n(&loop->asleep, __ATOMIC_SEQ_CST))
        sys_wake(loop->sys);
}

// Who waits for a turn.
struct turning {
    struct post post;
    struct coro *coro;
};

// What was to end the wait early tells the next one.
static void turned(struct post *post) {
    struct coro *coro = container_of(post, struct turning, post)->coro;
    coro->early = 0;
    coro_wake(coro, 0);
}

static bool turn_is_coming(struct coro *coro) {
    (void)coro;
    return false;
}

static const struct wait_kind turn_wait = {.name = "a turn of the loop", .abandon = turn_is_coming};

int loop_await_turn(void) {
    struct coro *self = coro_here();
    struct turning turning = {.post.run = turned, .coro = self};
    int err = coro_may_wait(self, AC_FOREVER);
    if (err)
        return err;
    loop_post(self->loop, &turning.post);
    return coro_wait(self, &turn_wait, AC_FOREVER);
}

struct post *post_reverse(struct post *latest) {
    struct post *oldest = NULL;
    while (latest) {
        struct post *next = latest->next;
        latest->next = oldest;
        oldest = latest;
        latest = next;
    }
    return oldest;
}

void loop_run_posts(struct loop *loop) {
    if (loop->team)
        team_receive(loop);
    if (!__atomic_load_n(&loop->inbox, __ATOMIC_RELAXED))
        return;
    struct post *oldest = post_reverse(__atomic_exchange_n(&loop->inbox, NULL, __ATOMIC_ACQUIRE));
    while (oldest) {
        struct post *next = oldest->next;
        loop->posts++;
        oldest->run(oldest);
        oldest = next;
    }
}

static ac_time earlier(ac_time a, ac_time b) { return a < b ? a : b; }

// While parcels or posts keep coming.
static int poll_now_and_then(struct loop *loop) {
    ac_time now = sys_now(loop->sys);
    if (now - loop->polled < POLL_EVERY_NS)
        return 0;
    loop->polled = now;
    return sys_poll(loop->sys, AC_NOW);
}

// Nobody is ready: whether it is too early to sleep.
static bool is_to_poll_on(struct loop *loop) {
    if (loop->poll_ns == 0)
        return false;
    if (loop->idle_since == 0)
        loop->idle_since = loop->now = sys_now(loop->sys);
    return loop->now - loop->idle_since < loop->poll_ns;
}

static void run_ready(struct loop *loop) {
    if (loop->ready_head)
        loop->idle_since = 0;
    coro_run_ready(loop);
}

// Asks the poller, waiting until the deadline at most.
static int ask(struct loop *loop, ac_time deadline) {
    if (loop->in && guest_is_fed(loop->in))
        return 0;
    if (loop->ready_head || deadline <= loop->now || is_to_poll_on(loop))
        return sys_poll(loop->sys, AC_NOW);
    if (loop->team) {
        team_look(loop, deadline);
        if (team_has_parcels(loop))
            return poll_now_and_then(loop);
    }
    (void)__atomic_exchange_n(&loop->asleep, true, __ATOMIC_SEQ_CST);
    // The guardian may have run the guest since the deadline was chosen.
    if (loop->guest)
        deadline = earlier(deadline, guest_due(loop->guest));
    bool asked = __atomic_load_n(&loop->inbox, __ATOMIC_SEQ_CST) ||
                 (loop->guest && guest_is_poked(loop->guest)) ||
                 (loop->team && !team_may_sleep(loop));
    int err = asked ? poll_now_and_then(loop) : sys_poll(loop->sys, deadline);
    __atomic_store_n(&loop->asleep, false, __ATOMIC_SEQ_CST);
    if (loop->guest)
        guest_host_awake(loop->guest);
    return err;
}

// An error of the poller keeps nobody from running: who was cancelled for it cleans up.
static int turn(struct loop *loop, ac_time deadline) {
    __atomic_store_n(&loop->turns, loop->turns + 1, __ATOMIC_RELAXED);
    if (loop->team) {
        team_count(loop);
        // While parcels come one after the other the clock, which costs more than a parcel, is not
        // read for each.
        if (loop->turns % TURNS_BY_CLOCK != 0 && team_is_fed(loop)) {
            loop_run_posts(loop);
            run_ready(loop);
            return 0;
        }
    }
    deadline = earlier(deadline, heap_earliest(&loop->timers));
    if (loop->guest) {
        guest_run_ready(loop->guest);
        deadline = earlier(deadline, guest_due(loop->guest));
    }
    int err = ask(loop, deadline);
    run_timers(loop);
    int later = loop->guest ? guest_drive(loop->guest) : 0;
    loop_run_posts(loop);
    loop->asked = loop->now;
    run_ready(loop);
    return err < 0 ? err : later;
}

void loop_run_ready(struct loop *loop) {
    struct loop *outer = loop_here;
    loop_here = loop;
    run_ready(loop);
    loop_here = outer;
}

int loop_turn(struct loop *loop) {
    struct loop *outer = loop_here;
    loop_here = loop;
    int err = 0;
    // As long as turns make coroutines ready, but not so long that the one who drives this loop is
    // held up, who has something to do himself.
    for (int i = 0; i < 16; i++) {
        err = turn(loop, AC_NOW);
        if (err < 0 || loop_due(loop) > loop->now || (loop->in && guest_host_is_awaited(loop->in)))
            break;
    }
    loop_here = outer;
    return err;
}

ac_time loop_due(const struct loop *loop) {
    if (loop->ready_head || loop->sys->queued || __atomic_load_n(&loop->inbox, __ATOMIC_RELAXED))
        return AC_NOW;
    return heap_earliest(&loop->timers);
}

// ---- the end ----

static uint32_t count_living(struct loop *loop, bool internal) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
        struct coro *coro = coro_at(loop, i);
        count += coro_state_here(coro) == CORO_ALIVE && (internal || !coro->internal);
    }
    return count;
}

// Gives up what has not ended in its time.
static void abandon_all(struct loop *loop, bool internal) {
    for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
        struct coro *coro = coro_at(loop, i);
        if (coro_state_here(coro) == CORO_ALIVE && (internal || !coro->internal)) {
            trace(TRACE_CORO, "coroutine %u '%s' did not end when it was cancelled: abandoned", i,
                  coro->name ? coro->name : "");
            coro_abandon(coro);
        }
    }
    // All of them stand in the ready queue now, and each time one of it runs at the least.
    for (uint32_t i = loop_living(loop); i > 0 && loop->ready_head; i--)
        coro_run_ready(loop);
}

// Cancels what is left, the library's own only if `internal`, and lets it clean up for a second at
// the most.
static int end_all(struct loop *loop, bool internal) {
    ac_time until = sys_now(loop->sys) + STOP_GRACE_NS;
    int err = 0;
    uint32_t seen = UINT32_MAX; // coroutines alive when they were last counted
    ac_time look = AC_NOW;      // when to count again though none has ended: one that ends and
                                // makes another leaves their number as it was
    while (sys_now(loop->sys) < until) {
        if (loop_living(loop) != seen || sys_now(loop->sys) >= look) {
            seen = loop_living(loop);
            look = sys_now(loop->sys) + STOP_LOOK_NS;
            for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
                struct coro *coro = coro_at(loop, i);
                if (coro_state_here(coro) == CORO_ALIVE && (internal || !coro->internal))
                    coro_cancel(coro);
            }
            if (count_living(loop, internal) == 0)
                break;
        }
        int later = turn(loop, earlier(until, look));
        err = err < 0 ? err : later;
    }
    abandon_all(loop, internal);
    return err;
}

static int run_while_alive(struct loop *loop) {
    int err = 0;
    while (err == 0 && loop->alive > 0)
        err = turn(loop, AC_FOREVER);
    return err;
}

// Of coroutines whose end is kept but was never asked for.
static void note_unseen_failures(struct loop *loop) {
    for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
        struct coro *coro = coro_at(loop, i);
        if (coro_state_here(coro) == CORO_ENDED && coro->unseen)
            coro_note_failure(coro, &coro->end);
    }
}

// The first loop of a team waits until all others have done what the phase asks for. Without a
// poller it still does what others have posted.
static int await_team(struct loop *loop, int err) {
    while (loop->team && !team_is_there(loop->team)) {
        if (err == 0) {
            err = turn(loop, AC_FOREVER);
        } else {
            loop_run_posts(loop);
            coro_run_ready(loop);
            team_doze(loop->team);
        }
    }
    return err;
}

// The team enters a phase in which all loops end what is theirs.
static int end_phase(struct loop *loop, enum team_phase phase, int err) {
    if (loop->team)
        team_enter(loop->team, phase);
    int later = end_all(loop, phase == TEAM_STOPS);
    loop->closed = true;
    loop->over = phase == TEAM_STOPS;
    return await_team(loop, err < 0 ? err : later);
}

// With an error nothing runs before the end.
static int run(struct loop *loop, int err) {
    sys_context_of_thread(&loop->home);
    while (err == 0 && (loop->team ? team_is_alive(loop->team) : loop->alive > 0))
        err = turn(loop, AC_FOREVER);
    err = end_phase(loop, TEAM_CANCELS, err);
    // The last that the others have sent goes before the goodbye.
    while (err == 0 && loop->team) {
        err = turn(loop, AC_NOW);
        if (!team_has_parcels(loop))
            break;
    }
    for (int floor = LOOP_FLOORS - 1; floor >= 0; floor--) {
        if (!loop->extra[floor].stopping)
            continue;
        loop->extra[floor].stopping(loop, loop->extra[floor].state);
        int later = run_while_alive(loop);
        err = err < 0 ? err : later;
    }
    loop->stopping = true;
    err = end_phase(loop, TEAM_STOPS, err);
    note_unseen_failures(loop);
    if (loop->team) {
        loop_leave_process(loop); // no other thread comes by it to the loops that end now
        int later = team_end(loop->team, &loop->failure);
        err = err < 0 ? err : later;
    }
    return err < 0 ? err : loop->failure;
}

int loop_run(struct loop *loop) { return run(loop, 0); }

// A loop but the first stays in a phase until the first ends that. When its poller is lost it has
// the program end, ends what is its own, and only takes what others post.
static int stay(struct loop *loop, enum team_phase phase, int err) {
    struct team *team = loop->team;
    while (err == 0 && team_phase(team) == phase) {
        err = turn(loop, AC_FOREVER);
        if (err < 0) {
            team_note(team, err, 0);
            loop->closed = loop->over = true;
            (void)end_all(loop, true);
        }
    }
    while (team_phase(team) == phase) {
        loop->alive = 0;
        team_count(loop);
        loop_run_posts(loop);
        team_doze(team);
    }
    return err;
}

void loop_run_member(struct loop *loop) {
    sys_context_of_thread(&loop->home);
    struct team *team = loop->team;
    int err = stay(loop, TEAM_RUNS, 0);
    if (team_phase(team) == TEAM_OVER)
        return; // it has not come about
    int later = end_all(loop, false);
    loop->closed = true;
    team_arrive(team);
    err = stay(loop, TEAM_CANCELS, err < 0 ? err : later);
    loop->stopping = true;
    later = end_all(loop, true);
    err = err < 0 ? err : later;
    note_unseen_failures(loop);
    loop->over = true;
    team_note(team, err, loop->failure);
    team_arrive(team);
}

int ac_run_with(const struct ac_run_options *options) {
    struct loop *loop = loop_here;
    if (!loop)
        return 0;
    if (loop->running || loop->outside)
        return -EPERM;
    struct ac_run_options how = {.size = sizeof how};
    if (options && options->size >= sizeof how)
        how = *options;
    loop->poll_ns = (ac_time)how.poll_us * 1000;
    int err = how.loops > AC_LOOPS_MAX ? -EINVAL : how.loops > 1 ? team_make(loop, how.loops) : 0;
    err = run(loop, err);
    loop_end(loop);
    loop_here = NULL;
    return err;
}

// ---- time and random numbers ----

ac_time ac_now(void) { return loop_here ? sys_now(loop_here->sys) : sys_clock(); }

ac_time ac_after(double seconds) {
    ac_time now = ac_now();
    if (!(seconds > 0))
        return now;
    double ns = seconds * 1e9;
    if (ns >= (double)(AC_FOREVER - now))
        return AC_FOREVER;
    ac_time whole = (ac_time)ns;
    return now + whole + ((double)whole < ns); // rounded up: never early
}

// xoroshiro128+ (David Blackman, Sebastiano Vigna, prng.di.unimi.it), seeded by the poller.
static uint64_t random_next(struct loop *loop) {
    uint64_t a = loop->random[0], b = loop->random[1];
    uint64_t result = a + b;
    b ^= a;
    loop->random[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    loop->random[1] = b << 37 | b >> 27;
    return result;
}

static uint64_t random_number(void) {
    // No loop is made for it: nobody would end it.
    if (loop_here)
        return random_next(loop_here);
    uint64_t number = 0;
    (void)sys_random_bytes(&number, sizeof number);
    return number;
}

double ac_random_real(double low, double high) {
    if (!(high > low))
        return low;
    double it = low + (high - low) * ((double)(random_number() >> 11) * 0x1p-53);
    return it < high ? it : low; // rounding may reach the upper end
}

int64_t ac_random_int(int64_t low, int64_t high) {
    if (high <= low)
        return low;
    uint64_t range = (uint64_t)high - (uint64_t)low + 1;
    if (range == 0)
        return (int64_t)random_number();
    // What is above the largest multiple of the range would make some numbers likelier.
    uint64_t limit = UINT64_MAX - UINT64_MAX % range;
    uint64_t number;
    do
        number = random_number();
    while (number >= limit);
    return (int64_t)((uint64_t)low + number % range);
}
