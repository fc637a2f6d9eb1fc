// SPDX-License-Identifier: MIT
// Ten coroutines sleep at the same time: the program takes as long as the longest sleep, not as
// long as all of them together.
#include <asyncoro.h>

static ac_value sleeper(ac_value argument) {
    int n = (int)ac_int_of(argument);
    double seconds = ac_random_real(0.5, 3);
    ac_print("%f: coroutine %d sleeping for %f seconds\n", ac_now() / 1e9, n, seconds);
    int err = ac_sleep(seconds);
    ac_print("%f: coroutine %d terminating\n", ac_now() / 1e9, n);
    return ac_result(err);
}

int main(void) {
    for (int i = 0; i < 10; i++)
        ac_spawn(sleeper, i);
    return ac_run();
}
