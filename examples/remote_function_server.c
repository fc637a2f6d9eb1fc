// SPDX-License-Identifier: MIT
// A program that lets others have two of its functions run: "compute", which takes a while and
// gives a number, and "converse", which answers what it is sent. Nothing else of it can be called.
// Ends when "quit" is typed, once the calls that run have ended.
#include <asyncoro.h>

#include <string.h>

// The argument is the number that the caller gives, and what it returns goes into the notice of its
// end, if the caller asked for one.
static ac_value compute(ac_value argument) {
    int64_t number = ac_int_of(argument), product = 1;
    if (number < 0 || number > 20)
        return ac_of_error(-EDOM, "it has no factorial that fits");
    if (ac_sleep(ac_random_real(0.1, 0.5)) < 0)
        return ac_nil; // it was cancelled
    for (int64_t i = 2; i <= number; i++)
        product *= i;
    return ac_of_int(product);
}

// A call is a coroutine like others: it has a mailbox, and who called has its reference.
static ac_value converse(ac_value caller) {
    ac_value message;
    int count = 0;
    while (ac_receive(&message, ac_after(60)) == 0 && !ac_is_nil(message)) {
        ac_send(ac_ref_of(caller), ac_list("you said", message));
        count++;
    }
    return ac_of_int(count);
}

static ac_value until_quit(ac_value unused) {
    char command[256];
    int err = ac_register(ac_function_open(compute, .name = "compute"), "compute");
    if (!err)
        err = ac_register(ac_function_open(converse, .name = "converse", .at_once_max = 100),
                          "converse");
    while (!err && ac_read_line(ac_input(), command, sizeof command, AC_FOREVER) > 0)
        if (strcmp(command, "quit") == 0)
            break;
    return ac_result(err);
}

int main(void) {
    if (ac_network_start() < 0) {
        ac_print_to(stderr, "%s\n", ac_network_error());
        return 1;
    }
    ac_spawn(until_quit, ac_nil);
    return ac_run();
}
