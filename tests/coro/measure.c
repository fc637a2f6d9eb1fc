// SPDX-License-Identifier: MIT
// Tests of src/coro/measure.c: what is known of the stacks that coroutines used.
#include <asyncoro/debug.h>

#include "coro/coro.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef SYS_SANITIZED
enum { OWN_BYTES_MAX = 16 << 10 }; // what the library and the frames around need at the most
#else
enum { OWN_BYTES_MAX = 2 << 10 };
#endif

static ac_ref spawn_at(const char *where, ac_function function, size_t bytes) {
    struct ac_spawn_options how = {
        .size = sizeof how, .where = where, .name = where, .stack_bytes = 256 << 10};
    return ac_spawn_with(function, ac_of(bytes), &how);
}

// Never inlined, so that its frame is gone when it returns.
static __attribute__((noinline)) void use_stack(size_t bytes) {
    volatile char *block = __builtin_alloca(bytes);
    for (size_t i = 0; i < bytes; i += 64)
        block[i] = (char)i;
    block[0] = 1;
}

static ac_value use(ac_value bytes) {
    use_stack((size_t)ac_int_of(bytes));
    return ac_nil;
}

static ac_value use_late(ac_value bytes) {
    ck_assert_int_eq(ac_yield(), 0);
    return use(bytes);
}

static void must_be(const struct ac_stack_use *use, const char *where, size_t bytes,
                    uint64_t count) {
    ck_assert_str_eq(use->where, where);
    ck_assert_str_eq(use->name, where);
    ck_assert_msg(use->used_bytes >= bytes && use->used_bytes < bytes + OWN_BYTES_MAX,
                  "%s: %zu used", where, use->used_bytes);
    ck_assert_uint_eq(use->stack_bytes, 256 << 10);
    ck_assert_uint_eq(use->count, count);
}

static ac_value use_and_look(ac_value unused) {
    spawn_at("b", use, 50000);
    spawn_at("a", use, 20000); // on the same stack
    spawn_at("c", use_late, 100000);
    spawn_at("a", use, 30000);
    spawn_at("a", use, 1000);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    struct ac_stack_use uses[8];
    ck_assert_uint_eq(ac_stack_uses(uses, countof(uses)), 3);
    must_be(&uses[0], "c", 100000, 1);
    must_be(&uses[1], "b", 50000, 1);
    must_be(&uses[2], "a", 30000, 3);
    ck_assert_uint_eq(ac_stack_uses(uses, 2), 2);
    ck_assert_str_eq(uses[1].where, "b");
    ck_assert_uint_eq(ac_stack_uses(uses, 0), 0);
    ck_assert_uint_eq(ac_stack_uses(NULL, 2), 0);
    return unused;
}

