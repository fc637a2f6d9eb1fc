// SPDX-License-Identifier: MIT
// What one program tells another of itself when it is asked: for tools that show what goes on.
//
//   48 ASK   number, what (enum remote_question)
//   49 TOLD  number, how many of these there are in all (0: whoever tells this does not know),
//   value
//
// Every program answers by itself those who may locate names, unless its options say that it does
// not want to. To REMOTE_STATE
// the guest side answers at once, also while the program computes, with what it knows of the
// network; each loop then adds what it knows, as soon as it comes home. So who has the first part
// and not the others sees a program that computes. To REMOTE_NAMES the guest side gives the whole
// answer. An answer that is no answer is an error value.
//
// Limits, as whoever asks may ask for ever: ASKS_PER_S questions of one peer are answered, others
// get -EBUSY; LINKS_TOLD_MAX peers and NAMES_TOLD_MAX names are told, with how many there are; of
// WALK_MAX coroutines the mailboxes are looked at. One who asks takes PARTS_MAX parts.
#include "remote/remote_private.h"

#include <asyncoro/debug.h>

#include <stdio.h>

enum {
    ASKS_PER_S = 8,
    LINKS_TOLD_MAX = 160,
    LINK_ITEMS = 20,
    NAMES_TOLD_MAX = 4096,
    NAMES_BYTES = 40 * 1024, // of the names in one frame
    WALK_MAX = 100 * 1000,
    PARTS_MAX = 256
};

// ---- telling: guest side ----

static void tell(struct remote *remote, uint64_t peer, uint64_t number, size_t parts,
                 ac_value value) {
    struct head head = {0};
    uint8_t scratch[16];
    int err = ac_error_of(value);
    if (value.kind == AC_INVALID) // no memory, but an error needs none
        value = ac_of_error(err, NULL);
    head_put(&head, number);
    head_put(&head, parts);
    (void)remote_frame(remote, peer, FRAME_TOLD, &head, value_encoded(value, scratch),
                       FABRIC_ALWAYS);
    ac_drop(value);
}

static ac_value link_of(const struct fabric_peer *it) {
    char id[17], address[64];
    snprintf(id, sizeof id, "%016llx", (unsigned long long)it->id);
    sys_address_text(&it->address, address);
    const ac_value items[LINK_ITEMS] = {
        ac_of("peer"),         ac_of((const char *)id),
        ac_of("name"),         ac_of((const char *)it->name),
        ac_of("address"),      ac_of((const char *)address),
        ac_of("round_trip_s"), ac_of(it->round_trip_seconds),
        ac_of("messages_in"),  ac_of(it->frames_in),
        ac_of("messages_out"), ac_of(it->frames_out),
        ac_of("bytes_in"),     ac_of(it->bytes_in),
        ac_of("bytes_out"),    ac_of(it->bytes_out),
        ac_of("queued_bytes"), ac_of(it->queued_bytes),
        ac_of("reconnects"),   ac_of(it->reconnects),
    };
    return ac_map_of(items, LINK_ITEMS / 2);
}

// The links to peers but the one who asks.
static ac_value links_of(struct remote *remote, uint64_t but) {
    ac_value links[LINKS_TOLD_MAX];
    size_t max = fabric_peers(remote->fabric, NULL, 0), count = 0;
    struct fabric_peer *peers = max ? memory_allocate(max * sizeof *peers) : NULL;
    if (max && !peers)
        return value_invalid(-ENOMEM);
    max = peers ? fabric_peers(remote->fabric, peers, max) : 0;
    for (size_t i = 0; i < max && count < LINKS_TOLD_MAX; i++)
        if (peers[i].linked && peers[i].id != but)
            links[count++] = link_of(&peers[i]);
    memory_release(peers);
    return ac_list_of(links, count);
}

static ac_value network_of(struct remote *remote, uint64_t but) {
    return ac_map(
        "what", "network", "names", map_count(&remote->names), "peers",
        fabric_peers(remote->fabric, NULL, 0), "links", links_of(remote, but), "lost",
        ac_map("gone", remote->lost_gone, "cut", remote->lost_cut, "hung", remote->lost_hung));
}

// The names from *cursor on that fit into a frame.
static ac_value some_names(struct remote *remote, uint64_t *cursor, size_t *left) {
    ac_value items[512];
    size_t count = 0, bytes = 0;
    struct name *name;
    while (*left > 0 && count < countof(items) && bytes < NAMES_BYTES &&
           (name = map_next(&remote->names, cursor, NULL, NULL))) {
        ac_value text = ac_of_text_span(name->text, name->bytes);
        if (text.kind == AC_INVALID && ac_error_of(text) == -EILSEQ)
            text = ac_of_bytes(name->text, name->bytes);
        items[count++] = ac_list(text, name->holder);
        bytes += name->bytes + 32;
        --*left;
    }
    return ac_list_of(items, count);
}

