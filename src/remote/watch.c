// SPDX-License-Identifier: MIT
// Monitors across peers. The one who asks keeps a record by number and sends MONITOR; the other
// side watches its coroutine and sends EXIT at its end, in order behind all that the coroutine had
// sent. Whichever comes first, the EXIT or the loss of the peer, takes the record out and gives the
// one notice. If the one who asked ends before, it sends UNWATCH, so that a coroutine that lives
// long does not gather the monitors of all who once looked at it.
//
// A far_watch of message/ has a function told instead. All of one coroutine share a monitor, which
// is common to them. Each call has such a watch (ac_call), and the next one to the same coroutine
// is likely: so the monitor stays when the last watch has gone, until IDLE_MONITORS_MAX others have
// come to be idle after it.
#include "remote/remote_private.h"

static int send_monitor(struct far_monitor *monitor);
static void send_unwatch(const struct far_monitor *monitor, bool has_it);
static struct far_monitor *monitor_start(struct remote *remote, ac_ref of, int *err);
static void monitor_stop(struct far_monitor *monitor);
static void idle_begin(struct far_monitor *monitor);
static void idle_end(struct far_monitor *monitor);
static void monitor_release(struct far_monitor *monitor);
static void watcher_ended(struct end_watch *watch, const struct ac_exit *exit);
static void report_end(struct end_watch *watch, const struct ac_exit *exit);
static void near_release(struct near_monitor *near);
static void near_stop(struct near_monitor *near);

// ---- the one who asks ----

int monitor_far(struct loop *loop, ac_ref of) {
    struct remote *remote = remote_linked(loop);
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (!remote)
        return -EHOSTUNREACH;
    if (ref_sort(of.id) != REF_COROUTINE)
        return -ENOTSUP;
    int err;
    struct far_monitor *monitor = monitor_start(remote, of, &err);
    if (!monitor)
        return err;
    monitor->watcher = coro_ref(self);
    coro_watch(self, &monitor->watch);
    return 0;
}

// The common monitor, made if there is none. NULL and *err.
static struct far_monitor *common_need(struct remote *remote, ac_ref of, int *err) {
    struct far_monitor *monitor = map_get(&remote->common, &of, sizeof of);
    if (monitor)
        return monitor;
    monitor = monitor_start(remote, of, err);
    if (!monitor)
        return NULL;
    *err = map_put(&remote->common, &of, sizeof of, monitor);
    monitor->common = monitor->listed = *err == 0;
    if (monitor->common)
        return monitor;
    monitor_stop(monitor);
    return NULL;
}

int watch_far(struct loop *loop, ac_ref of, struct far_watch *watch) {
    struct remote *remote = remote_linked(loop);
    int err = -EHOSTUNREACH;
    struct far_monitor *monitor = remote ? common_need(remote, of, &err) : NULL;
    watch->state = monitor;
    if (!monitor)
        return err;
    idle_end(monitor);
    list_append(&monitor->told, &watch->link);
    return 0;
}

void unwatch_far(struct far_watch *watch) {
    struct far_monitor *monitor = watch->state;
    if (!monitor)
        return;
    watch->state = NULL;
    list_remove(&watch->link);
    if (!list_empty(&monitor->told) || monitor->over)
        return;
    if (monitor->listed)
        idle_begin(monitor);
    else
        monitor_stop(monitor);
}

static void idle_begin(struct far_monitor *monitor) {
    struct remote *remote = monitor->remote;
    list_append(&remote->idle, &monitor->idle);
    if (++remote->idle_count > IDLE_MONITORS_MAX)
        monitor_stop(container_of(remote->idle.next, struct far_monitor, idle));
}

static void idle_end(struct far_monitor *monitor) {
    if (list_empty(&monitor->idle))
        return;
    list_remove(&monitor->idle);
    monitor->remote->idle_count--;
}

// Who comes from now on to watch the same begins another.
static void unlist(struct far_monitor *monitor) {
    if (monitor->listed)
        map_take(&monitor->remote->common, &monitor->of, sizeof monitor->of);
    monitor->listed = false;
}

