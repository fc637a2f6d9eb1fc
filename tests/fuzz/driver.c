// SPDX-License-Identifier: MIT
// Drives a fuzz target without libFuzzer: each of its seeds, then for some seconds what becomes of
// them when bits are flipped, bytes exchanged, pieces moved, doubled and left out. It is blind, as
// it does not see which code an input reaches; `make fuzz` sees that.
//
//     test-fuzz_X FOLDER [SECONDS [SEED]]
//
// FOLDER has the seeds, or is one input: then that alone is looked at. Tells its results as TAP. A
// child process does the work, on an input in memory that both share: so whatever ends the child,
// the input that did it is there, and is printed.
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_BYTES_MAX = 64 * 1024, SEEDS_MAX = 1024, CHANGES_MAX = 8, INPUT_SECONDS_MAX = 10 };

struct input {
    size_t count;
    uint8_t bytes[INPUT_BYTES_MAX];
};

// What child and parent share.
static struct shared {
    struct input input; // that is looked at
    uint64_t done;      // inputs that were
} * shared;

static struct {
    char *path;
    uint8_t *bytes;
    size_t count;
} seeds[SEEDS_MAX];
static size_t seed_count;
static uint64_t state; // of random numbers

// ---- seeds ----

static void read_seed(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file || seed_count == SEEDS_MAX) {
        printf("Bail out! %s cannot be read, or is one seed too many\n", path);
        exit(EXIT_FAILURE);
    }
    uint8_t *bytes = malloc(INPUT_BYTES_MAX);
    seeds[seed_count].path = strdup(path);
    seeds[seed_count].bytes = bytes;
    seeds[seed_count].count = fread(bytes, 1, INPUT_BYTES_MAX, file);
    seed_count++;
    fclose(file);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); // whatever the language of the user
}

static void read_seeds(const char *path) {
    struct stat facts;
    struct dirent **found;
    if (stat(path, &facts) == 0 && !S_ISDIR(facts.st_mode)) {
        read_seed(path);
        return;
    }
    int count = scandir(path, &found, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, found[i]->d_name);
        if (found[i]->d_name[0] != '.')
            read_seed(name);
        free(found[i]);
    }
    if (count >= 0)
        free(found);
}

// ---- changes ----

// xorshift64*.
static uint64_t draw(uint64_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u % below;
}

