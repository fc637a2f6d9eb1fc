// SPDX-License-Identifier: MIT
// Channels with subscribers in other processes. Beside the channel, a coroutine elsewhere is stood
// for by a *forwarder*, a coroutine of the library's own: it is what subscribes, once for all
// channels of this process, and what it receives it sends on. So a slow subscriber holds up nobody
// but its forwarder, whoever is reached through several channels still gets a message once, and the
// rules of channels need no exception.
//
// A forwarder monitors the one it stands for, and ends with it or with its process. When a channel
// closes, the forwarder gets the notice as all subscribers do, behind what was sent before, and
// says CLOSED to the other process, which makes a notice of it. No user's notice gets into the
// mailbox of a forwarder (see walk.c), so each that is there is about one of these two.
#include "remote/remote_private.h"

#define RETRY_S 0.01

struct forward {
    struct remote *remote;
    ac_ref who;             // coroutine elsewhere
    ac_ref by;              // its forwarder here
    bool sending;           // something has left the mailbox and not yet the process
    struct end_watch ended; // of the forwarder
};

// ---- where the channel is ----

static int forward_message(struct forward *forward, ac_value message) {
    ac_value copy = ac_hold(message);
    forward->sending = true;
    int err = ac_send(forward->who, message);
    forward->sending = false;
    if (err == -EHOSTUNREACH)
        message_dead(forward->remote->host, forward->who, copy);
    else
        ac_drop(copy);
    return err;
}

// Nobody could be told that there was no memory: then it is tried until there is.
static int forward_close(struct forward *forward, ac_ref channel) {
    struct head head = {0};
    head_put(&head, channel.id);
    head_put(&head, forward->who.id);
    int err;
    forward->sending = true;
    do
        err = remote_frame_now(forward->remote, forward->who.peer, FRAME_CLOSED, &head,
                               (ac_span){0}, FABRIC_ALWAYS);
    while (err == -ENOMEM && ac_sleep(RETRY_S) == 0);
    forward->sending = false;
    return err;
}

static ac_value forward_all(ac_value argument) {
    struct forward *forward = ac_pointer_of(argument);
    int err = ac_monitor(forward->who);
    ac_value message;
    while (err != -EHOSTUNREACH && ac_receive(&message, AC_FOREVER) == 0) {
        struct ac_exit exit;
        if (ac_exit_of(message, &exit)) {
            ac_drop(exit.value);
            ac_drop(message);
            if (ref_sort(exit.who.id) != REF_CHANNEL)
                break; // the one it stands for has ended
            err = forward_close(forward, exit.who);
        } else {
            err = forward_message(forward, message);
        }
        if (err < 0)
            trace(TRACE_REMOTE, "a message of a channel is lost: %s", ac_strerror(err));
    }
    while (ac_receive(&message, AC_NOW) == 0)
        message_dead(forward->remote->host, forward->who, message);
    return ac_nil;
}

static void forwarder_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct forward *forward = container_of(watch, struct forward, ended);
    map_take(&forward->remote->forwards, &forward->who, sizeof forward->who);
    memory_release(forward);
}

// The forwarder of a coroutine, made if there is none. 0 or an error.
static int forward_need(struct remote *remote, ac_ref who, ac_ref *by) {
    struct forward *forward = map_get(&remote->forwards, &who, sizeof who);
    if (forward) {
        *by = forward->by;
        return 0;
    }
    if (map_count(&remote->forwards) >= FORWARDS_MAX)
        return -EAGAIN;
    forward = memory_allocate_zeroed(sizeof *forward);
    int err = forward ? map_put(&remote->forwards, &who, sizeof who, forward) : -ENOMEM;
    if (err < 0)
        goto release;
    *forward = (struct forward){.remote = remote, .who = who, .ended.ended = forwarder_ended};
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    struct coro *coro = coro_create(remote->host, forward_all, ac_of_pointer(forward), &options,
                                    true, &err);
    if (!coro)
        goto take_out;
    coro_watch(coro, &forward->ended);
    *by = forward->by = coro_ref(coro);
    return 0;
take_out:
    map_take(&remote->forwards, &who, sizeof who);
release:
    memory_release(forward);
    return err;
}

// Subscribes a coroutine elsewhere to a channel here, or ends that.
static int subscribe_here(struct remote *remote, ac_ref channel, ac_ref who, bool on) {
    if (ref_is_here(remote->host, channel) && !channel_is_open(remote->host, channel))
        return -ESRCH;
    if (ref_sort(who.id) != REF_COROUTINE)
        return -ENOTSUP;
    if (!on) {
        struct forward *forward = map_get(&remote->forwards, &who, sizeof who);
        return forward ? ac_channel_unsubscribe(channel, forward->by) : -ENOENT;
    }
    struct sys_address address;
    if (!remote_find(remote->host, who.peer, &address))
        return -EHOSTUNREACH;
    ac_ref by;
    int err = forward_need(remote, who, &by);
    return err < 0 ? err : ac_channel_subscribe(channel, by);
}