// Takes it out of all that knows it, and frees it.
static void monitor_release(struct far_monitor *monitor) {
    idle_end(monitor);
    unlist(monitor);
    map_take_id(&monitor->remote->monitors, monitor->number);
    memory_release(monitor);
}

static int send_monitor(struct far_monitor *monitor) {
    if (ref_sort(monitor->of.id) != REF_COROUTINE)
        return 0;
    struct head head = {0};
    head_put(&head, monitor->number);
    head_put(&head, monitor->of.id);
    head.bytes[head.count++] = monitor->joiner ? 0xf5 : 0xf4; // CBOR true, false
    return remote_frame_now(monitor->remote, monitor->of.peer, FRAME_MONITOR, &head, (ac_span){0},
                            FABRIC_ALWAYS);
}

// `has_it`: the end has come to one who joins.
static void send_unwatch(const struct far_monitor *monitor, bool has_it) {
    if (ref_sort(monitor->of.id) != REF_COROUTINE)
        return;
    struct head head = {0};
    head_put(&head, monitor->number);
    head.bytes[head.count++] = has_it ? 0xf5 : 0xf4;
    remote_tell_now(monitor->remote, monitor->of.peer, FRAME_UNWATCH, &head, FABRIC_ALWAYS);
}

// A monitor that nobody who ends watches over yet, and of which the other side knows nothing. NULL
// and *err.
static struct far_monitor *monitor_create(struct remote *remote, ac_ref of, int *err) {
    struct far_monitor *monitor = memory_allocate(sizeof *monitor);
    *err = -ENOMEM;
    if (!monitor)
        return NULL;
    *monitor = (struct far_monitor){
        .watch.ended = watcher_ended, .remote = remote, .number = ++remote->number, .of = of};
    list_init(&monitor->watch.link);
    list_init(&monitor->told);
    list_init(&monitor->idle);
    *err = map_put_id(&remote->monitors, monitor->number, monitor);
    if (*err == 0)
        return monitor;
    memory_release(monitor);
    return NULL;
}

// The same, and the other side is asked.
static struct far_monitor *monitor_start(struct remote *remote, ac_ref of, int *err) {
    struct far_monitor *monitor = monitor_create(remote, of, err);
    if (!monitor)
        return NULL;
    *err = send_monitor(monitor);
    if (*err == 0)
        return monitor;
    monitor_release(monitor);
    return NULL;
}

uint64_t monitor_expect(struct remote *remote, uint64_t peer, ac_ref watcher, int *err) {
    struct far_monitor *monitor = monitor_create(remote, (ac_ref){peer, 0}, err);
    if (!monitor)
        return 0;
    monitor->watcher = watcher;
    if (ref_is_here(remote->host, watcher))
        coro_watch(coro_here(), &monitor->watch);
    return monitor->number;
}

void monitor_forget(struct remote *remote, uint64_t number) {
    struct far_monitor *monitor = map_get_id(&remote->monitors, number);
    if (!monitor)
        return;
    coro_unwatch(&monitor->watch);
    monitor_stop(monitor);
}

void monitor_forget_of(struct remote *remote, ac_ref of, ac_ref watcher) {
    struct far_monitor *monitor;
    for (uint64_t cursor = 0; (monitor = map_next(&remote->monitors, &cursor, NULL, NULL));)
        if (ac_ref_equal(monitor->of, of) && ac_ref_equal(monitor->watcher, watcher)) {
            monitor_forget(remote, monitor->number);
            return;
        }
}

static void monitor_stop(struct far_monitor *monitor) {
    send_unwatch(monitor, false);
    monitor_release(monitor);
}

// Tells all of a common monitor and takes it out. They may let go of each other meanwhile, and
// watch the same again, which begins another.
static void tell(struct far_monitor *monitor, int reason) {
    struct list *link;
    monitor->over = true;
    unlist(monitor);
    while ((link = list_take(&monitor->told))) {
        struct far_watch *watch = container_of(link, struct far_watch, link);
        watch->state = NULL;
        watch->ended(watch, reason);
    }
    monitor_release(monitor);
}

