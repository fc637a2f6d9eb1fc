// SPDX-License-Identifier: MIT
// Faults under several loops, and under one in the background. Which thread a fault meets differs
// from run to run.
#include "faults.h"

enum { LOOPS = 3, MESSAGES = 200 }; // more than a piece of a lane holds
static const double SLICE_S = 0.05;

static struct {
    int got; // messages; atomic, as are all but `sent` and `done`
    int dead;
    int ran;
    int ended;
    int notices;
    int sent;
    int done;
} far;

static void add(int *it, int count) { __atomic_fetch_add(it, count, __ATOMIC_SEQ_CST); }

static void run_main(ac_function function) {
    memset(&far, 0, sizeof far);
    note_ref(ac_spawn(function, ac_nil, .name = "main"));
    note(ac_run(.loops = LOOPS));
    REQUIRE(far.done == 1 || faults_errors() > 0);
}

// Whether to wait once more for what a fault may have taken away, for SLICE_S: not for long, once
// there was one; else the computer is slow.
static bool has_patience(int *waits) {
    enum { WAITS = 400, WAITS_AFTER_FAULT = 5 };
    *waits += faults_excuse() ? WAITS / WAITS_AFTER_FAULT : 1;
    return *waits <= WAITS;
}

static int receive(ac_value *message) {
    int err = -ETIMEDOUT;
    for (int waits = 0; err == -ETIMEDOUT && has_patience(&waits);)
        err = ac_receive(message, ac_after(SLICE_S));
    return note(err);
}

// Of this loop.
static void count_dead(void) {
    add(&far.dead, (int)(ac_dead_letters(AC_DEAD_NO_MEMORY) + ac_dead_letters(AC_DEAD_UNREAD)));
}

// Takes messages until nil comes. If that is lost, as a dead letter, it ends all the same. There is
// one on each loop, so it counts the dead letters of its loop.
static ac_value receive_all(ac_value unused) {
    (void)unused;
    ac_value message;
    int err;
    add(&far.ran, 1);
    while ((err = receive(&message)) == 0) {
        bool last = ac_is_nil(message);
        if (ac_kind_of(message) == AC_TEXT || ac_kind_of(message) == AC_INT)
            add(&far.got, 1);
        ac_drop(message);
        if (last)
            break;
    }
    count_dead();
    add(&far.ended, 1);
    return ac_nil;
}

// Some need memory of their own.
static ac_value make_message(int nth) {
    return nth % 50 ? ac_of_int(nth) : ac_of_text("a message that is too long for sixteen bytes");
}

// Who cannot be cancelled would keep the program from ending.
static void cancel_far(ac_ref who) {
    while (ac_ref_is(who) && note(ac_cancel(who)) == -ENOMEM)
        if (faults_errors() > 20)
            faults_disarm();
}

// Until it has ended or will.
static void end_far(ac_ref who) {
    if (ac_ref_is(who) && note(ac_send(who, ac_nil)) < 0)
        cancel_far(who);
}

// ---- cancelling ----

static ac_value wait_for_ever(ac_value unused) {
    (void)unused;
    add(&far.ran, 1);
    while (ac_sleep(1) == 0)
        continue;
    add(&far.ended, 1);
    return ac_nil;
}

static ac_value cancel_others(ac_value unused) {
    (void)unused;
    for (int i = 0; i < LOOPS; i++)
        cancel_far(note_ref(ac_spawn(wait_for_ever, ac_nil, .loop = AC_SPREAD)));
    far.done = 1;
    return ac_nil;
}

SCENARIO(loops_cancel_one_anothers_coroutines) {
    run_main(cancel_others);
    REQUIRE(far.ended == far.ran || faults_errors() > 0);
}

// ---- messages ----

static void send_far(ac_ref to, int nth) {
    if (ac_ref_is(to))
        far.sent += note(ac_send(to, make_message(nth))) == 0;
}

