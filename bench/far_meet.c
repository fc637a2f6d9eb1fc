// SPDX-License-Identifier: MIT
// How long two programs take to find each other with nothing but a common key: one runs already and
// has ceased to send beacons often, the other starts its network. Measured from that start until
// each of the two has been told of the other; the median of several, in seconds.
#include "ours.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEETINGS = 9 };

static char folder[] = "/tmp/asyncoro-bench.XXXXXX", key[64];

struct program {
    pid_t pid;
    int orders; // a byte: start
    int times;  // two doubles: when it started, when it was told
};
static struct program programs[MEETINGS];
static double began, told_there;
static int answers;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void network(void) {
    int err = ac_network_start(.loopback_only = true, .key_file = key);
    if (err < 0)
        fprintf(stderr, "%s\n", ac_network_error());
    must(err, "ac_network_start");
}

// Waits until somebody has come.
static double await_peer(void) {
    struct ac_peer_change change = {.came = false};
    while (!change.came) {
        ac_value message;
        must(ac_receive(&message, ac_after(30)), "ac_receive");
        (void)ac_peer_change_of(message, &change);
        ac_drop(message);
    }
    return now();
}

// ---- the one who comes ----

static ac_value come(ac_value unused) {
    (void)unused;
    must(ac_peers_watch(), "ac_peers_watch");
    told_there = await_peer();
    double times[2] = {began, told_there};
    if (write(answers, times, sizeof times) != sizeof times)
        exit(1);
    exit(0);
}

static struct program prepare(void) {
    int to[2], from[2];
    char byte;
    if (pipe(to) < 0 || pipe(from) < 0)
        exit(1);
    pid_t pid = fork();
    if (pid != 0) {
        close(to[0]);
        close(from[1]);
        return (struct program){pid, to[1], from[0]};
    }
    close(to[1]);
    answers = from[1];
    if (read(to[0], &byte, 1) != 1)
        exit(0); // the first has ended
    began = now();
    network();
    must(ac_ref_error(ac_spawn(come, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
    exit(1);
}

// ---- the one who is there ----

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static ac_value meet_all(ac_value unused) {
    double took[MEETINGS];
    (void)unused;
    must(ac_peers_watch(), "ac_peers_watch");
    for (int i = 0; i < MEETINGS; i++) {
        double times[2];
        must(ac_sleep(ac_random_real(1, 3)), "ac_sleep"); // no beacon of ours is due in particular
        if (write(programs[i].orders, "!", 1) != 1)
            exit(1);
        double here = await_peer();
        if (read(programs[i].times, times, sizeof times) != sizeof times)
            exit(1);
        took[i] = (here > times[1] ? here : times[1]) - times[0];
        waitpid(programs[i].pid, NULL, 0);
    }
    qsort(took, MEETINGS, sizeof took[0], by_size);
    printf("%.4f\n", took[MEETINGS / 2]);
    fflush(stdout);
    unlink(key);
    rmdir(folder);
    exit(0);
}

int main(void) {
    char port[8];
    if (!mkdtemp(folder))
        return 1;
    snprintf(key, sizeof key, "%s/key", folder);
    snprintf(port, sizeof port, "%d", 20000 + (int)(getpid() % 20000));
    setenv("ASYNCORO_DISCOVERY_PORT", port, 1);
    for (int i = 0; i < MEETINGS; i++)
        programs[i] = prepare();
    network();
    must(ac_ref_error(ac_spawn(meet_all, ac_nil)), "ac_spawn");
    must(ac_run(), "ac_run");
    return 1; // not reached
}
