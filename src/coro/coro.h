// SPDX-License-Identifier: MIT
// The face of coro/: loops, coroutines, waiting and waking.
//
//   loop.c       the loop: its turn, timers, posts from other threads, how it ends
//   coro.c       parking, waking, ending; the public calls
//   spawn.c      the records of coroutines, and spawning
//   operation.c  waiting for operations of the poller
//   work.c       blocking work handed to helper threads
//   lock.c       lock and condition
//   rwlock.c     read-write lock
//   sync.c       queues of those who wait for an object; event, semaphore, wait group
//   group.c      coroutines that end together
//   replace.c    another function for a coroutine that runs
//   team.c       several loops of one program, each on a thread, and the lanes between them
//   away.c       spawning on another loop and from foreign threads; the background
//   join.c       joining a coroutine of another loop
//   guest.c      a loop driven by another one, taken over by a guardian thread while that is busy
//   inspect.c    what tools show: each coroutine, the list, counters; AC_DEBUG
//   measure.c    how much of their stacks coroutines use
//   watchdog.c   all loops of the process, and the thread that looks at them from outside
//
// One verb waits, coro_wait, and one verb wakes, coro_wake; nothing else parks a coroutine. A
// parking coroutine switches straight to the next ready one; only when nobody is ready, or after a
// number of switches, does the loop's own context ("home", on the stack of the thread) run and ask
// the clock and the poller:
//
//      spawn            first turn            coro_wait
//    ---------> READY -------------> RUNNING -----------> WAITING
//                 ^                     |                    |
//                 |      (yield)        |     coro_wake      |
//                 +---------------------+--------------------+
//                                       |
//                                       +---> ended: the record is free, its generation one higher
//
// A call that waits does its book-keeping first and returns coro_wait(...) as a tail call, and the
// switch ends in a jump: a mispredicted return would cost more than the switch.
//
// The waker hands the result over: coro_wake(coro, result) makes coro_wait return `result` there.
#ifndef CORO_CORO_H
#define CORO_CORO_H

#include "base/base.h"
#include "coro/door.h"
#include "sys/sys.h"
#include "value/value.h"

#include <asyncoro/coro.h>
#include <asyncoro/sync.h>

struct coro;
struct lane; // private to team.c
struct loop;
struct guest;

// ---- references ----

// ac_ref.id = generation (32) | index (24) | loop (6) | sort (2)
enum ref_sort { REF_COROUTINE = 0, REF_CHANNEL = 1, REF_FUNCTION = 2, REF_ANSWER = 3 };

static inline uint64_t ref_id(enum ref_sort sort, uint32_t loop, uint32_t index,
                              uint32_t generation) {
    return (uint64_t)generation << 32 | (uint64_t)index << 8 | loop << 2 | (uint32_t)sort;
}
static inline enum ref_sort ref_sort(uint64_t id) { return (enum ref_sort)(id & 3); }
static inline uint32_t ref_loop(uint64_t id) { return (uint32_t)id >> 2 & 63; }
static inline uint32_t ref_index(uint64_t id) { return (uint32_t)id >> 8; }
static inline uint32_t ref_generation(uint64_t id) { return (uint32_t)(id >> 32); }

static inline ac_ref ref_none(int err) { return (ac_ref){.peer = 0, .id = (uint64_t)(-err)}; }

// ---- waiting ----

struct wait_kind {
    const char *name; // what tools show: "receive", "sleep"
    // The wait ends early (time is up, or the coroutine is cancelled or replaced): takes the
    // coroutine out of whatever it waits in. True: it can be woken now. False: an operation must
    // finish first, and its end will wake it; the reason (-ETIMEDOUT, -ECANCELED or -ERESTART) is
    // kept in coro->early for that moment. May wake others, not this one. Must not wait.
    bool (*abandon)(struct coro *coro);
    bool until_deadline; // the deadline is what is waited for: its result is 0 and not -ETIMEDOUT
    // The coroutine is given up and its stack taken away (coro_abandon): takes it out of whatever
    // it waits in, at once, also after `abandon` has said false. NULL: abandon does that, unless it
    // says or has said false. As abandon otherwise.
    void (*forget)(struct coro *coro);
};

enum coro_state {
    CORO_FREE,
    CORO_ALIVE, // running, waiting (then `wait` is set) or ready
    CORO_ENDED  // its end is kept for whoever joins it
};

// Told of the end of a coroutine: a link in its list of watchers.
struct end_watch {
    struct list link;
    // Called once, on the loop of the coroutine, after its link was taken out. `exit->value`
    // belongs to the caller. Must not wait.
    void (*ended)(struct end_watch *watch, const struct ac_exit *exit);
    bool observes; // for a user who joins or monitors: a failure is not unseen
};

