// SPDX-License-Identifier: MIT
// The agent of a worker: has its worker do what placement wants, and tells placement and the client
// what the worker tells. The messages are specified at the head of worker.c.
//
// An agent ends when its worker is gone, which two tell: the monitor, that the process is lost, and
// the node, how it ended. The second is waited for a moment, because it says more.
//
// One of a worker that was awaited (restore.c) takes in what that tells first, and placement gives
// it nothing before it has told all.
#include "cluster/scheduler.h"

#include <stdio.h>

enum { GONE_GRACE_NS = 1000 * 1000 * 1000, DOOM_GRACE_NS = 3000ll * 1000 * 1000 };

static void door_run(void *up, struct place_worker *at, struct job *job, uint32_t attempt);
static void door_recall(void *up, struct place_worker *at, uint64_t number, uint32_t attempt);
static void door_cancel(void *up, struct place_worker *at, uint64_t number, uint32_t attempt);
static void door_kill(void *up, struct place_worker *at, uint64_t number, const char *why);
static void door_over(void *up, struct place_computation *it, uint64_t number, uint32_t attempt,
                      bool counts);
static void door_report(void *up, struct place_computation *it, uint64_t number, enum place_end how,
                        int err, const char *why);
static void door_hint(void *up, struct place_computation *it, const char *why);
static ac_value run_agent(ac_value argument);

const struct place_door agent_door = {.run = door_run,
                                      .recall = door_recall,
                                      .cancel = door_cancel,
                                      .kill = door_kill,
                                      .over = door_over,
                                      .report = door_report,
                                      .hint = door_hint};

// ---- what placement wants ----

// Something was added to what the worker is to be told. One who cannot be told what it should do is
// of no use: it ends, and its jobs run elsewhere.
static void added(struct worker_agent *worker, int err) {
    worker->broken |= err < 0;
    worker->kicked = worker->kicked || agent_kick(worker->coro);
}

// The node was asked to end the worker by force.
static void await_force(struct worker_agent *worker) {
    worker->doomed = true;
    if (worker->deadline == AC_FOREVER)
        worker->deadline = ac_now() + DOOM_GRACE_NS;
}

static void door_run(void *up, struct place_worker *at, struct job *job, uint32_t attempt) {
    (void)up;
    struct worker_agent *worker = placement_worker_user(at);
    const char *function = worker->desk->functions[placement_function(job)];
    if (worker->desk->record)
        restore_given(worker, placement_number(job), attempt);
    added(worker, batch_add(&worker->out, THING_RUN, ac_of(placement_number(job)), ac_of(attempt),
                            ac_of(function), ac_hold(placement_argument(job)),
                            ac_of_bool(placement_is_suspect(job))));
}

static void door_recall(void *up, struct place_worker *at, uint64_t number, uint32_t attempt) {
    (void)up;
    struct worker_agent *worker = placement_worker_user(at);
    added(worker, batch_add(&worker->out, THING_RECALL, ac_of(number), ac_of(attempt)));
}

static void door_cancel(void *up, struct place_worker *at, uint64_t number, uint32_t attempt) {
    (void)up;
    struct worker_agent *worker = placement_worker_user(at);
    added(worker, batch_add(&worker->out, THING_CANCEL, ac_of(number), ac_of(attempt)));
}

static void door_kill(void *up, struct place_worker *at, uint64_t number, const char *why) {
    (void)up;
    struct worker_agent *worker = placement_worker_user(at);
    trace(TRACE_CLUSTER, "worker %lld of %s: to be ended for job %llu: %s",
          (long long)worker->number, worker->node_name, (unsigned long long)number, why);
    worker->doom = true;
    // Its agent may wait for room at a worker that takes nothing in.
    if (worker->site && ac_try_send(worker->site->host, ac_list("end", worker->number)) == 0)
        await_force(worker);
    added(worker, 0);
}

static void door_over(void *up, struct place_computation *it, uint64_t number, uint32_t attempt,
                      bool counts) {
    (void)up;
    struct desk *desk = placement_user(it);
    if (desk->record)
        journal_over(desk->record, number, attempt, counts);
}

static void door_report(void *up, struct place_computation *it, uint64_t number, enum place_end how,
                        int err, const char *why) {
    (void)up;
    struct desk *desk = placement_user(it);
    static const enum ac_end ends[] = {
        [PLACE_CANCELLED] = AC_CANCELLED, [PLACE_FAILED] = AC_FAILED, [PLACE_LOST] = AC_LOST};
    char text[640]; // may have been cut within a letter
    snprintf(text, sizeof text, "%s", why);
    text_mend(text);
    desk_tell_end(desk, number, ends[how], err, ac_of_error(err, text), ac_no_ref, 0);
}

