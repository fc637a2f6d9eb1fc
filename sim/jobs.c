// SPDX-License-Identifier: MIT
// The jobs of simulated clusters: what their bodies do, and the oracle, which knows of each job
// what its client wants, each time that its body begins or ends, and what the client is told:
//
//   - there is one notice for each job, and it is true: a result is that of a body that has ended,
//     who failed was to fail, who was cancelled was to be
//   - one that was cancelled does not begin any more
//   - a job begins once, and once more for each retry that its class has; and again where its
//   worker
//     was ended for the sake of another job
//   - it is reported lost only when more attempts were lost than it has retries
//   - what it sends its owner comes before its notice
//   - a worker runs one job at a time, or many if it may; it is not given more ahead than placement
//     says, nor a node more than it has
//   - what a node tells of a worker that has ended is what that has counted
//
// Two functions of placement.c are seen as they are called, which is where the scheduler decides
// that an attempt has begun, and that a worker gets one more.
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster/journal.h"
#include "cluster/placement_private.h"

bool __wrap_placement_fly(struct job *job, struct place_worker *worker);
bool __real_placement_fly(struct job *job, struct place_worker *worker);
void __wrap_placement_remove_worker(struct place_worker *worker, uint64_t begun, const char *why);
void __real_placement_remove_worker(struct place_worker *worker, uint64_t begun, const char *why);

AC_JOB(brief)
AC_JOB(act)
AC_JOB(square)

// What it takes at the most that a job is cancelled, where nothing befalls anybody.
#define CANCEL_NS (2 * SIM_S)

enum { STUBBORN_S = 4, LARGE_BYTES = 100 << 10 };

// A worker process.
struct hand {
    struct process *process;
    uint64_t peer;        // 0: no body has begun there
    uint32_t busy;        // bodies that run
    const int64_t *begun; // in which it counts
};

static struct {
    struct order **orders; // by id
    uint32_t order_count;
    struct account **accounts;
    uint32_t account_count;
    struct hand *hands;
    uint32_t hand_count;
} all;

void jobs_begin(void) { memset(&all, 0, sizeof all); }

void jobs_end(void) {
    for (uint32_t i = 0; i < all.account_count; i++)
        free(all.accounts[i]->orders);
    free(all.orders);
    free(all.accounts);
    free(all.hands);
}

uint64_t jobs_count(void) { return all.order_count; }

static void *grow(void *list, uint32_t count, size_t bytes) {
    if (count & (count - 1)) // it has room up to the next power of two
        return list;
    void *it = realloc(list, (count ? 2 * (size_t)count : 1) * bytes);
    if (!it)
        abort();
    return it;
}

// ---- what is wanted ----

struct account *jobs_account(struct actor *client) {
    struct account *it = cluster_keep(sizeof *it);
    it->client = client;
    it->process = client->process;
    all.accounts = grow(all.accounts, all.account_count, sizeof *all.accounts);
    it->id = all.account_count;
    all.accounts[all.account_count++] = it;
    return it;
}

struct account *jobs_account_at(uint32_t id) {
    return all.accounts[id];
}

struct order *jobs_order(struct account *account, enum deed deed) {
    struct order *it = cluster_keep(sizeof *it);
    it->id = all.order_count;
    it->of = account;
    it->deed = deed;
    all.orders = grow(all.orders, all.order_count, sizeof *all.orders);
    all.orders[all.order_count++] = it;
    return it;
}

void jobs_is(struct order *order, int64_t number) {
    struct account *of = order->of;
    sim_check(number >= of->order_count, "a job has the number %lld of another", (long long)number);
    while (of->order_count <= number) {
        of->orders = grow(of->orders, of->order_count, sizeof *of->orders);
        of->orders[of->order_count++] = NULL;
    }
    order->number = number;
    of->orders[number] = order;
    sim_note("submit", order->id, (uint64_t)number, order->deed);
}

void jobs_pinned(struct order *order, ac_ref ref) { order->ref = ref; }

struct order *jobs_find(const struct account *account, const struct ac_job_exit *exit) {
    if (exit->job)
        return exit->job > 0 && exit->job < account->order_count ? account->orders[exit->job]
                                                                 : NULL;
    for (uint32_t i = 0; i < all.order_count; i++)
        if (all.orders[i]->of == account && ac_ref_is(exit->exit.who) &&
            ac_ref_equal(all.orders[i]->ref, exit->exit.who))
            return all.orders[i];
    return NULL;
}

