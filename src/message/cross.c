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
// A subscription across loops is one of a forwarder (below).
#include "message/state.h"

enum { SEEN_MESSAGES = 64 };

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
    (void)message_arrive(loop, (ac_ref){loop->peer, id}, message, false);
}

// What can be told at once of a receiver on another loop.
static int check_receiver(const struct loop *to, uint64_t id) {
    if (ref_sort(id) == REF_FUNCTION)
        return -ENOTSUP;
    return ref_sort(id) != REF_COROUTINE || coro_is_alive(to, id) ? 0 : -ESRCH;
}

// A look at the record of a coroutine that runs elsewhere costs as much as ten messages: one that
// was seen alive is believed to be for SEEN_MESSAGES, unless we are told of its end.
static int check_often(struct loop *from, const struct loop *to, uint64_t id) {
    if (from->seen_id == id && from->seen_left > 0) {
        from->seen_left--;
        return 0;
    }
    int err = check_receiver(to, id);
    from->seen_id = err < 0 ? 0 : id;
    from->seen_left = SEEN_MESSAGES;
    return err;
}

static int send_to_loop(struct loop *from, struct loop *to, uint64_t id, ac_value message) {
    int err = check_often(from, to, id);
    if (err < 0)
        return refuse(message, err);
    if (message.form != 0) // with memory
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

enum verb { SEND, DELIVER, SUBSCRIBE, UNSUBSCRIBE };

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
static int ask_loop(struct loop *at, const struct ask *what, ac_time deadline) {
    if (!coro_here())
        return refuse(what->message, -EPERM);
    struct ask *ask = memory_allocate(sizeof *ask);
    if (!ask)
        return refuse(what->message, -ENOMEM);
    *ask = *what;
    ask->errand = (struct errand){.run = run_ask,
                                  .orphaned = ask_release,
                                  .waits = what->to.peer != at->peer || what->who.peer != 0};
    ask->message = value_detach(what->message);
    if (ask->message.kind == AC_INVALID) {
        int err = ac_error_of(ask->message);
        memory_release(ask);
        return err;
    }
    int err = errand_do(at, &ask->errand, deadline);
    if (err < 0 && err != -ENOMEM)
        return err;
    err = err < 0 ? err : ask->result;
    ask_release(&ask->errand);
    return err;
}

int elsewhere_send(struct loop *loop, ac_ref to, ac_value message, ac_time deadline) {
    struct loop *there = loop_of(loop, to);
    if (there)
        return send_to_loop(loop, there, to.id, message);
    if (to.peer == loop->peer)
        return refuse(message, -ESRCH);
    const struct message_door *door = message_door(loop);
    if (door)
        return door->send(loop, to, message, deadline);
    struct loop *first = first_of(loop);
    if (first == loop)
        return refuse(message, -EHOSTUNREACH);
    if (deadline == AC_NOW)
        return refuse(message, -EAGAIN);
    return ask_loop(first, &(struct ask){.verb = SEND, .to = to, .message = message}, deadline);
}

int elsewhere_deliver(struct loop *loop, ac_ref to, ac_value message, ac_time deadline) {
    struct loop *there = loop_of(loop, to);
    const struct message_door *door = message_door(loop);
    if (!there && to.peer == loop->peer)
        return refuse(message, -ESRCH);
    if (!there && door)
        return door->deliver(loop, to, message, deadline);
    if (!there)
        there = first_of(loop);
    if (there == loop)
        return refuse(message, -EHOSTUNREACH);
    if (deadline == AC_NOW) {
        // Nothing can be known by then.
        int err = elsewhere_send(loop, to, message, AC_NOW);
        return err < 0 ? err : 0;
    }
    int err = ask_loop(
        there, &(struct ask){.verb = DELIVER, .to = to, .message = message, .deadline = deadline},
        deadline);
    return err == -ETIMEDOUT ? 0 : err;
}

// ---- monitors ----
//
// Or a far_watch is told instead of an observer, for a question (call.c).
//
// One record for both loops. It goes to the loop of the observed coroutine as a post and comes back
// with the notice as the same post. When the observer ends first, a second post follows the first
// and comes back as well; the record is free when nothing of it is on its way any more.

struct far_monitor {
    struct post post;
    struct post stop;
    struct loop *from;
    struct loop *to;
    ac_ref of;
    bool silent; // there is no notice: somebody is told instead
    // on `from`
    struct far_watch *told; // NULL: no longer
    struct coro *observer;  // NULL: it has ended
    struct end_watch observer_watch;
    struct cell *cell; // kept back for the notice
    bool stopping;     // `stop` is on its way
    bool back;         // `post` has come back
    // on `to`
    struct end_watch watch;
    bool watching;
    ac_value notice; // at first the one for want of a better one
};

static void monitor_may_end(struct far_monitor *it) {
    if (!it->back || it->stopping)
        return;
    ac_drop(it->notice);
    memory_release(it);
}

static void notice_is_back(struct post *post) {
    struct far_monitor *it = container_of(post, struct far_monitor, post);
    it->back = true;
    it->from->seen_id = 0;
    if (it->told) {
        it->told->state = NULL;
        it->told->ended(it->told, -ESRCH);
    }
    if (it->observer) {
        coro_unwatch(&it->observer_watch);
        mailbox_put_cell(it->observer, it->cell, it->notice);
        it->notice = ac_nil;
    }
    monitor_may_end(it);
}

static void send_back(struct far_monitor *it) {
    it->post.run = notice_is_back;
    team_post(it->to, it->from, &it->post);
}

static void notify(struct far_monitor *it, const struct ac_exit *exit) {
    if (it->silent) {
        send_back(it);
        return;
    }
    struct ac_exit copy = *exit;
    copy.value = ac_hold(exit->value);
    ac_value notice = value_detach(message_exit_notice(&copy));
    if (notice.kind != AC_INVALID) {
        ac_drop(it->notice);
        it->notice = notice;
    }
    send_back(it);
}

static void observed_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct far_monitor *it = container_of(watch, struct far_monitor, watch);
    it->watching = false;
    notify(it, exit);
}

