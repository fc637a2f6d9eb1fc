// SPDX-License-Identifier: MIT
// AC_TRACE=frame: a line for each frame in both directions, and nothing of what is secret.
#include "fabric/rig.h"

static char shown[1 << 20];

// Standard error goes into a file, as a pipe would fill.
static FILE *errors;

static void show_from_here(const char *floors) {
    setenv("AC_TRACE", floors, 1);
    errors = tmpfile();
    ck_assert_ptr_nonnull(errors);
    fflush(stderr);
    ck_assert_int_ge(dup2(fileno(errors), STDERR_FILENO), 0);
}

static const char *what_was_shown(void) {
    fflush(stderr);
    rewind(errors);
    shown[fread(shown, 1, sizeof shown - 1, errors)] = 0;
    return shown;
}

#define ck_shown(text) ck_assert_msg(strstr(what_was_shown(), text) != NULL, "it said: %s", shown)
#define ck_hidden(text) ck_assert_msg(!strstr(what_was_shown(), text), "it said: %s", shown)

static void exchange(void) {
    struct side *a, *b;
    rig_pair(&a, &b);
    ck_assert_int_eq(side_send(a, 2, 200, "hello", 5, FABRIC_WINDOW), 0);
    rig_until(b->frames == 1, 5);
    ck_assert_int_eq(side_send(b, 1, 201, "olleh", 5, FABRIC_WINDOW), 0);
    rig_until(a->frames == 1, 5);
    rig_until(rig_in(a, link_is_taken(&peer_find(a->fabric, 2)->link)), 5);
    rig_close_all();
}

TEST(each_frame_is_a_line_in_both_directions) {
    show_from_here("frame");
    exchange();
    ck_shown("asyncoro frame: -> 0000000000000002 type 200 1, ack 0, 5 bytes\n");
    ck_shown("asyncoro frame: <- 0000000000000001 type 200 1, ack 0, 5 bytes\n");
    ck_shown("asyncoro frame: -> 0000000000000001 type 201 1, ack ");
    ck_shown("asyncoro frame: <- 0000000000000002 type 201 1, ack ");
    ck_shown("asyncoro frame: -> 0000000000000001 TAKEN, ack 1, 16 bytes: received 1, taken 5 ");
    ck_shown("asyncoro frame: <- 0000000000000002 TAKEN, ack ");
    ck_shown("GOODBYE");
}

TEST(of_greetings_the_size_alone_is_shown) {
    show_from_here("frame");
    exchange();
    ck_shown("asyncoro frame: -> 127.0.0.1:");
    ck_shown("asyncoro frame: <- 127.0.0.1:");
    const char *line = strstr(shown, " HELLO, ack 0, ");
    ck_assert_msg(line != NULL, "it said: %s", shown);
    const char *end = strchr(line, '\n');
    ck_assert_msg(end && memcmp(end - 6, " bytes", 6) == 0, "it said: %s", shown);
    ck_shown(" WELCOME, ack ");
}

TEST(no_key_is_shown) {
    show_from_here("frame,all");
    exchange();
    struct key_derived derived;
    ck_assert_int_eq(key_derive(rig_key, &derived), 0);
    const uint8_t *const keys[] = {rig_key, derived.tls, derived.beacon};
    for (size_t i = 0; i < countof(keys); i++) {
        char text[2 * KEY_BYTES + 1];
        for (size_t j = 0; j < KEY_BYTES; j++)
            snprintf(text + 2 * j, 3, "%02x", keys[i][j]);
        text[16] = 0; // the beginning will do
        ck_hidden(text);
    }
}

TEST(without_being_named_no_frame_is_shown) {
    show_from_here("all");
    exchange();
    ck_shown("asyncoro fabric: ");
    ck_hidden("asyncoro frame: ");
}
