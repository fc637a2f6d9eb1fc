// SPDX-License-Identifier: MIT
// How a computation comes to a desk: at the scheduler of its own loop, or at one in another
// process. That one the courier seeks, by an address or by name, again and again until it is there:
// client and scheduler may be started in any order. When it has taken the computation, or said that
// it does not, the owner is told; and unasked, if none is found, after three seconds. Where any one
// will do, those that take no code from this program are passed over.
//
// One that keeps a journal gives a token with its answer. If it is lost it is sought again, by the
// address, or under the name of its journal where any one would do, for as long as it has said that
// this may take, and asked with the token.
//
// The question and its answer are specified at the head of service.c.
#include "cluster/client_private.h"
#include "cluster/scheduler.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MIN_S 0.1
#define PAUSE_MAX_S 2.0
#define ROUND_S 2.0
#define ANSWER_S 5.0
#define DOORS_MAX 64
#define HINT_NS (3000ll * 1000 * 1000)
#define SECONDS_MAX 1e6

int contact_choose(struct ac_computation *it, const struct ac_computation_options *options) {
    const char *where = options ? options->scheduler : NULL;
    if (!where)
        where = getenv("AC_SCHEDULER");
    if (!where || strcmp(where, "here") == 0)
        where = "";
    return snprintf(it->where, sizeof it->where, "%s", where) < (int)sizeof it->where ? 0 : -EINVAL;
}

int contact_open(struct cluster *cluster, struct ac_computation *it,
                 const struct ac_computation_options *options) {
    char address[SYS_ADDRESS_TEXT_BYTES];
    struct sys_address here = remote_address(it->loop);
    sys_address_text(&here, address);
    uint32_t nodes_max = options ? options->nodes_max : 0;
    uint32_t workers_max = options ? options->workers_max : 0;
    it->open = ac_list("open", coro_ref(it->courier), coro_ref(it->supplier), (const char *)address,
                       (const char *)it->name, ac_hold(it->cargo.told), it->many_jobs, nodes_max,
                       workers_max, options ? options->weight : 0,
                       options && options->nodes_disabled, ac_hold(it->setup), ac_nil);
    if (it->open.kind == AC_INVALID)
        return ac_error_of(it->open);
    if (it->where[0])
        return 0; // the courier seeks it
    if (!cluster->scheduler)
        cluster->scheduler = scheduler_create(it->loop);
    return cluster->scheduler ? desk_open(cluster->scheduler, it->open, NULL) : -ENOMEM;
}

// ---- a scheduler elsewhere ----

// What may be otherwise in a moment.
static bool may_pass(int err) {
    static const int lasting[] = {-EACCES,    -EPROTO, -EKEYREJECTED, -EINVAL, -EMSGSIZE,
                                  -ECANCELED, -ENOMEM, -ENOTCONN,     -EPERM};
    for (size_t i = 0; i < countof(lasting); i++)
        if (err == lasting[i])
            return false;
    return true;
}

void scheduler_journal_name(const uint8_t id[JOURNAL_ID_BYTES], char name[80]) {
    int at = snprintf(name, 80, "%s.", SCHEDULER_NAME);
    for (int i = 0; i < JOURNAL_ID_BYTES; i++)
        at += snprintf(name + at, 80 - (size_t)at, "%02x", id[i]);
}

// One that takes code from us, where any will do. 0 or -EACCES.
static int find_other(const struct ac_computation *it, ac_ref *door, ac_time deadline) {
    ac_ref doors[DOORS_MAX];
    long count = ac_locate_all(SCHEDULER_NAME, doors, DOORS_MAX, deadline);
    for (long i = 0; i < count && i < DOORS_MAX; i++)
        if (remote_lets_us(it->loop, doors[i].peer, AC_MAY_SHIP)) {
            *door = doors[i];
            return 0;
        }
    return -EACCES;
}

static int find(struct ac_computation *it, ac_ref *door, ac_time deadline) {
    bool any = strcmp(it->where, "any") == 0;
    char name[80] = SCHEDULER_NAME;
    if (any && it->has_token)
        scheduler_journal_name(it->token, name);
    int err = any ? ac_locate(name, door, deadline)
                  : ac_locate_at(SCHEDULER_NAME, it->where, door, deadline);
    if (!err && !remote_lets_us(it->loop, door->peer, AC_MAY_SHIP))
        err = -EACCES;
    if (any && err == -EACCES)
        err = find_other(it, door, deadline);
    if (!err)
        return 0;
    const char *what = err == -EACCES      ? "takes no code from this program"
                       : err == -ETIMEDOUT ? "does not answer"
                                           : ac_strerror(err);
    char at[64] = "";
    if (any && err == -EACCES)
        location_of(it->loop, *door, at);
    if (any && err != -EACCES && it->has_token)
        snprintf(it->why, sizeof it->why, "the scheduler was lost, and has not come back so far");
    else if (any && err != -EACCES)
        snprintf(it->why, sizeof it->why, "no scheduler is found: start one: asyncoro scheduler");
    else
        snprintf(it->why, sizeof it->why, "the scheduler at %.200s: %s", any ? at : it->where,
                 what);
    return any && err == -EACCES ? -EAGAIN : err; // another one may come
}

