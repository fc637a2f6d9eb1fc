// SPDX-License-Identifier: MIT
// Several computations of one scheduler, and a client that the test plays.
#include "cluster/client_private.h"
#include "cluster/scheduler.h"
#include "cluster/world.h"

static ac_value spin(ac_value seconds) {
    for (ac_time until = ac_after(ac_real_of(seconds)); ac_now() < until;)
        continue;
    return ac_nil;
}
AC_JOB(spin)

JOBS_OF_THIS_TEST

enum { JOBS = 60 };

// Runs its jobs and returns when half of them had ended.
static ac_value run_half(ac_value unused) {
    ac_computation *computation;
    struct ac_job_exit job;
    ac_time half = 0;
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 0; i < JOBS; i++)
        ck_assert_int_gt(ac_submit(computation, spin, 0.02), 0);
    for (int i = 0; i < JOBS; i++) {
        ck_assert(world_next_exit(&job, 40));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        if (i == JOBS / 2)
            half = ac_now();
    }
    int err = ac_computation_close(computation, AC_FOREVER);
    return err ? ac_result(err) : ac_of((int64_t)half);
}

static ac_value run_both(ac_value unused) {
    (void)unused;
    ac_time began = ac_now();
    struct ac_exit one, other;
    ac_ref a = ac_spawn(run_half, ac_nil, .joinable = true, .stack_bytes = 256 << 10);
    ac_ref b = ac_spawn(run_half, ac_nil, .joinable = true, .stack_bytes = 256 << 10);
    ck_assert_int_eq(ac_join(a, &one, AC_FOREVER), 0);
    ck_assert_int_eq(ac_join(b, &other, AC_FOREVER), 0);
    ck_assert_int_eq(one.how, AC_FINISHED);
    ck_assert_int_eq(other.how, AC_FINISHED);
    // Neither had to wait until the other was through: half of one is done when a little more than
    // half of all could have been.
    double all = (double)(ac_now() - began);
    double first = (double)(ac_int_of(one.value) - began);
    double second = (double)(ac_int_of(other.value) - began);
    ck_assert_double_lt(first / all, 0.9);
    ck_assert_double_lt(second / all, 0.9);
    return ac_nil;
}

TEST(two_computations_of_one_client_share_a_processor) {
    world_begin("1");
    world_run(run_both);
    world_end();
}

static ac_value open_and_end(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_WORKER_READY, 20);
    ck_assert_int_gt(ac_submit(computation, spin, 0.01), 0);
    return ac_nil; // its end closes it
}

static ac_value go_on_beside(ac_value unused) {
    (void)unused;
    struct ac_exit end;
    ac_ref other = ac_spawn(open_and_end, ac_nil, .joinable = true, .stack_bytes = 256 << 10);
    ck_assert_int_eq(ac_join(other, &end, AC_FOREVER), 0);
    ck_assert_int_eq(end.how, AC_FINISHED);
    ac_value half = run_half(ac_nil);
    ck_assert_int_gt(ac_int_of(half), 0);
    return ac_nil;
}

TEST(the_end_of_one_computation_leaves_another_alone) {
    world_begin("1");
    world_run(go_on_beside);
    world_end();
}

// Adds a job that is to run at a worker which nobody knows.
static void want_at_nobody(struct batch *wants, uint64_t number) {
    ac_ref nobody = {.peer = 1, .id = 2};
    ck_assert_int_eq(batch_add(wants, THING_JOB, ac_of(number), ac_of(0), ac_of(nobody), ac_of(7)),
                     0);
}

// The numbers of the jobs that are told to have ended, until there are so many.
static void expect_ends(const uint64_t *numbers, size_t count) {
    while (count > 0) {
        ac_value message, items[THING_ITEMS_MAX];
        enum thing thing;
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        ck_assert(!ac_exit_of(message, &(struct ac_exit){0}));
        for (size_t cursor = 0; batch_next(message, &cursor, &thing, items);) {
            if (thing == THING_DONE) {
                ck_assert_int_eq(ac_int_of(items[0]), (int64_t)*numbers++);
                count--;
            }
            batch_drop(thing, items);
        }
        ac_drop(message);
    }
}

static ac_value play_courier(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ac_ref desk;
    struct batch wants = {0};
    ck_assert_int_eq(ac_computation_open(&computation), 0); // makes a scheduler
    struct cluster *cluster = loop_here->extra[LOOP_CLUSTER].state;
    char name[80]; // to be cut within its only letter of two bytes
    snprintf(name, sizeof name, "%062d\xc3\xa9", 7);
    ac_value open = ac_list("open", ac_self(), ac_self(),
                            ac_of_bytes("sixteen letters.", SECRET_BYTES), "", (const char *)name,
                            ac_nil, false, 0, 0, 0, true, ac_nil, ac_nil);
    struct desk *opened;
    ck_assert_int_eq(desk_open(cluster->scheduler, open, &opened), 0);
    desk = coro_ref(opened->coro);
    ac_drop(open);
    ck_assert_str_eq(container_of(cluster->scheduler->desks.prev, struct desk, link)->name + 60,
                     "07?");
    ck_assert_int_eq(ac_monitor(desk), 0);
    ck_assert_int_eq(batch_add(&wants, THING_CLASS, ac_of("f"), ac_of(0), ac_of(0), ac_of(""),
                               ac_of(""), ac_of(""), ac_of(0), ac_of_bool(false), ac_of_bool(false),
                               ac_of(0.0), ac_of_bool(false)),
                     0);
    const uint64_t numbers[] = {PLACE_GAP_MAX, 2 * PLACE_GAP_MAX, 3 * PLACE_GAP_MAX};
    want_at_nobody(&wants, numbers[0]);
    want_at_nobody(&wants, numbers[1]);
    ck_assert_int_eq(batch_add(&wants, THING_JOB, ac_of(numbers[2]), ac_of(0), ac_nil, ac_of(7)),
                     0);
    ck_assert_int_eq(batch_add(&wants, THING_DROP, ac_of(numbers[2])), 0);
    ck_assert_int_eq(ac_send(desk, batch_take(&wants, "want")), 0);
    expect_ends(numbers, countof(numbers));
    // A number that is not above those before is an error of the client, which ends the desk.
    want_at_nobody(&wants, numbers[1]);
    ck_assert_int_eq(ac_send(desk, batch_take(&wants, "want")), 0);
    struct ac_exit end = {0};
    while (!ac_ref_equal(end.who, desk)) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        if (ac_exit_of(message, &end))
            ac_drop(end.value);
        ac_drop(message);
    }
    batch_done(&wants);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_client_may_have_any_number_of_jobs_refused) {
    world_make();
    world_run(play_courier);
    world_clean();
}
