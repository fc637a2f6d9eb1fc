// SPDX-License-Identifier: MIT
// Faults under coroutines: who was spawned ends, and somebody learns how.
#include "faults.h"

enum { CHILDREN = 5 };

// What a scenario has come to.
struct ledger {
    int spawned;
    int ended;
    int ran;
    int done; // the main coroutine has come to its end
    ac_ref other;
};

static ac_value add(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ledger->ran++;
    return ac_nil;
}

// What the end of a coroutine says must be true: the failure is that of its stack.
static void note_exit(struct ledger *ledger, const struct ac_exit *exit) {
    ledger->ended++;
    REQUIRE(exit->how != AC_LOST);
    if (exit->how != AC_FINISHED)
        note(exit->reason);
    ac_drop(exit->value);
}

static void run_main(ac_function function, struct ledger *ledger) {
    note_ref(ac_spawn(function, ac_of_pointer(ledger)));
    note(ac_run());
    REQUIRE(ledger->done == 1 || faults_errors() > 0);
}

// ---- spawning and joining ----

static ac_value spawn_and_join(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    static const size_t stacks[CHILDREN] = {0, 16 << 10, 256 << 10, 1 << 20, 8 << 20};
    ac_ref children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = note_ref(
            ac_spawn(add, argument, .name = "child", .joinable = true, .stack_bytes = stacks[i]));
        ledger->spawned += ac_ref_is(children[i]);
    }
    for (int i = 0; i < CHILDREN; i++) {
        struct ac_exit exit;
        if (ac_ref_is(children[i]) && note(ac_join(children[i], &exit, ac_after(5))) == 0)
            note_exit(ledger, &exit);
    }
    REQUIRE(ledger->ended == ledger->spawned && ledger->ran <= ledger->spawned);
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(who_was_spawned_can_be_joined) {
    struct ledger ledger = {0};
    run_main(spawn_and_join, &ledger);
    REQUIRE(ledger.ran == CHILDREN || faults_errors() > 0);
}

SCENARIO(a_failure_that_nobody_saw_is_that_of_the_program) {
    struct ledger ledger = {0};
    int spawned = 0;
    for (int i = 0; i < CHILDREN; i++)
        spawned += ac_ref_is(note_ref(ac_spawn(add, ac_of_pointer(&ledger), .stack_bytes = 1)));
    int err = (int)note(ac_run());
    REQUIRE(ledger.ran == spawned || err < 0);
}

