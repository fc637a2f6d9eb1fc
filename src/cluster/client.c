// SPDX-License-Identifier: MIT
// A computation as its owner sees it: open, submit, run_at, close.
//
//      open --------------> OPEN --close, or the owner ends, or the loop stops--> CLOSING ---->
//      freed finder and agents            closer: 1. waits for the jobs until the deadline
//                                           2. cancels those that are left, waits CANCEL_GRACE_NS
//                                           3. reports the rest as lost
//                                           4. has the nodes end the workers; all agents end
//                                           5. wakes the one who closes, frees the computation
//
// The closer is a coroutine of its own, so that closing goes on when the one who asked for it is
// cancelled. A computation whose owner has ended is closed all the same; its record then stays
// until the loop ends, because somebody may still hold the pointer.
#include "cluster/client_private.h"

#include <stdio.h>

enum {
    LOOK_NS = 500 * 1000 * 1000,
    CANCEL_GRACE_NS = 2000 * 1000 * 1000,
    AGENTS_GRACE_NS = 2000 * 1000 * 1000
};

// What cluster/ hangs on a loop.
struct cluster {
    struct list computations;
};

// One who waits for room in the queue.
struct submitter {
    struct list link;
    struct coro *coro;
};

static bool abandon_submit(struct coro *coro);
static bool abandon_run(struct coro *coro);
static bool abandon_close(struct coro *coro);
static void owner_ended(struct end_watch *watch, const struct ac_exit *exit);
static ac_value run_closer(ac_value argument);

static const struct wait_kind submitting = {.name = "room for a job", .abandon = abandon_submit};
static const struct wait_kind starting = {.name = "start of a job", .abandon = abandon_run};
static const struct wait_kind closing = {.name = "close", .abandon = abandon_close};

// ---- the state of a loop ----

static int begin_close(struct ac_computation *it, ac_time deadline) {
    const struct ac_spawn_options options = {.size = sizeof options, .name = "closer"};
    int err = 0;
    it->deadline = deadline;
    it->closer = coro_create(it->loop, run_closer, ac_of_pointer(it), &options, true, &err);
    return it->closer ? 0 : err;
}

static void cluster_stopping(struct loop *loop, void *state) {
    (void)loop;
    struct cluster *cluster = state;
    list_each (link, &cluster->computations) {
        struct ac_computation *it = container_of(link, struct ac_computation, link);
        if (!it->closer && !it->closed)
            (void)begin_close(it, AC_NOW);
    }
}

static void computation_free(struct ac_computation *it) {
    map_done(&it->jobs);
    memory_release(it);
}

static void cluster_done(struct loop *loop, void *state) {
    struct cluster *cluster = state;
    loop->extra[LOOP_CLUSTER].state = NULL;
    list_each (link, &cluster->computations)
        computation_free(container_of(link, struct ac_computation, link));
    memory_release(cluster);
}

static struct cluster *cluster_need(struct loop *loop) {
    struct cluster *cluster = loop->extra[LOOP_CLUSTER].state;
    if (cluster)
        return cluster;
    cluster = memory_allocate_zeroed(sizeof *cluster);
    if (!cluster)
        return NULL;
    list_init(&cluster->computations);
    loop_extend(
        loop, LOOP_CLUSTER,
        (struct loop_extra){.state = cluster, .stopping = cluster_stopping, .done = cluster_done});
    return cluster;
}

// ---- open ----

static struct ac_computation *create(struct coro *self,
                                     const struct ac_computation_options *options) {
    struct ac_computation *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->loop = self->loop;
    it->owner = self;
    it->owner_watch.ended = owner_ended;
    it->many_jobs = options && options->many_jobs;
    it->nodes_max = options ? options->nodes_max : 0;
    it->workers_max = options ? options->workers_max : 0;
    it->key = sys_random(self->loop->sys);
    const char *name = options && options->name ? options->name : job_program_name();
    snprintf(it->name, sizeof it->name, "%s", name);
    text_mend(it->name);
    list_init(&it->link);
    list_init(&it->nodes);
    list_init(&it->spare);
    list_init(&it->workers);
    list_init(&it->queue);
    list_init(&it->submitters);
    map_init(&it->jobs);
    return it;
}

