// SPDX-License-Identifier: MIT
// A client of a Redis server: asks and answers, many requests at once, and news for whoever
// subscribes. What the server says becomes values, within limits, and nothing is taken that is not
// exactly as the protocol (RESP 2) has it. usage: redis [ADDRESS]
#include <asyncoro.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORDS_MAX = 8,         // in a request
    LINE_BYTES_MAX = 1024, // of what comes without its length before it
    BYTES_MAX = 1 << 20,   // of one text
    ITEMS_MAX = 1000,      // in one list
    DEPTH_MAX = 4,         // of lists in lists
    PATIENCE_SECONDS = 10,
    MANY = 10000
};

static const char *address = "127.0.0.1:6379";

// ---- the protocol ----
//
// A request is a list of texts: "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n". A reply begins with a letter:
// '+' and '-' a line, good or an error; ':' a number; '$' and '*' the length of a text and of a
// list, or -1 for nothing.

// Sends words, the last followed by NULL. 0 or an error.
static int ask(ac_stream *server, const char *const *words) {
    char head[32], lengths[WORDS_MAX][32];
    ac_part parts[1 + 3 * WORDS_MAX];
    size_t count = 0;
    for (ac_part *part = parts + 1; words[count]; count++) {
        if (count == WORDS_MAX)
            return -EMSGSIZE;
        size_t bytes = strlen(words[count]);
        int digits = ac_format(lengths[count], sizeof lengths[count], "$%zu\r\n", bytes);
        *part++ = (ac_part){lengths[count], (size_t)digits};
        *part++ = (ac_part){words[count], bytes};
        *part++ = (ac_part){"\r\n", 2};
    }
    parts[0] = (ac_part){head, (size_t)ac_format(head, sizeof head, "*%zu\r\n", count)};
    long put = ac_write_parts(server, parts, 1 + 3 * count, ac_after(PATIENCE_SECONDS), NULL);
    return put < 0 ? (int)put : 0;
}

#define ASK(server, ...) ask((server), (const char *const[]){__VA_ARGS__, NULL})

// An integer, as digits and nothing else.
static bool parse_number(const char *text, long long *number) {
    const char *digits = text + (*text == '-');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    *number = strtoll(text, NULL, 10);
    return errno == 0;
}

// A line without its end, which must be "\r\n". Its length, or an error.
static long read_line(ac_stream *server, char line[LINE_BYTES_MAX], ac_time deadline) {
    long got = ac_read_until(server, "\r\n", 2, line, LINE_BYTES_MAX, deadline);
    if (got <= 0)
        return got < 0 ? got : -ECONNRESET; // an end in the middle of something
    if (got < 3 || memcmp(line + got - 2, "\r\n", 2) != 0)
        return -EPROTO;
    line[got - 2] = 0;
    return got - 2;
}

static int read_text(ac_stream *server, size_t bytes, ac_value *reply, ac_time deadline) {
    char *text = malloc(bytes + 2);
    if (!text)
        return -ENOMEM;
    long got = ac_read_exactly(server, text, bytes + 2, deadline, NULL);
    int err = got < 0 ? (int)got : got == 0 ? -ECONNRESET : 0;
    if (!err && memcmp(text + bytes, "\r\n", 2) != 0)
        err = -EPROTO;
    if (!err) {
        *reply = ac_of_text_span(text, bytes);
        if (ac_error_of(*reply) == -EILSEQ)
            *reply = ac_of_bytes(text, bytes);
    }
    free(text);
    return err;
}

static int read_reply(ac_stream *server, ac_value *reply, int depth, ac_time deadline);

static int read_list(ac_stream *server, size_t count, ac_value *reply, int depth,
                     ac_time deadline) {
    ac_value *items = malloc((count + 1) * sizeof *items);
    size_t n = 0;
    int err = items ? 0 : -ENOMEM;
    while (!err && n < count) {
        err = read_reply(server, &items[n], depth + 1, deadline);
        n += !err;
    }
    if (!err)
        *reply = ac_list_of(items, count);
    else
        while (n > 0)
            ac_drop(items[--n]);
    free(items);
    return err;
}

// Reads one reply, which the caller drops; what the server calls an error is a value of that kind.
// 0; -EPROTO; -EMSGSIZE over a limit; or an error of the connection. After an error the connection
// is good for nothing.
static int read_reply(ac_stream *server, ac_value *reply, int depth, ac_time deadline) {
    char line[LINE_BYTES_MAX];
    long long number;
    long length = read_line(server, line, deadline);
    if (length < 0)
        return (int)length;
    if (line[0] == '+' || line[0] == '-') {
        *reply = line[0] == '+' ? ac_of_text(line + 1) : ac_of_error(-EIO, line + 1);
        return ac_kind_of(*reply) == AC_INVALID ? ac_error_of(*reply) : 0;
    }
    if (!parse_number(line + 1, &number))
        return -EPROTO;
    if (line[0] == ':') {
        *reply = ac_of_int(number);
        return 0;
    }
    bool is_list = line[0] == '*';
    if ((!is_list && line[0] != '$') || number < -1)
        return -EPROTO;
    if (number > (is_list ? ITEMS_MAX : BYTES_MAX) || (is_list && depth == DEPTH_MAX))
        return -EMSGSIZE;
    *reply = ac_nil;
    if (number < 0)
        return 0;
    return is_list ? read_list(server, (size_t)number, reply, depth, deadline)
                   : read_text(server, (size_t)number, reply, deadline);
}

