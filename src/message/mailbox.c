// SPDX-License-Identifier: MIT
// Mailboxes: what happens when a message is sent and received.
//
// A mailbox is a queue of cells whose ends are in the record of its coroutine. Whoever waits in
// ac_receive has an empty mailbox, and the next message goes past it, straight into the variable of
// the receiver. So a round trip within one loop needs no memory and no look-up but the slot table
// of coroutines:
//
//      ac_send ---> the receiver waits ---> its variable, and it becomes ready
//         |
//         +-------> it does not -----------> a cell at the end of its mailbox
//         |
//         +-------> a channel -------------> each of the above for all below it (channel.c)
//         |
//         +-------> not of this loop ------> the door, that is remote/
//
// The cells belong to the loop (see state.h). This file is about mailboxes that need nothing else;
// for the others coro->mail_slow is set and their messages go through mailbox_put_slowly and
// take_oldest. A coroutine that has ended has it set, too. So the common way asks one question for
// all of them.
#include "message/state.h"

enum { CHUNK_CELLS = 680 }; // 16 KiB less what the allocator needs

struct cell_chunk {
    struct cell_chunk *next;
    struct cell cells[CHUNK_CELLS];
};

static inline int put(struct coro *to, ac_value message, enum room room);
static inline int hand_over(struct coro *to, ac_value message);
static inline void append(struct coro *to, struct cell *cell, ac_value message);
static int deliver_to_channel(struct loop *loop, ac_ref to, ac_value message);
static int receive_slowly(struct coro *coro, ac_value *message, ac_time deadline);
static inline int take_first(struct coro *coro, ac_value *message);
static int take_oldest(struct coro *coro, ac_value *message);
static bool leave_receive(struct coro *coro);
static void bury(struct coro *coro, ac_value message);
static void end_state(struct loop *loop, void *it);

// coro->wait_for is the variable of the receiver.
static const struct wait_kind receiving = {.name = "receive", .abandon = leave_receive};

// ---- sending ----

int ac_send_value(ac_ref to, ac_value message) {
    struct loop *loop = loop_here;
    if (unlikely(!loop || to.peer != loop->peer))
        return message_send(to, message, AC_FOREVER);
    // One comparison sees both the sort and the number of the loop.
    if (likely((uint8_t)to.id == loop->tag)) {
        struct coro *coro = coro_find_quickly(loop, to.id);
        if (likely(coro != NULL))
            return put(coro, message, ROOM_WAIT);
    } else if (to.id == loop->seen_id && loop->seen_left > 0 && value_is_plain(message)) {
        // To one on another loop who is known to live, and a value without memory: what is left to
        // do is to write it down.
        loop->seen_left--;
        return team_send(loop->seen_lane, to.id, message);
    }
    return message_send(to, message, AC_FOREVER);
}

int ac_try_send_value(ac_ref to, ac_value message) { return message_send(to, message, AC_NOW); }

int ac_deliver_value(ac_ref to, ac_value message, ac_time deadline) {
    struct loop *loop = loop_here;
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    if (!ac_ref_is(to))
        return message_refuse(message, ref_refuse(to));
    if (!loop)
        return message_refuse(message, -ESRCH);
    if (ref_is_here(loop, to))
        return message_deliver_here(loop, to, message);
    return elsewhere_deliver(loop, to, message, deadline);
}

int message_deliver_here(struct loop *loop, ac_ref to, ac_value message) {
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    if (!ref_is_here(loop, to))
        return message_refuse(message, -ESRCH);
    int err = -ENOTSUP;
    switch (ref_sort(to.id)) {
    case REF_COROUTINE: {
        struct coro *coro = coro_find(loop, to.id);
        err = coro ? put(coro, message, ROOM_REFUSE) : message_refuse(message, -ESRCH);
        break;
    }
    case REF_ANSWER: err = answer_put(loop, to, message); break;
    case REF_CHANNEL: return deliver_to_channel(loop, to, message);
    case REF_FUNCTION: ac_drop(message); break;
    }
    return err ? err : 1;
}

