// SPDX-License-Identifier: MIT
// Coroutines: parking, waking, ending; the public calls about them. Their records and spawning are
// in spawn.c.
//
// A stack is taken when the coroutine first runs. On every stack runs a runner (run_coroutines): it
// calls the function of the coroutine that has its stack, and after the end of that takes the next
// one that is ready and has not run yet, in the same call, without any switch. If that one has run
// before, the runner parks and waits, with its stack, for a new coroutine: starting one is an
// ordinary switch.
#include "coro/coro.h"

enum {
    BUDGET = 128,             // switches between two looks at the clock
    ASK_EVERY_NS = 50 * 1000, // how long the poller is left alone while coroutines are ready
};

// What runs on a stack; lies at the top of it.
struct runner {
    struct sys_context context; // while it has no coroutine
    struct runner *next;        // of those that have none, the latest first
    void *stack;
};

static void run_coroutines(void *argument);
static inline void finish(struct loop *loop, struct coro *coro, ac_value result);

// ---- switching ----

// `next` is the first that is ready: it is the one that runs now.
static inline void run_next(struct loop *loop, struct coro *next) {
    loop->ready_head = next->ready_next;
    loop_set_running(loop, next);
}

// The record and the stack of who runs after `next` are cold as a rule, and their turn near.
static inline __attribute__((always_inline)) void fetch_after(const struct coro *next) {
    const struct coro *after = next->ready_next;
    if (after) {
        __builtin_prefetch(after->context.sp);
        __builtin_prefetch(&after->argument);
        __builtin_prefetch(after->ready_next);
    }
}

// A stack without a runner, one that was never used. At home, since whoever parks may have a small
// stack, and the system is asked for memory here. False if there is none: then the coroutine has
// ended.
static __attribute__((noinline)) bool give_new_stack(struct coro *coro) {
    struct loop *loop = coro->loop;
    coro->stack = sys_stack_take(&loop->stacks, coro->stack_class);
    if (!coro->stack) {
        coro_end(coro, ac_of_error(-ENOMEM, "no memory for the stack"));
        return false;
    }
    if (loop->stacks.checks & SYS_STACK_MEASURED)
        sys_stack_paint(coro->stack, coro->stack_class, coro->stack);
    if (loop->traced)
        coro_trace(coro, "takes a new stack");
    sys_stack_own(coro->stack, coro);
    sys_context_prepare(&coro->context, coro->stack, coro->stack_class, run_coroutines, loop);
    return true;
}

// Gives a coroutine that has not run yet a stack with the first of these runners.
static inline void give_runner(struct coro *coro, struct runner **runners) {
    struct runner *runner = *runners;
    *runners = runner->next;
    coro->stack = runner->stack;
    sys_stack_own(runner->stack, coro);
    sys_context_take_over(&coro->context, &runner->context);
}

// What goes on after a coroutine has parked or ended, when it is not simply the next ready one that
// has run before: home if nobody is ready, the poller must be asked or a new stack is needed; else
// the next one, which gets its stack.
static __attribute__((noinline)) struct sys_context *choose(struct loop *loop, bool at_home) {
    // First turns do not pass the count in park: without this one, who spawns all the time would
    // keep home from running.
    if (loop->budget > 0)
        loop_spend(loop);
    bool feeds = loop->team && !at_home && !loop->ready_head;
    if (loop->budget <= 0 && (loop->ready_head || feeds)) {
        __atomic_store_n(&loop->budget, BUDGET, __ATOMIC_RELAXED);
        if (sys_now(loop->sys) - loop->asked > ASK_EVERY_NS) {
            loop_set_running(loop, NULL);
            return &loop->home;
        }
    }
    if (feeds)
        team_feed(loop);
    struct coro *next;
    while ((next = loop->ready_head)) {
        struct runner **runners = &loop->runners[next->stack_class];
        bool has_stack = next->context.sp != NULL;
        if (!has_stack && *runners)
            give_runner(next, runners);
        else if (!has_stack && !at_home)
            break;
        run_next(loop, next);
        if (next->context.sp || give_new_stack(next))
            return &next->context;
    }
    loop->wants_stack = next != NULL;
    loop_set_running(loop, NULL);
    return &loop->home;
}

