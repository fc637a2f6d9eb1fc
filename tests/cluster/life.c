// SPDX-License-Identifier: MIT
// When a node serves, drains and stops: the clock is passed in.
#include "cluster/cluster_private.h"
#include "test.h"

#define SECOND ((ac_time)1000 * 1000 * 1000)

enum { MONDAY = 0, FRIDAY = 4 * 1440, SATURDAY = 5 * 1440, SUNDAY = 6 * 1440 };

static struct hours read_hours(const char *text) {
    struct hours hours;
    ck_assert_msg(hours_read(text, &hours), "%s", text);
    return hours;
}

#define ck_open(hours, minute) ck_assert(hours_open(&(hours), (minute)))
#define ck_closed(hours, minute) ck_assert(!hours_open(&(hours), (minute)))

TEST(a_window_begins_and_ends_at_its_minutes) {
    struct hours noon = read_hours("12:00-13:00");
    for (int day = 0; day < WEEK_MINUTES; day += 1440) {
        ck_closed(noon, day + 719);
        ck_open(noon, day + 720);
        ck_open(noon, day + 779);
        ck_closed(noon, day + 780);
    }
}

TEST(a_window_may_go_over_midnight_and_over_the_end_of_the_week) {
    struct hours night = read_hours("sun 22:00-06:00");
    ck_closed(night, SUNDAY + 21 * 60 + 59);
    ck_open(night, SUNDAY + 22 * 60);
    ck_open(night, WEEK_MINUTES - 1);
    ck_open(night, MONDAY);
    ck_open(night, MONDAY + 359);
    ck_closed(night, MONDAY + 360);
    ck_closed(night, SUNDAY);
}

TEST(days_are_whole_and_may_be_many) {
    struct hours it = read_hours("22:00-06:00, sat,sun , mon-wed 12:00-12:30");
    ck_open(it, SATURDAY);
    ck_open(it, SUNDAY + 1439);
    ck_open(it, MONDAY + 720);
    ck_closed(it, FRIDAY + 720);
    ck_open(it, FRIDAY + 23 * 60);
    struct hours around = read_hours("sat-mon");
    ck_open(around, SATURDAY);
    ck_open(around, MONDAY + 1439);
    ck_closed(around, MONDAY + 1440);
    ck_closed(around, FRIDAY);
}

TEST(what_are_no_hours_is_told) {
    static const char *const bad[] = {"",
                                      ",",
                                      "sometimes",
                                      "25:00-26:00",
                                      "1:5-2",
                                      "12:00-12:00",
                                      "12:00",
                                      "sat,",
                                      "mon-",
                                      "mon 12:00",
                                      "12:60-13:00",
                                      "24:01-02:00",
                                      "sat x",
                                      "12:00-13:00x",
                                      "-",
                                      "mo 12:00-13:00"};
    struct hours hours;
    for (size_t i = 0; i < countof(bad); i++)
        ck_assert_msg(!hours_read(bad[i], &hours), "%s", bad[i]);
    struct hours saturday = read_hours("sat");
    ck_closed(saturday, -1);
    ck_closed(saturday, WEEK_MINUTES);
}

static struct life begun(struct life life) {
    life_begin(&life, 100 * SECOND);
    return life;
}

TEST(the_first_signal_drains_and_the_second_stops) {
    struct life life = begun((struct life){.grace_ns = 20 * SECOND});
    life_ask(&life, 101 * SECOND);
    life_ask(&life, 101 * SECOND + SECOND / 5); // the same, sent to the group as well
    life_look(&life, 102 * SECOND, 0, 1);
    ck_assert_int_eq(life.state, NODE_DRAINS);
    ck_assert_int_eq(life_next(&life), 121 * SECOND);
    life_ask(&life, 102 * SECOND);
    ck_assert_int_eq(life.state, NODE_STOPS);
}

TEST(a_drain_ends_with_the_last_computation_or_with_its_grace) {
    struct life life = begun((struct life){.grace_ns = 20 * SECOND});
    life_ask(&life, 101 * SECOND);
    life_look(&life, 110 * SECOND, 0, 1);
    ck_assert_int_eq(life.state, NODE_DRAINS);
    life_look(&life, 111 * SECOND, 0, 0);
    ck_assert_int_eq(life.state, NODE_STOPS);

    life = begun((struct life){.grace_ns = 20 * SECOND});
    life_ask(&life, 101 * SECOND);
    life_look(&life, 121 * SECOND - 1, 0, 1);
    ck_assert_int_eq(life.state, NODE_DRAINS);
    life_look(&life, 121 * SECOND, 0, 1);
    ck_assert_int_eq(life.state, NODE_STOPS);

    life = begun((struct life){.grace_ns = 20 * SECOND});
    life_drain(&life, 101 * SECOND, 2 * SECOND, "told");
    ck_assert_int_eq(life_next(&life), 103 * SECOND);
    life_drain(&life, 101 * SECOND, -1, "told");
    ck_assert_int_eq(life_next(&life), 121 * SECOND);
}

