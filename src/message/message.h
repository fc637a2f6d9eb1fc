// SPDX-License-Identifier: MIT
// The face of message/: mailboxes, monitors and channels of one loop, and the door through which
// values for references elsewhere leave.
//
//   mailbox.c   put, receive, send, deliver; the free list of message cells
//   limit.c     mailboxes that can be full, and senders that wait
//   sort.c      mailboxes sorted by category
//   select.c    receives that choose; waiting for one of several things
//   call.c      questions and answers
//   dead.c      dead letters
//   monitor.c   exit notices
//   channel.c   channels and subscriptions
//   relay.c     subscribers of other loops and processes
//   slot.c      tables of what references name
//   walk.c      the way of a message through channels
//   cross.c     what is of other loops and, through the door, of other processes
//
// A receiver that waits gets the message straight into its variable; otherwise the message goes
// into a cell, taken from a free list of the loop, at the end of the receiver's mailbox.
#ifndef MESSAGE_MESSAGE_H
#define MESSAGE_MESSAGE_H

#include "coro/coro.h"

#include <asyncoro/message.h>

// Told of the end of something elsewhere.
struct far_watch {
    // Called once, on the loop's thread: -ESRCH, it has ended; -ECONNRESET, its process is lost.
    // Must not wait.
    void (*ended)(struct far_watch *watch, int reason);
    void *state; // these two belong to the door
    struct list link;
};

// A place in a queue of the door's.
struct door_place {
    struct list link;
    int kind; // the door's, of what has the place
};

// What tells a coroutine elsewhere that a channel is closed; on its way.
struct farewell {
    struct door_place place; // belongs to the door, once it has the farewell
    struct post post;        // likewise
    ac_ref who;
    ac_ref channel;
    ac_value notice; // for one of this program; owned
};
void farewell_release(struct farewell *farewell);

// The door up: what to do with references into other processes. Declared here, filled by remote/,
// called on the loop's thread by a coroutine or, where said, from outside one. Without a door such
// references give -EHOSTUNREACH.
struct message_door {
    // As ac_send_value with a deadline: AC_NOW as ac_try_send_value; else also -ETIMEDOUT. Takes
    // the message. May wait.
    int (*send)(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
    // As ac_deliver_value. Takes the message. May wait.
    int (*deliver)(struct loop *loop, ac_ref to, ac_value message, ac_time deadline);
    // As ac_monitor, for the running coroutine. Must not wait.
    int (*monitor)(struct loop *loop, ac_ref of);
    // Has watch->ended called when the coroutine `of` ends or its process is lost; for a channel,
    // when the process is lost. Must not wait. 0, -ENOMEM, -EHOSTUNREACH.
    int (*watch)(struct loop *loop, ac_ref of, struct far_watch *watch);
    // Ends that, if it has not been called. Must not wait.
    void (*unwatch)(struct far_watch *watch);
    // As ac_channel_subscribe, and ac_channel_unsubscribe if not `on`: the channel is of another
    // process, the coroutine `who` of this program. May wait.
    int (*subscribe)(struct loop *loop, ac_ref channel, ac_ref who, bool on);
    // As send, to `count` coroutines of one process, which the message reaches in one copy; but
    // does not wait: what finds no room is kept, and goes before all that is sent to that process
    // later. Takes the message. 0: queued; -ESRCH: that process is lost, or -ENOBUFS: too much is
    // kept for it, and a dead letter was counted for each; -ENOMEM; -ENOTSUP.
    int (*pass)(struct loop *loop, uint64_t peer, const uint64_t *ids, uint32_t count,
                ac_value message);
    // Has the coroutine told that the channel is closed, behind all that was passed to it. Takes
    // the farewell. Must not wait, and cannot fail.
    void (*closed)(struct loop *loop, struct farewell *farewell);
};

// Sets the door of a loop; NULL takes it away. 0 or -ENOMEM.
int message_set_door(struct loop *loop, const struct message_door *door);
const struct message_door *message_door(struct loop *loop);

// Puts a message of the library into a mailbox of this thread's loop, full or not. Takes it. 0;
// -ESRCH if the coroutine has ended; -ENOMEM.
int mailbox_put(struct coro *to, ac_value message);

// Hands a message to whatever `to` names on this loop: a coroutine, a channel or an answer. Takes
// it. The number of coroutines that have it; -ESRCH, -ENOTSUP, -ENOMEM, -ENOBUFS.
int message_deliver_here(struct loop *loop, ac_ref to, ac_value message);

// The same for a message from another process: what reaches nobody becomes a dead letter.
// `promised`: its sender was told already that it is in the mailbox, so it fits.
int message_arrive(struct loop *loop, ac_ref to, ac_value message, bool promised);
// Messages from another process were lost for want of memory before they could be read.
void message_lost(struct loop *loop, uint64_t count);
// A message was taken and reaches nobody: `to` has ended or cannot be reached, or there is no room.
// Takes it.
void message_dead(struct loop *loop, enum ac_dead_reason reason, ac_ref to, ac_value message);

// From any thread: whether a coroutine's mailbox can be full, so that nobody but its loop can say
// what becomes of a message.
static inline bool mailbox_is_limited(const struct coro *coro) {
    return __atomic_load_n(&coro->mail_limited, __ATOMIC_RELAXED);
}

// The message that is an exit notice. Takes exit->value; one that does not fit into a notice is
// left out, and the reason says so. AC_INVALID with -ENOMEM.
ac_value message_exit_notice(const struct ac_exit *exit);

// Whether a channel of this loop is open.
bool channel_is_open(struct loop *loop, ac_ref channel);
// Asks to be told when an open channel of this loop closes, as coro_watch for coroutines;
// coro_unwatch ends it.
void channel_watch(struct loop *loop, ac_ref channel, struct end_watch *watch);

// Has watch->ended called when the coroutine or the channel, of another loop of the program, ends,
// and for what is of another process as the door's. 0, with watch->state NULL if nobody can know;
// -ENOMEM, -EHOSTUNREACH. The second ends that, if it has not been called. Neither waits.
int elsewhere_watch(struct loop *loop, ac_ref of, struct far_watch *watch);
void elsewhere_unwatch(struct loop *loop, ac_ref of, struct far_watch *watch);

#endif
