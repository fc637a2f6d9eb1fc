// SPDX-License-Identifier: MIT
// Worker processes: the functions they know, how they start, messages during a job, results that
// cannot travel; and what becomes of one whose scheduler is lost.
#include "cluster/played.h"

#include <fcntl.h>

static ac_value echo(ac_value to) {
    ac_value message;
    int64_t last = 0;
    int err = ac_send(ac_ref_of(to), ac_self());
    while (!err && (err = ac_receive(&message, ac_after(20))) == 0) {
        int64_t number = ac_int_of(message);
        ac_drop(message);
        if (number != last + 1)
            return ac_of_error(-EBADMSG, "out of order");
        if (number == 100)
            return ac_of(number);
        last = number;
        err = ac_send(ac_ref_of(to), number * 2);
    }
    return ac_result(err);
}
AC_JOB(echo)

static ac_value pointer(ac_value unused) {
    (void)unused;
    return ac_of_pointer(&world_node);
}
AC_JOB(pointer)

static ac_value crash(ac_value unused) {
    (void)unused;
    fprintf(stderr, "these are\nmy last words\n");
    abort();
}
AC_JOB(crash)

static ac_value pass(ac_value it) { return ac_hold(it); }
AC_JOB(pass)

// Says where it is, and ends when it is told to, with what it is told.
static ac_value wait_for_word(ac_value to) {
    ac_value message;
    int err = ac_send(ac_ref_of(to), ac_self());
    if (!err)
        err = ac_receive(&message, AC_FOREVER);
    return err ? ac_result(err) : message;
}
AC_JOB(wait_for_word)

// Computes, and waits for nothing, until there is such a file; at once if there is to be none.
static ac_value compute_until(ac_value path) {
    ac_time end = ac_after(TEST_PATIENCE_S);
    while (path.kind == AC_TEXT && access(ac_text_of(path), F_OK) < 0)
        if (ac_now() > end)
            return ac_of_error(-ETIMEDOUT, "nobody has made the file");
    return ac_nil;
}
AC_JOB(compute_until)

enum { AT_ONCE, WITHOUT_MEMORY, FOR_EVER };

// Short ones, of which one takes the memory for its report, so that its worker leaves.
static ac_value be_short(ac_value how) {
    if (ac_int_of(how) == WITHOUT_MEMORY) {
        for (ac_time until = ac_now() + 2 * 1000 * 1000; ac_now() < until;)
            continue; // so long that its end is told before the others run
        memory_fail_nth(1);
    }
    return ac_int_of(how) == FOR_EVER ? ac_result(ac_sleep(1000)) : how;
}
AC_JOB(be_short)

static ac_value not_declared(ac_value unused) { return unused; }

JOBS_OF_THIS_TEST

TEST(declared_functions_are_found_and_others_are_not) {
    ck_assert(job_entries_known());
    ck_assert_str_eq(job_entry_of(echo)->name, "echo");
    ck_assert_ptr_eq(job_entry_named("pointer")->function, pointer);
    ck_assert_ptr_null(job_entry_of(not_declared));
    ck_assert_ptr_null(job_entry_named("not_declared"));
    ck_assert_ptr_null(job_entry_named(""));
}

TEST(a_program_that_a_person_starts_as_a_worker_goes_on) {
    char *arguments[] = {(char *)"program", (char *)worker_mark, NULL};
    ac_cluster_init_with(2, arguments, NULL, 0);
    ck_assert_str_eq(job_program_name(), "program");
    ck_assert_ptr_null(job_entry_of(echo));
}

static ac_computation *computation;

static ac_value converse(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, echo, ac_self()), 1);
    ac_ref job = ac_no_ref;
    int64_t answers = 0;
    for (;;) {
        ac_value message;
        struct ac_job_exit end;
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (message.kind == AC_REF) {
            job = ac_ref_of(message);
            for (int i = 1; i <= 100; i++)
                ck_assert_int_eq(ac_send(job, i), 0);
        } else if (message.kind == AC_INT) {
            ck_assert_int_eq(ac_int_of(message), ++answers * 2);
        } else if (ac_job_exit_of(message, &end)) {
            ck_assert_int_eq(end.exit.how, AC_FINISHED);
            ck_assert(ac_ref_equal(end.exit.who, job));
            ck_assert_int_eq(ac_int_of(end.exit.value), 100);
            ac_drop(message);
            break;
        }
        ac_drop(message);
    }
    ck_assert_int_eq(answers, 99);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(client_and_job_exchange_messages_in_order) {
    world_begin("1");
    world_run(converse);
    world_end();
}

