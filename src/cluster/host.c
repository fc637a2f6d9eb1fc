// SPDX-License-Identifier: MIT
// One computation on a node: takes the program in, runs it as worker processes, passes on how they
// end, and leaves nothing behind. A coroutine of the node, the *host*, belongs to each computation.
//
// Messages between the scheduler's agent and the node (its main coroutine for "open", then the
// host), and between the host and the client's supplier:
//
//     ["open", agent, name, cargo, workers at most, supplier, secret, client's address, token or
//      nil, seconds, again?]                  take it in                              agent -> node
//     ["refused", why, node's name]           no; the host has ended                  host -> agent
//     ["host", host, node's name]             yes
//     ["need", host, secret, items, round]    send these of its items              host -> supplier
//     ["piece", item, offset, bytes, round]   in order, without gaps               supplier -> host
//     ["done", round]                         that was all
//     ["have", host, secret]                  all of them are here                 host -> supplier
//     ["output", host, secret, node's name, number, bytes]
//                                             a worker has written that; no bytes: its end.
//                                             Only to a client that wants it       host -> supplier
//     ["ready", workers, [processors, memory, tags, architecture]]                    host -> agent
//                                             all of it is checked, workers start
//     ["gone", number, text, begun, closed?, call, set up?]
//                                             a worker has ended, and how; how many of its jobs it
//                                             had come to, -1: not known; was it asked to end? In
//                                             which set-up, of which no other is started for it?
//                                             (enum place_call, or 0) Is the node set up?
//     ["draining", seconds]                   give it no new jobs, and say "close" when those that
//                                             run have ended: in so many seconds all is ended
//     ["end", number]                         end that worker by force                agent -> host
//     ["close"]                               end the workers and yourself
//
// A supplier may have another host of its computation, which has it all, send the pieces instead:
//
//     ["from", giver, its address, round]     they come from there             supplier -> host
//     ["give", host, its address, items, round]
//                                             send these to that one           supplier -> giver
//     ["cannot", giver, secret, host, round]  it cannot be reached, does not
//                                             let us send, or we send to too
//                                             many already                     giver -> supplier
//     ["again", round]                        ask me once more                 supplier -> host
//     ["wait", round]                         others come first                supplier -> host
//
// By the secret, of this node alone, the supplier knows that it is that host who speaks.
//
// A host asks once more, in the next round, if another host was to send and is lost, says nothing
// for too long or sends what it should not; pieces of another round than the last are dropped.
//
//      open --> variant chosen -> has all -----------------------------> workers run --> ENDING
//                   |             lacks some --> pieces, done -> checked ^   |  ^
//                   v                                          v             |  | one that crashes
//                   is
//                refused                                    refused          +--+ started again
//
// An upload of the client that brings nothing for five minutes is refused: it would hold a place of
// those that a node has for computations.
//
// A scheduler that keeps a journal tells the token of the computation, and for how many seconds the
// host waits for another one when that scheduler is lost. For so long the host is an *orphan*: its
// workers stay and go on, and nothing is started. An "open" with the same
// token that comes *again* is for that host, which answers with "host", then with
//
//     ["kept", [number, ...], set up?]        its workers that live; is the node      host -> agent
//                                             set up?
//
// then "gone" for those that ended, lately or meanwhile, then "ready"; and has the living ones tell
// the new agent "worker" (worker.c). Where there is no such host, "again" makes a new one, which
// says no "kept". If it is not to be again, a host with that token ends, and there is a new one;
// likewise if a clean-up has begun there, after which nobody is to use workers and node again.
//
// The host ends, and its workers with it (SIGTERM to all that each has started, SIGKILL a second
// later), when the agent says so, ends or, with no time to wait for another, is lost; or when the
// node stops. Each worker lives in the computation's cell (cell.h) and has a *keeper*, a coroutine
// that waits until nothing of it lives, and a *listener* that passes on what the worker writes and
// keeps the last of it. Should the node itself be killed, the wardens of its workers end all that
// these have started.
//
// What workers write goes to their client, if that wants it, who takes as much in as it can: then a
// worker that writes more waits. Else it goes to the node's standard error, without the bytes that
// steer a terminal, and only as fast as it is read there: what does not fit is dropped, and the
// number of its bytes is told later. A pipe or socket that nobody reads does not hold up the node.
// A terminal may: it says that it is ready when it has room for one byte, and its mode is not ours
// to change.
#include "cluster/cell.h"
#include "cluster/cluster_private.h"

