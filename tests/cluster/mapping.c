// SPDX-License-Identifier: MIT
// Mappings, with a real node on loopback: one result for each argument, whatever becomes of it.
#include "cluster/client_private.h"
#include "cluster/world.h"

enum { MANY = 300000 }; // arguments: more than are on their way at once

static ac_value square(ac_value x) { return ac_of(ac_int_of(x) * ac_int_of(x)); }
AC_JOB(square)

// Fails for every tenth.
static ac_value square_of_some(ac_value x) {
    int64_t it = ac_int_of(x);
    return it % 10 == 4 ? ac_of_error(-EDOM, "no square of this") : ac_of(it * it);
}
AC_JOB(square_of_some)

static ac_value add(ac_value two) {
    int64_t a = 0, b = 0;
    int err = ac_unpack(two, &a, &b);
    return err ? ac_result(err) : ac_of(a + b);
}
AC_JOB(add)

static ac_value join(ac_value two) {
    const char *a = "", *b = "";
    char text[256];
    int err = ac_unpack(two, &a, &b);
    snprintf(text, sizeof text, "%s%s", a, b);
    return err ? ac_result(err) : ac_of((const char *)text);
}
AC_JOB(join)

// A sum that cannot be made of everything.
static ac_value add_but_not_701(ac_value two) {
    int64_t a = 0, b = 0;
    int err = ac_unpack(two, &a, &b);
    return err ? ac_of(0) : b == 701 ? ac_result(-ERANGE) : ac_of(a + b);
}
AC_JOB(add_but_not_701)

static ac_value same(ac_value x) { return ac_hold(x); }
AC_JOB(same)

static ac_value letter(ac_value x) {
    char text[2] = {(char)('a' + ac_int_of(x)), 0};
    return ac_of((const char *)text);
}
AC_JOB(letter)

// Ends its process where the argument says so.
static ac_value end_at_500(ac_value x) {
    if (ac_int_of(x) == 500)
        abort();
    return ac_hold(x);
}
AC_JOB(end_at_500)

static ac_value compute_or_end_at_500(ac_value x) {
    ac_time until = ac_now() + 20 * 1000;
    while (ac_now() < until)
        continue;
    return end_at_500(x);
}
AC_JOB(compute_or_end_at_500)

static ac_value blow_up(ac_value x) {
    static char bytes[100000];
    bytes[0] = (char)ac_int_of(x);
    return ac_of_bytes(bytes, sizeof bytes);
}
AC_JOB(blow_up)

static ac_value make_large(ac_value bytes) {
    char *large = calloc(1, (size_t)ac_int_of(bytes));
    ac_value it = ac_of_bytes(large, (size_t)ac_int_of(bytes));
    free(large);
    return it;
}
AC_JOB(make_large)

static ac_value tell_a_pointer(ac_value x) {
    static int here;
    return ac_int_of(x) == 1 ? ac_of_pointer(&here) : ac_hold(x);
}
AC_JOB(tell_a_pointer)

static ac_value nap(ac_value x) {
    int err = ac_sleep(ac_real_of(x));
    return err ? ac_result(err) : ac_hold(x);
}
AC_JOB(nap)

static ac_value undeclared(ac_value x) { return ac_hold(x); }

JOBS_OF_THIS_TEST

static ac_computation *computation;
static ac_mapping *map;
static struct ac_mapped one;
static uint8_t seen[MANY];

static void open_one(void) {
    memset(seen, 0, sizeof seen);
    ck_assert_int_eq(ac_computation_open(&computation), 0);
}

