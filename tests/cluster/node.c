// SPDX-License-Identifier: MIT
// The node daemon: it ends in order, with all that it has started, and starts no second time on one
// key that is bad.
#include "cluster/world.h"

#include <sys/stat.h>

static ac_value tell_and_stay(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)getpid()));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(tell_and_stay)

JOBS_OF_THIS_TEST

static ac_value stop_under_load(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    struct ac_job_exit job;
    ac_value message;
    int worker = -1;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, tell_and_stay, ac_self()), 0);
    while (worker < 0) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (message.kind == AC_INT)
            worker = world_handle(ac_int_of(message));
        ac_drop(message);
    }
    world_stop_node(); // checks that it ends with 0
    ck_assert(world_ends(worker, 10));
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_node_that_is_asked_to_end_takes_its_workers_along) {
    world_begin("1");
    world_run(stop_under_load);
    world_clean();
}

static ac_value ask_by_message(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ac_ref node = world_await(AC_NODE_READY, 20).node;
    ck_assert_int_eq(ac_send(node, ac_list("stop")), 0);
    ck_assert_int_eq(ac_sleep(0.3), 0);
    ck_assert_int_eq(ac_deliver(node, ac_nil, ac_after(20)), 1); // it goes on
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_message_cannot_end_a_node) {
    world_begin("1");
    world_run(ask_by_message);
    world_clean();
}

TEST(a_key_that_others_can_read_is_refused) {
    char text[256], path[96];
    world_make();
    snprintf(path, sizeof path, "%s/open", world_folder);
    int fd = sys_file_create(path);
    ck_assert_int_eq(fchmod(fd, 0644), 0);
    sys_fd_close(fd);
    ck_assert_int_eq(
        node_run(&(struct node_options){.key_file = path, .loopback_only = true}, text), -EACCES);
    ck_assert_str_ne(text, "");
    world_clean();
}
