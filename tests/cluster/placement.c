// SPDX-License-Identifier: MIT
// What becomes of a job: begun, lost, run again, cancelled, too late, reported once.
#include "cluster/players.h"

TEST(a_job_that_had_begun_is_lost_and_one_that_had_not_runs_elsewhere) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    struct player *first = add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS);
    run_until(1, now + 100 * MS);
    submit(it, 2, class, 1000 * MS);
    submit(it, 3, class, 10 * MS);
    run_until(2, now + 100 * MS);
    ck_assert_uint_eq(first->count, 2);
    lose(first, "signal 11");
    ck_assert_uint_eq(reports[2], 1);
    ck_assert_int_eq(how[2], PLACE_LOST);
    ck_assert_str_eq(why[2], "signal 11");
    ck_assert_uint_eq(reports[3], 0);
    struct player *second = add_player(it, node);
    run_until(3, now + 100 * MS);
    ck_assert_int_eq(how[3], DONE);
    ck_assert_uint_eq(second->ended, 1);
    ck_assert_uint_eq(runs[3], 2);
    ck_assert_uint_eq(overs[2], 0); // it was reported
    ck_assert_uint_eq(overs[3], 1);
    ck_assert_uint_eq(starts_lost[3], 0);
    finish(it);
}

TEST(jobs_are_shown_as_they_are) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    struct player *player = add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){.function = 7});
    struct place_view view;
    ck_assert(!placement_view(it, 0, &view));
    submit(it, 1, class, MS);
    run_until(1, now + 100 * MS);
    ck_assert(!placement_view(it, 0, &view)); // it has ended
    submit(it, 2, class, 1000 * MS);
    submit(it, 3, class, 10 * MS);
    ac_time before = now;
    run_until(2, now + 100 * MS);
    placement_tell_time(placement, now);
    submit(it, 3000, class, MS);
    ck_assert(placement_view(it, 0, &view));
    ck_assert_uint_eq(view.number, 2);
    ck_assert_uint_eq(view.function, 7);
    ck_assert_uint_eq(view.attempts, 1);
    ck_assert_ptr_eq(view.at, player->worker);
    ck_assert(view.begun);
    ck_assert_int_ge(view.since, before);
    ck_assert_uint_eq(placement_running(it), 1);
    ck_assert(placement_view(it, 3, &view));
    ck_assert_uint_eq(view.number, 3);
    ck_assert(view.at && !view.begun);
    ck_assert(placement_view(it, 4, &view));
    ck_assert_uint_eq(view.number, 3000);
    ck_assert(!view.at && !view.begun);
    ck_assert_uint_eq(view.attempts, 0);
    ck_assert_int_eq(view.since, now);
    ck_assert(!placement_view(it, 3001, &view));
    run_until(3000, now + 5000 * MS);
    ck_assert_uint_eq(placement_running(it), 0);
    finish(it);
}

// A worker has been given three jobs, has ended the first and told that it has begun the second.
static struct player *begin_second(struct place_computation *it, struct place_node *node) {
    struct player *first = add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS);
    run_until(1, now + 100 * MS);
    submit(it, 2, class, 1000 * MS);
    submit(it, 3, class, 10 * MS);
    run_until(2, now + 100 * MS);
    ck_assert_uint_eq(first->count, 2);
    return first;
}

static void lose_second_after(uint64_t begun) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    lose_after(begin_second(it, node), begun, "signal 11");
    for (uint64_t number = 2; number <= 3; number++)
        ck_assert_uint_eq(reports[number], number <= begun);
    (void)add_player(it, node);
    run_until(3, now + 2000 * MS);
    for (uint64_t number = 2; number <= 3; number++) {
        ck_assert_uint_eq(reports[number], 1);
        ck_assert_int_eq(how[number], number <= begun ? (int)PLACE_LOST : (int)DONE);
    }
    finish(it);
}

TEST(a_job_that_was_told_of_and_had_not_begun_runs_elsewhere) { lose_second_after(1); }

TEST(a_job_that_had_begun_is_lost_though_nothing_was_told_of_it) { lose_second_after(3); }

