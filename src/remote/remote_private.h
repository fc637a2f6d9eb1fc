// SPDX-License-Identifier: MIT
// What the files of remote/ share: the state of a loop's network.
//
// Two sides. The *host side* is the user's loop: all that public calls and coroutines touch. The
// *guest side* is what the fabric calls through its door, on whichever thread drives the guest,
// under the guest's lock. What both touch (`shared` below) is touched under that lock only:
// remote_enter, remote_leave. There other loops of the program come in too, but only to look
// (remote_seen).
//
// From guest to host there is one way, *arrivals*: a queue that the guest side fills and the host
// empties at home, in order. So what one peer sent arrives in order, a loss after all that came
// before it. What must be answered although the host computes (deliver to a coroutine, locate) is
// answered on the guest side; the message itself waits among the arrivals. Only the host can say
// whether a message has room in a mailbox with a limit, so that answer waits for it.
//
// Frames, their payload a sequence of CBOR items:
//
//   16 SEND      receiver id, value
//   17 DELIVER   number, receiver id, value        -> ANSWER
//   18 ANSWER    number, count or negative error
//   19 MONITOR   number, coroutine id, whether it is joined
//                                                  -> EXIT, once, later; if it is joined an UNWATCH
//                                                     follows that
//   20 EXIT      number, enum ac_end, reason, value
//   21 LOCATE    number, name, enum locate_mode    -> FOUND, now or when the name is given;
//                                                     once, or for each holder
//   22 FOUND     number, reference, or nil where nobody has the name; whether a LEFT will follow
//   23 FORGET    number of a LOCATE: neither FOUND nor LEFT are wanted any more
//   24 PIECE     stream, type, bytes in all, bytes before these, bytes: of a frame too large for
//                one, whose type and payload it carries
//   25 ABORT     stream: no more pieces will come
//   26 UNWATCH   number of a MONITOR, false: its EXIT is no longer wanted; true: it has come, and
//                the end need not be kept any longer
//   27 SUBSCRIBE number, channel id, id of a coroutine of the sender's, true; or false to
//                unsubscribe                       -> ANSWER
//   28 CLOSED    channel id, id of a coroutine of the receiver's that was subscribed to it: behind
//                all that went to it through the channel
//   29 RIGHTS    enum ac_right, together: what the receiver may have done at the sender from now
//                on; before the first one all of it
//   30 CALL      number, function id, number of a MONITOR on what it starts, or 0, value
//                                                  -> STARTED, or ANSWER with an error
//   31 STARTED   number, coroutine id
//   32 SPREAD    ids of receivers, 8 bytes each with the lowest first, as one string of bytes,
//                value: a SEND to each of them
//   33 LEFT      number of a LOCATE: the holder that was found has the name no more
//   34 CANCEL    coroutine id
//   40 FILE number, verb, argument, value: of files, see transfer.h
//   48 ASK       number, what                      -> TOLD, each part of the answer (ask.c)
//   49 TOLD      number, how many parts there are or 0, value
//
// Numbers are drawn by the one who asks. What its sender may not have done (rights.c) is refused
// with -EACCES: a DELIVER, a SUBSCRIBE and a CALL by their ANSWER, a MONITOR by an EXIT of the kind
// AC_LOST, a LOCATE by a FOUND with the error in place of the reference.
#ifndef REMOTE_REMOTE_PRIVATE_H
#define REMOTE_REMOTE_PRIVATE_H

#include "remote/remote.h"

enum frame_type {
    FRAME_SEND = 16,
    FRAME_DELIVER,
    FRAME_ANSWER,
    FRAME_MONITOR,
    FRAME_EXIT,
    FRAME_LOCATE,
    FRAME_FOUND,
    FRAME_FORGET,
    FRAME_PIECE,
    FRAME_ABORT,
    FRAME_UNWATCH,
    FRAME_SUBSCRIBE,
    FRAME_CLOSED,
    FRAME_RIGHTS,
    FRAME_CALL,
    FRAME_STARTED,
    FRAME_SPREAD,
    FRAME_LEFT,
    FRAME_CANCEL,
    FRAME_FILE = 40,
    FRAME_ASK = 48,
    FRAME_TOLD
};

