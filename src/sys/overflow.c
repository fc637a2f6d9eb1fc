// SPDX-License-Identifier: MIT
// Says which coroutine overflowed its stack, where others only say "Segmentation fault".
//
// A fault in the guard page of a stack runs the handler on the alternative signal stack of the
// thread; it writes one line to standard error, naming the owner of the stack, and lets the fault
// happen again with the action that the program had before, so that the process ends (or is
// examined) as after any other fault. Other faults are passed on likewise, without a word.
#include "sys/stack_private.h"
#include "sys/sys.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIGNAL_STACK_BYTES = 64 * 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed;
static struct sigaction before[2]; // what SIGSEGV and SIGBUS did
static size_t (*describe_owner)(const void *owner, char *text, size_t bytes);
static _Thread_local void *signal_stack; // of this thread, if we gave it one
static _Thread_local int watchers;       // loops of this thread that asked for it

static void handle_fault(int number, siginfo_t *info, void *context);
static void report(const struct sys_slab *slab, const char *address);

int sys_overflow_watch(size_t (*describe)(const void *owner, char *text, size_t bytes)) {
    if (watchers++ == 0) {
        stack_t old;
        if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE)) {
            signal_stack = memory_allocate(SIGNAL_STACK_BYTES);
            stack_t own = {.ss_sp = signal_stack, .ss_size = SIGNAL_STACK_BYTES};
            if (!signal_stack || sigaltstack(&own, NULL) != 0) {
                memory_release(signal_stack);
                signal_stack = NULL;
                watchers--;
                return -ENOMEM;
            }
        }
    }
    pthread_mutex_lock(&lock);
    if (!installed) {
        describe_owner = describe;
        struct sigaction action = {.sa_sigaction = handle_fault,
                                   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        sigemptyset(&action.sa_mask);
        sigaction(SIGSEGV, &action, &before[0]);
        sigaction(SIGBUS, &action, &before[1]);
        installed = true;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

void sys_overflow_unwatch(void) {
    if (--watchers > 0 || !signal_stack)
        return;
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    memory_release(signal_stack);
    signal_stack = NULL;
}

static void handle_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    const char *address = info->si_addr;
    // si_code > 0: the kernel's own fault and not a signal that somebody sent.
    struct sys_slab *slab = info->si_code > 0 ? sys_slab_find(address) : NULL;
    if (slab)
        report(slab, address);
    // The faulting instruction runs again, now under the action from before; what somebody sent is
    // sent again.
    sigaction(number, &before[number == SIGBUS], NULL);
    if (info->si_code <= 0)
        raise(number);
}

static void tell(const void *owner) {
    char text[512];
    const char head[] = "asyncoro: stack overflow in ";
    memcpy(text, head, sizeof head - 1);
    size_t length = sizeof head - 1;
    length += describe_owner(owner, text + length, sizeof text - length - 1);
    text[length++] = '\n';
    if (write(STDERR_FILENO, text, length) < 0)
        return; // nothing can be done about it here
}

_Noreturn void sys_stack_overflowed(const void *owner) {
    tell(owner);
    abort(); // the stacks of others are damaged: going on would spread it
}

static void report(const struct sys_slab *slab, const char *address) {
    size_t span = sys_stack_span(slab->class);
    size_t index = (size_t)(address - slab->base) / span;
    size_t offset = (size_t)(address - slab->base) % span;
    if (index >= slab->cut || offset >= (size_t)sysconf(_SC_PAGESIZE))
        return; // a fault on a stack, but not in a guard
    tell(*(const void **)sys_stack_top_at(slab, index));
}
