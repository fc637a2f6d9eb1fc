// SPDX-License-Identifier: MIT
// A scheduler that keeps a journal: it is killed again and again, at any moment, and started again,
// sooner or later than its clients and nodes wait for it. What is to hold then, beside what holds
// for all clusters (jobs.c):
//
//   - a client that has lost it is told so, and then that it is back, or that it is gone; and that
//     it is gone only if it was, for as long as it says that it is waited for
//   - where nothing else befalls anybody, workers that go on are found again with what they have,
//     unless the scheduler was away for too long
//   - when all computations are closed nothing is left in its journal
#include "cluster.h"

#include <stdio.h>

#include "cluster/journal.h"

// What it takes at the most until a scheduler that has come back is found by nodes and clients,
// where nothing befalls anybody.
#define FOUND_S 6.0

static struct {
    ac_time end;        // of the faults
    ac_time down_until; // it is not started before
    ac_time away_since; // it was last there, for as long as it takes to be found
    ac_time long_away;  // it came back after too long
} all;

static ac_time soon(double s) { return sim.now + (ac_time)sim_below((uint64_t)(s * 1e9)); }
static ac_time after(double s) { return sim.now + (ac_time)(s * 1e9); }
static struct actor *scheduler(void) { return &cluster.actors[0]; }

const char *comeback_journal(void) {
    static char path[32];
    snprintf(path, sizeof path, "/%u/journal", scheduler()->host);
    return story.keeps ? path : NULL;
}

bool comeback_may_start(void) { return sim.now >= all.down_until; }

// ---- blows ----

static void start(uint64_t unused, uint64_t too) {
    (void)unused, (void)too;
    const struct process *old = scheduler()->process;
    if (process_lives(old) || !comeback_may_start())
        return;
    (void)cluster_start(scheduler());
}

// One that dies in the middle of something has done so.
static void see(uint64_t number, uint64_t unused) {
    (void)unused;
    struct process *it = sim.processes[number - 1];
    if (process_lives(it) && it->dies_in) {
        sim_at(sim.now + 20 * SIM_MS, see, number, 0);
        return;
    }
    if (process_lives(it) || sim.now >= all.end)
        return;
    all.down_until = sim_chance(150)   ? after(cluster.return_s) + (ac_time)sim_below(8 * SIM_S)
                     : sim_chance(150) ? soon(cluster.return_s)
                                       : soon(1);
    sim_at(all.down_until, start, 0, 0);
}

static void strike(uint64_t unused, uint64_t too) {
    (void)unused, (void)too;
    struct process *it = scheduler()->process;
    if (sim.now >= all.end)
        return;
    if (it->state == PROCESS_RUNS && sim_chance(600)) // in the middle of something, soon
        it->dies_in = 1 + sim_below(400);
    else
        process_kill(it, false);
    see(it->number, 0);
    sim_at(soon(sim_chance(300) ? 1 : 8), strike, 0, 0);
}

void comeback_begin(ac_time until) {
    all.end = until;
    all.down_until = all.long_away = 0;
    all.away_since = AC_FOREVER;
    if (story.keeps)
        sim_at(soon(6), strike, 0, 0);
}

void comeback_mend(void) { all.down_until = 0; }

// ---- for how long it was away ----

// The scheduler that `process` was has been there from when it was found until it ended.
void comeback_starts(const struct process *old) {
    bool found = old && old->ended - old->began > (ac_time)(FOUND_S * 1e9);
    if (found || all.away_since == AC_FOREVER)
        all.away_since = old ? old->ended : sim.now;
    if (old && sim.now - all.away_since > (ac_time)((cluster.return_s - FOUND_S) * 1e9))
        all.long_away = sim.now;
}

bool comeback_excuses(void) {
    return all.long_away && sim.now < all.long_away + (ac_time)((cluster.return_s + 20) * 1e9);
}

// ---- what clients are told ----

static double seconds(ac_time a, ac_time b) { return (double)(b - a) * 1e-9; }

// It has been there for long enough since the client has lost it.
static bool was_there(const struct account *account) {
    double until = cluster.return_s < seconds(account->lost_at, sim.now)
                       ? cluster.return_s
                       : seconds(account->lost_at, sim.now);
    for (uint32_t i = 0; i < sim.process_count; i++) {
        const struct process *it = sim.processes[i];
        if (it->of != scheduler() || it->keeper)
            continue;
        double from = seconds(account->lost_at, it->began), to = until;
        if (!process_lives(it) && seconds(account->lost_at, it->ended) < to)
            to = seconds(account->lost_at, it->ended);
        if (to - (from > 0 ? from : 0) > FOUND_S)
            return true;
    }
    return false;
}

void comeback_told(struct account *account, const struct ac_status *status) {
    sim_check(!account->here && !account->gone,
              "a client is told of a scheduler that it has not, or has no more: %s", status->text);
    if (status->kind == AC_SCHEDULER_READY) {
        sim_check(account->contact != CONTACT_READY, "a client is told twice that it is served");
        account->contact = CONTACT_READY;
    } else if (status->kind == AC_SCHEDULER_LOST) {
        sim_check(story.keeps && account->contact == CONTACT_READY,
                  "a client is told that it has lost a scheduler that it did not have");
        account->contact = CONTACT_LOST;
        account->lost_at = sim.now;
    } else {
        sim_check(!cluster_is_mild() || (account->contact == CONTACT_LOST && !was_there(account)),
                  "a scheduler is gone: %s", status->text);
        account->gone = true;
    }
}

// ---- what is left ----

static bool journal_read;

static void run_reader(struct process *process) {
    (void)process;
    char text[256];
    int err;
    struct journal *journal = journal_open(comeback_journal(), &err, text);
    sim_check(journal, "the journal cannot be read: %s", text);
    sim_check(list_empty(journal_computations(journal)), "a computation is left in the journal");
    journal_close(journal);
    journal_read = true;
}

void comeback_check_journal(void) {
    if (!story.keeps)
        return;
    journal_read = false;
    (void)process_start(scheduler()->host, run_reader, NULL);
    sim_until(after(1));
    sim_check(journal_read, "the journal is not read");
}
