// SPDX-License-Identifier: MIT
// `asyncoro status`, `jobs`, `why` and `cancel`: what schedulers have, asked of them, in pages as
// they tell it (cluster/service.c). A scheduler answers peers alone that may ship code to it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tools.h"

static struct tool_network look = {.seconds = 1};
static bool json;
static uint64_t computation, job; // of which job; job 0: of all
static const char *meant;         // the same as it was written
static uint32_t limit = 100;      // how many jobs are listed,
static uint32_t listed;           // and how many were

// One scheduler that is asked.
struct desk {
    const char *tool;
    ac_ref ref;
    char address[64];
};

// ---- asking ----

// Asks one. Takes the question. 0 and the answer, nil if it has not what is asked for; or an error,
// having said so.
static int call(const struct desk *desk, ac_value question, ac_value *answer) {
    *answer = ac_nil;
    int err = ac_call(desk->ref, question, answer, ac_after(5));
    if (err)
        tool_complain(desk->tool, desk->address, err);
    return err;
}

// Pages go on upwards and come to an end: who tells anything else is not listened to any longer.
static int complain_of_pages(const struct desk *desk) {
    fprintf(stderr, "asyncoro %s: %s: what it tells makes no sense, or has no end: given up\n",
            desk->tool, desk->address);
    return -EPROTO;
}

static int complain_of_none(const struct desk *desk) {
    fprintf(stderr, "asyncoro %s: %s: there is none of that number\n", desk->tool, desk->address);
    return -ENOENT;
}

// Those who are to be asked: the one at the address of --peer, or all that are found. Returns how
// many; or an error, having said so.
static long find(const char *tool, ac_ref desks[TOOL_PEERS_MAX]) {
    static struct ac_peer_info peers[TOOL_PEERS_MAX];
    size_t count;
    long found = look.peer ? tool_reach(tool, &look) : tool_meet(tool, &look, peers, &count);
    if (found < 0)
        return found;
    ac_time until = ac_after(look.seconds);
    if (look.peer)
        found = ac_locate_at(SCHEDULER_DESK_NAME, look.peer, &desks[0], until) == 0;
    else
        found = ac_locate_all(SCHEDULER_DESK_NAME, desks, TOOL_PEERS_MAX, until);
    if (found <= 0)
        fprintf(stderr, "asyncoro %s: no scheduler was found\n", tool);
    return found <= 0 ? -ENOENT : found < TOOL_PEERS_MAX ? found : TOOL_PEERS_MAX;
}

// Each scheduler counts from 1: which one is meant has to be clear.
static int refuse(const char *tool, const ac_ref *desks, long found) {
    fprintf(stderr, "asyncoro %s: there are %ld schedulers; say which one is meant:\n", tool,
            found);
    for (long i = 0; i < found; i++) {
        char address[64] = "";
        (void)ac_location(desks[i], address);
        fprintf(stderr, "  --peer %s\n", address);
    }
    return -EINVAL;
}

// Visits the one scheduler that is meant, or with `all` each that is found. 0; -ENOENT if there is
// none; or another error, as of the visit.
static int visit(const char *tool, bool all, int (*show)(const struct desk *)) {
    static ac_ref desks[TOOL_PEERS_MAX];
    long found = find(tool, desks);
    if (found > 1 && !all)
        found = refuse(tool, desks, found);
    int worst = found < 0 ? (int)found : 0;
    for (long i = 0; i < found; i++) {
        struct desk desk = {.tool = tool, .ref = desks[i]};
        (void)ac_location(desk.ref, desk.address);
        int err = show(&desk);
        worst = err ? err : worst;
    }
    return worst;
}

