// SPDX-License-Identifier: MIT
// New contexts, and telling the sanitizers of every switch. Without sanitizers a switch is the
// assembler function alone.
//
// AddressSanitizer keeps a fake stack for each context and wants to know the bounds of the real one
// before and after each switch. ThreadSanitizer keeps a fiber for each, of which there may be some
// 8,000 at once and not more; a stack keeps its fiber for life. What is done before a switch it
// takes as done before all that follows the switch.
#include "sys/stack_private.h"
#include "sys/sys.h"

#ifdef SYS_ASAN
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef SYS_TSAN
#include <sanitizer/tsan_interface.h>
#endif

void sys_context_entry(void);
#ifdef SYS_ASAN
static void set_bounds(struct sys_context *context, void *top, int class);
#endif

void sys_context_prepare(struct sys_context *context, void *top, int class, void (*entry)(void *),
                         void *argument) {
    (void)class;
#if defined(__x86_64__)
    // As sys_context_switch leaves a stack: r15 r14 r13 r12 rbx rbp, return address. At the entry
    // the stack is aligned to 16, as a call instruction needs it.
    void **sp = (void **)((uintptr_t)top & ~(uintptr_t)15) - 9;
    sp[2] = argument;                 // r13
    sp[3] = (void *)(uintptr_t)entry; // r12
    sp[6] = (void *)(uintptr_t)sys_context_entry;
#elif defined(__aarch64__)
    void **sp = (void **)((uintptr_t)top & ~(uintptr_t)15) - 20;
    sp[0] = (void *)(uintptr_t)entry; // x19
    sp[1] = argument;                 // x20
    sp[11] = (void *)(uintptr_t)sys_context_entry;
#else
#error "no context switch for this architecture: write src/sys/switch_ARCH.S and the frame here"
#endif
    context->sp = sp;
#ifdef SYS_ASAN
    set_bounds(context, top, class);
#endif
#ifdef SYS_TSAN
    context->fiber = __tsan_create_fiber(0);
#endif
}

#ifdef SYS_ASAN

int sys_switch(struct sys_context *from, struct sys_context *to) {
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
    int result = sys_context_switch(from, to);
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
    return result;
}

struct sys_turn sys_switch_apart(struct sys_context *from, struct sys_context *to) {
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
    struct sys_turn turn = sys_context_switch_apart(from, to);
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
    return turn;
}

void sys_entered(void) { __sanitizer_finish_switch_fiber(NULL, NULL, NULL); }

void sys_context_inherit(struct sys_context *context, void *top, int class) {
    set_bounds(context, top, class);
}

void sys_context_of_thread(struct sys_context *context) {
    pthread_attr_t attributes;
    void *low = NULL;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &low, &bytes);
        pthread_attr_destroy(&attributes);
    }
    context->bottom = low;
    context->bytes = bytes;
    context->fake_stack = NULL;
}

void sys_context_done(struct sys_context *context) { (void)context; }

static void set_bounds(struct sys_context *context, void *top, int class) {
    context->fake_stack = NULL;
    context->bottom = sys_stack_low(top, class);
    context->bytes = (size_t)((const char *)top - (const char *)context->bottom);
}

#endif

#ifdef SYS_TSAN

int sys_switch(struct sys_context *from, struct sys_context *to) {
    __tsan_switch_to_fiber(to->fiber, 0);
    return sys_context_switch(from, to);
}

struct sys_turn sys_switch_apart(struct sys_context *from, struct sys_context *to) {
    __tsan_switch_to_fiber(to->fiber, 0);
    return sys_context_switch_apart(from, to);
}

void sys_entered(void) {}

void sys_context_inherit(struct sys_context *context, void *top, int class) {
    (void)top, (void)class;
    context->fiber = __tsan_get_current_fiber();
}

void sys_context_of_thread(struct sys_context *context) {
    context->fiber = __tsan_get_current_fiber();
}

void sys_context_done(struct sys_context *context) {
    __tsan_destroy_fiber(context->fiber);
    context->fiber = NULL;
}

#endif
