// SPDX-License-Identifier: MIT
// Remote functions: what a loop has opened for others to call, and calls of what is here, on
// another loop of the program or in another process.
//
// A call is a coroutine that begins on the loop that has opened the function. Here it is made at
// once. For another loop an errand makes it there, and for another process a CALL is answered by a
// STARTED with its id, or by an ANSWER with an error. Nothing runs between the making of a
// coroutine and the answer, so whoever wants to watch it from its birth can: near by ac_monitor;
// from another loop its end is kept until the monitor is there (struct start); from another process
// the CALL carries the number of the monitor.
//
// Whoever gives up a call that is under way cannot know whether it runs. His monitor goes.
#include "remote/remote_private.h"

enum { AT_ONCE = 1 << 16, FUNCTIONS_MAX = 1 << 16 };

// ---- functions of this loop ----

// Tells the first loop that the names of a function are free.
struct closing {
    struct post post;
    ac_ref function;
};

struct function {
    ac_function run;
    struct ac_spawn_options how; // to run each call
    uint32_t at_once_max;
    uint32_t running; // calls
    bool closed;      // it goes with the last call
    struct closing *closing;
};

// A call that runs here.
struct running {
    struct end_watch watch;
    struct function *of;
};

static void function_release(struct function *function) {
    memory_release(function->closing);
    memory_release(function);
}

static int read_options(const struct ac_function_options *options, struct function *to) {
    struct ac_function_options whole = {0};
    if (options) {
        if (options->size == 0 || options->size > sizeof whole)
            return -EINVAL;
        memcpy(&whole, options, options->size);
    }
    if (sys_stack_class(whole.stack_bytes) < 0)
        return -EINVAL;
    to->at_once_max = whole.at_once_max ? whole.at_once_max : AT_ONCE;
    to->how = (struct ac_spawn_options){.size = sizeof to->how,
                                        .name = whole.name ? whole.name : "call",
                                        .stack_bytes = whole.stack_bytes,
                                        .daemon = whole.daemon};
    return 0;
}

ac_ref ac_function_open_with(ac_function run, const struct ac_function_options *options) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    struct remote *remote = loop ? remote_need(loop) : NULL;
    if (!remote)
        return ref_none(err < 0 ? err : -ENOMEM);
    if (!run)
        return ref_none(-EINVAL);
    if (map_count(&remote->functions) >= FUNCTIONS_MAX)
        return ref_none(-EAGAIN);
    struct function *it = memory_allocate_zeroed(sizeof *it);
    err = it ? read_options(options, it) : -ENOMEM;
    if (err == 0 && !(it->closing = memory_allocate(sizeof *it->closing)))
        err = -ENOMEM;
    ac_ref ref = {loop->peer, ref_id(REF_FUNCTION, loop->number, 0, ++remote->function_count)};
    if (err == 0) {
        it->run = run;
        it->closing->function = ref;
        err = map_put_id(&remote->functions, ref.id, it);
    }
    if (err == 0)
        return ref;
    if (it)
        function_release(it);
    return ref_none(err);
}

static struct function *find(struct loop *loop, uint64_t id) {
    const struct remote *remote = remote_of(loop);
    return remote ? map_get_id(&remote->functions, id) : NULL;
}

bool function_is_open(struct loop *loop, ac_ref function) {
    return ref_is_here(loop, function) && find(loop, function.id);
}

static void closed_elsewhere(struct post *post) {
    struct closing *it = container_of(post, struct closing, post);
    struct remote *remote = remote_of(loop_here);
    if (remote)
        names_holder_closed(remote, it->function);
    memory_release(it);
}

int ac_function_close(ac_ref ref) {
    struct loop *loop = loop_here;
    if (ref_sort(ref.id) != REF_FUNCTION || !loop || !ref_is_here(loop, ref))
        return -ENOTSUP;
    struct function *it = find(loop, ref.id);
    if (!it)
        return -ESRCH;
    struct remote *remote = remote_of(loop);
    map_take_id(&remote->functions, ref.id);
    if (remote_is_at_first(loop)) {
        names_holder_closed(remote, ref);
    } else {
        it->closing->post.run = closed_elsewhere;
        team_post(loop, team_loop(loop, 0), &it->closing->post);
        it->closing = NULL;
    }
    it->closed = true;
    if (it->running == 0)
        function_release(it);
    return 0;
}

