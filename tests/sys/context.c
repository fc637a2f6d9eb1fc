// SPDX-License-Identifier: MIT
// Tests of src/sys/context.c and the switches in assembler: arguments, results, alignment,
// registers.
#include "sys/sys.h"
#include "test.h"

#include <stdio.h>

static struct sys_stacks stacks;
static struct sys_context home, other;
static void *stack;
static int rounds;

static void prepare(void (*entry)(void *), void *argument) {
    if (!stack) {
        sys_stacks_init(&stacks);
        sys_context_of_thread(&home);
        stack = sys_stack_take(&stacks, 3);
    }
    sys_context_prepare(&other, stack, 3, entry, argument);
}

static void answer(void *argument) {
    sys_entered();
    ck_assert_ptr_eq(argument, &rounds);
    ck_assert_uint_eq((uintptr_t)__builtin_frame_address(0) % 16, 0);
    for (;;) {
        rounds++;
        home.result = rounds * 10;
        ck_assert_int_eq(sys_switch(&other, &home), -rounds);
    }
}

TEST(a_context_goes_on_where_it_left_with_the_result_that_was_set) {
    prepare(answer, &rounds);
    for (int i = 1; i <= 1000; i++) {
        ck_assert_int_eq(sys_switch(&home, &other), i * 10);
        ck_assert_int_eq(rounds, i);
        other.result = -i;
    }
}

static void leave_at_once(void *argument) {
    sys_entered();
    (*(int *)argument)++;
    home.result = 5;
    sys_switch_apart(&other, &home);
}

TEST(a_context_that_ends_leaves_its_stack_for_the_next) {
    int count = 0;
    for (int i = 1; i <= 100; i++) {
        prepare(leave_at_once, &count);
        ck_assert_int_eq(sys_switch(&home, &other), 5);
        ck_assert_int_eq(count, i);
    }
}

TEST(the_word_at_the_top_is_left_alone) {
    int count = 0;
    prepare(leave_at_once, &count);
    sys_stack_own(stack, &count);
    sys_switch(&home, &other);
    ck_assert_ptr_eq(*(void **)stack, &count);
}

static void note_as_who(void *argument) {
    sys_entered();
    for (;;)
        *(struct sys_context **)argument = sys_switch_apart(&other, &home).as;
}

TEST(who_parks_apart_learns_as_which_context_it_goes_on) {
    struct sys_context *seen = NULL, heir;
    prepare(note_as_who, &seen);
    sys_switch(&home, &other);
    ck_assert_ptr_null(seen);
    sys_switch(&home, &other);
    ck_assert_ptr_eq(seen, &other);
    sys_context_take_over(&heir, &other);
    sys_switch(&home, &heir);
    ck_assert_ptr_eq(seen, &heir);
}

static void switch_to_itself(void *argument) {
    sys_entered();
    for (int i = 0; i < 10; i++) {
        other.result = i;
        ck_assert_int_eq(sys_switch(&other, &other), i);
    }
    *(int *)argument = 1;
    sys_switch_apart(&other, &home);
}

TEST(a_context_may_switch_to_itself) {
    int done = 0;
    prepare(switch_to_itself, &done);
    sys_switch(&home, &other);
    ck_assert_int_eq(done, 1);
}

static void format_reals(void *argument) {
    sys_entered();
    // Needs an aligned stack: it stores vector registers.
    snprintf(argument, 64, "%.3f %Lg %d", 1.5, (long double)2.25, 7);
    sys_switch_apart(&other, &home);
}

TEST(a_new_stack_is_aligned_for_the_c_library) {
    char text[64] = "";
    prepare(format_reals, text);
    sys_switch(&home, &other);
    ck_assert_str_eq(text, "1.500 2.25 7");
}

#ifdef __x86_64__

static void spoil_registers(void *argument) {
    (void)argument;
    for (;;) {
        asm volatile("movq $-1, %%rbx\n\tmovq $-2, %%r12\n\tmovq $-3, %%r13\n\t"
                     "movq $-4, %%r14\n\tmovq $-5, %%r15\n\t"
                     :
                     :
                     : "rbx", "r12", "r13", "r14", "r15");
        sys_context_switch(&other, &home);
    }
}

// Fills the registers that a called function must keep, switches, and stores what they hold then.
static void switch_with(uint64_t seed, uint64_t found[6]) {
    struct sys_context *from = &home, *to = &other;
    asm volatile("leaq -128(%%rsp), %%rsp\n\t" // beyond the red zone
                 "pushq %%rbp\n\t"
                 "pushq %[found]\n\t"
                 "leaq 1(%[seed]), %%rbx\n\t"
                 "leaq 2(%[seed]), %%r12\n\t"
                 "leaq 3(%[seed]), %%r13\n\t"
                 "leaq 4(%[seed]), %%r14\n\t"
                 "leaq 5(%[seed]), %%r15\n\t"
                 "leaq 6(%[seed]), %%rbp\n\t"
                 "call sys_context_switch\n\t"
                 "popq %[found]\n\t"
                 "movq %%rbx, (%[found])\n\t"
                 "movq %%r12, 8(%[found])\n\t"
                 "movq %%r13, 16(%[found])\n\t"
                 "movq %%r14, 24(%[found])\n\t"
                 "movq %%r15, 32(%[found])\n\t"
                 "movq %%rbp, 40(%[found])\n\t"
                 "popq %%rbp\n\t"
                 "leaq 128(%%rsp), %%rsp\n\t"
                 : "+D"(from), "+S"(to), [found] "+d"(found), [seed] "+a"(seed)
                 :
                 : "rcx", "r8", "r9", "r10", "r11", "rbx", "r12", "r13", "r14", "r15", "xmm0",
                   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
}

TEST(the_registers_of_the_caller_survive) {
    TEST_SKIP_SANITIZED("a sanitizer must be told of each switch");
    prepare(spoil_registers, NULL);
    for (uint64_t seed = 1; seed < 1u << 31; seed *= 3) {
        uint64_t found[6] = {0};
        switch_with(seed, found);
        for (uint64_t i = 0; i < 6; i++)
            ck_assert_uint_eq(found[i], seed + 1 + i);
    }
}

#endif

// Ten contexts, each with live reals, switch in a ring.
enum { RING = 10, TURNS = 100 };
static struct sys_context ring[RING];
static int ended;

static __attribute__((noinline)) double compute(int me, bool switching) {
    double a = me, b = me * 0.5, c = me * 0.25, d = me + 1, e = me + 2, f = me + 3, g = 1, h = 2;
    for (int i = 0; i < TURNS; i++) {
        if (switching)
            sys_switch(&ring[me], &ring[(me + 1) % RING]);
        a += b, b += c, c += d * 1e-3, d += e * 1e-3, e += f * 1e-3, f += g, g += h, h += 0.5;
    }
    return a + b + c + d + e + f + g + h;
}

static void compute_in_ring(void *argument) {
    sys_entered();
    int me = (int)((struct sys_context *)argument - ring);
    ck_assert(compute(me, true) == compute(me, false));
    ended++;
    if (me == RING - 1)
        sys_switch_apart(&ring[me], &home);
    sys_switch_apart(&ring[me], &ring[me + 1]);
}

TEST(reals_survive) {
    prepare(leave_at_once, NULL);
    for (int i = 0; i < RING; i++)
        sys_context_prepare(&ring[i], sys_stack_take(&stacks, 3), 2, compute_in_ring, &ring[i]);
    sys_switch(&home, &ring[0]);
    ck_assert_int_eq(ended, RING);
}
