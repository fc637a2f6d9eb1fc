// SPDX-License-Identifier: MIT
// What the files of message/ share: the state of one loop, the cells in which messages wait, and
// what few mailboxes have beside their cells.
//
// A cell belongs to one of: the free list of its loop, the mailbox of a coroutine of that loop, or
// a monitor that keeps it back for its notice. The free list is last in, first out: however many
// cells a burst has made, later rounds use the few that were used last and are still in the cache.
// Cells go back to the system with their loop.
//
// A mailbox that is not limited, not sorted and of nobody who chooses has its cells and nothing
// else; mailbox.c alone is concerned with it. When one of these is in force coro->mail_slow is set,
// and messages go through mailbox_put_slowly. The messages of such a mailbox, the oldest first:
//
//     mail->sorted      sorted by category (sort.c)
//     coro->mail_head   not yet sorted: cells
//     mail->senders     not in the mailbox yet: each with a sender that waits for room (limit.c)
#ifndef MESSAGE_STATE_H
#define MESSAGE_STATE_H

#include "message/message.h"

struct cell {
    struct cell *next; // in the mailbox, or in the free list
    ac_value message;  // owned while it is in a mailbox
};

struct cell_chunk;    // private to mailbox.c: a run of cells
struct channel_table; // private to channel.c

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

// ---- the state of a loop, and what mailboxes are made of ----

// What message/ hangs on a loop.
struct message_state {
    struct cell *free;               // cells to use again, the latest first
    struct cell *fresh;              // cells of the latest chunk that were never used
    struct cell *fresh_end;          // one behind the last of them
    struct cell_chunk *chunks;       // all of them, the latest first
    uint32_t cells;                  // in all: fewer than 2^32, so that mailboxes can be counted
    const struct message_door *door; // NULL: none
    struct channel_table *channels;  // NULL until the first channel is opened
    struct map relays;               // private to relay.c: by ac_ref of a coroutine elsewhere
    struct map relay_peers;          // likewise: whose they are
    struct slot_table answers;       // struct call: questions that are open (call.c)
    // Of dead.c; NULL: none.
    void (*dead_hook)(enum ac_dead_reason reason, ac_ref to, ac_value message, void *context);
    void *dead_context;
};

// A message outside cells, with its category once that was asked for.
struct offer {
    ac_value message;
    int64_t category;
    bool asked;
};

// What a mailbox has that is or was limited or sorted: coro->mail_more, for the rest of the
// coroutine's life.
struct mail {
    // limit.c
    size_t limit; // 0: none
    enum ac_mailbox_policy policy;
    uint64_t notices;    // messages in the mailbox that do not count; right while there is a limit
    struct list senders; // struct sender: who waits for room, first come first served. None while
                         // there is room
    // sort.c
    ac_categorize categorize; // NULL: not sorted
    void *context;            // of categorize
    struct list sorted;       // struct sorted: the messages that have been sorted
    struct map categories;    // number -> struct category, of those that have messages
};