void functions_done(struct remote *remote) {
    struct function *it;
    for (uint64_t cursor = 0; (it = map_next(&remote->functions, &cursor, NULL, NULL));)
        function_release(it);
    map_done(&remote->functions);
}

// ---- running a call here ----

static void running_ended(struct end_watch *watch, const struct ac_exit *exit) {
    struct running *it = container_of(watch, struct running, watch);
    struct function *of = it->of;
    (void)exit;
    if (--of->running == 0 && of->closed)
        function_release(of);
    memory_release(it);
}

// Begins a call of a function of this loop. Takes the argument. NULL and *err. Its failure is for
// the one who called to notice, and no failure of this program.
static struct coro *begin(struct loop *loop, uint64_t id, ac_value argument, int *err) {
    struct function *function = find(loop, id);
    struct running *running = NULL;
    *err = !function                                              ? -ESRCH
           : function->running >= function->at_once_max           ? -EAGAIN
           : !(running = memory_allocate_zeroed(sizeof *running)) ? -ENOMEM
                                                                  : 0;
    if (*err < 0) {
        ac_drop(argument);
        return NULL;
    }
    struct coro *coro = coro_create(loop, function->run, argument, &function->how, false, err);
    if (!coro) {
        memory_release(running);
        return NULL;
    }
    *running = (struct running){.watch = {.ended = running_ended, .observes = true},
                                .of = function};
    coro_watch(coro, &running->watch);
    function->running++;
    return coro;
}

static int invoke_here(struct loop *loop, uint64_t id, ac_value argument, ac_ref *started,
                       bool monitor) {
    int err;
    struct coro *coro = begin(loop, id, argument, &err);
    if (!coro)
        return err;
    *started = coro_ref(coro);
    err = monitor ? ac_monitor(*started) : 0;
    if (err < 0)
        coro_cancel(coro); // it never runs
    return err;
}

// ---- on another loop of the program ----

// An errand that begins a call there. If the caller is to watch it from its birth, its end is kept
// until the monitor of the caller has come there; then the record goes there once more.
struct start {
    struct errand errand;
    ac_ref function;
    ac_value argument; // owned until it is handed on
    bool keep;
    ac_ref started;
    int result;
};

static void run_start(struct errand *errand) {
    struct start *it = container_of(errand, struct start, errand);
    ac_value argument = it->argument;
    it->argument = ac_nil;
    struct coro *coro = begin(loop_here, it->function.id, argument, &it->result);
    if (!coro)
        return;
    coro->joinable = it->keep;
    it->started = coro_ref(coro);
}

static void start_release(struct errand *errand) {
    struct start *it = container_of(errand, struct start, errand);
    ac_drop(it->argument);
    memory_release(it);
}

static void let_go_there(struct post *post) {
    struct start *it = container_of(post, struct start, errand.post);
    struct coro *coro;
    if (coro_join_try(it->started, NULL, &coro) == -EAGAIN)
        coro->joinable = false;
    start_release(&it->errand);
}

// The end of the coroutine need not be kept any more.
static void let_go(struct start *it) {
    if (it->result < 0 || !it->keep) {
        start_release(&it->errand);
        return;
    }
    it->errand.post.run = let_go_there;
    team_post(it->errand.from, it->errand.to, &it->errand.post);
}

static void nobody_waits(struct errand *errand) {
    struct start *it = container_of(errand, struct start, errand);
    if (it->errand.back)
        let_go(it);
    else
        start_release(errand); // it was never sent
}

