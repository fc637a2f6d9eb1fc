// SPDX-License-Identifier: MIT
// The calls into the C library that the library's floors make, so that each can fail. The linker
// puts these in their places (--wrap in tests/meson.build) in the programs of this folder; the
// library is the one that all use.
//
// What cannot fail with right arguments is not here: clocks, signal masks, the locks of pthreads,
// poll with no time to wait, munmap and epoll_ctl that undo, reading and writing an eventfd.
//
// EAGAIN from a registered descriptor is a promise that an edge will follow; here it is kept by
// registering the descriptor anew, which gives one if it is ready.
#include "faults.h"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DESCRIPTORS = 1024 };

static struct {
    bool armed; // atomic, as is the rest but for `kind`, which stays while threads run
    enum fault_kind kind;
    long left; // calls until the fault comes
    const char *what;
    long blocks;
} fault;

static struct {
    int poller; // plus one, so that zero is none
    struct epoll_event event;
    bool bell; // an eventfd
} known[DESCRIPTORS];

void faults_arm(enum fault_kind kind, long n) {
    fault.kind = kind;
    __atomic_store_n(&fault.what, NULL, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fault.left, n, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fault.armed, n > 0, __ATOMIC_SEQ_CST);
}

void faults_disarm(void) { __atomic_store_n(&fault.armed, false, __ATOMIC_SEQ_CST); }

const char *faults_what(void) { return __atomic_load_n(&fault.what, __ATOMIC_SEQ_CST); }
long faults_blocks(void) { return __atomic_load_n(&fault.blocks, __ATOMIC_SEQ_CST); }

__attribute__((noinline)) void faults_come(void) { __asm__ volatile(""); }

static bool comes(enum fault_kind kind, const char *what) {
    if (!__atomic_load_n(&fault.armed, __ATOMIC_SEQ_CST) || fault.kind != kind)
        return false;
    long left = __atomic_sub_fetch(&fault.left, 1, __ATOMIC_SEQ_CST);
    if (left == 0) {
        __atomic_store_n(&fault.what, what, __ATOMIC_SEQ_CST);
        faults_come();
    }
    return left == 0 || (left < 0 && kind == FAULT_MEMORY_GONE);
}

static bool no_memory(const char *what) {
    return comes(FAULT_MEMORY, what) || comes(FAULT_MEMORY_GONE, what);
}

// ---- memory ----

static void *counted(void *block) {
    if (block)
        __atomic_fetch_add(&fault.blocks, 1, __ATOMIC_SEQ_CST);
    return block;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes) {
    return no_memory("malloc") ? NULL : counted(__real_malloc(bytes));
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes) {
    return no_memory("calloc") ? NULL : counted(__real_calloc(count, bytes));
}

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return no_memory("aligned_alloc") ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes) {
    if (no_memory("realloc"))
        return NULL;
    return old ? __real_realloc(old, bytes) : counted(__real_realloc(old, bytes));
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block) {
    if (block)
        __atomic_fetch_sub(&fault.blocks, 1, __ATOMIC_SEQ_CST);
    __real_free(block);
}

// ---- descriptors ----

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS)
        memset(&known[fd], 0, sizeof known[fd]);
    return __real_close(fd);
}

int __real_eventfd(unsigned start, int flags);
int __wrap_eventfd(unsigned start, int flags);
int __wrap_eventfd(unsigned start, int flags) {
    if (comes(FAULT_CALL, "eventfd")) {
        errno = EMFILE;
        return -1;
    }
    int fd = __real_eventfd(start, flags);
    if (fd >= 0 && fd < DESCRIPTORS)
        known[fd].bell = true;
    return fd;
}

int __real_epoll_ctl(int poller, int verb, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int poller, int verb, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int poller, int verb, int fd, struct epoll_event *event) {
    bool adds = verb == EPOLL_CTL_ADD;
    if (adds && comes(FAULT_CALL, "epoll_ctl")) {
        errno = ENOSPC;
        return -1;
    }
    int result = __real_epoll_ctl(poller, verb, fd, event);
    if (result == 0 && fd < DESCRIPTORS) {
        known[fd].poller = adds ? poller + 1 : 0;
        if (adds)
            known[fd].event = *event;
    }
    return result;
}

int __real_fcntl64(int fd, int verb, long argument);
int __real_fstat64(int fd, struct stat64 *to);

