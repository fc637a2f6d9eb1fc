// SPDX-License-Identifier: MIT
// New contexts, and telling the sanitizers of every switch. Without sanitizers a switch is the
// assembler function alone.
//
// AddressSanitizer keeps a fake stack for each context and wants to know the bounds of the real one
// before and after each switch; ThreadSanitizer keeps a fiber for each.
#include "sys/stack_private.h"
#include "sys/sys.h"

#ifdef SYS_SANITIZED
#include <pthread.h>

static void *context_bottom(void *top, int class) { return sys_stack_low(top, class); }
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
#endif

void sys_context_entry(void);

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
#ifdef SYS_SANITIZED
    context->fake_stack = NULL;
    context->bottom = context_bottom(top, class);
    context->bytes = (size_t)((const char *)top - (const char *)context->bottom);
#if defined(__SANITIZE_THREAD__)
    context->fiber = __tsan_create_fiber(0);
#endif
#endif
}

#ifdef SYS_SANITIZED

int sys_switch(struct sys_context *from, struct sys_context *to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    int result = sys_context_switch(from, to);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
    return result;
}

int sys_switch_apart(struct sys_context *from, struct sys_context *to) {
    return sys_switch(from, to);
}

void sys_context_inherit(struct sys_context *context, void *top, int class) {
    context->fake_stack = NULL;
    context->bottom = context_bottom(top, class);
    context->bytes = (size_t)((const char *)top - (const char *)context->bottom);
#if defined(__SANITIZE_THREAD__)
    context->fiber = __tsan_get_current_fiber();
#endif
}

void sys_entered(void) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
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
#if defined(__SANITIZE_THREAD__)
    context->fiber = __tsan_get_current_fiber();
#endif
}

void sys_context_done(struct sys_context *context) {
#if defined(__SANITIZE_THREAD__)
    if (context->fiber)
        __tsan_destroy_fiber(context->fiber);
    context->fiber = NULL;
#else
    (void)context;
#endif
}

#endif