static ac_value many(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    for (int i = 0; i < 1500; i++)
        ledger->spawned += ac_ref_is(note_ref(ac_spawn(add, argument)));
    note(ac_sleep(0.001));
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(many_are_spawned) {
    struct ledger ledger = {0};
    run_main(many, &ledger);
    REQUIRE(ledger.ran == ledger.spawned || faults_errors() > 0);
}

// ---- waiting ----

static ac_value suspend(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ac_value update;
    if (note(ac_suspend(&update, ac_after(5))) == 0) {
        ledger->ended++;
        ac_drop(note_value(update));
    }
    return ac_nil;
}

static ac_value wait_in_all_ways(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    note(ac_yield());
    note(ac_sleep(0));
    note(ac_sleep(0.0001));
    note(ac_sleep_until(ac_after(0.0001)));
    note(ac_set_daemon(true));
    note(ac_set_daemon(false));
    REQUIRE(ac_ref_is(ac_self()) && *ac_name_of(ac_self()) == 'm');
    REQUIRE(ac_random_int(1, 6) <= 6 && ac_random_real(0, 1) < 1 && ac_now() > 0);
    ac_ref other = note_ref(ac_spawn(suspend, argument, .joinable = true));
    note(ac_yield());
    if (ac_ref_is(other)) {
        int resumed = ac_resume(other, "a text that needs some memory of its own to be kept");
        REQUIRE(resumed >= 0 || note(resumed) < 0);
        if (resumed < 0)
            note(ac_cancel(other));
        struct ac_exit exit;
        if (note(ac_join(other, &exit, ac_after(5))) == 0)
            note_exit(&(struct ledger){0}, &exit);
    }
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(waits_end) {
    struct ledger ledger = {0};
    note_ref(ac_spawn(wait_in_all_ways, ac_of_pointer(&ledger), .name = "main"));
    note(ac_run());
    REQUIRE(ledger.done == 1 || faults_errors() > 0);
    REQUIRE(ledger.ended == 1 || faults_errors() > 0);
}

// ---- cancelling and shields ----

static ac_value until_cancelled(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ledger->ran++;
    int err = ac_sleep(5);
    REQUIRE(err == -ECANCELED);
    // Cleaning up may wait.
    REQUIRE(ac_shield_begin() == 0);
    REQUIRE(ac_sleep(0.0001) == 0);
    REQUIRE(ac_shield_end() == 0);
    ledger->ended++;
    return ac_nil;
}

static ac_value cancel_all(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ac_ref children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++)
        children[i] = note_ref(ac_spawn(until_cancelled, argument, .joinable = true));
    note(ac_yield());
    for (int i = 0; i < CHILDREN; i++) {
        struct ac_exit exit;
        if (!ac_ref_is(children[i]))
            continue;
        note(ac_cancel(children[i]));
        if (note(ac_join(children[i], &exit, ac_after(5))) < 0)
            continue;
        if (exit.how == AC_FAILED)
            note(exit.reason); // it had no stack
        else
            REQUIRE(exit.how == AC_CANCELLED && strcmp(ac_end_name(exit.how), "cancelled") == 0);
        ac_drop(exit.value);
    }
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(who_is_cancelled_cleans_up) {
    struct ledger ledger = {0};
    run_main(cancel_all, &ledger);
    REQUIRE(ledger.ended == ledger.ran);
    REQUIRE(ledger.ran == CHILDREN || faults_errors() > 0);
}

static ac_value daemon_loop(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ledger->ran++;
    while (ac_sleep(1) == 0)
        continue;
    ledger->ended++;
    return ac_nil;
}

SCENARIO(daemons_end_with_the_loop) {
    struct ledger ledger = {0};
    note_ref(ac_spawn(daemon_loop, ac_of_pointer(&ledger), .daemon = true));
    note_ref(ac_spawn(add, ac_of_pointer(&ledger)));
    note(ac_run());
    REQUIRE(ledger.ran == 2 || faults_errors() > 0);
    REQUIRE(ledger.ran < 2 || ledger.ended == 1);
}

// ---- groups ----

static ac_value in_group(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ledger->ran++;
    int err = ac_sleep(0.0001);
    REQUIRE(err == 0 || err == -ECANCELED);
    ledger->ended++;
    return ac_nil;
}

static ac_value group(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ac_group *group;
    bool whole = true; // each was spawned
    if (note(ac_group_open(&group, .keep_going = true)) < 0) {
        REQUIRE(!group);
        return ac_nil;
    }
    for (int i = 0; i < CHILDREN; i++)
        whole &= ac_ref_is(note_ref(ac_spawn(in_group, argument, .group = group)));
    int err = (int)note(ac_group_join(group, ac_after(5)));
    REQUIRE(err == -ECANCELED || (ac_group_count(group) == 0 && ledger->ended == ledger->ran));
    REQUIRE(ledger->ended == CHILDREN || !whole || err < 0);
    for (int i = 0; i < CHILDREN; i++)
        note_ref(ac_spawn(until_cancelled, argument, .group = group));
    ac_group_cancel(group);
    note(ac_group_close(group));
    REQUIRE(ledger->ended == ledger->ran);
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(a_group_leaves_nobody) {
    struct ledger ledger = {0};
    run_main(group, &ledger);
    REQUIRE(ledger.ended == ledger.ran);
}

// ---- replacing ----

static ac_value second(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ledger->ended++;
    return ac_nil;
}

static ac_value first(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    note(ac_set_replaceable(true));
    ledger->ran++;
    int err = ac_sleep(5);
    REQUIRE(err == -ERESTART || err == -ECANCELED);
    return argument;
}

static ac_value replace(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    ac_ref other = note_ref(ac_spawn(first, argument, .joinable = true));
    note(ac_yield());
    if (ac_ref_is(other)) {
        struct ac_exit exit;
        int err = ledger->ran ? (int)note(ac_replace(other, second, ac_nil)) : -ESRCH;
        if (err < 0 && ledger->ran)
            note(ac_cancel(other));
        if (note(ac_join(other, &exit, ac_after(5))) == 0) {
            if (exit.how == AC_FAILED)
                note(exit.reason);
            REQUIRE(ledger->ended == (err == 0));
            ac_drop(exit.value);
        }
    }
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(a_replacement_comes_about_or_is_refused) {
    struct ledger ledger = {0};
    run_main(replace, &ledger);
    REQUIRE(ledger.ended == 1 || faults_errors() > 0);
}

// ---- work ----

static ac_value compute(ac_value argument) {
    ac_span text = ac_span_of(argument);
    REQUIRE(text.bytes > 0);
    return ac_of_int((int64_t)text.bytes);
}

static ac_value have_done(ac_value argument) {
    struct ledger *ledger = ac_pointer_of(argument);
    static const char text[] = "a text that needs some memory of its own to be kept";
    note(ac_set_work_threads(2));
    for (int i = 0; i < 3; i++) {
        ac_value result = ac_nil;
        if (note(ac_work(compute, text, &result, ac_after(5))) == 0) {
            REQUIRE(ac_int_of(result) == sizeof text - 1);
            ledger->ended++;
        }
        ac_drop(result);
    }
    ledger->done = 1;
    return ac_nil;
}

SCENARIO(work_is_done_or_its_owner_is_told) {
    struct ledger ledger = {0};
    run_main(have_done, &ledger);
    REQUIRE(ledger.ended == 3 || faults_errors() > 0);
}
