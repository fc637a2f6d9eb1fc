// SPDX-License-Identifier: MIT
// Monitors: one exit notice for each ac_monitor.
//
// A monitor is a record in two lists of watchers, that of the observed coroutine and that of the
// observer. Whichever ends first takes it out of the other's list: if it is the observed one the
// notice is put into the observer's mailbox, if it is the observer there is nobody to tell.
//
// A notice cannot fail for lack of memory at a moment when nobody could be told so: the monitor
// keeps back a cell, and a notice that says "lost, -ENOMEM", for the case that the true one cannot
// be built.
//
// The notice is a value of kind AC_NOTICE around the list
//     ["exit", who, how, reason, value]    text, reference, 1..4 as in enum ac_end, 0 or less, any
#include "message/state.h"

#define NOTICE_WORD "exit"
enum { NOTICE_ITEMS = 5 };

struct monitor {
    struct end_watch observed; // in the list of the observed coroutine
    struct end_watch observer; // in the list of the one who wants to know
    struct coro *to;           // the latter
    struct cell *cell;         // kept back for the notice
    ac_value spare;            // the notice for want of a better one
};

static int start_monitor(struct coro *self, struct coro *of);
static int notify_now(struct coro *self, const struct ac_exit *exit);
static void observed_ended(struct end_watch *watch, const struct ac_exit *exit);
static void observer_ended(struct end_watch *watch, const struct ac_exit *exit);
static ac_value make_notice(const struct ac_exit *exit);
static ac_value build_notice(const struct ac_exit *exit);
static bool read_exit(const ac_value items[NOTICE_ITEMS], struct ac_exit *exit);

int ac_monitor(ac_ref coroutine) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!ac_ref_is(coroutine))
        return ref_refuse(coroutine);
    if (ref_sort(coroutine.id) != REF_COROUTINE)
        return -ENOTSUP;
    struct loop *loop = self->loop;
    if (!ref_is_here(loop, coroutine))
        return elsewhere_monitor(loop, coroutine);
    struct coro *of = coro_find(loop, coroutine.id);
    if (!of)
        return notify_now(self,
                          &(struct ac_exit){.who = coroutine, .how = AC_LOST, .reason = -ESRCH});
    if (of->state == CORO_ENDED) {
        of->unseen = false;
        return notify_now(self, &of->end);
    }
    trace(TRACE_MESSAGE, "coroutine '%s' monitors '%s'", self->name ? self->name : "",
          of->name ? of->name : "");
    // Nobody is left to read the notice of one's own end.
    return of == self ? 0 : start_monitor(self, of);
}

static int start_monitor(struct coro *self, struct coro *of) {
    struct monitor *monitor = memory_allocate(sizeof *monitor);
    if (!monitor)
        return -ENOMEM;
    *monitor = (struct monitor){
        .observed = {.ended = observed_ended, .observes = true},
        .observer.ended = observer_ended,
        .to = self,
        .cell = cell_take(self->loop),
        .spare = message_exit_notice(
            &(struct ac_exit){.who = coro_ref(of), .how = AC_LOST, .reason = -ENOMEM}),
    };
    if (!monitor->cell || monitor->spare.kind == AC_INVALID)
        goto no_memory;
    coro_watch(of, &monitor->observed);
    coro_watch(self, &monitor->observer);
    return 0;

no_memory:
    if (monitor->cell)
        cell_give(self->loop, monitor->cell);
    ac_drop(monitor->spare);
    memory_release(monitor);
    return -ENOMEM;
}

static int notify_now(struct coro *self, const struct ac_exit *exit) {
    return mailbox_put(self, make_notice(exit));
}

static void observed_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct monitor *monitor = container_of(watch, struct monitor, observed);
    coro_unwatch(&monitor->observer);
    ac_value notice = make_notice(exit);
    if (notice.kind == AC_INVALID)
        notice = monitor->spare;
    else
        ac_drop(monitor->spare);
    mailbox_put_cell(monitor->to, monitor->cell, notice);
    memory_release(monitor);
}

static void observer_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    struct monitor *monitor = container_of(watch, struct monitor, observer);
    coro_unwatch(&monitor->observed);
    cell_give(monitor->to->loop, monitor->cell);
    ac_drop(monitor->spare);
    memory_release(monitor);
}

// ---- the notice ----

// Does not take exit->value. A value that just fits would be too large or too deeply nested inside
// a notice: then the notice goes without it and says why, unless the reason tells of a failure
// already.
static ac_value make_notice(const struct ac_exit *exit) {
    struct ac_exit copy = *exit;
    copy.value = ac_hold(exit->value);
    ac_value notice = build_notice(&copy);
    int err = ac_error_of(notice);
    if (notice.kind != AC_INVALID || err == -ENOMEM)
        return notice;
    copy.value = exit->how == AC_FAILED ? ac_of_error(exit->reason, NULL) : ac_nil;
    copy.reason = exit->reason ? exit->reason : err;
    return build_notice(&copy);
}

ac_value message_exit_notice(const struct ac_exit *exit) {
    ac_value notice = make_notice(exit);
    ac_drop(exit->value);
    return notice;
}

// Takes exit->value.
static ac_value build_notice(const struct ac_exit *exit) {
    const ac_value items[NOTICE_ITEMS] = {
        ac_of_text(NOTICE_WORD), ac_of_ref(exit->who), ac_of_int(exit->how),
        ac_of_int(exit->reason), exit->value,
    };
    return value_notice(ac_list_of(items, NOTICE_ITEMS));
}

bool ac_exit_of(ac_value message, struct ac_exit *exit) {
    if (message.kind != AC_NOTICE)
        return false;
    ac_value list = value_notice_list(message);
    ac_value items[NOTICE_ITEMS];
    struct ac_exit unwanted;
    size_t cursor = 0;
    int count = 0;
    if (ac_count(list) == NOTICE_ITEMS)
        while (count < NOTICE_ITEMS && ac_next(list, &cursor, &items[count]))
            count++;
    bool is_exit = count == NOTICE_ITEMS && read_exit(items, exit ? exit : &unwanted);
    if (is_exit && exit)
        count--; // the value, which comes last, belongs to *exit now
    while (count > 0)
        ac_drop(items[--count]);
    ac_drop(list);
    return is_exit;
}

// Passes the hold on the last item, the value, to *exit.
static bool read_exit(const ac_value items[NOTICE_ITEMS], struct ac_exit *exit) {
    ac_span word = ac_span_of(items[0]);
    int64_t how = ac_int_of(items[2]);
    if (word.bytes != strlen(NOTICE_WORD) || memcmp(word.at, NOTICE_WORD, word.bytes) != 0)
        return false;
    if (how < AC_FINISHED || how > AC_LOST)
        return false;
    *exit = (struct ac_exit){
        .who = ac_ref_of(items[1]),
        .how = (enum ac_end)how,
        .reason = (int)ac_int_of(items[3]),
        .value = items[4],
    };
    return true;
}
