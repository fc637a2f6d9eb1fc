// SPDX-License-Identifier: MIT
// What placement.h promises: the records of jobs, workers and nodes, and what happens to a job.
// Who gets which job is decided in choose.c.
#include "cluster/placement_private.h"

#include <stdio.h>

enum { CANCEL_NS_DEFAULT = 2000 * 1000 * 1000, MEAN_OF = 8 };
#define SECONDS_MAX 4e9 // of a limit; more is none

static void flight_end(struct flight *flight);
static void ask_to_end(struct flight *flight);
static void time_end(struct flight *flight);

// ---- the whole ----

struct placement *placement_create(const struct place_door *door, void *up) {
    struct placement *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->door = door;
    it->up = up;
    list_init(&it->computations);
    list_init(&it->nodes);
    it->nowhere.placement = it;
    list_init(&it->nowhere.link);
    snprintf(it->nowhere.facts.name, sizeof it->nowhere.facts.name,
             "a node that has not come back yet");
    return it;
}

void placement_destroy(struct placement *it) {
    list_each (link, &it->computations)
        placement_close(container_of(link, struct place_computation, link));
    list_each (link, &it->nodes)
        placement_remove_node(container_of(link, struct place_node, link));
    for (struct flight *flight; (flight = it->free_flights) != NULL;) {
        it->free_flights = flight->other;
        memory_release(flight);
    }
    memory_release(it);
}

struct place_computation *placement_open(struct placement *placement,
                                         const struct place_options *options) {
    struct place_computation *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->placement = placement;
    it->user = options->user;
    it->weight = options->weight ? options->weight : 1;
    it->many_jobs = options->many_jobs;
    it->cancel_ns = options->cancel_ns ? options->cancel_ns : CANCEL_NS_DEFAULT;
    it->gap_max = options->gap_max ? options->gap_max : PLACE_GAP_MAX;
    list_init(&it->queued);
    list_init(&it->workers);
    list_init(&it->idle);
    list_init(&it->roomy);
    list_init(&it->cancelling);
    list_init(&it->outs);
    list_init(&it->link);
    list_append(&placement->computations, &it->link);
    return it;
}

void *placement_user(const struct place_computation *it) { return it->user; }
void placement_set_disabled(struct place_computation *it, uint32_t nodes) { it->disabled = nodes; }
void placement_set_pending(struct place_computation *it, uint32_t nodes, uint32_t workers) {
    it->pending_nodes = nodes;
    it->pending_workers = workers;
}
uint64_t placement_jobs(const struct place_computation *it) { return it->job_count; }
uint64_t placement_waiting(const struct place_computation *it) { return it->waiting; }
void placement_tell_time(struct placement *it, ac_time now) { it->now = now; }
void *placement_node_user(const struct place_node *it) { return it->user; }
const struct place_facts *placement_facts(const struct place_node *it) { return &it->facts; }
void *placement_worker_user(const struct place_worker *it) { return it->user; }
uint32_t placement_load(const struct place_worker *it) { return it->load; }
uint64_t placement_given(const struct place_worker *it) { return it->given; }
ac_value placement_argument(const struct job *job) { return job->argument; }
uint64_t placement_number(const struct job *job) { return job->number; }
bool placement_is_suspect(const struct job *job) { return job->starts_lost > 0; }
uint32_t placement_function(const struct job *job) { return job->class->needs.function; }
uint32_t placement_class(const struct job *job) { return job->class->number; }

// ---- jobs by number: pages of pointers, of which those that hold nothing are not there ----

static struct job **place_of(const struct place_computation *it, uint64_t number) {
    uint64_t page = number / PAGE_JOBS;
    if (page >= it->page_count || !it->pages[page])
        return NULL;
    return &it->pages[page]->jobs[number % PAGE_JOBS];
}

struct job *placement_find(const struct place_computation *it, uint64_t number) {
    struct job **place = place_of(it, number);
    return place ? *place : NULL;
}

