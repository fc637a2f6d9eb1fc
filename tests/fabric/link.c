// SPDX-License-Identifier: MIT
// Tests of a link without a connection: two links, between which the test carries the bytes.
#include "fabric/fabric_private.h"
#include "test.h"

#include <stdlib.h>

static int queue(struct link *link, unsigned type, size_t bytes, enum fabric_way way) {
    static const uint8_t payload[FRAME_PAYLOAD_MAX];
    ac_span part = {payload, bytes};
    return link_queue(link, type, &part, 1, way);
}

// Carries at most `most` frames to the other side; returns how many of them were new.
static int carry(struct link *from, struct link *to, int most) {
    int fresh = 0;
    size_t count, at = 0;
    const uint8_t *bytes = link_load(from, &count);
    for (; at < count && most > 0; most--) {
        struct frame frame;
        ck_assert_int_eq(frame_read_header(bytes + at, &frame), 0);
        int result = link_arrived(to, &frame);
        ck_assert_int_ge(result, 0);
        fresh += result;
        at += FRAME_HEADER_BYTES + frame.bytes;
    }
    from->given += at;
    return fresh;
}

static void tell(struct link *from, struct link *to) {
    uint8_t told[FRAME_HEADER_BYTES + TAKEN_BYTES];
    link_tell(from, told);
    ck_assert_int_eq(link_told(to, frame_read_u64(told + FRAME_HEADER_BYTES),
                               frame_read_u64(told + FRAME_HEADER_BYTES + 8)),
                     0);
}

static void resume(struct link *a, struct link *b) {
    ck_assert_int_eq(link_resume(a, b->received, b->payload_taken), 0);
    ck_assert_int_eq(link_resume(b, a->received, a->payload_taken), 0);
}

TEST(frames_are_kept_until_the_peer_has_them) {
    struct link a, b;
    link_init(&a);
    link_init(&b);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(queue(&a, 16, 100, FABRIC_WINDOW), 0);
    ck_assert_int_eq(carry(&a, &b, 4), 4);
    ck_assert(!link_is_flushed(&a));
    resume(&a, &b); // the connection broke after four
    ck_assert_int_eq(carry(&a, &b, 100), 6);
    tell(&b, &a);
    ck_assert(link_is_flushed(&a));
    ck_assert(!link_is_taken(&a));
    b.payload_taken = b.payload_in;
    tell(&b, &a);
    ck_assert(link_is_taken(&a));
    link_reset(&a);
    link_reset(&b);
}

TEST(frames_that_come_twice_are_known) {
    struct link a, b;
    link_init(&a);
    link_init(&b);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(queue(&a, 16, 10, FABRIC_WINDOW), 0);
    ck_assert_int_eq(carry(&a, &b, 3), 3);
    a.given = 0; // sent again, although the peer has them
    ck_assert_int_eq(carry(&a, &b, 3), 0);
    ck_assert_int_eq(b.payload_in, 30);
    ck_assert_int_eq(link_arrived(&b, &(struct frame){.type = 16, .sequence = 5}), -EPROTO);
    link_reset(&a);
    link_reset(&b);
}

TEST(a_random_course_with_many_breaks_loses_nothing) {
    struct link a, b;
    link_init(&a);
    link_init(&b);
    unsigned seed = 1;
    uint64_t queued = 0, came = 0;
    for (int i = 0; i < 200000; i++) {
        int what = rand_r(&seed) % 100;
        if (what < 50)
            queued += queue(&a, 16, (size_t)(rand_r(&seed) % 3000), what < 5) == 0;
        else if (what < 80)
            came += (uint64_t)carry(&a, &b, rand_r(&seed) % 20);
        else if (what < 90)
            b.payload_taken = b.payload_in;
        else if (what < 98)
            tell(&b, &a);
        else
            resume(&a, &b);
    }
    while (came < queued)
        came += (uint64_t)carry(&a, &b, 100);
    b.payload_taken = b.payload_in;
    tell(&b, &a);
    ck_assert(link_is_taken(&a));
    ck_assert_int_gt(queued, 50000);
    ck_assert_int_eq(a.sequence, queued);
    link_reset(&a);
    link_reset(&b);
}

TEST(the_window_counts_what_is_not_taken) {
    struct link a, b;
    link_init(&a);
    link_init(&b);
    int sent = 0;
    while (queue(&a, 16, 1024, FABRIC_WINDOW) == 0)
        sent++;
    ck_assert_int_eq(sent, FABRIC_WINDOW_BYTES / 1024);
    while (carry(&a, &b, 1000) > 0)
        ;
    tell(&b, &a); // received, but not taken
    ck_assert(!link_has_room(&a));
    ck_assert_int_eq(queue(&a, 16, 1024, FABRIC_WINDOW), -EAGAIN);
    ck_assert_int_eq(queue(&a, 16, 1024, FABRIC_URGENT), 0);
    b.payload_taken = 2048;
    tell(&b, &a);
    ck_assert(link_has_room(&a));
    ck_assert(!link_has_room(&a)); // told once
    ck_assert_int_eq(queue(&a, 16, 1024, FABRIC_WINDOW), 0);
    ck_assert_int_eq(queue(&a, 16, 1024, FABRIC_WINDOW), -EAGAIN);
    // A notice waits its turn, but is not held back.
    ck_assert_int_eq(queue(&a, 99, 100, FABRIC_ALWAYS), 0);
    link_reset(&a);
    link_reset(&b);
}

