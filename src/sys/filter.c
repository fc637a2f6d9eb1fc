// SPDX-License-Identifier: MIT
// The system calls that a confined process is refused, as a seccomp filter: what looks into other
// processes, changes the computer, mounts, or makes namespaces, and what has had most of the
// kernel's faults and no use in a job (bpf, io_uring, userfaultfd, keys). Also the shared memory,
// semaphores and queues of System V and the queues of POSIX: they belong to no process, so they
// would stay, and a job could reach those of others, which no rule of Landlock covers. Likewise
// modes of files that would let others become the user (setuid, setgid): such a file in a job's
// folder would be a way around all this for whoever finds it. They give EPERM; clone3 and openat2,
// whose flags a filter cannot see, give ENOSYS, whereupon programs take clone and openat.
//
// A filter of its own refuses Unix sockets, where that is wished: a filter does not see paths, so
// whoever may make such a socket may connect it to any service whose own permissions allow it.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/sandbox_private.h"

#include <errno.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE

enum {
    FOREIGN_CALLS = 0x40000000, // of another ABI of the same processor
    NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                 CLONE_NEWPID | CLONE_NEWNET,
    // Numbers that are the same everywhere, and newer than some headers.
    OPENAT2 = 437,
    PIDFD_GETFD = 438,
    MOUNT_SETATTR = 442,
    FCHMODAT2 = 452,
    OTHERS_RIGHTS = S_ISUID | S_ISGID,
    MAKES = O_CREAT | (O_TMPFILE & ~O_DIRECTORY) // only then a mode is looked at
};

#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define ANSWER(it) BPF_STMT(BPF_RET | BPF_K, (it))
#define REFUSE(number, err)                                                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(number), 0, 1),                                 \
        ANSWER(SECCOMP_RET_ERRNO | (uint32_t)(err))
#define NO(number) REFUSE(number, EPERM)
// If it is this call its end: refused if one of the bits is set in this argument.
#define NO_BITS(number, argument, bits)                                                            \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(number), 0, 4), LOAD(args[argument]),           \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), 0, 1),                              \
        ANSWER(SECCOMP_RET_ERRNO | EPERM), ANSWER(SECCOMP_RET_ALLOW)
// The same of a call that opens a file, which it may make with the mode in the argument behind.
#define NO_MODE(number, flags, mode)                                                               \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(number), 0, 6), LOAD(args[flags]),              \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)MAKES, 0, 3), LOAD(args[mode]),             \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)OTHERS_RIGHTS, 0, 1),                       \
        ANSWER(SECCOMP_RET_ERRNO | EPERM), ANSWER(SECCOMP_RET_ALLOW)

static const struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN_CALLS, 0, 1),
    ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
#ifndef SYS_ASAN // which traces at the end to find leaks
    NO(SYS_ptrace),
#endif
    NO(SYS_process_vm_readv),
    NO(SYS_process_vm_writev),
    NO(SYS_kcmp),
    NO(PIDFD_GETFD),
    NO(SYS_perf_event_open),
    NO(SYS_bpf),
    NO(SYS_userfaultfd),
    NO(SYS_shmget),
    NO(SYS_shmat),
    NO(SYS_shmctl),
    NO(SYS_semget),
    NO(SYS_semop),
    NO(SYS_semtimedop),
    NO(SYS_semctl),
    NO(SYS_msgget),
    NO(SYS_msgsnd),
    NO(SYS_msgrcv),
    NO(SYS_msgctl),
    NO(SYS_mq_open),
    NO(SYS_mq_unlink),
    NO(SYS_add_key),
    NO(SYS_request_key),
    NO(SYS_keyctl),
    REFUSE(SYS_io_uring_setup, ENOSYS),
    NO(SYS_io_uring_enter),
    NO(SYS_io_uring_register),
    NO(SYS_mount),
    NO(SYS_umount2),
    NO(SYS_pivot_root),
    NO(SYS_chroot),
    NO(SYS_open_tree),
    NO(SYS_move_mount),
    NO(SYS_fsopen),
    NO(SYS_fsconfig),
    NO(SYS_fsmount),
    NO(SYS_fspick),
    NO(MOUNT_SETATTR),
    NO(SYS_setns),
    NO(SYS_unshare),
    NO(SYS_init_module),
    NO(SYS_finit_module),
    NO(SYS_delete_module),
    NO(SYS_kexec_load),
#ifdef SYS_kexec_file_load
    NO(SYS_kexec_file_load),
#endif
    NO(SYS_reboot),
    NO(SYS_swapon),
    NO(SYS_swapoff),
    NO(SYS_acct),
    NO(SYS_quotactl),
    NO(SYS_settimeofday),
    NO(SYS_clock_settime),
    NO(SYS_clock_adjtime),
    NO(SYS_adjtimex),
    NO(SYS_sethostname),
    NO(SYS_setdomainname),
    NO(SYS_syslog),
    NO(SYS_fanotify_init),
    NO(SYS_open_by_handle_at),
    NO(SYS_vhangup),
#ifdef SYS_iopl
    NO(SYS_iopl),
    NO(SYS_ioperm),
#endif
    REFUSE(SYS_clone3, ENOSYS),
    REFUSE(OPENAT2, ENOSYS),
    NO_BITS(SYS_clone, 0, NAMESPACES),
#ifdef SYS_chmod
    NO_BITS(SYS_chmod, 1, OTHERS_RIGHTS),
    NO_BITS(SYS_creat, 1, OTHERS_RIGHTS),
    NO_BITS(SYS_mknod, 1, OTHERS_RIGHTS),
    NO_MODE(SYS_open, 1, 2),
#endif
    NO_BITS(SYS_fchmod, 1, OTHERS_RIGHTS),
    NO_BITS(SYS_fchmodat, 2, OTHERS_RIGHTS),
    NO_BITS(FCHMODAT2, 2, OTHERS_RIGHTS),
    NO_BITS(SYS_mknodat, 2, OTHERS_RIGHTS),
    NO_MODE(SYS_openat, 2, 3),
    ANSWER(SECCOMP_RET_ALLOW),
};

// Pairs of them are connected to each other alone.
static const struct sock_filter unix_sockets[] = {
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
    ANSWER(SECCOMP_RET_ERRNO | EPERM),
    ANSWER(SECCOMP_RET_ALLOW),
};

bool filter_is_there(void) {
    uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

IN_CHILD static int set(const struct sock_filter *it, size_t count) {
    const struct sock_fprog program = {.len = (unsigned short)count,
                                       .filter = (void *)(uintptr_t)it};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

IN_CHILD int filter_set(bool no_unix_sockets) {
    int err = no_unix_sockets ? set(unix_sockets, countof(unix_sockets)) : 0;
    return err ? err : set(filter, countof(filter));
}

#else

bool filter_is_there(void) { return false; }
IN_CHILD int filter_set(bool no_unix_sockets) {
    (void)no_unix_sockets;
    return -ENOSYS;
}

#endif
