// SPDX-License-Identifier: MIT
// Nodes and workers that are suspended, resumed, disabled, enabled and listed, with a real node on
// loopback.
#include "cluster/world.h"

// Ends when it is told to.
static ac_value wait_for_word(ac_value unused) {
    (void)unused;
    ac_value message;
    int err = ac_receive(&message, AC_FOREVER);
    return err ? ac_result(err) : message;
}
AC_JOB(wait_for_word)

static ac_value echo(ac_value it) { return ac_hold(it); }
AC_JOB(echo)

JOBS_OF_THIS_TEST

enum { SECONDS = TEST_PATIENCE_S };

static ac_computation *computation;

static struct ac_status open_one(void) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    return world_await(AC_WORKER_READY, SECONDS);
}

static struct ac_place place_of(ac_ref node, ac_ref worker) {
    struct ac_place places[8];
    int64_t count = ac_places(computation, places, countof(places), ac_after(SECONDS));
    ck_assert_int_gt(count, 0);
    for (int64_t i = 0; i < count; i++)
        if (ac_ref_equal(places[i].node, node) && ac_ref_equal(places[i].worker, worker))
            return places[i];
    ck_abort_msg("a place is not listed");
}

static int state_of(ac_ref node, ac_ref worker) { return (int)place_of(node, worker).state; }

static void next_exit_is(int64_t number, enum ac_end how) {
    struct ac_job_exit job;
    ck_assert(world_next_exit(&job, SECONDS));
    ck_assert_int_eq(job.job, number);
    ck_assert_int_eq(job.exit.how, how);
    ac_drop(job.exit.value);
}