TEST(the_greatest_use_of_each_place_is_known) {
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    ac_spawn(use_and_look, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value measure_later(ac_value unused) {
    // What was used before does not count: on used stacks, on stacks that wait, on this one.
    for (int i = 0; i < 10; i++)
        spawn_at("before", i % 2 ? use_late : use, 150000);
    use_stack(150000);
    ck_assert_int_eq(ac_yield(), 0);
    spawn_at("waits", use_late, 10000);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    spawn_at("waits", use_late, 10000);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    for (int i = 0; i < 20; i++)
        spawn_at("after", use, 20000);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    struct ac_stack_use uses[8];
    ck_assert_uint_eq(ac_stack_uses(uses, countof(uses)), 2);
    must_be(&uses[0], "after", 20000, 20);
    must_be(&uses[1], "waits", 10000, 1);

    ck_assert_int_eq(ac_measure_stacks(false), 0);
    spawn_at("after", use, 90000);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_uint_eq(ac_stack_uses(uses, countof(uses)), 2);
    must_be(&uses[0], "after", 20000, 20);
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    spawn_at("after", use, 30000);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_uint_eq(ac_stack_uses(uses, countof(uses)), 2);
    must_be(&uses[0], "after", 30000, 21);
    return unused;
}

TEST(measuring_can_begin_and_end_at_any_time) {
    spawn_at("self", measure_later, 0);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value look_at_self(ac_value unused) {
    use_stack(150000);
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    return unused;
}

static ac_value spawn_look_at_self(ac_value unused) {
    spawn_at("self", look_at_self, 0);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    struct ac_stack_use it;
    ck_assert_uint_eq(ac_stack_uses(&it, 1), 1);
    must_be(&it, "self", 0, 1);
    return unused;
}

TEST(what_one_used_before_he_began_to_measure_does_not_count) {
    ac_spawn(spawn_look_at_self, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// How many pages of one's own stack have memory.
static size_t pages_used(void) {
    const struct coro *self = coro_here();
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
    size_t pages = sys_stack_bytes(self->stack_class) / page;
    unsigned char there[64];
    ck_assert_uint_le(pages, sizeof there);
    char *low = (char *)((uintptr_t)self->stack & ~(page - 1)) - (pages - 1) * page;
    ck_assert_int_eq(mincore(low, pages * page, there), 0);
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    return count;
}

static ac_value trim(ac_value measured) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    use_stack(150000);
    size_t before = pages_used();
    ck_assert_uint_ge(before, 150000 / page);
    coro_trim_stack();
    if (ac_int_of(measured)) {
        ck_assert_uint_eq(pages_used(), before);
        return ac_nil;
    }
    ck_assert_uint_le(pages_used(), 1 + (OWN_BYTES_MAX + page - 1) / page);
    for (int i = 0; i < 3; i++) {
        use_stack(150000);
        ck_assert_int_eq(ac_yield(), 0);
        coro_trim_stack();
    }
    return ac_nil;
}

TEST(a_stack_that_is_trimmed_gives_back_what_lies_below_its_frames) {
    spawn_at("trims", trim, 0);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(while_stacks_are_measured_none_is_trimmed) {
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    spawn_at("measured", trim, 1);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(where_there_is_no_loop_nothing_was_measured) {
    struct ac_stack_use use;
    ck_assert_uint_eq(ac_stack_uses(&use, 1), 0);
    ck_assert_int_eq(ac_measure_stacks(false), 0);
    ck_assert_ptr_null(loop_here);
}

static ac_value look_without_memory(ac_value n) {
    char where[20];
    snprintf(where, sizeof where, "place %d", (int)ac_int_of(n));
    spawn_at(where, use, 1000);
    memory_fail_nth(ac_int_of(n));
    ck_assert_int_eq(ac_yield(), 0);
    bool failed = memory_has_failed();
    memory_fail_nth(0);
    struct ac_stack_use uses[2];
    ck_assert_uint_eq(ac_stack_uses(uses, 2), failed ? 0 : 1);
    return ac_of(failed ? 1 : 0);
}

// Nobody but the measuring allocates there.
static ac_value each_allocation_fails(ac_value unused) {
    spawn_at("first", use, 1000); // which has its stack made
    ck_assert_int_eq(ac_yield(), 0);
    for (int n = 1;; n++) {
        measure_end(loop_here); // so that each round begins without any place
        ck_assert_int_eq(measure_begin(loop_here, false), 0);
        struct ac_exit end;
        ac_ref it = ac_spawn(look_without_memory, n, .joinable = true);
        ck_assert_int_eq(ac_join(it, &end, AC_FOREVER), 0);
        if (ac_int_of(end.value) == 0) {
            ck_assert_int_gt(n, 3);
            return unused;
        }
    }
}

TEST(a_place_for_which_there_is_no_memory_is_left_out) {
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    ac_spawn(each_allocation_fails, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value use_many_places(ac_value unused) {
    enum { PLACES_MAX = 4096 };
    static char wheres[PLACES_MAX + 1][8];
    for (int i = 0; i <= PLACES_MAX; i++) {
        snprintf(wheres[i], sizeof wheres[i], "%d", i);
        spawn_at(wheres[i], use, 100);
    }
    ck_assert_int_eq(ac_sleep(0.001), 0);
    struct ac_stack_use *uses = malloc((PLACES_MAX + 1) * sizeof *uses);
    ck_assert_uint_eq(ac_stack_uses(uses, PLACES_MAX + 1), PLACES_MAX);
    free(uses);
    return unused;
}

TEST(so_many_places_are_told_apart_and_no_more) {
    ck_assert_int_eq(ac_measure_stacks(true), 0);
    ac_spawn(use_many_places, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(without_memory_nothing_is_measured) {
    int err = -ENOMEM;
    for (long n = 1; err != 0; n++) {
        memory_fail_nth(n);
        err = ac_measure_stacks(true);
        ck_assert(err == -ENOMEM || (err == 0 && !memory_has_failed()));
        memory_fail_nth(0);
        ck_assert_int_eq(ac_run(), 0);
    }
}

TEST(ac_debug_has_it_written_when_the_loop_ends) {
    setenv("AC_DEBUG", "stack", 1);
    FILE *file = tmpfile();
    int before = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    spawn_at("x.c:1", use, 60000);
    spawn_at("x.c:1", use, 70000);
    spawn_at(NULL, use, 1000);
    ck_assert_int_eq(ac_run(), 0);
    dup2(before, STDERR_FILENO);
    rewind(file);
    char line[200];
    ck_assert_str_eq(fgets(line, sizeof line, file),
                     "asyncoro: loop 0: stacks used, by the places of spawning\n");
    unsigned used;
    int end = 0;
    sscanf(fgets(line, sizeof line, file),
           "asyncoro:   %u of 262144 bytes at x.c:1 'x.c:1', by 2 coroutines%n", &used, &end);
    ck_assert_msg(end > 0 && used >= 70000 && used < 70000 + OWN_BYTES_MAX, "%s", line);
    end = 0;
    sscanf(fgets(line, sizeof line, file), "asyncoro:   %u of 262144 bytes at ?, by 1 coroutine%n",
           &used, &end);
    ck_assert_msg(end > 0, "%s", line);
    ck_assert_ptr_null(fgets(line, sizeof line, file));
}