int ac_computation_open_with(ac_computation **computation,
                             const struct ac_computation_options *options) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!computation || !job_entries_known())
        return -EINVAL;
    int err = remote_is_started(self->loop) ? 0 : ac_network_start();
    if (err && err != -EALREADY)
        return err;
    struct cluster *cluster = cluster_need(self->loop);
    struct ac_computation *it = cluster ? create(self, options) : NULL;
    if (!it)
        return -ENOMEM;
    err = cargo_open(&it->cargo, options);
    if (err)
        goto release;
    it->finder = computation_spawn(it, supply_run_finder, it, "finder of nodes");
    if (!it->finder) {
        err = -ENOMEM;
        goto close_cargo;
    }
    list_append(&cluster->computations, &it->link);
    coro_watch(self, &it->owner_watch);
    *computation = it;
    return 0;

close_cargo:
    cargo_close(&it->cargo);
release:
    computation_free(it);
    return err;
}

struct coro *computation_spawn(struct ac_computation *it, ac_function function, void *argument,
                               const char *name) {
    const struct ac_spawn_options options = {
        .size = sizeof options, .name = name, .daemon = true, .stack_bytes = 256 << 10};
    int err = 0;
    struct coro *coro = coro_create(it->loop, function, ac_of_pointer(argument), &options, true,
                                    &err);
    it->agents += coro != NULL;
    return coro;
}

// ---- jobs ----

// What is wrong with a call that wants to run a function; 0 if nothing is.
static int check_call(const struct ac_computation *it, ac_function function, ac_value argument,
                      const struct ac_job_entry **entry) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (argument.kind == AC_INVALID)
        return ac_error_of(argument);
    if (self->cancelled)
        return coro_may_wait(self, AC_FOREVER);
    if (it->closer || it->closed)
        return -ECANCELED;
    if (value_is_local(argument))
        return -ENOTSUP;
    *entry = job_entry_of(function);
    if (!*entry)
        trace(TRACE_CLUSTER, "a function is to be run that is not declared: declare it with "
                             "AC_JOB(function)");
    return *entry ? 0 : -ENOSYS;
}

static bool abandon_submit(struct coro *coro) {
    struct submitter *it = coro->wait_for;
    list_remove(&it->link);
    return true;
}

void computation_has_room(struct ac_computation *it) {
    struct list *link;
    uint32_t room = it->queue_count < QUEUE_MAX ? QUEUE_MAX - it->queue_count : 0;
    while (room-- > 0 && (link = list_take(&it->submitters)) != NULL)
        coro_wake(container_of(link, struct submitter, link)->coro, 0);
}

static int wait_for_room(struct ac_computation *it) {
    struct coro *self = coro_here();
    while (it->queue_count >= QUEUE_MAX) {
        int err = coro_may_wait(self, AC_FOREVER);
        if (err)
            return err;
        struct submitter waits = {.coro = self};
        list_init(&waits.link);
        list_append(&it->submitters, &waits.link);
        self->wait_for = &waits;
        err = (int)coro_wait(self, &submitting, AC_FOREVER);
        if (err)
            return err;
    }
    return 0;
}

int64_t ac_submit_with(ac_computation *it, ac_function function, ac_value argument) {
    const struct ac_job_entry *entry;
    int err = it ? check_call(it, function, argument, &entry) : -EINVAL;
    if (!err)
        err = wait_for_room(it);
    if (err) {
        ac_drop(argument);
        return err;
    }
    int64_t number = ++it->last_number;
    struct job *job = scheduler_add_job(it, NULL, entry->name, argument);
    if (!job)
        return -ENOMEM;
    job->number = number;
    return number;
}

// Cancelled before the job began: nobody will hear of it.
static bool abandon_run(struct coro *coro) {
    struct run_wait *wait = coro->wait_for;
    struct job *job = wait->job;
    wait->job = NULL;
    job->wait = NULL;
    job->silent = true;
    scheduler_cancel(job);
    return true;
}

ac_ref ac_run_at_with(ac_computation *it, ac_ref worker, ac_function function, ac_value argument) {
    const struct ac_job_entry *entry;
    int err = it ? check_call(it, function, argument, &entry) : -EINVAL;
    struct worker_agent *at = err ? NULL : scheduler_find_worker(it, worker);
    if (!err && !at)
        err = -EHOSTUNREACH;
    if (err) {
        ac_drop(argument);
        return ref_none(err);
    }
    struct job *job = scheduler_add_job(it, at, entry->name, argument);
    if (!job)
        return ref_none(-ENOMEM);
    struct run_wait wait = {.coro = coro_here(), .job = job};
    job->wait = &wait;
    wait.coro->wait_for = &wait;
    err = (int)coro_wait(wait.coro, &starting, AC_FOREVER);
    return err < 0 ? ref_none(err) : wait.result;
}

