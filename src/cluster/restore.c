// SPDX-License-Identifier: MIT
// What a desk does for the sake of a journal (journal.h): it has written down to which worker a job
// is given before that learns of it, keeps a job in the journal until the client has said that it
// knows of its end, and takes in what the client of a lost scheduler tells again.
//
// A job that the client tells again is, by what the journal has of it,
//
//     not there        new: no worker has ever heard of it
//     without flights  one that waited again: it waits, with its attempts and lost starts
//     with flights     one that may have begun where the scheduler was lost: it waits again if it
//                      may run again, else it is reported lost
//
// and what the journal has and the client does not tell has ended, and the client knows.
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
    return 0;
}

void restore_close(struct desk *desk) {
    struct journal_computation *record = desk->record;
    desk->record = NULL; // agents that are left ask for it
    if (record)
        journal_remove(record);
}

// ---- what is told again ----

static int report_lost(struct desk *desk, uint64_t number) {
    static const char why[] = "its scheduler was lost when it may have begun";
    desk_tell_end(desk, number, AC_LOST, -ECONNRESET, ac_of_error(-ECONNRESET, why), ac_no_ref, 0);
    return 0;
}

// Its attempts are over. Of several that may have run at once only one counts, as elsewhere.
static void end_flights(struct journal_job *job) {
    for (struct journal_flight *flight = job->flight, *next; flight; flight = next) {
        next = flight->other;
        journal_over(job->computation, job->number, flight->attempt, next == NULL);
    }
}

int restore_job(struct desk *desk, uint64_t number, uint32_t class, ac_value argument) {
    struct journal_job *job = journal_job(desk->record, number);
    if (!job)
        return placement_submit(desk->place, number, class, NULL, argument);
    job->told = true;
    uint8_t lost = job->starts_lost;
    lost += job->flight && lost < UINT8_MAX;
    int err = placement_restore(desk->place, number, class, job->attempts, lost, argument);
    if (err == 1)
        return report_lost(desk, number);
    if (!err)
        end_flights(job);
    return err;
}

// Those that nobody has told again have ended, and their client knows.
static void forget_untold(struct journal_computation *record) {
    uint64_t cursor = 0;
    for (struct journal_job *job; (job = map_next(&record->jobs, &cursor, NULL, NULL)) != NULL;)
        if (!job->told)
            journal_forget(record, job->number);
}

// Workers of before: nobody speaks with them any more.
static void forget_workers(struct journal_computation *record) {
    list_each (link, &record->workers) {
        struct journal_worker *worker = container_of(link, struct journal_worker, link);
        if (worker->restored && !worker->gone)
            journal_worker_gone(worker);
    }
}

int restore_end(struct desk *desk, uint64_t jobs) {
    if (!desk->restoring || jobs != desk->restored)
        return -EPROTO;
    desk->restoring = false;
    forget_untold(desk->record);
    forget_workers(desk->record);
    trace(TRACE_CLUSTER, "%s: is back with %llu jobs", desk->name, (unsigned long long)jobs);
    supply_serve(desk);
    return 0;
}
