// SPDX-License-Identifier: MIT
// Faults under streams: what was written is read, whole and in order, or one of the two sides is
// told.
#include "faults.h"

#include <unistd.h>

enum { LINES = 20, BYTES = 300 << 10 }; // more than a socket holds

static struct {
    char address[AC_ADDRESS_TEXT_BYTES];
    ac_listener *listener;
    int lines;
    long bytes;
    int done;
} net;

static ac_time patience(void) { return ac_after(2); }

static void read_all(ac_stream *stream) {
    char line[64];
    for (int i = 0; i < LINES; i++) {
        long got = note(ac_read_line(stream, line, sizeof line, patience()));
        if (got <= 0)
            return;
        REQUIRE(strncmp(line, "line", 4) == 0);
        net.lines++;
    }
    static char bytes[BYTES];
    size_t got;
    note(ac_read_exactly(stream, bytes, BYTES / 2, patience(), &got));
    net.bytes += (long)got;
    long more = 1;
    while (more > 0 && got == BYTES / 2) {
        more = note(ac_read(stream, bytes, sizeof bytes, patience()));
        net.bytes += more > 0 ? more : 0;
    }
}

static ac_value serve(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    if (note(ac_accept(net.listener, &stream, patience())) == 0) {
        char text[AC_ADDRESS_TEXT_BYTES];
        note(ac_stream_local(stream, text));
        note(ac_stream_remote(stream, text));
        read_all(stream);
        ac_close(stream);
    }
    return ac_nil;
}

static void write_all(ac_stream *stream) {
    static const char bytes[BYTES];
    size_t put;
    for (int i = 0; i < LINES; i++) {
        char line[64];
        long length = note(ac_format(line, sizeof line, "line %d\n", i));
        if (length < 0 || note(ac_write_all(stream, line, (size_t)length, patience(), &put)) < 0)
            return;
    }
    if (note(ac_write_all(stream, bytes, sizeof bytes, patience(), &put)) >= 0)
        REQUIRE(put == sizeof bytes);
    note(ac_shutdown(stream));
}

static ac_value talk(ac_value host) {
    if (note(ac_listen(&net.listener, "127.0.0.1:0")) < 0)
        return ac_nil;
    if (note(ac_listener_address(net.listener, net.address)) == 0 &&
        ac_ref_is(note_ref(ac_spawn(serve, ac_nil)))) {
        ac_stream *stream;
        char address[AC_ADDRESS_TEXT_BYTES];
        const char *name = ac_text_of(host);
        bool named = name && note(ac_format(address, sizeof address, "%s%s", name,
                                            strrchr(net.address, ':'))) > 0;
        if (note(ac_connect(&stream, named ? address : net.address, patience())) == 0) {
            write_all(stream);
            note(ac_sleep(0.0005));
            ac_close(stream);
        }
        note(ac_sleep(0.0005));
    }
    ac_listener_close(net.listener);
    net.done = 1;
    return ac_nil;
}

static void run_talk(ac_value host) {
    memset(&net, 0, sizeof net);
    note_ref(ac_spawn(talk, host));
    note(ac_run());
    REQUIRE((net.lines == LINES && net.bytes == BYTES) || faults_errors() > 0);
}

SCENARIO(what_is_written_is_read) { run_talk(ac_nil); }

SCENARIO(a_name_is_looked_up) { run_talk(ac_of_text("localhost")); }

static ac_value read_input(ac_value unused) {
    (void)unused;
    ac_stream *input = ac_input();
    char line[64];
    REQUIRE(input || note(-ENOMEM) < 0);
    if (input && note(ac_read_line(input, line, sizeof line, patience())) > 0)
        net.lines++;
    net.done = 1;
    return ac_nil;
}

SCENARIO(a_line_of_input_is_read) {
    int ends[2];
    memset(&net, 0, sizeof net);
    int kept = dup(STDIN_FILENO);
    if (pipe(ends) < 0 || kept < 0)
        return;
    dup3(ends[0], STDIN_FILENO, 0); // which cannot fail here
    REQUIRE(dprintf(ends[1], "a line\n") == 7);
    note_ref(ac_spawn(read_input, ac_nil));
    note(ac_run());
    dup3(kept, STDIN_FILENO, 0);
    close(kept);
    close(ends[0]);
    close(ends[1]);
    REQUIRE(net.lines == 1 || faults_errors() > 0);
}
