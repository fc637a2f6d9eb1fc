// SPDX-License-Identifier: MIT
// Tests of src/coro/watchdog.c: who does not yield is named, and nobody else; SIGQUIT makes all
// loops write their lists. What is written is read through a pipe in place of standard error.
#include <asyncoro/debug.h>

#include "coro/coro.h"
#include "test.h"

#include <alloca.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 }; // far more than anything here takes

static int errors = -1; // what is written to standard error
static int real_errors; // where it went before

static void catch_errors(void) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    errors = ends[0];
    real_errors = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
}

static bool something_comes(int ms) {
    struct pollfd it = {.fd = errors, .events = POLLIN};
    return poll(&it, 1, ms) == 1;
}

// Waits for the next line, on which the calling thread blocks.
static const char *next_line(void) {
    static char line[1024];
    size_t length = 0;
    do {
        ck_assert_msg(something_comes(PATIENCE_MS), "no line comes");
        ck_assert_int_eq(read(errors, line + length, 1), 1);
        ck_assert_uint_lt(length, sizeof line - 1);
    } while (line[length++] != '\n');
    line[length - 1] = '\0';
    return line;
}

// Skips lines until one contains the text.
static const char *line_with(const char *text) {
    const char *line;
    do
        line = next_line();
    while (!strstr(line, text));
    return line;
}

