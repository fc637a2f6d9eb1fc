// SPDX-License-Identifier: MIT
// Inside a worker process: runs the jobs of one client. Also the functions that the program
// declares, which client and worker look up here.
//
// A worker is this program, started by a node with the second argument worker_mark and with
// descriptor 3 open on a pipe in which its start-up record lies (record.c). The node keeps the
// other end of the pipe open: when it ends, so does the worker. A program that a person starts with
// that argument finds no such record and goes on as a program.
//
// A worker that *stays* does so when its scheduler is lost (but not when that ends in order): it
// goes on with the jobs that it has. Where another scheduler is started instead and finds it, the
// node tells it so through that pipe, and all begins again with "worker", once all that the lost
// one has sent has come.
//
// Descriptor 4 is memory (struct worker_marks) in which the worker counts the jobs that it has come
// to, of all that it was sent: when it has ended the node tells that number, which is exact however
// it ended, where its own last words may have been lost in a connection that was reset. Likewise
// the node sees there whether a set-up has ended it, and whether the node was set up here.
//
// Messages between the scheduler's agent of the node or, after "hello", its agent of this worker,
// and the worker's main coroutine:
//
//     ["worker", number, worker]          ready                  worker -> agent of the node
//     ["hello", agent, many]              I am your agent; many at once?   agent -> worker
//     ["do", things...]                   THING_RUN, _RECALL, _CANCEL      agent -> worker
//     ["tell", things...]                 THING_BEGUN, _ENDED, _BACK       worker -> agent
//     ["ask"]                             do you know all that?            worker -> agent
//     ["go"]                              I do                             agent -> worker
//     ["call", what, function, argument]  run this (enum place_call)       agent -> worker
//     ["called", what, why]               it has ended; why it failed, ""  worker -> agent
//
// What is called runs alone: a set-up before there are jobs; before a clean-up the jobs that are
// left are cancelled. After a set-up that failed the worker leaves.
//
// and, if it stays:
//
//     ["all", jobs, calls, runs]          that was all I had to tell you when you said hello; so
//                                         many jobs were given to me, ever; these calls (bits, by
//                                         enum place_call) have ended well here; this one runs, or
//                                         none                              worker -> agent
//     ["taken", tells]                    the client has what was in so many of your tells since
//                                         hello: keep them no longer       agent -> worker
//
// It keeps each "tell" until then, and tells a new agent: those that it has kept; THING_BEGUN,
// again perhaps, of all that have begun; THING_HAS of those that have not; then "all".
//
// Jobs begin in the order in which they came: one after the other, or all at once if `many`. What
// is about to run is told before it runs, and of a job that may take its time the message is handed
// to the system. Of functions whose jobs are short, some are told of at once, and run one after the
// other; that news is mostly on its way together with that of their ends. Should the worker crash,
// descriptor 4 tells what it had begun. One that had begun at a worker that was lost may be what
// ended it: it begins alone, and only when the agent has said that it knows all that went before. A
// job that is cancelled before it began is reported as cancelled. The worker leaves when its agent
// has ended or, unless it stays, is lost.
//
// Where scheduler and client are two processes, the end of a job and what it has sent to its client
// go two ways. So that the client sees the end last, it is told when what was sent to the client
// has arrived there.
#include "cluster/cluster_private.h"

#include <stdio.h>
#include <stdlib.h>

#include <asyncoro/transfer.h>

enum {
    RECORD_FD = 3,
    MARKS_FD = 4,
    JOB_STACK_BYTES = 256 << 10, // of a job that has its worker for itself
    ROUND_JOBS_MAX = 256,        // told of at once
    ROUND_NS = 200 * 1000,       // what they may take together, by the mean of their function
    SHORT_NS = 100 * 1000,       // a job that takes longer is told of alone
    MEAN_OF = 8,                 // jobs: how quickly the mean forgets
    CALL_TEXT_BYTES = 256        // of why a set-up or clean-up failed
};

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

