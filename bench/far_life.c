// SPDX-License-Identifier: MIT
// Our figures of several processes, but for those of messages between two (far.c): ends that are
// noticed, names, remote functions, links, channels.
//
// Each server is a process of far.h; they are started before the first process has a loop.
#include "far_ours.h"

enum {
    LISTENERS = 100, // of far-broadcast at each peer
    HEARD = 1000,    // messages that are sent before all must have been heard
    NAMES = 20000,   // of locate-peer and name-bytes
    WARM = 2000      // of these, for the warm-up
};

// Of silence, for hung-notice. A link rests after a third of it.
static const double LIMIT_S = 1;

static int servers; // that have been started; in a server those before it
static uint16_t ports[128];

static const char *name_of(int server) {
    static char name[32];
    snprintf(name, sizeof name, "server-%d", server);
    return name;
}

// ---- servers ----

static ac_value answer(ac_value unused) {
    (void)unused;
    for (;;) {
        ac_value request = ours_receive(), body;
        ac_ref to;
        must(ac_unpack(request, &to, &body), "ac_unpack");
        must(ac_send(to, body), "ac_send");
        ac_drop(request);
    }
    return ac_nil;
}

static ac_value pause_not(ac_value unused) { return unused; }

static ac_value have_names(ac_value unused) {
    bool many = strcmp(far.figure, "locate-peer") == 0 || strcmp(far.figure, "name-bytes") == 0;
    char name[32];
    for (int i = 0; many && i < NAMES; i++) {
        snprintf(name, sizeof name, "name-%d", i);
        must(ac_register(ac_self(), name), "ac_register");
    }
    must(ac_register(ac_function_open(pause_not), "function"), "ac_register");
    must(ac_register(ac_self(), name_of(servers)), "ac_register");
    return answer(unused);
}

static ac_ref counter;

static ac_value hear(ac_value channel) {
    must(ac_channel_subscribe(ac_ref_of(channel), ac_self()), "ac_channel_subscribe");
    must(ac_send(counter, true), "ac_send");
    for (;;) {
        for (int i = 0; i < HEARD; i++)
            ac_drop(ours_receive());
        must(ac_send(counter, true), "ac_send");
    }
    return ac_nil;
}

// Is told of the client and the channel; tells the client when all listen, and each time when all
// have heard.
static ac_value have_listeners(ac_value unused) {
    ac_ref client, channel;
    (void)unused;
    must(ac_register(ac_self(), name_of(servers)), "ac_register");
    ac_value told = ours_receive();
    must(ac_unpack(told, &client, &channel), "ac_unpack");
    counter = ac_self();
    for (int i = 0; i < LISTENERS; i++)
        must(ac_ref_error(ac_spawn(hear, channel, .daemon = true)), "ac_spawn");
    for (;;) {
        for (int i = 0; i < LISTENERS; i++)
            ac_drop(ours_receive());
        must(ac_send(client, true), "ac_send");
    }
    return ac_nil;
}

static void serve(void) {
    bool broadcast = strcmp(far.figure, "far-broadcast") == 0;
    ours_network(LIMIT_S);
    must(ac_ref_error(ac_spawn(broadcast ? have_listeners : have_names, ac_nil)), "ac_spawn");
    ours_listens();
    must(ac_run(), "ac_run");
}

// ---- ends ----

static double notice_ms(int signal) {
    ac_ref server = ours_find(far.port, name_of(0));
    ac_value message;
    struct ac_exit exit;
    must(ac_monitor(server), "ac_monitor");
    must(ac_call(server, true, &message, AC_FOREVER), "ac_call"); // the monitor is there, too
    must(ac_sleep(0.1), "ac_sleep");
    double start = measure_now();
    kill(far.server, signal);
    message = ours_receive();
    double took = measure_now() - start;
    far_must(ac_exit_of(message, &exit) && exit.how == AC_LOST, "the notice");
    return took / 1e6;
}

static double exit_notice(void) { return notice_ms(SIGKILL); }
static double hung_notice(void) { return notice_ms(SIGSTOP); }

// ---- names and functions ----

static uint64_t locate_work(uint64_t n) {
    ac_ref found;
    for (uint64_t i = 0; i < n; i++)
        must(ac_locate("server-0", &found, AC_FOREVER), "ac_locate");
    return n;
}

