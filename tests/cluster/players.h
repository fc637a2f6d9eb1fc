// SPDX-License-Identifier: MIT
// Placement with a clock and workers that the tests play: whoever is given jobs runs them one after
// the other, each as long as the test says, and answers when the clock says so.
#ifndef TESTS_CLUSTER_PLAYERS_H
#define TESTS_CLUSTER_PLAYERS_H

#include "cluster/placement.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#define MS 1000000ull

enum { PLAYERS_MAX = 600, HAND_MAX = 4200, JOBS_MAX = 20001 };

// What a worker of the tests has.
struct player {
    struct place_worker *worker;
    struct place_node *node;
    double slowness;
    struct hand {
        uint64_t number;
        uint32_t attempt;
        uint64_t place; // among all that it was given
        bool asked;
        bool seen; // it begins when it is seen again: reports take their time
    } hand[HAND_MAX];
    uint32_t count;
    uint64_t given;
    uint64_t come_to; // the place of the job that it has begun last
    bool begun;       // the first of them
    bool deaf;        // does not answer when it is asked to end
    ac_time until;
    uint32_t most;  // jobs that it had at once
    uint32_t ended; // jobs that it has run to their end
};

static struct placement *placement;
static struct player players[PLAYERS_MAX];
static uint32_t player_count;
static ac_time now;
static uint64_t nanoseconds[JOBS_MAX];
static uint32_t reports[JOBS_MAX]; // how often each job was reported
static enum place_end how[JOBS_MAX];
static char why[JOBS_MAX][PLACE_TEXT_BYTES];
static uint32_t runs[JOBS_MAX];        // how often each was given to a worker
static uint32_t overs[JOBS_MAX];       // attempts after which it went on
static uint32_t starts_lost[JOBS_MAX]; // those of them that counted
static uint32_t attempts[JOBS_MAX];    // the last one
static uint32_t begins[JOBS_MAX];      // how often each began
static uint64_t reported;
static uint32_t hints;
static char hint[PLACE_TEXT_BYTES];
static struct place_worker *killed;

static void door_run(void *up, struct place_worker *worker, struct job *job, uint32_t attempt) {
    (void)up;
    struct player *it = placement_worker_user(worker);
    ck_assert_uint_lt(it->count, HAND_MAX);
    it->hand[it->count++] = (struct hand){
        .number = placement_number(job), .attempt = attempt, .place = ++it->given};
    it->most = it->count > it->most ? it->count : it->most;
    ck_assert_uint_eq(placement_given(worker), it->given);
    ck_assert_uint_gt(attempt, attempts[placement_number(job)]);
    attempts[placement_number(job)] = attempt;
    runs[placement_number(job)]++;
}

static struct hand *in_hand(struct player *it, uint64_t number, uint32_t attempt) {
    for (uint32_t i = 0; i < it->count; i++)
        if (it->hand[i].number == number && it->hand[i].attempt == attempt)
            return &it->hand[i];
    return NULL;
}

// Answers are given by play(), as those of a worker come later.
static void door_recall(void *up, struct place_worker *worker, uint64_t number, uint32_t attempt) {
    (void)up;
    struct player *it = placement_worker_user(worker);
    struct hand *hand = in_hand(it, number, attempt);
    if (hand && !(hand == it->hand && it->begun))
        hand->asked = true;
}

static void door_cancel(void *up, struct place_worker *worker, uint64_t number, uint32_t attempt) {
    (void)up;
    struct player *it = placement_worker_user(worker);
    struct hand *hand = in_hand(it, number, attempt);
    ck_assert_ptr_nonnull(hand);
    hand->asked = !it->deaf;
}

static void door_kill(void *up, struct place_worker *worker, uint64_t number, const char *text) {
    (void)up, (void)number;
    ck_assert_ptr_null(killed);
    ck_assert_int_ne(text[0], 0);
    killed = worker;
}

static void door_over(void *up, struct place_computation *it, uint64_t number, uint32_t attempt,
                      bool counts) {
    (void)up, (void)it;
    ck_assert_uint_eq(reports[number], 0);
    ck_assert_uint_le(attempt, attempts[number]);
    overs[number]++;
    starts_lost[number] += counts;
}

static void count_report(uint64_t number, enum place_end end, const char *text) {
    reports[number]++;
    reported++;
    how[number] = end;
    snprintf(why[number], sizeof why[number], "%s", text);
}

static void door_report(void *up, struct place_computation *it, uint64_t number, enum place_end end,
                        int err, const char *text) {
    (void)up, (void)it;
    ck_assert_int_lt(err, 0);
    count_report(number, end, text);
}

static void door_hint(void *up, struct place_computation *it, const char *text) {
    (void)up, (void)it;
    hints++;
    snprintf(hint, sizeof hint, "%s", text);
}

static const struct place_door door = {.run = door_run,
                                       .recall = door_recall,
                                       .cancel = door_cancel,
                                       .kill = door_kill,
                                       .over = door_over,
                                       .report = door_report,
                                       .hint = door_hint};

