// SPDX-License-Identifier: MIT
// What a node passes on to another one, because the supplier of a computation has asked its host
// to. The messages are specified at the head of host.c.
#include "cluster/cluster_private.h"

#include <stdio.h>

enum { GIFTS_MAX = 8 }; // of the node at a time: each has descriptors of its own

// What another node lacks, on its way there.
struct gift {
    struct node *node;
    struct voice voice; // of the host that gives
    ac_ref host;        // that is given
    struct cargo cargo;
    struct cargo_sending sending;
    char name[64];
};

static ac_value run_gift(ac_value argument) {
    struct gift *gift = ac_pointer_of(argument);
    bool over = false;
    int err = ac_monitor(gift->host);
    if (!err && !remote_lets_us(loop_here, gift->host.peer, AC_MAY_SHIP))
        err = -EACCES;
    while (!err && !over && ac_mailbox_count() == 0) {
        err = ac_send(gift->host, cargo_next(&gift->cargo, &gift->sending, &over));
        // The other one has something to do while the next piece is read.
        if (!err)
            err = loop_await_turn();
    }
    trace(TRACE_CLUSTER, "%s: passed on to a node: %s", gift->name,
          err    ? ac_strerror(err)
          : over ? "all"
                 : "no longer wanted");
    if (!over)
        gift_refuse(&gift->voice, gift->host, gift->sending.round);
    cargo_send_end(&gift->sending);
    cargo_close(&gift->cargo);
    gift->node->gift_count--;
    memory_release(gift);
    return ac_nil;
}

void gift_refuse(const struct voice *voice, ac_ref to, uint64_t round) {
    (void)ac_send(voice->supplier,
                  ac_list("cannot", voice->host, ac_of_bytes(voice->secret, sizeof voice->secret),
                          to, round));
}

int gift_begin(struct node *node, const struct intake *intake, const char *name,
               const struct voice *voice, ac_ref to, ac_value wanted, uint64_t round) {
    struct gift *gift = node->gift_count < GIFTS_MAX ? memory_allocate_zeroed(sizeof *gift) : NULL;
    if (!gift) {
        ac_drop(wanted);
        return node->gift_count < GIFTS_MAX ? -ENOMEM : -EBUSY;
    }
    gift->node = node;
    gift->voice = *voice;
    gift->host = to;
    snprintf(gift->name, sizeof gift->name, "%s", name);
    cargo_send(&gift->sending, wanted, round);
    int err = intake_cargo(intake, &gift->cargo);
    if (!err && outside_daemon(run_gift, gift, "a program that is passed on")) {
        node->gift_count++;
        return 0;
    }
    cargo_send_end(&gift->sending);
    cargo_close(&gift->cargo);
    memory_release(gift);
    return err ? err : -ENOMEM;
}
