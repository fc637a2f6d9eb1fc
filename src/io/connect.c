// SPDX-License-Identifier: MIT
// Connecting.
//
// A name may have several addresses, some of which lead nowhere, and say so late or never. They are
// tried side by side (RFC 8305, "happy eyeballs"): IPv6 and IPv4 in turn, each 250 ms after the one
// before, or at once when one has failed. The first that connects is taken, the others are given
// up.
//
// Each attempt is a coroutine of the library's own, so that it cleans up after itself: whoever
// wanted the connection may be cancelled, or have its time out, and leave. The race lies in memory
// that its starter and the attempts hold together.
//
//      ac_connect -> race <- attempt 1, attempt 2, ...
//                      |  each tells its end: the winner's stream, or why it failed
//                      +-> wakes the one who waits
#include "io/io.h"

#define STAGGER_NS ((ac_time)250 * 1000 * 1000)
// Between two looks whether a listener on a Unix socket has room, of which the system does not
// tell.
#define ROOM_NS_MIN ((ac_time)1000 * 1000)
#define ROOM_NS_MAX ((ac_time)50 * 1000 * 1000)

struct attempt {
    struct race *race;
    struct coro *coro;        // NULL: not begun, or ended
    struct end_watch watch;   // of the coroutine
    struct ac_stream *stream; // its own until it ends; NULL unless it has connected
    int err;
    struct sys_address to;
};

struct race {
    struct coro *waiter; // who started it; NULL: has left
    bool waits;          // it is to be woken
    bool failed;         // an attempt has, since one was begun last
    int err;             // of several failures the one worth telling
    uint32_t holders;    // the starter and the attempts that run
    uint32_t begun;
    uint32_t running;
    uint32_t count;
    struct ac_stream *winner;
    struct connect_how how;
    ac_time deadline;
    struct attempt attempts[IO_ADDRESSES_MAX];
};

static ac_value run_attempt(ac_value argument);
static void attempt_ended(struct end_watch *watch, const struct ac_exit *exit);
static bool leave_race(struct coro *coro);

// Its deadline is the moment of the next attempt.
static const struct wait_kind race_wait = {"connect", leave_race, .until_deadline = true};

// ---- one address ----

// A connection from a port to itself, which the system makes when nobody listens on a port that it
// has just chosen as ours.
static bool is_to_itself(struct ac_stream *stream, const struct sys_address *to) {
    struct sys_address local;
    return to->family != SYS_UNIX && sys_local(&stream->object.handle, &local, NULL) == 0 &&
           sys_address_equal(&local, to);
}

// A listener on a Unix socket that has no room for more connections says -EAGAIN.
static int operate(struct ac_stream *stream, const struct io_address *to, ac_time deadline) {
    struct sys *sys = coro_here()->loop->sys;
    for (ac_time pause = ROOM_NS_MIN;; pause = pause < ROOM_NS_MAX ? 2 * pause : pause) {
        struct sys_op op = {.verb = SYS_CONNECT,
                            .address = to->ip,
                            .name = (struct sys_unix *)(uintptr_t)&to->name}; // only read
        int err = (int)io_operate(&stream->object, &op, deadline);
        if (err != -EAGAIN || to->ip.family != SYS_UNIX)
            return err;
        ac_time now = sys_now(sys);
        if (deadline <= now)
            return -ETIMEDOUT;
        err = ac_sleep_until(deadline - now < pause ? deadline : now + pause);
        if (err)
            return err;
    }
}

static int connect_one(struct ac_stream *stream, const struct io_address *to,
                       const struct connect_how *how, ac_time deadline) {
    struct sys_open open = how->open;
    open.family = to->ip.family;
    if (how->from.family) {
        if (how->from.family != to->ip.family)
            return -EADDRNOTAVAIL;
        open.bind = &how->from;
    }
    int err = sys_open(coro_here()->loop->sys, &stream->object.handle, &open);
    if (!err)
        err = operate(stream, to, deadline);
    if (!err && is_to_itself(stream, &to->ip))
        err = -ECONNREFUSED;
    if (!err)
        stream->remote = to->ip;
    return err;
}

static int connect_new(struct ac_stream **stream, const struct io_address *to,
                       const struct connect_how *how, ac_time deadline) {
    struct ac_stream *new = stream_create(coro_here()->loop);
    if (!new)
        return -ENOMEM;
    int err = connect_one(new, to, how, deadline);
    if (err)
        ac_close(new);
    else
        *stream = new;
    return err;
}

// ---- several ----

void connect_order(struct sys_address *addresses, size_t count) {
    for (size_t i = 1; i < count; i++) {
        size_t next = i;
        while (next < count && addresses[next].family == addresses[i - 1].family)
            next++;
        if (next == count)
            return; // all that are left are of one family
        struct sys_address it = addresses[next];
        memmove(&addresses[i + 1], &addresses[i], (next - i) * sizeof it);
        addresses[i] = it;
    }
}

// This computer having no route, or no such addresses, says little.
static bool says_little(int err) {
    return err == 0 || err == -ENETUNREACH || err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL ||
           err == -EHOSTUNREACH;
}

