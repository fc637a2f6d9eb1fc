// SPDX-License-Identifier: MIT
// The scheduler as a program of its own: opens computations for clients in other processes, for as
// long as its life (life.c) says; then it closes those that are left, and ends.
//
// Its coroutines, beside those of the scheduler itself:
//   door     found under SCHEDULER_NAME while it serves: takes calls of peers that may ship code
//   main     found under SCHEDULER_DESK_NAME: does what the life wants
//   signals, standard input
//            tell the life of what they wait for, and wake main (outside.c)
//
// What clients ask the door, as a call, and what is answered:
//
//     ["open", ...]     as of desk.c       the desk, or, where a journal is kept, ["desk", desk,
//                                          token (bytes), seconds]; or an error, and its text says
//                                          why: -ESHUTDOWN it drains, -EACCES that client may not
//                                          ship code, -EUSERS it has as many as it may have,
//                                          -ESRCH it knows no computation with that token, -EPROTO
//                                          it does not understand the client, -ENOMEM
//
// With a token (journal.h) the client opens the computation again at the scheduler that has come
// in the place of one that was lost, within so many seconds. That one is found under the name of
// its journal too, SCHEDULER_NAME, a "." and its id in hexadecimal digits.
//
// An answer for which a client has no room is lost: it asks again, and is told of the same desk.
//
// What tools ask main, as a call, and what is answered (a computation by its number):
//
//     ["status", after]            a map: "name", "state", "why", "nodes", counts; "computations":
//                                  of those whose numbers are above that, the first PAGE_MAX, each
//                                  a map: "number", "name", "client", "workers", counts; of one
//                                  whose client may come back "client" is "awaited", and "placed"
//                                  are the jobs that had been given to workers; "more": how many
//                                  there are behind them; "last": the highest number that
//                                  there was
//     ["jobs", computation, from]  a map: "jobs": of those that have not ended, from that number
//                                  on, the first PAGE_MAX, each a map: "job", "function", "state"
//                                  ("waiting", "placed" at a worker, "running" there), "attempt",
//                                  "seconds" for which it has been in that state, "node" and
//                                  "location" of its worker, or nil; "next": the number of the one
//                                  behind them, or nil. Nil if there is no such computation
//     ["why", computation, job]    a text, or nil if there is no such job
//     ["cancel", computation, job] job 0: all of it. True, or nil if there is no such computation
//
// Counts are "seconds", for so long it has counted; of jobs that have not ended "waiting", "placed"
// at workers, and of these "running", where what runs at two counts twice; and of those that have,
// "finished", "failed", "cancelled" and "lost". Of the scheduler they are of all computations, also
// of those that are closed. What a mapping submits as one job counts as one.
//
// Several clients share the workers as several computations of one client do: by their weights.
#include "cluster/scheduler.h"

#include <stdio.h>

enum { COMPUTATIONS_MAX = 1024, PAGE_MAX = 256, COUNTS = 8 };
#define STOP_MARGIN_NS (1000ll * 1000 * 1000)
#define HURRY_NS (5000ll * 1000 * 1000) // in which clients are told that it is over
static const ac_time RETURN_NS = 60 * 1000 * 1000 * 1000ll;

static ac_value run_service(ac_value argument);
static ac_value run_door(ac_value argument);

// What the coroutines of the program share.
struct service {
    const struct scheduler_options *options;
    struct scheduler *scheduler;
    struct life life;
    enum node_state shown; // the last state that was told and acted on
    bool ended_all;        // the grace is over and all computations were closed
    struct outside outside;
    uint32_t computations_max;
    ac_time since;           // it serves
    struct journal *journal; // NULL: it keeps none
    ac_time return_until;    // when computations that await their clients are given up
    bool journal_lost;       // it was given up, and nobody was told so far
    char journal_name[80];   // as of scheduler_journal_name
    char name[64];
    int err; // why main has ended; 0: it was asked to
};

// ---- starting ----

static int start_network(const struct service *it, char text[256]) {
    const struct scheduler_options *options = it->options;
    char name[80];
    snprintf(name, sizeof name, "scheduler %s", it->name);
    const struct ac_network_options network = {.size = sizeof network,
                                               .name = name,
                                               .port = options->port,
                                               .loopback_only = options->loopback_only,
                                               .no_discovery = options->no_discovery,
                                               .discovery_port = options->discovery_port,
                                               .key_file = options->key_file};
    return outside_network(&network, options->keys, text);
}

