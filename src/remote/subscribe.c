// SPDX-License-Identifier: MIT
// Channels with subscribers in other processes. A subscription is asked for by the process of the
// subscriber and answered by that of the channel, where a relay (message/relay.c) stands for the
// subscriber from then on: what it is handed goes out by outbox.c, and behind it, when the channel
// closes, a CLOSED, of which the other process makes a notice.
#include "remote/remote_private.h"

// ---- where the channel is ----

static int change(ac_ref channel, ac_ref who, bool on) {
    return on ? ac_channel_subscribe(channel, who) : ac_channel_unsubscribe(channel, who);
}

static void answer(struct remote *remote, uint64_t peer, uint64_t number, int result) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, result);
    remote_tell_now(remote, peer, FRAME_ANSWER, &head, FABRIC_ALWAYS);
}

// A subscription to a channel of another loop: it waits for that one.
struct asked {
    struct end_watch watch; // of the coroutine that does it
    struct remote *remote;
    uint64_t peer;
    uint64_t number;
    ac_ref channel;
    ac_ref who;
    bool on;
    bool runs;
};

static ac_value subscribe_on_other_loop(ac_value argument) {
    struct asked *it = ac_pointer_of(argument);
    it->runs = true;
    answer(it->remote, it->peer, it->number, change(it->channel, it->who, it->on));
    return ac_nil;
}

// Perhaps it has never run, for want of a stack.
static void asked_other_loop(struct end_watch *watch, const struct ac_exit *exit) {
    struct asked *it = container_of(watch, struct asked, watch);
    if (!it->runs)
        answer(it->remote, it->peer, it->number, exit->reason);
    burden_drop(it->remote, it->peer, BURDEN_ERRANDS);
    memory_release(it);
}

static int ask_other_loop(struct remote *remote, const struct arrival *arrival) {
    if (!burden_add(remote, arrival->peer, BURDEN_ERRANDS))
        return -EAGAIN;
    struct asked *it = memory_allocate(sizeof *it);
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    int err = -ENOMEM;
    struct coro *coro = it ? coro_create(remote->host, subscribe_on_other_loop, ac_of_pointer(it),
                                         &options, true, &err)
                           : NULL;
    if (!coro) {
        burden_drop(remote, arrival->peer, BURDEN_ERRANDS);
        memory_release(it);
        return err;
    }
    *it = (struct asked){.watch.ended = asked_other_loop,
                         .remote = remote,
                         .peer = arrival->peer,
                         .number = arrival->number,
                         .channel = arrival->to,
                         .who = arrival->who,
                         .on = arrival->result};
    coro_watch(coro, &it->watch);
    return 0;
}

void subscribe_asked(struct remote *remote, const struct arrival *arrival) {
    int err;
    if (ref_is_here(remote->host, arrival->to)) {
        err = change(arrival->to, arrival->who, arrival->result);
    } else {
        err = ask_other_loop(remote, arrival);
        if (err == 0)
            return; // it answers
    }
    answer(remote, arrival->peer, arrival->number, err);
}

// ---- where the subscriber is ----

int subscribe_far(struct loop *loop, ac_ref channel, ac_ref who, bool on) {
    struct remote *remote = remote_linked(loop);
    if (!remote)
        return -EHOSTUNREACH;
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
