// SPDX-License-Identifier: MIT
// A program that shows what it does. A server answers clients, which come now and then; Ctrl-\ (or
// SIGQUIT) lists all coroutines, and whoever computes for too long is named. At the end it tells
// how much of their stacks they used, and some counters.
//
// usage: watch [SECONDS] [HOG_SECONDS]
//     runs for SECONDS (3); the last client computes for HOG_SECONDS (0) without yielding
#include <asyncoro.h>

#include <stdio.h>
#include <stdlib.h>

// Answers each number with its square, which takes a while.
static ac_value serve(ac_value unused) {
    ac_value request;
    while (ac_receive(&request, AC_FOREVER) == 0) {
        ac_ref from;
        int64_t number;
        if (ac_unpack(request, &from, &number) == 0 && ac_sleep(0.1) == 0)
            ac_send(from, number * number);
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value ask(ac_value argument) {
    ac_ref server;
    int64_t number;
    int err = ac_unpack(argument, &server, &number);
    if (err < 0)
        return ac_result(err);
    ac_send(server, ac_list(ac_self(), number));
    ac_value answer;
    err = ac_receive(&answer, ac_after(10));
    if (err < 0)
        return ac_result(err);
    printf("the square of %d is %d\n", (int)number, (int)ac_int_of(answer));
    fflush(stdout);
    ac_drop(answer);
    return ac_nil;
}

static ac_value compute(ac_value seconds) {
    ac_time until = ac_after(ac_real_of(seconds));
    while (ac_now() < until)
        continue;
    return ac_nil;
}

static void tell(void) {
    struct ac_stack_use uses[4];
    size_t count = ac_stack_uses(uses, 4);
    for (size_t i = 0; i < count; i++)
        printf("%s used %zu of %zu bytes\n", uses[i].name, uses[i].used_bytes, uses[i].stack_bytes);
    struct ac_counters counters = {.size = sizeof counters};
    if (ac_counters(&counters) == 0)
        printf("spawned: %llu\n", (unsigned long long)counters.spawned);
}

static ac_value run(ac_value argument) {
    double seconds, hog_seconds;
    if (ac_unpack(argument, &seconds, &hog_seconds) < 0)
        return ac_nil;
    ac_time end = ac_after(seconds);
    ac_ref server = ac_spawn(serve, ac_nil, .name = "server", .daemon = true);
    for (int64_t i = 1; ac_now() < end; i++) {
        ac_spawn(ask, ac_list(server, i), .name = "client");
        ac_sleep(0.3);
    }
    if (hog_seconds > 0 &&
        ac_join(ac_spawn(compute, hog_seconds, .name = "hog"), NULL, AC_FOREVER) < 0)
        return ac_nil;
    ac_sleep(0.5); // the last clients
    tell();
    return ac_nil;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 3;
    double hog_seconds = count > 2 ? atof(arguments[2]) : 0;
    int err = ac_list_on_quit(true);
    if (err == 0)
        err = ac_measure_stacks(true);
    if (err == 0)
        err = ac_watchdog(0.1);
    if (err < 0) {
        fprintf(stderr, "watch: %s\n", ac_strerror(err));
        return 1;
    }
    ac_spawn(run, ac_list(seconds, hog_seconds), .name = "main");
    return ac_run();
}
