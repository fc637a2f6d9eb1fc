// SPDX-License-Identifier: MIT
// Addresses as bytes and as text, sockets, the network interfaces, and names that are looked up.
//
// An address as text is "1.2.3.4:80" or "[fe80::1%eth0]:80": four decimal numbers, or what RFC 4291
// allows in brackets, with the interface by name or number behind a "%"; then a colon and the port,
// decimal, 0 to 65535. A TCP socket that listens on every IPv6 address takes IPv4 as well; a UDP
// socket is of one family alone, so that discovery can open one for each on the same port.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/net_private.h"

socklen_t net_to_sockaddr(const struct sys_address *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)to;
        in->sin_family = AF_INET;
        in->sin_port = htons(from->port);
        memcpy(&in->sin_addr, from->ip, 4);
        return sizeof *in;
    }
    if (from->family == 6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(from->port);
        in6->sin6_scope_id = from->scope;
        memcpy(&in6->sin6_addr, from->ip, 16);
        return sizeof *in6;
    }
    return 0;
}

// An IPv4 address in the dress of IPv6 becomes what it is.
static void unmap(struct sys_address *address) {
    static const uint8_t dress[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(address->ip, dress, sizeof dress) != 0)
        return;
    address->family = 4;
    address->scope = 0;
    memmove(address->ip, address->ip + 12, 4);
    memset(address->ip + 4, 0, 12);
}

void net_from_sockaddr(const struct sockaddr *from, struct sys_address *to) {
    memset(to, 0, sizeof *to);
    if (from->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        to->family = 4;
        to->port = ntohs(in.sin_port);
        memcpy(to->ip, &in.sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, from, sizeof in6);
        to->family = 6;
        to->port = ntohs(in6.sin6_port);
        to->scope = in6.sin6_scope_id;
        memcpy(to->ip, &in6.sin6_addr, 16);
        unmap(to);
    }
}

// ---- addresses as text ----

// 0 to 65535 in decimal digits and nothing else.
static bool parse_port(const char *text, uint16_t *port) {
    unsigned number = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 6; digits++)
        number = number * 10 + (unsigned)(text[digits] - '0');
    if (digits == 0 || text[digits] || number > UINT16_MAX)
        return false;
    *port = (uint16_t)number;
    return true;
}

// An interface by name or by number; 0 if there is none.
static uint32_t parse_scope(const char *text) {
    unsigned index = if_nametoindex(text);
    if (index)
        return index;
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && !*end && !errno;
    return is_number && number <= UINT32_MAX ? (uint32_t)number : 0;
}

static bool parse_ip6(char *text, struct sys_address *address) {
    char *scope = strchr(text, '%');
    if (scope) {
        *scope++ = 0;
        address->scope = parse_scope(scope);
        if (!address->scope)
            return false;
    }
    address->family = 6;
    if (inet_pton(AF_INET6, text, address->ip) != 1)
        return false;
    unmap(address);
    return true;
}

bool sys_address_parse(const char *text, struct sys_address *address) {
    char host[SYS_ADDRESS_TEXT_BYTES];
    const char *colon = strrchr(text, ':');
    memset(address, 0, sizeof *address);
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        return false;
    size_t bytes = (size_t)(colon - text);
    memcpy(host, text, bytes);
    host[bytes] = 0;
    if (!parse_port(colon + 1, &address->port))
        return false;
    if (host[0] == '[' && host[bytes - 1] == ']') {
        host[bytes - 1] = 0;
        return parse_ip6(host + 1, address);
    }
    address->family = 4;
    return inet_pton(AF_INET, host, address->ip) == 1;
}

