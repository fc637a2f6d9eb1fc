// SPDX-License-Identifier: MIT
// Computations on a node: nothing is left behind, whoever is killed; and what waits for another
// scheduler instead of one that is lost.
#include "cluster/played.h"

#include <fcntl.h>
#include <sys/stat.h>

static const char crash_variable[] = "AC_CRASH_OF_THIS_TEST";

// A worker of a program that cannot even start. Before JOBS_OF_THIS_TEST.
__attribute__((constructor(101))) static void crash_if_asked(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], worker_mark) != 0 || !getenv(crash_variable))
        return;
    fprintf(stderr, "no licence\x1b[31m found\n");
    _exit(9);
}

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

// Writes about so many bytes, waiting for whoever takes them.
static ac_value write_much(ac_value bytes) {
    static const char line[64] = "0123456789 0123456789 0123456789 0123456789 0123456789 01234\n";
    int err = 0;
    for (int64_t left = ac_int_of(bytes); left > 0 && !err; left -= (int64_t)sizeof line)
        err = sys_fd_write(STDERR_FILENO, line, sizeof line - 1);
    return ac_result(err);
}
AC_JOB(write_much)

static ac_value write_text(ac_value text) {
    ac_span span = ac_span_of(text);
    return ac_result(sys_fd_write(STDERR_FILENO, span.at, span.bytes));
}
AC_JOB(write_text)

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

// The node's standard error is a pipe; who reads it is up to the test.
static int standard_error;

static void begin_with_pipe(void) {
    int ends[2], own = sys_fd_copy(STDERR_FILENO);
    ck_assert_int_ge(own, 0);
    ck_assert_int_eq(sys_pipe(ends), 0);
    ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    world_begin("1");
    ck_assert_int_eq(dup2(own, STDERR_FILENO), STDERR_FILENO);
    sys_fd_close(own);
    sys_fd_close(ends[1]);
    standard_error = ends[0];
}

// Reads what the node writes there until that has come: what was read last. NULL if nothing more
// comes within the time.
static const char *read_until(const char *what, int milliseconds) {
    static char text[1024];
    static size_t count;
    struct pollfd it = {.fd = standard_error, .events = POLLIN};
    while (!strstr(text, what)) {
        if (poll(&it, 1, milliseconds) != 1)
            return NULL;
        if (count == sizeof text - 1)
            memmove(text, text + 1, count--);
        ck_assert_int_eq(read(standard_error, text + count, 1), 1);
        text[++count] = 0;
    }
    return text;
}

static void finish_job(int64_t number) {
    struct ac_job_exit job;
    ck_assert_int_gt(number, 0);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.job, number);
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_drop(job.exit.value);
}

static ac_value write_unread(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    finish_job(ac_submit(computation, write_much, 1 << 20));
    finish_job(ac_submit(computation, write_text, "small\n"));
    // Once there is room again, it is told what is missing.
    while (!read_until(" bytes that it wrote were dropped here)\n", 0))
        finish_job(ac_submit(computation, write_text, "again\n"));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_standard_error_that_nobody_reads_does_not_hold_up_the_node) {
    begin_with_pipe();
    world_run(write_unread);
    world_end();
}