// Its first 64 bytes are one line of the cache, and all that a switch or a message touches.
//
// What a record is when its coroutine ends is what the next one finds: `wait`, the mail, `early`,
// `shield` and `replacement` are empty then, and a spawn need not clear them.
struct coro {
    struct sys_context context;   // its mark: loop->mark when its last wait began
    struct coro *ready_next;      // in the ready queue, or in the list of free records
    struct loop *loop;            // for life
    const struct wait_kind *wait; // what it waits for; NULL: nothing
    void *wait_for; // belongs to the wait kind: the operation, the receiver's variable, ...
    uint64_t id;    // of its reference: the generation counts how many it has been
    union {
        struct {
            uint8_t state; // enum coro_state
            uint8_t stack_class;
            bool end_slow : 1;  // at its end more is to be done than to give the record back
            bool mail_slow : 1; // belongs to message/: a message to it needs more than a cell; also
                                // set when it has ended
            bool cancelled : 1; // its waits end early: cancel_asked or replacement, and no shield
            bool cancel_known : 1; // a wait has told it that it was asked to end
            bool daemon : 1;
            bool joinable : 1;
            bool internal : 1;      // the library's own: not counted, not shown
            bool unseen : 1;        // it has failed, its end is kept, and nobody was told
            bool replaceable : 1;   // its function can be replaced
            bool cancel_asked : 1;  // it was asked to end, maybe while it is shielded
            bool replace_known : 1; // a wait has told it that its function is to be replaced
            bool away : 1;          // its record is one for who spawns from elsewhere
            bool placed : 1;        // of these: it has a place among the timers
            bool timed : 1;         // it waits with a deadline
            bool small : 1;         // its stack is small, and checked whenever it waits
        };
        uint32_t life; // all of these at once
    };
    uint32_t mail_count; // messages in the mailbox; all mail_* belong to message/
    // ---- the second line: what has mail, waits with a deadline, or is interrupted ----
    void *mail_head; // first and last message
    void *mail_tail;
    void *mail_more;                      // what message/ needs for few coroutines only, or NULL
    void (*mail_done)(struct coro *coro); // the coroutine ends, its mail goes
    struct replacement *replacement; // what it goes on with, once its function has returned; NULL
    int16_t early;     // why the wait was abandoned, while its operation still finishes; else 0
    uint8_t shield;    // how many shields are up: nothing but the deadline ends its waits early
    bool mail_limited; // atomic: its mailbox can be full
    uint32_t held;     // how many locks it holds: lock.c, rwlock.c
    // ---- the third: what a spawn and the end touch besides the first ----
    const char *name __attribute__((aligned(64)));
    const char *where;
    void *stack; // top of its stack; NULL before its first turn
    union {
        struct {
            struct list watchers; // struct end_watch
            ac_function function;
            ac_value argument;
        };
        struct ac_exit end; // how it ended, while CORO_ENDED (joinable and not joined yet)
    };
} __attribute__((aligned(64)));

#ifndef SYS_SANITIZED
_Static_assert(offsetof(struct coro, mail_head) == 64 && offsetof(struct coro, name) == 128 &&
                   sizeof(struct coro) == 192,
               "three lines, and the first is what is hot");
#endif

// ---- posts: what other threads ask a loop to do ----

struct post {
    struct post *next;
    // Called once on the loop's thread, at home. Owns the post again. Must not wait.
    void (*run)(struct post *post);
};

// What the floors above hang on a loop.
enum loop_floor {
    LOOP_MESSAGE,
    LOOP_WORK, // the library's own helper threads
    LOOP_FILE_WORK,
    LOOP_USER_WORK,
    LOOP_IO,
    LOOP_REMOTE,
    LOOP_CLUSTER,
    LOOP_FLOORS
};
struct loop_extra {
    void *state; // stored atomically
    // Called from the top floor down when nothing but what the library does itself is left: may
    // spawn internal coroutines (not daemons), for which the loop waits, to say goodbye. May be
    // NULL.
    void (*stopping)(struct loop *loop, void *state);
    // Called from the top floor down when no coroutine is left: frees the state. Posts that have
    // not run by then are never run: the loop has forgotten them. May be NULL.
    void (*done)(struct loop *loop, void *state);
};

// What a loop was seen at from another thread. It changes with each switch: the budget is one less
// then, and begins anew only with a turn or within the 50 us that follow one.
struct stretch {
    const struct coro *coro; // that runs; NULL: home
    int32_t budget;
    uint64_t turns;
};

// What watchdog.c keeps with a loop: under SYS_LOCK_LOOPS but for what is atomic.
struct watchdog {
    struct list link;       // in the list of all loops of the process
    struct post list;       // has the loop write its list
    bool listing;           // atomic: that post is on its way
    bool told;              // of the stretch
    bool lists;             // under SYS_LOCK_WATCHDOG: AC_DEBUG asks for lists on SIGQUIT
    ac_time limit_ns;       // how long a stretch may be; 0: it is not watched
    ac_time seen_ns;        // for how long the stretch has been seen
    struct stretch stretch; // that was seen last
};

// So many coroutines are possible at once, unless the process may not have so much address space;
// then there are fewer, but not fewer than LOOP_COROS_LEAST.
enum { LOOP_COROS_MAX = HEAP_IDS_MAX, LOOP_COROS_LEAST = 1 << 12, LOOP_DEAD_REASONS = 8 };

