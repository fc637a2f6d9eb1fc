// SPDX-License-Identifier: MIT
// All loops of the process, and the thread that looks at them from outside: while SIGQUIT asks for
// lists (ac_list_on_quit) and for those loops that have a watchdog (ac_watchdog). It runs while
// somebody needs it.
//
// SIGQUIT. The handler rings the bell on which the thread waits. The thread posts to each loop,
// which wakes one that sleeps and lists at home; who has not done so after ANSWER_NS is told of.
//
// The watchdog. The thread looks at a loop LOOKS times in the time that a coroutine may run, and
// adds up for how long it has seen the same stretch (struct stretch): that coroutine has run for so
// long at the least. No look counts for more than the time between two, so a process that was
// stopped by a signal accuses nobody. Switches pay nothing for it: what the thread reads is what
// they store anyway.
//
// The thread holds SYS_LOCK_LOOPS while it looks, so no loop ends meanwhile and no record goes
// away. A coroutine may end at any moment: its name is copied, and used if the stretch goes on.
#include "coro/coro.h"

#include <asyncoro/debug.h>

#include <stdio.h>

enum {
    LOOKS = 4,
    ANSWER_NS = 100 * 1000 * 1000, // in which a loop that yields lists its coroutines
    LIMIT_NS_MIN = 1000 * 1000,
    TRIES = 10, // at a name, while coroutines run in turn
    TEXT_BYTES_MAX = 512,
    THREAD_STACK_BYTES = 256 << 10
};
static const double limit_s_max = 1e9;

// Linked by watchdog.link, under SYS_LOCK_LOOPS. asyncoro-gdb.py looks for it, so the name is one
// that no program has.
static struct list asyncoro_loops = {&asyncoro_loops, &asyncoro_loops};

// Of the process; under SYS_LOCK_WATCHDOG.
static struct sys_thread *watcher; // NULL: nobody needs it
static bool lists_on_quit;         // ac_list_on_quit was called
static uint32_t list_wishes;       // that, and the loops for which AC_DEBUG asks for lists
static uint32_t watched;           // loops that have a watchdog
static bool ending;                // atomic: the thread shall end

static int adjust(void);
static void watch(void *unused);
static void ask_for_lists(void);
static void tell_of_silent(void);
static ac_time look(ac_time passed_ns);

static struct loop *loop_of(struct list *link) {
    return container_of(link, struct loop, watchdog.link);
}

// ---- on the thread of a loop ----

static void list_at_home(struct post *post) {
    struct watchdog *watchdog = container_of(post, struct watchdog, list);
    __atomic_store_n(&watchdog->listing, false, __ATOMIC_RELEASE);
    loop_list(container_of(watchdog, struct loop, watchdog));
}

void watchdog_add(struct loop *loop) {
    static uintptr_t tokens;
    loop->watchdog.list.run = list_at_home;
    sys_process_lock(SYS_LOCK_LOOPS);
    tokens += 2;
    loop->token = (void *)(tokens | 1); // odd, unlike that of a loop which is in no list
    list_append(&asyncoro_loops, &loop->watchdog.link);
    sys_process_unlock(SYS_LOCK_LOOPS);
}

bool watchdog_knows(const void *token) {
    bool known = false;
    sys_process_lock(SYS_LOCK_LOOPS);
    list_each (link, &asyncoro_loops)
        known |= loop_of(link)->token == token;
    sys_process_unlock(SYS_LOCK_LOOPS);
    return known;
}

struct loop *watchdog_find(uint64_t peer, uint32_t number) {
    list_each (link, &asyncoro_loops) {
        struct loop *loop = loop_of(link);
        if (loop->peer == peer && loop->number == number)
            return loop;
    }
    return NULL;
}

void watchdog_remove(struct loop *loop) {
    (void)watchdog_set(loop, 0);
    (void)watchdog_list_on_quit(loop, false);
    sys_process_lock(SYS_LOCK_LOOPS);
    list_remove(&loop->watchdog.link);
    sys_process_unlock(SYS_LOCK_LOOPS);
}

static void set_limit(struct loop *loop, ac_time limit_ns) {
    sys_process_lock(SYS_LOCK_LOOPS);
    watched += (limit_ns > 0) - (loop->watchdog.limit_ns > 0);
    loop->watchdog.limit_ns = limit_ns;
    sys_process_unlock(SYS_LOCK_LOOPS);
}

int watchdog_set(struct loop *loop, ac_time limit_ns) {
    ac_time before = loop->watchdog.limit_ns; // nobody else changes it
    if (limit_ns == before)
        return 0;
    sys_process_lock(SYS_LOCK_WATCHDOG);
    set_limit(loop, limit_ns);
    int err = adjust();
    if (err < 0)
        set_limit(loop, before);
    sys_process_unlock(SYS_LOCK_WATCHDOG);
    return err;
}

int ac_watchdog(double seconds) {
    if (!(seconds >= 0))
        return -EINVAL;
    if (seconds == 0)
        return loop_here ? watchdog_set(loop_here, 0) : 0;
    int err = 0;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    ac_time limit_ns = (ac_time)((seconds < limit_s_max ? seconds : limit_s_max) * 1e9);
    return watchdog_set(loop, limit_ns > LIMIT_NS_MIN ? limit_ns : LIMIT_NS_MIN);
}

// One wish more or less, which `is` notes.
static int wish_lists(bool *is, bool on) {
    sys_process_lock(SYS_LOCK_WATCHDOG);
    uint32_t before = list_wishes;
    list_wishes = before + on - *is;
    int err = adjust();
    if (err == 0)
        err = sys_quit_rings(list_wishes > 0);
    if (err == 0) {
        *is = on;
    } else {
        list_wishes = before;
        (void)adjust();
    }
    sys_process_unlock(SYS_LOCK_WATCHDOG);
    return err;
}

