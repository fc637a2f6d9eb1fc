// SPDX-License-Identifier: MIT
// A scheduler that keeps a journal, is killed, and is started again: what its clients see, what
// runs again and what does not, and when it is given up.
#include "cluster/journal.h"
#include "cluster/world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { JOBS = 4096 };

// How often each job was begun, in a file that outlives workers.
static uint8_t *shared(const char *path) {
    static uint8_t *begun;
    int fd = begun ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return begun;
    if (ftruncate(fd, JOBS) == 0)
        begun = mmap(NULL, JOBS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return begun;
}

// [path, number, seconds]
static ac_value count_and_nap(ac_value argument) {
    const char *path;
    int64_t number;
    double seconds;
    if (ac_unpack(argument, &path, &number, &seconds) < 0 || !shared(path))
        return ac_result(-EIO);
    __atomic_fetch_add(&shared(path)[number], 1, __ATOMIC_RELAXED);
    int err = ac_sleep(seconds);
    return err ? ac_result(err) : ac_of(number);
}
AC_JOB(count_and_nap)

static ac_value square(ac_value x) { return ac_of(ac_int_of(x) * ac_int_of(x)); }
AC_JOB(square)

JOBS_OF_THIS_TEST

static ac_computation *computation;
static char journal_path[128], counts[128], port[16];
static const char *return_time, *idle_time; // NULL: the defaults
static uint8_t reports[JOBS];

static void start_scheduler(void) {
    size_t at = 0;
    world_scheduler_options[at++] = "--journal";
    world_scheduler_options[at++] = journal_path;
    if (port[0]) {
        world_scheduler_options[at++] = "--port";
        world_scheduler_options[at++] = port;
    }
    if (return_time) {
        world_scheduler_options[at++] = "--return";
        world_scheduler_options[at++] = return_time;
    }
    if (idle_time) {
        world_scheduler_options[at++] = "--idle";
        world_scheduler_options[at++] = idle_time;
    }
    world_scheduler_options[at] = NULL;
    world_start_scheduler();
}

// A port that nobody else is given, also while no scheduler listens there.
static void hold_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, bytes), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    snprintf(port, sizeof port, "%d", ntohs(at.sin_port));
}

static void begin_at(const char *where) {
    world_make();
    snprintf(journal_path, sizeof journal_path, "%s/journal", world_folder);
    snprintf(counts, sizeof counts, "%s/counts", world_folder);
    ck_assert_ptr_nonnull(shared(counts));
    hold_port();
    start_scheduler();
    if (where)
        setenv("AC_SCHEDULER", where, 1);
}

static void begin(void) { begin_at(NULL); }

static void start_node(const char *workers) {
    world_start_node_with(workers, "--write", world_folder);
}

static void kill_scheduler(void) {
    struct sys_process_end end;
    sys_process_end(&world_scheduler, true, false);
    ck_assert(world_ends(world_scheduler.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&world_scheduler, &end), 0);
}

// How many computations the journal has, which nobody keeps any more.
static int count_in_journal(void) {
    char text[256];
    int err, count = 0;
    struct journal *journal = journal_open(journal_path, &err, text);
    ck_assert_msg(journal, "%s", text);
    list_each (link, journal_computations(journal))
        count++;
    journal_close(journal);
    return count;
}

static void end(void) {
    world_stop(&world_scheduler);
    ck_assert_int_eq(count_in_journal(), 0);
    world_end();
}

static int64_t submit(int64_t number, double seconds, unsigned retries) {
    int64_t given = ac_submit(computation, count_and_nap,
                              ac_list((const char *)counts, number, seconds), .retries = retries);
    ck_assert_int_eq(given, number);
    return given;
}

static uint8_t begun(int64_t number) {
    return __atomic_load_n(&shared(counts)[number], __ATOMIC_RELAXED);
}

// Until the job has begun so often. What the owner is told meanwhile waits.
static void await_begun(int64_t number, uint8_t times) {
    for (ac_time until = ac_after(TEST_PATIENCE_S); begun(number) < times && ac_now() < until;)
        ck_assert_int_eq(ac_sleep(0.005), 0);
    ck_assert_uint_eq(begun(number), times);
}

static struct ac_job_exit next_exit(void) {
    struct ac_job_exit job;
    ck_assert_msg(world_next_exit(&job, TEST_PATIENCE_S), "no end comes");
    ck_assert_int_eq(reports[job.job]++, 0);
    return job;
}

