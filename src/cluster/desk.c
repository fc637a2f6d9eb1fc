// SPDX-License-Identifier: MIT
// One computation at the scheduler. Messages between the client's *courier* and the desk (the main
// coroutine of the scheduler for "open", then the desk itself):
//
//     ["open", courier, supplier, key (supplier.c), client's address, name, cargo, many jobs at
//      once?, nodes at most, workers at most, weight, nodes disabled?, set-ups and clean-ups or
//      nil (setup.c), token or nil]                                         courier -> scheduler
//     ["desk", desk]                                       here it is            desk -> courier
//     ["want", things...]   THING_CLASS, _JOB, _DROP, _TAKEN, _ALL               courier -> desk
//     ["news", things...]   THING_STATUS, _STARTED, _DONE                        desk -> courier
//     ["why", number] as a call; the answer is a text, or nil if there is no such job
//     ["steer", place, what] as a call (enum steer); the answer is 0 or an error number
//     ["places", from] as a call; the answer is [how many there are, [node, worker or nil, state,
//      jobs, processors, memory, node's name, location], ...], as many from that one on as fit;
//      nil: no memory
//     ["close"]                                            end all workers       courier -> desk
//     ["closed"]                                           with a journal: it    desk -> courier
//                                                          ends, and is not lost
//
// Classes are numbered from 0 in the order in which they come. The desk ends when all its agents
// have: after "close", or when the courier has ended or is lost.
//
// With a token the computation is one of the journal, whose scheduler was lost. Its client then
// tells it again: all classes, all jobs that have not ended in the order of their numbers, what of
// them is to be cancelled, and THING_ALL. After that it is a computation as any other.
#include "cluster/scheduler.h"

#include <stdio.h>

enum { AGENTS_GRACE_NS = 2000 * 1000 * 1000 };
#define CLOSE_NS (4000ll * 1000 * 1000)
#define CLOSED_NS (1000ll * 1000 * 1000)
// Numbers of jobs that have ended since are left out where a client tells its jobs again: 128 MiB
// of pointers to pages.
#define RESTORED_GAP_MAX (1ull << 34)

static ac_value run_desk(ac_value argument);

// ---- news for the client ----

void desk_kick(struct desk *desk) { desk->kicked = desk->kicked || agent_kick(desk->coro); }

void desk_told(struct desk *desk, int err) {
    desk->broken |= err < 0;
    desk_kick(desk);
}

void desk_tell_end(struct desk *desk, uint64_t number, enum ac_end how, int err, ac_value value,
                   ac_ref worker, double seconds) {
    desk->ended[how]++;
    if (desk->record)
        desk_told(desk, restore_note_end(desk, number));
    desk_tell(desk, THING_DONE, ac_of(number), ac_of((int)how), ac_of(err), value,
              ac_ref_is(worker) ? ac_of(worker) : ac_nil, ac_of(seconds));
}

void desk_status(struct desk *desk, const struct ac_status *status, const char *address) {
    desk_tell(desk, THING_STATUS, ac_of((int)status->kind), ac_of(status->node),
              ac_of(status->worker), ac_of(status->coroutine), ac_of(status->job),
              ac_of_bool(status->lost), ac_of((const char *)status->location),
              ac_of((const char *)status->text), ac_of(address));
}

void desk_agent_ended(struct desk *desk) {
    desk->agent_count--;
    desk_kick(desk);
}

// Waits until the client takes them in; other desks, and the agents of this one, go on. What comes
// meanwhile is kept: an item for each of its jobs that has not ended, JOBS_MAX at the most, with
// its result, and what becomes of nodes. A client that is frozen is lost when its heartbeats have
// been missed and the grace of its link is over, and all of it goes; one that computes for minutes
// without a look at its messages is kept for so long. No number of bytes bounds that.
//
// A client that was lost may be linked with again while the desk closes. What it would be told then
// has a gap before it, so it is told nothing.
static void send_news(struct desk *desk) {
    while (!desk->broken && !desk->deserted && !batch_empty(&desk->news)) {
        ac_value message = batch_take(&desk->news, "news");
        int err = message.kind == AC_INVALID ? ac_error_of(message) : 0;
        if (!err) {
            err = ac_send(desk->courier, message);
            desk->deserted |= err < 0;
        }
        if (err) {
            trace(TRACE_CLUSTER, "%s: the client was not told: %s", desk->name, ac_strerror(err));
            desk->broken = true;
        }
    }
    if (desk->deserted)
        batch_done(&desk->news);
    if (desk->broken)
        desk->closing = true;
}