uint32_t jobs_missing(const struct account *account) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < account->order_count; i++)
        count += account->orders[i] && !account->orders[i]->noticed;
    return count;
}

void jobs_tell_missing(const struct account *account, ac_computation *computation) {
    char text[PLACE_TEXT_BYTES];
    for (uint32_t i = 0; i < account->order_count; i++) {
        const struct order *order = account->orders[i];
        if (!order || order->noticed)
            continue;
        int err = ac_job_why(computation, order->number, text, sizeof text, ac_after(5));
        printf("# job %u (%lld): %s\n", order->id, (long long)order->number,
               err ? ac_strerror(err) : text);
    }
}

void jobs_closed(const struct account *account) {
    for (uint32_t i = 0; i < account->order_count; i++)
        sim_check(!account->orders[i] || account->orders[i]->noticed,
                  "job %u got no notice, and its computation is closed", account->orders[i]->id);
}

// ---- the bodies ----

static struct hand *hand_of(uint64_t peer) {
    for (uint32_t i = all.hand_count; i-- > 0;)
        if (all.hands[i].peer == peer)
            return &all.hands[i];
    return NULL;
}

static struct hand *hand_here(void) {
    for (uint32_t i = all.hand_count; i-- > 0;)
        if (all.hands[i].process == sim.running)
            return &all.hands[i];
    return NULL;
}

void jobs_worker_made(struct process *process, const int64_t *begun) {
    all.hands = grow(all.hands, all.hand_count, sizeof *all.hands);
    all.hands[all.hand_count++] = (struct hand){.process = process, .begun = begun};
}

// It is known where a job has run.
void jobs_check_ended(ac_ref worker, const char *text) {
    const struct hand *hand = hand_of(worker.peer);
    sim_check(!hand || !process_lives(hand->process),
              "worker process %u lives, and is told to be lost: %s", hand->process->number, text);
}

bool jobs_run_here(void) { return hand_here()->busy > 0; }

void jobs_check_none_runs(void) {
    for (uint32_t i = 0; i < all.hand_count; i++)
        sim_check(!process_lives(all.hands[i].process), "worker process %u still runs",
                  all.hands[i].process->number);
}

static struct order *order_of(ac_value argument) {
    ac_value first = argument.kind == AC_LIST ? ac_at(argument, 0) : ac_nil;
    uint64_t id = first.kind == AC_INT ? (uint64_t)ac_int_of(first) : UINT64_MAX;
    ac_drop(first);
    return id < all.order_count ? all.orders[id] : NULL;
}

// So often may a body begin.
static uint32_t begins_allowed(const struct order *order) {
    return 1 + order->retries + order->undone +
           (order->copies ? 1 + order->retries + order->lost : 0);
}

static struct order *begin_body(ac_value argument, struct beginning **at) {
    struct order *order = order_of(argument);
    struct hand *hand = hand_here();
    sim_check(order && hand, "a job runs that nobody has submitted, or where no worker is");
    hand->peer = loop_here->peer;
    hand->busy++;
    sim_note("begin", order->id, sim.running->number, order->begun);
    sim_check(hand->busy == 1 || order->of->many, "worker process %u runs %u jobs at once",
              sim.running->number, hand->busy);
    sim_check(order->begun < begins_allowed(order) && order->begun < BEGINS_MAX,
              "job %u begins for the %u. time, and has %u retries", order->id, order->begun + 1,
              order->retries);
    sim_check(!order->cancel_asked || story.weather != 0 || sim.now < order->cancel_at + CANCEL_NS,
              "job %u begins, and was cancelled long ago", order->id);
    if (order->of->sets_up)
        places_job_begins();
    *at = &order->beginnings[order->begun++];
    (*at)->peer = hand->peer;
    return order;
}

static ac_value end_body(struct order *order, const struct beginning *at, ac_value more) {
    hand_here()->busy--;
    order->ended++;
    sim_note("end", order->id, sim.running->number, 0);
    return ac_list((int64_t)order->id, at - order->beginnings, more);
}

// Keeps the processor.
static void spend(ac_time ns) {
    sim.running->spent += ns;
    (void)ac_now();
}

