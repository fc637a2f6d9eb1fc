// SPDX-License-Identifier: MIT
// A server whose function is replaced while clients talk to it. The new version comes from a shared
// object, named by the argument; it goes on with the total of the old one, and no request is lost.
#include <asyncoro.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

// Adds up what the clients send, and answers with its version and the total.
static ac_value serve(ac_value state) {
    int64_t total = ac_int_of(state);
    ac_set_replaceable(true);
    ac_value request;
    // Ends with -ERESTART when there is a replacement.
    while (ac_receive(&request, AC_FOREVER) == 0) {
        ac_ref client;
        int number;
        if (ac_unpack(request, &client, &number) == 0) {
            total += number;
            ac_send(client, ac_list(1, total));
        }
        ac_drop(request);
    }
    return ac_of(total); // for the next version
}

static ac_value client(ac_value server) {
    for (int i = 1; i <= 10; i++) {
        int version;
        int64_t total;
        ac_value answer;
        int err = ac_send(ac_ref_of(server), ac_list(ac_self(), i));
        if (!err)
            err = ac_receive(&answer, ac_after(10));
        if (err)
            return ac_result(err);
        if (ac_unpack(answer, &version, &total) == 0)
            ac_print("version %d: total %lld\n", version, (long long)total);
        ac_drop(answer);
        ac_sleep(0.02);
    }
    return ac_nil;
}

static ac_function load(const char *path) {
    void *object = dlopen(path, RTLD_NOW);
    void *symbol = object ? dlsym(object, "serve") : NULL;
    ac_function function = NULL;
    memcpy(&function, &symbol, sizeof symbol);
    return function;
}

static ac_value run(ac_value path) {
    ac_ref server = ac_spawn(serve, 0, .daemon = true);
    ac_group *clients;
    int err = ac_group_open(&clients);
    if (err)
        return ac_result(err);
    for (int i = 0; i < 3; i++)
        ac_spawn(client, server, .group = clients);
    ac_sleep(0.1);
    ac_function next = load(ac_text_of(path));
    err = next ? ac_replace(server, next, ac_nil) : -ENOENT;
    int later = ac_group_join(clients, AC_FOREVER);
    ac_group_close(clients);
    return ac_result(err ? err : later);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        ac_print("usage: %s SHARED_OBJECT\n", argv[0]);
        return 2;
    }
    ac_spawn(run, argv[1]);
    return ac_run();
}
