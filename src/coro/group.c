// SPDX-License-Identifier: MIT
// Groups: coroutines that end together.
//
// A member is a watch on the end of a coroutine, allocated before the coroutine is made, so that a
// spawn fails or a member is in its group. The group counts them; the first failure is kept and, if
// the group is not to keep going, cancels the others.
//
// The group lives as long as its owner or a member: when the owner ends first, the members are
// cancelled and the last of them frees it. A group once cancelled stays so, and what is spawned
// into it meanwhile never runs.
#include "coro/coro.h"

struct ac_group {
    struct loop *loop;            // whose coroutines it holds
    struct coro *owner;           // who opened it; NULL: ended
    struct coro *waiter;          // the owner while it waits for the members, or NULL
    struct end_watch owner_watch; // on the owner
    struct list members;          // struct group_member
    uint32_t count;               // of the members, that is of those that have not ended
    int failure;                  // of the first member that failed; 0: none
    bool keep_going;              // a failure leaves the others alone
    bool cancelled;
};

struct group_member {
    struct end_watch watch; // on `coro`
    struct list link;       // in the group
    struct ac_group *group;
    struct coro *coro;
};

static void owner_ended(struct end_watch *watch, const struct ac_exit *exit);
static void member_ended(struct end_watch *watch, const struct ac_exit *exit);
static bool abandon(struct coro *coro);

static const struct wait_kind members_wait = {"group", abandon, .until_deadline = false};

int ac_group_open_with(ac_group **group, const struct ac_group_options *options) {
    struct coro *self = coro_here();
    if (!group)
        return -EINVAL;
    *group = NULL;
    if (!self)
        return -EPERM;
    struct ac_group *it = memory_allocate_zeroed(sizeof *it);
    if (!it)
        return -ENOMEM;
    it->loop = self->loop;
    it->owner = self;
    it->owner_watch.ended = owner_ended;
    // The field may be missing in the options of a program that was built with an older header.
    size_t keep_going_end = offsetof(struct ac_group_options, keep_going) + sizeof(bool);
    it->keep_going = options && options->size >= keep_going_end && options->keep_going;
    list_init(&it->members);
    coro_watch(self, &it->owner_watch);
    *group = it;
    return 0;
}

uint32_t ac_group_count(const ac_group *group) { return group ? group->count : 0; }

void ac_group_cancel(ac_group *group) {
    if (!group || group->cancelled)
        return;
    group->cancelled = true;
    list_each (link, &group->members)
        coro_cancel(container_of(link, struct group_member, link)->coro);
}

// ---- members ----

struct group_member *coro_group_reserve(struct ac_group *group, const struct loop *loop, int *err) {
    bool here = group->loop == loop;
    struct group_member *member = here ? memory_allocate_zeroed(sizeof *member) : NULL;
    if (member)
        member->group = group;
    else
        *err = here ? -ENOMEM : -EXDEV;
    return member;
}

void coro_group_add(struct group_member *member, struct coro *coro) {
    struct ac_group *group = member->group;
    if (!coro) {
        memory_release(member);
        return;
    }
    member->coro = coro;
    member->watch.ended = member_ended;
    member->watch.observes = true;
    coro_watch(coro, &member->watch);
    list_append(&group->members, &member->link);
    group->count++;
    if (group->cancelled)
        coro_cancel(coro);
}

static void member_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct group_member *member = container_of(watch, struct group_member, watch);
    struct ac_group *group = member->group;
    list_remove(&member->link);
    memory_release(member);
    group->count--;
    if (exit->how == AC_FAILED && group->failure == 0) {
        group->failure = exit->reason;
        if (!group->keep_going)
            ac_group_cancel(group);
    }
    if (group->count > 0)
        return;
    if (!group->owner) {
        memory_release(group);
    } else if (group->waiter) {
        struct coro *waiter = group->waiter;
        group->waiter = NULL;
        coro_wake(waiter, group->failure);
    }
}

// ---- the owner ----

static void owner_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct ac_group *group = container_of(watch, struct ac_group, owner_watch);
    group->owner = NULL;
    ac_group_cancel(group);
    if (group->count == 0)
        memory_release(group);
}

static bool abandon(struct coro *coro) {
    struct ac_group *group = coro->wait_for;
    group->waiter = NULL;
    return true;
}

static int wait_for_members(struct ac_group *group, struct coro *self, ac_time deadline) {
    group->waiter = self;
    self->wait_for = group;
    return coro_wait(self, &members_wait, deadline);
}

int ac_group_join(ac_group *group, ac_time deadline) {
    struct coro *self = coro_here();
    if (!self || !group)
        return self ? -EINVAL : -EPERM;
    if (group->owner != self)
        return -EPERM;
    if (group->count == 0)
        return group->failure;
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    return wait_for_members(group, self, deadline);
}

int ac_group_close(ac_group *group) {
    struct coro *self = coro_here();
    if (!group)
        return 0;
    if (!self || group->owner != self)
        return -EPERM;
    ac_group_cancel(group);
    bool bare = self->shield == 0;
    if (bare)
        (void)ac_shield_begin();
    // Somebody may spawn another one between the end of the last and the turn of the owner.
    while (group->count > 0)
        (void)wait_for_members(group, self, AC_FOREVER);
    if (bare)
        (void)ac_shield_end();
    int failure = group->failure;
    coro_unwatch(&group->owner_watch);
    memory_release(group);
    return failure;
}