ac_value brief(ac_value argument) {
    struct beginning *at;
    struct order *order = begin_body(argument, &at);
    spend(ac_random_int(1000, 50000));
    if (ac_random_int(0, 599) == 0) // which nobody expects of it
        (void)ac_sleep(ac_random_real(0, 2));
    return end_body(order, at, ac_nil);
}

ac_value square(ac_value argument) {
    int64_t it = ac_int_of(argument);
    spend(ac_random_int(1000, 50000));
    if (ac_random_int(0, 99) == 0)
        (void)ac_sleep(0.01);
    return ac_of(it * it);
}

static void talk(const struct order *order, struct beginning *at, ac_ref owner) {
    for (int64_t count = ac_random_int(0, TALKS_MAX); count > 0; count--) {
        int err = ac_send(owner, ac_list((int64_t)order->id, at - order->beginnings, at->sent));
        if (err)
            return;
        at->sent++;
        if (ac_random_int(0, 5) == 0 && ac_sleep(ac_random_real(0, 0.02)) < 0)
            return;
    }
}

static void resist(void) {
    ac_time until = ac_after(STUBBORN_S);
    (void)ac_shield_begin();
    while (ac_now() < until && ac_sleep(0.5) == 0)
        continue;
    (void)ac_shield_end();
}

static void crash(void) {
    sim.running->dies_in = 1;
    process_counts(sim.running);
}

// A dispatch over the deeds.
ac_value act(ac_value argument) {
    static const uint8_t padding[LARGE_BYTES];
    struct beginning *at;
    struct order *order = begin_body(argument, &at);
    ac_value owner = ac_at(argument, 1), more = ac_nil;
    switch (order->deed) {
    case DEED_WAIT: (void)ac_sleep(ac_random_real(0, 1)); break;
    case DEED_COMPUTE: // where there are many, no guardian keeps the links of the worker meanwhile
        spend(ac_random_int(1, order->of->many ? 5 : 300) * SIM_MS);
        break;
    case DEED_TALK: talk(order, at, ac_ref_of(owner)); break;
    case DEED_LARGE: more = ac_of_bytes(padding, (size_t)ac_random_int(0, LARGE_BYTES)); break;
    case DEED_FAIL: more = ac_of_error(-EDOM, "it was to fail"); break;
    case DEED_CRASH:
        (void)ac_sleep(ac_random_real(0, 0.1));
        if (ac_random_int(0, 2) > 0)
            crash();
        break;
    case DEED_STUBBORN: resist(); break;
    default: break;
    }
    ac_drop(owner);
    if (order->deed == DEED_FAIL) {
        ac_drop(end_body(order, at, ac_nil));
        return more;
    }
    return end_body(order, at, more);
}

// ---- what the owner is told ----

void jobs_came(struct account *account, ac_value message) {
    uint64_t id = story_number_at(message, 0), at = story_number_at(message, 1);
    uint64_t number = story_number_at(message, 2);
    struct order *order = id < all.order_count ? all.orders[id] : NULL;
    sim_check(order && order->of->client == account->client && at < order->begun,
              "an owner got a message that no job of its has sent");
    struct beginning *it = &order->beginnings[at];
    sim_note("came", id, at, number);
    // Some are missing where the worker and the client were lost to each other.
    sim_check(number == it->came || (number > it->came && !cluster_is_mild()),
              "the owner of job %u got its message %llu when it was to get its %u.", order->id,
              (unsigned long long)number, it->came);
    it->came = (uint32_t)number + 1;
    // One that is lost for the scheduler may live on, and send.
    sim_check(!it->told, "a message of job %u comes after its notice", order->id);
    sim_check(order->of == account || order->noticed,
              "an owner got a message of a job of another computation");
}

static void check_result(struct order *order, const struct ac_exit *exit) {
    uint64_t at = story_number_at(exit->value, 1);
    sim_check(order->ended > 0 && ac_count(exit->value) == 3 &&
                  story_number_at(exit->value, 0) == order->id && at < order->begun,
              "job %u has finished with a result that is not its own", order->id);
    struct beginning *it = &order->beginnings[at];
    it->told = true;
    sim_check(it->came == it->sent || !cluster_is_mild(),
              "job %u has finished, and of its %u messages %u came", order->id, it->sent, it->came);
    sim_check(order->started || order->quiet || !order->number,
              "job %u has finished, and its owner was not told that it had started", order->id);
}