// A job here.
struct task {
    struct list link; // in worker.waiting, .round or .running
    int64_t number;
    uint64_t place; // among all that the worker was sent, from 1
    bool suspect;   // had begun elsewhere when that worker was lost
    uint32_t attempt;
    const struct ac_job_entry *entry; // NULL: not declared
    uint32_t function;                // its number, among the means
    ac_value argument;                // until it begins, then the coroutine's
    struct coro *coro;                // since it was told of
    struct end_watch watch;
    ac_time began;
    struct worker *worker;
};

// What the agent has called.
struct call {
    enum place_call what; // CALL_NOTHING: nothing
    const struct ac_job_entry *entry;
    ac_value argument;
    struct coro *coro; // since it runs
    struct end_watch watch;
    bool over;
    struct ac_exit exit; // how it has ended
    struct worker *worker;
};

// A "tell" that the client may not have yet.
struct kept {
    struct list link; // in worker.kept
    uint64_t number;  // among those since "hello", from 1
    ac_value message;
};

struct worker {
    struct worker_start start;
    int record; // our end of the pipe from the node
    struct coro *main;
    char *problem; // for people: why it has left; PROBLEM_BYTES
    ac_ref agent;  // "hello" has told; none before, and once it is lost
    ac_value next; // the record of the agent of a scheduler that has come back; nil: none
    bool lost;     // the scheduler, and the worker stays
    bool greeted;  // by an agent that is to be told all
    bool many;
    bool asked; // whether what is in the round may begin
    bool brief; // what is in the round is likely to be over at once
    bool leaving;
    bool over;                  // main has ended: nothing begins any more
    bool kicked;                // there is a kick in the mailbox of main
    bool broken;                // no memory for a report: it leaves, and what it had is lost
    struct list waiting;        // tasks that have not begun
    struct list round;          // told of, to run next
    struct list running;        // one, or many
    struct map tasks;           // by number
    uint64_t sent;              // jobs, to this worker
    struct worker_marks *marks; // for the node
    struct call call;
    uint32_t called;   // a bit for each enum place_call that has ended well here
    bool failed;       // a set-up has
    struct batch news; // for the agent
    struct list kept;  // the earliest first; empty unless it stays
    uint64_t tells;    // since "hello"
    ac_time told;      // when it was sent some
    uint64_t settled;  // of the bytes sent to a client elsewhere, those known to be there
    double *means;     // by function, and last for mappings: nanoseconds of its jobs, lately; 0:
                       // none has ended
};

_Noreturn static void run_process(struct worker_start *start, ac_value held);
static void forget_kept(struct worker *worker, uint64_t number);
static void tell_begun(const struct task *task);
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
    if (strcmp(mapping_entry.name, name) == 0)
        return &mapping_entry;
    if (strcmp(mapping_again_entry.name, name) == 0)
        return &mapping_again_entry;
    for (size_t i = 0; i < declared.count; i++)
        if (strcmp(declared.jobs[i].name, name) == 0)
            return &declared.jobs[i];
    return NULL;
}

int ac_job_file(const char *path, const char *name, ac_time deadline) {
    return declared.client ? ac_transfer_send(declared.client, path, name, deadline) : -ENOTCONN;
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
        err = remote_introduce(loop, worker->start.agent.peer, &worker->start.scheduler);
    if (!err && worker->start.supplier.peer != worker->start.agent.peer)
        err = remote_introduce(loop, worker->start.supplier.peer, &worker->start.client);
    const struct ac_spawn_options main = {.size = sizeof main, .name = "worker"};
    if (!err && coro_create(loop, run_worker, ac_of_pointer(worker), &main, true, &err))
        err = 0;
    return err;
}

