// SPDX-License-Identifier: MIT
// What the pollers have in common (poller.c), and nobody else uses.
#ifndef SYS_POLLER_PRIVATE_H
#define SYS_POLLER_PRIVATE_H

#include "sys/sys.h"

struct poller {
    struct sys sys;
    int fd;               // becomes readable when the poller has something to do
    int wake_fd;          // an eventfd that is never read: each write is news
    struct poller *inner; // the nested poller, or NULL
};

// Whether the system lets this process have io_uring as uring.c uses it. 0 or a negative error.
// Takes some 100 us.
int uring_probe(void);

// ---- for their tables ----

ac_time poller_now(struct sys *sys);
uint64_t poller_random(struct sys *sys);
void poller_wake(struct sys *sys);
int poller_open(struct sys *sys, struct sys_handle *handle, const struct sys_open *how);
void poller_adopt(struct sys *sys, struct sys_handle *handle, int fd, bool shared);
int poller_local(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name);
int poller_remote(struct sys_handle *handle, struct sys_address *address, struct sys_unix *name);
int poller_group(struct sys_handle *handle, const struct sys_address *group, unsigned interface,
                 bool member);
int poller_shut(struct sys_handle *handle);

// ---- operations ----

// Carries an operation out if the system does not make it wait: true, with its result. A read that
// got fewer bytes than asked has emptied the handle: `readable` is false then, if somebody is going
// to say when that changes (`registered`).
bool poller_attempt(struct sys_op *op);
// The same for one that had to wait, when its handle has become ready.
bool poller_attempt_again(struct sys_op *op);

static inline bool poller_writes(const struct sys_op *op) {
    return op->verb == SYS_CONNECT || op->verb == SYS_WRITE || op->verb == SYS_SEND ||
           op->verb == SYS_SEND_FILE;
}

#endif
