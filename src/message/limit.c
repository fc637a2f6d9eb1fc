// SPDX-License-Identifier: MIT
// Mailboxes that can be full, and what a mailbox has beside its cells (struct mail).
//
// A limit counts the messages of users: notices of the library always fit. While there is no room a
// sender is refused, or it waits in the queue of the mailbox, its message on its stack and a cell
// for it in its hands. The moment there is room (a message is taken, the limit is raised) the first
// of the queue is let in: its message moves into the mailbox at that moment, not when the sender
// runs, so order is kept and nobody overtakes.
//
// A receiver that chooses may take the message of a sender that waits. Otherwise a mailbox full of
// what it does not want would keep it from what it waits for.
#include "message/state.h"

static void admit(struct coro *coro);
static bool abandon_sender(struct coro *coro);

// coro->wait_for is its struct sender.
static const struct wait_kind sending = {.name = "mailbox", .abandon = abandon_sender};

struct mail *mail_need(struct coro *coro) {
    struct mail *mail = coro->mail_more;
    if (mail)
        return mail;
    mail = memory_allocate_zeroed(sizeof *mail);
    if (!mail)
        return NULL;
    list_init(&mail->senders);
    list_init(&mail->sorted);
    map_init(&mail->categories);
    coro->mail_more = mail;
    coro->mail_done = mailbox_close;
    coro->end_slow = true;
    return mail;
}

void mail_close(struct coro *coro) {
    struct mail *mail = coro->mail_more;
    struct list *link;
    while ((link = list_take(&mail->senders))) {
        struct sender *sender = container_of(link, struct sender, link);
        ac_drop(sender->offer.message);
        cell_give(coro->loop, sender->cell);
        coro_wake(sender->coro, -ESRCH);
    }
    map_done(&mail->categories);
    memory_release(mail);
    coro->mail_more = NULL;
    __atomic_store_n(&coro->mail_limited, false, __ATOMIC_RELAXED);
}

// ---- the limit ----

int ac_mailbox_limit(size_t count, enum ac_mailbox_policy policy) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (count > 0 && policy != AC_REFUSE && policy != AC_SENDER_WAITS)
        return -EINVAL;
    if (count == 0 && !self->mail_more)
        return 0;
    struct mail *mail = mail_need(self);
    if (!mail)
        return -ENOMEM;
    if (mail->limit == 0) {
        mail->notices = 0;
        list_each (link, &mail->sorted)
            mail->notices += container_of(link, struct sorted, of_all)->message.kind == AC_NOTICE;
        for (struct cell *cell = self->mail_head; cell; cell = cell->next)
            mail->notices += cell->message.kind == AC_NOTICE;
    }
    mail->limit = count;
    mail->policy = policy;
    __atomic_store_n(&self->mail_limited, count > 0, __ATOMIC_RELAXED);
    mail_settle(self);
    admit(self);
    return 0;
}

// Whether one more message of a user fits.
static inline bool has_room(const struct coro *to) {
    const struct mail *mail = to->mail_more;
    return !mail || mail->limit == 0 || to->mail_count - mail->notices < mail->limit;
}

bool limit_has_room(const struct coro *to, ac_value message) {
    return message.kind == AC_NOTICE || has_room(to);
}

void limit_came(struct coro *to, ac_value message) {
    struct mail *mail = to->mail_more;
    if (mail)
        mail->notices += message.kind == AC_NOTICE;
}

void limit_left(struct coro *coro, ac_value message) {
    struct mail *mail = coro->mail_more;
    if (!mail)
        return;
    mail->notices -= message.kind == AC_NOTICE;
    admit(coro);
}

// ---- senders that wait ----

int limit_reached(struct coro *to, struct offer *offer, enum room room, ac_time deadline) {
    struct mail *mail = to->mail_more;
    struct coro *self = coro_here();
    if (room == ROOM_REFUSE || mail->policy == AC_REFUSE)
        return message_refuse(offer->message, -ENOBUFS);
    // Nobody makes room for himself while he waits for it.
    if (!self || self == to || deadline == AC_NOW)
        return message_refuse(offer->message, -EAGAIN);
    int err = coro_may_wait(self, deadline);
    if (err)
        return message_refuse(offer->message, err);
    struct sender sender = {.coro = self, .offer = *offer, .cell = cell_take(to->loop)};
    if (!sender.cell)
        return message_refuse(offer->message, -ENOMEM);
    list_append(&mail->senders, &sender.link);
    self->wait_for = &sender;
    return coro_wait(self, &sending, deadline);
}

static void admit(struct coro *coro) {
    struct mail *mail = coro->mail_more;
    while (!list_empty(&mail->senders) && has_room(coro)) {
        struct sender *sender = container_of(list_take(&mail->senders), struct sender, link);
        mailbox_append(coro, sender->cell, &sender->offer);
        coro_wake(sender->coro, 0);
    }
}

void limit_take(struct sender *sender, ac_value *message) {
    list_remove(&sender->link);
    *message = sender->offer.message;
    cell_give(sender->coro->loop, sender->cell);
    coro_wake(sender->coro, 0);
}

static bool abandon_sender(struct coro *coro) {
    struct sender *sender = coro->wait_for;
    list_remove(&sender->link);
    ac_drop(sender->offer.message);
    cell_give(coro->loop, sender->cell);
    return true;
}
