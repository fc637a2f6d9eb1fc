// SPDX-License-Identifier: MIT
// Tests of a running program among strangers: who connects and says nothing, nonsense, too much,
// or all too slowly; who begins a handshake and stays away; who repeats beacons or forges them.
//
// Each test has a server, a known peer (the test itself), who asks it for an echo again and again,
// and an attacker, a process that has no network of ours but sockets of its own. While he attacks,
// the peer is served within SERVED_S, the server's memory grows by less than GROWTH_KIB_MAX, and it
// has less than DESCRIPTORS_MAX more descriptors than before. Afterwards these are closed, and a
// new peer is let in.
#include "io/crypto.h"
#include "remote/world.h"

#include <netinet/in.h>
#include <sys/resource.h>

enum {
    SILENT = 10000,             // connections that say nothing
    GROWTH_KIB_MAX = 16 * 1024, // of the server's memory
    // The queue of the system may hold 4,096 of those who have gone, before somebody new, which
    // takes less than a second; but the system itself may have him wait when that queue is full.
    QUEUE_S = 60,
    DESCRIPTORS_MAX = 400 // more than before: places for strangers, and some
};
#define SERVED_S 5.0 // a round trip at the worst, on a computer that has much else to do

typedef void attack_function(uint16_t port);
static attack_function *attack;

// ---- the attacker ----

// From many addresses of this computer, so that the ports of one suffice for others, too.
static int stranger(uint16_t port, unsigned number) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    from.sin_addr.s_addr = htonl(0x7f000002 + number % 200);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    must_be(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    must(connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS);
    return fd;
}

// Waits until it can be written to, or has ended. False then, and after `how_long`.
static bool can_write(int fd, double how_long) {
    struct pollfd it = {.fd = fd, .events = POLLOUT};
    return poll(&it, 1, (int)(how_long * 1e3)) == 1 && !(it.revents & (POLLERR | POLLHUP));
}

static bool is_ended(int fd, double how_long) {
    struct pollfd it = {.fd = fd, .events = POLLIN};
    char bytes[4096];
    for (double until = seconds() + how_long; seconds() < until;) {
        if (poll(&it, 1, 100) != 1)
            continue;
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return true;
    }
    return false;
}

static void pour(int fd, const void *bytes, size_t count) {
    (void)!send(fd, bytes, count, MSG_NOSIGNAL);
}

static void raise_limit(void) {
    struct rlimit limit;
    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    must_be(setrlimit(RLIMIT_NOFILE, &limit), 0);
    must(limit.rlim_cur > SILENT / 4);
}

// All at once, from as many processes as the limit of descriptors asks for; then they hang on for
// a while.
static void say_nothing(uint16_t port) {
    enum { EACH = SILENT / 8 };
    static int fds[EACH];
    pid_t pids[8];
    int status;
    for (int i = 0; i < 8; i++) {
        pids[i] = fork();
        must(pids[i] >= 0);
        if (pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned n = 0; n < EACH; n++)
            fds[n] = stranger(port, (unsigned)i * EACH + n);
        (void)is_ended(fds[EACH - 1], 3);
        _exit(EXIT_SUCCESS);
    }
    for (int i = 0; i < 8; i++) {
        must_be(waitpid(pids[i], &status, 0), pids[i]);
        must_be(status, 0);
    }
}

static void say_nonsense(uint16_t port) {
    static uint8_t bytes[32 * 1024];
    unsigned seed = 7;
    for (unsigned n = 0; n < 300; n++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)rand_r(&seed);
        bytes[0] = n % 2 ? 0x16 : bytes[0]; // what begins as a handshake is read on
        int fd = stranger(port, n);
        if (can_write(fd, 5))
            pour(fd, bytes, 1 + (size_t)rand_r(&seed) % sizeof bytes);
        close(fd);
    }
}

// What claims to be long, and goes on and on: nobody reads it to its end.
static void say_too_much(uint16_t port) {
    static const uint8_t heads[][9] = {
        {0x16, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff},   // a record, a message, too long
        {0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc},         // a message of one record
        {0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff},         // a message of very many records
        {0x17, 3, 3, 0x41, 0, 0, 0, 0, 0},               // data before the handshake
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff} // a frame of ours, in clear
    };
    static const uint8_t more[64 * 1024];
    for (unsigned n = 0; n < 100; n++) {
        int fd = stranger(port, n);
        size_t sent = 0;
        pour(fd, heads[n % 5], can_write(fd, 5) ? sizeof heads[0] : 0);
        while (sent < 64 * sizeof more && can_write(fd, 6)) {
            ssize_t put = send(fd, more, sizeof more, MSG_NOSIGNAL);
            if (put < 0 && errno != EAGAIN)
                break;
            sent += put > 0 ? (size_t)put : 0;
        }
        must(sent < 64 * sizeof more);
        close(fd);
    }
}

