// SPDX-License-Identifier: MIT
// Set-ups and clean-ups on a real node: what runs how often and in which order, and what becomes of
// the places where they fail. Each tells the client by a message that it has begun.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cluster/scheduler.h"
#include "cluster/world.h"

enum { WORKERS = 3 };

enum what { NODE_SETUP, WORKER_SETUP, WORKER_CLEANUP, NODE_CLEANUP, WHATS };

// What a function does after it has told the client. The argument of all is [client, ways...].
enum way { GOOD, ERROR, CRASH, HANG, COMPUTE, ERROR_IN_ONE, CRASH_ONCE, SLOW, ASK };

static int loaded; // in a worker: what its set-up has read

// True for the first one on this node.
static bool is_first(const char *name) { return mkdir(name, 0700) == 0; }

// What the client wants to come of it.
static enum way ask(ac_ref client) {
    ac_value answer = ac_nil;
    int err = ac_send(client, ac_list("ask", ac_self()));
    if (!err)
        err = ac_receive(&answer, ac_after(40));
    enum way way = err ? ERROR : (enum way)ac_int_of(answer);
    ac_drop(answer);
    return way;
}

static ac_value go(enum way way) {
    switch (way) {
    case GOOD: return ac_nil;
    case ERROR: return ac_of_error(-EBADMSG, "the table is no table");
    case CRASH: abort();
    case HANG: return ac_result(ac_sleep(1000));
    case COMPUTE:
        for (;;)
            __asm__ volatile("");
    case SLOW: return ac_result(ac_sleep(5.2));
    case ERROR_IN_ONE: return is_first("one") ? ac_result(-ENODATA) : ac_nil;
    case CRASH_ONCE:
        if (is_first("once"))
            abort();
        break;
    case ASK: // has been done
        break;
    }
    return ac_nil;
}

static ac_value tell(ac_value argument, enum what what) {
    ac_ref client;
    int ways[WHATS];
    int err = ac_unpack(argument, &client, &ways[0], &ways[1], &ways[2], &ways[3]);
    if (!err)
        err = (int)ac_deliver(client, ac_list("ran", (int)what, (int)getpid()), AC_FOREVER);
    err = err < 0 ? err : 0;
    if (!err && what == NODE_SETUP) {
        int fd = sys_file_create("table");
        err = fd < 0 ? fd : sys_fd_write(fd, "42", 2);
        sys_fd_close(fd);
    }
    if (!err && what == WORKER_SETUP) {
        char text[8] = "0";
        int fd = open("table", O_RDONLY);
        (void)!read(fd, text, 2);
        sys_fd_close(fd);
        loaded += atoi(text);
    }
    enum way way = (enum way)ways[what];
    return err ? ac_result(err) : go(way == ASK ? ask(client) : way);
}

static ac_value set_up_node(ac_value argument) { return tell(argument, NODE_SETUP); }
AC_JOB(set_up_node)
static ac_value set_up_worker(ac_value argument) { return tell(argument, WORKER_SETUP); }
AC_JOB(set_up_worker)
static ac_value clean_worker(ac_value argument) { return tell(argument, WORKER_CLEANUP); }
AC_JOB(clean_worker)
static ac_value clean_node(ac_value argument) { return tell(argument, NODE_CLEANUP); }
AC_JOB(clean_node)

static ac_value look(ac_value unused) {
    (void)unused;
    int err = ac_sleep(0.01);
    return err ? ac_result(err) : ac_list(loaded, (int)getpid());
}
AC_JOB(look)

static ac_value crash(ac_value unused) {
    (void)unused;
    abort();
}
AC_JOB(crash)

static ac_value wait_long(ac_value unused) {
    (void)unused;
    return ac_result(ac_sleep(1000));
}
AC_JOB(wait_long)

static bool stays; // in a worker: a job of this kind runs

