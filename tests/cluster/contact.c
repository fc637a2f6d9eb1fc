// SPDX-License-Identifier: MIT
// How a computation comes to a scheduler in another process: by an address or by name, sooner or
// later; what is told while none is there, and by one that does not take it.
#include "cluster/world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static ac_value one(ac_value unused) {
    (void)unused;
    return ac_of(1);
}
AC_JOB(one)

JOBS_OF_THIS_TEST

static ac_computation *computation;

static void ck_one_job(void) {
    struct ac_job_exit job;
    ck_assert_int_gt(ac_submit(computation, one, ac_nil), 0);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
}

static ac_value find_any(ac_value unused) {
    ck_assert_int_eq(ac_computation_open(&computation, .scheduler = "any"), 0);
    struct ac_status status = world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_str_eq(status.location, world_scheduler_address);
    ck_one_job();
    return unused;
}

TEST(any_scheduler_is_found_by_its_name) {
    world_begin("1");
    world_start_scheduler();
    unsetenv("AC_SCHEDULER");
    world_run(find_any);
    world_end();
}

// The option goes before the variable.
static ac_value stay_here(ac_value unused) {
    ac_value message;
    struct ac_status status;
    ck_assert_int_eq(ac_computation_open(&computation, .scheduler = "here"), 0);
    do {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        ck_assert(ac_status_of(message, &status));
        ck_assert_int_ne(status.kind, AC_SCHEDULER_READY);
        ac_drop(message);
    } while (status.kind != AC_WORKER_READY);
    ck_one_job();
    return unused;
}

TEST(here_is_this_process) {
    world_begin("1");
    setenv("AC_SCHEDULER", "127.0.0.1:1", 1);
    world_run(stay_here);
    world_end();
}

static ac_value come_first(ac_value unused) {
    char why[256];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, one, ac_nil), 1);
    struct ac_status status = world_await(AC_JOBS_WAIT, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "no scheduler is found"), "%s", status.text);
    ck_assert_int_eq(ac_job_why(computation, 1, why, sizeof why, AC_NOW), 0);
    ck_assert_msg(strstr(why, "waits: no scheduler is found"), "%s", why);
    world_start_scheduler(); // blocks: the client is busy meanwhile
    struct ac_job_exit job;
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(a_scheduler_may_start_later_and_meanwhile_it_is_said_that_none_is_there) {
    world_begin("1");
    setenv("AC_SCHEDULER", "any", 1);
    world_run(come_first);
    world_end();
}

static ac_value close_unfound(ac_value unused) {
    struct ac_job_exit job;
    char why[256];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= 100; i++)
        ck_assert_int_eq(ac_submit(computation, one, ac_nil), i);
    struct ac_status status = world_await(AC_JOBS_WAIT, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "127.0.0.1:1"), "%s", status.text);
    ck_assert_int_eq(ac_job_why(computation, 7, why, sizeof why, AC_NOW), 0);
    ck_assert_msg(strstr(why, "127.0.0.1:1"), "%s", why);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    for (int i = 0; i < 100; i++) {
        ck_assert(world_next_exit(&job, 0));
        ck_assert_int_eq(job.exit.how, AC_CANCELLED);
        ac_drop(job.exit.value);
    }
    ck_assert(!world_next_exit(&job, 0));
    return unused;
}

TEST(closing_before_one_is_found_cancels_the_jobs) {
    world_make();
    setenv("AC_SCHEDULER", "127.0.0.1:1", 1); // who listens there is none of ours
    world_run(close_unfound);
    world_clean();
}

static ac_value be_one_too_many(ac_value unused) {
    ac_computation *other;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_int_eq(ac_computation_open(&other), 0);
    ck_assert_int_eq(ac_submit(other, one, ac_nil), 1);
    struct ac_status status = world_await(AC_SCHEDULER_GONE, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "has 1 computations, and takes no more"), "%s", status.text);
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert_int_eq(job.exit.reason, -EUSERS);
    ac_span text = ac_span_of(job.exit.value);
    ck_assert_ptr_nonnull(memmem(text.at, text.bytes, "takes no more", 13));
    ac_drop(job.exit.value);
    ck_assert_int_eq(ac_submit(other, one, ac_nil), -ECANCELED);
    ck_assert_int_eq(ac_computation_close(other, AC_FOREVER), 0);
    ck_one_job(); // the first one is none the worse for it
    return unused;
}

TEST(who_is_refused_learns_why) {
    world_make();
    world_scheduler_options[0] = "--computations=1";
    world_start_scheduler();
    world_start_node("1");
    world_run(be_one_too_many);
    world_end();
}

