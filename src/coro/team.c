// SPDX-License-Identifier: MIT
// The team: several loops that run one program, each on a thread of its own, and the lanes between
// them.
//
// A lane leads from one loop to another: a queue with one writer and one reader, a list of chunks
// that grows as needed and keeps a few emptied ones for the next burst. Parcels travel on it: a
// message for a reference of the other loop, or a post to be run there. What one loop puts on a
// lane is taken out in that order, so messages, notices and spawns of one sender keep theirs.
//
// There is no index that both sides know: each place says itself what is in it, nothing or a
// parcel. So a parcel is known to the reader at once and costs one line of the cache, not two, and
// as long as the reader is not at the heels of the writer, none that the other side has just
// written. Only the writer writes:
//
//      writer: EMPTY into the place behind, the parcel, its id; is the reader asleep? wake it
//      reader, at home: the parcels that are there, TAKE_MAX of a lane at the most
//      reader, before it sleeps: `asleep`, then a look at every lane
//
// Between its store and its load the writer needs a barrier, or both sides might miss each other.
// It would cost more than the parcel. The reader has the system lay it across all threads instead
// (sys_barrier), which costs it a microsecond before it sleeps; where the system cannot, the writer
// pays.
//
// A loop that has just had parcels looks at its lanes for SPIN_NS before it sleeps, if every loop
// has a processor: waking a processor takes 25 to 40 us.
//
// The end. `alive` counts the loops with coroutines that keep the program running, and the spawns
// on their way that will. At 0, or when a loop has lost its poller, the first loop leads through
// the phases; see loop_run.
#include "coro/coro.h"

enum {
    NUMBERS = 64,           // of loops in references; 1 is the guest of the first
    CHUNK_PARCELS = 170,    // 4 KiB
    RESERVED = 8,           // places that messages leave to posts when there is no memory
    SPARES = 8,             // emptied chunks that a lane keeps
    TAKE_MAX = 4096,        // parcels of a lane in a turn
    FEED_MAX = 32,          // of a lane, without going home
    SPIN_NS = 50 * 1000,    // how long an idle loop looks for parcels before it sleeps
    SPIN_LOOKS = 64,        // looks between two at the clock
    LOOKS_BY_BUDGET = 8,    // looks that are worth a switch
    HEARD_NS = 1000 * 1000, // a loop that has had no parcel for so long sleeps at once
    DOZE_NS = 10 * 1000 * 1000,
    THREAD_STACK_BYTES = 1 << 20
};

// What a place of a lane holds: the id of what a message is for, or one of these, which no message
// has, as no lane leads to loop 1.
enum place { EMPTY = 0, POST = 1 << 2 };

struct lane_chunk {
    struct lane_chunk *next; // atomic
    struct parcel parcels[CHUNK_PARCELS];
    uint64_t behind; // the id of a place behind the last, which stays empty
};
_Static_assert(offsetof(struct lane_chunk, behind) ==
                   offsetof(struct lane_chunk, parcels) + CHUNK_PARCELS * sizeof(struct parcel),
               "so that the writer need not ask where it is");

struct lane {
    // the writer's
    struct parcel *at;  // the next place
    struct parcel *end; // where messages stop
    const bool *look;   // atomic: whether to look if the reader is asleep
    bool for_messages; // `arrived` is set
    struct loop *to;
    struct lane_chunk *tail;
    struct lane_chunk *next;         // behind `tail`; NULL: there is none yet
    struct lane_chunk **spare_taken; // of `spares`, the one to look at next
    struct loop *from;
    // the reader's
    struct lane_end reader __attribute__((aligned(MEMORY_LINE_BYTES)));
    team_arrived *arrived; // set by the writer before the first message
    struct lane_chunk *head;
    struct lane_chunk **spare_given;
    // of both: a ring of emptied chunks; the reader fills what is NULL, the writer what is not
    struct lane_chunk *spares[SPARES] __attribute__((aligned(MEMORY_LINE_BYTES))); // atomic
};

