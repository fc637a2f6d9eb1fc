// SPDX-License-Identifier: MIT
// Inside a worker process: runs the jobs of one client. Also the functions that the program
// declares, which client and worker look up here.
//
// A worker is this program, started by a node with the second argument worker_mark and with
// descriptor 3 open on a pipe in which its start-up record lies: the letters "acworker", the length
// of what follows (4 bytes, the lowest first), and the value
//
//     [keys, agent, client's address, number, loopback only?, node's name]
//
// Nothing of it stands in arguments or in the environment, where others could read it. The node
// keeps the other end of the pipe open: when it ends, so does the worker. A program that a person
// starts with that argument finds no such record and goes on as a program.
//
// Messages between the client's agent of the node or, after "hello", its agent of this worker, and
// the worker's main coroutine:
//
//     ["worker", number, worker]                 ready                            worker -> agent
//     of the node
//     ["hello", agent, many]                     I am your agent; many at once?   agent -> worker
//     ["job", id, function, argument]            run it when its turn comes
//     ["cancel", id]                             cancel it, running or not
//     ["recall", id]                             give it back if it has not begun
//     ["started", id, coroutine]                 it runs                          worker -> agent
//     ["ended", id, how, reason, value, seconds] it has ended
//     ["recalled", id]                           it was given back
//
// Jobs begin in the order in which they came: one after the other, or all at once if `many`. A job
// that is cancelled before it began is reported as cancelled. The worker leaves when its agent has
// ended or is lost.
#include "cluster/cluster_private.h"

#include <stdio.h>
#include <stdlib.h>

#include <asyncoro/transfer.h>

enum {
    RECORD_FD = 3,
    RECORD_BYTES_MAX = 1024, // fits into any pipe, so that writing it waits for nobody
    RECORD_ITEMS = 6,
    JOB_STACK_BYTES = 256 << 10 // of a job that has its worker for itself
};

static const char record_magic[8] = {'a', 'c', 'w', 'o', 'r', 'k', 'e', 'r'};
const char worker_mark[] = "--asyncoro-worker";

// What main has told: the one state of the process, because it belongs to the program and not to a
// loop.
static struct {
    const struct ac_job_entry *jobs;
    size_t count;
    const char *program;
    bool known;
    uint64_t client; // in a worker: the process for which it runs jobs; 0: this is none
} declared;

struct task {
    struct list link; // in worker.waiting, or in worker.running
    int64_t id;
    const struct ac_job_entry *entry;
    ac_value argument; // until it begins, then the coroutine's
    ac_ref coroutine;
    ac_time began;
    struct worker *worker;
};

struct worker {
    struct worker_start start;
    ac_ref agent; // "hello" has told; none before
    bool many;
    bool leaving;
    struct list waiting; // tasks that have not begun
    struct list running;
    struct map tasks;  // by id
    struct map by_ref; // those that run, by the id of their reference
};

_Noreturn static void run_process(struct worker_start *start, ac_value held);
static ac_value run_worker(ac_value argument);
static ac_value run_node_watch(ac_value argument);
static void task_free(struct task *task);

// ---- what the program declares ----

void ac_cluster_init_with(int argc, char **argv, const struct ac_job_entry *jobs, size_t count) {
    const char *path = argc > 0 && argv[0] ? argv[0] : "program";
    const char *slash = strrchr(path, '/');
    declared.jobs = jobs;
    declared.count = count;
    declared.program = slash ? slash + 1 : path;
    declared.known = true;
    struct worker_start start;
    ac_value held;
    if (argc >= 2 && strcmp(argv[1], worker_mark) == 0 &&
        worker_start_read(RECORD_FD, &start, &held))
        run_process(&start, held);
}

bool job_entries_known(void) { return declared.known; }

const char *job_program_name(void) { return declared.program ? declared.program : "program"; }

const struct ac_job_entry *job_entry_of(ac_function function) {
    for (size_t i = 0; i < declared.count; i++)
        if (declared.jobs[i].function == function)
            return &declared.jobs[i];
    return NULL;
}

const struct ac_job_entry *job_entry_named(const char *name) {
    for (size_t i = 0; i < declared.count; i++)
        if (strcmp(declared.jobs[i].name, name) == 0)
            return &declared.jobs[i];
    return NULL;
}