static void check_failure(const struct order *order, const struct ac_exit *exit) {
    bool right = exit->reason == -EDOM     ? order->deed == DEED_FAIL && order->ended > 0
                 : exit->reason == -ETIME  ? order->limited
                 : exit->reason == -ENODEV ? order->tagged || order->of->sets_up
                                           : false;
    sim_check(right, "job %u has failed: %s", order->id, ac_strerror(exit->reason));
}

static void check_loss(const struct order *order, const struct ac_exit *exit) {
    static const char gone[] = "the scheduler ";
    const struct account *of = order->of;
    ac_span why = ac_span_of(exit->value);
    // The scheduler is, and with it all; who closes is told so by that alone.
    if (of->gone || (of->closing && !of->here && why.bytes > strlen(gone) &&
                     memcmp(why.at, gone, strlen(gone)) == 0))
        return;
    if (exit->reason == -ECANCELED) {
        sim_check(order->cancel_asked || of->closing, "job %u is lost: it was cancelled by nobody",
                  order->id);
        return;
    }
    if (!order->number) { // at one worker: that is gone
        sim_check(order->lost > 0 || exit->reason == -EHOSTUNREACH, "job %u is lost with no worker",
                  order->id);
        return;
    }
    sim_check(exit->reason == -ECONNRESET, "job %u is lost: %s", order->id,
              ac_strerror(exit->reason));
    sim_check(order->lost > order->retries || (order->copies && order->lost > 0),
              "job %u is lost, and %u of its attempts were, of %u: %.*s", order->id, order->lost,
              1 + order->retries, (int)why.bytes, (const char *)why.at);
}

void jobs_noticed(struct account *account, const struct ac_job_exit *exit) {
    struct order *order = jobs_find(account, exit);
    sim_check(order, "there is a notice of a job %lld that is none", (long long)exit->job);
    sim_note("notice", order->id, (uint64_t)exit->exit.how, (uint64_t)(int64_t)exit->exit.reason);
    sim_check(!order->noticed, "job %u got a second notice", order->id);
    order->noticed = true;
    switch (exit->exit.how) {
    case AC_FINISHED: check_result(order, &exit->exit); break;
    case AC_FAILED: check_failure(order, &exit->exit); break;
    case AC_CANCELLED:
        sim_check(order->cancel_asked || account->closing, "job %u was cancelled by nobody",
                  order->id);
        break;
    default: check_loss(order, &exit->exit); break;
    }
}

// ---- what the scheduler decides ----

static bool began_at(const struct order *order, uint64_t peer) {
    for (uint32_t i = 0; i < order->begun; i++)
        if (order->beginnings[i].peer == peer)
            return true;
    return false;
}

// False: a scheduler that was lost has noted that before.
static bool note_lost(struct order *order, uint64_t peer) {
    for (uint32_t i = 0; i < order->lost_count; i++)
        if (order->lost_at[i] == peer)
            return false;
    sim_check(order->lost_count < BEGINS_MAX, "job %u is lost again and again", order->id);
    order->lost_at[order->lost_count++] = peer;
    return true;
}

static void lose_flight(const struct flight *flight, const struct place_worker *worker,
                        uint64_t peer, uint64_t begun) {
    struct order *order = order_of(flight->job->argument);
    if (!order)
        return;
    bool ran = began_at(order, peer), known = begun != PLACE_NOT_KNOWN;
    sim_check(!known || flight->number <= begun || !ran,
              "job %u began at a worker that was lost, and does not count as begun", order->id);
    // The last one that it came to may not have run yet, nor one that was cancelled. Of one that
    // was asked back it may have said so, and not been heard.
    bool came_to = ran || flight->number == begun || worker->computation->many_jobs ||
                   flight->asked || flight->recalled;
    bool counts = !known || (flight->number <= begun && came_to);
    bool undone = worker->killing && (ran || !known);
    if ((counts || undone) && note_lost(order, peer)) {
        order->lost += counts;
        order->undone += undone;
    }
}