// What is wanted of a LOCATE.
enum locate_mode {
    LOCATE_FOLLOW, // a FOUND for each holder, now and later
    LOCATE_ONCE,   // one, now or later, and a LEFT when it is right no more
    LOCATE_NOW     // one now, in any case
};

enum {
    NAME_BYTES_MAX = 255,
    RIGHTS = 6,                  // that there are
    PIECE_BYTES = 48 * 1024,     // of a large message in one frame
    STREAMS_MAX = 64,            // large messages of one peer on their way at once
    SENDING_MAX = 32,            // and to one peer
    OUTBOX_BYTES_MAX = 64 << 20, // of channels, that wait for one peer
    FOLLOWERS_MAX = 1 << 16,     // open LOCATEs of one peer
    CACHE_MAX = 1 << 14,         // names elsewhere that are kept
    IDLE_MONITORS_MAX = 64,      // kept for the next call
    SPARE_ARRIVALS_MAX = 1024,
    SPARE_BYTES_MAX = 256 * 1024,
    HEAD_BYTES_MAX = 96, // what stands before the value in a frame, that of a piece included
    // The window does not hold back small exit notices, so that the end of a coroutine is known
    // also where nothing is taken in.
    LIGHT_BYTES_MAX = 256,
    SPREAD_MAX = 1 << 16, // receivers of one SPREAD
    // What a peer may have waiting for the host, or under way here. Beyond FEW_ARRIVALS all that it
    // sends fills its window until the host has taken it in.
    FEW_ARRIVALS = 4096,
    ARRIVALS_MAX = 1 << 19,  // then its link is given up
    WATCHES_MAX = 1 << 18,   // its monitors here; the next one is lost at once, -ENOBUFS
    STAND_INS_MAX = 1 << 14, // of these, on coroutines of other loops
    ERRANDS_MAX = 1 << 14,   // subscriptions and calls that other loops are to do
    // Cancellations that they are to do; then its link is given up, as they have no answer. Small,
    // and no more than the coroutines that it may watch: who ends as many at once is in his right.
    CANCELS_MAX = 1 << 18,
    // Exit notices that wait for it, and the bytes of them or one that is larger; then its link is
    // given up.
    NOTICES_MAX = 1 << 18,
    NOTICES_BYTES_MAX = 1 << 28
};

// What the guest side tells the host.
enum arrival_kind {
    ARRIVED_MESSAGE,   // for `to`; `number` != 0: the host must answer that DELIVER; `result`: 1 if
                       // it was answered that the message is there
    ARRIVED_SPREAD,    // for the `count` coroutines of `ids`
    ARRIVED_ANSWER,    // to deliver `number`: `result`
    ARRIVED_MONITOR,   // `number`, of to; `result`: 1 if it is joined
    ARRIVED_CANCEL,    // to
    ARRIVED_UNWATCH,   // of the peer's monitor `number`; `result`: 1 if it has the end
    ARRIVED_EXIT,      // to monitor `number`
    ARRIVED_SUBSCRIBE, // `number`, of `who` to the channel `to`; `result`: 1, or 0 for its end
    ARRIVED_CLOSED,    // the peer's channel `who`, to which `to` was subscribed
    ARRIVED_FOUND,   // to query `number`: `to`, or the error `result`; 1: ARRIVED_LEFT will follow
    ARRIVED_LEFT,    // what was found for query `number`
    ARRIVED_CALL,    // `number`, of the function `to`; `watch`: the number of a monitor, or 0
    ARRIVED_STARTED, // for call `number`: `to`
    ARRIVED_RIGHTS,  // that the peer gives us: `result`
    ARRIVED_FILE,    // `verb`, `number`, `result` and `value`, of a FILE
    ARRIVED_ASKED,   // `number`: what the loops know is to be told
    ARRIVED_TOLD,    // to question `number`, of `result` parts or an unknown number
    ARRIVED_MET,     // the peer
    ARRIVED_LOST,    // the peer, for `result`
    ARRIVED_ROOM,    // at the peer
    ARRIVED_REACHED  // the answer to reach `number`: peer, or `result`
};