_Noreturn static void run_process(struct worker_start *start, ac_value held) {
    static struct worker_marks unseen;
    char problem[PROBLEM_BYTES];
    (void)sys_fd_keep(RECORD_FD);
    (void)
        sys_end_with_parent(); // else it still gets SIGKILL, and only what it has started may stay
    struct worker_marks *marks = sys_memory_map(MARKS_FD, sizeof *marks);
    sys_fd_close(MARKS_FD);
    declared.client = start->supplier.peer;
    int err = worker_run(start, RECORD_FD, marks ? marks : &unseen, problem);
    if (problem[0])
        fprintf(stderr, "worker %lld: %s\n", (long long)start->number, problem);
    ac_drop(held);
    exit(err ? EXIT_FAILURE : EXIT_SUCCESS);
}

int worker_run(struct worker_start *start, int record, struct worker_marks *marks,
               char problem[PROBLEM_BYTES]) {
    struct worker worker = {.start = *start, .record = record, .marks = marks, .problem = problem};
    *worker.marks = (struct worker_marks){0};
    problem[0] = 0;
    list_init(&worker.waiting);
    list_init(&worker.round);
    list_init(&worker.running);
    list_init(&worker.kept);
    map_init(&worker.tasks);
    digest_wipe(&start->keys, sizeof start->keys);
    worker.means = memory_allocate_zeroed((declared.count + 1) * sizeof *worker.means);
    int err = worker.means ? 0 : -ENOMEM;
    struct loop *loop = err ? NULL : loop_need(&err);
    if (loop)
        err = start_process(loop, &worker);
    if (!err)
        err = ac_run();
    if (err)
        snprintf(problem, PROBLEM_BYTES, "%s",
                 *ac_network_error() ? ac_network_error() : ac_strerror(err));
    // Jobs are daemons: those that still ran were cancelled when the main coroutine had ended.
    struct list *const lists[] = {&worker.running, &worker.round, &worker.waiting};
    for (size_t i = 0; i < countof(lists); i++)
        list_each (link, lists[i])
            task_free(container_of(link, struct task, link));
    map_done(&worker.tasks);
    batch_done(&worker.news);
    ac_drop(worker.call.argument);
    ac_drop(worker.call.exit.value);
    forget_kept(&worker, UINT64_MAX);
    ac_drop(worker.next);
    memory_release(worker.means);
    return err ? err : worker.failed ? -ECANCELED : 0;
}

// Reads what the node writes. Ends the worker when the node has ended: nobody else holds the other
// end of the pipe.
static ac_value run_node_watch(ac_value argument) {
    struct worker *worker = ac_pointer_of(argument);
    struct sys_handle handle = {0};
    ac_value next;
    int err;
    sys_adopt(loop_here->sys, &handle, worker->record, false);
    do {
        err = worker_return_read(&handle, &next);
        if (!err)
            err = mailbox_put(worker->main, ac_list("again", next));
    } while (!err);
    sys_close(&handle);
    if (err != -ECANCELED)
        (void)mailbox_put(worker->main, ac_list("leave"));
    return ac_nil;
}

// ---- jobs ----

static bool never_abandons(struct coro *coro) {
    (void)coro;
    return true;
}
static const struct wait_kind turn_wait = {.name = "its turn", .abandon = never_abandons};

static void kick(struct worker *worker) {
    worker->kicked = worker->kicked || mailbox_put(worker->main, ac_nil) == 0;
}

#define tell(worker, thing, ...)                                                                   \
    ((worker)->broken |= batch_add(&(worker)->news, (thing), __VA_ARGS__) < 0)

static void report_end(struct task *task, const struct ac_exit *exit, uint64_t ns) {
    int err = batch_fits(exit->value);
    ac_value value = err ? ac_of_error(err, "the result of the job cannot travel")
                         : ac_hold(exit->value);
    if (!err && value_is_local(value)) {
        ac_drop(value);
        err = -ENOTSUP;
        value = ac_of_error(err, "the result of the job cannot travel");
    }
    tell(task->worker, THING_ENDED, ac_of(task->number), ac_of(task->attempt),
         ac_of((int)(err ? AC_FAILED : exit->how)), ac_of(err ? err : exit->reason), value,
         ac_of(ns));
}

