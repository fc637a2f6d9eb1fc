// SPDX-License-Identifier: MIT
// The jobs of a computation: where each one runs, and the one report that each one gets.
//
//      QUEUED --place--> PLACED --sent--> SENT --"started"--> STARTED --"ended"--> reported
//        ^                 |               |  \                  |
//        |                 |   worker lost |   recall            | worker lost: reported as lost
//        +-----------------+---------------+----+
//
// Placing. Each worker has a window: two jobs when it runs one at a time, so that the next one is
// there when one ends; many when it runs many. A queued job goes to the worker with the fewest jobs
// that has room, the oldest job first. When the queue is empty and a worker idles, a job that waits
// behind another one elsewhere is called back from there.
//
// Reporting. A job is in the table `jobs` from its making until its report, which takes it out: so
// nothing is reported twice, whatever arrives later. A worker that is gone takes the jobs with it
// that had begun, or may have: the first one that it had (the one after it begins only when the end
// of the first was told), or all of them if it runs many. The others are queued again, but for
// those that were meant for this very worker. So no job ever begins twice. How a worker ended the
// node tells, and that it is gone its monitor tells; whichever comes first, the other one is
// awaited for a moment, because the monitor comes after the last report of the worker and the node
// knows the reason.
#include "cluster/client_private.h"

#include <stdio.h>

enum { GONE_GRACE_NS = 1000 * 1000 * 1000 };

static void place_all(struct ac_computation *it);
static ac_value run_agent(ac_value argument);

// ---- notices ----

static void worker_status(struct worker_agent *worker, enum ac_status_kind kind, struct job *job,
                          const char *text) {
    struct ac_status status = {
        .kind = kind,
        .node = worker->node_ref,
        .worker = worker->ref,
        .coroutine = job ? job->coroutine : ac_no_ref,
        .job = job ? job->number : 0,
    };
    snprintf(status.location, sizeof status.location, "%s", worker->location);
    snprintf(status.text, sizeof status.text, "%s", text);
    computation_tell(worker->computation, status_notice(&status));
}

// ---- jobs ----

static uint32_t window_of(const struct ac_computation *it) {
    return it->many_jobs ? WINDOW_MANY : WINDOW_ONE;
}

// Takes a job out of whatever list it is in.
static void unlink_job(struct ac_computation *it, struct job *job) {
    list_remove(&job->link);
    if (job->state == JOB_QUEUED)
        it->queue_count--;
    else
        job->worker->load--;
}

// The one end of every job: out of the table, reported, freed. Takes exit->value.
static void end_job(struct ac_computation *it, struct job *job, const struct ac_exit *exit,
                    double seconds) {
    unlink_job(it, job);
    (void)map_take_id(&it->jobs, job->id);
    bool unstarted = job->wait != NULL;
    if (unstarted) {
        struct run_wait *wait = job->wait;
        wait->job = NULL;
        coro_wake(wait->coro, exit->reason < 0 ? exit->reason : -EHOSTUNREACH);
    }
    if (unstarted || job->silent) {
        ac_drop(exit->value);
    } else {
        struct ac_job_exit end = {.exit = *exit, .job = job->number, .seconds = seconds};
        end.exit.who = job->coroutine;
        if (job->worker && ac_ref_is(job->coroutine)) {
            end.worker = job->worker->ref;
            memcpy(end.location, job->worker->location, sizeof end.location);
        }
        computation_tell(it, job_exit_notice(&end));
    }
    ac_drop(job->argument);
    memory_release(job);
    if (map_count(&it->jobs) == 0)
        computation_changed(it);
}

static void end_job_with(struct ac_computation *it, struct job *job, enum ac_end how, int err,
                         const char *text) {
    end_job(it, job, &(struct ac_exit){.how = how, .reason = err, .value = ac_of_error(err, text)},
            0);
}

static void queue_first(struct ac_computation *it, struct job *job) {
    unlink_job(it, job);
    job->state = JOB_QUEUED;
    job->worker = NULL;
    // A list is a circle: before its first is behind its last but for the head.
    list_append(it->queue.next, &job->link);
    it->queue_count++;
}

static void place_at(struct worker_agent *worker, struct job *job) {
    job->state = JOB_PLACED;
    job->recall_sent = false;
    job->worker = worker;
    worker->load++;
    list_append(&worker->outbox, &job->link);
    worker->kicked = worker->kicked || agent_kick(worker->coro);
}