static void ck_next(int64_t number, enum ac_end how) {
    struct ac_job_exit job = next_exit();
    ck_assert_int_eq(job.job, number);
    ck_assert_msg(job.exit.how == how, "job %d ended %d: %.*s", (int)number, (int)job.exit.how,
                  (int)ac_span_of(job.exit.value).bytes,
                  (const char *)ac_span_of(job.exit.value).at);
    ac_drop(job.exit.value);
}

// ---- what runs, and what waits ----

// 1 runs and may not run again; 2 runs and may; the others wait.
static ac_value lose_scheduler(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit(1, 1000, 0);
    submit(2, 1000, 1);
    await_begun(1, 1);
    await_begun(2, 1);
    for (int i = 3; i <= 20; i++)
        submit(i, 0.001, 0);
    kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    submit(21, 0.001, 0); // waits behind the others
    start_scheduler();
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    job = next_exit();
    ck_assert_int_eq(job.job, 1);
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert_int_eq(job.exit.reason, -ECONNRESET);
    ac_span text = ac_span_of(job.exit.value);
    ck_assert_ptr_nonnull(memmem(text.at, text.bytes, "its scheduler was lost", 22));
    ac_drop(job.exit.value);
    await_begun(2, 2); // once more, beside the others
    for (int i = 3; i <= 21; i++) {
        job = next_exit();
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ac_drop(job.exit.value);
    }
    ck_assert_int_eq(ac_job_cancel(computation, 2), 0);
    ck_next(2, AC_CANCELLED);
    for (int i = 3; i <= 21; i++)
        ck_assert_uint_eq(begun(i), 1);
    ck_assert_uint_eq(begun(1), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_scheduler_that_is_killed_and_started_again_has_its_jobs, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(lose_scheduler);
    end();
}

// A job whose retries are used up by lost schedulers, and the attempts of one that may run on.
static ac_value lose_often(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit(1, 1000, 2);
    submit(2, 1000, 200);
    for (uint8_t times = 1; times <= 3; times++) {
        await_begun(1, times);
        await_begun(2, times);
        kill_scheduler();
        start_scheduler();
        (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    }
    ck_next(1, AC_LOST);
    await_begun(2, 4);
    ck_assert_int_eq(ac_job_cancel(computation, 2), 0);
    ck_next(2, AC_CANCELLED);
    ck_assert_uint_eq(begun(1), 3);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(lost_starts_are_counted_from_one_scheduler_to_the_next, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(lose_often);
    end();
}

// Every job that waits when the scheduler is killed runs, also those that no node has ever seen.
static ac_value wait_for_node(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= 3000; i++)
        submit(i, 0, 0);
    ac_sleep(0.05); // some of them are there, or all
    kill_scheduler();
    start_scheduler();
    start_node("2");
    for (int i = 1; i <= 3000; i++) {
        struct ac_job_exit job = next_exit();
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(job.exit.value), job.job);
        ac_drop(job.exit.value);
        ck_assert_uint_eq(begun(job.job), 1);
    }
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(jobs_that_wait_are_told_again, .seconds_max = 120) {
    begin();
    world_run(wait_for_node);
    end();
}

enum { MANY = 100000 };

// More than go into one message, while their owner goes on.
static ac_value tell_many(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    uint8_t *seen = calloc(MANY + 1, 1);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= MANY / 2; i++)
        ck_assert_int_eq(ac_submit(computation, square, i, .quiet = true), i);
    kill_scheduler();
    start_scheduler();
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    for (int i = MANY / 2 + 1; i <= MANY; i++) {
        ck_assert_int_eq(ac_submit(computation, square, i, .quiet = true, .retries = i % 3), i);
        if (i % 1000 == 0) {
            ck_assert_int_eq(ac_job_cancel(computation, i), 0);
            ck_assert_int_eq(ac_job_cancel(computation, i - MANY / 2), 0);
            ck_assert_int_eq(ac_yield(), 0);
        }
    }
    start_node("2");
    for (int64_t i = 1; i <= MANY; i++) {
        ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
        ck_assert_int_eq(seen[job.job]++, 0);
        if (job.exit.how == AC_FINISHED)
            ck_assert_int_eq(ac_int_of(job.exit.value), job.job * job.job);
        else
            ck_assert(job.exit.how == AC_CANCELLED && job.job % 1000 == 0);
        ac_drop(job.exit.value);
    }
    free(seen);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(many_jobs_are_told_again_while_more_are_submitted, .seconds_max = 120) {
    begin();
    world_run(tell_many);
    end();
}

static int64_t early; // ends of jobs that came meanwhile

// Until the scheduler is back or given up; or for a while, because the notice may be what got lost.
static void await_return(void) {
    ac_time until = ac_after(1.5);
    ac_value message;
    struct ac_status status = {0};
    struct ac_job_exit job;
    bool lost = false;
    early = 0;
    while (!(lost && status.kind == AC_SCHEDULER_READY) && status.kind != AC_SCHEDULER_GONE &&
           ac_receive(&message, until) == 0) {
        if (ac_job_exit_of(message, &job)) {
            early++;
            ac_drop(job.exit.value);
        }
        if (!ac_status_of(message, &status))
            status.kind = 0;
        lost |= status.kind == AC_SCHEDULER_LOST;
        ac_drop(message);
    }
}

// Each allocation of the client fails once from the loss of a scheduler on: it comes back, or is
// given up, and each job is reported once.
static ac_value fail_each(ac_value unused) {
    (void)unused;
    bool failed = true;
    int back = 0;
    for (long n = 1; failed; n += n < 20 ? 1 : n / 5) {
        struct ac_job_exit job;
        ck_assert_int_eq(ac_computation_open(&computation), 0);
        (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
        for (int i = 1; i <= 20; i++)
            ck_assert_int_eq(ac_submit(computation, square, i, .retries = i % 4), i);
        ck_assert_int_eq(ac_sleep(0.002), 0);
        kill_scheduler();
        start_scheduler();
        memory_fail_nth(n);
        await_return();
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
        int count = (int)early, ended[AC_LOST + 1] = {0};
        while (world_next_exit(&job, 0)) {
            count++;
            ended[job.exit.how]++;
            ac_drop(job.exit.value);
        }
        ck_assert_int_le(count, 20); // the notice itself may be what got lost
        ck_assert_int_ge(count, 19);
        back += ended[AC_CANCELLED] > 0;
    }
    ck_assert_int_gt(back, 0);
    return ac_nil;
}

TEST(each_allocation_of_a_client_may_fail, .seconds_max = 200) {
    begin();
    world_run(fail_each);
    world_stop(&world_scheduler);
    world_clean();
}

// The scheduler is killed again and again while short jobs run.
static ac_value kill_in_the_middle(ac_value unused) {
    (void)unused;
    int lost = 0;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= 600; i++)
        submit(i, 0.002, i % 2 ? 200 : 0);
    for (int i = 1; i <= 600; i++) {
        struct ac_job_exit job = next_exit();
        if (job.exit.how == AC_FINISHED) {
            ck_assert_int_eq(ac_int_of(job.exit.value), job.job);
        } else {
            ck_assert_int_eq(job.exit.how, AC_LOST);
            ck_assert_int_eq(job.job % 2, 0);
            lost++;
        }
        ac_drop(job.exit.value);
        ck_assert(begun(job.job) <= 1 || job.job % 2 == 1);
        if (i % 150 == 0 && i < 600) {
            kill_scheduler();
            start_scheduler();
        }
    }
    ck_assert_int_lt(lost, 200); // those that were given when it was killed, and no others
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(each_job_is_reported_once_and_none_runs_twice_that_may_not, .seconds_max = 200) {
    begin();
    start_node("2");
    world_run(kill_in_the_middle);
    end();
}

enum { ITEMS = 2000 };
static ac_value *items;

static ac_value map_over(ac_value unused) {
    (void)unused;
    ac_mapping *mapping;
    struct ac_mapped result;
    static uint8_t seen[ITEMS];
    int got;
    items = calloc(ITEMS, sizeof *items);
    for (int i = 0; i < ITEMS; i++)
        items[i] = ac_of(i);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_mapping_open(&mapping, computation, square, .items = items, .count = ITEMS,
                                     .job.retries = 100),
                     0);
    for (int count = 0; (got = ac_mapping_next(mapping, &result, ac_after(60))) == 1; count++) {
        ck_assert_int_eq(result.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(result.value), result.index * result.index);
        ck_assert_int_eq(seen[result.index]++, 0);
        if (count == 10 || count == 500) {
            kill_scheduler();
            start_scheduler();
        }
    }
    ck_assert_int_eq(got, 0);
    for (int i = 0; i < ITEMS; i++)
        ck_assert_int_eq(seen[i], 1);
    ac_mapping_close(mapping);
    free(items);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_mapping_goes_on, .seconds_max = 200) {
    begin();
    start_node("2");
    world_run(map_over);
    end();
}

// ---- what is wanted meanwhile ----

static ac_value want_meanwhile(ac_value unused) {
    (void)unused;
    char why[256];
    struct ac_place places[4];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status worker = world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    submit(1, 1000, 100);
    await_begun(1, 1);
    submit(2, 0.001, 0);
    submit(3, 0.001, 0);
    kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    ck_assert_int_eq(ac_job_cancel(computation, 1), 0);
    ck_assert_int_eq(ac_job_cancel(computation, 3), 0);
    submit(4, 0.001, 0);
    ck_assert_int_eq(ac_job_cancel(computation, 4), 0);
    submit(5, 0.001, 0);
    ck_assert_int_eq(ac_job_why(computation, 2, why, sizeof why, AC_NOW), 0);
    ck_assert_msg(strstr(why, "waits: the scheduler"), "%s", why);
    ck_assert_int_eq(ac_places(computation, places, 4, AC_NOW), 0);
    ck_assert_int_eq(ac_place_suspend(computation, worker.node, AC_NOW), -ESRCH);
    ac_ref at = ac_run_at(computation, worker.worker, square, 3);
    ck_assert_int_eq(ac_ref_error(at), -EHOSTUNREACH);
    start_scheduler();
    ck_next(1, AC_CANCELLED);
    ck_next(3, AC_CANCELLED);
    ck_next(4, AC_CANCELLED);
    ck_next(2, AC_FINISHED);
    ck_next(5, AC_FINISHED);
    ck_assert_uint_eq(begun(1), 1);
    ck_assert_uint_eq(begun(3) + begun(4), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_is_wanted_meanwhile_is_done_afterwards, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(want_meanwhile);
    end();
}

// One that is to run at a worker which the scheduler has no more.
static ac_value stay_at_worker(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status worker = world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    ac_ref at = ac_run_at(computation, worker.worker, count_and_nap,
                          ac_list((const char *)counts, 1, 1000.0));
    ck_assert(ac_ref_is(at));
    await_begun(1, 1);
    kill_scheduler();
    start_scheduler();
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.job, 0);
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert(ac_ref_equal(job.exit.who, at));
    ac_drop(job.exit.value);
    ck_assert_uint_eq(begun(1), 1);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_was_to_run_at_a_worker_is_lost_with_it, .seconds_max = 120) {
    begin();
    start_node("1");
    world_run(stay_at_worker);
    end();
}

static ac_value close_meanwhile(ac_value unused) {
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit(1, 0.001, 0);
    ac_sleep(0.02);
    kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    ac_time before = ac_now();
    ck_assert_int_eq(ac_computation_close(computation, ac_after(0.3)), 0);
    double seconds = (double)(ac_now() - before) * 1e-9;
    ck_assert_double_ge(seconds, 0.29);
    ck_assert_double_lt(seconds, 10); // far less than the time in which it may come back
    ck_assert(world_next_exit(&job, 0));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    ck_assert(!world_next_exit(&job, 0));
    return unused;
}

TEST(closing_meanwhile_waits_no_longer_than_it_should) {
    begin();
    world_run(close_meanwhile);
    ck_assert_int_eq(count_in_journal(), 1); // whose client does not come back
    world_clean();
}

// ---- given up ----

static void ck_given_up(const char *text) {
    struct ac_status status = world_await(AC_SCHEDULER_GONE, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, text), "%s", status.text);
    ck_next(1, AC_LOST);
    ck_assert_int_eq(ac_submit(computation, square, 2), -ECANCELED);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
}

static void open_with_a_job(void) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    (void)world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    submit(1, 1000, 0);
}