static uint32_t thread_count(const char *name) {
    uint32_t count = 0;
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    while ((task = readdir(tasks))) {
        char path[300], found[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "r");
        if (!file)
            continue;
        if (fgets(found, sizeof found, file))
            found[strcspn(found, "\n")] = '\0';
        count += strcmp(found, name) == 0;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

// ---- the watchdog ----

static void must_name(const char *name, double limit_s) {
    const char *line = next_line();
    char head[64];
    snprintf(head, sizeof head, "asyncoro: coroutine #0 '%s', spawned at ", name);
    const char *tail = strstr(line, ", has not yielded for ");
    ck_assert_msg(strncmp(line, head, strlen(head)) == 0 && tail, "%s", line);
    ck_assert(strtod(tail + strlen(", has not yielded for "), NULL) >= limit_s);
}

static ac_value hog(ac_value unused) {
    for (int i = 0; i < 2; i++) {
        must_name("hog", 0.02);
        ck_assert_msg(!something_comes(100), "the same stretch is told of twice: %s", next_line());
        ck_assert_int_eq(i == 0 ? ac_yield() : ac_sleep(0.001), 0);
    }
    ck_assert_int_eq(ac_watchdog(0), 0);
    ck_assert_uint_eq(thread_count("ac-watchdog"), 0);
    ck_assert_msg(!something_comes(60), "%s", next_line());
    return unused;
}

TEST(a_coroutine_that_does_not_yield_is_named_once_for_each_stretch) {
    catch_errors();
    ck_assert_int_eq(ac_watchdog(0.02), 0);
    ck_assert_uint_eq(thread_count("ac-watchdog"), 1);
    ac_spawn(hog, ac_nil, .name = "hog");
    ck_assert_int_eq(ac_run(), 0);
}

#define LIMIT_S 0.1

static double seconds_of(ac_time since) { return (double)(sys_clock() - since) * 1e-9; }

static double longest_stretch;

// Is alone, so each yield switches to itself; home is not reached for longer than the limit.
static ac_value compute_and_yield(ac_value unused) {
    uint64_t turns = loop_here->turns;
    ac_time start = sys_clock();
    for (int i = 0; i < 40; i++) {
        ac_time stretch = sys_clock();
        while (seconds_of(stretch) < LIMIT_S / 20)
            continue;
        ck_assert_int_eq(ac_yield(), 0);
        longest_stretch = fmax(longest_stretch, seconds_of(stretch));
    }
    // What makes the case worth anything.
    ck_assert_uint_eq(loop_here->turns, turns);
    ck_assert(seconds_of(start) > 1.5 * LIMIT_S);
    return unused;
}

TEST(who_yields_is_not_named_though_the_loop_does_not_poll) {
    catch_errors();
    ck_assert_int_eq(ac_watchdog(LIMIT_S), 0);
    ac_spawn(compute_and_yield, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    if (longest_stretch < LIMIT_S) // it is not on a computer that is busy with others
        ck_assert_msg(!something_comes(0), "%s", next_line());
}

static ac_value rest(ac_value unused) {
    ck_assert_int_eq(ac_sleep(2.5), 0);
    return unused;
}

TEST(a_loop_that_sleeps_is_not_accused) {
    catch_errors();
    ck_assert_int_eq(ac_watchdog(1), 0);
    ac_spawn(rest, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_msg(!something_comes(0), "%s", next_line());
}

static double cpu_seconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

static bool is_seen(const struct coro *coro) {
    sys_process_lock(SYS_LOCK_LOOPS);
    bool seen = coro->loop->watchdog.stretch.coro == coro;
    sys_process_unlock(SYS_LOCK_LOOPS);
    return seen;
}

// Is stopped from outside while it computes for a moment.
static ac_value compute_a_moment(ac_value ready) {
    while (!is_seen(coro_here()))
        sched_yield();
    char one = 1;
    ck_assert_int_eq(write((int)ac_int_of(ready), &one, 1), 1);
    for (double start = cpu_seconds(); cpu_seconds() < start + 0.02;)
        continue;
    return ac_nil;
}

TEST(time_in_which_the_process_was_stopped_does_not_count) {
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    catch_errors();
    pid_t child = fork();
    if (child == 0) {
        (void)ac_watchdog(1);
        ac_spawn(compute_a_moment, ready[1]);
        _exit(ac_run());
    }
    char one;
    ck_assert_int_eq(read(ready[0], &one, 1), 1);
    ck_assert_int_eq(kill(child, SIGSTOP), 0);
    ck_assert_int_eq(waitpid(child, NULL, WUNTRACED), child);
    (void)something_comes(1500);
    ck_assert_int_eq(kill(child, SIGCONT), 0);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_msg(!something_comes(0), "%s", next_line());
}

TEST(a_limit_is_a_number_of_seconds) {
    ck_assert_int_eq(ac_watchdog(-1), -EINVAL);
    ck_assert_int_eq(ac_watchdog(NAN), -EINVAL);
    ck_assert_int_eq(ac_watchdog(0), 0);
    ck_assert_ptr_null(loop_here);
    ck_assert_int_eq(ac_watchdog(1e300), 0);
    ck_assert_int_eq(ac_watchdog(1e-300), 0);
    ck_assert_uint_eq(thread_count("ac-watchdog"), 1);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_uint_eq(thread_count("ac-watchdog"), 0);
}

TEST(a_watchdog_for_which_there_is_no_memory_is_none) {
    int err = -ENOMEM;
    for (long n = 1; err != 0; n++) {
        memory_fail_nth(n);
        err = ac_watchdog(1);
        ck_assert(err == -ENOMEM || (err == 0 && !memory_has_failed()));
        ck_assert_uint_eq(thread_count("ac-watchdog"), err == 0);
        memory_fail_nth(0);
        ck_assert_int_eq(ac_run(), 0);
    }
}

// ---- SIGQUIT ----

TEST(without_memory_sigquit_stays_what_it_was) {
    int err = -ENOMEM;
    for (long n = 1; err != 0; n++) {
        memory_fail_nth(n);
        err = ac_list_on_quit(true);
        ck_assert(err == -ENOMEM || (err == 0 && !memory_has_failed()));
        memory_fail_nth(0);
        struct sigaction now;
        sigaction(SIGQUIT, NULL, &now);
        ck_assert_int_eq(now.sa_handler == SIG_DFL, err != 0);
    }
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    ck_assert_uint_eq(thread_count("ac-watchdog"), 1);
    ck_assert_int_eq(ac_list_on_quit(false), 0);
    ck_assert_int_eq(ac_list_on_quit(false), 0);
    ck_assert_uint_eq(thread_count("ac-watchdog"), 0);
}

TEST(switched_off_the_program_gets_its_action_back) {
    struct sigaction action = {.sa_handler = SIG_IGN}, now;
    sigaction(SIGQUIT, &action, NULL);
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    sigaction(SIGQUIT, NULL, &now);
    ck_assert_ptr_ne(now.sa_handler, SIG_IGN);
    ck_assert_int_eq(ac_list_on_quit(false), 0);
    sigaction(SIGQUIT, NULL, &now);
    ck_assert_ptr_eq(now.sa_handler, SIG_IGN);
}

struct sleeper {
    struct post post;
    struct coro *coro;
};

static void end_sleep(struct post *post) {
    coro_cancel(container_of(post, struct sleeper, post)->coro);
}

// Asks from another thread while the loop sleeps.
static void quit_while_asleep(void *sleeper) {
    struct sleeper *it = sleeper;
    while (!__atomic_load_n(&it->coro->loop->asleep, __ATOMIC_SEQ_CST))
        sched_yield();
    ck_assert_int_eq(kill(getpid(), SIGQUIT), 0);
    (void)line_with("asyncoro: loop 0: 1 coroutine");
    ck_assert_ptr_nonnull(strstr(next_line(), "#0 'sleeper'"));
    loop_post(it->coro->loop, &it->post);
}

static ac_value sleep_and_be_asked(ac_value unused) {
    struct sleeper it = {.post.run = end_sleep, .coro = coro_here()};
    struct sys_thread *thread;
    ck_assert_int_eq(sys_thread_start(&thread, quit_while_asleep, &it, 256 << 10, "asks"), 0);
    ck_assert_int_eq(ac_sleep(3600), -ECANCELED);
    sys_thread_join(thread);
    return unused;
}

TEST(a_loop_that_sleeps_lists_at_once) {
    catch_errors();
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    ac_spawn(sleep_and_be_asked, ac_nil, .name = "sleeper");
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ac_list_on_quit(false), 0);
}

static ac_value be_busy(ac_value unused) {
    ck_assert_int_eq(raise(SIGQUIT), 0);
    const char *line = next_line();
    const char *expected = "asyncoro: loop 0 has not polled for 100 ms: there runs coroutine #0 "
                           "'hog', spawned at ";
    ck_assert_msg(strncmp(line, expected, strlen(expected)) == 0, "%s", line);
    ck_assert(!something_comes(0));
    ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_str_eq(next_line(), "asyncoro: loop 0: 1 coroutine");
    return unused;
}

TEST(a_loop_whose_coroutine_does_not_yield_is_told_of_and_lists_when_it_does) {
    catch_errors();
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    ac_spawn(be_busy, ac_nil, .name = "hog");
    ck_assert_int_eq(ac_run(), 0);
}

TEST(a_loop_that_is_not_run_is_told_of) {
    catch_errors();
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    ac_spawn(rest, ac_nil);
    ck_assert_int_eq(raise(SIGQUIT), 0);
    ck_assert_str_eq(next_line(),
                     "asyncoro: loop 0 has not polled for 100 ms: there runs no coroutine");
}

static struct sleeper others[2];
static uint32_t others_asleep; // atomic
static bool all_posted;        // atomic: the loops may end

static ac_value sleep_until_ended(ac_value number) {
    struct sleeper *it = &others[ac_int_of(number)];
    *it = (struct sleeper){.post.run = end_sleep, .coro = coro_here()};
    __atomic_add_fetch(&others_asleep, 1, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(ac_sleep(3600), -ECANCELED);
    while (!__atomic_load_n(&all_posted, __ATOMIC_SEQ_CST))
        sched_yield();
    return ac_nil;
}

static void run_second_loop(void *unused) {
    (void)unused;
    ac_spawn(sleep_until_ended, 1, .name = "two");
    ck_assert_int_eq(ac_run(), 0);
}

static void ask_both(void *unused) {
    (void)unused;
    while (__atomic_load_n(&others_asleep, __ATOMIC_SEQ_CST) < 2)
        sched_yield();
    ck_assert_int_eq(kill(getpid(), SIGQUIT), 0);
    uint32_t heads = 0, names = 0;
    while (heads < 2 || names < 2) {
        const char *line = next_line();
        heads += strncmp(line, "asyncoro: loop", 14) == 0;
        names += strstr(line, "'one'") || strstr(line, "'two'");
    }
    for (int i = 0; i < 2; i++)
        loop_post(others[i].coro->loop, &others[i].post);
    __atomic_store_n(&all_posted, true, __ATOMIC_SEQ_CST);
}

TEST(all_loops_of_the_process_list) {
    catch_errors();
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    struct sys_thread *threads[2];
    ck_assert_int_eq(sys_thread_start(&threads[0], run_second_loop, NULL, 256 << 10, "two"), 0);
    ck_assert_int_eq(sys_thread_start(&threads[1], ask_both, NULL, 256 << 10, "asks"), 0);
    ac_spawn(sleep_until_ended, 0, .name = "one");
    ck_assert_int_eq(ac_run(), 0);
    for (int i = 0; i < 2; i++)
        sys_thread_join(threads[i]);
}

static void end_guest(struct loop *loop, void *state) {
    (void)loop;
    guest_destroy(state);
}

static void quit_and_read(void *unused) {
    (void)unused;
    while (__atomic_load_n(&others_asleep, __ATOMIC_SEQ_CST) < 1)
        sched_yield();
    ck_assert_int_eq(kill(getpid(), SIGQUIT), 0);
    (void)line_with("asyncoro: loop 1 (the library's own): 0 coroutines");
    loop_post(others[0].coro->loop, &others[0].post);
    __atomic_store_n(&all_posted, true, __ATOMIC_SEQ_CST);
}

static ac_value sleep_with_a_guest(ac_value number) {
    int err = 0;
    struct guest *guest = guest_create(loop_here, &sys_chosen, &err);
    ck_assert_ptr_nonnull(guest);
    loop_extend(loop_here, LOOP_REMOTE, (struct loop_extra){.state = guest, .done = end_guest});
    return sleep_until_ended(number);
}

TEST(a_guest_lists_as_the_librarys_own) {
    catch_errors();
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    struct sys_thread *thread;
    ck_assert_int_eq(sys_thread_start(&thread, quit_and_read, NULL, 256 << 10, "asks"), 0);
    ac_spawn(sleep_with_a_guest, 0);
    ck_assert_int_eq(ac_run(), 0);
    sys_thread_join(thread);
}

// The frame of a handler takes 2 to 11 KiB, as many as the processor has registers.
static ac_value use_up_the_stack(ac_value unused) {
    struct coro *self = coro_here();
    char *low = (char *)self->stack - sys_stack_bytes(self->stack_class) + 4096;
    volatile char *block = alloca((size_t)((char *)__builtin_frame_address(0) - low) - 1024);
    block[0] = 1;
    ck_assert_int_eq(kill(getpid(), SIGQUIT), 0);
    return unused;
}

// The loop must go on meanwhile.
static ac_value await_a_list(ac_value unused) {
    ac_time limit = ac_after(PATIENCE_MS * 1e-3);
    while (!something_comes(0) && ac_now() < limit)
        ck_assert_int_eq(ac_sleep(0.001), 0);
    ck_assert_ptr_nonnull(strstr(next_line(), "asyncoro: loop 0"));
    return unused;
}

TEST(a_stack_that_is_almost_full_is_large_enough) {
    TEST_SKIP_SANITIZED("the frames of a sanitizer are larger");
    catch_errors();
    ck_assert_int_eq(ac_list_on_quit(true), 0);
    ac_spawn(use_up_the_stack, ac_nil, .stack_bytes = AC_STACK_BYTES_MIN);
    ac_spawn(await_a_list, ac_nil);
    ck_assert_int_eq(ac_run(), 0);
    ck_assert_int_eq(ac_list_on_quit(false), 0);
}