static void task_free(struct task *task) {
    struct worker *worker = task->worker;
    list_remove(&task->link);
    (void)map_take_id(&worker->tasks, (uint64_t)task->number);
    ac_drop(task->argument);
    memory_release(task);
}

// Ends a task that never ran.
static void task_refuse(struct task *task, enum ac_end how, int err, const char *text) {
    struct ac_exit exit = {.how = how, .reason = err, .value = ac_of_error(err, text)};
    report_end(task, &exit, 0);
    ac_drop(exit.value);
    task_free(task);
}

// The next of a round runs, or all of it where many run at once.
static void run_next(struct worker *worker, ac_time now) {
    for (struct list *link; !worker->over && (worker->many || list_empty(&worker->running)) &&
                            (link = list_take(&worker->round)) != NULL;) {
        struct task *task = container_of(link, struct task, link);
        list_append(&worker->running, &task->link);
        task->began = now;
        __atomic_store_n(&worker->marks->begun, (int64_t)task->place, __ATOMIC_RELAXED);
        if (task->coro->wait == &turn_wait) // else it was cancelled
            coro_wake(task->coro, 0);
    }
}

// The coroutine of a job has ended.
static void task_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct task *task = container_of(watch, struct task, watch);
    struct worker *worker = task->worker;
    ac_time now = ac_now();
    uint64_t ns = task->began ? (uint64_t)(now - task->began) : 0;
    double *mean = &worker->means[task->function];
    if (task->began)
        *mean += *mean > 0 ? ((double)ns - *mean) / MEAN_OF : (double)ns + 1;
    report_end(task, exit, ns);
    task_free(task);
    // Who waits for results does not wait for the whole round where that takes its time.
    if (list_empty(&worker->round) || worker->many || now - worker->told > ROUND_NS)
        kick(worker);
    run_next(worker, now);
}

// Makes the coroutine of a task, which waits for its turn.
static int task_tell(struct task *task) {
    struct worker *worker = task->worker;
    const struct ac_job_entry *entry = task->entry;
    const struct ac_spawn_options options = {
        .size = sizeof options,
        .name = entry->name,
        .stack_bytes = worker->many ? 0 : JOB_STACK_BYTES,
        .daemon = true,
    };
    int err = 0;
    ac_value argument = task->argument;
    task->argument = ac_nil;
    task->coro = coro_create_parked(loop_here, entry->function, argument, &options, false,
                                    &turn_wait, &err);
    if (!task->coro) {
        task_refuse(task, AC_FAILED, err, "the worker could not start it");
        return err;
    }
    task->watch.observes = true;
    task->watch.ended = task_ended;
    coro_watch(task->coro, &task->watch);
    list_remove(&task->link);
    list_append(&worker->round, &task->link);
    tell_begun(task);
    return 0;
}

// Has the next ones told of: one, or as many as are likely to be over soon. True if there are any.
static bool begin_round(struct worker *worker) {
    double ns = 0;
    uint32_t count = 0;
    bool brief = true;
    if (worker->asked || !list_empty(&worker->round) ||
        (!worker->many && !list_empty(&worker->running)))
        return false;
    for (struct list *link; count < ROUND_JOBS_MAX && (link = list_first(&worker->waiting));) {
        struct task *task = container_of(link, struct task, link);
        double mean = worker->means[task->function];
        bool is_short = !task->suspect && mean > 0 && mean < SHORT_NS && ns + mean <= ROUND_NS;
        if (!worker->many && count > 0 && !is_short)
            break;
        worker->asked = task->suspect && !worker->many;
        if (task_tell(task) < 0)
            continue;
        ns += is_short ? mean : ROUND_NS;
        brief &= is_short;
        count++;
    }
    worker->brief = brief;
    worker->asked &= count > 0;
    return count > 0;
}