// Takes the monitor out and gives the notice. Takes the value.
static void notify(struct far_monitor *monitor, enum ac_end how, int reason, ac_value value) {
    struct remote *remote = monitor->remote;
    struct ac_exit exit = {.who = monitor->of, .how = how, .reason = reason, .value = value};
    coro_unwatch(&monitor->watch);
    ac_value notice = message_exit_notice(&exit);
    int err = ref_is_here(remote->host, monitor->watcher)
                  ? message_deliver_here(remote->host, monitor->watcher, notice)
                  : ac_try_send_value(monitor->watcher, notice);
    if (err < 0)
        trace(TRACE_REMOTE, "an exit notice is lost: %s", ac_strerror(err));
    monitor_release(monitor);
}

// ---- joining: one who waits for the end instead of a notice ----

static bool abandon_join(struct coro *coro) {
    monitor_stop(coro->wait_for);
    return true;
}

static const struct wait_kind join_wait = {"join", abandon_join, .until_deadline = false};

int join_far(struct loop *loop, ac_ref of, struct ac_exit *exit, ac_time deadline) {
    struct remote *remote = remote_linked(loop);
    struct coro *self = coro_here();
    if (!remote)
        return -EHOSTUNREACH;
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct far_monitor *monitor = monitor_create(remote, of, &err);
    if (!monitor)
        return err;
    monitor->joiner = self;
    monitor->exit = exit;
    err = send_monitor(monitor);
    if (err < 0) {
        monitor_release(monitor);
        return err;
    }
    self->wait_for = monitor;
    return coro_wait(self, &join_wait, deadline);
}

// Takes the monitor out and gives the end. Takes the value.
static void give_end(struct far_monitor *monitor, const struct ac_exit *end, int result) {
    struct coro *joiner = monitor->joiner;
    if (result == 0 && monitor->exit)
        *monitor->exit = *end;
    else
        ac_drop(end->value);
    monitor_release(monitor);
    coro_wake(joiner, result);
}

// ---- cancelling ----

int cancel_far(struct loop *loop, ac_ref of) {
    struct remote *remote = remote_linked(loop);
    if (!remote)
        return -EHOSTUNREACH;
    if (rights_missing(remote, of.peer, AC_MAY_CANCEL))
        return -EACCES;
    struct head head = {0};
    head_put(&head, of.id);
    return remote_frame_now(remote, of.peer, FRAME_CANCEL, &head, (ac_span){0}, FABRIC_ALWAYS);
}

// On its way to another loop, and back.
struct cancelling {
    struct post post;
    struct remote *remote;
    struct loop *there;
    uint64_t peer;
    uint64_t id;
};

// What the library has begun for itself no peer ends.
static void cancel_here(struct loop *loop, uint64_t id) {
    struct coro *coro = coro_find(loop, id);
    if (coro && coro->state == CORO_ALIVE && !coro->internal)
        coro_cancel(coro);
}

static void cancelling_is_back(struct post *post) {
    struct cancelling *it = container_of(post, struct cancelling, post);
    burden_drop(it->remote, it->peer, BURDEN_CANCELS);
    memory_release(it);
}

static void cancel_there(struct post *post) {
    struct cancelling *it = container_of(post, struct cancelling, post);
    cancel_here(it->there, it->id);
    it->post.run = cancelling_is_back;
    team_post(it->there, it->remote->host, &it->post);
}

void cancel_asked(struct remote *remote, const struct arrival *arrival) {
    ac_ref of = arrival->to;
    struct loop *there = team_loop(remote->host, ref_loop(of.id));
    if (ref_sort(of.id) != REF_COROUTINE || !there)
        return;
    if (there == remote->host) {
        cancel_here(there, of.id);
        return;
    }
    bool may = burden_add(remote, arrival->peer, BURDEN_CANCELS);
    struct cancelling *it = may ? memory_allocate(sizeof *it) : NULL;
    if (it) {
        *it = (struct cancelling){.post.run = cancel_there,
                                  .remote = remote,
                                  .there = there,
                                  .peer = arrival->peer,
                                  .id = of.id};
        team_post(remote->host, there, &it->post);
        return;
    }
    if (may)
        burden_drop(remote, arrival->peer, BURDEN_CANCELS);
    remote_give_up_now(remote, arrival->peer); // it has no answer
}

