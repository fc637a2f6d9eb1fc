// SPDX-License-Identifier: MIT
// Set-ups and clean-ups of places: what the client asks for, and the scheduler's part in them. The
// worker's part, and the messages, are in worker.c; that no worker is started in the place of one
// that a set-up has ended is seen to by host.c.
//
//      worker found --> the node's set-up, in the worker that asks first; others wait for it
//                       | failed: the site is refused
//                       v
//                       the worker's own --> it is given to placement, which gives it jobs
//                                        failed: it leaves; the site is refused with the last one
//
//      site to be left --> clean-up of each worker that was set up --> of the node, in one of these
//                          each until its time is up               --> "close" to the host
//
// A worker that is lost in the set-up of its node was ended by it, as far as anybody can tell: the
// site is refused, because half of a set-up may have been done. One that is lost later takes
// nothing of the node's set-up along, which lies in the folder of the computation there.
//
// Workers that a node has kept when the scheduler was lost (host.c) tell another one which calls
// have ended well in them, and which one runs; the node, whether its set-up has run, in a worker
// that is gone perhaps, or has ended one. So what has run is not run again, and what runs is
// awaited; its time begins anew. The set-up of a node of which nobody says so is begun when each
// worker that was kept has told, or is gone. One that has been given jobs was set up. Where a
// clean-up had begun, the node has kept nothing.
//
// Until all sites are set up or refused, jobs that fit nowhere wait (placement_set_pending).
#include "cluster/scheduler.h"

#include <stdio.h>

enum {
    ITEMS = PLACE_CALLS + 2,
    CLEANUP_SECONDS = 3, // where the client says nothing
    CLEANUP_SECONDS_MAX = 3600,
    SETUP_SECONDS_MAX = 1000 * 1000 * 1000
};
#define SECOND_NS (1000ll * 1000 * 1000)
// Beside the clean-ups themselves.
#define MARGIN_NS (500ll * 1000 * 1000)

const char *place_call_name(enum place_call call) {
    static const char *const names[] = {[CALL_NODE_SETUP] = "the set-up of the node",
                                        [CALL_WORKER_SETUP] = "its set-up",
                                        [CALL_WORKER_CLEANUP] = "its clean-up",
                                        [CALL_NODE_CLEANUP] = "the clean-up of the node"};
    return call > CALL_NOTHING && call < PLACE_CALLS ? names[call] : "nothing";
}

// ---- what the client asks for ----
//
// [function of each enum place_call but the first, or "", argument, nanoseconds of a set-up,
//  nanoseconds of a clean-up]; 0 nanoseconds: any time.

static bool seconds_are_good(double seconds, double max) { return seconds >= 0 && seconds <= max; }

int setup_told(const struct ac_computation_options *options, ac_value *told, ac_time *cleanup_ns) {
    const ac_function functions[PLACE_CALLS] = {
        [CALL_NODE_SETUP] = options->node_setup,
        [CALL_WORKER_SETUP] = options->worker_setup,
        [CALL_WORKER_CLEANUP] = options->worker_cleanup,
        [CALL_NODE_CLEANUP] = options->node_cleanup,
    };
    const char *names[PLACE_CALLS] = {NULL};
    ac_value items[ITEMS], argument = options->setup_argument;
    bool any = false;
    *told = ac_nil;
    int err = value_is_local(argument) ? -ENOTSUP : batch_fits(argument);
    if (!err && (!seconds_are_good(options->setup_seconds_max, SETUP_SECONDS_MAX) ||
                 !seconds_are_good(options->cleanup_seconds_max, CLEANUP_SECONDS_MAX)))
        err = -EINVAL;
    for (int i = CALL_NOTHING + 1; i < PLACE_CALLS && !err; i++) {
        const struct ac_job_entry *entry = functions[i] ? job_entry_of(functions[i]) : NULL;
        any |= entry != NULL;
        err = functions[i] && !entry ? -ENOSYS : 0;
        names[i] = entry ? entry->name : "";
    }
    if (err || !any) {
        ac_drop(argument);
        return err;
    }
    for (int i = CALL_NOTHING + 1; i < PLACE_CALLS; i++)
        items[i - 1] = ac_of(names[i]);
    double cleanup = options->cleanup_seconds_max;
    ac_time one_ns = (ac_time)((cleanup > 0 ? cleanup : CLEANUP_SECONDS) * 1e9);
    items[PLACE_CALLS - 1] = argument;
    items[PLACE_CALLS] = ac_of((ac_time)(options->setup_seconds_max * 1e9));
    items[PLACE_CALLS + 1] = ac_of(one_ns);
    *told = ac_list_of(items, ITEMS);
    *cleanup_ns = (options->worker_cleanup ? one_ns + MARGIN_NS : 0) +
                  (options->node_cleanup ? one_ns + MARGIN_NS : 0);
    return told->kind == AC_INVALID ? ac_error_of(*told) : 0;
}

