// SPDX-License-Identifier: MIT
// limit_switch(void **save, void *load): the bare switch between two stacks.
//
// Only what the calling convention lets the callee keep is saved; floating-point control words are
// not. It ends in a jump and not in a return: the processor's return predictor holds the callers of
// the stack that is left, so a return would always be mispredicted.
//
// The saved frame, from the stack pointer up:
//   x86-64    r15 r14 r13 r12 rbx rbp, resume address
//   aarch64   x19..x28, x29, x30 (resume address), d8..d15
    .text
    .globl limit_switch
    .type limit_switch, %function
    .p2align 4
limit_switch:
    .cfi_startproc
#if defined(__x86_64__)
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmpq *%rcx
#elif defined(__aarch64__)
    hint #34
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    br x30
#else
#error "no bare switch for this processor: write one here and its frame in limit.c"
#endif
    .cfi_endproc
    .size limit_switch, . - limit_switch
    .section .note.GNU-stack, "", %progbits
