// SPDX-License-Identifier: MIT
// A scheduler that keeps a journal, is killed and started again, on a port of its own; and jobs
// that count how often they were begun.
#ifndef TESTS_CLUSTER_OUTAGE_H
#define TESTS_CLUSTER_OUTAGE_H

#include "cluster/journal.h"
#include "cluster/world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

enum { JOBS = 4096, LET_GO = 3500, ENDED = 3700 };

// How often each job was begun, in a file that outlives workers. From LET_GO on whether one that
// waits may end, from ENDED on whether it has.
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

// [path, number]: until it is let go; then it says so.
static ac_value count_and_wait(ac_value argument) {
    const char *path;
    int64_t number;
    int err = 0;
    if (ac_unpack(argument, &path, &number) < 0 || !shared(path))
        return ac_result(-EIO);
    __atomic_fetch_add(&shared(path)[number], 1, __ATOMIC_RELAXED);
    while (!err && !__atomic_load_n(&shared(path)[LET_GO + number], __ATOMIC_RELAXED))
        err = ac_sleep(0.005);
    __atomic_fetch_add(&shared(path)[ENDED + number], 1, __ATOMIC_RELAXED);
    return err ? ac_result(err) : ac_of(number);
}
AC_JOB(count_and_wait)

static ac_value whoami(ac_value unused) {
    (void)unused;
    return ac_of((int)getpid());
}
AC_JOB(whoami)

static ac_value square(ac_value x) { return ac_of(ac_int_of(x) * ac_int_of(x)); }
AC_JOB(square)

JOBS_OF_THIS_TEST

static ac_computation *computation;
static char journal_path[128], counts[128], port[16];
static const char *return_time, *idle_time; // NULL: the defaults
static uint8_t reports[JOBS];

__attribute__((unused)) static void start_scheduler(void) {
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

__attribute__((unused)) static void begin_at(const char *where) {
    world_make();
    snprintf(journal_path, sizeof journal_path, "%s/journal", world_folder);
    snprintf(counts, sizeof counts, "%s/counts", world_shared());
    ck_assert_ptr_nonnull(shared(counts));
    world_hold_port(port);
    start_scheduler();
    if (where)
        setenv("AC_SCHEDULER", where, 1);
}

__attribute__((unused)) static void begin(void) { begin_at(NULL); }

__attribute__((unused)) static void start_node(const char *workers) {
    world_start_node_with(workers, "--write", world_shared());
}

// How many computations the journal has, which nobody keeps any more.
__attribute__((unused)) static int count_in_journal(void) {
    char text[256];
    int err, count = 0;
    struct journal *journal = journal_open(journal_path, &err, text);
    ck_assert_msg(journal, "%s", text);
    list_each (link, journal_computations(journal))
        count++;
    journal_close(journal);
    return count;
}

__attribute__((unused)) static void end(void) {
    world_stop(&world_scheduler);
    ck_assert_int_eq(count_in_journal(), 0);
    world_end();
}

__attribute__((unused)) static int64_t submit(int64_t number, double seconds, unsigned retries) {
    int64_t given = ac_submit(computation, count_and_nap,
                              ac_list((const char *)counts, number, seconds), .retries = retries);
    ck_assert_int_eq(given, number);
    return given;
}

__attribute__((unused)) static void submit_waiting(int64_t number, unsigned retries) {
    int64_t given = ac_submit(computation, count_and_wait, ac_list((const char *)counts, number),
                              .retries = retries);
    ck_assert_int_eq(given, number);
}

__attribute__((unused)) static void let_go(int64_t number) {
    __atomic_store_n(&shared(counts)[LET_GO + number], 1, __ATOMIC_RELAXED);
}

__attribute__((unused)) static void await_ended(int64_t number) {
    for (ac_time until = ac_after(TEST_PATIENCE_S);
         !__atomic_load_n(&shared(counts)[ENDED + number], __ATOMIC_RELAXED);) {
        ck_assert(ac_now() < until);
        ck_assert_int_eq(ac_sleep(0.005), 0);
    }
}

__attribute__((unused)) static uint8_t begun(int64_t number) {
    return __atomic_load_n(&shared(counts)[number], __ATOMIC_RELAXED);
}

// Until the job has begun so often. What the owner is told meanwhile waits.
__attribute__((unused)) static void await_begun(int64_t number, uint8_t times) {
    for (ac_time until = ac_after(TEST_PATIENCE_S); begun(number) < times && ac_now() < until;)
        ck_assert_int_eq(ac_sleep(0.005), 0);
    ck_assert_uint_eq(begun(number), times);
}

__attribute__((unused)) static struct ac_job_exit next_exit(void) {
    struct ac_job_exit job;
    ck_assert_msg(world_next_exit(&job, TEST_PATIENCE_S), "no end comes");
    ck_assert_int_eq(reports[job.job]++, 0);
    return job;
}

__attribute__((unused)) static void ck_next(int64_t number, enum ac_end how) {
    struct ac_job_exit job = next_exit();
    ck_assert_int_eq(job.job, number);
    ck_assert_msg(job.exit.how == how, "job %d ended %d: %.*s", (int)number, (int)job.exit.how,
                  (int)ac_span_of(job.exit.value).bytes,
                  (const char *)ac_span_of(job.exit.value).at);
    ac_drop(job.exit.value);
}

#endif