static double locate_cached(void) {
    (void)ours_find(far.port, name_of(0));
    return measure(locate_work);
}

static void locate_names(int from, int to) {
    char name[32];
    ac_ref found;
    for (int i = from; i < to; i++) {
        snprintf(name, sizeof name, "name-%d", i);
        must(ac_locate(name, &found, AC_FOREVER), "ac_locate");
    }
}

static double locate_peer(void) {
    (void)ours_find(far.port, name_of(0));
    locate_names(0, WARM);
    double start = measure_now();
    locate_names(WARM, NAMES);
    return (measure_now() - start) / 1e3 / (NAMES - WARM);
}

static double name_bytes(void) {
    (void)ours_find(far.port, name_of(0));
    locate_names(0, WARM);
    double before = measure_memory_bytes();
    locate_names(WARM, NAMES);
    return (measure_memory_bytes() - before) / (NAMES - WARM);
}

static ac_ref function;

static uint64_t call_work(uint64_t n) {
    ac_ref started;
    for (uint64_t i = 0; i < n; i++)
        must(ac_invoke(function, ac_nil, &started, AC_FOREVER), "ac_invoke");
    return n;
}

static double remote_call(void) {
    function = ours_find(far.port, "function");
    return measure(call_work) / 1e3;
}

// ---- links and channels ----

static double link_bytes(void) {
    int first = servers / 10; // what the first ones take is not asked
    double before = 0;
    for (int i = 0; i < servers; i++) {
        if (i == first)
            must(ac_sleep(LIMIT_S), "ac_sleep");
        if (i == first)
            before = measure_memory_bytes();
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%u", ports[i]);
        must(ac_peer(address, ac_after(10)), "ac_peer");
    }
    must(ac_sleep(2 * LIMIT_S), "ac_sleep"); // until all rest
    return (measure_memory_bytes() - before) / (servers - first);
}

static ac_ref channel;

static uint64_t broadcast_work(uint64_t n) {
    uint64_t rounds = n / ((uint64_t)HEARD * LISTENERS * (unsigned)servers) + 1;
    for (uint64_t i = 0; i < rounds; i++) {
        for (int j = 0; j < HEARD; j++)
            must(ac_send(channel, j), "ac_send");
        for (int j = 0; j < servers; j++)
            ac_drop(ours_receive());
    }
    return rounds * HEARD * LISTENERS * (unsigned)servers;
}

static double far_broadcast(void) {
    channel = ac_channel_open("news");
    must(ac_register(channel, "news"), "ac_register");
    for (int i = 0; i < servers; i++)
        must(ac_send(ours_find(ports[i], name_of(i)), ac_list(ac_self(), channel)), "ac_send");
    for (int i = 0; i < servers; i++)
        ac_drop(ours_receive());
    return 1e9 / measure(broadcast_work);
}

static const struct figure {
    const char *name;
    double (*value)(void);
    int servers;
} figures[] = {
    {"exit-notice", exit_notice, 1},
    {"hung-notice", hung_notice, 1},
    {"locate-cached", locate_cached, 1},
    {"locate-peer", locate_peer, 1},
    {"name-bytes", name_bytes, 1},
    {"remote-call", remote_call, 1},
    {"link-bytes", link_bytes, 100},
    {"far-broadcast", far_broadcast, 4},
    {NULL, NULL, 0},
};
static const struct figure *figure = figures;

static ac_value run(ac_value unused) {
    (void)unused;
    printf("%.3f\n", figure->value());
    fflush(stdout);
    ours_remove_key();
    exit(0); // the servers end with it
}

int main(int argc, char **argv) {
    while (argc == 2 && figure->name && strcmp(figure->name, argv[1]) != 0)
        figure++;
    if (argc != 2 || !figure->name) {
        fprintf(stderr, "usage: %s FIGURE\n", argv[0]);
        return 2;
    }
    far.figure = figure->name;
    ours_make_key();
    for (; servers < figure->servers; servers++) {
        far_fork(serve);
        ports[servers] = far.port;
    }
    ours_network(LIMIT_S);
    must(ac_ref_error(ac_spawn(run, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
    return 1; // not reached
}
