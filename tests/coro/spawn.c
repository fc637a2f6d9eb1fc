// SPDX-License-Identifier: MIT
// Tests of src/coro/spawn.c: spawning, names, records used again, memory that runs out.
#include "coro/coro.h"
#include "coro/story.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static void run(void) { ck_assert_int_eq(ac_run(), 0); }

static ac_value letter(ac_value it) {
    tell((char)ac_int_of(it));
    return ac_nil;
}

static ac_value nothing(ac_value unused) {
    (void)unused;
    return ac_nil;
}

// ---- spawning ----

TEST(coroutines_run_in_the_order_in_which_they_were_spawned_and_not_inside_spawn) {
    for (char it = 'a'; it <= 'j'; it++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(letter, it)), 0);
    ck_assert_str_eq(story, "");
    run();
    ck_assert_str_eq(story, "abcdefghij");
}

static ac_value spawn_two(ac_value unused) {
    (void)unused;
    tell('<');
    ac_spawn(letter, 'x');
    ac_spawn(letter, 'y');
    tell('>');
    return ac_nil;
}

TEST(a_new_coroutine_stands_behind_all_that_were_ready) {
    ac_spawn(spawn_two, ac_nil);
    ac_spawn(letter, 'b');
    run();
    ck_assert_str_eq(story, "<>bxy");
}

static ac_ref self_seen;
static int64_t argument_seen;

static ac_value look(ac_value argument) {
    argument_seen = ac_int_of(argument);
    self_seen = ac_self();
    return ac_nil;
}

TEST(a_coroutine_gets_its_argument_and_knows_the_reference_that_spawn_returned) {
    ac_ref ref = ac_spawn(look, 7);
    run();
    ck_assert_int_eq(argument_seen, 7);
    ck_assert(ac_ref_equal(ref, self_seen));
    ck_assert(ac_ref_equal(ac_self(), ac_no_ref));
}

static ac_value hold_argument(ac_value argument) { return ac_hold(argument); }
static ac_value ignore_argument(ac_value argument) {
    ck_assert_str_eq(ac_text_of(argument), "some text that takes memory");
    return ac_nil;
}

TEST(the_argument_belongs_to_the_runtime_and_is_dropped) { // the sanitizer looks for leaks
    for (int i = 0; i < 3; i++) {
        ac_spawn(hold_argument, "some text that takes memory");
        ac_spawn(ignore_argument, "some text that takes memory");
    }
    run();
}

TEST(what_cannot_be_spawned_is_refused_and_its_argument_dropped) {
    ck_assert_int_eq(ac_ref_error(ac_spawn(NULL, "dropped text")), -EINVAL);
    ac_ref huge = ac_spawn(letter, "dropped text", .stack_bytes = AC_STACK_BYTES_MAX + 1);
    ck_assert_int_eq(ac_ref_error(huge), -EINVAL);
    huge = ac_spawn(letter, "dropped text", .stack_bytes = SIZE_MAX);
    ck_assert_int_eq(ac_ref_error(huge), -EINVAL);
    ck_assert_int_eq(ac_ref_error(ac_spawn(letter, "\xff")), -EILSEQ);
    ck_assert_int_eq(ac_ref_error(ac_spawn(letter, UINT64_MAX)), -ERANGE);
    ck_assert_uint_eq(loop_living(loop_here), 0);
    run();
    ck_assert_str_eq(story, "");
}

TEST(spawn_with_takes_no_options_for_defaults) {
    ck_assert_int_eq(ac_ref_error(ac_spawn_with(letter, ac_of('a'), NULL)), 0);
    run();
    ck_assert_str_eq(story, "a");
}

static __attribute__((noinline)) ac_value deep(ac_value kib) {
    volatile char block[1024];
    for (size_t i = 0; i < sizeof block; i += 64)
        block[i] = (char)i;
    if (ac_int_of(kib) > 1)
        ac_drop(deep(ac_of(ac_int_of(kib) - 1)));
    return ac_of((int)block[0]);
}

