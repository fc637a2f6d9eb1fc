// SPDX-License-Identifier: MIT
// Faults under several loops, and under one in the background. Which thread a fault meets differs
// from run to run.
#include "faults.h"

enum { LOOPS = 3, MESSAGES = 200 }; // more than a piece of a lane holds

static struct {
    int got; // messages; atomic, as are the next three
    int dead;
    int ran;
    int ended;
    int sent;
    int done;
} far;

static void count(int *it) { __atomic_fetch_add(it, 1, __ATOMIC_SEQ_CST); }

// Takes messages until nil comes. If that is lost, as a dead letter, it ends all the same. There is
// one on each loop, so it counts the dead letters of its loop.
static ac_value receive_all(ac_value unused) {
    (void)unused;
    ac_value message;
    int err;
    count(&far.ran);
    while ((err = ac_receive(&message, ac_after(1))) == 0) {
        bool last = ac_is_nil(message);
        if (ac_kind_of(message) == AC_TEXT || ac_kind_of(message) == AC_INT)
            count(&far.got);
        ac_drop(message);
        if (last)
            break;
    }
    if (err == -ECANCELED)
        note(err);
    __atomic_fetch_add(&far.dead,
                       (int)(ac_dead_letters(AC_DEAD_NO_MEMORY) + ac_dead_letters(AC_DEAD_UNREAD)),
                       __ATOMIC_SEQ_CST);
    count(&far.ended);
    return ac_nil;
}

// Some need memory of their own.
static ac_value make_message(int nth) {
    return nth % 50 ? ac_of_int(nth) : ac_of_text("a message that is too long for sixteen bytes");
}

// Until it has ended or will: what cannot be told keeps the program from ending.
static void end_far(ac_ref who) {
    if (!ac_ref_is(who) || note(ac_send(who, ac_nil)) == 0)
        return;
    while (note(ac_cancel(who)) == -ENOMEM)
        if (faults_errors() > 20)
            faults_disarm();
}

static ac_value wait_for_ever(ac_value unused) {
    (void)unused;
    count(&far.ran);
    while (ac_sleep(1) == 0)
        continue;
    count(&far.ended);
    return ac_nil;
}

static ac_value cancel_far(ac_value unused) {
    (void)unused;
    for (int i = 0; i < LOOPS; i++) {
        ac_ref other = note_ref(ac_spawn(wait_for_ever, ac_nil, .loop = AC_SPREAD));
        // Who could not be cancelled would keep the program from ending.
        while (ac_ref_is(other) && note(ac_cancel(other)) == -ENOMEM)
            if (faults_errors() > 20)
                faults_disarm();
    }
    far.done = 1;
    return ac_nil;
}

SCENARIO(loops_cancel_one_anothers_coroutines) {
    memset(&far, 0, sizeof far);
    note_ref(ac_spawn(cancel_far, ac_nil));
    note(ac_run(.loops = LOOPS));
    REQUIRE(far.done == 1 || faults_errors() > 0);
    REQUIRE(far.ended == far.ran || faults_errors() > 0);
}

SCENARIO(a_background_is_fed_from_outside) {
    memset(&far, 0, sizeof far);
    if (note(ac_start(.loops = 2)) < 0)
        return;
    ac_ref other = note_ref(ac_spawn(receive_all, make_message(0), .loop = 2));
    for (int i = 0; i < MESSAGES && ac_ref_is(other); i++)
        far.sent += note(ac_send(other, make_message(i))) == 0;
    end_far(other);
    ac_ref lasting = note_ref(ac_spawn(wait_for_ever, ac_nil));
    while (ac_ref_is(lasting) && note(ac_cancel(lasting)) == -ENOMEM)
        if (faults_errors() > 20)
            faults_disarm();
    note(ac_finish());
    REQUIRE(far.got + far.dead >= far.sent || faults_errors() > 0);
}
