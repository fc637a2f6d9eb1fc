// SPDX-License-Identifier: MIT
// Tests of src/message/select.c: receives that choose, waiting for one of several things, and a
// mailbox against a model of one.
#include "message/state.h"
#include "test.h"

#include <asyncoro.h>

#include <stdlib.h>

static void run(ac_function function) {
    ac_spawn(function, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static int asks;

// `context` is the divisor.
static bool is_multiple(ac_value message, void *context) {
    asks++;
    return ac_int_of(message) % *(int *)context == 0;
}

static int64_t take_multiple(int of, ac_time deadline) {
    ac_value message;
    int err = ac_receive_if(&message, is_multiple, &of, deadline);
    return err ? err : ac_int_of(message);
}

static int64_t take(ac_time deadline) {
    ac_value message;
    int err = ac_receive(&message, deadline);
    return err ? err : ac_int_of(message);
}

// ---- receive_if ----

static ac_value choose(ac_value unused) {
    (void)unused;
    for (int i = 1; i <= 10; i++)
        ck_assert_int_eq(ac_send(ac_self(), i), 0);
    ck_assert_int_eq(take_multiple(5, AC_FOREVER), 5);
    ck_assert_int_eq(asks, 5);
    ck_assert_int_eq(take_multiple(5, AC_NOW), 10);
    ck_assert_int_eq(take_multiple(5, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(asks, 5 + 9 + 8);
    ck_assert_int_eq(take_multiple(1, AC_NOW), 1);
    ck_assert_int_eq(ac_send(ac_self(), 11), 0); // behind what is now the last
    const int left[] = {2, 3, 4, 6, 7, 8, 9, 11};
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(take(AC_NOW), left[i]);
    ck_assert_int_eq(ac_send(ac_self(), 12), 0);
    ac_value message;
    ck_assert_int_eq(ac_receive_if(&message, NULL, NULL, AC_NOW), 0);
    ck_assert_int_eq(ac_int_of(message), 12);
    ck_assert_int_eq(ac_receive_if(NULL, NULL, NULL, AC_NOW), -EINVAL);
    return ac_nil;
}

TEST(the_oldest_message_that_is_wanted_is_taken_and_the_others_stay) {
    ac_value message;
    ck_assert_int_eq(ac_receive_if(&message, NULL, NULL, AC_NOW), -EPERM);
    run(choose);
}

static ac_value send_one_to_ten(ac_value to) {
    for (int i = 1; i <= 10; i++) {
        ck_assert_int_eq(ac_send(ac_ref_of(to), i), 0);
        if (i == 5)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

static ac_value choose_what_comes(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_send(ac_self(), 100), 0);
    ac_spawn(send_one_to_ten, ac_self());
    ck_assert_int_eq(take_multiple(3, AC_FOREVER), 3);
    ck_assert_int_eq(asks, 4); // each once
    ck_assert_uint_eq(ac_mailbox_count(), 5);
    ck_assert_int_eq(take_multiple(9, ac_after(60)), 9);
    ck_assert_int_eq(take_multiple(11, ac_after(0.01)), -ETIMEDOUT);
    const int left[] = {100, 1, 2, 4, 5, 6, 7, 8, 10};
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(take(AC_FOREVER), left[i]);
    // A choice that is over chooses nothing more.
    ac_spawn(send_one_to_ten, ac_self());
    for (int i = 1; i <= 10; i++)
        ck_assert_int_eq(take(AC_FOREVER), i);
    return ac_nil;
}

TEST(what_comes_while_one_chooses_is_taken_if_wanted) { run(choose_what_comes); }

static ac_value choose_until_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_send(ac_self(), 1), 0);
    ck_assert_int_eq(take_multiple(2, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(ac_send(ac_self(), 2), 0);
    ck_assert_int_eq(take_multiple(2, AC_FOREVER), -ECANCELED); // although it is there
    ck_assert_int_eq(take_multiple(2, AC_NOW), 2);
    ck_assert_int_eq(take(AC_NOW), 1);
    return ac_nil;
}

static ac_value cancel_a_choice(ac_value unused) {
    (void)unused;
    ac_ref chooser = ac_spawn(choose_until_cancelled, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(chooser), 0);
    struct ac_exit exit;
    ck_assert_int_eq(ac_join(chooser, &exit, AC_FOREVER), 0);
    ck_assert_int_eq(exit.how, AC_CANCELLED);
    return ac_nil;
}

TEST(a_choice_ends_with_a_cancellation) { run(cancel_a_choice); }

static bool is_exit(ac_value message, void *context) {
    (void)context;
    return ac_exit_of(message, NULL);
}

static ac_value end_at_once(ac_value unused) {
    (void)unused;
    return ac_nil;
}

static ac_value end_soon(ac_value result) {
    ck_assert_int_eq(ac_yield() | ac_yield(), 0);
    return ac_hold(result);
}

static ac_value choose_a_notice(ac_value unused) {
    (void)unused;
    ac_value message;
    ck_assert_int_eq(ac_send(ac_self(), 1), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ac_monitor(ac_spawn(i ? end_soon : end_at_once, ac_nil)), 0);
        if (i == 0)
            ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_receive_if(&message, is_exit, NULL, AC_FOREVER), 0);
        ck_assert(ac_exit_of(message, NULL));
        ac_drop(message);
    }
    // And one that comes while others are chosen.
    ck_assert_int_eq(ac_monitor(ac_spawn(end_soon, ac_nil)), 0);
    static int two = 2; // a notice is the number 0
    ck_assert_int_eq(ac_receive_if(&message, is_multiple, &two, AC_FOREVER), 0);
    ck_assert(ac_exit_of(message, NULL));
    ac_drop(message);
    return ac_nil;
}

TEST(exit_notices_can_be_chosen) { run(choose_a_notice); }

// ---- wait_any ----

static struct ac_event event;
static struct ac_semaphore semaphore;

static int wait_for_all(ac_value *message, ac_ref who, struct ac_exit *exit, ac_time deadline) {
    static int divisor = 7;
    const struct ac_source sources[] = {
        {.kind = AC_SOURCE_EVENT, .event = &event},
        {.kind = AC_SOURCE_MESSAGE, .match = is_multiple, .context = &divisor, .message = message},
        {.kind = AC_SOURCE_SEMAPHORE, .semaphore = &semaphore},
        {.kind = AC_SOURCE_END, .coroutine = who, .exit = exit},
        {.kind = AC_SOURCE_CATEGORY, .category = 3, .message = message},
    };
    return ac_wait_any(sources, countof(sources), deadline);
}

static int64_t category_of(ac_value message, void *context) {
    (void)context;
    return ac_int_of(message) % 10;
}

static ac_value give_one_after_the_other(ac_value to) {
    ck_assert_int_eq(ac_send(ac_ref_of(to), 8), 0);
    ck_assert_int_eq(ac_send(ac_ref_of(to), 70), 0);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_event_set(&event), 0);
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_send(ac_ref_of(to), 13), 0);
    ck_assert_int_eq(ac_yield(), 0);
    return ac_of_int(42);
}

static ac_value wait_for_each(ac_value unused) {
    (void)unused;
    ac_value message;
    struct ac_exit exit;
    ck_assert_int_eq(ac_mailbox_sort(category_of, NULL), 0);
    ac_ref giver = ac_spawn(give_one_after_the_other, ac_self(), .joinable = true);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_FOREVER), 1);
    ck_assert_int_eq(ac_int_of(message), 70);
    // What came meanwhile is still there: it was not taken from anywhere else.
    ck_assert_uint_eq(semaphore.count, 1);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_FOREVER), 2);
    ck_assert_uint_eq(semaphore.count, 0);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_FOREVER), 0);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_FOREVER), 4);
    ck_assert_int_eq(ac_int_of(message), 13);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_FOREVER), 3);
    ck_assert(ac_ref_equal(exit.who, giver));
    ck_assert_int_eq(ac_int_of(exit.value), 42);
    ck_assert_int_eq(wait_for_all(&message, giver, &exit, AC_FOREVER), -ESRCH); // the end is taken
    ck_assert_int_eq(take(AC_NOW), 8);
    ck_assert(!event.queue_.first_ && !semaphore.queue_.first_);
    return ac_nil;
}