static ac_value ask_for_pointer(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, pointer, ac_nil), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FAILED);
    ck_assert_int_eq(job.exit.reason, -ENOTSUP);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_result_that_cannot_travel_is_a_failure_of_its_job) {
    world_begin("1");
    world_run(ask_for_pointer);
    world_end();
}

static ac_value watch_crash(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_eq(ac_submit(computation, crash, ac_nil), 1);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    struct ac_status status = world_await(AC_WORKER_GONE, 20);
    ck_assert(status.lost);
    ck_assert_ptr_nonnull(strstr(status.text, "killed by signal 6"));
    ck_assert_ptr_nonnull(strstr(status.text, "my last words"));
    ck_assert(!world_next_exit(&job, 0.1));
    // More crashes than a node bears.
    for (int i = 0; i < 20; i++)
        ck_assert_int_gt(ac_submit(computation, crash, ac_nil), 0);
    status = world_await(AC_NODE_REFUSED, 20);
    ck_assert_ptr_nonnull(strstr(status.text, "again and again"));
    return ac_result(ac_computation_close(computation, AC_NOW));
}

static ac_value leave_in_round(ac_value unused) {
    enum { FIRST = 50, LAST = FIRST + 12 };
    (void)unused;
    struct ac_job_exit job;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 1; i <= FIRST; i++)
        ck_assert_int_eq(ac_submit(computation, be_short, AT_ONCE), i);
    for (int i = 1; i <= FIRST; i++) {
        ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
        ck_assert_int_eq(job.exit.how, AC_FINISHED);
    }
    // They are told of together, and the second is as far as it comes.
    for (int i = FIRST + 1; i <= LAST; i++)
        ck_assert_int_eq(ac_submit(computation, be_short,
                                   i == FIRST + 1   ? WITHOUT_MEMORY
                                   : i == FIRST + 2 ? FOR_EVER
                                                    : AT_ONCE),
                         i);
    for (int i = FIRST + 1; i <= LAST; i++) {
        ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
        ck_assert_int_eq(job.exit.how, job.job > FIRST + 2 ? AC_FINISHED : AC_LOST);
        ac_drop(job.exit.value);
    }
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(what_a_worker_was_about_to_run_when_it_left_has_not_begun) {
    world_begin("1");
    world_run(leave_in_round);
    world_end();
}

TEST(a_worker_that_crashes_is_reported_with_its_last_words) {
    world_begin("1");
    world_run(watch_crash);
    world_end();
}

static ac_value watch_long_among_short(ac_value unused) {
    struct ac_job_exit job;
    char path[TEST_TEMPLATE_BYTES];
    (void)unused;
    test_template(path);
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_gt(ac_submit(computation, compute_until, ac_nil), 0);
        (void)world_await(AC_JOB_STARTED, 20);
        ck_assert(world_next_exit(&job, 20));
    }
    ck_assert_int_gt(ac_submit(computation, compute_until, ac_of(path)), 0);
    (void)world_await(AC_JOB_STARTED, 20);
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_drop(job.exit.value);
    ck_assert_int_eq(unlink(path), 0);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(that_a_job_has_begun_is_told_also_where_a_short_one_was_expected) {
    world_begin("1");
    world_run(watch_long_among_short);
    world_end();
}

// ---- a scheduler that is lost ----

static struct played_self first_scheduler;
static ac_ref client; // to whom jobs talk

static void run_at(ac_ref worker, int64_t number, const char *function, ac_value argument,
                   bool suspect) {
    struct batch batch = {0};
    ck_assert_int_eq(batch_add(&batch, THING_RUN, ac_of(number), ac_of(1), ac_of(function),
                               argument, ac_of_bool(suspect)),
                     0);
    ck_assert_int_eq(ac_send(worker, batch_take(&batch, "do")), 0);
    batch_done(&batch);
}

