// SPDX-License-Identifier: MIT
// Mailboxes sorted by category.
//
//     mail->sorted      a -- b -- c -- d -- e      all, the oldest first
//                       |         |         |
//     category 7        a ------- c ------- e      mail->categories
//     category 9             b ------- d
//
// Messages arrive in the cells of the mailbox as ever and are sorted when their owner looks for a
// category: then he asks about them, not whoever sends. (A message that arrives while he waits for
// a category is asked about then.) So the sorted messages are older than those in cells.
//
// A message that is taken was asked about once at the most. Sorting needs memory; while there is
// none messages stay in their cells, are looked through there, and asked about again: nothing is
// lost, and no receive fails for it.
#include "message/state.h"

struct category {
    int64_t number;
    struct list messages; // struct sorted.of_category; never empty
};

static struct category *category_need(struct mail *mail, int64_t number);
static bool append(struct coro *to, struct sorted *it, const struct offer *offer);
static bool find_unsorted(struct coro *coro, int64_t category, ac_value *message);
static int unsort(struct coro *coro);

int ac_mailbox_sort(ac_categorize categorize, void *context) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!categorize && !self->mail_more)
        return 0;
    struct mail *mail = mail_need(self);
    int err = mail ? unsort(self) : -ENOMEM;
    if (err)
        return err;
    list_each (link, &mail->senders)
        container_of(link, struct sender, link)->offer.asked = false;
    mail->categorize = categorize;
    mail->context = context;
    mail_settle(self);
    return 0;
}

int64_t sort_category(const struct mail *mail, struct offer *offer) {
    if (!offer->asked) {
        offer->category = mail->categorize(offer->message, mail->context);
        offer->asked = true;
    }
    return offer->category;
}

// ---- putting in and taking out ----

bool sort_append(struct coro *to, const struct offer *offer) {
    struct sorted *it = memory_allocate(sizeof *it);
    if (it && append(to, it, offer))
        return true;
    memory_release(it);
    return false;
}

// False: there is no memory for the category.
static bool append(struct coro *to, struct sorted *it, const struct offer *offer) {
    struct mail *mail = to->mail_more;
    struct category *category = category_need(mail, offer->category);
    if (!category)
        return false;
    it->message = offer->message;
    it->category = category;
    list_append(&mail->sorted, &it->of_all);
    list_append(&category->messages, &it->of_category);
    to->mail_count++;
    return true;
}

static struct category *category_need(struct mail *mail, int64_t number) {
    struct category *category = map_get_id(&mail->categories, (uint64_t)number);
    if (category)
        return category;
    category = memory_allocate(sizeof *category);
    if (!category || map_put_id(&mail->categories, (uint64_t)number, category) < 0) {
        memory_release(category);
        return NULL;
    }
    category->number = number;
    list_init(&category->messages);
    return category;
}

void sort_take(struct coro *coro, struct sorted *it, ac_value *message) {
    struct mail *mail = coro->mail_more;
    struct category *category = it->category;
    list_remove(&it->of_all);
    list_remove(&it->of_category);
    if (list_empty(&category->messages)) {
        map_take_id(&mail->categories, (uint64_t)category->number);
        memory_release(category);
    }
    coro->mail_count--;
    *message = it->message;
    memory_release(it);
}

// ---- sorting, and what undoes it ----

bool sort_cells(struct coro *coro) {
    struct mail *mail = coro->mail_more;
    struct cell *cell;
    while ((cell = coro->mail_head)) {
        struct sorted *it = memory_allocate(sizeof *it);
        struct offer offer = {.message = cell->message};
        if (!it)
            return false;
        (void)sort_category(mail, &offer);
        if (!append(coro, it, &offer)) {
            memory_release(it);
            return false;
        }
        mailbox_take(coro, NULL, cell, &offer.message);
    }
    return true;
}

// All messages go into cells, in order, or none.
static int unsort(struct coro *coro) {
    struct mail *mail = coro->mail_more;
    struct cell *cells = NULL;
    list_each (link, &mail->sorted) {
        struct cell *cell = cell_take(coro->loop);
        if (!cell)
            goto give_back;
        cell->next = cells;
        cells = cell;
    }
    // From the latest to the oldest, each before the ones behind it.
    while (!list_empty(&mail->sorted)) {
        struct cell *cell = cells;
        cells = cell->next;
        sort_take(coro, container_of(mail->sorted.prev, struct sorted, of_all), &cell->message);
        mailbox_prepend(coro, cell);
    }
    return 0;

give_back:
    while (cells) {
        struct cell *cell = cells;
        cells = cell->next;
        cell_give(coro->loop, cell);
    }
    return -ENOMEM;
}

// ---- finding ----

bool sort_find(struct coro *coro, int64_t category, ac_value *message) {
    struct mail *mail = coro->mail_more;
    bool all = sort_cells(coro);
    struct category *it = map_get_id(&mail->categories, (uint64_t)category);
    if (it) {
        struct list *first = list_first(&it->messages);
        sort_take(coro, container_of(first, struct sorted, of_category), message);
        limit_left(coro, *message);
        return true;
    }
    if (!all && find_unsorted(coro, category, message))
        return true;
    list_each (link, &mail->senders) {
        struct sender *sender = container_of(link, struct sender, link);
        if (sort_category(mail, &sender->offer) == category) {
            limit_take(sender, message);
            return true;
        }
    }
    return false;
}

// Among the cells that there was no memory to sort.
static bool find_unsorted(struct coro *coro, int64_t category, ac_value *message) {
    struct mail *mail = coro->mail_more;
    struct cell *before = NULL;
    for (struct cell *cell = coro->mail_head; cell; before = cell, cell = cell->next) {
        if (mail->categorize(cell->message, mail->context) != category)
            continue;
        mailbox_take(coro, before, cell, message);
        limit_left(coro, *message);
        return true;
    }
    return false;
}
