// SPDX-License-Identifier: MIT
// Finding nodes and having them run the programs of computations. The messages are specified at the
// head of host.c.
//
// The finder follows the name under which nodes register, and keeps a record of each, a *site*. For
// each computation and site there is an agent: it asks the node to take the computation in, and
// passes on what the node and its workers tell. The program itself goes from the client to the
// node, not through here. Nodes beyond nodes_max are left until one of the others is refused or
// gone.
#include "cluster/scheduler.h"

#include <stdio.h>

enum { CLOSE_GRACE_NS = 3 * 1000 * 1000 * 1000ll, PLACES_PER_MESSAGE = 16 };

static ac_value run_agent(ac_value argument);

static void tell(struct desk *desk, const struct site *site, enum ac_status_kind kind, bool lost,
                 const char *text) {
    struct ac_status status = {.kind = kind, .node = site->holder, .lost = lost};
    snprintf(status.location, sizeof status.location, "%s", site->location);
    snprintf(status.text, sizeof status.text, "%s", text);
    text_mend(status.text);
    desk_status(desk, &status, "");
}

static void site_status(struct site_agent *agent, enum ac_status_kind kind, const char *text) {
    tell(agent->desk, agent->site, kind, false, text);
}

static void site_gone(struct desk *desk, const struct site *site, bool closed) {
    tell(desk, site, AC_NODE_GONE, !closed, closed ? "closed" : "lost");
}

// ---- sites ----

void supply_release(struct site *site) {
    if (--site->users > 0)
        return;
    if (site->place)
        placement_remove_node(site->place);
    memory_release(site);
}

static uint32_t agent_count(const struct desk *desk) {
    uint32_t count = 0;
    list_each (link, &desk->agents)
        count += !container_of(link, struct site_agent, link)->over;
    return count;
}

// From now on the site is not looked at again. False: no memory.
static bool note_asked(struct desk *desk, struct site *site) {
    int err = map_put(&desk->asked, &site->holder, sizeof site->holder, site);
    return err == 0 || err == -EEXIST;
}

static bool add_agent(struct desk *desk, struct site *site) {
    struct site_agent *agent = memory_allocate_zeroed(sizeof *agent);
    if (!agent)
        return false;
    if (!note_asked(desk, site)) {
        memory_release(agent);
        return false;
    }
    *agent = (struct site_agent){.desk = desk, .site = site, .cleaning_until = AC_FOREVER};
    list_init(&agent->link);
    map_init(&agent->unheard);
    agent->coro = cluster_spawn(desk->scheduler->loop, run_agent, agent, "agent of a node");
    if (!agent->coro) {
        (void)map_take(&desk->asked, &site->holder, sizeof site->holder);
        memory_release(agent);
        return false;
    }
    list_append(&desk->agents, &agent->link);
    desk->agent_count++;
    site->users++;
    if (site->place)
        placement_keep_out(desk->place, site->place, NULL);
    setup_look(desk);
    site_status(agent, AC_NODE_FOUND, "");
    return true;
}

// Not one of a site that the finder has lost: that goes with its agent, which learns it yet.
static struct site_agent *find_agent(struct desk *desk, ac_ref holder) {
    list_each (link, &desk->agents) {
        struct site_agent *agent = container_of(link, struct site_agent, link);
        bool known = !agent->over && !list_empty(&agent->site->link);
        if (known && ac_ref_equal(agent->site->holder, holder))
            return agent;
    }
    return NULL;
}

// Whether the client does not want a site has changed.
static void count_disabled(struct desk *desk) {
    placement_set_disabled(desk->place, map_count(&desk->disabled));
}

// Tells of a site that is used only when the client has enabled it.
static void offer(struct desk *desk, struct site *site) {
    if (!note_asked(desk, site))
        return; // it is offered the next time that something happens
    if (map_put(&desk->disabled, &site->holder, sizeof site->holder, site) < 0) {
        (void)map_take(&desk->asked, &site->holder, sizeof site->holder);
        return;
    }
    count_disabled(desk);
    tell(desk, site, AC_NODE_FOUND, false, "");
}

void supply_serve(struct desk *desk) {
    list_each (link, &desk->scheduler->sites) {
        struct site *site = container_of(link, struct site, link);
        if (desk->closing || desk->restoring)
            return;
        if (map_get(&desk->asked, &site->holder, sizeof site->holder))
            continue;
        if (desk->nodes_disabled)
            offer(desk, site);
        else if (desk->nodes_max == 0 || agent_count(desk) < desk->nodes_max)
            (void)add_agent(desk, site);
    }
}