static ac_ref greet(void) {
    ac_value message = played_await("worker");
    const char *word;
    int64_t number;
    ac_ref worker;
    ck_assert_int_eq(ac_unpack(message, &word, &number, &worker), 0);
    ck_assert_int_eq(number, 7);
    ac_drop(message);
    ck_assert_int_eq(ac_send(worker, ac_list("hello", ac_self(), false)), 0);
    return worker;
}

// What has been told, in one line: "begun 1, ended 1=11, has 2".
static char told_text[512];
static uint64_t tells;

static void take_tell(ac_value message) {
    size_t cursor = 0;
    enum thing thing;
    ac_value items[THING_ITEMS_MAX];
    tells++;
    while (batch_next(message, &cursor, &thing, items)) {
        size_t at = strlen(told_text);
        int number = (int)ac_int_of(items[0]);
        const char *before = at ? ", " : "";
        if (thing == THING_BEGUN) {
            snprintf(told_text + at, sizeof told_text - at, "%sbegun %d", before, number);
        } else if (thing == THING_ENDED) {
            snprintf(told_text + at, sizeof told_text - at, "%sended %d=%d", before, number,
                     (int)ac_int_of(items[4]));
        } else if (thing == THING_HAS) {
            snprintf(told_text + at, sizeof told_text - at, "%shas %d", before, number);
        }
        batch_drop(thing, items);
    }
}

static void await_told(const char *text) {
    while (!strstr(told_text, text)) {
        ac_value message = played_await("tell");
        take_tell(message);
        ac_drop(message);
    }
}

static ac_value await_behind_tells(const char *word) {
    ac_value message;
    for (;; ac_drop(message)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        if (message_is(message, word))
            return message;
        if (message_is(message, "tell"))
            take_tell(message);
    }
}

// The client has what came before the second job began; then it is killed.
static ac_value be_first_scheduler(ac_value unused) {
    ac_value message = played_await("client");
    const char *word;
    ck_assert_int_eq(ac_unpack(message, &word, &client), 0);
    ac_drop(message);
    played_say(&client, sizeof client);
    ac_ref worker = greet();
    run_at(worker, 1, "pass", ac_of(11), false);
    await_told("ended 1=11");
    ck_assert_int_eq(ac_send(worker, ac_list("taken", tells)), 0);
    run_at(worker, 2, "pass", ac_of(22), false);
    await_told("ended 2=22");
    run_at(worker, 3, "wait_for_word", ac_of(client), false);
    run_at(worker, 4, "pass", ac_of(44), false);
    run_at(worker, 5, "wait_for_word", ac_of(client), false);
    run_at(worker, 6, "pass", ac_of(66), true);
    run_at(worker, 7, "pass", ac_of(77), false);
    await_told("begun 3");
    played_say(&worker, sizeof worker);
    return unused;
}

struct played_worker {
    struct sys_process process;
    int record;
};

static void start_worker_process(struct played_worker *it, bool stays) {
    char path[512];
    int record[2];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    ck_assert_int_gt(length, 0);
    path[length] = 0;
    struct worker_start start = {.agent = first_scheduler.agent,
                                 .scheduler = first_scheduler.address,
                                 .supplier = ac_self(),
                                 .client = remote_address(loop_here),
                                 .number = 7,
                                 .loopback_only = true,
                                 .node = "here",
                                 .stays = stays};
    ck_assert_int_eq(remote_keys(loop_here, &start.keys), 0);
    ck_assert_int_eq(sys_pipe(record), 0);
    ck_assert_int_eq(worker_start_write(record[1], &start), 0);
    char *const arguments[] = {path, (char *)worker_mark, NULL};
    const struct sys_process_options how = {.path = path,
                                            .arguments = arguments,
                                            .input = -1,
                                            .output = STDERR_FILENO,
                                            .error = STDERR_FILENO,
                                            .extra = record[0],
                                            .dies_with_us = true};
    ck_assert_int_eq(sys_process_start(&it->process, &how), 0);
    sys_fd_close(record[0]);
    it->record = record[1];
}

