// SPDX-License-Identifier: MIT
// With which networks this process has to do: lists of what is allowed and what is denied, for
// links and, narrower, for beacons.
//
// A list is text: networks as sys_network_parse reads them, with blanks or commas between. What a
// list denies is denied, whatever another one allows. A list of what is allowed lets nobody in but
// those it names and this computer itself, by its loopback; one that is not given allows all. What
// is no good for links is none for beacons either.
#include "fabric/fabric_private.h"

#include <stdio.h>

enum { NETWORKS_MAX = 64, NETWORK_TEXT_BYTES = 64 };

struct network_list {
    struct sys_network all[NETWORKS_MAX];
    size_t count;
};

struct permits {
    struct network_list allow, deny; // of links and beacons
    struct network_list beacons_allow, beacons_deny;
};

static const char separators[] = " \t\r\n,";

static int explain(const char *list, const char *word, char text[256]) {
    snprintf(text, 256,
             "the list of networks %s: \"%.80s\" is none, such as 192.168.7.0/24, fd00::/8", list,
             word);
    return -EINVAL;
}

static int read_list(const char *name, const char *from, struct network_list *list,
                     char text[256]) {
    for (; from && *(from += strspn(from, separators)); from += strcspn(from, separators)) {
        char word[NETWORK_TEXT_BYTES];
        snprintf(word, sizeof word, "%.*s", (int)strcspn(from, separators), from);
        if (list->count == NETWORKS_MAX) {
            snprintf(text, 256, "the list of networks %s has more than %d", name, NETWORKS_MAX);
            return -E2BIG;
        }
        if (!sys_network_parse(word, &list->all[list->count]))
            return explain(name, word, text);
        list->count++;
    }
    return 0;
}

int permits_read(const struct fabric_options *options, struct permits **permits, char text[256]) {
    *permits = NULL;
    if (!options->allow && !options->deny && !options->beacons_allow && !options->beacons_deny)
        return 0;
    struct permits *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    int err = read_list("allow", options->allow, &it->allow, text);
    if (!err)
        err = read_list("deny", options->deny, &it->deny, text);
    if (!err)
        err = read_list("beacons_allow", options->beacons_allow, &it->beacons_allow, text);
    if (!err)
        err = read_list("beacons_deny", options->beacons_deny, &it->beacons_deny, text);
    if (err)
        memory_release(it);
    else
        *permits = it;
    return err;
}

void permits_release(struct permits *permits) { memory_release(permits); }

static bool names(const struct network_list *list, const struct sys_address *address) {
    for (size_t i = 0; i < list->count; i++)
        if (sys_network_holds(&list->all[i], address))
            return true;
    return false;
}

static bool lets_pass(const struct network_list *allow, const struct network_list *deny,
                      const struct sys_address *address) {
    if (names(deny, address))
        return false;
    return allow->count == 0 || sys_address_is_loopback(address) || names(allow, address);
}

bool permits_link(const struct permits *it, const struct sys_address *address) {
    return !it || lets_pass(&it->allow, &it->deny, address);
}

bool permits_beacon(const struct permits *it, const struct sys_address *address) {
    return !it ||
           (permits_link(it, address) && lets_pass(&it->beacons_allow, &it->beacons_deny, address));
}