// ---- what the client wants ----

static int add_function(struct desk *desk, const char *name, bool quiet) {
    char **functions = memory_resize(desk->functions,
                                     (desk->function_count + 1) * sizeof *functions);
    if (functions)
        desk->functions = functions;
    bool *quiets = memory_resize(desk->quiet, (desk->function_count + 1) * sizeof *quiets);
    if (quiets)
        desk->quiet = quiets;
    char *copy = functions && quiets ? memory_copy_text(name) : NULL;
    if (!copy)
        return -ENOMEM;
    desk->functions[desk->function_count] = copy;
    desk->quiet[desk->function_count++] = quiet;
    return 0;
}

static void copy_text(char *to, size_t bytes, ac_value text) {
    snprintf(to, bytes, "%s", ac_text_of(text) ? ac_text_of(text) : "");
}

static int take_class(struct desk *desk, const ac_value *items) {
    const char *name = ac_text_of(items[0]);
    struct place_needs needs = {
        .function = desk->function_count,
        .cpus = (uint32_t)ac_int_of(items[1]),
        .memory = (uint64_t)ac_int_of(items[2]),
        .retries = (uint8_t)ac_int_of(items[6]),
        .copies = ac_bool_of(items[7]),
        .wait_for_nodes = ac_bool_of(items[8]),
        .seconds_max = ac_real_of(items[9]),
    };
    copy_text(needs.tags, sizeof needs.tags, items[3]);
    copy_text(needs.node, sizeof needs.node, items[4]);
    copy_text(needs.architecture, sizeof needs.architecture, items[5]);
    int err = name ? add_function(desk, name, ac_bool_of(items[10])) : -EPROTO;
    return err ? err : placement_add_class(desk->place, &needs, ac_now());
}

// A job that was to run at one worker and cannot.
static int refuse_job(struct desk *desk, uint64_t number, enum ac_end how, int err,
                      const char *why) {
    desk_tell_end(desk, number, how, err, ac_of_error(err, why), ac_no_ref, 0);
    return placement_skip(desk->place, number);
}

static int take_job(struct desk *desk, const ac_value *items) {
    uint64_t number = (uint64_t)ac_int_of(items[0]);
    ac_ref at = ac_ref_of(items[2]);
    desk->restored += desk->restoring;
    uint32_t class = (uint32_t)ac_int_of(items[1]);
    if (ac_ref_is(at) && restore_has(desk, number, at))
        return restore_job(desk, number, class, true, ac_hold(items[3]));
    struct worker_agent *worker = ac_ref_is(at) ? agent_find(desk, at) : NULL;
    if (ac_ref_is(at) && !worker)
        return refuse_job(desk, number, AC_LOST, -EHOSTUNREACH, "the worker is gone");
    if (worker && agent_is_suspended(worker))
        return refuse_job(desk, number, AC_FAILED, -EBUSY, "the worker is suspended");
    if (desk->restoring && !worker)
        return restore_job(desk, number, class, false, ac_hold(items[3]));
    return placement_submit(desk->place, number, class, worker ? worker->place : NULL,
                            ac_hold(items[3]));
}

static void take_things(struct desk *desk, ac_value message) {
    size_t cursor = 0;
    enum thing thing;
    ac_value items[THING_ITEMS_MAX];
    int err = 0;
    placement_tell_time(desk->scheduler->placement, ac_now());
    while (err >= 0 && batch_next(message, &cursor, &thing, items)) {
        if (thing == THING_JOB) {
            err = take_job(desk, items);
        } else if (thing == THING_CLASS) {
            err = take_class(desk, items);
        } else if (thing == THING_DROP) {
            uint64_t number = (uint64_t)ac_int_of(items[0]);
            if (number)
                placement_cancel(desk->place, number, ac_now());
            else
                placement_cancel_all(desk->place, ac_now());
        } else if (thing == THING_TAKEN) {
            err = restore_take_ends(desk, (uint64_t)ac_int_of(items[0]));
        } else if (thing == THING_ALL) {
            err = restore_end(desk, (uint64_t)ac_int_of(items[0]));
        } else {
            err = -EPROTO;
        }
        batch_drop(thing, items);
    }
    if (err < 0) {
        trace(TRACE_CLUSTER, "%s: given up: %s", desk->name, ac_strerror(err));
        desk->broken = true;
    }
    scheduler_changed(desk->scheduler);
}

