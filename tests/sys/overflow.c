// SPDX-License-Identifier: MIT
// Tests of src/sys/overflow.c: the message of a process whose coroutine overflows its stack, and
// what becomes of other faults. Each fault happens in a child process.
#include "coro/coro.h"
#include "sys/stack_private.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char message[16384]; // what the child wrote to standard error
static int status;          // how it ended

static void run_child(void (*run)(void)) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], message + length, sizeof message - 1 - length)) > 0)
        length += (size_t)got;
    message[length] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
}

static void must_end_by(int number) {
#ifdef SYS_SANITIZED
    (void)number; // the sanitizer's own handler reports the fault and exits
    ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
#else
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == number, "status %x: %s", status,
                  message);
#endif
}

static volatile int bottom = -1; // is never reached

static __attribute__((noinline)) int sink(volatile char *block, int depth) {
    volatile char own[512];
    own[0] = block ? block[0] : 0;
    own[511] = (char)depth;
    if (depth == bottom)
        return 0;
    int below = sink(own, depth + 1);
    return below + own[511];
}

static ac_value overflow(ac_value unused) {
    (void)unused;
    return ac_of(sink(NULL, 0));
}

static ac_value nothing(ac_value unused) { return unused; }

static size_t stack_bytes;

static void run_overflow(void) {
    ac_spawn(nothing, ac_nil);
    struct ac_spawn_options how = {
        .size = sizeof how, .name = "glutton", .where = "here.c:7", .stack_bytes = stack_bytes};
    ac_spawn_with(overflow, ac_nil, &how);
    ac_spawn(nothing, ac_nil, .name = "other");
    ac_run();
}

TEST(an_overflow_names_the_coroutine) {
    if (sys_stack_guard() == SYS_GUARD_CANARY)
        TEST_SKIP("stacks have no guards here");
    const size_t sizes[] = {16 << 10, 0, 256 << 10, 1 << 20, 8 << 20};
    for (size_t i = 0; i < countof(sizes); i++) {
        stack_bytes = sizes[i];
        run_child(run_overflow);
        must_end_by(SIGSEGV);
        char expected[256];
        size_t kib = sys_stack_bytes(sys_stack_class(sizes[i])) >> 10;
        snprintf(
            expected, sizeof expected,
            "asyncoro: stack overflow in coroutine #1 'glutton', spawned at here.c:7, stack of "
            "%zu KiB: spawn it with a larger .stack_bytes\n",
            kib);
        ck_assert_msg(strncmp(message, expected, strlen(expected)) == 0, "%s", message);
    }
}

static __attribute__((noinline)) int take_much(void) {
    volatile char block[200 << 10];
    block[0] = 1;
    return block[0];
}

static ac_value one_large_frame(ac_value unused) {
    (void)unused;
    return ac_of(take_much());
}

static void run_large_frame(void) {
    for (int i = 0; i < 10; i++)
        ac_spawn(one_large_frame, ac_nil, .name = "leaper");
    ac_run();
}

TEST(one_large_frame_does_not_leap_over_the_guard) {
    TEST_SKIP_SANITIZED("200 KiB fit into the stacks of a sanitizer");
    run_child(run_large_frame);
    must_end_by(SIGSEGV);
    ck_assert_ptr_nonnull(strstr(message, "'leaper'"));
}

static ac_value yield_then_overflow(ac_value unused) {
    ck_assert_int_eq(ac_yield(), 0);
    return overflow(unused);
}

// The owner of a stack changes when the next coroutine begins on it.
static void run_on_used_stacks(void) {
    for (int i = 0; i < 5; i++)
        ac_spawn(nothing, ac_nil, .name = "former");
    ac_spawn(yield_then_overflow, ac_nil, .name = "glutton");
    ac_spawn(nothing, ac_nil, .name = "later");
    ac_run();
}

TEST(the_present_owner_of_a_used_stack_is_named) {
    run_child(run_on_used_stacks);
    must_end_by(SIGSEGV);
    ck_assert_ptr_nonnull(strstr(message, "coroutine #5 'glutton'"));
}

static void run_overflow_on_thread(void *unused) {
    (void)unused;
    run_overflow();
}

static void run_thread(void) {
    struct sys_thread *thread;
    ac_spawn(nothing, ac_nil);
    sys_thread_start(&thread, run_overflow_on_thread, NULL, 256 << 10, "loop");
    sys_thread_join(thread);
}