#include <stdio.h>

enum {
    SOFT_END_NS = 1000 * 1000 * 1000,     // between SIGTERM and SIGKILL
    HARD_END_NS = 2000 * 1000 * 1000,     // how long a killed process may take to go
    RESTART_FREE_NS = 2000 * 1000 * 1000, // one that lived so long does not count as a crash
    RESTARTS_MAX = 8,                     // of one computation, but for those
    TAIL_BYTES = 4 << 10,                 // of what a worker wrote last
    END_TEXT_BYTES = 512,                 // of how a worker ended
    OUTPUT_BYTES = 4 << 10,               // passed on at once: a pipe that is ready has room for it
    TOKEN_BYTES = 16,
    NOTED_MAX = WORKERS_MAX, // ends of workers, for another scheduler
    GRACE_SECONDS_MAX = 24 * 3600,
    BUSY_TRIES = 1000, // to start a program that is still open for writing
};
#define WATCH_AGAIN_S 0.1 // when the end of a worker could not be watched

struct host {
    struct list link; // in node.hosts
    struct node *node;
    struct coro *coro;
    ac_ref agent;
    struct voice voice; // its supplier has the program
    struct sys_address client;
    char name[64];
    ac_value cargo; // as the client told; until it is taken in
    struct intake intake;
    bool storing;         // items arrive
    ac_time silent_until; // the next bytes of them have to be there by then
    uint64_t round;       // which of our questions for them is the last
    ac_ref giver;         // the host of another node that sends them; none: the supplier does
    int program;          // the executable, of the intake; -1: not there yet
    uint32_t workers;
    struct list keepers;
    uint32_t keeper_count;
    int64_t last_number;
    uint32_t restarts_left;
    uint32_t unfit; // workers in which a set-up failed: no others are started for them
    bool set_up;    // by a worker: the set-up of the node has run,
    bool cleaning;  // a clean-up has begun
    char last_end[END_TEXT_BYTES]; // how the worker that ended last did; "": none has
    bool drain;                    // the agent is to be told
    ac_time drain_until;           // when all is ended then; AC_NOW: the node does not drain
    uint8_t token[TOKEN_BYTES];    // of the computation
    size_t token_bytes;            // 0: none
    ac_time grace_ns;              // how long it waits for another scheduler
    bool orphan;                   // waits for one,
    ac_time until;                 // until then
    ac_value *noted;               // "gone" of the workers that ended last, the earliest first
    size_t noted_count;
    bool ending;
    bool refused;
};

struct keeper {
    struct list link;  // in host.keepers
    struct host *host; // the record outlives its keepers
    int64_t number;
    struct sys_ward ward;
    int record;      // our end of the pipe with the start-up record
    int output;      // our end of the pipe with what it writes
    int marks;       // memory of struct worker_marks, which it writes; -1: none
    ac_ref listener; // which may end before the process
    ac_time began;
    size_t tail_bytes;
    char tail[TAIL_BYTES];
};

static ac_value run_host(ac_value argument);
static ac_value run_keeper(ac_value argument);
static ac_value run_listener(ac_value argument);

// A keeper that waits for a process that cannot be killed outlives the coroutine of its host.
static void let_go(struct host *host) {
    if (!host->coro && host->keeper_count == 0)
        memory_release(host);
}

// ---- making ----

static bool read_open(struct host *host, ac_value open, bool *again) {
    const char *word, *name, *address;
    uint32_t workers_max;
    ac_span secret;
    ac_value token;
    double seconds;
    if (ac_unpack(open, &word, &host->agent, &name, &host->cargo, &workers_max,
                  &host->voice.supplier, &secret, &address, &token, &seconds, again) != 0)
        return false;
    if (secret.bytes == sizeof host->voice.secret)
        memcpy(host->voice.secret, secret.at, secret.bytes);
    ac_span span = ac_span_of(token);
    if (token.kind == AC_BYTES && span.bytes == sizeof host->token) {
        memcpy(host->token, span.at, span.bytes);
        host->token_bytes = span.bytes;
        double most = seconds < GRACE_SECONDS_MAX ? seconds : GRACE_SECONDS_MAX;
        host->grace_ns = seconds > 0 ? (ac_time)(most * 1e9) : 0;
    }
    ac_drop(token);
    if (address && sys_address_parse(address, &host->client))
        (void)remote_introduce(loop_here, host->voice.supplier.peer, &host->client);
    if (!ac_ref_is(host->agent))
        return false;
    snprintf(host->name, sizeof host->name, "%s", name ? name : "program");
    text_mend(host->name);
    host->workers = host->node->workers;
    if (workers_max > 0 && workers_max < host->workers)
        host->workers = workers_max;
    return true;
}

