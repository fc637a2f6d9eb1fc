// SPDX-License-Identifier: MIT
// What tools show of a loop: each coroutine, the list of them, counters; and AC_DEBUG, which
// switches on what the calls of asyncoro/debug.h do.
//
// Everything is read from the records, on the thread that drives the loop; nothing is kept for it
// while nobody looks. A list is one line for the loop and one for each coroutine:
//
//   asyncoro: loop 0: 3 coroutines
//   asyncoro:   #0 'server' (server.c:40): receive for 1.204 s, 2 messages, stack of 64 KiB, daemon
//
// and is written as one piece, so that the lists of several loops do not mix.
#include "coro/coro.h"

#include <asyncoro/debug.h>

#include <stdio.h>
#include <stdlib.h>

static double seconds(ac_time ns) { return (double)ns * 1e-9; }

static const char *state_of(const struct coro *coro) {
    if (coro->wait)
        return coro->wait->name;
    return coro->loop->running == coro ? "running" : "ready";
}

static struct ac_coroutine_info describe(const struct coro *coro) {
    const struct loop *loop = coro->loop;
    return (struct ac_coroutine_info){
        .who = coro_ref(coro),
        .name = coro->name ? coro->name : "",
        .where = coro->where ? coro->where : "",
        .waiting = state_of(coro),
        .since_s = coro->wait ? (loop->mark - coro->context.mark) * 1e-3 : 0,
        .deadline = heap_deadline(&loop->timers, coro_index(coro)),
        .mailbox = coro->mail_count,
        .stack_bytes = coro->stack ? sys_stack_bytes(coro->stack_class) : 0,
        .daemon = coro->daemon,
        .cancelled = coro->cancel_asked,
        .internal = coro->internal,
    };
}

static size_t each(struct loop *loop,
                   bool (*tell)(const struct ac_coroutine_info *info, void *context),
                   void *context) {
    size_t told = 0;
    for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
        const struct coro *coro = &loop->coros[i];
        if (coro_state_here(coro) != CORO_ALIVE)
            continue;
        struct ac_coroutine_info info = describe(coro);
        told++;
        if (!tell(&info, context))
            break;
    }
    return told;
}

size_t ac_each_coroutine(bool (*tell)(const struct ac_coroutine_info *info, void *context),
                         void *context) {
    return loop_here && tell ? each(loop_here, tell, context) : 0;
}

// ---- the list ----

static bool list_one(const struct ac_coroutine_info *info, void *context) {
    const struct loop *loop = context;
    fprintf(stderr, "asyncoro:   #%u", ref_index(info->who.id));
    if (*info->name)
        fprintf(stderr, " '%s'", info->name);
    if (*info->where)
        fprintf(stderr, " (%s)", info->where);
    fprintf(stderr, ": %s", info->waiting);
    if (info->since_s > 0)
        fprintf(stderr, " for %.3f s", info->since_s);
    if (info->deadline != AC_FOREVER)
        fprintf(stderr, ", at most %.3f s more", seconds(info->deadline - loop->now));
    if (info->mailbox > 0)
        fprintf(stderr, ", %zu message%s", info->mailbox, info->mailbox == 1 ? "" : "s");
    if (info->stack_bytes > 0)
        fprintf(stderr, ", stack of %zu KiB", info->stack_bytes >> 10);
    else
        fputs(", has not run yet", stderr);
    fprintf(stderr, "%s%s%s\n", info->daemon ? ", daemon" : "",
            info->cancelled ? ", cancelled" : "", info->internal ? ", the library's own" : "");
    return true;
}

void loop_list(struct loop *loop) {
    uint32_t living = loop_living(loop);
    flockfile(stderr);
    fprintf(stderr, "asyncoro: loop %u%s: %u coroutine%s\n", loop->number,
            loop->in ? " (the library's own)" : "", living, living == 1 ? "" : "s");
    each(loop, list_one, loop);
    funlockfile(stderr);
}

void ac_list_coroutines(void) {
    struct loop *loop = loop_here;
    if (!loop)
        return;
    loop_list(loop);
    if (!loop->guest)
        return;
    guest_enter(loop->guest);
    loop_list(guest_loop(loop->guest));
    guest_leave(loop->guest);
}

// ---- AC_TRACE ----

void coro_trace(const struct coro *coro, const char *what) {
    char text[256];
    int length = (int)coro_name(coro, text, sizeof text);
    const char *wait = coro->wait ? coro->wait->name : "";
    trace_line(TRACE_CORO, "loop %u: %.*s: %s%s%s%s", coro->loop->number, length, text, what,
               *wait ? " (" : "", wait, *wait ? ")" : "");
}

// ---- counters ----