int ac_job_file(const char *path, const char *name, ac_time deadline) {
    return declared.client ? ac_transfer_send(declared.client, path, name, deadline) : -ENOTCONN;
}

// ---- the start-up record ----

int worker_start_write(int fd, const struct worker_start *start) {
    char client[SYS_ADDRESS_TEXT_BYTES];
    sys_address_text(&start->client, client);
    ac_value list = ac_list(ac_of_bytes(start->keys.keys, start->keys.count * KEY_BYTES),
                            start->agent, (const char *)client, start->number, start->loopback_only,
                            start->node);
    void *encoded;
    size_t bytes;
    int err = ac_encode(list, &encoded, &bytes);
    ac_drop(list);
    if (err)
        return err;
    uint8_t record[RECORD_BYTES_MAX];
    err = bytes + 12 > sizeof record ? -EMSGSIZE : 0;
    if (!err) {
        memcpy(record, record_magic, sizeof record_magic);
        for (int i = 0; i < 4; i++)
            record[8 + i] = (uint8_t)(bytes >> 8 * i);
        memcpy(record + 12, encoded, bytes);
        err = sys_fd_write(fd, record, bytes + 12);
        digest_wipe(record, sizeof record);
    }
    digest_wipe(encoded, bytes);
    free(encoded);
    return err;
}

bool worker_start_read(int fd, struct worker_start *start, ac_value *held) {
    uint8_t record[RECORD_BYTES_MAX];
    if (sys_pipe_take(fd, record, 12) < 0 || memcmp(record, record_magic, sizeof record_magic) != 0)
        return false;
    size_t bytes = record[8] | (size_t)record[9] << 8 | (size_t)record[10] << 16 |
                   (size_t)record[11] << 24;
    if (bytes > sizeof record || sys_pipe_take(fd, record, bytes) < 0)
        return false;
    *held = ac_decode(record, bytes);
    digest_wipe(record, sizeof record);
    ac_span keys;
    const char *client;
    *start = (struct worker_start){0};
    bool good = ac_count(*held) == RECORD_ITEMS &&
                ac_unpack(*held, &keys, &start->agent, &client, &start->number,
                          &start->loopback_only, &start->node) == 0 &&
                keys.bytes % KEY_BYTES == 0 && keys.bytes > 0 &&
                keys.bytes <= sizeof start->keys.keys && client && start->node &&
                sys_address_parse(client, &start->client);
    if (!good) {
        ac_drop(*held);
        return false;
    }
    memcpy(start->keys.keys, keys.at, keys.bytes);
    start->keys.count = keys.bytes / KEY_BYTES;
    return true;
}

// ---- the process ----

static int start_process(struct loop *loop, struct worker *worker) {
    char name[64];
    snprintf(name, sizeof name, "%.30s@%.24s", job_program_name(), worker->start.node);
    const struct ac_network_options options = {
        .size = sizeof options,
        .name = name,
        .loopback_only = worker->start.loopback_only,
        .no_discovery = true,
    };
    int err = remote_start(loop, &options, &worker->start.keys);
    digest_wipe(&worker->start.keys, sizeof worker->start.keys);
    if (!err)
        err = remote_introduce(loop, worker->start.agent.peer, &worker->start.client);
    const struct ac_spawn_options main = {.size = sizeof main, .name = "worker"};
    if (!err && coro_create(loop, run_worker, ac_of_pointer(worker), &main, true, &err))
        err = 0;
    return err;
}

_Noreturn static void run_process(struct worker_start *start, ac_value held) {
    (void)sys_fd_keep(RECORD_FD);
    (void)
        sys_end_with_parent(); // else it still gets SIGKILL, and only what it has started may stay
    struct worker worker = {.start = *start};
    declared.client = start->agent.peer;
    list_init(&worker.waiting);
    list_init(&worker.running);
    map_init(&worker.tasks);
    map_init(&worker.by_ref);
    digest_wipe(&start->keys, sizeof start->keys);
    int err = 0;
    struct loop *loop = loop_need(&err);
    if (loop)
        err = start_process(loop, &worker);
    if (!err)
        err = ac_run();
    if (err)
        fprintf(stderr, "worker %lld: %s\n", (long long)start->number,
                *ac_network_error() ? ac_network_error() : ac_strerror(err));
    // Jobs are daemons: those that still ran were cancelled when the main coroutine had ended.
    list_each (link, &worker.running)
        task_free(container_of(link, struct task, link));
    list_each (link, &worker.waiting)
        task_free(container_of(link, struct task, link));
    map_done(&worker.tasks);
    map_done(&worker.by_ref);
    ac_drop(held);
    exit(err ? EXIT_FAILURE : EXIT_SUCCESS);
}