static ac_value ask_nonsense(ac_value unused) {
    ac_ref door;
    ac_value answer;
    ck_assert_int_eq(
        ac_locate_at(SCHEDULER_NAME, world_scheduler_address, &door, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert_int_eq(ac_call(door, ac_list("open", 1), &answer, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert_int_eq(ac_error_of(answer), -EPROTO);
    ac_drop(answer);
    ck_assert_int_eq(ac_send(door, "what"), 0);
    ck_assert_int_eq(ac_call(door, "what", &answer, ac_after(0.1)), -ETIMEDOUT);
    // Nor does what is no text in C, where tools ask.
    ck_assert_int_eq(ac_locate_at(SCHEDULER_DESK_NAME, world_scheduler_address, &door,
                                  ac_after(TEST_PATIENCE_S)),
                     0);
    ck_assert_int_eq(ac_call(door, ac_of_text_span("st\0tus", 6), &answer, ac_after(0.1)),
                     -ETIMEDOUT);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_one_job();
    return unused;
}

TEST(what_the_scheduler_does_not_understand_does_no_harm) {
    world_make();
    world_start_scheduler();
    world_start_node("1");
    world_run(ask_nonsense);
    world_end();
}

static ac_value open_twice(ac_value unused) {
    ac_ref door;
    ac_value answer;
    ac_ref desks[2];
    ck_assert_int_eq(
        ac_locate_at(SCHEDULER_NAME, world_scheduler_address, &door, ac_after(TEST_PATIENCE_S)), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(
            ac_call(door,
                    ac_list("open", ac_self(), ac_self(),
                            ac_of_bytes("sixteen letters.", SECRET_BYTES), "127.0.0.1:1", "twice",
                            ac_nil, ac_of_bool(false), 0, 0, 0, ac_of_bool(false), ac_nil, ac_nil),
                    &answer, ac_after(TEST_PATIENCE_S)),
            0);
        desks[i] = ac_ref_of(answer);
        ac_drop(answer);
        ck_assert(ac_ref_is(desks[i]));
    }
    ck_assert(ac_ref_equal(desks[0], desks[1]));
    return unused;
}

TEST(who_asks_again_is_told_of_the_same_desk) {
    world_make();
    world_start_scheduler();
    world_run(open_twice);
    world_stop(&world_scheduler);
    world_clean();
}

// A scheduler in another process, whose first answer is lost; its desk too.
static int forgetful_tells; // a pipe

static ac_value forget_once(ac_value unused) {
    char address[64] = "";
    ac_value message, body;
    ac_ref asker;
    int asked = 0;
    if (ac_register(ac_self(), SCHEDULER_NAME) || ac_network_address(address) ||
        sys_fd_write(forgetful_tells, address, sizeof address))
        abort();
    while (asked < 3 && ac_receive(&message, AC_FOREVER) == 0) {
        if (message_is(message, "close"))
            asked = 3;
        if (ac_unpack(message, &asker, &body) == 0) {
            if (++asked == 2)
                (void)ac_send(asker, ac_self());
            ac_drop(body);
        }
        ac_drop(message);
    }
    return unused;
}

static pid_t fork_forgetful_scheduler(void) {
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        forgetful_tells = ends[1];
        world_run(forget_once);
        _exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(read(ends[0], world_scheduler_address, sizeof world_scheduler_address),
                     sizeof world_scheduler_address);
    sys_fd_close(ends[0]);
    sys_fd_close(ends[1]);
    setenv("AC_SCHEDULER", world_scheduler_address, 1);
    return pid;
}

static ac_value ask_again(ac_value unused) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    return unused;
}

TEST(an_answer_that_is_lost_is_asked_for_again) {
    world_make();
    pid_t pid = fork_forgetful_scheduler();
    world_run(ask_again);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    world_clean();
}

// A scheduler in another process that takes no code from anybody.
static int closed_tells; // a pipe

static ac_value be_closed(ac_value unused) {
    char address[64] = "";
    if (ac_register(ac_self(), SCHEDULER_NAME) || ac_network_address(address) ||
        sys_fd_write(closed_tells, address, sizeof address))
        abort();
    (void)ac_suspend(NULL, AC_FOREVER);
    return unused;
}

static pid_t fork_closed_scheduler(char address[64]) {
    static const struct ac_rights_rule rules[] = {{.may = AC_MAY_ALL & ~(unsigned)AC_MAY_SHIP}};
    int ends[2];
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        closed_tells = ends[1];
        if (ac_network_start(.loopback_only = true, .rights = rules, .rights_count = 1) == 0)
            ac_spawn(be_closed, ac_nil);
        (void)ac_run();
        _exit(EXIT_FAILURE);
    }
    ck_assert_int_eq(read(ends[0], address, 64), 64);
    sys_fd_close(ends[0]);
    sys_fd_close(ends[1]);
    return pid;
}

static ac_value find_the_other_one(ac_value unused) {
    ck_assert_int_eq(ac_computation_open(&computation, .scheduler = "any"), 0);
    struct ac_status status = world_await(AC_JOBS_WAIT, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "takes no code from this program"), "%s", status.text);
    world_start_scheduler(); // blocks: the client is busy meanwhile
    status = world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_str_eq(status.location, world_scheduler_address);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    return unused;
}

TEST(one_that_takes_no_code_does_not_hide_others) {
    char address[64];
    world_make();
    pid_t pid = fork_closed_scheduler(address);
    world_run(find_the_other_one);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    world_stop(&world_scheduler);
    world_clean();
}

static ac_value name_it_badly(ac_value unused) {
    char name[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    ck_assert_int_eq(ac_computation_open(&computation, .scheduler = name), -EINVAL);
    return unused;
}

TEST(an_address_that_is_too_long_is_an_error) {
    world_make();
    world_run(name_it_badly);
    world_clean();
}

// Each allocation fails once while it is sought and found.
static ac_value fail_each(ac_value unused) {
    ac_value message;
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        int err = ac_computation_open(&computation);
        if (!err) {
            if (ac_receive(&message, ac_after(0.2)) == 0) // it may be what got lost
                ac_drop(message);
            while ((err = ac_computation_close(computation, AC_NOW)) == -ENOMEM)
                continue;
            ck_assert_int_eq(err, 0);
        } else {
            ck_assert_int_eq(err, -ENOMEM);
        }
        failed = memory_has_failed();
        memory_fail_nth(0);
        while (ac_receive(&message, AC_NOW) == 0)
            ac_drop(message);
    }
    return unused;
}

TEST(each_allocation_may_fail, .seconds_max = 120) {
    world_make();
    world_start_scheduler();
    world_run(fail_each);
    world_stop(&world_scheduler);
    world_clean();
}
