// SPDX-License-Identifier: MIT
// The face of remote/: references, names and monitors across peers. It fills the door of message/
// (values for references elsewhere) and the door of fabric/ (frames and news of peers).
//
//   remote.c     the network of a loop: start, stop; what crosses the threads
//   incoming.c   the frames that come
//   rights.c     what each peer may have done here
//   send.c       send and deliver to other processes; large messages in pieces
//   subscribe.c  channels with subscribers elsewhere
//   function.c   remote functions
//   watch.c      monitors across peers
//   names.c      register, locate, follow
//   ask.c        what a program tells of itself to tools of other processes
//   show.c       what a frame says, for AC_TRACE=frame
//   peers.c      ac_peer, ac_peers, where references live
//   seek.c       peers that are named in the options or the environment
//   presence.c   coroutines that watch peers come and go
//   transfer.c   files that are sent; receive.c files that come; store.c the folder for these
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include "coro/coro.h"
#include "fabric/fabric.h"
#include "message/message.h"

#include <asyncoro/remote.h>

// As ac_network_start, for the library's own processes: with keys in memory instead of a file.
// `keys` may be NULL.
int remote_start(struct loop *loop, const struct ac_network_options *options,
                 const struct key_ring *keys);
// True if the loop has a network.
bool remote_is_started(struct loop *loop);
// Copies the keys in use, which the caller wipes. 0 or -ENOTCONN without network.
int remote_keys(struct loop *loop, struct key_ring *keys);
// Where this process listens. From any loop of the program. Family 0 without network.
struct sys_address remote_address(struct loop *loop);
// Tells where a peer listens that this process has not met. 0; -ENOTCONN without network; -ENOMEM;
// -ENOSPC.
int remote_introduce(struct loop *loop, uint64_t peer, const struct sys_address *address);
// Where a peer listens. From any loop of the program. False if it is not known.
bool remote_find(struct loop *loop, uint64_t peer, struct sys_address *address);
// How many bytes were queued for a peer since it was lost last, if it ever was, also while it is
// not met yet; 0 if nothing is known of it. For who wants to know whether anything was sent to it
// meanwhile. From any loop of the program.
uint64_t remote_bytes_to(struct loop *loop, uint64_t peer);

// THE CHECK of what a peer may have done here, for all that is not a frame of remote/ itself
// (files, code). 0; -EACCES, which is counted under that right. From any loop of the program; does
// not wait. One that is not linked is judged by what is known of it.
int remote_may(struct loop *loop, uint64_t peer, enum ac_right right);
// From now on what comes from other processes for this receiver, of any loop of the program, is
// taken of peers alone that have that right, besides AC_MAY_SEND. A message does not say which peer
// sent it, so this is how a coroutine can know that none came from one that may not. On the first
// loop. 0; -ENOMEM.
int remote_guard(struct loop *loop, ac_ref receiver, enum ac_right right);
// No longer: to be called when it ends.
void remote_unguard(struct loop *loop, ac_ref receiver);
// Whether a peer lets us do that, as far as it has said: to tell -EACCES to who asks before
// anything is sent. On the first loop.
bool remote_lets_us(struct loop *loop, uint64_t peer, enum ac_right right);

// From now on the running coroutine gets a message, a notice, for every holder of a name at any
// peer, those known and those that appear later, once for each holder; also for a holder in this
// process. Ends with the coroutine. Does not wait. 0; -ENOTCONN without network; -EPERM outside
// coroutines; -EINVAL for a bad name; -ENOMEM.
int remote_follow(const char *name);
// Takes the holder out of such a notice: true if the message is one. Does not take the message.
bool remote_holder_of(ac_value message, ac_ref *holder);

// What a program can be asked for.
enum remote_question {
    REMOTE_STATE = 1, // a map of its network ("what": "network"), and one of each of its loops
    REMOTE_NAMES      // lists of [name, holder], as many as fit into a frame each; then how many
                      // names there are, as an integer
};

// Asks a peer, which answers by itself unless its options forbid it. Stores the parts of the answer
// as they come, at most `max`, to be dropped by the caller. Can wait. Returns how many there are,
// which by the deadline may be some: those that a loop which computes has to give come last. Or
// -ETIMEDOUT if none came; -EACCES if it does not answer such questions; -EBUSY if it was asked too
// often; -EMSGSIZE if there are more parts; -ECONNRESET; -EHOSTUNREACH; -ENOTCONN without network;
// -EPERM; -ECANCELED; -ENOMEM.
long remote_ask(uint64_t peer, enum remote_question what, ac_value *answers, size_t max,
                ac_time deadline);

#endif
