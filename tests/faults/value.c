// SPDX-License-Identifier: MIT
// Faults under values: each is made whole, or is no value and says why.
#include "faults.h"

#include <stdlib.h>

static const char long_text[] = "a text that is too long to fit into the sixteen bytes of a value";

// Takes the value, and looks at it as it was meant to be.
static void check_text(ac_value value) {
    if (ac_kind_of(note_value(value)) == AC_INVALID)
        return;
    REQUIRE(ac_span_of(value).bytes == sizeof long_text - 1);
    const char *text = ac_text_of(value);
    REQUIRE(text ? strcmp(text, long_text) == 0 : note(-ENOMEM) < 0);
    ac_drop(value);
}

SCENARIO(values_are_made) {
    check_text(ac_of_text(long_text));
    check_text(ac_of_text_span(long_text, sizeof long_text - 1));
    ac_value bytes = note_value(ac_of_bytes(long_text, sizeof long_text));
    REQUIRE(ac_kind_of(bytes) == AC_INVALID || ac_span_of(bytes).bytes == sizeof long_text);
    ac_value again = ac_hold(bytes);
    REQUIRE(ac_equal(bytes, again));
    ac_drop(again);
    ac_drop(bytes);
    ac_value ref = note_value(ac_of_ref((ac_ref){1, 4}));
    REQUIRE(ac_kind_of(ref) == AC_INVALID || ac_ref_equal(ac_ref_of(ref), (ac_ref){1, 4}));
    ac_drop(ref);
    ac_drop(note_value(ac_of_unsigned(7)));
    ac_drop(note_value(ac_of_real(0.5)));
    ac_drop(note_value(ac_of_bool(true)));
    ac_drop(note_value(ac_of_pointer(&ref)));
}

SCENARIO(an_error_keeps_its_code) {
    ac_value error = ac_of_error(-EPROTO, long_text);
    REQUIRE(ac_kind_of(error) == AC_ERROR && ac_error_of(error) == -EPROTO);
    REQUIRE(ac_span_of(error).bytes == sizeof long_text - 1 || faults_what());
    ac_drop(error);
    error = ac_result(-EPROTO);
    REQUIRE(ac_error_of(error) == -EPROTO);
    ac_drop(error);
}

SCENARIO(lists_and_maps_are_made_and_read) {
    ac_value list = note_value(ac_list(1, long_text, ac_list(2.5, "x"), ac_map("key", long_text)));
    if (ac_kind_of(list) == AC_INVALID)
        return;
    REQUIRE(ac_count(list) == 4 && ac_kind_of(list) == AC_LIST);
    check_text(ac_at(list, 1));
    size_t cursor = 0, seen = 0;
    ac_value item;
    while (ac_next(list, &cursor, &item)) {
        seen++;
        ac_drop(note_value(item));
    }
    REQUIRE(seen == 4);
    ac_value map = note_value(ac_at(list, 3));
    if (ac_kind_of(map) != AC_INVALID)
        check_text(ac_get(map, "key"));
    ac_drop(map);
    ac_drop(list);
}

SCENARIO(a_list_is_taken_apart_or_nothing_is_held) {
    ac_value list = note_value(ac_list(1, long_text, ac_list(2, long_text), 2.5, ac_no_ref));
    if (ac_kind_of(list) == AC_INVALID)
        return;
    int number = 0;
    const char *text = NULL;
    ac_value inner = ac_nil;
    double real = 0;
    ac_ref ref = {1, 1};
    if (note(ac_unpack(list, &number, &text, &inner, &real, &ref)) == 0) {
        REQUIRE(number == 1 && strcmp(text, long_text) == 0 && real == 2.5 && !ac_ref_is(ref));
        REQUIRE(ac_count(inner) == 2);
        ac_drop(inner);
    }
    ac_drop(list);
}

SCENARIO(values_are_encoded_and_decoded) {
    ac_value list = note_value(ac_list(1, long_text, ac_map("a", 1, "b", ac_list(2, 3))));
    void *encoded;
    size_t bytes;
    if (ac_kind_of(list) != AC_INVALID && note(ac_encode(list, &encoded, &bytes)) == 0) {
        ac_value decoded = note_value(ac_decode(encoded, bytes));
        REQUIRE(ac_kind_of(decoded) == AC_INVALID || ac_equal(list, decoded));
        ac_drop(decoded);
        free(encoded);
    }
    ac_drop(list);
}

SCENARIO(values_are_printed) {
    ac_value list = note_value(ac_list(1, long_text, ac_map("a", 1, "b", ac_list(2, 3))));
    char text[512];
    if (ac_kind_of(list) != AC_INVALID) {
        long length = note(ac_format(text, sizeof text, "%v %r %s", list, ac_no_ref, long_text));
        REQUIRE(length < 0 || strstr(text, long_text));
        FILE *null = fopen("/dev/null", "we");
        if (null) {
            note(ac_print_to(null, "%v %d\n", list, 7));
            fclose(null);
        }
        note(ac_print("%v\n", ac_nil));
    }
    ac_drop(list);
}