static int need_page(struct place_computation *it, uint64_t page) {
    if (page >= it->page_count) {
        uint64_t count = it->page_count ? it->page_count * 2 : 8;
        count = count > page ? count : page + 1;
        if (count > SIZE_MAX / sizeof *it->pages)
            return -ENOMEM;
        struct page **pages = memory_resize(it->pages, (size_t)count * sizeof *pages);
        if (!pages)
            return -ENOMEM;
        memset(pages + it->page_count, 0, (size_t)(count - it->page_count) * sizeof *pages);
        it->pages = pages;
        it->page_count = count;
    }
    if (!it->pages[page])
        it->pages[page] = memory_allocate_zeroed(sizeof *it->pages[page]);
    return it->pages[page] ? 0 : -ENOMEM;
}

static void forget_number(struct place_computation *it, uint64_t number) {
    uint64_t page = number / PAGE_JOBS;
    it->pages[page]->jobs[number % PAGE_JOBS] = NULL;
    if (--it->pages[page]->living > 0)
        return;
    memory_release(it->pages[page]);
    it->pages[page] = NULL;
}

// ---- queues ----

static void queue_joined(struct job *job) {
    struct place_class *class = job->class;
    class->queued++;
    class->computation->waiting++;
    job->since = class->computation->placement->now;
    if (class->queued == 1)
        list_append(&class->computation->queued, &class->link);
}

void placement_queue_first(struct job *job) {
    // A list is a circle: before its first is behind its last but for the head.
    list_append(job->class->queue.next, &job->link);
    queue_joined(job);
}

void placement_unqueue(struct job *job) {
    struct place_class *class = job->class;
    list_remove(&job->link);
    class->computation->waiting--;
    if (--class->queued == 0)
        list_remove(&class->link);
}

static bool is_queued(const struct job *job) { return !list_empty(&job->link); }

static void job_free(struct job *job) {
    forget_number(job->class->computation, job->number);
    ac_drop(job->argument);
    memory_release(job);
}

// The job has ended, for its client. It stays while copies of it run elsewhere, which are of no use
// any more, and are ended like what is cancelled.
static void job_done(struct job *job) {
    struct place_computation *it = job->class->computation;
    it->job_count--;
    if (is_queued(job))
        placement_unqueue(job);
    job->done = true;
    for (struct flight *flight = job->flight; flight; flight = flight->other)
        ask_to_end(flight);
    if (!job->flight)
        job_free(job);
}

void placement_report(struct job *job, enum place_end how, int err, const char *why) {
    struct place_computation *it = job->class->computation;
    uint64_t number = job->number;
    job_done(job);
    it->placement->door->report(it->placement->up, it, number, how, err, why);
}

// ---- flights ----

// Where the worker stands among those that have room.
static void sort_worker(struct place_worker *worker) {
    struct place_computation *it = worker->computation;
    list_remove(&worker->room);
    bool open = is_open(worker) && !worker->killing;
    if (open && worker->load == 0)
        list_append(&it->idle, &worker->room);
    else if (open)
        list_append(&it->roomy, &worker->room);
}

// What a worker that runs one job after the other holds of its node is what the greediest of its
// jobs wants; what one that runs many holds is the sum.
static void hold(struct place_worker *worker, const struct place_class *class) {
    struct place_computation *it = worker->computation;
    struct place_node *node = worker->node;
    uint32_t cpus = it->many_jobs                ? class->cpus
                    : class->cpus > worker->cpus ? class->cpus - worker->cpus
                                                 : 0;
    uint64_t memory = it->many_jobs                          ? class->needs.memory
                      : class->needs.memory > worker->memory ? class->needs.memory - worker->memory
                                                             : 0;
    worker->cpus += cpus;
    node->cpus_held += cpus;
    it->cpus_held += cpus;
    worker->memory += memory;
    node->memory_held += memory;
}

