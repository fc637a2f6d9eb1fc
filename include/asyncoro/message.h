// SPDX-License-Identifier: MIT
// Messages: every coroutine has a mailbox; a send puts a value there, a receive takes the oldest
// out.
//
// Messages from one sender to one receiver arrive in the order sent, near and far. Between senders
// nothing is promised. A send never runs the receiver.
//
// A channel hands each message on to all who are subscribed when it is sent. Channels are
// references too: they can be sent, registered and located. A channel under a channel hands down
// what it is handed. A coroutine that a message reaches on several ways, through several channels,
// gets it once.
#ifndef ASYNCORO_MESSAGE_H
#define ASYNCORO_MESSAGE_H

#include <asyncoro/base.h>
#include <asyncoro/coro.h>
#include <asyncoro/value.h>

#ifdef __cplusplus
extern "C" {
#endif

// Puts a message (anything that ac_of takes) into the mailbox of `to`, or of all subscribers of the
// channel `to`. Takes the value. Near: does not wait. Far: can wait, until the message is in the
// window of the link to that process; it then arrives unless that process is lost (monitor the
// receiver to know). 0; -ESRCH if the receiver is known to have ended; -ENOMEM; -EHOSTUNREACH if
// its process is not known here or is lost; -ENOTSUP for a value that cannot travel to another
// process, or a `to` that takes no messages; -ECANCELED (far, while waiting); the error of a value
// or of a `to` that could not be made. Through a channel, -ENOMEM means that at least one
// subscriber does not have it; the others do.
#define ac_send(to, message) ac_send_value((to), ac_of(message))
AC_API int ac_send_value(ac_ref to, ac_value message);

// As ac_send but never waits: -EAGAIN when the window of the link is full, -EMSGSIZE for a message
// to another process of more than 1 MiB, which no window holds. Outside coroutines, where nobody
// can wait, ac_send does the same.
#define ac_try_send(to, message) ac_try_send_value((to), ac_of(message))
AC_API int ac_try_send_value(ac_ref to, ac_value message);

// As ac_send, and tells how many receivers have the message in their mailbox by the deadline: 1 for
// a coroutine, for a channel the number of coroutines reached (0 when it has no subscribers). Takes
// the value. Far: can wait; near it does not, and may be called anywhere. Never will arrive: -ESRCH
// (it has ended), -ENOTSUP, -ENOMEM, -EHOSTUNREACH. Unknown: 0 when time was up first, -ECONNRESET
// when the peer was lost meanwhile, -ECANCELED.
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

// Asks for one exit notice, a message to the running coroutine, when `coroutine` (near or far)
// ends: after the last message it sent to us. One that has ended already is reported at once, as
// lost with -ESRCH, unless its end is kept (.joinable). Asking n times gives n notices. Does not
// wait. 0; -ENOMEM; -EPERM outside coroutines; -ENOTSUP if it names no coroutine; -EHOSTUNREACH if
// its process is not known here. Nobody is told of his own end. A result that is too large or too
// deep for a notice is left out, and `reason` says so (-EMSGSIZE); if there is no memory for the
// notice when the time has come, it says AC_LOST with -ENOMEM.
AC_API int ac_monitor(ac_ref coroutine);

// Takes the exit notice out of a message: true if it is one, and fills in `exit`, whose value is to
// be dropped; `exit` may be NULL. Does not take the message.
AC_API bool ac_exit_of(ac_value message, struct ac_exit *exit);

// ---- channels ----

// Opens a channel. `name` is for people and is copied; it may be NULL. Does not wait. Returns its
// reference, or none with -ENOMEM or -EAGAIN (2^24 channels). It is closed with its loop at the
// latest.
AC_API ac_ref ac_channel_open(const char *name);

// Closes it: later sends give -ESRCH, all subscriptions are gone. 0; -ESRCH; -ENOTSUP if it is no
// channel here.
AC_API int ac_channel_close(ac_ref channel);

// From now on `who` (a coroutine or another channel) gets what is sent to `channel`. Subscriptions
// are a set: a second one changes nothing. The subscription ends with `who`. 0; -ESRCH when one of
// the two has ended; -ELOOP if it would close a circle of channels; -ENOTSUP if they are not of the
// right sort, or both of other processes; -ENOMEM. Does not wait when the channel is of this
// process.
//
// Between processes coroutines alone can subscribe. What is sent to the channel is queued for the
// other process there and counts as reached then. A subscription to a channel elsewhere can wait:
// it returns when that process has answered; -EPERM outside coroutines; -EHOSTUNREACH; -ECONNRESET
// if that process is lost meanwhile; -ECANCELED.
AC_API int ac_channel_subscribe(ac_ref channel, ac_ref who);

// `who` gets nothing more from `channel`; what is in its mailbox stays there. 0; -ENOENT if it was
// not subscribed; -ESRCH; -ENOTSUP. Waits, and fails, where a subscription would.
AC_API int ac_channel_unsubscribe(ac_ref channel, ac_ref who);

// How many are subscribed directly; or -ESRCH, -ENOTSUP.
AC_API int ac_channel_count(ac_ref channel);

#ifdef __cplusplus
}
#endif

#endif
