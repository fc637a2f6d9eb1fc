// SPDX-License-Identifier: MIT
// The context switch for aarch64 (AAPCS64).
//
// Saved are x19 to x30 and d8 to d15, what a called function must keep; the switch ends in an
// indirect jump (br), not in a return, for the reason told in switch_x86_64.S. The functions begin
// with a landing pad for branch target identification (hint #34), a no-operation elsewhere.
//
// `to` stays where a second word of a result lies, x1, for sys_context_switch_apart.
//
// A parked stack:   sp -> x19 ... x30, in pairs, then d8 ... d15
    .text

// Twice the same code. A processor guesses where an indirect jump leads by the place of the jump
// and by what went before: who always rests at one place gets a jump of his own (see sys.h).
    .macro context_switch name
    .globl \name
    .hidden \name
    .type \name, %function
    .p2align 4
\name:
    .cfi_startproc
    hint #34
    sub sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    ldr x9, [x1]
    ldr w0, [x1, #8]
    mov sp, x9
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    .cfi_restore x29
    .cfi_restore x30
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    .cfi_adjust_cfa_offset -160
    br x30
    .cfi_endproc
    .size \name, . - \name
    .endm

// int sys_context_switch(struct sys_context *from, struct sys_context *to)
    context_switch sys_context_switch

// struct sys_turn sys_context_switch_apart(struct sys_context *from, struct sys_context *to)
    context_switch sys_context_switch_apart

// Where a new context starts (see sys_context_prepare): x19 is the entry function, x20 its
// argument. It ends the backtraces of debuggers and unwinders.
    .globl sys_context_entry
    .hidden sys_context_entry
    .type sys_context_entry, %function
    .p2align 4
sys_context_entry:
    .cfi_startproc
    .cfi_undefined x30
    hint #36
    mov x29, xzr
    mov x30, xzr
    mov x0, x20
    blr x19
    brk #1
    .cfi_endproc
    .size sys_context_entry, . - sys_context_entry

    .section .note.GNU-stack, "", %progbits