static ac_value send_to_all(ac_value unused) {
    (void)unused;
    ac_ref to[LOOPS];
    for (int i = 0; i < LOOPS; i++)
        to[i] = note_ref(ac_spawn(receive_all, make_message(0), .loop = i + 1));
    for (int i = 0; i < MESSAGES; i++) {
        for (int k = 0; k < LOOPS; k++)
            send_far(to[k], i);
        if (i % 64 == 0)
            note(ac_yield());
    }
    for (int i = 0; i < LOOPS; i++)
        end_far(to[i]);
    far.done = 1;
    return ac_nil;
}

SCENARIO(what_is_sent_between_loops_arrives) {
    run_main(send_to_all);
    REQUIRE(far.got + far.dead >= far.sent || faults_errors() > 0);
}

static ac_value deliver_to_all(ac_value unused) {
    (void)unused;
    for (int i = 0; i < LOOPS; i++) {
        ac_ref to = note_ref(ac_spawn(receive_all, ac_nil, .loop = i + 1));
        for (int k = 0; k < 3 && ac_ref_is(to); k++) {
            int count = (int)note(ac_deliver(to, make_message(k), ac_after(10)));
            far.sent += count > 0 ? count : 0;
        }
        end_far(to);
    }
    far.done = 1;
    return ac_nil;
}

SCENARIO(what_is_delivered_between_loops_has_arrived) {
    run_main(deliver_to_all);
    REQUIRE(far.got + far.dead >= far.sent || faults_errors() > 0);
    REQUIRE(far.got == LOOPS * 3 || far.dead > 0 || faults_errors() > 0);
}

static ac_value answer_once(ac_value unused) {
    (void)unused;
    ac_value request;
    ac_ref to;
    ac_value body;
    if (receive(&request) < 0)
        return ac_nil;
    if (note(ac_unpack(request, &to, &body)) == 0)
        note(ac_send(to, body));
    ac_drop(request);
    return ac_nil;
}

static ac_value ask_all(ac_value unused) {
    (void)unused;
    for (int i = 0; i < LOOPS; i++) {
        ac_value answer;
        ac_ref to = note_ref(ac_spawn(answer_once, ac_nil, .loop = i + 1));
        ac_time patience = ac_after(faults_excuse() ? 0.2 : 5);
        if (ac_ref_is(to) && note(ac_call(to, make_message(0), &answer, patience)) == 0) {
            REQUIRE(ac_kind_of(answer) == AC_TEXT);
            add(&far.got, 1);
            ac_drop(answer);
        }
        REQUIRE(ac_mailbox_count() == 0);
    }
    far.done = 1;
    return ac_nil;
}

SCENARIO(a_question_to_another_loop_is_answered) {
    run_main(ask_all);
    REQUIRE(far.got == LOOPS || faults_errors() > 0);
}

// ---- monitors ----

static ac_value give_a_text(ac_value unused) {
    (void)unused;
    note(ac_sleep(0.0002));
    return ac_of_text("a result that is too long for sixteen bytes");
}

static ac_value monitor_all(ac_value unused) {
    (void)unused;
    int asked = 0, err = 0;
    for (int i = 0; i < 2 * LOOPS; i++) {
        ac_ref other = note_ref(ac_spawn(give_a_text, ac_nil, .loop = i % LOOPS + 1));
        if (i >= LOOPS)
            note(ac_sleep(0.001)); // it may have ended
        asked += ac_ref_is(other) && note(ac_monitor(other)) == 0;
    }
    while (far.notices < asked && err == 0) {
        ac_value message;
        struct ac_exit exit;
        err = receive(&message);
        if (err < 0)
            break;
        REQUIRE(ac_kind_of(message) == AC_NOTICE);
        // Without the memory to read it, it is still seen to be one.
        if (ac_exit_of(message, &exit))
            ac_drop(exit.value);
        far.notices++;
        ac_drop(message);
    }
    // None is lost, but with its loop.
    REQUIRE(err == -ECANCELED || (far.notices == asked && ac_mailbox_count() == 0));
    far.done = 1;
    return ac_nil;
}

