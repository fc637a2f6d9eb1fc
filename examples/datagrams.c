// SPDX-License-Identifier: MIT
// What time is it? Servers are members of a group and answer whoever asks there, until "quit" is
// typed. A client asks the group without knowing who is in it, three times at the most, since
// datagrams may be lost, and takes the first answer.
// usage: datagrams serve [PORT [INTERFACE]], datagrams ask PORT [INTERFACE]
#include <asyncoro.h>

#include <string.h>
#include <time.h>

static const char group[] = "239.255.83.21";
static const char *port = "0", *interface = "lo";

// ---- answering ----

static long answer_one(ac_datagrams *clock) {
    char question[8], answer[32], from[AC_ADDRESS_TEXT_BYTES];
    long got = ac_datagrams_receive(clock, question, sizeof question, from, AC_FOREVER);
    if (got == -EMSGSIZE || (got >= 0 && (got != 4 || memcmp(question, "time", 4) != 0)))
        return 0; // no question that is known here
    if (got < 0)
        return got;
    time_t now = time(NULL);
    size_t bytes = strftime(answer, sizeof answer, "%H:%M:%S", gmtime(&now));
    long put = ac_datagrams_send(clock, answer, bytes, from, ac_after(1));
    return put == -ECANCELED ? put : 0; // whether the client is still there is its own affair
}

static ac_value serve(ac_value argument) {
    ac_datagrams *clock = ac_pointer_of(argument);
    long err = 0;
    while (err >= 0)
        err = answer_one(clock);
    ac_datagrams_close(clock);
    return ac_result((int)err);
}

// ---- serving ----

static ac_value until_quit(ac_value unused) {
    char command[256];
    while (ac_read_line(ac_input(), command, sizeof command, AC_FOREVER) > 0)
        if (strcmp(command, "quit") == 0)
            break;
    return ac_nil;
}

static int start_serving(void) {
    char at[AC_ADDRESS_TEXT_BYTES];
    ac_datagrams *clock;
    ac_format(at, sizeof at, "0.0.0.0:%s", port);
    int err = ac_datagrams_open(&clock, at, .reuse_port = true);
    if (err)
        return err;
    err = ac_datagrams_join(clock, group, interface);
    if (!err)
        err = ac_datagrams_address(clock, at);
    if (err) {
        ac_datagrams_close(clock);
        return err;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_print("serving at port %s\n", strrchr(at, ':') + 1);
    ac_spawn(serve, (void *)clock, .daemon = true);
    ac_spawn(until_quit, ac_nil);
    return 0;
}

// ---- asking ----

static ac_value ask(ac_value unused) {
    char answer[32], from[AC_ADDRESS_TEXT_BYTES], to[AC_ADDRESS_TEXT_BYTES];
    ac_datagrams *socket;
    long err = ac_datagrams_open(&socket, NULL, .interface = interface);
    if (err)
        return ac_result((int)err);
    ac_format(to, sizeof to, "%s:%s", group, port);
    for (int i = 0; i == 0 || (i < 3 && err == -ETIMEDOUT); i++) {
        err = ac_datagrams_send(socket, "time", 4, to, ac_after(1));
        if (err >= 0)
            err = ac_datagrams_receive(socket, answer, sizeof answer - 1, from, ac_after(1));
    }
    ac_datagrams_close(socket);
    if (err < 0)
        return ac_result((int)err);
    answer[err] = 0;
    ac_print("%s says %s\n", from, answer);
    return ac_nil;
}

// ---- either ----

int main(int argc, char **argv) {
    bool serves = argc > 1 && strcmp(argv[1], "serve") == 0;
    if (!serves && (argc < 3 || strcmp(argv[1], "ask") != 0)) {
        ac_print_to(stderr, "usage: datagrams serve [PORT [INTERFACE]] | ask PORT [INTERFACE]\n");
        return 2;
    }
    if (argc > 2)
        port = argv[2];
    if (argc > 3)
        interface = argv[3];
    int err = 0;
    if (serves)
        err = start_serving();
    else
        ac_spawn(ask, ac_nil);
    if (!err)
        err = ac_run();
    if (err)
        ac_print_to(stderr, "datagrams: %s\n", ac_strerror(err));
    return err != 0;
}
