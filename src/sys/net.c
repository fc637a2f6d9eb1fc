// SPDX-License-Identifier: MIT
// Sockets and their options, the files of Unix sockets, groups, the network interfaces, and names
// that are looked up.
//
// A socket of every IPv6 address takes IPv4 as well, unless it is told not to: discovery opens one
// of each family on the same port.
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/net_private.h"

// ---- names ----

static int lookup_error(int code) {
    switch (code) {
    case EAI_MEMORY: return -ENOMEM;
    case EAI_AGAIN: return -EAGAIN;
    case EAI_SYSTEM: return errno == ENOMEM ? -ENOMEM : -EAGAIN;
    default: return -ENOENT; // the name, or the name of the service, is not known
    }
}

int sys_lookup(const char *host, const char *service, struct sys_address *found, size_t found_max) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *answers;
    int code = getaddrinfo(host, service, &hints, &answers);
    if (code != 0)
        return lookup_error(code);
    size_t count = 0;
    for (struct addrinfo *at = answers; at && count < found_max; at = at->ai_next) {
        net_from_sockaddr(at->ai_addr, at->ai_addrlen, &found[count], NULL);
        count += found[count].family != 0;
    }
    freeaddrinfo(answers);
    return count ? (int)count : -ENOENT;
}

void sys_host_name(char *name, size_t bytes) {
    if (bytes == 0)
        return;
    if (gethostname(name, bytes) < 0 && errno != ENAMETOOLONG)
        name[0] = 0;
    name[bytes - 1] = 0;
}

// ---- interfaces ----

static void from_interface(const struct sockaddr *from, struct sys_address *to) {
    net_from_sockaddr(from, sizeof(struct sockaddr_in6), to, NULL);
}

// Where none was set, the C library gives none, or the address itself.
static void find_broadcast(struct sys_interface *it, const struct sockaddr *set) {
    if (set)
        from_interface(set, &it->broadcast);
    if (it->broadcast.family != 4 || sys_address_equal(&it->broadcast, &it->address))
        it->broadcast = (struct sys_address){.family = 4, .ip = {255, 255, 255, 255}};
}

static void interface_fill(struct sys_interface *it, const struct ifaddrs *from) {
    memset(it, 0, sizeof *it);
    it->index = if_nametoindex(from->ifa_name);
    it->is_loopback = (from->ifa_flags & IFF_LOOPBACK) != 0;
    snprintf(it->name, sizeof it->name, "%s", from->ifa_name);
    from_interface(from->ifa_addr, &it->address);
    if (it->address.family != 4)
        return;
    if (it->is_loopback)
        it->broadcast = (struct sys_address){.family = 4, .ip = {127, 255, 255, 255}};
    else if (from->ifa_flags & IFF_BROADCAST)
        find_broadcast(it, from->ifa_broadaddr);
}

int sys_interfaces(struct sys_interface *found, size_t found_max) {
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return -errno;
    size_t count = 0;
    for (struct ifaddrs *at = all; at && count < found_max; at = at->ifa_next) {
        if (!at->ifa_addr || !(at->ifa_flags & IFF_UP))
            continue;
        interface_fill(&found[count], at);
        count += found[count].address.family != 0 && found[count].index != 0;
    }
    freeifaddrs(all);
    return (int)count;
}

// ---- sockets ----

static int set_option(int fd, int level, int option, int on) {
    return setsockopt(fd, level, option, &on, sizeof on) < 0 ? -errno : 0;
}

static int set_socket_option(int fd, int option, uint32_t value) {
    return value > 0 ? set_option(fd, SOL_SOCKET, option, (int)value) : 0;
}

int sys_fd_set_buffers(int fd, uint32_t send_bytes, uint32_t receive_bytes) {
    int err = set_socket_option(fd, SO_SNDBUF, send_bytes);
    return err ? err : set_socket_option(fd, SO_RCVBUF, receive_bytes);
}

// The other side is asked when nothing was heard of it for so many seconds, and is taken for gone
// when it has neither answered nor acknowledged what was sent for as long again.
static int set_keep_alive(int fd, uint32_t seconds) {
    uint32_t interval = seconds / 3 > 0 ? seconds / 3 : 1;
    int err = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (!err)
        err = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)seconds);
    if (!err)
        err = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)interval);
    if (!err)
        err = set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)seconds * 2000);
    return err;
}

static int prepare_stream(int fd, const struct sys_open *how) {
    int err = set_option(fd, IPPROTO_TCP, TCP_NODELAY, !how->delay);
    // Without it a program that is started again cannot have its port for a minute, while old
    // connections linger.
    if (!err && how->bind)
        err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    // The port is chosen when it is known where to: so the same one serves for many.
    if (!err && how->bind && !how->listen && how->bind->port == 0)
        err = set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (!err && how->keep_alive_s > 0)
        err = set_keep_alive(fd, how->keep_alive_s);
    return err;
}