static void meet(struct scheduler *scheduler, ac_ref holder) {
    struct site *site = memory_allocate_zeroed(sizeof *site);
    if (!site)
        return;
    site->holder = holder;
    site->users = 1;
    location_of(scheduler->loop, holder, site->location);
    list_init(&site->link);
    list_append(&scheduler->sites, &site->link);
    if (ac_monitor(holder) < 0)
        trace(TRACE_CLUSTER, "node at %s: cannot be watched", site->location);
    list_each (link, &scheduler->desks)
        supply_serve(container_of(link, struct desk, link));
}

static void lose(struct scheduler *scheduler, ac_ref holder) {
    list_each (link, &scheduler->sites) {
        struct site *site = container_of(link, struct site, link);
        if (!ac_ref_equal(site->holder, holder))
            continue;
        list_each (at, &scheduler->desks) {
            struct desk *desk = container_of(at, struct desk, link);
            (void)map_take(&desk->asked, &holder, sizeof holder);
            if (map_take(&desk->disabled, &holder, sizeof holder) && !find_agent(desk, holder))
                site_gone(desk, site, false);
            count_disabled(desk);
        }
        list_remove(&site->link);
        supply_release(site);
    }
    scheduler_changed(scheduler);
}

ac_value supply_run_finder(ac_value argument) {
    struct scheduler *scheduler = ac_pointer_of(argument);
    int err = remote_follow(NODE_NAME);
    if (err)
        trace(TRACE_CLUSTER, "nodes cannot be found: %s", ac_strerror(err));
    ac_value message;
    ac_ref holder;
    struct ac_exit exit;
    while (!err && (err = ac_receive(&message, AC_FOREVER)) == 0) {
        if (remote_holder_of(message, &holder)) {
            meet(scheduler, holder);
        } else if (ac_exit_of(message, &exit)) {
            lose(scheduler, exit.who);
            ac_drop(exit.value);
        }
        ac_drop(message);
    }
    return ac_nil;
}

void supply_end_all(struct desk *desk) {
    list_each (link, &desk->agents)
        agent_kick(container_of(link, struct site_agent, link)->coro);
}

// ---- what the client wants of places ----

static bool is_disabled(struct desk *desk, const struct site *site) {
    return map_get(&desk->disabled, &site->holder, sizeof site->holder) != NULL;
}

static void look_at_workers(struct site_agent *agent) {
    list_each (link, &agent->desk->workers) {
        struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == agent)
            agent_look(worker);
    }
}

static int disable(struct site_agent *agent) {
    struct site *site = agent->site;
    if (is_disabled(agent->desk, site))
        return 0;
    int err = map_put(&agent->desk->disabled, &site->holder, sizeof site->holder, site);
    if (err < 0)
        return err;
    agent->disabled = true;
    count_disabled(agent->desk);
    look_at_workers(agent);
    site_status(agent, AC_NODE_DISABLED, agent->name);
    agent_kick(agent->coro);
    return 0;
}

// One that was told to end its workers gets another agent when this one has ended.
static int enable(struct site_agent *agent) {
    if (!map_take(&agent->desk->disabled, &agent->site->holder, sizeof agent->site->holder))
        return 0;
    count_disabled(agent->desk);
    if (agent->leaving)
        return 0;
    agent->disabled = false;
    look_at_workers(agent);
    site_status(agent, AC_NODE_FOUND, agent->name);
    if (agent->ready && !agent->draining)
        site_status(agent, AC_NODE_READY, agent->name);
    return 0;
}

static int suspend(struct site_agent *agent, bool suspended) {
    if (agent->disabled)
        return -EINVAL;
    if (agent->suspended == suspended)
        return 0;
    agent->suspended = suspended;
    look_at_workers(agent);
    site_status(agent, suspended ? AC_NODE_SUSPENDED : AC_NODE_RESUMED, agent->name);
    return 0;
}

