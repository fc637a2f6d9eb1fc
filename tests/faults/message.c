// SPDX-License-Identifier: MIT
// Faults under messages: what a send took arrives, or is a dead letter, or its sender was told;
// who monitors gets exactly one notice.
#include "faults.h"

enum {
    MESSAGES = 8,
    BURST = 1500, // more than one piece of memory holds
#ifdef SYS_SANITIZED
    PATIENCE_MS = 50
#else
    PATIENCE_MS = 5
#endif
};

// What has become of the messages of a scenario.
static struct {
    int sent; // sends that gave 0
    int got;  // found by a receiver
    int dead; // shown to the hook
    int notices;
    int done;
    ac_ref receiver;
    ac_ref channel;
    struct ac_event event;
} mail;

static void count_dead(enum ac_dead_reason reason, ac_ref to, ac_value message, void *context) {
    (void)to, (void)message, (void)context;
    REQUIRE(ac_dead_reason_name(reason)[0]);
    mail.dead++;
}

static ac_time briefly(void) { return ac_after(PATIENCE_MS * 1e-3); }

// Takes what it is sent until nothing more comes.
static ac_value receive_all(ac_value unused) {
    (void)unused;
    ac_value message;
    int err;
    while ((err = ac_receive(&message, briefly())) == 0) {
        mail.got += !ac_exit_of(message, NULL);
        ac_drop(message);
    }
    REQUIRE(err == -ETIMEDOUT || note(err) < 0);
    REQUIRE(ac_mailbox_count() == 0 || err != -ETIMEDOUT);
    return ac_nil;
}

static void run_main(ac_function function) {
    memset(&mail, 0, sizeof mail);
    note_ref(ac_spawn(function, ac_nil, .name = "main"));
    note(ac_run());
    REQUIRE(mail.done == 1 || faults_errors() > 0);
}

// Sends and counts what was taken.
static void send(ac_ref to, ac_value message) {
    if (ac_ref_is(to))
        mail.sent += note(ac_send(to, message)) == 0;
    else
        ac_drop(message);
}

static ac_value text(void) {
    return ac_of_text("a message that needs some memory of its own to be kept");
}

// ---- mailboxes ----

static ac_value send_some(ac_value unused) {
    (void)unused;
    bool hooked = note(ac_on_dead_letter(count_dead, NULL)) == 0;
    mail.receiver = note_ref(ac_spawn(receive_all, ac_nil, .joinable = true));
    for (int i = 0; i < MESSAGES; i++) {
        send(mail.receiver, text());
        if (i == MESSAGES / 2)
            note(ac_yield());
    }
    if (!ac_ref_is(mail.receiver))
        return ac_nil;
    mail.sent += note(ac_try_send(mail.receiver, 1)) == 0;
    mail.sent += note(ac_deliver(mail.receiver, text(), AC_NOW)) == 1;
    struct ac_exit exit;
    if (note(ac_join(mail.receiver, &exit, ac_after(5))) == 0) {
        if (exit.how != AC_FINISHED)
            note(exit.reason);
        ac_drop(exit.value);
        uint64_t unread = ac_dead_letters(AC_DEAD_UNREAD);
        REQUIRE(mail.sent == mail.got + (int)unread);
        REQUIRE(!hooked || mail.dead == (int)unread);
        REQUIRE(ac_send(mail.receiver, text()) < 0);
    }
    mail.done = 1;
    return ac_nil;
}

SCENARIO(what_was_sent_arrives) { run_main(send_some); }

static ac_value send_a_burst(ac_value unused) {
    (void)unused;
    mail.receiver = note_ref(ac_spawn(receive_all, ac_nil));
    for (int i = 0; i < BURST; i++)
        send(mail.receiver, ac_of_int(i));
    mail.done = 1;
    return ac_nil;
}

SCENARIO(a_burst_arrives) {
    run_main(send_a_burst);
    REQUIRE(mail.got == mail.sent || faults_errors() > 0);
}

static ac_value end_without_reading(ac_value unused) {
    (void)unused;
    return ac_nil;
}

static ac_value send_unread(ac_value unused) {
    (void)unused;
    bool hooked = note(ac_on_dead_letter(count_dead, NULL)) == 0;
    mail.receiver = note_ref(ac_spawn(end_without_reading, ac_nil));
    for (int i = 0; i < MESSAGES; i++)
        send(mail.receiver, text());
    note(ac_yield());
    REQUIRE(ac_dead_letters(AC_DEAD_UNREAD) == (uint64_t)mail.sent || faults_errors() > 0);
    REQUIRE(!hooked || mail.dead == mail.sent || faults_errors() > 0);
    mail.done = 1;
    return ac_nil;
}