static void door_hint(void *up, struct place_computation *it, const char *why) {
    (void)up;
    struct desk *desk = placement_user(it);
    struct ac_status status = {.kind = AC_JOBS_WAIT};
    snprintf(status.text, sizeof status.text, "%s", why);
    text_mend(status.text);
    desk_status(desk, &status, "");
}

// ---- what the worker tells ----

static void worker_status(struct worker_agent *worker, enum ac_status_kind kind, const char *text) {
    struct ac_status status = {.kind = kind,
                               .node = worker->node_ref,
                               .worker = worker->ref,
                               .lost = kind == AC_WORKER_GONE && !worker->closed};
    char address[64] = "";
    if (kind == AC_WORKER_READY)
        location_of(worker->desk->scheduler->loop, worker->ref, address);
    snprintf(status.location, sizeof status.location, "%s", worker->location);
    snprintf(status.text, sizeof status.text, "%s", text);
    text_mend(status.text);
    desk_status(worker->desk, &status, address);
}

static void take_begun(struct worker_agent *worker, const ac_value *items, ac_time now) {
    uint64_t number = (uint64_t)ac_int_of(items[0]);
    uint32_t class;
    if (placement_begun(worker->place, number, (uint32_t)ac_int_of(items[1]), now, &class) &&
        !worker->desk->quiet[class])
        desk_tell(worker->desk, THING_STARTED, ac_of(number), ac_of(worker->ref),
                  ac_hold(items[2]));
}

static void take_ended(struct worker_agent *worker, const ac_value *items, ac_time now) {
    uint64_t number = (uint64_t)ac_int_of(items[0]), ns = (uint64_t)ac_int_of(items[5]);
    int64_t how = ac_int_of(items[2]);
    if (how == AC_CANCELLED &&
        placement_was_cancelled(worker->place, number, (uint32_t)ac_int_of(items[1])))
        return;
    if (how >= AC_FINISHED && how <= AC_LOST &&
        placement_ended(worker->place, number, (uint32_t)ac_int_of(items[1]), ns, now))
        desk_tell_end(worker->desk, number, (enum ac_end)how, (int)ac_int_of(items[3]),
                      ac_hold(items[4]), worker->ref, (double)ns * 1e-9);
}

static void take_things(struct worker_agent *worker, ac_value message) {
    size_t cursor = 0;
    enum thing thing;
    ac_value items[THING_ITEMS_MAX];
    ac_time now = ac_now();
    while (worker->place && batch_next(message, &cursor, &thing, items)) {
        if (thing == THING_BEGUN) {
            take_begun(worker, items, now);
        } else if (thing == THING_ENDED) {
            take_ended(worker, items, now);
        } else if (thing == THING_BACK) {
            (void)placement_given_back(worker->place, (uint64_t)ac_int_of(items[0]),
                                       (uint32_t)ac_int_of(items[1]));
        } else if (thing == THING_HAS) {
            placement_has(worker->place, (uint64_t)ac_int_of(items[0]),
                          (uint32_t)ac_int_of(items[1]));
        } // no worker says anything else
        batch_drop(thing, items);
    }
    if (worker->desk->record)
        restore_note_tell(worker);
    scheduler_changed(worker->desk->scheduler);
    if (worker->site && is_draining(worker->site))
        agent_kick(worker->site->coro); // it may be drained now
}

// One that was awaited has told all.
static void take_all(struct worker_agent *worker, ac_value message) {
    const char *word;
    uint64_t given;
    if (worker->place && placement_is_awaited(worker->place) && worker->at->place &&
        ac_unpack(message, &word, &given) == 0)
        placement_settle_worker(worker->place, worker->at->place, worker, given, ac_now());
    scheduler_changed(worker->desk->scheduler);
}

// It takes no more jobs, and is given up at the deadline at the latest.
static void begin_end(struct worker_agent *worker) {
    if (!worker->ending && worker->place)
        placement_enable_worker(worker->place, false);
    worker->ending = true;
    if (worker->deadline == AC_FOREVER)
        worker->deadline = ac_now() + GONE_GRACE_NS;
    agent_kick(worker->coro);
}

