// SPDX-License-Identifier: MIT
// State Threads 1.9, set as its documentation advises: the epoll event system (where it was built
// with it: Debian's has poll), and condition variables without a mutex, because its threads only
// switch inside functions that block.
//
// It has no yield on the short way and no messages. st_usleep(0), which its reference calls
// yielding, goes through the timers and takes 300 ns, so `yield` hands a signal around a ring of
// condition variables, which is many times quicker. A mailbox is a ring of numbers and a condition
// variable, as small as a user could write it.
#include "st.h"

enum { CELLS = 1024, CELLS_FEW = 4 };

struct mailbox {
    st_cond_t filled;
    uint32_t head, tail; // next to take, next free; they wrap around
    uint32_t mask;       // number of cells, a power of two, less one
    int64_t cells[];
};

static struct mailbox *ours, *theirs;
static uint64_t ended;
static int64_t sum;
static st_cond_t *turns; // one for each thread of the ring
static size_t turns_n;

static void thread_start(void *(*function)(void *), void *argument) {
    if (!st_thread_create(function, argument, 0, STACK_BYTES)) {
        fprintf(stderr, "st_thread_create failed\n");
        exit(1);
    }
}

// ---- yield ----

static void pass_on(size_t i) {
    st_cond_signal(turns[(i + 1) % turns_n]);
    st_cond_wait(turns[i]);
}

static void *ring_thread(void *argument) {
    size_t i = (size_t)argument;
    st_cond_wait(turns[i]);
    for (;;)
        pass_on(i);
    return NULL;
}

static void ring_prepare(size_t n) {
    turns = calloc(n, sizeof *turns);
    turns_n = n;
    for (size_t i = 0; i < n; i++)
        turns[i] = st_cond_new();
    for (size_t i = 1; i < n; i++)
        thread_start(ring_thread, (void *)i);
    st_usleep(1000); // until all of them wait
}

static void yield_2_prepare(void) { ring_prepare(2); }

static void yield_10k_prepare(void) { ring_prepare(MEASURE_MANY); }

static uint64_t yield_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += turns_n)
        pass_on(0);
    return done;
}

// ---- spawn ----

static void *count(void *argument) {
    ended++;
    return argument;
}

static uint64_t spawn_work(uint64_t n) {
    uint64_t before = ended;
    for (uint64_t i = 0; i < n; i++) {
        st_thread_t thread = st_thread_create(count, NULL, 1, STACK_BYTES);
        if (!thread)
            exit(1);
        st_thread_join(thread, NULL);
    }
    return ended - before;
}

// ---- messages ----

static struct mailbox *mailbox_create(uint32_t cells) {
    struct mailbox *it = calloc(1, sizeof *it + cells * sizeof it->cells[0]);
    it->filled = st_cond_new();
    it->mask = cells - 1;
    return it;
}

static void mailbox_push(struct mailbox *to, int64_t number) {
    to->cells[to->tail++ & to->mask] = number;
    st_cond_signal(to->filled);
}

static int64_t mailbox_pop(struct mailbox *from) {
    while (from->head == from->tail)
        st_cond_wait(from->filled);
    return from->cells[from->head++ & from->mask];
}

static void *echo(void *unused) {
    (void)unused;
    for (;;)
        mailbox_push(ours, mailbox_pop(theirs) + 1);
    return NULL;
}

static void roundtrip_prepare(void) {
    ours = mailbox_create(CELLS_FEW);
    theirs = mailbox_create(CELLS);
    thread_start(echo, NULL);
}

static uint64_t roundtrip_work(uint64_t n) {
    int64_t number = 0;
    for (uint64_t i = 0; i < n; i++) {
        mailbox_push(theirs, number);
        number = mailbox_pop(ours);
    }
    return (uint64_t)number;
}

static void *drain(void *unused) {
    (void)unused;
    for (;;) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            sum += mailbox_pop(theirs);
        mailbox_push(ours, 0);
    }
    return NULL;
}

static void oneway_prepare(void) {
    ours = mailbox_create(CELLS_FEW);
    theirs = mailbox_create(CELLS);
    thread_start(drain, NULL);
}

static uint64_t oneway_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_BATCH) {
        for (int i = 0; i < MEASURE_BATCH; i++)
            mailbox_push(theirs, i);
        mailbox_pop(ours); // the batch has been taken
    }
    return done;
}

// ---- broadcast ----

static struct mailbox *listeners[MEASURE_LISTENERS];
static uint64_t heard;

static void *listen_to(void *mailbox) {
    for (;;) {
        sum += mailbox_pop(mailbox);
        if (++heard % MEASURE_LISTENERS == 0)
            mailbox_push(ours, 0); // all have it: ends the wait of the measuring thread
    }
    return NULL;
}

static void broadcast_prepare(void) {
    ours = mailbox_create(CELLS_FEW);
    for (int i = 0; i < MEASURE_LISTENERS; i++) {
        listeners[i] = mailbox_create(CELLS_FEW);
        thread_start(listen_to, listeners[i]);
    }
}

static uint64_t broadcast_work(uint64_t n) {
    uint64_t done;
    for (done = 0; done < n; done += MEASURE_LISTENERS) {
        for (int i = 0; i < MEASURE_LISTENERS; i++)
            mailbox_push(listeners[i], 1);
        mailbox_pop(ours);
    }
    return done;
}

// ---- ring: the token is the number of hops left ----

static struct mailbox *places[MEASURE_RING];

static void *hand_on(void *argument) {
    size_t i = (size_t)argument;
    struct mailbox *mine = places[i], *next = places[(i + 1) % MEASURE_RING];
    for (;;) {
        int64_t left = mailbox_pop(mine);
        mailbox_push(left > 0 ? next : ours, left - 1);
    }
    return NULL;
}

static void token_prepare(void) {
    ours = mailbox_create(CELLS_FEW);
    for (size_t i = 0; i < MEASURE_RING; i++)
        places[i] = mailbox_create(CELLS_FEW);
    for (size_t i = 0; i < MEASURE_RING; i++)
        thread_start(hand_on, (void *)i);
}

static uint64_t token_work(uint64_t n) {
    mailbox_push(places[0], (int64_t)n);
    mailbox_pop(ours);
    return n;
}

int main(int argc, char **argv) {
    static const struct measure_figure figures[] = {
        {"yield-2", yield_2_prepare, yield_work},
        {"yield-10k", yield_10k_prepare, yield_work},
        {"spawn", NULL, spawn_work},
        {"roundtrip", roundtrip_prepare, roundtrip_work},
        {"oneway", oneway_prepare, oneway_work},
        {"broadcast-1000", broadcast_prepare, broadcast_work},
        {"ring-503", token_prepare, token_work},
        {"echo", .value = echo_serve},
        {NULL},
    };
    st_set_eventsys(ST_EVENTSYS_ALT);
    if (strcmp(st_get_eventsys_name(), "epoll") != 0)
        st_set_eventsys(ST_EVENTSYS_POLL);
    if (st_init() < 0) {
        perror("st_init");
        return 1;
    }
    return measure_main(argc, argv, figures);
}
