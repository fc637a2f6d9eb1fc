// SPDX-License-Identifier: MIT
// AC_TRACE=floor[,floor...] or AC_TRACE=all: what the library does, as lines "asyncoro fabric:
// text" on standard error; `frame` adds each frame between peers, which `all` leaves out, as they
// are many and tell what messages say. The variable is read once; the first word that is none of
// these is told of. Each line is written in one piece, so that threads do not mix theirs; a line
// that is longer than LINE_BYTES_MAX ends in "...".
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

enum { LINE_BYTES_MAX = 1024 };

static const char *const floor_names[] = {
    [TRACE_SYS] = "sys",         [TRACE_CORO] = "coro",     [TRACE_MESSAGE] = "message",
    [TRACE_IO] = "io",           [TRACE_FABRIC] = "fabric", [TRACE_REMOTE] = "remote",
    [TRACE_CLUSTER] = "cluster", [TRACE_FRAME] = "frame",
};

// One bit a floor, and this one once the environment was read. The first threads may all read it:
// they find the same.
#define MASK_KNOWN (1u << 31)
static _Atomic unsigned mask_known;

static unsigned mask_from_environment(void);

bool trace_on(enum trace_floor floor) {
    unsigned mask = atomic_load_explicit(&mask_known, memory_order_relaxed);
    if (unlikely(!(mask & MASK_KNOWN))) {
        mask = mask_from_environment() | MASK_KNOWN;
        atomic_store_explicit(&mask_known, mask, memory_order_relaxed);
    }
    return mask >> floor & 1;
}

bool trace_on_any(void) {
    (void)trace_on(TRACE_SYS); // reads the environment
    return (atomic_load_explicit(&mask_known, memory_order_relaxed) & ~MASK_KNOWN) != 0;
}

void trace_line(enum trace_floor floor, const char *format, ...) {
    static const char cut[] = "...\n";
    char line[LINE_BYTES_MAX];
    int head = snprintf(line, sizeof line, "asyncoro %s: ", floor_names[floor]);
    size_t room = sizeof line - (size_t)head;
    va_list arguments;
    va_start(arguments, format);
    int text = vsnprintf(line + head, room, format, arguments);
    va_end(arguments);
    if (text < 0) // a wide character that cannot be shown; the place that traces is at fault
        text = snprintf(line + head, room, "(a line that could not be formatted)");
    size_t bytes = (size_t)head + (size_t)text;
    if (bytes < sizeof line) {
        line[bytes++] = '\n';
    } else {
        bytes = sizeof line;
        memcpy(line + bytes - (sizeof cut - 1), cut, sizeof cut - 1);
    }
    fwrite(line, 1, bytes, stderr);
}

static unsigned mask_of_word(const char *word, size_t bytes) {
    if (bytes == 3 && memcmp(word, "all", 3) == 0)
        return (1u << TRACE_FRAME) - 1;
    for (size_t i = 0; i < countof(floor_names); i++)
        if (strlen(floor_names[i]) == bytes && memcmp(word, floor_names[i], bytes) == 0)
            return 1u << i;
    return 0;
}

// Else who has mistyped a word would take it that nothing happens.
static void complain(const char *word, size_t bytes) {
    static atomic_bool complained;
    if (!atomic_exchange(&complained, true))
        fprintf(stderr,
                "asyncoro: AC_TRACE: \"%.*s\" is none of sys, coro, message, io, fabric, remote, "
                "cluster, all and frame\n",
                (int)bytes, word);
}

static unsigned mask_from_environment(void) {
    const char *at = getenv("AC_TRACE");
    unsigned mask = 0;
    for (; at && *at; at += *at == ',') {
        size_t bytes = strcspn(at, ",");
        unsigned more = bytes > 0 ? mask_of_word(at, bytes) : 0;
        if (bytes > 0 && !more)
            complain(at, bytes);
        mask |= more;
        at += bytes;
    }
    return mask;
}