// The worker computes and reads nothing, so what lies behind cannot be taken back from it.
TEST(one_cancelled_before_it_began_does_not_end_the_worker_of_another) {
    begin();
    struct place_computation *it = open_one();
    struct player *one = add_player(it, add_node("one", 2, ""));
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS / 2);
    run_until(1, now + 100 * MS);
    submit(it, 2, class, 60000 * MS);
    submit(it, 3, class, MS);
    submit(it, 4, class, MS);
    run_until(2, now + 5 * MS);
    ck_assert_uint_eq(one->count, 3);
    one->deaf = true;
    placement_cancel(it, 3, now);
    run_until(2, now + 10000 * MS);
    ck_assert_uint_eq(reports[3], 1);
    ck_assert_int_eq(how[3], PLACE_CANCELLED);
    run_until(4, now + 100000 * MS);
    ck_assert_int_eq(how[2], DONE);
    ck_assert_int_eq(how[4], DONE);
    ck_assert_uint_eq(reports[3], 1);
    ck_assert_uint_eq(runs[2], 1);
    run_until(5, now + 10000 * MS);
    finish(it);
}

TEST(a_job_that_may_runs_again_as_often_as_it_may) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    uint32_t class = add_class(it, &(struct place_needs){.retries = 2});
    submit(it, 1, class, 1000 * MS);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(reports[1], 0);
        struct player *player = add_player(it, node);
        run_until(1, now + 10 * MS);
        ck_assert(player->begun);
        lose(player, "killed");
    }
    ck_assert_uint_eq(reports[1], 1);
    ck_assert_int_eq(how[1], PLACE_LOST);
    ck_assert_uint_eq(runs[1], 3);
    ck_assert_uint_eq(overs[1], 2);
    ck_assert_uint_eq(starts_lost[1], 2);
    finish(it);
}

// Job 1 is new; 2 was given and not begun; 3 and 4 had begun three times.
TEST(a_job_that_was_given_before_goes_on_with_its_attempts_and_lost_starts) {
    begin();
    struct place_computation *it = placement_open(placement,
                                                  &(struct place_options){.gap_max = 1ull << 34});
    uint32_t never = add_class(it, &(struct place_needs){0});
    uint32_t thrice = add_class(it, &(struct place_needs){.retries = 3});
    for (uint64_t number = 1; number <= 4; number++)
        nanoseconds[number] = 100 * MS;
    ck_assert_int_eq(placement_submit(it, 1, never, NULL, ac_nil), 0);
    attempts[2] = attempts[4] = 7;
    ck_assert_int_eq(placement_restore(it, 2, never, 7, 0, ac_nil), 0);
    ck_assert_int_eq(placement_restore(it, 2, never, 7, 0, ac_nil), -EINVAL);
    ck_assert_int_eq(placement_restore(it, 3, never, 7, 3, ac_nil), 1);
    ck_assert_int_eq(placement_restore(it, 3, never, 7, 3, ac_nil), -EINVAL);
    ck_assert_int_eq(placement_restore(it, 4, thrice, 7, 3, ac_nil), 0);
    ck_assert_int_eq(placement_skip(it, 1ull << 32), 0);
    ck_assert_int_eq(placement_skip(it, 1ull << 35), -EINVAL);
    ck_assert_uint_eq(placement_waiting(it), 3);
    struct place_node *node = add_node("one", 1, "");
    struct player *player = add_player(it, node);
    run_until(2, now + 1000 * MS);
    ck_assert_uint_eq(reported, 2);
    ck_assert_uint_eq(reports[4], 0);
    run_until(3, now + 10 * MS);
    ck_assert(player->begun);
    lose(player, "lost");
    ck_assert_uint_eq(attempts[2], 8);
    ck_assert_uint_eq(attempts[4], 8);
    ck_assert_int_eq(how[4], PLACE_LOST); // it was the fourth start
    finish(it);
}