struct loop {
    struct coro *ready_head; // ready coroutines, first come first served
    struct coro *ready_tail;
    struct coro *running;     // atomic for other threads; NULL: home runs
    struct coro *free;        // records to use again, the latest first
    uint64_t peer;            // identity of this process, never 0
    int32_t budget;           // switches left before home runs; each switch changes it
    uint32_t mark;            // `now` in milliseconds
    uint16_t number;          // of the loop in its process
    uint8_t tag;              // how the ids of its coroutines end: the last byte of ref_id
    uint32_t alive;           // coroutines that keep ac_run from returning
    struct sys_table records; // `coros`
    uint64_t spawned;         // coroutines ever
    uint64_t ended;           // of these
    struct sys_context home;  // the thread's own stack
    ac_time now;              // when home last asked
    ac_time asked;            // when the poller was last asked
    ac_time poll_ns;          // home goes on asking for so long before it sleeps
    ac_time idle_since;       // meanwhile: when nobody was ready for the first time; else 0
    struct sys *sys;
    struct heap timers; // deadlines of waits, by the indexes of the records
    struct sys_stacks stacks;
    struct runner *runners[SYS_STACK_CLASSES]; // of coro.c: stacks that wait for a coroutine
    void *left[SYS_STACK_CLASSES]; // tops of stacks whose coroutines were abandoned; the word there
                                   // is the next one
    uint32_t internals;            // of the library's own, those that have not ended
    bool wants_stack;   // home was entered to get a new stack for the first ready coroutine
    bool stopping;      // only daemons are left
    int failure;        // of the first coroutine that failed unseen; 0: none
    struct post *inbox; // atomic: posts, the latest first
    uint64_t turns;     // atomic: how often home has run, for the guardian and the watchdog
    uint64_t posts;     // how many have run
    uint64_t dead_letters[LOOP_DEAD_REASONS]; // counted by message/, which knows the reasons
    struct team *team;      // the loops that run the program with this one; NULL: it is alone
    bool closed;            // no coroutine of users begins any more that comes from elsewhere
    bool over;              // nor one of the library's own
    bool counted;           // the team counts this loop as alive
    uint32_t spread;        // atomic: where AC_SPREAD goes next
    struct lane_end *fed;   // of the lane to this loop that was last taken from; NULL: none
    ac_time heard;          // when parcels of other loops were last there
    ac_time polled;         // when the poller was last asked while they kept coming
    struct sys_mutex *away; // held to make records and to take those of the next list
    struct coro *away_free; // records for who spawns from elsewhere
    struct guest *guest;    // a loop that this one drives, or NULL
    struct guest *in;       // as which guest this loop is driven; NULL: it runs by itself
    struct watchdog watchdog;
    struct measure *measure; // private to measure.c; NULL until stacks are measured
    struct loop_extra extra[LOOP_FLOORS];
    const struct coro_door *door; // atomic: of the first loop; NULL: none
    uint64_t random[2];           // state of the generator of ac_random_*
    void *token;          // names it in objects that its coroutines use (sync.c); never used again
    struct list readers;  // of rwlock.c: records of those who hold a lock to read
    uint32_t left_behind; // how many coroutines have ended with a lock held
    bool tells_left;      // AC_DEBUG names locks: each of these is told of
    uint64_t seen_id;     // belongs to message/: who was last seen alive on another loop,
    uint32_t seen_left;   // for how many more messages that is believed,
    struct lane *seen_lane; // and the way there
    bool traced;            // AC_TRACE names coro: all spawns and ends go the slow way, which tells
    struct coro *aside;     // free records of such a loop, where the quick way does not find them
    bool outside;           // between loop_step_out and loop_step_in
    // A line that changes seldom, for other loops read it when they send.
    bool asleep __attribute__((aligned(MEMORY_LINE_BYTES))); // atomic: home waits in the poller
    uint32_t coro_count;                                     // atomic: records ever made
    struct coro *coros;                                      // the records; they never move
};

// The loop of the calling thread, or NULL. All state hangs from it; the few other thread-local
// variables are facts of a thread itself (work.c, sys/overflow.c, base/memory.c).
extern _Thread_local struct loop *loop_here __attribute__((tls_model("initial-exec")));

// ---- loop.c ----

// Gives a loop that has no coroutines its number.
static inline void loop_set_number(struct loop *loop, uint32_t number) {
    loop->number = (uint16_t)number;
    loop->tag = (uint8_t)ref_id(REF_COROUTINE, number, 0, 0);
}
// A new loop, with number 0. NULL and *err if there is no memory or no poller.
struct loop *loop_create(const struct sys_driver *driver, uint64_t peer, int *err);
// All coroutines have ended.
void loop_destroy(struct loop *loop);
// The same for one that other threads of the process could find: takes what they have posted.
// Private to coro/.
void loop_end(struct loop *loop);
// The loop of this thread, made if there is none. NULL and *err, -EPERM on a helper thread.
struct loop *loop_need(int *err);
// Runs until no coroutine keeps the loop, or its team, alive, then stops it in order; does not
// destroy it.
int loop_run(struct loop *loop);
// The same for a loop of a team but the first, which leads. Private to coro/.
void loop_run_member(struct loop *loop);
// Turns a list of posts, linked by `next`, round. Private to coro/.
struct post *post_reverse(struct post *latest);
// Runs the posts and takes the parcels that are there. Private to coro/.
void loop_run_posts(struct loop *loop);
// One turn of a loop that is driven from outside: timers, posts, poller (without waiting), then
// ready coroutines until none is left or time is due. Sets loop_here meanwhile. 0 or an error.
int loop_turn(struct loop *loop);
// Of such a turn the last part alone. Sets loop_here meanwhile.
void loop_run_ready(struct loop *loop);
// When the loop next has something to do by itself: AC_NOW, a timer's deadline or AC_FOREVER.
ac_time loop_due(const struct loop *loop);
// From any thread: has post->run called on the loop's thread soon. The caller sees to it that the
// loop is not destroyed before this call has returned.
void loop_post(struct loop *loop, struct post *post);
// In a coroutine: waits until the loop has turned once; where it is the only one of its program,
// what was sent before is with the system then. 0, or the error of a wait that may not begin.
int loop_await_turn(void);
// Attaches a floor's state. Other threads may look for it meanwhile, with loop_extra_seen.
static inline void loop_extend(struct loop *loop, enum loop_floor floor, struct loop_extra extra) {
    struct loop_extra *it = &loop->extra[floor];
    it->stopping = extra.stopping;
    it->done = extra.done;
    __atomic_store_n(&it->state, extra.state, __ATOMIC_RELEASE);
}
// From another loop of the team: the state of a floor, or NULL. It stays while that loop's
// coroutines run.
static inline void *loop_extra_seen(const struct loop *loop, enum loop_floor floor) {
    return __atomic_load_n(&loop->extra[floor].state, __ATOMIC_ACQUIRE);
}

