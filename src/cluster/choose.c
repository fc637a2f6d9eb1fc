// SPDX-License-Identifier: MIT
// Which job goes to which worker now, and why the others wait.
//
// A turn has four steps. First, workers that have nothing get a job each, the computation with the
// smallest share first, as long as their nodes have processors and memory left. Then those that
// have some are filled up, each in turn, as far as work is given ahead. Neither happens where
// another computation waits for the processor with the better claim. Where nothing waits any more
// and somebody idles, work that was given ahead is called back from whoever has most of it, and,
// where copies are allowed, the job that has run longest runs there a second time. At last, classes
// that fit no node are told of, and given up.
#include "cluster/placement_private.h"

#include <stdio.h>

// ---- what a job needs of a node ----

static bool matches(const char *pattern, const char *text) {
    for (; *pattern; pattern++, text++) {
        if (*pattern == '*') {
            while (*++pattern == '*')
                continue;
            for (;; text++) {
                if (matches(pattern, text))
                    return true;
                if (!*text)
                    return false;
            }
        }
        if (!*text || (*pattern != '?' && *pattern != *text))
            return false;
    }
    return !*text;
}

// Whether a word stands in a list of words.
static bool has_word(const char *list, const char *word, size_t bytes) {
    while (*list) {
        size_t length = strcspn(list, " ");
        if (length == bytes && memcmp(list, word, bytes) == 0)
            return true;
        list += length + strspn(list + length, " ");
    }
    return false;
}

// What a node lacks, as the end of a sentence; NULL: nothing, jobs of the class may run there.
static const char *lacks(const struct place_class *class, const struct place_node *node,
                         char text[PLACE_TEXT_BYTES]) {
    const struct place_needs *needs = &class->needs;
    const struct place_facts *facts = &node->facts;
    if (needs->architecture[0] && strcmp(needs->architecture, facts->architecture) != 0)
        snprintf(text, PLACE_TEXT_BYTES, "is not of architecture %s", needs->architecture);
    else if (needs->node[0] && !matches(needs->node, facts->name))
        snprintf(text, PLACE_TEXT_BYTES, "is not called %s", needs->node);
    else if (class->cpus > facts->cpus)
        snprintf(text, PLACE_TEXT_BYTES, "has %u of %u processors", facts->cpus, class->cpus);
    else if (facts->memory && needs->memory > facts->memory)
        snprintf(text, PLACE_TEXT_BYTES, "has %llu of %llu MiB",
                 (unsigned long long)(facts->memory >> 20),
                 (unsigned long long)(needs->memory >> 20));
    else
        text[0] = 0;
    for (const char *word = needs->tags; !text[0] && *word;) {
        size_t bytes = strcspn(word, " ");
        if (bytes > 0 && !has_word(facts->tags, word, bytes))
            snprintf(text, PLACE_TEXT_BYTES, "has no tag %.*s", (int)bytes, word);
        word += bytes + strspn(word + bytes, " ");
    }
    return text[0] ? text : NULL;
}

static bool fits(const struct place_class *class, const struct place_node *node) {
    const struct place_needs *needs = &class->needs;
    const struct place_facts *facts = &node->facts;
    if (class->cpus > facts->cpus || (facts->memory && needs->memory > facts->memory))
        return false;
    if (!needs->architecture[0] && !needs->node[0] && !needs->tags[0])
        return true;
    char text[PLACE_TEXT_BYTES];
    return !lacks(class, node, text);
}

// ---- room ----

static uint32_t ahead(const struct place_worker *worker, const struct place_class *class) {
    if (worker->computation->many_jobs)
        return AHEAD_MANY;
    // Behind a long job nothing is put: while it computes its worker reads no call to give back.
    if (class->ended == 0 || class->mean_ns > (double)(LONG_ROUND_TRIPS * worker->round_trip_ns))
        return 1;
    uint64_t ns = AHEAD_ROUND_TRIPS * worker->round_trip_ns;
    double jobs = 1 + (double)(ns > AHEAD_NS ? ns : AHEAD_NS) / (class->mean_ns + 1);
    return jobs > AHEAD_MAX ? AHEAD_MAX : jobs < AHEAD_LEAST ? AHEAD_LEAST : (uint32_t)jobs;
}

