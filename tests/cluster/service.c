// SPDX-License-Identifier: MIT
// The scheduler in a process of its own: several clients at once, who are killed, as it is itself;
// jobs and their clients; whom it refuses. How a client comes to it: tests/cluster/contact.c. The
// tests of cluster/job.c and others run with it as well (tests/meson.build).
#include "cluster/world.h"

#include <sys/prctl.h>
#include <sys/wait.h>

enum { ROUNDS = 3, PARTS = 7 };

static ac_value spin(ac_value seconds) {
    for (ac_time until = ac_after(ac_real_of(seconds)); ac_now() < until;)
        continue;
    return ac_nil;
}
AC_JOB(spin)

static ac_value tell_and_stay(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)getpid()));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(tell_and_stay)

// Tells who it is, waits for an answer, and a little later tells much that is large, and ends.
static ac_value talk(ac_value to) {
    static char large[100000];
    ac_value message;
    int err = ac_send(ac_ref_of(to), ac_self());
    if (!err)
        err = ac_receive(&message, ac_after(TEST_PATIENCE_S));
    if (!err)
        err = ac_sleep(0.1);
    for (int64_t i = 1; i <= PARTS && !err; i++)
        err = ac_send(ac_ref_of(to), ac_list("part", i, ac_of_bytes(large, sizeof large)));
    return err ? ac_result(err) : message;
}
AC_JOB(talk)

static ac_value send_home(ac_value unused) {
    (void)unused;
    int fd = sys_file_create("result");
    int err = fd < 0 ? fd : sys_fd_write(fd, "from there", 10);
    if (fd >= 0)
        sys_fd_close(fd);
    return ac_result(err ? err : ac_job_file("result", "result", ac_after(TEST_PATIENCE_S)));
}
AC_JOB(send_home)

// More than a link has room for, from all jobs of a client together.
static ac_value give_much(ac_value unused) {
    static char large[200000];
    (void)unused;
    return ac_of_bytes(large, sizeof large);
}
AC_JOB(give_much)

JOBS_OF_THIS_TEST

static ac_computation *computation;

static void begin(const char *workers) {
    world_make();
    world_start_scheduler();
    world_start_node(workers);
}

static void end(void) {
    world_stop_node();
    world_stop(&world_scheduler);
    world_clean();
}

static int report[2]; // a pipe from a client to the test

// Another client: a process that dies with the test.
static pid_t fork_client(ac_function main) {
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    world_run(main);
    _exit(EXIT_SUCCESS);
}

