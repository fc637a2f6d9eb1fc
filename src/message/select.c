// SPDX-License-Identifier: MIT
// Receives that choose among messages, and the wait for one of several things.
//
// A choice is an array of sources; ac_receive_if and ac_receive_category are choices of one. First
// each source is tried in turn. If none has anything the coroutine waits at all of them: what it
// waits with lies on its stack. The first source that has something for it, in whose callback it
// is, takes that, ends the waits at the others and wakes the coroutine with the index of the
// source. Between the two nothing runs, so no source can give twice.
//
// Messages come by mailbox_put_slowly, because coro->mail_slow is set meanwhile; each is offered to
// the sources of messages in turn, and what none of them wants goes into the mailbox.
#include "message/state.h"

enum { SOURCES_MAX = 64, SOURCES_FEW = 8 };

// The place of a choice at a source that is not for messages.
struct place {
    struct choice *choice;
    struct coro *of; // AC_SOURCE_END: whose end it is
    union {
        struct end_watch end;
        struct waiter waiter; // AC_SOURCE_EVENT, AC_SOURCE_SEMAPHORE
    };
};

struct choice {
    struct coro *coro;
    const struct ac_source *sources;
    size_t count;
    struct place *places; // one for each source; NULL: all sources are for messages
    size_t placed;        // at how many it waits
};

static int check(struct coro *self, const struct ac_source *source);
static int try(struct coro *self, const struct ac_source *source, struct coro **living);
static int find_match(struct coro *coro, const struct ac_source *source);
static int try_all(struct choice *choice, ac_time deadline);
static int wait_at_all(struct choice *choice, ac_time deadline);
static int attach(struct choice *choice, size_t index);
static void detach(struct choice *choice);
static void decide(struct choice *choice, size_t index);
static bool abandon_choice(struct coro *coro);

// coro->wait_for is its struct choice.
const struct wait_kind choosing = {.name = "choose", .abandon = abandon_choice};

// ---- the public calls ----

static int receive_from(const struct ac_source *source, ac_time deadline) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    int err = check(self, source);
    if (err)
        return err;
    struct choice choice = {.coro = self, .sources = source, .count = 1};
    err = try_all(&choice, deadline);
    return err == -EAGAIN ? wait_at_all(&choice, deadline) : err;
}

int ac_receive_if(ac_value *message, ac_match match, void *context, ac_time deadline) {
    return receive_from(
        &(struct ac_source){
            .kind = AC_SOURCE_MESSAGE, .match = match, .context = context, .message = message},
        deadline);
}

int ac_receive_category(ac_value *message, int64_t category, ac_time deadline) {
    return receive_from(
        &(struct ac_source){.kind = AC_SOURCE_CATEGORY, .category = category, .message = message},
        deadline);
}

// The places are on the stack, and few coroutines have room for many.
static __attribute__((noinline)) int wait_at_few(struct choice *choice, ac_time deadline) {
    struct place places[SOURCES_FEW];
    choice->places = places;
    return wait_at_all(choice, deadline);
}

static __attribute__((noinline)) int wait_at_many(struct choice *choice, ac_time deadline) {
    struct place places[SOURCES_MAX];
    choice->places = places;
    return wait_at_all(choice, deadline);
}

int ac_wait_any(const struct ac_source *sources, size_t count, ac_time deadline) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!sources || count == 0 || count > SOURCES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        int err = check(self, &sources[i]);
        if (err)
            return err;
    }
    struct choice choice = {.coro = self, .sources = sources, .count = count};
    int err = try_all(&choice, deadline);
    if (err != -EAGAIN)
        return err;
    return count <= SOURCES_FEW ? wait_at_few(&choice, deadline) : wait_at_many(&choice, deadline);
}

// 0 or -EINVAL.
static int check(struct coro *self, const struct ac_source *source) {
    const struct mail *mail = self->mail_more;
    bool good = false;
    switch (source->kind) {
    case AC_SOURCE_MESSAGE: good = source->message != NULL; break;
    case AC_SOURCE_CATEGORY: good = source->message && mail && mail->categorize; break;
    case AC_SOURCE_END: good = true; break;
    case AC_SOURCE_EVENT: good = source->event != NULL; break;
    case AC_SOURCE_SEMAPHORE: good = source->semaphore != NULL; break;
    }
    return good ? 0 : -EINVAL;
}

// ---- taking what is there ----

// The index of the source that had something; -EAGAIN if none; an error.
static int try_all(struct choice *choice, ac_time deadline) {
    int err = coro_may_try(choice->coro, deadline);
    if (err)
        return err;
    for (size_t i = 0; i < choice->count; i++) {
        struct coro *living;
        err = try(choice->coro, &choice->sources[i], &living);
        if (err != -EAGAIN)
            return err < 0 ? err : (int)i;
    }
    return -EAGAIN;
}

