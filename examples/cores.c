// SPDX-License-Identifier: MIT
// Counts primes on all processors: the range is cut into parts, coroutines on several loops count
// them, and one coroutine gathers the results. What it prints does not depend on how many loops
// there are, which the argument says.
#include <asyncoro.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARTS = 40, NUMBERS = 5000 }; // numbers in each part

static bool is_prime(long n) {
    for (long d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return n >= 2;
}

// Shares nothing with the other loops: it is told what to do by its argument, and answers with a
// message.
static ac_value count(ac_value argument) {
    ac_ref gatherer;
    long part, primes = 0;
    int err = ac_unpack(argument, &gatherer, &part);
    if (err < 0)
        return ac_result(err);
    for (long n = part * NUMBERS; n < (part + 1) * NUMBERS; n++)
        primes += is_prime(n);
    return ac_result(ac_send(gatherer, ac_list(part, primes)));
}

static ac_value gather(ac_value unused) {
    long primes[PARTS], sum = 0;
    for (long part = 0; part < PARTS; part++) {
        ac_ref counter = ac_spawn(count, ac_list(ac_self(), part), .loop = AC_SPREAD);
        if (!ac_ref_is(counter))
            return ac_result(ac_ref_error(counter));
    }
    // They come in any order.
    for (int i = 0; i < PARTS; i++) {
        ac_value message;
        long part, found;
        int err = ac_receive(&message, AC_FOREVER);
        if (err < 0)
            return ac_result(err);
        err = ac_unpack(message, &part, &found);
        ac_drop(message);
        if (err < 0)
            return ac_result(err);
        primes[part] = found;
    }
    for (int part = 0; part < PARTS; part++) {
        sum += primes[part];
        if (part % 10 == 9)
            ac_print("%ld primes below %d\n", sum, (part + 1) * NUMBERS);
    }
    return ac_nil;
}

int main(int argc, char **argv) {
    long loops = argc > 1 ? atol(argv[1]) : sysconf(_SC_NPROCESSORS_ONLN);
    loops = loops < 1 ? 1 : loops > AC_LOOPS_MAX ? AC_LOOPS_MAX : loops;
    ac_spawn(gather, ac_nil);
    return -ac_run(.loops = (uint32_t)loops);
}