struct arrival {
    struct arrival *next;
    enum arrival_kind kind;
    uint32_t era; // of `from`, when it came
    uint64_t peer;
    struct remote_peer *from; // the record of that one; NULL: this process
    uint64_t number;
    uint64_t watch;
    ac_ref to;
    ac_ref who;
    int64_t result;
    enum ac_end how;
    uint32_t verb;
    uint32_t bytes; // of payload to be reported as taken
    size_t whole;   // of the message, if it came in pieces
    uint32_t count; // of `ids`
    uint64_t *ids;  // owned; NULL: none
    ac_value value; // owned
};

// A large message that comes in pieces.
struct stream {
    unsigned type;
    size_t total;
    struct buffer bytes;
};

// Guest side: what is kept for a peer from when it is met, or anything goes to it or comes of it,
// until it is lost and the host has taken in all that came of it.
struct remote_peer {
    uint64_t id;
    struct arrival *loss; // kept back for the notice of its loss, which must not fail for want of
                          // memory; NULL: it is lost, and the rest of this means nothing but:
    uint32_t arrivals;    // of it that wait for the host
    uint32_t era;         // how often it was lost
    uint32_t may;         // enum ac_right, together: what it may have done here
    bool linked;          // that was decided when its link was first up
    bool given_up;        // it is to be lost: nothing is taken of it any more
    struct map streams;   // number -> struct stream
    size_t streams_bytes;
    struct map follows; // number -> struct follower: the LOCATEs of it that are open
    size_t whole_bytes; // of messages that came in pieces and wait among the arrivals
    size_t withheld;    // of pieces, not reported as taken because those are too many
    double asks;        // how many questions of it may be answered
    ac_time asks_filled;
};

// Somebody elsewhere who wants to know the holder of a name.
struct follower {
    struct list link;     // in followers.all
    struct followers *of; // the name
    uint64_t peer;
    uint64_t number;
    enum locate_mode mode;
    bool told; // the present holder, and is to be told that he has left
};

struct followers { // of one name
    struct list all;
    uint32_t bytes;
    char text[];
};

// A name given here.
struct name {
    struct end_watch watch; // of a holder of this loop
    struct far_watch far;   // of one of another loop
    struct remote *remote;
    ac_ref holder;
    uint32_t bytes;
    char text[NAME_BYTES_MAX + 1];
};

// Host side: a question for the holder of a name that has not been answered, or that stays open
// (follow).
struct query {
    uint64_t number;
    struct coro *waiter; // of ac_locate; NULL: follow
    ac_ref *answer;      // where the waiter wants it: the one, or `room` of them if it `collects`
    bool collects;       // all holders of the peers that are known
    size_t room;
    size_t count;           // of those that were found
    uint64_t only;          // the one peer that is asked; 0: all of them
    ac_ref follower;        // who follows
    struct end_watch watch; // of the follower
    struct remote *remote;
    struct map asked; // peers that were asked and have not answered
    struct map told;  // holders that were reported to a follower
    int refusal;      // why a peer does not tell: -EACCES, -ENOBUFS; 0: none has said so
    uint32_t bytes;
    char name[NAME_BYTES_MAX + 1];
};

// Host side: a holder elsewhere of a name, until he is known to have left.
struct cached {
    uint64_t number; // of the query
    ac_ref holder;
    uint32_t bytes;
    char text[];
};

// Host side: a coroutine that waits for an answer with a number (deliver, reach, call).
struct asker {
    uint64_t number;
    uint64_t peer; // which answers; 0: none in particular
    struct coro *coro;
    struct map *in;   // where it is listed by its number
    uint64_t found;   // the peer that was reached, or the coroutine that was started
    uint64_t expects; // the number of the monitor of that one; 0: none
};