static void release(struct place_worker *worker, const struct place_class *class) {
    struct place_computation *it = worker->computation;
    struct place_node *node = worker->node;
    bool all = worker->load == 0;
    if (!all && !it->many_jobs)
        return;
    uint32_t cpus = all ? worker->cpus : class->cpus;
    uint64_t memory = all ? worker->memory : class->needs.memory;
    worker->cpus -= cpus;
    node->cpus_held -= cpus;
    it->cpus_held -= cpus;
    worker->memory -= memory;
    node->memory_held -= memory;
}

// A new flight, which stands nowhere in the list of its worker. NULL: no memory.
static struct flight *flight_begin(struct job *job, struct place_worker *worker, uint64_t number,
                                   uint32_t attempt) {
    struct placement *placement = worker->computation->placement;
    struct flight *flight = placement->free_flights;
    if (flight)
        placement->free_flights = flight->other;
    else
        flight = memory_allocate(sizeof *flight);
    if (!flight)
        return NULL;
    *flight = (struct flight){.job = job,
                              .worker = worker,
                              .other = job->flight,
                              .number = number,
                              .since = placement->now,
                              .attempt = attempt};
    job->flight = flight;
    list_init(&flight->timed);
    list_init(&flight->link);
    worker->load++;
    worker->unbegun++;
    hold(worker, job->class);
    return flight;
}

bool placement_fly(struct job *job, struct place_worker *worker) {
    struct placement *placement = worker->computation->placement;
    struct flight *flight = flight_begin(job, worker, worker->given + 1, job->attempts + 1);
    if (!flight)
        return false;
    worker->given++;
    job->attempts++;
    list_append(&worker->flights, &flight->link);
    sort_worker(worker);
    placement->door->run(placement->up, worker, job, flight->attempt);
    return true;
}

static void flight_end(struct flight *flight) {
    struct place_worker *worker = flight->worker;
    struct placement *placement = worker->computation->placement;
    struct flight **at = &flight->job->flight;
    while (*at != flight)
        at = &(*at)->other;
    *at = flight->other;
    list_remove(&flight->link);
    list_remove(&flight->timed);
    worker->load--;
    worker->unbegun -= !flight->begun;
    worker->recalled -= flight->recalled;
    release(worker, flight->job->class);
    sort_worker(worker);
    flight->other = placement->free_flights;
    placement->free_flights = flight;
}

static struct flight *find_flight(struct place_worker *worker, uint64_t number, uint32_t attempt) {
    struct job *job = placement_find(worker->computation, number);
    struct flight *flight = job ? job->flight : NULL;
    while (flight && (flight->worker != worker || flight->attempt != attempt))
        flight = flight->other;
    return flight;
}

static void unrecall(struct flight *flight) {
    flight->worker->recalled -= flight->recalled;
    flight->recalled = false;
}

bool placement_begun(struct place_worker *worker, uint64_t number, uint32_t attempt, ac_time now,
                     uint32_t *class_number) {
    struct flight *flight = find_flight(worker, number, attempt);
    if (!flight || flight->begun)
        return false;
    worker->computation->placement->now = now;
    flight->begun = true;
    flight->since = now;
    worker->unbegun--;
    unrecall(flight);
    struct place_class *class = flight->job->class;
    if (flight->asked) {
        time_end(flight);
    } else if (class->limit_ns) {
        list_append(&class->timed, &flight->timed);
    }
    *class_number = class->number;
    return !flight->job->done;
}

bool placement_ended(struct place_worker *worker, uint64_t number, uint32_t attempt, uint64_t ns,
                     ac_time now) {
    struct flight *flight = find_flight(worker, number, attempt);
    if (!flight)
        return false;
    struct job *job = flight->job;
    struct place_class *class = job->class;
    bool late = flight->late, whole = flight->begun && !flight->asked;
    worker->computation->placement->now = now;
    flight_end(flight);
    if (job->done) {
        if (!job->flight)
            job_free(job);
        return false;
    }
    if (late) {
        placement_report(job, PLACE_FAILED, -ETIME, class->late_text);
        return false;
    }
    if (whole)
        class->mean_ns += class->ended++ ? ((double)ns - class->mean_ns) / MEAN_OF : (double)ns;
    job_done(job);
    return true;
}

