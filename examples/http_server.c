// SPDX-License-Identifier: MIT
// A file server: HTTP/1.1 with connections that are kept, requests in a row, ranges, conditions and
// TLS. Each connection is served by a coroutine of its own, which reads like the protocol: wait for
// a request, read its head, answer it, and again. http_request.c understands heads,
// http_folder.c has the files.
//
// Nobody can hold what he does not use: the head of a request has a size, a count of fields and a
// time in which it must be there, whoever only connects is sent away after a while, and so is who
// does not read what he asked for. There are so many connections and no more; others wait until one
// ends. SIGINT and SIGTERM end the server when the answers that have begun are through.
//
// usage: http_server [--tls CERTIFICATE KEY] [--loops N] [--connections N] [--patience SECONDS]
//                    [FOLDER [ADDRESS]]
#include "http_request.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum {
    PACE_BYTES = 64 << 10, // that a client must take while the patience lasts
    LINGER_BYTES_MAX = 256 << 10,
};

static const double LINGER_SECONDS = 2, PAUSE_SECONDS = 0.1;

static struct {
    const char *folder, *address;
    const char *certificate, *key;
    unsigned loops, connections;
    double patience; // seconds: with who connects, sends a head, takes an answer, asks again
} options = {".", "127.0.0.1:8080", NULL, NULL, 1, 1000, 15};

static ac_tls *tls;                         // NULL without TLS
static char address[AC_ADDRESS_TEXT_BYTES]; // with the port that the system has chosen

// Of one loop.
struct server {
    struct folder folder;
    ac_listener *listener;
    ac_group *group;            // of the connections
    struct ac_semaphore places; // for more connections
    int64_t date_s;             // of which `date` is the text
    char date[DATE_BYTES];
};

struct connection {
    struct server *server;
    ac_stream *stream;
    bool keeps;     // another request may follow the one that is answered
    bool is_broken; // an answer did not get through
};

// ---- receiving ----

// Waits for a request: 200 when it is there, another status if it is none, 0 if none will come.
static int receive(struct connection *connection, struct request *it) {
    ac_stream *stream = connection->stream;
    it->is_head = false;
    char first;
    if (ac_peek(stream, &first, 1, 1, ac_after(options.patience)) != 1)
        return 0;
    // From the first byte on all of it has one deadline, however slowly it drips.
    long bytes = ac_read_until(stream, "\r\n\r\n", 4, it->head, HEAD_BYTES_MAX,
                               ac_after(options.patience));
    if (bytes == -ETIMEDOUT)
        return 408;
    if (bytes == -EMSGSIZE)
        return 431;
    if (bytes < 4 || memcmp(it->head + bytes - 4, "\r\n\r\n", 4) != 0)
        return 0; // the stream has ended in the midst
    return request_parse(it, (size_t)bytes);
}

// ---- answering ----

