// SPDX-License-Identifier: MIT
// Tests of src/sys/epoll.c: what is epoll's alone; what it shares with other pollers is tested in
// tests/sys/poller.c.
#include "sys/filter.h"
#include "test.h"

#include <sys/syscall.h>

static void check_old_kernel(int err) {
    filter(SYS_epoll_pwait2, FILTER_ERROR(err));
    int failed = 0;
    struct sys *sys = sys_create(&sys_epoll, &failed);
    ck_assert_ptr_nonnull(sys);
    for (int i = 0; i < 5; i++) {
        ac_time begun = sys_now(sys);
        ck_assert_int_eq(sys_poll(sys, begun + 7300000), 0);
        ck_assert_int_ge(sys_now(sys) - begun, 7300000);
    }
    ck_assert_int_eq(sys_poll(sys, AC_NOW), 0);
    sys_wake(sys);
    ck_assert_int_eq(sys_poll(sys, AC_FOREVER), 0);
    sys_destroy(sys);
}

TEST(an_old_kernel_waits_as_well) { check_old_kernel(ENOSYS); }
TEST(a_container_that_forbids_new_calls_waits_as_well) { check_old_kernel(EPERM); }