// ---- notices ----

void computation_tell(struct ac_computation *it, ac_value notice) {
    int err = it->owner ? mailbox_put(it->owner, notice) : -ESRCH;
    if (!it->owner)
        ac_drop(notice);
    else if (err)
        trace(TRACE_CLUSTER, "%s: a notice could not be given: %s", it->name, ac_strerror(err));
}

static void owner_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct ac_computation *it = container_of(watch, struct ac_computation, owner_watch);
    it->owner = NULL;
    if (!it->closer && !it->closed)
        (void)begin_close(it, AC_NOW);
}

void computation_changed(struct ac_computation *it) { agent_kick(it->closer); }

// ---- close ----

static bool abandon_close(struct coro *coro) {
    struct ac_computation *it = coro->wait_for;
    it->waiter = NULL;
    it->deadline = AC_NOW;
    agent_kick(it->closer);
    return true;
}

int ac_computation_close(ac_computation *it, ac_time deadline) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!it)
        return -EINVAL;
    if (it->closed) { // by the end of its owner
        list_remove(&it->link);
        computation_free(it);
        return 0;
    }
    if (!it->closer) {
        int err = begin_close(it, self->cancelled ? AC_NOW : deadline);
        if (err)
            return err;
    }
    if (it->waiter)
        return -EBUSY;
    // Who is told that it was cancelled lets others run, who may end the computation.
    if (self->cancelled)
        return coro_may_wait(self, AC_FOREVER);
    it->waiter = self;
    self->wait_for = it;
    return (int)coro_wait(self, &closing, AC_FOREVER);
}

// Waits until the closer is kicked, or a while, because a kick may be lost for want of memory.
// False when time is up, or for good.
static bool wait_for_kick(ac_time deadline) {
    ac_value message;
    ac_time look = ac_now() + LOOK_NS;
    int err = ac_receive(&message, deadline < look ? deadline : look);
    if (!err)
        ac_drop(message);
    return err == 0 || (err == -ETIMEDOUT && look < deadline);
}

static void wait_for_jobs(struct ac_computation *it) {
    while (map_count(&it->jobs) > 0 && wait_for_kick(it->deadline))
        continue;
    if (map_count(&it->jobs) == 0)
        return;
    scheduler_cancel_all(it);
    ac_time until = ac_now() + CANCEL_GRACE_NS;
    while (map_count(&it->jobs) > 0 && wait_for_kick(until))
        continue;
    scheduler_give_up(it);
}

static void end_agents(struct ac_computation *it) {
    coro_cancel(it->finder);
    supply_end_nodes(it);
    ac_time until = ac_now() + AGENTS_GRACE_NS;
    while (!list_empty(&it->nodes) && wait_for_kick(until))
        continue;
    scheduler_end_workers(it);
    // Whatever still waits for a node that takes nothing in.
    list_each (link, &it->nodes)
        coro_cancel(container_of(link, struct node_agent, link)->coro);
    until = ac_now() + AGENTS_GRACE_NS;
    while (it->agents > 0 && wait_for_kick(until))
        continue;
    list_each (worker, &it->workers)
        coro_cancel(container_of(worker, struct worker_agent, link)->coro);
    while (it->agents > 0 && wait_for_kick(AC_FOREVER))
        continue;
}

static ac_value run_closer(ac_value argument) {
    struct ac_computation *it = ac_pointer_of(argument);
    trace(TRACE_CLUSTER, "%s: closing, %u jobs left", it->name, map_count(&it->jobs));
    struct list *link;
    while ((link = list_take(&it->submitters)) != NULL)
        coro_wake(container_of(link, struct submitter, link)->coro, -ECANCELED);
    wait_for_jobs(it);
    end_agents(it);
    supply_forget_spares(it);
    cargo_close(&it->cargo);
    it->closed = true;
    struct coro *waiter = it->waiter;
    bool owned = it->owner != NULL;
    if (owned)
        coro_unwatch(&it->owner_watch);
    // Agents are left only when the loop ends and has cancelled this coroutine too.
    if (it->agents == 0 && (waiter || owned)) {
        list_remove(&it->link);
        computation_free(it);
    }
    if (waiter)
        coro_wake(waiter, 0);
    return ac_nil;
}