struct job *scheduler_add_job(struct ac_computation *it, struct worker_agent *worker,
                              const char *function, ac_value argument) {
    struct job *job = memory_allocate_zeroed(sizeof *job);
    if (job && map_put_id(&it->jobs, it->last_id + 1, job) < 0) {
        memory_release(job);
        job = NULL;
    }
    if (!job) {
        ac_drop(argument);
        return NULL;
    }
    *job = (struct job){.id = ++it->last_id, .function = function, .argument = argument};
    list_init(&job->link);
    if (worker) {
        place_at(worker, job);
        return job;
    }
    job->state = JOB_QUEUED;
    list_append(&it->queue, &job->link);
    it->queue_count++;
    place_all(it);
    return job;
}

// ---- placing ----

static bool has_room(const struct worker_agent *worker) {
    return !worker->ending && worker->load < window_of(worker->computation);
}

static struct worker_agent *least_loaded(struct ac_computation *it) {
    struct worker_agent *best = NULL;
    list_each (link, &it->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (has_room(worker) && (!best || worker->load < best->load))
            best = worker;
    }
    return best;
}

// A worker idles and nothing is queued: asks for a job back that waits behind another one.
static void recall_one(struct ac_computation *it) {
    list_each (link, &it->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->load < 2 || worker->ending)
            continue;
        struct job *last = list_empty(&worker->jobs)
                               ? NULL
                               : container_of(worker->jobs.prev, struct job, link);
        // What is under way to a worker is not asked for: it may begin at any moment. Only one is
        // asked for at a time.
        if (!last || last->state != JOB_SENT || last->number == 0 || last->cancelled ||
            !list_empty(&worker->outbox))
            continue;
        last->state = JOB_RECALLED;
        agent_kick(worker->coro);
        return;
    }
}

static bool is_recalling(const struct ac_computation *it) {
    list_each (link, &it->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        list_each (job, &worker->jobs)
            if (container_of(job, struct job, link)->state == JOB_RECALLED)
                return true;
    }
    return false;
}

static void place_all(struct ac_computation *it) {
    struct list *link;
    while ((link = list_first(&it->queue)) != NULL) {
        struct worker_agent *worker = least_loaded(it);
        if (!worker)
            break;
        struct job *job = container_of(link, struct job, link);
        unlink_job(it, job);
        place_at(worker, job);
    }
    computation_has_room(it);
    if (it->many_jobs || it->queue_count > 0)
        return;
    struct worker_agent *idle = least_loaded(it);
    if (idle && idle->load == 0 && !is_recalling(it))
        recall_one(it);
}

// ---- cancelling ----

void scheduler_cancel(struct job *job) {
    struct worker_agent *worker = job->worker;
    job->cancelled = true;
    if (worker && job->state >= JOB_SENT) {
        agent_kick(worker->coro);
        return;
    }
    struct ac_computation *it = worker ? worker->computation : NULL;
    if (it)
        end_job_with(it, job, AC_CANCELLED, -ECANCELED, NULL);
}

void scheduler_cancel_all(struct ac_computation *it) {
    uint64_t cursor = 0;
    for (struct job *job; (job = map_next(&it->jobs, &cursor, NULL, NULL)) != NULL;) {
        if (job->state == JOB_QUEUED)
            end_job_with(it, job, AC_CANCELLED, -ECANCELED, NULL);
        else
            scheduler_cancel(job);
    }
}

void scheduler_give_up(struct ac_computation *it) {
    uint64_t cursor = 0;
    for (struct job *job; (job = map_next(&it->jobs, &cursor, NULL, NULL)) != NULL;)
        end_job_with(it, job, AC_LOST, -ECANCELED,
                     "it did not end when it was cancelled, and its worker was ended");
}

// ---- workers ----

