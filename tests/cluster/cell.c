// SPDX-License-Identifier: MIT
// Cells of workers: their folder, their environment, what they may not do, how they ended; nothing
// is left of them, whoever is killed; and a node keeps its folder for itself.
#include "cluster/world.h"

#include <fcntl.h>
#include <sys/stat.h>

// Does as a shell does with a line, and gives what it wrote.
static ac_value run_shell(ac_value line) {
    ac_span span = ac_span_of(line);
    char text[1024] = "", command[512];
    snprintf(command, sizeof command, "%.*s", (int)span.bytes, (const char *)span.at);
    FILE *shell = popen(command, "r");
    size_t count = shell ? fread(text, 1, sizeof text - 1, shell) : 0;
    text[count] = 0;
    if (shell)
        pclose(shell);
    return ac_of((const char *)text);
}
AC_JOB(run_shell)

// Starts a daemon, as such begin; it has the job's standard error, and tells its number.
static pid_t begin_daemon(void) {
    int ends[2];
    pid_t id = 0;
    if (pipe(ends) < 0)
        return -1;
    if (fork() == 0) {
        setsid();
        pid_t daemon = fork();
        if (daemon > 0) {
            (void)!write(ends[1], &daemon, sizeof daemon);
            _exit(0);
        }
        for (;;)
            pause();
    }
    (void)!read(ends[0], &id, sizeof id);
    return id;
}

static ac_value have_daemon(ac_value to) {
    (void)ac_send(ac_ref_of(to), ac_of((int)begin_daemon()));
    return ac_result(ac_suspend(NULL, AC_FOREVER));
}
AC_JOB(have_daemon)

static ac_value write_and_crash(ac_value unused) {
    (void)unused;
    (void)begin_daemon();
    (void)sys_fd_write(STDERR_FILENO, "all is lost\n", 12);
    abort();
}
AC_JOB(write_and_crash)

static ac_value take_memory(ac_value bytes) {
    for (int64_t left = ac_int_of(bytes); left > 0; left -= 1 << 20) {
        char *it = malloc(1 << 20);
        if (it)
            memset(it, 1, 1 << 20);
        if (ac_sleep(0.001) < 0)
            break;
    }
    (void)ac_sleep(60);
    return ac_nil;
}
AC_JOB(take_memory)

JOBS_OF_THIS_TEST

static ac_computation *computation;

static const char *shell(const char *line) {
    static char text[1024];
    struct ac_job_exit job;
    ck_assert_int_gt(ac_submit(computation, run_shell, line), 0);
    ck_assert(world_next_exit(&job, 30));
    ck_assert_int_eq(job.exit.how, AC_FINISHED);
    ac_span span = ac_span_of(job.exit.value);
    snprintf(text, sizeof text, "%.*s", (int)span.bytes, (const char *)span.at);
    ac_drop(job.exit.value);
    return text;
}