static ac_value stay(ac_value client) {
    stays = true;
    int err = ac_send(ac_ref_of(client), (int)getpid());
    if (!err)
        err = ac_sleep(1000);
    stays = false;
    return ac_result(err);
}
AC_JOB(stay)

static ac_value leave_mark(ac_value path) {
    int fd = stays ? -EBUSY : sys_file_create(ac_text_of(path));
    sys_fd_close(fd);
    return ac_result(fd < 0 ? fd : 0);
}
AC_JOB(leave_mark)

static ac_value not_declared(ac_value unused) { return unused; }

JOBS_OF_THIS_TEST

// ---- what the client sees ----

static ac_computation *computation;

enum { KINDS = AC_SCHEDULER_GONE + 1 };

// All that has come so far.
static struct {
    int ran[WHATS];
    int pids[WHATS][16];
    int statuses[KINDS];
    char text[KINDS][512]; // of the last one
    ac_ref node;           // of the last one
    bool lost;             // AC_WORKER_GONE: the last one
    int asked;             // by ASK: the first one is told to fail
    int exits;
    struct ac_job_exit exit; // the last one; its value is ours
} seen;

static void take(ac_value message) {
    struct ac_status status;
    const char *word;
    int what, pid;
    ac_ref who;
    if (message_is(message, "ask") && ac_unpack(message, &word, &who) == 0) {
        bool first = seen.asked++ == 0;
        ck_assert_int_eq(ac_sleep(first ? 1.2 : 0), 0); // else jobs wait for nodes anyway
        ck_assert_int_eq(ac_send(who, first ? ERROR : GOOD), 0);
    } else if (ac_status_of(message, &status)) {
        seen.statuses[status.kind]++;
        strcpy(seen.text[status.kind], status.text);
        seen.node = status.node;
        seen.lost = status.kind == AC_WORKER_GONE ? status.lost : seen.lost;
    } else if (ac_job_exit_of(message, &seen.exit)) {
        seen.exits++;
    } else if (ac_unpack(message, &word, &what, &pid) == 0) {
        seen.pids[what][seen.ran[what]++ % 16] = pid;
        if (what > WORKER_SETUP) // clean-ups come last
            ck_assert_int_eq(seen.ran[NODE_CLEANUP], what == NODE_CLEANUP);
    }
    ac_drop(message);
}

#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        ac_time until_ = ac_after(40);                                                             \
        ac_value message_;                                                                         \
        while (!(condition)) {                                                                     \
            if (ac_receive(&message_, until_) < 0)                                                 \
                ck_abort_msg("it did not come: %s", #condition);                                   \
            take(message_);                                                                        \
        }                                                                                          \
    } while (0)

// What is there already.
static void take_rest(void) {
    ac_value message;
    while (ac_receive(&message, AC_NOW) == 0)
        take(message);
}

static ac_value argument_of(enum way node, enum way worker, enum way clean, enum way node_clean) {
    memset(&seen, 0, sizeof seen);
    return ac_list(ac_self(), (int)node, (int)worker, (int)clean, (int)node_clean);
}

#define OPEN(node, worker, clean, node_clean, ...)                                                 \
    ck_assert_int_eq(ac_computation_open(                                                          \
                         &computation, .node_setup = set_up_node, .worker_setup = set_up_worker,   \
                         .worker_cleanup = clean_worker, .node_cleanup = clean_node,               \
                         .setup_argument = argument_of((node), (worker), (clean), (node_clean)),   \
                         __VA_ARGS__),                                                             \
                     0)

static void close_it(void) {
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    take_rest();
}

static ac_value submit(ac_function function) {
    ck_assert_int_gt(ac_submit(computation, function, ac_nil), 0);
    seen.exits = 0;
    AWAIT(seen.exits == 1);
    return seen.exit.exit.value;
}

