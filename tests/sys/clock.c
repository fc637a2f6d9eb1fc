// SPDX-License-Identifier: MIT
// Tests of src/sys/clock.c: time and randomness.
#include "sys/sys.h"
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

TEST(the_clock_never_goes_back_and_keeps_pace) {
    ac_time start = sys_clock();
    ac_time before = start;
    ck_assert_int_gt(start, AC_NOW);
    for (int i = 0; i < 10000; i++) {
        ac_time now = sys_clock();
        ck_assert_int_ge(now, before);
        before = now;
    }
    struct timespec wait = {.tv_nsec = 30000000};
    start = sys_clock();
    nanosleep(&wait, NULL);
    ck_assert_int_ge(sys_clock() - start, 30000000);
    ck_assert_int_lt(sys_clock() - start, TEST_PATIENCE_S * 1000000000LL);
}

TEST(the_minute_of_the_week_is_that_of_the_local_time) {
    setenv("TZ", "UTC-3", 1); // three hours before UTC
    tzset();
    int minute;
    int64_t before, after;
    do { // 1970 began on a Thursday
        before = (time(NULL) / 60 + (3 * 24 + 3) * 60) % (7 * 24 * 60);
        minute = sys_wall_minute();
        after = (time(NULL) / 60 + (3 * 24 + 3) * 60) % (7 * 24 * 60);
    } while (before != after);
    ck_assert_int_eq(minute, before);
}

TEST(random_bytes_fill_the_memory_and_nothing_else) {
    static uint8_t bytes[100001];
    bytes[100000] = 42;
    ck_assert_int_eq(sys_random_bytes(bytes, 0), 0);
    ck_assert_uint_eq(bytes[0], 0);
    ck_assert_int_eq(sys_random_bytes(bytes, 100000), 0);
    ck_assert_uint_eq(bytes[100000], 42);
    int counts[256] = {0};
    for (int i = 0; i < 100000; i++)
        counts[bytes[i]]++;
    for (int i = 0; i < 256; i++)
        ck_assert(counts[i] > 200 && counts[i] < 600); // 390 on the average
    uint64_t first = 0, second = 0;
    ck_assert_int_eq(sys_random_bytes(&first, sizeof first), 0);
    ck_assert_int_eq(sys_random_bytes(&second, sizeof second), 0);
    ck_assert_uint_ne(first, second);
}

TEST(randomness_that_fails_is_an_error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = countof(code), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
        TEST_SKIP("this computer forbids filters of system calls");
    uint64_t number = 0;
    ck_assert_int_eq(sys_random_bytes(&number, sizeof number), -ENOSYS);
}
