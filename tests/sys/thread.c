// SPDX-License-Identifier: MIT
// Tests of src/sys/thread.c: threads, mutexes and conditions.
#include "sys/sys.h"
#include "test.h"

#include <pthread.h>
#include <sched.h>

static struct sys_mutex *mutex;
static struct sys_condition *condition;
static int count;

static void make(void) {
    mutex = sys_mutex_create();
    condition = sys_condition_create();
    ck_assert(mutex && condition);
}

static void unmake(void) {
    sys_condition_destroy(condition);
    sys_mutex_destroy(mutex);
}

static void start(struct sys_thread **thread, void (*run)(void *), void *argument) {
    ck_assert_int_eq(sys_thread_start(thread, run, argument, 256 << 10, "test"), 0);
}

struct looks {
    char name[16];
    size_t stack_bytes;
    sigset_t blocked;
};

static void look(void *argument) {
    struct looks *looks = argument;
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    void *low;
    pthread_attr_getstack(&attributes, &low, &looks->stack_bytes);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_BLOCK, NULL, &looks->blocked);
    // The name is given by the one who started this thread.
    for (int i = 0; i < 1000000; i++) {
        pthread_getname_np(pthread_self(), looks->name, sizeof looks->name);
        if (strcmp(looks->name, "ac-test") == 0)
            break;
        sched_yield();
    }
}

TEST(a_thread_has_a_name_a_stack_and_hears_of_its_faults_only) {
    struct looks looks;
    struct sys_thread *thread;
    ck_assert_int_eq(sys_thread_start(&thread, look, &looks, 512 << 10, "ac-test"), 0);
    sys_thread_join(thread);
    ck_assert_str_eq(looks.name, "ac-test");
    ck_assert_uint_ge(looks.stack_bytes, 512 << 10);
    const int ours[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGPIPE, SIGALRM};
    for (size_t i = 0; i < countof(ours); i++)
        ck_assert(sigismember(&looks.blocked, ours[i]));
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < countof(faults); i++)
        ck_assert(!sigismember(&looks.blocked, faults[i]));
    sigset_t own;
    pthread_sigmask(SIG_BLOCK, NULL, &own);
    ck_assert(!sigismember(&own, SIGINT)); // the starter's mask is what it was
}

TEST(a_thread_without_memory_does_not_start) {
    struct sys_thread *thread = NULL;
    memory_fail_nth(1);
    ck_assert_int_eq(sys_thread_start(&thread, look, NULL, 64 << 10, "test"), -ENOMEM);
    ck_assert_ptr_null(thread);
    memory_fail_nth(1);
    ck_assert_ptr_null(sys_mutex_create());
    memory_fail_nth(1);
    ck_assert_ptr_null(sys_condition_create());
    sys_mutex_destroy(NULL);
    sys_condition_destroy(NULL);
}

static void count_up(void *unused) {
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        sys_mutex_lock(mutex);
        count++;
        sys_mutex_unlock(mutex);
    }
}

TEST(a_mutex_keeps_others_out) {
    make();
    struct sys_thread *threads[3];
    for (int i = 0; i < 3; i++)
        start(&threads[i], count_up, NULL);
    for (int i = 0; i < 3; i++)
        sys_thread_join(threads[i]);
    ck_assert_int_eq(count, 60000);
    unmake();
}

TEST(a_condition_waits_until_the_deadline) {
    make();
    sys_mutex_lock(mutex);
    ac_time begun = sys_clock();
    while (sys_condition_wait(condition, mutex, begun + 50000000))
        continue;
    ck_assert_int_ge(sys_clock() - begun, 50000000);
    ck_assert_int_lt(sys_clock() - begun, TEST_PATIENCE_S * 1000000000LL);
    ck_assert(!sys_condition_wait(condition, mutex, AC_NOW));
    ck_assert(!sys_condition_wait(condition, mutex, sys_clock() - 1));
    sys_mutex_unlock(mutex);
    unmake();
}

static void signal_once(void *unused) {
    (void)unused;
    sys_mutex_lock(mutex);
    count = 1;
    sys_condition_signal(condition);
    sys_mutex_unlock(mutex);
}

TEST(a_signal_ends_the_wait) {
    const ac_time deadlines[] = {AC_FOREVER, sys_clock() + 20000000000};
    for (int i = 0; i < 2; i++) {
        make();
        count = 0;
        struct sys_thread *thread;
        sys_mutex_lock(mutex);
        start(&thread, signal_once, NULL);
        while (count == 0)
            ck_assert(sys_condition_wait(condition, mutex, deadlines[i]));
        sys_mutex_unlock(mutex);
        sys_thread_join(thread);
        unmake();
    }
}

static void wait_for_all(void *unused) {
    (void)unused;
    sys_mutex_lock(mutex);
    count++;
    while (count < 4)
        ck_assert(sys_condition_wait(condition, mutex, AC_FOREVER));
    sys_mutex_unlock(mutex);
}

TEST(a_signal_to_all_ends_all_waits) {
    make();
    count = 0;
    struct sys_thread *threads[3];
    for (int i = 0; i < 3; i++)
        start(&threads[i], wait_for_all, NULL);
    for (bool all = false; !all; sched_yield()) {
        sys_mutex_lock(mutex);
        all = count == 3;
        count += all;
        if (all)
            sys_condition_signal_all(condition);
        sys_mutex_unlock(mutex);
    }
    for (int i = 0; i < 3; i++)
        sys_thread_join(threads[i]);
    unmake();
}

static void say_begun(void *begun) { __atomic_store_n((int *)begun, 1, __ATOMIC_RELEASE); }

TEST(a_thread_that_was_let_go_leaves_nothing_behind) { // the sanitizer looks for leaks
    for (int i = 0; i < 20; i++) {
        static int begun;
        begun = 0;
        struct sys_thread *thread;
        start(&thread, say_begun, &begun);
        while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
            sched_yield();
        sys_thread_detach(thread);
    }
}
