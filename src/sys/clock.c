// SPDX-License-Identifier: MIT
// Time and randomness, without a poller.
#include "sys/sys.h"

#include <sys/random.h>
#include <time.h>

ac_time sys_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (ac_time)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t sys_wall_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int sys_wall_minute(void) {
    time_t now = time(NULL);
    struct tm local = {.tm_wday = 1};
    (void)localtime_r(&now, &local);
    return ((local.tm_wday + 6) % 7 * 24 + local.tm_hour) * 60 + local.tm_min;
}

int sys_random_bytes(void *to, size_t bytes) {
    char *at = to;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            at += got;
            bytes -= (size_t)got;
        }
    }
    return 0;
}
