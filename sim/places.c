// SPDX-License-Identifier: MIT
// Set-ups and clean-ups of simulated clusters: what they do, and what the oracle knows of them. A
// *ground* is a node for one computation, as long as it has the folder of that, which may be longer
// than its scheduler lives; a *spot* is a worker process.
//
//   - the set-up of a ground begins once, and no other set-up and no job does there before it is
//   over
//   - that of a spot begins once, and no job does before it is over
//   - where one has failed, or has ended its worker, no job begins at that ground or spot
//   - a clean-up begins once, where there was a set-up, when no job runs there; none begins after
//   it
//   - that of a ground begins when those of its spots are over, or late
//   - who closes where nothing befalls anybody has each spot cleaned up
#include "cluster.h"

#include <stdlib.h>

AC_JOB(set_up_site)
AC_JOB(set_up_spot)
AC_JOB(clean_up_spot)
AC_JOB(clean_up_site)

// What a clean-up may take, less what the clocks of two processes may differ in.
#define CLEANUP_NS (2900 * SIM_MS)

struct ground {
    struct list link; // in `grounds`
    uint32_t number;
    bool begun, done; // its set-up
    bool cleans;      // its clean-up has begun
};

struct spot {
    struct list link; // in `spots`
    struct process *process;
    struct ground *ground;
    const struct account *of; // known by its set-up
    bool begun, done;
    bool due; // it is to be cleaned up
    bool cleans, cleaned;
    ac_time cleans_since;
};

static struct list grounds, spots;
static uint32_t ground_count;

void places_begin(void) {
    list_init(&grounds);
    list_init(&spots);
    ground_count = 0;
}

uint32_t places_ground(void) {
    struct ground *it = cluster_keep(sizeof *it);
    list_init(&it->link);
    list_append(&grounds, &it->link);
    return it->number = ++ground_count;
}

static struct ground *ground_of(uint32_t number) {
    list_each (link, &grounds) {
        struct ground *it = container_of(link, struct ground, link);
        if (it->number == number)
            return it;
    }
    sim_fail("a worker is started where no program was taken in");
}

void places_worker(uint32_t ground) {
    struct spot *it = cluster_keep(sizeof *it);
    it->process = sim.running;
    it->ground = ground_of(ground);
    list_init(&it->link);
    list_append(&spots, &it->link);
}

static struct spot *here(void) {
    for (struct list *at = spots.prev; at != &spots; at = at->prev) {
        struct spot *it = container_of(at, struct spot, link);
        if (it->process == sim.running)
            return it;
    }
    sim_fail("a set-up or a job runs where no worker is");
}

// ---- what they do ----

static ac_value take_time(bool *done) {
    (void)ac_sleep(ac_random_real(0, 0.3));
    int64_t draw = ac_random_int(0, 99);
    if (draw < 3) {
        sim.running->dies_in = 1;
        process_counts(sim.running);
    }
    if (draw < 8)
        return ac_of_error(-EDOM, "it was to fail");
    *done = true;
    return ac_nil;
}

ac_value set_up_site(ac_value argument) {
    const struct spot *spot = here();
    (void)argument;
    sim_note("set-up-site", sim.running->number, 0, 0);
    sim_check(!spot->ground->begun, "a node is set up again, by worker process %u",
              sim.running->number);
    spot->ground->begun = true;
    return take_time(&spot->ground->done);
}

ac_value set_up_spot(ac_value argument) {
    struct spot *spot = here();
    spot->of = jobs_account_at((uint32_t)ac_int_of(argument));
    sim_note("set-up-spot", sim.running->number, 0, 0);
    sim_check(spot->ground->done, "worker process %u is set up, and its node is not",
              sim.running->number);
    sim_check(!spot->begun, "worker process %u is set up again", sim.running->number);
    spot->begun = true;
    return take_time(&spot->done);
}

void places_job_begins(void) {
    const struct spot *spot = here();
    sim_check(spot->done, "a job begins in worker process %u, which is not set up",
              sim.running->number);
    sim_check(!spot->cleans && !spot->ground->cleans,
              "a job begins in worker process %u, which was cleaned up", sim.running->number);
}

static void check_idle(const struct spot *spot) {
    sim_check(spot->done, "worker process %u is cleaned up, and was not set up",
              sim.running->number);
    sim_check(!jobs_run_here(), "worker process %u is cleaned up while a job runs there",
              sim.running->number);
}

ac_value clean_up_spot(ac_value argument) {
    struct spot *spot = here();
    (void)argument;
    sim_note("clean-spot", sim.running->number, 0, 0);
    check_idle(spot);
    sim_check(!spot->cleans && !spot->ground->cleans, "worker process %u is cleaned up too late",
              sim.running->number);
    spot->cleans = true;
    spot->cleans_since = sim.now;
    (void)ac_sleep(ac_random_int(0, 19) == 0 ? 5 : ac_random_real(0, 0.2));
    spot->cleaned = true;
    return ac_nil;
}

ac_value clean_up_site(ac_value argument) {
    const struct spot *spot = here();
    (void)argument;
    sim_note("clean-site", sim.running->number, 0, 0);
    check_idle(spot);
    sim_check(!spot->ground->cleans, "a node is cleaned up again");
    spot->ground->cleans = true;
    ac_time since = AC_FOREVER; // the first of its spots was told
    list_each (link, &spots) {
        const struct spot *it = container_of(link, struct spot, link);
        if (it->ground == spot->ground && it->cleans && it->cleans_since < since)
            since = it->cleans_since;
    }
    list_each (link, &spots) {
        const struct spot *it = container_of(link, struct spot, link);
        sim_check(it->ground != spot->ground || !it->cleans || it->cleaned ||
                      !process_lives(it->process) || sim.now - since > CLEANUP_NS,
                  "a node is cleaned up before worker process %u is", it->process->number);
    }
    (void)ac_sleep(ac_random_real(0, 0.2));
    return ac_nil;
}

// ---- closing ----

void places_closing(const struct account *account) {
    list_each (link, &spots) {
        struct spot *it = container_of(link, struct spot, link);
        if (it->of == account)
            it->due = it->done && process_lives(it->process);
    }
}

void places_closed(const struct account *account) {
    list_each (link, &spots) {
        const struct spot *it = container_of(link, struct spot, link);
        sim_check(it->of != account || !it->due || it->cleans,
                  "worker process %u was not cleaned up", it->process->number);
    }
}