// Waits until what was sent to a client elsewhere is there. As jobs may send more meanwhile, what
// asks for that counts as something to wait for the next time.
static void settle_client(struct worker *worker) {
    uint64_t client = worker->start.supplier.peer;
    uint64_t sent = client == worker->agent.peer ? 0 : remote_bytes_to(loop_here, client);
    if (sent == worker->settled)
        return;
    int err = (int)ac_deliver(worker->start.supplier, ac_nil, AC_FOREVER);
    if (err < 0)
        trace(TRACE_CLUSTER, "the client cannot be reached: %s", ac_strerror(err));
    worker->settled = sent;
}

// ---- telling ----

static void forget_kept(struct worker *worker, uint64_t number) {
    for (struct list *link; (link = list_first(&worker->kept)) != NULL;) {
        struct kept *kept = container_of(link, struct kept, link);
        if (kept->number > number)
            return;
        list_remove(&kept->link);
        ac_drop(kept->message);
        memory_release(kept);
    }
}

static int keep(struct worker *worker, ac_value message) {
    struct kept *kept = memory_allocate_zeroed(sizeof *kept);
    if (!kept)
        return -ENOMEM;
    *kept = (struct kept){.number = worker->tells, .message = ac_hold(message)};
    list_init(&kept->link);
    list_append(&worker->kept, &kept->link);
    return 0;
}

// An error that says that the agent cannot be reached is none for who stays: that it is lost is
// told by an exit notice, and what was not told is kept.
static int sent(struct worker *worker, int err) {
    static const int lasting[] = {-ENOMEM, -ECANCELED, -EMSGSIZE, -EINVAL, -EPERM};
    for (size_t i = 0; i < countof(lasting); i++)
        if (err == lasting[i])
            return err;
    if (!err || !worker->start.stays)
        return err;
    worker->agent = ac_no_ref;
    return 0;
}

static int send_to_agent(struct worker *worker, ac_value message) {
    return sent(worker, ac_send(worker->agent, message));
}

// Sends what is to be told, and gives it to the system. While it waits for the client other jobs
// end, which may have sent more: they are told of in a message behind that wait.
static int send_news(struct worker *worker) {
    int err = 0;
    while (!err && !batch_empty(&worker->news) && ac_ref_is(worker->agent)) {
        ac_value message = batch_take(&worker->news, "tell");
        settle_client(worker);
        err = message.kind == AC_INVALID ? ac_error_of(message) : 0;
        worker->tells++;
        if (!err && worker->start.stays)
            err = keep(worker, message);
        if (err)
            ac_drop(message);
        else
            err = send_to_agent(worker, message);
    }
    worker->told = ac_now();
    return err;
}

static void tell_begun(const struct task *task) {
    tell(task->worker, THING_BEGUN, ac_of(task->number), ac_of(task->attempt),
         ac_of(coro_ref(task->coro)));
}

// Tells a new agent all that it may not know: what was kept, and what there is.
static int tell_all(struct worker *worker) {
    int err = 0;
    worker->greeted = false;
    worker->tells = 0;
    list_each (link, &worker->kept) {
        struct kept *kept = container_of(link, struct kept, link);
        kept->number = ++worker->tells;
        if (!err && ac_ref_is(worker->agent))
            err = send_to_agent(worker, ac_hold(kept->message));
    }
    list_each (link, &worker->running)
        tell_begun(container_of(link, struct task, link));
    list_each (link, &worker->round)
        tell_begun(container_of(link, struct task, link));
    list_each (link, &worker->waiting) {
        const struct task *task = container_of(link, struct task, link);
        tell(worker, THING_HAS, ac_of(task->number), ac_of(task->attempt));
    }
    if (!err)
        err = send_news(worker);
    if (!err && ac_ref_is(worker->agent))
        err = send_to_agent(worker,
                            ac_list("all", worker->sent, worker->called, (int)worker->call.what));
    if (!err && worker->asked && ac_ref_is(worker->agent))
        err = send_to_agent(worker, ac_list("ask"));
    return err;
}

