// SPDX-License-Identifier: MIT
// Computations on a node: nothing is left behind, whoever is killed.
#include "cluster/world.h"

static ac_value tell_and_stay(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)getpid()));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(tell_and_stay)

// The same, not to be interrupted by anything but the end of the process, which it tells twice: of
// a child too.
static ac_value tell_and_spin(ac_value to) {
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    int err = ac_send(ac_ref_of(to), ac_list((int)getpid(), (int)child));
    while (!err)
        pause();
    return ac_result(err);
}
AC_JOB(tell_and_spin)

static ac_value fall_silent_and_end(ac_value to) {
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    (void)ac_send(ac_ref_of(to), "silent");
    (void)ac_sleep(1);
    _exit(7);
}
AC_JOB(fall_silent_and_end)

static ac_value live_longer(ac_value unused) {
    int err = ac_sleep(2.5);
    return err ? ac_result(err) : unused;
}
AC_JOB(live_longer)

JOBS_OF_THIS_TEST

static ac_computation *computation;
static int handles[4]; // of workers and what they have started
static int handle_count;

static void gather(int count) {
    while (handle_count < count) {
        ac_value message;
        int one, other;
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (message.kind == AC_INT) {
            handles[handle_count++] = world_handle(ac_int_of(message));
        } else if (message.kind == AC_LIST && ac_unpack(message, &one, &other) == 0) {
            handles[handle_count++] = world_handle(one);
            handles[handle_count++] = world_handle(other);
        }
        ac_drop(message);
    }
}

static ac_value start_jobs(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_gt(ac_submit(computation, tell_and_stay, ac_self()), 0);
    gather(2);
    return ac_nil;
}

// The node is killed: its workers end, and both jobs are lost.
static ac_value lose_node(ac_value unused) {
    start_jobs(unused);
    sys_process_end(&world_node, true, false);
    for (int i = 0; i < 2; i++) {
        struct ac_job_exit job;
        ck_assert(world_next_exit(&job, 20));
        ck_assert_int_eq(job.exit.how, AC_LOST);
        ac_drop(job.exit.value);
    }
    for (int i = 0; i < 2; i++)
        ck_assert(world_ends(handles[i], 20));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(no_worker_outlives_its_node) {
    world_begin("2");
    world_run(lose_node);
    world_clean();
}

// As before, with jobs that never wait and have children.
static ac_value lose_node_while_busy(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, tell_and_spin, ac_self()), 0);
    gather(2);
    sys_process_end(&world_node, true, false);
    ck_assert(world_next_exit(&job, 30));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    for (int i = 0; i < 2; i++)
        ck_assert(world_ends(handles[i], 20));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(no_child_of_a_worker_outlives_its_node) {
    world_begin("1");
    world_run(lose_node_while_busy);
    world_clean();
}

static ac_value spin_and_close(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, tell_and_spin, ac_self()), 0);
    gather(2);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    struct ac_job_exit job;
    ck_assert(world_next_exit(&job, 0));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert_int_eq(job.exit.reason, -ECANCELED);
    ac_drop(job.exit.value);
    for (int i = 0; i < 2; i++)
        ck_assert(world_ends(handles[i], 20));
    return ac_nil;
}

TEST(closing_ends_also_jobs_that_never_wait_and_their_children) {
    world_begin("1");
    world_run(spin_and_close);
    world_end();
}

// In a process of its own: tells the workers' processes through a pipe, and stays.
static int told;

static ac_value be_client(ac_value unused) {
    start_jobs(unused);
    // The handles are ours; the numbers are what the other process can use.
    for (int i = 0; i < 2; i++) {
        char path[64], line[128];
        int id = 0;
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", handles[i]);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            (void)sscanf(line, "Pid: %d", &id);
        fclose(file);
        ck_assert_int_eq(sys_fd_write(told, &id, sizeof id), 0);
    }
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}

TEST(no_worker_outlives_its_client) {
    world_begin("2");
    int ends[2], id;
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t client = fork();
    if (client == 0) {
        told = ends[1];
        world_run(be_client);
        _exit(0);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(sys_file_exists(world_folder), true);
        ck_assert_int_eq(read(ends[0], &id, sizeof id), sizeof id);
        handles[i] = world_handle(id);
    }
    ck_assert_int_eq(kill(client, SIGKILL), 0);
    for (int i = 0; i < 2; i++)
        ck_assert(world_ends(handles[i], 30));
    world_end();
}

// The end of a worker that had nothing to write any more is nobody else's.
static ac_value end_one_of_two(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ac_computation *other;
    ac_value message = ac_nil;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, fall_silent_and_end, ac_self()), 0);
    for (; message.kind != AC_TEXT; ac_drop(message))
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    ck_assert_int_eq(ac_sleep(0.2), 0); // what listened to it has ended
    ck_assert_int_eq(ac_computation_open(&other), 0);
    ck_assert_int_gt(ac_submit(other, live_longer, ac_nil), 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_drop(job.exit.value);
    ck_assert_int_eq(ac_computation_close(other, AC_FOREVER), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(the_end_of_a_silent_worker_harms_no_other_computation) {
    world_begin("1");
    world_run(end_one_of_two);
    world_clean();
}
