// SPDX-License-Identifier: MIT
// A shop: orders go through a bounded buffer to three clerks, who share two connections to the bank
// and a price list that changes while they work. What is read and written between two waits needs
// no lock; here are those things that must stay together across a wait.
#include <asyncoro.h>

enum { ORDERS = 8, CLERKS = 3, PLACES = 2, CONNECTIONS = 2 };

// Stands for a conversation with another computer: the others run meanwhile.
static int ask_the_bank(void) {
    int err = 0;
    for (int i = 0; i < 10 && err == 0; i++)
        err = ac_yield();
    return err;
}

// ---- a bounded buffer: two conditions of one lock ----

struct buffer {
    struct ac_lock lock;
    struct ac_condition has_room, has_items;
    int items[PLACES];
    int first, count;
};

static struct buffer orders = {
    .has_room = {.lock = &orders.lock},
    .has_items = {.lock = &orders.lock},
};

// Waits while it is full. 0 or an error.
static int put(struct buffer *buffer, int item) {
    int err = ac_lock_acquire(&buffer->lock, AC_FOREVER);
    if (err < 0)
        return err;
    while (err == 0 && buffer->count == PLACES)
        err = ac_condition_wait(&buffer->has_room, AC_FOREVER);
    if (err == 0) {
        buffer->items[(buffer->first + buffer->count++) % PLACES] = item;
        ac_condition_notify(&buffer->has_items, 1);
    }
    ac_lock_release(&buffer->lock); // a wait at a condition always comes back with the lock
    return err;
}

// Waits while it is empty. 0 or an error.
static int take(struct buffer *buffer, int *item) {
    int err = ac_lock_acquire(&buffer->lock, AC_FOREVER);
    if (err < 0)
        return err;
    while (err == 0 && buffer->count == 0)
        err = ac_condition_wait(&buffer->has_items, AC_FOREVER);
    if (err == 0) {
        *item = buffer->items[buffer->first];
        buffer->first = (buffer->first + 1) % PLACES;
        buffer->count--;
        ac_condition_notify(&buffer->has_room, 1);
    }
    ac_lock_release(&buffer->lock);
    return err;
}

// ---- a pool: the semaphore counts what is idle ----

static struct ac_semaphore idle = {.count = CONNECTIONS, .count_max = CONNECTIONS};
static bool busy[CONNECTIONS];

// Waits for a connection, but not forever. Its number or an error.
static int borrow(void) {
    int err = ac_semaphore_acquire(&idle, ac_after(10));
    if (err < 0)
        return err;
    int connection = 0;
    while (busy[connection])
        connection++;
    busy[connection] = true;
    return connection;
}

static void give_back(int connection) {
    busy[connection] = false;
    ac_semaphore_release(&idle);
}

// ---- a price list: many read it, one changes it ----

static struct {
    struct ac_rwlock lock;
    int edition;
    int price; // belongs to the edition: the two change together
} list = {.edition = 1, .price = 10};

static struct ac_waitgroup open_orders;

// Has an order paid. The price list stays as it is meanwhile.
static int bill(int clerk, int order) {
    int err = ac_rwlock_read(&list.lock, AC_FOREVER);
    if (err < 0)
        return err;
    int edition = list.edition;
    int connection = borrow();
    err = connection < 0 ? connection : ask_the_bank();
    if (err == 0)
        ac_print("clerk %d: order %d for %d (edition %d) over connection %d\n", clerk, order,
                 list.price, edition, connection);
    if (connection >= 0)
        give_back(connection);
    ac_rwlock_release(&list.lock);
    return err;
}

// Those who read the list finish first; those who come later wait for the new edition.
static ac_value change_prices(ac_value unused) {
    int err = ac_rwlock_write(&list.lock, AC_FOREVER);
    if (err < 0)
        return ac_result(err);
    list.edition++;
    err = ask_the_bank(); // the old price with the new edition: nobody sees it
    list.price += 5;
    ac_print("edition %d: the price is %d\n", list.edition, list.price);
    ac_rwlock_release(&list.lock);
    return ac_result(err);
}

// ---- the shop ----

static struct ac_event opening;

static ac_value clerk(ac_value number) {
    int err = ac_event_wait(&opening, AC_FOREVER);
    while (err == 0) {
        int order = 0;
        err = take(&orders, &order);
        if (err == 0)
            err = bill((int)ac_int_of(number), order);
        if (err == 0)
            err = ac_waitgroup_done(&open_orders);
    }
    return ac_result(err);
}

static ac_value shop(ac_value unused) {
    for (int i = 1; i <= CLERKS; i++)
        ac_spawn(clerk, i, .name = "clerk", .daemon = true);
    ac_print("open\n");
    int err = ac_event_set(&opening);
    for (int order = 1; order <= ORDERS && err == 0; order++) {
        err = ac_waitgroup_add(&open_orders, 1);
        if (err == 0)
            err = put(&orders, order);
        if (order == ORDERS / 2)
            ac_spawn(change_prices, ac_nil);
    }
    if (err == 0)
        err = ac_waitgroup_wait(&open_orders, AC_FOREVER);
    ac_print("closed, %u connections idle\n", idle.count);
    return ac_result(err);
}

int main(void) {
    ac_spawn(shop, ac_nil);
    return ac_run();
}