// Goes home or lets `choose` say where to go on.
static __attribute__((noinline)) int park_and_choose(struct coro *coro) {
    return sys_switch(&coro->context, choose(coro->loop, false));
}

// As coro_park, where `next` is the first that is ready, has not run yet, and has `after` behind
// it. A function of its own, without a frame: with what park_and_choose needs of one a spawn and
// its end take a sixth longer.
static __attribute__((noinline)) int park_to_begin(struct coro *coro, struct coro *next,
                                                   struct coro *after, struct loop *loop) {
    struct runner **runners = &loop->runners[next->stack_class];
    if (unlikely(!*runners || loop_spend(loop) <= 0))
        return park_and_choose(coro);
    loop->ready_head = after;
    loop_set_running(loop, next);
    give_runner(next, runners);
    return sys_switch(&coro->context, &next->context);
}

int coro_park_slowly(struct coro *coro) {
    struct loop *loop = coro->loop;
    struct coro *next = loop->ready_head;
    if (likely(next && !next->context.sp))
        return park_to_begin(coro, next, next->ready_next, loop);
    return park_and_choose(coro);
}

int coro_wait(struct coro *coro, const struct wait_kind *kind, ac_time deadline) {
    if (unlikely(deadline != AC_FOREVER)) {
        coro->timed = true;
        heap_insert(&coro->loop->timers, coro_index(coro), deadline);
    }
    return coro_wait_for_ever(coro, kind);
}

int coro_wake_early(struct coro *coro, int result) {
    coro->timed = false;
    heap_remove(&coro->loop->timers, coro_index(coro));
    return coro_wake(coro, result);
}

void coro_step_back(struct coro *coro) {
    coro->context.result = 0;
    coro_make_ready(coro);
    coro_park(coro);
}

void coro_run_ready(struct loop *loop) {
    __atomic_store_n(&loop->budget, BUDGET, __ATOMIC_RELAXED);
    do {
        loop->wants_stack = false;
        struct sys_context *next = choose(loop, true);
        if (next == &loop->home)
            break;
        sys_switch(&loop->home, next);
    } while (loop->wants_stack);
}

// Where to go on when a coroutine has ended on this stack, which is not yet given back: nobody may
// get it while this still runs on it. NULL: here, with the next one, which has not run yet.
static inline struct sys_context *next_after_end(struct loop *loop, void *stack, int class) {
    struct coro *next = loop->ready_head;
    if (unlikely(!next || loop_spend(loop) <= 0))
        return choose(loop, false);
    if (likely(next->context.sp != NULL)) {
        fetch_after(next);
        run_next(loop, next);
        return &next->context;
    }
    if (next->stack_class != class)
        return choose(loop, false);
    run_next(loop, next);
    next->stack = stack;
    sys_stack_own(stack, next);
    next->context.sp = stack; // not NULL: it has begun
    sys_context_inherit(&next->context, stack, class);
    return NULL;
}

static void run_coroutines(void *argument) {
    struct loop *loop = argument;
    int class = loop->running->stack_class;
    struct runner runner = {.stack = loop->running->stack};
    sys_entered();
    sys_context_inherit(&runner.context, runner.stack, class);
    struct coro *self = loop->running;
    for (;;) {
        ac_value result = ac_nil;
        if (likely(!self->cancelled))
            result = self->function(self->argument);
        else
            self->cancel_known = true;
        if (unlikely(loop->stacks.checks != 0))
            coro_check_stack(self);
        finish(loop, self, result);
        struct sys_context *to = next_after_end(loop, runner.stack, class);
        if (!to) {
            self = loop->running; // begins here
            continue;
        }
        runner.next = loop->runners[class];
        loop->runners[class] = &runner;
        self = container_of(sys_switch_apart(&runner.context, to).as, struct coro, context);
    }
}