int supply_steer(struct desk *desk, ac_ref place, enum steer what) {
    struct site_agent *agent = find_agent(desk, place);
    if (agent && what == STEER_DISABLE)
        return disable(agent);
    if (agent)
        return what == STEER_ENABLE ? enable(agent) : suspend(agent, what == STEER_SUSPEND);
    struct site *site = map_get(&desk->disabled, &place, sizeof place);
    if (!site)
        return agent_steer(desk, place, what);
    if (what == STEER_DISABLE)
        return 0;
    if (what != STEER_ENABLE)
        return -EINVAL;
    if (!add_agent(desk, site))
        return -ENOMEM;
    (void)map_take(&desk->disabled, &place, sizeof place);
    count_disabled(desk);
    return 0;
}

// Those of a list that are wanted.
struct listing {
    ac_value items[1 + PLACES_PER_MESSAGE]; // the first is for how many there are
    size_t count;
    uint64_t from, seen;
};

static void list_place(struct listing *it, const struct site *site, ac_ref worker,
                       enum ac_place_state state, uint32_t jobs) {
    if (it->seen++ < it->from || it->count == countof(it->items))
        return;
    static const struct place_facts unknown = {0};
    const struct place_facts *facts = site->place ? placement_facts(site->place) : &unknown;
    it->items[it->count++] = ac_list(site->holder, ac_ref_is(worker) ? ac_of(worker) : ac_nil,
                                     (int)state, jobs, facts->cpus, facts->memory,
                                     (const char *)facts->name, (const char *)site->location);
}

static void list_site(struct listing *it, struct site_agent *agent) {
    uint32_t jobs = 0;
    list_each (link, &agent->desk->workers) {
        const struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == agent && worker->place)
            jobs += placement_load(worker->place);
    }
    list_place(it, agent->site, ac_no_ref,
               is_draining(agent) ? AC_PLACE_DRAINING
               : !agent->ready    ? AC_PLACE_FOUND
               : agent->suspended ? AC_PLACE_SUSPENDED
                                  : AC_PLACE_READY,
               jobs);
    list_each (link, &agent->desk->workers) {
        const struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == agent)
            list_place(it, agent->site, worker->ref, agent_state(worker),
                       worker->place ? placement_load(worker->place) : 0);
    }
}

ac_value supply_list(struct desk *desk, uint64_t from) {
    struct listing it = {.count = 1, .from = from};
    list_each (link, &desk->scheduler->sites) {
        struct site *site = container_of(link, struct site, link);
        struct site_agent *agent = find_agent(desk, site->holder);
        if (agent)
            list_site(&it, agent);
        else if (is_disabled(desk, site))
            list_place(&it, site, ac_no_ref, AC_PLACE_DISABLED, 0);
    }
    it.items[0] = ac_of(it.seen);
    return ac_list_of(it.items, it.count);
}

// ---- the agent of a site ----

// A node that the lost scheduler may have used is asked for what it has kept, once: what is lost to
// this scheduler is given up.
static bool asks_again(struct site_agent *agent) {
    struct desk *desk = agent->desk;
    uint64_t node = agent->site->holder.peer;
    return desk->record && desk->record->restored && !map_get_id(&desk->returned, node) &&
           map_put_id(&desk->returned, node, agent->site) == 0;
}

static int open_at_node(struct site_agent *agent) {
    struct desk *desk = agent->desk;
    const struct journal_computation *record = desk->record;
    if (!remote_lets_us(loop_here, agent->site->holder.peer, AC_MAY_SHIP))
        return -EACCES;
    uint8_t secret[SECRET_BYTES];
    int err = supplier_secret(desk->key, agent->site->holder.peer, secret);
    if (!err)
        err = ac_monitor(agent->site->holder);
    if (err)
        return err;
    char client[SYS_ADDRESS_TEXT_BYTES];
    sys_address_text(&desk->client, client);
    return ac_send(agent->site->holder,
                   ac_list("open", ac_self(), (const char *)desk->name, ac_hold(desk->cargo),
                           desk->workers_max, desk->supplier, ac_of_bytes(secret, sizeof secret),
                           (const char *)client,
                           record ? ac_of_bytes(record->token, sizeof record->token) : ac_nil,
                           record ? (double)desk->scheduler->return_ns * 1e-9 : 0.0,
                           asks_again(agent)));
}

static void take_answer(struct site_agent *agent, ac_value message) {
    const char *word, *name;
    ac_ref host;
    if (ac_unpack(message, &word, &host, &name) != 0 || ac_ref_is(agent->host))
        return;
    agent->host = host;
    snprintf(agent->name, sizeof agent->name, "%s", name ? name : "");
    text_mend(agent->name);
    (void)ac_monitor(host);
}