static ac_value write_controls(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    finish_job(ac_submit(computation, write_text,
                         "first\n\x1b[31m\tgr\xc3\xbcn \xc2\x9b 2J\a\x7f last\n"));
    ck_assert_ptr_nonnull(read_until("first\n?[31m\tgr\xc3\xbcn ?? 2J?? last\n", 20000));
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(no_worker_steers_the_terminal_of_its_node) {
    begin_with_pipe();
    world_run(write_controls);
    world_end();
}

// Opens all that the store holds for writing: as a process does that a node has just started for
// somebody else while it wrote.
static int hold_store(int *fds, int max) {
    char folder[96], path[256];
    struct buffer names;
    int count = 0;
    buffer_init(&names);
    snprintf(folder, sizeof folder, "%s/asyncoro/contents", world_folder);
    ck_assert_int_eq(sys_folder_list(folder, &names), 0);
    for (size_t at = 0; at < names.length; at += strlen((char *)names.bytes + at) + 1) {
        snprintf(path, sizeof path, "%s/%s", folder, (char *)names.bytes + at);
        ck_assert_int_eq(chmod(path, 0700), 0);
        ck_assert_int_lt(count, max);
        fds[count] = open(path, O_RDWR | O_CLOEXEC);
        ck_assert_int_ge(fds[count++], 0);
        ck_assert_int_eq(chmod(path, 0500), 0);
    }
    buffer_done(&names);
    return count;
}

static ac_value run_what_is_open(ac_value unused) {
    ac_ref desk;
    ac_value node;
    int fds[8];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    finish_job(ac_submit(computation, write_text, "it is stored\n"));
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    int count = hold_store(fds, 8);
    ck_assert_int_gt(count, 0);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, write_text, "it runs\n"), 0);
    (void)world_await(AC_NODE_READY, TEST_PATIENCE_S);
    // Behind this it has been tried to start a worker.
    ck_assert_int_eq(ac_locate(NODE_DESK_NAME, &desk, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert_int_eq(ac_call(desk, "tell", &node, ac_after(TEST_PATIENCE_S)), 0);
    ac_drop(node);
    for (int i = 0; i < count; i++)
        sys_fd_close(fds[i]);
    struct ac_job_exit job;
    ck_assert(world_next_exit(&job, TEST_PATIENCE_S));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    return unused;
}

TEST(a_program_that_is_still_open_for_writing_is_run_a_little_later) {
    world_begin("1");
    world_run(run_what_is_open);
    world_end();
}

static ac_value give_up(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status status = world_await(AC_NODE_REFUSED, 20);
    ck_assert_ptr_nonnull(strstr(status.text, "given up"));
    ck_assert_ptr_nonnull(strstr(status.text, "exit code 9"));
    ck_assert_ptr_nonnull(strstr(status.text, "no licence?[31m found"));
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_client_is_told_why_workers_cannot_start) {
    setenv(crash_variable, "1", 1);
    world_begin("1");
    world_run(give_up);
    world_end();
}

// ---- a scheduler that is lost ----

static const char token[] = "sixteen letters.";
static struct played_self first_scheduler;
static double seconds_to_wait;

static void open_at_node(const char *secret, double seconds, bool again) {
    static struct cargo cargo;
    ac_ref node;
    char client[SYS_ADDRESS_TEXT_BYTES];
    struct sys_address here = remote_address(loop_here);
    sys_address_text(&here, client);
    ck_assert_int_eq(ac_locate(NODE_NAME, &node, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    ck_assert_int_eq(
        ac_send(node, ac_list("open", ac_self(), "played", ac_hold(cargo.told), 0, ac_self(),
                              ac_of_bytes(token, SECRET_BYTES), (const char *)client,
                              ac_of_bytes(secret, sizeof token - 1), seconds, again)),
        0);
    cargo_close(&cargo);
}

struct told_worker {
    int64_t number;
    ac_ref worker;
};

// What an agent has been told.
struct heard {
    ac_ref host;
    bool ready, gone, kept;
    int64_t kept_first;  // of those that were kept
    int64_t gone_number; // of one that has ended,
    int64_t gone_begun;
    int64_t gone_call; // it was in
    bool gone_set_up, set_up;
    char gone_text[64];
    struct told_worker workers[4];
    int worker_count;
};

static void hear(struct heard *it) {
    ac_value message, numbers;
    const char *word, *text;
    bool closed;
    ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    if (message_is(message, "host")) {
        ck_assert_int_eq(ac_unpack(message, &word, &it->host, &text), 0);
    } else if (message_is(message, "ready")) {
        it->ready = true;
    } else if (message_is(message, "kept")) {
        it->kept = true;
        ck_assert(!it->ready);
        ck_assert_int_eq(ac_unpack(message, &word, &numbers, &it->set_up), 0);
        ac_value first = ac_at(numbers, 0);
        it->kept_first = ac_int_of(first);
        ac_drop(first);
        ac_drop(numbers);
    } else if (message_is(message, "gone") && !it->gone) {
        it->gone = true;
        ck_assert_int_eq(ac_unpack(message, &word, &it->gone_number, &text, &it->gone_begun,
                                   &closed, &it->gone_call, &it->gone_set_up),
                         0);
        ck_assert(!closed);
        snprintf(it->gone_text, sizeof it->gone_text, "%s", text);
    } else if (message_is(message, "worker")) {
        struct told_worker *worker = &it->workers[it->worker_count++];
        ck_assert_int_le(it->worker_count, 4);
        ck_assert_int_eq(ac_unpack(message, &word, &worker->number, &worker->worker), 0);
    }
    ac_drop(message);
}

static struct heard hear_workers(int count) {
    struct heard it = {.worker_count = 0};
    while (it.worker_count < count)
        hear(&it);
    return it;
}

// Has it run a job that never ends.
static int process_of(ac_ref worker) {
    struct batch batch = {0};
    ac_value message = ac_nil;
    ck_assert_int_eq(ac_send(worker, ac_list("hello", ac_self(), false)), 0);
    ck_assert_int_eq(batch_add(&batch, THING_RUN, ac_of(1), ac_of(1), ac_of("tell_and_stay"),
                               ac_of(ac_self()), ac_of_bool(false)),
                     0);
    ck_assert_int_eq(ac_send(worker, batch_take(&batch, "do")), 0);
    batch_done(&batch);
    for (; message.kind != AC_INT; ac_drop(message))
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
    return (int)ac_int_of(message);
}

// What the first one had: two workers, of which each runs a job.
struct first_had {
    ac_ref host;
    struct told_worker workers[2];
    int processes[2];
};

static ac_value be_first_scheduler(ac_value unused) {
    struct first_had had;
    ck_assert_int_eq(ac_computation_open(&computation), 0); // the program comes to the node
    finish_job(ac_submit(computation, write_text, "stored\n"));
    ck_assert_int_eq(ac_computation_close(computation, AC_FOREVER), 0);
    open_at_node(token, seconds_to_wait, false);
    struct heard heard = hear_workers(2);
    had.host = heard.host;
    for (int i = 0; i < 2; i++) {
        had.workers[i] = heard.workers[i];
        had.processes[i] = process_of(had.workers[i].worker);
    }
    played_say(&had, sizeof had);
    return unused;
}

// Starts a node and the first scheduler, which is killed when it has what it wants.
static struct first_had lose_first_scheduler(void) {
    struct first_had had;
    played_hear(&had, sizeof had);
    for (int i = 0; i < 2; i++)
        handles[i] = world_handle(had.processes[i]);
    played_kill();
    return had;
}

static ac_value adopt(ac_value unused) {
    struct first_had had = lose_first_scheduler();
    ck_assert_int_eq(kill(had.processes[1], SIGKILL), 0);
    ck_assert(world_ends(handles[1], TEST_PATIENCE_S));
    open_at_node(token, 30, true);
    // The one that lives, and one more in the place of the other.
    struct heard heard = hear_workers(2);
    while (!heard.gone)
        hear(&heard);
    ck_assert(ac_ref_equal(heard.host, had.host));
    ck_assert(heard.kept && heard.ready);
    ck_assert(heard.kept_first == had.workers[0].number || heard.kept_first == 2);
    ck_assert_int_eq(heard.gone_number, had.workers[1].number);
    ck_assert_int_eq(heard.gone_begun, 1);
    ck_assert_msg(strstr(heard.gone_text, "killed by signal 9") != NULL, "%s", heard.gone_text);
    for (int i = 0; i < 2; i++)
        if (heard.workers[i].number == had.workers[0].number)
            ck_assert(ac_ref_equal(heard.workers[i].worker, had.workers[0].worker));
        else
            ck_assert_int_eq(heard.workers[i].number, 3);
    ck_assert(!world_ends(handles[0], 0));
    ck_assert_int_eq(ac_send(had.host, ac_list("close")), 0);
    ck_assert(world_ends(handles[0], TEST_PATIENCE_S));
    return unused;
}

static void play_with_two(double seconds, ac_function second) {
    world_make();
    world_start_node("2");
    seconds_to_wait = seconds;
    played_begin(be_first_scheduler, &first_scheduler);
    world_run(second);
    world_end();
}

TEST(a_host_whose_scheduler_is_lost_keeps_its_workers_for_the_next_one) {
    play_with_two(600, adopt);
}

static ac_value wait_in_vain(ac_value unused) {
    (void)lose_first_scheduler();
    for (int i = 0; i < 2; i++)
        ck_assert(world_ends(handles[i], TEST_PATIENCE_S));
    // It is not there any more; there is another, which has kept none.
    open_at_node(token, 600, true);
    struct heard heard = hear_workers(2);
    ck_assert(heard.ready && !heard.kept);
    ck_assert_int_eq(heard.workers[0].number + heard.workers[1].number, 3);
    return unused;
}

TEST(a_host_waits_for_another_scheduler_only_so_long) { play_with_two(0.2, wait_in_vain); }

TEST(a_host_that_is_not_to_wait_ends_with_its_scheduler) { play_with_two(0, wait_in_vain); }

static ac_value do_not_adopt(ac_value unused) {
    struct first_had had = lose_first_scheduler();
    // Of another computation; and of the same, that does not want what there is.
    open_at_node("sixteen letters!", 600, true);
    struct heard heard = hear_workers(2);
    ck_assert(!heard.kept && !ac_ref_equal(heard.host, had.host));
    ck_assert(!world_ends(handles[0], 0));
    open_at_node(token, 600, false);
    heard = hear_workers(2);
    ck_assert(!heard.kept && !ac_ref_equal(heard.host, had.host));
    for (int i = 0; i < 2; i++)
        ck_assert(world_ends(handles[i], TEST_PATIENCE_S));
    return unused;
}

TEST(only_the_one_who_knows_its_token_and_wants_it_gets_what_waits) {
    play_with_two(600, do_not_adopt);
}

// ---- no memory ----

// How many allocations a refusal takes by itself: where one of these fails nobody can be told.
static int allocations_of_refusal(void) {
    int count = 0;
    for (;; count++) {
        ac_value message;
        memory_fail_nth(count + 1);
        int err = ac_send(ac_self(), ac_list("refused", "why", "here"));
        memory_fail_nth(0);
        if (err)
            continue;
        ck_assert_int_eq(ac_receive(&message, ac_after(TEST_PATIENCE_S)), 0);
        ac_drop(message);
        return count;
    }
}

static ac_value refuse_each(ac_value unused) {
    static struct node node;
    int silent = 0, own = allocations_of_refusal();
    bool failed = true;
    node = (struct node){.main = coro_here(), .closed = "it is closed", .name = "here"};
    list_init(&node.hosts);
    for (long n = 1; failed; n++) {
        ac_value message, open = ac_list("open", ac_self(), "test", ac_nil, 1, ac_self(),
                                         ac_of_bytes(token, SECRET_BYTES), "", ac_nil, 0.0, false);
        bool refused = false;
        memory_fail_nth(n);
        host_create(&node, open);
        bool made = node.host_count > 0;
        while (node.host_count > 0 || ac_mailbox_count() > 0)
            if (ac_receive(&message, ac_after(0.2)) == 0) {
                refused |= message_is(message, "refused");
                ac_drop(message);
            }
        failed = memory_has_failed();
        memory_fail_nth(0);
        ac_drop(open);
        silent += made && !refused;
    }
    ck_assert_int_le(silent, own);
    return unused;
}

TEST(who_cannot_be_taken_in_for_want_of_memory_is_told_so) {
    world_make();
    world_run(refuse_each);
    world_clean();
}