// A job that finds what the set-ups have left.
static void check_job(void) {
    int it, pid;
    ac_value value = submit(look);
    ck_assert_int_eq(seen.exit.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_unpack(value, &it, &pid), 0);
    ck_assert_int_eq(it, 42);
    ac_drop(value);
}

// Why a job waits, once the scheduler has it.
static void ask_why(int64_t job, char why[256]) {
    ck_assert_int_gt(job, 0);
    do
        ck_assert_int_eq(ac_job_why(computation, job, why, 256, ac_after(20)), 0);
    while (strstr(why, "on its way") && ac_sleep(0.001) == 0);
}

// ---- where all is well ----

static ac_value run_all(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, GOOD, GOOD, .name = "well");
    for (int i = 0; i < 20; i++)
        ck_assert_int_gt(ac_submit(computation, look, ac_nil), 0);
    for (int i = 1; i <= 20; i++) {
        int it, pid;
        AWAIT(seen.exits == i);
        ck_assert_int_eq(seen.exit.exit.how, AC_FINISHED);
        ck_assert_int_eq(ac_unpack(seen.exit.exit.value, &it, &pid), 0);
        ck_assert_int_eq(it, 42); // loaded once, after the node's
        ac_drop(seen.exit.exit.value);
    }
    AWAIT(seen.statuses[AC_WORKER_READY] == WORKERS);
    ck_assert_int_eq(seen.statuses[AC_NODE_READY], 1);
    ck_assert_int_eq(seen.ran[NODE_SETUP], 1);
    ck_assert_int_eq(seen.ran[WORKER_SETUP], WORKERS);
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], 0);
    close_it();
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], WORKERS);
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    ck_assert_int_eq(seen.statuses[AC_WORKER_GONE], WORKERS);
    ck_assert_str_eq(seen.text[AC_WORKER_GONE], "closed");
    return ac_nil;
}

TEST(each_runs_once_where_it_should_and_in_order) {
    world_begin("3");
    world_run(run_all);
    world_end();
}

static ac_value run_some(ac_value unused) {
    (void)unused;
    ac_value argument = argument_of(GOOD, GOOD, GOOD, GOOD);
    ck_assert_int_eq(
        ac_computation_open(&computation, .node_cleanup = clean_node, .setup_argument = argument),
        0);
    ac_drop(submit(look));
    ck_assert_int_eq(seen.exit.exit.how, AC_FINISHED);
    close_it();
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    ck_assert_int_eq(seen.ran[WORKER_SETUP] + seen.ran[WORKER_CLEANUP], 0);
    return ac_nil;
}

TEST(any_of_them_may_be_left_out) {
    world_begin("2");
    world_run(run_some);
    world_end();
}

static ac_value crash_one(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, GOOD, GOOD, .name = "crash");
    check_job();
    ac_drop(submit(crash));
    ck_assert_int_eq(seen.exit.exit.how, AC_LOST);
    AWAIT(seen.statuses[AC_WORKER_READY] == 2);
    check_job();
    ck_assert_int_eq(seen.ran[NODE_SETUP], 1);
    ck_assert_int_eq(seen.ran[WORKER_SETUP], 2);
    ck_assert_int_ne(seen.pids[WORKER_SETUP][0], seen.pids[WORKER_SETUP][1]);
    close_it();
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], 1);
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1); // not in the one that ran the set-up
    ck_assert_int_eq(seen.pids[NODE_CLEANUP][0], seen.pids[WORKER_SETUP][1]);
    return ac_nil;
}

TEST(a_worker_started_again_is_set_up_and_its_node_is_not) {
    world_begin("1");
    world_run(crash_one);
    world_end();
}

// ---- where set-ups fail ----

