// SPDX-License-Identifier: MIT
// Dead letters: messages that were taken and reach nobody. They are counted, by reason, and shown
// to the hook of the loop; then they go.
//
// The library's own messages are none: nobody has sent them.
//
// The counts are in the loop, not in the state of this floor, so that they need no memory.
#include "message/state.h"

_Static_assert((int)AC_DEAD_REASONS <= (int)LOOP_DEAD_REASONS, "each reason has a counter");

void dead_letter(struct loop *loop, enum ac_dead_reason reason, ac_ref to, ac_value message) {
    if (message.kind != AC_NOTICE) {
        struct message_state *state = message_state(loop);
        loop->dead_letters[reason]++;
        trace(TRACE_MESSAGE, "a dead letter: %s", ac_dead_reason_name(reason));
        if (state && state->dead_hook) {
            struct coro *running = loop_step_out(loop);
            state->dead_hook(reason, to, message, state->dead_context);
            loop_step_in(loop, running);
        }
    }
    ac_drop(message);
}

void message_dead(struct loop *loop, enum ac_dead_reason reason, ac_ref to, ac_value message) {
    dead_letter(loop, reason, to, message);
}

void message_lost(struct loop *loop, uint64_t count) {
    loop->dead_letters[AC_DEAD_NO_MEMORY] += count;
}

const char *ac_dead_reason_name(enum ac_dead_reason reason) {
    switch (reason) {
    case AC_DEAD_ENDED: return "ended";
    case AC_DEAD_UNREAD: return "unread";
    case AC_DEAD_FULL: return "full";
    case AC_DEAD_LATE: return "late";
    case AC_DEAD_NO_MEMORY: return "no memory";
    case AC_DEAD_REASONS: break;
    }
    return "unknown";
}

uint64_t ac_dead_letters(enum ac_dead_reason reason) {
    return loop_here && (unsigned)reason < AC_DEAD_REASONS ? loop_here->dead_letters[reason] : 0;
}

int ac_on_dead_letter(void (*hook)(enum ac_dead_reason reason, ac_ref to, ac_value message,
                                   void *context),
                      void *context) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    if (!loop)
        return err;
    struct message_state *state = message_state_need(loop);
    if (!state)
        return -ENOMEM;
    state->dead_hook = hook;
    state->dead_context = context;
    return 0;
}
