// SPDX-License-Identifier: MIT
// Has the kernel refuse a system call to this process, as containers do.
#ifndef TESTS_SYS_FILTER_H
#define TESTS_SYS_FILTER_H

#include <check.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define FILTER_ERROR(err) (SECCOMP_RET_ERRNO | (unsigned)(err))

// From now on call `number` gives what `answer` says: FILTER_ERROR(errno value), or
// SECCOMP_RET_KILL_PROCESS.
static inline void filter(unsigned number, unsigned answer) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

#endif