// Neither node nor worker takes part, and jobs learn why.
static void check_kept_out(const char *reason, int worker_setups, bool hinted) {
    char why[256];
    AWAIT(seen.statuses[AC_NODE_REFUSED] == 1);
    ck_assert_msg(strstr(seen.text[AC_NODE_REFUSED], reason), "%s", seen.text[AC_NODE_REFUSED]);
    ck_assert_int_eq(strncmp(seen.text[AC_NODE_REFUSED], "here: ", 6), 0);
    (void)submit(look);
    ck_assert_int_eq(seen.exit.exit.how, AC_FAILED);
    ck_assert_int_eq(seen.exit.exit.reason, -ENODEV);
    int64_t job = ac_submit(computation, look, ac_nil, .wait_for_nodes = true);
    ask_why(job, why);
    ck_assert_msg(strstr(why, "here takes none of its jobs: "), "%s", why);
    if (hinted) {
        AWAIT(seen.statuses[AC_JOBS_WAIT] == 1);
        ck_assert_ptr_nonnull(strstr(seen.text[AC_JOBS_WAIT], "here takes none of its jobs: "));
    }
    ac_drop(seen.exit.exit.value);
    seen.exit.exit.value = ac_nil;
    ck_assert_int_eq(ac_job_cancel(computation, job), 0);
    close_it();
    ac_drop(seen.exit.exit.value);
    ck_assert_int_eq(seen.ran[NODE_SETUP], 1);
    ck_assert_int_eq(seen.ran[WORKER_SETUP], worker_setups);
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP] + seen.ran[NODE_CLEANUP], 0);
    ck_assert_int_eq(seen.statuses[AC_WORKER_READY], 0);
}