// ---- spawn.c ----

// As ac_spawn_with, on a given loop. `internal`: the library's own, which keeps no loop alive
// unless the options say so by daemon = false and is not shown to users.
struct coro *coro_create(struct loop *loop, ac_function function, ac_value argument,
                         const struct ac_spawn_options *options, bool internal, int *err);
// The same for one that waits, as `kind` says, until coro_wake; cancelled before that, it never
// ran.
struct coro *coro_create_parked(struct loop *loop, ac_function function, ac_value argument,
                                const struct ac_spawn_options *options, bool internal,
                                const struct wait_kind *kind, int *err);

// ---- coro.c ----

// The coroutine ends with `result`: what does not fit into the quick way. If its function is
// replaced it goes on. Else its mail goes, then those who watch are told, in the order in which
// they asked. Private to coro/.
void coro_end(struct coro *coro, ac_value result);
// The running coroutine; NULL outside.
static inline struct coro *coro_here(void) {
    struct loop *loop = loop_here;
    return likely(loop != NULL) ? loop->running : NULL;
}
// How many have not ended.
static inline uint32_t loop_living(const struct loop *loop) {
    return (uint32_t)(loop->spawned - loop->ended);
}
// Between these two calls a function of the user's may be called that is to run as if outside
// coroutines; but it must not run the loop. The first returns what the second wants.
static inline struct coro *loop_step_out(struct loop *loop) {
    struct coro *running = loop->running;
    __atomic_store_n(&loop->running, NULL, __ATOMIC_RELAXED);
    loop->outside = true;
    return running;
}
static inline void loop_step_in(struct loop *loop, struct coro *running) {
    loop->outside = false;
    __atomic_store_n(&loop->running, running, __ATOMIC_RELEASE);
}
// Of its record in the loop.
static inline uint32_t coro_index(const struct coro *coro) { return ref_index(coro->id); }
static inline ac_ref coro_ref(const struct coro *coro) {
    return (ac_ref){coro->loop->peer, coro->id};
}
// Whether a reference names something of this loop.
static inline bool ref_is_here(const struct loop *loop, ac_ref ref) {
    return ref.peer == loop->peer && ref_loop(ref.id) == loop->number;
}
// How many records there are, each of which can be looked at. From any thread.
static inline uint32_t loop_coro_count(const struct loop *loop) {
    return __atomic_load_n(&loop->coro_count, __ATOMIC_ACQUIRE);
}
// The state of a record as the thread of its loop finds it while it walks over all of them: free,
// too, if another thread is making a coroutine of it, which has not come here yet.
static inline enum coro_state coro_state_here(const struct coro *coro) {
    struct coro seen = {.life = __atomic_load_n(&coro->life, __ATOMIC_ACQUIRE)};
    bool comes = seen.away && !seen.placed && seen.state == CORO_ALIVE;
    return comes ? CORO_FREE : (enum coro_state)seen.state;
}
// The same as coro_find below, or the free record that will have this id next: mail_slow is set
// then, and it waits for nothing.
static inline struct coro *coro_find_quickly(const struct loop *loop, uint64_t id) {
    uint32_t index = ref_index(id);
    if (unlikely(index >= loop_coro_count(loop)))
        return NULL;
    struct coro *coro = &loop->coros[index];
    return likely(coro->id == id) ? coro : NULL;
}
// The coroutine that a reference to this loop names: alive, or ended and kept for joining; NULL
// otherwise.
static inline struct coro *coro_find(const struct loop *loop, uint64_t id) {
    struct coro *coro = coro_find_quickly(loop, id);
    return coro && coro->state != CORO_FREE ? coro : NULL;
}

// From any thread while the loop runs: the coroutine that a reference to this loop names, if it
// lives; it may have ended when the caller learns of it. Nothing of it may be touched but what is
// atomic. NULL otherwise.
static inline const struct coro *coro_peek(const struct loop *loop, uint64_t id) {
    uint32_t index = ref_index(id);
    if (index >= loop_coro_count(loop))
        return NULL;
    const struct coro *coro = &loop->coros[index];
    bool lives = __atomic_load_n(&coro->id, __ATOMIC_RELAXED) == id &&
                 __atomic_load_n(&coro->state, __ATOMIC_RELAXED) == CORO_ALIVE;
    return lives ? coro : NULL;
}
static inline bool coro_is_alive(const struct loop *loop, uint64_t id) {
    return coro_peek(loop, id) != NULL;
}