static ac_value close_both(void) {
    ac_mapping_close(map);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

// The next result, whose index comes the first time.
static bool next_one(void) {
    int got = ac_mapping_next(map, &one, ac_after(60));
    ck_assert_int_ge(got, 0);
    if (got == 0)
        return false;
    ck_assert_int_ge(one.index, 0);
    ck_assert_int_lt(one.index, MANY);
    ck_assert_int_eq(seen[one.index]++, 0);
    ac_drop(one.value); // kinds without memory of their own stay readable
    return true;
}

static ac_value square_many(ac_value in_order) {
    int64_t count = 0;
    open_one();
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, square, .count = MANY, .in_order = ac_bool_of(in_order)),
        0);
    while (next_one()) {
        if (ac_bool_of(in_order))
            ck_assert_int_eq(one.index, count);
        ck_assert_int_eq(one.how, AC_FINISHED);
        ck_assert_int_eq(ac_int_of(one.value), one.index * one.index);
        count++;
    }
    ck_assert_int_eq(count, MANY);
    ck_assert_int_eq(ac_mapping_next(map, &one, AC_FOREVER), 0); // and again
    return close_both();
}

static ac_value square_both_ways(ac_value unused) {
    (void)unused;
    ac_value first = square_many(ac_of_bool(false));
    return ac_error_of(first) ? first : square_many(ac_of_bool(true));
}

TEST(every_argument_has_one_result_in_order_if_wanted) {
    world_begin("2");
    world_run(square_both_ways);
    world_end();
}

// Gives 7, 6, ... 1, and then what it is told to.
static int count_down(void *user, ac_value *item) {
    int *end = user;
    static int next = 7;
    if (next == 0)
        return *end;
    ck_assert_int_eq(ac_sleep(0), 0); // may wait
    *item = ac_of(next--);
    return 1;
}

static ac_value take_from_a_source(ac_value unused) {
    (void)unused;
    int end = -EILSEQ, count = 0;
    ac_value letters[] = {ac_of(1), ac_of(0), ac_of(2)};
    open_one();
    ck_assert_int_eq(ac_mapping_open(&map, computation, square, .source = count_down, .user = &end),
                     0);
    while (count < 7 && next_one()) {
        ck_assert_int_eq(ac_int_of(one.value), (7 - one.index) * (7 - one.index));
        count++;
    }
    ck_assert_int_eq(count, 7);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), -EILSEQ);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), -EILSEQ);
    ac_mapping_close(map);
    ck_assert_int_eq(ac_mapping_open(&map, computation, letter, .items = letters,
                                     .count = countof(letters), .in_order = true),
                     0);
    const char *const wanted[] = {"b", "a", "c"};
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
        ck_assert_str_eq(ac_text_of(one.value), wanted[i]);
        ac_drop(one.value);
    }
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 0);
    return close_both();
}

TEST(arguments_come_from_a_source_or_an_array) {
    world_begin("1");
    world_run(take_from_a_source);
    world_end();
}