static ac_value fail_in_workers(ac_value unused) {
    (void)unused;
    static const struct {
        enum way way;
        const char *reason; // of the node, with the last of its workers
        const char *worker; // of that one
    } cases[] = {
        {ERROR, "its set-up failed: the table is no table", "its set-up failed: the table is no"},
        {CRASH, "killed by signal 6", "its set-up ended it: killed by signal 6"},
        {HANG, "killed by signal 9", "its set-up took longer than 0.3 s"},
        {COMPUTE, "killed by signal 9", "its set-up took longer than 0.3 s"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        bool late = cases[i].way == HANG || cases[i].way == COMPUTE;
        OPEN(GOOD, cases[i].way, GOOD, GOOD, .setup_seconds_max = late ? 0.3 : 0);
        AWAIT(seen.statuses[AC_WORKER_GONE] == 2);
        ck_assert(seen.lost);
        ck_assert_msg(strstr(seen.text[AC_WORKER_GONE], cases[i].worker), "%s",
                      seen.text[AC_WORKER_GONE]);
        check_kept_out(cases[i].reason, 2, i == 0);
        ck_assert_int_eq(seen.statuses[AC_NODE_READY], 1);
    }
    return ac_nil;
}

TEST(workers_whose_set_up_fails_are_kept_out) {
    world_begin("2");
    world_run(fail_in_workers);
    world_end();
}

static ac_value fail_in_node(ac_value unused) {
    (void)unused;
    static const struct {
        enum way way;
        const char *reason;
    } cases[] = {
        {ERROR, "the set-up of the node failed: the table is no table"},
        {CRASH, "the set-up of the node ended it: killed by signal 6"},
        {HANG, "the set-up of the node took longer than 0.3 s"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        OPEN(cases[i].way, GOOD, GOOD, GOOD, .setup_seconds_max = cases[i].way == HANG ? 0.3 : 0);
        check_kept_out(cases[i].reason, 0, false);
        ck_assert_int_eq(seen.statuses[AC_NODE_READY], 0);
    }
    return ac_nil;
}

TEST(a_node_whose_set_up_fails_is_kept_out) {
    world_begin("2");
    world_run(fail_in_node);
    world_end();
}

static ac_value fail_in_one(ac_value unused) {
    (void)unused;
    static const enum way ways[] = {ERROR_IN_ONE, CRASH_ONCE};
    for (size_t i = 0; i < countof(ways); i++) {
        struct ac_place places[8];
        OPEN(GOOD, ways[i], GOOD, GOOD, .name = "one");
        AWAIT(seen.statuses[AC_WORKER_GONE] == 1 && seen.statuses[AC_WORKER_READY] == WORKERS - 1);
        for (int n = 0; n < 20; n++)
            check_job();
        // The node, and the workers but that one; no other was started for it.
        ck_assert_int_eq(ac_places(computation, places, 8, ac_after(20)), WORKERS);
        ck_assert_int_eq(seen.statuses[AC_WORKER_FOUND], WORKERS);
        close_it();
        ck_assert_int_eq(seen.ran[WORKER_SETUP], WORKERS);
        ck_assert_int_eq(seen.ran[WORKER_CLEANUP], WORKERS - 1);
        ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    }
    return ac_nil;
}

TEST(one_worker_that_is_kept_out_is_not_replaced_and_the_others_work) {
    world_begin("3");
    world_run(fail_in_one);
    world_end();
}

static ac_value take_another(ac_value unused) {
    (void)unused;
    OPEN(ASK, GOOD, GOOD, GOOD, .nodes_max = 1);
    check_job(); // which waits for the other node
    ck_assert_int_eq(seen.statuses[AC_NODE_REFUSED], 1);
    ck_assert_int_eq(seen.statuses[AC_NODE_READY], 1);
    close_it();
    ck_assert_int_eq(seen.ran[NODE_SETUP], 2);
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    return ac_nil;
}

TEST(another_node_takes_the_place_of_one_that_is_kept_out) {
    world_begin("1");
    struct sys_process first = world_node;
    world_node_name = "there";
    world_start_node("1");
    world_run(take_another);
    world_stop(&first);
    world_end();
}

static ac_value lose_node(ac_value unused) {
    (void)unused;
    struct sys_process_end end;
    OPEN(GOOD, HANG, GOOD, GOOD, .name = "lost");
    AWAIT(seen.ran[WORKER_SETUP] == 1);
    sys_process_end(&world_node, true, false);
    AWAIT(seen.statuses[AC_NODE_GONE] == 1 && seen.statuses[AC_WORKER_GONE] == 1);
    ck_assert_int_eq(seen.statuses[AC_NODE_REFUSED], 0);
    ck_assert(world_ends(world_node.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
    world_start_node("1"); // and another one is asked
    AWAIT(seen.ran[WORKER_SETUP] == 2);
    close_it();
    return ac_nil;
}

TEST(a_node_may_be_lost_during_a_set_up) {
    world_begin("1");
    world_run(lose_node);
    world_end();
}

// ---- ends ----

static ac_value close_early(ac_value unused) {
    (void)unused;
    char why[256];
    OPEN(GOOD, HANG, GOOD, GOOD, .name = "early");
    AWAIT(seen.ran[WORKER_SETUP] == 1);
    int64_t job = ac_submit(computation, look, ac_nil);
    ask_why(job, why);
    ck_assert_msg(strstr(why, "1 worker is still being set up"), "%s", why);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    take_rest();
    ck_assert_int_eq(seen.exit.exit.how, AC_CANCELLED);
    ac_drop(seen.exit.exit.value);
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], 0); // this worker was not
    OPEN(HANG, GOOD, GOOD, GOOD, .name = "early too");
    AWAIT(seen.ran[NODE_SETUP] == 1);
    close_it();
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP] + seen.ran[NODE_CLEANUP], 0);
    ck_assert_int_eq(seen.statuses[AC_NODE_REFUSED], 0);
    return ac_nil;
}

TEST(it_may_be_closed_during_a_set_up) {
    world_begin("1");
    world_run(close_early);
    world_end();
}

