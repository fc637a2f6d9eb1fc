// SPDX-License-Identifier: MIT
// One process that may locate names at the others and nothing else, and tries everything. Whatever
// it asks is refused: it is never told that something was done, and nothing of it arrives: neither
// a message nor a call (the inboxes, services and labours of story.c and favours.c know what they
// are to get), and nobody ends by it. When all is well it is told each time that it may not.
#include "story.h"

#include <stdio.h>

static struct node outsider;

const char *outsider_address(void) {
    static char text[32];
    struct sys_address address = net_host_address(SIM_OUTSIDER_HOST);
    snprintf(text, sizeof text, "%u.%u.%u.%u", address.ip[0], address.ip[1], address.ip[2],
             address.ip[3]);
    return text;
}

// `exact`: all is well, so that there is one right result.
static void expect_refusal(const char *what, int err, bool exact) {
    sim_note("refused", outsider.process->number, (uint64_t)(int64_t)err, exact);
    sim_check(err < 0, "the outsider was let %s", what);
    sim_check(!exact || err == -EACCES, "the outsider tried to %s and got %s", what,
              ac_strerror(err));
}

static double patience(bool exact) { return exact ? 20 : ac_random_real(0.01, 2); }

// Told with a notice, as the coroutine could have ended.
static void try_monitor(ac_ref whom, bool exact) {
    ac_value message;
    if (ac_monitor(whom) < 0) {
        sim_check(!exact, "the outsider cannot even ask for a notice");
        return;
    }
    while (ac_receive(&message, ac_after(patience(exact))) == 0) {
        struct ac_exit exit;
        sim_check(ac_exit_of(message, &exit), "the outsider got a message");
        sim_check(exit.how == AC_LOST, "the outsider was told that somebody has %s",
                  ac_end_name(exit.how));
        bool same = ac_ref_equal(exit.who, whom);
        if (same)
            expect_refusal("monitor", exit.reason, exact);
        ac_drop(exit.value);
        ac_drop(message);
        if (same)
            return;
    }
    sim_check(!exact, "the outsider was not told that it may not monitor");
}

static void try_all(uint32_t place, bool exact) {
    ac_ref inbox, service, labour, channel, who;
    ac_value answer;
    ac_time until = ac_after(patience(exact));
    bool found = story_find(&outsider, place, "inbox", SIM_INBOX, until, &inbox) &&
                 story_find(&outsider, place, "service", SIM_SERVICE, until, &service) &&
                 story_find(&outsider, place, "labour", SIM_LABOUR, until, &labour) &&
                 story_find(&outsider, place, "channel", SIM_CHANNEL, until, &channel);
    sim_check(found || !exact, "the outsider does not find place %u though all is well", place);
    if (!found)
        return;
    int sent = ac_send(inbox, ac_list("from outside"));
    sim_check(sent == 0 || !exact || sent == -EACCES, "the outsider sends and gets %s",
              ac_strerror(sent));
    int count = ac_deliver(inbox, ac_list("from outside"), ac_after(patience(exact)));
    expect_refusal("deliver", count == 0 ? -ETIMEDOUT : count, exact);
    expect_refusal(
        "call", ac_call(service, ac_list((int64_t)0), &answer, ac_after(patience(exact))), exact);
    expect_refusal(
        "invoke",
        ac_invoke(labour, ac_list((int64_t)0), &who, ac_after(patience(exact)), .monitor = true),
        exact);
    int cancelled = ac_cancel(inbox);
    sim_check(!exact || cancelled == -EACCES, "the outsider cancels and gets %s",
              ac_strerror(cancelled));
    expect_refusal("subscribe", ac_channel_subscribe(channel, ac_self()), exact);
    uint64_t peer = ac_ref_peer(inbox);
    expect_refusal("send a file",
                   ac_transfer_send(peer, "/source/0", "outside", ac_after(patience(exact))),
                   exact);
    expect_refusal("delete a file", ac_transfer_delete(peer, "a", ac_after(patience(exact))),
                   exact);
    struct ac_exit exit = {0};
    int joined = ac_join(inbox, &exit, ac_after(patience(exact)));
    if (joined == 0) { // its process was lost
        sim_check(exit.how == AC_LOST, "the outsider was told that somebody has %s",
                  ac_end_name(exit.how));
        joined = exit.reason;
        ac_drop(exit.value);
    }
    expect_refusal("join", joined, exact);
    try_monitor(inbox, exact);
}

static ac_value intrude(ac_value argument) {
    (void)argument;
    while (story.phase == PHASE_TALK && ac_sleep(ac_random_real(0.05, 1)) == 0)
        try_all((uint32_t)ac_random_int(0, story.places - 1), false);
    return ac_nil;
}

static ac_value intrude_at_last(ac_value argument) {
    (void)argument;
    for (uint32_t place = 0; place < story.places; place++) {
        try_all(place, true);
        outsider.pings_due--;
    }
    return ac_nil;
}

static ac_value live(ac_value argument) {
    bool pinged = false;
    (void)ac_spawn(intrude, ac_nil, .daemon = true);
    while (!outsider.process->stop) {
        if (story.phase == PHASE_PING && !pinged) {
            pinged = true;
            (void)ac_spawn(intrude_at_last, ac_nil, .daemon = true);
        }
        (void)ac_sleep(0.05);
    }
    return argument;
}

static void run_outsider(struct process *process) {
    (void)process;
    story_start_network(&outsider);
    (void)ac_spawn(live, ac_nil);
    int err = ac_run();
    sim_check(err == 0, "the outsider ended with %s", ac_strerror(err));
}

struct node *outsider_start(void) {
    outsider = (struct node){.number = UINT32_MAX, .place = UINT32_MAX, .pings_due = story.places};
    outsider.process = process_start(SIM_OUTSIDER_HOST, run_outsider, &outsider);
    return &outsider;
}
