// SPDX-License-Identifier: MIT
// Fuzz target: the header of a frame, and a link whose peer sends what it likes. The input is what
// happens to the link, a byte each and what that needs: we queue a frame, a connection is given
// some, the peer's header comes, the peer tells, a new connection resumes. Whatever comes, memory
// stays within the limits, and the counts only grow.
#include "fuzz.h"

#include "fabric/fabric_private.h"

static uint64_t take_number(struct fuzz_input *input) {
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | fuzz_byte(input);
    return number;
}

// Mostly near what would be right, as a number drawn blindly never is.
static uint64_t take_near(struct fuzz_input *input, uint64_t right) {
    uint8_t how = fuzz_byte(input);
    return how == 255 ? take_number(input) : right + how % 8 - 2;
}

static void queue(struct link *link, struct fuzz_input *input) {
    static const uint8_t payload[FRAME_PAYLOAD_MAX + 1];
    size_t bytes = (size_t)fuzz_byte(input) * 258;
    ac_span parts[] = {{payload, bytes / 2}, {payload, bytes - bytes / 2}};
    int err = link_queue(link, FRAME_UP + fuzz_byte(input) % 240, parts, 2,
                         (enum fabric_way)(fuzz_byte(input) % 3));
    REQUIRE(err == 0 || err == -EAGAIN || err == -ENOBUFS ||
            (err == -EMSGSIZE && bytes > FRAME_PAYLOAD_MAX));
}

static void give(struct link *link) {
    size_t bytes;
    const uint8_t *at = link_load(link, &bytes);
    REQUIRE(bytes <= BATCH_BYTES + FRAME_BYTES_MAX);
    for (size_t done = 0; done < bytes;) {
        struct frame frame;
        REQUIRE(frame_read_header(at + done, &frame) == 0 && frame.sequence != 0);
        done += FRAME_HEADER_BYTES + frame.bytes;
        REQUIRE(done <= bytes);
    }
    link->given += bytes;
}

static void hear(struct link *link, struct fuzz_input *input) {
    uint8_t header[FRAME_HEADER_BYTES] = {0}, again[FRAME_HEADER_BYTES];
    const uint8_t *bytes;
    struct frame frame;
    size_t got = fuzz_bytes(input, sizeof header, &bytes);
    memcpy(header, bytes, got);
    if (frame_read_header(header, &frame) < 0)
        return;
    REQUIRE(frame.bytes <= FRAME_PAYLOAD_MAX);
    frame_put_header(again, &frame);
    REQUIRE(memcmp(header, again, sizeof header) == 0);
    if (frame.type < FRAME_UP)
        return;
    if (fuzz_byte(input) % 2)
        frame.sequence = take_near(input, link->received + 1);
    uint64_t before = link->received, waiting = link->payload_in - link->payload_taken;
    int fresh = link_arrived(link, &frame);
    REQUIRE(link->received == before + (fresh == 1));
    REQUIRE(link->payload_in - link->payload_taken == waiting + (fresh == 1 ? frame.bytes : 0));
    REQUIRE(link->payload_in - link->payload_taken <= PAYLOAD_OVERDUE_MAX);
}

// What one byte stands for. A dispatch.
static void happen(struct link *link, struct fuzz_input *input) {
    uint8_t told[FRAME_HEADER_BYTES + TAKEN_BYTES];
    uint64_t received, taken;
    switch (fuzz_byte(input) % 8) {
    case 0:
    case 1: queue(link, input); break;
    case 2: give(link); break;
    case 3: hear(link, input); break;
    case 4:
    case 5:
        received = take_near(input, link->acknowledged + 1);
        taken = take_near(input, link->payload_out_taken + 1);
        (void)(fuzz_byte(input) % 4 ? link_told(link, received, taken)
                                    : link_resume(link, received, taken));
        break;
    case 6: link->payload_taken = link->payload_in; break;
    default:
        if (link_owes(link))
            link_tell(link, told);
        (void)link_has_room(link);
    }
    REQUIRE(link->acknowledged <= link->sequence);
    REQUIRE(link->payload_out_taken <= link->payload_out);
    REQUIRE(link->given <= link->sent.count);
    REQUIRE(link->sent.count + link->normal.count <= 2 * (URGENT_BYTES_MAX + FRAME_BYTES_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct fuzz_input input = {bytes, count};
    struct link link;
    link_init(&link);
    while (input.left > 0)
        happen(&link, &input);
    link_reset(&link);
    return 0;
}
