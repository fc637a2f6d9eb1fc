// SPDX-License-Identifier: MIT
// How far a program has come with its jobs, for `asyncoro run`: asked of the scheduler, and shown
// on standard error while the program runs.
//
// Whose jobs. At a scheduler that was started for the program: all. At one that was there before:
// those of the computations that were opened there since then by programs of this computer. Of one
// that is closed what was told last goes on to count.
//
// On a terminal the last line of it is set aside for that: what the program writes scrolls in the
// lines above it (DECSTBM), so that neither gets into the other. The line is drawn in one write,
// between which and others the terminal makes a difference, and by programs in the foreground
// alone. Programs that draw on the terminal themselves are to be run with --quiet. Where there is
// no terminal there are plain lines.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/tools.h"

enum { ROWS_MIN = 4, COLUMNS_MIN = 24, LINE_BYTES = 512 };
static const double LATELY_S = 10; // over which time a rate is a mean

// ---- counting ----

static const char *const counted[PROGRESS_COUNTS] = {
    [PROGRESS_WAITING] = "waiting", [PROGRESS_PLACED] = "placed",
    [PROGRESS_RUNNING] = "running", [PROGRESS_FINISHED] = "finished",
    [PROGRESS_FAILED] = "failed",   [PROGRESS_CANCELLED] = "cancelled",
    [PROGRESS_LOST] = "lost",
};

static void read_counts(ac_value map, long long counts[PROGRESS_COUNTS]) {
    for (int i = 0; i < PROGRESS_COUNTS; i++)
        counts[i] = tool_number_in(map, counted[i]);
}

static bool is_of_this_computer(const char *client) {
    struct sys_address address;
    struct sys_interface found[32];
    if (!sys_address_parse(client, &address))
        return false;
    size_t bytes = address.family == 4 ? 4 : 16;
    int count = sys_address_is_loopback(&address) ? 0 : sys_interfaces(found, countof(found));
    for (int i = 0; i < count; i++)
        if (found[i].address.family == address.family &&
            memcmp(found[i].address.ip, address.ip, bytes) == 0)
            return true;
    return sys_address_is_loopback(&address);
}

// Where what is told of a computation is kept; NULL: too many.
static struct progress_part *part_of(struct progress *it, uint64_t number) {
    size_t i = 0;
    while (i < it->part_count && it->parts[i].number != number)
        i++;
    if (i == countof(it->parts))
        return NULL;
    if (i == it->part_count)
        it->parts[it->part_count++] = (struct progress_part){.number = number};
    return &it->parts[i];
}

static void take_computation(struct progress *it, ac_value map) {
    char client[64];
    if (!is_of_this_computer(tool_text_in(map, "client", client, sizeof client)))
        return;
    struct progress_part *part = part_of(it, (uint64_t)tool_number_in(map, "number"));
    if (!part)
        return;
    part->open = true;
    read_counts(map, part->counts);
}

static void add_parts(struct progress *it, long long counts[PROGRESS_COUNTS]) {
    memset(counts, 0, PROGRESS_COUNTS * sizeof counts[0]);
    for (size_t n = 0; n < it->part_count; n++)
        for (int i = 0; i < PROGRESS_COUNTS; i++)
            if (it->parts[n].open || i >= PROGRESS_FINISHED)
                counts[i] += it->parts[n].counts[i];
}

// Those of a scheduler that others use too, page after page.
static int ask_for_ours(struct progress *it, long long counts[PROGRESS_COUNTS]) {
    uint64_t after = it->first;
    uint32_t seen = 0;
    for (size_t n = 0; n < it->part_count; n++)
        it->parts[n].open = false;
    for (bool more = true; more;) {
        ac_value page = ac_nil, map;
        int err = ac_call(it->desk, ac_list("status", after), &page, ac_after(5));
        if (err)
            return err;
        ac_value list = ac_get(page, "computations");
        more = tool_number_in(page, "more") > 0 && ac_count(list) > 0;
        for (size_t cursor = 0; !err && ac_next(list, &cursor, &map); ac_drop(map)) {
            uint64_t number = (uint64_t)tool_number_in(map, "number");
            bool good = number > after && seen++ < SCHEDULER_COMPUTATIONS_MAX;
            after = number;
            take_computation(it, map);
            err = good ? 0 : -EPROTO;
        }
        ac_drop(list);
        ac_drop(page);
        if (err)
            return err;
    }
    add_parts(it, counts);
    return 0;
}

static int ask(struct progress *it, long long counts[PROGRESS_COUNTS]) {
    ac_value page = ac_nil;
    if (!it->own)
        return ask_for_ours(it, counts);
    int err = ac_call(it->desk, ac_list("status", INT64_MAX), &page, ac_after(5));
    if (!err)
        read_counts(page, counts);
    ac_drop(page);
    return err;
}