static const char *words_of(int status) {
    switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

static const char *date_now(struct server *server) {
    int64_t now = time(NULL);
    if (now != server->date_s)
        date_format(server->date, now);
    server->date_s = now;
    return server->date;
}

static ac_part part_of(const char *text) { return (ac_part){text, strlen(text)}; }

// Writes the head of an answer and what lies in memory of its body, in one go.
static void reply(struct connection *it, const struct request *request, int status, ac_part fields,
                  ac_part body) {
    char first[128];
    int length = snprintf(first, sizeof first, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status,
                          words_of(status), date_now(it->server));
    const char *end = !it->keeps        ? "Connection: close\r\n\r\n"
                      : request->is_old ? "Connection: keep-alive\r\n\r\n"
                                        : "\r\n";
    ac_part parts[] = {{first, (size_t)length}, fields, part_of(end), body};
    if (request->is_head)
        parts[3].bytes = 0;
    if (ac_write_parts(it->stream, parts, 4, ac_after(options.patience), NULL) < 0)
        it->is_broken = true;
}

// An answer without a file, which says the same to people. `more`: further fields, or "".
static void reply_status(struct connection *it, const struct request *request, int status,
                         const char *more) {
    char body[64], fields[PATH_BYTES_MAX + 256];
    int length = snprintf(body, sizeof body, "%d %s\n", status, words_of(status));
    snprintf(fields, sizeof fields, "Content-Type: text/plain\r\nContent-Length: %d\r\n%s", length,
             more);
    reply(it, request, status, part_of(fields), (ac_part){body, (size_t)length});
}

// A folder was named without a slash at the end: the names in its pages would be taken for names
// beside it. Only the last name is given, so that nothing can be taken for another server's.
static void reply_folder(struct connection *it, const struct request *request) {
    char more[PATH_BYTES_MAX + 64];
    int length = (int)strcspn(request->target, "?#");
    const char *end = request->target + length, *name = end;
    while (name[-1] != '/')
        name--;
    snprintf(more, sizeof more, "Location: ./%.*s/\r\n", (int)(end - name), name);
    reply_status(it, request, 301, more);
}

// Sends a part of a file that is not kept in memory. The head has promised it, so who cannot have
// all of it loses the connection, and so does who takes it too slowly.
static void send_part(struct connection *it, const struct file *file, uint64_t from,
                      uint64_t bytes) {
    long sent;
    size_t put;
    do {
        sent = ac_send_file(it->stream, file->stream, from, bytes, ac_after(options.patience),
                            &put);
        from += put;
        bytes -= put;
    } while (sent == -ETIMEDOUT && put >= PACE_BYTES);
    it->is_broken = sent < 0 || bytes > 0;
}

// Whether the system waits for full packets: then the head of an answer goes together with the
// beginning of the file.
static void wait_for_full_packets(struct connection *it, int on) {
    int descriptor = ac_stream_descriptor(it->stream);
    if (descriptor >= 0)
        setsockopt(descriptor, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static void reply_file(struct connection *it, const struct request *request,
                       const struct file *file) {
    char text[FIELDS_BYTES + 128];
    ac_part fields = {file->fields, file->fields_bytes}, body = {file->content, 0};
    uint64_t first = 0, bytes = 0;
    int status = request_has(request, file) ? 304 : request_range(request, file, &first, &bytes);
    unsigned long long last = first + bytes - 1, all = file->bytes;
    if (status == 416) {
        snprintf(text, sizeof text, "Content-Range: bytes */%llu\r\n", all);
        reply_status(it, request, status, text);
        return;
    }
    if (status == 304)
        snprintf(text, sizeof text, "Last-Modified: %s\r\nETag: %s\r\n", file->modified, file->tag);
    if (status == 206)
        snprintf(
            text, sizeof text,
            "Content-Type: %s\r\nContent-Length: %llu\r\nContent-Range: bytes %llu-%llu/%llu\r\n"
            "Last-Modified: %s\r\nETag: %s\r\n",
            file->type, (unsigned long long)bytes, (unsigned long long)first, last, all,
            file->modified, file->tag);
    if (status != 200)
        fields = part_of(text);
    if (file->content)
        body = (ac_part){file->content + first, (size_t)bytes};
    bool follows = !file->content && !request->is_head && bytes > 0;
    if (follows)
        wait_for_full_packets(it, true);
    reply(it, request, status, fields, body);
    if (follows && !it->is_broken)
        send_part(it, file, first, bytes);
    if (follows)
        wait_for_full_packets(it, false);
}

static int status_of(int err) {
    switch (err) {
    case 0: return 200;
    case -EISDIR: return 301;
    case -EACCES:
    case -EPERM:
    case -EXDEV: return 403;
    case -ENOENT:
    case -ENOTDIR:
    case -ELOOP:
    case -ENAMETOOLONG: return 404;
    case -EAGAIN:
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM: return 503;
    default: return 500;
    }
}

// Answers a request that came whole (200), or says with `status` why it is none.
static void answer(struct connection *it, const struct request *request, int status) {
    char path[PATH_BYTES_MAX];
    struct file *file = NULL;
    it->keeps = status == 200 && request_keeps(request);
    if (status == 200 && strcmp(request->method, "GET") != 0 && !request->is_head)
        status = 405;
    if (status == 200 && request_has_body(request))
        status = 413;
    if (status == 200)
        status = request_path(request, path);
    if (status == 200)
        status = status_of(folder_find(&it->server->folder, path, &file));
    if (status == 200)
        reply_file(it, request, file);
    else if (status == 301)
        reply_folder(it, request);
    else
        reply_status(it, request, status, status == 405 ? "Allow: GET, HEAD\r\n" : "");
    folder_let_go(file);
}

// ---- saying goodbye ----

// Ends a connection so that the last answer arrives: what of the client's were left unread, the
// system would answer by a reset, which may overtake it.
static void say_goodbye(ac_stream *stream) {
    char unwanted[4096];
    ac_time deadline = ac_after(LINGER_SECONDS);
    long got = ac_shutdown(stream) < 0 ? 0 : 1;
    for (long sum = 0; got > 0 && sum < LINGER_BYTES_MAX; sum += got)
        got = ac_read(stream, unwanted, sizeof unwanted, deadline);
}

// ---- one connection ----

static void serve_requests(struct connection *it) {
    struct request request;
    do {
        int status = receive(it, &request);
        if (status == 0)
            return;
        // An answer that was begun is given whole, also when the server ends.
        ac_shield_begin();
        answer(it, &request, status);
        ac_shield_end();
    } while (it->keeps && !it->is_broken);
    if (!it->is_broken)
        say_goodbye(it->stream);
}

static ac_value serve_connection(ac_value argument) {
    void *server, *stream;
    int err = ac_unpack(argument, &server, &stream);
    if (err < 0)
        return ac_result(err);
    struct connection it = {.server = server, .stream = stream};
    if (!tls || ac_tls_accept(it.stream, tls, ac_after(options.patience)) == 0)
        serve_requests(&it);
    ac_close(it.stream);
    ac_semaphore_release(&it.server->places);
    return ac_nil;
}

// ---- connections ----

// Takes connections in until it is cancelled. With descriptors or memory used up, the next one goes
// on waiting where it is, and for a moment so do we.
static void accept_connections(struct server *it) {
    int err = 0;
    while (err != -ECANCELED) {
        ac_stream *stream;
        err = ac_semaphore_acquire(&it->places, AC_FOREVER);
        if (err == 0)
            err = ac_accept(it->listener, &stream, AC_FOREVER);
        if (err == 0) {
            ac_ref one = ac_spawn(serve_connection, ac_list((void *)it, (void *)stream),
                                  .group = it->group, .name = "connection");
            err = ac_ref_error(one);
            if (err < 0)
                ac_close(stream);
        }
        if (err < 0 && err != -ECANCELED) {
            ac_semaphore_release(&it->places);
            err = ac_sleep(PAUSE_SECONDS);
        }
    }
}

// ---- the server ----

// On each loop: with a listener of its own, to which the system gives its share of connections.
static ac_value serve(ac_value listener) {
    struct server *it = calloc(1, sizeof *it);
    int err = it ? folder_open(&it->folder, options.folder) : -ENOMEM;
    if (err < 0)
        goto release;
    it->places.count = options.connections;
    it->listener = ac_pointer_of(listener);
    if (!it->listener)
        err = ac_listen(&it->listener, address, .reuse_port = true);
    if (err == 0)
        err = ac_group_open(&it->group, .keep_going = true);
    if (err == 0)
        accept_connections(it);
    ac_listener_close(it->listener);
    ac_group_close(it->group); // who waits for a request is sent away, who is answered is not
    folder_close(&it->folder);
release:
    free(it);
    return ac_result(err);
}

static ac_value run(ac_value unused) {
    ac_ref servers[AC_LOOPS_MAX];
    ac_listener *first;
    ac_signals *signals = NULL;
    int err = ac_signals_open(&signals, SIGINT, SIGTERM);
    if (err == 0)
        err = ac_listen(&first, options.address, .reuse_port = options.loops > 1);
    if (err < 0) {
        ac_print_to(stderr, "%s: %s\n", options.address, ac_strerror(err));
        ac_signals_close(signals);
        return ac_result(err);
    }
    ac_listener_address(first, address);
    ac_print("serving %s on %s://%s\n", options.folder, tls ? "https" : "http", address);
    for (unsigned i = 0; i < options.loops; i++)
        servers[i] = ac_spawn(serve, (void *)(i == 0 ? first : NULL), .loop = (int)i + 1);
    err = ac_signals_wait(signals, AC_FOREVER);
    for (unsigned i = 0; i < options.loops; i++)
        ac_cancel(servers[i]);
    ac_signals_close(signals);
    return ac_result(err);
}

// A connection takes a descriptor, and the system gives few unless it is asked.
static void allow_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool parse_options(int argc, char **argv) {
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc)
            options.certificate = argv[i + 1], options.key = argv[i++ + 2];
        else if (strcmp(argv[i], "--loops") == 0)
            options.loops = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--connections") == 0)
            options.connections = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--patience") == 0)
            options.patience = atof(argv[i + 1]);
        else
            return false;
    }
    if (i < argc)
        options.folder = argv[i++];
    if (i < argc)
        options.address = argv[i++];
    return i == argc && options.loops >= 1 && options.loops <= AC_LOOPS_MAX &&
           options.connections >= 1 && options.patience > 0 && options.folder[0] != '-';
}

// Says what is wrong before there are loops.
static int prepare(void) {
    struct folder folder;
    const char *what = options.folder;
    int err = folder_open(&folder, options.folder);
    if (err == 0)
        folder_close(&folder);
    if (err == 0 && options.certificate) {
        what = options.certificate;
        err = ac_tls_create(&tls, .certificate = what, .key = options.key, .protocols = "http/1.1");
    }
    if (err < 0)
        ac_print_to(stderr, "%s: %s\n", what, ac_strerror(err));
    return err;
}

int main(int argc, char **argv) {
    if (!parse_options(argc, argv)) {
        ac_print_to(stderr,
                    "usage: %s [--tls CERTIFICATE KEY] [--loops N] [--connections N] "
                    "[--patience SECONDS] [FOLDER [ADDRESS]]\n",
                    argv[0]);
        return 2;
    }
    int err = prepare();
    if (err < 0)
        return 1;
    allow_descriptors();
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_spawn(run, ac_nil);
    err = ac_run(.loops = options.loops);
    ac_tls_destroy(tls);
    return err < 0 ? 1 : 0;
}
