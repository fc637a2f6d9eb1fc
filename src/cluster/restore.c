// SPDX-License-Identifier: MIT
// What a desk does for the sake of a journal (journal.h): it has written down to which worker a job
// is given before that learns of it, keeps a job in the journal until the client has said that it
// knows of its end, and takes in what the client of a lost scheduler tells again.
//
// A job that the client tells again is, by what the journal has of it,
//
//     not there        new: no worker has ever heard of it
//     without flights  one that waited again: it waits, with its attempts and lost starts
//     with flights     one that is at a worker that is *awaited*, and goes on there
//
// and what the journal has and the client does not tell has ended, and the client knows.
//
// An awaited worker has its flights back in placement, in the order in which they were given. When
// its node has been found and asked for what it has kept (host.c) and the worker has told its new
// agent all that it has (worker.c), it is as any other. When the node says that it has ended, it is
// lost as any other, with what it had begun; when the node does not come back in time, or has not
// kept it, perhaps all of its jobs had begun.
#include "cluster/scheduler.h"

#include <stdio.h>

// ---- what is written down ----

void restore_given(struct worker_agent *worker, uint64_t number, uint32_t attempt) {
    if (!worker->record)
        worker->record = journal_add_worker(worker->desk->record, worker->host, worker->number,
                                            worker->ref);
    if (!worker->record)
        return; // the journal is given up
    worker->record->user = worker;
    journal_given(worker->record, number, attempt, placement_given(worker->place));
}

int restore_note_end(struct desk *desk, uint64_t number) {
    struct ends *it = &desk->ends;
    if (it->first + it->count == it->capacity && it->first > it->capacity / 2) {
        memmove(it->numbers, it->numbers + it->first, it->count * sizeof *it->numbers);
        it->first = 0;
    }
    if (it->first + it->count == it->capacity) {
        size_t capacity = it->capacity ? 2 * it->capacity : 64;
        uint64_t *numbers = memory_resize(it->numbers, capacity * sizeof *numbers);
        if (!numbers)
            return -ENOMEM;
        it->numbers = numbers;
        it->capacity = capacity;
    }
    it->numbers[it->first + it->count++] = number;
    return 0;
}

// What was told so far need not be kept when the client knows of one end more than it was told so
// far: the news come to it in order, and that a job has begun is among them.
static void mark_tells(struct worker_agent *worker) {
    worker->mark_tells = worker->tells;
    worker->mark_ends = worker->desk->ends.taken + worker->desk->ends.count + 1;
}

void restore_note_tell(struct worker_agent *worker) {
    worker->tells++;
    if (worker->mark_tells == worker->taken)
        mark_tells(worker);
}

static void look_at_marks(struct desk *desk) {
    list_each (link, &desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->mark_tells == worker->taken || worker->mark_ends > desk->ends.taken)
            continue;
        worker->taken = worker->mark_tells;
        if (worker->tells > worker->taken)
            mark_tells(worker);
        agent_kick(worker->coro);
    }
}

int restore_take_ends(struct desk *desk, uint64_t taken) {
    struct ends *it = &desk->ends;
    uint64_t more = taken - it->taken;
    if (!desk->record || taken < it->taken || more > it->count)
        return -EPROTO;
    for (uint64_t i = 0; i < more; i++)
        journal_forget(desk->record, it->numbers[it->first + i]);
    it->first += more;
    it->count -= more;
    it->taken = taken;
    if (it->count == 0)
        it->first = 0;
    look_at_marks(desk);
    return 0;
}

void restore_close(struct desk *desk) {
    struct journal_computation *record = desk->record;
    list_each (link, &desk->awaited)
        memory_release(container_of(link, struct awaited, link));
    list_init(&desk->awaited);
    desk->record = NULL; // agents that are left ask for it
    if (record)
        journal_remove(record);
}

// ---- what is told again ----

static struct awaited *await_worker(struct desk *desk, struct journal_worker *record) {
    if (record->user)
        return record->user;
    struct awaited *it = memory_allocate_zeroed(sizeof *it);
    struct place_worker *place = it ? placement_await_worker(desk->place, NULL) : NULL;
    if (!place) {
        memory_release(it);
        return NULL;
    }
    *it = (struct awaited){.record = record, .place = place};
    list_init(&it->link);
    list_append(&desk->awaited, &it->link);
    record->user = it;
    return it;
}

static int restore_flights(struct desk *desk, const struct journal_job *job, bool pinned) {
    int err = 0;
    for (const struct journal_flight *flight = job->flight; flight && !err;
         flight = flight->other) {
        struct awaited *at = await_worker(desk, flight->worker);
        err = at ? placement_restore_flight(at->place, job->number, flight->attempt, flight->place,
                                            pinned)
                 : -ENOMEM;
    }
    return err;
}

