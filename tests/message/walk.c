// SPDX-License-Identifier: MIT
// Tests of src/message/walk.c: transforms, and the way of messages through graphs of channels.
#include "message/message.h"
#include "test.h"

#include <asyncoro.h>

#include <limits.h>
#include <stdlib.h>

static int progress;

static void run(ac_function function) {
    ac_spawn(function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(progress, 1); // it has come to its end
}

static ac_ref open_one(void) {
    ac_ref channel = ac_channel_open("test");
    ck_assert(ac_ref_is(channel));
    return channel;
}

static void check_next(int64_t expected) {
    ac_value message;
    ck_assert_int_eq(ac_receive(&message, AC_NOW), 0);
    ck_assert_int_eq(ac_int_of(message), expected);
    ac_drop(message);
}

static ac_value wait_for_ever(ac_value unused) {
    (void)unused;
    while (ac_sleep(1) == 0)
        ;
    return ac_nil;
}

static int calls; // of the transforms below

static bool add(ac_value *message, void *context) {
    int64_t old = ac_int_of(*message);
    calls++;
    ac_drop(*message);
    *message = ac_of_int(old + *(const int *)context);
    return true;
}

static bool stop(ac_value *message, void *context) {
    (void)message, (void)context;
    calls++;
    return false;
}

static const int one = 1, ten = 10, hundred = 100;

static void set(ac_ref channel, ac_transform transform, const int *amount) {
    ck_assert_int_eq(ac_channel_transform(channel, transform, (void *)amount), 0);
}

// ---- what transforms do ----

static ac_value change_on_the_way(ac_value unused) {
    (void)unused;
    ac_ref upper = open_one(), lower = open_one();
    ck_assert_int_eq(ac_channel_subscribe(upper, lower), 0);
    ck_assert_int_eq(ac_channel_subscribe(lower, ac_self()), 0);
    set(upper, add, &one);
    set(lower, add, &ten);
    ck_assert_int_eq(ac_send(upper, 0), 0);
    check_next(11); // handed down
    ck_assert_int_eq(ac_send(lower, 0), 0);
    check_next(10); // sent
    set(upper, add, &hundred);
    ck_assert_int_eq(ac_deliver(upper, 0, AC_NOW), 1);
    check_next(110);
    set(lower, NULL, NULL);
    ck_assert_int_eq(ac_deliver(upper, 0, AC_NOW), 1);
    check_next(100);
    ck_assert_int_eq(ac_mailbox_count(), 0);
    progress++;
    return ac_nil;
}

TEST(a_transform_changes_what_is_sent_and_what_is_handed_down) { run(change_on_the_way); }

static ac_value stop_on_the_way(ac_value unused) {
    (void)unused;
    ac_ref top = open_one(), left = open_one(), right = open_one(), bottom = open_one();
    ck_assert_int_eq(ac_channel_subscribe(top, left), 0);
    ck_assert_int_eq(ac_channel_subscribe(top, right), 0);
    ck_assert_int_eq(ac_channel_subscribe(left, bottom), 0);
    ck_assert_int_eq(ac_channel_subscribe(right, bottom), 0);
    ck_assert_int_eq(ac_channel_subscribe(bottom, ac_self()), 0);
    set(left, stop, NULL);
    set(right, add, &ten);
    // What does not come on one way comes on the other.
    ck_assert_int_eq(ac_deliver(top, ac_of("text that is too long for a small value"), AC_NOW), 1);
    check_next(10);
    set(top, stop, NULL);
    ck_assert_int_eq(ac_deliver(top, ac_of("text that is too long for a small value"), AC_NOW), 0);
    ck_assert_int_eq(ac_send(top, 1), 0);
    ck_assert_int_eq(ac_send(left, 1), 0);
    ck_assert_int_eq(ac_mailbox_count(), 0);
    // It does not count for a wait.
    ck_assert_int_eq(ac_channel_wait(top, 1, AC_NOW), 1);
    progress++;
    return ac_nil;
}

TEST(what_a_transform_stops_goes_no_further_that_way) { run(stop_on_the_way); }

static ac_value go_through_a_lattice(ac_value unused) {
    (void)unused;
    enum { LEVELS = 20 };
    ac_ref at[LEVELS][2];
    for (int i = 0; i < LEVELS; i++)
        for (int j = 0; j < 2; j++) {
            at[i][j] = open_one();
            set(at[i][j], add, &one);
            ck_assert_int_eq(ac_channel_subscribe(at[i][j], ac_self()), 0);
            for (int k = 0; i > 0 && k < 2; k++)
                ck_assert_int_eq(ac_channel_subscribe(at[i - 1][k], at[i][j]), 0);
        }
    ck_assert_int_eq(ac_deliver(at[0][0], 0, AC_NOW), 1);
    check_next(1);
    ck_assert_int_eq(ac_mailbox_count(), 0);
    ck_assert_int_eq(calls, 2 * LEVELS - 1); // once each
    progress++;
    return ac_nil;
}

TEST(in_a_lattice_each_transform_is_called_once_and_each_coroutine_gets_one) {
    run(go_through_a_lattice);
}

static bool wrap(ac_value *message, void *context) {
    (void)context;
    *message = ac_list("a list that is too long for a small value", *message);
    return true;
}

static ac_value make_values(ac_value unused) {
    (void)unused;
    ac_ref upper = open_one(), lower = open_one(), both = open_one();
    ac_ref other = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    set(lower, wrap, NULL);
    ck_assert_int_eq(ac_channel_subscribe(upper, lower), 0);
    ck_assert_int_eq(ac_channel_subscribe(upper, both), 0);
    ck_assert_int_eq(ac_channel_subscribe(lower, both), 0);
    ck_assert_int_eq(ac_channel_subscribe(upper, other), 0);
    ck_assert_int_eq(ac_channel_subscribe(lower, ac_self()), 0);
    // The others keep the old value, which must not go away under them.
    ac_value text = ac_of("text that is too long for a small value"), message;
    ck_assert_int_eq(ac_send(upper, ac_hold(text)), 0);
    ck_assert_int_eq(ac_receive(&message, AC_NOW), 0);
    ac_value inside = ac_at(message, 1);
    ck_assert(ac_equal(inside, text));
    ac_drop(inside);
    ac_drop(message);
    bool failed = true;
    for (long n = 1; failed; n++) {
        memory_fail_nth(n);
        int count = ac_deliver(upper, ac_hold(text), AC_NOW);
        failed = memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(count, failed ? 1 : 2); // `other` has it in any case
        memory_fail_nth(n);
        int err = ac_send(lower, ac_hold(text));
        ck_assert_int_eq(err, memory_has_failed() ? -ENOMEM : 0);
        memory_fail_nth(0);
    }
    ac_drop(text);
    // What could not be made is handed to nobody, not even to another transform.
    set(both, stop, NULL);
    ck_assert_int_eq(ac_channel_unsubscribe(upper, both), 0);
    ck_assert_int_eq(ac_channel_unsubscribe(lower, ac_self()), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(ac_send(lower, 1), -ENOMEM);
    ck_assert(memory_has_failed());
    memory_fail_nth(0);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(ac_send(lower, 1), 0);
    ck_assert_int_eq(calls, 1);
    progress++;
    return ac_nil;
}

TEST(a_transform_owns_the_old_value_and_the_channel_the_new_one) { run(make_values); }

TEST(a_transform_is_for_channels_of_this_loop) {
    ck_assert_int_eq(ac_channel_transform(ac_no_ref, stop, NULL), -ENOTSUP);
    ac_ref channel = open_one(), far = channel;
    far.peer++;
    ck_assert_int_eq(ac_channel_transform(far, stop, NULL), -ENOTSUP);
    ck_assert_int_eq(
        ac_channel_transform(ac_spawn(wait_for_ever, ac_nil, .daemon = true), stop, NULL),
        -ENOTSUP);
    ck_assert_int_eq(ac_channel_close(channel), 0);
    ck_assert_int_eq(ac_channel_transform(channel, stop, NULL), -ESRCH);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- what transforms may not do ----

static struct { ac_ref upper, lower, first, last, opened; } graph;

static void refuse_to_wait(void) {
    ac_value message;
    ck_assert(!ac_ref_is(ac_self()));
    ck_assert_int_eq(ac_yield(), -EPERM);
    ck_assert_int_eq(ac_sleep(1), -EPERM);
    ck_assert_int_eq(ac_receive(&message, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_join(graph.first, NULL, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_channel_wait(graph.upper, 0, AC_FOREVER), -EPERM);
    ck_assert_int_eq(ac_run(), -EPERM);
}

static bool misbehave(ac_value *message, void *context) {
    (void)message, (void)context;
    calls++;
    refuse_to_wait();
    ck_assert_int_eq(ac_send(graph.upper, 7), -EBUSY);
    ck_assert_int_eq(ac_send(graph.lower, "text that is too long for a small value"), -EBUSY);
    ck_assert_int_eq(ac_deliver(graph.lower, 7, AC_NOW), -EBUSY);
    ck_assert_int_eq(ac_channel_close(graph.upper), -EBUSY);
    ck_assert_int_eq(ac_channel_close(graph.lower), -EBUSY);
    ck_assert_int_eq(ac_channel_unsubscribe(graph.upper, graph.lower), -EBUSY);
    ck_assert_int_eq(ac_channel_unsubscribe(graph.upper, graph.first), -EBUSY);
    graph.opened = open_one();
    ck_assert_int_eq(ac_channel_subscribe(graph.upper, graph.opened), -EBUSY);
    ck_assert_int_eq(ac_channel_subscribe(graph.opened, graph.last), -EBUSY);
    // All else is allowed.
    ck_assert_int_eq(ac_channel_count(graph.upper), 2);
    ck_assert_int_eq(ac_channel_transform(graph.upper, NULL, NULL), 0);
    ck_assert(ac_ref_is(ac_spawn(wait_for_ever, ac_nil, .daemon = true)));
    ck_assert_int_eq(ac_send(graph.first, 8), 0);
    ck_assert_int_eq(ac_cancel(graph.last), 0);
    return true;
}

static void lay_out_graph(void) {
    graph.upper = open_one();
    graph.lower = open_one();
    graph.first = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    graph.last = ac_spawn(wait_for_ever, ac_nil, .daemon = true);
    ck_assert_int_eq(ac_channel_subscribe(graph.upper, graph.first), 0);
    ck_assert_int_eq(ac_channel_subscribe(graph.upper, graph.lower), 0);
    ck_assert_int_eq(ac_channel_subscribe(graph.lower, graph.last), 0);
    ck_assert_int_eq(ac_channel_transform(graph.upper, misbehave, NULL), 0);
    ck_assert_int_eq(ac_channel_transform(graph.lower, misbehave, NULL), 0);
}

static ac_value send_to_misbehaving(ac_value unused) {
    (void)unused;
    lay_out_graph();
    ck_assert_int_eq(ac_yield(), 0);
    ac_ref self = ac_self();
    ck_assert_int_eq(ac_deliver(graph.upper, 1, AC_NOW), 2);
    ck_assert_int_eq(calls, 2);
    ck_assert(ac_ref_equal(ac_self(), self)); // inside a coroutine again
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_channel_count(graph.lower), 0); // its subscriber was cancelled
    ck_assert_int_eq(ac_channel_close(graph.upper), 0); // what was refused is possible now
    ck_assert_int_eq(ac_channel_close(graph.lower), 0);
    ck_assert_int_eq(ac_channel_subscribe(graph.opened, self), 0);
    ck_assert_int_eq(ac_deliver(graph.opened, 1, AC_NOW), 1);
    progress++;
    return ac_nil;
}

TEST(a_transform_can_disturb_neither_the_graph_nor_the_loop) { run(send_to_misbehaving); }

TEST(a_transform_runs_outside_coroutines_too) {
    lay_out_graph();
    ck_assert_int_eq(ac_deliver(graph.upper, 1, AC_NOW), 2);
    ck_assert_int_eq(calls, 2);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- against a model, with seeds ----
//
// The model is a graph of channels as a table of bits. A channel lets messages pass as they are,
// stamps them with its number, or stops them. Of a listener that gets a message the model knows
// with which sets of stamps it can come: those of the ways that lead to it.

enum { CHANNELS = 8, LISTENERS = 6, WAITERS = 3, STEPS = 1500, DUE_MAX = 4 * STEPS };
enum mode { PASS, STAMP, STOP, MODES };

struct due {
    ac_ref closed;             // the notice of that channel; or none: a message
    uint64_t stamps[256 / 64]; // with one of these sets of stamps
};

static struct {
    ac_ref channel[CHANNELS];
    ac_ref listener[LISTENERS];
    ac_ref waiter[WAITERS];
    enum mode mode[CHANNELS];
    int number[CHANNELS];           // the context of the transforms
    bool below[CHANNELS][CHANNELS]; // below[i][j]: j is subscribed to i
    bool listens[CHANNELS][LISTENERS];
    struct due due[LISTENERS][DUE_MAX]; // what has been sent to it and not yet been asked for
    int due_count[LISTENERS];
    int waits_for[WAITERS]; // channel; -1: it does not wait
    int wanted[WAITERS];    // how many it waits for
    int result[WAITERS];    // INT_MIN: it still waits
} model;

static ac_value new_message(int64_t stamps) {
    return ac_list(stamps, "so much text that it has holders");
}

static int64_t stamps_of(ac_value message) {
    ac_value stamps = ac_at(message, 0);
    return ac_int_of(stamps);
}

static bool stamp_message(ac_value *message, void *context) {
    int number = *(const int *)context;
    if (model.mode[number] == STOP)
        return false;
    ac_value old = *message;
    *message = new_message(stamps_of(old) | 1 << number);
    ac_drop(old);
    return true;
}

static void check_due(const struct due *due, ac_value message) {
    struct ac_exit exit;
    bool is_notice = ac_exit_of(message, &exit);
    ck_assert_int_eq(is_notice, ac_ref_is(due->closed));
    if (is_notice) {
        ck_assert(ac_ref_equal(exit.who, due->closed) && exit.how == AC_FINISHED);
        ac_drop(exit.value);
    } else {
        int64_t stamps = stamps_of(message);
        ck_assert(due->stamps[stamps / 64] >> stamps % 64 & 1);
    }
    ac_drop(message);
}

static ac_value receive_when_asked(ac_value argument) {
    int who = (int)ac_int_of(argument);
    while (ac_suspend(NULL, AC_FOREVER) == 0) {
        ck_assert_uint_eq(ac_mailbox_count(), (size_t)model.due_count[who]);
        ac_value message;
        for (int i = 0; i < model.due_count[who]; i++) {
            ck_assert_int_eq(ac_receive(&message, AC_NOW), 0);
            check_due(&model.due[who][i], message);
        }
        model.due_count[who] = 0;
    }
    return ac_nil;
}

static ac_value wait_when_asked(ac_value argument) {
    int who = (int)ac_int_of(argument);
    while (ac_suspend(NULL, AC_FOREVER) == 0)
        model.result[who] = ac_channel_wait(model.channel[model.waits_for[who]],
                                            (uint32_t)model.wanted[who], AC_FOREVER);
    return ac_nil;
}

static struct due *new_due(int listener) {
    ck_assert_int_lt(model.due_count[listener], DUE_MAX);
    struct due *due = &model.due[listener][model.due_count[listener]++];
    *due = (struct due){.closed = ac_no_ref};
    return due;
}

static void model_reach(int channel, bool reached[CHANNELS]) {
    reached[channel] = true;
    for (int i = 0; i < CHANNELS; i++)
        if (model.below[channel][i] && !reached[i])
            model_reach(i, reached);
}

static int model_count(int channel) {
    bool reached[CHANNELS] = {false};
    model_reach(channel, reached);
    int count = 0;
    for (int i = 0; i < LISTENERS; i++) {
        bool gets = false;
        for (int j = 0; j < CHANNELS; j++)
            gets |= reached[j] && model.listens[j][i];
        count += gets;
    }
    return count;
}

// Goes all ways down from a channel, and notes with what stamps each listener can get the message.
static void go_all_ways(int channel, unsigned stamps, struct due *due[LISTENERS]) {
    if (model.mode[channel] == STOP)
        return;
    if (model.mode[channel] == STAMP)
        stamps |= 1U << channel;
    for (int i = 0; i < LISTENERS; i++)
        if (model.listens[channel][i]) {
            if (!due[i])
                due[i] = new_due(i);
            due[i]->stamps[stamps / 64] |= UINT64_C(1) << stamps % 64;
        }
    for (int i = 0; i < CHANNELS; i++)
        if (model.below[channel][i])
            go_all_ways(i, stamps, due);
}

static void check_send(int channel) {
    struct due *due[LISTENERS] = {NULL};
    go_all_ways(channel, 0, due);
    int count = 0;
    for (int i = 0; i < LISTENERS; i++)
        count += due[i] != NULL;
    ck_assert_int_eq(ac_deliver(model.channel[channel], new_message(0), AC_NOW), count);
}

static void check_count(int channel) {
    int count = 0;
    for (int i = 0; i < CHANNELS; i++)
        count += model.below[channel][i];
    for (int i = 0; i < LISTENERS; i++)
        count += model.listens[channel][i];
    ck_assert_int_eq(ac_channel_count(model.channel[channel]), count);
}

// Nothing has changed since the waiters ran.
static void check_waiters(void) {
    for (int i = 0; i < WAITERS; i++) {
        if (model.waits_for[i] < 0)
            continue;
        int count = model_count(model.waits_for[i]);
        if (model.result[i] == INT_MIN) {
            ck_assert_int_lt(count, model.wanted[i]);
            continue;
        }
        ck_assert_int_ge(count, model.wanted[i]);
        ck_assert_int_eq(model.result[i], count);
        model.waits_for[i] = -1;
    }
}

static void change_channels(int i, int j, bool more) {
    ac_ref upper = model.channel[i], lower = model.channel[j];
    if (!more) {
        ck_assert_int_eq(ac_channel_unsubscribe(upper, lower), model.below[i][j] ? 0 : -ENOENT);
        model.below[i][j] = false;
        return;
    }
    bool reached[CHANNELS] = {false};
    model_reach(j, reached);
    ck_assert_int_eq(ac_channel_subscribe(upper, lower), reached[i] ? -ELOOP : 0);
    model.below[i][j] |= !reached[i];
}

static void change_listeners(int i, int j, bool more) {
    ac_ref channel = model.channel[i], who = model.listener[j];
    if (more)
        ck_assert_int_eq(ac_channel_subscribe(channel, who), 0);
    else
        ck_assert_int_eq(ac_channel_unsubscribe(channel, who), model.listens[i][j] ? 0 : -ENOENT);
    model.listens[i][j] = more;
}

static void change_mode(int i, enum mode mode) {
    model.mode[i] = mode;
    model.number[i] = i;
    ck_assert_int_eq(ac_channel_transform(model.channel[i], mode == PASS ? NULL : stamp_message,
                                          &model.number[i]),
                     0);
}

static void close_and_open(int i) {
    ck_assert_int_eq(ac_channel_close(model.channel[i]), 0);
    for (int j = 0; j < LISTENERS; j++) {
        if (model.listens[i][j])
            new_due(j)->closed = model.channel[i];
        model.listens[i][j] = false;
    }
    for (int j = 0; j < CHANNELS; j++)
        model.below[i][j] = model.below[j][i] = false;
    ck_assert_int_eq(ac_yield(), 0);
    for (int j = 0; j < WAITERS; j++)
        if (model.waits_for[j] == i) {
            ck_assert_int_eq(model.result[j], -ESRCH);
            model.waits_for[j] = -1;
        }
    model.channel[i] = open_one();
    model.mode[i] = PASS;
}

static void end_and_begin(int64_t j) {
    ck_assert_int_eq(ac_cancel(model.listener[j]), 0);
    ck_assert_int_eq(ac_yield(), 0);
    model.listener[j] = ac_spawn(receive_when_asked, j, .daemon = true);
    ck_assert_int_eq(ac_yield(), 0);
    model.due_count[j] = 0;
    for (int i = 0; i < CHANNELS; i++)
        model.listens[i][j] = false;
}

static void begin_wait(int i, int who, int count) {
    if (model.waits_for[who] >= 0)
        return;
    model.waits_for[who] = i;
    model.wanted[who] = count;
    model.result[who] = INT_MIN;
    ck_assert_int_eq(ac_resume(model.waiter[who], ac_nil), 0);
}

static void begin_model(void) {
    memset(&model, 0, sizeof model);
    for (int i = 0; i < CHANNELS; i++)
        model.channel[i] = open_one();
    for (int i = 0; i < LISTENERS; i++)
        model.listener[i] = ac_spawn(receive_when_asked, i, .daemon = true);
    for (int i = 0; i < WAITERS; i++) {
        model.waits_for[i] = -1;
        model.waiter[i] = ac_spawn(wait_when_asked, i, .daemon = true);
    }
    ck_assert_int_eq(ac_yield(), 0);
}

static ac_value change_and_send(ac_value argument) {
    unsigned seed = (unsigned)ac_int_of(argument);
    begin_model();
    for (int step = 0; step < STEPS; step++) {
        int i = rand_r(&seed) % CHANNELS, j = rand_r(&seed) % CHANNELS;
        int what = rand_r(&seed) % 100, n = rand_r(&seed) % 6;
        if (what < 25)
            change_channels(i, j, n > 1);
        else if (what < 45)
            change_listeners(i, j % LISTENERS, n > 1);
        else if (what < 47)
            close_and_open(i);
        else if (what < 49)
            end_and_begin(j % LISTENERS);
        else if (what < 55)
            change_mode(i, n > 3 ? STAMP : n % MODES);
        else if (what < 60)
            ck_assert_int_eq(ac_resume(model.listener[j % LISTENERS], ac_nil), 0);
        else if (what < 64)
            begin_wait(i, j % WAITERS, n);
        else
            check_send(i);
        check_count(i);
        ck_assert_int_eq(ac_yield(), 0);
        check_waiters();
    }
    return ac_nil;
}

TEST(channels_behave_like_a_table_of_who_is_below_whom, .seconds_max = 120) {
    for (int seed = 1; seed <= 40; seed++) {
        ac_spawn(change_and_send, seed);
        ck_assert_int_eq(ac_run(), 0);
    }
}