void scheduler_add_worker(struct node_agent *node, int64_t number, ac_ref ref) {
    struct ac_computation *it = node->computation;
    struct worker_agent *worker = memory_allocate_zeroed(sizeof *worker);
    if (!worker)
        return;
    *worker = (struct worker_agent){.computation = it,
                                    .node = node,
                                    .ref = ref,
                                    .number = number,
                                    .deadline = AC_FOREVER,
                                    .node_ref = node->holder};
    memcpy(worker->location, node->location, sizeof worker->location);
    memcpy(worker->node_name, node->name, sizeof worker->node_name);
    list_init(&worker->outbox);
    list_init(&worker->jobs);
    worker->coro = computation_spawn(it, run_agent, worker, "agent of a worker");
    if (!worker->coro) {
        memory_release(worker);
        return;
    }
    list_append(&it->workers, &worker->link);
}

struct worker_agent *scheduler_find_worker(struct ac_computation *it, ac_ref ref) {
    list_each (link, &it->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (ac_ref_equal(worker->ref, ref))
            return worker->ending ? NULL : worker;
    }
    return NULL;
}

// It takes no more jobs, and is given up at the deadline at the latest.
static void begin_end(struct worker_agent *worker) {
    worker->ending = true;
    if (worker->deadline == AC_FOREVER)
        worker->deadline = ac_after(GONE_GRACE_NS * 1e-9);
    agent_kick(worker->coro);
}

void scheduler_worker_ended(struct node_agent *node, int64_t number, const char *text) {
    list_each (link, &node->computation->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->node != node || (number != 0 && worker->number != number))
            continue;
        if (number == 0)
            worker->node = NULL;
        if (!worker->told)
            snprintf(worker->text, sizeof worker->text, "%s", text);
        text_mend(worker->text);
        worker->told = true;
        begin_end(worker);
    }
}

void scheduler_end_workers(struct ac_computation *it) {
    list_each (link, &it->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (!worker->told)
            snprintf(worker->text, sizeof worker->text, "closed");
        worker->told = worker->lost = true;
        begin_end(worker);
    }
}

// The worker is gone: what becomes of its jobs.
static void release_jobs(struct worker_agent *worker) {
    struct ac_computation *it = worker->computation;
    char text[640];
    snprintf(text, sizeof text, "worker %lld of %s: %s", (long long)worker->number,
             worker->node_name, worker->text[0] ? worker->text : "the connection to it was lost");
    // The latest first, because each one goes to the head of the queue.
    struct list *const lists[] = {&worker->outbox, &worker->jobs};
    for (size_t i = 0; i < countof(lists); i++)
        while (!list_empty(lists[i])) {
            struct job *job = container_of(lists[i]->prev, struct job, link);
            bool begun = job->state == JOB_STARTED ||
                         (i == 1 && (it->many_jobs || worker->jobs.next == &job->link));
            if (begun || job->wait)
                end_job_with(it, job, AC_LOST, job->wait ? -EHOSTUNREACH : -ECONNRESET, text);
            else if (job->number == 0 || job->cancelled)
                end_job_with(it, job, job->cancelled ? AC_CANCELLED : AC_LOST,
                             job->cancelled ? -ECANCELED : -ECONNRESET, text);
            else
                queue_first(it, job);
        }
}

// ---- the agent of a worker ----

static struct job *job_of(struct worker_agent *worker, int64_t id) {
    struct job *job = map_get_id(&worker->computation->jobs, (uint64_t)id);
    return job && job->worker == worker && job->state >= JOB_SENT ? job : NULL;
}

static void take_started(struct worker_agent *worker, ac_value message) {
    const char *word;
    int64_t id;
    ac_ref coroutine;
    if (ac_unpack(message, &word, &id, &coroutine) != 0)
        return;
    struct job *job = job_of(worker, id);
    if (!job || job->state == JOB_STARTED)
        return;
    job->state = JOB_STARTED;
    job->coroutine = coroutine;
    ac_drop(job->argument);
    job->argument = ac_nil;
    if (!job->silent)
        worker_status(worker, AC_JOB_STARTED, job, worker->node_name);
    if (job->wait) {
        struct run_wait *wait = job->wait;
        job->wait = NULL;
        wait->job = NULL;
        wait->result = coroutine;
        coro_wake(wait->coro, 0);
    }
}

static void take_ended(struct worker_agent *worker, ac_value message) {
    const char *word;
    int64_t id;
    int how, reason;
    double seconds;
    ac_value value;
    if (ac_unpack(message, &word, &id, &how, &reason, &value, &seconds) != 0)
        return;
    struct job *job = job_of(worker, id);
    if (job && how >= AC_FINISHED && how <= AC_LOST)
        end_job(worker->computation, job,
                &(struct ac_exit){.how = (enum ac_end)how, .reason = reason, .value = value},
                seconds);
    else
        ac_drop(value);
    place_all(worker->computation);
}

