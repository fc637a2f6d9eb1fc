// SPDX-License-Identifier: MIT
// What runs on aarch64 under an emulator: one plain program (libcheck is not there for a foreign
// processor) that uses the floors base to message through the public interface. It is after what
// differs between processors: the stack switch and the registers it keeps, first entry into a
// coroutine, results handed over while a coroutine is parked, atomics, alignment. Each scenario
// spawns, runs the loop until only daemons are left, and checks what was noted. Prints TAP.
#include <asyncoro/base.h>
#include <asyncoro/coro.h>
#include <asyncoro/message.h>
#include <asyncoro/value.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static void check(const char *name, bool passed);
static void test_outside(void);
static void test_arguments(void);
static void test_registers(void);
static void test_order(void);
static void test_reply(void);
static void test_sleep(void);
static void test_time_out(void);
static void test_cancel(void);
static void test_join(void);
static void test_daemon(void);
static void test_channel(void);

static int n;
static int failed;

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_outside();
    test_arguments();
    test_registers();
    test_order();
    test_reply();
    test_sleep();
    test_time_out();
    test_cancel();
    test_join();
    test_daemon();
    test_channel();
    printf("1..%d\n", n);
    return failed == 0 ? 0 : 1;
}

static void check(const char *name, bool passed) {
    n++;
    printf("%s %d - %s\n", passed ? "ok" : "not ok", n, name);
    if (!passed)
        failed++;
}

static void test_outside(void) {
    ac_value message;
    check("the version is the one compiled against", strcmp(ac_version(), AC_VERSION) == 0);
    check("a call that waits fails outside coroutines", ac_sleep(0.01) == -EPERM &&
                                                            ac_yield() == -EPERM &&
                                                            ac_receive(&message, AC_NOW) == -EPERM);
}

// ---- spawn, first entry, arguments ----

static int seen[10];
static int seen_count;

static ac_value note_argument(ac_value argument) {
    seen[seen_count++] = (int)ac_int_of(argument);
    return ac_nil;
}

static void test_arguments(void) {
    for (int i = 0; i < 10; i++)
        ac_spawn(note_argument, i);
    bool later = seen_count == 0;
    int err = ac_run();
    bool in_order = seen_count == 10;
    for (int i = 0; i < 10; i++)
        in_order = in_order && seen[i] == i;
    check("a spawned coroutine does not run inside the spawn", later);
    check("ten coroutines each get their own argument, first come first served",
          err == 0 && in_order);
}

// ---- the registers that a switch has to keep ----

static int registers_wrong;

// More live numbers of both kinds than there are registers to keep them.
static ac_value keep_registers(ac_value argument) {
    int64_t seed = ac_int_of(argument);
    int64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13;
    int64_t g = seed * 17, h = seed * 19, i = seed * 23, j = seed * 29, k = seed * 31;
    double p = sqrt((double)seed), q = p * 1.5, r = p * 2.5, s = p * 3.5, t = p * 4.5;
    double u = p * 5.5, v = p * 6.5, w = p * 7.5, x = p * 8.5;
    for (int round = 0; round < 100; round++) {
        if (ac_yield() != 0)
            registers_wrong++;
        a++, b++, c++, d++, e++, f++, g++, h++, i++, j++, k++;
        p += 1, q += 1, r += 1, s += 1, t += 1, u += 1, v += 1, w += 1, x += 1;
    }
    int64_t whole = a + b + c + d + e + f + g + h + i + j + k;
    double real = p + q + r + s + t + u + v + w + x;
    double root = sqrt((double)seed);
    if (whole != seed * 159 + 11 * 100 || fabs(real - (root * 41 + 900)) > 1e-6)
        registers_wrong++;
    // Needs a few KiB of stack, and its alignment.
    char text[64];
    snprintf(text, sizeof text, "%.3f %Lf", real, (long double)whole);
    if (strchr(text, '.') == NULL)
        registers_wrong++;
    return ac_nil;
}

static void test_registers(void) {
    for (int i = 1; i <= 20; i++)
        ac_spawn(keep_registers, i * 1000003);
    check("numbers live across a switch are kept", ac_run() == 0 && registers_wrong == 0);
}

// ---- messages ----

static int received;
static int disorder;

static ac_value receive_thousand(ac_value unused) {
    (void)unused;
    ac_value message;
    while (received < 1000 && ac_receive(&message, AC_FOREVER) == 0) {
        if (ac_int_of(message) != received + 1)
            disorder++;
        received++;
        ac_drop(message);
    }
    return ac_nil;
}

static ac_value send_thousand(ac_value argument) {
    ac_ref to = ac_ref_of(argument);
    for (int i = 1; i <= 1000; i++)
        if (ac_send(to, i) != 0)
            disorder++;
    return ac_nil;
}

static void test_order(void) {
    ac_ref to = ac_spawn(receive_thousand, ac_nil);
    ac_spawn(send_thousand, to);
    int err = ac_run();
    check("a thousand messages arrive in the order sent",
          err == 0 && received == 1000 && disorder == 0);
}