struct team {
    uint32_t count;
    struct loop *loops[NUMBERS]; // by their numbers
    struct sys_thread *threads[NUMBERS];
    struct lane *lanes[NUMBERS][NUMBERS]; // atomic: [from][to]
    struct post *late[NUMBERS][NUMBERS];  // atomic: posts that found no memory for a place on the
                                          // lane, the latest first. While there are any nothing is
                                          // put on the lane
    bool fences;                          // sys_barrier cannot do it: the writers must
    bool spins;
    uint32_t alive;        // atomic, see above
    enum team_phase phase; // atomic
    uint32_t there;        // atomic: loops that have done what the phase asks for
    bool lost;             // atomic: a loop has lost its poller, so the program ends
    struct sys_mutex *lock;
    struct sys_condition *changed; // for whoever waits: signal all
    uint32_t born;                 // under the lock, as are the next two
    int err;                       // of a loop that could not be made, or that lost its poller
    int failure;                   // of the first loop with one
};

struct birth {
    struct team *team;
    uint32_t number;
};

static void run_member(void *argument);

static uint32_t number_of(uint32_t nth) { return nth == 1 ? 0 : nth; }
static uint32_t nth_of(uint32_t number) { return number == 0 ? 1 : number; }

// ---- lanes: the writer ----

// The next of the ring of emptied chunks.
static struct lane_chunk **spare_next(struct lane *lane, struct lane_chunk **spare) {
    return spare + 1 == lane->spares + SPARES ? lane->spares : spare + 1;
}

static void lane_write_to(struct lane *lane, struct lane_chunk *chunk) {
    lane->tail = chunk;
    lane->next = NULL;
    lane->at = chunk->parcels;
    lane->end = chunk->parcels + CHUNK_PARCELS - RESERVED;
}

static void lane_read_from(struct lane *lane, struct lane_chunk *chunk) {
    lane->head = chunk;
    lane->reader.first = chunk->parcels;
    lane->reader.first_end = chunk->parcels + CHUNK_PARCELS;
}

static struct post **late_of(const struct loop *from, const struct loop *to) {
    return &from->team->late[from->number][to->number];
}

static struct lane *lane_make(struct loop *from, struct loop *to) {
    struct lane *lane = memory_allocate_lines(sizeof *lane);
    struct lane_chunk *chunk = memory_allocate_zeroed(sizeof *chunk);
    if (!lane || !chunk) {
        memory_release(lane);
        memory_release(chunk);
        return NULL;
    }
    lane->from = from;
    lane->to = to;
    lane->look = from->team->fences ? &from->team->fences : &to->asleep;
    lane->spare_taken = lane->spare_given = lane->spares;
    lane_write_to(lane, chunk);
    lane_read_from(lane, chunk);
    __atomic_store_n(&from->team->lanes[from->number][to->number], lane, __ATOMIC_RELEASE);
    return lane;
}

static void lane_destroy(struct lane *lane) {
    if (!lane)
        return;
    for (struct lane_chunk *chunk = lane->head, *next; chunk; chunk = next) {
        next = chunk->next;
        memory_release(chunk);
    }
    for (int i = 0; i < SPARES; i++)
        memory_release(lane->spares[i]);
    memory_release(lane);
}

static struct lane_chunk *chunk_take(struct lane *lane) {
    struct lane_chunk *chunk = __atomic_load_n(lane->spare_taken, __ATOMIC_ACQUIRE);
    if (!chunk)
        return memory_allocate(sizeof *chunk);
    __atomic_store_n(lane->spare_taken, NULL, __ATOMIC_RELEASE);
    lane->spare_taken = spare_next(lane, lane->spare_taken);
    return chunk;
}

// As lane_has_room where the chunk has none, or only what messages leave. Where there are late
// posts the chunk is full.
static __attribute__((noinline)) bool lane_make_room(struct lane *lane, uint32_t reserved) {
    if (__atomic_load_n(late_of(lane->from, lane->to), __ATOMIC_ACQUIRE))
        return false;
    struct parcel *end = lane->tail->parcels + CHUNK_PARCELS;
    if (!lane->next) {
        struct lane_chunk *next = chunk_take(lane);
        if (!next)
            return lane->at + reserved < end;
        next->next = NULL;
        __atomic_store_n(&next->parcels[0].id, EMPTY, __ATOMIC_RELAXED);
        lane->next = next;
        __atomic_store_n(&lane->tail->next, next, __ATOMIC_RELEASE);
    }
    if (lane->at == end) // then `tail` may be gone: the reader goes on when it has read the last
        lane_write_to(lane, lane->next);
    return true;
}