static ac_value clean_badly(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, ERROR, ERROR, .name = "errors");
    check_job();
    close_it();
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], 1);
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    ck_assert_str_eq(seen.text[AC_WORKER_GONE],
                     "closed; the clean-up of the node failed: the table is no table");
    ck_assert(!seen.lost);
    OPEN(GOOD, GOOD, HANG, GOOD, .cleanup_seconds_max = 0.2);
    check_job();
    close_it();
    ck_assert_str_eq(seen.text[AC_WORKER_GONE], "closed; its clean-up took longer than 0.2 s");
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 0); // there was no worker for it
    OPEN(GOOD, GOOD, CRASH, GOOD, .name = "crash");
    check_job();
    close_it();
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], 1);
    ck_assert_int_eq(
        strncmp(seen.text[AC_WORKER_GONE], "closed; its clean-up ended it: killed by ", 41), 0);
    return ac_nil;
}

TEST(clean_ups_that_fail_hold_up_nothing) {
    world_begin("1");
    world_run(clean_badly);
    world_end();
}

// Longer than all else that closing waits for.
static ac_value clean_slowly(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, SLOW, SLOW, .cleanup_seconds_max = 20);
    check_job();
    close_it();
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    ck_assert_int_eq(seen.statuses[AC_WORKER_GONE], 1);
    ck_assert_str_eq(seen.text[AC_WORKER_GONE], "closed");
    return ac_nil;
}

TEST(clean_ups_have_the_time_that_they_are_given) {
    world_begin("1");
    world_run(clean_slowly);
    world_end();
}

// Together longer than all else that a scheduler waits for when it ends.
static void end_scheduler(enum way way, double seconds_max) {
    OPEN(GOOD, GOOD, way, way, .cleanup_seconds_max = seconds_max);
    check_job();
    ck_assert_int_eq(kill(world_scheduler.id, SIGTERM), 0);
    AWAIT(seen.statuses[AC_SCHEDULER_GONE] == 1);
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    ck_assert_int_eq(seen.statuses[AC_WORKER_GONE], 1);
    ck_assert_str_eq(seen.text[AC_WORKER_GONE], "closed");
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
}

static ac_value end_slowly(ac_value unused) {
    end_scheduler(SLOW, 20);
    return unused;
}

static ac_value end_quickly(ac_value unused) {
    end_scheduler(GOOD, 3000);
    return unused;
}

static void run_with_scheduler(ac_function function) {
    world_make();
    world_start_scheduler();
    world_start_node("1");
    world_run(function);
    ck_assert(world_ends(world_scheduler.handle, TEST_PATIENCE_S));
    world_end();
}

TEST(clean_ups_have_their_time_also_when_the_scheduler_is_to_end) {
    run_with_scheduler(end_slowly);
}

TEST(a_scheduler_that_is_to_end_does_so_when_clean_ups_have_ended) {
    run_with_scheduler(end_quickly);
}

static ac_value hurry_scheduler(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, HANG, GOOD, .cleanup_seconds_max = 3000);
    check_job();
    ck_assert_int_eq(kill(world_scheduler.id, SIGTERM), 0);
    AWAIT(seen.ran[WORKER_CLEANUP] == 1);
    while (!world_ends(world_scheduler.handle, 0)) { // signals that come at once are one
        ck_assert_int_eq(kill(world_scheduler.id, SIGTERM), 0);
        ck_assert_int_eq(ac_sleep(0.05), 0);
    }
    AWAIT(seen.statuses[AC_SCHEDULER_GONE] == 1);
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_scheduler_that_is_told_to_end_once_more_waits_for_no_clean_up) {
    run_with_scheduler(hurry_scheduler);
}

static ac_value give_back(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, GOOD, GOOD, .name = "back");
    for (int round = 1; round <= 2; round++) {
        check_job();
        ck_assert_int_eq(seen.ran[NODE_SETUP], round);
        ck_assert_int_eq(seen.ran[WORKER_SETUP], round);
        ck_assert_int_eq(ac_place_disable(computation, seen.node, ac_after(20)), 0);
        AWAIT(seen.statuses[AC_NODE_GONE] == round);
        ck_assert_int_eq(seen.ran[WORKER_CLEANUP], round);
        ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
        seen.ran[NODE_CLEANUP] = 0;
        ck_assert_int_eq(ac_place_enable(computation, seen.node, ac_after(20)), 0);
    }
    close_it();
    return ac_nil;
}

