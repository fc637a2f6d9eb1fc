// SPDX-License-Identifier: MIT
// Messages: every coroutine has a mailbox; a send puts a value there, a receive takes the oldest
// out.
//
// Messages from one sender to one receiver arrive in the order sent, near and far. Between senders
// nothing is promised. A send never runs the receiver.
//
// Between the loops of a program (ac_run) a send does not wait, and finds no limit of a mailbox:
// what does not fit there is a dead letter of that loop. To deliver and to subscribe can wait, as
// far. A thread without a loop, and the function of ac_work, may send likewise.
//
// A channel hands each message on to all who are subscribed when it is sent. Channels are
// references too: they can be sent, registered and located. A channel under a channel hands down
// what it is handed. A coroutine that a message reaches on several ways, through several channels,
// gets it once. What a sender sends through a channel of its own loop and what it sends directly
// arrives in that order, wherever the subscriber is; so does the notice of its end. A channel of
// another loop or process is a detour: what goes through it to a subscriber that is not where the
// channel is may be overtaken by what the sender sends there directly.
#ifndef ASYNCORO_MESSAGE_H
#define ASYNCORO_MESSAGE_H

#include <asyncoro/base.h>
#include <asyncoro/coro.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// Puts a message (anything that ac_of takes) into the mailbox of `to`, or of all subscribers of the
// channel `to`. Takes the value. Near: waits for room in the mailbox only if its owner has set such
// a limit (ac_mailbox_limit). Far: can wait, until the message is in the window of the link to that
// process; it then arrives unless that process is lost (monitor the receiver to know). 0; -ESRCH if
// the receiver is known to have ended; -ENOMEM; -EHOSTUNREACH if its process is not known here or
// is lost; -ENOTSUP for a value that cannot travel to another process, or a `to` that takes no
// messages; -ENOBUFS or -EAGAIN for a full mailbox near; -ECANCELED (while waiting); the error of a
// value or of a `to` that could not be made. Through a channel, -ENOMEM means that at least one
// subscriber does not have it; the others do.
#define ac_send(to, message) ac_send_value((to), ac_of(message))
AC_API int ac_send_value(ac_ref to, ac_value message);

// As ac_send but never waits: -EAGAIN when the window of the link or the mailbox is full, -EMSGSIZE
// for a message to another process of more than 1 MiB, which no window holds. Outside coroutines,
// where nobody can wait, ac_send does the same. To another process it always gives -EAGAIN on
// another loop than the first: whether the window has room that one alone knows, and to ask it is
// to wait.
#define ac_try_send(to, message) ac_try_send_value((to), ac_of(message))
AC_API int ac_try_send_value(ac_ref to, ac_value message);

// As ac_send, and tells how many receivers have the message in their mailbox by the deadline: 1 for
// a coroutine, for a channel the number of coroutines reached (0 when it has no subscribers). Takes
// the value. Far: can wait; near it does not, and may be called anywhere. Never will arrive: -ESRCH
// (it has ended), -ENOTSUP, -ENOMEM, -ENOBUFS (the mailbox is full, of either policy),
// -EHOSTUNREACH. Unknown: 0 when time was up first, -ECONNRESET when the peer was lost meanwhile,
// -ECANCELED. The process of a far coroutine answers even while it computes, but for a mailbox with
// a limit, a channel or an answer it does when it next runs its loop.
#define ac_deliver(to, message, deadline) ac_deliver_value((to), ac_of(message), (deadline))
AC_API int ac_deliver_value(ac_ref to, ac_value message, ac_time deadline) AC_CHECKED;

// Waits for a message and stores the oldest one, which the caller then owns. With AC_NOW it takes
// only what is there. Can wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -EINVAL for NULL. On failure
// nothing is stored. A
// cancelled coroutine gets -ECANCELED even if messages are there; with AC_NOW it can still take
// these.
AC_API int ac_receive(ac_value *message, ac_time deadline) AC_CHECKED;

// How many messages wait in the mailbox of the running coroutine; 0 outside coroutines.
AC_API size_t ac_mailbox_count(void);

// ---- choosing among messages ----
//
// What is passed over stays in the mailbox, in order, for later receives of any kind. Where senders
// wait for room (ac_mailbox_limit) their messages count as the youngest in it, so a mailbox full of
// what is not wanted keeps nobody from what he waits for.

// Says whether a message is wanted. Must not wait, and must not send or receive; the message is
// only looked at.
typedef bool (*ac_match)(ac_value message, void *context);

// As ac_receive for the oldest message for which `match` says true; each message is asked about
// once a call. With a NULL match any message is wanted.
AC_API int ac_receive_if(ac_value *message, ac_match match, void *context,
                         ac_time deadline) AC_CHECKED;

// Says to which category a message belongs: any number, of the user's choice. As ac_match.
typedef int64_t (*ac_categorize)(ac_value message, void *context);