// Host side: a coroutine that waits for its turn to send to a peer.
struct room_waiter {
    struct list link;
    uint64_t peer;
    struct coro *coro;
};

// Host side: the large messages on their way to a peer.
struct sending {
    uint32_t count;
    size_t bytes; // of all of them
};

// Host side: a monitor on a coroutine elsewhere: of one watcher, who gets a notice, or *common*, of
// all who are told instead. One that is common and of use to nobody just now is *idle*.
struct far_monitor {
    struct end_watch watch; // of the watcher
    struct remote *remote;
    uint64_t number;
    ac_ref watcher;       // who gets a notice
    struct coro *joiner;  // who waits in ac_join instead; or NULL
    struct ac_exit *exit; // where he wants the end; may be NULL
    bool common;          // who are told are in `told`, and no watcher
    bool listed;          // common, and in remote->common
    bool over;            // those in `told` are being told
    struct list told;     // struct far_watch
    struct list idle;     // in remote->idle
    ac_ref of; // if it is common also a channel, of which nothing is asked there; its id is 0
               // until it is known what a call has started
};

// Host side: a peer's monitor on a coroutine here.
struct watcher {
    uint64_t peer;
    uint64_t number; // that the peer has drawn
};
_Static_assert(sizeof(struct watcher) == 16, "a key of the map has no padding");

// Host side: what a peer has under way here.
enum burden_kind {
    BURDEN_WATCHES,
    BURDEN_STAND_INS,
    BURDEN_ERRANDS,
    BURDEN_CANCELS,
    BURDEN_NOTICES,
    BURDENS
};
struct burden {
    uint32_t count[BURDENS];
    uint64_t notice_bytes; // of the notices
};

struct near_monitor {
    struct end_watch watch;
    bool joins;            // whoever asked says when he has the end, which is kept until then
    bool told;             // the end was sent
    bool stopped;          // nothing is wanted any more
    struct coro *stand_in; // that monitors one of another loop, and is what is watched; or NULL
    ac_ref of;             // the latter
    struct remote *remote;
    struct watcher by;
};

struct remote {
    struct loop *host;
    struct guest *guest;   // NULL: no network, names only
    struct fabric *fabric; // likewise; stored atomically, when all of the network is there
    char error[256];       // what failed when it was last started, for people
    // ---- shared ----
    struct map names;           // text -> struct name
    struct map followers;       // text -> struct followers
    struct map peers;           // id -> struct remote_peer
    struct remote_peer *latest; // of these, the one that was last asked for; or NULL
    struct arrival *first;
    struct arrival *last;
    struct post post; // runs the arrivals on the host
    bool posted;
    struct arrival *spare; // memory for more of them
    uint32_t spares;
    struct buffer spare_bytes; // for the next large message
    struct rule *rules;        // of rights.c; set before there is a fabric
    size_t rule_count;         // of them
    struct map grants;         // id of a peer -> struct grant
    struct map guards;         // id of a receiver here -> the right that it wants besides
    uint64_t refusals[RIGHTS]; // atomic: by right
    uint64_t lost;             // messages for which there was no memory, not yet told to the host
    uint64_t lost_gone;        // peers that were lost because their process has ended,
    uint64_t lost_cut;         // or the connection could not be mended,
    uint64_t lost_hung;        // or nothing was heard of them
    bool unseen;               // no question is answered; set before the network is there
    // ---- host side ----
    uint64_t number;     // the last one drawn
    struct map delivers; // number -> struct asker
    struct map reaches;  // number -> struct asker
    struct map monitors; // number -> struct far_monitor
    struct map common;   // ac_ref -> struct far_monitor: the common ones
    struct list idle;    // of these, those of use to nobody, the oldest first
    uint32_t idle_count;
    struct map queries;      // number -> struct query
    struct map questions;    // number -> struct question of ask.c
    struct map cache;        // text -> struct cached
    struct map cached;       // number -> the same
    struct list room;        // struct room_waiter: for room in the window, first come first served
    struct list begin;       // struct room_waiter: for the beginning of a large message, likewise
    struct map sending;      // peer -> struct sending
    struct map watched;      // struct watcher -> struct near_monitor
    struct map burdens;      // peer -> struct burden
    struct map outboxes;     // peer -> struct outbox
    struct map functions;    // id -> struct function: what this loop has opened
    uint32_t function_count; // opened ever
    struct map limits;       // peer -> the rights that it does not give us, as a number
    struct map present;      // id -> struct present: the peers that are met and not lost
    struct map watchers;     // coroutine -> struct peer_watcher
    struct coro *seeker;     // who seeks peers that are named; NULL: nobody
    uint32_t farewells;      // that found no memory and are tried again
    uint32_t carriers;       // coroutines that send large exit notices
    uint64_t stream;         // number of the last large message sent
    struct transfers *transfers; // of files; NULL: there were none
};