void coro_paint_runners(struct loop *loop) {
    for (int class = 0; class < SYS_STACK_CLASSES; class ++)
        for (struct runner *it = loop->runners[class]; it; it = it->next)
            sys_stack_paint(it->stack, class, it->context.sp);
}

void coro_end_runners(struct loop *loop) {
    for (int class = 0; class < SYS_STACK_CLASSES; class ++) {
#ifdef SYS_SANITIZED
        for (struct runner *it = loop->runners[class]; it; it = it->next)
            sys_context_done(&it->context);
#endif
        loop->runners[class] = NULL; // their stacks go as they are
        for (void *top = loop->left[class], *next; top; top = next) {
            next = *(void **)top;
            sys_stack_give(&loop->stacks, class, top);
        }
        loop->left[class] = NULL;
    }
}

// ---- ending ----

// A record is free to be used again.
static inline void record_give(struct coro *coro, struct coro **list) {
    uint64_t id;
    bool used_up = __builtin_add_overflow(coro->id, ref_id(0, 0, 0, 1), &id);
    uint32_t life = (struct coro){.state = CORO_FREE, .mail_slow = true}.life;
    __atomic_store_n(&coro->life, life, __ATOMIC_RELAXED);
    __atomic_store_n(&coro->id, id, __ATOMIC_RELAXED);
    if (unlikely(used_up))
        return; // it has had all its generations: it is never used again
    coro->ready_next = *list;
    *list = coro;
}

// Of one that may be for who spawns from elsewhere, or of a loop that traces.
static void record_give_slowly(struct coro *coro) {
    struct loop *loop = coro->loop;
    bool away = coro->away;
    struct coro **list = away ? &loop->away_free : loop->traced ? &loop->aside : &loop->free;
    if (coro->placed)
        heap_unreserve(&loop->timers);
    if (away)
        sys_mutex_lock(loop->away);
    record_give(coro, list);
    if (away)
        sys_mutex_unlock(loop->away);
}

// Of one whose end was kept and is now known.
static void record_give_ended(struct coro *coro) {
    list_init(&coro->watchers); // `end` lay there
    record_give_slowly(coro);
}

static struct ac_exit make_exit(struct coro *coro, ac_value result) {
    struct ac_exit exit = {.who = coro_ref(coro), .how = AC_FINISHED, .value = result};
    if (unlikely(coro->cancel_known)) {
        exit.how = AC_CANCELLED;
        exit.reason = -ECANCELED;
    } else if (unlikely(result.kind == AC_ERROR || result.kind == AC_INVALID)) {
        exit.how = AC_FAILED;
        exit.reason = ac_error_of(result);
        if (result.kind == AC_INVALID)
            exit.value = ac_of_error(exit.reason, NULL);
    }
    return exit;
}

void coro_check_canary(const struct coro *coro) {
    if (coro->stack && !sys_stack_intact(coro->stack, coro->stack_class))
        sys_stack_overflowed(coro);
}

// The coroutine has returned `result`.
static inline void finish(struct loop *loop, struct coro *coro, ac_value result) {
    // Nobody wants its result. If that needs memory or is an error it is worth a longer way.
    if (unlikely(coro->end_slow || result.kind > AC_REAL)) {
        coro_end(coro, result);
        return;
    }
    if (unlikely(coro->argument.form != 0))
        ac_drop(coro->argument);
    loop->ended++;
    loop->alive -= !coro->daemon;
    record_give(coro, &loop->free);
}