int progress_find(struct progress *it, const char *address, bool own) {
    ac_value page = ac_nil;
    it->own = own;
    int err = ac_locate_at(SCHEDULER_DESK_NAME, address, &it->desk, ac_after(5));
    if (!err)
        err = ac_call(it->desk, ac_list("status", INT64_MAX), &page, ac_after(5));
    it->first = (uint64_t)tool_number_in(page, "last");
    ac_drop(page);
    it->begun = it->asked = ac_now();
    return err;
}

// ---- the line ----

// "1:02:03" or "2:03".
static void print_time(char text[24], double seconds) {
    long long all = seconds < 0 ? 0 : seconds > 3.6e8 ? 360000000 : (long long)seconds;
    if (all >= 3600)
        snprintf(text, 24, "%lld:%02lld:%02lld", all / 3600, all / 60 % 60, all % 60);
    else
        snprintf(text, 24, "%lld:%02lld", all / 60, all % 60);
}

void progress_count(struct progress *it, const long long counts[PROGRESS_COUNTS], ac_time now) {
    long long ended = 0;
    for (int i = PROGRESS_FINISHED; i < PROGRESS_COUNTS; i++)
        ended += counts[i];
    // Before the first one ended the time was theirs, too.
    double passed = (double)(now - (it->ended > 0 ? it->asked : it->begun)) * 1e-9;
    if (passed > 0) {
        double rate = (double)(ended - it->ended) / passed;
        // The first one is all that is known; later ones count by the time for which they stand.
        double share = it->ended > 0 ? passed / (passed + LATELY_S) : 1;
        it->rate += (rate - it->rate) * share;
        it->asked = now;
        it->ended = ended;
    }
    memcpy(it->counts, counts, sizeof it->counts);
}

void progress_print(const struct progress *it, ac_time now, char *text, size_t bytes) {
    const long long *counts = it->counts;
    char left[24] = "", so_far[24], more[96] = "";
    long long open = counts[PROGRESS_WAITING] + counts[PROGRESS_PLACED];
    long long running = counts[PROGRESS_RUNNING] < open ? counts[PROGRESS_RUNNING] : open;
    print_time(so_far, (double)(now - it->begun) * 1e-9);
    if (it->rate > 0 && open > 0)
        print_time(left, (double)open / it->rate);
    if (counts[PROGRESS_CANCELLED] || counts[PROGRESS_LOST])
        snprintf(more, sizeof more, "%lld cancelled, %lld lost, ", counts[PROGRESS_CANCELLED],
                 counts[PROGRESS_LOST]);
    snprintf(text, bytes,
             "%lld done, %lld failed, %s%lld running, %lld waiting; %.1f/s, %s%safter %s",
             counts[PROGRESS_FINISHED], counts[PROGRESS_FAILED], more, running, open - running,
             it->rate, left, *left ? " left, " : "", so_far);
}

// ---- the terminal ----

static void put(const char *text, int length, int room) {
    if (length > 0 && length < room)
        for (ssize_t put; length > 0 && (put = write(STDERR_FILENO, text, (size_t)length)) > 0;) {
            text += put;
            length -= (int)put;
        }
}

static bool may_draw(void) { return tcgetpgrp(STDERR_FILENO) == getpgrp(); }

static void draw(struct progress *it, const char *line) {
    struct winsize size = {0};
    char text[LINE_BYTES + 128];
    int at = 0;
    if (!may_draw() || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0)
        return;
    if (size.ws_row < ROWS_MIN || size.ws_col < COLUMNS_MIN) {
        progress_clear(it);
        return;
    }
    // Down a line and up again, so that the last one is free; the region; the cursor where it was.
    if (it->rows != size.ws_row)
        at = snprintf(text, sizeof text, "\033D\033[A\0337\033[1;%ur\0338", size.ws_row - 1u);
    it->rows = size.ws_row;
    at += snprintf(text + at, sizeof text - (size_t)at, "\0337\033[%u;1H\033[2K%.*s\0338", it->rows,
                   (int)size.ws_col - 1, line);
    put(text, at, sizeof text);
}

void progress_clear(struct progress *it) {
    char text[64];
    if (it->rows)
        put(text,
            snprintf(text, sizeof text, "\0337\033[r\033[%u;1H\033[2K\0338", (unsigned)it->rows),
            sizeof text);
    it->rows = 0;
}

bool progress_can_draw(void) {
    const char *terminal = getenv("TERM");
    return isatty(STDERR_FILENO) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

int progress_look(struct progress *it) {
    long long counts[PROGRESS_COUNTS];
    int err = ask(it, counts);
    if (!err)
        progress_count(it, counts, ac_now());
    return err;
}

void progress_show(struct progress *it) {
    char line[LINE_BYTES];
    progress_print(it, ac_now(), line, sizeof line);
    if (it->drawn)
        draw(it, line);
    else
        fprintf(stderr, "asyncoro run: %s\n", line);
}