// Ends the worker when the node has ended: nobody else holds the other end of the pipe.
static ac_value run_node_watch(ac_value argument) {
    struct coro *main = ac_pointer_of(argument);
    struct sys_handle handle = {0};
    uint8_t byte;
    sys_adopt(main->loop->sys, &handle, RECORD_FD, false);
    struct sys_op op = {.verb = SYS_READ, .handle = &handle, .bytes = &byte, .count = 1};
    int64_t got;
    do
        got = coro_operate(&op, AC_FOREVER);
    while (got > 0);
    sys_close(&handle);
    if (got != -ECANCELED)
        (void)mailbox_put(main, ac_list("leave"));
    return ac_nil;
}

// ---- jobs ----

static void tell(struct worker *worker, ac_value message) {
    int err = ac_send(worker->agent, message);
    if (err)
        trace(TRACE_CLUSTER, "worker %lld: a report did not go out: %s",
              (long long)worker->start.number, ac_strerror(err));
}

static void report_end(struct worker *worker, int64_t id, const struct ac_exit *exit,
                       double seconds) {
    int err = ac_send(worker->agent, ac_list("ended", id, (int)exit->how, exit->reason,
                                             ac_hold(exit->value), seconds));
    if (err == -ENOTSUP || err == -EMSGSIZE || err == -EINVAL)
        tell(worker, ac_list("ended", id, (int)AC_FAILED, err,
                             ac_of_error(err, "the result of the job cannot travel"), seconds));
}

static void task_free(struct task *task) {
    struct worker *worker = task->worker;
    list_remove(&task->link);
    (void)map_take_id(&worker->tasks, (uint64_t)task->id);
    if (ac_ref_is(task->coroutine))
        (void)map_take_id(&worker->by_ref, task->coroutine.id);
    ac_drop(task->argument);
    memory_release(task);
}

// Ends a task that never ran.
static void task_refuse(struct task *task, enum ac_end how, int err, const char *text) {
    struct ac_exit exit = {.how = how, .reason = err, .value = ac_of_error(err, text)};
    report_end(task->worker, task->id, &exit, 0);
    ac_drop(exit.value);
    task_free(task);
}

// The coroutine of a job. The first wait lets the loop hand to the system what was sent.
static ac_value run_task(ac_value it) {
    struct task *task = ac_pointer_of(it);
    ac_function function = task->entry->function;
    ac_value argument = task->argument;
    task->argument = ac_nil;
    int err = ac_sleep_until(ac_now() + 1);
    ac_value result = err ? ac_result(err) : function(argument);
    ac_drop(argument);
    return result;
}

static void task_begin(struct task *task) {
    struct worker *worker = task->worker;
    const struct ac_spawn_options options = {
        .size = sizeof options,
        .name = task->entry->name,
        .stack_bytes = worker->many ? 0 : JOB_STACK_BYTES,
        .daemon = true,
    };
    list_remove(&task->link);
    list_append(&worker->running, &task->link);
    task->began = ac_now();
    ac_ref coroutine = ac_spawn_with(run_task, ac_of_pointer(task), &options);
    int err = ac_ref_error(coroutine);
    if (!err)
        err = map_put_id(&worker->by_ref, coroutine.id, task);
    if (!err) {
        task->coroutine = coroutine;
        err = ac_monitor(coroutine);
    }
    if (!err) {
        tell(worker, ac_list("started", task->id, coroutine));
        return;
    }
    if (ac_ref_is(coroutine))
        (void)ac_cancel(coroutine);
    task_refuse(task, AC_FAILED, err, "the worker could not start it");
}