SCENARIO(what_nobody_reads_is_a_dead_letter) { run_main(send_unread); }

// ---- limits ----

static ac_value receive_slowly(ac_value policy) {
    note(ac_mailbox_limit(2, (enum ac_mailbox_policy)ac_int_of(policy)));
    note(ac_sleep(0.0002));
    return receive_all(ac_nil);
}

static ac_value send_to_limited(ac_value policy) {
    mail.receiver = note_ref(ac_spawn(receive_slowly, policy));
    note(ac_yield());
    bool waits = ac_int_of(policy) == AC_SENDER_WAITS;
    for (int i = 0; i < MESSAGES && ac_ref_is(mail.receiver); i++) {
        int err = waits || i % 2 ? ac_send(mail.receiver, text())
                                 : ac_try_send(mail.receiver, text());
        mail.sent += err == 0;
        if (err != -ENOBUFS || waits)
            note(err);
    }
    mail.done++;
    return ac_nil;
}

static ac_value fill_waiting(ac_value unused) {
    (void)unused;
    return send_to_limited(ac_of_int(AC_SENDER_WAITS));
}

static ac_value fill_refused(ac_value unused) {
    (void)unused;
    return send_to_limited(ac_of_int(AC_REFUSE));
}

SCENARIO(senders_wait_for_room) {
    run_main(fill_waiting);
    REQUIRE(mail.got == mail.sent || faults_errors() > 0);
}

SCENARIO(a_full_mailbox_refuses) {
    run_main(fill_refused);
    REQUIRE(mail.got == mail.sent || faults_errors() > 0);
}

// ---- choosing ----

static bool is_odd(ac_value message, void *context) {
    (void)context;
    return ac_int_of(message) % 2 == 1;
}

static int64_t modulo_3(ac_value message, void *context) {
    (void)context;
    return ac_int_of(message) % 3;
}

static void take(int err, ac_value message) {
    if (err < 0)
        return;
    mail.got++;
    ac_drop(message);
}

static ac_value receive_chosen(ac_value unused) {
    (void)unused;
    ac_value message;
    take((int)note(patiently(ac_receive_if(&message, is_odd, NULL, briefly()))), message);
    bool sorted = note(ac_mailbox_sort(modulo_3, NULL)) == 0;
    for (int i = 0; i < 3 && sorted; i++)
        take((int)note(patiently(ac_receive_category(&message, i, briefly()))), message);
    struct ac_source sources[] = {
        {.kind = AC_SOURCE_MESSAGE, .match = is_odd, .message = &message},
        {.kind = AC_SOURCE_EVENT, .event = &mail.event},
    };
    int which = (int)note(patiently(ac_wait_any(sources, 2, briefly())));
    take(which == 0 ? 0 : -1, message);
    return receive_all(ac_nil);
}

static ac_value send_choice(ac_value unused) {
    (void)unused;
    mail.receiver = note_ref(ac_spawn(receive_chosen, ac_nil));
    for (int i = 0; i < MESSAGES; i++) {
        send(mail.receiver, ac_of_int(i));
        if (i == 2)
            note(ac_yield());
    }
    note(ac_yield());
    note(ac_event_set(&mail.event));
    mail.done = 1;
    return ac_nil;
}

SCENARIO(what_is_passed_over_stays) {
    run_main(send_choice);
    REQUIRE(mail.got == mail.sent || faults_errors() > 0);
}

static ac_value nap(ac_value unused) {
    (void)unused;
    note(ac_sleep(0.0002));
    return ac_of_int(7);
}

static ac_value wait_for_several(ac_value unused) {
    (void)unused;
    struct ac_semaphore semaphore = {0};
    struct ac_exit exit;
    ac_value message;
    ac_ref other = note_ref(ac_spawn(nap, ac_nil, .joinable = true));
    if (ac_ref_is(other)) {
        const struct ac_source sources[] = {
            {.kind = AC_SOURCE_MESSAGE, .message = &message},
            {.kind = AC_SOURCE_SEMAPHORE, .semaphore = &semaphore},
            {.kind = AC_SOURCE_EVENT, .event = &mail.event},
            {.kind = AC_SOURCE_END, .coroutine = other, .exit = &exit},
        };
        int which = (int)note(ac_wait_any(sources, 4, ac_after(5)));
        REQUIRE(which == 3 || which < 0);
        if (which == 3 && exit.how != AC_FINISHED)
            note(exit.reason);
        if (which == 3)
            ac_drop(exit.value);
    }
    mail.done = 1;
    return ac_nil;
}

