// SPDX-License-Identifier: MIT
//
// The main() of every test program: runs the cases that TEST has added and prints their results in
// TAP (version 12), which `meson test` reads. The results are printed at the end and by this
// process alone, and what the cases themselves print goes to standard error, so that nothing can
// get between the lines that are counted.
#include "test.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REASON_BYTES = 100 };

static bool poller_is_there(void);
static bool chosen(const struct test *test, int argc, char **argv);
static Suite *make_suite(int argc, char **argv, int *count);
static int print_results(FILE *out, SRunner *runner);

static struct test *first;
static struct test **last = &first;

// Why each case was skipped, by its round, which is its number; shared with the cases' processes.
static char (*reasons)[REASON_BYTES];

void test_add(struct test *test) {
    *last = test;
    last = &test->next;
}

void test_template(char template[TEST_TEMPLATE_BYTES]) {
    const char *folder = getenv("TMPDIR");
    size_t bytes = TEST_TEMPLATE_BYTES;
    if (!folder || snprintf(template, bytes, "%s/asyncoro-XXXXXX", folder) >= (int)bytes)
        snprintf(template, bytes, "%s/asyncoro-XXXXXX", P_tmpdir);
}

// It stays bound, at an address at which nothing comes.
uint16_t test_hold_port(int *held) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f0000fe)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, bytes), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    if (held)
        *held = fd;
    return ntohs(at.sin_port);
}

void test_skip(int round, const char *reason) {
    snprintf(reasons[round], REASON_BYTES, "%s", reason);
}

int main(int argc, char **argv) {
    // A shell has what it runs in the background ignore the first two, and nohup the third, and
    // tests want to see what they do.
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    FILE *out = fdopen(dup(STDOUT_FILENO), "w");
    if (out == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        perror("test runner");
        return EXIT_FAILURE;
    }
    if (!poller_is_there()) {
        fprintf(stderr, "NOT RUN: AC_POLLER=%s is not to be had here\n", getenv("AC_POLLER"));
        fprintf(out, "1..0 # SKIP AC_POLLER=%s is not to be had here\n", getenv("AC_POLLER"));
        fclose(out);
        return EXIT_SUCCESS;
    }
    int count = 0;
    SRunner *runner = srunner_create(make_suite(argc, argv, &count));
    reasons = mmap(NULL, (size_t)(count + 1) * REASON_BYTES, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reasons == MAP_FAILED) {
        perror("test runner");
        return EXIT_FAILURE;
    }
    srunner_run_all(runner, CK_SILENT);
    int failed = print_results(out, runner);
    srunner_free(runner);
    fclose(out);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

// Tests that are to run over a certain poller must not pass over another.
static bool poller_is_there(void) {
    const char *asked = getenv("AC_POLLER");
    if (!asked)
        return true;
    pid_t id = fork(); // what is found out stays unknown to the cases
    if (id == 0) {
        int err;
        struct sys *sys = sys_create(&sys_chosen, &err);
        _exit(!sys || strcmp(sys->driver->name, asked) != 0);
    }
    int status = 0;
    return waitpid(id, &status, 0) == id && status == 0;
}

// One libcheck "test case" each, because only that has a time limit.
static Suite *make_suite(int argc, char **argv, int *count) {
    Suite *suite = suite_create(argv[0]);
    for (struct test *test = first; test != NULL; test = test->next) {
        if (!chosen(test, argc, argv))
            continue;
        TCase *tcase = tcase_create(test->check.name);
        tcase_set_timeout(tcase, test->seconds_max > 0 ? test->seconds_max : 60);
        _tcase_add_test(tcase, &test->check, test->signal, test->exit_status, *count, *count + 1);
        ++*count;
        suite_add_tcase(suite, tcase);
    }
    return suite;
}

static bool chosen(const struct test *test, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(test->check.name, argv[i]) == 0)
            return true;
    return argc < 2;
}

// Returns how many failed. Why one failed goes to standard error, which `meson test` shows.
static int print_results(FILE *out, SRunner *runner) {
    int n = srunner_ntests_run(runner);
    TestResult **results = srunner_results(runner);
    int failed = 0;
    fprintf(out, "1..%d\n", n);
    for (int i = 0; i < n; i++) {
        TestResult *result = results[i];
        bool skipped = reasons[i][0], passed = skipped || tr_rtype(result) == CK_PASS;
        fprintf(out, "%s %d - %s%s%s\n", passed ? "ok" : "not ok", i + 1, tr_tcname(result),
                skipped ? " # SKIP " : "", reasons[i]);
        if (!passed) {
            failed++;
            fprintf(stderr, "%s:%d: %s: %s\n", tr_lfile(result), tr_lno(result), tr_tcname(result),
                    tr_msg(result));
        }
    }
    free(results);
    return failed;
}
