// SPDX-License-Identifier: MIT
// Questions and answers. A question is a record on the stack of who asks, and a slot in a table of
// the loop, which the reference given to the other side names. Whatever comes first closes the
// question and gives its slot back, so that the reference names nothing from then on:
//
//     a message to the reference      0, and it is the answer
//     the end of who was asked        -ESRCH
//     the loss of its process         -ECONNRESET
//     the end of the wait             -ETIMEDOUT, -ECANCELED
//
// Before it waits for the answer the asker may wait to send the request, and the question can be
// closed already then: the result is kept in the record for it.
//
// The end of who was asked is known by a watch here and, elsewhere, by one of another loop or by
// the door, which report it behind all that the other side sent before. Of a channel elsewhere the
// loss of its process alone is known, of one of this program nothing: who has got the request may
// still answer.
#include "message/state.h"

struct call {
    struct coro *coro; // who asks
    ac_ref self;       // the reference for the answer
    ac_ref to;         // who was asked
    ac_value *answer;  // where it is stored
    bool open;         // it has its slot, and nothing has closed it
    int result;        // once it is closed
    struct end_watch near;
    struct far_watch far;
};

static int ask(struct call *call, ac_value body, ac_time deadline);
static int open_call(struct call *call);
static int watch(struct call *call);
static void close_call(struct call *call);
static void answered(struct call *call, int result);
static bool abandon_call(struct coro *coro);

// coro->wait_for is its struct call.
static const struct wait_kind answering = {.name = "answer", .abandon = abandon_call};

int ac_call_value(ac_ref to, ac_value body, ac_value *answer, ac_time deadline) {
    struct coro *self = coro_here();
    if (body.kind == AC_INVALID)
        return ac_error_of(body);
    if (!self || !answer)
        return message_refuse(body, self ? -EINVAL : -EPERM);
    if (!ac_ref_is(to))
        return message_refuse(body, ref_refuse(to));
    if (ac_ref_equal(to, coro_ref(self)))
        return message_refuse(body, -EDEADLK);
    int err = coro_may_wait(self, deadline);
    if (err)
        return message_refuse(body, err);
    struct call call = {.coro = self, .to = to, .answer = answer};
    err = ask(&call, body, deadline);
    if (err || !call.open)
        return err;
    self->wait_for = &call;
    return coro_wait(self, &answering, deadline);
}

// Sends the request. Takes the body. The result, if the question is closed; 0 if it is open.
static int ask(struct call *call, ac_value body, ac_time deadline) {
    int err = open_call(call);
    if (err)
        return message_refuse(body, err);
    const ac_value items[2] = {ac_of_ref(call->self), body};
    err = message_send(call->to, ac_list_of(items, 2), deadline);
    if (!call->open)
        return call->result;
    if (err == 0)
        err = coro_may_wait(call->coro, deadline);
    if (err != 0)
        close_call(call);
    return err;
}

static int open_call(struct call *call) {
    struct loop *loop = call->coro->loop;
    struct message_state *state = message_state_need(loop);
    if (!state)
        return -ENOMEM;
    uint64_t id;
    int err = slot_take(&state->answers, loop, REF_ANSWER, call, &id);
    if (err)
        return err;
    call->self = (ac_ref){loop->peer, id};
    err = watch(call);
    if (err)
        slot_give(&state->answers, id);
    call->open = !err;
    return err;
}

static void close_call(struct call *call) {
    struct loop *loop = call->coro->loop;
    slot_give(&message_state(loop)->answers, call->self.id);
    coro_unwatch(&call->near);
    elsewhere_unwatch(loop, call->to, &call->far);
    call->open = false;
}

// ---- who was asked ends ----

static void near_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    answered(container_of(watch, struct call, near), -ESRCH);
}

static void far_ended(struct far_watch *watch, int reason) {
    answered(container_of(watch, struct call, far), reason);
}

// What cannot be watched is refused when the request is sent, or is a channel.
static int watch(struct call *call) {
    struct loop *loop = call->coro->loop;
    call->near = (struct end_watch){.ended = near_ended};
    call->far = (struct far_watch){.ended = far_ended};
    list_init(&call->near.link);
    bool is_coroutine = ref_sort(call->to.id) == REF_COROUTINE;
    if (!ref_is_here(loop, call->to))
        return is_coroutine || call->to.peer != loop->peer
                   ? elsewhere_watch(loop, call->to, &call->far)
                   : 0;
    struct coro *to = is_coroutine ? coro_find(loop, call->to.id) : NULL;
    if (to && to->state == CORO_ALIVE)
        coro_watch(to, &call->near);
    return 0;
}

// ---- the answer ----

int answer_put(struct loop *loop, ac_ref to, ac_value message) {
    struct message_state *state = message_state(loop);
    struct call *call = state ? slot_find(&state->answers, to.id) : NULL;
    if (!call) {
        dead_letter(loop, AC_DEAD_LATE, to, message);
        return -ESRCH;
    }
    *call->answer = message;
    answered(call, 0);
    return 0;
}

// The question is closed with a result.
static void answered(struct call *call, int result) {
    close_call(call);
    call->result = result;
    // Who was given up at the end of the loop does not wait for this any more.
    if (call->coro->wait == &answering && call->coro->wait_for == call)
        coro_wake(call->coro, result);
}

static bool abandon_call(struct coro *coro) {
    close_call(coro->wait_for);
    return true;
}