// From now on the messages of the running coroutine are sorted by category, each asked about once
// in its life, so that a receive from a short category does not walk over a long one. It is asked
// about while a category is received from, if not taken before. Without memory for sorting messages
// are walked over, and asked about again, but none is lost. NULL: no longer sorted. 0; -EPERM
// outside coroutines; -ENOMEM, in which case nothing has changed.
AC_API int ac_mailbox_sort(ac_categorize categorize, void *context);

// As ac_receive for the oldest message of a category. Also -EINVAL if messages are not sorted.
AC_API int ac_receive_category(ac_value *message, int64_t category, ac_time deadline) AC_CHECKED;

// One of several things to wait for; fill in by name.
struct ac_source {
    enum ac_source_kind {
        AC_SOURCE_MESSAGE = 1, // a message, any or one that `match` wants
        AC_SOURCE_CATEGORY,    // a message of `category`
        AC_SOURCE_END,         // the end of `coroutine`, one of this loop: as ac_join with `exit`
        AC_SOURCE_EVENT,       // as ac_event_wait
        AC_SOURCE_SEMAPHORE,   // as ac_semaphore_acquire
    } kind;
    ac_match match;
    void *context;
    int64_t category;
    ac_value *message; // of the first two: where it is stored
    ac_ref coroutine;
    struct ac_exit *exit;
    struct ac_event *event;
    struct ac_semaphore *semaphore;
};

// Waits until one of the sources has something, takes it, and leaves the others as they are. If
// several have something, the first in the array goes before. Can wait. The index of the source;
// -ETIMEDOUT; -ECANCELED; -EPERM; -EINVAL for an empty array, more than 64 sources, or one that
// cannot be understood; the error of a source, unless one before it has something.
AC_API int ac_wait_any(const struct ac_source *sources, size_t count, ac_time deadline) AC_CHECKED;

// ---- asking and answering ----

// Sends a request to `to`, the list (answer, body), and waits for what is sent to `answer`: a
// reference that takes one message, once. The other side reads it with ac_unpack(request, &answer,
// &body) and answers with ac_send(answer, ...). An answer that comes too late is dropped by the
// runtime (ac_send gives -ESRCH where that is known, and it is counted as a dead letter): it is
// never found in the mailbox. Takes the body. Stores the answer, which the caller then owns. Can
// wait. 0; -ETIMEDOUT; -ECANCELED; -EPERM; -ESRCH if the receiver has ended, also if it ends
// without an answer, even if it has passed the request on; -ECONNRESET if its process is lost
// meanwhile; -EDEADLK to oneself; the errors of ac_send. `to` may be a channel: the first answer
// counts, and the end of those who could give one is not noticed.
#define ac_call(to, body, answer, deadline) ac_call_value((to), ac_of(body), (answer), (deadline))
AC_API int ac_call_value(ac_ref to, ac_value body, ac_value *answer, ac_time deadline) AC_CHECKED;

// ---- limits ----

// What happens to a message of a user for a mailbox that is full.
enum ac_mailbox_policy {
    AC_REFUSE = 1,   // a send gives -ENOBUFS
    AC_SENDER_WAITS, // a coroutine that sends waits, first come first served, until there is room;
                     // who cannot wait (or is the receiver) gets -EAGAIN
};

// The mailbox of the running coroutine takes at most `count` messages of users; 0: as many as there
// is memory for, as at first. Exit notices and other messages of the library always fit and do not
// count. What a channel hands on, and what comes from afar, never waits: where it does not fit it
// is a dead letter (and ac_deliver says -ENOBUFS, or does not count it). More messages than the
// limit that are there already stay. 0; -EPERM outside coroutines; -EINVAL; -ENOMEM.
AC_API int ac_mailbox_limit(size_t count, enum ac_mailbox_policy policy);

// ---- dead letters: messages that were taken and reach nobody ----

// Why a message reaches nobody.
enum ac_dead_reason {
    AC_DEAD_ENDED = 1, // the receiver had ended when it arrived
    AC_DEAD_UNREAD,    // it was in the mailbox when its receiver ended
    AC_DEAD_FULL,      // the mailbox was full, or too much of channels waits for its process
    AC_DEAD_LATE,      // an answer for which nobody waits any more
    AC_DEAD_NO_MEMORY, // there was no memory to keep it
    AC_DEAD_REASONS    // one above the last
};

// "ended", "unread", ... Constant text.
AC_API const char *ac_dead_reason_name(enum ac_dead_reason reason);

// How many there were in this loop since it began. A message that ac_send refused with an error,
// near, is none, as its sender knows; but an answer that comes too late always is one. Exit notices
// and other messages of the library are none.
AC_API uint64_t ac_dead_letters(enum ac_dead_reason reason);