// From now on it is asked for with the token.
static int add_token(struct ac_computation *it) {
    ac_value items[16];
    size_t count = 0, cursor = 0;
    while (count < countof(items) && ac_next(it->open, &cursor, &items[count]))
        count++;
    assert(count > 0 && count < countof(items)); // the last one is for the token
    ac_drop(items[count - 1]);
    items[count - 1] = ac_of_bytes(it->token, sizeof it->token);
    ac_value open = ac_list_of(items, count);
    if (open.kind == AC_INVALID)
        return ac_error_of(open);
    ac_drop(it->open);
    it->open = open;
    return 0;
}

// ["desk", desk, token, seconds]
static int take_token(struct ac_computation *it, ac_value answer) {
    const char *word;
    ac_span token;
    double seconds;
    int err = ac_unpack(answer, &word, &it->desk, &token, &seconds);
    if (err || token.bytes != sizeof it->token || !(seconds >= 0 && seconds < SECONDS_MAX))
        return err ? err : -EPROTO;
    memcpy(it->token, token.at, sizeof it->token);
    it->return_ns = (ac_time)(seconds * 1e9);
    if (!it->has_token)
        err = add_token(it);
    it->has_token = !err;
    return err;
}

static int take_answer(struct ac_computation *it, ac_value answer) {
    int err = 0;
    if (answer.kind == AC_REF)
        it->desk = ac_ref_of(answer);
    else
        err = take_token(it, answer);
    it->answered = true;
    if (!it->has_token)
        job_keep_none(it);
    if (!err)
        err = ac_monitor(it->desk);
    if (err)
        it->desk = ac_no_ref;
    return err;
}

// 0 and it->desk; an error, and whether it was refused for good.
static int ask(struct ac_computation *it, ac_ref door, bool *refused) {
    ac_value answer = ac_nil;
    int err;
    // However long it takes, and the same one again: its answer gets lost where there is no room
    // for it, it opens nothing twice, and if its process is lost that is noticed.
    do
        err = ac_call(door, ac_hold(it->open), &answer, ac_after(ANSWER_S));
    while (err == -ETIMEDOUT);
    if (!err && (answer.kind == AC_REF || message_is(answer, "desk"))) {
        err = take_answer(it, answer);
    } else if (!err) {
        ac_span text = ac_span_of(answer);
        err = ac_error_of(answer) < 0 ? ac_error_of(answer) : -EPROTO;
        *refused = err != -ESHUTDOWN;
        err = err == -ESRCH ? -ECONNRESET : err; // the one that knew it is lost, or has given it up
        snprintf(it->why, sizeof it->why, "the scheduler does not take it: %.*s", (int)text.bytes,
                 (const char *)text.at);
        text_mend(it->why);
    } else {
        snprintf(it->why, sizeof it->why, "the scheduler did not answer: %s", ac_strerror(err));
    }
    ac_drop(answer);
    return err;
}

static void tell(struct ac_computation *it, enum ac_status_kind kind, const char *text) {
    struct ac_status status = {.kind = kind};
    if (ac_ref_is(it->desk))
        location_of(it->loop, it->desk, status.location);
    snprintf(status.text, sizeof status.text, "%s", text);
    computation_tell(it, status_notice(&status));
}

static int reach(struct ac_computation *it, ac_time deadline) {
    ac_time hint = ac_now() + HINT_NS;
    double pause = PAUSE_MIN_S;
    for (;;) {
        ac_ref door = ac_no_ref;
        bool refused = false;
        ac_time until = ac_after(ROUND_S);
        int err = find(it, &door, hint < until ? hint : until);
        if (!err)
            err = ask(it, door, &refused);
        if (!err)
            tell(it, AC_SCHEDULER_READY, "");
        if (!err || refused || !may_pass(err))
            return err;
        trace(TRACE_CLUSTER, "%s: %s", it->name, it->why);
        if (ac_now() >= deadline)
            return -ETIMEDOUT;
        if (ac_now() >= hint) {
            tell(it, AC_JOBS_WAIT, it->why);
            hint = AC_FOREVER;
        }
        err = ac_sleep(pause);
        if (err)
            return err;
        pause = 2 * pause < PAUSE_MAX_S ? 2 * pause : PAUSE_MAX_S;
    }
}

int contact_reach(struct ac_computation *it) { return reach(it, AC_FOREVER); }

int contact_return(struct ac_computation *it) {
    snprintf(it->why, sizeof it->why, "the scheduler was lost, and is sought again");
    tell(it, AC_SCHEDULER_LOST, it->why);
    it->desk = ac_no_ref;
    int err = reach(it, ac_now() + it->return_ns);
    if (err != -ETIMEDOUT)
        return err;
    snprintf(it->why, sizeof it->why, "the scheduler was lost, and has not come back");
    return -ECONNRESET;
}

void contact_lost(struct ac_computation *it) {
    if (it->where[0] && !it->closer)
        tell(it, AC_SCHEDULER_GONE, it->why);
}
