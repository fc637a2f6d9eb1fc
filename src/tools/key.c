// SPDX-License-Identifier: MIT
// `asyncoro key`: the key that this user's programs share, and its rotation.
//
// A key is never an argument, nor in the environment: both are seen by others. It comes from
// standard input, and goes to standard output if that is asked for, but never into a file there,
// which would be made with the rights that other files have.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "tools/tools.h"

enum { INPUT_BYTES_MAX = 4096, TEXT_BYTES = 256 };

struct request {
    char path[KEY_PATH_BYTES];
    bool secret;  // `show` shows the keys themselves
    bool replace; // `import` may end keys
};

static int fail(const char *text) {
    fprintf(stderr, "asyncoro key: %s\n", text);
    return EXIT_FAILED;
}

static int fail_by(int err) { return fail(ac_strerror(err)); }

// ---- showing ----

// Where the key is, and what names it.
static int describe(const struct request *request, const struct key_ring *ring) {
    char fingerprint[KEY_FINGERPRINT_BYTES];
    printf("%s\n", request->path);
    for (size_t i = 0; i < ring->count; i++) {
        int err = key_fingerprint(ring->keys[i], fingerprint);
        if (err)
            return fail_by(err);
        printf("fingerprint %s%s\n", fingerprint, i > 0 ? " (until it is retired)" : "");
    }
    return EXIT_GOOD;
}

static int tell_secret(const struct key_ring *ring) {
    struct stat output;
    if (fstat(STDOUT_FILENO, &output) < 0 || S_ISREG(output.st_mode))
        return fail("the key goes to a terminal or through a pipe, never into a file, which others "
                    "might read: asyncoro key show --secret | ssh HOST asyncoro key import");
    char text[KEY_TEXT_BYTES];
    key_print(ring, text);
    int good = fputs(text, stdout) >= 0 && fflush(stdout) == 0;
    digest_wipe(text, sizeof text);
    return good ? EXIT_GOOD : fail("the key could not be written");
}

static int show(struct request *request) {
    struct key_ring ring;
    char text[TEXT_BYTES];
    if (key_load(request->path, &ring, text) < 0)
        return fail(text);
    int code = request->secret ? tell_secret(&ring) : describe(request, &ring);
    digest_wipe(&ring, sizeof ring);
    return code;
}

static int show_path(struct request *request) {
    printf("%s\n", request->path);
    return EXIT_GOOD;
}

// ---- making ----

// As a program that starts the network does.
static int find(struct request *request) {
    struct key_ring ring;
    char text[TEXT_BYTES];
    if (key_find(request->path, &ring, text) < 0)
        return fail(text);
    int code = describe(request, &ring);
    digest_wipe(&ring, sizeof ring);
    return code;
}

static int create(struct request *request, const struct key_ring *ring) {
    char text[TEXT_BYTES];
    int err = key_create(request->path, ring, text);
    if (err == -EEXIST)
        return fail("there is a key; `asyncoro key rotate` makes a newer one");
    return err ? fail(text) : describe(request, ring);
}

static int make(struct request *request) {
    struct key_ring ring = {.count = 1};
    int err = key_draw(ring.keys[0]);
    int code = err ? fail_by(err) : create(request, &ring);
    digest_wipe(&ring, sizeof ring);
    return code;
}

// ---- changing ----

static int change(struct request *request, const struct key_ring *before,
                  const struct key_ring *after) {
    char text[TEXT_BYTES];
    int err = key_replace(request->path, before, after, text);
    if (err == -ESTALE)
        return fail("somebody else has changed the key at this moment; nothing was done");
    return err ? fail(text) : describe(request, after);
}

static int rotate_to(struct request *request, struct key_ring *ring) {
    if (ring->count == KEYS_MAX)
        return fail("there are two keys already; `asyncoro key retire` ends the older one");
    struct key_ring after = {.count = 2};
    memcpy(after.keys[1], ring->keys[0], KEY_BYTES);
    int err = key_draw(after.keys[0]);
    int code = err ? fail_by(err) : change(request, ring, &after);
    digest_wipe(&after, sizeof after);
    return code;
}

