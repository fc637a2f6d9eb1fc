// SPDX-License-Identifier: MIT
// The program of the clients in simulated clusters, written as a user writes his: some coroutines,
// each of which opens one computation after the other, submits jobs of many kinds, cancels some,
// runs some at a worker, suspends and disables places, and hears what comes of it. When nothing new
// is to begin it waits until all its jobs have ended, which they must soon.
#include "cluster.h"

#include <stdio.h>

enum {
    OWNERS = 2,
    WORKERS_KNOWN = 64,
    ALL_END_S = 150,
    REFUSED_END_S = 30, // where a node has refused, and perhaps none is left
    ORDERS_MAX = 200,
    MAPPED_MAX = 2000,
    CRASHES_MAX = 4
};

// One computation, while it is open.
struct owner {
    struct actor *client;
    struct account *account;
    ac_computation *it;
    ac_ref workers[WORKERS_KNOWN]; // that are ready
    size_t worker_count;
    uint32_t submitted;
    uint32_t crashes; // jobs that may end their workers
    bool picky;       // takes one node alone, so that not all jobs find one that fits
    bool refused;     // by a node, which gives up where workers end again and again
    bool mapping;     // a coroutine has one open
};

static bool by_chance(int per_cent) { return ac_random_int(0, 99) < per_cent; }

// ---- what comes ----

static void take_status(struct owner *owner, const struct ac_status *status) {
    struct account *account = owner->account;
    sim_note("status", owner->client->process->number, (uint64_t)status->kind,
             (uint64_t)status->job);
    if (status->kind == AC_WORKER_READY && owner->worker_count < WORKERS_KNOWN) {
        owner->workers[owner->worker_count++] = status->worker;
    } else if (status->kind == AC_WORKER_GONE) {
        for (size_t i = 0; i < owner->worker_count; i++)
            if (ac_ref_equal(owner->workers[i], status->worker))
                owner->workers[i--] = owner->workers[--owner->worker_count];
        if (status->lost && cluster_is_mild())
            jobs_check_ended(status->worker, status->text);
    } else if (status->kind == AC_NODE_GONE) {
        sim_check(!status->lost || !cluster_is_mild(),
                  "a node is lost though all is mended by sending again");
    } else if (status->kind == AC_SCHEDULER_GONE || status->kind == AC_SCHEDULER_READY ||
               status->kind == AC_SCHEDULER_LOST) {
        comeback_told(account, status);
        if (status->kind == AC_SCHEDULER_LOST)
            owner->worker_count = 0; // those that are found again are told of again
    } else if (status->kind == AC_NODE_REFUSED) {
        owner->refused = true;
    } else if (status->kind == AC_JOB_STARTED && status->job) {
        struct ac_job_exit named = {.job = status->job};
        struct order *order = jobs_find(account, &named);
        sim_check(order && !order->noticed && !order->quiet,
                  "an owner is told of the start of job %lld", (long long)status->job);
        order->started = true;
    }
}

static void take(struct owner *owner, ac_value message) {
    struct ac_job_exit exit;
    struct ac_status status;
    if (ac_job_exit_of(message, &exit)) {
        jobs_noticed(owner->account, &exit);
        ac_drop(exit.exit.value);
    } else if (ac_status_of(message, &status)) {
        take_status(owner, &status);
    } else {
        jobs_came(owner->account, message);
    }
}

static int hear(struct owner *owner, ac_time until) {
    ac_value message;
    int err;
    while ((err = ac_receive(&message, until)) == 0) {
        take(owner, message);
        ac_drop(message);
    }
    return err;
}

// ---- what is wanted ----

static enum deed draw_deed(const struct owner *owner) {
    static const uint8_t per_cent[DEEDS] = {
        [DEED_BRIEF] = 45, [DEED_WAIT] = 17, [DEED_COMPUTE] = 10, [DEED_TALK] = 12,
        [DEED_LARGE] = 4,  [DEED_FAIL] = 4,  [DEED_CRASH] = 5,    [DEED_STUBBORN] = 3};
    int64_t draw = ac_random_int(0, 99);
    enum deed deed = DEED_BRIEF;
    while (draw >= per_cent[deed])
        draw -= per_cent[deed++];
    return deed == DEED_CRASH && owner->crashes >= CRASHES_MAX ? DEED_BRIEF : deed;
}

static ac_value argument_of(const struct order *order) {
    static const uint8_t padding[1 << 15];
    size_t bytes = story.weather & WEATHER_FLOOD && by_chance(20) ? sizeof padding : 0;
    return ac_list((int64_t)order->id, ac_self(), ac_of_bytes(padding, bytes));
}

