// SPDX-License-Identifier: MIT
// What net.c offers to the pollers of sys/ and to nobody else: the addresses of the system, and
// sockets as descriptors.
#ifndef SYS_NET_PRIVATE_H
#define SYS_NET_PRIVATE_H

#include <sys/socket.h>

#include "sys/sys.h"

// Returns how many bytes of `*to` are used; 0 if the address is of no family. `name` is that of a
// Unix socket, and NULL for others.
socklen_t net_to_sockaddr(const struct sys_address *from, const struct sys_unix *name,
                          struct sockaddr_storage *to);
// An IPv4 address that is dressed as IPv6 (::ffff:1.2.3.4) comes out as what it is. Family 0 if it
// is of none of the three. `bytes` is how many the system has stored; `name` may be NULL.
void net_from_sockaddr(const struct sockaddr *from, socklen_t bytes, struct sys_address *to,
                       struct sys_unix *name);

// A socket as `how` describes it: non-blocking, and closed when a program is run. Returns the
// descriptor or a negative error.
int net_open(const struct sys_open *how);
// What struct sys_driver says of them, for the sockets of the system.
int net_local(int fd, struct sys_address *address, struct sys_unix *name);
int net_remote(int fd, struct sys_address *address, struct sys_unix *name);
int net_group(int fd, const struct sys_address *group, unsigned interface, bool member);

#endif