static void journal_given_up(void *up) {
    struct service *it = up;
    it->journal_lost = true;
    if (it->outside.main)
        (void)mailbox_put(it->outside.main, ac_nil);
}

static int open_journal(struct service *it, char text[256]) {
    int err = 0;
    if (!it->options->journal)
        return 0;
    it->journal = journal_open(it->options->journal, &err, text);
    if (!it->journal)
        return err;
    journal_watch(it->journal, journal_given_up, it);
    scheduler_journal_name(journal_id(it->journal), it->journal_name);
    return 0;
}

int scheduler_run(const struct scheduler_options *options, char text[256]) {
    struct service it = {.options = options,
                         .life = {.idle_ns = options->idle_ns, .grace_ns = options->grace_ns},
                         .computations_max = options->computations_max};
    text[0] = 0;
    if (options->name)
        snprintf(it.name, sizeof it.name, "%s", options->name);
    else
        sys_host_name(it.name, sizeof it.name);
    text_mend(it.name);
    if (!it.computations_max)
        it.computations_max = COMPUTATIONS_MAX;
    int err = outside_open(&it.outside, &it.life, text);
    if (err)
        return err;
    err = open_journal(&it, text);
    if (!err)
        err = start_network(&it, text);
    if (!err)
        err = ac_ref_error(ac_spawn(run_service, ac_of_pointer(&it), .name = "scheduler",
                                    .stack_bytes = 256 << 10));
    int later = ac_run();
    err = err ? err : later ? later : it.err;
    if (err && !text[0])
        snprintf(text, 256, "%s", ac_strerror(err));
    if (it.scheduler)
        scheduler_free(it.scheduler);
    journal_close(it.journal);
    outside_close(&it.outside);
    return err;
}

// ---- the door ----

static ac_value refuse(int err, const char *text) {
    trace(TRACE_CLUSTER, "a computation is refused: %s", text);
    return ac_of_error(err, text);
}

// The desk that a courier has already, unless they have lost each other; NULL.
static struct desk *desk_of(const struct service *it, ac_value open) {
    size_t cursor = 0;
    ac_value word = ac_nil, courier = ac_nil;
    (void)(ac_next(open, &cursor, &word) && ac_next(open, &cursor, &courier));
    ac_drop(word);
    ac_ref who = ac_ref_of(courier);
    ac_drop(courier);
    list_each (link, &it->scheduler->desks) {
        struct desk *desk = container_of(link, struct desk, link);
        if (ac_ref_equal(desk->courier, who) && desk->coro && !desk->deserted)
            return desk;
    }
    return NULL;
}

static ac_time return_ns(const struct service *it) {
    return it->options->return_ns > 0 ? it->options->return_ns : RETURN_NS;
}

static ac_value answer_open(const struct service *it, const struct desk *desk) {
    ac_ref ref = coro_ref(desk->coro);
    if (!desk->record)
        return ac_of(ref);
    return ac_list("desk", ref, ac_of_bytes(desk->record->token, sizeof desk->record->token),
                   (double)return_ns(it) * 1e-9);
}

// Computations of the journal whose clients have not come back.
static uint32_t count_awaiting(const struct service *it) {
    uint32_t count = 0;
    if (it->journal)
        list_each (link, journal_computations(it->journal))
            count += !container_of(link, struct journal_computation, link)->desk;
    return count;
}

static void drop_awaiting(struct service *it) {
    list_each (link, journal_computations(it->journal)) {
        struct journal_computation *record = container_of(link, struct journal_computation, link);
        if (record->desk)
            continue;
        trace(TRACE_CLUSTER, "%s: its client has not come back", record->name);
        journal_remove(record);
    }
}

static bool has_token(ac_value open) {
    ac_value token = ac_at(open, ac_count(open) - 1);
    bool has = ac_span_of(token).bytes > 0;
    ac_drop(token);
    return has;
}

static ac_value open_computation(struct service *it, ac_value open) {
    char text[128];
    struct desk *desk = desk_of(it, open);
    if (desk)
        return answer_open(it, desk);
    if (it->life.state != NODE_SERVES)
        return refuse(-ESHUTDOWN, "the scheduler is to end");
    uint32_t count = it->scheduler->desk_count + count_awaiting(it);
    if (count >= it->computations_max && !has_token(open)) {
        snprintf(text, sizeof text, "it has %u computations, and takes no more", count);
        return refuse(-EUSERS, text);
    }
    int err = desk_open(it->scheduler, open, &desk);
    if (err == -ESRCH)
        return refuse(err, "it knows nothing of this computation, which was another one's");
    if (err == -EACCES)
        return refuse(err, "the client may not ship code");
    if (err == -ENOMEM)
        return refuse(err, "no memory");
    if (err)
        return refuse(-EPROTO, "it does not understand the client: is that of another version?");
    return answer_open(it, desk);
}

