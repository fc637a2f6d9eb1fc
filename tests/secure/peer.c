// SPDX-License-Identifier: MIT
// A server for tests/secure/run: tells of each connection how it was secured, and sends back what
// it reads. A request of HTTP gets a page instead, whose length it asks for: "GET /1000 ...".
//
// usage: peer [certificate=FILE] [key=FILE] [more=FILE]... [trust=FILE] [demand=1] [protocols=LIST]
//             [key_log=FILE] [least=13]
#include <asyncoro.h>

#include <stdlib.h>
#include <string.h>

static ac_tls *settings;

static ac_time soon(void) { return ac_after(30); }

static void give_page(ac_stream *stream, long bytes) {
    static char piece[100000];
    char line[1024];
    while (ac_read_line(stream, line, sizeof line, soon()) > 1)
        continue;
    int head = ac_format(line, sizeof line,
                         "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
                         (int)bytes);
    memset(piece, 'x', sizeof piece);
    long err = ac_write_all(stream, line, (size_t)head, soon(), NULL);
    while (err >= 0 && bytes > 0) {
        long count = bytes < (long)sizeof piece ? bytes : (long)sizeof piece;
        err = ac_write_all(stream, piece, (size_t)count, soon(), NULL);
        bytes -= count;
    }
}

static ac_value serve(ac_value argument) {
    ac_stream *stream = ac_pointer_of(argument);
    static char bytes[64 << 10];
    char subject[256] = "";
    long got = ac_tls_accept(stream, settings, soon());
    ac_tls_subject(stream, subject, sizeof subject);
    ac_print("%d %s resumed=%d protocol=%s name=%s subject=%s problem=%s\n", (int)got,
             ac_tls_version(stream), ac_tls_resumed(stream), ac_tls_protocol(stream),
             ac_tls_server_name(stream), subject, ac_tls_problem(stream));
    if (got == 0)
        got = ac_read(stream, bytes, 4, soon());
    if (got == 4 && memcmp(bytes, "GET ", 4) == 0) {
        got = ac_read_line(stream, bytes, sizeof bytes, soon());
        give_page(stream, got > 0 ? atol(bytes + 1) : 0);
        got = 0;
    }
    while (got > 0 && ac_write_all(stream, bytes, (size_t)got, soon(), NULL) > 0)
        got = ac_read(stream, bytes, sizeof bytes, soon());
    ac_print("end %d\n", (int)got);
    ac_close(stream);
    return ac_nil;
}

static ac_value serve_all(ac_value unused) {
    ac_listener *listener;
    ac_stream *stream;
    char address[AC_ADDRESS_TEXT_BYTES];
    (void)unused;
    int err = ac_listen(&listener, "127.0.0.1:0");
    if (!err)
        err = ac_listener_address(listener, address);
    ac_print("%s\n", err ? ac_strerror(err) : strrchr(address, ':') + 1);
    while (!err && (err = ac_accept(listener, &stream, AC_FOREVER)) == 0)
        ac_spawn(serve, (void *)stream);
    return ac_result(err);
}

static ac_value until_end(ac_value unused) {
    char line[64];
    (void)unused;
    while (ac_read_line(ac_input(), line, sizeof line, AC_FOREVER) > 0)
        continue;
    exit(0);
}

int main(int argc, char **argv) {
    struct ac_tls_options options = {.size = sizeof options};
    const char *more[8] = {NULL};
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return 2;
        *value++ = 0;
        if (strcmp(argv[i], "certificate") == 0)
            options.certificate = value;
        else if (strcmp(argv[i], "key") == 0)
            options.key = value;
        else if (strcmp(argv[i], "trust") == 0)
            options.trust = value;
        else if (strcmp(argv[i], "demand") == 0)
            options.clients = AC_TLS_DEMAND;
        else if (strcmp(argv[i], "protocols") == 0)
            options.protocols = value;
        else if (strcmp(argv[i], "key_log") == 0)
            options.key_log = value;
        else if (strcmp(argv[i], "least") == 0)
            options.version_min = AC_TLS_V13;
        else if (strcmp(argv[i], "more") == 0 && count < 8)
            more[count++] = value;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int err = ac_tls_create_with(&settings, &options);
    for (size_t i = 0; !err && i < count; i++)
        err = ac_tls_add_certificate(settings, more[i], NULL);
    if (err) {
        ac_print("%s\n", ac_strerror(err));
        return 1;
    }
    ac_spawn(until_end, ac_nil, .daemon = true);
    ac_spawn(serve_all, ac_nil);
    return ac_run();
}