// A flight is over and its job is not: unless another one goes on, it waits again.
static void goes_on(struct job *job, struct place_worker *worker, uint32_t attempt, bool counts) {
    struct placement *placement = worker->computation->placement;
    placement->door->over(placement->up, worker->computation, job->number, attempt, counts);
    if (!job->flight)
        placement_queue_first(job);
}

bool placement_given_back(struct place_worker *worker, uint64_t number, uint32_t attempt) {
    struct flight *flight = find_flight(worker, number, attempt);
    if (!flight)
        return false;
    struct job *job = flight->job;
    flight_end(flight);
    if (job->done && !job->flight)
        job_free(job);
    else if (!job->done && job->cancelled)
        placement_report(job, PLACE_CANCELLED, -ECANCELED, "it was cancelled before it began");
    else if (!job->done)
        goes_on(job, worker, attempt, false);
    return true;
}

// ---- submitting and cancelling ----

int placement_add_class(struct place_computation *it, const struct place_needs *needs,
                        ac_time now) {
    if (it->class_count == PLACE_CLASSES_MAX)
        return -E2BIG;
    struct place_class **classes = memory_resize(it->classes,
                                                 (it->class_count + 1) * sizeof *classes);
    if (!classes)
        return -ENOMEM;
    it->classes = classes;
    struct place_class *class = memory_allocate_zeroed(sizeof *class);
    if (!class)
        return -ENOMEM;
    class->computation = it;
    class->number = it->class_count;
    class->needs = *needs;
    class->cpus = needs->cpus || it->many_jobs ? needs->cpus : 1;
    class->limit_ns = needs->seconds_max > 0 && needs->seconds_max < SECONDS_MAX
                          ? (uint64_t)(needs->seconds_max * 1e9)
                          : 0;
    snprintf(class->late_text, sizeof class->late_text,
             "it took longer than the %g s that it may take", needs->seconds_max);
    class->unfit_since = now;
    list_init(&class->link);
    list_init(&class->queue);
    list_init(&class->timed);
    it->limited |= class->limit_ns > 0;
    it->classes[it->class_count++] = class;
    return (int)class->number;
}

static bool may_follow(const struct place_computation *it, uint64_t number) {
    return number > it->last_number && number - it->last_number <= it->gap_max;
}

int placement_skip(struct place_computation *it, uint64_t number) {
    if (!may_follow(it, number))
        return -EINVAL;
    it->last_number = number;
    return 0;
}

// A job in no queue. Takes the argument.
static int add_job(struct place_computation *it, uint64_t number, uint32_t class_number,
                   ac_value argument, struct job **added) {
    int err = may_follow(it, number) && class_number < it->class_count ? 0 : -EINVAL;
    if (!err)
        err = need_page(it, number / PAGE_JOBS);
    struct job *job = err ? NULL : memory_allocate_zeroed(sizeof *job);
    if (!job) {
        ac_drop(argument);
        return err ? err : -ENOMEM;
    }
    job->number = it->last_number = number;
    job->class = it->classes[class_number];
    job->argument = argument;
    list_init(&job->link);
    *place_of(it, number) = job;
    it->pages[number / PAGE_JOBS]->living++;
    it->job_count++;
    *added = job;
    return 0;
}

static void queue_last(struct job *job) {
    list_append(&job->class->queue, &job->link);
    queue_joined(job);
}

int placement_submit(struct place_computation *it, uint64_t number, uint32_t class_number,
                     struct place_worker *at, ac_value argument) {
    struct job *job;
    int err = add_job(it, number, class_number, argument, &job);
    if (err)
        return err;
    job->pinned = at != NULL;
    if (!at)
        queue_last(job);
    else if (!placement_fly(job, at))
        placement_report(job, PLACE_FAILED, -ENOMEM, "no memory");
    return 0;
}