static void take_message(struct worker_agent *worker, ac_value message) {
    struct ac_exit exit;
    if (ac_is_nil(message)) {
        worker->kicked = false;
    } else if (ac_exit_of(message, &exit)) {
        ac_drop(exit.value);
        worker->lost = true;
        begin_end(worker);
    } else if (message_is(message, "tell")) {
        // What comes after a loss has a gap before it: that a job began may be in there.
        if (!worker->lost)
            take_things(worker, message);
    } else if (message_is(message, "called")) {
        setup_take_called(worker, message);
    } else if (message_is(message, "all")) {
        take_all(worker, message);
    } else if (message_is(message, "ask")) {
        (void)ac_send(worker->ref, ac_list("go")); // if not, the monitor tells why
    }
    ac_drop(message);
}

// ---- the coroutine ----

void agent_end_by_force(struct worker_agent *worker) {
    worker->doomed = true;
    if (worker->place)
        placement_enable_worker(worker->place, false);
    if (!worker->site || !ac_ref_is(worker->site->host) ||
        ac_send(worker->site->host, ac_list("end", worker->number)) < 0)
        worker->lost = worker->told = true; // who could do it is gone
    else
        await_force(worker);
}

// What the journal is to know of jobs is in its file before they go out. A message of jobs that did
// not go out: if the worker is gone, the monitor tells. What is too large to be sent was not let in
// by the client.
static void send_things(struct worker_agent *worker) {
    if (worker->desk->record && !batch_empty(&worker->out))
        (void)journal_flush(worker->desk->scheduler->journal);
    while (!worker->ending && !worker->broken && !batch_empty(&worker->out)) {
        ac_value message = batch_take(&worker->out, "do");
        int err = message.kind == AC_INVALID ? ac_error_of(message) : ac_send(worker->ref, message);
        if (err) {
            trace(TRACE_CLUSTER, "worker %lld: was not told: %s", (long long)worker->number,
                  ac_strerror(err));
            worker->broken = true;
        }
    }
    if (worker->taken > worker->taken_told && !worker->ending && !worker->broken) {
        worker->taken_told = worker->taken;
        (void)ac_send(worker->ref, ac_list("taken", worker->taken)); // else the monitor tells why
    }
    if (worker->broken && !worker->doomed && !worker->ending)
        worker->doom = true;
    if (worker->doom && !worker->doomed)
        agent_end_by_force(worker);
}

int agent_receive(struct worker_agent *worker, ac_time deadline) {
    ac_value message;
    int err = ac_receive(&message, worker->deadline < deadline ? worker->deadline : deadline);
    if (!err)
        take_message(worker, message);
    return err;
}

static int begin(struct worker_agent *worker) {
    int err = ac_monitor(worker->ref);
    worker_status(worker, AC_WORKER_FOUND, worker->node_name);
    // What the node has may come later than the word of its first worker.
    while (!err && !worker->at->place && !worker->ending)
        err = agent_receive(worker, AC_FOREVER);
    if (!err)
        err = ac_send(worker->ref, ac_list("hello", ac_self(), worker->desk->many_jobs));
    // One that was awaited tells what it has first; it was set up by the scheduler that was lost.
    while (!err && worker->place && placement_is_awaited(worker->place) && !worker->ending)
        err = agent_receive(worker, AC_FOREVER);
    if (err || (worker->place && worker->ending))
        return err;
    if (!worker->place && !worker->ending)
        err = setup_worker(worker);
    if (!err && !worker->place && !worker->ending)
        worker->place = placement_add_worker(worker->desk->place, worker->at->place, worker);
    if (!worker->place)
        return -ENOMEM;
    agent_look(worker);
    worker_status(worker, AC_WORKER_READY, worker->node_name);
    scheduler_changed(worker->desk->scheduler);
    return 0;
}

// What came of its set-up or clean-up says more than how its process ended.
static void describe_end(const struct worker_agent *worker, char text[512]) {
    if (worker->why[0] && worker->closed)
        snprintf(text, 512, "closed; %s", worker->why);
    else if (worker->why[0])
        snprintf(text, 512, "%s", worker->why);
    else
        snprintf(text, 512, "%s", worker->text[0] ? worker->text : "lost");
}