// As a call: (answer, [word, ...]).
static void take_question(struct desk *desk, ac_value message) {
    ac_ref answer;
    ac_value body;
    const char *word;
    int64_t number;
    ac_ref place;
    char text[PLACE_TEXT_BYTES] = "";
    if (ac_unpack(message, &answer, &body) != 0)
        return;
    if (message_is(body, "why") && ac_unpack(body, &word, &number) == 0) {
        bool known = placement_why(desk->place, (uint64_t)number, ac_now(), text);
        text_mend(text); // it may have been cut within a letter
        (void)ac_send(answer, known ? ac_of((const char *)text) : ac_nil);
    } else if (message_is(body, "steer") && ac_unpack(body, &word, &place, &number) == 0) {
        bool good = number >= 0 && number < STEERS;
        (void)ac_send(answer, good ? supply_steer(desk, place, (enum steer)number) : -EINVAL);
    } else if (message_is(body, "places") && ac_unpack(body, &word, &number) == 0) {
        ac_value list = supply_list(desk, (uint64_t)number);
        (void)ac_send(answer, list.kind == AC_INVALID ? ac_nil : list);
    }
    ac_drop(body);
}

static void take_message(struct desk *desk, ac_value message) {
    struct ac_exit exit;
    if (ac_is_nil(message)) {
        desk->kicked = false;
    } else if (ac_exit_of(message, &exit)) {
        desk->deserted |= ac_ref_equal(exit.who, desk->courier);
        desk->closing |= desk->deserted;
        ac_drop(exit.value);
    } else if (message_is(message, "want")) {
        take_things(desk, message);
    } else if (message_is(message, "close")) {
        desk->closing = true;
    } else {
        take_question(desk, message);
    }
    ac_drop(message);
}

// ---- the coroutine ----

// Until all agents have ended, or the time is up, as it is for who hurries.
static void wait_for_agents(struct desk *desk, ac_time deadline) {
    while (desk->agent_count > 0 && (deadline == AC_FOREVER || !desk->scheduler->hurries)) {
        send_news(desk);
        ac_value message;
        if (ac_receive(&message, deadline) < 0)
            return;
        take_message(desk, message);
    }
}

ac_time desk_closing_ns(const struct desk *desk) {
    return CLOSE_NS + setup_closing_ns(desk) + AGENTS_GRACE_NS + CLOSED_NS;
}

static void close_desk(struct desk *desk) {
    desk->closing = true;
    supply_end_all(desk);
    wait_for_agents(desk, ac_now() + CLOSE_NS + setup_closing_ns(desk));
    agent_end_all(desk);
    list_each (link, &desk->agents)
        coro_cancel(container_of(link, struct site_agent, link)->coro);
    wait_for_agents(desk, ac_now() + AGENTS_GRACE_NS);
    list_each (link, &desk->workers)
        coro_cancel(container_of(link, struct worker_agent, link)->coro);
    wait_for_agents(desk, AC_FOREVER);
    send_news(desk);
}

// Its process may end at once, and a client that lost it would await another one.
static void say_closed(const struct desk *desk) {
    int err = ac_deliver(desk->courier, ac_list("closed"), ac_now() + CLOSED_NS);
    if (err <= 0)
        trace(TRACE_CLUSTER, "%s: the client does not hear that it is closed: %s", desk->name,
              err < 0 ? ac_strerror(err) : "it does not answer");
}

static void desk_free(struct desk *desk) {
    if (desk->place)
        placement_close(desk->place);
    memory_release(desk->ends.numbers);
    list_remove(&desk->link);
    batch_done(&desk->news);
    map_done(&desk->asked);
    map_done(&desk->returned);
    map_done(&desk->disabled);
    digest_wipe(desk->key, sizeof desk->key);
    ac_drop(desk->cargo);
    setup_done(&desk->setup);
    for (uint32_t i = 0; i < desk->function_count; i++)
        memory_release(desk->functions[i]);
    memory_release(desk->functions);
    memory_release(desk->quiet);
    memory_release(desk);
}

