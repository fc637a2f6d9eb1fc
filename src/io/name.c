// SPDX-License-Identifier: MIT
// From the text of an address to the addresses to connect to, and back.
//
//      text     = host ":" service | "unix:" path | "unix:@" name
//      host     = IPv4 | "[" IPv6 "]" | name | ""      nothing: this computer
//      service  = port in decimal, 0 to 65535 | name
//
// A numeric address never leaves the loop. Anything else goes to getaddrinfo on a helper thread,
// which obeys the configuration of the system and may block for seconds; if nobody waits for its
// answer any more, it is thrown away.
#include <stdio.h>

#include "io/io.h"

enum {
    HOST_BYTES_MAX = 255, // DNS allows 253 characters
    SERVICE_BYTES_MAX = 63
};

struct lookup {
    struct work work;
    int result; // of sys_lookup
    struct sys_address found[IO_ADDRESSES_MAX];
    char host[HOST_BYTES_MAX + 1];
    char service[SERVICE_BYTES_MAX + 1];
};

static bool split(const char *text, char *host, char *service);

int io_address_parse(const char *text, struct io_address *address) {
    if (sys_address_parse(text, &address->ip))
        return 0;
    int err = sys_unix_parse(text, &address->name);
    if (!err)
        address->ip = (struct sys_address){.family = SYS_UNIX};
    return err;
}

void io_address_text(const struct io_address *address, char text[AC_ADDRESS_TEXT_BYTES]) {
    if (address->ip.family == SYS_UNIX)
        sys_unix_text(&address->name, text);
    else
        sys_address_text(&address->ip, text);
}

// ---- on the helper thread, and after it ----

static void run(struct work *work) {
    struct lookup *it = container_of(work, struct lookup, work);
    it->result = sys_lookup(it->host, it->service, it->found, countof(it->found));
}

static void orphaned(struct work *work) { memory_release(container_of(work, struct lookup, work)); }

static int look_up(const char *host, const char *service, struct sys_address *found,
                   size_t found_max, ac_time deadline) {
    struct lookup *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->work.run = run;
    it->work.orphaned = orphaned;
    snprintf(it->host, sizeof it->host, "%s", host);
    snprintf(it->service, sizeof it->service, "%s", service);
    int result = work_do(&it->work, deadline);
    if (!work_is_callers(result))
        return result;
    if (result == 0)
        result = it->result;
    for (int i = 0; i < result && (size_t)i < found_max; i++)
        found[i] = it->found[i];
    memory_release(it);
    trace(TRACE_IO, "name %s: %d", host, result);
    return result > 0 && (size_t)result > found_max ? (int)found_max : result;
}

// ---- the text ----

// The two loopback addresses with the port of a text like ":80".
static int this_computer(const char *port_text, struct sys_address *found, size_t found_max) {
    char text[SERVICE_BYTES_MAX + 16];
    size_t count = 0;
    static const char *const hosts[] = {"127.0.0.1", "[::1]"};
    for (size_t i = 0; i < countof(hosts) && count < found_max; i++) {
        snprintf(text, sizeof text, "%s:%s", hosts[i], port_text);
        if (!sys_address_parse(text, &found[count]))
            return -EINVAL;
        count++;
    }
    return (int)count;
}

static bool is_digits(const char *text) { return text[strspn(text, "0123456789")] == 0; }

int io_resolve(const char *text, struct sys_address *found, size_t found_max, ac_time deadline) {
    char host[HOST_BYTES_MAX + 1], service[SERVICE_BYTES_MAX + 1];
    if (sys_address_parse(text, &found[0]))
        return 1;
    if (!split(text, host, service))
        return -EINVAL;
    if (is_digits(service)) {
        // getaddrinfo would take 65536 for 0.
        struct sys_address any[2];
        int err = this_computer(service, any, countof(any));
        if (err < 0)
            return err;
        if (!*host)
            return this_computer(service, found, found_max);
    }
    return look_up(*host ? host : "localhost", service, found, found_max, deadline);
}

// Cuts a text at its last colon, and takes brackets off. False if it cannot be an address.
static bool split(const char *text, char *host, char *service) {
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1] || strlen(colon + 1) > SERVICE_BYTES_MAX)
        return false;
    size_t bytes = (size_t)(colon - text);
    bool in_brackets = bytes > 2 && text[0] == '[' && colon[-1] == ']';
    if (in_brackets) {
        text++;
        bytes -= 2;
    }
    if (bytes > HOST_BYTES_MAX)
        return false;
    memcpy(host, text, bytes);
    host[bytes] = 0;
    strcpy(service, colon + 1);
    // Without brackets nobody can tell where an IPv6 address ends and the port begins.
    return in_brackets ? strchr(host, ':') != NULL : strpbrk(host, ":[]") == NULL;
}

// ---- for users ----

int ac_resolve(const char *address, char (*found)[AC_ADDRESS_TEXT_BYTES], size_t found_max,
               ac_time deadline) {
    struct sys_address addresses[IO_ADDRESSES_MAX];
    struct io_address one;
    if (!address || !found || found_max == 0)
        return -EINVAL;
    int err = coro_may_wait(coro_here(), AC_FOREVER);
    if (err)
        return err;
    err = io_address_parse(address, &one);
    if (err != -EINVAL) {
        if (!err)
            io_address_text(&one, found[0]);
        return err ? err : 1;
    }
    size_t most = found_max < countof(addresses) ? found_max : countof(addresses);
    int count = io_resolve(address, addresses, most, deadline);
    for (int i = 0; i < count; i++)
        sys_address_text(&addresses[i], found[i]);
    return count;
}