static void submit(struct owner *owner) {
    struct order *order = jobs_order(owner->account, draw_deed(owner));
    owner->crashes += order->deed == DEED_CRASH;
    owner->account->wild |= order->deed == DEED_CRASH || order->deed == DEED_STUBBORN;
    struct ac_job_options options = {.size = sizeof options};
    if (by_chance(50)) {
        options.retries = order->retries = (uint32_t)ac_random_int(0, 3);
        options.quiet = order->quiet = by_chance(20);
        options.copies = order->copies = order->deed == DEED_WAIT && by_chance(20);
        options.cpus = by_chance(15) ? (uint32_t)ac_random_int(1, CLUSTER_CPUS) : 0;
        options.memory = by_chance(15) ? (uint64_t)ac_random_int(0, 1 << 30) : 0;
        order->limited = by_chance(10);
        options.seconds_max = order->limited ? LATE_MS * 1e-3 : 0;
    }
    if (!owner->picky && by_chance(5)) {
        options.tags = "kind=rare";
        options.wait_for_nodes = by_chance(50);
        order->tagged = !options.wait_for_nodes;
    }
    // The one with the number is known before any notice of it can come: nobody else runs between.
    int64_t number = ac_submit_with(owner->it, order->deed == DEED_BRIEF ? brief : act,
                                    argument_of(order), &options);
    sim_check(number > 0 || owner->account->gone || number == -ECANCELED,
              "a job cannot be submitted: %s", ac_strerror((int)number));
    if (number > 0)
        jobs_is(order, number);
    owner->submitted++;
}

static void run_at(struct owner *owner) {
    if (owner->worker_count == 0)
        return;
    struct order *order = jobs_order(owner->account, DEED_WAIT);
    ac_ref worker = owner->workers[ac_random_int(0, (int64_t)owner->worker_count - 1)];
    ac_ref ref = ac_run_at(owner->it, worker, act, argument_of(order));
    int err = ac_ref_error(ref);
    sim_note("run-at", order->id, (uint64_t)(int64_t)err, 0);
    sim_check(!err || err == -EHOSTUNREACH || err == -ECONNRESET || err == -EBUSY ||
                  err == -ECANCELED || (owner->account->gone && err < 0),
              "a job cannot be run at a worker: %s", ac_strerror(err));
    sim_check(err != -EHOSTUNREACH || order->begun == 0,
              "a job had begun at a worker, and is told to have not");
    if (!err)
        jobs_pinned(order, ref);
}

static void cancel_one(struct owner *owner) {
    struct account *account = owner->account;
    int64_t number = ac_random_int(0, account->order_count);
    struct order *order = number < account->order_count ? account->orders[number] : NULL;
    if (!order)
        return;
    int err = ac_job_cancel(owner->it, number);
    if (err == 0 && !order->cancel_asked)
        order->cancel_at = sim.now;
    order->cancel_asked |= err == 0;
    sim_check(err == 0 || err == -ESRCH, "a job cannot be cancelled: %s", ac_strerror(err));
}

// What is suspended is resumed at once, or when the computation is closed.
static void steer(struct owner *owner) {
    if (owner->worker_count == 0)
        return;
    ac_ref worker = owner->workers[ac_random_int(0, (int64_t)owner->worker_count - 1)];
    if (ac_place_suspend(owner->it, worker, ac_after(2)) == 0)
        (void)hear(owner, ac_after(ac_random_real(0, 0.5)));
    for (int i = 0; i < 20; i++) {
        int err = ac_place_resume(owner->it, worker, ac_after(5));
        if (err == 0 || err == -ESRCH || err == -ECANCELED || owner->account->gone)
            return;
        (void)hear(owner, ac_after(1));
    }
}

static void want_something(struct owner *owner) {
    for (int64_t count = ac_random_int(0, 30); count > 0 && owner->submitted < ORDERS_MAX; count--)
        submit(owner);
    if (by_chance(30))
        cancel_one(owner);
    if (by_chance(15))
        run_at(owner);
    if (by_chance(5))
        steer(owner);
}

// ---- a mapping ----

static void take_mapped(const struct owner *owner, uint8_t *seen, int64_t count,
                        const struct ac_mapped *one) {
    sim_check(one->index >= 0 && one->index < count && !seen[one->index],
              "argument %lld of a mapping has another result", (long long)one->index);
    seen[one->index] = 1;
    sim_check(one->how != AC_FINISHED || ac_int_of(one->value) == one->index * one->index,
              "argument %lld of a mapping has a wrong result", (long long)one->index);
    bool unplaced = owner->account->sets_up && one->how == AC_FAILED &&
                    ac_error_of(one->value) == -ENODEV;
    sim_check(one->how == AC_FINISHED || one->how == AC_LOST || unplaced || owner->account->closing,
              "argument %lld of a mapping has %s", (long long)one->index, ac_end_name(one->how));
}

