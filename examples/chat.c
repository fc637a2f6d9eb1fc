// SPDX-License-Identifier: MIT
// A chat for whoever has nc: the first line is a name, each further one is told to all others,
// "/who" lists them and "/quit" leaves. Whoever reads too slowly, says nothing for too long or
// writes a line without an end has to go. Until "quit" is typed here.
// usage: chat [ADDRESS [IDLE_SECONDS]]
#include <asyncoro.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    GUESTS_MAX = 1000,
    NAME_BYTES = 32,
    LINE_BYTES = 512,
    LINES_MAX = 100 // that wait for one guest to read them
};

struct guest {
    char name[NAME_BYTES];
    ac_ref reader, writer; // his two coroutines; what is sent to the writer he will read
    ac_stream *stream;
    struct guest *next; // in the order in which they came
};

static struct guest *guests;
static int connections;
static double idle_seconds = 600;

// ---- talking ----

// Tells one guest; one whose lines pile up, or cannot be written, has to go.
static void tell(struct guest *guest, ac_value line) {
    if (ac_try_send(guest->writer, line) != 0)
        ac_cancel(guest->reader);
}

static void tell_others(const struct guest *from, const char *format, const char *name,
                        const char *text) {
    char line[NAME_BYTES + LINE_BYTES + 32];
    int bytes = ac_format(line, sizeof line, format, name, text);
    ac_value it = ac_of_bytes(line, (size_t)bytes);
    for (struct guest *to = guests; to; to = to->next)
        if (to != from)
            tell(to, ac_hold(it));
    ac_drop(it);
}

static void tell_who(struct guest *to) {
    for (struct guest *it = guests; it; it = it->next) {
        char line[NAME_BYTES + 4];
        int bytes = ac_format(line, sizeof line, "* %s\n", it->name);
        tell(to, ac_of_bytes(line, (size_t)bytes));
    }
}

// Writes what is sent to it until that is nil.
static ac_value write_lines(ac_value argument) {
    ac_stream *stream = ac_pointer_of(argument);
    ac_value line;
    long err = ac_mailbox_limit(LINES_MAX, AC_REFUSE);
    while (err >= 0 && (err = ac_receive(&line, AC_FOREVER)) == 0 && !ac_equal(line, ac_nil)) {
        ac_span it = ac_span_of(line);
        err = ac_write_all(stream, it.at, it.bytes, ac_after(idle_seconds), NULL);
        ac_drop(line);
    }
    return ac_nil;
}

// ---- listening ----

// What could steer somebody's terminal becomes harmless.
static long read_line(struct guest *guest, char *line, size_t bytes) {
    long got = ac_read_line(guest->stream, line, bytes, ac_after(idle_seconds));
    for (long i = 0; i < got - 1; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    return got;
}

static bool is_taken(const char *name) {
    for (struct guest *it = guests; it; it = it->next)
        if (strcmp(it->name, name) == 0)
            return true;
    return false;
}

static long ask_name(struct guest *guest) {
    long got;
    do {
        tell(guest, ac_of_bytes("your name?\n", 11));
        got = read_line(guest, guest->name, sizeof guest->name);
    } while (got == 1 || (got > 1 && is_taken(guest->name)));
    return got;
}

static long listen_to(struct guest *guest) {
    char line[LINE_BYTES];
    long got;
    while ((got = read_line(guest, line, sizeof line)) > 0) {
        if (strcmp(line, "/quit") == 0)
            return 0;
        if (strcmp(line, "/who") == 0)
            tell_who(guest);
        else
            tell_others(guest, "%s: %s\n", guest->name, line);
    }
    return got;
}

static const char *why(long end) {
    switch (end) {
    case 0: return "bye";
    case -ETIMEDOUT: return "you have been silent for too long";
    case -EMSGSIZE: return "your line is too long";
    default: return "the chat is over";
    }
}

static void take_in(struct guest *guest) {
    struct guest **last = &guests;
    while (*last)
        last = &(*last)->next;
    *last = guest;
    tell_others(guest, "* %s is here%s\n", guest->name, "");
}

static void let_go(struct guest *guest) {
    struct guest **it = &guests;
    while (*it != guest)
        it = &(*it)->next;
    *it = guest->next;
    tell_others(guest, "* %s has left%s\n", guest->name, "");
}

static ac_value serve(ac_value argument) {
    ac_stream *stream = ac_pointer_of(argument);
    struct guest guest = {.stream = stream, .reader = ac_self()};
    guest.writer = ac_spawn(write_lines, (void *)stream, .daemon = true, .joinable = true);
    ac_yield(); // now the limit of its mailbox is set
    long end = ask_name(&guest);
    if (end > 0) {
        take_in(&guest);
        end = listen_to(&guest);
        let_go(&guest);
    }
    char line[64];
    int bytes = ac_format(line, sizeof line, "* %s\n", why(end));
    ac_shield_begin(); // so that there is still time for it, also if this coroutine was cancelled
    if (ac_try_send(guest.writer, ac_of_bytes(line, (size_t)bytes)) != 0 ||
        ac_try_send(guest.writer, ac_nil) != 0 || ac_join(guest.writer, NULL, ac_after(1)) != 0)
        ac_cancel(guest.writer);
    ac_shield_end();
    ac_close(stream);
    connections--;
    return ac_nil;
}

// ---- the door ----

static ac_value welcome(ac_value argument) {
    ac_listener *listener = ac_pointer_of(argument);
    ac_stream *stream;
    int err;
    while ((err = ac_accept(listener, &stream, AC_FOREVER)) != -ECANCELED) {
        if (err == 0 && connections < GUESTS_MAX) {
            connections++;
            ac_spawn(serve, (void *)stream, .daemon = true);
        } else if (err == 0) {
            ac_close(stream);
        } else {
            ac_print_to(stderr, "cannot accept: %s\n", ac_strerror(err));
            ac_sleep(0.1); // out of descriptors, perhaps: some will leave
        }
    }
    ac_listener_close(listener);
    return ac_nil;
}

static ac_value until_quit(ac_value unused) {
    char command[256];
    while (ac_read_line(ac_input(), command, sizeof command, AC_FOREVER) > 0)
        if (strcmp(command, "quit") == 0)
            break;
    return ac_nil;
}

int main(int argc, char **argv) {
    ac_listener *listener;
    char address[AC_ADDRESS_TEXT_BYTES];
    int err = ac_listen(&listener, argc > 1 ? argv[1] : "127.0.0.1:8011");
    if (err) {
        ac_print_to(stderr, "cannot listen: %s\n", ac_strerror(err));
        return 1;
    }
    if (argc > 2)
        idle_seconds = strtod(argv[2], NULL);
    ac_listener_address(listener, address);
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_print("listening on %s\n", address);
    ac_spawn(welcome, (void *)listener, .daemon = true);
    ac_spawn(until_quit, ac_nil);
    return ac_run();
}
