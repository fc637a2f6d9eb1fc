// SPDX-License-Identifier: MIT
// Who is given which job and when, and what is said of those that wait.
#include "cluster/players.h"

TEST(equal_jobs_are_shared_evenly) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    add_player(it, node);
    add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){0});
    for (uint64_t i = 1; i <= 8; i++)
        submit(it, i, class, 100 * MS);
    run_until(8, now + 1000 * MS);
    ck_assert_uint_eq(reported, 8);
    ck_assert_uint_eq(players[0].ended, 4);
    ck_assert_uint_eq(players[1].ended, 4);
    for (uint64_t i = 1; i <= 8; i++)
        ck_assert_int_eq(how[i], DONE);
    finish(it);
}

TEST(long_jobs_are_not_hoarded_and_short_ones_are_given_ahead) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 1, "");
    add_player(it, node);
    uint32_t longer = add_class(it, &(struct place_needs){0});
    uint32_t shorter = add_class(it, &(struct place_needs){.function = 1});
    for (uint64_t i = 1; i <= 50; i++)
        submit(it, i, longer, 10 * MS);
    run_until(50, AC_FOREVER);
    ck_assert_uint_eq(players[0].most, 2);
    for (uint64_t i = 51; i <= 20000; i++)
        submit(it, i, shorter, 1000);
    run_until(20000, AC_FOREVER);
    ck_assert_uint_ge(players[0].most, 500);
    ck_assert_uint_le(players[0].most, 4096);
    finish(it);
}

// The simulation of facts-cluster.md §5.4: one of 16 workers is ten times slower.
static double makespan(bool copies) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("big", 16, "");
    for (int i = 0; i < 16; i++)
        add_player(it, node)->slowness = i == 3 ? 10 : 1;
    uint32_t class = add_class(it, &(struct place_needs){.copies = copies});
    for (uint64_t i = 1; i <= 1000; i++)
        submit(it, i, class, 100 * 1000);
    ac_time start = now;
    run_until(1000, AC_FOREVER);
    for (uint64_t i = 1; i <= 1000; i++)
        ck_assert_uint_eq(reports[i], 1);
    double ideal = 1000 * 100e3 / 15.1;
    double took = (double)(now - start) / ideal;
    run_until(1001, now + 10000 * MS); // copies that are of no use end
    finish(it);
    return took;
}

TEST(a_slow_worker_holds_up_little) {
    ck_assert_double_le(makespan(false), 1.2); // its last job alone takes a seventh of the ideal
}

TEST(copies_of_the_last_jobs_make_it_hold_up_less) { ck_assert_double_le(makespan(true), 1.1); }

TEST(jobs_go_to_nodes_that_fit) {
    begin();
    struct place_computation *it = open_one();
    struct player *plain = add_player(it, add_node("plain", 2, "disk=slow"));
    struct player *gpu = add_player(it, add_node("gpu-7", 2, "gpu disk=fast"));
    uint32_t tagged = add_class(it, &(struct place_needs){.tags = "disk=fast gpu"});
    uint32_t named = add_class(it, &(struct place_needs){.node = "pl*n"});
    for (uint64_t i = 1; i <= 3; i++)
        submit(it, i, tagged, MS);
    for (uint64_t i = 4; i <= 8; i++)
        submit(it, i, named, MS);
    run_until(8, now + 1000 * MS);
    ck_assert_uint_eq(gpu->ended, 3);
    ck_assert_uint_eq(plain->ended, 5);
    finish(it);
}

TEST(processors_and_memory_of_a_node_are_not_given_twice) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 4, "");
    for (int i = 0; i < 4; i++)
        add_player(it, node);
    uint32_t wide = add_class(it, &(struct place_needs){.cpus = 2});
    uint32_t big = add_class(it, &(struct place_needs){.memory = 700 << 20});
    submit(it, 1, wide, 10 * MS);
    submit(it, 2, wide, 10 * MS);
    submit(it, 3, wide, 10 * MS);
    run_until(1, now + 5 * MS);
    int begun = 0;
    for (int i = 0; i < 4; i++)
        begun += players[i].begun;
    ck_assert_int_eq(begun, 2);
    run_until(3, now + 1000 * MS);
    submit(it, 4, big, 10 * MS);
    submit(it, 5, big, 10 * MS);
    begun = 0;
    run_until(4, now + 5 * MS);
    for (int i = 0; i < 4; i++)
        begun += players[i].begun;
    ck_assert_int_eq(begun, 1);
    run_until(5, now + 1000 * MS);
    ck_assert_uint_eq(reported, 5);
    finish(it);
}

