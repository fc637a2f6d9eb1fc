// SPDX-License-Identifier: MIT
// Faults under files, processes and signals: what is written is read, a program runs and its end is
// known, a signal is told, or somebody is told of an error; and no process is left.
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    char folder[TEST_TEMPLATE_BYTES];
    bool whole;
} it;

static void path_of(char path[96], const char *name) {
    snprintf(path, 96, "%s/%s", it.folder, name);
}

// ---- files ----

enum { BYTES = 100000 };

static ac_value use_files(ac_value unused) {
    (void)unused;
    static char bytes[BYTES], found[BYTES];
    char one[96], two[96], below[96], line[16];
    struct ac_file_facts facts;
    ac_stream *file;
    ac_value names;
    size_t count;
    path_of(below, "a");
    path_of(one, "a/one");
    path_of(two, "a/two");
    if (note(ac_folder_make(below, 0700, AC_FOREVER)) < 0 ||
        note(ac_file_open(&file, one, "w+", AC_FOREVER)) < 0)
        return ac_nil;
    bool good = note(ac_write_all(file, "a line\n", 7, AC_FOREVER, &count)) >= 0 &&
                note(ac_write_all(file, bytes, BYTES, AC_FOREVER, &count)) >= 0 &&
                note(ac_file_write_at(file, "A", 1, 0, AC_FOREVER)) >= 0 &&
                note(ac_file_seek(file, 0, AC_FILE_START, AC_FOREVER)) >= 0 &&
                note(ac_read_line(file, line, sizeof line, AC_FOREVER)) >= 0 &&
                note(ac_read_exactly(file, found, BYTES, AC_FOREVER, &count)) >= 0 &&
                note(ac_file_read_at(file, found, 6, 0, AC_FOREVER)) >= 0 &&
                note(ac_file_truncate(file, 3, AC_FOREVER)) >= 0 &&
                note(ac_file_sync(file, AC_FOREVER)) >= 0 &&
                note(ac_file_size(file, AC_FOREVER)) == 3;
    if (good)
        REQUIRE(memcmp(line, "A line", 7) == 0 && memcmp(found, line, 6) == 0);
    ac_close(file);
    good = good && note(ac_file_rename(one, two, AC_FOREVER)) >= 0 &&
           note(ac_file_look(two, &facts, AC_FOREVER)) >= 0 && facts.bytes == 3;
    if (good && note(ac_folder_list(below, &names, AC_FOREVER)) >= 0) {
        REQUIRE(ac_count(names) == 1);
        ac_drop(names);
        good = note(ac_file_remove(two, AC_FOREVER)) >= 0;
        it.whole = good;
    }
    return ac_nil;
}

SCENARIO(files_are_written_and_read) {
    char path[96];
    it.whole = false;
    test_template(it.folder);
    if (!mkdtemp(it.folder))
        return;
    note_ref(ac_spawn(use_files, ac_nil));
    note(ac_run());
    static const char *const left[] = {"a/one", "a/two"};
    for (size_t i = 0; i < 2; i++) {
        path_of(path, left[i]);
        unlink(path);
    }
    path_of(path, "a");
    rmdir(path);
    REQUIRE(rmdir(it.folder) == 0);
    REQUIRE(it.whole || faults_errors() > 0);
}

// ---- processes ----

// Those that were abandoned may take a moment.
static void require_no_children(void) {
    siginfo_t info;
    ac_time until = sys_clock() + (ac_time)2 * 1000 * 1000 * 1000;
    while (sys_clock() < until) {
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD)
            return;
        usleep(500);
    }
    // One whose end was said to be lost is still there.
    REQUIRE(faults_what() && strcmp(faults_what(), "waitid") == 0);
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0)
        info.si_pid = 0;
}

static ac_value use_processes(ac_value unused) {
    (void)unused;
    ac_process *cat, *sleeper;
    struct ac_process_answer answer;
    struct ac_process_end end;
    if (note(ac_process_start(&cat, AC_ARGUMENTS("cat"), AC_FOREVER, .folder = "/",
                              .input = AC_PIPE, .output = AC_PIPE)) == 0) {
        if (note(ac_process_communicate(cat, &answer, AC_FOREVER, .input = "hello",
                                        .input_bytes = 5)) == 0) {
            ac_span span = ac_span_of(answer.output);
            REQUIRE(span.bytes == 5 && memcmp(span.at, "hello", 5) == 0);
            REQUIRE(!answer.end.by_signal && answer.end.code == 0);
            it.whole = true;
        }
        ac_drop(answer.output);
        ac_process_close(cat);
    }
    if (note(ac_process_start(&sleeper, AC_ARGUMENTS("sleep", "100"), AC_FOREVER,
                              .own_session = true)) == 0) {
        if (note(ac_process_stop(sleeper, &end, AC_FOREVER)) == 0)
            REQUIRE(end.by_signal);
        ac_process_close(sleeper);
    }
    return ac_nil;
}

SCENARIO(programs_are_run) {
    it.whole = false;
    note_ref(ac_spawn(use_processes, ac_nil));
    note(ac_run());
    REQUIRE(it.whole || faults_errors() > 0);
    require_no_children();
}

// ---- signals ----

static ac_value use_signals(ac_value unused) {
    (void)unused;
    ac_signals *signals;
    if (note(ac_signals_open(&signals, SIGUSR1)) < 0)
        return ac_nil;
    raise(SIGUSR1);
    if (note(ac_signals_wait(signals, AC_FOREVER)) == SIGUSR1)
        raise(SIGUSR1);
    it.whole = note(ac_signals_wait(signals, AC_FOREVER)) == SIGUSR1;
    ac_signals_close(signals);
    return ac_nil;
}

SCENARIO(signals_are_told) {
    it.whole = false;
    note_ref(ac_spawn(use_signals, ac_nil));
    note(ac_run());
    REQUIRE(it.whole || faults_errors() > 0);
}