// A sender that waits for room in a mailbox; on its stack.
struct sender {
    struct list link; // in mail->senders
    struct coro *coro;
    struct offer offer;
    struct cell *cell; // for the message, so that nothing can fail when there is room
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

// ---- mailbox.c ----

// What becomes of a message for which a mailbox has no room.
enum room {
    ROOM_WAIT,   // its sender waits, if the mailbox is of that policy and he can: until a deadline
    ROOM_REFUSE, // -ENOBUFS: nobody waits for this one
    ROOM_ALWAYS  // it gets in nevertheless
};

// Gives a message to a coroutine of this loop. Takes it. 0; -ESRCH if the coroutine has ended;
// -ENOMEM; -ENOBUFS or -EAGAIN if there is no room. Can wait with ROOM_WAIT and a deadline other
// than AC_NOW: -ETIMEDOUT, -ECANCELED, -ESRCH.
int mailbox_put_slowly(struct coro *to, ac_value message, enum room room, ac_time deadline);
// As mailbox_put for a message of a user that cannot wait: -ENOBUFS if there is no room.
int mailbox_offer(struct coro *to, ac_value message);
// What is to be done with a message from another loop: a team_arrived.
bool mailbox_arrived(struct loop *loop, uint64_t id, ac_value message, bool at_home);
// As ac_send_value, with a deadline, which is AC_NOW for ac_try_send_value; with another one also
// -ETIMEDOUT. Takes the message. Can wait.
int message_send(ac_ref to, ac_value message, ac_time deadline);
// As mailbox_put, with a cell that was taken before, so that it cannot fail: the coroutine lives
// and the message is valid.
void mailbox_put_cell(struct coro *to, struct cell *cell, ac_value message);
// Puts what is offered at the end of a mailbox that nobody waits at. Takes the cell and the
// message.
void mailbox_append(struct coro *to, struct cell *cell, struct offer *offer);
// Puts a cell before all others, its message in it.
void mailbox_prepend(struct coro *to, struct cell *cell);
// Takes a cell out of the mailbox; `before` is the one before it, NULL if it is the first.
void mailbox_take(struct coro *coro, struct cell *before, struct cell *cell, ac_value *message);
// The coroutine has ended: all its mail goes.
void mailbox_close(struct coro *coro);
// Drops a message that is not taken and returns why.
int message_refuse(ac_value message, int err);

// ---- limit.c ----

// The mail of a coroutine, made if there is none; NULL if there is no memory.
struct mail *mail_need(struct coro *coro);
// Sets coro->mail_slow: whether the mailbox of a coroutine that does not choose is limited or
// sorted.
static inline void mail_settle(struct coro *coro) {
    const struct mail *mail = coro->mail_more;
    coro->mail_slow = mail && (mail->limit > 0 || mail->categorize);
}
// The coroutine has ended: its senders learn it.
void mail_close(struct coro *coro);
// Whether a message fits.
bool limit_has_room(const struct coro *to, ac_value message);
// There is no room for what is offered. Takes its message. As mailbox_put_slowly.
int limit_reached(struct coro *to, struct offer *offer, enum room room, ac_time deadline);
// A message has come into the mailbox, or has left it: then senders may go on.
void limit_came(struct coro *to, ac_value message);
void limit_left(struct coro *coro, ac_value message);
// Takes the message of a sender that waits, past the mailbox.
void limit_take(struct sender *sender, ac_value *message);

// ---- sort.c ----

struct sorted {              // a message, by category
    struct list of_all;      // in mail->sorted
    struct list of_category; // in category->messages
    struct category *category;
    ac_value message;
};

// The category of a offer, asked for at most once.
int64_t sort_category(const struct mail *mail, struct offer *offer);
// Sorts what is in cells. False: there is no memory to sort all of it.
bool sort_cells(struct coro *coro);
// Puts what is offered and was asked about behind the sorted messages. False: there is no memory.
bool sort_append(struct coro *to, const struct offer *offer);
// Takes a sorted message out.
void sort_take(struct coro *coro, struct sorted *it, ac_value *message);
// Takes the oldest message of a category, also of senders that wait. False: there is none.
bool sort_find(struct coro *coro, int64_t category, ac_value *message);

// ---- select.c ----

// The wait of a coroutine that chooses.
extern const struct wait_kind choosing;
// Shows what is offered to a coroutine that waits so. True: it has taken the message and wakes up.
bool choice_offer(struct coro *to, struct offer *offer);

// ---- call.c ----

// Answers the question that `to`, of this loop, names. Takes the message. 0; -ESRCH if nobody waits
// for it any more, which is counted.
int answer_put(struct loop *loop, ac_ref to, ac_value message);

// ---- dead.c ----

// Counts a dead letter and shows it to the hook. Takes the message.
void dead_letter(struct loop *loop, enum ac_dead_reason reason, ac_ref to, ac_value message);

// ---- cross.c: references that are not of this loop; as in struct message_door ----

int elsewhere_send(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
int elsewhere_deliver(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
int elsewhere_monitor(struct loop *loop, ac_ref of);
// As elsewhere_send to a coroutine, but neither waits nor refuses for want of room: behind all that
// was sent there before. Takes the message. 0: it is on its way; -ESRCH: nobody is there any more,
// which was counted as a dead letter; -ENOMEM; -ENOTSUP.
int elsewhere_pass(struct loop *loop, ac_ref to, ac_value message);
// The same, to `count` coroutines of one other process at once.
int elsewhere_pass_all(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
                       ac_value message);
// Sends a farewell behind all that was sent there before. Takes it.
void elsewhere_close(struct loop *loop, struct farewell *farewell);
// Of a channel that is not of this loop.
int elsewhere_subscribe(struct loop *loop, ac_ref channel, ac_ref who, bool on);
// From a thread without a loop. Takes the message. 0; -ESRCH if there is no such loop or coroutine
// in this process; -ENOMEM; -ENOTSUP.
int elsewhere_send_foreign(ac_ref to, ac_value message);

// ---- channel.c ----

// Hands a message to all coroutines below a channel of this loop. Takes it. Returns how many have
// it in their mailbox and stores 0 in *missed, or the error for which at least one more has not
// (-ENOBUFS: those that had no room, each of which made a dead offer); or returns -ESRCH, or
// -EBUSY while another message is on its way down.
int channel_put(struct loop *loop, ac_ref channel, ac_value message, int *missed);
// The loop ends: closes what is open. No coroutine is left.
void channel_table_destroy(struct channel_table *table);

#endif
