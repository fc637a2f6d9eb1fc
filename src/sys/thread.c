// SPDX-License-Identifier: MIT
// Threads, mutexes and conditions. Waits with a deadline use the monotonic clock.
#include "sys/sys.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct sys_thread {
    pthread_t id;
    void (*run)(void *);
    void *argument;
};

struct sys_mutex {
    pthread_mutex_t mutex;
};

struct sys_condition {
    pthread_cond_t condition;
};

static void *run_thread(void *argument) {
    struct sys_thread *thread = argument;
    thread->run(thread->argument);
    return NULL;
}

int sys_thread_start(struct sys_thread **thread, void (*run)(void *), void *argument,
                     size_t stack_bytes, const char *name) {
    struct sys_thread *new = memory_allocate_zeroed(sizeof *new);
    if (!new)
        return -ENOMEM;
    new->run = run;
    new->argument = argument;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    // Signals are for the program's own threads. A fault belongs to the thread that makes it: were
    // it blocked, the process would end without a word.
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < countof(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&new->id, &attributes, run_thread, new);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (err != 0) {
        memory_release(new);
        return -err;
    }
    pthread_setname_np(new->id, name);
    *thread = new;
    return 0;
}

void sys_thread_join(struct sys_thread *thread) {
    pthread_join(thread->id, NULL);
    memory_release(thread);
}

void sys_thread_detach(struct sys_thread *thread) {
    pthread_detach(thread->id);
    memory_release(thread);
}

struct sys_mutex *sys_mutex_create(void) {
    struct sys_mutex *mutex = memory_allocate(sizeof *mutex);
    if (mutex)
        pthread_mutex_init(&mutex->mutex, NULL);
    return mutex;
}

void sys_mutex_destroy(struct sys_mutex *mutex) {
    if (!mutex)
        return;
    pthread_mutex_destroy(&mutex->mutex);
    memory_release(mutex);
}

static pthread_mutex_t process_locks[SYS_PROCESS_LOCKS] = {
    [0 ... SYS_PROCESS_LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER};

void sys_process_lock(enum sys_process_lock which) { pthread_mutex_lock(&process_locks[which]); }
void sys_process_unlock(enum sys_process_lock which) {
    pthread_mutex_unlock(&process_locks[which]);
}

void sys_mutex_lock(struct sys_mutex *mutex) { pthread_mutex_lock(&mutex->mutex); }
void sys_mutex_unlock(struct sys_mutex *mutex) { pthread_mutex_unlock(&mutex->mutex); }

struct sys_condition *sys_condition_create(void) {
    struct sys_condition *condition = memory_allocate(sizeof *condition);
    if (!condition)
        return NULL;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&condition->condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return condition;
}

void sys_condition_destroy(struct sys_condition *condition) {
    if (!condition)
        return;
    pthread_cond_destroy(&condition->condition);
    memory_release(condition);
}

bool sys_condition_wait(struct sys_condition *condition, struct sys_mutex *mutex,
                        ac_time deadline) {
    if (deadline == AC_FOREVER) {
        pthread_cond_wait(&condition->condition, &mutex->mutex);
        return true;
    }
    struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    return pthread_cond_timedwait(&condition->condition, &mutex->mutex, &until) == 0;
}

void sys_condition_signal(struct sys_condition *condition) {
    pthread_cond_signal(&condition->condition);
}

void sys_condition_signal_all(struct sys_condition *condition) {
    pthread_cond_broadcast(&condition->condition);
}

bool sys_barrier_offered(void) {
#if defined(__SANITIZE_THREAD__)
    return false; // ThreadSanitizer does not know of it
#endif
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void sys_barrier(void) { (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0); }