// The first words of a handshake, by one who knows everything but the key.
static size_t hello(uint8_t *to, size_t bytes_max) {
    static const uint8_t secret[32] = "not the key of this test";
    struct buffer out;
    int err;
    struct tls_context *context = tls_context_create(secret, "asyncoro/1/0123456789abcdef", &err);
    must(context != NULL);
    struct tls *tls = tls_create(context, false);
    must(tls != NULL);
    buffer_init(&out);
    must_be(tls_handshake(tls), -EAGAIN);
    tls_output(tls, &out);
    size_t count = out.length;
    must(count > 0 && count <= bytes_max);
    memcpy(to, out.bytes, count);
    buffer_done(&out);
    tls_destroy(tls);
    tls_context_destroy(context);
    return count;
}

// Byte by byte, and never to the end: it is out after the time for a greeting.
static void speak_slowly(uint16_t port) {
    uint8_t bytes[1024];
    size_t count = hello(bytes, sizeof bytes), at = 0;
    int fds[32];
    for (unsigned n = 0; n < 32; n++)
        fds[n] = stranger(port, n);
    double until = seconds() + 4;
    for (; seconds() < until && at < count - 1; at++) {
        for (unsigned n = 0; n < 32; n++)
            pour(fds[n], bytes + at, 1);
        must_be(usleep(40000), 0);
    }
    for (unsigned n = 0; n < 32; n++) {
        must(is_ended(fds[n], PATIENCE_S));
        close(fds[n]);
    }
}

// Half a handshake: all that comes before the proof, then silence.
static void stay_away(uint16_t port) {
    uint8_t bytes[1024];
    size_t count = hello(bytes, sizeof bytes);
    int fds[64];
    for (unsigned n = 0; n < 64; n++) {
        fds[n] = stranger(port, n);
        if (can_write(fds[n], 5))
            pour(fds[n], bytes, n % 2 ? count : count / 2);
    }
    for (unsigned n = 0; n < 64; n++) {
        must(is_ended(fds[n], PATIENCE_S));
        close(fds[n]);
    }
}

// ---- beacons ----