// Begins a call there. Takes the argument. On success *it is to be given to let_go. Can wait.
static int start_there(struct loop *there, ac_ref function, ac_value argument, bool keep,
                       ac_time deadline, struct start **started) {
    argument = value_detach(argument);
    if (argument.kind == AC_INVALID)
        return ac_error_of(argument);
    struct start *it = memory_allocate_zeroed(sizeof *it);
    if (!it) {
        ac_drop(argument);
        return -ENOMEM;
    }
    it->errand.run = run_start;
    it->errand.orphaned = nobody_waits;
    it->function = function;
    it->argument = argument;
    it->keep = keep;
    int err = errand_do(there, &it->errand, deadline);
    if (err < 0 && err != -ENOMEM)
        return err; // it is forgotten
    err = err < 0 ? err : it->result;
    if (err == 0)
        *started = it;
    else
        start_release(&it->errand);
    return err;
}

static int invoke_there(struct loop *there, ac_ref function, ac_value argument, ac_ref *started,
                        bool monitor, ac_time deadline) {
    struct start *it;
    int err = start_there(there, function, argument, monitor, deadline, &it);
    if (err < 0)
        return err;
    *started = it->started;
    err = monitor ? ac_monitor(*started) : 0;
    if (err < 0)
        (void)ac_cancel(*started);
    let_go(it);
    return err;
}

// ---- in another process: who calls ----

static int call(struct remote *remote, ac_ref function, ac_span argument, struct asker *asker,
                ac_time deadline) {
    int err = map_put_id(&remote->delivers, asker->number, asker);
    if (err < 0)
        return err;
    struct head head = {0};
    head_put(&head, asker->number);
    head_put(&head, function.id);
    head_put(&head, asker->expects);
    err = send_frame(remote, function.peer, FRAME_CALL, &head, argument, deadline);
    if (err < 0) {
        map_take_id(&remote->delivers, asker->number);
        return err;
    }
    err = asker_wait(asker, &invoke_wait, deadline);
    return err >= 0 && asker->found == 0 ? -EPROTO : err; // it has answered something else
}

// `watcher` is to get the notice of the end; none: nobody.
static int invoke_far(struct remote *remote, ac_ref function, ac_value argument, ac_ref *started,
                      ac_ref watcher, ac_time deadline) {
    int err = value_is_local(argument) || argument.kind == AC_NOTICE ? -ENOTSUP : 0;
    if (err == 0 && rights_missing(remote, function.peer, AC_MAY_CALL))
        err = -EACCES;
    if (err == 0)
        err = coro_may_wait(coro_here(), deadline); // with AC_NOW nothing is begun
    struct asker asker = {
        .number = ++remote->number, .peer = function.peer, .in = &remote->delivers};
    if (err == 0 && ac_ref_is(watcher))
        asker.expects = monitor_expect(remote, function.peer, watcher, &err);
    if (err == 0) {
        uint8_t scratch[16];
        err = call(remote, function, value_encoded(argument, scratch), &asker, deadline);
    }
    ac_drop(argument);
    if (err < 0)
        monitor_forget(remote, asker.expects);
    else
        *started = (ac_ref){function.peer, asker.found};
    return err < 0 ? err : 0;
}

void function_started(struct remote *remote, const struct arrival *arrival) {
    struct asker *asker = map_get_id(&remote->delivers, arrival->number);
    if (!asker || asker->peer != arrival->peer || !asker->coro ||
        ref_sort(arrival->to.id) != REF_COROUTINE || arrival->to.id == 0)
        return;
    map_take_id(&remote->delivers, asker->number);
    asker->found = arrival->to.id;
    struct far_monitor *monitor = map_get_id(&remote->monitors, asker->expects);
    if (monitor)
        monitor->of = arrival->to;
    // Without it the peer was lost since the question, and has been met again.
    coro_wake(asker->coro, asker->expects && !monitor ? -ECONNRESET : 0);
}

// ---- the same from another loop than the first ----

struct far_call {
    struct errand errand;
    ac_ref function;
    ac_value argument; // owned until it is handed on
    ac_ref watcher;
    ac_ref started;
    ac_time deadline;
    int result;
};

