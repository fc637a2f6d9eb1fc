// SPDX-License-Identifier: MIT
// Replacing the function of a coroutine while it runs.
//
// A replacement is kept in the record until the present function has returned; then the coroutine
// goes on with the new one on the same stack, before anybody is told of an end. Meanwhile its waits
// end early, as those of a cancelled coroutine do, but with -ERESTART.
#include "coro/coro.h"

struct replacement {
    ac_function function;
    ac_value argument; // owned; nil: what the present function returns
};

int ac_set_replaceable(bool replaceable) {
    struct coro *self = coro_here();
    if (!self)
        return -EPERM;
    self->replaceable = replaceable;
    return 0;
}

// Keeps it for later, before any other. 0 or -ENOMEM.
static int keep(struct coro *coro, ac_function function, ac_value argument) {
    if (coro->replacement)
        ac_drop(coro->replacement->argument);
    else
        coro->replacement = memory_allocate(sizeof *coro->replacement);
    if (!coro->replacement)
        return -ENOMEM;
    *coro->replacement = (struct replacement){.function = function, .argument = argument};
    coro->end_slow = true;
    return 0;
}

int ac_replace_with(ac_ref coroutine, ac_function function, ac_value argument) {
    int err = argument.kind == AC_INVALID ? ac_error_of(argument) : function ? 0 : -EINVAL;
    struct coro *coro = err ? NULL : coro_find_here(coroutine, &err);
    if (coro && coro->state == CORO_ENDED)
        err = -ESRCH;
    else if (coro)
        err = coro->replaceable ? keep(coro, function, argument) : -EACCES;
    if (err) {
        ac_drop(argument);
        return err;
    }
    coro_interrupt(coro, -ERESTART);
    return 0;
}

static struct replacement take(struct coro *coro) {
    struct replacement it = *coro->replacement;
    memory_release(coro->replacement);
    coro->replacement = NULL;
    return it;
}

// The next function starts as any other does: it is not replaceable, and nothing shields it.
static ac_value run_next(struct coro *coro, ac_value result) {
    struct replacement it = take(coro);
    coro->replaceable = coro->replace_known = coro->cancelled = false;
    coro->shield = 0;
    if (it.argument.kind == AC_NIL) {
        it.argument = result.kind == AC_INVALID ? ac_of_error(ac_error_of(result), NULL) : result;
    } else {
        ac_drop(result);
    }
    ac_drop(coro->argument);
    coro->function = it.function;
    coro->argument = it.argument;
    result = coro->function(coro->argument);
    if (coro->loop->stacks.checks != 0)
        coro_check_stack(coro);
    return result;
}

ac_value coro_go_on(struct coro *coro, ac_value result) {
    while (coro->replacement && !coro->cancel_asked)
        result = run_next(coro, result);
    if (coro->replacement) { // cancelled: the function that would have been next never runs
        ac_drop(take(coro).argument);
        coro->cancel_known = true;
    }
    return result;
}
