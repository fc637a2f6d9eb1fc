// SPDX-License-Identifier: MIT
// The heap of deadlines, against an array that is searched.
#include "test.h"

#include <stdlib.h>

#include "base/base.h"

struct timer {
    struct heap_node node;
    ac_time deadline;
    uint64_t sequence; // of its insertion
    bool in;
};

static struct timer *timer_of(struct heap_node *node) {
    return node ? container_of(node, struct timer, node) : NULL;
}

TEST(an_empty_heap_waits_forever) {
    struct heap heap;
    struct heap_node node = {0};
    heap_init(&heap);
    ck_assert_int_eq(heap_earliest(&heap), AC_FOREVER);
    ck_assert_int_eq(heap_deadline(&heap, &node), AC_FOREVER);
    ck_assert_ptr_null(heap_take_due(&heap, AC_FOREVER));
    heap_remove(&heap, &node);
    heap_done(&heap);
}

TEST(only_what_is_due_is_taken) {
    struct heap heap;
    struct heap_node node = {0};
    heap_init(&heap);
    ck_assert_int_eq(heap_reserve(&heap), 0);
    heap_insert(&heap, &node, 50);
    ck_assert_int_eq(heap_earliest(&heap), 50);
    ck_assert_int_eq(heap_deadline(&heap, &node), 50);
    ck_assert_ptr_null(heap_take_due(&heap, 49));
    ck_assert_ptr_eq(heap_take_due(&heap, 50), &node);
    ck_assert_uint_eq(node.at, 0);
    heap_insert(&heap, &node, -3); // the place is promised until it is given back
    ck_assert_ptr_eq(heap_take_due(&heap, 0), &node);
    heap_unreserve(&heap);
    heap_done(&heap);
}

TEST(equal_deadlines_come_in_the_order_of_insertion) {
    enum { N = 1000 };
    struct heap heap;
    static struct heap_node nodes[N];
    heap_init(&heap);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(heap_reserve(&heap), 0);
    for (int i = 0; i < N; i++)
        heap_insert(&heap, &nodes[i], 7);
    for (int i = 0; i < N; i++)
        ck_assert_ptr_eq(heap_take_due(&heap, 7), &nodes[i]);
    heap_done(&heap);
}

TEST(a_promised_place_needs_no_memory) {
    enum { N = 100 };
    struct heap heap;
    struct heap_node nodes[N] = {0};
    heap_init(&heap);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(heap_reserve(&heap), 0);
    memory_fail_nth(1);
    for (int i = 0; i < N; i++)
        heap_insert(&heap, &nodes[i], N - i);
    ck_assert(!memory_has_failed());
    memory_fail_nth(0);
    heap_done(&heap);
}

TEST(a_promise_that_cannot_be_kept_is_not_made) {
    struct heap heap;
    heap_init(&heap);
    memory_fail_nth(1);
    ck_assert_int_eq(heap_reserve(&heap), -ENOMEM);
    ck_assert_uint_eq(heap.reserved, 0);
    int promised = 0;
    memory_fail_nth(2);
    while (heap_reserve(&heap) == 0)
        promised++;
    ck_assert_int_gt(promised, 0);
    ck_assert_uint_eq(heap.reserved, promised);
    ck_assert_int_eq(heap_reserve(&heap), 0);
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

TEST(a_heap_behaves_as_an_array_that_is_searched) {
    enum { N = 300, STEPS = 60000 };
    static struct timer timers[N];
    struct heap heap;
    uint64_t sequence = 0;
    uint32_t count = 0;
    srand(20);
    heap_init(&heap);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(heap_reserve(&heap), 0);
    for (int step = 0; step < STEPS; step++) {
        struct timer *it = &timers[rand() % N];
        struct timer *first = first_of(timers, N);
        ck_assert_int_eq(heap_earliest(&heap), first ? first->deadline : AC_FOREVER);
        if (rand() % 5 == 0) {
            ac_time now = rand() % 100;
            struct timer *due = first && first->deadline <= now ? first : NULL;
            ck_assert_ptr_eq(timer_of(heap_take_due(&heap, now)), due);
            if (due)
                due->in = false, count--;
        } else if (it->in || rand() % 4 == 0) {
            count -= it->in;
            heap_remove(&heap, &it->node);
            it->in = false;
        } else {
            // Few different deadlines, so that many are equal; the ends of the clock among them.
            int kind = rand() % 50;
            it->deadline = kind == 0 ? INT64_MIN : kind == 1 ? AC_FOREVER - 1 : rand() % 100;
            it->sequence = sequence++;
            it->in = true;
            heap_insert(&heap, &it->node, it->deadline);
            count++;
        }
        ck_assert_uint_eq(heap.count, count);
        ck_assert_int_eq(it->in, it->node.at != 0);
    }
    heap_done(&heap);
}
