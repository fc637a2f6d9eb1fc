// SPDX-License-Identifier: MIT
// A server of TCP connections, each served by a coroutine of its own, until "quit" is typed.
// usage: socket_server [ADDRESS]
#include <asyncoro.h>

#include <string.h>

static ac_value process(ac_value argument) {
    ac_stream *connection = ac_pointer_of(argument);
    char data[1024] = "";
    size_t bytes = 0;
    long got = 1;
    while (got > 0 && !strchr(data, '/')) {
        got = ac_read(connection, data + bytes, sizeof data - 1 - bytes, AC_FOREVER);
        bytes += got > 0 ? (size_t)got : 0;
    }
    ac_close(connection);
    ac_print("received: %s\n", data);
    return ac_nil;
}

static ac_value server(ac_value argument) {
    ac_listener *listener = ac_pointer_of(argument);
    ac_stream *connection;
    while (ac_accept(listener, &connection, AC_FOREVER) == 0)
        ac_spawn(process, (void *)connection);
    ac_listener_close(listener);
    return ac_nil;
}

static ac_value until_quit(ac_value unused) {
    char command[256];
    while (ac_read_line(ac_input(), command, sizeof command, AC_FOREVER) > 0)
        if (strcmp(command, "quit") == 0 || strcmp(command, "exit") == 0)
            break;
    return ac_nil;
}

int main(int argc, char **argv) {
    ac_listener *listener;
    char address[AC_ADDRESS_TEXT_BYTES];
    int err = ac_listen(&listener, argc > 1 ? argv[1] : "127.0.0.1:8010");
    if (err) {
        ac_print_to(stderr, "cannot listen: %s\n", ac_strerror(err));
        return 1;
    }
    ac_listener_address(listener, address);
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_print("listening on %s\n", address);
    ac_spawn(server, (void *)listener, .daemon = true);
    ac_spawn(until_quit, ac_nil);
    return ac_run();
}
