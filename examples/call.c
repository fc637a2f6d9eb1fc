// SPDX-License-Identifier: MIT
// Asking and answering. A server squares numbers; for negative ones it takes its time, longer than
// the client waits. That answer is a dead letter: it is in no mailbox, and the hook sees it. Then
// the client floods a mailbox with a limit.
#include <asyncoro.h>

static void tell(enum ac_dead_reason reason, ac_ref to, ac_value message, void *context) {
    ac_print("dead letter (%s): %v\n", ac_dead_reason_name(reason), message);
}

static ac_value server(ac_value unused) {
    ac_value request;
    while (ac_receive(&request, AC_FOREVER) == 0) {
        ac_ref answer;
        int number;
        if (ac_unpack(request, &answer, &number) == 0) {
            if (number < 0)
                ac_sleep(0.1);
            ac_send(answer, number * number);
        }
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value sleeper(ac_value unused) {
    int err = ac_mailbox_limit(2, AC_REFUSE);
    return ac_result(err < 0 ? err : ac_sleep(0.3));
}

static ac_value client(ac_value unused) {
    ac_value answer;
    ac_ref to = ac_spawn(server, ac_nil, .daemon = true);
    ac_on_dead_letter(tell, NULL);
    if (ac_call(to, 7, &answer, AC_FOREVER) == 0)
        ac_print("7 squared is %v\n", answer);
    int err = ac_call(to, -8, &answer, ac_after(0.01));
    ac_print("-8: %s\n", ac_strerror(err));
    ac_sleep(0.2);

    ac_ref full = ac_spawn(sleeper, ac_nil);
    ac_yield();
    for (int i = 1; i <= 3; i++)
        ac_print("message %d: %s\n", i, ac_strerror(ac_send(full, i)));
    return ac_nil;
}

int main(void) {
    ac_spawn(client, ac_nil);
    return ac_run();
}