// ---- ends that come ----

static void watcher_ended(struct end_watch *watch, const struct ac_exit *exit) {
    (void)exit;
    monitor_stop(container_of(watch, struct far_monitor, watch));
}

void watch_exit(struct remote *remote, struct arrival *arrival) {
    struct far_monitor *monitor = map_get_id(&remote->monitors, arrival->number);
    if (!monitor || monitor->of.peer != arrival->peer || monitor->of.id == 0)
        return;
    if (monitor->common) {
        // It may also be that the other side could not watch: then nothing has ended.
        if (arrival->how != AC_LOST || arrival->result == -ESRCH)
            tell(monitor, -ESRCH);
        else if (list_empty(&monitor->told))
            monitor_release(monitor);
        else
            unlist(monitor);
        return;
    }
    const struct ac_exit end = {.who = monitor->of,
                                .how = arrival->how,
                                .reason = (int)arrival->result,
                                .value = arrival->value};
    arrival->value = ac_nil;
    // What is lost to the other side itself is an error of the join.
    if (monitor->joiner) {
        send_unwatch(monitor, true);
        give_end(monitor, &end, end.how != AC_LOST ? 0 : end.reason < 0 ? end.reason : -ESRCH);
    } else {
        notify(monitor, end.how, end.reason, end.value);
    }
}

void watch_lost(struct remote *remote, uint64_t peer, int reason) {
    struct far_monitor *monitor;
    for (uint64_t cursor = 0; (monitor = map_next(&remote->monitors, &cursor, NULL, NULL));) {
        if (monitor->of.peer != peer)
            continue;
        if (monitor->common)
            tell(monitor, -ECONNRESET);
        else if (monitor->joiner)
            give_end(monitor,
                     &(struct ac_exit){.who = monitor->of, .how = AC_LOST, .reason = reason}, 0);
        else if (monitor->of.id == 0) // the one who calls is told otherwise
            monitor_forget(remote, monitor->number);
        else
            notify(monitor, AC_LOST, reason, ac_nil);
    }
    struct near_monitor *near;
    for (uint64_t cursor = 0; (near = map_next(&remote->watched, &cursor, NULL, NULL));)
        if (near->by.peer == peer)
            near_stop(near);
}

void watch_stop(struct remote *remote) {
    struct far_monitor *monitor;
    for (uint64_t cursor = 0; (monitor = map_next(&remote->monitors, &cursor, NULL, NULL));)
        if (monitor->common)
            tell(monitor, -ECONNRESET);
        else if (monitor->joiner)
            give_end(monitor, &(struct ac_exit){0}, -EHOSTUNREACH);
}

void watch_done(struct remote *remote) {
    struct far_monitor *monitor;
    for (uint64_t cursor = 0; (monitor = map_next(&remote->monitors, &cursor, NULL, NULL));) {
        struct list *link;
        while ((link = list_take(&monitor->told)))
            container_of(link, struct far_watch, link)->state = NULL;
        memory_release(monitor);
    }
    map_done(&remote->common);
    map_done(&remote->monitors);
}

// ---- the one who is watched ----

// An exit notice for which there is no room, which is too large for one frame, or before which
// messages of channels wait: sent by a coroutine of its own, which can wait, and for which the
// goodbye waits.
struct carrier {
    struct end_watch watch; // of that coroutine
    struct remote *remote;
    uint64_t peer;
    struct head head;
    ac_value value;
    uint64_t bytes; // of it, encoded
    int err;        // with which it was sent; -ENOMEM before
};

static ac_value carry(ac_value argument) {
    struct carrier *carrier = ac_pointer_of(argument);
    uint8_t scratch[16];
    carrier->err = send_frame(carrier->remote, carrier->peer, FRAME_EXIT, &carrier->head,
                              value_encoded(carrier->value, scratch), AC_FOREVER);
    return ac_nil;
}

