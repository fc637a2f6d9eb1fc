// SPDX-License-Identifier: MIT
// What each peer may have done here. The rights of a peer are decided when its link is first up, by
// the first rule that its address and its certificate fit, and stay until it is lost or the program
// changes them. They are looked at on the guest side, before what a frame carries is read; what is
// refused is counted by the right that was missing, and answered with -EACCES where it has an
// answer.
//
// A peer that may not do everything is told so by a RIGHTS, first of all on its link. So its sends,
// which have no answer, can fail there with -EACCES. That is a courtesy: what counts is the check
// here.
//
// A receiver that is guarded takes messages from elsewhere only of who has a certain right besides.
#include "remote/remote_private.h"

enum { RULES_MAX = 1024 };

struct rule {
    struct sys_network from; // address.family 0: anywhere
    char *certificate;       // patterns of names; NULL: it does not matter
    uint32_t may;
};

// What the program has said of one peer.
struct grant {
    uint32_t may;
};

static unsigned bit_of(enum ac_right right) { return (unsigned)__builtin_ctz((unsigned)right); }

// ---- rules ----

static int read_rule(const struct ac_rights_rule *from, struct rule *to) {
    to->may = from->may & AC_MAY_ALL;
    if (from->from && !sys_network_parse(from->from, &to->from))
        return -EINVAL;
    if (from->certificate) {
        to->certificate = memory_copy_text(from->certificate);
        return to->certificate ? 0 : -ENOMEM;
    }
    return 0;
}

int rights_begin(struct remote *remote, const struct ac_network_options *options) {
    size_t count = options->rights_count;
    if (count > RULES_MAX || (count > 0 && !options->rights))
        return -EINVAL;
    rights_end(remote);
    if (count == 0)
        return 0;
    remote->rules = memory_allocate_zeroed(count * sizeof *remote->rules);
    if (!remote->rules)
        return -ENOMEM;
    remote->rule_count = count;
    int err = 0;
    for (size_t i = 0; i < count && !err; i++)
        err = read_rule(&options->rights[i], &remote->rules[i]);
    if (err)
        rights_end(remote);
    return err;
}

void rights_end(struct remote *remote) {
    for (size_t i = 0; i < remote->rule_count; i++)
        memory_release(remote->rules[i].certificate);
    memory_release(remote->rules);
    remote->rules = NULL;
    remote->rule_count = 0;
}

void rights_done(struct remote *remote) {
    rights_end(remote);
    struct grant *grant;
    for (uint64_t cursor = 0; (grant = map_next(&remote->grants, &cursor, NULL, NULL));)
        memory_release(grant);
    map_done(&remote->grants);
    map_done(&remote->guards);
    map_done(&remote->limits);
}

// ---- deciding: guest side ----

static bool fits(const struct rule *rule, const struct fabric_peer *peer) {
    if (rule->from.address.family != 0 && !sys_network_holds(&rule->from, &peer->remote))
        return false;
    return !rule->certificate ||
           (peer->certificate[0] && trust_name_is_among(peer->certificate, rule->certificate));
}

static uint32_t by_rules(const struct remote *remote, const struct fabric_peer *peer) {
    for (size_t i = 0; i < remote->rule_count; i++)
        if (fits(&remote->rules[i], peer))
            return remote->rules[i].may;
    return AC_MAY_ALL;
}

// Where there are rules, whose address and certificate are not known fits those alone that are for
// all.
uint32_t rights_decide(struct remote *remote, uint64_t peer) {
    const struct grant *grant = map_get_id(&remote->grants, peer);
    if (grant)
        return grant->may;
    struct fabric_peer found = {0};
    (void)fabric_peer_find(remote->fabric, peer, &found);
    return by_rules(remote, &found);
}

static void tell(struct remote *remote, const struct remote_peer *peer) {
    struct head head = {0};
    head_put(&head, peer->may);
    remote_tell(remote, peer->id, FRAME_RIGHTS, &head, FABRIC_ALWAYS);
}

void rights_linked(struct remote *remote, uint64_t id) {
    struct remote_peer *peer = remote_peer_need(remote, id);
    if (!peer) {
        remote_give_up(remote, id);
        return;
    }
    peer->may = rights_decide(remote, id);
    peer->linked = true;
    if (peer->may != AC_MAY_ALL)
        tell(remote, peer);
}

void rights_lost(struct remote *remote, uint64_t peer) {
    memory_release(map_take_id(&remote->grants, peer));
}

static void refuse(struct remote *remote, uint64_t peer, enum ac_right right) {
    __atomic_fetch_add(&remote->refusals[bit_of(right)], 1, __ATOMIC_RELAXED);
    trace(TRACE_REMOTE, "refused to peer %016llx: right %u", (unsigned long long)peer,
          (unsigned)right);
}

