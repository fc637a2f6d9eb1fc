// SPDX-License-Identifier: MIT
// Fuzz target: the greeting with which a connection begins (HELLO, WELCOME, REFUSE). The first byte
// chooses which, the others are its payload. What is accepted can be told again, and texts for
// people have nothing in them that a terminal would obey.
#include "fuzz.h"

#include "fabric/fabric_private.h"

static void require_clean(const char *text, size_t bytes_max) {
    size_t bytes = strlen(text);
    REQUIRE(bytes <= bytes_max);
    for (size_t i = 0; i < bytes; i++)
        REQUIRE((uint8_t)text[i] >= 0x20 && text[i] != 0x7f &&
                !((uint8_t)text[i] == 0xc2 && (uint8_t)text[i + 1] < 0xa0));
    ac_value it = ac_of_text_span(text, bytes); // it must be UTF-8
    REQUIRE(ac_kind_of(it) == AC_TEXT);
    ac_drop(it);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    uint8_t first[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    uint8_t second[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting greeting, again;
    struct frame frame;
    if (count == 0)
        return 0;
    enum frame_type type = (enum frame_type)(FRAME_HELLO + bytes[0] % 3);
    if (frame_read_greeting(type, bytes + 1, count - 1, &greeting) < 0)
        return 0;
    require_clean(greeting.name, NAME_BYTES_MAX);
    require_clean(greeting.text, REFUSAL_TEXT_BYTES);
    REQUIRE(greeting.ip_bytes <= sizeof greeting.ip);
    size_t told = frame_put_greeting(first, type, &greeting);
    REQUIRE(frame_read_header(first, &frame) == 0 && frame.type == type);
    REQUIRE(frame_read_greeting(type, first + FRAME_HEADER_BYTES, frame.bytes, &again) == 0);
    REQUIRE(frame_put_greeting(second, type, &again) == told);
    REQUIRE(memcmp(first, second, told) == 0);
    return 0;
}