static ac_value reduce(ac_value unused) {
    (void)unused;
    int64_t wanted = 0, failed = 0,
            all = (int64_t)MANY * (MANY - 1) / 2 * (2 * (int64_t)MANY - 1) / 3;
    open_one();
    for (int i = 0; i < 2; i++)
        (void)world_await(AC_WORKER_READY, 20);
    ck_assert_int_eq(ac_mapping_open(&map, computation, square, .count = MANY, .reduce = add), 0);
    // As a rule all that is on its way has ended by then, and is taken before more is given.
    ck_assert_int_eq(ac_mapping_next(map, &one, AC_NOW), -ETIMEDOUT);
    ck_assert_int_eq(ac_sleep(0.3), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
    ck_assert_int_eq(one.index, -1);
    ck_assert_int_eq(ac_int_of(one.value), all);
    ac_mapping_close(map);
    for (int64_t i = 0; i < MANY; i++)
        wanted += i % 10 == 4 ? 0 : i * i;
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, square_of_some, .count = MANY, .reduce = add), 0);
    while (ac_mapping_next(map, &one, ac_after(60)) == 1 && one.index >= 0) {
        ck_assert_int_eq(one.index % 10, 4);
        ck_assert_int_eq(seen[one.index]++, 0);
        ck_assert_int_eq(one.how, AC_FAILED);
        ck_assert_int_eq(ac_error_of(one.value), -EDOM);
        ac_drop(one.value);
        failed++;
    }
    ck_assert_int_eq(failed, MANY / 10);
    ck_assert_int_eq(one.index, -1);
    ck_assert_int_eq(one.how, AC_FINISHED);
    ck_assert_int_eq(ac_int_of(one.value), wanted);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 0);
    ac_mapping_close(map);
    // In order where that is wanted; nothing to reduce; a reduction that fails.
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, letter, .count = 26, .reduce = join, .in_order = true),
        0);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
    ck_assert_str_eq(ac_text_of(one.value), "abcdefghijklmnopqrstuvwxyz");
    ac_drop(one.value);
    ac_mapping_close(map);
    ck_assert_int_eq(ac_mapping_open(&map, computation, letter, .count = 0, .reduce = join), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
    ck_assert(ac_is_nil(one.value));
    ac_mapping_close(map);
    ck_assert_int_eq(ac_mapping_open(&map, computation, letter, .count = 26, .reduce = add), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
    ck_assert_int_eq(one.how, AC_FAILED);
    ck_assert_int_lt(ac_error_of(one.value), 0);
    ac_drop(one.value);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 0);
    ac_mapping_close(map);
    // An error of it stays, though the function would make a number of an error and a number.
    ck_assert_int_eq(ac_mapping_open(&map, computation, same, .count = 1000,
                                     .reduce = add_but_not_701, .in_order = true),
                     0);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
    ck_assert_int_eq(one.how, AC_FAILED);
    ck_assert_int_eq(ac_error_of(one.value), -ERANGE);
    ac_drop(one.value);
    return close_both();
}

TEST(results_are_reduced_and_errors_told) {
    world_begin("2");
    world_run(reduce);
    world_end();
}

static ac_value lose_one(ac_value unused) {
    (void)unused;
    int lost = 0, count = 0;
    open_one();
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, end_at_500, .count = 2000, .job.retries = 1), 0);
    for (; next_one(); count++) {
        ck_assert_int_eq(one.how, one.index == 500 ? AC_LOST : AC_FINISHED);
        lost += one.how == AC_LOST;
    }
    ck_assert_int_eq(count, 2000);
    ck_assert_int_eq(lost, 1);
    ac_mapping_close(map);
    // Where nothing may run twice those that had begun with it may be lost too: what a worker does
    // in some 200 us.
    memset(seen, 0, sizeof seen);
    ck_assert_int_eq(ac_mapping_open(&map, computation, compute_or_end_at_500, .count = 2000), 0);
    for (lost = count = 0; next_one(); count++) {
        ck_assert(one.how == AC_FINISHED || one.how == AC_LOST);
        ck_assert(one.index != 500 || one.how == AC_LOST);
        lost += one.how == AC_LOST;
    }
    ck_assert_int_eq(count, 2000);
    ck_assert_int_ge(lost, 1);
    ck_assert_int_le(lost, 200);
    return close_both();
}

TEST(an_argument_that_ends_workers_loses_itself_alone) {
    world_begin("2");
    world_run(lose_one);
    world_end();
}

static ac_value travel(ac_value unused) {
    (void)unused;
    static int here;
    int count = 0, failed = 0;
    open_one();
    ck_assert_int_eq(ac_mapping_open(&map, computation, blow_up, .count = 200, .in_order = true),
                     0);
    for (; ac_mapping_next(map, &one, ac_after(60)) == 1; count++) {
        ck_assert_int_eq(one.index, count);
        ck_assert_uint_eq(ac_span_of(one.value).bytes, 100000);
        ck_assert_int_eq(*(const uint8_t *)ac_span_of(one.value).at, count);
        ac_drop(one.value);
    }
    ck_assert_int_eq(count, 200);
    ac_mapping_close(map);
    ac_value items[] = {ac_of(0), ac_of(1), ac_of_pointer(&here), ac_of(3)};
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, tell_a_pointer, .items = items, .count = countof(items)),
        0);
    while (next_one()) {
        bool can = one.index == 0 || one.index == 3;
        ck_assert_int_eq(one.how, can ? AC_FINISHED : AC_FAILED);
        failed += !can;
    }
    ck_assert_int_eq(failed, 2);
    return close_both();
}