static ac_value run_agent(ac_value argument) {
    struct worker_agent *worker = ac_pointer_of(argument);
    struct desk *desk = worker->desk;
    int err = begin(worker);
    if (err)
        begin_end(worker);
    while (err != -ECANCELED && err != -ETIMEDOUT && !(worker->lost && worker->told)) {
        send_things(worker);
        setup_send(worker);
        if (!(worker->lost && worker->told))
            err = agent_receive(worker, AC_FOREVER);
    }
    list_remove(&worker->link);
    if (worker->site)
        worker->site->worker_count--;
    char text[640];
    snprintf(text, sizeof text, "worker %lld of %s: %s", (long long)worker->number,
             worker->node_name, worker->text[0] ? worker->text : "the connection to it was lost");
    text_mend(text);
    if (worker->place)
        placement_remove_worker(worker->place, worker->begun, text);
    if (desk->record && worker->record)
        journal_worker_gone(worker->record);
    // It may live and stay, for another scheduler, when only the connection to it was lost.
    if (desk->record && worker->site && !worker->told)
        (void)ac_try_send(worker->site->host, ac_list("end", worker->number));
    scheduler_changed(desk->scheduler);
    if (worker->site && is_draining(worker->site))
        agent_kick(worker->site->coro); // it may be drained now
    worker->closed |= desk->closing || (worker->site && worker->site->leaving);
    describe_end(worker, text);
    setup_worker_gone(worker, text);
    worker_status(worker, AC_WORKER_GONE, text);
    batch_done(&worker->out);
    supply_release(worker->at);
    memory_release(worker);
    desk_agent_ended(desk);
    return ac_nil;
}

void agent_add(struct site_agent *site, int64_t number, ac_ref ref) {
    struct worker_agent *worker = memory_allocate_zeroed(sizeof *worker);
    if (!worker)
        return;
    *worker = (struct worker_agent){.desk = site->desk,
                                    .at = site->site,
                                    .site = site,
                                    .ref = ref,
                                    .host = site->host,
                                    .number = number,
                                    .begun = PLACE_NOT_KNOWN,
                                    .deadline = AC_FOREVER,
                                    .node_ref = site->site->holder};
    memcpy(worker->location, site->site->location, sizeof worker->location);
    memcpy(worker->node_name, site->name, sizeof worker->node_name);
    list_init(&worker->link);
    worker->coro = cluster_spawn(site->desk->scheduler->loop, run_agent, worker,
                                 "agent of a worker");
    if (!worker->coro) {
        memory_release(worker);
        return;
    }
    restore_worker(worker);
    list_append(&site->desk->workers, &worker->link);
    site->desk->agent_count++;
    site->worker_count++;
    site->site->users++;
}

static struct worker_agent *find(struct desk *desk, ac_ref ref) {
    list_each (link, &desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (ac_ref_equal(worker->ref, ref))
            return worker->ending ? NULL : worker;
    }
    return NULL;
}

struct worker_agent *agent_find(struct desk *desk, ac_ref ref) {
    struct worker_agent *worker = find(desk, ref);
    return worker && worker->place && !placement_is_awaited(worker->place) ? worker : NULL;
}

// ---- what the client wants of it ----

bool agent_is_suspended(const struct worker_agent *worker) {
    const struct site_agent *site = worker->site;
    return worker->suspended || (site && (site->suspended || site->disabled));
}

void agent_look(struct worker_agent *worker) {
    if (worker->place)
        placement_suspend_worker(worker->place, agent_is_suspended(worker));
    scheduler_changed(worker->desk->scheduler);
}

int agent_steer(struct desk *desk, ac_ref ref, enum steer what) {
    struct worker_agent *worker = find(desk, ref);
    bool suspend = what == STEER_SUSPEND;
    if (!worker)
        return -ESRCH;
    if (!suspend && what != STEER_RESUME)
        return -EINVAL;
    if (worker->suspended == suspend)
        return 0;
    worker->suspended = suspend;
    agent_look(worker);
    worker_status(worker, suspend ? AC_WORKER_SUSPENDED : AC_WORKER_RESUMED, worker->node_name);
    return 0;
}

enum ac_place_state agent_state(const struct worker_agent *worker) {
    if (!worker->place || placement_is_awaited(worker->place))
        return AC_PLACE_FOUND;
    if (worker->ending || !worker->site || is_draining(worker->site))
        return AC_PLACE_DRAINING;
    return agent_is_suspended(worker) ? AC_PLACE_SUSPENDED : AC_PLACE_READY;
}

void agent_worker_ended(struct site_agent *site, int64_t number, uint64_t begun, bool closed,
                        const char *text) {
    list_each (link, &site->desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site != site || (number != 0 && worker->number != number))
            continue;
        if (number == 0)
            worker->site = NULL;
        if (!worker->told) {
            snprintf(worker->text, sizeof worker->text, "%s", text);
            worker->begun = begun;
            worker->closed = closed;
            if (number != 0)
                setup_note_end(worker);
        }
        worker->told = true;
        begin_end(worker);
    }
}

void agent_end_all(struct desk *desk) {
    list_each (link, &desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (!worker->told)
            snprintf(worker->text, sizeof worker->text, "closed");
        worker->told = worker->lost = true;
        begin_end(worker);
    }
}
