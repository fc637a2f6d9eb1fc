// SPDX-License-Identifier: MIT
// The life of a node: when it serves, when it drains and when it stops. Decides, and does nothing;
// node.c does it. No clock is read here.
//
//      SERVES --out of hours--> RESTS --in hours again, and nothing runs--> SERVES
//        |                        |
//        | a signal, a drain, the limit is near; idle: stops at once
//        v                        v
//      DRAINS --nothing runs, or the grace is over, or a second signal--> STOPS
//
// The first signal drains and a later one stops, because that is what starts nodes expects: Slurm,
// systemd and Kubernetes send SIGTERM, wait (30, 90, 30 seconds unless told otherwise) and then
// kill, and so does a person who presses Ctrl-C and gets impatient. `timeout` and others signal a
// process and at once its group, so signals within SAME_NS of the first one are that one.
#include "cluster/cluster_private.h"

#include <stdio.h>
#include <stdlib.h>

static const ac_time SAME_NS = 250 * 1000 * 1000;
// Between the end of a drain and the limit: for ending workers and saying goodbye.
static const ac_time MARGIN_NS = 5 * 1000 * 1000 * 1000ll;

// ---- hours ----

static const char days[] = "montuewedthufrisatsun";

// A day, or less than 0.
static int read_day(const char **at) {
    for (int day = 0; day < 7; day++)
        if (strncmp(*at, days + 3 * (size_t)day, 3) == 0) {
            *at += 3;
            return day;
        }
    return -1;
}

// Days as bits; all where none is named. 0 if they make no sense.
static unsigned read_days(const char **at) {
    if (**at >= '0' && **at <= '9')
        return 127;
    int from = read_day(at), to = from;
    if (from >= 0 && **at == '-') {
        (*at)++;
        to = read_day(at);
    }
    if (from < 0 || to < 0)
        return 0;
    unsigned bits = 1u << to;
    for (int day = from; day != to; day = (day + 1) % 7)
        bits |= 1u << day;
    return bits;
}

static bool read_number(const char **at, int max, int *number) {
    const char *from = *at;
    *number = 0;
    for (; **at >= '0' && **at <= '9' && *at - from < 2; (*at)++)
        *number = 10 * *number + **at - '0';
    return *at > from && *number <= max;
}

// "6:30", up to "24:00", in minutes.
static bool read_time(const char **at, int *minute) {
    int hour, rest;
    if (!read_number(at, 24, &hour) || **at != ':')
        return false;
    (*at)++;
    const char *from = *at;
    if (!read_number(at, 59, &rest) || *at - from != 2)
        return false;
    *minute = hour * 60 + rest;
    return *minute <= 24 * 60;
}

static void skip_blanks(const char **at) {
    while (**at == ' ')
        (*at)++;
}

static void open_window(struct hours *hours, unsigned on, int from, int to) {
    for (int day = 0; day < 7; day++)
        for (int minute = from; on >> day & 1 && minute < to; minute++) {
            int it = (day * 24 * 60 + minute) % WEEK_MINUTES;
            hours->bits[it / 8] |= (uint8_t)(1 << it % 8);
        }
}

static bool read_window(const char **at, struct hours *hours) {
    skip_blanks(at);
    unsigned on = read_days(at);
    int from = 0, to = 24 * 60;
    skip_blanks(at);
    if (**at && **at != ',') {
        if (!read_time(at, &from) || *(*at)++ != '-' || !read_time(at, &to) || from == to)
            return false;
        to += to < from ? 24 * 60 : 0;
    }
    skip_blanks(at);
    open_window(hours, on, from, to);
    return on != 0;
}

bool hours_read(const char *text, struct hours *hours) {
    *hours = (struct hours){0};
    while (read_window(&text, hours)) {
        if (!*text)
            return true;
        if (*text++ != ',')
            return false;
    }
    return false;
}

bool hours_open(const struct hours *hours, int minute) {
    return minute >= 0 && minute < WEEK_MINUTES && (hours->bits[minute / 8] >> minute % 8 & 1);
}

// ---- life ----

const char *life_state_name(enum node_state state) {
    static const char *const names[] = {"serving", "resting", "draining", "stopping"};
    return names[state];
}

void life_begin(struct life *life, ac_time now) {
    life->state = NODE_SERVES;
    life->limit = life->limit ? life->limit : AC_FOREVER;
    life->asked = AC_NOW;
    life->since = now;
    life->until = AC_FOREVER;
    life->over = false;
    life->hurries = false;
    life->why = NULL;
}

void life_stop(struct life *life, const char *why) {
    if (life->state == NODE_STOPS)
        return;
    life->state = NODE_STOPS;
    life->why = why;
}

void life_drain(struct life *life, ac_time now, ac_time grace_ns, const char *why) {
    if (life->state == NODE_STOPS)
        return;
    life->state = NODE_DRAINS;
    life->until = now + (grace_ns < 0 ? life->grace_ns : grace_ns);
    if (life->limit != AC_FOREVER && life->until > life->limit - MARGIN_NS)
        life->until = life->limit - MARGIN_NS; // whoever set it does not wait
    life->over = false;
    life->why = why;
}

void life_ask(struct life *life, ac_time now) {
    if (life->asked == AC_NOW) {
        life->asked = now;
        life_drain(life, now, -1, "it was asked to end");
    } else if (now - life->asked >= SAME_NS) {
        life->asked = now;
        life->hurries = life->state == NODE_STOPS;
        life_stop(life, "it was asked to end twice");
    }
}

// When a drain has to begin so that it is over before the limit.
static ac_time drain_before(const struct life *life) {
    return life->limit == AC_FOREVER ? AC_FOREVER : life->limit - MARGIN_NS - life->grace_ns;
}

static void look_at_hours(struct life *life, ac_time now, int minute, uint32_t computations) {
    bool open = !life->hours || hours_open(life->hours, minute);
    if (life->state == NODE_SERVES && !open) {
        life->state = NODE_RESTS;
        life->until = now + life->grace_ns;
        life->over = false;
        life->why = "it is out of its hours of service";
    } else if (life->state == NODE_RESTS && open && computations == 0) {
        life_begin(life, now);
    }
}

void life_look(struct life *life, ac_time now, int minute, uint32_t computations) {
    look_at_hours(life, now, minute, computations);
    if ((life->state == NODE_SERVES || life->state == NODE_RESTS) && now >= drain_before(life))
        life_drain(life, now, -1, "its time is nearly over");
    life->since = computations > 0 ? AC_FOREVER : life->since == AC_FOREVER ? now : life->since;
    if (life->state == NODE_SERVES && life->idle_ns && life->since != AC_FOREVER &&
        now - life->since >= life->idle_ns)
        life_stop(life, "it had nothing to do");
    life->over = life->over || (life->state != NODE_SERVES && now >= life->until);
    if (life->state == NODE_DRAINS && (computations == 0 || life->over))
        life_stop(life, life->why);
}

static ac_time earlier(ac_time a, ac_time b) { return a < b ? a : b; }

ac_time life_next(const struct life *life) {
    ac_time next = AC_FOREVER;
    if (life->state == NODE_SERVES || life->state == NODE_RESTS)
        next = drain_before(life);
    if (life->state == NODE_SERVES && life->idle_ns && life->since != AC_FOREVER)
        next = earlier(next, life->since + life->idle_ns);
    if ((life->state == NODE_RESTS || life->state == NODE_DRAINS) && !life->over)
        next = earlier(next, life->until);
    return next;
}
