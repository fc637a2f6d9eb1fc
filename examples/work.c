// SPDX-License-Identifier: MIT
// What blocks runs beside the coroutines: ac_work gives it a thread, and only the coroutine that
// asked for it waits. Here it reads from a pipe, as the library of a database reads what its server
// answers. Were it called by the coroutine itself, nobody would tick meanwhile, and as the answer
// comes with the last tick, it would wait for ever.
#include <asyncoro.h>

#include <errno.h>
#include <unistd.h>

static int ends[2]; // of the pipe: to read, to write

// On a helper thread, where there are no coroutines: it shares nothing with them but its argument
// and its result.
static ac_value query(ac_value question) {
    char answer[64];
    ssize_t bytes = read(ends[0], answer, sizeof answer - 1);
    if (bytes < 0)
        return ac_of_error(-errno, "read");
    answer[bytes] = 0;
    return ac_list(ac_hold(question), answer);
}

static ac_value ask(ac_value unused) {
    ac_value both;
    ac_print("asking\n");
    int err = ac_work(query, "six times seven", &both, ac_after(60));
    if (err < 0)
        return ac_result(err);
    const char *question, *answer;
    if (ac_unpack(both, &question, &answer) < 0)
        return both; // the error that the query has returned
    ac_print("%s is %s\n", question, answer);
    ac_drop(both);
    return ac_nil;
}

static ac_value tick(ac_value count) {
    for (int i = 1; i <= ac_int_of(count); i++) {
        ac_sleep(0.1);
        ac_print("tick %d\n", i);
    }
    return ac_result(write(ends[1], "42", 2) < 0 ? -errno : 0);
}

int main(void) {
    if (pipe(ends) < 0)
        return errno;
    ac_spawn(ask, ac_nil);
    ac_spawn(tick, 5);
    return ac_run();
}
