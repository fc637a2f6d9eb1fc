// SPDX-License-Identifier: MIT
// The node daemon: it ends in order, with all that it has started, and starts no second time on one
// key that is bad.
#include "cluster/world.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static ac_value tell_and_stay(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)getpid()));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(tell_and_stay)

// Tells who it is, and ends with the first message.
static ac_value tell_and_wait(ac_value to) {
    ac_value message = ac_nil;
    int err = ac_send(ac_ref_of(to), ac_self());
    if (!err)
        err = ac_receive(&message, AC_FOREVER);
    ac_drop(message);
    return ac_result(err);
}
AC_JOB(tell_and_wait)

JOBS_OF_THIS_TEST

static ac_value stop_under_load(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    struct ac_job_exit job;
    ac_value message;
    int worker = -1;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, tell_and_stay, ac_self()), 0);
    while (worker < 0) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        if (message.kind == AC_INT)
            worker = world_handle(ac_int_of(message));
        ac_drop(message);
    }
    world_stop_node(); // checks that it ends with 0
    ck_assert(world_ends(worker, 10));
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    ck_assert(!world_await(AC_WORKER_GONE, 20).lost); // it was asked to end
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_node_that_is_asked_to_end_takes_its_workers_along) {
    world_begin("1");
    world_run(stop_under_load);
    world_clean();
}

static ac_value ask_by_message(ac_value unused) {
    (void)unused;
    ac_computation *computation;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ac_ref node = world_await(AC_NODE_READY, 20).node;
    ck_assert_int_eq(ac_send(node, ac_list("stop")), 0);
    ck_assert_int_eq(ac_sleep(0.3), 0);
    ck_assert_int_eq(ac_deliver(node, ac_nil, ac_after(20)), 1); // it goes on
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_message_cannot_end_a_node) {
    world_begin("1");
    world_run(ask_by_message);
    world_clean();
}

TEST(a_key_that_others_can_read_is_refused) {
    char text[256], path[96];
    world_make();
    snprintf(path, sizeof path, "%s/open", world_folder);
    int fd = sys_file_create(path);
    ck_assert_int_eq(fchmod(fd, 0644), 0);
    sys_fd_close(fd);
    ck_assert_int_eq(
        node_run(&(struct node_options){.key_file = path, .loopback_only = true}, text), -EACCES);
    ck_assert_str_ne(text, "");
    world_clean();
}

TEST(a_key_that_jobs_could_read_is_refused) {
    char text[256], path[96], link[96];
    struct sys_sandbox_parts parts;
    world_make();
    sys_sandbox_probe(&parts, false);
    if (!parts.landlock)
        TEST_SKIP("this kernel has no Landlock");
    snprintf(path, sizeof path, "%s/key", world_folder);
    snprintf(link, sizeof link, "%s/../%s", world_folder, strrchr(world_folder, '/') + 1);
    struct node_options options = {.readable = link, .loopback_only = true};
    ck_assert_int_eq(node_run(&options, text), -EACCES);
    ck_assert_msg(strstr(text, "jobs could read the key") && strstr(text, path), "%s", text);
    options = (struct node_options){.writable = world_folder, .loopback_only = true};
    ck_assert_int_eq(node_run(&options, text), -EACCES);
    options = (struct node_options){.key_file = "/etc/asyncoro-key", .loopback_only = true};
    ck_assert_int_eq(node_run(&options, text), -EACCES);
    ck_assert_ptr_nonnull(strstr(text, "/etc/asyncoro-key"));
    world_clean();
}

// ---- its life ----

static ac_computation *computation;

// What a node says of itself, in `key`.
static void ask_node(ac_ref desk, ac_value question, const char *key, char text[64]) {
    ac_value node;
    ck_assert_int_eq(ac_call(desk, question, &node, ac_after(20)), 0);
    ac_value it = ac_get(node, key);
    (void)ac_format(text, 64, "%v", it);
    ac_drop(it);
    ac_drop(node);
}

static ac_ref find_desk(void) {
    ac_ref desk;
    ck_assert_int_eq(ac_locate(NODE_DESK_NAME, &desk, ac_after(20)), 0);
    return desk;
}

