// SPDX-License-Identifier: MIT
// Our server of the figures of TLS: a coroutine for each connection.
#include "tls.h"

#include "ours.h"

static ac_tls *settings;
static const char *certificate;
static int port_to;

static ac_value serve(ac_value argument) {
    static uint8_t piece[TLS_PIECE_BYTES];
    ac_stream *stream = ac_pointer_of(argument);
    char byte;
    if (ac_tls_accept(stream, settings, AC_FOREVER) == 0 &&
        ac_read(stream, &byte, 1, AC_FOREVER) == 1)
        while (ac_write_all(stream, piece, sizeof piece, AC_FOREVER, NULL) > 0)
            continue;
    ac_close(stream);
    return ac_nil;
}

static ac_value listen_for_ever(ac_value unused) {
    (void)unused;
    ac_listener *listener;
    ac_stream *stream;
    char address[AC_ADDRESS_TEXT_BYTES];
    must(ac_tls_create(&settings, .certificate = certificate), "ac_tls_create");
    must(ac_listen(&listener, "127.0.0.1:0"), "ac_listen");
    must(ac_listener_address(listener, address), "ac_listener_address");
    uint16_t port = (uint16_t)atoi(strrchr(address, ':') + 1);
    tls_must(write(port_to, &port, sizeof port) == sizeof port, "port");
    for (;;) {
        must(ac_accept(listener, &stream, AC_FOREVER), "ac_accept");
        must(ac_ref_error(ac_spawn(serve, (void *)stream, .daemon = true)), "ac_spawn");
    }
    return ac_nil; // not reached
}

static void run(const char *pem, int port_fd) {
    certificate = pem;
    port_to = port_fd;
    must(ac_ref_error(ac_spawn(listen_for_ever, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
}

int main(int argc, char **argv) { return tls_main(argc, argv, run); }
