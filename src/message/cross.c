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
// All that one loop does to another, or through the first one to another process, goes on one lane
// and stays in order.
#include "message/state.h"

enum { SEEN_MESSAGES = 256 };

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

// What can be told at once of a receiver on another loop.
static int check_receiver(const struct loop *to, uint64_t id) {
    if (ref_sort(id) == REF_FUNCTION)
        return -ENOTSUP;
    return ref_sort(id) != REF_COROUTINE || coro_is_alive(to, id) ? 0 : -ESRCH;
}

// A look at the record of a coroutine that runs elsewhere costs as much as ten messages: one that
// was seen alive is believed to be for SEEN_MESSAGES, unless we are told of its end.
static int look(struct loop *from, struct loop *to, uint64_t id) {
    from->seen_left = 0;
    int err = check_receiver(to, id);
    if (err < 0)
        return err;
    struct lane *lane = team_lane(from, to, mailbox_arrived);
    if (!lane)
        return -ENOMEM;
    from->seen_id = id;
    from->seen_left = SEEN_MESSAGES;
    from->seen_lane = lane;
    return 0;
}

// The id 0, which no coroutine has, is that of an empty place on a lane.
static int put_on_lane(struct lane *lane, uint64_t id, ac_value message) {
    if (message.form != 0) // with memory
        message = value_detach(message);
    int err = message.kind == AC_INVALID ? ac_error_of(message)
              : id == 0                  ? -ESRCH
                                         : team_send(lane, id, message);
    return err < 0 ? refuse(message, err) : 0;
}

static int send_to_loop(struct loop *from, struct loop *to, uint64_t id, ac_value message) {
    int err = from->seen_id == id && from->seen_left > 0 ? 0 : look(from, to, id);
    if (err < 0)
        return refuse(message, err);
    from->seen_left--;
    return put_on_lane(from->seen_lane, id, message);
}

// A message from a foreign thread; or one for coroutines of another process, on its way to the
// first loop.
struct letter {
    struct post post;
    uint64_t peer;
    ac_value message;
    uint32_t count;
    uint64_t ids[];
};

// Takes the message.
static void all_dead(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
                     ac_value message) {
    for (uint32_t i = 0; i < count; i++)
        message_dead(loop, AC_DEAD_ENDED, (ac_ref){peer, ids[i]}, ac_hold(message));
    ac_drop(message);
}

static void letter_arrived(struct post *post) {
    struct letter *letter = container_of(post, struct letter, post);
    struct loop *loop = loop_here;
    const struct message_door *door = message_door(loop);
    if (letter->peer == loop->peer)
        (void)mailbox_arrived(loop, letter->ids[0], letter->message, true);
    else if (!door)
        all_dead(loop, letter->peer, letter->ids, letter->count, letter->message);
    else if (door->pass(loop, letter->peer, letter->ids, letter->count, letter->message) == -ENOMEM)
        message_lost(loop, letter->count);
    memory_release(letter);
}

// `from` is NULL for a foreign thread, with the loop caught.
static int post_letter(struct loop *from, struct loop *to, uint64_t peer, const uint64_t *ids,
                       uint32_t count, ac_value message) {
    struct letter *letter = memory_allocate(sizeof *letter + count * sizeof *ids);
    if (!letter)
        return refuse(message, -ENOMEM);
    message = value_detach(message);
    if (message.kind == AC_INVALID) {
        memory_release(letter);
        return ac_error_of(message);
    }
    *letter = (struct letter){
        .post.run = letter_arrived, .peer = peer, .message = message, .count = count};
    memcpy(letter->ids, ids, count * sizeof *ids);
    team_post(from, to, &letter->post);
    return 0;
}

int elsewhere_send_foreign(ac_ref to, ac_value message) {
    struct loop *loop = loop_catch(to.peer, ref_loop(to.id));
    if (!loop)
        return refuse(message, -ESRCH);
    int err = check_receiver(loop, to.id);
    err = err < 0 ? refuse(message, err) : post_letter(NULL, loop, to.peer, &to.id, 1, message);
    loop_let_go(loop);
    return err;
}

int elsewhere_pass(struct loop *loop, ac_ref to, ac_value message) {
    struct loop *there = loop_of(loop, to);
    if (there) {
        struct lane *lane = team_lane(loop, there, mailbox_arrived);
        return lane ? put_on_lane(lane, to.id, message) : refuse(message, -ENOMEM);
    }
    return elsewhere_pass_all(loop, to.peer, &to.id, 1, message);
}