// What workers have done to the node, those that live and those that do not.
static void look_at_marks(struct host *host) {
    list_each (link, &host->keepers) {
        struct worker_marks marks = worker_marks_read(
            container_of(link, struct keeper, link)->marks);
        host->set_up |= marks.set_up != 0;
        host->cleaning |= marks.cleaning != 0;
    }
}

static bool may_return(struct host *host) {
    look_at_marks(host);
    return host->program >= 0 && !host->cleaning;
}

// The one that has the same token.
static struct host *find_host(struct node *node, const struct host *as) {
    list_each (link, &node->hosts) {
        struct host *host = container_of(link, struct host, link);
        if (!host->ending && host->token_bytes > 0 && host->token_bytes == as->token_bytes &&
            memcmp(host->token, as->token, host->token_bytes) == 0)
            return host;
    }
    return NULL;
}

static void end_host(struct host *host) {
    host->ending = true;
    (void)mailbox_put(host->coro, ac_nil);
}

void host_create(struct node *node, ac_value open) {
    struct host *host = memory_allocate_zeroed(sizeof *host);
    if (!host)
        return;
    *host = (struct host){
        .node = node, .program = -1, .restarts_left = RESTARTS_MAX, .ending = node->stopping};
    list_init(&host->link);
    list_init(&host->keepers);
    bool again = false, good = read_open(host, open, &again);
    struct host *old = good ? find_host(node, host) : NULL;
    if (old && again && may_return(old) && mailbox_put(old->coro, ac_hold(open)) == 0)
        good = false; // nothing more is to be made
    else if (old)
        end_host(old);
    host->coro = good ? outside_daemon(run_host, host, "host") : NULL;
    if (!host->coro) {
        ac_drop(host->cargo);
        memory_release(host);
        return;
    }
    list_append(&node->hosts, &host->link);
    node->host_count++;
}

void host_drain_all(struct node *node, ac_time grace_ns) {
    list_each (link, &node->hosts) {
        struct host *host = container_of(link, struct host, link);
        host->drain = true;
        host->drain_until = ac_now() + grace_ns;
        (void)mailbox_put(host->coro, ac_nil);
    }
}

void host_stop_all(struct node *node) {
    list_each (link, &node->hosts) {
        end_host(container_of(link, struct host, link));
    }
}

// ---- answers ----

static ac_value secret_of(const struct host *host) {
    return ac_of_bytes(host->voice.secret, sizeof host->voice.secret);
}

static void tell(struct host *host, ac_value message) {
    int err = ac_send(host->agent, message);
    if (err)
        trace(TRACE_CLUSTER, "%s: the client was not told: %s", host->name, ac_strerror(err));
}

static void refuse(struct host *host, const char *reason) {
    char why[PROBLEM_BYTES];
    snprintf(why, sizeof why, "%s", reason);
    text_mend(why);
    trace(TRACE_CLUSTER, "%s: refused: %s", host->name, why);
    host->ending = host->refused = true;
    tell(host, ac_list("refused", (const char *)why, (const char *)host->node->name));
}

static void refuse_for(struct host *host, int err, const char *what) {
    char text[PROBLEM_BYTES];
    snprintf(text, sizeof text, "%s: %s", what, ac_strerror(err));
    refuse(host, text);
}

// ---- workers ----

