// SPDX-License-Identifier: MIT
// Fetches pages over HTTPS, all at the same time, and tells of each how the connection is secured.
// The pages follow on standard output, one after the other.
// usage: https_get [--trust FILE] https://HOST[:PORT]/PATH...
#include <asyncoro.h>

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 256, PAGE_BYTES_MAX = 64 << 20 };

static const double patience_seconds = 30;

static ac_tls *settings; // NULL: those of the system

struct page {
    const char *address;
    char *bytes;
    size_t count;
};

// Splits "https://host:port/path". False if it is no such address.
static bool split(const char *address, char host[NAME_BYTES], char to[NAME_BYTES],
                  const char **path) {
    static const char scheme[] = "https://";
    if (strncmp(address, scheme, sizeof scheme - 1) != 0)
        return false;
    address += sizeof scheme - 1;
    *path = strchr(address, '/');
    size_t length = *path ? (size_t)(*path - address) : strlen(address);
    if (length == 0 || length > NAME_BYTES - 8)
        return false;
    *path = *path ? *path : "/";
    memcpy(host, address, length);
    host[length] = 0;
    char *port = strchr(host, ':');
    ac_format(to, NAME_BYTES, port ? "%s" : "%s:443", host);
    if (port)
        *port = 0;
    return true;
}

// All that the server says until it ends, or hangs up: an answer whose length it has told is whole
// all the same, but this program does not look.
static long read_page(ac_stream *stream, struct page *page, ac_time deadline) {
    size_t room = 0;
    for (;;) {
        if (page->count == room) {
            room = room ? 2 * room : 1 << 16;
            char *more = room <= PAGE_BYTES_MAX ? realloc(page->bytes, room) : NULL;
            if (!more)
                return -ENOMEM;
            page->bytes = more;
        }
        long got = ac_read(stream, page->bytes + page->count, room - page->count, deadline);
        if (got <= 0)
            return got;
        page->count += (size_t)got;
    }
}

static long talk(ac_stream *stream, const char *host, const char *path, struct page *page,
                 ac_time deadline) {
    char request[2048];
    int bytes = ac_format(request, sizeof request,
                          "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
    long err = bytes < 0 ? bytes : ac_tls_connect(stream, settings, host, deadline);
    if (!err) {
        ac_print_to(stderr, "%s: %s, %s\n", host, ac_tls_version(stream), ac_tls_cipher(stream));
        err = ac_write_all(stream, request, (size_t)bytes, deadline, NULL);
    }
    return err < 0 ? err : read_page(stream, page, deadline);
}

static ac_value fetch(ac_value argument) {
    struct page *page = ac_pointer_of(argument);
    char host[NAME_BYTES], to[NAME_BYTES];
    const char *path, *problem = "";
    ac_stream *stream = NULL;
    ac_time deadline = ac_after(patience_seconds);
    long err = split(page->address, host, to, &path) ? 0 : -EINVAL;
    if (!err)
        err = ac_connect(&stream, to, deadline);
    if (!err)
        err = talk(stream, host, path, page, deadline);
    if (err < 0) {
        problem = ac_tls_problem(stream);
        ac_print_to(stderr, "%s: %s%s%s\n", page->address, ac_strerror((int)err),
                    problem[0] ? ": " : "", problem);
    }
    ac_close(stream);
    return ac_result((int)err);
}

int main(int argc, char **argv) {
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "--trust") == 0) {
        int err = ac_tls_create(&settings, .trust = argv[2]);
        if (err) {
            ac_print_to(stderr, "%s: %s\n", argv[2], ac_strerror(err));
            return 1;
        }
        first = 3;
    }
    struct page *pages = calloc((size_t)argc, sizeof *pages);
    for (int i = first; i < argc; i++) {
        pages[i].address = argv[i];
        ac_spawn(fetch, (void *)&pages[i]);
    }
    int err = ac_run();
    for (int i = first; i < argc; i++) {
        fwrite(pages[i].bytes, 1, pages[i].count, stdout);
        free(pages[i].bytes);
    }
    free(pages);
    ac_tls_destroy(settings);
    return err < 0;
}
