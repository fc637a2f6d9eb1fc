// SPDX-License-Identifier: MIT
// The context switch for x86-64 (System V ABI).
//
// Saved are the six registers that a called function must keep, and nothing else: the floating-
// point control words belong to the thread (include/asyncoro/coro.h says so). The switch ends in
// an indirect jump and not in a return: the processor's return stack belongs to the context that
// was left, and a mispredicted return costs 7 ns where the whole switch costs 2.5. The object
// carries no CET mark, so that the linker switches shadow stacks off for the program: a switch of
// stacks under them would need a shadow stack for each coroutine.
//
// `to` stays where a second word of a result lies, rdx, for sys_context_switch_apart.
//
// A parked stack:   sp -> r15 r14 r13 r12 rbx rbp (return address)
    .text

// Twice the same code. A processor guesses where an indirect jump leads by the place of the jump
// and by what went before: who always rests at one place gets a jump of his own (see sys.h).
    .macro context_switch name
    .globl \name
    .hidden \name
    .type \name, @function
    .p2align 6
\name:
    .cfi_startproc
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    movl 8(%rsi), %eax
    movq %rsi, %rdx
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    jmp *%rcx
    .cfi_endproc
    .size \name, . - \name
    .endm

// int sys_context_switch(struct sys_context *from, struct sys_context *to)
    context_switch sys_context_switch

// struct sys_turn sys_context_switch_apart(struct sys_context *from, struct sys_context *to)
    context_switch sys_context_switch_apart

// Where a new context starts (see sys_context_prepare): r12 is the entry function, r13 its
// argument. It ends the backtraces of debuggers and unwinders.
    .globl sys_context_entry
    .hidden sys_context_entry
    .type sys_context_entry, @function
    .p2align 4
sys_context_entry:
    .cfi_startproc
    .cfi_undefined rip
    xorl %ebp, %ebp
    movq %r13, %rdi
    callq *%r12
    ud2
    .cfi_endproc
    .size sys_context_entry, . - sys_context_entry

    .section .note.GNU-stack, "", @progbits