__attribute__((unused)) static void begin(void) {
    now = 1000 * MS;
    placement = placement_create(&door, NULL);
    ck_assert_ptr_nonnull(placement);
}

__attribute__((unused)) static struct place_computation *open_one(void) {
    return placement_open(placement, &(struct place_options){0});
}

__attribute__((unused)) static struct place_node *add_node(const char *name, uint32_t cpus,
                                                           const char *tags) {
    struct place_facts facts = {.cpus = cpus, .memory = 1 << 30, .architecture = "x86_64"};
    snprintf(facts.name, sizeof facts.name, "%s", name);
    snprintf(facts.tags, sizeof facts.tags, "%s", tags);
    return placement_add_node(placement, NULL, &facts, now);
}

__attribute__((unused)) static struct player *add_player(struct place_computation *it,
                                                         struct place_node *node) {
    ck_assert_uint_lt(player_count, PLAYERS_MAX);
    struct player *player = &players[player_count++];
    player->slowness = 1;
    player->node = node;
    player->worker = placement_add_worker(it, node, player, player->given);
    ck_assert_ptr_nonnull(player->worker);
    return player;
}

__attribute__((unused)) static uint32_t add_class(struct place_computation *it,
                                                  const struct place_needs *needs) {
    int number = placement_add_class(it, needs, now);
    ck_assert_int_ge(number, 0);
    return (uint32_t)number;
}

__attribute__((unused)) static void submit(struct place_computation *it, uint64_t number,
                                           uint32_t class, uint64_t ns) {
    nanoseconds[number] = ns;
    ck_assert_int_eq(placement_submit(it, number, class, NULL, ac_of((int)number)), 0);
}

static void drop_hand(struct player *it, uint32_t i) {
    memmove(&it->hand[i], &it->hand[i + 1], (it->count - i - 1) * sizeof it->hand[0]);
    it->count--;
    it->begun = it->begun && i > 0;
}

// What a worker does now. True if that was anything.
__attribute__((unused)) static bool play(struct player *it) {
    bool changed = false;
    if (!it->worker || placement_is_awaited(it->worker))
        return false;
    for (uint32_t i = 0; i < it->count; i++) {
        struct hand hand = it->hand[i];
        if (!hand.asked)
            continue;
        bool runs_now = i == 0 && it->begun;
        drop_hand(it, i--);
        changed = true;
        if (!runs_now)
            ck_assert(placement_given_back(it->worker, hand.number, hand.attempt));
        else if (placement_ended(it->worker, hand.number, hand.attempt, 0, now))
            count_report(hand.number, PLACE_CANCELLED, "asked");
    }
    if (it->begun && it->until <= now) {
        struct hand hand = it->hand[0];
        drop_hand(it, 0);
        it->ended++;
        changed = true;
        uint64_t ns = (uint64_t)((double)nanoseconds[hand.number] * it->slowness);
        if (placement_ended(it->worker, hand.number, hand.attempt, ns, now))
            count_report(hand.number, PLACE_LOST + 1, "done");
    }
    if (it->count > 0 && !it->begun && !it->hand[0].seen) {
        it->hand[0].seen = changed = true;
    } else if (it->count > 0 && !it->begun) {
        it->begun = changed = true;
        begins[it->hand[0].number]++;
        it->come_to = it->hand[0].place;
        it->until = now + (ac_time)((double)nanoseconds[it->hand[0].number] * it->slowness);
        uint32_t class;
        (void)placement_begun(it->worker, it->hand[0].number, it->hand[0].attempt, now, &class);
    }
    return changed;
}

// `begun`: as of placement_remove_worker.
__attribute__((unused)) static void lose_after(struct player *it, uint64_t begun,
                                               const char *text) {
    it->count = 0;
    it->begun = false;
    placement_remove_worker(it->worker, begun, text);
    it->worker = NULL;
}

__attribute__((unused)) static void lose(struct player *it, const char *text) {
    lose_after(it, it->come_to, text);
}

// Until `count` jobs have been reported or the clock stands at `end`.
__attribute__((unused)) static void run_until(uint64_t count, ac_time end) {
    for (;;) {
        ac_time next = placement_turn(placement, now);
        bool changed = false;
        for (uint32_t i = 0; i < player_count; i++)
            changed |= play(&players[i]);
        if (killed) {
            lose(placement_worker_user(killed), "ended by force");
            killed = NULL;
            changed = true;
        }
        if (reported >= count)
            return;
        if (changed)
            continue;
        for (uint32_t i = 0; i < player_count; i++)
            if (players[i].begun && players[i].until < next)
                next = players[i].until;
        if (next > end) {
            now = end;
            return;
        }
        now = next > now ? next : now + 1;
    }
}

__attribute__((unused)) static void finish(struct place_computation *it) {
    ck_assert_uint_eq(placement_jobs(it), 0);
    ck_assert_uint_eq(placement_waiting(it), 0);
    for (uint32_t i = 0; i < player_count; i++)
        ck_assert(!players[i].worker || placement_load(players[i].worker) == 0);
    placement_destroy(placement);
}

#define DONE (PLACE_LOST + 1)

#endif