// ---- what it is told ----

// Of a function, among the means.
static uint32_t number_of(const struct ac_job_entry *entry) {
    bool ours = !entry || entry == &mapping_entry || entry == &mapping_again_entry;
    return ours ? (uint32_t)declared.count : (uint32_t)(entry - declared.jobs);
}

static void take_job(struct worker *worker, const ac_value *items) {
    int64_t number = ac_int_of(items[0]);
    struct task *task = memory_allocate_zeroed(sizeof *task);
    if (!task || map_put_id(&worker->tasks, (uint64_t)number, task) < 0) {
        memory_release(task);
        worker->broken = true;
        return;
    }
    const char *name = ac_text_of(items[2]);
    const struct ac_job_entry *entry = name ? job_entry_named(name) : NULL;
    *task = (struct task){.number = number,
                          .place = ++worker->sent,
                          .suspect = ac_bool_of(items[4]) || entry == &mapping_again_entry,
                          .attempt = (uint32_t)ac_int_of(items[1]),
                          .entry = entry,
                          .function = number_of(entry),
                          .argument = ac_hold(items[3]),
                          .worker = worker};
    list_init(&task->link);
    list_append(&worker->waiting, &task->link);
    if (entry)
        return;
    char text[200];
    snprintf(text, sizeof text,
             "function '%.80s' is not declared in this program: declare it with AC_JOB",
             name ? name : "");
    task_refuse(task, AC_FAILED, -ENOSYS, text);
}

static void take_back(struct worker *worker, const ac_value *items, bool recall) {
    struct task *task = map_get_id(&worker->tasks, (uint64_t)ac_int_of(items[0]));
    if (!task || task->attempt != (uint32_t)ac_int_of(items[1]))
        return;
    if (task->coro) {
        if (!recall)
            coro_cancel(task->coro);
    } else if (recall) {
        tell(worker, THING_BACK, ac_of(task->number), ac_of(task->attempt));
        task_free(task);
    } else {
        task_refuse(task, AC_CANCELLED, -ECANCELED, NULL);
    }
}

static void take_things(struct worker *worker, ac_value message) {
    size_t cursor = 0;
    enum thing thing;
    ac_value items[THING_ITEMS_MAX];
    while (batch_next(message, &cursor, &thing, items)) {
        if (thing == THING_RUN) {
            take_job(worker, items);
        } else if (thing == THING_RECALL || thing == THING_CANCEL) {
            take_back(worker, items, thing == THING_RECALL);
        }
        batch_drop(thing, items);
    }
}

// The agent of a scheduler that has come back is told that the worker is there.
static void return_to(struct worker *worker, ac_value next) {
    const char *address;
    struct sys_address scheduler;
    worker->next = ac_nil;
    worker->lost = false;
    int err = ac_unpack(next, &worker->start.agent, &address);
    if (!err && address && sys_address_parse(address, &scheduler))
        err = remote_introduce(loop_here, worker->start.agent.peer, &scheduler);
    if (!err)
        err = ac_monitor(worker->start.agent);
    if (!err)
        err = sent(worker, ac_send(worker->start.agent, ac_list("worker", worker->start.number,
                                                                coro_ref(worker->main))));
    worker->leaving |= err < 0;
    ac_drop(next);
}

static void take_exit(struct worker *worker, struct ac_exit *exit) {
    bool is_agent = ac_ref_equal(exit->who, worker->agent);
    if (is_agent || ac_ref_equal(exit->who, worker->start.agent)) {
        worker->lost = worker->start.stays && exit->how == AC_LOST;
        worker->leaving |= !worker->lost;
        worker->agent = ac_no_ref;
        worker->greeted = false;
    }
    ac_drop(exit->value);
    if (worker->lost && !ac_is_nil(worker->next))
        return_to(worker, worker->next);
}