TEST(an_overflow_on_another_thread_is_named) {
    stack_bytes = 0;
    run_child(run_thread);
    must_end_by(SIGSEGV);
    ck_assert_ptr_nonnull(strstr(message, "stack overflow in coroutine #1 'glutton'"));
}

// ---- other faults ----

static int *volatile nowhere;

static ac_value fault(ac_value unused) {
    *nowhere = 1;
    return unused;
}

static void run_fault(void) {
    ac_spawn(fault, ac_nil);
    ac_run();
}

TEST(another_fault_is_passed_on_without_a_word) {
    run_child(run_fault);
    must_end_by(SIGSEGV);
    ck_assert_ptr_null(strstr(message, "asyncoro:"));
}

static ac_value send_signal(ac_value number) {
    kill(getpid(), (int)ac_int_of(number));
    return ac_nil;
}

static int number_to_send;

static void run_signal(void) {
    ac_spawn(send_signal, number_to_send);
    ac_run();
}

TEST(a_signal_that_was_sent_is_passed_on) {
    const int numbers[] = {SIGSEGV, SIGBUS};
    for (int i = 0; i < 2; i++) {
        number_to_send = numbers[i];
        run_child(run_signal);
        must_end_by(number_to_send);
        ck_assert_ptr_null(strstr(message, "asyncoro:"));
    }
}

static void exit_42(int number) {
    (void)number;
    _exit(42);
}

static void run_with_own_handler(void) {
    struct sigaction own = {.sa_handler = exit_42, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &own, NULL);
    run_overflow();
}

TEST(the_handler_of_the_program_still_gets_the_fault) {
    stack_bytes = 0;
    run_child(run_with_own_handler);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    ck_assert_ptr_nonnull(strstr(message, "stack overflow in coroutine #1 'glutton'"));
}

// ---- the alternative signal stack ----

static size_t describe_nothing(const void *owner, char *text, size_t bytes) {
    (void)owner, (void)text, (void)bytes;
    return 0;
}

TEST(the_thread_gets_a_signal_stack_as_long_as_it_is_needed) {
    stack_t none = {.ss_flags = SS_DISABLE}, now;
    ck_assert_int_eq(sigaltstack(&none, NULL), 0);
    ck_assert_int_eq(sys_overflow_watch(describe_nothing), 0);
    ck_assert_int_eq(sys_overflow_watch(describe_nothing), 0);
    sigaltstack(NULL, &now);
    ck_assert_int_eq(now.ss_flags, 0);
    sys_overflow_unwatch();
    sigaltstack(NULL, &now);
    ck_assert_int_eq(now.ss_flags, 0);
    sys_overflow_unwatch();
    sigaltstack(NULL, &now);
    ck_assert_int_eq(now.ss_flags, SS_DISABLE);
}

TEST(the_programs_own_signal_stack_is_left_alone) {
    static char memory[65536];
    stack_t own = {.ss_sp = memory, .ss_size = sizeof memory}, now;
    ck_assert_int_eq(sigaltstack(&own, NULL), 0);
    ck_assert_int_eq(sys_overflow_watch(describe_nothing), 0);
    sigaltstack(NULL, &now);
    ck_assert_ptr_eq(now.ss_sp, memory);
    sys_overflow_unwatch();
    sigaltstack(NULL, &now);
    ck_assert_ptr_eq(now.ss_sp, memory);
}

TEST(without_memory_for_a_signal_stack_there_is_an_error) {
    stack_t none = {.ss_flags = SS_DISABLE};
    ck_assert_int_eq(sigaltstack(&none, NULL), 0);
    memory_fail_nth(1);
    ck_assert_int_eq(sys_overflow_watch(describe_nothing), -ENOMEM);
    ck_assert_int_eq(sys_overflow_watch(describe_nothing), 0);
    sys_overflow_unwatch();
}

// ---- a stack without a guard page ----

static ac_value damage_the_canary(ac_value unused) {
    struct coro *self = coro_here();
    // As if this stack had no guard page: in its place comes one of zeros.
    sys_slab_find(self->stack)->guarded = 0;
    loop_here->stacks.checks |= SYS_STACK_CANARIES;
    void *low = sys_stack_low(self->stack, self->stack_class);
    ck_assert_ptr_eq(mmap(low, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     low);
    return unused;
}

static void run_canary(void) {
    ac_spawn(damage_the_canary, ac_nil);
    ac_run();
}

TEST(a_damaged_canary_ends_the_program) {
    run_child(run_canary);
    must_end_by(SIGABRT);
}
