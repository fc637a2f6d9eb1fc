// SPDX-License-Identifier: MIT
// Downloads a file over HTTP/1.1, several parts of it at once if the server can give parts, with a
// bar for each on a terminal and a line for each elsewhere. A part whose connection breaks goes on
// where it was. The file appears under its name when it is whole.
// usage: download http://HOST[:PORT]/PATH FILE [PARTS]
#include <asyncoro.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    PARTS_MAX = 16,
    TEXT_BYTES = 1024, // of a host, of a path
    LINE_BYTES = 4096, // of the head of an answer
    LINES_MAX = 100,
    CHUNK_BYTES = 16384,
    ATTEMPTS = 5,          // without a byte more in between
    PATIENCE_SECONDS = 30, // for any one step
    BAR_COLUMNS = 40
};

static struct {
    char host[TEXT_BYTES]; // with its port, to connect to
    char path[TEXT_BYTES];
    const char *file;
    char unfinished[TEXT_BYTES + 8]; // the name of the file until it is whole
    ac_stream *out;
    int64_t bytes;
    bool in_parts; // the server gives parts
} it;

struct part {
    int number;
    int64_t begin, at, end; // of its bytes: the first, the next to come, the one behind the last
};

static struct part parts[PARTS_MAX];
static int parts_count = 4;

// ---- HTTP ----

struct answer {
    int status;
    int64_t length;       // of what follows; -1: not told
    int64_t begin, total; // of the range; -1: there is none
};

// A number in digits; what follows it in *behind.
static bool parse_number(const char *text, int64_t *number, const char **behind) {
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    *behind = end;
    return *text >= '0' && *text <= '9' && !errno;
}

static bool parse_range(const char *text, struct answer *answer) {
    int64_t end;
    return strncmp(text, "bytes ", 6) == 0 && parse_number(text + 6, &answer->begin, &text) &&
           *text == '-' && parse_number(text + 1, &end, &text) && *text == '/' &&
           parse_number(text + 1, &answer->total, &text) && !*text && answer->begin <= end &&
           end < answer->total;
}

static const char *value_of(const char *line, const char *name) {
    size_t bytes = strlen(name);
    if (strncasecmp(line, name, bytes) != 0 || line[bytes] != ':')
        return NULL;
    return line + bytes + 1 + strspn(line + bytes + 1, " \t");
}

// One line of the head. False if it is wrong, or of an answer whose length cannot be told before.
static bool parse_line(const char *line, struct answer *answer) {
    const char *value, *behind;
    if ((value = value_of(line, "Content-Length")))
        return parse_number(value, &answer->length, &behind) && !*behind;
    if ((value = value_of(line, "Content-Range")))
        return parse_range(value, answer);
    return !value_of(line, "Transfer-Encoding");
}

static int read_head(ac_stream *server, struct answer *answer) {
    char line[LINE_BYTES];
    ac_time until = ac_after(PATIENCE_SECONDS); // for all of it
    *answer = (struct answer){.length = -1, .begin = -1, .total = -1};
    long got = ac_read_line(server, line, sizeof line, until);
    if (got > 0 && (strncmp(line, "HTTP/1.1 ", 9) != 0 || strspn(line + 9, "0123456789") != 3))
        return -EPROTO;
    answer->status = got > 0 ? (int)strtol(line + 9, NULL, 10) : 0;
    for (int n = 0; n < LINES_MAX; n++) {
        if (got <= 0)
            return got < 0 ? (int)got : -ECONNRESET;
        got = ac_read_line(server, line, sizeof line, until);
        if (got == 1)
            return 0;
        if (got > 1 && !parse_line(line, answer))
            return -EPROTO;
    }
    return -EMSGSIZE;
}

// Connects and asks for the file, or for the bytes from `begin` to before `end` of it if the server
// gives parts.
static int request(ac_stream **server, struct answer *answer, int64_t begin, int64_t end) {
    char text[3 * TEXT_BYTES], range[64] = "";
    if (it.in_parts)
        ac_format(range, sizeof range, "Range: bytes=%lld-%lld\r\n", (long long)begin,
                  (long long)end - 1);
    int bytes = ac_format(text, sizeof text,
                          "GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", it.path,
                          it.host, range);
    int err = ac_connect(server, it.host, ac_after(PATIENCE_SECONDS));
    if (err)
        return err;
    long put = ac_write_all(*server, text, (size_t)bytes, ac_after(PATIENCE_SECONDS), NULL);
    err = put < 0 ? (int)put : read_head(*server, answer);
    if (err)
        ac_close(*server);
    return err;
}

// Finds out how long the file is and whether the server gives parts: it is asked for the first
// byte.
static int explore(void) {
    ac_stream *server;
    struct answer answer;
    int err = request(&server, &answer, 0, 1);
    if (err)
        return err;
    ac_close(server);
    if (answer.status == 416 && it.in_parts) { // there is no first byte
        it.in_parts = false;
        return explore();
    }
    if (answer.status != 200 && answer.status != 206) {
        ac_print_to(stderr, "the server answers %d\n", answer.status);
        return -ENOENT;
    }
    it.in_parts = answer.status == 206;
    it.bytes = it.in_parts ? answer.total : answer.length;
    return it.bytes < 0 ? -EPROTO : 0;
}

// ---- the parts ----

static bool is_what_was_asked(const struct part *part, const struct answer *answer) {
    if (!it.in_parts)
        return answer->status == 200 && answer->length == it.bytes;
    return answer->status == 206 && answer->begin == part->at && answer->total == it.bytes &&
           answer->length == part->end - part->at;
}