// Perhaps it has never run, for want of a stack. Who is lost has no need of it, and may have been
// met again.
static void carried(struct end_watch *watch, const struct ac_exit *exit) {
    struct carrier *carrier = container_of(watch, struct carrier, watch);
    (void)exit;
    if (carrier->err < 0)
        trace(TRACE_REMOTE, "an exit notice was not sent: %s", ac_strerror(carrier->err));
    if (carrier->err < 0 && carrier->err != -EHOSTUNREACH)
        remote_give_up_now(carrier->remote, carrier->peer);
    carrier->remote->carriers--;
    burden_drop_notice(carrier->remote, carrier->peer, carrier->bytes);
    ac_drop(carrier->value);
    memory_release(carrier);
}

static int carry_off(struct remote *remote, uint64_t peer, const struct head *head, ac_value value,
                     uint64_t bytes) {
    if (!burden_add_notice(remote, peer, bytes))
        return -ENOBUFS;
    struct carrier *carrier = memory_allocate(sizeof *carrier);
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    int err = -ENOMEM;
    struct coro *coro = carrier ? coro_create(remote->host, carry, ac_of_pointer(carrier), &options,
                                              true, &err)
                                : NULL;
    if (!coro) {
        burden_drop_notice(remote, peer, bytes);
        memory_release(carrier);
        return err;
    }
    *carrier = (struct carrier){.watch.ended = carried,
                                .remote = remote,
                                .peer = peer,
                                .head = *head,
                                .value = ac_hold(value),
                                .bytes = bytes,
                                .err = -ENOMEM};
    coro_watch(coro, &carrier->watch);
    remote->carriers++;
    return 0;
}

// What cannot be sent at all, for want of memory or because too much waits, takes the whole link
// with it: so the one who watches learns of a loss.
static void send_exit(struct remote *remote, uint64_t peer, uint64_t number,
                      const struct ac_exit *exit) {
    // What cannot travel becomes an error end, and the one who watches learns of it.
    bool local = value_is_local(exit->value) || exit->value.kind == AC_NOTICE;
    enum ac_end how = local && exit->how == AC_FINISHED ? AC_FAILED : exit->how;
    int reason = local ? -ENOTSUP : exit->reason;
    ac_value value = local ? ac_of_error(-ENOTSUP, "the result cannot leave its process")
                           : ac_hold(exit->value);
    struct head head = {0};
    head_put(&head, number);
    head_put(&head, how);
    head_put_signed(&head, reason);
    uint8_t scratch[16];
    ac_span encoded = value_encoded(value, scratch);
    size_t total = head.count + encoded.bytes;
    int err = -EAGAIN;
    if (total <= FRAME_PAYLOAD_MAX && !outbox_of(remote, peer))
        err = remote_frame_now(remote, peer, FRAME_EXIT, &head, encoded,
                               total <= LIGHT_BYTES_MAX ? FABRIC_ALWAYS : FABRIC_WINDOW);
    if (err == -EAGAIN)
        err = carry_off(remote, peer, &head, value, total);
    if (err < 0)
        trace(TRACE_REMOTE, "an exit notice was not sent: %s", ac_strerror(err));
    if (err == -ENOMEM || err == -ENOBUFS)
        remote_give_up_now(remote, peer);
    ac_drop(value);
}

// ---- what a peer has under way here ----

bool burden_add(struct remote *remote, uint64_t peer, enum burden_kind kind) {
    static const uint32_t max[BURDENS] = {WATCHES_MAX, STAND_INS_MAX, ERRANDS_MAX, CANCELS_MAX,
                                          NOTICES_MAX};
    struct burden *it = map_get_id(&remote->burdens, peer);
    if (!it) {
        it = memory_allocate_zeroed(sizeof *it);
        if (!it || map_put_id(&remote->burdens, peer, it) < 0) {
            memory_release(it);
            return false;
        }
    }
    if (it->count[kind] >= max[kind])
        return false;
    it->count[kind]++;
    return true;
}

