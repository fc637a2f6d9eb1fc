// SPDX-License-Identifier: MIT
// Tests of src/sys/filter.c: system calls that are refused, and that others are not.
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

static void *run_thread(void *argument) { return argument; }

TEST(what_looks_into_others_or_changes_the_computer_is_refused) {
    if (!filter_is_there())
        TEST_SKIP("this kernel has no filters of system calls");
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(filter_set(false), 0);
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
    ck_assert_int_eq(syscall(437, -1, NULL, NULL, 0), -1); // openat2
    ck_assert_int_eq(errno, ENOSYS);
    // Threads and processes can be had all the same.
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_thread, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

static void ck_refused(long result) {
    ck_assert_int_eq(result, -1);
    ck_assert_int_eq(errno, EPERM);
}

TEST(no_file_lets_others_become_its_user) {
    char folder[TEST_TEMPLATE_BYTES], path[TEST_TEMPLATE_BYTES + 8];
    if (!filter_is_there())
        TEST_SKIP("this kernel has no filters of system calls");
    test_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(filter_set(false), 0);
    static const mode_t bad[] = {04700, 02700, 06700};
    for (size_t i = 0; i < countof(bad); i++) {
        ck_refused(open(path, O_RDWR | O_CREAT, bad[i]));
        ck_refused(openat(AT_FDCWD, path, O_RDWR | O_CREAT, bad[i]));
        ck_refused(creat(path, bad[i]));
        ck_refused(open(folder, O_RDWR | O_TMPFILE, bad[i]));
        ck_refused(mknod(path, bad[i] | S_IFREG, 0));
        ck_refused(syscall(SYS_mknodat, AT_FDCWD, path, bad[i] | S_IFREG, 0));
    }
    // Others are made, and where none is made nobody looks at a mode.
    int fd = open(path, O_RDWR | O_CREAT, 01700);
    ck_assert_int_ge(fd, 0);
    close((int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 06000));
    for (size_t i = 0; i < countof(bad); i++) {
        ck_refused(fchmod(fd, bad[i]));
        ck_refused(chmod(path, bad[i]));
        ck_refused(fchmodat(AT_FDCWD, path, bad[i], 0));
        ck_refused(syscall(452, AT_FDCWD, path, bad[i], 0)); // fchmodat2
    }
    ck_assert_int_eq(chmod(path, 0755), 0);
    ck_assert_int_eq(fchmod(fd, 0700), 0);
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

TEST(unix_sockets_are_refused_where_that_is_wished) {
    int both[2];
    if (!filter_is_there())
        TEST_SKIP("this kernel has no filters of system calls");
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_ge(socket(AF_UNIX, SOCK_STREAM, 0), 0);
    ck_assert_int_eq(filter_set(true), 0);
    ck_refused(socket(AF_UNIX, SOCK_STREAM, 0));
    ck_refused(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ck_refused(syscall(SYS_bpf, -1, NULL, 0)); // the other filter is there too
    ck_assert_int_ge(socket(AF_INET, SOCK_STREAM, 0), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, both), 0);
}