bool rights_check(struct remote *remote, const struct remote_peer *peer, enum ac_right right) {
    if (likely(peer->may & (unsigned)right))
        return true;
    refuse(remote, peer->id, right);
    return false;
}

// An answer is what was asked for.
bool rights_check_message(struct remote *remote, const struct remote_peer *peer, uint64_t to) {
    if (unlikely(map_count(&remote->guards) > 0)) {
        const uint32_t *right = map_get_id(&remote->guards, to);
        if (right && !rights_check(remote, peer, (enum ac_right) * right))
            return false;
    }
    return ref_sort(to) == REF_ANSWER || rights_check(remote, peer, AC_MAY_SEND);
}

// ---- for the pieces of the library ----

int remote_may(struct loop *loop, uint64_t peer, enum ac_right right) {
    struct remote *remote = remote_seen(loop);
    if (!remote || peer == loop->peer)
        return 0;
    remote_enter(remote);
    const struct remote_peer *it = remote_peer_find(remote, peer);
    uint32_t may = it && it->linked ? it->may : rights_decide(remote, peer);
    remote_leave(remote);
    if (may & (unsigned)right)
        return 0;
    refuse(remote, peer, right);
    return -EACCES;
}

// The rights as constants, for a map holds pointers.
static const uint32_t *right_constant(enum ac_right right) {
    static const uint32_t rights[] = {1, 2, 4, 8, 16, 32};
    return &rights[bit_of(right)];
}

int remote_guard(struct loop *loop, ac_ref receiver, enum ac_right right) {
    struct remote *remote = remote_need(loop);
    if (!remote)
        return -ENOMEM;
    remote_enter(remote);
    int err = map_put_id(&remote->guards, receiver.id, (void *)(uintptr_t)right_constant(right));
    remote_leave(remote);
    return err == -EEXIST ? 0 : err;
}

void remote_unguard(struct loop *loop, ac_ref receiver) {
    struct remote *remote = remote_of(loop);
    if (!remote)
        return;
    remote_enter(remote);
    map_take_id(&remote->guards, receiver.id);
    remote_leave(remote);
}

// ---- what others let us do: host side ----

// Those alone are kept that do not let us do everything. The map holds no pointer but what is
// missing, which is never 0.
void rights_told(struct remote *remote, const struct arrival *arrival) {
    uintptr_t missing = AC_MAY_ALL & ~(uintptr_t)arrival->result;
    map_take_id(&remote->limits, arrival->peer);
    if (missing != 0 && map_put_id(&remote->limits, arrival->peer, (void *)missing) < 0)
        trace(TRACE_REMOTE, "no memory for the rights that a peer gives us");
}

bool rights_missing_slowly(const struct remote *remote, uint64_t peer, enum ac_right right) {
    return ((uintptr_t)map_get_id(&remote->limits, peer) & (unsigned)right) != 0;
}

bool remote_lets_us(struct loop *loop, uint64_t peer, enum ac_right right) {
    const struct remote *remote = remote_linked(loop);
    return !remote || !rights_missing(remote, peer, right);
}

// ---- public ----

int ac_set_peer_rights(uint64_t id, uint32_t may) {
    struct remote *remote = remote_linked(loop_here);
    if (!remote)
        return remote_seen(loop_here) ? -ENOTSUP : -ENOTCONN;
    struct fabric_peer found;
    struct grant *grant = memory_allocate(sizeof *grant);
    if (!grant)
        return -ENOMEM;
    grant->may = may & AC_MAY_ALL;
    int err = -EHOSTUNREACH;
    remote_enter(remote);
    if (fabric_peer_find(remote->fabric, id, &found)) {
        memory_release(map_take_id(&remote->grants, id));
        err = map_put_id(&remote->grants, id, grant);
        struct remote_peer *peer = remote_peer_find(remote, id);
        if (err == 0 && peer && peer->linked && peer->may != grant->may) {
            peer->may = grant->may;
            tell(remote, peer);
        }
    }
    remote_leave(remote);
    if (err < 0)
        memory_release(grant);
    return err;
}

long ac_peer_rights(uint64_t id) {
    struct remote *remote = remote_seen(loop_here);
    if (!remote)
        return -ENOTCONN;
    struct fabric_peer found;
    long may = -EHOSTUNREACH;
    remote_enter(remote);
    const struct remote_peer *peer = remote_peer_find(remote, id);
    if (peer && peer->linked)
        may = peer->may;
    else if (fabric_peer_find(remote->fabric, id, &found))
        may = rights_decide(remote, id);
    remote_leave(remote);
    return may;
}

uint64_t ac_refusals(enum ac_right right) {
    struct remote *remote = remote_seen(loop_here);
    if (!remote || right == 0 || (right & AC_MAY_ALL) != right || (right & (right - 1)))
        return 0;
    return __atomic_load_n(&remote->refusals[bit_of(right)], __ATOMIC_RELAXED);
}
