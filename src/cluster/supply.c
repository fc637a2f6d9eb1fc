// SPDX-License-Identifier: MIT
// Finding nodes and bringing the program to each of them. The messages are specified at the head of
// host.c.
//
// The finder follows the name under which nodes register and makes an agent for each. An agent asks
// its node to take the computation in, sends the program if the node does not have it, and from
// then on passes on what the node and its workers tell. While it uploads it looks into its mailbox
// after each piece, so that a refusal ends the upload. Nodes beyond nodes_max wait until one of the
// others is refused or gone.
#include "cluster/client_private.h"

#include <stdio.h>

enum { CLOSE_GRACE_NS = 3 * 1000 * 1000 * 1000ll };

struct spare {
    struct list link;
    ac_ref holder;
};

static ac_value run_agent(ac_value argument);

static void node_status(struct node_agent *node, enum ac_status_kind kind, const char *text) {
    struct ac_status status = {.kind = kind, .node = node->holder};
    snprintf(status.location, sizeof status.location, "%s", node->location);
    snprintf(status.text, sizeof status.text, "%s", text);
    text_mend(status.text);
    computation_tell(node->computation, status_notice(&status));
}

// ---- finding ----

static void take_node(struct ac_computation *it, ac_ref holder) {
    struct node_agent *node = memory_allocate_zeroed(sizeof *node);
    if (!node)
        return;
    *node = (struct node_agent){.computation = it, .holder = holder};
    location_of(it->loop, holder, node->location);
    node->coro = computation_spawn(it, run_agent, node, "agent of a node");
    if (node->coro)
        list_append(&it->nodes, &node->link);
    else
        memory_release(node);
}

static uint32_t node_count(const struct ac_computation *it) {
    uint32_t count = 0;
    list_each (link, &it->nodes)
        count += !container_of(link, struct node_agent, link)->over;
    return count;
}

static void meet_node(struct ac_computation *it, ac_ref holder) {
    if (it->nodes_max == 0 || node_count(it) < it->nodes_max) {
        take_node(it, holder);
        return;
    }
    struct spare *spare = memory_allocate_zeroed(sizeof *spare);
    if (!spare)
        return;
    spare->holder = holder;
    list_init(&spare->link);
    list_append(&it->spare, &spare->link);
}

static void take_spare(struct ac_computation *it) {
    struct list *link = it->closer ? NULL : list_take(&it->spare);
    if (!link)
        return;
    struct spare *spare = container_of(link, struct spare, link);
    take_node(it, spare->holder);
    memory_release(spare);
}

void supply_forget_spares(struct ac_computation *it) {
    struct list *link;
    while ((link = list_take(&it->spare)) != NULL)
        memory_release(container_of(link, struct spare, link));
}

ac_value supply_run_finder(ac_value argument) {
    struct ac_computation *it = ac_pointer_of(argument);
    int err = remote_follow(NODE_NAME);
    if (err)
        trace(TRACE_CLUSTER, "%s: nodes cannot be found: %s", it->name, ac_strerror(err));
    ac_value message;
    ac_ref holder;
    while (!err && ac_receive(&message, AC_FOREVER) == 0) {
        if (remote_holder_of(message, &holder) && !it->closer)
            meet_node(it, holder);
        ac_drop(message);
    }
    it->agents--;
    computation_changed(it);
    return ac_nil;
}

void supply_end_nodes(struct ac_computation *it) {
    list_each (link, &it->nodes) {
        struct node_agent *node = container_of(link, struct node_agent, link);
        node->closing = true;
        agent_kick(node->coro);
    }
}

// ---- the agent of a node ----

static int open_at_node(struct node_agent *node) {
    struct ac_computation *it = node->computation;
    if (!remote_lets_us(loop_here, node->holder.peer, AC_MAY_SHIP))
        return -EACCES;
    int err = ac_monitor(node->holder);
    if (err)
        return err;
    return ac_send(node->holder, ac_list("open", ac_self(), (const char *)it->name,
                                         ac_hold(it->cargo.told), it->workers_max));
}

// The next piece, or the end.
static int upload(struct node_agent *node) {
    bool over;
    ac_value message = cargo_next(&node->computation->cargo, &node->sending, &over);
    node->uploading = !over;
    return ac_send(node->host, message);
}