static int deliver_to_channel(struct loop *loop, ac_ref to, ac_value message) {
    int missed;
    int count = channel_put(loop, to, message, &missed);
    return count ? count : missed;
}

int message_arrive(struct loop *loop, ac_ref to, ac_value message, bool promised) {
    ac_value copy = ac_hold(message);
    enum ref_sort sort = ref_sort(to.id);
    struct coro *coro = sort == REF_COROUTINE ? coro_find(loop, to.id) : NULL;
    int missed = 0;
    int count;
    if (sort == REF_CHANNEL) {
        count = channel_put(loop, to, message, &missed);
    } else if (coro) {
        missed = put(coro, message, promised ? ROOM_ALWAYS : ROOM_REFUSE);
        count = missed ? 0 : 1;
    } else {
        count = message_deliver_here(loop, to, message);
    }
    // An answer, and what did not fit below a channel, are counted where that is found.
    int err = count < 0 ? count : missed;
    if (err == -ESRCH && sort != REF_ANSWER)
        dead_letter(loop, AC_DEAD_ENDED, to, copy);
    else if (err == -ENOBUFS && sort == REF_COROUTINE)
        dead_letter(loop, AC_DEAD_FULL, to, copy);
    else if (err == -ENOMEM)
        dead_letter(loop, AC_DEAD_NO_MEMORY, to, copy);
    else
        ac_drop(copy);
    return count ? count : missed;
}

int mailbox_put(struct coro *to, ac_value message) { return put(to, message, ROOM_ALWAYS); }

static __attribute__((noinline)) bool arrive_slowly(struct loop *loop, uint64_t id,
                                                    ac_value message, bool at_home) {
    if (at_home)
        (void)message_arrive(loop, (ac_ref){loop->peer, id}, message, false);
    return at_home;
}

// A message from another loop needs nothing as a rule but a waiting receiver or a cell that is
// free.
bool mailbox_arrived(struct loop *loop, uint64_t id, ac_value message, bool at_home) {
    struct coro *to = ref_sort(id) == REF_COROUTINE ? coro_find_quickly(loop, id) : NULL;
    if (unlikely(!to))
        return arrive_slowly(loop, id, message, at_home);
    if (to->wait == &receiving)
        return hand_over(to, message) == 0;
    struct message_state *state = message_state(loop);
    if (unlikely(to->mail_slow || !state || !state->free))
        return arrive_slowly(loop, id, message, at_home);
    struct cell *cell = state->free;
    state->free = cell->next;
    append(to, cell, message);
    return true;
}

int mailbox_offer(struct coro *to, ac_value message) { return put(to, message, ROOM_REFUSE); }

void mailbox_put_cell(struct coro *to, struct cell *cell, ac_value message) {
    if (to->wait == &receiving) {
        cell_give(to->loop, cell);
        hand_over(to, message);
    } else if (to->mail_slow) {
        struct offer offer = {.message = message};
        if (to->wait == &choosing && choice_offer(to, &offer))
            cell_give(to->loop, cell);
        else
            mailbox_append(to, cell, &offer);
    } else {
        append(to, cell, message);
    }
}

// The ways below are calls in the last place, so that the common one needs no stack frame.
static inline int put(struct coro *to, ac_value message, enum room room) {
    if (unlikely(message.kind == AC_INVALID))
        return ac_error_of(message);
    if (to->wait == &receiving)
        return hand_over(to, message);
    struct message_state *state = message_state(to->loop);
    if (unlikely(to->mail_slow || !state || !state->free))
        return mailbox_put_slowly(to, message, room, AC_FOREVER);
    struct cell *cell = state->free;
    state->free = cell->next;
    append(to, cell, message);
    return 0;
}

// To a coroutine that waits in ac_receive.
static inline int hand_over(struct coro *to, ac_value message) {
    *(ac_value *)to->wait_for = message;
    return coro_wake(to, 0);
}

