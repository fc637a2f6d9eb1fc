// SPDX-License-Identifier: MIT
// The journal of a scheduler: a file with what neither its clients nor lost workers could tell to
// the scheduler that is started in the place of one that was killed. That is: which computations
// there are, each with a secret *token* by which its client comes back; and which attempt of which
// job was *given* to which worker, in what order. Arguments, classes and jobs that were never given
// are not in it: clients tell them again.
//
// What is promised
//   - What was recorded before journal_flush is in the file when that returns: it outlives the
//     process, however that ends. A worker is sent a job only after it, so a job that is not in the
//     journal has run nowhere, and no attempt number is used twice.
//   - Not so when the computer ends: nothing waits for the disk. Then the last part of the file may
//     be missing (attempts given since are made once more under the same numbers, and computations
//     opened since are unknown) or damaged.
//   - Of what was recorded since, any later part may be missing. That errs on one side only: what
//     is over, forgotten or gone may still be there, never the other way round.
//   - A job stays until its client is known to have its report (journal_forget), also when it has
//     ended: until then the client tells it again to a scheduler that has come back.
//   - One process keeps a file at a time. Only its user can read it: the tokens are secrets.
//   - A file that is foreign or damaged is an error, and left alone. Cut off at its end it is none:
//     what is missing there is a last write that the process did not live to see through.
//   - Where a record cannot be written, or kept in memory, the journal is *given up*: the file is
//     emptied, so that nobody takes an incomplete one for the truth, somebody is told, and all
//     that follows does nothing. What runs goes on; the promise to survive the scheduler is off.
//
// What is known is also in memory, as below, for rewriting the file without what is over, and for
// who restores. These records are read by others and changed by the functions here alone, but for
// the fields that say so.
//
//      computation --- jobs, by number: attempts so far, lost starts
//           |                   |
//        workers ------------ flights: an attempt that was given to a worker and is not over;
//                             each worker's in the order in which they were given
//
// A worker is known by its node's coroutine for the computation (the *host*) and its number there:
// both stay what they are while scheduler and agents come and go. So does the reference of the
// worker itself.
//
// Of one loop only; nothing here waits, but for the disk.
#ifndef CLUSTER_JOURNAL_H
#define CLUSTER_JOURNAL_H

#include "cluster/cluster_private.h"

enum { JOURNAL_NAME_BYTES = 64 };

struct journal;
struct desk;

struct journal_computation {
    struct list link; // among those of the journal, in the order of their numbers
    struct journal *journal;
    uint64_t number; // of the desk
    // The first JOURNAL_ID_BYTES are those of the journal: by them a client that took any scheduler
    // finds the same one again.
    uint8_t token[JOURNAL_TOKEN_BYTES];
    char name[JOURNAL_NAME_BYTES];
    struct map jobs;     // struct journal_job by number
    struct list workers; // struct journal_worker, in the order in which they were added
    bool restored;       // it was in the file when that was opened
    struct desk *desk;   // for the scheduler to set; NULL: its client has not come back
};

struct journal_worker {
    struct list link; // in computation.workers
    struct journal_computation *computation;
    uint64_t id;         // in this journal, never reused
    ac_ref host;         // whose number it is
    int64_t number;      // at that host
    ac_ref ref;          // of the worker
    uint64_t given;      // the highest place of a job that it was given
    struct list flights; // struct journal_flight, by their places
    bool gone;           // it has ended; it is here for the sake of its flights, and goes with them
    bool restored;       // it was in the file when that was opened
    void *user;          // for the scheduler to set: who speaks with it now; NULL: nobody
};

struct journal_job {
    struct journal_computation *computation;
    uint64_t number;
    uint32_t attempts;             // so many were made: the next one has a higher number
    uint8_t starts_lost;           // attempts that had begun and were lost; at most UINT8_MAX
    bool told;                     // for the scheduler to set: its client has told it again
    struct journal_flight *flight; // more than one by flight.other; NULL: it waits again
};

struct journal_flight {
    struct list link; // in worker.flights
    struct journal_job *job;
    struct journal_worker *worker;
    struct journal_flight *other; // of the same job
    uint64_t place;               // among all that the worker was given, from 1
    uint32_t attempt;
};

// Opens a file, makes it if need be, and reads what it has. NULL and *err: -EBUSY another process
// keeps it; -EACCES others may read it; -EBADMSG it is foreign or damaged; -ENOMEM; or the system's
// error. `text` says what, for people.
struct journal *journal_open(const char *path, int *err, char text[256]);
// Writes what is left and lets the file go, which stays. NULL is ignored.
void journal_close(struct journal *journal);
const uint8_t *journal_id(const struct journal *journal);
// The highest number of a computation so far.
uint64_t journal_last_number(const struct journal *journal);
// struct journal_computation, all.
struct list *journal_computations(struct journal *journal);
// 0; or why the journal was given up: the system's error, -ENOMEM.
int journal_problem(const struct journal *journal);
// Calls this once when it is given up, from within the call that finds it: it must not use the
// journal.
void journal_watch(struct journal *journal, void (*given_up)(void *up), void *up);

// ---- computations ----

// One with a number above all before it, and a new token; in the file when this returns. NULL: the
// journal is given up, now or before.
struct journal_computation *journal_add(struct journal *journal, uint64_t number, const char *name);
// The one with this token; NULL.
struct journal_computation *journal_find(struct journal *journal, const void *token, size_t bytes);
// It is closed: forgets it with all that it has. In the file when this returns.
void journal_remove(struct journal_computation *computation);

// ---- workers ----

// NULL: the journal is given up.
struct journal_worker *journal_add_worker(struct journal_computation *computation, ac_ref host,
                                          int64_t number, ac_ref ref);
// It has ended. Its record goes once it has no flights: the caller uses it no more.
void journal_worker_gone(struct journal_worker *worker);

// ---- jobs ----

struct journal_job *journal_job(const struct journal_computation *computation, uint64_t number);
// The worker is to be given an attempt of a job; `place` above all before it there.
void journal_given(struct journal_worker *worker, uint64_t number, uint32_t attempt,
                   uint64_t place);
// An attempt is over and the job goes on without it: it was given back, or its worker is gone.
// `counts`: it had begun, which is one lost start. Harmless if there is none.
void journal_over(struct journal_computation *computation, uint64_t number, uint32_t attempt,
                  bool counts);
// Its client has the report, or knows the job no more. Harmless if there is none.
void journal_forget(struct journal_computation *computation, uint64_t number);
// Writes all that was recorded so far. 0; or the error for which the journal is given up.
int journal_flush(struct journal *journal);

#endif