TEST(a_late_report_of_an_attempt_that_was_given_up_changes_nothing) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    struct player *first = add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){.retries = 1});
    submit(it, 1, class, 10 * MS);
    run_until(1, now + 5 * MS);
    lose(first, "frozen");
    struct player *second = add_player(it, node);
    run_until(1, now + 5 * MS);
    ck_assert_uint_eq(second->hand[0].attempt, 2);
    ck_assert(!placement_ended(second->worker, 1, 1, 0, now));
    ck_assert(!placement_given_back(second->worker, 1, 1));
    run_until(1, now + 100 * MS);
    ck_assert_uint_eq(reports[1], 1);
    ck_assert(!placement_ended(second->worker, 1, 2, 0, now));
    finish(it);
}

TEST(a_cancelled_job_that_does_not_end_has_its_worker_ended_and_no_other_job_harmed) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    struct player *first = add_player(it, node);
    first->deaf = true;
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, 100000 * MS);
    submit(it, 2, class, MS);
    submit(it, 3, class, MS);
    run_until(1, now + 5 * MS);
    ac_time asked = now;
    placement_cancel(it, 1, now);
    placement_cancel(it, 3, now);
    ck_assert_int_eq(how[3], PLACE_CANCELLED); // it had begun nowhere
    run_until(2, now + 10000 * MS);
    ck_assert_int_eq(how[1], PLACE_LOST);
    ck_assert_uint_eq(reports[1], 1);
    ck_assert_int_ge(now - asked, 2000 * (ac_time)MS);
    ck_assert_int_lt(now - asked, 2100 * (ac_time)MS);
    add_player(it, node);
    run_until(3, now + 100 * MS);
    ck_assert_int_eq(how[2], DONE);
    finish(it);
}

TEST(a_job_that_takes_too_long_is_ended_and_says_so) {
    begin();
    struct place_computation *it = open_one();
    add_player(it, add_node("one", 2, ""));
    uint32_t class = add_class(it, &(struct place_needs){.seconds_max = 0.5, .retries = 3});
    submit(it, 1, class, 100000 * MS);
    submit(it, 2, class, MS);
    ac_time start = now;
    run_until(1, now + 10000 * MS);
    ck_assert_int_eq(how[1], PLACE_FAILED);
    ck_assert_str_eq(why[1], "it took longer than the 0.5 s that it may take");
    ck_assert_int_lt(now - start, 600 * (ac_time)MS);
    run_until(2, now + 1000 * MS);
    ck_assert_int_eq(how[2], DONE);
    finish(it);
}

TEST(numbers_rise_and_classes_must_be_there) {
    begin();
    struct place_computation *it = open_one();
    uint32_t class = add_class(it, &(struct place_needs){0});
    ck_assert_int_eq(placement_submit(it, 7, class, NULL, ac_nil), 0);
    ck_assert_int_eq(placement_submit(it, 7, class, NULL, ac_nil), -EINVAL);
    ck_assert_int_eq(placement_submit(it, 6, class, NULL, ac_nil), -EINVAL);
    ck_assert_int_eq(placement_submit(it, 8, class + 1, NULL, ac_nil), -EINVAL);
    ck_assert_int_eq(placement_submit(it, 8 + PLACE_GAP_MAX, class, NULL, ac_nil), -EINVAL);
    // Those that the caller refuses count as well.
    ck_assert_int_eq(placement_skip(it, 7), -EINVAL);
    ck_assert_int_eq(placement_skip(it, 8 + PLACE_GAP_MAX), -EINVAL);
    ck_assert_int_eq(placement_skip(it, 7 + PLACE_GAP_MAX), 0);
    ck_assert_int_eq(placement_submit(it, 7 + PLACE_GAP_MAX, class, NULL, ac_nil), -EINVAL);
    ck_assert_int_eq(placement_submit(it, 8 + PLACE_GAP_MAX, class, NULL, ac_nil), 0);
    ck_assert_uint_eq(placement_jobs(it), 2);
    placement_destroy(placement);
}

