// SPDX-License-Identifier: MIT
// Fuzz target: the text of a key file. What is accepted can be written again and means the same.
#include "fuzz.h"

#include "fabric/fabric.h"

#include <string.h>

// The keys are the same however they are written: with blanks, line ends and comments taken out.
static void require_same(const struct key_ring *ring, const uint8_t *bytes, size_t count) {
    const uint8_t *keys = ring->keys[0];
    size_t seen = 0; // digits
    bool comment = false;
    for (size_t i = 0; i < count; i++) {
        comment = bytes[i] != '\n' &&
                  (comment || (bytes[i] == '#' && (i == 0 || bytes[i - 1] == '\n')));
        if (comment || strchr(" \t\r\n", bytes[i]))
            continue;
        char text[2] = {(char)bytes[i]};
        unsigned half = seen % 2 ? keys[seen / 2] & 15u : keys[seen / 2] >> 4;
        REQUIRE(seen < 2 * KEY_BYTES * ring->count && strtoul(text, NULL, 16) == half);
        seen++;
    }
    REQUIRE(seen == 2 * KEY_BYTES * ring->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct key_ring ring, again;
    char text[KEY_TEXT_BYTES];
    if (key_parse(bytes, count, &ring) < 0) {
        REQUIRE(ring.count == 0);
        return 0;
    }
    REQUIRE(ring.count >= 1 && ring.count <= KEYS_MAX);
    require_same(&ring, bytes, count);
    size_t length = key_print(&ring, text);
    REQUIRE(key_parse(text, length, &again) == 0);
    REQUIRE(memcmp(&ring, &again, sizeof ring) == 0);
    return 0;
}