static ac_value wait_in_vain(ac_value unused) {
    open_with_a_job();
    kill_scheduler();
    ck_given_up("has not come back");
    return unused;
}

TEST(one_that_does_not_come_back_is_given_up) {
    return_time = "1s";
    begin();
    world_run(wait_in_vain);
    world_clean();
}

static ac_value find_another(ac_value unused) {
    open_with_a_job();
    kill_scheduler();
    strcat(journal_path, "2");
    start_scheduler();
    ck_given_up("knows nothing of this computation");
    return unused;
}

TEST(one_with_another_journal_does_not_take_it) {
    begin();
    world_run(find_another);
    world_stop(&world_scheduler);
    world_clean();
}

static ac_value stop_in_order(ac_value unused) {
    open_with_a_job();
    ac_time before = ac_now();
    ck_assert_int_eq(sys_process_signal(&world_scheduler, SIGTERM, false), 0);
    ck_assert_int_eq(sys_process_signal(&world_scheduler, SIGTERM, false), 0);
    ck_given_up("the scheduler is gone");
    ck_assert_int_lt(ac_now() - before, 30ll * 1000 * 1000 * 1000);
    return unused;
}

TEST(one_that_is_stopped_in_order_leaves_nothing) {
    begin();
    world_run(stop_in_order);
    ck_assert(world_ends(world_scheduler.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(count_in_journal(), 0);
    world_clean();
}

// ---- whose client is gone, and whose scheduler is one of two ----

static int client_tells; // a pipe

static ac_value open_and_stay(ac_value unused) {
    (void)unused;
    open_with_a_job();
    if (sys_fd_write(client_tells, "o", 1))
        abort();
    (void)ac_suspend(NULL, AC_FOREVER);
    return ac_nil;
}

TEST(a_computation_whose_client_is_gone_is_dropped) {
    int ends[2];
    char byte;
    begin();
    ck_assert_int_eq(sys_pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        client_tells = ends[1];
        world_run(open_and_stay);
        _exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    sys_fd_close(ends[0]);
    sys_fd_close(ends[1]);
    kill_scheduler();
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(count_in_journal(), 1);
    return_time = "1s";
    idle_time = "1s";
    ac_time before = sys_clock();
    start_scheduler();
    ck_assert(world_ends(world_scheduler.handle, TEST_PATIENCE_S));
    ck_assert_int_ge(sys_clock() - before, 2000 * 1000 * 1000ll); // it was not idle before
    ck_assert_int_eq(count_in_journal(), 0);
    world_clean();
}

static struct sys_process other;

static ac_value choose_the_same(ac_value unused) {
    (void)unused;
    char address[64];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status status = world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_str_eq(status.location, world_scheduler_address);
    submit(1, 0.001, 0);
    const char *arguments[] = {"asyncoro", "scheduler", "--loopback", "--grace", "0s", NULL};
    world_start(&other, arguments, -1, address);
    kill_scheduler();
    (void)world_await(AC_SCHEDULER_LOST, TEST_PATIENCE_S);
    port[0] = 0; // it listens elsewhere now
    start_scheduler();
    setenv("AC_SCHEDULER", "any", 1);
    status = world_await(AC_SCHEDULER_READY, TEST_PATIENCE_S);
    ck_assert_str_eq(status.location, world_scheduler_address);
    start_node("1");
    ck_next(1, AC_FINISHED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(where_any_would_do_the_same_is_found_again, .seconds_max = 120) {
    begin_at("any");
    world_run(choose_the_same);
    world_stop(&other);
    end();
}

// ---- a client that the test plays ----

// The one that was lost may be taken for it for a moment.
static ac_ref locate(const char *name) {
    ac_ref found;
    int err;
    do
        err = ac_locate_at(name, world_scheduler_address, &found, ac_after(TEST_PATIENCE_S));
    while (err == -EHOSTUNREACH && ac_sleep(0.01) == 0);
    ck_assert_int_eq(err, 0);
    return found;
}

static ac_value ask_door(ac_ref courier, ac_value token) {
    ac_ref door = locate(SCHEDULER_NAME);
    ac_value answer;
    ck_assert_int_eq(ac_call(door,
                             ac_list("open", courier, courier, "127.0.0.1:1", "played", ac_nil,
                                     ac_of_bool(false), 0, 0, 0, ac_of_bool(false), token),
                             &answer, ac_after(TEST_PATIENCE_S)),
                     0);
    return answer;
}

static ac_ref ck_desk(ac_value answer, uint8_t token[JOURNAL_TOKEN_BYTES]) {
    const char *word;
    ac_ref desk;
    ac_span span;
    double seconds;
    ck_assert_int_eq(ac_unpack(answer, &word, &desk, &span, &seconds), 0);
    ck_assert_str_eq(word, "desk");
    ck_assert_double_eq_tol(seconds, 60, 1e-6);
    ck_assert_uint_eq(span.bytes, JOURNAL_TOKEN_BYTES);
    memcpy(token, span.at, span.bytes);
    ac_drop(answer);
    return desk;
}

static void ck_unknown(ac_value answer) {
    ck_assert_int_eq(ac_error_of(answer), -ESRCH);
    ac_drop(answer);
}

static void ck_awaited(const char *name) {
    ac_ref desk = locate(SCHEDULER_DESK_NAME);
    ac_value status;
    ck_assert_int_eq(ac_call(desk, "status", &status, ac_after(TEST_PATIENCE_S)), 0);
    ac_value list = ac_get(status, "computations");
    ck_assert_uint_eq(ac_count(list), 1);
    ac_value one = ac_at(list, 0), it = ac_get(one, "name"), client = ac_get(one, "client");
    ck_assert(text_is(it, name));
    ck_assert(text_is(client, "awaited"));
    const ac_value all[] = {status, list, one, it, client};
    for (size_t i = 0; i < countof(all); i++)
        ac_drop(all[i]);
}

static ac_value stay(ac_value unused) {
    (void)unused;
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}

// Says so to a desk, which ends.
static void ck_ends(ac_ref desk, struct batch *wants) {
    ac_value message;
    struct ac_exit exit = {0};
    ck_assert_int_eq(ac_monitor(desk), 0);
    ck_assert_int_eq(ac_send(desk, batch_take(wants, "want")), 0);
    while (!ac_ref_equal(exit.who, desk)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        if (ac_exit_of(message, &exit))
            ac_drop(exit.value);
        ac_drop(message);
    }
    ck_assert_int_eq(exit.how, AC_FINISHED);
    batch_done(wants);
}

static ac_value play_client(ac_value unused) {
    uint8_t token[JOURNAL_TOKEN_BYTES], again[JOURNAL_TOKEN_BYTES];
    struct batch wants = {0};
    ac_ref second = ac_spawn(stay, ac_nil, .daemon = true);
    (void)ck_desk(ask_door(ac_self(), ac_nil), token);
    kill_scheduler();
    start_scheduler();
    ck_awaited("played");
    ck_unknown(ask_door(ac_self(), ac_of_bytes(token, sizeof token - 1)));
    token[sizeof token - 1] ^= 1;
    ck_unknown(ask_door(ac_self(), ac_of_bytes(token, sizeof token)));
    token[sizeof token - 1] ^= 1;
    ac_ref desk = ck_desk(ask_door(ac_self(), ac_of_bytes(token, sizeof token)), again);
    ck_assert_mem_eq(token, again, sizeof token);
    // Its answer may have been lost; but nobody else gets the computation.
    ck_assert(
        ac_ref_equal(desk, ck_desk(ask_door(ac_self(), ac_of_bytes(token, sizeof token)), again)));
    ck_unknown(ask_door(second, ac_of_bytes(token, sizeof token)));
    // One job less than it should have been told.
    ck_assert_int_eq(batch_add(&wants, THING_ALL, ac_of(1)), 0);
    ck_ends(desk, &wants);
    ck_unknown(ask_door(ac_self(), ac_of_bytes(token, sizeof token)));
    // It was told of no end so far.
    desk = ck_desk(ask_door(ac_self(), ac_nil), token);
    ck_assert_int_eq(batch_add(&wants, THING_TAKEN, ac_of(1)), 0);
    ck_ends(desk, &wants);
    // Nothing was lost here.
    desk = ck_desk(ask_door(ac_self(), ac_nil), token);
    ck_assert_int_eq(batch_add(&wants, THING_ALL, ac_of(0)), 0);
    ck_ends(desk, &wants);
    return unused;
}

TEST(a_token_is_needed_and_what_is_told_is_checked) {
    begin();
    world_run(play_client);
    world_stop(&world_scheduler);
    ck_assert_int_eq(count_in_journal(), 0);
    world_clean();
}

// ---- the journal of a scheduler that lives ----

static ac_value see_journal_shrink(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= 500; i++)
        submit(i, 0, 0);
    for (int i = 1; i <= 500; i++)
        ac_drop(next_exit().exit.value);
    submit(501, 1000, 0);
    await_begun(501, 1);
    kill_scheduler();
    char text[256];
    int err;
    struct journal *journal = journal_open(journal_path, &err, text);
    ck_assert_msg(journal, "%s", text);
    struct journal_computation *record = container_of(journal_computations(journal)->next,
                                                      struct journal_computation, link);
    // What has ended and is known to have is forgotten: of one that was told last that may not be
    // written yet.
    ck_assert_ptr_nonnull(journal_job(record, 501));
    ck_assert_uint_lt(map_count(&record->jobs), 100);
    journal_close(journal);
    start_scheduler();
    ck_next(501, AC_LOST);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(what_a_client_knows_of_is_forgotten, .seconds_max = 120) {
    begin();
    start_node("2");
    world_run(see_journal_shrink);
    end();
}

// A scheduler whose file can grow to some hundred bytes only. Returns where its complaints go.
static int fork_limited_scheduler(pid_t *pid) {
    int out[2], complaints[2];
    char line[256] = "", text[256];
    ck_assert_int_eq(sys_pipe(out), 0);
    ck_assert_int_eq(sys_pipe(complaints), 0);
    *pid = fork();
    if (*pid == 0) {
        const struct rlimit limit = {.rlim_cur = 700, .rlim_max = 700};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGXFSZ, SIG_IGN);
        dup2(out[1], STDOUT_FILENO);
        dup2(complaints[1], STDERR_FILENO);
        bool good = setrlimit(RLIMIT_FSIZE, &limit) == 0;
        const struct scheduler_options options = {
            .loopback_only = true, .port = (uint16_t)atoi(port), .journal = journal_path};
        _exit(good && scheduler_run(&options, text) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    sys_fd_close(out[1]);
    sys_fd_close(complaints[1]);
    for (size_t n = 0; n < sizeof line - 1 && !strchr(line, '\n'); n++)
        ck_assert_int_eq(read(out[0], line + n, 1), 1);
    ck_assert_int_eq(sscanf(line, "scheduler %*s at %63[0-9.:]", world_scheduler_address), 1);
    world_scheduler_address[strlen(world_scheduler_address) - 1] = 0;
    setenv("AC_SCHEDULER", world_scheduler_address, 1);
    return complaints[0];
}

static pid_t limited;

static ac_value go_on_without(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= 200; i++)
        submit(i, 0.001, 0);
    for (int i = 1; i <= 200; i++) {
        struct ac_job_exit job = next_exit();
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ac_drop(job.exit.value);
    }
    submit(201, 1000, 0);
    await_begun(201, 1);
    ck_assert_int_eq(kill(limited, SIGKILL), 0);
    ck_assert_int_eq(waitpid(limited, NULL, 0), limited);
    ck_assert_int_eq(count_in_journal(), 0);
    start_scheduler();
    struct ac_status status = world_await(AC_SCHEDULER_GONE, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, "knows nothing of this computation"), "%s", status.text);
    ck_next(201, AC_LOST);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_journal_that_cannot_be_written_is_given_up_and_what_runs_goes_on) {
    char said[512] = "";
    begin();
    world_stop(&world_scheduler);
    int complaints = fork_limited_scheduler(&limited);
    start_node("1");
    world_run(go_on_without);
    ssize_t got = read(complaints, said, sizeof said - 1);
    sys_fd_close(complaints);
    ck_assert_int_gt(got, 0);
    ck_assert_msg(strstr(said, "is given up: "), "%s", said);
    end();
}

TEST(a_second_scheduler_on_the_same_file_is_refused) {
    char tool[512];
    struct sys_process process;
    struct sys_process_end end_of_it;
    begin();
    world_tool(tool);
    const char *arguments[] = {"asyncoro",  "scheduler",  "--loopback",
                               "--journal", journal_path, NULL};
    const struct sys_process_options how = {.path = tool,
                                            .arguments = (char *const *)arguments,
                                            .input = -1,
                                            .output = -1,
                                            .error = -1,
                                            .extra = -1,
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&process, &how), 0);
    ck_assert(world_ends(process.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&process, &end_of_it), 0);
    ck_assert_int_eq(end_of_it.code, 1);
    world_stop(&world_scheduler);
    world_clean();
}
