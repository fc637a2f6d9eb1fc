// SPDX-License-Identifier: MIT
// Tests of src/coro/inspect.c: what is told of each coroutine, the list, counters.
#include <asyncoro/debug.h>
#include <asyncoro/message.h>

#include "coro/coro.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ac_coroutine_info seen[16];
static size_t seen_count;

static bool note(const struct ac_coroutine_info *info, void *context) {
    ck_assert_ptr_eq(context, seen);
    ck_assert_uint_lt(seen_count, countof(seen));
    seen[seen_count++] = *info;
    return true;
}

static void look(void) {
    seen_count = 0;
    size_t told = ac_each_coroutine(note, seen);
    ck_assert_uint_eq(told, seen_count);
}

static const struct ac_coroutine_info *find(const char *name) {
    for (size_t i = 0; i < seen_count; i++)
        if (strcmp(seen[i].name, name) == 0)
            return &seen[i];
    return NULL;
}

static ac_value receive_twice(ac_value unused) {
    ac_value message;
    for (int i = 0; i < 2 && ac_receive(&message, AC_FOREVER) == 0; i++)
        ac_drop(message);
    return unused;
}

static ac_value sleep_long(ac_value unused) {
    (void)ac_sleep(3600);
    return unused;
}

// Goes on waiting after it was cancelled.
static ac_value linger(ac_value unused) {
    ck_assert_int_eq(ac_sleep(3600), -ECANCELED);
    for (int i = 0; i < 20; i++)
        (void)ac_sleep(3600);
    return unused;
}

static ac_value nothing(ac_value unused) { return unused; }

static ac_ref receiver, sleeper;

static ac_ref spawn_at(const char *where, ac_function function, const char *name, bool daemon) {
    struct ac_spawn_options how = {
        .size = sizeof how, .where = where, .name = name, .daemon = daemon};
    return ac_spawn_with(function, ac_nil, &how);
}

static ac_value look_at_all(ac_value unused) {
    receiver = spawn_at("r.c:1", receive_twice, "receiver", false);
    sleeper = ac_spawn(sleep_long, ac_nil, .name = "sleeper", .daemon = true);
    ac_ref lingerer = ac_spawn(linger, ac_nil, .name = "lingerer", .stack_bytes = 300 << 10);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_sleep(0.02), 0);
    ck_assert_int_eq(ac_cancel(lingerer), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ac_spawn(nothing, ac_nil, .name = "new");
    look();
    ck_assert_uint_eq(seen_count, 5);

    const struct ac_coroutine_info *it = find("receiver");
    ck_assert(ac_ref_equal(it->who, receiver));
    ck_assert_str_eq(it->where, "r.c:1");
    ck_assert_str_eq(it->waiting, "receive");
    ck_assert(it->since_s >= 0.015 && it->since_s < 30);
    ck_assert_int_eq(it->deadline, AC_FOREVER);
    ck_assert_uint_gt(it->stack_bytes, 0);
    ck_assert(!it->daemon && !it->cancelled && !it->internal);

    it = find("sleeper");
    ck_assert_str_eq(it->waiting, "sleep");
    ck_assert(it->deadline > ac_after(3000) && it->deadline < ac_after(3601));
    ck_assert(it->daemon && !it->cancelled);
    ck_assert_ptr_nonnull(strstr(it->where, "inspect.c:"));

    it = find("lingerer");
    ck_assert_uint_eq(it->stack_bytes, 1 << 20);
    ck_assert(it->cancelled);

    it = find("self");
    ck_assert_str_eq(it->waiting, "running");
    ck_assert(it->since_s == 0 && ac_ref_equal(it->who, ac_self()));

    it = find("new");
    ck_assert_str_eq(it->waiting, "ready");
    ck_assert_uint_eq(it->stack_bytes, 0);

    // Two messages: the first goes to the one who waits, the second into the mailbox.
    ac_send(receiver, 1);
    ac_send(receiver, 2);
    look();
    ck_assert_str_eq(find("receiver")->waiting, "ready");
    ck_assert_uint_eq(find("receiver")->mailbox, 1);
    return unused;
}

TEST(each_coroutine_is_told_of_with_what_it_waits_for) {
    ac_spawn(look_at_all, ac_nil, .name = "self");
    ck_assert_int_eq(ac_run(), 0);
}

static bool note_two(const struct ac_coroutine_info *info, void *context) {
    (void)note(info, context);
    return seen_count < 2;
}

