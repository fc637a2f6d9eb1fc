// SPDX-License-Identifier: MIT
// What a frame says, for AC_TRACE=frame: the name of its type, the receiver of a message, and the
// items behind it one after the other, each cut to ITEM_BYTES_MAX. What a peer has sent may be
// anything: what is no value is said to be so, and nothing of it moves a terminal's cursor.
#include "remote/remote_private.h"

#include <stdio.h>

enum { ITEM_BYTES_MAX = 160, NO_RECEIVER = -1 };

struct kind {
    const char *name;
    int receiver; // which item names whom it is for; NO_RECEIVER
};

static const struct kind kinds[] = {
    [FRAME_SEND] = {"SEND", 0},
    [FRAME_DELIVER] = {"DELIVER", 1},
    [FRAME_ANSWER] = {"ANSWER", NO_RECEIVER},
    [FRAME_MONITOR] = {"MONITOR", 1},
    [FRAME_EXIT] = {"EXIT", NO_RECEIVER},
    [FRAME_LOCATE] = {"LOCATE", NO_RECEIVER},
    [FRAME_FOUND] = {"FOUND", NO_RECEIVER},
    [FRAME_FORGET] = {"FORGET", NO_RECEIVER},
    [FRAME_PIECE] = {"PIECE", NO_RECEIVER},
    [FRAME_ABORT] = {"ABORT", NO_RECEIVER},
    [FRAME_UNWATCH] = {"UNWATCH", NO_RECEIVER},
    [FRAME_SUBSCRIBE] = {"SUBSCRIBE", 1},
    [FRAME_CLOSED] = {"CLOSED", 1},
    [FRAME_RIGHTS] = {"RIGHTS", NO_RECEIVER},
    [FRAME_CALL] = {"CALL", 1},
    [FRAME_STARTED] = {"STARTED", NO_RECEIVER},
    [FRAME_SPREAD] = {"SPREAD", NO_RECEIVER},
    [FRAME_LEFT] = {"LEFT", NO_RECEIVER},
    [FRAME_CANCEL] = {"CANCEL", 0},
    [FRAME_FILE] = {"FILE", NO_RECEIVER},
    [FRAME_ASK] = {"ASK", NO_RECEIVER},
    [FRAME_TOLD] = {"TOLD", NO_RECEIVER},
};

// A text that grows within a limit.
struct line {
    char *text;
    size_t length;
    size_t max; // with the NUL
};

static void put(struct line *line, const char *text) {
    int length = snprintf(line->text + line->length, line->max - line->length, "%s", text);
    line->length += (size_t)length;
    if (line->length >= line->max)
        line->length = line->max - 1;
}

static void put_item(struct line *line, ac_value item) {
    char text[ITEM_BYTES_MAX + 1];
    bool is_text = ac_kind_of(item) == AC_TEXT;
    int whole = ac_format(NULL, 0, "%v", item);
    (void)ac_format(text, sizeof text, "%.*v", ITEM_BYTES_MAX, item);
    put(line, is_text ? "\"" : "");
    put(line, text);
    put(line, whole > ITEM_BYTES_MAX ? "..." : is_text ? "\"" : "");
}

// One item more; false if it cannot be read.
static bool put_next(struct line *line, struct cbor_reader *reader) {
    ac_value item = cbor_read_value(reader, true);
    if (reader->err)
        put(line, "(not readable)");
    else
        put_item(line, item);
    ac_drop(item);
    return !reader->err;
}

static bool put_receiver(struct line *line, struct cbor_reader *reader, uint64_t to) {
    char text[64];
    ac_ref receiver = {to, cbor_read_unsigned(reader)};
    (void)ac_format(text, sizeof text, "to %r", receiver);
    put(line, reader->err ? "(not readable)" : text);
    return !reader->err;
}

const char *show_describe(uint64_t to, unsigned type, const uint8_t *payload, size_t bytes,
                          char *text, size_t max) {
    static const struct kind unknown = {NULL, NO_RECEIVER};
    const struct kind *kind = type < countof(kinds) && kinds[type].name ? &kinds[type] : &unknown;
    struct line line = {text, 0, max};
    struct cbor_reader reader;
    bool more = bytes > 0;
    text[0] = 0;
    cbor_reader_init(&reader, payload, bytes);
    for (int i = 0; more; i++) {
        put(&line, i > 0 ? ", " : "");
        more = i == kind->receiver ? put_receiver(&line, &reader, to) : put_next(&line, &reader);
        more = more && !cbor_read_end(&reader);
    }
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    return kind->name;
}