int mailbox_put_slowly(struct coro *to, ac_value message, enum room room, ac_time deadline) {
    if (to->state != CORO_ALIVE)
        return message_refuse(message, -ESRCH);
    struct offer offer = {.message = message};
    if (to->wait == &choosing && choice_offer(to, &offer))
        return 0;
    if (room != ROOM_ALWAYS && !limit_has_room(to, message))
        return limit_reached(to, &offer, room, deadline);
    struct cell *cell = to->mail_count < UINT32_MAX ? cell_take(to->loop) : NULL;
    if (!cell)
        return message_refuse(message, -ENOMEM);
    mailbox_append(to, cell, &offer);
    return 0;
}

void mailbox_append(struct coro *to, struct cell *cell, struct offer *offer) {
    // Nobody is asked twice about it. Sorted messages are older than all that are not.
    if (offer->asked && sort_cells(to) && sort_append(to, offer))
        cell_give(to->loop, cell);
    else
        append(to, cell, offer->message);
    limit_came(to, offer->message);
}

static inline void append(struct coro *to, struct cell *cell, ac_value message) {
    cell->next = NULL;
    cell->message = message;
    struct cell *tail = to->mail_tail;
    if (tail) {
        tail->next = cell;
    } else {
        to->mail_head = cell;
        to->mail_done = mailbox_close;
        to->end_slow = true;
    }
    to->mail_tail = cell;
    to->mail_count++;
}

int message_refuse(ac_value message, int err) {
    ac_drop(message);
    return err;
}

// The ways that are not worth a fast one.
__attribute__((noinline)) int message_send(ac_ref to, ac_value message, ac_time deadline) {
    struct loop *loop = loop_here;
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    if (!ac_ref_is(to))
        return message_refuse(message, ref_refuse(to));
    if (!loop)
        return elsewhere_send_foreign(to, message);
    if (!ref_is_here(loop, to))
        return elsewhere_send(loop, to, message, deadline);
    if (ref_sort(to.id) == REF_COROUTINE) {
        struct coro *coro = coro_find(loop, to.id);
        if (!coro)
            return message_refuse(message, -ESRCH);
        return coro->wait == &receiving ? hand_over(coro, message)
                                        : mailbox_put_slowly(coro, message, ROOM_WAIT, deadline);
    }
    if (ref_sort(to.id) == REF_CHANNEL) {
        int missed;
        int count = channel_put(loop, to, message, &missed);
        return count < 0 ? count : missed == -ENOBUFS ? 0 : missed;
    }
    int count = message_deliver_here(loop, to, message);
    return count < 0 ? count : 0;
}

// ---- receiving ----

// Whether nothing is to be asked of the receiver but for his mail.
static inline bool receives_plainly(const struct coro *coro) {
    const struct coro slow = {.cancelled = true, .small = true, .mail_slow = true};
    return !(coro->life & slow.life);
}

int ac_receive(ac_value *message, ac_time deadline) {
    struct coro *coro = coro_here();
    if (unlikely(!coro || !message))
        return coro ? -EINVAL : -EPERM;
    if (unlikely(!receives_plainly(coro)))
        return receive_slowly(coro, message, deadline);
    if (coro->mail_count > 0)
        return take_first(coro, message);
    if (deadline != AC_FOREVER)
        return receive_slowly(coro, message, deadline);
    if (unlikely(!coro->loop->ready_head) && team_take(coro->loop, coro, message))
        return 0;
    coro->wait_for = message;
    return coro_wait_for_ever(coro, &receiving);
}

// With a deadline, after a cancellation, or from a mailbox that is limited or sorted.
static __attribute__((noinline)) int receive_slowly(struct coro *coro, ac_value *message,
                                                    ac_time deadline) {
    int err = coro_may_try(coro, deadline);
    if (err)
        return err;
    if (coro->mail_count > 0)
        return coro->mail_slow ? take_oldest(coro, message) : take_first(coro, message);
    err = coro_may_wait(coro, deadline);
    if (err)
        return err;
    coro->wait_for = message;
    return coro_wait(coro, &receiving, deadline);
}

static inline int take_first(struct coro *coro, ac_value *message) {
    struct cell *cell = coro->mail_head;
    coro->mail_head = cell->next;
    if (!cell->next)
        coro->mail_tail = NULL;
    coro->mail_count--;
    *message = cell->message;
    cell_give(coro->loop, cell);
    return 0;
}