TEST(the_telling_ends_when_it_is_told_to_and_keeps_the_order_of_the_records) {
    ac_ref all[5];
    for (int i = 0; i < 5; i++)
        all[i] = ac_spawn(nothing, ac_nil);
    ck_assert_uint_eq(ac_each_coroutine(note_two, seen), 2);
    look();
    ck_assert_uint_eq(seen_count, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert(ac_ref_equal(seen[i].who, all[i]));
        ck_assert_str_eq(seen[i].name, "");
    }
    ck_assert_int_eq(ac_run(), 0);
}

TEST(where_there_is_no_loop_there_is_nothing_to_tell) {
    ck_assert_uint_eq(ac_each_coroutine(note, seen), 0);
    ac_list_coroutines();
    struct ac_counters counters = {.size = sizeof counters};
    ck_assert_int_eq(ac_counters(&counters), -EPERM);
}

static ac_value kept(ac_value unused) { return unused; }

static ac_value look_after_ends(ac_value unused) {
    ac_ref ended = ac_spawn(kept, ac_nil, .joinable = true, .name = "kept");
    ck_assert_int_eq(ac_yield(), 0);
    look();
    ck_assert_uint_eq(seen_count, 1);
    ck_assert_int_eq(ac_join(ended, NULL, AC_FOREVER), 0);
    return unused;
}