static void await_state(const char *state) {
    ac_ref desk = find_desk();
    char text[64] = "";
    for (ac_time until = ac_after(20); strcmp(text, state) != 0 && ac_now() < until;) {
        ask_node(desk, ac_of("tell"), "state", text);
        ck_assert_int_eq(ac_sleep(0.005), 0);
    }
    ck_assert_str_eq(text, state);
}

// Opens the computation and has a job run, which it returns.
static ac_ref run_a_job(void) {
    ac_value message;
    ac_ref job = ac_no_ref;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, tell_and_wait, ac_self()), 0);
    while (!ac_ref_is(job)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        job = message.kind == AC_REF ? ac_ref_of(message) : ac_no_ref;
        ac_drop(message);
    }
    return job;
}

static void end_the_job(ac_ref job) {
    struct ac_job_exit exit;
    ck_assert_int_eq(ac_send(job, "end"), 0);
    ck_assert(world_next_exit(&exit, 20));
    ck_assert_int_eq(exit.exit.how, AC_FINISHED);
    ac_drop(exit.exit.value);
}

static void ck_node_ends(void) {
    struct sys_process_end end;
    ck_assert(world_ends(world_node.handle, 30));
    ck_assert_int_eq(sys_process_reap(&world_node, &end), 0);
    ck_assert(!end.by_signal);
    ck_assert_int_eq(end.code, 0);
}

// Another computation is refused, with a reason.
static ac_value be_refused(ac_value why) {
    ac_computation *other;
    ck_assert_int_eq(ac_computation_open(&other), 0);
    struct ac_status status = world_await(AC_NODE_REFUSED, 20);
    ck_assert_msg(strstr(status.text, ac_text_of(why)), "%s", status.text);
    return ac_result(ac_computation_close(other, AC_NOW));
}

static void ck_refused(const char *why) {
    ac_ref other = ac_spawn(be_refused, ac_of(why), .joinable = true, .stack_bytes = 256 << 10);
    ck_assert_int_eq(ac_join(other, NULL, ac_after(30)), 0);
}