TEST(submitting_fails_cleanly_without_memory) {
    begin();
    struct place_computation *it = open_one();
    uint32_t class = add_class(it, &(struct place_needs){0});
    int err = -ENOMEM;
    for (long n = 1; err; n++) {
        ck_assert_int_lt(n, 20);
        memory_fail_nth(n);
        err = placement_submit(it, 5000, class, NULL, ac_of_text("an argument of some length"));
        memory_fail_nth(0);
        ck_assert(err == 0 || err == -ENOMEM);
    }
    ck_assert_uint_eq(placement_jobs(it), 1);
    placement_destroy(placement);
}

// Property: whatever is lost, suspended, cancelled or slow, each job is reported once, nobody is
// given more than he may have, and at the end nothing is left.
TEST(each_job_is_reported_once_whatever_happens) {
    for (unsigned seed = 1; seed <= 60; seed++) {
        srand(seed);
        memset(players, 0, sizeof players);
        memset(reports, 0, sizeof reports);
        memset(attempts, 0, sizeof attempts);
        player_count = 0;
        reported = 0;
        begin();
        struct place_computation *it = open_one();
        struct place_node *nodes[3] = {add_node("a", 2, ""), add_node("b", 2, "x"),
                                       add_node("c", 1, "")};
        uint32_t classes[3] = {
            add_class(it, &(struct place_needs){.retries = 3, .copies = true}),
            add_class(it, &(struct place_needs){.tags = "x", .wait_for_nodes = true}),
            add_class(it, &(struct place_needs){.seconds_max = 0.05})};
        uint64_t jobs = 300, submitted = 0;
        while (reported < jobs) {
            uint32_t living[3] = {0};
            for (uint32_t i = 0; i < player_count; i++)
                for (int k = 0; k < 3; k++)
                    living[k] += players[i].worker && players[i].node == nodes[k];
            int choice = rand() % 10;
            struct player *one = player_count ? &players[(uint32_t)rand() % player_count] : NULL;
            if (submitted < jobs && choice < 6)
                for (int i = 0; i < 20 && submitted < jobs; i++, submitted++)
                    submit(it, submitted + 1, classes[rand() % 3],
                           (uint64_t)(rand() % 100000) * 1000);
            for (int k = 0; k < 3; k++)
                if (living[k] < 2)
                    add_player(it, nodes[k])->deaf = rand() % 4 == 0;
            if (one && one->worker && choice == 7)
                lose(one, "lost");
            if (choice == 8 && submitted)
                placement_cancel(it, 1 + (uint64_t)rand() % submitted, now);
            if (one && one->worker && choice == 9)
                placement_enable_worker(one->worker, rand() % 2 || submitted == jobs);
            if (one && one->worker && choice == 6)
                placement_suspend_worker(one->worker, rand() % 2 && submitted < jobs);
            for (uint32_t i = 0; i < player_count && submitted == jobs; i++)
                if (players[i].worker) {
                    placement_enable_worker(players[i].worker, true);
                    placement_suspend_worker(players[i].worker, false);
                }
            run_until(jobs, now + (ac_time)(rand() % 200) * (ac_time)MS);
            ck_assert_int_lt(now, 2000000 * (ac_time)MS);
        }
        for (uint64_t i = 1; i <= jobs; i++)
            ck_assert_uint_eq(reports[i], 1);
        run_until(jobs + 1, now + 10000 * MS); // copies end
        ck_assert_uint_eq(reported, jobs);
        finish(it);
    }
}

// ---- a scheduler that is started again ----

// What is known of the jobs of a computation that a new scheduler restores: of class 0.
static struct place_computation *restore_jobs(uint64_t count, uint8_t retries) {
    begin();
    struct place_computation *it = open_one();
    (void)add_class(it, &(struct place_needs){.retries = retries, .seconds_max = 60});
    for (uint64_t number = 1; number <= count; number++)
        submit(it, number, 0, MS);
    return it;
}

static struct player *await_player(struct place_computation *it) {
    struct player *player = &players[player_count++];
    *player = (struct player){.slowness = 1, .worker = placement_await_worker(it, NULL)};
    ck_assert_ptr_nonnull(player->worker);
    return player;
}

// The player was given that, and has it.
static void restore(struct player *it, uint64_t number, uint32_t attempt, uint64_t place) {
    ck_assert_int_eq(placement_restore_flight(it->worker, number, attempt, place, false), 0);
    attempts[number] = attempt;
    it->hand[it->count++] = (struct hand){.number = number, .attempt = attempt, .place = place};
}