TEST(one_that_has_ended_is_not_told_of_even_if_its_end_is_kept) {
    ac_spawn(look_after_ends, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- the list ----

static char text[16384];

// Sends standard error into a file; the second call brings it back and reads the file.
static void catch_errors(bool on) {
    static FILE *file;
    static int before;
    fflush(stderr);
    if (on) {
        file = tmpfile();
        before = dup(STDERR_FILENO);
        ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
        return;
    }
    ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
    close(before);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
}

static ac_value list(ac_value unused) {
    sleeper = spawn_at("s.c:2", sleep_long, "sleeper", true);
    ac_send(spawn_at(NULL, sleep_long, NULL, true), 7);
    ck_assert_int_eq(ac_sleep(0.02), 0);
    catch_errors(true);
    ac_list_coroutines();
    catch_errors(false);
    char *line = strtok(text, "\n");
    ck_assert_str_eq(line, "asyncoro: loop 0: 3 coroutines");
    line = strtok(NULL, "\n");
    ck_assert_msg(strncmp(line, "asyncoro:   #0 'self' (l.c:1): running, stack of ", 48) == 0, "%s",
                  line);
    double waited, left;
    unsigned kib;
    int end = 0;
    line = strtok(NULL, "\n");
    sscanf(line,
           "asyncoro:   #1 'sleeper' (s.c:2): sleep for %lf s, at most %lf s more, "
           "stack of %u KiB, daemon%n",
           &waited, &left, &kib, &end);
    ck_assert_msg(end > 0 && line[end] == '\0' && waited > 0.01 && left < 3600, "%s", line);
    line = strtok(NULL, "\n");
    ck_assert_msg(strncmp(line, "asyncoro:   #2: sleep for ", 26) == 0, "%s", line);
    ck_assert_ptr_nonnull(strstr(line, ", 1 message, "));
    ck_assert_ptr_null(strtok(NULL, "\n"));
    return unused;
}

TEST(the_list_is_a_line_for_each_coroutine) {
    spawn_at("l.c:1", list, "self", false);
    ck_assert_int_eq(ac_run(), 0);
}

static ac_value be_internal(ac_value unused) {
    (void)ac_sleep(3600);
    return unused;
}

static void end_guest(struct loop *loop, void *state) {
    (void)loop;
    guest_destroy(state);
}

static void stop_guest(struct loop *loop, void *state) {
    (void)loop;
    guest_enter(state);
    struct loop *inside = guest_loop(state);
    coro_cancel(&inside->coros[0]);
    guest_leave(state);
    // Driven until it has ended.
    while (loop_living(inside) > 0)
        guest_drive(state);
}

static ac_value list_guest(ac_value unused) {
    int err = 0;
    struct guest *guest = guest_create(loop_here, &sys_chosen, &err);
    loop_extend(loop_here, LOOP_REMOTE,
                (struct loop_extra){.state = guest, .stopping = stop_guest, .done = end_guest});
    guest_enter(guest);
    coro_create(
        guest_loop(guest), be_internal, ac_nil,
        &(struct ac_spawn_options){.size = sizeof(struct ac_spawn_options), .name = "heart"}, true,
        &err);
    guest_leave(guest);
    ck_assert_int_eq(ac_sleep(0.02), 0);
    catch_errors(true);
    ac_list_coroutines();
    catch_errors(false);
    ck_assert_msg(strstr(text, "loop 1 (the library's own): 1 coroutine\n") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "#0 'heart': sleep") != NULL, "%s", text);
    ck_assert_msg(strstr(text, ", the library's own\n") != NULL, "%s", text);
    look(); // who walks over the records sees those of this loop alone
    ck_assert_uint_eq(seen_count, 1);
    ck_assert(ac_ref_equal(seen[0].who, ac_self()));
    return unused;
}

TEST(the_guest_is_listed_as_the_librarys_own) {
    ac_spawn(list_guest, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- counters ----

static struct ac_counters count(void) {
    struct ac_counters counters = {.size = sizeof counters};
    ck_assert_int_eq(ac_counters(&counters), 0);
    return counters;
}

static void run_post(struct post *post) { (void)post; }

static ac_value count_all(ac_value unused) {
    struct ac_counters first = count();
    ck_assert_uint_eq(first.coroutines, 1);
    ck_assert_uint_eq(first.spawned, 1);
    ck_assert_uint_eq(first.stacks, 1);
    ck_assert_uint_eq(first.stack_bytes, sys_stack_bytes(sys_stack_class(0)));
    ck_assert_uint_eq(first.posts, 0);

    int err = 0;
    coro_create(loop_here, be_internal, ac_nil,
                &(struct ac_spawn_options){.size = sizeof(struct ac_spawn_options), .daemon = true},
                true, &err);
    coro_create(loop_here, nothing, ac_nil,
                &(struct ac_spawn_options){.size = sizeof(struct ac_spawn_options), .daemon = true},
                true, &err);
    for (int i = 0; i < 1000; i++)
        ac_spawn(nothing, ac_nil);
    ac_spawn(sleep_long, ac_nil, .daemon = true);
    ck_assert_uint_eq(count().coroutines, 1 + 1000 + 1);
    struct post post = {.run = run_post};
    loop_post(loop_here, &post);
    ck_assert_int_eq(ac_sleep(0.001), 0);

    struct ac_counters later = count();
    ck_assert_uint_eq(later.coroutines, 2);
    ck_assert_uint_eq(later.spawned, 1 + 2 + 1000 + 1);
    ck_assert_uint_eq(later.timers, 2);
    ck_assert_uint_eq(later.posts, 1);
    ck_assert_uint_gt(later.turns, first.turns);
    ck_assert_uint_ge(later.stacks, 3);
    ck_assert_uint_ge(later.stack_bytes, later.stacks * first.stack_bytes);
    return unused;
}

TEST(counters_tell_what_has_happened) {
    ac_spawn(count_all, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
}

TEST(counters_of_an_older_and_of_a_newer_program_are_filled_as_far_as_both_know_them) {
    ac_spawn(nothing, ac_nil);
    struct ac_counters counters;
    memset(&counters, 0xee, sizeof counters);
    counters.size = offsetof(struct ac_counters, spawned);
    ck_assert_int_eq(ac_counters(&counters), 0);
    ck_assert_uint_eq(counters.coroutines, 1);
    ck_assert_uint_eq(counters.spawned, 0xeeeeeeeeeeeeeeee);

    struct {
        struct ac_counters counters;
        uint64_t newer;
    } larger = {.counters.size = sizeof larger, .newer = 7};
    ck_assert_int_eq(ac_counters(&larger.counters), 0);
    ck_assert_uint_eq(larger.counters.size, sizeof larger);
    ck_assert_uint_eq(larger.counters.spawned, 1);
    ck_assert_uint_eq(larger.newer, 7);

    counters.size = 0;
    ck_assert_int_eq(ac_counters(&counters), -EINVAL);
    ck_assert_int_eq(ac_counters(NULL), -EINVAL);
    ck_assert_int_eq(ac_run(), 0);
}

// ---- AC_TRACE ----

static ac_value fail_on_purpose(ac_value unused) {
    (void)unused;
    return ac_of_error(-EPIPE, "on purpose");
}

static ac_value be_traced(ac_value unused) {
    for (int i = 0; i < 2; i++) {
        spawn_at("a.c:1", nothing, "short", false);
        ck_assert_int_eq(ac_yield(), 0);
    }
    ac_ref failing = ac_spawn(fail_on_purpose, ac_nil, .joinable = true, .name = "failing");
    ac_ref cancelled = spawn_at("b.c:2", sleep_long, "long", false);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_int_eq(ac_join(failing, NULL, AC_FOREVER), 0);
    ck_assert_int_eq(ac_cancel(cancelled), 0);
    ck_assert_int_eq(ac_sleep(0.001), 0);
    return unused;
}

TEST(ac_trace_tells_of_spawns_stacks_timers_cancellations_and_ends) {
    setenv("AC_TRACE", "coro,sys", 1);
    catch_errors(true);
    spawn_at("m.c:3", be_traced, "main", false);
    ck_assert_int_eq(ac_run(), 0);
    catch_errors(false);
    const char *const expected[] = {
        "asyncoro coro: loop 0: coroutine #0 'main', spawned at m.c:3: begins\n",
        "asyncoro sys: address space for ",
        "coro: loop 0: coroutine #0 'main', spawned at m.c:3: takes a new stack\n",
        "coro: loop 0: coroutine #1 'short', spawned at a.c:1: begins\n",
        "coro: loop 0: coroutine #1 'short', spawned at a.c:1: takes a new stack\n",
        "coro: loop 0: coroutine #1 'short', spawned at a.c:1: finished\n",
        "coro: loop 0: coroutine #1 'short', spawned at a.c:1: begins\n",
        "coro: loop 0: coroutine #1 'short', spawned at a.c:1: finished\n",
        "coro: loop 0: coroutine #1 'failing'",
        ": failed\n",
        "coro: loop 0: coroutine #0 'main', spawned at m.c:3: its time is up (sleep)\n",
        "coro: loop 0: coroutine #2 'long', spawned at b.c:2: its wait is cancelled (sleep)\n",
        "coro: loop 0: coroutine #2 'long', spawned at b.c:2: cancelled\n",
        "coro: loop 0: coroutine #0 'main', spawned at m.c:3: finished\n",
    };
    const char *at = text;
    for (size_t i = 0; i < countof(expected); i++) {
        const char *found = strstr(at, expected[i]);
        ck_assert_msg(found != NULL, "no \"%s\" after what comes before in:\n%s", expected[i],
                      text);
        at = found + strlen(expected[i]);
    }
}

static ac_value nap(ac_value unused) {
    ck_assert_int_eq(ac_sleep(0.001), 0);
    return unused;
}

TEST(coroutines_with_small_stacks_can_be_traced) {
    setenv("AC_TRACE", "all", 1);
    catch_errors(true);
    for (int i = 0; i < 20; i++)
        ac_spawn(nap, ac_nil, .stack_bytes = AC_STACK_BYTES_SMALL, .name = "small");
    ck_assert_int_eq(ac_run(), 0);
    catch_errors(false);
    ck_assert_ptr_nonnull(strstr(text, "coroutine #19 'small'"));
    ck_assert_ptr_nonnull(strstr(text, ": finished\n"));
}

static ac_value fail_without_a_word(ac_value unused) {
    (void)unused;
    return ac_of_error(-EPIPE, NULL);
}

TEST(ac_trace_says_why_a_coroutine_failed_that_nobody_watched) {
    setenv("AC_TRACE", "coro", 1);
    catch_errors(true);
    spawn_at("f.c:1", fail_on_purpose, "one", false);
    spawn_at("f.c:2", fail_without_a_word, "two", false);
    ac_spawn(fail_on_purpose, ac_nil, .joinable = true, .name = "three"); // nobody joins it
    ck_assert_int_eq(ac_run(), -EPIPE);
    catch_errors(false);
    ck_assert_msg(
        strstr(text, "coroutine 'one' (f.c:1) failed: the other side has closed: on purpose\n"),
        "%s", text);
    ck_assert_msg(strstr(text, "coroutine 'two' (f.c:2) failed: the other side has closed\n"), "%s",
                  text);
    const char *three = strstr(text, "coroutine 'three' (");
    ck_assert_msg(three && strstr(three, ") failed: the other side has closed: on purpose\n"), "%s",
                  text);
}

// ---- AC_DEBUG ----

static bool quit_is_caught(void) {
    struct sigaction now;
    sigaction(SIGQUIT, NULL, &now);
    return now.sa_handler != SIG_DFL;
}

TEST(ac_debug_switches_on_what_it_names) {
    const struct {
        const char *text;
        bool quit;
        ac_time limit_ns;
    } cases[] = {
        {"", false, 0},
        {"watchdog", false, 100 * 1000 * 1000},
        {"watchdog=7", false, 7 * 1000 * 1000},
        {",watchdog=50,quit", true, 50 * 1000 * 1000},
        {"quit", true, 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        setenv("AC_DEBUG", cases[i].text, 1);
        catch_errors(true);
        ac_spawn(nothing, ac_nil);
        catch_errors(false);
        ck_assert_str_eq(text, "");
        ck_assert_int_eq(quit_is_caught(), cases[i].quit);
        ck_assert_int_eq(loop_here->watchdog.limit_ns, cases[i].limit_ns);
        ck_assert_int_eq(ac_run(), 0);
        ck_assert(!quit_is_caught());
    }
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    ac_spawn(nothing, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert(quit_is_caught()); // it was switched on by the program, too
}

static struct ac_lock lock;
static struct ac_condition condition;
static struct ac_rwlock rwlock;

static ac_value use_locks_well(ac_value unused) {
    ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0);
    ck_assert_int_eq(ac_yield(), 0);
    ck_assert_int_eq(ac_lock_release(&lock), 0);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0);
    ck_assert_int_eq(ac_condition_wait(&condition, ac_after(0.001)), -ETIMEDOUT);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    ck_assert_int_eq(ac_condition_release(&condition), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq((i ? ac_rwlock_read : ac_rwlock_write)(&rwlock, AC_FOREVER), 0);
        ck_assert_int_eq(ac_yield(), 0);
        ck_assert_int_eq(ac_rwlock_release(&rwlock), 0);
    }
    return unused;
}

static ac_value end_with_one(ac_value which) {
    switch (ac_int_of(which)) {
    case 0: ck_assert_int_eq(ac_lock_acquire(&lock, AC_FOREVER), 0); break;
    case 1: ck_assert_int_eq(ac_condition_acquire(&condition, AC_FOREVER), 0); break;
    case 2: ck_assert_int_eq(ac_rwlock_read(&rwlock, AC_FOREVER), 0); break;
    default: ck_assert_int_eq(ac_rwlock_write(&rwlock, AC_FOREVER), 0);
    }
    return ac_nil;
}

TEST(ac_debug_names_who_ends_with_a_lock_held_and_nobody_else) {
    setenv("AC_DEBUG", "locks", 1);
    catch_errors(true);
    for (int i = 0; i < 4; i++)
        ac_spawn(use_locks_well, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    catch_errors(false);
    ck_assert_str_eq(text, "");
    for (int64_t which = 0; which < 4; which++) {
        catch_errors(true);
        ac_spawn_with(end_with_one, ac_of(which),
                      &(struct ac_spawn_options){.size = sizeof(struct ac_spawn_options),
                                                 .name = "forgetful",
                                                 .where = "k.c:1",
                                                 .stack_bytes = AC_STACK_BYTES_SMALL});
        ck_assert_int_eq(ac_run(), 0);
        catch_errors(false);
        ck_assert_str_eq(text, "asyncoro: coroutine #0 'forgetful', spawned at k.c:1, has ended "
                               "with a lock held\n");
    }
}

TEST(without_memory_ac_debug_complains_and_the_program_goes_on) {
    setenv("AC_DEBUG", "stack,quit,watchdog", 1);
    catch_errors(true);
    bool complete = false, spawned = false;
    for (long n = 1; !complete; n++) {
        memory_fail_nth(n);
        spawned = ac_ref_is(ac_spawn(nothing, ac_nil));
        complete = !memory_has_failed();
        memory_fail_nth(0);
        ck_assert_int_eq(ac_run(), 0);
        ck_assert(!quit_is_caught());
    }
    catch_errors(false);
    ck_assert(spawned);
    ck_assert_msg(strstr(text, "asyncoro: AC_DEBUG: \"stack\": ") == text, "%s", text);
}

TEST(what_ac_debug_does_not_know_is_said_once_and_the_rest_is_done) {
    const char *const wrong[] = {
        "quiet", "watchdog=", "watchdog=0", "watchdog=2s", "watchdog=99999999999999999999", "all"};
    for (size_t i = 0; i < countof(wrong); i++) {
        if (fork() > 0) // each in a process that has not complained yet
            continue;
        char value[100], expected[200];
        snprintf(value, sizeof value, "%s,watchdog=9000,never", wrong[i]);
        setenv("AC_DEBUG", value, 1);
        catch_errors(true);
        for (int n = 0; n < 2; n++) {
            ac_spawn(nothing, ac_nil);
            ck_assert_int_eq(loop_here->watchdog.limit_ns, 9000000000);
            ck_assert_int_eq(ac_run(), 0);
        }
        catch_errors(false);
        snprintf(expected, sizeof expected,
                 "asyncoro: AC_DEBUG: \"%s\": allowed are quit, stack, locks, watchdog and "
                 "watchdog=MILLISECONDS\n",
                 wrong[i]);
        _exit(strcmp(text, expected) != 0);
    }
    for (size_t i = 0; i < countof(wrong); i++) {
        int status;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
}