static ac_value map_some(ac_value argument) {
    struct owner *owner = ac_pointer_of(argument);
    int64_t count = ac_random_int(1, MAPPED_MAX), told = 0;
    ac_mapping *map;
    struct ac_mapped one;
    uint8_t *seen = memory_allocate_zeroed((size_t)count);
    int err = ac_mapping_open(&map, owner->it, square, .count = (uint64_t)count,
                              .in_order = by_chance(50), .job.retries = 1);
    if (!err) {
        while ((err = ac_mapping_next(map, &one, AC_FOREVER)) > 0) {
            take_mapped(owner, seen, count, &one);
            ac_drop(one.value);
            told++;
        }
        sim_check(err == -ECANCELED || told == count,
                  "a mapping of %lld arguments has ended with %lld results: %s", (long long)count,
                  (long long)told, ac_strerror(err));
        if (err == 0)
            ac_mapping_close(map);
    }
    memory_release(seen);
    owner->mapping = false;
    return ac_nil;
}

// ---- the computation ----

static void open_one(struct owner *owner) {
    struct account *account = owner->account;
    account->many = by_chance(25);
    owner->picky = by_chance(20);
    account->here = !cluster.has_scheduler || by_chance(story.keeps ? 5 : 20);
    account->sets_up = story.keeps && by_chance(20);
    bool sets_up = account->sets_up;
    int err = ac_computation_open(
        &owner->it, .name = "simulated", .many_jobs = account->many,
        .nodes_max = owner->picky ? 1 : 0, .workers_max = by_chance(30) ? 1 : 0,
        .weight = (uint32_t)ac_random_int(0, 3), .scheduler = account->here ? "here" : "any",
        .node_setup = sets_up ? set_up_site : NULL, .worker_setup = sets_up ? set_up_spot : NULL,
        .worker_cleanup = sets_up ? clean_up_spot : NULL,
        .node_cleanup = sets_up ? clean_up_site : NULL, .setup_argument = ac_of(account->id));
    sim_check(err == 0, "a computation cannot be opened: %s", ac_strerror(err));
}

static bool is_over(const struct owner *owner) {
    return cluster.quiet || owner->account->gone || owner->client->process->stop;
}

// All have ended soon, where nothing befalls them any more.
static void wait_for_all(struct owner *owner) {
    ac_time until = ac_after(owner->refused ? REFUSED_END_S : ALL_END_S);
    while ((jobs_missing(owner->account) > 0 || owner->mapping) && !owner->account->gone &&
           ac_now() < until)
        (void)hear(owner, ac_after(0.2));
    if (owner->refused)
        return;
    if (jobs_missing(owner->account) > 0)
        jobs_tell_missing(owner->account, owner->it);
    sim_check(jobs_missing(owner->account) == 0, "%u jobs do not end though all is well",
              jobs_missing(owner->account));
    sim_check(!owner->mapping || owner->account->gone, "a mapping does not end though all is well");
}

static void close_one(struct owner *owner) {
    struct account *account = owner->account;
    bool calm = account->sets_up && account->here && !account->wild && story.weather == 0;
    account->closing = true;
    if (calm)
        places_closing(account);
    int err = ac_computation_close(owner->it, ac_after(ac_random_real(0, 3)));
    sim_check(err == 0, "a computation cannot be closed: %s", ac_strerror(err));
    while (owner->mapping)
        (void)hear(owner, ac_after(0.01));
    (void)hear(owner, AC_NOW);
    jobs_closed(account);
    if (calm)
        places_closed(account);
}

static void run_computation(struct actor *client) {
    struct owner owner = {.client = client, .account = jobs_account(client)};
    ac_time until = ac_after(ac_random_real(1, 20));
    open_one(&owner);
    if (by_chance(30)) {
        owner.mapping = true;
        (void)ac_spawn(map_some, ac_of_pointer(&owner), .daemon = true);
    }
    while (!is_over(&owner) && ac_now() < until) {
        want_something(&owner);
        (void)hear(&owner, ac_after(ac_random_real(0, 0.6)));
    }
    if (cluster.quiet)
        wait_for_all(&owner);
    close_one(&owner);
}

static ac_value own(ac_value argument) {
    struct actor *client = ac_pointer_of(argument);
    while (!cluster.quiet) {
        run_computation(client);
        (void)ac_sleep(ac_random_real(0, 1));
    }
    client->owners--;
    return ac_nil;
}

// After its computations it stays until it is told to end.
static ac_value live(ac_value argument) {
    struct actor *client = ac_pointer_of(argument);
    while (!client->process->stop)
        (void)ac_sleep(0.05);
    return ac_nil;
}

void owner_run_client(struct process *process) {
    struct actor *client = process->of;
    cluster_start_network();
    client->owners = OWNERS;
    for (int i = 0; i < OWNERS; i++)
        (void)ac_spawn(own, ac_of_pointer(client), .daemon = true, .stack_bytes = 64 << 10);
    (void)ac_spawn(live, ac_of_pointer(client));
    int err = ac_run();
    sim_check(err == 0, "client %u ended with %s", client->place, ac_strerror(err));
}