void supply_refuse(struct site_agent *agent, const char *why) {
    char all[512];
    if (agent->over)
        return;
    snprintf(all, sizeof all, "%s: %s", agent->name, why);
    snprintf(agent->why, sizeof agent->why, "%.*s", (int)sizeof agent->why - 1, why);
    agent->over = true;
    site_status(agent, AC_NODE_REFUSED, all);
    agent_kick(agent->coro);
}

static void take_refusal(struct site_agent *agent, ac_value message) {
    const char *word, *text, *name;
    if (ac_unpack(message, &word, &text, &name) != 0)
        return;
    if (!agent->name[0])
        snprintf(agent->name, sizeof agent->name, "%s", name ? name : "");
    supply_refuse(agent, text ? text : "refused");
}

// What the node has: [processors, memory, tags, architecture].
static bool read_facts(struct site_agent *agent, ac_value list, struct place_facts *facts) {
    const char *tags, *architecture;
    if (ac_unpack(list, &facts->cpus, &facts->memory, &tags, &architecture) != 0 || !tags ||
        !architecture)
        return false;
    snprintf(facts->name, sizeof facts->name, "%s", agent->name);
    snprintf(facts->tags, sizeof facts->tags, "%s", tags);
    snprintf(facts->architecture, sizeof facts->architecture, "%s", architecture);
    return true;
}

void supply_ready(struct site_agent *agent) {
    agent->ready = true;
    site_status(agent, AC_NODE_READY, agent->name);
    setup_look(agent->desk);
    scheduler_changed(agent->desk->scheduler);
}

static void take_ready(struct site_agent *agent, ac_value message) {
    const char *word;
    uint32_t workers;
    ac_value list;
    struct site *site = agent->site;
    struct place_facts facts = {0};
    if (ac_unpack(message, &word, &workers, &list) != 0)
        return;
    if (!site->place && read_facts(agent, list, &facts))
        site->place = placement_add_node(agent->desk->scheduler->placement, site, &facts, ac_now());
    ac_drop(list);
    if (!site->place)
        return;
    restore_site_told(agent, false);
    char why[sizeof agent->why];
    memcpy(why, agent->why, sizeof why);
    if (why[0])
        supply_refuse(agent, why);
    else if (!agent->ready && !setup_holds_back(agent))
        supply_ready(agent);
    list_each (link, &agent->desk->workers)
        agent_kick(container_of(link, struct worker_agent, link)->coro);
}

// All its workers may end at once and others take their place while what those have told is waited
// for. A node that announces more than that is at fault. 0 or -EPROTO.
static int take_worker(struct site_agent *agent, ac_value message) {
    const char *word;
    int64_t number;
    ac_ref worker;
    if (ac_unpack(message, &word, &number, &worker) != 0 || agent->desk->closing)
        return 0;
    if (agent->worker_count >= SITE_WORKERS_MAX) {
        trace(TRACE_CLUSTER, "node %s: announces more workers than it may have", agent->name);
        return -EPROTO;
    }
    agent_add(agent, number, worker);
    return 0;
}

// The node gives up soon: nobody places anything there any more, and when what runs has ended it is
// told so.
static void take_draining(struct site_agent *agent) {
    agent->draining = true;
    if (agent->site->place)
        placement_enable_node(agent->site->place, false);
    trace(TRACE_CLUSTER, "node %s: drains", agent->name);
    scheduler_changed(agent->desk->scheduler);
}

static bool is_drained(const struct site_agent *agent) {
    list_each (link, &agent->desk->workers) {
        const struct worker_agent *worker = container_of(link, struct worker_agent, link);
        if (worker->site == agent && worker->place && placement_load(worker->place) > 0)
            return false;
    }
    return is_draining(agent);
}

static void take_gone(struct site_agent *agent, ac_value message) {
    const char *word, *text;
    int64_t number, begun;
    int64_t call;
    bool closed, set_up;
    if (ac_unpack(message, &word, &number, &text, &begun, &closed, &call, &set_up) != 0 ||
        number <= 0)
        return;
    uint64_t count = begun < 0 ? PLACE_NOT_KNOWN : (uint64_t)begun;
    restore_worker_ended(agent, number, count, text ? text : "");
    agent_worker_ended(agent, number, count, closed, text ? text : "");
    setup_take_gone(agent, number, call, closed, set_up, text ? text : "");
}