static int take_oldest(struct coro *coro, ac_value *message) {
    struct mail *mail = coro->mail_more;
    struct list *oldest = list_first(&mail->sorted);
    if (oldest)
        sort_take(coro, container_of(oldest, struct sorted, of_all), message);
    else
        take_first(coro, message);
    limit_left(coro, *message);
    return 0;
}

void mailbox_prepend(struct coro *to, struct cell *cell) {
    cell->next = to->mail_head;
    to->mail_head = cell;
    if (!cell->next)
        to->mail_tail = cell;
    to->mail_count++;
}

void mailbox_take(struct coro *coro, struct cell *before, struct cell *cell, ac_value *message) {
    if (!before) {
        take_first(coro, message);
    } else {
        before->next = cell->next;
        if (!cell->next)
            coro->mail_tail = before;
        coro->mail_count--;
        *message = cell->message;
        cell_give(coro->loop, cell);
    }
}

size_t ac_mailbox_count(void) {
    struct coro *coro = coro_here();
    return coro ? coro->mail_count : 0;
}

// The receiver is in no queue: that it no longer waits is all there is to tell.
static bool leave_receive(struct coro *coro) {
    (void)coro;
    return true;
}

// ---- the end of a coroutine ----

void mailbox_close(struct coro *coro) {
    if (coro->mail_count > 0)
        trace(TRACE_MESSAGE, "coroutine '%s' ends with %llu messages unread",
              coro->name ? coro->name : "", (unsigned long long)coro->mail_count);
    ac_value message;
    struct list *link;
    struct mail *mail = coro->mail_more;
    while (mail && (link = list_first(&mail->sorted))) {
        sort_take(coro, container_of(link, struct sorted, of_all), &message);
        bury(coro, message);
    }
    while (coro->mail_head) {
        take_first(coro, &message);
        bury(coro, message);
    }
    if (mail)
        mail_close(coro);
    coro->mail_done = NULL;
}

// A message that nobody has read. What the library's own coroutines leave was not meant for users.
static void bury(struct coro *coro, ac_value message) {
    if (coro->internal)
        ac_drop(message);
    else
        dead_letter(coro->loop, AC_DEAD_UNREAD, coro_ref(coro), message);
}

// ---- cells, and the state of a loop ----

struct cell *cell_fresh(struct loop *loop) {
    struct message_state *state = message_state_need(loop);
    if (!state)
        return NULL;
    if (state->fresh == state->fresh_end) {
        bool too_many = state->cells > UINT32_MAX - CHUNK_CELLS;
        struct cell_chunk *chunk = too_many ? NULL : memory_allocate(sizeof *chunk);
        if (!chunk)
            return NULL;
        state->cells += CHUNK_CELLS;
        chunk->next = state->chunks;
        state->chunks = chunk;
        state->fresh = chunk->cells;
        state->fresh_end = chunk->cells + CHUNK_CELLS;
    }
    return state->fresh++;
}

struct message_state *message_state_need(struct loop *loop) {
    struct message_state *state = message_state(loop);
    if (state)
        return state;
    state = memory_allocate_zeroed(sizeof *state);
    if (!state)
        return NULL;
    map_init(&state->relays);
    map_init(&state->relay_peers);
    loop_extend(loop, LOOP_MESSAGE, (struct loop_extra){.state = state, .done = end_state});
    return state;
}

static void end_state(struct loop *loop, void *it) {
    struct message_state *state = it;
    channel_table_destroy(state->channels);
    map_done(&state->relays);
    map_done(&state->relay_peers);
    slot_table_done(&state->answers);
    for (struct cell_chunk *chunk = state->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        memory_release(chunk);
    }
    memory_release(state);
    loop->extra[LOOP_MESSAGE].state = NULL;
}

int message_set_door(struct loop *loop, const struct message_door *door) {
    struct message_state *state = message_state_need(loop);
    if (!state)
        return -ENOMEM;
    state->door = door;
    return 0;
}

const struct message_door *message_door(struct loop *loop) {
    struct message_state *state = message_state(loop);
    return state ? state->door : NULL;
}
