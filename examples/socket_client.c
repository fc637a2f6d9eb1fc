// SPDX-License-Identifier: MIT
// Nine coroutines connect to socket_server at the same time and send a message each, which ends in
// '/'. usage: socket_client [ADDRESS]
#include <asyncoro.h>

#include <string.h>

static const char *address = "127.0.0.1:8010";

static ac_value client(ac_value n) {
    char dashes[301] = "", message[320];
    memset(dashes, '-', (size_t)ac_random_int(100, 300));
    int bytes = ac_format(message, sizeof message, "%v: %s/", n, dashes);

    ac_stream *server;
    long err = ac_connect(&server, address, AC_FOREVER);
    if (!err) {
        err = ac_write_all(server, message, (size_t)bytes, AC_FOREVER, NULL);
        ac_close(server);
    }
    if (err < 0)
        ac_print_to(stderr, "client %v: %s\n", n, ac_strerror((int)err));
    return ac_result((int)err);
}

int main(int argc, char **argv) {
    if (argc > 1)
        address = argv[1];
    for (int n = 1; n < 10; n++)
        ac_spawn(client, n);
    return ac_run();
}