// Has `hook` called for each dead letter of this loop; NULL ends that. It runs as if outside
// coroutines and must not wait, send or receive; the message is only looked at. A message from
// another process for which there was no memory from the start is counted, but not shown. 0;
// -ENOMEM.
AC_API int ac_on_dead_letter(void (*hook)(enum ac_dead_reason reason, ac_ref to, ac_value message,
                                          void *context),
                             void *context);

// Asks for one exit notice, a message to the running coroutine, when `coroutine` (near or far)
// ends: after the last message it sent to us. One that has ended already is reported at once, as
// lost with -ESRCH, unless its end is kept (.joinable). Asking n times gives n notices. Does not
// wait. 0; -ENOMEM; -EPERM outside coroutines; -ENOTSUP if it names no coroutine; -EHOSTUNREACH if
// its process is not known here. Nobody is told of his own end. A result that is too large or too
// deep for a notice is left out, and `reason` says so (-EMSGSIZE); if there is no memory for the
// notice when the time has come, it says AC_LOST with -ENOMEM; and at once AC_LOST with -ENOBUFS if
// this process has 262,144 monitors on coroutines of that one in the loop that has started the
// network there, or 16,384 on those in its other loops.
AC_API int ac_monitor(ac_ref coroutine);

// Takes the exit notice out of a message: true if it is one, and fills in `exit`, whose value the
// caller drops; `exit` may be NULL. Does not take the message.
AC_API bool ac_exit_of(ac_value message, struct ac_exit *exit);

// ---- channels ----

// Opens a channel. `name` is for people and is copied; it may be NULL. Does not wait. Returns its
// reference, or none with -ENOMEM or -EAGAIN (2^24 channels). It is closed with its loop at the
// latest.
AC_API ac_ref ac_channel_open(const char *name);

// Closes it: later sends give -ESRCH, all subscriptions are gone. Each coroutine that was
// subscribed directly, near or far, gets one exit notice whose `who` is the channel, behind all
// that was sent through it; the end of the loop closes without notice. 0; -ESRCH; -ENOTSUP if it is
// no channel here; -EBUSY in a transform.
AC_API int ac_channel_close(ac_ref channel);

// From now on `who` (a coroutine or another channel) gets what is sent to `channel`. Subscriptions
// are a set: a second one changes nothing. The subscription ends with `who`. 0; -ESRCH when one of
// the two has ended; -ELOOP if it would close a circle of channels; -ENOTSUP if they are not of the
// right sort, or both of other processes; -ENOMEM; -EBUSY in a transform. Does not wait when the
// channel is of this process.
//
// Between loops and processes coroutines alone can subscribe. What is sent to the channel is queued
// for the other loop or process in the turn of its sender and counts as reached then; it never
// waits, and what finds no room on the way to another process is kept until there is. To another
// process it goes in one copy, however many are subscribed there. A value that
// cannot travel there gives the sender -ENOTSUP. A subscription to a channel elsewhere can wait: it
// returns when that loop or process has answered; -EPERM outside coroutines; -EHOSTUNREACH;
// -EAGAIN when 2^16 coroutines of its process subscribe on that loop already; -ECONNRESET if that
// process is lost meanwhile; -ECANCELED.
AC_API int ac_channel_subscribe(ac_ref channel, ac_ref who);

// `who` gets nothing more from `channel`; what is in its mailbox stays there. 0; -ENOENT if it was
// not subscribed; -ESRCH; -ENOTSUP; -EBUSY in a transform. Waits, and fails, where a subscription
// would.
AC_API int ac_channel_unsubscribe(ac_ref channel, ac_ref who);

// How many are subscribed directly; or -ESRCH, -ENOTSUP.
AC_API int ac_channel_count(ac_ref channel);

// Changes messages on their way: called for each message that is sent to the channel or handed down
// to it, once, before it goes on. May put another value in its place (it owns the old one then, and
// the channel owns the new one). False: the message goes no further, and nobody is told. A value
// that could not be made goes no further either, and ac_send and ac_deliver give its error.
//
// Runs as if outside coroutines: calls that wait, and ac_run, give -EPERM. While a message is on
// its way down, sending through channels of this process, closing them, and changing who is
// subscribed to them give -EBUSY; sending to coroutines is allowed, and so is all else.
typedef bool (*ac_transform)(ac_value *message, void *context);

// Gives the channel a transform; NULL takes it away. 0; -ESRCH; -ENOTSUP for a channel of another
// process or loop.
AC_API int ac_channel_transform(ac_ref channel, ac_transform transform, void *context);

// Waits until a message to the channel would reach `count` coroutines or more, through all channels
// below it, if no transform holds it up. What is sent next, before another wait, reaches them. Can
// wait. How many it would reach now; -ETIMEDOUT; -ECANCELED; -EPERM; -ESRCH, also when it is closed
// meanwhile; -ENOTSUP for a channel of another process or loop.
AC_API int ac_channel_wait(ac_ref channel, uint32_t count, ac_time deadline) AC_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