SCENARIO(one_of_several_is_waited_for) { run_main(wait_for_several); }

// ---- questions ----

static ac_value answer(ac_value unused) {
    (void)unused;
    ac_value request;
    while (ac_receive(&request, AC_FOREVER) == 0) {
        ac_ref to;
        ac_value body;
        if (note(ac_unpack(request, &to, &body)) == 0)
            note(ac_send(to, body));
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value ask(ac_value unused) {
    (void)unused;
    mail.receiver = note_ref(ac_spawn(answer, ac_nil));
    for (int i = 0; i < 3 && ac_ref_is(mail.receiver); i++) {
        ac_value it;
        if (note(patiently(ac_call(mail.receiver, text(), &it, briefly()))) == 0) {
            REQUIRE(ac_kind_of(it) == AC_TEXT);
            mail.got++;
            ac_drop(it);
        }
        REQUIRE(ac_mailbox_count() == 0);
    }
    if (ac_ref_is(mail.receiver))
        (void)ac_cancel(mail.receiver);
    mail.done = 1;
    return ac_nil;
}

SCENARIO(a_question_is_answered_once) {
    run_main(ask);
    REQUIRE(mail.got == 3 || faults_errors() > 0);
}

// ---- monitors ----

static ac_value monitor(ac_value unused) {
    (void)unused;
    int asked = 0;
    for (int i = 0; i < 3; i++) {
        ac_ref other = note_ref(ac_spawn(nap, ac_nil, .joinable = i == 2));
        if (i == 2)
            note(ac_sleep(0.002)); // its end is kept
        asked += ac_ref_is(other) && note(ac_monitor(other)) == 0;
    }
    ac_value message;
    int err = 0;
    while (mail.notices < asked && (err = (int)note(ac_receive(&message, ac_after(1)))) == 0) {
        struct ac_exit exit;
        // Without the memory to read it, it is still seen to be one.
        if (ac_exit_of(message, &exit)) {
            if (exit.how != AC_FINISHED)
                note(exit.reason);
            ac_drop(exit.value);
        }
        REQUIRE(ac_kind_of(message) == AC_NOTICE);
        mail.notices++;
        ac_drop(message);
    }
    REQUIRE(err == -ECANCELED || (mail.notices == asked && ac_mailbox_count() == 0));
    mail.done = 1;
    return ac_nil;
}

SCENARIO(each_monitor_gets_one_notice) {
    run_main(monitor);
    REQUIRE(mail.notices == 3 || faults_errors() > 0);
}

// ---- channels ----

static bool pass(ac_value *message, void *context) {
    (void)context;
    ac_drop(*message);
    *message = text();
    return true;
}

// Sends through the channel and one below it; returns how often it was said to arrive.
static void send_through(ac_ref channel) {
    for (int i = 0; i < MESSAGES; i++) {
        int count = (int)note(ac_deliver(channel, text(), AC_NOW));
        mail.sent += count > 0 ? count : 0;
    }
}

static ac_value use_channel(ac_value unused) {
    (void)unused;
    ac_ref upper = note_ref(ac_channel_open("upper"));
    ac_ref lower = note_ref(ac_channel_open("lower"));
    if (!ac_ref_is(upper) || !ac_ref_is(lower))
        return ac_nil;
    int subscribed = 0;
    note(ac_channel_subscribe(upper, lower));
    ac_ref receivers[3];
    for (int i = 0; i < 3; i++) {
        receivers[i] = note_ref(ac_spawn(receive_all, ac_nil));
        subscribed += ac_ref_is(receivers[i]) &&
                      note(ac_channel_subscribe(i ? lower : upper, receivers[i])) == 0;
    }
    REQUIRE(ac_channel_count(upper) <= 2 && ac_channel_count(lower) <= 2);
    note(ac_channel_transform(upper, pass, NULL));
    int reached = faults_errors() ? 0 : (int)note(patiently(ac_channel_wait(upper, 3, briefly())));
    REQUIRE(reached == 3 || faults_errors() > 0);
    send_through(upper);
    note(ac_send(upper, text()));
    if (ac_ref_is(receivers[2]) && subscribed == 3)
        note(ac_channel_unsubscribe(lower, receivers[2]));
    note(ac_channel_close(lower));
    note(ac_channel_close(upper));
    REQUIRE(ac_send(upper, 1) == -ESRCH);
    mail.done = 1;
    return ac_nil;
}

SCENARIO(a_channel_reaches_its_subscribers) {
    run_main(use_channel);
    // The one that was not delivered but sent reaches three as well.
    REQUIRE(mail.got == mail.sent + 3 || faults_errors() > 0);
}