static void come_back(struct player *it, struct place_node *node, uint64_t given) {
    it->given = given;
    it->node = node;
    placement_settle_worker(it->worker, node, it, given, now);
}

TEST(jobs_at_a_worker_that_is_awaited_run_nowhere_else) {
    struct place_computation *it = restore_jobs(3, 0);
    struct place_node *node = add_node("one", 2, "");
    struct player *first = await_player(it);
    char text[PLACE_TEXT_BYTES];
    restore(first, 2, 1, 5);
    restore(first, 1, 3, 4);
    ck_assert(placement_is_awaited(first->worker));
    ck_assert_uint_eq(placement_waiting(it), 1);
    struct player *second = add_player(it, node);
    run_until(1, now + 10000 * MS);
    ck_assert_int_eq(how[3], DONE);
    ck_assert_uint_eq(runs[1] + runs[2], 0);
    ck_assert(placement_why(it, 1, now, text));
    ck_assert_ptr_nonnull(strstr(text, "has not come back yet"));
    // It has ended one job, which takes no place any more, runs the other, and takes new ones.
    uint32_t class;
    ck_assert(placement_begun(first->worker, 1, 3, now, &class));
    ck_assert(placement_ended(first->worker, 1, 3, MS, now));
    ck_assert(placement_begun(first->worker, 2, 1, now, &class));
    lose(second, "gone");
    come_back(first, node, 5);
    ck_assert(!placement_is_awaited(first->worker));
    submit(it, 4, 0, MS);
    ck_assert(placement_ended(first->worker, 2, 1, MS, now));
    first->count = 0;
    run_until(2, now + 10 * MS);
    ck_assert_int_eq(how[4], DONE);
    ck_assert_uint_eq(first->come_to, 6); // the next place after those that it had
    finish(it);
}

TEST(what_never_arrived_at_a_worker_that_comes_back_runs_again_at_no_cost) {
    struct place_computation *it = restore_jobs(4, 0);
    struct place_node *node = add_node("one", 2, "");
    struct player *first = await_player(it);
    for (uint64_t number = 1; number <= 4; number++)
        restore(first, number, 1, number);
    first->count = 0;
    ck_assert_int_eq(placement_restore_flight(first->worker, 1, 1, 1, false), -EINVAL);
    ck_assert_int_eq(placement_restore_flight(first->worker, 1, 2, 0, false), -EINVAL);
    ck_assert_int_eq(placement_restore_flight(first->worker, 5, 1, 5, false), -ESRCH);
    // It has the second alone, and the first came to its end there; the last two did not arrive.
    ck_assert(placement_ended(first->worker, 1, 1, MS, now));
    placement_has(first->worker, 2, 1);
    first->hand[first->count++] = (struct hand){.number = 2, .attempt = 1, .place = 2};
    come_back(first, node, 2);
    ck_assert_uint_eq(placement_load(first->worker), 1);
    ck_assert_uint_eq(placement_waiting(it), 2);
    run_until(3, now + 1000 * MS);
    for (uint64_t number = 2; number <= 4; number++) {
        ck_assert_uint_eq(reports[number], 1);
        ck_assert_int_eq(how[number], DONE);
    }
    ck_assert_uint_eq(runs[2], 0);
    ck_assert_uint_eq(runs[3] + runs[4], 2);
    ck_assert_uint_eq(first->come_to, 4);
    finish(it);
}

TEST(a_worker_that_ended_meanwhile_loses_what_it_had_begun) {
    struct place_computation *it = restore_jobs(3, 0);
    struct player *first = await_player(it);
    for (uint64_t number = 1; number <= 3; number++)
        restore(first, number, 1, 10 + number);
    lose_after(first, 12, "signal 11");
    ck_assert_uint_eq(reported, 2);
    ck_assert_int_eq(how[1], PLACE_LOST);
    ck_assert_int_eq(how[2], PLACE_LOST);
    ck_assert_str_eq(why[2], "signal 11");
    (void)add_player(it, add_node("one", 2, ""));
    run_until(3, now + 1000 * MS);
    ck_assert_int_eq(how[3], DONE);
    finish(it);
}

