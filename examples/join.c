// SPDX-License-Identifier: MIT
// Adds up a range of numbers in parts, each by a coroutine of its own, spread over three loops. The
// result of each is fetched by joining it, on whatever loop it has run.
#include <asyncoro.h>

enum { LOOPS = 3, PARTS = 5, NUMBERS = 100000 };

static ac_value add_up(ac_value argument) {
    int64_t first = ac_int_of(argument) * NUMBERS + 1, sum = 0;
    for (int64_t i = 0; i < NUMBERS; i++)
        sum += first + i;
    return ac_of(sum);
}

static ac_value fail(ac_value unused) { return ac_of_error(-ENOENT, "no such part"); }

static ac_value gather(ac_value unused) {
    ac_ref parts[PARTS];
    struct ac_exit end;
    int64_t sum = 0;
    // Joinable, or those that have ended before they are joined are forgotten.
    for (int i = 0; i < PARTS; i++)
        parts[i] = ac_spawn(add_up, i, .loop = AC_SPREAD, .joinable = true);
    for (int i = 0; i < PARTS; i++) {
        int err = ac_join(parts[i], &end, AC_FOREVER);
        if (err < 0)
            return ac_result(err);
        ac_print("part %d %s: %v\n", i, ac_end_name(end.how), end.value);
        sum += ac_int_of(end.value);
        ac_drop(end.value);
    }
    ac_print("%lld in all, on %d loops\n", (long long)sum, (int)ac_loops());

    int err = ac_join(ac_spawn(fail, ac_nil, .loop = LOOPS, .joinable = true), &end, AC_FOREVER);
    if (err == 0) {
        ac_print("one more %s: %s\n", ac_end_name(end.how), ac_strerror(end.reason));
        ac_drop(end.value);
    }
    return ac_result(err);
}

int main(void) {
    ac_spawn(gather, ac_nil);
    return -ac_run(.loops = LOOPS);
}
