// SPDX-License-Identifier: MIT
// The heap of deadlines, against an array that is searched.
#include "test.h"

#include <stdlib.h>

#include "base/base.h"

struct timer {
    ac_time deadline;
    uint64_t sequence; // of its insertion
    bool in;
};

// The id that is due, or -1.
static int64_t take_due(struct heap *heap, ac_time now) {
    uint32_t id;
    return heap_take_due(heap, now, &id) ? (int64_t)id : -1;
}

static void reserve(struct heap *heap, uint32_t n) {
    for (uint32_t id = 0; id < n; id++)
        ck_assert_int_eq(heap_reserve(heap, id), 0);
}

TEST(an_empty_heap_waits_forever) {
    struct heap heap;
    heap_init(&heap);
    ck_assert_int_eq(heap_earliest(&heap), AC_FOREVER);
    ck_assert_int_eq(heap_deadline(&heap, 7), AC_FOREVER);
    ck_assert_int_eq(take_due(&heap, AC_FOREVER), -1);
    heap_remove(&heap, 7);
    heap_done(&heap);
}

TEST(only_what_is_due_is_taken) {
    struct heap heap;
    heap_init(&heap);
    ck_assert_int_eq(heap_reserve(&heap, 3), 0);
    heap_insert(&heap, 3, 50);
    ck_assert_int_eq(heap_earliest(&heap), 50);
    ck_assert_int_eq(heap_deadline(&heap, 3), 50);
    ck_assert_int_eq(take_due(&heap, 49), -1);
    ck_assert_int_eq(take_due(&heap, 50), 3);
    ck_assert_int_eq(heap_deadline(&heap, 3), AC_FOREVER);
    heap_insert(&heap, 3, -3); // the place is promised until it is given back
    ck_assert_int_eq(take_due(&heap, 0), 3);
    heap_unreserve(&heap);
    heap_done(&heap);
}

TEST(equal_deadlines_come_in_the_order_of_insertion) {
    enum { N = 1000 };
    struct heap heap;
    heap_init(&heap);
    reserve(&heap, N);
    for (uint32_t i = 0; i < N; i++)
        heap_insert(&heap, (i + 500) % N, 7);
    for (uint32_t i = 0; i < N; i++)
        ck_assert_int_eq(take_due(&heap, 7), (i + 500) % N);
    heap_done(&heap);
}

TEST(ids_come_in_any_order_and_with_gaps) {
    static const uint32_t ids[] = {HEAP_IDS_MAX - 1, 0, 70000, 16, 15, 17};
    struct heap heap;
    heap_init(&heap);
    for (size_t i = 0; i < countof(ids); i++)
        ck_assert_int_eq(heap_reserve(&heap, ids[i]), 0);
    for (size_t i = 0; i < countof(ids); i++)
        heap_insert(&heap, ids[i], (ac_time)i);
    for (size_t i = 0; i < countof(ids); i++)
        ck_assert_int_eq(heap_deadline(&heap, ids[i]), (ac_time)i);
    ck_assert_int_eq(heap_deadline(&heap, 1), AC_FOREVER);
    for (size_t i = 0; i < countof(ids); i++)
        ck_assert_int_eq(take_due(&heap, AC_FOREVER), ids[i]);
    heap_done(&heap);
}

TEST(there_is_a_limit_of_ids) {
    struct heap heap;
    heap_init(&heap);
    ck_assert_int_eq(heap_reserve(&heap, HEAP_IDS_MAX), -EAGAIN);
    ck_assert_int_eq(heap_reserve(&heap, HEAP_IDS_MAX - 1), 0);
    heap_done(&heap);
}

TEST(a_promised_place_needs_no_memory) {
    enum { N = 100 };
    struct heap heap;
    heap_init(&heap);
    reserve(&heap, N);
    memory_fail_nth(1);
    for (uint32_t i = 0; i < N; i++)
        heap_insert(&heap, i, N - i);
    ck_assert(!memory_has_failed());
    memory_fail_nth(0);
    heap_done(&heap);
}