// How many frames the names take is known when the last one is made.
static void tell_names(struct remote *remote, uint64_t peer, uint64_t number) {
    size_t all = map_count(&remote->names), left = all < NAMES_TOLD_MAX ? all : NAMES_TOLD_MAX;
    uint64_t cursor = 0;
    size_t parts = 1;
    while (left > 0) {
        parts++;
        tell(remote, peer, number, 0, some_names(remote, &cursor, &left));
    }
    tell(remote, peer, number, parts, ac_of(all));
}

static bool may_ask(struct remote *remote, struct remote_peer *peer) {
    ac_time now = sys_now(guest_loop(remote->guest)->sys);
    peer->asks += (double)(now - peer->asks_filled) * 1e-9 * ASKS_PER_S;
    peer->asks_filled = now;
    if (peer->asks > ASKS_PER_S)
        peer->asks = ASKS_PER_S;
    if (peer->asks < 1)
        return false;
    peer->asks--;
    return true;
}

void ask_note_loss(struct remote *remote, int reason) {
    if (reason == -ECONNRESET)
        remote->lost_gone++;
    else if (reason == -ETIMEDOUT)
        remote->lost_hung++;
    else
        remote->lost_cut++;
}

void ask_asked(struct remote *remote, struct remote_peer *peer, struct cbor_reader *frame) {
    uint64_t number = cbor_read_unsigned(frame);
    uint64_t what = cbor_read_unsigned(frame);
    if (!cbor_read_end(frame))
        return;
    bool allowed = !remote->unseen && rights_check(remote, peer, AC_MAY_LOCATE);
    int err = !allowed ? -EACCES : may_ask(remote, peer) ? 0 : -EBUSY;
    if (err == 0 && what == REMOTE_NAMES) {
        tell_names(remote, peer->id, number);
        return;
    }
    struct arrival *arrival = NULL;
    if (err == 0)
        err = what == REMOTE_STATE ? 0 : -EINVAL;
    if (err == 0) {
        arrival = remote_arrival(remote, ARRIVED_ASKED, peer->id);
        err = arrival ? 0 : -ENOMEM;
    }
    if (err < 0) {
        tell(remote, peer->id, number, 1, ac_of_error(err, NULL));
        return;
    }
    arrival->number = number;
    fabric_measure(remote->fabric);
    tell(remote, peer->id, number, 0, network_of(remote, peer->id));
}

// ---- telling: each loop ----

struct mailboxes {
    size_t seen;
    uint64_t messages;
    uint64_t longest;
    char name[64]; // of who has that one
};

static bool look_at(const struct ac_coroutine_info *info, void *context) {
    struct mailboxes *all = context;
    all->messages += info->mailbox;
    if (info->mailbox > all->longest) {
        all->longest = info->mailbox;
        snprintf(all->name, sizeof all->name, "%s", *info->name ? info->name : info->where);
    }
    return ++all->seen < WALK_MAX;
}

static ac_value dead_letters(void) {
    ac_value items[2 * AC_DEAD_REASONS];
    size_t count = 0;
    for (int reason = 1; reason < AC_DEAD_REASONS; reason++) {
        items[2 * count] = ac_of(ac_dead_reason_name((enum ac_dead_reason)reason));
        items[2 * count++ + 1] = ac_of(ac_dead_letters((enum ac_dead_reason)reason));
    }
    return ac_map_of(items, count);
}

// Of the loop of this thread.
static ac_value loop_state(void) {
    struct ac_counters counters = {.size = sizeof counters};
    struct mailboxes all = {0};
    int err = ac_counters(&counters);
    if (err < 0)
        return ac_of_error(err, NULL);
    (void)ac_each_coroutine(look_at, &all);
    ac_value name = ac_of((const char *)all.name);
    if (name.kind == AC_INVALID && ac_error_of(name) == -EILSEQ)
        name = ac_nil;
    const ac_value items[] = {
        ac_of("what"),         ac_of("loop"),
        ac_of("loop"),         ac_of(ac_loop()),
        ac_of("coroutines"),   ac_of(counters.coroutines),
        ac_of("spawned"),      ac_of(counters.spawned),
        ac_of("turns"),        ac_of(counters.turns),
        ac_of("stack_bytes"),  ac_of(counters.stack_bytes),
        ac_of("queued"),       ac_of(all.messages),
        ac_of("longest"),      ac_of(all.longest),
        ac_of("longest_of"),   name,
        ac_of("all_counted"),  ac_of_bool(all.seen < WALK_MAX),
        ac_of("dead_letters"), dead_letters(),
    };
    return ac_map_of(items, countof(items) / 2);
}