__attribute__((noinline)) void coro_end(struct coro *coro, ac_value result) {
    struct loop *loop = coro->loop;
    if (coro->small)
        coro_check_canary(coro);
    if (coro->replacement)
        result = coro_go_on(coro, result);
    ac_drop(coro->argument);
    loop->ended++;
    loop->internals -= coro->internal;
    loop->alive -= !coro->daemon;
    struct ac_exit exit = make_exit(coro, result);
    if (loop->traced)
        coro_trace(coro, ac_end_name(exit.how));
    __atomic_store_n(&coro->state, CORO_ENDED, __ATOMIC_RELAXED);
    coro->mail_slow = true; // so that who sends to it need not look at its state
    if (coro->mail_done)
        coro->mail_done(coro);
    if (unlikely(coro->held > 0))
        coro_leaves_locks(coro);
    bool observed = coro->internal;
    struct list *link;
    while ((link = list_take(&coro->watchers))) {
        struct end_watch *watch = container_of(link, struct end_watch, link);
        observed |= watch->observes;
        watch->ended(watch, &exit);
    }
    coro->early = 0;
    coro->shield = 0;
    bool unseen = exit.how == AC_FAILED && !observed;
    if (coro->joinable && !loop->stopping) {
        coro->end = exit;
        coro->unseen = unseen;
        return;
    }
    if (unseen)
        coro_note_failure(coro, &exit);
    ac_drop(exit.value);
    record_give_slowly(coro);
}

// Nobody else will learn of it: the one who called ac_run does.
void coro_note_failure(struct coro *coro, const struct ac_exit *exit) {
    ac_span text = ac_span_of(exit->value);
    trace(TRACE_CORO, "coroutine '%s' (%s) failed: %s%s%.*s", coro->name ? coro->name : "",
          coro->where ? coro->where : "", ac_strerror(exit->reason), text.bytes > 0 ? ": " : "",
          (int)text.bytes, text.bytes > 0 ? (const char *)text.at : "");
    if (coro->loop->failure == 0)
        coro->loop->failure = exit->reason;
}

void coro_abandon(struct coro *coro) {
    if (coro->wait && coro->wait->forget)
        coro->wait->forget(coro);
    else if (coro->wait && (coro->early != 0 || !coro->wait->abandon(coro)))
        return; // what the poller still writes to lies on that stack
    coro->early = 0;
    coro->cancelled = true;
    coro->cancel_asked = true;
    coro->cancel_known = true;
    if (coro->stack) {
        void **left = &coro->loop->left[coro->stack_class];
        sys_context_done(&coro->context);
        *(void **)coro->stack = *left;
        *left = coro->stack;
    }
    coro->stack = NULL;
    coro->context.sp = NULL;
    if (coro->wait)
        coro_wake(coro, 0);
}

// ---- waits that end early ----

void coro_end_wait(struct coro *coro, int reason) {
    const struct wait_kind *kind = coro->wait;
    if (coro->early != 0) { // it ends early already; a cancellation goes before a replacement
        if (coro->early == -ERESTART && reason == -ECANCELED)
            coro->early = -ECANCELED;
        return;
    }
    if (coro->loop->traced)
        coro_trace(coro, reason == -ETIMEDOUT   ? "its time is up"
                         : reason == -ECANCELED ? "its wait is cancelled"
                                                : "its wait ends, for it is replaced");
    if (!kind->abandon(coro)) {
        coro->early = (int16_t)reason;
        return;
    }
    coro_note_told(coro, reason);
    coro_wake(coro, reason == -ETIMEDOUT && kind->until_deadline ? 0 : reason);
}

void coro_interrupt(struct coro *coro, int reason) {
    if (coro->shield > 0)
        return;
    coro->cancelled = true;
    if (coro->wait)
        coro_end_wait(coro, reason);
}

void coro_cancel(struct coro *coro) {
    if (coro->cancel_asked)
        return;
    coro->cancel_asked = true;
    coro_interrupt(coro, -ECANCELED);
}

int ac_shield_begin(void) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    if (self->shield == UINT8_MAX)
        return -EOVERFLOW;
    self->shield++;
    self->end_slow = true; // should it end under its shield
    self->cancelled = false;
    return 0;
}

int ac_shield_end(void) {
    struct coro *self = coro_here();
    if (!self || self->shield == 0)
        return -EPERM;
    self->shield--;
    self->cancelled = self->shield == 0 && (self->cancel_asked || self->replacement);
    return 0;
}

