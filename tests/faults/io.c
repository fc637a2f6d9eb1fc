// SPDX-License-Identifier: MIT
// Faults under streams and datagrams: what was written is read, whole and in order, or one of the
// two sides is told.
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINES = 20, BYTES = 300 << 10 }; // more than a socket holds

static struct {
    char address[AC_ADDRESS_TEXT_BYTES];
    ac_listener *listener;
    int lines;
    long bytes;
    int done;
} net;

static ac_time patience(void) { return ac_after(faults_excuse() ? 1 : 5); }

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

// ---- Unix sockets ----

static ac_value serve_byte(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    char byte;
    struct ac_credentials credentials;
    if (note(ac_accept(net.listener, &stream, patience())) == 0) {
        if (strncmp(net.address, "unix:", 5) == 0)
            note(ac_stream_credentials(stream, &credentials));
        if (note(ac_read(stream, &byte, 1, patience())) == 1)
            net.bytes++;
        ac_close(stream);
    }
    return ac_nil;
}

static ac_value talk_in_folder(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    if (note(ac_listen(&net.listener, net.address, .replace = true, .mode = 0600,
                       .send_buffer_bytes = 50000)) < 0)
        return ac_nil;
    if (ac_ref_is(note_ref(ac_spawn(serve_byte, ac_nil))) &&
        note(ac_connect(&stream, net.address, patience())) == 0) {
        note(ac_write_all(stream, "x", 1, patience(), NULL));
        note(ac_sleep(0.0005));
        ac_close(stream);
    }
    note(ac_sleep(0.0005));
    ac_listener_close(net.listener);
    return ac_nil;
}

// The file of a socket that was not removed.
static void leave_file(const char *path) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&un, sizeof un) < 0)
        unlink(path); // there is none
    close(fd);
}

SCENARIO(a_unix_socket_is_served_and_leaves_no_file) {
    char folder[TEST_TEMPLATE_BYTES], path[80];
    test_template(folder);
    memset(&net, 0, sizeof net);
    if (!mkdtemp(folder))
        return;
    snprintf(path, sizeof path, "%s/it", folder);
    snprintf(net.address, sizeof net.address, "unix:%s", path);
    leave_file(path);
    note_ref(ac_spawn(talk_in_folder, ac_nil));
    note(ac_run());
    REQUIRE(net.bytes == 1 || faults_errors() > 0);
    // Nobody is told of a file that could not be removed.
    REQUIRE(unlink(path) < 0 || faults_what());
    REQUIRE(rmdir(folder) == 0);
}

// ---- several addresses ----

// Of the two addresses of this computer the first refuses.
static ac_value talk_by_the_second(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    if (note(ac_listen(&net.listener, "[::1]:0")) < 0)
        return ac_nil;
    if (note(ac_listener_address(net.listener, net.address)) == 0 &&
        ac_ref_is(note_ref(ac_spawn(serve_byte, ac_nil))) &&
        note(ac_connect(&stream, strrchr(net.address, ':'), patience())) == 0) {
        note(ac_write_all(stream, "x", 1, patience(), NULL));
        note(ac_sleep(0.0005));
        ac_close(stream);
    }
    note(ac_sleep(0.0005));
    ac_listener_close(net.listener);
    return ac_nil;
}

SCENARIO(addresses_are_tried_side_by_side) {
    memset(&net, 0, sizeof net);
    note_ref(ac_spawn(talk_by_the_second, ac_nil));
    note(ac_run());
    REQUIRE(net.bytes == 1 || faults_errors() > 0);
}

// ---- datagrams ----

static void ask_and_answer(ac_datagrams *asks, ac_datagrams *answers, const char *to) {
    char text[16], from[AC_ADDRESS_TEXT_BYTES];
    if (note(ac_datagrams_send(asks, "question", 8, to, patience())) == 8 &&
        note(ac_datagrams_receive(answers, text, sizeof text, from, patience())) == 8 &&
        note(ac_datagrams_send(answers, "answer", 6, from, patience())) == 6 &&
        note(ac_datagrams_receive(asks, text, sizeof text, NULL, patience())) == 6)
        net.lines++;
}

