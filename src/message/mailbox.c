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
// The cells belong to the loop (see state.h). There is no limit on a mailbox but memory: a send
// then gives -ENOMEM.
#include "message/state.h"

enum { CHUNK_CELLS = 680 }; // 16 KiB less what the allocator needs

struct cell_chunk {
    struct cell_chunk *next;
    struct cell cells[CHUNK_CELLS];
};

static inline int put(struct coro *to, ac_value message);
static inline int hand_over(struct coro *to, ac_value message);
static int put_slowly(struct coro *to, ac_value message);
static inline void append(struct coro *to, struct cell *cell, ac_value message);
static int refuse(ac_value message, int err);
static int send_otherwise(ac_ref to, ac_value message, bool may_wait);
static int receive_slowly(struct coro *coro, ac_value *message, ac_time deadline);
static inline int take_first(struct coro *coro, ac_value *message);
static bool leave_receive(struct coro *coro);
static void close_mailbox(struct coro *coro);
static void end_state(struct loop *loop, void *it);

// coro->wait_for is the variable of the receiver.
static const struct wait_kind receiving = {.name = "receive", .abandon = leave_receive};

// ---- sending ----

int ac_send_value(ac_ref to, ac_value message) {
    struct loop *loop = loop_here;
    // One comparison sees both the sort and the number of the loop: REF_COROUTINE is 0.
    if (likely(loop != NULL) && likely(to.peer == loop->peer) &&
        likely((uint8_t)to.id == (uint8_t)(loop->number << 2))) {
        struct coro *coro = coro_find(loop, to.id);
        if (likely(coro != NULL))
            return put(coro, message);
    }
    return send_otherwise(to, message, true);
}

int ac_try_send_value(ac_ref to, ac_value message) { return send_otherwise(to, message, false); }

int ac_deliver_value(ac_ref to, ac_value message, ac_time deadline) {
    struct loop *loop = loop_here;
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    if (!ac_ref_is(to))
        return refuse(message, ref_refuse(to));
    if (!loop)
        return refuse(message, -ESRCH);
    if (ref_is_here(loop, to))
        return message_deliver_here(loop, to, message);
    return elsewhere_deliver(loop, to, message, deadline);
}

int message_deliver_here(struct loop *loop, ac_ref to, ac_value message) {
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    if (!ref_is_here(loop, to))
        return refuse(message, -ESRCH);
    if (ref_sort(to.id) == REF_COROUTINE) {
        struct coro *coro = coro_find(loop, to.id);
        int err = coro ? put(coro, message) : refuse(message, -ESRCH);
        return err ? err : 1;
    }
    if (ref_sort(to.id) != REF_CHANNEL)
        return refuse(message, -ENOTSUP);
    int missed;
    int count = channel_put(loop, to, message, &missed);
    return count ? count : missed;
}

int mailbox_put(struct coro *to, ac_value message) { return put(to, message); }

void mailbox_put_cell(struct coro *to, struct cell *cell, ac_value message) {
    if (to->wait == &receiving) {
        cell_give(to->loop, cell);
        put(to, message);
    } else {
        append(to, cell, message);
    }
}

// The three ways below are calls in the last place, so that the common one needs no stack frame.
static inline int put(struct coro *to, ac_value message) {
    if (unlikely(message.kind == AC_INVALID))
        return ac_error_of(message);
    if (to->wait == &receiving)
        return hand_over(to, message);
    struct message_state *state = message_state(to->loop);
    if (unlikely(to->state == CORO_ENDED || !state || !state->free))
        return put_slowly(to, message);
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

static __attribute__((noinline)) int put_slowly(struct coro *to, ac_value message) {
    if (to->state == CORO_ENDED)
        return refuse(message, -ESRCH);
    struct cell *cell = cell_take(to->loop);
    if (!cell)
        return refuse(message, -ENOMEM);
    append(to, cell, message);
    return 0;
}

static inline void append(struct coro *to, struct cell *cell, ac_value message) {
    cell->next = NULL;
    cell->message = message;
    struct cell *tail = to->mail_tail;
    if (tail) {
        tail->next = cell;
    } else {
        to->mail_head = cell;
        to->mail_done = close_mailbox;
        to->end_slow = true;
    }
    to->mail_tail = cell;
    to->mail_count++;
}

static int refuse(ac_value message, int err) {
    ac_drop(message);
    return err;
}

// All that is not a living coroutine of this loop.
static __attribute__((noinline)) int send_otherwise(ac_ref to, ac_value message, bool may_wait) {
    struct loop *loop = loop_here;
    if (message.kind == AC_INVALID)
        return ac_error_of(message);
    if (!ac_ref_is(to))
        return refuse(message, ref_refuse(to));
    if (!loop)
        return elsewhere_send_foreign(to, message);
    if (!ref_is_here(loop, to))
        return elsewhere_send(loop, to, message, may_wait);
    int missed = 0;
    int count = ref_sort(to.id) == REF_CHANNEL ? channel_put(loop, to, message, &missed)
                                               : message_deliver_here(loop, to, message);
    return count < 0 ? count : missed;
}

// ---- receiving ----

int ac_receive(ac_value *message, ac_time deadline) {
    struct coro *coro = coro_here();
    if (unlikely(!coro || !message))
        return coro ? -EINVAL : -EPERM;
    if (unlikely(coro->cancelled))
        return receive_slowly(coro, message, deadline);
    if (coro->mail_head)
        return take_first(coro, message);
    if (deadline != AC_FOREVER)
        return receive_slowly(coro, message, deadline);
    coro->wait_for = message;
    return coro_wait(coro, &receiving, AC_FOREVER);
}

// With a deadline or after a cancellation. A cancelled coroutine must learn of it even if its
// mailbox never gets empty; with AC_NOW it may still take out what is there, as that is no wait.
static __attribute__((noinline)) int receive_slowly(struct coro *coro, ac_value *message,
                                                    ac_time deadline) {
    if (deadline == AC_NOW && coro->mail_head)
        return take_first(coro, message);
    int err = coro_may_wait(coro, deadline);
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

static void close_mailbox(struct coro *coro) {
    struct loop *loop = coro->loop;
    if (coro->mail_count > 0)
        trace(TRACE_MESSAGE, "coroutine '%s' ends with %llu messages unread",
              coro->name ? coro->name : "", (unsigned long long)coro->mail_count);
    for (struct cell *cell = coro->mail_head, *next; cell; cell = next) {
        next = cell->next;
        ac_drop(cell->message);
        cell_give(loop, cell);
    }
    coro->mail_head = coro->mail_tail = NULL;
    coro->mail_count = 0;
    coro->mail_done = NULL;
}

// ---- cells, and the state of a loop ----

struct cell *cell_fresh(struct loop *loop) {
    struct message_state *state = message_state_need(loop);
    if (!state)
        return NULL;
    if (state->fresh == state->fresh_end) {
        struct cell_chunk *chunk = memory_allocate(sizeof *chunk);
        if (!chunk)
            return NULL;
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
    map_init(&state->forwards);
    loop_extend(loop, LOOP_MESSAGE, (struct loop_extra){.state = state, .done = end_state});
    return state;
}

static void end_state(struct loop *loop, void *it) {
    struct message_state *state = it;
    channel_table_destroy(state->channels);
    map_done(&state->forwards);
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
