// SPDX-License-Identifier: MIT
// Files for the tests of transfers: in the folder of the world, which goes with it.
#ifndef TESTS_REMOTE_FILES_H
#define TESTS_REMOTE_FILES_H

#include "world.h"

#include <asyncoro/transfer.h>

// A path in the world's folder; four of them are valid at a time.
static UNUSED const char *at(const char *name) {
    static char paths[4][640];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", world.folder, name);
    return path;
}

static UNUSED uint8_t byte_at(uint64_t place, unsigned seed) {
    uint64_t mixed = (place / 8 + seed) * 0x9e3779b97f4a7c15;
    return (uint8_t)(mixed >> (place % 8 * 8));
}

// Makes a file of so many bytes, which the seed tells from others.
static UNUSED void make_file(const char *path, size_t bytes, unsigned seed, unsigned mode) {
    FILE *file = fopen(path, "w");
    must(file != NULL);
    for (size_t i = 0; i < bytes; i++)
        putc(byte_at(i, seed), file);
    must_be(fclose(file), 0);
    must_be(chmod(path, mode), 0);
}

// Whether a file is that one.
static UNUSED bool is_file(const char *path, size_t bytes, unsigned seed, unsigned mode) {
    struct stat facts;
    if (lstat(path, &facts) < 0 || !S_ISREG(facts.st_mode) || (facts.st_mode & 07777) != mode ||
        facts.st_size != (off_t)bytes)
        return false;
    FILE *file = fopen(path, "r");
    bool same = file != NULL;
    for (size_t i = 0; same && i < bytes; i++)
        same = getc(file) == byte_at(i, seed);
    if (file)
        fclose(file);
    return same;
}

static UNUSED bool is_there(const char *path) {
    struct stat facts;
    return lstat(path, &facts) == 0;
}

// How many names there are in a folder; the size of one of them is stored.
static UNUSED int count_names(const char *path, size_t *bytes) {
    struct buffer names;
    int count = 0;
    buffer_init(&names);
    must_be(sys_folder_list(path, &names), 0);
    for (size_t i = 0; i < names.length; i += strlen((char *)names.bytes + i) + 1, count++) {
        char one[512];
        struct stat facts;
        snprintf(one, sizeof one, "%s/%s", path, (char *)names.bytes + i);
        if (bytes && stat(one, &facts) == 0)
            *bytes = (size_t)facts.st_size;
    }
    buffer_done(&names);
    return count;
}

// The folder that receives, and what is left there of files that are not whole.
static UNUSED void make_inbox(void) { must_be(mkdir(at("inbox"), 0700), 0); }
static UNUSED int parts(size_t *bytes) { return count_names(at("inbox/.asyncoro"), bytes); }

#endif
