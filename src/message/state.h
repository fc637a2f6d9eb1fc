// SPDX-License-Identifier: MIT
// What the files of message/ share: the state of one loop, and the cells in which messages wait.
//
// A cell belongs to one of: the free list of its loop, the mailbox of a coroutine of that loop, or
// a monitor that keeps it back for its notice. The free list is last in, first out: however many
// cells a burst has made, later rounds use the few that were used last and are still in the cache.
// Cells go back to the system with their loop.
#ifndef MESSAGE_STATE_H
#define MESSAGE_STATE_H

#include "message/message.h"

struct cell {
    struct cell *next; // in the mailbox, or in the free list
    ac_value message;  // owned while it is in a mailbox
};

struct cell_chunk;    // private to mailbox.c: a run of cells
struct channel_table; // private to channel.c

// What message/ hangs on a loop.
struct message_state {
    struct cell *free;               // cells to use again, the latest first
    struct cell *fresh;              // cells of the latest chunk that were never used
    struct cell *fresh_end;          // one behind the last of them
    struct cell_chunk *chunks;       // all of them, the latest first
    const struct message_door *door; // NULL: none
    struct channel_table *channels;  // NULL until the first channel is opened
    struct map forwards;             // private to cross.c: by ac_ref of a coroutine elsewhere
};

// The state of the loop, made if there is none; NULL if there is no memory.
struct message_state *message_state_need(struct loop *loop);
static inline struct message_state *message_state(const struct loop *loop) {
    return loop->extra[LOOP_MESSAGE].state;
}

// What a public call returns for a reference that names nothing: the error with which it was not
// made, or -ENOTSUP.
static inline int ref_refuse(ac_ref none) {
    int err = ac_ref_error(none);
    return err < 0 ? err : -ENOTSUP;
}

// A cell that was never used; NULL if there is no memory. For cell_take alone.
struct cell *cell_fresh(struct loop *loop);
// A cell that nobody uses; NULL if there is no memory.
static inline struct cell *cell_take(struct loop *loop) {
    struct message_state *state = message_state(loop);
    struct cell *cell = likely(state != NULL) ? state->free : NULL;
    if (unlikely(!cell))
        return cell_fresh(loop);
    state->free = cell->next;
    return cell;
}
static inline void cell_give(struct loop *loop, struct cell *cell) {
    struct message_state *state = message_state(loop);
    cell->next = state->free;
    state->free = cell;
}

// As mailbox_put, with a cell that was taken before, so that it cannot fail: the coroutine lives
// and the message is valid.
void mailbox_put_cell(struct coro *to, struct cell *cell, ac_value message);

// ---- slot.c: what the references of a sort name in a loop; all zero is empty ----

struct slot; // private
struct slot_table {
    struct slot *slots;
    uint32_t count;    // slots ever used
    uint32_t capacity; // slots there is room for
    uint32_t free;     // index of the slot to use again first, plus one; 0: none
};

// Gives `it`, which is not NULL, a slot and so an id. 0; -ENOMEM; -EAGAIN (2^24 at once).
int slot_take(struct slot_table *table, const struct loop *loop, enum ref_sort sort, void *it,
              uint64_t *id);
// The id names nothing any more.
void slot_give(struct slot_table *table, uint64_t id);
// What an id of this loop and sort names, or NULL.
void *slot_find(const struct slot_table *table, uint64_t id);
// Visits what is in the table: *cursor starts at 0. NULL after the last. What was visited may be
// taken out meanwhile.
void *slot_next(const struct slot_table *table, uint32_t *cursor);
void slot_table_done(struct slot_table *table);

// ---- cross.c: references that are not of this loop; as in struct message_door ----

int elsewhere_send(struct loop *loop, ac_ref to, ac_value message, bool may_wait);
int elsewhere_deliver(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
int elsewhere_monitor(struct loop *loop, ac_ref of);
int elsewhere_subscribe(struct loop *loop, ac_ref channel, ac_ref who, bool on);
// From a thread without a loop. Takes the message. 0; -ESRCH if there is no such loop or coroutine
// in this process; -ENOMEM; -ENOTSUP.
int elsewhere_send_foreign(ac_ref to, ac_value message);

// ---- channel.c ----

// Hands a message to all coroutines below a channel of this loop. Takes it. Returns how many have
// it in their mailbox and stores 0 in *missed, or the error for which at least one more has not; or
// returns -ESRCH, or -EBUSY while another message is on its way down.
int channel_put(struct loop *loop, ac_ref channel, ac_value message, int *missed);
// The loop ends: closes what is open. No coroutine is left.
void channel_table_destroy(struct channel_table *table);

#endif