int watchdog_list_on_quit(struct loop *loop, bool on) {
    return wish_lists(&loop->watchdog.lists, on);
}

int ac_list_on_quit(bool on) { return wish_lists(&lists_on_quit, on); }

// Starts or ends the thread, or lets it look anew. Under SYS_LOCK_WATCHDOG, which the thread itself
// never takes.
static int adjust(void) {
    bool needed = list_wishes > 0 || watched > 0;
    if (needed && !watcher)
        return sys_thread_start(&watcher, watch, NULL, THREAD_STACK_BYTES, "ac-watchdog");
    if (watcher)
        sys_bell_ring();
    if (watcher && !needed) {
        __atomic_store_n(&ending, true, __ATOMIC_RELEASE);
        sys_bell_ring();
        sys_thread_join(watcher);
        watcher = NULL;
        ending = false;
    }
    return 0;
}

// ---- the thread ----

static ac_time earlier(ac_time a, ac_time b) { return a < b ? a : b; }

static void watch(void *unused) {
    (void)unused;
    ac_time before = sys_clock();
    ac_time answers_due = AC_FOREVER;
    while (!__atomic_load_n(&ending, __ATOMIC_ACQUIRE)) {
        ac_time now = sys_clock();
        sys_process_lock(SYS_LOCK_LOOPS);
        if (sys_quit_came()) {
            ask_for_lists();
            answers_due = now + ANSWER_NS;
        } else if (answers_due <= now) {
            tell_of_silent();
            answers_due = AC_FOREVER;
        }
        ac_time period = look(now - before);
        sys_process_unlock(SYS_LOCK_LOOPS);
        before = now;
        (void)sys_bell_wait(earlier(answers_due, period == AC_FOREVER ? period : now + period));
    }
}

static struct stretch see(const struct loop *loop) {
    return (struct stretch){
        .coro = __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE),
        .budget = __atomic_load_n(&loop->budget, __ATOMIC_RELAXED),
        .turns = __atomic_load_n(&loop->turns, __ATOMIC_RELAXED),
    };
}

static bool goes_on(const struct loop *loop, const struct stretch *stretch) {
#ifndef SYS_TSAN // it does not know fences; what they order here is atomic without them
    __atomic_thread_fence(__ATOMIC_ACQUIRE); // nothing that was read before is read after this look
#endif
    struct stretch now = see(loop);
    return now.coro == stretch->coro && now.budget == stretch->budget &&
           now.turns == stretch->turns;
}

// Names the coroutine of a stretch. False if it has ended meanwhile.
static bool name_of(const struct loop *loop, const struct stretch *stretch,
                    char text[TEXT_BYTES_MAX]) {
    // What made the record known makes what is in it visible here.
    (void)__atomic_load_n(&loop->coro_count, __ATOMIC_ACQUIRE);
    size_t length = coro_name(stretch->coro, text, TEXT_BYTES_MAX - 1);
    text[length] = '\0';
    return goes_on(loop, stretch);
}

// ---- SIGQUIT ----

static void ask_for_lists(void) {
    list_each (link, &asyncoro_loops) {
        struct loop *loop = loop_of(link);
        if (!__atomic_exchange_n(&loop->watchdog.listing, true, __ATOMIC_ACQ_REL))
            loop_post(loop, &loop->watchdog.list);
    }
}

static void tell_of_silent(void) {
    list_each (link, &asyncoro_loops) {
        const struct loop *loop = loop_of(link);
        if (!__atomic_load_n(&loop->watchdog.listing, __ATOMIC_ACQUIRE))
            continue;
        char text[TEXT_BYTES_MAX] = "no coroutine";
        for (int i = 0; i < TRIES; i++) {
            struct stretch stretch = see(loop);
            if (!stretch.coro || name_of(loop, &stretch, text))
                break;
            strcpy(text, "one coroutine after the other");
        }
        fprintf(stderr, "asyncoro: loop %u has not polled for %d ms: there runs %s\n", loop->number,
                ANSWER_NS / 1000000, text);
    }
}

// ---- the watchdog ----

static void look_at(struct loop *loop, ac_time passed_ns, ac_time period) {
    struct watchdog *watchdog = &loop->watchdog;
    if (!watchdog->stretch.coro || !goes_on(loop, &watchdog->stretch)) {
        watchdog->stretch = see(loop);
        watchdog->seen_ns = 0;
        watchdog->told = false;
        return;
    }
    watchdog->seen_ns += earlier(passed_ns, period);
    char text[TEXT_BYTES_MAX];
    if (watchdog->told || watchdog->seen_ns < watchdog->limit_ns ||
        !name_of(loop, &watchdog->stretch, text))
        return;
    watchdog->told = true;
    fprintf(stderr, "asyncoro: %s, has not yielded for %.3f s\n", text,
            (double)watchdog->seen_ns * 1e-9);
}

// At each loop that has a watchdog. When to look next: in how many ns.
static ac_time look(ac_time passed_ns) {
    ac_time next = AC_FOREVER;
    list_each (link, &asyncoro_loops) {
        struct loop *loop = loop_of(link);
        if (loop->watchdog.limit_ns == 0)
            continue;
        // Rounded up, so that this many looks are enough.
        ac_time period = (loop->watchdog.limit_ns + LOOKS - 1) / LOOKS;
        look_at(loop, passed_ns, period);
        next = earlier(next, period);
    }
    return next;
}