// The state of the loop; NULL if it has none, or no network.
static inline struct remote *remote_of(struct loop *loop) { return loop->extra[LOOP_REMOTE].state; }
static inline struct remote *remote_linked(struct loop *loop) {
    struct remote *remote = loop ? remote_of(loop) : NULL;
    return remote && remote->fabric ? remote : NULL;
}
// The state of the loop, made if there is none. NULL if there is no memory.
struct remote *remote_need(struct loop *loop);

// The same for all loops of the program, for a look at what is shared and at the fabric, under
// remote_enter. So nobody waits for the first loop, which may compute: what the lock is held for at
// the longest is a turn of the guest.
static inline struct remote *remote_seen(struct loop *loop) {
    struct loop *first = loop ? team_loop(loop, 0) : NULL;
    struct remote *remote = first ? loop_extra_seen(first, LOOP_REMOTE) : NULL;
    return remote && __atomic_load_n(&remote->fabric, __ATOMIC_ACQUIRE) ? remote : NULL;
}

static inline void remote_enter(struct remote *remote) {
    if (remote->guest)
        guest_enter(remote->guest);
}
static inline void remote_leave(struct remote *remote) {
    if (remote->guest)
        guest_leave(remote->guest);
}

// Frames are made of a head, written with these, and possibly an encoded value.
struct head {
    uint8_t bytes[HEAD_BYTES_MAX];
    size_t count;
    ac_span more; // behind that, and before the value
};
static inline void head_put(struct head *head, uint64_t number) {
    head->count += cbor_put_head(head->bytes + head->count, 0, number);
}
static inline void head_put_signed(struct head *head, int64_t number) {
    unsigned major = number < 0;
    head->count += cbor_put_head(head->bytes + head->count, major,
                                 major ? ~(uint64_t)number : (uint64_t)number);
}

// Sends a frame; from the host side between remote_enter and remote_leave, or from the guest side.
// As fabric_send.
int remote_frame(struct remote *remote, uint64_t peer, enum frame_type type,
                 const struct head *head, ac_span value, enum fabric_way way);
// The same from the host side, outside.
int remote_frame_now(struct remote *remote, uint64_t peer, enum frame_type type,
                     const struct head *head, ac_span value, enum fabric_way way);

// The same for what must not get lost: if there is no memory for it, the link is given up.
void remote_tell(struct remote *remote, uint64_t peer, enum frame_type type,
                 const struct head *head, enum fabric_way way);
void remote_tell_now(struct remote *remote, uint64_t peer, enum frame_type type,
                     const struct head *head, enum fabric_way way);

// Gives up the link to a peer: something of it, or for it, got lost that nobody can be told of, or
// it asks for too much. So everybody learns that it is lost. Inside the guest; or outside.
void remote_give_up(struct remote *remote, uint64_t peer);
void remote_give_up_now(struct remote *remote, uint64_t peer);

