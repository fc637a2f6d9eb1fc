// SPDX-License-Identifier: MIT
// Numbers go over a channel to two coroutines at once: one adds them up, the other multiplies them.
// Nil says that no more come.
#include <asyncoro.h>

static ac_value sum(ac_value unused) {
    double result = 0;
    ac_value number;
    while (ac_receive(&number, AC_FOREVER) == 0 && !ac_is_nil(number)) {
        result += ac_real_of(number);
        ac_drop(number);
    }
    ac_print("sum: %f\n", result);
    return ac_nil;
}

static ac_value product(ac_value unused) {
    double result = 1;
    ac_value number;
    while (ac_receive(&number, AC_FOREVER) == 0 && !ac_is_nil(number)) {
        result *= ac_real_of(number);
        ac_drop(number);
    }
    ac_print("prod: %f\n", result);
    return ac_nil;
}

static ac_value client(ac_value unused) {
    ac_ref channel = ac_channel_open("sum_prod");
    ac_channel_subscribe(channel, ac_spawn(sum, ac_nil));
    ac_channel_subscribe(channel, ac_spawn(product, ac_nil));
    for (int x = 0; x < 4; x++) {
        double r = ac_random_real(0.5, 3);
        ac_send(channel, r);
        ac_print("sent %f\n", r);
    }
    ac_send(channel, ac_nil);
    return ac_result(ac_channel_close(channel));
}

int main(void) {
    ac_spawn(client, ac_nil);
    return ac_run();
}
