// SPDX-License-Identifier: MIT
//
// What a test file needs. A test file contains cases and nothing else; main() is in test.c:
//
//     #include "test.h"
//     #include "base/base.h"
//
//     TEST(an_empty_heap_has_no_least) {
//         ck_assert_ptr_null(heap_least(&heap));
//     }
//
//     TEST(a_stack_overflow_is_caught, .signal = SIGSEGV, .seconds_max = 10) { ... }
//
// A case's name says what is true. Each case runs in a process of its own (libcheck), so a crash, a
// hang or what it does to global state ends with it. All of libcheck's ck_assert_* may be used,
// from any stack. `build/tests/test-base_heap NAME...` runs the cases named; with CK_FORK=no in the
// environment they run in the one process, for a debugger.
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include "sys/sys.h"

#include <check.h>
#include <signal.h>

// How many coroutines may live at once when a test wants very many. ThreadSanitizer can tell some
// 8,000 stacks from one another and no more, and needs milliseconds to make one;
// AddressSanitizer's stacks are large.
#if defined(SYS_TSAN)
enum { TEST_COROUTINES_MAX = 3000 };
#elif defined(SYS_ASAN)
enum { TEST_COROUTINES_MAX = 5000 };
#else
enum { TEST_COROUTINES_MAX = 100000 };
#endif

// How long a test waits for what must come, s. No measure of the library: other tests and programs
// may have the processor meanwhile. How fast things are is for bench/ to say.
enum { TEST_PATIENCE_S = 20 };

struct test {
    TTest check;        // what libcheck wants to know: name, function, file, line
    int signal;         // the signal that must end the case; 0: none
    int exit_status;    // the status with which the case must exit
    double seconds_max; // how long it may take; 0: the default, 60 s
    struct test *next;  // the next one in the order of the file; owned by test.c
};

// Writes a template for mkstemp and mkdtemp: a name in TMPDIR, or in /tmp if that is not set or too
// long for a name that has to serve the sockets of a folder as well.
enum { TEST_TEMPLATE_BYTES = 64 };
void test_template(char template[TEST_TEMPLATE_BYTES]);

// A UDP port for beacons, which no other test is given while the socket *held is open, or this
// process lives if it is NULL.
uint16_t test_hold_port(int *held);

// Ends a case that cannot be run here: it counts as skipped, and is named with the reason.
#define TEST_SKIP(reason_)                                                                         \
    do {                                                                                           \
        test_skip(test_round, reason_);                                                            \
        return;                                                                                    \
    } while (0)
void test_skip(int round, const char *reason);

// The same where a sanitizer watches.
#ifdef SYS_SANITIZED
#define TEST_SKIP_SANITIZED(reason_) TEST_SKIP(reason_)
#else
#define TEST_SKIP_SANITIZED(reason_) (void)0
#endif

// Adds a case to those that main() runs. TEST calls it before main().
void test_add(struct test *test);

#define TEST(name_, ...)                                                                           \
    static void name_(int);                                                                        \
    static struct test name_##_test = {.check = {#name_, name_, __FILE__, __LINE__}, __VA_ARGS__}; \
    __attribute__((constructor)) static void name_##_add(void) { test_add(&name_##_test); }        \
    static void name_(int test_round __attribute__((unused)))

#endif
