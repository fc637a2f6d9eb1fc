// SPDX-License-Identifier: MIT
// Runs a scenario with fault after fault, each run in a process of its own that may crash or hang.
#include "faults.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    RUNS_MAX = 5000,
    WRONG_MAX = 5, // runs that went wrong, after which it is enough
    RUN_SECONDS_MAX = 60,
    SETTLE_NS = 2000000000, // for threads that were let go
    STATUS_FAULT = 0,       // the run had its fault, and all was well
    STATUS_NONE = 10,       // there was none any more
    STATUS_WRONG = 11       // and it has said what
};

static struct {
    const char *name;
    enum fault_kind kind;
    long n;
    int errors; // atomic
    int report; // standard error, also while a scenario has it elsewhere
} run;

void __lsan_do_leak_check(void) __attribute__((weak));

int faults_errors(void) { return __atomic_load_n(&run.errors, __ATOMIC_SEQ_CST); }

void faults_wrong(const char *what, const char *file, int line) {
    const char *call = faults_what();
    faults_disarm();
    dprintf(run.report, "%s:%d: %s, fault %ld (%s): %s\n", file, line, run.name, run.n,
            call ? call : "none", what);
    _exit(STATUS_WRONG);
}

bool faults_excuse(void) { return faults_what() && run.kind < FAULT_INTERRUPTED; }

long faults_note(long result, const char *what, const char *file, int line) {
    if (result >= 0)
        return result;
    __atomic_fetch_add(&run.errors, 1, __ATOMIC_SEQ_CST);
    if (!faults_excuse()) {
        char text[256];
        snprintf(text, sizeof text, "%s gave %s", what, error_name((int)result));
        faults_wrong(text, file, line);
    }
    return result;
}

ac_ref faults_note_ref(ac_ref ref, const char *what, const char *file, int line) {
    if (!ac_ref_is(ref)) {
        if (ac_ref_error(ref) >= 0)
            faults_wrong("no reference and no error", file, line);
        faults_note(ac_ref_error(ref), what, file, line);
    }
    return ref;
}

ac_value faults_note_value(ac_value value, const char *what, const char *file, int line) {
    if (ac_kind_of(value) == AC_INVALID) {
        if (ac_error_of(value) >= 0)
            faults_wrong("no value and no error", file, line);
        faults_note(ac_error_of(value), what, file, line);
    }
    return value;
}

// ---- one run ----

static int count_descriptors(void) {
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (all && readdir(all))
        count++;
    if (all)
        closedir(all);
    return count;
}

// Threads that were let go may still be at giving back what they have.
static void check_left(long blocks, int descriptors) {
    ac_time until = sys_clock() + SETTLE_NS;
    while (faults_blocks() != blocks && sys_clock() < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    char text[128];
    snprintf(text, sizeof text, "%ld blocks of memory and %d descriptors are left",
             faults_blocks() - blocks, count_descriptors() - descriptors);
    if (faults_blocks() == blocks && count_descriptors() == descriptors)
        return;
    if (__lsan_do_leak_check)
        __lsan_do_leak_check(); // where they came from
    faults_wrong(text, __FILE__, __LINE__);
}

static void run_with(void (*scenario)(void), long n) {
    run.n = n;
    run.errors = 0;
    long blocks = faults_blocks();
    int descriptors = count_descriptors();
    faults_arm(run.kind, n);
    scenario();
    faults_disarm();
    check_left(blocks, descriptors);
}

// Returns the status of the process.
static int run_one(void (*scenario)(void), long n) {
    run_with(scenario, n);
    int status = faults_what() ? STATUS_FAULT : STATUS_NONE;
    run_with(scenario, 0);
    if (__lsan_do_leak_check)
        __lsan_do_leak_check();
    return status;
}

// ---- all runs ----

// The status of a process, or -SIGALRM if it had to be ended, or the signal that ended it,
// negative.
static int await(pid_t id) {
    ac_time until = sys_clock() + (ac_time)RUN_SECONDS_MAX * 1000000000;
    int status = 0;
    bool hangs = false;
    for (ac_time pause_ns = 50000; waitpid(id, &status, WNOHANG) == 0;) {
        hangs = sys_clock() >= until;
        if (hangs) {
            kill(id, SIGKILL);
            waitpid(id, &status, 0);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = (long)pause_ns}, NULL);
        pause_ns = pause_ns < 2000000 ? pause_ns * 2 : pause_ns;
    }
    if (hangs)
        return -SIGALRM;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_apart(void (*scenario)(void), long n) {
    fflush(NULL);
    pid_t id = fork();
    if (id == 0)
        _exit(run_one(scenario, n));
    int status = await(id);
    if (status < 0)
        fprintf(stderr, "%s, fault %ld: %s\n", run.name, n,
                status == -SIGALRM ? "hangs" : strsignal(-status));
    return status;
}

void faults_run(const char *name, void (*scenario)(void), enum fault_kind kind) {
    const char *only = getenv("FAULT");
    int wrong = 0;
    run.name = name;
    run.kind = kind;
    run.report = dup(STDERR_FILENO);
    // Which poller there is has been found out before anything fails.
    int err;
    struct sys *sys = sys_create(&sys_chosen, &err);
    if (sys)
        sys_destroy(sys);
    if (only) {
        ck_assert_int_ne(run_one(scenario, atol(only)), STATUS_WRONG);
        return;
    }
    for (long n = 1; n <= RUNS_MAX && wrong < WRONG_MAX; n++) {
        int status = run_apart(scenario, n);
        if (status == STATUS_NONE)
            break;
        wrong += status != STATUS_FAULT;
        if (n == RUNS_MAX)
            ck_abort_msg("%s: still faults in run %ld", name, n);
    }
    ck_assert_int_eq(wrong, 0);
}