static ac_value run_door(ac_value argument) {
    struct service *it = ac_pointer_of(argument);
    ac_value message, body;
    ac_ref asker;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        if (ac_unpack(message, &asker, &body) == 0) {
            if (message_is(body, "open"))
                (void)ac_try_send(asker, open_computation(it, body)); // nobody holds it up
            (void)mailbox_put(it->outside.main, ac_nil);
            ac_drop(body);
        }
        ac_drop(message);
    }
    remote_unguard(loop_here, ac_self());
    return ac_nil;
}

static int open_door(struct service *it) {
    const struct ac_spawn_options options = {
        .size = sizeof options, .name = "door", .daemon = true, .stack_bytes = 256 << 10};
    int err = 0;
    struct coro *door = coro_create(loop_here, run_door, ac_of_pointer(it), &options, true, &err);
    if (!door)
        return err;
    err = remote_guard(loop_here, coro_ref(door), AC_MAY_SHIP);
    if (!err && it->journal)
        err = ac_register(coro_ref(door), it->journal_name);
    return err ? err : ac_register(coro_ref(door), SCHEDULER_NAME);
}

// ---- the life ----

static int begin(struct service *it) {
    it->since = ac_now();
    life_begin(&it->life, it->since);
    int err = outside_watch(&it->outside, it->options->die_with_stdin);
    if (err)
        return err;
    it->scheduler = scheduler_create(loop_here);
    if (!it->scheduler)
        return -ENOMEM;
    it->scheduler->keeper = coro_here();
    it->scheduler->shared = true;
    it->scheduler->journal = it->journal;
    it->scheduler->return_ns = return_ns(it);
    it->scheduler->last_number = it->journal ? journal_last_number(it->journal) : 0;
    it->return_until = ac_now() + return_ns(it);
    err = remote_guard(loop_here, ac_self(), AC_MAY_SHIP);
    if (!err)
        err = ac_register(ac_self(), SCHEDULER_DESK_NAME);
    return err ? err : open_door(it);
}

static void say_ready(const struct service *it) {
    char address[64] = "";
    (void)ac_network_address(address);
    (void)ac_print("scheduler %s at %s: ready\n", it->name, address);
    uint32_t count = count_awaiting(it);
    if (count > 0)
        (void)ac_print("%u computation%s of the journal may come back within %g s\n", count,
                       count == 1 ? "" : "s", (double)return_ns(it) * 1e-9);
    outside_say_ready();
}

static void look_at_journal(struct service *it) {
    if (it->journal && ac_now() >= it->return_until) {
        drop_awaiting(it);
        it->return_until = AC_FOREVER;
    }
    if (!it->journal_lost)
        return;
    it->journal_lost = false;
    fprintf(stderr,
            "scheduler %s: the journal %s is given up: %s. What runs goes on, but is lost if this "
            "process is killed.\n",
            it->name, it->options->journal, ac_strerror(journal_problem(it->journal)));
}

// Does what has changed in its life.
static void follow_life(struct service *it) {
    struct life *life = &it->life;
    look_at_journal(it);
    life_look(life, ac_now(), 0, it->scheduler->desk_count + count_awaiting(it));
    if (life->over && !it->ended_all)
        scheduler_stop(it->scheduler);
    it->ended_all = life->over;
    if (life->state == it->shown)
        return;
    it->shown = life->state;
    outside_say_state(life);
    (void)ac_unregister(SCHEDULER_NAME); // who comes now goes to another one, or waits
    if (!it->journal)
        return;
    (void)ac_unregister(it->journal_name);
    drop_awaiting(it); // they can come back no more
    (void)mailbox_put(it->outside.main, ac_nil);
}

// ---- tools ----

static uint32_t length(const struct list *list) {
    uint32_t count = 0;
    list_each (link, (struct list *)list)
        count++;
    return count;
}

struct counts {
    ac_time since;
    uint64_t waiting, placed, running;
    uint64_t ended[JOB_ENDS];
};

static struct counts count_desk(const struct desk *desk) {
    struct counts it = {.since = desk->since,
                        .waiting = placement_waiting(desk->place),
                        .running = placement_running(desk->place)};
    it.placed = placement_jobs(desk->place) - it.waiting;
    memcpy(it.ended, desk->ended, sizeof it.ended);
    return it;
}