int setup_read(struct setup *setup, ac_value told) {
    *setup = (struct setup){.told = told};
    const char **at = setup->functions;
    if (ac_is_nil(told))
        return 0;
    int err = ac_unpack(told, &at[CALL_NODE_SETUP], &at[CALL_WORKER_SETUP],
                        &at[CALL_WORKER_CLEANUP], &at[CALL_NODE_CLEANUP], &setup->argument,
                        &setup->setup_ns, &setup->cleanup_ns);
    bool good = setup->setup_ns >= 0 && setup->setup_ns <= SETUP_SECONDS_MAX * SECOND_NS &&
                setup->cleanup_ns >= 0 && setup->cleanup_ns <= CLEANUP_SECONDS_MAX * SECOND_NS;
    return err ? err : good ? 0 : -EINVAL;
}

void setup_done(struct setup *setup) {
    ac_drop(setup->argument);
    ac_drop(setup->told);
}

static bool wants(const struct desk *desk, enum place_call call) {
    return desk->setup.functions[call] && *desk->setup.functions[call];
}

ac_time setup_closing_ns(const struct desk *desk) {
    ac_time one_ns = desk->setup.cleanup_ns + MARGIN_NS;
    return (wants(desk, CALL_WORKER_CLEANUP) ? one_ns : 0) +
           (wants(desk, CALL_NODE_CLEANUP) ? one_ns : 0);
}

void setup_look(struct desk *desk) {
    uint32_t sites = 0;
    if (ac_is_nil(desk->setup.told))
        return;
    list_each (link, &desk->agents) {
        const struct site_agent *site = container_of(link, struct site_agent, link);
        sites += !site->ready && !site->over;
    }
    placement_set_pending(desk->place, sites, desk->setup.workers);
    scheduler_changed(desk->scheduler);
}

// ---- set-ups ----

static void kick_workers(const struct site_agent *site) {
    list_each (link, &site->desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == site)
            agent_kick(worker->coro);
    }
}

static int send_call(struct worker_agent *worker) {
    const struct setup *setup = &worker->desk->setup;
    return ac_send(worker->ref, ac_list("call", (int)worker->call, setup->functions[worker->call],
                                        ac_hold(setup->argument)));
}

// Has the worker run it, unless it does already, and waits. 0; or an error, and worker->why may say
// more.
static int call(struct worker_agent *worker, enum place_call what) {
    ac_time limit_ns = worker->desk->setup.setup_ns;
    ac_time until = limit_ns ? ac_now() + limit_ns : AC_FOREVER;
    bool runs = worker->call == what;
    worker->call = what;
    int err = runs ? 0 : send_call(worker);
    while (!err && worker->call == what && !worker->ending && !worker->why[0]) {
        err = agent_receive(worker, until);
        if (err != -ETIMEDOUT || ac_now() < until)
            continue;
        err = -ETIME;
        snprintf(worker->why, sizeof worker->why, "%s took longer than %.3g s",
                 place_call_name(what), (double)limit_ns * 1e-9);
        agent_end_by_force(worker);
    }
    if (!err)
        err = worker->call == what ? -ECONNRESET : 0;
    return err;
}

bool setup_holds_back(const struct site_agent *site) {
    return wants(site->desk, CALL_NODE_SETUP) && site->setup != SETUP_DONE;
}

static void note_set_up(struct site_agent *site) {
    if (site->setup == SETUP_DONE || site->over)
        return;
    site->setup = SETUP_DONE;
    supply_ready(site);
    kick_workers(site);
}