// Whether the node has left what one more job of the class would make the worker hold.
static bool node_has(const struct place_worker *worker, const struct place_class *class) {
    const struct place_node *node = worker->node;
    bool many = worker->computation->many_jobs;
    uint32_t cpus = many                         ? class->cpus
                    : class->cpus > worker->cpus ? class->cpus - worker->cpus
                                                 : 0;
    uint64_t held = many ? 0 : worker->memory;
    uint64_t memory = class->needs.memory > held ? class->needs.memory - held : 0;
    return node->cpus_held + cpus <= node->facts.cpus &&
           (node->facts.memory == 0 || node->memory_held + memory <= node->facts.memory);
}

static bool admits(const struct place_worker *worker, const struct place_class *class) {
    return worker->load < ahead(worker, class) && fits(class, worker->node) &&
           node_has(worker, class);
}

static double share(const struct place_computation *it) {
    return (double)it->cpus_held / it->weight;
}

// Whether another computation waits for a processor of this node, and has the better claim.
static bool is_contended(const struct place_worker *worker) {
    const struct place_computation *it = worker->computation;
    const struct place_node *node = worker->node;
    if (it->many_jobs)
        return false;
    list_each (link, &it->placement->computations) {
        struct place_computation *other = container_of(link, struct place_computation, link);
        if (other == it || list_empty(&other->queued) ||
            (other->cpus_held + 1.0) / other->weight > share(it))
            continue;
        list_each (at, &other->queued) {
            struct place_class *class = container_of(at, struct place_class, link);
            list_each (room, &other->idle) {
                struct place_worker *idle = container_of(room, struct place_worker, room);
                if (idle->node == node && fits(class, node) && !node_has(idle, class))
                    return true;
            }
        }
    }
    return false;
}

static struct place_worker *admitting(struct list *workers, const struct place_class *class) {
    list_each (link, workers) {
        struct place_worker *worker = container_of(link, struct place_worker, room);
        if (admits(worker, class))
            return worker;
    }
    return NULL;
}

static struct job *first_of(const struct place_class *class) {
    return container_of(class->queue.next, struct job, link);
}

static bool give(struct place_class *class, struct place_worker *worker) {
    struct job *job = first_of(class);
    placement_unqueue(job);
    if (placement_fly(job, worker))
        return true;
    placement_queue_first(job);
    return false;
}

// The class with the oldest of the jobs that may run at this worker.
static struct place_class *oldest_for(const struct place_worker *worker) {
    struct place_class *oldest = NULL;
    list_each (link, &worker->computation->queued) {
        struct place_class *class = container_of(link, struct place_class, link);
        if ((!oldest || first_of(class)->number < first_of(oldest)->number) &&
            fits(class, worker->node) && node_has(worker, class))
            oldest = class;
    }
    return oldest;
}

// The first of these workers that admits the oldest job that may run there, and its class: no kind
// of jobs keeps out older ones of another. Workers whose processors are for others are left out.
static struct place_class *class_for(struct place_computation *it, struct list *workers,
                                     struct place_worker **worker) {
    bool several = it->placement->computations.next != it->placement->computations.prev;
    list_each (link, workers) {
        *worker = container_of(link, struct place_worker, room);
        struct place_class *class = several && is_contended(*worker) ? NULL : oldest_for(*worker);
        if (class && (*worker)->load < ahead(*worker, class))
            return class;
    }
    return NULL;
}

// ---- those who have nothing ----

static void employ_idle(struct placement *placement) {
    for (;;) {
        struct place_computation *next = NULL;
        struct place_class *class = NULL;
        struct place_worker *worker = NULL;
        list_each (link, &placement->computations) {
            struct place_computation *it = container_of(link, struct place_computation, link);
            if (list_empty(&it->queued) || list_empty(&it->idle) ||
                (next && share(next) <= share(it)))
                continue;
            struct place_worker *at = NULL;
            struct place_class *of = class_for(it, &it->idle, &at);
            if (!of)
                continue;
            next = it;
            class = of;
            worker = at;
        }
        if (!next || !give(class, worker))
            return;
        // Of equal shares the one that was served last comes last.
        list_remove(&next->link);
        list_append(&placement->computations, &next->link);
    }
}