static void take_recalled(struct worker_agent *worker, ac_value message) {
    const char *word;
    int64_t id;
    struct job *job = ac_unpack(message, &word, &id) == 0 ? job_of(worker, id) : NULL;
    if (!job || job->state != JOB_RECALLED)
        return;
    if (job->cancelled)
        end_job_with(worker->computation, job, AC_CANCELLED, -ECANCELED, NULL);
    else
        queue_first(worker->computation, job);
    place_all(worker->computation);
}

static void take_message(struct worker_agent *worker, ac_value message) {
    struct ac_exit exit;
    if (ac_is_nil(message)) {
        worker->kicked = false;
    } else if (ac_exit_of(message, &exit)) {
        ac_drop(exit.value);
        worker->lost = true;
        begin_end(worker);
    } else if (message_is(message, "started")) {
        take_started(worker, message);
    } else if (message_is(message, "ended")) {
        take_ended(worker, message);
    } else if (message_is(message, "recalled")) {
        take_recalled(worker, message);
    }
    ac_drop(message);
}

// A message to the worker did not go out. If it is gone, the monitor tells; a job that cannot
// travel fails.
static void send_failed(struct worker_agent *worker, uint64_t id, int err) {
    struct job *job = job_of(worker, (int64_t)id);
    trace(TRACE_CLUSTER, "worker %lld: job %llu was not sent: %s", (long long)worker->number,
          (unsigned long long)id, ac_strerror(err));
    if (err == -ESRCH || err == -EHOSTUNREACH || err == -ECONNRESET)
        begin_end(worker);
    else if (job && err != -ECANCELED)
        end_job_with(worker->computation, job, AC_FAILED, err, "the job could not be sent");
}

// Sends one job. It counts as sent before, because the answer may come while the sending still
// waits.
static void send_job(struct worker_agent *worker, struct job *job) {
    uint64_t id = job->id;
    list_remove(&job->link);
    list_append(&worker->jobs, &job->link);
    job->state = JOB_SENT;
    int err = ac_send(worker->ref,
                      ac_list("job", (int64_t)id, job->function, ac_hold(job->argument)));
    if (err)
        send_failed(worker, id, err);
}

// Finds one job to be cancelled or called back, and asks for it. False if there is none.
static bool ask_for_one(struct worker_agent *worker) {
    list_each (link, &worker->jobs) {
        struct job *job = container_of(link, struct job, link);
        bool cancel = job->cancelled && !job->cancel_sent;
        if (!cancel && (job->state != JOB_RECALLED || job->recall_sent))
            continue;
        *(cancel ? &job->cancel_sent : &job->recall_sent) = true;
        uint64_t id = job->id;
        int err = ac_send(worker->ref, ac_list(cancel ? "cancel" : "recall", (int64_t)id));
        if (err)
            send_failed(worker, id, err);
        return true;
    }
    return false;
}

static void send_all(struct worker_agent *worker) {
    struct list *link;
    while (!worker->ending && (link = list_first(&worker->outbox)) != NULL)
        send_job(worker, container_of(link, struct job, link));
    while (!worker->ending && ask_for_one(worker))
        continue;
}

static ac_value run_agent(ac_value argument) {
    struct worker_agent *worker = ac_pointer_of(argument);
    struct ac_computation *it = worker->computation;
    int err = ac_monitor(worker->ref);
    if (!err)
        err = ac_send(worker->ref, ac_list("hello", ac_self(), it->many_jobs));
    if (err)
        begin_end(worker);
    else
        worker_status(worker, AC_WORKER_READY, NULL, worker->node_name);
    place_all(it);
    while (!(worker->lost && worker->told)) {
        send_all(worker);
        ac_value message;
        if (ac_receive(&message, worker->deadline) < 0)
            break;
        take_message(worker, message);
    }
    worker->ending = true;
    list_remove(&worker->link);
    release_jobs(worker);
    place_all(it);
    worker_status(worker, AC_WORKER_GONE, NULL, worker->text[0] ? worker->text : "lost");
    memory_release(worker);
    it->agents--;
    computation_changed(it);
    return ac_nil;
}