static void begin_monitor(struct post *post) {
    struct far_monitor *it = container_of(post, struct far_monitor, post);
    struct coro *of = coro_find(it->to, it->of.id);
    if (!of) {
        notify(it, &(struct ac_exit){.who = it->of, .how = AC_LOST, .reason = -ESRCH});
    } else if (of->state == CORO_ENDED) {
        of->unseen &= it->silent;
        notify(it, &of->end);
    } else {
        it->watching = true;
        it->watch = (struct end_watch){.ended = observed_ended, .observes = !it->silent};
        coro_watch(of, &it->watch);
    }
}

static void stop_is_back(struct post *post) {
    struct far_monitor *it = container_of(post, struct far_monitor, stop);
    it->stopping = false;
    monitor_may_end(it);
}

static void stop_monitor(struct post *post) {
    struct far_monitor *it = container_of(post, struct far_monitor, stop);
    if (it->watching) {
        it->watching = false;
        coro_unwatch(&it->watch);
        send_back(it);
    }
    it->stop.run = stop_is_back;
    team_post(it->to, it->from, &it->stop);
}

static void stop(struct far_monitor *it) {
    it->stopping = true;
    it->stop.run = stop_monitor;
    team_post(it->from, it->to, &it->stop);
}

static void observer_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct far_monitor *it = container_of(watch, struct far_monitor, observer_watch);
    it->observer = NULL;
    cell_give(it->from, it->cell);
    stop(it);
}

int elsewhere_watch(struct loop *loop, ac_ref of, struct far_watch *watch) {
    struct loop *to = loop_of(loop, of);
    if (!to || ref_sort(of.id) != REF_COROUTINE)
        return 0;
    struct far_monitor *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->from = loop;
    it->to = to;
    it->of = of;
    it->silent = true;
    it->told = watch;
    it->notice = ac_nil;
    it->post.run = begin_monitor;
    watch->state = it;
    team_post(loop, to, &it->post);
    return 0;
}

void elsewhere_unwatch(struct far_watch *watch) {
    struct far_monitor *it = watch->state;
    watch->state = NULL;
    it->told = NULL;
    stop(it);
}

static int monitor_on(struct coro *self, struct loop *to, ac_ref of) {
    struct far_monitor *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->from = self->loop;
    it->to = to;
    it->of = of;
    it->observer = self;
    it->notice = message_exit_notice(
        &(struct ac_exit){.who = of, .how = AC_LOST, .reason = -ENOMEM});
    it->cell = cell_take(self->loop);
    if (!it->cell || it->notice.kind == AC_INVALID) {
        if (it->cell)
            cell_give(self->loop, it->cell);
        ac_drop(it->notice);
        memory_release(it);
        return -ENOMEM;
    }
    it->observer_watch.ended = observer_ended;
    coro_watch(self, &it->observer_watch);
    it->post.run = begin_monitor;
    team_post(it->from, to, &it->post);
    return 0;
}