// Its node has ended.
static void end_worker_process(struct played_worker *it) {
    struct sys_process_end end;
    sys_fd_close(it->record);
    ck_assert(world_ends(it->process.handle, TEST_PATIENCE_S));
    ck_assert_int_eq(sys_process_reap(&it->process, &end), 0);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 0);
}

static ac_ref await_job(void) {
    ac_value message;
    ac_ref job = ac_no_ref;
    for (; !ac_ref_is(job); ac_drop(message)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        job = ac_ref_of(message);
    }
    return job;
}

static void await_exit(void) {
    ac_value message;
    struct ac_exit exit;
    for (bool is = false; !is; ac_drop(message)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        is = ac_exit_of(message, &exit);
        if (is)
            ac_drop(exit.value);
    }
}

static ac_value be_second_scheduler(ac_value unused) {
    struct played_worker process;
    struct sys_address here = remote_address(loop_here);
    ac_ref worker;
    ck_assert_int_eq(
        remote_introduce(loop_here, first_scheduler.agent.peer, &first_scheduler.address), 0);
    ck_assert_int_eq(ac_send(first_scheduler.agent, ac_list("client", ac_self())), 0);
    played_hear(&client, sizeof client); // so that nothing overtakes it
    start_worker_process(&process, true);
    played_hear(&worker, sizeof worker);
    ac_ref job = await_job();
    played_kill();
    // While there is no scheduler, one job after the other begins.
    ck_assert_int_eq(ac_send(job, 33), 0);
    job = await_job();
    ck_assert_int_eq(ac_monitor(job), 0);
    ck_assert_int_eq(ac_send(job, 55), 0);
    await_exit();
    ck_assert_int_eq(worker_return_write(process.record, ac_self(), &here), 0);
    ck_assert(ac_ref_equal(greet(), worker));
    // The next one may have ended another worker, and waits until somebody knows of it.
    ac_value message = await_behind_tells("all");
    uint64_t given;
    int called, runs;
    const char *word;
    ck_assert_int_eq(ac_unpack(message, &word, &given, &called, &runs), 0);
    ck_assert_uint_eq(given, 7);
    ck_assert_int_eq(called | runs, 0);
    ac_drop(message);
    ck_assert_ptr_null(strstr(told_text, "ended 1="));
    ck_assert_ptr_nonnull(strstr(told_text, "ended 2=22"));
    ck_assert_ptr_nonnull(strstr(told_text, "ended 3=33"));
    ck_assert_ptr_nonnull(strstr(told_text, "ended 4=44"));
    ck_assert_ptr_nonnull(strstr(told_text, "ended 5=55"));
    ck_assert_ptr_nonnull(strstr(told_text, "begun 6, has 7")); // so far as to ask
    ac_drop(await_behind_tells("ask"));
    ck_assert_ptr_null(strstr(told_text, "ended 6="));
    ck_assert_int_eq(ac_send(worker, ac_list("go")), 0);
    await_told("ended 7=77");
    ck_assert_ptr_nonnull(strstr(told_text, "ended 6=66"));
    end_worker_process(&process);
    return unused;
}

TEST(a_worker_whose_scheduler_is_lost_goes_on_and_tells_the_next_one_all) {
    world_make();
    played_begin(be_first_scheduler, &first_scheduler);
    world_run(be_second_scheduler);
    world_clean();
}

static ac_value greet_only(ac_value unused) {
    ac_ref worker = greet();
    played_say(&worker, sizeof worker);
    return unused;
}

static ac_value lose_scheduler(ac_value unused) {
    struct played_worker process;
    ac_ref worker;
    start_worker_process(&process, false);
    played_hear(&worker, sizeof worker);
    played_kill();
    ck_assert(world_ends(process.process.handle, TEST_PATIENCE_S));
    end_worker_process(&process);
    return unused;
}

TEST(a_worker_that_is_not_to_stay_ends_with_its_scheduler) {
    world_make();
    played_begin(greet_only, &first_scheduler);
    world_run(lose_scheduler);
    world_clean();
}