static void answer(struct remote *remote, uint64_t peer, uint64_t number, int result) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, result);
    (void)remote_frame_now(remote, peer, FRAME_ANSWER, &head, (ac_span){0}, FABRIC_ALWAYS);
}

// A subscription to a channel of another loop: it waits for that one.
struct asked {
    struct remote *remote;
    uint64_t peer;
    uint64_t number;
    ac_ref channel;
    ac_ref who;
    bool on;
};

static ac_value subscribe_on_other_loop(ac_value argument) {
    struct asked *it = ac_pointer_of(argument);
    answer(it->remote, it->peer, it->number,
           subscribe_here(it->remote, it->channel, it->who, it->on));
    memory_release(it);
    return ac_nil;
}

static int ask_other_loop(struct remote *remote, const struct arrival *arrival) {
    struct asked *it = memory_allocate(sizeof *it);
    if (!it)
        return -ENOMEM;
    *it = (struct asked){.remote = remote,
                         .peer = arrival->peer,
                         .number = arrival->number,
                         .channel = arrival->to,
                         .who = arrival->who,
                         .on = arrival->result};
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    int err = 0;
    if (coro_create(remote->host, subscribe_on_other_loop, ac_of_pointer(it), &options, true, &err))
        return 0;
    memory_release(it);
    return err;
}

void subscribe_asked(struct remote *remote, const struct arrival *arrival) {
    int err;
    if (ref_is_here(remote->host, arrival->to)) {
        err = subscribe_here(remote, arrival->to, arrival->who, arrival->result);
    } else {
        err = ask_other_loop(remote, arrival);
        if (err == 0)
            return; // it answers
    }
    answer(remote, arrival->peer, arrival->number, err);
}

bool subscribe_is_busy(struct remote *remote) {
    struct forward *forward;
    for (uint64_t cursor = 0; (forward = map_next(&remote->forwards, &cursor, NULL, NULL));) {
        struct coro *coro = coro_find(remote->host, forward->by.id);
        if (forward->sending || (coro && coro->mail_count > 0))
            return true;
    }
    return false;
}

// ---- where the subscriber is ----

static int subscribe_there(struct remote *remote, ac_ref channel, ac_ref who, bool on) {
    const struct loop *at = team_loop(remote->host, ref_loop(who.id));
    if (!coro_here())
        return -EPERM;
    if (!at || !coro_is_alive(at, who.id))
        return -ESRCH;
    struct asker asker = {
        .number = ++remote->number, .peer = channel.peer, .in = &remote->delivers};
    int err = map_put_id(&remote->delivers, asker.number, &asker);
    if (err < 0)
        return err;
    struct head head = {0};
    head_put(&head, asker.number);
    head_put(&head, channel.id);
    head_put(&head, who.id);
    static const uint8_t booleans[2] = {0xf4, 0xf5}; // CBOR
    err = send_frame(remote, channel.peer, FRAME_SUBSCRIBE, &head, (ac_span){&booleans[on], 1},
                     AC_FOREVER);
    if (err < 0) {
        map_take_id(&remote->delivers, asker.number);
        return err;
    }
    return asker_wait(&asker, &subscribe_wait, AC_FOREVER);
}

void subscribe_closed(struct remote *remote, const struct arrival *arrival) {
    if (ref_sort(arrival->to.id) != REF_COROUTINE || ref_sort(arrival->who.id) != REF_CHANNEL)
        return;
    struct coro *coro = ref_is_here(remote->host, arrival->to)
                            ? coro_find(remote->host, arrival->to.id)
                            : NULL;
    if (coro && coro->internal)
        return;
    struct ac_exit exit = {.who = arrival->who, .how = AC_FINISHED};
    int err = ac_try_send_value(arrival->to, message_exit_notice(&exit));
    if (err < 0)
        trace(TRACE_REMOTE, "the notice of a closed channel is lost: %s", ac_strerror(err));
}

int subscribe_far(struct loop *loop, ac_ref channel, ac_ref who, bool on) {
    struct remote *remote = remote_linked(loop);
    if (!remote)
        return -EHOSTUNREACH;
    return who.peer == loop->peer ? subscribe_there(remote, channel, who, on)
                                  : subscribe_here(remote, channel, who, on);
}
