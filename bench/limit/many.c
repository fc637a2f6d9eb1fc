// SPDX-License-Identifier: MIT
// Limits of a million stacks.
//
// `skynet-1m`: first come, first served, as in the library, with late stacks: what is spawned is a
// record in a queue and gets a stack when its turn comes, the one given back last if there is one.
// A node has one sum and the number of answers that are missing; who answers adds to the one,
// counts down the other, and the last one makes the parent ready. A leaf ends without ever being
// switched from, and the next record that is new begins on the same stack.
//
// `idle-bytes`: what bare stacks take that have been switched to once.
//
// `timers-1m-cpu`: each stack puts its deadline into a heap and switches back; then the earliest is
// taken out, slept for if it is not due, and its stack switched to, which ends it. With `-guarded`
// each stack has a guard page, made in the cheapest way that the system has for so many.
#define _GNU_SOURCE
#include "limit.h"

#include <stdbool.h>

// ---- skynet ----

struct node {
    struct node *parent;
    struct node *next; // in the queue, or among the free ones
    void *sp;          // where it stopped; NULL: it has not begun
    int64_t sum;       // of the answers it has got
    int32_t missing;   // answers
    int32_t first;     // ordinal number of its first leaf
    int32_t size;      // how many leaves it has
};

enum {
    NODES = MEASURE_CROWD + MEASURE_CROWD / (MEASURE_CHILDREN - 1), // of the tree, and one
    STACKS = NODES - MEASURE_CROWD + 1 // for all that are no leaves, and one leaf
};

static struct node *ready_head, *ready_tail;
static struct node *free_nodes, *fresh_nodes;    // to use again; never used yet
static struct stack *free_stacks, *fresh_stacks; // likewise
static struct node *running;
static struct stack *given; // to the node that begins
static void *nowhere;       // where an ended stack's pointer is thrown away

static void run_nodes(void);

static void make_ready(struct node *node) {
    node->next = NULL;
    if (ready_head)
        ready_tail->next = node;
    else
        ready_head = node;
    ready_tail = node;
}

static void spawn(struct node *parent, int32_t first, int32_t size) {
    struct node *node = free_nodes;
    if (node)
        free_nodes = node->next;
    else
        node = fresh_nodes++;
    *node = (struct node){.parent = parent, .first = first, .size = size};
    make_ready(node);
}

// Takes the next node out of the queue, which is not empty. Returns the pointer of its stack.
static void *choose(void) {
    struct node *node = ready_head;
    ready_head = node->next;
    running = node;
    if (node->sp)
        return node->sp;
    struct stack *stack = free_stacks;
    if (stack)
        free_stacks = stack->next;
    else
        stack = fresh_stacks++;
    limit_prepare(stack, run_nodes);
    given = stack;
    return stack->sp;
}

static void answer(struct node *parent, int64_t sum) {
    parent->sum += sum;
    if (--parent->missing == 0)
        make_ready(parent);
}

static void run_node(struct node *node) {
    if (node->size > 1) {
        int32_t size = node->size / MEASURE_CHILDREN;
        node->missing = MEASURE_CHILDREN;
        for (int32_t i = 0; i < MEASURE_CHILDREN; i++)
            spawn(node, node->first + i * size, size);
        limit_switch(&node->sp, choose());
        answer(node->parent, node->sum);
    } else {
        answer(node->parent, node->first);
    }
    node->next = free_nodes;
    free_nodes = node;
}

// On every stack: a node, and after it those that are next and have not begun.
static void run_nodes(void) {
    struct stack *stack = given;
    for (;;) {
        run_node(running);
        if (ready_head->sp)
            break;
        running = ready_head;
        ready_head = running->next;
    }
    stack->next = free_stacks;
    free_stacks = stack;
    limit_switch(&nowhere, choose()); // which takes no stack: the next one has begun
}

double skynet_ms(void) {
    struct node root = {.missing = 1}; // the program's own stack; above the tree
    fresh_nodes = calloc(NODES, sizeof *fresh_nodes);
    fresh_stacks = limit_stacks_of(STACKS, LIMIT_SLOT_BYTES_SMALL);
    double start = measure_now();
    spawn(&root, 0, MEASURE_CROWD);
    limit_switch(&root.sp, choose());
    double took = measure_now() - start;
    if (root.sum != (int64_t)MEASURE_CROWD * (MEASURE_CROWD - 1) / 2)
        exit(1);
    return took / 1e6;
}