static int start_process(struct keeper *keeper, char problem[SYS_WARD_PROBLEM_BYTES]) {
    struct host *host = keeper->host;
    struct worker_start start = {.agent = host->agent,
                                 .supplier = host->voice.supplier,
                                 .client = host->client,
                                 .number = keeper->number,
                                 .loopback_only = host->node->loopback_only,
                                 .node = host->node->name,
                                 .stays = host->grace_ns > 0};
    // Where the client is seen from here is better than what it has told of itself.
    (void)remote_find(loop_here, host->voice.supplier.peer, &start.client);
    if (!remote_find(loop_here, host->agent.peer, &start.scheduler) || !start.client.family)
        return -EHOSTUNREACH;
    int record[2], output[2];
    int err = sys_pipe(record);
    if (err)
        return err;
    err = sys_pipe(output);
    if (err)
        goto close_record;
    keeper->marks = worker_marks_create();
    err = remote_keys(loop_here, &start.keys);
    if (!err)
        err = worker_start_write(record[1], &start);
    digest_wipe(&start.keys, sizeof start.keys);
    char folder[600], **environment = intake_environment(&host->intake);
    char *const arguments[] = {host->name, (char *)worker_mark, NULL};
    const struct sys_process_options how = {
        .executable = host->program,
        .arguments = arguments,
        .environment = environment,
        .folder = intake_folder(&host->intake, folder),
        .input = -1,
        .output = output[1],
        .error = output[1],
        .extra = record[0],
        .more = keeper->marks < 0 ? 0 : keeper->marks,
    };
    if (!err)
        err = cell_start(&host->node->cells, &keeper->ward, &how, problem);
    // The process that was started last for somebody else may hold the program open for writing, as
    // this process did at that moment, until its own program is about to run.
    for (int i = 0; err == -ETXTBSY && i < BUSY_TRIES && ac_sleep(0.002) == 0; i++) {
        problem[0] = 0;
        err = cell_start(&host->node->cells, &keeper->ward, &how, problem);
    }
    memory_release(environment);
    keeper->record = record[1];
    keeper->output = output[0];
    sys_fd_close(output[1]);
    if (err) {
        sys_fd_close(output[0]);
        sys_fd_close(keeper->marks);
    }
close_record:
    sys_fd_close(record[0]);
    if (err)
        sys_fd_close(record[1]);
    return err;
}

static int start_worker(struct host *host, char problem[SYS_WARD_PROBLEM_BYTES]) {
    struct keeper *keeper = memory_allocate_zeroed(sizeof *keeper);
    if (!keeper)
        return -ENOMEM;
    keeper->host = host;
    keeper->number = ++host->last_number;
    keeper->began = ac_now();
    list_init(&keeper->link);
    int err = start_process(keeper, problem);
    if (err) {
        memory_release(keeper);
        return err;
    }
    struct coro *coro = outside_daemon(run_keeper, keeper, "keeper of a worker");
    struct coro *listener = coro ? outside_daemon(run_listener, keeper, "listener of a worker")
                                 : NULL;
    if (!listener) { // it cannot be looked after
        sys_ward_end(&keeper->ward, true);
        sys_fd_close(keeper->output);
    }
    if (!coro) {
        sys_ward_abandon(&keeper->ward);
        sys_fd_close(keeper->record);
        sys_fd_close(keeper->marks);
        memory_release(keeper);
        return -ENOMEM;
    }
    keeper->listener = listener ? coro_ref(listener) : ac_no_ref;
    list_append(&host->keepers, &keeper->link);
    host->keeper_count++;
    trace(TRACE_CLUSTER, "%s: worker %lld is process %d", host->name, (long long)keeper->number,
          keeper->ward.id);
    return listener ? 0 : -ENOMEM;
}

// There will be no workers.
static void refuse_workers(struct host *host) {
    char text[PROBLEM_BYTES];
    const char *why = host->unfit == host->workers ? "the set-up failed in all of its workers"
                                                   : "its workers end again and again: given up";
    snprintf(text, sizeof text, "%s; the last one: %.*s", why, PROBLEM_BYTES - 64, host->last_end);
    refuse(host, text);
}

// As many workers as there should be.
static void start_workers(struct host *host) {
    if (!host->ending && !host->orphan && host->unfit > 0 && host->unfit == host->workers)
        refuse_workers(host);
    while (!host->ending && !host->orphan && host->program >= 0 &&
           host->keeper_count + host->unfit < host->workers) {
        if (host->last_number >= host->workers) {
            if (host->restarts_left == 0) {
                if (host->keeper_count == 0)
                    refuse_workers(host);
                return;
            }
            host->restarts_left--;
        }
        char problem[SYS_WARD_PROBLEM_BYTES] = "";
        int err = start_worker(host, problem);
        if (err == -EACCES && strncmp(problem, "program", 7) == 0)
            refuse(host, "the program may not be run here: the folder of programs lies on a "
                         "file system mounted noexec, or vm.memfd_noexec is set");
        else if (err && (host->keeper_count > 0 || host->last_number > (int64_t)host->workers))
            snprintf(host->last_end, sizeof host->last_end, "%.250s", // as one that crashes at once
                     problem[0] ? problem : ac_strerror(err));
        else if (problem[0])
            refuse(host, problem);
        else if (err)
            refuse_for(host, err, "a worker could not be started");
    }
}

