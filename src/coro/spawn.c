// SPDX-License-Identifier: MIT
// Records of coroutines, and spawning.
//
// Records lie in one table that grows and never moves. A record is used again when its coroutine
// has ended, with a generation one higher, so that a reference to the former one finds nothing
// (coro.c gives records back). A record whose generations are used up is left aside.
//
// A spawned coroutine is a record in the ready queue: its stack is taken when it first runs.
#include "coro/coro.h"

enum {
    SPAWN_OPTIONS_BYTES_MIN = offsetof(struct ac_spawn_options, group), // of the first version
};

// ---- records ----

// A record that was never used, with `away` held. Without a place for its timer.
static struct coro *record_cut(struct loop *loop, int *err) {
    uint32_t index = loop->coro_count;
    size_t bytes = (size_t)(index + 1) * sizeof(struct coro);
    *err = bytes > loop->records.bytes_max ? -EAGAIN : sys_table_grow(&loop->records, bytes);
    if (*err < 0)
        return NULL;
    struct coro *coro = &loop->coros[index];
    coro->loop = loop;
    coro->id = ref_id(REF_COROUTINE, loop->number, index, 1);
    coro->mail_slow = true; // see coro_find_quickly
    list_init(&coro->watchers);
    __atomic_store_n(&loop->coro_count, index + 1, __ATOMIC_RELEASE); // for coro_peek
    return coro;
}

static __attribute__((noinline)) struct coro *record_make(struct loop *loop, int *err) {
    struct coro *coro = loop->aside;
    if (coro) {
        loop->aside = coro->ready_next;
        return coro;
    }
    sys_mutex_lock(loop->away);
    *err = heap_reserve(&loop->timers, loop->coro_count); // which nobody else takes meanwhile
    if (*err == 0) {
        coro = record_cut(loop, err);
        if (!coro)
            heap_unreserve(&loop->timers);
    }
    sys_mutex_unlock(loop->away);
    return coro;
}

static inline struct coro *record_take(struct loop *loop, int *err) {
    struct coro *coro = loop->free;
    if (unlikely(!coro))
        return record_make(loop, err);
    loop->free = coro->ready_next;
    return coro;
}

// Makes a coroutine of a record.
static inline void record_fill(struct coro *coro, ac_function function, ac_value argument,
                               const struct ac_spawn_options *options, int class, bool internal,
                               bool away) {
    // For the compiler these are constants.
    uint32_t life = (struct coro){.state = CORO_ALIVE}.life |
                    (uint32_t) class * (struct coro){.stack_class = 1}.life;
    if (unlikely(options->joinable))
        life |= (struct coro){.joinable = true, .end_slow = true}.life;
    life |= options->daemon * (struct coro){.daemon = true}.life;
    if (unlikely(internal))
        life |= (struct coro){.internal = true, .end_slow = true}.life;
    if (away)
        life |= (struct coro){.away = true, .end_slow = true}.life;
    if (unlikely(class == SYS_STACK_SMALL))
        life |= (struct coro){.small = true, .end_slow = true}.life;
    __atomic_store_n(&coro->life, life, __ATOMIC_RELAXED); // for coro_peek
    coro->context.sp = NULL;
    coro->stack = NULL;
    coro->function = function;
    coro->argument = argument;
    __atomic_store_n(&coro->name, options->name, __ATOMIC_RELAXED); // for the watchdog
    __atomic_store_n(&coro->where, options->where, __ATOMIC_RELAXED);
}

// ---- spawning ----

static inline void count_spawned(struct loop *loop, bool daemon, bool internal) {
    loop->spawned++;
    loop->internals += internal;
    loop->alive += !daemon;
}

// Puts options into the form of this version, all zero so far: an older program knows fewer, and a
// newer one more. 0 or -EINVAL.
static int read_options(const struct ac_spawn_options *options, struct ac_spawn_options *whole) {
    whole->size = sizeof *whole;
    if (!options)
        return 0;
    if (options->size < SPAWN_OPTIONS_BYTES_MIN)
        return -EINVAL;
    memcpy(whole, options, options->size < sizeof *whole ? options->size : sizeof *whole);
    whole->size = sizeof *whole;
    return 0;
}

