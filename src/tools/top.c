// SPDX-License-Identifier: MIT
// `asyncoro top`: what programs do, look after look. Each program tells of itself (remote/ask.c):
// its links, which give the rates as the difference between two looks; and its loops, whose answer
// is missing while a coroutine computes there, which is shown as the state `computes`.
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/tools.h"

#include <asyncoro/process.h>

enum { PARTS_MAX = 70, LINKS_MAX = 256, RATES = 4, LINE_BYTES = 512 };

// What is counted of a link, in this order wherever four of them stand together.
static const char *const counted[RATES] = {"messages_in", "messages_out", "bytes_in", "bytes_out"};

struct traffic { // of a link of a program
    char peer[17];
    char name[64];
    double trip; // seconds; negative: not known
    uint64_t counts[RATES];
    double rates[RATES];
    uint64_t queued_bytes;
};

struct program {
    struct ac_peer_info info;
    ac_time when; // it was asked
    int err;      // why it told nothing
    ac_value parts[PARTS_MAX];
    long count;            // of parts; the first is of the network, the others of loops
    struct traffic *links; // of the first
    size_t link_count;
    double rates[RATES];             // of all links
    uint64_t queued_bytes;           // likewise
    uint64_t coroutines, mail, dead; // of all loops
};

struct look {
    struct program *programs;
    size_t count;
};

static struct tool_network look = {.seconds = 1};
static uint32_t every = 1, times;
static bool once, json, with_links;

// ---- asking ----

static uint64_t number_of(ac_value map, const char *key) {
    ac_value it = ac_get(map, key);
    int64_t number = ac_int_of(it);
    ac_drop(it);
    return number > 0 ? (uint64_t)number : 0;
}

static void text_of(ac_value map, const char *key, char *to, size_t bytes) {
    ac_value it = ac_get(map, key);
    (void)ac_format(to, bytes, "%v", it);
    tool_clean(to);
    ac_drop(it);
}

static void read_link(ac_value map, struct traffic *to) {
    ac_value trip = ac_get(map, "round_trip_s");
    to->trip = ac_real_of(trip);
    ac_drop(trip);
    text_of(map, "peer", to->peer, sizeof to->peer);
    text_of(map, "name", to->name, sizeof to->name);
    for (int i = 0; i < RATES; i++)
        to->counts[i] = number_of(map, counted[i]);
    to->queued_bytes = number_of(map, "queued_bytes");
}

static void read_network(struct program *it) {
    ac_value links = ac_get(it->parts[0], "links");
    size_t cursor = 0, max = ac_count(links) < LINKS_MAX ? ac_count(links) : LINKS_MAX;
    it->links = calloc(max + 1, sizeof *it->links);
    for (ac_value map; it->links && it->link_count < max && ac_next(links, &cursor, &map);
         ac_drop(map))
        read_link(map, &it->links[it->link_count++]);
    ac_drop(links);
    for (size_t i = 0; i < it->link_count; i++)
        it->queued_bytes += it->links[i].queued_bytes;
}

static void read_loop(struct program *it, ac_value loop) {
    ac_value dead = ac_get(loop, "dead_letters"), item;
    it->coroutines += number_of(loop, "coroutines");
    it->mail += number_of(loop, "queued");
    for (size_t cursor = 0; ac_next(dead, &cursor, &item); ac_drop(item))
        it->dead += (uint64_t)ac_int_of(item); // keys are texts and count nothing
    ac_drop(dead);
}

static ac_value ask(ac_value argument) {
    struct program *it = ac_pointer_of(argument);
    it->when = ac_now();
    it->count = remote_ask(it->info.id, REMOTE_STATE, it->parts, PARTS_MAX, ac_after(every * 0.5));
    it->err = it->count < 0 ? (int)it->count : 0;
    if (it->count > 0)
        read_network(it);
    for (long i = 1; i < it->count; i++)
        read_loop(it, it->parts[i]);
    return ac_nil;
}

// Asks all at once, as one that computes takes its time.
static int look_around(struct look *to) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    static ac_ref asking[TOOL_PEERS_MAX];
    to->count = tool_peers_now(peers);
    to->programs = calloc(to->count + 1, sizeof *to->programs);
    if (!to->programs)
        return -ENOMEM;
    for (size_t i = 0; i < to->count; i++) {
        to->programs[i].info = peers[i];
        tool_clean(to->programs[i].info.name);
        asking[i] = ac_spawn(ask, ac_of_pointer(&to->programs[i]), .joinable = true);
    }
    int err = 0;
    for (size_t i = 0; i < to->count; i++) {
        struct ac_exit exit = {0};
        int failed = ac_ref_is(asking[i]) ? ac_join(asking[i], &exit, AC_FOREVER)
                                          : ac_ref_error(asking[i]);
        ac_drop(exit.value);
        err = failed ? failed : err;
    }
    return err;
}

static void forget(struct look *it) {
    for (size_t i = 0; i < it->count; i++) {
        for (long part = 0; part < it->programs[i].count; part++)
            ac_drop(it->programs[i].parts[part]);
        free(it->programs[i].links);
    }
    free(it->programs);
    *it = (struct look){0};
}