static int watch_end(struct keeper *keeper) {
    struct sys_handle handle = {0};
    int copy = sys_fd_copy(keeper->ward.warden.handle);
    if (copy < 0)
        return copy;
    sys_adopt(loop_here->sys, &handle, copy, false);
    struct sys_op op = {.verb = SYS_WATCH, .handle = &handle};
    int err = (int)coro_operate(&op, AC_FOREVER);
    sys_close(&handle);
    return err;
}

// Where no descriptor is free the worker lives all the same: one may be later.
static void wait_for_end(struct keeper *keeper) {
    int err;
    while ((err = watch_end(keeper)) < 0 && err != -ECANCELED && ac_sleep(WATCH_AGAIN_S) == 0)
        continue;
}

// Keeps for another scheduler how a worker ended: this one may be lost before it is told, or be
// lost already. Without memory the other one learns only that the worker has ended.
static void note_gone(struct host *host, ac_value gone) {
    if (host->grace_ns == 0 || !host->coro)
        return;
    ac_value *noted = host->noted_count < NOTED_MAX
                          ? memory_resize(host->noted, (host->noted_count + 1) * sizeof *noted)
                          : host->noted;
    if (!noted)
        return;
    host->noted = noted;
    if (host->noted_count == NOTED_MAX) {
        ac_drop(noted[0]);
        memmove(noted, noted + 1, --host->noted_count * sizeof *noted);
    }
    noted[host->noted_count++] = ac_hold(gone);
}

static ac_value run_keeper(ac_value argument) {
    struct keeper *keeper = ac_pointer_of(argument);
    struct host *host = keeper->host;
    struct worker_end end = {0};
    char text[END_TEXT_BYTES] = "";
    wait_for_end(keeper);
    end.closed = host->ending;
    end.err = sys_ward_reap(&keeper->ward, &end.ward);
    cell_clear(&keeper->ward);
    // The listener reads what is left and then the end; unless a process got away with the pipe.
    if (ac_join(keeper->listener, NULL, ac_after(host->intake.output ? 5 : 0.5)) == -ETIMEDOUT) {
        (void)ac_cancel(keeper->listener);
        if (ac_join(keeper->listener, NULL, AC_FOREVER) < 0)
            trace(TRACE_CLUSTER, "%s: a listener is left", host->name);
    }
    end.last = keeper->tail;
    end.last_bytes = keeper->tail_bytes;
    worker_end_text(&end, text, sizeof text);
    trace(TRACE_CLUSTER, "%s: worker %lld: %s", host->name, (long long)keeper->number, text);
    struct worker_marks marks = worker_marks_read(keeper->marks);
    look_at_marks(host);
    host->unfit += marks.setting_up != 0 && !end.closed;
    ac_value gone = ac_list("gone", keeper->number, (const char *)text, marks.begun, end.closed,
                            marks.setting_up, host->set_up);
    ac_ref agent = host->agent;
    memcpy(host->last_end, text, sizeof text);
    list_remove(&keeper->link);
    host->keeper_count--;
    if (ac_now() - keeper->began > RESTART_FREE_NS && host->restarts_left < RESTARTS_MAX)
        host->restarts_left++;
    sys_fd_close(keeper->record);
    sys_fd_close(keeper->marks);
    memory_release(keeper);
    if (host->coro)
        (void)mailbox_put(host->coro, ac_nil);
    note_gone(host, gone);
    bool told = !host->orphan;
    let_go(host);
    if (told)
        (void)ac_send(agent, gone);
    else
        ac_drop(gone);
    return ac_nil;
}

static void keep_tail(struct keeper *keeper, const char *bytes, size_t count) {
    if (count > TAIL_BYTES) {
        bytes += count - TAIL_BYTES;
        count = TAIL_BYTES;
    }
    size_t over = keeper->tail_bytes + count > TAIL_BYTES ? keeper->tail_bytes + count - TAIL_BYTES
                                                          : 0;
    memmove(keeper->tail, keeper->tail + over, keeper->tail_bytes - over);
    keeper->tail_bytes -= over;
    memcpy(keeper->tail + keeper->tail_bytes, bytes, count);
    keeper->tail_bytes += count;
}

// ---- what workers write ----

static ac_value output_of(const struct keeper *keeper, const char *bytes, size_t count) {
    const struct host *host = keeper->host;
    return ac_list("output", host->voice.host, secret_of(host), (const char *)host->node->name,
                   keeper->number, ac_of_bytes(bytes, count));
}

