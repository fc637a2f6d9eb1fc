// SPDX-License-Identifier: MIT
// Tests of the frame on the wire and of the greeting.
#include "fabric/fabric_private.h"
#include "test.h"

#include <stdlib.h>

static int read_header(uint64_t first, uint64_t sequence, struct frame *frame) {
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_put_u64(bytes, first);
    frame_put_u64(bytes + 8, sequence);
    return frame_read_header(bytes, frame);
}

TEST(a_header_is_16_bytes_with_the_most_significant_first) {
    uint8_t bytes[FRAME_HEADER_BYTES];
    const uint8_t expected[FRAME_HEADER_BYTES] = {0, 0, 1, 2, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4};
    frame_put_header(bytes, &(struct frame){.bytes = 0x102, .type = 200, .sequence = 0x304});
    ck_assert_mem_eq(bytes, expected, sizeof bytes);
    struct frame frame;
    ck_assert_int_eq(frame_read_header(bytes, &frame), 0);
    ck_assert_int_eq(frame.bytes, 0x102);
    ck_assert_int_eq(frame.type, 200);
    ck_assert_int_eq(frame.sequence, 0x304);
}

TEST(a_header_that_no_frame_can_have_is_refused) {
    struct frame frame;
    uint64_t most = FRAME_PAYLOAD_MAX;
    ck_assert_int_eq(read_header(most << 32 | 16 << 24, 1, &frame), 0);
    ck_assert_int_eq(read_header((most + 1) << 32 | 16 << 24, 1, &frame), -EPROTO);
    ck_assert_int_eq(read_header(UINT64_MAX, UINT64_MAX, &frame), -EPROTO);
    ck_assert_int_eq(read_header(0, 0, &frame), -EPROTO);
    ck_assert_int_eq(read_header(9 << 24, 0, &frame), -EPROTO);  // a type that is not known
    ck_assert_int_eq(read_header(16 << 24, 0, &frame), -EPROTO); // goes up, without a number
    ck_assert_int_eq(read_header(FRAME_TAKEN << 24, 1, &frame), -EPROTO);  // the reverse
    ck_assert_int_eq(read_header(16 << 24 | 1 << 16, 1, &frame), -EPROTO); // a flag
    ck_assert_int_eq(read_header(16 << 24 | 1, 1, &frame), -EPROTO);
}

static const struct greeting sample = {
    .peer = UINT64_MAX,
    .to = 2,
    .link = 0x123456789abcdef0,
    .resuming = true,
    .received = 77,
    .taken = 88,
    .heartbeat_ms = 10000,
    .port = 65535,
    .ip = {127, 0, 0, 1},
    .ip_bytes = 4,
    .name = "client@host",
};

static size_t write_sample(uint8_t *bytes, enum frame_type type) {
    size_t count = frame_put_greeting(bytes, type, &sample);
    struct frame frame;
    ck_assert_int_eq(frame_read_header(bytes, &frame), 0);
    ck_assert_int_eq(frame.type, type);
    ck_assert_int_eq(frame.bytes + FRAME_HEADER_BYTES, count);
    return frame.bytes;
}

TEST(a_greeting_is_read_as_it_was_written) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting read;
    size_t count = write_sample(bytes, FRAME_HELLO);
    ck_assert_int_eq(frame_read_greeting(FRAME_HELLO, bytes + FRAME_HEADER_BYTES, count, &read), 0);
    ck_assert_mem_eq(&read, &sample, sizeof read);
}

TEST(a_greeting_cut_anywhere_is_refused) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting read;
    size_t count = write_sample(bytes, FRAME_WELCOME);
    for (size_t i = 0; i < count; i++) {
        uint8_t *exact = malloc(i + 1); // so that reading behind the end is noticed
        memcpy(exact, bytes + FRAME_HEADER_BYTES, i);
        ck_assert_int_eq(frame_read_greeting(FRAME_WELCOME, exact, i, &read), -EPROTO);
        free(exact);
    }
    ck_assert_int_eq(
        frame_read_greeting(FRAME_WELCOME, bytes + FRAME_HEADER_BYTES, count + 1, &read), -EPROTO);
}

TEST(a_greeting_with_any_byte_changed_does_no_harm) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting read;
    size_t count = write_sample(bytes, FRAME_HELLO);
    for (size_t i = 0; i < count; i++)
        for (int value = 0; value < 256; value++) {
            uint8_t *at = &bytes[FRAME_HEADER_BYTES + i], before = *at;
            *at = (uint8_t)value;
            (void)frame_read_greeting(FRAME_HELLO, bytes + FRAME_HEADER_BYTES, count, &read);
            ck_assert_uint_le(strnlen(read.name, sizeof read.name), NAME_BYTES_MAX);
            *at = before;
        }
}

TEST(another_version_is_told_from_nonsense) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting read;
    size_t count = write_sample(bytes, FRAME_HELLO);
    uint8_t *payload = bytes + FRAME_HEADER_BYTES;
    payload[9] = WIRE_VERSION + 1;
    ck_assert_int_eq(frame_read_greeting(FRAME_HELLO, payload, count, &read), -EPROTONOSUPPORT);
    // What follows is of no interest then.
    ck_assert_int_eq(frame_read_greeting(FRAME_HELLO, payload, 10, &read), -EPROTONOSUPPORT);
    payload[0] = 'A';
    ck_assert_int_eq(frame_read_greeting(FRAME_HELLO, payload, count, &read), -EPROTO);
}

TEST(a_refusal_is_read_whatever_its_version_and_its_text_is_harmless) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting refusal = {.peer = 5, .refusal = REFUSE_VERSION, .text = "new\x1b[2Jer"}, read;
    size_t count = frame_put_greeting(bytes, FRAME_REFUSE, &refusal) - FRAME_HEADER_BYTES;
    uint8_t *payload = bytes + FRAME_HEADER_BYTES;
    payload[9] = 99;
    ck_assert_int_eq(frame_read_greeting(FRAME_REFUSE, payload, count, &read), 0);
    ck_assert_int_eq(read.refusal, REFUSE_VERSION);
    ck_assert_int_eq(read.peer, 5);
    ck_assert_str_eq(read.text, "new?[2Jer");
}

TEST(a_text_is_utf8_and_has_no_control_characters_of_two_bytes_either) {
    uint8_t bytes[FRAME_HEADER_BYTES + GREETING_BYTES_MAX];
    struct greeting refusal = {.peer = 5,
                               .refusal = REFUSE_VERSION,
                               .text = "a\xc2\x9b"
                                       "1m\xc2\xa0"};
    struct greeting read;
    size_t count = frame_put_greeting(bytes, FRAME_REFUSE, &refusal) - FRAME_HEADER_BYTES;
    uint8_t *payload = bytes + FRAME_HEADER_BYTES, *text = payload + 12;
    ck_assert_int_eq(*text, 0x60 | 7);
    ck_assert_int_eq(frame_read_greeting(FRAME_REFUSE, payload, count, &read), 0);
    ck_assert_str_eq(read.text, "a??1m\xc2\xa0");
    *text = 0x40 | 7; // bytes are no text
    ck_assert_int_eq(frame_read_greeting(FRAME_REFUSE, payload, count, &read), -EPROTO);
    *text = 0x60 | 7;
    text[1] = 0x9b;
    ck_assert_int_eq(frame_read_greeting(FRAME_REFUSE, payload, count, &read), -EPROTO);
}
