// SPDX-License-Identifier: MIT
// Calls the functions that remote_function_server.c has opened, wherever it runs: "compute" five
// times at once, watching each call from its birth, and then "converse", to talk with the coroutine
// that runs it there.
#include <asyncoro.h>

// The notice of the end of each call holds what it returned. One comes for each call that ac_invoke
// has started, also if the other computer is switched off meanwhile.
static void print_ends(int count) {
    ac_value message;
    struct ac_exit exit;
    while (count > 0 && ac_receive(&message, ac_after(10)) == 0) {
        if (ac_exit_of(message, &exit)) {
            ac_print("%r %s: %v\n", exit.who, ac_end_name(exit.how), exit.value);
            ac_drop(exit.value);
            count--;
        }
        ac_drop(message);
    }
}

static int compute_some(void) {
    ac_ref compute;
    int started = 0;
    int err = ac_locate("compute", &compute, ac_after(10));
    for (int i = -1; i < 4 && !err; i++) {
        err = ac_invoke(compute, 5 * i, NULL, ac_after(10), .monitor = true);
        started += !err;
    }
    print_ends(started);
    return err;
}

static int talk(void) {
    ac_ref converse, other;
    ac_value answer;
    int err = ac_locate("converse", &converse, ac_after(10));
    if (!err)
        err = ac_invoke(converse, ac_self(), &other, ac_after(10), .monitor = true);
    for (int i = 1; i <= 3 && !err; i++) {
        err = ac_send(other, ac_list("number", i));
        if (!err)
            err = ac_receive(&answer, ac_after(10));
        if (!err) {
            ac_print("%v\n", answer);
            ac_drop(answer);
        }
    }
    if (!err)
        err = ac_send(other, ac_nil); // enough
    if (!err)
        print_ends(1);
    return err;
}

static ac_value client(ac_value unused) {
    int err = compute_some();
    if (!err)
        err = talk();
    if (err)
        ac_print_to(stderr, "the function cannot be called: %s\n", ac_strerror(err));
    return ac_result(err);
}

int main(void) {
    if (ac_network_start() < 0) {
        ac_print_to(stderr, "%s\n", ac_network_error());
        return 1;
    }
    ac_spawn(client, ac_nil);
    return ac_run();
}