int elsewhere_pass_all(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
                       ac_value message) {
    if (value_is_local(message) || message.kind == AC_NOTICE)
        return refuse(message, -ENOTSUP);
    const struct message_door *door = message_door(loop);
    if (door)
        return door->pass(loop, peer, ids, count, message);
    struct loop *first = first_of(loop);
    if (first != loop)
        return post_letter(loop, first, peer, ids, count, message);
    all_dead(loop, peer, ids, count, message);
    return -ESRCH;
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
    ask->errand = (struct errand){
        .run = run_ask, .orphaned = ask_release, .waits = what->to.peer != at->peer};
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
// Or a far_watch is told instead of an observer, for a question (call.c) or a relay (relay.c).
//
// One record for both loops. It goes to the loop of the observed coroutine as a post and comes back
// with the notice as the same post. When the observer ends first, a second post follows the first
// and comes back as well; the record is free when nothing of it is on its way any more. To watch
// something of another process it goes to the first loop, which has the door.

struct far_monitor {
    struct post post;
    struct post stop;
    struct loop *from;
    struct loop *to;
    ac_ref of;
    bool silent; // there is no notice: somebody is told instead
    int reason;  // what is told
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
    struct far_watch far; // of what is of another process
    ac_value notice;      // at first the one for want of a better one
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
    it->from->seen_left = 0;
    if (it->told) {
        it->told->state = NULL;
        it->told->ended(it->told, it->reason);
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

static void far_ended(struct far_watch *watch, int reason) {
    struct far_monitor *it = container_of(watch, struct far_monitor, far);
    it->reason = reason;
    send_back(it);
}

static void begin_watch_afar(struct post *post) {
    struct far_monitor *it = container_of(post, struct far_monitor, post);
    const struct message_door *door = message_door(it->to);
    it->far.ended = far_ended;
    int err = door ? door->watch(it->to, it->of, &it->far) : -EHOSTUNREACH;
    if (err < 0)
        far_ended(&it->far, err);
}

static void begin_watch_channel(struct post *post) {
    struct far_monitor *it = container_of(post, struct far_monitor, post);
    it->watching = channel_is_open(it->to, it->of);
    it->watch.ended = observed_ended;
    if (it->watching)
        channel_watch(it->to, it->of, &it->watch);
    else
        send_back(it);
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
    } else if (it->far.state) {
        message_door(it->to)->unwatch(&it->far);
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

// Whether watching this is for the door of the loop.
static bool is_for_door(struct loop *loop, ac_ref of) {
    return of.peer != loop->peer && message_door(loop);
}

int elsewhere_watch(struct loop *loop, ac_ref of, struct far_watch *watch) {
    if (is_for_door(loop, of))
        return message_door(loop)->watch(loop, of, watch);
    struct loop *to = of.peer == loop->peer ? loop_of(loop, of) : first_of(loop);
    enum ref_sort sort = ref_sort(of.id);
    if (!to || to == loop || (sort != REF_COROUTINE && sort != REF_CHANNEL))
        return 0;
    struct far_monitor *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->from = loop;
    it->to = to;
    it->of = of;
    it->silent = true;
    it->reason = -ESRCH;
    it->told = watch;
    it->notice = ac_nil;
    it->post.run = of.peer != loop->peer ? begin_watch_afar
                   : sort == REF_CHANNEL ? begin_watch_channel
                                         : begin_monitor;
    watch->state = it;
    team_post(loop, to, &it->post);
    return 0;
}

void elsewhere_unwatch(struct loop *loop, ac_ref of, struct far_watch *watch) {
    if (!watch->state)
        return;
    if (is_for_door(loop, of)) {
        message_door(loop)->unwatch(watch);
        return;
    }
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

// ---- channels ----

static void closed_there(struct post *post) {
    struct farewell *it = container_of(post, struct farewell, post);
    (void)message_arrive(loop_here, it->who, it->notice, true);
    it->notice = ac_nil;
    farewell_release(it);
}

// At the first loop.
static void close_afar(struct post *post) {
    struct farewell *it = container_of(post, struct farewell, post);
    const struct message_door *door = message_door(loop_here);
    if (door)
        door->closed(loop_here, it);
    else
        farewell_release(it);
}

void elsewhere_close(struct loop *loop, struct farewell *it) {
    struct loop *there = loop_of(loop, it->who);
    it->post.run = there ? closed_there : close_afar;
    if (there || first_of(loop) != loop)
        team_post(loop, there ? there : first_of(loop), &it->post);
    else
        close_afar(&it->post);
}

int elsewhere_subscribe(struct loop *loop, ac_ref channel, ac_ref who, bool on) {
    struct loop *there = loop_of(loop, channel);
    if (!there && channel.peer == loop->peer)
        return -ESRCH;
    const struct message_door *door = message_door(loop);
    if (!there && door)
        return door->subscribe(loop, channel, who, on);
    if (!there)
        there = first_of(loop);
    if (there == loop)
        return -EHOSTUNREACH;
    return ask_loop(there,
                    &(struct ask){.verb = on ? SUBSCRIBE : UNSUBSCRIBE, .to = channel, .who = who},
                    AC_FOREVER);
}