struct coro *coro_create_parked(struct loop *loop, ac_function function, ac_value argument,
                                const struct ac_spawn_options *options, bool internal,
                                const struct wait_kind *kind, int *err) {
    struct ac_spawn_options whole = {0};
    struct group_member *member = NULL;
    struct coro *coro = NULL;
    *err = argument.kind == AC_INVALID ? ac_error_of(argument) : read_options(options, &whole);
    int class = *err ? 0 : sys_stack_class(whole.stack_bytes);
    if (!*err && (!function || class < 0))
        *err = -EINVAL;
    if (!*err && whole.group)
        member = coro_group_reserve(whole.group, loop, err);
    if (!*err)
        coro = record_take(loop, err);
    if (coro) {
        record_fill(coro, function, argument, &whole, class, internal, false);
        count_spawned(loop, coro->daemon, internal);
        if (kind) {
            coro->wait = kind;
            coro->context.mark = loop->mark;
        } else {
            coro_make_ready(coro);
        }
    } else {
        ac_drop(argument);
    }
    if (member)
        coro_group_add(member, coro);
    if (coro && loop->traced) {
        coro->end_slow = true;
        coro_trace(coro, "begins");
    }
    return coro;
}

struct coro *coro_create(struct loop *loop, ac_function function, ac_value argument,
                         const struct ac_spawn_options *options, bool internal, int *err) {
    return coro_create_parked(loop, function, argument, options, internal, NULL, err);
}

struct coro *coro_create_away(struct loop *loop, ac_function function, ac_value argument,
                              const struct ac_spawn_options *options, int *err) {
    int class = sys_stack_class(options->stack_bytes);
    *err = argument.kind == AC_INVALID ? ac_error_of(argument) : 0;
    if (!*err && (!function || class < 0))
        *err = -EINVAL;
    if (*err) {
        ac_drop(argument);
        return NULL;
    }
    sys_mutex_lock(loop->away);
    struct coro *coro = loop->away_free;
    if (coro)
        loop->away_free = coro->ready_next;
    else
        coro = record_cut(loop, err);
    sys_mutex_unlock(loop->away);
    if (!coro) {
        ac_drop(argument);
        return NULL;
    }
    record_fill(coro, function, argument, options, class, false, true);
    return coro;
}

void coro_begin_away(struct coro *coro) {
    struct loop *loop = coro->loop;
    count_spawned(loop, coro->daemon, coro->internal);
    if (loop->closed) {
        coro->cancel_known = true;
        coro_end(coro, ac_nil);
    } else if (heap_reserve(&loop->timers, coro_index(coro)) < 0) {
        coro_end(coro, ac_of_error(-ENOMEM, "no memory for a timer"));
    } else {
        coro->placed = true;
        coro_make_ready(coro);
    }
}

ac_ref ac_spawn_with(ac_function function, ac_value argument,
                     const struct ac_spawn_options *options) {
    struct ac_spawn_options whole = {0};
    int err = read_options(options, &whole);
    struct loop *loop = loop_here;
    if (err == 0 && !loop)
        loop = loop_catch_background(whole.loop, &err);
    if (loop && loop != loop_here) {
        ac_ref ref = coro_spawn_away(NULL, loop, function, argument, &whole);
        loop_let_go(loop);
        return ref;
    }
    if (err == 0)
        loop = loop_need(&err);
    struct loop *to = err == 0 && whole.loop != 0 ? team_nth(loop, whole.loop) : loop;
    if (err < 0 || !to) {
        ac_drop(argument);
        return ref_none(err < 0 ? err : -EINVAL);
    }
    if (to != loop)
        return coro_spawn_away(loop, to, function, argument, &whole);
    struct coro *coro = coro_create(loop, function, argument, &whole, false, &err);
    return coro ? coro_ref(coro) : ref_none(err);
}

static __attribute__((noinline)) ac_ref spawn_slowly(ac_function function, ac_value argument,
                                                     const char *where) {
    return ac_spawn_with(
        function, argument,
        &(struct ac_spawn_options){.size = sizeof(struct ac_spawn_options), .where = where});
}

ac_ref ac_spawn_plain(ac_function function, ac_value argument, const char *where) {
    struct loop *loop = loop_here;
    if (unlikely(!loop || !function || !loop->free || argument.kind == AC_INVALID))
        return spawn_slowly(function, argument, where);
    struct coro *coro = loop->free;
    loop->free = coro->ready_next;
    record_fill(coro, function, argument, &(struct ac_spawn_options){.where = where},
                SYS_STACK_DEFAULT, false, false);
    count_spawned(loop, false, false);
    loop_append_ready(loop, coro);
    return (ac_ref){loop->peer, coro->id};
}