static void put_interesting(uint8_t *at, size_t left) {
    static const uint64_t numbers[] = {
        0,     1,     23,    24,     127,        128,        255,       256,       32767,
        32768, 65535, 65536, 999999, 0x7fffffff, 0x80000000, INT64_MAX, INT64_MIN, UINT64_MAX};
    uint64_t number = numbers[draw(sizeof numbers / sizeof *numbers)];
    size_t bytes = (size_t)1 << draw(4);
    for (size_t i = 0; i < bytes && i < left; i++)
        at[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
}

// Puts `count` bytes at a place of the input, between those that are there.
static void insert(struct input *it, size_t at, const uint8_t *bytes, size_t count) {
    if (it->count + count > INPUT_BYTES_MAX)
        return;
    memmove(it->bytes + at + count, it->bytes + at, it->count - at);
    memmove(it->bytes + at, bytes, count);
    it->count += count;
}

static void take_out(struct input *it, size_t at, size_t count) {
    memmove(it->bytes + at, it->bytes + at + count, it->count - at - count);
    it->count -= count;
}

static void insert_noise(struct input *it, size_t at) {
    uint8_t noise[16];
    size_t count = 1 + draw(sizeof noise);
    for (size_t i = 0; i < count; i++)
        noise[i] = (uint8_t)draw(256);
    insert(it, at, noise, count);
}

static void insert_piece_of_a_seed(struct input *it, size_t at) {
    size_t which = draw(seed_count);
    if (seeds[which].count == 0)
        return;
    size_t from = draw(seeds[which].count);
    insert(it, at, seeds[which].bytes + from, 1 + draw(seeds[which].count - from));
}

static void double_a_piece(struct input *it, size_t at) {
    uint8_t piece[256];
    size_t count = 1 + draw(it->count - at);
    count = count < sizeof piece ? count : sizeof piece;
    memcpy(piece, it->bytes + at, count);
    insert(it, at, piece, count);
}

static void change(struct input *it) {
    if (it->count == 0) {
        insert_noise(it, 0);
        return;
    }
    size_t at = draw(it->count);
    switch (draw(8)) {
    case 0: it->bytes[at] ^= (uint8_t)(1 << draw(8)); break;
    case 1: it->bytes[at] = (uint8_t)draw(256); break;
    case 2: it->bytes[at] += (uint8_t)(draw(9) - 4); break;
    case 3: put_interesting(it->bytes + at, it->count - at); break;
    case 4: take_out(it, at, 1 + draw(it->count - at)); break;
    case 5: insert_noise(it, at); break;
    case 6: double_a_piece(it, at); break;
    default: insert_piece_of_a_seed(it, at); break;
    }
}

// ---- looking ----

// The target sees a piece of memory that ends where its input ends, so that the sanitizers see who
// reads on.
static void look(void) {
    uint8_t *copy = malloc(shared->input.count ? shared->input.count : 1);
    memcpy(copy, shared->input.bytes, shared->input.count);
    alarm(INPUT_SECONDS_MAX);
    LLVMFuzzerTestOneInput(copy, shared->input.count);
    shared->done++;
    free(copy);
}

static void take_seed(size_t which) {
    memcpy(shared->input.bytes, seeds[which].bytes, seeds[which].count);
    shared->input.count = seeds[which].count;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void look_at_seeds(double how_long) {
    (void)how_long;
    for (size_t i = 0; i < seed_count; i++) {
        take_seed(i);
        look();
    }
}

static void look_at_changes(double how_long) {
    for (double end = seconds() + how_long; seconds() < end;) {
        take_seed(draw(seed_count));
        for (uint64_t left = 1 + draw(CHANGES_MAX); left > 0; left--)
            change(&shared->input);
        look();
    }
}

static void show_input(int status) {
    printf("# %s %d; the input, which `xxd -r -p` makes bytes of again:\n# ",
           WIFSIGNALED(status) ? "ended by signal" : "ended with",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    for (size_t i = 0; i < shared->input.count; i++)
        printf("%02x", shared->input.bytes[i]);
    printf("\n");
}

// Does the work in a child. False if the child ended otherwise than in peace.
static int run(void (*work)(double), double how_long) {
    int status;
    shared->done = 0;
    fflush(stdout);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        work(how_long);
        exit(EXIT_SUCCESS); // and so through the search for leaks
    }
    while (waitpid(child, &status, 0) < 0)
        continue;
    if (status != 0)
        show_input(status);
    return status == 0;
}

int main(int count, char **arguments) {
    double how_long = count > 2 ? atof(arguments[2]) : 0;
    uint64_t seed = count > 3 ? strtoull(arguments[3], NULL, 0) : (uint64_t)time(NULL);
    state = seed * 2 + 1;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || count < 2)
        return EXIT_FAILURE;
    read_seeds(arguments[1]);
    if (seed_count == 0) {
        printf("Bail out! no seeds in %s\n", arguments[1]);
        return EXIT_FAILURE;
    }
    printf("1..%d\n", how_long > 0 ? 2 : 1);
    int good = run(look_at_seeds, 0);
    printf("%s 1 %zu seeds\n", good ? "ok" : "not ok", seed_count);
    if (how_long > 0) {
        int still = run(look_at_changes, how_long);
        printf("# %llu inputs with SEED %llu\n", (unsigned long long)shared->done,
               (unsigned long long)seed);
        printf("%s 2 what_becomes_of_them\n", still ? "ok" : "not ok");
        good = good && still;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