TEST(large_results_come_and_what_cannot_travel_has_failed) {
    world_begin("1");
    world_run(travel);
    world_end();
}

// What the worker makes of two arguments; it may stop after the first when time is up.
static ac_value run_two(int64_t bytes, int64_t other) {
    ac_value chunk = ac_list("make_large", ac_nil, bytes, other), result = ac_nil;
    for (int64_t count = 0; count != 2;) {
        ac_drop(result);
        result = mapping_entry.function(chunk);
        ac_value first = ac_at(result, 0);
        count = ac_int_of(first);
        ac_drop(first);
    }
    ac_drop(chunk);
    return result;
}

// A result that is as large as may be goes with those that came before it, and what is larger is an
// error by itself.
static ac_value fill_a_chunk(ac_value unused) {
    (void)unused;
    const int64_t small = (32 << 10) - 10, head = 5;
    const int64_t most = (int64_t)BATCH_ITEM_BYTES_MAX - (64 << 10) - head;
    for (int64_t over = 0; over < 2; over++) {
        ac_value result = run_two(small, most + over);
        ck_assert_int_eq(batch_fits(result), 0);
        ac_value first = ac_at(result, 1), last = ac_at(result, 2);
        ck_assert_int_eq(ac_span_of(first).bytes, small);
        ck_assert_int_eq(ac_error_of(last), over ? -EMSGSIZE : 0);
        static const char why[] = "the result of the job cannot travel";
        if (over)
            ck_assert_mem_eq(ac_span_of(last).at, why, sizeof why - 1);
        else
            ck_assert_int_eq(ac_span_of(last).bytes, most);
        ac_drop(first);
        ac_drop(last);
        ac_drop(result);
    }
    return ac_nil;
}

TEST(the_largest_result_goes_with_others) {
    world_make();
    world_run(fill_a_chunk);
    world_clean();
}

static ac_value take_the_other(ac_value unused) {
    (void)unused;
    struct ac_mapped result;
    return ac_of(ac_mapping_next(map, &result, AC_FOREVER));
}

static ac_value close_early(ac_value unused) {
    (void)unused;
    ac_value naps[] = {ac_of(60.0), ac_of(60.0), ac_of(0.0)};
    struct ac_exit end;
    open_one();
    ck_assert_int_eq(ac_mapping_open(&map, computation, nap, .items = naps, .count = 3), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, AC_NOW), -ETIMEDOUT);
    ac_mapping_close(map); // its jobs are cancelled, or never begin
    ac_mapping_close(NULL);
    ck_assert_int_eq(ac_mapping_open(&map, computation, nap, .items = naps, .count = 3), 0);
    // The same cancelled naps do not stand in the way of this one.
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(60)), 1);
    ck_assert_int_eq(one.index, 2);
    ac_ref other = ac_spawn(take_the_other, ac_nil, .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, AC_NOW), -EBUSY);
    // Who waits is told when the computation closes: of what was cancelled, or of the closing.
    ac_value closed = ac_result(ac_computation_close(computation, AC_NOW));
    ck_assert_int_eq(ac_join(other, &end, ac_after(60)), 0);
    ck_assert(ac_int_of(end.value) == 1 || ac_int_of(end.value) == -ECANCELED);
    return closed;
}

TEST(one_that_is_closed_leaves_nothing_running) {
    world_begin("3");
    world_run(close_early);
    world_end();
}

// Short ones, so that chunks become long, and then long ones.
static int nap_long_at_last(void *user, ac_value *item) {
    int *given = user;
    *item = ac_of(*given < 1000 ? 0.0 : 60.0);
    return ++*given <= 1040;
}

