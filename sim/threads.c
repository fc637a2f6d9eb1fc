// SPDX-License-Identifier: MIT
// Helper threads of simulated processes, mutexes and conditions: the linker puts these functions in
// the place of those whose names they carry, as in wrap.c.
//
// A thread has a stack of its own, on which it runs at its turn among all events until it waits:
// for a mutex, a condition, the disk (disk.c), or because it has ended. A guest has no guardian, as
// the one who computes takes no time but what looks at the clock cost. No loop ever finds a mutex
// taken, for threads let go of what they share with it before they wait.
#include "sim.h"

#include <stdlib.h>

enum { STACK_CLASS = 3 };            // 256 KiB
#define BEGINS_NS ((uint64_t)200000) // until a thread first runs, at most

struct sys_thread {
    struct list link; // in process->threads
    struct process *process;
    uint64_t number; // its place in the table
    uint64_t wakes;  // which event wakes it: others are late
    struct sys_context context;
    void *stack;
    void (*run)(void *);
    void *argument;
    struct list waits; // among those who wait for a mutex or condition
    bool signalled;    // it was taken from there
    bool missed;       // it was to go on while its process was frozen
    bool detached;
    bool ended;
};

struct sys_mutex {
    bool taken;
    struct list waiters;
};

struct sys_condition {
    struct list waiters;
};

static struct {
    struct sys_thread **all; // by number; NULL: it is gone
    uint64_t count;
    struct sys_thread *running;
} threads;

#define REPLACES __attribute__((used))
#define WRAPPED(result_, name_, ...) result_ __wrap_##name_(__VA_ARGS__)
WRAPPED(int, sys_thread_start, struct sys_thread **thread, void (*run)(void *), void *argument,
        size_t stack_bytes, const char *name);
WRAPPED(void, sys_thread_join, struct sys_thread *thread);
WRAPPED(void, sys_thread_detach, struct sys_thread *thread);
WRAPPED(struct sys_mutex *, sys_mutex_create, void);
WRAPPED(void, sys_mutex_destroy, struct sys_mutex *mutex);
WRAPPED(void, sys_mutex_lock, struct sys_mutex *mutex);
WRAPPED(void, sys_mutex_unlock, struct sys_mutex *mutex);
WRAPPED(struct sys_condition *, sys_condition_create, void);
WRAPPED(void, sys_condition_destroy, struct sys_condition *condition);
WRAPPED(bool, sys_condition_wait, struct sys_condition *condition, struct sys_mutex *mutex,
        ac_time deadline);
WRAPPED(void, sys_condition_signal, struct sys_condition *condition);
WRAPPED(void, sys_condition_signal_all, struct sys_condition *condition);
WRAPPED(bool, work_is_here, void);

// ---- turns ----

static void thread_free(struct sys_thread *it) {
    list_remove(&it->link);
    list_remove(&it->waits);
    threads.all[it->number] = NULL;
    if (it->stack)
        sys_stack_give(&sim.stacks, STACK_CLASS, it->stack);
    free(it);
}

static void give_turn(struct sys_thread *it) {
    struct process *process = it->process;
    sim.running = process;
    threads.running = it;
    process->spent = 0;
    (void)sys_switch(&sim.home, &it->context);
    threads.running = NULL;
    sim.running = NULL;
    process->spent = 0;
    if (process->state == PROCESS_KILLED) { // by itself, in the middle of something
        process->state = PROCESS_RUNS;
        process_kill(process, false);
    } else if (it->ended) {
        sys_stack_give(&sim.stacks, STACK_CLASS, it->stack);
        it->stack = NULL;
        process_wake(process, sim.now); // which may wait for that
        if (it->detached)
            thread_free(it);
    }
}

static void go_on(uint64_t number, uint64_t wakes) {
    struct sys_thread *it = threads.all[number];
    if (!it || it->wakes != wakes)
        return;
    it->missed = it->process->state == PROCESS_FROZEN;
    if (it->missed)
        return;
    list_remove(&it->waits);
    it->wakes++;
    give_turn(it);
}

static void wake_at(struct sys_thread *it, ac_time when) {
    sim_at(when, go_on, it->number, ++it->wakes);
}

static void leave(struct sys_thread *it) { (void)sys_switch(&it->context, &sim.home); }

void thread_rest(ac_time ns) {
    struct sys_thread *it = threads.running;
    if (!it)
        return;
    wake_at(it, sim.now + it->process->spent + ns);
    leave(it);
}

void threads_continue(struct process *process) {
    list_each (link, &process->threads) {
        struct sys_thread *it = container_of(link, struct sys_thread, link);
        if (it->missed)
            wake_at(it, sim.now);
        it->missed = false;
    }
}