// Neither for an entry nor for a place by id, and what is in the heap stays there.
TEST(a_promise_that_cannot_be_kept_is_not_made) {
    enum { N = 100 };
    struct heap heap;
    heap_init(&heap);
    int failures = 0;
    for (uint32_t id = 0; id < N; id++) {
        for (int nth = 1;; nth++) {
            memory_fail_nth(nth);
            int err = heap_reserve(&heap, id);
            bool failed = memory_has_failed();
            memory_fail_nth(0);
            ck_assert_int_eq(err, failed ? -ENOMEM : 0);
            ck_assert_uint_eq(heap.reserved, failed ? id : id + 1);
            if (!failed)
                break;
            failures++;
        }
        heap_insert(&heap, id, N - id);
    }
    ck_assert_int_ge(failures, 8);
    for (uint32_t id = N; id-- > 0;)
        ck_assert_int_eq(take_due(&heap, AC_FOREVER), id);
    heap_done(&heap);
}

// The timer that ought to come first, found by looking at all.
static struct timer *first_of(struct timer *timers, int n) {
    struct timer *first = NULL;
    for (struct timer *it = timers; it < timers + n; it++)
        if (it->in && (!first || it->deadline < first->deadline ||
                       (it->deadline == first->deadline && it->sequence < first->sequence)))
            first = it;
    return first;
}

// Few different deadlines, so that many are equal; the ends of the clock among them.
static ac_time any_deadline(void) {
    int kind = rand() % 50;
    return kind == 0 ? INT64_MIN : kind == 1 ? AC_FOREVER - 1 : rand() % 100;
}

// Every so many insertions their numbers are used up, unless that is 0.
static void compare_with_array(int n, int steps, int used_up) {
    struct timer *timers = calloc((size_t)n, sizeof *timers);
    struct heap heap;
    uint64_t sequence = 0;
    uint32_t count = 0;
    heap_init(&heap);
    reserve(&heap, (uint32_t)n);
    for (int step = 0; step < steps; step++) {
        uint32_t id = (uint32_t)(rand() % n);
        struct timer *it = &timers[id], *first = first_of(timers, n);
        ck_assert_int_eq(heap_earliest(&heap), first ? first->deadline : AC_FOREVER);
        ck_assert_uint_eq(heap_first(&heap), first ? (uint32_t)(first - timers) : 0);
        if (rand() % 5 == 0) {
            ac_time now = rand() % 100;
            struct timer *due = first && first->deadline <= now ? first : NULL;
            ck_assert_int_eq(take_due(&heap, now), due ? due - timers : -1);
            if (due)
                due->in = false, count--;
        } else if (it->in || rand() % 4 == 0) {
            count -= it->in;
            heap_remove(&heap, id);
            it->in = false;
        } else {
            if (used_up > 0 && sequence % (uint64_t)used_up == 0)
                heap.sequence = HEAP_SEQUENCE_MAX - (uint64_t)(rand() % 3);
            *it = (struct timer){any_deadline(), sequence++, true};
            heap_insert(&heap, id, it->deadline);
            count++;
        }
        ck_assert_uint_eq(heap.count, count);
        ck_assert_int_eq(heap_deadline(&heap, id), it->in ? it->deadline : AC_FOREVER);
    }
    heap_done(&heap);
    free(timers);
}

TEST(a_heap_behaves_as_an_array_that_is_searched) {
    srand(20);
    for (int n = 1; n < 24; n++) // the last children may be fewer than four
        compare_with_array(n, 2000, 0);
    compare_with_array(300, 60000, 0);
}

TEST(the_order_holds_when_the_numbers_of_insertions_are_used_up) {
    srand(21);
    for (int n = 1; n < 24; n++)
        compare_with_array(n, 2000, 40);
    compare_with_array(300, 60000, 1000);
}
