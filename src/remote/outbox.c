// SPDX-License-Identifier: MIT
// What channels have for coroutines of other processes. A message is queued on the link in the turn
// of its sender, so that what he sends there directly comes behind it; nobody waits then. What
// finds no room in the window, or is too large for one frame, goes into the *outbox* of the peer,
// and a coroutine, the carrier, sends from there in order, waiting for room. While there is an
// outbox, all who send to that peer wait in it for their turn; so the order stays, and a slow
// process holds up those alone who send to it.
//
// An outbox holds OUTBOX_BYTES_MAX, or one message that is larger. What comes then is a dead letter
// for each of those who do not get it (AC_DEAD_FULL), as for who has a full mailbox, and the others
// who are subscribed get it: a channel waits for nobody.
#include "remote/remote_private.h"

#define RETRY_S 0.01

struct outbox {
    struct remote *remote;
    uint64_t peer;
    size_t bytes;           // of the messages in `places`
    struct list places;     // struct door_place, the oldest first
    struct end_watch ended; // of the carrier
};

// What has a place.
enum { PLACE_MESSAGE, PLACE_FAREWELL, PLACE_SENDER };

struct held {
    struct door_place place;
    uint64_t peer;
    size_t bytes;     // that it counts
    ac_value message; // owned
    uint32_t count;
    uint64_t ids[]; // of those whom it is for
};

struct turn {
    struct door_place place;
    struct coro *coro; // who waits for it; this lies on its stack
};

static bool abandon_turn(struct coro *coro);
static void retry_farewell(struct post *post);
static struct outbox *outbox_need(struct remote *remote, uint64_t peer);

static const struct wait_kind turn_wait = {"window", abandon_turn, .until_deadline = false};

size_t outbox_bytes(const struct remote *remote, uint64_t peer) {
    const struct outbox *outbox = outbox_of(remote, peer);
    return outbox ? outbox->bytes : 0;
}

// ---- those who wait for their turn ----

static bool abandon_turn(struct coro *coro) {
    struct turn *turn = coro->wait_for;
    list_remove(&turn->place.link);
    return true;
}

int outbox_wait(struct remote *remote, uint64_t peer, ac_time deadline) {
    struct outbox *outbox = outbox_of(remote, peer);
    if (likely(!outbox))
        return 0;
    if (deadline == AC_NOW)
        return -EAGAIN;
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct turn turn = {.place.kind = PLACE_SENDER, .coro = self};
    list_append(&outbox->places, &turn.place.link);
    self->wait_for = &turn;
    return coro_wait(self, &turn_wait, deadline);
}

// ---- the notice that a channel is closed ----

// 0, -ENOMEM, or it can reach nobody.
static int send_closed(struct remote *remote, const struct farewell *it) {
    struct head head = {0};
    head_put(&head, it->channel.id);
    head_put(&head, it->who.id);
    return remote_frame_now(remote, it->who.peer, FRAME_CLOSED, &head, (ac_span){0}, FABRIC_ALWAYS);
}

// Nobody could be told that there was no memory: then it is tried until there is, or the loop ends.
void closed_far(struct loop *loop, struct farewell *it) {
    struct remote *remote = remote_linked(loop);
    struct outbox *outbox = remote ? outbox_of(remote, it->who.peer) : NULL;
    bool again = remote && !outbox && send_closed(remote, it) == -ENOMEM;
    if (again)
        outbox = outbox_need(remote, it->who.peer);
    if (outbox) {
        it->place.kind = PLACE_FAREWELL;
        list_append(&outbox->places, &it->place.link);
    } else if (again && !loop->over) {
        remote->farewells++;
        it->post.run = retry_farewell;
        loop_post(loop, &it->post);
    } else {
        farewell_release(it);
    }
}

static void retry_farewell(struct post *post) {
    remote_of(loop_here)->farewells--;
    closed_far(loop_here, container_of(post, struct farewell, post));
}

// ---- the carrier ----

// It cannot be sent. Takes the message.
static void lose(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
                 ac_value message, int err) {
    trace(TRACE_REMOTE, "a message of a channel is lost: %s", ac_strerror(err));
    enum ac_dead_reason reason = err == -ENOBUFS ? AC_DEAD_FULL : AC_DEAD_ENDED;
    for (uint32_t i = 0; i < count; i++)
        message_dead(loop, reason, (ac_ref){peer, ids[i]}, ac_hold(message));
    ac_drop(message);
}

static int send_held(struct remote *remote, const struct held *it) {
    return send_past(remote, it->peer, it->ids, it->count, it->message, AC_FOREVER);
}

static void carry_message(struct remote *remote, struct held *it) {
    int err = send_held(remote, it);
    while (err == -ENOMEM && ac_sleep(RETRY_S) == 0)
        err = send_held(remote, it);
    if (err < 0)
        lose(remote->host, it->peer, it->ids, it->count, it->message, err);
    else
        ac_drop(it->message);
    memory_release(it);
}

