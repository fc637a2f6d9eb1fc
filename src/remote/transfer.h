// SPDX-License-Identifier: MIT
// What transfer.c and receive.c share: files between peers.
//
// A FILE frame has a number, drawn by who sends the file (or wants one deleted), a verb, an integer
// and a value:
//
//     0 OFFER   bytes, [name, permissions, SHA-256, whether it must be new]     sender -> receiver
//     1 PIECE   offset, bytes: in order, without gaps; not before TOOK, and at the most
//               TRANSFER_WINDOW_BYTES beyond what TOOK told last
//     2 DELETE  0, name
//     3 LEAVE   0, nil: the sender gives up
//    16 TOOK    how many bytes are there, nil: first from where to begin       receiver -> sender
//    17 DONE    0, 1 or an error, nil; once, the last
//
//     OFFER --> waits its turn --> looked for --> TOOK, PIECEs --> checked --> DONE
//                                       \-- there already ---------------------^
//
// A frame to this process itself does not travel, but becomes an arrival at once.
#ifndef REMOTE_TRANSFER_H
#define REMOTE_TRANSFER_H

#include "remote/remote_private.h"
#include "remote/store.h"

enum transfer_verb {
    TRANSFER_OFFER,
    TRANSFER_PIECE,
    TRANSFER_DELETE,
    TRANSFER_LEAVE,
    TRANSFER_TOOK = 16,
    TRANSFER_DONE
};

enum {
    TAKES_MAX = 256,       // that are at work or wait for their turn
    TAKES_OF_PEER_MAX = 64 // of one peer
};

// Host side, of a loop.
struct transfers {
    struct map outgoing; // number -> struct outgoing
    struct store *store; // where files come in; NULL: nowhere
    struct list takes;   // struct take, in the order in which they came
    uint32_t take_count;
    uint32_t begun; // of these, those that have had their turn
};

// As remote->transfers, made if there is none. NULL if there is no memory.
struct transfers *transfers_need(struct remote *remote);
// Sends a frame. Takes the value. With AC_NOW it is not held back by the window. As send_frame. Can
// wait with another deadline.
int transfer_frame(struct remote *remote, uint64_t peer, uint64_t number, enum transfer_verb verb,
                   int64_t argument, ac_value value, ac_time deadline);
// Tells a coroutine or channel that wants to know, or nobody. Takes the value.
void transfer_tell(ac_ref told, ac_value message);
// A name as a value: text, or bytes where it is not UTF-8.
ac_value transfer_name(const char *name, size_t bytes);

// ---- receive.c ----
void receive_arrived(struct remote *remote, struct arrival *arrival);
// A peer is lost: what it sends is broken off.
void receive_lost(struct remote *remote, uint64_t peer);
// The loop is gone.
void receive_done(struct transfers *transfers);

#endif
