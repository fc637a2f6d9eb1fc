// SPDX-License-Identifier: MIT
// The program `sim`: plays the stories of seeds, each in a child of its own.
//
// usage: sim [--story=talk|cluster|comeback] [--seed=N | --seeds=FIRST-LAST] [--places=N]
// [--seconds=N]
// [--weather=BITS] [--tls]
//            [--twice] [--talk] [--tap] [--stop] [--jobs=N]
//
// --story: which play, that of processes that talk to each other (story.c), that of a cluster, or
// that of a cluster whose scheduler is killed and comes back.
// Seeds are numbers; each says what world it is, what befalls it and for how long; the options
// overrule it. --weather: the sum of what may happen, enum weather in plot.h. --tls: real TLS in
// the place of plain.c. --twice: each seed must have one and the same course both times. --talk:
// all that happens is told, and what the library thinks of it. --tap:
// the result as tests tell it. --stop: no seed is begun after one that
// has failed. --jobs: children at once.
#include "plot.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    uint64_t first, last;
    uint32_t places; // 0: as the seed says
    double seconds;  // likewise
    int weather;     // -1: likewise
    bool cluster;    // the story of a cluster,
    bool comeback;   // whose scheduler comes back
    bool tls;
    bool talk;
    bool tap;
    bool twice;
    bool stop;
    unsigned jobs;
    const char *program; // as it was called
} options = {.first = 1, .last = 1, .weather = -1, .jobs = 1};

enum { PLAY_SECONDS_MAX = 120, JOBS_MAX = 64 };

// What a seed is about.
static void choose(uint64_t seed) {
    static const unsigned weathers[] = {
        0,
        WEATHER_CUTS,
        WEATHER_CUTS | WEATHER_FLOOD,
        WEATHER_CUTS | WEATHER_SILENT | WEATHER_SLOW,
        WEATHER_PARTITIONS | WEATHER_CUTS,
        WEATHER_KILLS | WEATHER_POWER,
        WEATHER_FREEZES | WEATHER_FLOOD,
        WEATHER_FREEZES | WEATHER_KILLS | WEATHER_PARTITIONS,
        WEATHER_ALL & ~(unsigned)WEATHER_FLOOD,
        WEATHER_ALL,
    };
    uint64_t state = seed;
    (void)random_step(&state);
    story.weather = options.weather >= 0 ? (unsigned)options.weather
                                         : weathers[seed % countof(weathers)];
    story.places = options.places ? options.places : 2 + (uint32_t)(random_step(&state) % 6);
    story.keeps = options.comeback;
    story.seconds = options.seconds > 0 ? options.seconds : 15;
    story.neighbours = story.places - 1 < 6 ? story.places - 1 : 6;
    story.bursts = seed / 10 % 2 == 1; // memory is looked at more closely in the others
    story.heartbeat_s = 1 + (double)(random_step(&state) % 2000) / 1000;
    story.grace_s = 3 + (double)(random_step(&state) % 3000) / 1000;
    if (story.places > 30 && story.places <= STORY_MESH_MAX) // everybody has a link to everybody
        story.heartbeat_s += 5;
    if (story.weather == WEATHER_CUTS || story.weather == (WEATHER_CUTS | WEATHER_FLOOD)) {
        story.heartbeat_s = 10; // what is only cut is mended, however often
        story.grace_s = 10;
    }
}

static void repeat_line(uint64_t seed) {
    printf("# repeat: %s --seed=%llu", options.program, (unsigned long long)seed);
    if (options.cluster)
        printf(" --story=%s", options.comeback ? "comeback" : "cluster");
    if (options.places)
        printf(" --places=%u", options.places);
    if (options.seconds > 0)
        printf(" --seconds=%g", options.seconds);
    if (options.weather >= 0)
        printf(" --weather=%d", options.weather);
    printf("%s%s --talk\n", options.tls ? " --tls" : "", options.twice ? " --twice" : "");
    fflush(stdout);
}

// Returns the hash of what has happened.
static uint64_t play(uint64_t seed) {
    sim.talks = options.talk;
    sim.tls = options.tls;
    alarm(PLAY_SECONDS_MAX);
    sim_begin(seed);
    choose(seed);
    if (options.cluster)
        cluster_play();
    else
        story_play();
    uint64_t hash = sim.hash, count = sim.events, jobs = jobs_count();
    sim_end();
    printf("%sseed %llu: hash %016llx, %u places, weather %u, %llu events, ",
           options.tap ? "# " : "", (unsigned long long)seed, (unsigned long long)hash,
           story.places, story.weather, (unsigned long long)count);
    if (options.cluster)
        printf("%llu jobs\n", (unsigned long long)jobs);
    else
        printf("%llu messages, %zu KiB at most, %llu overtook\n",
               (unsigned long long)oracle_count(), story.bytes_most / 1024,
               (unsigned long long)story.overtaken_most);
    fflush(stdout);
    return hash;
}