static ac_value deep_and_tell(ac_value kib) {
    ac_drop(deep(kib));
    tell('.');
    return ac_nil;
}

TEST(a_stack_has_the_size_that_was_asked_for) {
    ac_spawn(deep_and_tell, 8, .stack_bytes = AC_STACK_BYTES_MIN);
    ac_spawn(deep_and_tell, 40);
    ac_spawn(deep_and_tell, 40, .stack_bytes = (16 << 10) + 1);
    ac_spawn(deep_and_tell, 170, .stack_bytes = 65 << 10);
    ac_spawn(deep_and_tell, 700, .stack_bytes = 1 << 20);
    ac_spawn(deep_and_tell, 5800, .stack_bytes = AC_STACK_BYTES_MAX);
    run();
    ck_assert_str_eq(story, "......");
}

static ac_value yield_once(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

static uint64_t ended_count;

static ac_value count_end(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_sleep(0.01), 0);
    ended_count++;
    return ac_nil;
}

TEST(a_hundred_thousand_coroutines_live_at_once, .seconds_max = 120) {
    for (int i = 0; i < TEST_COROUTINES_MAX; i++)
        ck_assert_int_eq(ac_ref_error(ac_spawn(count_end, i)), 0);
    ck_assert_uint_eq(loop_living(loop_here), TEST_COROUTINES_MAX);
    run();
    ck_assert_uint_eq(ended_count, TEST_COROUTINES_MAX);
}

static ac_value use_one_stack_after_another(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3000; i++) {
        ac_spawn(i % 2 ? nothing : yield_once, ac_nil);
        if (i % 3 == 0)
            ck_assert_int_eq(ac_yield(), 0);
    }
    return ac_nil;
}

TEST(records_and_stacks_are_used_again) {
    ac_spawn(use_one_stack_after_another, ac_nil);
    struct loop *loop = loop_here;
    // Not ac_run, which would end the loop.
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_le(loop->coro_count, 12);
    ck_assert_uint_eq(loop_living(loop), 0);
    ck_assert_uint_eq(loop->alive, 0);
    run();
}

// ---- names ----

TEST(a_coroutine_has_the_name_it_was_given_while_it_lives) {
    ac_ref named = ac_spawn(yield_once, ac_nil, .name = "server");
    ac_ref unnamed = ac_spawn(yield_once, ac_nil);
    ac_ref kept = ac_spawn(nothing, ac_nil, .name = "kept", .joinable = true);
    ck_assert_str_eq(ac_name_of(named), "server");
    ck_assert_str_eq(ac_name_of(unnamed), "");
    ck_assert_str_eq(ac_name_of(kept), "kept");
    ck_assert_str_eq(ac_name_of(ac_no_ref), "");
    ck_assert_int_eq(loop_run(loop_here), 0);
    ck_assert_str_eq(ac_name_of(named), "");
    ck_assert_str_eq(ac_name_of(kept), "");
    run();
    ck_assert_str_eq(ac_name_of(named), "");
}

static ac_value end_and_look(ac_value unused) {
    (void)unused;
    ac_ref kept = ac_spawn(nothing, ac_nil, .name = "kept", .joinable = true);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_str_eq(ac_name_of(kept), "");
    ck_assert_int_eq(ac_cancel(kept), -ESRCH);
    ck_assert_int_eq(ac_resume(kept, 1), -ESRCH);
    return ac_nil;
}

TEST(one_that_has_ended_and_is_kept_is_only_there_for_joining) {
    ac_spawn(end_and_look, ac_nil);
    run();
}