int coro_may_wait_slowly(struct coro *coro, ac_time deadline) {
    if (!coro)
        return -EPERM;
    if (coro->small)
        coro_check_canary(coro);
    if (coro->cancelled) {
        if (coro->cancel_known || coro->replace_known)
            coro_step_back(coro);
        int reason = coro->cancel_asked ? -ECANCELED : -ERESTART;
        coro_note_told(coro, reason);
        return reason;
    }
    if (deadline == AC_NOW || (deadline != AC_FOREVER && deadline <= sys_now(coro->loop->sys)))
        return -ETIMEDOUT;
    return 0;
}

// ---- the public calls ----
ac_ref ac_self(void) {
    struct coro *self = coro_here();
    return self ? coro_ref(self) : ac_no_ref;
}

int ac_set_daemon(bool daemon) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    self->loop->alive += (uint32_t)self->daemon - (uint32_t)daemon;
    self->daemon = daemon;
    return 0;
}

static __attribute__((noinline)) int yield_slowly(struct coro *self) {
    int err = coro_may_wait(self, AC_FOREVER);
    if (err < 0)
        return err;
    self->context.result = 0;
    coro_make_ready(self);
    return coro_park(self);
}

// Who yields has been appended: goes on with `next`, which is the first and has `after` behind it.
static inline __attribute__((always_inline)) int yield_to(struct loop *loop, struct coro *self,
                                                          struct coro *next, struct coro *after) {
    loop->ready_tail = self;
    if (unlikely(!next->context.sp))
        return park_to_begin(self, next, after, loop);
    if (unlikely(loop_spend(loop) <= 0))
        return park_and_choose(self);
    loop->ready_head = after;
    loop_set_running(loop, next);
    return sys_switch(&self->context, &next->context);
}

// What follows from values at hand is not read back from the queue: a yield would wait for what the
// last one has stored.
int ac_yield(void) {
    struct loop *loop = loop_here;
    struct coro *self = coro_here();
    if (unlikely(!self || !coro_waits_plainly(self) || !loop->ready_head))
        return yield_slowly(self);
    struct coro *next = loop->ready_head, *after = next->ready_next;
    self->context.result = 0;
    self->ready_next = NULL;
    if (!after) {
        next->ready_next = self;
        return yield_to(loop, self, next, self);
    }
    // The stack of the one after next is cold, and its turn near.
    __builtin_prefetch(after->context.sp);
    loop->ready_tail->ready_next = self;
    return yield_to(loop, self, next, after);
}

static bool abandon_nothing(struct coro *coro) {
    (void)coro;
    return true;
}

static const struct wait_kind sleep_wait = {"sleep", abandon_nothing, .until_deadline = true};
static const struct wait_kind suspend_wait = {"suspend", abandon_nothing, .until_deadline = false};

int ac_sleep_until(ac_time until) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, until);
    if (err == -ETIMEDOUT)
        return ac_yield();
    if (err < 0)
        return err;
    return coro_wait(self, &sleep_wait, until);
}

int ac_sleep(double seconds) {
    if (seconds != seconds)
        return -EINVAL;
    return ac_sleep_until(ac_after(seconds));
}

int ac_suspend(ac_value *update, ac_time deadline) {
    struct coro *self = coro_here();
    int err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    self->wait_for = update;
    return coro_wait(self, &suspend_wait, deadline);
}

struct coro *coro_find_here(ac_ref ref, int *err) {
    struct loop *loop = loop_here;
    *err = -ESRCH;
    if (ref.peer == 0 || !loop)
        return NULL;
    *err = -ENOTSUP;
    if (ref.peer != loop->peer || (uint8_t)ref.id != (uint8_t)(loop->number << 2 | REF_COROUTINE))
        return NULL;
    *err = -ESRCH;
    return coro_find(loop, ref.id);
}

