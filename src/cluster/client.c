// SPDX-License-Identifier: MIT
// A computation as its owner sees it, from open to close; the courier; the supplier. Jobs are in
// job.c. The messages between courier and scheduler are specified at the head of desk.c, those
// between supplier and node at the head of host.c.
//
//      open ------------------> OPEN --close, or the owner ends, or the loop stops--> CLOSING ---->
//      freed courier and supplier          closer: 1. waits for the jobs until the deadline
//                                            2. cancels those that are left, waits CANCEL_GRACE_NS
//                                            3. reports the rest as lost
//                                            4. has the desk end all workers, and itself
//                                            5. wakes the one who closes, frees the computation
//
// The closer is a coroutine of its own, so that closing goes on when the one who asked for it is
// cancelled. A computation whose owner has ended is closed all the same; its record then stays
// until the loop ends, because somebody may still hold the pointer.
#include "cluster/client_private.h"
#include "cluster/scheduler.h"

#include <stdio.h>

enum { LOOK_NS = 500 * 1000 * 1000 };
// The scheduler ends the worker of a job that has not ended two seconds after it was cancelled.
#define CANCEL_GRACE_NS (3500ll * 1000 * 1000)
#define DESK_GRACE_NS (9000ll * 1000 * 1000)

static bool abandon_close(struct coro *coro);
static void owner_ended(struct end_watch *watch, const struct ac_exit *exit);
static ac_value run_closer(ac_value argument);
static ac_value run_courier(ac_value argument);

// Where a worker is.
struct spot {
    ac_ref node;
    char location[64];
};

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
    if (cluster->scheduler)
        scheduler_stop(cluster->scheduler);
}

static void forget_spots(struct ac_computation *it) {
    uint64_t cursor = 0;
    for (struct spot *spot; (spot = map_next(&it->spots, &cursor, NULL, NULL)) != NULL;)
        memory_release(spot);
    map_done(&it->spots);
}

static void computation_free(struct ac_computation *it) {
    mapping_close_all(it);
    job_free_all(it);
    forget_spots(it);
    output_close(&it->output);
    batch_done(&it->wants);
    batch_done(&it->kept_classes);
    ac_drop(it->open);
    ac_drop(it->setup);
    digest_wipe(it->key, sizeof it->key);
    memory_release(it);
}

static void cluster_done(struct loop *loop, void *state) {
    struct cluster *cluster = state;
    loop->extra[LOOP_CLUSTER].state = NULL;
    list_each (link, &cluster->computations)
        computation_free(container_of(link, struct ac_computation, link));
    if (cluster->scheduler)
        scheduler_free(cluster->scheduler);
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
    const char *name = options && options->name ? options->name : job_program_name();
    snprintf(it->name, sizeof it->name, "%s", name);
    text_mend(it->name);
    list_init(&it->link);
    list_init(&it->submitters);
    list_init(&it->mappings);
    list_init(&it->deliveries);
    it->many_jobs = options && options->many_jobs;
    map_init(&it->jobs);
    map_init(&it->classes);
    map_init(&it->spots);
    output_init(&it->output);
    return it;
}

struct coro *computation_helper(struct ac_computation *it, ac_function function, void *argument,
                                const char *name) {
    struct coro *coro = cluster_spawn(it->loop, function, argument, name);
    it->helpers += coro != NULL;
    return coro;
}

void computation_helper_ended(struct ac_computation *it) {
    it->helpers--;
    computation_changed(it);
}

static int open_with(struct coro *self, ac_computation **computation,
                     const struct ac_computation_options *options, ac_value setup,
                     ac_time cleanup_ns) {
    int err = remote_is_started(self->loop) ? 0 : ac_network_start();
    if (err && err != -EALREADY)
        return err;
    struct cluster *cluster = cluster_need(self->loop);
    struct ac_computation *it = cluster ? create(self, options) : NULL;
    if (!it)
        return -ENOMEM;
    it->setup = ac_hold(setup);
    it->cleanup_ns = cleanup_ns;
    err = sys_random_bytes(it->key, sizeof it->key);
    if (!err)
        err = contact_choose(it, options);
    if (!err)
        err = contact_begin(cluster, it);
    if (!err)
        err = output_open(&it->output, options ? options->output : NULL);
    if (!err)
        err = cargo_open(&it->cargo, options);
    if (err)
        goto release;
    it->courier = computation_helper(it, run_courier, it, "courier of a computation");
    it->supplier = it->courier ? computation_helper(it, supplier_run, it, "supplier of a program")
                               : NULL;
    err = it->supplier ? contact_open(cluster, it, options) : -ENOMEM;
    if (err)
        goto end_helpers;
    list_append(&cluster->computations, &it->link);
    coro_watch(self, &it->owner_watch);
    *computation = it;
    return 0;

end_helpers:
    // They have not run yet, and never will.
    if (it->courier)
        coro_cancel(it->courier);
    if (it->supplier)
        coro_cancel(it->supplier);
    cargo_close(&it->cargo);
release:
    computation_free(it);
    return err;
}