// Whether nothing is to be asked of a coroutine before it waits. For the compiler the mask is a
// constant.
static inline bool coro_waits_plainly(const struct coro *coro) {
    return !(coro->life & (struct coro){.cancelled = true, .small = true}.life);
}
int coro_may_wait_slowly(struct coro *coro, ac_time deadline);
// Ends the process if the coroutine has gone beyond its stack, which has no guard page. Private to
// coro/.
void coro_check_canary(const struct coro *coro);
// Whether the running coroutine may begin a wait: 0; -EPERM outside coroutines; -ECANCELED if it is
// cancelled; -ERESTART if its function is to be replaced; -ETIMEDOUT if the deadline is over. To be
// asked before the coroutine is put into any queue. A coroutine that goes on waiting after it was
// told lets the others run first, so that it cannot hold up the loop.
static inline int coro_may_wait(struct coro *coro, ac_time deadline) {
    if (likely(coro && coro_waits_plainly(coro) && deadline == AC_FOREVER))
        return 0;
    return coro_may_wait_slowly(coro, deadline);
}
// Whether it may take without waiting what can be had: 0, -EPERM, -ECANCELED. A cancelled coroutine
// may only with AC_NOW, which is no wait, so that it learns of its cancellation even if nothing
// ever makes it wait.
static inline int coro_may_try(struct coro *coro, ac_time deadline) {
    if (likely(coro && (!coro->cancelled || deadline == AC_NOW)))
        return 0;
    return coro_may_wait_slowly(coro, deadline);
}
// The watchdog reads both from its own thread, so they are stored whole, which costs nothing.
static inline void loop_set_running(struct loop *loop, struct coro *coro) {
    __atomic_store_n(&loop->running, coro, __ATOMIC_RELEASE); // with its record, for the watchdog
}
static inline int32_t loop_spend(struct loop *loop) {
    int32_t left = loop->budget - 1;
    __atomic_store_n(&loop->budget, left, __ATOMIC_RELAXED);
    return left;
}

// The part of coro_park that is not worth a fast way. Private to coro_park.
int coro_park_slowly(struct coro *coro);
// Private to coro/. Goes on with the next ready coroutine, or home; returns when this one is
// switched to again.
static inline __attribute__((always_inline)) int coro_park(struct coro *coro) {
    struct loop *loop = coro->loop;
    struct coro *next = loop->ready_head;
    if (likely(next && next->context.sp && loop_spend(loop) > 0)) {
        loop->ready_head = next->ready_next;
        loop_set_running(loop, next);
        return sys_switch(&coro->context, &next->context);
    }
    return coro_park_slowly(coro);
}
// Parks the running coroutine until coro_wake; returns what the waker gives, or -ETIMEDOUT,
// -ECANCELED or -ERESTART after kind->abandon. `return coro_wait(...)` as a tail call.
int coro_wait(struct coro *coro, const struct wait_kind *kind, ac_time deadline);
// As coro_wait without a deadline, for who waits often: all of it is in the caller.
static inline __attribute__((always_inline)) int coro_wait_for_ever(struct coro *coro,
                                                                    const struct wait_kind *kind) {
    coro->wait = kind;
    coro->context.mark = coro->loop->mark;
    return coro_park(coro);
}
// Whether a wait ended with `err` because its coroutine was cancelled or is to be replaced.
static inline bool coro_is_interruption(int64_t err) {
    return err == -ECANCELED || err == -ERESTART;
}
// As ac_cancel.
void coro_cancel(struct coro *coro);
// Has the present wait and all later ones end with `reason`, -ECANCELED or -ERESTART, unless the
// coroutine is shielded: then once it no longer is. Private to coro/.
void coro_interrupt(struct coro *coro, int reason);
// A wait tells the coroutine that it ended early for `reason`. Private to coro/.
static inline void coro_note_told(struct coro *coro, int reason) {
    coro->cancel_known |= reason == -ECANCELED;
    coro->replace_known |= reason == -ERESTART;
}
// The living or ended coroutine of this loop that a reference names: NULL, and why (-ESRCH,
// -ENOTSUP), if there is none. Private to coro/.
struct coro *coro_find_here(ac_ref ref, int *err);
// As ac_join for one that has ended: 0. -EAGAIN: it lives, and is stored. -ESRCH, -ENOTSUP,
// -EDEADLK.
int coro_join_try(ac_ref coroutine, struct ac_exit *exit, struct coro **living);
// Forgets the end of one that has ended. Private to coro/.
void coro_forget(struct coro *coro);
// For an end_watch of one who joins `of`: passes its end on to `exit`, which may be NULL.
void coro_join(struct coro *of, const struct ac_exit *end, struct ac_exit *exit);
// Asks to be told of the end of a living coroutine.
static inline void coro_watch(struct coro *coro, struct end_watch *watch) {
    coro->end_slow = true;
    list_append(&coro->watchers, &watch->link);
}
static inline void coro_unwatch(struct end_watch *watch) { list_remove(&watch->link); }
// Appends a coroutine to the ready queue of its loop: the last step of waking it. Private to coro/.
static inline void loop_append_ready(struct loop *loop, struct coro *coro) {
    coro->ready_next = NULL;
    if (loop->ready_head)
        loop->ready_tail->ready_next = coro;
    else
        loop->ready_head = coro;
    loop->ready_tail = coro;
}
static inline void coro_make_ready(struct coro *coro) { loop_append_ready(coro->loop, coro); }
// For coro_wake alone: of one that waits with a deadline.
int coro_wake_early(struct coro *coro, int result);
// Makes a waiting coroutine ready. From the thread that drives its loop. Returns 0, so that it can
// be the last call of who has to return that.
static inline int coro_wake(struct coro *coro, int result) {
    assert(coro->wait);
    if (unlikely(coro->timed))
        return coro_wake_early(coro, result);
    coro->wait = NULL;
    coro->context.result = result;
    coro_make_ready(coro);
    return 0;
}
// Lets the others run first, cancelled or not. Private to coro/.
void coro_step_back(struct coro *coro);
// To be called by what can wait and has not: one whose calls never wait must keep neither the
// others nor home from running.
static inline void coro_go_on_fairly(struct coro *coro) {
    if (coro->loop->budget <= 0 || --coro->loop->budget <= 0)
        coro_step_back(coro);
}
// The wait of a coroutine ends early, for -ETIMEDOUT, -ECANCELED or -ERESTART. Private to coro/.
void coro_end_wait(struct coro *coro, int reason);
// No coroutine is left: ends what waits for new ones on the stacks, and gives back those of
// abandoned ones. Private to coro/.
void coro_end_runners(struct loop *loop);
// Paints the stacks on which such wait, for measuring. Private to coro/.
void coro_paint_runners(struct loop *loop);
// Switches from home to the first ready coroutine; returns when a coroutine goes home. Private to
// coro/.
void coro_run_ready(struct loop *loop);
// Gives up a coroutine that ignores its cancellation: its stack is taken away, not unwound, and its
// next turn, for which it is made ready, is that of one that never ran. What lies on that stack
// stays as it is until the floors above are done with the loop, for they may have it in their
// lists. From home; does nothing if its operation still finishes. Private to coro/.
void coro_abandon(struct coro *coro);
// A coroutine has failed and nobody was told: ac_run will tell. Private to coro/.
void coro_note_failure(struct coro *coro, const struct ac_exit *exit);
// "coroutine #17 'name', spawned at file.c:12": calls nothing that is unsafe in a signal handler.
// How many bytes were stored, with no end of text.
size_t coro_name(const struct coro *coro, char *text, size_t bytes);
// The same and the size of its stack, for the overflow handler.
size_t coro_describe(const void *coro, char *text, size_t bytes);