// Guest side: a new arrival at the end of the queue, to be filled in at once; NULL if there is no
// memory, or more than ARRIVALS_MAX of the peer wait there (then its link is given up).
struct arrival *remote_arrival(struct remote *remote, enum arrival_kind kind, uint64_t peer);

// Has the arrivals run on the host. Guest side.
void remote_call_host(struct remote *remote);

// ---- incoming.c: guest side ----

// A frame that is being taken apart.
struct incoming {
    struct remote *remote;
    struct remote_peer *peer;
    struct cbor_reader reader;
    uint32_t bytes; // to be reported as taken once its arrival is handled; 0 once somebody answers
                    // for them
    size_t whole;   // of what came in pieces, of which `bytes` are the last; else 0
};

// What is kept for a peer, made if there is nothing. NULL if there is no memory.
struct remote_peer *remote_peer_need(struct remote *remote, uint64_t id);
// The same if there is something; the peer may be lost. Or NULL.
static inline struct remote_peer *remote_peer_record(struct remote *remote, uint64_t id) {
    if (likely(remote->latest && remote->latest->id == id))
        return remote->latest;
    struct remote_peer *peer = map_get_id(&remote->peers, id);
    return peer ? (remote->latest = peer) : NULL;
}
// Of one that is not lost; NULL: there is none.
static inline struct remote_peer *remote_peer_find(struct remote *remote, uint64_t id) {
    struct remote_peer *peer = remote_peer_record(remote, id);
    return peer && peer->loss ? peer : NULL;
}
// As the door's `frame`.
void incoming_frame(void *up, uint64_t peer, unsigned type, const uint8_t *payload, size_t bytes);
// Answers a frame with a number.
void incoming_answer(struct incoming *in, uint64_t number, int64_t result);

// ---- rights.c ----

// Reads the rules of a network that is to start. 0; -EINVAL; -ENOMEM.
int rights_begin(struct remote *remote, const struct ac_network_options *options);
// It has not started: forgets them.
void rights_end(struct remote *remote);
void rights_done(struct remote *remote);
// Guest side. What the peer may have done, by the rules and by what the program has said.
uint32_t rights_decide(struct remote *remote, uint64_t peer);
void rights_linked(struct remote *remote, uint64_t peer);
void rights_lost(struct remote *remote, uint64_t peer);
// Whether a peer has a right, and may have a message put to a receiver here. If not, that is
// counted.
bool rights_check(struct remote *remote, const struct remote_peer *peer, enum ac_right right);
bool rights_check_message(struct remote *remote, const struct remote_peer *peer, uint64_t to);
// Host side: what a peer lets us do.
void rights_told(struct remote *remote, const struct arrival *arrival);
bool rights_missing_slowly(const struct remote *remote, uint64_t peer, enum ac_right right);
static inline bool rights_missing(const struct remote *remote, uint64_t peer, enum ac_right right) {
    return unlikely(map_count(&remote->limits) > 0) && rights_missing_slowly(remote, peer, right);
}

