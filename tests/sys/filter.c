// SPDX-License-Identifier: MIT
// Tests of src/sys/filter.c: system calls that are refused, and that others are not.
#include "test.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

static void *run_thread(void *argument) { return argument; }

TEST(what_looks_into_others_or_changes_the_computer_is_refused) {
    if (!filter_is_there())
        TEST_SKIP("this kernel has no filters of system calls");
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(filter_set(), 0);
#ifndef SYS_ASAN
    ck_assert_int_eq(ptrace(PTRACE_TRACEME, 0, NULL, NULL), -1);
    ck_assert_int_eq(errno, EPERM);
#endif
    static const long calls[] = {
        SYS_mount,       SYS_bpf,    SYS_perf_event_open, SYS_keyctl,
        SYS_kexec_load,  SYS_setns,  SYS_unshare,         SYS_process_vm_readv,
        SYS_userfaultfd, SYS_reboot, SYS_io_uring_enter,  SYS_shmget,
        SYS_shmat,       SYS_shmctl, SYS_semget,          SYS_semop,
        SYS_semtimedop,  SYS_semctl, SYS_msgget,          SYS_msgsnd,
        SYS_msgrcv,      SYS_msgctl, SYS_mq_open,         SYS_mq_unlink};
    for (size_t i = 0; i < countof(calls); i++) {
        ck_assert_int_eq(syscall(calls[i], -1, -1, -1, -1, -1, -1), -1);
        ck_assert_msg(errno == EPERM, "call %ld gave %d", calls[i], errno);
    }
    ck_assert_int_eq(syscall(SYS_io_uring_setup, 1, NULL), -1);
    ck_assert_int_eq(errno, ENOSYS);
    ck_assert_int_eq(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL), -1);
    ck_assert_int_eq(errno, EPERM);
    // Threads and processes can be had all the same.
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_thread, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