void burden_drop(struct remote *remote, uint64_t peer, enum burden_kind kind) {
    struct burden *it = map_get_id(&remote->burdens, peer);
    it->count[kind]--;
    for (int i = 0; i < BURDENS; i++)
        if (it->count[i] > 0)
            return;
    map_take_id(&remote->burdens, peer);
    memory_release(it);
}

bool burden_add_notice(struct remote *remote, uint64_t peer, uint64_t bytes) {
    if (!burden_add(remote, peer, BURDEN_NOTICES))
        return false;
    struct burden *it = map_get_id(&remote->burdens, peer);
    bool fits = it->notice_bytes == 0 ||
                (bytes <= NOTICES_BYTES_MAX && it->notice_bytes <= NOTICES_BYTES_MAX - bytes);
    it->notice_bytes += bytes;
    if (!fits)
        burden_drop_notice(remote, peer, bytes);
    return fits;
}

void burden_drop_notice(struct remote *remote, uint64_t peer, uint64_t bytes) {
    struct burden *it = map_get_id(&remote->burdens, peer);
    it->notice_bytes -= bytes;
    burden_drop(remote, peer, BURDEN_NOTICES);
}

// ---- records of those who watch ----

// On its way to another loop.
struct forgetting {
    struct post post;
    ac_ref of;
};

static enum burden_kind burden_of(const struct remote *remote, ac_ref of) {
    return ref_is_here(remote->host, of) ? BURDEN_WATCHES : BURDEN_STAND_INS;
}

// NULL and *err: -ENOBUFS; -ENOMEM; -EEXIST: the peer draws its numbers badly.
static struct near_monitor *near_create(struct remote *remote, const struct arrival *arrival,
                                        int *err) {
    enum burden_kind burden = burden_of(remote, arrival->to);
    if (!burden_add(remote, arrival->peer, burden)) {
        *err = -ENOBUFS;
        return NULL;
    }
    struct near_monitor *near = memory_allocate_zeroed(sizeof *near);
    *err = -ENOMEM;
    if (near) {
        *near = (struct near_monitor){.joins = arrival->result,
                                      .of = arrival->to,
                                      .remote = remote,
                                      .by = {arrival->peer, arrival->number}};
        list_init(&near->watch.link);
        *err = map_put(&remote->watched, &near->by, sizeof near->by, near);
    }
    if (*err == 0)
        return near;
    burden_drop(remote, arrival->peer, burden);
    memory_release(near);
    return NULL;
}

static void near_release(struct near_monitor *near) {
    struct remote *remote = near->remote;
    coro_unwatch(&near->watch);
    map_take(&remote->watched, &near->by, sizeof near->by);
    burden_drop(remote, near->by.peer, burden_of(remote, near->of));
    memory_release(near);
}

// The end of one that is joined stays until the one who joins says that he has it: he may have
// given up meanwhile.
static void report(struct near_monitor *near, const struct ac_exit *exit, bool stays) {
    near->told = true;
    send_exit(near->remote, near->by.peer, near->by.number, exit);
    if (!near->joins || !stays)
        near_release(near);
}

static void report_end(struct end_watch *watch, const struct ac_exit *exit) {
    struct near_monitor *near = container_of(watch, struct near_monitor, watch);
    report(near, exit, coro_find(near->remote->host, exit->who.id)->joinable);
}

// A stand-in releases it with its own end.
static void near_stop(struct near_monitor *near) {
    near->stopped = true;
    if (near->stand_in)
        coro_cancel(near->stand_in);
    else
        near_release(near);
}

static void forget_here(struct loop *loop, ac_ref of) {
    struct coro *coro = coro_find(loop, of.id);
    if (coro && coro->state == CORO_ENDED)
        (void)coro_join_try(of, NULL, &coro);
}

static void forget_there(struct post *post) {
    struct forgetting *it = container_of(post, struct forgetting, post);
    forget_here(loop_here, it->of);
    memory_release(it);
}