TEST(a_job_that_fits_no_node_fails_with_the_reason) {
    begin();
    struct place_computation *it = open_one();
    add_player(it, add_node("one", 2, ""));
    uint32_t wide = add_class(it, &(struct place_needs){.cpus = 64});
    submit(it, 1, wide, MS);
    run_until(1, now + 2000 * MS);
    ck_assert_uint_eq(reports[1], 1);
    ck_assert_int_eq(how[1], PLACE_FAILED);
    ck_assert_str_eq(why[1], "none of 1 node fits: one has 2 of 64 processors");
    finish(it);
}

TEST(one_that_waits_for_nodes_is_told_of_once_and_runs_when_one_comes) {
    begin();
    struct place_computation *it = open_one();
    uint32_t tagged = add_class(it, &(struct place_needs){.tags = "gpu", .wait_for_nodes = true});
    submit(it, 1, tagged, MS);
    ac_time start = now;
    run_until(1, now + 2900 * MS);
    ck_assert_uint_eq(hints, 0);
    add_player(it, add_node("one", 2, ""));
    run_until(1, start + 60000 * MS);
    ck_assert_uint_eq(hints, 1);
    ck_assert_str_eq(hint, "none of 1 node fits: one has no tag gpu");
    ck_assert_uint_eq(reports[1], 0);
    add_player(it, add_node("two", 2, "gpu"));
    run_until(1, now + 100 * MS);
    ck_assert_int_eq(how[1], DONE);
    finish(it);
}

TEST(without_any_node_jobs_wait_and_the_client_is_told) {
    begin();
    struct place_computation *it = open_one();
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS);
    run_until(1, now + 60000 * MS);
    ck_assert_uint_eq(reports[1], 0);
    ck_assert_uint_eq(hints, 1);
    ck_assert_str_eq(hint, "no node has been found that takes part");
    placement_destroy(placement);
}

TEST(a_job_that_fits_only_nodes_that_are_kept_out_fails_with_the_reason) {
    begin();
    struct place_computation *it = open_one(), *other = open_one();
    struct place_node *one = add_node("one", 2, ""), *two = add_node("two", 2, "gpu");
    struct player *player = add_player(other, one);
    uint32_t class = add_class(it, &(struct place_needs){0});
    uint32_t waits = add_class(it, &(struct place_needs){.wait_for_nodes = true, .tags = "gpu"});
    add_class(other, &(struct place_needs){0});
    char text[PLACE_TEXT_BYTES];
    placement_keep_out(it, one, "its set-up failed: no table");
    submit(it, 1, class, MS);
    run_until(1, now + 2500 * MS); // there may be a worker on the other one
    ck_assert_uint_eq(reported, 0);
    placement_keep_out(it, two, "its set-up took longer than 5 s");
    placement_set_pending(it, 1, 0); // there may come a third one
    run_until(1, now + 1000 * MS);
    ck_assert_uint_eq(reported, 0);
    ck_assert(placement_why(it, 1, now, text));
    ck_assert_str_eq(text, "1 node is still being set up");
    placement_set_pending(it, 1, 2);
    ck_assert(placement_why(it, 1, now, text));
    ck_assert_str_eq(text, "2 workers are still being set up");
    placement_set_pending(it, 0, 0);
    run_until(1, now + 1000 * MS);
    ck_assert_int_eq(how[1], PLACE_FAILED);
    ck_assert_str_eq(why[1], "one takes none of its jobs: its set-up failed: no table");
    submit(it, 2, waits, MS);
    hints = 0;
    run_until(2, now + 5000 * MS);
    ck_assert_uint_eq(hints, 1);
    ck_assert_str_eq(hint, "two takes none of its jobs: its set-up took longer than 5 s");
    submit(other, 1, 0, MS); // which knows nothing of that
    run_until(2, now + 1000 * MS);
    ck_assert_uint_eq(player->ended, 1);
    placement_keep_out(it, two, NULL);
    add_player(it, two);
    run_until(3, now + 1000 * MS);
    ck_assert_int_eq(how[2], DONE);
    placement_keep_out(it, one, "again");
    lose(player, "the node is gone");
    placement_remove_node(one); // is forgotten with the node
    ck_assert_uint_eq(placement_jobs(other), 0);
    finish(it);
}