static void carry_farewell(struct remote *remote, struct farewell *it) {
    while (send_closed(remote, it) == -ENOMEM && ac_sleep(RETRY_S) == 0)
        continue;
    farewell_release(it);
}

static ac_value carry_all(ac_value argument) {
    struct outbox *it = ac_pointer_of(argument);
    struct list *link;
    while ((link = list_take(&it->places))) {
        struct door_place *place = container_of(link, struct door_place, link);
        switch (place->kind) {
        case PLACE_MESSAGE:
            it->bytes -= container_of(place, struct held, place)->bytes;
            carry_message(it->remote, container_of(place, struct held, place));
            break;
        case PLACE_FAREWELL:
            carry_farewell(it->remote, container_of(place, struct farewell, place));
            break;
        default: coro_wake(container_of(place, struct turn, place)->coro, 0); break;
        }
    }
    return ac_nil;
}

// Empties an outbox of which nothing is to be sent any more.
static void empty(struct outbox *it, int err) {
    struct list *link;
    it->bytes = 0;
    while ((link = list_take(&it->places))) {
        struct door_place *place = container_of(link, struct door_place, link);
        if (place->kind == PLACE_MESSAGE) {
            struct held *held = container_of(place, struct held, place);
            lose(it->remote->host, held->peer, held->ids, held->count, held->message, err);
            memory_release(held);
        } else if (place->kind == PLACE_FAREWELL) {
            farewell_release(container_of(place, struct farewell, place));
        } else {
            coro_wake(container_of(place, struct turn, place)->coro, err);
        }
    }
}

void outbox_lost(struct remote *remote, uint64_t peer) {
    struct outbox *it = outbox_of(remote, peer);
    if (it)
        empty(it, -EHOSTUNREACH);
}

// Something is left if the carrier could not begin for want of a stack.
static void carrier_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct outbox *it = container_of(watch, struct outbox, ended);
    empty(it, exit->reason < 0 ? exit->reason : -ECANCELED);
    map_take_id(&it->remote->outboxes, it->peer);
    memory_release(it);
}

static struct outbox *outbox_need(struct remote *remote, uint64_t peer) {
    struct outbox *it = outbox_of(remote, peer);
    if (it)
        return it;
    it = memory_allocate_zeroed(sizeof *it);
    if (!it || map_put_id(&remote->outboxes, peer, it) < 0)
        goto release;
    *it = (struct outbox){.remote = remote, .peer = peer, .ended.ended = carrier_ended};
    list_init(&it->places);
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    int err = 0;
    struct coro *carrier = coro_create(remote->host, carry_all, ac_of_pointer(it), &options, true,
                                       &err);
    if (carrier) {
        coro_watch(carrier, &it->ended);
        return it;
    }
    map_take_id(&remote->outboxes, peer);
release:
    memory_release(it);
    return NULL;
}

bool outbox_is_busy(const struct remote *remote) {
    return map_count(&remote->outboxes) > 0 || remote->farewells > 0;
}

// ---- passing ----

// Takes the message if it succeeds.
static int hold(struct remote *remote, uint64_t peer, const uint64_t *ids, uint32_t count,
                ac_value message) {
    uint8_t scratch[16];
    size_t own = sizeof(struct held) + count * sizeof *ids;
    size_t bytes = own + value_encoded(message, scratch).bytes;
    struct outbox *outbox = outbox_of(remote, peer);
    if (outbox && outbox->bytes > 0 &&
        (bytes > OUTBOX_BYTES_MAX || outbox->bytes > OUTBOX_BYTES_MAX - bytes))
        return -ENOBUFS;
    struct held *held = memory_allocate(own);
    outbox = held ? outbox_need(remote, peer) : NULL;
    if (!outbox) {
        memory_release(held);
        return -ENOMEM;
    }
    *held = (struct held){.place.kind = PLACE_MESSAGE,
                          .peer = peer,
                          .bytes = bytes,
                          .message = message,
                          .count = count};
    memcpy(held->ids, ids, count * sizeof *ids);
    list_append(&outbox->places, &held->place.link);
    outbox->bytes += bytes;
    return 0;
}

int pass_far(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
             ac_value message) {
    struct remote *remote = remote_linked(loop);
    int err = !remote                   ? -EHOSTUNREACH
              : outbox_of(remote, peer) ? -EAGAIN
                                        : send_past(remote, peer, ids, count, message, AC_NOW);
    if (err == -EAGAIN) {
        err = hold(remote, peer, ids, count, message);
        if (err == 0)
            return 0;
    }
    if (err == -EHOSTUNREACH || err == -ENOBUFS) {
        lose(loop, peer, ids, count, message, err);
        return err == -ENOBUFS ? err : -ESRCH;
    }
    ac_drop(message);
    return err;
}