// Has something done with each computation of a scheduler whose number is above `after`, in their
// order, as long as that is 0. What the scheduler tells of itself is stored, to be dropped, if
// `status` is not NULL. 0 or an error.
static int each_computation(const struct desk *desk, uint64_t after, ac_value *status,
                            int (*what)(const struct desk *, ac_value, void *), void *argument) {
    int err = 0;
    uint32_t seen = 0;
    for (bool more = true; more && !err;) {
        ac_value page, it;
        err = call(desk, ac_list("status", after), &page);
        ac_value list = ac_get(page, "computations");
        more = tool_number_in(page, "more") > 0 && ac_count(list) > 0;
        for (size_t cursor = 0; !err && ac_next(list, &cursor, &it); ac_drop(it)) {
            uint64_t number = (uint64_t)tool_number_in(it, "number");
            bool good = number > after && seen++ < SCHEDULER_COMPUTATIONS_MAX;
            after = number;
            err = good ? what(desk, it, argument) : complain_of_pages(desk);
        }
        ac_drop(list);
        if (status)
            *status = ac_hold(page);
        status = NULL;
        ac_drop(page);
    }
    return err;
}

// ---- status ----

static const char *const counted[] = {"waiting", "placed",    "running", "finished",
                                      "failed",  "cancelled", "lost"};

static void print_counts(ac_value it) {
    printf("%lld waiting, %lld at workers, %lld running; %lld finished, %lld failed, "
           "%lld cancelled, %lld lost\n",
           tool_number_in(it, counted[0]), tool_number_in(it, counted[1]),
           tool_number_in(it, counted[2]), tool_number_in(it, counted[3]),
           tool_number_in(it, counted[4]), tool_number_in(it, counted[5]),
           tool_number_in(it, counted[6]));
}

// All computations of a scheduler.
struct gathered {
    ac_value *items;
    size_t count, room;
};

static int gather(const struct desk *desk, ac_value it, void *argument) {
    struct gathered *all = argument;
    (void)desk;
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        ac_value *items = realloc(all->items, room * sizeof *items);
        if (!items)
            return -ENOMEM;
        all->items = items;
        all->room = room;
    }
    all->items[all->count++] = ac_hold(it);
    return 0;
}

static int print_in_json(const struct desk *desk, ac_value status, struct gathered *all) {
    static const char *const keys[] = {"name", "state", "why", "nodes", "seconds"};
    enum { KEYS = countof(keys), COUNTS = countof(counted) };
    ac_value items[2 * (KEYS + COUNTS + 1)];
    for (size_t i = 0; i < KEYS + COUNTS; i++) {
        const char *key = i < KEYS ? keys[i] : counted[i - KEYS];
        items[2 * i] = ac_of(key);
        items[2 * i + 1] = ac_get(status, key);
    }
    items[2 * (KEYS + COUNTS)] = ac_of("computations");
    items[2 * (KEYS + COUNTS) + 1] = ac_list_of(all->items, all->count); // takes them
    all->count = 0;
    return tool_print_json(ac_map("address", (const char *)desk->address, "scheduler",
                                  ac_map_of(items, countof(items) / 2)))
               ? 0
               : -EIO;
}

static void print_computation(ac_value it) {
    char name[64], client[64];
    printf("%lld: %s of %s, %lld workers, jobs: ", tool_number_in(it, "number"),
           tool_text_in(it, "name", name, sizeof name),
           tool_text_in(it, "client", client, sizeof client), tool_number_in(it, "workers"));
    print_counts(it);
}

static void print_status(const struct desk *desk, ac_value status, const struct gathered *all) {
    char name[64], state[16];
    printf("scheduler %s at %s: %s, %lld nodes, jobs: ",
           tool_text_in(status, "name", name, sizeof name), desk->address,
           tool_text_in(status, "state", state, sizeof state), tool_number_in(status, "nodes"));
    print_counts(status);
    for (size_t i = 0; i < all->count; i++)
        print_computation(all->items[i]);
}

static int show_status(const struct desk *desk) {
    struct gathered all = {0};
    ac_value status = ac_nil;
    int err = each_computation(desk, 0, &status, gather, &all);
    if (!err && json)
        err = print_in_json(desk, status, &all);
    else if (!err)
        print_status(desk, status, &all);
    while (all.count > 0)
        ac_drop(all.items[--all.count]);
    free(all.items);
    ac_drop(status);
    return err;
}