// ---- operation.c ----

// Starts an operation and waits until it has finished or the deadline is over. Returns op->result,
// -ETIMEDOUT, -ECANCELED, -ERESTART or -EPERM. After it has returned the poller knows nothing of
// the operation any more. Can wait.
int64_t coro_operate(struct sys_op *op, ac_time deadline);
// Ends the wait of the coroutine behind a pending operation with `err`, because its handle is being
// closed.
void coro_operation_abort(struct sys_op *op, int err);

// ---- sync.c: queues of those who wait for an object ----

// A place in the queue of an object of asyncoro/sync.h. It lies on the stack of the coroutine that
// waits, which may stand in several queues at once.
struct waiter {
    struct coro *coro; // who waits; set by its owner, as `granted` is
    // Called once when what it waits for is its own: it has left the queue. NULL: wakes the
    // coroutine with 0. May wake, and detach other waiters. Must not wait, or use the object.
    void (*granted)(struct waiter *waiter);
    struct ac_queue_ *in; // private: where it stands; NULL: nowhere
    void **loop;          // private: `loop_` of the object
    struct waiter *next;  // private: in the queue
    struct waiter *prev;
};

// Whether the event is set, or one of the semaphore was taken: 0; -EAGAIN if not; -EXDEV. From any
// context.
int event_try(struct ac_event *event);
int semaphore_try(struct ac_semaphore *semaphore);
// Puts a waiter at the end of the queue, after a try has given -EAGAIN and nobody else has run. 0;
// -EXDEV.
int event_attach(struct ac_event *event, struct waiter *waiter);
int semaphore_attach(struct ac_semaphore *semaphore, struct waiter *waiter);
// Takes it out of the queue of an event or a semaphore; harmless when it has been granted.
void waiter_detach(struct waiter *waiter);

// The following are private to coro/.

// An object is claimed by a loop while it is in use, by compare and swap, so that two threads never
// touch it at once. 0, also when it is claimed by the loop of this thread already; -EXDEV.
int object_claim(void **loop);
// After that has given -EXDEV: whether it was a loop that has ended, and the object is claimed now.
// What that has left in it is for the caller to forget.
bool object_take_over(void **loop);
// Whether the loop of this thread has claimed it.
bool object_is_mine(void *const *loop);
void object_give_up(void **loop);
void waiter_append(struct ac_queue_ *queue, struct waiter *waiter);
// Takes it out of its queue.
void waiter_remove(struct waiter *waiter);
static inline struct waiter *waiter_first(const struct ac_queue_ *queue) { return queue->first_; }
// Tells a waiter that is in no queue that what it waited for is its own.
void waiter_grant(struct waiter *waiter);

// A coroutine takes a lock, which is to be known when it ends.
static inline void coro_holds(struct coro *coro) {
    coro->held++;
    coro->end_slow = true;
}
// It has ended with locks held: that is told of, and lazily put right. From its own stack.
void coro_leaves_locks(struct coro *coro);
// Those records that nobody will use any more go: the loop ends.
void rwlock_forget(struct loop *loop);

// ---- work.c: blocking work on helper threads ----

struct crew;

