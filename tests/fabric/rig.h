// SPDX-License-Identifier: MIT
// Fabrics for tests: each side has a host loop, its guest and a fabric, and all sides of a test are
// driven in turn by the one thread. What a side's door is told is counted in it.
#ifndef TESTS_FABRIC_RIG_H
#define TESTS_FABRIC_RIG_H

#include "fabric/fabric_private.h"
#include "test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// The counters are atomic because the guardian may run the guest while the test looks at them.
struct side {
    struct loop *host;
    struct guest *guest;
    struct fabric *fabric;
    _Atomic uint64_t met, linked, lost, rooms; // how often the door was told
    _Atomic uint64_t last_met, last_lost;
    _Atomic int reason;        // of the last loss
    _Atomic uint64_t frames;   // that came
    _Atomic uint64_t bytes;    // of their payload
    _Atomic uint64_t next;     // number that the next counted frame must carry
    _Atomic uint64_t disorder; // frames that carried another
    _Atomic uint64_t last_type;
    _Atomic uint64_t last_peer;
    _Atomic bool hold; // frames are not taken when they come
    _Atomic bool echo; // frames are sent back
    _Atomic bool reached;
    _Atomic int reach_err;
    _Atomic uint64_t reach_peer;
};

// The key of all tests but a few. Each run draws its own: the port of a process that was killed may
// soon belong to another run of the tests, which must be a stranger then.
static uint8_t rig_key[32];

__attribute__((constructor)) static void rig_draw_key(void) {
    if (sys_random_bytes(rig_key, sizeof rig_key) < 0)
        abort();
}

static struct side *rig_sides[8];
static size_t rig_count;

// The test holds every side's guest but while it drives the sides, so that it may look at all that
// belongs to a guest: the guardian, which takes over from a thread that others keep from the
// processor, would change it meanwhile. To enter such a guest is then to do nothing.
static bool rig_holds(const struct guest *guest) {
    for (size_t i = 0; i < rig_count; i++)
        if (rig_sides[i]->guest == guest)
            return true;
    return false;
}

static __attribute__((unused)) void rig_enter(struct guest *guest) {
    if (!rig_holds(guest))
        guest_enter(guest);
}

static __attribute__((unused)) void rig_leave(struct guest *guest) {
    if (!rig_holds(guest))
        guest_leave(guest);
}

static void rig_let_go(void) {
    for (size_t i = 0; i < rig_count; i++)
        guest_leave(rig_sides[i]->guest);
}

static void rig_hold(void) {
    for (size_t i = 0; i < rig_count; i++)
        guest_enter(rig_sides[i]->guest);
}

#define guest_enter rig_enter
#define guest_leave rig_leave

static void rig_frame(void *up, uint64_t peer, unsigned type, const uint8_t *payload,
                      size_t bytes) {
    struct side *side = up;
    side->frames++;
    side->bytes += bytes;
    side->last_type = type;
    side->last_peer = peer;
    if (type == 17) {
        uint64_t number = 0;
        memcpy(&number, payload, sizeof number);
        side->disorder += number != side->next;
        side->next = number + 1;
    }
    if (side->echo) {
        ac_span part = {payload, bytes};
        ck_assert_int_eq(fabric_send(side->fabric, peer, type, &part, 1, FABRIC_URGENT), 0);
    }
    if (!side->hold)
        fabric_taken(side->fabric, peer, bytes);
}

static void rig_met(void *up, uint64_t peer) {
    struct side *side = up;
    side->met++;
    side->last_met = peer;
}

static void rig_linked(void *up, uint64_t peer) {
    struct side *side = up;
    (void)peer;
    side->linked++;
}

static void rig_lost(void *up, uint64_t peer, int reason) {
    struct side *side = up;
    side->lost++;
    side->last_lost = peer;
    side->reason = reason;
}

static void rig_room(void *up, uint64_t peer) {
    struct side *side = up;
    (void)peer;
    side->rooms++;
}

static void rig_reached(void *up, void *token, uint64_t peer, int err) {
    struct side *side = up;
    ck_assert_ptr_eq(token, side);
    side->reached = true;
    side->reach_peer = peer;
    side->reach_err = err;
}

static const struct fabric_door rig_door = {
    .frame = rig_frame,
    .met = rig_met,
    .linked = rig_linked,
    .lost = rig_lost,
    .room = rig_room,
    .reached = rig_reached,
};

// What a test leaves open gets a port of the system, loopback, no beacons and the common key.
static struct fabric_options rig_options(uint64_t peer) {
    return (struct fabric_options){
        .peer = peer,
        .name = "test",
        .loopback_only = true,
        .no_discovery = true,
        .key = rig_key,
    };
}

static __attribute__((unused)) struct side *side_open(const struct fabric_options *options) {
    int err = 0;
    char text[256];
    struct side *side = calloc(1, sizeof *side);
    side->host = loop_create(&sys_chosen, options->peer, &err);
    ck_assert_ptr_nonnull(side->host);
    side->guest = guest_create(side->host, &sys_chosen, &err);
    ck_assert_ptr_nonnull(side->guest);
    guest_enter(side->guest);
    side->fabric = fabric_open(side->guest, options, &rig_door, side, &err, text);
    ck_assert_msg(side->fabric != NULL, "%s", text);
    rig_sides[rig_count++] = side; // and so its guest stays entered
    return side;
}