static ac_value look_around(ac_value unused) {
    (void)unused;
    char folder[512];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    snprintf(folder, sizeof folder, "%s", shell("pwd"));
    folder[strcspn(folder, "\n")] = 0;
    ck_assert_ptr_nonnull(strstr(folder, "/work/"));
    ck_assert_str_eq(shell("echo x >file; ls; test $HOME = $TMPDIR && cd && ls; stat -c %a ."),
                     "file\nfile\n700\n");
    ck_assert_str_eq(shell("env | grep -e KEY -e SECRET -e XDG"), "");
    struct sys_sandbox_parts parts;
    sys_sandbox_probe(&parts, false);
    if (parts.landlock) {
        char line[512];
        snprintf(line, sizeof line, "cat %s/key %s/secret; echo x >%s/x; ls %s/x", world_folder,
                 world_folder, world_folder, world_folder);
        ck_assert_str_eq(shell(line), "");
    } else {
        fprintf(stderr, "# this kernel has no Landlock: writing outside is not tested\n");
    }
    ck_assert_str_eq(shell("grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t1\n");
    int err = ac_computation_close(computation, AC_FOREVER);
    for (int i = 0; i < 1000 && access(folder, F_OK) == 0; i++)
        ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_ne(access(folder, F_OK), 0);
    return ac_result(err);
}

TEST(a_job_has_its_folder_and_nothing_of_the_nodes) {
    char path[96];
    world_make();
    setenv("MY_SECRET", "1", 1);
    snprintf(path, sizeof path, "%s/secret", world_folder);
    FILE *file = fopen(path, "w");
    fputs("secret\n", file);
    fclose(file);
    world_start_node("1");
    world_run(look_around);
    world_end();
}

static ac_value look_around_strictly(ac_value unused) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    // A process number of its own kind, and a /tmp where nothing lies but the way to its folder.
    ck_assert_str_eq(shell("test $$ -lt 100 && echo x >/tmp/x && cat /tmp/x; ls /tmp | wc -l; "
                           "echo y >file && cat file"),
                     strncmp(world_folder, "/tmp/", 5) == 0 ? "x\n2\ny\n" : "x\n1\ny\n");
    int err = ac_computation_close(computation, AC_FOREVER);
    return err ? ac_result(err) : unused;
}

TEST(a_strict_node_gives_workers_namespaces) {
    struct sys_sandbox_parts parts;
    sys_sandbox_probe(&parts, false);
    if (!parts.namespaces)
        TEST_SKIP("this system gives us no namespaces");
    world_make();
    world_start_node_with("1", "--sandbox", "strict");
    world_run(look_around_strictly);
    world_end();
}

static ac_value write_outside(ac_value unused) {
    char line[256];
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    snprintf(line, sizeof line, "echo x >%s/x && cat %s/x", world_folder, world_folder);
    ck_assert_str_eq(shell(line), "x\n");
    int err = ac_computation_close(computation, AC_FOREVER);
    return err ? ac_result(err) : unused;
}

TEST(a_node_without_sandbox_is_to_be_asked_for) {
    world_make();
    world_start_node_with("1", "--sandbox", "none");
    world_run(write_outside);
    world_end();
}

// True if that process is gone within the time: it is nobody's child here.
static bool is_gone(pid_t id, double seconds) {
    int handle = (int)syscall(SYS_pidfd_open, id, 0);
    bool gone = handle < 0 || world_ends(handle, (int)seconds);
    sys_fd_close(handle);
    return gone;
}

static pid_t start_daemon(void) {
    ac_value message;
    pid_t id = 0;
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, have_daemon, ac_self()), 0);
    while (id == 0) {
        ck_assert_int_eq(ac_receive(&message, ac_after(30)), 0);
        if (message.kind == AC_INT)
            id = (pid_t)ac_int_of(message);
        ac_drop(message);
    }
    ck_assert_int_gt(id, 0);
    ck_assert_int_eq(kill(id, 0), 0);
    return id;
}

static ac_value lose_node(ac_value unused) {
    (void)unused;
    pid_t id = start_daemon();
    sys_process_end(&world_node, true, false);
    ck_assert(is_gone(id, 20)); // a second, where nobody else is at work
    return ac_result(ac_computation_close(computation, AC_NOW));
}

TEST(no_daemon_outlives_its_node) {
    world_begin("1");
    world_run(lose_node);
    world_clean();
}

static ac_value close_computation(ac_value unused) {
    (void)unused;
    pid_t id = start_daemon();
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
    ck_assert(is_gone(id, 20));
    return ac_nil;
}

TEST(no_daemon_outlives_its_computation) {
    world_begin("1");
    world_run(close_computation);
    world_end();
}

static void end_says(ac_function function, int64_t argument, const char *first,
                     const char *second) {
    ck_assert_int_eq(ac_computation_open(&computation), 0);
    ck_assert_int_gt(ac_submit(computation, function, argument), 0);
    struct ac_status status = world_await(AC_WORKER_GONE, 60);
    ck_assert_msg(strstr(status.text, first) && strstr(status.text, second), "%s", status.text);
    ck_assert_int_eq(ac_computation_close(computation, AC_NOW), 0);
}

