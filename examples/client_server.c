// SPDX-License-Identifier: MIT
// Ten clients send three messages each to one server. The counter that they share needs no lock,
// because nothing preempts a coroutine.
#include <asyncoro.h>

static ac_value server(ac_value unused) {
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ac_print("processing %v\n", message);
        ac_drop(message);
    }
    return ac_nil;
}

static int message_id;

static ac_value client(ac_value argument) {
    ac_ref to;
    int n, err = ac_unpack(argument, &to, &n);
    for (int x = 0; x < 3 && !err; x++) {
        ac_sleep(ac_random_real(0.5, 3));
        message_id++;
        err = ac_send(to, ac_list(message_id, n, x));
    }
    return ac_result(err);
}

int main(void) {
    ac_ref to = ac_spawn(server, ac_nil, .daemon = true);
    for (int i = 0; i < 10; i++)
        ac_spawn(client, ac_list(to, i));
    return ac_run();
}