// Stands at the first loop for an observer of another one: monitors a coroutine of another process
// and passes the notice on.
static ac_value stand_in(ac_value argument) {
    ac_ref of, observer;
    ac_value notice;
    struct ac_exit exit = {0};
    if (ac_unpack(argument, &of, &observer) < 0 || ac_monitor(observer) < 0)
        return ac_nil;
    int err = ac_monitor(of);
    if (err < 0)
        notice = message_exit_notice(&(struct ac_exit){
            .who = of, .how = AC_LOST, .reason = err == -ENOMEM ? err : -ENOTCONN});
    else if (ac_receive(&notice, AC_FOREVER) < 0)
        return ac_nil;
    if (ac_exit_of(notice, &exit))
        ac_drop(exit.value);
    if (ac_ref_equal(exit.who, of))
        err = ac_send_value(observer, notice);
    else
        ac_drop(notice);
    if (err < 0)
        trace(TRACE_MESSAGE, "an exit notice is lost: %s", ac_strerror(err));
    return ac_nil;
}

int elsewhere_monitor(struct loop *loop, ac_ref of) {
    struct loop *there = loop_of(loop, of);
    if (there)
        return monitor_on(loop->running, there, of);
    if (of.peer == loop->peer)
        return -ESRCH;
    const struct message_door *door = message_door(loop);
    if (door)
        return door->monitor(loop, of);
    struct loop *first = first_of(loop);
    if (first == loop)
        return -EHOSTUNREACH;
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    ac_ref ref = coro_spawn_away(loop, first, stand_in, ac_list(of, ac_self()), &options);
    return ac_ref_error(ref);
}

// ---- forwarders: coroutines elsewhere that are subscribed to channels here ----
//
// A forwarder, a coroutine of the library's own beside the channel, is what subscribes for them,
// once for all channels of its loop, so that who is reached through several gets a message once. It
// ends with the one it stands for.

struct forward {
    ac_ref who;
    ac_ref by;
    struct loop *loop;
    struct end_watch ended; // of the forwarder
};

static ac_value forward_all(ac_value argument) {
    struct forward *forward = ac_pointer_of(argument);
    ac_value message;
    if (ac_monitor(forward->who) < 0)
        return ac_nil;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        struct ac_exit exit;
        bool ended = false;
        if (ac_exit_of(message, &exit)) {
            ac_drop(exit.value);
            ended = ref_sort(exit.who.id) == REF_COROUTINE; // else a channel has closed
        }
        if (ended) {
            ac_drop(message);
            break;
        }
        int err = ac_send_value(forward->who, message);
        if (err < 0) {
            trace(TRACE_MESSAGE, "a message of a channel is lost: %s", ac_strerror(err));
            message_lost(forward->loop, 1);
        }
    }
    return ac_nil;
}

static void forwarder_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct forward *forward = container_of(watch, struct forward, ended);
    map_take(&message_state(forward->loop)->forwards, &forward->who, sizeof forward->who);
    memory_release(forward);
}

static int forward_need(struct loop *loop, ac_ref who, ac_ref *by) {
    struct map *forwards = &message_state_need(loop)->forwards;
    struct forward *forward = map_get(forwards, &who, sizeof who);
    if (forward) {
        *by = forward->by;
        return 0;
    }
    forward = memory_allocate_zeroed(sizeof *forward);
    int err = forward ? map_put(forwards, &who, sizeof who, forward) : -ENOMEM;
    if (err < 0)
        goto release;
    *forward = (struct forward){.who = who, .loop = loop, .ended.ended = forwarder_ended};
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    struct coro *coro = coro_create(loop, forward_all, ac_of_pointer(forward), &options, true,
                                    &err);
    if (!coro)
        goto take_out;
    coro_watch(coro, &forward->ended);
    *by = forward->by = coro_ref(coro);
    return 0;
take_out:
    map_take(forwards, &who, sizeof who);
release:
    memory_release(forward);
    return err;
}

static int forward_subscribe(struct loop *loop, ac_ref channel, ac_ref who, bool on) {
    if (!channel_is_open(loop, channel))
        return -ESRCH;
    if (ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    if (!on) {
        struct forward *forward = map_get(&message_state(loop)->forwards, &who, sizeof who);
        return forward ? ac_channel_unsubscribe(channel, forward->by) : -ENOENT;
    }
    if (!coro_is_alive(loop_of(loop, who), who.id))
        return -ESRCH;
    ac_ref by;
    int err = forward_need(loop, who, &by);
    return err < 0 ? err : ac_channel_subscribe(channel, by);
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
    return ask_loop(there,
                    &(struct ask){.verb = on ? SUBSCRIBE : UNSUBSCRIBE, .to = channel, .who = who},
                    AC_FOREVER);
}
