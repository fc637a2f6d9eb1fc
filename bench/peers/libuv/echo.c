// SPDX-License-Identifier: MIT
// libuv: each answer is tried at once (uv_try_write), without Nagle's delay; what cannot be written
// is queued, as its guide shows. One buffer is enough to read into, since an answer has left it
// before the next read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { ECHO_BYTES = 1024, BACKLOG = 4096 };

struct answer {
    uv_write_t request;
    char bytes[];
};

static void must(int err, const char *what) {
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(err));
        exit(1);
    }
}

static void free_handle(uv_handle_t *handle) { free(handle); }

static void end(uv_stream_t *stream) {
    if (!uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, free_handle);
}

static void written(uv_write_t *request, int status) {
    if (status < 0)
        end(request->handle);
    free(request);
}

static void queue_rest(uv_stream_t *stream, const char *bytes, size_t count) {
    struct answer *it = malloc(sizeof *it + count);
    if (!it) {
        end(stream);
        return;
    }
    memcpy(it->bytes, bytes, count);
    uv_buf_t part = uv_buf_init(it->bytes, (unsigned)count);
    must(uv_write(&it->request, stream, &part, 1, written), "uv_write");
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    static char bytes[ECHO_BYTES];
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

static void came(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    if (count < 0)
        end(stream);
    if (count <= 0)
        return;
    uv_buf_t part = uv_buf_init(buffer->base, (unsigned)count);
    int put = uv_try_write(stream, &part, 1);
    if (put < 0 && put != UV_EAGAIN)
        end(stream);
    else if (put < count)
        queue_rest(stream, buffer->base + (put > 0 ? put : 0),
                   (size_t)(count - (put > 0 ? put : 0)));
}

static void connected(uv_stream_t *server, int status) {
    must(status, "listen");
    uv_tcp_t *client = malloc(sizeof *client);
    if (!client)
        must(UV_ENOMEM, "malloc");
    must(uv_tcp_init(server->loop, client), "uv_tcp_init");
    must(uv_accept(server, (uv_stream_t *)client), "uv_accept");
    must(uv_tcp_nodelay(client, 1), "uv_tcp_nodelay");
    must(uv_read_start((uv_stream_t *)client, give_buffer, came), "uv_read_start");
}

int main(void) {
    uv_tcp_t server;
    struct sockaddr_in address;
    int bytes = sizeof address;
    must(uv_tcp_init(uv_default_loop(), &server), "uv_tcp_init");
    must(uv_ip4_addr("127.0.0.1", 0, &address), "uv_ip4_addr");
    must(uv_tcp_bind(&server, (struct sockaddr *)&address, 0), "uv_tcp_bind");
    must(uv_listen((uv_stream_t *)&server, BACKLOG, connected), "uv_listen");
    must(uv_tcp_getsockname(&server, (struct sockaddr *)&address, &bytes), "uv_tcp_getsockname");
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