int ac_computation_open_with(ac_computation **computation,
                             const struct ac_computation_options *options) {
    struct ac_computation_options whole = {0}; // an older program knows fewer
    if (options)
        memcpy(&whole, options, options->size < sizeof whole ? options->size : sizeof whole);
    struct coro *self = coro_here();
    ac_value setup = ac_nil;
    ac_time cleanup_ns = 0;
    int err = !self ? -EPERM : !computation || !job_entries_known() ? -EINVAL : 0;
    if (err)
        ac_drop(whole.setup_argument);
    else
        err = setup_told(&whole, &setup, &cleanup_ns);
    if (!err)
        err = open_with(self, computation, &whole, setup, cleanup_ns);
    ac_drop(setup);
    return err;
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

// ---- the courier ----

void computation_wants(struct ac_computation *it, int err) {
    it->broken |= err < 0;
    it->kicked = it->kicked || agent_kick(it->courier);
}

void spot_describe(const struct ac_computation *it, ac_ref worker, struct ac_status *status) {
    const struct spot *spot = map_get(&it->spots, &worker, sizeof worker);
    if (!spot)
        return;
    status->node = spot->node;
    memcpy(status->location, spot->location, sizeof status->location);
}

static void keep_spot(struct ac_computation *it, const struct ac_status *status,
                      const char *address) {
    struct sys_address at;
    struct spot *spot = memory_allocate_zeroed(sizeof *spot);
    if (!spot)
        return;
    spot->node = status->node;
    memcpy(spot->location, status->location, sizeof spot->location);
    if (map_put(&it->spots, &status->worker, sizeof status->worker, spot) < 0)
        memory_release(spot);
    if (address && sys_address_parse(address, &at))
        (void)remote_introduce(it->loop, status->worker.peer, &at);
}

static void copy_text(char *to, size_t bytes, ac_value text) {
    snprintf(to, bytes, "%s", ac_text_of(text) ? ac_text_of(text) : "");
}

static void take_status(struct ac_computation *it, const ac_value *items) {
    struct ac_status status = {.kind = (enum ac_status_kind)ac_int_of(items[0]),
                               .node = ac_ref_of(items[1]),
                               .worker = ac_ref_of(items[2]),
                               .coroutine = ac_ref_of(items[3]),
                               .job = ac_int_of(items[4]),
                               .lost = ac_bool_of(items[5])};
    copy_text(status.location, sizeof status.location, items[6]);
    copy_text(status.text, sizeof status.text, items[7]);
    if (status.kind == AC_WORKER_READY)
        keep_spot(it, &status, ac_text_of(items[8]));
    else if (status.kind == AC_WORKER_GONE)
        memory_release(map_take(&it->spots, &status.worker, sizeof status.worker));
    computation_tell(it, status_notice(&status));
}

static void take_news(struct ac_computation *it, ac_value message) {
    size_t cursor = 0;
    enum thing thing;
    ac_value items[THING_ITEMS_MAX];
    while (batch_next(message, &cursor, &thing, items)) {
        if (thing == THING_DONE) {
            it->taken++;
            job_done(it, items);
        } else if (thing == THING_STARTED) {
            job_started(it, items);
        } else if (thing == THING_STATUS) {
            take_status(it, items);
        }
        batch_drop(thing, items);
    }
}

static void take_desk(struct ac_computation *it, ac_value message) {
    const char *word;
    ac_ref desk;
    if (ac_ref_is(it->desk) || ac_unpack(message, &word, &desk) != 0)
        return;
    it->desk = desk;
    if (ac_monitor(desk) < 0)
        it->desk_gone = true;
}

// The desk has ended: all that it has told was there before.
static void take_end(struct ac_computation *it, enum ac_end how) {
    if (how == AC_LOST && it->has_token && !it->leaving)
        it->desk_lost = true;
    else
        it->desk_gone = true;
}

static void take_message(struct ac_computation *it, ac_value message) {
    struct ac_exit exit;
    if (ac_is_nil(message)) {
        it->kicked = false;
    } else if (ac_exit_of(message, &exit)) {
        if (ac_ref_equal(exit.who, it->desk))
            take_end(it, exit.how);
        ac_drop(exit.value);
    } else if (message_is(message, "news")) {
        take_news(it, message);
    } else if (message_is(message, "desk")) {
        take_desk(it, message);
    } else if (message_is(message, "closed")) {
        it->leaving = true;
    }
    ac_drop(message);
}

// A desk that keeps a journal forgets a job when it is known that its end has come here.
static int want_taken(struct ac_computation *it) {
    if (!it->has_token || it->taken == it->taken_told)
        return 0;
    it->taken_told = it->taken;
    return batch_add(&it->wants, THING_TAKEN, ac_of(it->taken));
}

static int send_wants(struct ac_computation *it) {
    int err = it->broken ? -ENOMEM : want_taken(it);
    while (!err && !batch_empty(&it->wants)) {
        ac_value message = batch_take(&it->wants, "want");
        err = message.kind == AC_INVALID ? ac_error_of(message) : ac_send(it->desk, message);
    }
    return err;
}

// Until the desk is gone or lost. It sends when it has read what was there, so that much that is
// wanted at once goes in few messages.
static int carry(struct ac_computation *it, int err) {
    bool sends = true;
    while (!it->desk_gone && !it->desk_lost) {
        if (!err && sends && ac_ref_is(it->desk) && ac_mailbox_count() == 0)
            err = send_wants(it);
        if (err == -EHOSTUNREACH && it->has_token && !it->leaving) {
            sends = false; // it is lost: what has come from it is read first
            err = 0;
        }
        ac_value message;
        if (!err)
            err = ac_receive(&message, AC_FOREVER);
        if (err)
            return err;
        take_message(it, message);
    }
    return 0;
}

// A desk was lost: finds the one that takes its place, and tells that all it needs.
static int come_back(struct ac_computation *it) {
    forget_spots(it);
    it->desk_lost = false;
    it->telling = true;
    int err = contact_return(it);
    it->taken = it->taken_told = 0;
    if (!err)
        err = job_tell_again(it);
    it->telling = false;
    return err;
}

static ac_value run_courier(ac_value argument) {
    struct ac_computation *it = ac_pointer_of(argument);
    int err = it->where[0] ? contact_reach(it) : 0;
    if (!err)
        err = carry(it, 0);
    while (!err && it->desk_lost) {
        err = come_back(it);
        if (!err || ac_ref_is(it->desk))
            err = carry(it, err);
    }
    it->courier = NULL;
    it->desk_gone = true;
    if (err && err != -ECANCELED)
        trace(TRACE_CLUSTER, "%s: the scheduler was not told: %s", it->name, ac_strerror(err));
    bool refused = err && !ac_ref_is(it->desk);
    if (!refused || !*it->why)
        snprintf(it->why, sizeof it->why, "the scheduler is gone");
    contact_lost(it);
    job_end_waits(it, -ECANCELED);
    job_end_all(it, AC_LOST, refused ? err : -ECONNRESET, it->why);
    computation_helper_ended(it);
    return ac_nil;
}

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
    if (it->where[0] && !ac_ref_is(it->desk)) { // nobody else knows of them, or can tell
        job_end_all(it, it->has_token ? AC_LOST : AC_CANCELLED, -ECANCELED, it->why);
        return;
    }
    it->all_unwanted = true;
    computation_want(it, THING_DROP, ac_of(0));
    ac_time until = ac_now() + CANCEL_GRACE_NS;
    while (map_count(&it->jobs) > 0 && wait_for_kick(until))
        computation_wants(it, 0); // the courier may have lost its kick likewise
    job_end_all(it, AC_LOST, -ECANCELED, "it did not end when it was cancelled");
}