static struct counts count_all(const struct service *it) {
    struct counts all = {.since = it->since};
    memcpy(all.ended, it->scheduler->ended, sizeof all.ended);
    list_each (link, &it->scheduler->desks) {
        struct counts one = count_desk(container_of(link, struct desk, link));
        all.waiting += one.waiting;
        all.placed += one.placed;
        all.running += one.running;
        for (int how = 0; how < JOB_ENDS; how++)
            all.ended[how] += one.ended[how];
    }
    return all;
}

// Appends a key and its value to those of a map.
static void put(ac_value *items, size_t *count, const char *key, ac_value value) {
    items[(*count)++] = ac_of(key);
    items[(*count)++] = value;
}

static void put_counts(ac_value *items, size_t *count, const struct counts *it) {
    put(items, count, "seconds", ac_of((double)(ac_now() - it->since) * 1e-9));
    put(items, count, "waiting", ac_of(it->waiting));
    put(items, count, "placed", ac_of(it->placed));
    put(items, count, "running", ac_of(it->running));
    for (int how = AC_FINISHED; how <= AC_LOST; how++)
        put(items, count, ac_end_name((enum ac_end)how), ac_of(it->ended[how]));
}

static ac_value describe_desk(const struct desk *desk) {
    ac_value items[2 * (COUNTS + 4)];
    size_t count = 0;
    char client[SYS_ADDRESS_TEXT_BYTES];
    struct counts counts = count_desk(desk);
    sys_address_text(&desk->client, client);
    put(items, &count, "number", ac_of(desk->number));
    put(items, &count, "name", ac_of((const char *)desk->name));
    put(items, &count, "client", ac_of((const char *)client));
    put(items, &count, "workers", ac_of(length(&desk->workers)));
    put_counts(items, &count, &counts);
    return ac_map_of(items, count / 2);
}

// One of the journal, whose client is awaited.
static ac_value describe_awaited(const struct journal_computation *record) {
    ac_value items[2 * (COUNTS + 4)];
    size_t count = 0;
    const struct counts counts = {.since = ac_now(), .placed = map_count(&record->jobs)};
    put(items, &count, "number", ac_of(record->number));
    put(items, &count, "name", ac_of((const char *)record->name));
    put(items, &count, "client", ac_of("awaited"));
    put(items, &count, "workers", ac_of(0));
    put_counts(items, &count, &counts);
    return ac_map_of(items, count / 2);
}

// What there is, in the order of their numbers.
struct listed {
    uint64_t number;
    const struct desk *desk; // NULL: it is awaited
    const struct journal_computation *record;
};

// The first one above that number. False if there is none.
static bool find_next(const struct service *it, uint64_t after, struct listed *found) {
    *found = (struct listed){.number = UINT64_MAX};
    list_each (link, &it->scheduler->desks) {
        const struct desk *desk = container_of(link, struct desk, link);
        if (desk->number > after && desk->number < found->number)
            *found = (struct listed){.number = desk->number, .desk = desk};
    }
    if (it->journal)
        list_each (link, journal_computations(it->journal)) {
            const struct journal_computation *record = container_of(
                link, struct journal_computation, link);
            if (!record->desk && record->number > after && record->number < found->number)
                *found = (struct listed){.number = record->number, .record = record};
        }
    return found->number != UINT64_MAX;
}

static uint64_t count_after(const struct service *it, uint64_t after) {
    uint64_t count = 0;
    list_each (link, &it->scheduler->desks)
        count += container_of(link, struct desk, link)->number > after;
    if (it->journal)
        list_each (link, journal_computations(it->journal)) {
            const struct journal_computation *record = container_of(
                link, struct journal_computation, link);
            count += !record->desk && record->number > after;
        }
    return count;
}

static ac_value describe(const struct service *it, uint64_t after) {
    ac_value page[PAGE_MAX], items[2 * (COUNTS + 7)];
    size_t described = 0, count = 0;
    struct listed next;
    struct counts counts = count_all(it);
    for (; described < PAGE_MAX && find_next(it, after, &next); after = next.number)
        page[described++] = next.desk ? describe_desk(next.desk) : describe_awaited(next.record);
    put(items, &count, "name", ac_of((const char *)it->name));
    put(items, &count, "state", ac_of(life_state_name(it->life.state)));
    put(items, &count, "why", ac_of(it->life.why));
    put(items, &count, "nodes", ac_of(length(&it->scheduler->sites)));
    put_counts(items, &count, &counts);
    put(items, &count, "computations", ac_list_of(page, described));
    put(items, &count, "more", ac_of(count_after(it, after)));
    put(items, &count, "last", ac_of(it->scheduler->last_number));
    return ac_map_of(items, count / 2);
}