// Its end: it is waited for, so that all that was written is with the client before the end of the
// worker is told.
static void end_output(const struct keeper *keeper) {
    const struct host *host = keeper->host;
    if (host->intake.output &&
        ac_deliver(host->voice.supplier, output_of(keeper, "", 0), AC_FOREVER) != 1)
        trace(TRACE_CLUSTER,
              "%s: worker %lld: perhaps not all that it wrote has come to its client", host->name,
              (long long)keeper->number);
}

static ac_value run_listener(ac_value argument) {
    struct keeper *keeper = ac_pointer_of(argument);
    const struct host *host = keeper->host;
    struct sys_handle handle = {0};
    struct outlet outlet;
    char bytes[OUTPUT_BYTES];
    sys_adopt(loop_here->sys, &handle, keeper->output, false);
    outlet_open(&outlet);
    struct sys_op op = {.verb = SYS_READ, .handle = &handle, .bytes = bytes, .count = sizeof bytes};
    int64_t got;
    while ((got = coro_operate(&op, AC_FOREVER)) > 0) {
        if (host->intake.output)
            (void)ac_send(host->voice.supplier, output_of(keeper, bytes, (size_t)got));
        text_clean(bytes, (size_t)got);
        keep_tail(keeper, bytes, (size_t)got);
        if (!host->intake.output)
            outlet_pass_on(&outlet, keeper->number, bytes, (size_t)got);
    }
    end_output(keeper);
    outlet_close(&outlet, keeper->number);
    sys_close(&handle);
    return ac_nil;
}

// ---- ending workers ----

static void signal_workers(struct host *host, bool hard) {
    list_each (link, &host->keepers)
        sys_ward_end(&container_of(link, struct keeper, link)->ward, hard);
}

static struct keeper *find_keeper(struct host *host, int64_t number) {
    list_each (link, &host->keepers) {
        struct keeper *keeper = container_of(link, struct keeper, link);
        if (keeper->number == number)
            return keeper;
    }
    return NULL;
}

static void end_one(struct host *host, ac_value message) {
    const char *word;
    int64_t number;
    if (ac_unpack(message, &word, &number) != 0)
        return;
    struct keeper *keeper = find_keeper(host, number);
    if (keeper)
        sys_ward_end(&keeper->ward, true);
}

static void wait_for_keepers(struct host *host, ac_time deadline) {
    ac_value message;
    while (host->keeper_count > 0 && ac_receive(&message, deadline) == 0)
        ac_drop(message);
}

static void end_workers(struct host *host) {
    signal_workers(host, false);
    wait_for_keepers(host, ac_now() + SOFT_END_NS);
    signal_workers(host, true);
    wait_for_keepers(host, ac_now() + HARD_END_NS);
    if (host->keeper_count > 0)
        trace(TRACE_CLUSTER, "%s: %u processes do not end", host->name, host->keeper_count);
}

// ---- taking the program in ----

static void tell_ready(struct host *host) {
    const struct node *node = host->node;
    char tags[256];
    tags_write(node->tags, tags, sizeof tags);
    tell(host, ac_list("ready", host->workers,
                       ac_list(node->workers, node->memory_bytes, (const char *)tags,
                               elf_machine(node->place.machine))));
}

// All of the cargo is here.
static void end_intake(struct host *host) {
    char problem[PROBLEM_BYTES];
    host->storing = false;
    if (intake_end(&host->intake, problem) < 0) {
        refuse(host, problem);
        return;
    }
    host->program = intake_program(&host->intake);
    tell_ready(host);
    start_workers(host);
}

static void ask_for_items(struct host *host) {
    host->giver = ac_no_ref;
    int err = ac_send(host->voice.supplier, ac_list("need", host->voice.host, secret_of(host),
                                                    intake_wanted(&host->intake), ++host->round));
    if (err)
        refuse_for(host, err, "the client, who has the program, cannot be reached");
}

