// SPDX-License-Identifier: MIT
// A thermometer measures in degrees Fahrenheit; those who listen want degrees Celsius, and one of
// them only what is too warm. Two channels, one below the other, each with a transform, see to
// that. The thermometer begins when all are there, and they end when it closes its channels.
#include <asyncoro.h>

enum { LISTENERS = 3 };

static bool to_celsius(ac_value *message, void *unused) {
    *message = ac_of_real((ac_real_of(*message) - 32) / 1.8);
    return true;
}

static bool only_above(ac_value *message, void *limit) {
    return ac_real_of(*message) > *(double *)limit;
}

// Prints what comes over the channel, until it is closed.
static ac_value listen(ac_value arguments) {
    ac_ref channel;
    const char *name;
    ac_value message;
    int err = ac_unpack(arguments, &channel, &name);
    if (err < 0 || (err = ac_channel_subscribe(channel, ac_self())) < 0)
        return ac_result(err);
    while (ac_receive(&message, AC_FOREVER) == 0) {
        struct ac_exit exit;
        if (ac_exit_of(message, &exit)) {
            ac_print("%s: the channel is closed\n", name);
            ac_drop(exit.value);
            ac_drop(message);
            break;
        }
        ac_print("%s: %.1f\n", name, ac_real_of(message));
        ac_drop(message);
    }
    return ac_nil;
}

static ac_value thermometer(ac_value unused) {
    static double limit = 30;
    ac_ref all = ac_channel_open("temperatures"), warm = ac_channel_open("warm");
    ac_channel_transform(all, to_celsius, NULL);
    ac_channel_transform(warm, only_above, &limit);
    ac_channel_subscribe(all, warm);
    ac_spawn(listen, ac_list(all, "display"));
    ac_spawn(listen, ac_list(all, "log"));
    ac_spawn(listen, ac_list(warm, "alarm"));
    int count = ac_channel_wait(all, LISTENERS, ac_after(10));
    if (count < 0)
        return ac_result(count);
    ac_print("%d listen\n", count);
    static const double fahrenheit[] = {68, 77, 95, 84.2};
    for (int i = 0; i < 4; i++)
        ac_send(all, fahrenheit[i]);
    ac_channel_close(warm);
    return ac_result(ac_channel_close(all));
}

int main(void) {
    ac_spawn(thermometer, ac_nil);
    return ac_run();
}
