// SPDX-License-Identifier: MIT
// When a scheduler that was killed, its clients, or its journal are given up; which of several is
// found again; and what it checks of what it is told.
#include "cluster/outage.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

// Of remote/remote_private.h, which has names that the cluster has too.
struct remote;
void remote_give_up_now(struct remote *remote, uint64_t peer);

// ---- given up ----

static void ck_given_up(const char *text) {
    struct ac_status status = world_await(AC_SCHEDULER_GONE, TEST_PATIENCE_S);
    ck_assert_msg(strstr(status.text, text), "%s", status.text);
    struct ac_job_exit job = next_exit();
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ck_assert_int_eq(job.exit.reason, -ECONNRESET);
    ac_drop(job.exit.value);
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
    world_kill_scheduler();
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
    world_kill_scheduler();
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
    world_kill_scheduler();
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
    world_kill_scheduler();
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
    ac_value answer;
    int err;
    do
        err = ac_call(locate(SCHEDULER_NAME),
                      ac_list("open", courier, courier,
                              ac_of_bytes("sixteen letters.", SECRET_BYTES), "127.0.0.1:1",
                              "played", ac_nil, ac_of_bool(false), 0, 0, 0, ac_of_bool(false),
                              ac_nil, ac_hold(token)),
                      &answer, ac_after(TEST_PATIENCE_S));
    while (err == -EHOSTUNREACH || err == -ECONNRESET);
    ck_assert_int_eq(err, 0);
    ac_drop(token);
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
    ck_assert_int_eq(ac_call(desk, ac_list("status", 0), &status, ac_after(TEST_PATIENCE_S)), 0);
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
    world_kill_scheduler();
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

static int64_t count_places(ac_ref desk) {
    ac_value answer;
    ck_assert_int_eq(ac_call(desk, ac_list("places", 0), &answer, ac_after(TEST_PATIENCE_S)), 0);
    ac_value count = ac_at(answer, 0);
    int64_t places = ac_int_of(count);
    ac_drop(answer);
    return places;
}

// Until the scheduler has found the node.
static void await_node(void) {
    ac_ref main = locate(SCHEDULER_DESK_NAME);
    int64_t nodes = 0;
    while (nodes == 0) {
        ac_value status;
        ck_assert_int_eq(ac_call(main, ac_list("status", 0), &status, ac_after(TEST_PATIENCE_S)),
                         0);
        ac_value count = ac_get(status, "nodes");
        nodes = ac_int_of(count);
        ac_drop(status);
        ck_assert_int_eq(ac_sleep(0.01), 0);
    }
}

static ac_value tell_slowly(ac_value unused) {
    uint8_t token[JOURNAL_TOKEN_BYTES];
    struct batch wants = {0};
    (void)ck_desk(ask_door(ac_self(), ac_nil), token);
    world_kill_scheduler();
    start_scheduler();
    ac_ref desk = ck_desk(ask_door(ac_self(), ac_of_bytes(token, sizeof token)), token);
    await_node();
    ck_assert_int_eq(count_places(desk), 0);
    ck_assert_int_eq(batch_add(&wants, THING_ALL, ac_of(0)), 0);
    ck_assert_int_eq(ac_send(desk, batch_take(&wants, "want")), 0);
    ck_assert_int_eq(count_places(desk), 1);
    batch_done(&wants);
    return unused;
}

TEST(no_node_is_asked_before_all_was_told) {
    begin();
    start_node("1");
    world_run(tell_slowly);
    end();
}

static ac_value run_one_of_two(ac_value first) {
    ac_computation *it;
    struct ac_job_exit job;
    bool seen[101] = {false};
    ck_assert_int_eq(ac_computation_open(&it), 0);
    (void)world_await(AC_WORKER_READY, TEST_PATIENCE_S);
    for (int i = 1; i <= 100; i++)
        ck_assert_int_eq(ac_submit(it, square, i * ac_int_of(first), .retries = 100), i);
    for (int i = 1; i <= 100; i++) {
        ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
        ck_assert(!seen[job.job]);
        seen[job.job] = true;
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(job.exit.value),
                         job.job * job.job * ac_int_of(first) * ac_int_of(first));
        if (i == 10 && ac_int_of(first) == 2) {
            world_kill_scheduler();
            start_scheduler();
        }
    }
    return ac_result(ac_computation_close(it, AC_FOREVER));
}

static ac_value run_two(ac_value unused) {
    struct ac_exit end;
    ac_ref refs[2];
    for (int i = 0; i < 2; i++)
        refs[i] = ac_spawn(run_one_of_two, i + 2, .joinable = true, .stack_bytes = 256 << 10);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_join(refs[i], &end, AC_FOREVER), 0);
        ck_assert_int_eq(end.how, AC_FINISHED);
    }
    return unused;
}

TEST(each_of_two_computations_finds_its_own) {
    begin();
    start_node("2");
    world_run(run_two);
    end();
}

TEST(a_token_is_needed_and_what_is_told_is_checked) {
    begin();
    world_run(play_client);
    world_stop(&world_scheduler);
    ck_assert_int_eq(count_in_journal(), 0);
    world_clean();
}

// How many messages open with that word, until none has come for a while.
static int count_told(const char *word) {
    int count = 0;
    for (ac_value message; ac_receive(&message, ac_after(0.2)) == 0; ac_drop(message))
        count += message_is(message, word);
    return count;
}

// They lose each other, and find each other again.
static ac_value lose_and_return(ac_value unused) {
    uint8_t token[JOURNAL_TOKEN_BYTES];
    ac_ref desk = ck_desk(ask_door(ac_self(), ac_nil), token);
    ck_assert_int_eq(count_told("desk"), 1);
    remote_give_up_now(loop_here->extra[LOOP_REMOTE].state, desk.peer);
    ck_unknown(ask_door(ac_self(), ac_of_bytes(token, sizeof token)));
    ck_assert_int_eq(count_told("closed"), 0);
    ac_ref next = ck_desk(ask_door(ac_self(), ac_nil), token);
    ck_assert(!ac_ref_equal(desk, next));
    ck_assert_int_eq(ac_send(next, ac_list("close")), 0);
    ck_assert_int_eq(count_told("closed"), 1);
    return unused;
}

TEST(a_client_that_was_lost_is_told_nothing_more_by_its_desk) {
    begin();
    world_run(lose_and_return);
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
    world_kill_scheduler();
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
    ck_assert_int_eq(ac_job_cancel(computation, 501), 0);
    ck_next(501, AC_CANCELLED);
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