static void begin_next(struct worker *worker) {
    struct list *link;
    while ((worker->many || list_empty(&worker->running)) &&
           (link = list_first(&worker->waiting)) != NULL)
        task_begin(container_of(link, struct task, link));
}

static void take_job(struct worker *worker, ac_value message) {
    const char *word, *function;
    int64_t id;
    ac_value argument;
    if (ac_unpack(message, &word, &id, &function, &argument) != 0)
        return;
    struct task *task = memory_allocate_zeroed(sizeof *task);
    int err = task ? map_put_id(&worker->tasks, (uint64_t)id, task) : -ENOMEM;
    if (err) {
        ac_drop(argument);
        memory_release(task);
        tell(worker, ac_list("ended", id, (int)AC_FAILED, err, ac_of_error(err, NULL), 0.0));
        return;
    }
    *task = (struct task){.id = id, .argument = argument, .worker = worker};
    list_init(&task->link);
    list_append(&worker->waiting, &task->link);
    task->entry = function ? job_entry_named(function) : NULL;
    if (!task->entry) {
        char text[200];
        snprintf(text, sizeof text,
                 "function '%.80s' is not declared in this program: declare it with AC_JOB",
                 function ? function : "");
        task_refuse(task, AC_FAILED, -ENOSYS, text);
    }
}

static void take_exit(struct worker *worker, struct ac_exit *exit) {
    struct task *task = map_get_id(&worker->by_ref, exit->who.id);
    bool ours = task && ac_ref_equal(task->coroutine, exit->who);
    if (ours) {
        report_end(worker, task->id, exit, (double)(ac_now() - task->began) * 1e-9);
        task_free(task);
    } else if (ac_ref_equal(exit->who, worker->agent) ||
               ac_ref_equal(exit->who, worker->start.agent)) {
        worker->leaving = true;
    }
    ac_drop(exit->value);
}

static void take_cancel(struct worker *worker, ac_value message, bool recall) {
    const char *word;
    int64_t id;
    if (ac_unpack(message, &word, &id) != 0)
        return;
    struct task *task = map_get_id(&worker->tasks, (uint64_t)id);
    if (!task)
        return;
    if (ac_ref_is(task->coroutine)) {
        if (!recall)
            (void)ac_cancel(task->coroutine);
    } else if (recall) {
        tell(worker, ac_list("recalled", id));
        task_free(task);
    } else {
        task_refuse(task, AC_CANCELLED, -ECANCELED, NULL);
    }
}

static void take_hello(struct worker *worker, ac_value message) {
    const char *word;
    if (ac_ref_is(worker->agent) || ac_unpack(message, &word, &worker->agent, &worker->many) != 0)
        return;
    if (ac_monitor(worker->agent) < 0)
        worker->leaving = true;
}

static void take_message(struct worker *worker, ac_value message) {
    struct ac_exit exit;
    if (ac_exit_of(message, &exit))
        take_exit(worker, &exit);
    else if (message_is(message, "job"))
        take_job(worker, message);
    else if (message_is(message, "hello"))
        take_hello(worker, message);
    else if (message_is(message, "cancel"))
        take_cancel(worker, message, false);
    else if (message_is(message, "recall"))
        take_cancel(worker, message, true);
    else if (message_is(message, "leave"))
        worker->leaving = true;
    ac_drop(message);
}

static ac_value run_worker(ac_value argument) {
    struct worker *worker = ac_pointer_of(argument);
    struct coro *self = coro_here();
    const struct ac_spawn_options watch = {.size = sizeof watch, .name = "node", .daemon = true};
    int err = 0;
    if (coro_create(self->loop, run_node_watch, ac_of_pointer(self), &watch, true, &err))
        err = ac_monitor(worker->start.agent);
    if (!err)
        err = ac_send(worker->start.agent, ac_list("worker", worker->start.number, coro_ref(self)));
    ac_value message;
    while (!err && !worker->leaving) {
        err = ac_receive(&message, AC_FOREVER);
        if (!err)
            take_message(worker, message);
        begin_next(worker);
    }
    if (err)
        fprintf(stderr, "worker %lld: the client cannot be reached: %s\n",
                (long long)worker->start.number, ac_strerror(err));
    return ac_nil;
}