int placement_restore(struct place_computation *it, uint64_t number, uint32_t class_number,
                      uint32_t attempts, uint8_t starts_lost, ac_value argument) {
    struct job *job;
    if (class_number < it->class_count && starts_lost > it->classes[class_number]->needs.retries) {
        ac_drop(argument);
        int err = placement_skip(it, number);
        return err ? err : 1;
    }
    int err = add_job(it, number, class_number, argument, &job);
    if (err)
        return err;
    job->attempts = attempts;
    job->starts_lost = starts_lost;
    queue_last(job);
    return 0;
}

// One that was asked to end is given up when its time is over. An awaited worker has heard nothing.
static void time_end(struct flight *flight) {
    struct place_computation *it = flight->worker->computation;
    list_remove(&flight->timed);
    if (placement_is_awaited(flight->worker))
        return;
    flight->until = it->placement->now + it->cancel_ns;
    list_append(&it->cancelling, &flight->timed);
}

// Asks a flight to end, as soon as its worker is there.
static void ask_to_end(struct flight *flight) {
    struct place_computation *it = flight->worker->computation;
    if (flight->asked)
        return;
    flight->asked = true;
    unrecall(flight);
    time_end(flight);
    if (!placement_is_awaited(flight->worker))
        it->placement->door->cancel(it->placement->up, flight->worker, flight->job->number,
                                    flight->attempt);
}

void placement_cancel(struct place_computation *it, uint64_t number, ac_time now) {
    struct job *job = placement_find(it, number);
    if (!job || job->cancelled || job->done)
        return;
    it->placement->now = now;
    job->cancelled = true;
    for (struct flight *flight = job->flight; flight; flight = flight->other)
        ask_to_end(flight);
    if (!job->flight)
        placement_report(job, PLACE_CANCELLED, -ECANCELED, "it was cancelled before it began");
}

void placement_cancel_all(struct place_computation *it, ac_time now) {
    for (uint64_t page = 0; page < it->page_count; page++)
        for (uint32_t i = 0; i < PAGE_JOBS && it->pages[page]; i++)
            if (it->pages[page]->jobs[i])
                placement_cancel(it, page * PAGE_JOBS + i, now);
}

// Sees to flights whose time is over: those that have run too long are asked to end, the worker of
// those that were asked and did not is ended. Returns when the next one is due.
static ac_time see_to_times(struct place_computation *it, ac_time now) {
    ac_time due = AC_FOREVER;
    for (uint32_t i = 0; it->limited && i < it->class_count; i++) {
        struct place_class *class = it->classes[i];
        list_each (link, &class->timed) {
            struct flight *flight = container_of(link, struct flight, timed);
            if (flight->since + (ac_time) class->limit_ns > now) {
                due = earlier(due, flight->since + (ac_time) class->limit_ns);
                break;
            }
            flight->late = true;
            ask_to_end(flight);
        }
    }
    list_each (link, &it->cancelling) {
        struct flight *flight = container_of(link, struct flight, timed);
        struct place_worker *worker = flight->worker;
        if (flight->until > now)
            return earlier(due, flight->until);
        if (worker->killing)
            continue;
        // One that has not begun lies behind another that keeps its worker from reading that it
        // is cancelled: that one is not to suffer. Should it begin yet, it has its time again.
        if (!flight->begun) {
            list_remove(&flight->timed);
            if (!flight->job->done)
                placement_report(flight->job, PLACE_CANCELLED, -ECANCELED,
                                 "it was cancelled before it began");
            continue;
        }
        worker->killing = flight->culprit = true;
        sort_worker(worker);
        it->placement->door->kill(it->placement->up, worker, flight->job->number,
                                  flight->late ? flight->job->class->late_text
                                               : "a job did not end when it was cancelled");
    }
    return due;
}

// ---- what is told of jobs ----