int ac_resume_with(ac_ref coroutine, ac_value update) {
    int err;
    struct coro *coro = coro_find_here(coroutine, &err);
    if (err == -ENOTSUP)
        return coro_resume_away(coroutine, update);
    if (!coro || coro->state == CORO_ENDED) {
        ac_drop(update);
        return coro ? -ESRCH : err;
    }
    if (coro->wait != &suspend_wait || update.kind == AC_INVALID) {
        err = update.kind == AC_INVALID ? ac_error_of(update) : -EAGAIN;
        ac_drop(update);
        return err;
    }
    if (coro->wait_for)
        *(ac_value *)coro->wait_for = update;
    else
        ac_drop(update);
    coro_wake(coro, 0);
    return 0;
}

int ac_cancel(ac_ref coroutine) {
    int err;
    struct coro *coro = coro_find_here(coroutine, &err);
    if (!coro && coroutine.peer != 0 && ref_sort(coroutine.id) == REF_COROUTINE &&
        (!loop_here || !ref_is_here(loop_here, coroutine)))
        return coro_cancel_away(coroutine);
    if (!coro || coro->state == CORO_ENDED)
        return coro ? -ESRCH : err;
    coro_cancel(coro);
    return 0;
}

const char *ac_name_of(ac_ref coroutine) {
    int err;
    struct coro *coro = coro_find_here(coroutine, &err);
    return coro && coro->state == CORO_ALIVE && coro->name ? coro->name : "";
}

// ---- join ----

struct joiner {
    struct end_watch watch;
    struct coro *of;      // whose end it waits for
    struct coro *coro;    // who waits
    struct ac_exit *exit; // where it wants to know; may be NULL
};

void coro_join(struct coro *of, const struct ac_exit *end, struct ac_exit *exit) {
    if (exit) {
        *exit = *end;
        ac_hold(end->value);
    }
    of->joinable = false; // its end is known: nothing need be kept
}

static void joined(struct end_watch *watch, const struct ac_exit *exit) {
    struct joiner *joiner = container_of(watch, struct joiner, watch);
    coro_join(joiner->of, exit, joiner->exit);
    coro_wake(joiner->coro, 0);
}

static bool abandon_join(struct coro *coro) {
    struct joiner *joiner = coro->wait_for;
    coro_unwatch(&joiner->watch);
    return true;
}

static const struct wait_kind join_wait = {"join", abandon_join, .until_deadline = false};

void coro_forget(struct coro *coro) {
    ac_drop(coro->end.value);
    record_give_ended(coro);
}

int coro_join_try(ac_ref coroutine, struct ac_exit *exit, struct coro **living) {
    int err;
    struct coro *coro = coro_find_here(coroutine, &err);
    if (!coro)
        return err;
    if (coro == coro->loop->running)
        return -EDEADLK;
    *living = coro;
    if (coro->state != CORO_ENDED)
        return -EAGAIN;
    if (exit)
        *exit = coro->end;
    else
        ac_drop(coro->end.value);
    record_give_ended(coro);
    return 0;
}

int ac_join(ac_ref coroutine, struct ac_exit *exit, ac_time deadline) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    struct coro *coro;
    int err = coro_join_try(coroutine, exit, &coro);
    if (err == -ENOTSUP)
        return coro_join_away(coroutine, exit, deadline);
    if (err != -EAGAIN)
        return err;
    err = coro_may_wait(self, deadline);
    if (err < 0)
        return err;
    struct joiner joiner = {
        .watch = {.ended = joined, .observes = true}, .of = coro, .coro = self, .exit = exit};
    coro_watch(coro, &joiner.watch);
    self->wait_for = &joiner;
    return coro_wait(self, &join_wait, deadline);
}

const char *ac_end_name(enum ac_end how) {
    switch (how) {
    case AC_FINISHED: return "finished";
    case AC_FAILED: return "failed";
    case AC_CANCELLED: return "cancelled";
    case AC_LOST: return "lost";
    }
    return "unknown";
}