// It runs in another worker, or may do so.
static bool is_set_up_elsewhere(const struct worker_agent *worker) {
    const struct site_agent *site = worker->site;
    return worker->call != CALL_NODE_SETUP &&
           (site->setup == SETUP_RUNS ||
            (site->setup == SETUP_WAITS && map_count(&site->unheard) > 0));
}

static int set_up_node(struct worker_agent *worker) {
    struct site_agent *site = worker->site;
    int err = 0;
    while (!err && !worker->ending && is_set_up_elsewhere(worker))
        err = agent_receive(worker, AC_FOREVER);
    if (err || worker->ending || site->setup == SETUP_DONE)
        return err;
    site->setup = SETUP_RUNS;
    err = call(worker, CALL_NODE_SETUP);
    if (err || !worker->site) // it is refused when it is known how the worker has ended
        return err ? err : -ECONNRESET;
    note_set_up(site);
    return 0;
}

static bool has_run(const struct worker_agent *worker, enum place_call call) {
    return worker->called & 1u << call;
}

int setup_worker(struct worker_agent *worker) {
    struct desk *desk = worker->desk;
    int err = 0;
    desk->setup.workers++;
    setup_look(desk);
    if (wants(desk, CALL_NODE_SETUP))
        err = set_up_node(worker);
    if (!err && !worker->ending && wants(desk, CALL_WORKER_SETUP) &&
        !has_run(worker, CALL_WORKER_SETUP))
        err = call(worker, CALL_WORKER_SETUP);
    worker->is_set_up = !err && !worker->ending;
    desk->setup.workers--;
    setup_look(desk);
    return err;
}

void setup_take_called(struct worker_agent *worker, ac_value message) {
    const char *word, *why;
    int what;
    if (ac_unpack(message, &word, &what, &why) != 0 || what != (int)worker->call ||
        what == CALL_NOTHING)
        return;
    if (why && *why)
        snprintf(worker->why, sizeof worker->why, "%s failed: %s", place_call_name(worker->call),
                 why);
    // One whose set-up has failed stays in it until it is gone.
    if (place_call_sets_up(worker->call) && worker->why[0])
        return;
    worker->call = CALL_NOTHING;
    if (worker->site && worker->site->leaving)
        agent_kick(worker->site->coro);
}

// ---- what a scheduler that was lost had set up ----

void setup_take_kept(struct site_agent *site, ac_value numbers, bool set_up) {
    size_t cursor = 0;
    for (ac_value each; numbers.kind == AC_LIST && ac_next(numbers, &cursor, &each);
         ac_drop(each)) {
        bool few = map_count(&site->unheard) < WORKERS_MAX;
        if (few && each.kind == AC_INT) // without memory for it it is not waited for
            (void)map_put_id(&site->unheard, (uint64_t)ac_int_of(each), site);
    }
    if (set_up && site->setup == SETUP_WAITS)
        site->setup = SETUP_DONE; // and "ready" comes
}

static void hear_of(struct site_agent *site, int64_t number) {
    if (map_take_id(&site->unheard, (uint64_t)number) && map_count(&site->unheard) == 0)
        kick_workers(site);
}

static bool is_called(const struct site_agent *site, int64_t number) {
    list_each (link, &site->desk->workers) {
        const struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == site && worker->number == number && worker->call == CALL_NODE_SETUP)
            return true;
    }
    return false;
}

void setup_take_gone(struct site_agent *site, int64_t number, int64_t call, bool closed,
                     bool set_up, const char *text) {
    char why[PLACE_TEXT_BYTES];
    if (set_up && wants(site->desk, CALL_NODE_SETUP) && site->setup == SETUP_WAITS)
        note_set_up(site);
    // Else its agent says why.
    if (call == CALL_NODE_SETUP && !closed && !is_called(site, number)) {
        snprintf(why, sizeof why, "%s ended worker %lld: %s", place_call_name(CALL_NODE_SETUP),
                 (long long)number, text);
        if (site->site->place)
            supply_refuse(site, why);
        else // it is not known yet what there is to be kept out
            memcpy(site->why, why, sizeof why);
    }
    hear_of(site, number);
}