TEST(a_job_cancelled_meanwhile_is_asked_to_end_once_its_worker_is_there) {
    struct place_computation *it = restore_jobs(2, 0);
    struct place_node *node = add_node("one", 2, "");
    struct player *first = await_player(it);
    uint32_t class;
    restore(first, 1, 1, 1);
    placement_cancel(it, 1, now);
    placement_cancel(it, 2, now);
    ck_assert_uint_eq(reports[2], 1); // it waited
    run_until(2, now + 10000 * MS);
    ck_assert_uint_eq(reports[1], 0); // who knows what it does
    ck_assert(placement_begun(first->worker, 1, 1, now, &class));
    first->begun = first->hand[0].seen = true;
    first->until = now + 100000 * (ac_time)MS;
    come_back(first, node, 1);
    ck_assert(first->hand[0].asked);
    run_until(2, now + 100 * MS);
    ck_assert_int_eq(how[1], PLACE_CANCELLED);
    finish(it);
}

TEST(a_job_that_took_too_long_for_a_lost_scheduler_says_so) {
    struct place_computation *it = restore_jobs(3, 0);
    struct place_node *node = add_node("one", 2, "");
    struct player *first = await_player(it);
    for (uint64_t number = 1; number <= 3; number++)
        restore(first, number, 1, number);
    ck_assert(!placement_was_cancelled(first->worker, 1, 1));
    ck_assert(!placement_ended(first->worker, 1, 1, 60000 * MS, now));
    ck_assert_int_eq(how[1], PLACE_FAILED);
    ck_assert_str_eq(why[1], "it took longer than the 60 s that it may take");
    // One that its client does not want any more, and one that ends when the worker is back.
    placement_cancel(it, 2, now);
    ck_assert(!placement_was_cancelled(first->worker, 2, 1));
    ck_assert(placement_ended(first->worker, 2, 1, 60000 * MS, now));
    uint32_t class;
    ck_assert(placement_begun(first->worker, 3, 1, now, &class));
    first->count = 0;
    come_back(first, node, 3);
    ck_assert(!placement_was_cancelled(first->worker, 3, 1));
    ck_assert(!placement_ended(first->worker, 3, 1, 60000 * MS, now));
    ck_assert_int_eq(how[3], PLACE_FAILED);
    finish(it);
}

TEST(a_copy_that_a_lost_scheduler_cancelled_does_not_end_its_job) {
    begin();
    struct place_computation *it = open_one();
    (void)add_class(it, &(struct place_needs){.copies = true});
    submit(it, 1, 0, MS);
    struct player *first = await_player(it), *second = await_player(it);
    restore(first, 1, 1, 1);
    restore(second, 1, 2, 1);
    ck_assert(placement_was_cancelled(second->worker, 1, 2));
    ck_assert_uint_eq(reported, 0);
    ck_assert(placement_ended(first->worker, 1, 1, MS, now));
    finish(it);
}

TEST(a_job_of_one_worker_that_never_arrived_there_is_lost) {
    begin();
    struct place_computation *it = open_one();
    uint32_t class = add_class(it, &(struct place_needs){0});
    struct player *first = await_player(it);
    for (uint64_t number = 1; number <= 2; number++) {
        submit(it, number, class, MS);
        ck_assert_int_eq(placement_restore_flight(first->worker, number, 1, number, true), 0);
    }
    ck_assert_uint_eq(placement_waiting(it), 0);
    placement_has(first->worker, 1, 1);
    come_back(first, add_node("one", 2, ""), 1);
    ck_assert_uint_eq(reports[1], 0);
    ck_assert_int_eq(how[2], PLACE_LOST);
    lose_after(first, 0, "killed");
    ck_assert_int_eq(how[1], PLACE_LOST);
    ck_assert_uint_eq(reported, 2);
    finish(it);
}

enum { JOBS_AGAIN = 200 };