struct work {
    void (*run)(struct work *it); // on a helper thread: may block; must not touch the loop
    // When nobody waits any more (time-out, cancellation): frees the record. On the loop, perhaps
    // before work_do returns; on the helper thread when the loop has ended meanwhile.
    void (*orphaned)(struct work *it);
    struct coro *waiter; // private
    struct crew *crew;   // private
    struct work *next;   // private
};

// For the library itself: has `it->run` called on one of four helper threads of this loop, which
// users' work (ac_work) never keeps busy, and waits for its end. 0: it has run, and the record is
// the caller's again. -EPERM, -ENOMEM, -EAGAIN (256 waiting already, or no thread): it has not run
// and is the caller's. Else the wait has ended early (-ETIMEDOUT, -ECANCELED, ...): the record is
// no longer the caller's and `orphaned` will be called. Can wait.
int work_do(struct work *it, ac_time deadline);
// The same on four other threads, for what blocks for a moment and not for ever: files, starting a
// program. Any number may wait, as each has a coroutine that does.
int work_do_with_files(struct work *it, ac_time deadline);
// Whether after work_do has returned `err` the record is the caller's.
static inline bool work_is_callers(int err) {
    return err == 0 || err == -EPERM || err == -ENOMEM || err == -EAGAIN;
}
// Ends the wait for a work, which whoever began it has not been woken from yet, with `err`: none of
// those after which the record is the caller's. Does nothing when it has run.
void work_abort(struct work *it, int err);
// Whether this is a helper thread.
bool work_is_here(void);
// As ac_set_work_threads, and sets how long a thread stays idle before it ends: for tests.
int work_tune(uint32_t threads_max, ac_time idle_ns);

// ---- inspect.c ----

// As ac_list_coroutines for one loop alone, on the thread that drives it.
void loop_list(struct loop *loop);
// One line about a coroutine of a loop that is traced.
void coro_trace(const struct coro *coro, const char *what);
// Switches on for a new loop what AC_DEBUG asks for.
void loop_debug(struct loop *loop);

// ---- measure.c ----

// Where stacks.checks is not 0, on the stack of a coroutine whose function has returned.
void coro_check_stack(struct coro *coro);
// Gives back what the stack of the running coroutine has below its frames, unless it is measured.
void coro_trim_stack(void);
// As ac_measure_stacks(true). `tells_at_end`: what was measured is written when the loop ends.
int measure_begin(struct loop *loop, bool tells_at_end);
// The loop ends.
void measure_end(struct loop *loop);

// ---- watchdog.c ----

// From now on the loop is among all loops of the process. The caller has filled in what it is.
void watchdog_add(struct loop *loop);
// Whether one of them has that token. From any thread.
bool watchdog_knows(const void *token);
// The loop with that identity and number, or NULL. With SYS_LOCK_LOOPS held.
struct loop *watchdog_find(uint64_t peer, uint32_t number);
// No longer; harmless if it was not.
void watchdog_remove(struct loop *loop);
// As ac_list_on_quit, as long as the loop lives.
int watchdog_list_on_quit(struct loop *loop, bool on);
// As ac_watchdog; 0 ns: no longer.
int watchdog_set(struct loop *loop, ac_time limit_ns);

// ---- group.c ----

struct group_member;
// Memory for one more member, a coroutine of this loop; to be given to coro_group_add. NULL and
// *err: -ENOMEM, or -EXDEV for a group of another loop. Private to coro/.
struct group_member *coro_group_reserve(struct ac_group *group, const struct loop *loop, int *err);
// Makes a new coroutine the member; NULL releases the memory. Private to coro/.
void coro_group_add(struct group_member *member, struct coro *coro);

// ---- replace.c ----

// The function of a coroutine with a replacement has returned `result`: runs the next one, and so
// on, unless the coroutine is cancelled. What the last one returned. On the stack of the coroutine.
// Private to coro/.
ac_value coro_go_on(struct coro *coro, ac_value result);
// ---- team.c: several loops that run one program ----

// What the first loop leads all others through.
enum team_phase {
    TEAM_RUNS,    // until nothing is alive
    TEAM_CANCELS, // what is left ends, then the first loop says goodbye
    TEAM_STOPS,   // the library's own end
    TEAM_OVER     // no coroutine is left: loops end
};

// Called on the loop that a message was sent to. At home it takes the message and returns true.
// Else it runs on any stack, however small, while no coroutine is ready: it takes the message if it
// has only to be put somewhere, and returns whether it has.
typedef bool team_arrived(struct loop *loop, uint64_t id, ac_value message, bool at_home);

// The lane from the loop of this thread to another one of the team, where `arrived` will be called
// for messages, always the same function; NULL if there is no memory for it. Good until the team
// ends.
struct lane *team_lane(struct loop *from, struct loop *to, team_arrived *arrived);
// Sends a message, which nobody else holds a part of (value_detach). Takes it if it succeeds. 0 or
// -ENOMEM.
int team_send(struct lane *lane, uint64_t id, ac_value message);

// What travels on a lane.
struct parcel {
    uint64_t id; // atomic: of what a message is for; others are private to team.c
    union {
        ac_value message;
        struct post *post;
    };
};

// Where the reader of a lane is.
struct lane_end {
    struct parcel *first;
    struct parcel *first_end; // of its chunk
};

