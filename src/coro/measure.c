// SPDX-License-Identifier: MIT
// How much of their stacks coroutines use, for each place where they were spawned.
//
// While that is measured, whoever ends looks at his own stack, notes the depth with his place and
// paints the stack anew for the next one (sys_stack_paint). When measuring begins, all stacks are
// painted below what is in use. What the library itself does with a stack before and after the
// coroutine's function is part of its use, a few hundred bytes.
#include "coro/coro.h"

#include <asyncoro/debug.h>

#include <stdio.h>
#include <stdlib.h>

enum { PLACES_MAX = 4096 }; // further ones are left out

struct measure {
    struct map uses;   // struct ac_stack_use, whose texts are its own, by the text of the place
    bool tells_at_end; // AC_DEBUG asked for it
};

static void note(struct coro *coro);
static struct ac_stack_use *use_of(struct measure *measure, const struct coro *coro);

// ---- a coroutine ends ----

void coro_check_stack(struct coro *coro) {
    struct loop *loop = coro->loop;
    if ((loop->stacks.checks & SYS_STACK_CANARIES) &&
        !sys_stack_intact(coro->stack, coro->stack_class))
        sys_stack_overflowed(coro);
    if (loop->stacks.checks & SYS_STACK_MEASURED) {
        note(coro);
        sys_stack_paint(coro->stack, coro->stack_class, coro->stack);
    }
}

// For who waits long and has been deep in calls before.
void coro_trim_stack(void) {
    const struct coro *self = coro_here();
    if (self && !(self->loop->stacks.checks & SYS_STACK_MEASURED))
        sys_stack_trim(self->stack, self->stack_class);
}

static void note(struct coro *coro) {
    size_t used = sys_stack_used(coro->stack, coro->stack_class);
    struct ac_stack_use *use = use_of(coro->loop->measure, coro);
    if (!use)
        return;
    use->count++;
    if (used >= use->used_bytes) {
        use->used_bytes = used;
        use->stack_bytes = sys_stack_bytes(coro->stack_class);
    }
}

static void use_free(struct ac_stack_use *use) {
    memory_release((char *)use->where);
    memory_release((char *)use->name);
    memory_release(use);
}

// The entry for the place where a coroutine was spawned; NULL if there is no memory or no room.
static struct ac_stack_use *use_of(struct measure *measure, const struct coro *coro) {
    const char *where = coro->where ? coro->where : "";
    struct ac_stack_use *use = map_get(&measure->uses, where, strlen(where));
    if (use || map_count(&measure->uses) == PLACES_MAX)
        return use;
    use = memory_allocate_zeroed(sizeof *use);
    if (!use)
        return NULL;
    use->where = memory_copy_text(where);
    use->name = memory_copy_text(coro->name ? coro->name : "");
    if (use->where && use->name && map_put(&measure->uses, where, strlen(where), use) == 0)
        return use;
    use_free(use);
    return NULL;
}

// ---- on and off ----

static void paint_all(struct loop *loop) {
    sys_stacks_paint_free(&loop->stacks);
    coro_paint_runners(loop);
    for (uint32_t i = 0; i < loop_coro_count(loop); i++) {
        struct coro *coro = &loop->coros[i];
        if (coro_state_here(coro) != CORO_ALIVE || !coro->stack)
            continue;
        // Of its own stack as much as this call leaves.
        bool here = coro == loop->running;
        sys_stack_paint(coro->stack, coro->stack_class, here ? coro->stack : coro->context.sp);
    }
}

int measure_begin(struct loop *loop, bool tells_at_end) {
    if (!loop->measure) {
        loop->measure = memory_allocate_zeroed(sizeof *loop->measure);
        if (!loop->measure)
            return -ENOMEM;
        map_init(&loop->measure->uses);
    }
    loop->measure->tells_at_end |= tells_at_end;
    if (!(loop->stacks.checks & SYS_STACK_MEASURED))
        paint_all(loop);
    loop->stacks.checks |= SYS_STACK_MEASURED;
    return 0;
}

int ac_measure_stacks(bool on) {
    if (!on) {
        if (loop_here)
            loop_here->stacks.checks &= (uint8_t)~SYS_STACK_MEASURED;
        return 0;
    }
    int err = 0;
    struct loop *loop = loop_need(&err);
    return loop ? measure_begin(loop, false) : err;
}

// ---- what was measured ----

// Puts a place where it belongs among those found so far. How many there are then.
static size_t insert(struct ac_stack_use *uses, size_t count, size_t max,
                     const struct ac_stack_use *use) {
    size_t at = count;
    while (at > 0 && uses[at - 1].used_bytes < use->used_bytes)
        at--;
    if (at == max)
        return count;
    size_t behind = count < max ? count - at : max - 1 - at;
    memmove(&uses[at + 1], &uses[at], behind * sizeof *uses);
    uses[at] = *use;
    return count < max ? count + 1 : max;
}

static size_t uses_of(struct loop *loop, struct ac_stack_use *uses, size_t max) {
    size_t count = 0;
    uint64_t cursor = 0;
    const struct ac_stack_use *use;
    while (loop->measure && (use = map_next(&loop->measure->uses, &cursor, NULL, NULL)))
        count = insert(uses, count, max, use);
    return count;
}

size_t ac_stack_uses(struct ac_stack_use *uses, size_t max) {
    return loop_here && uses ? uses_of(loop_here, uses, max) : 0;
}

static void tell(struct loop *loop) {
    enum { TOLD_MAX = 100 };
    struct ac_stack_use *uses = memory_allocate(TOLD_MAX * sizeof *uses);
    size_t count = uses ? uses_of(loop, uses, TOLD_MAX) : 0;
    flockfile(stderr);
    fprintf(stderr, "asyncoro: loop %u: stacks used, by the places of spawning\n", loop->number);
    for (size_t i = 0; i < count; i++) {
        const char *name = uses[i].name;
        fprintf(stderr, "asyncoro:   %zu of %zu bytes at %s%s%s%s, by %llu coroutine%s\n",
                uses[i].used_bytes, uses[i].stack_bytes, *uses[i].where ? uses[i].where : "?",
                *name ? " '" : "", name, *name ? "'" : "", (unsigned long long)uses[i].count,
                uses[i].count == 1 ? "" : "s");
    }
    funlockfile(stderr);
    memory_release(uses);
}

void measure_end(struct loop *loop) {
    struct measure *measure = loop->measure;
    if (!measure)
        return;
    if (measure->tells_at_end)
        tell(loop);
    uint64_t cursor = 0;
    struct ac_stack_use *use;
    while ((use = map_next(&measure->uses, &cursor, NULL, NULL)))
        use_free(use);
    map_done(&measure->uses);
    memory_release(measure);
    loop->measure = NULL;
}