int restore_job(struct desk *desk, uint64_t number, uint32_t class, bool pinned,
                ac_value argument) {
    struct journal_job *job = journal_job(desk->record, number);
    if (!job)
        return placement_submit(desk->place, number, class, NULL, argument);
    job->told = true;
    int err = placement_restore(desk->place, number, class, job->attempts, job->starts_lost,
                                argument);
    if (err != 1)
        return err ? err : restore_flights(desk, job, pinned);
    static const char why[] = "its scheduler was lost when it may have begun";
    desk_tell_end(desk, number, AC_LOST, -ECONNRESET, ac_of_error(-ECONNRESET, why), ac_no_ref, 0);
    return 0;
}

bool restore_has(const struct desk *desk, uint64_t number, ac_ref worker) {
    const struct journal_job *job = desk->restoring ? journal_job(desk->record, number) : NULL;
    for (const struct journal_flight *flight = job ? job->flight : NULL; flight;
         flight = flight->other)
        if (ac_ref_equal(flight->worker->ref, worker))
            return true;
    return false;
}

// Those that nobody has told again have ended, and their client knows.
static void forget_untold(struct journal_computation *record) {
    uint64_t cursor = 0;
    for (struct journal_job *job; (job = map_next(&record->jobs, &cursor, NULL, NULL)) != NULL;)
        if (!job->told)
            journal_forget(record, job->number);
}

// ---- workers that are awaited ----

static void forget_awaited(struct awaited *it) {
    it->record->user = NULL;
    list_remove(&it->link);
    memory_release(it);
}

// The record of a worker that is gone goes with its last flight.
static void lose_awaited(struct awaited *it, uint64_t begun, const char *why) {
    struct journal_worker *record = it->record;
    struct place_worker *place = it->place;
    bool gone = record->gone;
    trace(TRACE_CLUSTER, "worker %lld is awaited no longer: %s", (long long)record->number, why);
    forget_awaited(it);
    placement_remove_worker(place, begun, why);
    if (!gone)
        journal_worker_gone(record);
}

// Of the workers of before, those that are known to have ended, or had nothing to do.
static void forget_workers(struct desk *desk) {
    list_each (link, &desk->record->workers) {
        struct journal_worker *worker = container_of(link, struct journal_worker, link);
        if (worker->restored && !worker->gone && !worker->user)
            journal_worker_gone(worker);
    }
    list_each (link, &desk->awaited) {
        struct awaited *it = container_of(link, struct awaited, link);
        if (it->record->gone)
            lose_awaited(it, PLACE_NOT_KNOWN, "its worker was lost shortly before its scheduler");
    }
}

int restore_end(struct desk *desk, uint64_t jobs) {
    if (!desk->restoring || jobs != desk->restored)
        return -EPROTO;
    desk->restoring = false;
    forget_untold(desk->record);
    forget_workers(desk);
    if (!list_empty(&desk->awaited))
        desk->awaits_until = ac_now() + desk->scheduler->return_ns;
    trace(TRACE_CLUSTER, "%s: is back with %llu jobs", desk->name, (unsigned long long)jobs);
    supply_serve(desk);
    return 0;
}

void restore_look(struct desk *desk) {
    if (ac_now() < desk->awaits_until)
        return;
    desk->awaits_until = AC_FOREVER;
    list_each (link, &desk->awaited) {
        struct awaited *it = container_of(link, struct awaited, link);
        if (!it->kept)
            lose_awaited(it, PLACE_NOT_KNOWN,
                         "its node has not come back since its scheduler was lost");
    }
    scheduler_changed(desk->scheduler);
}

static struct awaited *find_awaited(const struct site_agent *site, int64_t number) {
    list_each (link, &site->desk->awaited) {
        struct awaited *it = container_of(link, struct awaited, link);
        if (ac_ref_equal(it->record->host, site->host) && it->record->number == number)
            return it;
    }
    return NULL;
}

void restore_kept(struct site_agent *site, ac_value numbers) {
    size_t cursor = 0;
    ac_value number;
    while (numbers.kind == AC_LIST && ac_next(numbers, &cursor, &number)) {
        struct awaited *it = find_awaited(site, ac_int_of(number));
        if (it)
            it->kept = true;
        ac_drop(number);
    }
}

void restore_worker_ended(struct site_agent *site, int64_t number, uint64_t begun,
                          const char *text) {
    struct awaited *it = find_awaited(site, number);
    if (it)
        lose_awaited(it, begun, text);
    scheduler_changed(site->desk->scheduler);
}

void restore_site_told(struct site_agent *site, bool gone) {
    list_each (link, &site->desk->awaited) {
        struct awaited *it = container_of(link, struct awaited, link);
        if (it->record->host.peer == site->site->holder.peer && (gone || !it->kept))
            lose_awaited(it, PLACE_NOT_KNOWN,
                         gone ? "its node is gone" : "its node has not kept it for its scheduler");
    }
    scheduler_changed(site->desk->scheduler);
}

void restore_worker(struct worker_agent *worker) {
    list_each (link, &worker->desk->awaited) {
        struct awaited *it = container_of(link, struct awaited, link);
        if (!ac_ref_equal(it->record->ref, worker->ref))
            continue;
        worker->place = it->place;
        worker->record = it->record;
        forget_awaited(it);
        worker->record->user = worker;
        return;
    }
}