static void run_far_call(struct errand *errand) {
    struct far_call *it = container_of(errand, struct far_call, errand);
    struct remote *remote = remote_linked(loop_here);
    ac_value argument = it->argument;
    it->argument = ac_nil;
    if (!remote) {
        ac_drop(argument);
        it->result = -EHOSTUNREACH;
        return;
    }
    it->result = invoke_far(remote, it->function, argument, &it->started, it->watcher,
                            it->deadline);
}

static void far_call_release(struct errand *errand) {
    struct far_call *it = container_of(errand, struct far_call, errand);
    ac_drop(it->argument);
    memory_release(it);
}

// At the first loop: the one who called is told nothing of a call that he has given up.
static void unwatch_call(struct post *post) {
    struct far_call *it = container_of(post, struct far_call, errand.post);
    struct remote *remote = remote_linked(loop_here);
    if (remote)
        monitor_forget_of(remote, it->started, it->watcher);
    far_call_release(&it->errand);
}

static void nobody_waits_far(struct errand *errand) {
    struct far_call *it = container_of(errand, struct far_call, errand);
    if (!it->errand.back || it->result < 0 || !ac_ref_is(it->started) || !ac_ref_is(it->watcher)) {
        far_call_release(errand);
        return;
    }
    errand->post.run = unwatch_call;
    team_post(errand->from, errand->to, &errand->post);
}

static int ask_first(struct loop *loop, ac_ref function, ac_value argument, ac_ref *started,
                     ac_ref watcher, ac_time deadline) {
    if (value_is_local(argument) || argument.kind == AC_NOTICE) {
        ac_drop(argument);
        return -ENOTSUP;
    }
    argument = value_detach(argument);
    struct far_call *it = argument.kind == AC_INVALID ? NULL : memory_allocate_zeroed(sizeof *it);
    if (!it) {
        ac_drop(argument);
        return -ENOMEM;
    }
    it->errand.run = run_far_call;
    it->errand.orphaned = nobody_waits_far;
    it->errand.waits = true;
    it->function = function;
    it->argument = argument;
    it->watcher = watcher;
    it->deadline = deadline;
    int err = errand_do(team_loop(loop, 0), &it->errand, deadline);
    if (err < 0 && err != -ENOMEM)
        return err;
    err = err < 0 ? err : it->result;
    if (err == 0)
        *started = it->started;
    far_call_release(&it->errand);
    return err;
}

// ---- in another process: who is called ----

static void send_started(struct remote *remote, uint64_t peer, uint64_t number, ac_ref ref) {
    struct head head = {0};
    head_put(&head, number);
    head_put(&head, ref.id);
    remote_tell_now(remote, peer, FRAME_STARTED, &head, FABRIC_ALWAYS);
}

static void send_refusal(struct remote *remote, uint64_t peer, uint64_t number, int err) {
    struct head head = {0};
    head_put(&head, number);
    head_put_signed(&head, err);
    remote_tell_now(remote, peer, FRAME_ANSWER, &head, FABRIC_ALWAYS);
}

// The answer, and behind it the notice of the end, whenever that comes.
static void answer_call(struct remote *remote, const struct arrival *arrival, ac_ref started) {
    send_started(remote, arrival->peer, arrival->number, started);
    if (arrival->watch == 0)
        return;
    const struct arrival asked = {.peer = arrival->peer, .number = arrival->watch, .to = started};
    watch_asked(remote, &asked);
}

// A call for another loop: it waits for that one.
struct forwarded {
    struct end_watch watch; // of the coroutine that does it
    struct remote *remote;
    struct arrival call; // its value is owned until it runs
    bool runs;
};

static ac_value forward(ac_value argument) {
    struct forwarded *it = ac_pointer_of(argument);
    struct remote *remote = it->remote;
    struct loop *there = team_loop(remote->host, ref_loop(it->call.to.id));
    struct start *start;
    it->runs = true;
    int err = start_there(there, it->call.to, it->call.value, it->call.watch != 0, AC_FOREVER,
                          &start);
    if (err < 0) {
        send_refusal(remote, it->call.peer, it->call.number, err);
    } else {
        answer_call(remote, &it->call, start->started);
        (void)ac_yield(); // what stands in here for the one who watches has asked then
        let_go(start);
    }
    return ac_nil;
}