double skynet_mb(void) {
    skynet_ms();
    return measure_peak_mb();
}

// ---- idle ----

static struct stack home; // the program's own

static void go_home(void) {
    struct stack *me = limit_current;
    for (;;)
        limit_switch(&me->sp, home.sp);
}

static void enter(struct stack *stack) {
    limit_current = stack;
    limit_switch(&home.sp, stack->sp);
}

static double bytes_of_idle(size_t slot_bytes) {
    double before = measure_memory_bytes();
    struct stack *stacks = limit_stacks_of(MEASURE_CROWD, slot_bytes);
    for (int i = 0; i < MEASURE_CROWD; i++) {
        limit_prepare(&stacks[i], go_home);
        enter(&stacks[i]);
    }
    return (measure_memory_bytes() - before) / MEASURE_CROWD;
}

double idle_bytes(void) { return bytes_of_idle(LIMIT_SLOT_BYTES); }

double idle_bytes_small(void) { return bytes_of_idle(LIMIT_SLOT_BYTES_SMALL); }

// ---- timers ----

enum { SECOND_NS = 1000 * 1000 * 1000, FOUR = 4 };

struct deadline {
    int64_t at; // CLOCK_MONOTONIC, ns
    struct stack *stack;
};

static struct deadline *heap; // the children of i are 4i+1 to 4i+4
static size_t heap_count;

static void heap_put(struct deadline it) {
    size_t i = heap_count++;
    for (; i > 0 && it.at < heap[(i - 1) / FOUR].at; i = (i - 1) / FOUR)
        heap[i] = heap[(i - 1) / FOUR];
    heap[i] = it;
}

static size_t least_child(size_t i) {
    size_t first = FOUR * i + 1, least = first;
    for (size_t child = first + 1; child < first + FOUR && child < heap_count; child++)
        if (heap[child].at < heap[least].at)
            least = child;
    return least;
}

static struct deadline heap_take(void) {
    struct deadline taken = heap[0], last = heap[--heap_count];
    size_t i = 0;
    while (FOUR * i + 1 < heap_count) {
        size_t least = least_child(i);
        if (heap[least].at >= last.at)
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = last;
    return taken;
}

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void sleep_once(void) {
    struct stack *me = limit_current;
    heap_put((struct deadline){clock_ns() + (int64_t)measure_random(SECOND_NS), me});
    limit_switch(&me->sp, home.sp);
    limit_switch(&me->sp, home.sp); // and never again
}

static void wait_until(int64_t at) {
    struct timespec t = {at / SECOND_NS, at % SECOND_NS};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static double timers(size_t slot_bytes, bool guarded) {
    double before = measure_cpu_ms();
    struct stack *stacks = limit_stacks_of(MEASURE_CROWD, slot_bytes);
    heap = malloc(MEASURE_CROWD * sizeof *heap);
    for (int i = 0; i < MEASURE_CROWD; i++) {
        int left = MEASURE_CROWD - i;
        if (guarded && i % LIMIT_GUARDS_AT_ONCE == 0)
            limit_guard(&stacks[i], left < LIMIT_GUARDS_AT_ONCE ? left : LIMIT_GUARDS_AT_ONCE);
        limit_prepare(&stacks[i], sleep_once);
        enter(&stacks[i]);
    }
    for (int64_t now = 0; heap_count > 0;) {
        if (heap[0].at > now && heap[0].at > (now = clock_ns())) {
            wait_until(heap[0].at);
            now = heap[0].at;
        }
        enter(heap_take().stack);
    }
    return measure_cpu_ms() - before;
}

double timers_cpu_ms(void) { return timers(LIMIT_SLOT_BYTES, false); }

double timers_guarded_cpu_ms(void) { return timers(LIMIT_SLOT_BYTES, true); }

double timers_small_cpu_ms(void) { return timers(LIMIT_SLOT_BYTES_SMALL, false); }