// ---- one after the other ----

static void complain(const char *what, int err) {
    ac_print_to(stderr, "%s: %s\n", what, ac_strerror(err));
}

#define TALK(server, ...) talk((server), (const char *const[]){__VA_ARGS__, NULL})

// Asks, and prints what is answered.
static int talk(ac_stream *server, const char *const *words) {
    ac_value reply;
    int err = ask(server, words);
    if (!err)
        err = read_reply(server, &reply, 0, ac_after(PATIENCE_SECONDS));
    if (err)
        return err;
    ac_print("%s %s: %v\n", words[0], words[1], reply);
    ac_drop(reply);
    return 0;
}

// ---- many at once ----

static ac_value write_many(ac_value argument) {
    ac_stream *server = ac_pointer_of(argument);
    int err = 0;
    for (int i = 0; i < MANY && !err; i++)
        err = ASK(server, "INCR", "asyncoro:visits");
    return ac_result(err);
}

// Nobody waits for an answer before the next request goes: one coroutine asks, this one reads.
static int pipeline(ac_stream *server) {
    ac_value reply = ac_nil;
    int err = 0;
    ac_ref writer = ac_spawn(write_many, (void *)server, .joinable = true);
    for (int i = 0; i < MANY && !err; i++) {
        ac_drop(reply);
        reply = ac_nil;
        err = read_reply(server, &reply, 0, ac_after(PATIENCE_SECONDS));
    }
    if (err)
        ac_cancel(writer);
    int unfinished = ac_join(writer, NULL, AC_FOREVER); // it uses the connection until then
    if (!err && !unfinished)
        ac_print("%d requests at once, the last answer is %v\n", MANY, reply);
    ac_drop(reply);
    return err ? err : unfinished;
}

// ---- news ----

// Prints the news until one says "bye". Its first message to `argument` says that it listens.
static ac_value subscribe(ac_value argument) {
    ac_stream *server;
    int err = ac_connect(&server, address, ac_after(PATIENCE_SECONDS));
    if (err)
        return ac_result(err);
    err = ASK(server, "SUBSCRIBE", "asyncoro:news");
    for (bool over = false; !err && !over;) {
        ac_value news;
        const char *kind, *channel;
        ac_value what = ac_nil;
        err = read_reply(server, &news, 0, ac_after(PATIENCE_SECONDS));
        if (err)
            break;
        err = ac_unpack(news, &kind, &channel, &what);
        if (!err && strcmp(kind, "subscribe") == 0)
            err = ac_send(ac_ref_of(argument), ac_of_text("listening"));
        else if (!err)
            ac_print("news: %v\n", what);
        over = !err && ac_text_of(what) && strcmp(ac_text_of(what), "bye") == 0;
        ac_drop(what);
        ac_drop(news);
    }
    ac_close(server);
    return ac_result(err);
}

static int publish(ac_stream *server) {
    struct ac_exit end;
    ac_value listening;
    ac_ref subscriber = ac_spawn(subscribe, ac_self(), .joinable = true);
    int err = ac_receive(&listening, ac_after(PATIENCE_SECONDS));
    if (!err)
        ac_drop(listening);
    const char *const news[] = {"it rains", "it snows", "bye"};
    for (int i = 0; i < 3 && !err; i++)
        err = TALK(server, "PUBLISH", "asyncoro:news", news[i]);
    if (err)
        ac_cancel(subscriber);
    if (ac_join(subscriber, &end, AC_FOREVER) == 0) {
        err = err ? err : ac_error_of(end.value);
        ac_drop(end.value);
    }
    return err;
}

// ---- all of it ----

static ac_value client(ac_value unused) {
    ac_stream *server;
    int err = ac_connect(&server, address, ac_after(PATIENCE_SECONDS));
    if (err) {
        complain(address, err);
        return ac_result(err);
    }
    err = TALK(server, "SET", "asyncoro:name", "Ada");
    err = err ? err : TALK(server, "GET", "asyncoro:name");
    err = err ? err : TALK(server, "GET", "asyncoro:nothing");
    err = err ? err : TALK(server, "INCR", "asyncoro:name");
    err = err ? err : TALK(server, "MGET", "asyncoro:name", "asyncoro:nothing");
    err = err ? err : TALK(server, "DEL", "asyncoro:visits");
    err = err ? err : pipeline(server);
    err = err ? err : publish(server);
    ac_close(server);
    if (err)
        complain(address, err);
    return ac_result(err);
}

int main(int argc, char **argv) {
    if (argc > 1)
        address = argv[1];
    ac_spawn(client, ac_nil);
    return ac_run();
}