static void take_kept(struct site_agent *agent, ac_value message) {
    const char *word;
    ac_value numbers;
    bool set_up;
    if (ac_unpack(message, &word, &numbers, &set_up) != 0)
        return;
    restore_kept(agent, numbers);
    setup_take_kept(agent, numbers, set_up);
    ac_drop(numbers);
}

static void take_exit(struct site_agent *agent, const struct ac_exit *exit) {
    ac_drop(exit->value);
    if (agent->over)
        return;
    agent->over = true;
    trace(TRACE_CLUSTER, "node %s: gone: %s", agent->name, ac_strerror(exit->reason));
    agent->closed = agent->desk->closing || exit->how != AC_LOST;
    if (agent->ready)
        site_gone(agent->desk, agent->site, agent->closed);
}

// 0, or why the node is given up.
static int take_message(struct site_agent *agent, ac_value message) {
    struct ac_exit exit;
    int err = 0;
    if (ac_exit_of(message, &exit))
        take_exit(agent, &exit);
    else if (message_is(message, "host"))
        take_answer(agent, message);
    else if (message_is(message, "ready"))
        take_ready(agent, message);
    else if (message_is(message, "refused"))
        take_refusal(agent, message);
    else if (message_is(message, "worker"))
        err = take_worker(agent, message);
    else if (message_is(message, "gone"))
        take_gone(agent, message);
    else if (message_is(message, "kept"))
        take_kept(agent, message);
    else if (message_is(message, "draining"))
        take_draining(agent);
    ac_drop(message);
    return err;
}

// Until the node is gone, or has done what closing asks of it.
static int serve(struct site_agent *agent) {
    ac_time deadline = AC_FOREVER;
    int err = 0;
    while (!agent->over && !err) {
        agent->leaving |= agent->desk->closing || is_drained(agent);
        if (agent->leaving && deadline == AC_FOREVER) {
            if (!ac_ref_is(agent->host))
                return 0;
            if (setup_is_cleaned(agent)) {
                deadline = ac_now() + CLOSE_GRACE_NS;
                if (ac_send(agent->host, ac_list("close")) < 0)
                    return 0;
            }
        }
        ac_value message;
        ac_time look = agent->cleaning_until;
        err = ac_receive(&message, deadline < look ? deadline : look);
        if (!err)
            err = take_message(agent, message);
        else if (err == -ETIMEDOUT && deadline == AC_FOREVER)
            err = 0; // the time of a clean-up is up
    }
    return err;
}

static ac_value run_agent(ac_value argument) {
    struct site_agent *agent = ac_pointer_of(argument);
    struct desk *desk = agent->desk;
    int err = open_at_node(agent);
    if (err == -EACCES)
        site_status(agent, AC_NODE_REFUSED, "it takes no code from this program");
    if (!err)
        err = serve(agent);
    if (err && err != -ECANCELED)
        trace(TRACE_CLUSTER, "node %s: given up: %s", agent->name, ac_strerror(err));
    if (!agent->over) {
        agent->closed = desk->closing || agent->leaving;
        if (agent->ready)
            site_gone(desk, agent->site, agent->closed);
    }
    agent->over = true;
    restore_site_told(agent, true);
    agent_worker_ended(agent, 0, PLACE_NOT_KNOWN, agent->closed || agent->leaving,
                       desk->closing ? "closed" : "its node is gone");
    list_remove(&agent->link);
    map_done(&agent->unheard);
    struct site *site = agent->site;
    // Before another one may take its place: nothing is decided in between.
    if (agent->why[0] && site->place && !ac_is_nil(desk->setup.told))
        placement_keep_out(desk->place, site->place, agent->why);
    // The client wants it again.
    if (agent->disabled && !is_disabled(desk, site) && !find_agent(desk, site->holder) &&
        !desk->closing && map_get(&desk->asked, &site->holder, sizeof site->holder))
        (void)add_agent(desk, site);
    supply_release(site);
    scheduler_changed(desk->scheduler);
    memory_release(agent);
    supply_serve(desk); // one beyond nodes_max may take its place
    setup_look(desk);
    desk_agent_ended(desk);
    return ac_nil;
}
