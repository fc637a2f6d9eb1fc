// SPDX-License-Identifier: MIT
// References elsewhere: on another loop of the team, seen from a coroutine or from a foreign
// thread, and in other processes, whose door is at the first loop.
//
// A message travels on the lane to its loop (coro/team.c), where it is put as if it had been sent
// there; before that it is copied if somebody else holds a part of it, as counts of holders belong
// to one thread. So a send costs no lock and waits for nothing; what does not arrive is a dead
// letter there. The other verbs are errands (coro/away.c) or, for monitors, a record that goes to
// and fro.
//
// A subscription across loops is one of a forwarder (forward.c).
#include "message/state.h"

static int refuse(ac_value message, int err) {
    ac_drop(message);
    return err;
}

// The loop of the team to which a reference belongs; NULL: none.
static struct loop *loop_of(struct loop *loop, ac_ref ref) {
    return loop && ref.peer == loop->peer ? team_loop(loop, ref_loop(ref.id)) : NULL;
}

// The loop where the door to other processes is.
static struct loop *first_of(struct loop *loop) { return team_loop(loop, 0); }

// ---- sending ----

static void arrived(struct loop *loop, uint64_t id, ac_value message) {
    message_arrive(loop, (ac_ref){loop->peer, id}, message);
}

// What can be told at once of a receiver on another loop.
static int check_receiver(const struct loop *to, uint64_t id) {
    if (ref_sort(id) == REF_FUNCTION)
        return -ENOTSUP;
    return ref_sort(id) != REF_COROUTINE || coro_is_alive(to, id) ? 0 : -ESRCH;
}

static int send_to_loop(struct loop *from, struct loop *to, uint64_t id, ac_value message) {
    int err = check_receiver(to, id);
    if (err < 0)
        return refuse(message, err);
    message = value_detach(message);
    err = message.kind == AC_INVALID ? ac_error_of(message)
                                     : team_send(from, to, id, message, arrived);
    return err < 0 ? refuse(message, err) : 0;
}

// A message from a foreign thread.
struct letter {
    struct post post;
    uint64_t id;
    ac_value message;
};

static void letter_arrived(struct post *post) {
    struct letter letter = *container_of(post, struct letter, post);
    memory_release(container_of(post, struct letter, post));
    arrived(loop_here, letter.id, letter.message);
}

// With the loop caught.
static int post_letter(struct loop *to, uint64_t id, ac_value message) {
    int err = check_receiver(to, id);
    struct letter *letter = err < 0 ? NULL : memory_allocate(sizeof *letter);
    if (!letter)
        return refuse(message, err < 0 ? err : -ENOMEM);
    message = value_detach(message);
    if (message.kind == AC_INVALID) {
        memory_release(letter);
        return ac_error_of(message);
    }
    *letter = (struct letter){.post.run = letter_arrived, .id = id, .message = message};
    loop_post(to, &letter->post);
    return 0;
}

int elsewhere_send_foreign(ac_ref to, ac_value message) {
    struct loop *loop = loop_catch(to.peer, ref_loop(to.id));
    if (!loop)
        return refuse(message, -ESRCH);
    int err = post_letter(loop, to.id, message);
    loop_let_go(loop);
    return err;
}

// ---- errands to the first loop, for other processes ----

enum verb { SEND, DELIVER, MONITOR, SUBSCRIBE, UNSUBSCRIBE };

struct ask {
    struct errand errand;
    enum verb verb;
    ac_ref to;
    ac_ref who;
    ac_value message; // owned until it is handed on
    ac_time deadline;
    int result;
};

static void run_ask(struct errand *errand) {
    struct ask *ask = container_of(errand, struct ask, errand);
    ac_value message = ask->message;
    ask->message = ac_nil;
    switch (ask->verb) {
    case SEND: ask->result = ac_send_value(ask->to, message); break;
    case DELIVER: ask->result = ac_deliver_value(ask->to, message, ask->deadline); break;
    case MONITOR: ask->result = -ENOTSUP; break;
    case SUBSCRIBE: ask->result = ac_channel_subscribe(ask->to, ask->who); break;
    case UNSUBSCRIBE: ask->result = ac_channel_unsubscribe(ask->to, ask->who); break;
    }
}

static void ask_release(struct errand *errand) {
    struct ask *ask = container_of(errand, struct ask, errand);
    ac_drop(ask->message);
    memory_release(ask);
}

// Has the loop `at` do what `what` says. Takes the message. Can wait.
static int ask_loop(struct loop *at, const struct ask *what) {
    if (!coro_here())
        return refuse(what->message, -EPERM);
    struct ask *ask = memory_allocate(sizeof *ask);
    if (!ask)
        return refuse(what->message, -ENOMEM);
    *ask = *what;
    ask->errand = (struct errand){.run = run_ask, .orphaned = ask_release, .waits = true};
    ask->message = value_detach(what->message);
    if (ask->message.kind == AC_INVALID) {
        int err = ac_error_of(ask->message);
        memory_release(ask);
        return err;
    }
    int err = errand_do(at, &ask->errand, AC_FOREVER);
    if (err < 0 && err != -ENOMEM)
        return err;
    err = err < 0 ? err : ask->result;
    ask_release(&ask->errand);
    return err;
}

int elsewhere_send(struct loop *loop, ac_ref to, ac_value message, bool may_wait) {
    struct loop *there = loop_of(loop, to);
    if (there)
        return send_to_loop(loop, there, to.id, message);
    const struct message_door *door = message_door(loop);
    if (door)
        return door->send(loop, to, message, may_wait);
    struct loop *first = first_of(loop);
    if (to.peer == loop->peer || first == loop)
        return refuse(message, to.peer == loop->peer ? -ESRCH : -EHOSTUNREACH);
    if (!may_wait)
        return refuse(message, -EAGAIN);
    return ask_loop(first, &(struct ask){.verb = SEND, .to = to, .message = message});
}

int elsewhere_deliver(struct loop *loop, ac_ref to, ac_value message, ac_time deadline) {
    struct loop *there = loop_of(loop, to);
    const struct message_door *door = message_door(loop);
    if (!there && door)
        return door->deliver(loop, to, message, deadline);
    if (!there && to.peer != loop->peer)
        there = first_of(loop);
    if (!there || there == loop)
        return refuse(message, there ? -EHOSTUNREACH : -ESRCH);
    if (deadline == AC_NOW)
        deadline = ac_now() + 1; // it is asked for, and nothing is known by then
    int err = ask_loop(there, &(struct ask){.verb = DELIVER,
                                            .to = to,
                                            .message = message,
                                            .deadline = deadline});
    return err == -ETIMEDOUT ? 0 : err;
}

int elsewhere_subscribe(struct loop *loop, ac_ref channel, ac_ref who, bool on) {
    const struct message_door *door = message_door(loop);
    struct loop *there = loop_of(loop, channel);
    if (there == loop && loop_of(loop, who))
        return forward_subscribe(loop, channel, who, on);
    if (door && (there == loop || !there))
        return door->subscribe(loop, channel, who, on);
    if (!there)
        there = first_of(loop);
    if (there == loop || ref_sort(channel.id) != REF_CHANNEL || ref_sort(who.id) != REF_COROUTINE)
        return there == loop ? -EHOSTUNREACH : -ENOTSUP;
    return ask_loop(there, &(struct ask){.verb = on ? SUBSCRIBE : UNSUBSCRIBE,
                                         .to = channel,
                                         .who = who});
}