// What comes back of a player: what had begun may have ended, what came last may not have arrived.
static void come_back_with_some(struct player *it, struct place_node *node) {
    uint32_t class, least = it->begun, keep = least + (uint32_t)rand() % (it->count - least + 1);
    for (uint32_t i = 0; i < it->count; i++)
        ck_assert_int_eq(placement_restore_flight(it->worker, it->hand[i].number,
                                                  it->hand[i].attempt, it->hand[i].place, false),
                         0);
    uint64_t given = keep < it->count ? it->hand[keep].place - 1 : it->given;
    it->count = keep;
    for (uint32_t i = least; i < keep; i++)
        placement_has(it->worker, it->hand[i].number, it->hand[i].attempt);
    if (it->begun) {
        struct hand first = it->hand[0];
        ck_assert(placement_begun(it->worker, first.number, first.attempt, now, &class));
        if (rand() % 2) {
            drop_hand(it, 0);
            ck_assert(placement_ended(it->worker, first.number, first.attempt, MS, now));
            count_report(first.number, DONE, "done meanwhile");
        }
    }
    come_back(it, node, given);
}

static struct place_computation *start_again(struct place_node *nodes[2]) {
    placement_destroy(placement);
    placement = placement_create(&door, NULL);
    struct place_computation *it = open_one();
    uint32_t classes[2] = {add_class(it, &(struct place_needs){.retries = 3}),
                           add_class(it, &(struct place_needs){0})};
    nodes[0] = add_node("a", 2, "");
    nodes[1] = add_node("b", 2, "");
    for (uint64_t number = 1; number <= JOBS_AGAIN; number++)
        if (reports[number] == 0)
            ck_assert_int_eq(placement_restore(it, number, classes[number % 2], attempts[number],
                                               (uint8_t)starts_lost[number], ac_of((int)number)),
                             0);
    for (uint32_t i = 0; i < player_count; i++) {
        struct player *one = &players[i];
        if (!one->worker)
            continue;
        one->worker = placement_await_worker(it, NULL);
        for (uint32_t k = 0; k < one->count; k++)
            one->hand[k].asked = false; // that was told by the one before, in vain
        if (rand() % 4) {
            come_back_with_some(one, nodes[i % 2]);
            continue;
        }
        for (uint32_t k = 0; k < one->count; k++)
            ck_assert_int_eq(placement_restore_flight(one->worker, one->hand[k].number,
                                                      one->hand[k].attempt, one->hand[k].place,
                                                      false),
                             0);
        lose_after(one, rand() % 2 ? one->come_to : PLACE_NOT_KNOWN, "lost");
    }
    return it;
}

// Property: however often it is started again, and whatever of its workers comes back, each job is
// reported once, and one that may not run again was begun once.
TEST(each_job_is_reported_once_however_often_all_is_started_again) {
    for (unsigned seed = 1; seed <= 60; seed++) {
        struct place_node *nodes[2];
        srand(seed);
        memset(players, 0, sizeof players);
        memset(reports, 0, sizeof reports);
        memset(attempts, 0, sizeof attempts);
        memset(starts_lost, 0, sizeof starts_lost);
        memset(begins, 0, sizeof begins);
        player_count = 0;
        reported = 0;
        begin();
        for (uint64_t number = 1; number <= JOBS_AGAIN; number++)
            nanoseconds[number] = (uint64_t)(rand() % 20000) * 1000;
        struct place_computation *it = start_again(nodes);
        while (reported < JOBS_AGAIN) {
            uint32_t living = 0;
            for (uint32_t i = 0; i < player_count; i++)
                living += players[i].worker != NULL;
            for (; living < 4; living++)
                add_player(it, nodes[player_count % 2]);
            run_until(JOBS_AGAIN, now + (ac_time)(rand() % 40) * (ac_time)MS);
            if (reported < JOBS_AGAIN && rand() % 3 == 0)
                it = start_again(nodes);
        }
        for (uint64_t i = 1; i <= JOBS_AGAIN; i++) {
            ck_assert_uint_eq(reports[i], 1);
            ck_assert_uint_le(begins[i], i % 2 ? 1 : 4);
        }
        finish(it);
    }
}