static void play_in_child(uint64_t seed) {
    uint64_t hash = play(seed);
    if (options.twice && play(seed) != hash)
        sim_fail("two runs of one seed differ");
}

// ---- children ----

static unsigned failures;
static uint64_t done; // children that have ended

static void wait_for_one(uint64_t *running) {
    int status;
    pid_t pid = wait(&status);
    if (pid < 0) {
        perror("sim: wait");
        exit(EXIT_FAILURE);
    }
    uint64_t seed = 0;
    for (unsigned i = 0; i < options.jobs; i++)
        if (running[2 * i] == (uint64_t)pid) {
            seed = running[2 * i + 1];
            running[2 * i] = 0;
        }
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    done++;
    if (options.tap)
        printf("%s %llu - seed %llu\n", good ? "ok" : "not ok", (unsigned long long)done,
               (unsigned long long)seed);
    if (!good) {
        failures++;
        if (WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT)
            printf("# seed %llu: ended by signal %d\n", (unsigned long long)seed, WTERMSIG(status));
        repeat_line(seed);
    }
}

static void start_one(uint64_t *running, uint64_t seed) {
    unsigned place = 0;
    while (place < options.jobs && running[2 * place])
        place++;
    if (place == options.jobs) {
        wait_for_one(running);
        start_one(running, seed);
        return;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        play_in_child(seed);
        exit(EXIT_SUCCESS);
    }
    if (pid < 0) {
        perror("sim: fork");
        exit(EXIT_FAILURE);
    }
    running[2 * place] = (uint64_t)pid;
    running[2 * place + 1] = seed;
}

static void play_all(void) {
    static uint64_t running[2 * JOBS_MAX]; // number of a child and its seed
    uint64_t started = 0;
    for (uint64_t seed = options.first; seed <= options.last; seed++) {
        if (options.stop && failures)
            break;
        start_one(running, seed);
        started++;
    }
    while (done < started)
        wait_for_one(running);
}

// ---- the command line ----

static bool take(const char *word, const char *name, const char **value) {
    size_t bytes = strlen(name);
    *value = word + bytes;
    return strncmp(word, name, bytes) == 0;
}

static void read_word(const char *word) {
    const char *value;
    char *end;
    if (take(word, "--seeds=", &value)) {
        options.first = options.last = strtoull(value, &end, 10);
        if (*end == '-')
            options.last = strtoull(end + 1, NULL, 10);
    } else if (take(word, "--seed=", &value)) {
        options.first = options.last = strtoull(value, NULL, 10);
    } else if (take(word, "--places=", &value)) {
        options.places = (uint32_t)strtoul(value, NULL, 10);
    } else if (take(word, "--seconds=", &value)) {
        options.seconds = strtod(value, NULL);
    } else if (take(word, "--weather=", &value)) {
        options.weather = atoi(value);
    } else if (take(word, "--jobs=", &value)) {
        options.jobs = (unsigned)strtoul(value, NULL, 10);
    } else if (strcmp(word, "--story=cluster") == 0) {
        options.cluster = true;
        options.comeback = false;
    } else if (strcmp(word, "--story=comeback") == 0) {
        options.cluster = options.comeback = true;
    } else if (strcmp(word, "--story=talk") == 0) {
        options.cluster = options.comeback = false;
    } else if (strcmp(word, "--tls") == 0) {
        options.tls = true;
    } else if (strcmp(word, "--talk") == 0) {
        options.talk = true;
    } else if (strcmp(word, "--tap") == 0) {
        options.tap = true;
    } else if (strcmp(word, "--stop") == 0) {
        options.stop = true;
    } else if (strcmp(word, "--twice") == 0) {
        options.twice = true;
    } else {
        fprintf(stderr, "sim: unknown option %s\n", word);
        exit(2);
    }
}

int main(int count, char **words) {
    options.program = words[0];
    ac_cluster_init(1, words);
    for (int i = 1; i < count; i++)
        read_word(words[i]);
    if (options.jobs == 0 || options.jobs > JOBS_MAX || options.places == 1)
        return 2;
    play_all();
    if (options.tap)
        printf("1..%llu\n", (unsigned long long)done);
    else
        printf("%llu seeds, %u failed\n", (unsigned long long)done, failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