static bool may_wait(int fd) {
    struct stat64 facts;
    return (__real_fcntl64(fd, F_GETFL, 0) & O_NONBLOCK) && __real_fstat64(fd, &facts) == 0 &&
           !S_ISREG(facts.st_mode);
}

// Whether a call on the descriptor gives EAGAIN, and an edge comes.
static bool would_wait(int fd, const char *what) {
    if (!may_wait(fd) || !comes(FAULT_WAIT, what))
        return false;
    if (fd < DESCRIPTORS && known[fd].poller)
        __real_epoll_ctl(known[fd].poller - 1, EPOLL_CTL_MOD, fd, &known[fd].event);
    errno = EAGAIN;
    return true;
}

static bool gives(enum fault_kind kind, int err, const char *what) {
    if (!comes(kind, what))
        return false;
    errno = err;
    return true;
}

// ---- calls that fail with -1 and nothing else ----

#define FAILS(type, name, err, parameters, arguments)                                              \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters {                                                                \
        return gives(FAULT_CALL, err, #name) ? (type)-1 : __real_##name arguments;                 \
    }

FAILS(int, epoll_create1, EMFILE, (int flags), (flags))
FAILS(int, socket, EMFILE, (int family, int type, int protocol), (family, type, protocol))
FAILS(int, bind, EADDRINUSE, (int fd, const struct sockaddr *to, socklen_t bytes), (fd, to, bytes))
FAILS(int, listen, EADDRINUSE, (int fd, int backlog), (fd, backlog))
FAILS(int, connect, ENETUNREACH, (int fd, const struct sockaddr *to, socklen_t bytes),
      (fd, to, bytes))
FAILS(int, getsockname, ENOBUFS, (int fd, struct sockaddr *to, socklen_t *bytes), (fd, to, bytes))
FAILS(int, getpeername, ENOTCONN, (int fd, struct sockaddr *to, socklen_t *bytes), (fd, to, bytes))
FAILS(int, shutdown, ENOTCONN, (int fd, int how), (fd, how))
FAILS(int, setsockopt, ENOMEM, (int fd, int level, int name, const void *to, socklen_t bytes),
      (fd, level, name, to, bytes))
FAILS(int, getsockopt, ENOBUFS, (int fd, int level, int name, void *to, socklen_t *bytes),
      (fd, level, name, to, bytes))
FAILS(int, madvise, EINVAL, (void *at, size_t bytes, int advice), (at, bytes, advice))
FAILS(int, mprotect, ENOMEM, (void *at, size_t bytes, int rights), (at, bytes, rights))
FAILS(int, mincore, EAGAIN, (void *at, size_t bytes, unsigned char *to), (at, bytes, to))
FAILS(int, sigaltstack, ENOMEM, (const stack_t *stack, stack_t *old), (stack, old))
FAILS(int, sigaction, EINVAL, (int number, const struct sigaction *action, struct sigaction *old),
      (number, action, old))
FAILS(int, pipe2, EMFILE, (int ends[2], int flags), (ends, flags))

// ---- files and processes ----
//
// What a failure undoes cannot fail here: unlink, close. Some of these are made by a child that
// shares our memory until it runs its program.

FAILS(int, open64, EMFILE, (const char *path, int flags, unsigned mode), (path, flags, mode))
FAILS(int, openat64, EMFILE, (int folder, const char *path, int flags, unsigned mode),
      (folder, path, flags, mode))
FAILS(int, fstat64, EIO, (int fd, struct stat64 *to), (fd, to))
FAILS(int, fstatat64, EIO, (int folder, const char *path, struct stat64 *to, int flags),
      (folder, path, to, flags))
FAILS(int, mkdirat, ENOSPC, (int folder, const char *path, mode_t mode), (folder, path, mode))
FAILS(int, flock, ENOLCK, (int fd, int how), (fd, how))
FAILS(int, linkat, EMLINK, (int from, const char *path, int to, const char *as, int flags),
      (from, path, to, as, flags))