TEST(a_coroutine_is_described_by_number_name_place_and_stack) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    struct ac_spawn_options how = {
        .size = sizeof how, .name = "worker", .where = "main.c:12", .stack_bytes = 1 << 20};
    struct coro *coro = coro_create(loop, nothing, ac_nil, &how, false, &err);
    char text[512];
    size_t length = coro_describe(coro, text, sizeof text - 1);
    text[length] = '\0';
    ck_assert_str_eq(text, "coroutine #0 'worker', spawned at main.c:12, stack of 1024 KiB: spawn "
                           "it with a larger .stack_bytes");
    for (size_t bytes = 0; bytes < sizeof text; bytes++)
        ck_assert_uint_le(coro_describe(coro, text, bytes), bytes);
    uint64_t id = coro->id;
    coro->id = ref_id(REF_COROUTINE, 0, 0xffffff, 1);
    coro->name = coro->where = NULL;
    length = coro_describe(coro, text, 20);
    ck_assert_uint_eq(length, 20);
    ck_assert_int_eq(memcmp(text, "coroutine #16777215,", 20), 0);
    coro->id = id;
    run();
}

// ---- references ----

static ac_value sleep_until_cancelled(ac_value unused) {
    (void)unused;
    ck_assert_int_eq(ac_sleep(1000), -ECANCELED);
    return ac_nil;
}

static ac_value use_records_again(ac_value unused) {
    (void)unused;
    ac_ref old = ac_spawn(nothing, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    ac_ref new = ac_spawn(sleep_until_cancelled, ac_nil, .name = "new");
    ck_assert_uint_eq(ref_index(old.id), ref_index(new.id)); // the same record
    ck_assert(!ac_ref_equal(old, new));
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_str_eq(ac_name_of(old), "");
    ck_assert_int_eq(ac_cancel(old), -ESRCH);
    ck_assert_int_eq(ac_resume(old, 1), -ESRCH);
    ck_assert_int_eq(ac_join(old, NULL, AC_FOREVER), -ESRCH);
    ck_assert_str_eq(ac_name_of(new), "new");
    ck_assert_int_eq(ac_cancel(new), 0);
    return ac_nil;
}

TEST(a_stale_reference_finds_nothing_after_its_record_was_used_again) {
    ac_spawn(use_records_again, ac_nil);
    run();
}

static ac_value use_generations_up(ac_value unused) {
    (void)unused;
    ac_ref first = ac_spawn(nothing, ac_nil);
    ck_assert_int_eq(ac_yield(), 0);
    struct coro *record = loop_here->free;
    ck_assert_uint_eq(ref_index(record->id), ref_index(first.id));
    record->id |= (uint64_t)UINT32_MAX << 32;
    ac_ref last = ac_spawn(nothing, ac_nil);
    ck_assert_uint_eq(ref_generation(last.id), UINT32_MAX);
    ck_assert_uint_eq(ref_index(last.id), ref_index(first.id));
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_cancel(last), -ESRCH);
    ac_ref zero = {.peer = last.peer, .id = last.id & 0xffffffff};
    ck_assert_int_eq(ac_cancel(zero), -ESRCH);
    ac_ref next = ac_spawn(nothing, ac_nil);
    ck_assert_uint_ne(ref_index(next.id), ref_index(first.id));
    return ac_nil;
}

TEST(a_record_whose_generations_are_used_up_is_left_aside) {
    ac_spawn(use_generations_up, ac_nil);
    run();
}

TEST(there_is_a_limit_to_the_number_of_coroutines) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    loop->coro_count = LOOP_COROS_MAX;
    ck_assert_int_eq(ac_ref_error(ac_spawn(letter, "dropped text")), -EAGAIN);
    loop->coro_count = 0;
    run();
}

TEST(coroutines_run_where_address_space_is_short) {
    TEST_SKIP_SANITIZED("a sanitizer needs more address space than it could have");
    for (rlim_t mib = 400; mib <= 6400; mib *= 2) {
        struct rlimit limit = {.rlim_cur = mib << 20, .rlim_max = RLIM_INFINITY};
        ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
        ck_assert_int_eq(ac_ref_error(ac_spawn(count_end, 1)), 0);
        run();
    }
    ck_assert_uint_eq(ended_count, 5);
}