TEST(a_node_that_is_given_back_is_cleaned_up_and_set_up_when_it_is_used_again) {
    world_begin("1");
    world_run(give_back);
    world_end();
}

static ac_value drain(ac_value unused) {
    (void)unused;
    OPEN(GOOD, GOOD, GOOD, GOOD, .name = "drain");
    AWAIT(seen.statuses[AC_WORKER_READY] == 2);
    sys_process_end(&world_node, false, false);
    AWAIT(seen.statuses[AC_NODE_GONE] == 1);
    ck_assert_int_eq(seen.ran[WORKER_CLEANUP], 2);
    ck_assert_int_eq(seen.ran[NODE_CLEANUP], 1);
    close_it();
    return ac_nil;
}

TEST(a_node_that_drains_is_cleaned_up) {
    struct sys_process_end end;
    world_make();
    if (getenv("WORLD_SCHEDULER"))
        world_start_scheduler();
    world_node_options[0] = "--grace";
    world_node_options[1] = "60s";
    world_start_node("2");
    world_run(drain);
    ck_assert(world_ends(world_node.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
    world_clean();
}

// The jobs that are left end before the clean-up.
static ac_value owner(ac_value to) {
    ck_assert_int_eq(ac_computation_open(&computation, .worker_cleanup = clean_worker,
                                         .setup_argument = ac_list(ac_ref_of(to), 0, 0, 0, 0)),
                     0);
    ck_assert_int_gt(ac_submit(computation, wait_long, ac_nil), 0);
    (void)world_await(AC_JOB_STARTED, 20);
    return ac_nil;
}

static ac_value lose_owner(ac_value unused) {
    (void)unused;
    memset(&seen, 0, sizeof seen);
    ck_assert(ac_ref_is(ac_spawn(owner, ac_self(), .stack_bytes = 256 << 10)));
    AWAIT(seen.ran[WORKER_CLEANUP] == 1);
    return ac_nil;
}

TEST(clean_ups_run_when_the_owner_has_ended) {
    world_begin("1");
    world_run(lose_owner);
    world_end();
}

static int report[2]; // a pipe from a client in another process
static char mark[96];

static ac_value occupy(ac_value unused) {
    int id = 0;
    ck_assert_int_eq(ac_computation_open(&computation, .worker_cleanup = leave_mark,
                                         .setup_argument = ac_of((const char *)mark)),
                     0);
    ck_assert_int_gt(ac_submit(computation, stay, ac_self()), 0);
    while (id == 0) {
        ac_value message;
        ck_assert_int_eq(ac_receive(&message, ac_after(40)), 0);
        id = message.kind == AC_INT ? (int)ac_int_of(message) : 0;
        ac_drop(message);
    }
    ck_assert_int_eq(sys_fd_write(report[1], &id, sizeof id), 0);
    (void)ac_suspend(NULL, AC_FOREVER);
    return unused;
}

// Its scheduler lives: it has the job cancelled, and then the worker cleaned up.
TEST(clean_ups_run_when_the_client_is_killed_and_its_scheduler_is_not) {
    char folder[80];
    int id;
    world_make();
    snprintf(folder, sizeof folder, "%s/marks", world_folder);
    snprintf(mark, sizeof mark, "%s/clean", folder);
    ck_assert_int_eq(sys_folder_make(folder), 0);
    ck_assert_int_eq(sys_pipe(report), 0);
    world_start_scheduler();
    world_start_node_with("1", "--write", folder);
    pid_t client = fork();
    ck_assert_int_ge(client, 0);
    if (client == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        world_run(occupy);
        _exit(EXIT_SUCCESS);
    }
    ck_assert_int_eq(read(report[0], &id, sizeof id), sizeof id);
    int worker = world_handle(id);
    ck_assert_int_eq(kill(client, SIGKILL), 0);
    ck_assert_int_eq(waitpid(client, NULL, 0), client);
    ck_assert(world_ends(worker, TEST_PATIENCE_S));
    ck_assert_int_eq(access(mark, F_OK), 0);
    world_stop_node();
    world_stop(&world_scheduler);
    world_clean();
}

// The agent of the site goes on at once, and not when the time of the clean-up is up.
static ac_value call_in_vain(ac_value unused) {
    struct desk desk = {.setup.functions[CALL_WORKER_CLEANUP] = "clean_worker"};
    struct site_agent site = {.desk = &desk, .coro = coro_here()};
    struct worker_agent worker = {
        .desk = &desk, .site = &site, .call = CALL_WORKER_CLEANUP, .call_due = true};
    setup_send(&worker);
    ck_assert_int_eq(worker.call, CALL_NOTHING);
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_NOW), 0);
    ck_assert(ac_is_nil(message));
    return unused;
}

