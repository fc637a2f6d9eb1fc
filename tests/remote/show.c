// SPDX-License-Identifier: MIT
// What is told of frames by AC_TRACE=frame: types, receivers and values, cut, whatever they hold.
#include "world.h"

static char text[640];

// What is said of a frame with these parts; its type's name goes before.
static const char *describe(unsigned type, const uint64_t *numbers, size_t count, ac_value value) {
    static char all[800];
    struct buffer payload = {0};
    uint8_t scratch[16];
    for (size_t i = 0; i < count; i++) {
        struct head head = {0};
        head_put(&head, numbers[i]);
        must_be(buffer_append(&payload, head.bytes, head.count), 0);
    }
    ac_span span = value_encoded(value, scratch);
    must_be(buffer_append(&payload, span.at, span.bytes), 0);
    const char *name = show_describe(0xab, type, payload.bytes, payload.length, text, sizeof text);
    snprintf(all, sizeof all, "%s: %s", name ? name : "-", text);
    buffer_done(&payload);
    ac_drop(value);
    return all;
}

TEST(a_message_is_told_with_its_receiver_and_its_value) {
    const uint64_t ids[] = {5, 0x11};
    ck_assert_str_eq(describe(FRAME_SEND, ids + 1, 1, ac_list("a", 1)),
                     "SEND: to <reference ab:11>, [\"a\", 1]");
    ck_assert_str_eq(describe(FRAME_SEND, ids + 1, 1, ac_of("word")),
                     "SEND: to <reference ab:11>, \"word\"");
    ck_assert_str_eq(describe(FRAME_DELIVER, ids, 2, ac_of(2.5)),
                     "DELIVER: 5, to <reference ab:11>, 2.5");
    ck_assert_str_eq(describe(FRAME_ANSWER, ids, 1, ac_of(1)), "ANSWER: 5, 1");
    ck_assert_str_eq(describe(FRAME_LOCATE, ids, 1, ac_of("name")), "LOCATE: 5, \"name\"");
    ck_assert_str_eq(describe(255, ids, 2, ac_nil), "-: 5, 17, nil");
}

TEST(the_highest_id_of_a_receiver_is_told) {
    const uint64_t id = UINT64_MAX;
    ck_assert_str_eq(describe(FRAME_SEND, &id, 1, ac_nil),
                     "SEND: to <reference ab:ffffffffffffffff>, nil");
}

TEST(long_values_are_cut) {
    static char much[30000];
    const uint64_t id = 1;
    memset(much, 'x', sizeof much - 1);
    const char *told = describe(FRAME_SEND, &id, 1, ac_of((const char *)much));
    ck_assert_uint_lt(strlen(told), 250);
    ck_assert_str_eq(told + strlen(told) - 5, "xx...");
    // 160 bytes of text are whole.
    much[160] = 0;
    told = describe(FRAME_SEND, &id, 1, ac_of((const char *)much));
    ck_assert_str_eq(told + strlen(told) - 3, "xx\"");
    // So many items that the line is full.
    ac_value items[200];
    for (size_t i = 0; i < countof(items); i++)
        items[i] = ac_of("item");
    struct buffer payload = {0};
    for (size_t i = 0; i < countof(items); i++) {
        uint8_t scratch[16];
        ac_span span = value_encoded(items[i], scratch);
        must_be(buffer_append(&payload, span.at, span.bytes), 0);
        ac_drop(items[i]);
    }
    ck_assert_str_eq(show_describe(1, FRAME_EXIT, payload.bytes, payload.length, text, 100),
                     "EXIT");
    ck_assert_uint_eq(strlen(text), 99);
    buffer_done(&payload);
}

TEST(what_is_no_value_is_said_to_be_so) {
    static const uint8_t junk[] = {0x01, 0xff, 0xff};
    ck_assert_str_eq(show_describe(1, FRAME_EXIT, junk, sizeof junk, text, sizeof text), "EXIT");
    ck_assert_str_eq(text, "1, (not readable)");
    ck_assert_str_eq(show_describe(1, FRAME_SEND, junk + 1, 1, text, sizeof text), "SEND");
    ck_assert_str_eq(text, "(not readable)");
    ck_assert_str_eq(show_describe(1, FRAME_EXIT, junk, 0, text, sizeof text), "EXIT");
    ck_assert_str_eq(text, "");
}

TEST(nothing_moves_the_cursor_of_a_terminal) {
    const uint64_t id = 1;
    ck_assert_str_eq(describe(FRAME_SEND, &id, 1, ac_of("a\033[2Jb\nc\177")),
                     "SEND: to <reference ab:1>, \"a?[2Jb?c?\"");
}

// ---- as users see it ----

static ac_value say_word(ac_value unused) {
    must_be(ac_deliver(find("server"), ac_list("the word", 7), ac_after(PATIENCE_S)), 1);
    return unused;
}

TEST(a_message_is_seen_as_it_leaves) {
    static char shown[1 << 16];
    FILE *errors = tmpfile();
    must(errors != NULL);
    world_begin();
    struct child peer = child(serving);
    hear(peer);
    setenv("AC_TRACE", "frame", 1);
    int before = dup(STDERR_FILENO);
    must(dup2(fileno(errors), STDERR_FILENO) >= 0);
    run(say_word);
    must(dup2(before, STDERR_FILENO) >= 0);
    close(before);
    child_end(peer);
    rewind(errors);
    shown[fread(shown, 1, sizeof shown - 1, errors)] = 0;
    const char *sent = strstr(shown, " DELIVER ");
    ck_assert_msg(sent && strstr(sent, "[\"the word\", 7]\n"), "%s", shown);
    ck_assert_msg(strstr(shown, "asyncoro frame: <- "), "%s", shown);
    ck_assert_msg(strstr(shown, " ANSWER "), "%s", shown);
    fclose(errors);
    world_end();
}