// A dispatch. 0, -EAGAIN or the error of the source. With AC_SOURCE_END and -EAGAIN the coroutine
// is stored.
static int try(struct coro *self, const struct ac_source *source, struct coro **living) {
    switch (source->kind) {
    case AC_SOURCE_MESSAGE: return find_match(self, source);
    case AC_SOURCE_CATEGORY:
        return sort_find(self, source->category, source->message) ? 0 : -EAGAIN;
    case AC_SOURCE_END: return coro_join_try(source->coroutine, source->exit, living);
    case AC_SOURCE_EVENT: return event_try(source->event);
    case AC_SOURCE_SEMAPHORE: return semaphore_try(source->semaphore);
    }
    return -EINVAL;
}

static bool matches(const struct ac_source *source, ac_value message) {
    return !source->match || source->match(message, source->context);
}

// Takes the oldest message that matches, be it in the mailbox or with a sender that waits.
static int find_match(struct coro *coro, const struct ac_source *source) {
    struct mail *mail = coro->mail_more;
    for (struct list *link = mail ? list_first(&mail->sorted) : NULL; link && link != &mail->sorted;
         link = link->next) {
        struct sorted *it = container_of(link, struct sorted, of_all);
        if (!matches(source, it->message))
            continue;
        sort_take(coro, it, source->message);
        limit_left(coro, *source->message);
        return 0;
    }
    struct cell *before = NULL;
    for (struct cell *cell = coro->mail_head; cell; before = cell, cell = cell->next) {
        if (!matches(source, cell->message))
            continue;
        mailbox_take(coro, before, cell, source->message);
        limit_left(coro, *source->message);
        return 0;
    }
    for (struct list *link = mail ? list_first(&mail->senders) : NULL;
         link && link != &mail->senders; link = link->next) {
        struct sender *sender = container_of(link, struct sender, link);
        if (!matches(source, sender->offer.message))
            continue;
        limit_take(sender, source->message);
        return 0;
    }
    return -EAGAIN;
}

// ---- waiting ----

static int wait_at_all(struct choice *choice, ac_time deadline) {
    struct coro *self = choice->coro;
    int err = coro_may_wait(self, deadline);
    if (err)
        return err;
    while (choice->places && choice->placed < choice->count) {
        err = attach(choice, choice->placed);
        if (err) {
            detach(choice);
            return err;
        }
        choice->placed++;
    }
    self->mail_slow = true;
    self->wait_for = choice;
    return coro_wait(self, &choosing, deadline);
}

static void ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct place *place = container_of(watch, struct place, end);
    size_t index = (size_t)(place - place->choice->places);
    coro_join(place->of, exit, place->choice->sources[index].exit);
    decide(place->choice, index);
}

static void granted(struct waiter *waiter) {
    struct place *place = container_of(waiter, struct place, waiter);
    decide(place->choice, (size_t)(place - place->choice->places));
}

// A dispatch.
static int attach(struct choice *choice, size_t index) {
    const struct ac_source *source = &choice->sources[index];
    struct place *place = &choice->places[index];
    place->choice = choice;
    switch (source->kind) {
    case AC_SOURCE_MESSAGE:
    case AC_SOURCE_CATEGORY: return 0;
    case AC_SOURCE_END:
        (void)try(choice->coro, source, &place->of); // it lives
        place->end = (struct end_watch){.ended = ended, .observes = true};
        coro_watch(place->of, &place->end);
        return 0;
    case AC_SOURCE_EVENT:
        place->waiter = (struct waiter){.coro = choice->coro, .granted = granted};
        return event_attach(source->event, &place->waiter);
    case AC_SOURCE_SEMAPHORE:
        place->waiter = (struct waiter){.coro = choice->coro, .granted = granted};
        return semaphore_attach(source->semaphore, &place->waiter);
    }
    return -EINVAL;
}

// Ends the waits at all sources.
static void detach(struct choice *choice) {
    for (size_t i = 0; i < choice->placed; i++) {
        struct place *place = &choice->places[i];
        switch (choice->sources[i].kind) {
        case AC_SOURCE_MESSAGE:
        case AC_SOURCE_CATEGORY: break;
        case AC_SOURCE_END: coro_unwatch(&place->end); break;
        case AC_SOURCE_EVENT:
        case AC_SOURCE_SEMAPHORE: waiter_detach(&place->waiter); break;
        }
    }
    mail_settle(choice->coro);
}

static void decide(struct choice *choice, size_t index) {
    detach(choice);
    coro_wake(choice->coro, (int)index);
}

static bool abandon_choice(struct coro *coro) {
    detach(coro->wait_for);
    return true;
}

bool choice_offer(struct coro *to, struct offer *offer) {
    struct choice *choice = to->wait_for;
    for (size_t i = 0; i < choice->count; i++) {
        const struct ac_source *source = &choice->sources[i];
        bool wanted = false;
        if (source->kind == AC_SOURCE_MESSAGE)
            wanted = matches(source, offer->message);
        else if (source->kind == AC_SOURCE_CATEGORY)
            wanted = sort_category(to->mail_more, offer) == source->category;
        if (wanted) {
            *source->message = offer->message;
            decide(choice, i);
            return true;
        }
    }
    return false;
}