int ac_counters(struct ac_counters *counters) {
    if (!counters || counters->size <= sizeof counters->size)
        return -EINVAL;
    struct loop *loop = loop_here;
    if (!loop)
        return -EPERM;
    struct ac_counters now = {
        .size = counters->size,
        .coroutines = loop_living(loop) - loop->internals,
        .spawned = loop->spawned,
        .turns = __atomic_load_n(&loop->turns, __ATOMIC_RELAXED),
        .timers = loop->timers.count,
        .posts = loop->posts,
    };
    for (int i = 0; i < LOOP_DEAD_REASONS; i++)
        now.dead_letters += loop->dead_letters[i];
    sys_stacks_count(&loop->stacks, &now.stacks, &now.stack_bytes);
    // Written by a program that knows newer fields than this library: those stay as they are.
    memcpy(counters, &now, now.size < sizeof now ? now.size : sizeof now);
    return 0;
}

// ---- AC_DEBUG ----

enum { WATCHDOG_MS_DEFAULT = 100, WATCHDOG_MS_MAX = 1000 * 1000 };

// 0: the text is no number of milliseconds from 1 on.
static unsigned long milliseconds(const char *text, size_t bytes) {
    unsigned long number = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9' || number > WATCHDOG_MS_MAX)
            return 0;
        number = 10 * number + (unsigned long)(text[i] - '0');
    }
    return number > WATCHDOG_MS_MAX ? 0 : number;
}

// -EINVAL if the word is none that is known, or the error of what it switches on.
static int switch_on(struct loop *loop, const char *word, size_t bytes) {
    static const char with_number[] = "watchdog=";
    size_t head = sizeof with_number - 1;
    if (bytes == 4 && memcmp(word, "quit", 4) == 0)
        return watchdog_list_on_quit(loop, true);
    if (bytes == 5 && memcmp(word, "stack", 5) == 0)
        return measure_begin(loop, true);
    if (bytes == 5 && memcmp(word, "locks", 5) == 0) {
        loop->tells_left = true;
        return 0;
    }
    if (bytes == head - 1 && memcmp(word, with_number, head - 1) == 0)
        return watchdog_set(loop, (ac_time)WATCHDOG_MS_DEFAULT * 1000000);
    if (bytes <= head || memcmp(word, with_number, head) != 0)
        return -EINVAL;
    unsigned long ms = milliseconds(word + head, bytes - head);
    return ms > 0 ? watchdog_set(loop, (ac_time)ms * 1000000) : -EINVAL;
}

void loop_debug(struct loop *loop) {
    static bool complained; // atomic
    const char *at = getenv("AC_DEBUG");
    for (; at && *at; at += *at == ',') {
        size_t bytes = strcspn(at, ",");
        int err = bytes > 0 ? switch_on(loop, at, bytes) : 0;
        if (err < 0 && !__atomic_exchange_n(&complained, true, __ATOMIC_RELAXED))
            fprintf(stderr, "asyncoro: AC_DEBUG: \"%.*s\": %s\n", (int)bytes, at,
                    err == -EINVAL
                        ? "allowed are quit, stack, locks, watchdog and watchdog=MILLISECONDS"
                        : ac_strerror(err));
        at += bytes;
    }
}

// ---- naming ----

static size_t put_text(char *to, size_t bytes, const char *text) {
    size_t length = strlen(text);
    length = length < bytes ? length : bytes;
    memcpy(to, text, length);
    return length;
}

static size_t put_number(char *to, size_t bytes, uint32_t number) {
    char digits[10];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    size_t length = 0;
    while (count > 0 && length < bytes)
        to[length++] = digits[--count];
    return length;
}

size_t coro_name(const struct coro *coro, char *text, size_t bytes) {
    const char *name = __atomic_load_n(&coro->name, __ATOMIC_RELAXED);
    const char *where = __atomic_load_n(&coro->where, __ATOMIC_RELAXED);
    size_t length = put_text(text, bytes, "coroutine #");
    uint64_t id = __atomic_load_n(&coro->id, __ATOMIC_RELAXED);
    length += put_number(text + length, bytes - length, ref_index(id));
    if (name) {
        length += put_text(text + length, bytes - length, " '");
        length += put_text(text + length, bytes - length, name);
        length += put_text(text + length, bytes - length, "'");
    }
    if (where) {
        length += put_text(text + length, bytes - length, ", spawned at ");
        length += put_text(text + length, bytes - length, where);
    }
    return length;
}

size_t coro_describe(const void *owner, char *text, size_t bytes) {
    const struct coro *coro = owner;
    size_t length = coro_name(coro, text, bytes);
    length += put_text(text + length, bytes - length, ", stack of ");
    size_t kib = sys_stack_bytes(coro->stack_class) >> 10;
    length += put_number(text + length, bytes - length, (uint32_t)kib);
    length += put_text(text + length, bytes - length, " KiB: spawn it with a larger .stack_bytes");
    return length;
}