static int retire_from(struct request *request, struct key_ring *ring) {
    if (ring->count < 2)
        return fail("there is one key only; `asyncoro key rotate` makes a newer one");
    struct key_ring after = {.count = 1};
    memcpy(after.keys[0], ring->keys[0], KEY_BYTES);
    int code = change(request, ring, &after);
    digest_wipe(&after, sizeof after);
    return code;
}

static int with_keys(struct request *request,
                     int (*run)(struct request *request, struct key_ring *ring)) {
    struct key_ring ring;
    char text[TEXT_BYTES];
    if (key_load(request->path, &ring, text) < 0)
        return fail(text);
    int code = run(request, &ring);
    digest_wipe(&ring, sizeof ring);
    return code;
}

static int rotate(struct request *request) { return with_keys(request, rotate_to); }

static int retire(struct request *request) { return with_keys(request, retire_from); }

// ---- importing ----

static int read_input(struct key_ring *ring) {
    char text[INPUT_BYTES_MAX + 1];
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "asyncoro key: the key, please, and then Ctrl-D\n");
    size_t bytes = fread(text, 1, sizeof text, stdin);
    int err = bytes > INPUT_BYTES_MAX ? -EINVAL : key_parse(text, bytes, ring);
    digest_wipe(text, sizeof text);
    return err ? fail("no key came by standard input: lines of 64 hexadecimal digits, one for each "
                      "key")
               : EXIT_GOOD;
}

// What was imported comes first. The newest key that was here stays beside it, so that programs
// that run go on, unless it is told to go.
static int import_beside(struct request *request, struct key_ring *here, struct key_ring *ring) {
    if (!request->replace && !key_ring_has(ring, here->keys[0])) {
        if (ring->count == KEYS_MAX)
            return fail("the key that is here is neither of these two; --replace ends it");
        memcpy(ring->keys[ring->count++], here->keys[0], KEY_BYTES);
    }
    return change(request, here, ring);
}

static int import(struct request *request) {
    struct key_ring here, ring;
    char text[TEXT_BYTES];
    int code = read_input(&ring);
    if (code)
        return code;
    int err = key_load(request->path, &here, text);
    if (err == -ENOENT)
        code = create(request, &ring);
    else
        code = err ? fail(text) : import_beside(request, &here, &ring);
    digest_wipe(&here, sizeof here);
    digest_wipe(&ring, sizeof ring);
    return code;
}

// ---- the words ----

int tool_key(int count, char **arguments) {
    static const struct {
        const char *word;
        int (*run)(struct request *request);
    } verbs[] = {{"", find},         {"path", show_path}, {"make", make},    {"show", show},
                 {"import", import}, {"rotate", rotate},  {"retire", retire}};
    struct request request = {0};
    const char *file = NULL, *word = NULL;
    const struct tool_option options[] = {{.name = "--key-file", .text = &file},
                                          {.name = "--secret", .flag = &request.secret},
                                          {.name = "--replace", .flag = &request.replace}};
    int err = tool_read_options("key", count, arguments, options, countof(options), &word);
    if (err)
        return err;
    size_t verb = 0;
    while (verb < countof(verbs) && strcmp(verbs[verb].word, word ? word : "") != 0)
        verb++;
    if (verb == countof(verbs) || (request.secret && verbs[verb].run != show) ||
        (request.replace && verbs[verb].run != import)) {
        fprintf(stderr, "asyncoro key: '%s' is not understood; see: asyncoro help key\n",
                word             ? word
                : request.secret ? "--secret"
                                 : "--replace");
        return EXIT_USAGE;
    }
    char text[TEXT_BYTES];
    bool makes = verbs[verb].run == find || verbs[verb].run == make || verbs[verb].run == import;
    if (key_path(file, makes, request.path, text) < 0)
        return fail(text);
    return verbs[verb].run(&request);
}
