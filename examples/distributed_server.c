// SPDX-License-Identifier: MIT
// The server of client_server.c as a program of its own, which clients on this computer and on
// others find by the name that it registers. Ends when "quit" is typed.
#include <asyncoro.h>

#include <string.h>

static ac_value server(ac_value unused) {
    ac_value message;
    int err = ac_register(ac_self(), "server_coro");
    while (!err && (err = ac_receive(&message, AC_FOREVER)) == 0) {
        ac_print("processing %v\n", message);
        ac_drop(message);
    }
    return ac_result(err);
}

static ac_value until_quit(ac_value unused) {
    char command[256];
    while (ac_read_line(ac_input(), command, sizeof command, AC_FOREVER) > 0)
        if (strcmp(command, "quit") == 0 || strcmp(command, "exit") == 0)
            break;
    return ac_nil;
}

int main(void) {
    if (ac_network_start() < 0) {
        ac_print_to(stderr, "%s\n", ac_network_error());
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_spawn(server, ac_nil, .daemon = true);
    ac_spawn(until_quit, ac_nil);
    return ac_run();
}