TEST(computations_share_processors_by_weight) {
    begin();
    struct place_computation *light = open_one();
    struct place_computation *heavy = placement_open(placement,
                                                     &(struct place_options){.weight = 3});
    struct place_node *node = add_node("one", 4, "");
    for (int i = 0; i < 4; i++) {
        add_player(light, node);
        add_player(heavy, node);
    }
    uint32_t a = add_class(light, &(struct place_needs){0});
    uint32_t b = add_class(heavy, &(struct place_needs){0});
    for (uint64_t i = 1; i <= 1000; i++)
        submit(light, i, a, 10 * MS);
    run_until(1000, now + 200 * MS); // it has all of them while it is alone
    uint64_t alone = reported;
    ck_assert_uint_ge(alone, 70);
    for (uint64_t i = 1001; i <= 3000; i++)
        submit(heavy, i, b, 10 * MS);
    ac_time start = now;
    uint64_t before = reported;
    run_until(before + 400, now + 10000 * MS);
    uint32_t of_light = 0, of_heavy = 0;
    for (uint64_t i = alone + 1; i <= 3000; i++)
        *(i <= 1000 ? &of_light : &of_heavy) += reports[i];
    ck_assert_uint_ge(of_heavy, 270);
    ck_assert_uint_ge(of_light, 70);
    ck_assert_int_lt(now - start, 1100 * (ac_time)MS); // nobody idled
    placement_destroy(placement);
}

TEST(what_is_not_enabled_gets_nothing_and_gives_back) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    struct player *first = add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS);
    run_until(1, now + 100 * MS);
    submit(it, 2, class, 10 * MS);
    submit(it, 3, class, 10 * MS);
    run_until(2, now + 5 * MS);
    ck_assert_uint_eq(first->count, 2);
    placement_enable_worker(first->worker, false);
    run_until(3, now + 1000 * MS);
    ck_assert_uint_eq(reported, 2);
    ck_assert_uint_eq(placement_waiting(it), 1);
    char text[PLACE_TEXT_BYTES];
    ck_assert(placement_why(it, 3, now, text));
    ck_assert_str_eq(
        text, "on the nodes that fit there is no worker of this computation that takes jobs");
    run_until(3, now + 5000 * MS);
    ck_assert_uint_eq(hints, 1);
    placement_enable_worker(first->worker, true);
    placement_enable_node(node, false);
    run_until(3, now + 1000 * MS);
    ck_assert_uint_eq(reported, 2);
    placement_enable_node(node, true);
    run_until(3, now + 1000 * MS);
    ck_assert_uint_eq(reported, 3);
    finish(it);
}

TEST(a_suspended_worker_ends_what_has_begun_and_others_get_the_rest) {
    begin();
    struct place_computation *it = open_one(), *beside = open_one();
    struct place_node *node = add_node("one", 3, "");
    struct player *first = add_player(it, node);
    struct player *other = add_player(beside, node);
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS / 2);
    run_until(1, now + 100 * MS);
    for (uint64_t i = 2; i <= 4; i++)
        submit(it, i, class, 50 * MS);
    run_until(2, now + 5 * MS);
    ck_assert_uint_eq(first->count, 3);
    placement_suspend_worker(first->worker, true);
    run_until(2, now + 5 * MS);
    ck_assert_uint_eq(first->count, 1);
    struct player *second = add_player(it, add_node("two", 1, ""));
    run_until(4, now + 1000 * MS);
    ck_assert_uint_eq(reported, 4);
    ck_assert_int_eq(how[2], DONE);
    ck_assert_uint_eq(runs[2], 1);
    ck_assert_uint_eq(first->ended, 2);
    ck_assert_uint_eq(second->ended, 2);
    // It is of one computation only.
    nanoseconds[5] = MS;
    uint32_t theirs = add_class(beside, &(struct place_needs){0});
    ck_assert_int_eq(placement_submit(beside, 5, theirs, NULL, ac_nil), 0);
    run_until(5, now + 100 * MS);
    ck_assert_uint_eq(other->ended, 1);
    placement_suspend_worker(first->worker, false);
    for (uint64_t i = 6; i <= 7; i++)
        submit(it, i, class, 50 * MS);
    run_until(7, now + 60 * MS);
    ck_assert_uint_eq(first->ended, 3);
    finish(it);
}