static void note_failure(struct race *race, int err) {
    race->failed = true;
    if (says_little(race->err))
        race->err = err;
}

static void race_drop(struct race *race) {
    if (--race->holders == 0)
        memory_release(race);
}

static void begin_attempt(struct race *race) {
    static const struct ac_spawn_options options = {
        .size = sizeof options, .name = "connect", .daemon = true};
    struct attempt *it = &race->attempts[race->begun++];
    int err = -ENOMEM;
    it->race = race;
    it->coro = coro_create(race->waiter->loop, run_attempt, ac_of_pointer(it), &options, true,
                           &err);
    race->failed = false;
    if (!it->coro) {
        note_failure(race, err);
        return;
    }
    it->err = -ENOMEM; // what it ends with if it gets no stack
    it->watch.ended = attempt_ended;
    list_init(&it->watch.link);
    coro_watch(it->coro, &it->watch);
    race->holders++;
    race->running++;
}

static ac_value run_attempt(ac_value argument) {
    struct attempt *it = ac_pointer_of(argument);
    struct io_address to = {.ip = it->to};
    it->err = connect_new(&it->stream, &to, &it->race->how, it->race->deadline);
    return ac_nil;
}

static void attempt_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct attempt *it = container_of(watch, struct attempt, watch);
    struct race *race = it->race;
    (void)exit;
    it->coro = NULL;
    race->running--;
    if (!it->stream)
        note_failure(race, it->err);
    else if (race->waiter && !race->winner)
        race->winner = it->stream;
    else
        ac_close(it->stream);
    if (race->waits) {
        race->waits = false;
        coro_wake(race->waiter, 0);
    }
    race_drop(race);
}

static bool leave_race(struct coro *coro) {
    struct race *race = coro->wait_for;
    race->waits = false;
    return true;
}

// Waits until an attempt has ended, or the moment has come.
static int wait_for_attempt(struct race *race, ac_time until) {
    int err = coro_may_wait(race->waiter, AC_FOREVER);
    if (err)
        return err;
    race->waits = true;
    race->waiter->wait_for = race;
    return coro_wait(race->waiter, &race_wait, until);
}

static int run_race(struct race *race) {
    struct sys *sys = race->waiter->loop->sys;
    ac_time next = AC_NOW; // when another attempt is due
    for (;;) {
        ac_time now = sys_now(sys);
        bool more = race->begun < race->count;
        if (race->winner)
            return 0;
        if (race->deadline <= now)
            return -ETIMEDOUT;
        if (more && (race->failed || now >= next)) {
            begin_attempt(race);
            next = now + STAGGER_NS;
            continue;
        }
        if (race->running == 0)
            return race->err;
        int err = wait_for_attempt(race, more && next < race->deadline ? next : race->deadline);
        if (err)
            return err;
    }
}

int connect_side_by_side(struct ac_stream **stream, const struct sys_address *addresses,
                         size_t count, const struct connect_how *how, ac_time deadline) {
    struct race *race = memory_allocate_zeroed(sizeof *race);
    if (!race)
        return -ENOMEM;
    race->waiter = coro_here();
    race->holders = 1;
    race->count = (uint32_t)count;
    race->how = *how;
    race->deadline = deadline;
    for (size_t i = 0; i < count; i++)
        race->attempts[i].to = addresses[i];
    int err = run_race(race);
    race->waiter = NULL;
    if (!err)
        *stream = race->winner;
    else if (race->winner) // it came together with a cancellation
        ac_close(race->winner);
    for (uint32_t i = 0; i < race->begun; i++) {
        if (race->attempts[i].coro)
            coro_cancel(race->attempts[i].coro);
    }
    race_drop(race);
    return err;
}

// ---- for users ----

static int connect_by_name(struct ac_stream **stream, const char *text,
                           const struct connect_how *how, ac_time deadline) {
    struct sys_address found[IO_ADDRESSES_MAX];
    int count = io_resolve(text, found, countof(found), deadline);
    if (count < 0)
        return count;
    if (count == 1)
        return connect_new(stream, &(struct io_address){.ip = found[0]}, how, deadline);
    connect_order(found, (size_t)count);
    return connect_side_by_side(stream, found, (size_t)count, how, deadline);
}

int ac_connect_with(ac_stream **stream, const char *address, ac_time deadline,
                    const struct ac_socket_options *options) {
    struct connect_how how = {.open.transport = SYS_STREAM};
    struct io_address to;
    const char *local;
    if (!stream || !address)
        return -EINVAL;
    *stream = NULL;
    int err = coro_may_wait(coro_here(), AC_FOREVER);
    if (!err)
        err = io_options_read(options, &how.open, &local);
    if (!err && local && !sys_address_parse(local, &how.from))
        err = -EINVAL;
    if (err)
        return err;
    err = io_address_parse(address, &to);
    if (!err)
        err = connect_new(stream, &to, &how, deadline);
    else if (err == -EINVAL)
        err = connect_by_name(stream, address, &how, deadline);
    trace(TRACE_IO, "connect to %s: %d", address, err);
    return err;
}