static ac_value run_status(ac_value argument) {
    (void)argument;
    return ac_result(visit("status", true, show_status));
}

// ---- jobs ----

static double seconds_in(ac_value map) {
    ac_value it = ac_get(map, "seconds");
    double seconds = ac_real_of(it);
    ac_drop(it);
    return seconds;
}

static int print_job(const struct desk *desk, uint64_t of, ac_value it) {
    static const char *const keys[] = {"function", "state", "attempt",
                                       "seconds",  "node",  "location"};
    char name[48], function[64], state[16], node[64], location[64];
    snprintf(name, sizeof name, "%llu.%lld", (unsigned long long)of, tool_number_in(it, "job"));
    if (json) {
        ac_value items[2 * countof(keys) + 4] = {ac_of("address"),
                                                 ac_of((const char *)desk->address), ac_of("job"),
                                                 ac_of((const char *)name)};
        for (size_t i = 0; i < countof(keys); i++) {
            items[2 * i + 4] = ac_of(keys[i]);
            items[2 * i + 5] = ac_get(it, keys[i]);
        }
        return tool_print_json(ac_map_of(items, countof(items) / 2)) ? 0 : -EIO;
    }
    printf("%-12s %-24s %-8s %10.1f s  attempt %lld  %s %s\n", name,
           tool_text_in(it, "function", function, sizeof function),
           tool_text_in(it, "state", state, sizeof state), seconds_in(it),
           tool_number_in(it, "attempt"), tool_text_in(it, "node", node, sizeof node),
           tool_text_in(it, "location", location, sizeof location));
    return 0;
}

struct listing {
    bool found;         // the computation
    long long unlisted; // jobs, because they are too many
};

// Lists those of one page, the first one of which was to be *next, as far as they may be. *next:
// the first one that was not; 0: none.
static int list_page(const struct desk *desk, uint64_t of, ac_value page, uint64_t *next) {
    ac_value list = ac_get(page, "jobs"), it;
    int err = 0;
    uint64_t from = *next;
    *next = (uint64_t)tool_number_in(page, "next");
    for (size_t cursor = 0; !err && ac_next(list, &cursor, &it); ac_drop(it)) {
        uint64_t number = (uint64_t)tool_number_in(it, "job");
        if (number < from) {
            err = complain_of_pages(desk);
        } else if (listed == limit) {
            *next = number;
            ac_drop(it);
            break;
        } else {
            err = print_job(desk, of, it);
            listed++;
            from = number + 1;
        }
    }
    if (!err && *next && (ac_count(list) == 0 || *next < from))
        err = complain_of_pages(desk);
    ac_drop(list);
    return err;
}

static int list_jobs(const struct desk *desk, ac_value it, void *argument) {
    struct listing *listing = argument;
    uint64_t of = (uint64_t)tool_number_in(it, "number");
    long long jobs = tool_number_in(it, "waiting") + tool_number_in(it, "placed");
    uint64_t next = jobs > 0;
    long long before = listed;
    int err = 0;
    if (computation && of != computation)
        return 0;
    listing->found = true;
    while (!err && next && listed < limit) {
        ac_value page;
        err = call(desk, ac_list("jobs", of, next), &page); // nil: it has ended meanwhile
        if (!err)
            err = list_page(desk, of, page, &next);
        ac_drop(page);
    }
    long long left = jobs - (listed - before);
    if (next)
        listing->unlisted += left > 0 ? left : 1;
    return err;
}

static int show_jobs(const struct desk *desk) {
    struct listing listing = {.found = !computation};
    if (!json)
        printf("scheduler at %s:\n", desk->address);
    int err = each_computation(desk, computation ? computation - 1 : 0, NULL, list_jobs, &listing);
    if (err)
        return err;
    if (!listing.found)
        return complain_of_none(desk);
    if (listing.unlisted && !json)
        printf("and %lld more; --limit %u lists no more\n", listing.unlisted, limit);
    else if (listing.unlisted && !tool_print_json(ac_map("address", (const char *)desk->address,
                                                         "more", listing.unlisted)))
        return -EIO;
    return 0;
}