SCENARIO(each_monitor_of_another_loop_gets_one_notice) {
    run_main(monitor_all);
    REQUIRE(far.notices == 2 * LOOPS || faults_errors() > 0);
}

// ---- channels ----

// Subscribes itself, and takes what comes until the channel closes.
static ac_value listen_to(ac_value channel) {
    ac_value message;
    ac_ref ref = ac_ref_of(channel);
    int err = (int)note(ac_channel_subscribe(ref, ac_self()));
    bool closed = false;
    while (err == 0 && !closed && (err = receive(&message)) == 0) {
        closed = ac_kind_of(message) == AC_NOTICE;
        add(closed ? &far.notices : &far.got, 1);
        ac_drop(message);
    }
    count_dead();
    return ac_nil;
}

static ac_value use_channel(ac_value unused) {
    (void)unused;
    ac_ref channel = note_ref(ac_channel_open("far"));
    if (!ac_ref_is(channel))
        return ac_nil;
    int asked = 0;
    for (int i = 0; i < LOOPS; i++) {
        ac_ref listener = note_ref(ac_spawn(listen_to, channel, .loop = i + 1));
        asked += ac_ref_is(listener) && note(ac_monitor(listener)) == 0;
    }
    int count = -ETIMEDOUT;
    for (int waits = 0; count == -ETIMEDOUT && has_patience(&waits);)
        count = (int)ac_channel_wait(channel, LOOPS, ac_after(SLICE_S));
    note(count);
    for (int i = 0; i < 20; i++)
        far.sent += note(ac_send(channel, make_message(i))) == 0;
    note(ac_yield());
    note(ac_channel_close(channel));
    ac_value notice;
    for (; asked > 0 && receive(&notice) == 0; asked--)
        ac_drop(notice);
    count_dead(); // of those who stand here for the other loops
    far.done = count == LOOPS;
    return ac_nil;
}

SCENARIO(a_channel_reaches_subscribers_on_all_loops) {
    run_main(use_channel);
    REQUIRE(far.got + far.dead >= LOOPS * far.sent || faults_errors() > 0);
    REQUIRE(far.notices + far.dead >= LOOPS || faults_errors() > 0);
}

// ---- work ----

static ac_value compute(ac_value argument) {
    return ac_of_int((int64_t)ac_span_of(argument).bytes);
}

static ac_value have_done(ac_value unused) {
    (void)unused;
    static const char text[] = "a text that is too long for sixteen bytes";
    ac_value result = ac_nil;
    if (note(ac_work(compute, text, &result, ac_after(10))) == 0 && ac_kind_of(result) == AC_INT) {
        REQUIRE(ac_int_of(result) == sizeof text - 1);
        add(&far.got, 1);
    }
    ac_drop(result);
    add(&far.ended, 1);
    return ac_nil;
}

static ac_value have_done_everywhere(ac_value unused) {
    (void)unused;
    for (int i = 0; i < LOOPS; i++)
        far.sent += ac_ref_is(note_ref(ac_spawn(have_done, ac_nil, .loop = i + 1)));
    far.done = 1;
    return ac_nil;
}

SCENARIO(work_is_done_for_each_loop) {
    run_main(have_done_everywhere);
    REQUIRE(far.got == LOOPS || faults_errors() > 0);
}

// ---- the background ----

SCENARIO(a_background_is_fed_from_outside) {
    memset(&far, 0, sizeof far);
    if (note(ac_start(.loops = 2)) < 0)
        return;
    ac_ref other = note_ref(ac_spawn(receive_all, make_message(0), .loop = 2));
    for (int i = 0; i < MESSAGES; i++)
        send_far(other, i);
    end_far(other);
    cancel_far(note_ref(ac_spawn(wait_for_ever, ac_nil)));
    note(ac_finish());
    REQUIRE(far.got + far.dead >= far.sent || faults_errors() > 0);
}