static ac_value exchange(ac_value where) {
    ac_datagrams *asks, *answers;
    if (note(ac_datagrams_open(&answers, ac_text_of(where))) < 0)
        return ac_nil;
    if (note(ac_datagrams_address(answers, net.address)) == 0 &&
        note(ac_datagrams_open(&asks, ac_text_of(where), .send_buffer_bytes = 50000)) == 0) {
        ask_and_answer(asks, answers, net.address);
        if (note(ac_datagrams_connect(asks, net.address, patience())) == 0)
            ask_and_answer(asks, answers, NULL);
        ac_datagrams_close(asks);
    }
    ac_datagrams_close(answers);
    return ac_nil;
}

static void run_exchange(const char *where) {
    memset(&net, 0, sizeof net);
    note_ref(ac_spawn(exchange, ac_of_text(where)));
    note(ac_run());
    REQUIRE(net.lines == 2 || faults_errors() > 0);
}

SCENARIO(datagrams_are_answered) { run_exchange("127.0.0.1:0"); }

SCENARIO(unix_datagrams_are_answered) { run_exchange("unix:@"); }

// ---- parts, frames and files ----

enum { FRAMES = 5, FRAME_BYTES = 3000, PART_BYTES = 5000, FILE_BYTES = 400 << 10 };

static struct {
    ac_listener *listener;
    int frames;
    long bytes; // behind the frames
} taken;

static void take_all(ac_stream *stream) {
    static char bytes[FILE_BYTES];
    size_t got;
    while (taken.frames < FRAMES) {
        if (note(ac_read_frame(stream, bytes, FRAME_BYTES, patience(), &got)) <= 0)
            return;
        REQUIRE(got == FRAME_BYTES && bytes[FRAME_BYTES - 1] == 'f');
        taken.frames++;
    }
    if (note(ac_peek(stream, bytes, 2, 2, patience())) == 2)
        REQUIRE(memcmp(bytes, "pq", 2) == 0);
    long more = 1;
    while (more > 0) {
        more = note(ac_read(stream, bytes, sizeof bytes, patience()));
        taken.bytes += more > 0 ? more : 0;
    }
}

static ac_value take(ac_value unused) {
    (void)unused;
    ac_stream *stream;
    if (note(ac_accept(taken.listener, &stream, patience())) == 0) {
        take_all(stream);
        ac_close(stream);
    }
    return ac_nil;
}

static void give_all(ac_stream *stream, ac_stream *file) {
    static char frame[FRAME_BYTES], part[PART_BYTES];
    size_t put;
    memset(frame, 'f', sizeof frame);
    memset(part, 'q', sizeof part);
    for (int i = 0; i < FRAMES; i++)
        if (note(ac_write_frame(stream, frame, sizeof frame, patience(), &put)) < 0)
            return;
    const ac_part parts[] = {{"p", 1}, {part, sizeof part}, {"r", 1}};
    long done = note(ac_write_parts(stream, parts, countof(parts), patience(), &put));
    REQUIRE(done < 0 || (size_t)done == put);
    if (done < 0)
        return;
    done = note(ac_send_file(stream, file, 0, FILE_BYTES, patience(), &put));
    REQUIRE(done < 0 || (size_t)done == put);
    note(ac_shutdown(stream));
}

static ac_value give(ac_value unused) {
    (void)unused;
    char address[AC_ADDRESS_TEXT_BYTES];
    ac_stream *stream, *file;
    if (note(ac_listen(&taken.listener, "127.0.0.1:0")) < 0)
        return ac_nil;
    if (note(ac_listener_address(taken.listener, address)) == 0 &&
        ac_ref_is(note_ref(ac_spawn(take, ac_nil))) &&
        note(ac_connect(&stream, address, patience())) == 0) {
        if (note(ac_file_open(&file, "/proc/self/exe", "r", patience())) == 0) {
            give_all(stream, file);
            ac_close(file);
        }
        ac_close(stream);
    }
    note(ac_sleep(0.0005));
    ac_listener_close(taken.listener);
    return ac_nil;
}

SCENARIO(parts_frames_and_files_arrive) {
    memset(&taken, 0, sizeof taken);
    note_ref(ac_spawn(give, ac_nil));
    note(ac_run());
    REQUIRE((taken.frames == FRAMES && taken.bytes == PART_BYTES + 2 + FILE_BYTES) ||
            faults_errors() > 0);
}