TEST(each_source_ends_the_wait_and_leaves_the_others) { run(wait_for_each); }

static ac_value have_several(ac_value unused) {
    (void)unused;
    ac_value message;
    struct ac_exit exit;
    ck_assert_int_eq(ac_mailbox_sort(category_of, NULL), 0);
    ac_ref ended = ac_spawn(end_at_once, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_semaphore_release(&semaphore), 0);
    ck_assert_int_eq(ac_event_set(&event), 0);
    ck_assert_int_eq(ac_send(ac_self(), 3), 0);
    ck_assert_int_eq(ac_send(ac_self(), 7), 0);
    ck_assert_int_eq(wait_for_all(&message, ended, &exit, AC_NOW), 0);
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert_int_eq(wait_for_all(&message, ended, &exit, AC_FOREVER), 1);
    ck_assert_int_eq(ac_int_of(message), 7);
    ck_assert_int_eq(wait_for_all(&message, ended, &exit, AC_NOW), 2);
    ck_assert_int_eq(wait_for_all(&message, ended, NULL, AC_FOREVER), 3);
    ck_assert_int_eq(take(AC_NOW), 3);
    return ac_nil;
}

TEST(of_several_sources_the_first_in_the_array_goes_before) { run(have_several); }

static ac_value sleep_for_ever(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep_until(AC_FOREVER), -ECANCELED);
    return ac_nil;
}