// Of a scheduler that is lost more may come, and must not come after what the next one says.
static void take_again(struct worker *worker, ac_value message) {
    const char *word;
    ac_value next;
    if (ac_unpack(message, &word, &next) != 0)
        return;
    ac_drop(worker->next);
    worker->next = next;
    if (worker->lost)
        return_to(worker, next);
}

static void take_hello(struct worker *worker, ac_value message) {
    const char *word;
    ac_ref agent;
    bool many;
    if (ac_ref_is(worker->agent) || ac_unpack(message, &word, &agent, &many) != 0 ||
        agent.peer != worker->start.agent.peer || worker->lost)
        return;
    worker->agent = agent;
    worker->many = many;
    worker->greeted = worker->start.stays;
    if (ac_monitor(worker->agent) < 0)
        worker->leaving = true;
}

static void take_taken(struct worker *worker, ac_value message) {
    const char *word;
    uint64_t tells;
    if (ac_unpack(message, &word, &tells) == 0)
        forget_kept(worker, tells);
}

static void take_go(struct worker *worker) {
    worker->asked = false;
    if (list_empty(&worker->round)) // it was cancelled meanwhile
        kick(worker);
    run_next(worker, ac_now());
}

// ---- what the agent calls ----

// Tells the agent what has come of it. A worker that was not set up is of no use.
static void end_call(struct worker *worker, int err, const char *why) {
    struct call *call = &worker->call;
    enum place_call what = call->what;
    char text[CALL_TEXT_BYTES] = "";
    ac_drop(call->argument);
    *call = (struct call){0};
    if (err) {
        snprintf(text, sizeof text, "%s", why ? why : ac_strerror(err));
        text_mend(text);
        fprintf(stderr, "worker %lld: %s failed: %s\n", (long long)worker->start.number,
                place_call_name(what), text);
    }
    if (!err) {
        worker->called |= 1u << what;
        worker->marks->set_up |= what == CALL_NODE_SETUP;
        worker->marks->setting_up = 0;
    } else if (place_call_sets_up(what)) {
        worker->failed = worker->leaving = true;
    }
    settle_client(worker);
    (void)ac_send(worker->agent, ac_list("called", (int)what, (const char *)text));
}

// Main tells.
static void call_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct call *call = container_of(watch, struct call, watch);
    call->over = true;
    call->exit = *exit;
    call->exit.value = ac_hold(exit->value);
    kick(call->worker);
}

static void start_call(struct worker *worker) {
    struct call *call = &worker->call;
    const struct ac_spawn_options options = {.size = sizeof options,
                                             .name = call->entry->name,
                                             .stack_bytes = JOB_STACK_BYTES,
                                             .daemon = true};
    int err = 0;
    ac_value argument = call->argument;
    call->argument = ac_nil;
    call->coro = coro_create(loop_here, call->entry->function, argument, &options, false, &err);
    if (!call->coro) {
        end_call(worker, err, NULL);
        return;
    }
    call->watch = (struct end_watch){.ended = call_ended, .observes = true};
    coro_watch(call->coro, &call->watch);
}

// Begins what is called when no job is left, and tells of its end.
static void see_to_call(struct worker *worker) {
    struct call *call = &worker->call;
    if (call->over) {
        const struct ac_exit exit = call->exit;
        char why[CALL_TEXT_BYTES];
        ac_span text = ac_span_of(exit.value);
        snprintf(why, sizeof why, "%.*s", (int)text.bytes, text.bytes ? (const char *)text.at : "");
        int err = exit.how == AC_FINISHED ? 0 : exit.reason ? exit.reason : -ECANCELED;
        end_call(worker, err, why[0] ? why : NULL);
        ac_drop(exit.value);
    } else if (call->what && !call->coro && map_count(&worker->tasks) == 0) {
        start_call(worker);
    }
}