static void take_in(struct host *host) {
    struct node *node = host->node;
    char problem[PROBLEM_BYTES];
    if (node->closed) {
        refuse(host, node->closed);
        return;
    }
    // The scheduler may, or it would not have been heard; the code comes from its client.
    if (remote_may(loop_here, host->voice.supplier.peer, AC_MAY_SHIP) < 0) {
        refuse(host, "it takes no code from this client");
        return;
    }
    if (node->host_count > HOSTS_MAX) {
        refuse(host, "too many computations run on this node");
        return;
    }
    int err = intake_open(&host->intake, &node->contents, &node->place, host->cargo, problem);
    if (err < 0) {
        refuse(host, problem);
        return;
    }
    tell(host, ac_list("host", coro_ref(host->coro), (const char *)node->name));
    if (err == 0) {
        end_intake(host);
        return;
    }
    host->storing = true;
    host->silent_until = ac_now() + node->upload_ns;
    err = ac_monitor(host->voice.supplier);
    if (err)
        refuse_for(host, err, "the client, who has the program, cannot be reached");
    else
        ask_for_items(host);
}

// Asks once more for what is still missing.
static void ask_again(struct host *host) {
    intake_again(&host->intake);
    host->silent_until = ac_now() + host->node->upload_ns;
    ask_for_items(host);
}

// What comes is not what it should be, or nothing comes. Where another node sends it that may be
// at fault: then the client sends it itself.
static void end_upload(struct host *host, const char *why) {
    if (ac_ref_is(host->giver))
        ask_again(host);
    else
        refuse(host, why);
}

static void take_piece(struct host *host, ac_value message) {
    const char *word;
    uint32_t item;
    uint64_t offset, round;
    ac_span piece;
    char problem[PROBLEM_BYTES];
    if (!host->storing || ac_unpack(message, &word, &item, &offset, &piece, &round) != 0 ||
        round != host->round)
        return;
    if (intake_add(&host->intake, item, offset, piece, problem) < 0)
        end_upload(host, problem);
    else if (piece.bytes > 0)
        host->silent_until = ac_now() + host->node->upload_ns;
}

static void take_done(struct host *host, ac_value message) {
    const char *word;
    uint64_t round;
    if (!host->storing || ac_unpack(message, &word, &round) != 0 || round != host->round)
        return;
    ac_value missing = intake_wanted(&host->intake);
    bool all = ac_count(missing) == 0;
    ac_drop(missing);
    if (!all && ac_ref_is(host->giver)) {
        ask_again(host);
        return;
    }
    if (all)
        (void)ac_send(host->voice.supplier, ac_list("have", host->voice.host, secret_of(host)));
    end_intake(host);
}

static void take_repeat(struct host *host, ac_value message) {
    const char *word;
    uint64_t round;
    if (host->storing && ac_unpack(message, &word, &round) == 0 && round == host->round)
        ask_again(host);
}

static void take_from(struct host *host, ac_value message) {
    const char *word, *address;
    ac_ref giver;
    uint64_t round;
    struct sys_address at;
    if (!host->storing || ac_unpack(message, &word, &giver, &address, &round) != 0 ||
        round != host->round)
        return;
    if (address && sys_address_parse(address, &at))
        (void)remote_introduce(loop_here, giver.peer, &at);
    host->giver = giver;
    if (ac_monitor(giver) < 0)
        ask_again(host);
}

// ---- passing the program on ----

static void take_give(struct host *host, ac_value message) {
    const char *word, *address;
    ac_ref to;
    ac_value wanted;
    uint64_t round;
    struct sys_address at;
    if (ac_unpack(message, &word, &to, &address, &wanted, &round) != 0)
        return;
    if (address && sys_address_parse(address, &at))
        (void)remote_introduce(loop_here, to.peer, &at);
    if (gift_begin(host->node, &host->intake, host->name, &host->voice, to, wanted, round) < 0)
        gift_refuse(&host->voice, to, round);
}

// ---- another scheduler instead of one that is lost ----

// Only what has its program waits: the client may be lost as well.
static void lose_agent(struct host *host, enum ac_end how) {
    host->orphan = how == AC_LOST && host->grace_ns > 0 && may_return(host);
    host->ending |= !host->orphan;
    host->until = ac_now() + host->grace_ns;
    trace(TRACE_CLUSTER, "%s: the scheduler is lost", host->name);
}

// Tells the workers where the scheduler is now. One that has read nothing for so long that there is
// no room is of no use to it; one that reads no more has ended, as its keeper learns.
static void tell_workers(struct host *host, const ac_value *numbers, size_t count) {
    struct sys_address scheduler;
    ac_ref agent = host->agent;
    bool known = remote_find(loop_here, agent.peer, &scheduler);
    for (size_t i = 0; i < count; i++) {
        struct keeper *keeper = find_keeper(host, ac_int_of(numbers[i]));
        int err = !keeper ? 0
                  : known ? worker_return_write(keeper->record, agent, &scheduler)
                          : -EHOSTUNREACH;
        keeper = err && err != -EPIPE ? find_keeper(host, ac_int_of(numbers[i])) : NULL;
        if (keeper)
            sys_ward_end(&keeper->ward, true);
    }
}