void setup_take_state(struct worker_agent *worker, uint32_t called, int64_t runs) {
    struct site_agent *site = worker->site;
    bool sets_up = runs == CALL_NODE_SETUP || runs == CALL_WORKER_SETUP;
    if (!site)
        return;
    worker->called = called;
    if (sets_up && wants(site->desk, (enum place_call)runs))
        worker->call = (enum place_call)runs;
    if (worker->call == CALL_NODE_SETUP && site->setup == SETUP_WAITS)
        site->setup = SETUP_RUNS;
    if (wants(site->desk, CALL_NODE_SETUP) &&
        (has_run(worker, CALL_NODE_SETUP) || has_run(worker, CALL_WORKER_SETUP) ||
         worker->call == CALL_WORKER_SETUP || worker->place))
        note_set_up(site);
    hear_of(site, worker->number);
    if (runs != CALL_NOTHING && worker->call != (enum place_call)runs)
        agent_end_by_force(worker); // a clean-up: it is about to leave. Can wait, and the site end
}

// One that is in a set-up may be unable to answer, and that has its time.
int setup_await_state(struct worker_agent *worker) {
    ac_time limit_ns = worker->place ? 0 : worker->desk->setup.setup_ns;
    ac_time until = limit_ns ? ac_now() + limit_ns : AC_FOREVER;
    int err = 0;
    while (!err && !worker->told_all && !worker->ending) {
        err = agent_receive(worker, until);
        if (err != -ETIMEDOUT || ac_now() < until)
            continue;
        err = -ETIME;
        snprintf(worker->why, sizeof worker->why, "it has not answered for %.3g s",
                 (double)limit_ns * 1e-9);
        agent_end_by_force(worker);
    }
    if (!err && worker->place)
        worker->is_set_up = true;
    return err;
}

void setup_note_end(struct worker_agent *worker) {
    if (worker->call && !worker->closed && !worker->why[0])
        snprintf(worker->why, sizeof worker->why, "%s ended it: %.250s",
                 place_call_name(worker->call), worker->text);
}

void setup_worker_gone(struct worker_agent *worker, const char *text) {
    struct site_agent *site = worker->site;
    enum place_call call = worker->call;
    worker->call = CALL_NOTHING;
    if (!site)
        return;
    // What it has started may keep its process alive.
    if (place_call_sets_up(call) && !worker->told && !worker->closed)
        (void)ac_try_send(site->host, ac_list("end", worker->number));
    if (call == CALL_NODE_SETUP && !worker->closed)
        supply_refuse(site, text);
    if (site->leaving)
        agent_kick(site->coro);
}

// ---- clean-ups ----

void setup_send(struct worker_agent *worker) {
    if (!worker->call_due || worker->ending)
        return;
    worker->call_due = false;
    if (send_call(worker) == 0)
        return;
    worker->call = CALL_NOTHING;
    if (worker->site)
        agent_kick(worker->site->coro); // it waits for no clean-up there
}

// Those of the workers, or that of the node: in the first that has nothing else to do.
static void begin_cleanup(struct site_agent *site, enum place_call call) {
    site->cleaning = call;
    site->cleaning_until = ac_now() + site->desk->setup.cleanup_ns;
    list_each (link, &site->desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site != site || !worker->is_set_up || worker->ending || worker->call)
            continue;
        placement_enable_worker(worker->place, false);
        worker->call = call;
        worker->call_due = true;
        agent_kick(worker->coro);
        if (call == CALL_NODE_CLEANUP)
            return;
    }
}

static bool is_cleaning(const struct site_agent *site) {
    list_each (link, &site->desk->workers) {
        const struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == site && !worker->ending && worker->call == site->cleaning)
            return true;
    }
    return false;
}

static void note_late(const struct site_agent *site) {
    list_each (link, &site->desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == site && worker->call == site->cleaning)
            snprintf(worker->why, sizeof worker->why, "%s took longer than %.3g s",
                     place_call_name(worker->call), (double)site->desk->setup.cleanup_ns * 1e-9);
    }
}

bool setup_is_cleaned(struct site_agent *site) {
    while (site->cleaning < PLACE_CALLS) {
        if (site->cleaning && is_cleaning(site)) {
            if (ac_now() < site->cleaning_until)
                return false;
            note_late(site);
        }
        enum place_call next = site->cleaning ? site->cleaning + 1 : CALL_WORKER_CLEANUP;
        site->cleaning = next;
        site->cleaning_until = AC_FOREVER;
        if (next < PLACE_CALLS && wants(site->desk, next) && !setup_holds_back(site))
            begin_cleanup(site, next);
    }
    return true;
}