// ---- those who have some ----

// The processors of these are for others.
static void clear_contended(struct place_computation *it) {
    list_each (link, &it->roomy) {
        struct place_worker *worker = container_of(link, struct place_worker, room);
        uint32_t left = worker->unbegun - worker->recalled;
        // The one that it was given to begin with it may run, or nobody would.
        if (left > 0 && is_contended(worker))
            placement_recall(worker, left - (worker->unbegun == worker->load));
    }
}

static void fill_busy(struct placement *placement) {
    bool several = placement->computations.next != placement->computations.prev;
    list_each (link, &placement->computations) {
        struct place_computation *it = container_of(link, struct place_computation, link);
        struct place_worker *worker = NULL;
        struct place_class *class;
        if (several && !list_empty(&it->queued))
            clear_contended(it);
        while ((class = class_for(it, &it->roomy, &worker)) != NULL)
            if (!give(class, worker)) // which puts the worker behind the others
                break;
    }
}

// ---- those who idle while others have too much ----

static struct place_worker *idle_with_room(struct place_computation *it,
                                           const struct place_class *class) {
    return admitting(&it->idle, class);
}

// The last one given to a worker that can be called back; NULL.
static const struct flight *last_given(const struct place_worker *worker) {
    for (struct list *link = worker->flights.prev; link != &worker->flights; link = link->prev) {
        const struct flight *flight = container_of(link, struct flight, link);
        if (!flight->begun && !flight->recalled && !flight->asked && !flight->job->pinned)
            return flight;
    }
    return NULL;
}

// The worker with the most jobs that have not begun and could run at one that idles.
static struct place_worker *most_laden(struct place_computation *it) {
    struct place_worker *most = NULL;
    list_each (link, &it->workers) {
        struct place_worker *worker = container_of(link, struct place_worker, link);
        if (worker->load < 2 || worker->unbegun == 0 || worker->recalled > 0 ||
            (most && most->unbegun >= worker->unbegun))
            continue;
        const struct flight *last = last_given(worker);
        if (last && idle_with_room(it, last->job->class))
            most = worker;
    }
    return most;
}

static uint32_t count_idle(const struct place_computation *it) {
    uint32_t count = 0;
    list_each (link, &it->idle)
        count++;
    return count;
}

// The flight that has run longest, of jobs that may have a copy and have none. *due: when another
// one will have run long enough.
static struct flight *longest(struct place_computation *it, ac_time now, ac_time *due) {
    struct flight *best = NULL;
    list_each (link, &it->workers) {
        struct place_worker *worker = container_of(link, struct place_worker, link);
        list_each (at, &worker->flights) {
            struct flight *flight = container_of(at, struct flight, link);
            struct job *job = flight->job;
            if (!job->class->needs.copies || !flight->begun || flight->asked || flight->other ||
                job->flight != flight || job->pinned)
                continue;
            ac_time from = flight->since + (ac_time)(2 * job->class->mean_ns);
            if (from > now)
                *due = earlier(*due, from);
            else if ((!best || flight->since < best->since) && idle_with_room(it, job->class))
                best = flight;
        }
    }
    return best;
}

// Returns when to look again.
static ac_time relieve(struct place_computation *it, ac_time now) {
    // Who is to get what was called back needs no copy.
    uint32_t recalled = 0;
    list_each (link, &it->workers)
        recalled += container_of(link, struct place_worker, link)->recalled;
    for (uint32_t idle = count_idle(it); idle > recalled; idle--) {
        struct place_worker *worker = most_laden(it);
        if (!worker)
            break;
        // What is left is shared evenly: one that has begun counts for nothing here.
        uint32_t count = (worker->unbegun + 1) / 2;
        placement_recall(worker, count);
        recalled += count;
    }
    struct flight *flight;
    ac_time due = AC_FOREVER;
    while (count_idle(it) > recalled && (flight = longest(it, now, &due)) != NULL)
        if (!placement_fly(flight->job, idle_with_room(it, flight->job->class)))
            break;
    return due;
}