TEST(it_drains_so_that_it_is_done_before_the_limit) {
    struct life life = begun((struct life){.grace_ns = 20 * SECOND, .limit = 200 * SECOND});
    ac_time begins = life_next(&life);
    ck_assert_int_lt(begins, 180 * SECOND);
    ck_assert_int_gt(begins, 170 * SECOND);
    life_look(&life, begins - 1, 0, 1);
    ck_assert_int_eq(life.state, NODE_SERVES);
    life_look(&life, begins, 0, 1);
    ck_assert_int_eq(life.state, NODE_DRAINS);
    ck_assert_int_lt(life_next(&life), 200 * SECOND);
    // Known late: what is left is what there is.
    life = begun((struct life){.grace_ns = 20 * SECOND, .limit = 110 * SECOND});
    life_look(&life, 101 * SECOND, 0, 1);
    ck_assert_int_eq(life.state, NODE_DRAINS);
    ck_assert_int_lt(life_next(&life), 110 * SECOND);
}

TEST(who_is_idle_ends_and_who_was_busy_counts_anew) {
    struct life life = begun((struct life){.idle_ns = 5 * SECOND});
    ck_assert_int_eq(life_next(&life), 105 * SECOND);
    life_look(&life, 104 * SECOND, 0, 1);
    ck_assert_int_eq(life_next(&life), AC_FOREVER);
    life_look(&life, 200 * SECOND, 0, 1);
    life_look(&life, 201 * SECOND, 0, 0);
    ck_assert_int_eq(life_next(&life), 206 * SECOND);
    life_look(&life, 206 * SECOND - 1, 0, 0);
    ck_assert_int_eq(life.state, NODE_SERVES);
    life_look(&life, 206 * SECOND, 0, 0);
    ck_assert_int_eq(life.state, NODE_STOPS);
    life = begun((struct life){0});
    life_look(&life, AC_FOREVER - 1, 0, 0);
    ck_assert_int_eq(life.state, NODE_SERVES);
}

TEST(out_of_its_hours_it_rests_and_then_serves_again) {
    struct hours noon = read_hours("12:00-13:00");
    struct life life = begun(
        (struct life){.hours = &noon, .grace_ns = 20 * SECOND, .idle_ns = 1000 * SECOND});
    life_look(&life, 101 * SECOND, 779, 1);
    ck_assert_int_eq(life.state, NODE_SERVES);
    life_look(&life, 102 * SECOND, 780, 1);
    ck_assert_int_eq(life.state, NODE_RESTS);
    ck_assert(!life.over);
    ck_assert_int_eq(life_next(&life), 122 * SECOND);
    life_look(&life, 122 * SECOND, 780, 1);
    ck_assert_int_eq(life.state, NODE_RESTS);
    ck_assert(life.over); // what runs is to be ended
    ck_assert_int_eq(life_next(&life), AC_FOREVER);
    life_look(&life, 5000 * SECOND, 781, 0);
    ck_assert_int_eq(life.state, NODE_RESTS); // which is not idle
    life_look(&life, 5001 * SECOND, 720, 0);
    ck_assert_int_eq(life.state, NODE_SERVES);
    ck_assert(!life.over);
    ck_assert_ptr_null(life.why);
}

TEST(a_signal_ends_it_in_its_rest_too) {
    struct hours noon = read_hours("12:00-13:00");
    struct life life = begun((struct life){.hours = &noon, .grace_ns = 20 * SECOND});
    life_look(&life, 101 * SECOND, 0, 0);
    ck_assert_int_eq(life.state, NODE_RESTS);
    life_ask(&life, 102 * SECOND);
    life_look(&life, 102 * SECOND, 0, 0);
    ck_assert_int_eq(life.state, NODE_STOPS);
}

TEST(the_first_reason_to_stop_is_the_one_that_is_told) {
    struct life life = begun((struct life){0});
    life_stop(&life, "one");
    life_stop(&life, "two");
    life_drain(&life, 101 * SECOND, -1, "three");
    ck_assert_str_eq(life.why, "one");
    ck_assert_str_eq(life_state_name(life.state), "stopping");
}
