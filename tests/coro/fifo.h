// SPDX-License-Identifier: MIT
//
// What the tests of sync.c and lock.c share: small helpers, a clock that goes on only when all
// wait, and the one promise of all objects that are acquired and released, as a model.
//
// The model: an object has room; a lock has 1, a semaphore its count, a read-write lock ALL, of
// which a reader takes 1 and a writer ALL. Who comes when nobody waits and there is room enough
// takes it at once. The others stand in a queue, and the first is let in as soon as its share is
// free. Many coroutines acquire, release, yield, sleep, run out of time, are cancelled and, where
// the object has owners, end as such at random, and before and after each step the queue is
// compared with the model. All follows from the seed, which is named in what fails.
#ifndef TESTS_CORO_FIFO_H
#define TESTS_CORO_FIFO_H

#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <pthread.h>

enum { ALL = 1000, WORKERS = 8, ROUNDS = 12, SEEDS = 300 };

static inline void run(void) { ck_assert_int_eq(ac_run(), 0); }

// Lets all that are ready run, and those behind whom these come.
static inline void let_others_run(void) {
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(ac_yield(), 0);
}

static inline void *run_in_thread(void *function) {
    ac_spawn(*(ac_function *)function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    return NULL;
}

// Runs a coroutine in a loop of another thread, and waits for its end, blocking this one.
static inline void elsewhere(ac_function function) {
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_in_thread, &function), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

// ---- a clock of its own ----

static struct {
    struct sys_driver driver;
    ac_time now;
    uint64_t seed;   // of the run
    uint64_t random; // the last number
    long looks;      // at the clock
} world;

static ac_time world_now(struct sys *sys) {
    (void)sys;
    world.looks++;
    return world.now += 10;
}

// splitmix64 (Sebastiano Vigna, prng.di.unimi.it).
static uint64_t world_random(struct sys *sys) {
    (void)sys;
    uint64_t it = world.random += 0x9e3779b97f4a7c15;
    it = (it ^ it >> 30) * 0xbf58476d1ce4e5b9;
    it = (it ^ it >> 27) * 0x94d049bb133111eb;
    return it ^ it >> 31;
}

static int world_poll(struct sys *sys, ac_time deadline) {
    (void)sys;
    if (deadline == AC_FOREVER)
        ck_abort_msg("seed %lu: all wait and nobody will wake them", (unsigned long)world.seed);
    if (world.now < deadline)
        world.now = deadline;
    return 0;
}

// Makes the loop of this thread, with the clock and the random numbers of the seed.
static void world_begin(uint64_t seed) {
    int err = 0;
    world.seed = world.random = seed;
    world.now = 1000000;
    ck_assert_ptr_null(loop_here);
    struct loop *loop = loop_create(&sys_chosen, 1, &err);
    ck_assert_ptr_nonnull(loop);
    world.driver = *loop->sys->driver;
    world.driver.now = world_now;
    world.driver.random = world_random;
    world.driver.poll = world_poll;
    loop->sys->driver = &world.driver;
    loop->now = loop->asked = world.now;
    loop->random[0] = world_random(NULL);
    loop->random[1] = world_random(NULL) | 1;
    loop_here = loop;
}

static inline ac_time world_after_us(int64_t us) { return world.now + us * 1000; }

// ---- the object ----

struct object {
    uint32_t room;
    bool shared;          // some take 1 and some all
    void (*forget)(void); // makes it all zero; not NULL: it has owners, who may end as such
    int (*acquire)(bool all, ac_time deadline);
    int (*release)(void);
    const struct ac_queue_ *queue;
    void *const *loop;
};

struct worker {
    struct coro *coro;
    uint32_t wants;
    bool waits; // the model has it in its queue, or it has just been let in
    bool let_in;
};

static struct {
    const struct object *object;
    int64_t room;
    struct worker workers[WORKERS];
    struct worker *queue[WORKERS]; // in the order in which they came; those let in or gone go
    uint32_t count;
    long steps; // of all workers
    bool left;  // an owner ended
} model;

#define fifo_check(right)                                                                          \
    ck_assert_msg(right, "seed %lu, step %ld: " #right, (unsigned long)world.seed, model.steps)

// Compares the queue with the model. Who was let in or has gone away is awake, with a result,
// though it may not have run yet.
static void model_observe(void) {
    uint32_t left = 0;
    bool blocked = false;
    for (uint32_t i = 0; i < model.count; i++) {
        struct worker *worker = model.queue[i];
        bool awake = !worker->coro->wait;
        if (awake && worker->coro->context.result < 0)
            continue; // gone
        if (!awake) {
            if (!blocked)
                fifo_check(worker->wants > model.room); // a lost wake-up
            blocked = true;
            model.queue[left++] = worker;
            continue;
        }
        fifo_check(!blocked); // overtaking
        fifo_check(worker->wants <= model.room);
        model.room -= worker->wants;
        worker->let_in = true;
    }
    model.count = left;
    const struct waiter *at = waiter_first(model.object->queue);
    for (uint32_t i = 0; i < left; i++, at = at->next)
        fifo_check(at && at->coro == model.queue[i]->coro);
    fifo_check(!at);
}

static ac_time some_deadline(void) {
    switch (ac_random_int(0, 7)) {
    case 0: return AC_NOW;
    case 1: return world.now - 1;
    case 2:
    case 3:
    case 4: return world_after_us(ac_random_int(1, 60));
    default: return AC_FOREVER;
    }
}

// Acquires, and compares the result with what the model says. Whether it has it.
static bool worker_acquire(struct worker *worker) {
    model_observe();
    worker->wants = model.object->shared && ac_random_int(0, 2) == 0 ? ALL : 1;
    worker->let_in = false;
    ac_time deadline = some_deadline();
    bool refused = worker->coro->cancelled && deadline != AC_NOW;
    bool at_once = !refused && model.count == 0 && worker->wants <= model.room;
    bool waits = !refused && !at_once && deadline > world.now && !worker->coro->cancelled;
    if (waits)
        model.queue[model.count++] = worker;
    long steps = ++model.steps;
    int err = model.object->acquire(worker->wants == ALL, deadline);
    if (at_once) {
        fifo_check(err == 0 && model.steps == steps);
        model.room -= worker->wants;
    } else if (waits) {
        model_observe();
        fifo_check(worker->let_in == (err == 0));
        fifo_check(err == 0 || err == -ETIMEDOUT || err == -ECANCELED);
        fifo_check(err != -ETIMEDOUT || world.now >= deadline);
        fifo_check(err != -ECANCELED || worker->coro->cancelled);
    } else {
        fifo_check(err == (worker->coro->cancelled ? -ECANCELED : -ETIMEDOUT));
    }
    return err == 0;
}

static void worker_release(struct worker *worker) {
    model_observe();
    model.steps++;
    model.room += worker->wants;
    fifo_check(model.object->release() == 0);
    model_observe();
}

static void pause_a_little(void) {
    // A cancelled coroutine goes on without waiting.
    if (ac_random_int(0, 1))
        (void)ac_sleep((double)ac_random_int(1, 30) * 1e-6);
    else
        (void)ac_yield();
    model.steps++;
}

static ac_value work(ac_value number) {
    struct worker *worker = &model.workers[ac_int_of(number)];
    worker->coro = coro_here();
    for (int round = 0; round < ROUNDS; round++) {
        if (worker_acquire(worker)) {
            for (int64_t i = ac_random_int(0, 3); i > 0; i--)
                pause_a_little();
            if (model.object->forget && ac_random_int(0, 9) == 0) {
                model_observe();
                model.room += worker->wants;
                model.left = true;
                return ac_nil;
            }
            worker_release(worker);
        }
        for (int64_t i = ac_random_int(0, 2); i > 0; i--)
            pause_a_little();
    }
    return ac_nil;
}

static ac_ref worker_refs[WORKERS];

static ac_value cancel_some(ac_value unused) {
    (void)unused;
    for (int64_t i = ac_random_int(0, WORKERS / 2); i > 0; i--) {
        ck_assert_int_eq(ac_sleep((double)ac_random_int(1, 200) * 1e-6), 0);
        model_observe();
        (void)ac_cancel(worker_refs[ac_random_int(0, WORKERS - 1)]); // it may have ended
        model_observe();
    }
    return ac_nil;
}

static void fifo_run(const struct object *object, uint64_t seed) {
    world_begin(seed);
    memset(&model, 0, sizeof model);
    model.object = object;
    model.room = object->room;
    for (int i = 0; i < WORKERS; i++)
        worker_refs[i] = ac_spawn(work, i);
    ac_spawn(cancel_some, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    fifo_check(model.count == 0 && model.room == object->room);
    fifo_check(!object->queue->first_ && !object->queue->last_ && (!*object->loop || model.left));
    if (object->forget)
        object->forget();
}

// The model holds, whatever they do.
static inline void fifo_hold(const struct object *object) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        fifo_run(object, seed);
}

// ---- one who leaves the queue at each place ----

enum { QUEUE = 5 };

static struct {
    const struct object *object;
    int leaver;  // who leaves
    bool cancel; // else its time is up
    ac_ref refs[QUEUE];
    char story[QUEUE + 2];
} line;

static ac_value stand_in_line(ac_value number) {
    int n = (int)ac_int_of(number);
    bool leaves = n == line.leaver;
    ac_time deadline = leaves && !line.cancel ? world_after_us(5) : AC_FOREVER;
    int err = line.object->acquire(line.object->shared, deadline);
    if (leaves) {
        ck_assert_int_eq(err, line.cancel ? -ECANCELED : -ETIMEDOUT);
        return ac_nil;
    }
    ck_assert_int_eq(err, 0);
    line.story[strlen(line.story)] = (char)('a' + n);
    ck_assert_int_eq(line.object->release(), 0);
    return ac_nil;
}

static ac_value hold_up_line(ac_value unused) {
    (void)unused;
    for (uint32_t i = 0; i < (line.object->shared ? 1 : line.object->room); i++)
        ck_assert_int_eq(line.object->acquire(line.object->shared, AC_NOW), 0);
    for (int i = 0; i < QUEUE; i++)
        line.refs[i] = ac_spawn(stand_in_line, i);
    ck_assert_int_eq(ac_sleep(2e-6), 0);
    if (line.cancel)
        ck_assert_int_eq(ac_cancel(line.refs[line.leaver]), 0);
    ck_assert_int_eq(ac_sleep(20e-6), 0);
    for (uint32_t i = 0; i < (line.object->shared ? 1 : line.object->room); i++)
        ck_assert_int_eq(line.object->release(), 0);
    return ac_nil;
}

static inline void fifo_leave_everywhere(const struct object *object) {
    for (int leaver = 0; leaver < QUEUE; leaver++) {
        for (int cancel = 0; cancel < 2; cancel++) {
            world_begin(1);
            memset(&line, 0, sizeof line);
            line.object = object;
            line.leaver = leaver;
            line.cancel = cancel;
            ac_spawn(hold_up_line, ac_nil);
            ck_assert_int_eq(ac_run(), 0);
            char expected[QUEUE + 1] = {0};
            for (int i = 0; i < QUEUE; i++)
                if (i != leaver)
                    expected[strlen(expected)] = (char)('a' + i);
            ck_assert_str_eq(line.story, expected);
            ck_assert(!object->queue->first_ && !object->queue->last_ && !*object->loop);
        }
    }
}

#endif