// Of a socket of IPv6, which can also send by IPv4, options have to be set for each of the two.
static int set_both(int fd, int family, int option4, int option6, int value) {
    int err = set_option(fd, IPPROTO_IP, option4, value);
    return err || family != AF_INET6 ? err : set_option(fd, IPPROTO_IPV6, option6, value);
}

static int set_group_interface(int fd, int family, unsigned interface) {
    struct ip_mreqn request = {.imr_ifindex = (int)interface};
    if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request) < 0)
        return -errno;
    return family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface) : 0;
}

static int prepare_datagrams(int fd, int family, const struct sys_open *how) {
    // Else it would hear each group of which any socket of this computer is a member.
    int err = set_both(fd, family, IP_MULTICAST_ALL, IPV6_MULTICAST_ALL, 0);
    // SO_REUSEPORT would refuse programs of other users.
    if (!err && how->share_port)
        err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && how->broadcast)
        err = set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (!err && how->no_loopback)
        err = set_both(fd, family, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, 0);
    if (!err && how->hops > 0)
        err = set_both(fd, family, IP_TTL, IPV6_UNICAST_HOPS, how->hops);
    if (!err && how->hops > 0)
        err = set_both(fd, family, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, how->hops);
    if (!err && how->interface > 0)
        err = set_group_interface(fd, family, how->interface);
    return err;
}

static int prepare(int fd, int family, const struct sys_open *how) {
    int err = sys_fd_set_buffers(fd, how->send_buffer_bytes, how->receive_buffer_bytes);
    if (err || family == AF_UNIX)
        return err;
    // What connects is of the family of where to.
    if (family == AF_INET6 && (how->bind || how->transport == SYS_DATAGRAMS))
        err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, how->ipv6_only);
    if (!err && how->spread_port)
        err = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err)
        return err;
    return how->transport == SYS_STREAM ? prepare_stream(fd, how)
                                        : prepare_datagrams(fd, family, how);
}

static int bind_to(int fd, const struct sys_open *how) {
    struct sockaddr_storage address;
    socklen_t bytes = net_to_sockaddr(how->bind, how->name, &address);
    return bind(fd, (struct sockaddr *)&address, bytes) < 0 ? -errno : 0;
}