static ac_value run_desk(ac_value argument) {
    struct desk *desk = ac_pointer_of(argument);
    int err = ac_monitor(desk->courier);
    if (!err && desk->scheduler->shared)
        err = remote_guard(loop_here, ac_self(), AC_MAY_SHIP);
    if (!err)
        err = ac_send(desk->courier, ac_list("desk", ac_self()));
    if (!err)
        supply_serve(desk);
    while (!err && !desk->closing) {
        ac_value message;
        send_news(desk);
        if (desk->closing)
            break;
        err = ac_receive(&message, desk->awaits_until);
        if (!err)
            take_message(desk, message); // also the kick of who has it close
        err = err == -ETIMEDOUT ? 0 : err;
        restore_look(desk);
    }
    close_desk(desk);
    if (desk->scheduler->shared)
        remote_unguard(loop_here, ac_self());
    if (desk->record && !desk->deserted)
        say_closed(desk);
    restore_close(desk);
    trace(TRACE_CLUSTER, "%s: closed", desk->name);
    // Agents are left only when the loop ends and has cancelled this coroutine too.
    desk->coro = NULL;
    if (desk->agent_count == 0) {
        struct scheduler *scheduler = desk->scheduler;
        scheduler->desk_count--;
        for (int how = 0; how < JOB_ENDS; how++)
            scheduler->ended[how] += desk->ended[how];
        desk_free(desk);
        agent_kick(scheduler->keeper);
    }
    return ac_nil;
}

static int read_token(struct desk *desk, ac_span token) {
    struct journal *journal = desk->scheduler->journal;
    struct journal_computation *record = journal ? journal_find(journal, token.at, token.bytes)
                                                 : NULL;
    if (!record || record->desk)
        return -ESRCH;
    desk->record = record;
    desk->restoring = true;
    return 0;
}

// With a journal the computation has a number of before, or a new record.
static void number_desk(struct desk *desk) {
    struct scheduler *scheduler = desk->scheduler;
    desk->number = desk->record ? desk->record->number : ++scheduler->last_number;
    if (!desk->record && scheduler->journal)
        desk->record = journal_add(scheduler->journal, desk->number, desk->name);
    if (desk->record)
        desk->record->desk = desk;
}

static int read_open(struct desk *desk, ac_value open) {
    const char *word, *address, *name;
    ac_value token = ac_nil;
    struct place_options options = {.user = desk};
    ac_value setup = ac_nil;
    ac_span key;
    int err = ac_unpack(open, &word, &desk->courier, &desk->supplier, &key, &address, &name,
                        &desk->cargo, &desk->many_jobs, &desk->nodes_max, &desk->workers_max,
                        &options.weight, &desk->nodes_disabled, &setup, &token);
    err = err ? err : setup_read(&desk->setup, setup);
    if (!err && (!ac_ref_is(desk->courier) || !address || key.bytes != sizeof desk->key))
        err = -EINVAL;
    if (!err)
        memcpy(desk->key, key.at, key.bytes);
    if (!err && !ac_is_nil(token))
        err = read_token(desk, ac_span_of(token));
    ac_drop(token);
    if (err)
        return err;
    options.gap_max = desk->restoring ? RESTORED_GAP_MAX : 0;
    (void)sys_address_parse(address, &desk->client);
    snprintf(desk->name, sizeof desk->name, "%s", name ? name : "program");
    text_mend(desk->name); // it may have been cut within a letter
    options.many_jobs = desk->many_jobs;
    desk->place = placement_open(desk->scheduler->placement, &options);
    return desk->place ? 0 : -ENOMEM;
}

int desk_open(struct scheduler *scheduler, ac_value open, struct desk **opened) {
    struct desk *desk = memory_allocate_zeroed(sizeof *desk);
    if (!desk)
        return -ENOMEM;
    desk->scheduler = scheduler;
    desk->since = ac_now();
    list_init(&desk->link);
    list_init(&desk->agents);
    list_init(&desk->workers);
    list_init(&desk->awaited);
    desk->awaits_until = AC_FOREVER;
    map_init(&desk->returned);
    map_init(&desk->asked);
    map_init(&desk->disabled);
    int err = read_open(desk, open);
    if (!err && scheduler->shared)
        err = remote_may(scheduler->loop, desk->courier.peer, AC_MAY_SHIP);
    if (!err)
        desk->coro = cluster_spawn(scheduler->loop, run_desk, desk, "desk of a computation");
    if (!desk->coro) {
        desk_free(desk);
        return err ? err : -ENOMEM;
    }
    list_append(&scheduler->desks, &desk->link);
    scheduler->desk_count++;
    number_desk(desk);
    if (opened)
        *opened = desk;
    return 0;
}
