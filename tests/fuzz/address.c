// SPDX-License-Identifier: MIT
// Fuzz target: addresses as text, from files, arguments and peers. What is accepted as numeric has
// a text of its own, which means the same.
#include "fuzz.h"

#include "sys/sys.h"

#include <string.h>

static void look_at_ip(const char *text) {
    struct sys_address address, again;
    char own[SYS_ADDRESS_TEXT_BYTES];
    if (!sys_address_parse(text, &address))
        return;
    REQUIRE(address.family == 4 || address.family == 6);
    sys_address_text(&address, own);
    REQUIRE(strlen(own) < sizeof own);
    REQUIRE(sys_address_parse(own, &again));
    REQUIRE(sys_address_equal(&address, &again));
}

static void look_at_unix(const char *text) {
    struct sys_unix name, again;
    char own[SYS_UNIX_TEXT_BYTES];
    if (sys_unix_parse(text, &name) < 0)
        return;
    REQUIRE(name.bytes <= sizeof name.text);
    sys_unix_text(&name, own);
    REQUIRE(name.bytes == 0 || sys_unix_parse(own, &again) == 0);
    REQUIRE(name.bytes == 0 || again.bytes == name.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char *text = malloc(count + 1);
    if (count > 0)
        memcpy(text, bytes, count);
    text[count] = 0;
    look_at_ip(text);
    look_at_unix(text);
    free(text);
    return 0;
}