static int beacon_socket(struct sockaddr_in *all) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(world.beacons)};
    must(fd >= 0);
    must_be(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    must_be(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    must_be(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
    must_be(bind(fd, (struct sockaddr *)&here, sizeof here), 0);
    *all = here;
    all->sin_addr.s_addr = htonl(0x7fffffff); // 127.255.255.255
    return fd;
}

// What was heard is said again, by somebody else, many times; also with one bit changed.
static void repeat_beacons(uint16_t port) {
    struct sockaddr_in all;
    uint8_t beacon[128];
    int fd = beacon_socket(&all);
    (void)port;
    for (int heard = 0; heard < 4; heard++) {
        struct pollfd it = {.fd = fd, .events = POLLIN};
        must_be(poll(&it, 1, PATIENCE_S * 1000), 1);
        must_be(recv(fd, beacon, sizeof beacon, 0), 72);
        for (int i = 0; i < 500; i++) {
            beacon[i % 72] ^= i % 2 ? 1 : 0;
            (void)!sendto(fd, beacon, 72, 0, (struct sockaddr *)&all, sizeof all);
            beacon[i % 72] ^= i % 2 ? 1 : 0;
        }
        while (recv(fd, beacon, sizeof beacon, MSG_DONTWAIT) > 0) // our own
            continue;
    }
    close(fd);
}

// As fast as the system lets them through: of the right length, and signed by nobody.
static void forge_beacons(uint16_t port) {
    struct sockaddr_in all;
    uint8_t beacon[72] = "asyncoro\0\1";
    int fd = beacon_socket(&all);
    unsigned seed = port;
    for (double until = seconds() + 3; seconds() < until;) {
        for (size_t i = 16; i < sizeof beacon; i++)
            beacon[i] = (uint8_t)rand_r(&seed);
        (void)!sendto(fd, beacon, sizeof beacon, 0, (struct sockaddr *)&all, sizeof all);
    }
    close(fd);
}

// He waits for the port of the server, attacks, and says that he has.
static ac_value attacker(ac_value unused) {
    uint16_t port;
    (void)unused;
    if (read(world.orders, &port, sizeof port) != sizeof port)
        return ac_nil;
    raise_limit();
    attack(port);
    say();
    return until_the_end(ac_nil);
}

// ---- the peer ----

static struct child victim, foe;
static double served[1 << 16]; // seconds of each round trip
static size_t served_count;

static long kib_of(pid_t pid) {
    char path[64], line[256];
    long number = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    must(file != NULL);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0)
            number = atol(line + 8);
    fclose(file);
    return number;
}

static int descriptors_of(pid_t pid) {
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *folder = opendir(path);
    must(folder != NULL);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void round_trip(ac_ref server) {
    double start = seconds();
    must_be(ac_send(server, ac_list("echo", ac_self(), 7)), 0);
    ac_value answer = next_message();
    must_be(ac_int_of(answer), 7);
    served[served_count++ % (1 << 16)] = seconds() - start;
}

static bool foe_has_done(void) {
    struct pollfd it = {.fd = foe.from, .events = POLLIN};
    char byte;
    if (poll(&it, 1, 0) == 0)
        return false;
    must_be(read(foe.from, &byte, 1), 1);
    return true;
}

static int by_length(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void tell_figures(long grown, int descriptors) {
    size_t count = served_count < (1 << 16) ? served_count : 1 << 16;
    qsort(served, count, sizeof *served, by_length);
    printf("%zu round trips, median %.3f ms, longest %.1f ms; at most %ld KiB and %d descriptors\n",
           served_count, served[count / 2] * 1e3, served[count - 1] * 1e3, grown, descriptors);
    must(served[count - 1] < SERVED_S);
    must(descriptors < DESCRIPTORS_MAX);
#if !defined(SYS_ASAN) && !defined(SYS_TSAN) // these keep what was released
    must(grown < GROWTH_KIB_MAX);
#endif
}

static ac_value known_peer(ac_value unused) {
    ac_ref server_ref = find("server");
    char place[64];
    long grown = 0;
    int more = 0;
    (void)unused;
    must_be(ac_location(server_ref, place), 0);
    uint16_t port = (uint16_t)atoi(strrchr(place, ':') + 1);
    for (int i = 0; i < 100; i++)
        round_trip(server_ref);
    long kib = kib_of(victim.pid), peers = ac_peers(NULL, 0);
    int descriptors = descriptors_of(victim.pid);
    must_be(write(foe.to, &port, sizeof port), (long)sizeof port);
    while (!foe_has_done()) {
        round_trip(server_ref);
        long now_grown = kib_of(victim.pid) - kib;
        int now_more = descriptors_of(victim.pid) - descriptors;
        grown = now_grown > grown ? now_grown : grown;
        more = now_more > more ? now_more : more;
        must_be(ac_sleep(0.002), 0);
    }
    tell_figures(grown, more);
    double until = seconds() + PATIENCE_S; // those who say nothing have 5 s
    while (descriptors_of(victim.pid) > descriptors && seconds() < until) {
        round_trip(server_ref);
        must_be(ac_sleep(0.01), 0);
    }
    must(descriptors_of(victim.pid) <= descriptors);
    must_be(ac_peers(NULL, 0), peers);
    return ac_nil;
}

// Somebody who has never been there before, and begins when he is told to.
static ac_value newcomer(ac_value unused) {
    (void)unused;
    must(told());
    must_be(ac_network_start_with(&near), 0);
    ac_ref server_ref;
    must_be(ac_locate("server", &server_ref, ac_after(QUEUE_S)), 0);
    round_trip(server_ref);
    say();
    return until_the_end(ac_nil);
}

static void withstand(attack_function *what) {
    attack = what;
    world_begin();
    victim = child(serving);
    foe = child_with(attacker, NULL);
    struct child friend = child_with(newcomer, NULL);
    hear(victim);
    run(known_peer);
    child_end(foe);
    double begin = seconds();
    tell(friend);
    struct pollfd answer = {.fd = friend.from, .events = POLLIN};
    must_be(poll(&answer, 1, QUEUE_S * 1000), 1);
    hear(friend);
    printf("a newcomer is served after %.2f s\n", seconds() - begin);
    child_end(friend);
    child_end(victim);
    world_end();
}

TEST(ten_thousand_connections_that_say_nothing, .seconds_max = 240) { withstand(say_nothing); }
TEST(random_bytes, .seconds_max = 240) { withstand(say_nonsense); }
TEST(huge_lengths, .seconds_max = 600) { withstand(say_too_much); }
TEST(handshakes_byte_by_byte, .seconds_max = 240) { withstand(speak_slowly); }
TEST(half_a_handshake, .seconds_max = 240) { withstand(stay_away); }
TEST(repeated_beacons, .seconds_max = 240) { withstand(repeat_beacons); }
TEST(a_flood_of_forged_beacons, .seconds_max = 240) { withstand(forge_beacons); }