static __attribute__((noinline)) int lane_wake(struct lane *lane) {
    if (__atomic_exchange_n(&lane->to->asleep, false, __ATOMIC_SEQ_CST))
        sys_wake(lane->to->sys);
    return 0;
}

// Makes known what has been put into the next place. Returns 0.
static inline int lane_put(struct lane *lane, uint64_t id) {
    struct parcel *at = lane->at++;
    __atomic_store_n(&at[1].id, EMPTY, __ATOMIC_RELAXED);
    __atomic_store_n(&at->id, id, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return unlikely(__atomic_load_n(lane->look, __ATOMIC_RELAXED)) ? lane_wake(lane) : 0;
}

struct lane *team_lane(struct loop *from, struct loop *to, team_arrived *arrived) {
    struct lane *lane = from->team->lanes[from->number][to->number];
    if (unlikely(!lane)) {
        bool late = __atomic_load_n(late_of(from, to), __ATOMIC_ACQUIRE);
        lane = late ? NULL : lane_make(from, to);
    }
    if (lane && arrived && !lane->for_messages) {
        lane->for_messages = true;
        lane->arrived = arrived;
    }
    return lane;
}

static __attribute__((noinline)) int send_beyond(struct lane *lane, uint64_t id, ac_value message) {
    if (!lane_make_room(lane, RESERVED))
        return -ENOMEM;
    lane->at->message = message;
    return lane_put(lane, id);
}

// The ways beside the common one are calls in the last place, so that it needs no stack frame.
int team_send(struct lane *lane, uint64_t id, ac_value message) {
    if (unlikely(lane->at >= lane->end))
        return send_beyond(lane, id, message);
    lane->at->message = message;
    return lane_put(lane, id);
}

static bool post_on_lane(struct loop *from, struct loop *to, struct post *post) {
    struct lane *lane = team_lane(from, to, NULL);
    if (!lane || (lane->at >= lane->end && !lane_make_room(lane, 0)))
        return false;
    lane->at->post = post;
    lane_put(lane, POST);
    return true;
}

// Needs no memory.
static void put_late(struct loop *from, struct loop *to, struct post *post) {
    struct post **late = late_of(from, to);
    post->next = __atomic_load_n(late, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(late, &post->next, post, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
        continue;
    if (__atomic_exchange_n(&to->asleep, false, __ATOMIC_SEQ_CST))
        sys_wake(to->sys);
}

void team_post(struct loop *from, struct loop *to, struct post *post) {
    if (!from || from->team != to->team || from == to)
        loop_post(to, post);
    else if (!post_on_lane(from, to, post))
        put_late(from, to, post);
}

// ---- lanes: the reader ----

// The chunk is empty: goes on to the next, if the writer has.
static __attribute__((noinline)) bool lane_next(struct lane *lane) {
    struct lane_chunk *emptied = lane->head;
    struct lane_chunk *next = __atomic_load_n(&emptied->next, __ATOMIC_ACQUIRE);
    if (!next)
        return false;
    lane_read_from(lane, next);
    if (__atomic_load_n(lane->spare_given, __ATOMIC_ACQUIRE)) {
        memory_release(emptied);
    } else {
        __atomic_store_n(lane->spare_given, emptied, __ATOMIC_RELEASE);
        lane->spare_given = spare_next(lane, lane->spare_given);
    }
    return true;
}

// What the first place holds.
static inline uint64_t lane_look(struct lane *lane) {
    if (unlikely(lane->reader.first == lane->reader.first_end) && !lane_next(lane))
        return EMPTY;
    return __atomic_load_n(&lane->reader.first->id, __ATOMIC_ACQUIRE);
}

static inline struct lane *lane_to(struct team *team, uint32_t from, uint32_t to) {
    return __atomic_load_n(&team->lanes[from][to], __ATOMIC_ACQUIRE);
}

static inline bool lane_waits(struct team *team, uint32_t from, uint32_t to) {
    struct lane *lane = lane_to(team, from, to);
    return (lane && lane_look(lane) != EMPTY) ||
           __atomic_load_n(&team->late[from][to], __ATOMIC_RELAXED);
}

bool team_has_parcels(struct loop *loop) {
    struct team *team = loop->team;
    for (uint32_t i = 1; i <= team->count; i++)
        if (lane_waits(team, number_of(i), loop->number))
            return true;
    return false;
}

// Returns whether the lane is empty. Who was waiting and has become ready runs soon, and takes the
// rest without going through its mailbox.
static bool take(struct loop *loop, struct lane *lane) {
    bool busy = loop->ready_head != NULL;
    uint64_t last = EMPTY;
    for (uint32_t i = 0; i < TAKE_MAX; i++) {
        uint64_t id = lane_look(lane);
        if (id == EMPTY)
            return true;
        if (id == last && id != POST && !busy && loop->ready_head)
            return false;
        last = id;
        struct parcel *it = lane->reader.first++;
        if (id == POST)
            it->post->run(it->post);
        else
            (void)lane->arrived(loop, id, it->message, true);
    }
    return false;
}

// Behind all that the lane has, which grows no more while there are late posts.
static void take_late(struct loop *loop, uint32_t from) {
    struct team *team = loop->team;
    struct post **late = &team->late[from][loop->number];
    if (likely(!__atomic_load_n(late, __ATOMIC_ACQUIRE)))
        return;
    struct lane *lane = lane_to(team, from, loop->number);
    while (lane && !take(loop, lane))
        continue;
    struct post *it = post_reverse(__atomic_exchange_n(late, NULL, __ATOMIC_ACQ_REL));
    while (it) {
        struct post *next = it->next;
        it->run(it);
        it = next;
    }
}

void team_receive(struct loop *loop) {
    struct team *team = loop->team;
    for (uint32_t i = 1; i <= team->count; i++) {
        uint32_t from = number_of(i);
        if (!lane_waits(team, from, loop->number))
            continue;
        loop->heard = loop->now;
        struct lane *lane = lane_to(team, from, loop->number);
        if (lane)
            (void)take(loop, lane);
        take_late(loop, from);
    }
}

// Returns whether there is something left that has to be taken at home.
static bool feed_from(struct loop *loop, struct lane *lane) {
    uint64_t last = EMPTY;
    for (uint32_t i = 0; i < FEED_MAX; i++) {
        uint64_t id = lane_look(lane);
        if (id == EMPTY || (id == last && loop->ready_head))
            return false;
        last = id;
        if (id == POST || !lane->arrived(loop, id, lane->reader.first->message, false))
            return true;
        lane->reader.first++;
        loop->fed = &lane->reader;
        loop->heard = loop->now;
    }
    return false;
}

void team_feed(struct loop *loop) {
    struct team *team = loop->team;
    if (!team->spins || loop->now - loop->heard > HEARD_NS)
        return;
    for (uint32_t looks = 0; looks < SPIN_LOOKS; looks++) {
        for (uint32_t i = 1; i <= team->count; i++) {
            struct lane *lane = lane_to(team, number_of(i), loop->number);
            if (lane && feed_from(loop, lane))
                return;
        }
        if (loop->ready_head || __atomic_load_n(&loop->inbox, __ATOMIC_RELAXED))
            return;
        sys_pause();
        // What is waited counts, so that home runs in time though messages keep coming.
        if (looks % LOOKS_BY_BUDGET == 0 && loop->budget > 0)
            __atomic_store_n(&loop->budget, loop->budget - 1, __ATOMIC_RELAXED);
    }
}

bool team_is_fed(struct loop *loop) {
    if (team_has_parcels(loop))
        return true;
    if (loop->ready_head || !loop->team->spins || loop->now - loop->heard > HEARD_NS)
        return false;
    for (int i = 0; i < SPIN_LOOKS; i++) {
        sys_pause();
        if (team_has_parcels(loop))
            return true;
    }
    return false;
}

void team_look(struct loop *loop, ac_time deadline) {
    struct team *team = loop->team;
    ac_time now = sys_now(loop->sys);
    if (!team->spins || now - loop->heard > HEARD_NS)
        return;
    ac_time until = now + SPIN_NS < deadline ? now + SPIN_NS : deadline;
    while (now < until) {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (team_has_parcels(loop) || __atomic_load_n(&loop->inbox, __ATOMIC_RELAXED))
                return;
            sys_pause();
        }
        now = sys_now(loop->sys);
    }
}

bool team_may_sleep(struct loop *loop) {
    if (!loop->team->fences)
        sys_barrier();
    else
        sys_fence();
    return !team_has_parcels(loop);
}

// ---- who keeps the program running ----

static void team_add_alive(struct team *team) {
    __atomic_fetch_add(&team->alive, 1, __ATOMIC_SEQ_CST);
}

static void team_drop_alive(struct team *team) {
    if (__atomic_sub_fetch(&team->alive, 1, __ATOMIC_SEQ_CST) == 0)
        sys_wake(team->loops[0]->sys);
}

void team_count(struct loop *loop) {
    bool alive = loop->alive > 0;
    if (alive == loop->counted)
        return;
    loop->counted = alive;
    if (alive)
        team_add_alive(loop->team);
    else
        team_drop_alive(loop->team);
}

bool team_is_alive(const struct team *team) {
    return __atomic_load_n(&team->alive, __ATOMIC_SEQ_CST) > 0 &&
           !__atomic_load_n(&team->lost, __ATOMIC_SEQ_CST);
}

void team_expect(struct loop *loop) {
    if (loop->team)
        team_add_alive(loop->team);
}

void team_expected(struct loop *loop) {
    if (!loop->team)
        return;
    if (loop->counted)
        team_drop_alive(loop->team);
    loop->counted = true; // the one that was on its way counts for the loop now
}

// ---- finding loops ----

uint32_t ac_loops(void) {
    struct loop *loop = loop_here;
    return !loop ? 0 : loop->team ? loop->team->count : 1;
}

uint32_t ac_loop(void) { return loop_here ? nth_of(loop_here->number) : 0; }

struct loop *team_loop(struct loop *loop, uint32_t number) {
    if (number == loop->number)
        return loop;
    return loop->team ? loop->team->loops[number % NUMBERS] : NULL;
}

struct loop *team_nth(struct loop *loop, int nth) {
    uint32_t count = loop->team ? loop->team->count : 1;
    if (nth == AC_SPREAD)
        nth = (int)(__atomic_fetch_add(&loop->spread, 1, __ATOMIC_RELAXED) % count) + 1;
    return nth >= 1 && (uint32_t)nth <= count ? team_loop(loop, number_of((uint32_t)nth)) : NULL;
}

// ---- phases ----

enum team_phase team_phase(const struct team *team) {
    return __atomic_load_n(&team->phase, __ATOMIC_SEQ_CST);
}

void team_enter(struct team *team, enum team_phase phase) {
    __atomic_store_n(&team->there, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&team->phase, phase, __ATOMIC_SEQ_CST);
    for (uint32_t i = 2; i <= team->count; i++)
        sys_wake(team->loops[i]->sys);
}

void team_arrive(struct team *team) {
    __atomic_fetch_add(&team->there, 1, __ATOMIC_SEQ_CST);
    sys_wake(team->loops[0]->sys);
}

bool team_is_there(const struct team *team) {
    return __atomic_load_n(&team->there, __ATOMIC_SEQ_CST) == team->count - 1;
}

void team_doze(struct team *team) {
    sys_mutex_lock(team->lock);
    (void)sys_condition_wait(team->changed, team->lock, sys_clock() + DOZE_NS);
    sys_mutex_unlock(team->lock);
}

void team_note(struct team *team, int err, int failure) {
    sys_mutex_lock(team->lock);
    team->err = team->err ? team->err : err;
    team->failure = team->failure ? team->failure : failure;
    sys_mutex_unlock(team->lock);
    if (err == 0)
        return;
    __atomic_store_n(&team->lost, true, __ATOMIC_SEQ_CST);
    sys_wake(team->loops[0]->sys);
}

// ---- making and ending ----

// Tells the loop that makes the team how it went. Returns whether the program runs.
static bool be_born(struct team *team, uint32_t number, struct loop *loop, int err) {
    sys_mutex_lock(team->lock);
    team->loops[number] = loop;
    team->born++;
    team->err = team->err ? team->err : err;
    sys_condition_signal_all(team->changed);
    sys_mutex_unlock(team->lock);
    return loop != NULL;
}

static void wait_until_over(struct team *team) {
    sys_mutex_lock(team->lock);
    while (team_phase(team) != TEAM_OVER)
        sys_condition_wait(team->changed, team->lock, AC_FOREVER);
    sys_mutex_unlock(team->lock);
}

static void run_member(void *argument) {
    struct birth birth = *(struct birth *)argument;
    memory_release(argument);
    struct team *team = birth.team;
    int err = 0;
    struct loop *loop = loop_create(&sys_chosen, team->loops[0]->peer, &err);
    if (loop) {
        loop_set_number(loop, birth.number);
        loop->team = team;
        loop->poll_ns = team->loops[0]->poll_ns;
        loop_here = loop;
        watchdog_add(loop);
        loop_debug(loop);
    }
    if (!be_born(team, birth.number, loop, err))
        return;
    loop_run_member(loop);
    wait_until_over(team);
    loop_end(loop);
    loop_here = NULL;
}

static void team_free(struct team *team) {
    for (uint32_t from = 0; from < NUMBERS; from++)
        for (uint32_t to = 0; to < NUMBERS; to++)
            lane_destroy(team->lanes[from][to]);
    sys_condition_destroy(team->changed);
    sys_mutex_destroy(team->lock);
    memory_release(team);
}

static int start_thread(struct team *team, uint32_t number) {
    struct birth *birth = memory_allocate(sizeof *birth);
    if (!birth)
        return -ENOMEM;
    *birth = (struct birth){team, number};
    int err = sys_thread_start(&team->threads[number], run_member, birth, THREAD_STACK_BYTES,
                               "ac-loop");
    if (err < 0)
        memory_release(birth);
    return err;
}

// Starts the other loops and waits until they are there.
static int start_all(struct team *team, uint32_t count) {
    int err = 0;
    uint32_t started = 0;
    for (uint32_t nth = 2; nth <= count && err == 0; nth++) {
        err = start_thread(team, number_of(nth));
        started += err == 0;
    }
    sys_mutex_lock(team->lock);
    while (team->born < started)
        sys_condition_wait(team->changed, team->lock, AC_FOREVER);
    err = err ? err : team->err;
    sys_mutex_unlock(team->lock);
    return err;
}

// Takes what is left on all lanes to where it is for: nobody is there any more. The other threads
// of the team stand still. What others go on to post each loop takes when it ends.
static void empty_all(struct team *team) {
    bool found;
    do {
        found = false;
        for (uint32_t i = 1; i <= team->count; i++) {
            struct loop *loop = team->loops[number_of(i)];
            loop_here = loop;
            found |= team_has_parcels(loop);
            team_receive(loop);
        }
    } while (found);
    loop_here = team->loops[0];
}

// From now on the guest, too, which another thread may drive, finds the team or finds none.
static void set_team(struct loop *first, struct team *team) {
    if (first->guest)
        guest_enter(first->guest);
    first->team = team;
    first->fed = NULL;
    first->seen_left = 0; // its lanes are others, or none
    if (first->guest)
        guest_leave(first->guest);
}

// Ends all loops but the first.
static void disband(struct team *team) {
    set_team(team->loops[0], NULL);
    sys_mutex_lock(team->lock);
    __atomic_store_n(&team->phase, TEAM_OVER, __ATOMIC_SEQ_CST);
    sys_condition_signal_all(team->changed);
    sys_mutex_unlock(team->lock);
    for (uint32_t i = 0; i < NUMBERS; i++)
        if (team->threads[i])
            sys_thread_join(team->threads[i]);
    team_free(team);
}

int team_end(struct team *team, int *failure) {
    empty_all(team);
    // All have noted what they had before they came to the end of their last phase.
    sys_mutex_lock(team->lock);
    int err = team->err;
    *failure = *failure ? *failure : team->failure;
    sys_mutex_unlock(team->lock);
    disband(team);
    return err;
}

int team_make(struct loop *first, uint32_t count) {
    struct team *team = memory_allocate_lines(sizeof *team);
    if (!team)
        return -ENOMEM;
    team->lock = sys_mutex_create();
    team->changed = sys_condition_create();
    if (!team->lock || !team->changed) {
        team_free(team);
        return -ENOMEM;
    }
    team->count = count;
    team->loops[0] = first;
    team->fences = !sys_barrier_offered();
    team->spins = sys_processors() >= (int)count;
    int err = start_all(team, count);
    if (err == 0) {
        set_team(first, team);
        team_count(first);
        return 0;
    }
    // Those that were born find no coroutines and no first loop that runs.
    team_note(team, err, 0);
    sys_mutex_lock(team->lock); // which they need before they end: until then they can be woken
    __atomic_store_n(&team->phase, TEAM_OVER, __ATOMIC_SEQ_CST);
    for (uint32_t i = 2; i <= count; i++)
        if (team->loops[i])
            sys_wake(team->loops[i]->sys);
    sys_mutex_unlock(team->lock);
    disband(team);
    return err;
}