static ac_value drain_by_signal(ac_value unused) {
    (void)unused;
    ac_ref job = run_a_job();
    // `timeout` and others send two at once: they are one.
    ck_assert_int_eq(kill(world_node.id, SIGSTOP), 0);
    ck_assert_int_eq(kill(world_node.id, SIGTERM), 0);
    ck_assert_int_eq(kill(world_node.id, SIGINT), 0);
    ck_assert_int_eq(kill(world_node.id, SIGCONT), 0);
    await_state("draining");
    ck_refused("it was asked to end");
    end_the_job(job);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(a_signal_lets_what_runs_end_and_takes_nothing_in) {
    world_node_options[0] = "--grace";
    world_node_options[1] = "600s";
    world_begin("1");
    world_run(drain_by_signal);
    ck_node_ends();
    world_clean();
}

static ac_value signal_twice(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    (void)run_a_job();
    sys_process_end(&world_node, false, false);
    await_state("draining");
    do // until it is the second one
        sys_process_end(&world_node, false, false);
    while (!world_ends(world_node.handle, 1));
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(a_second_signal_stops_it) {
    world_node_options[0] = "--grace";
    world_node_options[1] = "600s";
    world_begin("1");
    world_run(signal_twice);
    ck_node_ends();
    world_clean();
}

static ac_value let_the_grace_pass(ac_value unused) {
    (void)unused;
    struct ac_job_exit job;
    char text[64];
    (void)run_a_job();
    ask_node(find_desk(), ac_list("drain", 0.2), "state", text);
    ck_assert(world_next_exit(&job, 20));
    ck_assert_int_eq(job.exit.how, AC_LOST);
    ac_drop(job.exit.value);
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(it_drains_on_a_message_and_stops_when_the_grace_is_over) {
    world_node_options[0] = "--grace";
    world_node_options[1] = "600s";
    world_begin("1");
    world_run(let_the_grace_pass);
    ck_node_ends();
    world_clean();
}

TEST(it_ends_when_it_is_idle) {
    world_node_options[0] = "--idle";
    world_node_options[1] = "1s";
    world_begin("1");
    ck_node_ends();
    world_clean();
}

static int input[2];

static ac_value close_input(ac_value unused) {
    (void)unused;
    (void)run_a_job();
    await_state("serving");
    sys_fd_close(input[1]);
    ck_assert(world_ends(world_node.handle, 20));
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(it_stops_with_its_standard_input) {
    ck_assert_int_eq(sys_pipe(input), 0);
    ck_assert_int_eq(sys_fd_write(input[1], "what it reads means nothing\n", 28), 0);
    world_node_input = input[0];
    world_node_options[0] = "--die-with-stdin";
    world_begin("1");
    sys_fd_close(input[0]);
    world_run(close_input);
    ck_node_ends();
    world_clean();
}

static ac_value see_what_it_was_told(ac_value unused) {
    (void)unused;
    char text[64];
    ac_value answer;
    ac_ref desk = find_desk();
    // A question that is none, and is no text in C, harms nobody.
    ck_assert_int_eq(ac_call(desk, ac_of_text_span("te\0l", 4), &answer, ac_after(0.1)),
                     -ETIMEDOUT);
    ask_node(desk, ac_of("tell"), "memory", text);
    ck_assert_str_eq(text, "3221225472");
    ask_node(desk, ac_of("tell"), "tags", text);
    ck_assert_ptr_nonnull(strstr(text, "a100"));
    ask_node(desk, ac_of("tell"), "workers", text);
    ck_assert_str_eq(text, "2");
    return ac_nil;
}

TEST(it_keeps_what_it_was_told_for_those_who_ask) {
    world_node_options[0] = "--memory=3G";
    world_node_options[1] = "--tags=gpu=a100,disk=ssd";
    world_begin("2");
    world_run(see_what_it_was_told);
    world_end();
}

// Starts a node that no beacon reaches, and is found by it: as the option says, or a file.
static ac_value be_sought(ac_value by_file) {
    char address[64], path[96], port[16];
    ck_assert_int_eq(ac_network_address(address), 0);
    snprintf(path, sizeof path, "%s/scheduler", world_folder);
    ck_assert_int_eq(sys_file_create_secret(path, address, strlen(address)), 0);
    snprintf(port, sizeof port, "%d", test_hold_port(NULL));
    world_node_options[0] = "--discovery-port";
    world_node_options[1] = port;
    world_node_options[2] = "--scheduler";
    world_node_options[3] = ac_bool_of(by_file) ? path : address;
    world_start_node("1");
    await_state("serving");
    return ac_nil;
}

static ac_value be_sought_by_address(ac_value unused) {
    (void)unused;
    return be_sought(ac_of(false));
}

TEST(it_connects_to_its_scheduler) {
    world_make();
    world_run(be_sought_by_address);
    world_end();
}

static ac_value be_sought_by_file(ac_value unused) {
    (void)unused;
    return be_sought(ac_of(true));
}

TEST(it_connects_to_the_scheduler_that_a_file_names) {
    world_make();
    world_run(be_sought_by_file);
    world_end();
}

// ---- nodes within a process of the test ----

static int *minute; // shared with the child: its clock

static int minute_now(void) { return __atomic_load_n(minute, __ATOMIC_SEQ_CST); }

// Runs a node in a child until it is ready. `before` runs in its loop.
static pid_t fork_node(const struct node_options *options, ac_function before) {
    int ends[2];
    char line[128] = "", text[256];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (before)
            ac_spawn(before, ac_nil, .daemon = true);
        _exit(node_run(options, text) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    close(ends[1]);
    for (size_t n = 0; n < sizeof line - 1 && !strchr(line, '\n'); n++)
        ck_assert_int_eq(read(ends[0], line + n, 1), 1);
    ck_assert_ptr_nonnull(strstr(line, "ready"));
    close(ends[0]);
    return pid;
}

static void ck_child_ends(pid_t pid) {
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static ac_value follow_the_hours(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    struct ac_status status = world_await(AC_NODE_REFUSED, 20);
    ck_assert_msg(strstr(status.text, "hours"), "%s", status.text);
    await_state("resting");
    __atomic_store_n(minute, 720, __ATOMIC_SEQ_CST);
    (void)world_await(AC_NODE_READY, 20); // the same computation is served now
    ck_assert_int_gt(ac_submit(computation, tell_and_wait, ac_self()), 0);
    __atomic_store_n(minute, 0, __ATOMIC_SEQ_CST);
    (void)world_await(AC_NODE_GONE, 20); // when the grace is over
    await_state("resting");
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(it_serves_in_its_hours_alone, .seconds_max = 120) {
    struct hours noon;
    world_make();
    minute = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(minute, MAP_FAILED);
    ck_assert(hours_read("12:00-13:00", &noon));
    pid_t pid = fork_node(&(struct node_options){.name = "noon",
                                                 .workers = 1,
                                                 .loopback_only = true,
                                                 .hours = &noon,
                                                 .minute = minute_now,
                                                 .look_ns = 10 * 1000 * 1000,
                                                 .grace_ns = 1000 * 1000 * 1000},
                          NULL);
    world_run(follow_the_hours);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_child_ends(pid);
    world_clean();
}

static ac_value drain_without_right(ac_value unused) {
    (void)unused;
    ac_value answer = ac_nil;
    ac_ref desk = find_desk();
    int err;
    do { // until it has met us
        ck_assert_int_eq(ac_sleep(0.05), 0);
        err = ac_call(desk, "tell", &answer, ac_after(2));
        ac_drop(answer);
        answer = ac_nil;
    } while (err == 0);
    ck_assert_int_lt(ac_call(desk, ac_list("drain", 0.0), &answer, ac_after(2)), 0);
    return ac_nil;
}

TEST(who_may_not_ship_code_may_not_drain) {
    world_make();
    pid_t pid = fork_node(
        &(struct node_options){.name = "strict", .workers = 1, .loopback_only = true},
        world_restrict);
    int handle = world_handle(pid);
    world_run(drain_without_right);
    ck_assert(!world_ends(handle, 1));
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_child_ends(pid);
    close(handle);
    world_clean();
}

// Those that play the agent of a scheduler and the supplier of a client.
static struct cargo cargo;

// The next message that begins with that word, to be dropped.
static ac_value await_word(const char *word) {
    ac_value message = ac_nil;
    do {
        ac_drop(message);
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
    } while (!message_is(message, word));
    return message;
}

static void await_need(ac_ref *host, uint64_t *round) {
    const char *word;
    ac_span secret;
    ac_value wanted, message = await_word("need");
    ck_assert_int_eq(ac_unpack(message, &word, host, &secret, &wanted, round), 0);
    ac_drop(wanted);
    ac_drop(message);
}

static void await_refusal(const char *why) {
    const char *word, *text, *name;
    ac_value message = await_word("refused");
    ck_assert_int_eq(ac_unpack(message, &word, &text, &name), 0);
    ck_assert_str_eq(text, why);
    ac_drop(message);
}

// Has the node take this program in, as far as it asks for it.
static void open_at_node(ac_ref *host, uint64_t *round) {
    static struct elf_facts facts;
    char problem[PROBLEM_BYTES];
    ac_value message;
    ac_ref node = ac_no_ref;
    ck_assert_int_eq(cargo_open(&cargo, NULL), 0);
    ck_assert_int_eq(elf_read(cargo.items[0].fd, &facts, problem), 0);
    ck_assert_int_eq(remote_follow(NODE_NAME), 0);
    while (!ac_ref_is(node)) {
        ck_assert_int_eq(ac_receive(&message, ac_after(20)), 0);
        (void)remote_holder_of(message, &node);
        ac_drop(message);
    }
    const struct content *content = &cargo.items[0].content;
    ac_value item = ac_list(ac_of_bytes(content->digest, DIGEST_BYTES), content->bytes);
    ac_value variant = ac_list(0, elf_to_value(&facts), "test", ac_nil);
    ac_value told = ac_list(ac_list(item), ac_list(variant), ac_nil, ac_nil, false);
    ck_assert_int_eq(ac_send(node, ac_list("open", ac_self(), "test", told, 1, ac_self(),
                                           ac_of_bytes("sixteen letters.", SECRET_BYTES), "",
                                           ac_nil, 0.0, false)),
                     0);
    await_need(host, round);
}

static void send_piece(ac_ref host, uint64_t offset, uint64_t round) {
    char piece[100];
    ck_assert_int_eq(sys_file_read_at(cargo.items[0].fd, offset, piece, sizeof piece), 0);
    ck_assert_int_eq(
        ac_send(host, ac_list("piece", 0, offset, ac_of_bytes(piece, sizeof piece), round)), 0);
}

// Sends one piece and then nothing.
static ac_value stall(ac_value unused) {
    ac_ref host;
    uint64_t round;
    open_at_node(&host, &round);
    send_piece(host, 0, round);
    await_refusal("the upload of the program has stopped");
    cargo_close(&cargo);
    return unused;
}

TEST(an_upload_that_stops_is_refused) {
    world_make();
    pid_t pid = fork_node(
        &(struct node_options){
            .name = "here", .workers = 1, .loopback_only = true, .upload_ns = 300 * 1000 * 1000},
        NULL);
    world_run(stall);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_child_ends(pid);
    world_clean();
}

// As the client, and as another node that is to pass it on.
static ac_value pass_on_badly(ac_value unused) {
    ac_ref host;
    uint64_t round;
    open_at_node(&host, &round);
    for (int way = 0; way < 3; way++) {
        uint64_t before = round;
        ck_assert_int_eq(ac_send(host, ac_list("from", ac_self(), "", round)), 0);
        send_piece(host, 0, round);
        if (way == 0)
            send_piece(host, 1, round); // not what it should be
        else if (way == 1)
            ck_assert_int_eq(ac_send(host, ac_list("done", round)), 0); // not all
        await_need(&host, &round);                                      // or nothing more
        ck_assert_uint_eq(round, before + 1);
    }
    // Whom nobody else could be asked for is the client.
    send_piece(host, 1, round);
    await_refusal("the upload cannot be stored: the other side broke the protocol");
    cargo_close(&cargo);
    return unused;
}

TEST(what_another_node_passes_on_badly_the_client_is_asked_for) {
    world_make();
    pid_t pid = fork_node(
        &(struct node_options){
            .name = "here", .workers = 1, .loopback_only = true, .upload_ns = 2000 * 1000 * 1000},
        NULL);
    world_run(pass_on_badly);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_child_ends(pid);
    world_clean();
}

static ac_value lose_all(ac_value unused) {
    ck_assert_int_eq(ac_mailbox_limit(1, AC_REFUSE), 0);
    (void)ac_suspend(NULL, AC_FOREVER);
    return unused;
}

// Each takes long.
static ac_value ask_for_gifts(ac_value unused) {
    enum { ASKED = 40, ITEMS = 500 };
    ac_ref host, to = ac_spawn(lose_all, ac_nil, .daemon = true);
    ac_value items[ITEMS];
    uint64_t round;
    open_at_node(&host, &round);
    struct cargo_sending sending = {.wanted = ac_nil};
    cargo_send(&sending, ac_list(0), round);
    for (bool over = false; !over;)
        ck_assert_int_eq(ac_send(host, cargo_next(&cargo, &sending, &over)), 0);
    cargo_send_end(&sending);
    ac_drop(await_word("have"));
    for (int i = 0; i < ITEMS; i++)
        items[i] = ac_of(0);
    ac_value wanted = ac_list_of(items, ITEMS);
    for (int i = 0; i < ASKED; i++)
        ck_assert_int_eq(ac_send(host, ac_list("give", to, "", ac_hold(wanted), i)), 0);
    ac_drop(wanted);
    ac_drop(await_word("cannot"));
    cargo_close(&cargo);
    return unused;
}

TEST(a_node_passes_on_only_so_much_at_a_time) {
    world_make();
    pid_t pid = fork_node(
        &(struct node_options){.name = "here", .workers = 1, .loopback_only = true}, NULL);
    world_run(ask_for_gifts);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_child_ends(pid);
    world_clean();
}

TEST(a_manager_of_services_is_told) {
    char text[256] = "", path[96];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    world_make();
    snprintf(path, sizeof path, "%s/notify", world_folder);
    strcpy(name.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    setenv("NOTIFY_SOCKET", path, 1);
    world_start_node("1");
    ck_assert_int_gt(recv(fd, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, "READY=1");
    world_stop_node();
    memset(text, 0, sizeof text);
    ck_assert_int_gt(recv(fd, text, sizeof text - 1, 0), 0);
    ck_assert_ptr_nonnull(strstr(text, "STOPPING=1"));
    close(fd);
    unlink(path);
    world_clean();
}