static void close_desk(struct ac_computation *it) {
    // Where it cannot be told it notices the end of the courier.
    it->leaving = true;
    bool told = ac_ref_is(it->desk) && !it->desk_gone && ac_send(it->desk, ac_list("close")) == 0;
    ac_time until = ac_now() + DESK_GRACE_NS + it->cleanup_ns;
    while (told && it->courier && wait_for_kick(until))
        continue;
    if (it->courier)
        coro_cancel(it->courier);
    if (it->supplier)
        coro_cancel(it->supplier);
    supplier_end_deliveries(it);
    while (it->helpers > 0 && wait_for_kick(AC_FOREVER))
        continue;
}

static ac_value run_closer(ac_value argument) {
    struct ac_computation *it = ac_pointer_of(argument);
    trace(TRACE_CLUSTER, "%s: closing, %u jobs left", it->name, map_count(&it->jobs));
    job_end_waits(it, -ECANCELED);
    wait_for_jobs(it);
    close_desk(it);
    output_close(&it->output);
    cargo_close(&it->cargo);
    it->closed = true;
    struct coro *waiter = it->waiter;
    bool owned = it->owner != NULL;
    if (owned)
        coro_unwatch(&it->owner_watch);
    // Helpers are left only when the loop ends and has cancelled this coroutine too.
    if (it->helpers == 0 && (waiter || owned)) {
        list_remove(&it->link);
        computation_free(it);
    }
    if (waiter)
        coro_wake(waiter, 0);
    return ac_nil;
}