// ---- send.c: host side ----
int send_far(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
int deliver_far(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
// Sends a frame of any size from a coroutine, waiting for room. Can wait. As send_far.
int send_frame(struct remote *remote, uint64_t peer, enum frame_type type, const struct head *head,
               ac_span value, ac_time deadline);
// A message to `count` coroutines, past what waits in the outbox. Does not take it. As send_far,
// but with AC_NOW also -EAGAIN for one that is too large for a frame, and where others wait for
// room.
int send_past(struct remote *remote, uint64_t peer, const uint64_t *ids, uint32_t count,
              ac_value message, ac_time deadline);
void send_answered(struct remote *remote, const struct arrival *arrival);
void send_room(struct remote *remote, uint64_t peer);
void send_lost(struct remote *remote, uint64_t peer);
// The network ends: nobody will wait for room any more.
void send_stop(struct remote *remote);
// Waits for the answer with the asker's number. Returns what send_answer or the like gave, or an
// error. Can wait.
int asker_wait(struct asker *asker, const struct wait_kind *kind, ac_time deadline);
extern const struct wait_kind deliver_wait;
extern const struct wait_kind reach_wait;
extern const struct wait_kind subscribe_wait;
extern const struct wait_kind invoke_wait;

// ---- watch.c: host side ----
int monitor_far(struct loop *loop, ac_ref of);
int cancel_far(struct loop *loop, ac_ref of);
int join_far(struct loop *loop, ac_ref of, struct ac_exit *exit, ac_time deadline);
void cancel_asked(struct remote *remote, const struct arrival *arrival);
int watch_far(struct loop *loop, ac_ref of, struct far_watch *watch);
void unwatch_far(struct far_watch *watch);
// The number of a monitor of what a call at the peer is to start: `watcher` gets the notice. It is
// gone when the peer is lost. 0 and *err.
uint64_t monitor_expect(struct remote *remote, uint64_t peer, ac_ref watcher, int *err);
// Ends the monitor of a number, if there is one, without a notice; or one of a watcher.
void monitor_forget(struct remote *remote, uint64_t number);
void monitor_forget_of(struct remote *remote, ac_ref of, ac_ref watcher);
// One more of what a peer has under way here: false if that is too much, or there is no memory. One
// less.
bool burden_add(struct remote *remote, uint64_t peer, enum burden_kind kind);
void burden_drop(struct remote *remote, uint64_t peer, enum burden_kind kind);
// The same of an exit notice of so many bytes.
bool burden_add_notice(struct remote *remote, uint64_t peer, uint64_t bytes);
void burden_drop_notice(struct remote *remote, uint64_t peer, uint64_t bytes);
void watch_asked(struct remote *remote, const struct arrival *arrival);
void watch_left(struct remote *remote, const struct arrival *arrival);
void watch_exit(struct remote *remote, struct arrival *arrival);
void watch_lost(struct remote *remote, uint64_t peer, int reason);
// The network ends: who is told instead of getting a notice is told.
void watch_stop(struct remote *remote);
// Releases all monitors. Nobody is told any more: loops of the program may be gone.
void watch_done(struct remote *remote);

// ---- function.c: host side ----
bool function_is_open(struct loop *loop, ac_ref function);
// Takes the value out of the arrival.
void function_called(struct remote *remote, struct arrival *arrival);
void function_started(struct remote *remote, const struct arrival *arrival);
void functions_done(struct remote *remote);

// ---- subscribe.c: host side ----
int subscribe_far(struct loop *loop, ac_ref channel, ac_ref who, bool on);
void subscribe_asked(struct remote *remote, const struct arrival *arrival);
// A channel elsewhere is closed.
void subscribe_closed(struct remote *remote, const struct arrival *arrival);

// ---- outbox.c: host side ----
struct outbox;
// As the door's.
int pass_far(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
             ac_value message);
void closed_far(struct loop *loop, struct farewell *farewell);
// The outbox of a peer, in which something waits; NULL: nothing does.
static inline struct outbox *outbox_of(const struct remote *remote, uint64_t peer) {
    return map_count(&remote->outboxes) == 0 ? NULL : map_get_id(&remote->outboxes, peer);
}
// Waits until all has been sent that is in the outbox now. 0, also if there is none; -EAGAIN for
// AC_NOW; -EHOSTUNREACH if the peer is lost meanwhile; the errors of a wait. Can wait.
int outbox_wait(struct remote *remote, uint64_t peer, ac_time deadline);
void outbox_lost(struct remote *remote, uint64_t peer);
// How much waits there.
size_t outbox_bytes(const struct remote *remote, uint64_t peer);
// Whether messages of channels wait to leave the process.
bool outbox_is_busy(const struct remote *remote);

// ---- transfer.c: files, host side ----
struct transfers;
void transfer_arrived(struct remote *remote, struct arrival *arrival);
void transfer_lost(struct remote *remote, uint64_t peer);
void transfer_done(struct remote *remote);
// Whether a verb begins something, for which a right is needed. Guest side, as the next.
bool transfer_begins(uint64_t verb);
// It is refused.
void transfer_refuse(struct incoming *in, uint64_t number, int err);

// ---- errand.c: what other loops of the program have the first one do, which has the network ----
enum remote_verb {
    REMOTE_REGISTER,
    REMOTE_UNREGISTER,
    REMOTE_LOCATE,
    REMOTE_LOCATE_AT, // the address, a line end, and the name
    REMOTE_PEER,
    REMOTE_WATCH,   // `ref` watches the peers
    REMOTE_UNWATCH, // no longer
    REMOTE_CLOSE    // the peer of `ref`
};
// Whether the caller is on such a loop.
static inline bool remote_is_at_first(const struct loop *loop) {
    return !loop || loop->number == 0 || !loop->team;
}
// As the public call that `verb` names. `ref` is the holder, given or found. Can wait.
int remote_ask_first(struct loop *loop, enum remote_verb verb, const char *text, ac_ref *ref,
                     ac_time deadline);

// ---- names.c ----
// As ac_register at the first loop; a function of another loop is open.
int names_register(ac_ref holder, const char *name);
// What holds names, and of whose end nobody is told, has ended.
void names_holder_closed(struct remote *remote, ac_ref holder);
// Guest side.
void names_asked(struct remote *remote, struct remote_peer *peer, uint64_t number, ac_span name,
                 enum locate_mode mode);
// It may not know, -EACCES; or has too many questions open, -ENOBUFS.
void names_refuse(struct remote *remote, const struct remote_peer *peer, uint64_t number, int err);
void names_forget(struct remote *remote, struct remote_peer *peer, uint64_t number);
void names_peer_gone(struct remote *remote, struct remote_peer *peer);
// Host side.
void names_found(struct remote *remote, const struct arrival *arrival);
void names_left(struct remote *remote, const struct arrival *arrival);
void names_met(struct remote *remote, uint64_t peer);
void names_lost(struct remote *remote, uint64_t peer);
void names_done(struct remote *remote);

// ---- ask.c ----
// Guest side: a peer asks; one is lost, which is counted.
void ask_asked(struct remote *remote, struct remote_peer *peer, struct cbor_reader *frame);
void ask_note_loss(struct remote *remote, int reason);
// Host side: it has come here; an answer has come, whose value may be taken; a peer is lost.
void ask_arrived(struct remote *remote, const struct arrival *arrival);
void ask_told(struct remote *remote, struct arrival *arrival);
void ask_lost(struct remote *remote, uint64_t peer);

// ---- show.c: AC_TRACE=frame ----
// As the door's.
const char *show_describe(uint64_t to, unsigned type, const uint8_t *payload, size_t bytes,
                          char *text, size_t max);

// ---- peers.c: host side, but for what lists ----
// As ac_peer, and tells which peer answered.
int peers_find(struct remote *remote, const char *address, uint64_t *peer, ac_time deadline);
void peers_reached(struct remote *remote, const struct arrival *arrival);
// As ac_peer, on the first loop; *id: who answered.
int peers_reach(struct remote *remote, const char *address, ac_time deadline, uint64_t *id);
// A peer as users see it.
void peers_describe(const struct fabric_peer *from, struct ac_peer_info *to);

// ---- presence.c: host side ----
void presence_met(struct remote *remote, uint64_t peer);
void presence_lost(struct remote *remote, uint64_t peer, int reason);
// A coroutine of this program watches the peers. As ac_peers_watch and ac_peers_unwatch.
int presence_watch(struct remote *remote, ac_ref who);
int presence_unwatch(struct remote *remote, ac_ref who);
void presence_done(struct remote *remote);

// ---- seek.c: host side ----
// Has the peers sought, once there is a network, that the options or the environment name. 0;
// -ENOMEM; -ENAMETOOLONG.
int seek_start(struct remote *remote, const struct ac_network_options *options);
// No longer: the network could not be started.
void seek_stop(struct remote *remote);

#endif