// For a coroutine that would wait for a message while nobody is ready: takes the first one on the
// lane that was last taken from, if that is for it. Returns whether it has.
static inline bool team_take(struct loop *loop, const struct coro *coro, ac_value *message) {
    struct lane_end *lane = loop->fed;
    if (!lane || loop->budget <= 0)
        return false;
    struct parcel *it = lane->first;
    // The place behind the last of a chunk is for nobody.
    if (__atomic_load_n(&it->id, __ATOMIC_ACQUIRE) != coro->id)
        return false;
    *message = it->message;
    lane->first = it + 1;
    loop_spend(loop);
    return true;
}

// Has a post run on another loop, behind what `from` has sent there; `from` is the loop of this
// thread, or NULL.
void team_post(struct loop *from, struct loop *to, struct post *post);
// The loop of a number in this team, or the n-th, AC_SPREAD included; NULL if there is none.
struct loop *team_loop(struct loop *loop, uint32_t number);
struct loop *team_nth(struct loop *loop, int nth);
// One that keeps the program running is on its way to `loop`; and it has come, which the loop has
// counted in loop->alive.
void team_expect(struct loop *loop);
void team_expected(struct loop *loop);

// The following are private to coro/. Those for a loop are called at home, by its thread.

// Makes a team of `count` loops, on threads that run loop_run_member. 0 or an error.
int team_make(struct loop *first, uint32_t count);
// All loops have come to the end of TEAM_STOPS: ends them but for the first. Returns the error of
// the first that lost its poller, or 0; if *failure is 0, stores that of a coroutine.
int team_end(struct team *team, int *failure);
// Counts the loop as alive or no longer.
void team_count(struct loop *loop);
bool team_is_alive(const struct team *team);
enum team_phase team_phase(const struct team *team);
void team_enter(struct team *team, enum team_phase phase);
// A loop but the first has done what the phase asks for; and whether all have.
void team_arrive(struct team *team);
bool team_is_there(const struct team *team);
// Waits a little: for a loop that has lost its poller.
void team_doze(struct team *team);
// Errors of a loop: that of its poller, after which the program ends, and that of its first
// coroutine that failed unseen.
void team_note(struct team *team, int err, int failure);
// Takes what has come on the lanes.
void team_receive(struct loop *loop);
bool team_has_parcels(struct loop *loop);
// Nobody is ready: takes messages that are there, or come within a moment, without going home,
// until somebody is ready or one is found that has to be taken at home. From any stack.
void team_feed(struct loop *loop);
// Whether there are parcels now or within a moment, if that is likely and nobody is ready.
bool team_is_fed(struct loop *loop);
// Looks for parcels for a while if that is likely to pay.
void team_look(struct loop *loop, ac_time deadline);
// `asleep` is set: whether the loop may sleep now.
bool team_may_sleep(struct loop *loop);

// ---- away.c ----

// As ac_spawn_with on a loop that this thread does not drive.
ac_ref coro_spawn_away(struct loop *from, struct loop *to, ac_function function, ac_value argument,
                       const struct ac_spawn_options *options);
// As ac_cancel, of a coroutine that this thread does not drive.
int coro_cancel_away(ac_ref ref);
// As ac_resume_with, likewise. Can wait. Private to coro/.
int coro_resume_away(ac_ref ref, ac_value update);
// The loop ends: other threads do not find it any more. Private to coro/.
void loop_leave_process(struct loop *loop);
// Two steps of spawning from elsewhere, in coro.c. The first, on any thread, makes the coroutine,
// and takes the argument; the second, on the thread of the loop, has it begin. Private to coro/.
struct coro *coro_create_away(struct loop *loop, ac_function function, ac_value argument,
                              const struct ac_spawn_options *options, int *err);
void coro_begin_away(struct coro *coro);
// What a coroutine has done on another loop of its team, and waits for.
struct errand {
    // Called once on the loop `to`: at home, and must not wait; or, if it `waits`, by a coroutine
    // of the library's own.
    void (*run)(struct errand *it);
    // When nobody waits any more (time-out, cancellation): frees the record. On the loop from which
    // it was sent, after `run`.
    void (*orphaned)(struct errand *it);
    bool waits;
    int err; // private: why it could not be run
    struct post post;
    struct post stop; // asks for an early end
    struct loop *from;
    struct loop *to;
    struct coro *waiter;    // on `from`
    struct coro *runner;    // on `to`
    struct end_watch ended; // of the runner
    bool stopping;          // `stop` is on its way, there or back
    bool back;              // it has been run
};

// Has an errand done on another loop, behind what this one has sent there. The caller fills in what
// is not private. 0: it is done; -ENOMEM: it could not be run; then the record is the caller's
// again. Else it is not, and `orphaned` will be called or has been: -EPERM, -ETIMEDOUT, -ECANCELED.
// Can wait.
int errand_do(struct loop *to, struct errand *it, ac_time deadline);

// The loop of this process that an id belongs to, for a thread without a loop: NULL if there is
// none; else it does not end before loop_let_go.
struct loop *loop_catch(uint64_t peer, uint32_t number);
void loop_let_go(struct loop *loop);
// The same for the loop of the background that `nth` says, as for spawning. NULL and *err: 0 if
// there is no background, -ESRCH if its loops have ended before ac_finish, else -EINVAL.
struct loop *loop_catch_background(int nth, int *err);

// ---- join.c ----

// As ac_join, of a coroutine that is not of this loop. Private to coro/.
int coro_join_away(ac_ref ref, struct ac_exit *exit, ac_time deadline);

#include "coro/guest.h"

#endif