// Reads and writes until the part is there or something is wrong.
static int fetch_once(struct part *part) {
    char chunk[CHUNK_BYTES];
    ac_stream *server;
    struct answer answer;
    if (!it.in_parts)
        part->at = part->begin;
    int err = request(&server, &answer, part->at, part->end);
    if (err)
        return err;
    long got = is_what_was_asked(part, &answer) ? 1 : -EPROTO;
    while (got > 0 && part->at < part->end) {
        int64_t left = part->end - part->at;
        size_t most = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        got = ac_read(server, chunk, most, ac_after(PATIENCE_SECONDS));
        if (got > 0)
            got = ac_file_write_at(it.out, chunk, (size_t)got, (uint64_t)part->at, AC_FOREVER);
        if (got > 0)
            part->at += got;
    }
    ac_close(server);
    return got > 0 ? 0 : got < 0 ? (int)got : -ECONNRESET; // it ended too early
}

static ac_value fetch(ac_value argument) {
    struct part *part = ac_pointer_of(argument);
    int err = 0, failed = 0;
    while (part->at < part->end && failed < ATTEMPTS && err != -ECANCELED) {
        int64_t before = part->at;
        err = fetch_once(part);
        failed = part->at > before && it.in_parts ? 0 : failed + 1;
        if (err && failed > 0)
            ac_sleep(0.2 * failed);
    }
    if (part->at < part->end)
        return ac_result(err);
    if (!isatty(STDOUT_FILENO))
        ac_print("part %d: %lld bytes\n", part->number, (long long)(part->end - part->begin));
    return ac_nil;
}

static void cut_into_parts(void) {
    if (!it.in_parts || it.bytes < parts_count)
        parts_count = 1;
    for (int i = 0; i < parts_count; i++) {
        int64_t begin = it.bytes / parts_count * i;
        int64_t end = i + 1 < parts_count ? it.bytes / parts_count * (i + 1) : it.bytes;
        parts[i] = (struct part){.number = i + 1, .begin = begin, .at = begin, .end = end};
    }
}

// ---- what one sees ----

static void draw(void) {
    static const char full[] = "########################################";
    for (int i = 0; i < parts_count; i++) {
        int64_t bytes = parts[i].end - parts[i].begin, there = parts[i].at - parts[i].begin;
        double share = bytes > 0 ? (double)there / (double)bytes : 1;
        ac_print("%2d [%-*.*s] %3d %%\n", parts[i].number, BAR_COLUMNS, (int)(share * BAR_COLUMNS),
                 full, (int)(share * 100));
    }
    fflush(stdout);
}

static ac_value show(ac_value unused) {
    for (draw(); ac_sleep(0.1) == 0; draw())
        ac_print("\033[%dA", parts_count); // back up to the first bar
    return ac_nil;
}

// ---- all of it ----

static int fetch_all(void) {
    ac_group *group;
    bool is_terminal = isatty(STDOUT_FILENO);
    int err = ac_group_open(&group);
    if (err)
        return err;
    for (int i = 0; i < parts_count; i++)
        ac_spawn(fetch, (void *)&parts[i], .group = group);
    ac_ref bars = is_terminal ? ac_spawn(show, ac_nil, .daemon = true) : ac_no_ref;
    err = ac_group_join(group, AC_FOREVER); // if one fails the others are cancelled
    ac_group_close(group);
    if (is_terminal) {
        ac_cancel(bars);
        ac_yield(); // it has drawn for the last time
        ac_print("\033[%dA", parts_count);
        draw();
    }
    return err;
}

static int download(void) {
    ac_time began = ac_now();
    it.in_parts = true;
    int err = explore();
    if (!err)
        err = ac_file_open(&it.out, it.unfinished, "w", AC_FOREVER);
    if (err)
        return err;
    cut_into_parts();
    err = fetch_all();
    ac_close(it.out);
    if (!err)
        err = ac_file_rename(it.unfinished, it.file, AC_FOREVER);
    if (err)
        (void)!ac_file_remove(it.unfinished, AC_FOREVER);
    else
        ac_print("%s: %lld bytes in %.2f seconds\n", it.file, (long long)it.bytes,
                 (double)(ac_now() - began) / 1e9);
    return err;
}

static ac_value run(ac_value unused) {
    int err = download();
    if (err)
        ac_print_to(stderr, "%s\n", ac_strerror(err));
    return ac_result(err);
}

// Takes "http://host:port/path" apart.
static bool parse_url(const char *url) {
    if (strncmp(url, "http://", 7) != 0)
        return false;
    size_t host = strcspn(url + 7, "/");
    const char *path = url + 7 + host;
    if (host == 0 || host + 4 > sizeof it.host || strlen(path) + 2 > sizeof it.path ||
        strpbrk(url, " \r\n"))
        return false;
    ac_format(it.host, sizeof it.host, "%.*s%s", (int)host, url + 7,
              memchr(url + 7, ':', host) ? "" : ":80");
    ac_format(it.path, sizeof it.path, "%s", *path ? path : "/");
    return true;
}

int main(int argc, char **argv) {
    if (argc > 3)
        parts_count = (int)strtol(argv[3], NULL, 10);
    if (argc < 3 || !parse_url(argv[1]) || strlen(argv[2]) > TEXT_BYTES || parts_count < 1 ||
        parts_count > PARTS_MAX) {
        ac_print_to(stderr, "usage: download http://HOST[:PORT]/PATH FILE [PARTS, at most %d]\n",
                    PARTS_MAX);
        return 2;
    }
    it.file = argv[2];
    ac_format(it.unfinished, sizeof it.unfinished, "%s.part", it.file);
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_spawn(run, ac_nil);
    return ac_run();
}