TEST(what_waits_for_suspended_workers_says_so) {
    begin();
    struct place_computation *it = open_one();
    char text[PLACE_TEXT_BYTES];
    struct player *one = add_player(it, add_node("one", 1, ""));
    struct player *two = add_player(it, add_node("two", 1, ""));
    uint32_t class = add_class(it, &(struct place_needs){0});
    placement_suspend_worker(two->worker, true);
    submit(it, 1, class, 10000 * MS);
    submit(it, 2, class, MS);
    submit(it, 3, class, MS);
    run_until(1, now + 10 * MS);
    ck_assert(one->begun);
    ck_assert(placement_why(it, 3, now, text));
    ck_assert_str_eq(text, "waits: of 2 fitting workers 1 are suspended, one of them on two, and "
                           "the others busy; 1 jobs of its kind are before it");
    placement_suspend_worker(one->worker, true);
    ck_assert(placement_why(it, 2, now, text));
    ck_assert_str_eq(text, "all of 2 workers that fit are suspended, one of them on two");
    // The client is told unasked, and no job fails for it.
    run_until(1, now + 5000 * MS);
    ck_assert_uint_eq(hints, 1);
    ck_assert_str_eq(hint, text);
    ck_assert_uint_eq(reported, 0);
    placement_suspend_worker(two->worker, false);
    run_until(3, now + 20000 * MS);
    ck_assert_uint_eq(two->ended, 2);
    finish(it);
}

TEST(why_a_job_waits_is_said) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    add_player(it, node);
    uint32_t class = add_class(it, &(struct place_needs){0});
    submit(it, 1, class, MS / 2);
    run_until(1, now + 100 * MS);
    for (uint64_t i = 2; i <= 7; i++)
        submit(it, i, class, 100 * MS);
    run_until(2, now + 50 * MS);
    char text[PLACE_TEXT_BYTES];
    ck_assert(placement_why(it, 2, now, text));
    ck_assert_str_eq(text, "runs on one for 0.050 s, attempt 1");
    ck_assert(placement_why(it, 3, now, text));
    ck_assert_str_eq(text, "lies ready at a worker on one behind 3 others");
    ck_assert(placement_why(it, 7, now, text));
    ck_assert_str_eq(text,
                     "waits: all of 1 fitting workers are busy; 1 jobs of its kind are before it");
    ck_assert(!placement_why(it, 99, now, text));
    run_until(7, AC_FOREVER);
    ck_assert(!placement_why(it, 1, now, text));
    finish(it);
}

TEST(a_job_that_needs_many_processors_gets_them_from_another_computation) {
    begin();
    struct place_computation *many = open_one(), *wide = open_one();
    struct place_node *node = add_node("one", 4, "");
    for (int i = 0; i < 4; i++)
        add_player(many, node);
    add_player(wide, node);
    uint32_t small = add_class(many, &(struct place_needs){0});
    uint32_t large = add_class(wide, &(struct place_needs){.cpus = 4});
    for (uint64_t i = 1; i <= 2000; i++)
        submit(many, i, small, (10 + i % 7) * MS);
    run_until(2001, now + 100 * MS);
    nanoseconds[2001] = 10 * MS;
    ck_assert_int_eq(placement_submit(wide, 2001, large, NULL, ac_nil), 0);
    ac_time start = now;
    while (reports[2001] == 0 && now < start + 2000 * (ac_time)MS)
        run_until(reported + 1, start + 2000 * MS);
    ck_assert_uint_eq(reports[2001], 1);
    placement_destroy(placement);
}

TEST(jobs_of_one_kind_do_not_keep_out_older_ones_of_another) {
    begin();
    struct place_computation *it = open_one();
    add_player(it, add_node("one", 1, ""));
    uint32_t one = add_class(it, &(struct place_needs){0});
    uint32_t other = add_class(it, &(struct place_needs){.function = 1});
    for (uint64_t i = 1; i <= 20; i++)
        submit(it, i, one, MS);
    submit(it, 21, other, MS);
    // For each that ends another of the first kind is submitted.
    for (uint64_t i = 22; i <= 200 && reports[21] == 0; i++) {
        run_until(reported + 1, now + 100 * MS);
        submit(it, i, one, MS);
    }
    ck_assert_uint_eq(reports[21], 1);
    placement_destroy(placement);
}

TEST(a_copy_is_made_when_it_is_time_though_nothing_happens) {
    begin();
    struct place_computation *it = open_one();
    struct place_node *node = add_node("one", 2, "");
    add_player(it, node);
    add_player(it, node)->slowness = 1000;
    uint32_t class = add_class(it, &(struct place_needs){.copies = true});
    submit(it, 1, class, 100 * MS);
    submit(it, 2, class, 100 * MS);
    ac_time start = now;
    run_until(2, now + 10000 * MS);
    ck_assert_uint_eq(reported, 2);
    ck_assert_int_le(now - start, 400 * (ac_time)MS);
    run_until(3, now + 10000 * MS);
    finish(it);
}