static ac_value wait_in_vain(ac_value unused) {
    (void)unused;
    ac_value message = ac_of_int(5);
    ac_ref other = ac_spawn(sleep_for_ever, ac_nil);
    ck_assert_int_eq(ac_mailbox_sort(category_of, NULL), 0);
    ck_assert_int_eq(wait_for_all(&message, other, NULL, ac_after(0.01)), -ETIMEDOUT);
    ck_assert(!event.queue_.first_ && !semaphore.queue_.first_);
    ck_assert_int_eq(ac_int_of(message), 5);
    ck_assert_int_eq(ac_cancel(ac_self()), 0);
    ck_assert_int_eq(ac_event_set(&event), 0);
    ck_assert_int_eq(wait_for_all(&message, other, NULL, AC_FOREVER), -ECANCELED);
    ck_assert_int_eq(wait_for_all(&message, other, NULL, AC_NOW), 0);
    ck_assert_int_eq(ac_event_clear(&event), 0);
    ck_assert_int_eq(wait_for_all(&message, other, NULL, AC_NOW), -ECANCELED);
    ck_assert_int_eq(ac_cancel(other), 0);
    return ac_nil;
}

TEST(a_wait_that_ends_early_leaves_all_queues) { run(wait_in_vain); }

static ac_value wait_wrongly(ac_value unused) {
    (void)unused;
    struct ac_source sources[65];
    for (int i = 0; i < 65; i++)
        sources[i] = (struct ac_source){.kind = AC_SOURCE_EVENT, .event = &event};
    ck_assert_int_eq(ac_wait_any(sources, 0, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_wait_any(NULL, 1, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_wait_any(sources, 65, AC_NOW), -EINVAL);
    ck_assert_int_eq(ac_wait_any(sources, 64, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_wait_any(sources, 64, ac_after(0.001)), -ETIMEDOUT);
    static const struct ac_source wrong[] = {
        {.kind = 0},
        {.kind = AC_SOURCE_SEMAPHORE + 1},
        {.kind = AC_SOURCE_MESSAGE},
        {.kind = AC_SOURCE_CATEGORY},
        {.kind = AC_SOURCE_EVENT},
        {.kind = AC_SOURCE_SEMAPHORE},
    };
    for (size_t i = 0; i < countof(wrong); i++) {
        sources[63] = wrong[i];
        ck_assert_int_eq(ac_wait_any(sources, 64, AC_NOW), -EINVAL);
    }
    ac_value message;
    sources[0] = (struct ac_source){.kind = AC_SOURCE_CATEGORY, .message = &message};
    ck_assert_int_eq(ac_wait_any(sources, 1, AC_NOW), -EINVAL); // not sorted
    sources[0] = (struct ac_source){.kind = AC_SOURCE_END, .coroutine = ac_self()};
    ck_assert_int_eq(ac_wait_any(sources, 1, AC_FOREVER), -EDEADLK);
    sources[0] = (struct ac_source){.kind = AC_SOURCE_END};
    ck_assert_int_eq(ac_wait_any(sources, 1, AC_FOREVER), -ESRCH);
    sources[0].coroutine = ac_channel_open(NULL);
    ck_assert_int_eq(ac_wait_any(sources, 1, AC_FOREVER), -ENOTSUP);
    return ac_nil;
}

TEST(wrong_sources_are_refused) {
    const struct ac_source source = {.kind = AC_SOURCE_EVENT, .event = &event};
    ck_assert_int_eq(ac_wait_any(&source, 1, AC_FOREVER), -EPERM);
    run(wait_wrongly);
}

static ac_value set_after_a_yield(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_event_set(&event), 0);
    return ac_nil;
}

static ac_value wait_at_many(ac_value unused) {
    (void)unused;
    struct ac_event others[63] = {0};
    struct ac_source sources[64];
    for (int i = 0; i < 63; i++)
        sources[i] = (struct ac_source){.kind = AC_SOURCE_EVENT, .event = &others[i]};
    sources[63] = (struct ac_source){.kind = AC_SOURCE_EVENT, .event = &event};
    ac_spawn(set_after_a_yield, ac_nil);
    ck_assert_int_eq(ac_wait_any(sources, 64, AC_FOREVER), 63);
    for (int i = 0; i < 63; i++)
        ck_assert(!others[i].queue_.first_);
    return ac_nil;
}

TEST(one_can_wait_at_64_sources) { run(wait_at_many); }

static ac_value be_joined_by_two(ac_value unused) {
    (void)unused;
    ac_ref one = ac_spawn(end_soon, 9, .joinable = true);
    struct ac_exit exits[2];
    const struct ac_source sources[] = {
        {.kind = AC_SOURCE_END, .coroutine = one, .exit = &exits[0]},
        {.kind = AC_SOURCE_END, .coroutine = one, .exit = &exits[1]},
    };
    ck_assert_int_eq(ac_wait_any(sources, 2, AC_FOREVER), 0);
    ck_assert_int_eq(ac_int_of(exits[0].value), 9);
    ck_assert_int_eq(ac_join(one, NULL, AC_NOW), -ESRCH);
    return ac_nil;
}

TEST(two_sources_with_the_same_end_give_it_once) { run(be_joined_by_two); }

// ---- a mailbox against a model ----
//
// Senders and a receiver do what a driver tells them, and so does a model; after each step all must
// have come to the same. A message is an integer, its number times 16 plus its category; a notice
// has category 15.

enum { SENDERS = 5, MESSAGES_MAX = 4096, SEEDS = 300, STEPS_PER_SEED = 150, NOTICE = 15 };

enum how { PLAIN, IF_IN_SET, BY_CATEGORY, ANY_OF_TWO };

struct actor {
    ac_ref ref;
    bool busy;      // has been told something and has not finished
    int err;        // of what it did last
    int64_t number; // what it sends, or has received
    enum how how;   // the receiver's next receive
    int64_t wanted; // a category, or a set of them
    ac_time deadline;
};

static struct actor senders[SENDERS];
static struct actor receiver;

static struct {
    uint64_t random;
    int64_t mail[MESSAGES_MAX];
    int count;
    size_t limit;
    enum ac_mailbox_policy policy;
    bool sorted;
    int waiting[SENDERS]; // indexes of senders, in order
    int waiting_count;
    int64_t next; // number of the next message
    uint64_t unread;
    bool starved; // memory failed in this seed
} model;

static int about[MESSAGES_MAX * 4]; // how often each message was asked about for its category

static uint32_t draw(uint32_t below) {
    model.random = model.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model.random >> 33) % below;
}

static int64_t number_of(ac_value message) {
    return message.kind == AC_NOTICE ? NOTICE : ac_int_of(message);
}

static int64_t model_category(ac_value message, void *context) {
    (void)context;
    int64_t number = number_of(message);
    about[number / 16 % (int64_t)countof(about)] += number != NOTICE;
    return number & 15;
}

static bool in_set(ac_value message, void *context) {
    return *(int64_t *)context >> (number_of(message) & 15) & 1;
}

static ac_value be_sender(ac_value argument) {
    struct actor *self = ac_pointer_of(argument);
    while (ac_suspend(NULL, AC_FOREVER) == 0) {
        self->err = ac_send(receiver.ref, self->number);
        self->busy = false;
    }
    return ac_nil;
}

static int receive_as_told(struct actor *self, ac_value *message) {
    int64_t both = 1 << 1 | 1 << 2;
    const struct ac_source sources[] = {
        {.kind = AC_SOURCE_SEMAPHORE, .semaphore = &semaphore}, // never gives
        {.kind = AC_SOURCE_MESSAGE, .match = in_set, .context = &both, .message = message},
    };
    switch (self->how) {
    case PLAIN: return ac_receive(message, self->deadline);
    case IF_IN_SET: return ac_receive_if(message, in_set, &self->wanted, self->deadline);
    case BY_CATEGORY: return ac_receive_category(message, self->wanted, self->deadline);
    case ANY_OF_TWO: break;
    }
    int err = ac_wait_any(sources, 2, self->deadline);
    return err == 1 ? 0 : err == 0 ? -EINVAL : err;
}

static ac_value be_receiver(ac_value argument) {
    struct actor *self = ac_pointer_of(argument);
    ac_value what;
    while (ac_suspend(&what, AC_FOREVER) == 0) {
        ac_value message = ac_nil;
        switch (ac_int_of(what)) {
        case 0: self->err = receive_as_told(self, &message); break;
        case 1: self->err = ac_mailbox_limit(model.limit, model.policy); break;
        case 2: self->err = ac_mailbox_sort(model.sorted ? model_category : NULL, NULL); break;
        case 3: self->err = ac_monitor(ac_spawn(NULL, ac_nil)); break;
        default: return ac_nil; // with all its mail
        }
        self->number = number_of(message);
        ac_drop(message);
        self->busy = false;
    }
    return ac_nil;
}

static void start(struct actor *actor, ac_function function) {
    *actor = (struct actor){.ref = ac_spawn(function, ac_of_pointer(actor))};
}

static void settle(void) {
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(ac_yield(), 0);
}

static void tell(struct actor *actor, int64_t what) {
    actor->busy = true;
    actor->err = 1;
    ck_assert_int_eq(ac_resume(actor->ref, what), 0);
}

// What the receiver wants, as a set of categories.
static int64_t wanted(void) {
    switch (receiver.how) {
    case PLAIN: return -1;
    case IF_IN_SET: return receiver.wanted;
    case BY_CATEGORY: return (int64_t)1 << receiver.wanted;
    case ANY_OF_TWO: return 1 << 1 | 1 << 2;
    }
    return 0;
}

static bool is_wanted(int64_t number) { return wanted() >> (number & 15) & 1; }

static bool model_is_full(void) {
    size_t users = 0;
    for (int i = 0; i < model.count; i++)
        users += model.mail[i] != NOTICE;
    return model.limit > 0 && users >= model.limit;
}

static void remove_waiting(int at) {
    memmove(&model.waiting[at], &model.waiting[at + 1],
            sizeof(int) * (size_t)(--model.waiting_count - at));
}

// The sender at this place of the queue must have gone on with `err`.
static void check_went_on(int at, int err) {
    ck_assert(!senders[model.waiting[at]].busy);
    ck_assert_int_eq(senders[model.waiting[at]].err, err);
    remove_waiting(at);
}

static void model_admit(void) {
    while (model.waiting_count > 0 && !model_is_full()) {
        model.mail[model.count++] = senders[model.waiting[0]].number;
        check_went_on(0, 0);
    }
}

// The number of the message that a receive must find; -1 if none.
static int64_t model_take(void) {
    for (int i = 0; i < model.count; i++) {
        int64_t number = model.mail[i];
        if (!is_wanted(number))
            continue;
        memmove(&model.mail[i], &model.mail[i + 1], sizeof number * (size_t)(--model.count - i));
        model_admit();
        return number;
    }
    for (int i = 0; i < model.waiting_count; i++) {
        int64_t number = senders[model.waiting[i]].number;
        if (!is_wanted(number))
            continue;
        check_went_on(i, 0);
        return number;
    }
    return -1;
}

static void check_received(int64_t number) {
    ck_assert(!receiver.busy);
    ck_assert_int_eq(receiver.err, 0);
    ck_assert_int_eq(receiver.number, number);
}

static void step_send(void) {
    int index = (int)draw(SENDERS);
    struct actor *sender = &senders[index];
    if (sender->busy)
        return;
    sender->number = model.next++ * 16 + draw(4);
    bool receiving = receiver.busy;
    tell(sender, 0);
    settle();
    if (sender->err == -ENOMEM && model.starved)
        return;
    if (receiving && is_wanted(sender->number)) {
        check_received(sender->number);
        ck_assert_int_eq(sender->err, 0);
    } else if (!model_is_full()) {
        ck_assert_int_eq(sender->err, 0);
        model.mail[model.count++] = sender->number;
    } else if (model.policy == AC_REFUSE) {
        ck_assert_int_eq(sender->err, -ENOBUFS);
    } else {
        ck_assert(sender->busy);
        model.waiting[model.waiting_count++] = index;
    }
}

static void step_receive(void) {
    if (receiver.busy)
        return;
    receiver.how = (enum how)draw(4);
    if (receiver.how == BY_CATEGORY && !model.sorted)
        receiver.how = IF_IN_SET;
    receiver.wanted = receiver.how == BY_CATEGORY ? (draw(8) ? draw(4) : NOTICE)
                                                  : (int64_t)draw(16) | (int64_t)draw(2) << NOTICE;
    receiver.deadline = draw(2) ? AC_NOW : AC_FOREVER;
    tell(&receiver, 0);
    settle();
    int64_t number = model_take();
    if (number >= 0) {
        check_received(number);
    } else if (receiver.deadline == AC_NOW) {
        ck_assert(!receiver.busy);
        ck_assert_int_eq(receiver.err, -ETIMEDOUT);
    } else {
        ck_assert(receiver.busy);
    }
}

static void step_change(void) {
    if (receiver.busy)
        return;
    size_t limit = model.limit;
    enum ac_mailbox_policy policy = model.policy;
    bool sorted = model.sorted;
    int what = 1 + (int)draw(3);
    if (what == 1) {
        model.limit = draw(5);
        model.policy = draw(3) ? AC_SENDER_WAITS : AC_REFUSE;
    } else if (what == 2) {
        model.sorted = draw(4) > 0;
        memset(about, 0, sizeof about); // all are asked about anew
    }
    tell(&receiver, what);
    settle();
    ck_assert(!receiver.busy);
    if (receiver.err == -ENOMEM && model.starved) {
        model.limit = limit;
        model.policy = policy;
        model.sorted = sorted;
        return;
    }
    ck_assert_int_eq(receiver.err, what == 3 ? -EINVAL : 0);
    if (what == 1)
        model_admit();
}

static void step_notice(void) {
    struct coro *coro = coro_find(loop_here, receiver.ref.id);
    int64_t was = receiver.busy && is_wanted(NOTICE);
    ac_value notice = value_notice(ac_list("test"));
    if (notice.kind == AC_INVALID || mailbox_put(coro, notice) < 0) {
        ck_assert(model.starved);
        return;
    }
    settle();
    if (was)
        check_received(NOTICE);
    else
        model.mail[model.count++] = NOTICE;
}

static void step_cancel(void) {
    if (model.waiting_count == 0)
        return;
    int at = (int)draw((uint32_t)model.waiting_count);
    struct actor *sender = &senders[model.waiting[at]];
    ck_assert_int_eq(ac_cancel(sender->ref), 0);
    settle();
    check_went_on(at, -ECANCELED);
    start(sender, be_sender);
    settle();
}

static void step_end(void) {
    if (draw(4) > 0)
        return;
    for (int i = 0; i < model.count; i++)
        model.unread += model.mail[i] != NOTICE;
    if (receiver.busy)
        ck_assert_int_eq(ac_cancel(receiver.ref), 0);
    else
        tell(&receiver, 4);
    settle();
    while (model.waiting_count > 0)
        check_went_on(0, -ESRCH);
    ck_assert_uint_eq(ac_dead_letters(AC_DEAD_UNREAD), model.unread);
    model.count = 0;
    model.limit = 0;
    model.sorted = false;
    start(&receiver, be_receiver);
    settle();
}

static void one_step(void) {
    switch (draw(16)) {
    case 0: step_change(); break;
    case 1: step_notice(); break;
    case 2: step_cancel(); break;
    case 3: step_end(); break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8: step_receive(); break;
    default: step_send();
    }
}

static ac_value drive(ac_value starving) {
    start(&receiver, be_receiver);
    for (int i = 0; i < SENDERS; i++)
        start(&senders[i], be_sender);
    settle();
    for (int i = 0; i < STEPS_PER_SEED; i++) {
        bool starve = ac_int_of(starving) && draw(3) == 0;
        model.starved |= starve;
        memory_fail_nth(starve ? 1 + (long)draw(3) : 0);
        one_step();
        memory_fail_nth(0);
        const struct coro *coro = coro_find(loop_here, receiver.ref.id);
        ck_assert_uint_eq(coro->mail_count, (uint64_t)model.count);
    }
    for (size_t i = 0; i < countof(about) && !model.starved; i++)
        ck_assert_int_le(about[i], 1);
    ck_assert_int_eq(ac_cancel(receiver.ref), 0);
    settle();
    for (int i = 0; i < SENDERS; i++)
        ck_assert_int_eq(ac_cancel(senders[i].ref), 0);
    return ac_nil;
}

static void drive_seeds(int starving) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        memset(&model, 0, sizeof model);
        memset(about, 0, sizeof about);
        memset(&semaphore, 0, sizeof semaphore);
        model.random = seed * 0x9e3779b97f4a7c15u;
        ac_spawn(drive, starving);
        ck_assert_msg(ac_run() == 0, "seed %llu", (unsigned long long)seed);
    }
}

TEST(a_mailbox_does_what_a_simple_model_says) { drive_seeds(0); }

TEST(so_it_does_where_memory_fails_now_and_then) { drive_seeds(1); }