static void ck_child_ends(pid_t pid) {
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// ---- messages and files ----

static ac_value converse(ac_value unused) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status status = world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_str_eq(status.location, world_scheduler_address);
    for (int round = 1; round <= ROUNDS; round++) {
        int64_t parts = 0, part;
        bool over = false;
        const char *word;
        ac_value bytes;
        ck_assert_int_eq(ac_submit(computation, talk, ac_self()), round);
        while (!over) {
            ac_value message;
            struct ac_job_exit job;
            ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
            if (message.kind == AC_REF) {
                ck_assert_int_eq(ac_deliver(ac_ref_of(message), round, AC_FOREVER), 1);
                ck_assert_int_eq(sys_fd_write(report[1], "!", 1), 0);
            } else if (message.kind == AC_LIST) {
                ck_assert_int_eq(ac_unpack(message, &word, &part, &bytes), 0);
                ck_assert_int_eq(part, ++parts);
                ac_drop(bytes);
            } else if (ac_job_exit_of(message, &job)) {
                ck_assert_int_eq(job.exit.how, AC_FINISHED);
                ck_assert_int_eq(ac_int_of(job.exit.value), round);
                ck_assert_int_eq(parts, PARTS);
                over = true;
            }
            ac_drop(message);
        }
    }
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

// The client is stopped while a job tells it much and ends, so that it finds all of it and the end
// at once, on two connections.
TEST(jobs_and_clients_exchange_messages_and_the_end_comes_last) {
    char byte;
    begin("1");
    ck_assert_int_eq(sys_pipe(report), 0);
    pid_t client = fork_client(converse);
    sys_fd_close(report[1]);
    for (int round = 1; round <= ROUNDS; round++) {
        ck_assert_int_eq(read(report[0], &byte, 1), 1);
        ck_assert_int_eq(kill(client, SIGSTOP), 0);
        ck_assert_int_eq(usleep(300000), 0); // too short, it might not catch a fault; no more
        ck_assert_int_eq(kill(client, SIGCONT), 0);
    }
    ck_child_ends(client);
    end();
}

static ac_value take_file(ac_value unused) {
    struct ac_job_exit job;
    struct buffer text;
    char inbox[96], path[128];
    snprintf(inbox, sizeof inbox, "%s/inbox", world_folder);
    snprintf(path, sizeof path, "%s/result", inbox);
    ck_assert_int_eq(sys_folder_make(inbox), 0);
    ck_assert_int_eq(ac_transfer_accept(inbox), 0);
    // A file that travels gives its workers a folder of their own.
    ck_assert_int_eq(
        ac_computation_open(&computation, .files = AC_FILES({.path = "/proc/self/status"})), 0);
    ck_assert_int_gt(ac_submit(computation, send_home, ac_nil), 0);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    buffer_init(&text);
    ck_assert_int_eq(sys_file_read(path, &text, 100), 0);
    ck_assert_uint_eq(text.length, 10);
    ck_assert_mem_eq(text.bytes, "from there", 10);
    buffer_done(&text);
    ck_assert_int_eq(ac_transfer_refuse(), 0);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(files_of_jobs_come_to_the_client) {
    begin("1");
    world_run(take_file);
    end();
}

// ---- several clients ----

enum { SPINS = 60 };

// Runs its jobs, and tells when half of them had ended, and all.
static ac_value run_half(ac_value unused) {
    struct ac_job_exit job;
    ac_time times[2] = {0};
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 0; i < SPINS; i++)
        ck_assert_int_gt(ac_submit(computation, spin, 0.02), 0);
    for (int i = 0; i < SPINS; i++) {
        ck_assert(world_next_exit(&job, 3 * TEST_PATIENCE_S));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        times[0] = i == SPINS / 2 ? ac_now() : times[0];
    }
    times[1] = ac_now();
    ck_assert_int_eq(sys_fd_write(report[1], times, sizeof times), 0);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(clients_share_a_processor, .seconds_max = 120) {
    ac_time began = ac_now(), times[3][2], last = 0;
    pid_t clients[3];
    begin("1");
    ck_assert_int_eq(sys_pipe(report), 0);
    for (size_t i = 0; i < 3; i++)
        clients[i] = fork_client(run_half);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(read(report[0], times[i], sizeof times[i]), sizeof times[i]);
        last = times[i][1] > last ? times[i][1] : last;
    }
    for (size_t i = 0; i < 3; i++)
        ck_child_ends(clients[i]);
    // None had to wait until the others were through: the clock is the same in all of them.
    for (size_t i = 0; i < 3; i++)
        ck_assert_double_lt((double)(times[i][0] - began) / (double)(last - began), 0.9);
    end();
}

// Has a job that does not end, and tells its process.
static ac_value occupy(ac_value unused) {
    ac_value message;
    int id = 0;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, tell_and_stay, ac_self()), 0);
    while (id == 0) {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        id = message.kind == AC_INT ? (int)ac_int_of(message) : 0;
        ac_drop(message);
    }
    ck_assert_int_eq(sys_fd_write(report[1], &id, sizeof id), 0);
    (void)ac_suspend(NULL, AC_FOREVER);
    return unused;
}

static ac_value run_one(ac_value unused) {
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, spin, 0.0), 0);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(a_killed_client_takes_its_computation_along) {
    int id;
    begin("1");
    ck_assert_int_eq(sys_pipe(report), 0);
    pid_t client = fork_client(occupy);
    ck_assert_int_eq(read(report[0], &id, sizeof id), sizeof id);
    int worker = world_handle(id);
    ck_assert_int_eq(kill(client, SIGKILL), 0);
    ck_assert_int_eq(waitpid(client, NULL, 0), client);
    ck_assert(world_ends(worker, TEST_PATIENCE_S));
    sys_fd_close(worker);
    world_run(run_one); // the processor is free again
    end();
}

enum { RESULTS = 200 };

// Is frozen when it has heard of the first of its jobs.
static ac_value freeze_early(ac_value unused) {
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= RESULTS; i++)
        ck_assert_int_eq(ac_submit(computation, give_much, ac_nil), i);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ac_drop(job.exit.value);
    raise(SIGSTOP);
    return unused;
}

TEST(a_frozen_client_holds_up_nobody_else) {
    int status;
    begin("1");
    pid_t client = fork_client(freeze_early);
    ck_assert_int_eq(waitpid(client, &status, WUNTRACED), client);
    ck_assert(WIFSTOPPED(status));
    world_run(run_one);
    ck_assert_int_eq(kill(client, SIGKILL), 0);
    ck_assert_int_eq(waitpid(client, &status, 0), client);
    end();
}

// ---- its end ----