// Perhaps it has never run, for want of a stack.
static void forwarded(struct end_watch *watch, const struct ac_exit *exit) {
    struct forwarded *it = container_of(watch, struct forwarded, watch);
    if (!it->runs) {
        send_refusal(it->remote, it->call.peer, it->call.number, exit->reason);
        ac_drop(it->call.value);
    }
    burden_drop(it->remote, it->call.peer, BURDEN_ERRANDS);
    memory_release(it);
}

static int forward_call(struct remote *remote, struct arrival *arrival) {
    if (!burden_add(remote, arrival->peer, BURDEN_ERRANDS))
        return -EAGAIN;
    struct forwarded *it = memory_allocate(sizeof *it);
    static const struct ac_spawn_options options = {.size = sizeof options, .daemon = true};
    int err = -ENOMEM;
    struct coro *coro =
        it ? coro_create(remote->host, forward, ac_of_pointer(it), &options, true, &err) : NULL;
    if (!coro) {
        burden_drop(remote, arrival->peer, BURDEN_ERRANDS);
        memory_release(it);
        return err;
    }
    *it = (struct forwarded){.watch.ended = forwarded, .remote = remote, .call = *arrival};
    arrival->value = ac_nil;
    coro_watch(coro, &it->watch);
    return 0;
}

void function_called(struct remote *remote, struct arrival *arrival) {
    struct loop *there = team_loop(remote->host, ref_loop(arrival->to.id));
    int err = ref_sort(arrival->to.id) != REF_FUNCTION ? -ENOTSUP : !there ? -ESRCH : 0;
    if (err == 0 && there != remote->host) {
        err = forward_call(remote, arrival);
    } else if (err == 0) {
        struct coro *coro = begin(remote->host, arrival->to.id, arrival->value, &err);
        arrival->value = ac_nil;
        if (coro)
            answer_call(remote, arrival, coro_ref(coro));
    }
    if (err < 0)
        send_refusal(remote, arrival->peer, arrival->number, err);
}

// ---- public ----

// Where a function is decides how it is called. Takes the argument.
static int invoke(struct coro *self, ac_ref function, ac_value argument, ac_ref *started,
                  bool monitor, ac_time deadline) {
    struct loop *loop = self->loop;
    ac_ref watcher = monitor ? coro_ref(self) : ac_no_ref;
    if (ref_is_here(loop, function))
        return invoke_here(loop, function.id, argument, started, monitor);
    if (function.peer != loop->peer && !remote_is_at_first(loop))
        return ask_first(loop, function, argument, started, watcher, deadline);
    struct remote *remote = remote_linked(loop);
    struct loop *there = team_loop(loop, ref_loop(function.id));
    if (function.peer != loop->peer && remote)
        return invoke_far(remote, function, argument, started, watcher, deadline);
    if (function.peer == loop->peer && there)
        return invoke_there(there, function, argument, started, monitor, deadline);
    ac_drop(argument);
    return function.peer == loop->peer ? -ESRCH : -EHOSTUNREACH;
}

int ac_invoke_with(ac_ref function, ac_value argument, ac_ref *coroutine, ac_time deadline,
                   const struct ac_invoke_options *options) {
    struct coro *self = coro_here();
    struct ac_invoke_options whole = {0};
    ac_ref started = ac_no_ref;
    int err = !self ? -EPERM : argument.kind == AC_INVALID ? ac_error_of(argument) : 0;
    if (err == 0 && options) {
        if (options->size == 0 || options->size > sizeof whole)
            err = -EINVAL;
        else
            memcpy(&whole, options, options->size);
    }
    if (err == 0 && !ac_ref_is(function))
        err = ac_ref_error(function);
    if (err == 0 && ref_sort(function.id) != REF_FUNCTION)
        err = -ENOTSUP;
    if (err < 0) {
        ac_drop(argument);
        return err;
    }
    err = invoke(self, function, argument, &started, whole.monitor, deadline);
    if (err == 0 && coroutine)
        *coroutine = started;
    return err;
}