// ---- rates ----

static const struct program *find_program(const struct look *in, uint64_t id) {
    for (size_t i = 0; i < in->count; i++)
        if (in->programs[i].info.id == id)
            return &in->programs[i];
    return NULL;
}

static const struct traffic *find_link(const struct program *in, const char *peer) {
    for (size_t i = 0; i < in->link_count; i++)
        if (strcmp(in->links[i].peer, peer) == 0)
            return &in->links[i];
    return NULL;
}

// A link that is new, or was lost and is there again, began to count at 0.
static void rate_link(struct traffic *it, const struct traffic *before, double seconds) {
    for (int i = 0; i < RATES; i++) {
        uint64_t from = before && before->counts[i] <= it->counts[i] ? before->counts[i] : 0;
        it->rates[i] = (double)(it->counts[i] - from) / seconds;
    }
}

static void rate_all(struct look *now, const struct look *before) {
    for (size_t i = 0; i < now->count; i++) {
        struct program *it = &now->programs[i];
        const struct program *old = find_program(before, it->info.id);
        double seconds = old ? (double)(it->when - old->when) / 1e9 : 0;
        for (size_t j = 0; j < it->link_count && seconds > 0 && old->count > 0; j++) {
            rate_link(&it->links[j], find_link(old, it->links[j].peer), seconds);
            for (int k = 0; k < RATES; k++)
                it->rates[k] += it->links[j].rates[k];
        }
    }
}

static const char *state_of(const struct program *it) {
    switch (it->err) {
    case 0: break;
    case -EACCES: return "hidden";
    case -EBUSY: return "asked too often";
    case -ETIMEDOUT: return "silent";
    default: return "lost";
    }
    return it->count > 1 ? "well" : "computes";
}

// ---- as JSON ----

static ac_value rates_in_json(const double rates[RATES]) {
    return ac_map(counted[0], rates[0], counted[1], rates[1], counted[2], rates[2], counted[3],
                  rates[3]);
}

static ac_value program_in_json(const struct program *it) {
    char id[17];
    ac_value loops[PARTS_MAX];
    size_t count = 0;
    snprintf(id, sizeof id, "%016llx", (unsigned long long)it->info.id);
    for (long i = 1; i < it->count; i++)
        loops[count++] = ac_hold(it->parts[i]);
    return ac_map("id", (const char *)id, "name", tool_text(it->info.name), "address",
                  (const char *)it->info.address, "round_trip_s",
                  it->info.round_trip_s < 0 ? ac_nil : ac_of(it->info.round_trip_s), "state",
                  state_of(it), "per_second", rates_in_json(it->rates), "network",
                  it->count > 0 ? ac_hold(it->parts[0]) : ac_nil, "loops",
                  ac_list_of(loops, count));
}

static bool print_json(const struct look *it) {
    ac_value *programs = calloc(it->count + 1, sizeof *programs);
    if (!programs)
        return false;
    for (size_t i = 0; i < it->count; i++)
        programs[i] = program_in_json(&it->programs[i]);
    ac_value list = ac_list_of(programs, it->count);
    free(programs);
    return tool_print_json(ac_map("programs", list));
}

// ---- as a table ----

static struct {
    bool drawn;       // on a terminal: over what stood there
    unsigned columns; // that fit; 0: all
    unsigned lines;   // that still fit; only where it is drawn
} page;

static void page_begin(void) {
    struct winsize size;
    page.drawn = isatty(STDOUT_FILENO);
    page.columns = 0;
    if (!page.drawn)
        return;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    page.columns = known ? size.ws_col : 80;
    page.lines = known ? size.ws_row - 1u : 24;
    fputs("\033[H", stdout);
}

static void page_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void page_line(const char *format, ...) {
    char text[LINE_BYTES];
    va_list arguments;
    if (page.drawn && page.lines == 0)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (page.columns && page.columns < sizeof text)
        text[page.columns] = 0;
    page.lines -= page.drawn;
    printf("%s%s\n", text, page.drawn ? "\033[K" : "");
}

static void page_end(void) {
    fputs(page.drawn ? "\033[J" : "\n", stdout);
    fflush(stdout);
}

// Five characters: 999, 1.2k, 34k, 5.6M.
static const char *brief(double number, char text[16]) {
    static const char *const units[] = {"", "k", "M", "G", "T"};
    size_t unit = 0;
    for (; number >= 999.5 && unit + 1 < countof(units); unit++)
        number /= 1000;
    snprintf(text, 16, unit && number < 9.95 ? "%.1f%s" : "%.0f%s", number, units[unit]);
    return text;
}

static const char *trip_text(double seconds, char text[16]) {
    snprintf(text, 16, seconds < 0 ? "-" : "%.3f", seconds * 1e3);
    return text;
}

static void print_rates(const char *name, const char *where, double trip, const double *rates,
                        uint64_t queued, const char *rest) {
    char text[6][16];
    page_line("%-20.20s %-22.22s %8s %6s %6s %6s %6s %6s %s", name, where, trip_text(trip, text[0]),
              brief(rates[0], text[1]), brief(rates[1], text[2]), brief(rates[2], text[3]),
              brief(rates[3], text[4]), brief((double)queued, text[5]), rest);
}