static void take_again(struct host *host, ac_value open) {
    struct host as = {.node = host->node};
    bool again, good = read_open(&as, open, &again) && ac_monitor(as.agent) == 0;
    ac_drop(as.cargo);
    if (!good)
        return; // it is lost as well, and there may be another
    host->agent = as.agent;
    as.voice.host = host->voice.host;
    host->voice = as.voice;
    host->client = as.client;
    host->grace_ns = as.grace_ns;
    host->drain = host->drain_until != AC_NOW;
    ac_value numbers[WORKERS_MAX];
    size_t count = 0;
    list_each (link, &host->keepers)
        if (count < WORKERS_MAX)
            numbers[count++] = ac_of(container_of(link, struct keeper, link)->number);
    tell(host, ac_list("host", coro_ref(host->coro), (const char *)host->node->name));
    look_at_marks(host);
    tell(host, ac_list("kept", ac_list_of(numbers, count), host->set_up));
    for (size_t i = 0; i < host->noted_count; i++)
        tell(host, ac_hold(host->noted[i]));
    host->orphan = false; // from now on workers that end are told of as they do
    tell_ready(host);
    tell_workers(host, numbers, count);
}

// ---- the host ----

static void take_exit(struct host *host, const struct ac_exit *exit) {
    if (ac_ref_equal(exit->who, host->agent))
        lose_agent(host, exit->how);
    if (!host->storing)
        return;
    if (ac_ref_equal(exit->who, host->voice.supplier))
        refuse(host, "the client, who has the program, is gone");
    else if (ac_ref_equal(exit->who, host->giver))
        ask_again(host);
}

static void take_message(struct host *host, ac_value message) {
    struct ac_exit exit;
    if (ac_exit_of(message, &exit)) {
        take_exit(host, &exit);
        ac_drop(exit.value);
    } else if (message_is(message, "piece")) {
        take_piece(host, message);
    } else if (message_is(message, "done")) {
        take_done(host, message);
    } else if (message_is(message, "from")) {
        take_from(host, message);
    } else if (message_is(message, "again")) {
        take_repeat(host, message);
    } else if (message_is(message, "wait")) {
        host->silent_until = ac_now() + host->node->upload_ns;
    } else if (message_is(message, "give")) {
        take_give(host, message);
    } else if (message_is(message, "end")) {
        end_one(host, message);
    } else if (message_is(message, "open")) {
        take_again(host, message);
    } else if (message_is(message, "close")) {
        host->ending = true;
    }
    ac_drop(message);
}

static ac_value run_host(ac_value argument) {
    struct host *host = ac_pointer_of(argument);
    struct node *node = host->node;
    trace(TRACE_CLUSTER, "%s: %u workers", host->name, host->workers);
    host->voice.host = ac_self();
    int err = remote_guard(loop_here, ac_self(), AC_MAY_SHIP);
    if (!err)
        err = ac_monitor(host->agent);
    if (err && !host->ending)
        refuse_for(host, err, "it cannot be taken in");
    else if (!host->ending)
        take_in(host);
    while (!err && !host->ending) {
        ac_value message;
        err = ac_receive(&message, host->orphan    ? host->until
                                   : host->storing ? host->silent_until
                                                   : AC_FOREVER);
        if (!err)
            take_message(host, message);
        if (err == -ETIMEDOUT && host->storing && !host->orphan) {
            end_upload(host, "the upload of the program has stopped");
            err = 0;
        }
        if (host->drain && !host->orphan && !host->ending) {
            tell(host, ac_list("draining", (double)(host->drain_until - ac_now()) * 1e-9));
            host->drain = false;
        }
        start_workers(host);
    }
    host->ending = true;
    remote_unguard(loop_here, ac_self());
    end_workers(host);
    intake_close(&host->intake);
    ac_drop(host->cargo);
    while (host->noted_count > 0)
        ac_drop(host->noted[--host->noted_count]);
    memory_release(host->noted);
    host->noted = NULL;
    list_remove(&host->link);
    node->host_count--;
    (void)mailbox_put(node->main, ac_nil);
    trace(TRACE_CLUSTER, "%s: closed", host->name);
    host->coro = NULL;
    let_go(host);
    return ac_nil;
}
