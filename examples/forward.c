// SPDX-License-Identifier: MIT
// Forwards connections to another address, both ways. When one side says that it will write no
// more, the other is told, and may go on writing; when one breaks off, so does the other.
// usage: forward LISTEN_ADDRESS TO_ADDRESS [IDLE_SECONDS]
#include <asyncoro.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 1000, CONNECT_SECONDS = 10, CHUNK_BYTES = 16384 };

static const char *target;
static double idle_seconds = 300;
static int connections;

// ---- one connection ----

// Two streams that belong together.
struct pair {
    ac_stream *client, *server;
    ac_time last; // when something moved, either way
};

// From one of them to the other.
struct way {
    ac_stream *from, *to;
    struct pair *pair;
};

static ac_time idle_end(ac_time last) { return last + (ac_time)(idle_seconds * 1e9); }

static ac_value pump(ac_value argument) {
    struct way *way = ac_pointer_of(argument);
    char bytes[CHUNK_BYTES];
    long got = 1, put = 0;
    while (got > 0 && put >= 0) {
        got = ac_read(way->from, bytes, sizeof bytes, idle_end(way->pair->last));
        if (got == -ETIMEDOUT && ac_now() < idle_end(way->pair->last)) {
            got = 1; // the other way was busy meanwhile
            continue;
        }
        way->pair->last = ac_now();
        if (got > 0)
            put = ac_write_all(way->to, bytes, (size_t)got, ac_after(idle_seconds), NULL);
    }
    if (got == 0)
        got = ac_shutdown(way->to);
    return ac_result((int)(put < 0 ? put : got));
}

static int forward(struct pair *pair) {
    struct way there = {pair->client, pair->server, pair},
               back = {pair->server, pair->client, pair};
    ac_group *group;
    int err = ac_group_open(&group);
    if (err)
        return err;
    pair->last = ac_now();
    ac_spawn(pump, (void *)&there, .group = group);
    ac_spawn(pump, (void *)&back, .group = group);
    err = ac_group_join(group, AC_FOREVER); // if one fails the other is cancelled
    ac_group_close(group);
    return err;
}

// ---- all of them ----

static ac_value serve(ac_value argument) {
    struct pair pair = {.client = ac_pointer_of(argument)};
    char who[AC_ADDRESS_TEXT_BYTES] = "";
    ac_stream_remote(pair.client, who);
    int err = ac_connect(&pair.server, target, ac_after(CONNECT_SECONDS));
    if (!err) {
        err = forward(&pair);
        ac_close(pair.server);
    }
    ac_close(pair.client);
    connections--;
    ac_print("%s: %s\n", who, err ? ac_strerror(err) : "done");
    return ac_nil;
}

static ac_value server(ac_value argument) {
    ac_listener *listener = ac_pointer_of(argument);
    ac_stream *client;
    int err;
    while ((err = ac_accept(listener, &client, AC_FOREVER)) != -ECANCELED) {
        if (err == 0 && connections < CONNECTIONS_MAX) {
            connections++;
            ac_spawn(serve, (void *)client, .daemon = true);
        } else if (err == 0) {
            ac_close(client);
        } else {
            ac_print_to(stderr, "cannot accept: %s\n", ac_strerror(err));
            ac_sleep(0.1); // out of descriptors, perhaps: some connections will end
        }
    }
    ac_listener_close(listener);
    return ac_nil;
}

static ac_value until_quit(ac_value unused) {
    char command[256];
    while (ac_read_line(ac_input(), command, sizeof command, AC_FOREVER) > 0)
        if (strcmp(command, "quit") == 0)
            break;
    return ac_nil;
}

int main(int argc, char **argv) {
    ac_listener *listener;
    char address[AC_ADDRESS_TEXT_BYTES];
    if (argc < 3) {
        ac_print_to(stderr, "usage: forward LISTEN_ADDRESS TO_ADDRESS [IDLE_SECONDS]\n");
        return 2;
    }
    target = argv[2];
    if (argc > 3)
        idle_seconds = strtod(argv[3], NULL);
    int err = ac_listen(&listener, argv[1]);
    if (err) {
        ac_print_to(stderr, "cannot listen: %s\n", ac_strerror(err));
        return 1;
    }
    ac_listener_address(listener, address);
    setvbuf(stdout, NULL, _IOLBF, 0); // each line at once, also into a file
    ac_print("forwarding from %s to %s\n", address, target);
    ac_spawn(server, (void *)listener, .daemon = true);
    ac_spawn(until_quit, ac_nil);
    return ac_run();
}