static ac_value run_jobs(ac_value argument) {
    (void)argument;
    return ac_result(visit("jobs", !computation, show_jobs));
}

// ---- why and cancel ----

static int show_why(const struct desk *desk) {
    ac_value answer;
    char text[512];
    int err = call(desk, ac_list("why", computation, job), &answer);
    if (!err && ac_is_nil(answer))
        err = complain_of_none(desk);
    snprintf(text, sizeof text, "%s", ac_text_of(answer) ? ac_text_of(answer) : "");
    if (!err && json) {
        err = tool_print_json(ac_map("address", (const char *)desk->address, "job", meant, "why",
                                     ac_hold(answer)))
                  ? 0
                  : -EIO;
    } else if (!err) {
        tool_clean(text);
        printf("%s\n", text);
    }
    ac_drop(answer);
    return err;
}

static int cancel(const struct desk *desk) {
    ac_value answer;
    int err = call(desk, ac_list("cancel", computation, job), &answer);
    if (!err && ac_is_nil(answer))
        err = complain_of_none(desk);
    if (!err && json &&
        !tool_print_json(ac_map("address", (const char *)desk->address, "cancelled", meant)))
        err = -EIO;
    ac_drop(answer);
    return err;
}

static ac_value run_why(ac_value argument) {
    (void)argument;
    return ac_result(visit("why", false, show_why));
}

static ac_value run_cancel(ac_value argument) {
    (void)argument;
    return ac_result(visit("cancel", false, cancel));
}

// ---- arguments ----

int tool_status(int count, char **arguments) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options("status", count, arguments, options, known, NULL);
    return err ? err : tool_run("status", &look, run_status);
}

int tool_jobs(int count, char **arguments) {
    struct tool_option options[2 + TOOL_LOOK_OPTIONS] = {
        {.name = "--json", .flag = &json},
        {.name = "--limit", .number = &limit, .number_max = 1 << 30}};
    size_t known = tool_look_options(&look, options, 2);
    int err = tool_read_options("jobs", count, arguments, options, known, &meant);
    char *end = NULL;
    if (!err && meant)
        computation = *meant >= '0' && *meant <= '9' ? strtoull(meant, &end, 10) : 0;
    if (!err && meant && (!computation || *end)) {
        fprintf(stderr, "asyncoro jobs: of which COMPUTATION? Say its number, or nothing for all; "
                        "see: asyncoro status\n");
        err = EXIT_USAGE;
    }
    return err ? err : tool_run("jobs", &look, run_jobs);
}

// "3.17", or "3" where all jobs may be meant.
static int read_job(const char *tool, const char *text, bool all) {
    char *end = NULL;
    computation = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (computation && *end == '.' && end[1] >= '0' && end[1] <= '9')
        job = strtoull(end + 1, &end, 10);
    if (computation && !*end && (job || (all && !strchr(text, '.'))))
        return EXIT_GOOD;
    fprintf(stderr, "asyncoro %s: which job? Say COMPUTATION.JOB, as in 3.17%s\n", tool,
            all ? ", or COMPUTATION for all of them" : "");
    return EXIT_USAGE;
}

static int run_for_job(const char *tool, int count, char **arguments, bool all, ac_function main) {
    struct tool_option options[1 + TOOL_LOOK_OPTIONS] = {{.name = "--json", .flag = &json}};
    size_t known = tool_look_options(&look, options, 1);
    int err = tool_read_options(tool, count, arguments, options, known, &meant);
    if (!err)
        err = read_job(tool, meant, all);
    return err ? err : tool_run(tool, &look, main);
}

int tool_why(int count, char **arguments) {
    return run_for_job("why", count, arguments, false, run_why);
}

int tool_cancel(int count, char **arguments) {
    return run_for_job("cancel", count, arguments, true, run_cancel);
}