// "what: ended 3, unread 1" for the counts of a map that are not 0; nothing if all are.
static void print_counts(const char *what, ac_value map) {
    char text[LINE_BYTES] = "";
    size_t length = 0, cursor = 0;
    for (ac_value key, count; ac_next(map, &cursor, &key); ac_drop(key), ac_drop(count)) {
        (void)ac_next(map, &cursor, &count);
        if (ac_int_of(count) > 0 && length < sizeof text - 80)
            length += (size_t)ac_format(text + length, 80, "%s%.40v %v", length ? ", " : "", key,
                                        count);
    }
    tool_clean(text);
    if (length)
        page_line("    %s: %s", what, text);
}

static void print_loop(ac_value loop) {
    ac_value dead = ac_get(loop, "dead_letters");
    char who[64], what[40], text[16];
    uint64_t number = number_of(loop, "loop"), longest = number_of(loop, "longest");
    text_of(loop, "longest_of", who, sizeof who);
    if (longest > 0)
        page_line("    longest mailbox of loop %u: %s, of '%s'", (unsigned)number,
                  brief((double)longest, text), who);
    snprintf(what, sizeof what, "dead letters of loop %u", (unsigned)number);
    print_counts(what, dead);
    ac_drop(dead);
}

static void print_program(const struct program *it) {
    char rest[96], text[3][16];
    if (it->count > 1)
        snprintf(rest, sizeof rest, "%6s %6s %6s %s", brief((double)it->coroutines, text[0]),
                 brief((double)it->mail, text[1]), brief((double)it->dead, text[2]), state_of(it));
    else
        snprintf(rest, sizeof rest, "%6s %6s %6s %s", "-", "-", "-", state_of(it));
    print_rates(it->info.name, it->info.address, it->info.round_trip_s, it->rates, it->queued_bytes,
                rest);
    for (size_t i = 0; with_links && i < it->link_count; i++) {
        char name[72];
        const struct traffic *link = &it->links[i];
        snprintf(name, sizeof name, "  with %s", link->name);
        print_rates(name, link->peer, link->trip, link->rates, link->queued_bytes, "");
    }
    for (long i = 1; i < it->count; i++)
        print_loop(it->parts[i]);
    if (it->count > 0) {
        ac_value lost = ac_get(it->parts[0], "lost");
        print_counts("peers lost", lost);
        ac_drop(lost);
    }
}

static bool print_table(const struct look *it) {
    page_begin();
    page_line("%zu program%s; per second and in bytes; - is not known", it->count,
              it->count == 1 ? "" : "s");
    page_line("%-20s %-22s %8s %6s %6s %6s %6s %6s %6s %6s %6s %s", "PROGRAM", "ADDRESS", "TRIP/ms",
              "IN/s", "OUT/s", "BYin/s", "BYou/s", "BYwait", "COROS", "MAIL", "DEAD", "STATE");
    for (size_t i = 0; i < it->count; i++)
        print_program(&it->programs[i]);
    page_end();
    return !ferror(stdout);
}

// ---- the life of it ----

// Waits for the next look. False if the user wants no more.
static bool wait_until(ac_signals *signals, ac_time until) {
    int number = ac_signals_wait(signals, until);
    return number == -ETIMEDOUT;
}

static int go_on(ac_signals *signals) {
    struct look before = {0}, now = {0};
    ac_time next = ac_now();
    int err = look_around(&before);
    bool more = !err;
    for (uint32_t done = 0; more && !err && (times == 0 || done < times); done++) {
        next += (ac_time)every * 1000000000;
        more = wait_until(signals, next);
        err = more ? look_around(&now) : 0;
        if (!more || err)
            break;
        rate_all(&now, &before);
        if (!(json ? print_json(&now) : print_table(&now)))
            err = -EPIPE;
        forget(&before);
        before = now;
        now = (struct look){0};
    }
    forget(&before);
    forget(&now);
    return err;
}

static ac_value run_top(ac_value argument) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    ac_signals *signals = NULL;
    size_t count;
    (void)argument;
    int err = tool_meet("top", &look, peers, &count);
    if (!err)
        err = ac_signals_open(&signals, SIGINT, SIGTERM);
    if (!err)
        err = go_on(signals);
    ac_signals_close(signals);
    return ac_result(err);
}

int tool_top(int count, char **arguments) {
    struct tool_option options[5 + TOOL_LOOK_OPTIONS] = {
        {.name = "--once", .flag = &once},
        {.name = "--json", .flag = &json},
        {.name = "--links", .flag = &with_links},
        {.name = "--every", .number = &every, .number_max = 3600},
        {.name = "--times", .number = &times, .number_max = 1000000}};
    size_t known = tool_look_options(&look, options, 5);
    int err = tool_read_options("top", count, arguments, options, known, NULL);
    if (once)
        times = 1;
    return err ? err : tool_run("top", &look, run_top);
}