void threads_forget(struct process *process) {
    list_each (link, &process->threads)
        thread_free(container_of(link, struct sys_thread, link));
}

void threads_end(void) {
    free(threads.all);
    memset(&threads, 0, sizeof threads);
}

REPLACES bool __wrap_work_is_here(void) { return threads.running != NULL; }

// ---- threads ----

static void run_thread(void *argument) {
    struct sys_thread *it = argument;
    sys_entered();
    it->run(it->argument);
    it->ended = true;
    leave(it);
    abort();
}

REPLACES int __wrap_sys_thread_start(struct sys_thread **thread, void (*run)(void *),
                                     void *argument, size_t stack_bytes, const char *name) {
    (void)stack_bytes;
    *thread = NULL;
    if (strcmp(name, "ac-guardian") == 0)
        return 0;
    if (!sim.has_threads)
        return -EAGAIN;
    struct sys_thread *it = calloc(1, sizeof *it);
    threads.all = realloc(threads.all, (threads.count + 1) * sizeof(struct sys_thread *));
    if (!it || !threads.all)
        abort();
    threads.all[threads.count] = it;
    it->number = threads.count++;
    it->process = sim.running;
    it->run = run;
    it->argument = argument;
    list_init(&it->waits);
    list_append(&it->process->threads, &it->link);
    sim.running = NULL; // stacks are of no process
    it->stack = sys_stack_take(&sim.stacks, STACK_CLASS);
    sim.running = it->process;
    if (!it->stack)
        abort();
    sys_stack_own(it->stack, NULL);
    sys_context_prepare(&it->context, it->stack, STACK_CLASS, run_thread, it);
    wake_at(it, sim.now + it->process->spent + (ac_time)sim_below(BEGINS_NS));
    *thread = it;
    return 0;
}

REPLACES void __wrap_sys_thread_join(struct sys_thread *thread) {
    while (thread && !thread->ended)
        process_wait(thread->process);
    if (thread)
        thread_free(thread);
}

REPLACES void __wrap_sys_thread_detach(struct sys_thread *thread) {
    thread->detached = true;
    if (thread->ended)
        thread_free(thread);
}

// ---- mutexes and conditions ----

static void wait_among(struct list *waiters) {
    struct sys_thread *it = threads.running;
    sim_check(it, "a loop waits for a thread");
    it->signalled = false;
    list_append(waiters, &it->waits);
    leave(it);
}

static void wake_first(struct list *waiters) {
    struct list *link = list_take(waiters);
    if (!link)
        return;
    struct sys_thread *it = container_of(link, struct sys_thread, waits);
    it->signalled = true;
    wake_at(it, sim.now + sim.running->spent + (ac_time)sim_below(10000));
}

REPLACES struct sys_mutex *__wrap_sys_mutex_create(void) {
    struct sys_mutex *it = memory_allocate_zeroed(sizeof *it);
    if (it)
        list_init(&it->waiters);
    return it;
}

REPLACES void __wrap_sys_mutex_destroy(struct sys_mutex *mutex) {
    assert(!mutex || (!mutex->taken && list_empty(&mutex->waiters)));
    memory_release(mutex);
}

REPLACES void __wrap_sys_mutex_lock(struct sys_mutex *mutex) {
    while (mutex->taken)
        wait_among(&mutex->waiters);
    mutex->taken = true;
}

REPLACES void __wrap_sys_mutex_unlock(struct sys_mutex *mutex) {
    assert(mutex->taken);
    mutex->taken = false;
    wake_first(&mutex->waiters);
}

REPLACES struct sys_condition *__wrap_sys_condition_create(void) {
    struct sys_condition *it = memory_allocate_zeroed(sizeof *it);
    if (it)
        list_init(&it->waiters);
    return it;
}

REPLACES void __wrap_sys_condition_destroy(struct sys_condition *condition) {
    memory_release(condition);
}

REPLACES bool __wrap_sys_condition_wait(struct sys_condition *condition, struct sys_mutex *mutex,
                                        ac_time deadline) {
    struct sys_thread *it = threads.running;
    __wrap_sys_mutex_unlock(mutex);
    if (it && deadline != AC_FOREVER)
        wake_at(it, process_when(it->process, deadline));
    wait_among(&condition->waiters);
    bool signalled = it->signalled;
    __wrap_sys_mutex_lock(mutex);
    return signalled;
}

REPLACES void __wrap_sys_condition_signal(struct sys_condition *condition) {
    wake_first(&condition->waiters);
}

REPLACES void __wrap_sys_condition_signal_all(struct sys_condition *condition) {
    while (!list_empty(&condition->waiters))
        wake_first(&condition->waiters);
}