static int64_t answer;

static ac_value twice(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0) {
        ac_ref from;
        int64_t number;
        if (ac_unpack(message, &from, &number) == 0)
            ac_send(from, number * 2);
        ac_drop(message);
    }
    return ac_nil;
}

static ac_value ask(ac_value argument) {
    ac_ref server = ac_ref_of(argument);
    ac_value message;
    ac_send(server, ac_list(ac_self(), (int64_t)1 << 40));
    if (ac_receive(&message, AC_FOREVER) == 0) {
        answer = ac_int_of(message);
        ac_drop(message);
    }
    return ac_nil;
}

static void test_reply(void) {
    ac_ref server = ac_spawn(twice, ac_nil, .daemon = true);
    ac_spawn(ask, server);
    check("a request that carries a reference is answered",
          ac_run() == 0 && answer == (int64_t)1 << 41);
}

// ---- time ----

static int slept;

static ac_value sleep_a_little(ac_value argument) {
    double seconds = ac_real_of(argument);
    ac_time begin = ac_now();
    if (ac_sleep(seconds) == 0 && (double)(ac_now() - begin) >= seconds * 1e9)
        slept++;
    return ac_nil;
}

static void test_sleep(void) {
    ac_time begin = ac_now();
    for (int i = 0; i < 20; i++)
        ac_spawn(sleep_a_little, 0.2);
    int err = ac_run();
    double seconds = (double)(ac_now() - begin) * 1e-9;
    check("a sleep is never short", err == 0 && slept == 20);
    check("twenty sleep at the same time", seconds < 2);
}

static int timed_out;

static ac_value receive_in_vain(ac_value unused) {
    (void)unused;
    ac_value message;
    timed_out = ac_receive(&message, ac_after(0.05));
    return ac_nil;
}

static void test_time_out(void) {
    ac_spawn(receive_in_vain, ac_nil);
    check("a receive in vain times out", ac_run() == 0 && timed_out == -ETIMEDOUT);
}

// ---- ends ----

static int cancelled_wait;
static struct ac_exit cancelled_exit;

static ac_value sleep_long(ac_value unused) {
    (void)unused;
    cancelled_wait = ac_sleep(60);
    return ac_nil;
}

static ac_value cancel_it(ac_value argument) {
    ac_ref it = ac_ref_of(argument);
    if (ac_sleep(0.02) == 0 && ac_cancel(it) == 0 && ac_join(it, &cancelled_exit, AC_FOREVER) == 0)
        ac_drop(cancelled_exit.value);
    return ac_nil;
}

static void test_cancel(void) {
    ac_ref it = ac_spawn(sleep_long, ac_nil, .joinable = true);
    ac_spawn(cancel_it, it);
    int err = ac_run();
    check("a cancelled wait says so", err == 0 && cancelled_wait == -ECANCELED);
    check("who joins learns that it was cancelled", cancelled_exit.how == AC_CANCELLED);
}

static int64_t joined;

static ac_value forty_two(ac_value unused) {
    (void)unused;
    return ac_of(42);
}

static ac_value join_it(ac_value argument) {
    struct ac_exit end;
    if (ac_join(ac_ref_of(argument), &end, AC_FOREVER) == 0 && end.how == AC_FINISHED) {
        joined = ac_int_of(end.value);
        ac_drop(end.value);
    }
    return ac_nil;
}

static void test_join(void) {
    ac_ref it = ac_spawn(forty_two, ac_nil, .joinable = true);
    ac_spawn(join_it, it);
    check("who joins gets the result", ac_run() == 0 && joined == 42);
}

static int cleaned_up;

static ac_value serve_for_ever(ac_value unused) {
    (void)unused;
    ac_value message;
    while (ac_receive(&message, AC_FOREVER) == 0)
        ac_drop(message);
    cleaned_up++;
    return ac_nil;
}

static void test_daemon(void) {
    ac_spawn(serve_for_ever, ac_nil, .daemon = true);
    ac_spawn(sleep_a_little, 0.01);
    check("a daemon does not keep the loop, and cleans up", ac_run() == 0 && cleaned_up == 1);
}

// ---- channels ----

static int handed;
static int delivered;

static ac_value receive_one(ac_value unused) {
    (void)unused;
    ac_value message;
    if (ac_receive(&message, ac_after(10)) == 0) {
        handed += ac_int_of(message) == 7;
        ac_drop(message);
    }
    return ac_nil;
}

static ac_value broadcast(ac_value unused) {
    (void)unused;
    ac_ref channel = ac_channel_open("numbers");
    for (int i = 0; i < 5; i++)
        ac_channel_subscribe(channel, ac_spawn(receive_one, ac_nil));
    delivered = ac_deliver(channel, 7, AC_FOREVER);
    ac_channel_close(channel);
    return ac_nil;
}

static void test_channel(void) {
    ac_spawn(broadcast, ac_nil);
    int err = ac_run();
    check("a channel hands one copy to each subscriber", err == 0 && handed == 5);
    check("deliver counts those reached", delivered == 5);
}