void sys_address_text(const struct sys_address *address, char text[SYS_ADDRESS_TEXT_BYTES]) {
    char ip[INET6_ADDRSTRLEN];
    char scope[1 + IF_NAMESIZE] = "";
    if (address->family == 4) {
        inet_ntop(AF_INET, address->ip, ip, sizeof ip);
        snprintf(text, SYS_ADDRESS_TEXT_BYTES, "%s:%u", ip, (unsigned)address->port);
    } else if (address->family == 6) {
        inet_ntop(AF_INET6, address->ip, ip, sizeof ip);
        if (address->scope) {
            scope[0] = '%';
            // An interface that has gone since is shown by its number.
            if (!if_indextoname(address->scope, scope + 1))
                snprintf(scope + 1, sizeof scope - 1, "%u", (unsigned)address->scope);
        }
        snprintf(text, SYS_ADDRESS_TEXT_BYTES, "[%.39s%.16s]:%u", ip, scope,
                 (unsigned)address->port);
    } else {
        snprintf(text, SYS_ADDRESS_TEXT_BYTES, "none");
    }
}

bool sys_address_equal(const struct sys_address *a, const struct sys_address *b) {
    size_t bytes = a->family == 4 ? 4 : a->family == 6 ? 16 : 0;
    return a->family == b->family && a->port == b->port && a->scope == b->scope &&
           memcmp(a->ip, b->ip, bytes) == 0;
}

bool sys_address_is_loopback(const struct sys_address *address) {
    static const uint8_t one[16] = {[15] = 1};
    if (address->family == 4)
        return address->ip[0] == 127;
    return address->family == 6 && memcmp(address->ip, one, sizeof one) == 0;
}

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
        net_from_sockaddr(at->ai_addr, &found[count]);
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

static void interface_fill(struct sys_interface *it, const struct ifaddrs *from) {
    memset(it, 0, sizeof *it);
    it->index = if_nametoindex(from->ifa_name);
    it->is_loopback = (from->ifa_flags & IFF_LOOPBACK) != 0;
    snprintf(it->name, sizeof it->name, "%s", from->ifa_name);
    net_from_sockaddr(from->ifa_addr, &it->address);
    if (it->address.family != 4)
        return;
    if (it->is_loopback)
        it->broadcast = (struct sys_address){.family = 4, .ip = {127, 255, 255, 255}};
    else if ((from->ifa_flags & IFF_BROADCAST) && from->ifa_broadaddr)
        net_from_sockaddr(from->ifa_broadaddr, &it->broadcast);
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

static int join_group(int fd, const struct sys_address *group, unsigned interface) {
    struct group_req request = {.gr_interface = interface};
    struct sockaddr_storage address;
    socklen_t bytes = net_to_sockaddr(group, &address);
    memcpy(&request.gr_group, &address, bytes);
    int level = group->family == 6 ? IPPROTO_IPV6 : IPPROTO_IP;
    return setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof request) < 0 ? -errno : 0;
}

static int prepare_tcp(int fd, int family, const struct sys_open *how) {
    int err = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    // Without it a program that is started again cannot listen for a minute, while old connections
    // linger.
    if (!err && how->listen)
        err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && how->listen && family == AF_INET6)
        err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    return err;
}

static int prepare_udp(int fd, int family, const struct sys_open *how) {
    int err = 0;
    if (family == AF_INET6)
        err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Not SO_REUSEPORT: that one refuses programs of other users.
    if (!err && how->share_port)
        err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && how->broadcast)
        err = set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    return err;
}

static int bind_and_listen(int fd, const struct sys_open *how) {
    if (how->bind) {
        struct sockaddr_storage address;
        socklen_t bytes = net_to_sockaddr(how->bind, &address);
        if (bind(fd, (struct sockaddr *)&address, bytes) < 0)
            return -errno;
    }
    if (how->transport == SYS_UDP && how->group.family) {
        int err = join_group(fd, &how->group, how->interface);
        if (err)
            return err;
    }
    return how->listen && listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

int net_open(const struct sys_open *how) {
    uint8_t version = how->bind ? how->bind->family : how->family;
    if (version != 4 && version != 6)
        return -EINVAL;
    int family = version == 6 ? AF_INET6 : AF_INET;
    int type = how->transport == SYS_TCP ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int err = how->transport == SYS_TCP ? prepare_tcp(fd, family, how)
                                        : prepare_udp(fd, family, how);
    if (!err)
        err = bind_and_listen(fd, how);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}