// ---- memory that runs out ----

static ac_value return_argument(ac_value it) { return ac_hold(it); }

static struct ac_exit join(ac_ref ref) {
    struct ac_exit end = {0};
    ck_assert_int_eq(ac_join(ref, &end, ac_after(10)), 0);
    ck_assert(ac_ref_equal(end.who, ref));
    return end;
}

TEST(spawn_and_run_survive_the_failure_of_any_allocation) {
    bool failed = true;
    for (int n = 1; failed; n++) {
        ck_assert_int_lt(n, 100);
        memory_fail_nth(n);
        ac_ref ref = ac_spawn(return_argument, "some text that takes memory", .joinable = true);
        int err = ac_ref_error(ref);
        ck_assert(err == 0 || err == -ENOMEM);
        err = ac_run(); // a coroutine that gets no stack has failed
        ck_assert(err == 0 || err == -ENOMEM);
        failed = memory_has_failed();
    }
    memory_fail_nth(0);
}

TEST(spawn_survives_the_failure_of_any_allocation_when_there_are_many) {
    int err = 0;
    struct loop *loop = loop_need(&err);
    uint32_t spawned = 0;
    enum { ROUND = 512 };
    for (int n = 1; n < 40 && n * ROUND < TEST_COROUTINES_MAX; n++) {
        memory_fail_nth(n);
        for (int i = 0; i < ROUND; i++) {
            err = ac_ref_error(ac_spawn(count_end, i));
            ck_assert(err == 0 || err == -ENOMEM);
            spawned += err == 0;
        }
    }
    memory_fail_nth(0);
    ck_assert_uint_eq(loop_living(loop), spawned);
    run();
    ck_assert_uint_eq(ended_count, spawned);
}

static ac_value spawn_without_memory_for_the_stack(ac_value unused) {
    (void)unused;
    ac_ref ref = ac_spawn(letter, 'x', .stack_bytes = 1 << 20);
    ac_ref next = ac_spawn(return_argument, 5, .joinable = true);
    memory_fail_nth(1);
    struct ac_exit end = join(ref);
    ck_assert(memory_has_failed());
    ck_assert_int_eq(end.how, AC_FAILED);
    ck_assert_int_eq(end.reason, -ENOMEM);
    ck_assert_int_eq(ac_error_of(end.value), -ENOMEM);
    ac_drop(end.value);
    end = join(next);
    ck_assert_int_eq(ac_int_of(end.value), 5);
    return ac_nil;
}

TEST(a_coroutine_for_whose_stack_there_is_no_memory_fails) {
    ac_spawn(spawn_without_memory_for_the_stack, ac_nil);
    run();
    ck_assert_str_eq(story, "");
}

static ac_value go_beyond(ac_value last) {
    if (!ac_bool_of(last)) // its neighbour will be damaged
        return ac_result(ac_sleep(1));
    // Its top is up to 208 bytes below the end of its place.
    char *low = (char *)coro_here()->stack - AC_STACK_BYTES_SMALL + 16;
    for (volatile char *at = low; at < low + 300; at++)
        *at = 1;
    (void)ac_yield();
    return ac_nil;
}

TEST(who_goes_beyond_a_small_stack_ends_the_process_when_it_waits, .signal = SIGABRT) {
    TEST_SKIP_SANITIZED("under a sanitizer there are no small stacks");
    for (int i = 0; i < 4; i++)
        ac_spawn(go_beyond, i == 3, .stack_bytes = AC_STACK_BYTES_SMALL, .name = "glutton");
    (void)ac_run();
}

static ac_value count_to_three(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ac_yield(), 0);
    return ac_nil;
}

TEST(a_small_stack_is_enough_to_wait) {
    for (int i = 0; i < 1000; i++)
        ac_spawn(count_to_three, ac_nil, .stack_bytes = AC_STACK_BYTES_SMALL);
    ck_assert_int_eq(ac_run(), 0);
}