static __attribute__((unused)) struct side *side_of(uint64_t peer) {
    struct fabric_options options = rig_options(peer);
    return side_open(&options);
}

static void rig_turn(void) {
    rig_let_go();
    for (size_t i = 0; i < rig_count; i++)
        (void)loop_turn(rig_sides[i]->host);
    rig_hold();
}

static double rig_seconds(void) { return (double)sys_clock() / 1e9; }

// Drives all sides until the condition is true; fails if it is not after as many seconds as it may
// take where nobody else wants the processor, and our patience.
#define rig_until(condition, seconds_)                                                             \
    do {                                                                                           \
        double rig_end = rig_seconds() + TEST_PATIENCE_S + (seconds_);                             \
        while (!(condition)) {                                                                     \
            if (rig_seconds() > rig_end) /* libcheck writes to a file at each assertion */         \
                ck_abort_msg("in vain: %s", #condition);                                           \
            rig_turn();                                                                            \
        }                                                                                          \
    } while (0)

static __attribute__((unused)) void rig_for(double seconds) {
    double end = rig_seconds() + seconds;
    while (rig_seconds() < end)
        rig_turn();
}

// Has the test compute, so that only the guardians drive the sides.
static __attribute__((unused)) void rig_compute(double seconds) {
    rig_let_go();
    for (double end = rig_seconds() + seconds; rig_seconds() < end;)
        continue;
    rig_hold();
}

// Calls a function of the face inside the guest.
#define rig_in(side, call)                                                                         \
    ({                                                                                             \
        guest_enter((side)->guest);                                                                \
        __auto_type rig_result = (call);                                                           \
        guest_leave((side)->guest);                                                                \
        rig_result;                                                                                \
    })

static __attribute__((unused)) int side_send(struct side *side, uint64_t to, unsigned type,
                                             const void *bytes, size_t count, enum fabric_way way) {
    ac_span part = {bytes, count};
    return rig_in(side, fabric_send(side->fabric, to, type, &part, 1, way));
}

static __attribute__((unused)) int side_count(struct side *side, uint64_t to, uint64_t number,
                                              size_t bytes) {
    static uint8_t payload[FRAME_PAYLOAD_MAX];
    memcpy(payload, &number, sizeof number);
    return side_send(side, to, 17, payload, bytes, FABRIC_WINDOW);
}

static __attribute__((unused)) uint16_t side_port(struct side *side) {
    return fabric_address(side->fabric).port;
}

static __attribute__((unused)) struct sys_address loopback(uint16_t port) {
    return (struct sys_address){.family = 4, .port = port, .ip = {127, 0, 0, 1}};
}

static __attribute__((unused)) void side_introduce(struct side *side, uint64_t peer,
                                                   uint16_t port) {
    struct sys_address address = loopback(port);
    ck_assert_int_eq(rig_in(side, fabric_introduce(side->fabric, peer, &address)), 0);
}

static __attribute__((unused)) bool side_is_closed(struct side *side) {
    return rig_in(side, fabric_is_closed(side->fabric));
}

static __attribute__((unused)) void side_close(struct side *side, double seconds) {
    guest_enter(side->guest);
    fabric_close(side->fabric, ac_after(seconds));
    guest_leave(side->guest);
    rig_until(side_is_closed(side), seconds + 3);
    size_t at = 0;
    while (rig_sides[at] != side)
        at++;
    rig_count--; // in the same order as before, as locks are taken
    memmove(&rig_sides[at], &rig_sides[at + 1], (rig_count - at) * sizeof *rig_sides);
    fabric_free(side->fabric);
    guest_leave(side->guest);
    rig_let_go(); // destroying takes the lock once more, which is not the last in order
    guest_destroy(side->guest);
    rig_hold();
    loop_destroy(side->host);
    free(side);
}

static __attribute__((unused)) void rig_close_all(void) {
    while (rig_count > 0)
        side_close(rig_sides[rig_count - 1], 1);
}

// Two sides that know each other's address, the second of which has been told by the first one's
// connecting.
static __attribute__((unused)) void rig_pair(struct side **a, struct side **b) {
    *a = side_of(1);
    *b = side_of(2);
    side_introduce(*a, 2, side_port(*b));
}

static __attribute__((unused)) int raw_connect(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    (void)connect(fd, (struct sockaddr *)&to, sizeof to);
    return fd;
}

// True once the other side has closed the connection; drives the sides meanwhile.
static __attribute__((unused)) bool hangs_up(int fd, double seconds) {
    double end = rig_seconds() + seconds;
    char bytes[512];
    while (rig_seconds() < end) {
        rig_turn();
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return true;
    }
    return false;
}

// Two well-behaved sides can still talk.
static __attribute__((unused)) void still_works(struct side *a) {
    static uint64_t id = 100;
    struct side *b = side_of(id++);
    uint64_t frames = a->frames;
    a->next = 0;
    side_introduce(b, a->fabric->self, side_port(a));
    ck_assert_int_eq(side_count(b, a->fabric->self, 0, 100), 0);
    rig_until(a->frames == frames + 1, 5);
    side_close(b, 1);
    rig_until(a->lost > 0, 2);
    a->lost = 0;
}

#endif