static int type_of(enum sys_transport transport) {
    return (transport == SYS_STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
}

// ---- the files of Unix sockets ----

static bool is_in_folder(const struct sys_open *how) {
    return how->bind->family == SYS_UNIX && how->name && how->name->bytes > 0 && how->name->text[0];
}

static void path_of(const struct sys_unix *name, char path[sizeof name->text + 1]) {
    memcpy(path, name->text, name->bytes);
    path[name->bytes] = 0;
}

// 0; -ENOTSOCK if it is another kind of file; or the system's error.
static int find_file(const char *path, struct sys_socket_file *file) {
    struct stat facts;
    if (lstat(path, &facts) < 0)
        return -errno;
    if (!S_ISSOCK(facts.st_mode))
        return -ENOTSOCK;
    *file = (struct sys_socket_file){facts.st_dev, facts.st_ino};
    return 0;
}

void sys_socket_file_remove(const struct sys_unix *name, struct sys_socket_file file) {
    char path[sizeof name->text + 1];
    struct sys_socket_file found = {0};
    path_of(name, path);
    if (file.number != 0 && find_file(path, &found) == 0 && found.device == file.device &&
        found.number == file.number)
        (void)unlink(path);
}

// Whether nobody holds a socket of this name: the system refuses connections to it, also if it is
// for datagrams.
static bool is_deserted(const struct sys_open *how) {
    struct sockaddr_storage address;
    socklen_t bytes = net_to_sockaddr(how->bind, how->name, &address);
    int fd = socket(AF_UNIX, type_of(how->transport), 0);
    if (fd < 0)
        return false;
    bool refused = connect(fd, (struct sockaddr *)&address, bytes) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

// Removes the file of a socket that nobody holds any more. As long as it is open here no other file
// gets its number, also if somebody else replaces it at the same time.
static bool remove_deserted(const struct sys_open *how, const char *path) {
    struct stat facts;
    int pin = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (pin < 0)
        return false;
    bool deserted = fstat(pin, &facts) == 0 && S_ISSOCK(facts.st_mode) && is_deserted(how);
    if (deserted)
        sys_socket_file_remove(how->name, (struct sys_socket_file){facts.st_dev, facts.st_ino});
    close(pin);
    return deserted;
}

// Binds to a name in a folder, which makes a file there, and notes which. The rights are narrowed
// before anybody can see the file, and set after that, because the system takes away from the
// first what the process's mask says.
static int bind_to_file(int fd, const struct sys_open *how) {
    char path[sizeof how->name->text + 1];
    struct sys_socket_file file = {0};
    path_of(how->name, path);
    if (how->mode != 0 && fchmod(fd, how->mode) < 0)
        return -errno;
    int err = bind_to(fd, how);
    if (err == -EADDRINUSE && how->replace && remove_deserted(how, path))
        err = bind_to(fd, how);
    if (err)
        return err;
    err = find_file(path, &file);
    // Not through a link that somebody has put in its place meanwhile.
    if (!err && how->mode != 0 && fchmodat(AT_FDCWD, path, how->mode, AT_SYMLINK_NOFOLLOW) < 0)
        err = -errno;
    if (err)
        sys_socket_file_remove(how->name, file);
    else if (how->file)
        *how->file = file;
    return err;
}

// ---- opening ----

static int backlog_of(const struct sys_open *how) {
    return how->backlog > 0 && how->backlog < INT_MAX ? (int)how->backlog : SOMAXCONN;
}

// The messages are not understood: that one comes, or was lost, says enough.
static int open_changes(void) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int net_open(const struct sys_open *how) {
    static const int families[] = {[SYS_UNIX] = AF_UNIX, [4] = AF_INET, [6] = AF_INET6};
    if (how->transport == SYS_INTERFACES)
        return open_changes();
    uint8_t version = how->bind ? how->bind->family : how->family;
    int family = version < countof(families) ? families[version] : 0;
    if (!family)
        return -EINVAL;
    int fd = socket(family, type_of(how->transport), 0);
    if (fd < 0)
        return -errno;
    int err = prepare(fd, family, how);
    if (!err && how->bind)
        err = is_in_folder(how) ? bind_to_file(fd, how) : bind_to(fd, how);
    if (!err && how->listen && listen(fd, backlog_of(how)) < 0) {
        err = -errno;
        if (how->file)
            sys_socket_file_remove(how->name, *how->file);
    }
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

int net_local(int fd, struct sys_address *address, struct sys_unix *name) {
    struct sockaddr_storage found;
    socklen_t bytes = sizeof found;
    if (getsockname(fd, (struct sockaddr *)&found, &bytes) != 0)
        return -errno;
    net_from_sockaddr((struct sockaddr *)&found, bytes, address, name);
    return 0;
}

int net_remote(int fd, struct sys_address *address, struct sys_unix *name) {
    struct sockaddr_storage found;
    socklen_t bytes = sizeof found;
    if (getpeername(fd, (struct sockaddr *)&found, &bytes) != 0)
        return -errno;
    net_from_sockaddr((struct sockaddr *)&found, bytes, address, name);
    return 0;
}

int net_group(int fd, const struct sys_address *group, unsigned interface, bool member) {
    struct group_req request = {.gr_interface = interface ? interface : group->scope};
    struct sockaddr_storage address;
    if (group->family != 4 && group->family != 6)
        return -EINVAL;
    socklen_t bytes = net_to_sockaddr(group, NULL, &address);
    memcpy(&request.gr_group, &address, bytes);
    int level = group->family == 6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int option = member ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP;
    return setsockopt(fd, level, option, &request, sizeof request) < 0 ? -errno : 0;
}

// ---- descriptors of others ----

static int get_option(int fd, int option) {
    int value = 0;
    socklen_t bytes = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) < 0 ? -errno : value;
}

// Of a socket for streams: whether it listens. -EINVAL if it is another one; or the system's error.
static int is_listening(int fd) {
    int type = get_option(fd, SO_TYPE);
    if (type < 0)
        return type;
    return type == SOCK_STREAM ? get_option(fd, SO_ACCEPTCONN) : -EINVAL;
}

int sys_fd_is_stream(int fd) {
    struct stat facts;
    if (fstat(fd, &facts) < 0)
        return -errno;
    if (S_ISDIR(facts.st_mode))
        return -EINVAL;
    int listens = S_ISSOCK(facts.st_mode) ? is_listening(fd) : 0;
    return listens > 0 ? -EINVAL : listens;
}

int sys_fd_is_listener(int fd) {
    int listens = is_listening(fd);
    return listens == 0 || listens == -ENOTSOCK ? -EINVAL : listens > 0 ? 0 : listens;
}

int sys_fd_credentials(int fd, struct sys_credentials *credentials) {
    struct ucred found;
    socklen_t bytes = sizeof found;
    int domain = get_option(fd, SO_DOMAIN);
    if (domain != AF_UNIX)
        return domain == -ENOBUFS || domain == -EBADF ? domain : -ENOTSUP;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &bytes) < 0)
        return -errno;
    // Where nobody has connected there is no process.
    if (found.pid == 0 && found.uid == (uid_t)-1)
        return -ENOTSUP;
    *credentials = (struct sys_credentials){found.pid, found.uid, found.gid};
    return 0;
}