static ac_value crash(ac_value unused) {
    end_says(write_and_crash, 0, "killed by signal 6 (Aborted), ", "it wrote last: ");
    return unused;
}

TEST(how_a_worker_ended_is_told) {
    world_begin("1");
    world_run(crash);
    world_end();
}

#ifndef SYS_SANITIZED
static ac_value exceed(ac_value unused) {
    struct sys_sandbox_parts parts;
    sys_sandbox_probe(&parts, false);
    if (parts.children)
        end_says(take_memory, (int64_t)400 << 20, "out of memory, it may use 100 MiB", "");
    else
        fprintf(stderr, "# this kernel tells no children: not tested\n");
    return unused;
}

TEST(a_worker_that_takes_too_much_memory_is_ended) {
    world_make();
    world_start_node_with("1", "--worker-memory", "100M");
    world_run(exceed);
    world_end();
}
#endif

static int node_says(const struct node_options *options, char text[256]) {
    struct node_options all = *options;
    all.loopback_only = true;
    return node_run(&all, text);
}

TEST(a_second_node_on_a_folder_is_refused) {
    char text[256], folder[96], path[128];
    world_make();
    snprintf(folder, sizeof folder, "%s/node", world_folder);
    world_start_node_with("1", "--folder", folder);
    ck_assert_int_eq(node_says(&(struct node_options){.folder = folder}, text), -EBUSY);
    ck_assert_ptr_nonnull(strstr(text, "another node uses the folder "));
    ck_assert_ptr_nonnull(strstr(text, folder));
    // The store is there, and nothing in the cache folder.
    snprintf(path, sizeof path, "%s/contents", folder);
    ck_assert_int_eq(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/asyncoro", world_folder);
    ck_assert_int_ne(access(path, F_OK), 0);
    world_end();
}

TEST(what_cannot_be_is_said_before_the_node_is_there) {
    char text[256], folder[96], far[128];
    world_make();
    ck_assert_int_eq(node_says(&(struct node_options){.folder = "node"}, text), -EINVAL);
    ck_assert_str_eq(text, "--folder: 'node' does not begin with '/'");
    ck_assert_int_eq(node_says(&(struct node_options){.readable = "/usr::data:/x"}, text), -EINVAL);
    ck_assert_str_eq(text, "--read: 'data' does not begin with '/'");
    ck_assert_int_eq(node_says(&(struct node_options){.writable = "data"}, text), -EINVAL);
    ck_assert_str_eq(text, "--write: 'data' does not begin with '/'");
    ck_assert_int_eq(
        node_says(&(struct node_options){.no_unix_sockets = true, .sandbox = SYS_SANDBOX_NONE},
                  text),
        -ENOTSUP);
    ck_assert_str_eq(text, "--no-unix-sockets: not with --sandbox none");
    if (geteuid() != 0) {
        ck_assert_int_eq(node_says(&(struct node_options){.user = "root"}, text), -EPERM);
        ck_assert_str_eq(text, "--user: only root can run workers as somebody else");
    } else {
        ck_assert_int_eq(node_says(&(struct node_options){.user = "nobody"}, text), -EINVAL);
        ck_assert_ptr_nonnull(strstr(text, "--folder"));
        snprintf(folder, sizeof folder, "%s/closed", world_folder);
        ck_assert_int_eq(mkdir(folder, 0700), 0);
        snprintf(far, sizeof far, "%s/node", folder);
        ck_assert_int_eq(node_says(&(struct node_options){.user = "nobody", .folder = far}, text),
                         -EACCES);
        ck_assert_ptr_nonnull(strstr(text, "the user 'nobody' cannot get to the folder "));
    }
    world_clean();
}
