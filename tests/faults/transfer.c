// SPDX-License-Identifier: MIT
// Faults while files are sent: a program sends to itself, so that it has the faults of both sides.
// Whatever fails, the file is there whole or not at all, and who sent it knows.
#include "faults.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BYTES = 300000, SMALL = 70000 };

static struct {
    char folder[TEST_TEMPLATE_BYTES];
    char file[80];
    char small[80];
    char inbox[80];
    char there[96];
    int sent;
    int done;
} it;

// None of these calls fails.
static int remove_one(const char *path, const struct stat *facts, int sort, struct FTW *place) {
    (void)sort, (void)place;
    return S_ISDIR(facts->st_mode) ? rmdir(path) : unlink(path);
}

static bool make_file(const char *path, off_t bytes) {
    int fd = creat(path, 0640);
    if (fd < 0)
        return false;
    close(fd);
    return truncate(path, bytes) == 0;
}

static bool prepare(void) {
    memset(&it, 0, sizeof it);
    test_template(it.folder);
    if (!mkdtemp(it.folder))
        return false;
    snprintf(it.file, sizeof it.file, "%s/file", it.folder);
    snprintf(it.small, sizeof it.small, "%s/small", it.folder);
    snprintf(it.inbox, sizeof it.inbox, "%s/XXXXXX", it.folder);
    if (!mkdtemp(it.inbox))
        return false;
    snprintf(it.there, sizeof it.there, "%s/a/b", it.inbox);
    return make_file(it.file, BYTES) && make_file(it.small, SMALL);
}

// A helper thread may still be at it after the program has ended.
static bool remove_all(void) {
    for (int i = 0; i < 1000; i++) {
        if (nftw(it.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0)
            return true;
        usleep(10000);
    }
    return false;
}

// The bytes of the file that came; -1: there is none.
static long bytes_there(void) {
    struct stat facts;
    return stat(it.there, &facts) == 0 ? (long)facts.st_size : -1;
}

static ac_time deadline(void) { return ac_after(faults_excuse() ? 1 : 20); }

static int send_file(const char *path) {
    return note(ac_transfer_send(ac_ref_peer(ac_self()), path, "a/b", deadline()));
}

static ac_value send_and_delete(ac_value unused) {
    (void)unused;
    it.sent += send_file(it.file) == 0;
    REQUIRE(bytes_there() == (it.sent ? BYTES : -1) || (!it.sent && bytes_there() == BYTES));
    it.sent += send_file(it.file) == 1;
    it.sent += send_file(it.small) == 0;
    REQUIRE(bytes_there() == SMALL || faults_errors() > 0);
    REQUIRE(bytes_there() == SMALL || bytes_there() == BYTES || bytes_there() == -1);
    it.sent += note(ac_transfer_delete(ac_ref_peer(ac_self()), "a/b", deadline())) == 0;
    REQUIRE(bytes_there() == -1 || faults_errors() > 0);
    it.done = 1;
    return ac_nil;
}

SCENARIO(a_file_comes_whole_or_its_sender_knows) {
    if (!prepare())
        return;
    if (note(ac_transfer_accept(it.inbox, .all_bytes_max = 10 * BYTES)) == 0)
        note_ref(ac_spawn(send_and_delete, ac_nil, .name = "main"));
    note(ac_run());
    REQUIRE(remove_all());
    REQUIRE((it.done == 1 && it.sent == 4) || faults_errors() > 0);
}