uint64_t placement_running(const struct place_computation *it) {
    uint64_t count = 0;
    list_each (link, (struct list *)&it->workers) {
        const struct place_worker *worker = container_of(link, struct place_worker, link);
        count += worker->load - worker->unbegun;
    }
    return count;
}

static void describe(const struct job *job, struct place_view *view) {
    const struct flight *flight = job->flight;
    while (flight && !flight->begun && flight->other)
        flight = flight->other;
    *view = (struct place_view){.number = job->number,
                                .function = job->class->needs.function,
                                .attempts = job->attempts,
                                .at = flight ? flight->worker : NULL,
                                .begun = flight && flight->begun,
                                .since = flight ? flight->since : job->since};
}

bool placement_view(const struct place_computation *it, uint64_t from, struct place_view *view) {
    for (uint64_t page = from / PAGE_JOBS; page < it->page_count; page++)
        for (uint64_t i = from > page * PAGE_JOBS ? from % PAGE_JOBS : 0;
             i < PAGE_JOBS && it->pages[page]; i++) {
            const struct job *job = it->pages[page]->jobs[i];
            if (job && !job->done) {
                describe(job, view);
                return true;
            }
        }
    return false;
}

// ---- nodes and workers ----

struct place_node *placement_add_node(struct placement *placement, void *user,
                                      const struct place_facts *facts, ac_time now) {
    struct place_node *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->user = user;
    it->facts = *facts;
    it->enabled = true;
    list_init(&it->link);
    list_append(&placement->nodes, &it->link);
    if (++placement->node_count == 1)
        placement->settled = now + SETTLE_NS;
    it->placement = placement;
    return it;
}

struct place_out *placement_out(const struct place_computation *it, const struct place_node *node) {
    list_each (link, &it->outs) {
        struct place_out *out = container_of(link, struct place_out, link);
        if (!node || out->node == node)
            return out;
    }
    return NULL;
}

void placement_keep_out(struct place_computation *it, struct place_node *node, const char *why) {
    struct place_out *out = placement_out(it, node);
    if (out) {
        list_remove(&out->link);
        memory_release(out);
    }
    out = why ? memory_allocate_zeroed(sizeof *out) : NULL;
    if (!out)
        return; // without memory jobs wait there for nothing, which is told too
    out->node = node;
    snprintf(out->why, sizeof out->why, "%s", why);
    list_init(&out->link);
    list_append(&it->outs, &out->link);
}

void placement_remove_node(struct place_node *it) {
    list_each (link, &it->placement->computations)
        placement_keep_out(container_of(link, struct place_computation, link), it, NULL);
    it->placement->node_count--;
    list_remove(&it->link);
    memory_release(it);
}

// What has not begun there is asked back.
void placement_recall(struct place_worker *worker, uint32_t count) {
    struct placement *placement = worker->computation->placement;
    if (placement_is_awaited(worker))
        return;
    for (struct list *link = worker->flights.prev; link != &worker->flights && count > 0;
         link = link->prev) {
        struct flight *flight = container_of(link, struct flight, link);
        if (flight->begun || flight->recalled || flight->asked || flight->job->pinned)
            continue;
        flight->recalled = true;
        worker->recalled++;
        count--;
        placement->door->recall(placement->up, worker, flight->job->number, flight->attempt);
    }
}

void placement_enable_worker(struct place_worker *worker, bool enabled) {
    worker->enabled = enabled;
    sort_worker(worker);
    if (!enabled)
        placement_recall(worker, worker->load);
}

void placement_suspend_worker(struct place_worker *worker, bool suspended) {
    worker->suspended = suspended;
    sort_worker(worker);
    if (suspended)
        placement_recall(worker, worker->load);
}

void placement_enable_node(struct place_node *node, bool enabled) {
    node->enabled = enabled;
    list_each (link, &node->placement->computations) {
        struct place_computation *it = container_of(link, struct place_computation, link);
        list_each (at, &it->workers) {
            struct place_worker *worker = container_of(at, struct place_worker, link);
            if (worker->node != node)
                continue;
            sort_worker(worker);
            if (!enabled)
                placement_recall(worker, worker->load);
        }
    }
}