FAILS(int, fstatvfs64, EIO, (int fd, struct statvfs64 *to), (fd, to))
FAILS(int, mkdir, ENOSPC, (const char *path, mode_t mode), (path, mode))
FAILS(int, mkostemp64, ENOSPC, (char *path, int flags), (path, flags))
FAILS(int, fchmod, EPERM, (int fd, mode_t mode), (fd, mode))
FAILS(int, chmod, EPERM, (const char *path, mode_t mode), (path, mode))
FAILS(int, lstat64, EIO, (const char *path, struct stat64 *to), (path, to))
FAILS(int, fsync, EIO, (int fd), (fd))
FAILS(int, renameat2, EIO, (int a, const char *from, int b, const char *to, unsigned flags),
      (a, from, b, to, flags))
FAILS(int, ftruncate64, EIO, (int fd, off64_t bytes), (fd, bytes))
FAILS(int, rename, EIO, (const char *from, const char *to), (from, to))
FAILS(int, remove, EIO, (const char *path), (path))
FAILS(off64_t, lseek64, EIO, (int fd, off64_t offset, int from), (fd, offset, from))
FAILS(int, memfd_create, EMFILE, (const char *name, unsigned flags), (name, flags))
FAILS(int, signalfd, EMFILE, (int fd, const sigset_t *set, int flags), (fd, set, flags))
FAILS(int, dup2, EBUSY, (int from, int to), (from, to))
FAILS(int, setsid, EPERM, (void), ())
FAILS(int, clone, EAGAIN, (int (*run)(void *), void *stack, int flags, void *argument, int *handle),
      (run, stack, flags, argument, handle))
struct ifaddrs;
FAILS(int, getifaddrs, ENOMEM, (struct ifaddrs * *all), (all))

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd) {
    return gives(FAULT_CALL, ENOMEM, "fdopendir") ? NULL : __real_fdopendir(fd);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path) {
    return gives(FAULT_CALL, EMFILE, "opendir") ? NULL : __real_opendir(path);
}

int __real_waitid(idtype_t sort, id_t id, siginfo_t *info, int how);
int __wrap_waitid(idtype_t sort, id_t id, siginfo_t *info, int how);
int __wrap_waitid(idtype_t sort, id_t id, siginfo_t *info, int how) {
    bool waits = !(how & WNOHANG);
    // It is waited for without end only if it has ended: there is no other error then.
    if (waits ? gives(FAULT_INTERRUPTED, EINTR, "waitid") : gives(FAULT_CALL, ECHILD, "waitid"))
        return -1;
    return __real_waitid(sort, id, info, how);
}

ssize_t __real_send(int fd, const void *from, size_t bytes, int flags);

// ---- calls that may also be interrupted or have to wait ----