// ---- those that fit nowhere ----

static bool any_fits(const struct place_class *class) {
    const struct place_computation *it = class->computation;
    list_each (link, &it->placement->nodes) {
        const struct place_node *node = container_of(link, struct place_node, link);
        if (fits(class, node) && !placement_out(it, node))
            return true;
    }
    return false;
}

// One that would fit but is kept out; NULL.
static const struct place_out *any_out(const struct place_class *class) {
    list_each (link, &class->computation->outs) {
        const struct place_out *out = container_of(link, struct place_out, link);
        if (fits(class, out->node))
            return out;
    }
    return NULL;
}

// Whether there are places that are still being made ready, and which, as a sentence.
static bool describe_pending(const struct place_computation *it, char text[PLACE_TEXT_BYTES]) {
    uint32_t count = it->pending_workers ? it->pending_workers : it->pending_nodes;
    if (count > 0)
        snprintf(text, PLACE_TEXT_BYTES, "%u %s%s still being set up", count,
                 it->pending_workers ? "worker" : "node", count == 1 ? " is" : "s are");
    return count > 0;
}

// Whether a worker that takes jobs is on a node that fits.
static bool is_served(const struct place_class *class) {
    list_each (link, &class->computation->workers) {
        const struct place_worker *worker = container_of(link, struct place_worker, link);
        if (is_open(worker) && fits(class, worker->node))
            return true;
    }
    return false;
}

// The workers that fit: how many take jobs, how many would but are suspended, and one of these.
struct fitting {
    uint32_t open, suspended;
    const struct place_node *node; // of one that is suspended
};

static struct fitting count_fitting(const struct place_class *class) {
    struct fitting count = {0};
    list_each (link, &class->computation->workers) {
        const struct place_worker *worker = container_of(link, struct place_worker, link);
        if (!worker->enabled || !worker->node->enabled || !fits(class, worker->node))
            continue;
        count.open += !worker->suspended;
        count.suspended += worker->suspended;
        if (worker->suspended)
            count.node = worker->node;
    }
    return count;
}

static void describe_unfit(const struct place_class *class, char text[PLACE_TEXT_BYTES]) {
    const struct placement *placement = class->computation->placement;
    uint32_t disabled = class->computation->disabled;
    struct fitting workers = count_fitting(class);
    if (workers.suspended > 0) {
        snprintf(text, PLACE_TEXT_BYTES,
                 "all of %u workers that fit are suspended, one of them on %.63s",
                 workers.suspended, workers.node->facts.name);
        return;
    }
    if (disabled > 0 && (placement->node_count == 0 || any_fits(class))) {
        snprintf(text, PLACE_TEXT_BYTES, "no worker fits, and %u node%s disabled", disabled,
                 disabled == 1 ? " is" : "s are");
        return;
    }
    if (describe_pending(class->computation, text))
        return;
    if (placement->node_count == 0) {
        snprintf(text, PLACE_TEXT_BYTES, "no node has been found that takes part");
        return;
    }
    const struct place_out *out = any_out(class);
    if (out) {
        snprintf(text, PLACE_TEXT_BYTES, "%.63s takes none of its jobs: %.160s",
                 out->node->facts.name, out->why);
        return;
    }
    if (any_fits(class)) {
        snprintf(text, PLACE_TEXT_BYTES,
                 "on the nodes that fit there is no worker of this computation that takes jobs");
        return;
    }
    const struct place_node *node = container_of(placement->nodes.next, struct place_node, link);
    char lack[PLACE_TEXT_BYTES];
    const char *what = lacks(class, node, lack);
    snprintf(text, PLACE_TEXT_BYTES, "none of %u node%s fits: %.60s %.120s", placement->node_count,
             placement->node_count == 1 ? "" : "s", node->facts.name, what ? what : "fits");
}

