// SPDX-License-Identifier: MIT
// The clients of client_server.c as a program of their own, which may run many times at once.
#include <asyncoro.h>

static int message_id;

static ac_value client(ac_value argument) {
    int n = (int)ac_int_of(argument);
    ac_ref server;
    int err = ac_locate("server_coro", &server, AC_FOREVER);
    for (int x = 0; x < 3 && !err; x++) {
        ac_sleep(ac_random_real(0.5, 3));
        message_id++;
        err = ac_send(server, ac_list(ac_self(), message_id, n, x));
    }
    return ac_result(err);
}

int main(void) {
    if (ac_network_start() < 0) {
        ac_print_to(stderr, "%s\n", ac_network_error());
        return 1;
    }
    for (int i = 0; i < 10; i++)
        ac_spawn(client, i);
    return ac_run();
}