struct place_worker *placement_add_worker(struct place_computation *computation,
                                          struct place_node *node, void *user) {
    struct place_worker *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return NULL;
    it->computation = computation;
    it->node = node;
    it->user = user;
    it->enabled = true;
    it->round_trip_ns = ROUND_TRIP_NS;
    list_init(&it->flights);
    list_init(&it->room);
    list_init(&it->link);
    list_append(&computation->workers, &it->link);
    sort_worker(it);
    return it;
}

// ---- workers that are awaited ----

bool placement_is_awaited(const struct place_worker *worker) {
    return worker->node == &worker->computation->placement->nowhere;
}

struct place_worker *placement_await_worker(struct place_computation *computation, void *user) {
    return placement_add_worker(computation, &computation->placement->nowhere, user);
}

int placement_restore_flight(struct place_worker *worker, uint64_t number, uint32_t attempt,
                             uint64_t place, bool pinned) {
    struct job *job = placement_find(worker->computation, number);
    assert(placement_is_awaited(worker));
    if (!job)
        return -ESRCH;
    for (struct flight *other = job->flight; other; other = other->other)
        if (other->attempt == attempt)
            return -EINVAL;
    if (place == 0)
        return -EINVAL;
    struct flight *flight = flight_begin(job, worker, place, attempt);
    if (!flight)
        return -ENOMEM;
    if (is_queued(job))
        placement_unqueue(job);
    struct list *before = worker->flights.prev;
    while (before != &worker->flights && container_of(before, struct flight, link)->number > place)
        before = before->prev;
    list_append(before->next, &flight->link);
    flight->restored = true;
    job->pinned |= pinned;
    job->attempts = attempt > job->attempts ? attempt : job->attempts;
    worker->given = place > worker->given ? place : worker->given;
    if (job->cancelled)
        ask_to_end(flight);
    return 0;
}

void placement_has(struct place_worker *worker, uint64_t number, uint32_t attempt) {
    struct flight *flight = find_flight(worker, number, attempt);
    if (flight)
        flight->known = true;
}

bool placement_was_cancelled(struct place_worker *worker, uint64_t number, uint32_t attempt) {
    struct flight *flight = find_flight(worker, number, attempt);
    if (!flight || !flight->restored || flight->asked || flight->job->cancelled)
        return false;
    const struct place_class *class = flight->job->class;
    if (class->needs.copies && (flight->job->flight->other || !class->limit_ns))
        return placement_given_back(worker, number, attempt);
    flight->late = class->limit_ns > 0;
    return false;
}

// What never arrived, or was given back in vain. From the latest on, because each goes to the head
// of its queue; but for a job that may run nowhere else.
static void give_back_unknown(struct place_worker *worker) {
    for (struct list *link = worker->flights.prev, *before; link != &worker->flights;
         link = before) {
        struct flight *flight = container_of(link, struct flight, link);
        struct job *job = flight->job;
        before = link->prev;
        if (flight->begun || flight->known)
            continue;
        if (job->pinned && !job->cancelled)
            placement_report(job, PLACE_LOST, -EHOSTUNREACH, "it never arrived at its worker");
        (void)placement_given_back(worker, job->number, flight->attempt);
    }
}

void placement_settle_worker(struct place_worker *worker, struct place_node *node, void *user,
                             uint64_t given, ac_time now) {
    struct place_computation *it = worker->computation;
    it->placement->now = now;
    give_back_unknown(worker);
    it->cpus_held -= worker->cpus;
    worker->node->cpus_held -= worker->cpus;
    worker->node->memory_held -= worker->memory;
    worker->cpus = 0;
    worker->memory = 0;
    worker->node = node;
    worker->user = user;
    worker->given = given;
    list_each (link, &worker->flights) {
        struct flight *flight = container_of(link, struct flight, link);
        hold(worker, flight->job->class);
        if (flight->asked) { // and it has not heard of it
            flight->asked = false;
            ask_to_end(flight);
        }
    }
    sort_worker(worker);
    if (!is_open(worker))
        placement_recall(worker, worker->load);
}