static ac_value list_them(ac_value unused) {
    (void)unused;
    struct ac_place places[3];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status found = world_await(AC_NODE_FOUND, SECONDS);
    struct ac_status ready = world_await(AC_WORKER_READY, SECONDS);
    ck_assert(ac_ref_equal(found.node, ready.node));
    struct ac_status other = world_await(AC_WORKER_READY, SECONDS);
    ck_assert_int_eq(ac_places(computation, places, 3, ac_after(SECONDS)), 3);
    ck_assert(ac_ref_equal(places[0].node, ready.node));
    ck_assert(!ac_ref_is(places[0].worker));
    ck_assert(ac_ref_equal(places[1].worker, ready.worker));
    ck_assert(ac_ref_equal(places[2].worker, other.worker));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(places[i].state, AC_PLACE_READY);
        ck_assert_str_eq(places[i].name, "here");
        ck_assert_str_eq(places[i].location, ready.location);
        ck_assert_uint_eq(places[i].cpus, 2);
        ck_assert_uint_eq(places[i].jobs, 0);
    }
    ac_ref job = ac_run_at(computation, other.worker, wait_for_word, 0);
    ck_assert(ac_ref_is(job));
    ck_assert_uint_eq(place_of(ready.node, ac_no_ref).jobs, 1);
    ck_assert_uint_eq(place_of(ready.node, other.worker).jobs, 1);
    // Fewer than there are, and none at all.
    places[1].jobs = 77;
    ck_assert_int_eq(ac_places(computation, places, 1, ac_after(SECONDS)), 3);
    ck_assert_uint_eq(places[1].jobs, 77);
    ck_assert_int_eq(ac_places(computation, NULL, 0, ac_after(SECONDS)), 3);
    ck_assert_int_eq(ac_places(computation, NULL, 1, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_places(NULL, places, 1, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_send(job, 1), 0);
    next_exit_is(0, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(places_are_listed_with_what_they_have_and_do) {
    ck_assert_int_eq(ac_places(computation, NULL, 0, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_place_suspend(computation, ac_no_ref, AC_FOREVER), -EPERM);
    world_begin("2");
    world_run(list_them);
    world_end();
}

enum { MANY = 20 };

static ac_value list_many(ac_value unused) {
    (void)unused;
    struct ac_place places[MANY + 1];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 0; i < MANY; i++)
        (void)world_await(AC_WORKER_READY, SECONDS);
    ck_assert_int_eq(ac_places(computation, places, MANY + 1, ac_after(SECONDS)), MANY + 1);
    for (int i = 0; i <= MANY; i++) {
        ck_assert_int_eq(places[i].state, AC_PLACE_READY);
        for (int k = 0; k < i; k++)
            ck_assert(!ac_ref_equal(places[i].worker, places[k].worker));
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(more_places_are_listed_than_go_into_one_message) {
    world_begin("20");
    world_run(list_many);
    world_end();
}

static ac_value suspend_a_worker(ac_value unused) {
    (void)unused;
    struct ac_status one = open_one(), other = world_await(AC_WORKER_READY, SECONDS);
    ck_assert_int_eq(ac_place_suspend(computation, one.worker, ac_after(SECONDS)), 0);
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_SUSPENDED);
    ck_assert_int_eq(state_of(one.node, other.worker), AC_PLACE_READY);
    ck_assert_int_eq(state_of(one.node, ac_no_ref), AC_PLACE_READY);
    struct ac_status status = world_await(AC_WORKER_SUSPENDED, SECONDS);
    ck_assert(ac_ref_equal(status.worker, one.worker));
    ck_assert(ac_ref_equal(status.node, one.node));
    ck_assert_str_eq(status.text, "here");
    ac_ref job = ac_run_at(computation, one.worker, echo, 7);
    ck_assert(!ac_ref_is(job));
    ck_assert_int_eq(ac_ref_error(job), -EBUSY);
    for (int64_t i = 2; i <= 20; i++)
        ck_assert_int_eq(ac_submit(computation, echo, 7), i);
    for (int i = 2; i <= 20; i++) {
        struct ac_job_exit end;
        ck_assert(world_next_exit(&end, SECONDS));
        ck_assert_int_eq(end.exit.how, AC_FINISHED);
        ck_assert(ac_ref_equal(end.worker, other.worker));
    }
    ck_assert_int_eq(ac_place_resume(computation, one.worker, ac_after(SECONDS)), 0);
    status = world_await(AC_WORKER_RESUMED, SECONDS);
    ck_assert(ac_ref_equal(status.worker, one.worker));
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_READY);
    ck_assert(ac_ref_is(ac_run_at(computation, one.worker, echo, 7)));
    next_exit_is(0, AC_FINISHED);
    // What is so already is not told again.
    ck_assert_int_eq(ac_place_resume(computation, one.worker, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_place_suspend(computation, other.worker, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_place_suspend(computation, other.worker, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_submit(computation, echo, 7), 22);
    int told = 0;
    ac_value message;
    for (struct ac_job_exit end = {0}; end.job != 22; ac_drop(message)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(SECONDS)), 0);
        if (ac_status_of(message, &status))
            told += status.kind == AC_WORKER_RESUMED || status.kind == AC_WORKER_SUSPENDED;
        (void)ac_job_exit_of(message, &end);
    }
    ck_assert_int_eq(told, 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_suspended_worker_takes_no_jobs_until_it_is_resumed) {
    world_begin("2");
    world_run(suspend_a_worker);
    world_end();
}

static ac_value suspend_a_node(ac_value unused) {
    (void)unused;
    char text[256];
    struct ac_status one = open_one();
    ck_assert_int_eq(ac_submit(computation, wait_for_word, 0), 1);
    struct ac_status begun = world_await(AC_JOB_STARTED, SECONDS);
    ck_assert_int_eq(ac_place_suspend(computation, one.node, ac_after(SECONDS)), 0);
    struct ac_status status = world_await(AC_NODE_SUSPENDED, SECONDS);
    ck_assert(ac_ref_equal(status.node, one.node));
    ck_assert_str_eq(status.text, "here");
    ck_assert_int_eq(state_of(one.node, ac_no_ref), AC_PLACE_SUSPENDED);
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_SUSPENDED);
    ck_assert_int_eq(ac_submit(computation, echo, 7), 2);
    // What has begun goes on. What has not waits, and the client is told why, asked and unasked.
    ck_assert_int_eq(ac_send(begun.coroutine, 1), 0);
    next_exit_is(1, AC_FINISHED);
    ck_assert_int_eq(ac_job_why(computation, 2, text, sizeof text, ac_after(SECONDS)), 0);
    ck_assert_str_eq(text, "all of 1 workers that fit are suspended, one of them on here");
    status = world_await(AC_JOBS_WAIT, SECONDS);
    ck_assert_str_eq(status.text, text);
    // To resume its worker does not resume it.
    ck_assert_int_eq(ac_place_resume(computation, one.worker, ac_after(SECONDS)), 0);
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_SUSPENDED);
    ck_assert_int_eq(ac_place_resume(computation, one.node, ac_after(SECONDS)), 0);
    (void)world_await(AC_NODE_RESUMED, SECONDS);
    next_exit_is(2, AC_FINISHED);
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_READY);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_suspended_node_ends_what_has_begun_and_begins_nothing) {
    world_begin("1");
    world_run(suspend_a_node);
    world_end();
}

static ac_value suspend_early(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status found = world_await(AC_NODE_FOUND, SECONDS);
    ck_assert_int_eq(ac_place_suspend(computation, found.node, ac_after(SECONDS)), 0);
    struct ac_status ready = world_await(AC_WORKER_READY, SECONDS);
    ck_assert_int_eq(ac_submit(computation, echo, 7), 1);
    ac_ref job = ac_run_at(computation, ready.worker, echo, 7);
    ck_assert_int_eq(ac_ref_error(job), -EBUSY);
    struct ac_place place = place_of(ready.node, ready.worker);
    ck_assert_int_eq(place.state, AC_PLACE_SUSPENDED);
    ck_assert_uint_eq(place.jobs, 0);
    ck_assert_int_eq(ac_place_resume(computation, found.node, ac_after(SECONDS)), 0);
    next_exit_is(1, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_node_may_be_suspended_before_it_is_ready) {
    world_begin("1");
    world_run(suspend_early);
    world_end();
}

static ac_value disable_a_node(ac_value unused) {
    (void)unused;
    struct ac_status one = open_one();
    ck_assert_int_eq(ac_submit(computation, wait_for_word, 0), 1);
    struct ac_status begun = world_await(AC_JOB_STARTED, SECONDS);
    ck_assert_int_eq(ac_place_disable(computation, one.node, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_place_disable(computation, one.node, ac_after(SECONDS)), 0);
    (void)world_await(AC_NODE_DISABLED, SECONDS);
    ck_assert_int_eq(state_of(one.node, ac_no_ref), AC_PLACE_DRAINING);
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_DRAINING);
    ck_assert_int_eq(ac_place_resume(computation, one.node, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_submit(computation, echo, 7), 2);
    ck_assert_int_eq(ac_send(begun.coroutine, 1), 0);
    next_exit_is(1, AC_FINISHED);
    // It and its worker end, whichever is told first.
    for (int told = 0; told < 2;) {
        struct ac_status gone;
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, ac_after(SECONDS)), 0);
        if (ac_status_of(message, &gone)) {
            ck_assert(ac_ref_equal(gone.node, one.node));
            told += gone.kind == AC_WORKER_GONE || gone.kind == AC_NODE_GONE;
            ck_assert(!gone.lost);
            if (gone.kind == AC_NODE_GONE)
                ck_assert_str_eq(gone.text, "closed");
        }
        ac_drop(message);
    }
    struct ac_place place = place_of(one.node, ac_no_ref);
    ck_assert_int_eq(place.state, AC_PLACE_DISABLED);
    ck_assert_str_eq(place.name, "here");
    ck_assert_int_eq(ac_places(computation, NULL, 0, ac_after(SECONDS)), 1);
    char text[256];
    ck_assert_int_eq(ac_job_why(computation, 2, text, sizeof text, ac_after(SECONDS)), 0);
    ck_assert_str_eq(text, "no worker fits, and 1 node is disabled");
    ck_assert_int_eq(ac_place_disable(computation, one.node, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_place_suspend(computation, one.node, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_place_enable(computation, one.node, ac_after(SECONDS)), 0);
    (void)world_await(AC_NODE_FOUND, SECONDS);
    (void)world_await(AC_NODE_READY, SECONDS);
    next_exit_is(2, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_disabled_node_is_given_back_until_it_is_enabled) {
    world_begin("1");
    world_run(disable_a_node);
    world_end();
}

static ac_value choose_nodes(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation, .nodes_disabled = true), 0);
    struct ac_status found = world_await(AC_NODE_FOUND, SECONDS);
    ck_assert_int_eq(state_of(found.node, ac_no_ref), AC_PLACE_DISABLED);
    ck_assert_int_eq(ac_submit(computation, echo, 7), 1);
    struct ac_status status = world_await(AC_JOBS_WAIT, SECONDS);
    ck_assert_str_eq(status.text, "no worker fits, and 1 node is disabled");
    ck_assert_int_eq(ac_place_enable(computation, found.node, ac_after(SECONDS)), 0);
    status = world_await(AC_NODE_READY, SECONDS);
    ck_assert(ac_ref_equal(status.node, found.node));
    next_exit_is(1, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(nodes_may_be_told_of_and_not_used_until_they_are_enabled) {
    world_begin("1");
    world_run(choose_nodes);
    world_end();
}

static ac_value change_minds(ac_value unused) {
    (void)unused;
    struct ac_status one = open_one();
    // Before what runs has ended it only goes on; at once, while its workers end, it is asked anew.
    ck_assert_int_eq(ac_submit(computation, wait_for_word, 0), 1);
    struct ac_status begun = world_await(AC_JOB_STARTED, SECONDS);
    ck_assert_int_eq(ac_place_disable(computation, one.node, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_place_enable(computation, one.node, ac_after(SECONDS)), 0);
    ck_assert_int_eq(state_of(one.node, one.worker), AC_PLACE_READY);
    (void)world_await(AC_NODE_READY, SECONDS);
    ck_assert_int_eq(ac_send(begun.coroutine, 1), 0);
    next_exit_is(1, AC_FINISHED);
    ck_assert_int_eq(ac_submit(computation, echo, 7), 2);
    next_exit_is(2, AC_FINISHED);
    for (int64_t i = 3; i <= 7; i++) {
        ck_assert_int_eq(ac_place_disable(computation, one.node, ac_after(SECONDS)), 0);
        if (i == 4) // when it has ended
            while (state_of(one.node, ac_no_ref) != AC_PLACE_DISABLED)
                (void)world_await(AC_NODE_GONE, SECONDS);
        if (i == 5)
            (void)world_await(AC_NODE_DISABLED, SECONDS);
        ck_assert_int_eq(ac_place_enable(computation, one.node, ac_after(SECONDS)), 0);
        ck_assert_int_eq(ac_place_enable(computation, one.node, ac_after(SECONDS)), 0);
        ck_assert_int_eq(ac_submit(computation, echo, 7), i);
        next_exit_is(i, AC_FINISHED);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_node_may_be_enabled_while_it_is_given_back) {
    world_begin("1");
    world_run(change_minds);
    world_end();
}

static ac_value ask_for_what_cannot_be(ac_value unused) {
    (void)unused;
    struct ac_status one = open_one();
    ac_ref nobody = ac_self();
    ck_assert_int_eq(ac_place_suspend(computation, nobody, ac_after(SECONDS)), -ESRCH);
    ck_assert_int_eq(ac_place_resume(computation, nobody, ac_after(SECONDS)), -ESRCH);
    ck_assert_int_eq(ac_place_disable(computation, nobody, ac_after(SECONDS)), -ESRCH);
    ck_assert_int_eq(ac_place_enable(computation, nobody, ac_after(SECONDS)), -ESRCH);
    ck_assert_int_eq(ac_place_suspend(computation, ac_no_ref, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_place_suspend(NULL, one.node, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_place_disable(computation, one.worker, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_place_enable(computation, one.worker, ac_after(SECONDS)), -EINVAL);
    ck_assert_int_eq(ac_place_enable(computation, one.node, ac_after(SECONDS)), 0);
    // A node that goes is no place any more, disabled or not.
    ck_assert_int_eq(ac_place_disable(computation, one.node, ac_after(SECONDS)), 0);
    (void)world_await(AC_NODE_GONE, SECONDS);
    sys_process_end(&world_node, false, false);
    struct ac_status lost = world_await(AC_NODE_GONE, SECONDS);
    ck_assert(ac_ref_equal(lost.node, one.node));
    ck_assert(lost.lost);
    ck_assert_int_eq(ac_place_enable(computation, one.node, ac_after(SECONDS)), -ESRCH);
    ck_assert_int_eq(ac_places(computation, NULL, 0, ac_after(SECONDS)), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_cannot_be_is_refused) {
    world_begin("1");
    world_run(ask_for_what_cannot_be);
    world_end();
}

static ac_value suspend_for_one(ac_value unused) {
    (void)unused;
    struct ac_status one = open_one();
    ac_computation *mine = computation, *beside;
    ck_assert_int_eq(ac_computation_open(&beside), 0);
    struct ac_status other = world_await(AC_WORKER_READY, SECONDS);
    ck_assert_int_eq(ac_place_suspend(mine, other.worker, ac_after(SECONDS)), -ESRCH);
    ck_assert_int_eq(ac_place_suspend(mine, one.node, ac_after(SECONDS)), 0);
    ck_assert_int_eq(ac_submit(beside, echo, 7), 1);
    next_exit_is(1, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(beside, AC_FOREVER), 0);
    // Closing one that waits for a suspended node cancels what waits.
    ck_assert_int_eq(ac_submit(mine, echo, 7), 1);
    ck_assert_int_eq(ac_computation_close(mine, ac_after(0.1)), 0);
    next_exit_is(1, AC_CANCELLED);
    return ac_nil;
}

TEST(a_node_is_suspended_for_one_computation_alone) {
    world_begin("1");
    world_run(suspend_for_one);
    world_end();
}
