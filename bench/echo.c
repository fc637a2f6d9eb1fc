// SPDX-License-Identifier: MIT
// Our server of the figures of sockets: a coroutine for each connection, as in the tutorial.
#include "ours.h"

enum { ECHO_BYTES = 1024 };

static ac_value serve(ac_value argument) {
    ac_stream *stream = ac_pointer_of(argument);
    char bytes[ECHO_BYTES];
    long got;
    while ((got = ac_read(stream, bytes, sizeof bytes, AC_FOREVER)) > 0)
        if (ac_write_all(stream, bytes, (size_t)got, AC_FOREVER, NULL) < 0)
            break;
    ac_close(stream);
    return ac_nil;
}

static ac_value listen_for_ever(ac_value unused) {
    (void)unused;
    ac_listener *listener;
    ac_stream *stream;
    char address[AC_ADDRESS_TEXT_BYTES];
    must(ac_listen(&listener, "127.0.0.1:0"), "ac_listen");
    must(ac_listener_address(listener, address), "ac_listener_address");
    printf("%s\n", strrchr(address, ':') + 1);
    fflush(stdout);
    for (;;) {
        must(ac_accept(listener, &stream, AC_FOREVER), "ac_accept");
        must(ac_ref_error(ac_spawn(serve, (void *)stream, .daemon = true)), "ac_spawn");
    }
}

int main(int argc, char **argv) {
    bool polls = argc == 2 && strcmp(argv[1], "echo-polling") == 0;
    must(ac_ref_error(ac_spawn(listen_for_ever, ac_nil)), "ac_spawn");
    must(ac_run(.poll_us = polls ? MEASURE_POLL_US : 0), "ac_run");
    return 1; // not reached
}
