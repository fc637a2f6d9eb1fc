// SPDX-License-Identifier: MIT
// Addresses as text, as bytes, and as the system has them.
//
// An address as text is "1.2.3.4:80" or "[fe80::1%eth0]:80": four decimal numbers, or what RFC 4291
// allows in brackets, with the interface by name or number behind a "%"; then a colon and the port,
// decimal, 0 to 65535. The name of a Unix socket is "unix:" and a path, or "unix:@" and a name that
// is in no folder (an abstract one, where the system has a NUL in place of the "@").
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "sys/net_private.h"

static const char unix_head[] = "unix:";

socklen_t net_to_sockaddr(const struct sys_address *from, const struct sys_unix *name,
                          struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->family == SYS_UNIX && name) {
        struct sockaddr_un *un = (struct sockaddr_un *)to;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, name->text, name->bytes);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name->bytes);
    }
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

// A path is given with its closing NUL or, where it fills the place, without.
static void name_from(const struct sockaddr *from, socklen_t bytes, struct sys_unix *name) {
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t count = bytes > head ? bytes - head : 0;
    name->bytes = (uint8_t)(count < sizeof name->text ? count : sizeof name->text);
    memcpy(name->text, (const char *)from + head, name->bytes);
    if (name->bytes > 0 && name->text[0])
        name->bytes = (uint8_t)strnlen(name->text, name->bytes);
}

void net_from_sockaddr(const struct sockaddr *from, socklen_t bytes, struct sys_address *to,
                       struct sys_unix *name) {
    memset(to, 0, sizeof *to);
    if (name)
        name->bytes = 0;
    // The system tells no address at all where there is none.
    if (bytes < sizeof from->sa_family)
        return;
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
    } else if (from->sa_family == AF_UNIX) {
        to->family = SYS_UNIX;
        if (name)
            name_from(from, bytes, name);
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

uint32_t sys_interface_index(const char *text) {
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
        address->scope = sys_interface_index(scope);
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

int sys_unix_parse(const char *text, struct sys_unix *name) {
    size_t head = sizeof unix_head - 1;
    if (strncmp(text, unix_head, head) != 0 || !text[head])
        return -EINVAL;
    const char *rest = text + head;
    size_t bytes = strlen(rest);
    bool is_path = rest[0] != '@';
    // Others expect a closing NUL behind a path, so its place is left free.
    if (bytes > sizeof name->text - is_path)
        return -ENAMETOOLONG;
    memcpy(name->text, rest, bytes);
    if (!is_path)
        name->text[0] = 0;
    // Nothing behind the "@" is no name: to bind to it has the system choose one.
    name->bytes = (uint8_t)(!is_path && bytes == 1 ? 0 : bytes);
    return 0;
}

void sys_unix_text(const struct sys_unix *name, char text[SYS_UNIX_TEXT_BYTES]) {
    size_t head = sizeof unix_head - 1;
    memcpy(text, unix_head, head);
    for (size_t i = 0; i < name->bytes; i++)
        text[head + i] = name->text[i] ? name->text[i] : '@';
    text[head + name->bytes] = 0;
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

// ---- networks ----

// Whether the first `bits` bits are equal.
static bool begins_alike(const uint8_t *a, const uint8_t *b, unsigned bits) {
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

bool sys_network_parse(const char *text, struct sys_network *network) {
    char host[SYS_ADDRESS_TEXT_BYTES];
    const char *slash = strchr(text, '/');
    size_t bytes = slash ? (size_t)(slash - text) : strlen(text);
    memset(network, 0, sizeof *network);
    if (bytes == 0 || bytes >= sizeof host)
        return false;
    memcpy(host, text, bytes);
    host[bytes] = 0;
    struct sys_address *address = &network->address;
    if (inet_pton(AF_INET, host, address->ip) == 1)
        address->family = 4;
    else if (inet_pton(AF_INET6, host, address->ip) == 1)
        address->family = 6;
    else
        return false;
    unsigned bits_max = address->family == 4 ? 32 : 128;
    uint16_t bits = (uint16_t)bits_max;
    if (slash && (!parse_port(slash + 1, &bits) || bits > bits_max))
        return false;
    network->bits = bits;
    uint8_t first[16] = {0};
    memcpy(first, address->ip, bits / 8);
    if (bits % 8)
        first[bits / 8] = address->ip[bits / 8] & (uint8_t)(0xff << (8 - bits % 8));
    return memcmp(first, address->ip, sizeof first) == 0;
}

bool sys_network_holds(const struct sys_network *network, const struct sys_address *address) {
    return network->address.family == address->family &&
           begins_alike(network->address.ip, address->ip, network->bits);
}
