// SPDX-License-Identifier: MIT
// What net.c offers to the pollers of sys/ and to nobody else: the addresses of the system, and
// sockets as descriptors.
#ifndef SYS_NET_PRIVATE_H
#define SYS_NET_PRIVATE_H

#include <sys/socket.h>

#include "sys/sys.h"

// Returns how many bytes of `*to` are used; 0 if the address is of no family.
socklen_t net_to_sockaddr(const struct sys_address *from, struct sockaddr_storage *to);
// An IPv4 address that is dressed as IPv6 (::ffff:1.2.3.4) comes out as what it is. Family 0 if it
// is neither.
void net_from_sockaddr(const struct sockaddr *from, struct sys_address *to);

// A socket as `how` describes it: non-blocking, closed when a program is run, and without Nagle's
// delay, which the connections that a listener accepts inherit from it. Returns the descriptor or a
// negative error.
int net_open(const struct sys_open *how);

#endif