// Returns when to look again.
static ac_time see_to_unfit(struct place_class *class, ac_time now) {
    struct placement *placement = class->computation->placement;
    char text[PLACE_TEXT_BYTES];
    if (is_served(class)) {
        class->unfit_since = 0;
        class->hinted = false;
        return AC_FOREVER;
    }
    if (class->unfit_since == 0)
        class->unfit_since = now;
    bool pending = class->computation->pending_nodes + class->computation->pending_workers > 0;
    if (placement->node_count > 0 && !class->needs.wait_for_nodes && !pending && !any_fits(class)) {
        ac_time due = earlier(AC_FOREVER, placement->settled > class->unfit_since
                                              ? placement->settled
                                              : class->unfit_since);
        if (now < due)
            return due;
        describe_unfit(class, text);
        while (class->queued > 0)
            placement_report(first_of(class), PLACE_FAILED, -ENODEV, text);
        return AC_FOREVER;
    }
    if (class->hinted)
        return AC_FOREVER;
    if (now < class->unfit_since + HINT_NS)
        return class->unfit_since + HINT_NS;
    class->hinted = true;
    describe_unfit(class, text);
    placement->door->hint(placement->up, class->computation, text);
    return AC_FOREVER;
}

ac_time place_all(struct placement *placement, ac_time now) {
    ac_time due = AC_FOREVER;
    employ_idle(placement);
    fill_busy(placement);
    list_each (link, &placement->computations) {
        struct place_computation *it = container_of(link, struct place_computation, link);
        if (!it->many_jobs && !list_empty(&it->idle))
            due = earlier(due, relieve(it, now));
        list_each (at, &it->queued)
            due = earlier(due, see_to_unfit(container_of(at, struct place_class, link), now));
    }
    return due;
}

// ---- why ----

static void why_queued(const struct job *job, char text[PLACE_TEXT_BYTES]) {
    const struct place_class *class = job->class;
    const struct place_computation *it = class->computation;
    uint64_t before = 0;
    list_each (link, &class->queue) {
        if (link == &job->link)
            break;
        before++;
    }
    struct fitting workers = count_fitting(class);
    const struct place_node *full = NULL;
    list_each (link, &it->workers) {
        const struct place_worker *worker = container_of(link, struct place_worker, link);
        if (is_open(worker) && fits(class, worker->node) && !node_has(worker, class))
            full = worker->node;
    }
    if (workers.open == 0)
        describe_unfit(class, text);
    else if (full)
        snprintf(text, PLACE_TEXT_BYTES,
                 "waits: %.63s has %u of %u processors and %llu of %llu MiB in use; %llu jobs of "
                 "its kind are before it",
                 full->facts.name, full->cpus_held, full->facts.cpus,
                 (unsigned long long)(full->memory_held >> 20),
                 (unsigned long long)(full->facts.memory >> 20), (unsigned long long)before);
    else if (workers.suspended > 0)
        snprintf(text, PLACE_TEXT_BYTES,
                 "waits: of %u fitting workers %u are suspended, one of them on %.63s, and the "
                 "others busy; %llu jobs of its kind are before it",
                 workers.open + workers.suspended, workers.suspended, workers.node->facts.name,
                 (unsigned long long)before);
    else
        snprintf(text, PLACE_TEXT_BYTES,
                 "waits: all of %u fitting workers are busy; %llu jobs of its kind are before it",
                 workers.open, (unsigned long long)before);
}

bool placement_why(const struct place_computation *it, uint64_t number, ac_time now,
                   char text[PLACE_TEXT_BYTES]) {
    const struct job *job = placement_find(it, number);
    if (!job || job->done)
        return false;
    const struct flight *flight = job->flight;
    if (!flight) {
        why_queued(job, text);
        return true;
    }
    const char *node = flight->worker->node->facts.name;
    if (flight->asked)
        snprintf(text, PLACE_TEXT_BYTES, "was asked to end on %.63s", node);
    else if (flight->begun)
        snprintf(text, PLACE_TEXT_BYTES, "runs on %.63s for %.3f s, attempt %u", node,
                 (double)(now - flight->since) * 1e-9, flight->attempt);
    else
        snprintf(text, PLACE_TEXT_BYTES, "lies ready at a worker on %.63s behind %u others", node,
                 flight->worker->load - 1);
    return true;
}
