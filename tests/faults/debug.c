// SPDX-License-Identifier: MIT
// Faults under what shows a program at work: it goes on all the same.
#include "faults.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int ended;

static ac_value use_stack(ac_value unused) {
    (void)unused;
    char text[2000];
    note(ac_format(text, sizeof text, "%d", 7));
    note(ac_sleep(0.0001));
    ended++;
    return ac_nil;
}

static bool look(const struct ac_coroutine_info *info, void *context) {
    (void)context;
    REQUIRE(info->name && info->where && info->waiting);
    return true;
}

static ac_value look_at_all(ac_value unused) {
    (void)unused;
    for (int i = 0; i < 4; i++)
        note_ref(ac_spawn(use_stack, ac_nil, .name = "child"));
    note(ac_yield());
    REQUIRE(ac_each_coroutine(look, NULL) >= 1);
    struct ac_counters counters = {.size = sizeof counters};
    REQUIRE(ac_counters(&counters) == 0 && counters.coroutines >= 1);
    note(ac_sleep(0.001));
    struct ac_stack_use uses[8];
    size_t count = ac_stack_uses(uses, 8);
    REQUIRE(count <= 8);
    ended++;
    return ac_nil;
}

SCENARIO(stacks_are_measured) {
    ended = 0;
    note(ac_measure_stacks(true));
    note_ref(ac_spawn(look_at_all, ac_nil));
    note(ac_run());
    REQUIRE(ended == 5 || faults_errors() > 0);
}

SCENARIO(a_watchdog_watches) {
    ended = 0;
    note(ac_watchdog(0.5));
    note_ref(ac_spawn(look_at_all, ac_nil));
    note(ac_run());
    REQUIRE(ended == 5 || faults_errors() > 0);
}

static ac_value quit(ac_value argument) {
    if (ac_bool_of(argument))
        kill(getpid(), SIGQUIT);
    note(ac_sleep(0.02));
    ac_list_coroutines();
    ended++;
    return ac_nil;
}

// Where standard error goes from now on; what it was must be closed.
static void write_to(int fd) {
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

SCENARIO(lists_are_written_on_quit) {
    int kept = dup(STDERR_FILENO);
    ended = 0;
    write_to(open("/dev/null", O_WRONLY | O_CLOEXEC));
    bool asked = note(ac_list_on_quit(true)) == 0;
    note_ref(ac_spawn(quit, asked));
    note(ac_run());
    while (note(ac_list_on_quit(false)) < 0)
        faults_disarm();
    write_to(kept);
    REQUIRE(ended == 1 || faults_errors() > 0);
}