static void give_up_jobs(struct worker *worker) {
    for (struct list *link; (link = list_first(&worker->waiting)) != NULL;)
        task_refuse(container_of(link, struct task, link), AC_CANCELLED, -ECANCELED, NULL);
    struct list *const lists[] = {&worker->round, &worker->running};
    for (size_t i = 0; i < countof(lists); i++)
        list_each (link, lists[i])
            coro_cancel(container_of(link, struct task, link)->coro);
}

static void take_call(struct worker *worker, ac_value message) {
    const char *word, *name;
    int what;
    ac_value argument;
    struct call *call = &worker->call;
    if (call->what || ac_unpack(message, &word, &what, &name, &argument) != 0)
        return;
    if (what <= CALL_NOTHING || what >= PLACE_CALLS) {
        ac_drop(argument);
        return;
    }
    *call = (struct call){.what = (enum place_call)what,
                          .entry = name ? job_entry_named(name) : NULL,
                          .argument = argument,
                          .worker = worker};
    if (place_call_sets_up(call->what)) {
        worker->marks->setting_up = what;
    } else {
        worker->marks->cleaning = 1;
        give_up_jobs(worker);
    }
    if (!call->entry)
        end_call(worker, -ENOSYS, "it is not declared in this program: declare it with AC_JOB");
}

static void take_message(struct worker *worker, ac_value message) {
    struct ac_exit exit;
    if (ac_is_nil(message))
        worker->kicked = false;
    else if (ac_exit_of(message, &exit))
        take_exit(worker, &exit);
    else if (message_is(message, "do"))
        take_things(worker, message);
    else if (message_is(message, "hello"))
        take_hello(worker, message);
    else if (message_is(message, "go"))
        take_go(worker);
    else if (message_is(message, "call"))
        take_call(worker, message);
    else if (message_is(message, "taken"))
        take_taken(worker, message);
    else if (message_is(message, "again"))
        take_again(worker, message);
    else if (message_is(message, "leave"))
        worker->leaving = true;
    ac_drop(message);
}

static int serve(struct worker *worker) {
    int err = 0;
    while (!err && !worker->leaving && !worker->broken) {
        ac_value message;
        err = ac_receive(&message, AC_FOREVER);
        if (!err)
            take_message(worker, message);
        if (err || ac_mailbox_count() > 0 || (!ac_ref_is(worker->agent) && !worker->lost))
            continue;
        if (worker->greeted)
            err = tell_all(worker); // before the end of what is called
        see_to_call(worker);
        bool told = !err && begin_round(worker);
        if (!err)
            err = send_news(worker);
        if (told && !err && worker->asked && ac_ref_is(worker->agent))
            err = send_to_agent(worker, ac_list("ask"));
        else if (told && !err && !worker->asked && !worker->brief)
            err = loop_await_turn();
        if (told && !worker->asked)
            run_next(worker, ac_now());
        if (worker->many && !list_empty(&worker->waiting))
            kick(worker); // for the next round
    }
    return err ? err : worker->broken ? -ENOMEM : 0;
}

static ac_value run_worker(ac_value argument) {
    struct worker *worker = ac_pointer_of(argument);
    struct coro *self = coro_here();
    const struct ac_spawn_options watch = {.size = sizeof watch, .name = "node", .daemon = true};
    int err = 0;
    worker->main = self;
    if (coro_create(self->loop, run_node_watch, ac_of_pointer(worker), &watch, true, &err))
        err = ac_monitor(worker->start.agent);
    if (!err)
        err = ac_send(worker->start.agent, ac_list("worker", worker->start.number, coro_ref(self)));
    if (!err)
        err = serve(worker);
    if (err)
        snprintf(worker->problem, PROBLEM_BYTES, "the scheduler cannot be reached: %s",
                 ac_strerror(err));
    worker->over = true;
    return ac_nil;
}