static ac_value describe_job(const struct desk *desk, const struct place_view *view) {
    const struct worker_agent *worker = view->at ? placement_worker_user(view->at) : NULL;
    const char *node = worker ? worker->node_name : NULL;
    const char *location = worker ? worker->location : NULL;
    const char *state = !worker ? "waiting" : view->begun ? "running" : "placed";
    return ac_map("job", view->number, "function", (const char *)desk->functions[view->function],
                  "state", state, "attempt", view->attempts, "seconds",
                  (double)(ac_now() - view->since) * 1e-9, "node", node, "location", location);
}

static ac_value describe_jobs(const struct desk *desk, uint64_t from) {
    ac_value page[PAGE_MAX];
    size_t count = 0;
    struct place_view view;
    bool found = desk && placement_view(desk->place, from, &view);
    while (found && count < PAGE_MAX) {
        page[count++] = describe_job(desk, &view);
        found = placement_view(desk->place, view.number + 1, &view);
    }
    if (!desk)
        return ac_nil;
    return ac_map("jobs", ac_list_of(page, count), "next", found ? ac_of(view.number) : ac_nil);
}

static struct desk *find_desk(const struct service *it, uint64_t number) {
    list_each (link, &it->scheduler->desks) {
        struct desk *desk = container_of(link, struct desk, link);
        if (desk->number == number)
            return desk;
    }
    return NULL;
}

static ac_value explain(const struct desk *desk, uint64_t job) {
    char text[PLACE_TEXT_BYTES];
    if (!desk || !placement_why(desk->place, job, ac_now(), text))
        return ac_nil;
    text_mend(text);
    return ac_of((const char *)text);
}

static ac_value cancel(const struct service *it, struct desk *desk, uint64_t job) {
    if (!desk)
        return ac_nil;
    if (job)
        placement_cancel(desk->place, job, ac_now());
    else
        placement_cancel_all(desk->place, ac_now());
    scheduler_changed(it->scheduler);
    return ac_of_bool(true);
}

static void answer(const struct service *it, ac_value message) {
    ac_ref asker;
    ac_value body;
    const char *word;
    uint64_t number, job;
    if (ac_unpack(message, &asker, &body) < 0)
        return;
    if (message_is(body, "status") && ac_unpack(body, &word, &number) == 0)
        (void)ac_try_send(asker, describe(it, number));
    else if (message_is(body, "jobs") && ac_unpack(body, &word, &number, &job) == 0)
        (void)ac_try_send(asker, describe_jobs(find_desk(it, number), job));
    else if (message_is(body, "why") && ac_unpack(body, &word, &number, &job) == 0)
        (void)ac_try_send(asker, explain(find_desk(it, number), job));
    else if (message_is(body, "cancel") && ac_unpack(body, &word, &number, &job) == 0)
        (void)ac_try_send(asker, cancel(it, find_desk(it, number), job));
    ac_drop(body);
}

// ---- its end ----

static void stop(struct service *it) {
    ac_time until = ac_now(), now = until;
    ac_value message;
    list_each (link, &it->scheduler->desks) {
        ac_time end = now + desk_closing_ns(container_of(link, struct desk, link));
        until = end + STOP_MARGIN_NS > until ? end + STOP_MARGIN_NS : until;
    }
    scheduler_stop(it->scheduler);
    while (it->scheduler->desk_count > 0 && ac_receive(&message, until) == 0) {
        ac_drop(message);
        if (!it->life.hurries || it->scheduler->hurries)
            continue;
        it->scheduler->hurries = true;
        scheduler_stop(it->scheduler); // desks look again
        until = ac_now() + HURRY_NS;
    }
}

static ac_time next_look(const struct service *it) {
    ac_time next = life_next(&it->life);
    return it->journal && it->return_until < next ? it->return_until : next;
}

static ac_value run_service(ac_value argument) {
    struct service *it = ac_pointer_of(argument);
    int err = begin(it);
    if (!err)
        say_ready(it);
    while (!err) {
        follow_life(it);
        if (it->life.state == NODE_STOPS)
            break;
        ac_value message;
        err = ac_receive(&message, next_look(it));
        if (!err) {
            answer(it, message);
            ac_drop(message);
        }
        err = err == -ETIMEDOUT ? 0 : err;
    }
    if (it->scheduler)
        stop(it);
    it->err = err;
    return ac_nil;
}