// Takes `wanted`: the items of the cargo that the node lacks.
static void take_host(struct node_agent *node, ac_ref host, const char *name, ac_value wanted) {
    node->host = host;
    snprintf(node->name, sizeof node->name, "%s", name ? name : "");
    text_mend(node->name);
    node->uploading = ac_count(wanted) > 0;
    trace(TRACE_CLUSTER, "node %s lacks %zu items", node->name, ac_count(wanted));
    cargo_send(&node->sending, wanted);
    (void)ac_monitor(host);
}

static void take_have(struct node_agent *node, ac_value message) {
    const char *word, *name;
    ac_ref host;
    if (ac_unpack(message, &word, &host, &name) == 0 && !ac_ref_is(node->host))
        take_host(node, host, name, ac_nil);
}

static void take_need(struct node_agent *node, ac_value message) {
    const char *word, *name;
    ac_ref host;
    ac_value wanted;
    if (ac_unpack(message, &word, &host, &name, &wanted) != 0)
        return;
    if (ac_ref_is(node->host))
        ac_drop(wanted);
    else
        take_host(node, host, name, wanted);
}

static void take_refusal(struct node_agent *node, ac_value message) {
    const char *word, *text, *name;
    if (ac_unpack(message, &word, &text, &name) != 0)
        return;
    char all[512];
    snprintf(all, sizeof all, "%s: %s", name ? name : "", text ? text : "refused");
    node->over = true;
    node_status(node, AC_NODE_REFUSED, all);
}

static void be_ready(struct node_agent *node) {
    if (!node->ready)
        node_status(node, AC_NODE_READY, node->name);
    node->ready = true;
}

static void take_worker(struct node_agent *node, ac_value message) {
    const char *word;
    int64_t number;
    ac_ref worker;
    if (ac_unpack(message, &word, &number, &worker) != 0 || node->closing)
        return;
    be_ready(node); // it may have overtaken the word of the node
    scheduler_add_worker(node, number, worker);
}

static void take_gone(struct node_agent *node, ac_value message) {
    const char *word, *text;
    int64_t number;
    if (ac_unpack(message, &word, &number, &text) == 0 && number > 0)
        scheduler_worker_ended(node, number, text ? text : "");
}

static void take_exit(struct node_agent *node, const struct ac_exit *exit) {
    ac_drop(exit->value);
    if (node->over)
        return;
    node->over = true;
    trace(TRACE_CLUSTER, "node %s: gone: %s", node->name, ac_strerror(exit->reason));
    bool in_order = node->closing || exit->how != AC_LOST;
    if (node->ready)
        node_status(node, AC_NODE_GONE, in_order ? "closed" : "lost");
}

static void take_message(struct node_agent *node, ac_value message) {
    struct ac_exit exit;
    if (ac_exit_of(message, &exit))
        take_exit(node, &exit);
    else if (message_is(message, "need"))
        take_need(node, message);
    else if (message_is(message, "have"))
        take_have(node, message);
    else if (message_is(message, "ready"))
        be_ready(node);
    else if (message_is(message, "refused"))
        take_refusal(node, message);
    else if (message_is(message, "worker"))
        take_worker(node, message);
    else if (message_is(message, "gone"))
        take_gone(node, message);
    ac_drop(message);
}

// Until the node is gone, or has done what closing asks of it.
static void serve(struct node_agent *node) {
    ac_time deadline = AC_FOREVER;
    int err = 0;
    while (!node->over && !err) {
        if (node->closing && deadline == AC_FOREVER) {
            if (!ac_ref_is(node->host))
                return;
            deadline = ac_after(CLOSE_GRACE_NS * 1e-9);
            node->uploading = false;
            if (ac_send(node->host, ac_list("close")) < 0)
                return;
        }
        ac_value message;
        bool waits = !(node->uploading && ac_mailbox_count() == 0);
        err = waits ? ac_receive(&message, deadline) : upload(node);
        if (waits && !err)
            take_message(node, message);
    }
    if (err && !node->over && err != -ECANCELED)
        trace(TRACE_CLUSTER, "node %s: given up: %s", node->name, ac_strerror(err));
}

static ac_value run_agent(ac_value argument) {
    struct node_agent *node = ac_pointer_of(argument);
    struct ac_computation *it = node->computation;
    int err = open_at_node(node);
    if (!err)
        serve(node);
    if (!node->over && node->ready)
        node_status(node, AC_NODE_GONE, node->closing ? "closed" : "lost");
    node->over = true;
    scheduler_worker_ended(node, 0, node->closing ? "closed" : "its node is gone");
    list_remove(&node->link);
    cargo_send_end(&node->sending);
    memory_release(node);
    it->agents--;
    take_spare(it);
    computation_changed(it);
    return ac_nil;
}