void placement_set_round_trip(struct place_worker *worker, uint64_t ns) {
    worker->round_trip_ns = ns;
}

// The flight is over because its worker is gone.
static void flight_lost(struct flight *flight, bool forced, const char *why) {
    struct job *job = flight->job;
    struct place_worker *worker = flight->worker;
    uint32_t attempt = flight->attempt;
    bool begun = flight->begun, culprit = flight->culprit, late = flight->late;
    flight_end(flight);
    if (job->done && !job->flight)
        job_free(job);
    else if (job->flight && !job->done) // another copy goes on
        goes_on(job, worker, attempt, false);
    else if (job->done)
        return;
    else if (late && (culprit || begun))
        placement_report(job, PLACE_FAILED, -ETIME, job->class->late_text);
    else if (job->cancelled)
        placement_report(job, culprit ? PLACE_LOST : PLACE_CANCELLED, -ECANCELED,
                         culprit ? "it did not end when it was cancelled, and its worker was ended"
                                 : "it was cancelled");
    else if (job->pinned)
        placement_report(job, PLACE_LOST, begun ? -ECONNRESET : -EHOSTUNREACH, why);
    else if (begun && !forced && job->starts_lost++ >= job->class->needs.retries)
        placement_report(job, PLACE_LOST, -ECONNRESET, why);
    else
        goes_on(job, worker, attempt, begun && !forced);
}

static void know_begun(struct place_worker *worker, uint64_t begun) {
    list_each (link, &worker->flights) {
        struct flight *flight = container_of(link, struct flight, link);
        bool has = flight->number <= begun;
        worker->unbegun += flight->begun && !has;
        worker->unbegun -= !flight->begun && has;
        flight->begun = has;
    }
}

void placement_remove_worker(struct place_worker *worker, uint64_t begun, const char *why) {
    bool forced = worker->killing;
    worker->enabled = false;
    know_begun(worker, begun);
    // The latest first, because each one goes to the head of its queue.
    while (!list_empty(&worker->flights))
        flight_lost(container_of(worker->flights.prev, struct flight, link), forced, why);
    list_remove(&worker->room);
    list_remove(&worker->link);
    memory_release(worker);
}

static void job_drop(struct job *job) {
    if (is_queued(job))
        placement_unqueue(job);
    while (job->flight)
        flight_end(job->flight);
    job_free(job);
}

void placement_close(struct place_computation *it) {
    for (uint64_t page = 0; page < it->page_count; page++)
        for (uint32_t i = 0; i < PAGE_JOBS && it->pages[page]; i++)
            if (it->pages[page]->jobs[i])
                job_drop(it->pages[page]->jobs[i]);
    list_each (link, &it->workers)
        placement_remove_worker(container_of(link, struct place_worker, link), PLACE_NOT_KNOWN, "");
    for (uint64_t page = 0; page < it->page_count; page++)
        memory_release(it->pages[page]); // one that was made for a job that could not be
    for (uint32_t i = 0; i < it->class_count; i++)
        memory_release(it->classes[i]);
    for (struct place_out *out; (out = placement_out(it, NULL)) != NULL;) {
        list_remove(&out->link);
        memory_release(out);
    }
    memory_release(it->classes);
    memory_release(it->pages);
    list_remove(&it->link);
    memory_release(it);
}

ac_time placement_turn(struct placement *placement, ac_time now) {
    ac_time due = AC_FOREVER;
    placement->now = now;
    list_each (link, &placement->computations)
        due = earlier(due, see_to_times(container_of(link, struct place_computation, link), now));
    return earlier(due, place_all(placement, now));
}