// The way of a question to a loop and back.
struct visit {
    struct post post;
    struct remote *remote;
    struct loop *there;
    uint64_t peer;
    uint64_t number;
    uint32_t parts;
    ac_value state; // on the way back
};

static void tell_outside(struct remote *remote, uint64_t peer, uint64_t number, size_t parts,
                         ac_value value) {
    remote_enter(remote);
    tell(remote, peer, number, parts, value);
    remote_leave(remote);
}

static void visit_is_back(struct post *post) {
    struct visit *it = container_of(post, struct visit, post);
    tell_outside(it->remote, it->peer, it->number, it->parts, it->state);
    memory_release(it);
}

static void visit_is_there(struct post *post) {
    struct visit *it = container_of(post, struct visit, post);
    it->state = value_detach(loop_state());
    it->post.run = visit_is_back;
    team_post(it->there, it->remote->host, &it->post);
}

void ask_arrived(struct remote *remote, const struct arrival *arrival) {
    uint32_t loops = ac_loops(), parts = loops + 1;
    tell_outside(remote, arrival->peer, arrival->number, parts, loop_state());
    for (int nth = 1; nth <= (int)loops; nth++) {
        struct loop *there = team_nth(remote->host, nth);
        if (!there || there == remote->host)
            continue;
        struct visit *it = memory_allocate(sizeof *it);
        if (!it) {
            tell_outside(remote, arrival->peer, arrival->number, parts, ac_of_error(-ENOMEM, NULL));
            continue;
        }
        *it = (struct visit){.post.run = visit_is_there,
                             .remote = remote,
                             .there = there,
                             .peer = arrival->peer,
                             .number = arrival->number,
                             .parts = parts};
        team_post(remote->host, there, &it->post);
    }
}

// ---- asking: host side ----

struct question {
    uint64_t number;
    uint64_t peer;
    struct remote *remote;
    struct coro *coro;
    ac_value *answers; // of the caller
    size_t max;
    size_t count; // that have come
    size_t parts; // in all; 0: not known
};

static bool abandon_ask(struct coro *coro) {
    struct question *it = coro->wait_for;
    map_take_id(&it->remote->questions, it->number);
    return true;
}

static const struct wait_kind ask_wait = {"ask", abandon_ask, .until_deadline = false};

static void finish(struct question *it, int result) {
    map_take_id(&it->remote->questions, it->number);
    coro_wake(it->coro, result);
}

void ask_told(struct remote *remote, struct arrival *arrival) {
    struct question *it = map_get_id(&remote->questions, arrival->number);
    if (!it || it->peer != arrival->peer)
        return;
    int err = arrival->value.kind == AC_ERROR ? ac_error_of(arrival->value) : 0;
    if (err < 0 || it->count == it->max) {
        finish(it, err < 0 ? err : -EMSGSIZE);
        return;
    }
    it->answers[it->count++] = arrival->value;
    arrival->value = ac_nil;
    if (arrival->result > 0)
        it->parts = (size_t)arrival->result;
    if (it->parts > 0 && it->count >= it->parts)
        finish(it, 0);
}

void ask_lost(struct remote *remote, uint64_t peer) {
    struct question *it;
    for (uint64_t cursor = 0; (it = map_next(&remote->questions, &cursor, NULL, NULL));)
        if (it->peer == peer)
            finish(it, -ECONNRESET);
}

long remote_ask(uint64_t peer, enum remote_question what, ac_value *answers, size_t max,
                ac_time deadline) {
    struct coro *self = coro_here();
    struct remote *remote = self ? remote_linked(self->loop) : NULL;
    if (!remote)
        return self ? -ENOTCONN : -EPERM;
    struct question it = {.number = ++remote->number,
                          .peer = peer,
                          .remote = remote,
                          .coro = self,
                          .answers = answers,
                          .max = max < PARTS_MAX ? max : PARTS_MAX};
    struct head head = {0};
    head_put(&head, it.number);
    head_put(&head, what);
    int err = coro_may_wait(self, deadline);
    if (err == 0)
        err = remote_frame_now(remote, peer, FRAME_ASK, &head, (ac_span){0}, FABRIC_ALWAYS);
    // The answer comes through home, so it cannot have come yet.
    if (err == 0)
        err = map_put_id(&remote->questions, it.number, &it);
    if (err < 0)
        return err;
    self->wait_for = &it;
    err = (int)coro_wait(self, &ask_wait, deadline);
    if (err == 0 || (err == -ETIMEDOUT && it.count > 0))
        return (long)it.count;
    for (size_t i = 0; i < it.count; i++)
        ac_drop(answers[i]);
    return err;
}