#define MAY_WAIT(name, err, parameters, fd, arguments)                                             \
    ssize_t __real_##name parameters;                                                              \
    ssize_t __wrap_##name parameters;                                                              \
    ssize_t __wrap_##name parameters {                                                             \
        if (gives(FAULT_CALL, err, #name) || gives(FAULT_INTERRUPTED, EINTR, #name) ||             \
            would_wait(fd, #name))                                                                 \
            return -1;                                                                             \
        return __real_##name arguments;                                                            \
    }

MAY_WAIT(recvfrom, ENOMEM,
         (int fd, void *to, size_t bytes, int flags, struct sockaddr *from, socklen_t *length), fd,
         (fd, to, bytes, flags, from, length))
MAY_WAIT(sendfile64, EIO, (int fd, int from, off64_t *at, size_t bytes), fd,
         (fd, from, at, comes(FAULT_SHORT, "sendfile64") ? 1 : bytes))
MAY_WAIT(writev, EIO, (int fd, const struct iovec *parts, int count), fd, (fd, parts, count))

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags) {
    if (gives(FAULT_CALL, ENOBUFS, "sendmsg") || gives(FAULT_INTERRUPTED, EINTR, "sendmsg") ||
        would_wait(fd, "sendmsg"))
        return -1;
    // Several parts are of a stream, where a few bytes may go alone.
    bool is_short = message->msg_iovlen > 1 && comes(FAULT_SHORT, "sendmsg");
    return is_short ? __real_send(fd, message->msg_iov[0].iov_base, 1, flags)
                    : __real_sendmsg(fd, message, flags);
}

#define MAY_BE_SHORT(name, parameters, arguments, short_arguments)                                 \
    ssize_t __real_##name parameters;                                                              \
    ssize_t __wrap_##name parameters;                                                              \
    ssize_t __wrap_##name parameters {                                                             \
        if (gives(FAULT_CALL, EIO, #name) || gives(FAULT_INTERRUPTED, EINTR, #name))               \
            return -1;                                                                             \
        bool is_short = bytes > 1 && comes(FAULT_SHORT, #name);                                    \
        return is_short ? __real_##name short_arguments : __real_##name arguments;                 \
    }

MAY_BE_SHORT(pread64, (int fd, void *to, size_t bytes, off64_t at), (fd, to, bytes, at),
             (fd, to, 1, at))
MAY_BE_SHORT(pwrite64, (int fd, const void *from, size_t bytes, off64_t at), (fd, from, bytes, at),
             (fd, from, 1, at))

// Reading and writing a file at once, or not: EAGAIN sends the caller to a thread.
#define MAY_NOT_BE_THERE(name)                                                                     \
    ssize_t __real_##name(int fd, const struct iovec *parts, int count, off64_t at, int flags);    \
    ssize_t __wrap_##name(int fd, const struct iovec *parts, int count, off64_t at, int flags);    \
    ssize_t __wrap_##name(int fd, const struct iovec *parts, int count, off64_t at, int flags) {   \
        if (gives(FAULT_CALL, EIO, #name) || gives(FAULT_INTERRUPTED, EINTR, #name) ||             \
            gives(FAULT_WAIT, EAGAIN, #name))                                                      \
            return -1;                                                                             \
        return __real_##name(fd, parts, count, at, flags);                                         \
    }

MAY_NOT_BE_THERE(preadv64v2)
MAY_NOT_BE_THERE(pwritev64v2)

int __real_accept4(int fd, struct sockaddr *from, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *bytes, int flags) {
    if (gives(FAULT_CALL, EMFILE, "accept4") || gives(FAULT_INTERRUPTED, EINTR, "accept4") ||
        would_wait(fd, "accept4"))
        return -1;
    return __real_accept4(fd, from, bytes, flags);
}

static bool is_bell(int fd) { return fd >= 0 && fd < DESCRIPTORS && known[fd].bell; }

ssize_t __real_read(int fd, void *to, size_t bytes);
ssize_t __wrap_read(int fd, void *to, size_t bytes);
ssize_t __wrap_read(int fd, void *to, size_t bytes) {
    if (!is_bell(fd) && (gives(FAULT_CALL, EIO, "read") ||
                         gives(FAULT_INTERRUPTED, EINTR, "read") || would_wait(fd, "read")))
        return -1;
    return __real_read(fd, to, bytes);
}

ssize_t __real_write(int fd, const void *from, size_t bytes);
ssize_t __wrap_write(int fd, const void *from, size_t bytes);
ssize_t __wrap_write(int fd, const void *from, size_t bytes) {
    if (!is_bell(fd) && (gives(FAULT_CALL, EIO, "write") ||
                         gives(FAULT_INTERRUPTED, EINTR, "write") || would_wait(fd, "write")))
        return -1;
    return __real_write(fd, from, bytes);
}

ssize_t __wrap_send(int fd, const void *from, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t bytes, int flags) {
    if (gives(FAULT_CALL, ENOBUFS, "send") || gives(FAULT_INTERRUPTED, EINTR, "send") ||
        would_wait(fd, "send"))
        return -1;
    bool is_short = bytes > 1 && comes(FAULT_SHORT, "send");
    return __real_send(fd, from, is_short ? 1 : bytes, flags);
}

int __real_epoll_pwait2(int fd, struct epoll_event *events, int count, const struct timespec *wait,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int count, const struct timespec *wait,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int count, const struct timespec *wait,
                        const sigset_t *mask) {
    if (gives(FAULT_CALL, ENOMEM, "epoll_pwait2") ||
        gives(FAULT_INTERRUPTED, EINTR, "epoll_pwait2"))
        return -1;
    return __real_epoll_pwait2(fd, events, count, wait, mask);
}

int __real_epoll_wait(int fd, struct epoll_event *events, int count, int wait_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int count, int wait_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int count, int wait_ms) {
    if (gives(FAULT_CALL, ENOMEM, "epoll_wait") || gives(FAULT_INTERRUPTED, EINTR, "epoll_wait"))
        return -1;
    return __real_epoll_wait(fd, events, count, wait_ms);
}

#ifdef SYS_URING
// These give the error as they return, and enter no system call through the C library.
struct io_uring;
struct io_uring_params;

int __real_io_uring_queue_init_params(unsigned count, struct io_uring *ring,
                                      struct io_uring_params *how);
int __wrap_io_uring_queue_init_params(unsigned count, struct io_uring *ring,
                                      struct io_uring_params *how);
int __wrap_io_uring_queue_init_params(unsigned count, struct io_uring *ring,
                                      struct io_uring_params *how) {
    if (comes(FAULT_CALL, "io_uring_queue_init_params"))
        return -EMFILE;
    return __real_io_uring_queue_init_params(count, ring, how);
}

int __real_io_uring_register(unsigned fd, unsigned verb, const void *argument, unsigned count);
int __wrap_io_uring_register(unsigned fd, unsigned verb, const void *argument, unsigned count);
int __wrap_io_uring_register(unsigned fd, unsigned verb, const void *argument, unsigned count) {
    if (comes(FAULT_CALL, "io_uring_register"))
        return -EACCES;
    return __real_io_uring_register(fd, verb, argument, count);
}

// EBUSY: it has submitted nothing and waited for nothing.
int __real_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *how, size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *how, size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *how, size_t bytes) {
    if (comes(FAULT_CALL, "io_uring_enter2"))
        return -ENOMEM;
    if (comes(FAULT_INTERRUPTED, "io_uring_enter2"))
        return -EINTR;
    if (comes(FAULT_WAIT, "io_uring_enter2"))
        return -EBUSY;
    return __real_io_uring_enter2(fd, submit, wait, flags, how, bytes);
}
#endif

ssize_t __real_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags) {
    if (gives(FAULT_CALL, ENOSYS, "getrandom") || gives(FAULT_INTERRUPTED, EINTR, "getrandom"))
        return -1;
    bool is_short = bytes > 1 && comes(FAULT_SHORT, "getrandom");
    return __real_getrandom(to, is_short ? 1 : bytes, flags);
}

// ---- calls with ways of their own to fail ----

void *__real_mmap64(void *at, size_t bytes, int rights, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int rights, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int rights, int flags, int fd, off_t offset) {
    if (gives(FAULT_CALL, ENOMEM, "mmap"))
        return MAP_FAILED;
    return __real_mmap64(at, bytes, rights, flags, fd, offset);
}

// The library has no other use of its third argument than a number.
int __wrap_fcntl64(int fd, int verb, long argument);
int __wrap_fcntl64(int fd, int verb, long argument) {
    if (gives(FAULT_CALL, EMFILE, "fcntl"))
        return -1;
    return __real_fcntl64(fd, verb, argument);
}

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode) {
    return gives(FAULT_CALL, EMFILE, "fopen") ? NULL : __real_fopen64(path, mode);
}

int __real_pthread_create(pthread_t *id, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument) {
    if (comes(FAULT_CALL, "pthread_create"))
        return EAGAIN;
    return __real_pthread_create(id, how, run, argument);
}

int __real_sem_wait(sem_t *bell);
int __wrap_sem_wait(sem_t *bell);
int __wrap_sem_wait(sem_t *bell) {
    return gives(FAULT_INTERRUPTED, EINTR, "sem_wait") ? -1 : __real_sem_wait(bell);
}

int __real_sem_clockwait(sem_t *bell, clockid_t clock, const struct timespec *until);
int __wrap_sem_clockwait(sem_t *bell, clockid_t clock, const struct timespec *until);
int __wrap_sem_clockwait(sem_t *bell, clockid_t clock, const struct timespec *until) {
    return gives(FAULT_INTERRUPTED, EINTR, "sem_clockwait")
               ? -1
               : __real_sem_clockwait(bell, clock, until);
}

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found) {
    if (no_memory("getaddrinfo"))
        return EAI_MEMORY;
    if (comes(FAULT_CALL, "getaddrinfo"))
        return EAI_AGAIN;
    return __real_getaddrinfo(host, service, hints, found);
}

// Through this one the library asks for barriers, which cannot fail once it has them, and for the
// ends of processes.
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
    enum { REGISTER_PRIVATE_EXPEDITED = 16 };
    if (number == SYS_membarrier && a == REGISTER_PRIVATE_EXPEDITED &&
        gives(FAULT_CALL, ENOSYS, "membarrier"))
        return -1;
    if (number == SYS_waitid && gives(FAULT_CALL, ECHILD, "waitid"))
        return -1;
    return __real_syscall(number, a, b, c, d, e, f);
}