// As `asyncoro cancel` does: whatever a chunk has not come to yet is cancelled with it.
static ac_value cancel_chunks(ac_value unused) {
    (void)unused;
    int given = 0, ended = 0, cancelled = 0, got;
    ac_ref desk;
    ac_value answer;
    open_one();
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, nap, .source = nap_long_at_last, .user = &given), 0);
    for (; given <= 1040; ended++) // until all are on their way
        ck_assert(next_one());
    ck_assert_int_eq(ac_locate(SCHEDULER_DESK_NAME, &desk, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert_int_eq(ac_call(desk, ac_list("cancel", 1, 0), &answer, ac_after(TEST_PATIENCE_S)), 0);
    ck_assert(ac_bool_of(answer));
    while ((got = ac_mapping_next(map, &one, ac_after(30))) > 0) {
        ck_assert(one.index < 1000 || one.how == AC_CANCELLED ||
                  ac_error_of(one.value) == -ECANCELED);
        cancelled += one.how == AC_CANCELLED;
        ac_drop(one.value);
        ended++;
    }
    ck_assert_int_eq(got, 0);
    ck_assert_int_eq(ended, 1040);
    ck_assert_int_gt(cancelled, 0);
    return close_both();
}

TEST(what_is_cancelled_is_not_sent_again) {
    world_make();
    world_start_scheduler();
    world_start_node("1");
    world_run(cancel_chunks);
    world_end();
}

// Other jobs of the computation, as many as it may have, which nobody ends.
static ac_value map_beside_many(ac_value unused) {
    (void)unused;
    static char other;
    const uint64_t first = (uint64_t)1 << 40;
    open_one();
    ck_assert_int_eq(ac_mapping_open(&map, computation, square, .count = 3, .in_order = true), 0);
    for (uint64_t i = 0; i < JOBS_MAX; i++)
        ck_assert_int_eq(map_put_id(&computation->jobs, first + i, &other), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(0.05)), -ETIMEDOUT);
    ck_assert_int_eq(ac_mapping_next(map, &one, ac_after(0.05)), -ETIMEDOUT);
    for (uint64_t i = 0; i < JOBS_MAX; i++)
        ck_assert_ptr_eq(map_take_id(&computation->jobs, first + i), &other);
    for (int64_t i = 0; i < 3; i++) {
        ck_assert(next_one());
        ck_assert_int_eq(one.index, i);
    }
    ck_assert_int_eq(ac_mapping_next(map, &one, AC_FOREVER), 0);
    return close_both();
}

TEST(who_takes_results_waits_no_longer_than_he_says) {
    world_begin("1");
    world_run(map_beside_many);
    world_end();
}

static int close_meanwhile(void *user, ac_value *item) {
    (void)user;
    ac_mapping_close(map);
    *item = ac_of("in vain");
    return 1;
}

static ac_value misuse(ac_value unused) {
    (void)unused;
    int end = 0;
    ck_assert_int_eq(ac_mapping_next(NULL, &one, AC_NOW), -EINVAL);
    open_one();
    ck_assert_int_eq(ac_mapping_open(&map, computation, undeclared, .count = 1), -ENOSYS);
    ck_assert_int_eq(ac_mapping_open(&map, computation, square, .count = 1, .reduce = undeclared),
                     -ENOSYS);
    ck_assert_int_eq(
        ac_mapping_open(&map, computation, square, .count = 1, .source = count_down, .user = &end),
        -EINVAL);
    ck_assert_int_eq(ac_mapping_open(&map, computation, square, .job.seconds_max = -1), -EINVAL);
    ck_assert_int_eq(ac_mapping_open(&map, computation, square, .source = close_meanwhile), 0);
    ck_assert_int_eq(ac_mapping_next(map, &one, AC_FOREVER), -ECANCELED);
    return ac_result(ac_computation_close(computation, AC_FOREVER));
}

TEST(misuse_is_an_error) {
    ac_mapping *none;
    ck_assert_int_eq(ac_mapping_open(&none, NULL, square, .count = 1), -EPERM);
    ck_assert_int_eq(ac_mapping_next(NULL, &one, AC_NOW), -EPERM);
    world_begin("1");
    world_run(misuse);
    world_end();
}