static ac_value lose_it(ac_value unused) {
    ac_value message;
    struct ac_job_exit job;
    int worker = -1;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, tell_and_stay, ac_self()), 1);
    ck_assert_int_eq(ac_submit(computation, spin, 0.0), 2);
    while (worker < 0) {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        if (message.kind == AC_INT)
            worker = world_handle(ac_int_of(message));
        ac_drop(message);
    }
    sys_process_end(&world_scheduler, true, false);
    struct ac_status status = world_await(AC_SCHEDULER_GONE, TEST_PATIENCE_S);
    ck_assert_str_eq(status.text, "the scheduler is gone");
    for (int i = 0; i < 2; i++) {
        ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
        ck_assert_int_eq(job.exit.how, AC_LOST);
        ck_assert_int_eq(job.exit.reason, -ECONNRESET);
        ac_drop(job.exit.value);
    }
    ck_assert(world_ends(worker, TEST_PATIENCE_S));
    sys_fd_close(worker);
    ck_assert_int_eq(ac_submit(computation, spin, 0.0), -ECANCELED);
    ck_assert(!world_next_exit(&job, 0));
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(a_killed_scheduler_is_told_of_and_its_jobs_are_lost) {
    struct sys_process_end it;
    begin("1");
    world_run(lose_it);
    ck_assert_int_eq(sys_process_reap(&world_scheduler, &it), 0);
    world_stop_node();
    world_clean();
}

// What runs ends in peace; who comes later is not taken in.
static ac_value drain_it(ac_value unused) {
    ac_computation *late;
    struct ac_job_exit job;
    struct ac_status status;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    sys_process_end(&world_scheduler, false, false);
    do { // until the signal has come there
        ck_assert_int_eq(ac_computation_open(&late), 0);
        ac_value message;
        do {
            ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
            bool is = ac_status_of(message, &status) &&
                      (status.kind == AC_SCHEDULER_READY || status.kind == AC_JOBS_WAIT);
            ac_drop(message);
            if (is)
                break;
        } while (true);
        ck_assert_int_eq(ac_computation_close(late, AC_NOW), 0);
    } while (status.kind == AC_SCHEDULER_READY);
    ck_assert_ptr_nonnull(strstr(status.text, world_scheduler_address));
    ck_assert_int_gt(ac_submit(computation, spin, 0.0), 0);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

static void ck_scheduler_ends(void) {
    struct sys_process_end it;
    ck_assert(world_ends(world_scheduler.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&world_scheduler, &it), 0);
    ck_assert(!it.by_signal);
    ck_assert_int_eq(it.code, 0);
}

TEST(a_signal_lets_what_it_has_end_and_takes_nothing_in) {
    world_scheduler_options[0] = "--grace=1h";
    begin("1");
    world_run(drain_it);
    ck_scheduler_ends();
    world_stop_node();
    world_clean();
}

static ac_value be_ended(ac_value unused) {
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, tell_and_stay, ac_self()), 1);
    (void)world_await(AC_JOB_STARTED, TEST_PATIENCE_S);
    sys_process_end(&world_scheduler, false, false);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S)); // the grace is none
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(when_the_grace_is_over_it_closes_what_is_left) {
    begin("1");
    world_run(be_ended);
    ck_scheduler_ends();
    world_stop_node();
    world_clean();
}

TEST(it_ends_when_it_is_idle) {
    world_make();
    world_scheduler_options[0] = "--idle=1s";
    world_start_scheduler();
    ck_scheduler_ends();
    world_clean();
}

// ---- whom it refuses ----

static pid_t fork_strict_scheduler(void) {
    char line[256] = "", text[256];
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        ac_spawn(world_restrict, ac_nil, .daemon = true);
        _exit(scheduler_run(&(struct scheduler_options){.name = "strict", .loopback_only = true},
                            text) < 0);
    }
    for (size_t n = 0; n < sizeof line - 1 && !strchr(line, '\n'); n++)
        ck_assert_int_eq(read(ends[0], line + n, 1), 1);
    ck_assert_int_eq(sscanf(line, "scheduler strict at %63[^ ]: ready", world_scheduler_address),
                     1);
    world_scheduler_address[strlen(world_scheduler_address) - 1] = 0;
    sys_fd_close(ends[0]);
    sys_fd_close(ends[1]);
    setenv("AC_SCHEDULER", world_scheduler_address, 1);
    return pid;
}

static ac_value be_refused(ac_value unused) {
    // Until it has met us and decided it may be that it takes one.
    for (bool refused = false; !refused;) {
        ck_assert_int_eq(ac_sleep(0.05), 0);
        ck_assert_int_eq(ac_computation_open(&computation), 0);
        ac_value message;
        struct ac_status status = {0};
        while (status.kind != AC_SCHEDULER_READY && status.kind != AC_SCHEDULER_GONE) {
            ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
            (void)ac_status_of(message, &status);
            ac_drop(message);
        }
        refused = status.kind == AC_SCHEDULER_GONE;
        if (refused)
            ck_assert_msg(strstr(status.text, "code"), "%s", status.text);
        ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    }
    ck_assert_int_eq(ac_computation_open(&computation, .scheduler = "any"), 0);
    // Another one may come: the search goes on.
    struct ac_status status = world_await(AC_JOBS_WAIT, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "code"), "%s", status.text);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    return unused;
}

TEST(who_may_not_ship_code_is_refused) {
    world_make();
    pid_t pid = fork_strict_scheduler();
    world_run(be_refused);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_child_ends(pid);
    world_clean();
}