TEST(a_worker_that_cannot_be_called_is_not_waited_for) {
    world_make();
    world_run(call_in_vain);
    world_clean();
}

// ---- what cannot be ----

static ac_value ask_wrongly(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation, .node_setup = not_declared), -ENOSYS);
    ck_assert_int_eq(ac_computation_open(&computation, .worker_setup = look,
                                         .setup_argument = ac_of_pointer(&computation)),
                     -ENOTSUP);
    ck_assert_int_eq(
        ac_computation_open(&computation, .worker_setup = look, .setup_seconds_max = -1), -EINVAL);
    ck_assert_int_eq(
        ac_computation_open(&computation, .worker_cleanup = look, .cleanup_seconds_max = 4000),
        -EINVAL);
    char *large = calloc(1, AC_VALUE_BYTES_MAX);
    ck_assert_ptr_nonnull(large);
    ck_assert_int_eq(
        ac_computation_open(&computation, .worker_setup = look,
                            .setup_argument = ac_of_bytes(large, AC_VALUE_BYTES_MAX - 1000)),
        -EMSGSIZE);
    free(large);
    // A program that knows fewer options: what stands behind them is none.
    struct ac_computation_options options = {
        .size = offsetof(struct ac_computation_options, node_setup), .node_setup = not_declared};
    ck_assert_int_eq(ac_computation_open_with(&computation, &options), 0);
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(what_a_client_tells_is_checked) {
    struct setup setup;
    ck_assert_int_eq(setup_read(&setup, ac_nil), 0);
    setup_done(&setup);
    ck_assert_int_eq(setup_read(&setup, ac_list("a", "b", "", "", 7, 1, 2)), 0);
    ck_assert_str_eq(setup.functions[CALL_WORKER_SETUP], "b");
    ck_assert_int_eq(ac_int_of(setup.argument), 7);
    ck_assert_int_eq(setup.cleanup_ns, 2);
    setup_done(&setup);
    ck_assert_int_lt(setup_read(&setup, ac_list("a", "b", "", "", 7, 1)), 0);
    setup_done(&setup);
    ck_assert_int_lt(setup_read(&setup, ac_list("a", "b", "", 3, 7, 1, 2)), 0);
    setup_done(&setup);
    ck_assert_int_eq(setup_read(&setup, ac_list("a", "b", "", "", 7, -1, 2)), -EINVAL);
    setup_done(&setup);
    ck_assert_int_eq(setup_read(&setup, ac_list("a", "b", "", "", 7, 1, INT64_MAX)), -EINVAL);
    setup_done(&setup);
}

TEST(what_cannot_be_set_up_is_refused_when_it_is_opened) {
    world_make();
    world_run(ask_wrongly);
    world_clean();
}