TEST(a_notice_comes_after_what_was_sent_before_it) {
    struct link a;
    size_t count;
    struct frame frame;
    link_init(&a);
    ck_assert_int_eq(queue(&a, 16, 10, FABRIC_WINDOW), 0);
    ck_assert_int_eq(queue(&a, 17, 10, FABRIC_ALWAYS), 0);
    ck_assert_int_eq(queue(&a, 18, 10, FABRIC_WINDOW), 0);
    const uint8_t *bytes = link_load(&a, &count);
    for (unsigned type = 16; type <= 18; type++, bytes += FRAME_HEADER_BYTES + 10) {
        ck_assert_int_eq(frame_read_header(bytes, &frame), 0);
        ck_assert_uint_eq(frame.type, type);
    }
    link_reset(&a);
}

TEST(tiny_frames_cannot_pile_up) {
    struct link a;
    link_init(&a);
    size_t sent = 0;
    while (queue(&a, 16, 0, FABRIC_WINDOW) == 0)
        sent++;
    ck_assert_uint_le(sent * FRAME_HEADER_BYTES, 4 * FABRIC_WINDOW_BYTES + FRAME_BYTES_MAX);
    link_reset(&a);
}

TEST(urgent_frames_have_a_limit_of_their_own) {
    struct link a;
    link_init(&a);
    size_t bytes = 0;
    int err;
    while ((err = queue(&a, 16, FRAME_PAYLOAD_MAX, FABRIC_URGENT)) == 0)
        bytes += FRAME_PAYLOAD_MAX;
    ck_assert_int_eq(err, -ENOBUFS);
    ck_assert_uint_gt(bytes, URGENT_BYTES_MAX - 2 * FRAME_BYTES_MAX);
    link_reset(&a);
}

TEST(urgent_frames_go_first) {
    struct link a;
    size_t count;
    struct frame frame;
    link_init(&a);
    ck_assert_int_eq(queue(&a, 16, 10, FABRIC_WINDOW), 0);
    ck_assert_int_eq(queue(&a, 17, 10, FABRIC_URGENT), 0);
    const uint8_t *bytes = link_load(&a, &count);
    ck_assert_int_eq(frame_read_header(bytes, &frame), 0);
    ck_assert_int_eq(frame.type, 17);
    ck_assert_int_eq(frame.sequence, 1);
    link_reset(&a);
}

TEST(a_batch_ends_at_a_frame_and_has_a_limit) {
    struct link a;
    size_t count;
    link_init(&a);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(queue(&a, 16, 50000, FABRIC_WINDOW), 0);
    (void)link_load(&a, &count);
    ck_assert_uint_eq(count, 2 * (50000 + FRAME_HEADER_BYTES));
    link_reset(&a);
}

TEST(what_a_peer_cannot_know_breaks_the_protocol) {
    struct link a;
    size_t count;
    link_init(&a);
    ck_assert_int_eq(queue(&a, 16, 10, FABRIC_WINDOW), 0);
    ck_assert_int_eq(link_told(&a, 1, 0), -EPROTO); // was not sent
    (void)link_load(&a, &count);
    a.given = count;
    ck_assert_int_eq(link_told(&a, 1, 11), -EPROTO);
    ck_assert_int_eq(link_told(&a, 2, 0), -EPROTO);
    ck_assert_int_eq(link_told(&a, 1, 10), 0);
    ck_assert_int_eq(link_told(&a, 0, 10), -EPROTO); // went back
    ck_assert_int_eq(link_told(&a, 1, 9), -EPROTO);
    link_reset(&a);
}

TEST(one_who_ignores_the_window_breaks_the_protocol) {
    struct link a;
    uint64_t sequence = 0;
    int result;
    link_init(&a);
    do
        result = link_arrived(
            &a, &(struct frame){.type = 16, .bytes = FRAME_PAYLOAD_MAX, .sequence = ++sequence});
    while (result == 1);
    ck_assert_int_eq(result, -EPROTO);
    ck_assert_uint_le(a.payload_in, PAYLOAD_OVERDUE_MAX);
}

TEST(the_peer_is_told_at_once_of_a_lot_and_soon_of_a_little) {
    struct link a;
    link_init(&a);
    ck_assert_int_eq(link_owes(&a), 0);
    ck_assert_int_eq(link_arrived(&a, &(struct frame){.type = 16, .bytes = 10, .sequence = 1}), 1);
    ck_assert_int_eq(link_owes(&a), 1);
    for (uint64_t i = 2; i <= 6; i++)
        ck_assert_int_eq(
            link_arrived(&a, &(struct frame){.type = 16, .bytes = 60000, .sequence = i}), 1);
    ck_assert_int_eq(link_owes(&a), 2);
    uint8_t told[FRAME_HEADER_BYTES + TAKEN_BYTES];
    link_tell(&a, told);
    ck_assert_int_eq(link_owes(&a), 0);
    a.payload_taken = TELL_BYTES;
    ck_assert_int_eq(link_owes(&a), 2);
}

TEST(without_memory_nothing_is_lost) {
    struct link a, b;
    link_init(&a);
    link_init(&b);
    uint64_t queued = 0, came = 0;
    for (long n = 1; n < 60; n++) {
        for (int i = 0; i < 30; i++) {
            memory_fail_nth(i == n % 30);
            int err = queue(&a, 16, 3000, i % 3 == 0 ? FABRIC_URGENT : FABRIC_WINDOW);
            ck_assert(err == 0 || err == -ENOMEM || err == -EAGAIN);
            queued += err == 0;
        }
        memory_fail_nth(n % 3);
        came += (uint64_t)carry(&a, &b, 40);
        memory_fail_nth(0);
        b.payload_taken = b.payload_in;
        tell(&b, &a);
    }
    while (came < queued)
        came += (uint64_t)carry(&a, &b, 100);
    ck_assert_int_eq(a.sequence, queued);
    link_reset(&a);
    link_reset(&b);
}
