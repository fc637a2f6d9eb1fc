// SPDX-License-Identifier: MIT
// What is promised of jobs while workers, wardens and nodes are killed at random, and a scheduler
// that keeps a journal: each job is reported once; none runs twice that may not; one that may run
// again is done at last; and nothing of a killed node lives on.
//
// Every job counts in a byte of a shared file, where that outlives its worker, how often it was
// begun. KILLS=400 SEED=7 build/tests/test-cluster_killing kills so many; `make kills` as well.
#include "cluster/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

enum {
    JOBS = 1 << 20,   // at most
    UNDER_WAY = 300,  // jobs
    BETWEEN = 100,    // reports from one kill to the next, at the most
    OF_A_NODE = 6,    // kills, before it is itself killed: it gives up what crashes again and again
    OFFSPRING = 16,   // processes below a node
    BURN_US_MAX = 400 // of a job
};

// ---- jobs ----

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

static ac_value burn(ac_value argument) {
    const char *path;
    int64_t number;
    if (ac_unpack(argument, &path, &number) < 0 || !shared(path))
        return ac_result(-EIO);
    __atomic_fetch_add(&shared(path)[number], 1, __ATOMIC_RELAXED);
    ac_time until = ac_now() + number * 7919 % BURN_US_MAX * 1000;
    while (ac_now() < until)
        continue;
    return ac_of(number);
}
AC_JOB(burn)

JOBS_OF_THIS_TEST

// ---- killing ----

static uint64_t dice;
static uint64_t draw(uint64_t below) {
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (dice >> 33) % below;
}

// The children of a process, at most OFFSPRING.
static int children_of(pid_t parent, pid_t *children) {
    int count = 0;
    DIR *folder = opendir("/proc");
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL && count < OFFSPRING;) {
        char path[300], text[512] = "";
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = entry->d_name[0] > '0' && entry->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        size_t got = file ? fread(text, 1, sizeof text - 1, file) : 0;
        if (file)
            fclose(file);
        const char *after = got > 0 ? strrchr(text, ')') : NULL;
        int of;
        if (after && sscanf(after + 1, " %*c %d", &of) == 1 && of == parent)
            children[count++] = atoi(entry->d_name);
    }
    closedir(folder);
    return count;
}

// Handles of all workers of the node, or of its wardens.
static int handles_below(bool wardens, int handles[OFFSPRING]) {
    pid_t near[OFFSPRING], far[OFFSPRING];
    int count = 0, near_count = children_of(world_node.id, near);
    for (int i = 0; i < near_count; i++) {
        int far_count = wardens ? 1 : children_of(near[i], far);
        for (int k = 0; k < far_count && count < OFFSPRING; k++) {
            int handle = (int)syscall(SYS_pidfd_open, wardens ? near[i] : far[k], 0);
            if (handle >= 0)
                handles[count++] = handle;
        }
    }
    return count;
}

static void kill_one_below(bool warden) {
    int handles[OFFSPRING], count = handles_below(warden, handles);
    if (count > 0)
        (void)syscall(SYS_pidfd_send_signal, handles[draw((uint64_t)count)], SIGKILL, NULL, 0);
    for (int i = 0; i < count; i++)
        close(handles[i]);
}

// Nothing below a node that is killed outlives it.
static void kill_node(void) {
    int handles[OFFSPRING], count = handles_below(false, handles);
    struct sys_process_end end;
    sys_process_end(&world_node, true, false);
    ck_assert(world_ends(world_node.handle, 20));
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
    for (int i = 0; i < count; i++) {
        ck_assert(world_ends(handles[i], 20));
        close(handles[i]);
    }
    world_start_node_with("2", "--write", world_shared());
}

static bool kills_schedulers;

// Another one takes its place, with what its journal has.
static void kill_scheduler(void) {
    world_kill_scheduler();
    world_start_scheduler();
}

// ---- the client ----

static ac_computation *computation;
static uint8_t reports[JOBS];
static int64_t submitted, reported, lost;
static char counts[160];

static bool may_run_again(int64_t number) { return number % 2 == 1; }

static void submit_one(void) {
    int64_t number = submitted + 1; // of the job, as the computation counts
    ck_assert_int_lt(number, JOBS);
    int64_t given = ac_submit(computation, burn, ac_list((const char *)counts, number),
                              .retries = may_run_again(number) ? 255 : 0, .wait_for_nodes = true,
                              .quiet = true);
    ck_assert_int_eq(given, number);
    submitted++;
}

static void take_report(void) {
    struct ac_job_exit job;
    ck_assert_msg(world_next_exit(&job, 60), "%lld of %lld jobs are reported, then nothing comes",
                  (long long)reported, (long long)submitted);
    ck_assert_int_eq(reports[job.job]++, 0);
    if (job.exit.how == AC_FINISHED) {
        ck_assert_int_eq(ac_int_of(job.exit.value), job.job);
    } else {
        ck_assert_int_eq(job.exit.how, AC_LOST);
        ck_assert(!may_run_again(job.job));
        lost++;
    }
    ac_drop(job.exit.value);
    reported++;
}

static ac_value compute_while_killed(ac_value kills) {
    int64_t next = 0, of_this_node = 0;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int64_t done = 0; done < ac_int_of(kills);) {
        while (submitted - reported < UNDER_WAY)
            submit_one();
        take_report();
        if (reported < next)
            continue;
        next = reported + 1 + (int64_t)draw(BETWEEN);
        if (kills_schedulers && draw(3) == 0) {
            kill_scheduler();
        } else if (of_this_node++ < OF_A_NODE) {
            kill_one_below(draw(4) == 0);
        } else {
            kill_node();
            of_this_node = 0;
        }
        done++;
    }
    while (reported < submitted)
        take_report();
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

static ac_value compute_so_often(ac_value unused) {
    (void)unused;
    const char *kills = getenv("KILLS");
    return compute_while_killed(ac_of(kills ? atoll(kills) : 20));
}

static void kill_at_random(void) {
    const char *seed = getenv("SEED");
    dice = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)dice);
    snprintf(counts, sizeof counts, "%s/counts", world_shared());
    ck_assert_ptr_nonnull(shared(counts));
    world_start_node_with("2", "--write", world_shared());
    world_run(compute_so_often);
    int64_t again = 0;
    for (int64_t number = 1; number <= submitted; number++) {
        uint8_t begun = shared(counts)[number];
        ck_assert_int_eq(reports[number], 1);
        ck_assert_msg(may_run_again(number) || begun <= 1, "job %lld was begun %d times",
                      (long long)number, begun);
        again += begun > 1;
    }
    printf("%lld jobs: %lld lost, %lld run again\n", (long long)submitted, (long long)lost,
           (long long)again);
}

TEST(jobs_are_reported_once_whatever_is_killed, .seconds_max = 7200) {
    world_make();
    kill_at_random();
    world_end();
}

TEST(jobs_are_reported_once_also_when_schedulers_are_killed, .seconds_max = 7200) {
    char port[16], journal[128];
    world_make();
    world_hold_port(port);
    snprintf(journal, sizeof journal, "%s/journal", world_folder);
    // Short, because workers of a node that was killed just before the scheduler are awaited so
    // long.
    const char *const options[] = {"--port", port, "--journal", journal, "--return", "12s"};
    memcpy(world_scheduler_options, options, sizeof options);
    world_start_scheduler();
    kills_schedulers = true;
    kill_at_random();
    world_stop(&world_scheduler);
    world_end();
}