// One that is awaited has no agent yet, but the journal knows of its flights.
static uint64_t peer_of(const struct place_worker *worker) {
    const struct worker_agent *agent = placement_worker_user(worker);
    if (agent || list_empty((struct list *)&worker->flights))
        return agent ? agent->ref.peer : 0;
    const struct flight *it = container_of(worker->flights.next, struct flight, link);
    const struct desk *desk = placement_user(worker->computation);
    const struct journal_job *job = journal_job(desk->record, it->job->number);
    const struct journal_flight *same = job ? job->flight : NULL;
    while (same && same->attempt != it->attempt)
        same = same->other;
    sim_check(same, "job %llu is at a worker that is awaited, and the journal does not know it",
              (unsigned long long)it->job->number);
    return same->worker->ref.peer;
}

// Where a scheduler alone is killed, it finds the workers again that go on.
static void check_given_up(const struct place_worker *worker, uint64_t peer, uint64_t begun) {
    const struct desk *desk = placement_user(worker->computation);
    bool kept = cluster_is_mild() && !desk->closing && !worker->killing && !comeback_excuses() &&
                ac_is_nil(desk->setup.told);
    if (kept && begun == PLACE_NOT_KNOWN)
        jobs_check_ended((ac_ref){.peer = peer}, "how it ended is not known");
}

__attribute__((used)) void __wrap_placement_remove_worker(struct place_worker *worker,
                                                          uint64_t begun, const char *why) {
    uint64_t peer = peer_of(worker);
    const struct hand *hand = hand_of(peer);
    sim_check(!hand || begun == PLACE_NOT_KNOWN || begun == (uint64_t)*hand->begun,
              "a worker had come to %llu jobs, and the scheduler is told of %llu",
              hand ? (unsigned long long)*hand->begun : 0, (unsigned long long)begun);
    check_given_up(worker, peer, begun);
    list_each (link, &worker->flights)
        lose_flight(container_of(link, struct flight, link), worker, peer, begun);
    __real_placement_remove_worker(worker, begun, why);
}

// How many of a class a worker that runs one after the other may have: see choose.c.
static uint32_t ahead_most(const struct place_class *class, const struct place_worker *worker) {
    double trip = (double)worker->round_trip_ns;
    if (class->computation->many_jobs)
        return AHEAD_MANY;
    if (class->ended == 0 || class->mean_ns > LONG_ROUND_TRIPS * trip)
        return 1;
    double ns = AHEAD_ROUND_TRIPS * trip > AHEAD_NS ? AHEAD_ROUND_TRIPS * trip : AHEAD_NS;
    double most = 1 + ns / (class->mean_ns + 1);
    return most > AHEAD_MAX ? AHEAD_MAX : most < AHEAD_LEAST ? AHEAD_LEAST : (uint32_t)most;
}

// What the workers of a node hold of it.
static void check_node(const struct place_node *node) {
    uint64_t cpus = 0, memory = 0;
    list_each (at, &node->placement->computations) {
        const struct place_computation *it = container_of(at, struct place_computation, link);
        list_each (link, (struct list *)&it->workers) {
            const struct place_worker *worker = container_of(link, struct place_worker, link);
            uint32_t most_cpus = 0;
            uint64_t most_memory = 0;
            if (worker->node != node)
                continue;
            list_each (there, (struct list *)&worker->flights) {
                const struct job *job = container_of(there, struct flight, link)->job;
                if (job->pinned) // which may go beyond
                    return;
                if (it->many_jobs) {
                    cpus += job->class->cpus;
                    memory += job->class->needs.memory;
                } else {
                    most_cpus = job->class->cpus > most_cpus ? job->class->cpus : most_cpus;
                    most_memory = job->class->needs.memory > most_memory ? job->class->needs.memory
                                                                         : most_memory;
                }
            }
            cpus += most_cpus;
            memory += most_memory;
        }
    }
    sim_check(cpus <= node->facts.cpus, "a node has %u processors, and %llu are given away",
              node->facts.cpus, (unsigned long long)cpus);
    sim_check(memory <= node->facts.memory, "a node has %llu bytes, and %llu are given away",
              (unsigned long long)node->facts.memory, (unsigned long long)memory);
}

__attribute__((used)) bool __wrap_placement_fly(struct job *job, struct place_worker *worker) {
    uint32_t most = ahead_most(job->class, worker), count = 1;
    list_each (link, &worker->flights)
        count++;
    sim_check(count <= most, "a worker gets %u jobs at once, and may have %u", count, most);
    bool flies = __real_placement_fly(job, worker);
    check_node(worker->node);
    return flies;
}