// The end of a coroutine need not be kept any longer. Without memory to say so elsewhere it is.
static void forget_end(const struct near_monitor *near) {
    struct loop *host = near->remote->host, *there = team_loop(host, ref_loop(near->of.id));
    if (there == host) {
        forget_here(host, near->of);
        return;
    }
    struct forgetting *it = there ? memory_allocate(sizeof *it) : NULL;
    if (!it)
        return;
    *it = (struct forgetting){.post.run = forget_there, .of = near->of};
    team_post(host, there, &it->post);
}

void watch_left(struct remote *remote, const struct arrival *arrival) {
    struct watcher by = {arrival->peer, arrival->number};
    struct near_monitor *near = map_get(&remote->watched, &by, sizeof by);
    if (!near)
        return;
    if (arrival->result && near->told && near->joins)
        forget_end(near);
    near_stop(near);
}

// Waits for the end of a coroutine of another loop. False: it was cancelled meanwhile.
static bool await_end(const struct near_monitor *near, struct ac_exit *exit) {
    exit->reason = ac_monitor(near->of);
    if (exit->reason == -ECANCELED)
        return false;
    if (exit->reason < 0) {
        exit->how = AC_LOST;
        return true;
    }
    // Others may send here, too, who have guessed the reference.
    for (bool is = false; !is;) {
        ac_value notice;
        if (ac_receive(&notice, AC_FOREVER) < 0)
            return false;
        is = ac_exit_of(notice, exit);
        ac_drop(notice);
    }
    return true;
}

// Monitors a coroutine of another loop for a peer, and if that joins stays until it has the end.
static ac_value stand_in(ac_value argument) {
    struct near_monitor *near = ac_pointer_of(argument);
    struct ac_exit exit = {.who = near->of, .value = ac_nil};
    if (!await_end(near, &exit))
        return ac_nil;
    near->told = true;
    send_exit(near->remote, near->by.peer, near->by.number, &exit);
    ac_drop(exit.value);
    if (near->joins && exit.how != AC_LOST)
        (void)ac_suspend(NULL, AC_FOREVER);
    return ac_nil;
}

// Perhaps it has never run, for want of a stack.
static void stand_in_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct near_monitor *near = container_of(watch, struct near_monitor, watch);
    struct ac_exit lost = {
        .who = near->of, .how = AC_LOST, .reason = exit->reason < 0 ? exit->reason : -ECANCELED};
    if (!near->told && !near->stopped)
        send_exit(near->remote, near->by.peer, near->by.number, &lost);
    near_release(near);
}

// Has one of another loop watched. 0 or an error.
static int watch_other_loop(struct near_monitor *near) {
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    int err = 0;
    near->watch.ended = stand_in_ended;
    near->stand_in = coro_create(near->remote->host, stand_in, ac_of_pointer(near), &options, true,
                                 &err);
    if (near->stand_in)
        coro_watch(near->stand_in, &near->watch);
    return err;
}

// Has one of this loop watched, or reports its end at once.
static int watch_this_loop(struct near_monitor *near) {
    struct coro *coro = coro_find(near->remote->host, near->of.id);
    if (!coro)
        return -ESRCH;
    if (coro->state == CORO_ENDED) {
        coro->unseen = false;
        report(near, &coro->end, true);
        return 0;
    }
    near->watch = (struct end_watch){.ended = report_end, .observes = true};
    coro_watch(coro, &near->watch);
    return 0;
}

void watch_asked(struct remote *remote, const struct arrival *arrival) {
    struct loop *there = team_loop(remote->host, ref_loop(arrival->to.id));
    struct ac_exit gone = {.who = arrival->to, .how = AC_LOST, .reason = -ESRCH, .value = ac_nil};
    struct near_monitor *near = NULL;
    if (ref_sort(arrival->to.id) == REF_COROUTINE && there) {
        near = near_create(remote, arrival, &gone.reason);
        if (!near && gone.reason == -EEXIST)
            return;
    }
    if (near) {
        gone.reason = there == remote->host ? watch_this_loop(near) : watch_other_loop(near);
        if (gone.reason == 0)
            return;
        near_release(near);
    }
    send_exit(remote, arrival->peer, arrival->number, &gone);
}
